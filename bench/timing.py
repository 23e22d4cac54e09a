"""Whether the clock tells an unknown user from a wrong password.

Both are refused in turns, in random order, n times each. The difference of the two, by the
means of the middle 90 %, is what an attacker who sits inside the process would see. The
difference between one half of the wrong passwords and the other half, taken at random, is
what the same attacker sees where there is nothing to see. Each comparison
is made until it is within the goal, five times at most, and the best counts, for the
machine's noise only ever adds. What the server logs goes to a handler that drops it.
"""

from __future__ import annotations

from contextlib import closing
from itertools import cycle
from pathlib import Path
from tempfile import TemporaryDirectory
from time import perf_counter
from typing import TYPE_CHECKING, Final

import attrs

from bench import ideal, stores
from bench.measure import ORDER, settled, trimmed_mean, undisturbed
from bench.people import HOST, SERVICE, crowd
from bench.rows import Goal, Row
from bench.scram import MECHANISM, server_of
from sasl_auxprop.sasldb import SqliteStore
from sasl_core import AuthenticationError, Server

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from bench.measure import Effort

    Attempt = Callable[[str], float]

__all__ = ["rows"]

TRIES: Final = 5_000
BEST_OF: Final = 5
APART: Final = 0.5e-6
"""Seconds, where nothing is derived."""
SHARE: Final = 0.02
"""Of the whole, where a derivation is."""
KNOWN: Final = tuple(f"user{number:03}" for number in range(50))
UNKNOWN: Final = tuple(f"none{number:03}" for number in range(50))
"""As long as the known ones: a longer name takes longer to parse, whoever bears it."""


def scram(server: Server) -> Attempt:
    """Seconds until a login by SCRAM with a wrong proof is refused, both steps."""

    def attempt(name: str) -> float:
        sent = ideal.client_first(name.encode())
        begin = perf_counter()
        session = server.session(success_data=True)
        challenge = session.start(MECHANISM, sent).data or b""
        took = perf_counter() - begin
        nonce = challenge[2 : challenge.index(b",")]
        response = b"c=biws,r=%b,p=%b=" % (nonce, b"A" * 43)
        begin = perf_counter()
        try:
            _ = session.step(response)
        except AuthenticationError:
            session.close()
            return took + perf_counter() - begin
        raise AssertionError("a wrong proof was believed")

    return attempt


def plain(server: Server) -> Attempt:
    """Seconds until a login by PLAIN with a wrong password is refused."""

    def attempt(name: str) -> float:
        sent = f"\0{name}\0incorrect horse".encode()
        begin = perf_counter()
        session = server.session(external_ssf=256)
        try:
            _ = session.start("PLAIN", sent)
        except AuthenticationError:
            session.close()
            return perf_counter() - begin
        raise AssertionError("a wrong password was believed")

    return attempt


@attrs.frozen
class Compared:
    """Trimmed means in seconds, and how far two halves of the wrong passwords are apart."""

    unknown: float
    wrong: float
    noise: float

    @property
    def apart(self) -> float:
        """What tells an unknown user."""
        return abs(self.unknown - self.wrong)


def compared(attempt: Attempt, tries: int) -> Compared:
    """Try both in turns, two of each at a time."""
    unknown, known = cycle(UNKNOWN), cycle(KNOWN)
    # Each with the names that it takes, and where its times go.
    arms: list[tuple[Iterator[str], list[float]]] = [
        (names, []) for names in (unknown, unknown, known, known)
    ]
    (_, first), (_, second), (_, third), (_, fourth) = arms
    for names, _ in arms * 50:
        _ = attempt(next(names))
    with settled():
        for _ in range(tries // 2):
            ORDER.shuffle(arms)
            for names, times in arms:
                times.append(undisturbed(attempt, next(names)))
    return Compared(
        trimmed_mean(first + second),
        trimmed_mean(third + fourth),
        abs(trimmed_mean(third) - trimmed_mean(fourth)),
    )


def best(attempt: Attempt, tries: int, enough: Callable[[Compared], bool]) -> tuple[Compared, int]:
    """The comparison that shows the least, and how many were made."""
    runs: list[Compared] = []
    while len(runs) < BEST_OF and not any(map(enough, runs)):
        runs.append(compared(attempt, tries))
    return min(runs, key=lambda run: run.apart), len(runs)


def rows(effort: Effort) -> Iterator[Row]:
    """SCRAM in memory; then the paths that derive, in memory and in a sasldb."""
    tries = effort.times(TRIES, least=20)
    with server_of(crowd(KNOWN)) as server:
        found, runs = best(scram(server), tries, lambda run: run.apart <= APART)
    yield Row(
        topic="timing",
        what="unknown user or wrong password: SCRAM, memory",
        unit="us",
        ours=found.unknown,
        floor=found.wrong,
        floor_name="wrong password",
        figure=found.apart,
        figure_unit="us",
        goal=Goal(APART, "us", of="apart"),
        note=f"n = {tries:,}, best of {runs}; halves of the wrong: {found.noise * 1e6:.2f} us",
    )
    with server_of(crowd(KNOWN)) as server:
        yield derived("memory", server, tries)
    with TemporaryDirectory(prefix="sasl-bench-") as folder:
        path = Path(folder, "users.sqlite")
        stores.fill(path, KNOWN)
        with (
            closing(SqliteStore(path)) as store,
            Server(SERVICE, HOST, stores=[store], config={}) as server,
        ):
            yield derived("sasldb", server, tries)


def derived(kept: str, server: Server, tries: int) -> Row:
    """PLAIN against stored verifiers: one derivation, of 4096 rounds, for everybody."""
    found, runs = best(plain(server), tries, lambda run: run.apart <= SHARE * run.wrong)
    return Row(
        topic="timing",
        what=f"unknown user or wrong password: PLAIN, {kept}",
        unit="us",
        ours=found.unknown,
        floor=found.wrong,
        floor_name="wrong password",
        figure=found.apart / found.wrong,
        figure_unit="%",
        goal=Goal(SHARE, "%", of="apart"),
        note=(
            f"n = {tries:,}, best of {runs}; "
            f"halves of the wrong: {100 * found.noise / found.wrong:.2f} %"
        ),
    )
