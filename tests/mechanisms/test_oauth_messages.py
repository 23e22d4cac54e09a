"""The messages of OAUTHBEARER and XOAUTH2: published ones byte for byte, and refusals."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sasl_core import PeerError, UsageError
from sasl_core.plugin import Gs2Header
from sasl_mechanisms import xoauth2
from sasl_mechanisms.oauthbearer import messages as oauthbearer
from sasl_tokens.bearer_messages import (
    ERROR_LIMIT,
    PAIRS_LIMIT,
    BearerError,
    format_credentials,
    format_error,
    format_pairs,
    parse_credentials,
    parse_error,
    parse_pairs,
)
from sasl_tokens.terms import TOKEN_LIMIT

VECTORS: dict[str, Any] = json.loads(
    (Path(__file__).parent.parent / "vectors" / "oauthbearer.json").read_text("utf-8")
)
ACCEPTED: list[dict[str, Any]] = VECTORS["oauthbearer"]
MALFORMED: list[dict[str, Any]] = VECTORS["oauthbearer_malformed"]
PAIRS: dict[str, Any] = VECTORS["kvpairs"]
ERRORS: list[dict[str, Any]] = VECTORS["error_challenges"]
XOAUTH2: list[dict[str, Any]] = VECTORS["xoauth2"]
XOAUTH2_MESSAGES = [each for each in XOAUTH2 if "message_latin1" in each]
XOAUTH2_ERRORS = [each for each in XOAUTH2 if "error_challenge_b64" in each]

IGNORED = {"port range: log/ignore, never exception"}
"""Malformed vectors that are let in: nobody vouches for `port`, and nothing reads it."""

GENERATED = {
    "kv flood": b"n,,\x01" + b"a=b\x01" * 10_000 + b"auth=Bearer a\x01\x01",
    "huge token": b"n,,\x01auth=Bearer " + b"a" * 60_000 + b"\x01\x01",
}


def message_of(vector: dict[str, Any]) -> bytes:
    """The message; two are too long to be written down."""
    text = vector["message_latin1"]
    return GENERATED[vector["generator"]] if text is None else str(text).encode("latin-1")


def read_oauthbearer(message: bytes) -> tuple[oauthbearer.ClientMessage, str]:
    """The message and its token, as the server reads both."""
    read = oauthbearer.parse_client_message(message)
    return read, parse_credentials(read.auth)


def read_xoauth2(message: bytes) -> tuple[xoauth2.ClientMessage, str]:
    read = xoauth2.parse_client_message(message)
    return read, parse_credentials(read.auth)


# --- the vectors ----------------------------------------------------------------------------


def test_every_vector_is_tried() -> None:
    """Each entry of the file is in one of the tests below."""
    counts = {name: len(each) for name, each in VECTORS.items() if isinstance(each, list)}
    assert counts == {
        "oauthbearer": 7,
        "oauthbearer_malformed": 24,
        "error_challenges": 4,
        "xoauth2": 6,
    }
    assert {len(PAIRS["valid"]), len(PAIRS["invalid"])} == {4, 9}
    assert set(VECTORS) == {*counts, "kvpairs", "client_after_error"}
    assert {each["result"] for each in ACCEPTED} == {"accept", "error-json"}
    assert len(XOAUTH2_MESSAGES) + len(XOAUTH2_ERRORS) == len(XOAUTH2)
    assert {each["why"] for each in MALFORMED} >= IGNORED
    assert {each["generator"] for each in MALFORMED if each["generator"]} == set(GENERATED)


@pytest.mark.parametrize("vector", ACCEPTED, ids=lambda v: str(v["source"])[:50])
def test_messages_that_are_accepted(vector: dict[str, Any]) -> None:
    """Header, pairs and token are what the source says, and the message is written again."""
    message = message_of(vector)
    assert base64.b64decode(vector["message_b64"]) == message
    read, token = read_oauthbearer(message)
    assert (read.gs2.flag, read.gs2.authzid) == (vector["gs2"]["flag"], vector["gs2"]["authzid"])
    assert dict(read.pairs) == vector["kv"]
    assert token == vector["token"]
    assert oauthbearer.format_client_message(read) == message


@pytest.mark.parametrize("vector", MALFORMED, ids=lambda v: str(v["why"])[:50])
def test_messages_that_are_refused(vector: dict[str, Any]) -> None:
    """The peer is told so, and nothing of what it sent stands in the error."""
    message = message_of(vector)
    if vector["why"] in IGNORED:
        assert read_oauthbearer(message)[1] == "a"
        return
    with pytest.raises(PeerError) as caught:
        read_oauthbearer(message)
    assert len(str(caught.value)) < 120
    assert caught.value.__cause__ is None
    assert caught.value.__context__ is None


@pytest.mark.parametrize("vector", PAIRS["valid"], ids=lambda v: str(v["input"])[:20])
def test_pairs_that_are_accepted(vector: dict[str, Any]) -> None:
    """Keys and values in their order, and written as they were."""
    data = str(vector["input"]).encode()
    pairs = parse_pairs(data)
    assert [list(pair) for pair in pairs] == vector["pairs"]
    assert format_pairs(pairs) == data


@pytest.mark.parametrize("text", PAIRS["invalid"])
def test_pairs_that_are_refused(text: str) -> None:
    """No key, no value, a key of other characters, an end that is missing."""
    for ascii_only in (True, False):
        with pytest.raises(PeerError):
            parse_pairs(text.encode(), ascii_only=ascii_only)


@pytest.mark.parametrize("vector", ERRORS, ids=lambda v: str(v["source"]))
def test_errors(vector: dict[str, Any]) -> None:
    """An error is read as what it says; and is what we would write, byte for byte."""
    data = base64.b64decode(vector["b64"])
    said: dict[str, str] = vector["json"]
    error = parse_error(data)
    assert error == BearerError(
        said["status"], said.get("schemes"), said.get("scope"), said.get("openid-configuration")
    )
    written = format_error(error)
    assert json.loads(written) == said
    # One source has its members in another order.
    assert written == data or list(json.loads(data)) == ["status", "scope", "schemes"]


def test_what_a_client_says_to_an_error() -> None:
    """^A for OAUTHBEARER (RFC 7628 section 3.2.3), nothing for XOAUTH2."""
    said = VECTORS["client_after_error"]
    assert base64.b64decode(said["oauthbearer_b64"]) == oauthbearer.ACKNOWLEDGEMENT == b"\x01"
    assert base64.b64decode(said["xoauth2_b64"]) == xoauth2.ACKNOWLEDGEMENT == b""


@pytest.mark.parametrize("vector", XOAUTH2_MESSAGES, ids=lambda v: str(v["message_latin1"])[:30])
def test_xoauth2_messages(vector: dict[str, Any]) -> None:
    """Google's and Dovecot's examples, accepted and refused."""
    message = str(vector["message_latin1"]).encode("latin-1")
    if vector["result"] == "reject":
        with pytest.raises(PeerError):
            read_xoauth2(message)
        return
    read, token = read_xoauth2(message)
    assert (read.user, token) == (vector["user"], vector["token"])
    assert xoauth2.format_client_message(read) == message
    assert xoauth2.make_client_message(token, read.user) == message
    assert base64.b64decode(vector.get("b64", base64.b64encode(message))) == message


@pytest.mark.parametrize("vector", XOAUTH2_ERRORS, ids=lambda v: str(v["source"])[:30])
def test_xoauth2_errors(vector: dict[str, Any]) -> None:
    """Google's error ends with a line's end, which JSON allows."""
    said: dict[str, str] = vector["error"]
    error = parse_error(base64.b64decode(vector["error_challenge_b64"]))
    assert error == BearerError(said["status"], said["schemes"], said["scope"])
    assert vector["client_reply"].encode() == xoauth2.ACKNOWLEDGEMENT


# --- what the vectors leave out -----------------------------------------------------------


@pytest.mark.parametrize(
    "message",
    [
        b"\x01",
        b"n,,\x01",
        b"n,,\x01\x01\x01",
        b"n,,\x01=Bearer a\x01\x01",
        b"n,,\x01auth=Bearer a\x01b=1\x01b=2\x01\x01",
        b"n,a=a\x01auth=Bearer x,\x01auth=Bearer y\x01\x01",
        b"n,a=a\x7f,\x01auth=Bearer y\x01\x01",
        b"n,a=,\x01auth=Bearer y\x01\x01",
        b"n,,\x01auth=Bearer a\x01\xff=b\x01\x01",
        b"n,,\x01auth=Bearer a=b\x01\x01",
        b"n,,\x01auth=Bearer =\x01\x01",
        b"n,,\x01auth= Bearer a\x01\x01",
        b"n,,\x01auth=Bearer\ta\x01\x01",
        b"n,,\x01auth=Bearer a\r\n\x01\x01",
        b"n,,\x01auth=Bearera\x01\x01",
        "n,,\x01auth=\u0131Bearer a\x01\x01".encode(),
        b"n,,\x01auth=Bearer " + b"a" * (TOKEN_LIMIT + 1) + b"\x01\x01",
        b"n,,\x01" + b"".join(b"%b=1\x01" % bytes([97 + n % 26] * (n + 1)) for n in range(40))
        + b"auth=Bearer a\x01\x01",
    ],
)  # fmt: skip
def test_more_messages_that_are_refused(message: bytes) -> None:
    """Ends, controls in the name, keys, schemes, lengths and numbers."""
    with pytest.raises(PeerError):
        read_oauthbearer(message)


def test_the_longest_that_is_accepted() -> None:
    """A token of 16 KiB, and 32 pairs."""
    token = "a" * TOKEN_LIMIT
    pairs = [("k" * (n + 1), "") for n in range(PAIRS_LIMIT - 1)]
    message = b"n,,\x01" + format_pairs([*pairs, ("auth", f"Bearer {token}")]) + b"\x01"
    read, found = read_oauthbearer(message)
    assert found == token
    assert oauthbearer.format_client_message(read) == message


@pytest.mark.parametrize(
    ("text", "token"),
    [
        ("", ""),
        ("Bearer a", "a"),
        ("BEARER a==", "a=="),
        ("bEaReR a.b-c_d~e+f/g=", "a.b-c_d~e+f/g="),
    ],
)
def test_credentials(text: str, token: str) -> None:
    """The scheme in any case, the token of RFC 6750's alphabet; nothing at all asks for more."""
    assert parse_credentials(text) == token


