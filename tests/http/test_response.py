"""The response's reader: what it takes, what it refuses, however the bytes arrive."""

from __future__ import annotations

import pytest

from sasl_core.plugin import BackendError, HttpResponse
from sasl_http.response import FIELDS_LIMIT, HEAD_LIMIT, ResponseReader
from stopwatch import within

OK = b"HTTP/1.1 200 OK\r\n"
CHUNKED = OK + b"Transfer-Encoding: chunked\r\n\r\n"


def read(
    data: bytes, *, step: int | None = None, limit: int = 100, bodiless: bool = False
) -> HttpResponse:
    """The response in `data`, which arrives in pieces of `step` bytes, and then the end."""
    reader = ResponseReader("https://x/", limit, bodiless=bodiless)
    step = step or len(data) or 1
    for start in range(0, len(data), step):
        response = reader.feed(data[start : start + step])
        if response is not None:
            return response
    return reader.end()


GOOD: dict[str, tuple[bytes, int, bytes]] = {
    "length": (OK + b"Content-Length: 3\r\n\r\nabc", 200, b"abc"),
    "length zero": (OK + b"Content-Length: 0\r\n\r\n", 200, b""),
    "bytes after the end": (OK + b"Content-Length: 3\r\n\r\nabcdef", 200, b"abc"),
    "until the end": (OK + b"\r\nabc\r\n", 200, b"abc\r\n"),
    "HTTP/1.0": (b"HTTP/1.0 200 OK\r\n\r\nabc", 200, b"abc"),
    "no reason": (b"HTTP/1.1 404\r\nContent-Length: 0\r\n\r\n", 404, b""),
    "empty reason": (b"HTTP/1.1 503 \r\nContent-Length: 0\r\n\r\n", 503, b""),
    "redirect": (b"HTTP/1.1 302 Found\r\nLocation: /x\r\nContent-Length: 1\r\n\r\n-", 302, b"-"),
    "no content": (b"HTTP/1.1 204 No\r\n\r\nabc", 204, b""),
    "not modified": (b"HTTP/1.1 304 No\r\nContent-Length: 3\r\n\r\n", 304, b""),
    "interim": (
        b"HTTP/1.1 100 Go on\r\n\r\nHTTP/1.1 103 Hints\r\nLink: x\r\n\r\n"
        + OK
        + b"Content-Length: 2\r\n\r\nok",
        200,
        b"ok",
    ),
    "chunks": (CHUNKED + b"3\r\nabc\r\n2;x=y\r\nde\r\n0\r\n\r\n", 200, b"abcde"),
    "chunk in upper case": (CHUNKED + b"A \r\n0123456789\r\n00\r\n\r\n", 200, b"0123456789"),
    "trailers": (CHUNKED + b"1\r\na\r\n0\r\nX-Late: yes\r\n\r\n", 200, b"a"),
    "identity": (OK + b"Content-Encoding: identity\r\nContent-Length: 1\r\n\r\na", 200, b"a"),
}


@pytest.mark.parametrize("step", [None, 1, 2, 7])
@pytest.mark.parametrize(("data", "status", "body"), GOOD.values(), ids=GOOD)
def test_what_is_taken(data: bytes, status: int, body: bytes, step: int | None) -> None:
    """Every way to say where a body ends, in pieces of any size."""
    response = read(data, step=step)
    assert (response.status, response.body) == (status, body)


def test_fields() -> None:
    """Names in lower case, in their order, each value without the blanks around it."""
    data = OK + b"B: \t two words \r\nA:\r\nb:3\r\nC: \xe4\r\nContent-Length: 0\r\n\r\n"
    assert read(data).headers == (
        ("b", "two words"),
        ("a", ""),
        ("b", "3"),
        ("c", "ä"),
        ("content-length", "0"),
    )


def test_fields_of_interim_answers_and_trailers_are_forgotten() -> None:
    """What is not in the answer's own header is not believed."""
    data = b"HTTP/1.1 103 H\r\nA: 1\r\n\r\n" + CHUNKED + b"0\r\nB: 2\r\n\r\n"
    assert read(data).headers == (("transfer-encoding", "chunked"),)


def test_the_answer_to_a_head_has_no_body() -> None:
    """Whatever its header says of one."""
    data = OK + b"Content-Length: 5000\r\nContent-Encoding: gzip\r\n\r\n"
    assert read(data, bodiless=True).body == b""


