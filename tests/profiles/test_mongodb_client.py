"""The MongoDB clients, blocking and asyncio, against a server of another's codec, good and bad."""

from __future__ import annotations

import asyncio
import datetime as dt
import socket
import ssl
import struct
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import bson
import pytest

from bson_server import BsonServer, hang, serving
from mongodb_kit import CLEAR, MongoService, Serve, services
from sasl_core import (
    AuthenticationError,
    BackendError,
    Client,
    MechanismError,
    PeerError,
    SaslError,
    UsageError,
)
from sasl_core.aio import Client as AsyncClient
from sasl_core.plugin import TokenRequest
from sasl_credentials import CallbackTokens
from sasl_profiles.clients.trace import TraceEvent
from sasl_profiles.mongodb import AsyncMongodbClient, MongodbClient
from tls_kit import Tls, make_tls
from token_kit import FakeIssuer

PASSWORD = "tanstaaf-7677"
USERS = {
    "tim": PASSWORD,
    "a,b=c": PASSWORD,
    "ix": "p\u00e4ss\u00adword\u2168",
}
TOKEN = "eyJhbGciOiJSUzI1NiJ9.eyJzdWIiOiJ0aW0ifQ.c2lnbmF0dXJl"
OTHER = "eyJhbGciOiJSUzI1NiJ9.eyJzdWIiOiJib2IifQ.c2lnbmF0dXJl"
CONFIG: Mapping[str, object] = {"allow_cleartext": True}

Login = Callable[..., Any]


def blocking_login(
    address: tuple[str, int],
    *,
    connection: dict[str, Any],
    times: int,
    credentials: Any,
    answers: dict[str, Any],
) -> list[str | None]:
    """Connect and log in; the mechanisms."""
    with (
        Client("mongodb", "localhost", config=CONFIG, credentials=credentials) as client,
        MongodbClient(*address, **connection) as mongodb,
    ):
        done = []
        for _ in range(times):
            session = mongodb.login(client, **answers)
            assert session.done
            done.append(session.mechanism)
            session.close()
        return done


def asyncio_login(
    address: tuple[str, int],
    *,
    connection: dict[str, Any],
    times: int,
    credentials: Any,
    answers: dict[str, Any],
) -> list[str | None]:
    """The same with asyncio; no task is left."""

    async def login() -> list[str | None]:
        async with (
            AsyncClient("mongodb", "localhost", config=CONFIG, credentials=credentials) as client,
            AsyncMongodbClient(*address, **connection) as mongodb,
        ):
            done = []
            for _ in range(times):
                session = await mongodb.login(client, **answers)
                assert session.done
                done.append(session.mechanism)
                session.close()
            return done

    return asyncio.run(login())


@pytest.fixture(params=[blocking_login, asyncio_login], ids=["blocking", "asyncio"])
def login(request: pytest.FixtureRequest) -> Login:
    """Log in by hand of one client or the other."""

    def run(
        address: tuple[str, int],
        user: str | None = "tim",
        password: str | None = PASSWORD,
        token: str | None = None,
        credentials: Any = None,
        times: int = 1,
        **connection: Any,
    ) -> Any:
        if credentials is not None or token is not None:
            password = None
        return request.param(
            address,
            connection={"timeout": 5.0, "user": user, **connection},
            times=times,
            credentials=credentials,
            answers={"authid": user, "password": password, "token": token},
        )

    return run


@pytest.fixture(scope="module")
def tls(tmp_path_factory: pytest.TempPathFactory) -> Tls:
    """A certificate of localhost and 127.0.0.1."""
    return make_tls(tmp_path_factory.mktemp("tls"))


