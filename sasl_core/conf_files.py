"""Where configuration files are looked for, and how one is read. The only I/O here.

The first file found counts, and no other is read: in each directory of the search path
`sasl.toml`, then `<appname>.conf`. A file that is there but cannot be trusted or read is
an error, never a reason to go on as if there were none. Nothing is read that is not a
regular file, that anybody may write to, or that is larger than `SIZE_LIMIT`.

A setuid or setgid program ignores `SASL_CONF_PATH`, which belongs to whoever started it
(CVE-2004-0884, where Cyrus SASL loaded plugins from a path that the user chose).
"""

from __future__ import annotations

import os
import re
import stat
from pathlib import Path
from typing import TYPE_CHECKING, Final

from sasl_core.conf_values import wrong
from sasl_core.errors import printable

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

__all__ = [
    "DEFAULT_SEARCH",
    "SIZE_LIMIT",
    "TOML_NAME",
    "absolute",
    "candidates",
    "parse_toml",
    "present",
    "read_text",
    "search_path",
]

DEFAULT_SEARCH: Final = ("/etc/sasl", "/etc/sasl2")
"""The directories searched when `SASL_CONF_PATH` names none; the second one is Cyrus's."""

SIZE_LIMIT: Final = 1 << 20
"""The largest configuration file that is read, in bytes."""

TOML_NAME: Final = "sasl.toml"
ENVIRONMENT: Final = "SASL_CONF_PATH"

# tomllib takes time and memory by the square of the parts of a dotted key. These are the
# dots that one line may have between two "=".
_DOTS: Final = 1000

# tomllib ends its messages so; Python 3.14 has the numbers as attributes, older ones have not.
_TOML_PLACE: Final = re.compile(r" \(at (?:line (\d+), column \d+|end of document)\)\Z")


def search_path() -> tuple[str, ...]:
    """The directories to search: those of `SASL_CONF_PATH`, or `DEFAULT_SEARCH` without it.

    They are separated by `os.pathsep` (`:`), empty ones do not count. Of a program that
    runs with more rights than its user the variable is ignored.
    """
    if _privileged():
        return DEFAULT_SEARCH
    named = os.environ.get(ENVIRONMENT, "").split(os.pathsep)
    return tuple(directory for directory in named if directory) or DEFAULT_SEARCH


def _privileged() -> bool:
    """Whether the process has the rights of another user than the one who started it."""
    if os.name != "posix":
        return False
    return os.geteuid() != os.getuid() or os.getegid() != os.getgid()


def candidates(directories: Sequence[str], appname: str) -> Iterator[str]:
    """The files to look for, in order."""
    for directory in directories:
        for name in (TOML_NAME, f"{appname}.conf"):
            yield absolute(Path(directory, name))


def absolute(path: str | os.PathLike[str]) -> str:
    """The path from the root, so that it means the same after a change of directory."""
    try:
        return str(Path(path).absolute())
    except OSError:  # the current directory is gone
        return str(path)


def present(files: Sequence[str]) -> tuple[str, ...]:
    """Those of `files` that are there."""
    return tuple(file for file in files if os.access(file, os.F_OK))


def read_text(path: str) -> str | None:
    """The text of a configuration file; None when there is no such file.

    Raises:
        ConfigError: it is no regular file, may be written by anybody, is too large, is
            not UTF-8, begins with a byte order mark, or cannot be read.
    """
    data = _read_bytes(path)
    if data is None:
        return None
    if data.startswith(b"\xef\xbb\xbf"):
        problem = "the file begins with a byte order mark; save it as plain UTF-8"
        raise wrong(problem, file=path, line=1)
    try:
        return data.decode()
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
    raise wrong("the file is not UTF-8", file=path, line=line)


def _read_bytes(path: str) -> bytes | None:
    # O_NONBLOCK: a FIFO in the place of the file must not hold the program up.
    flags = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_NOCTTY", 0)
    try:
        descriptor = os.open(path, flags)
        try:
            problem = _distrust(os.fstat(descriptor))
            if problem is None:
                with open(descriptor, "rb", closefd=False) as file:
                    data = file.read(SIZE_LIMIT + 1)
                if len(data) <= SIZE_LIMIT:
                    return data
                problem = f"the file has more than {SIZE_LIMIT} bytes"
        finally:
            os.close(descriptor)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        problem = f"the file cannot be read: {error.strerror or type(error).__name__}"
    except ValueError:
        problem = "the file's name is none that the system knows"
    raise wrong(problem, file=path)


def _distrust(status: os.stat_result) -> str | None:
    """Why the file must not be read, asked of the file that is open, not of its name."""
    if not stat.S_ISREG(status.st_mode):
        return "this is no regular file"
    # Elsewhere the bit says only that the file is not read-only.
    if os.name == "posix" and status.st_mode & stat.S_IWOTH:
        return "anybody may write to the file; take that away with: chmod o-w"
    return None


def parse_toml(text: str, path: str) -> dict[str, object]:
    """The tables of a TOML text.

    Raises:
        ConfigError: it is not TOML, or nested too deeply.
    """
    import tomllib

    line: int | None = None
    if any(part.count(".") > _DOTS for part in re.split(r"[=\n]", text)):
        raise wrong("a line has too many dots, or its tables are nested too deeply", file=path)
    try:
        return tomllib.loads(text)
    except RecursionError:
        problem = "the tables are nested too deeply"
    except tomllib.TOMLDecodeError as error:
        # Its texts name keys and single characters, never a value.
        problem = str(error)
        place = _TOML_PLACE.search(problem)
        if place is not None:
            problem = problem[: place.start()]
            line = int(place[1]) if place[1] else text.count("\n") + 1
        problem = f"not TOML: {printable(problem)}"
    except ValueError:
        # Python's own limit on the digits of a number passes through tomllib.
        problem = "not TOML: a number is too long"
    raise wrong(problem, file=path, line=line)
