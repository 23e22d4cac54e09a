"""What two ends can be bound by: equal data, and a reason for each type that is missing."""

from __future__ import annotations

import hashlib
import pickle
import socket
import ssl
import threading
from collections.abc import Mapping
from typing import Any

import pytest
from OpenSSL import SSL

from sasl_core import BindingPolicy, ChannelBindings, UsageError
from sasl_tls import ServerTls, client_bindings, server_bindings
from tls_kit import (
    Kind,
    PyOpenSslEnd,
    SslEnd,
    Tls,
    pyopenssl_client,
    server_end,
    shake_hands,
)

EXPORTER, UNIQUE, END_POINT = "tls-exporter", "tls-unique", "tls-server-end-point"
TYPES = {EXPORTER, UNIQUE, END_POINT}


def client_end(tls: Tls, library: str) -> SslEnd | PyOpenSslEnd:
    if library == "ssl":
        return SslEnd(tls.client(), server=False)
    return PyOpenSslEnd(pyopenssl_client(tls), server=False)


# Version, library: what a server has, and a client.
HAS = {
    ("1.2", "ssl"): ({UNIQUE, END_POINT}, {UNIQUE, END_POINT}),
    ("1.3", "ssl"): ({END_POINT}, {END_POINT}),
    ("1.2", "pyopenssl"): ({UNIQUE, END_POINT}, {END_POINT}),
    ("1.3", "pyopenssl"): ({EXPORTER, END_POINT}, {EXPORTER, END_POINT}),
}


@pytest.mark.parametrize("version", ["1.2", "1.3"])
@pytest.mark.parametrize("near", ["ssl", "pyopenssl"])
@pytest.mark.parametrize("far", ["ssl", "pyopenssl"])
def test_both_ends_have_the_same_data(tls: Tls, near: str, far: str, version: Any) -> None:
    """Whatever two libraries meet: types as the table says, data equal, the rest with reasons."""
    server, client = server_end(tls.server(near, version)), client_end(tls, far)
    shake_hands(server, client)
    ours = server_bindings(server.connection, tls.der)
    theirs = client_bindings(client.connection)
    assert (set(ours), set(theirs)) == (HAS[version, near][0], HAS[version, far][1])
    for bindings in (ours, theirs):
        assert set(bindings.missing) == TYPES - set(bindings)
        assert all(bindings.missing.values())
    for name in set(ours) & set(theirs):
        assert ours[name] == theirs[name]
        assert ours[name]
    assert ours[END_POINT] == hashlib.sha384(tls.der).digest()


def test_the_exporters_value_is_the_one_of_rfc_9266(tls: Tls) -> None:
    """32 octets, an empty context; another connection has others."""
    values = set()
    for _ in range(2):
        server, client = server_end(tls.server("pyopenssl")), client_end(tls, "pyopenssl")
        shake_hands(server, client)
        value = client_bindings(client.connection)[EXPORTER]
        assert isinstance(value, bytes)
        assert isinstance(client, PyOpenSslEnd)
        export = client.connection.export_keying_material
        assert value == export(b"EXPORTER-Channel-Binding", 32, b"")
        assert len(value) == 32
        values.add(value)
    assert len(values) == 2


@pytest.mark.parametrize("version", ["1.2", "1.3"])
def test_sockets_on_the_loopback_agree(tls: Tls, version: Any) -> None:
    """The standard library's SSLSocket, client and server, over TCP."""
    found: list[ChannelBindings] = []
    context = tls.server("ssl", version)._ssl
    assert context is not None

    def serve(listener: socket.socket) -> None:
        with listener.accept()[0] as plain, context.wrap_socket(plain, server_side=True) as end:
            found.append(server_bindings(end, tls.der))
            end.sendall(b"x")
            end.recv(1)

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=serve, args=(listener,))
        thread.start()
        with (
            socket.create_connection(listener.getsockname(), timeout=10) as plain,
            tls.client().wrap_socket(plain, server_hostname="localhost") as end,
        ):
            assert end.recv(1) == b"x"
            theirs = client_bindings(end)
            end.sendall(b"x")
        thread.join(10)
    (ours,) = found
    assert dict(ours) == dict(theirs)
    assert set(ours) == HAS[version, "ssl"][0]


