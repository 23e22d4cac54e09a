"""`sasl plugins`: what is installed, and what of it can be used."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from sasl_cli.inventory import take
from sasl_cli.output import console, note, one_line
from sasl_cli.settings import APPNAME, Appname, ConfigFile
from sasl_core import Configuration, Registry
from sasl_core.plugin import SaslError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rich.console import Console

    from sasl_cli.inventory import Offered

__all__ = ["command"]


def command(
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON, for programs.")] = False,
    config: ConfigFile = None,
    appname: Appname = APPNAME,
) -> None:
    """List the plugins, what they offer, and whether they work.

    Every plugin is loaded and initialised. One that cannot be used says why; one that
    attests decides on its own word who is let in.
    """
    try:
        settings = Configuration.load(appname, path=config)
        registry = Registry(plugin_list=settings.core.plugin_list)
    except SaslError as error:
        note(f"without its configuration, which is wrong: {one_line(error)}")
        settings = Configuration.from_mapping({}, appname)
        registry = Registry()
    found = take(settings, registry)
    if as_json:
        _print_json(found)
    else:
        _print_tables(console(), found)


def _print_json(found: Sequence[Offered]) -> None:
    import json

    rows = [
        {
            "kind": plugin.kind,
            "name": plugin.name,
            "distribution": plugin.distribution,
            "version": plugin.version,
            "api": plugin.api,
            "sides": plugin.sides,
            "flags": plugin.flags,
            "features": plugin.features,
            "attests": plugin.attests,
            "available": plugin.available,
            "reason": plugin.reason,
        }
        for plugin in found
    ]
    print(json.dumps(rows, indent=2))


def _print_tables(out: Console, found: Sequence[Offered]) -> None:
    """A table to a kind, so that none has columns which say nothing."""
    from rich import box
    from rich.table import Table
    from rich.text import Text

    for index, kind in enumerate(dict.fromkeys(plugin.kind for plugin in found)):
        if index:
            out.print()
        out.print(kind or "unreadable", style="bold")
        table = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False)
        hooks = kind not in ("profiles", "commands", "")
        table.add_column("name", no_wrap=True)
        table.add_column("from", overflow="fold")
        if hooks:
            table.add_column("API", justify="right")
        table.add_column("what it offers" if kind == "mechanisms" else "", overflow="fold")
        for plugin in (plugin for plugin in found if plugin.kind == kind):
            row = [plugin.name, f"{plugin.distribution} {plugin.version}".strip() or "?"]
            if hooks:
                row.append("-" if plugin.api is None else str(plugin.api))
            state = Text(_words(plugin), style="" if plugin.available else "red")
            table.add_row(*map(Text, row), state)
        out.print(table)
        if kind == "mechanisms":
            attesting = [plugin.name for plugin in found if plugin.attests]
            out.print(f"attest, and decide on their own who is let in: {_listed(attesting)}")


def _listed(names: Sequence[str]) -> str:
    return ", ".join(names) or "none"


def _words(plugin: Offered) -> str:
    """What it offers, a line to each of sides, flags and features; or why it cannot be used."""
    if not plugin.available:
        return f"not usable: {plugin.reason}"
    if plugin.kind != "mechanisms":
        return f"available{', ' if plugin.sides else ''}{' and '.join(plugin.sides)}"
    lines = [f"available, {' and '.join(plugin.sides)}"]
    if plugin.half:
        other = "client" if "server" in plugin.sides else "server"
        lines.append(f"no {other}: {plugin.reason}")
    if plugin.flags:
        lines.append(f"flags: {' '.join(plugin.flags)}")
    if plugin.features:
        lines.append(f"features: {' '.join(plugin.features)}")
    if plugin.attests:
        lines.append("attests: decides on its own who is let in")
    return "\n".join(lines)
