"""The configuration of identity providers: every field, every rule, what is said of a mistake."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from typing import Any, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sasl_core import ConfigError, Result
from sasl_tokens.config import FIELDS, IdentityProviderConfig, parse_providers
from sasl_tokens.patterns import TEXT_LIMIT, BadPattern, compile_pattern

ISSUER = "https://issuer.example.com"

GOOD: dict[str, object] = {
    "issuer": ISSUER,
    "audience": "sasl",
    "authNamePrefix": "corp",
    "clientId": "client",
    "authorizationClaim": "groups",
}
MACHINE: dict[str, object] = {
    "issuer": ISSUER,
    "audience": "jobs",
    "authNamePrefix": "corp",
    "supportsHumanFlows": False,
    "useAuthorizationClaim": False,
}


def provider(**more: object) -> dict[str, object]:
    """A good human provider with other fields; `...` leaves one out."""
    made = {**GOOD, **more}
    return {name: value for name, value in made.items() if value is not ...}


def other(number: int = 2, **more: object) -> dict[str, object]:
    """A good human provider of another issuer."""
    return provider(
        issuer=f"https://issuer{number}.example.com", authNamePrefix=f"corp{number}", **more
    )


def refusal(*tables: Any) -> str:
    """What is said of an array with a mistake; in both forms the same, where JSON has it."""
    with pytest.raises(ConfigError) as caught:
        _ = parse_providers(tables)
    assert caught.value.result is Result.CONFIGERR
    message = str(caught.value)
    try:
        text = json.dumps(tables)
    except (TypeError, ValueError):
        return message
    with pytest.raises(ConfigError) as caught:
        _ = parse_providers(text)
    assert str(caught.value) == message
    return message


# --- what is good ----------------------------------------------------------------------------


def test_the_least_of_a_human_provider() -> None:
    """Five fields; all others have the defaults of the table."""
    assert parse_providers([GOOD]) == (
        IdentityProviderConfig(
            issuer=ISSUER,
            audience="sasl",
            auth_name_prefix="corp",
            match_pattern=None,
            client_id="client",
            request_scopes=None,
            principal_claim="sub",
            use_authorization_claim=True,
            authorization_claim="groups",
            log_claims=("iss", "sub"),
            jwks_poll_secs=0,
            supports_human_flows=True,
            server_ca_file=None,
            lenient_claims=False,
            accept_access_token_type=False,
            max_lifetime_secs=None,
            exp_skew_secs=0,
            allow_loopback_http=False,
            jwks_uri=None,
            step_one_without_client_id=False,
        ),
    )


def test_the_least_of_a_machine_provider() -> None:
    """Without human flows no clientId, without the authorization claim none to name."""
    (config,) = parse_providers([MACHINE])
    assert config.client_id is None
    assert config.authorization_claim is None
    assert not config.answers_step_one


# Field -> a value that differs from the default, and what it is read as.
VALUES: Mapping[str, tuple[object, object]] = {
    "issuer": ("https://other.example.com/realms/a", "https://other.example.com/realms/a"),
    "audience": ("urn:x", "urn:x"),
    "authNamePrefix": ("Az_-09", "Az_-09"),
    "matchPattern": (r"@corp\.com$", r"@corp\.com$"),
    "clientId": ("me", "me"),
    "requestScopes": (["openid", "api://x/.default"], ("openid", "api://x/.default")),
    "principalName": ("email", "email"),
    "principalClaim": ("https://x/email.$", "https://x/email.$"),
    "useAuthorizationClaim": (False, False),
    "authorizationClaim": ("https://x/roles.$", "https://x/roles.$"),
    "logClaims": (["sub", "jti"], ("sub", "jti")),
    "JWKSPollSecs": (300, 300),
    "supportsHumanFlows": (False, False),
    "serverCAFile": ("/etc/ssl/corp.pem", "/etc/ssl/corp.pem"),
    "lenientClaims": (True, True),
    "acceptAccessTokenType": (True, True),
    "maxLifetimeSecs": (3600, 3600),
    "expSkewSecs": (300, 300),
    "allowLoopbackHttp": (True, True),
    "JWKSUri": ("https://other.example.com/keys", "https://other.example.com/keys"),
    "stepOneWithoutClientId": (True, True),
}


def test_every_field_has_a_value_here() -> None:
    """The table above is that of all fields."""
    assert set(VALUES) == set(FIELDS)


@pytest.mark.parametrize("name", VALUES)
def test_a_field_is_read(name: str) -> None:
    """Each field arrives where it belongs, from tables and from JSON alike."""
    value, read = VALUES[name]
    table = provider(**{name: value})
    if name == "stepOneWithoutClientId":
        table["supportsHumanFlows"] = False
    before = getattr(parse_providers([GOOD])[0], FIELDS[name])
    for form in ([table], (table,), json.dumps([table])):
        (config,) = parse_providers(form)
        assert getattr(config, FIELDS[name]) == read != before


def test_an_empty_array_is_a_configuration() -> None:
    """It says that there are no providers."""
    assert parse_providers([]) == parse_providers("[]") == ()


def test_providers_without_a_pattern_come_last() -> None:
    """Otherwise the order is that of the array."""
    machine = {**MACHINE, "issuer": "https://jobs.example.com", "authNamePrefix": "jobs"}
    patterned = {**machine, "audience": "patterned", "matchPattern": "^job-"}
    order = [machine, other(matchPattern="b"), patterned, provider(matchPattern="a")]
    read = [(config.auth_name_prefix, config.match_pattern) for config in parse_providers(order)]
    assert read == [("corp2", "b"), ("jobs", "^job-"), ("corp", "a"), ("jobs", None)]


def test_one_human_provider_among_machines_needs_no_pattern() -> None:
    """Only several that answer clients without a token have to be told apart."""
    assert len(parse_providers([MACHINE, GOOD])) == 2


def test_one_issuer_may_have_several_audiences() -> None:
    """With one prefix too, for its principals are the same people."""
    configs = parse_providers([GOOD, {**MACHINE, "audience": "other"}])
    assert {config.audience for config in configs} == {"sasl", "other"}


# --- what is not -----------------------------------------------------------------------------

TEXT = "expected printable text that is not empty"
WHETHER = "expected true or false"

# Fields of one provider -> what is said of them.
MISTAKES: list[tuple[Any, str]] = [
    ({"issuer": ...}, "[0].issuer: required"),
    ({"audience": ...}, "[0].audience: required"),
    ({"authNamePrefix": ...}, "[0].authNamePrefix: required"),
    ({"clientId": ...}, "[0].clientId: required, unless supportsHumanFlows is false"),
    (
        {"authorizationClaim": ...},
        "[0].authorizationClaim: required, unless useAuthorizationClaim is false",
    ),
    ({"isuer": "x"}, "[0].isuer: unknown field; did you mean 'issuer'?"),
    ({"match_pattern": "x"}, "[0].match_pattern: unknown field; did you mean 'matchPattern'?"),
    ({"JWKSPollSeconds": 1}, "[0].JWKSPollSeconds: unknown field; did you mean 'JWKSPollSecs'?"),
    ({"zzz\n": "x"}, r"[0].zzz\n: unknown field"),
    (
        {"principalName": "sub", "principalClaim": "sub"},
        "[0].principalClaim: principalName says the same; leave one of them out",
    ),
    *(
        ({name: value}, f"[0].{name}: {TEXT}")
        for name in (
            "issuer",
            "audience",
            "authNamePrefix",
            "matchPattern",
            "clientId",
            "principalName",
            "principalClaim",
            "authorizationClaim",
            "serverCAFile",
            "JWKSUri",
        )
        for value in (None, "", 1, True, ["x"], {"x": 1}, "a\0b", "a\nb")
    ),
    *(
        ({name: value}, f"[0].{name}: {WHETHER}")
        for name in (
            "useAuthorizationClaim",
            "supportsHumanFlows",
            "lenientClaims",
            "acceptAccessTokenType",
            "allowLoopbackHttp",
            "stepOneWithoutClientId",
        )
        for value in cast("tuple[object, ...]", (None, 0, 1, "true", [], {}))
    ),
    *(
        ({name: value}, f"[0].{name}: expected a whole number from {low} to {high}")
        for name, low, high in (
            ("JWKSPollSecs", 0, 2**31 - 1),
            ("maxLifetimeSecs", 1, 2**31 - 1),
            ("expSkewSecs", 0, 300),
        )
        for value in (None, True, "5", 5.0, low - 1, high + 1, [5])
    ),
    *(
        ({name: value}, f"[0].{name}: expected an array of texts")
        for name in ("requestScopes", "logClaims")
        for value in (None, "openid", 1, {"openid": True})
    ),
    *(
        ({name: [value]}, f"[0].{name}: {TEXT}")
        for name in ("requestScopes", "logClaims")
        for value in (None, "", 1, ["x"], "a\nb")
    ),
    *(
        (
            {"requestScopes": ["openid", scope]},
            "[0].requestScopes: expected scopes: ASCII without blank, quote, backslash",
        )
        for scope in ("a b", 'a"b', "a\\b", "é")
    ),
    *(
        (
            {"authNamePrefix": prefix},
            "[0].authNamePrefix: expected 1 to 128 of the characters A-Z a-z 0-9 _ and -",
        )
        for prefix in ("a/b", "a.b", "a b", "$x", "é", "٣", "x" * 129)
    ),
    ({"audience": "x" * 2049}, "[0].audience: expected at most 2048 characters"),
    (
        {"stepOneWithoutClientId": True},
        "[0].stepOneWithoutClientId: needs supportsHumanFlows to be false",
    ),
    ({"matchPattern": "("}, "[0].matchPattern: expected a regular expression: "),
    ({"matchPattern": "a**"}, "[0].matchPattern: expected a regular expression: multiple repeat"),
    ({"matchPattern": "(a+)+"}, "[0].matchPattern: this pattern could keep the server busy"),
]


@pytest.mark.parametrize(("fields", "said"), MISTAKES)
def test_a_mistake_is_told(fields: dict[str, Any], said: str) -> None:
    """The message begins with the index of the provider and says what was expected."""
    assert refusal(provider(**fields)).startswith(said)


@pytest.mark.parametrize(("fields", "said"), MISTAKES[:12])
def test_the_index_is_that_of_the_array(fields: dict[str, Any], said: str) -> None:
    """It counts from 0, whatever order the providers are given afterwards."""
    message = refusal(other(3), other(4, matchPattern="x"), provider(**fields))
    assert message.startswith(said.replace("[0]", "[2]"))


@pytest.mark.parametrize("table", [None, 1, "x", [], ["issuer"], True])
def test_an_entry_is_an_object(table: object) -> None:
    """Whatever else stands in the array is refused by its index."""
    assert refusal(MACHINE, table) == "[1]: expected an object"


@pytest.mark.parametrize("name", [1, None, b"issuer", ("issuer",)])
def test_a_name_is_text(name: object) -> None:
    """A table of Python's may have other keys, which are unknown fields."""
    table: Any = {**GOOD, name: "x"}
    with pytest.raises(ConfigError, match=r"^\[0\]\..*: unknown field"):
        _ = parse_providers([table])


