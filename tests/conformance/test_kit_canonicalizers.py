"""Each check of a canonicaliser passes a sound toy, and fails on one that is wrong there."""

from __future__ import annotations

from functools import cache

import pytest

from sasl_core.testing import CanonicalizerConformance, declare
from toy_canonicalizers import CANONICALIZERS


@cache
def toys():
    modules = dict.fromkeys(CANONICALIZERS, "toy_canonicalizers")
    return declare({"canon_user": {**modules, "SIDELESS": "toy_sideless"}})


class Toy(CanonicalizerConformance):
    """The sound toy; a test sets another."""

    name = "SOUND"
    canonical = {"alice": "alice", " alice ": "alice"}
    refused = ("", "a b")
    distinct = (("alice", "Alice"), ("a", "b"))

    def registry(self):
        return toys()


class TestSound(Toy):
    """The sound toy passes."""


CASES = [
    ("test_has_a_side", {"name": "SIDELESS"}, "overrides neither"),
    ("test_declared_names", {"canonical": {"alice": "ALICE"}}, "makes 'alice' of 'alice', not"),
    ("test_declared_names", {"refused": ("alice",)}, "makes 'alice' of 'alice'"),
    ("test_two_users_stay_two", {"name": "CASUAL"}, "of 'alice' and of 'Alice'"),
    ("test_any_name", {"name": "RAISING"}, "raised UnicodeEncodeError"),
    ("test_any_name", {"name": "EMPTY"}, "gives an empty name"),
    ("test_idempotent", {"name": "GROWING"}, "and then"),
    ("test_pure", {"name": "COUNTING"}, "does not always give the same"),
]


@pytest.mark.parametrize(("check", "subject", "complaint"), CASES)
def test_a_wrong_canonicalizer_fails(check, subject, complaint):
    """The check fails on a canonicaliser that is wrong in just this, and says so."""
    with pytest.raises(AssertionError, match=complaint):
        getattr(type("Wrong", (Toy,), subject)(), check)()


def test_every_check_has_a_failure():
    """No check of the kit is without a case here in which it fails."""
    checks = {name for name in dir(CanonicalizerConformance) if name.startswith("test_")}
    assert checks == {check for check, _, _ in CASES}
