"""The flat form: lines, keys, Cyrus's names, and what is refused with its line."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from pathlib import Path

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sasl_core.conf_flat import parse_flat
from sasl_core.conf_values import Settings
from sasl_core.config import Configuration
from sasl_core.errors import ConfigError
from sasl_core.options import CORE_KEYS

INSTALLED: Mapping[str, Collection[str]] = {
    "mechanisms": ["PLAIN", "SCRAM-SHA-256"],
    "auxprop": ["sasldb", "ldap"],
    "pwcheck": ["ldap"],
    "profiles": ["smtp", "smtp_proxy"],
}


def load(tmp_path: Path, text: str | bytes) -> Configuration:
    file = tmp_path / "smtp.conf"
    file.write_bytes(text if isinstance(text, bytes) else text.encode())
    return Configuration.load("smtp", path=file, declared=lambda: INSTALLED)


def refused(tmp_path: Path, text: str | bytes) -> ConfigError:
    with pytest.raises(ConfigError) as caught:
        load(tmp_path, text)
    assert caught.value.file == str(tmp_path / "smtp.conf")
    return caught.value


def outcome(text: str) -> Settings | ConfigError:
    """What a text makes; any error but ours goes through."""
    try:
        return parse_flat(text, "smtp.conf", lambda: INSTALLED)
    except ConfigError as error:
        return error


@attrs.define
class Options:
    """What a plugin of these tests takes."""

    path: str = ""
    timeout: float = 0.0
    rounds: int = 0
    on: bool = False
    hosts: tuple[str, ...] = ()


def test_lines_blanks_and_comments(tmp_path: Path) -> None:
    """Comments stand alone; a value goes to the end of its line, blanks around it apart."""
    made = load(
        tmp_path,
        "# a comment: of one line\n\n  \t\n\t # another\r\n"
        "  user_realm:\texample.com \t\r\n"
        "sasldb_path:/var/lib/users # 1.db\n"
        "mech_list: PLAIN\nlog_level: 3",
    )
    assert made.core.user_realm == "example.com"
    assert made.core.mech_list == ("PLAIN",)
    assert made.core.log_level == 3
    assert made.plugin_options("auxprop", "sasldb", Options).path == "/var/lib/users # 1.db"
    assert made.applications == ()


def test_an_empty_file_is_all_defaults(tmp_path: Path) -> None:
    """A file of no line is no mistake."""
    assert load(tmp_path, "").core == Configuration.from_mapping({}, "smtp").core


@pytest.mark.parametrize("word", ["yes", "Y", "true", "t", "ON", "1"])
def test_words_for_true(tmp_path: Path, word: str) -> None:
    """Cyrus's words for true, in any case."""
    assert load(tmp_path, f"allow_anonymous: {word}").core.allow_anonymous is True


@pytest.mark.parametrize("word", ["no", "N", "false", "F", "off", "0"])
def test_words_for_false(tmp_path: Path, word: str) -> None:
    """Cyrus's words for false, in any case."""
    made = load(tmp_path, f"sasldb_on: {word}\nallow_anonymous: {word}\nauto_transition: {word}")
    assert made.core == Configuration.from_mapping({}, "smtp").core
    assert made.plugin_options("auxprop", "sasldb", Options).on is False


@pytest.mark.parametrize(
    ("key", "kind", "name", "expected"),
    [
        ("sasldb_path: a b", "auxprop", "sasldb", Options(path="a b")),
        ("sasldb_timeout: 2.5", "auxprop", "sasldb", Options(timeout=2.5)),
        ("smtp_timeout: 3", "profiles", "smtp", Options(timeout=3.0)),
        ("smtp_proxy_timeout: 1e2", "profiles", "smtp_proxy", Options(timeout=100.0)),
        ("SCRAM-SHA-256_rounds: 5000", "mechanisms", "SCRAM-SHA-256", Options(rounds=5000)),
        ("scram-sha-256_Rounds: +5", "mechanisms", "SCRAM-SHA-256", Options(rounds=5)),
        ("plain_on: T", "mechanisms", "PLAIN", Options(on=True)),
        ("smtp_hosts: a  b", "profiles", "smtp", Options(hosts=("a", "b"))),
    ],
)
def test_an_option_of_a_plugin(
    tmp_path: Path, key: str, kind: str, name: str, expected: Options
) -> None:
    """`<entry point>_<option>`, the longest name that fits, in any case."""
    made = load(tmp_path, key)
    assert made.plugin_options(kind, name, Options) == expected
    assert made.plugin_options(kind, "another", Options) == Options()


