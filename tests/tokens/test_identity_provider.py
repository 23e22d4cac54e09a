"""A signed token becomes a login: who it names, what it grants, and why it is refused."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

import pytest

from sasl_core import ConfigError, Result
from sasl_core.plugin import BackendError, HttpRequest, HttpResponse
from sasl_tokens import AuthName, IDPManager, Namespaces, TokenError, TokenLogin, manager
from sasl_tokens.gate import open_token
from sasl_tokens.token import PeekedToken
from token_kit import NOW, FakeIssuer, Ticking, make_key, run

PLAIN_NAMESPACES = Namespaces("", "")


def issuer(name: str = "issuer", clock: Ticking | None = None, **more: Any) -> Any:
    """A FakeIssuer, whose claims may have any name."""
    return FakeIssuer(f"https://{name}.example.com", clock=clock or Ticking(), **more)


def table(of: FakeIssuer, **more: object) -> dict[str, object]:
    """A provider of that issuer; `...` leaves a field out."""
    made = {
        "issuer": of.url,
        "audience": "sasl",
        "authNamePrefix": "corp",
        "clientId": "client",
        "authorizationClaim": "groups",
        **more,
    }
    return {name: value for name, value in made.items() if value is not ...}


def made(of: FakeIssuer, *tables: dict[str, object], **more: Any) -> IDPManager:
    """A manager by the issuer's clock."""
    return IDPManager(tables or (table(of),), clock=of.clock, **more)


def logged_in(of: FakeIssuer, idp: IDPManager, token: str, **more: Any) -> TokenLogin:
    return run(idp.authenticate(token, **more), of.http)


def refused(of: FakeIssuer, idp: IDPManager, token: str, code: str, **more: Any) -> TokenError:
    """The refusal; what it says holds nothing of the token."""
    with pytest.raises(TokenError) as caught:
        _ = logged_in(of, idp, token, **more)
    error = caught.value
    assert error.code == code
    assert str(error) == "authentication failed"
    assert error.detail
    assert not any(part in error.detail for part in token.split(".") if len(part) > 20)
    return error


# --- what a token grants ---------------------------------------------------------------------


def test_the_token_of_the_readme() -> None:
    """A user of $external and one role of admin, both with the prefix."""
    of = FakeIssuer("https://test.kernel.mongodb.com/oidc/issuer1", clock=Ticking(1661374077.0))
    idp = made(
        of,
        table(
            of,
            audience="jwt@kernel.mongodb.com",
            authNamePrefix="myPrefix",
            authorizationClaim="mongodb-roles",
        ),
    )
    token = of.sign(
        {
            "iss": of.url,
            "sub": "user1@mongodb.com",
            "nbf": 1661374077,
            "exp": 2147483647,
            "aud": ["jwt@kernel.mongodb.com"],
            "nonce": "gdfhjj324ehj23k4",
            "mongodb-roles": ["myReadRole"],
        }
    )
    login = logged_in(of, idp, token)
    assert login.principal == "myPrefix/user1@mongodb.com"
    assert str(login.user) == "$external.myPrefix/user1@mongodb.com"
    assert login.issuer == of.url
    assert login.expires_at == 2147483647
    assert login.grants == {
        "principal": (b"user1@mongodb.com",),
        "database": (b"$external",),
        "roles": (b"admin.myPrefix/myReadRole",),
    }
    assert not login.needs_account
    assert login.provider is idp.providers[0]
    assert login.valid(2147483646.9)
    assert not login.valid(2147483647)


def test_other_namespaces() -> None:
    """For whoever is not MongoDB; an empty one leaves the database out."""
    of = issuer()
    idp, token = made(of), of.sign(sub="tim", groups=["a.b"])
    login = logged_in(of, idp, token, namespaces=Namespaces("people", "mail"))
    assert login.user == AuthName("people", "corp/tim")
    assert login.grants["database"] == (b"people",)
    assert login.grants["roles"] == (b"mail.corp/a.b",)
    login = logged_in(of, idp, token, namespaces=PLAIN_NAMESPACES)
    assert login.grants == {"principal": (b"tim",), "roles": (b"corp/a.b",)}
    assert str(login.user) == login.principal == "corp/tim"