def server_context(tls: Tls) -> ssl.SSLContext:
    """A server's TLS."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(tls.certificate, tls.key)
    return context


# --- logins -------------------------------------------------------------------------------------


@pytest.mark.parametrize("skip", [True, False], ids=["skip", "empty-exchange"])
@pytest.mark.parametrize("user", USERS)
@pytest.mark.parametrize("mechanism", ["SCRAM-SHA-256", "SCRAM-SHA-1", "PLAIN"])
def test_a_password(login: Login, mechanism: str, user: str, skip: bool) -> None:
    """By each mechanism, names with `,` and `=`, a password that SASLprep changes."""
    with serving(USERS, skip=skip) as server:
        assert login(server.address, user, USERS[user], mechanism=mechanism) == [mechanism]
        database = "$external" if mechanism == "PLAIN" else "admin"
        assert server.logins == [(mechanism, database, user)]


@pytest.mark.parametrize(
    ("named", "chosen"),
    [
        (["SCRAM-SHA-1", "SCRAM-SHA-256"], "SCRAM-SHA-256"),
        (["SCRAM-SHA-1"], "SCRAM-SHA-1"),
        (["PLAIN", "GSSAPI", "SCRAM-SHA-1"], "SCRAM-SHA-1"),
        (None, "SCRAM-SHA-256"),
    ],
)
def test_the_server_names_the_mechanisms_of_a_user(
    login: Login, named: list[str] | None, chosen: str
) -> None:
    """The better SCRAM of those that it names; one that says nothing has SCRAM-SHA-256."""
    with serving(USERS, mechanisms=named) as server:
        assert login(server.address) == [chosen]
        assert server.commands[0][1]["saslSupportedMechs"] == "admin.tim"


def test_a_server_that_names_plain_is_not_sent_a_password(login: Login) -> None:
    """Whoever poses as the server would ask for it so."""
    with serving(USERS, mechanisms=["PLAIN"]) as server:
        with pytest.raises(MechanismError):
            login(server.address)
        assert [name for name, _ in server.commands] == ["hello"]


def test_users_of_another_database(login: Login) -> None:
    """authSource: where the user is asked for, and where SCRAM goes."""
    with serving(USERS, mechanisms=["SCRAM-SHA-256"], database="test") as server:
        login(server.address, database="test")
        assert server.logins == [("SCRAM-SHA-256", "test", "tim")]
        assert server.commands[0][1]["saslSupportedMechs"] == "test.tim"


def test_over_tls(login: Login, tls: Tls, tmp_path: Path) -> None:
    """TLS before the first word; certificate and name are checked."""
    with serving(USERS, tls=server_context(tls)) as server:
        address = ("localhost", server.address[1])
        login(address, mechanism="PLAIN", tls=tls.client())
        assert server.logins == [("PLAIN", "$external", "tim")]
        with pytest.raises(PeerError) as caught:
            login(address, mechanism="PLAIN", tls=ssl.create_default_context())
        assert caught.value.code == "tls"
        assert len(server.logins) == 1
    other = make_tls(tmp_path, names=["mail.example.com"])
    with serving(USERS, tls=server_context(other)) as server:
        with pytest.raises(PeerError) as caught:
            login(("localhost", server.address[1]), mechanism="PLAIN", tls=other.client())
        assert caught.value.code == "tls"
        assert not server.commands


def test_a_wrong_password(login: Login) -> None:
    """18 is an AuthenticationError; the connection stands."""
    with serving(USERS) as server:
        for mechanism in ("SCRAM-SHA-256", "SCRAM-SHA-1", "PLAIN"):
            with pytest.raises(AuthenticationError) as caught:
                login(server.address, "tim", "wrong-7677", mechanism=mechanism)
            assert "18 AuthenticationFailed: Authentication failed." in str(caught.value.detail)
        assert not server.logins


def test_a_connection_outlives_a_refusal_and_a_login(tls: Tls) -> None:
    """One that was refused logs in on the same connection, and once more: as after 391."""
    with (
        serving(USERS) as server,
        Client("mongodb", "localhost", config=CONFIG) as client,
        MongodbClient(*server.address, user="tim", timeout=5.0) as mongodb,
    ):
        with pytest.raises(AuthenticationError):
            mongodb.login(client, authid="tim", password="wrong-7677")
        for _ in range(2):
            mongodb.login(client, authid="tim", password=PASSWORD).close()
        mongodb.hello()
        assert mongodb.mechanisms == ("SCRAM-SHA-256",)
        assert server.connections == 1
        assert len(server.logins) == 2


# --- tokens -------------------------------------------------------------------------------------


def test_a_token_in_one_step(login: Login) -> None:
    """A program's own."""
    with serving(tokens={TOKEN: "tim"}) as server:
        login(server.address, None, token=TOKEN, mechanism="MONGODB-OIDC")
        assert server.logins == [("MONGODB-OIDC", "$external", "tim")]
        assert [name for name, _ in server.commands] == ["hello", "saslStart"]
        with pytest.raises(AuthenticationError):
            login(server.address, None, token=OTHER, mechanism="MONGODB-OIDC")


