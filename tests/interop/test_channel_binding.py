"""gsasl over STARTTLS with channel binding: tls-unique on TLS 1.2, tls-exporter on TLS 1.3."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeAlias

import pytest

from mailhost import PASSWORD, USER, Authority, MailHost
from peers import Outcome, run
from sasl_core import BindingPolicy, Result
from tls_kit import Tls

pytestmark = pytest.mark.interop

Need: TypeAlias = Callable[[str], str]
Serve: TypeAlias = Callable[..., MailHost]

SCRAM, PLUS = "SCRAM-SHA-256", "SCRAM-SHA-256-PLUS"


def log_in(
    need: Need, host: MailHost, home: Path, mechanism: str | None, password: str = PASSWORD
) -> Outcome:
    """GNU SASL's client, which takes the best mechanism where none is named."""
    assert host.authority is not None
    command = [need("gsasl"), "--smtp", "-d", f"--connect=127.0.0.1:{host.port}"]
    command += ["--starttls", f"--x509-ca-file={host.authority.authority}"]
    command += [] if mechanism is None else ["-m", mechanism]
    return run([*command, "-a", USER, "-p", password], home)


# Library and TLS version of our server: what gsasl is bound by.
BOUND_BY = [
    ("ssl", "1.2", "tls-unique"),
    ("pyopenssl", "1.2", "tls-unique"),
    ("pyopenssl", "1.3", "tls-exporter"),
]


@pytest.mark.parametrize(("library", "version", "bound"), BOUND_BY)
@pytest.mark.parametrize("policy", [BindingPolicy.WANT, BindingPolicy.REQUIRE])
@pytest.mark.parametrize("mechanism", ["SCRAM-SHA-1-PLUS", PLUS, None], ids=["1", "256", "best"])
def test_gsasl_is_bound(
    need: Need,
    serve: Serve,
    authority: Authority,
    tmp_path: Path,
    library: Any,
    version: Any,
    bound: str,
    policy: BindingPolicy,
    mechanism: str | None,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """It takes -PLUS by itself, the wrong password is refused, and the next is served."""
    caplog.set_level(logging.INFO, "sasl_profiles")
    tls = Tls(authority.certificate, authority.key, b"").server(library, version)
    host = serve(authority, {"mech_list": ["SCRAM-SHA-1", SCRAM]}, tls=tls, binding=policy)
    assert log_in(need, host, tmp_path, mechanism).expect(0) == 0
    assert log_in(need, host, tmp_path, mechanism, "Pencil").expect(1) == 1
    assert log_in(need, host, tmp_path, mechanism).expect(0) == 0
    used = mechanism or PLUS
    assert host.results() == [(used, Result.OK), (used, Result.BADAUTH), (used, Result.OK)]
    told = [text for text in caplog.messages if "is bound" in text]
    assert told == [f"{USER} is bound to its TLS connection by {bound}"] * 2


def test_where_we_cannot_export_gsasl_is_offered_no_plus(
    need: Need, serve: Serve, authority: Authority, tmp_path: Path
) -> None:
    """TLS 1.3 of the standard library: it logs in by plain SCRAM; who insists hears a no."""
    tls = Tls(authority.certificate, authority.key, b"").server("ssl", "1.3")
    host = serve(authority, {"mech_list": [SCRAM, "PLAIN"]}, tls=tls)
    outcome = log_in(need, host, tmp_path, PLUS)
    assert outcome.expect(1) == 1
    assert "\n250 AUTH SCRAM-SHA-256 PLAIN\n" in outcome.output
    command = [need("gsasl"), "--smtp", "-d", "--no-cb", f"--connect=127.0.0.1:{host.port}"]
    command += ["--starttls", f"--x509-ca-file={authority.authority}", "-a", USER, "-p", PASSWORD]
    assert run(command, tmp_path).expect(0) == 0
    assert host.results()[-1] == (SCRAM, Result.OK)
