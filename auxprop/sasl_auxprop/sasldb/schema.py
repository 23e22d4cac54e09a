"""The database file: what is in it, and how it comes into being.

Invariant: a file that has the database's name is whole. It is made under a temporary
name, in WAL mode with schema and decoy secret, and then linked into place. Made under
its own name it would be there, half made, for others to open, and the change to WAL
mode wants the file for itself: first opens at the same moment saw "database is locked".

The schema is public: other programs read it, and a change of it is a new `user_version`.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import sqlite3
from pathlib import Path
from typing import Final

from sasl_auxprop.sasldb import faults, rights

__all__ = ["SECRET_KEY", "SECRET_SIZE", "VERSION", "connect", "make", "set_timeout"]

VERSION: Final = 1
"""`PRAGMA user_version` of the schema below."""
SECRET_KEY: Final = "decoy_secret"  # noqa: S105 - the name of the secret
SECRET_SIZE: Final = 32

# `key` tells the values of one property apart: the hash of a verifier, so that there is
# one to a hash, otherwise the value's place as four digits. The checks keep out what
# other programs might write, and what a reader here would then have to expect.
_SCHEMA: Final = (
    "CREATE TABLE meta (key TEXT NOT NULL PRIMARY KEY, value BLOB NOT NULL) WITHOUT ROWID",
    """CREATE TABLE users (
        id INTEGER PRIMARY KEY,
        realm TEXT NOT NULL CHECK (typeof(realm) = 'text'),
        name TEXT NOT NULL CHECK (typeof(name) = 'text' AND name <> ''),
        disabled INTEGER NOT NULL DEFAULT 0 CHECK (disabled IN (0, 1)),
        UNIQUE (realm, name)
    )""",
    """CREATE TABLE properties (
        user INTEGER NOT NULL REFERENCES users (id) ON DELETE CASCADE,
        name TEXT NOT NULL CHECK (typeof(name) = 'text'),
        key TEXT NOT NULL CHECK (typeof(key) = 'text'),
        value BLOB NOT NULL CHECK (typeof(value) = 'blob'),
        PRIMARY KEY (user, name, key)
    ) WITHOUT ROWID""",
    f"PRAGMA user_version = {VERSION}",
)

# FULL: in WAL mode the default loses the last commits when the machine loses power.
# secure_delete: a verifier that was taken back is overwritten, not merely unlinked.
_SETTINGS: Final = (
    "PRAGMA synchronous = FULL",
    "PRAGMA foreign_keys = ON",
    "PRAGMA secure_delete = ON",
    "PRAGMA trusted_schema = OFF",
)


def connect(path: str, timeout: float) -> sqlite3.Connection:
    """Open the existing file at `path`; `timeout` in seconds. Never makes one.

    Raises:
        sqlite3.Error: it cannot be opened. (It may be no database: nothing is read yet.)
    """
    connection = sqlite3.connect(
        f"{Path(path).as_uri()}?mode=rw",
        uri=True,
        timeout=timeout,
        isolation_level=None,
        check_same_thread=False,  # used by one thread at a time, not always the same one
    )
    try:
        for setting in _SETTINGS:
            connection.execute(setting).close()
    except BaseException:
        connection.close()
        raise
    return connection


def set_timeout(connection: sqlite3.Connection, timeout: float) -> None:
    """Have `connection` wait `timeout` seconds for a lock, instead of as long as before."""
    connection.execute(f"PRAGMA busy_timeout = {int(timeout * 1000)}").close()


def make(path: str, timeout: float) -> bool:
    """Make an empty database at `path`, mode 0600; False when there is already something.

    Several processes may do so at once: one wins, the others remove what they made.

    Raises:
        BackendError: it cannot be made.
    """
    try:
        return _make(path, timeout)
    except OSError as error:
        fault = faults.of_file(error, path)
    except sqlite3.Error as error:
        fault = faults.of_database(error, path)
    raise fault


def _make(path: str, timeout: float) -> bool:
    if os.path.lexists(path):
        return False
    rights.check_surroundings(path)
    _refuse_leftovers(path)
    directory = os.path.dirname(path)  # noqa: PTH120 - as `path`, kept as the caller has it
    temporary = os.path.join(directory, f".sasldb-{secrets.token_hex(8)}")  # noqa: PTH118
    flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | getattr(os, "O_NOFOLLOW", 0)
    os.close(os.open(temporary, flags, 0o600))
    try:
        _fill(temporary, path, timeout)
        try:
            # Not a rename: that would put an empty database over somebody's users.
            os.link(temporary, path)
        except FileExistsError:
            return False
    finally:
        for name in (temporary, f"{temporary}-wal", f"{temporary}-shm"):
            with contextlib.suppress(FileNotFoundError):
                os.unlink(name)  # noqa: PTH108 - as above
    _synchronise(directory)
    return True


def _fill(temporary: str, path: str, timeout: float) -> None:
    """Write schema and secret into the empty file `temporary`, which becomes `path`."""
    connection = connect(temporary, timeout)
    try:
        if connection.execute("PRAGMA journal_mode = WAL").fetchone() != ("wal",):
            raise faults.refused(path, "lies on a file system that cannot share memory: move it")
        _ = connection.execute("BEGIN IMMEDIATE")
        for statement in _SCHEMA:
            _ = connection.execute(statement)
        _ = connection.execute(
            "INSERT INTO meta (key, value) VALUES (?, ?)",
            (SECRET_KEY, secrets.token_bytes(SECRET_SIZE)),
        )
        _ = connection.execute("COMMIT")
    finally:
        # The last connection copies the log into the file, synchronises it and removes the
        # log: from here on the file alone is the database.
        connection.close()
    if os.path.lexists(f"{temporary}-wal"):
        raise faults.refused(path, "could not be made: its log could not be closed")


def _refuse_leftovers(path: str) -> None:
    """Refuse to put a new database beside the log of one that is gone.

    SQLite would take the old log for the new file's, and replay deleted users into it.
    """
    for log in (f"{path}-wal", f"{path}-journal"):
        # Whoever links a database makes its log afterwards; so a log without a database,
        # looked for in this order, is no other process that was quicker.
        if os.path.lexists(log) and not os.path.lexists(path):
            raise faults.refused(
                path,
                f"is gone, but its log {log!r} is still there: put the database back, or "
                f"stop what uses it and remove the log",
            )


def _synchronise(directory: str) -> None:
    """Make the directory's new entry survive a power cut."""
    if os.name != "posix":  # elsewhere a directory cannot be opened
        return
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
