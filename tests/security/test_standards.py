"""What the standards demand, each demand with the tests that show it.

As in the catalogue of attacks: every row is in `SHOWN` with tests that exist, or in
`LATER` with the feature that it belongs to.
"""

from __future__ import annotations

import ast
import json
from functools import lru_cache
from pathlib import Path
from typing import Any

import pytest

from logins import USERS, client, login, server
from sasl_core import MechanismError

TESTS = Path(__file__).parent.parent
ROWS: list[dict[str, str]] = json.loads((TESTS / "vectors" / "standards.json").read_text("utf-8"))[
    "rows"
]

HERE = "security/test_standards"
ATTACKS = "security/test_catalogue"
INPUT = "security/test_bad_input"
UNKNOWN = "security/test_unknown_users"
SCRAM = "mechanisms/test_scram_exchange"
FAMILY = "mechanisms/test_scram_family"
EFFECTS = "core/test_config_effects"
MESSAGES = "mechanisms/test_scram_messages"
PLAIN = "mechanisms/test_plain"
ANONYMOUS = "mechanisms/test_anonymous"
EXTERNAL = "mechanisms/test_external"
CANON = "canon/test_internal"
VERIFIER = "core/test_verifier"
GS2 = "core/test_gs2"
PREP = "core/test_saslprep"
INITIAL = "rules/test_g05_initial"
LAST = "rules/test_g06_g08_last_words"
POLICY = "rules/test_g13_g18_policy"
LAYERS = "rules/test_layers"
TOKENS = "security/test_token_attacks"
GATE = "tokens/test_gate"
HOSTILE = "tokens/test_hostile_tokens"
JWKS = "tokens/test_jwk"
JWS = "tokens/test_jws_vectors"
KEYS = "tokens/test_jwk_manager"
PROVIDER = "tokens/test_identity_provider"
PROVIDERS = "tokens/test_provider_config"
HTTP = "http/test_transport"
CACHE = "credentials/test_token_cache"
CLIENT = "credentials/test_client_tokens"
BROWSER = "credentials/test_authorization_code"
REDIRECT = "credentials/test_redirect_listener"
DEVICE = "credentials/test_device_code"
PEOPLE = "credentials/test_human_logins"
GRANTS = "credentials/test_client_credentials"
LOGINS = "rules/test_token_logins"
OAUTH = "mechanisms/test_oauth_messages"
OAUTHBEARER = "mechanisms/test_oauthbearer"
XOAUTH2 = "mechanisms/test_xoauth2"
BEARER = "mechanisms/test_bearer"
OIDC = "mechanisms/test_mongodb_oidc"
SMTP = "profiles/test_smtp_connection"
SMTP_SERVER = "profiles/test_smtp_server"

