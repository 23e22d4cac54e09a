"""How far a long command is: a bar on a terminal, now and then a line elsewhere.

All of it goes to standard error, for standard output is the command's result.
"""

from __future__ import annotations

import sys
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final, TypeAlias

from sasl_cli.output import note

if TYPE_CHECKING:
    from collections.abc import Callable, Generator

__all__ = ["Advance", "progress"]

Advance: TypeAlias = "Callable[[int, int], None]"
"""Called with how much is done, in the unit of the total, and how many users that were."""

LINE_EVERY: Final = 5.0
"""Seconds between two lines where there is no terminal."""


@contextmanager
def progress(what: str, total: int | None, *, quiet: bool) -> Generator[Advance]:
    """Show how much of `total` is done (None: nobody knows how much there is)."""
    if quiet:
        yield lambda _done, _users: None
    elif sys.stderr.isatty():
        with _bar(what, total) as advance:
            yield advance
    else:
        yield _lines(what, total)


@contextmanager
def _bar(what: str, total: int | None) -> Generator[Advance]:
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        Progress,
        TaskProgressColumn,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        TaskProgressColumn(),
        TextColumn("{task.fields[users]} users", markup=False),
        TimeElapsedColumn() if total is None else TimeRemainingColumn(elapsed_when_finished=True),
    )
    with Progress(*columns, console=Console(stderr=True, highlight=False)) as bar:
        task = bar.add_task(what, total=total, users="0")

        def advance(done: int, users: int) -> None:
            bar.update(task, completed=done, users=f"{users:,}")

        yield advance


def _lines(what: str, total: int | None) -> Advance:
    last = time.monotonic()

    def advance(done: int, users: int) -> None:
        nonlocal last
        now = time.monotonic()
        if now - last >= LINE_EVERY:
            last = now
            share = "" if not total else f", {100 * done // total} %"
            note(f"{what}: {users:,} users{share}")

    return advance
