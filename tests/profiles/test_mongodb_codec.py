"""MongoDB's wire protocol without I/O: frames, the commands of an exchange, one connection."""

from __future__ import annotations

import struct
import time
from base64 import b64encode
from collections.abc import Callable, Sequence
from typing import Any

import bson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mongodb_kit import message, query
from sasl_core.plugin import (
    AuthenticationError,
    BackendError,
    ConfigError,
    MechanismError,
    PeerError,
    SaslError,
    UsageError,
)
from sasl_profiles.mongodb import Limits, Login, MongodbConnection
from sasl_profiles.mongodb.events import (
    AuthContinued,
    AuthEnded,
    AuthStarted,
    Closed,
    Command,
    CommandReceived,
    LoggedOut,
    ProvidersGiven,
)
from sasl_profiles.mongodb.exchange import PAYLOAD_LIMIT, parse_continuation, parse_start
from sasl_profiles.mongodb.wire import (
    SECTIONS,
    Request,
    RequestReader,
    format_msg,
    format_reply,
)
from sasl_profiles.mongodb.wire import (
    Sequence as Documents,
)

LIMIT = 64 * 1024
PING = {"ping": 1, "$db": "admin"}
DOCUMENT = bson.encode(PING)


def sequence(identifier: bytes, *documents: bytes) -> bytes:
    """A section of kind 1."""
    body = identifier + b"\0" + b"".join(documents)
    return b"\1" + struct.pack("<i", 4 + len(body)) + body


def read(data: bytes, limit: int = LIMIT) -> Request | None:
    """The first request in `data`."""
    reader = RequestReader()
    reader.feed(data)
    return reader.next_request(limit)


# --- frames -----------------------------------------------------------------------------------


def test_an_op_msg_is_read() -> None:
    """Its body comes out as it is, its number too."""
    assert read(message(PING, number=7)) == Request(7, DOCUMENT)
    assert read(message(PING, number=-(2**31))) == Request(-(2**31), DOCUMENT)


def test_an_op_query_is_read() -> None:
    """With its database; a selector of fields is stepped over."""
    assert read(query(PING, number=3)) == Request(3, DOCUMENT, "admin")
    selector = bson.encode({"a": 1})
    assert read(query(PING, collection=b"$external.$cmd", more=selector)) == Request(
        1, DOCUMENT, "$external"
    )


def test_flags_of_an_op_msg() -> None:
    """A checksum is taken off, moreToCome is told, what may be passed over is."""
    assert read(message(PING, flags=1, more=b"\1\2\3\4")) == Request(1, DOCUMENT)
    assert read(message(PING, flags=2)) == Request(1, DOCUMENT, silent=True)
    assert read(message(PING, flags=1 << 16)) == Request(1, DOCUMENT)


def test_sequences_of_an_op_msg() -> None:
    """They come out by name, wherever the body stands."""
    many = sequence(b"documents", DOCUMENT, DOCUMENT)
    expected = Request(1, DOCUMENT, None, (Documents("documents", DOCUMENT * 2),))
    assert read(message(PING, more=many)) == expected
    body = struct.pack("<I", 0) + many + b"\0" + DOCUMENT
    assert read(struct.pack("<iiii", 16 + len(body), 1, 0, 2013) + body) == expected
    assert read(message(PING, more=sequence(b"none"))) == Request(
        1, DOCUMENT, None, (Documents("none", b""),)
    )


@pytest.mark.parametrize("octets", [DOCUMENT[:-1], struct.pack("<i", -1) * 2, bytes(3)])
def test_documents_of_a_sequence_are_not_looked_at(octets: bytes) -> None:
    """They come out as they are: only whoever reads them can say whether they are documents."""
    read_back = read(message(PING, more=sequence(b"a", octets)))
    assert read_back == Request(1, DOCUMENT, None, (Documents("a", octets),))


def test_many_documents_cost_no_more_than_one() -> None:
    """Whoever is logged in could stop the event loop for seconds by a sequence of empty ones."""
    many = message(PING, more=sequence(b"a", b"\5\0\0\0\0" * 9_000_000))
    begun = time.thread_time()
    assert read(many, 48_000_000) is not None
    # Walked through in Python they take four seconds; copied, they take a twentieth of one.
    assert time.thread_time() - begun < 1.0


def frame(body: bytes, code: int = 2013, length: int | None = None) -> bytes:
    """A message with this after its header."""
    return struct.pack("<iiii", 16 + len(body) if length is None else length, 1, 0, code) + body


FLAGS = bytes(4)
SHORT = bson.encode({"a": 1})

