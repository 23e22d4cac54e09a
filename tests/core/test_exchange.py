"""The machine around a generator, on a union of needs that has nothing to do with SASL."""

from __future__ import annotations

import asyncio
from collections.abc import Generator
from contextlib import suppress
from typing import Any, ClassVar

import pytest

from sasl_core._record import record
from sasl_core.errors import AuthenticationError, BackendError, PluginError, SaslError, UsageError
from sasl_core.exchange import TRANSITIONS, Doom, Event, Exchange, State
from sasl_core.needs import NeedBase


@record
class AskNumber(NeedBase[int]):
    """A number, please."""

    answer_type: ClassVar[Any] = int


@record
class AskText(NeedBase[str]):
    """A text, please."""

    answer_type: ClassVar[Any] = str


@record
class AskNobody(NeedBase[None]):
    """No need of this machine."""


class Sum:
    """What the toy machine comes to."""

    def __init__(self, value: object) -> None:
        self.value = value


NEEDS = frozenset({AskNumber, AskText})


def adding():
    """Two numbers, and their sum."""
    first = yield from AskNumber()
    second = yield from AskNumber()
    return Sum(first + second)


def machine(body, doom=None) -> Any:
    return Exchange(body, NEEDS, Sum, label="toy", doom=doom)


# --- the table -------------------------------------------------------------------------------

PAIRS = [(state, event) for state in State for event in Event]


def test_table_has_a_row_for_every_state():
    """Nothing is left to chance, and every target is a state."""
    assert set(TRANSITIONS) == set(State)
    assert {target for row in TRANSITIONS.values() for target in row.values()} <= set(State)


@pytest.mark.parametrize(("state", "event"), PAIRS, ids=lambda x: x.name)
def test_table_decides_each_event_in_each_state(state, event):
    """A legal event goes where the table says; an illegal one is an error and changes nothing."""
    exchange = machine(adding())
    exchange.state = state
    if event in TRANSITIONS[state]:
        exchange._move(event)
        assert exchange.state is TRANSITIONS[state][event]
    else:
        with pytest.raises(UsageError, match=f"{event.name} is not possible") as caught:
            exchange._move(event)
        assert exchange.state is state
        assert caught.value.code == "out-of-order"
    exchange.state = State.READY
    exchange.close()


def test_table_lets_nothing_out_of_an_end():
    """DONE and ERROR are terminal: only closing again is possible, and leads nowhere."""
    for end in (State.DONE, State.ERROR):
        assert TRANSITIONS[end] == {Event.CLOSE: end}


def test_table_lets_no_refused_exchange_be_done():
    """From DYING and DOOMED no path leads to DONE."""
    reached = {State.DYING, State.DOOMED}
    while True:
        more = {target for state in reached for target in TRANSITIONS[state].values()} - reached
        if not more:
            break
        reached |= more
    assert State.DONE not in reached


# --- each call in each state, from outside ----------------------------------------------------

CALLS = {
    "start": lambda exchange: exchange.start(),
    "answer": lambda exchange: exchange.answer(1),
    "fail": lambda exchange: exchange.fail(BackendError()),
    "refuse": lambda exchange: exchange.fail(AuthenticationError()),
}
LEGAL = {
    State.READY: {"start"},
    State.RUNNING: set(),
    State.WAITING: {"answer", "fail", "refuse"},
    State.DYING: set(),
    State.DOOMED: {"answer", "fail", "refuse"},
    State.DONE: set(),
    State.ERROR: set(),
}


def brought_to(state):
    """A machine in that state, which is not running, and its doom."""
    doom = Doom()
    exchange = machine(clinging() if state is State.DOOMED else adding(), doom)
    if state is not State.READY:
        exchange.start()
    if state is State.DOOMED:
        exchange.fail(AuthenticationError())
    elif state is State.DONE:
        exchange.answer(1)
        exchange.answer(2)
    elif state is State.ERROR:
        with pytest.raises(BackendError):
            exchange.fail(BackendError())
    assert exchange.state is state
    return exchange, doom


def clinging():
    """A body that asks on, whatever is thrown at it."""
    while True:
        try:
            yield from AskNumber()
        except SaslError:
            continue


