"""Names that a listing could not tell from another user's."""

from __future__ import annotations

import pytest

from sasl_auxprop import check_user, user_is_storable
from sasl_core import UserName
from sasl_core.plugin import UsageError


@pytest.mark.parametrize("name", ["a@b", "a@b@c", "@a@b", "@@b"])
def test_a_user_without_realm_is_not_written_like_one_with(name: str) -> None:
    """`a@b` without realm and `a` of realm `b` are one text: an export would mix them up."""
    assert str(UserName.parse(name)) == str(UserName(name))
    assert UserName.parse(name) != UserName(name)
    assert not user_is_storable(UserName(name))
    with pytest.raises(UsageError, match="a name with one inside has a realm"):
        check_user(UserName(name))
    check_user(UserName.parse(name))


@pytest.mark.parametrize("name", ["@", "@a", "a@", "a@b@", "@@"])
def test_an_at_sign_that_begins_or_ends_a_name_is_part_of_it(name: str) -> None:
    """Nobody else has that text; and with a realm behind it a name may hold any."""
    assert UserName.parse(name) == UserName(name)
    check_user(UserName(name))
    check_user(UserName(name, "example.com"))
    check_user(UserName("a@b", "example.com"))
