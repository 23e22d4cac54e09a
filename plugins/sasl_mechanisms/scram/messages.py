"""The four messages of SCRAM, parsed and formatted (RFC 5802 sections 5 and 7).

    client-first   n,,n=user,r=<client nonce>
    server-first   r=<client nonce><server nonce>,s=<salt>,i=<iterations>
    client-final   c=<GS2 header and binding>,r=<both nonces>,p=<proof>
    server-final   v=<server signature>       or e=<error>

Each parser has one pattern for what is right; only a message that fails it is taken apart
to say why, in words that hold nothing of the message. What a parser accepts, its formatter
writes again byte for byte. Unknown optional attributes are kept as they came, for both
sides sign them in AuthMessage; `m=`, a known attribute out of its place and a repeated one
are refused.

Nothing here knows the exchange: whether nonces agree, how many iterations are too many,
whether the binding is the right one, and how long a proof is are the mechanism's to check.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

import attrs

from sasl_core.plugin import (
    Gs2Header,
    PeerError,
    UsageError,
    b64decode,
    b64encode,
    escape_saslname,
    format_gs2,
    parse_gs2,
    parse_saslname,
    record,
)

if TYPE_CHECKING:
    from typing import NoReturn

__all__ = [
    "MESSAGE_LIMIT",
    "SERVER_ERRORS",
    "ClientFinal",
    "ClientFirst",
    "MandatoryExtensionError",
    "ServerFinal",
    "ServerFirst",
    "auth_message",
    "extension",
    "format_client_final",
    "format_client_first",
    "format_server_error",
    "format_server_final",
    "format_server_first",
    "format_without_proof",
    "parse_client_final",
    "parse_client_first",
    "parse_server_final",
    "parse_server_first",
]

MESSAGE_LIMIT: Final = 65_536
"""Longest message read, in octets."""

SERVER_ERRORS: Final = frozenset(
    {
        "invalid-encoding",
        "extensions-not-supported",
        "invalid-proof",
        "channel-bindings-dont-match",
        "server-does-support-channel-binding",
        "channel-binding-not-supported",
        "unsupported-channel-binding-type",
        "unknown-user",
        "invalid-username-encoding",
        "no-resources",
        "other-error",
    }
)
"""The values of `e=` that RFC 5802 section 7 names."""

# A client nonce under 8 characters is too easy to meet twice; the upper bounds are ours.
# Quantifiers are possessive: no part can end anywhere but where it does, so that no message is
# read twice. An extension in client-final is looked for only after the common form has failed.
_CLIENT_FIRST = re.compile(rb"n=([^,\0]++),r=([!-+\--~]{8,1024}+)(?:,(.++))?", re.DOTALL).fullmatch
_SERVER_FIRST = re.compile(
    rb"r=([!-+\--~]{8,2048}+),s=([A-Za-z0-9+/]++={0,2}),i=([1-9][0-9]{0,9}+)(?:,(.++))?",
    re.DOTALL,
).fullmatch
_CLIENT_FINAL = re.compile(
    rb"(c=([A-Za-z0-9+/]++={0,2}),r=([!-+\--~]{8,2048}+)(?:,(.+))??),p=([A-Za-z0-9+/]++={0,2})",
    re.DOTALL,
).fullmatch
_SERVER_FINAL = re.compile(rb"v=([A-Za-z0-9+/]++={0,2})(?:,(.++))?", re.DOTALL).fullmatch
_SERVER_ERROR = re.compile(rb"e=([^,\0]++)(?:,(.++))?", re.DOTALL)

_NONCE = re.compile(rb"[!-+\--~]+").fullmatch
_ATTRIBUTE = re.compile(rb"([A-Za-z])=[^,\0]+")
_KNOWN = b"nrcsipvem"
"""Attributes with a place of their own (RFC 5802 section 5.1); `a` has its in the GS2 header."""


class MandatoryExtensionError(PeerError):
    """A message holds `m=`, which nobody may ignore and nobody has defined yet."""

    def __init__(self, code: str, prefix: str = "") -> None:
        super().__init__(f"{prefix}a mandatory extension (m=) is not supported", code=code)


@record
class ClientFirst:
    """The client's first message. `header` and `bare` are its two parts as sent."""

    gs2: Gs2Header
    username: str
    nonce: bytes
    header: bytes
    bare: bytes
    extensions: bytes = b""


