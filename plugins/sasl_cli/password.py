"""Where a password comes from: a line of standard input, or a terminal that does not echo.

Invariant: what was read is returned and kept nowhere else; no error shows any of it.
"""

from __future__ import annotations

import sys

from sasl_core.plugin import UsageError

__all__ = ["ask", "read_line"]

LIMIT = 65536
"""Longest password on standard input, in bytes."""


def read_line() -> str:
    """The first line of standard input without its end, as UTF-8.

    Raises:
        UsageError: there is none, it is too long, or no UTF-8.
    """
    line = sys.stdin.buffer.readline(LIMIT + 1)
    if not line:
        raise UsageError("standard input is empty where -p expects a password")
    if len(line) > LIMIT:
        raise UsageError(f"the password is longer than {LIMIT} bytes")
    try:
        return line.removesuffix(b"\n").removesuffix(b"\r").decode("utf-8")
    except UnicodeDecodeError:
        pass
    raise UsageError("the password is no UTF-8")


def ask(prompt: str, *, twice: bool = False) -> str:
    """Ask on the terminal, without echo; with `twice` again, and compare.

    Raises:
        UsageError: there is no terminal, the two differ, or what was typed is no text.
    """
    import warnings
    from getpass import GetPassWarning, getpass

    try:
        with warnings.catch_warnings():
            # It would go on and show what is typed.
            warnings.simplefilter("error", GetPassWarning)
            password = getpass(f"{prompt}: ")
            again = getpass("Once more: ") if twice else password
    except (GetPassWarning, EOFError, OSError):
        raise UsageError(
            "there is no terminal to ask for the password: pipe it in with -p"
        ) from None
    except UnicodeDecodeError:
        raise UsageError("the password is no text in the terminal's encoding") from None
    if password != again:
        raise UsageError("the two differ: nothing was changed")
    return password
