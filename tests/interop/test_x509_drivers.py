"""MongoDB's drivers and mail clients, unchanged, log in by a client certificate."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeAlias
from urllib.parse import quote

import pymongo
import pytest
from cryptography.x509 import Name, ObjectIdentifier
from cryptography.x509.oid import NameOID
from pymongo.errors import (
    AutoReconnect,
    ConnectionFailure,
    OperationFailure,
    ServerSelectionTimeoutError,
)

import certificate_kit
from certificate_kit import TIM, Shown, name_of
from mailhost import Authority, MailHost
from mongodb_kit import MECHANISMS, MongoService
from peers import run
from sasl_auxprop.memory import MemoryStore
from sasl_core import Result
from sasl_tls import ServerTls, parse_subject
from tls_kit import Tls, make_tls

pytestmark = pytest.mark.interop

Need: TypeAlias = Callable[[str], str]

NAME = r"CN=Tim Smith,OU=Ops,O=Example\, Inc.,C=DE"
NODE = Path(__file__).parent / "node" / "x509.mjs"
CONFIG = {"mech_list": [*MECHANISMS, "EXTERNAL"]}

SUBJECTS = {
    "as usual": name_of(*TIM),
    "letters": name_of((NameOID.COMMON_NAME, "Zo\u00eb \u0141")),
    "specials": name_of((NameOID.COMMON_NAME, '#a<b>;"c"\\=d+e, CN=admin ')),
    "several": name_of(
        (NameOID.COUNTRY_NAME, "DE"),
        [(NameOID.COMMON_NAME, "tim"), (NameOID.ORGANIZATIONAL_UNIT_NAME, "a+b")],
    ),
    "many": name_of(
        (NameOID.DOMAIN_COMPONENT, "example"),
        (NameOID.STREET_ADDRESS, "s"),
        (NameOID.STATE_OR_PROVINCE_NAME, "st"),
        (NameOID.LOCALITY_NAME, "l"),
        (NameOID.SURNAME, "x"),
        (NameOID.GIVEN_NAME, "y"),
        (NameOID.SERIAL_NUMBER, "1"),
        (NameOID.TITLE, "t"),
        (NameOID.DN_QUALIFIER, "q"),
        (NameOID.INITIALS, "i"),
        (NameOID.USER_ID, "u"),
        (NameOID.EMAIL_ADDRESS, "tim@example.com"),
        (ObjectIdentifier("1.3.6.1.4.1.99999.1"), "zz"),
        (NameOID.JURISDICTION_COUNTRY_NAME, "DE"),
        (NameOID.ORGANIZATION_IDENTIFIER, "VATDE-1"),
        (NameOID.BUSINESS_CATEGORY, "b"),
        (NameOID.POSTAL_CODE, "10115"),
        (NameOID.PSEUDONYM, "p"),
    ),
}


@pytest.fixture(scope="module")
def clients(tmp_path_factory: pytest.TempPathFactory) -> certificate_kit.Authority:
    """The authority of clients."""
    return certificate_kit.Authority(tmp_path_factory.mktemp("clients"))


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Tls:
    """The server's own."""
    return make_tls(tmp_path_factory.mktemp("server"))


@pytest.fixture(params=["ssl", "pyopenssl"], ids=["tls-ssl", "tls-pyopenssl"])
def tls(
    request: pytest.FixtureRequest, certificate: Tls, clients: certificate_kit.Authority
) -> ServerTls:
    """TLS by each library, that asks for certificates."""
    return ServerTls.load(
        certificate.certificate, certificate.key, request.param, client_ca=clients.file
    )


@pytest.fixture
def service(tls: ServerTls) -> Iterator[MongoService]:
    """A server that knows Tim, and others with odd names."""
    store = MemoryStore({"kim": "tanstaaftanstaaf"})
    store.add_user(NAME, properties={"roles": [b"admin.readWrite"]})
    made = MongoService(config=CONFIG, stores=[store], tls=tls)
    yield made
    made.settle()
    made.close()


@pytest.mark.parametrize("subject", SUBJECTS.values(), ids=list(SUBJECTS))
def test_openssl_prints_the_same_name(
    need: Need, clients: certificate_kit.Authority, subject: Name, tmp_path: Path
) -> None:
    """As docs/mongodb.md tells administrators to find it out."""
    shown = clients.sign(subject)
    command = [need("openssl"), "x509", "-in", str(shown.certificate), "-noout", "-subject"]
    outcome = run([*command, "-nameopt", "RFC2253,-esc_msb,utf8"], tmp_path)
    assert outcome.expect(0) == 0
    printed = outcome.output.rstrip("\n").removeprefix("subject=")
    assert printed == parse_subject(shown.der).name


# --- PyMongo ------------------------------------------------------------------------------------


