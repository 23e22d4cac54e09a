"""The AUTH command, its base64 and the EHLO answer that offers it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sasl_core.plugin import MechanismError, PeerError
from sasl_profiles.smtp.auth import (
    BASE64_LIMIT,
    COMMAND_LIMIT,
    Capabilities,
    auth_command,
    parse_auth,
    parse_capabilities,
    parse_response,
    response_line,
)

MECHANISM = st.from_regex(r"[A-Z0-9_-]{1,20}", fullmatch=True)


@pytest.mark.parametrize(
    ("arguments", "mechanism", "initial"),
    [
        ("PLAIN", "PLAIN", None),
        ("PLAIN ", "PLAIN", None),
        ("PLAIN =", "PLAIN", b""),
        ("plain AHVzZXIAc2VjcmV0", "PLAIN", b"\0user\0secret"),
        ("SCRAM-SHA-256-PLUS", "SCRAM-SHA-256-PLUS", None),
    ],
)
def test_an_auth_command_is_taken_apart(
    arguments: str, mechanism: str, initial: bytes | None
) -> None:
    """An absent initial response is None; `=` is present and empty (RFC 4954 section 4)."""
    assert parse_auth(arguments) == (mechanism, initial)


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        ("", "syntax"),
        (" PLAIN", "syntax"),
        ("PLAIN  AA==", "syntax"),
        ("PLAIN AA== AA==", "syntax"),
        ("PLAIN AAA", "base64"),
        ("PLAIN =AAA", "base64"),
        ("PLAIN AAA=BBB=", "base64"),
        ("PLAIN AB==", "base64"),
        ("PLAIN A-_=", "base64"),
        ("PLAIN *", "base64"),
        ("PLAIN ==", "base64"),
        ("PLAIN ٤٤٤٤", "base64"),
        ("PLAIN " + "A" * (BASE64_LIMIT + 4), "line-too-long"),
    ],
)
def test_a_wrong_auth_command_is_refused(arguments: str, code: str) -> None:
    """Wrong counts, foreign characters, second spellings and floods; no text is repeated."""
    with pytest.raises(PeerError) as caught:
        parse_auth(arguments)
    assert caught.value.code == code
    assert arguments[6:16] not in str(caught.value) or not arguments[6:16]


@pytest.mark.parametrize("name", ["A" * 21, "PLAIN;", "ＰＬＡＩＮ", "PLAIN\t", "ß"])
def test_what_is_no_mechanism_name_is_refused(name: str) -> None:
    """A name is 1 to 20 of A-Z 0-9 - _ before anything is looked up by it."""
    with pytest.raises(MechanismError):
        parse_auth(name)


def test_the_longest_message() -> None:
    """12288 octets of base64 are taken; four more are not (RFC 4954 section 4)."""
    longest = bytes(BASE64_LIMIT // 4 * 3)
    line = response_line(longest)
    assert line is not None
    assert len(line) == BASE64_LIMIT
    assert parse_response(line.decode()) == longest
    assert response_line(longest + b"x") is None


@given(MECHANISM, st.none() | st.binary(max_size=400))
def test_a_command_is_read_as_it_was_written(mechanism: str, initial: bytes | None) -> None:
    """parse(format(x)) == x; what would pass 512 octets is not written (RFC 4954 section 4)."""
    line = auth_command(mechanism, initial)
    if line is None:
        assert initial is not None
        assert 5 + len(mechanism) + 1 + (len(initial) + 2) // 3 * 4 + 2 > COMMAND_LIMIT
    else:
        assert len(line) + 2 <= COMMAND_LIMIT
        assert line.startswith(b"AUTH ")
        assert parse_auth(line[5:].decode("ascii")) == (mechanism, initial)


@given(st.text(max_size=60))
def test_any_arguments_give_a_result_or_our_error(arguments: str) -> None:
    """No text raises anything foreign; what is accepted has one spelling."""
    try:
        mechanism, initial = parse_auth(arguments)
    except (PeerError, MechanismError):
        return
    again = auth_command(mechanism, initial)
    assert again is not None
    assert again[5:].decode().lower() == arguments.rstrip(" ").lower()


@pytest.mark.parametrize(
    ("lines", "mechanisms"),
    [
        (("mail", "SIZE 10", "AUTH PLAIN LOGIN"), ("PLAIN", "LOGIN")),
        (("mail", "auth plain"), ("PLAIN",)),
        (("mail", "AUTH=PLAIN LOGIN", "AUTH PLAIN"), ("PLAIN", "LOGIN")),
        (("AUTH PLAIN", "SIZE"), ()),
        (("mail", "AUTH"), ()),
        (("mail", "AUTH PLAIN;x \x7f " + "A" * 21), ()),
        (("mail", "AUTHX PLAIN", ""), ()),
    ],
)
def test_mechanisms_are_read_from_ehlo(lines: tuple[str, ...], mechanisms: tuple[str, ...]) -> None:
    """The greeting is no extension; both spellings of AUTH count; what is no name is left out."""
    assert parse_capabilities(lines).mechanisms == mechanisms


@given(st.lists(st.text(max_size=30), max_size=6))
def test_any_lines_give_capabilities(lines: list[str]) -> None:
    """No line makes it raise."""
    assert isinstance(parse_capabilities(tuple(lines)), Capabilities)
