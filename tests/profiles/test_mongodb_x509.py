"""MONGODB-X509: the owner of a certificate logs in, and nobody else under its name."""

from __future__ import annotations

import logging
import ssl
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from cryptography.x509 import Name
from cryptography.x509.oid import NameOID

from certificate_kit import Authority, Shown, name_of
from mongodb_kit import MECHANISMS, MongoPeer, MongoService, Serve, provider, services, who
from sasl_auxprop.memory import MemoryStore
from sasl_core import AuditEvent, Decision, Result, SetpassFlag
from sasl_core.aio import Server
from sasl_core.plugin import UsageError
from sasl_profiles.mongodb import MongodbServer
from sasl_profiles.mongodb.connection import MongodbConnection
from sasl_profiles.mongodb.events import AuthEnded, AuthStarted, Closed, Limits, Login
from sasl_tls import ServerTls
from tls_kit import Tls, make_tls
from token_kit import FakeIssuer

TIM = r"CN=Tim Smith,OU=Ops,O=Example\, Inc.,C=DE"
X509 = {"authenticate": 1, "mechanism": "MONGODB-X509"}
DONE = {"dbname": "$external", "user": TIM}
FAILED = {
    "ok": 0.0,
    "errmsg": "Authentication failed.",
    "code": 18,
    "codeName": "AuthenticationFailed",
}
CONFIG = {"mech_list": [*MECHANISMS, "EXTERNAL"]}
CN, OU = NameOID.COMMON_NAME, NameOID.ORGANIZATIONAL_UNIT_NAME


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Of all certificates."""
    return tmp_path_factory.mktemp("certificates")


@pytest.fixture(scope="module")
def authority(folder: Path) -> Authority:
    """Whose clients are believed."""
    return Authority(folder)


@pytest.fixture(scope="module")
def certificate(folder: Path) -> Tls:
    """The server's own."""
    return make_tls(folder)


@pytest.fixture(scope="module")
def shown(authority: Authority) -> Shown:
    """The certificate of Tim."""
    return authority.sign()


@pytest.fixture(params=["ssl", "pyopenssl"])
def tls(request: pytest.FixtureRequest, certificate: Tls, authority: Authority) -> ServerTls:
    """TLS by each library, that asks for certificates."""
    return ServerTls.load(
        certificate.certificate, certificate.key, request.param, client_ca=authority.file
    )


def store(**users: Any) -> MemoryStore:
    """Tim with roles and without a password, and others, by their names."""
    made = MemoryStore()
    made.add_user(TIM, properties={"roles": [b"admin.readWrite", b"dbAdmin"]})
    for name, options in users.items():
        made.add_user(name, **options)
    return made


@pytest.fixture
def serve(tls: ServerTls) -> Iterator[Serve]:
    """Starts servers of this TLS; each is stopped, and must have left nothing behind."""
    with services() as start:

        def with_tls(**options: Any) -> MongoService:
            options.setdefault("stores", [store()])
            options.setdefault("config", CONFIG)
            options.setdefault("tls", tls)
            return start(**options)

        yield with_tls


@pytest.fixture
def client(shown: Shown, certificate: Tls) -> ssl.SSLContext:
    """The TLS of Tim."""
    return shown.client(certificate.certificate)


def authenticate(peer: MongoPeer, database: str = "$external", **more: Any) -> Any:
    """Send the command as drivers do."""
    return peer.ask({**X509, **more}, database)


# --- logins -----------------------------------------------------------------------------------


@pytest.mark.parametrize("named", [False, True])
def test_a_certificate_logs_in(serve: Serve, client: ssl.SSLContext, named: bool) -> None:
    """With or without the name; users and roles are the store's."""
    with serve().connect(client) as peer:
        assert authenticate(peer, **({"user": TIM} if named else {})) == {**DONE, "ok": 1.0}
        told = peer.ask({"connectionStatus": 1})["authInfo"]
        assert told == {
            "authenticatedUsers": [{"user": TIM, "db": "$external"}],
            "authenticatedUserRoles": [
                {"role": "readWrite", "db": "admin"},
                {"role": "dbAdmin", "db": "admin"},
            ],
        }


