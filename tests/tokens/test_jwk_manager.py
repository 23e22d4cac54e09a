"""The keys of an issuer: loaded, kept, loaded again, and never more often than is good."""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from sasl_core.plugin import (
    BackendError,
    HttpRequest,
    HttpResponse,
    NeedCall,
    NeedHttp,
    SaslError,
    UsageError,
)
from sasl_tokens import JWKManager, JWSValidatedToken, TokenError, UrlProblem, check_url, discover
from sasl_tokens.discovery import discovery_urls, parse_discovery
from token_kit import (
    FakeIssuer,
    Ticking,
    arun,
    b64,
    compact,
    json_response,
    make_key,
    refusal,
    run,
    unb64,
)

OPENID = "/.well-known/openid-configuration"
OAUTH = "/.well-known/oauth-authorization-server"


@pytest.fixture
def clock() -> Ticking:
    """A clock that stands still."""
    return Ticking()


@pytest.fixture
def issuer(clock: Ticking) -> FakeIssuer:
    """An issuer by that clock."""
    return FakeIssuer(clock=clock)


def kid_of(issuer: FakeIssuer) -> str:
    return issuer.signer().kid


def failure(body: Any, issuer: FakeIssuer) -> SaslError:
    """The error with which a generator ends."""
    with pytest.raises(SaslError) as caught:
        run(body, issuer.http)
    return caught.value


# --- addresses ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    "url",
    [
        "https://issuer.example.com",
        "https://issuer.example.com/",
        "https://issuer.example.com:8443/a/b?c=d",
        "https://[2001:db8::1]/x",
        "https://192.0.2.1/x",
        "https://localhost/x",
        "https://a_b.example/x",
    ],
)
def test_addresses_that_are_asked(url: str) -> None:
    """By https whatever host."""
    assert check_url(url, what="x") == (url, False)


@pytest.mark.parametrize(
    "host", ["localhost", "LOCALHOST", "127.0.0.1", "127.255.0.9", "[::1]", "localhost:8080"]
)
def test_this_machine_may_be_asked_in_clear_text(host: str) -> None:
    """Only where somebody allowed that."""
    url = f"http://{host}/x"
    assert check_url(url, what="x", allow_loopback_http=True) == (url, True)
    with pytest.raises(UrlProblem, match=r"^x: http to this machine needs allowLoopbackHttp$"):
        _ = check_url(url, what="x")


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("http://issuer.example.com", "https only"),
        ("http://localhost.example.com/", "https only"),
        ("http://localhost./", "https only"),
        ("http://127.0.0.1.example.com/", "https only"),
        ("http://127.0.0.256/", "https only"),
        ("http://127.1/", "https only"),
        ("http://1127.0.0.1/", "https only"),
        ("http://0127.0.0.1/", "https only"),
        ("http://2130706433/", "https only"),
        ("http://0.0.0.0/", "https only"),
        ("http://169.254.169.254/latest/", "https only"),
        ("http://[::ffff:127.0.0.1]/", "https only"),
        ("http://localhost:pw@host/", "names a user"),
        ("http://localhost@evil.example/", "names a user"),
        ("https://user:pw@issuer.example.com/", "names a user"),
        ("https://issuer.example.com#@localhost", "fragment"),
        ("https://issuer.example.com/#x", "fragment"),
        ("https://issuer.example.com\\@localhost/", "character"),
        ("https://evil.example\\.issuer.example.com/", "character"),
        ("https://issuer.example.com/a b", "character"),
        ("https://issuer.example.com/\r\nHost: x", "character"),
        ("https://issuer.example.com\n", "character"),
        ("https://issu\u00e9r.example/", "character"),
        ("https:///x", "character"),
        ("https://", "character"),
        ("https://:80/", "character"),
        ("https://a:0/", "port"),
        ("https://a:65536/", "port"),
        ("https://a:123456/", "character"),
        ("https://a:/", "character"),
        ("https://-a-/", "no name"),
        ("https://[::1/", "character"),
        ("HTTPS://issuer.example.com", "begin with"),
        ("ftp://issuer.example.com", "begin with"),
        ("file:///etc/passwd", "begin with"),
        ("//issuer.example.com", "begin with"),
        ("issuer.example.com", "begin with"),
        ("", "begin with"),
        ("https://a/" + "x" * 2048, "more than 2048"),
    ],
)
def test_addresses_that_are_not(url: str, said: str) -> None:
    """What is not https, or what two readers may take for different hosts."""
    with pytest.raises(UrlProblem, match=r"^the address: ") as caught:
        _ = check_url(url, what="the address", allow_loopback_http=True)
    assert said in caught.value.problem
    assert "pw" not in caught.value.problem


