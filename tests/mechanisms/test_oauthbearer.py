"""OAUTHBEARER between real sessions: what RFC 7628 says, and what must never be let in."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from drivers import Driver, exchange
from oauth_kit import BEARER, FAR, HOST, configured, knowing, known, message_for
from sasl_core import (
    AuthenticationError,
    Client,
    Decision,
    MechanismError,
    PeerError,
    Reply,
    Result,
    SaslError,
    UsageError,
)
from sasl_tokens.bearer import BearerLogin, set_validator
from sasl_tokens.terms import UNNAMED

VECTORS: dict[str, Any] = json.loads(
    (Path(__file__).parent.parent / "vectors" / "oauthbearer.json").read_text("utf-8")
)
ACCEPTED: list[dict[str, Any]] = VECTORS["oauthbearer"]
MALFORMED: list[dict[str, Any]] = [
    each for each in VECTORS["oauthbearer_malformed"] if each["message_latin1"] is not None
]
ERRORS: list[dict[str, Any]] = VECTORS["error_challenges"]
CONFIG = configured()


@pytest.fixture
def client() -> Iterator[Client]:
    with Client("imap", HOST, config=CONFIG) as made:
        yield made


# --- logins -------------------------------------------------------------------------------


@pytest.mark.parametrize("initial_response", [True, False])
@pytest.mark.parametrize("success_data", [True, False])
def test_both_sides(driver: Driver, initial_response: bool, success_data: bool) -> None:
    """One message is all there is, and the protocol's success is the end."""
    facts = {"initial_response": initial_response, "success_data": success_data}
    server, far = driver.server(CONFIG), driver.client(CONFIG)
    set_validator(server.inner.utils, known({"good": "alice"}))
    near, ours = server.session(**facts), far.session(authid="alice", token="good", **facts)
    said, heard = exchange(near, ours, [BEARER])
    message = b"n,a=alice,\x01host=mail.example.com\x01auth=Bearer good\x01\x01"
    if initial_response:
        assert (said, heard) == ([message], [None])
    else:
        assert (said, heard) == ([None, message], [b"", None])
    assert near.done
    assert ours.done
    assert near.authid == near.authzid == ours.authzid == "alice"
    assert ours.authid == UNNAMED
    assert near.valid()


@pytest.mark.parametrize("initial_response", [True, False])
def test_a_refusal(driver: Driver, initial_response: bool) -> None:
    """An error, ^A, and the end: on both sides, in each driver."""
    facts = {"initial_response": initial_response}
    server, far = driver.server(configured(scope="mail")), driver.client(CONFIG)
    set_validator(server.inner.utils, known({"good": "alice"}))
    near, ours = server.session(**facts), far.session(authid="alice", token="bad", **facts)
    first = ours.start([BEARER])
    reply = near.start(BEARER, first.data)
    if not initial_response:
        reply = near.step(ours.step(reply.data).data)
    assert reply == Reply(b'{"status":"invalid_token","scope":"mail"}', done=False)
    answer = ours.step(reply.data)
    assert answer == Reply(b"\x01", done=False)
    with pytest.raises(AuthenticationError) as refused:
        near.step(answer.data)
    assert refused.value.code == "token-inactive"
    assert "application" in near.error_detail
    with pytest.raises(AuthenticationError):
        ours.finish()
    assert "invalid_token, scope mail" in ours.error_detail
    assert not near.done
    assert not ours.done


@pytest.mark.parametrize("vector", ACCEPTED, ids=lambda v: str(v["source"])[:50])
def test_messages_that_are_accepted(vector: dict[str, Any]) -> None:
    """A server lets the bearer in as whom the header names; an empty auth is told where to go."""
    wanted = vector["gs2"]["authzid"]
    config = configured(openid_configuration="https://example.com/.well-known/openid-configuration")
    tokens = {vector["token"]: wanted or "user"}
    with knowing(tokens, config=config) as server, server.session() as session:
        reply = session.start(BEARER, base64.b64decode(vector["message_b64"]))
        if vector["result"] == "accept":
            assert reply == Reply(None, done=True)
            assert session.authid == session.authzid == (wanted or "user")
            return
        said = json.loads(reply.data or b"")
        assert said == {
            "status": "invalid_token",
            "openid-configuration": "https://example.com/.well-known/openid-configuration",
        }
        with pytest.raises(AuthenticationError) as caught:
            session.step(b"\x01")
        assert caught.value.code == "bearer-discovery"


