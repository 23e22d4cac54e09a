"""The manager over time: reload, keys that change, polls, what is remembered, and many at once."""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import attrs
import pytest

from sasl_auxprop.memory import MemoryStore
from sasl_core import ConfigError, Server, UsageError, aio
from sasl_core.plugin import BackendError, HttpRequest, HttpResponse, NeedHttp, Needs
from sasl_tokens import IDPManager, Namespaces, TokenError, TokenLogin, idp_manager
from sasl_tokens import manager as manager_module
from sasl_tokens.bson import encode_document
from sasl_tokens.refresher import KeyFailure, KeySummary
from sasl_tokens.roster import SEEN_LIMIT
from sasl_tokens.token import PeekedToken, peek_issuer_and_audience
from token_kit import NOW, FakeIssuer, Ticking, run

LOG = "test.idp"


@pytest.fixture
def clock() -> Ticking:
    return Ticking()


@pytest.fixture
def of(clock: Ticking) -> Any:
    """A FakeIssuer by that clock."""
    return FakeIssuer(clock=clock)


def table(of: Any, **more: object) -> dict[str, object]:
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


def jobs(of: Any, **more: object) -> dict[str, object]:
    return table(of, audience="jobs", authNamePrefix="jobs", supportsHumanFlows=False, **more)


def made(of: Any, *tables: dict[str, object], **more: Any) -> IDPManager:
    return IDPManager(tables or (table(of),), clock=of.clock, log=logging.getLogger(LOG), **more)


def login(idp: IDPManager, token: str, of: Any, **more: Any) -> TokenLogin:
    return run(idp.authenticate(token, **more), of.http)


def at_once(idp: IDPManager, token: str, **more: Any) -> TokenLogin:
    """A login that asks for nothing."""
    return run(idp.authenticate(token, **more))


def code(body: Needs[object], of: Any) -> str:
    """The code of what it is refused with."""
    with pytest.raises((TokenError, BackendError)) as caught:
        _ = run(body, of.http)
    error: Any = caught.value
    return str(error.code)


def finished(body: Needs[TokenLogin], need: Any, of: Any) -> TokenLogin:
    """The login of a generator that is under way and waits for `need`."""
    while True:
        assert type(need) is NeedHttp
        try:
            need = body.send(of.http(need.request))
        except StopIteration as end:
            made: TokenLogin = end.value
            return made