def test_a_manager_needs_an_address() -> None:
    """A wrong one is said at once, before anything is fetched."""
    with pytest.raises(UsageError):
        _ = JWKManager()
    for issuer, keys in (("http://a", None), (None, "http://localhost/"), ("", None)):
        with pytest.raises(UrlProblem):
            _ = JWKManager(issuer, keys)


# --- discovery ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("url", "openid", "oauth"),
    [
        ("https://a.example", f"https://a.example{OPENID}", f"https://a.example{OAUTH}"),
        ("https://a.example/", f"https://a.example{OPENID}", f"https://a.example{OAUTH}"),
        (
            "https://a.example/t/1",
            f"https://a.example/t/1{OPENID}",
            f"https://a.example{OAUTH}/t/1",
        ),
        ("https://a.example/t/", f"https://a.example/t{OPENID}", f"https://a.example{OAUTH}/t"),
    ],
)
def test_where_an_issuer_describes_itself(url: str, openid: str, oauth: str) -> None:
    """OpenID appends, RFC 8414 section 3.1 inserts."""
    assert discovery_urls(url) == (openid, oauth)
    with pytest.raises(UrlProblem):
        _ = discovery_urls(url + "?x=1")


def test_both_places_are_tried(issuer: FakeIssuer) -> None:
    """RFC 8414's only if OpenID's is not found; any other answer ends it."""
    issuer.answers[OPENID] = HttpResponse(404)
    issuer.answers[OAUTH] = json_response(issuer.discovery())
    manager = issuer.loaded()
    assert [request.url.removeprefix(issuer.url) for request in issuer.requests] == [
        OPENID,
        OAUTH,
        "/keys",
    ]
    assert manager.key_ids == (kid_of(issuer),)
    for status in (200, 301, 302, 401, 500):
        issuer.requests.clear()
        issuer.answers[OPENID] = HttpResponse(status, (("location", "https://evil.example"),))
        assert isinstance(failure(manager.refresh(), issuer), BackendError)
        assert len(issuer.requests) == 1


def test_what_the_issuer_says_of_itself(issuer: FakeIssuer) -> None:
    """A client asks the same document for the places where tokens are got."""
    found = run(discover(issuer.url), issuer.http)
    assert found.issuer == issuer.url
    assert found.token_endpoint == f"{issuer.url}/token"
    assert found.address("device_authorization_endpoint") == f"{issuer.url}/device"
    assert found.address("none") is None
    issuer.metadata["odd"] = "http://evil.example"
    found = run(discover(issuer.url), issuer.http)
    with pytest.raises(BackendError):
        _ = found.address("odd")


@pytest.mark.parametrize(
    ("asked", "said", "right"),
    [
        ("https://a.example", "https://a.example", True),
        ("https://a.example", "https://a.example/", True),
        ("https://a.example/", "https://a.example", True),
        ("https://a.example", "https://a.example//", False),
        ("https://a.example", "https://A.example", False),
        ("https://a.example", "https://b.example", False),
        ("https://a.example", "https://a.example/x", False),
        ("https://a.example", "https://a.example:443", False),
        ("https://a.example", None, False),
        ("https://a.example", ["https://a.example"], False),
    ],
)
def test_the_document_is_of_who_was_asked(asked: str, said: object, right: bool) -> None:
    """The issuer in it is the one asked, one trailing slash apart."""
    document = compact({"issuer": said, "jwks_uri": "https://a.example/keys"})
    error = refusal(lambda: parse_discovery(document, asked))
    assert (error is None) == right
    if error is not None:
        assert isinstance(error, BackendError)
        assert error.code == "discovery"
        assert error.temporary