@pytest.mark.parametrize("vector", MALFORMED, ids=lambda v: str(v["why"])[:50])
@pytest.mark.parametrize("initial", [True, False])
def test_messages_that_are_refused(vector: dict[str, Any], initial: bool) -> None:
    """A server that believes every token lets nobody in; one that is no bearer's is told so."""
    message = str(vector["message_latin1"]).encode("latin-1")
    everybody = lambda token, request: BearerLogin("alice", "application", FAR)  # noqa: E731
    with (
        knowing(everybody, authorize=lambda *_: Decision.PERMIT) as server,
        server.session() as session,
    ):
        try:
            if initial:
                reply = session.start(BEARER, message)
            else:
                assert session.start(BEARER) == Reply(b"", done=False)
                reply = session.step(message)
        except PeerError:
            assert not session.done
            return
        if "port range" in vector["why"]:
            # Nobody vouches for the port, and nothing reads it.
            assert reply.done
            return
        assert reply == Reply(b'{"status":"invalid_request"}', done=False)
        with pytest.raises(AuthenticationError):
            session.step(b"\x01")
        assert not session.done


@pytest.mark.parametrize(
    "answer",
    [b"\x01", b"", b"\x01\x01", b"x" * 60_000, message_for(BEARER, "good"), b"\x00", b"\xff"],
)
@pytest.mark.parametrize("first", ["bad", ""])
def test_a_server_that_said_no_never_says_yes(first: str, answer: bytes) -> None:
    """Whatever follows an error, a good token too, is the end of the exchange."""
    with knowing({"good": "alice"}) as server, server.session() as session:
        assert not session.start(BEARER, message_for(BEARER, first)).done
        with pytest.raises(AuthenticationError):
            session.step(answer)
        with pytest.raises(UsageError):
            session.step(answer)
        assert not session.done


# --- the client -----------------------------------------------------------------------------


def offered(client: Client, token: str = "token-of-mine", **facts: Any) -> Any:
    """A session that has sent its token."""
    session = client.session(authid="alice", token=token, **facts)
    assert session.start([BEARER]).data is not None
    return session


@pytest.mark.parametrize("vector", ERRORS, ids=lambda v: str(v["source"]))
def test_errors_of_other_servers(client: Client, vector: dict[str, Any]) -> None:
    """The client says ^A, fails, and tells its administrator what the server said."""
    session = offered(client)
    assert session.step(base64.b64decode(vector["b64"])) == Reply(b"\x01", done=False)
    with pytest.raises(AuthenticationError) as caught:
        session.finish()
    assert str(caught.value) == "authentication failed"
    for name in ("status", "scope", "openid-configuration"):
        assert vector["json"].get(name, "") in session.error_detail


def test_nothing_is_fetched_from_where_a_server_points() -> None:
    """Who refuses may be anybody: an address in an error is shown, and not asked."""

    def http(request: Any) -> Any:
        raise AssertionError(request.url)

    with Client("imap", HOST, config=CONFIG, http=http) as far:
        session = offered(far)
        _ = session.step(base64.b64decode(ERRORS[0]["b64"]))
        with pytest.raises(AuthenticationError):
            session.finish()
        assert ERRORS[0]["json"]["openid-configuration"] in session.error_detail
        assert not session.refused()


@pytest.mark.parametrize(
    "error", [b"", b"x", b"{}", b"[1]", b'{"status":1}', b"\xff", b"[" * 60_000, b'{"scope":"a"}']
)  # fmt: skip
def test_an_error_that_cannot_be_read_is_an_error(client: Client, error: bytes) -> None:
    """Whatever a server says in place of its success is a no."""
    session = offered(client)
    assert session.step(error) == Reply(b"\x01", done=False)
    assert "cannot be read" in session.error_detail
    with pytest.raises(AuthenticationError):
        session.finish()
    assert not session.done