@pytest.mark.parametrize("token", ["a b", "a\n", "\u00e9", "=", "a=b", "a" * (TOKEN_LIMIT + 1)])
def test_tokens_that_cannot_be_sent(token: str) -> None:
    """They are refused before anything is sent, and do not stand in the error."""
    with pytest.raises(UsageError) as caught:
        format_credentials(token)
    assert caught.value.code == "bad-token"
    assert repr(token)[1:-1] not in str(caught.value)


@pytest.mark.parametrize(
    ("token", "name", "more"),
    [
        ("a", "a\x01", {}),
        ("a", "\ud800", {}),
        ("a", "", {}),
        ("a\x01", "alice", {}),
        ("a", "alice", {"host": "h\x01auth=Bearer b"}),
        ("a", "alice", {"host": "\u00e9"}),
    ],
)
def test_what_oauthbearer_cannot_send(token: str, name: str, more: dict[str, Any]) -> None:
    """Nothing that would be read as something else leaves us."""
    with pytest.raises(UsageError):
        oauthbearer.make_client_message(token, name, **more)


@pytest.mark.parametrize(
    ("token", "user"), [("a", ""), ("a", "a\x01"), ("a", "a\n"), ("a", "\ud800"), ("a b", "alice")]
)
def test_what_xoauth2_cannot_send(token: str, user: str) -> None:
    """The same of XOAUTH2, and a user that is empty."""
    with pytest.raises(UsageError):
        xoauth2.make_client_message(token, user)


