"""`sasl serve` and `sasl auth` with access tokens: providers, their keys, and SIGHUP."""

from __future__ import annotations

import json
import re
import shlex
import signal
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from cli_runs import Sasl, Served
from login_provider import CLIENT_SECRET, LoginProvider
from sasl_cli.demo_provider import new_key

ADA = {"sub": "ada", "aud": "mail", "groups": ["admins"]}
TOKEN_MECHANISMS = ["MONGODB-OIDC", "OAUTHBEARER", "XOAUTH2"]


@pytest.fixture
def provider() -> Iterator[LoginProvider]:
    """An identity provider on the loopback."""
    with LoginProvider() as started:
        yield started


@pytest.fixture(autouse=True)
def users(sasl: Sasl) -> None:
    """A store with one user: one that is configured has to be there."""
    sasl.user("tim")


def configured(sasl: Sasl, text: str) -> str:
    """A configuration file with this text."""
    config = sasl.folder / "sasl.toml"
    config.write_text(text, "utf-8")
    return str(config)


def token_login(
    sasl: Sasl, served: Served, token: str, *options: str, mechanism: str = "MONGODB-OIDC"
) -> tuple[int, str]:
    """`sasl auth` by a token from standard input; the status, and what it said."""
    done = sasl.run(
        "auth",
        f"smtp://{served.address}",
        "--mechanism",
        mechanism,
        "--token-file",
        "-",
        *options,
        stdin=token.encode(),
    )
    assert token not in done.stdout + done.stderr
    return done.returncode, done.stdout + done.stderr


def hang_up(served: Served, word: str) -> None:
    """Send SIGHUP, and wait until the server's log says `word`."""
    assert served.process.stderr is not None
    found = threading.Event()

    def read() -> None:
        for line in served.process.stderr or ():
            served.log += line
            if word in line:
                found.set()
                return

    served.process.send_signal(signal.SIGHUP)
    reader = threading.Thread(target=read, daemon=True)
    reader.start()
    assert found.wait(20), served.log
    reader.join()


# --- logins ------------------------------------------------------------------------------------


@pytest.mark.parametrize("mechanism", TOKEN_MECHANISMS)
def test_whoever_has_a_token_is_let_in(sasl: Sasl, provider: LoginProvider, mechanism: str) -> None:
    """By each mechanism for tokens; a forged one is refused, and the log says why."""
    config = configured(sasl, provider.toml())
    with sasl.serving("--config", config, "--db", str(sasl.db)) as served:
        options = ("--user", "ada", "--trace")
        status, said = token_login(sasl, served, provider.token(ADA), *options, mechanism=mechanism)
        assert status == 0, said
        # What XOAUTH2 and OAUTHBEARER tell the server it has to judge; MONGODB-OIDC tells nothing.
        acting = "" if mechanism == "MONGODB-OIDC" else " acting as ada"
        assert f"authenticated by its access token{acting}, by {mechanism}\n" in said
        # A token that goes in clear is never passed over in silence.
        assert "allow_cleartext is implied" in said
        forged = provider.token(ADA, key=new_key())
        status, said = token_login(sasl, served, forged, *options, mechanism=mechanism)
        assert status == 1
        assert "authentication failed" in said
        served.end(signal.SIGTERM)
    assert f"login OK: mechanism={mechanism} authid=corp/ada" in served.log
    # A login that is refused is no fault of this server.
    assert f"sasl: login BADAUTH: mechanism={mechanism}" in served.log
    assert "not signed with key" in served.log


def test_a_token_alone_chooses_a_mechanism(sasl: Sasl, provider: LoginProvider) -> None:
    """Without --mechanism and --user it is one for tokens, and no password is asked for."""
    config = configured(sasl, provider.toml())
    (sasl.folder / "token").write_text(provider.token(ADA))
    with sasl.serving("--config", config, "--db", str(sasl.db)) as served:
        done = sasl.run("auth", f"smtp://{served.address}", "--token-file", "token")
    assert done.returncode == 0
    assert any(f"by {name}\n" in done.stdout for name in TOKEN_MECHANISMS)


