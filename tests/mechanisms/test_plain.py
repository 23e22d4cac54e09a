"""PLAIN between real sessions: RFC 4616's messages, accepted and refused."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from logins import OPEN, USERS, client, login, server, store
from sasl_auxprop.memory import MemoryStore
from sasl_core import (
    AuthenticationError,
    BackendError,
    Decision,
    MechanismError,
    PeerError,
    Reply,
    Result,
    SaslError,
    UsageError,
)
from sasl_core.plugin import saslprep
from sasl_mechanisms.plain import format_message, parse_message

VECTORS: list[dict[str, Any]] = json.loads(
    (Path(__file__).parent.parent / "vectors" / "plain.json").read_text("utf-8")
)["vectors"]


def message_of(vector: dict[str, Any]) -> bytes:
    """The message of a vector; one is too long to be written down."""
    if vector["message_hex"] is None:
        assert vector["generator"] == "00 + 61*70000 + 00 + 62"
        return b"\0" + b"a" * 70_000 + b"\0b"
    return bytes.fromhex(vector["message_hex"])


ACCEPTED = [vector for vector in VECTORS if vector["result"] == "accept"]
REFUSED = [vector for vector in VECTORS if vector["result"] == "reject"]


def test_every_vector_is_tried() -> None:
    """Each of the 25 vectors is one of the two kinds below."""
    assert len(ACCEPTED) + len(REFUSED) == len(VECTORS) == 25


@pytest.mark.parametrize("vector", ACCEPTED, ids=lambda v: v["source"][:40])
def test_messages_that_are_accepted(vector: dict[str, Any]) -> None:
    """A real server lets the vector's user in, as whom the vector names, when that is permitted."""
    authid, authzid = saslprep(vector["authcid"]), saslprep(vector["authzid"])
    users = MemoryStore({authid: vector["password"]})
    if authzid and authzid != authid:
        users.add_user(authzid)
    with (
        server([users], authorize=lambda *_: Decision.PERMIT) as owner,
        owner.session() as session,
    ):
        assert session.start("PLAIN", message_of(vector)) == Reply(None, done=True)
        assert (session.authid, session.authzid) == (authid, authzid or authid)
    with server([users]) as owner, owner.session() as session:
        if authzid in ("", authid):
            assert session.start("PLAIN", message_of(vector)).done
        else:
            # RFC 4616 section 4's own example: Kurt may not act as Ursel.
            with pytest.raises(AuthenticationError):
                session.start("PLAIN", message_of(vector))


@pytest.mark.parametrize("vector", REFUSED, ids=lambda v: v["source"][:40])
@pytest.mark.parametrize("initial", [True, False])
def test_messages_that_are_refused(vector: dict[str, Any], initial: bool) -> None:
    """A real server that would believe any password refuses the message itself."""
    with (
        server(checkpass=lambda *_: Result.OK, authorize=lambda *_: Decision.PERMIT) as owner,
        owner.session() as session,
    ):
        step: Callable[[bytes], Reply] = partial(session.start, "PLAIN")
        if not initial:
            assert session.start("PLAIN") == Reply(b"", done=False)
            step = session.step
        with pytest.raises(PeerError) as caught:
            step(message_of(vector))
        assert not session.done
        assert len(str(caught.value)) < 200


@pytest.mark.parametrize(
    "text",
    ["\0tim\0", "\0\0tanstaaf", "tim\0\0", "\0tim\0\u00ad", "\0tim\0\u00ad\u00ad", "\0\u00ad\0x"],
)
def test_what_is_empty_never_verifies(text: str) -> None:
    """An empty name or password lets nobody in, empty after preparation included."""
    empty = store({"tim": "x"}, plaintext=True)
    for config in ({}, {"pwcheck_method": ["auxprop"]}):
        with (
            server([empty], config={**OPEN, **config}, checkpass=lambda *_: Result.OK) as owner,
            owner.session() as session,
        ):
            with pytest.raises(SaslError):
                session.start("PLAIN", text.encode())
            assert not session.done


@pytest.mark.parametrize(
    ("spelling", "let_in"),
    [("IX", True), ("\u2168", True), ("I\u00adX", True), ("ix", False), ("IX ", False)],
)
def test_passwords_are_compared_prepared(spelling: str, let_in: bool) -> None:
    """Stored and presented password are prepared alike before they are compared."""
    for plaintext in (False, True):
        with server([store({"tim": "\u2168"}, plaintext=plaintext)]) as ours:
            far = client().session(authid="tim", password=spelling)
            near = ours.session()
            if let_in:
                _ = login(far, near, ["PLAIN"])
                assert near.authid == "tim"
            else:
                with pytest.raises(AuthenticationError):
                    login(far, near, ["PLAIN"])