def test_what_oauthbearer_sends() -> None:
    """RFC 7628 section 4.1's own message, the shortest one, and a request for discovery."""
    token = "vF9dft4qmTc2Nvb3RlckBhbHRhdmlzdGEuY29tCg=="
    made = oauthbearer.make_client_message(token, "user@example.com", "server.example.com", 143)
    assert made == message_of(ACCEPTED[0])
    assert oauthbearer.make_client_message("abc") == b"n,,\x01auth=Bearer abc\x01\x01"
    asking = oauthbearer.make_client_message("", "user@example.com", "server.example.com", 143)
    assert asking == message_of(ACCEPTED[1])


def test_xoauth2_names_in_any_script() -> None:
    """The name is UTF-8, for Google's format has no grammar; the token stays ASCII."""
    message = xoauth2.make_client_message("abc", "j\u00fcrgen@\u4f8b.example")
    assert read_xoauth2(message)[0].user == "j\u00fcrgen@\u4f8b.example"
    for hostile in (
        b"user=\xff\x01auth=Bearer a\x01\x01",
        b"user=a\x01auth=Bearer \xc3\xa9\x01\x01",
    ):
        with pytest.raises(PeerError):
            read_xoauth2(hostile)


@pytest.mark.parametrize(
    "message",
    [
        b"\x01\x01", b"user=a\x01auth=Bearer a\x01", b"user=\x01auth=Bearer a\x01\x01",
        b"auth=Bearer a\x01\x01", b"user=a\x01\x01", b"user=a\x01user=b\x01auth=Bearer a\x01\x01",
        b"user=a\nb\x01auth=Bearer a\x01\x01", b"user=a\xc2\x85\x01auth=Bearer a\x01\x01",
        b"n,,\x01auth=Bearer a\x01\x01", b"user=a\x01auth=Bearer a\x01\x01\x01",
    ],
)  # fmt: skip
def test_more_xoauth2_messages_that_are_refused(message: bytes) -> None:
    """Each pair once, a name that can be printed, and two ends."""
    with pytest.raises(PeerError):
        read_xoauth2(message)


