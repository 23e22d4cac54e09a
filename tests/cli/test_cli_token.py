"""`sasl token`: what inspect shows, whom validate believes, where fetch leaves a token."""

from __future__ import annotations

import json
import os
import re
import stat
import subprocess
import sys
import threading
import time
from base64 import b64decode
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from cli_runs import PASSWORD, Sasl
from daemons import free_port
from login_provider import CLIENT_SECRET, LoginProvider
from person_provider import PersonProvider
from sasl_cli.demo_provider import new_key
from sasl_cli.token_inspect import UNVERIFIED, distance, moment

ADA = {"sub": "ada", "aud": "mail", "groups": ["admins", "b c"]}


@pytest.fixture(scope="module")
def provider() -> Iterator[LoginProvider]:
    """An identity provider on the loopback."""
    with LoginProvider() as started:
        yield started


def signature(token: str) -> str:
    """The last part of a token."""
    return token.rpartition(".")[2]


def inspect(sasl: Sasl, token: str, *options: str) -> tuple[int, str, str]:
    done = sasl.run("token", "inspect", *options, stdin=token.encode())
    assert signature(token) not in done.stdout + done.stderr
    return done.returncode, done.stdout, done.stderr


# --- inspect -----------------------------------------------------------------------------------


def test_inspect_says_first_that_nobody_checked(sasl: Sasl, provider: LoginProvider) -> None:
    """The first line says it, a forged token gets the same output, and 0 is no verdict."""
    honest = provider.token(ADA)
    forged = provider.token(ADA, key=new_key())
    for token in (honest, forged):
        status, out, err = inspect(sasl, f"{token}\n")
        assert (status, err) == (0, "")
        assert out.splitlines()[0] == f"{UNVERIFIED}."
        assert "not checked, and not shown" in out
        assert "valid" not in out.lower()
        for shown in ("EdDSA", "demo-key-1", provider.issuer, "ada", '["admins", "b c"]'):
            assert shown in out


def test_inspect_tells_times_in_utc(sasl: Sasl, provider: LoginProvider) -> None:
    """Claims that are times stand with the moment that they mean, and how far that is."""
    exp = int(time.time()) + 7200 + 30
    _, out, _ = inspect(sasl, provider.token({**ADA, "exp": exp, "nbf": 1661374077}))
    assert f"exp     {exp}  {moment(exp)}, in 2 hours\n" in out
    assert "nbf     1661374077  2022-08-24 20:47:57 UTC, " in out
    assert "nothing; but that says nothing of the signature" in out


@pytest.mark.parametrize(
    ("claims", "problem"),
    [
        ({"exp": 1661374077}, "expired "),
        ({"exp": 1e9}, "exp is not an integer"),
        ({"exp": 10**15}, "exp is later than the year 9999"),
        ({"exp": True}, "exp is not an integer"),
        ({"nbf": 4102444800}, "not valid before 2100-01-01 00:00:00 UTC"),
        ({"iat": 4102444800}, "issued in the future"),
        ({"aud": None}, "claim aud"),
        ({"iss": ""}, "claim iss"),
        ({"at_hash": "x"}, "an ID token"),
    ],
)
def test_inspect_says_what_looks_wrong(
    sasl: Sasl, provider: LoginProvider, claims: dict[str, object], problem: str
) -> None:
    """What every server would refuse is told; the exit status stays 0."""
    status, out, err = inspect(sasl, provider.token({**ADA, **claims}))
    assert (status, err) == (0, "")
    assert problem in out.partition("what looks wrong\n")[2]


def test_inspect_as_json_is_for_programs(sasl: Sasl, provider: LoginProvider) -> None:
    """`verified` is false, whatever the token; header, claims, times and problems are there."""
    token = provider.token({**ADA, "exp": 1661374077})
    status, out, _ = inspect(sasl, token, "--json")
    found = json.loads(out)
    assert status == 0
    assert found["verified"] is False
    assert found["warning"] == UNVERIFIED
    assert found["header"] == {"typ": "JWT", "alg": "EdDSA", "kid": "demo-key-1"}
    assert found["claims"]["groups"] == ["admins", "b c"]
    assert found["times"]["exp"] == "2022-08-24 20:47:57 UTC"
    assert len(found["problems"]) == 1


@pytest.mark.parametrize(
    "text",
    ["true", "null", " true", "17", "1e3", "NaN", "-Infinity", "", '"a"', "[x", ' {"a": 1}', '"a',
     "[" * 5000],
    ids=lambda text: ascii(text)[:12],
)  # fmt: skip
def test_inspect_shows_a_text_that_looks_like_json_in_quotes(
    sasl: Sasl, provider: LoginProvider, text: str
) -> None:
    """So that the text "true" is not taken for the value true; the value has none."""
    _, out, _ = inspect(sasl, provider.token({**ADA, "odd": text, "flag": True}))
    (line,) = (line for line in out.splitlines() if line.startswith("  odd "))
    assert line.split(maxsplit=1)[1].startswith('"')
    assert "  flag    true\n" in out