def test_the_first_page_can_be_followed(sasl: Sasl, provider: LoginProvider) -> None:
    """Its two files and its three commands, in a folder that has nothing else but a token."""
    page = (Path(__file__).parents[2] / "docs" / "start.md").read_text("utf-8")
    section = page.partition("## Access tokens")[2].partition("\n## ")[0]
    (providers,) = re.findall(r"```json\n(.*?)```", section, re.DOTALL)
    (settings,) = re.findall(r"```toml\n(.*?)```", section, re.DOTALL)
    (commands,) = re.findall(r"```sh\n(.*?)```", section, re.DOTALL)
    validate, serve, auth = (shlex.split(line) for line in commands.splitlines())
    # Ours is no provider in the net.
    issuer = "https://id.example.com"
    tables = [{**each, "allowLoopbackHttp": True} for each in json.loads(providers)]
    assert [each["issuer"] for each in tables] == [issuer]
    text = json.dumps(tables).replace(issuer, provider.issuer)
    (sasl.folder / "providers.json").write_text(text, "utf-8")
    (sasl.folder / "sasl.toml").write_text(settings, "utf-8")
    (sasl.folder / "token").write_text(provider.token(ADA))
    sasl.db.unlink()
    words = [word.replace(issuer, provider.issuer) for word in validate[1:]]
    done = sasl.run(*words, "--allow-loopback-http")
    assert done.returncode == 0, done.stderr
    assert serve[:5] == ["sasl", "serve", "smtp", "--listen", "127.0.0.1:2525"]
    with sasl.serving(*serve[5:]) as served:
        done = sasl.run(*(word.replace("127.0.0.1:2525", served.address) for word in auth[1:]))
        assert done.returncode == 0, done.stderr
        assert done.stdout == "authenticated by its access token, by OAUTHBEARER\n"
        assert served.end(signal.SIGTERM) == 0
    assert "authid=corp/ada" in served.log


def test_a_slip_in_the_providers_is_told_with_its_place(sasl: Sasl) -> None:
    """The file that it is in, or the option alone where it is on the command line."""
    wrong = '[{"issuer": "https://id.example.com", "audienc": "mail"}]'
    (sasl.folder / "p.json").write_text(wrong)
    config = configured(sasl, "auxprop_plugin = []\n")
    for given, place in ((wrong, ""), ("@p.json", f"{sasl.folder / 'p.json'}: ")):
        done = sasl.run(
            *("serve", "smtp", "--listen", "127.0.0.1:0", "--allow-cleartext"),
            *("--config", config, "--oidc-identity-providers", given),
        )
        assert done.returncode == 1
        said = (
            f"sasl: {place}identity_providers[0].audienc: unknown field; did you mean 'audience'?"
        )
        assert done.stderr == f"{said}\n"


@pytest.mark.parametrize("mechanism", ["MONGODB-OIDC", "OAUTHBEARER"])
def test_who_has_no_name_is_said_to_be_let_in_by_the_token(
    sasl: Sasl, provider: LoginProvider, mechanism: str
) -> None:
    """Without --user only the server knows who that is, and no made-up name is shown."""
    config = configured(sasl, provider.toml())
    with sasl.serving("--config", config, "--db", str(sasl.db)) as served:
        status, said = token_login(sasl, served, provider.token(ADA), mechanism=mechanism)
    assert status == 0
    assert f"authenticated by its access token, by {mechanism}\n" in said


@pytest.mark.parametrize(
    ("mechanism", "told"),
    [
        ("OAUTHBEARER", "the server refused: status insufficient_scope, scope send, "),
        ("XOAUTH2", "the server refused: status 400, scope send"),
    ],
)
def test_what_the_server_says_of_a_refusal_is_shown(
    sasl: Sasl, provider: LoginProvider, mechanism: str, told: str
) -> None:
    """Its error, status and scope; beside the protocol's own words, which tell nothing."""
    config = configured(sasl, f'{provider.toml()}[mechanisms.{mechanism}]\nscope = "send"\n')
    with sasl.serving("--config", config, "--db", str(sasl.db)) as served:
        options = ("--user", "ada")
        status, said = token_login(sasl, served, provider.token(ADA), *options, mechanism=mechanism)
    assert status == 1
    last = said.splitlines()[-1]
    assert last.startswith("sasl: authentication failed: the server answered AUTH with 535 5.7.8 ")
    assert told in last


def test_an_outage_is_told_once(sasl: Sasl, provider: LoginProvider) -> None:
    """The server's temporary refusal is one clause, and not the same twice."""
    provider.hidden = True
    config = configured(sasl, provider.toml())
    with sasl.serving("--config", config, "--db", str(sasl.db)) as served:
        _, said = token_login(sasl, served, provider.token(ADA))
    last = said.splitlines()[-1]
    assert last.startswith("sasl: the server answered AUTH with 454 4.7.0 ")
    assert last.count("454") == 1