@pytest.mark.parametrize("more", [{}, {"user": TIM}, {"db": "$external"}, {"user": ""}])
def test_a_certificate_logs_in_inside_of_a_hello(
    serve: Serve, client: ssl.SSLContext, more: dict[str, Any]
) -> None:
    """Drivers name no database there; the answer is in the hello's."""
    with serve().connect(client) as peer:
        answer = peer.ask({"hello": 1, "speculativeAuthenticate": {**X509, **more}})
        assert answer["ok"] == 1.0
        assert answer["speculativeAuthenticate"] == DONE
        assert who(peer) == [{"user": TIM, "db": "$external"}]


def test_other_mechanisms_are_there_as_well(serve: Serve, client: ssl.SSLContext) -> None:
    """Whoever has a certificate may log in by a password all the same, and the other way round."""
    users = store(kim={"password": "tanstaaftanstaaf"})
    with serve(stores=[users]).connect(client) as peer:
        assert peer.plain("kim")["done"] is True
        assert authenticate(peer)["ok"] == 1.0
        assert who(peer) == [{"user": TIM, "db": "$external"}]
        assert peer.ask({"logout": 1})["ok"] == 1.0
        assert who(peer) == []


def test_an_administrator_by_certificate(serve: Serve, client: ssl.SSLContext) -> None:
    """The first dot ends the database, and the rest is the name."""
    issuer = FakeIssuer()
    service = serve(issuer=issuer, administrators=[f"$external.{TIM}"])
    command = {"setParameter": 1, "oidcIdentityProviders": [provider(issuer)]}
    with service.connect(client) as peer:
        assert peer.ask(command)["code"] == 13
        assert authenticate(peer)["ok"] == 1.0
        assert peer.ask(command)["ok"] == 1.0


# --- refusals ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "user",
    [
        TIM.lower(), f" {TIM}", f"{TIM} ", TIM.replace("\\, ", ","), "tim", "CN=Tim Smith",
        ",".join(reversed(TIM.split(","))), "CN=admin", "\0", "x" * 5000,
    ],
)  # fmt: skip
def test_another_name_than_the_certificates(
    serve: Serve, client: ssl.SSLContext, user: str
) -> None:
    """The name that is sent is the certificate's to the letter, or nobody gets in."""
    known = store(tim={}, **{"CN=admin": {}, "CN=Tim Smith": {}})
    service = serve(stores=[known])
    with service.connect(client) as peer:
        assert authenticate(peer, user=user) == FAILED
        assert who(peer) == []
        answer = peer.ask({"hello": 1, "speculativeAuthenticate": {**X509, "user": user}})
        assert "speculativeAuthenticate" not in answer


@pytest.mark.parametrize("more", [" {}", "{} ", "\t{}", "{}\n", "\u00a0{}", "{}@"])
def test_a_name_with_blanks_around_it(
    serve: Serve, certificate: Tls, authority: Authority, more: str
) -> None:
    """SASL takes them off the name of whom somebody wants to act as; here nobody does."""
    users = MemoryStore()
    users.add_user("CN=kim")
    shown = authority.sign(name_of((CN, "kim"))).client(certificate.certificate)
    with serve(stores=[users]).connect(shown) as peer:
        assert authenticate(peer, user=more.format("CN=kim")) == FAILED
        assert who(peer) == []
        assert authenticate(peer, user="CN=kim")["ok"] == 1.0


def test_a_proxy_policy_is_not_for_certificates(serve: Serve, client: ssl.SSLContext) -> None:
    """The application permits one to act as another; MongoDB's command says who one is."""
    heard: list[AuditEvent] = []
    core = {"authorize": lambda *_: Decision.PERMIT, "audit": [heard.append]}
    with serve(stores=[store(tim={})], core=core).connect(client) as peer:
        assert authenticate(peer, user="tim") == FAILED
        assert who(peer) == []
        assert authenticate(peer)["ok"] == 1.0
    assert [event.result for event in heard] == [Result.OK, Result.NOAUTHZ, Result.OK]


def test_who_shows_no_certificate(serve: Serve, certificate: Tls) -> None:
    """18 as for every login that fails, and the log has why."""
    with serve().connect(certificate.client()) as peer:
        assert authenticate(peer) == FAILED
        assert authenticate(peer, user=TIM) == FAILED
        answer = peer.ask({"hello": 1, "speculativeAuthenticate": X509})
        assert "speculativeAuthenticate" not in answer


