r"""A conversation as a sequence diagram: two lifelines, and an arrow for each turn.

    client                                      server
      │ AUTH PLAIN ****                            │
      │   \0tim\0****                              │
      ├───────────────────────────────────────────▶│
      │                 235 Authentication successful │

What a line carries, decoded, stands below it. Pure: lines in, lines out. The lines come masked
from the profile's trace; nothing here knows a secret, and nothing is decoded here.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Literal, TypeAlias

from sasl_core.plugin import printable, record

if TYPE_CHECKING:
    from collections.abc import Iterable

    from sasl_cli.profiles import Traced

__all__ = ["ASCII", "UNICODE", "Glyphs", "Line", "Style", "draw"]

Style: TypeAlias = Literal["plain", "client", "server", "decoded", "note"]
"""What a piece of a line is, for whoever gives it a colour."""

STYLES: Final[dict[str, Style]] = {"C": "client", "S": "server", "-": "note"}
"""The style of what goes in a direction."""

Line: TypeAlias = "tuple[tuple[str, Style], ...]"

MARGIN: Final = 4
"""Columns left of the client's lifeline and right of the server's."""

INDENT: Final = 2
"""Columns by which a decoded message is set off from the line that carries it."""


@record
class Glyphs:
    """The characters of a drawing: lifeline, shaft, heads, tails and the sign of a cut."""

    life: str
    shaft: str
    to_server: str
    to_client: str
    from_client: str
    from_server: str
    cut: str

    def fit(self, encoding: str | None) -> bool:
        """Whether a stream of this encoding can show them."""
        text = f"{self.life}{self.shaft}{self.to_server}{self.to_client}{self.cut}"
        try:
            _ = text.encode(encoding or "ascii")
        except (UnicodeEncodeError, LookupError):
            return False
        return True


UNICODE: Final = Glyphs("│", "─", "▶", "◀", "├", "┤", "…")
ASCII: Final = Glyphs("|", "-", ">", "<", "|", "|", "~")


def draw(events: Iterable[Traced], width: int, glyphs: Glyphs) -> list[Line]:
    """The diagram of these events, `width` columns wide.

    Lines in one direction that follow each other share an arrow. What a line carries is
    cut where there is no room; what it means is wrapped, so that all of it is there.
    """
    inner = width - 2 * MARGIN - 2
    lines: list[Line] = [_heads(inner)]
    turn: list[Traced] = []
    for event in events:
        if turn and event.direction != turn[0].direction:
            lines += _turn(turn, inner, glyphs)
            turn = []
        turn.append(event)
    if turn:
        lines += _turn(turn, inner, glyphs)
    return lines


def _heads(inner: int) -> Line:
    gap = inner + 1 - len("server")
    return (("  client", "client"), (" " * gap, "plain"), ("server", "server"))


def _turn(turn: list[Traced], inner: int, glyphs: Glyphs) -> list[Line]:
    """Consecutive lines in one direction, and their arrow."""
    direction = turn[0].direction
    room = inner - inner // 6 - 2
    texts: list[tuple[str, Style]] = []
    style = STYLES[direction]
    for event in turn:
        texts.append((_cut(event.line or "(an empty line)", room, glyphs.cut), style))
        if event.message:
            pieces = _wrap(event.message, room - INDENT)
            texts.extend((" " * INDENT + piece, "decoded") for piece in pieces)
    if direction == "-":
        return [_row(text, style, "middle", inner, glyphs) for text, style in texts]
    # What the server says stands at its side, as one block.
    block = max(len(text) for text, _ in texts)
    side: Literal["left", "right"] = "left" if direction == "C" else "right"
    lines = [_row(text.ljust(block), style, side, inner, glyphs) for text, style in texts]
    edge: tuple[str, Style] = (" " * MARGIN, "plain")
    if direction == "C":
        shaft = glyphs.shaft * (inner - 1) + glyphs.to_server
        return [*lines, (edge, (f"{glyphs.from_client}{shaft}{glyphs.life}", style))]
    shaft = glyphs.to_client + glyphs.shaft * (inner - 1)
    return [*lines, (edge, (f"{glyphs.life}{shaft}{glyphs.from_server}", style))]


def _row(
    text: str, style: Style, side: Literal["left", "middle", "right"], inner: int, glyphs: Glyphs
) -> Line:
    """One line of text between the lifelines."""
    if side == "middle":
        padded = text.center(inner)
    else:
        padded = f" {text}".ljust(inner) if side == "left" else f"{text} ".rjust(inner)
    life = glyphs.life
    return ((" " * MARGIN + life, "plain"), (padded, style), (life, "plain"))


def _cut(text: str, room: int, sign: str) -> str:
    shown = printable(text, 4096)
    return shown if len(shown) <= room else shown[: room - len(sign)] + sign


def _wrap(text: str, room: int) -> list[str]:
    """A decoded message in pieces, broken behind commas where there are such."""
    rest = printable(text, 4096)
    pieces: list[str] = []
    while len(rest) > room:
        comma = rest.rfind(",", 0, room)
        at = comma + 1 if comma > 0 else room
        pieces.append(rest[:at])
        rest = rest[at:]
    return [*pieces, rest]