class Counted:
    """What takes a token apart, counted: a login that was remembered does not come by."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.calls = 0
        self._peek = peek_issuer_and_audience
        monkeypatch.setattr(manager_module, "peek_issuer_and_audience", self)

    def __call__(self, token: str) -> PeekedToken:
        self.calls += 1
        return self._peek(token)


@pytest.fixture
def peeks(monkeypatch: pytest.MonkeyPatch) -> Counted:
    return Counted(monkeypatch)


# --- what is remembered ----------------------------------------------------------------------


def test_a_token_seen_before_is_not_validated_again(of: Any, peeks: Counted) -> None:
    """Its login is the same, and asks for nothing."""
    idp, token = made(of), of.sign(groups=["a"])
    first = login(idp, token, of)
    again = at_once(idp, token)
    assert peeks.calls == 1
    assert (again.principal, again.grants, again.expires_at) == (
        first.principal,
        first.grants,
        first.expires_at,
    )
    assert again.valid(NOW)


def test_the_hint_is_compared_each_time(of: Any, peeks: Counted) -> None:
    """What is remembered was validated without it."""
    idp, token = made(of), of.sign(groups=[])
    _ = login(idp, token, of)
    assert code(idp.authenticate(token, hint="eve"), of) == "oidc-hint-mismatch"
    assert at_once(idp, token, hint="user").principal == "corp/user"
    assert peeks.calls == 1


def test_a_wrong_hint_at_first_does_no_harm(of: Any) -> None:
    """The refusal is of that login, not of the token."""
    idp, token = made(of), of.sign(groups=[])
    assert code(idp.authenticate(token, hint="eve"), of) == "oidc-hint-mismatch"
    assert login(idp, token, of, hint="user").principal == "corp/user"


def test_each_view_is_remembered_by_itself(of: Any) -> None:
    """Names under other namespaces, or without the prefix, are other names."""
    idp, token = made(of), of.sign(groups=["a"])
    views: list[dict[str, Any]] = [
        {},
        {"namespaces": Namespaces("people", "admin")},
        {"namespaces": Namespaces("$external", "mail")},
        {"namespaces": Namespaces("", "")},
        {"plain_names": True},
    ]
    first = [dict(login(idp, token, of, **view).grants) for view in views]
    names = [login(idp, token, of, **view).principal for view in views]
    assert first == [dict(at_once(idp, token, **view).grants) for view in views]
    assert names == [at_once(idp, token, **view).principal for view in views]
    assert len({str(grants) for grants in first[:4]}) == 4
    assert names == ["corp/user"] * 4 + ["user"]


def test_the_clock_is_asked_each_time(of: Any, clock: Ticking) -> None:
    """A token that has expired since is refused, to the second."""
    idp, token = made(of), of.sign(groups=[], exp=int(NOW) + 10)
    early = login(idp, token, of)
    clock.now = int(NOW) + 9.99
    assert at_once(idp, token).valid(clock.now)
    clock.now = int(NOW) + 10
    assert not early.valid(clock.now)
    assert code(idp.authenticate(token), of) == "token-expired"
    # A clock that is set back does not bring a forgotten login back unchecked.
    clock.now = NOW
    assert login(idp, token, of).principal == "corp/user"


def test_a_refusal_is_not_remembered(of: Any, clock: Ticking) -> None:
    """A token that is not valid yet is valid later."""
    idp, token = made(of), of.sign(groups=[], nbf=int(NOW) + 100)
    assert code(idp.authenticate(token), of) == "token-not-yet-valid"
    clock.tick(50)
    assert login(idp, token, of).principal == "corp/user"


def test_no_token_is_kept_in_memory(of: Any) -> None:
    """What is remembered is found by a digest and holds no token; a login holds its own."""
    idp, token = made(of), of.sign(groups=[])
    _ = login(idp, token, of)
    seen = idp._roster.seen
    assert len(seen) == 1
    for key, grant in seen.items():
        values: Any = grant
        shown = repr(key) + repr(attrs.astuple(values, recurse=False))
        assert not any(part in shown for part in token.split("."))


def test_a_token_of_another_spelling_is_another(of: Any) -> None:
    """The digest is of every character: nothing that differs finds what was validated."""
    idp, token = made(of), of.sign(groups=[])
    _ = login(idp, token, of)
    last = "A" if token[-1] != "A" else "B"
    for other in (token + "=", token + " ", token[:-1], token[:-1] + last, token.upper()):
        assert code(idp.authenticate(other), of).startswith("token-")


def test_memory_is_bounded(of: Any, peeks: Counted, monkeypatch: pytest.MonkeyPatch) -> None:
    """The oldest goes first."""
    monkeypatch.setattr("sasl_tokens.roster.SEEN_LIMIT", 3)
    idp = made(of)
    tokens = [of.sign(groups=[], jti=str(number)) for number in range(5)]
    for token in tokens:
        _ = login(idp, token, of)
    assert len(idp._roster.seen) == 3
    peeks.calls = 0
    for token in tokens[2:]:
        _ = at_once(idp, token)
    assert peeks.calls == 0
    _ = at_once(idp, tokens[0])
    assert peeks.calls == 1
    assert len(idp._roster.seen) == 3
    assert SEEN_LIMIT == 4096


def test_a_clock_that_was_set_back_has_tokens_validated_again(
    of: Any, clock: Ticking, peeks: Counted
) -> None:
    """What was good later is not good before its time, though it is remembered."""
    idp, token = made(of), of.sign(groups=[], nbf=int(NOW), iat=int(NOW) - 1000)
    _ = login(idp, token, of)
    clock.tick(-1)
    _ = login(idp, token, of)
    assert peeks.calls == 2
    clock.tick(0.5)
    _ = login(idp, token, of)
    assert peeks.calls == 2
    clock.tick(-100)
    assert code(idp.authenticate(token), of) == "token-not-yet-valid"
    clock.tick(200)
    assert login(idp, token, of).principal == "corp/user"


def test_what_is_large_is_not_remembered(of: Any, peeks: Counted) -> None:
    """Thousands of logins are remembered: none of them may be of any size."""
    idp = made(of, table(of, authNamePrefix="p" * 128))
    small = of.sign(groups=[f"{number:036}" for number in range(40)], scope="mail imap")
    large = [
        of.sign(groups=[str(number) for number in range(100)]),
        of.sign(groups=[], scope=" ".join(str(number) for number in range(200))),
    ]
    for token in (small, *large):
        first = login(idp, token, of)
        assert at_once(idp, token).grants == first.grants
    assert len(idp._roster.seen) == 1
    assert peeks.calls == 1 + 2 * len(large)


@pytest.mark.parametrize("token", [None, b"a.b.c", 5, ["a.b.c"]])
def test_a_token_is_text(of: Any, token: Any) -> None:
    """Anything else is a mistake of the program, and is told as one."""
    idp = made(of)
    for body in (idp.authenticate(token), idp.authenticate_anew(token)):
        with pytest.raises(UsageError, match="a token is a str"):
            _ = run(body, of.http)


# --- keys that change ------------------------------------------------------------------------


def refresh(idp: IDPManager, of: Any) -> None:
    assert run(idp.refresh_keys(), of.http) == ()


def test_a_new_key_beside_the_old_ends_nothing(of: Any) -> None:
    """Additions do not count; the new key is picked up by one fetch."""
    idp, token = made(of), of.sign(groups=[])
    before = login(idp, token, of)
    _ = of.rotate(keep=True)
    of.clock.tick(100)
    assert login(idp, of.sign(groups=[]), of).principal == "corp/user"
    assert of.fetches == 2
    assert before.valid(NOW)
    assert at_once(idp, token).valid(NOW)


def test_a_key_that_vanished_ends_its_issuers_logins(of: Any, clock: Ticking) -> None:
    """They are invalid, the token is refused, and nothing that was remembered helps it."""
    idp, token = made(of), of.sign(groups=[])
    before = login(idp, token, of)
    _ = of.rotate()
    refresh(idp, of)
    assert not before.valid(clock.now)
    assert code(idp.authenticate(token), of) == "token-key-unknown"
    assert code(before.revalidate(), of) == "token-key-unknown"


def test_another_key_under_a_known_name_ends_them_too(of: Any, clock: Ticking) -> None:
    """Tokens of the key that is left have to be validated again, and then are good."""
    kept = of.signer().kid
    of.keys["second"] = of.add("ES256", "second")
    idp, token = made(of), of.sign(groups=["a"], kid=kept)
    before = login(idp, token, of)
    of.keys["second"] = of.add("ES256", "second")
    refresh(idp, of)
    assert not before.valid(clock.now)
    after = run(before.revalidate(), of.http)
    assert after.valid(clock.now)
    assert after.grants == before.grants
    assert at_once(idp, token).valid(clock.now)


def test_the_change_of_one_issuer_is_not_anothers(clock: Ticking) -> None:
    """Logins of the other go on to be valid."""
    one, two = (FakeIssuer(f"https://{name}.example.com", clock=clock) for name in ("one", "two"))
    idp = made(one, table(one, matchPattern="1"), jobs(two))
    first = run(idp.authenticate(one.sign(groups=[])), one.http)
    second = run(idp.authenticate(two.sign(aud="jobs", groups=[])), two.http)
    _ = one.rotate()
    assert run(idp.refresh_keys([one.url]), one.http) == ()
    assert not first.valid(clock.now)
    assert second.valid(clock.now)


# --- revalidation ----------------------------------------------------------------------------


def test_revalidation_reads_the_token_again(of: Any, peeks: Counted) -> None:
    """It uses neither what is remembered of the token nor the roles of the login."""
    idp, token = made(of), of.sign(groups=["a"])
    before = login(idp, token, of)
    for calls in (2, 3):
        after = run(before.revalidate())
        assert peeks.calls == calls
        assert after is not before
        assert after.grants == before.grants


def test_revalidation_is_by_the_configuration_of_now(of: Any) -> None:
    """Other roles, another prefix, another principal, no provider any more."""
    idp, token = made(of), of.sign(groups=["a"], teams=["b", "c"], email="tim@corp.example")
    before = login(idp, token, of)
    idp.reload([table(of, authorizationClaim="teams")])
    assert not before.valid(NOW)
    after = run(before.revalidate(), of.http)
    assert after.grants["roles"] == (b"admin.corp/b", b"admin.corp/c")
    assert after.valid(NOW)
    assert before.grants["roles"] == (b"admin.corp/a",)
    for changed in ({"authNamePrefix": "other"}, {"principalName": "email"}):
        idp.reload([table(of, **changed)])
        assert code(before.revalidate(), of) == "token-principal-changed"
    idp.reload([table(of, audience="other")])
    assert code(before.revalidate(), of) == "token-audience"
    idp.reload([])
    assert code(before.revalidate(), of) == "token-issuer"


def test_revalidation_keeps_the_view(of: Any) -> None:
    """Namespaces and plain names are those of the login."""
    idp, token = made(of), of.sign(groups=["a"])
    before = login(idp, token, of, namespaces=Namespaces("", "x"), plain_names=True)
    after = run(before.revalidate())
    assert (after.principal, after.grants) == ("user", before.grants)
    second = FakeIssuer("https://second.example.com", clock=of.clock)
    idp.reload([table(of), jobs(second)])
    with pytest.raises(ConfigError, match="without a prefix"):
        _ = run(before.revalidate())


def test_revalidation_after_the_end_is_refused(of: Any, clock: Ticking) -> None:
    """The same token cannot be made valid again."""
    idp, token = made(of), of.sign(groups=[], exp=int(NOW) + 10)
    before = login(idp, token, of)
    clock.tick(11)
    assert code(before.revalidate(), of) == "token-expired"


def test_revalidation_without_keys_is_an_outage(of: Any) -> None:
    """Whoever asks may try again; nobody is told that the token is bad."""
    idp, token = made(of), of.sign(groups=[])
    before = login(idp, token, of)
    idp.reload([table(of, JWKSUri=of.jwks_uri)])  # keys from another place: none yet
    of.down = True
    with pytest.raises(BackendError) as caught:
        _ = run(before.revalidate(), of.http)
    assert caught.value.temporary


# --- reload ----------------------------------------------------------------------------------


def test_an_audience_that_is_the_client_is_warned_of(
    of: Any, caplog: pytest.LogCaptureFixture
) -> None:
    """ID tokens are for the client: once for each provider, when it comes into force."""
    same = table(of, audience="client")
    with caplog.at_level(logging.WARNING, LOG):
        idp = made(of, same, jobs(of))
        (record,) = caplog.records
        assert record.levelname == "WARNING"
        assert of.url in caplog.text
        assert "audience" in caplog.text
        caplog.clear()
        idp.reload([same, jobs(of)])
        idp.reload([table(of), jobs(of, clientId="else")])
        assert caplog.records == []
        with pytest.raises(ConfigError):
            idp.reload([same, same])
        assert caplog.records == []
        idp.reload([table(of), jobs(of, clientId="jobs")])
        assert len(caplog.records) == 1


def test_reload_takes_all_forms(of: Any) -> None:
    """An array of tables, or its JSON text."""
    idp = IDPManager(clock=of.clock)
    assert (idp.configured, idp.providers) == (False, ())
    idp.reload([table(of)])
    assert idp.configured
    idp.reload('[{"issuer": "https://x.example.com", "audience": "a", "authNamePrefix": "p",'
               ' "supportsHumanFlows": false, "useAuthorizationClaim": false}]')  # fmt: skip
    assert [provider.config.issuer for provider in idp.providers] == ["https://x.example.com"]


@pytest.mark.parametrize("bad", ["[", "[{}]", [{"issuer": 1}], "{}"])
def test_a_bad_configuration_leaves_the_old_one(of: Any, bad: Any) -> None:
    """It goes on to serve as if nothing had happened, with what it remembers."""
    idp, token = made(of), of.sign(groups=[])
    before, providers = login(idp, token, of), idp.providers
    with pytest.raises(ConfigError):
        idp.reload(bad)
    assert idp.providers is providers
    assert before.valid(NOW)
    assert at_once(idp, token).principal == "corp/user"
    assert IDPManager().configured is False
    with pytest.raises(ConfigError):
        _ = IDPManager(bad)


def test_what_stays_the_same_is_carried_over(of: Any) -> None:
    """Keys are not fetched again, and logins of unchanged providers stay valid."""
    idp, token = made(of, table(of), jobs(of)), of.sign(groups=[])
    before = login(idp, token, of)
    job = login(idp, of.sign(aud="jobs", groups=[]), of)
    of.down = True
    idp.reload([table(of), jobs(of, authorizationClaim="teams")])
    assert before.valid(NOW)
    assert not job.valid(NOW)
    assert at_once(idp, token).principal == "corp/user"
    assert of.fetches == 1


def test_nothing_remembered_outlives_a_reload(of: Any, peeks: Counted) -> None:
    """The same token is validated again, by the new rules."""
    idp, token = made(of), of.sign(groups=["a"])
    _ = login(idp, token, of)
    idp.reload([table(of)])
    _ = at_once(idp, token)
    assert peeks.calls == 2
    idp.reload([table(of, maxLifetimeSecs=60)])
    assert code(idp.authenticate(token), of) == "token-lifetime"


def test_another_poll_interval_keeps_the_keys(of: Any, clock: Ticking) -> None:
    """The interval counts from now on."""
    idp, token = made(of), of.sign(groups=[])
    _ = login(idp, token, of)
    idp.reload([table(of, JWKSPollSecs=60)])
    _ = at_once(idp, token)
    clock.tick(61)
    _ = login(idp, token, of)
    assert of.fetches == 2
    idp.reload([table(of)])
    clock.tick(600)
    _ = at_once(idp, token)


@pytest.mark.parametrize(
    "change",
    [
        {"serverCAFile": "/ca.pem"},
        {"JWKSUri": "https://issuer.example.com/keys"},
        {"allowLoopbackHttp": True},
    ],
)
def test_another_way_to_the_keys_fetches_them_anew(of: Any, change: dict[str, Any]) -> None:
    """What was fetched over a connection that is not trusted any more is not used."""
    idp, token = made(of), of.sign(groups=[])
    before = login(idp, token, of)
    idp.reload([table(of, **change)])
    assert not before.valid(NOW)
    assert idp.list_keys() == {of.url: ()}
    assert login(idp, token, of).valid(NOW)
    assert of.fetches == 2


def test_a_login_under_way_is_judged_by_the_newest(of: Any) -> None:
    """A configuration that comes while keys are fetched is the one that counts."""
    idp, token = made(of), of.sign(groups=["a"], teams=["b"])
    body = idp.authenticate(token)
    need: Any = body.send(None)
    idp.reload([table(of, authorizationClaim="teams")])
    found = finished(body, need, of)
    assert found.grants["roles"] == (b"admin.corp/b",)
    assert found.valid(NOW)


def test_a_login_under_way_is_refused_by_the_newest(of: Any) -> None:
    """Also when its provider is gone."""
    idp = made(of)
    body = idp.authenticate(of.sign(groups=[]))
    need: Any = body.send(None)
    idp.reload([])
    with pytest.raises(TokenError) as caught:
        _ = finished(body, need, of)
    assert caught.value.code == "token-issuer"


def test_after_close_nobody_gets_in(of: Any) -> None:
    """Logins end, what was remembered is gone, and a reload does not bring it back."""
    idp, token = made(of), of.sign(groups=[])
    before = login(idp, token, of)
    idp.close()
    idp.close()
    assert not before.valid(NOW)
    with pytest.raises(UsageError, match="closed"):
        _ = run(idp.authenticate(token), of.http)
    with pytest.raises(UsageError, match="closed"):
        idp.reload([table(of)])


# --- keys, by hand ---------------------------------------------------------------------------


def test_listing_keys(of: Any) -> None:
    """Per issuer, what is no secret of each; nothing before they were fetched."""
    idp = made(of, table(of), jobs(of))
    assert idp.list_keys() == {of.url: ()}
    key = of.signer()
    refresh(idp, of)
    wanted = {of.url: (KeySummary(key.kid, "RSA", "RS256"),)}
    assert idp.list_keys() == idp.list_keys([of.url]) == wanted
    assert idp.list_keys([]) == {}
    assert of.fetches == 1


def test_an_unknown_issuer_is_an_error_of_the_caller(of: Any) -> None:
    """Neither listed nor refreshed, nor any of the others named with it."""
    idp = made(of)
    with pytest.raises(UsageError, match=r"https://x\.example"):
        _ = idp.list_keys([of.url, "https://x.example"])
    with pytest.raises(UsageError, match=r"https://x\.example"):
        _ = run(idp.refresh_keys([of.url, "https://x.example"]), of.http)
    assert of.requests == []


def three(clock: Ticking) -> tuple[list[FakeIssuer], IDPManager, Callable[..., HttpResponse]]:
    """Three issuers, the one in the middle down."""
    issuers = [FakeIssuer(f"https://{name}.example.com", clock=clock) for name in "abc"]
    issuers[1].down = True
    tables = [
        table(each, matchPattern=each.url, authNamePrefix=f"p{number}")
        for number, each in enumerate(issuers)
    ]

    def http(request: HttpRequest) -> HttpResponse:
        return next(each for each in issuers if request.url.startswith(each.url)).http(request)

    return issuers, made(issuers[0], *tables), http


def test_refreshing_goes_on_after_a_failure(clock: Ticking) -> None:
    """All issuers are asked; the list says which failed and why."""
    issuers, idp, http = three(clock)
    (failure,) = run(idp.refresh_keys(), http)
    assert failure == KeyFailure(issuers[1].url, failure.detail)
    assert "connection refused" in failure.detail
    assert [len(keys) for keys in idp.list_keys().values()] == [1, 0, 1]
    issuers[1].down = False
    assert run(idp.refresh_keys([issuers[1].url]), http) == ()
    assert [each.fetches for each in issuers] == [1, 1, 1]


def test_a_failed_refresh_keeps_the_keys(of: Any) -> None:
    """Logins go on with what there was."""
    idp, token = made(of), of.sign(groups=[])
    before = login(idp, token, of)
    of.answers["/keys"] = HttpResponse(200, (("content-type", "application/json"),), b"{}")
    (failure,) = run(idp.refresh_keys(), of.http)
    assert failure.issuer == of.url
    assert before.valid(NOW)
    assert at_once(idp, token).valid(NOW)


def test_a_transport_may_give_names_of_headers_as_they_came(of: Any) -> None:
    """Discovery and keys are known by their type all the same."""

    def http(request: HttpRequest) -> HttpResponse:
        response = of.http(request)
        headers = tuple((name.title(), value) for name, value in response.headers)
        assert headers[0][0] == "Content-Type"
        return HttpResponse(response.status, headers, response.body)

    assert run(made(of).authenticate(of.sign(groups=[])), http).principal == "corp/user"


@pytest.mark.parametrize("first", ["OAUTHBEARER", "MONGODB-OIDC"])
def test_the_manager_of_a_server_logs_under_a_name_of_its_own(
    first: str, caplog: pytest.LogCaptureFixture
) -> None:
    """Whichever mechanism came first and made it, and whichever the login is by."""
    of = FakeIssuer(clock=time.time)
    config = {"identity_providers": [table(of)], "allow_cleartext": True}
    messages = {
        "OAUTHBEARER": b"n,,\1auth=Bearer %b\1\1" % of.sign(groups=[]).encode(),
        "MONGODB-OIDC": encode_document({"jwt": of.sign(groups=[])}),
    }
    with (
        caplog.at_level(logging.INFO, "sasl_core"),
        Server("imap", "h.example", config=config, http=of.http, stores=[MemoryStore()]) as server,
    ):
        for mechanism in (first, *messages):
            with server.session() as session:
                assert session.start(mechanism, messages[mechanism]).done
    names = {each.name for each in caplog.records if "token of" in each.getMessage()}
    assert names == {"sasl_core.tokens"}


def test_warming_up_warns_and_recovers(clock: Ticking, caplog: pytest.LogCaptureFixture) -> None:
    """A start with an unreachable issuer goes on; the login that needs its keys fetches them."""
    issuers, idp, http = three(clock)
    assert not any(each.requests for each in issuers)  # nothing is fetched when it is made
    with caplog.at_level(logging.WARNING, LOG):
        (failure,) = run(idp.warm_up(), http)
    assert [record.levelname for record in caplog.records] == ["WARNING"]
    assert issuers[1].url in caplog.text
    assert failure.detail in caplog.text
    fetches = issuers[0].fetches
    assert run(idp.authenticate(issuers[0].sign(groups=[])), http).principal == "p0/user"
    assert issuers[0].fetches == fetches
    with pytest.raises(BackendError):
        _ = run(idp.authenticate(issuers[1].sign(groups=[])), http)
    issuers[1].down = False
    clock.tick(5)
    assert run(idp.authenticate(issuers[1].sign(groups=[])), http).principal == "p1/user"


def test_warming_up_nothing(of: Any) -> None:
    """Without providers there is nothing to fetch, and nothing to warn of."""
    assert run(IDPManager().warm_up()) == ()


# --- polls -----------------------------------------------------------------------------------


class Every:
    """Periodic work as it is registered, run when the test says so."""

    def __init__(self) -> None:
        self.jobs: list[tuple[float, Callable[[], Needs[object]]]] = []

    def __call__(self, seconds: float, body: Callable[[], Needs[object]]) -> None:
        self.jobs.append((seconds, body))

    def look(self, of: Any) -> None:
        for _, body in self.jobs:
            _ = run(body(), of.http)


def test_polls_are_driven(of: Any, clock: Ticking) -> None:
    """Keys are fetched when the interval has passed, and not before; logins fetch nothing."""
    every = Every()
    idp, token = made(of, table(of, JWKSPollSecs=60), every=every), of.sign(groups=[])
    assert [seconds for seconds, _ in every.jobs] == [5.0]
    every.look(of)
    assert of.fetches == 1
    for _ in range(11):
        clock.tick(5)
        every.look(of)
        _ = at_once(idp, token)
    assert of.fetches == 1
    clock.tick(5)
    _ = at_once(idp, token)  # due, but it is looked after
    every.look(of)
    every.look(of)
    assert of.fetches == 2
    _ = of.rotate()
    clock.tick(60)
    every.look(of)
    assert code(idp.authenticate(token), of) == "token-key-unknown"


def test_without_polls_nothing_is_registered(of: Any) -> None:
    """And nothing is fetched again, however late it is."""
    every = Every()
    idp, token = made(of, every=every), of.sign(groups=[], exp=int(NOW) + 10**6)
    _ = login(idp, token, of)
    of.clock.tick(10**5)
    _ = at_once(idp, token)
    assert every.jobs == []


def test_a_reload_registers_what_a_shorter_interval_needs(of: Any) -> None:
    """Once each; a longer one is served by what is there."""
    every = Every()
    idp = made(of, every=every)
    for poll in (60, 3600, 60, 2, 60, 1, 1, 0):
        idp.reload([table(of, JWKSPollSecs=poll)])
    assert [seconds for seconds, _ in every.jobs] == [5.0, 2, 1]
    idp.reload([table(of, JWKSPollSecs=60)])
    every.look(of)
    assert of.fetches == 1  # three jobs, one fetch


def test_a_poll_that_fails_warns_and_keeps_the_keys(
    of: Any, clock: Ticking, caplog: pytest.LogCaptureFixture
) -> None:
    """The other issuers are polled all the same, and logins go on."""
    second = FakeIssuer("https://second.example.com", clock=clock)
    every = Every()
    idp = made(of, table(of, JWKSPollSecs=60), jobs(second, JWKSPollSecs=60), every=every)

    def http(request: HttpRequest) -> HttpResponse:
        asked: FakeIssuer = of if request.url.startswith(of.url) else second
        return asked.http(request)

    assert run(idp.refresh_keys(), http) == ()
    of.down = True
    clock.tick(61)
    with caplog.at_level(logging.WARNING, LOG):
        for _, body in every.jobs:
            _ = run(body(), http)
    assert "connection refused" in caplog.text
    assert second.fetches == 2
    assert at_once(idp, of.sign(groups=[])).principal == "corp/user"


def test_where_nothing_drives_them_the_login_polls(of: Any, clock: Ticking) -> None:
    """The one that finds the poll due does, with a token that was seen before too; no other."""
    idp, token = made(of, table(of, JWKSPollSecs=60)), of.sign(groups=[])
    _ = login(idp, token, of)
    clock.tick(59)
    _ = at_once(idp, token)
    clock.tick(2)
    _ = login(idp, token, of)
    assert of.fetches == 2
    _ = at_once(idp, token)
    clock.tick(61)
    _ = of.rotate()
    assert code(idp.authenticate(token), of) == "token-key-unknown"
    assert of.fetches == 3


def test_a_driver_that_has_stopped_is_replaced_by_logins(of: Any, clock: Ticking) -> None:
    """A job that was registered and is never run does not stop the polling."""
    every = Every()
    idp, token = made(of, table(of, JWKSPollSecs=60), every=every), of.sign(groups=[])
    _ = login(idp, token, of)
    clock.tick(61)
    _ = login(idp, token, of)
    assert of.fetches == 2
    every.look(of)
    clock.tick(61)
    _ = login(idp, token, of)
    assert of.fetches == 3


def test_a_driver_may_take_as_long_as_a_load_and_the_wait_for_another(
    of: Any, clock: Ticking
) -> None:
    """Logins do not see to polls before that, and a tick, have passed."""
    every = Every()
    idp, token = made(of, table(of, JWKSPollSecs=10), every=every), of.sign(groups=[])
    every.look(of)
    (refresher,) = idp._refreshers()
    clock.tick(refresher.keys.longest + 4.9)
    _ = at_once(idp, token)
    clock.tick(0.2)
    _ = login(idp, token, of)
    assert of.fetches == 2


def test_no_login_waits_for_anothers_poll(
    of: Any, clock: Ticking, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While a poll is under way, and a moment after one that was left; a poll that a driver let
    lie for longer than a load may take does not stop the polling.
    """
    idp, token = made(of, table(of, JWKSPollSecs=60)), of.sign(groups=[])
    _ = login(idp, token, of)
    clock.tick(61)
    polling: Any = idp.authenticate(token)
    assert type(next(polling)) is NeedHttp
    _ = at_once(idp, token)
    polling.close()
    _ = at_once(idp, token)
    clock.tick(0.2)
    _ = login(idp, token, of)
    assert of.fetches == 2
    clock.tick(61)
    monkeypatch.setattr("sasl_tokens.loads.GRACE", 0.02 - 10)
    lying: Any = idp.authenticate(token)
    assert type(next(lying)) is NeedHttp
    time.sleep(0.03)
    overdue: Any = idp.authenticate(token)
    assert type(next(overdue)) is NeedHttp
    overdue.close()
    lying.close()


