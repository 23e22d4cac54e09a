"""The plug of sasldb.

Invariants:
- A look-up is one statement, and the same work for a user who is not there.
- No look-up waits for a lock in the event loop: only the second attempt, off it, waits.
- A write is one transaction, of one change or of many: all of it or nothing, on disk when
  it says OK.
- Nothing is opened before the first use, nor SQLite loaded.
"""

from __future__ import annotations

import os
import time
from contextlib import suppress
from importlib.util import find_spec
from typing import TYPE_CHECKING, Final, TypeVar

from sasl_auxprop import check_user, checked, user_is_storable
from sasl_auxprop.sasldb.rows import (
    LIST,
    Row,
    apply,
    collect,
    lookup_statement,
    sampled_rounds,
)
from sasl_core.plugin import (
    BackendError,
    Blocking,
    Found,
    NeedCall,
    Result,
    SimpleStore,
    UsageError,
    UserName,
    sever,
)

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from sasl_auxprop import CheckedChange
    from sasl_auxprop.sasldb.pool import Pool
    from sasl_core.plugin import Change, Needs

__all__ = ["DEFAULT_PATH", "DEFAULT_TIMEOUT", "SqliteStore", "checked_path", "checked_timeout"]

DEFAULT_PATH: Final = "/var/lib/sasl/sasldb.sqlite"
"""Not in /etc: the server must be able to write the directory, for SQLite's log."""
DEFAULT_TIMEOUT: Final = 5.0
MAX_TIMEOUT: Final = 3600.0
NAMES_LIMIT: Final = 200
"""Most properties of one look-up, well below the number of parameters that SQLite takes."""
QUERIES_LIMIT: Final = 64
"""Most prepared sets of property names; what mechanisms ask for is a handful."""

SAMPLE_LIFETIME: Final = 60.0
"""Seconds after which a look-up asks anew for the rounds of decoys (others may write)."""

T = TypeVar("T")

_NOUSER, _DISABLED, _OK = Result.NOUSER, Result.DISABLED, Result.OK