@pytest.mark.parametrize("by", ["option", "configuration"])
def test_a_source_that_is_not_installed_is_told_once(sasl: Sasl, by: str) -> None:
    """Before anybody is connected to, and with the names of those that are."""
    client = configured(sasl, 'credentials_plugin = "nonesuch"\n')
    options = ("--credentials", "nonesuch") if by == "option" else ("--config", client)
    done = sasl.run("auth", "smtp://127.0.0.1:1", *options)
    assert (done.returncode, done.stdout) == (1, "")
    (line,) = done.stderr.splitlines()
    assert line.startswith("sasl: no source of credentials 'nonesuch' is installed; those that ")
    assert "token_file" in line


def test_a_configured_source_needs_no_mechanism(sasl: Sasl, provider: LoginProvider) -> None:
    """Its token is used, with --user or without; a password that is piped in goes before it."""
    (sasl.folder / "token").write_text(provider.token(ADA))
    client = sasl.folder / "client.toml"
    client.write_text(
        'credentials_plugin = "token_file"\n[credentials.token_file]\npath = "token"\n'
    )
    config = configured(sasl, provider.toml())
    with sasl.serving("--config", config, "--db", str(sasl.db)) as served:
        url = f"smtp://{served.address}"
        login = ("auth", url, "--config", str(client))
        done = sasl.run(*login)
        assert done.returncode == 0, done.stderr
        assert done.stdout.startswith("authenticated by its access token, by ")
        done = sasl.run(*login, "--user", "ada")
        assert done.returncode == 0, done.stderr
        assert done.stdout.startswith("authenticated by its access token")
        done = sasl.log_in(url, "--config", str(client))
        assert (done.returncode, done.stdout) == (0, "authenticated as tim by SCRAM-SHA-256\n")
        # One that stands in the configuration beside a mechanism for passwords is left alone.
        done = sasl.log_in(url, "--config", str(client), "--mechanism", "PLAIN")
        assert (done.returncode, done.stdout) == (0, "authenticated as tim by PLAIN\n")


@pytest.mark.parametrize("by", ["option", "configuration"])
def test_a_client_gets_its_token_itself(sasl: Sasl, provider: LoginProvider, by: str) -> None:
    """By --credentials, or credentials_plugin: client credentials, over HTTP."""
    secret = sasl.folder / "secret"
    secret.write_text(CLIENT_SECRET)
    table = (
        f'[credentials.client_credentials]\nissuer = "{provider.issuer}"\nclient_id = "backup"\n'
        f'client_secret_file = "{secret}"\nallow_loopback_http = true\n'
    )
    named = 'credentials_plugin = "client_credentials"\n' if by == "configuration" else ""
    client = sasl.folder / "client.toml"
    client.write_text(named + table, "utf-8")
    options = ("--credentials", "client_credentials") if by == "option" else ()
    config = configured(sasl, provider.toml())
    with sasl.serving("--config", config, "--db", str(sasl.db)) as served:
        url = f"smtp://{served.address}"
        login = ("auth", url, "--mechanism", "MONGODB-OIDC", "--config", str(client), *options)
        done = sasl.run(*login)
        assert done.returncode == 0, done.stderr
        # A token in hand goes before the source that is configured.
        if by == "configuration":
            asked = len(provider.forms)
            status, _ = token_login(sasl, served, provider.token(ADA), "--config", str(client))
            assert (status, len(provider.forms)) == (0, asked)
        served.end(signal.SIGTERM)
    assert "authid=corp/backup" in served.log
    assert CLIENT_SECRET not in served.log + done.stdout + done.stderr


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (("--mechanism", "OAUTHBEARER"), "OAUTHBEARER takes an access token: --token-file"),
        (("--mechanism", "MONGODB-OIDC", "--user", "ada"), "takes an access token"),
        (("--token-file", "a", "--credentials", "b"), "exclude each other"),
        (("--token-file", "a", "-p"), "exclude each other"),
        (("--token-file", "nowhere"), "nowhere: cannot be read"),
        (("--mechanism", "XOAUTH2", "--token-file", "a"), "with the token: give --user NAME"),
        ((), "or an access token"),
    ],
)
def test_what_a_login_by_token_lacks_is_told(
    sasl: Sasl, options: tuple[str, ...], told: str
) -> None:
    """Before anybody is connected to."""
    done = sasl.run("auth", "smtp://127.0.0.1:1", *options)
    assert (done.returncode, done.stdout) == (1, "")
    assert told in done.stderr