SHOWN: dict[str, tuple[str, ...]] = {
    # RFC 4422, the framework
    "S001": (f"{INPUT}::test_no_such_mechanism", f"{ATTACKS}::test_names_import_nothing"),
    "S002": (f"{INPUT}::test_a_session_is_for_one_attempt", f"{SMTP}::test_a_command_after_login"),
    "S003": (f"{INITIAL}::test_g5_anything_and_server_first_is_bad_protocol",),
    "S004": (
        f"{INITIAL}::test_g5_a_server_first_client_sends_nothing_and_hears_all",
        f"{ATTACKS}::test_absent_and_empty_initial_responses",
    ),
    "S005": (f"{INITIAL}::test_g5_absent_and_client_first_gives_an_empty_challenge",),
    "S006": (
        f"{POLICY}::test_g13_without_a_policy_everybody_is_only_themselves",
        f"{SCRAM}::test_authorization",
    ),
    "S007": (
        f"{PLAIN}::test_what_is_formatted_parses",
        f"{PLAIN}::test_what_cannot_be_sent",
        f"{GS2}::test_name_round_trip",
    ),
    "S008": (f"{ATTACKS}::test_abort_at_each_step", f"{SMTP}::test_a_star_cancels"),
    "S009": (
        f"{ATTACKS}::test_early_success_is_no_success",
        f"{SCRAM}::test_an_outcome_that_is_wrong_here",
    ),
    "S010": (
        f"{LAST}::test_g6_the_last_words_go_out_as_a_challenge",
        f"{LAST}::test_g6_a_last_response_with_data_is_refused",
    ),
    "S011": (
        f"{LAYERS}::test_layer_carries_the_data_through_the_session",
        f"{LAYERS}::test_layer_is_not_used_before_the_exchange_is_done",
    ),
    "S015": (
        f"{PLAIN}::test_cleartext_needs_protection_or_permission",
        f"{ATTACKS}::test_binding_is_checked_again_at_the_end",
        f"{LAYERS}::test_layer_other_than_demanded_is_refused",
    ),
    "S020": (
        f"{LOGINS}::test_a_session_stands_as_long_as_its_token",
        f"{LOGINS}::test_a_revalidation_takes_over_new_grants",
        f"{LOGINS}::test_a_refused_revalidation_is_for_good",
        f"{LOGINS}::test_a_revalidation_never_changes_who_it_is",
        f"{BEARER}::test_a_login_lapses_and_is_revalidated",
    ),
    # RFC 4505, ANONYMOUS
    "S021": (f"{ANONYMOUS}::test_vectors", f"{ANONYMOUS}::test_traces"),
    "S022": (f"{ANONYMOUS}::test_traces", f"{ANONYMOUS}::test_a_trace_is_refused_by_table"),
    "S023": (f"{ANONYMOUS}::test_the_trace_is_for_the_log_only",),
    # RFC 4616, PLAIN
    "S025": (
        f"{PLAIN}::test_messages_that_are_refused",
        f"{PLAIN}::test_what_is_empty_never_verifies",
    ),
    "S026": (f"{PLAIN}::test_messages_that_are_accepted", f"{INPUT}::test_giant_messages"),
    "S027": (
        f"{PLAIN}::test_messages_that_are_refused",
        f"{ATTACKS}::test_names_that_are_not_utf8",
    ),
    "S028": (
        f"{PLAIN}::test_passwords_are_compared_prepared",
        f"{PLAIN}::test_what_is_empty_never_verifies",
    ),
    "S029": (f"{PLAIN}::test_passwords_are_compared_prepared",),
    "S030": (f"{PLAIN}::test_cleartext_needs_protection_or_permission",),
    "S031": (f"{PLAIN}::test_a_wrong_password_and_a_refused_identity_are_one_outcome",),
    # RFC 5802, 7677 and 5803, SCRAM
    "S032": (f"{VERIFIER}::test_pbkdf2", f"{SCRAM}::test_the_servers_half"),
    "S033": (
        f"{GS2}::test_badly_escaped_names",
        f"{GS2}::test_invalid_headers",
        f"{SCRAM}::test_authorization",
    ),
    "S034": (f"{SCRAM}::test_the_server_says_what_rfc_5802_has_a_word_for",),
    # A name that cannot be prepared ends the exchange, which tells nothing of any account.
    "S035": (
        f"{CANON}::test_names_that_are_refused",
        f"{CANON}::test_both_sides_agree_on_the_name",
    ),
    "S036": (
        f"{SCRAM}::test_the_server_says_what_rfc_5802_has_a_word_for",
        f"{SCRAM}::test_a_mandatory_extension_in_the_second_message",
        f"{MESSAGES}::test_a_mandatory_extension_is_named_as_the_reason",
    ),
    "S037": (f"{SCRAM}::test_nonces_never_repeat", f"{MESSAGES}::test_malformed"),
    "S038": (
        f"{SCRAM}::test_a_challenge_that_is_wrong_here",
        f"{SCRAM}::test_a_servers_nonce_has_its_alphabet",
    ),
    # Compared in full; not in constant time, since whoever sent it knows it.
    "S039": (f"{SCRAM}::test_a_valid_proof_for_the_wrong_words",),
    "S040": (
        f"{SCRAM}::test_a_valid_proof_for_the_wrong_words",
        f"{SCRAM}::test_a_flag_changed_on_the_way",
    ),
    "S041": (f"{MESSAGES}::test_malformed", f"{SCRAM}::test_rounds_have_one_spelling"),
    "S042": (f"{SCRAM}::test_rounds_have_a_floor_and_a_cap",),
    "S043": (
        f"{VERIFIER}::test_a_proof_of_the_wrong_length_is_a_protocol_error",
        f"{ATTACKS}::test_secrets_are_compared_in_constant_time",
    ),
    "S044": (
        f"{SCRAM}::test_an_outcome_that_is_wrong_here",
        f"{ATTACKS}::test_early_success_is_no_success",
    ),
    "S045": (f"{SCRAM}::test_a_servers_error_refuses_the_client",),
    "S046": (f"{MESSAGES}::test_what_is_no_optional_attribute", f"{MESSAGES}::test_malformed"),
    "S047": (f"{SCRAM}::test_an_optional_attribute_is_signed_with_the_rest",),
    "S048": (f"{SCRAM}::test_flag_rules",),
    "S049": (f"{SCRAM}::test_flag_rules", f"{SCRAM}::test_a_stripped_offer_is_noticed"),
    "S050": (f"{SCRAM}::test_flag_rules",),
    "S051": (f"{SCRAM}::test_negotiation_rules",),
    "S052": (f"{SCRAM}::test_the_best_binding_is_taken_and_may_be_fetched_late",),
    "S053": (f"{SCRAM}::test_only_stored_keys_are_stored",),
    "S054": (f"{UNKNOWN}::test_scram_says_the_same", f"{UNKNOWN}::test_salts_outlive_the_server"),
    "S056": (f"{HERE}::test_scram_needs_protection_on_an_open_network",),
    "S057": (f"{VERIFIER}::test_verifier_round_trip", f"{VERIFIER}::test_stored_credentials"),
    "S058": (
        f"{FAMILY}::test_each_member_logs_in",
        f"{EFFECTS}::test_a_hash_may_have_rounds_of_its_own",
    ),
    # XEP-0474
    "S140": (
        f"{FAMILY}::test_the_published_hash_of_an_offer",
        f"{FAMILY}::test_a_changed_offer_is_refused",
    ),
    "S141": (
        f"{FAMILY}::test_the_published_hash_of_an_offer",
        f"{FAMILY}::test_an_offer_that_came_whole",
    ),
    # RFC 5801, GS2
    "S059": (f"{GS2}::test_valid_headers", f"{GS2}::test_invalid_headers"),
    "S060": (f"{GS2}::test_invalid_headers",),
    "S061": (f"{GS2}::test_names_are_escaped_and_back", f"{GS2}::test_badly_escaped_names"),
    "S063": (f"{SCRAM}::test_flag_rules",),
    "S065": (f"{GS2}::test_invalid_headers",),
    # RFC 5056, channel binding
    "S072": (
        f"{SCRAM}::test_different_channels",
        f"{SCRAM}::test_required_binding_rules_out_everything_else",
        f"{INPUT}::test_channel_binding_that_cannot_be_had",
    ),
    # RFC 4013, SASLprep
    "S073": (f"{PREP}::test_vectors", f"{PREP}::test_ambiguous"),
    "S074": (f"{PREP}::test_every_code_point_as_the_book_has_it",),
    "S075": (f"{PREP}::test_every_code_point_as_the_book_has_it",),
    "S076": (f"{PREP}::test_vectors",),
    "S077": (f"{PREP}::test_vectors", f"{PREP}::test_every_code_point_as_the_book_has_it"),
    "S078": (f"{PREP}::test_vectors",),
    "S079": (f"{PREP}::test_any_text", f"{PREP}::test_no_code_point_needs_preparing_twice"),
    # RFC 7628, OAUTHBEARER, and XOAUTH2
    "S086": (
        f"{OAUTH}::test_messages_that_are_accepted",
        f"{OAUTH}::test_messages_that_are_refused",
        f"{OAUTH}::test_more_messages_that_are_refused",
    ),
    "S087": (f"{OAUTH}::test_credentials", f"{OAUTH}::test_pairs_that_are_refused"),
    "S088": (
        f"{OAUTHBEARER}::test_messages_that_are_accepted",
        f"{OAUTHBEARER}::test_messages_that_are_refused",
    ),
    "S089": (f"{TOKENS}::test_reserved_and_unknown_keys_are_ignored",),
    "S090": (f"{OAUTHBEARER}::test_a_refusal", f"{BEARER}::test_tokens_that_are_refused"),
    "S091": (
        f"{OAUTH}::test_what_a_client_says_to_an_error",
        f"{OAUTHBEARER}::test_a_refusal",
        f"{XOAUTH2}::test_a_refusal",
    ),
    "S092": (
        f"{OAUTHBEARER}::test_a_server_that_said_no_never_says_yes",
        f"{XOAUTH2}::test_a_server_that_said_no_never_says_yes",
    ),
    "S093": (f"{OAUTHBEARER}::test_tokens_are_not_sent_in_clear",),
    "S094": (
        f"{BEARER}::test_a_client_that_names_another",
        f"{BEARER}::test_a_client_that_names_itself",
        f"{XOAUTH2}::test_who_asks_for_whom",
    ),
    "S095": (f"{OAUTHBEARER}::test_nothing_is_fetched_from_where_a_server_points",),
    "S096": (f"{OAUTH}::test_messages_that_are_accepted", f"{OAUTH}::test_errors"),
    # MONGODB-OIDC, its clients
    "S137": (
        f"{CLIENT}::test_a_persons_token_goes_to_allowed_hosts_only",
        f"{CLIENT}::test_a_persons_kept_token_is_not_sent_to_a_host_that_is_not_allowed",
        f"{PEOPLE}::test_nothing_happens_for_a_host_that_is_not_allowed",
        f"{CACHE}::test_an_end_that_is_no_time_is_an_error",
        f"{CACHE}::test_a_kept_token_that_is_refused_is_worth_another_try_and_a_new_one_is_not",
        f"{OIDC}::test_a_kept_token_that_is_refused_is_replaced",
    ),
    # RFC 7515 to 7519, 8037, 8725 and 9068, tokens
    "S146": (f"{GATE}::test_other_spellings_are_refused", f"{HOSTILE}::test_signed_anew"),
    "S147": (f"{GATE}::test_json_with_another_reading_is_refused", f"{HOSTILE}::test_signed_anew"),
    "S148": (f"{GATE}::test_headers", f"{HOSTILE}::test_signed_anew"),
    "S149": (f"{GATE}::test_headers", f"{HOSTILE}::test_signed_anew"),
    "S150": (f"{HOSTILE}::test_signed_anew", f"{GATE}::test_signatures_of_another_length"),
    "S151": (f"{HOSTILE}::test_signed_anew", f"{JWS}::test_another_algorithm_is_not_tried"),
    "S152": (
        f"{GATE}::test_the_allowed_algorithms",
        f"{TOKENS}::test_a_public_key_is_nobodys_secret",
        f"{TOKENS}::test_private_and_secret_keys_open_nothing",
    ),
    "S153": (
        f"{JWKS}::test_a_key_that_cannot_be_used_is_left_out",
        f"{TOKENS}::test_the_algorithm_of_a_key_is_the_only_one",
    ),
    # Keys on P-521 are left out: ES512 is no algorithm here.
    "S154": (
        f"{JWKS}::test_a_key_that_cannot_be_used_is_left_out",
        f"{JWKS}::test_without_an_algorithm_a_key_is_for_those_of_its_type",
        f"{TOKENS}::test_a_signature_of_nothing_verifies_nothing",
    ),
    "S155": (f"{JWKS}::test_a_key_that_cannot_be_used_is_left_out",),
    "S156": (
        f"{TOKENS}::test_one_bad_key_spoils_no_set",
        f"{TOKENS}::test_what_leaves_open_which_key_is_meant_spoils_the_set",
        f"{TOKENS}::test_private_and_secret_keys_open_nothing",
    ),
    # Ed448 is no algorithm here.
    "S157": (f"{TOKENS}::test_both_names_of_ed25519",),
    "S158": (f"{TOKENS}::test_an_issuer_has_its_algorithms",),
    "S159": (
        f"{TOKENS}::test_an_issuer_is_equal_or_another",
        f"{TOKENS}::test_a_key_is_its_issuers_only",
        f"{PROVIDER}::test_a_peek_that_lied_is_caught",
    ),
    "S160": (
        f"{GATE}::test_claims",
        f"{HOSTILE}::test_identity_providers_judge_alike",
        f"{PROVIDER}::test_the_provider_is_that_of_issuer_and_audience",
    ),
    "S161": (
        f"{TOKENS}::test_a_kid_is_looked_up_and_nothing_else",
        f"{TOKENS}::test_a_kid_that_is_no_name",
    ),
    "S162": (
        f"{GATE}::test_headers",
        f"{GATE}::test_access_tokens_say_so_where_that_is_allowed",
        f"{TOKENS}::test_types_for_something_else",
    ),
    # A nonce alone says nothing: some issuers write it into access tokens too.
    "S163": (
        f"{TOKENS}::test_tokens_for_something_else",
        f"{GRANTS}::test_an_answer_without_a_token_is_refused",
    ),
    "S164": (
        f"{GATE}::test_claims",
        f"{GATE}::test_skews_and_the_longest_life",
        f"{TOKENS}::test_odd_numbers_and_dates_are_no_times",
    ),
    "S165": (f"{GATE}::test_claims", f"{TOKENS}::test_odd_numbers_and_dates_are_no_times"),
    "S166": (f"{GATE}::test_claims", f"{PROVIDER}::test_a_refusal"),
    # The other claims of that profile decide nothing here, and may be missing.
    "S167": (f"{TOKENS}::test_an_access_token_of_rfc_9068",),
    "S168": (
        f"{GATE}::test_the_longest_token",
        f"{TOKENS}::test_what_is_long_is_not_decoded",
        f"{TOKENS}::test_nests_are_refused",
    ),
    # OpenID Connect Discovery, RFC 8414: where keys are
    # But for one slash at the end, which issuers write or leave out in their own documents;
    # the issuer of a token is compared to the letter (S159).
    "S169": (f"{KEYS}::test_the_document_is_of_who_was_asked",),
    "S170": (
        f"{KEYS}::test_where_an_issuer_describes_itself",
        f"{KEYS}::test_both_places_are_tried",
    ),
    # The address of the keys may have a query, as Entra's has.
    "S171": (
        f"{PROVIDERS}::test_an_address_is_checked",
        f"{PROVIDERS}::test_an_issuer_has_no_query",
        f"{KEYS}::test_a_document_does_not_lead_astray",
        f"{TOKENS}::test_addresses_that_nothing_is_fetched_from",
    ),
    "S172": (f"{TOKENS}::test_a_redirect_leads_nowhere", f"{HTTP}::test_a_redirect_is_an_answer"),
    "S173": (
        f"{BROWSER}::test_an_answer_of_another_issuer_is_refused",
        f"{BROWSER}::test_an_issuer_that_was_announced_has_to_be_there",
        f"{BROWSER}::test_two_issuers_are_not_mixed_up",
        f"{BROWSER}::test_two_issuers_in_one_answer_are_none",
    ),
    "S176": (
        f"{BROWSER}::test_what_the_provider_is_asked",
        f"{BROWSER}::test_a_provider_without_s256_is_not_asked",
        f"{BROWSER}::test_somebody_elses_code_is_worth_nothing",
        f"{BROWSER}::test_the_browser_comes_back_where_it_was_told",
        f"{REDIRECT}::test_what_does_not_end_the_wait",
        f"{PEOPLE}::test_the_address_is_as_it_was_registered",
    ),
    "S177": (
        f"{DEVICE}::test_slow_down_adds_five_seconds_for_good",
        f"{DEVICE}::test_how_often_it_is_polled",
        f"{DEVICE}::test_what_makes_no_sense_is_shown_to_nobody",
        f"{DEVICE}::test_a_person_logs_in_elsewhere",
    ),
    # Old keys serve on without a bound, as MongoDB has it; SECURITY.md says so.
    "S174": (
        f"{KEYS}::test_a_thousand_unknown_kids_cause_one_fetch",
        f"{KEYS}::test_threads_share_one_load",
        f"{KEYS}::test_an_issuer_that_is_down",
        f"{TOKENS}::test_who_goes_away_has_nobody_refused",
        f"{TOKENS}::test_who_goes_away_does_not_have_the_issuer_asked_without_end",
        f"{TOKENS}::test_who_goes_away_does_not_keep_a_withdrawn_key",
    ),
    "S175": (
        f"{KEYS}::test_requests_are_bounded",
        f"{KEYS}::test_a_failed_load_leaves_the_keys",
        f"{TOKENS}::test_nests_are_refused",
        f"{TOKENS}::test_a_set_has_a_hundred_keys_at_most",
        f"{HTTP}::test_a_huge_body_takes_no_memory",
    ),
    # RFC 4422, appendix A: EXTERNAL
    "S018": (
        f"{EXTERNAL}::test_vectors",
        f"{EXTERNAL}::test_an_absent_first_message_is_asked_for",
        f"{EXTERNAL}::test_a_login",
    ),
    "S019": (
        f"{EXTERNAL}::test_vectors",
        f"{EXTERNAL}::test_a_server_offers_it_where_somebody_is_vouched_for",
    ),
    # RFC 4954, SMTP
    "S123": (
        f"{SMTP}::test_absent_and_empty_initial_responses_differ",
        f"{SMTP}::test_a_star_cancels",
    ),
    "S124": (f"{SMTP}::test_the_longest_response_is_taken",),
    "S125": (
        f"{SMTP}::test_a_command_after_login",
        f"{SMTP}::test_auth_is_refused_within_a_transaction",
        f"{SMTP_SERVER}::test_unknown_and_unavailable_mechanisms",
        f"{SMTP_SERVER}::test_every_refusal_is_the_same",
    ),
    "S126": (f"{SMTP_SERVER}::test_scram_octet_by_octet",),
    "S127": (
        f"{SMTP}::test_starttls_forgets_everything",
        f"{SMTP_SERVER}::test_bytes_slipped_in_before_the_handshake_do_not_survive_it",
    ),
}


