"""docs/configuration.md says what is true."""

from __future__ import annotations

import re
from pathlib import Path

import attrs
import pytest

from sasl_auxprop.memory import MemoryOptions
from sasl_auxprop.sasldb import SasldbOptions
from sasl_canon.map import MapOptions
from sasl_canon.precis import PrecisOptions, Profile
from sasl_core.conf_tables import KINDS
from sasl_core.config import AutoTransition, Configuration, CoreOptions, LogLevel
from sasl_core.core import server
from sasl_core.errors import ConfigError
from sasl_core.flags import DowngradePolicy, SecurityFlag
from sasl_core.options import Rounds

TEXT = (Path(__file__).parents[2] / "docs" / "configuration.md").read_text("utf-8")
ROW = re.compile(r"^\| `(\w+)` \| (.*?) \| (.*?) \| (.*?) \|$", re.MULTILINE)
ROWS = {row[0]: row for row in ROW.findall(TEXT)}
BLOCKS = re.findall(r"^```(toml|conf)\n(.*?)^```$", TEXT, re.MULTILINE | re.DOTALL)


@attrs.define
class Sasldb:
    path: str = ""
    timeout: float = 0.0


def test_every_core_key_is_documented() -> None:
    """The table has one row for each key, no more and no less."""
    assert set(ROWS) == {field.name for field in attrs.fields(CoreOptions)}


@pytest.mark.parametrize("key", list(ROWS))
def test_the_default_is_the_documented_one(key: str) -> None:
    """The column of defaults agrees with what an empty configuration gives."""
    said = ROWS[key][2].strip("`").replace(",", "")
    value = getattr(CoreOptions(), key)
    if isinstance(value, LogLevel):
        assert said == f"{value.name.lower()}` ({value.value})"
    elif isinstance(value, SecurityFlag):
        assert (said, value) == ("none", SecurityFlag.NONE)
    elif isinstance(value, AutoTransition | DowngradePolicy):
        assert said == value.value
    elif isinstance(value, bool):
        assert said == ("yes" if value else "no")
    elif key == "scram_hashes":
        assert said == f"those in `mech_list` else `{server.USUAL_HASH}"
    elif value is None and key.startswith("identity_providers"):
        assert said == "empty"
    elif value is None:
        assert said == "all that are installed"
    else:
        written = " ".join(value) if isinstance(value, tuple) else str(value)
        assert said == (written or "empty")


@pytest.mark.parametrize(
    "key", [key for key, row in ROWS.items() if " to " in row[1] and key != "log_level"]
)
def test_the_bounds_are_the_documented_ones(key: str) -> None:
    """Both bounds are accepted, the numbers beyond are not."""
    numbers = re.findall(r"\d+", ROWS[key][1].replace(",", ""))
    if key == "user_realm":
        assert numbers == ["255"]
        assert Configuration.from_mapping({key: "x" * 255}, "smtp").core.user_realm
        with pytest.raises(ConfigError, match="expected a realm"):
            Configuration.from_mapping({key: "x" * 256}, "smtp")
        return
    low, high = map(int, numbers)
    # The keys that bound this one are moved out of its way.
    others = {
        "scram_iteration_counter": {"scram_iteration_floor": 1, "scram_iteration_cap": 10_000_000},
        "scram_iteration_floor": {"scram_iteration_counter": 1_000_000},
        "scram_iteration_cap": {"scram_iteration_counter": 4096},
    }.get(key, {})
    for value in (low, high - 1, high):
        read = getattr(Configuration.from_mapping({**others, key: value}, "smtp").core, key)
        assert read == (Rounds(value) if isinstance(read, Rounds) else value)
    for value in (low - 1, high + 1):
        with pytest.raises(ConfigError, match=f"from {low} to {high}"):
            Configuration.from_mapping({**others, key: value}, "smtp")


def test_the_two_examples_say_the_same(tmp_path: Path) -> None:
    """The TOML and the flat example give one and the same configuration."""
    made: list[tuple[CoreOptions, Sasldb]] = []
    for form, text in BLOCKS[:2]:
        file = tmp_path / ("sasl.toml" if form == "toml" else "smtp.conf")
        file.write_text(text, "utf-8")
        read = Configuration.load("smtp", path=file)
        made.append((read.core, read.plugin_options("auxprop", "sasldb", Sasldb)))
    assert [form for form, _ in BLOCKS[:2]] == ["toml", "conf"]
    assert made[0] == made[1]
    assert made[0][0].mech_list == ("SCRAM-SHA-256", "PLAIN")
    assert made[0][1] == Sasldb("/var/lib/mail/users.sqlite", 10.0)


def test_the_other_examples_are_read(tmp_path: Path) -> None:
    """Every block of TOML in the text is a configuration."""
    assert len(BLOCKS) > 3
    for form, text in BLOCKS[2:]:
        assert form == "toml"
        (tmp_path / "sasl.toml").write_text(text, "utf-8")
        assert Configuration.load("smtp", path=tmp_path / "sasl.toml").origin.endswith(".toml")


@pytest.mark.parametrize(
    ("table", "schema"),
    [
        ("auxprop.sasldb", SasldbOptions),
        ("auxprop.memory", MemoryOptions),
        ("canon_user.precis", PrecisOptions),
        ("canon_user.map", MapOptions),
    ],
)
def test_the_options_of_the_built_in_plugins(table: str, schema: type[attrs.AttrsInstance]) -> None:
    """The table has each option of the stores and canonicalisers, with its type and default."""
    rows = re.search(
        rf"^\| `\[{re.escape(table)}\]` (.*?)(?=^\| `\[|^$)", TEXT, re.MULTILINE | re.DOTALL
    )
    assert rows is not None
    said = re.findall(r"\| `(\w+)` \| `(\w+)` \| `?(.*?)`? \|", rows[1])
    options = attrs.fields(attrs.resolve_types(schema))
    words = {False: "no", 5.0: "5", None: "none"} | {member: member.value for member in Profile}
    assert said == [
        # A key that may be left out has the type that it has when it is not.
        (
            option.name,
            str(getattr(option.type, "__name__", option.type))
            .removesuffix(" | None")
            .removeprefix("pathlib.")
            .removeprefix("_local."),  # where Python 3.13 has it
            words.get(option.default, option.default),
        )
        for option in options
    ]


@pytest.mark.parametrize("profile", Profile)
def test_the_profiles_of_precis_are_documented(profile: Profile) -> None:
    """The table names each value that the option can have."""
    row = re.search(r"^\| `\[canon_user\.precis\]` .*$", TEXT, re.MULTILINE)
    assert row is not None
    assert f"`{profile.value}`" in row[0]


def test_the_kinds_are_the_documented_ones() -> None:
    """The sentence that lists the kinds of tables lists them all."""
    sentence = re.search(r"The kinds are (.*?)\.\n", TEXT, re.DOTALL)
    assert sentence is not None
    assert tuple(re.findall(r"`(\w+)`", sentence[1])) == KINDS
