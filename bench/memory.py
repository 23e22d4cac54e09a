"""What a SCRAM session costs that has begun and waits for client-final.

Each figure comes from an interpreter of its own, which opens some sessions first so that
all is loaded, and then 10,000 that stay open: what was allocated in between by
tracemalloc, and by how much the process grew (RSS).
"""

from __future__ import annotations

import gc
import tracemalloc
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from resource import getpagesize
from typing import TYPE_CHECKING, Final

from bench import ideal
from bench.people import crowd, peer
from bench.rows import Goal, Row
from bench.scram import MECHANISM, server_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from bench.measure import Effort

__all__ = ["CONTENDERS", "per_session", "rows"]

SESSIONS: Final = 10_000
BEFORE: Final = 500
STATM: Final = Path("/proc/self/statm")


def _names() -> list[str]:
    return [f"user{number:03}" for number in range(100)]


def _ours() -> Callable[[int], object]:
    server = server_of(crowd(_names()))
    names = _names()

    def begin(number: int) -> object:
        session = server.session(success_data=True)
        _ = session.start(MECHANISM, ideal.client_first(names[number % len(names)].encode()))
        return session

    return begin


def _floor() -> Callable[[int], object]:
    users = crowd(_names()).table()
    names = _names()

    def begin(number: int) -> object:
        return ideal.server_first(users, ideal.client_first(names[number % len(names)].encode()))

    return begin


def _scramp() -> Callable[[int], object] | None:
    scramp = peer("scramp")
    if scramp is None:
        return None
    users = crowd(_names()).scramp()
    names = _names()
    mechanism = scramp.ScramMechanism(MECHANISM)

    def begin(number: int) -> object:
        server = mechanism.make_server(users.__getitem__)
        server.set_client_first(ideal.client_first(names[number % len(names)].encode()).decode())
        server.get_server_first()
        return server

    return begin


CONTENDERS: Final = {"ours": _ours, "floor": _floor, "peer": _scramp}


def _resident() -> int:
    """Bytes of this process that are in memory, 0 where the system does not tell."""
    try:
        return int(STATM.read_text("ascii").split()[1]) * getpagesize()
    except OSError:
        return 0


def _measure(who: str, sessions: int, *, trace: bool) -> float | None:
    """Bytes for each of `sessions` open ones; runs in a process of its own."""
    begin = CONTENDERS[who]()
    if begin is None:
        return None
    kept: list[object] = [None] * sessions
    for number in range(BEFORE):
        kept[number % sessions] = begin(number)
    kept[:] = [None] * sessions
    _ = gc.collect()
    if trace:
        tracemalloc.start()
    before = tracemalloc.get_traced_memory()[0] if trace else _resident()
    for number in range(sessions):
        kept[number] = begin(number)
    _ = gc.collect()
    after = tracemalloc.get_traced_memory()[0] if trace else _resident()
    if not trace and not after:
        return None
    return (after - before) / sessions


def per_session(who: str, sessions: int, *, trace: bool) -> float | None:
    """What `_measure` finds in a new interpreter; None where it cannot be measured."""
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        return pool.submit(_measure, who, sessions, trace=trace).result()


def rows(effort: Effort) -> Iterator[Row]:
    """By tracemalloc, then by RSS."""
    sessions = effort.times(SESSIONS, least=100)
    for trace, how in ((True, "tracemalloc"), (False, "RSS")):
        found = {who: per_session(who, sessions, trace=trace) for who in CONTENDERS}
        yield Row(
            topic="memory",
            what=f"a SCRAM session in flight, by {how}",
            unit="B",
            ours=found["ours"],
            floor=found["floor"],
            floor_name="the ideal server's state",
            peer=found["peer"],
            peer_name="scramp",
            figure=found["ours"],
            figure_unit="B",
            goal=Goal(2048, "B"),
            note=f"{sessions:,} of them, waiting for client-final",
        )