def test_a_driver_of_mongodbs_is_let_in(sasl: Sasl, provider: LoginProvider) -> None:
    """`sasl serve mongodb`: PyMongo logs in by its own MONGODB-OIDC, and is who the token says."""
    from pymongo import MongoClient
    from pymongo.auth_oidc import OIDCCallback, OIDCCallbackContext, OIDCCallbackResult

    class Machine(OIDCCallback):
        def fetch(self, context: OIDCCallbackContext) -> OIDCCallbackResult:
            return OIDCCallbackResult(access_token=provider.token(ADA))

    config = configured(sasl, provider.toml())
    with sasl.serving("--config", config, "--db", str(sasl.db), profile="mongodb") as served:
        client: MongoClient[dict[str, object]] = MongoClient(
            "127.0.0.1",
            served.port,
            authMechanism="MONGODB-OIDC",
            authMechanismProperties={"OIDC_CALLBACK": Machine()},
            directConnection=True,
            serverSelectionTimeoutMS=10_000,
        )
        with client:
            status = client.admin.command("connectionStatus")["authInfo"]
        assert served.end(signal.SIGTERM) == 0
    assert status["authenticatedUsers"] == [{"user": "corp/ada", "db": "$external"}]
    assert status["authenticatedUserRoles"] == [{"role": "corp/admins", "db": "admin"}]


def test_without_providers_no_token_is_taken(sasl: Sasl) -> None:
    """The mechanisms are not offered, and nothing is fetched."""
    with sasl.serving("--db", str(sasl.db)) as served:
        status, said = token_login(sasl, served, "a.b.c")
        assert status == 1
        assert "does not offer MONGODB-OIDC" in said


# --- where the providers are said --------------------------------------------------------------


@pytest.mark.parametrize("how", ["json", "file"])
def test_the_command_line_says_which_providers(
    sasl: Sasl, provider: LoginProvider, how: str
) -> None:
    """As MongoDB's JSON, or the name of a file with it."""
    given = provider.json()
    if how == "file":
        (sasl.folder / "providers.json").write_text(given)
        given = "@providers.json"
    with sasl.serving("--oidc-identity-providers", given, "--db", str(sasl.db)) as served:
        assert token_login(sasl, served, provider.token(ADA))[0] == 0


def test_the_command_line_goes_before_the_configuration(
    sasl: Sasl, provider: LoginProvider
) -> None:
    """What it says replaces the configured providers, all of them."""
    config = configured(sasl, provider.toml(audience="other"))
    given = ("--config", config, "--oidc-identity-providers", provider.json())
    with sasl.serving(*given, "--db", str(sasl.db)) as served:
        assert token_login(sasl, served, provider.token(ADA))[0] == 0
        assert token_login(sasl, served, provider.token({**ADA, "aud": "other"}))[0] == 1


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ('[{"issuer": "https://a"}]', "[0].audience: required"),
        ("[}", "not JSON"),
        ("{}", "expected an array of identity providers"),
        ("@nowhere.json", "nowhere.json"),
        ("@", "the name of a file goes behind @"),
    ],
)
def test_a_server_with_wrong_providers_does_not_start(sasl: Sasl, given: str, told: str) -> None:
    """1, and a line that begins with the index of the provider, before anybody is let in."""
    done = sasl.run("serve", "smtp", "--listen", "127.0.0.1:0", "--oidc-identity-providers", given)
    assert (done.returncode, done.stdout) == (1, "")
    assert told in done.stderr


# --- keys --------------------------------------------------------------------------------------


def test_an_issuer_that_is_away_is_a_warning(sasl: Sasl, provider: LoginProvider) -> None:
    """The server starts and says so, and others log in."""
    provider.hidden = True
    config = configured(sasl, provider.toml())
    with sasl.serving("--config", config, "--db", str(sasl.db)) as served:
        assert sasl.log_in(f"smtp://{served.address}").returncode == 0
        status, said = token_login(sasl, served, provider.token(ADA))
        assert status == 1
        # An outage is not a wrong token.
        assert "authentication failed" not in said
        served.end(signal.SIGTERM)
    assert f"sasl: warning: the keys of {provider.issuer} cannot be had now" in served.log


def test_the_keys_are_there_before_the_first_login(sasl: Sasl, provider: LoginProvider) -> None:
    """They are fetched at the start, once, and no login waits for them."""
    config = configured(sasl, provider.toml())
    with sasl.serving("--config", config, "--db", str(sasl.db)) as served:
        end = time.monotonic() + 20
        while "/keys" not in provider.served and time.monotonic() < end:
            time.sleep(0.02)
        for _ in range(2):
            assert token_login(sasl, served, provider.token(ADA))[0] == 0
    assert provider.served.count("/keys") == 1