@pytest.mark.parametrize("name", ["exp", "nbf", "iat", "auth_time"])
def test_inspect_shows_a_time_that_is_a_text_in_quotes(
    sasl: Sasl, provider: LoginProvider, name: str
) -> None:
    """It may have the very form in which a time is shown, and is none."""
    text = f"4102444800  {moment(4102444800)}, in 75 years"
    _, out, _ = inspect(sasl, provider.token({**ADA, name: text}))
    assert f'"{text}"' in out
    assert f" {text}" not in out


def test_inspect_is_not_pushed_aside_by_a_long_name(sasl: Sasl, provider: LoginProvider) -> None:
    """A claim's name of 3000 characters has a line of its own; the others stay together."""
    where = "https://schemas.example.com/identity/claims/objectidentifier"
    _, out, _ = inspect(sasl, provider.token({"n" * 3000: "far", where: "here", **ADA}))
    lines = out.splitlines()
    long = next(line for line in lines if line.startswith("  nnn"))
    assert lines[lines.index(long) + 1] == "    far"
    assert lines[lines.index(f"  {where}") + 1] == "    here"
    (ada,) = (line for line in lines if line.endswith(" ada"))
    assert len(ada) < 60
    assert {line.index(line.split()[1]) for line in lines if line.startswith(("  sub ", "  exp "))}
    assert all(len(line) < 200 for line in lines if line != long)


@pytest.mark.parametrize("rest", ["", " " * 40])
def test_inspect_shows_a_name_with_blanks_in_quotes(
    sasl: Sasl, provider: LoginProvider, rest: str
) -> None:
    """Otherwise it could be taken for a name and a value that nobody wrote."""
    _, out, _ = inspect(sasl, provider.token({**ADA, f"sub     root{rest}": "x", '"a"': "y"}))
    assert f'  "sub     root{rest}"' in out
    assert '  "\\"a\\""' in out
    assert sum(line.startswith("  sub ") for line in out.splitlines()) == 1


def test_inspect_escapes_what_a_terminal_would_obey(sasl: Sasl, provider: LoginProvider) -> None:
    """Control characters of a claim or a claim's name never reach the terminal."""
    token = provider.token({**ADA, "name": "\x1b[2J\u202e", "\x1b]0;x": [{"a": "\x9b"}]})
    for options in ((), ("--json",)):
        _, out, _ = inspect(sasl, token, *options)
        assert all(each.isprintable() or each == "\n" for each in out)


def test_a_token_is_not_taken_from_the_command_line(sasl: Sasl, provider: LoginProvider) -> None:
    """One that stands there is refused with the reason, and is not repeated."""
    token = provider.token(ADA)
    for command in ("inspect", "validate"):
        done = sasl.run("token", command, token)
        assert done.returncode == 1
        assert "every user of this machine can read" in done.stderr
        assert token not in done.stdout + done.stderr


def test_a_token_comes_from_a_file_or_a_pipe(sasl: Sasl, provider: LoginProvider) -> None:
    """With `--file`, with `-`, and with a line break or blanks around it."""
    token = provider.token(ADA)
    (sasl.folder / "token").write_text(f" {token}\r\n")
    outputs = {
        sasl.run("token", "inspect", "--file", "token").stdout,
        sasl.run("token", "inspect", "-", stdin=token.encode()).stdout,
        sasl.run("token", "inspect", "--file", "-", stdin=f"\n{token} ".encode()).stdout,
    }
    # Each run says how long it is until then, and one may come a second later than another.
    alike = {re.sub(r"in \d+ \w+|\d+ \w+ ago", "", output) for output in outputs}
    assert len(alike) == 1
    assert "ada" in alike.pop()


@pytest.mark.parametrize(
    ("stdin", "told"),
    [
        (b"", "empty"),
        (b" \n", "empty"),
        (b"a b", "one word"),
        (b"secret-\xff", "one word"),
        (b"secret-\xc3\xa9", "one word"),
        (b"secret\x00", "one word"),
        (b"secret" * 12_000, "65536"),
        (b"secret", "token-malformed"),
        (b"secret.secret.secret", "token-malformed"),
        (b"e30.e30.e30", "token-algorithm"),
        (b"eyJhbGciOiJub25lIn0.e30.", "token-algorithm"),
    ],
)
def test_what_is_no_token_is_told_in_a_line(sasl: Sasl, stdin: bytes, told: str) -> None:
    """1, a line that says why, and nothing of what was read."""
    done = sasl.run("token", "inspect", stdin=stdin)
    assert (done.returncode, done.stdout) == (1, "")
    assert told in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert "secret" not in done.stderr