@pytest.mark.parametrize(
    "uri",
    [
        "http://issuer.example.com/keys",
        "http://localhost/keys",
        "http://localhost.example.com/keys",
        "https://localhost:pw@host/keys",
        "file:///etc/passwd",
        "",
        5,
        ["https://a.example"],
    ],
)
def test_a_document_does_not_lead_astray(issuer: FakeIssuer, uri: object) -> None:
    """The address of the keys is held to the same rules; nothing is asked there otherwise."""
    issuer.metadata["jwks_uri"] = uri
    error = failure(issuer.manager().refresh(), issuer)
    assert isinstance(error, BackendError)
    assert error.code == "discovery"
    assert issuer.asked(OPENID) == len(issuer.requests) == 1


def test_a_document_without_keys(issuer: FakeIssuer) -> None:
    """It is said that it has none."""
    issuer.metadata["jwks_uri"] = None
    error = failure(issuer.manager().refresh(), issuer)
    assert "where its keys are" in (error.detail or "")


def test_loopback_in_clear_text_with_the_option(clock: Ticking) -> None:
    """The requests say that clear text is meant, and only those that are."""
    issuer = FakeIssuer("http://127.0.0.1:8080", clock=clock)
    _ = issuer.loaded(allow_loopback_http=True)
    assert [request.cleartext for request in issuer.requests] == [True, True]
    issuer.jwks_uri = "https://keys.example.com/keys"
    _ = issuer.loaded(allow_loopback_http=True, ca_file="/ca.pem")
    assert [request.cleartext for request in issuer.requests[2:]] == [True, False]
    assert {request.ca_file for request in issuer.requests[2:]} == {"/ca.pem"}


def test_keys_without_discovery(clock: Ticking) -> None:
    """With a `jwks_uri` nothing else is asked."""
    issuer = FakeIssuer(clock=clock)
    manager = JWKManager(jwks_uri=issuer.jwks_uri, clock=clock)
    run(manager.refresh(), issuer.http)
    assert [request.url for request in issuer.requests] == [issuer.jwks_uri]
    assert manager.key_ids == (kid_of(issuer),)


def test_requests_are_bounded(issuer: FakeIssuer, clock: Ticking) -> None:
    """Each has a limit and what is left of the time; a slow first leaves less for the second."""

    def slow() -> HttpResponse:
        clock.tick(3)
        return json_response(issuer.discovery())

    issuer.answers[OPENID] = slow
    _ = issuer.loaded(deadline=5.0, monotonic=clock)
    first, second = issuer.requests
    assert (first.deadline, second.deadline) == (5.0, 2.0)
    assert first.limit == second.limit == 256 * 1024
    assert first.method == second.method == "GET"

    def slower() -> HttpResponse:
        clock.tick(6)
        return slow()

    issuer.answers[OPENID] = slower
    manager = issuer.manager(deadline=5.0, monotonic=clock)
    assert "too slow" in (failure(manager.refresh(), issuer).detail or "")


def test_both_places_share_the_time(issuer: FakeIssuer, clock: Ticking) -> None:
    """An issuer that is slow to say no leaves less for the rest, and nothing in the end."""

    def none() -> HttpResponse:
        clock.tick(3)
        return HttpResponse(404)

    issuer.answers[OPENID] = none
    issuer.answers[OAUTH] = lambda: json_response(issuer.discovery())
    _ = issuer.loaded(deadline=5.0, monotonic=clock)
    assert [request.deadline for request in issuer.requests] == [5.0, 2.0, 2.0]
    error = failure(issuer.manager(deadline=3.0, monotonic=clock).refresh(), issuer)
    assert isinstance(error, BackendError)
    assert error.code == "timeout"