@pytest.mark.parametrize(
    ("line", "key", "problem"),
    [
        ("no colon here", None, "expected a line 'key: value'"),
        (": value", None, "expected a line 'key: value'"),
        ("mech_list : PLAIN", None, "expected a line 'key: value'"),
        ("{json: 1}", None, "expected a line 'key: value'"),
        ("mech_list:", "mech_list", "the key has no value"),
        ("mech_list: \t ", "mech_list", "the key has no value"),
        ("mech_list: PL\0AIN", None, "the line has a control character"),
        ("mech_list: a\rb", None, "the line has a control character"),
        ("mech_lst: PLAIN", "mech_lst", "unknown key; did you mean 'mech_list'?"),
        ("sasldbpath: x", "sasldbpath", "did you mean 'sasldb_path'?"),
        ("plain_: x", "plain_", "unknown key"),
        ("allow_anonymous: perhaps", "allow_anonymous", "expected yes or no"),
        ("min_ssf: 0x10", "min_ssf", "expected a whole number from 0 to 65536"),
        ("min_ssf: ١", "min_ssf", "expected a whole number"),
        ("log_level: 8", "log_level", "expected none, error"),
        ("auto_transition: perhaps", "auto_transition", "expected no, yes, noplain"),
        ("mech_list: PLAIN, LOGIN", "mech_list", "not 'PLAIN,'"),
        (
            "ldap_uri: x",
            "ldap_uri",
            "ambiguous; write a sasl.toml with [auxprop.ldap] or [pwcheck.ldap]",
        ),
        (
            "saslauthd_path: /run",
            "saslauthd_path",
            "the pwcheck method saslauthd, not supported here yet",
        ),
        ("sql_passwd: hunter2", "sql_passwd", "the property store sql, not supported here yet"),
        ("ldapdb_pw: hunter2", "ldapdb_pw", "the property store ldapdb, not supported here yet"),
        ("Keytab: /etc/krb5.keytab", "keytab", "GSSAPI, not supported here yet"),
        ("scram_secret_generate: yes", "scram_secret_generate", "not needed"),
    ],
)
def test_a_bad_line(tmp_path: Path, line: str, key: str | None, problem: str) -> None:
    """The error has file, line and key; of the line itself only public words are shown."""
    error = refused(tmp_path, f"# one\n\n{line}\nmaxbufsize: 0\n")
    assert (error.line, error.key) == (3, key)
    assert problem in error.problem
    where = f"{tmp_path / 'smtp.conf'}:3: "
    assert str(error) == where + (f"{key}: " if key else "") + error.problem
    assert "hunter2" not in str(error)


def test_a_key_comes_once(tmp_path: Path) -> None:
    """The second of two equal keys is refused, whatever its case, and the first one named."""
    error = refused(tmp_path, "mech_list: PLAIN\n\nMECH_LIST: PLAIN\n")
    assert (error.line, error.key) == (3, "mech_list")
    assert error.problem == "the key was given before, on line 1"


def test_two_keys_that_exclude_each_other_have_a_line(tmp_path: Path) -> None:
    """A check of two keys blames the line of one."""
    error = refused(tmp_path, "max_ssf: 1\nmin_ssf: 2\n")
    assert (error.line, error.key) == (2, "min_ssf")


def test_an_unknown_option_of_a_known_plugin(tmp_path: Path) -> None:
    """The plugin's own schema refuses it, with its line and the nearest option."""
    made = load(tmp_path, "\nsasldb_pth: hunter2\n")
    with pytest.raises(ConfigError) as caught:
        made.plugin_options("auxprop", "sasldb", Options)
    assert str(caught.value) == (
        f"{tmp_path / 'smtp.conf'}:2: sasldb_pth: unknown option 'pth'; did you mean 'path'?"
    )


@pytest.mark.parametrize("line", ["sasldb_rounds: 1.5", "sasldb_timeout: nan", "sasldb_on: si"])
def test_a_wrong_type_for_a_plugin(tmp_path: Path, line: str) -> None:
    """A value that the option's type cannot have is refused without being shown."""
    made = load(tmp_path, line)
    with pytest.raises(ConfigError, match="expected") as caught:
        made.plugin_options("auxprop", "sasldb", Options)
    assert caught.value.line == 1
    assert line.partition(": ")[2] not in caught.value.problem


def test_the_plugins_are_listed_only_for_a_key_that_needs_them(tmp_path: Path) -> None:
    """Core keys and Cyrus's own names are read without looking for plugins."""

    def never() -> Mapping[str, Collection[str]]:
        raise AssertionError

    file = tmp_path / "smtp.conf"
    file.write_text("mech_list: PLAIN\nsasldb_path: /x\n")
    made = Configuration.load("smtp", path=file, declared=never)
    assert made.plugin_options("auxprop", "sasldb", Options).path == "/x"


def test_the_installed_plugins_are_known(tmp_path: Path) -> None:
    """Without a list of names the entry points of what is installed are asked."""
    file = tmp_path / "smtp.conf"
    file.write_text("sasldb_timeout: 5\n")
    made = Configuration.load("smtp", path=file)
    assert made.plugin_options("auxprop", "sasldb", Options).timeout == 5.0


def test_an_option_of_a_plugin_goes_before_a_name_of_cyrus(tmp_path: Path) -> None:
    """Who installs a plugin `sql` may use `sql_...` for its options."""
    file = tmp_path / "smtp.conf"
    file.write_text("sql_path: /x\n")
    made = Configuration.load("smtp", path=file, declared=lambda: {"auxprop": ["sql"]})
    assert made.plugin_options("auxprop", "sql", Options).path == "/x"


LINES = st.text(max_size=20) | st.builds(
    "{}: {}".format, st.sampled_from([*CORE_KEYS, "sasldb_path", "plain_on"]), st.text(max_size=12)
)


@given(st.lists(LINES, max_size=5).map("\n".join))
def test_any_text_is_read_or_refused_with_its_place(text: str) -> None:
    """No text makes another exception than ours, and each says file and line."""
    made = outcome(text)
    if isinstance(made, ConfigError):
        assert made.file == "smtp.conf"
        assert made.line is not None
        assert 1 <= made.line <= text.count("\n") + 1
        assert str(made).isprintable()
    else:
        assert made.core.keys() <= CORE_KEYS.keys()


PRINTED = st.text(st.characters(exclude_categories=["Cs", "Cc"]), min_size=1)


@given(PRINTED.filter(lambda value: value.strip(" ")))
def test_a_value_arrives_as_it_was_written(value: str) -> None:
    """Every character is kept, blanks around the value apart."""
    settings = parse_flat(f"sasldb_path: {value}\t", "smtp.conf", lambda: INSTALLED)
    assert settings.plugins["auxprop", "sasldb"]["path"].value == value.strip(" ")
