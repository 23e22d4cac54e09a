"""Known attacks, each with the tests that show that it fails here.

`SHOWN` maps every row of the catalogue that concerns what exists to its tests, `LATER`
every other row to the feature that it belongs to. A row in neither, or a test that does
not exist, fails. Below are the tests that belong to no other module.
"""

from __future__ import annotations

import ast
import contextlib
import importlib
import json
import os
import random
import subprocess
import sys
from functools import lru_cache
from pathlib import Path
from typing import Any

import pytest

from logins import OPEN, USERS, client, login, plant, server
from sasl_auxprop.memory import MemoryStore
from sasl_auxprop.sasldb.store import SqliteStore
from sasl_core import (
    AuthenticationError,
    BackendError,
    BindingPolicy,
    ConfigError,
    MechanismError,
    PeerError,
    Reply,
    SaslError,
    Server,
    SetpassFlag,
    UsageError,
)
from sasl_core.needs import Found
from sasl_core.plugin import (
    ClientPlug,
    Feature,
    NeedPeer,
    Result,
    SecurityFlag,
    ServerPlug,
    SimpleStore,
    Success,
)
from stopwatch import within
from store_kit import make_verifier

TESTS = Path(__file__).parent.parent
ROOT = TESTS.parent
ROWS: list[dict[str, str]] = json.loads(
    (TESTS / "vectors" / "security_catalogue.json").read_text("utf-8")
)["rows"]

HERE = "security/test_catalogue"
INPUT = "security/test_bad_input"
SECRETS = "security/test_secrets"
MANY = "security/test_concurrency"
UNKNOWN = "security/test_unknown_users"
ORDER = "security/test_any_order"
SCRAM = "mechanisms/test_scram_exchange"
FAMILY = "mechanisms/test_scram_family"
MESSAGES = "mechanisms/test_scram_messages"
PLAIN = "mechanisms/test_plain"
CANON = "canon/test_internal"
VERIFIER = "core/test_verifier"
BASE64 = "core/test_encoding"
TOKENS = "security/test_token_attacks"
GATE = "tokens/test_gate"
HOSTILE_TOKENS = "tokens/test_hostile_tokens"
KEY_SETS = "tokens/test_jwk_manager"
BSON = "tokens/test_bson"
BROWSER = "credentials/test_authorization_code"
CLIENT_TOKENS = "credentials/test_client_tokens"
SMTP = "profiles/test_smtp_connection"
SMTP_AUTH = "profiles/test_smtp_auth"
SMTP_LINES = "profiles/test_smtp_lines"
SMTP_END = "profiles/test_smtp_envelope"
SMTP_SERVER = "profiles/test_smtp_server"
SMTP_CLIENT = "profiles/test_smtp_client"
DISCOVERY = "discovery/test_declarations"

CONSTANT_TIME = (f"{HERE}::test_secrets_are_compared_in_constant_time",)
STARTTLS = (
    f"{SMTP}::test_starttls_forgets_everything",
    f"{SMTP}::test_what_follows_starttls_in_clear_ends_the_connection",
    f"{SMTP_SERVER}::test_commands_slipped_in_behind_starttls_are_refused",
    f"{SMTP_SERVER}::test_bytes_slipped_in_before_the_handshake_do_not_survive_it",
    f"{SMTP_CLIENT}::test_what_follows_the_220_of_starttls_is_refused",
)