def test_a_person_is_sent_to_the_servers_provider(login: Login) -> None:
    """Two steps; the next login of the same Client takes the kept token, in one."""
    asked: list[TokenRequest] = []

    def person(request: TokenRequest) -> str:
        asked.append(request)
        return TOKEN

    idp = {"issuer": "https://id.example.com", "clientId": "us", "requestScopes": ["openid"]}
    with serving(tokens={TOKEN: "tim"}, idp=idp) as server:
        source = CallbackTokens(person, human=True)
        login(server.address, "tim", credentials=source, mechanism="MONGODB-OIDC", times=2)
        assert [name for name, _ in server.commands] == [
            "hello",
            "saslStart",
            "saslContinue",
            "saslStart",
        ]
    (request,) = asked
    assert (request.issuer, request.client_id, request.scopes) == (
        "https://id.example.com",
        "us",
        ("openid",),
    )
    assert (request.service, request.host, request.username) == ("mongodb", "localhost", "tim")


def test_a_kept_token_that_is_refused_is_fetched_anew_once(login: Login) -> None:
    """18 on a token that was kept: one more try with a new one; on a new one: none."""
    given: list[str] = []

    def machine(request: TokenRequest) -> str:
        given.append(TOKEN if not given else OTHER)
        return given[-1]

    with serving(tokens={TOKEN: "tim"}) as server:
        connections = {"mechanism": "MONGODB-OIDC", "credentials": CallbackTokens(machine)}

        def change(command: str, answer: dict[str, Any]) -> dict[str, Any]:
            if command == "saslStart" and answer["ok"]:
                server.tokens = {OTHER: "tim"}
            return answer

        server.twist = change
        login(server.address, None, times=2, **connections)
        assert given == [TOKEN, OTHER]
        server.tokens = {}
        with pytest.raises(AuthenticationError):
            login(server.address, None, **connections)
        assert given == [TOKEN, OTHER, OTHER]


def test_a_person_may_take_longer_than_the_server(login: Login) -> None:
    """`timeout` is the server's; who is asked has a time of his own."""

    def person(request: TokenRequest) -> str:
        time.sleep(0.8)
        return TOKEN

    with serving(tokens={TOKEN: "tim"}) as server:
        source = CallbackTokens(person, human=True)
        login(server.address, None, credentials=source, mechanism="MONGODB-OIDC", timeout=0.5)
        assert len(server.logins) == 1


def test_nobody_is_asked_for_a_host_that_is_not_allowed(login: Login) -> None:
    """Before saslStart."""
    asked: list[TokenRequest] = []

    def person(request: TokenRequest) -> str:
        asked.append(request)
        return TOKEN

    with serving(tokens={TOKEN: "tim"}) as server:
        source = CallbackTokens(person, human=True, allowed_hosts=["db.example.com"])
        with pytest.raises(UsageError) as caught:
            login(server.address, None, credentials=source, mechanism="MONGODB-OIDC")
        assert caught.value.code == "host-not-allowed"
        assert [name for name, _ in server.commands] == ["hello"]
    assert not asked


