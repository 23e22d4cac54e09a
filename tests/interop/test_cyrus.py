"""Cyrus SASL's sample client logs in to our server, and our client to its sample server."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from cyrus import PASSWORD, SCRAM, SUCCESS, USER, Cyrus, hear, log_in, say, serve
from sasl_auxprop.memory import MemoryStore
from sasl_core import AuthenticationError, Client, Decision, Result, Server, SetpassFlag

pytestmark = pytest.mark.interop

WITH_PASSWORD = ["PLAIN", *SCRAM]
MECHANISMS = ["ANONYMOUS", *WITH_PASSWORD]
OPEN = {
    "allow_anonymous": True,
    "allow_cleartext": True,
    "mech_list": ["SCRAM-SHA-256", "PLAIN", "ANONYMOUS", *SCRAM],
    # A user is named to every mechanism here, to ANONYMOUS as well.
    "client_mech_list": ["SCRAM-SHA-256", "PLAIN", "ANONYMOUS", *SCRAM],
    "scram_iteration_counter": 4096,
}

last_words = pytest.mark.parametrize(
    "sends_last", [False, True], ids=["challenge-last", "success-data"]
)


@pytest.fixture
def cyrus(tmp_path: Path, need: Callable[[str], str]) -> Cyrus:
    """Cyrus's programs, and a user."""
    return Cyrus(tmp_path, need)


@pytest.fixture
def client() -> Iterator[Client]:
    with Client("imap", "localhost", config=OPEN) as made:
        yield made


@pytest.fixture
def server() -> Iterator[Server]:
    """A server that lets tim act for fred, and nobody else for anybody else."""

    def authorize(authid: str, authzid: str, _: object) -> Decision:
        allowed = authid == authzid or (authid, authzid) == (USER, "fred")
        return Decision.PERMIT if allowed else Decision.DENY

    store = MemoryStore()
    with Server("imap", "localhost", config=OPEN, stores=[store], authorize=authorize) as made:
        for user, password in ((USER, PASSWORD), ("fred", "other")):
            assert made.setpass(user, password, SetpassFlag.CREATE).ok
        yield made


# --- our client, Cyrus's server ---------------------------------------------------------


@last_words
@pytest.mark.parametrize("mechanism", MECHANISMS)
def test_our_client_is_let_in(
    cyrus: Cyrus, client: Client, mechanism: str, sends_last: bool
) -> None:
    """With and without server-sends-last, Cyrus names the user and our session finishes."""
    # A client that was told who it is never chooses ANONYMOUS.
    named = mechanism != "ANONYMOUS"
    with (
        cyrus.server(mechanism, *(["-l"] if sends_last else [])) as peer,
        client.session(
            authid=USER if named else None,
            password=PASSWORD if named else None,
            trace="tim@example.com",
            success_data=sends_last,
        ) as session,
    ):
        outcome = log_in(session, peer)
        outcome.expect(0)
        name = USER if named else "anonymous"
        assert f"Username: {name}@localhost" in outcome.output, str(outcome)
        assert session.done
        assert session.authid == name


@last_words
def test_our_client_waits_for_a_challenge_where_there_is_no_initial_response(
    cyrus: Cyrus, client: Client, sends_last: bool
) -> None:
    """The mechanism's name alone, an empty challenge from Cyrus, and PLAIN's message then."""
    with (
        cyrus.server("PLAIN", *(["-l"] if sends_last else [])) as peer,
        client.session(
            authid=USER, password=PASSWORD, success_data=sends_last, initial_response=False
        ) as session,
    ):
        log_in(session, peer).expect(0)
        assert session.done


@last_words
@pytest.mark.parametrize("mechanism", WITH_PASSWORD)
@pytest.mark.parametrize(
    ("authid", "password"), [(USER, "Pencil"), ("nobody", PASSWORD)], ids=["password", "user"]
)
def test_our_client_is_refused(
    cyrus: Cyrus, client: Client, mechanism: str, sends_last: bool, authid: str, password: str
) -> None:
    """A wrong password or user: Cyrus ends with 1, and SCRAM believes no claim of success."""
    with (
        cyrus.server(mechanism, *(["-l"] if sends_last else [])) as peer,
        client.session(authid=authid, password=password, success_data=sends_last) as session,
    ):
        outcome = log_in(session, peer)
        outcome.expect(1)
        assert SUCCESS not in outcome.output, str(outcome)
        if mechanism != "PLAIN":
            assert not session.done
            with pytest.raises(AuthenticationError):
                session.finish()


@pytest.mark.parametrize("mechanism", WITH_PASSWORD)
@pytest.mark.parametrize("authzid", [USER, "fred"])
def test_our_client_asks_to_act_for_another(
    cyrus: Cyrus, client: Client, mechanism: str, authzid: str
) -> None:
    """Cyrus reads the authzid where we put it: its policy lets tim be nobody but tim."""
    with (
        cyrus.server(mechanism) as peer,
        client.session(authid=USER, password=PASSWORD, authzid=authzid) as session,
    ):
        outcome = log_in(session, peer)
        outcome.expect(0 if authzid == USER else 1)
        if authzid == "fred":
            assert "not authenticated identity" in outcome.output, str(outcome)


