"""One piece of work that all who want it at the same time share.

Invariants:
- At most one runs at a time; whoever comes meanwhile waits, and gets the same outcome. Only where
  a Flight says after how long work is stale, another may begin beside what nobody goes on with.
- Nobody waits longer than they said, whatever became of whoever does the work.
- Work that was given up (its exchange was closed, its task cancelled) or is stale is taken over
  by one of those who wait.
- Who has waited leaves nothing behind, however long the work goes on.
"""

from __future__ import annotations

import asyncio
import threading
import time
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Generic, TypeVar

from sasl_core.errors import BackendError, SaslError
from sasl_core.flags import Blocking
from sasl_core.needs import NeedCall

if TYPE_CHECKING:
    from collections.abc import Callable

    from sasl_core.plugs import Needs

__all__ = ["Flight", "pause"]

T = TypeVar("T")


class _Landed(Generic[T]):
    """How the work ended: with a value, with a failure, or, with neither, given up."""

    __slots__ = ("failure", "values")

    def __init__(self) -> None:
        self.values: tuple[T, ...] = ()
        # Never raised: what is raised gathers the frames of whoever raises it.
        self.failure: SaslError | None = None


class _Run(Generic[T]):
    """Work that is under way since `begin`, and who is to be woken when it ends.

    It needs no lock: whoever wants to be woken says so before looking whether it has ended, and
    it ends before anybody is woken. So the collector may end it in any thread at any moment.
    """

    __slots__ = ("begin", "landed", "stale_after", "waiting")

    def __init__(self, stale_after: float | None) -> None:
        self.begin = time.monotonic()
        self.stale_after = stale_after
        self.landed: _Landed[T] | None = None
        self.waiting: dict[object, Callable[[], object]] = {}

    def stale_in(self, now: float) -> float | None:
        """Seconds until it counts as given up, or since when if below 0; None: it never does."""
        return None if self.stale_after is None else self.begin + self.stale_after - now

    def land(self, landed: _Landed[T]) -> None:
        self.landed = landed
        while True:
            try:
                _, wake = self.waiting.popitem()
            except KeyError:
                return
            _ = wake()


class Flight(Generic[T]):
    """Shares the work of generators that all give the same, an HTTP request say."""

    __slots__ = ("_lock", "_run", "_stale_after")

    def __init__(self, stale_after: float | None = None) -> None:
        """`stale_after`: after so many seconds work counts as given up, though nobody says so."""
        # The collector may close work that was given up while this very thread holds the lock.
        self._lock = threading.RLock()
        self._run: _Run[T] | None = None
        self._stale_after = stale_after

    def join(
        self, make: Callable[[], Needs[T]], wait: float, *, stale_after: float | None = None
    ) -> Needs[T]:
        """What the generator that `make` makes returns; made only if none is under way.

        `wait`: how long to wait for somebody else's, in seconds. With the raw driver whoever
        waits has a `NeedCall` to supply, which blocks so long at most. `stale_after`: when this
        work counts as given up, where it is not as the Flight says.

        Raises:
            SaslError: whatever the generator raised.
            BackendError: somebody else's failed so, or did not end in time.
        """
        end = time.monotonic() + wait
        if stale_after is None:
            stale_after = self._stale_after
        while True:
            # Made before the lock is taken, for it may set the collector going.
            fresh: _Run[T] = _Run(stale_after)
            with self._lock:
                run = self._run
                stale_in = None if run is None else run.stale_in(fresh.begin)
                leads = run is None or (stale_in is not None and stale_in <= 0)
                if leads or run is None:
                    run = self._run = fresh
            if leads:
                return (yield from self._lead(run, make))
            left = max(0.0, end - time.monotonic())
            seconds = left if stale_in is None else min(left, stale_in)
            landed = yield from NeedCall(
                partial(_wait, run, seconds), Blocking.REMOTE, partial(_wait_async, run, seconds)
            )
            if landed is None:
                if seconds < left:
                    continue  # It is stale now.
                raise BackendError(
                    code="timeout", detail=f"waited {wait:g} s for what another login asks for"
                )
            failure = landed.failure
            if failure is not None:
                raise _again(failure)
            if landed.values:
                return landed.values[0]

    def _lead(self, run: _Run[T], make: Callable[[], Needs[T]]) -> Needs[T]:
        landed: _Landed[T] = _Landed()
        try:
            value = yield from make()
            landed.values = (value,)
            return value
        except SaslError as error:
            landed.failure = _again(error)
            raise
        except Exception as error:
            what = f"what was shared raised {type(error).__name__}"
            landed.failure = BackendError(detail=what)
            raise
        finally:
            with self._lock:
                if self._run is run:
                    self._run = None
            run.land(landed)


def pause(seconds: float) -> Needs[None]:
    """Let `seconds` pass, without holding anybody else up."""
    if seconds > 0:
        yield from NeedCall(
            partial(time.sleep, seconds), Blocking.REMOTE, partial(asyncio.sleep, seconds)
        )


def _again(error: SaslError) -> BackendError:
    """The same failure, to be raised for another."""
    temporary = error.temporary if isinstance(error, BackendError) else True
    return BackendError(
        str(error) if isinstance(error, BackendError) else None,
        code=error.code,
        result=error.result if isinstance(error, BackendError) else None,
        detail=error.detail or str(error),
        temporary=temporary,
    )


def _wait(run: _Run[T], seconds: float) -> _Landed[T] | None:
    gate, key = threading.Lock(), object()
    _ = gate.acquire()
    run.waiting[key] = gate.release
    try:
        if run.landed is None:
            _ = gate.acquire(timeout=seconds)
    finally:
        _ = run.waiting.pop(key, None)
    return run.landed


async def _wait_async(run: _Run[T], seconds: float) -> _Landed[T] | None:
    loop = asyncio.get_running_loop()
    woken, key = loop.create_future(), object()
    run.waiting[key] = partial(_wake, loop, woken)
    try:
        if run.landed is None:
            _ = await asyncio.wait((woken,), timeout=seconds)
    finally:
        _ = run.waiting.pop(key, None)
        _ = woken.cancel()
    return run.landed


def _wake(loop: asyncio.AbstractEventLoop, woken: asyncio.Future[None]) -> None:
    def wake() -> None:
        if not woken.done():
            woken.set_result(None)

    # A loop that was closed meanwhile has nobody left who waits.
    with suppress(RuntimeError):
        _ = loop.call_soon_threadsafe(wake)
