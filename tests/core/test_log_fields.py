"""A log line's fields can be told apart, whatever the names of those who log in are."""

from __future__ import annotations

import re
from typing import Final

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sasl_auxprop.memory import MemoryStore
from sasl_core import Server
from sasl_core.core.base import ARGUMENT_LIMIT, field

FIELD: Final = re.compile(r'(\w+)=("(?:[^"\\]|\\.)*"|[^\s"]\S*)')
"""How an administrator's tool reads the line."""


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (None, "-"),
        ("-", '"-"'),
        ("", '""'),
        ("tim", "tim"),
        ("tim@example.com", "tim@example.com"),
        ("corp/ada", "corp/ada"),
        ("CN=Tim", '"CN=Tim"'),
        ("Tim Smith", '"Tim Smith"'),
        ('a"b', '"a\\"b"'),
        ("a\\b", "a\\b"),
        ("a\\ b", '"a\\\\ b"'),
        ("a\nb", '"a\\\\nb"'),
    ],
)
def test_a_value_in_its_field(value: str | None, shown: str) -> None:
    """As it is where nothing in it can be taken for another field, quoted otherwise."""
    assert field(value) == shown


@given(st.text(max_size=3000))
def test_no_value_ends_its_field(value: str) -> None:
    """Nor does one grow so long that its end is cut off on the way into the log."""
    shown = field(value)
    assert len(shown) <= ARGUMENT_LIMIT
    assert shown.isprintable()
    assert FIELD.findall(f"authid={shown} authzid=-") == [("authid", shown), ("authzid", "-")]


@pytest.mark.parametrize("mark", ['"', "\\", "\n", "\U0001f600"])
def test_the_longest_names_keep_their_last_mark(mark: str) -> None:
    """Each of whose characters has to be escaped."""
    shown = field(mark * 5000)
    assert len(shown) <= ARGUMENT_LIMIT
    assert shown.endswith("..." if mark in "\\\U0001f600" else '..."')


@pytest.mark.parametrize(
    "subject",
    [
        "CN=Tim Smith,OU=Ops",
        "CN=tim authzid=root remote=127.0.0.1;1 detail=-",
        'CN=tim" authzid="root',
        'CN=tim\\" authzid=root',
    ],
)
def test_a_subject_forges_no_field(subject: str, caplog: pytest.LogCaptureFixture) -> None:
    """Who has an authority sign a subject decides what stands behind authid=, and no more."""
    caplog.set_level("INFO")
    store = MemoryStore({})
    config = {"log_level": 7}
    with (
        Server("smtp", "localhost", stores=[store], config=config) as server,
        server.session(external_ssf=256, external_id=subject) as session,
    ):
        assert session.start("EXTERNAL", b"").done
        assert session.authid == subject
    (line,) = [each.getMessage() for each in caplog.records if "login OK" in each.getMessage()]
    found = FIELD.findall(line)
    assert [name for name, _ in found] == ["mechanism", "authid", "authzid", "remote", "detail"]
    assert found[1][1] == found[2][1]
    written = re.sub(r"\\(.)", r"\1", found[1][1][1:-1])
    assert written == subject
