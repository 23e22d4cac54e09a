"""SCRAM's stored credentials and its arithmetic (RFC 5802 section 3, RFC 5803).

    ClientKey = HMAC(SaltedPassword, "Client Key")     StoredKey = H(ClientKey)
    ServerKey = HMAC(SaltedPassword, "Server Key")

A server keeps StoredKey and ServerKey, never the password. A verifier compares in
constant time, and its repr masks both keys.
"""

from __future__ import annotations

import hashlib
import re
from hashlib import blake2b
from hmac import compare_digest
from hmac import digest as hmac
from typing import TYPE_CHECKING, Final

import attrs

from sasl_core._record import record
from sasl_core._sealed import Sealed
from sasl_core.encoding import b64decode, b64encode
from sasl_core.errors import BackendError, PeerError, UsageError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import Protocol

    class _Hashed(Protocol):
        def digest(self) -> bytes: ...


__all__ = [
    "MAX_ITERATIONS",
    "MAX_SALT",
    "SCRAM_HASHES",
    "ScramVerifier",
    "client_proof",
    "decoy_verifier",
    "derive",
    "format_verifier",
    "parse_verifier",
    "proof_matches",
    "read_verifier",
    "server_signature",
    "stored_keys",
    "verifier_from_salted_password",
]

SCRAM_HASHES: Final[Mapping[str, tuple[str, int]]] = {
    "SHA-1": ("sha1", 20),
    "SHA-224": ("sha224", 28),
    "SHA-256": ("sha256", 32),
    "SHA-384": ("sha384", 48),
    "SHA-512": ("sha512", 64),
    "SHA3-512": ("sha3_512", 64),
}
"""Hash as in the mechanism's name -> its name in hashlib, and its size in octets."""

# Between secret and user, so that a decoy for one hash is none for another.
_LABELS: Final = {name: b"\0%b\0" % name.encode("ascii") for name in SCRAM_HASHES}

MAX_ITERATIONS: Final = 2**31 - 1
MAX_SALT: Final = 1024
DECOY_SALT_LIMIT: Final = 32
"""Longest salt of a decoy, in octets; those of real verifiers are 16 or 28 as a rule."""

_ALGORITHMS: Final[Mapping[str, tuple[str, int, Callable[[bytes], _Hashed]]]] = {
    name: (in_hashlib, size, getattr(hashlib, in_hashlib))
    for name, (in_hashlib, size) in SCRAM_HASHES.items()
}

_STORED = re.compile(
    rb"SCRAM-([A-Z0-9-]{1,16})"
    rb"\$([1-9][0-9]{0,9}):([A-Za-z0-9+/]{1,1400}={0,2})"
    rb"\$([A-Za-z0-9+/]{1,90}={0,2}):([A-Za-z0-9+/]{1,90}={0,2})"
)


def _masked(_: object) -> str:
    return "***"


@record
class ScramVerifier(Sealed):
    """What a server keeps of a password: enough to check a proof, too little to make one.

    `hash` as in the mechanism's name ("SHA-256"). Both keys are as long as the hash.
    """

    hash: str
    iterations: int
    salt: bytes
    stored_key: bytes = attrs.field(repr=_masked)
    server_key: bytes = attrs.field(repr=_masked)


def parse_verifier(text: bytes) -> ScramVerifier:
    """Read `SCRAM-SHA-256$iterations:salt$StoredKey:ServerKey`.

    The form of RFC 5803 without its optional blanks, which PostgreSQL writes too.

    Raises:
        BackendError: `text` is anything else. It comes from our own store, so nobody's
            password is wrong; the error says what is wrong with it and shows none of it.
    """
    verifier = read_verifier(text)
    if isinstance(verifier, str):
        raise BackendError(
            code="bad-verifier",
            temporary=False,
            detail=f"a stored SCRAM verifier cannot be used: {verifier}; "
            f"set the user's password anew",
        )
    return verifier


def read_verifier(text: bytes) -> ScramVerifier | str:
    """What `parse_verifier` returns, or what is wrong with `text`, which shows none of it."""
    match = _STORED.fullmatch(text)
    if match is None:
        return "it is not SCRAM-<hash>$<iterations>:<salt>$<StoredKey>:<ServerKey>"
    name = match[1].decode("ascii")
    algorithm = SCRAM_HASHES.get(name)
    if algorithm is None:
        return f"its hash is none of {', '.join(SCRAM_HASHES)}"
    iterations = int(match[2])
    if iterations > MAX_ITERATIONS:
        return f"it has more than {MAX_ITERATIONS} iterations"
    size = algorithm[1]
    try:
        salt = b64decode(match[3])
        stored_key = b64decode(match[4])
        server_key = b64decode(match[5])
    except PeerError:
        salt = stored_key = server_key = b""
    if not salt:
        return "its salt or its keys are not canonical base64"
    if len(salt) > MAX_SALT:
        return f"its salt is longer than {MAX_SALT} octets"
    if len(stored_key) != size or len(server_key) != size:
        return f"its keys are not {size} octets long, as {name} has it"
    return ScramVerifier(name, iterations, salt, stored_key, server_key)


def format_verifier(verifier: ScramVerifier) -> bytes:
    """Write a verifier as `parse_verifier` reads it.

    Raises:
        UsageError: a field is out of range, so that it could not be read back.
    """
    size = _algorithm(verifier.hash)[1]
    _check_cost(verifier.salt, verifier.iterations)
    if len(verifier.stored_key) != size or len(verifier.server_key) != size:
        raise UsageError(f"both keys of {verifier.hash} are {size} octets long")
    return b"SCRAM-%b$%d:%b$%b:%b" % (
        verifier.hash.encode("ascii"),
        verifier.iterations,
        b64encode(verifier.salt),
        b64encode(verifier.stored_key),
        b64encode(verifier.server_key),
    )