def test_a_login_whose_poll_fails_goes_on(
    of: Any, clock: Ticking, caplog: pytest.LogCaptureFixture
) -> None:
    """With the keys that there are; the next ones are not held up by another attempt."""
    idp, token = made(of, table(of, JWKSPollSecs=60)), of.sign(groups=[])
    _ = login(idp, token, of)
    of.down = True
    clock.tick(61)
    with caplog.at_level(logging.WARNING, LOG):
        assert login(idp, token, of).valid(clock.now)
    assert "connection refused" in caplog.text
    asked = len(of.requests)
    assert at_once(idp, token).valid(clock.now)
    assert at_once(idp, of.sign(groups=[], jti="2")).valid(clock.now)
    assert len(of.requests) == asked


# --- many at once ----------------------------------------------------------------------------


class Gate:
    """A transport that answers nobody before it is opened."""

    def __init__(self, of: Any) -> None:
        self.of = of
        self.asked = threading.Event()
        self.open = threading.Event()

    def __call__(self, request: HttpRequest) -> HttpResponse:
        self.asked.set()
        assert self.open.wait(10)
        of: FakeIssuer = self.of
        return of.http(request)


@pytest.fixture
def pool() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(16) as made:
        yield made


def test_logins_share_one_fetch(of: Any, pool: ThreadPoolExecutor) -> None:
    """Sixteen threads with a token each, keys that nobody has yet: one request for keys."""
    idp, gate = made(of), Gate(of)
    tokens = [of.sign(groups=[], sub=f"user{number}") for number in range(16)]

    def log_in(token: str) -> str:
        return run(idp.authenticate(token), gate).principal

    futures = [pool.submit(log_in, token) for token in tokens]
    assert gate.asked.wait(10)
    gate.open.set()
    names = [future.result(20) for future in futures]
    assert names == [f"corp/user{number}" for number in range(16)]
    assert of.fetches == 1


