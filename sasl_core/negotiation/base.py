"""What both sides of a negotiation have in common.

Invariants:
- One attempt: after DONE, FAILED or CLOSED nothing can be started or answered.
- Every message of the peer is at most 64 KiB, and there are at most 16 of them.
- An error leaves without frames, causes or secrets, and the exchange is closed by then.
- Identity is readable when it is done, and never before.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from enum import IntEnum
from typing import TYPE_CHECKING, Any, Final, NoReturn

from sasl_core._checks import is_a
from sasl_core._record import record
from sasl_core._sealed import Sealed
from sasl_core.edge import backend_failure, sever
from sasl_core.errors import PeerError, PluginError, SaslError, UsageError, printable
from sasl_core.exchange import Exchange, foreign
from sasl_core.layer import Layer
from sasl_core.needs import (
    NeedAuthorize,
    NeedCall,
    NeedCallback,
    NeedDerivation,
    NeedHttp,
    NeedInitial,
    NeedPassword,
    NeedPeer,
    NeedStore,
    NeedUser,
)
from sasl_core.outcome import Success
from sasl_core.results import Result

if TYPE_CHECKING:
    from sasl_core.context import Context
    from sasl_core.core import Core
    from sasl_core.facts import Facts
    from sasl_core.needs import Need
    from sasl_core.plugs import Needs
    from sasl_core.properties import PropertyContext

__all__ = [
    "MESSAGE_LIMIT",
    "MESSAGES_LIMIT",
    "Negotiation",
    "Phase",
    "Reply",
    "check_data",
    "check_text",
]

MESSAGE_LIMIT: Final = 64 * 1024
"""Longest message of a peer, in bytes."""
MESSAGES_LIMIT: Final = 16
"""Most messages of a peer in one exchange."""

# What a mechanism may ask; the rest belongs to the glue.
MECHANISM_NEEDS: Final = frozenset(
    {
        NeedPeer,
        NeedInitial,
        NeedUser,
        NeedPassword,
        NeedCallback,
        NeedDerivation,
        NeedHttp,
        NeedStore,
        NeedCall,
    }
)
GLUE_NEEDS: Final = frozenset(
    {NeedUser, NeedAuthorize, NeedStore, NeedDerivation, NeedCall, NeedHttp}
)


@record
class Reply(Sealed):
    """What the protocol sends next: `data` (None: nothing, `b""`: an empty message).

    `done`: the exchange is over, and well. On a server, data with `done` travels in the
    success message; on a client, data with `done` is still to be sent.
    """

    data: bytes | None
    done: bool

    def __repr__(self) -> str:
        size = "nothing" if self.data is None else f"{len(self.data)} bytes"
        return f"Reply({size}, done={self.done})"


class Phase(IntEnum):
    """Where a negotiation is.

    RUNNING: a call has not returned yet, and no other is taken. ASKING: a need waits for
    its answer. PEER: the peer's message is due. LAST: an empty one is due and nothing else,
    because a server's last data are out, or because the protocol has no room for a client's
    first. THROUGH: a client's mechanism is satisfied, and the protocol's own success is due
    (`finish`).
    """

    IDLE = 0
    RUNNING = 1
    ASKING = 2
    PEER = 3
    LAST = 4
    THROUGH = 5
    DONE = 6
    FAILED = 7
    CLOSED = 8


IDLE, RUNNING, ASKING, PEER, LAST, THROUGH, DONE, FAILED, CLOSED = Phase


def check_data(what: str, data: object) -> None:
    """Raise UsageError unless `data` is bytes or None."""
    if data is not None and not isinstance(data, bytes):
        raise UsageError(f"{what} is bytes or None, not {type(data).__name__}")


def check_text(what: str, text: object) -> None:
    """Raise UsageError unless `text` is a string."""
    if not isinstance(text, str):
        raise UsageError(f"a {what} is a string, not {type(text).__name__}")


def _nothing() -> Needs[Success]:
    yield from ()
    return Success()


NONE: Final[Exchange[Success]] = Exchange(_nothing(), (), Success, "no exchange")
"""Stands for the exchange where none runs: it is closed, and answers with a UsageError."""
NONE.close()


class Negotiation(Sealed, ABC):
    """One attempt to authenticate, without I/O."""

    __slots__ = (
        "_derived",
        "_detail",
        "_exchange",
        "_received",
        "core",
        "facts",
        "layer",
        "mechanism",
        "need",
        "phase",
    )

    # Each side's `__init__` sets them all: every exchange pays for a call of another one.
    core: Core
    facts: Facts
    phase: Phase
    need: Need | None
    mechanism: str | None
    layer: Layer | None
    _exchange: Exchange[Success]
    _received: int
    # Left unset until they are needed, as most exchanges never need them.
    _derived: bool
    _detail: str | None

    # --- the driver's calls ------------------------------------------------------

    def hear(self, message: bytes) -> Need | Reply:
        """Go on with the peer's next message (`b""`: an empty one), after a `Reply`.

        Never takes the place of an answer: what a peer sends while a need is being
        supplied is refused, and changes nothing.

        Raises:
            UsageError: no message is due, or `message` is not bytes.
            SaslError: the exchange failed.
        """
        phase = self.phase
        if (phase is not PEER and phase is not LAST) or (
            type(message) is not bytes and not is_a(message, bytes)
        ):
            failure: BaseException = sever(self._unheard(message))
        else:
            self.phase = RUNNING
            self._received = received = self._received + 1
            try:
                if received > MESSAGES_LIMIT or len(message) > MESSAGE_LIMIT:
                    self._refuse_message(message)
                if phase is PEER:
                    return self._pump(self._exchange.resume(message))
                return self._heard_last(message)
            except BaseException as error:  # noqa: BLE001 - whatever it is, the exchange ends here.
                failure = self._failed(error)
        message = b""
        raise failure

    def _unheard(self, message: object) -> UsageError:
        """Why `message` is not heard."""
        if self.phase is not PEER and self.phase is not LAST:
            return self._out_of_order("no message of the peer is due")
        return UsageError(f"a message is bytes, not {type(message).__name__}")

    def answer(self, value: object) -> Need | Reply:
        """Go on with the answer to the last need.

        A wrong type is a UsageError that changes nothing.

        Raises:
            UsageError: nothing was asked.
            SaslError: the exchange failed.
        """
        need: Any = self.need
        if self.phase is not ASKING or not isinstance(value, need.supplied_type):
            failure: BaseException = sever(self._unanswered(value))
        else:
            self.phase = RUNNING
            self.need = None
            try:
                return self._answered(need, value)
            except BaseException as error:  # noqa: BLE001 - whatever it is, the exchange ends here.
                failure = self._failed(error)
        # A NeedDerivation holds the password, and this frame is in the traceback.
        value = need = None
        raise failure

    def _unanswered(self, value: object) -> UsageError:
        """Why `value` is no answer."""
        if self.phase is not ASKING:
            return self._out_of_order("nothing was asked")
        return UsageError(
            f"{type(self.need).__name__} is not answered by a {type(value).__name__}",
            code="wrong-answer",
        )

    def fail(self, error: Exception) -> Need | Reply:
        """Go on with the failure to answer: `error` is raised where the need was yielded.

        Call it after your `except` clause, not in it: Python makes the exception that is
        being handled the context of whatever is raised meanwhile.
        """
        need = self.need
        if self.phase is not ASKING or need is None:
            raise self._out_of_order("nothing was asked")
        if not is_a(error, Exception):
            raise UsageError(f"a failure is an exception, not a {type(error).__name__}")
        self.phase = RUNNING
        self.need = None
        # The foreign one, whose text may hold a secret, does not stay in this frame.
        error = backend_failure(need, error)
        try:
            return self._failed_to_answer(need, error)
        except BaseException as raised:  # noqa: BLE001 - whatever it is, the exchange ends here.
            failure = self._failed(raised)
        need = None
        raise failure

    def _failed_to_answer(self, need: Need, error: SaslError) -> Need | Reply:
        del need
        return self._pump(self._exchange.fail(error))

    def close(self) -> None:
        """End it. Closes the exchange and the security layer; idempotent."""
        phase = self.phase
        self.phase = CLOSED
        if phase is DONE:
            # Everything but the layer was let go of then.
            if self.layer is not None:
                self._close_layer()
        elif phase is not CLOSED:
            self._drop()
            self._close_layer()

    # --- what became of it ---------------------------------------------------------

    @property
    def done(self) -> bool:
        """Whether it ended well."""
        return self.phase is DONE

    def _context_when_done(self) -> Context[Any]:
        context = self._current()
        if self.phase is not DONE or context is None or context.user is None:
            raise UsageError(
                "the exchange is not done; nobody is authenticated",
                code="not-done",
                result=Result.NOTDONE,
            )
        return context

    @property
    def authid(self) -> str:
        """Who was authenticated. UsageError (NOTDONE) before it is done."""
        user = self._context_when_done().user
        return user.authid if user is not None else ""

    @property
    def authzid(self) -> str:
        """As whom it acts. UsageError (NOTDONE) before it is done."""
        user = self._context_when_done().user
        return user.authzid if user is not None else ""

    @property
    def properties(self) -> PropertyContext:
        """What was found of the requested properties. UsageError (NOTDONE) before."""
        user = self._context_when_done().user
        if user is None:  # pragma: no cover - _context_when_done has checked.
            raise UsageError("no user")
        return user.properties

    @property
    def channel_binding(self) -> str | None:
        """The type of channel binding that was used. UsageError (NOTDONE) before."""
        return self._context_when_done().bound

    @property
    def ssf(self) -> int:
        """Strength of the negotiated security layer in bits, without the external one."""
        _ = self._context_when_done()
        return 0 if self.layer is None else self.layer.ssf

    @property
    def error_detail(self) -> str | None:
        """Why it failed, for the administrator. Never show it to the peer."""
        context = self._current()
        return getattr(self, "_detail", None) if context is None else context.detail

    # --- the machine ------------------------------------------------------------------

    def _out_of_order(self, why: str) -> UsageError:
        phase = self.phase
        if phase is IDLE:
            why = "nothing was started"
        elif phase is RUNNING or phase is ASKING:
            why = f"{why}: another call is under way"
        elif phase >= DONE:
            why = f"the exchange is over ({phase.name.lower()}); a new attempt needs a new session"
        return UsageError(why, code="out-of-order")

    def _begin(self) -> None:
        self.core.check_open()
        if self.phase is not IDLE:
            raise UsageError(
                "a session is for one attempt; make a new session", code="out-of-order"
            )
        self.phase = RUNNING

    def _surface(self, need: Need) -> Need:
        self._enter(ASKING)
        self.need = need
        return need

    def _enter(self, phase: Phase) -> None:
        """Leave RUNNING."""
        if self.phase is not RUNNING:
            self._closed_meanwhile()
        self.phase = phase

    @staticmethod
    def _closed_meanwhile() -> NoReturn:
        """A session that was closed while it ran does not come back to life."""
        raise UsageError("the session was closed while it ran", code="closed")

    def _refuse_message(self, message: bytes) -> NoReturn:
        if len(message) > MESSAGE_LIMIT:
            raise PeerError(
                "the message is too long",
                code="message-too-long",
                detail=f"a message of {len(message)} bytes; at most {MESSAGE_LIMIT} are accepted",
            )
        raise PeerError(
            "too many messages",
            code="too-many-messages",
            detail=f"more than {MESSAGES_LIMIT} messages in one exchange",
        )

    def _count_derivation(self) -> None:
        if getattr(self, "_derived", False):
            raise PluginError(
                self.mechanism or "?", "", "asks for a second key derivation in one exchange"
            )
        self._derived = True

    @abstractmethod
    def _current(self) -> Context[Any] | None:
        """The exchange's context, once there is one."""

    @abstractmethod
    def _heard_last(self, message: bytes) -> Need | Reply:
        """Go on with the message that had to be empty (phase LAST)."""

    @abstractmethod
    def _answered(self, need: Any, value: object) -> Need | Reply:
        """Resume with a checked answer to `need`."""

    @abstractmethod
    def _pump(self, need: Need | None) -> Need | Reply:
        """Handle what the exchange asks until something surfaces."""

    @abstractmethod
    def _report(self, error: SaslError) -> None:
        """Log and audit the failure `error`."""

    def _drop(self) -> None:
        """Let go of everything that may hold a secret."""
        self.need = None
        exchange, self._exchange = self._exchange, NONE
        exchange.close()

    def _take_over(self, success: Success) -> None:
        """Hold what a mechanism ends with to its types, and become the owner of its layer."""
        layer: object = success.layer
        if layer is not None:
            if not is_a(layer, Layer):
                self._abandon(f"returned a layer that is a {type(layer).__name__}")
            self.layer = success.layer
        self._check_output(success.data)

    def _check_output(self, data: object) -> None:
        if data is not None and not isinstance(data, bytes):
            self._abandon(f"sends {type(data).__name__}; a message is bytes or None")

    def _strength_problem(self) -> str | None:
        """What is wrong with the layer that was negotiated, or with its absence."""
        facts = self.facts
        security = facts.security or self.core.security
        layer = self.layer
        ssf = 0 if layer is None else layer.ssf
        external = facts.external_ssf
        if ssf + external < security.min_ssf:
            return f"ended with SSF {ssf} on top of {external}; min_ssf is {security.min_ssf}"
        if layer is None:
            return None
        if not security.maxbufsize:
            return "ended with a security layer, which maxbufsize 0 forbids"
        if ssf > max(0, security.max_ssf - external):
            return f"ended with SSF {ssf} on top of {external}; max_ssf is {security.max_ssf}"
        return None

    def _close_layer(self) -> None:
        layer, self.layer = self.layer, None
        if layer is not None:
            try:
                layer.close()
            except Exception as error:  # noqa: BLE001 - whatever a plugin raises; it is the end.
                self.core.log_failure("closing a security layer", error)

    def _failed(self, error: BaseException) -> BaseException:
        """End the exchange with `error`, and return what is raised instead of it."""
        if self.phase is not CLOSED:
            self.phase = FAILED
        elif isinstance(error, Exception):
            # Closed by a callback, or a store, while it ran: what that led to is nobody's fault.
            _ = sever(error)
            error = UsageError("the session was closed while it ran", code="closed")
        self._close_layer()
        if isinstance(error, Exception) and not isinstance(error, SaslError):
            # Neither a mechanism nor a runner: an application's callable, or a fault of ours.
            error = foreign(error, self.mechanism or "negotiation")
        _ = sever(error)
        context = self._current()
        if isinstance(error, SaslError):
            if context is not None:
                if error.detail is not None:
                    context.seterror(error.detail)
                elif context.detail is None and str(error) != error.default_message:
                    # A message that says what was wrong is as good as a detail.
                    context.seterror(str(error))
                error.detail = context.detail
            else:
                # It failed before there was a context: no such mechanism, a message too long.
                self._detail = error.detail or printable(str(error))
            self._drop()
            self._report(error)
        else:
            self._drop()
        return error

    def _abandon(self, why: str) -> NoReturn:
        raise PluginError(self.mechanism or "?", "", why, code="plugin-fault")
