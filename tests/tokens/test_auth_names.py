"""Names of users and roles: what a provider says is taken literally, and never meets another."""

from __future__ import annotations

from itertools import product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sasl_core import UsageError
from sasl_tokens import AuthName, Namespaces
from sasl_tokens.names import PREFIX


def test_the_names_of_the_readme() -> None:
    """A user of $external and a role of admin."""
    names = Namespaces()
    user = AuthName.of(names.user, "myPrefix", "user1@mongodb.com")
    role = AuthName.of(names.role, "myPrefix", "myReadRole")
    assert str(user) == "$external.myPrefix/user1@mongodb.com"
    assert str(role) == "admin.myPrefix/myReadRole"
    assert (user.namespace, user.name) == ("$external", "myPrefix/user1@mongodb.com")


@pytest.mark.parametrize(
    ("text", "namespace", "name"),
    [
        ("admin.p/x", "admin", "p/x"),
        ("admin.p/x.y", "admin", "p/x.y"),
        ("admin.p/a/b.c/$d", "admin", "p/a/b.c/$d"),
        ("$external.p/t@c.example", "$external", "p/t@c.example"),
        ("p/x.y", "", "p/x.y"),
        ("p/x", "", "p/x"),
        ("plain", "", "plain"),
        ("admin..x", "admin", ".x"),
    ],
)
def test_parsing_splits_at_the_first_dot(text: str, namespace: str, name: str) -> None:
    """Unless a slash comes first: then the dot is part of what the provider said."""
    assert AuthName.parse(text) == AuthName(namespace, name)
    assert str(AuthName.parse(text)) == text


@pytest.mark.parametrize("text", ["", ".", "admin.", ".p/x"])
def test_what_names_nobody_is_refused(text: str) -> None:
    """An empty name, or an empty namespace before a dot."""
    with pytest.raises(UsageError):
        _ = AuthName.parse(text)


@pytest.mark.parametrize("namespace", ["a.b", "a/b", "a b", "a\n", "."])
@pytest.mark.parametrize("which", ["user", "role"])
def test_a_namespace_ends_at_the_first_dot(namespace: str, which: str) -> None:
    """So it holds none, and no slash either."""
    with pytest.raises(UsageError, match="namespace"):
        _ = Namespaces(**{which: namespace})


PREFIXES = st.from_regex(PREFIX, fullmatch=True)
NAMESPACES = st.sampled_from(["", "$external", "admin", "a-b"])


@given(NAMESPACES, PREFIXES, st.text(min_size=1))
def test_a_name_comes_back(namespace: str, prefix: str, value: str) -> None:
    """What was written is parsed into what it was made of, whatever the claim holds."""
    name = AuthName.of(namespace, prefix, value)
    assert AuthName.parse(str(name)) == name
    assert name.name.split("/", 1) == [prefix, value]


def test_two_principals_never_become_one_name() -> None:
    """All short mixtures of the characters that separate something give names of their own."""
    parts = ["".join(letters) for size in (1, 2, 3) for letters in product("a/.$@ \\", repeat=size)]
    prefixes = ["a", "a-", "a_", "A"]
    names = {
        str(AuthName.of(namespace, prefix, value))
        for namespace in ("$external", "")
        for prefix in prefixes
        for value in parts
    }
    assert len(names) == 2 * len(prefixes) * len(parts)