@pytest.mark.parametrize("step", [3600.0, -3600.0])
def test_a_clock_that_is_set_ends_no_load(issuer: FakeIssuer, clock: Ticking, step: float) -> None:
    """How long a load takes is not measured by the time of day."""

    def meanwhile() -> HttpResponse:
        clock.tick(step)
        return json_response(issuer.discovery())

    issuer.answers[OPENID] = meanwhile
    assert issuer.loaded(deadline=5.0).key_ids
    first, second = issuer.requests
    assert 0 < second.deadline <= first.deadline == 5.0


# --- responses ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    "kind",
    [
        "application/json",
        "application/json; charset=utf-8",
        "Application/JSON",
        "application/jwk-set+json",
        "application/anything+json",
    ],
)
def test_content_types_of_json(issuer: FakeIssuer, kind: str) -> None:
    """JSON by each of its names."""
    manager = issuer.manager()
    manager.load(json_response(issuer.key_set(), content_type=kind))
    assert manager.key_ids == (kid_of(issuer),)


BAD: dict[str, Callable[[FakeIssuer], HttpResponse]] = {
    "302": lambda issuer: json_response(issuer.key_set(), 302),
    "201": lambda issuer: json_response(issuer.key_set(), 201),
    "304": lambda issuer: HttpResponse(304),
    "500": lambda issuer: json_response(issuer.key_set(), 500),
    "no type": lambda issuer: HttpResponse(200, (), compact(issuer.key_set())),
    "html": lambda issuer: json_response(issuer.key_set(), content_type="text/html"),
    "text": lambda issuer: json_response(issuer.key_set(), content_type="text/plain"),
    "almost": lambda issuer: json_response(issuer.key_set(), content_type="application/jsonp"),
    "other": lambda issuer: json_response(issuer.key_set(), content_type="text/x+json"),
    "too long": lambda issuer: json_response({**issuer.key_set(), "x": "y" * 256 * 1024}),
    "not JSON": lambda issuer: json_response(b"<html>"),
    "empty": lambda issuer: json_response(b""),
    "duplicate kid": lambda issuer: json_response({"keys": [issuer.signer().public()] * 2}),
    "no kid": lambda issuer: json_response({"keys": [issuer.signer().public(kid=None)]}),
    "mixed": lambda issuer: json_response(
        {"keys": [issuer.signer().public(), {"kid": "x", "kty": "oct", "k": "AAAA"}]}
    ),
}


@pytest.mark.parametrize("name", BAD)
def test_a_failed_load_leaves_the_keys(issuer: FakeIssuer, clock: Ticking, name: str) -> None:
    """Whatever was wrong, it is an outage, and tokens by the old keys stay valid."""
    manager = issuer.loaded()
    token = issuer.sign()
    old = manager.key_ids
    issuer.answers["/keys"] = BAD[name](issuer)
    issuer.rotate()
    error = failure(manager.refresh(), issuer)
    assert isinstance(error, BackendError)
    assert error.temporary
    assert error.detail
    assert manager.key_ids == old
    assert manager.generation == 0
    assert JWSValidatedToken(token, manager).subject == "user"
    clock.tick(61)
    assert isinstance(failure(manager.just_in_time("new"), issuer), BackendError)


def test_an_issuer_that_is_down(issuer: FakeIssuer, clock: Ticking) -> None:
    """Its old keys serve on; a kid that is not known is an outage then, and no wrong token."""
    manager = issuer.loaded()
    token = issuer.sign()
    clock.tick(61)
    issuer.down = True
    known = run(JWSValidatedToken.obtain(token, manager), issuer.http)
    assert known.subject == "user"
    assert failure(manager.just_in_time("new"), issuer).code == "unavailable"
    asked = len(issuer.requests)
    error = failure(manager.just_in_time("new"), issuer)
    assert isinstance(error, BackendError)
    assert error.code == "no-keys"
    assert len(issuer.requests) == asked
    issuer.down = False
    new = issuer.rotate(keep=True)
    clock.tick(61)
    assert run(manager.just_in_time(new.kid), issuer.http).key.kid == new.kid


