"""MAIL, RCPT and the octets of a message."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sasl_core.plugin import PeerError
from sasl_profiles.smtp.envelope import DataReader, parse_mail, parse_rcpt


@pytest.mark.parametrize(
    ("arguments", "sender", "size"),
    [
        ("FROM:<tim@example.com>", "tim@example.com", 0),
        ("from:<>", "", 0),
        ("FROM: <a@b>", "a@b", 0),
        ("FROM:<a@b> SIZE=123 BODY=8BITMIME", "a@b", 123),
        ("FROM:<a@b> AUTH=<>", "a@b", 0),
        ("FROM:<a@b> AUTH=e+3Dmc2@example.com", "a@b", 0),
        ('FROM:<"a > b"@c>', '"a > b"@c', 0),
    ],
)
def test_mail_is_taken_apart(arguments: str, sender: str, size: int) -> None:
    """The path and the parameters that EHLO offered (RFC 4954 section 5 among them)."""
    assert parse_mail(arguments) == (sender, size)


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        ("", "syntax"),
        ("TO:<a@b>", "syntax"),
        ("FROM:a@b", "syntax"),
        ("FROM:<a@b", "syntax"),
        ("FROM:<a b@c>", "syntax"),
        ("FROM:<a@b>SIZE=1", "syntax"),
        ("FROM:<a@b>  SIZE=1", "syntax"),
        ("FROM:<" + "a" * 255 + ">", "syntax"),
        ("FROM:<a@b> SIZE=x", "parameter"),
        ("FROM:<a@b> SIZE=" + "9" * 21, "parameter"),
        ("FROM:<a@b> SMTPUTF8", "parameter"),
        ("FROM:<a@b> BODY=BINARYMIME", "parameter"),
        ("FROM:<a@b> AUTH=a+zz", "parameter"),
        ("FROM:<a@b> AUTH=", "parameter"),
    ],
)
def test_a_wrong_mail_is_refused(arguments: str, code: str) -> None:
    """Syntax and unknown parameters are told apart."""
    with pytest.raises(PeerError) as caught:
        parse_mail(arguments)
    assert caught.value.code == code


@pytest.mark.parametrize("arguments", ["", "TO:<>", "TO:a@b", "TO:<a@b> NOTIFY=NEVER", "FROM:<a>"])
def test_a_wrong_rcpt_is_refused(arguments: str) -> None:
    """A recipient is a path that is not empty; no parameter is known."""
    with pytest.raises(PeerError):
        parse_rcpt(arguments)


@given(st.text(st.characters(min_codepoint=0x20, max_codepoint=0x7E), max_size=80))
def test_any_arguments_give_a_path_or_our_error(text: str) -> None:
    """No text raises anything foreign."""
    for parse, word in ((parse_mail, "FROM:"), (parse_rcpt, "TO:")):
        for arguments in (text, word + text, f"{word}<{text}>"):
            try:
                parse(arguments)
            except PeerError:
                continue


def read(data: bytes, size: int, limit: int = 1000) -> tuple[bytes, bytes, bool] | str | None:
    """Message, rest and overflow of a stream fed in chunks; an error's code; None without end."""
    reader = DataReader(limit)
    for start in range(0, len(data), size):
        try:
            rest = reader.feed(data[start : start + size])
        except PeerError as error:
            return error.code
        if rest is not None:
            return reader.message, rest + data[start + size :], reader.overflow
    return None


SIZES = [1, 2, 3, 4, 5, 7, 1000]


@pytest.mark.parametrize("size", SIZES)
def test_a_message_ends_with_its_dot(size: int) -> None:
    """Dots of the transfer are taken off; what follows the end is left alone."""
    data = b"Subject: x\r\n\r\n..dot\r\n...\r\nlong line of text\r\n.\r\nQUIT\r\n"
    message = b"Subject: x\r\n\r\n.dot\r\n..\r\nlong line of text\r\n"
    assert read(data, size) == (message, b"QUIT\r\n", False)


@pytest.mark.parametrize("size", SIZES)
def test_an_empty_message(size: int) -> None:
    """A dot at once is an empty message."""
    assert read(b".\r\n", size) == (b"", b"", False)


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize(
    "data",
    [
        b"a\n.\r\nMAIL FROM:<b@c>\r\n",
        b"a\r\n.\nMAIL FROM:<b@c>\r\n",
        b"a\n.\nMAIL\r\n",
        b"a\r.\r\nMAIL\r\n",
        b"a\r\n.\r\r\nMAIL\r\n",
        b"\n.\r\n",
        b"\r.\r\n.\r\n",
    ],
)
def test_no_other_end_smuggles_a_command(data: bytes, size: int) -> None:
    """Every near miss of CRLF.CRLF refuses the message (CVE-2023-51764)."""
    assert read(data, size) == "bare-newline"


@pytest.mark.parametrize("size", SIZES)
def test_a_message_over_the_limit_is_read_and_not_kept(size: int) -> None:
    """The end is still found, so that the client hears why."""
    data = (b"x" * 70 + b"\r\n") * 20
    assert read(data + b".\r\nNOOP\r\n", size) == (b"", b"NOOP\r\n", True)


@given(st.lists(st.sampled_from([b".", b"a", b"\r\n", b"xyzzy"]), max_size=30), st.integers(1, 9))
def test_stuffing_is_undone(pieces: list[bytes], size: int) -> None:
    """What a client stuffed comes out as it was, however it is cut."""
    message = b"".join(pieces)
    if message and not message.endswith(b"\r\n"):
        message += b"\r\n"
    stuffed = b"".join(
        b"." + line if line.startswith(b".") else line for line in message.splitlines(keepends=True)
    )
    assert read(stuffed + b".\r\nREST", size) == (message, b"REST", False)


@given(st.binary(max_size=200), st.integers(1, 50))
def test_any_bytes_are_read_alike_in_any_chunks(data: bytes, size: int) -> None:
    """Cutting changes nothing (invariant 9)."""
    assert read(data, size) == read(data, max(len(data), 1))
