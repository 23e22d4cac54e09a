"""Our client logs in to OpenLDAP's server, and its client to a server of ours.

Both use Cyrus SASL, here as it is embedded in a program and a protocol of the real world.
"""

from __future__ import annotations

import socket
import ssl
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeAlias

import pytest

from cyrus import SCRAM, meant
from ldap_wire import INVALID_CREDENTIALS, LdapClient, RefusedError, openldap_binding, serving_ldap
from mailhost import Authority
from peers import Outcome, run
from sasl_auxprop.memory import MemoryStore
from sasl_core import (
    BindingPolicy,
    ChannelBindings,
    Client,
    MechanismError,
    Server,
    ServerSession,
    SetpassFlag,
)
from sasl_tls import client_bindings, read_certificate, server_bindings
from slapd import Slapd, serving_slapd

pytestmark = pytest.mark.interop

Need: TypeAlias = Callable[[str], str]

USER, PASSWORD = "tim", "pencil"
END_POINT, UNIQUE = "tls-server-end-point", "tls-unique"

scram = pytest.mark.parametrize("mechanism", SCRAM)


# --- our client, slapd --------------------------------------------------------------------------


@pytest.fixture(scope="module", params=[END_POINT, UNIQUE])
def bound_by(request: pytest.FixtureRequest) -> str:
    """What slapd binds to the channel by."""
    name: str = request.param
    return name


@pytest.fixture(scope="module")
def slapd(need: Need, authority: Authority, bound_by: str) -> Iterator[Slapd]:
    """A server, and a user."""
    binding = {END_POINT: "tls-endpoint", UNIQUE: "tls-unique"}[bound_by]
    with serving_slapd(need, authority, binding, {USER: PASSWORD}) as server:
        yield server


@pytest.fixture(scope="module")
def client() -> Iterator[Client]:
    with Client("ldap", "localhost", config={"client_mech_list": SCRAM}) as made:
        yield made


@pytest.fixture
def tls(authority: Authority, bound_by: str) -> ssl.SSLContext:
    """Our client's TLS, of the newest version that has this binding."""
    context = authority.client_context()
    if bound_by == UNIQUE:
        context.maximum_version = ssl.TLSVersion.TLSv1_2
    return context


def bindings_of(peer: LdapClient, bound_by: str) -> ChannelBindings:
    assert isinstance(peer.socket, ssl.SSLSocket)
    return openldap_binding(client_bindings(peer.socket), bound_by)


def log_in(
    peer: LdapClient,
    client: Client,
    mechanism: str,
    password: str = PASSWORD,
    bindings: ChannelBindings | None = None,
    policy: BindingPolicy = BindingPolicy.WANT,
) -> str | None:
    """Log in; how the session was bound."""
    with client.session(
        authid=USER,
        password=password,
        remote="127.0.0.1;1",
        success_data=True,
        channel_bindings=bindings or ChannelBindings({}),
        binding_policy=policy,
    ) as session:
        peer.log_in(session, [mechanism])
        assert session.done
        assert session.mechanism == mechanism
        return session.channel_binding


@scram
def test_our_client_is_let_in(slapd: Slapd, client: Client, mechanism: str) -> None:
    """Without TLS; slapd knows by its own word who we are, and refuses a wrong password."""
    with LdapClient(slapd.port) as peer:
        log_in(peer, client, mechanism)
        assert peer.who_am_i() == slapd.name_of(USER)
    with LdapClient(slapd.port) as peer:
        with pytest.raises(RefusedError) as caught:
            log_in(peer, client, mechanism, "Pencil")
        assert caught.value.code == INVALID_CREDENTIALS
        assert peer.who_am_i() == ""


@scram
@pytest.mark.parametrize("policy", [BindingPolicy.WANT, BindingPolicy.REQUIRE])
def test_our_client_is_bound(
    slapd: Slapd,
    client: Client,
    tls: ssl.SSLContext,
    bound_by: str,
    mechanism: str,
    policy: BindingPolicy,
) -> None:
    """-PLUS over ldaps; a wrong password is refused there as well."""
    with LdapClient(slapd.tls_port, tls) as peer:
        bindings = bindings_of(peer, bound_by)
        assert log_in(peer, client, f"{mechanism}-PLUS", PASSWORD, bindings, policy) == "ldap"
        assert peer.who_am_i() == slapd.name_of(USER)
    with LdapClient(slapd.tls_port, tls) as peer:
        bindings = bindings_of(peer, bound_by)
        with pytest.raises(RefusedError) as caught:
            log_in(peer, client, f"{mechanism}-PLUS", "Pencil", bindings, policy)
        assert caught.value.code == INVALID_CREDENTIALS


