"""sasldb with 100,000 users: look-ups, and filling it by `sasl users import`.

The look-up is the store's whole one, by the generator that the glue runs, of a user's
verifiers, in random order. The floor is one prepared statement by the standard library's
sqlite3 on the same file, its rows fetched and not looked at.
"""

from __future__ import annotations

import random
import sqlite3
from contextlib import closing
from pathlib import Path
from tempfile import TemporaryDirectory
from time import perf_counter
from typing import TYPE_CHECKING, Final, cast

from bench import bulk
from bench.measure import interleave, middle
from bench.people import crowd
from bench.rows import Goal, Row
from sasl_auxprop.sasldb import SqliteStore
from sasl_core import NeedCall, Result
from sasl_core.plugin import VERIFIERS, Change, UserName, format_verifier

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from bench.measure import Effort, Operation
    from sasl_core import Found
    from sasl_core.plugin import Needs

__all__ = ["fill", "lookups", "rows"]

USERS: Final = 100_000

SELECT: Final = (
    "SELECT users.disabled, properties.key, properties.value FROM users "
    "LEFT JOIN properties ON properties.user = users.id AND properties.name = ? "
    "WHERE users.realm = ? AND users.name = ?"
)


def fill(path: Path, names: Sequence[str]) -> None:
    """Make a database of these users: one through the store, the others as its copies.

    The schema is public, and this is quicker than 100,000 transactions; what a user's
    rows look like is the store's own doing.
    """
    with closing(SqliteStore(path)) as store:
        verifier = format_verifier(crowd(()).verifier())
        change = Change({VERIFIERS: (verifier,)}, create=True)
        if store.write(UserName(names[0]), change) is not Result.OK:
            raise AssertionError("the store took no user")
    with closing(sqlite3.connect(path)) as connection, connection:
        _ = connection.executemany(
            "INSERT INTO users (realm, name) VALUES ('', ?)", [(name,) for name in names[1:]]
        )
        _ = connection.execute(
            "INSERT INTO properties (user, name, key, value) "
            "SELECT users.id, first.name, first.key, first.value "
            "FROM users, properties AS first "
            "WHERE users.name <> ?1 AND first.user = (SELECT id FROM users WHERE name = ?1)",
            (names[0],),
        )


def supplied(body: Needs[Found]) -> Found:
    """What a look-up finds; all that it needs is a call, made here and now."""
    answer: object = None
    while True:
        try:
            need = body.send(answer)
        except StopIteration as end:
            return cast("Found", end.value)
        if not isinstance(need, NeedCall):
            raise TypeError("a store that needs more than calls")
        answer = need.function()


def lookups(store: SqliteStore, users: Sequence[UserName]) -> Operation:
    """Look-ups of users at random, as a runner does them: what blocks little runs in place."""
    wanted, choice = (VERIFIERS,), random.Random(1)  # noqa: S311 - the same users each time

    def run(times: int) -> float:
        chosen = choice.choices(users, k=times)
        begin = perf_counter()
        for user in chosen:
            if supplied(store.lookup(user, wanted)).result is not Result.OK:
                raise AssertionError("a user is missing")
        return (perf_counter() - begin) / times

    return run


def statements(connection: sqlite3.Connection, users: Sequence[UserName]) -> Operation:
    """The same by one statement."""
    choice = random.Random(1)  # noqa: S311 - the same users each time

    def run(times: int) -> float:
        chosen = choice.choices(users, k=times)
        begin = perf_counter()
        for user in chosen:
            found = connection.execute(SELECT, (VERIFIERS, user.realm, user.name)).fetchall()
            if not found:
                raise AssertionError("a user is missing")
        return (perf_counter() - begin) / times

    return run


def rows(effort: Effort) -> Iterator[Row]:
    """Look-ups, then the import."""
    names = [f"user{number:06}" for number in range(effort.times(USERS, least=200))]
    random.Random(2).shuffle(names)  # noqa: S311 - the same order each time
    with TemporaryDirectory(prefix="sasl-bench-") as folder:
        path = Path(folder, "users.sqlite")
        fill(path, names)
        users = [UserName(name) for name in names]
        with closing(SqliteStore(path)) as store, closing(sqlite3.connect(path)) as connection:
            contenders = {
                "floor": statements(connection, users),
                "ours": lookups(store, users),
            }
            times = interleave(contenders, effort.times(400), effort.times(50, least=5))
        spread = middle(times["ours"])
        yield Row(
            topic="stores",
            what=f"sasldb look-up among {len(names):,} users",
            unit="us",
            ours=spread.middle,
            floor=middle(times["floor"]).middle,
            floor_name="one statement of sqlite3",
            figure=spread.middle,
            figure_unit="us",
            spread=spread,
            goal=Goal(25e-6, "us"),
        )
        yield bulk.row(Path(folder, "imported.sqlite"), names)
