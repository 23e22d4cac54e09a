"""The human flows through a Client's own door: whom a server may send where, and how it ends."""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import Callable, Sequence
from typing import Any
from urllib.parse import urlsplit

import pytest

from drivers import Driver
from person_kit import Browser, PersonIssuer
from sasl_core import UsageError, aio
from sasl_core.plugin import BackendError, CredentialsPlug
from sasl_credentials import (
    AuthorizationCode,
    AuthorizationCodeOptions,
    DeviceCode,
    DeviceCodeOptions,
    DevicePrompt,
)
from sasl_credentials.redirect.uri import RedirectUri, bind
from token_sources import ISSUER, TOY
from toys import OPEN, Toys

Made = tuple[CredentialsPlug, Sequence[object]]


def code_source(provider: PersonIssuer, **options: Any) -> Made:
    """One that logs in with the browser, and the addresses that it opens."""
    browser = Browser(provider)
    made = AuthorizationCode(AuthorizationCodeOptions(**options), open_browser=browser)
    return made, browser.urls


def device_source(provider: PersonIssuer, **options: Any) -> Made:
    """One that logs in elsewhere, and what the person is shown."""
    shown: list[object] = []
    provider.device_answer = {"interval": 1}

    def show(prompt: DevicePrompt) -> None:
        shown.append(prompt)

    return DeviceCode(DeviceCodeOptions(**options), show=show), shown


SOURCES = pytest.mark.parametrize("make", [code_source, device_source])


def log_in(client: Any, **facts: Any) -> tuple[bytes | None, Any]:
    """The token that a session sent, and the session."""
    session = client.session(**facts)
    reply = session.start([TOY])
    if reply.data == b"?":
        reply = session.step(ISSUER.encode())
    return reply.data, session


@SOURCES
def test_the_server_says_where_a_person_logs_in(
    driver: Driver, toys: Toys, make: Callable[..., Made]
) -> None:
    """Once; then the token is kept, and a refresh token is used before the person is asked."""
    provider = PersonIssuer(ISSUER)
    source, asked = make(provider)
    client = driver.client(
        OPEN, "localhost", registry=toys.registry(), credentials=source, http=provider.http
    )
    assert log_in(client)[0] == b"access-token-4471"
    provider.token_answer = {"access_token": "access-token-2"}
    sent, session = log_in(client)
    assert sent == b"access-token-4471"
    assert session.refused()
    assert log_in(client)[0] == b"access-token-2"
    assert len(asked) == 1
    assert provider.forms[-1] == {
        "grant_type": "refresh_token",
        "refresh_token": "refresh-token-9920",
        "client_id": "client",
    }