# --- SIGHUP ------------------------------------------------------------------------------------


def test_sighup_takes_other_providers_over(sasl: Sasl, provider: LoginProvider) -> None:
    """What the file says now counts for the next login; nobody else notices."""
    config = configured(sasl, provider.toml())
    with sasl.serving("--config", config, "--db", str(sasl.db)) as served:
        assert token_login(sasl, served, provider.token(ADA))[0] == 0
        configured(sasl, provider.toml(audience="other", prefix="new"))
        hang_up(served, "1 identity provider")
        assert token_login(sasl, served, provider.token(ADA))[0] == 1
        assert token_login(sasl, served, provider.token({**ADA, "aud": "other"}))[0] == 0
        assert served.end(signal.SIGTERM) == 0


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ('[[identity_providers]]\nissuer = "https://a"\n', "[0].audience: required"),
        ("allow_anonymos = true\n", "allow_anonymos"),
        ("=\n", "sasl.toml"),
        (None, "sasl.toml"),
    ],
)
def test_what_sighup_finds_wrong_is_logged(
    sasl: Sasl, provider: LoginProvider, change: str | None, told: str
) -> None:
    """The old providers go on to serve, whatever became of the file."""
    config = configured(sasl, provider.toml())
    with sasl.serving("--config", config, "--db", str(sasl.db)) as served:
        if change is None:
            Path(config).unlink()
        else:
            configured(sasl, change)
        hang_up(served, "the old ones go on")
        assert told in served.log
        assert token_login(sasl, served, provider.token(ADA))[0] == 0


def test_sighup_may_take_the_last_provider_away(sasl: Sasl, provider: LoginProvider) -> None:
    """Then no token is good any more; passwords are as before; and it may come back."""
    config = configured(sasl, provider.toml())
    with sasl.serving("--config", config, "--db", str(sasl.db)) as served:
        assert token_login(sasl, served, provider.token(ADA))[0] == 0
        configured(sasl, "")
        hang_up(served, "0 identity providers configured")
        assert token_login(sasl, served, provider.token(ADA))[0] == 1
        assert sasl.log_in(f"smtp://{served.address}").returncode == 0
        configured(sasl, provider.toml())
        hang_up(served, "1 identity provider")
        assert token_login(sasl, served, provider.token(ADA))[0] == 0


def test_sighup_reads_the_file_of_the_command_line_again(
    sasl: Sasl, provider: LoginProvider
) -> None:
    """The file behind @ is read anew each time."""
    file = sasl.folder / "providers.json"
    file.write_text(json.dumps([]))
    given = ("--oidc-identity-providers", "@providers.json")
    with sasl.serving(*given, "--db", str(sasl.db)) as served:
        assert token_login(sasl, served, provider.token(ADA))[0] == 1
        file.write_text(provider.json())
        hang_up(served, "1 identity provider")
        assert token_login(sasl, served, provider.token(ADA))[0] == 0


def test_sighup_may_bring_the_first_provider(sasl: Sasl, provider: LoginProvider) -> None:
    """Without any nothing changes; from the first one on, what takes tokens is offered."""
    config = configured(sasl, "")
    with sasl.serving("--config", config, "--db", str(sasl.db)) as served:
        hang_up(served, "there are none, as before")
        assert "does not offer" in token_login(sasl, served, provider.token(ADA))[1]
        configured(sasl, provider.toml())
        hang_up(served, "1 identity provider")
        assert token_login(sasl, served, provider.token(ADA))[0] == 0
        assert sasl.log_in(f"smtp://{served.address}").returncode == 0
        assert served.end(signal.SIGTERM) == 0


def test_a_hanging_issuer_delays_neither_start_nor_end(sasl: Sasl) -> None:
    """Whoever hangs while the keys are fetched keeps nobody waiting, the end of it all neither."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        address = f"http://127.0.0.1:{silent.getsockname()[1]}"
        table = {
            "issuer": address,
            "audience": "mail",
            "authNamePrefix": "corp",
            "useAuthorizationClaim": False,
            "supportsHumanFlows": False,
            "allowLoopbackHttp": True,
        }
        began = time.monotonic()
        given = ("--oidc-identity-providers", json.dumps([table]), "--db", str(sasl.db))
        with sasl.serving(*given) as served:
            silent.settimeout(10)
            asked, _ = silent.accept()
            with asked:
                assert sasl.log_in(f"smtp://{served.address}").returncode == 0
                assert served.end(signal.SIGTERM) == 0
        # The fetch alone may take ten seconds.
        assert time.monotonic() - began < 9
