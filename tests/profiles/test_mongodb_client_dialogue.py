"""The client's side of a login to MongoDB without I/O, against scripted servers and sessions."""

from __future__ import annotations

import struct
from typing import Any

import bson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sasl_core import AuthenticationError, PeerError, Reply, UsageError
from sasl_profiles.clients.talk import Begin, Finish
from sasl_profiles.mongodb.client_dialogue import Dialogue, State
from sasl_profiles.mongodb.client_errors import without_secrets
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
