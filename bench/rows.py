"""What a benchmark found out: a row of the table, and the goal that it is held to."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import attrs

if TYPE_CHECKING:
    from bench.measure import Spread

__all__ = ["Goal", "Row", "amount"]

# Unit -> how a number of it is written. Times are in seconds, sizes in bytes.
_UNITS: Final = {
    "us": (1e6, " us"),
    "ms": (1e3, " ms"),
    "s": (1.0, " s"),
    "B": (1.0, " B"),
    "%": (100.0, " %"),
    "x": (1.0, "x"),
}


def amount(value: float | None, unit: str, digits: int = 3) -> str:
    """`value` in words, to three digits: "12.3 us", "2.05x", "yes"; nothing for None."""
    if value is None:
        return ""
    if unit == "yes/no":
        return "yes" if value else "no"
    factor, suffix = _UNITS[unit]
    value *= factor
    whole = len(str(int(abs(value))))
    return f"{value:.{max(0, digits - whole)}f}{suffix}"


@attrs.frozen
class Goal:
    """What `figure` of a row has to be: at most `limit`, or at least."""

    limit: float
    unit: str
    at_least: bool = False
    of: str = ""

    def __str__(self) -> str:
        if self.unit == "yes/no":
            return "yes"
        number = _UNITS[self.unit][0] * self.limit
        sign = ">=" if self.at_least else "<="
        return f"{sign} {number:g}{_UNITS[self.unit][1]}{' ' + self.of if self.of else ''}"

    def met(self, figure: float) -> bool:
        """Whether `figure` will do."""
        return figure >= self.limit if self.at_least else figure <= self.limit

    def share(self, figure: float) -> float:
        """How much of the goal is used up: 1 is exactly met, less is better."""
        above, below = (self.limit, figure) if self.at_least else (figure, self.limit)
        return above / below if below > 0 else (0.0 if above <= 0 else float("inf"))


@attrs.frozen(kw_only=True)
class Row:
    """One line. `ours`, `floor` and `peer` are in `unit`; `figure` is what the goal is about.

    `floor_name` and `peer_name` say what stands in those columns. A figure that could not
    be measured is None, and `note` says why. `spread` are the figure's quartiles.
    """

    topic: str
    what: str
    unit: str
    ours: float | None
    floor: float | None = None
    floor_name: str = ""
    peer: float | None = None
    peer_name: str = ""
    figure: float | None
    figure_unit: str
    spread: Spread | None = None
    goal: Goal | None = None
    note: str = ""

    @property
    def met(self) -> bool | None:
        """Whether the goal is met; None without a goal, or without a figure."""
        if self.goal is None or self.figure is None:
            return None
        return self.goal.met(self.figure)
