"""Property stores; each module is found through its entry point.

Here is what they share: one reading of a `Change`, so that what is refused, and why, is
the same in every store. Invariants of what `checked` returns:
- each SCRAM verifier was parsed, and there is one to a hash;
- a plaintext password is there only if the store keeps such;
- every value is bytes, and every name and size is within the limits below.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import TYPE_CHECKING, Final, cast

import attrs

from sasl_core.plugin import (
    PASSWORD,
    VERIFIERS,
    SaslError,
    ScramVerifier,
    UsageError,
    UserName,
    format_verifier,
    parse_verifier,
    printable,
    record,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from sasl_core.plugin import Change

__all__ = [
    "CheckedChange",
    "check_user",
    "checked",
    "stored_form",
    "user_is_storable",
    "usual_rounds",
]

NAME_LIMIT: Final = 1024
"""Longest name of a user, and longest realm, in characters."""
PROPERTY_LIMIT: Final = 255
"""Longest name of a property, in characters."""
VALUES_LIMIT: Final = 1000
"""Most values of one property."""
VALUE_LIMIT: Final = 64 * 1024
"""Longest value, in bytes."""

# Control characters would forge lines of a log or a listing, and half surrogates are no
# text: SQLite and UTF-8 have no form for them.
_UNFIT = re.compile(r"[\x00-\x1f\x7f-\x9f\ud800-\udfff]")

_RESERVED: Final = {name.casefold(): name for name in (PASSWORD, VERIFIERS)}


@record
class CheckedChange:
    """A `Change` that a store can carry out as it stands.

    `values`: the new values of every property but `authPassword`; an empty tuple removes
    the property. `verifiers`: new verifiers by hash; `texts`: the same, as `authPassword` has
    them. `drop_verifiers`: remove those of
    any other hash. `expected`: as in `Change`, the verifiers in the form and order of
    `stored_form`.
    """

    values: Mapping[str, tuple[bytes, ...]] = attrs.field(repr=False)
    verifiers: Mapping[str, ScramVerifier] = attrs.field(repr=False)
    texts: Mapping[str, bytes] = attrs.field(repr=False)
    drop_verifiers: bool
    expected: Mapping[str, tuple[bytes, ...]] = attrs.field(repr=False)
    disabled: bool | None
    create: bool
    exist_ok: bool
    delete: bool


def checked(change: Change, *, plaintext: bool) -> CheckedChange:
    """Check `change` before anything of it is written.

    `plaintext`: whether the store keeps plaintext passwords. Removing one is always
    allowed.

    Raises:
        UsageError: it contradicts itself, a name, a value or a number of values is out of
            limits, a verifier is none, two are of one hash, or a plaintext password was
            given to a store that keeps none. The error shows no value.
    """
    values = _properties(change.values)
    expected = _properties(change.expected)
    if change.delete and (change.create or change.disabled is not None or values):
        raise UsageError("a change that deletes a user can do nothing else to it")
    if values.get(PASSWORD) and not plaintext:
        raise UsageError(
            f"this store keeps no plaintext passwords ({PASSWORD}) unless it is told to",
            code="plaintext-refused",
        )
    given = values.pop(VERIFIERS, None)
    if VERIFIERS in expected:
        expected[VERIFIERS] = tuple(sorted(expected[VERIFIERS]))
    verifiers = _verifiers(given or ())
    return CheckedChange(
        values,
        verifiers,
        # What was parsed is spelt in one way alone.
        dict(zip(verifiers, given or (), strict=True)),
        # An empty tuple removes the property, and that is all of its verifiers.
        change.replace_verifiers or given == (),
        expected,
        change.disabled,
        change.create,
        change.exist_ok,
        change.delete,
    )


def stored_form(verifiers: Iterable[ScramVerifier]) -> tuple[bytes, ...]:
    """Verifiers as `authPassword` values, in the order in which they are compared."""
    return tuple(sorted(map(format_verifier, verifiers)))


def usual_rounds(counts: Mapping[tuple[str, int], int]) -> Mapping[str, int] | None:
    """What most verifiers of each hash have, from hash and rounds -> number of verifiers.

    Of rounds that as many have, the greatest, so that the answer never depends on order.
    None if there are no verifiers.
    """
    usual: dict[str, int] = {}
    for (name, rounds), _ in sorted(counts.items(), key=lambda item: (item[1], item[0])):
        usual[name] = rounds
    return usual or None


def user_is_storable(user: UserName) -> bool:
    """Whether `check_user` would let `user` pass."""
    name, realm = user.name, user.realm
    if not name or len(name) > NAME_LIMIT or len(realm) > NAME_LIMIT or "@" in realm:
        return False
    # In any text, "a@b" without realm would be the "a" of realm "b".
    if not realm and "@" in name and UserName.parse(name) != user:
        return False
    if name.isprintable() and realm.isprintable():
        return True
    return _UNFIT.search(name) is None and _UNFIT.search(realm) is None


def check_user(user: UserName) -> None:
    """Check that `user` can be stored, and listed without being taken for another.

    Raises:
        UsageError: the name is empty, name or realm is too long, holds a control
            character or half a surrogate pair, the realm holds an `@`, or there is none
            and the name reads as one with a realm.
    """
    if not user_is_storable(user):
        raise UsageError(
            f"user {printable(user)!r} cannot be stored: a name has 1 to {NAME_LIMIT} "
            f"characters and a realm at most as many, without control characters and half "
            f"surrogates; a realm has no @, and a name with one inside has a realm",
            code="bad-user-name",
        )


def _properties(given: Mapping[str, tuple[bytes, ...]]) -> dict[str, tuple[bytes, ...]]:
    """A checked copy of properties and their values."""
    copy: dict[str, tuple[bytes, ...]] = {}
    if not given:
        return copy
    # What is annotated is also checked: a str in place of a tuple would be stored in pieces.
    for name, values in cast("Mapping[object, object]", given).items():
        known = _property_name(name)
        if not isinstance(values, tuple):
            raise UsageError(f"the values of property {known!r} are no tuple")
        kept = [value for value in cast("tuple[object, ...]", values) if isinstance(value, bytes)]
        if len(kept) != len(given[known]):
            raise UsageError(f"a value of property {known!r} is not bytes")
        if len(kept) > VALUES_LIMIT or max(map(len, kept), default=0) > VALUE_LIMIT:
            raise UsageError(
                f"property {known!r} has more than {VALUES_LIMIT} values, or one longer than "
                f"{VALUE_LIMIT} bytes"
            )
        copy[known] = tuple(kept)
    return copy


@lru_cache(maxsize=64)
def _property_name(name: object) -> str:
    if (
        not isinstance(name, str)
        or not 0 < len(name) <= PROPERTY_LIMIT
        or not name.isprintable()
        or name.startswith("*")
    ):
        raise UsageError(
            f"{printable(name)!r} is no name of a property: 1 to {PROPERTY_LIMIT} printable "
            f"characters, the first of them not *",
            code="bad-property-name",
        )
    # Directories do not tell case; here a password by another spelling would get past
    # what guards passwords, and no look-up would ever find it.
    if _RESERVED.get(name.casefold(), name) != name:
        raise UsageError(
            f"property {name!r} is spelt {_RESERVED[name.casefold()]!r}", code="bad-property-name"
        )
    return name


def _verifiers(values: tuple[bytes, ...]) -> dict[str, ScramVerifier]:
    """Parsed verifiers by hash."""
    verifiers: dict[str, ScramVerifier] = {}
    for value in values:
        try:
            verifier = parse_verifier(value)
        except SaslError as error:
            problem = error.detail or str(error)
        else:
            if verifier.hash in verifiers:
                raise UsageError(f"two verifiers for {verifier.hash}; a user has one to a hash")
            verifiers[verifier.hash] = verifier
            continue
        raise UsageError(f"{VERIFIERS} takes SCRAM verifiers: {problem}", code="bad-verifier")
    return verifiers
