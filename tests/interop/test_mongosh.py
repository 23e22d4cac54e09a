"""mongosh, MongoDB's shell, unchanged, logs in to our MongoDB server."""

from __future__ import annotations

import json
import shutil
import socket
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

from mongodb_kit import CLEAR, PASSWORD, USERS, MongoService
from peers import Outcome, run
from sasl_http import HttpTransport
from sasl_tls import ServerTls
from shell_provider import ShellProvider
from tls_kit import Tls, make_tls

pytestmark = [pytest.mark.interop, pytest.mark.slow]

WHO = "EJSON.stringify(db.runCommand({connectionStatus: 1}).authInfo)"
HUMAN = "?authMechanism=MONGODB-OIDC"

# Stands for a person's browser: it goes where it is sent.
BROWSER = """#!{python}
import sys, urllib.request
assert sys.argv[-1].startswith("http://localhost:"), sys.argv
urllib.request.urlopen(sys.argv[-1], timeout=20).read()
"""


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Tls:
    """A certificate for localhost."""
    return make_tls(tmp_path_factory.mktemp("tls"))


@pytest.fixture(params=["tcp", "tls-ssl"])
def tls(request: pytest.FixtureRequest, certificate: Tls) -> ServerTls | None:
    """In clear, and over TLS. Of one library: the shell takes seconds to start each time."""
    return None if request.param == "tcp" else certificate.server("ssl")


@pytest.fixture
def person() -> Iterator[ShellProvider]:
    """An identity provider that lets a person in."""
    with ShellProvider() as provider:
        yield provider


@pytest.fixture
def service(tls: ServerTls | None, person: ShellProvider) -> Iterator[MongoService]:
    """Our server; over TLS nothing is allowed that needs none."""
    config = {**CLEAR, "identity_providers": [person.table()]}
    if tls is not None:
        del config["allow_cleartext"]
    with HttpTransport() as http:
        made = MongoService(tls=tls, config=config, core={"http": http})
        made.give_digest()
        yield made
        made.close()


Shell = Callable[..., Outcome]


@pytest.fixture
def shell(
    service: MongoService,
    tls: ServerTls | None,
    certificate: Tls,
    tmp_path: Path,
    node_modules: Callable[[str], Path],
) -> Iterator[Shell]:
    """Runs the shell with a program in its own language; the server forgets it afterwards."""
    script = node_modules("mongosh") / "node_modules" / "mongosh" / "bin" / "mongosh.js"
    node = str(shutil.which("node"))

    def shell(user: str, query: str, program: str = WHO, *options: str) -> Outcome:
        if tls is not None:
            options = ("--tls", "--tlsCAFile", str(certificate.certificate), *options)
        address = f"mongodb://{user}localhost:{service.address[1]}/{query}"
        command = [node, str(script), address, "--quiet", "--norc", *options, "--eval", program]
        return run(command, tmp_path)

    yield shell
    service.settle()


def who(outcome: Outcome) -> Any:
    """What the last line says of users and roles."""
    outcome.expect(0)
    told = json.loads(outcome.output.splitlines()[-1])
    return told["authenticatedUsers"], told["authenticatedUserRoles"]


def credentials(user: str, password: str) -> str:
    """What stands before the host."""
    return f"{quote(user)}:{quote(password)}@"


def by(mechanism: str | None) -> str:
    """What stands behind it."""
    source = "%24external" if mechanism == "PLAIN" else "admin"
    named = "" if mechanism is None else f"&authMechanism={mechanism}"
    return f"?authSource={source}{named}"


@pytest.mark.parametrize("mechanism", [None, "SCRAM-SHA-256", "SCRAM-SHA-1", "PLAIN"])
def test_a_password_logs_in(shell: Shell, mechanism: str | None) -> None:
    """Negotiated or named."""
    database = "$external" if mechanism == "PLAIN" else "admin"
    outcome = shell(credentials("tim", PASSWORD), by(mechanism))
    assert who(outcome) == ([{"user": "tim", "db": database}], [])


@pytest.mark.parametrize("tls", [None], ids=["tcp"])
def test_names_and_passwords_beyond_letters(shell: Shell) -> None:
    """A comma and an equals sign in the name; SASLprep of the password."""
    assert who(shell(credentials("a,b=c", PASSWORD), by(None)))[0][0]["user"] == "a,b=c"
    told = shell(credentials("b\u00f6b", USERS["b\u00f6b"]), by(None))
    assert who(told)[0][0]["user"] == "b\u00f6b"


@pytest.mark.parametrize("tls", [None], ids=["tcp"])
@pytest.mark.parametrize("user", ["tim", "nobody"])
def test_a_wrong_password_is_refused(shell: Shell, user: str) -> None:
    """The same for a user who is not there."""
    outcome = shell(credentials(user, "hunter2"), by(None))
    outcome.expect(1)
    assert outcome.output == "MongoServerError: Authentication failed.\n"


USER = ([{"user": "demo/ada", "db": "$external"}], [{"role": "demo/authors", "db": "admin"}])


def test_a_person_logs_in_on_a_device(shell: Shell, person: ShellProvider) -> None:
    """The server names the provider; the shell shows its address and a code, and waits."""
    outcome = shell("", HUMAN, WHO, "--oidcFlows", "device-auth")
    assert who(outcome) == USER
    assert f"{person.issuer}/activate" in outcome.output
    assert "WDJB-MJHT" in outcome.output
    assert len(person.grants) == 2


def test_a_person_logs_in_in_a_browser(shell: Shell, person: ShellProvider, tmp_path: Path) -> None:
    """Authorization code and PKCE, with the browser that the shell opens."""
    browser = tmp_path / "browser"
    browser.write_text(BROWSER.format(python=sys.executable))
    browser.chmod(0o700)
    with socket.create_server(("localhost", 0)) as free:
        port = free.getsockname()[1]
    options = ("--oidcRedirectUri", f"http://localhost:{port}/back", "--browser", str(browser))
    outcome = shell("", HUMAN, WHO, "--oidcFlows", "auth-code", *options)
    assert who(outcome) == USER
    assert person.grants == ["authorization_code"]
    (asked,) = person.asked
    assert (asked["client_id"], asked["response_type"]) == (person.table()["clientId"], "code")
    assert "openid" in asked["scope"]


@pytest.mark.parametrize("tls", [None], ids=["tcp"])
def test_a_lapsed_person_is_not_asked_again(shell: Shell, person: ShellProvider) -> None:
    """After 391 the shell uses its refresh token, and the command succeeds."""
    person.life = 3
    program = f"db.runCommand({{ping: 1}}); sleep(4500); {WHO}"
    assert who(shell("", HUMAN, program, "--oidcFlows", "device-auth")) == USER
    assert "refresh_token" in person.grants
    assert person.grants.count("refresh_token") == len(person.grants) - 2