@pytest.mark.parametrize("initial_response", [True, False])
@pytest.mark.parametrize("success_data", [True, False])
def test_both_sides(initial_response: bool, success_data: bool) -> None:
    """One message is all there is, whether or not it goes out with the request."""
    facts: dict[str, Any] = {"initial_response": initial_response, "success_data": success_data}
    with server() as ours, client() as theirs:
        far = theirs.session(authid="tim", password=USERS["tim"], authzid="tim", **facts)
        near = ours.session(**facts)
        said = login(far, near, ["PLAIN"])
        message = f"tim\0tim\0{USERS['tim']}".encode()
        if initial_response:
            assert said == [message, None]
        else:
            assert said == [None, b"", message, None]


def test_a_wrong_password_and_a_refused_identity_are_one_outcome() -> None:
    """The peer is told the same, whatever it was refused for."""
    told = set()
    with server() as ours:
        for text in (
            "\0tim\0wrong",
            "\0nobody\0wrong",
            f"kurt\0tim\0{USERS['tim']}",
            f"nobody\0tim\0{USERS['tim']}",
            "kurt\0tim\0wrong",
            f"\0tim\0{USERS['tim']}\x01",
        ):
            with ours.session() as session, pytest.raises(AuthenticationError) as caught:
                session.start("PLAIN", text.encode())
            error = caught.value
            told.add((str(error), error.code, error.wire, error.result))
    assert len(told) == 1


def test_an_outage_is_no_wrong_password() -> None:
    """When nobody can be asked, the client is told to try again, not that it is refused."""
    with server(checkpass=lambda *_: Result.UNAVAIL, config={**OPEN, "pwcheck_method": []}) as ours:
        with (
            ours.session() as session,
            pytest.raises((BackendError, AuthenticationError)) as caught,
        ):
            session.start("PLAIN", b"\0tim\0x")
        assert isinstance(caught.value, BackendError)
        assert caught.value.temporary


def test_cleartext_needs_protection_or_permission() -> None:
    """Without TLS the server does not offer PLAIN and the client does not choose it."""
    strict: dict[str, object] = {"scram_iteration_counter": 4096}
    with server(config=strict) as ours, client(config=strict) as theirs:
        for ssf in (0, 1):
            far = theirs.session(authid="tim", password="x", external_ssf=ssf)
            with pytest.raises(MechanismError) as caught:
                far.start(["PLAIN"])
            assert "allow_cleartext" in str(caught.value)
            near = ours.session(external_ssf=ssf)
            assert "PLAIN" not in near.mechanisms()
            assert "allow_cleartext" in near.rejected["PLAIN"]
            with pytest.raises(MechanismError):
                near.start("PLAIN", b"\0tim\0" + USERS["tim"].encode())
        # The policy looks at each connection: one with TLS opens nothing for one without.
        far = theirs.session(authid="tim", password=USERS["tim"], external_ssf=128)
        near = ours.session(external_ssf=128)
        _ = login(far, near, ["PLAIN"])
        with pytest.raises(MechanismError):
            ours.session(external_ssf=0).start("PLAIN", b"\0tim\0x")


parts = st.text(
    st.characters(blacklist_categories=["Cs"], blacklist_characters="\0"), min_size=1, max_size=20
)


@given(st.none() | parts, parts, parts)
def test_what_is_formatted_parses(authzid: str | None, authcid: str, password: str) -> None:
    """A message that was written is read again as what it was written from."""
    message = format_message(authzid, authcid, password)
    assert parse_message(message) == (authzid, authcid, password)


@given(st.binary(max_size=60) | st.lists(st.binary(max_size=5), max_size=5).map(b"\0".join))
def test_what_is_parsed_is_written_again(message: bytes) -> None:
    """Nothing but a PeerError comes of garbage, and what is accepted has one spelling."""
    try:
        parsed = parse_message(message)
    except PeerError:
        return
    assert format_message(*parsed) == message


@pytest.mark.parametrize(
    ("authzid", "authcid", "password"),
    [
        (None, "", "x"), (None, "x", ""), ("a\0", "x", "y"), (None, "x\0", "y"),
        (None, "x", "y\0z"), (None, "\ud800", "x"), (None, "x", "\udfff"), ("\ud800", "x", "y"),
    ],
)  # fmt: skip
def test_what_cannot_be_sent(authzid: str | None, authcid: str, password: str) -> None:
    """Empty parts, NULs and half surrogates are a UsageError before anything is sent."""
    with pytest.raises(UsageError):
        format_message(authzid, authcid, password)
    with client() as owner:
        session = owner.session(authid=authcid, password=password, authzid=authzid)
        with pytest.raises((UsageError, PeerError)):
            session.start("PLAIN")
        assert not session.done