SHOWN: dict[str, tuple[str, ...]] = {
    "CVE-2019-19906": (
        f"{HERE}::test_error_texts_stay_short",
        f"{INPUT}::test_any_bytes_to_a_server",
    ),
    "CVE-2022-24407": (f"{HERE}::test_names_and_passwords_are_no_sql",),
    "CVE-2013-4122": (
        f"{HERE}::test_a_malformed_verifier_lets_nobody_in",
        f"{VERIFIER}::test_any_stored_text",
    ),
    "CVE-2009-0688": (
        f"{BASE64}::test_what_is_not_canonical_is_refused",
        f"{BASE64}::test_round_trip",
    ),
    "CVE-2004-0884": (f"{HERE}::test_the_environment_brings_no_plugins",),
    "CVE-2002-1347": (
        f"{HERE}::test_a_name_of_a_mebibyte",
        f"{CANON}::test_names_that_are_refused",
    ),
    "Cyrus #811": (f"{SCRAM}::test_rounds_have_a_floor_and_a_cap",),
    "CVE-2022-48195": (
        f"{SCRAM}::test_nonces_never_repeat",
        f"{SCRAM}::test_a_clients_nonce_is_long_enough_and_printable",
    ),
    "CVE-2025-59432": CONSTANT_TIME,
    "GHSA-p9jg-fcr6-3mhf": (
        f"{INPUT}::test_channel_binding_that_cannot_be_had",
        f"{SCRAM}::test_negotiation_rules",
    ),
    "ongres #137": (f"{SCRAM}::test_a_servers_nonce_has_its_alphabet",),
    "CVE-2025-49146": (
        f"{SCRAM}::test_required_binding_rules_out_everything_else",
        f"{HERE}::test_early_success_is_no_success",
    ),
    "CVE-2026-54291": (f"{HERE}::test_binding_is_checked_again_at_the_end",),
    "CVE-2026-42198": (f"{SCRAM}::test_rounds_have_a_floor_and_a_cap",),
    "GHSA-2jcm-hq8r-84wx": (
        f"{SCRAM}::test_rounds_have_a_floor_and_a_cap",
        f"{SCRAM}::test_rounds_have_one_spelling",
    ),
    "net-imap #654, irssi #1630": (
        f"{MANY}::test_what_runs_where",
        f"{MANY}::test_cancelled_at_each_await",
        f"{MANY}::test_the_loop_stays_alive_while_passwords_are_derived",
    ),
    "CVE-2024-56128": (f"{SCRAM}::test_a_valid_proof_for_the_wrong_words",),
    "redpanda #3015": (f"{SCRAM}::test_a_valid_proof_for_the_wrong_words",),
    "librdkafka #4895": (f"{SCRAM}::test_a_valid_proof_for_the_wrong_words",),
    "librdkafka #2757": (
        f"{SCRAM}::test_nonces_never_repeat",
        f"{HERE}::test_no_seedable_randomness",
    ),
    "CVE-2017-12610": (
        f"{SCRAM}::test_authorization",
        f"{PLAIN}::test_messages_that_are_accepted",
    ),
    "CVE-2025-27818": (
        f"{HERE}::test_names_import_nothing",
        f"{DISCOVERY}::test_only_declared_names_are_loaded",
    ),
    "CVE-2023-44981": (
        f"{CANON}::test_no_other_identity_reaches_the_account",
        f"{CANON}::test_the_default_realm",
        f"{SCRAM}::test_authorization",
    ),
    "CVE-2013-7239": (f"{INPUT}::test_a_session_is_for_one_attempt",),
    "CVE-2018-1298": (f"{HERE}::test_absent_and_empty_initial_responses",),
    "CVE-2016-9877": (f"{PLAIN}::test_what_is_empty_never_verifies",),
    "CVE-2017-7546": (f"{PLAIN}::test_what_is_empty_never_verifies",),
    "CVE-2011-1720": (
        f"{HERE}::test_one_mechanism_after_another",
        f"{INPUT}::test_a_session_is_for_one_attempt",
    ),
    "CVE-2022-24976": (
        f"{INPUT}::test_a_mechanism_that_breaks",
        f"{ORDER}::test_the_check_would_notice",
    ),
    "CVE-2022-45197": (f"{PLAIN}::test_cleartext_needs_protection_or_permission",),
    "CVE-2016-10027": (f"{PLAIN}::test_cleartext_needs_protection_or_permission",),
    "CVE-2021-32921": CONSTANT_TIME,
    "CVE-2025-59028": (f"{INPUT}::test_many_sessions_step_by_step",),
    "CVE-2025-30189": (
        f"{SCRAM}::test_the_second_login_derives_nothing",
        f"{SCRAM}::test_labels_are_of_everything_that_keys_depend_on",
    ),
    "CVE-2026-24031 / 27860": (f"{HERE}::test_names_and_passwords_are_no_sql",),
    "CVE-2026-27856": CONSTANT_TIME,
    "CVE-2019-11499 / 11494": (
        f"{HERE}::test_abort_at_each_step",
        f"{SMTP_SERVER}::test_a_client_that_leaves_the_handshake",
    ),
    "CVE-2019-10691": (f"{HERE}::test_names_that_are_not_utf8",),
    "CVE-2021-33515 / 2011-0411 / 2024-34083": STARTTLS,
    "CVE-2023-51764 / 2024-27305": (
        f"{SMTP_LINES}::test_a_bare_cr_or_lf_is_refused",
        f"{SMTP_END}::test_no_other_end_smuggles_a_command",
        f"{SMTP}::test_a_bare_newline_ends_the_connection",
    ),
    "CVE-2023-42115 / 42116": (
        f"{SMTP_AUTH}::test_the_longest_message",
        f"{SMTP_AUTH}::test_a_wrong_auth_command_is_refused",
    ),
    "CVE-2019-10164": (
        f"{VERIFIER}::test_any_stored_text",
        f"{HERE}::test_a_malformed_verifier_lets_nobody_in",
    ),
    "CVE-2026-6478": CONSTANT_TIME,
    "CVE-2021-23214 / 23222": STARTTLS,
    "CVE-2026-9742": (f"{INPUT}::test_no_such_mechanism",),
    "CVE-2021-32050 class": (
        f"{SECRETS}::test_a_failed_server",
        f"{SECRETS}::test_what_holds_a_secret_shows_none",
        f"{SECRETS}::test_what_holds_a_secret_is_not_copied",
    ),
    "CVE-2025-65015": (
        f"{HERE}::test_error_texts_stay_short",
        f"{SECRETS}::test_a_failed_server",
        f"{SECRETS}::test_a_failed_client",
    ),
    "User enumeration": (
        f"{UNKNOWN}::test_scram_says_the_same",
        f"{UNKNOWN}::test_plain_says_the_same",
        f"{UNKNOWN}::test_salts_outlive_the_server",
    ),
    "XEP-0474 / Monal 2022": (
        f"{FAMILY}::test_a_changed_offer_is_refused",
        f"{FAMILY}::test_a_forged_signature_is_worth_nothing",
        f"{SCRAM}::test_a_stripped_offer_is_noticed",
    ),
    # Tokens, MONGODB-OIDC and BSON
    "CVE-2025-27817": (f"{TOKENS}::test_addresses_that_nothing_is_fetched_from",),
    "CVE-2021-29157": (
        f"{TOKENS}::test_a_kid_is_looked_up_and_nothing_else",
        f"{TOKENS}::test_a_kid_that_is_no_name",
    ),
    "CVE-2025-6709": (
        f"{TOKENS}::test_odd_numbers_and_dates_are_no_times",
        f"{TOKENS}::test_odd_values_in_bson_are_no_tokens",
    ),
    "CVE-2026-9740": (f"{TOKENS}::test_nested_bson_is_refused", f"{BSON}::test_size_has_a_bound"),
    "PYTHON-5921": (
        f"{CLIENT_TOKENS}::test_a_persons_kept_token_is_not_sent_to_a_host_that_is_not_allowed",
        "credentials/test_human_logins::test_nothing_happens_for_a_host_that_is_not_allowed",
    ),
    "RFC 9207 mix-up": (
        f"{BROWSER}::test_two_issuers_are_not_mixed_up",
        f"{BROWSER}::test_an_answer_of_another_issuer_is_refused",
        f"{BROWSER}::test_an_issuer_that_was_announced_has_to_be_there",
        f"{BROWSER}::test_a_server_that_contradicts_the_options_is_not_followed",
        f"{BROWSER}::test_a_code_of_a_provider_that_does_not_name_itself_goes_nowhere",
        "credentials/test_device_code::test_a_device_code_goes_to_no_other_provider",
    ),
    "CVE-2015-9235 / 2016-10555 / 2017-11424 / 2022-29217": (
        f"{TOKENS}::test_a_public_key_is_nobodys_secret",
        f"{HOSTILE_TOKENS}::test_signed_anew",
    ),
    "CVE-2026-48526": (f"{TOKENS}::test_a_public_key_is_nobodys_secret",),
    "GHSA-ffc3-869f-jxw9": (f"{TOKENS}::test_a_public_key_is_nobodys_secret",),
    "CVE-2026-48523": (f"{TOKENS}::test_the_algorithm_of_a_key_is_the_only_one",),
    "CVE-2026-48522": (f"{TOKENS}::test_addresses_that_nothing_is_fetched_from",),
    "CVE-2026-48524": (
        f"{KEY_SETS}::test_a_thousand_unknown_kids_cause_one_fetch",
        f"{KEY_SETS}::test_an_issuer_that_is_down",
    ),
    "CVE-2026-48525": (f"{TOKENS}::test_what_is_long_is_not_decoded",),
    "CVE-2026-32597 / 2025-59420": (f"{GATE}::test_headers", f"{HOSTILE_TOKENS}::test_signed_anew"),
    "GHSA-9v7f-9g4p-ffgj": (f"{TOKENS}::test_a_redirect_leads_nowhere",),
    "GHSA-8wjv-2p76-3863": (f"{TOKENS}::test_nests_are_refused",),
    "GHSA-w6j9-cwv2-h6wq": (f"{TOKENS}::test_one_bad_key_spoils_no_set",),
    "CVE-2024-53861": (f"{TOKENS}::test_an_issuer_is_equal_or_another",),
    "CVE-2025-61920": (
        f"{TOKENS}::test_what_is_long_is_not_decoded",
        f"{GATE}::test_the_longest_token",
    ),
    "CVE-2026-27962 / 2018-0114": (f"{GATE}::test_headers", f"{HOSTILE_TOKENS}::test_signed_anew"),
    # No such hash is ever computed: whatever has one is an ID token, and refused.
    "CVE-2026-28498": (f"{TOKENS}::test_tokens_for_something_else",),
    "CVE-2024-37568 / 33663 (+DER bypass)": (
        f"{TOKENS}::test_no_library_of_known_holes_is_used",
        f"{TOKENS}::test_a_public_key_is_nobodys_secret",
    ),
    "CVE-2024-33664 / 2023-6681": (f"{GATE}::test_headers", f"{HOSTILE_TOKENS}::test_signed_anew"),
    "CVE-2022-39227": (f"{HOSTILE_TOKENS}::test_signed_anew",),
    "CVE-2022-21449": (f"{TOKENS}::test_a_signature_of_nothing_verifies_nothing",),
    "CVE-2020-26160": (f"{GATE}::test_claims", f"{GATE}::test_null_is_no_claim_left_out"),
    "CVE-2025-30204": (f"{TOKENS}::test_dots_are_not_split",),
    "CVE-2020-26244": (f"{TOKENS}::test_an_issuer_has_its_algorithms",),
    "CVE-2016-7143": (
        "mechanisms/test_external::test_a_server_offers_it_where_somebody_is_vouched_for",
        "tls/test_client_certificates::test_who_is_not_believed",
        "tls/test_client_certificates::test_a_context_of_the_applications_own_vouches_for_nobody",
    ),
    "CVE-2025-59154": (
        "tls/test_subject::test_a_name",
        "tls/test_subject::test_no_two_subjects_have_one_name",
        "tls/test_subject::test_what_cannot_be_printed_is_nobody",
    ),
    "CVE-2019-3814": (
        "tls/test_client_certificates::test_a_subject_that_is_no_name_is_nobodys",
        "tls/test_subject::test_an_empty_subject_is_nobody",
        "mechanisms/test_external::test_who_needs_an_account_has_one",
    ),
}

