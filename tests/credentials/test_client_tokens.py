"""Which token a client's session sends: its own, its source's, and to whom."""

from __future__ import annotations

import logging
from typing import Any

import pytest

from drivers import Driver
from sasl_core import BackendError, ConfigError, MechanismError, PluginError, UsageError
from sasl_core.plugin import AccessToken, ClientContext, Needs, Success, TokenRequest
from sasl_tokens.client import held_token, token_refused
from token_sources import ISSUER, TOY, Counting
from toys import OPEN, Toys, client_plug


def log_in(client: Any, **more: Any) -> tuple[bytes | None, Any]:
    """The token that a session sent, and the session."""
    session = client.session(**more)
    reply = session.start([TOY])
    if reply.data == b"?":
        reply = session.step(ISSUER.encode())
    return reply.data, session


def test_a_sources_token_is_sent(driver: Driver, toys: Toys) -> None:
    """It is told whom it is for, and asked once."""
    source = Counting()
    client = driver.client(OPEN, "localhost", registry=toys.registry(), credentials=source)
    assert [log_in(client)[0] for _ in range(2)] == [b"token-1"] * 2
    (request,) = source.requests
    assert (request.service, request.host, request.deadline) == ("smtp", "localhost", 60.0)


def test_after_a_refusal_the_next_session_sends_a_new_one(driver: Driver, toys: Toys) -> None:
    """`refused()` says whether a second attempt makes sense."""
    client = driver.client(OPEN, "localhost", registry=toys.registry(), credentials=Counting())
    _ = log_in(client)
    sent, session = log_in(client)
    assert (sent, session.refused()) == (b"token-1", True)
    sent, session = log_in(client)
    assert (sent, session.refused(), session.refused()) == (b"token-2", False, False)


def test_a_person_is_sent_where_the_server_says(driver: Driver, toys: Toys) -> None:
    """The first login asks the server, the second has a token, the third a refresh token."""
    source = Counting(human=True)
    client = driver.client(OPEN, "localhost", registry=toys.registry(), credentials=source)
    assert log_in(client)[0] == b"token-1"
    sent, session = log_in(client)
    assert (sent, session.refused()) == (b"token-1", True)
    assert log_in(client)[0] == b"token-2"
    assert source.shown == [(ISSUER, None), (ISSUER, "refresh-1")]
    assert source.requests[0].client_id == "client"
    assert source.requests[0].deadline == 300.0


@pytest.mark.parametrize("host", ["mongodb.net", "evil-mongodb.net", "localhost.example.com"])
def test_a_persons_token_goes_to_allowed_hosts_only(driver: Driver, toys: Toys, host: str) -> None:
    """Nobody is asked, and the server hears nothing."""
    source = Counting(human=True)
    client = driver.client(OPEN, host, registry=toys.registry(), credentials=source)
    with pytest.raises(UsageError, match="allowed_hosts") as caught:
        _ = log_in(client)
    assert caught.value.code == "host-not-allowed"
    assert source.requests == []


def test_a_persons_kept_token_is_not_sent_to_a_host_that_is_not_allowed(
    driver: Driver, toys: Toys
) -> None:
    """The list counts for what is kept as well."""
    source = Counting(human=True, allowed_hosts=("mail.example.com",))
    client = driver.client(OPEN, "mail.example.com", registry=toys.registry(), credentials=source)
    assert log_in(client)[0] == b"token-1"
    source.allowed_hosts = ("other.example.com",)
    with pytest.raises(UsageError, match="allowed_hosts"):
        _ = log_in(client)
    source.allowed_hosts = ()
    with pytest.raises(UsageError, match="allowed_hosts"):
        _ = log_in(client)


@pytest.mark.parametrize("allowed", ["localhost", ["localhost"], (1,), ("*",)], ids=repr)
def test_a_list_of_hosts_that_is_none_allows_nobody(
    driver: Driver, toys: Toys, allowed: Any
) -> None:
    """A stranger's plug may have anything there."""
    source = Counting(human=True, allowed_hosts=allowed)
    client = driver.client(OPEN, "localhost", registry=toys.registry(), credentials=source)
    with pytest.raises((UsageError, ConfigError), match="allowed_hosts"):
        _ = log_in(client)
    assert source.requests == []


def test_a_machines_token_goes_to_its_host(driver: Driver, toys: Toys) -> None:
    """The list is for persons: a machine's token is made for the server."""
    client = driver.client(OPEN, "db.example.com", registry=toys.registry(), credentials=Counting())
    assert log_in(client)[0] == b"token-1"


