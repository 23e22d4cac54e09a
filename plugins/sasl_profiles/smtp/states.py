"""The states of an SMTP server's connection, without I/O and without the commands.

Bytes go in (`receive`), events come out (`next_event`), replies wait to be sent
(`data_to_send`). Whoever drives it answers each event of the table below before it asks for
the next; until then nothing more of what the client sent is looked at.

    event            answered by
    AuthStarted      challenge, auth_succeeded or auth_failed
    AuthResponse     challenge, auth_succeeded or auth_failed
    AuthEnded        nothing
    TlsRequested     accept_tls and, when that said yes, tls_started
    MessageReceived  message_done
    Closed           nothing

Invariants: nothing that was said before TLS counts afterwards, and a client that sends on
before the handshake is dropped (CVE-2011-0411); a refused client hears the same whatever the
cause; no mail is taken of whose login has lapsed: since there is one AUTH to a connection (RFC 4954
section 4), that ends with 421, and the client keeps its mail and logs in on the next one; what is
kept of its input stays below a line and a message. No input raises; a `UsageError` is the
driver's fault.

Sources: RFC 5321, RFC 4954, RFC 3207.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from enum import Enum, auto
from typing import TYPE_CHECKING, Final

from sasl_core.plugin import PeerError, SaslError, UsageError, b64encode
from sasl_profiles.smtp import replies
from sasl_profiles.smtp.auth import (
    AUTH_COMMAND_LIMIT,
    COMMAND_LIMIT,
    RESPONSE_LIMIT,
    parse_response,
)
from sasl_profiles.smtp.envelope import MAIL_LIMIT, DataReader, MessageRefusedError, Transaction
from sasl_profiles.smtp.events import (
    AUTH_ENDED,
    CLOSED,
    AuthResponse,
    Event,
    Limits,
    MessageReceived,
)
from sasl_profiles.smtp.lines import BARE_NEWLINE, LINE_TOO_LONG, LineReader
from sasl_profiles.smtp.replies import SmtpReply, reply

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["Conversation", "State"]


class State(Enum):
    """What the connection waits for."""

    COMMAND = auto()  # a command is read
    AUTH_LINE = auto()  # a response to a challenge is read
    DOOMED = auto()  # one more line is read; whatever it says, the exchange has failed
    DATA = auto()  # a message is read
    WAIT_AUTH = auto()  # these four wait for the driver
    WAIT_TLS = auto()
    HANDSHAKE = auto()
    WAIT_MESSAGE = auto()
    CLOSED = auto()


_READING: Final = {State.COMMAND, State.AUTH_LINE, State.DOOMED, State.DATA}

_LINE_LIMITS: Final = {b"AUTH ": AUTH_COMMAND_LIMIT, b"MAIL ": MAIL_LIMIT}


class Conversation(ABC):
    """The state of one connection; a subclass brings the commands.

    `starttls`: TLS can be had. `authenticated`: an exchange succeeded. `progress` counts
    what the client completed: a driver's idle time runs from its last change.
    """

    def __init__(self, host_name: str, *, starttls: bool, limits: Limits) -> None:
        self._host_name = host_name
        self._starttls = starttls
        self._limits = limits
        self._reader = LineReader()
        self._out = bytearray()
        self._pending: Event | None = None
        self._errors = self._auth_failures = 0
        self._refusal = replies.AUTH_FAILED
        self._data = DataReader(0)
        self._stands: Callable[[], bool] | None = None
        self.progress = 0
        self._forget()
        self._send(SmtpReply(220, (f"{host_name} ESMTP",)))

    @abstractmethod
    def _command(self, line: bytes) -> None:
        """Deal with a command line; may set the state and the pending event."""

    def _forget(self) -> None:
        """The state after the greeting."""
        self._state = State.COMMAND
        self._greeted = self._esmtp = self.authenticated = False
        self._transaction = Transaction(self._limits)

    # --- what the driver calls --------------------------------------------------------------

    def receive(self, data: bytes) -> None:
        """Take bytes from the client; `b""` when it has closed its side."""
        if not data:
            self._close()
        elif self._state is not State.CLOSED:
            self._reader.feed(data)

    def data_to_send(self) -> bytes:
        """The octets that wait to be sent; each is handed out once."""
        data = bytes(self._out)
        self._out.clear()
        return data

    def next_event(self) -> Event | None:
        """The next event, or None until more bytes arrive.

        Raises:
            UsageError: the last event has not been answered.
        """
        while self._pending is None:
            if self._state is State.CLOSED:
                return CLOSED
            if self._state not in _READING:
                raise UsageError(f"the connection waits for an answer: {self._state.name}")
            if not (self._read_data() if self._state is State.DATA else self._read_line()):
                return None
        event, self._pending = self._pending, None
        return event

    def challenge(self, data: bytes) -> None:
        """Answer an AUTH event: the exchange goes on with this challenge."""
        self._expect(State.WAIT_AUTH)
        self._out += b"334 " + b64encode(data) + b"\r\n"
        self._state = State.AUTH_LINE

    def auth_succeeded(self, stands: Callable[[], bool] | None = None) -> None:
        """Answer an AUTH event: the client is who it says.

        `stands`: whether the login still does, asked at each command and of each message; by
        default it does as long as the connection.
        """
        self._expect(State.WAIT_AUTH)
        self._stands = stands
        self._state = State.COMMAND
        self.authenticated = True
        self._send(replies.AUTH_DONE)

    def auth_failed(self, error: SaslError) -> None:
        """Answer an AUTH event: the client is refused; the session can be closed at once.

        When the mechanism still has something to say (`error.wire`), it goes out as a
        challenge, and whatever the client answers is followed by the refusal. SMTP has no
        other way to carry it (RFC 4954 section 4).
        """
        self._expect(State.WAIT_AUTH)
        if error.wire is None:
            self._fail(replies.refusal(error))
        else:
            self.challenge(error.wire)
            self._refusal = replies.refusal(error)
            self._state = State.DOOMED

    def accept_tls(self) -> bool:
        """Answer `TlsRequested`, at a time when nothing more is read before the handshake.

        False when the client sent on without waiting: anybody on the way could have slipped
        those bytes in, so the connection ends.
        """
        self._expect(State.WAIT_TLS)
        if len(self._reader):
            self._send(reply(554, "5.5.1", "Data before the TLS handshake"))
            self._close()
            return False
        self._send(reply(220, "2.0.0", "Ready to start TLS"))
        self._state = State.HANDSHAKE
        return True

    def tls_started(self) -> None:
        """The handshake succeeded: all that was said is forgotten (RFC 3207 section 4.2)."""
        self._expect(State.HANDSHAKE)
        self._reader.clear()
        self._out.clear()
        self._starttls = False
        self._forget()

    def message_done(self, *, accepted: bool, refusal: MessageRefusedError | None = None) -> None:
        """Answer `MessageReceived`: it is taken on, cannot be now, or (`refusal`) never will be."""
        self._expect(State.WAIT_MESSAGE)
        self._state = State.COMMAND
        if refusal is not None:
            self._send(reply(550, "5.7.1", refusal.reason))
        else:
            self._send(replies.ACCEPTED if accepted else replies.TEMPORARY)

    def give_up(self, text: str, enhanced: str = "4.3.2") -> None:
        """End the connection with 421 and this text (RFC 5321 section 3.8), in any state."""
        if self._state is not State.CLOSED:
            self._send(reply(421, enhanced, f"{self._host_name} {text}"))
            self._close()

    def _has_lapsed(self) -> bool:
        """Whether the login does not stand any more, which ends the connection."""
        if self._stands is None or self._stands():
            return False
        self.give_up("Your login has lapsed; log in on another connection", "4.7.0")
        return True

    # --- reading ----------------------------------------------------------------------------

    def _read_line(self) -> bool:
        """Deal with one line; False when there is none yet."""
        in_command = self._state is State.COMMAND
        limit = RESPONSE_LIMIT
        if in_command:
            limit = _LINE_LIMITS.get(self._reader.peek(5).upper(), COMMAND_LIMIT)
        try:
            line = self._reader.next_line(limit)
        except PeerError as error:
            self.progress += 1
            if error.code != LINE_TOO_LONG:
                if error.code == BARE_NEWLINE:
                    self._send(replies.NO_CRLF)
                self._close()
            elif in_command:
                self._refuse(replies.TOO_LONG)
            else:
                self._spoil(replies.AUTH_TOO_LONG)
            return True
        if line is None:
            return False
        self.progress += 1
        if in_command:
            self._command(line)
        elif self._state is State.DOOMED:
            self._fail(self._refusal)
        elif line == b"*":
            self._pending = AUTH_ENDED
            self._state = State.COMMAND
            # No login failed, but a client may not begin exchanges for ever.
            self._refuse(replies.AUTH_CANCELLED)
        else:
            self._response(line)
        return True

    def _response(self, line: bytes) -> None:
        try:
            message = parse_response(line.decode("latin-1"))
        except PeerError:
            self._spoil(replies.AUTH_MALFORMED)
        else:
            self._state = State.WAIT_AUTH
            self._pending = AuthResponse(message)

    def _read_data(self) -> bool:
        """Deal with what there is of the message; False when its end is not there."""
        chunk = self._reader.take()
        if not chunk:
            return False
        lines = self._data.lines
        try:
            rest = self._data.feed(chunk)
        except PeerError:
            self._send(replies.NO_CRLF)
            self._close()
            return True
        finally:
            self.progress += self._data.lines - lines
        if rest is None:
            return False
        self._reader.feed(rest)
        envelope = self._transaction.end()
        if self._data.overflow:
            self._state = State.COMMAND
            self._send(replies.TOO_BIG)
        elif not self._has_lapsed():
            self._state = State.WAIT_MESSAGE
            self._pending = MessageReceived(envelope, self._data.message)
        self._data = DataReader(0)
        return True

    # --- ends -------------------------------------------------------------------------------

    def _expect(self, state: State) -> None:
        if self._state is not state:
            raise UsageError(f"out of order: the connection is in state {self._state.name}")

    def _send(self, answer: SmtpReply) -> None:
        self._out += answer.format()

    def _close(self) -> None:
        self._reader.clear()
        if self._state is State.AUTH_LINE:
            self._pending = AUTH_ENDED
        self._state = State.CLOSED

    def _refuse(self, answer: SmtpReply) -> None:
        """Refuse a command, or end a cancelled exchange."""
        self._send(answer)
        self._errors += 1
        if self._errors >= self._limits.errors:
            self.give_up("Too many errors")

    def _spoil(self, answer: SmtpReply) -> None:
        """End an exchange by the client's fault before its response reached the session."""
        if self._state is State.AUTH_LINE:
            self._pending = AUTH_ENDED
        self._fail(answer)

    def _fail(self, answer: SmtpReply) -> None:
        """Refuse a login."""
        self._state = State.COMMAND
        self._send(answer)
        self._auth_failures += 1
        if self._auth_failures >= self._limits.auth_failures:
            self.give_up("Too many failed logins")
