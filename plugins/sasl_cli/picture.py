"""A diagram on the terminal: in colours where it has such, in ASCII where it has no more."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sasl_cli.diagram import ASCII, UNICODE, draw

if TYPE_CHECKING:
    from collections.abc import Iterable

    from rich.console import Console

    from sasl_cli.profiles import Traced

__all__ = ["show"]

COLOURS = {
    "plain": "dim",
    "client": "cyan",
    "server": "magenta",
    "decoded": "bold",
    "note": "italic dim",
}
NARROWEST, WIDEST = 60, 100


def show(console: Console, events: Iterable[Traced]) -> None:
    """Print the diagram of these events, as wide as fits."""
    from rich.text import Text

    width = max(NARROWEST, min(console.width, WIDEST))
    glyphs = UNICODE if UNICODE.fit(console.encoding) else ASCII
    for line in draw(events, width, glyphs):
        text = Text(no_wrap=True)
        for piece, style in line:
            _ = text.append(piece, style=COLOURS[style])
        console.print(text, soft_wrap=True)
