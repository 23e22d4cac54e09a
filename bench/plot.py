"""The goals as a picture: an SVG, drawn without a library."""

from __future__ import annotations

from math import log10
from typing import TYPE_CHECKING, Final
from xml.sax.saxutils import escape, quoteattr

from bench.rows import amount

if TYPE_CHECKING:
    from collections.abc import Sequence

    from bench.rows import Row

__all__ = ["as_svg"]

WIDTH: Final = 1100
LABELS: Final = 372
"""Where the bars begin; the names of the rows stand left of it, at its edge."""
BARS: Final = 400
"""How wide the scale is."""
TOP: Final = 84
PITCH: Final = 30
BAR: Final = 16

# Shares of the goal at both ends of the logarithmic scale, and the lines between them.
LOW: Final = 0.1
HIGH: Final = 10.0
SHARES: Final = (0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0)

MET: Final = "#2f7f6f"
MISSED: Final = "#c2553b"
INK: Final = "#24292f"
FAINT: Final = "#d8dee4"
GREY: Final = "#656d76"


def as_svg(rows: Sequence[Row]) -> str:
    """How much of its goal each figure uses up; bars that end left of the line are met."""
    drawn = [row for row in rows if row.goal is not None and row.goal.unit != "yes/no"]
    bottom = TOP + PITCH * len(drawn)
    height = bottom + 40
    parts = [_tag("rect", width=WIDTH, height=height, fill="#ffffff")]
    title = "sasl-core: figures as a share of their goals"
    parts.append(_text(24, 34, title, font_size=18, font_weight="bold"))
    under = "Shorter is better: a bar that stays left of the line meets its goal. "
    parts.append(_text(24, 57, under + "Logarithmic scale.", fill=GREY))
    for share in SHARES:
        label = "goal" if share == 1.0 else f"{share:g}"
        place, colour = round(_place(share), 1), INK if share == 1.0 else GREY
        line = {"x1": place, "x2": place, "y1": TOP - 6, "y2": bottom}
        parts.append(_tag("line", **line, stroke=FAINT))
        parts.append(_text(place, bottom + 20, label, text_anchor="middle", fill=colour))
    for number, row in enumerate(drawn):
        parts += _bar(row, TOP + PITCH * number)
    line = {"x1": _place(1.0), "x2": _place(1.0), "y1": TOP - 6, "y2": bottom}
    parts.append(_tag("line", **line, stroke=INK, stroke_width=1.5))
    shape = {"viewBox": f"0 0 {WIDTH} {height}", "width": WIDTH, "height": height}
    font = {"font-family": "Helvetica, Arial, sans-serif", "font-size": 13}
    whole = {"xmlns": "http://www.w3.org/2000/svg", **shape, **font, "fill": INK}
    return _tag("svg", "\n" + "\n".join(parts) + "\n", **whole) + "\n"


def _bar(row: Row, top: int) -> list[str]:
    """One row: its name, its bar, its figure and its goal."""
    middle = top + PITCH / 2 + 4.5
    name = _text(LABELS - 12, middle, row.what, text_anchor="end")
    if row.goal is None or row.figure is None:
        return [name, _text(LABELS + 8, middle, "not measured", fill=GREY)]
    width = max(2.0, round(_place(row.goal.share(row.figure)) - LABELS, 1))
    colour = MET if row.met else MISSED
    place = {"x": LABELS, "y": top + (PITCH - BAR) / 2}
    figure = amount(row.figure, row.figure_unit)
    column = LABELS + BARS + 96
    return [
        name,
        _tag("rect", **place, width=width, height=BAR, rx=2, fill=colour),
        _text(column, middle, figure, text_anchor="end", font_weight="bold", fill=colour),
        _text(
            column + 14, middle, f"goal {row.goal}".replace("<=", "≤").replace(">=", "≥"), fill=GREY
        ),
    ]


def _place(share: float) -> float:
    """Where on the scale a share of a goal lies; what is beyond an end stands near it."""
    within = min(max(share, LOW), HIGH)
    return LABELS + BARS * log10(within / LOW) / log10(HIGH / LOW)


def _text(x: float, y: float, words: str, **attributes: object) -> str:
    return _tag("text", escape(words), x=x, y=y, **attributes)


def _tag(name: str, inside: str = "", /, **attributes: object) -> str:
    """An element; `_` in an attribute's name stands for `-`."""
    given = "".join(
        f" {key.replace('_', '-')}={quoteattr(str(value))}" for key, value in attributes.items()
    )
    return f"<{name}{given}>{inside}</{name}>" if inside else f"<{name}{given}/>"
