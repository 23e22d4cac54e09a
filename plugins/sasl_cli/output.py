"""What the commands print, and how they fail."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, NoReturn

import typer

from sasl_core.plugin import (
    BackendError,
    ConfigError,
    MechanismError,
    PluginError,
    SaslError,
    printable,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from rich.console import Console

__all__ = ["WRONG_OPTIONS", "columns", "console", "fail", "note", "one_line", "visible"]

FOR_PEERS = {str(BackendError()), str(BackendError(temporary=False))}
"""What a peer is told of an outage; it tells an administrator nothing."""

WRONG_OPTIONS = (ConfigError.default_code, "plugin-options")
"""The codes of a plugin's error that its table of the configuration is wrong."""

NOT_LISTED = ("it is not in client_mech_list", "not in --mechanism, or in client_mech_list")
"""Why a client passes a mechanism over, in the library's words and in the command line's."""

LINE_LIMIT = 1500
"""Longest line of an error, in characters."""


def fail(text: str, *, status: int = 1) -> NoReturn:
    """Say why on standard error, and end the command with `status`."""
    # To `sasl auth` --mechanism is such a list, and goes before the configured one.
    note(text.replace(*NOT_LISTED))
    raise typer.Exit(status)


def note(text: str) -> None:
    """One line on standard error."""
    print(f"sasl: {printable(text, LINE_LIMIT)}", file=sys.stderr)


def visible(text: str) -> str:
    """`text` without what a terminal would take for a command, line breaks apart."""
    if text.isascii() and text.replace("\n", "").isprintable():
        return text
    return "".join(
        each
        if each.isprintable() or each == "\n"
        else each.encode("unicode_escape", "replace").decode("ascii")
        for each in text
    )


def one_line(error: SaslError) -> str:
    """What happened, with the detail that only an administrator may see: whoever runs `sasl`.

    Of a plugin's option, where it is and what is wrong with it come first.
    """
    if isinstance(error, PluginError) and error.code in WRONG_OPTIONS:
        named = error.plugin in error.reason
        return error.reason if named else f"{error.reason} (plugin {error.plugin!r})"
    message, detail = str(error), error.detail
    if isinstance(error, MechanismError) and error.reasons:
        whys = [f"{name}: {why}" for name, why in error.reasons.items()]
        detail = "; ".join(whys)
    if not detail or detail in message:
        return message
    if message in detail or message in FOR_PEERS:
        return detail
    return f"{message}: {detail}"


def console() -> Console:
    """Standard output with colours where it is a terminal, as wide as that, 80 columns else."""
    from rich.console import Console

    return Console(highlight=False, markup=False, emoji=False)


def columns(rows: Iterable[Sequence[str]], *, indent: str = "") -> str:
    """Rows as aligned columns, none of them cut: what a script reads must be whole."""
    from rich.cells import cell_len

    table = [[printable(cell, 2048) for cell in row] for row in rows]
    widths = [max(map(cell_len, column)) for column in zip(*table, strict=True)]
    lines = [
        "  ".join(
            cell + " " * (width - cell_len(cell)) for cell, width in zip(row, widths, strict=True)
        )
        for row in table
    ]
    return "\n".join(f"{indent}{line}".rstrip() for line in lines)
