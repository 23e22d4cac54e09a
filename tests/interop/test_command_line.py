"""The commands `sasl serve`, `sasl passwd` and `sasl auth` with strangers' clients."""

from __future__ import annotations

import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TypeAlias

import pytest

from mailhost import PASSWORD, USER, Authority, MailHost
from peers import Dialogue, run
from sasl_core import Result

pytestmark = pytest.mark.interop

Need: TypeAlias = Callable[[str], str]
Serve: TypeAlias = Callable[..., MailHost]

# -P: the folder that it runs in holds nothing to import.
SASL = [sys.executable, "-P", "-m", "sasl_cli"]


@pytest.mark.parametrize("tls", [False, True], ids=["clear", "tls"])
def test_strangers_log_in_to_sasl_serve(
    need: Need, authority: Authority, tmp_path: Path, tls: bool
) -> None:
    """Users made by `sasl passwd`; gsasl and curl, right and wrong; SIGTERM ends it with 0."""
    database = str(tmp_path / "users.sqlite")
    made = [*SASL, "passwd", "--db", database, "-c", "-p", USER]
    run(made, tmp_path, PASSWORD + "\n").expect(0)
    command = [*SASL, "serve", "smtp", "--listen", "127.0.0.1:0", "--db", database]
    gsasl = [need("gsasl"), "--smtp", "--no-cb", "-d", "-a", USER]
    curl = [need("curl"), "--disable", "--silent", "--show-error"]
    if tls:
        command += ["--tls-cert", str(authority.certificate), "--tls-key", str(authority.key)]
        gsasl += ["--starttls", f"--x509-ca-file={authority.authority}"]
        curl += ["--ssl-reqd", "--cacert", str(authority.authority)]
    else:
        gsasl += ["--no-starttls"]
    with Dialogue(command, tmp_path) as server:
        heard = server.hear() or ""
        assert heard.startswith("listening on 127.0.0.1:"), str(server.end())
        address = heard.rpartition(" ")[2]
        for mechanism in ("PLAIN", "SCRAM-SHA-256"):
            for password, status in ((PASSWORD, 0), ("Pencil", 1), (PASSWORD, 0)):
                login = [*gsasl, "-m", mechanism, "-p", password, f"--connect={address}"]
                run(login, tmp_path).expect(status)
        for password, status in ((PASSWORD, 0), ("Pencil", 67), (PASSWORD, 0)):
            # NOOP, for curl wants to do something once it is in.
            login = [*curl, "--user", f"{USER}:{password}", "--request", "NOOP"]
            run([*login, "--url", f"smtp://{address}"], tmp_path).expect(status)
        server.process.send_signal(signal.SIGTERM)
        outcome = server.end()
        outcome.expect(0)
    assert PASSWORD not in outcome.output.lower()


@pytest.mark.parametrize("tls", [False, True], ids=["clear", "tls"])
@pytest.mark.parametrize("mechanism", ["PLAIN", "SCRAM-SHA-256"])
def test_sasl_auth_says_whether_it_was_let_in(
    serve: Serve, authority: Authority, tmp_path: Path, mechanism: str, tls: bool
) -> None:
    """0 and 1, with the password on standard input and in none of its output."""
    host = serve(authority if tls else None)
    command = [*SASL, "auth", f"smtp://127.0.0.1:{host.port}", "--mechanism", mechanism]
    command += ["--user", USER, "-p", "--trace"]
    if tls:
        command += ["--starttls", "--cafile", str(authority.authority)]
    for password, status in ((PASSWORD, 0), ("Pencil", 1), (PASSWORD, 0)):
        outcome = run(command, tmp_path, password + "\n")
        outcome.expect(status)
        assert password.lower() not in outcome.output.lower(), str(outcome)
    assert host.results() == [
        (mechanism, Result.OK),
        (mechanism, Result.BADAUTH),
        (mechanism, Result.OK),
    ]
