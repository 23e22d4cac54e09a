"""G5: the initial response, where `None` (absent) is never `b""` (empty)."""

from __future__ import annotations

from enum import StrEnum

import pytest

from drivers import exchange
from sasl_auxprop.memory import MemoryStore
from sasl_core import Blocking, Feature, PeerError, PluginError, Result, UsageError
from sasl_core.plugin import NeedCall, NeedInitial, NeedPeer, PromptId, Success
from toys import (
    CLIENT_FIRST,
    OPEN,
    SERVER_FIRST,
    client_plug,
    naming_client,
    server_plug,
)

NEITHER = Feature.NONE
DATA = b"alice"


def listening(heard, features):
    """A server's body that notes what it hears first, and goes on until somebody says `alice`."""

    def body(ctx):
        message: bytes | None
        if features & SERVER_FIRST:
            message = yield from NeedPeer(b"hello")
        elif features & CLIENT_FIRST:
            message = yield from NeedPeer()
        else:
            message = yield from NeedInitial()
        heard.append(message)
        while message != DATA:
            message = yield from NeedPeer(b"go on")
            heard.append(message)
        return Success(ctx.attest(ctx.canon_user("alice"), how="toy"))

    return body


@pytest.fixture
def listener(driver, toys):
    """A session of a server with one mechanism, and the list of what that hears."""

    def make(features, body=listening):
        heard: list[bytes | None] = []
        toys.mechanism(server_plug("TOY", body(heard, features), features))
        return driver.server(OPEN, registry=toys.registry()).session(), heard

    return make


# --- the table: what the client sent x the mechanism's flag, server side ----------------


def test_g5_absent_and_server_first_steps_to_a_challenge(listener):
    """Nothing sent, SERVER_FIRST: the mechanism speaks."""
    session, heard = listener(SERVER_FIRST)
    reply = session.start("TOY", None)
    assert (reply.data, reply.done, heard) == (b"hello", False, [])
    assert session.step(DATA).done
    assert heard == [DATA]


def test_g5_absent_and_client_first_gives_an_empty_challenge(listener):
    """Nothing sent, WANT_CLIENT_FIRST: an empty challenge, and the mechanism has heard nothing."""
    session, heard = listener(CLIENT_FIRST)
    reply = session.start("TOY", None)
    assert (reply.data, reply.done, heard) == (b"", False, [])
    assert session.step(DATA).done
    assert heard == [DATA]


def test_g5_absent_and_client_first_hears_an_empty_answer_as_empty(listener):
    """The answer to the empty challenge may itself be empty, and reaches the mechanism as such."""
    session, heard = listener(CLIENT_FIRST)
    session.start("TOY", None)
    session.step(b"")
    assert heard == [b""]


def test_g5_absent_and_neither_flag_steps_with_nothing(listener):
    """Nothing sent, neither flag: the mechanism is told that there is nothing."""
    session, heard = listener(NEITHER)
    reply = session.start("TOY", None)
    assert (reply.data, reply.done, heard) == (b"go on", False, [None])


@pytest.mark.parametrize("initial", [b"", DATA], ids=["empty", "data"])
def test_g5_anything_and_server_first_is_bad_protocol(listener, initial):
    """Data or empty, SERVER_FIRST: the client spoke first where the server does."""
    session, heard = listener(SERVER_FIRST)
    with pytest.raises(PeerError, match="remote sent first in server-first mechanism") as caught:
        session.start("TOY", initial)
    assert caught.value.result is Result.BADPROT
    assert heard == []
    assert not session.done


@pytest.mark.parametrize("features", [CLIENT_FIRST, NEITHER], ids=["client-first", "neither"])
def test_g5_empty_steps_with_an_empty_message(listener, features):
    """An empty initial response is a message, and an empty one."""
    session, heard = listener(features)
    reply = session.start("TOY", b"")
    assert heard == [b""]
    assert (reply.data, reply.done) == (b"go on", False)


