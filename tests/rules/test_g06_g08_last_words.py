"""G6 to G8: who speaks last, and how that is framed."""

from __future__ import annotations

import pytest

from drivers import exchange
from sasl_auxprop.memory import MemoryStore
from sasl_core import (
    AuthenticationError,
    Blocking,
    PeerError,
    PluginError,
    Result,
    UsageError,
)
from sasl_core.plugin import NeedCall, NeedPeer, Success
from toys import OPEN, client_plug, naming_client, naming_server, server_plug


@pytest.fixture
def speaking(driver, toys):
    """A session of a server whose mechanism ends with `data`."""

    def make(data, **facts):
        toys.mechanism(server_plug("TOY", naming_server(look_up=False, data=data)))
        return driver.server(OPEN, registry=toys.registry()).session(**facts)

    return make


# --- G6: the protocol has no room in its success message -----------------------------------


@pytest.mark.parametrize("data", [b"v=proof", b""], ids=["data", "empty"])
def test_g6_the_last_words_go_out_as_a_challenge(speaking, data):
    """Without success data they are a challenge, and an empty response completes it."""
    session = speaking(data)
    reply = session.start("TOY", b"alice")
    assert (reply.data, reply.done) == (data, False)
    reply = session.step(b"")
    assert (reply.data, reply.done) == (None, True)


def test_g6_nobody_is_authenticated_before_the_empty_response(speaking):
    """The identity cannot be read while an answer is due."""
    session = speaking(b"v=proof")
    session.start("TOY", b"alice")
    assert not session.done
    for name in ("authid", "authzid", "ssf", "properties", "channel_binding"):
        with pytest.raises(UsageError) as caught:
            getattr(session, name)
        assert caught.value.result is Result.NOTDONE
    session.step(b"")
    assert (session.authid, session.authzid) == ("alice", "alice")


def test_g6_a_last_response_with_data_is_refused(speaking):
    """Only an empty message may follow; after anything else the attempt is over."""
    session = speaking(b"v=proof")
    session.start("TOY", b"alice")
    with pytest.raises(PeerError, match="empty response"):
        session.step(b"more")
    assert not session.done
    with pytest.raises(UsageError):
        session.step(b"")


def test_g6_without_last_words_success_comes_at_once(speaking):
    """A mechanism that never sends last needs no empty round."""
    reply = speaking(None).start("TOY", b"alice")
    assert (reply.data, reply.done) == (None, True)


# --- G7: the protocol has room ----------------------------------------------------------------


@pytest.mark.parametrize("data", [b"v=proof", b"", None], ids=["data", "empty", "none"])
def test_g7_the_last_words_come_with_success(speaking, data):
    """With success data they travel in the success message, and `b""` is not None."""
    session = speaking(data, success_data=True)
    reply = session.start("TOY", b"alice")
    assert (reply.data, reply.done) == (data, True)
    assert session.authid == "alice"


# --- G8: the client owes an answer -----------------------------------------------------------


@pytest.fixture
def hearing(driver, toys):
    """A session of a client whose mechanism hears one challenge, then does as `body` says."""

    def make(body=None, **facts):
        toys.mechanism(client=client_plug("TOY", body or naming_client(last=b"v=proof")))
        client = driver.client(OPEN, registry=toys.registry())
        return client.session(authid="alice", **facts)

    return make


def test_g8_the_client_owes_an_empty_message(hearing):
    """Content, with nothing to say, and no success data: an empty message is still owed."""
    session = hearing()
    session.start("TOY")
    reply = session.step(b"v=proof")
    assert (reply.data, reply.done) == (b"", True)
    session.finish()
    assert session.authid == "alice"


def test_g8_with_success_data_nothing_is_owed(hearing):
    """The server's last words came with its success: there is no message to answer."""
    session = hearing(success_data=True)
    session.start("TOY")
    session.finish(b"v=proof")
    assert session.done


def test_g8_a_challenge_where_success_data_were_possible_owes_nothing(hearing):
    """As Cyrus has it: with success data no empty message is made up."""
    session = hearing(success_data=True)
    session.start("TOY")
    reply = session.step(b"v=proof")
    assert (reply.data, reply.done) == (None, True)


def test_g8_output_of_the_mechanism_is_sent_as_it_is(hearing):
    """A mechanism that ends with a message of its own owes nothing else."""

    def body(ctx):
        ctx.canon_user("alice")
        yield from NeedPeer(b"alice")
        return Success(data=b"bye")

    session = hearing(body)
    session.start("TOY")
    reply = session.step(b"v=proof")
    assert (reply.data, reply.done) == (b"bye", True)


def test_g8_a_wait_in_the_middle_owes_an_empty_message_too(hearing):
    """A challenge that the mechanism answers with nothing is answered with an empty message."""

    def body(ctx):
        ctx.canon_user("alice")
        yield from NeedPeer(b"alice")
        yield from NeedPeer()
        return Success()

    session = hearing(body)
    session.start("TOY")
    reply = session.step(b"one")
    assert (reply.data, reply.done) == (b"", False)


# --- finish: the protocol's own success ---------------------------------------------------------


def test_g8_success_before_the_mechanism_is_through_is_not_believed(hearing):
    """A server that skips its proof has not proved itself (BADSERV)."""
    session = hearing()
    session.start("TOY")
    with pytest.raises(AuthenticationError) as caught:
        session.finish()
    assert caught.value.result is Result.BADSERV
    assert not session.done


