"""Whose names are whose at the MongoDB server: databases, `$external`, administrators, roles."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterator
from typing import Any

import bson
import pytest

from mongodb_kit import (
    CLEAR,
    PASSWORD,
    MongoPeer,
    MongoService,
    Serve,
    provider,
    scram_login,
    services,
    who,
)
from sasl_auxprop.memory import MemoryStore
from sasl_core import AuditEvent, BindingPolicy, Decision
from sasl_core.aio import Server
from sasl_core.plugin import ConfigError, Layer, Result, UsageError
from sasl_profiles import mongodb
from sasl_profiles.mongodb import MongodbServer
from token_kit import FakeIssuer

REFUSED = 18
UNAUTHORIZED = 13

USERS = {
    "tim@admin": PASSWORD,
    "tim@test": "another",
    "kim@test": PASSWORD,
    "tim": "third",
    "joe@corp.com@test": PASSWORD,
    "ann@elsewhere": PASSWORD,
}
TABLE = {**CLEAR, "profiles": {"mongodb": {"databases": ["admin", "test"]}}}


@pytest.fixture
def serve() -> Iterator[Serve]:
    """Starts MongoDB servers; each is stopped, and must have left nothing behind."""
    with services() as start:
        yield start


@pytest.fixture
def issuer() -> FakeIssuer:
    """An identity provider."""
    return FakeIssuer()


def configured(server: Server) -> MongodbServer:
    """A server as its configuration says."""
    return mongodb.make_server(server, host_name="x", tls=None, binding=BindingPolicy.WANT)


@pytest.fixture
def audited() -> list[AuditEvent]:
    """What the audit has heard."""
    return []


@pytest.fixture
def of_databases(serve: Serve, audited: list[AuditEvent]) -> MongoService:
    """A server whose users belong to databases, as 'sasl users import' writes them."""
    return serve(
        config=TABLE,
        stores=[MemoryStore(USERS)],
        make=configured,
        core={"audit": [audited.append]},
    )


def replace(peer: MongoPeer) -> int:
    """What comes of an administrator's command, by its code; 2 is an administrator's mistake."""
    return int(peer.ask({"setParameter": 1, "oidcIdentityProviders": [1]})["code"])


# --- databases ------------------------------------------------------------------------------


def test_users_belong_to_databases(of_databases: MongoService) -> None:
    """There is one `tim` to each, with a password of its own."""
    logins = {
        ("tim", "admin", PASSWORD): "tim",
        ("tim", "test", "another"): "tim",
        ("kim", "test", PASSWORD): "kim",
        ("tim", "admin", "another"): None,
        ("tim", "test", PASSWORD): None,
        ("kim", "admin", PASSWORD): None,
        ("tim", "other", PASSWORD): None,
        # A name with a realm in it is of that realm, and so of no other database.
        ("tim@test", "admin", "another"): None,
        ("tim@test", "test", "another"): "tim",
        # So that a name which holds an @ is given with its database.
        ("joe@corp.com@test", "test", PASSWORD): "joe@corp.com",
        ("joe@corp.com", "test", PASSWORD): None,
        ("joe@corp.com@test", "admin", PASSWORD): None,
    }
    for (user, database, password), name in logins.items():
        with of_databases.connect() as peer:
            answer = scram_login(peer, user, database, password)
            assert (answer["ok"] == 1.0) is (name is not None), (user, database)
            assert who(peer) == ([{"user": name, "db": database}] if name else [])


def test_a_user_of_another_database_is_no_login_in_the_log(
    of_databases: MongoService, caplog: pytest.LogCaptureFixture
) -> None:
    """It is refused before anything says that somebody is in."""
    caplog.set_level(logging.INFO)
    with of_databases.connect() as peer:
        assert scram_login(peer, "tim@test", "admin", "another")["code"] == REFUSED
    assert "login OK" not in caplog.text
    assert "login NOAUTHZ: mechanism=SCRAM-SHA-256 authid=tim@test" in caplog.text
    assert "of another database" in caplog.text


def test_a_server_of_the_applications_for_a_database(
    serve: Serve, audited: list[AuditEvent]
) -> None:
    """Whom it lets in who is of another database is refused, and the audit says so at last."""
    extra: list[Server] = []

    def make(server: Server) -> MongodbServer:
        extra.append(
            Server(
                "mongodb",
                "localhost",
                config=CLEAR,
                realm="test",
                stores=[MemoryStore(USERS)],
                audit=[audited.append],
            )
        )
        return MongodbServer(server, databases={"test": extra[0]}, administrators=["test.kim"])

    service = serve(make=make)
    with service.connect() as peer:
        assert scram_login(peer, "tim@admin", "test")["code"] == REFUSED
        assert who(peer) == []
        assert scram_login(peer, "kim", "test")["ok"] == 1.0
        assert who(peer) == [{"user": "kim", "db": "test"}]
        assert replace(peer) == 2
    results = [(each.result, each.authid, each.mechanism) for each in audited]
    assert results == [
        (Result.OK, "tim@admin", "SCRAM-SHA-256"),
        (Result.NOAUTHZ, "tim@admin", "SCRAM-SHA-256"),
        (Result.OK, "kim@test", "SCRAM-SHA-256"),
    ]
    assert audited[1].remote.startswith("127.0.0.1;")
    service.run(extra[0].close())


def test_a_layer_is_no_login_for_the_audit(
    serve: Serve, audited: list[AuditEvent], monkeypatch: pytest.MonkeyPatch
) -> None:
    """What the core lets in and the profile refuses is a refusal at last."""
    service = serve(core={"audit": [audited.append]})
    kind = type(service.sasl.session())
    monkeypatch.setattr(kind, "layer", property(lambda self: Layer))
    with service.connect() as peer:
        assert peer.plain()["code"] == 334
    assert [each.result is Result.OK for each in audited] == [True, False]
    for session in service.sasl.made:
        session.close()


NO_DATABASES = ["", "a.b", ".", "local/x", "a\\b", "a b", 'a"b', "$x", "$external", "a\0b"]
NO_DATABASES += ["a@b", "a\x7fb", "x" * 64]


@pytest.mark.parametrize("name", NO_DATABASES)
def test_what_is_no_database(name: str) -> None:
    """By MongoDB's rule, so that DATABASE.USER is one user and no other."""
    config = {**CLEAR, "profiles": {"mongodb": {"databases": ["admin", name]}}}

    async def make() -> None:
        async with Server("mongodb", "localhost", config=config, stores=[MemoryStore()]) as server:
            with pytest.raises(ConfigError, match=r"profiles\.mongodb\.databases"):
                configured(server)
            with pytest.raises(UsageError):
                MongodbServer(server, databases={name: server})

    asyncio.run(make())