def each(first: int, last: int, feature: str) -> dict[str, str]:
    """The rows from `first` to `last`, all of one feature."""
    return {f"S{number:03}": feature for number in range(first, last + 1)}


LATER: dict[str, str] = {
    **each(12, 14, "mechanisms with security layers"),
    **each(16, 16, "reading the offer again under a layer"),
    # The length of a layer's buffer; nothing that is built has a length field.
    **each(17, 17, "mechanisms with security layers"),
    # It is off by default, as a test shows; but a user may still be called "anonymous".
    **each(24, 24, "an identity of its own for ANONYMOUS"),
    **each(55, 55, "GS2"),
    **each(62, 62, "GS2"),
    **each(64, 64, "GS2"),
    **each(66, 71, "fetching channel binding data for the application"),
    **each(80, 85, "PRECIS"),
    **each(97, 108, "CRAM-MD5 and DIGEST-MD5"),
    **each(109, 116, "GSSAPI"),
    **each(117, 122, "the profiles for IMAP and POP3"),
    **each(128, 136, "the profiles for XMPP, LDAP, Kafka and MongoDB"),
    **each(138, 139, "the profiles for XMPP, LDAP, Kafka and MongoDB"),
    **each(142, 145, "what a client remembers of a server, and hashed tokens"),
}


