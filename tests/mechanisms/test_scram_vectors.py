"""Nothing in the vectors of SCRAM is left untested: each entry is a case of a named test."""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

TESTS = Path(__file__).parents[1]
VECTORS: dict[str, Any] = json.loads((TESTS / "vectors" / "scram.json").read_text("utf-8"))

EXCHANGE = "mechanisms/test_scram_exchange"
FAMILY = "mechanisms/test_scram_family"
MESSAGES = "mechanisms/test_scram_messages"
VERIFIER = "core/test_verifier"
GS2 = "core/test_gs2"

Case = Callable[[Any], object]


def itself(entry: Any) -> object:
    return entry


def of_step(step: str) -> Case:
    return lambda entry: (step, entry["input"])


# Where a list stands in the file -> the tests that have a case for each of its entries, and the
# case that stands for an entry. None: the test goes through the list by itself.
TESTED: dict[str, list[tuple[str, str, Case | None]]] = {
    "exchanges": [
        (EXCHANGE, "test_the_clients_half", lambda entry: entry["id"]),
        (EXCHANGE, "test_the_servers_half", lambda entry: entry["id"]),
        (MESSAGES, "test_exchanges", itself),
        (VERIFIER, "test_exchanges", itself),
    ],
    "pbkdf2": [(VERIFIER, "test_pbkdf2", itself)],
    "salted_password_saslprep": [("core/test_saslprep", "test_prepared_passwords_derive", itself)],
    "stored_credentials": [
        (VERIFIER, "test_stored_credentials", itself),
        ("core/test_verifier_forms", "test_what_others_store_is_what_we_derive", itself),
    ],
    "mongo_saslprep_users": [
        (FAMILY, "test_passwords_are_prepared_where_names_are_not", itself),
    ],
    "saslname.escape": [(GS2, "test_names_are_escaped_and_back", itself)],
    "saslname.invalid_escaped": [(GS2, "test_badly_escaped_names", itself)],
    "gs2_header.valid": [(GS2, "test_valid_headers", itself)],
    "gs2_header.invalid": [(GS2, "test_invalid_headers", itself)],
    **{
        f"malformed.{step}": [(MESSAGES, "test_malformed", of_step(step))]
        for step in ("client_first", "server_first", "client_final", "server_final")
    },
    "optional_extensions.accept_client_first": [
        (MESSAGES, "test_unknown_optional_attributes_are_kept", itself),
    ],
    "iteration_policy": [
        (
            EXCHANGE,
            "test_rounds_have_a_floor_and_a_cap",
            lambda entry: (entry["i"], {}, entry["client_min_4096"] == "accept"),
        ),
    ],
    "server_error_values": [(MESSAGES, "test_server_errors", itself)],
    "negotiation": [(EXCHANGE, "test_negotiation_rules", itself)],
    "server_flag_rules": [(EXCHANGE, "test_every_published_flag_rule_is_tried", None)],
}


def lists(tables: dict[str, Any] = VECTORS, prefix: str = "") -> Iterator[tuple[str, list[Any]]]:
    """Every list of the file that is no part of an entry, by its path."""
    for key, value in tables.items():
        if isinstance(value, list):
            yield prefix + key, value
        elif isinstance(value, dict):
            yield from lists(value, f"{prefix}{key}.")
        else:
            assert isinstance(value, str), "what is neither a list nor a table is a remark"


@cache
def module(path: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(path.replace("/", "_"), TESTS / f"{path}.py")
    assert spec is not None
    assert spec.loader is not None
    loaded = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(loaded)
    return loaded


def cases(test: Any) -> list[object]:
    """The cases that pytest makes of a test."""
    return [case for mark in test.pytestmark for case in mark.args[1]]


def test_every_list_of_the_file_has_its_tests() -> None:
    """A list that somebody adds to the vectors fails here until it is tested."""
    assert {path for path, _ in lists()} == set(TESTED)


@pytest.mark.parametrize("path", TESTED)
def test_every_entry_is_a_case(path: str) -> None:
    """Each entry of a list is among the cases of each test that the table names for it."""
    entries = dict(lists())[path]
    assert entries
    for file, name, case_of in TESTED[path]:
        test = getattr(module(file), name)
        if case_of is None:
            continue
        known = cases(test)
        missing = [entry for entry in entries if case_of(entry) not in known]
        assert missing == [], (file, name)


def test_the_numbers_are_those_of_the_description() -> None:
    """What the README of the vectors counts is what the file has."""
    count = {path: len(entries) for path, entries in lists()}
    assert count["exchanges"] == 50
    assert (count["gs2_header.valid"], count["gs2_header.invalid"]) == (23, 50)
    assert sum(n for path, n in count.items() if path.startswith("malformed.")) == 133
