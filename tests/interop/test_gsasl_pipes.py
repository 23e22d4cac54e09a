"""GNU SASL's client and our server, its server and our client with channel binding, over pipes.

Each message is a line of base64. With -PLUS it asks for the channel binding's data, in base64 as
well: its client for tls-exporter at once, and its server for the type that a client names. They
get those of their own end of a TLS connection whose other end is ours. Its client takes
tls-unique over STARTTLS alone: `test_channel_binding.py`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeAlias

import pytest

from peers import Dialogue, Outcome
from sasl_auxprop.memory import MemoryStore
from sasl_core import (
    AuthenticationError,
    BindingPolicy,
    ChannelBindings,
    Client,
    ClientSession,
    SaslError,
    Server,
    ServerSession,
    SetpassFlag,
    b64decode,
    b64encode,
)
from sasl_tls import client_bindings, server_bindings
from tls_kit import PyOpenSslEnd, SslEnd, make_tls, pyopenssl_client, server_end, shake_hands

pytestmark = pytest.mark.interop

Need: TypeAlias = Callable[[str], str]
Bindings: TypeAlias = dict[str, tuple[ChannelBindings, ChannelBindings]]

USER, PASSWORD = "user", "pencil"
SCRAM = ["SCRAM-SHA-1", "SCRAM-SHA-256"]
TYPES = ["tls-unique", "tls-exporter"]

scram = pytest.mark.parametrize("mechanism", SCRAM)
policies = pytest.mark.parametrize("policy", [BindingPolicy.WANT, BindingPolicy.REQUIRE])


@pytest.fixture(scope="module")
def bindings(tmp_path_factory: pytest.TempPathFactory) -> Bindings:
    """Type -> what a client's end, and a server's, can be bound by on the TLS that has it."""
    tls = make_tls(tmp_path_factory.mktemp("tls"))
    ends: dict[str, tuple[SslEnd | PyOpenSslEnd, SslEnd | PyOpenSslEnd]] = {
        "tls-unique": (SslEnd(tls.client("1.2"), server=False), server_end(tls.server("ssl"))),
        "tls-exporter": (
            PyOpenSslEnd(pyopenssl_client(tls), server=False),
            server_end(tls.server("pyopenssl", "1.3")),
        ),
    }
    for client, server in ends.values():
        shake_hands(server, client)
    return {
        name: (client_bindings(client.connection), server_bindings(server.connection))
        for name, (client, server) in ends.items()
    }


@pytest.fixture(scope="module")
def client() -> Iterator[Client]:
    with Client("smtp", "localhost", config={"client_mech_list": SCRAM}) as made:
        yield made


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    config = {"mech_list": SCRAM, "scram_iteration_counter": 4096}
    with Server("smtp", "localhost", config=config, stores=[MemoryStore()]) as made:
        assert made.setpass(USER, PASSWORD, SetpassFlag.CREATE).ok
        yield made


@pytest.fixture
def gsasl(need: Need, tmp_path: Path) -> Callable[..., Dialogue]:
    """Starts GNU SASL on one side, to be used in a `with`."""

    def start(side: str, mechanism: str, *more: str, password: str = PASSWORD) -> Dialogue:
        # -d turns off that it passes on data after the login.
        command = [need("gsasl"), f"--{side}", "--quiet", "-d", "-m", mechanism, "-p", password]
        return Dialogue([*command, *more], tmp_path)

    return start


def data_of(bindings: ChannelBindings, name: str) -> bytes:
    data = bindings[name]
    assert isinstance(data, bytes)
    return data


def tell(peer: Dialogue, message: bytes | None) -> None:
    """Say a message, or the data of a binding."""
    peer.say(b64encode(message or b"").decode())


def give_binding(peer: Dialogue, name: str, data: bytes) -> None:
    peer.hear_until(f"Enter base64 encoded {name} channel binding: ")
    tell(peer, data)


# --- our client, its server ---------------------------------------------------------------------


def log_in(
    session: ClientSession, peer: Dialogue, mechanism: str, name: str, data: bytes
) -> Outcome:
    """Log in to its server, which is given `data`; how that ends."""
    assert peer.hear() == mechanism
    assert peer.hear() == ""
    reply = session.start([mechanism])
    tell(peer, reply.data)
    give_binding(peer, name, data)
    while (heard := peer.hear()) is not None:
        if not reply.done:
            reply = session.step(b64decode(heard.encode()))
        # Where we are through, this is the line that it reads after its last message.
        tell(peer, reply.data)
    return peer.end()


@scram
@policies
@pytest.mark.parametrize("name", TYPES)
def test_our_client_is_bound(
    gsasl: Callable[..., Dialogue],
    client: Client,
    bindings: Bindings,
    mechanism: str,
    policy: BindingPolicy,
    name: str,
) -> None:
    """Each end has its data from its own end of the connection, and both are satisfied."""
    ours, theirs = bindings[name]
    with (
        gsasl("server", f"{mechanism}-PLUS") as peer,
        client.session(
            authid=USER, password=PASSWORD, channel_bindings=ours, binding_policy=policy
        ) as session,
    ):
        assert (
            log_in(session, peer, f"{mechanism}-PLUS", name, data_of(theirs, name)).expect(0) == 0
        )
        session.finish()
        assert (session.authid, session.channel_binding) == (USER, name)


@scram
@pytest.mark.parametrize("name", TYPES)
@pytest.mark.parametrize("wrong", ["password", "data"])
def test_our_client_is_refused(
    gsasl: Callable[..., Dialogue],
    client: Client,
    bindings: Bindings,
    mechanism: str,
    name: str,
    wrong: str,
) -> None:
    """A wrong password, or the data of another connection: it ends with 1, and we know nobody."""
    ours, theirs = bindings[name]
    data = data_of(theirs, name)
    with (
        gsasl("server", f"{mechanism}-PLUS") as peer,
        client.session(
            authid=USER,
            password="Pencil" if wrong == "password" else PASSWORD,
            channel_bindings=ours,
        ) as session,
    ):
        data = data if wrong == "password" else data[::-1]
        log_in(session, peer, f"{mechanism}-PLUS", name, data).expect(1)
        with pytest.raises(SaslError):
            session.finish()
        assert not session.done


# --- its client, our server ---------------------------------------------------------------------


def serve(session: ServerSession, peer: Dialogue, mechanism: str) -> Outcome:
    """Serve its client; how that ends.

    What the session raises is raised here.
    """
    reply = session.start(mechanism, b64decode((peer.hear() or "").encode()))
    while not reply.done:
        tell(peer, reply.data)
        # Behind our last challenge it has nothing to say, and says that.
        reply = session.step(b64decode((peer.hear() or "").encode()))
    # It reads one more line before it ends.
    tell(peer, None)
    return peer.end()


@scram
@pytest.mark.parametrize("given", ["Pencil", PASSWORD], ids=["wrong", "right"])
def test_its_client_is_let_in(
    gsasl: Callable[..., Dialogue], server: Server, mechanism: str, given: str
) -> None:
    """Without channel binding: with the right password, and with that alone."""
    with (
        gsasl("client", mechanism, "--no-cb", "-a", USER, password=given) as peer,
        server.session() as session,
    ):
        assert peer.hear() == mechanism
        if given == PASSWORD:
            serve(session, peer, mechanism).expect(0)
            assert session.authid == USER
        else:
            with pytest.raises(AuthenticationError):
                serve(session, peer, mechanism)
            assert not session.done


@scram
@policies
def test_its_client_is_bound(
    gsasl: Callable[..., Dialogue],
    server: Server,
    bindings: Bindings,
    mechanism: str,
    policy: BindingPolicy,
) -> None:
    """By tls-exporter, of its own end of the connection; it accepts our signature."""
    theirs, ours = bindings["tls-exporter"]
    with (
        gsasl("client", f"{mechanism}-PLUS", "-a", USER) as peer,
        server.session(channel_bindings=ours, binding_policy=policy) as session,
    ):
        assert peer.hear() == f"{mechanism}-PLUS"
        give_binding(peer, "tls-exporter", data_of(theirs, "tls-exporter"))
        serve(session, peer, f"{mechanism}-PLUS").expect(0)
        assert (session.authid, session.channel_binding) == (USER, "tls-exporter")


@scram
@pytest.mark.parametrize("wrong", ["password", "data"])
def test_its_client_is_refused(
    gsasl: Callable[..., Dialogue],
    server: Server,
    bindings: Bindings,
    mechanism: str,
    wrong: str,
) -> None:
    """A wrong password, or the data of another connection, and it never says that it is through."""
    theirs, ours = bindings["tls-exporter"]
    data = data_of(theirs, "tls-exporter")
    password = "Pencil" if wrong == "password" else PASSWORD
    with (
        gsasl("client", f"{mechanism}-PLUS", "-a", USER, password=password) as peer,
        server.session(channel_bindings=ours) as session,
    ):
        assert peer.hear() == f"{mechanism}-PLUS"
        give_binding(peer, "tls-exporter", data if wrong == "password" else data[::-1])
        with pytest.raises(AuthenticationError) as caught:
            serve(session, peer, f"{mechanism}-PLUS")
        why = "proof" if wrong == "password" else "channel bindings differ"
        assert why in str(session.error_detail)
        tell(peer, caught.value.wire)
        peer.end().expect(1)
