"""`sasl auth` by a certificate: who it says that comes, and what `--user` is then."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from certificate_kit import Authority, Shown
from cli_runs import Sasl, Served
from tls_kit import Tls, make_tls

TIM = r"CN=Tim Smith,OU=Ops,O=Example\, Inc.,C=DE"
BY_CERTIFICATE = f"authenticated by certificate {TIM}, by"


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    """Whose clients are believed."""
    return Authority(tmp_path)


@pytest.fixture
def tls(tmp_path: Path) -> Tls:
    """The server's certificate."""
    return make_tls(tmp_path)


@pytest.fixture
def tim(authority: Authority) -> Shown:
    """A certificate that is believed."""
    return authority.sign()


@pytest.fixture(params=["smtp", "mongodb"])
def served(
    request: pytest.FixtureRequest, sasl: Sasl, tls: Tls, authority: Authority
) -> Iterator[tuple[str, Served]]:
    """A server of each protocol, and its name."""
    user = {"user": TIM, "properties": {"roles": ["admin.readWrite"]}}
    (sasl.folder / "users.jsonl").write_text(json.dumps(user) + "\n", "utf-8")
    done = sasl.run("users", "import", "--exact", "users.jsonl", "--db", str(sasl.db))
    assert done.returncode == 0, done.stderr
    certificate = ("--tls-cert", str(tls.certificate), "--tls-key", str(tls.key))
    more = ("--db", str(sasl.db), *certificate, "--client-ca", str(authority.file))
    with sasl.serving(*more, profile=request.param) as running:
        yield request.param, running


def log_in(sasl: Sasl, tls: Tls, served: tuple[str, Served], shown: Shown, *more: str) -> str:
    """All that `sasl auth` says, behind its exit status."""
    profile, server = served
    trust = ("--cafile", str(tls.certificate), "--cert", str(shown.both))
    done = sasl.run("auth", f"{profile}://localhost:{server.port}", *trust, *more)
    return f"{done.returncode} {done.stdout}{done.stderr}"


def test_a_certificate_says_who_comes(
    sasl: Sasl, tls: Tls, served: tuple[str, Served], tim: Shown
) -> None:
    """Without --mechanism, without --user; its subject is said."""
    mechanism = "MONGODB-X509" if served[0] == "mongodb" else "EXTERNAL"
    said = log_in(sasl, tls, served, tim)
    assert said == f"0 {BY_CERTIFICATE} {mechanism}\n"
    assert log_in(sasl, tls, served, tim, "--mechanism", mechanism) == said


def test_a_name_beside_a_certificate_is_sent(
    sasl: Sasl, tls: Tls, served: tuple[str, Served], tim: Shown
) -> None:
    """The server judges it; another than the certificate's is refused, and never dropped."""
    mechanism = "MONGODB-X509" if served[0] == "mongodb" else "EXTERNAL"
    named = ("--mechanism", mechanism, "--user")
    said = log_in(sasl, tls, served, tim, *named, TIM)
    assert said == f"0 {BY_CERTIFICATE} {mechanism}\n"
    said = log_in(sasl, tls, served, tim, *named, "CN=root")
    assert said.startswith("1 ")
    assert "authenticated" not in said
    said = log_in(sasl, tls, served, tim, *named, TIM, "--authzid", "CN=root")
    assert f"{mechanism} has room for one name" in said


def test_a_certificate_that_is_not_believed(
    sasl: Sasl, tls: Tls, served: tuple[str, Served], authority: Authority
) -> None:
    """The server says little or nothing; the line says where, and what was shown."""
    expired = authority.sign(days=(-2, -1))
    said = log_in(sasl, tls, served, expired)
    assert said.startswith(f"1 sasl: localhost:{served[1].port}: ")
    assert said.endswith(
        f", after our certificate was shown; perhaps it does not believe {expired.both}\n"
    )
    assert len(said.splitlines()) == 1