@pytest.mark.parametrize("library", ["ssl", "pyopenssl"])
@pytest.mark.parametrize("kind", ["rsa", "ed25519"])
def test_the_certificate_decides_about_the_end_point(
    certificates: Mapping[Kind, Tls], library: str, kind: Kind
) -> None:
    """RSA has one; Ed25519 has none, and both ends say why."""
    tls = certificates[kind]
    server, client = server_end(tls.server(library)), client_end(tls, library)
    shake_hands(server, client)
    for bindings in (
        server_bindings(server.connection, tls.der),
        client_bindings(client.connection),
    ):
        assert (END_POINT in bindings) == (kind == "rsa")
        if kind == "ed25519":
            assert "signed with Ed25519" in bindings.missing[END_POINT]


def test_without_its_certificate_a_server_of_ssl_says_so(tls: Tls) -> None:
    """The standard library does not give it."""
    server, client = server_end(tls.server()), client_end(tls, "ssl")
    shake_hands(server, client)
    assert "not known" in server_bindings(server.connection).missing[END_POINT]


@pytest.mark.parametrize("library", ["ssl", "pyopenssl"])
def test_before_the_handshake_there_is_nothing(tls: Tls, library: str) -> None:
    """No data, and no exception."""
    server, client = server_end(tls.server(library)), client_end(tls, library)
    client.shake()
    for bindings in (
        server_bindings(server.connection, tls.der),
        client_bindings(client.connection),
    ):
        assert dict(bindings) == {}
        assert "handshake" in bindings.missing[END_POINT]
        assert "handshake" in bindings.missing[UNIQUE]


def test_a_resumed_session_of_ssl_has_no_tls_unique(tls: Tls) -> None:
    """Nobody tells whether its secret is of one connection only (RFC 7627 section 1)."""
    context, trusting = tls.server("ssl", "1.2")._ssl, tls.client()
    assert context is not None
    first = SslEnd(context, server=True), SslEnd(trusting, server=False)
    shake_hands(*first)
    kept = first[1].connection.session
    second = SslEnd(context, server=True), SslEnd(trusting, server=False, session=kept)
    shake_hands(*second)
    assert second[1].connection.session_reused, "the sessions were not resumed"
    for bindings in (
        server_bindings(second[0].connection, tls.der),
        client_bindings(second[1].connection),
    ):
        assert UNIQUE not in bindings
        assert "resumed" in bindings.missing[UNIQUE]


@pytest.mark.parametrize("spoilt", ["tickets", "cache"])
def test_a_pyopenssl_server_that_could_resume_has_no_tls_unique(tls: Tls, spoilt: str) -> None:
    """PyOpenSSL does not tell whether it did; only a context that cannot leaves no doubt."""
    context = SSL.Context(SSL.TLS_SERVER_METHOD)
    context.use_certificate_chain_file(str(tls.certificate))
    context.use_privatekey_file(str(tls.key))
    context.set_max_proto_version(SSL.TLS1_2_VERSION)
    if spoilt == "cache":
        context.set_options(SSL.OP_NO_TICKET)
    else:
        context.set_session_cache_mode(SSL.SESS_CACHE_OFF)
    server, client = PyOpenSslEnd(context, server=True), client_end(tls, "ssl")
    shake_hands(server, client)
    assert "resumed" in server_bindings(server.connection).missing[UNIQUE]


def test_our_pyopenssl_context_does_not_resume(tls: Tls) -> None:
    """A client that offers its old session gets a new one, and the data are equal."""
    loaded, trusting = tls.server("pyopenssl", "1.2"), tls.client()
    first = server_end(loaded), SslEnd(trusting, server=False)
    shake_hands(*first)
    kept = first[1].connection.session
    if kept is not None:
        second = server_end(loaded), SslEnd(trusting, server=False, session=kept)
        shake_hands(*second)
        assert not second[1].connection.session_reused
        ours = server_bindings(second[0].connection)
        assert ours[UNIQUE] == client_bindings(second[1].connection)[UNIQUE]


@pytest.mark.parametrize("thing", [None, "x", object(), socket.socket, 7])
def test_what_is_no_tls_connection_is_refused(thing: Any) -> None:
    """With its type, and no AttributeError."""
    for function in (client_bindings, server_bindings):
        with pytest.raises(UsageError, match="ssl or of pyOpenSSL"):
            function(thing)


