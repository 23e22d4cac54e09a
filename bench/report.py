"""The table on the terminal, and the same as JSON."""

from __future__ import annotations

import json
import os
import platform
import sys
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING, Final

import attrs

from bench.rows import amount

if TYPE_CHECKING:
    from collections.abc import Sequence

    from bench.rows import Row

__all__ = ["as_json", "machine", "table"]

HEAD: Final = ("what", "ours", "floor", "peer", "ratio", "quartiles", "goal", "met")
LEFT: Final = {0, 6, 7}
"""Columns of words; numbers stand at the right."""


def machine() -> dict[str, str | int | None]:
    """What the figures depend on, as far as it can be asked."""
    from ssl import OPENSSL_VERSION

    versions: dict[str, str | int | None] = {}
    for name in ("sasl-core", "attrs", "cryptography", "pyjwt", "scramp", "pysasl"):
        try:
            versions[name] = version(name)
        except PackageNotFoundError:
            versions[name] = None
    return {
        "python": f"{platform.python_implementation()} {platform.python_version()}",
        "openssl": OPENSSL_VERSION,
        "system": f"{platform.system()} {platform.machine()}",
        "cores": os.cpu_count(),
        **versions,
    }


def _cells(row: Row) -> tuple[str, ...]:
    spread = row.spread
    met = {True: "yes", False: "NO", None: "-" if row.goal is None else "not measured"}[row.met]
    peer = amount(row.peer, row.unit)
    return (
        row.what,
        amount(row.ours, row.unit),
        amount(row.floor, row.unit),
        f"{peer} {row.peer_name.partition(',')[0]}" if peer else "",
        amount(row.figure, row.figure_unit),
        ""
        if spread is None
        else f"{amount(spread.low, row.figure_unit)} .. {amount(spread.high, row.figure_unit)}",
        "" if row.goal is None else str(row.goal),
        met,
    )


def table(rows: Sequence[Row]) -> str:
    """All rows, the notes below them, and how many goals are met."""
    lines = [HEAD, *map(_cells, rows)]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    text = [
        "  ".join(
            cell.ljust(width) if place in LEFT else cell.rjust(width)
            for place, (cell, width) in enumerate(zip(line, widths, strict=True))
        ).rstrip()
        for line in lines
    ]
    text.insert(1, "  ".join("-" * width for width in widths))
    text += ["", "ratio: what the goal is about, as a median. Notes:"]
    text += [
        f"  {row.what}: {'; '.join(filter(None, (_floor(row), row.note)))}"
        for row in rows
        if row.note or row.floor_name
    ]
    judged = [row for row in rows if row.goal is not None]
    missed = [row.what for row in judged if row.met is not True]
    text += ["", f"{len(judged) - len(missed)} of {len(judged)} goals met"]
    text += [f"  missed: {what}" for what in missed]
    return "\n".join(text)


def _floor(row: Row) -> str:
    return f"floor: {row.floor_name}" if row.floor_name else ""


def as_json(rows: Sequence[Row], core: int | None, scale: float) -> str:
    """The rows with their numbers in seconds, bytes or parts of one, and the machine."""
    return json.dumps(
        {
            "machine": machine(),
            "core": core,
            "scale": scale,
            "arguments": sys.argv[1:],
            "rows": [
                {
                    **attrs.asdict(row),
                    "goal": None if row.goal is None else attrs.asdict(row.goal),
                    "goal_text": None if row.goal is None else str(row.goal),
                    "met": row.met,
                }
                for row in rows
            ],
        },
        indent=2,
    )
