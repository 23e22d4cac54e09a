"""The client's side of a login to MongoDB without I/O, against scripted servers and sessions."""

from __future__ import annotations

import struct
from typing import Any

import bson
import pytest
from hypothesis import given
from hypothesis import strategies as st

import secret_walk
from sasl_core import AuthenticationError, PeerError, Reply, SaslError, UsageError
from sasl_profiles.clients.talk import Begin, Finish
from sasl_profiles.clients.trace import TraceEvent
from sasl_profiles.mongodb.client_dialogue import Dialogue, State
from sasl_profiles.mongodb.client_errors import check_ok, refusal, without_secrets
from sasl_profiles.mongodb.client_messages import Say
from sasl_profiles.mongodb.client_wire import MongodbReply, ReplyReader


class Script:
    """Answers a dialogue: documents of the server, and the first words of a session."""

    def __init__(self, replies: list[dict[str, Any]], mechanism: str, reply: Reply) -> None:
        self.replies = replies
        self.mechanism, self.reply = mechanism, reply
        self.said: list[dict[str, Any]] = []
        self.offered: tuple[str, ...] = ()
        self.finished: list[bytes | None] = []

    def run(self, talk: Any) -> None:
        """Drive it to its end."""
        answer: object = None
        while True:
            try:
                ask = talk.send(answer)
            except StopIteration:
                return
            match ask:
                case Say(octets):
                    number = struct.unpack_from("<i", octets, 4)[0]
                    self.said.append(bson.decode(octets[21:]))
                    answer = MongodbReply(number, bson.encode(self.replies.pop(0)))
                case Begin(offered):
                    self.offered, answer = offered, (self.mechanism, self.reply)
                case Finish(data):
                    self.finished.append(data)
                    answer = None
                case _:
                    raise AssertionError(ask)


HELLO = {"maxWireVersion": 25, "ok": 1.0}


@pytest.mark.parametrize("name", [None, "CN=tim,O=Example"])
def test_a_certificate_is_shown_by_another_command(name: str | None) -> None:
    """MONGODB-X509 is EXTERNAL to SASL, and `authenticate` on the wire."""
    dialogue = Dialogue(mechanism="MONGODB-X509")
    initial = None if name is None else name.encode()
    answer = {"dbname": "$external", "user": "CN=tim", "ok": 1.0}
    script = Script([HELLO, answer], "EXTERNAL", Reply(initial, done=True))
    script.run(dialogue.hello())
    script.run(dialogue.login())
    assert script.offered == ("EXTERNAL",)
    user = {} if name is None else {"user": name}
    assert script.said[1] == {
        "authenticate": 1,
        "mechanism": "MONGODB-X509",
        **user,
        "$db": "$external",
    }
    assert script.finished == [None]
    assert dialogue.state is State.LOGGED_IN


def test_a_certificate_that_is_refused() -> None:
    """18 as with any other login; a name that is no UTF-8 is not sent."""
    refused = {"ok": 0.0, "code": 18, "codeName": "AuthenticationFailed", "errmsg": "no"}
    dialogue = Dialogue(mechanism="MONGODB-X509")
    script = Script([HELLO, refused], "EXTERNAL", Reply(None, done=True))
    script.run(dialogue.hello())
    with pytest.raises(AuthenticationError):
        script.run(dialogue.login())
    assert dialogue.state is State.READY
    script = Script([], "EXTERNAL", Reply(b"\xff", done=True))
    with pytest.raises(UsageError, match="no UTF-8"):
        script.run(dialogue.login())
    assert not script.finished


def test_a_message_that_is_too_long_is_not_sent() -> None:
    """Told as what it is; the connection is as it was."""
    dialogue = Dialogue(mechanism="PLAIN")
    script = Script([HELLO], "PLAIN", Reply(b"x" * 50_000, done=True))
    script.run(dialogue.hello())
    with pytest.raises(UsageError, match="more than"):
        script.run(dialogue.login())
    assert len(script.said) == 1
    assert not dialogue.broken
    assert dialogue.state is State.READY


# --- octets ---------------------------------------------------------------------------------------


def message(body: bytes, *, code: int = 2013, flags: int = 0, kind: int = 0) -> bytes:
    """A reply to the second request."""
    header = struct.pack("<iiii", 21 + len(body), 9, 2, code)
    return header + struct.pack("<IB", flags, kind) + body