LATER = {
    "CVE-2006-1721": "DIGEST-MD5",
    "CVE-2022-2469": "GSSAPI",
    "CVE-2026-48829": "DIGEST-MD5",
    "CVE-2016-8706": "security layers",
    "LDAP unauthenticated bind (RFC 4513 5.1.2)": "an LDAP password check",
    "CVE-2026-27651": "CRAM-MD5",
    "CVE-2026-27855": "OTP",
    "CVE-2015-3206": "a Kerberos password check",
    "CVE-2026-40355": "GSSAPI",
    "CVE-2025-27370 / 27371 class": "clients that sign an assertion (private_key_jwt)",
    "ejabberd SSDP vs FAST": "XMPP",
    "Terrapin-like prefix truncation": "security layers",
    "Triple handshake (RFC 7627)": "fetching tls-unique for the application",
}


@lru_cache(maxsize=64)
def functions(module: str) -> frozenset[str]:
    """The names of a test module's functions and classes."""
    tree = ast.parse((TESTS / f"{module}.py").read_text("utf-8"))
    return frozenset(
        node.name for node in tree.body if isinstance(node, (ast.FunctionDef, ast.ClassDef))
    )


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row["id"])
def test_every_known_attack_has_its_tests(row: dict[str, str]) -> None:
    """Each row names tests that exist, or the feature that does not exist yet."""
    name = row["id"]
    assert (name in SHOWN) != (name in LATER), f"{name}: {row['root_cause']}"
    for test in SHOWN.get(name, ()):
        module, _, function = test.partition("::")
        assert function in functions(module), test


