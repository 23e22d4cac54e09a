"""The drawing: nothing of a message is lost, nothing breaks the lifelines."""

from __future__ import annotations

from typing import Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sasl_cli.addresses import is_loopback, parse_address, parse_url, show_address
from sasl_cli.diagram import ASCII, UNICODE, Line, draw
from sasl_core import SaslError
from sasl_profiles.smtp import TraceEvent


def drawn(lines: list[Line]) -> list[str]:
    return ["".join(piece for piece, _ in line) for line in lines]


def test_a_conversation_as_it_is_drawn() -> None:
    """The whole of a small one: lines of one side share an arrow, decoded text is set off."""
    events = [
        TraceEvent("S", "220 ready"),
        TraceEvent("C", "AUTH PLAIN ****", secret=True, message=r"\0tim\0****"),
        TraceEvent("S", "250-one"),
        TraceEvent("S", "250 twenty-two"),
        TraceEvent("-", "a note"),
        TraceEvent("C", ""),
    ]
    assert drawn(draw(events, 50, UNICODE)) == [
        "  client                                   server",
        "    │                              220 ready │",
        "    │◀───────────────────────────────────────┤",
        "    │ AUTH PLAIN ****                        │",
        r"    │   \0tim\0****                          │",
        "    ├───────────────────────────────────────▶│",
        "    │                         250-one        │",
        "    │                         250 twenty-two │",
        "    │◀───────────────────────────────────────┤",
        "    │                 a note                 │",
        "    │ (an empty line)                        │",
        "    ├───────────────────────────────────────▶│",
    ]


def test_ascii_where_there_is_nothing_else() -> None:
    """The same in characters that every terminal has."""
    text = "\n".join(drawn(draw([TraceEvent("C", "x" * 99, message="y,z")], 50, ASCII)))
    assert text.isascii()
    assert "~" in text
    assert not UNICODE.fit("latin-1")
    assert not UNICODE.fit("no-such-encoding")
    assert UNICODE.fit("utf-8")


Direction = st.sampled_from(("C", "S", "-"))
Text = st.text(max_size=300)


@given(
    st.lists(st.tuples(Direction, Text, st.none() | Text), max_size=8),
    st.integers(60, 100),
    st.sampled_from((UNICODE, ASCII)),
)
def test_whatever_is_said_the_lifelines_stand(
    said: list[tuple[Literal["C", "S", "-"], str, str | None]], width: int, glyphs: object
) -> None:
    """Every line is as long as the others, printable, and both lifelines are in their columns."""
    assert glyphs is UNICODE or glyphs is ASCII
    chosen = UNICODE if glyphs is UNICODE else ASCII
    events = [TraceEvent(d, line, message=message) for d, line, message in said]
    heads, *rows = drawn(draw(events, width, chosen))
    assert len(heads) <= width
    for row in rows:
        assert row.isprintable()
        assert len(row) == width - 4
        assert row[4] in (chosen.life, chosen.from_client)
        assert row[-1] in (chosen.life, chosen.from_server)


@given(st.text(st.characters(categories=("L", "N", "P"), max_codepoint=0x17F), max_size=400))
def test_what_a_message_says_is_there_to_the_last_character(message: str) -> None:
    """However it is wrapped, the pieces make the whole."""
    event = TraceEvent("C", "LINE", message=message)
    rows = drawn(draw([event], 70, UNICODE))[2:-1]
    assert "".join(row[8:].rstrip("│").rstrip(" ") for row in rows) == message


# --- addresses --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("127.0.0.1:0", ("127.0.0.1", 0)),
        ("[::1]:587", ("::1", 587)),
        ("[fe80::1%eth0]:25", ("fe80::1%eth0", 25)),
        ("mail.example.com:65535", ("mail.example.com", 65535)),
    ],
)
def test_an_address_is_read_as_it_is_written(text: str, address: tuple[str, int]) -> None:
    """Host and port, and back again."""
    assert parse_address(text) == address
    assert show_address(*address) == text


def test_a_port_may_be_left_out_where_there_is_a_default() -> None:
    """The profile's port, and only then."""
    assert parse_address("mail.example.com", 587) == ("mail.example.com", 587)
    assert parse_address("[::1]", 587) == ("::1", 587)
    with pytest.raises(SaslError):
        parse_address("mail.example.com")


@given(st.text(max_size=60) | st.from_regex(r"[\[\]0-9a-f:.%@/]{0,40}(:[0-9]{0,6})?"))
def test_any_text_is_an_address_or_an_error_of_ours(text: str) -> None:
    """Nothing else comes out, and what is read can be written and read again."""
    for default in (None, 587):
        try:
            host, port = parse_address(text, default)
        except SaslError:
            continue
        assert host
        assert 0 <= port < 65536
        assert parse_address(show_address(host, port)) == (host, port)
    try:
        url = parse_url(text)
    except SaslError:
        return
    assert "@" not in url.scheme + url.address


@pytest.mark.parametrize(
    ("host", "expected"),
    [
        ("127.0.0.1", True),
        ("127.255.0.9", True),
        ("::1", True),
        ("::ffff:127.0.0.1", True),
        ("0.0.0.0", False),  # noqa: S104
        ("::", False),
        ("192.0.2.1", False),
        ("::ffff:192.0.2.1", False),
        ("fe80::1%eth0", False),
        ("localhost", False),
        ("127.0.0.1.example.com", False),
        ("", False),
    ],
)
def test_which_addresses_are_this_machine(host: str, expected: bool) -> None:
    """Numbers alone are judged: a name says nothing of where it leads."""
    assert is_loopback(host) is expected
