"""The MongoDB server over TCP: logins, limits, bad clients, and nothing left behind."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import socket
import ssl
import struct
import threading
import time
from base64 import b64decode, b64encode
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import bson
import pytest

from mongodb_kit import (
    CLEAR,
    MECHANISMS,
    PASSWORD,
    MongoPeer,
    MongoService,
    Scram,
    Serve,
    digest,
    message,
    provider,
    query,
    scram_login,
    services,
    who,
)
from sasl_auxprop.memory import MemoryStore
from sasl_core import BindingPolicy
from sasl_core.aio import Server
from sasl_core.plugin import BackendError, Layer, UsageError, record
from sasl_profiles import mongodb
from sasl_profiles.mongodb import Command, Limits, MongodbServer
from sasl_profiles.mongodb.client_task import STANDS_SECONDS
from sasl_profiles.mongodb.connection import MongodbConnection
from sasl_profiles.mongodb.room import BEGUN_SECONDS, FRESH_SECONDS, Rank, rank
from sasl_tls import ServerTls
from token_kit import FakeIssuer

FAILED = {
    "ok": 0.0,
    "errmsg": "Authentication failed.",
    "code": 18,
    "codeName": "AuthenticationFailed",
}

FIRST = b"n,,n=tim,r=rOprNGfwEbeRWgbNEkqO"
"""The first message of SCRAM's, of a client that may never send the second."""

START = {"saslStart": 1, "mechanism": "SCRAM-SHA-256", "payload": FIRST}


@pytest.fixture
def serve() -> Iterator[Serve]:
    """Starts MongoDB servers; each is stopped, and must have left nothing behind."""
    with services() as start:
        yield start


# --- logins by hand ---------------------------------------------------------------------------


def test_plain(serve: Serve) -> None:
    """One message, and whoever it was is told."""
    with serve().connect() as peer:
        assert peer.plain() == {"conversationId": 1, "done": True, "payload": b"", "ok": 1.0}
        assert who(peer) == [{"user": "tim", "db": "$external"}]


@pytest.mark.parametrize("text", [False, True])
@pytest.mark.parametrize("skip", [None, False, True])
def test_scram_with_and_without_an_empty_exchange(
    serve: Serve, skip: bool | None, text: bool
) -> None:
    """The server's last data come with the success, or before it, in the form of the request."""

    def out(data: bytes) -> bytes | str:
        return b64encode(data).decode() if text else data

    def back(payload: Any) -> bytes:
        return b64decode(payload, validate=True) if text else payload

    options: dict[str, Any] = {} if skip is None else {"skipEmptyExchange": skip}
    with serve().connect() as peer, Scram() as scram:
        first = peer.start("SCRAM-SHA-256", out(scram.first), **options)
        assert first["done"] is False
        last = peer.go_on(out(scram.answer(back(first["payload"]))))
        assert back(last["payload"]).startswith(b"v=")
        assert last["done"] is (skip is True)
        if not skip:
            assert scram.answer(back(last["payload"])) == b""
            scram.session.finish()
            assert who(peer) == []
            end = peer.go_on(out(b""))
            assert (end["done"], back(end["payload"])) == (True, b"")
        else:
            scram.session.finish(back(last["payload"]))
        assert who(peer) == [{"user": "tim", "db": "admin"}]


def test_scram_sha_1_with_mongodbs_digest(serve: Serve) -> None:
    """A verifier that was made of the digest, as MongoDB's clients make it, lets them in."""
    service = serve()
    service.give_digest()
    password = digest("tim", PASSWORD)
    with service.connect() as peer, Scram("tim", password, "SCRAM-SHA-1") as scram:
        first = peer.start("SCRAM-SHA-1", scram.first, skipEmptyExchange=True)
        last = peer.go_on(scram.answer(first["payload"]))
        scram.session.finish(last["payload"])
        assert who(peer) == [{"user": "tim", "db": "admin"}]
    with service.connect() as peer, Scram("tim", PASSWORD, "SCRAM-SHA-1") as scram:
        first = peer.start("SCRAM-SHA-1", scram.first)
        assert peer.go_on(scram.answer(first["payload"])) == FAILED


def test_scram_inside_of_a_hello(serve: Serve) -> None:
    """A driver's first message by OP_QUERY begins the login; it goes on by OP_MSG."""
    with serve().connect() as peer, Scram() as scram:
        speculative = {
            "saslStart": 1,
            "mechanism": "SCRAM-SHA-256",
            "payload": scram.first,
            "options": {"skipEmptyExchange": True},
            "db": "admin",
        }
        hello = {"ismaster": 1, "helloOk": True, "speculativeAuthenticate": speculative}
        peer.send(query({**hello, "saslSupportedMechs": "admin.tim"}, number=42))
        received = peer.receive()
        assert received is not None
        number, answer = received
        assert number == 42
        assert answer["saslSupportedMechs"] == ["SCRAM-SHA-256", "SCRAM-SHA-1"]
        last = peer.go_on(scram.answer(answer["speculativeAuthenticate"]["payload"]))
        scram.session.finish(last["payload"])
        assert who(peer) == [{"user": "tim", "db": "admin"}]


def test_a_login_octet_by_octet(serve: Serve) -> None:
    """A login is the same however TCP cuts it (invariant 9)."""
    with serve().connect() as peer, Scram() as scram:
        whole = peer.send

        def drip(data: bytes) -> None:
            for octet in data:
                whole(bytes([octet]))

        peer.send = drip  # type: ignore[method-assign]
        first = peer.start("SCRAM-SHA-256", scram.first, skipEmptyExchange=True)
        last = peer.go_on(scram.answer(first["payload"]))
        scram.session.finish(last["payload"])