@pytest.mark.parametrize("last", [None, b"", b"x", b'{"status":"ok"}'])
@pytest.mark.parametrize("challenge", [b'{"status":"invalid_token"}', b"x"])
def test_a_client_never_succeeds_after_an_error(
    client: Client, challenge: bytes, last: bytes | None
) -> None:
    """A success after an error is not believed, nor is another challenge answered."""
    session = offered(client)
    _ = session.step(challenge)
    with pytest.raises(SaslError):
        session.finish(last)
    assert not session.done
    session = offered(client)
    _ = session.step(challenge)
    with pytest.raises(AuthenticationError) as caught:
        session.step(last or b"")
    assert caught.value.result is Result.BADAUTH
    assert not session.done


def test_success_with_data_is_refused(client: Client) -> None:
    """Nothing comes with OAUTHBEARER's success: what does is an error in the wrong place."""
    session = offered(client)
    with pytest.raises(PeerError):
        session.finish(b'{"status":"ok"}')
    assert not session.done


def test_an_empty_success_is_a_success(client: Client) -> None:
    """A protocol that cannot tell no data from empty ones says the same with either."""
    session = offered(client)
    session.finish(b"")
    assert session.done


@pytest.mark.parametrize(
    ("remote", "port"),
    [
        ("192.0.2.1;143", b"port=143\x01"),
        ("2001:db8::1;993", b"port=993\x01"),
        (None, b""),
        ("192.0.2.1;0", b""),
        ("192.0.2.1;99999", b""),
    ],
)
def test_the_port_is_told_if_it_is_known(client: Client, remote: str | None, port: bytes) -> None:
    """Host and port are those that the client is connected to."""
    session = client.session(authid="alice", token="tok", remote=remote)
    said = session.start([BEARER]).data
    assert said == b"n,a=alice,\x01host=mail.example.com\x01" + port + b"auth=Bearer tok\x01\x01"


@pytest.mark.parametrize(
    ("given", "header", "names"),
    [
        ({}, b"n,,", (UNNAMED, UNNAMED)),
        ({"authid": "alice"}, b"n,a=alice,", (UNNAMED, "alice")),
        ({"authid": "alice", "authzid": "bob"}, b"n,a=bob,", (UNNAMED, "bob")),
        ({"authzid": "bob"}, b"n,a=bob,", (UNNAMED, "bob")),
        ({"authid": "a=b,c"}, b"n,a=a=3Db=2Cc,", (UNNAMED, "a=b,c")),
    ],
)
def test_as_whom_a_client_asks_to_act(
    client: Client, given: dict[str, Any], header: bytes, names: tuple[str, str]
) -> None:
    """The authorization name, else the user's name, else nobody: then the token says it.

    Whose the token is, nobody has told the client, and it claims no name for that.
    """
    session = client.session(token="tok", **given)
    assert (session.start([BEARER]).data or b"").startswith(header + b"\x01")
    session.finish()
    assert (session.authid, session.authzid) == names


@pytest.mark.parametrize("token", ["", "two words", "line\n", "\u00e9", "a" * 20_000])
def test_a_token_that_cannot_be_sent(client: Client, token: str) -> None:
    """It is refused before anything leaves, and is not in what is raised."""
    session = client.session(authid="alice", token=token)
    with pytest.raises(UsageError) as caught:
        session.start([BEARER])
    assert not token or token not in str(caught.value) + (session.error_detail or "")


def test_tokens_are_not_sent_in_clear() -> None:
    """Without TLS neither side has the mechanism (RFC 7628 section 5)."""
    bare = {"mechanisms": CONFIG["mechanisms"]}
    with knowing({"tok": "alice"}, config=bare) as server, Client("imap", HOST, config=bare) as far:
        with server.session() as near:
            assert BEARER not in near.mechanisms()
            assert "TLS" in near.rejected[BEARER]
        with far.session(authid="alice", token="tok") as ours, pytest.raises(MechanismError):
            ours.start([BEARER])
        with (
            server.session(external_ssf=256) as near,
            far.session(authid="alice", token="tok", external_ssf=256) as ours,
        ):
            _ = exchange(near, ours, [BEARER])
            assert near.done


def test_without_a_token_another_mechanism_is_chosen(client: Client) -> None:
    """A client that has a password and no token does not try."""
    session = client.session(authid="alice", password="x")
    with pytest.raises(MechanismError) as caught:
        session.start([BEARER])
    assert "TOKEN" in caught.value.reasons[BEARER]
    session = client.session(authid="alice", password="x")
    _ = session.start([BEARER, "PLAIN"])
    assert session.mechanism == "PLAIN"
