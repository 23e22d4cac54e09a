"""Cyrus SASL's library with channel binding: its client and our server, our client and its server.

The type and the data are those of its sample programs where these can be told to bind.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from cyrus import PASSWORD, SCRAM, SUCCESS, USER, Cyrus, hear, log_in, say, serve
from sasl_auxprop.memory import MemoryStore
from sasl_core import (
    AuthenticationError,
    BindingPolicy,
    Client,
    PeerError,
    Result,
    SaslError,
    Server,
    SetpassFlag,
)

pytestmark = pytest.mark.interop

TYPE = "sasl-sample"
DATA = b"this is a test of channel binding"
OTHER = DATA[::-1]

scram = pytest.mark.parametrize("mechanism", SCRAM)
policies = pytest.mark.parametrize("policy", [BindingPolicy.WANT, BindingPolicy.REQUIRE])
whether_critical = pytest.mark.parametrize("critical", [False, True], ids=["optional", "critical"])


@pytest.fixture
def cyrus(tmp_path: Path, need: Callable[[str], str]) -> Cyrus:
    """Cyrus's programs, and a user."""
    return Cyrus(tmp_path, need)


@pytest.fixture(scope="module")
def client() -> Iterator[Client]:
    with Client("imap", "localhost", config={"client_mech_list": SCRAM}) as made:
        yield made


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    config = {"mech_list": SCRAM, "scram_iteration_counter": 4096}
    with Server("imap", "localhost", config=config, stores=[MemoryStore()]) as made:
        assert made.setpass(USER, PASSWORD, SetpassFlag.CREATE).ok
        yield made


# --- our client, Cyrus's server -----------------------------------------------------------------


@scram
@policies
@whether_critical
def test_our_client_is_bound(
    cyrus: Cyrus, client: Client, mechanism: str, policy: BindingPolicy, critical: bool
) -> None:
    """Both ends have the same data: Cyrus names the user, and our session knows the binding."""
    with (
        cyrus.bound_server(f"{mechanism}-PLUS", (TYPE, DATA), critical=critical) as peer,
        client.session(
            authid=USER, password=PASSWORD, channel_bindings={TYPE: DATA}, binding_policy=policy
        ) as session,
    ):
        outcome = log_in(session, peer)
        outcome.expect(0)
        assert f"Username: {USER}@localhost" in outcome.output, str(outcome)
        assert session.done
        assert (session.mechanism, session.channel_binding) == (f"{mechanism}-PLUS", TYPE)


@scram
@pytest.mark.parametrize(
    ("password", "binding"),
    [("Pencil", (TYPE, DATA)), (PASSWORD, (TYPE, OTHER)), (PASSWORD, ("tls-unique", DATA))],
    ids=["password", "data", "type"],
)
def test_our_client_is_refused(
    cyrus: Cyrus, client: Client, mechanism: str, password: str, binding: tuple[str, bytes]
) -> None:
    """A wrong password, other data, another type: Cyrus says no, and our session knows nobody."""
    with (
        cyrus.bound_server(f"{mechanism}-PLUS", (TYPE, DATA)) as peer,
        client.session(authid=USER, password=password, channel_bindings=dict([binding])) as session,
    ):
        outcome = log_in(session, peer)
        outcome.expect(1)
        assert SUCCESS not in outcome.output, str(outcome)
        with pytest.raises(SaslError):
            session.finish()
        assert not session.done


# --- Cyrus's client, our server -----------------------------------------------------------------


@scram
@policies
@whether_critical
def test_their_client_is_bound(
    cyrus: Cyrus, server: Server, mechanism: str, policy: BindingPolicy, critical: bool
) -> None:
    """It takes -PLUS of both, is let in, and accepts our signature."""
    with (
        cyrus.bound_client((TYPE, DATA), critical=critical) as peer,
        server.session(channel_bindings={TYPE: DATA}, binding_policy=policy) as session,
    ):
        outcome = serve(session, peer, f"{mechanism} {mechanism}-PLUS")
        outcome.expect(0)
        assert SUCCESS in outcome.output, str(outcome)
        assert session.authid == session.authzid == USER
        assert session.channel_binding == TYPE


@scram
@pytest.mark.parametrize(
    ("password", "data", "why"),
    [("Pencil", DATA, "proof"), (PASSWORD, OTHER, "channel bindings differ")],
    ids=["password", "data"],
)
def test_their_client_is_refused(
    cyrus: Cyrus, server: Server, mechanism: str, password: str, data: bytes, why: str
) -> None:
    """A wrong password, other data: our log says which, and Cyrus hears that we refused."""
    with (
        cyrus.bound_client((TYPE, DATA)) as peer,
        server.session(channel_bindings={TYPE: data}) as session,
    ):
        with pytest.raises(AuthenticationError) as caught:
            serve(session, peer, f"{mechanism}-PLUS", password)
        assert caught.value.result is Result.BADAUTH
        assert why in str(session.error_detail)
        assert not session.done
        say(peer, "S", caught.value.wire or b"")
        outcome = peer.end()
        outcome.expect(1)
        assert SUCCESS not in outcome.output, str(outcome)


def test_their_client_notices_that_plus_was_removed(cyrus: Cyrus, server: Server) -> None:
    """One -PLUS has gone from our offer on the way: it says so (`y`), and we refuse."""
    with (
        cyrus.bound_client((TYPE, DATA)) as peer,
        server.session(channel_bindings={TYPE: DATA}) as session,
    ):
        with pytest.raises(AuthenticationError):
            serve(session, peer, "SCRAM-SHA-512 SCRAM-SHA-256-PLUS")
        assert "-PLUS was not offered" in str(session.error_detail)


def test_their_client_goes_unbound_unless_that_is_critical(cyrus: Cyrus, server: Server) -> None:
    """With no -PLUS at all in the offer it says `n`, and only our policy can insist."""
    for policy, accepted in ((BindingPolicy.WANT, True), (BindingPolicy.REQUIRE, False)):
        with (
            cyrus.bound_client((TYPE, DATA)) as peer,
            server.session(channel_bindings={TYPE: DATA}, binding_policy=policy) as session,
        ):
            if accepted:
                serve(session, peer, "SCRAM-SHA-512").expect(0)
                assert session.channel_binding is None
            else:
                with pytest.raises(SaslError):
                    serve(session, peer, "SCRAM-SHA-512")
                assert not session.done


def test_their_client_misnames_the_mechanism(cyrus: Cyrus, server: Server) -> None:
    """It takes -PLUS and says the name without; by that name alone we refuse what is bound."""
    with (
        cyrus.bound_client((TYPE, DATA)) as peer,
        server.session(channel_bindings={TYPE: DATA}) as session,
    ):
        say(peer, "S", b"SCRAM-SHA-512-PLUS")
        peer.say(PASSWORD)
        name, _, initial = (hear(peer, "C") or b"").partition(b"\0")
        assert name == b"SCRAM-SHA-512"
        assert initial.startswith(b"p=")
        with pytest.raises(PeerError) as caught:
            session.start(name.decode(), initial)
        assert caught.value.wire == b"e=channel-binding-not-supported"
