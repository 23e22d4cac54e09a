"""The core's keys: the same in every form, their defaults, and what they cannot be."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, cast

import attrs
import pytest

from sasl_core.config import AutoTransition, Configuration, CoreOptions, LogLevel
from sasl_core.errors import ConfigError
from sasl_core.flags import DowngradePolicy, SecurityFlag
from sasl_core.options import CORE_KEYS, Rounds
from sasl_core.results import Result

NO_PLUGINS: Callable[[], Mapping[str, tuple[str, ...]]] = dict

# key, as TOML, as flat text, as Python values, the value that the core reads.
KEYS: list[tuple[str, str, str, list[Any], object]] = [
    (
        "mech_list",
        '["SCRAM-SHA-256-PLUS", "PLAIN"]',
        "scram-sha-256-plus \t PLAIN",
        [
            ["SCRAM-SHA-256-PLUS", "PLAIN"],
            ("SCRAM-SHA-256-PLUS", "PLAIN"),
            "SCRAM-SHA-256-PLUS plain",
        ],
        ("SCRAM-SHA-256-PLUS", "PLAIN"),
    ),
    ("client_mech_list", '["PLAIN"]', "PLAIN", [("PLAIN", "PLAIN")], ("PLAIN",)),
    (
        "plugin_list",
        '["PLAIN", "other-dist:LOGIN"]',
        "PLAIN other-dist:LOGIN",
        ["PLAIN other-dist:LOGIN"],
        ("PLAIN", "other-dist:LOGIN"),
    ),
    ("log_level", '"debug"', "5", [5, "debug", "Debug", LogLevel.DEBUG], LogLevel.DEBUG),
    ("pwcheck_method", '["auxprop", "pam"]', "auxprop pam", ["auxprop pam"], ("auxprop", "pam")),
    (
        "auxprop_plugin",
        '["memory", "sasldb"]',
        "memory sasldb",
        [["memory", "sasldb"]],
        ("memory", "sasldb"),
    ),
    ("auto_transition", "true", "yes", ["yes", True], AutoTransition.YES),
    (
        "auto_transition",
        '"noplain"',
        "NoPlain",
        [AutoTransition.NOPLAIN, "noplain"],
        AutoTransition.NOPLAIN,
    ),
    ("canon_user_plugin", '"LDAP"', "LDAP", ["LDAP"], "LDAP"),
    (
        "scram_hashes",
        '["SHA-256", "sha3-512"]',
        "sha-256 SHA3-512",
        ["SHA-256 SHA3-512"],
        ("SHA-256", "SHA3-512"),
    ),
    ("scram_iteration_counter", "20_000", "20000", [20_000, [20_000]], Rounds(20_000)),
    (
        "scram_iteration_counter",
        '[20_000, "SHA-1:10000", "sha-512:30000"]',
        "20000 sha-1:10000 SHA-512:30000",
        [[20_000, "SHA-1:10000", "SHA-512:30000"], ("SHA-1:10000", "SHA-512:30000", 20_000)],
        Rounds(20_000, (("SHA-1", 10_000), ("SHA-512", 30_000))),
    ),
    (
        "scram_iteration_counter",
        '"SHA-1:10000"',
        "SHA-1:10000",
        ["SHA-1:10000"],
        Rounds(15_000, (("SHA-1", 10_000),)),
    ),
    ("scram_iteration_floor", "8192", "8192", [8192], Rounds(8192)),
    ("scram_iteration_floor", '"SHA-1:1"', "SHA-1:1", [["SHA-1:1"]], Rounds(4096, (("SHA-1", 1),))),
    ("scram_iteration_cap", "2_000_000", "2000000", [2_000_000], Rounds(2_000_000)),
    (
        "scram_iteration_cap",
        '"SHA-512:20000"',
        "SHA-512:20000",
        [["SHA-512:20000"]],
        Rounds(1_000_000, (("SHA-512", 20_000),)),
    ),
    (
        "scram_downgrade_protection",
        '"want"',
        "Want",
        ["want", DowngradePolicy.WANT],
        DowngradePolicy.WANT,
    ),
    ("scram_downgrade_protection", '"require"', "require", ["REQUIRE"], DowngradePolicy.REQUIRE),
    ("min_ssf", "56", "56", [56], 56),
    ("max_ssf", "256", "256", [256], 256),
    (
        "security_flags",
        '["noplaintext", "mutual_auth"]',
        "noplaintext Mutual-Auth",
        [SecurityFlag.NOPLAINTEXT | SecurityFlag.MUTUAL_AUTH, ["noplaintext", "mutual_auth"]],
        SecurityFlag.NOPLAINTEXT | SecurityFlag.MUTUAL_AUTH,
    ),
    ("maxbufsize", "0", "0", [0], 0),
    ("allow_anonymous", "true", "on", [True], True),
    ("allow_cleartext", "true", "1", [True], True),
    ("allow_unencrypted_scram", "true", "T", [True], True),
    ("user_realm", '"example.com"', "example.com", ["example.com"], "example.com"),
    ("credentials_plugin", '"token_file"', "token_file", ["token_file"], "token_file"),
    (
        "identity_providers",
        """'[{"issuer": "x"}]'""",
        '[{"issuer": "x"}]',
        ['[{"issuer": "x"}]'],
        '[{"issuer": "x"}]',
    ),
    ("identity_providers_file", '"/idps.json"', "/idps.json", [Path("/idps.json")], "/idps.json"),
]


def load_toml(tmp_path: Path, text: str, appname: str = "smtp") -> Configuration:
    file = tmp_path / "sasl.toml"
    file.write_text(text, "utf-8")
    return Configuration.load(appname, path=file)


def refused(tables: Mapping[str, object], appname: str = "smtp") -> ConfigError:
    """The error that a mapping meets."""
    with pytest.raises(ConfigError) as caught:
        Configuration.from_mapping(tables, appname)
    assert caught.value.result is Result.CONFIGERR
    return caught.value


def test_every_key_is_tried_here() -> None:
    """The table of converters, the fields of CoreOptions and the cases above name the same keys."""
    fields = {field.name for field in attrs.fields(CoreOptions)}
    assert fields == set(CORE_KEYS) == {case[0] for case in KEYS}


@pytest.mark.parametrize(("key", "toml", "flat", "values", "expected"), KEYS)
def test_a_key_is_the_same_in_every_form(
    tmp_path: Path, key: str, toml: str, flat: str, values: list[Any], expected: object
) -> None:
    """sasl.toml, the flat file and a mapping give the same options, changed in that key alone."""
    wanted = CoreOptions(**cast("dict[str, Any]", {key: expected}))
    assert wanted != CoreOptions()
    assert load_toml(tmp_path, f"{key} = {toml}\n").core == wanted
    conf = tmp_path / "smtp.conf"
    conf.write_text(f"{key}: {flat}\n", "utf-8")
    assert Configuration.load("smtp", path=conf, declared=NO_PLUGINS).core == wanted
    for value in values:
        read = Configuration.from_mapping({key: value}, "smtp").core
        assert read == wanted
        assert type(getattr(read, key)) is type(expected)


def test_the_defaults_are_the_safe_ones() -> None:
    """With nothing configured every mechanism may be used that needs no permission."""
    core = Configuration.from_mapping({}, "smtp").core
    assert core == CoreOptions(
        mech_list=None,
        client_mech_list=None,
        plugin_list=(),
        log_level=4,
        pwcheck_method=("auxprop",),
        auxprop_plugin=("sasldb",),
        auto_transition=AutoTransition.NO,
        canon_user_plugin="INTERNAL",
        scram_hashes=None,
        scram_iteration_counter=Rounds(15_000),
        scram_iteration_floor=Rounds(4096),
        scram_iteration_cap=Rounds(1_000_000),
        scram_downgrade_protection=DowngradePolicy.OFF,
        min_ssf=0,
        max_ssf=65_536,
        security_flags=SecurityFlag.NONE,
        maxbufsize=65_536,
        allow_anonymous=False,
        allow_cleartext=False,
        allow_unencrypted_scram=False,
        user_realm="",
        credentials_plugin="",
        identity_providers=None,
        identity_providers_file=None,
    )


def test_an_empty_list_is_none_of_them() -> None:
    """`mech_list = []` allows no mechanism, which is not the same as leaving it out."""
    assert Configuration.from_mapping({"mech_list": []}, "smtp").core.mech_list == ()


def test_identity_providers_as_tables(tmp_path: Path) -> None:
    """`[[identity_providers]]` and the same as a mapping; what is in them is not looked at."""
    tables = ({"issuer": "https://a", "audience": "b"}, {"issuer": "https://c"})
    text = (
        '[[identity_providers]]\nissuer = "https://a"\naudience = "b"\n'
        '[[identity_providers]]\nissuer = "https://c"\n'
    )
    assert load_toml(tmp_path, text).core.identity_providers == tables
    read = Configuration.from_mapping({"identity_providers": list(tables)}, "smtp")
    assert read.core.identity_providers == tables


def test_the_name_that_mongodb_has_for_identity_providers(tmp_path: Path) -> None:
    """In a flat file `oidcIdentityProviders` is the same key; given twice it is an error."""
    conf = tmp_path / "smtp.conf"
    conf.write_text('oidcIdentityProviders: [{"issuer": "x"}]\n', "utf-8")
    read = Configuration.load("smtp", path=conf, declared=NO_PLUGINS)
    assert read.core.identity_providers == '[{"issuer": "x"}]'
    conf.write_text("oidcIdentityProviders: []\nidentity_providers: []\n", "utf-8")
    with pytest.raises(ConfigError, match="given before"):
        Configuration.load("smtp", path=conf, declared=NO_PLUGINS)


def test_a_file_of_identity_providers_counts_from_its_configuration(tmp_path: Path) -> None:
    """A relative path is one from the directory of the file that names it."""
    read = load_toml(tmp_path, 'identity_providers_file = "idps.json"\n')
    assert read.core.identity_providers_file == str(tmp_path / "idps.json")


@pytest.mark.parametrize("key", ["identity_providers", "identity_providers_file"])
@pytest.mark.parametrize("before", ["identity_providers", "identity_providers_file"])
def test_identity_providers_of_a_command_line_replace_those_of_a_file(
    key: str, before: str
) -> None:
    """Given in whichever way, they take the place of what was configured in either way."""
    configured = Configuration.from_mapping({before: "[]"}, "smtp")
    core = configured.overlaid({key: "[{}]"}).core
    given = {"identity_providers": core.identity_providers} | {
        "identity_providers_file": core.identity_providers_file
    }
    assert given == dict.fromkeys(given) | {key: "[{}]"}


@pytest.mark.parametrize("key", ["identity_providers", "identity_providers_file"])
@pytest.mark.parametrize("before", ["identity_providers", "identity_providers_file"])
def test_identity_providers_of_an_application_replace_those_of_all(key: str, before: str) -> None:
    """In whichever way each is given; both at one level contradict each other."""
    tables: dict[str, object] = {before: "[]", "applications": {"smtp": {key: "[{}]"}}}
    core = Configuration.from_mapping(tables, "smtp").core
    assert getattr(core, key) == "[{}]"
    if key != before:
        assert getattr(core, before) is None
    both = {"identity_providers": "[]", "identity_providers_file": "/x"}
    for given in (both, {"applications": {"smtp": both}}):
        with pytest.raises(ConfigError, match="keep one"):
            Configuration.from_mapping(given, "smtp")


def test_the_level_that_logs_passwords_does_not_exist() -> None:
    """Cyrus's level 7, "pass", is the trace level here."""
    for value in (7, "pass"):
        core = Configuration.from_mapping({"log_level": value}, "smtp").core
        assert core.log_level is LogLevel.TRACE