@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize(
    "state", [s for s in State if s not in (State.RUNNING, State.DYING)], ids=lambda s: s.name
)
def test_calls_that_are_illegal_change_nothing(state, call):
    """Whoever calls out of turn is told so; state, need and doom are as before."""
    exchange, doom = brought_to(state)
    before = (exchange.state, exchange.need, doom.error, exchange.result)
    if call in LEGAL[state]:
        if call in ("fail", "refuse") and state is not State.DOOMED:
            with pytest.raises(SaslError):
                CALLS[call](exchange)
        else:
            CALLS[call](exchange)
    else:
        with pytest.raises(UsageError) as caught:
            CALLS[call](exchange)
        assert caught.value.code == "out-of-order"
        assert (exchange.state, exchange.need, doom.error, exchange.result) == before
    exchange.close()


@pytest.mark.parametrize("call", [*CALLS, "close"])
@pytest.mark.parametrize("refused", [False, True], ids=["running", "dying"])
def test_calls_from_within_are_refused(call, refused):
    """A body that calls its own machine finds it running; it goes on as if it had not."""
    seen: list[object] = []
    doom = Doom()

    def body():
        with suppress(AuthenticationError):
            yield from AskNumber()
        before = (exchange.state, doom.error)
        if call == "close":
            exchange.close()
        else:
            with pytest.raises(UsageError):
                CALLS[call](exchange)
        assert (exchange.state, doom.error) == before
        seen.append(exchange.state)
        yield from AskNumber()
        return Sum(0)

    exchange = machine(body(), doom)
    exchange.start()
    if refused:
        exchange.fail(AuthenticationError())
    else:
        exchange.answer(1)
    assert seen == [State.DYING if refused else State.RUNNING]
    assert exchange.state == (State.DOOMED if refused else State.WAITING)
    if refused:
        with pytest.raises(AuthenticationError):
            exchange.answer(2)
    else:
        exchange.answer(2)
        assert exchange.state is State.DONE


def test_close_is_idempotent_in_every_state():
    """Closing an unfinished machine is an error state; a finished one stays as it ended."""
    for state in (State.READY, State.WAITING, State.DOOMED, State.DONE, State.ERROR):
        exchange, _ = brought_to(state)
        exchange.close()
        exchange.close()
        assert exchange.state is (State.DONE if state is State.DONE else State.ERROR)
        assert exchange.need is None


# --- a run --------------------------------------------------------------------------------------


def test_run_goes_from_need_to_need_to_the_result():
    """Each call returns the next need, and None when there is a result."""
    exchange = machine(adding())
    assert type(exchange.start()) is AskNumber
    assert type(exchange.answer(2)) is AskNumber
    assert exchange.answer(3) is None
    assert exchange.state is State.DONE
    assert exchange.result.value == 5
    assert exchange.need is None


def test_run_gives_the_answer_its_type():
    """An answer of another type is an error, and the question stands."""
    exchange = machine(adding())
    need = exchange.start()
    for wrong in ("1", None, b"1", Sum(1)):
        with pytest.raises(UsageError, match="not answered by") as caught:
            exchange.answer(wrong)
        assert caught.value.code == "wrong-answer"
        assert (exchange.state, exchange.need) == (State.WAITING, need)
    exchange.answer(1)
    exchange.answer(1)
    assert exchange.result.value == 2


def test_run_works_for_a_generator_class_of_ones_own():
    """A Generator need not be a native one."""

    class Own(Generator):
        def __init__(self) -> None:
            self.sent: list[object] = []
            self.closed = False

        def send(self, value: object) -> object:
            self.sent.append(value)
            if value is None:
                return AskNumber()
            raise StopIteration(Sum(value))

        def throw(self, *error: Any) -> object:
            raise error[0]

        def close(self) -> None:
            self.closed = True

    exchange = machine(Own())
    exchange.start()
    assert exchange.answer(4) is None
    assert exchange.result.value == 4


@pytest.mark.parametrize("result", [None, 5, "Sum", Sum, iter(())], ids=lambda r: type(r).__name__)
def test_run_that_returns_something_else_is_at_fault(result):
    """Only a result of the right type is one."""

    def body():
        yield from AskNumber()
        return result

    exchange = machine(body())
    exchange.start()
    with pytest.raises(PluginError, match="instead of Sum"):
        exchange.answer(1)
    assert exchange.state is State.ERROR
    assert exchange.result is None