ADDRESSES = [
    ("http://issuer.example.com", "may be asked by https only"),
    ("http://localhost", "http to this machine needs allowLoopbackHttp"),
    ("ftp://issuer.example.com", "it has to begin with https://"),
    ("issuer.example.com", "it has to begin with https://"),
    ("https://user:secret@issuer.example.com", "it names a user"),
    ("https://issuer.example.com#x", "it has a fragment"),
    ("https://", "no host"),
    ("https://issuer.example.com:0", "there is no port 0"),
]


@pytest.mark.parametrize(("url", "said"), ADDRESSES)
@pytest.mark.parametrize("name", ["issuer", "JWKSUri"])
def test_an_address_is_checked(name: str, url: str, said: str) -> None:
    """Issuer and JWKSUri are https addresses; a password in one is not repeated."""
    message = refusal(provider(**{name: url}))
    assert message.startswith(f"[0].{name}: ")
    assert said in message
    assert "secret" not in message


def test_an_issuer_has_no_query() -> None:
    """The address of a key set may have one (RFC 8414 section 2)."""
    assert "no query" in refusal(provider(issuer=f"{ISSUER}?x=1"))
    (config,) = parse_providers([provider(JWKSUri=f"{ISSUER}/keys?x=1")])
    assert config.jwks_uri == f"{ISSUER}/keys?x=1"


