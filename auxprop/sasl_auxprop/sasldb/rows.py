"""Look-ups and changes as SQL: the rows of the database, and what they mean.

What a peer or an administrator typed reaches SQL as a bound parameter, never as text.
Loads no SQLite, as `store` does not.
"""

from __future__ import annotations

from collections import Counter
from contextlib import suppress
from typing import TYPE_CHECKING, Final, TypeAlias

from sasl_auxprop import usual_rounds
from sasl_core.plugin import (
    VERIFIERS,
    BackendError,
    Result,
    parse_verifier,
    printable,
)

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Mapping

    from sasl_auxprop import CheckedChange
    from sasl_core.plugin import ScramVerifier, UserName

__all__ = ["LIST", "Row", "apply", "collect", "lookup_statement", "sampled_rounds"]

# Who is not there is looked up as the one who follows in the index (or, at its end, comes
# first): the same pages are read and the same values taken, only to be dropped. Without
# that, an unknown user took half the time of a known one.
_LOOKUP: Final = """
    SELECT users.realm, users.name, users.disabled,
           properties.name, properties.key, properties.value
    FROM users
    LEFT JOIN properties ON properties.user = users.id AND properties.name IN ({marks})
    WHERE users.id = coalesce(
        (SELECT id FROM users WHERE (realm, name) >= (?, ?) ORDER BY realm, name LIMIT 1),
        (SELECT id FROM users ORDER BY realm, name LIMIT 1))"""

LIST: Final = "SELECT realm, name FROM users ORDER BY realm, name"

# Of users whose numbers are evenly spread, the last one among them, so that neither the
# oldest accounts nor the newest decide alone. Always the same ones as long as no user is
# added or removed: with a random choice the rounds of a decoy would change from one
# process to the next, and those of a user do not.
SAMPLE_SIZE: Final = 64
_SAMPLE: Final = """
    WITH RECURSIVE place (n) AS (SELECT 0 UNION ALL SELECT n + 1 FROM place WHERE n < :last)
    SELECT value FROM properties
    WHERE name = :name AND user IN (
        SELECT (SELECT id FROM users
                WHERE id >= n * (SELECT max(id) FROM users) / :last
                ORDER BY id LIMIT 1)
        FROM place)"""

Row: TypeAlias = "tuple[str, str, int, str | None, str | None, object]"


def lookup_statement(count: int) -> str:
    """The statement for `count` properties: their names, a realm and a name are bound.

    Its rows are those of the user *or of another one*: compare realm and name.
    """
    return _LOOKUP.format(marks=", ".join("?" * count))


def collect(
    rows: list[Row], path: str
) -> tuple[dict[str, tuple[bytes, ...]], dict[str, ScramVerifier]]:
    """Values by property, in the order of their keys, and verifiers by hash.

    A verifier that cannot be read stays among the values, so that only a login that needs
    it fails, with the reason.

    Raises:
        BackendError: a value is no blob; the schema forbids that.
    """
    if len(rows) > 1:  # they come in this order now, but SQL does not promise it
        rows.sort(key=lambda row: (row[3] or "", row[4] or ""))
    values: dict[str, tuple[bytes, ...]] = {}
    verifiers: dict[str, ScramVerifier] = {}
    for _, _, _, name, _, value in rows:
        if name is None:
            continue
        if not isinstance(value, bytes):
            from sasl_auxprop.sasldb import faults

            raise faults.damaged(path, f"a value of property {printable(name)!r} is no blob")
        if name == VERIFIERS:
            try:
                verifier = parse_verifier(value)
            except BackendError:
                pass
            else:
                verifiers[verifier.hash] = verifier
                continue
        values[name] = (*values.get(name, ()), value)
    return values, verifiers


def sampled_rounds(connection: sqlite3.Connection) -> Mapping[str, int] | None:
    """The rounds that most verifiers of a sample of users have, by hash; None for no verifiers.

    Reads a few pages for each of 64 users, however many there are. What is no verifier
    does not count.
    """
    counts: Counter[tuple[str, int]] = Counter()
    for (value,) in connection.execute(
        _SAMPLE, {"name": VERIFIERS, "last": SAMPLE_SIZE - 1}
    ).fetchall():
        if isinstance(value, bytes):
            with suppress(BackendError):
                verifier = parse_verifier(value)
                counts[verifier.hash, verifier.iterations] += 1
    return usual_rounds(counts)


def apply(connection: sqlite3.Connection, user: UserName, change: CheckedChange) -> Result:
    """Carry out one change inside the transaction that the caller began.

    Returns OK, or NOUSER or NOCHANGE before anything was changed.
    """
    execute = connection.execute
    row = execute(
        "SELECT id FROM users WHERE realm = ? AND name = ?", (user.realm, user.name)
    ).fetchone()
    number: int | None = None if row is None else row[0]
    if number is None and not change.create:
        return Result.NOUSER
    if number is not None and change.create and not change.exist_ok:
        return Result.NOCHANGE
    for name, expected in change.expected.items():
        if _held(connection, number, name) != expected:
            return Result.NOCHANGE
    if change.delete:
        _ = execute("DELETE FROM users WHERE id = ?", (number,))
        return Result.OK
    removed = [VERIFIERS, *change.values] if change.drop_verifiers else [*change.values]
    if number is None:
        number = execute(
            "INSERT INTO users (realm, name) VALUES (?, ?)", (user.realm, user.name)
        ).lastrowid
        removed = []
    if change.disabled is not None:
        _ = execute("UPDATE users SET disabled = ? WHERE id = ?", (change.disabled, number))
    if removed:
        _ = connection.executemany(
            "DELETE FROM properties WHERE user = ? AND name = ?",
            [(number, name) for name in removed],
        )
    rows = [(number, VERIFIERS, name, text) for name, text in change.texts.items()]
    for name, values in change.values.items():
        rows += [(number, name, f"{place:04d}", value) for place, value in enumerate(values)]
    _ = connection.executemany(
        "INSERT OR REPLACE INTO properties (user, name, key, value) VALUES (?, ?, ?, ?)", rows
    )
    return Result.OK


def _held(connection: sqlite3.Connection, user: int | None, name: str) -> tuple[bytes, ...]:
    """The values of one property; verifiers in the order of `stored_form`."""
    rows: list[tuple[bytes]] = connection.execute(
        "SELECT value FROM properties WHERE user = ? AND name = ? ORDER BY key", (user, name)
    ).fetchall()
    values = tuple(value for (value,) in rows)
    return tuple(sorted(values)) if name == VERIFIERS else values