def test_the_host_that_is_connected_to_has_to_be_allowed_as_well(login: Login) -> None:
    """Not only the one that the Client was made for: the token goes to the other."""
    given: list[str] = []

    def source(request: TokenRequest) -> str:
        given.append(request.host)
        return TOKEN

    with serving(tokens={TOKEN: "tim"}) as server:
        # The Client's is localhost, the connection's 127.0.0.1.
        for mechanism in ("MONGODB-OIDC", "OAUTHBEARER"):
            person = CallbackTokens(source, human=True, allowed_hosts=["localhost"])
            with pytest.raises(UsageError, match=r"127\.0\.0\.1") as caught:
                login(server.address, "tim", credentials=person, mechanism=mechanism)
            assert caught.value.code == "host-not-allowed"
        assert [name for name, _ in server.commands] == ["hello", "hello"]
        assert not given
        person = CallbackTokens(source, human=True, allowed_hosts=["127.0.0.1"])
        with pytest.raises(UsageError, match="localhost"):
            login(server.address, "tim", credentials=person, mechanism="MONGODB-OIDC")
        person = CallbackTokens(source, human=True, allowed_hosts=["localhost", "127.0.0.1"])
        login(server.address, "tim", credentials=person, mechanism="MONGODB-OIDC")
        # A program's own token goes where its configuration says, by whatever name.
        login(server.address, None, credentials=CallbackTokens(source), mechanism="MONGODB-OIDC")
        assert len(server.logins) == 2


def test_a_failure_of_ours_in_an_exchange_ends_the_connection() -> None:
    """Nothing takes a conversation back: the server would wait for the token."""

    def person(request: TokenRequest) -> str:
        raise BackendError(code="closed", detail="the browser was closed")

    with (
        serving(tokens={TOKEN: "tim"}) as server,
        Client(
            "mongodb",
            "localhost",
            config=CONFIG,
            credentials=CallbackTokens(person, human=True),
        ) as client,
        MongodbClient(*server.address, mechanism="MONGODB-OIDC", timeout=5.0) as mongodb,
    ):
        with pytest.raises(BackendError):
            mongodb.login(client)
        with pytest.raises(UsageError, match="not connected"):
            mongodb.facts()
        assert mongodb.mechanisms == ()


# --- servers that misbehave -----------------------------------------------------------------------


def changed(**fields: Any) -> Callable[[str, dict[str, Any]], dict[str, Any]]:
    """A twist: these fields in the answer to saslStart, or not there at all where None."""

    def twist(command: str, answer: dict[str, Any]) -> dict[str, Any]:
        if command != "saslStart":
            return answer
        made = {**answer, **fields}
        return {name: value for name, value in made.items() if value is not None}

    return twist


def later(**fields: Any) -> Callable[[str, dict[str, Any]], dict[str, Any]]:
    """The same in the answer to saslContinue."""

    def twist(command: str, answer: dict[str, Any]) -> dict[str, Any]:
        return {**answer, **fields} if command == "saslContinue" else answer

    return twist


def first(**fields: Any) -> Callable[[str, dict[str, Any]], dict[str, Any]]:
    """The same in the answer to hello."""

    def twist(command: str, answer: dict[str, Any]) -> dict[str, Any]:
        made = {**answer, **fields} if command == "hello" else answer
        return {name: value for name, value in made.items() if value is not None}

    return twist


def raw(data: bytes) -> Callable[[str, dict[str, Any]], dict[str, Any] | bytes]:
    """Octets in place of the answer to saslStart."""
    return lambda command, answer: data if command == "saslStart" else answer


def message(
    body: bytes, *, code: int = 2013, flags: int = 0, kind: int = 0, more: int = 0
) -> bytes:
    """An OP_MSG that answers the second request."""
    return struct.pack("<iiii", 21 + len(body), 9, 2, code) + struct.pack("<IB", flags, kind) + body