def test_other_binding_data_are_refused(
    slapd: Slapd, client: Client, tls: ssl.SSLContext, bound_by: str
) -> None:
    """As a man in the middle would cause them: the right password is worth nothing."""
    with LdapClient(slapd.tls_port, tls) as peer:
        data = bindings_of(peer, bound_by)["ldap"]
        assert isinstance(data, bytes)
        bindings = ChannelBindings({"ldap": data[:-1] + bytes([data[-1] ^ 1])})
        with pytest.raises(RefusedError, match="Channel bindings mismatch"):
            log_in(peer, client, "SCRAM-SHA-512-PLUS", bindings=bindings)
        assert peer.who_am_i() == ""


def test_a_required_binding_is_not_given_up(
    slapd: Slapd, client: Client, tls: ssl.SSLContext, bound_by: str
) -> None:
    """Somebody left the plain SCRAM alone in the offer: our client sends nothing."""
    with LdapClient(slapd.tls_port, tls) as peer:
        bindings = bindings_of(peer, bound_by)
        with pytest.raises(MechanismError) as caught:
            log_in(peer, client, "SCRAM-SHA-512", PASSWORD, bindings, BindingPolicy.REQUIRE)
        assert "SCRAM-SHA-512" in caught.value.reasons


# --- ldapwhoami, our server ---------------------------------------------------------------------


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    config = {"mech_list": SCRAM, "scram_iteration_counter": 4096}
    with Server("ldap", "localhost", config=config, stores=[MemoryStore()]) as made:
        assert made.setpass(USER, PASSWORD, SetpassFlag.CREATE).ok
        yield made


class Host:
    """A server of ours over ldaps, and the sessions that it made."""

    def __init__(
        self, server: Server, authority: Authority, bound_by: str, policy: BindingPolicy
    ) -> None:
        self.sessions: list[ServerSession] = []
        self.tls = authority.server_context()
        if bound_by == UNIQUE:
            self.tls.maximum_version = ssl.TLSVersion.TLSv1_2
            self.tls.num_tickets = 0
        self._server, self._authority = server, authority
        self._bound_by, self._policy = bound_by, policy

    def begin(self, connected: socket.socket) -> ServerSession:
        assert isinstance(connected, ssl.SSLSocket)
        known = server_bindings(connected, read_certificate(self._authority.certificate))
        session = self._server.session(
            external_ssf=256,
            success_data=True,
            channel_bindings=openldap_binding(known, self._bound_by),
            binding_policy=self._policy,
        )
        self.sessions.append(session)
        return session


def who_am_i(
    need: Need, authority: Authority, home: Path, port: int, mechanism: str, *more: str
) -> Outcome:
    """OpenLDAP's client asks who it is; `more` are options of ldap.conf(5) and a password."""
    command = [need("ldapwhoami"), "-Q", "-H", f"ldaps://127.0.0.1:{port}", "-Y", mechanism]
    options = [f"TLS_CACERT={authority.authority}", *more[1:]]
    command += [word for option in options for word in ("-o", option)]
    return run([*command, "-U", USER, "-w", more[0]], home)


@scram
@pytest.mark.parametrize("policy", [BindingPolicy.WANT, BindingPolicy.REQUIRE])
def test_ldapwhoami_is_bound(
    need: Need,
    server: Server,
    authority: Authority,
    tmp_path: Path,
    bound_by: str,
    mechanism: str,
    policy: BindingPolicy,
) -> None:
    """It asks for -PLUS and is let in by our server; a wrong password is refused."""
    option = {END_POINT: "tls-endpoint", UNIQUE: "tls-unique"}[bound_by]
    host = Host(server, authority, bound_by, policy)
    with serving_ldap(host.begin, meant, host.tls) as port:
        for password, accepted in ((PASSWORD, True), ("Pencil", False)):
            outcome = who_am_i(
                need,
                authority,
                tmp_path,
                port,
                f"{mechanism}-PLUS",
                password,
                f"SASL_CBINDING={option}",
            )
            outcome.expect(0 if accepted else INVALID_CREDENTIALS)
            assert (f"u:{USER}" in outcome.output) == accepted, str(outcome)
    first, second = host.sessions
    assert (first.authid, first.channel_binding) == (USER, "ldap")
    assert first.mechanism == f"{mechanism}-PLUS"
    assert "proof" in str(second.error_detail)


@scram
def test_ldapwhoami_goes_unbound(
    need: Need, server: Server, authority: Authority, tmp_path: Path, mechanism: str
) -> None:
    """Without the option it takes the plain SCRAM, which we refuse where a binding is required."""
    for policy, accepted in ((BindingPolicy.WANT, True), (BindingPolicy.REQUIRE, False)):
        host = Host(server, authority, END_POINT, policy)
        with serving_ldap(host.begin, meant, host.tls) as port:
            outcome = who_am_i(need, authority, tmp_path, port, mechanism, PASSWORD)
            outcome.expect(0 if accepted else INVALID_CREDENTIALS)
            assert (f"u:{USER}" in outcome.output) == accepted, str(outcome)
        (session,) = host.sessions
        assert session.done == accepted
