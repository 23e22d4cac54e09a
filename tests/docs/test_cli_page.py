"""docs/cli.md: every command has its place there, and every option is told."""

from __future__ import annotations

import re
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
import typer

TEXT = (Path(__file__).parents[2] / "docs" / "cli.md").read_text("utf-8")
SECTIONS = dict(re.findall(r"^## ([^\n]+)\n(.*?)(?=^## |\Z)", TEXT, re.MULTILINE | re.DOTALL))
MODULES = ("auth", "config", "demo", "passwd", "plugins", "serve", "token", "users")


def commands() -> Iterator[tuple[str, Any]]:
    """Every command and subcommand of ours, by its whole name."""
    for name in MODULES:
        found = import_module(f"sasl_cli.{name}").command
        if not isinstance(found, typer.Typer):
            app = typer.Typer(add_completion=False)
            _ = app.command(name)(found)
            found = app
        made = typer.main.get_command(found)
        below = getattr(made, "commands", {})
        if name == "users" or not below:
            yield f"sasl {name}", made
        for sub, command in below.items():
            yield f"sasl {name} {sub}", command


COMMANDS = dict(commands())


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_its_place(name: str) -> None:
    """A heading, or with `sasl users list`, which is another's, a line; and one in the table."""
    assert name in SECTIONS or f"`{name}` is the same" in TEXT
    assert f"[`{name}`](#{name.replace(' ', '-')})" in TEXT or name not in SECTIONS


@pytest.mark.parametrize("name", COMMANDS)
def test_every_option_is_told(name: str) -> None:
    """In the command's own section, or in the one about what holds for all."""
    told = SECTIONS.get(name, SECTIONS["sasl users"]) + SECTIONS["What holds for all"]
    for parameter in COMMANDS[name].params:
        for option in (*parameter.opts, *parameter.secondary_opts):
            if option.startswith("--"):
                short = [each for each in parameter.opts if not each.startswith("--")]
                assert any(re.search(rf"{each}\b(?!-)", told) for each in (option, *short)), option


def test_no_option_is_told_that_is_none() -> None:
    """What a section says of itself with two dashes is an option of that command."""
    everywhere = {
        option
        for command in COMMANDS.values()
        for parameter in command.params
        for option in (*parameter.opts, *parameter.secondary_opts)
    }
    for name, section in SECTIONS.items():
        if name.startswith("sasl "):
            named = set(re.findall(r"`(--[a-z][a-z-]+)", section))
            assert named <= everywhere, name