def test_plain_names() -> None:
    """The principal alone is the name, where all principals come from one place."""
    of = issuer()
    machine = table(of, audience="jobs", supportsHumanFlows=False, authNamePrefix="jobs")
    idp, token = made(of, table(of), machine), of.sign(sub="tim@corp.example", groups=[])
    login = logged_in(of, idp, token, plain_names=True)
    assert login.principal == "tim@corp.example"
    assert login.grants["principal"] == (b"tim@corp.example",)
    assert idp.plain_names_problem is None
    # The other view is not mixed up with it by the memory of validated tokens.
    assert logged_in(of, idp, token).principal == "corp/tim@corp.example"


@pytest.mark.parametrize(
    "second",
    [
        {"issuer": "https://second.example.com", "authNamePrefix": "second"},
        {"audience": "second", "authNamePrefix": "second", "principalName": "email"},
    ],
)
def test_plain_names_need_one_source(second: dict[str, object]) -> None:
    """With two issuers, or two claims, two people could have one name: nobody gets in."""
    of = issuer()
    idp = made(of, table(of, matchPattern="a"), table(of, matchPattern="b", **second))
    assert idp.plain_names_problem is not None
    token = of.sign(groups=[])
    with pytest.raises(ConfigError, match="without a prefix"):
        _ = logged_in(of, idp, token, plain_names=True)
    # With the prefix they can.
    assert logged_in(of, idp, token).principal == "corp/user"
    with pytest.raises(ConfigError, match="without a prefix"):
        _ = logged_in(of, idp, token, plain_names=True)


@pytest.mark.parametrize(
    "principal", ["a/b", "a.b", "$a", "a@b@c", "\\", "ä ö", "A", "a", "x" * 512]
)
def test_a_principal_is_taken_literally(principal: str) -> None:
    """Nothing in it separates anything, no realm is split off, no case is folded."""
    of = issuer()
    login = logged_in(of, made(of), of.sign(sub=principal, groups=[principal]))
    assert login.principal == f"corp/{principal}"
    assert login.grants["principal"] == (principal.encode(),)
    assert login.grants["roles"] == (f"admin.corp/{principal}".encode(),)
    assert AuthName.parse(login.grants["roles"][0].decode()).name == f"corp/{principal}"


def test_names_of_claims_are_literal() -> None:
    """A dot in the name of a claim is no path."""
    of = issuer()
    idp = made(of, table(of, principalClaim="a.b", authorizationClaim="https://x/roles.$"))
    token = of.sign(**{"a.b": "tim", "a": {"b": "eve"}, "https://x/roles.$": ["r"]})
    login = logged_in(of, idp, token)
    assert (login.principal, login.grants["roles"]) == ("corp/tim", (b"admin.corp/r",))


def test_without_the_authorization_claim_the_stores_are_asked() -> None:
    """The login needs an account, and vouches for no roles, whatever the token holds."""
    of = issuer()
    idp = made(of, table(of, useAuthorizationClaim=False, authorizationClaim=...))
    login = logged_in(of, idp, of.sign(groups=["root"]))
    assert login.needs_account
    assert "roles" not in login.grants


def test_an_empty_array_grants_nothing() -> None:
    """And is a valid answer, other than no claim at all."""
    of = issuer()
    login = logged_in(of, made(of), of.sign(groups=[]))
    assert login.grants["roles"] == ()
    assert not login.needs_account


def test_a_role_twice_is_one() -> None:
    """In the order of the token."""
    of = issuer()
    login = logged_in(of, made(of), of.sign(groups=["b", "a", "b"]))
    assert login.grants["roles"] == (b"admin.corp/b", b"admin.corp/a")