BAD: dict[str, bytes] = {
    "nothing": b"",
    "garbage": b"\x15\x03\x01\0\x02\x02\x16\r\n\r\n",
    "SMTP": b"220 mail.example.com ESMTP\r\n",
    "HTTP/2": b"HTTP/2 200 OK\r\n\r\n",
    "HTTP/0.9": b"<html>\r\n",
    "signed status": b"HTTP/1.1 +200 OK\r\n\r\n",
    "status with a bar": b"HTTP/1.1 2_0 OK\r\n\r\n",
    "long status": b"HTTP/1.1 2000 OK\r\n\r\n",
    "no field": OK + b"no colon\r\n\r\n",
    "blank before the colon": OK + b"Content-Length : 3\r\n\r\nabc",
    "folded": OK + b"A: b\r\n c\r\n\r\n",
    "NUL in a value": OK + b"A: \0\r\n\r\n",
    "CR in a value": OK + b"A: b\rc\r\n\r\n",
    "lone LF": OK + b"A: b\n\r\n",
    "another protocol": b"HTTP/1.1 101 Switching\r\nUpgrade: x\r\n\r\n",
    "two lengths": OK + b"Content-Length: 3\r\nContent-Length: 2\r\n\r\nabc",
    "the same length twice": OK + b"Content-Length: 3\r\nContent-Length: 3\r\n\r\nabc",
    "a list of lengths": OK + b"Content-Length: 3, 3\r\n\r\nabc",
    "both": OK + b"Content-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "length with a bar": OK + b"Content-Length: 1_0\r\n\r\n0123456789",
    "signed length": OK + b"Content-Length: +3\r\n\r\nabc",
    "empty length": OK + b"Content-Length:\r\n\r\nabc",
    "packed in chunks": OK + b"Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
    "chunked twice": OK + b"Transfer-Encoding: chunked, chunked\r\n\r\n0\r\n\r\n",
    "not chunked": OK + b"Transfer-Encoding: identity\r\n\r\nabc",
    "chunks of HTTP/1.0": b"HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "gzip": OK + b"Content-Encoding: gzip\r\nContent-Length: 3\r\n\r\nabc",
    "short": OK + b"Content-Length: 3\r\n\r\nab",
    "cut in the head": OK + b"Content-Le",
    "negative chunk": CHUNKED + b"-1\r\nabc",
    "hexadecimal chunk": CHUNKED + b"0x1\r\na\r\n0\r\n\r\n",
    "chunk with a bar": CHUNKED + b"1_0\r\n0123456789abcdef\r\n0\r\n\r\n",
    "empty chunk line": CHUNKED + b"\r\n",
    "long chunk": CHUNKED + b"2\r\nabc\r\n0\r\n\r\n",
    "no end of a chunk": CHUNKED + b"2\r\nab0\r\n\r\n",
    "chunks without an end": CHUNKED + b"2\r\nab\r\n",
    "trailer without an end": CHUNKED + b"0\r\n",
    "bad trailer": CHUNKED + b"0\r\nno colon\r\n\r\n",
}


@pytest.mark.parametrize("step", [None, 1])
@pytest.mark.parametrize("data", BAD.values(), ids=BAD)
def test_what_is_refused(data: bytes, step: int | None) -> None:
    """No HTTP, cut short, or to be read in two ways."""
    with pytest.raises(BackendError) as caught:
        read(data, step=step)
    assert caught.value.code == "http-protocol"
    assert caught.value.temporary
    assert (caught.value.detail or "").startswith("https://x/: ")


LARGE: dict[str, bytes] = {
    "length": OK + b"Content-Length: 101\r\n\r\n",
    "enormous length": OK + b"Content-Length: 999999999999999999\r\n\r\n",
    "until the end": OK + b"\r\n" + b"x" * 101,
    "one chunk": CHUNKED + b"65\r\n",
    "enormous chunk": CHUNKED + b"fffffffffffffff\r\n",
    "two chunks": CHUNKED + b"64\r\n" + b"x" * 100 + b"\r\n1\r\n",
    "chunk line": CHUNKED + b"1;" + b"x" * 1100,
    "first line": OK[:-2] + b"x" * HEAD_LIMIT,
    "one field": OK + b"A: " + b"x" * HEAD_LIMIT,
    "fields": OK + b"A: b\r\n" * (FIELDS_LIMIT + 1),
    "interim": b"HTTP/1.1 102 Wait\r\n\r\n" * 4000,
    "trailers": CHUNKED + b"0\r\n" + b"A: b\r\n" * 20000,
}


@pytest.mark.parametrize("step", [None, 1000])
@pytest.mark.parametrize("data", LARGE.values(), ids=LARGE)
def test_what_is_too_large(data: bytes, step: int | None) -> None:
    """Refused when it is announced, or as soon as there is too much of it."""
    with pytest.raises(BackendError) as caught:
        read(data, step=step)
    assert caught.value.code == "http-too-large"


def test_a_body_of_just_the_limit() -> None:
    """Is not too large."""
    body = b"x" * 100
    assert read(OK + b"Content-Length: 100\r\n\r\n" + body).body == body
    assert read(OK + b"\r\n" + body).body == body
    assert read(CHUNKED + b"64\r\n" + body + b"\r\n0\r\n\r\n").body == body


def test_a_head_that_drips_costs_little() -> None:
    """One that comes byte by byte, as long as it may be, and malformed at its end."""
    with within(2.0), pytest.raises(BackendError):
        read(OK + b"A:" + b" " * (HEAD_LIMIT - 100) + b"\0\r\n\r\n", step=1)
