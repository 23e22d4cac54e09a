"""`sasl auth smtps://`: TLS before the first word; and when a person is asked for a token."""

from __future__ import annotations

import contextlib
import json
import socket
import ssl
import threading
from base64 import b64decode
from pathlib import Path
from typing import Self

import pytest

from cli_runs import PASSWORD, Sasl

TOKEN = "eyJhbGciOiJSUzI1NiJ9.eyJzdWIiOiJ0aW0ifQ.c2lnbmF0dXJl"


class Smtps:
    """An SMTP server over TLS for one mechanism after the other, by hand; `heard` is all of it."""

    def __init__(self, certificate: tuple[Path, Path], mechanisms: str, good: bytes) -> None:
        self._context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._context.load_cert_chain(*certificate)
        self._mechanisms, self._good = mechanisms, good
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self.heard: list[bytes] = []
        self.connections = 0
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._accept, daemon=True)
        self._thread.start()

    def _accept(self) -> None:
        while True:
            connection, _ = self._listener.accept()
            if self._closing.is_set():
                connection.close()
                return
            self.connections += 1
            connection.settimeout(10)
            with contextlib.suppress(OSError), connection:
                secured = self._context.wrap_socket(connection, server_side=True)
                with secured, secured.makefile("rb") as lines:
                    secured.sendall(b"220 mail ready\r\n")
                    while line := lines.readline():
                        self.heard.append(line.strip())
                        secured.sendall(self._reply(line.strip()) + b"\r\n")

    def _reply(self, line: bytes) -> bytes:
        command, _, rest = line.partition(b" ")
        if command == b"EHLO":
            return b"250-mail\r\n250 AUTH " + self._mechanisms.encode()
        if command == b"AUTH":
            initial = b64decode(rest.partition(b" ")[2])
            return b"235 in" if self._good in initial else b"535 no"
        return b"221 bye" if command == b"QUIT" else b"500 what"

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._closing.set()
        with contextlib.suppress(OSError):
            socket.create_connection(("127.0.0.1", self.port), timeout=5).close()
        self._thread.join(10)
        assert not self._thread.is_alive()
        self._listener.close()


@pytest.mark.parametrize(
    ("mechanism", "options"), [("PLAIN", ()), ("OAUTHBEARER", ()), ("XOAUTH2", ("--user", "tim"))]
)
def test_a_login_over_tls(
    sasl: Sasl, certificate: tuple[Path, Path], mechanism: str, options: tuple[str, ...]
) -> None:
    """A password, and a token from a file; without STARTTLS."""
    (sasl.folder / "token").write_text(TOKEN)
    secret = PASSWORD if mechanism == "PLAIN" else TOKEN
    with Smtps(certificate, mechanism, secret.encode()) as server:
        url = f"smtps://localhost:{server.port}"
        trust = ("--cafile", str(certificate[0]), "--mechanism", mechanism, "--trace")
        if mechanism == "PLAIN":
            done = sasl.log_in(url, *trust)
        else:
            done = sasl.run("auth", url, *trust, *options, "--token-file", "token")
        assert done.returncode == 0, done.stderr
        assert "TLS from the first octet on" in done.stdout
        assert TOKEN not in done.stdout
        assert not any(b"STARTTLS" in line for line in server.heard)
    if mechanism != "PLAIN":
        assert b"\x01auth=Bearer " + TOKEN.encode() in b64decode(server.heard[1].split()[2])
    if mechanism == "OAUTHBEARER":
        # To SASL the service is smtp, and the port is the one that was connected to.
        sent = b64decode(server.heard[1].split()[2])
        assert f"\x01host=localhost\x01port={server.port}\x01".encode() in sent