def test_every_refusal_is_the_same(serve: Serve) -> None:
    """Wrong password, unknown user, another's database, nonsense: one answer."""
    service = serve()
    logins: list[tuple[str, bytes, str]] = [
        ("PLAIN", b"\0tim\0hunter2", "$external"),
        ("PLAIN", b"\0nobody\0hunter2", "$external"),
        ("PLAIN", b"kim\0tim\0" + PASSWORD.encode(), "$external"),
        ("PLAIN", b"\0tim\0" + PASSWORD.encode(), "admin"),
        ("PLAIN", b"nonsense", "$external"),
        ("SCRAM-SHA-256", b"n,,n=tim,r=rOprNGfwEbeRWgbNEkqO", "test"),
        ("SCRAM-SHA-256", b"n,,n=tim,r=rOprNGfwEbeRWgbNEkqO", "$external"),
        ("SCRAM-SHA-256", b"n,,n=tim,r=rOprNGfwEbeRWgbNEkqO", ""),
        ("SCRAM-SHA-256", b"", "admin"),
        ("SCRAM-SHA-256", b"n,,n=tim=,r=rOprNGfwEbeRWgbNEkqO", "admin"),
    ]
    for mechanism, payload, database in logins:
        with service.connect() as peer:
            assert peer.start(mechanism, payload, database) == FAILED
            assert who(peer) == []


def test_a_wrong_password_by_scram(serve: Serve) -> None:
    """An unknown user hears as much, and as late, as one with a wrong password."""
    heard: list[tuple[int, bytes]] = []
    for user in ("tim", "nobody"):
        with serve().connect() as peer, Scram(user, "hunter2") as scram:
            first = peer.start("SCRAM-SHA-256", scram.first)
            heard.append((len(first["payload"]), first["payload"].rpartition(b",")[2]))
            assert peer.go_on(scram.answer(first["payload"])) == FAILED
            assert peer.go_on(b"")["code"] == 17
    assert heard[0] == heard[1]


def test_failed_logins_end_the_connection(serve: Serve) -> None:
    """After five of them; the fifth is still told."""
    with serve().connect() as peer:
        for _ in range(5):
            assert peer.plain(password="hunter2") == FAILED
        assert peer.hung_up()


def test_what_is_offered_depends_on_the_connection(serve: Serve) -> None:
    """Without TLS no password goes in clear, unless that is allowed; 334 says no more."""
    service = serve(config={"mech_list": MECHANISMS})
    with service.connect() as peer:
        answer = peer.plain()
        assert answer["code"] == 334
        assert "TLS" not in answer["errmsg"]
        asked = {"hello": 1, "saslSupportedMechs": "admin.tim"}
        assert peer.ask(asked)["saslSupportedMechs"] == ["SCRAM-SHA-256", "SCRAM-SHA-1"]