@pytest.mark.parametrize(
    "made",
    [None, Sum(1), iter(()), [AskNumber()], 7, adding],
    ids=lambda value: type(value).__name__,
)
def test_run_of_what_is_no_generator_is_at_fault(made):
    """A body without any `yield from` has run already, and says so."""
    with pytest.raises(PluginError, match="yield from") as caught:
        machine(made)
    assert caught.value.plugin == "toy"


@pytest.mark.parametrize(
    "garbage",
    [None, 1, "AskNumber", AskNumber, AskNobody(), b"", adding(), Sum(1)],
    ids=lambda g: type(g).__name__,
)
def test_run_that_yields_garbage_is_at_fault(garbage):
    """What is no need of this machine ends it, and the body is closed."""
    closed: list[bool] = []

    def body():
        try:
            yield garbage
        finally:
            closed.append(True)
        return Sum(1)

    exchange = machine(body())
    with pytest.raises(PluginError, match="no need") as caught:
        exchange.start()
    assert closed == [True]
    assert exchange.state is State.ERROR
    assert caught.value.code == "plugin-fault"


def test_run_takes_a_need_that_is_yielded_bare():
    """`yield AskNumber()` is for the type checkers to refuse; at run time it asks."""

    def body():
        value = yield AskNumber()
        return Sum(value)

    exchange = machine(body())
    exchange.start()
    exchange.answer(1)
    assert exchange.result.value == 1


# --- exceptions ----------------------------------------------------------------------------------


class OddError(Exception):
    def __str__(self) -> str:
        raise RuntimeError("secret of the text")


FOREIGN = [
    ValueError("secret"),
    KeyError("secret"),
    UnicodeDecodeError("utf-8", b"secret", 0, 1, "secret"),
    RecursionError("secret"),
    MemoryError("secret"),
    StopIteration("secret"),
    StopAsyncIteration("secret"),
    SystemExit("secret"),
    GeneratorExit("secret"),
    AssertionError("secret"),
    ExceptionGroup("secret", [ValueError("secret")]),
    OddError("secret"),
]


@pytest.mark.parametrize("error", FOREIGN, ids=lambda e: type(e).__name__)
@pytest.mark.parametrize("at", ["start", "answer", "fail"])
def test_foreign_exceptions_become_ours_without_their_text(error, at):
    """Type and place are named; the text, which may hold a secret, is not."""

    def body():
        if at == "start":
            raise error
        try:
            yield from AskNumber()
        except SaslError:
            raise error from None
        raise error

    exchange = machine(body())
    if at != "start":
        exchange.start()
    calls = {"start": exchange.start, "answer": lambda: exchange.answer(1)}
    with pytest.raises(PluginError) as caught:
        calls.get(at, lambda: exchange.fail(BackendError()))()
    said = f"{caught.value}{caught.value.detail}{caught.value.reason}{caught.value!r}"
    assert "secret" not in said
    assert type(error).__name__ in said
    assert "test_exchange.py" in said
    assert exchange.state is State.ERROR
    assert caught.value.plugin == "toy"


@pytest.mark.parametrize("error", [KeyboardInterrupt(), asyncio.CancelledError()])
def test_interrupts_pass_and_end_the_machine(error):
    """Whoever runs us wants to hear of those."""

    def body():
        yield from AskNumber()
        raise error

    exchange = machine(body())
    exchange.start()
    with pytest.raises(type(error)):
        exchange.answer(1)
    assert exchange.state is State.ERROR


def test_errors_of_ours_pass_as_they_are():
    """The very object, so that code, result and wire are kept."""
    error = BackendError(code="mine", detail="because", wire=b"e=other-error")

    def body():
        yield from AskNumber()
        raise error

    exchange = machine(body())
    exchange.start()
    with pytest.raises(BackendError) as caught:
        exchange.answer(1)
    assert caught.value is error


def test_fail_throws_where_the_need_was_asked():
    """The body may catch it at the very line, and go on."""

    def body():
        try:
            yield from AskNumber()
        except BackendError:
            return Sum("caught")

    exchange = machine(body())
    exchange.start()
    assert exchange.fail(BackendError(detail="down")) is None
    assert exchange.result.value == "caught"


@pytest.mark.parametrize("error", [ValueError("x"), SystemExit(), RuntimeError("x")], ids=repr)
def test_close_of_a_body_that_fails_to_close_goes_through(error):
    """What breaks in a body's `finally` changes nothing any more."""

    def body():
        try:
            yield from AskNumber()
        finally:
            raise error

    exchange = machine(body())
    exchange.start()
    exchange.close()
    assert exchange.state is State.ERROR


