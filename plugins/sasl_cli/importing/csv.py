"""Users as CSV: a header, then one record for each user (RFC 4180).

| column | |
|---|---|
| `user` | name, or name@realm |
| `realm` | added to the name |
| `verifiers` | SCRAM verifiers, with blanks between them |
| `password` | plaintext |
| `hash` | a hash of a password, `{SCHEME}...` or `$id$...` |
| `disabled` | `true` or `false`; an empty field says neither |
| `property:NAME` | a value of a property |

Columns may come in any order; all but `user` may be missing, and an empty field is none. Several
columns may have one name (`user`, `realm`, `password` and `disabled` apart).
"""

from __future__ import annotations

import csv
import io
from typing import TYPE_CHECKING, Final

from sasl_cli.importing.lines import numbered_lines, quoted_lines
from sasl_cli.importing.records import (
    Entry,
    RecordError,
    Refused,
    checked_hash,
    checked_property,
    identity,
    no_such_field,
    utf8,
    verifiers_from,
)
from sasl_core.plugin import UsageError, printable

if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import BinaryIO

__all__ = ["COLUMNS", "PROPERTY", "read", "truth", "values_of"]

COLUMNS: Final = ("user", "realm", "verifiers", "password", "hash", "disabled")
PROPERTY: Final = "property:"
"""What begins the name of a property's column."""

_ONCE: Final = ("user", "realm", "password", "disabled")
_TRUTH: Final = {
    "0": False,
    "f": False,
    "false": False,
    "no": False,
    "1": True,
    "t": True,
    "true": True,
    "yes": True,
}


def read(file: BinaryIO) -> Iterator[Entry | Refused]:
    """Read users from CSV.

    Raises:
        UsageError: there is no header, or it has a column that is not known.
    """
    columns: list[str] = []
    for line in quoted_lines(numbered_lines(file), b'"'):
        if isinstance(line, Refused):
            if not columns:
                raise UsageError(f"line {line.line}: {line.reason}, and the header is missing")
            yield line
            continue
        number, data = line
        if not data.strip():
            continue
        try:
            cells = values_of(utf8(data, "the line"))
            if columns:
                yield _entry(number, columns, cells)
            else:
                columns = _header(cells)
        except RecordError as error:
            if not columns:
                raise UsageError(f"line {number}, the header: {error}") from None
            yield error.refused(number)
    if not columns:
        raise UsageError("the file is empty: CSV begins with a header that names the columns")


def values_of(line: str) -> list[str]:
    """The fields of one record.

    Raises:
        RecordError: a field is not quoted as it should be.
    """
    try:
        rows: list[list[str]] = list(csv.reader(io.StringIO(line, newline=""), strict=True))
    except csv.Error:
        rows = []
    if len(rows) == 1:
        return rows[0]
    raise RecordError("a field is not quoted as it should be")


def truth(text: str, user: str, name: str = "disabled") -> bool:
    """What the field `name` says that is true or false.

    Raises:
        RecordError: it is neither.
    """
    value = _TRUTH.get(text.casefold())
    if value is None:
        raise RecordError(f"{name!r} is neither true nor false", user)
    return value


def _header(cells: list[str]) -> list[str]:
    """Check the header.

    Raises:
        RecordError: it is none.
    """
    columns = [cell.strip() for cell in cells]
    for name in columns:
        if name.startswith(PROPERTY):
            _ = checked_property(name.removeprefix(PROPERTY), ())
        elif name not in COLUMNS:
            raise RecordError(f"column {no_such_field(name, (*COLUMNS, PROPERTY + 'NAME'))}")
        if columns.count(name) > 1 and name in _ONCE:
            raise RecordError(f"two columns are named {name!r}")
    if "user" not in columns:
        raise RecordError("no column is named 'user'")
    return columns


def _entry(number: int, columns: list[str], cells: list[str]) -> Entry:
    """One user.

    Raises:
        RecordError: the line cannot be read.
    """
    given = list(zip(columns, cells, strict=False))
    single = dict(given)
    user = single.get("user", "")
    if len(cells) != len(columns):
        raise RecordError(
            f"it has {len(cells)} fields, the header {len(columns)}", printable(user, 80)
        )
    user = identity(user, single.get("realm", ""))
    texts: list[str] = []
    hashes: list[bytes] = []
    properties: dict[str, tuple[bytes, ...]] = {}
    for name, text in given:
        if not text:
            continue
        if name == "verifiers":
            texts += text.split()
        elif name == "hash":
            hashes.append(checked_hash(text.encode(), user))
        elif name.startswith(PROPERTY):
            bare = name.removeprefix(PROPERTY)
            values = (*properties.get(bare, ()), text.encode())
            properties[bare] = checked_property(bare, values, user)[1]
    return Entry(
        number,
        user,
        verifiers_from(texts, user),
        single.get("password") or None,
        tuple(hashes),
        properties,
        truth(disabled, user) if (disabled := single.get("disabled", "")) else None,
    )