HOSTILE: dict[str, bytes] = {
    "length zero": frame(b"", length=0),
    "length negative": frame(b"", length=-1),
    "length below the header": frame(b"", length=15),
    "length beyond the limit": struct.pack("<i", LIMIT + 1),
    "length enormous": struct.pack("<i", 2**31 - 1),
    "nothing but a header": frame(b""),
    "operation unknown": frame(FLAGS + b"\0" + DOCUMENT, 7),
    "operation compressed": frame(FLAGS + b"\0" + DOCUMENT, 2012),
    "operation reply": frame(bytes(20) + DOCUMENT, 1),
    "operation insert": frame(FLAGS + b"a.b\0" + DOCUMENT, 2002),
    "flags cut": frame(b"\0\0\0"),
    "flags alone": frame(FLAGS),
    "flags required and unknown": message(PING, flags=4),
    "flags required and unknown, high": message(PING, flags=1 << 15),
    "checksum that is none": frame(struct.pack("<I", 1) + b"\0\0"),
    "checksum instead of a section": frame(struct.pack("<I", 1) + bytes(4)),
    "section unknown": frame(FLAGS + b"\2" + DOCUMENT),
    "body twice": message(PING, more=b"\0" + DOCUMENT),
    "body none": frame(FLAGS + sequence(b"a", DOCUMENT)),
    "body cut": frame(FLAGS + b"\0" + DOCUMENT[:-1]),
    "body too short": frame(FLAGS + b"\0" + struct.pack("<i", 4) + b"\0"),
    "body length negative": frame(FLAGS + b"\0" + struct.pack("<i", -5) + DOCUMENT[4:]),
    "body without NUL": frame(FLAGS + b"\0" + DOCUMENT[:-1] + b"\1"),
    "octets after the body": message(PING, more=b"\0"),
    "sequence length negative": message(PING, more=b"\1" + struct.pack("<i", -1)),
    "sequence length too small": message(PING, more=b"\1" + struct.pack("<i", 3) + b"a\0"),
    "sequence beyond the message": message(PING, more=b"\1" + struct.pack("<i", 99) + b"a\0"),
    "sequence without a name": message(PING, more=b"\1" + struct.pack("<i", 5) + b"a"),
    "sequence name endless": message(PING, more=sequence(b"a" * 300, DOCUMENT)),
    "sequence name foreign": message(PING, more=sequence(b"\xff", DOCUMENT)),
    "sections without end": message(PING, more=sequence(b"a") * (SECTIONS + 1)),
    "query without a collection": frame(FLAGS, 2004),
    "query without an end of it": frame(FLAGS + b"admin.$cmd", 2004),
    "query without numbers": frame(FLAGS + b"admin.$cmd\0" + bytes(7), 2004),
    "query without a document": frame(FLAGS + b"admin.$cmd\0" + bytes(8), 2004),
    "query of a collection": query(PING, collection=b"admin.users"),
    "query of no database": query(PING, collection=b".$cmd"),
    "query of a name without a dot": query(PING, collection=b"admin"),
    "query of a name that is no text": query(PING, collection=b"\xff.$cmd"),
    "query with a rest": query(PING, more=b"\0"),
    "query with three documents": query(PING, more=SHORT + SHORT),
    "text": b"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
    "tls": bytes.fromhex("16030100f8010000f40303") + bytes(20),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_what_is_no_request_is_refused(name: str) -> None:
    """By one kind of error, and at once: nothing waits for octets that could not mend it."""
    with pytest.raises(PeerError) as caught:
        read(HOSTILE[name])
    assert caught.value.code == "frame"


def test_the_limit_is_checked_before_anything_is_kept() -> None:
    """Four octets are enough to refuse a message; one at the limit is taken."""
    whole = message({"a": b"x" * 100})
    assert read(whole, len(whole)) is not None
    for data in (whole[:4], whole):
        with pytest.raises(PeerError):
            read(data, len(whole) - 1)


@given(st.integers(1, 40))
def test_a_message_is_the_same_however_it_is_cut(step: int) -> None:
    """Nothing comes out before it is whole, and nothing is lost between two."""
    data = message(PING) + query({"hello": 1}, number=2) + message(PING, number=3, flags=2)
    reader = RequestReader()
    found: list[Request] = []
    for start in range(0, len(data), step):
        reader.feed(data[start : start + step])
        while (request := reader.next_request(LIMIT)) is not None:
            found.append(request)
    assert [request.id for request in found] == [1, 2, 3]
    assert len(reader) == 0


@given(st.binary(max_size=200), st.integers(0, 3))
def test_no_octets_raise_anything_else(data: bytes, kind: int) -> None:
    """A request, nothing yet, or a PeerError."""
    code = (2013, 2004, 1, 2012)[kind]
    for octets in (data, frame(data, code)):
        try:
            request = read(octets)
        except PeerError:
            continue
        assert request is None or len(request.body) >= 5


def test_answers_are_framed() -> None:
    """An OP_MSG of one body; an OP_REPLY of one document."""
    assert format_msg(5, 7, SHORT) == struct.pack("<iiiiI", 16 + 5 + len(SHORT), 5, 7, 2013, 0) + (
        b"\0" + SHORT
    )
    assert format_reply(5, 7, SHORT) == struct.pack(
        "<iiiiiqii", 36 + len(SHORT), 5, 7, 1, 8, 0, 0, 1
    ) + (SHORT)


# --- the commands of an exchange ----------------------------------------------------------------


def test_a_start_is_read() -> None:
    """Binary or base64, with the options that there are."""
    start = parse_start({"mechanism": "PLAIN", "payload": b"\0a\0b"}, "$external")
    assert (start.mechanism, start.database, start.skip_empty) == ("PLAIN", "$external", False)
    assert (start.payload.data, start.payload.as_text) == (b"\0a\0b", False)
    text = b64encode(b"\0a\0b").decode()
    start = parse_start(
        {"mechanism": "PLAIN", "payload": text, "options": {"skipEmptyExchange": True}}, "a"
    )
    assert (start.payload.data, start.payload.as_text, start.skip_empty) == (b"\0a\0b", True, True)


@pytest.mark.parametrize(
    "change",
    [
        {"mechanism": None},
        {"mechanism": 1},
        {"mechanism": "X" * 300},
        {"payload": None},
        {"payload": 7},
        {"payload": "not base64"},
        {"payload": "YQ"},
        {"payload": "\u00e4\u00e4\u00e4="},
        {"payload": bytes(PAYLOAD_LIMIT + 1)},
        {"payload": b64encode(bytes(PAYLOAD_LIMIT + 3)).decode()},
        {"options": 1},
        {"options": {"skipEmptyExchange": 1}},
    ],
)
def test_a_start_that_is_none(change: dict[str, Any]) -> None:
    """A field that is missing or of the wrong type, with nothing of it in the error."""
    document = {"mechanism": "PLAIN", "payload": b"secret", **change}
    with pytest.raises(PeerError) as caught:
        parse_start(document, "admin")
    assert caught.value.code == "bad-value"
    assert caught.value.__context__ is None
    assert "secret" not in str(caught.value)


def test_a_continuation_is_read() -> None:
    """A conversation that is no whole number is none."""
    assert parse_continuation({"conversationId": 1, "payload": b""}).conversation == 1
    for number in (True, 1.0, "1", None):
        assert parse_continuation({"conversationId": number, "payload": ""}).conversation is None
    with pytest.raises(PeerError):
        parse_continuation({"conversationId": 1})


# --- a connection -------------------------------------------------------------------------------

TIM = Login("tim", "admin")
Answer = Any


class Talk:
    """One connection, its events, and what is answered to each event of an exchange.

    An answer is a challenge, an error, or a Login for success.
    """

    def __init__(
        self,
        *answers: Answer,
        mechanisms: Callable[[], Sequence[str]] = lambda: (
            "SCRAM-SHA-1",
            "PLAIN",
            "SCRAM-SHA-256",
        ),
        limits: Limits | None = None,
        handler: Callable[[Command], Any] | None = None,
    ) -> None:
        self.connection = MongodbConnection(
            mechanisms, limits=limits, number=9, embedded=handler is not None
        )
        self.answers = list(answers)
        self.handler = handler
        self.providers: SaslError | None = None
        self.events: list[Any] = []

    @property
    def closed(self) -> bool:
        """The last event ended the connection."""
        return bool(self.events) and isinstance(self.events[-1], Closed)

    def say(self, data: bytes) -> list[dict[str, Any]]:
        """Send octets and read the answers."""
        connection = self.connection
        connection.receive(data)
        while (event := connection.next_event()) is not None:
            self.events.append(event)
            if isinstance(event, AuthStarted | AuthContinued):
                answer = self.answers.pop(0)
                if isinstance(answer, Login):
                    connection.auth_succeeded(answer, b"last")
                elif isinstance(answer, SaslError):
                    connection.auth_failed(answer)
                else:
                    connection.challenge(answer)
            elif isinstance(event, CommandReceived):
                assert self.handler is not None
                connection.command_done(self.handler(event.command))
            elif isinstance(event, ProvidersGiven):
                connection.providers_taken(self.providers)
            elif isinstance(event, Closed):
                break
        return documents(connection.data_to_send())

    def ask(self, command: dict[str, Any], database: str = "admin") -> dict[str, Any]:
        """Send a command and read its answer."""
        (answer,) = self.say(message({**command, "$db": database}))
        return answer

    def code(self, command: dict[str, Any]) -> int:
        """The code with which a command fails, 0 for success."""
        answer = self.ask(command)
        assert (answer["ok"] == 1.0) is ("code" not in answer)
        return int(answer.get("code", 0))

    def login(self, login: Login = TIM) -> Talk:
        """Log in."""
        self.answers.insert(0, login)
        assert self.ask(START)["done"] is True
        return self


def documents(data: bytes) -> list[dict[str, Any]]:
    """The documents of these answers."""
    found: list[dict[str, Any]] = []
    while data:
        length, _, _, code = struct.unpack_from("<iiii", data)
        found.append(bson.decode(data[16 + (20 if code == 1 else 5) : length]))
        data = data[length:]
    return found


START: dict[str, Any] = {"saslStart": 1, "mechanism": "SCRAM-SHA-256", "payload": b"n,,n=tim,r=x"}
CONTINUE: dict[str, Any] = {"saslContinue": 1, "conversationId": 1, "payload": b"c=biws"}


def test_hello_tells_what_drivers_need() -> None:
    """The recipe, without a topologyVersion that would make them wait for changes."""
    answer = Talk(handler=lambda command: None).ask({"hello": 1})
    assert answer == {
        "isWritablePrimary": True,
        "maxBsonObjectSize": 16 * 1024 * 1024,
        "maxMessageSizeBytes": 48_000_000,
        "maxWriteBatchSize": 100_000,
        "connectionId": 9,
        "minWireVersion": 0,
        "maxWireVersion": 25,
        "readOnly": False,
        "ok": 1.0,
    }


def test_sizes_are_those_that_are_taken() -> None:
    """Drivers cut to them what they send."""
    for talk, message_size, document_size in (
        (Talk(), 65536, 65536),
        (Talk(limits=Limits(login_message_size=9000)), 9000, 9000),
        (Talk(limits=Limits(message_size=99_000), handler=lambda _: None), 99_000, 99_000),
        (Talk(handler=lambda _: None), 48_000_000, 16 * 1024 * 1024),
    ):
        hello = talk.ask({"hello": 1})
        assert hello["maxMessageSizeBytes"] == message_size
        assert hello["maxBsonObjectSize"] == document_size
        assert talk.ask({"buildInfo": 1})["maxBsonObjectSize"] == document_size


@pytest.mark.parametrize("name", ["isMaster", "ismaster"])
def test_the_first_hello_may_be_an_op_query(name: str) -> None:
    """By its old name it is answered in the old words; OP_QUERY is answered by OP_REPLY."""
    talk = Talk()
    (answer,) = talk.say(query({name: 1, "helloOk": True}))
    assert answer["ismaster"] is True
    assert answer["helloOk"] is True
    talk.connection.receive(query({name: 1}, number=77))
    assert talk.connection.next_event() is None
    reply = talk.connection.data_to_send()
    assert struct.unpack_from("<iiii", reply) == (len(reply), 2, 77, 1)


@pytest.mark.parametrize("command", [START, CONTINUE, {"ping": 1}, {"find": "x"}])
def test_nothing_else_may_be_an_op_query(command: dict[str, Any]) -> None:
    """A login by OP_QUERY is no login."""
    talk = Talk(TIM)
    (answer,) = talk.say(query(command))
    assert (answer["code"], answer["codeName"]) == (352, "UnsupportedOpQueryCommand")
    assert not talk.events


@pytest.mark.parametrize("user", ["admin.tim", "admin.nobody", "x.a.b.c", "admin.\u00fc"])
def test_mechanisms_do_not_depend_on_the_user(user: str) -> None:
    """Both of SCRAM for anybody, as they are offered, the stronger first."""
    answer = Talk().ask({"hello": 1, "saslSupportedMechs": user})
    assert answer["saslSupportedMechs"] == ["SCRAM-SHA-256", "SCRAM-SHA-1"]


def test_mechanisms_are_those_that_are_offered() -> None:
    """One alone, or none; where nobody can say, the answer is left out."""

    def down() -> Sequence[str]:
        raise BackendError

    asked = {"hello": 1, "saslSupportedMechs": "admin.tim"}
    assert Talk(mechanisms=lambda: ["SCRAM-SHA-1"]).ask(asked)["saslSupportedMechs"] == [
        "SCRAM-SHA-1"
    ]
    assert Talk(mechanisms=list).ask(asked)["saslSupportedMechs"] == []
    assert "saslSupportedMechs" not in Talk(mechanisms=down).ask(asked)


@pytest.mark.parametrize("user", ["", "tim", ".tim", "admin.", 1, None, {}])
def test_mechanisms_of_nobody(user: Any) -> None:
    """What names no user is a bad value."""
    assert Talk().code({"hello": 1, "saslSupportedMechs": user}) == 2


BEFORE = ["hello", "isMaster", "ismaster", "ping", "buildInfo", "buildinfo", "connectionStatus"]
BEFORE += ["endSessions", "logout"]


@pytest.mark.parametrize("name", BEFORE)
def test_what_is_answered_before_a_login(name: str) -> None:
    """It leads to one, or tells nothing."""
    assert Talk().code({name: 1}) == 0


@pytest.mark.parametrize("name", ["find", "setParameter", "usersInfo", "nonsense", "Hello", ""])
def test_what_is_not_answered_before_a_login(name: str) -> None:
    """13, whether there is such a command or not; nobody who embeds this hears of it."""

    def never(command: Command) -> Any:
        raise AssertionError(command)

    assert Talk(handler=never).code({name: 1}) == 13


def test_a_login_in_two_steps() -> None:
    """Challenge and success carry the one conversation, in the form in which it began."""
    talk = Talk(b"first", TIM)
    assert talk.ask({**START, "options": {"skipEmptyExchange": True}}) == {
        "conversationId": 1,
        "done": False,
        "payload": b"first",
        "ok": 1.0,
    }
    connection = talk.connection
    assert (connection.exchanging, connection.authenticated) == (True, False)
    answer = talk.ask(CONTINUE)
    assert answer == {"conversationId": 1, "done": True, "payload": b"last", "ok": 1.0}
    assert connection.login is TIM
    assert (connection.exchanging, connection.authenticated) == (False, True)
    start, go_on = talk.events
    assert start == AuthStarted("SCRAM-SHA-256", b"n,,n=tim,r=x", "admin", True)
    assert go_on == AuthContinued(b"c=biws")


def test_a_login_in_text() -> None:
    """Whoever sends base64 is answered in base64, message by message."""
    talk = Talk(b"first", b"more", b"other", TIM)
    text = {**START, "payload": b64encode(b"n,,").decode()}
    assert talk.ask(text)["payload"] == b64encode(b"first").decode()
    assert talk.ask({**CONTINUE, "payload": ""})["payload"] == b64encode(b"more").decode()
    assert talk.ask(CONTINUE)["payload"] == b"other"
    assert talk.ask({**CONTINUE, "payload": ""})["payload"] == b64encode(b"last").decode()
    talk = Talk(b"first", TIM)
    assert talk.ask(START)["payload"] == b"first"
    assert talk.ask({**CONTINUE, "payload": ""})["payload"] == b64encode(b"last").decode()


SPECULATIVE = {"hello": 1, "speculativeAuthenticate": {**START, "db": "admin"}}


def test_a_login_inside_of_a_hello() -> None:
    """Its answer stands in the hello's, and the exchange goes on from there."""
    talk = Talk(b"first", TIM)
    answer = talk.ask({**SPECULATIVE, "saslSupportedMechs": "admin.tim"})
    assert answer["isWritablePrimary"] is True
    assert answer["saslSupportedMechs"] == ["SCRAM-SHA-256", "SCRAM-SHA-1"]
    assert answer["speculativeAuthenticate"] == {
        "conversationId": 1,
        "done": False,
        "payload": b"first",
    }
    assert talk.ask(CONTINUE)["done"] is True


def test_a_login_inside_of_an_op_query() -> None:
    """The same; a token logs in with one message."""
    talk = Talk(TIM)
    speculative = {
        "saslStart": 1,
        "mechanism": "MONGODB-OIDC",
        "payload": b"jwt",
        "db": "$external",
    }
    (answer,) = talk.say(query({"ismaster": 1, "speculativeAuthenticate": speculative}))
    assert answer["speculativeAuthenticate"]["done"] is True
    assert talk.connection.login is TIM
    assert talk.events == [AuthStarted("MONGODB-OIDC", b"jwt", "$external", False)]


@pytest.mark.parametrize(
    "speculative",
    [
        {"authenticate": 1, "mechanism": "MONGODB-CR"},
        {"authenticate": 1, "mechanism": "MONGODB-X509", "user": 1},
        {"authenticate": 1, "mechanism": "MONGODB-X509", "db": 1},
        {"authenticate": 1, "saslStart": 1, "mechanism": "MONGODB-X509"},
        {"authenticate": 1, "mechanism": "PLAIN", "db": "$external"},
        {**START, "db": "$external", "mechanism": "MONGODB-X509"},
        {"saslStart": 1},
        {**START},
        {**START, "db": 1},
        {**START, "db": "admin", "payload": 1},
        {**START, "db": "admin", "mechanism": "GSSAPI"},
        1,
        [],
    ],
)
def test_a_hello_whose_login_cannot_begin(speculative: Any) -> None:
    """It is answered as if it had not asked."""
    talk = Talk()
    answer = talk.ask({"hello": 1, "speculativeAuthenticate": speculative})
    assert answer["ok"] == 1.0
    assert "speculativeAuthenticate" not in answer
    assert not talk.connection.exchanging


def test_a_hello_whose_login_fails() -> None:
    """It is answered as if it had not asked, and counts as a login that failed."""
    talk = Talk(*[AuthenticationError(wire=b"e=other-error")] * 2, limits=Limits(auth_failures=2))
    ended: list[bool] = []
    for _ in range(2):
        assert "speculativeAuthenticate" not in talk.ask(SPECULATIVE)
        ended.append(talk.closed)
    assert ended == [False, True]


def test_a_driver_may_begin_again_after_a_speculation() -> None:
    """Libmongoc does, when the user can log in by another mechanism only."""
    talk = Talk(b"first", b"other", TIM)
    assert talk.ask(SPECULATIVE)["speculativeAuthenticate"]["payload"] == b"first"
    assert talk.ask({**START, "mechanism": "SCRAM-SHA-1"})["payload"] == b"other"
    assert talk.ask(CONTINUE)["done"] is True


def test_a_hello_within_an_exchange_changes_nothing() -> None:
    """A speculation in the middle is passed over."""
    talk = Talk(b"first", TIM)
    talk.ask(START)
    assert "speculativeAuthenticate" not in talk.ask(SPECULATIVE)
    assert talk.ask({"ping": 1})["ok"] == 1
    assert talk.ask(CONTINUE)["done"] is True


ERRORS: list[tuple[SaslError, int, str]] = [
    (AuthenticationError(), 18, "AuthenticationFailed"),
    (AuthenticationError(detail="no such user", wire=b"e=invalid-proof"), 18, "Authenticat"),
    (PeerError("malformed"), 18, "AuthenticationFailed"),
    (BackendError(), 18, "AuthenticationFailed"),
    (BackendError(temporary=False), 18, "AuthenticationFailed"),
    (ConfigError("broken"), 18, "AuthenticationFailed"),
    (UsageError("closed"), 18, "AuthenticationFailed"),
    (MechanismError("none"), 334, "MechanismUnavailable"),
]


@pytest.mark.parametrize("step", [1, 2])
@pytest.mark.parametrize(("error", "code", "name"), ERRORS)
def test_a_refusal_is_the_same_whatever_the_cause(
    step: int, error: SaslError, code: int, name: str
) -> None:
    """18 with the same words; only that a mechanism is not there is another matter."""
    talk = Talk(*[b"first", error][2 - step :])
    answer = talk.ask(START)
    if step == 2:
        answer = talk.ask(CONTINUE)
    assert (answer["ok"], answer["code"]) == (0.0, code)
    assert answer["codeName"].startswith(name)
    assert set(answer) == {"ok", "errmsg", "code", "codeName"}
    if code == 18:
        assert answer["errmsg"] == "Authentication failed."
    assert talk.code(CONTINUE) == 17


@pytest.mark.parametrize("name", ["GSSAPI", "MONGODB-X509", "ANONYMOUS", "plain", "", "\u00e4"])
def test_a_mechanism_that_is_not_mongodbs(name: str) -> None:
    """334, and no session is made for it."""
    talk = Talk()
    assert talk.code({**START, "mechanism": name}) == 334
    assert not talk.events


def test_misuse_of_an_exchange() -> None:
    """17 for what is out of order; the exchange is over then."""
    assert Talk().code(CONTINUE) == 17
    for wrong in (START, {**CONTINUE, "conversationId": 2}, {**CONTINUE, "conversationId": True}):
        talk = Talk(b"first")
        assert talk.code(START) == 0
        assert talk.code(wrong) == 17
        assert isinstance(talk.events[-1], AuthEnded)
        assert talk.code(CONTINUE) == 17
    talk = Talk(b"first")
    assert talk.code(START) == 0
    assert talk.code({**CONTINUE, "payload": 1}) == 2
    assert isinstance(talk.events[-1], AuthEnded)
    assert talk.code(CONTINUE) == 17


def test_a_mechanism_that_ends_a_speculation() -> None:
    """The session of the speculation can be closed."""
    talk = Talk(b"first")
    talk.ask(SPECULATIVE)
    assert talk.code({**START, "mechanism": "GSSAPI"}) == 334
    assert isinstance(talk.events[-1], AuthEnded)
    assert not talk.connection.exchanging


@pytest.mark.parametrize("document", [{"saslStart": 1}, {**START, "payload": 1}])
def test_a_start_that_is_malformed(document: dict[str, Any]) -> None:
    """2, and no exchange begins; neither does one without a database."""
    assert Talk().code(document) == 2
    (answer,) = Talk().say(message(START))
    assert answer["code"] == 2


def test_a_login_ends_with_logout() -> None:
    """Then nobody is logged in, and everything is as before."""
    talk = Talk().login()
    assert talk.code({"logout": 1}) == 0
    assert isinstance(talk.events[-1], LoggedOut)
    assert talk.code({"find": "x"}) == 13
    assert talk.ask({"connectionStatus": 1})["authInfo"]["authenticatedUsers"] == []
    assert talk.code({"logout": 1}) == 0


def test_who_is_logged_in() -> None:
    """User and roles, each with its database."""
    login = Login("okta/tim", "$external", (("okta/readers", "admin"), ("read", "test")))
    assert Talk().login(login).ask({"connectionStatus": 1, "showPrivileges": True}) == {
        "authInfo": {
            "authenticatedUsers": [{"user": "okta/tim", "db": "$external"}],
            "authenticatedUserRoles": [
                {"role": "okta/readers", "db": "admin"},
                {"role": "read", "db": "test"},
            ],
        },
        "ok": 1.0,
    }


def test_more_roles_than_an_answer_holds() -> None:
    """It is told so, and the connection goes on."""
    login = Login("tim", "admin", tuple((f"role-{number}", "admin") for number in range(3000)))
    talk = Talk().login(login)
    assert talk.code({"connectionStatus": 1}) == 10334
    assert talk.code({"ping": 1}) == 0


def test_a_second_login_takes_the_place_of_the_first() -> None:
    """And a failed one changes nothing."""
    other = Login("kim", "admin")
    talk = Talk().login().login(other)
    assert talk.connection.login is other
    talk.answers = [AuthenticationError()]
    assert talk.code(START) == 18
    assert talk.connection.login is other


# --- a login that has lapsed ---------------------------------------------------------------------


def lapsed(**options: Any) -> Talk:
    """A connection whose login has lapsed."""
    stands = [True]
    talk = Talk(**options).login(Login("tim", "admin", valid=lambda: stands[0]))
    stands[0] = False
    return talk


@pytest.mark.parametrize(
    "name", ["ping", "buildInfo", "connectionStatus", "setParameter", "find", "nonsense"]
)
def test_a_lapsed_login_is_told_so(name: str) -> None:
    """391 for everything; nobody who embeds this hears of it."""

    def never(command: Command) -> Any:
        raise AssertionError(command)

    talk = lapsed(handler=never)
    answer = talk.ask({name: 1})
    assert (answer["code"], answer["codeName"]) == (391, "ReauthenticationRequired")
    assert talk.connection.authenticated


@pytest.mark.parametrize("name", ["hello", "isMaster", "endSessions", "logout"])
def test_what_a_lapsed_login_may_still_ask(name: str) -> None:
    """What leads to another login, or ends it."""
    assert lapsed().code({name: 1}) == 0


def test_a_lapsed_login_is_renewed() -> None:
    """By another exchange on the same connection; a failed one leaves it lapsed."""
    talk = lapsed()
    talk.answers = [AuthenticationError(), b"first", TIM]
    assert talk.code(START) == 18
    assert talk.code({"ping": 1}) == 391
    assert talk.code(START) == 0
    assert talk.code({"ping": 1}) == 391
    assert talk.code(CONTINUE) == 0
    assert talk.code({"ping": 1}) == 0


def test_a_lapsed_login_may_use_up_what_nobody_may() -> None:
    """From the 391 on: a driver that has not heard of it may have sent much."""
    large = message({"insert": "x", "data": bytes(200_000), "$db": "test"})
    talk = lapsed(handler=lambda _: {"ok": 1.0})
    (told,) = talk.say(large)
    assert told["code"] == 391
    assert talk.connection.lapsed
    assert talk.say(large) == []
    assert talk.closed
    talk = lapsed(limits=Limits(errors=3))
    assert [talk.code({"ping": 1}) for _ in range(3)] == [391] * 3
    assert talk.closed


def test_another_login_has_the_limits_of_a_login_again() -> None:
    """However often that one lapses too; logged out it is nobody's."""
    stands = [True]
    talk = Talk(handler=lambda _: {"ok": 1.0}, limits=Limits(errors=3))
    large = message({"insert": "x", "data": bytes(200_000), "$db": "test"})
    for _ in range(4):
        talk.login(Login("tim", "admin", valid=lambda: stands[0]))
        stands[0] = False
        assert [talk.code({"ping": 1}) for _ in range(2)] == [391] * 2
        stands[0] = True
        talk.login()
        assert not talk.connection.lapsed
        (told,) = talk.say(large)
        assert told == {"ok": 1.0}
    talk.login(Login("tim", "admin", valid=lambda: False))
    assert talk.code({"ping": 1}) == 391
    assert talk.code({"logout": 1}) == 0
    assert not talk.connection.lapsed
    assert talk.say(large) == []
    assert talk.closed


def test_whether_a_login_stands() -> None:
    """It is asked, but of nobody whose command is being answered, and of nobody who goes."""
    assert not Talk().connection.stands()
    once = [False]
    connection = Talk().login(Login("tim", "admin", valid=once.pop)).connection
    assert not connection.stands()
    assert not once
    connection.give_up()
    assert connection.stands()
    waiting = MongodbConnection(lambda: (), embedded=True)
    stood = [True, False]
    waiting.receive(message({**START, "$db": "admin"}))
    assert waiting.next_event() is not None
    waiting.auth_succeeded(Login("tim", "admin", valid=lambda: stood.pop(0)))
    waiting.receive(message({"find": "x", "$db": "admin"}))
    assert waiting.next_event() is not None
    assert waiting.stands()
    waiting.command_done({"ok": 1.0})
    assert not waiting.stands()


# --- commands ----------------------------------------------------------------------------------


def test_a_command_of_a_client_who_is_logged_in() -> None:
    """59 alone; embedded, it is handed out as it came, sequences too."""
    assert Talk().login().code({"find": "x"}) == 59
    heard: list[Command] = []

    def answer(command: Command) -> Any:
        heard.append(command)
        return {"n": 2, "ok": 1.0}

    talk = Talk(handler=answer).login()
    body = {"insert": "x", "$db": "test", "when": bson.Int64(1)}
    (told,) = talk.say(message(body, more=sequence(b"documents", SHORT, SHORT)))
    assert told == {"n": 2, "ok": 1.0}
    (command,) = heard
    assert (command.name, command.login, command.silent) == ("insert", TIM, False)
    assert command.body == bson.encode(body)
    assert command.sequences == (Documents("documents", SHORT * 2),)
    assert "insert" in repr(command)
    assert "when" not in repr(command)


def test_a_large_command_reaches_whoever_embeds() -> None:
    """What is not looked into may be longer than what is; before a login nothing may, and nothing
    where nobody would have it.
    """
    talk = Talk(handler=lambda command: {"size": len(command.body), "ok": 1.0}).login()
    nobody = Talk().login()
    large = {"insert": "x", "data": bytes(200_000), "$db": "test"}
    (told,) = talk.say(message(large))
    assert told["size"] == len(bson.encode(large))
    assert talk.code({"ping": 1, "data": bytes(200_000)}) == 10334
    stranger = Talk(handler=lambda _: None)
    for other in (stranger, nobody):
        assert other.say(message(large)) == []
        assert other.closed


def test_a_client_that_waits_for_no_answer() -> None:
    """It gets none, whatever comes of it; one that logs in so is sent away."""
    heard: list[bool] = []

    def answer(command: Command) -> Any:
        heard.append(command.silent)

    talk = Talk(handler=answer).login()
    silent = message({"insert": "x", "$db": "test"}, flags=2)
    assert talk.say(silent + message({"ping": 1, "$db": "a"}, flags=2)) == []
    assert heard == [True]
    assert talk.code({"ping": 1}) == 0
    for document in (START, CONTINUE, {"hello": 1}):
        talk = Talk()
        assert talk.say(message({**document, "$db": "admin"}, flags=2)) == []
        assert talk.closed


def test_a_command_that_fails_or_is_answered_in_bson() -> None:
    """1 for the failure; BSON goes out as it is."""
    answers: list[Any] = [None, SHORT]
    talk = Talk(handler=lambda command: answers.pop(0)).login()
    assert talk.code({"find": 1}) == 1
    (told,) = talk.say(message({"find": 1, "$db": "x"}))
    assert told == {"a": 1}


def elements(*each: bytes) -> bytes:
    """A document of these elements, whatever they are."""
    body = b"".join(each)
    return struct.pack("<i", len(body) + 5) + body + b"\0"


def nested(depth: int) -> dict[str, Any]:
    """Documents inside each other."""
    return {"a": nested(depth - 1)} if depth else {}


ONE = b"\x10ping\0\1\0\0\0"


@pytest.mark.parametrize(
    ("code", "body"),
    [
        (13, elements()),
        (13, elements(b"\x10pi\xffg\0\1\0\0\0")),
        (13, elements(b"\x10ping\1\0\0\0")),
        (22, elements(b"\x99ping\0")),
        (22, elements(b"\x08ping\0\2")),
        (22, elements(ONE, ONE)),
        (22, elements(ONE, b"\x02x\0\xff\xff\xff\x7fa\0")),
        (22, elements(ONE, b"\x02x\0\2\0\0\0\xff\0")),
        (22, elements(ONE, b"\x03x\0")),
        (22, bson.encode({"ping": 1, "deep": nested(30)})),
    ],
)
def test_a_body_that_is_no_bson(code: int, body: bytes) -> None:
    """It is refused by one answer, and the connection goes on."""
    talk = Talk()
    (answer,) = talk.say(message(body))
    assert answer["code"] == code
    assert talk.code({"ping": 1}) == 0


def test_sequences_are_refused_where_none_belong() -> None:
    """A saslStart's payload comes in its body."""
    talk = Talk()
    (answer,) = talk.say(message({**START, "$db": "admin"}, more=sequence(b"a", SHORT)))
    assert answer["code"] == 9
    assert not talk.events


ADMINISTRATOR = Login("tim", "admin", administrator=True)


@pytest.mark.parametrize("providers", [[], [{"issuer": "https://a", "x": True}], '[{"a": 1}]'])
def test_an_administrator_replaces_the_providers(providers: Any) -> None:
    """As a list, or as a JSON text."""
    talk = Talk().login(ADMINISTRATOR)
    command = {"setParameter": 1, "oidcIdentityProviders": providers, "lsid": {"id": 1}}
    assert talk.code(command) == 0
    assert talk.events[-1] == ProvidersGiven(providers)


def test_providers_that_are_wrong() -> None:
    """2, in the words of the error: it is the administrator who reads them."""
    talk = Talk().login(ADMINISTRATOR)
    talk.providers = ConfigError("[0].issuer: expected text")
    answer = talk.ask({"setParameter": 1, "oidcIdentityProviders": [{}]})
    assert answer["code"] == 2
    assert "[0].issuer" in answer["errmsg"]


@pytest.mark.parametrize(
    "command",
    [
        {"setParameter": 1},
        {"setParameter": 1, "oidcIdentityProviders": 1},
        {"setParameter": 1, "oidcIdentityProviders": {"0": {}}},
        {"setParameter": 1, "oidcIdentityProviders": [], "logLevel": 1},
        {"setParameter": 1, "logLevel": 1},
    ],
)
def test_other_parameters_cannot_be_set(command: dict[str, Any]) -> None:
    """2, and nobody is told."""
    talk = Talk().login(ADMINISTRATOR)
    assert talk.code(command) == 2
    assert not isinstance(talk.events[-1], ProvidersGiven)


def test_nobody_else_sets_anything() -> None:
    """13 for a user like any other."""
    talk = Talk().login()
    assert talk.code({"setParameter": 1, "oidcIdentityProviders": []}) == 13
    assert not isinstance(talk.events[-1], ProvidersGiven)


# --- the end of a connection -------------------------------------------------------------------


def test_failed_logins_end_a_connection() -> None:
    """After the last of them is told; a login in between begins the count anew."""
    talk = Talk(
        AuthenticationError(), TIM, *[AuthenticationError()] * 2, limits=Limits(auth_failures=2)
    )
    assert [talk.code(START) for _ in range(4)] == [18, 0, 18, 18]
    assert talk.closed


def test_errors_of_strangers_end_a_connection() -> None:
    """Who is logged in may ask for what is not there as often as it likes."""
    limits = Limits(errors=3)
    talk = Talk(limits=limits)
    assert [talk.code({"find": 1}) for _ in range(3)] == [13] * 3
    assert talk.closed
    talk = Talk(limits=limits).login()
    assert [talk.code({"find": 1}) for _ in range(5)] == [59] * 5
    assert not talk.closed


@pytest.mark.parametrize("name", HOSTILE)
def test_what_is_no_request_ends_a_connection(name: str) -> None:
    """Without a word, and with nothing kept; what came before it is answered."""
    talk = Talk()
    assert len(talk.say(message(PING) + HOSTILE[name] + message(PING))) == 1
    assert talk.closed
    assert talk.say(message(PING)) == []


def test_a_connection_that_is_driven_wrongly() -> None:
    """Answers are for the events that ask for them, and events wait for their answers."""
    connection = MongodbConnection(list)
    for answer in (
        lambda: connection.challenge(b""),
        lambda: connection.auth_succeeded(TIM),
        lambda: connection.auth_failed(AuthenticationError()),
        lambda: connection.command_done(None),
        connection.providers_taken,
    ):
        with pytest.raises(UsageError):
            answer()
    connection.receive(message({**START, "$db": "admin"}) + message(PING))
    assert isinstance(connection.next_event(), AuthStarted)
    with pytest.raises(UsageError):
        connection.next_event()
    assert connection.data_to_send() == b""
    connection.challenge(b"x")
    assert connection.next_event() is None
    assert [each["ok"] for each in documents(connection.data_to_send())] == [1.0, 1.0]
    connection.receive(b"")
    assert isinstance(connection.next_event(), Closed)
    assert not connection.exchanging


COMMANDS: list[dict[str, Any]] = [
    {"hello": 1},
    SPECULATIVE,
    START,
    CONTINUE,
    {**CONTINUE, "conversationId": 2},
    {"ping": 1},
    {"logout": 1},
    {"find": "x"},
    {"connectionStatus": 1},
]


@given(
    st.lists(st.sampled_from(COMMANDS), max_size=12),
    st.lists(st.sampled_from([b"more", TIM, AuthenticationError()]), min_size=12, max_size=12),
)
def test_every_request_has_one_answer(
    commands: list[dict[str, Any]], answers: list[Answer]
) -> None:
    """In whatever order they come, and whoever logs in meanwhile."""
    talk = Talk(*answers, limits=Limits(auth_failures=99))
    data = b"".join(
        message({**command, "$db": "admin"}, number=number)
        for number, command in enumerate(commands)
    )
    assert len(talk.say(data)) == len(commands)
