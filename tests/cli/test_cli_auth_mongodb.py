"""`sasl auth mongodb://`: against a server of another's codec, and what its URL may say."""

from __future__ import annotations

import socket
import ssl
import threading
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from bson_server import BsonServer, hang, serving
from cli_runs import PASSWORD, Sasl, lines
from sasl_cli.auth_facts import who
from tls_kit import make_tls

TOKEN = "eyJhbGciOiJSUzI1NiJ9.eyJzdWIiOiJ0aW0ifQ.c2lnbmF0dXJl"
USERS = {"tim": PASSWORD, "a,b=c": PASSWORD}


def context(certificate: tuple[Path, Path]) -> ssl.SSLContext:
    """A server's TLS."""
    made = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    made.load_cert_chain(*certificate)
    return made


def url(server: BsonServer, options: str = "", host: str = "127.0.0.1") -> str:
    """Where it is."""
    return f"mongodb://{host}:{server.address[1]}{options}"


@pytest.mark.parametrize("with_tls", [False, True], ids=["tcp", "tls"])
@pytest.mark.parametrize(
    ("options", "mechanism"),
    [
        ((), "SCRAM-SHA-256"),
        (("--mechanism", "scram-sha-1"), "SCRAM-SHA-1"),
        (("--mechanism", "PLAIN"), "PLAIN"),
    ],
)
def test_a_password(
    sasl: Sasl,
    certificate: tuple[Path, Path],
    options: tuple[str, ...],
    mechanism: str,
    with_tls: bool,
) -> None:
    """By each mechanism; a password in clear to the loopback is said, and over TLS nothing is."""
    tls = context(certificate) if with_tls else None
    with serving(USERS, mechanisms=["SCRAM-SHA-256", "SCRAM-SHA-1"], tls=tls) as server:
        query = f"/?tls=true&tlsCAFile={certificate[0]}" if with_tls else ""
        done = sasl.log_in(url(server, query, "localhost"), *options)
        assert (done.returncode, done.stdout) == (0, f"authenticated as tim by {mechanism}\n")
        cleartext = "sasl: no TLS to this machine's loopback: allow_cleartext is implied\n"
        assert done.stderr == (cleartext if mechanism == "PLAIN" and not with_tls else "")
        assert server.logins == [
            (mechanism, "$external" if mechanism == "PLAIN" else "admin", "tim")
        ]
        done = sasl.log_in(url(server, query, "localhost"), *options, password="wrong")
        assert (done.returncode, done.stdout) == (1, "")
        assert "error 18 AuthenticationFailed: Authentication failed." in done.stderr
        assert len(done.stderr.splitlines()) <= 2


@pytest.mark.parametrize("named", [(), ("--mechanism", "MONGODB-OIDC")])
def test_a_token(sasl: Sasl, named: tuple[str, ...]) -> None:
    """From standard input; MONGODB-OIDC is what takes one here, named or not."""
    with serving(tokens={TOKEN: "tim"}) as server:
        login = ("auth", url(server), "--token-file", "-", *named)
        done = sasl.run(*login, stdin=TOKEN.encode())
        said = "authenticated by its access token, by MONGODB-OIDC\n"
        assert (done.returncode, done.stdout) == (0, said)
        done = sasl.run(*login, "--trace", stdin=TOKEN.replace("c2", "c3").encode())
        assert (done.returncode, len(done.stderr.splitlines())) == (1, 2)
        assert "error 18" in done.stderr
        assert "eyJ" not in done.stdout + done.stderr


@pytest.mark.parametrize("named", [(), ("--mechanism", "MONGODB-OIDC")])
def test_a_name_is_no_proof(sasl: Sasl, named: tuple[str, ...]) -> None:
    """--user beside a token is not whom the server let in, and is not said to be."""
    with serving(tokens={TOKEN: "tim"}) as server:
        login = ("auth", url(server), "--token-file", "-", "--user", "root", *named)
        done = sasl.run(*login, stdin=TOKEN.encode())
        said = "authenticated by its access token, by MONGODB-OIDC\n"
        assert (done.returncode, done.stdout) == (0, said)
        assert "takes --user for a hint" in done.stderr
        assert server.logins == [("MONGODB-OIDC", "$external", "tim")]


def test_the_trace(sasl: Sasl) -> None:
    """The conversation is drawn; secrets are not."""
    with serving(USERS, mechanisms=["SCRAM-SHA-256"]) as server:
        done = sasl.log_in(url(server), "--trace")
    drawn = "\n".join(lines(done.stdout))
    for text in (
        "hello saslSupportedMechs admin.tim",
        "saslStart SCRAM-SHA-256 at admin",
        "n,,n=tim,r=",
        "saslContinue",
        "p=****",
        "v=****",
        "conversation 7, done",
        "authenticated as tim by SCRAM-SHA-256",
    ):
        assert text in drawn