def test_a_file_that_is_not_there_is_told(sasl: Sasl) -> None:
    """Of the token and of the keys: the file and the reason."""
    done = sasl.run("token", "inspect", "--file", "nowhere")
    assert done.returncode == 1
    assert "nowhere: cannot be read: No such file or directory" in done.stderr


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (0, "0 seconds ago"),
        (-30, "30 seconds ago"),
        (-1, "1 second ago"),
        (1.4, "in 1 second"),
        (90, "in 90 seconds"),
        (600, "in 10 minutes"),
        (-9000, "2 hours ago"),
        (200000, "in 2 days"),
    ],
)
def test_distances_are_told_in_units_of_people(seconds: float, words: str) -> None:
    """Seconds, minutes, hours, days; ahead or back."""
    assert distance(seconds) == words


# --- validate ----------------------------------------------------------------------------------


def by_options(provider: LoginProvider) -> list[str]:
    return [
        "token",
        "validate",
        "--issuer",
        provider.issuer,
        "--audience",
        "mail",
        "--allow-loopback-http",
    ]


def test_validate_says_whom_a_token_names(sasl: Sasl, provider: LoginProvider) -> None:
    """0; issuer, audience, name, roles, expiry; names bare where no configuration has a prefix."""
    token = provider.token(ADA)
    done = sasl.run(*by_options(provider), "--roles-claim", "groups", stdin=token.encode())
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("valid: the signature was checked")
    assert "authid     ada\n" in done.stdout
    assert 'roles      ["admins", "b c"]\n' in done.stdout
    assert "in 5 minutes" in done.stdout
    assert token not in done.stdout


def test_validate_takes_no_more_off_a_name_than_it_put_there(
    sasl: Sasl, provider: LoginProvider
) -> None:
    """Names that hold the prefix that stands before them here are shown as they are."""
    names = ["cli/x", "admin.cli/y", "a/cli/z", "cli/cli/cli/", "admin."]
    for sub in names:
        token = provider.token({"sub": sub, "aud": "mail", "groups": names})
        done = sasl.run(
            *by_options(provider), "--roles-claim", "groups", "--json", stdin=token.encode()
        )
        found = json.loads(done.stdout)
        assert found["authid"] == found["principal"] == sub
        assert found["roles"] == names


def test_validate_goes_by_the_configuration(sasl: Sasl, provider: LoginProvider) -> None:
    """Names and roles as a server with that configuration gives them."""
    config = sasl.folder / "sasl.toml"
    config.write_text(provider.toml(), "utf-8")
    done = sasl.run(
        "token", "validate", "--config", str(config), "--json", stdin=provider.token(ADA).encode()
    )
    assert (done.returncode, done.stderr) == (0, "")
    found = json.loads(done.stdout)
    assert found["valid"] is True
    assert found["authid"] == "corp/ada"
    assert found["principal"] == "ada"
    assert found["database"] == "$external"
    assert found["roles"] == ["admin.corp/admins", "admin.corp/b c"]


def test_validate_tells_whose_roles_come_from_the_stores(
    sasl: Sasl, provider: LoginProvider
) -> None:
    """Without a claim of roles the user has to be in the stores, and that is said."""
    done = sasl.run(*by_options(provider), stdin=provider.token(ADA).encode())
    assert done.returncode == 0
    assert "those that the stores have for the user" in done.stdout


@pytest.mark.parametrize(
    ("claims", "options", "code"),
    [
        ({"exp": 1661374077}, (), "token-expired"),
        ({"aud": "other"}, (), "token-audience"),
        ({"iss": "http://127.0.0.1:1"}, (), "token-issuer"),
        ({"sub": None}, (), "token-claim-type"),
        ({}, ("--roles-claim", "roles"), "token-claim-missing"),
        ({}, ("--principal-claim", "oid"), "token-claim-missing"),
        ({"at_hash": "x"}, (), "token-id-token"),
    ],
)
def test_validate_says_why_not(
    sasl: Sasl,
    provider: LoginProvider,
    claims: dict[str, object],
    options: tuple[str, ...],
    code: str,
) -> None:
    """1, and the code and the detail that a peer never hears."""
    token = provider.token({**ADA, **claims})
    done = sasl.run(*by_options(provider), *options, stdin=token.encode())
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith(f"sasl: not valid: {code}: ")
    done = sasl.run(*by_options(provider), *options, "--json", stdin=token.encode())
    assert done.returncode == 1
    told = json.loads(done.stdout)
    assert (told["valid"], told["code"]) == (False, code)
    assert told["reason"] == f"not valid: {code}: {told['detail']}"


BEARER = """
[mechanisms.{name}]
plain_names = true
user_namespace = "people"
scope = "mail send"
"""