def test_a_single_string_needs_its_option() -> None:
    """With lenientClaims it is an array of one; nothing else becomes an array by it."""
    of = issuer()
    strict, lenient = made(of), made(of, table(of, lenientClaims=True))
    token = of.sign(groups="admins")
    assert "array of strings" in (refused(of, strict, token, "token-claim-type").detail or "")
    assert logged_in(of, lenient, token).grants["roles"] == (b"admin.corp/admins",)
    for value in (None, 1, True, {"admins": True}, ["admins", 1]):
        token = of.sign(of.claims() | {"groups": value})
        _ = refused(of, lenient, token, "token-claim-type")
    _ = refused(of, lenient, of.sign(groups=""), "token-claim-type")
    _ = refused(of, lenient, of.sign(), "token-claim-missing")


def test_what_is_granted_cannot_be_changed() -> None:
    """Whoever reads the grants of one login does not change another's."""
    of = issuer()
    grants: Any = logged_in(of, made(of), of.sign(groups=["a"])).grants
    with pytest.raises(TypeError):
        grants["roles"] = (b"admin.corp/root",)


def test_a_login_shows_no_token() -> None:
    """Neither repr nor str of anything around it."""
    of = issuer()
    idp, token = made(of), of.sign(groups=[])
    login = logged_in(of, idp, token)
    shown = f"{login!r} {login} {idp.providers!r} {idp!r} {login.grants!r} {login.provider!r}"
    assert "corp/user" in shown
    assert not any(part in shown for part in token.split("."))


# --- why it is refused -----------------------------------------------------------------------


def forged(of: FakeIssuer) -> str:
    """A token that somebody else has signed in the name of the issuer's key."""
    kid = of.signer().kid
    return make_key("RS256", kid, 0, "somebody else").sign(of.claims(groups=[]))


LATER = 1_000_000

# what, its provider's other fields, the token, the code, Cyrus's result.
REFUSALS: list[tuple[str, Any, Any, str, Result]] = [
    (
        "unknown kid",
        {},
        lambda of: of.sign(groups=[], header={"kid": "nobody's"}),
        "token-key-unknown",
        Result.BADAUTH,
    ),
    ("bad signature", {}, forged, "token-signature", Result.BADAUTH),
    (
        "not yet valid",
        {},
        lambda of: of.sign(groups=[], nbf=int(NOW) + 61),
        "token-not-yet-valid",
        Result.BADAUTH,
    ),
    (
        "expired",
        {},
        lambda of: of.sign(groups=[], exp=int(NOW)),
        "token-expired",
        Result.EXPIRED,
    ),
    (
        "expired in spite of the skew",
        {"expSkewSecs": 300},
        lambda of: of.sign(groups=[], exp=int(NOW) - 300),
        "token-expired",
        Result.EXPIRED,
    ),
    (
        "lives too long",
        {"maxLifetimeSecs": 60},
        lambda of: of.sign(groups=[]),
        "token-lifetime",
        Result.BADAUTH,
    ),
    (
        "wrong issuer",
        {},
        lambda of: of.sign(groups=[], iss="https://evil.example.com"),
        "token-issuer",
        Result.BADAUTH,
    ),
    (
        "an issuer with another slash",
        {},
        lambda of: of.sign(groups=[], iss=f"{of.url}/"),
        "token-issuer",
        Result.BADAUTH,
    ),
    (
        "wrong audience",
        {},
        lambda of: of.sign(groups=[], aud=["mail", "SASL", "sasl/"]),
        "token-audience",
        Result.BADAUTH,
    ),
    ("no roles", {}, lambda of: of.sign(), "token-claim-missing", Result.BADAUTH),
    *(
        (
            f"roles are {value!r}",
            {},
            lambda of, value=value: of.sign(of.claims() | {"groups": value}),
            "token-claim-type",
            Result.BADAUTH,
        )
        for value in (
            None,
            "admins",
            1,
            {"a": 1},
            [1],
            ["a", None],
            [["a"]],
            [""],
            ["a\n"],
            ["a\0b"],
            ["x" * 513],
            [f"r{number}" for number in range(1001)],
        )
    ),
    (
        "no principal",
        {"principalName": "email"},
        lambda of: of.sign(groups=[]),
        "token-claim-missing",
        Result.BADAUTH,
    ),
    *(
        (
            f"the principal is {value!r}",
            {"principalName": "email"},
            lambda of, value=value: of.sign(of.claims(groups=[]) | {"email": value}),
            "token-claim-type",
            Result.BADAUTH,
        )
        for value in (None, 1, True, ["tim"], {"tim": 1})
    ),
    *(
        (
            f"the principal is {value[:6]!r}",
            {"principalName": "email"},
            lambda of, value=value: of.sign(of.claims(groups=[]) | {"email": value}),
            "token-identity",
            Result.BADAUTH,
        )
        for value in ("", "tim\n", "ti\0m", "a\u202eb", "\u00a0", "x" * 513)
    ),
    (
        "an ID token",
        {},
        lambda of: of.sign(groups=[], at_hash="x"),
        "token-id-token",
        Result.BADAUTH,
    ),
    (
        "at+jwt without its option",
        {},
        lambda of: of.sign(groups=[], header={"typ": "at+jwt"}),
        "token-type",
        Result.BADAUTH,
    ),
    ("no token", {}, lambda of: "not a token", "token-malformed", Result.BADAUTH),
    ("nothing", {}, lambda of: "", "token-malformed", Result.BADAUTH),
    ("not ASCII", {}, lambda of: "é.\ud800.ü", "token-malformed", Result.BADAUTH),
    ("too long", {}, lambda of: "a" * 20_000, "token-too-long", Result.BADAUTH),
]