@lru_cache(maxsize=64)
def functions(module: str) -> frozenset[str]:
    """The names of a test module's functions."""
    tree = ast.parse((TESTS / f"{module}.py").read_text("utf-8"))
    return frozenset(node.name for node in tree.body if isinstance(node, ast.FunctionDef))


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row["id"])
def test_every_demand_has_its_tests(row: dict[str, str]) -> None:
    """Each row names tests that exist, or the feature that does not exist yet."""
    name = row["id"]
    assert (name in SHOWN) != (name in LATER), f"{name}: {row['text']}"
    for test in SHOWN.get(name, ()):
        module, _, function = test.partition("::")
        assert function in functions(module), test


def test_no_row_is_invented() -> None:
    """Nothing is claimed of a demand that the list does not have."""
    assert SHOWN.keys() | LATER.keys() == {row["id"] for row in ROWS}
    assert len(ROWS) == 177


@pytest.mark.parametrize(
    ("remote", "open_network"),
    [
        ("192.0.2.1;4000", True), ("2001:db8::1;4000", True), ("localhost;1", True), ("", True),
        ("128.0.0.1;1", True), ("127.0.0.1.example.com;1", True), ("1270.0.0.1;1", True),
        ("127.0.0.1;4000", False), ("127.255.0.9;1", False), ("::1;4000", False),
        ("[::1];4000", False), ("::ffff:127.0.0.1;1", False), ("/run/x.sock", False), (None, False),
    ],
)  # fmt: skip
def test_scram_needs_protection_on_an_open_network(remote: str | None, open_network: bool) -> None:
    """Without TLS SCRAM is refused to whoever is not on this machine, unless it is permitted."""
    strict: dict[str, object] = {"scram_iteration_counter": 4096}
    permit = {**strict, "allow_unencrypted_scram": True}
    for config, ssf, refused in (
        (strict, 0, open_network),
        (strict, 1, open_network),
        (strict, 128, False),
        (permit, 0, False),
    ):
        facts: dict[str, Any] = {"remote": remote, "external_ssf": ssf}
        with server(config=config) as ours, client(config=config) as theirs:
            near = ours.session(**facts)
            far = theirs.session(authid="tim", password=USERS["tim"], **facts)
            if refused:
                assert "SCRAM-SHA-256" not in near.mechanisms()
                assert "allow_unencrypted_scram" in near.rejected["SCRAM-SHA-256"]
                for call in (
                    lambda near=near: near.start("SCRAM-SHA-256", b"n,,n=tim,r=abcdefghijkl"),
                    lambda far=far: far.start(["SCRAM-SHA-256"]),
                ):
                    with pytest.raises(MechanismError):
                        call()
            else:
                _ = login(far, near, ["SCRAM-SHA-256"])
                assert near.authid == "tim"
