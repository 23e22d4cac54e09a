"""`sasl config check` and `sasl plugins`: what they find, and what they say of it."""

from __future__ import annotations

import json
from typing import Any

import pytest

from cli_runs import PASSWORD, Sasl, lines

WITHOUT_OPTIONS = {
    ("canon_user", "map"),
    ("credentials", "client_credentials"),
    ("credentials", "oidc_azure"),
    ("credentials", "oidc_gcp"),
    ("credentials", "token_file"),
}
"""What of ours waits for options, and cannot be used without."""

BROKEN = "from sasl_core.plugin import hookimpl\nSASL_PLUGIN_API = 99\n"

ATTESTING = """
from sasl_core.plugin import Feature, SecurityFlag, ServerPlug, hookimpl

SASL_PLUGIN_API = 1

class Plug(ServerPlug):
    name = "X-BADGE"
    security_flags = SecurityFlag.NOPLAINTEXT
    features = Feature.WANT_CLIENT_FIRST
    attests = True

    def availability(self):
        return {reason!r}

    def converse(self, ctx):
        yield from ()

@hookimpl
def sasl_server_plug_init(utils):
    return [Plug()]
"""


def check(sasl: Sasl, text: str, *arguments: str, name: str = "sasl.toml"):
    """`sasl config check` of a file with this text."""
    file = sasl.folder / name
    file.write_text(text)
    return sasl.run("config", "check", "--config", str(file), *arguments)


def test_without_files_the_defaults_hold(sasl: Sasl) -> None:
    """No file at all is a configuration, and is said to be none."""
    done = sasl.run("config", "check")
    assert (done.returncode, done.stderr) == (0, "")
    assert "no configuration file was found" in done.stdout


def test_where_it_comes_from_is_told(sasl: Sasl) -> None:
    """The file that was read, those that it hides, and the applications that it knows."""
    etc = sasl.folder / "etc"
    etc.mkdir()
    (etc / "sasl.toml").write_text("[applications.imap]\nlog_level = 1\n")
    (etc / "smtp.conf").write_text("log_level: 1\n")
    done = sasl.run("config", "check", "--appname", "smtp")
    assert done.returncode == 0
    assert f"smtp: read from {etc / 'sasl.toml'}" in done.stdout
    assert "imap" in done.stdout
    assert f"warning: {etc / 'smtp.conf'} is not read" in done.stderr


@pytest.mark.parametrize(
    ("text", "arguments", "problem"),
    [
        ("allow_anonymos = true", (), "did you mean 'allow_anonymous'?"),
        ("log_level = 'loud'", (), "log_level"),
        ("= nonsense", (), "sasl.toml:1"),
        ('mech_list = ["PLIAN"]', (), "did you mean 'PLAIN'?"),
        ('plugin_list = ["nobody:PLAIN"]', (), "nobody:PLAIN"),
        ('auxprop_plugin = ["sasldbb"]', (), "did you mean 'sasldb'?"),
        ("[auxprop.sasldb]\npat = 'x'", (), "did you mean 'path'?"),
        ("[auxprop.sasldb]\ntimeout = 'soon'", (), "timeout"),
        ("[auxprop.nowhere]\npath = 'x'", (), "nowhere"),
        ("[mechanisms.PLAIN]\nfoo = 1", (), "takes no options"),
        ("[applications.imap]\nlog_levl = 1", ("--appname", "imap"), "did you mean 'log_level'?"),
        ("log_level = 1", ("--appname", "a/b"), "an application's name"),
    ],
)
def test_whatever_is_wrong_is_named(
    sasl: Sasl, text: str, arguments: tuple[str, ...], problem: str
) -> None:
    """Core keys and plugins' tables alike: the place, the nearest match where there is one, 1."""
    done = check(sasl, text, *arguments)
    assert done.returncode == 1
    assert problem in done.stderr
    assert all(line.startswith("sasl: ") for line in lines(done.stderr))


def test_all_is_told_at_once(sasl: Sasl) -> None:
    """Two plugins with wrong tables and a mechanism that is not there: three lines."""
    done = check(
        sasl,
        'mech_list = ["SCRAM-SHA-256", "NOPE"]\n'
        "[auxprop.sasldb]\npat = 'x'\n[mechanisms.PLAIN]\nfoo = 1\n",
    )
    assert done.returncode == 1
    assert len(done.stderr.splitlines()) == 3