def test_the_other_end_is_refused(tls: Tls) -> None:
    """A server that asks as a client would hash its client's certificate."""
    server, client = server_end(tls.server()), client_end(tls, "ssl")
    shake_hands(server, client)
    with pytest.raises(UsageError, match="not a client's"):
        client_bindings(server.connection)
    with pytest.raises(UsageError, match="not a server's"):
        server_bindings(client.connection, tls.der)


def test_no_data_show(tls: Tls) -> None:
    """The types and the reasons do; pickled and copied it is not."""
    server, client = server_end(tls.server("pyopenssl")), client_end(tls, "pyopenssl")
    shake_hands(server, client)
    bindings = client_bindings(client.connection)
    shown = repr(bindings) + bindings.why_none()
    assert "tls-exporter" in shown
    for data in bindings.values():
        assert isinstance(data, bytes)
        assert repr(data) not in shown
        assert data.hex() not in shown
    with pytest.raises(UsageError):
        pickle.dumps(bindings)


# --- a server's TLS ------------------------------------------------------------------------------


class Transport:
    """What a transport tells of its TLS."""

    def __init__(self, connection: Any) -> None:
        self._connection = connection

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        plain = isinstance(self._connection, ssl.SSLObject)
        mine = "ssl_object" if plain else "pyopenssl_connection"
        return self._connection if name == mine else default


# Library, version and policy: what a server offers to be bound by.
OFFERS = [
    ("ssl", "1.2", BindingPolicy.WANT, {UNIQUE, END_POINT}),
    ("ssl", "1.2", BindingPolicy.REQUIRE, {UNIQUE, END_POINT}),
    ("ssl", "1.3", BindingPolicy.WANT, set()),
    ("ssl", "1.3", BindingPolicy.REQUIRE, {END_POINT}),
    ("pyopenssl", "1.2", BindingPolicy.WANT, {UNIQUE, END_POINT}),
    ("pyopenssl", "1.3", BindingPolicy.WANT, {EXPORTER, END_POINT}),
    ("pyopenssl", "1.3", BindingPolicy.REQUIRE, {EXPORTER, END_POINT}),
]


@pytest.mark.parametrize(("library", "version", "policy", "expected"), OFFERS)
def test_a_server_offers_what_its_clients_take_for_granted(
    tls: Tls, library: str, version: Any, policy: BindingPolicy, expected: set[str]
) -> None:
    """tls-server-end-point by itself under REQUIRE only; the reason names the type that lacks."""
    loaded = tls.server(library, version)
    server, client = server_end(loaded), client_end(tls, "ssl")
    shake_hands(server, client)
    transport: Any = Transport(server.connection)
    bindings = loaded.bindings(transport, policy)
    assert set(bindings) == expected
    assert set(bindings.missing) == TYPES - expected
    if not expected:
        assert "tls-exporter too" in bindings.missing[END_POINT]


def test_another_context_by_sni_has_another_certificate(
    certificates: Mapping[Kind, Tls],
) -> None:
    """What was loaded is not what was sent, so that there is no tls-server-end-point."""
    tls, other = certificates["ecdsa"], certificates["rsa"]
    loaded, second = tls.server("ssl", "1.2"), other.server("ssl", "1.2")
    assert loaded._ssl is not None

    def switch(connection: Any, name: str, context: ssl.SSLContext) -> None:
        connection.context = second._ssl

    loaded._ssl.sni_callback = switch
    server, client = server_end(loaded), client_end(other, "ssl")
    shake_hands(server, client)
    transport: Any = Transport(server.connection)
    assert set(loaded.bindings(transport)) == {UNIQUE}
    assert set(client_bindings(client.connection)) == {UNIQUE, END_POINT}


def test_a_transport_in_clear_is_refused(tls: Tls) -> None:
    """It is the caller's mistake."""
    transport: Any = Transport(None)
    with pytest.raises(UsageError, match="no TLS"):
        tls.server().bindings(transport)


def test_a_context_of_neither_library_is_refused() -> None:
    """With its type."""
    nothing: Any = "context"
    with pytest.raises(UsageError, match="not a str"):
        ServerTls(nothing)