def test_names_and_databases(sasl: Sasl) -> None:
    """A user with `,` and `=`; authSource, authMechanism."""
    with serving(USERS, database="test", mechanisms=["SCRAM-SHA-1"]) as server:
        for options in ("authSource=test", "authSource=t%65st&authMechanism=SCRAM-SHA-256"):
            done = sasl.run(
                "auth",
                url(server, f"?{options}"),
                "--user",
                "a,b=c",
                "-p",
                stdin=PASSWORD.encode(),
            )
            assert done.returncode == 0, done.stderr
        assert server.logins == [
            ("SCRAM-SHA-1", "test", "a,b=c"),
            ("SCRAM-SHA-256", "test", "a,b=c"),
        ]


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ("/?authsource=test", "did you mean 'authSource'?"),
        ("/?ssl=true", "has no option 'ssl'"),
        ("/?retryWrites=true", "has no option 'retryWrites'"),
        ("/?tls=yes", "tls in the URL is true or false"),
        ("/?tls=true&tls=true", "gives tls twice"),
        ("/?correct-horse-7677", "NAME=VALUE"),
        ("/?authSource=%ff", "no UTF-8"),
        ("/?tls=false&tlsCAFile=x", "nothing to do with tls=false"),
        ("/?authMechanism=", "empty"),
        ("/?authSource=a.b", "a database has a name"),
        ("/?authSource=$external", "SCRAM"),
        ("/?authSource=admin&authMechanism=MONGODB-OIDC", "access token"),
        ("/?tlsCAFile=nowhere.pem", "nowhere.pem"),
        ("/?tlsCertificateKeyFile=nowhere.pem", "nowhere.pem"),
        ("/test", "no path behind its host; perhaps you mean ?authSource=NAME"),
        ("/?authSource=a@b", "is %40"),
        (",db2:27017", "name one host"),
        ("/?authMechanism=SCRAM-SHA-257", "did you mean 'SCRAM-SHA-256'?"),
        ("/?authMechanism=MONGODB-X508", "did you mean 'MONGODB-X509'?"),
        ("/#x", "PROFILE://HOST:PORT"),
    ],
)
def test_what_a_url_may_not_say(sasl: Sasl, options: str, said: str) -> None:
    """One line, 1, and nobody is connected to; what may be a secret is not repeated."""
    with serving(USERS) as server:
        done = sasl.log_in(url(server, options))
        assert (done.returncode, len(done.stderr.splitlines())) == (1, 1)
        assert said in done.stderr
        assert not server.commands


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--starttls",), "?tls=true in the URL is for TLS"),
        (("--no-starttls",), "not for mongodb://"),
        (("--key", "x"), "give --cert too"),
        (("--mechanism", "wholly-other"), "'WHOLLY-OTHER' is installed; sasl plugins lists"),
        (("--mechanism", "mongodb-x509"), "MONGODB-X509 shows a certificate of yours"),
    ],
)
def test_options_that_do_not_go_with_it(sasl: Sasl, options: tuple[str, ...], said: str) -> None:
    """One line, and what to do."""
    done = sasl.log_in("mongodb://127.0.0.1:1", *options)
    assert (done.returncode, len(done.stderr.splitlines())) == (1, 1)
    assert said in done.stderr
    done = sasl.log_in("mongodb://127.0.0.1:1/?authMechanism=PLAIN", "--mechanism", "PLAIN")
    assert "say the same; keep one" in done.stderr
    done = sasl.log_in("smtp://127.0.0.1:1/?tls=true")
    assert "has no option 'tls'; it has none at all" in done.stderr


def test_a_certificate_that_is_not_trusted(sasl: Sasl, tmp_path: Path) -> None:
    """An authority that nobody named, and a certificate of another name: nothing is said."""
    other = make_tls(tmp_path, names=["mail.example.com"])
    with serving(USERS, tls=context((other.certificate, other.key))) as server:
        for options, reason in (
            ("/?tls=true", "self-signed certificate"),
            ("/?tls=true", "; if you trust who signed its certificate, name that: --cafile FILE"),
            (f"/?tlsCAFile={other.certificate}", "Hostname mismatch"),
        ):
            done = sasl.log_in(url(server, options, "localhost"))
            assert (done.returncode, len(done.stderr.splitlines())) == (1, 1)
            assert reason in done.stderr
        assert not server.commands


