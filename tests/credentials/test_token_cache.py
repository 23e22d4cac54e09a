"""The cache of a Client's tokens: what is kept, who is asked, and what a refusal drops."""

from __future__ import annotations

import asyncio
import threading
import time
from functools import partial
from typing import Any, cast

import pytest
from attrs import evolve

from sasl_core import (
    AuthenticationError,
    BackendError,
    Client,
    ConfigError,
    SaslError,
    UsageError,
    aio,
)
from sasl_core.plugin import AccessToken, Blocking, HttpResponse, NeedCall, TokenRequest
from sasl_credentials import CallbackTokens
from sasl_tokens.cache import GAP, KEPT, PATIENCE, TokenCache
from sasl_tokens.sent import Sent, check_token
from sasl_tokens.terms import TOKEN_LIMIT
from token_kit import NOW, FakeIssuer, Ticking, json_response, run
from token_sources import ISSUER, TOY, Counting
from toys import OPEN, Toys

MINE = TokenRequest("imap", "mail.example.com")
ASKED = TokenRequest("imap", "mail.example.com", None, ISSUER, "client")
HOST = "localhost"


class Still:
    """A monotonic clock that only moves by itself as far as nobody has to wait."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        self.now += 1.0
        return self.now


def fresh_cache(clock: Ticking | None = None) -> TokenCache:
    """A cache whose source may be asked at once, again and again."""
    return TokenCache(clock or Ticking(), Still())


def obtain(
    cache: TokenCache, source: Counting, request: TokenRequest = MINE, *, ask: bool = True
) -> Sent:
    """A token that there has to be."""
    sent = run(cache.obtain(source, request, ask=ask))
    assert sent is not None
    return sent


# --- a machine's ----------------------------------------------------------------------


def test_a_token_that_does_not_say_how_long_it_lives_is_kept() -> None:
    """The source is asked once, and the next login sends the same."""
    cache, source = fresh_cache(), Counting()
    assert [obtain(cache, source).token for _ in range(3)] == ["token-1"] * 3
    assert len(source.requests) == 1


@pytest.mark.parametrize(
    ("life", "used"), [(3600.0, 3569.0), (100.0, 89.0), (1e9, 1e9 - 31.0)], ids=str
)
def test_a_token_is_used_until_shortly_before_its_end(life: float, used: float) -> None:
    """Thirty seconds before, or with a tenth of a short life left, a new one is fetched."""
    clock = Ticking()
    cache, source = fresh_cache(clock), Counting(life=life, clock=clock)
    assert obtain(cache, source).token == "token-1"
    clock.tick(used)
    assert obtain(cache, source).token == "token-1"
    clock.tick(2.0)
    assert obtain(cache, source).token == "token-2"


@pytest.mark.parametrize("until", [NOW, NOW - 1e6, 0.0], ids=str)
def test_a_token_that_is_over_is_sent_once_and_not_kept(until: float) -> None:
    """The server decides about it; the next login asks the source again."""
    cache, source = fresh_cache(), Counting(life=0.0, clock=lambda: until)
    assert obtain(cache, source).token == "token-1"
    assert obtain(cache, source).token == "token-2"


@pytest.mark.parametrize(
    "until",
    [-1, -1e9, float("nan"), float("inf"), float("-inf"), True, "soon", [], 10**400, NOW * 1000],
    ids=lambda until: str(until)[:12],
)
def test_an_end_that_is_no_time_is_an_error(until: Any) -> None:
    """A negative life, NaN, milliseconds: the source is told so, and nothing is kept."""
    asked: list[TokenRequest] = []

    def give(request: TokenRequest) -> AccessToken:
        asked.append(request)
        return AccessToken("abc", until)

    cache, source = fresh_cache(), CallbackTokens(give)
    for _ in range(2):
        with pytest.raises(UsageError) as caught:
            _ = run(cache.obtain(source, MINE, ask=True))
        assert caught.value.code == "bad-token"
    assert len(asked) == 2


def test_a_kept_token_that_is_refused_is_worth_another_try_and_a_new_one_is_not() -> None:
    """Kept: dropped, once more. New: dropped, and that is the end of it."""
    cache, source = fresh_cache(), Counting()
    first = obtain(cache, source)
    kept = obtain(cache, source)
    assert (kept(), kept()) == (True, True)
    again = obtain(cache, source)
    assert again.token == "token-2"
    assert (again(), again()) == (False, False)
    assert obtain(cache, source).token == "token-3"
    assert first.fresh
    assert not kept.fresh


def test_a_late_refusal_of_an_old_token_does_not_drop_the_new_one() -> None:
    """Two logins send the kept token; the second refusal comes when a new one is there."""
    cache, source = fresh_cache(), Counting()
    _ = obtain(cache, source)
    one, two = obtain(cache, source), obtain(cache, source)
    assert one()
    assert obtain(cache, source).token == "token-2"
    assert two(), "the login may try again, with the new one"
    assert obtain(cache, source).token == "token-2"
    assert len(source.requests) == 2


def test_users_have_tokens_of_their_own() -> None:
    """A name is a name: the cache mixes no two, and a refusal drops one."""
    cache, source = fresh_cache(), Counting()
    names = ("tim", "ann", None, "")
    by_name = {name: TokenRequest("imap", "h", name) for name in names}
    first = {name: obtain(cache, source, by_name[name]).token for name in names}
    assert len(set(first.values())) == len(names)
    _ = obtain(cache, source, by_name["tim"])()
    again = {name: obtain(cache, source, by_name[name]).token for name in names}
    assert again == first | {"tim": "token-5"}


def test_the_cache_has_a_bound() -> None:
    """The oldest user's token goes when there are too many."""
    cache, source = fresh_cache(), Counting()
    for number in range(KEPT + 1):
        _ = obtain(cache, source, TokenRequest("imap", "h", str(number)))
    _ = obtain(cache, source, TokenRequest("imap", "h", str(KEPT)))
    assert len(source.requests) == KEPT + 1
    _ = obtain(cache, source, TokenRequest("imap", "h", "0"))
    assert len(source.requests) == KEPT + 2