def test_the_settings_are_those_of_smtp(sasl: Sasl, certificate: tuple[Path, Path]) -> None:
    """The configuration of the application `smtp` counts."""
    (sasl.folder / "sasl.toml").write_text('[applications.smtp]\nclient_mech_list = ["PLAIN"]\n')
    with Smtps(certificate, "SCRAM-SHA-256 PLAIN", PASSWORD.encode()) as server:
        done = sasl.log_in(
            f"smtps://localhost:{server.port}",
            "--cafile",
            str(certificate[0]),
            "--config",
            "sasl.toml",
        )
        assert (done.returncode, done.stdout) == (0, "authenticated as tim by PLAIN\n")


def test_a_certificate_is_always_checked(sasl: Sasl, certificate: tuple[Path, Path]) -> None:
    """One that nobody vouches for: not a word is said."""
    with Smtps(certificate, "PLAIN", b"") as server:
        done = sasl.log_in(f"smtps://localhost:{server.port}")
        assert (done.returncode, len(done.stderr.splitlines())) == (1, 1)
        assert "TLS" in done.stderr
        assert not server.heard


def test_an_authority_that_nobody_named(sasl: Sasl, certificate: tuple[Path, Path]) -> None:
    """Where, and what to do for whoever trusts it."""
    with Smtps(certificate, "PLAIN", b"") as server:
        done = sasl.log_in(f"smtps://localhost:{server.port}")
    assert done.stderr.startswith(f"sasl: localhost:{server.port}: the TLS handshake failed: ")
    assert done.stderr.endswith("name that: --cafile FILE\n")


def test_a_port_without_tls(sasl: Sasl) -> None:
    """The other form of the protocol may be the one that is meant."""
    sasl.user("tim")
    with sasl.serving("--db", str(sasl.db)) as served:
        done = sasl.log_in(f"smtps://localhost:{served.port}")
    assert (done.returncode, len(done.stderr.splitlines())) == (1, 1)
    said = "; perhaps this port has no TLS from the first octet on: smtp:// has STARTTLS\n"
    assert done.stderr.endswith(said)


@pytest.mark.parametrize(
    ("offered", "options", "taken"),
    [
        ("MONGODB-OIDC XOAUTH2 OAUTHBEARER", ("--user", "tim"), "OAUTHBEARER"),
        ("MONGODB-OIDC XOAUTH2", ("--user", "tim"), "XOAUTH2"),
        ("XOAUTH2 MONGODB-OIDC", (), "MONGODB-OIDC"),
        ("OAUTHBEARER XOAUTH2", ("--user", "tim", "--config", "sasl.toml"), "XOAUTH2"),
        ("SCRAM-SHA-256 PLAIN", ("--user", "tim"), None),
    ],
)
def test_which_mechanism_takes_a_token(
    sasl: Sasl,
    certificate: tuple[Path, Path],
    offered: str,
    options: tuple[str, ...],
    taken: str | None,
) -> None:
    """The standard's own first, unless the configuration says otherwise."""
    (sasl.folder / "token").write_text(TOKEN)
    (sasl.folder / "sasl.toml").write_text('client_mech_list = ["XOAUTH2", "OAUTHBEARER"]\n')
    with Smtps(certificate, offered, TOKEN.encode()) as server:
        login = ("auth", f"smtps://localhost:{server.port}", "--cafile", str(certificate[0]))
        done = sasl.run(*login, "--token-file", "token", *options)
        if taken is None:
            said = f"the server offers nothing that takes an access token, but {offered}"
            assert (done.returncode, done.stderr) == (1, f"sasl: {said}\n")
        else:
            assert done.stdout.endswith(f", by {taken}\n"), done.stderr


@pytest.mark.parametrize("option", ["--starttls", "--no-starttls"])
def test_starttls_has_nothing_to_do_with_it(sasl: Sasl, option: str) -> None:
    """TLS is there already."""
    done = sasl.log_in("smtps://127.0.0.1:1", option)
    assert (done.returncode, len(done.stderr.splitlines())) == (1, 1)
    assert "has TLS from the first octet on" in done.stderr