def test_in_clear(caplog: pytest.LogCaptureFixture) -> None:
    """Nobody is vouched for without TLS."""
    config = {**CONFIG, "allow_cleartext": True}
    with (
        services() as start,
        caplog.at_level(logging.INFO),
        start(config=config, stores=[store()]).connect() as peer,
    ):
        assert authenticate(peer, user=TIM) == FAILED
    assert "the client has shown no certificate" in caplog.text


def test_where_it_is_not_offered(serve: Serve, client: ssl.SSLContext) -> None:
    """334, with a certificate or without, for it is no matter of the certificate."""
    service = serve(config={"mech_list": ["SCRAM-SHA-256"]})
    with service.connect(client) as peer:
        assert authenticate(peer)["code"] == 334
    with services() as start, start(config={"mech_list": ["SCRAM-SHA-256"]}).connect() as peer:
        assert authenticate(peer)["code"] == 334


def test_who_has_no_account(serve: Serve, certificate: Tls, authority: Authority) -> None:
    """The authority vouches for more people than are users here."""
    others = [
        name_of((CN, "nobody")),
        name_of((NameOID.COUNTRY_NAME, "DE"), (NameOID.ORGANIZATION_NAME, "Example, Inc.")),
        name_of((OU, "x, CN=admin"), (CN, "tim")),
        name_of((OU, "x"), (CN, "tim,CN=admin")),
        name_of((CN, "admin"), (CN, "tim")),
        name_of([(CN, "admin"), (OU, "x")]),
    ]
    known = store(**{"CN=admin": {}, "CN=admin,OU=x": {}, "CN=tim": {}, "admin": {}, "tim": {}})
    service = serve(stores=[known])
    for subject in others:
        made = authority.sign(subject)
        with service.connect(made.client(certificate.certificate)) as peer:
            assert authenticate(peer) == FAILED
            for name in ("CN=admin", "admin", "CN=admin,OU=x"):
                assert authenticate(peer, user=name) == FAILED
            assert who(peer) == []


@pytest.mark.parametrize(
    "subject", [Name([]), name_of((CN, "Tim\0")), name_of((CN, "a\nb"))], ids=["empty", "NUL", "LF"]
)
def test_a_subject_that_names_nobody(
    serve: Serve, certificate: Tls, authority: Authority, subject: Name
) -> None:
    """It is as if there were no certificate."""
    service = serve(stores=[store(Tim={}, **{"CN=Tim": {}})])
    with service.connect(authority.sign(subject).client(certificate.certificate)) as peer:
        assert authenticate(peer) == FAILED
        assert authenticate(peer, user="CN=Tim") == FAILED


def test_who_is_locked_out(serve: Serve, client: ssl.SSLContext) -> None:
    """`sasl passwd --exact -d` does it, to one of very that name."""
    service = serve()

    def lock(name: str) -> None:
        flags = SetpassFlag.DISABLE | SetpassFlag.CREATE
        assert service.run(service.sasl.setpass(name, None, flags, exact=True)).ok

    lock(TIM.lower())
    with service.connect(client) as peer:
        assert authenticate(peer)["ok"] == 1.0
    lock(TIM)
    with service.connect(client) as peer:
        assert authenticate(peer) == FAILED


@pytest.mark.parametrize("subject", [name_of((CN, "kim@test")), name_of((OU, "a@test"), (CN, "x"))])
def test_a_name_of_a_user_of_a_database(
    serve: Serve, certificate: Tls, authority: Authority, subject: Name
) -> None:
    """What follows the last @ is a realm, and there it is a database of SCRAM's."""
    kim = authority.sign(subject)
    name = "CN=kim@test" if len(subject.rdns) == 1 else "CN=x,OU=a@test"
    users = MemoryStore()
    users.add_user(name)

    def make(server: Server) -> MongodbServer:
        test = Server("mongodb", "localhost", config={}, realm="test", stores=[users])
        made = MongodbServer(server, databases={"test": test}, tls=tls_of(certificate, authority))
        made._own.append(test)
        return made

    with services() as start:
        service = start(config=CONFIG, stores=[users], make=make)
        with service.connect(kim.client(certificate.certificate)) as peer:
            assert authenticate(peer) == FAILED
        plain = start(config=CONFIG, stores=[users], tls=tls_of(certificate, authority))
        with plain.connect(kim.client(certificate.certificate)) as peer:
            assert authenticate(peer)["user"] == name


def tls_of(certificate: Tls, authority: Authority) -> ServerTls:
    """TLS of the standard library's, that asks for certificates."""
    return ServerTls.load(certificate.certificate, certificate.key, client_ca=authority.file)


