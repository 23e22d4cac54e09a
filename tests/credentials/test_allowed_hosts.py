"""ALLOWED_HOSTS: which servers a person's token may be shown to."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sasl_core import ConfigError, UsageError
from sasl_tokens.hosts import ALLOWED_HOSTS, check_host, check_patterns, is_allowed

ALLOWED = [
    "cluster0.abc.mongodb.net",
    "a.mongodb.net",
    "A.MongoDB.NET",
    "a.mongodb.net.",
    "a.mongodb-qa.net",
    "a.mongodb-dev.net",
    "a.mongodbgov.net",
    "x.mongo.com",
    "localhost",
    "LOCALHOST",
    "localhost.",
    "127.0.0.1",
    "::1",
    "[::1]",
    "0:0:0:0:0:0:0:1",
]

REFUSED = [
    "",
    ".",
    "mongodb.net",
    ".mongodb.net",
    "-.mongodb.net",
    "..mongodb.net",
    "a..mongodb.net",
    "a.mongodb.net..",
    "evil-mongodb.net",
    "evilmongodb.net",
    "a.mongodb.net.example.com",
    "mongodb.net.example.com",
    "a.mongodb.org",
    "a.mongodb.net:27017",
    "a.mongodb.net/",
    "a.mongodb.net\0.example.com",
    "a.mongodb.net\n",
    "a@b.mongodb.net",
    "example.com#.mongodb.net",
    "example.com/.mongodb.net",
    "example.com?.mongodb.net",
    "example.com\\.mongodb.net",
    "example.com%2f.mongodb.net",
    "a.ｍongodb.net",
    "a.mongodb。net",
    "*.mongodb.net",
    "localhost.example.com",
    "example.localhost",
    "notlocalhost",
    "localhost:27017",
    "localhos\u212a",
    "127.0.0.2",
    "127.0.0.1.example.com",
    "127.1",
    "2130706433",
    "0x7f.0.0.1",
    "127.0.0.01",
    "::2",
    "::1%lo",
    "::ffff:127.0.0.1",
    "[::1",
    "::1]",
    "[localhost]",
]


@pytest.mark.parametrize("host", ALLOWED)
def test_allowed(host: str) -> None:
    """Whole labels before exactly that name, in any case; addresses by what they are."""
    assert is_allowed(host, ALLOWED_HOSTS)
    check_host(host, ALLOWED_HOSTS)


@pytest.mark.parametrize("host", REFUSED, ids=ascii)
def test_refused(host: str) -> None:
    """No trick with what comes before or after, and nothing that two readers read differently."""
    assert not is_allowed(host, ALLOWED_HOSTS)
    with pytest.raises(UsageError) as caught:
        check_host(host, ALLOWED_HOSTS)
    assert caught.value.code == "host-not-allowed"
    assert str(caught.value).isprintable()


def test_the_list_is_that_of_the_specification() -> None:
    """MongoDB's drivers have the same."""
    assert ALLOWED_HOSTS == (
        "*.mongodb.net",
        "*.mongodb-qa.net",
        "*.mongodb-dev.net",
        "*.mongodbgov.net",
        "*.mongo.com",
        "localhost",
        "127.0.0.1",
        "::1",
    )


@pytest.mark.parametrize(
    ("pattern", "allowed", "refused"),
    [
        ("db.example.com", "DB.example.com.", "a.db.example.com"),
        ("*.Example.com", "a.b.example.com", "example.com"),
        ("10.0.0.7", "10.0.0.7", "10.0.0.70"),
        ("*.0.0.1", "a.0.0.1", "127.0.0.1"),
        ("2001:db8::1", "2001:0db8:0::1", "2001:db8::2"),
        ("[2001:db8::1]", "2001:db8::1", "2001:db8::"),
    ],
)
def test_patterns_of_ones_own(pattern: str, allowed: str, refused: str) -> None:
    """A name, an address, or `*.` and a name."""
    patterns = check_patterns([pattern])
    assert is_allowed(allowed, patterns)
    assert not is_allowed(refused, patterns)
    assert not is_allowed(allowed, ())


@pytest.mark.parametrize(
    "pattern",
    ["", "*", "*.", "**.a", "a.*", "*a.com", "a b", "http://a", "a:1", ".a", "*.::1", "ä"],
)
def test_what_is_no_pattern_is_refused(pattern: str) -> None:
    """And the option that holds it is named."""
    with pytest.raises(ConfigError) as caught:
        _ = check_patterns(["localhost", pattern])
    assert caught.value.key == "allowed_hosts"


def test_one_text_is_no_list() -> None:
    """`allowed_hosts="abc"` would allow the hosts a, b and c."""
    text: Any = "abc"
    with pytest.raises(ConfigError, match="several"):
        _ = check_patterns(text)


@pytest.mark.parametrize("patterns", [[1], 5, None, ["localhost", b"a"]], ids=ascii)
def test_what_is_no_list_of_texts_is_refused(patterns: Any) -> None:
    """Of whatever kind, and the option is named."""
    with pytest.raises(ConfigError) as caught:
        _ = check_patterns(patterns)
    assert caught.value.key == "allowed_hosts"


@given(st.text())
def test_whatever_stands_before_a_name_is_not_part_of_it(text: str) -> None:
    """Only whole labels do; and nothing raises."""
    host = f"{text}mongodb.net"
    assert not is_allowed(host, ["*.mongodb.net"]) or text.endswith(".")