@record
class ServerFirst:
    """The server's first message. `nonce` is both nonces; `text` the message as sent."""

    nonce: bytes
    salt: bytes
    iterations: int
    text: bytes
    extensions: bytes = b""


@record
class ClientFinal:
    """The client's final message. `binding` is what `c=` carries, decoded: the GS2 header,
    then channel-binding data. `without_proof` is all before `,p=`, as sent. The repr shows no
    proof, for a password can be guessed at with one.
    """

    binding: bytes
    nonce: bytes
    proof: bytes = attrs.field(repr=False)
    without_proof: bytes
    extensions: bytes = b""


@record
class ServerFinal:
    """The server's last word: its signature in `verifier`, or why not in `error`.

    Exactly one of the two is not None. `error` is one of `SERVER_ERRORS`; any other value
    that a server sent has become "other-error". The repr shows no signature, for a password
    can be guessed at with one.
    """

    verifier: bytes | None = attrs.field(repr=False)
    error: str | None
    text: bytes = attrs.field(repr=False)
    extensions: bytes = b""


def parse_client_first(message: bytes) -> ClientFirst:
    """Parse a client-first-message.

    Raises:
        PeerError: it is malformed; code "gs2", "saslname" or "scram-client-first".
    """
    gs2, bare = parse_gs2(message)
    match = _CLIENT_FIRST(bare)
    if match is None:
        _refuse("scram-client-first", "client-first", bare, b"nr")
    name, nonce, extensions = match.groups()
    if extensions is None:
        extensions = b""
    else:
        _check_extensions("scram-client-first", extensions)
    header = message[: len(message) - len(bare)]
    # Letters and digits alone need no unescaping, and bytes count only those of ASCII.
    username = name.decode("ascii") if name.isalnum() else parse_saslname(name)
    return ClientFirst(gs2, username, nonce, header, bare, extensions)


def format_client_first(
    gs2: Gs2Header, username: str, nonce: bytes, extensions: bytes = b""
) -> tuple[bytes, bytes]:
    """Return the two parts of a client-first-message: GS2 header and bare message.

    Raises:
        UsageError: a name or the nonce cannot be sent.
    """
    if _NONCE(nonce) is None:
        raise _unsendable()
    bare = b"n=%b,r=%b" % (escape_saslname(username).encode(), nonce)
    return format_gs2(gs2), b"%b,%b" % (bare, extensions) if extensions else bare


def parse_server_first(message: bytes) -> ServerFirst | ServerFinal:
    """Parse a server-first-message.

    Some servers send `e=` this early. That comes back as a `ServerFinal` with its `error`.
    The caller caps `iterations` before deriving anything: up to ten digits pass here.

    Raises:
        PeerError: it is malformed; code "scram-server-first".
    """
    if len(message) > MESSAGE_LIMIT:
        _too_long("scram-server-first", "server-first")
    match = _SERVER_FIRST(message)
    if match is None:
        if message.startswith(b"e="):
            return _server_error("scram-server-first", "server-first", message)
        _refuse("scram-server-first", "server-first", message, b"rsi")
    nonce, salt, iterations, extensions = match.groups()
    if extensions is None:
        extensions = b""
    else:
        _check_extensions("scram-server-first", extensions)
    try:
        salt = b64decode(salt)
    except PeerError as error:
        raise _not_base64("server-first: s=", "scram-server-first") from error
    return ServerFirst(nonce, salt, int(iterations), message, extensions)


def format_server_first(
    nonce: bytes, salt: bytes, iterations: int, extensions: bytes = b""
) -> bytes:
    """Return a server-first-message; `nonce` is both nonces.

    Raises:
        UsageError: the nonce, the salt or the iterations cannot be sent.
    """
    if not salt or iterations < 1:
        raise UsageError("a SCRAM server needs a salt and at least one iteration")
    if _NONCE(nonce) is None:
        raise _unsendable()
    message = b"r=%b,s=%b,i=%d" % (nonce, b64encode(salt), iterations)
    return b"%b,%b" % (message, extensions) if extensions else message


