"""When the keys of one issuer are loaded: who leads, who waits, and for how long nobody does.

Invariants:

- A load that was given up before it ended is no attempt: it postpones no poll, and what was
  ordered never waits for the pause that it costs those who name unknown keys.
- Nobody pauses while leading, so that nobody waits for who only pauses.
- Whoever comes and goes, and however many: unknown keys cause one load in `ABANDONED_LONGEST`
  seconds at most, once loads have been given up a few times in a row.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable

    from sasl_core.plugin import Flight, Needs

__all__ = ["ABANDONED_LONGEST", "Loads"]

ABANDONED_QUIET: Final = 0.1
"""After a load that nobody waited for until its end, no unknown key causes another for so many
seconds; twice as many after each other one in a row. Who wants a key waits so long, counted from
when they came: whoever begins loads and goes away must not have others refused, nor be there
before them each time, nor have the issuer asked without end."""

ABANDONED_LONGEST: Final = 1.0
"""Most seconds of that."""

GRACE: Final = 1.0
"""How many seconds longer than its deadline a load is waited for."""

FAILED_QUIET: Final = 1.0
"""For how long a failed load counts as an attempt while there has never been a key, in seconds."""


class Loads:
    """What `JWKManager` knows of its loads, under way and past. All times are by `clock`, but how
    long something takes.
    """

    def __init__(
        self,
        poll: float,
        quiesce: float,
        deadline: float,
        clock: Callable[[], float],
        monotonic: Callable[[], float],
    ) -> None:
        from sasl_core.plugin import Flight

        self.poll = poll
        self.quiesce = quiesce
        self.deadline = deadline
        self.clock = clock
        self._monotonic = monotonic
        self._flight: Flight[bool] = Flight()
        self._loading: object | None = None  # the newest load, while it is under way
        self._began = 0.0  # when that did
        self._loaded = False
        # Of the attempts that came to an end: their number, the last one's begin and outcome.
        self._ended = 0
        self._attempted: float | None = None
        self._failed = False
        # Of the loads that were given up: their number, and the pause that the last one costs,
        # which is 0 when one came to an end since.
        self._given_up = 0
        self._backoff = 0.0
        self._quiet_from = self._quiet_until = float("-inf")

    def due(self, now: float) -> bool:
        """Whether it is time for a poll; after one that failed, sooner than usual, and at once
        when others began to load the keys and went away.
        """
        if self._backoff:
            return True
        if self.poll <= 0:
            return False
        last = self._attempted
        wait = min(self.poll, self.quiesce) if self._failed else self.poll
        # A clock that was set back must not stop the polling.
        return last is None or not 0 <= now - last < wait

    def busy(self, now: float) -> bool:
        """Whether a load is under way, or one was given up a moment ago."""
        if self._loading is not None and self._monotonic() - self._began < self._stale_after:
            return True
        return bool(self._backoff) and self._quiet(now)

    @property
    def abandoned(self) -> bool:
        """Whether a load was given up, and none came to an end since."""
        return bool(self._backoff)

    @property
    def longest(self) -> float:
        """Most seconds that `refresh` takes: it may wait for another's load before its own."""
        return self._patience + self._stale_after

    @property
    def _patience(self) -> float:
        """How long to wait for the loads of others and the pauses after them, in seconds."""
        return self.deadline + 2 * ABANDONED_LONGEST

    @property
    def _stale_after(self) -> float:
        return self.deadline + GRACE

    def _quiet(self, now: float) -> bool:
        """Whether the last attempt is too recent for another."""
        return self._quiet_from <= now < self._quiet_until

    def _shared(self, attempt: Callable[[], Needs[bool]], end: float) -> Needs[bool]:
        """Lead, or wait until `end` for whoever does; whether an attempt came to an end."""
        left = max(0.0, end - self._monotonic())
        return (yield from self._flight.join(attempt, left, stale_after=self._stale_after))

    def _breathe(self, arrived: float) -> Needs[None]:
        """Let the time pass for which a load that was given up keeps the next one back."""
        backoff, now = self._backoff, self.clock()
        if backoff:
            from sasl_core.plugin import pause

            left = self._quiet_until - now if self._quiet(now) else 0.0
            # The clock may have been set.
            yield from pause(min(backoff, max(left, arrived + backoff - now)))

    @property
    def _failed_quiet(self) -> float:
        """For how long a load that failed has the next one wait."""
        return self.quiesce if self._loaded else min(self.quiesce, FAILED_QUIET)

    def _abandon(self) -> None:
        """The newest load was given up."""
        longest = min(ABANDONED_LONGEST, self.deadline, self._failed_quiet)
        self._backoff = min(2 * self._backoff or ABANDONED_QUIET, longest)
        self._quiet_from = self.clock()
        self._quiet_until = self._quiet_from + self._backoff
        self._given_up += 1

    def _end(self, begin: float, *, failed: bool) -> None:
        """An attempt came to an end."""
        self._failed = failed
        self._backoff = 0.0
        self._attempted = self._quiet_from = begin
        self._quiet_until = begin + self._failed_quiet
        self._ended += 1