GOOD = bson.encode({"ok": 1.0})


def read(data: bytes) -> list[MongodbReply]:
    """The replies in these octets."""
    reader = ReplyReader()
    reader.feed(data)
    found: list[MongodbReply] = []
    while (reply := reader.next_reply()) is not None:
        found.append(reply)
    assert len(reader) < 70_000
    return found


@pytest.mark.parametrize(
    "data", [message(GOOD), message(GOOD + b"sum!", flags=1), message(GOOD, flags=1 << 16)]
)
def test_a_reply_is_one_document(data: bytes) -> None:
    """A checksum is stepped over, and a flag that need not be known."""
    assert read(data + data[:9]) == [MongodbReply(2, GOOD)]
    assert read(data[:-1]) == []


@pytest.mark.parametrize(
    "data",
    [
        message(GOOD, code=1),
        message(GOOD, code=2012),
        message(GOOD, flags=2),
        message(GOOD, flags=4),
        message(GOOD, kind=1),
        message(GOOD + b"\0\0"),
        message(GOOD[:-1]),
        message(GOOD, flags=1),
        message(struct.pack("<i", 4)),
        message(struct.pack("<i", -1) + b"\0"),
        message(b""),
        struct.pack("<i", 70_000),
        struct.pack("<i", -1),
        struct.pack("<i", 0),
    ],
)
def test_what_is_no_reply(data: bytes) -> None:
    """Nobody knows where the next one would begin."""
    with pytest.raises(PeerError) as caught:
        read(data)
    assert caught.value.code == "frame"


@given(st.binary(max_size=200) | st.binary(max_size=80).map(message))
def test_any_octets_are_a_reply_or_an_error_of_ours(data: bytes) -> None:
    """However they are cut."""
    outcomes = []
    for step in (1, len(data) or 1):
        reader = ReplyReader()
        found: list[object] = []
        try:
            for at in range(0, len(data), step):
                reader.feed(data[at : at + step])
                while (reply := reader.next_reply()) is not None:
                    found.append((reply.response_to, reply.body))
        except PeerError as error:
            found.append(error.code)
        outcomes.append(found)
    assert outcomes[0] == outcomes[1]


# --- words of the server --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("words", "sent", "shown"),
    [
        ("Authentication failed.", [b"\0tim\0failed"], True),
        ("No such user", [b"\0tim\0open sesame"], True),
        ("bad: open SESAME", [b"\0tim\0open sesame"], False),
        ("bad: xyz.", [b"\0tim\0xyz"], False),
        ("bad: (a!b)", [b"\0tim\0a!b"], False),
        ("bad: a!b", [b"\0tim\0a!b"], False),
        ("bad: AHRpbQBvcGVuIHNlc2FtZQ", [b"\0tim\0open sesame"], False),
        ("the n of jwt", [b"\x10\0\0\0\x02n\0\x04\0\0\0tim\0\0"], True),
        ("token eyJhbGciOiJSUzI1NiJ9.eyJzdWIi", [], False),
        ("", [b"\0tim\0open sesame"], True),
    ],
)
def test_words_that_may_repeat_a_secret(words: str, sent: list[bytes], shown: bool) -> None:
    """All of them or none."""
    assert without_secrets(words, sent) == (words if shown else "****")


# What a hostile server answers `saslStart` with, and a later `hello`.
ECHOES: list[dict[str, Any]] = [
    {"code": 18, "codeName": "hunter2", "errmsg": "hunter2"},
    {"code": 18, "codeName": "x", "errmsg": "no: HUNTER2"},
    {"code": 4711, "codeName": "hunter2"},
    {"codeName": "hunter2"},
    {"code": 4711_4711, "errmsg": "no"},
]


def said_by(caught: pytest.ExceptionInfo[BaseException], seen: list[TraceEvent]) -> str:
    """All that anybody is shown of a failure."""
    error = caught.value
    return f"{error} {getattr(error, 'detail', '')} {seen}".casefold()


