"""The GS2 header and saslnames: every vector, and every message."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sasl_core.errors import PeerError, UsageError
from sasl_core.gs2 import (
    GS2_LIMIT,
    Gs2Header,
    escape_saslname,
    format_gs2,
    parse_gs2,
    parse_saslname,
    unescape_saslname,
)

VECTORS: dict[str, Any] = json.loads(
    (Path(__file__).parent.parent / "vectors" / "scram.json").read_text("utf-8")
)
HEADERS = VECTORS["gs2_header"]
NAMES = VECTORS["saslname"]

names = st.text(
    st.characters(blacklist_categories=["Cs"], blacklist_characters="\0"), min_size=1, max_size=20
) | st.text(",=2CD3", min_size=1, max_size=8)
headers = st.builds(
    Gs2Header,
    st.sampled_from(["n", "y"]),
    authzid=st.none() | names,
) | st.builds(
    Gs2Header,
    st.just("p"),
    st.from_regex(r"[A-Za-z0-9.-]{1,20}", fullmatch=True),
    st.none() | names,
)


@pytest.mark.parametrize("vector", HEADERS["valid"], ids=lambda v: v["input"])
def test_valid_headers(vector: dict[str, Any]) -> None:
    """Each valid header is split where it ends; the non-standard ones (F) are refused."""
    message = vector["input"].encode()
    if vector["nonstd"]:
        with pytest.raises(PeerError, match="non-standard"):
            _ = parse_gs2(message)
        return
    header, rest = parse_gs2(message)
    assert header == Gs2Header(vector["flag"], vector["cb_name"], vector["authzid"])
    assert rest == message[vector["header_len"] :]
    assert format_gs2(header) + rest == message


@pytest.mark.parametrize("vector", HEADERS["invalid"], ids=lambda v: repr(v["input"]))
def test_invalid_headers(vector: dict[str, Any]) -> None:
    """Each invalid header is refused, and the error shows nothing of it."""
    with pytest.raises(PeerError) as caught:
        _ = parse_gs2(vector["input"].encode())
    assert caught.value.code in {"gs2", "saslname"}
    assert "frop" not in str(caught.value)


@pytest.mark.parametrize(
    "message",
    [
        b"n,a=\xff,", b"n,a=\xed\xa0\x80,", b"n,a=\xc0\x80,", b"n,A=x,", b"N,,", b"P=x,,", b"n, ,",
        b"p=tls unique,,", b"p=\xd9\xa1,,", b"n\n,,", b" n,,", b"n,a=a=2c,",
    ],
)  # fmt: skip
def test_more_invalid_headers(message: bytes) -> None:
    """Bad UTF-8, wrong case, blanks and lower-case escapes are refused without a context."""
    with pytest.raises(PeerError) as caught:
        _ = parse_gs2(message)
    assert caught.value.__context__ is None


def test_messages_are_capped() -> None:
    """A message over 64 KiB is refused unread."""
    _ = parse_gs2(b"n,," + b"x" * (GS2_LIMIT - 3))
    with pytest.raises(PeerError, match="more than"):
        _ = parse_gs2(b"n,," + b"x" * (GS2_LIMIT - 2))


@pytest.mark.parametrize(
    "header",
    [
        Gs2Header("p"),
        Gs2Header("n", "tls-exporter"),
        Gs2Header("q"),  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
        Gs2Header("p", ""),
        Gs2Header("p", "tls_unique"),
        Gs2Header("p", "a,b"),
        Gs2Header("p", "a\n"),
        Gs2Header("n", None, ""),
        Gs2Header("n", None, "a\0b"),
        Gs2Header("n", None, "\ud800"),
    ],
)
def test_what_cannot_be_sent_is_a_usage_error(header: Gs2Header) -> None:
    """A header that no parser would take is refused before it is sent."""
    with pytest.raises(UsageError):
        _ = format_gs2(header)


@pytest.mark.parametrize("vector", NAMES["escape"], ids=lambda v: v["raw"])
def test_names_are_escaped_and_back(vector: dict[str, str]) -> None:
    """Comma and equals sign are escaped, nothing else is."""
    assert escape_saslname(vector["raw"]) == vector["escaped"]
    assert unescape_saslname(vector["escaped"]) == vector["raw"]
    assert parse_saslname(vector["escaped"].encode()) == vector["raw"]


@pytest.mark.parametrize("text", [*NAMES["invalid_escaped"], "", "a\ud800", "=2", "=3", "a=2C="])
def test_badly_escaped_names(text: str) -> None:
    """A stray comma, equals sign, NUL or surrogate, and an empty name, are refused."""
    with pytest.raises(PeerError) as caught:
        _ = unescape_saslname(text)
    assert caught.value.code == "saslname"


@pytest.mark.parametrize(
    "raw", [b"\xff", b"\xc0\x80", b"\xed\xa0\x80", b"a\xe2\x82", b"\xf4\x90\x80\x80"]
)
def test_names_are_strict_utf8(raw: bytes) -> None:
    """Overlong forms, surrogates and truncated sequences are refused."""
    with pytest.raises(PeerError, match="UTF-8") as caught:
        _ = parse_saslname(raw)
    assert caught.value.__context__ is None


@given(names)
def test_name_round_trip(name: str) -> None:
    """Every name comes back from its escaped form."""
    escaped = escape_saslname(name)
    assert "," not in escaped
    assert unescape_saslname(escaped) == name


@given(headers, st.binary(max_size=20))
def test_header_round_trip(header: Gs2Header, rest: bytes) -> None:
    """Every header that can be formatted parses to itself, whatever follows it."""
    assert parse_gs2(format_gs2(header) + rest) == (header, rest)


PIECES = [b"n", b"y", b"p=", b",", b"a=", b"=2C", b"x", b"\0", b"\xc3\xa9", b"\xff"]


@given(st.binary(max_size=40) | st.lists(st.sampled_from(PIECES)).map(b"".join))
def test_any_bytes(message: bytes) -> None:
    """Any bytes give a header that formats back to them, or a PeerError."""
    try:
        header, rest = parse_gs2(message)
    except PeerError:
        return
    assert format_gs2(header) + rest == message


@given(st.text(",=2C3Dac\0", max_size=10) | st.text(max_size=10))
def test_any_text(text: str) -> None:
    """Any text gives a name that escapes back to it, or a PeerError."""
    try:
        name = unescape_saslname(text)
    except PeerError:
        return
    assert escape_saslname(name) == text