def test_a_mechanism_with_a_layer_is_refused(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing here could carry it."""
    service = serve()
    kind = type(service.run(_session(service)))
    monkeypatch.setattr(kind, "layer", property(lambda self: Layer))
    with service.connect() as peer:
        assert peer.plain()["code"] == 334
        assert who(peer) == []


async def _session(service: MongoService) -> Any:
    session = service.sasl.session()
    session.close()
    return session


def test_an_outage_is_a_failed_login(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    """MongoDB's clients know one failure; the log knows more."""
    store = MemoryStore({"tim": PASSWORD})

    def fail(*_: object, **__: object) -> Any:
        raise BackendError(detail="the store is away")

    service = serve(stores=[store])
    monkeypatch.setattr(store, "lookup", fail)
    with service.connect() as peer:
        assert peer.plain() == FAILED


def test_another_login_takes_the_place(serve: Serve) -> None:
    """One session at most is kept for a client."""
    service = serve()
    with service.connect() as peer:
        for user in ("tim", "a,b=c", "tim"):
            assert peer.plain(user)["done"] is True
            assert who(peer) == [{"user": user, "db": "$external"}]
            assert service.open_sessions == 1
        assert peer.ask({"logout": 1}) == {"ok": 1.0}
        assert who(peer) == []
        assert service.open_sessions == 0


def test_a_spoilt_exchange_leaves_no_session(serve: Serve) -> None:
    """Nor does one that another takes the place of, or whose client goes."""
    service = serve()
    first = b"n,,n=tim,r=rOprNGfwEbeRWgbNEkqO"
    with service.connect() as peer:
        assert peer.start("SCRAM-SHA-256", first)["done"] is False
        assert service.open_sessions == 1
        assert peer.start("SCRAM-SHA-256", first)["code"] == 17
        assert service.open_sessions == 0
        speculative = {
            "saslStart": 1,
            "mechanism": "SCRAM-SHA-256",
            "payload": first,
            "db": "admin",
        }
        assert "speculativeAuthenticate" in peer.ask(
            {"hello": 1, "speculativeAuthenticate": speculative}
        )
        assert peer.start("SCRAM-SHA-256", first)["done"] is False
        assert service.open_sessions == 1
    service.settle()


def test_what_cannot_be_served() -> None:
    """Binding that no driver has, and a client's side."""

    async def make() -> None:
        async with Server("mongodb", "localhost", config=CLEAR, stores=[MemoryStore()]) as server:
            with pytest.raises(UsageError, match="binding"):
                mongodb.make_server(server, host_name="x", tls=None, binding=BindingPolicy.REQUIRE)
            with pytest.raises(UsageError):
                _ = MongodbServer(server).address
            async with MongodbServer(server) as listening:
                await listening.start()
                with pytest.raises(UsageError):
                    await listening.start()
            with pytest.raises(AttributeError):
                _ = mongodb.nothing

    asyncio.run(make())
    assert "MongodbServer" in dir(mongodb)
    assert mongodb.PORT == 27017


# --- tokens -------------------------------------------------------------------------------------


@pytest.fixture
def issuer() -> FakeIssuer:
    """An identity provider."""
    return FakeIssuer()


def jwt(issuer: FakeIssuer, **claims: Any) -> bytes:
    """The payload that brings a token."""
    return bson.encode({"jwt": issuer.sign(**{"sub": "tim", "groups": ["readers"], **claims})})


def oidc(peer: MongoPeer, payload: bytes) -> dict[str, Any]:
    """A saslStart of MONGODB-OIDC."""
    return peer.start("MONGODB-OIDC", payload, "$external")


def test_a_token_inside_of_a_hello(serve: Serve, issuer: FakeIssuer) -> None:
    """One round trip from the connection to the login."""
    with serve(issuer=issuer).connect() as peer:
        speculative = {
            "saslStart": 1,
            "mechanism": "MONGODB-OIDC",
            "payload": jwt(issuer),
            "db": "$external",
        }
        answer = peer.ask({"hello": 1, "speculativeAuthenticate": speculative})
        assert answer["speculativeAuthenticate"]["done"] is True
        assert who(peer) == [{"user": "okta/tim", "db": "$external"}]


def test_a_token_in_two_steps(serve: Serve, issuer: FakeIssuer) -> None:
    """The server tells whom it trusts, then takes the token."""
    with serve(issuer=issuer).connect() as peer:
        told = bson.decode(oidc(peer, bson.encode({}))["payload"])
        assert told == {"issuer": issuer.url, "clientId": "sasl-client"}
        assert peer.go_on(jwt(issuer), database="$external")["done"] is True
        assert who(peer) == [{"user": "okta/tim", "db": "$external"}]


def test_a_token_lapses(serve: Serve, issuer: FakeIssuer) -> None:
    """391 until another login; a login by password in its place does not lapse."""
    service = serve(issuer=issuer)
    with service.connect() as peer:
        oidc(peer, jwt(issuer))
        assert peer.ask({"ping": 1}) == {"ok": 1.0}
        service.expire_tokens()
        assert peer.ask({"ping": 1})["code"] == 391
        assert peer.ask({"hello": 1})["ok"] == 1.0
        assert oidc(peer, bson.encode({"jwt": "a.b.c"})) == FAILED
        assert peer.ask({"ping": 1})["code"] == 391
        assert oidc(peer, jwt(issuer))["done"] is True
        assert peer.ask({"ping": 1}) == {"ok": 1.0}
        service.expire_tokens()
        assert peer.ask({"ping": 1})["code"] == 391
        assert peer.plain()["done"] is True
        service.expire_tokens()
        assert peer.ask({"ping": 1}) == {"ok": 1.0}
        assert service.open_sessions == 1


def test_no_token_is_logged(
    serve: Serve, issuer: FakeIssuer, caplog: pytest.LogCaptureFixture
) -> None:
    """Neither a good one nor one that is refused, whole or in part."""
    caplog.set_level(logging.DEBUG)
    good, bad = jwt(issuer), jwt(issuer, aud="another")
    with serve(issuer=issuer).connect() as peer:
        assert oidc(peer, good)["done"] is True
        assert oidc(peer, bad) == FAILED
    for payload in (good, bad):
        for part in bson.decode(payload)["jwt"].split("."):
            assert part not in caplog.text


def test_an_administrator_replaces_the_providers(serve: Serve, issuer: FakeIssuer) -> None:
    """From then on the new ones count; whoever came by the old ones logs in again."""
    service = serve(issuer=issuer, administrators=["admin.tim", "$external.okta/root"])
    changed = provider(issuer, authNamePrefix="entra")
    command = {"setParameter": 1, "oidcIdentityProviders": [changed]}
    with service.connect() as user, service.connect() as admin:
        assert user.ask(command)["code"] == 13
        oidc(user, jwt(issuer))
        assert user.ask(command)["code"] == 13
        # The same name by PLAIN is another user.
        admin.plain()
        assert admin.ask(command)["code"] == 13
        assert scram_login(admin, "tim", "admin")["ok"] == 1.0
        wrong = admin.ask({"setParameter": 1, "oidcIdentityProviders": [{**changed, "x": 1}]})
        assert wrong["code"] == 2
        assert "[0]" in wrong["errmsg"]
        assert user.ask({"ping": 1})["ok"] == 1.0
        assert admin.ask(command) == {"ok": 1.0}
        assert user.ask({"ping": 1})["code"] == 391
        oidc(user, jwt(issuer))
        assert who(user) == [{"user": "entra/tim", "db": "$external"}]
    with service.connect() as admin:
        assert scram_login(admin, "tim", "admin")["ok"] == 1.0
        text = json.dumps([provider(issuer)])
        assert admin.ask({"setParameter": 1, "oidcIdentityProviders": text}) == {"ok": 1.0}
        oidc(admin, jwt(issuer, sub="root"))
        assert admin.ask(command) == {"ok": 1.0}


def test_the_first_providers_come_later(serve: Serve, issuer: FakeIssuer) -> None:
    """A server that began without any takes tokens as soon as an administrator names some."""
    service = serve(
        issuer=issuer,
        config={**CLEAR, "identity_providers": []},
        administrators=["admin.tim"],
    )
    with service.connect() as peer:
        assert oidc(peer, jwt(issuer)) == FAILED
        scram_login(peer, "tim", "admin")
        command = {"setParameter": 1, "oidcIdentityProviders": [provider(issuer)]}
        assert peer.ask(command) == {"ok": 1.0}
        assert oidc(peer, jwt(issuer))["done"] is True


@pytest.mark.parametrize(
    "providers", [[1], [None], [[]], [{}], "", "{", "[1]", [{"issuer": bson.ObjectId()}]]
)
def test_providers_that_are_none(serve: Serve, issuer: FakeIssuer, providers: Any) -> None:
    """2, whatever stands there, and the old ones go on to serve."""
    with serve(issuer=issuer, administrators=["admin.tim"]).connect() as peer:
        scram_login(peer, "tim", "admin")
        assert peer.ask({"setParameter": 1, "oidcIdentityProviders": providers})["code"] == 2
        assert oidc(peer, jwt(issuer))["done"] is True


# --- TLS -----------------------------------------------------------------------------------------


def test_tls_from_the_first_octet(
    serve: Serve, server_tls: ServerTls, client_tls: ssl.SSLContext
) -> None:
    """Over it a password may go; -PLUS is nothing that MongoDB's clients know."""
    service = serve(tls=server_tls, config={"mech_list": MECHANISMS})
    with service.connect(client_tls) as peer:
        asked = {"hello": 1, "saslSupportedMechs": "admin.tim"}
        assert peer.ask(asked)["saslSupportedMechs"] == ["SCRAM-SHA-256", "SCRAM-SHA-1"]
        assert peer.start("SCRAM-SHA-256-PLUS", b"p=tls-unique,,n=tim,r=x")["code"] == 334
        assert peer.plain()["done"] is True
    with service.connect(client_tls) as peer:
        assert scram_login(peer, "tim", "admin")["ok"] == 1.0
    service.settle()


def test_clear_text_where_tls_is_due(serve: Serve, server_tls: ServerTls) -> None:
    """Nothing of it is taken for a command."""
    service = serve(tls=server_tls)
    with service.connect() as peer:
        peer.send(message({"ping": 1, "$db": "admin"}))
        heard = b""
        with contextlib.suppress(ConnectionError):
            while piece := peer.socket.recv(4096):
                heard += piece
        assert len(heard) < 16
    service.settle()


def test_a_handshake_that_never_comes(serve: Serve, server_tls: ServerTls) -> None:
    """It is waited for no longer than for a login."""
    service = serve(tls=server_tls, limits=Limits(login_seconds=0.2))
    with service.connect() as peer:
        assert peer.hung_up()
    service.settle()


# --- bad clients ---------------------------------------------------------------------------------


def test_a_client_that_says_nothing(serve: Serve) -> None:
    """It is sent away; so is one that drips, and one that leaves an exchange where it is."""
    service = serve(limits=Limits(login_seconds=0.3))
    with service.connect() as silent, service.connect() as dripping, service.connect() as waiting:
        begun = time.monotonic()
        assert waiting.start("SCRAM-SHA-256", b"n,,n=tim,r=rOprNGfwEbeRWgbNEkqO")["done"] is False
        octets = iter(message({"ping": 1, "$db": "admin"}))
        with contextlib.suppress(ConnectionError):
            while time.monotonic() < begun + 0.5:
                dripping.send(bytes([next(octets)]))
                time.sleep(0.05)
        for peer in (silent, dripping, waiting):
            assert peer.hung_up()
    service.settle()


def test_an_exchange_has_its_own_time(serve: Serve) -> None:
    """Other commands in between do not extend it."""
    service = serve(limits=Limits(login_seconds=0.4))
    with service.connect() as peer:
        assert peer.start("SCRAM-SHA-256", b"n,,n=tim,r=rOprNGfwEbeRWgbNEkqO")["done"] is False
        begun = time.monotonic()
        with contextlib.suppress(AssertionError, ConnectionError):
            while time.monotonic() < begun + 5:
                peer.ask({"ping": 1})
                time.sleep(0.05)
        assert time.monotonic() < begun + 2
    service.settle()


def test_a_monitor_may_stay(serve: Serve) -> None:
    """Whoever never logs in and asks now and then is not sent away."""
    service = serve(limits=Limits(login_seconds=0.3))
    with service.connect() as peer:
        for _ in range(5):
            assert peer.ask({"hello": 1})["ok"] == 1.0
            time.sleep(0.12)


def test_who_is_logged_in_may_wait_longer(serve: Serve) -> None:
    """Drivers keep connections in stock; for ever they are not kept."""
    service = serve(limits=Limits(login_seconds=0.1, idle_seconds=0.6))
    with service.connect() as peer:
        peer.plain()
        time.sleep(0.3)
        assert peer.ask({"ping": 1}) == {"ok": 1.0}
        assert peer.hung_up()
    service.settle()


@pytest.mark.parametrize(
    "data",
    [
        b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n",
        struct.pack("<iiii", 2**31 - 1, 1, 0, 2013),
        struct.pack("<iiii", 64 * 1024 + 1, 1, 0, 2013),
        struct.pack("<iiii", 16, 1, 0, 2012),
        struct.pack("<iiii", -1, 1, 0, 2013),
        bytes(100_000),
    ],
)
def test_what_is_not_mongodb(serve: Serve, data: bytes) -> None:
    """The connection ends at once."""
    service = serve()
    with service.connect() as peer:
        with contextlib.suppress(ConnectionError):
            peer.send(data)
        assert peer.hung_up()
    service.settle()


def test_a_client_that_goes_in_the_middle(serve: Serve) -> None:
    """After each octet of a login: nothing stays behind."""
    service = serve()
    data = message(
        {
            "saslStart": 1,
            "mechanism": "SCRAM-SHA-256",
            "payload": b"n,,n=tim,r=rOprNGfwEbeRWgbNEkqO",
        }
    )
    data += message({"ping": 1})
    for cut in range(0, len(data), 7):
        with service.connect() as peer:
            peer.send(data[:cut])
            if cut % 2:
                peer.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    service.settle()


def test_a_client_that_does_not_read(serve: Serve) -> None:
    """What waits to be sent stays small: nothing more of what it sends is read."""
    service = serve(limits=Limits(idle_seconds=0.5))
    with service.connect() as peer:
        peer.plain()
        peer.socket.settimeout(0.2)
        command = message({"buildInfo": 1, "$db": "admin"}) * 1000
        sent = 0
        with contextlib.suppress(OSError):
            for _ in range(2000):
                peer.send(command)
                sent += len(command)
        assert sent < 50_000_000
    service.settle()


def test_a_flood_does_not_hold_up_the_others(serve: Serve) -> None:
    """While one asks without a pause another logs in."""
    service = serve()
    with service.connect() as flood, service.connect() as peer:
        flood.socket.setblocking(False)
        command = message({"hello": 1, "saslSupportedMechs": "admin.tim", "$db": "admin"}) * 5000
        with contextlib.suppress(BlockingIOError):
            for _ in range(50):
                flood.socket.send(command)
        begun = time.monotonic()
        assert peer.plain()["done"] is True
        assert time.monotonic() - begun < 10.0


def test_a_place_is_made_for_a_newcomer(serve: Serve) -> None:
    """By whoever has waited longest without a login; whoever is logged in stays."""
    service = serve(max_connections=3)
    with contextlib.ExitStack() as stack:
        oldest, user, other = (stack.enter_context(service.connect()) for _ in range(3))
        assert oldest.ask({"ping": 1})["ok"] == 1.0
        assert user.plain()["done"] is True
        assert other.ask({"ping": 1})["ok"] == 1.0
        newcomer = stack.enter_context(service.connect())
        assert newcomer.plain()["done"] is True
        assert oldest.hung_up()
        assert other.ask({"ping": 1})["ok"] == 1.0
        assert other.plain()["done"] is True
        # Now all of them are logged in.
        assert stack.enter_context(service.connect()).hung_up()
        for peer in (user, other, newcomer):
            assert peer.ask({"ping": 1})["ok"] == 1.0
    service.settle()


def test_who_makes_room_for_a_newcomer(serve: Serve) -> None:
    """Who says nothing, then who asks without logging in, and an exchange at last."""
    service = serve(max_connections=4)
    with contextlib.ExitStack() as stack:

        def connect() -> MongoPeer:
            return stack.enter_context(service.connect())

        begun, silent, monitor, user = (connect() for _ in range(4))
        with Scram() as scram:
            first = begun.start("SCRAM-SHA-256", scram.first, skipEmptyExchange=True)
            assert monitor.ask({"hello": 1})["ok"] == 1.0
            assert user.plain()["done"] is True
            service.pass_time(BEGUN_SECONDS)
            assert connect().plain()["done"] is True
            assert silent.hung_up()
            assert connect().plain()["done"] is True
            assert monitor.hung_up()
            # It has waited longest, and went on all the same.
            assert begun.go_on(scram.answer(first["payload"]))["done"] is True
        # Now all of them are logged in.
        assert connect().hung_up()
    service.settle()


def test_an_exchange_makes_room_when_nobody_else_can(serve: Serve) -> None:
    """So that who begins exchanges and leaves them keeps nobody out."""
    service = serve(max_connections=2)
    with service.connect() as first, service.connect() as second:
        for peer in (first, second):
            assert peer.start("SCRAM-SHA-256", FIRST)["ok"] == 1.0
        with service.connect() as newcomer:
            assert newcomer.plain()["done"] is True
            assert first.hung_up()
            assert second.ask({"ping": 1})["ok"] == 1.0
    service.settle()


def test_who_has_just_come_may_speak_first(serve: Serve) -> None:
    """Otherwise those who said hello once could have every newcomer sent away by the next."""
    service = serve(max_connections=2)
    with contextlib.ExitStack() as stack:
        idle = stack.enter_context(service.connect())
        assert idle.ask({"hello": 1})["ok"] == 1.0
        fresh = stack.enter_context(service.connect())
        with service.connect() as newcomer:
            assert newcomer.ask({"hello": 1})["ok"] == 1.0
            assert idle.hung_up()
            assert fresh.plain()["done"] is True
    service.settle()


# How old those are that hold connections, and what they have sent there.
HOLDERS = [
    ([], 0.0),
    ([], FRESH_SECONDS),
    ([{"hello": 1}], 0.0),
    ([{"hello": 1}], FRESH_SECONDS),
    ([START], 0.0),
    ([START], FRESH_SECONDS),
    ([START], BEGUN_SECONDS),
]


@pytest.mark.parametrize(("held", "age"), HOLDERS)
def test_who_holds_connections_keeps_nobody_out(
    serve: Serve, held: list[dict[str, Any]], age: float
) -> None:
    """While others come without a pause, each login begins and ends well."""
    places = 12
    service = serve(max_connections=places)
    with contextlib.ExitStack() as stack:

        def connect() -> MongoPeer:
            return stack.enter_context(service.connect())

        for peer in [connect() for _ in range(places - 1)]:
            for command in held:
                assert peer.ask(command)["ok"] == 1.0
        service.await_connections(places - 1)
        service.pass_time(age)
        for _ in range(5):
            peer = connect()
            for _ in range(3):
                connect()
            assert peer.ask({"hello": 1})["ok"] == 1.0
            for _ in range(3):
                connect()
            with Scram() as scram:
                first = peer.start("SCRAM-SHA-256", scram.first, skipEmptyExchange=True)
                for _ in range(3):
                    connect()
                assert peer.go_on(scram.answer(first["payload"]))["done"] is True
            peer.close()
    service.settle()


def test_an_exchange_is_protected_once(serve: Serve) -> None:
    """Who begins another before the time is over does not hold on to the place by it."""
    service = serve(max_connections=2)
    with contextlib.ExitStack() as stack:
        holder = stack.enter_context(service.connect())
        assert holder.ask(START)["ok"] == 1.0
        service.pass_time(BEGUN_SECONDS)
        fresh = stack.enter_context(service.connect())
        assert fresh.ask({"hello": 1})["ok"] == 1.0
        # The first of these ends the exchange. Of the two it is now the holder who spoke last.
        assert [holder.ask(START)["ok"] for _ in range(2)] == [0.0, 1.0]
        newcomer = stack.enter_context(service.connect())
        assert newcomer.ask({"hello": 1})["ok"] == 1.0
        assert holder.hung_up()
        assert fresh.plain()["done"] is True
    service.settle()


def test_who_has_just_begun_is_protected_however_old(serve: Serve) -> None:
    """A connection that was idle for long logs in while others come."""
    service = serve(max_connections=3)
    with contextlib.ExitStack() as stack:
        late, holder = (stack.enter_context(service.connect()) for _ in range(2))
        assert holder.ask(START)["ok"] == 1.0
        service.pass_time(BEGUN_SECONDS)
        with Scram() as scram:
            first = late.start("SCRAM-SHA-256", scram.first, skipEmptyExchange=True)
            assert holder.ask({"ping": 1})["ok"] == 1.0
            for _ in range(2):
                assert stack.enter_context(service.connect()).ask({"hello": 1})["ok"] == 1.0
            assert holder.hung_up()
            assert late.go_on(scram.answer(first["payload"]))["done"] is True
    service.settle()


@pytest.mark.parametrize("told", [True, False])
def test_a_login_that_has_lapsed_keeps_nobody_out(
    serve: Serve, issuer: FakeIssuer, told: bool
) -> None:
    """Whether its client has been told of it or not; a login that stands stays."""
    service = serve(issuer=issuer, max_connections=3)
    with contextlib.ExitStack() as stack:
        peers = [stack.enter_context(service.connect()) for _ in range(3)]
        for peer in peers[:2]:
            assert oidc(peer, jwt(issuer))["done"] is True
        assert peers[2].plain()["done"] is True
        assert stack.enter_context(service.connect()).hung_up()
        service.expire_tokens()
        if told:
            for peer in peers[:2]:
                assert peer.ask({"ping": 1})["code"] == 391
        service.pass_time(BEGUN_SECONDS)
        for lapsed in peers[:2]:
            assert stack.enter_context(service.connect()).plain()["done"] is True
            assert lapsed.hung_up()
        assert peers[2].ask({"ping": 1})["ok"] == 1.0
        assert stack.enter_context(service.connect()).hung_up()
    service.settle()


def test_who_is_told_to_log_in_again_has_the_time_to(serve: Serve, issuer: FakeIssuer) -> None:
    """On a full server too: others go first, and the exchange is protected as the first one."""
    service = serve(issuer=issuer, max_connections=2)
    with contextlib.ExitStack() as stack:

        def connect() -> MongoPeer:
            return stack.enter_context(service.connect())

        user, monitor = connect(), connect()
        for _ in range(3):
            assert oidc(user, jwt(issuer))["done"] is True
            service.expire_tokens()
            service.pass_time(BEGUN_SECONDS)
            assert user.ask({"ping": 1})["code"] == 391
            assert monitor.ask({"hello": 1})["ok"] == 1.0
            former, monitor = monitor, connect()
            assert monitor.ask({"hello": 1})["ok"] == 1.0
            assert former.hung_up()
        # Told once more it is protected no longer; but who begins to log in is.
        service.pass_time(BEGUN_SECONDS)
        assert user.ask({"ping": 1})["code"] == 391
        former, monitor = monitor, connect()
        assert monitor.ask({"hello": 1})["ok"] == 1.0
        assert former.hung_up()
        assert oidc(user, bson.encode({}))["done"] is False
        former, monitor = monitor, connect()
        assert monitor.ask({"hello": 1})["ok"] == 1.0
        assert former.hung_up()
        assert user.go_on(jwt(issuer), database="$external")["done"] is True
        # Once for each login: asked and told without an end it goes.
        service.expire_tokens()
        assert user.ask({"ping": 1})["code"] == 391
        service.pass_time(BEGUN_SECONDS)
        fresh = connect()
        assert fresh.ask({"hello": 1})["ok"] == 1.0
        assert monitor.hung_up()
        assert user.ask({"ping": 1})["code"] == 391
        assert connect().ask({"hello": 1})["ok"] == 1.0
        assert user.hung_up()
    service.settle()


def test_a_login_that_has_lapsed_does_not_wait_for_long(serve: Serve, issuer: FakeIssuer) -> None:
    """Its client has as long as a person takes to log in, and no longer."""
    service = serve(issuer=issuer)
    with service.connect() as peer:
        oidc(peer, jwt(issuer))
        assert peer.ask({"ping": 1})["ok"] == 1.0
        service.pass_time(1700.0)
        assert peer.ask({"ping": 1})["ok"] == 1.0
        service.expire_tokens()
        assert peer.ask({"ping": 1})["code"] == 391
        service.pass_time(350.0)
        assert oidc(peer, jwt(issuer))["done"] is True
        service.pass_time(1700.0)
        assert peer.ask({"ping": 1})["ok"] == 1.0
        service.expire_tokens()
        assert peer.ask({"hello": 1})["ok"] == 1.0
        service.pass_time(361.0)
        assert peer.hung_up()
    service.settle()


def test_a_full_server_does_not_ask_of_each_login_for_each_newcomer(
    serve: Serve, issuer: FakeIssuer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was found out lasts for a while; a login that comes is asked for."""
    service = serve(issuer=issuer, max_connections=3)
    asked: list[bool] = []
    stands = MongodbConnection.stands

    def count(connection: MongodbConnection) -> bool:
        asked.append(stands(connection))
        return asked[-1]

    monkeypatch.setattr(MongodbConnection, "stands", count)
    with contextlib.ExitStack() as stack:
        for _ in range(3):
            peer = stack.enter_context(service.connect())
            assert oidc(peer, jwt(issuer))["done"] is True
        for _ in range(5):
            assert stack.enter_context(service.connect()).hung_up()
        assert asked == [True] * 3
        service.pass_time(STANDS_SECONDS)
        for _ in range(5):
            assert stack.enter_context(service.connect()).hung_up()
        assert asked == [True] * 6
    service.settle()


def test_who_logs_in_again_has_a_place_at_once(serve: Serve, issuer: FakeIssuer) -> None:
    """What was found out of the login before does not count."""
    service = serve(issuer=issuer, max_connections=2)
    with contextlib.ExitStack() as stack:
        first, second = (stack.enter_context(service.connect()) for _ in range(2))
        for peer in (second, first):
            assert oidc(peer, jwt(issuer))["done"] is True
        service.expire_tokens()
        service.pass_time(BEGUN_SECONDS)
        # Of either it is found out that it has lapsed, and the second has waited longer.
        newcomer = stack.enter_context(service.connect())
        assert newcomer.plain()["done"] is True
        assert second.hung_up()
        assert oidc(first, jwt(issuer))["done"] is True
        assert stack.enter_context(service.connect()).hung_up()
        assert first.ask({"ping": 1})["ok"] == 1.0
    service.settle()


@record
class Seen:
    """A client, as the rule sees it."""

    born: float = 0.0
    first_exchange: float | None = None
    lapsed_since: float | None = None
    spoken: bool = True
    exchanging: bool = False
    waiting_since: float = 0.0


NEVER_SPOKEN = Seen(spoken=False)
STEPPING = Seen(first_exchange=20.0, exchanging=True)

RANKS = [
    (NEVER_SPOKEN, 4.9, Rank.PROTECTED),
    (NEVER_SPOKEN, 5.0, Rank.SILENT),
    (Seen(), 4.9, Rank.PROTECTED),
    (Seen(), 5.0, Rank.IDLE),
    (Seen(waiting_since=99.0), 100.0, Rank.IDLE),
    (STEPPING, 29.9, Rank.PROTECTED),
    (STEPPING, 30.0, Rank.EXCHANGING),
    # The login failed, or was given up.
    (Seen(first_exchange=20.0), 21.0, Rank.IDLE),
    (Seen(lapsed_since=20.0), 29.9, Rank.PROTECTED),
    (Seen(lapsed_since=20.0), 30.0, Rank.IDLE),
    (Seen(first_exchange=20.0, exchanging=True, lapsed_since=25.0), 30.0, Rank.EXCHANGING),
]


@pytest.mark.parametrize(("seen", "now", "expected"), RANKS)
def test_the_rank_of_a_client(seen: Seen, now: float, expected: Rank) -> None:
    """At the end of its time protection is over, and then what it does counts."""
    assert rank(seen, now) == (expected, seen.waiting_since)


def test_closing_sends_everybody_away(serve: Serve) -> None:
    """In each state, and the answer that was on its way arrives."""
    started = asyncio.Event()

    async def never(command: Command) -> bytes:
        started.set()
        await asyncio.Event().wait()
        raise AssertionError(command)

    service = serve(on_command=never)
    with contextlib.ExitStack() as stack:
        fresh, half, user, busy = (stack.enter_context(service.connect()) for _ in range(4))
        half.start("SCRAM-SHA-256", b"n,,n=tim,r=rOprNGfwEbeRWgbNEkqO")
        user.plain()
        busy.plain()
        busy.send(message({"find": "x", "$db": "a"}))
        service.run(asyncio.wait_for(started.wait(), 10))
        service.run(service.mongo.close())
        for peer in (fresh, half, user, busy):
            assert peer.hung_up()
        with pytest.raises(OSError, match="refused"):
            service.connect()
    assert service.open_sessions == 0


def test_nothing_large_is_kept_for_nobody(serve: Serve) -> None:
    """Where no command is handed on, whoever is logged in sends what anybody may."""
    service = serve()
    with service.connect() as peer:
        peer.plain()
        assert peer.ask({"hello": 1})["maxMessageSizeBytes"] == 64 * 1024
        peer.send(struct.pack("<iiii", 64 * 1024 + 1, 1, 0, 2013))
        assert peer.hung_up()
    service.settle()


# --- whoever embeds this --------------------------------------------------------------------------


def test_commands_are_answered_by_whoever_embeds(serve: Serve) -> None:
    """With a mapping, or with BSON of any size."""
    large = bson.encode({"ok": 1.0, "data": bytes(300_000)})

    async def answer(command: Command) -> dict[str, object] | bytes:
        if command.name == "large":
            return large
        return {"name": command.name, "user": command.login.user, "ok": 1.0}

    with serve(on_command=answer).connect() as peer:
        assert peer.ask({"find": "x"})["code"] == 13
        peer.plain()
        assert peer.ask({"find": "x"}) == {"name": "find", "user": "tim", "ok": 1.0}
        assert len(peer.ask({"large": 1})["data"]) == 300_000


@pytest.mark.parametrize(
    "wrong",
    [ValueError("secret"), None, 1, b"", b"\5\0\0\0\1", b"\6\0\0\0\0", {"a": object()}, {1: 2}],
)
def test_an_answer_that_is_none(serve: Serve, wrong: Any, caplog: pytest.LogCaptureFixture) -> None:
    """The client hears of a failure and no more, the log its kind; the connection goes on."""

    async def answer(command: Command) -> Any:
        if isinstance(wrong, Exception):
            raise wrong
        return wrong

    with serve(on_command=answer).connect() as peer:
        peer.plain()
        failed = peer.ask({"find": "x"})
        assert failed == {
            "ok": 0.0,
            "errmsg": "Internal error",
            "code": 1,
            "codeName": "InternalError",
        }
        assert peer.ask({"ping": 1}) == {"ok": 1.0}
    assert "the command find could not be answered: " in caplog.text
    assert "secret" not in caplog.text


def test_why_an_answer_failed_is_logged(serve: Serve, caplog: pytest.LogCaptureFixture) -> None:
    """The command, and where a stranger's error came from; of ours the text. Nothing is forged."""

    async def answer(command: Command) -> Any:
        if command.name == "own":
            raise UsageError("there is no such collection")
        return {"ok": int("secret")}

    with serve(on_command=answer).connect() as peer:
        peer.plain()
        for name in ("find", "own", "a\nb", "x" * 500):
            assert peer.ask({name: 1})["code"] == 1
    line = answer.__code__.co_firstlineno + 3
    place = f"ValueError at {Path(__file__).name}:{line} in answer"
    logged = [each.getMessage() for each in caplog.records if "answered" in each.getMessage()]
    assert logged[0] == f"the command find could not be answered: {place}"
    assert logged[1] == "the command own could not be answered: there is no such collection"
    assert logged[2].startswith("the command a\\nb could not be")
    assert len(logged[3]) < 250
    assert "secret" not in caplog.text


# --- an end at any moment -------------------------------------------------------------------------


@pytest.mark.parametrize("milliseconds", [0, 1, 2, 4, 8, 16, 32])
def test_the_end_may_come_at_any_moment(serve: Serve, milliseconds: int) -> None:
    """Clients in each stage of a login, and the server closes: nothing is left behind."""
    service = serve()

    def come_and_go() -> None:
        while True:
            try:
                with service.connect() as peer:
                    scram_login(peer, "tim", "admin")
                    peer.plain(password="hunter2")
            except (AssertionError, OSError):
                return

    threads = [threading.Thread(target=come_and_go) for _ in range(4)]
    for thread in threads:
        thread.start()
    time.sleep(0.02 + milliseconds / 1000)
    service.run(service.mongo.close())
    for thread in threads:
        thread.join(10)
        assert not thread.is_alive()
    assert service.open_sessions == 0
    assert service.sasl.made


@pytest.mark.parametrize("turns", range(4))
def test_who_comes_while_it_closes_is_not_left_waiting(turns: int) -> None:
    """A connection that asyncio has taken on, and not handed to us yet, ends too."""

    async def come_and_close() -> None:
        loop = asyncio.get_running_loop()
        async with Server("mongodb", "localhost", config=CLEAR, stores=[MemoryStore()]) as server:
            for _ in range(5):
                listening = MongodbServer(server)
                await listening.start()
                clients = [socket.socket() for _ in range(3)]
                for client in clients:
                    client.setblocking(False)
                    _ = client.connect_ex(listening.address)
                for _ in range(turns):
                    await asyncio.sleep(0)
                await listening.close()
                async with asyncio.timeout(10):
                    for client in clients:
                        with contextlib.suppress(OSError):
                            assert await loop.sock_recv(client, 1) == b""
                        client.close()

    asyncio.run(come_and_close())


def test_many_at_once(serve: Serve) -> None:
    """Sixty clients log in by each mechanism in turn; each is who it says."""
    service = serve()
    service.give_digest()

    def log_in(number: int) -> Any:
        with service.connect() as peer:
            kind = number % 3
            if kind == 0:
                peer.plain()
            elif kind == 1:
                scram_login(peer, "tim", "admin")
            else:
                peer.plain(password="hunter2")
            return kind, who(peer)

    with ThreadPoolExecutor(20) as pool:
        for kind, users in pool.map(log_in, range(60)):
            database = {0: "$external", 1: "admin"}.get(kind)
            assert users == ([{"user": "tim", "db": database}] if database else [])
    service.settle()
