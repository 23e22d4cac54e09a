"""`Client.run`: a source of credentials outside of a session, by both doors."""

from __future__ import annotations

import asyncio
import traceback
from collections.abc import Callable
from typing import Any

import pytest

from sasl_core import (
    AccessToken,
    AuthenticationError,
    BackendError,
    Blocking,
    Client,
    PluginError,
    SaslError,
    TokenRequest,
    UsageError,
    aio,
)
from sasl_core.plugin import HttpRequest, NeedCall, NeedCallback, NeedHttp, Needs
from token_kit import json_response
from token_sources import Counting

Run = Callable[..., Any]


def blocking(body: Needs[Any], **options: Any) -> Any:
    """By the blocking door."""
    with Client("imap", "localhost", config={}, **options) as client:
        return client.run(body)


def in_asyncio(body: Needs[Any], **options: Any) -> Any:
    """By the door for asyncio."""

    async def main() -> Any:
        async with aio.Client("imap", "localhost", config={}, **options) as client:
            return await client.run(body)

    return asyncio.run(main())


@pytest.fixture(params=[blocking, in_asyncio])
def run(request: pytest.FixtureRequest) -> Run:
    """Runs a body by one of the doors."""
    door: Run = request.param
    return door


def test_what_the_body_returns(run: Run) -> None:
    """A source's token."""
    token = run(Counting().token(TokenRequest("imap", "localhost")))
    assert token == AccessToken("token-1")


def test_calls_and_http_are_supplied(run: Run) -> None:
    """By the Client's own transport."""

    def body() -> Needs[object]:
        response = yield from NeedHttp(HttpRequest("GET", "https://idp.example.com/"))
        called = yield from NeedCall(lambda: "called", Blocking.NEVER)
        return response.status, called

    assert run(body(), http=lambda request: json_response({})) == (200, "called")


def test_a_refusal_stays_one(run: Run) -> None:
    """It is no outage, as it would be of a store."""

    def body() -> Needs[None]:
        yield from NeedCall(lambda: None, Blocking.NEVER)
        raise AuthenticationError(detail="no such client")

    with pytest.raises(AuthenticationError) as caught:
        run(body())
    assert caught.value.detail == "no such client"


def test_a_foreign_error_is_severed(run: Run) -> None:
    """Its type is told, its text and its frames are not."""

    def body() -> Needs[None]:
        secret = "secret-4711"
        yield from NeedCall(lambda: None, Blocking.NEVER)
        raise ValueError(secret)

    with pytest.raises(SaslError) as caught:
        run(body())
    assert "ValueError" in (caught.value.detail or "")
    shown = "".join(traceback.format_exception(caught.value))
    assert "4711" not in shown
    assert caught.value.__cause__ is None
    assert caught.value.__context__ is None


def test_what_the_caller_handles_is_no_cause(run: Run) -> None:
    """A driver asks while it handles a refusal: that one is its own, and stays whole."""

    def body() -> Needs[None]:
        yield from NeedCall(lambda: None, Blocking.NEVER)
        raise AuthenticationError(detail="no such client") from ValueError("inner")

    kept: list[object] = []
    try:
        raise KeyError("refused")
    except KeyError as refused:
        before = refused.__traceback__
        with pytest.raises(AuthenticationError) as caught:
            run(body())
        kept += [refused.__traceback__, refused]
    assert before is not None
    assert kept[0] is before
    assert caught.value.detail == "no such client <- caused by ValueError"
    assert caught.value.__cause__ is None
    # Python's own doing, where one is raised while another is handled.
    assert caught.value.__context__ is kept[1]


def test_nobody_answers_prompts(run: Run) -> None:
    """They are a session's; the body hears so, and may go on without."""

    def body() -> Needs[str]:
        try:
            yield from NeedCallback(())
        except PluginError:
            return "went on"
        return "was answered"

    assert run(body()) == "went on"


def test_a_closed_client_runs_nothing() -> None:
    """And closes the body, so that what it holds is let go."""
    done: list[str] = []

    def body() -> Needs[None]:
        done.append("ran")
        yield from ()

    client = Client("imap", "localhost", config={})
    client.close()
    started = body()
    with pytest.raises(UsageError) as caught:
        client.run(started)
    assert caught.value.code == "closed"
    assert done == []
    with pytest.raises(StopIteration):
        next(started)


def test_a_cancelled_run_closes_the_body() -> None:
    """What a source holds open, as a listener for a browser, is let go at once."""
    done: list[str] = []

    async def wait() -> None:
        await asyncio.sleep(60)

    def body() -> Needs[None]:
        try:
            yield from NeedCall(lambda: None, Blocking.REMOTE, wait)
        finally:
            done.append("closed")

    async def main() -> None:
        async with aio.Client("imap", "localhost", config={}) as client:
            task = asyncio.create_task(client.run(body()))
            await asyncio.sleep(0.05)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task

    asyncio.run(main())
    assert done == ["closed"]


def test_what_the_caller_handles_may_be_raised_again(run: Run) -> None:
    """By a source that keeps an error, say: it has gathered frames, and they are cut."""
    kept = BackendError(detail="no such client")

    def fail(word: str) -> None:
        secret = f"{word}-4711"
        if secret:
            raise kept

    def body() -> Needs[None]:
        yield from NeedCall(lambda: fail("secret"), Blocking.REMOTE)

    try:
        raise kept
    except BackendError:
        with pytest.raises(BackendError) as caught:
            run(body())
    assert caught.value is kept
    assert kept.__cause__ is None
    assert kept.__context__ is None
    frames = [frame for frame, _ in traceback.walk_tb(kept.__traceback__)]
    assert not [frame for frame in frames if "secret-4711" in repr(frame.f_locals)]