@pytest.mark.parametrize("features", [CLIENT_FIRST, NEITHER], ids=["client-first", "neither"])
def test_g5_data_step_with_the_data(listener, features):
    """An initial response with data is the mechanism's first message."""
    session, heard = listener(features)
    assert session.start("TOY", DATA).done
    assert heard == [DATA]


# --- what else a server's start takes ----------------------------------------------------


@pytest.mark.parametrize(
    "initial",
    ["text", bytearray(b"x"), 7, memoryview(b"x")],
    ids=lambda initial: type(initial).__name__,
)
def test_g5_an_initial_response_is_bytes_or_none(listener, initial):
    """Anything else is the caller's mistake, and changes nothing."""
    session, heard = listener(CLIENT_FIRST)
    with pytest.raises(UsageError):
        session.start("TOY", initial)
    assert heard == []
    assert session.start("TOY", DATA).done


def working_first(heard, features):
    """A server's body that does some work before it listens."""
    plain = listening(heard, features)

    def body(ctx):
        answer = yield from NeedCall(lambda: 7, Blocking.REMOTE)
        assert answer == 7
        return (yield from plain(ctx))

    return body


@pytest.mark.parametrize("features", [CLIENT_FIRST, NEITHER], ids=["client-first", "neither"])
@pytest.mark.parametrize("initial", [b"", DATA], ids=["empty", "data"])
def test_g5_a_mechanism_may_work_before_it_hears_the_initial_response(listener, features, initial):
    """Fetching credentials first takes the client's message from nobody."""
    session, heard = listener(features, working_first)
    session.start("TOY", initial)
    assert heard == [initial]


def test_g5_a_mechanism_that_speaks_before_it_has_heard_is_at_fault(driver, toys):
    """The client has sent a message; a mechanism that wants to send first breaks its contract."""

    def body(ctx):
        yield from NeedPeer(b"me first")
        return Success()

    toys.mechanism(server_plug("TOY", body))
    session = driver.server(registry=toys.registry()).session()
    with pytest.raises(PluginError, match="initial response"):
        session.start("TOY", DATA)


def test_g5_the_initial_response_is_asked_for_at_the_beginning_only(driver, toys):
    """NeedInitial in the middle of an exchange is the mechanism's fault."""

    def body(ctx):
        yield from NeedInitial()
        yield from NeedPeer(b"x")
        yield from NeedInitial()
        return Success()

    toys.mechanism(server_plug("TOY", body, NEITHER))
    session = driver.server(registry=toys.registry()).session()
    session.start("TOY", None)
    with pytest.raises(PluginError, match="initial response"):
        session.step(b"y")


class Names(StrEnum):
    TOY = "TOY"


def test_g5_a_name_from_an_enum_is_a_name(listener):
    """A StrEnum's member is as good as its text, and is no -PLUS variant."""
    session, _ = listener(CLIENT_FIRST)
    assert session.start(Names.TOY, DATA).done
    assert session.mechanism == "TOY"


# --- the same on the client's side -------------------------------------------------------


@pytest.fixture
def speaker(driver, toys):
    """A session of a client with one mechanism."""

    def make(body, features, **facts):
        toys.mechanism(client=client_plug("TOY", body, features))
        client = driver.client(OPEN, registry=toys.registry())
        return client.session(authid="alice", **facts)

    return make


def answering(heard):
    """A client's body that hears one message before it says its name."""

    def body(ctx):
        ctx.canon_user("alice")
        heard.append((yield from NeedPeer()))
        return Success(data=DATA)

    return body


def test_g5_a_client_that_speaks_first_sends_an_initial_response(speaker):
    """WANT_CLIENT_FIRST where the protocol carries an initial response."""
    session = speaker(naming_client(), CLIENT_FIRST)
    reply = session.start("TOY")
    assert (reply.data, reply.done) == (DATA, True)