@pytest.mark.parametrize("name", ["OAUTHBEARER", "XOAUTH2"])
def test_validate_takes_a_mechanisms_view(sasl: Sasl, provider: LoginProvider, name: str) -> None:
    """--mechanism: that one's names and scopes; another one's options do not count."""
    (sasl.folder / "c.toml").write_text(provider.toml() + BEARER.format(name=name))
    command = ("token", "validate", "--config", "c.toml", "--json")
    good = provider.token({**ADA, "scope": "send mail"}).encode()
    found = json.loads(sasl.run(*command, "--mechanism", name.lower(), stdin=good).stdout)
    assert (found["mechanism"], found["authid"], found["principal"]) == (name, "ada", "ada")
    assert (found["database"], found["roles"][0]) == ("people", "corp/admins")
    poor = provider.token({**ADA, "scope": "mail"}).encode()
    done = sasl.run(*command, "--mechanism", name, stdin=poor)
    assert (done.returncode, json.loads(done.stdout)["code"]) == (1, "token-scope")
    found = json.loads(sasl.run(*command, stdin=poor).stdout)
    assert (found["mechanism"], found["authid"]) == ("MONGODB-OIDC", "corp/ada")
    other = {"OAUTHBEARER": "XOAUTH2", "XOAUTH2": "OAUTHBEARER"}[name]
    found = json.loads(sasl.run(*command, "--mechanism", other, stdin=poor).stdout)
    assert (found["authid"], found["roles"][0]) == ("corp/ada", "corp/admins")
    # Of the mechanism's options those count that name no name.
    bare = (*by_options(provider), "--config", "c.toml", "--mechanism", name)
    assert "token-scope" in sasl.run(*bare, stdin=poor).stderr
    assert "authid     ada\n" in sasl.run(*bare, stdin=good).stdout


def test_validate_takes_the_namespaces_of_mongodb_oidc(sasl: Sasl, provider: LoginProvider) -> None:
    """Its own options are applied too, and one that it does not know is an error."""
    file = sasl.folder / "c.toml"
    table = "[mechanisms.MONGODB-OIDC]\nuser_namespace = 'people'\nrole_namespace = 'r'\n"
    file.write_text(provider.toml() + table)
    command = ("token", "validate", "--config", "c.toml", "--json")
    found = json.loads(sasl.run(*command, stdin=provider.token(ADA).encode()).stdout)
    assert (found["database"], found["roles"][0]) == ("people", "r.corp/admins")
    file.write_text(provider.toml() + table + "rolenamespace = 'r'\n")
    done = sasl.run(*command, stdin=provider.token(ADA).encode())
    assert done.returncode == 1
    assert "did you mean 'role_namespace'?" in done.stderr


@pytest.mark.parametrize("roles", [True, False])
def test_validate_says_whose_view_it_is_and_that_no_store_was_asked(
    sasl: Sasl, provider: LoginProvider, roles: bool
) -> None:
    """The mechanism, and what of the account: the stores decide last, and were not asked."""
    more = ("--roles-claim", "groups") if roles else ()
    token = provider.token(ADA).encode()
    done = sasl.run(*by_options(provider), *more, stdin=token)
    assert "mechanism  MONGODB-OIDC\n" in done.stdout
    told = "not needed; whether a store has locked one" if roles else "the stores have to know"
    assert f"account    {told}" in done.stdout
    found = json.loads(sasl.run(*by_options(provider), *more, "--json", stdin=token).stdout)
    assert found["needs_account"] is not roles


def test_validate_warns_of_a_mechanism_that_is_not_offered(
    sasl: Sasl, provider: LoginProvider
) -> None:
    """What mech_list leaves out lets nobody in, whatever the token."""
    (sasl.folder / "c.toml").write_text('mech_list = ["OAUTHBEARER"]\n' + provider.toml())
    command = ("token", "validate", "--config", "c.toml")
    token = provider.token(ADA).encode()
    done = sasl.run(*command, stdin=token)
    assert done.returncode == 0
    assert done.stderr == (
        "sasl: warning: mech_list has no MONGODB-OIDC: a server does not offer it\n"
    )
    assert sasl.run(*command, "--mechanism", "OAUTHBEARER", stdin=token).stderr == ""


@pytest.mark.parametrize(
    ("text", "options", "told"),
    [
        ("", ("--mechanism", "PLAIN"), "'PLAIN' takes no access tokens; those that do: MONGODB"),
        ("[mechanisms.XOAUTH2]\nvalidation = 'application'\n", (), "nobody but the application"),
        ("[mechanisms.XOAUTH2]\nscopes = 'a'\n", (), "did you mean 'scope'?"),
        ("[mechanisms.XOAUTH2]\nvalidation = 'introspection'\n", (), "needs introspection_url"),
    ],
)
def test_validate_tells_which_views_there_are(
    sasl: Sasl, provider: LoginProvider, text: str, options: tuple[str, ...], told: str
) -> None:
    """What judges no tokens, or not here, is told; a wrong option is the mechanism's to tell."""
    (sasl.folder / "c.toml").write_text(provider.toml() + text)
    options = options or ("--mechanism", "XOAUTH2")
    done = sasl.run("token", "validate", "--config", "c.toml", *options, stdin=b"a.b.c")
    assert (done.returncode, done.stdout) == (1, "")
    assert told in done.stderr


