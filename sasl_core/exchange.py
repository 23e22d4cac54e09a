"""The machine around one generator of needs.

Invariants:
- The state changes as `TRANSITIONS` says and in no other way; diagrams are drawn from it.
- DONE and ERROR are terminal, and the generator is closed in both.
- A refusal dooms the exchange: from then on it may still ask and be answered (an error
  challenge, say), but only ERROR can follow, whatever the generator returns.
- Nothing foreign leaves: an exception that is no SaslError becomes one that names its
  type and place, and keeps neither its text nor its frames.

It knows nothing of SASL: the needs it lets through and the type of the result are its
parameters, so that other machines run on it too.
"""

from __future__ import annotations

from collections.abc import Collection, Generator
from enum import IntEnum
from types import GeneratorType
from typing import Any, Final, Generic, TypeVar

from sasl_core._checks import is_a
from sasl_core._sealed import Sealed
from sasl_core.errors import AuthenticationError, PluginError, SaslError, UsageError

__all__ = ["STARTED", "TRANSITIONS", "Doom", "Event", "Exchange", "State"]

R = TypeVar("R")


class State(IntEnum):
    """Where the exchange is."""

    READY = 0
    RUNNING = 1
    WAITING = 2
    DYING = 3
    DOOMED = 4
    DONE = 5
    ERROR = 6


class Event(IntEnum):
    """What happens to it. REFUSE: the exchange was refused while it ran or waited."""

    START = 0
    ASK = 1
    ANSWER = 2
    RETURN = 3
    RAISE = 4
    REFUSE = 5
    CLOSE = 6


TRANSITIONS: Final[dict[State, dict[Event, State]]] = {
    State.READY: {Event.START: State.RUNNING, Event.CLOSE: State.ERROR},
    State.RUNNING: {
        Event.ASK: State.WAITING,
        Event.RETURN: State.DONE,
        Event.RAISE: State.ERROR,
        Event.REFUSE: State.DYING,
    },
    State.WAITING: {
        Event.ANSWER: State.RUNNING,
        Event.REFUSE: State.DOOMED,
        Event.CLOSE: State.ERROR,
    },
    # Running, but refused: it may ask again, it may not succeed any more.
    State.DYING: {Event.ASK: State.DOOMED, Event.RETURN: State.ERROR, Event.RAISE: State.ERROR},
    State.DOOMED: {
        Event.ANSWER: State.DYING,
        Event.REFUSE: State.DOOMED,
        Event.CLOSE: State.ERROR,
    },
    State.DONE: {Event.CLOSE: State.DONE},
    State.ERROR: {Event.CLOSE: State.ERROR},
}

READY, RUNNING, WAITING, DYING, DOOMED, DONE, ERROR = State
START, ASK, ANSWER, RETURN, RAISE, REFUSE, CLOSE = Event


def _column(event: Event) -> dict[State, State]:
    return {state: row[event] for state, row in TRANSITIONS.items() if event in row}


# The table by event, for those that every step has: one look-up, without a call.
STARTED, _ANSWERED, _ASKED, _RETURNED = map(_column, (START, ANSWER, ASK, RETURN))


class Doom:
    """The refusal of one exchange, shared by the machine and by whoever may refuse.

    Base of whatever refuses: `error` is None until it has.
    """

    __slots__ = ("error",)

    def __init__(self) -> None:
        self.error: SaslError | None = None


def foreign(error: BaseException, label: str) -> PluginError:
    """The error of ours that stands for a foreign exception of the plugin `label`.

    Names the type and the place it came from. Its text is dropped: that of a
    UnicodeDecodeError, for one, holds the whole message with the password.
    """
    cause = error.__cause__
    if isinstance(error, RuntimeError) and isinstance(cause, StopIteration):
        # The interpreter's RuntimeError about a stray one does not say where it came from.
        error = cause
    place = ""
    traceback = error.__traceback__
    while traceback is not None:
        code = traceback.tb_frame.f_code
        file = code.co_filename.replace("\\", "/").rpartition("/")[2]
        place = f" at {file}:{traceback.tb_lineno} in {code.co_name}"
        traceback = traceback.tb_next
    return PluginError(label, "", f"raised {type(error).__name__}{place}", code="plugin-fault")