@pytest.mark.parametrize(
    ("key", "value", "problem"),
    [
        ("mech_list", 3, "expected a list"),
        ("identity_providers", 3, "expected a list"),
        ("identity_providers", [3], "expected an array of tables"),
        ("identity_providers_file", "", "expected a path"),
        ("identity_providers_file", "a\0b", "expected a path"),
        ("identity_providers_file", 3, "expected text"),
        ("credentials_plugin", "a b", "expected the name of a plugin"),
        ("mech_list", ["PLAIN", 3], "expected names of mechanisms, not a int"),
        ("mech_list", "PLAIN,LOGIN", "expected names of mechanisms, not 'PLAIN,LOGIN'"),
        ("mech_list", "A" * 21, "expected names of mechanisms"),
        ("plugin_list", ["a:b:c"], "is neither NAME nor distribution:NAME"),
        ("log_level", 8, "from 0 to 7"),
        ("log_level", True, "from 0 to 7"),
        ("log_level", "loud", "expected none, error, fail, warn, note, debug, trace, pass"),
        ("pwcheck_method", ["sasl db"], "expected the name of a plugin"),
        ("auto_transition", "maybe", "expected no, yes, noplain"),
        ("auto_transition", 1, "expected no, yes, noplain"),
        ("canon_user_plugin", "", "expected the name of a plugin, not ''"),
        ("scram_iteration_counter", 4095, "from 4096 to 1000000"),
        ("scram_iteration_counter", 1_000_001, "from 4096 to 1000000"),
        ("scram_iteration_counter", "15000", "expected a whole number"),
        ("scram_iteration_counter", 15_000.0, "expected a whole number"),
        ("scram_iteration_floor", 0, "from 1 to 1000000"),
        ("scram_iteration_cap", 10_000_001, "from 4096 to 10000000"),
        ("scram_iteration_counter", [15_000, 16_000], "one number of rounds"),
        ("scram_iteration_counter", ["SHA-1:5000", "sha-1:6000"], "SHA-1 has two"),
        ("scram_iteration_counter", "SHA-2:5000", "expected hashes of SCRAM"),
        ("scram_iteration_counter", "SHA-1:many", "expected a whole number"),
        ("scram_iteration_counter", "SHA-1:4095", "from 4096 to 1000000"),
        ("scram_iteration_counter", [[15_000]], "expected a whole number"),
        ("scram_hashes", ["SHA-256", "MD5"], "expected hashes of SCRAM"),
        ("scram_hashes", [["SHA-256"]], "expected hashes of SCRAM"),
        ("scram_hashes", 256, "expected a list"),
        ("scram_downgrade_protection", True, "expected off, want, require"),
        ("min_ssf", -1, "from 0 to 65536"),
        ("max_ssf", 65_537, "from 0 to 65536"),
        ("maxbufsize", 1 << 24, "from 0 to 16777215"),
        ("security_flags", ["noplain"], "expected noplaintext, noactive, nodictionary"),
        ("security_flags", 3, "expected a list"),
        ("allow_anonymous", "yes", "expected true or false"),
        ("allow_cleartext", 1, "expected true or false"),
        ("user_realm", "a@b", "expected a realm"),
        ("user_realm", "a b", "expected a realm"),
        ("user_realm", "a\nb", "expected a realm"),
        ("user_realm", "\ud800", "without half surrogates"),
        ("user_realm", 3, "expected text"),
    ],
)
def test_a_value_that_the_key_cannot_have(key: str, value: object, problem: str) -> None:
    """The error names the key and what was expected."""
    error = refused({key: value})
    assert error.key == key
    assert problem in error.problem
    assert str(error) == f"{key}: {error.problem}"


