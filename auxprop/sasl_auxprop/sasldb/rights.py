"""Which file may be opened: whose it is, and who else could have put there what it says.

Invariant: no path is given to SQLite before the file, its directory and the files that
SQLite keeps beside it passed. SQLite believes whatever has the name of its log, whoever
put it there: who may make files in the directory could log in as anybody.
"""

from __future__ import annotations

import os
import stat
from typing import Final

from sasl_auxprop.sasldb import faults

__all__ = ["check_file", "check_surroundings"]

_SIDES: Final = ("-wal", "-shm", "-journal")


def check_file(path: str, *, mode: int, owner: int) -> None:
    """Refuse what must not hold the secrets of every user, or says who they are.

    Raises:
        BackendError: it is no file, somebody else's, or others can use it.
    """
    if stat.S_ISLNK(mode):
        raise faults.refused(path, "is a symbolic link: name the file that it points to")
    if not stat.S_ISREG(mode):
        raise faults.refused(path, "is no file: name the database itself")
    if os.name != "posix":
        return
    # Root can read every file: one that a user put into a directory of theirs would make
    # that user's accounts ours. What belongs to root itself nobody else has put there.
    if not _is_trusted(owner):
        raise faults.refused(
            path,
            f"belongs to another user (uid {owner}): run this as that user, or give the file "
            f"to the user this runs as (uid {os.geteuid()})",
        )
    if mode & 0o077:
        raise faults.refused(
            path,
            f"can be used by others than its owner (mode {stat.S_IMODE(mode):04o}): "
            f"run `chmod 600` on it, and consider what it held as known",
        )


def check_surroundings(path: str) -> None:
    """Refuse a directory where others can make files, and logs that others made or can use.

    The directories above are not looked at.

    Raises:
        BackendError: one of them is not to be trusted, or cannot be looked at.
    """
    if os.name != "posix":
        return
    _check_directory(path, os.path.dirname(path))  # noqa: PTH120 - kept as the caller has it
    for side in _SIDES:
        _check_side(path, path + side)


def _check_directory(path: str, directory: str) -> None:
    status = _status(path, directory)
    # One that is not there is told by whoever needs it.
    if status is None or not (stat.S_ISDIR(status.st_mode) or stat.S_ISLNK(status.st_mode)):
        return
    if stat.S_ISLNK(status.st_mode):
        raise faults.unsafe(
            path, f"{directory!r} is a symbolic link: name the directory that it points to"
        )
    if not _is_trusted(status.st_uid):
        raise faults.unsafe(
            path,
            f"the directory {directory!r} belongs to another user (uid {status.st_uid}), who "
            f"could make anybody a user: run `chown {os.geteuid()} {directory!r}`, or move the "
            f"database to a directory of its own (mode 0700)",
        )
    if status.st_mode & 0o022:
        # The sticky bit keeps others from removing files, not from making them. Directories
        # that have it are shared on purpose: those are not to be closed.
        shared = status.st_mode & stat.S_ISVTX
        mend = "" if shared else f"run `chmod go-w {directory!r}`, or "
        raise faults.unsafe(
            path,
            f"others than its owner can write the directory {directory!r} (mode "
            f"{stat.S_IMODE(status.st_mode):04o}), and could make anybody a user: {mend}put the "
            f"database into a directory of its own (mode 0700)",
        )


def _check_side(path: str, side: str) -> None:
    status = _status(path, side)
    if status is None:
        return
    if not stat.S_ISREG(status.st_mode):
        problem, advice = "is no file", "remove it"
    elif not _is_trusted(status.st_uid):
        problem = f"belongs to another user (uid {status.st_uid})"
        advice = "if that user is not to be trusted, stop what uses the database and remove it"
    elif status.st_mode & 0o077:
        problem = f"can be used by others than its owner (mode {stat.S_IMODE(status.st_mode):04o})"
        advice = "run `chmod 600` on it, or remove it if others may have written it"
    else:
        return
    raise faults.refused(path, f"has beside it {side!r}, which {problem}: {advice}")


def _is_trusted(owner: int) -> bool:
    return owner in (os.geteuid(), 0)


def _status(path: str, name: str) -> os.stat_result | None:
    """What `name` itself is, links not followed; None if there is nothing."""
    try:
        return os.lstat(name)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        fault = faults.of_file(error, path)
    raise fault