def parse_client_final(message: bytes, nonce: bytes | None = None) -> ClientFinal:
    """Parse a client-final-message.

    `nonce`: the one of the exchange, if it is known. It decides nothing, and whether the
    message has it is the caller's to check; a message that has it is only faster to read.

    Raises:
        PeerError: it is malformed; code "scram-client-final".
    """
    if len(message) > MESSAGE_LIMIT:
        _too_long("scram-client-final", "client-final")
    if nonce is not None:
        # As nearly every client sends it, without extensions: binding, this nonce, proof.
        without_proof, _, proof = message.rpartition(b",p=")
        tail = b",r=" + nonce
        if proof and without_proof.startswith(b"c=") and without_proof.endswith(tail):
            encoded = without_proof[2 : -len(tail)]
            try:
                binding = b"n,," if encoded == b"biws" else encoded and b64decode(encoded)
                decoded = b64decode(proof)
            except PeerError as error:
                raise _not_base64("client-final: c= or p=", "scram-client-final") from error
            if binding:
                return ClientFinal(binding, nonce, decoded, without_proof)
    match = _CLIENT_FINAL(message)
    if match is None:
        _refuse("scram-client-final", "client-final", message, b"cr", last=b"p")
    without_proof, binding, found, extensions, proof = match.groups()
    if extensions is None:
        extensions = b""
    else:
        _check_extensions("scram-client-final", extensions)
    try:
        binding = b64decode(binding)
        proof = b64decode(proof)
    except PeerError as error:
        raise _not_base64("client-final: c= or p=", "scram-client-final") from error
    return ClientFinal(binding, found, proof, without_proof, extensions)


def format_without_proof(binding: bytes, nonce: bytes, extensions: bytes = b"") -> bytes:
    """Return a client-final-message-without-proof, the part that AuthMessage holds.

    Raises:
        UsageError: the binding is empty, or the nonce cannot be sent.
    """
    if not binding:
        raise UsageError("c= carries a GS2 header at the least")
    if _NONCE(nonce) is None:
        raise _unsendable()
    message = b"c=%b,r=%b" % (b64encode(binding), nonce)
    return b"%b,%b" % (message, extensions) if extensions else message


def format_client_final(without_proof: bytes, proof: bytes) -> bytes:
    """Return a client-final-message."""
    return b"%b,p=%b" % (without_proof, b64encode(proof))


def parse_server_final(message: bytes) -> ServerFinal:
    """Parse a server-final-message. A server's error is a value, in `error`.

    Raises:
        PeerError: it is malformed, empty included; code "scram-server-final".
    """
    if len(message) > MESSAGE_LIMIT:
        _too_long("scram-server-final", "server-final")
    match = _SERVER_FINAL(message)
    if match is None:
        if message.startswith(b"e="):
            return _server_error("scram-server-final", "server-final", message)
        _refuse("scram-server-final", "server-final", message, b"v")
    verifier, extensions = match.groups()
    if extensions is None:
        extensions = b""
    else:
        _check_extensions("scram-server-final", extensions)
    try:
        verifier = b64decode(verifier)
    except PeerError as error:
        raise _not_base64("server-final: v=", "scram-server-final") from error
    return ServerFinal(verifier, None, message, extensions)


def format_server_final(signature: bytes, extensions: bytes = b"") -> bytes:
    """Return a server-final-message of success."""
    message = b"v=" + b64encode(signature)
    return b"%b,%b" % (message, extensions) if extensions else message


def format_server_error(value: str) -> bytes:
    """Return a server-final-message of failure.

    Raises:
        UsageError: `value` is none of `SERVER_ERRORS`.
    """
    if value not in SERVER_ERRORS:
        raise UsageError("e= carries one of the values of RFC 5802 section 7")
    return b"e=" + value.encode("ascii")


def auth_message(client_first_bare: bytes, server_first: bytes, without_proof: bytes) -> bytes:
    """Return AuthMessage, which both sides sign (RFC 5802 section 3)."""
    return b"%b,%b,%b" % (client_first_bare, server_first, without_proof)


def extension(extensions: bytes, letter: bytes) -> bytes | None:
    """The value of the optional attribute `letter`, None if there is none."""
    for part in extensions.split(b","):
        if part.startswith(letter + b"="):
            return part[2:]
    return None