@pytest.mark.parametrize("echo", ECHOES, ids=repr)
@pytest.mark.parametrize("after", [False, True], ids=["login", "after"])
def test_a_server_that_repeats_a_password(echo: dict[str, Any], after: bool) -> None:
    """In the name or the number of an error as little as in its words; afterwards as well."""
    seen: list[TraceEvent] = []
    dialogue = Dialogue(mechanism="PLAIN", trace=seen.append)
    no = {"ok": 0.0, **echo}
    done = {"ok": 1.0, "conversationId": 1, "done": True, "payload": b""}
    password = b"47114711" if echo.get("code") == 4711_4711 else b"hunter2"
    reply = Reply(b"\0ada\0" + password, done=True)
    script = Script([HELLO, *([done, no] if after else [no])], "PLAIN", reply)
    script.run(dialogue.hello())
    if after:
        script.run(dialogue.login())
    with pytest.raises(SaslError) as caught:
        script.run(dialogue.hello() if after else dialogue.login())
    said = said_by(caught, seen)
    assert password.decode() not in said
    if echo.get("code") == 18:
        assert "error 18 authenticationfailed" in said


def test_an_error_is_named_by_us() -> None:
    """Its number says which it is; what the server calls it is not looked at."""
    for code, name in ((91, "ShutdownInProgress"), (18, "AuthenticationFailed"), (4711, "")):
        refused = check_ok({"ok": 0.0, "code": code, "codeName": "Nonsense", "errmsg": "no"})
        assert refused is not None
        error = refusal("saslStart", refused, "PLAIN")
        called = f"error {code} {name}".rstrip()
        assert error.detail == f"the server answered saslStart with {called}: no"


OPAQUE = "ya29.Y2FsZW5kYXItb2Y"


@pytest.mark.parametrize(
    "answer",
    [
        {"issuer": OPAQUE},
        {"issuer": "https://id.example.com", "clientId": OPAQUE.upper()},
        {"issuer": "https://id.example.com", "requestScopes": [f"a-{OPAQUE[:9]}"]},
    ],
)
def test_an_opaque_token_that_comes_back_is_not_traced(answer: dict[str, Any]) -> None:
    """Short as it is, and whatever the server calls it; what it said before is shown."""
    seen: list[TraceEvent] = []
    dialogue = Dialogue(mechanism="MONGODB-OIDC", trace=seen.append)
    start = {"ok": 1.0, "conversationId": 1, "done": False, "payload": bson.encode(answer)}
    script = Script([HELLO, start], "MONGODB-OIDC", Reply(bson.encode({"jwt": OPAQUE}), done=True))
    script.run(dialogue.hello())
    with pytest.raises(PeerError, match="after the mechanism's end"):
        script.run(dialogue.login())
    assert [event.message for event in seen[-2:]] == ["{jwt: ****}", "****"]
    assert seen[-1].secret
    assert OPAQUE[:9].casefold() not in str(seen).casefold()


def test_what_else_a_server_says_when_it_knows_the_password() -> None:
    """Mechanisms, a certificate's name and numbers are its words as well."""
    seen: list[TraceEvent] = []
    dialogue = Dialogue(user="ada", trace=seen.append)
    done = {"ok": 1.0, "conversationId": 12345678, "done": True, "payload": b""}
    named = {**HELLO, "maxWireVersion": 12345678, "saslSupportedMechs": ["12345678"]}
    script = Script([HELLO, done, named], "PLAIN", Reply(b"\0ada\x0012345678", done=True))
    for talk in (dialogue.hello(), dialogue.login(["PLAIN"]), dialogue.hello()):
        script.run(talk)
    assert len(seen) == 6
    assert "12345678" not in str(seen)


def test_what_is_remembered_of_logins_has_an_end() -> None:
    """A connection that logs in for months keeps the last, and not all of them."""
    dialogue = Dialogue(mechanism="PLAIN")
    done = {"ok": 1.0, "conversationId": 1, "done": True, "payload": b""}
    script = Script([HELLO], "PLAIN", Reply(None, done=True))
    script.run(dialogue.hello())
    for number in range(10):
        script.replies = [done]
        script.reply = Reply(b"\0ada\0" + b"%d" % number * 20_000, done=True)
        script.run(dialogue.login())
    no = {"ok": 0.0, "errmsg": "it is 99999999 and 88888888"}
    script.replies = [no]
    with pytest.raises(PeerError) as caught:
        script.run(dialogue.hello())
    assert "****" in str(caught.value.detail)
    assert not secret_walk.find([dialogue], [b"0000000"])
    assert secret_walk.find([dialogue], [b"9999999"])
    dialogue.forget()
    assert not secret_walk.find([dialogue], [b"9999999"])