def test_no_row_is_invented() -> None:
    """Nothing is claimed of an attack that the catalogue does not have."""
    assert SHOWN.keys() | LATER.keys() == {row["id"] for row in ROWS}
    assert len(ROWS) == 93


# --- texts ---------------------------------------------------------------------


def test_error_texts_stay_short() -> None:
    """A hundred thousand random bytes as first message: the error neither grows nor shows them."""
    chance = random.Random(1)
    with server() as owner:
        for mechanism in ("PLAIN", "ANONYMOUS", "SCRAM-SHA-256"):
            for size in (1, 100, 10_000, 60_000, 100_000):
                for alphabet in (range(256), range(0x21, 0x7F), b"\0", b"n,=m", b"%s{}"):
                    message = bytes(chance.choices(list(alphabet), k=size))
                    with owner.session() as session, contextlib.suppress(AcceptedError):
                        error = refused(session, mechanism, message)
                        text = f"{error}"
                        assert len(text) < 300
                        assert len(str(error.detail)) < 2500
                        for start in range(0, min(size, 2000) - 40, 40):
                            part = message[start : start + 40].decode("latin-1")
                            assert part not in text


class AcceptedError(Exception):
    """A message that was accepted."""


def refused(session: Any, mechanism: str, message: bytes) -> SaslError:
    try:
        reply = session.start(mechanism, message)
    except SaslError as error:
        return error
    assert isinstance(reply, Reply)
    raise AcceptedError


