"""`sasl demo`: what it shows, what it hides, what it leaves behind."""

from __future__ import annotations

import time

import pytest

from cli_runs import Sasl, lines
from sasl_cli import demo

TITLES = (
    "[1] ANONYMOUS",
    "[2] PLAIN",
    "[3] SCRAM-SHA-256",
    "[4] SCRAM-SHA-256 with a wrong password",
    "[5] MONGODB-OIDC, an access token",
    "[6] MONGODB-OIDC with a token signed by somebody else",
)

CHANGED = """
import sys
from sasl_cli import demo
from sasl_cli.app import run

{change}
sys.exit(run(["demo"]))
"""


def test_all_comes_out_as_it_should(sasl: Sasl) -> None:
    """Six logins drawn, four that succeed and two that do not; 0, within seconds."""
    began = time.monotonic()
    done = sasl.run("demo")
    assert (done.returncode, done.stderr) == (0, "")
    assert time.monotonic() - began < 60
    parts = done.stdout.split("\n\n")
    drawn = [part for part in parts if part.startswith("[")]
    assert all(part.startswith(title) for part, title in zip(drawn, TITLES, strict=True))
    assert [("235 2.7.0" in part, "535 5.7.8" in part) for part in drawn] == [
        (True, False),
        (True, False),
        (True, False),
        (False, True),
        (True, False),
        (False, True),
    ]
    for switch in ("allow_anonymous", "allow_cleartext", "allowLoopbackHttp"):
        assert f"{switch} = true" in parts[1]


def test_secrets_are_masked_and_the_rest_is_not(sasl: Sasl) -> None:
    """Neither password in any form, no proof and no signature; names, nonces and rounds."""
    from base64 import b64encode

    shown = sasl.run("demo").stdout
    for password in (demo.RIGHT, demo.WRONG):
        for form in (password, b64encode(password.encode()).decode(), password.encode().hex()):
            assert form not in shown
        plain = b64encode(f"\0{demo.USER}\0{password}".encode()).decode()
        assert plain[:12] not in shown
    for clear in (r"\0tim\0****", "n,,n=tim,r=", "i=15000", "p=****", "v=****", "invalid-proof"):
        assert clear in shown


def test_a_token_is_masked_and_the_way_to_it_is_not(sasl: Sasl) -> None:
    """Whom the server trusts is shown, the token never; the provider's keys are fetched once."""
    code = """
    import sys
    from sasl_cli import demo
    from sasl_cli.app import run

    issued = []
    class Watched(demo.DemoProvider):
        def token(self, *args, **more):
            issued.append(super().token(*args, **more))
            return issued[-1]

    demo.DemoProvider = Watched
    status = run(["demo"])
    print(*issued, sep="\\n", file=sys.stderr)
    sys.exit(status)
    """
    done = sasl.run(code=code)
    tokens = done.stderr.split()
    assert (done.returncode, len(tokens)) == (0, 2)
    for token in tokens:
        for part in token.split("."):
            assert part not in done.stdout
    assert "{n: ada@example.com}" in done.stdout
    assert "{issuer: http://127.0.0.1:" in done.stdout
    assert done.stdout.count("{jwt: ****}") == 2
    assert "asked for: /.well-known/openid-configuration /keys\n" in done.stdout
    assert "asked for: nothing" in done.stdout
    assert "OK demo/ada@example.com, by token:http://127.0.0.1:" in done.stdout
    assert "BADAUTH nobody (token-signature: not signed with key" in done.stdout


def test_nothing_stays_behind(sasl: Sasl) -> None:
    """The temporary folder is gone, and nothing was made where it ran."""
    before = set(sasl.folder.iterdir())
    assert sasl.run("demo").returncode == 0
    assert list(sasl.temporary.iterdir()) == []
    assert set(sasl.folder.iterdir()) == before


@pytest.mark.parametrize(
    ("environment", "lifeline"),
    [
        ({}, "│"),
        ({"PYTHONIOENCODING": "ascii"}, "|"),
        ({"PYTHONIOENCODING": "latin-1"}, "|"),
        ({"COLUMNS": "60"}, "│"),
        ({"COLUMNS": "200"}, "│"),
    ],
)
def test_it_fits_where_it_is_shown(sasl: Sasl, environment: dict[str, str], lifeline: str) -> None:
    """Within the terminal's width, in characters that it has, without colours in a pipe."""
    done = sasl.run("demo", environment=environment)
    assert done.returncode == 0
    assert "\x1b" not in done.stdout
    width = int(environment.get("COLUMNS", "80"))
    drawn = [line for line in lines(done.stdout) if line.startswith(f"    {lifeline}")]
    assert len(drawn) > 30
    # The lifelines stand: every line of every drawing ends in the same column.
    assert len({len(line) for line in drawn}) == 1
    assert max(map(len, drawn)) <= min(width, 100)


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ("demo.WRONG = demo.RIGHT; wrong(demo.RIGHT)", "accepted"),
        ("demo.USER = 'another'", "server's record"),
        ("demo.SWITCHES = demo.SWITCHES[:1]", "PLAIN"),
        ("demo.SWITCHES = demo.SWITCHES[1:]", "ANONYMOUS"),
        ("demo.DemoProvider.forged = honest", "signed by somebody else: accepted"),
        ("demo.PERSON = 'another'", "server's record"),
    ],
)
def test_what_is_not_as_it_should_be_ends_it_with_1(sasl: Sasl, change: str, problem: str) -> None:
    """A wrong password that is let in, a right one that is not: named, and 1."""
    code = CHANGED.format(
        change=(
            "import attrs\n"
            "def wrong(password):\n"
            "    last = attrs.evolve(demo.LOGINS[3], password=password)\n"
            "    demo.LOGINS = (*demo.LOGINS[:3], last, *demo.LOGINS[4:])\n"
            "def honest(self, name):\n"
            "    claims = {'sub': name, 'aud': 'sasl-demo', 'groups': []}\n"
            "    return self.token(claims)\n" + change
        )
    )
    done = sasl.run(code=code)
    assert done.returncode == 1
    assert problem in done.stderr
    assert demo.RIGHT not in done.stdout + done.stderr
    assert "All 6" not in done.stdout