def test_keys_that_cannot_be_used(
    issuer: FakeIssuer, clock: Ticking, caplog: pytest.LogCaptureFixture
) -> None:
    """They are left out with a warning, once; a token by one of them is told why."""
    log = logging.getLogger("test.keys")
    bad_point = make_key("ES256", "beside").public(x="A" * 43)
    issuer.answers["/keys"] = json_response(
        {"keys": [issuer.signer().public(), {"kid": "p", "kty": "AKP"}, bad_point]}
    )
    with caplog.at_level(logging.WARNING, "test.keys"):
        manager = issuer.loaded(log=log)
        assert manager.key_ids == (kid_of(issuer),)
        assert len(caplog.messages) == 2
        assert all("left out" in message for message in caplog.messages)
        clock.tick(61)
        run(manager.refresh(), issuer.http)
        assert len(caplog.messages) == 2
    for kid in ("p", "beside"):
        assert failure(manager.just_in_time(kid), issuer).code == "token-key-unfit"


# --- when keys are loaded -----------------------------------------------------------------


def test_the_first_load_is_never_delayed(issuer: FakeIssuer) -> None:
    """Without any key the first token loads them, whenever it comes."""
    manager = issuer.manager()
    assert manager.key_ids == ()
    assert run(manager.just_in_time(kid_of(issuer)), issuer.http).key.kid == kid_of(issuer)


def test_a_known_key_is_not_asked_for(issuer: FakeIssuer) -> None:
    """No request, whatever the issuer does."""
    manager = issuer.loaded()
    issuer.down = True
    assert run(manager.just_in_time(kid_of(issuer)), None) is manager.validator(kid_of(issuer))


def test_a_thousand_unknown_kids_cause_one_fetch(issuer: FakeIssuer, clock: Ticking) -> None:
    """Whoever makes identifiers up makes the issuer work once a minute."""
    manager = issuer.loaded()
    clock.tick(61)
    before = issuer.fetches
    for number in range(1000):
        assert failure(manager.just_in_time(f"k{number}"), issuer).code == "token-key-unknown"
    assert issuer.fetches == before + 1
    clock.tick(59)
    assert failure(manager.just_in_time("k"), issuer).code == "token-key-unknown"
    assert issuer.fetches == before + 1
    clock.tick(1)
    assert failure(manager.just_in_time("k"), issuer).code == "token-key-unknown"
    assert issuer.fetches == before + 2


def test_an_outage_before_the_first_key(issuer: FakeIssuer, clock: Ticking) -> None:
    """The issuer is asked once a second at most, and as soon as it is there logins go on."""
    manager = issuer.manager()
    issuer.down = True
    for _ in range(100):
        error = failure(manager.just_in_time("k"), issuer)
        assert isinstance(error, BackendError)
        assert error.temporary
    assert len(issuer.requests) == 1
    issuer.down = False
    clock.tick(1)
    assert run(manager.just_in_time(kid_of(issuer)), issuer.http).key.kid == kid_of(issuer)


def test_a_new_key_is_picked_up_by_one_fetch(issuer: FakeIssuer, clock: Ticking) -> None:
    """An addition makes nothing stale."""
    manager = issuer.loaded()
    clock.tick(61)
    issuer.rotate(keep=True)
    token = run(JWSValidatedToken.obtain(issuer.sign(), manager), issuer.http)
    assert token.generation == manager.generation == 0
    assert issuer.fetches == 2
    assert len(manager.key_ids) == len(manager.keys) == 2


def test_a_clock_that_was_set_back(issuer: FakeIssuer, clock: Ticking) -> None:
    """It neither stops the polling nor the loads in time."""
    manager = issuer.loaded(poll=100.0)
    clock.tick(-5000)
    assert manager.due(clock())
    _ = failure(manager.just_in_time("k"), issuer)
    assert issuer.fetches == 2


