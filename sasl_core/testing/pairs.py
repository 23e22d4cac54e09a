"""A client and a server wired together in memory, with somebody in the middle.

`ExchangePair.play` is a generator of calls: it yields each call of a session as a function
and is resumed with what that returned, or with what it raised. So one body serves blocking
and asyncio sessions; `drivers` makes the calls.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator
from enum import Enum
from typing import TYPE_CHECKING, Any, Final, Protocol, TypeAlias, cast

import attrs

from sasl_core._record import record
from sasl_core.errors import UsageError
from sasl_core.flags import Side
from sasl_core.negotiation import Phase, Reply
from sasl_core.testing.setups import fail

if TYPE_CHECKING:
    from sasl_core.negotiation import ClientNegotiation, Negotiation, ServerNegotiation

__all__ = [
    "FRAMINGS",
    "AnyClientSession",
    "AnyServerSession",
    "Call",
    "Ending",
    "ExchangePair",
    "Framing",
    "Message",
    "Outcome",
    "Slot",
    "Tamper",
]

Call: TypeAlias = Callable[[], object]
"""A call of a session; an asyncio session's returns an awaitable."""

DELIVERIES_LIMIT: Final = 100
"""Far more than 16 messages of each side."""


class AnyServerSession(Protocol):
    """A server's session of any driver."""

    def peek(self) -> ServerNegotiation: ...
    def start(self, mechanism: str, initial: bytes | None = None) -> Any: ...
    def step(self, response: bytes) -> Any: ...
    def close(self) -> None: ...


class AnyClientSession(Protocol):
    """A client's session of any driver."""

    def peek(self) -> ClientNegotiation: ...
    def start(self, offered: list[str]) -> Any: ...
    def step(self, challenge: bytes) -> Any: ...
    def finish(self, data: bytes | None = None) -> Any: ...
    def refused(self) -> bool: ...
    def close(self) -> None: ...


@record
class Framing:
    """What a protocol can carry: an initial response, data with its success message."""

    initial_response: bool
    success_data: bool

    def __str__(self) -> str:
        first = "with" if self.initial_response else "without"
        last = "with" if self.success_data else "without"
        return f"{first} initial response, {last} success data"


FRAMINGS: Final = tuple(
    Framing(initial_response, success_data)
    for initial_response in (True, False)
    for success_data in (True, False)
)
"""The four there are."""


class Slot(Enum):
    """What a protocol calls the message."""

    INITIAL = "initial response"
    CHALLENGE = "challenge"
    RESPONSE = "response"
    SUCCESS = "success"
    FAILURE = "failure"


@record
class Message:
    """One message. `number` counts from 0, for each sender; `data` None: there are none.

    `mechanism`: the name that an INITIAL carries.
    """

    sender: Side
    number: int
    slot: Slot
    data: bytes | None = attrs.field(repr=False)
    mechanism: str = ""

    def __str__(self) -> str:
        return f"{self.sender.name.lower()}'s message {self.number} ({self.slot.value})"

    def carrying(self, data: bytes | None, slot: Slot | None = None) -> Message:
        """The same with other data, or as another kind of message."""
        return Message(
            self.sender, self.number, self.slot if slot is None else slot, data, self.mechanism
        )


Tamper: TypeAlias = Callable[[Message], "list[Message] | None"]
"""Called with each message; returns what is delivered in its place, None for the message."""


@record
class Ending:
    """How one side ended.

    `ok`: a server that is done, a client that has accepted the success message. `error`:
    what it raised; `detail`: its `error_detail`. `live`: whether the error answers bytes
    of the peer, rather than a call that no session would have taken.
    """

    ok: bool = False
    error: Exception | None = None
    detail: str | None = None
    live: bool = False
    mechanism: str | None = None
    authid: str = ""
    authzid: str = ""
    binding: str | None = None
    ssf: int = 0


@record
class Outcome:
    """What became of an exchange. `transcript`: every message as it was sent, in order."""

    framing: Framing
    server: Ending
    client: Ending
    transcript: tuple[Message, ...] = attrs.field(repr=False)

    @property
    def worked(self) -> bool:
        """Whether both sides succeeded."""
        return self.server.ok and self.client.ok

    def sent(self, sender: Side) -> list[Message]:
        """The messages of one side."""
        return [message for message in self.transcript if message.sender is sender]

    def shape(self) -> list[tuple[str, str, int | None]]:
        """Who sent what kind of message of which length."""
        return [
            (m.sender.name, m.slot.value, None if m.data is None else len(m.data))
            for m in self.transcript
        ]