def test_a_closed_cache_has_forgotten_all() -> None:
    """Nothing is found in it any more."""
    cache, source = fresh_cache(), Counting()
    _ = obtain(cache, source)
    cache.close()
    assert obtain(cache, source).token == "token-2"


def test_between_two_calls_of_the_source_are_100_ms() -> None:
    """Whoever comes sooner waits for what is left, also after a failure."""
    now = 0.0
    cache, source = TokenCache(Ticking(), lambda: now), Counting(life=0.0)

    def waited() -> list[float]:
        body = cache.obtain(source, MINE, ask=True)
        pauses: list[float] = []
        try:
            need = next(body)
            while True:
                assert isinstance(need, NeedCall)
                assert isinstance(need.function, partial)
                assert need.function.func is time.sleep
                pauses.append(need.function.args[0])
                need = body.send(None)
        except StopIteration:
            return pauses

    assert waited() == []
    now = 0.04
    assert waited() == [pytest.approx(GAP - 0.04)]
    now = 0.09
    source.fails = lambda request: BackendError(detail="down")
    with pytest.raises(BackendError):
        _ = waited()
    source.fails = lambda request: None
    now = 0.1
    assert waited() == [pytest.approx(0.09)]
    now = 0.2
    assert waited() == []


def test_100_ms_pass_indeed() -> None:
    """The time is waited for, not only reckoned."""
    cache, source = TokenCache(time.time), Counting(life=0.0)
    _ = obtain(cache, source)
    begun = time.monotonic()
    _ = obtain(cache, source)
    assert time.monotonic() - begun >= GAP - 0.005


@pytest.mark.parametrize(
    "error",
    [
        AuthenticationError(code="token-refused", detail="who are you?"),
        BackendError(code="timeout", detail="too slow"),
        ConfigError("missing", key="credentials.x"),
        UsageError("no"),
    ],
    ids=lambda error: type(error).__name__,
)
def test_what_the_source_raises_is_what_the_login_hears(error: SaslError) -> None:
    """Of its own kind, with its own code; and the next login asks again."""
    cache, source = fresh_cache(), Counting()
    source.fails = lambda request: error
    with pytest.raises(type(error)) as caught:
        _ = obtain(cache, source)
    assert caught.value is error
    source.fails = lambda request: None
    assert obtain(cache, source).token == "token-2"


