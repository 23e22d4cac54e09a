"""Forms: what is written so is read so by others, and what cannot be written is told."""

from __future__ import annotations

from base64 import b64decode
from urllib.parse import parse_qsl, quote_plus, unquote, unquote_plus

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sasl_core import UsageError
from sasl_tokens.forms import FORM, basic, form, form_fields, query

TEXTS = st.text(st.characters(blacklist_categories=["Cs"]), max_size=40)


@given(TEXTS)
def test_form_encoding(text: str) -> None:
    """The standard library reads it as what it was, and writes it so, but for `~` and `*`."""
    assert unquote_plus(form(text)) == text
    assert form(text).replace("%7E", "~").replace("*", "%2A") == quote_plus(text)


@given(st.lists(st.tuples(TEXTS, TEXTS)))
def test_fields_of_a_form(fields: list[tuple[str, str]]) -> None:
    """In their order, each as often as it is there; a blank of a query is no plus."""
    body = form_fields(fields)
    assert parse_qsl(body.decode("ascii"), keep_blank_values=True) == fields
    assert "+" not in query(fields)
    assert unquote(query(fields)) == unquote_plus(body.decode("ascii"))


def test_the_example_of_the_rfc() -> None:
    """RFC 6749 appendix B."""
    assert form(" %&+£€") == "+%25%26%2B%C2%A3%E2%82%AC"
    assert FORM == ("content-type", "application/x-www-form-urlencoded")


@given(TEXTS, TEXTS)
def test_who_we_are_in_a_header(name: str, secret: str) -> None:
    """Both halves as in a form, so that the one colon is between them."""
    header, value = basic(name, secret)
    assert header == "authorization"
    first, second = b64decode(value.removeprefix("Basic "), validate=True).split(b":")
    assert (unquote_plus(first.decode()), unquote_plus(second.decode())) == (name, secret)


@pytest.mark.parametrize("text", ["s3cr3t\ud800", "\udc80s3cr3t"], ids=ascii)
def test_half_a_surrogate_pair_is_told_without_the_text(text: str) -> None:
    """An error of ours, on which nothing of the text hangs."""
    for attempt in (
        lambda: form(text),
        lambda: form_fields([("a", text)]),
        lambda: query([(text, "a")]),
        lambda: basic("a", text),
    ):
        with pytest.raises(UsageError) as caught:
            _ = attempt()
        assert "s3cr3t" not in f"{caught.value} {caught.value.detail}"
        assert caught.value.__context__ is None