@pytest.mark.parametrize("sends_last", [False, True], ids=["challenge", "success"])
def test_our_client_believes_no_altered_signature(
    cyrus: Cyrus, client: Client, sends_last: bool
) -> None:
    """One bit of `v=` changed on the way, as a challenge or with the success: BADSERV."""
    with (
        cyrus.server("SCRAM-SHA-256", *(["-l"] if sends_last else [])) as peer,
        client.session(authid=USER, password=PASSWORD, success_data=sends_last) as session,
    ):
        assert hear(peer, "S") is not None
        reply = session.start("SCRAM-SHA-256")
        say(peer, "C", b"SCRAM-SHA-256\0" + (reply.data or b""))
        reply = session.step(hear(peer, "S") or b"")
        say(peer, "C", reply.data or b"")
        final = bytearray(hear(peer, "S", success=False) or b"")
        assert final.startswith(b"v=")
        final[2] = ord("A") if final[2] != ord("A") else ord("B")
        hear_it = session.finish if sends_last else session.step
        with pytest.raises(AuthenticationError) as caught:
            hear_it(bytes(final))
        assert caught.value.result is Result.BADSERV
        assert not session.done


# --- Cyrus's client, our server ---------------------------------------------------------


@last_words
@pytest.mark.parametrize("mechanism", MECHANISMS)
def test_their_client_is_let_in(
    cyrus: Cyrus, server: Server, mechanism: str, sends_last: bool
) -> None:
    """With and without server-sends-last, and Cyrus's client accepts our last message."""
    with (
        cyrus.client(*(["-l"] if sends_last else [])) as peer,
        server.session(success_data=sends_last) as session,
    ):
        assert mechanism in session.mechanisms()
        outcome = serve(session, peer, mechanism)
        outcome.expect(0)
        assert SUCCESS in outcome.output, str(outcome)
        assert session.mechanism == mechanism
        assert session.authid == ("anonymous" if mechanism == "ANONYMOUS" else USER)
        assert session.authzid == session.authid


@last_words
@pytest.mark.parametrize("mechanism", WITH_PASSWORD)
def test_their_client_is_refused(
    cyrus: Cyrus, server: Server, mechanism: str, sends_last: bool
) -> None:
    """A wrong password is our error, and never a success of theirs with SCRAM."""
    with (
        cyrus.client(*(["-l"] if sends_last else [])) as peer,
        server.session(success_data=sends_last) as session,
    ):
        with pytest.raises(AuthenticationError) as caught:
            serve(session, peer, mechanism, "Pencil")
        assert caught.value.result is Result.BADAUTH
        assert not session.done
        if caught.value.wire is not None:
            say(peer, "S", caught.value.wire)
            outcome = peer.end()
            outcome.expect(1)
            assert SUCCESS not in outcome.output, str(outcome)


def test_their_client_chooses_scram_from_our_whole_offer(cyrus: Cyrus, server: Server) -> None:
    """The list as `listmech` writes it; Cyrus takes the strongest of it, unbound."""
    bindings = {"tls-exporter": b"x" * 32}
    with (
        cyrus.client() as peer,
        server.session(channel_bindings=bindings) as session,
    ):
        offer = session.listmech()
        for name in SCRAM:
            assert {name, f"{name}-PLUS"} < set(offer.split())
        serve(session, peer, offer).expect(0)
        assert session.mechanism == "SCRAM-SHA-512"
        assert session.channel_binding is None


@pytest.mark.parametrize("mechanism", WITH_PASSWORD)
@pytest.mark.parametrize("authzid", ["fred", "root"])
def test_their_client_asks_to_act_for_another(
    cyrus: Cyrus, server: Server, mechanism: str, authzid: str
) -> None:
    """We read the authzid where Cyrus puts it, and ask the proxy policy about it."""
    with cyrus.client("-u", authzid) as peer, server.session() as session:
        if authzid == "fred":
            serve(session, peer, mechanism).expect(0)
            assert (session.authid, session.authzid) == (USER, "fred")
        else:
            with pytest.raises(AuthenticationError) as caught:
                serve(session, peer, mechanism)
            assert caught.value.result is Result.BADAUTH
            assert "root" in str(session.error_detail)
            assert not session.done


@last_words
@pytest.mark.parametrize("final", [b"v=AAAA", b"e=other-error", b""], ids=["v", "e", "empty"])
def test_their_client_believes_no_other_last_message(
    cyrus: Cyrus, server: Server, sends_last: bool, final: bytes
) -> None:
    """What it accepts of us in the tests above is our signature, and not just anything."""
    with (
        cyrus.client(*(["-l"] if sends_last else [])) as peer,
        server.session(success_data=sends_last) as session,
    ):
        say(peer, "S", b"SCRAM-SHA-256")
        peer.say(PASSWORD)
        _, _, initial = (hear(peer, "C") or b"").partition(b"\0")
        say(peer, "S", session.start("SCRAM-SHA-256", initial).data or b"")
        reply = session.step(hear(peer, "C") or b"")
        assert (reply.data or b"").startswith(b"v=")
        say(peer, "S", final)
        outcome = peer.end()
        outcome.expect(1)
        assert SUCCESS not in outcome.output, str(outcome)
