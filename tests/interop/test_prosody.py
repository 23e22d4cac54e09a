"""Our client logs in to Prosody over STARTTLS; on TLS 1.2 it is bound by tls-unique."""

from __future__ import annotations

import ssl
from collections.abc import Callable, Iterator
from typing import TypeAlias

import pytest

from mailhost import Authority
from prosody import RefusedError, XmppClient, serving_prosody
from sasl_core import BindingPolicy, ChannelBindings, Client, MechanismError
from sasl_tls import client_bindings

pytestmark = pytest.mark.interop

Need: TypeAlias = Callable[[str], str]

USER, PASSWORD = "tim", "pencil"


@pytest.fixture(scope="module", params=["SHA-1", "SHA-256"])
def mechanism(request: pytest.FixtureRequest) -> str:
    """Prosody has verifiers for one hash, and offers SCRAM with that one."""
    return f"SCRAM-{request.param}"


@pytest.fixture(scope="module")
def port(need: Need, authority: Authority, mechanism: str) -> Iterator[int]:
    """A server with TLS 1.2 and 1.3."""
    hash_name = mechanism.removeprefix("SCRAM-")
    users = {USER: PASSWORD}
    with serving_prosody(need, authority, hash_name, "tlsv1_2+", users) as served:
        yield served


@pytest.fixture(scope="module")
def client(mechanism: str) -> Iterator[Client]:
    with Client("xmpp", "localhost", config={"client_mech_list": [mechanism]}) as made:
        yield made


def log_in(
    peer: XmppClient,
    client: Client,
    offered: list[str],
    password: str = PASSWORD,
    policy: BindingPolicy = BindingPolicy.WANT,
    bindings: ChannelBindings | None = None,
) -> tuple[str | None, str | None]:
    """Mechanism and binding of a login with the bindings that the connection has."""
    assert isinstance(peer.socket, ssl.SSLSocket)
    with client.session(
        authid=USER,
        password=password,
        external_ssf=256,
        success_data=True,
        channel_bindings=bindings or client_bindings(peer.socket),
        binding_policy=policy,
    ) as session:
        peer.log_in(session, offered)
        assert session.done
        return session.mechanism, session.channel_binding


@pytest.fixture
def tls12(authority: Authority) -> ssl.SSLContext:
    context = authority.client_context()
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    return context


@pytest.mark.parametrize("policy", list(BindingPolicy))
def test_our_client_is_let_in_on_tls_12(
    port: int, client: Client, tls12: ssl.SSLContext, mechanism: str, policy: BindingPolicy
) -> None:
    """Bound by tls-unique unless that is off; a wrong password is refused as one."""
    bound = policy is not BindingPolicy.OFF
    with XmppClient(port) as peer:
        offered = peer.start_tls(tls12)
        assert {mechanism, f"{mechanism}-PLUS"} <= set(offered)
        expected = (f"{mechanism}-PLUS", "tls-unique") if bound else (mechanism, None)
        assert log_in(peer, client, offered, policy=policy) == expected
        assert peer.bind() == f"{USER}@localhost/here"
    with XmppClient(port) as peer:
        offered = peer.start_tls(tls12)
        with pytest.raises(RefusedError, match="not-authorized"):
            log_in(peer, client, offered, "Pencil", policy)


def test_our_client_is_let_in_unbound_on_tls_13(
    port: int, client: Client, authority: Authority, mechanism: str
) -> None:
    """There Prosody has nothing to be bound by: it offers no -PLUS, and who insists stops."""
    for policy in BindingPolicy:
        with XmppClient(port) as peer:
            offered = peer.start_tls(authority.client_context())
            assert mechanism in offered
            assert f"{mechanism}-PLUS" not in offered
            if policy is BindingPolicy.REQUIRE:
                with pytest.raises(MechanismError):
                    log_in(peer, client, offered, policy=policy)
            else:
                assert log_in(peer, client, offered, policy=policy) == (mechanism, None)
                assert peer.bind() == f"{USER}@localhost/here"


def test_other_binding_data_are_refused(
    port: int, client: Client, tls12: ssl.SSLContext, mechanism: str
) -> None:
    """As a man in the middle would cause them: the right password is worth nothing."""
    with XmppClient(port) as peer:
        offered = peer.start_tls(tls12)
        with pytest.raises(RefusedError):
            log_in(peer, client, offered, bindings=ChannelBindings({"tls-unique": b"\1" * 12}))


def test_an_offer_without_plus_is_noticed(
    port: int, client: Client, tls12: ssl.SSLContext, mechanism: str
) -> None:
    """Somebody takes -PLUS from the offer: our client says that it saw none, and is refused."""
    with XmppClient(port) as peer:
        _ = peer.start_tls(tls12)
        with pytest.raises(RefusedError):
            log_in(peer, client, [mechanism])
