"""The floor: SCRAM-SHA-256 with stored keys, written for speed and for nothing else.

What a careful author would write into one program that never needs anything else: no
framework, no other mechanism, no decoys, no SASLprep, no reasons. It leaves out nothing
that lets a stranger in: the nonce is unpredictable, both nonces and the channel binding
are compared, the proof has its length and is compared in constant time. Nothing is
encoded ahead of time; salt and rounds are stored as what they are.

The tests see it refuse. What is slower than this in `sasl_core` is the price of the glue.
"""

from __future__ import annotations

from binascii import Error as EncodingError
from binascii import a2b_base64, b2a_base64
from hashlib import pbkdf2_hmac, sha256
from hmac import compare_digest, digest
from secrets import token_bytes
from typing import TYPE_CHECKING, NamedTuple, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = [
    "ClientKeys",
    "Keys",
    "Refused",
    "State",
    "client_final",
    "client_first",
    "client_keys",
    "derive",
    "server_final",
    "server_first",
    "verify_server",
]

State: TypeAlias = "tuple[bytes, bytes, bytes, bytes, bytes, bytes]"
"""Between the server's two steps: c= to come, bare client-first, server-first, nonce, keys."""


class Refused(Exception):  # noqa: N818 - a verdict rather than an error
    """The other side is not believed."""


class Keys(NamedTuple):
    """What a server keeps of a password (RFC 5802 section 3)."""

    salt: bytes
    iterations: int
    stored_key: bytes
    server_key: bytes


class ClientKeys(NamedTuple):
    """What a client keeps of a password."""

    client_key: bytes
    stored_key: bytes
    server_key: bytes


def derive(password: bytes, salt: bytes, iterations: int) -> bytes:
    """SaltedPassword (RFC 5802 section 2.2)."""
    return pbkdf2_hmac("sha256", password, salt, iterations)


def client_keys(password: bytes, salt: bytes, iterations: int) -> ClientKeys:
    """The keys of a client that derives them once and keeps them."""
    salted = derive(password, salt, iterations)
    key = digest(salted, b"Client Key", "sha256")
    return ClientKeys(key, sha256(key).digest(), digest(salted, b"Server Key", "sha256"))


# --- the server: two steps -----------------------------------------------------------------


def server_first(users: Mapping[str, Keys], message: bytes) -> State:
    """Answer client-first; the third part of the state is what to send.

    Raises:
        Refused: the message is not understood, or the user is unknown.
    """
    if message.startswith(b"n,,n="):
        expected = b"biws"
    elif message.startswith(b"y,,n="):
        expected = b"eSws"
    else:
        raise Refused
    try:
        name, nonce = message[5:].split(b",r=")
        if b"=" in name:
            name = name.replace(b"=2C", b",").replace(b"=3D", b"=")
        salt, iterations, stored_key, server_key = users[name.decode()]
    except (ValueError, KeyError):
        raise Refused from None
    if b"," in nonce or len(nonce) < 8:
        raise Refused
    nonce += b2a_base64(token_bytes(18), newline=False)
    first = b"r=%b,s=%b,i=%d" % (nonce, b2a_base64(salt, newline=False), iterations)
    return expected, message[3:], first, nonce, stored_key, server_key


def server_final(state: State, message: bytes) -> bytes:
    """Answer client-final with server-final: the client has proved itself.

    Raises:
        Refused: the message is not understood, or the proof is wrong.
    """
    expected, bare, first, nonce, stored_key, server_key = state
    without_proof, found, encoded = message.rpartition(b",p=")
    if not found or without_proof != b"c=%b,r=%b" % (expected, nonce):
        raise Refused
    try:
        proof = a2b_base64(encoded, strict_mode=True)
    except EncodingError:
        raise Refused from None
    if len(proof) != 32:
        raise Refused
    signed = b"%b,%b,%b" % (bare, first, without_proof)
    signature = digest(stored_key, signed, "sha256")
    key = int.from_bytes(proof, "big") ^ int.from_bytes(signature, "big")
    if not compare_digest(sha256(key.to_bytes(32, "big")).digest(), stored_key):
        raise Refused
    return b"v=" + b2a_base64(digest(server_key, signed, "sha256"), newline=False)


# --- the client, with keys that it has kept -------------------------------------------------


def client_first(name: bytes) -> bytes:
    """client-first of a client without channel binding; `name` is escaped already."""
    return b"n,,n=%b,r=%b" % (name, b2a_base64(token_bytes(18), newline=False))


def client_final(keys: ClientKeys, sent: bytes, challenge: bytes) -> tuple[bytes, bytes]:
    """client-final, and what server-final has to be. `sent` is client-first.

    Raises:
        Refused: the challenge is not understood, or does not continue our nonce.
    """
    bare = sent[3:]
    ours = bare[bare.index(b",r=") + 3 :]
    nonce = challenge[2 : challenge.index(b",")]
    if not nonce.startswith(ours) or len(nonce) == len(ours):
        raise Refused
    without_proof = b"c=biws,r=" + nonce
    signed = b"%b,%b,%b" % (bare, challenge, without_proof)
    signature = digest(keys.stored_key, signed, "sha256")
    proof = int.from_bytes(keys.client_key, "big") ^ int.from_bytes(signature, "big")
    expected = b"v=" + b2a_base64(digest(keys.server_key, signed, "sha256"), newline=False)
    encoded = b2a_base64(proof.to_bytes(32, "big"), newline=False)
    return b"%b,p=%b" % (without_proof, encoded), expected


def verify_server(expected: bytes, final: bytes) -> None:
    """Believe the server, or not.

    Raises:
        Refused: it does not know the password.
    """
    if not compare_digest(expected, final):
        raise Refused
