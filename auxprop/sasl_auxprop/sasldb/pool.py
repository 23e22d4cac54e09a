"""Connections to one database file, handed to one thread at a time.

Invariants:
- A connection is used by one thread at a time, and goes back when the call is over: none
  is lost with a thread that ends, and there are never more than calls at once.
- No connection lives across a fork. All are closed before it, and made anew on both
  sides: SQLite keeps a process's locks in its own tables, a child would inherit the
  tables without the locks, and believe itself protected.
- What is used is the file that has the path now. When it was replaced or removed, what
  was opened before is closed, and no write is acknowledged into a file without a name.
- The file itself is opened by SQLite alone. A descriptor of our own, once closed, would
  drop every lock that this process holds on the file (POSIX, fcntl); hence `lstat`
  before and after, and never `fstat`.
"""

from __future__ import annotations

import os
import sqlite3
import threading
import weakref
from collections import deque
from contextlib import suppress
from typing import TYPE_CHECKING, Final, TypeAlias, TypeVar

from sasl_auxprop.sasldb import faults, rights, schema
from sasl_core.plugin import UsageError

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["Connection", "Pool"]

IDLE_LIMIT: Final = 16
"""Most connections kept for later; each has a file descriptor or two and a page cache."""

T = TypeVar("T")

Identity: TypeAlias = "tuple[int, int, int, int]"


class Connection:
    """One connection, closed or open, and what was found when it was opened."""

    __slots__ = ("__weakref__", "identity", "lock", "secret", "sqlite", "wait")

    def __init__(self) -> None:
        self.sqlite: sqlite3.Connection | None = None
        self.identity: Identity | None = None
        self.secret = b""
        self.wait = 0.0
        # Re-entrant, for a signal handler may fork in the middle of a call.
        self.lock = threading.RLock()

    def close(self) -> None:
        """Close it, and undo what was not committed; it can be opened again."""
        connection, self.sqlite, self.identity = self.sqlite, None, None
        if connection is not None:
            # Two steps: a statement that a traceback keeps alive would keep the lock too.
            with suppress(sqlite3.Error):
                connection.rollback()
            with suppress(sqlite3.Error):
                connection.close()


