"""docs/reference.md has a heading for everything that has a name, and for nothing else."""

from __future__ import annotations

import re
import typing
from enum import Enum, Flag
from pathlib import Path
from typing import Any

import attrs
import pytest

from sasl_core import Client, Server, flags
from sasl_core.config import Configuration
from sasl_core.errors import PluginError
from sasl_core.facts import ConnectionFacts
from sasl_core.needs import Need, PromptId
from sasl_core.options import CoreOptions
from sasl_core.registry import HOOKS, KINDS

TEXT = (Path(__file__).parents[2] / "docs" / "reference.md").read_text("utf-8")
SECTIONS = dict(re.findall(r"^### (\S+)\n(.*?)(?=^#|\Z)", TEXT, re.MULTILINE | re.DOTALL))
HEADINGS = re.findall(r"^### (.*)$", TEXT, re.MULTILINE)
ENUMS = [*(getattr(flags, name) for name in flags.__all__), PromptId]


def needs() -> dict[str, Any]:
    """Every need of the closed union, by name."""
    return {(typing.get_origin(n) or n).__name__: n for n in typing.get_args(Need)}


def members() -> dict[str, Enum]:
    """Every member of every flag and enumeration of the interface; "none of them" is no member."""
    return {f"{enum.__name__}.{member.name}": member for enum in ENUMS for member in enum}


def plugin_options(monkeypatch: pytest.MonkeyPatch) -> set[str]:
    """kind.plugin.option of every option that an installed plugin of ours asks for."""
    read: set[str] = set()
    original = Configuration.plugin_options

    def spy(self: Configuration, kind: str, name: str, schema: type[Any]) -> Any:
        read.update(f"{kind}.{name}.{field.name}" for field in attrs.fields(schema))
        return original(self, kind, name, schema)

    monkeypatch.setattr(Configuration, "plugin_options", spy)
    config: dict[str, object] = {}
    for owner in (
        Server("reference", "h.example", config=config),
        Client("reference", "h.example", config=config),
    ):
        core = owner.core
        for kind in KINDS:
            if kind in ("profiles", "commands"):
                continue
            for listing in core.registry.listings(kind):
                if listing.distribution == "sasl-core":
                    try:
                        core.plugs.get(kind, listing.name)
                    except PluginError as error:
                        if error.code != "plugin-no-side":
                            raise
        owner.close()
    return read


@pytest.fixture
def expected(monkeypatch: pytest.MonkeyPatch) -> set[str]:
    """All the headings that there have to be."""
    return {
        *needs(),
        *HOOKS.values(),
        *members(),
        *(field.name for field in attrs.fields(CoreOptions)),
        *plugin_options(monkeypatch),
        *typing.get_type_hints(ConnectionFacts),
    }


def test_everything_has_a_heading(expected: set[str]) -> None:
    """Needs, hooks, flags, features, options and facts, collected from the code."""
    assert expected - set(HEADINGS) == set()


def test_no_heading_names_nothing(expected: set[str]) -> None:
    """What was removed from the code is removed from the reference, and nothing is told twice."""
    assert set(HEADINGS) - expected == set()
    assert sorted(HEADINGS) == sorted(set(HEADINGS))


def test_the_collection_finds_what_is_there(expected: set[str]) -> None:
    """One of each kind, so that a collector that has run dry is noticed."""
    assert {
        "NeedCall",
        "sasl_auxprop_init",
        "SecurityFlag.NOPLAINTEXT",
        "Feature.SERVER_FIRST",
        "PromptId.PASS",
        "mech_list",
        "auxprop.sasldb.path",
        "external_ssf",
    } <= expected


def test_every_heading_says_something() -> None:
    """Below each name stand a few words at least."""
    assert [name for name in HEADINGS if len(SECTIONS[name].split()) < 3] == []


@pytest.mark.parametrize("name", members())
def test_numbers_are_the_ones_of_the_code(name: str) -> None:
    """Where a member has a number, its section begins with it."""
    value = members()[name].value
    if not isinstance(value, int):
        return
    said = SECTIONS[name].partition(".")[0]
    if isinstance(members()[name], Flag | PromptId):
        assert re.fullmatch(r"0x[0-9a-f]+", said)
    assert int(said, 0) == value


@pytest.mark.parametrize("name", needs())
def test_needs_say_their_arguments_and_their_answer(name: str) -> None:
    """The first words are the call as it is written, and what it answers."""
    need = typing.get_origin(needs()[name]) or needs()[name]
    call = re.match(r"`(\w+)\(([^)]*(?:\(\))?[^)]*)\)`, answer: ", SECTIONS[name])
    assert call is not None
    assert call[1] == name
    written = [part.partition("=")[0].strip() for part in call[2].split(",") if part.strip()]
    # `identity` is the negotiation's to set.
    fields = [field.name for field in attrs.fields(need) if field.name != "identity"]
    assert written == fields


@pytest.mark.parametrize("hook", HOOKS.values())
def test_hooks_say_their_group(hook: str) -> None:
    """The group of entry points is the one in which the hook's plugs are looked for."""
    (kind,) = {kind for (kind, _), name in HOOKS.items() if name == hook}
    assert f"Group `{KINDS[kind]}`." in SECTIONS[hook]