def test_tasks_share_one_fetch_and_hold_nobody_up() -> None:
    """In asyncio too; a task whose keys are there does not wait for those of another issuer."""
    slow, of = (FakeIssuer(f"https://{name}.example.com") for name in ("slow", "of"))
    gate = Gate(slow)

    def http(request: HttpRequest) -> HttpResponse:
        return gate(request) if request.url.startswith(slow.url) else of.http(request)

    async def scene() -> list[str]:
        config: dict[str, Any] = {"identity_providers": [table(of), jobs(slow)]}
        async with aio.Server("imap", "localhost", config=config, http=http) as server:
            idp = idp_manager(server.utils)
            tokens = [slow.sign(aud="jobs", groups=[], sub=str(number)) for number in range(8)]
            waiting = [asyncio.create_task(server.run(idp.authenticate(t))) for t in tokens]
            assert await asyncio.to_thread(gate.asked.wait, 10)
            quick = await server.run(idp.authenticate(of.sign(groups=[])))
            assert not any(task.done() for task in waiting)
            gate.open.set()
            return [quick.principal, *[login.principal for login in await asyncio.gather(*waiting)]]

    assert asyncio.run(scene()) == ["corp/user", *[f"jobs/{number}" for number in range(8)]]
    assert (slow.fetches, of.fetches) == (1, 1)