def test_a_mechanism_that_is_listed_and_not_offered(sasl: Sasl) -> None:
    """`mech_list` and `scram_hashes` that contradict each other are told; clients go on."""
    done = check(sasl, 'mech_list = ["SCRAM-SHA-512-PLUS"]\nscram_hashes = ["SHA-256"]\n')
    assert done.returncode == 1
    assert "SCRAM-SHA-512: users have no SHA-512 verifiers" in done.stderr
    assert check(sasl, 'mech_list = ["SCRAM-SHA-512-PLUS"]\n').returncode == 0
    assert check(sasl, 'client_mech_list = ["SCRAM-SHA-1"]\n').stderr == ""


def test_a_canonicaliser_without_its_options_is_a_problem_once_named(sasl: Sasl) -> None:
    """Nobody who does not use map is told of its rules; who names it, or gives it options, is."""
    assert "map" not in check(sasl, "").stderr
    for text in ('canon_user_plugin = "map"', '[canon_user.map]\nprepare = "INTERNAL"'):
        done = check(sasl, text)
        assert done.returncode == 1
        assert "canon_user map: it has no rules" in done.stderr


def test_a_password_method_without_its_extra_is_a_problem_once_named(
    sasl: Sasl, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As with canonicalisers: whoever checks no hashes of other systems hears nothing of it."""

    def nothing(_: str) -> None:
        return None

    monkeypatch.setattr("sasl_pwcheck.hashes.find_spec", nothing)
    done = check(sasl, "")
    assert (done.returncode, done.stderr) == (0, "")
    for text in (
        'pwcheck_method = ["auxprop", "hashes"]',
        "[pwcheck.hashes]\ndecoys = ['SSHA512']\nweak_schemes = ['SSHA512']",
    ):
        done = check(sasl, text)
        assert done.returncode == 1
        assert "hashes" in done.stderr
        assert "pip install 'sasl-core[hashes]'" in done.stderr


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (
            '[[identity_providers]]\nissuer = "https://a"',
            "{file}: identity_providers[0].audience: required",
        ),
        ("""identity_providers = '[{"issuer": 1}]'""", "{file}: identity_providers[0].issuer: "),
        ("identity_providers = '{'", "{file}: identity_providers: the text of"),
        (
            'identity_providers_file = "nowhere.json"',
            "identity_providers: {folder}/nowhere.json: there is",
        ),
        (
            'identity_providers_file = "p.json"',
            "{folder}/p.json: identity_providers[0].audienc: unkn",
        ),
    ],
)
def test_wrong_identity_providers_are_a_problem(sasl: Sasl, text: str, told: str) -> None:
    """Once, and not for each mechanism that takes tokens; whatever the mechanisms are."""
    (sasl.folder / "p.json").write_text('[{"issuer": "https://a", "audienc": "b"}]')
    told = told.format(file=sasl.folder / "sasl.toml", folder=sasl.folder)
    for more in ("", 'mech_list = ["PLAIN"]\n'):
        done = check(sasl, more + text)
        assert done.returncode == 1
        (line,) = done.stderr.splitlines()
        assert line.startswith(f"sasl: {told}")


PROVIDER = """
[[identity_providers]]
issuer = "https://id.example.com/{name}"
audience = "mail"
clientId = "{client}"
authNamePrefix = "{name}"
authorizationClaim = "groups"
matchPattern = "{name}"
"""


@pytest.mark.parametrize(
    ("names", "told"),
    [("a", "  1 identity provider read\n"), ("ab", "  2 identity providers read\n")],
)
def test_identity_providers_are_counted(sasl: Sasl, names: str, told: str) -> None:
    """So that one sees that they were found; where there are none, nothing is said."""
    done = check(sasl, "".join(PROVIDER.format(name=name, client="shell") for name in names))
    assert (done.returncode, done.stderr) == (0, "")
    assert told in done.stdout
    assert "identity provider" not in check(sasl, "").stdout


def test_what_a_server_warns_of_its_providers_is_a_warning(sasl: Sasl) -> None:
    """An audience that is the client's own: ID tokens could pass for access tokens. Said once."""
    done = check(sasl, PROVIDER.format(name="a", client="mail"))
    assert done.returncode == 0
    (line,) = done.stderr.splitlines()
    assert line.startswith("sasl: warning: the audience 'mail' at https://id.example.com/a is ")


def test_a_source_of_credentials_without_its_options_is_a_problem_once_named(sasl: Sasl) -> None:
    """Whoever fetches no tokens hears nothing of it."""
    done = check(sasl, "")
    assert (done.returncode, done.stderr) == (0, "")
    done = check(sasl, 'credentials_plugin = "token_file"')
    assert done.returncode == 1
    assert "sasl: credentials token_file: the option path is missing" in done.stderr
    done = check(sasl, 'credentials_plugin = "token_file"\n[credentials.token_file]\npath = "a"')
    assert (done.returncode, done.stderr) == (0, "")


VAULT = """
from sasl_core.plugin import CredentialsPlug, hookimpl, record

SASL_PLUGIN_API = 1

@record
class Options:
    url: str

class Vault(CredentialsPlug):
    name = "vault"

    def token(self, request):
        yield from ()

@hookimpl
def sasl_credentials_init(utils):
    utils.options(Options)
    return [Vault()]
"""


def test_a_strangers_source_that_lacks_its_options_is_a_problem_once_named(sasl: Sasl) -> None:
    """As ours: it may ask for its options at once, and whoever does not name it hears nothing."""
    sasl.module("vault", VAULT)
    sasl.install("the-vault", ("credentials", "vault", "vault"))
    done = check(sasl, "")
    assert (done.returncode, done.stderr) == (0, "")
    assert "the option is missing" in listed(sasl)["credentials", "vault"]["reason"]
    for text, told in (
        ('credentials_plugin = "vault"', "the option is missing"),
        ("[credentials.vault]\nur = 'x'", "did you mean 'url'?"),
    ):
        done = check(sasl, text)
        assert done.returncode == 1
        (line,) = done.stderr.splitlines()
        assert line.startswith("sasl: credentials vault: ")
        assert told in line
    assert check(sasl, "[credentials.vault]\nurl = 'x'").returncode == 0
    # What is broken is a warning still.
    sasl.module("vault", VAULT.replace("utils.options(Options)", "raise ValueError"))
    assert "warning: credentials vault: " in check(sasl, "").stderr


def test_values_are_not_shown(sasl: Sasl) -> None:
    """What stands in a file may be a secret: an error names the key, not the value."""
    for text in (
        f"[auxprop.sasldb]\ntimeout = '{PASSWORD}'",
        f"[auxprop.sasldb]\npassword = '{PASSWORD}'",
        f"allow_anonymous = '{PASSWORD}'",
        f"'{PASSWORD}",
    ):
        assert check(sasl, text).returncode == 1


def test_a_file_that_is_not_there(sasl: Sasl) -> None:
    """--config of nothing is an error; it does not fall back on the defaults."""
    done = sasl.run("config", "check", "--config", "nowhere.toml")
    assert done.returncode == 1
    assert "there is no such file" in done.stderr


def test_a_broken_plugin_that_nothing_refers_to_is_a_warning(sasl: Sasl) -> None:
    """It spoils no configuration that does not name it, and does one that does."""
    sasl.module("broken_one", BROKEN)
    sasl.install("broken-one", ("mechanisms", "X-BROKEN", "broken_one"))
    done = check(sasl, 'mech_list = ["PLAIN"]')
    assert done.returncode == 0
    assert "warning: mechanisms X-BROKEN: " in done.stderr
    done = check(sasl, 'mech_list = ["PLAIN", "X-BROKEN"]')
    assert done.returncode == 1
    assert "sasl: mechanisms X-BROKEN: " in done.stderr


# --- sasl plugins ---------------------------------------------------------------------------


def listed(sasl: Sasl, *arguments: str) -> dict[tuple[str, str], dict[str, Any]]:
    """What `sasl plugins --json` tells, by kind and name."""
    done = sasl.run("plugins", "--json", *arguments)
    assert done.returncode == 0
    return {(row["kind"], row["name"]): row for row in json.loads(done.stdout)}


def test_the_built_ins_are_all_there(sasl: Sasl) -> None:
    """What this distribution declares is listed; every one works, or says what it waits for."""
    from importlib.metadata import distribution

    rows = listed(sasl)
    declared = {
        (point.group.removeprefix("sasl_core."), point.name)
        for point in distribution("sasl-core").entry_points
        if point.group.startswith("sasl_core.")
    }
    assert set(rows) == declared
    assert all(row["distribution"] == "sasl-core" for row in rows.values())
    assert "canon_user.map.rules" in str(rows["canon_user", "map"]["reason"])
    assert {key for key, row in rows.items() if not row["available"]} == WITHOUT_OPTIONS
    scram = rows["mechanisms", "SCRAM-SHA-256"]
    assert scram["api"] == 1
    assert scram["sides"] == ["client", "server"]
    assert {"NOPLAINTEXT", "MUTUAL_AUTH"} <= set(scram["flags"])
    assert "CHANNEL_BINDING" in scram["features"]
    assert scram["reason"] is None
    legacy = rows["mechanisms", "SCRAM-SHA-1"]
    assert (legacy["available"], legacy["sides"]) == (True, ["client"])
    assert "scram_hashes" in legacy["reason"]
    assert "NOPLAINTEXT" not in rows["mechanisms", "PLAIN"]["flags"]


def test_the_table_fits_a_terminal_and_says_it_all(sasl: Sasl) -> None:
    """Every name, flag and feature of the JSON is in the table, within 80 columns."""
    done = sasl.run("plugins")
    shown = set(done.stdout.split())
    assert (done.returncode, done.stderr) == (0, "")
    assert max(map(len, lines(done.stdout))) <= 80
    assert "\x1b" not in done.stdout
    assert "who is let in: none" in done.stdout
    for (kind, name), row in listed(sasl).items():
        assert {kind, name, *row["flags"], *row["features"]} <= shown


@pytest.mark.parametrize("reason", [None, "its reader is not plugged in"])
def test_who_may_attest_is_told(sasl: Sasl, reason: str | None) -> None:
    """A mechanism that decides on its own says so; one that cannot work here says why."""
    sasl.module("badge", ATTESTING.format(reason=reason))
    sasl.install("badge-reader", ("mechanisms", "X-BADGE", "badge"))
    row = listed(sasl)["mechanisms", "X-BADGE"]
    assert row["attests"] is True
    assert row["sides"] == ["server"]
    assert (row["available"], row["reason"]) == (reason is None, reason)
    table = " ".join(sasl.run("plugins").stdout.split())
    assert (f"not usable: {reason}" if reason else "attests: decides on its own") in table
    assert "who is let in: X-BADGE" in table


def test_broken_plugins_are_listed_with_their_reason(sasl: Sasl) -> None:
    """A newer interface, a failing import, a malformed name, a claim of two: each told."""
    sasl.module("newer", BROKEN)
    sasl.module("failing", f"raise ValueError({PASSWORD!r})")
    sasl.install("newer", ("mechanisms", "X-NEWER", "newer"))
    sasl.install("failing", ("auxprop", "failing", "failing"), ("mechanisms", "lower", "failing"))
    sasl.install("one", ("profiles", "imap", "one"))
    sasl.install("two", ("profiles", "imap", "two"))
    rows = listed(sasl)
    assert "plugin interface 99" in str(rows["mechanisms", "X-NEWER"]["reason"])
    assert "ValueError" in str(rows["auxprop", "failing"]["reason"])
    assert "no mechanism name" in str(rows["mechanisms", "lower"]["reason"])
    assert "'two'" in str(rows["profiles", "imap"]["reason"])
    assert rows["mechanisms", "PLAIN"]["available"]
    table = sasl.run("plugins")
    assert table.returncode == 0
    assert table.stdout.count("not usable") == 5 + len(WITHOUT_OPTIONS)


def test_a_wrong_configuration_does_not_hide_the_plugins(sasl: Sasl) -> None:
    """The list is there to find out what is wrong: it goes on with the defaults, and says so."""
    file = sasl.folder / "wrong.toml"
    file.write_text("allow_anonymos = true\n")
    done = sasl.run("plugins", "--config", str(file))
    assert done.returncode == 0
    assert "allow_anonymous" in done.stderr
    assert "SCRAM-SHA-256" in done.stdout
