"""The report of an import: a file that is its owner's alone, or whatever else one names.

Invariants: no link is followed, so that none in a folder of others leads to another file; nothing
but an earlier report is written over, and what is asked of a file is asked of the one that is
open; nobody waits for the other end of a pipe.
"""

from __future__ import annotations

import os
import re
import stat
from pathlib import Path
from typing import IO, Final

from sasl_core.plugin import ConfigError, printable

__all__ = ["open_report"]

_STANDARD: Final = {"/dev/stdout": 1, "/dev/stderr": 2}
_DESCRIPTOR: Final = re.compile(r"/(?:dev|proc/self)/fd/([0-9]{1,9})")
_BEGINNING: Final = b'{"line": '
# Windows has neither links that anybody can make, nor these flags.
_CAREFUL: Final = (
    getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_NOCTTY", 0)
)


def open_report(name: str, users: str) -> IO[str]:
    """The report `name` of an import of the file `users`, open for writing.

    A file is made with mode 0600, or gets it; an earlier report is replaced, and no other file:
    a slip on the command line must not cost a database. A pipe, a terminal, `/dev/stderr` and
    `/dev/fd/N` are written to.

    Raises:
        ConfigError: it cannot be written, or is another file.
    """
    try:
        descriptor = _given(name)
        if descriptor is None:
            descriptor = _opened(name, users)
        return os.fdopen(descriptor, "w", encoding="utf-8")
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or type(error).__name__
    raise ConfigError(f"cannot be written: {reason}", file=printable(name, 200))


def _given(name: str) -> int | None:
    """A copy of the descriptor that `name` is of, which the system has as a link."""
    match = _DESCRIPTOR.fullmatch(name)
    number = _STANDARD.get(name) if match is None else int(match[1])
    return None if number is None else os.dup(number)


def _opened(name: str, users: str) -> int:
    """`name`, opened, and emptied if it is a file.

    Raises:
        ConfigError: it is a file, and no report.
        OSError: it cannot be opened.
    """
    descriptor = os.open(name, os.O_RDWR | os.O_CREAT | _CAREFUL, 0o600)
    try:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            # Open for both, a pipe would have a reader in ourselves, and fill up.
            os.close(descriptor)
            descriptor = -1
            descriptor = os.open(name, os.O_WRONLY | _CAREFUL)
            status = os.fstat(descriptor)
            if stat.S_ISREG(status.st_mode):
                raise ConfigError("was replaced meanwhile", file=printable(name, 200))
            os.set_blocking(descriptor, True)
            return descriptor
        start = os.read(descriptor, len(_BEGINNING))
        if start and start != _BEGINNING:
            raise ConfigError("is there already, and is no report", file=printable(name, 200))
        if users != "-" and os.path.samestat(status, Path(users).stat()):
            raise ConfigError("is the file of users itself", file=printable(name, 200))
        if hasattr(os, "fchmod"):
            os.fchmod(descriptor, 0o600)
        _ = os.lseek(descriptor, 0, os.SEEK_SET)
        os.truncate(descriptor, 0)
    except BaseException:
        if descriptor >= 0:
            os.close(descriptor)
        raise
    return descriptor
