"""Whether an event loop still beats while many derive keys.

200 clients log in at once by PLAIN; each password is checked against a stored verifier,
which takes a derivation of 15,000 rounds. Beside them a task sleeps for 10 ms again and
again, and notes how long each of its turns took. All cores are used, as an application
would; the same loop with nobody logging in shows the machine's own noise. The floor is
the same number of derivations through a plain executor with as many threads as cores.
"""

from __future__ import annotations

import asyncio
import os
from concurrent.futures import ThreadPoolExecutor
from statistics import quantiles
from time import perf_counter
from typing import TYPE_CHECKING, Final

from bench.ideal import derive
from bench.measure import every_core, middle, settled
from bench.people import HOST, PASSWORD, SERVICE, crowd
from bench.rows import Goal, Row
from sasl_core import aio

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator

    from bench.measure import Effort

__all__ = ["rows"]

LOGINS: Final = 200
BEAT: Final = 0.010
ROUNDS: Final = 15_000


async def _beats(work: Callable[[], Awaitable[object]]) -> list[float]:
    """How long each turn of the heartbeat took, from before `work` to its end."""
    turns: list[float] = []
    ended = False

    async def beat() -> None:
        last = perf_counter()
        while not ended:
            await asyncio.sleep(BEAT)
            now = perf_counter()
            turns.append(now - last)
            last = now

    heart = asyncio.create_task(beat())
    await asyncio.sleep(BEAT)
    _ = await work()
    ended = True
    await heart
    return turns


async def _ours(logins: int) -> tuple[list[float], float]:
    people = crowd((f"user{number:03}" for number in range(logins)), rounds=ROUNDS)
    async with aio.Server(SERVICE, HOST, stores=[people.store()], config={}) as server:

        async def log_in(name: str) -> None:
            async with server.session(external_ssf=256) as session:
                _ = await session.start("PLAIN", f"\0{name}\0{PASSWORD}".encode())
                if session.authid != name:
                    raise AssertionError("the login went wrong")

        await log_in(people.names[0])
        begin = perf_counter()
        turns = await _beats(lambda: asyncio.gather(*map(log_in, people.names)))
        return turns, perf_counter() - begin


async def _floor(logins: int) -> tuple[list[float], float]:
    loop = asyncio.get_running_loop()
    salt = bytes(16)
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        jobs = [(PASSWORD.encode(), salt, ROUNDS)] * logins
        begin = perf_counter()
        turns = await _beats(
            lambda: asyncio.gather(*(loop.run_in_executor(pool, derive, *job) for job in jobs))
        )
        return turns, perf_counter() - begin


async def _idle(seconds: float) -> list[float]:
    return await _beats(lambda: asyncio.sleep(seconds))


def _late(turns: list[float]) -> float:
    """The 99th percentile."""
    return quantiles(turns, n=100, method="inclusive")[98]


def rows(effort: Effort) -> Iterator[Row]:
    """The 99th percentile of the turns beside 200 logins, of several rounds the median."""
    logins = effort.times(LOGINS, least=20)
    rounds = effort.times(11)
    late: dict[str, list[float]] = {"ours": [], "floor": [], "idle": []}
    turns: list[float] = []
    took: list[float] = []
    with every_core(), settled():
        for _ in range(rounds):
            ours, seconds = asyncio.run(_ours(logins))
            late["ours"].append(_late(ours))
            turns += ours
            took.append(seconds)
            late["floor"].append(_late(asyncio.run(_floor(logins))[0]))
            late["idle"].append(_late(asyncio.run(_idle(seconds))))
    spread = middle(late["ours"])
    yield Row(
        topic="heartbeat",
        what=f"10 ms heartbeat beside {logins} logins: p99",
        unit="ms",
        ours=spread.middle,
        floor=middle(late["floor"]).middle,
        floor_name="PBKDF2 in a plain executor",
        figure=spread.middle,
        figure_unit="ms",
        spread=spread,
        goal=Goal(0.030, "ms"),
        note=(
            f"asyncio, PLAIN, {ROUNDS:,} rounds, median of {rounds}; "
            f"nobody logging in {middle(late['idle']).middle * 1000:.1f} ms; "
            f"all {len(turns)} turns: p99 {_late(turns) * 1000:.1f} ms, "
            f"longest {max(turns) * 1000:.1f} ms; {logins / min(took):.0f} logins/s"
        ),
    )
