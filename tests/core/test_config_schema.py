"""A plugin's options: types, validators, names, and what is never shown."""

from __future__ import annotations

from enum import Enum, IntEnum, IntFlag
from pathlib import Path
from typing import Any, cast

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sasl_core.config import Configuration
from sasl_core.errors import ConfigError, PluginError

SECRET = "hunter2-swordfish"


class Mode(Enum):
    FAST = "fast"
    SAFE = "Safe"


class Level(IntEnum):
    LOW = 1
    HIGH = 2


class Wants(IntFlag):
    NONE = 0
    READ = 1
    WRITE = 2


def no_blank(_: object, __: object, value: str) -> None:
    if " " in value:
        raise ConfigError("a host has no blank")


@attrs.frozen
class Options:
    text: str = "default"
    count: int = attrs.field(default=3, validator=attrs.validators.ge(1))
    ratio: float = 0.5
    on: bool = False
    path: Path | None = None
    mode: Mode = Mode.SAFE
    level: Level = Level.LOW
    wants: Wants = Wants.NONE
    names: tuple[str, ...] = ("a",)
    numbers: tuple[int, ...] = attrs.field(factory=tuple)
    secret: str | None = attrs.field(
        default=None, repr=False, validator=attrs.validators.optional(attrs.validators.min_len(30))
    )
    host: str = attrs.field(default="", validator=no_blank)
    _private: int = 0
    made: int = attrs.field(init=False, default=9)


def read(table: dict[str, Any], schema: type[Any] = Options) -> Any:
    tables = {"credentials": {"vault": table}}
    return Configuration.from_mapping(tables, "smtp").plugin_options("credentials", "vault", schema)


def outcome(table: dict[str, Any]) -> Options | ConfigError:
    """What a table makes; any error but ours goes through."""
    try:
        return cast("Options", read(table))
    except ConfigError as error:
        return error


def refused(table: dict[str, Any], schema: type[Any] = Options) -> ConfigError:
    with pytest.raises(ConfigError) as caught:
        read(table, schema)
    return caught.value


def test_nothing_given_is_all_defaults() -> None:
    """A plugin without a table gets its schema's defaults."""
    assert read({}) == Options()
    made = Configuration.from_mapping({}, "smtp")
    assert made.plugin_options("audit", "none", Options) == Options()


@pytest.mark.parametrize(
    ("key", "value", "expected"),
    [
        ("text", "", ""),
        ("text", "ä", "ä"),
        ("count", 1, 1),
        ("ratio", 2, 2.0),
        ("ratio", 1e-3, 1e-3),
        ("on", True, True),
        ("path", "/x/y", Path("/x/y")),
        ("path", Path("/x"), Path("/x")),
        ("mode", "FAST", Mode.FAST),
        ("mode", "safe", Mode.SAFE),
        ("mode", Mode.FAST, Mode.FAST),
        ("level", "High", Level.HIGH),
        ("level", Level.HIGH, Level.HIGH),
        ("wants", ["read", "WRITE"], Wants.READ | Wants.WRITE),
        ("wants", "write", Wants.WRITE),
        ("wants", [], Wants.NONE),
        ("names", ["b", "c d"], ("b", "c d")),
        ("names", "b c", ("b", "c")),
        ("numbers", [1, 2], (1, 2)),
        ("secret", "x" * 30, "x" * 30),
        ("private", 4, 4),
    ],
)
def test_a_value_of_each_type(key: str, value: object, expected: object) -> None:
    """The value arrives with exactly the type of the field."""
    made = getattr(read({key: value}), "_private" if key == "private" else key)
    assert made == expected
    assert type(made) is type(expected)


@pytest.mark.parametrize(
    ("key", "value", "problem"),
    [
        ("text", 3, "expected text"),
        ("text", b"x", "expected text"),
        ("text", None, "expected text"),
        ("count", "3", "expected a whole number"),
        ("count", True, "expected a whole number"),
        ("count", 3.0, "expected a whole number"),
        ("count", 0, "does not pass the plugin's check (ValueError): <Validator for x >= 1>"),
        ("ratio", "1", "expected a number"),
        ("ratio", False, "expected a number"),
        ("ratio", float("nan"), "expected a finite number"),
        ("ratio", float("inf"), "expected a finite number"),
        ("ratio", 10**400, "expected a finite number"),
        ("on", 1, "expected true or false"),
        ("on", "yes", "expected true or false"),
        ("path", "", "expected a path"),
        ("path", "a\0b", "expected a path"),
        ("path", ["a"], "expected a path"),
        ("mode", "slow", "expected fast, safe"),
        ("mode", 1, "expected fast, safe"),
        ("level", 2, "expected low, high"),
        ("wants", 3, "expected a list"),
        ("wants", ["exec"], "expected read, write"),
        ("names", {"a": 1}, "expected a list"),
        ("names", ["a", 1], "expected text"),
        ("numbers", "1 2", "expected a whole number"),
        ("secret", SECRET, "does not pass the plugin's check (ValueError): <optional validator"),
        ("host", "a b", "a host has no blank"),
        ("txt", 1, "unknown option 'txt'; did you mean 'text'?"),
        ("_private", 1, "unknown option '_private'; did you mean 'private'?"),
        ("made", 1, "unknown option 'made'; did you mean 'mode'?"),
        ("zzzzz", 1, "unknown option 'zzzzz'"),
    ],
)
def test_a_value_that_the_option_cannot_have(key: str, value: object, problem: str) -> None:
    """The error has the path of the key and what was expected, and never the value."""
    error = refused({key: value, "ratio": 0.25} if key != "ratio" else {key: value})
    assert error.key == f"credentials.vault.{key}"
    assert problem in error.problem
    assert SECRET not in str(error)
    assert error.__context__ is None
    assert error.__cause__ is None