def derive(hash: str, password: bytes, salt: bytes, iterations: int) -> bytes:  # noqa: A002
    """Return SaltedPassword: PBKDF2 of `password`, as long as the hash (RFC 5802 section 2.2).

    Takes a millisecond for every four thousand iterations; cap what a peer asks for first.

    Raises:
        UsageError: unknown hash, empty or overlong salt, iterations out of range.
    """
    name = _algorithm(hash)[0]
    _check_cost(salt, iterations)
    return hashlib.pbkdf2_hmac(name, password, salt, iterations)


def stored_keys(hash: str, salted_password: bytes) -> tuple[bytes, bytes, bytes]:  # noqa: A002
    """Return ClientKey, StoredKey and ServerKey (RFC 5802 section 3).

    Raises:
        UsageError: unknown hash, or `salted_password` is not as long as it.
    """
    name, size = _algorithm(hash)
    if len(salted_password) != size:
        raise UsageError(f"a SaltedPassword of {hash} is {size} octets long")
    client_key = hmac(salted_password, b"Client Key", name)
    stored_key = _ALGORITHMS[hash][2](client_key).digest()
    return client_key, stored_key, hmac(salted_password, b"Server Key", name)


def verifier_from_salted_password(
    hash: str,  # noqa: A002
    salted_password: bytes,
    salt: bytes,
    iterations: int,
) -> ScramVerifier:
    """Return what a server keeps of a password that `derive` has salted.

    Raises:
        UsageError: as `derive` and `stored_keys`.
    """
    _check_cost(salt, iterations)
    _, stored_key, server_key = stored_keys(hash, salted_password)
    return ScramVerifier(hash, iterations, salt, stored_key, server_key)


def client_proof(client_key: bytes, stored_key: bytes, auth_message: bytes, hash: str) -> bytes:  # noqa: A002
    """Return ClientProof: ClientKey XOR HMAC(StoredKey, AuthMessage).

    Raises:
        UsageError: unknown hash, or `client_key` is not as long as it.
    """
    name, size = SCRAM_HASHES.get(hash) or _algorithm(hash)
    if len(client_key) != size:
        raise UsageError(f"a ClientKey of {hash} is {size} octets long")
    signature = hmac(stored_key, auth_message, name)
    return (int.from_bytes(client_key) ^ int.from_bytes(signature)).to_bytes(size)


def proof_matches(verifier: ScramVerifier, auth_message: bytes, proof: bytes) -> bool:
    """Whether `proof` was made with the password of `verifier`, in constant time.

    A primitive: what turns True into an authenticated user is `ctx.verify_scram`, which
    also knows whether `verifier` is a decoy.

    Raises:
        PeerError: the proof is not as long as the hash (RFC 5802 section 7).
    """
    name, size, constructor = _ALGORITHMS[verifier.hash]
    if len(proof) != size:
        raise PeerError("the proof has the wrong length", code="proof-length")
    stored_key = verifier.stored_key
    signature = hmac(stored_key, auth_message, name)
    client_key = (int.from_bytes(proof) ^ int.from_bytes(signature)).to_bytes(size)
    return compare_digest(constructor(client_key).digest(), stored_key)


def server_signature(verifier: ScramVerifier, auth_message: bytes) -> bytes:
    """Return ServerSignature: HMAC(ServerKey, AuthMessage)."""
    return hmac(verifier.server_key, auth_message, SCRAM_HASHES[verifier.hash][0])


def decoy_verifier(
    secret: bytes,
    hash: str,  # noqa: A002
    user: str,
    iterations: int,
    salt_size: int = 16,
) -> ScramVerifier:
    """Return the verifier that stands in for a user who has none.

    The same user, hash and secret give the same salt each time, as a real account would;
    without the secret it cannot be told from a random one.

    All of it comes from 64 octets of BLAKE2b keyed by a prefix: it needs no nested hash to
    be a MAC (RFC 7693 section 2.9), and one call costs a third of HMAC, on a path that every
    login takes. The first half is the salt. Both keys are made of the other half, and not
    independent of each other: the caller refuses whoever logs in against a decoy, whatever
    the proof. The construction is fixed: another one would give unknown users new salts,
    and only them.

    Raises:
        UsageError: unknown hash, a secret under 16 octets, or a salt size not from 1 to 32.
    """
    size = (SCRAM_HASHES.get(hash) or _algorithm(hash))[1]
    if len(secret) < 16 or not 0 < salt_size <= DECOY_SALT_LIMIT:
        raise UsageError(
            f"a decoy needs a secret of 16 octets or more, and a salt of 1 to {DECOY_SALT_LIMIT}"
        )
    octets = blake2b(secret + _LABELS[hash] + user.encode("utf-8", "surrogatepass")).digest()
    key = octets[DECOY_SALT_LIMIT:]
    if size != len(key):
        key = (key * 2)[:size]
    return ScramVerifier(hash, iterations, octets[:salt_size], key, key[::-1])


def _algorithm(name: str) -> tuple[str, int]:
    """Look up a hash by its SCRAM name."""
    algorithm = SCRAM_HASHES.get(name)
    if algorithm is None:
        raise UsageError(f"the hashes of SCRAM are {', '.join(SCRAM_HASHES)}", code="scram-hash")
    return algorithm


def _check_cost(salt: bytes, iterations: int) -> None:
    """Refuse what could not be stored, and what hashlib would answer with a ValueError."""
    if not 0 < len(salt) <= MAX_SALT:
        raise UsageError(f"a salt has 1 to {MAX_SALT} octets")
    if not 0 < iterations <= MAX_ITERATIONS:
        raise UsageError(f"iterations lie between 1 and {MAX_ITERATIONS}")
