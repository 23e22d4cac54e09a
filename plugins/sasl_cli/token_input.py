"""Where a token comes from: standard input or a file, and never the command line.

Invariant: no error shows any of what was read.
"""

from __future__ import annotations

import sys
from typing import Annotated, TypeAlias

import typer

from sasl_cli.password import ask
from sasl_core.plugin import ConfigError, UsageError, printable

__all__ = ["STDIN", "TokenArgument", "TokenFile", "read_limited", "read_token", "token_of_file"]

STDIN = "-"

LIMIT = 65536
"""Longest token that is read at all, in bytes; what is too long for a server is said of it."""

TokenArgument: TypeAlias = Annotated[
    str,
    typer.Argument(
        metavar="STDIN",
        help="May be -: standard input, where the token is read from without --file. It is not "
        "taken from the command line, which every user of this machine can read.",
        show_default=False,
    ),
]
TokenFile: TypeAlias = Annotated[
    str | None, typer.Option("--file", metavar="FILE", help="Read the token from this file.")
]


def read_token(argument: str, file: str | None) -> str:
    """The token from `file`, or from standard input; a terminal is asked, without echo.

    Raises:
        UsageError: what was given is no `-`, there is no token, or it is no text of one line.
        ConfigError: the file cannot be read.
    """
    if argument != STDIN:
        # It is not repeated: it may be the token.
        raise UsageError(
            "a token is not taken from the command line, which every user of this machine can "
            "read: pipe it in, or name its file with --file"
        )
    if file is not None and file != STDIN:
        return token_of_file(file)
    if sys.stdin.isatty():
        return _token(ask("Token").encode("utf-8", "replace"), "what was typed")
    return _token(sys.stdin.buffer.read(LIMIT + 1), "standard input")


def token_of_file(file: str) -> str:
    """The token in a file, without the line break behind it.

    Raises:
        ConfigError: it cannot be read. UsageError: it holds no token.
    """
    return _token(read_limited(file, LIMIT), printable(file))


def read_limited(file: str, limit: int) -> bytes:
    """What is in a file, and one byte more than `limit` at most.

    Raises:
        ConfigError: it cannot be read.
    """
    try:
        with open(file, "rb") as stream:  # noqa: PTH123 - "/dev/fd/3" and the like are files too.
            return stream.read(limit + 1)
    except (OSError, ValueError) as error:
        reason = printable(getattr(error, "strerror", None) or "that is no name of a file")
    raise ConfigError(f"cannot be read: {reason}", file=printable(file))


def _token(data: bytes, where: str) -> str:
    text = data.strip(b" \t\r\n")
    if len(data) > LIMIT:
        raise UsageError(f"{where} has more than {LIMIT} bytes, and that is no token")
    if not text:
        raise UsageError(f"{where} is empty where a token is expected")
    if not text.isascii() or any(octet <= 0x20 or octet == 0x7F for octet in text):
        raise UsageError(f"{where} is not a token: one word of ASCII characters is expected")
    return text.decode("ascii")
