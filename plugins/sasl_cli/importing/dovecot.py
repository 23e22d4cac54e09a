"""Dovecot's passwd-file: `user:{SCHEME}password:uid:gid:gecos:home:shell:extra fields`.

Name and password are read, and of the extra fields those that say whether somebody may log in:
`nologin` locks the user, without it nothing is said, and what would be lost to the harm of
security is a reason to refuse.
A password without a scheme is one of crypt(3), as Dovecot has it for this kind of file.

Source: Dovecot's documentation, "Passwd-file" and "Password Schemes".
"""

from __future__ import annotations

import re
from binascii import unhexlify
from typing import TYPE_CHECKING, Final

from sasl_cli.importing.lines import users_by_line
from sasl_cli.importing.records import (
    Entry,
    RecordError,
    Refused,
    checked_hash,
    identity,
    utf8,
    verifiers_from,
)
from sasl_core.plugin import PeerError, b64decode, printable

if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import BinaryIO

__all__ = ["read"]

_SCHEME = re.compile(r"\{([A-Za-z0-9-]{1,32})(?:\.([A-Za-z0-9]{1,8}))?\}(.*)", re.DOTALL)
_PLAIN: Final = frozenset({"PLAIN", "CLEAR", "CLEARTEXT"})

# Dropping these would let in who was not, or from where he was not.
_RESTRICTING: Final = frozenset({"allow_nets", "allow_real_nets", "nopassword", "noauthenticate"})


def read(file: BinaryIO) -> Iterator[Entry | Refused]:
    """Read users from a passwd-file of Dovecot."""
    return users_by_line(file, _entry, (b"#",))


def _entry(number: int, line: str) -> Entry:
    """One user.

    Raises:
        RecordError: the line cannot be read, or must not be taken over.
    """
    fields = line.split(":", 7)
    if len(fields) == 1:
        # What stands alone may be a password as well as a name.
        raise RecordError("it is not user:password:...")
    user = identity(fields[0])
    extra = fields[7].split() if len(fields) > 7 else []
    names = [field.partition("=")[0] for field in extra]
    restricting = next((name for name in names if name in _RESTRICTING), None)
    if restricting is not None:
        raise RecordError(f"its extra field {restricting!r} has nothing to stand for it here", user)
    disabled = True if "nologin" in names else None
    password = fields[1]
    if not password:
        if disabled:
            return Entry(number, user, disabled=True)
        raise RecordError("it has no password", user)
    match = _SCHEME.fullmatch(password)
    if match is None:
        if password.startswith("{"):
            raise RecordError("its password's {SCHEME} cannot be read", user)
        kept = checked_hash(b"{CRYPT}" + password.encode(), user)
        return Entry(number, user, hashes=(kept,), disabled=disabled)
    scheme, encoding, text = match[1].upper(), match[2], match[3]
    if scheme in _PLAIN:
        plaintext = _decoded(text, encoding, user)
        if not plaintext:
            raise RecordError("its password is empty", user)
        return Entry(number, user, password=plaintext, disabled=disabled)
    if scheme.startswith("SCRAM-"):
        text = f"{{{scheme}}}{_decoded(text, encoding, user)}"
        return Entry(number, user, verifiers_from([text], user), disabled=disabled)
    kept = checked_hash(password.encode(), user)
    return Entry(number, user, hashes=(kept,), disabled=disabled)


def _decoded(text: str, encoding: str | None, user: str) -> str:
    """What `{SCHEME.ENCODING}` spells.

    Raises:
        RecordError: it is not spelt so, or is no UTF-8.
    """
    if encoding is None:
        return text
    data = b""
    try:
        match encoding.lower():
            case "b64" | "base64":
                data = b64decode(text)
            case "hex":
                data = unhexlify(text)
            case _:
                raise RecordError(f"its encoding {printable(encoding, 8)!r} is not known", user)
    except (PeerError, ValueError):
        text = ""
    if not data:
        raise RecordError(f"its password is no {encoding.lower()}", user)
    return utf8(data, "its password", user)