GOOD = bson.encode({"conversationId": 7, "done": False, "payload": b"x", "ok": 1.0})
BAD: dict[str, Any] = {
    "another conversation": later(conversationId=8),
    "no conversation": changed(conversationId=None),
    "a conversation that is text": changed(conversationId="7"),
    "a conversation that is a truth value": changed(conversationId=True),
    "done is missing": changed(done=None),
    "done is a number": changed(done=1),
    "no payload": changed(payload=None),
    "a payload that is text": changed(payload="cj14"),
    "a payload of another kind": changed(payload=bson.Binary(b"x", 5)),
    "no ok": changed(ok=None),
    "ok is text": changed(ok="1"),
    "ok is two": changed(ok=2),
    "an answer to another request": changed(responseTo=1),
    "an answer to none": changed(responseTo=0),
    "too early": changed(done=True),
    "too early, with nothing": changed(done=True, payload=b""),
    "never done": later(done=False),
    "garbage as the first message": changed(payload=b"\xff\xfe"),
    "no wire version": first(maxWireVersion=None),
    "wire version is text": first(maxWireVersion="25"),
    "mechanisms that are no array": first(saslSupportedMechs="SCRAM-SHA-256"),
    "hello is refused": first(ok=0.0, code=13, errmsg="no"),
    "an unknown operation": raw(message(GOOD, code=2012)),
    "OP_REPLY": raw(message(GOOD, code=1)),
    "more to come": raw(message(GOOD, flags=2)),
    "an unknown flag": raw(message(GOOD, flags=4)),
    "a sequence": raw(message(GOOD, kind=1)),
    "two octets more": raw(message(GOOD + b"\0\0")),
    "less than it says": raw(message(GOOD[:-9])),
    "a document in a longer one": raw(message(struct.pack("<i", len(GOOD) + 4) + GOOD[4:])),
    "no BSON": raw(message(struct.pack("<i", 9) + b"\x42\x42\x42\x42\0")),
    "a key twice": raw(message(struct.pack("<i", 11) + b"\x0aa\0\x0aa\0\0")),
    "too large": raw(struct.pack("<iiii", 70_000, 9, 2, 2013)),
    "negative": raw(struct.pack("<iiii", -1, 9, 2, 2013)),
    "HTTP": raw(b"HTTP/1.1 400 Bad Request\r\n\r\n"),
}


@pytest.mark.parametrize("twist", BAD.values(), ids=list(BAD))
def test_a_server_that_breaks_the_protocol(login: Login, twist: Any) -> None:
    """A PeerError or a failed login, never a success, and nothing foreign."""
    with serving(USERS, twist=twist, mechanisms=["SCRAM-SHA-256"]) as server:
        with pytest.raises(SaslError) as caught:
            login(server.address)
        assert isinstance(caught.value, (PeerError, AuthenticationError))
        assert PASSWORD not in f"{caught.value!r} {caught.value.detail}"


def wrong_signature(command: str, answer: dict[str, Any]) -> dict[str, Any]:
    """A twist: the server's signature is another's."""
    if command == "saslContinue" and answer["payload"].startswith(b"v="):
        answer["payload"] = b"v=" + b"A" * 43 + b"="
    return answer


@pytest.mark.parametrize("skip", [True, False])
def test_a_server_that_does_not_know_the_password(login: Login, skip: bool) -> None:
    """It declares success and cannot prove itself: that is none."""
    server = BsonServer(USERS, twist=wrong_signature, skip=skip)
    with server, pytest.raises(AuthenticationError):
        login(server.address)


