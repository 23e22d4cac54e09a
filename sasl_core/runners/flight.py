"""One piece of work that all who want it at the same time share.

Invariants:
- At most one runs at a time; whoever comes meanwhile waits, and gets the same outcome. Only where
  a Flight says after how long work is stale, another may begin beside what nobody goes on with.
- Nobody waits longer than they said, whatever became of whoever does the work.
- Work that was given up (its exchange was closed, its task cancelled) is taken over by one
  of those who wait.
"""

from __future__ import annotations

import asyncio
import threading
import time
from concurrent.futures import Future
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
    """Work that is under way since `begin`."""

    __slots__ = ("begin", "future")

    def __init__(self) -> None:
        self.begin = time.monotonic()
        self.future: Future[_Landed[T]] = Future()


class Flight(Generic[T]):
    """Shares the work of generators that all give the same, an HTTP request say."""

    __slots__ = ("_lock", "_run", "_stale_after")

    def __init__(self, stale_after: float | None = None) -> None:
        """`stale_after`: after so many seconds work counts as given up, though nobody says so."""
        # The collector may close work that was given up while this very thread holds the lock.
        self._lock = threading.RLock()
        self._run: _Run[T] | None = None
        self._stale_after = stale_after

    def join(self, make: Callable[[], Needs[T]], wait: float) -> Needs[T]:
        """What the generator that `make` makes returns; made only if none is under way.

        `wait`: how long to wait for somebody else's, in seconds. With the raw driver whoever
        waits has a `NeedCall` to supply, which blocks so long at most.

        Raises:
            SaslError: whatever the generator raised.
            BackendError: somebody else's failed so, or did not end in time.
        """
        end = time.monotonic() + wait
        stale = self._stale_after
        while True:
            # Made before the lock is taken, for it may set the collector going.
            fresh: _Run[T] = _Run()
            with self._lock:
                run = self._run
                leads = run is None or (stale is not None and fresh.begin - run.begin > stale)
                if leads or run is None:
                    run = self._run = fresh
            if leads:
                return (yield from self._lead(run, make))
            left = max(0.0, end - time.monotonic())
            landed = yield from NeedCall(
                partial(_wait, run, left), Blocking.REMOTE, partial(_wait_async, run, left)
            )
            if landed is None:
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
            run.future.set_result(landed)


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
    try:
        return run.future.result(seconds)
    except TimeoutError:
        return None


async def _wait_async(run: _Run[T], seconds: float) -> _Landed[T] | None:
    # Shielded, for whoever stops waiting must not stop the others.
    future = asyncio.shield(asyncio.wrap_future(run.future))
    done, _ = await asyncio.wait((future,), timeout=seconds)
    return next(iter(done)).result() if done else None