@pytest.mark.parametrize(
    "name", ["%s%s%n", "{0.__class__.__mro__}", "{}", "%(name)s", "$USER", "`id`", "%u@%r", "\\x00"]
)
def test_a_name_is_no_format(name: str, caplog: pytest.LogCaptureFixture) -> None:
    """What a user is called stays literal in logs, events, errors and the store."""
    events: list[Any] = []
    users = MemoryStore({name: "pencil-pencil"})
    with server([users], audit=[events.append]) as owner:
        for word in ("wrong", "pencil-pencil"):
            with owner.session() as session, contextlib.suppress(AuthenticationError):
                session.start("PLAIN", f"\0{name}\0{word}".encode())
    assert [event.authid for event in events] == [name, name]
    assert caplog.text.count(f"authid={name} ") >= 1


def test_an_address_forges_no_line(caplog: pytest.LogCaptureFixture) -> None:
    """What a proxy says of the peer's address is escaped before it is logged or audited."""
    events: list[Any] = []
    with server(audit=[events.append]) as owner:
        session = owner.session(remote="10.0.0.1;1\nlogin OK: authid=root", external_ssf=256)
        with session, pytest.raises(AuthenticationError):
            session.start("PLAIN", b"\0tim\0wrong")
    assert [len(record.getMessage().splitlines()) for record in caplog.records] == [1]
    assert events[0].remote.isprintable()


# --- stores ---------------------------------------------------------------------

HOSTILE = [
    "'; DROP TABLE users; --", '" OR ""="', "a' OR '1'='1", "\\", "%u%r%p", "%", "_", "tim'--",
    "*)(uid=*", "*)(uid=*))(|(uid=*", "${jndi:x}", "a;b", "a/*b*/", "?1", ":name", "@p",
]  # fmt: skip


def test_names_and_passwords_are_no_sql(tmp_path: Path) -> None:
    """Quotes, escapes and patterns in names and passwords are stored and found literally."""
    users = SqliteStore(tmp_path / "sasldb.sqlite", plaintext=True)
    with server([users]) as owner:
        assert owner.setpass("tim", "pencil-of-tim", SetpassFlag.CREATE).ok
        made = []
        for number, text in enumerate(HOSTILE):
            name = text.replace(" ", "_").removeprefix("@")
            word = f"{text}{number}"
            assert owner.setpass(name, word, SetpassFlag.CREATE).ok
            made.append((name, word))
        assert len(owner.users()) == len(HOSTILE) + 1
        for name, word in made:
            assert owner.checkpass(name, word) == name
            for other in ("' OR '1'='1", "%", "*", "pencil-of-tim"):
                with pytest.raises(AuthenticationError):
                    owner.checkpass(name, other)
        for name in ("%", "_", "*", "t%", "ti_", "tim' OR '1'='1"):
            if name not in dict(made):
                assert not owner.user_exists(name.replace(" ", ""))
        assert owner.checkpass("tim", "pencil-of-tim") == "tim"


GOOD = make_verifier()
SALT, KEYS = GOOD.split(b"$")[1:]
MALFORMED = [
    b"", b"SCRAM-SHA-256", b"SCRAM-SHA-256$", b"SCRAM-SHA-256$" + SALT,
    b"SCRAM-SHA-256$" + SALT + b"$", b"SCRAM-SHA-256$0:AAAA$" + KEYS,
    b"SCRAM-SHA-256$99999999999:AAAA$" + KEYS, b"SCRAM-SHA-256$4096:$" + KEYS,
    b"SCRAM-SHA-256$4096:!!!!$" + KEYS, b"SCRAM-SHA-256$4096:AAAA$AAAA:AAAA",
    b"SCRAM-SHA-256$4096:AAAA$:", b"SCRAM-SHA-256$-1:AAAA$" + KEYS, GOOD + b"$", GOOD + b"\0",
    b"SCRAM-MD5$" + SALT + b"$" + KEYS, b"SCRAM-SHA-256$4096:" + b"A" * 60_000 + b"$" + KEYS,
    GOOD[:-1], b"\xff" * 100, b"{SHA}" + KEYS, b"$1$salt$hash",
]  # fmt: skip


class Tampered(SimpleStore):
    """A store that hands out one unparsed verifier for everybody."""

    name = "tampered"
    value = b""

    def read(self, user: Any, names: Any) -> Found:
        return Found(Result.OK, {"authPassword": (self.value,)}, {}, b"x" * 16)

    def write(self, user: Any, change: Any) -> Result:
        return Result.NOCHANGE

    def list_users(self) -> Any:
        return []

    def read_decoy_secret(self) -> bytes | None:
        return b"x" * 16