@pytest.mark.parametrize("mechanism", ["PLAIN", "MONGODB-OIDC"])
def test_a_server_that_is_never_content(login: Login, mechanism: str) -> None:
    """A mechanism that is through answers one empty challenge and no other."""

    def twist(command: str, answer: dict[str, Any]) -> dict[str, Any]:
        if command == "saslStart":
            return {**answer, "done": False}
        if command == "saslContinue":
            return {"conversationId": 7, "done": False, "payload": b"", "ok": 1.0}
        return answer

    with serving(USERS, tokens={TOKEN: "tim"}, twist=twist) as server:
        token = TOKEN if mechanism == "MONGODB-OIDC" else None
        with pytest.raises(PeerError, match="after the mechanism's end"):
            login(server.address, token=token, mechanism=mechanism)
        assert [name for name, _ in server.commands] == ["hello", "saslStart", "saslContinue"]


def test_a_server_that_speaks_last(login: Login) -> None:
    """PLAIN with an empty exchange at its end."""

    def twist(command: str, answer: dict[str, Any]) -> dict[str, Any]:
        if command == "saslStart":
            return {**answer, "done": False}
        if command == "saslContinue":
            return {"conversationId": 7, "done": True, "payload": b"", "ok": 1.0}
        return answer

    with serving(USERS, twist=twist) as server:
        assert login(server.address, mechanism="PLAIN") == ["PLAIN"]


def test_fields_that_nobody_knows_are_passed_over(login: Login) -> None:
    """What servers of a replica set say of themselves."""

    def twist(command: str, answer: dict[str, Any]) -> dict[str, Any]:
        return {
            **answer,
            "operationTime": bson.Timestamp(1, 1),
            "$clusterTime": {"clusterTime": bson.Timestamp(1, 1), "signature": {"keyId": 1}},
            "localTime": dt.datetime(2026, 1, 1, tzinfo=dt.UTC),
            "topologyVersion": {"processId": bson.ObjectId(), "counter": bson.Int64(6)},
        }

    with serving(USERS, twist=twist) as server:
        assert login(server.address) == ["SCRAM-SHA-256"]


@pytest.mark.parametrize(
    ("code", "kind"),
    [
        (18, AuthenticationError),
        (334, MechanismError),
        (91, BackendError),
        (11600, BackendError),
        (2, PeerError),
        (17, PeerError),
        (None, PeerError),
        ("18", PeerError),
        (True, PeerError),
    ],
)
def test_errors_of_the_server_become_ours(login: Login, code: Any, kind: type[SaslError]) -> None:
    """By their number; its words are printable and bounded."""
    words = "\x1b[31mno\r\n" + "so " * 1000
    twist = changed(ok=0.0, code=code, codeName="\x1b]0;x", errmsg=words, payload=None)
    with serving(USERS, twist=twist) as server:
        with pytest.raises(kind) as caught:
            login(server.address)
        said = f"{caught.value} {caught.value.detail}"
        assert "\\x1b[31mno" in said
        assert said.isprintable()
        assert len(said) < 1500