def test_g5_a_client_holds_its_message_where_none_can_be_sent(speaker):
    """Without initial responses the message goes out in answer to the empty challenge."""
    session = speaker(naming_client(), CLIENT_FIRST, initial_response=False)
    reply = session.start("TOY")
    assert (reply.data, reply.done) == (None, False)
    reply = session.step(b"")
    assert (reply.data, reply.done) == (DATA, True)


def test_g5_a_challenge_with_data_where_an_empty_one_was_due_is_refused(speaker):
    """A server that speaks where the client is to speak first breaks the protocol."""
    session = speaker(naming_client(), CLIENT_FIRST, initial_response=False)
    session.start("TOY")
    with pytest.raises(PeerError, match="empty challenge"):
        session.step(b"data")
    assert not session.done


def test_g5_an_empty_first_message_is_sent_as_empty_not_as_absent(speaker):
    """`b""` from a mechanism stays `b""`."""

    def body(ctx):
        ctx.canon_user("alice")
        yield from ()
        return Success(data=b"")

    reply = speaker(body, CLIENT_FIRST).start("TOY")
    assert reply.data == b""
    assert reply.data is not None


@pytest.mark.parametrize("first", [b"", b"hello"], ids=["empty", "data"])
@pytest.mark.parametrize("possible", [True, False])
def test_g5_a_server_first_client_sends_nothing_and_hears_all(speaker, first, possible):
    """SERVER_FIRST: no initial response, and the first challenge is heard whatever is in it."""
    heard: list[bytes | None] = []
    session = speaker(answering(heard), SERVER_FIRST, initial_response=possible)
    reply = session.start("TOY")
    assert (reply.data, reply.done) == (None, False)
    reply = session.step(first)
    assert heard == [first]
    assert (reply.data, reply.done) == (DATA, True)


@pytest.mark.parametrize("at_end", [True, False], ids=["as success", "as message"])
def test_g5_a_server_first_client_that_speaks_first_is_at_fault(speaker, at_end):
    """Its server would refuse such an initial response; the client's glue does first."""

    def body(ctx):
        ctx.canon_user("alice")
        if not at_end:
            yield from NeedPeer(DATA)
        yield from ()
        return Success(data=DATA)

    with pytest.raises(PluginError, match="has the server first"):
        speaker(body, SERVER_FIRST).start("TOY")


@pytest.mark.parametrize("possible", [True, False])
def test_g5_a_client_with_neither_flag_copes_by_itself(speaker, possible):
    """It is told whether an initial response can be sent, and hears the challenge if not."""
    heard: list[bytes | None] = []

    def body(ctx):
        (authid,) = yield from ctx.ask(PromptId.AUTHNAME)
        ctx.canon_user(authid)
        if not ctx.facts.initial_response:
            heard.append((yield from NeedPeer()))
        return Success(data=DATA)

    session = speaker(body, NEITHER, initial_response=possible)
    reply = session.start("TOY")
    if possible:
        assert (reply.data, reply.done, heard) == (DATA, True, [])
    else:
        assert (reply.data, reply.done) == (None, False)
        reply = session.step(b"challenge")
        assert (reply.data, reply.done, heard) == (DATA, True, [b"challenge"])


@pytest.mark.parametrize("possible", [True, False], ids=["initial", "no initial"])
@pytest.mark.parametrize("mechanism", ["ANONYMOUS", "PLAIN", "SCRAM-SHA-256"])
def test_g5_the_built_ins_log_in_with_and_without_an_initial_response(driver, mechanism, possible):
    """One more round trip, the same outcome."""
    server = driver.server(OPEN, stores=[MemoryStore({"tim": "pencil"})])
    client = driver.client(OPEN)
    there = server.session(initial_response=possible)
    nobody = mechanism == "ANONYMOUS"
    who = {"trace": ""} if nobody else {"authid": "tim", "password": "pencil"}
    here = client.session(initial_response=possible, **who)
    said, heard = exchange(there, here, mechanism)
    assert there.done
    assert here.done
    assert there.authid == ("anonymous" if nobody else "tim")
    if possible:
        assert said[0] is not None
    else:
        assert (said[0], heard[0]) == (None, b"")