class ExchangePair:
    """One exchange between `server` and `client`, framed as the protocol would.

    `mechanism` is what the server offers; several names are separated by spaces.
    """

    def __init__(
        self,
        server: AnyServerSession,
        client: AnyClientSession,
        mechanism: str,
        framing: Framing,
        tamper: Tamper | None = None,
    ) -> None:
        self.server = server
        self.client = client
        self.mechanism = mechanism
        self.framing = framing
        self.transcript: list[Message] = []
        self._tamper = tamper
        self._in_flight: deque[Message] = deque()
        self._counts = {Side.CLIENT: 0, Side.SERVER: 0}
        self._endings: dict[Side, Ending] = {}

    def play(self) -> Generator[Call, object, Outcome]:
        """Run the exchange to its end; the sessions stay open, to be looked at."""
        yield from self._client_starts()
        deliveries = 0
        while self._in_flight:
            deliveries += 1
            if deliveries > DELIVERIES_LIMIT:
                fail(f"{self.mechanism}: the exchange does not end")
            message = self._in_flight.popleft()
            if message.sender is Side.CLIENT:
                yield from self._server_hears(message)
            else:
                yield from self._client_hears(message)
        return Outcome(
            self.framing,
            self._endings.get(Side.SERVER, Ending()),
            self._endings.get(Side.CLIENT, Ending()),
            tuple(self.transcript),
        )

    def close(self) -> None:
        """Close both sessions."""
        self.server.close()
        self.client.close()

    # --- the two sides -----------------------------------------------------------------

    def _client_starts(self) -> Generator[Call, object, None]:
        reply = yield from self._made(
            Side.CLIENT, lambda: self.client.start(self.mechanism.split()), live=False
        )
        if reply is not None:
            name = self.client.peek().mechanism or ""
            self._send(Side.CLIENT, Slot.INITIAL, reply.data, name)

    def _server_hears(self, message: Message) -> Generator[Call, object, None]:
        data = message.data
        starts = message.slot is Slot.INITIAL
        if Side.SERVER in self._endings:
            yield from self._after_the_end(Side.SERVER, lambda: self.server.step(data or b""))
            return
        phase = self.server.peek().phase
        live = phase is Phase.IDLE if starts else phase in (Phase.PEER, Phase.LAST)

        def call() -> object:
            if starts:
                return self.server.start(message.mechanism, data)
            return self.server.step(cast("bytes", data))

        reply = yield from self._made(Side.SERVER, call, live=live and (starts or data is not None))
        if reply is None:
            error = self._endings[Side.SERVER].error
            self._send(Side.SERVER, Slot.FAILURE, getattr(error, "wire", None))
        elif reply.done:
            self._endings[Side.SERVER] = _done(self.server.peek())
            self._send(Side.SERVER, Slot.SUCCESS, reply.data)
        else:
            self._send(Side.SERVER, Slot.CHALLENGE, reply.data)

    def _client_hears(self, message: Message) -> Generator[Call, object, None]:
        data = message.data
        if Side.CLIENT in self._endings:
            yield from self._after_the_end(Side.CLIENT, lambda: self.client.step(data or b""))
            return
        live = self.client.peek().phase in (Phase.PEER, Phase.LAST) and data is not None
        if message.slot is Slot.SUCCESS:
            live = self.client.peek().phase in (Phase.PEER, Phase.THROUGH, Phase.DONE)
            accepted = yield from self._made(
                Side.CLIENT, lambda: self.client.finish(data), live=live
            )
            if accepted is not None:
                self._endings[Side.CLIENT] = _done(self.client.peek())
            return
        if message.slot is Slot.FAILURE:
            if data is not None and live:
                _ = yield from self._made(Side.CLIENT, lambda: self.client.step(data), live=True)
            # Told that it is refused, a client gives up, and what it keeps is dropped.
            if Side.CLIENT not in self._endings:
                _ = yield from self._made(Side.CLIENT, self.client.refused, live=False)
            _ = self._endings.setdefault(
                Side.CLIENT, Ending(mechanism=self.client.peek().mechanism)
            )
            return
        reply = yield from self._made(
            Side.CLIENT, lambda: self.client.step(cast("bytes", data)), live=live
        )
        if reply is not None:
            # A challenge is always answered, if only by an empty response.
            self._send(Side.CLIENT, Slot.RESPONSE, b"" if reply.data is None else reply.data)

    # --- calls and messages --------------------------------------------------------------

    def _made(self, side: Side, call: Call, *, live: bool) -> Generator[Call, object, Reply | None]:
        """The reply to a call; None when it raised, which ends that side."""
        raw: Negotiation = self.server.peek() if side is Side.SERVER else self.client.peek()
        try:
            answer = yield call
        except Exception as error:  # noqa: BLE001 - what may be raised is judged by the checks.
            self._endings[side] = Ending(
                error=error, detail=raw.error_detail, live=live, mechanism=raw.mechanism
            )
            return None
        return answer if isinstance(answer, Reply) else Reply(None, done=True)

    def _after_the_end(self, side: Side, call: Call) -> Generator[Call, object, None]:
        """A message reaches a side that has succeeded: it may not take it.

        One that has failed is not there any more.
        """
        if self._endings[side].ok:
            try:
                answer = yield call
            except UsageError:
                return
            fail(f"{self.mechanism}: the {side.name.lower()} is done, and answers {answer!r}")

    def _send(self, sender: Side, slot: Slot, data: bytes | None, mechanism: str = "") -> None:
        message = Message(sender, self._counts[sender], slot, data, mechanism)
        self._counts[sender] += 1
        self.transcript.append(message)
        delivered = None if self._tamper is None else self._tamper(message)
        self._in_flight.extend([message] if delivered is None else delivered)


def _done(negotiation: Negotiation) -> Ending:
    return Ending(
        ok=True,
        detail=negotiation.error_detail,
        mechanism=negotiation.mechanism,
        authid=negotiation.authid,
        authzid=negotiation.authzid,
        binding=negotiation.channel_binding,
        ssf=negotiation.ssf,
    )
