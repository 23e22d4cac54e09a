"""`sasl serve` with certificates of clients: EXTERNAL by SMTP, and MONGODB-X509."""

from __future__ import annotations

import json
import signal
from pathlib import Path
from typing import Any

import pytest

from certificate_kit import Authority, Shown
from cli_runs import Sasl
from mongodb_kit import MongoPeer, who
from sasl_core import AuthenticationError, Client
from sasl_profiles.smtp import SmtpClient
from tls_kit import Tls, make_tls

TIM = r"CN=Tim Smith,OU=Ops,O=Example\, Inc.,C=DE"
X509 = {"authenticate": 1, "mechanism": "MONGODB-X509"}


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    """Whose clients are believed."""
    return Authority(tmp_path)


@pytest.fixture
def tls(tmp_path: Path) -> Tls:
    """The server's certificate."""
    return make_tls(tmp_path)


def options(sasl: Sasl, tls: Tls, authority: Authority, *more: str) -> list[str]:
    """What `sasl serve` is called with."""
    certificate = ["--tls-cert", str(tls.certificate), "--tls-key", str(tls.key)]
    return ["--db", str(sasl.db), *certificate, "--client-ca", str(authority.file), *more]


def import_tim(sasl: Sasl) -> None:
    """Make the user as docs/mongodb.md says."""
    file = sasl.folder / "users.jsonl"
    user = {"user": TIM, "properties": {"roles": ["admin.readWrite"]}}
    file.write_text(json.dumps(user) + "\n", "utf-8")
    done = sasl.run("users", "import", "--exact", str(file), "--db", str(sasl.db))
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("library", ["ssl", "pyopenssl"])
def test_a_driver_logs_in_by_its_certificate(
    sasl: Sasl, tls: Tls, authority: Authority, library: str
) -> None:
    """A user of the store by that very name, until it is locked; then by none."""
    import_tim(sasl)
    tim, again = authority.sign(), authority.sign(days=(-3, 3), purpose=None)
    more = options(sasl, tls, authority, "--tls-library", library)
    with sasl.serving(*more, profile="mongodb") as served:
        address = ("127.0.0.1", served.port)
        with MongoPeer(address, tim.client(tls.certificate)) as peer:
            assert peer.ask(X509, "$external") == {"dbname": "$external", "user": TIM, "ok": 1.0}
            assert who(peer) == [{"user": TIM, "db": "$external"}]
        lock = sasl.run("passwd", "--exact", "-d", TIM, "--db", str(sasl.db))
        assert lock.returncode == 0, lock.stderr
        with MongoPeer(address, again.client(tls.certificate)) as peer:
            assert peer.ask(X509, "$external")["code"] == 18
        with MongoPeer(address, tls.client()) as peer:
            assert peer.ask(X509, "$external")["code"] == 18
        assert served.end(signal.SIGTERM) == 0
    assert 'login OK: mechanism=EXTERNAL authid="CN=Tim Smith,OU=Ops,' in served.log
    assert "every owner" not in served.log  # MongoDB's demand an account
    assert (
        "implied" not in served.log
    )  # nothing goes in clear: TLS is there from the first octet on
    assert "login DISABLED: mechanism=EXTERNAL" in served.log
    assert "no login by MONGODB-X509: the client has shown no certificate" in served.log


def smtp_login(port: int, tls: Tls, shown: Shown | None, **given: Any) -> str:
    """Log in by EXTERNAL with our client; what the server offered, in one line.

    Raises:
        AuthenticationError: refused.
    """
    context = tls.client() if shown is None else shown.client(tls.certificate)
    config = {"client_mech_list": ["EXTERNAL"]}
    with SmtpClient("localhost", port) as smtp, Client("smtp", "localhost", config=config) as ours:
        assert "EXTERNAL" not in smtp.mechanisms
        smtp.starttls(context)
        offered = " ".join(smtp.mechanisms)
        with ours.session(**smtp.facts(), **given) as session:
            smtp.authenticate(session)
        return offered


@pytest.mark.parametrize("library", ["ssl", "pyopenssl"])
def test_a_mail_client_logs_in_by_its_certificate(
    sasl: Sasl, tls: Tls, authority: Authority, library: str
) -> None:
    """Whom the authority knows, with or without an account, unless one is demanded."""
    import_tim(sasl)
    tim = authority.sign()
    more = options(sasl, tls, authority, "--tls-library", library)
    with sasl.serving(*more) as served:
        assert "EXTERNAL" in smtp_login(served.port, tls, tim)
        assert "EXTERNAL" in smtp_login(served.port, tls, tim, authzid=TIM)
        with pytest.raises(AuthenticationError):
            smtp_login(served.port, tls, tim, authzid="tim")
        assert sasl.run("passwd", "--exact", "-d", TIM, "--db", str(sasl.db)).returncode == 0
        with pytest.raises(AuthenticationError):
            smtp_login(served.port, tls, tim)
        assert served.end(signal.SIGTERM) == 0
    assert served.log.count('login OK: mechanism=EXTERNAL authid="CN=Tim Smith,') == 2
    assert "--allow-cleartext is implied" in served.log  # before STARTTLS, that is
    # Not everybody who reads --client-ca thinks of it.
    assert served.log.count("EXTERNAL lets in every owner of a certificate of --client-ca") == 1


