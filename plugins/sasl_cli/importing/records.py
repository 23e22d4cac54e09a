"""What readers yield, and the checks that all of them make."""

from __future__ import annotations

import re
from difflib import get_close_matches
from types import MappingProxyType
from typing import TYPE_CHECKING, Final, TypeAlias

import attrs

from sasl_core.plugin import (
    HASHES,
    PASSWORD,
    VERIFIERS,
    UsageError,
    parse_any_verifier,
    printable,
    record,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping
    from typing import BinaryIO

    from sasl_core.plugin import ScramVerifier

__all__ = [
    "Entry",
    "Reader",
    "RecordError",
    "Refused",
    "checked_hash",
    "checked_property",
    "exact_name",
    "identity",
    "no_such_field",
    "scheme_of",
    "utf8",
    "verifiers_from",
]

EXACT_LIMIT: Final = 1024
"""Longest name that a login by access token has, in characters."""
HASH_LIMIT: Final = 4096
PROPERTY_LIMIT: Final = 255
VALUE_LIMIT: Final = 64 * 1024
VALUES_LIMIT: Final = 1000
VERIFIERS_LIMIT: Final = 16
"""Most verifiers of one user; there are six hashes."""

# Directories do not tell case, so that another spelling would be no other property.
_RESERVED: Final = {
    PASSWORD.casefold(): "a password stands in a field of its own",
    VERIFIERS.casefold(): "verifiers stand in a field of their own",
    HASHES.casefold(): "hashes of passwords stand in a field of their own",
}
_NOTHING: Final[Mapping[str, tuple[bytes, ...]]] = MappingProxyType({})
# One word, and no colon in it: it would end the field of a passwd-file.
_HASH = re.compile(
    rb"(\{[A-Za-z0-9][A-Za-z0-9.-]{0,31}\}|\$[A-Za-z0-9][A-Za-z0-9-]{0,31}\$)[\x21-\x39\x3b-\x7e]+"
)


@record
class Entry:
    """One user of the file, as the file has it.

    `user`: name or name@realm, not canonical yet. `hashes`: `{SCHEME}...` or `$id$...`, which
    are no SCRAM verifiers. `properties`: an empty tuple where the file says that there is no
    value. `disabled`: None where the file does not say. `notes`: what of this user could not be
    taken over although the rest can.
    """

    line: int
    user: str
    verifiers: tuple[ScramVerifier, ...] = attrs.field(default=(), repr=False)
    password: str | None = attrs.field(default=None, repr=False)
    hashes: tuple[bytes, ...] = attrs.field(default=(), repr=False)
    properties: Mapping[str, tuple[bytes, ...]] = attrs.field(default=_NOTHING, repr=False)
    disabled: bool | None = None
    notes: tuple[str, ...] = ()


@record
class Refused:
    """What could not be read or taken over, and why. `skipped`: it is no user at all."""

    line: int
    user: str
    reason: str
    skipped: bool = False


Reader: TypeAlias = "Callable[[BinaryIO], Iterator[Entry | Refused]]"


class RecordError(UsageError):
    """One user cannot be read; `user` as far as it is known. Readers make a `Refused` of it."""

    def __init__(self, reason: str, user: str = "") -> None:
        super().__init__(reason, code="import")
        self.user = user

    def refused(self, line: int) -> Refused:
        return Refused(line, printable(self.user, 80), str(self))


def utf8(data: bytes, what: str, user: str = "") -> str:
    """`data` as text.

    Raises:
        RecordError: it is no UTF-8.
    """
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError:
        pass
    raise RecordError(f"{what} is no UTF-8", user)


def identity(user: str, realm: str = "") -> str:
    """The user of that name and realm, in one string.

    Raises:
        RecordError: the name is empty, or the realm holds an @.
    """
    if not user:
        raise RecordError("it has no user name")
    if "@" in realm:
        raise RecordError("the realm holds an @", user)
    return f"{user}@{realm}" if realm else user


def exact_name(user: str) -> str:
    """The name of who logs in with an access token: taken as it stands, blanks and all.

    Raises:
        RecordError: nobody can have it.
    """
    if not 0 < len(user) <= EXACT_LIMIT or not user.isprintable():
        raise RecordError(
            f"the name is not 1 to {EXACT_LIMIT} characters, all of them printable", user
        )
    return user


def verifiers_from(texts: Iterable[str], user: str) -> tuple[ScramVerifier, ...]:
    """SCRAM verifiers, each in RFC 5803's form or in Dovecot's.

    Raises:
        RecordError: one is none, or there are too many.
    """
    made: list[ScramVerifier] = []
    for text in texts:
        if len(made) == VERIFIERS_LIMIT:
            raise RecordError(f"it has more than {VERIFIERS_LIMIT} verifiers", user)
        try:
            # What is not ASCII becomes "?", which no verifier holds.
            made.append(parse_any_verifier(text.encode("ascii", "replace")))
            continue
        except UsageError as error:
            reason = str(error)
        raise RecordError(reason, user)
    return tuple(made)


def checked_hash(text: bytes, user: str) -> bytes:
    """A hash of a password: `{SCHEME}` and what belongs to it, or modular crypt, `$id$...`.

    Raises:
        RecordError: it is none, or one of SCRAM, which is a verifier.
    """
    if len(text) > HASH_LIMIT or _HASH.fullmatch(text) is None:
        raise RecordError(
            f"its hash is not {{SCHEME}} or $id$ and at most {HASH_LIMIT} printable characters, "
            f"none of them a blank or a colon",
            user,
        )
    if text.upper().startswith(b"{SCRAM-"):
        raise RecordError("a SCRAM verifier stands where another hash is expected", user)
    return text


def scheme_of(text: bytes) -> str:
    """What a hash that was checked begins with; nothing of the hash itself."""
    match = _HASH.match(text)
    return "{}" if match is None else match[1].decode("ascii")


def checked_property(
    name: str, values: tuple[bytes, ...], user: str = ""
) -> tuple[str, tuple[bytes, ...]]:
    """A property that every store takes.

    Raises:
        RecordError: its name or its values are out of limits, or it is one of the properties
            that let somebody in.
    """
    if not 0 < len(name) <= PROPERTY_LIMIT or not name.isprintable() or name.startswith("*"):
        raise RecordError(f"{printable(name, 40)!r} is no name of a property", user)
    reserved = _RESERVED.get(name.casefold())
    if reserved is not None:
        raise RecordError(f"property {printable(name, 40)!r} is not taken: {reserved}", user)
    if len(values) > VALUES_LIMIT or any(len(value) > VALUE_LIMIT for value in values):
        raise RecordError(
            f"property {printable(name, 40)!r} has more than {VALUES_LIMIT} values, or one longer "
            f"than {VALUE_LIMIT} bytes",
            user,
        )
    return name, values


def no_such_field(name: object, known: Iterable[str]) -> str:
    """What is said of a column or a member that is not known."""
    names = tuple(known)
    shown = printable(name, 40)
    near = get_close_matches(shown, names, 1)
    meant = f"did you mean {near[0]!r}?" if near else f"known: {', '.join(names)}"
    return f"{shown!r} is not known; {meant}"