def test_polling(issuer: FakeIssuer, clock: Ticking) -> None:
    """At once, then every so many seconds; after a failure sooner; never without `poll`."""
    assert not issuer.manager().due(clock())
    manager = issuer.manager(poll=3600.0)
    assert manager.due(clock())
    run(manager.refresh(), issuer.http)
    assert not manager.due(clock() + 3599)
    assert manager.due(clock() + 3600)
    clock.tick(3600)
    issuer.down = True
    _ = failure(manager.refresh(), issuer)
    assert not manager.due(clock() + 59)
    assert manager.due(clock() + 60)


def test_a_response_that_somebody_else_fetched(issuer: FakeIssuer, clock: Ticking) -> None:
    """An application that does its own I/O gives it to `load`: it is an attempt like any other."""
    manager = issuer.manager(poll=100.0)
    issuer.down = True
    _ = failure(manager.refresh(), issuer)
    manager.load(json_response(issuer.key_set()))
    assert not manager.due(clock() + 99)
    assert failure(manager.just_in_time("k"), issuer).code == "token-key-unknown"
    clock.tick(60)
    assert failure(manager.just_in_time("k"), issuer).code == "unavailable"


# --- changes ------------------------------------------------------------------------------


def test_what_changes_the_generation(issuer: FakeIssuer) -> None:
    """A known key that is another, for another thing, or gone; not one more, nor the order."""
    one, two = make_key("RS256", "one"), make_key("ES256", "two")
    other = make_key("RS256", "one", number=7)
    first, second = one.public(), two.public()
    steps: list[tuple[list[dict[str, object]], int]] = [
        ([first], 0),
        ([first, second], 0),
        ([second, first], 0),
        ([second, other.public()], 1),
        ([second, other.public(alg="RS512")], 2),
        ([second, other.public(alg="RS512", use=None)], 3),
        ([second], 4),
        ([{**second, "use": "enc"}], 5),
        ([], 5),
        ([second], 5),
    ]
    manager = issuer.manager()
    told: list[int] = []
    manager.on_change(lambda: told.append(manager.generation))
    for keys, generation in steps:
        manager.load(json_response({"keys": keys}))
        assert manager.generation == generation, keys
    assert told == [1, 2, 3, 4, 5]


def test_a_key_written_otherwise_is_the_same(issuer: FakeIssuer) -> None:
    """Keys are compared by their thumbprint: a zero octet in front changes nothing."""
    manager = issuer.loaded()
    key = issuer.signer().public()
    key["n"] = b64(b"\0" + unb64(str(key["n"])))
    manager.load(json_response({"keys": [{**key, "x5c": ["MII"]}]}))
    assert manager.generation == 0


def test_a_token_is_of_the_keys_before_the_change(issuer: FakeIssuer) -> None:
    """Keys that change while a token is validated make it stale, not young."""
    manager = issuer.loaded()
    token = JWSValidatedToken(issuer.sign(), manager)
    assert token.generation == 0
    issuer.rotate()
    run(manager.refresh(), issuer.http)
    assert (token.generation, manager.generation) == (0, 1)
    with pytest.raises(TokenError) as caught:
        _ = JWSValidatedToken(token.signed, manager)
    assert caught.value.code == "token-key-unknown"


def test_the_generation_is_read_before_the_key(issuer: FakeIssuer) -> None:
    """A change between reading the two is not missed."""

    class Racing(JWKManager):
        def validator(self, kid: str) -> Any:
            found = super().validator(kid)
            if found is not None:
                self._generation += 1
            return found

    manager = Racing(issuer.url, clock=issuer.clock)
    run(manager.refresh(), issuer.http)
    token = JWSValidatedToken(issuer.sign(), manager)
    assert token.generation < manager.generation


# --- who shares a load --------------------------------------------------------------------


def test_an_abandoned_load_does_not_block(issuer: FakeIssuer, clock: Ticking) -> None:
    """A login that was given up in the middle of it counts for a moment, and others wait it out."""
    manager = issuer.loaded()
    new = issuer.rotate(keep=True)
    clock.tick(61)
    body = manager.just_in_time(new.kid)
    assert isinstance(next(body), NeedHttp)
    clock.tick(2)
    body.close()
    assert run(manager.just_in_time(new.kid), issuer.http).key.kid == new.kid
    assert failure(manager.just_in_time("another"), issuer).code == "token-key-unknown"
    assert issuer.fetches == 2


