"""What an error of SQLite or of the file system means to an administrator.

Everything becomes a `BackendError` that says what, where and what to do. SQLite's own
text is left out, for it may quote what is stored; its symbolic name says enough.
"""

from __future__ import annotations

import errno
import os
import sqlite3
from typing import Final

from sasl_core.plugin import BackendError

__all__ = [
    "LOCKED",
    "damaged",
    "interrupted",
    "missing",
    "of_database",
    "of_file",
    "refused",
    "unsafe",
]

LOCKED: Final = "sasldb-locked"
"""`code` of the one error that waiting may mend: another process has the lock."""

# Primary result code -> (temporary, what it means, what to do).
_MEANINGS: Final[dict[int, tuple[bool, str, str]]] = {
    sqlite3.SQLITE_BUSY: (
        True,
        "is locked by another process, and stayed so for the whole timeout",
        "find out who writes for so long, or raise the timeout of [auxprop.sasldb]",
    ),
    sqlite3.SQLITE_LOCKED: (True, "is locked by this process", "try again"),
    sqlite3.SQLITE_FULL: (True, "cannot grow: the disk is full", "make room on its disk"),
    sqlite3.SQLITE_IOERR: (
        True,
        "cannot be read or written: the disk or its file system reports an error",
        "look at the system's log, and whether the disk is full",
    ),
    sqlite3.SQLITE_NOMEM: (True, "needs more memory than there is", "try again"),
    sqlite3.SQLITE_INTERRUPT: (True, "was interrupted", "try again"),
    sqlite3.SQLITE_CORRUPT: (False, "is damaged", "restore it from a backup"),
    sqlite3.SQLITE_NOTADB: (
        False,
        "is no SQLite database",
        "name another path, or move the file away and run `sasl passwd -c`",
    ),
    sqlite3.SQLITE_READONLY: (
        False,
        "cannot be written",
        "the user this runs as must own the file and may write its directory",
    ),
    sqlite3.SQLITE_PERM: (False, "may not be used", "the user this runs as must own the file"),
    sqlite3.SQLITE_CANTOPEN: (
        False,
        "cannot be opened",
        "the user this runs as must own the file, and may read and write its directory",
    ),
}
_PASSING: Final = frozenset({"ENOSPC", "EDQUOT", "EIO", "EMFILE", "ENFILE", "ENOMEM", "EINTR"})
_BROKEN: Final = (
    False,
    "does not hold what a sasldb holds",
    "restore it from a backup, or name another path",
)


def of_database(error: sqlite3.Error, path: str) -> BackendError:
    """What `error` means for the database at `path`."""
    # Errors that Python's own layer makes, say of text that is no UTF-8, bear no code.
    code: int | None = getattr(error, "sqlite_errorcode", None)
    name = getattr(error, "sqlite_errorname", None) or type(error).__name__
    # The low byte says what it is, the rest which kind of that.
    primary = None if code is None else code & 0xFF
    temporary, meaning, advice = _BROKEN if primary is None else _MEANINGS.get(primary, _BROKEN)
    return BackendError(
        code=LOCKED if primary == sqlite3.SQLITE_BUSY else "sasldb",
        detail=f"sasldb {path!r} {meaning} ({name}): {advice}",
        temporary=temporary,
    )


def of_file(error: OSError, path: str) -> BackendError:
    """What `error` of the file system means for the database at `path`."""
    name = errno.errorcode.get(error.errno or 0, type(error).__name__)
    directory = os.path.dirname(path)  # noqa: PTH120 - `path` may be no text, but bytes in disguise
    if name in ("ENOENT", "ENOTDIR"):
        advice = f"make the directory {directory!r}, owned by the user this runs as, mode 0700"
    elif name in ("EACCES", "EPERM", "EROFS"):
        advice = f"the user this runs as must be able to read and write {directory!r}"
    else:
        advice = "look at the disk and at the path"
    reason = f"{name}: {os.strerror(error.errno or 0)}"
    return BackendError(
        code="sasldb",
        detail=f"sasldb {path!r} cannot be used ({reason}): {advice}",
        temporary=name in _PASSING,
    )


def missing(path: str, directory: str | None = None) -> BackendError:
    """There is no file at `path`, nor even `directory`."""
    problem = "does not exist: add the first user with `sasl passwd -c`"
    if directory is not None:
        problem = f"has no directory: make {directory!r} first"
    problem += ", name another path, or set auxprop_plugin = [] where no store keeps users"
    return BackendError(code="store-missing", detail=f"sasldb {path!r} {problem}", temporary=False)


def refused(path: str, problem: str) -> BackendError:
    """The file at `path` is not one that may be trusted with passwords."""
    return BackendError(code="sasldb-refused", detail=f"sasldb {path!r} {problem}", temporary=False)


def unsafe(path: str, problem: str) -> BackendError:
    """The file at `path` lies where others could put a log beside it."""
    return BackendError(
        code="sasldb-unsafe-directory",
        detail=f"sasldb {path!r} is not safe where it is: {problem}",
        temporary=False,
    )


def interrupted(path: str) -> BackendError:
    """The file was exchanged, or the connection closed, in the middle of a call."""
    return BackendError(
        code="sasldb",
        detail=f"sasldb {path!r} was replaced, or closed for a fork, during a call: try again",
    )


def damaged(path: str, what: str) -> BackendError:
    """The database at `path` has something in it that none of ours has."""
    return BackendError(
        code="sasldb",
        detail=f"sasldb {path!r} is damaged: {what}; restore it from a backup",
        temporary=False,
    )