@pytest.mark.parametrize("value", MALFORMED, ids=lambda v: v[:30].decode("latin-1"))
def test_a_malformed_verifier_lets_nobody_in(value: bytes) -> None:
    """What a store holds and cannot be read fails closed, as ours or the store's fault."""
    users = Tampered()
    users.value = value
    with server([users]) as owner:
        for mechanism, message in (
            ("PLAIN", b"\0tim\0pencil"),
            ("PLAIN", b"\0tim\0" + (value.replace(b"\0", b"") or b"x")[:200]),
            ("SCRAM-SHA-256", b"n,,n=tim,r=abcdefghijklmnop"),
        ):
            with owner.session() as session:
                try:
                    reply = session.start(mechanism, message)
                except SaslError as error:
                    assert isinstance(error, (BackendError, AuthenticationError, PeerError))  # noqa: PT017
                else:
                    assert reply.data
                    both = reply.data.split(b",")[0]
                    with pytest.raises(AuthenticationError):
                        session.step(b"c=biws,%b,p=%b=" % (both, b"A" * 43))
                assert not session.done
    users.value = GOOD
    with server([users]) as owner, owner.session() as session:
        assert session.start("PLAIN", b"\0tim\0pencil").done


# --- names and plugins ------------------------------------------------------------


def test_a_name_of_a_mebibyte() -> None:
    """Names that are long, or that preparation makes eighteen times longer, cost nothing."""
    with within(2), server() as owner, client() as theirs:
        for text in (
            "a" * 2**20,
            "\ufdfa" * 2**18,
            "\ufdfa" * 1000,
            "\u1e9e" * 900,
            "\u0300" * 3000,
        ):
            for call in (owner.user_exists, lambda t: owner.checkpass(t, "x")):
                with pytest.raises(SaslError):
                    call(text)
            with theirs.session(authid=text, password="x") as far, pytest.raises(SaslError):
                far.start(["PLAIN"])
            for mechanism, message in (
                ("PLAIN", f"\0{text}\0x"),
                ("SCRAM-SHA-256", f"n,,n={text},r=abcdefghijkl"),
                ("SCRAM-SHA-256", f"n,a={text},n=tim,r=abcdefghijkl"),
            ):
                with owner.session() as session, pytest.raises(SaslError):
                    session.start(mechanism, message.encode()[:65536])


@pytest.mark.parametrize(
    "name", ["\xff", "\xc0\x80", "\xed\xa0\x80", "\xf8\x88\x80\x80\x80", "\x80"]
)
def test_names_that_are_not_utf8(name: str) -> None:
    """Bytes that are no UTF-8 in the place of a name are the peer's fault, in each mechanism."""
    raw = name.encode("latin-1")
    with server() as owner:
        for mechanism, message in (
            ("PLAIN", b"\0" + raw + b"\0word"),
            ("PLAIN", raw + b"\0tim\0word"),
            ("SCRAM-SHA-256", b"n,,n=" + raw + b",r=abcdefghijkl"),
            ("SCRAM-SHA-256", b"n,a=" + raw + b",n=tim,r=abcdefghijkl"),
            ("ANONYMOUS", raw),
        ):
            with owner.session() as session, pytest.raises(PeerError) as caught:
                session.start(mechanism, message)
            assert caught.value.__context__ is None


HOSTILE_NAMES = ["os", "os:system", "../evil", "evil.module:x", "PLAIN;import os", "__import__"]


def test_names_import_nothing() -> None:
    """No name from a peer, an offer or the configuration loads anything that is not declared."""
    modules = set(sys.modules)
    with server() as owner, client() as theirs:
        for name in HOSTILE_NAMES:
            with owner.session() as session, pytest.raises(MechanismError):
                session.start(name, b"")
            # A server's list is split where no name goes on, and PLAIN is a name.
            far = theirs.session(authid="tim", password="x")
            with far, pytest.raises(MechanismError):
                far.start([name.replace("PLAIN", "")])
    for key in ("canon_user_plugin", "auxprop_plugin", "pwcheck_method", "mech_list"):
        for name in HOSTILE_NAMES:
            with contextlib.suppress(SaslError):
                other = Server("smtp", "h.example", config={**OPEN, key: name})
                with other, other.session() as session:
                    session.start("PLAIN", b"\0tim\0" + USERS["tim"].encode())
                    raise AssertionError(name)
    assert not {name for name in set(sys.modules) - modules if "evil" in name}


def test_the_environment_brings_no_plugins(tmp_path: Path) -> None:
    """Neither Cyrus's variables nor the working directory add a plugin or change one."""
    (tmp_path / "evil_plugin.py").write_text("raise SystemExit('loaded')\n")
    (tmp_path / "sasl2").mkdir()
    (tmp_path / "smtp.conf").write_text("plugin_list: evil\nmech_list: EVIL\n")
    environment = {
        **os.environ,
        **{name: str(tmp_path) for name in ("SASL_PATH", "SASL_PLUGIN_PATH", "LD_LIBRARY_PATH")},
    }
    environment.pop("SASL_CONF_PATH", None)
    code = """
from sasl_core import Server
server = Server("smtp", "h.example", config={"allow_cleartext": True})
print(",".join(sorted(server.core.registry.names("mechanisms"))))
"""
    done = subprocess.run(
        [sys.executable, "-P", "-c", code],
        capture_output=True, text=True, cwd=tmp_path, env=environment, timeout=60, check=True,
    )  # fmt: skip
    with server() as owner:
        assert done.stdout.strip() == ",".join(sorted(owner.core.registry.names("mechanisms")))
    assert "evil" not in done.stdout.lower()


