"""PostgreSQL's roles, in either of two forms.

- SQL, from `pg_dumpall --roles-only`;
- CSV with a header, from `COPY (SELECT rolname, rolcanlogin, rolpassword, rolvaliduntil FROM
  pg_authid) TO STDOUT (FORMAT csv, HEADER)`.

A role that may not log in is a locked user or, without a password, a group and no user. A
password that expires is refused, for no store of ours can say so, and it would be valid for ever.
So is what stands of a role behind its password: by then the user may be in the stores.

Source: PostgreSQL's documentation, "CREATE ROLE" and "pg_authid".
"""

from __future__ import annotations

import re
from itertools import chain
from typing import TYPE_CHECKING, Final

from sasl_cli.importing.csv import truth, values_of
from sasl_cli.importing.lines import numbered_lines, quoted_lines
from sasl_cli.importing.records import Entry, RecordError, Refused, identity, utf8, verifiers_from
from sasl_core.plugin import UsageError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import BinaryIO

__all__ = ["read"]

_ROLE = re.compile(
    r"\s*(CREATE|ALTER) (ROLE|USER) ([a-z_][a-z0-9_$]*|\"(?:[^\"]|\"\")+\")"
    r"(?: WITH)?( [^;].*)?;\s*",
    re.DOTALL,
)
_PART = re.compile(r"'(?:[^']|'')*'|[A-Za-z]+|-?[0-9]+")
_OPTIONS = re.compile(rf"(?:\s+(?:{_PART.pattern}))+\s*")
# What a dump of roles holds besides: nothing that makes a user.
_OTHER = re.compile(
    r"\s*(?:SET .*|SELECT .*|GRANT .*|REVOKE .*|"
    r"COMMENT ON ROLE .*|DROP ROLE .*|"
    r"SECURITY LABEL .*|CREATE TABLESPACE .*|ALTER TABLESPACE .*)?",
    re.DOTALL,
)
_SETTINGS: Final = frozenset({"SET", "RESET", "RENAME", "IN"})
"""What begins an ALTER ROLE that is about something else than who may log in."""
_NEEDED: Final = ("rolname", "rolpassword", "rolcanlogin", "rolvaliduntil")
"""Without the last two nobody knows who may log in, nor whose password has expired."""
_ONCE: Final = frozenset({"LOGIN", "NOLOGIN", "PASSWORD", "VALID"})
"""What must not be said of a role any more once it was taken."""
_FOREVER: Final = frozenset({"", "infinity"})


def read(file: BinaryIO) -> Iterator[Entry | Refused]:
    """Read users from what PostgreSQL dumps of its roles.

    Raises:
        UsageError: it is CSV, and a column is missing.
    """
    lines = numbered_lines(file)
    first = next(lines, None)
    columns = [] if first is None or isinstance(first, Refused) else _header(first[1])
    if columns:
        read_as = quoted_lines(lines, b'"')
    else:
        begun = lines if first is None else chain([first], lines)
        read_as = quoted_lines(begun, b"'\"", (b"--", b"\\"))
    taken: dict[str, int] = {}
    for line in read_as:
        if isinstance(line, Refused):
            yield line
            continue
        number, data = line
        if not data.strip():
            continue
        try:
            text = utf8(data, "the line")
            found = _from_csv(number, columns, text) if columns else _from_sql(number, text, taken)
        except RecordError as error:
            found = error.refused(number)
        if found is not None:
            yield found


def _header(line: bytes) -> list[str]:
    """The columns, where the file is CSV; none where it is SQL.

    Raises:
        UsageError: one is missing.
    """
    columns = line.decode("ascii", "replace").replace('"', "").split(",")
    if "rolname" not in columns:
        return []
    for name in _NEEDED:
        if columns.count(name) != 1:
            raise UsageError(f"line 1, the header: {', '.join(_NEEDED)} are needed, once: {name!r}")
    return columns


def _from_csv(number: int, columns: list[str], line: str) -> Entry | Refused:
    cells = values_of(line)
    if len(cells) != len(columns):
        raise RecordError(f"it has {len(cells)} fields, the header {len(columns)}")
    row = dict(zip(columns, cells, strict=True))
    user = identity(row["rolname"])
    login = truth(row["rolcanlogin"], user, "rolcanlogin")
    return _entry(number, user, row["rolpassword"], row["rolvaliduntil"], login=login)


def _from_sql(number: int, line: str, taken: dict[str, int]) -> Entry | Refused | None:
    """What a statement says of a role; `taken`: those of whom one had a password, and its line.

    Raises:
        RecordError: it cannot be read, or comes too late.
    """
    match = _ROLE.fullmatch(line)
    if match is None:
        if _OTHER.fullmatch(line):
            return None
        raise RecordError("it is nothing that a dump of roles holds")
    verb, kind, name, options = match[1], match[2], match[3], match[4]
    user = name[1:-1].replace('""', '"') if name.startswith('"') else name
    if options is None:
        return None  # CREATE ROLE tim; what tim may comes with ALTER ROLE
    login = kind == "USER" and verb == "CREATE"
    password = valid = ""
    parts = [part[0] for part in _PART.finditer(options)]
    if parts and parts[0].upper() in _SETTINGS:
        return None
    if _OPTIONS.fullmatch(options) is None:
        raise RecordError("its options cannot be read", user)
    for place, part in enumerate(parts):
        following = parts[place + 1] if place + 1 < len(parts) else ""
        match part.upper():
            case "LOGIN":
                login = True
            case "NOLOGIN":
                login = False
            case "PASSWORD" if following.upper() != "NULL":
                password = _string(following, user)
            case "UNTIL":
                valid = _string(following, user)
            case _:
                pass
    if user in taken:
        late = next((part for part in map(str.upper, parts) if part in _ONCE), None)
        if late is None:
            return None
        raise RecordError(
            f"its {late} stands behind its password, in line {taken[user]}, and is not taken over: "
            f"write both in one statement, or change the user by hand",
            user,
        )
    found = _entry(number, user, password, valid, login=login)
    if isinstance(found, Entry):
        taken[user] = number
    return found


def _string(text: str, user: str) -> str:
    """The value of an SQL string.

    Raises:
        RecordError: it is none, or one with escapes.
    """
    if len(text) < 2 or not text.startswith("'"):
        raise RecordError("its password, or its end, is no plain SQL string", user)
    return text[1:-1].replace("''", "'")


def _entry(number: int, user: str, password: str, valid: str, *, login: bool) -> Entry | Refused:
    if not password and not login:
        return Refused(number, user, "it is a role without login and password", skipped=True)
    if not password:
        raise RecordError("it has no password", user)
    if valid.casefold() not in _FOREVER:
        raise RecordError("its password expires (VALID UNTIL), which cannot be kept here", user)
    if password.startswith("md5"):
        raise RecordError(
            "its password is kept as PostgreSQL's md5, which only PostgreSQL takes: set it anew "
            "there with password_encryption = 'scram-sha-256'",
            user,
        )
    return Entry(number, user, verifiers_from([password], user), disabled=not login)