def test_a_thousand_unknown_keys_cause_one_fetch(of: Any) -> None:
    """Whoever makes keys up makes the issuer's server no work, and gets nobody else refused."""
    idp, good = made(of), of.sign(groups=[])
    _ = login(idp, good, of)
    of.clock.tick(100)
    for number in range(1000):
        token = of.sign(groups=[], header={"kid": f"made up {number}"})
        assert code(idp.authenticate(token), of) == "token-key-unknown"
    assert of.fetches == 2
    assert at_once(idp, good).principal == "corp/user"


def test_a_hanging_issuer_holds_up_nobody_else(clock: Ticking, pool: ThreadPoolExecutor) -> None:
    """While one login waits for keys, logins that need none go on, seen before or not."""
    slow, of = (FakeIssuer(f"https://{name}.example.com", clock=clock) for name in ("slow", "of"))
    idp, gate = made(of, table(of), jobs(slow)), Gate(slow)
    _ = login(idp, of.sign(groups=[]), of)
    waiting = pool.submit(lambda: run(idp.authenticate(slow.sign(aud="jobs", groups=[])), gate))
    assert gate.asked.wait(10)
    for number in range(5):
        assert at_once(idp, of.sign(groups=[], jti=str(number))).principal == "corp/user"
    idp.reload([table(of), jobs(slow)])  # nor does a reload wait
    assert not waiting.done()
    gate.open.set()
    assert waiting.result(20).principal == "jobs/user"