class Pool:
    """All connections of this process to the database at `path`.

    `timeout`: how long a call waits for a lock unless it says otherwise, in seconds.
    """

    def __init__(self, path: str, timeout: float) -> None:
        self.path = path
        self.timeout = timeout
        self._idle: deque[Connection] = deque()
        self._all: weakref.WeakSet[Connection] = weakref.WeakSet()
        self._guard = threading.RLock()
        self._held: list[Connection] = []
        self._closed = False
        with _pools_guard:
            _pools.add(self)

    # --- use -----------------------------------------------------------------------

    def run(
        self, work: Callable[[sqlite3.Connection, bytes], T], *, wait: float | None = None
    ) -> T:
        """What `work` returns, called with an open connection and the decoy secret.

        The connection is its own while it runs, and is closed when it raises: then
        nothing of a transaction is left. `wait`: seconds to wait for a lock, instead of
        `timeout`; with 0 nothing is waited for.

        Raises:
            BackendError: the file is missing, is none of ours, is not to be trusted, or
                fails now; an error of SQLite in `work` becomes one too. The code is
                `faults.LOCKED` when another process has the lock.
            UsageError: the store is closed.
        """
        slot = self._take()
        try:
            with slot.lock:
                try:
                    ready = self._ready(slot, self.timeout if wait is None else wait)
                    return work(ready, slot.secret)
                except sqlite3.Error as error:
                    fault = faults.of_database(error, self.path)
                    if slot.sqlite is None and isinstance(error, sqlite3.ProgrammingError):
                        # A signal handler forked, or closed the store, meanwhile.
                        fault = faults.interrupted(self.path)
                    slot.close()
                except BaseException:
                    slot.close()
                    raise
        finally:
            self._give_back(slot)
        raise fault

    def _take(self) -> Connection:
        try:
            return self._idle.pop()
        except IndexError:
            slot = Connection()
        with self._guard:
            self._all.add(slot)
        return slot

    def _give_back(self, slot: Connection) -> None:
        if len(self._idle) < IDLE_LIMIT:
            self._idle.append(slot)
        else:
            with slot.lock:
                slot.close()

    def _ready(self, slot: Connection, wait: float) -> sqlite3.Connection:
        """The slot's connection to the file that has the path now."""
        if self._closed:
            raise UsageError("the store is closed", code="closed")
        identity = self._identity()
        connection = slot.sqlite
        if connection is None or slot.identity != identity:
            slot.close()
            return self._open(slot, identity, wait)
        if slot.wait != wait:
            schema.set_timeout(connection, wait)
            slot.wait = wait
        return connection

    # --- opening -------------------------------------------------------------------

    def _identity(self) -> Identity:
        """Device, number, mode and owner of the file that has the path."""
        try:
            status = os.lstat(self.path)
        except FileNotFoundError:
            directory = os.path.dirname(self.path)  # noqa: PTH120 - kept as the caller has it
            if os.path.isdir(directory):  # noqa: PTH112
                fault = faults.missing(self.path)
            else:
                fault = faults.missing(self.path, directory)
        except OSError as error:
            fault = faults.of_file(error, self.path)
        else:
            return status.st_dev, status.st_ino, status.st_mode, status.st_uid
        raise fault

    def _open(self, slot: Connection, identity: Identity, wait: float) -> sqlite3.Connection:
        rights.check_file(self.path, mode=identity[2], owner=identity[3])
        rights.check_surroundings(self.path)
        connection = schema.connect(self.path, wait)
        try:
            if self._identity() != identity:
                raise faults.interrupted(self.path)
            slot.secret = _check_contents(self.path, connection)
        except BaseException:
            connection.close()
            raise
        slot.sqlite, slot.identity, slot.wait = connection, identity, wait
        return connection

    # --- the end, and forks ----------------------------------------------------------

    def close(self) -> None:
        """Close every connection, after the calls that are under way."""
        with _pools_guard:
            _pools.discard(self)
        with self._guard:
            self._closed = True
            for slot in list(self._all):
                with slot.lock:
                    slot.close()

    def suspend(self) -> None:
        """Wait for the calls under way, close every connection and let no other call begin."""
        _ = self._guard.acquire()
        self._held = list(self._all)
        for slot in self._held:
            _ = slot.lock.acquire()
            slot.close()

    def resume(self) -> None:
        """Undo `suspend`, in the parent or in the child."""
        held, self._held = self._held, []
        for slot in held:
            slot.lock.release()
        self._guard.release()


def _check_contents(path: str, connection: sqlite3.Connection) -> bytes:
    """Refuse a database that is none of ours; return its decoy secret."""
    version: int = connection.execute("PRAGMA user_version").fetchone()[0]
    if version > schema.VERSION:
        raise faults.refused(
            path,
            f"was made by a newer release (schema {version}, this one reads {schema.VERSION}): "
            f"upgrade sasl-core",
        )
    tables = connection.execute(
        "SELECT count(*) FROM sqlite_master WHERE type = 'table' "
        "AND name IN ('meta', 'users', 'properties')"
    ).fetchone()[0]
    if version != schema.VERSION or tables != 3:
        raise faults.refused(
            path,
            "is no sasldb: name another path, or move the file away and run `sasl passwd -c`",
        )
    row = connection.execute(
        "SELECT value FROM meta WHERE key = ?", (schema.SECRET_KEY,)
    ).fetchone()
    if row is None or not isinstance(row[0], bytes) or len(row[0]) < schema.SECRET_SIZE:
        raise faults.damaged(path, "it has no decoy secret")
    return row[0]


_pools: Final[weakref.WeakSet[Pool]] = weakref.WeakSet()
_pools_guard: Final = threading.RLock()
_suspended: Final[list[Pool]] = []


def _before_fork() -> None:
    _ = _pools_guard.acquire()
    for pool in list(_pools):
        pool.suspend()
        _suspended.append(pool)


def _after_fork() -> None:
    while _suspended:
        _suspended.pop().resume()
    _pools_guard.release()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(
        before=_before_fork, after_in_parent=_after_fork, after_in_child=_after_fork
    )