# --- several at once ------------------------------------------------------------------


def test_20_threads_cause_one_call(toys: Toys) -> None:
    """A blocking Client: 20 logins at once, one callback, one token."""
    calls: list[TokenRequest] = []

    def give(request: TokenRequest) -> str:
        calls.append(request)
        time.sleep(0.05)
        return f"token-{len(calls)}"

    begin = threading.Barrier(20)
    sent: list[bytes | None] = []
    with Client(
        "imap", HOST, config=OPEN, registry=toys.registry(), credentials=CallbackTokens(give)
    ) as client:

        def log_in() -> None:
            _ = begin.wait()
            with client.session() as session:
                sent.append(session.start([TOY]).data)

        threads = [threading.Thread(target=log_in) for _ in range(20)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert sent == [b"token-1"] * 20
    assert len(calls) == 1


@pytest.mark.parametrize("plain", [True, False], ids=["function", "coroutine function"])
def test_20_tasks_cause_one_call(toys: Toys, plain: bool) -> None:
    """The same under asyncio, and the event loop goes on meanwhile."""
    calls: list[TokenRequest] = []

    def give(request: TokenRequest) -> str:
        calls.append(request)
        time.sleep(0.05)
        return f"token-{len(calls)}"

    async def give_async(request: TokenRequest) -> AccessToken:
        calls.append(request)
        await asyncio.sleep(0.05)
        return AccessToken(f"token-{len(calls)}")

    async def main() -> list[bytes | None]:
        source = CallbackTokens(give if plain else give_async)
        async with aio.Client(
            "imap", HOST, config=OPEN, registry=toys.registry(), credentials=source
        ) as client:

            async def log_in() -> bytes | None:
                async with client.session() as session:
                    return (await session.start([TOY])).data

            return await asyncio.gather(*(log_in() for _ in range(20)))

    assert asyncio.run(main()) == [b"token-1"] * 20
    assert len(calls) == 1


def test_a_task_that_is_cancelled_is_followed_by_one_that_waits(toys: Toys) -> None:
    """The callback is called off with the one that asked; the next asks it again."""
    calls: list[str] = []
    asked = asyncio.Event()

    async def give(request: TokenRequest) -> str:
        calls.append("asked")
        asked.set()
        await asyncio.sleep(30 if len(calls) == 1 else 0)
        return f"token-{len(calls)}"

    async def main() -> bytes | None:
        async with aio.Client(
            "imap", HOST, config=OPEN, registry=toys.registry(), credentials=CallbackTokens(give)
        ) as client:

            async def log_in() -> bytes | None:
                async with client.session() as session:
                    return (await session.start([TOY])).data

            first = asyncio.create_task(log_in())
            await asked.wait()
            second = asyncio.create_task(log_in())
            await asyncio.sleep(0.01)
            assert len(calls) == 1
            first.cancel()
            with pytest.raises(asyncio.CancelledError):
                await first
            return await asyncio.wait_for(second, 10)

    assert asyncio.run(main()) == b"token-2"


class Slow(Counting):
    """A source that asks the world outside for something, and so can be held up there."""

    def token(self, request: TokenRequest) -> Any:
        yield from NeedCall(lambda: None, Blocking.NEVER)
        return (yield from super().token(request))


def went_on(body: Any, need: object) -> Any:
    """What a login returns that is driven on from `need`."""
    try:
        while True:
            assert isinstance(need, NeedCall)
            need = body.send(need.function())
    except StopIteration as ended:
        return ended.value


def test_raw_drivers_share_a_call() -> None:
    """The second login waits for the first, and takes what that got."""
    cache, source = fresh_cache(), Slow()
    first, second = (cache.obtain(source, MINE, ask=True) for _ in range(2))
    _ = next(first)
    waiting = next(second)
    assert isinstance(waiting, NeedCall)
    assert went_on(first, NeedCall(lambda: None, Blocking.NEVER)).token == "token-1"
    other = went_on(second, waiting)
    assert other.token == "token-1"
    assert not other(), "it was as new to the second login"
    assert len(source.requests) == 1


def test_a_login_that_is_given_up_is_followed_by_one_that_waits() -> None:
    """The one that fetches is closed; the one that waited fetches itself."""
    cache, source = fresh_cache(), Slow()
    first, second = (cache.obtain(source, MINE, ask=True) for _ in range(2))
    _ = next(first)
    waiting = next(second)
    assert isinstance(waiting, NeedCall)
    first.close()
    assert went_on(second, waiting).token == "token-1"


def test_a_source_that_hangs_once_does_not_end_all_logins(monkeypatch: pytest.MonkeyPatch) -> None:
    """After its deadline the next login asks it again; who waited then has that login's token."""
    monkeypatch.setattr("sasl_tokens.cache.GRACE", 0.01)
    cache, source = fresh_cache(), Slow()
    request = evolve(MINE, deadline=0.02)
    hanging = cache.obtain(source, request, ask=True)
    _ = next(hanging)
    time.sleep(0.04)
    for _ in range(2):
        assert run(cache.obtain(source, request, ask=True)) is not None
    assert len(source.requests) == 1
    hanging.close()
    assert run(cache.obtain(source, request, ask=True)) is not None
    assert len(source.requests) == 1


def test_who_waits_for_another_users_token_then_asks_for_its_own() -> None:
    """One call at a time, whoever it is for; another's failure is not mine."""
    cache, source = fresh_cache(), Slow()
    source.fails = lambda request: (
        AuthenticationError(detail="not tim") if request.username == "tim" else None
    )
    tim = cache.obtain(source, TokenRequest("imap", "h", "tim"), ask=True)
    ann = cache.obtain(source, TokenRequest("imap", "h", "ann"), ask=True)
    _ = next(tim)
    waiting = next(ann)
    assert isinstance(waiting, NeedCall)
    assert source.requests == []
    with pytest.raises(AuthenticationError):
        _ = tim.send(None)
    assert went_on(ann, waiting).token == "token-2"


def test_who_waited_for_a_failure_hears_of_an_outage() -> None:
    """The error of the one that asked is its own; the others get one each, with its code."""
    cache, source = fresh_cache(), Slow()
    source.fails = lambda request: AuthenticationError(code="token-refused", detail="no such id")
    first, second = (cache.obtain(source, MINE, ask=True) for _ in range(2))
    _ = next(first)
    waiting = next(second)
    assert isinstance(waiting, NeedCall)
    with pytest.raises(AuthenticationError):
        _ = first.send(None)
    with pytest.raises(BackendError) as caught:
        _ = second.send(waiting.function())
    assert caught.value.code == "token-refused"
    assert caught.value.detail == "another login: no such id"
    assert not caught.value.temporary


# --- a person's -----------------------------------------------------------------------


def test_a_person_is_asked_last() -> None:
    """Kept access token, then refresh token, then the person, each when the one before fails."""
    clock = Ticking()
    cache, source = fresh_cache(clock), Counting(human=True, life=3600.0, clock=clock)
    assert run(cache.obtain(source, MINE, ask=False)) is None, "the server is asked first"
    assert source.requests == []

    assert obtain(cache, source, ASKED).token == "token-1"
    kept = obtain(cache, source, ask=False)
    assert kept.token == "token-1"
    assert kept(), "there is a refresh token"
    refreshed = obtain(cache, source, ask=False)
    assert refreshed.token == "token-2"
    assert source.shown == [(ISSUER, None), (ISSUER, "refresh-1")]
    assert source.requests[1].client_id == "client"
    assert refreshed(), "the person can be asked"

    assert run(cache.obtain(source, MINE, ask=False)) is None, "nothing is left"
    asked = obtain(cache, source, ASKED)
    assert asked.token == "token-3"
    assert source.shown[2:] == [(ISSUER, None)]
    assert not asked(), "what is new is refused: that is all"
    assert run(cache.obtain(source, MINE, ask=False)) is None


def test_an_expired_token_of_a_person_is_refreshed() -> None:
    """As a refused one is; the provider's newest refresh token is used next."""
    clock = Ticking()
    cache, source = fresh_cache(clock), Counting(human=True, life=3600.0, clock=clock)
    _ = obtain(cache, source, ASKED)
    for number in (2, 3):
        clock.tick(3600.0)
        assert obtain(cache, source, ask=False).token == f"token-{number}"
    assert [refresh for _, refresh in source.shown] == [None, "refresh-1", "refresh-2"]


def test_a_refresh_token_stays_when_no_new_one_comes() -> None:
    """RFC 6749 section 6: the provider may leave it as it is."""
    clock = Ticking()

    class Once(Counting):
        def token(self, request: TokenRequest) -> Any:
            token = yield from super().token(request)
            return AccessToken(
                token.value, token.expires_at, None if request.refresh_token else "only"
            )

    cache, source = fresh_cache(clock), Once(human=True, life=3600.0, clock=clock)
    _ = obtain(cache, source, ASKED)
    for _number in (2, 3):
        clock.tick(3600.0)
        _ = obtain(cache, source, ask=False)
    assert [refresh for _, refresh in source.shown] == [None, "only", "only"]


@pytest.mark.parametrize("ask", [False, True])
def test_a_refresh_token_that_the_provider_refuses_is_dropped(ask: bool) -> None:
    """Then the person is asked: at once, or when the server has been asked."""
    cache, source = fresh_cache(), Counting(human=True)
    source.fails = lambda request: (
        AuthenticationError(detail="invalid_grant") if request.refresh_token else None
    )
    _ = obtain(cache, source, ASKED)
    _ = obtain(cache, source, ask=False)()
    if ask:
        assert obtain(cache, source, ASKED).token == "token-3"
        assert source.shown[1:] == [(ISSUER, "refresh-1"), (ISSUER, None)]
    else:
        assert run(cache.obtain(source, MINE, ask=False)) is None
        assert run(cache.obtain(source, MINE, ask=False)) is None
        assert source.shown[1:] == [(ISSUER, "refresh-1")]


def test_a_refresh_token_survives_an_outage() -> None:
    """That the provider cannot be asked now says nothing of the token."""
    cache, source = fresh_cache(), Counting(human=True)
    _ = obtain(cache, source, ASKED)
    _ = obtain(cache, source, ask=False)()
    source.fails = lambda request: BackendError(detail="down")
    with pytest.raises(BackendError, match="temporary"):
        _ = obtain(cache, source, ask=False)
    source.fails = lambda request: None
    assert obtain(cache, source, ask=False).token == "token-3"
    assert source.shown[2] == (ISSUER, "refresh-1")


def test_an_outage_keeps_nobody_out_for_long() -> None:
    """After a minute of it the person is asked all the same; the refresh token stays."""
    still = Still()
    cache, source = TokenCache(Ticking(), still), Counting(human=True)
    _ = obtain(cache, source, ASKED)
    _ = obtain(cache, source, ask=False)()
    source.fails = lambda request: BackendError(detail="down") if request.refresh_token else None
    with pytest.raises(BackendError, match="temporary"):
        _ = obtain(cache, source, ASKED)
    still.now += PATIENCE
    assert run(cache.obtain(source, MINE, ask=False)) is None, "the server is asked first"
    assert source.shown[1:] == [(ISSUER, "refresh-1")] * 2
    source.fails = lambda request: BackendError(detail="down")
    with pytest.raises(BackendError):
        _ = obtain(cache, source, ASKED)
    assert source.shown[3:] == [(ISSUER, "refresh-1"), (ISSUER, None)]
    source.fails = lambda request: None
    assert obtain(cache, source, ask=False).token == "token-6"
    assert source.shown[5:] == [(ISSUER, "refresh-1")]


@pytest.mark.parametrize("ask", [False, True])
@pytest.mark.parametrize(
    "error",
    [
        AuthenticationError(detail="invalid_grant"),
        BackendError(code="token-response", detail="<html>", temporary=False),
        ConfigError("no such place", key="issuer"),
        UsageError("no"),
    ],
    ids=lambda error: type(error).__name__,
)
def test_whatever_fails_a_refresh_the_person_is_asked(error: SaslError, ask: bool) -> None:
    """An outage apart, which passes: a refresh token that does no good keeps nobody out."""
    cache, source = fresh_cache(), Counting(human=True)
    source.fails = lambda request: error if request.refresh_token else None
    _ = obtain(cache, source, ASKED)
    assert obtain(cache, source, ask=False)(), "another try is worth it"
    if not ask:
        assert run(cache.obtain(source, MINE, ask=False)) is None, "the server is asked first"
    assert obtain(cache, source, ASKED).token == "token-3"
    assert source.shown[1:] == [(ISSUER, "refresh-1"), (ISSUER, None)]


@pytest.mark.parametrize(
    "wrong",
    [
        AccessToken("no token"),
        AccessToken("abc", -1.0),
        AccessToken("abc", None, cast("Any", 7)),
        "abc",
        None,
    ],
    ids=["value", "end", "refresh token", "text", "nothing"],
)
def test_a_refresh_that_gives_no_token_has_the_person_asked(wrong: Any) -> None:
    """What comes of it is looked at before it counts as one."""

    class Odd(Counting):
        def token(self, request: TokenRequest) -> Any:
            token = yield from super().token(request)
            return wrong if request.refresh_token else token

    cache, source = fresh_cache(), Odd(human=True)
    _ = obtain(cache, source, ASKED)
    _ = obtain(cache, source, ask=False)()
    assert obtain(cache, source, ASKED).token == "token-3"


def test_a_source_that_breaks_on_a_refresh_token_is_not_shown_it_again() -> None:
    """Its error is told, as a mistake in a program is; the next login asks the person."""

    class Broken(Counting):
        def token(self, request: TokenRequest) -> Any:
            token = yield from super().token(request)
            if request.refresh_token:
                raise RuntimeError
            return token

    cache, source = fresh_cache(), Broken(human=True)
    _ = obtain(cache, source, ASKED)
    _ = obtain(cache, source, ask=False)()
    with pytest.raises(RuntimeError):
        _ = obtain(cache, source, ASKED)
    assert obtain(cache, source, ASKED).token == "token-3"


ANSWERS: dict[str, tuple[HttpResponse | BackendError, HttpResponse | None, bool]] = {
    "401 without a body": (HttpResponse(401, (), b""), None, False),
    "invalid_request": (json_response({"error": "invalid_request"}, 400), None, False),
    "invalid_scope": (json_response({"error": "invalid_scope"}, 400), None, False),
    "expired_token": (json_response({"error": "expired_token"}, 400), None, False),
    "a page": (json_response(b"<html>", content_type="text/html"), None, False),
    "no endpoint": (HttpResponse(404, (), b""), None, False),
    "no document": (json_response({}), json_response({}, 404), False),
    "another's document": (
        json_response({}),
        json_response({"issuer": "https://x.example"}),
        False,
    ),
    "a page for a document": (json_response({}), json_response(b"<html>"), False),
    "503": (HttpResponse(503, (), b""), None, True),
    "slow_down": (json_response({"error": "slow_down"}, 400), None, True),
    "no connection": (BackendError(code="http-connect", detail="refused"), None, True),
    "503 for a document": (json_response({}), HttpResponse(503, (), b""), True),
}


@pytest.mark.parametrize("answer", ANSWERS)
def test_a_provider_that_gives_nothing_for_a_refresh_token(answer: str) -> None:
    """What passes is waited for; after all else the person is asked, with the same source."""
    issuer = FakeIssuer(ISSUER)
    issuer.answers["/token"], document, passes = ANSWERS[answer]
    if document is not None:
        issuer.answers["/.well-known/openid-configuration"] = document
    asked: list[TokenRequest] = []

    def give(request: TokenRequest) -> AccessToken:
        asked.append(request)
        return AccessToken(f"token-{len(asked)}", None, "refresh")

    cache, source = fresh_cache(), CallbackTokens(give, human=True, refresh=True)
    _ = run(cache.obtain(source, ASKED, ask=True), issuer.http)
    sent = run(cache.obtain(source, ASKED, ask=False), issuer.http)
    assert sent is not None
    assert sent()
    if passes:
        with pytest.raises(BackendError) as caught:
            _ = run(cache.obtain(source, ASKED, ask=True), issuer.http)
        assert caught.value.temporary
    else:
        again = run(cache.obtain(source, ASKED, ask=True), issuer.http)
        assert again is not None
        assert again.token == "token-2"
    assert [request.refresh_token for request in asked] == [None] * (1 if passes else 2)


def test_a_function_that_breaks_on_a_refresh_token_is_asked_without(toys: Toys) -> None:
    """Through a Client: the login after `refused()` gets a token of the person."""
    asked: list[str | None] = []

    def give(request: TokenRequest) -> AccessToken:
        asked.append(request.refresh_token)
        if request.refresh_token:
            raise RuntimeError
        return AccessToken(f"token-{len(asked)}", None, "refresh")

    source = CallbackTokens(give, human=True)
    with Client("imap", HOST, config=OPEN, registry=toys.registry(), credentials=source) as client:
        for token, refuse, again in (
            (b"token-1", False, False),
            (b"token-1", True, True),
            (b"token-3", True, False),
        ):
            with client.session() as session:
                heard = session.start([TOY]).data
                if heard == b"?":
                    heard = session.step(ISSUER.encode()).data
                assert heard == token
                assert not refuse or session.refused() is again
    assert asked == [None, "refresh", None]


def test_another_provider_gets_nothing_of_the_first() -> None:
    """A server that names another one: neither token nor refresh token of the old one is used."""
    cache, source = fresh_cache(), Counting(human=True)
    _ = obtain(cache, source, ASKED)
    other = TokenRequest("imap", "mail.example.com", None, "https://other.example.com", "client")
    assert obtain(cache, source, other).token == "token-2"
    assert source.shown[1] == ("https://other.example.com", None)


def test_a_machines_refresh_token_is_not_used() -> None:
    """It gets a new access token just as easily."""
    clock = Ticking()

    class Generous(Counting):
        def token(self, request: TokenRequest) -> Any:
            token = yield from super().token(request)
            return AccessToken(token.value, token.expires_at, "refresh")

    cache, source = fresh_cache(clock), Generous(life=60.0, clock=clock)
    _ = obtain(cache, source)
    clock.tick(60.0)
    assert obtain(cache, source).token == "token-2"
    assert source.shown == [(None, None)] * 2


# --- what may be sent -----------------------------------------------------------------


@pytest.mark.parametrize(
    "value", ["a", "a=", "eyJ.eyJ.sig-_", "a~b+c/d==", "x" * TOKEN_LIMIT], ids=lambda v: v[:12]
)
def test_a_token_has_the_form_of_a_bearer_token(value: str) -> None:
    """b64token of RFC 6750 section 2.1."""
    assert check_token(value) == value


@pytest.mark.parametrize(
    "value",
    ["", "=", "a b", "a\n", "a\x01", "a\0", "ä", "a=b", "a,b", "x" * (TOKEN_LIMIT + 1), None, b"a"],
    ids=lambda v: repr(v)[:12],
)
def test_what_is_no_bearer_token_is_refused_before_it_is_sent(value: Any) -> None:
    """Nor does the error tell what it was."""
    with pytest.raises(UsageError) as caught:
        _ = check_token(value)
    assert caught.value.code == "bad-token"
    assert len(str(caught.value)) < 200


@pytest.mark.parametrize("given", ["bad token", "", None, 7])
def test_a_source_that_gives_no_token_is_told_so(given: Any) -> None:
    """Whatever it gives instead, and nothing of it is kept."""

    class Bad(Counting):
        def token(self, request: TokenRequest) -> Any:
            yield from ()
            return AccessToken(given) if given != 7 else given

    cache = fresh_cache()
    with pytest.raises(UsageError) as caught:
        _ = obtain(cache, Bad())
    assert caught.value.code == "bad-token"
    assert obtain(cache, Counting()).token == "token-1"
