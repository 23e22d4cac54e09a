"""Work that is shared by all who want it at the same time."""

from __future__ import annotations

import asyncio
import gc
import threading
import time
import weakref
from collections.abc import Generator
from typing import Any

import pytest

from sasl_core import BackendError, Blocking, NeedCall, PeerError
from sasl_core.plugin import Flight, Needs, pause
from sasl_core.runners.flight import _wake


class Work:
    """Counts how often it is done, and waits in between for what `gate` is."""

    def __init__(self, outcome: object = "value") -> None:
        self.outcome = outcome
        self.times = 0
        self.gate = threading.Event()

    def __call__(self) -> Needs[object]:
        self.times += 1
        yield from NeedCall(self.gate.wait, Blocking.REMOTE, self.wait)
        if isinstance(self.outcome, Exception):
            raise self.outcome
        return self.outcome

    async def wait(self) -> bool:
        return await asyncio.to_thread(self.gate.wait)


def run(body: Generator[Any, Any, object]) -> object:
    """Supply calls in this thread."""
    answer: object = None
    try:
        while True:
            answer = body.send(answer).function()
    except StopIteration as end:
        return end.value


async def run_async(body: Generator[Any, Any, object]) -> object:
    """Supply calls on the event loop."""
    answer: object = None
    try:
        while True:
            answer = await body.send(answer).async_function()
    except StopIteration as end:
        return end.value
    finally:
        body.close()


def outcomes(flight: Flight[object], work: Work, number: int) -> list[object]:
    """What comes of it in each of so many threads that begin at once."""
    found: list[object] = []

    def one() -> None:
        try:
            found.append(run(flight.join(work, 5)))
        except BackendError as error:
            found.append(error)

    threads = [threading.Thread(target=one) for _ in range(number)]
    for thread in threads:
        thread.start()
    while not work.times:
        time.sleep(0.001)
    time.sleep(0.05)
    work.gate.set()
    for thread in threads:
        thread.join()
    return found


def test_twenty_threads_do_it_once() -> None:
    """One does the work, all have its value; whoever comes later does it anew."""
    work, flight = Work(), Flight[object]()
    assert outcomes(flight, work, 20) == ["value"] * 20
    assert work.times == 1
    assert run(flight.join(work, 5)) == "value"
    assert work.times == 2


def test_a_failure_is_everybodys() -> None:
    """Each has an error of its own that says the same."""
    work = Work(BackendError(code="away", detail="the provider is away", temporary=False))
    found = outcomes(Flight(), work, 5)
    assert work.times == 1
    assert len(set(map(id, found))) == 5
    for error in found:
        assert isinstance(error, BackendError)
        assert (error.code, error.detail) == ("away", "the provider is away")
        assert not error.temporary


@pytest.mark.parametrize("raised", [ZeroDivisionError("s3cret"), PeerError("s", detail="d")])
def test_what_others_raise_is_an_outage_to_those_who_wait(raised: Exception) -> None:
    """The type of a foreign error is told and its text is not."""
    work, flight = Work(raised), Flight[object]()
    leader: Any = flight.join(work, 5)
    next(leader)
    waiter: Any = flight.join(work, 5)
    need = next(waiter)
    with pytest.raises(type(raised)):
        leader.send(True)
    with pytest.raises(BackendError) as caught:
        waiter.send(need.function())
    assert "s3cret" not in str(caught.value) + (caught.value.detail or "")
    wanted = "ZeroDivisionError" if isinstance(raised, ZeroDivisionError) else "d"
    assert wanted in (caught.value.detail or "")


def test_work_that_is_given_up_is_taken_over() -> None:
    """The leader's exchange is closed: one of those who wait does the work."""
    work, flight = Work(), Flight[object]()
    leader: Any = flight.join(work, 5)
    next(leader)
    waiter: Any = flight.join(work, 5)
    need = next(waiter)
    leader.close()
    work.gate.set()
    again = waiter.send(need.function())
    assert work.times == 2
    with pytest.raises(StopIteration) as end:
        waiter.send(again.function())
    assert end.value.value == "value"


def test_nobody_waits_longer_than_they_said() -> None:
    """Whoever waits for a leader who never ends has an outage in time."""
    work, flight = Work(), Flight[object]()
    leader: Any = flight.join(work, 5)
    next(leader)
    began = time.monotonic()
    with pytest.raises(BackendError) as caught:
        run(flight.join(work, 0.05))
    assert caught.value.code == "timeout"
    assert 0.04 < time.monotonic() - began < 5
    leader.close()


def test_tasks_share_it_too() -> None:
    """Of ten tasks one does the work; one that is cancelled while it waits stops nobody."""

    async def main() -> None:
        work, flight = Work(), Flight[object]()
        tasks = [asyncio.create_task(run_async(flight.join(work, 5))) for _ in range(10)]
        await asyncio.sleep(0.02)
        tasks[5].cancel()
        await asyncio.sleep(0.02)
        work.gate.set()
        done = await asyncio.gather(*tasks, return_exceptions=True)
        assert work.times == 1
        assert isinstance(done.pop(5), asyncio.CancelledError)
        assert done == ["value"] * 9

    asyncio.run(main())