def test_an_account_can_be_demanded(sasl: Sasl, tls: Tls, authority: Authority) -> None:
    """By the mechanism's table, for every protocol."""
    sasl.user("tim")
    config = sasl.folder / "sasl.toml"
    config.write_text("[mechanisms.EXTERNAL]\nneed_account = true\n", "utf-8")
    tim = authority.sign()
    more = options(sasl, tls, authority, "--config", str(config))
    with sasl.serving(*more) as served:
        with pytest.raises(AuthenticationError):
            smtp_login(served.port, tls, tim)
        import_tim(sasl)
        smtp_login(served.port, tls, tim)
        assert served.end(signal.SIGTERM) == 0
    assert "every owner" not in served.log


def test_a_certificate_can_be_required(sasl: Sasl, tls: Tls, authority: Authority) -> None:
    """Then nobody without comes as far as a password."""
    sasl.user("tim")
    more = options(sasl, tls, authority, "--client-certificates", "required")
    with sasl.serving(*more, profile="mongodb") as served:
        with (
            pytest.raises((OSError, AssertionError)),
            MongoPeer(("127.0.0.1", served.port), tls.client()) as peer,
        ):
            peer.ask({"hello": 1})
        shown = authority.sign().client(tls.certificate)
        with MongoPeer(("127.0.0.1", served.port), shown) as peer:
            assert peer.ask({"hello": 1})["ok"] == 1.0


def test_a_certificate_that_names_nobody_is_told(
    sasl: Sasl, tls: Tls, authority: Authority
) -> None:
    """The administrator reads why it is as good as none."""
    from cryptography.x509 import Name

    sasl.user("tim")
    shown = authority.sign(Name([])).client(tls.certificate)
    with sasl.serving(*options(sasl, tls, authority), profile="mongodb") as served:
        with MongoPeer(("127.0.0.1", served.port), shown) as peer:
            assert peer.ask(X509, "$external")["code"] == 18
        assert served.end(signal.SIGTERM) == 0
    assert "as good as none: its subject is empty" in served.log


@pytest.mark.parametrize("library", ["ssl", "pyopenssl"])
def test_a_certificate_that_is_not_believed_is_told(
    sasl: Sasl, tls: Tls, authority: Authority, library: str
) -> None:
    """The client's handshake fails; the administrator reads of it."""
    sasl.user("tim")
    expired = authority.sign(days=(-2, -1)).client(tls.certificate)
    more = options(sasl, tls, authority, "--tls-library", library)
    with sasl.serving(*more, profile="mongodb") as served:
        with (
            pytest.raises((OSError, AssertionError)),
            MongoPeer(("127.0.0.1", served.port), expired) as peer,
        ):
            peer.ask({"hello": 1})
        assert served.end(signal.SIGTERM) == 0
    assert "a client's TLS handshake failed: " in served.log
    assert "certificate verify failed" in served.log


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (("--client-ca", "x.pem"), "--client-ca goes with --tls-cert"),
        (("--client-certificates", "required"), "--client-certificates goes with --client-ca"),
    ],
)
def test_options_that_make_no_sense(sasl: Sasl, given: tuple[str, ...], said: str) -> None:
    """Each says what it goes with."""
    done = sasl.run("serve", "smtp", "--listen", "127.0.0.1:0", *given)
    assert done.returncode != 0
    assert said in done.stderr


def test_a_file_that_is_no_authority_is_named(sasl: Sasl, tls: Tls) -> None:
    """Before anybody comes."""
    file = sasl.folder / "ca.pem"
    file.write_text("nothing", "utf-8")
    done = sasl.run(
        "serve", "smtp", "--listen", "127.0.0.1:0", "--tls-cert", str(tls.certificate),
        "--tls-key", str(tls.key), "--client-ca", str(file),
    )  # fmt: skip
    assert done.returncode == 1
    assert "ca.pem: " in done.stderr


def test_the_command_line_logs_in_by_a_certificate(
    sasl: Sasl, tls: Tls, authority: Authority
) -> None:
    """Without a name, by SMTP and to MongoDB: it says by which certificate."""
    import_tim(sasl)
    tim = authority.sign()
    shown = ["--cafile", str(tls.certificate), "--cert", str(tim.both)]
    by = f"authenticated by certificate {TIM}"
    more = options(sasl, tls, authority)
    with sasl.serving(*more) as served:
        url = f"smtp://localhost:{served.port}"
        done = sasl.run("auth", url, "--mechanism", "EXTERNAL", *shown)
        assert (done.returncode, done.stdout) == (0, f"{by}, by EXTERNAL\n"), done.stderr
        assert served.end(signal.SIGTERM) == 0
    with sasl.serving(*more, profile="mongodb") as served:
        url = f"mongodb://localhost:{served.port}/?tls=true&authMechanism=MONGODB-X509"
        done = sasl.run("auth", url, *shown)
        assert (done.returncode, done.stdout) == (0, f"{by}, by MONGODB-X509\n"), done.stderr
        assert served.end(signal.SIGTERM) == 0
