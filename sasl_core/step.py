"""For authors who port a mechanism written as a state and a step function.

`new_state` is Cyrus's mech_new, `step` its mech_step, `dispose` its mech_dispose. The
adapter turns them into a `converse` generator; everything else about the plug is the same.
"""

from __future__ import annotations

from abc import abstractmethod
from typing import TYPE_CHECKING, Generic, TypeAlias, TypeVar

from sasl_core._record import record
from sasl_core.flags import Feature
from sasl_core.needs import NeedInitial, NeedPeer
from sasl_core.outcome import Success
from sasl_core.plugs import ClientPlug, ServerPlug

if TYPE_CHECKING:
    from sasl_core.context import ClientContext, ServerContext
    from sasl_core.plugs import Needs

__all__ = ["ClientStepMechanism", "ServerStepMechanism", "Step"]

S = TypeVar("S")


@record
class Step:
    """A step that wants to hear from the peer again, after `output` (None: nothing)."""

    output: bytes | None = None


StepResult: TypeAlias = "Step | Success"


class ServerStepMechanism(ServerPlug, Generic[S]):
    """A server mechanism of a state `S` and a step function."""

    @abstractmethod
    def new_state(self, ctx: ServerContext) -> S:
        """The state at the beginning of an exchange (mech_new)."""

    @abstractmethod
    def step(self, ctx: ServerContext, state: S, data: bytes | None) -> Needs[StepResult]:
        """One step (mech_step): `data` is the client's message.

        None at the first step of a SERVER_FIRST mechanism, and for one with neither flag
        when the client sent no initial response.
        """

    def dispose(self, state: S) -> None:
        """The exchange is over, however it ended (mech_dispose)."""

    def converse(self, ctx: ServerContext) -> Needs[Success]:
        state = self.new_state(ctx)
        try:
            data: bytes | None
            if self.features & Feature.SERVER_FIRST:
                data = None
            elif self.features & Feature.WANT_CLIENT_FIRST:
                data = yield from NeedPeer()
            else:
                data = yield from NeedInitial()
            while True:
                outcome = yield from self.step(ctx, state, data)
                if isinstance(outcome, Success):
                    return outcome
                data = yield from NeedPeer(outcome.output)
        finally:
            self.dispose(state)


class ClientStepMechanism(ClientPlug, Generic[S]):
    """A client mechanism of a state `S` and a step function."""

    @abstractmethod
    def new_state(self, ctx: ClientContext) -> S:
        """The state at the beginning of an exchange (mech_new)."""

    @abstractmethod
    def step(self, ctx: ClientContext, state: S, data: bytes | None) -> Needs[StepResult]:
        """One step (mech_step): `data` is the server's message, None at the first one."""

    def dispose(self, state: S) -> None:
        """The exchange is over, however it ended (mech_dispose)."""

    def converse(self, ctx: ClientContext) -> Needs[Success]:
        state = self.new_state(ctx)
        try:
            data: bytes | None = None
            while True:
                outcome = yield from self.step(ctx, state, data)
                if isinstance(outcome, Success):
                    return outcome
                data = yield from NeedPeer(outcome.output)
        finally:
            self.dispose(state)