# --- order and state --------------------------------------------------------------


@pytest.mark.parametrize("mechanism", ["PLAIN", "ANONYMOUS", "SCRAM-SHA-256", "NO-SUCH"])
def test_absent_and_empty_initial_responses(mechanism: str) -> None:
    """None and b"" are told apart, and neither lets anybody in who has said nothing."""
    with server() as owner:
        with owner.session() as session:
            if mechanism == "NO-SUCH":
                with pytest.raises(MechanismError):
                    session.start(mechanism, None)
            else:
                assert session.start(mechanism, None) == Reply(b"", done=False)
                assert not session.done
        with owner.session() as session:
            if mechanism == "ANONYMOUS":
                assert session.start(mechanism, b"").done
            else:
                with pytest.raises((PeerError, MechanismError)):
                    session.start(mechanism, b"")


def test_one_mechanism_after_another() -> None:
    """A failed attempt leaves nothing that a later one on the connection could use."""
    with server() as owner, client() as theirs:
        leftovers = []
        for first in ("PLAIN", "SCRAM-SHA-256", "ANONYMOUS"):
            failed = owner.session()
            with pytest.raises(SaslError):
                failed.start(first, b"\0\0\0\xff")
            leftovers.append(failed)
            for second in ("PLAIN", "SCRAM-SHA-256"):
                near = owner.session()
                far = theirs.session(authid="kurt", password=USERS["kurt"])
                _ = login(far, near, [second])
                assert near.authid == "kurt"
            with pytest.raises(UsageError):
                failed.step(b"\0kurt\0" + USERS["kurt"].encode())
        assert not any(session.done for session in leftovers)


@pytest.mark.parametrize("mechanism", ["PLAIN", "SCRAM-SHA-256"])
@pytest.mark.parametrize("step", [0, 1, 2, 3])
def test_abort_at_each_step(mechanism: str, step: int) -> None:
    """A client that goes away, at whichever message, leaves a dead session and a live server."""
    with server() as owner, client() as theirs:
        far = theirs.session(authid="tim", password=USERS["tim"], initial_response=False)
        near = owner.session()

        def leave(turn: int, data: bytes | None) -> bytes | None:
            if turn == step:
                near.close()
                raise GoneError
            return data

        with contextlib.suppress(GoneError):
            _ = login(far, near, [mechanism], to_server=leave)
        if near.raw().phase.name == "CLOSED":
            for call in (
                lambda: near.step(b""),
                lambda: near.start(mechanism),
                lambda: near.authid,
            ):
                with pytest.raises(UsageError):
                    call()
        with owner.session() as again:
            assert again.start("PLAIN", b"\0tim\0" + USERS["tim"].encode()).done


def test_early_success_is_no_success() -> None:
    """A server that declares success before it has proved itself is not believed."""
    with client() as theirs:
        for steps in (0, 1):
            with theirs.session(authid="tim", password="x") as far:
                nonce = (far.start(["SCRAM-SHA-256"]).data or b"").partition(b"r=")[2]
                if steps:
                    _ = far.step(b"r=%b+x1,s=c2FsdHNhbHQ=,i=4096" % nonce)
                with pytest.raises(AuthenticationError) as caught:
                    far.finish()
                assert caught.value.result is Result.BADSERV
                assert not far.done


class GoneError(Exception):
    """The client has left."""


class Unbound(ServerPlug):
    """A server mechanism that has a -PLUS name and binds nothing."""

    name = "SCRAM-SHA-256"
    security_flags = SecurityFlag.NOPLAINTEXT | SecurityFlag.NOANONYMOUS
    features = Feature.WANT_CLIENT_FIRST | Feature.CHANNEL_BINDING

    def converse(self, ctx: Any) -> Any:
        _ = yield from NeedPeer()
        return Success(ctx.accept_anonymous(""))


class UnboundClient(ClientPlug):
    """The same for a client."""

    name = "SCRAM-SHA-256"
    security_flags = Unbound.security_flags
    features = Unbound.features

    def converse(self, ctx: Any) -> Any:
        _ = ctx.canon_user("tim")
        yield from ()
        return Success(data=b"hello")