@pytest.mark.parametrize("database", ["admin", "test", ""])
def test_another_database(serve: Serve, client: ssl.SSLContext, database: str) -> None:
    """The owners of certificates are in one."""
    with serve().connect(client) as peer:
        assert authenticate(peer, database) == FAILED
        answer = peer.ask({"hello": 1, "speculativeAuthenticate": {**X509, "db": database}})
        assert "speculativeAuthenticate" not in answer


def test_when_the_certificate_ends_the_connection_does(
    serve: Serve, client: ssl.SSLContext, shown: Shown, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No word on it could renew the certificate; the next one's handshake says what is wrong."""
    service = serve()
    with service.connect(client) as peer, service.connect(client) as other:
        assert authenticate(peer)["ok"] == 1.0
        assert peer.ask({"ping": 1})["ok"] == 1.0
        days = 86400.0 * 2
        clock = service.sasl.utils.clock
        monkeypatch.setattr(type(service.sasl.utils), "clock", lambda _: clock() + days)
        with pytest.raises(AssertionError, match="hung up"):
            peer.ask({"ping": 1})
        # Who began the connection in time is too late as well.
        assert authenticate(other) == FAILED


# --- the commands, without TLS ------------------------------------------------------------------


def test_an_exchange_of_its_own_form() -> None:
    """By saslStart nobody begins X509, by authenticate nothing else."""
    begin: list[tuple[dict[str, Any], int | None]] = [
        ({"authenticate": 1, "mechanism": "MONGODB-X509"}, None),
        ({"authenticate": 1, "mechanism": "MONGODB-X509", "user": 1}, 2),
        ({"authenticate": 1, "mechanism": "MONGODB-X509", "user": "x" * 8193}, 2),
        ({"authenticate": 1}, 2),
        ({"authenticate": 1, "mechanism": 1}, 2),
        ({"authenticate": 1, "mechanism": "MONGODB-CR"}, 334),
        ({"authenticate": 1, "mechanism": "SCRAM-SHA-256"}, 334),
        ({"authenticate": 1, "mechanism": "EXTERNAL"}, 334),
        ({"saslStart": 1, "mechanism": "MONGODB-X509", "payload": b""}, 334),
        ({"saslStart": 1, "mechanism": "EXTERNAL", "payload": b""}, 334),
    ]
    for command, code in begin:
        machine = MongodbConnection(lambda: ())
        answer = asked(machine, command)
        if code is None:
            assert answer == AuthStarted("MONGODB-X509", b"", "$external", True)
        else:
            assert answer["code"] == code, command


def asked(machine: MongodbConnection, command: dict[str, Any]) -> Any:
    """The first event, or the answer, to a command."""
    import struct

    import bson

    from mongodb_kit import message

    machine.receive(message({**command, "$db": "$external"}))
    event = machine.next_event()
    if event is not None:
        return event
    data = machine.data_to_send()
    (length,) = struct.unpack("<i", data[:4])
    assert length == len(data)
    return bson.decode(data[21:])


def test_it_has_one_answer() -> None:
    """A challenge has no place in it, and a continuation none to continue."""
    machine = MongodbConnection(lambda: ())
    assert isinstance(asked(machine, X509), AuthStarted)
    with pytest.raises(UsageError):
        machine.challenge(b"")
    machine.auth_succeeded(Login(TIM, "$external"))
    assert machine.data_to_send()
    assert asked(machine, {"saslContinue": 1, "conversationId": 1, "payload": b""})["code"] == 17


def test_it_spoils_an_exchange_that_is_under_way() -> None:
    """As another saslStart does."""
    machine = MongodbConnection(lambda: ())
    start = {"saslStart": 1, "mechanism": "PLAIN", "payload": b""}
    assert isinstance(asked(machine, start), AuthStarted)
    machine.challenge(b"x")
    assert machine.data_to_send()
    assert isinstance(asked(machine, X509), AuthEnded)
    assert not machine.exchanging


def test_failures_end_the_connection() -> None:
    """They count as those of any other mechanism."""
    machine = MongodbConnection(lambda: (), limits=Limits(auth_failures=1))
    assert isinstance(asked(machine, {"authenticate": 1, "mechanism": "PLAIN"}), Closed)
    assert b"MechanismUnavailable" in machine.data_to_send()
