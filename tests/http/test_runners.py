"""The transport as an application gives it: a mechanism asks, whoever drives it."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from drivers import Driver, exchange
from http_faults import Answer, FaultyServer
from sasl_core.plugin import BackendError, HttpRequest, NeedHttp, NeedPeer, Needs, Success
from sasl_http import HttpTransport
from toys import Toys, client_plug, server_plug


@pytest.fixture
def http() -> Iterator[HttpTransport]:
    """A transport, closed afterwards."""
    with HttpTransport() as http:
        yield http


@contextmanager
def sessions(driver: Driver, http: HttpTransport, request: HttpRequest) -> Iterator[list[Any]]:
    """The server's session and the client's, of a mechanism both sides of which fetch."""

    def fetching(ctx: Any) -> Needs[Success]:
        answer = yield from NeedHttp(request)
        ctx.canon_user("alice")
        if hasattr(ctx, "attest"):
            message = yield from NeedPeer()
            assert message == answer.body
            return Success(ctx.attest(ctx.user, how="http"))
        return Success(data=answer.body)

    with Toys() as toys:
        toys.mechanism(server_plug("TOY", fetching), client_plug("TOY", fetching))
        registry = toys.registry()
        server = driver.server(registry=registry, http=http)
        client = driver.client(registry=registry, http=http)
        yield [server.session(), client.session(authid="alice")]


def test_both_sides_fetch(driver: Driver, http: HttpTransport) -> None:
    """A mechanism's request goes out, and its answer comes back to it."""
    with FaultyServer(lambda request: Answer(body=b"keys")) as provider:
        request = HttpRequest("GET", provider.url + "/keys", ca_file=provider.ca_file)
        with sessions(driver, http, request) as (server, client):
            exchange(server, client, "TOY")
            assert server.authid == "alice"
        assert len(provider.requests) == 2


def test_a_provider_that_hangs_is_an_outage(driver: Driver, http: HttpTransport) -> None:
    """Nobody's password is wrong; the detail reaches the session's log."""
    with FaultyServer("hang") as provider:
        request = HttpRequest("GET", provider.url, ca_file=provider.ca_file, deadline=0.2)
        with sessions(driver, http, request) as both:
            for session in both:
                with pytest.raises(BackendError) as caught:
                    session.start("TOY")
                assert (caught.value.code, caught.value.temporary) == ("http-timeout", True)
                assert provider.url in (session.error_detail or "")


def test_asyncio_goes_on_meanwhile(http: HttpTransport) -> None:
    """A request in a thread leaves the event loop to others."""

    async def run(provider: FaultyServer) -> int:
        request = HttpRequest("GET", provider.url, ca_file=provider.ca_file, deadline=0.5)
        fetch = asyncio.create_task(asyncio.to_thread(http, request))
        ticks = 0
        while not fetch.done():
            await asyncio.sleep(0.01)
            ticks += 1
        with pytest.raises(BackendError):
            await fetch
        return ticks

    with FaultyServer("hang") as provider:
        assert asyncio.run(run(provider)) > 10