@pytest.mark.parametrize(
    ("what", "fields", "sign", "code", "result"), REFUSALS, ids=[row[0] for row in REFUSALS]
)
def test_a_refusal(
    what: str,
    fields: dict[str, object],
    sign: Callable[[FakeIssuer], str],
    code: str,
    result: Result,
) -> None:
    """Each with its code and Cyrus's result; the same again, and a good token gets in after it."""
    of = issuer()
    idp, token = made(of, table(of, **fields)), sign(of)
    for _ in range(2):
        assert refused(of, idp, token, code).result is result
    good = of.sign(groups=[], email="tim", exp=int(NOW) + 60)
    assert logged_in(of, idp, good).principal.startswith("corp/")


@pytest.mark.parametrize(
    ("fields", "sign"),
    [
        ({"expSkewSecs": 300}, lambda of: of.sign(groups=[], exp=int(NOW) - 299)),
        ({"maxLifetimeSecs": 3600}, lambda of: of.sign(groups=[])),
        ({"acceptAccessTokenType": True}, lambda of: of.sign(groups=[], header={"typ": "at+jwt"})),
        ({}, lambda of: of.sign(groups=[], nbf=int(NOW) + 60)),
        ({}, lambda of: of.sign(groups=[], aud=["mail", "sasl"])),
        ({}, lambda of: of.sign(groups=[], nonce="n", unknown={"x": [1]})),
        ({}, lambda of: of.sign(groups=[f"r{number}" for number in range(1000)])),
        ({"JWKSUri": "https://issuer.example.com/keys"}, lambda of: of.sign(groups=[])),
    ],
)
def test_what_an_option_lets_in(
    fields: dict[str, object], sign: Callable[[FakeIssuer], str]
) -> None:
    """The same tokens are refused above, or are at the edge of what is."""
    of = issuer()
    login = logged_in(of, made(of, table(of, **fields)), sign(of))
    assert login.principal == "corp/user"
    assert login.valid(NOW)