@pytest.mark.parametrize("host", ["localhost:8080", "127.0.0.1", "127.8.0.1:1", "[::1]:8080"])
def test_loopback_in_clear_text_needs_its_option(host: str) -> None:
    """With allowLoopbackHttp this machine may be asked by http, and no other."""
    url = f"http://{host}"
    assert "allowLoopbackHttp" in refusal(provider(issuer=url))
    (config,) = parse_providers([provider(issuer=url, allowLoopbackHttp=True)])
    assert config.issuer == url
    for elsewhere in ("http://localhost.example.com", "http://10.0.0.1"):
        assert "https only" in refusal(provider(issuer=elsewhere, allowLoopbackHttp=True))


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "is not JSON"),
        ("{}", "expected an array of identity providers"),
        ('"x"', "expected an array of identity providers"),
        ("[", "is not JSON"),
        ("[] []", "is not JSON"),
        ("[NaN]", "NaN"),
        ('[{"issuer": "a", "issuer": "b"}]', "holds a member twice"),
        ("[" * 100 + "]" * 100, "nested too deeply"),
        ("\ud800", "not UTF-8"),
        (r'["\ud800"]', "surrogate"),
    ],
)
def test_a_text_is_strict_json(text: str, said: str) -> None:
    """What two readers could take for different things is refused."""
    with pytest.raises(ConfigError, match=said):
        _ = parse_providers(text)


