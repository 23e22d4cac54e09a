"""Small files that hold one secret: a token, or a client's secret.

They are read anew each time, for whoever writes them replaces what is in them.
"""

from __future__ import annotations

import os
import stat
from typing import TYPE_CHECKING, Final

from sasl_core.plugin import BackendError, Blocking, NeedCall, printable

if TYPE_CHECKING:
    from sasl_core.plugin import Needs

__all__ = ["FILE_LIMIT", "read_secret"]

FILE_LIMIT: Final = 16 * 1024
"""Longest secret in a file, in octets, the end of its line not counted."""


def read_secret(path: str | os.PathLike[str], what: str) -> Needs[str]:
    """The one line of printable ASCII that the file holds, without the end of the line.

    Raises:
        BackendError: it cannot be read, is no regular file, may be written by anybody, or
            holds anything else. `what` it is stands in the detail, nothing of the text does.
    """
    return (yield from NeedCall(lambda: _read(os.fspath(path), what), Blocking.LOCAL))


def _read(path: str, what: str) -> str:
    # O_NONBLOCK: a FIFO in the place of the file must not hold the program up.
    flags = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_NOCTTY", 0)
    try:
        descriptor = os.open(path, flags)
        try:
            problem = _distrust(os.fstat(descriptor))
            if problem is None:
                with open(descriptor, "rb", closefd=False) as file:
                    data = file.read(FILE_LIMIT + 3)
                text = _text(data)
                if text is not None:
                    return text
                problem = "it does not hold one line of printable ASCII"
                del data
        finally:
            os.close(descriptor)
    except OSError as error:
        problem = error.strerror or type(error).__name__
    except ValueError:
        problem = "the system knows no such name"
    raise BackendError(code="secret-file", detail=f"{what} {printable(path)}: {problem}")


def _text(data: bytes) -> str | None:
    # The line's end is an editor's, and no part of the secret.
    line = data.removesuffix(b"\n").removesuffix(b"\r")
    if not 0 < len(line) <= FILE_LIMIT or not line.isascii():
        return None
    text = line.decode("ascii")
    return text if text.isprintable() else None


def _distrust(status: os.stat_result) -> str | None:
    """Why the file must not be read, asked of the file that is open, not of its name."""
    if not stat.S_ISREG(status.st_mode):
        return "it is no regular file"
    # Whoever may write it decides as whom we log in. Elsewhere the bit says only that the
    # file is not read-only.
    if os.name == "posix" and status.st_mode & stat.S_IWOTH:
        return "anybody may write to it; take that away with: chmod o-w"
    return None