def test_keys_that_an_application_brings_end_the_waiting(
    issuer: FakeIssuer, clock: Ticking
) -> None:
    """After a load that was given up, one by the application counts like any that ended."""
    manager = issuer.loaded()
    clock.tick(61)
    body = manager.just_in_time("another")
    assert isinstance(next(body), NeedHttp)
    body.close()
    manager.load(json_response(issuer.key_set()))
    assert failure(manager.just_in_time("another"), issuer).code == "token-key-unknown"
    assert issuer.fetches == 1


def test_whoever_waits_takes_over(issuer: FakeIssuer) -> None:
    """If the one that loads is given up, one of those who wait loads."""
    manager = issuer.manager()
    first, second = (manager.just_in_time(kid_of(issuer)) for _ in range(2))
    assert isinstance(next(first), NeedHttp)
    wait = next(second)
    assert isinstance(wait, NeedCall)
    first.close()
    pause = second.send(wait.function())
    assert isinstance(pause, NeedCall)
    need: object = second.send(pause.function())
    assert isinstance(need, NeedHttp)
    need = second.send(issuer.http(need.request))
    assert isinstance(need, NeedHttp)
    with pytest.raises(StopIteration) as done:
        second.send(issuer.http(need.request))
    assert done.value.value.key.kid == kid_of(issuer)


def test_a_login_joins_a_load_that_was_ordered(issuer: FakeIssuer, clock: Ticking) -> None:
    """Soon after the last attempt it causes none, but waits for one that is under way."""
    manager = issuer.loaded()
    new = issuer.rotate(keep=True)
    clock.tick(5)
    ordered, login = manager.refresh(), manager.just_in_time(new.kid)
    need: object = next(ordered)
    wait = next(login)
    assert isinstance(wait, NeedCall)
    assert isinstance(need, NeedHttp)
    need = ordered.send(issuer.http(need.request))
    assert isinstance(need, NeedHttp)
    answer = issuer.http(need.request)
    with pytest.raises(StopIteration):
        ordered.send(answer)
    with pytest.raises(StopIteration) as done:
        login.send(wait.function())
    assert done.value.value.key.kid == new.kid
    assert issuer.fetches == 2


@pytest.mark.parametrize("first", ["older", "newer"])
def test_an_older_load_that_is_taken_up_again_changes_nothing(
    issuer: FakeIssuer, clock: Ticking, monkeypatch: pytest.MonkeyPatch, first: str
) -> None:
    """Once another has begun beside it, its keys are not taken over, nor does its end count."""
    monkeypatch.setattr("sasl_tokens.loads.GRACE", 0.0)
    manager = JWKManager(jwks_uri=issuer.jwks_uri, deadline=0.05, poll=60.0, clock=clock)
    older: Any = manager.refresh()
    need = next(older)
    withdrawn = issuer.http(need.request)
    new = issuer.rotate()
    time.sleep(0.06)
    newer: Any = manager.refresh()
    need = next(newer)
    assert isinstance(need, NeedHttp)
    answer = issuer.http(need.request)
    if first == "older":
        wait = older.send(withdrawn)
        assert isinstance(wait, NeedCall)
        assert manager.due(clock())
        with pytest.raises(StopIteration):
            newer.send(answer)
        with pytest.raises(StopIteration):
            older.send(wait.function())
    else:
        with pytest.raises(StopIteration):
            newer.send(answer)
        with pytest.raises(StopIteration):
            older.send(withdrawn)
    assert manager.key_ids == (new.kid,)
    assert not manager.due(clock())