@pytest.mark.parametrize("policy", BindingPolicy)
def test_binding_is_checked_again_at_the_end(policy: BindingPolicy) -> None:
    """A mechanism that promises to bind and does not is refused when it says Success."""
    facts: dict[str, Any] = {
        "channel_bindings": {"tls-exporter": b"x" * 32},
        "binding_policy": policy,
        "external_ssf": 256,
    }
    name = "SCRAM-SHA-256" + ("" if policy is BindingPolicy.OFF else "-PLUS")
    with server() as owner, client() as theirs:
        plant(owner, "mechanisms", Unbound())
        plant(theirs, "mechanisms", UnboundClient())
        near, far = owner.session(**facts), theirs.session(authid="tim", password="x", **facts)
        if policy is BindingPolicy.OFF:
            assert near.start(name, b"hello").done
            assert far.start([name]).done
            return
        for call in (lambda: near.start(name, b"hello"), lambda: far.start([name])):
            with pytest.raises(AuthenticationError) as caught:
                call()
            assert caught.value.result in (Result.BADBINDING, Result.BADAUTH)
            assert "channel binding" in str(caught.value.detail)
        assert not near.done
        assert not far.done


# --- the source itself -----------------------------------------------------------------


SECRET_WORDS = (
    "password", "passwd", "proof", "signature", "stored_key", "server_key", "client_key", "salted",
    "secret", "digest", "hmac", "mac", "verifier", "expected", "given_binding", "token",
)  # fmt: skip

# Comparisons of such names that compare no secret with what a peer sent.
HARMLESS = {
    # Compare and set: what is there against what the same program read before.
    "sasl_auxprop/sasldb/rows.py: _held(connection, number, name) != expected",
    # Whether a file is the one that was sampled, by its own secret; no peer has a part in it.
    "sasl_auxprop/sasldb/store.py: of != secret",
    # At a client, which of its own tokens was refused; no peer has a part in it.
    "sasl_tokens/sent.py: self.token == token",
    # A password that has been verified, against its own stored form.
    "sasl_core/accounts.py: saslprep(password.decode(), stored=True).encode() == password",
}


PACKAGES = (
    "sasl_core", "sasl_mechanisms", "sasl_canon", "sasl_auxprop",
    "sasl_tokens", "sasl_credentials", "sasl_http",
)  # fmt: skip


def sources() -> list[tuple[str, ast.Module]]:
    """Our packages, as they are installed."""
    found = []
    for package in PACKAGES:
        folder = Path(str(importlib.import_module(package).__file__)).parent
        for path in sorted(folder.rglob("*.py")):
            if "testing" not in path.parts:
                name = f"{package}/{path.relative_to(folder).as_posix()}"
                found.append((name, ast.parse(path.read_text("utf-8"))))
    assert len(found) > 40
    return found


def named(node: ast.expr) -> str:
    """The last name of an expression: of `a.b.proof[0]` it is "proof"."""
    match node:
        case ast.Attribute():
            return node.attr
        case ast.Name():
            return node.id
        case ast.Subscript() | ast.Starred():
            return named(node.value)
        case ast.Call():
            return named(node.func)
        case ast.BinOp():
            return named(node.left)
        case _:
            return ""


def comparisons(tree: ast.Module) -> list[str]:
    """Every == and != between two values of which one has the name of a secret."""
    found = []
    for node in ast.walk(tree):
        if not isinstance(node, ast.Compare):
            continue
        for operator, right in zip(node.ops, node.comparators, strict=True):
            sides = (node.left, right)
            if not isinstance(operator, (ast.Eq, ast.NotEq)):
                continue
            if any(isinstance(side, ast.Constant) for side in sides):
                continue
            # In capitals it is the name of a property, not a value.
            words = [named(side).strip("_") for side in sides if not named(side).isupper()]
            if any(word.lower() in SECRET_WORDS for word in words):
                found.append(ast.unparse(node))
    return found


def test_secrets_are_compared_in_constant_time() -> None:
    """No secret is compared with == anywhere, and the places that compare use compare_digest."""
    found = [f"{name}: {each}" for name, tree in sources() for each in comparisons(tree)]
    assert set(found) <= HARMLESS
    used = {
        name
        for name, tree in sources()
        for node in ast.walk(tree)
        if isinstance(node, ast.Call) and named(node.func) == "compare_digest"
    }
    assert {"sasl_core/verifier.py", "sasl_core/context/passwords.py"} <= used
    for source in ("proof == wanted", "x.stored_key != y", "given == a.secret[1]", "x == mac(y)"):
        assert comparisons(ast.parse(source))
    for source in ("len(proof) == size", "name == other", "proof is None", "code == 'proof'"):
        assert comparisons(ast.parse(source)) == []


def test_no_seedable_randomness() -> None:
    """Nothing imports `random` or takes a seed: every unpredictable byte is from `secrets`."""
    for name, tree in sources():
        for node in ast.walk(tree):
            if isinstance(node, ast.Import):
                assert "random" not in [alias.name for alias in node.names], name
            if isinstance(node, ast.ImportFrom):
                assert node.module != "random", name
            if isinstance(node, ast.arg):
                assert node.arg not in {"seed", "rng"}, name
    with pytest.raises((ConfigError, TypeError)):
        server(config={**OPEN, "scram_nonce": "fixed"})
