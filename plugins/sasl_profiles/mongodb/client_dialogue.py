"""The client's side of a login to MongoDB, without I/O: what it says, and what it hears.

Each method is a generator that asks for what it needs: send this command and hear the reply,
TLS, or a step of the SASL session. `client` and `aio_client` supply it, one blocking and one
for asyncio.

    state       what happens                                          next
    NEW         hello is answered                                     READY
    READY       saslStart or authenticate is sent                     UNDERWAY
    UNDERWAY    the server wants more, and gets saslContinue          UNDERWAY
                the server refuses                                    READY
                it says that all is done, and the session agrees      LOGGED_IN
    LOGGED_IN   hello is answered                                     LOGGED_IN
                saslStart or authenticate: the login is renewed       UNDERWAY

Invariants: a reply is to the last request, or the connection ends; an exchange keeps its
conversation; the server's success counts only when the mechanism is satisfied; nothing takes an
exchange back, so that one that fails on our side marks the connection `broken`; a secret goes to
the database that it is for and to no other.

Source: MongoDB's driver specifications, "Authentication" and "MongoDB Handshake".
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from enum import Enum, auto
from typing import Final, TypeAlias, cast

import attrs

from sasl_core.plugin import PeerError, Result, SaslError, UsageError, printable, record
from sasl_profiles.clients.talk import Begin, Conversation, Finish, Secure, Step, Talk, Utterance
from sasl_profiles.clients.trace import HIDDEN, Direction, TraceEvent, masked
from sasl_profiles.mongodb.client_errors import Refused, check_ok, refusal, without_secrets
from sasl_profiles.mongodb.client_wire import MongodbReply
from sasl_profiles.mongodb.exchange import EXTERNAL, PAYLOAD_LIMIT
from sasl_profiles.mongodb.names import ADMIN, check_database
from sasl_profiles.mongodb.wire import format_msg
from sasl_tokens.bson import decode_document, encode_document

__all__ = ["SCRAM", "Dialogue", "Say", "State", "Trace", "X509"]

Trace: TypeAlias = Callable[[TraceEvent], None]

SCRAM: Final = ("SCRAM-SHA-256", "SCRAM-SHA-1")
"""The mechanisms that a server names for a user, the better one first. Of others that it names
none is taken: whoever poses as the server could ask for a password in clear."""

X509: Final = "MONGODB-X509"
"""MongoDB's name for SASL's EXTERNAL by the certificate of the TLS connection."""

_LAST_ID: Final = 0x7FFFFFFF


class State(Enum):
    """How far the conversation is."""

    NEW = auto()
    READY = auto()
    UNDERWAY = auto()
    LOGGED_IN = auto()


class Event(Enum):
    """What moves it."""

    HELLO = auto()
    START = auto()
    MORE = auto()
    REFUSED = auto()
    DONE = auto()


_NEXT: Final[Mapping[tuple[State, Event], State]] = {
    (State.NEW, Event.HELLO): State.READY,
    (State.READY, Event.HELLO): State.READY,
    (State.READY, Event.START): State.UNDERWAY,
    (State.UNDERWAY, Event.MORE): State.UNDERWAY,
    (State.UNDERWAY, Event.REFUSED): State.READY,
    (State.UNDERWAY, Event.DONE): State.LOGGED_IN,
    (State.LOGGED_IN, Event.HELLO): State.LOGGED_IN,
    (State.LOGGED_IN, Event.START): State.UNDERWAY,
}


@record
class Say(Utterance[MongodbReply]):
    """Send this message, and hear the reply."""

    message: bytes = attrs.field(repr=False)

    @property
    def octets(self) -> bytes:
        return self.message


@record
class _Answer:
    """What saslStart or saslContinue was answered."""

    conversation: int
    done: bool
    payload: bytes = attrs.field(repr=False)


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
        self._trace = trace
        self._named: tuple[str, ...] = ()
        self._last_id = 0
        self._sent: list[bytes] = []  # The messages of the exchange that goes on.
        self.state = State.NEW
        if mechanism is not None or database == EXTERNAL:
            _ = self.database_of(mechanism or SCRAM[0])

    def forget(self) -> None:
        self._named = ()
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
            self._show("-", "TLS from the first octet on")

    def hello(self) -> Talk[None]:
        """Say hello, and ask by what the user can log in.

        Raises:
            PeerError: the server broke the protocol, or does not want us.
        """
        asking = self._user is not None and self._wanted is None
        command: dict[str, object] = {"hello": 1}
        shown = "hello"
        if asking:
            name = f"{self.database_of(SCRAM[0])}.{self._user}"
            command["saslSupportedMechs"] = name
            shown += f" saslSupportedMechs {printable(name, 300)}"
        document = yield from self._ask(command, ADMIN, shown)
        refused = check_ok(document)
        if refused is not None:
            raise self._refusal("hello", refused)
        version = document.get("maxWireVersion")
        if not isinstance(version, int) or isinstance(version, bool):
            raise PeerError("hello: the reply has no maxWireVersion", code="mongodb-reply")
        named = document.get("saslSupportedMechs") if asking else None
        self._named = SCRAM[:1]
        if self._wanted is not None:
            self._named = (self._wanted,)
        elif named is not None:
            if not isinstance(named, list):
                raise PeerError("hello: saslSupportedMechs is no array", code="mongodb-reply")
            self._named = tuple(name for name in SCRAM if name in cast("list[object]", named))
        self._show("S", f"ok, wire version {version}{self._shown_names(named)}")
        self._move(Event.HELLO)

    def login(self, offered: Iterable[str] | None = None) -> Talk[None]:
        """Authenticate by the best mechanism of `offered` (default: `mechanisms`).

        Raises:
            AuthenticationError: refused, or the server did not prove itself.
            MechanismError: no mechanism fits, or the server has not this one.
            PeerError: the server broke the protocol. BackendError: it cannot now.
            UsageError: hello was not said, or what the mechanism says is too long.
        """
        if (self.state, Event.START) not in _NEXT:
            raise UsageError("no login can begin: say hello first")
        names = self._named if offered is None else tuple(offered)
        if len(names) == 1:
            # Before a password is asked for, or a person.
            _ = self.database_of(names[0])
        try:
            mechanism, reply = yield from Begin(tuple(_SASL_NAMES.get(n, n) for n in names))
            if mechanism == _SASL_NAMES[X509]:
                yield from self._certificate(reply.data or b"")
            else:
                yield from self._exchange(mechanism, reply.data or b"", through=reply.done)
        except SaslError:
            # An exchange that is not over hangs at the server, or it takes us for logged in.
            self.broken = self.broken or self.state is State.UNDERWAY
            raise
        finally:
            self._sent.clear()

    def database_of(self, mechanism: str) -> str:
        """The database at which a login by this mechanism is.

        Raises:
            UsageError: there is no such login at the given one.
        """
        scram = mechanism in SCRAM
        database = self._database or (ADMIN if scram else EXTERNAL)
        if scram and database == EXTERNAL:
            raise UsageError(
                f"at {EXTERNAL} nobody logs in by SCRAM: name a mechanism, or a database"
            )
        if mechanism in _ALWAYS_EXTERNAL and database != EXTERNAL:
            raise UsageError(
                f"{printable(mechanism, 40)} logs in at {EXTERNAL}, and not at "
                f"{printable(database, 80)}"
            )
        return database

    # --- inside -----------------------------------------------------------------------------

    def _exchange(self, mechanism: str, message: bytes, *, through: bool) -> Talk[None]:
        database = self.database_of(mechanism)
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
    ) -> Talk[_Answer]:
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
        answer = _parse_answer(name, document)
        if conversation not in (None, answer.conversation):
            raise PeerError(f"{name}: the reply is of another conversation", code="mongodb-reply")
        self._show(
            "S",
            f"conversation {answer.conversation}{', done' if answer.done else ''}",
            mechanism,
            answer.payload,
        )
        return answer

    def _certificate(self, user: bytes) -> Talk[None]:
        """Log in by the certificate of the TLS connection, which the server has seen."""
        database = self.database_of(X509)
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
        shown = "ok" if not isinstance(named, str) else f"ok, user {printable(named, 300)}"
        self._show("S", shown)
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
        if message:
            self._sent.append(message)
        self._show("C", shown, mechanism, message)
        reply = yield from Say(octets)
        # From here on nobody knows what the next reply answers to.
        self.broken = True
        if reply.response_to != number:
            raise PeerError("a reply to another request", code="mongodb-reply")
        document = decode_document(reply.body)
        self.broken = False
        return document

    def _refusal(self, command: str, refused: Refused, mechanism: str = "") -> SaslError:
        if refused.words is not None:
            words = without_secrets(refused.words, self._sent)
            refused = Refused(refused.code, refused.name, words)
        said = f"{'' if refused.code is None else refused.code} {refused.name or ''}".strip()
        words = printable(refused.words or "", 300)
        self._show("S", f"error {said}: {words}".replace(" :", ":"))
        return refusal(command, refused, mechanism)

    def _move(self, event: Event) -> None:
        after = _NEXT.get((self.state, event))
        if after is None:
            raise UsageError(f"out of order: {event.name} in the state {self.state.name}")
        self.state = after

    def _shown_names(self, named: object) -> str:
        if not isinstance(named, list):
            return ""
        names = [name for name in cast("list[object]", named) if isinstance(name, str)]
        return f", saslSupportedMechs {printable(' '.join(names), 200)}"

    def _show(
        self, direction: Direction, line: str, mechanism: str = "", message: bytes | None = None
    ) -> None:
        if self._trace is None:
            return
        text, secret = None, HIDDEN in line
        if message is not None and mechanism:
            text, hidden = masked(mechanism, message)
            secret = secret or hidden
        self._trace(TraceEvent(direction, line, secret, text))


_SASL_NAMES: Final[Mapping[str, str]] = {X509: "EXTERNAL"}
"""Mechanisms that MongoDB has another name for."""

_ALWAYS_EXTERNAL: Final = frozenset({"MONGODB-OIDC", X509, *_SASL_NAMES.values()})


def _parse_answer(name: str, document: Mapping[str, object]) -> _Answer:
    """What saslStart or saslContinue was answered.

    Raises:
        PeerError: a field is missing or of the wrong type.
    """
    conversation, done, payload = (
        document.get(key) for key in ("conversationId", "done", "payload")
    )
    if not isinstance(conversation, int) or isinstance(conversation, bool):
        raise PeerError(f"{name}: the reply has no conversationId", code="mongodb-reply")
    if not isinstance(done, bool):
        raise PeerError(f"{name}: done is neither true nor false", code="mongodb-reply")
    if not isinstance(payload, bytes):
        raise PeerError(f"{name}: the payload is not binary", code="mongodb-reply")
    return _Answer(conversation, done, payload)