def test_a_cancelled_leader_is_followed() -> None:
    """The task that does the work is cancelled: another takes over."""

    async def main() -> None:
        work, flight = Work(), Flight[object]()
        tasks = [asyncio.create_task(run_async(flight.join(work, 5))) for _ in range(3)]
        await asyncio.sleep(0.02)
        tasks[0].cancel()
        await asyncio.sleep(0.02)
        work.gate.set()
        done = await asyncio.gather(*tasks, return_exceptions=True)
        assert work.times == 2
        assert done[1:] == ["value"] * 2

    asyncio.run(main())


def test_a_pause_takes_its_time() -> None:
    """In a thread and on the event loop; none is none."""
    assert list(pause(0)) == []
    began = time.monotonic()
    run(pause(0.03))
    asyncio.run(run_async(pause(0.03)))
    assert 0.05 < time.monotonic() - began < 5


def test_work_that_gives_none_is_shared_too() -> None:
    """None is a value."""
    work = Work(None)
    assert outcomes(Flight(), work, 8) == [None] * 8
    assert work.times == 1


def test_work_that_nobody_goes_on_with_is_done_anew() -> None:
    """A raw driver that lets a need lie holds others up until the work is stale."""
    work, flight = Work(), Flight[object](stale_after=0.05)
    leader: Any = flight.join(work, 5)
    next(leader)
    work.gate.set()
    with pytest.raises(BackendError):
        run(flight.join(work, 0.01))
    time.sleep(0.06)
    assert run(flight.join(work, 0.05)) == "value"
    assert work.times == 2
    leader.close()
    assert run(flight.join(work, 5)) == "value"
    assert work.times == 3


def test_work_without_an_age_is_never_stale() -> None:
    """Then nobody begins beside it, however long it takes."""
    work, flight = Work(), Flight[object]()
    leader: Any = flight.join(work, 5)
    next(leader)
    time.sleep(0.03)
    for wait in (0.0, 0.01):
        with pytest.raises(BackendError):
            run(flight.join(work, wait))
    assert work.times == 1
    leader.close()


def test_the_collector_may_close_a_leader_under_the_lock() -> None:
    """Whoever gives work up in a thread that joins at that moment does not wait for itself."""
    work, flight = Work(), Flight[object]()
    leader: Any = flight.join(work, 5)
    next(leader)

    class Lock:
        def __enter__(self) -> None:
            real.__enter__()
            flight._lock = real
            leader.close()

        def __exit__(self, *exception: object) -> None:
            real.__exit__(None, None, None)

    real: Any = flight._lock
    flight._lock = Lock()  # type: ignore[assignment]  # pyright: ignore[reportAttributeAccessIssue]
    done: list[object] = []
    work.gate.set()
    thread = threading.Thread(target=lambda: done.append(run(flight.join(work, 1))), daemon=True)
    thread.start()
    thread.join(5)
    assert done == ["value"]


def test_those_who_wait_take_over_what_nobody_goes_on_with() -> None:
    """Whoever came before the work was stale does not wait to the end of their patience."""
    work, flight = Work(), Flight[object](stale_after=0.05)
    leader: Any = flight.join(work, 5)
    next(leader)
    work.gate.set()
    began = time.monotonic()
    assert run(flight.join(work, 5)) == "value"
    assert 0.04 < time.monotonic() - began < 4
    assert asyncio.run(run_async(flight.join(work, 5))) == "value"
    assert work.times == 3
    leader.close()


def test_who_has_waited_leaves_nothing_behind() -> None:
    """Nothing of a task, of its loop or of a thread is kept by work that goes on for ever."""
    work, flight = Work(), Flight[object]()
    leader: Any = flight.join(work, 5)
    next(leader)

    async def main() -> weakref.ref[Any]:
        bodies = [run_async(flight.join(work, wait)) for wait in (0.0, 0.01, 0.01)]
        found = await asyncio.gather(*bodies, return_exceptions=True)
        assert {type(error) for error in found} == {BackendError}
        cancelled = asyncio.create_task(run_async(flight.join(work, 5)))
        await asyncio.sleep(0)
        cancelled.cancel()
        assert isinstance(
            (await asyncio.gather(cancelled, return_exceptions=True))[0], BaseException
        )
        return weakref.ref(asyncio.get_running_loop())

    loop = asyncio.run(main())
    with pytest.raises(BackendError):
        run(flight.join(work, 0.01))
    gc.collect()
    assert loop() is None
    assert flight._run is not None
    assert flight._run.waiting == {}
    leader.close()


def test_a_loop_that_was_closed_keeps_nobody_from_landing() -> None:
    """It is not woken, and whoever did the work hears nothing of it."""
    loop = asyncio.new_event_loop()
    woken: asyncio.Future[None] = loop.create_future()
    loop.close()
    _wake(loop, woken)
    assert not woken.done()