def test_validate_refuses_plain_names_of_two_issuers(sasl: Sasl, provider: LoginProvider) -> None:
    """As a server does, which does not offer the mechanism then."""
    two = provider.toml() + provider.toml(prefix="b").replace("http://127.0.0.1", "http://[::1]")
    (sasl.folder / "c.toml").write_text(two + "[mechanisms.XOAUTH2]\nplain_names = true\n")
    command = ("token", "validate", "--config", "c.toml", "--mechanism", "XOAUTH2")
    done = sasl.run(*command, stdin=provider.token(ADA).encode())
    assert (done.returncode, done.stdout) == (1, "")
    assert "names without a prefix need one issuer" in done.stderr


def test_validate_has_an_opaque_token_introspected(sasl: Sasl) -> None:
    """With "introspection" the issuer is asked, and it is not said that we checked."""
    answer = {"active": True, "sub": "ada", "aud": "mail", "exp": int(time.time()) + 300,
              "token_type": "Bearer"}  # fmt: skip
    with introspecting(answer) as url:
        (sasl.folder / "secret").write_text(CLIENT_SECRET)
        (sasl.folder / "secret").chmod(0o600)
        (sasl.folder / "c.toml").write_text(
            f"[mechanisms.OAUTHBEARER]\nvalidation = 'introspection'\n"
            f"introspection_url = '{url}'\nclient_id = 'mail'\n"
            f"client_secret_file = '{sasl.folder / 'secret'}'\naudience = 'mail'\n"
            "allow_loopback_http = true\n"
        )
        command = ("token", "validate", "--config", "c.toml", "--mechanism", "OAUTHBEARER")
        done = sasl.run(*command, stdin=b"opaque")
        assert (done.returncode, done.stderr) == (0, "")
        assert done.stdout.startswith("valid: its issuer says so\n")
        assert "signature" not in done.stdout
        assert "authid     ada\n" in done.stdout
        # A server refuses such a name: in a log it looks like another.
        answer["sub"] = "ada\u202egnp.exe"
        done = sasl.run(*command, stdin=b"opaque")
        assert (done.returncode, done.stdout) == (1, "")
        assert done.stderr.startswith("sasl: not valid: token-identity: the name is not 1 to 1024")
        assert done.stderr.isascii()
        answer["active"] = False
        done = sasl.run(*command, stdin=b"opaque")
        assert done.returncode == 1
        assert "token-inactive" in done.stderr
        refused = sasl.run(*command, "--issuer", "https://a", "--audience", "b", stdin=b"opaque")
        assert "--issuer does not go with [mechanisms.OAUTHBEARER]" in refused.stderr


