"""The states of a MongoDB server's connection, without I/O and without the commands.

Octets go in (`receive`), events come out (`next_event`), answers wait to be sent
(`data_to_send`). Whoever drives it answers each event of the table below before it asks for
the next; until then nothing more of what the client sent is looked at.

    event             answered by
    AuthStarted       challenge, auth_succeeded or auth_failed
    AuthContinued     the same
    CommandReceived   command_done
    ProvidersGiven    providers_taken
    AuthEnded         nothing
    LoggedOut         nothing
    Closed            nothing

Invariants: every request that wants an answer has exactly one, in the order of the requests;
whoever is refused hears the same whatever the cause; a login is replaced by the success of the
next and by nothing else, and one that has lapsed lets its client use up no more than nobody may;
what is kept of a client's input is below one message. No input raises; a `UsageError` is the
driver's fault.

Source: MongoDB's manual, "MongoDB Wire Protocol"; the driver authentication specification.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from enum import Enum, auto
from typing import TYPE_CHECKING, Final

from sasl_core.plugin import MechanismError, PeerError, SaslError, UsageError, record
from sasl_profiles.mongodb import codes
from sasl_profiles.mongodb.events import CLOSED
from sasl_profiles.mongodb.exchange import authenticated, result
from sasl_profiles.mongodb.wire import Request, RequestReader, format_msg, format_reply
from sasl_tokens.bson import encode_document

if TYPE_CHECKING:
    from collections.abc import Mapping

    from sasl_profiles.mongodb.codes import Failure
    from sasl_profiles.mongodb.events import Event, Limits, Login
    from sasl_profiles.mongodb.exchange import Payload, Start

__all__ = ["Conversation", "State", "Underway"]

_LAST_ID: Final = 0x7FFFFFFF


class State(Enum):
    """What the connection waits for."""

    REQUEST = auto()  # a message is read
    WAIT_AUTH = auto()  # these three wait for the driver
    WAIT_COMMAND = auto()
    WAIT_PROVIDERS = auto()
    CLOSED = auto()


@record
class Underway:
    """An exchange that goes on. `speculative`: it began inside of a hello.

    `as_text`: its last message had its payload as text. `whole`: it has one answer, who is in.
    """

    as_text: bool
    speculative: bool
    whole: bool = False


class Conversation(ABC):
    """The state of one connection; a subclass brings the commands.

    `embedded`: somebody takes the commands that are not known here.
    `login`: who is logged in, None for nobody. `lapsed`: the login did not stand any more when
    the client asked last, and it has been told. `exchanging`: an exchange is under way.
    `progress` counts the messages that the client completed: a driver's idle time runs from
    its last change.
    """

    def __init__(self, limits: Limits, *, embedded: bool) -> None:
        self._limits = limits
        # Longest message of who is logged in: large ones are taken for somebody who wants them.
        self._message_size = limits.message_size if embedded else limits.login_message_size
        self._reader = RequestReader()
        self._out = bytearray()
        self._pending: Event | None = None
        self._state = State.REQUEST
        self._request: Request | None = None  # The one that is to be answered.
        self._hello: dict[str, object] | None = None  # Its answer, if an exchange is inside.
        self._underway: Underway | None = None
        self._last_id = self._errors = self._auth_failures = 0
        self.login: Login | None = None
        self.lapsed = False
        self.progress = 0

    @abstractmethod
    def _command(self, request: Request) -> None:
        """Deal with a request; may set the state and the pending event."""

    @property
    def authenticated(self) -> bool:
        """Whether somebody is logged in, be it that the login has lapsed."""
        return self.login is not None

    @property
    def exchanging(self) -> bool:
        """Whether an exchange is under way."""
        return self._underway is not None

    def stands(self) -> bool:
        """Whether somebody is logged in whose login stands, which is asked anew.

        Who waits for the answer to a command asked it in time, and who is sent away is not asked.
        """
        if self.login is None or self._state in {State.WAIT_COMMAND, State.CLOSED}:
            return self.login is not None
        return self.login.valid()

    # --- what the driver calls --------------------------------------------------------------

    def receive(self, data: bytes) -> None:
        """Take octets from the client; `b""` when it has closed its side."""
        if not data:
            self.give_up()
        elif self._state is not State.CLOSED:
            self._reader.feed(data)

    def data_to_send(self) -> bytes:
        """The octets that wait to be sent; each is handed out once."""
        data = bytes(self._out)
        self._out.clear()
        return data

    def next_event(self) -> Event | None:
        """The next event, or None until more octets arrive.

        Raises:
            UsageError: the last event has not been answered.
        """
        while self._pending is None:
            if self._state is State.CLOSED:
                return CLOSED
            if self._state is not State.REQUEST:
                raise UsageError(f"the connection waits for an answer: {self._state.name}")
            if not self._read():
                return None
        event, self._pending = self._pending, None
        return event

    def challenge(self, data: bytes) -> None:
        """Answer an exchange's event: it goes on with this challenge."""
        underway = self._expect_auth()
        if underway.whole:
            raise UsageError("an authenticate cannot be answered by a challenge")
        self._finish_auth(result(data, done=False, as_text=underway.as_text))

    def auth_succeeded(self, login: Login, data: bytes | None = None) -> None:
        """Answer an exchange's event: the client is who it says. `data`: the last it hears."""
        underway = self._expect_auth()
        self.login, self.lapsed = login, False
        self._underway = None
        self._auth_failures = self._errors = 0
        if underway.whole:
            self._finish_auth(authenticated(login.user, login.database))
        else:
            self._finish_auth(result(data or b"", done=True, as_text=underway.as_text))

    def auth_failed(self, error: SaslError) -> None:
        """Answer an exchange's event: the client is refused; the session can be closed at once.

        Nothing carries a mechanism's last word (`error.wire`); every client hears the same.
        """
        _ = self._expect_auth()
        self._refuse_auth(
            codes.MECHANISM_UNAVAILABLE
            if isinstance(error, MechanismError)
            else codes.AUTHENTICATION_FAILED
        )

    def command_done(self, answer: Mapping[str, object] | bytes | None) -> None:
        """Answer `CommandReceived`: with a document, or BSON as it is; None: it failed."""
        self._expect(State.WAIT_COMMAND)
        self._state = State.REQUEST
        if answer is None:
            self._send(codes.INTERNAL_ERROR.document())
        else:
            self._send(answer)

    def providers_taken(self, error: SaslError | None = None) -> None:
        """Answer `ProvidersGiven`: they are in force, or what is wrong with them."""
        self._expect(State.WAIT_PROVIDERS)
        self._state = State.REQUEST
        if error is None:
            self._send({"ok": 1.0})
        else:
            self._refuse(codes.BAD_VALUE.saying(str(error)))

    def give_up(self) -> None:
        """End the connection; the protocol has no word for it."""
        self._reader.clear()
        self._underway = self._request = None
        self._state = State.CLOSED

    # --- reading ----------------------------------------------------------------------------

    def _read(self) -> bool:
        """Deal with one message; False when there is none yet."""
        # One large message may come of a client that does not know yet that its login has lapsed.
        known = self.authenticated and not self.lapsed
        limit = self._message_size if known else self._limits.login_message_size
        try:
            request = self._reader.next_request(limit)
        except PeerError:
            self.progress += 1
            self.give_up()
            return True
        if request is None:
            return False
        self.progress += 1
        self._request = request
        self._command(request)
        return True

    # --- answers ------------------------------------------------------------------------------

    def _send(self, answer: Mapping[str, object] | bytes) -> None:
        """Answer the request that is to be answered, unless its client waits for nothing."""
        request, self._request = self._request, None
        if request is None or request.silent:
            return
        document = answer if isinstance(answer, bytes) else _encoded(answer)
        self._last_id = self._last_id % _LAST_ID + 1
        write = format_msg if request.database is None else format_reply
        self._out += write(self._last_id, request.id, document)

    def _refuse(self, failure: Failure) -> None:
        """Refuse a command."""
        self._send(failure.document())
        if self.login is None or self.lapsed:
            self._errors += 1
            if self._errors >= self._limits.errors:
                self.give_up()

    def _begin_auth(self, start: Start, hello: dict[str, object] | None) -> None:
        """An exchange begins, inside of this hello if there is one."""
        self._underway = Underway(start.payload.as_text, hello is not None, start.whole)
        self._hello = hello
        self._state = State.WAIT_AUTH

    def _go_on_with_auth(self, payload: Payload, underway: Underway) -> None:
        """An exchange goes on with this message of the client's."""
        self._underway = Underway(payload.as_text, underway.speculative)
        self._state = State.WAIT_AUTH

    def _finish_auth(self, answer: dict[str, object]) -> None:
        """Send what an exchange has to say, in a hello if it asked."""
        hello, self._hello = self._hello, None
        self._state = State.REQUEST
        if hello is None:
            self._send({**answer, "ok": 1.0})
        else:
            self._send({**hello, "speculativeAuthenticate": answer})

    def _refuse_auth(self, failure: Failure) -> None:
        """Refuse a login; a hello is answered as if it had not asked."""
        hello, self._hello = self._hello, None
        self._underway = None
        self._state = State.REQUEST
        self._send(failure.document() if hello is None else hello)
        self._auth_failures += 1
        if self._auth_failures >= self._limits.auth_failures:
            self.give_up()

    def _expect_auth(self) -> Underway:
        self._expect(State.WAIT_AUTH)
        underway = self._underway
        if underway is None:  # pragma: no cover - both are set together.
            raise UsageError("no exchange is under way")
        return underway

    def _expect(self, state: State) -> None:
        if self._state is not state:
            raise UsageError(f"out of order: the connection is in state {self._state.name}")


def _encoded(answer: Mapping[str, object]) -> bytes:
    try:
        return encode_document(answer)
    except UsageError:
        # A token may grant thousands of roles.
        return encode_document(codes.ANSWER_TOO_LARGE.document())
