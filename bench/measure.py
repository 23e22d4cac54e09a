"""Measuring on a machine that does other things too.

- What is compared is measured in turns: in each round every contender runs once. A slow
  moment of the machine strikes all of them. Their order is another in each round, for who
  comes after somebody like him finds his code in the processor's caches.
- A ratio is the median of the rounds' own ratios, so that a clock that drifts cancels out.
- Rounds are short and many. One during which the kernel took the processor away is done
  again, a few times at most: what it took measures another program.
- Everything runs on one core, the idlest at the start, unless it says otherwise.
- The garbage collector stays on, as in a server. Before each measurement all that was
  made up to then is collected, and the rest frozen: what a contender's own garbage costs
  is counted, what the harness keeps is not.
"""

from __future__ import annotations

import gc
import os
import random
import resource
import time
from contextlib import contextmanager
from pathlib import Path
from statistics import fmean, median, quantiles
from typing import TYPE_CHECKING, Final, TypeAlias, TypeVar

import attrs

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Mapping, Sequence

__all__ = [
    "ORDER",
    "Effort",
    "Operation",
    "Spread",
    "every_core",
    "interleave",
    "middle",
    "pinned",
    "ratio",
    "settled",
    "trimmed_mean",
    "undisturbed",
]

Operation: TypeAlias = "Callable[[int], float]"
"""Runs something that many times, and returns the seconds for one of them."""

CORES: Final = os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else frozenset[int]()
"""The cores that the process may use, before anybody pins it."""

ORDER: Final = random.Random(0)  # noqa: S311 - the same orders each time

PATIENCE: Final = 6

_THIS_THREAD: Final[int] = getattr(resource, "RUSAGE_THREAD", resource.RUSAGE_SELF)

A = TypeVar("A")


@attrs.frozen
class Effort:
    """How much is done: 1 for figures that mean something, less to see that it works."""

    scale: float = 1.0

    def times(self, usual: int, least: int = 3) -> int:
        """`usual` times the scale, but not below `least`."""
        return max(least, round(usual * self.scale))


@attrs.frozen
class Spread:
    """A median, and the quartiles on both sides of it."""

    low: float
    middle: float
    high: float


@contextmanager
def pinned() -> Generator[int | None]:
    """Run the body, and what it starts, on one core; None where that cannot be done."""
    if not CORES:
        yield None
        return
    core = _idlest()
    os.sched_setaffinity(0, {core})
    try:
        yield core
    finally:
        os.sched_setaffinity(0, CORES)


def _idlest() -> int:
    """The core that does least in a fifth of a second; the last where nobody can tell."""
    before = _idle_ticks()
    time.sleep(0.2)
    after = _idle_ticks()
    return max(CORES, key=lambda core: (after.get(core, 0) - before.get(core, 0), core))


def _idle_ticks() -> dict[int, int]:
    """How long each core has been idle."""
    try:
        lines = Path("/proc/stat").read_text("ascii").splitlines()
    except OSError:
        return {}
    fields = [line.split() for line in lines if line.startswith("cpu")]
    return {int(each[0][3:]): int(each[4]) for each in fields if each[0] != "cpu"}


@contextmanager
def every_core() -> Generator[None]:
    """Run the body on all cores, within `pinned`: threads made inside have them too."""
    if not CORES:
        yield
        return
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, CORES)
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


@contextmanager
def settled() -> Generator[None]:
    """Run the body with no old garbage about; the collector stays on."""
    _ = gc.collect()
    gc.freeze()
    try:
        yield
    finally:
        gc.unfreeze()


def interleave(
    operations: Mapping[str, Operation], rounds: int, count: int
) -> dict[str, list[float]]:
    """Run each operation `count` times in each of `rounds` rounds, in turns.

    Returns, by name, the seconds that one run took in each round. One round before them
    warms up and does not count.
    """
    names = list(operations)
    times: dict[str, list[float]] = {name: [] for name in names}
    for name in names:
        _ = operations[name](count)
    with settled():
        for _ in range(rounds):
            ORDER.shuffle(names)
            for name in names:
                times[name].append(undisturbed(operations[name], count))
    return times


def undisturbed(operation: Callable[[A], float], argument: A) -> float:
    """What `operation` returns when the processor was not taken away from this thread.

    After `PATIENCE` attempts a disturbed one has to do.
    """
    took = 0.0
    for _ in range(PATIENCE):
        before = _preemptions()
        took = operation(argument)
        if _preemptions() == before:
            break
    return took


def _preemptions() -> int:
    """How often the kernel has taken the processor away from this thread."""
    return resource.getrusage(_THIS_THREAD).ru_nivcsw


def middle(values: Sequence[float]) -> Spread:
    """The median and the quartiles of `values`."""
    if len(values) < 2:
        return Spread(values[0], values[0], values[0])
    low, _, high = quantiles(values, n=4, method="inclusive")
    return Spread(low, median(values), high)


def ratio(above: Sequence[float], below: Sequence[float]) -> Spread:
    """The ratios of what was measured in the same rounds: their median and quartiles."""
    return middle([one / other for one, other in zip(above, below, strict=True)])


def trimmed_mean(values: Sequence[float], kept: float = 0.9) -> float:
    """The mean of the middle part of `values`: of 0.9, without the twentieth at either end."""
    cut = round(len(values) * (1 - kept) / 2)
    return fmean(sorted(values)[cut : len(values) - cut])