@pytest.mark.parametrize("given", [None, 1, {"issuer": "x"}, b"[]", iter(())])
def test_other_values_are_no_configuration(given: Any) -> None:
    """An array, or its JSON text."""
    with pytest.raises(ConfigError, match="expected an array of identity providers"):
        _ = parse_providers(given)


# --- rules about several ---------------------------------------------------------------------


def test_issuer_and_audience_are_unique() -> None:
    """A token must choose one provider."""
    assert refusal(MACHINE, GOOD, {**GOOD, "clientId": "x"}) == (
        "[2]: [1] has the same issuer and audience"
    )


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("JWKSPollSecs", 60),
        ("serverCAFile", "/etc/ssl/corp.pem"),
        ("JWKSUri", f"{ISSUER}/keys"),
        ("allowLoopbackHttp", True),
    ],
)
def test_one_issuer_has_one_way_to_its_keys(name: str, value: object) -> None:
    """Its keys are fetched once for all its providers."""
    said = f"[1].{name}: expected the same as in [0], which has the same issuer"
    assert refusal(GOOD, {**MACHINE, name: value}) == said
    assert refusal({**GOOD, name: value}, MACHINE) == said
    assert len(parse_providers([{**GOOD, name: value}, {**MACHINE, name: value}])) == 2


@pytest.mark.parametrize(
    ("second", "which"),
    [
        ({**MACHINE, "issuer": "https://issuer2.example.com"}, "issuer"),
        ({**MACHINE, "principalName": "email"}, "principal claim"),
    ],
)
def test_a_prefix_means_one_kind_of_name(second: dict[str, object], which: str) -> None:
    """Two principals never become one name: not of two issuers, not of two claims."""
    assert refusal(GOOD, second) == (
        f"[1].authNamePrefix: [0] has it too, with another {which}: two people could have one name"
    )
    assert len(parse_providers([GOOD, {**second, "authNamePrefix": "other"}])) == 2


@pytest.mark.parametrize("lacks", [0, 1, 2])
def test_several_human_providers_need_patterns(lacks: int) -> None:
    """Each of them, machine providers apart."""
    tables = [other(number, matchPattern="x") for number in range(3)]
    del tables[lacks]["matchPattern"]
    said = "required, since several providers answer clients that have no token yet"
    assert refusal(*tables, MACHINE) == f"[{lacks}].matchPattern: {said}"


def test_a_machine_that_answers_step_one_counts() -> None:
    """It is chosen by a name as well, so it has to be told apart."""
    machine = {**MACHINE, "stepOneWithoutClientId": True}
    assert refusal(other(matchPattern="x"), machine).startswith("[1].matchPattern: required")
    assert len(parse_providers([machine])) == 1


# --- patterns --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "pattern",
    [
        r"@corp\.com$",
        r"^.*@corp\.com$",
        r".*@corp\.com",
        r"^[^@]+@[^.]+\.corp\.com$",
        r"[a-z.]+@corp\.com$",
        r"^[a-z]+\.[a-z]+@corp\.com$",
        r"(?i)@(sales|hr|it)\.corp\.com$",
        r"^(?:a|b){1,3}-[0-9]{4}$",
        r"^(?P<user>[a-z]{1,32})(?=@)",
        r"^(abc)+$",
        r"[]a-z]{2,}",
        r"\[[a-z]+\]--x",
        r"[a\[\-\-]",
        r"[^]\]]*x",
        r"\Aa{,3}\Z",
        r"a{}b{c}d{1,x}",
        "x",
        "",
    ],
)
def test_usual_patterns_are_taken(pattern: str) -> None:
    """What people write to tell their names apart."""
    _ = compile_pattern(pattern)


FIRST_FAR = 0x1F300
FAR_CLASS = "[" + "".join(chr(FIRST_FAR + 3 * number) for number in range(430)) + "]"
"""Characters beyond the BMP, none next to another: Python makes no ranges of them."""