def test_an_option_of_the_application_goes_before(tmp_path: Path) -> None:
    """One key of a plugin's table is replaced, the others stay; errors name the deeper one."""
    file = tmp_path / "sasl.toml"
    file.write_text(
        '[auxprop.db]\ncount = 5\ntext = "all"\n'
        '[applications.smtp.auxprop.db]\ntext = "smtp"\n'
        "[applications.imap.auxprop.db]\ntext = 3\n"
    )
    made = Configuration.load("smtp", path=file)
    assert made.plugin_options("auxprop", "db", Options) == Options(text="smtp", count=5)
    assert (
        Configuration.load("pop", path=file).plugin_options("auxprop", "db", Options).text == "all"
    )
    with pytest.raises(ConfigError) as caught:
        Configuration.load("imap", path=file).plugin_options("auxprop", "db", Options)
    assert str(caught.value) == f"{file}: applications.imap.auxprop.db.text: expected text"


def test_an_option_that_must_be_given() -> None:
    """A field without a default is a mandatory key."""

    @attrs.define
    class Schema:
        url: str
        token: str = attrs.field(default="", repr=False)

    error = refused({"token": SECRET}, Schema)
    assert str(error) == "credentials.vault.url: the option is missing"
    assert read({"url": "x"}, Schema) == Schema("x")


def test_a_check_of_several_options() -> None:
    """What several options break together is told of their table; of one key when it is one's."""

    @attrs.define
    class Range:
        low: int = 0
        high: int = 10

        def __attrs_post_init__(self) -> None:
            if self.low > self.high:
                raise ConfigError("low is above high")

    assert str(refused({"low": 7, "high": 5}, Range)) == "credentials.vault: low is above high"
    assert str(refused({"low": 11}, Range)) == "credentials.vault.low: low is above high"

    @attrs.define
    class Needy:
        must: int = attrs.field(validator=attrs.validators.lt(5))
        also: int = 0

    assert refused({"must": 6, "also": 1}, Needy).key == "credentials.vault.must"


def test_a_check_that_breaks() -> None:
    """Whatever a validator raises, the value it speaks of is not repeated."""

    def broken(_: object, __: object, value: str) -> None:
        raise KeyError(value)

    @attrs.define
    class Schema:
        token: str = attrs.field(default="", validator=[broken])

    @attrs.define
    class Always:
        token: str = attrs.field(validator=broken)

    assert "credentials.vault: " in str(refused({}, Schema))
    for schema in (Schema, Always):
        error = refused({"token": SECRET}, schema)
        assert "does not pass the plugin's check (KeyError)" in error.problem
        assert SECRET not in f"{error!r} {error.detail}"


def test_a_schema_that_is_none() -> None:
    """A class that cannot be read from a configuration is its plugin's mistake."""

    class Plain:
        pass

    @attrs.define
    class Odd:
        value: dict[str, int] = attrs.field(factory=dict)

    @attrs.define
    class Union:
        value: int | str = 3

    @attrs.define
    class Unresolved:
        value: NoSuchType = None  # type: ignore[name-defined]  # pyright: ignore[reportUndefinedVariable]  # noqa: F821

    for schema, reason in (
        (Plain, "no attrs class"),
        (cast("type[Any]", Options()), "no attrs class"),
        (Odd, "option 'value' has a type that no configuration can give"),
        (Union, "option 'value' has a type"),
        (Unresolved, "cannot be resolved"),
    ):
        with pytest.raises(PluginError, match=reason) as caught:
            read({}, schema)
        assert caught.value.plugin == "vault"


def test_a_plugin_without_options_is_given_none() -> None:
    """Options of a plugin that reads none are refused, not ignored."""
    made = Configuration.from_mapping({"mechanisms": {"PLAIN": {"x": SECRET}, "LOGIN": {}}}, "smtp")
    made.refuse_options("mechanisms", "LOGIN")
    made.refuse_options("mechanisms", "EXTERNAL")
    with pytest.raises(ConfigError) as caught:
        made.refuse_options("mechanisms", "PLAIN")
    assert str(caught.value) == "mechanisms.PLAIN.x: plugin 'PLAIN' takes no options"


def test_a_configuration_shows_no_value() -> None:
    """The repr of a configuration says whose it is and where it came from."""
    made = Configuration.from_mapping({"audit": {"log": {"token": SECRET}}}, "smtp")
    assert repr(made) == "<Configuration of 'smtp' from mapping>"


FIELDS = st.sampled_from([field.alias or field.name for field in attrs.fields(Options)])
VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=6)
    | st.binary(max_size=3),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=2)
    ),
    max_leaves=4,
)


@given(st.dictionaries(FIELDS | st.text(max_size=5), VALUES, max_size=4))
def test_any_table_is_read_or_refused_in_our_own_words(table: dict[str, object]) -> None:
    """No value of an option makes another exception than ours."""
    made = outcome(table)
    if isinstance(made, ConfigError):
        assert str(made).isprintable()
    else:
        assert isinstance(made, Options)
