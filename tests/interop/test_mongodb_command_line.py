"""The command `sasl auth mongodb://`, in a process of its own, against pymongo's BSON."""

from __future__ import annotations

import ssl
import sys
from pathlib import Path

import pytest

from bson_server import BsonServer
from mailhost import Authority
from peers import run

pytestmark = pytest.mark.interop

USER = "a,b=c"
PASSWORD = "p\u00e4ss\u00adword\u2168"
TOKEN = "eyJhbGciOiJSUzI1NiJ9.eyJzdWIiOiJ0aW0ifQ.c2lnbmF0dXJl"

# -P: the folder that it runs in holds nothing to import.
SASL = [sys.executable, "-P", "-m", "sasl_cli", "auth"]


@pytest.mark.parametrize("tls", [False, True], ids=["clear", "tls"])
@pytest.mark.parametrize("mechanism", ["SCRAM-SHA-256", "SCRAM-SHA-1", "PLAIN", "MONGODB-OIDC"])
def test_sasl_auth_logs_in(authority: Authority, tmp_path: Path, mechanism: str, tls: bool) -> None:
    """Right, wrong and right again; a name with `,` and `=`, a password that SASLprep changes."""
    context = None
    query = ""
    if tls:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(authority.certificate, authority.key)
        query = f"/?tls=true&tlsCAFile={authority.authority}"
    by_token = mechanism == "MONGODB-OIDC"
    secret = TOKEN if by_token else PASSWORD
    who = ["--token-file", "-"] if by_token else ["--user", USER, "-p"]
    with BsonServer({USER: PASSWORD}, tokens={TOKEN: USER}, tls=context) as server:
        command = [*SASL, f"mongodb://127.0.0.1:{server.address[1]}{query}", *who, "--trace"]
        command += ["--mechanism", mechanism]
        for given, status in ((secret, 0), (secret[:-1], 1), (secret, 0)):
            outcome = run(command, tmp_path, given + "\n")
            outcome.expect(status)
            assert given.lower() not in outcome.output.lower(), str(outcome)
        database = "admin" if mechanism.startswith("SCRAM-") else "$external"
        assert server.logins == [(mechanism, database, USER)] * 2