@contextmanager
def introspecting(answer: dict[str, object]) -> Iterator[str]:
    """An introspection endpoint on the loopback that answers each request with `answer`."""

    class Handler(BaseHTTPRequestHandler):
        timeout = 5

        def do_POST(self) -> None:
            _ = self.rfile.read(int(self.headers["Content-Length"]))
            body = json.dumps(answer).encode()
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            _ = self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002
            """Say nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.02,))
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_address[1]}/introspect"
        finally:
            server.shutdown()
            thread.join()


def test_validate_refuses_a_forged_token(sasl: Sasl, provider: LoginProvider) -> None:
    """Signed with another key under the same identifier: not valid, whatever it says."""
    token = provider.token(ADA, key=new_key())
    done = sasl.run(*by_options(provider), stdin=token.encode())
    assert (done.returncode, done.stdout) == (1, "")
    assert "token-signature" in done.stderr


def test_validate_says_when_nobody_can_know(sasl: Sasl, provider: LoginProvider) -> None:
    """3 when the keys cannot be fetched: that is no verdict on the token."""
    token = provider.token(ADA)
    nowhere = (*by_options(provider), "--jwks-uri", "http://127.0.0.1:1/keys")
    done = sasl.run(*nowhere, stdin=token.encode())
    assert (done.returncode, done.stdout) == (3, "")
    assert done.stderr.startswith("sasl: nobody can say now: ")
    done = sasl.run(*nowhere, "--json", stdin=token.encode())
    assert done.returncode == 3
    told = json.loads(done.stdout)
    assert told["valid"] is None
    assert told["reason"] == f"nobody can say now: {told['code']}: {told['detail']}"


def test_validate_with_a_file_of_keys_asks_nobody(sasl: Sasl, provider: LoginProvider) -> None:
    """The key set comes from the file, and no request is made."""
    (sasl.folder / "keys").write_text(json.dumps(provider.document("/keys")))
    before = len(provider.served)
    done = sasl.run(
        *by_options(provider), "--jwks-file", "keys", stdin=provider.token(ADA).encode()
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert len(provider.served) == before


def test_validate_with_a_file_that_holds_no_keys(sasl: Sasl, provider: LoginProvider) -> None:
    """A key set that is none: nobody can say, and why."""
    (sasl.folder / "keys").write_text("{}")
    done = sasl.run(
        *by_options(provider), "--jwks-file", "keys", stdin=provider.token(ADA).encode()
    )
    assert (done.returncode, done.stdout) == (3, "")
    assert "key-set" in done.stderr


def test_validate_takes_http_only_where_it_is_allowed(sasl: Sasl, provider: LoginProvider) -> None:
    """Without --allow-loopback-http the address is refused, in the command line's words."""
    options = [each for each in by_options(provider) if each != "--allow-loopback-http"]
    done = sasl.run(*options, stdin=provider.token(ADA).encode())
    assert (done.returncode, done.stderr) == (
        1,
        "sasl: --issuer: http to this machine needs --allow-loopback-http\n",
    )
    options[3] = "https://id.example.com"
    done = sasl.run(*options, "--jwks-uri", provider.issuer, stdin=b"a.b.c")
    assert done.stderr == "sasl: --jwks-uri: http to this machine needs --allow-loopback-http\n"


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ((), "no identity provider is configured for 'sasl'"),
        (("--issuer", "https://a"), "go together"),
        (("--audience", "a"), "go together"),
        (("--ca-file", "a"), "needs both"),
        (
            (
                "--issuer",
                "https://a",
                "--audience",
                "a",
                "--jwks-file",
                "f",
                "--jwks-uri",
                "https://b",
            ),
            "exclude",
        ),
    ],
)
def test_validate_needs_a_provider(sasl: Sasl, options: tuple[str, ...], told: str) -> None:
    """What is given by halves, twice or not at all is told."""
    done = sasl.run("token", "validate", *options, stdin=b"e30.e30.e30")
    assert done.returncode == 1
    assert told in done.stderr


def test_validate_accepts_at_jwt_only_where_told(sasl: Sasl, provider: LoginProvider) -> None:
    """The type of RFC 9068 takes its option."""
    token = provider.token(ADA, typ="at+jwt")
    refused = sasl.run(*by_options(provider), stdin=token.encode())
    assert refused.returncode == 1
    assert "token-type" in refused.stderr
    taken = sasl.run(*by_options(provider), "--accept-at-jwt", stdin=token.encode())
    assert taken.returncode == 0


# --- fetch -------------------------------------------------------------------------------------


def by_secret(sasl: Sasl, provider: LoginProvider) -> list[str]:
    secret = sasl.folder / "secret"
    secret.write_text(f"{CLIENT_SECRET}\n")
    secret.chmod(0o600)
    return [
        "token",
        "fetch",
        "--issuer",
        provider.issuer,
        "--client-id",
        "backup",
        "--client-secret-file",
        str(secret),
        "--allow-loopback-http",
    ]


