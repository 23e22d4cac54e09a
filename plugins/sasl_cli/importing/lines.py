"""A file's lines, none of them longer than fits, and quoted texts that go on over several.

Invariant of `quoted_lines`: what stands between quotes is never taken for a line of its own. In
many a program users choose texts that end up in its dump, and one with a line break in it would
otherwise be a way to write somebody else's verifier.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from sasl_cli.importing.records import RecordError, Refused, utf8

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from typing import BinaryIO

    from sasl_cli.importing.records import Entry

__all__ = ["LINE_LIMIT", "numbered_lines", "quoted_lines", "users_by_line"]

LINE_LIMIT: Final = 128 * 1024
"""Longest line, in bytes, its end included."""

_BOM: Final = b"\xef\xbb\xbf"


def numbered_lines(file: BinaryIO) -> Iterator[tuple[int, bytes] | Refused]:
    """Each line with its number, without its end (LF or CR LF) and a byte order mark.

    A longer line is read to its end, in pieces, and refused.
    """
    number = 0
    while line := file.readline(LINE_LIMIT + 1):
        number += 1
        if number == 1:
            line = line.removeprefix(_BOM)
        if len(line) > LINE_LIMIT:
            while line and not line.endswith(b"\n"):
                line = file.readline(LINE_LIMIT)
            yield Refused(number, "", f"the line is longer than {LINE_LIMIT} bytes")
            continue
        yield number, line.removesuffix(b"\n").removesuffix(b"\r")


def users_by_line(
    file: BinaryIO, entry: Callable[[int, str], Entry], comments: tuple[bytes, ...] = ()
) -> Iterator[Entry | Refused]:
    """Users of whom each has one line, which `entry` reads by its number and text.

    `comments`: what begins lines that are skipped, as blank ones are. A line that is no UTF-8,
    or that `entry` raises `RecordError` for, is refused.
    """
    for line in numbered_lines(file):
        if isinstance(line, Refused):
            yield line
            continue
        number, data = line
        if not data.strip() or data.startswith(comments):
            continue
        try:
            yield entry(number, utf8(data, "the line"))
        except RecordError as error:
            yield error.refused(number)


def quoted_lines(
    lines: Iterable[tuple[int, bytes] | Refused], quotes: bytes, comments: tuple[bytes, ...] = ()
) -> Iterator[tuple[int, bytes] | Refused]:
    """`lines`, but a quoted text with line breaks, and all around it, is one line.

    `quotes`: the characters that quote; doubled they stand for themselves. `comments`: what
    begins lines in which they do not. Where it cannot be told any more what is quoted, the rest
    of the file is refused.
    """
    sign = re.compile(b"[%b]" % quotes)
    held: list[bytes] = []
    first = size = 0
    opened = b""
    for line in lines:
        if isinstance(line, Refused):
            reason = f"{line.reason}; the rest is not read, for it may be inside of quotes"
            yield Refused(first or line.line, "", reason)
            return
        number, data = line
        if not opened and data.startswith(comments):
            continue
        first = first or number
        for match in sign.finditer(data):
            if not opened:
                opened = match[0]
            elif opened == match[0]:
                opened = b""
        held.append(data)
        size += len(data) + 1
        if not opened:
            yield first, b"\n".join(held)
            held.clear()
            first = size = 0
        elif size > LINE_LIMIT:
            yield Refused(
                first, "", f"a quote is not closed within {LINE_LIMIT} bytes; the rest is not read"
            )
            return
    if opened:
        yield Refused(first, "", "a quote is not closed")