# --- administrators -------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name", ["", "nodot", ".tim", "admin.", "tset.tim", "a.b.tim", "$x.tim", "local/x.tim"]
)
def test_what_is_no_administrator(name: str) -> None:
    """No DATABASE.USER, or of a database at which nobody logs in: said at the start."""
    table = {"administrators": ["admin.tim", name], "databases": ["admin"]}
    config = {**CLEAR, "profiles": {"mongodb": table}}

    async def make() -> None:
        async with Server("mongodb", "localhost", config=config, stores=[MemoryStore()]) as server:
            with pytest.raises(ConfigError, match=r"profiles\.mongodb\.administrators"):
                configured(server)
            with pytest.raises(UsageError):
                MongodbServer(server, administrators=[name])

    asyncio.run(make())


def test_an_administrator_where_no_databases_are_named(serve: Serve) -> None:
    """There is `admin` then, and `$external` always."""
    table = {"administrators": ["admin.tim", "$external.kim"]}
    service = serve(
        config={**CLEAR, "profiles": {"mongodb": table}},
        stores=[MemoryStore({"tim": PASSWORD, "kim": PASSWORD})],
        make=configured,
    )
    with service.connect() as peer:
        assert scram_login(peer, "tim", "admin")["ok"] == 1.0
        assert replace(peer) == 2
        assert peer.plain("tim")["done"] is True
        assert replace(peer) == UNAUTHORIZED
        assert peer.plain("kim")["done"] is True
        assert replace(peer) == 2


def test_an_option_that_there_is_not() -> None:
    """`database` is none."""
    config = {**CLEAR, "profiles": {"mongodb": {"database": "admin"}}}

    async def make() -> None:
        async with Server("mongodb", "localhost", config=config, stores=[MemoryStore()]) as server:
            with pytest.raises(ConfigError, match=r"profiles\.mongodb"):
                configured(server)

    asyncio.run(make())


def test_a_dot_in_an_administrators_name(serve: Serve) -> None:
    """The first dot ends the database: the rest is the name, whatever it holds."""
    table = {"administrators": ["admin.a.tim", "$external.x.y"], "databases": ["admin", "test"]}
    names = ("a.tim@admin", "tim@admin", "a.tim@test", "x.y", "y")
    users: dict[str, str] = dict.fromkeys(names, PASSWORD)
    service = serve(
        config={**CLEAR, "profiles": {"mongodb": table}},
        stores=[MemoryStore(users)],
        make=configured,
    )
    with service.connect() as peer:
        for user, database, code in (
            ("a.tim", "admin", 2),
            ("tim", "admin", UNAUTHORIZED),
            ("a.tim", "test", UNAUTHORIZED),
        ):
            assert scram_login(peer, user, database)["ok"] == 1.0
            assert replace(peer) == code
        for user, code in (("x.y", 2), ("y", UNAUTHORIZED)):
            assert peer.plain(user)["done"] is True
            assert replace(peer) == code


# --- $external ------------------------------------------------------------------------------


def test_external_users_belong_to_none(
    of_databases: MongoService, audited: list[AuditEvent]
) -> None:
    """PLAIN knows those without a realm, or with one that is no database."""
    with of_databases.connect() as peer:
        assert peer.plain("tim", "third")["done"] is True
        assert who(peer) == [{"user": "tim", "db": "$external"}]
        assert peer.plain("ann@elsewhere")["done"] is True
        assert who(peer) == [{"user": "ann@elsewhere", "db": "$external"}]
    audited.clear()
    with of_databases.connect() as peer:
        assert peer.plain("kim@test")["code"] == REFUSED
        assert who(peer) == []
    last = audited[-1]
    assert (last.result, last.authid) == (Result.NOAUTHZ, "kim@test")
    assert "'test'" in (last.detail or "")