def _server_error(code: str, name: str, message: bytes) -> ServerFinal:
    match = _SERVER_ERROR.fullmatch(message)
    if match is None:
        _refuse(code, name, message, b"e")
    value, extensions = match.groups()
    if not value.isascii():
        _check_utf8(code, value)
    if extensions is None:
        extensions = b""
    else:
        _check_extensions(code, extensions)
    error = value.decode("ascii", "replace")
    known = error if error in SERVER_ERRORS else "other-error"
    return ServerFinal(None, known, message, extensions)


def _check_utf8(code: str, text: bytes) -> None:
    try:
        _ = text.decode()
    except UnicodeDecodeError:
        pass
    else:
        return
    # Raised out here: a UnicodeDecodeError in its context would carry the text.
    raise PeerError("an attribute's value is not UTF-8", code=code)


def _check_extensions(code: str, extensions: bytes) -> None:
    """Refuse what is not a list of unknown optional attributes, each at most once.

    Raises:
        PeerError: with `code`.
    """
    if not extensions.isascii():
        _check_utf8(code, extensions)
    seen = bytearray(_KNOWN)
    start = 0
    # Ends after some fifty rounds at most, for there are no more letters.
    while start <= len(extensions):
        end = extensions.find(b",", start)
        end = len(extensions) if end < 0 else end
        match = _ATTRIBUTE.fullmatch(extensions, start, end)
        if match is None:
            raise PeerError("an optional attribute is not a letter, '=' and a value", code=code)
        letter = match[1]
        if letter == b"m":
            raise MandatoryExtensionError(code)
        if letter in seen:
            raise PeerError("an attribute is repeated or out of its place", code=code)
        seen += letter
        start = end + 1


_MEANING: Final = {
    "n": ("a user name", re.compile(rb"[^,\0]+")),
    "r": ("a nonce of printable ASCII, long enough", re.compile(rb"[!-+\--~]{8,2048}")),
    "s": ("a salt in base64", re.compile(rb"[A-Za-z0-9+/]+={0,2}")),
    "i": ("a number of iterations", re.compile(rb"[1-9][0-9]{0,9}")),
    "c": ("a channel binding in base64", re.compile(rb"[A-Za-z0-9+/]+={0,2}")),
    "p": ("a proof in base64", re.compile(rb"[A-Za-z0-9+/]+={0,2}")),
    "v": ("a signature in base64", re.compile(rb"[A-Za-z0-9+/]+={0,2}")),
    "e": ("an error value", re.compile(rb"[^,\0]+")),
}


def _refuse(code: str, name: str, message: bytes, letters: bytes, last: bytes = b"") -> NoReturn:
    """Raise what is wrong with a message that its pattern did not match.

    `letters`: the attributes that it opens with; `last`: the one that it ends with.
    """
    parts = message.split(b",", len(letters))
    for place, letter in enumerate(letters.decode("ascii")):
        part = parts[place] if place < len(parts) else b""
        _check_part(code, name, letter, part, f"attribute {place + 1}")
    if last:
        part = message[message.rfind(b",") + 1 :]
        _check_part(code, name, last.decode("ascii"), part, "the last attribute")
    raise PeerError(f"{name}: a part of it is too long, or stands where none may", code=code)


def _check_part(code: str, name: str, letter: str, part: bytes, which: str) -> None:
    meaning, pattern = _MEANING[letter]
    if part.startswith(b"m="):
        raise MandatoryExtensionError(code, f"{name}: ")
    if not part.startswith(letter.encode("ascii") + b"="):
        raise PeerError(f"{name}: {which} is not {letter}=, {meaning}", code=code)
    if pattern.fullmatch(part, 2) is None:
        raise PeerError(f"{name}: the value of {letter}= is not {meaning}", code=code)


def _too_long(code: str, name: str) -> NoReturn:
    raise PeerError(f"{name}: more than {MESSAGE_LIMIT} octets", code=code)


def _not_base64(what: str, code: str) -> PeerError:
    return PeerError(f"{what} is not canonical base64", code=code)


def _unsendable() -> UsageError:
    return UsageError("a nonce is printable ASCII without a comma")
