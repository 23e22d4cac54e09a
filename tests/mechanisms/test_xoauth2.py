"""XOAUTH2 between real sessions, as Google documents it."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

import pytest

from drivers import Driver, exchange
from oauth_kit import HOST, XOAUTH2, configured, knowing, known, message_for
from sasl_core import (
    AuthenticationError,
    Client,
    MechanismError,
    PeerError,
    Reply,
    SaslError,
    UsageError,
)
from sasl_tokens.bearer import set_validator
from sasl_tokens.terms import UNNAMED

VECTORS: list[dict[str, Any]] = json.loads(
    (Path(__file__).parent.parent / "vectors" / "oauthbearer.json").read_text("utf-8")
)["xoauth2"]
MESSAGES = [each for each in VECTORS if "message_latin1" in each]
(GOOGLES_ERROR,) = [each for each in VECTORS if "error_challenge_b64" in each]
CONFIG = configured()


@pytest.mark.parametrize("initial_response", [True, False])
def test_both_sides(driver: Driver, initial_response: bool) -> None:
    """One message is all there is."""
    facts = {"initial_response": initial_response}
    server, far = driver.server(CONFIG), driver.client(CONFIG)
    set_validator(server.inner.utils, known({"good": "alice"}))
    near, ours = server.session(**facts), far.session(authid="alice", token="good", **facts)
    said, _ = exchange(near, ours, [XOAUTH2])
    assert said[-1] == b"user=alice\x01auth=Bearer good\x01\x01"
    assert near.authid == near.authzid == ours.authzid == "alice"
    assert ours.authid == UNNAMED


def test_a_refusal(driver: Driver) -> None:
    """Google's error, an empty answer, and the end."""
    server, far = driver.server(configured(scope="mail imap")), driver.client(CONFIG)
    set_validator(server.inner.utils, known({"good": "alice"}))
    near, ours = server.session(), far.session(authid="alice", token="bad")
    reply = near.start(XOAUTH2, ours.start([XOAUTH2]).data)
    assert reply.data == b'{"status":"400","schemes":"Bearer","scope":"mail imap"}'
    answer = ours.step(reply.data)
    assert answer == Reply(b"", done=False)
    with pytest.raises(AuthenticationError):
        near.step(answer.data)
    with pytest.raises(AuthenticationError):
        ours.finish()
    assert "status 400, scope mail imap" in ours.error_detail
    assert not near.done
    assert not ours.done


@pytest.mark.parametrize("vector", MESSAGES, ids=lambda v: str(v["message_latin1"])[:30])
def test_messages(vector: dict[str, Any]) -> None:
    """A server that knows the vector's token lets its user in, and refuses what is malformed."""
    message = str(vector["message_latin1"]).encode("latin-1")
    tokens = {vector.get("token", "token"): vector.get("user", "testuser")}
    with knowing(tokens) as server, server.session() as session:
        if vector["result"] == "accept":
            assert session.start(XOAUTH2, message).done
            assert session.authid == vector["user"]
            return
        try:
            reply = session.start(XOAUTH2, message)
        except PeerError:
            assert not session.done
            return
        assert (reply.data or b"").startswith(b'{"status":"400"')
        with pytest.raises(AuthenticationError):
            session.step(b"")


def test_googles_error() -> None:
    """The client answers with an empty message, and says what Google said."""
    with Client("imap", HOST, config=CONFIG) as far:
        session = far.session(authid="alice", token="tok")
        _ = session.start([XOAUTH2])
        reply = session.step(base64.b64decode(GOOGLES_ERROR["error_challenge_b64"]))
        assert reply == Reply(GOOGLES_ERROR["client_reply"].encode(), done=False)
        with pytest.raises(SaslError):
            session.step(b"")
        detail = session.error_detail or ""
        assert "status 401" in detail
        assert GOOGLES_ERROR["error"]["scope"] in detail


@pytest.mark.parametrize("answer", [b"", b"\x01", message_for(XOAUTH2, "good")])
@pytest.mark.parametrize("first", ["bad", ""])
def test_a_server_that_said_no_never_says_yes(first: str, answer: bytes) -> None:
    """Whatever follows an error is the end of the exchange."""
    with knowing({"good": "alice"}) as server, server.session() as session:
        assert not session.start(XOAUTH2, message_for(XOAUTH2, first)).done
        with pytest.raises(AuthenticationError):
            session.step(answer)
        assert not session.done


def test_who_asks_for_whom() -> None:
    """The one name is the authorization name if there is one; a name there has to be."""
    with Client("imap", HOST, config=CONFIG) as far:
        session = far.session(authid="alice", authzid="bob", token="tok")
        assert (session.start([XOAUTH2]).data or b"").startswith(b"user=bob\x01")
        session.finish()
        assert (session.authid, session.authzid) == (UNNAMED, "bob")
        with pytest.raises(MechanismError) as caught:
            far.session(token="tok").start([XOAUTH2])
        assert "AUTHNAME" in caught.value.reasons[XOAUTH2]
        with pytest.raises(UsageError):
            far.session(authid="", token="tok").start([XOAUTH2])
