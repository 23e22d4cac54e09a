"""A Cyrus sasldb, dumped: `db5.3_dump -p sasldb2`, or without `-p`.

Each pair of lines is a key, `user NUL realm NUL property`, and its value. `userPassword` is
plaintext, `authPassword` a SCRAM verifier, `cmusaslsecret...` the secret of one mechanism; all
else are properties.

The properties of one user lie anywhere in the file, for Berkeley DB hashes its keys. So this
reader, unlike the others, holds all of it: some 500 bytes a user.

Source: Cyrus SASL's sasldb plugin; Berkeley DB's documentation, "db_dump".
"""

from __future__ import annotations

import re
import sys
from binascii import unhexlify
from typing import TYPE_CHECKING, Final

from sasl_cli.importing.lines import numbered_lines
from sasl_cli.importing.records import (
    Entry,
    RecordError,
    Refused,
    checked_property,
    identity,
    utf8,
    verifiers_from,
)
from sasl_core.plugin import PASSWORD, VERIFIERS, UsageError, printable

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import BinaryIO

__all__ = ["SIZE_LIMIT", "read"]

SIZE_LIMIT: Final = 512 * 1024 * 1024
"""Most that is held of one dump, in bytes."""
_PER_USER: Final = 550
_PER_PROPERTY: Final = 100
"""What the tables need besides the texts themselves, in bytes, while they grow."""

_END: Final = b"DATA=END"
_SECRET: Final = "cmusaslsecret"  # noqa: S105 - the beginning of a property's name
_ESCAPE = re.compile(rb"\\(\\|[0-9a-fA-F]{2})|\\")


def read(file: BinaryIO) -> Iterator[Entry | Refused]:
    """Read users from the dump of a sasldb.

    Raises:
        UsageError: it is no dump, or one that is too large.
    """
    lines = numbered_lines(file)
    decode = _header(lines)
    users: dict[tuple[str, str], tuple[int, dict[str, bytes]]] = {}
    held = 0
    ended = False
    number = 0
    for first in lines:
        if isinstance(first, Refused):
            yield first
            # Its value goes with it: taken for a key, it would name a user of its writer's choice.
            following = next(lines, None)
            ended = not isinstance(following, Refused | None) and following[1] == _END
            if ended:
                break
            continue
        number, line = first
        if line == _END:
            ended = True
            break
        second = next(lines, None)
        if second is None:
            break
        if isinstance(second, Refused):
            yield second
            continue
        try:
            user, name = _key(decode(line))
            value = decode(second[1])
            if user not in users:
                users[user] = (number, {})
                held += sum(map(sys.getsizeof, user)) + _PER_USER
            properties = users[user][1]
            if name in properties:
                raise RecordError(f"property {printable(name, 40)!r} stands twice", user[0])
            properties[name] = value
            held += sys.getsizeof(name) + sys.getsizeof(value) + _PER_PROPERTY
            if held > SIZE_LIMIT:
                raise UsageError(f"line {number}: more than {SIZE_LIMIT} bytes would be held of it")
        except RecordError as error:
            yield error.refused(number)
    if not ended:
        yield Refused(max(number, 1), "", "the dump is cut off: it does not end with DATA=END")
    for (name, realm), (place, properties) in users.items():
        try:
            yield _entry(place, identity(name, realm), properties)
        except RecordError as error:
            yield error.refused(place)


def _header(lines: Iterator[tuple[int, bytes] | Refused]) -> Callable[[bytes], bytes]:
    """How the lines after the header are spelt.

    Raises:
        UsageError: there is no header of db_dump.
    """
    fields: dict[bytes, bytes] = {}
    for line in lines:
        if isinstance(line, Refused) or line[0] > 100:
            break
        if line[1] == b"HEADER=END":
            decode = {b"print": _from_print, b"bytevalue": _from_hex}.get(
                fields.get(b"format", b"")
            )
            if decode is None:
                break
            return decode
        name, _, value = line[1].partition(b"=")
        fields[name] = value
    raise UsageError("it is no dump of a sasldb: make one with db5.3_dump -p sasldb2")


def _from_print(line: bytes) -> bytes:
    """A line of `db_dump -p`: a blank, then text, what is none as backslash and two digits."""

    def spelt(match: re.Match[bytes]) -> bytes:
        if match[1] is None:
            raise RecordError("a backslash stands before something that it does not escape")
        return b"\\" if match[1] == b"\\" else unhexlify(match[1])

    if not line.startswith(b" "):
        raise RecordError("a line of the dump begins with no blank")
    return _ESCAPE.sub(spelt, line[1:])


def _from_hex(line: bytes) -> bytes:
    """A line of `db_dump`: a blank, then hexadecimal digits."""
    try:
        if line.startswith(b" "):
            return unhexlify(line[1:])
    except ValueError:
        pass
    raise RecordError("a line of the dump is not a blank and hexadecimal digits")


def _key(key: bytes) -> tuple[tuple[str, str], str]:
    parts = key.split(b"\0")
    if len(parts) != 3:
        raise RecordError("a key is not user, realm and property")
    user, realm, name = (utf8(part, "a key") for part in parts)
    return (user, realm), name


def _entry(number: int, user: str, properties: dict[str, bytes]) -> Entry:
    """One user.

    Raises:
        RecordError: a property cannot be taken over.
    """
    password: str | None = None
    texts: list[str] = []
    kept: dict[str, tuple[bytes, ...]] = {}
    notes: list[str] = []
    for name, value in properties.items():
        if name == PASSWORD:
            password = utf8(value, "its password", user)
        elif name == VERIFIERS:
            texts.append(utf8(value, "its authPassword", user))
        elif name.startswith(_SECRET):
            mechanism = printable(name.removeprefix(_SECRET), 20)
            notes.append(f"the secret of {mechanism} is of that mechanism alone, and is left out")
        else:
            kept[name] = checked_property(name, (value,), user)[1]
    return Entry(number, user, verifiers_from(texts, user), password, (), kept, notes=tuple(notes))
