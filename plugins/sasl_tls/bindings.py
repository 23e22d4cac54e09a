"""What a TLS connection can be bound by, and why not by more.

    type                  ssl                          pyOpenSSL
    tls-exporter          never                        TLS 1.3
    tls-unique            below TLS 1.3, not resumed   a server below TLS 1.3 that cannot resume
    tls-server-end-point  where the certificate is at hand, and has one hash

tls-exporter (RFC 9266) below TLS 1.3 asks for the extended master secret, and tls-unique
(RFC 5929 section 3) of a resumed session is worth something with it only: without, a man in
the middle makes two sessions with one secret, resumes both, and hears the same Finished
message on either (the triple handshake, RFC 7627 section 1). Neither library tells whether it
was negotiated. What cannot be known is not offered; a full handshake needs no such knowledge.

The data are fetched at once, so that a type which is offered is one that there is. They belong
to the connection as it is: ask again after a renegotiation.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, TypeAlias, TypeGuard

from sasl_core.plugin import ChannelBindings, SaslError, UsageError, printable
from sasl_tls.certificate import reason, server_end_point

if TYPE_CHECKING:
    import ssl

    from OpenSSL import SSL

    Connection: TypeAlias = ssl.SSLSocket | ssl.SSLObject | SSL.Connection

__all__ = ["client_bindings", "server_bindings"]

EXPORTER: Final = "tls-exporter"
UNIQUE: Final = "tls-unique"
END_POINT: Final = "tls-server-end-point"

EXPORTER_LABEL: Final = b"EXPORTER-Channel-Binding"
EXPORTER_LENGTH: Final = 32
"""RFC 9266 section 2: this label, an empty context, 32 octets."""

TLS13: Final = "TLSv1.3"
UNIQUE_VERSIONS: Final = frozenset({"TLSv1", "TLSv1.1", "TLSv1.2"})

NO_HANDSHAKE: Final = "the TLS handshake is not done"
NOT_IN_13: Final = "it is not defined for TLS 1.3 (RFC 9266 section 1)"
RESUMED: Final = (
    "the TLS session was resumed, and nobody tells whether its secret is of one connection only"
)


def client_bindings(connection: Connection) -> ChannelBindings:
    """The channel bindings of a client's end; tls-server-end-point is the peer's certificate's.

    Raises:
        UsageError: `connection` is no TLS connection, or a server's end.
    """
    if _is_ssl(connection, server=False):
        # Asked before the handshake it raises, and on a socket that is closed.
        done = connection.version() is not None
        return _ssl_bindings(connection, connection.getpeercert(binary_form=True) if done else None)
    checked = _is_pyopenssl(connection)
    return _pyopenssl_bindings(checked, checked.get_peer_certificate(), server=False)


def server_bindings(connection: Connection, certificate: bytes | None = None) -> ChannelBindings:
    """The channel bindings of a server's end.

    `certificate`: the server's own, in DER, as it was sent on this connection. `ssl` does not
    give it, so that there is no tls-server-end-point without; pyOpenSSL does, and is asked.

    Raises:
        UsageError: `connection` is no TLS connection, or a client's end.
    """
    if _is_ssl(connection, server=True):
        return _ssl_bindings(connection, certificate)
    checked = _is_pyopenssl(connection)
    return _pyopenssl_bindings(checked, checked.get_certificate(), server=True)


def default_type(connection: Connection) -> str:
    """The type that a SCRAM client takes where none is agreed on, by the TLS version."""
    import ssl

    if isinstance(connection, (ssl.SSLSocket, ssl.SSLObject)):
        version = connection.version()
    else:
        version = connection.get_protocol_version_name()
    return EXPORTER if version == TLS13 else UNIQUE


def _is_ssl(connection: object, *, server: bool) -> TypeGuard[ssl.SSLSocket | ssl.SSLObject]:
    import ssl

    if not isinstance(connection, (ssl.SSLSocket, ssl.SSLObject)):
        return False
    if bool(connection.server_side) is not server:
        wanted = "server" if server else "client"
        raise UsageError(f"that is the other end of a TLS connection: not a {wanted}'s")
    return True


def _is_pyopenssl(connection: object) -> SSL.Connection:
    from importlib import import_module

    # Whoever has such a connection has the package.
    if type(connection).__module__.partition(".")[0] == "OpenSSL":
        found: type[SSL.Connection] = import_module("OpenSSL.SSL").Connection
        if isinstance(connection, found):
            return connection
    raise UsageError(
        f"a TLS connection is of ssl or of pyOpenSSL, not a {type(connection).__name__}"
    )


class _Found:
    """Data and reasons, as they are gathered."""

    def __init__(self) -> None:
        self.data: dict[str, bytes] = {}
        self.missing: dict[str, str] = {}

    def add(self, name: str, data: bytes | None, why_not: str) -> None:
        if data:
            self.data[name] = data
        else:
            self.missing[name] = why_not

    def add_end_point(self, certificate: bytes | None, why_not: str) -> None:
        data = None
        if certificate is not None:
            try:
                data = server_end_point(certificate)
            except SaslError as error:
                why_not = reason(error)
        self.add(END_POINT, data, why_not)

    def bindings(self) -> ChannelBindings:
        return ChannelBindings(self.data, self.missing)


def _ssl_bindings(
    connection: ssl.SSLSocket | ssl.SSLObject, certificate: bytes | None
) -> ChannelBindings:
    found = _Found()
    version = connection.version()
    found.add(EXPORTER, None, "Python's ssl cannot export it; pyOpenSSL can (sasl-core[tls])")
    unique = None
    if version is None:
        why = NO_HANDSHAKE
    elif version not in UNIQUE_VERSIONS:
        why = NOT_IN_13 if version == TLS13 else f"it is not defined for {printable(version, 20)}"
    elif connection.session_reused:
        why = RESUMED
    else:
        why = NO_HANDSHAKE
        unique = connection.get_channel_binding(UNIQUE)
    found.add(UNIQUE, unique, why)
    found.add_end_point(
        None if version is None else certificate,
        NO_HANDSHAKE if version is None else _no_certificate(server=bool(connection.server_side)),
    )
    return found.bindings()


def _pyopenssl_bindings(
    connection: SSL.Connection, certificate: object, *, server: bool
) -> ChannelBindings:
    from OpenSSL import SSL, crypto

    found = _Found()
    # Finished messages are there from the moment the handshake is through, and not before.
    done = connection.get_peer_finished() is not None and connection.get_finished() is not None
    version = connection.get_protocol_version_name()
    exported, why = None, NO_HANDSHAKE
    if done and version == TLS13:
        try:
            exported = connection.export_keying_material(EXPORTER_LABEL, EXPORTER_LENGTH, b"")
        except SSL.Error:
            why = "the TLS library refuses to export it"
    elif done:
        why = (
            f"{printable(version, 20)} has it with the extended master secret only (RFC 9266 "
            "section 4.2), and pyOpenSSL does not tell of it"
        )
    found.add(EXPORTER, exported, why)
    unique, why = None, NO_HANDSHAKE
    if done and version not in UNIQUE_VERSIONS:
        why = NOT_IN_13
    elif done and not (server and _cannot_resume(connection)):
        why = (
            "pyOpenSSL does not tell whether the TLS session was resumed; a server's context "
            "without tickets and session cache (ServerTls.load) leaves no doubt"
        )
    elif done and connection.total_renegotiations():
        why = "the connection was renegotiated"
    elif done:
        # RFC 5929 section 3.1: the first Finished of the handshake; in a full one the client's.
        unique = connection.get_peer_finished()
    found.add(UNIQUE, unique, why)
    own = (
        crypto.dump_certificate(crypto.FILETYPE_ASN1, certificate)
        if done and isinstance(certificate, crypto.X509)
        else None
    )
    found.add_end_point(own, _no_certificate(server=server) if done else NO_HANDSHAKE)
    return found.bindings()


def _cannot_resume(connection: SSL.Connection) -> bool:
    from OpenSSL import SSL

    # Setting none of them tells which are set.
    return (
        bool(connection.set_options(0) & SSL.OP_NO_TICKET)
        and connection.get_context().get_session_cache_mode() == SSL.SESS_CACHE_OFF
    )


def _no_certificate(*, server: bool) -> str:
    if server:
        return "the server's own certificate is not known: ssl does not give it (ServerTls.load)"
    return "the server showed no certificate"