def test_keys_directly_from_an_address() -> None:
    """With JWKSUri no discovery document is asked for."""
    of = issuer()
    _ = logged_in(of, made(of, table(of, JWKSUri=of.jwks_uri)), of.sign(groups=[]))
    assert [request.url for request in of.requests] == [of.jwks_uri]


def test_the_ca_file_reaches_the_transport() -> None:
    """Every request for keys names it; nothing here opens it."""
    of = issuer()
    _ = logged_in(of, made(of, table(of, serverCAFile="/nowhere/ca.pem")), of.sign(groups=[]))
    assert {request.ca_file for request in of.requests} == {"/nowhere/ca.pem"}


def test_keys_that_cannot_be_fetched_are_an_outage() -> None:
    """A temporary failure, never a bad token; and the login after it succeeds."""
    of = issuer()
    idp, token = made(of), of.sign(groups=[])
    of.down = True
    with pytest.raises(BackendError) as caught:
        _ = logged_in(of, idp, token)
    assert caught.value.temporary
    assert caught.value.result is Result.UNAVAIL
    of.down = False
    of.clock.tick(2)
    assert logged_in(of, idp, token).principal == "corp/user"


def test_a_foreign_issuer_causes_no_request() -> None:
    """Whoever sends tokens of issuers that are not configured makes us ask nobody."""
    of = issuer()
    idp = made(of)
    _ = refused(of, idp, of.sign(iss="https://evil.example.com", groups=[]), "token-issuer")
    _ = refused(of, idp, of.sign(aud="other", groups=[]), "token-audience")
    assert of.requests == []


# --- the hint --------------------------------------------------------------------------------


def test_the_hint_is_the_principal() -> None:
    """Once a name was given it must be the token's, whether it was seen before or not."""
    of = issuer()
    token = of.sign(sub="tim", groups=[])
    for idp in (made(of), made(of, table(of, matchPattern="."))):
        for _ in range(2):
            assert logged_in(of, idp, token, hint="tim").principal == "corp/tim"
            assert logged_in(of, idp, token).principal == "corp/tim"
            for hint in ("eve", "", "Tim", "tim ", "corp/tim", "x" * 5000):
                error = refused(of, idp, token, "oidc-hint-mismatch", hint=hint)
                assert error.result is Result.BADAUTH


def test_a_pattern_is_no_security_check() -> None:
    """Tokens of names that do not match are good."""
    of = issuer()
    idp = made(of, table(of, matchPattern="^nobody$"))
    assert logged_in(of, idp, of.sign(sub="tim", groups=[])).principal == "corp/tim"


# --- which provider --------------------------------------------------------------------------


def test_the_provider_is_that_of_issuer_and_audience() -> None:
    """Each of three providers of two issuers gets its own tokens, and no other's."""
    one, two = issuer("one"), issuer("two")
    tables = [
        table(one, matchPattern="a", authNamePrefix="one"),
        table(one, audience="jobs", supportsHumanFlows=False, authNamePrefix="jobs"),
        table(two, matchPattern="b", authNamePrefix="two"),
    ]
    idp = made(one, *tables)

    def http(request: HttpRequest) -> HttpResponse:
        of: FakeIssuer = one if request.url.startswith(one.url) else two
        return of.http(request)

    for of, audience, prefix in ((one, "sasl", "one"), (one, "jobs", "jobs"), (two, "sasl", "two")):
        login = run(idp.authenticate(of.sign(aud=audience, groups=[])), http)
        assert (login.principal, login.issuer) == (f"{prefix}/user", of.url)
    with pytest.raises(TokenError) as caught:
        _ = run(idp.authenticate(two.sign(aud="jobs", groups=[])), http)
    assert caught.value.code == "token-audience"
    # The other issuer's key does not make tokens of this one.
    with pytest.raises(TokenError) as caught:
        _ = run(idp.authenticate(two.sign(two.claims(iss=one.url, groups=[]))), http)
    assert caught.value.code in ("token-signature", "token-key-unknown")


