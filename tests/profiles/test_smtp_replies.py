"""Replies: written, read back, and chosen for each kind of failure."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sasl_core.plugin import (
    AuthenticationError,
    BackendError,
    ConfigError,
    MechanismError,
    PeerError,
    PluginError,
    Result,
    SaslError,
    UsageError,
)
from sasl_profiles.smtp.replies import REPLY_LINES, ReplyReader, SmtpReply, refusal, reply


def parsed(data: bytes) -> list[SmtpReply]:
    """All replies in these octets."""
    reader = ReplyReader()
    reader.feed(data)
    found = []
    while (one := reader.next_reply()) is not None:
        found.append(one)
    return found


def test_a_reply_of_one_line() -> None:
    """Code, enhanced code and text stand in one line."""
    assert reply(235, "2.7.0", "Welcome").format() == b"235 2.7.0 Welcome\r\n"


def test_a_reply_of_several_lines() -> None:
    """Each line has the code; all but the last have a hyphen (RFC 5321 section 4.2.1)."""
    assert SmtpReply(250, ("mail", "SIZE", "AUTH PLAIN")).format() == (
        b"250-mail\r\n250-SIZE\r\n250 AUTH PLAIN\r\n"
    )


def test_an_empty_challenge_keeps_its_space() -> None:
    """A challenge without data is `334 ` (RFC 4954 section 4); one without the space is read."""
    assert SmtpReply(334, ("",)).format() == b"334 \r\n"
    assert parsed(b"334 \r\n334\r\n") == [SmtpReply(334, ("",))] * 2


def test_an_enhanced_code_of_another_class_is_text() -> None:
    """`235 4.7.0` is not enhanced: RFC 2034 wants the classes to agree."""
    assert parsed(b"235 4.7.0 x\r\n") == [SmtpReply(235, ("4.7.0 x",))]
    assert parsed(b"250-2.1.0 a\r\n250 2.1.5 b\r\n") == [SmtpReply(250, ("2.1.0 a", "2.1.5 b"))]


TEXT = st.text(st.characters(min_codepoint=0x20, max_codepoint=0x7E), max_size=40).filter(
    lambda text: not text[:1].isdigit()
)


@given(
    st.integers(2, 5),
    st.integers(0, 59),
    st.lists(TEXT, min_size=1, max_size=5),
    st.booleans(),
)
def test_what_is_written_is_read_back(
    first: int, rest: int, lines: list[str], enhanced: bool
) -> None:
    """parse(format(reply)) == reply (invariant 5)."""
    code = first * 100 + rest
    one = SmtpReply(code, tuple(lines), f"{first}.7.{rest}" if enhanced and first != 3 else "")
    assert parsed(one.format()) == [one]


@pytest.mark.parametrize(
    "data",
    [
        b"\r\n",
        b"25\r\n",
        b"2500\r\n",
        b"199 x\r\n",
        b"600 x\r\n",
        b"290 x\r\n",
        b"250_x\r\n",
        b"abc\r\n",
        b"250 caf\xc3\xa9\r\n",
        b"250 \x00\r\n",
        b"250-a\r\n251 b\r\n",
        b"250 a\n",
        b"250 a\rb\r\n",
        "٢٥٠ x\r\n".encode(),
        b"250-x\r\n" * (REPLY_LINES + 1),
        b"334 " + b"A" * 20000 + b"\r\n",
        b"HTTP/1.1 200 OK\r\n",
    ],
)
def test_what_is_no_reply_is_refused(data: bytes) -> None:
    """Nonsense, mixed codes, text beyond ASCII, bare newlines and floods are a PeerError."""
    with pytest.raises(PeerError):
        parsed(data)


@given(st.binary(max_size=200))
def test_any_bytes_give_replies_or_our_error(data: bytes) -> None:
    """No input makes the reader raise anything but a PeerError (invariant 1)."""
    try:
        replies = parsed(data)
    except PeerError:
        return
    assert all(200 <= one.code < 600 for one in replies)


SECRET = "hunter2"


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (AuthenticationError(detail=SECRET), b"535 5.7.8 "),
        (AuthenticationError(detail="x", result=Result.NOUSER), b"535 5.7.8 "),
        (AuthenticationError(detail="x", result=Result.DISABLED, code="disabled"), b"535 5.7.8 "),
        (AuthenticationError(detail="x", result=Result.TRANS), b"535 5.7.8 "),
        (PeerError(SECRET, detail=SECRET), b"501 5.5.2 "),
        (PeerError(SECRET, code="initial-response-refused"), b"501 5.7.0 "),
        (MechanismError(SECRET), b"504 5.5.4 "),
        (MechanismError(SECRET, result=Result.ENCRYPT), b"538 5.7.11 "),
        (MechanismError(SECRET, result=Result.TOOWEAK), b"534 5.7.9 "),
        (MechanismError(SECRET, result=Result.TRANS), b"432 4.7.12 "),
        (BackendError(SECRET, detail=SECRET), b"454 4.7.0 "),
        (BackendError(SECRET, temporary=False), b"554 5.3.0 "),
        (PluginError(SECRET, SECRET, SECRET), b"454 4.7.0 "),
        (ConfigError(SECRET, key=SECRET), b"454 4.7.0 "),
        (UsageError(SECRET), b"454 4.7.0 "),
        (SaslError(SECRET), b"454 4.7.0 "),
    ],
)
def test_each_failure_has_its_reply(error: SaslError, line: bytes) -> None:
    """The kind of error chooses the codes of RFC 4954 section 6; nothing else of it is sent."""
    sent = refusal(error).format()
    assert sent.startswith(line)
    assert SECRET.encode() not in sent


def test_a_refusal_is_the_same_whatever_the_cause() -> None:
    """Unknown user, wrong password, disabled account: one line, to the octet (invariant 13)."""
    sent = {
        refusal(AuthenticationError(detail=str(result), result=result, code=f"c{result}")).format()
        for result in Result
    }
    assert len(sent) == 1