@pytest.mark.parametrize("given", ["mine", lambda prompt: "mine"], ids=["text", "callable"])
def test_a_sessions_own_token_is_used_as_it_is(driver: Driver, toys: Toys, given: Any) -> None:
    """Whatever the host; nothing of it is kept, and its refusal changes nothing."""
    client = driver.client(OPEN, "db.example.com", registry=toys.registry())
    sent, session = log_in(client, token=given)
    assert (sent, session.refused()) == (b"mine", False)
    with pytest.raises(MechanismError, match="TOKEN"):
        _ = log_in(client)


def test_a_sessions_own_token_goes_before_the_source(driver: Driver, toys: Toys) -> None:
    """Whoever gives one means it; the source is not asked, and keeps what it has."""
    source = Counting()
    client = driver.client(OPEN, "localhost", registry=toys.registry(), credentials=source)
    sent, session = log_in(client, token="mine")
    assert (sent, session.refused()) == (b"mine", False)
    assert source.requests == []
    assert log_in(client)[0] == b"token-1"
    assert log_in(client, token="mine")[0] == b"mine"
    assert log_in(client)[0] == b"token-1"


@pytest.mark.parametrize("given", ["a b", "", "ä", "x" * 20_000], ids=lambda text: text[:5])
def test_what_is_no_token_is_not_sent(driver: Driver, toys: Toys, given: str) -> None:
    """Nor told in the error."""
    client = driver.client(OPEN, "localhost", registry=toys.registry())
    with pytest.raises(UsageError) as caught:
        _ = log_in(client, token=given)
    assert caught.value.code == "bad-token"
    assert not given or given not in str(caught.value)


def test_a_source_by_its_name(driver: Driver, toys: Toys) -> None:
    """An installed plug, named in the configuration; one that is not installed is said aloud."""
    toys.plug("credentials", Counting())
    config = {**OPEN, "credentials_plugin": "counting"}
    client = driver.client(config, "localhost", registry=toys.registry())
    assert log_in(client)[0] == b"token-1"
    config = {**OPEN, "credentials_plugin": "absent"}
    client = driver.client(config, "localhost", registry=toys.registry())
    with pytest.raises((MechanismError, PluginError)):
        _ = log_in(client)


def test_a_mechanism_is_told_inside_of_the_exchange_that_a_token_is_refused(
    driver: Driver, toys: Toys
) -> None:
    """`token_refused`, for a token that this exchange was given and no other."""
    told: list[object] = []

    def body(ctx: ClientContext) -> Needs[Success]:
        _ = ctx.canon_user("somebody")
        for wrong in ("", "token-1"):
            with pytest.raises(UsageError):
                _ = token_refused(ctx, wrong)
        token = yield from held_token(ctx)
        assert token is not None
        with pytest.raises(UsageError):
            _ = token_refused(ctx, token + "x")
        told.append(token_refused(ctx, token))
        return Success(data=token.encode())

    toys.mechanism(client=client_plug(TOY, body))
    client = driver.client(OPEN, "localhost", registry=toys.registry(), credentials=Counting())
    _, session = log_in(client)
    assert told == [False]
    assert session.refused() is False


def test_no_token_is_ever_shown(
    driver: Driver, toys: Toys, caplog: pytest.LogCaptureFixture
) -> None:
    """Neither in a repr, nor in the log, nor in an error."""
    caplog.set_level(logging.DEBUG)
    secret = "s3cr3t-s3cr3t"

    class Secretive(Counting):
        def token(self, request: TokenRequest) -> Any:
            yield from super().token(request)
            return AccessToken(secret, None, secret + "-refresh")

    source = Secretive(human=True)
    client = driver.client(OPEN, "localhost", registry=toys.registry(), credentials=source)
    _, session = log_in(client)
    _, again = log_in(client)
    shown = [repr(session.inner), repr(session), repr(again), repr(client.inner), caplog.text]
    assert again.refused()
    source.fails = lambda request: BackendError(detail="down")
    with pytest.raises(BackendError) as caught:
        _ = log_in(client)
    shown += [repr(caught.value), str(caught.value.detail), *map(repr, source.requests)]
    shown.append(repr(AccessToken(secret, None, secret)))
    shown.append(caplog.text)
    assert source.requests[1].refresh_token == secret + "-refresh"
    assert not [text for text in shown if secret in text]