def test_a_token_for_several_is_the_firsts() -> None:
    """In the order of priority: patterns first, then the array."""
    of = issuer()
    jobs = table(of, audience="jobs", supportsHumanFlows=False, authNamePrefix="jobs")
    token = of.sign(aud=["sasl", "jobs"], groups=[])
    assert logged_in(of, made(of, jobs, table(of)), token).principal == "jobs/user"
    assert logged_in(of, made(of, table(of), jobs), token).principal == "corp/user"
    patterned = table(of, matchPattern="x")
    assert logged_in(of, made(of, jobs, patterned), token).principal == "corp/user"


@pytest.mark.parametrize(
    ("said", "really", "code"),
    [
        ({}, {"aud": "other"}, "token-audience"),
        ({}, {"aud": ["Sasl"]}, "token-audience"),
        ({}, {"iss": "https://evil.example.com"}, "token-issuer"),
    ],
)
def test_a_peek_that_lied_is_caught(
    monkeypatch: pytest.MonkeyPatch, said: dict[str, object], really: dict[str, object], code: str
) -> None:
    """Issuer and audience are compared with the validated token, whatever the peek made of it."""
    of = issuer()
    idp = made(of)

    def lie(token: str) -> PeekedToken:
        return PeekedToken(open_token(token), of.url, ("sasl",))

    monkeypatch.setattr(manager, "peek_issuer_and_audience", lie)
    assert logged_in(of, idp, of.sign(groups=[], **said)).principal == "corp/user"
    error = refused(of, idp, of.sign(groups=[], **really), code)
    assert "than it seemed" in (error.detail or "")


# --- the log ---------------------------------------------------------------------------------


def test_a_success_logs_the_claims(caplog: pytest.LogCaptureFixture) -> None:
    """Those of logClaims that are there, at INFO, each time; never the token."""
    of = issuer()
    log = logging.getLogger("test.idp")
    idp = made(of, table(of, logClaims=["sub", "jti", "gone", "n.a"]), log=log)
    token = of.sign(sub="tim", jti="a\nb" * 500, groups=["secret-role"], **{"n.a": {"x": 1}})
    with caplog.at_level(logging.INFO, "test.idp"):
        login = logged_in(of, idp, token)
        _ = logged_in(of, idp, token)
        _ = run(login.revalidate(), of.http)
    assert len(caplog.records) == 3
    for record in caplog.records:
        message = record.getMessage()
        assert message.startswith("token of 'corp/tim': sub='tim', jti=")
        assert "n.a=" in message
        assert "gone" not in message
        assert "secret-role" not in message
        assert message.isprintable()
        assert len(message) < 1000
        assert not any(part in message for part in token.split("."))


def test_the_default_claims_are_issuer_and_subject(caplog: pytest.LogCaptureFixture) -> None:
    """And an empty list logs none."""
    of = issuer()
    with caplog.at_level(logging.INFO, "test.idp"):
        for tables in (table(of), table(of, logClaims=[])):
            idp = made(of, tables, log=logging.getLogger("test.idp"))
            _ = logged_in(of, idp, of.sign(sub="tim", groups=[]))
    assert [record.getMessage() for record in caplog.records] == [
        f"token of 'corp/tim': iss='{of.url}', sub='tim'",
        "token of 'corp/tim': no claims",
    ]


def test_a_refusal_logs_nothing_here(caplog: pytest.LogCaptureFixture) -> None:
    """It is an error, which whoever runs the exchange logs."""
    of = issuer()
    idp = made(of, log=logging.getLogger("test.idp"))
    with caplog.at_level(logging.DEBUG, "test.idp"):
        _ = refused(of, idp, of.sign(groups=[], exp=int(NOW)), "token-expired")
    assert caplog.records == []
