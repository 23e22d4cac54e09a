"""The options that commands share, and the configuration that they add up to."""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, TypeAlias

import typer

from sasl_core import BindingPolicy, Configuration

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = [
    "APPNAME",
    "Appname",
    "Binding",
    "BindingChoice",
    "ConfigFile",
    "Database",
    "binding_policy",
    "configuration",
]

APPNAME = "sasl"
"""Whose configuration the commands read that belong to no protocol."""

ConfigFile: TypeAlias = Annotated[
    str | None,
    typer.Option("--config", metavar="FILE", help="Read this configuration file and no other."),
]
Appname: TypeAlias = Annotated[
    str,
    typer.Option("--appname", metavar="NAME", help="Whose settings count, as 'smtp' or 'imap'."),
]
Database: TypeAlias = Annotated[
    str | None,
    typer.Option("--db", metavar="PATH", help="Use this sasldb, and no other store."),
]


class BindingChoice(StrEnum):
    """What `--binding` takes."""

    OFF = "off"
    WANT = "want"
    REQUIRE = "require"


Binding: TypeAlias = Annotated[
    BindingChoice,
    typer.Option(
        "--binding", help="Channel binding (-PLUS): not at all, where it can be had, or insist."
    ),
]


def binding_policy(choice: BindingChoice) -> BindingPolicy:
    """What `--binding` means to a session."""
    return BindingPolicy[choice.name]


def configuration(
    file: str | None,
    appname: str,
    db: str | None = None,
    more: Mapping[str, object] | None = None,
) -> Configuration:
    """The configuration of `appname` from `file` or the usual places.

    `db` makes that sasldb the only store; `more` are tables that go before the files.

    Raises:
        ConfigError: it cannot be read, or something in it is wrong.
        UsageError: `appname` is no name of an application.
    """
    loaded = Configuration.load(appname, path=file)
    tables: dict[str, object] = dict(more or {})
    if db is not None:
        tables |= {"auxprop_plugin": ["sasldb"], "auxprop": {"sasldb": {"path": db}}}
    return loaded.overlaid(tables) if tables else loaded