def test_there_is_no_server_of_it(sasl: Sasl) -> None:
    """One line says so, and what serves its protocol; `sasl plugins` has the sides of each."""
    done = sasl.run("serve", "smtps", "--listen", "127.0.0.1:0")
    assert (done.returncode, done.stderr) == (
        1,
        "sasl: smtps has a client alone; `sasl serve smtp --tls-cert FILE` offers STARTTLS\n",
    )
    done = sasl.run("plugins", "--json")
    sides = {row["name"]: row["sides"] for row in json.loads(done.stdout)}
    assert (sides["smtps"], sides["smtp"]) == (["client"], ["client", "server"])
    assert "available, client and server" in sasl.run("plugins").stdout


# --- a person ---------------------------------------------------------------------------------

PERSON = """
    from pathlib import Path

    from sasl_core.plugin import AccessToken, CredentialsPlug, hookimpl

    SASL_PLUGIN_API = 1

    class Person(CredentialsPlug):
        name = "person"
        human = True
        allowed_hosts = ("localhost",)

        def token(self, request):
            yield from ()
            said = f"{request.service} {request.host} {request.username} {request.issuer}"
            Path("asked").write_text(said)
            return AccessToken("%s")

    @hookimpl
    def sasl_credentials_init(utils):
        return [Person()]
"""


@pytest.fixture
def person(sasl: Sasl) -> Path:
    """A source that stands for a person is installed; the file that it writes when it is asked."""
    sasl.module("somebody", PERSON % TOKEN)
    sasl.install("somebody", ("credentials", "person", "somebody"))
    return sasl.folder / "asked"


@pytest.mark.parametrize("mechanism", ["OAUTHBEARER", "XOAUTH2", None])
def test_a_person_is_asked_while_no_server_waits(
    sasl: Sasl, certificate: tuple[Path, Path], person: Path, mechanism: str | None
) -> None:
    """It would not wait so long; and nobody is asked for one that is not there, or has no use."""
    login = ["--cafile", str(certificate[0]), "--credentials", "person", "--user", "tim"]
    login += [] if mechanism is None else ["--mechanism", mechanism]
    with socket.create_server(("127.0.0.1", 0)) as holder:
        gone = holder.getsockname()[1]
    done = sasl.run("auth", f"smtps://localhost:{gone}", *login)
    assert done.returncode == 1
    assert "cannot be reached" in done.stderr
    with Smtps(certificate, "PLAIN", b"") as server:
        done = sasl.run("auth", f"smtps://localhost:{server.port}", *login)
        assert (done.returncode, len(done.stderr.splitlines())) == (1, 1)
        assert "the server " in done.stderr
        assert "offer" in done.stderr
    assert not person.exists()
    with Smtps(certificate, "XOAUTH2 OAUTHBEARER", TOKEN.encode()) as server:
        done = sasl.run("auth", f"smtps://localhost:{server.port}", *login)
        assert done.returncode == 0, done.stderr
        assert server.connections == 2
    assert person.read_text() == "smtp localhost tim None"


@pytest.mark.parametrize("mechanism", ["OAUTHBEARER", "MONGODB-OIDC"])
def test_nobody_is_asked_for_a_host_that_is_not_allowed(
    sasl: Sasl, certificate: tuple[Path, Path], person: Path, mechanism: str
) -> None:
    """Neither the person, nor the server for its provider."""
    with Smtps(certificate, mechanism, TOKEN.encode()) as server:
        done = sasl.run(
            "auth",
            f"smtps://127.0.0.1:{server.port}",
            "--cafile",
            str(certificate[0]),
            "--credentials",
            "person",
            "--mechanism",
            mechanism,
        )
        assert (done.returncode, len(done.stderr.splitlines())) == (1, 1)
        assert "allowed_hosts" in done.stderr
        assert not person.exists()
        assert not any(line.startswith(b"AUTH") for line in server.heard)
        assert server.connections == (mechanism == "MONGODB-OIDC")