def test_fetch_gives_a_pipe_the_access_token(sasl: Sasl, provider: LoginProvider) -> None:
    """By client credentials: the access token and nothing else, never the ID token beside it."""
    done = sasl.run(
        *by_secret(sasl, provider), "--scope", "mail", "--scope", "send", "--resource", "urn:mail"
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == f"{provider.issued[-1]}\n"
    form = provider.forms[-1]
    assert form["grant_type"] == ["client_credentials"]
    assert form["scope"] == ["mail send"]
    assert form["resource"] == ["urn:mail"]
    assert b64decode(provider.basic[-1]).decode() == f"backup:{CLIENT_SECRET}"
    assert CLIENT_SECRET not in done.stdout + done.stderr
    validated = sasl.run(*by_options(provider), stdin=done.stdout.encode())
    assert validated.returncode == 0


def test_fetch_makes_a_file_of_its_owners(sasl: Sasl, provider: LoginProvider) -> None:
    """New, mode 0600 whatever the umask; one that is there, or a link, is left alone."""
    before = os.umask(0)
    try:
        done = sasl.run(*by_secret(sasl, provider), "--output", "token")
    finally:
        os.umask(before)
    made = sasl.folder / "token"
    assert done.returncode == 0
    assert made.read_text() == f"{provider.issued[-1]}\n"
    assert stat.S_IMODE(made.stat().st_mode) == 0o600
    assert "an access token, a JWT, " in done.stdout
    assert provider.issued[-1] not in done.stdout + done.stderr
    (sasl.folder / "link").symlink_to("elsewhere")
    for name in ("token", "link", "no/such"):
        refused = sasl.run(*by_secret(sasl, provider), "--output", name)
        assert refused.returncode == 1
        assert "--output makes a new file" in refused.stderr
    assert not (sasl.folder / "elsewhere").exists()


def test_fetch_does_not_show_a_terminal_the_token(sasl: Sasl, provider: LoginProvider) -> None:
    """A terminal gets a summary, and the token only with --show."""
    code = """
    import sys
    from sasl_cli.app import run

    sys.stdout.isatty = lambda: True
    sys.exit(run(sys.argv[1:]))
    """
    done = sasl.run(*by_secret(sasl, provider), code=code)
    assert (done.returncode, done.stderr) == (0, "")
    assert provider.issued[-1] not in done.stdout
    assert "an access token, a JWT, " in done.stdout
    assert "--show" in done.stdout
    done = sasl.run(*by_secret(sasl, provider), "--show", code=code)
    assert done.stdout == f"{provider.issued[-1]}\n"


def test_fetch_goes_by_the_configuration(sasl: Sasl, provider: LoginProvider) -> None:
    """`credentials_plugin` and its table, and an option on top of them."""
    (sasl.folder / "here").write_text("first.token")
    config = sasl.folder / "sasl.toml"
    config.write_text(
        'credentials_plugin = "token_file"\n[credentials.token_file]\npath = "here"\n'
    )
    done = sasl.run("token", "fetch", "--config", str(config))
    assert (done.returncode, done.stdout) == (0, "first.token\n")
    done = sasl.run("token", "fetch", "--config", str(config), "--scope", "x")
    assert done.returncode == 1
    assert "scope" in done.stderr


def test_fetch_asks_the_environment(sasl: Sasl) -> None:
    """A source that has no options, by its name."""
    (sasl.folder / "of-a-test").write_text("a.b.c\n")
    done = sasl.run(
        "token", "fetch", "--source", "oidc_test", environment={"OIDC_TOKEN_FILE": "of-a-test"}
    )
    assert (done.returncode, done.stdout) == (0, "a.b.c\n")


def test_fetch_tells_a_refusal_from_an_outage(sasl: Sasl, provider: LoginProvider) -> None:
    """1 when the provider refuses us, 3 when it cannot be asked; the secret is in neither."""
    options = by_secret(sasl, provider)
    Path(options[-2]).write_text("wrong-secret")
    done = sasl.run(*options)
    assert (done.returncode, done.stdout) == (1, "")
    assert "invalid_client" in done.stderr
    assert "wrong-secret" not in done.stderr
    options[3] = "http://127.0.0.1:1"
    done = sasl.run(*options)
    assert (done.returncode, done.stdout) == (3, "")
    assert done.stderr.startswith("sasl: no token: ")


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ((), "where from?"),
        (("--source", "nobody"), "nobody"),
        (("--source", "token_file"), "credentials.token_file.path"),
        (("--output", "a", "--show"), "exclude each other"),
    ],
)
def test_fetch_needs_a_source(sasl: Sasl, options: tuple[str, ...], told: str) -> None:
    """What is missing is named."""
    done = sasl.run("token", "fetch", *options)
    assert (done.returncode, done.stdout) == (1, "")
    assert told in done.stderr


# --- fetch, with a person ------------------------------------------------------------------------


def by_person(provider: PersonProvider, source: str, *more: str) -> list[str]:
    return [
        *("token", "fetch", "--source", source, "--issuer", provider.issuer),
        *("--client-id", "terminal", "--allow-loopback-http", *more),
    ]


@pytest.fixture
def person() -> Iterator[PersonProvider]:
    """A provider on the loopback that a person logs in at."""
    with PersonProvider() as provider:
        yield provider


def test_fetch_shows_a_person_a_code(sasl: Sasl, person: PersonProvider) -> None:
    """On standard error; standard output is the token's, as ever."""
    done = sasl.run(
        *by_person(person, "device_code", "--scope", "mail", "--resource", "urn:a", "--show")
    )
    assert (done.returncode, done.stdout) == (0, f"{person.issued[-1]}\n")
    assert done.stderr == (
        f"To log in, open {person.issuer}/activate in any browser,\n"
        "and enter the code WDJB-MJHT\n"
        "It is good for 2 minutes.\n"
    )
    assert person.forms[0]["resource"] == ["urn:a"]