@pytest.mark.parametrize(
    "data",
    [
        b"", b"{", b"[]", b"{}", b'{"status":1}', b'{"status":""}', b'{"status":null}',
        b'{"status":"a","status":"b"}', b'{"status":"a","scope":1}', b'{"status":"a"}x',
        b'{"status":"a","openid-configuration":["b"]}', b'{"status":NaN}', b"\xef\xbb\xbf{}",
        b'{"status":"' + b"a" * ERROR_LIMIT + b'"}', b'{"status":"\xff"}', b'{"status":"\\ud800"}',
        b"[" * 8000,
    ],
)  # fmt: skip
def test_errors_that_are_none(data: bytes) -> None:
    """What is no strict JSON object with a status is refused, and nothing foreign gets out."""
    with pytest.raises(PeerError) as caught:
        parse_error(data)
    assert caught.value.code == "bearer-error"


def test_an_error_is_shown_safely() -> None:
    """Whatever a server writes: one line, printable, and of bounded length."""
    said = {
        "status": "a\x1b[2J\n" * 50,
        "scope": "b\n" * 300,
        "openid-configuration": "c\u2028" * 300,
    }
    shown = str(parse_error(json.dumps(said).encode()))
    assert shown.isprintable()
    assert len(shown) < 1200
    assert "c" in shown


def test_no_token_shows() -> None:
    """The repr of a message holds no token."""
    both = (
        read_oauthbearer(message_of(ACCEPTED[0])),
        read_xoauth2(b"user=a\x01auth=Bearer tok\x01\x01"),
    )
    for read, token in both:
        assert token not in repr(read)


names = st.text(
    st.characters(blacklist_categories=["Cs", "Cc", "Zl", "Zp"]), min_size=1, max_size=20
)
names = names.filter(str.isprintable)
tokens = st.from_regex(r"\A[A-Za-z0-9._~+/-]{1,40}={0,2}\Z")


@given(st.none() | names, tokens | st.just(""), st.none() | st.integers(1, 65_535))
def test_what_is_formatted_parses(authzid: str | None, token: str, port: int | None) -> None:
    """A message that was written is read as what it was written from."""
    message = oauthbearer.make_client_message(token, authzid, "mail.example.com", port)
    read, found = read_oauthbearer(message)
    assert (read.gs2, found) == (Gs2Header("n", None, authzid), token)
    if authzid is not None:
        known, found = read_xoauth2(xoauth2.make_client_message(token, authzid))
        assert (known.user, found) == (authzid, token)


PIECES = [b"n,", b",", b"a=x", b"\x01", b"auth=", b"user=", b"Bearer ", b"a", b"=", b"\xff"]
JUNK = st.binary(max_size=80) | st.lists(st.sampled_from(PIECES), max_size=14).map(b"".join)


@given(JUNK)
@pytest.mark.parametrize(
    ("parse", "write"),
    [
        (oauthbearer.parse_client_message, oauthbearer.format_client_message),
        (xoauth2.parse_client_message, xoauth2.format_client_message),
        (parse_pairs, format_pairs),
    ],
)
def test_what_is_parsed_is_written_again(
    parse: Callable[[bytes], Any], write: Callable[[Any], bytes], message: bytes
) -> None:
    """Nothing but a PeerError comes of garbage, and what is accepted has one spelling."""
    try:
        read = parse(message)
    except PeerError:
        return
    assert write(read) == message


optional = st.none() | st.text(st.characters(blacklist_categories=["Cs"]), max_size=30)


@given(
    st.text(st.characters(blacklist_categories=["Cs"]), min_size=1), optional, optional, optional
)
def test_errors_that_are_written_are_read(
    status: str, schemes: str | None, scope: str | None, address: str | None
) -> None:
    """An error comes out of its JSON as it went in."""
    error = BearerError(status, schemes, scope, address)
    assert parse_error(format_error(error)) == error