@pytest.mark.parametrize(
    ("tables", "key"),
    [
        ({"scram_iteration_floor": 20_000}, "scram_iteration_floor"),
        ({"scram_iteration_cap": 10_000}, "scram_iteration_cap"),
        ({"scram_iteration_cap": ["SHA-1:10000"]}, "scram_iteration_cap"),
        ({"scram_iteration_floor": "SHA-512:20000"}, "scram_iteration_floor"),
        ({"min_ssf": 256, "max_ssf": 128}, "min_ssf"),
    ],
)
def test_two_values_that_exclude_each_other(tables: dict[str, object], key: str) -> None:
    """A floor above a ceiling is refused, and blamed on a key that was written."""
    error = refused(tables)
    assert error.key == key
    assert "is above" in error.problem


def test_rounds_that_exclude_each_other_name_the_hash() -> None:
    """Numbers of one hash are compared with each other, whatever the rest has."""
    assert "15000 for SHA-1" in refused({"scram_iteration_cap": "SHA-1:10000"}).problem
    tables = {"scram_iteration_cap": "SHA-1:10000", "scram_iteration_counter": "SHA-1:10000"}
    core = Configuration.from_mapping(tables, "smtp").core
    assert (
        core.scram_iteration_cap.of("SHA-1") == core.scram_iteration_counter.of("SHA-1") == 10_000
    )
    assert core.scram_iteration_counter.of("SHA-256") == 15_000
    assert str(core.scram_iteration_counter) == "15000 SHA-1:10000"


