"""Users as other programs read them: one function for each format.

A format is what stands before the users, what is written of one user, and what stands behind.
A user whom it has no form for raises `UsageError`, and costs only itself. Of who is not locked
`csv` and `jsonl` say nothing, so that an export which is put back unlocks nobody.
"""

from __future__ import annotations

import csv
import io
import json
import re
from types import MappingProxyType
from typing import TYPE_CHECKING, Final, TypeAlias

import attrs

from sasl_cli.importing.csv import COLUMNS, PROPERTY
from sasl_cli.importing.records import RecordError, checked_hash
from sasl_core.plugin import (
    HASHES,
    VERIFIERS,
    ScramVerifier,
    UsageError,
    UserName,
    b64encode,
    format_braced_verifier,
    format_mongodb_credentials,
    format_verifier,
    record,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

__all__ = ["FORMATS", "Account", "Format"]

ROLE_LIMIT: Final = 63
"""Longest name of a role in PostgreSQL, in bytes; it would cut a longer one."""

_NOTHING: Final[Mapping[str, tuple[bytes, ...]]] = MappingProxyType({})
# What would end a field or a line of a passwd-file, or make it a comment.
_UNFIT_FOR_PASSWD = re.compile(r"[:\x00-\x20\x7f]|^#")


@record
class Account:
    """A user of ours. Of a disabled one nothing but the name is known."""

    name: UserName
    verifiers: Mapping[str, ScramVerifier] = attrs.field(repr=False)
    hashes: tuple[bytes, ...] = attrs.field(default=(), repr=False)
    properties: Mapping[str, tuple[bytes, ...]] = attrs.field(default=_NOTHING, repr=False)
    disabled: bool = False


Line: TypeAlias = "Callable[[Account], str]"


@record
class Format:
    """`head(properties)`, `line(account)` and `foot`. `properties`: whether it has room for some.

    `disabled`: whether it can say that a user is. `key`: by what its readers tell users apart.
    """

    line: Line
    head: Callable[[Sequence[str]], str] = lambda _: ""
    foot: str = ""
    properties: bool = False
    disabled: bool = False
    key: Callable[[Account], str] = lambda account: str(account.name)


def _only(account: Account, *hashes: str) -> ScramVerifier:
    """The verifier of the first of these hashes that the user has.

    Raises:
        UsageError: there is none.
    """
    for name in hashes:
        if name in account.verifiers:
            return account.verifiers[name]
    raise UsageError(f"has no verifier of {' or '.join(hashes)}")


def _hash_text(value: bytes) -> str:
    """A hash of a password as an import takes it.

    Raises:
        UsageError: it does not, or it would write other fields and lines than its own.
    """
    try:
        return checked_hash(value, "").decode("ascii")
    except RecordError:
        pass
    raise UsageError("has a hash of a password that is neither {SCHEME}... nor $id$..., one word")


# --- ours ------------------------------------------------------------------------------------


def _csv_row(cells: Sequence[str]) -> str:
    made = io.StringIO()
    csv.writer(made, lineterminator="\n").writerow(cells)
    return made.getvalue()


def _csv_head(properties: Sequence[str]) -> str:
    columns = [name for name in COLUMNS if name not in ("realm", "password")]
    return _csv_row([*columns, *(PROPERTY + name for name in properties)])


def _csv_line(account: Account) -> str:
    cells = [
        str(account.name),
        b" ".join(map(format_verifier, account.verifiers.values())).decode("ascii"),
        _csv_value(HASHES, tuple(_hash_text(each).encode() for each in account.hashes)),
        "true" if account.disabled else "",
        *(_csv_value(name, values) for name, values in account.properties.items()),
    ]
    return _csv_row(cells)


def _csv_value(name: str, values: tuple[bytes, ...]) -> str:
    if len(values) > 1:
        raise UsageError(f"has several values of {name!r}, for which CSV has one column: use jsonl")
    try:
        text = b"".join(values).decode("utf-8")
    except UnicodeDecodeError:
        text = "\n"
    if "\n" in text or "\r" in text or values == (b"",):
        raise UsageError(f"has a value of {name!r} that CSV has no form for: use jsonl")
    return text


def _jsonl_line(account: Account) -> str:
    members: dict[str, object] = {"user": str(account.name)}
    if account.verifiers:
        verifiers = map(format_verifier, account.verifiers.values())
        members["verifiers"] = [text.decode("ascii") for text in verifiers]
    if account.hashes:
        members["hashes"] = [_hash_text(each) for each in account.hashes]
    if account.disabled:
        members["disabled"] = True
    properties = {
        name: [_json_value(value) for value in values]
        for name, values in account.properties.items()
        if values
    }
    if properties:
        members["properties"] = properties
    return json.dumps(members, ensure_ascii=False) + "\n"


def _json_value(value: bytes) -> object:
    try:
        return value.decode("utf-8")
    except UnicodeDecodeError:
        return {"base64": b64encode(value).decode("ascii")}


# --- others ----------------------------------------------------------------------------------


def _postgresql_line(account: Account) -> str:
    name = str(account.name)
    if len(name.encode()) > ROLE_LIMIT:
        raise UsageError(f"has a name longer than the {ROLE_LIMIT} bytes of a role")
    quoted = name.replace('"', '""')
    verifier = format_verifier(_only(account, "SHA-256")).decode("ascii")
    # A verifier holds neither a quote nor a backslash.
    return f"CREATE ROLE \"{quoted}\" LOGIN PASSWORD '{verifier}';\n"


def _dovecot_line(account: Account) -> str:
    name = str(account.name)
    if _UNFIT_FOR_PASSWD.search(name):
        raise UsageError("has a name that a passwd-file has no form for")
    if not account.verifiers.keys() & {"SHA-256", "SHA-1"} and account.hashes:
        text = _hash_text(account.hashes[0])
    else:
        text = format_braced_verifier(_only(account, "SHA-256", "SHA-1")).decode("ascii")
    return f"{name}:{text}\n"


def _mongodb_id(account: Account) -> str:
    return f"{account.name.realm or 'admin'}.{account.name.name}"


def _mongodb_line(account: Account) -> str:
    _ = _only(account, "SHA-256")
    document: dict[str, object] = {
        "_id": _mongodb_id(account),
        "user": account.name.name,
        "db": account.name.realm or "admin",
        "credentials": format_mongodb_credentials(account.verifiers),
        "roles": [],
    }
    return json.dumps(document, ensure_ascii=False) + "\n"


def _cyrus_line(account: Account) -> str:
    if not account.name.realm:
        raise UsageError("has no realm, and in a sasldb everybody has: give one with --realm")
    verifier = _only(account, "SHA-256", "SHA-512", "SHA-384", "SHA-224", "SHA-1")
    parts = (account.name.name, account.name.realm, VERIFIERS)
    key = b"\0".join(part.encode() for part in parts)
    return f" {_dumped(key)}\n {_dumped(format_verifier(verifier))}\n"


def _dumped(data: bytes) -> str:
    """`data` as db_dump prints it: what is not printable as a backslash and two digits."""
    return "".join(
        "\\\\" if octet == 0x5C else chr(octet) if 0x20 <= octet < 0x7F else f"\\{octet:02x}"
        for octet in data
    )


FORMATS: Final[Mapping[str, Format]] = {
    "csv": Format(_csv_line, _csv_head, properties=True, disabled=True),
    "jsonl": Format(_jsonl_line, properties=True, disabled=True),
    "postgresql": Format(_postgresql_line),
    "dovecot": Format(_dovecot_line),
    "mongodb": Format(_mongodb_line, key=_mongodb_id),
    "cyrus": Format(
        _cyrus_line,
        lambda _: "VERSION=3\nformat=print\ntype=hash\nHEADER=END\n",
        "DATA=END\n",
    ),
}
"""Name of a format -> how it is written."""