def test_fetch_opens_a_persons_browser(
    sasl: Sasl, person: PersonProvider, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No host has to be allowed: no server is shown the token."""
    back = f"http://localhost:{free_port()}/back"
    monkeypatch.setattr("webbrowser.open", person.browse)
    done = sasl.run(*by_person(person, "authorization_code", "--redirect-uri", back))
    person.join()
    assert (done.returncode, done.stdout) == (0, f"{person.issued[-1]}\n")
    assert person.forms[-1]["redirect_uri"] == [back]
    # And where none appears, they have the address.
    assert done.stderr.splitlines()[-1].startswith(f"{person.issuer}/authorize?")
    assert "You are logged in" in person.pages[-1]


@pytest.mark.parametrize("source", ["device_code", "client_credentials"])
@pytest.mark.parametrize(
    "whose",
    [
        'issuer = "https://id.corp.example"',
        'issuer = "ISSUER/"',
        'token_endpoint = "https://id.corp.example/token"',
    ],
)
def test_fetch_shows_another_provider_no_configured_client(
    sasl: Sasl, person: PersonProvider, source: str, whose: str
) -> None:
    """Its secret and its name are the configured provider's; the command line names another."""
    config = sasl.folder / "sasl.toml"
    config.write_text(
        f"[credentials.{source}]\n{whose.replace('ISSUER', person.issuer)}\n"
        f'client_id = "corp"\nclient_secret = "{PASSWORD}"\nauth_method = "client_secret_post"\n'
    )
    fetch = ["token", "fetch", "--config", str(config), "--source", source, "--allow-loopback-http"]
    done = sasl.run(*fetch, "--issuer", person.issuer)
    assert done.returncode == 1
    assert "the option is missing" in done.stderr
    assert person.forms == []
    done = sasl.run(*fetch, "--issuer", person.issuer, "--client-id", "mine")
    assert not [form for form in person.forms if {"client_secret"} & form.keys()]
    assert {tuple(form["client_id"]) for form in person.forms} <= {("mine",)}


def test_fetch_knows_the_configured_provider_again(sasl: Sasl, person: PersonProvider) -> None:
    """Named on the command line too, it is shown the client that is configured for it."""
    config = sasl.folder / "sasl.toml"
    config.write_text(
        f'[credentials.device_code]\nissuer = "{person.issuer}"\nclient_id = "corp"\n'
        f'client_secret = "{PASSWORD}"\nauth_method = "client_secret_post"\n'
    )
    fetch = ["--config", str(config), "--source", "device_code", "--allow-loopback-http"]
    done = sasl.run("token", "fetch", *fetch, "--issuer", person.issuer)
    assert done.returncode == 0
    assert person.forms[0]["client_secret"] == [PASSWORD]


BROWSER = """
import pathlib, sys, time
print("Opening in existing browser session.", flush=True)
print("Gtk-WARNING: something", file=sys.stderr, flush=True)
here = pathlib.Path(sys.argv[1])
(here / "new").write_text(sys.argv[2])
(here / "new").rename(here / "opened")
end = time.monotonic() + 30
while not (here / "leave").exists() and time.monotonic() < end:
    time.sleep(0.02)
(here / "left").touch()
"""
"""Says things, as browsers do, and runs on after the login."""


def test_fetch_keeps_a_browser_off_the_pipe(
    sasl: Sasl, person: PersonProvider, tmp_path: Path
) -> None:
    """What reads the token reads nothing else, and comes to its end while the browser is open."""
    here = tmp_path / "browser"
    here.mkdir()
    (here / "browser.py").write_text(BROWSER)
    environment = sasl.environment() | {
        "BROWSER": f"{sys.executable} {here / 'browser.py'} {here} %s",
    }

    def sit_there() -> None:
        if wait_for(here / "opened"):
            _ = person.browse((here / "opened").read_text())

    thread = threading.Thread(target=sit_there)
    with (tmp_path / "errors").open("wb") as errors:
        command = [sys.executable, "-P", "-m", "sasl_cli"]
        started = subprocess.Popen(
            [*command, *by_person(person, "authorization_code")],
            stdout=subprocess.PIPE,
            stderr=errors,
            cwd=tmp_path,
            env=environment,
        )
        try:
            thread.start()
            out, _ = started.communicate(timeout=20)
            assert not (here / "left").exists()
        finally:
            (here / "leave").touch()
            started.kill()
            started.wait()
            thread.join(20)
            assert wait_for(here / "left")
    person.join()
    assert out.decode() == f"{person.issued[-1]}\n"
    said = (tmp_path / "errors").read_text()
    assert "Opening in existing browser session." in said
    assert person.issued[-1] not in said


def wait_for(path: Path) -> bool:
    """Whether it is there within 20 s."""
    end = time.monotonic() + 20
    while not path.exists():
        if time.monotonic() > end:
            return False
        time.sleep(0.02)
    return True


def test_fetch_tells_a_persons_no(
    sasl: Sasl, person: PersonProvider, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is a refusal, and the browser says so as well."""
    person.says = "access_denied"
    monkeypatch.setattr("webbrowser.open", person.browse)
    done = sasl.run(*by_person(person, "authorization_code"))
    person.join()
    assert (done.returncode, done.stdout) == (1, "")
    said = done.stderr.splitlines()[-1]
    assert said == "sasl: no token: authentication failed: the provider said access_denied"
    assert "did not work" in person.pages[-1]