def test_one_side_has_tls(sasl: Sasl, certificate: tuple[Path, Path]) -> None:
    """Where, and what to try; for nobody knows."""
    with serving(USERS, tls=context(certificate)) as server:
        done = sasl.log_in(url(server))
        assert done.stderr.startswith(f"sasl: 127.0.0.1:{server.address[1]}: ")
        assert done.stderr.endswith("; perhaps it wants TLS: ?tls=true in the URL\n")
        assert len(done.stderr.splitlines()) == 1

    def no_tls(listener: socket.socket) -> None:
        client, _ = listener.accept()
        with client:
            _ = client.recv(4096)
            client.sendall(b"\x2a\0\0\0 what is this, says the server in clear")

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=no_tls, args=(listener,))
        thread.start()
        port = listener.getsockname()[1]
        done = sasl.log_in(f"mongodb://localhost:{port}/?tlsCAFile={certificate[0]}")
        thread.join(10)
    assert done.stderr.startswith(f"sasl: localhost:{port}: ")
    assert done.stderr.endswith("; perhaps this port has no TLS\n")


def test_a_mechanism_that_the_server_has_not(sasl: Sasl) -> None:
    """The number of the error is said once."""
    with serving(USERS) as server:
        done = sasl.run("auth", url(server), "--mechanism", "ANONYMOUS")
    assert done.stderr.count("error 334") == 1, done.stderr
    assert "the server has not this mechanism" in done.stderr


def test_an_encrypted_key_asks_nobody(sasl: Sasl, certificate: tuple[Path, Path]) -> None:
    """It is refused: OpenSSL would ask the terminal."""
    from cryptography.hazmat.primitives import serialization

    key = serialization.load_pem_private_key(certificate[1].read_bytes(), None)
    sealed = sasl.folder / "sealed.pem"
    sealed.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.BestAvailableEncryption(b"secret"),
        )
    )
    done = sasl.log_in("mongodb://127.0.0.1:1", "--cert", str(certificate[0]), "--key", str(sealed))
    assert (done.returncode, len(done.stderr.splitlines())) == (1, 1)
    assert "no certificate with its key (unencrypted)" in done.stderr


@pytest.mark.parametrize(
    ("twist", "said"),
    [
        (hang, "did not answer in time"),
        (lambda command, answer: {**answer, "responseTo": 77}, "a reply to another request"),
        (lambda command, answer: b"HTTP/1.1 400 Bad Request\r\n\r\n", "MongoDB:"),
        (
            lambda command, answer: {
                "ok": 0.0,
                "code": 13,
                "codeName": "\x1b[31m",
                "errmsg": "\x1b]0;title\x07 not you",
            },
            "\\x1b]0;title\\x07 not you",
        ),
    ],
    ids=["silent", "other", "http", "escapes"],
)
def test_whatever_answers_the_terminal_is_safe(
    sasl: Sasl, twist: Callable[..., Any], said: str
) -> None:
    """1, one line, and none of its control characters."""
    with serving(USERS, twist=twist) as server:
        done = sasl.log_in(url(server), "--trace", "--timeout", "0.5")
    assert done.returncode == 1
    assert len(done.stderr.splitlines()) == 1
    assert said in done.stderr
    assert not {"\x1b", "\x07", "\x00"} & set(done.stdout + done.stderr)


def test_whom_a_certificate_lets_in_is_the_servers_word() -> None:
    """The protocol's name of the mechanism, and no name of a user."""
    session: Any = SimpleNamespace(mechanism="EXTERNAL", authid="external", authzid="external")
    said = who(session, mechanism="MONGODB-X509")
    assert said == "by what the connection vouches for, by MONGODB-X509"
    session = SimpleNamespace(mechanism="EXTERNAL", authid="external", authzid="ada")
    said = who(session)
    assert said == "by what the connection vouches for acting as ada, by EXTERNAL"


def test_without_tls_beyond_this_machine(sasl: Sasl, monkeypatch: pytest.MonkeyPatch) -> None:
    """No secret is sent, and the line says how to have TLS."""
    monkeypatch.setattr("sasl_cli.auth.on_loopback", lambda facts: False)
    with serving(USERS) as server:
        done = sasl.log_in(url(server), "--mechanism", "PLAIN")
        assert (done.returncode, len(done.stderr.splitlines())) == (1, 1)
        assert "it would send a secret in clear" in done.stderr
        assert "; add ?tls=true to the URL\n" in done.stderr
        assert {name for name, _ in server.commands} == {"hello"}