def test_close_of_a_body_that_refuses_to_go_goes_through():
    """A body that yields at GeneratorExit is left behind."""

    def body():
        while True:
            try:
                yield from AskNumber()
            except GeneratorExit:
                yield AskText()

    exchange = machine(body())
    exchange.start()
    exchange.close()
    assert exchange.state is State.ERROR
    with pytest.raises(UsageError):
        exchange.answer(1)


def test_close_runs_the_bodys_own_clean_up():
    """`finally` runs exactly once, however it ends."""
    for end in ("close", "garbage", "done", "error"):
        cleaned: list[str] = []

        def body(end=end, cleaned=cleaned):
            try:
                yield from AskNumber()
                if end == "garbage":
                    yield 7
                if end == "error":
                    raise BackendError
                return Sum(1)
            finally:
                cleaned.append(end)

        exchange = machine(body())
        exchange.start()
        if end == "close":
            exchange.close()
        elif end == "done":
            exchange.answer(1)
        else:
            with pytest.raises(SaslError):
                exchange.answer(1)
        exchange.close()
        assert cleaned == [end]


# --- doom ------------------------------------------------------------------------------------


def test_doom_a_refusal_that_is_swallowed_cannot_succeed():
    """The body catches the refusal and returns a result: the refusal is raised instead."""
    doom = Doom()

    def body():
        with suppress(AuthenticationError):
            yield from AskNumber()
        return Sum("in after all")

    exchange = machine(body(), doom)
    exchange.start()
    refusal = AuthenticationError(detail="no")
    with pytest.raises(AuthenticationError) as caught:
        exchange.fail(refusal)
    assert caught.value.detail == "no"
    assert exchange.state is State.ERROR
    assert exchange.result is None


def test_doom_from_outside_while_it_runs_is_seen():
    """Whoever shares the doom may refuse in the middle of the body's own work."""
    doom = Doom()

    def body():
        yield from AskNumber()
        doom.error = AuthenticationError(detail="no")
        yield from AskText()
        return Sum("in after all")

    exchange = machine(body(), doom)
    exchange.start()
    assert type(exchange.answer(1)) is AskText
    assert exchange.state == State.DOOMED
    with pytest.raises(AuthenticationError):
        exchange.answer("still talking")
    assert exchange.state is State.ERROR


def test_doom_from_outside_just_before_the_end_is_seen():
    """Also when nothing is asked between the refusal and the return."""
    doom = Doom()

    def body():
        yield from AskNumber()
        doom.error = AuthenticationError(detail="no")
        return Sum("in after all")

    exchange = machine(body(), doom)
    exchange.start()
    with pytest.raises(AuthenticationError):
        exchange.answer(1)
    assert exchange.result is None


def test_doom_lets_the_body_talk_on():
    """An error challenge may still be sent and answered; the first refusal is the one raised."""
    doom = Doom()
    first = AuthenticationError(detail="first")

    def body():
        for _ in range(3):
            try:
                yield from AskNumber()
            except AuthenticationError:
                continue
        return Sum(1)

    exchange = machine(body(), doom)
    exchange.start()
    exchange.fail(first)
    exchange.fail(AuthenticationError(detail="second"))
    assert exchange.state is State.DOOMED
    with pytest.raises(AuthenticationError) as caught:
        exchange.answer(1)
    assert caught.value.detail == first.detail


def test_doom_may_end_in_another_error():
    """A doomed body that fails in its own way is as good an end."""
    doom = Doom()

    def body():
        try:
            yield from AskNumber()
        except AuthenticationError:
            raise BackendError(detail="and the disk is full") from None
        return Sum(1)

    exchange = machine(body(), doom)
    exchange.start()
    with pytest.raises(BackendError):
        exchange.fail(AuthenticationError())
    assert exchange.state is State.ERROR


def test_doom_is_of_refusals_only():
    """An outage that the body gets over dooms nothing."""
    doom = Doom()

    def body():
        with suppress(BackendError):
            yield from AskNumber()
        return Sum("by another way")

    exchange = machine(body(), doom)
    exchange.start()
    exchange.fail(BackendError())
    assert exchange.state is State.DONE
    assert doom.error is None