@pytest.mark.parametrize("login", [blocking_login, asyncio_login])
@pytest.mark.parametrize(
    ("refused", "connected"),
    [((socket.AF_INET6,), True), ((socket.AF_INET6, socket.AF_INET), False)],
    ids=["no-ipv6", "no-descriptor"],
)
def test_a_machine_without_a_socket(
    login: Login,
    refused: tuple[int, ...],
    connected: bool,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The next address is tried; where none will do, the error is ours."""

    class Scarce(socket.socket):
        def __init__(self, family: int = -1, *more: Any, **named: Any) -> None:
            if family in refused and "fileno" not in named:
                raise OSError(24, "too many open files")
            super().__init__(family, *more, **named)

    def both(host: str, port: int, *_: object, **__: object) -> list[Any]:
        stream, tcp = socket.SOCK_STREAM, socket.IPPROTO_TCP
        return [
            (socket.AF_INET6, stream, tcp, "", ("::1", port, 0, 0)),
            (socket.AF_INET, stream, tcp, "", ("127.0.0.1", port)),
        ]

    answers = {"authid": "tim", "password": PASSWORD}
    connection = {"timeout": 5.0, "mechanism": "SCRAM-SHA-256"}
    with serving(USERS) as server, monkeypatch.context() as patch:
        patch.setattr(socket, "getaddrinfo", both)
        patch.setattr(socket, "socket", Scarce)

        def attempt() -> Any:
            address = ("localhost", server.address[1])
            return login(address, connection=connection, times=1, credentials=None, answers=answers)

        if connected:
            assert attempt() == ["SCRAM-SHA-256"]
        else:
            with pytest.raises(BackendError) as caught:
                attempt()
            assert caught.value.code == "connection"
            assert "too many open files" in str(caught.value.detail)


def test_a_server_that_says_nothing(login: Login) -> None:
    """A BackendError, in time."""
    began = time.monotonic()
    with serving(USERS, twist=hang) as server, pytest.raises(BackendError) as caught:
        login(server.address, timeout=0.3)
    assert caught.value.code == "timeout"
    assert time.monotonic() - began < 9


def test_a_server_that_hangs_up(login: Login) -> None:
    """In each place, a PeerError or a BackendError."""
    listener = socket.create_server(("127.0.0.1", 0))

    def accept() -> None:
        for _ in range(2):
            connection, _address = listener.accept()
            connection.recv(10)
            connection.close()

    thread = threading.Thread(target=accept, daemon=True)
    thread.start()
    try:
        for _ in range(2):
            with pytest.raises((PeerError, BackendError)):
                login(listener.getsockname())
    finally:
        thread.join(10)
        listener.close()


def test_what_is_said_without_an_order_is_refused() -> None:
    """No login before hello; nothing without a connection."""
    with serving(USERS) as server, Client("mongodb", "localhost", config=CONFIG) as client:
        mongodb = MongodbClient(*server.address, user="tim", timeout=5.0)
        for call in (mongodb.facts, mongodb.hello):
            with pytest.raises(UsageError, match="not connected"):
                call()
        mongodb.connect()
        try:
            with pytest.raises(UsageError, match="connected already"):
                mongodb.connect()
            with pytest.raises(UsageError, match="hello first"):
                mongodb.login(client, authid="tim", password=PASSWORD)
            mongodb.hello()
            given = mongodb.password("tim", PASSWORD)
            session = client.session(authid="tim", password=given)
            with session, pytest.raises(UsageError, match="over the connection"):
                session.start(["SCRAM-SHA-256"])
        finally:
            mongodb.close()


@pytest.mark.parametrize(
    ("mechanism", "database"),
    [
        ("SCRAM-SHA-256", "$external"),
        (None, "$external"),
        ("MONGODB-OIDC", "admin"),
        ("MONGODB-X509", "admin"),
        ("PLAIN", "a.b"),
        ("PLAIN", ""),
        (None, "a b"),
    ],
)
def test_there_is_no_such_login(mechanism: str | None, database: str) -> None:
    """Told before anything is sent."""
    with pytest.raises(UsageError):
        MongodbClient("localhost", 1, mechanism=mechanism, database=database)


# --- secrets ------------------------------------------------------------------------------------


def echo(command: str, answer: dict[str, Any]) -> dict[str, Any]:
    """A twist: the server refuses, and repeats what it was told in every way."""
    if command != "saslStart":
        return answer
    words = f"user tim with {PASSWORD.upper()} and {TOKEN} and no luck"
    return {"ok": 0.0, "code": 18, "codeName": "AuthenticationFailed", "errmsg": words}


@pytest.mark.parametrize("mechanism", ["PLAIN", "MONGODB-OIDC"])
def test_a_server_that_repeats_a_secret(login: Login, mechanism: str) -> None:
    """Its words are in no error and no event."""
    seen: list[TraceEvent] = []
    with serving(USERS, twist=echo) as server:
        with pytest.raises(AuthenticationError) as caught:
            login(
                server.address,
                token=TOKEN if mechanism == "MONGODB-OIDC" else None,
                mechanism=mechanism,
                trace=seen.append,
            )
        said = f"{caught.value} {caught.value.detail} {seen}".casefold()
    assert PASSWORD not in said
    assert TOKEN.casefold() not in said
    assert "error 18 authenticationfailed: ****" in said


@pytest.mark.parametrize("mechanism", ["SCRAM-SHA-256", "SCRAM-SHA-1", "PLAIN", "MONGODB-OIDC"])
def test_no_frame_of_a_traceback_holds_a_secret(login: Login, mechanism: str) -> None:
    """Whatever prints local variables with a traceback prints none."""
    token = OTHER if mechanism == "MONGODB-OIDC" else None
    with serving(USERS) as server:
        with pytest.raises(AuthenticationError) as caught:
            login(server.address, "tim", "wrong-7677", token=token, mechanism=mechanism)
        frame = caught.value.__traceback__
        found = 0
        while frame is not None:
            code = frame.tb_frame.f_code.co_filename
            if "sasl_profiles" in code or "sasl_core" in code:
                found += 1
                shown = repr(frame.tb_frame.f_locals)
                assert "wrong-7677" not in shown
                assert OTHER not in shown
            frame = frame.tb_next
        assert found


def test_the_trace(login: Login) -> None:
    """Each command and reply, as it may be shown."""
    seen: list[TraceEvent] = []
    with serving(USERS, mechanisms=["SCRAM-SHA-256", "SCRAM-SHA-1"]) as server:
        login(server.address, trace=seen.append)
    assert [(event.direction, event.line) for event in seen] == [
        ("C", "hello saslSupportedMechs admin.tim"),
        ("S", "ok, wire version 25, saslSupportedMechs SCRAM-SHA-256 SCRAM-SHA-1"),
        ("C", "saslStart SCRAM-SHA-256 at admin"),
        ("S", "conversation 7"),
        ("C", "saslContinue"),
        ("S", "conversation 7, done"),
    ]
    messages = [event.message or "" for event in seen]
    assert messages[2].startswith("n,,n=tim,r=")
    assert messages[4].endswith(",p=****")
    assert messages[5] == "v=****"
    assert [event.secret for event in seen] == [False, False, False, False, True, True]


# --- our own server -----------------------------------------------------------------------------


@pytest.fixture
def serve() -> Iterator[Serve]:
    """Starts our servers."""
    with services() as start:
        yield start


@pytest.mark.parametrize("with_tls", [False, True], ids=["tcp", "tls"])
@pytest.mark.parametrize("mechanism", [None, "SCRAM-SHA-1", "PLAIN", "MONGODB-OIDC"])
def test_our_own_server(
    serve: Serve, login: Login, tls: Tls, mechanism: str | None, with_tls: bool
) -> None:
    """Each mechanism, in clear and over TLS."""
    issuer = FakeIssuer()
    config = dict(CLEAR)
    if with_tls:
        del config["allow_cleartext"]
    service: MongoService = serve(
        issuer=issuer, config=config, tls=tls.server() if with_tls else None
    )
    service.give_digest()
    token = issuer.sign(groups=["readers"]) if mechanism == "MONGODB-OIDC" else None
    done = login(
        ("localhost", service.address[1]),
        None if token else "tim",
        "tanstaaftanstaaf",
        token=token,
        mechanism=mechanism,
        tls=tls.client() if with_tls else None,
    )
    assert done == [mechanism or "SCRAM-SHA-256"]


def test_our_own_server_refuses(serve: Serve, login: Login) -> None:
    """A wrong password, and a mechanism that it has not without TLS."""
    service: MongoService = serve(config={})
    with pytest.raises(AuthenticationError):
        login(service.address, "tim", "wrong-7677")
    with pytest.raises(MechanismError) as caught:
        login(service.address, "tim", "wrong-7677", mechanism="PLAIN")
    assert "334 MechanismUnavailable" in str(caught.value.reasons)
