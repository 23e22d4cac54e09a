"""Users as JSON lines: one object for each user.

    {"user": "tim", "realm": "example.com", "verifiers": ["SCRAM-SHA-256$..."],
     "disabled": false, "properties": {"mailHost": "mx1", "alias": ["t", {"base64": "/w=="}]}}

All but `user` may be missing. `password` is plaintext, `hashes` are hashes of the password as
`{SCHEME}...` or `$id$...`. A value of a property is text, or bytes as an object with `base64`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, cast

from sasl_cli.importing.jsontext import strict_object
from sasl_cli.importing.lines import users_by_line
from sasl_cli.importing.records import (
    Entry,
    RecordError,
    Refused,
    checked_hash,
    checked_property,
    identity,
    no_such_field,
    verifiers_from,
)
from sasl_core.plugin import PeerError, b64decode

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from typing import BinaryIO

__all__ = ["MEMBERS", "read"]

MEMBERS: Final = ("user", "realm", "verifiers", "password", "hashes", "disabled", "properties")


def read(file: BinaryIO) -> Iterator[Entry | Refused]:
    """Read users from JSON lines."""
    return users_by_line(file, _entry)


def _entry(number: int, line: str) -> Entry:
    """One user.

    Raises:
        RecordError: it is no object, a member is not known, or not what it should be.
    """
    members = strict_object(line)
    user = identity(_text(members, "user"), _text(members, "realm"))
    for name in members:
        if name not in MEMBERS:
            raise RecordError(f"member {no_such_field(name, MEMBERS)}", user)
    disabled = members.get("disabled")
    if "disabled" in members and not isinstance(disabled, bool):
        raise RecordError("'disabled' is neither true nor false", user)
    return Entry(
        number,
        user,
        verifiers_from(_texts(members, "verifiers", user), user),
        _text(members, "password", user) or None,
        tuple(
            checked_hash(text.encode("utf-8", "replace"), user)
            for text in _texts(members, "hashes", user)
        ),
        _properties(members.get("properties", {}), user),
        disabled if isinstance(disabled, bool) else None,
    )


def _text(members: Mapping[str, object], name: str, user: str = "") -> str:
    text = members.get(name, "")
    if not isinstance(text, str) or not _is_text(text):
        raise RecordError(f"{name!r} is no text", user)
    return text


def _texts(members: Mapping[str, object], name: str, user: str) -> list[str]:
    values = members.get(name, [])
    if isinstance(values, list):
        texts = [text for text in cast("list[object]", values) if isinstance(text, str)]
        if len(texts) == len(cast("list[object]", values)):
            return texts
    raise RecordError(f"{name!r} is no list of texts", user)


def _properties(given: object, user: str) -> dict[str, tuple[bytes, ...]]:
    if not isinstance(given, dict):
        raise RecordError("'properties' is no object", user)
    made: dict[str, tuple[bytes, ...]] = {}
    for name, value in cast("dict[str, object]", given).items():
        values = cast("list[object]", value) if isinstance(value, list) else [value]
        made[name] = checked_property(name, tuple(_value(each, user) for each in values), user)[1]
    return made


def _value(value: object, user: str) -> bytes:
    if isinstance(value, str) and _is_text(value):
        return value.encode()
    if isinstance(value, dict):
        members = cast("dict[str, object]", value)
        text = members.get("base64")
        if len(members) == 1 and isinstance(text, str):
            try:
                return b64decode(text, 128 * 1024)
            except PeerError:
                pass
    raise RecordError("a value of a property is neither text nor canonical base64", user)


def _is_text(text: str) -> bool:
    """Whether it can be UTF-8: JSON can spell half a surrogate pair."""
    try:
        _ = text.encode()
    except UnicodeEncodeError:
        return False
    return True