def jwt(issuer: FakeIssuer, **claims: Any) -> bytes:
    """The payload that brings a token."""
    return bson.encode({"jwt": issuer.sign(**{"sub": "tim", "groups": ["readers"], **claims})})


def oidc(peer: MongoPeer, payload: bytes) -> dict[str, Any]:
    """A saslStart of MONGODB-OIDC."""
    return peer.start("MONGODB-OIDC", payload, "$external")


def test_a_password_gives_nobody_a_providers_name(
    serve: Serve, issuer: FakeIssuer, audited: list[AuditEvent]
) -> None:
    """Whoever can have a store's user made would otherwise be the bearer of a token."""
    service = serve(
        issuer=issuer,
        stores=[MemoryStore({"okta/tim": PASSWORD, "oktan/tim": PASSWORD, "okta": PASSWORD})],
        administrators=["$external.okta/tim"],
        core={"audit": [audited.append]},
    )
    with service.connect() as peer:
        assert peer.plain("okta/tim")["code"] == REFUSED
        assert who(peer) == []
        assert audited[-1].result is Result.NOAUTHZ
        for user in ("oktan/tim", "okta"):
            assert peer.plain(user)["done"] is True
            assert who(peer) == [{"user": user, "db": "$external"}]
            assert replace(peer) == UNAUTHORIZED
        assert oidc(peer, jwt(issuer))["done"] is True
        assert replace(peer) == 2


def test_nor_by_acting_as_them(serve: Serve, issuer: FakeIssuer) -> None:
    """What counts is as whom a user acts."""

    def anybody(_authid: str, _authzid: str, _properties: object) -> Decision:
        return Decision.PERMIT

    service = serve(
        issuer=issuer,
        stores=[MemoryStore({"root": PASSWORD, "okta/tim": "x", "kim": "x"})],
        core={"authorize": anybody},
    )
    with service.connect() as peer:
        password = PASSWORD.encode()
        assert peer.start("PLAIN", b"kim\0root\0" + password, "$external")["done"] is True
        assert who(peer) == [{"user": "kim", "db": "$external"}]
        assert peer.start("PLAIN", b"okta/tim\0root\0" + password, "$external")["code"] == REFUSED


def test_a_name_that_a_provider_gets_later(serve: Serve, issuer: FakeIssuer) -> None:
    """Who has it by a password has had it."""
    service = serve(
        issuer=issuer,
        stores=[MemoryStore({"entra/tim": PASSWORD})],
        administrators=["$external.okta/root"],
    )
    changed = [provider(issuer), provider(issuer, audience="x", authNamePrefix="entra")]
    changed[0]["matchPattern"] = changed[1]["matchPattern"] = "x"
    with service.connect() as user, service.connect() as admin:
        assert user.plain("entra/tim")["done"] is True
        assert user.ask({"ping": 1}) == {"ok": 1.0}
        assert oidc(admin, jwt(issuer, sub="root"))["done"] is True
        command = {"setParameter": 1, "oidcIdentityProviders": changed}
        assert admin.ask(command) == {"ok": 1.0}
        assert user.ask({"ping": 1})["code"] == 391
        assert user.plain("entra/tim")["code"] == REFUSED


# --- roles ----------------------------------------------------------------------------------


def test_roles_come_from_the_stores(serve: Serve, caplog: pytest.LogCaptureFixture) -> None:
    """The property `roles`, each with the database before its first dot.

    One that is no text is none: two of them must not become one.
    """
    roles = [b"admin.readWrite", b"test.a.b", b"root", b"\xff", b"admin.\xfe", b"b\xc3\xb6b"]
    store = MemoryStore()
    store.add_user("tim", password=PASSWORD, properties={"roles": roles})
    with serve(stores=[store]).connect() as peer:
        peer.plain()
        assert peer.ask({"connectionStatus": 1})["authInfo"]["authenticatedUserRoles"] == [
            {"role": "readWrite", "db": "admin"},
            {"role": "a.b", "db": "test"},
            {"role": "root", "db": "admin"},
            {"role": "b\u00f6b", "db": "admin"},
        ]
    assert "2 roles of 'tim' are no UTF-8" in caplog.text


def test_when_nobody_knows_whose_name_it_is_the_login_lapses(
    serve: Serve, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """The connection goes on, and what is wrong with the providers is in the log."""
    service = serve()

    def wrong(_name: str) -> str | None:
        raise ConfigError("wrong", key="identity_providers")

    with service.connect() as peer:
        assert peer.plain()["done"] is True
        monkeypatch.setattr(service.mongo, "external_problem", wrong)
        assert peer.ask({"ping": 1})["code"] == 391
        assert peer.ask({"logout": 1})["ok"] == 1.0
    assert "a login stands no more: " in caplog.text