@pytest.mark.parametrize(
    "pattern",
    [
        "(a+)+$",
        "(a*)*",
        "(a|a)*$",
        "(a|b|ab)*c",
        "([a-z]+)*@",
        "(?:(?:a?){30})a{30}",
        "a?" * 30 + "a" * 30,
        ".*.*x",
        "^.*.*.*x",
        "x|^.*.*x",
        "(?m)^.*.*x",
        "(?i)[a-z]*[a-z]*(?:b1|c1|d1|e1|f1)",
        "(?i)[a-z]*[a-z]{0,150}[a-z]{60}x",
        "(?i)^(?:([a-z]){0,8}){1,7}" + "[a-z]" * 100 + "x",
        "^a*a*(?=" + "a" * 200 + ")x",
        "^a*a*(?:x|" + "a" * 200 + ")",
        "((a{1,9}){1,9}){1,9}",
        "(.*a){20}",
        "^(?=(a+)+)x",
        "(?:a{0,99}){9,}",
        # Python tries the members of a class beyond the BMP one after the other.
        f"(?i)^.*.*{FAR_CLASS}{{140}}b",
        f".*{FAR_CLASS}{{140}}b",
        f"{FAR_CLASS}*b",
        f"^{FAR_CLASS}*{FAR_CLASS}*b",
        f"^.*{FAR_CLASS}{{0,150}}.{{3}}b",
        rf"\[[]{FAR_CLASS[1:]}*b",
        r"^.*.*[\U0001F300\U0001F303]{100}b",
        r"^.*.*[^\N{CYCLONE}\N{FOGGY}]{100}b",
    ],
)
def test_patterns_that_could_run_for_long_are_refused(pattern: str) -> None:
    """A stranger chooses the text that they are searched in."""
    with pytest.raises(BadPattern, match="could keep the server busy"):
        _ = compile_pattern(pattern)


@pytest.mark.parametrize(
    ("pattern", "said"),
    [
        (r"(a)\1", "references back"),
        (r"(?P<x>a)(?P=x)", "references back"),
        (r"(a)?(?(1)b|c)", "conditions"),
        (r"(?#x)a", "comments"),
        ("(?x)a #[\n(b+)+", "flag x"),
        ("(?x:a)", "flag x"),
        ("(" * 30 + ")" * 30, "20 groups"),
        ("a{99999999999}", "smaller numbers"),
        ("x" * 1001, "1000 characters"),
        ("[[a]]", "with a backslash"),
        ("[a--z]", "with a backslash"),
        ("[^[a]", "with a backslash"),
        ("[a&&b]", "with a backslash"),
        ("[]||b]", "with a backslash"),
        ("[+--]", "with a backslash"),
    ],
)
def test_patterns_that_have_no_price_are_refused(pattern: str, said: str) -> None:
    """What cannot be priced is not guessed at."""
    with pytest.raises(BadPattern, match=said):
        _ = compile_pattern(pattern)


@given(st.text(alphabet="ab(|)*+?{},1[]^$\\.:=!<>P", max_size=24))
def test_any_pattern_is_taken_or_refused(pattern: str) -> None:
    """Nothing but a BadPattern, and what is taken is what `re` takes."""
    try:
        compiled = compile_pattern(pattern)
    except BadPattern:
        return
    assert compiled.pattern == pattern


@pytest.mark.parametrize(
    "pattern",
    [
        "a*a{0,150}x",
        "(?i)[a-z]*[a-z]{0,11}(?:b1|c1|d1|e1|f1)",
        "(?i)[a-z]*[a-z]{0,1}[a-z]{70}x",
        "^.*.*.{0,150}x",
        "(?:a|b){0,9}a{0,30}x",
        "(?i)^(?:([a-z]){0,8}){1,7}(?!)",
        "(?i)^[a-z]*[a-z]*[a-z]{148}x",
        f"^{FAR_CLASS}*{FAR_CLASS}{{0,80}}x",
        f"(?i)^.*{FAR_CLASS}{{80}}x",
        "^.*.*[\U0001f300\U0001f303]{74}x",
        "(?i)^(?:([\U0001f300\U0001f303]){0,8}){1,6}(?!)",
    ],
)
def test_the_dearest_patterns_end(pattern: str) -> None:
    """Among what is taken, the worst text takes some tenth of a second: the bound is for a machine
    that is slower, and busy. With one repetition more each would take seconds.
    """
    compiled = compile_pattern(pattern)
    for letter in ("a", "\U0001f303", chr(FIRST_FAR + 3 * 429)):
        begin = time.process_time()
        assert compiled.search(letter * TEXT_LIMIT) is None
        assert time.process_time() - begin < 1