def test_what_a_plugin_was_given_can_be_left_out() -> None:
    """In a copy; the other plugins' tables and the core's keys stay."""
    tables = {"log_level": 5, "auxprop": {"sasldb": {"path": "/one"}, "ldapdb": {"uri": "x"}}}
    loaded = Configuration.from_mapping(tables, "smtp")
    assert loaded.option_given("auxprop", "sasldb", "path") == "/one"
    assert loaded.option_given("auxprop", "sasldb", "other") is None
    assert loaded.option_given("auxprop", "nobody", "path") is None
    without = loaded.without_options("auxprop", "sasldb")
    assert without.plugins_given("auxprop") == {"ldapdb"}
    assert without.core == loaded.core
    assert loaded.plugins_given("auxprop") == {"sasldb", "ldapdb"}


def test_what_is_laid_over_goes_first_key_by_key(tmp_path: Path) -> None:
    """A command line's options replace those of the file, of the application's table too."""
    file = tmp_path / "sasl.toml"
    file.write_text(
        "log_level = 1\nallow_anonymous = true\n"
        "[auxprop.sasldb]\npath = '/one'\ntimeout = 2\n"
        "[applications.imap]\nlog_level = 2\n"
    )
    loaded = Configuration.load("imap", path=file, declared=NO_PLUGINS)
    over = loaded.overlaid({"log_level": 5, "auxprop": {"sasldb": {"path": "/two"}}})

    @attrs.frozen
    class Schema:
        path: str
        timeout: float

    assert (over.core.log_level, over.core.allow_anonymous) == (LogLevel.DEBUG, True)
    assert over.plugin_options("auxprop", "sasldb", Schema) == Schema("/two", 2.0)
    assert (over.appname, over.origin) == ("imap", loaded.origin)
    # What was read stays as it was.
    assert loaded.core.log_level is LogLevel.FAIL
    assert loaded.plugin_options("auxprop", "sasldb", Schema) == Schema("/one", 2.0)


def test_what_is_laid_over_is_checked_with_what_it_covers() -> None:
    """A contradiction between the two, and an unknown key, are ConfigErrors that name the key."""
    loaded = Configuration.from_mapping({"max_ssf": 56}, "imap")
    with pytest.raises(ConfigError, match="min_ssf"):
        loaded.overlaid({"min_ssf": 128})
    with pytest.raises(ConfigError, match="allow_anonymous"):
        loaded.overlaid({"allow_anonymos": True})