class SqliteStore(SimpleStore):
    """Users and their properties in the SQLite file `path`.

    `timeout`: how long to wait for another writer, in seconds, 0 to 3600. `plaintext`:
    keep `userPassword` too. Nothing is opened before the first use, and only a write with
    `create` (or `create()`) makes the file. Reading from a file that is not there is a
    `BackendError`, neither "no such user" nor a reason to make one: a mistyped path would
    otherwise tell every user that the password is wrong, and leave an empty database
    behind, owned by whoever ran the command.

    The file is mode 0600 and belongs to the user that the server runs as, or to root; one
    of anybody else is refused, also when root asks: run `sasl passwd` as its owner. Beside
    it lie `-wal` and `-shm` while it is in use, so the directory has to be writable as
    well, but by nobody else: who may put a log beside the database could make anybody a
    user. A directory that belongs to a third user, or that group or others can write
    (sticky or not), is refused. The file must be on a local disk. Replace it
    only together with them, when nothing uses it.

    Raises:
        UsageError: `path` is no path, or `timeout` is out of range.
    """

    name = "sasldb"
    read_blocking = Blocking.LOCAL
    write_blocking = Blocking.WRITE

    def __init__(
        self,
        path: str | os.PathLike[str] = DEFAULT_PATH,
        *,
        timeout: float = DEFAULT_TIMEOUT,
        plaintext: bool = False,
    ) -> None:
        self.path = checked_path(path)
        self.timeout = checked_timeout(timeout)
        self.plaintext = plaintext
        self._closed = False
        # One, made at the first use.
        self._pools: dict[str, Pool] = {}
        # The store's secret (another one: another file), until when it holds, and the rounds.
        self._sample: tuple[bytes, float, Mapping[str, int] | None] = (b"", 0.0, None)
        self._queries: dict[tuple[str, ...], tuple[str, tuple[str, ...]]] = {}

    def __repr__(self) -> str:
        return f"<SqliteStore {self.path!r}>"

    def availability(self) -> str | None:
        if find_spec("_sqlite3") is None:
            return "this Python was built without SQLite: install its sqlite3 module"
        return None

    def close(self) -> None:
        self._closed = True
        for pool in list(self._pools.values()):
            pool.close()

    def create(self) -> bool:
        """Make the file unless there is one; True if this call made it.

        Raises:
            BackendError: it cannot be made.
        """
        from sasl_auxprop.sasldb import schema

        return schema.make(self.path, self.timeout)

    def lookup(self, user: UserName, names: Sequence[str]) -> Needs[Found]:
        return (yield from self._patiently(lambda wait: self._read(user, names, wait)))

    def decoy_secret(self) -> Needs[bytes | None]:
        return (yield from self._patiently(self._read_decoy_secret))

    def _patiently(self, read: Callable[[float], T]) -> Needs[T]:
        """What `read(seconds to wait for a lock)` returns.

        The first attempt runs in place and waits for nothing. If another process has the
        file for itself, the second one waits off the event loop, until `timeout` seconds
        have passed since the first: what a thread was waited for counts.

        Raises:
            BackendError: the file cannot be read, or stays locked.
        """
        end = time.monotonic() + self.timeout

        def attempt() -> tuple[T] | None:
            try:
                return (read(0.0),)
            except BackendError as error:
                from sasl_auxprop.sasldb import faults

                if error.code != faults.LOCKED:
                    raise
            return None

        answer = yield from NeedCall(attempt, self.read_blocking)
        if answer is not None:
            return answer[0]
        return (
            yield from NeedCall(lambda: read(max(0.0, end - time.monotonic())), Blocking.REMOTE)
        )

    def users(self) -> Needs[Iterable[UserName]]:
        # A hundred thousand names take a tenth of a second: too long for an event loop.
        return (yield from self._call(self.list_users, Blocking.REMOTE))

    # --- reading -------------------------------------------------------------------

    def read(self, user: UserName, names: Sequence[str]) -> Found:
        return self._read(user, names, self.timeout)

    def _read(self, user: UserName, names: Sequence[str], wait: float) -> Found:
        """`read`, waiting at most `wait` seconds for a lock."""
        sql, wanted = self._query(tuple(names))
        # What could not be stored is looked up as the empty name, which nobody has.
        key = (user.realm, user.name) if user_is_storable(user) else ("", "")
        pool = self._opened()

        def select(
            connection: sqlite3.Connection, secret: bytes
        ) -> tuple[list[Row], bytes, Mapping[str, int] | None]:
            rows = connection.execute(sql, (*wanted, *key)).fetchall()
            return rows, secret, self._decoy_rounds(connection, secret)

        rows, secret, rounds = pool.run(select, wait=wait)
        values, verifiers = collect(rows, self.path)
        if not rows or rows[0][0] != key[0] or rows[0][1] != key[1]:
            return Found(_NOUSER, {}, {}, secret, rounds)
        if rows[0][2]:
            return Found(_DISABLED, {}, {}, secret, rounds)
        return Found(_OK, values, verifiers, secret, rounds)

    def _decoy_rounds(
        self, connection: sqlite3.Connection, secret: bytes
    ) -> Mapping[str, int] | None:
        """The rounds that decoys need so that they look like the users of this file, by hash.

        Sampled when the file is opened, after each write of this store, and once a minute.
        """
        of, until, rounds = self._sample
        if of != secret or time.monotonic() >= until:
            rounds = sampled_rounds(connection)
            self._sample = (secret, time.monotonic() + SAMPLE_LIFETIME, rounds)
        return rounds

    def list_users(self) -> Iterable[UserName]:
        def select(connection: sqlite3.Connection, _: bytes) -> list[tuple[str, str]]:
            return connection.execute(LIST).fetchall()

        return [UserName(name, realm) for realm, name in self._opened().run(select)]

    def read_decoy_secret(self) -> bytes | None:
        return self._read_decoy_secret(self.timeout)

    def _read_decoy_secret(self, wait: float) -> bytes | None:
        return self._opened().run(lambda _, secret: secret, wait=wait)

    def _query(self, names: tuple[str, ...]) -> tuple[str, tuple[str, ...]]:
        """The statement for `names`, and its first parameters."""
        query = self._queries.get(names)
        if query is None:
            wanted = tuple(name for name in dict.fromkeys(names) if name.isprintable())
            if len(wanted) > NAMES_LIMIT:
                raise UsageError(f"a look-up takes at most {NAMES_LIMIT} properties")
            # Without any name SQLite would read the whole table; nothing is called "".
            wanted = wanted or ("",)
            query = lookup_statement(len(wanted)), wanted
            if len(self._queries) < QUERIES_LIMIT:
                self._queries[names] = query
        return query

    # --- writing -------------------------------------------------------------------

    def write(self, user: UserName, change: Change) -> Result:
        """Carry `change` out in one transaction; OK means that it is on the disk.

        Raises:
            UsageError: see `checked` and `check_user`.
            BackendError: see `Pool.run`; nothing was acknowledged, and nothing written
                unless the disk failed at the very last step.
        """
        (result,) = self.write_many([(user, change)])
        if isinstance(result, UsageError):
            raise result
        return result

    def write_many(
        self, changes: Sequence[tuple[UserName, Change]]
    ) -> Sequence[Result | UsageError]:
        """Carry all of `changes` out in one transaction; see `update_many`.

        What cannot be stored is refused before the transaction begins.

        Raises:
            BackendError: as `write`, of all of them.
        """
        results: list[Result | UsageError] = []
        sound: list[tuple[int, UserName, CheckedChange]] = []
        for user, change in changes:
            try:
                new = checked(change, plaintext=self.plaintext)
                check_user(user)
            except UsageError as error:
                results.append(sever(error))
            else:
                sound.append((len(results), user, new))
                results.append(Result.NOCHANGE)
        pool = self._opened()
        if any(new.create for _, _, new in sound):
            _ = self.create()

        def transact(connection: sqlite3.Connection, _secret: bytes) -> None:
            _ = connection.execute("BEGIN IMMEDIATE")
            for place, user, new in sound:
                results[place] = apply(connection, user, new)
            _ = connection.execute("COMMIT" if _OK in results else "ROLLBACK")

        if sound:
            pool.run(transact)
        if _OK in results:
            self._sample = (b"", 0.0, None)
        return results

    def _opened(self) -> Pool:
        """The pool of connections; opens no file."""
        if self._closed:
            raise UsageError("the store is closed", code="closed")
        pool = self._pools.get(self.path)
        if pool is None:
            from sasl_auxprop.sasldb.pool import Pool

            # Without a lock, which a fork might leave locked for ever in the child.
            pool = self._pools.setdefault(self.path, Pool(self.path, self.timeout))
        return pool


def checked_path(path: str | os.PathLike[str]) -> str:
    """`path` made absolute, so that a change of directory makes it no other file.

    Raises:
        UsageError: it is no path.
    """
    with suppress(TypeError, ValueError):
        given = os.fspath(path)
        absolute = os.path.abspath(given)  # noqa: PTH100 - `..` is resolved as text
        if given and "\0" not in given and os.fsencode(absolute):
            return absolute
    raise UsageError("the path of a sasldb is text, not empty, without NUL")


def checked_timeout(timeout: float) -> float:
    """`timeout` in seconds, as it is.

    Raises:
        UsageError: it is out of range.
    """
    if not 0 <= timeout <= MAX_TIMEOUT:
        raise UsageError(f"the timeout of a sasldb is 0 to {MAX_TIMEOUT:g} seconds")
    return timeout
