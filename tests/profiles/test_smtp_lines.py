"""Line framing: only CRLF ends a line, and nothing grows without bound."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sasl_core.plugin import PeerError
from sasl_profiles.smtp.lines import DISCARD_LIMIT, LineReader

LIMIT = 64


def read_all(reader: LineReader, limit: int = LIMIT) -> list[bytes | str]:
    """Every line that is there, an error's code in its place."""
    found: list[bytes | str] = []
    while True:
        try:
            line = reader.next_line(limit)
        except PeerError as error:
            found.append(error.code)
            if error.code != "line-too-long":
                return found
        else:
            if line is None:
                return found
            found.append(line)


def fed(*chunks: bytes) -> list[bytes | str]:
    """The lines of a stream that arrives in these chunks."""
    reader = LineReader()
    found: list[bytes | str] = []
    for chunk in chunks:
        reader.feed(chunk)
        found += read_all(reader)
        if found and found[-1] in {"bare-newline", "line-flood"}:
            break
    return found


def test_lines_come_without_their_crlf() -> None:
    """Two lines and an unfinished one give two lines."""
    assert fed(b"one\r\n\r\nthr") == [b"one", b""]


@pytest.mark.parametrize(
    "data",
    [b"a\nb\r\n", b"a\r\r\n", b"\n", b"a\rb\r\n", b"\r\r\n", b"a\rb", b"MAIL\n.\r\n", b"a\n\r\n"],
)
def test_a_bare_cr_or_lf_is_refused(data: bytes) -> None:
    """What another reader might take for the end of a line ends nothing here."""
    assert fed(data) == ["bare-newline"]
    assert fed(*(data[i : i + 1] for i in range(len(data)))) == ["bare-newline"]


def test_a_bare_newline_is_told_before_the_line_ends() -> None:
    """Nobody waits for the CRLF of a line that is refused anyway."""
    assert fed(b"a\nb") == ["bare-newline"]


def test_the_limit_counts_the_crlf() -> None:
    """A line of exactly the limit is taken; one octet more is not."""
    fits = b"x" * (LIMIT - 2)
    assert fed(fits + b"\r\n") == [fits]
    assert fed(fits + b"x\r\n") == ["line-too-long"]
    assert fed(fits, b"\r", b"\n") == [fits]
    assert fed(fits + b"x", b"\r", b"\n") == ["line-too-long"]


def test_a_long_line_is_not_kept() -> None:
    """An over-long line is thrown away as it arrives; the next line is read."""
    reader = LineReader()
    for _ in range(100):
        reader.feed(b"x" * 1000)
        assert reader.next_line(LIMIT) is None
        assert len(reader) <= 1000
    reader.feed(b"\r\nnext\r\n")
    assert read_all(reader) == ["line-too-long", b"next"]


def test_a_line_without_end_is_given_up() -> None:
    """Throwing away has an end too."""
    assert fed(*[b"x" * 4096] * (DISCARD_LIMIT // 4096)) == []
    assert fed(*[b"x" * 4096] * (DISCARD_LIMIT // 4096 + 1)) == ["line-flood"]


def test_a_cleared_reader_knows_nothing() -> None:
    """Half a line, and an over-long one in progress, are gone."""
    reader = LineReader()
    reader.feed(b"x" * 1000)
    assert reader.next_line(LIMIT) is None
    reader.clear()
    reader.feed(b"new\r\n")
    assert read_all(reader) == [b"new"]


PIECES = st.lists(
    st.sampled_from([b"\r\n", b"\r", b"\n", b"x", b"ab", b"x" * 62, b"x" * 70]), max_size=12
).map(b"".join)


@given(PIECES, st.lists(st.integers(0, 200), max_size=6))
def test_chunks_make_no_difference(data: bytes, cuts: list[int]) -> None:
    """A stream gives the same lines however it is cut (invariant 9)."""
    edges = sorted({0, len(data), *(cut for cut in cuts if cut < len(data))})
    chunks = [data[a:b] for a, b in pairwise(edges)]
    whole = fed(data)
    assert fed(*chunks) == whole
    assert fed(*(data[i : i + 1] for i in range(len(data)))) == whole


@given(st.binary(max_size=300))
def test_any_bytes_give_lines_or_our_error(data: bytes) -> None:
    """Lines are parts of the stream in their order, and hold neither CR nor LF."""
    rest = data
    for line in fed(data):
        if isinstance(line, bytes):
            assert b"\r" not in line
            assert b"\n" not in line
            before, found, rest = rest.partition(line + b"\r\n")
            assert found
            assert b"\n" not in before or len(before) > LIMIT - 2