@pytest.fixture
def connect(service: MongoService, certificate: Tls) -> Iterator[Callable[..., Any]]:
    """Makes PyMongo's clients for the server; each is closed."""
    made: list[Any] = []

    def connect(shown: Shown | None, **options: Any) -> Any:
        if shown is not None:
            options["tlsCertificateKeyFile"] = str(shown.both)
        options.setdefault("authMechanism", "MONGODB-X509")
        made.append(
            pymongo.MongoClient(
                "localhost",
                service.address[1],
                tls=True,
                tlsCAFile=str(certificate.certificate),
                serverSelectionTimeoutMS=options.pop("wait", 5000),
                **options,
            )
        )
        return made[-1]

    yield connect
    for client in made:
        client.close()


def test_pymongo(connect: Callable[..., Any], clients: certificate_kit.Authority) -> None:
    """With and without the name: users and roles are the store's."""
    for named in ({}, {"username": NAME}):
        client = connect(clients.sign(), **named)
        told = client.admin.command("connectionStatus")["authInfo"]
        assert told["authenticatedUsers"] == [{"user": NAME, "db": "$external"}]
        assert told["authenticatedUserRoles"] == [{"role": "readWrite", "db": "admin"}]


@pytest.mark.parametrize(
    ("subject", "username"),
    [
        (name_of(*TIM), NAME.lower()),
        (name_of(*TIM), "kim"),
        (name_of((NameOID.COMMON_NAME, "kim")), None),
        (name_of((NameOID.COMMON_NAME, "Tim Smith"), *TIM[:3]), None),
        (name_of((NameOID.ORGANIZATIONAL_UNIT_NAME, f"x,{NAME}")), None),
    ],
    ids=["another case", "another user", "no user", "another order", "pretends"],
)
def test_pymongo_is_refused(
    connect: Callable[..., Any],
    clients: certificate_kit.Authority,
    subject: Name,
    username: str | None,
) -> None:
    """18, as for a wrong password."""
    client = connect(clients.sign(subject), **({} if username is None else {"username": username}))
    with pytest.raises(OperationFailure) as caught:
        client.admin.command("ping")
    assert caught.value.code == 18


def test_pymongo_without_a_certificate(connect: Callable[..., Any]) -> None:
    """18 by X509; a password is as good as ever."""
    with pytest.raises(OperationFailure) as caught:
        connect(None).admin.command("ping")
    assert caught.value.code == 18
    client = connect(
        None, authMechanism="SCRAM-SHA-256", username="kim", password="tanstaaftanstaaf"
    )
    assert client.admin.command("ping")["ok"] == 1.0


@pytest.mark.parametrize("kind", ["expired", "self-signed", "for servers", "another authority"])
def test_pymongo_whom_nobody_believes(
    connect: Callable[..., Any], clients: certificate_kit.Authority, kind: str, tmp_path: Path
) -> None:
    """TLS ends in the handshake, and the driver says so."""
    shown = {
        "expired": lambda: clients.sign(days=(-2, -1)),
        "self-signed": lambda: clients.sign(self_signed=True),
        "for servers": lambda: clients.sign(purpose="server"),
        "another authority": lambda: certificate_kit.Authority(tmp_path).sign(),
    }[kind]()
    with pytest.raises((ServerSelectionTimeoutError, AutoReconnect)):
        connect(shown, wait=700).admin.command("ping")