def test_reloads_and_logins_at_once(of: Any, pool: ThreadPoolExecutor) -> None:
    """Every login is judged by one configuration as a whole: prefix and roles belong together."""
    token = of.sign(groups=["a"], teams=["b"])
    kinds = [
        table(of, authNamePrefix="one", authorizationClaim="groups"),
        table(of, authNamePrefix="two", authorizationClaim="teams"),
    ]
    idp = made(of, kinds[0])
    _ = login(idp, token, of)
    stop = threading.Event()

    def reload() -> None:
        number = 0
        while not stop.is_set():
            number += 1
            idp.reload([kinds[number % 2]])

    def log_in() -> set[tuple[str, bytes]]:
        logins = [run(idp.authenticate(token), of.http) for _ in range(300)]
        return {(each.principal, each.grants["roles"][0]) for each in logins}

    reloader = pool.submit(reload)
    try:
        found = set[tuple[str, bytes]]().union(
            *[future.result(60) for future in [pool.submit(log_in) for _ in range(4)]]
        )
    finally:
        stop.set()
    reloader.result(10)
    assert found <= {("one/user", b"admin.one/a"), ("two/user", b"admin.two/b")}
    assert of.fetches == 1


def test_many_threads_and_little_memory(
    of: Any, pool: ThreadPoolExecutor, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Remembering and forgetting at once breaks nothing, and the bound holds afterwards."""
    monkeypatch.setattr("sasl_tokens.roster.SEEN_LIMIT", 8)
    idp = made(of)
    tokens = [of.sign(groups=[], sub=f"user{number}") for number in range(24)]
    _ = login(idp, tokens[0], of)

    def work(offset: int) -> None:
        for number in range(200):
            index = (number * 7 + offset) % len(tokens)
            assert at_once(idp, tokens[index]).principal == f"corp/user{index}"

    for future in [pool.submit(work, offset) for offset in range(8)]:
        future.result(60)
    assert len(idp._roster.seen) <= 8


# --- in a Server -----------------------------------------------------------------------------


def server(of: Any, **config: Any) -> Server:
    return Server("imap", "localhost", config=config, http=of.http)


def test_a_server_has_one_manager() -> None:
    """Whoever asks gets the same, made of the server's configuration, and closed with it."""
    of = FakeIssuer()
    with server(of, identity_providers=[table(of)]) as made:
        idp = idp_manager(made.utils)
        assert idp_manager(made.utils) is idp
        assert idp.configured
        token = of.sign(groups=[])
        found = made.run(idp.authenticate(token))
        assert found.principal == "corp/user"
        assert made.run(idp.warm_up()) == ()
    with pytest.raises(UsageError, match="closed"):
        _ = run(idp.authenticate(token))


def test_a_server_without_providers() -> None:
    """Its manager is there and not configured; a reload configures it."""
    of = FakeIssuer()
    with server(of) as made:
        idp = idp_manager(made.utils)
        assert not idp.configured
        idp.reload([table(of)])
        assert idp_manager(made.utils).configured


def test_a_server_with_a_bad_configuration() -> None:
    """Whoever asks is told, each time."""
    of = FakeIssuer()
    with server(of, identity_providers='[{"issuer": 1}]') as made:
        for _ in range(2):
            with pytest.raises(ConfigError, match=r"\[0\]\.issuer: expected printable text"):
                _ = idp_manager(made.utils)


def test_a_server_polls() -> None:
    """The job that is registered may wait for the net, and does what is due."""
    of = FakeIssuer()
    with server(of, identity_providers=[table(of, JWKSPollSecs=1)]) as made:
        idp = idp_manager(made.utils)
        (job,) = made._core.jobs
        assert (job.seconds, job.waits) == (1, True)
        _ = made.run(job.body())
        assert of.fetches == 1
        assert idp.list_keys() != {of.url: ()}


def test_needs_are_http_alone(of: Any) -> None:
    """A login asks for nothing but what an issuer answers."""
    body = made(of).authenticate(of.sign(groups=[]))
    assert finished(body, body.send(None), of).principal == "corp/user"
    assert [request.method for request in of.requests] == ["GET", "GET"]