class Exchange(Sealed, Generic[R]):
    """Runs `generator`, need by need.

    `needs`: the types that it may yield. `result_type`: what it must return. `label`
    names it in errors. `start`, `answer` and `fail` return the next need, or None when
    the generator has returned (`result`); they raise its SaslError when it failed.
    """

    __slots__ = (
        "_doom",
        "_generator",
        "_label",
        "_needs",
        "_result_type",
        "need",
        "result",
        "state",
    )

    def __init__(
        self,
        generator: Generator[Any, object, R],
        needs: Collection[type],
        result_type: type[R],
        label: str,
        doom: Doom | None = None,
    ) -> None:
        # A body without a single `yield` is a plain function: it has run already.
        kind: type[object] = type(generator)
        if kind is not GeneratorType and not is_a(generator, Generator):
            raise PluginError(
                label,
                "",
                f"its body returned {type(generator).__name__} instead of a generator; "
                "it has no `yield from` in it",
                code="plugin-fault",
            )
        self._generator: Generator[Any, object, R] = generator
        self._needs = needs
        self._result_type = result_type
        self._label = label
        self._doom = Doom() if doom is None else doom
        self.state = READY
        self.need: Any = None
        self.result: R | None = None

    def _move(self, event: Event) -> None:
        try:
            self.state = TRANSITIONS[self.state][event]
        except KeyError:
            raise UsageError(
                f"{self._label}: {event.name} is not possible in state {self.state.name}",
                code="out-of-order",
                detail=f"{self._label}: {event.name} in state {self.state.name}",
            ) from None

    def start(self) -> Any:
        """Run to the first need."""
        if self.state not in STARTED:
            self._move(START)
        return self.resume(None, STARTED)

    def answer(self, value: object) -> Any:
        """Resume with the answer to `need`.

        Raises:
            UsageError: nothing was asked, or `value` is of the wrong type; the latter
                leaves the exchange waiting.
        """
        need = self.need
        if need is not None and not isinstance(value, need.answer_type):
            raise UsageError(
                f"{type(need).__name__} is not answered by a {type(value).__name__}",
                code="wrong-answer",
            )
        if self.state not in _ANSWERED:
            self._move(ANSWER)
        return self.resume(value)

    def fail(self, error: SaslError) -> Any:
        """Throw `error` into the generator in place of an answer.

        A refusal (AuthenticationError) dooms the exchange, whether it is caught or not.
        """
        if self.state not in _ANSWERED:
            self._move(ANSWER)
        if isinstance(error, AuthenticationError):
            self._move(REFUSE)
            if self._doom.error is None:
                # A copy, which is not raised: what is raised gathers frames.
                self._doom.error = AuthenticationError(
                    code=error.code, result=error.result, detail=error.detail, wire=error.wire
                )
        self.state = _ANSWERED[self.state]
        try:
            need = self._generator.throw(error)
        except BaseException as raised:  # noqa: BLE001 - whatever it is, it is told what it means.
            failure = self._stopped(raised)
        else:
            return self._asked(need)
        if failure is None:
            return None
        raise failure

    def close(self) -> None:
        """Close the generator. Idempotent, and harmless after the end."""
        if self.state is RUNNING or self.state is DYING:
            # Closed from within; whoever runs it sees its end.
            return
        self._move(CLOSE)
        self.need = None
        self._end()

    def _end(self) -> None:
        try:
            self._generator.close()
        except (Exception, SystemExit):  # noqa: BLE001 - a body that clings changes nothing.
            self.need = None

    def resume(self, value: Any, after: dict[State, State] = _ANSWERED) -> Any:
        """Run to the next need: `answer`, for a caller who has checked the answer's type.

        With None and `STARTED` it starts.
        """
        self.state = after[self.state]
        try:
            need = self._generator.send(value)
        except BaseException as raised:  # noqa: BLE001 - whatever it is, it is told what it means.
            failure = self._stopped(raised)
        else:
            if self._doom.error is not None or type(need) not in self._needs:
                return self._asked(need)
            self.state = _ASKED[self.state]
            self.need = need
            return need
        if failure is None:
            return None
        # Raised out here, so that what was caught does not become its context.
        raise failure

    def _asked(self, need: Any) -> Any:
        """Hold what was yielded to the needs; a doomed exchange may still ask."""
        if type(need) in self._needs:
            if self._doom.error is not None and self.state is RUNNING:
                self._move(REFUSE)
            self._move(ASK)
            self.need = need
            return need
        self._raised()
        self._end()
        raise PluginError(
            self._label,
            "",
            f"yielded {type(need).__name__}, which is no need; write `yield from`",
            code="plugin-fault",
        )

    def _stopped(self, raised: BaseException) -> BaseException | None:
        """The body has ended, by `raised`: what to raise for that; None: it has returned well."""
        error = self._doom.error
        if isinstance(raised, StopIteration):
            result = raised.value
            if error is None and isinstance(result, self._result_type):
                self.need = None
                self.state = _RETURNED[self.state]
                self.result = result
                return None
            self._raised()
            if error is not None:
                return error
            return PluginError(
                self._label,
                "",
                f"returned {type(result).__name__} instead of {self._result_type.__name__}",
                code="plugin-fault",
            )
        self._raised()
        if isinstance(raised, SaslError):
            return raised
        if isinstance(raised, (Exception, SystemExit, GeneratorExit)):
            return foreign(raised, self._label)
        # KeyboardInterrupt and cancellation belong to whoever runs us.
        return raised

    def _raised(self) -> None:
        self.need = None
        if self._doom.error is not None and self.state is RUNNING:
            self._move(REFUSE)
        self._move(RAISE)