def test_pymongo_when_the_certificate_ends(
    connect: Callable[..., Any],
    service: MongoService,
    clients: certificate_kit.Authority,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The connection is gone; the driver makes another, which TLS would refuse by then."""
    client = connect(clients.sign(), retryReads=False)
    client.admin.command("ping")
    clock, skew = service.sasl.utils.clock, [2 * 86400.0]
    monkeypatch.setattr(type(service.sasl.utils), "clock", lambda _: clock() + skew[0])
    with pytest.raises(ConnectionFailure):
        client.admin.command("ping")
    # The next one is refused too: here by the login, for TLS looks at a clock of its own.
    with pytest.raises(OperationFailure) as caught:
        client.admin.command("ping")
    assert caught.value.code == 18
    skew[0] = 0.0
    assert client.admin.command("ping")["ok"] == 1.0


# --- Node -----------------------------------------------------------------------------------------


@pytest.fixture
def node(
    service: MongoService, certificate: Tls, node_modules: Callable[[str], Path]
) -> Callable[..., Any]:
    """Runs the driver for Node once; what the server told it, or how it failed."""
    modules = node_modules("mongodb")

    def log_in(shown: Shown | None, username: str | None = None) -> Any:
        program = shutil.which("node")
        assert program is not None
        options: dict[str, Any] = {
            "tls": True,
            "tlsCAFile": str(certificate.certificate),
            "authMechanism": "MONGODB-X509",
        }
        if shown is not None:
            options["tlsCertificateKeyFile"] = str(shown.both)
        # The driver takes a name without a password in the URI alone.
        who = "" if username is None else f"{quote(username, safe='')}@"
        uri = f"mongodb://{who}localhost:{service.address[1]}/"
        done = subprocess.run(
            [program, str(NODE), str(modules), uri, json.dumps(options)],
            capture_output=True,
            check=False,
            encoding="utf-8",
            timeout=60,
        )
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    return log_in


def test_node(node: Callable[..., Any], clients: certificate_kit.Authority) -> None:
    """With and without the name; 18 for another, and for who has no account."""
    for username in (None, NAME):
        told = node(clients.sign(), username)
        assert told["authenticatedUsers"] == [{"user": NAME, "db": "$external"}]
        assert told["authenticatedUserRoles"] == [{"role": "readWrite", "db": "admin"}]
    assert node(clients.sign(), "kim")["code"] == 18
    assert node(clients.sign(name_of((NameOID.COMMON_NAME, "kim"))))["code"] == 18
    assert node(None)["code"] == 18


# --- mail clients -------------------------------------------------------------------------------


@pytest.fixture
def mail(
    serve: Callable[..., MailHost],
    authority: Authority,
    clients: certificate_kit.Authority,
    request: pytest.FixtureRequest,
) -> MailHost:
    """Our SMTP server, that asks for certificates."""
    tls = ServerTls.load(
        authority.certificate, authority.key, request.param, client_ca=clients.file
    )
    return serve(authority, tls=tls)


LIBRARIES = pytest.mark.parametrize("mail", ["ssl", "pyopenssl"], indirect=True)


def curl(need: Need, host: MailHost, home: Path, shown: Shown, user: str) -> bool:
    """Whether curl may hand in a letter; it takes EXTERNAL for a user without a password."""
    assert host.authority is not None
    letter = home / "letter"
    letter.write_text("Subject: hello\r\n\r\nbye\r\n", "utf-8")
    command = [need("curl"), "--disable", "--silent", "--show-error", "--verbose", "--ssl-reqd"]
    command += ["--url", f"smtp://127.0.0.1:{host.port}/me.example", "--upload-file", str(letter)]
    command += ["--mail-from", "a@x.example", "--mail-rcpt", "b@x.example"]
    command += ["--cacert", str(host.authority.authority), "--cert", str(shown.certificate)]
    command += ["--key", str(shown.key), "--login-options", "AUTH=EXTERNAL", "--user", f"{user}:"]
    return run(command, home).expect(0, 67) == 0


@LIBRARIES
def test_curl(
    need: Need, mail: MailHost, clients: certificate_kit.Authority, tmp_path: Path
) -> None:
    """Its certificate is who it is, and the user whom it names has to be the same."""
    plain = clients.sign(name_of((NameOID.COMMON_NAME, "tim")))
    assert curl(need, mail, tmp_path, plain, "CN=tim")
    assert not curl(need, mail, tmp_path, plain, "tim")
    assert curl(need, mail, tmp_path, clients.sign(), NAME)
    assert [result for _, result in mail.results()] == [Result.OK, Result.NOAUTHZ, Result.OK]
    assert {name for name, _ in mail.results()} == {"EXTERNAL"}
    assert [event.authid for event in mail.logins] == ["CN=tim", "CN=tim", NAME]
    assert len(mail.messages) == 2


def gsasl(need: Need, host: MailHost, home: Path, shown: Shown, *more: str) -> bool:
    """Whether GNU SASL's client is let in."""
    assert host.authority is not None
    command = [need("gsasl"), "--smtp", "--no-cb", "-d", "-m", "EXTERNAL", "--starttls", *more]
    command += [f"--connect=127.0.0.1:{host.port}"]
    command += [f"--x509-ca-file={host.authority.authority}"]
    command += [f"--x509-cert-file={shown.certificate}", f"--x509-key-file={shown.key}"]
    outcome = run(command, home)
    accepted = outcome.expect(0, 1) == 0
    assert ("\n235 2.7.0 " in outcome.output) == accepted, str(outcome)
    return accepted


@LIBRARIES
def test_gsasl(
    need: Need, mail: MailHost, clients: certificate_kit.Authority, tmp_path: Path
) -> None:
    """It names itself, or nobody."""
    shown = clients.sign()
    assert gsasl(need, mail, tmp_path, shown, "-z", "")
    assert gsasl(need, mail, tmp_path, shown, "-z", NAME)
    assert not gsasl(need, mail, tmp_path, shown, "-z", "tim")
    assert [result for _, result in mail.results()] == [Result.OK, Result.OK, Result.NOAUTHZ]
    assert {event.authid for event in mail.logins} == {NAME}
