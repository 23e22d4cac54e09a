"""Tables: what goes before what, which keys there are, and which plugins are missing."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import cast

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sasl_core.config import Configuration, CoreOptions
from sasl_core.errors import ConfigError, UsageError
from sasl_core.options import CORE_KEYS
from sasl_core.results import Result


def load_toml(tmp_path: Path, text: str, appname: str = "smtp") -> Configuration:
    file = tmp_path / "sasl.toml"
    file.write_text(text, "utf-8")
    return Configuration.load(appname, path=file)


def outcome(tables: Mapping[str, object]) -> Configuration | ConfigError:
    """What a mapping makes; any error but ours goes through."""
    try:
        return Configuration.from_mapping(tables, "smtp")
    except ConfigError as error:
        return error


def refused(tables: Mapping[str, object], appname: str = "smtp") -> ConfigError:
    """The error that a mapping meets."""
    with pytest.raises(ConfigError) as caught:
        Configuration.from_mapping(tables, appname)
    assert caught.value.result is Result.CONFIGERR
    return caught.value


def test_an_application_goes_before_all(tmp_path: Path) -> None:
    """A key of [applications.NAME] replaces the same key for that application only."""
    text = """
    mech_list = ["PLAIN"]
    user_realm = "example.com"
    [applications.imap]
    mech_list = ["SCRAM-SHA-256"]
    [applications.pop]
    log_level = "no such level, and nobody asks"
    """
    imap = load_toml(tmp_path, text, "imap")
    assert imap.core.mech_list == ("SCRAM-SHA-256",)
    assert imap.core.user_realm == "example.com"
    assert imap.applications == ("imap", "pop")
    assert load_toml(tmp_path, text, "smtp").core.mech_list == ("PLAIN",)
    with pytest.raises(ConfigError, match=r"applications\.pop\.log_level: expected"):
        load_toml(tmp_path, text, "pop")


@pytest.mark.parametrize(
    ("tables", "key", "problem"),
    [
        ({"mech_lst": []}, "mech_lst", "unknown key; did you mean 'mech_list'?"),
        ({"application": {}}, "application", "did you mean 'applications'?"),
        ({"mechanism": {}}, "mechanism", "did you mean 'mechanisms'?"),
        ({"zzzzzz": 1}, "zzzzzz", "unknown key"),
        (
            {"applications": {"smtp": {"min_sf": 1}}},
            "applications.smtp.min_sf",
            "did you mean 'min_ssf'?",
        ),
        (
            {"applications": {"smtp": {"applications": {}}}},
            "applications.smtp.applications",
            "unknown",
        ),
        ({"applications": []}, "applications", "expected a table"),
        ({"applications": {"imap": 1}}, "applications.imap", "expected a table"),
        ({"auxprop": "sasldb"}, "auxprop", "expected a table"),
        ({"auxprop": {"sasldb": "x"}}, "auxprop.sasldb", "expected a table"),
        ({"auxprop": {3: {}}}, "auxprop", "the keys of a table are text"),
        ({3: 4}, None, "the keys of a table are text"),
        ({"sasldb_path": "x"}, "sasldb_path", "the key 'path' of the table [auxprop.sasldb]"),
        ({"saslauthd_path": "x"}, "saslauthd_path", "not supported here yet"),
        ({"oidcIdentityProviders": []}, "oidcIdentityProviders", "the key 'identity_providers'"),
        ({"a\nb\x00": 1}, "a\\nb\\x00", "unknown key"),
    ],
)
def test_what_no_table_holds(tables: Mapping[str, object], key: str | None, problem: str) -> None:
    """An unknown key is refused with the nearest one, a known one that is unsupported says so."""
    error = refused(tables)
    assert error.key == key
    assert problem in error.problem


def test_a_mapping_that_is_none() -> None:
    """Anything else than a mapping is told so in our own words."""
    assert refused(cast("Mapping[str, object]", [1])).problem == "expected a table"


def test_a_caller_who_changes_its_list_changes_nothing() -> None:
    """A configuration keeps what it was given, not the caller's list."""
    names = ["PLAIN"]
    options = {"names": names}
    made = Configuration.from_mapping({"mech_list": names, "audit": {"file": options}}, "smtp")
    names.append("LOGIN")
    options["more"] = []

    @attrs.define
    class Schema:
        names: tuple[str, ...]

    assert made.core.mech_list == ("PLAIN",)
    assert made.plugin_options("audit", "file", Schema).names == ("PLAIN",)


@pytest.mark.parametrize(
    "name",
    ["", "../etc/passwd", "a/b", "a\\b", ".", "..", ".smtp", "a\0b", "x" * 32_768, "\ud800", 3],
)
def test_a_name_of_an_application_that_is_no_file_name(name: str) -> None:
    """A name that could lead elsewhere is the caller's mistake, and never opened."""
    with pytest.raises(UsageError, match="an application's name"):
        Configuration.load(name, search=[])
    with pytest.raises(UsageError, match="an application's name"):
        Configuration.from_mapping({}, name)


def test_what_is_named_and_not_installed() -> None:
    """Tables and lists that name a missing plugin are found, each with the nearest name."""
    installed = {
        "mechanisms": ["PLAIN", "SCRAM-SHA-256"],
        "auxprop": ["sasldb"],
        "canon_user": ["INTERNAL"],
    }
    fine = {"mech_list": "SCRAM-SHA-256-PLUS PLAIN", "auxprop": {"sasldb": {"path": "x"}}}
    assert Configuration.from_mapping(fine, "smtp").missing_plugins(installed) == ()
    tables = {
        "mech_list": "PLAIN SCRAM-SHA-1",
        "pwcheck_method": "auxprop saslauthd",
        "auxprop_plugin": "sasldb",
        "auxprop": {"sasdb": {"path": "hunter2"}},
    }
    errors = Configuration.from_mapping(tables, "smtp").missing_plugins(installed)
    assert [str(error) for error in errors] == [
        "auxprop.sasdb: no plugin 'sasdb' is installed; did you mean 'sasldb'?",
        "mech_list: no plugin 'SCRAM-SHA-1' is installed; did you mean 'SCRAM-SHA-256'?",
        "pwcheck_method: no plugin 'saslauthd' is installed",
    ]


SCALARS = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=8)
    | st.binary(max_size=4)
)
NAMES = st.sampled_from(
    [*CORE_KEYS, "applications", "auxprop", "smtp", "sasldb", "sql_user"]
) | st.text(max_size=8)


@given(
    st.dictionaries(
        NAMES,
        st.recursive(
            SCALARS,
            lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES, inner, max_size=3),
            max_leaves=6,
        ),
        max_size=4,
    )
)
def test_any_mapping_is_read_or_refused_in_our_own_words(tables: dict[str, object]) -> None:
    """No mapping makes another exception than ours."""
    made = outcome(tables)
    if isinstance(made, ConfigError):
        assert str(made).isprintable()
    else:
        assert isinstance(made.core, CoreOptions)
