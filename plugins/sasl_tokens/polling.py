"""When keys are fetched although nobody needs new ones: every `JWKSPollSecs` of their issuer.

The core runs periodic work where it can: in asyncio, or by a thread in the background. Where it
cannot, the login that finds a poll overdue makes it, and no login waits for another's. Whoever
drives polls also makes the load that logins began and left: it cannot be left again.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from sasl_core.plugin import Needs
    from sasl_tokens.jwks import JWKManager
    from sasl_tokens.refresher import IDPJWKSRefresher, KeyFailure

__all__ = ["Polling"]

LONGEST_TICK: Final = 5.0
"""Most seconds between two looks whether a poll is due."""

ABANDONED_TICK: Final = 1.0
"""The same, once logins have begun a load and left."""


class Polling:
    """Looks after the polls of the refreshers that `refreshers()` gives at the time."""

    def __init__(
        self,
        refreshers: Callable[[], Iterable[IDPJWKSRefresher]],
        clock: Callable[[], float],
        warn: Callable[[KeyFailure], None],
        every: Callable[[float, Callable[[], Needs[object]]], None] | None,
    ) -> None:
        self._refreshers = refreshers
        self._clock = clock
        self._warn = warn
        self._every = every
        self._tick = 0.0
        self._driven_at: float | None = None

    def drive(self) -> None:
        """Register the periodic work, often enough for the shortest interval there is now."""
        ticks = [
            min(ABANDONED_TICK if each.keys.abandoned else LONGEST_TICK, each.polls or LONGEST_TICK)
            for each in self._refreshers()
            if each.polls or each.keys.abandoned
        ]
        if not ticks or self._every is None:
            return
        tick = min(ticks)
        # What was registered before stays, and finds nothing to do when both are at it.
        if not self._tick or tick < self._tick:
            self._tick = tick
            self._driven_at = self._clock()
            self._every(tick, self._look)

    def _look(self) -> Needs[None]:
        """Fetch the keys of the issuers whose poll is due."""
        for refresher in tuple(self._refreshers()):
            now = self._driven_at = self._clock()
            if refresher.keys.due(now):
                yield from self._refresh(refresher)
        self._driven_at = self._clock()

    def overdue(self, keys: JWKManager, now: float) -> bool:
        """Whether a poll is due and nobody looks after polls, nor is about to make this one."""
        if not keys.due(now) or keys.busy(now):
            return False
        driven = self._driven_at
        return driven is None or not 0 <= now - driven < self._undriven

    @property
    def _undriven(self) -> float:
        """After how many seconds without a look logins see to polls themselves: those between
        two looks, and the longest that one issuer takes.
        """
        return LONGEST_TICK + max((each.keys.longest for each in self._refreshers()), default=0.0)

    def in_place(self, refresher: IDPJWKSRefresher) -> Needs[None]:
        """For a login: make the poll if it is overdue.

        If it fails, the login goes on with the keys that there are.
        """
        # Without any key the login fetches them anyway.
        if refresher.keys.key_ids and self.overdue(refresher.keys, self._clock()):
            yield from self._refresh(refresher)

    def _refresh(self, refresher: IDPJWKSRefresher) -> Needs[None]:
        failure = yield from refresher.refresh()
        if failure is not None:
            self._warn(failure)