@SOURCES
def test_nothing_happens_for_a_host_that_is_not_allowed(
    driver: Driver,
    toys: Toys,
    make: Callable[..., Made],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """No listener, no browser, no provider; with a token that is kept as well."""
    bound: list[object] = []

    def listening(address: RedirectUri) -> tuple[socket.socket, ...]:
        bound.append(address)
        return bind(address)

    monkeypatch.setattr("sasl_credentials.redirect.listener.bind", listening)
    provider = PersonIssuer(ISSUER)
    source, asked = make(provider, allowed_hosts=("db.example.com",))
    client = driver.client(
        OPEN, "db.example.com", registry=toys.registry(), credentials=source, http=provider.http
    )
    assert log_in(client)[0] == b"access-token-4471"
    before = len(provider.requests), len(asked), len(bound)
    assert before[0] > 0
    # What is kept is for nobody else: the list is asked before it.
    source.allowed_hosts = ("other.example.com",)
    with pytest.raises(UsageError) as caught:
        _ = log_in(client)
    assert caught.value.code == "host-not-allowed"
    source.allowed_hosts = ("db.example.com",)
    for host in ("evil.example.com", "db.example.com.evil.example.com", "localhost"):
        other = driver.client(
            OPEN, host, registry=toys.registry(), credentials=source, http=provider.http
        )
        with pytest.raises(UsageError) as caught:
            _ = log_in(other)
        assert caught.value.code == "host-not-allowed"
    # A connection that says whereto it leads is asked as well.
    with pytest.raises(UsageError, match="evil") as caught:
        _ = log_in(client, connected_to="evil.example.com")
    assert caught.value.code == "host-not-allowed"
    assert (len(provider.requests), len(asked), len(bound)) == before


def test_a_person_who_gives_up_frees_the_port(toys: Toys) -> None:
    """A task that waits for the browser is cancelled: the listener is gone at once."""
    provider = PersonIssuer(ISSUER)
    opened = asyncio.Event()
    urls: list[str] = []

    async def open_browser(url: str) -> bool:
        urls.append(url)
        opened.set()
        return True

    source = AuthorizationCode(
        AuthorizationCodeOptions(issuer=ISSUER, client_id="app"), open_browser=open_browser
    )

    async def give_up() -> float:
        made = aio.Client(
            "smtp",
            "localhost",
            config=OPEN,
            registry=toys.registry(),
            credentials=source,
            http=provider.http,
        )
        async with made as client:
            session = client.session()
            _ = await session.start([TOY])
            task = asyncio.create_task(session.step(ISSUER.encode()))
            _ = await opened.wait()
            await asyncio.sleep(0.05)
            begin = time.monotonic()
            _ = task.cancel()
            with pytest.raises(asyncio.CancelledError):
                _ = await task
            back = urls[0].partition("redirect_uri=")[2].partition("&")[0]
            port = int(back.partition("127.0.0.1%3A")[2].partition("%2F")[0])
            with pytest.raises(OSError, match="refused"):
                socket.create_connection(("127.0.0.1", port), timeout=5).close()
            return time.monotonic() - begin

    assert asyncio.run(give_up()) < 5
    assert provider.forms == []


def test_two_who_log_in_at_once_ask_the_person_once(toys: Toys) -> None:
    """The second gets what the first one gets."""
    provider = PersonIssuer(ISSUER)
    source, asked = code_source(provider)

    async def both() -> list[bytes | None]:
        made = aio.Client(
            "smtp",
            "localhost",
            config=OPEN,
            registry=toys.registry(),
            credentials=source,
            http=provider.http,
        )
        async with made as client:

            async def one() -> bytes | None:
                session = client.session()
                _ = await session.start([TOY])
                return (await session.step(ISSUER.encode())).data

            return list(await asyncio.gather(*[one() for _ in range(5)]))

    assert asyncio.run(both()) == [b"access-token-4471"] * 5
    assert len(asked) == 1


def test_coroutine_functions_open_and_show(toys: Toys) -> None:
    """In asyncio; one that raises is as one that does not open."""
    provider = PersonIssuer(ISSUER)
    browser = Browser(provider)

    async def no_browser(url: str) -> bool:
        raise OSError

    async def show(url: str) -> None:
        browser.go(url)

    source = AuthorizationCode(
        AuthorizationCodeOptions(issuer=ISSUER, client_id="app"), open_browser=no_browser, show=show
    )

    async def one() -> bytes | None:
        made = aio.Client(
            "smtp",
            "localhost",
            config=OPEN,
            registry=toys.registry(),
            credentials=source,
            http=provider.http,
        )
        async with made as client:
            session = client.session()
            _ = await session.start([TOY])
            return (await session.step(ISSUER.encode())).data

    assert asyncio.run(one()) == b"access-token-4471"
    _ = browser.close()


def test_mail_needs_a_configured_provider(driver: Driver) -> None:
    """OAUTHBEARER's server says nothing of it; the token goes to the allowed host alone."""
    provider = PersonIssuer(ISSUER)
    source, asked = code_source(
        provider, issuer=ISSUER, client_id="app", allowed_hosts=("mail.example.com",)
    )
    client = driver.client(OPEN, "mail.example.com", credentials=source, http=provider.http)
    session = client.session(authid="ada", external_ssf=256)
    assert b"auth=Bearer access-token-4471" in session.start(["OAUTHBEARER"]).data
    assert len(asked) == 1
    again = client.session(authid="ada", external_ssf=256)
    assert b"access-token-4471" in again.start(["OAUTHBEARER"]).data
    assert len(asked) == 1


def test_a_login_without_a_person_is_told_why(driver: Driver) -> None:
    """An outage of the provider is one, and is no wrong password."""
    provider = PersonIssuer(ISSUER)
    provider.down = True
    source, asked = code_source(
        provider, issuer=ISSUER, client_id="app", allowed_hosts=("mail.example.com",)
    )
    client = driver.client(OPEN, "mail.example.com", credentials=source, http=provider.http)
    session = client.session(authid="ada", external_ssf=256)
    with pytest.raises(BackendError):
        _ = session.start(["OAUTHBEARER"])
    assert asked == []


def test_the_address_is_as_it_was_registered(toys: Toys, driver: Driver) -> None:
    """The redirect of both requests is the same, octet by octet."""
    provider = PersonIssuer(ISSUER)
    source, asked = code_source(provider)
    client = driver.client(
        OPEN, "localhost", registry=toys.registry(), credentials=source, http=provider.http
    )
    assert log_in(client)[0] == b"access-token-4471"
    (url,) = asked
    back = provider.forms[-1]["redirect_uri"]
    assert urlsplit(back).path == "/callback"
    assert back.replace(":", "%3A").replace("/", "%2F") in str(url)