def test_an_older_load_that_is_given_up_or_fails_counts_as_nothing(
    issuer: FakeIssuer, clock: Ticking
) -> None:
    """What overtook it may be keys that the application brought."""
    manager = JWKManager(jwks_uri=issuer.jwks_uri, poll=60.0, clock=clock)
    for end in ("close", "throw"):
        older: Any = manager.refresh()
        assert isinstance(next(older), NeedHttp)
        manager.load(json_response(issuer.key_set()))
        if end == "close":
            older.close()
        else:
            with pytest.raises(BackendError):
                older.throw(BackendError(detail="refused"))
        assert not manager.abandoned
        assert not manager.due(clock() + 59)
        assert failure(manager.just_in_time("k"), issuer).code == "token-key-unknown"
    assert issuer.fetches == 0


def test_threads_share_one_load(issuer: FakeIssuer) -> None:
    """Twenty logins at once cause one load, and all get in."""
    manager = issuer.manager()
    gate, lock = threading.Barrier(20, timeout=20), threading.Lock()

    def http(request: HttpRequest) -> HttpResponse:
        with lock:
            return issuer.http(request)

    def login(_: int) -> str:
        gate.wait()
        return run(JWSValidatedToken.obtain(issuer.sign(), manager), http).subject

    with ThreadPoolExecutor(20) as pool:
        assert list(pool.map(login, range(20))) == ["user"] * 20
    assert issuer.fetches == 1


def test_tasks_share_one_load_and_one_failure(issuer: FakeIssuer, clock: Ticking) -> None:
    """In asyncio too; a load that fails fails all who wait for it, as an outage."""
    manager = issuer.manager()

    async def http(request: HttpRequest) -> HttpResponse:
        await asyncio.sleep(0.01)
        return issuer.http(request)

    async def logins() -> list[Any]:
        bodies = [JWSValidatedToken.obtain(issuer.sign(), manager) for _ in range(50)]
        return await asyncio.gather(*(arun(body, http) for body in bodies), return_exceptions=True)

    issuer.down = True
    failed = asyncio.run(logins())
    assert len(failed) == 50
    assert all(isinstance(error, BackendError) and error.temporary for error in failed)
    assert len({id(error) for error in failed}) == 50
    assert len(issuer.requests) == 1
    issuer.down = False
    clock.tick(1)
    assert [token.subject for token in asyncio.run(logins())] == ["user"] * 50
    assert issuer.fetches == 1


def test_a_cancelled_login_does_not_take_the_others_along(issuer: FakeIssuer) -> None:
    """Those who wait for its load go on, with a load of their own."""
    manager = issuer.manager()
    hanging = [True]

    async def http(request: HttpRequest) -> HttpResponse:
        if hanging:
            hanging.clear()
            await asyncio.sleep(60)
        return issuer.http(request)

    async def logins() -> list[Any]:
        first, *others = (
            asyncio.ensure_future(arun(JWSValidatedToken.obtain(issuer.sign(), manager), http))
            for _ in range(5)
        )
        await asyncio.sleep(0.02)
        first.cancel()
        return await asyncio.wait_for(asyncio.gather(*others), 5)

    assert [token.subject for token in asyncio.run(logins())] == ["user"] * 4
    assert issuer.fetches == 1


def test_a_hanging_issuer_does_not_hold_up_known_keys(issuer: FakeIssuer, clock: Ticking) -> None:
    """While one login waits for the issuer, tokens by known keys are validated at once."""
    manager = issuer.loaded()
    clock.tick(61)
    waiting = manager.just_in_time("new")
    assert isinstance(next(waiting), NeedHttp)
    assert run(JWSValidatedToken.obtain(issuer.sign(), manager), None).subject == "user"
    waiting.close()


def test_unknown_kids_leave_nothing_behind(issuer: FakeIssuer) -> None:
    """A manager does not grow by what others make up."""
    manager = issuer.loaded()
    before = {name: repr(value) for name, value in vars(manager).items() if name != "_flight"}
    for number in range(100):
        _ = failure(manager.just_in_time(f"k{number}"), issuer)
    after = {name: repr(value) for name, value in vars(manager).items() if name != "_flight"}
    assert before == after
