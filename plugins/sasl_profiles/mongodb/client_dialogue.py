"""The client's side of a login to MongoDB, without I/O: what it says, and what it hears.

Each method is a generator that asks for what it needs: send this command and hear the reply,
TLS, or a step of the SASL session. `client` and `aio_client` supply it, one blocking and one
for asyncio. In which order, `client_states` has.

Invariants: a reply is to the last request, or the connection ends; an exchange keeps its
conversation; the server's success counts only when the mechanism is satisfied; nothing takes an
exchange back, so that one that fails on our side marks the connection `broken`; a secret goes to
the database that it is for and to no other.

Source: MongoDB's driver specifications, "Authentication" and "MongoDB Handshake".
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final, cast

from sasl_core.plugin import PeerError, Result, SaslError, UsageError, printable
from sasl_profiles.clients.talk import Begin, Conversation, Finish, Secure, Step, Talk
from sasl_profiles.mongodb.client_errors import Refused, check_ok, refusal
from sasl_profiles.mongodb.client_messages import (
    SASL_NAMES,
    SCRAM,
    X509,
    Answer,
    Say,
    database_of,
    parse_answer,
)
from sasl_profiles.mongodb.client_states import NEXT, Event, State
from sasl_profiles.mongodb.client_transcript import Trace, Transcript
from sasl_profiles.mongodb.exchange import EXTERNAL, PAYLOAD_LIMIT
from sasl_profiles.mongodb.names import ADMIN, check_database
from sasl_profiles.mongodb.wire import format_msg
from sasl_tokens.bson import decode_document, encode_document

__all__ = ["Dialogue", "State", "Trace"]

_LAST_ID: Final = 0x7FFFFFFF


class Dialogue(Conversation):
    """One connection's conversation.

    `user`: whose mechanisms the server is asked for, where `mechanism` names none. `database`:
    where the user is; by default `admin` for SCRAM, `$external` for all else. `state`: how far
    it is. `trace` gets every command and reply, secrets masked.

    Raises:
        UsageError: `database` is no name of one, or there is no such login at it.
    """

    def __init__(
        self,
        *,
        user: str | None = None,
        mechanism: str | None = None,
        database: str | None = None,
        trace: Trace | None = None,
    ) -> None:
        if database not in (None, EXTERNAL):
            _ = check_database(database)
        self._user = user
        self._wanted = mechanism
        self._database = database
        self._transcript = Transcript(trace)
        self._named: tuple[str, ...] = ()
        self._last_id = 0
        self.state = State.NEW
        if mechanism is not None or database == EXTERNAL:
            _ = database_of(mechanism or SCRAM[0], database)

    def forget(self) -> None:
        self._named = ()
        self._transcript.forget()
        self.state = State.NEW

    @property
    def mechanisms(self) -> tuple[str, ...]:
        """The mechanism that was given, or those by which the user can log in; () before hello.

        A server that does not say has SCRAM-SHA-256.
        """
        return self._named

    def open(self, *, tls: bool) -> Talk[None]:
        """Nobody speaks yet; `tls`: it comes before the first word."""
        if tls:
            yield from Secure()
            self._transcript.note("TLS from the first octet on")

    def hello(self) -> Talk[None]:
        """Say hello, and ask by what the user can log in.

        Raises:
            PeerError: the server broke the protocol, or does not want us.
        """
        asking = self._user is not None and self._wanted is None
        command: dict[str, object] = {"hello": 1}
        shown = "hello"
        if asking:
            name = f"{database_of(SCRAM[0], self._database)}.{self._user}"
            command["saslSupportedMechs"] = name
            shown += f" saslSupportedMechs {printable(name, 300)}"
        document = yield from self._ask(command, ADMIN, shown)
        refused = check_ok(document)
        if refused is not None:
            raise self._refusal("hello", refused)
        version = document.get("maxWireVersion")
        if not isinstance(version, int) or isinstance(version, bool):
            raise PeerError("hello: the reply has no maxWireVersion", code="mongodb-reply")
        self._named = SCRAM[:1] if self._wanted is None else (self._wanted,)
        shown = f"ok, wire version {self._transcript.told(version)}"
        named = document.get("saslSupportedMechs")
        if asking and named is not None:
            if not isinstance(named, list):
                raise PeerError("hello: saslSupportedMechs is no array", code="mongodb-reply")
            names = cast("list[object]", named)
            self._named = tuple(name for name in SCRAM if name in names)
            texts = " ".join(name for name in names if isinstance(name, str))
            shown += f", saslSupportedMechs {self._transcript.told(texts, 200)}"
        self._transcript.heard(shown)
        self._move(Event.HELLO)

    def login(self, offered: Iterable[str] | None = None) -> Talk[None]:
        """Authenticate by the best mechanism of `offered` (default: `mechanisms`).

        Raises:
            AuthenticationError: refused, or the server did not prove itself.
            MechanismError: no mechanism fits, or the server has not this one.
            PeerError: the server broke the protocol. BackendError: it cannot now.
            UsageError: hello was not said, or what the mechanism says is too long.
        """
        if (self.state, Event.START) not in NEXT:
            raise UsageError("no login can begin: say hello first")
        names = self._named if offered is None else tuple(offered)
        if len(names) == 1:
            # Before a password is asked for, or a person.
            _ = database_of(names[0], self._database)
        self._transcript.begin()
        try:
            mechanism, reply = yield from Begin(tuple(SASL_NAMES.get(n, n) for n in names))
            if mechanism == SASL_NAMES[X509]:
                yield from self._certificate(reply.data or b"")
            else:
                yield from self._exchange(mechanism, reply.data or b"", through=reply.done)
        except SaslError:
            # An exchange that is not over hangs at the server, or it takes us for logged in.
            self.broken = self.broken or self.state is State.UNDERWAY
            raise

    # --- inside -----------------------------------------------------------------------------

    def _exchange(self, mechanism: str, message: bytes, *, through: bool) -> Talk[None]:
        database = database_of(mechanism, self._database)
        start: dict[str, object] = {"saslStart": 1, "mechanism": mechanism}
        if mechanism in SCRAM:
            # The server's signature comes with its success then, and saves a round trip.
            start["options"] = {"skipEmptyExchange": True}
        answer = yield from self._payload(start, mechanism, message, database, None)
        emptied = False
        while not answer.done:
            if not through:
                reply = yield from Step(answer.payload)
                message, through = reply.data or b"", reply.done
                emptied = through and reply.data is None
            elif answer.payload or emptied:
                raise PeerError("a challenge after the mechanism's end", code="mongodb-reply")
            else:
                # A server that speaks last, and wants to be asked for it.
                message, emptied = b"", True
            go_on: dict[str, object] = {"saslContinue": 1, "conversationId": answer.conversation}
            answer = yield from self._payload(
                go_on, mechanism, message, database, answer.conversation
            )
        # An empty payload is none: no mechanism of MongoDB's has an empty last word.
        yield from Finish(answer.payload or None)
        self._move(Event.DONE)

    def _payload(
        self,
        command: dict[str, object],
        mechanism: str,
        message: bytes,
        database: str,
        conversation: int | None,
    ) -> Talk[Answer]:
        """Send a SASL message with `command`; the server's, of the same conversation."""
        if len(message) > PAYLOAD_LIMIT:
            raise UsageError(
                f"the mechanism's message has more than {PAYLOAD_LIMIT} octets",
                code="message-too-long",
                result=Result.BUFOVER,
            )
        first = conversation is None
        name = "saslStart" if first else "saslContinue"
        shown = f"saslStart {mechanism} at {database}" if first else "saslContinue"
        document = yield from self._ask(
            {**command, "payload": message},
            database,
            shown,
            mechanism,
            message,
            Event.START if first else Event.MORE,
        )
        refused = check_ok(document)
        if refused is not None:
            self._move(Event.REFUSED)
            raise self._refusal(name, refused, mechanism)
        answer = parse_answer(name, document)
        if conversation not in (None, answer.conversation):
            raise PeerError(f"{name}: the reply is of another conversation", code="mongodb-reply")
        number = self._transcript.told(answer.conversation)
        shown = f"conversation {number}{', done' if answer.done else ''}"
        self._transcript.heard(shown, mechanism, answer.payload)
        return answer

    def _certificate(self, user: bytes) -> Talk[None]:
        """Log in by the certificate of the TLS connection, which the server has seen."""
        database = database_of(X509, self._database)
        command: dict[str, object] = {"authenticate": 1, "mechanism": X509}
        if user:
            try:
                command["user"] = user.decode("utf-8")
            except UnicodeDecodeError:
                problem = "the user's name is no UTF-8"
            else:
                problem = ""
            if problem:
                raise UsageError(problem)
        shown = f"authenticate {X509} at {database}"
        document = yield from self._ask(command, database, shown, "EXTERNAL", user, Event.START)
        refused = check_ok(document)
        if refused is not None:
            self._move(Event.REFUSED)
            raise self._refusal("authenticate", refused, X509)
        named = document.get("user")
        shown = "ok" if not isinstance(named, str) else f"ok, user {self._transcript.told(named)}"
        self._transcript.heard(shown)
        yield from Finish()
        self._move(Event.DONE)

    def _ask(
        self,
        command: Mapping[str, object],
        database: str,
        shown: str,
        mechanism: str = "",
        message: bytes | None = None,
        event: Event | None = None,
    ) -> Talk[dict[str, object]]:
        """Send a command; the document that answers it."""
        self._last_id = self._last_id % _LAST_ID + 1
        number = self._last_id
        octets = format_msg(number, 0, encode_document({**command, "$db": database}))
        if event is not None:
            self._move(event)
        self._transcript.said(shown, mechanism, message)
        reply = yield from Say(octets)
        # From here on nobody knows what the next reply answers to.
        self.broken = True
        if reply.response_to != number:
            raise PeerError("a reply to another request", code="mongodb-reply")
        document = decode_document(reply.body)
        self.broken = False
        return document

    def _refusal(self, command: str, refused: Refused, mechanism: str = "") -> SaslError:
        return refusal(command, self._transcript.refused(refused), mechanism)

    def _move(self, event: Event) -> None:
        after = NEXT.get((self.state, event))
        if after is None:
            raise UsageError(f"out of order: {event.name} in the state {self.state.name}")
        self.state = after