def test_g8_success_with_data_that_nobody_expects_is_refused(hearing):
    """A mechanism that is through has no use for more."""
    session = hearing(naming_client())
    assert session.start("TOY").done
    with pytest.raises(PeerError, match="unexpected data"):
        session.finish(b"surprise")
    assert not session.done


def test_g8_success_twice_says_nothing_new(hearing):
    """finish() on an exchange that is done changes nothing."""
    session = hearing(naming_client())
    session.start("TOY")
    session.finish()
    session.finish(b"")
    assert session.done


def test_g8_success_while_our_first_message_is_held_is_not_believed(hearing):
    """The server cannot have authenticated whom it has not heard."""
    session = hearing(naming_client(), initial_response=False)
    session.start("TOY")
    with pytest.raises(AuthenticationError):
        session.finish()
    assert not session.done


@pytest.mark.parametrize("work", [False, True], ids=["at once", "after other work"])
@pytest.mark.parametrize("ending", ["waits", "speaks"])
def test_g8_success_in_the_middle_of_the_exchange_is_not_believed(hearing, work, ending):
    """The mechanism has heard the success data and is not through: finish() says so."""

    def body(ctx):
        ctx.canon_user("alice")
        yield from NeedPeer(b"alice")
        if work:
            yield from NeedCall(lambda: None, Blocking.REMOTE)
        if ending == "waits":
            yield from NeedPeer(b"and another thing")
        return Success(data=b"and another thing")

    session = hearing(body, success_data=True)
    session.start("TOY")
    with pytest.raises(PeerError, match="success in the middle"):
        session.finish(b"v=proof")
    assert not session.done


def test_g8_finish_before_start_is_out_of_order(hearing):
    """Nothing was begun."""
    with pytest.raises(UsageError):
        hearing().finish()


@pytest.mark.parametrize("data", ["text", 7, bytearray(b"x")], ids=repr)
def test_g8_success_data_are_bytes(hearing, data):
    """Anything else is the caller's mistake, and changes nothing."""
    session = hearing(success_data=True)
    session.start("TOY")
    with pytest.raises(UsageError):
        session.finish(data)
    session.finish(b"v=proof")
    assert session.done


# --- what a mechanism hands out ------------------------------------------------------------------


@pytest.mark.parametrize("data", ["text", 7, [b"x"]], ids=repr)
def test_g6_what_a_server_mechanism_sends_is_bytes(driver, toys, data):
    """Neither a challenge nor last words of another type reach the application."""

    def asking(ctx):
        yield from NeedPeer(data)
        return Success()

    for body in (asking, naming_server(look_up=False, data=data)):
        toys.mechanism(server_plug("TOY", body))
        session = driver.server(registry=toys.registry()).session(success_data=True)
        with pytest.raises(PluginError, match="bytes"):
            session.start("TOY", None if body is asking else b"alice")
        assert not session.done


@pytest.mark.parametrize("data", ["text", 7, [b"x"]], ids=repr)
def test_g8_what_a_client_mechanism_sends_is_bytes(hearing, data):
    """The same on the client's side."""

    def asking(ctx):
        ctx.canon_user("alice")
        yield from NeedPeer(data)
        return Success()

    def ending(ctx):
        ctx.canon_user("alice")
        yield from ()
        return Success(data=data)

    for body in (asking, ending):
        session = hearing(body)
        with pytest.raises(PluginError, match="bytes"):
            session.start("TOY")
        assert not session.done


# --- all four framings, with the built-ins -------------------------------------------------------


@pytest.mark.parametrize("success_data", [True, False], ids=["success data", "no success data"])
@pytest.mark.parametrize("initial", [True, False], ids=["initial", "no initial"])
@pytest.mark.parametrize("mechanism", ["ANONYMOUS", "PLAIN", "SCRAM-SHA-256"])
def test_g8_every_built_in_logs_in_under_every_framing(driver, mechanism, initial, success_data):
    """Client first or not, server last or not: both ends agree that it is done, and on whom."""
    facts = {"initial_response": initial, "success_data": success_data}
    server = driver.server(OPEN, stores=[MemoryStore({"tim": "pencil"})]).session(**facts)
    who = {"trace": "t"} if mechanism == "ANONYMOUS" else {"authid": "tim", "password": "pencil"}
    client = driver.client(OPEN).session(**who, **facts)
    said, heard = exchange(server, client, mechanism)
    assert server.done
    assert client.done
    assert (server.authid, server.authzid) == (client.authid, client.authzid)
    rounds = {"ANONYMOUS": 1, "PLAIN": 1, "SCRAM-SHA-256": 2 + (not success_data)}[mechanism]
    assert len(said) == rounds + (not initial)
    if mechanism == "SCRAM-SHA-256":
        proof = heard[-1] if success_data else heard[-2]
        assert proof is not None
        assert proof.startswith(b"v=")
        assert (heard[-1] is None) is (not success_data)


@pytest.mark.parametrize("success_data", [True, False])
def test_g8_no_output_after_an_end(driver, success_data):
    """After done, and after failed, nothing more is said and nothing is accepted."""
    server = driver.server(OPEN, stores=[MemoryStore({"tim": "pencil"})])
    for password in ("pencil", "wrong"):
        session = server.session(success_data=success_data)
        message = b"\0tim\0" + password.encode()
        if password == "pencil":
            assert session.start("PLAIN", message).done
        else:
            with pytest.raises(AuthenticationError):
                session.start("PLAIN", message)
        with pytest.raises(UsageError):
            session.step(b"")
        with pytest.raises(UsageError):
            session.start("PLAIN", message)
        assert session.done is (password == "pencil")
