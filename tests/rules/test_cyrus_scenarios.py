"""The scenarios of Cyrus SASL's own test suite, each with the tests that play it here.

Cyrus's `utils/testsuite.c` is one program; here each of its scenarios has its tests where its
subject is tested. The conformance kit plays those that are about messages, for each mechanism.
A test that is renamed or gone makes this one fail.
"""

from __future__ import annotations

import ast
from functools import lru_cache
from pathlib import Path

import pytest

from sasl_core.testing import FRAMINGS, Kind, MechanismConformance

TESTS = Path(__file__).parent.parent

KIT = "the kit"
BAD = "security/test_bad_input"
SERVICES = "rules/test_services"
LAYERS = "rules/test_layers"
FAULTS = "rules/test_cyrus_faults"
ACCOUNTS = "rules/test_g19_g20_accounts"
INITIAL = "rules/test_g05_initial"
LAST = "rules/test_g06_g08_last_words"
PROPERTIES = "core/test_properties"
FILES = "core/test_config_files"

SCENARIOS: dict[str, tuple[str, ...]] = {
    # Nine corruptions of each message of each mechanism on both sides, and a clean login after.
    "corruptions": (f"{KIT}::test_corruptions",),
    "a message of a huge or negative length": (
        f"{KIT}::test_corruptions",
        f"{KIT}::test_too_long_messages",
        f"{BAD}::test_giant_messages",
    ),
    # client-first or not, server-last or not, callbacks or interactions, for every mechanism
    "positive matrix": (f"{KIT}::test_logins", f"{KIT}::test_interactions"),
    "proxy policy": (
        f"{KIT}::test_own_secret_and_permission",
        f"{KIT}::test_own_secret_without_permission",
        f"{KIT}::test_denied_altogether",
    ),
    "checkpass with absent arguments": (
        f"{ACCOUNTS}::test_g20_absent_arguments_are_the_callers_mistake",
    ),
    "property contexts": (
        f"{PROPERTIES}::test_g17_request_keeps_each_name_once",
        f"{PROPERTIES}::test_g17_set_of_an_unrequested_name_is_an_error",
        f"{PROPERTIES}::test_g17_erase_overwrites_with_zeros",
        f"{PROPERTIES}::test_g17_dup_is_independent",
        f"{PROPERTIES}::test_g17_clear_with_requests_drops_those_too",
    ),
    "initialised twice": (f"{FAULTS}::test_fault_initialised_twice_closed_twice",),
    "a bad path": (f"{FILES}::test_what_is_no_file", f"{FILES}::test_a_path_that_is_none"),
    "an application's name of 32 kB": (
        f"{FAULTS}::test_fault_a_bad_application_name_is_the_callers_mistake",
    ),
    "listmech with 32 kB of each part": (
        f"{SERVICES}::test_listing_takes_parts_of_any_length",
        f"{SERVICES}::test_listing_takes_a_user_of_any_length",
    ),
    "a bad or very long mechanism name": (f"{BAD}::test_no_such_mechanism",),
    "layers under six sets of properties": (f"{LAYERS}::test_layer_under_each_set_of_properties",),
    "leaks": ("security/test_secrets::test_secrets_die_with_their_session",),
    # What Cyrus's suite does not have.
    "None and empty": (
        f"{INITIAL}::test_g5_absent_and_neither_flag_steps_with_nothing",
        f"{INITIAL}::test_g5_empty_steps_with_an_empty_message",
        f"{LAST}::test_g7_the_last_words_come_with_success",
    ),
    "a handle used again": (
        f"{FAULTS}::test_fault_1_a_session_that_is_done_takes_no_second_attempt",
        f"{FAULTS}::test_fault_cve_2011_1720_no_state_survives_an_attempt",
    ),
    "a binding that fails, and another step": (
        f"{FAULTS}::test_fault_1_a_rejected_downgrade_stays_rejected",
    ),
    "unknown users": (f"{KIT}::test_users_cannot_be_told_apart",),
    "one verifier to a hash": (f"{FAULTS}::test_fault_3_each_hash_keeps_its_own_verifier",),
    "interleaving": (f"{FAULTS}::test_fault_interleaved_sessions_do_not_mix",),
}


@lru_cache(maxsize=64)
def functions(module: str) -> frozenset[str]:
    """The names of a test module's functions; of the kit's checks."""
    if module == KIT:
        return frozenset(name for name in dir(MechanismConformance) if name.startswith("test_"))
    tree = ast.parse((TESTS / f"{module}.py").read_text("utf-8"))
    return frozenset(node.name for node in tree.body if isinstance(node, ast.FunctionDef))


@pytest.mark.parametrize("scenario", SCENARIOS)
def test_every_scenario_has_its_tests(scenario: str) -> None:
    """The tests that play it exist."""
    for test in SCENARIOS[scenario]:
        module, _, function = test.partition("::")
        assert function in functions(module), test


def test_the_kit_has_every_framing_and_every_kind() -> None:
    """Four framings, Cyrus's nine kinds of corruption, and all that were added to them."""
    assert {(f.initial_response, f.success_data) for f in FRAMINGS} == {
        (True, True), (True, False), (False, True), (False, False),
    }  # fmt: skip
    assert set(Kind.__members__) == {
        "RANDOM_BYTE", "NUL_BYTE", "QUOTE_BYTE", "ONE_BYTE", "ADDED", "SHORTENED",
        "SAME_LENGTH_RANDOM", "VERY_LARGE", "BAD_LENGTH",
        "EMPTY", "ABSENT", "DUPLICATE_ATTR", "REORDER_ATTR", "CASE_FLIP", "INVALID_UTF8",
        "SURROGATE", "NONCANONICAL_B64", "UNICODE_DIGITS", "INT_OVERFLOW", "DEEP_NEST",
        "REPLAY_PREVIOUS", "OTHER_SESSION", "EARLY_SUCCESS", "LATE_SUCCESS", "ERROR_THEN_SUCCESS",
        "MECH_SWITCH_MIDWAY", "SLOW_DRIP", "STARTTLS_BUFFERED",
    }  # fmt: skip
