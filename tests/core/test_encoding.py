"""Base64: one spelling for every value, and never a foreign exception."""

from __future__ import annotations

import base64

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sasl_core.encoding import BASE64_LIMIT, b64decode, b64encode
from sasl_core.errors import PeerError


@pytest.mark.parametrize(
    ("data", "text"),
    [
        (b"", b""),
        (b"f", b"Zg=="),
        (b"fo", b"Zm8="),
        (b"foo", b"Zm9v"),
        (b"foob", b"Zm9vYg=="),
        (b"fooba", b"Zm9vYmE="),
        (b"foobar", b"Zm9vYmFy"),
        (b"\xfb\xff\xfe", b"+//+"),
    ],
)
def test_rfc_4648_section_10(data: bytes, text: bytes) -> None:
    """The vectors of RFC 4648 hold both ways, from bytes and from str."""
    assert b64encode(data) == text
    assert b64decode(text) == data
    assert b64decode(text.decode()) == data


@pytest.mark.parametrize(
    "text",
    [
        b"Z", b"Zg", b"Zg=", b"Zg===", b"Zm8", b"Zm8==", b"=", b"====", b"Zg==Zg==", b"Zm9v=",
        b"Zh==", b"Zm9=", b"Zm9v\n", b"Zm 9v", b" Zm9v", b"Zm9v ", b"Zm\r\n9v", b"Zm-_", b"Zm9v\0",
        b"Zm9\xff", b"=Zm9v", b"Zm=9v", b"Z=g=", b"!!!!", b"Zg=\n=",
    ],
)  # fmt: skip
def test_what_is_not_canonical_is_refused(text: bytes) -> None:
    """Missing padding, stray bits, whitespace and foreign characters are errors, not ignored."""
    with pytest.raises(PeerError) as caught:
        _ = b64decode(text)
    assert caught.value.code == "base64"
    with pytest.raises(PeerError):
        _ = b64decode(text.decode("latin-1"))


@pytest.mark.parametrize("text", ["Zm9\u0661", "Zm9\u00e9", "Zm9v\ud800", "\uff3am9v"])
def test_str_beyond_ascii_is_refused(text: str) -> None:
    """A str with anything beyond ASCII is refused like any other foreign character."""
    with pytest.raises(PeerError):
        _ = b64decode(text)


def test_the_error_shows_nothing_of_the_text() -> None:
    """Neither message, detail nor context of the error holds what was being decoded."""
    with pytest.raises(PeerError) as caught:
        _ = b64decode(b"c2VjcmV0!")
    assert "c2VjcmV0" not in f"{caught.value} {caught.value.detail}"
    assert caught.value.__context__ is None


def test_size_is_capped() -> None:
    """Text longer than the limit is refused before it is decoded."""
    assert b64decode(b"A" * BASE64_LIMIT) == bytes(BASE64_LIMIT // 4 * 3)
    with pytest.raises(PeerError, match="more than"):
        _ = b64decode(b"A" * (BASE64_LIMIT + 4))
    assert b64decode(b"AAAA", 4) == b"\0\0\0"
    with pytest.raises(PeerError, match="more than 4"):
        _ = b64decode("AAAAAAAA", 4)


@given(st.binary(max_size=200))
def test_round_trip(data: bytes) -> None:
    """What is encoded decodes to itself, and as the standard library writes it."""
    assert b64encode(data) == base64.b64encode(data)
    assert b64decode(b64encode(data)) == data


@given(st.one_of(st.binary(max_size=40), st.text("ABab+/=\n", max_size=12).map(str.encode)))
def test_any_bytes(text: bytes) -> None:
    """Any bytes give a value that encodes back to them, or a PeerError."""
    try:
        data = b64decode(text)
    except PeerError:
        return
    assert b64encode(data) == text


@given(st.text(max_size=20))
def test_any_str(text: str) -> None:
    """Any str gives a value that encodes back to it, or a PeerError."""
    try:
        data = b64decode(text)
    except PeerError:
        return
    assert b64encode(data).decode() == text
