"""A server's TLS: which library, which certificate, what its connections can be bound by, and whom
the certificate of a client names.

Invariants: tls-server-end-point is told only of a certificate that was sent on the connection,
also across `reload`: a context and its certificate change together; a client that takes -PLUS can
be bound; a client has a name only where TLS has verified the chain of its certificate, by a
context that was made here to do so, and the certificate has not ended since.
"""

from __future__ import annotations

import asyncio
import logging
import time
from typing import TYPE_CHECKING, Final, Literal, TypeAlias, cast
from weakref import WeakKeyDictionary, WeakSet

from sasl_core.plugin import BindingPolicy, ChannelBindings, PeerError, UsageError
from sasl_tls.bindings import END_POINT, EXPORTER, UNIQUE, default_type, server_bindings
from sasl_tls.contexts import Files, Library, load
from sasl_tls.subject import Subject, parse_subject, valid_until

if TYPE_CHECKING:
    import ssl
    from pathlib import Path

    from OpenSSL import SSL

    from sasl_tls.bindings import Connection

__all__ = ["ClientCertificates", "Library", "ServerTls"]

ClientCertificates: TypeAlias = Literal["optional", "required"]
"""Whether a client without a certificate is let into TLS."""

TLS_SHUTDOWN_SECONDS: Final = 5.0

_log = logging.getLogger(__name__)

BY_ITSELF: Final = (
    "by itself it is used under BindingPolicy.REQUIRE only: a client that is offered -PLUS takes "
    "it for granted that there is {} too, and its login would fail"
)


class ServerTls:
    """How a server puts TLS beneath a connection.

    `context`: of `ssl` or of pyOpenSSL. `certificate`: the one certificate that an `ssl`
    context sends, in DER; without it there is no tls-server-end-point. A pyOpenSSL context
    tells by itself. Load no other certificate into an `ssl` context that was given here:
    connections would be bound by the old one, and logins fail. `reload`, or a new object, is
    for that. Of the certificates that clients show to a context that was given here nothing is
    told: who is believed, and for what, only `load` knows.

    Raises:
        UsageError: `context` is neither.
    """

    def __init__(
        self, context: ssl.SSLContext | SSL.Context, certificate: bytes | None = None
    ) -> None:
        # By context, for a connection keeps the one with which it began.
        self._certificates: WeakKeyDictionary[ssl.SSLContext, bytes] = WeakKeyDictionary()
        # Those that believe certificates of clients.
        self._vouching: WeakSet[ssl.SSLContext | SSL.Context] = WeakSet()
        self._files: Files | None = None
        self._ssl: ssl.SSLContext | None = None
        self._pyopenssl: SSL.Context | None = None
        self._take(context, certificate)

    def _take(self, context: ssl.SSLContext | SSL.Context, certificate: bytes | None) -> None:
        import ssl

        if isinstance(context, ssl.SSLContext):
            if certificate is not None:
                self._certificates[context] = certificate
            self._ssl = context
        elif type(context).__module__.partition(".")[0] == "OpenSSL":
            self._pyopenssl = context
        else:
            raise UsageError(
                f"a TLS context is of ssl or of pyOpenSSL, not a {type(context).__name__}"
            )

    @classmethod
    def load(
        cls,
        certificate: str | Path,
        key: str | Path | None = None,
        library: Library = "ssl",
        *,
        client_ca: str | Path | None = None,
        client_certificates: ClientCertificates | None = None,
    ) -> ServerTls:
        """TLS 1.2 and later with this certificate chain and key, files in PEM.

        Without `key` it is in the first file. An encrypted key is refused: a server has
        nobody to ask. `client_ca`: ask clients for a certificate, and believe those of the
        authorities in this file, and of no others; `client` then says who they are.
        `client_certificates`: "required" ends the handshake with a client that has none;
        "optional", the default, leaves it to other ways of logging in. One that is expired, not
        for clients, or of another authority ends it in either case. So it does where a session
        of TLS is resumed, which is done without a ticket, by `ssl` on TLS 1.2 alone, and up to
        two hours after the certificate was shown; the authority is not looked at again then.
        Nobody is asked whether a certificate was revoked: lock the user.

        Raises:
            ConfigError: the files cannot be read, or do not belong together.
            PluginError: code `missing-package`: pyOpenSSL is not installed.
            UsageError: `client_certificates` without `client_ca`, or neither of its values.
        """
        if client_certificates not in (None, "optional", "required"):
            raise UsageError("client_certificates is 'optional' or 'required'")
        if client_certificates is not None and client_ca is None:
            raise UsageError("client_certificates goes with client_ca: who signs them?")
        files = Files(certificate, key, client_ca, client_certificates == "required")
        context, sent = load(files, library)
        made = cls(context, sent)
        made._files = files
        made._believe(context)
        return made

    @property
    def vouches(self) -> bool:
        """Whether clients are asked for certificates, those of `client_ca`."""
        return self._files is not None and self._files.client_ca is not None

    def _believe(self, context: ssl.SSLContext | SSL.Context) -> None:
        """Tell of the clients of a context that was just loaded."""
        if self.vouches:
            self._vouching.add(context)

    def reload(self) -> None:
        """Read the files again that `load` was given: a renewed certificate is there.

        New connections get it, and are bound by it; those that stand keep theirs. So it is with
        `client_ca`. If the files cannot be used, nothing changes. Call it from the thread that
        accepts.

        Raises:
            ConfigError, PluginError: as `load`.
            UsageError: `load` did not make this.
        """
        if self._files is None:
            raise UsageError("there are no files to read again: ServerTls.load did not make this")
        context, sent = load(self._files, "ssl" if self._pyopenssl is None else "pyopenssl")
        self._believe(context)
        self._take(context, sent)

    async def accept(
        self,
        transport: asyncio.Transport,
        protocol: asyncio.Protocol,
        *,
        timeout: float,  # noqa: ASYNC109 - the handshake's own limit.
    ) -> asyncio.Transport:
        """Handshake on a connection that stands; `protocol` then lives on what is returned.

        Raises:
            OSError: the handshake failed or took longer than `timeout` seconds, or resumed the
                session of a client whose certificate has ended since. Close the transport.
        """
        if self._pyopenssl is not None:
            from sasl_tls.transport import accept

            return await accept(
                transport,
                protocol,
                self._pyopenssl,
                handshake_seconds=timeout,
                shutdown_seconds=TLS_SHUTDOWN_SECONDS,
            )
        fresh = await asyncio.get_running_loop().start_tls(
            transport,
            protocol,
            cast("ssl.SSLContext", self._ssl),
            server_side=True,
            ssl_handshake_timeout=max(timeout, 0.001),
            ssl_shutdown_timeout=TLS_SHUTDOWN_SECONDS,
        )
        if fresh is None:
            raise ConnectionResetError("the connection was lost in the handshake")
        problem = self._resumption_problem(fresh.get_extra_info("ssl_object"))
        if problem is not None:
            fresh.abort()
            raise ConnectionAbortedError(problem)
        return fresh

    def _resumption_problem(self, connection: ssl.SSLObject) -> str | None:
        """Why a session must not be resumed: nobody has looked at the certificate this time."""
        shown = self._shown(connection) if connection.session_reused else None
        if shown is None:
            return None
        try:
            ended = valid_until(shown) < time.time()
        except PeerError as error:
            return str(error.detail or error)
        return "the certificate of the session that it resumed has expired" if ended else None

    def bindings(
        self, transport: asyncio.BaseTransport, policy: BindingPolicy = BindingPolicy.WANT
    ) -> ChannelBindings:
        """What a connection that `accept` made can be bound by, for `channel_bindings=`.

        A client that chooses -PLUS takes the type that its TLS version makes the default:
        tls-unique (RFC 5802 section 6.1), with TLS 1.3 tls-exporter (RFC 9266 section 3). No
        message negotiates it. Where this end has not got that one, -PLUS is offered only if
        `policy` demands a binding anyway; the reason goes into `missing`.

        Raises:
            UsageError: `accept` did not make it.
        """
        connection, certificate = self._connection(transport)
        if connection is None:
            raise UsageError("the transport has no TLS")
        found = server_bindings(connection, certificate)
        if policy is BindingPolicy.REQUIRE or EXPORTER in found or UNIQUE in found:
            return found
        missing = dict(found.missing)
        if END_POINT in found:
            missing[END_POINT] = BY_ITSELF.format(default_type(connection))
        return ChannelBindings({}, missing)

    def client(self, transport: asyncio.BaseTransport) -> Subject | None:
        """Whom the certificate names that the client of a connection has shown, and proved.

        None where there is none, and where nobody was asked for one (`load`); also where it has
        ended by now, or names nobody that could be told, which is logged. The handshake is done.

        Raises:
            UsageError: `accept` did not make the connection.
        """
        connection, _ = self._connection(transport)
        if connection is None:
            raise UsageError("the transport has no TLS")
        shown = self._shown(connection)
        if shown is None:
            return None
        try:
            found = parse_subject(shown)
        except PeerError as error:
            problem = error.detail or str(error)
        else:
            if time.time() <= found.until:
                return found
            problem = "it has expired since it was shown"
        _log.info("a client's certificate is as good as none: %s", problem)
        return None

    def _shown(self, connection: Connection) -> bytes | None:
        """The certificate of the client whose chain was verified, in DER."""
        import ssl

        if isinstance(connection, (ssl.SSLSocket, ssl.SSLObject)):
            # By `ssl` there is one exactly if it was verified: no callback overrules that.
            believed = connection.context in self._vouching
            return connection.getpeercert(binary_form=True) if believed else None
        if connection.get_context() not in self._vouching:
            return None
        from OpenSSL import crypto

        found = connection.get_peer_certificate()
        return None if found is None else crypto.dump_certificate(crypto.FILETYPE_ASN1, found)

    def _connection(
        self, transport: asyncio.BaseTransport
    ) -> tuple[Connection | None, bytes | None]:
        connection = transport.get_extra_info("pyopenssl_connection")
        if connection is not None:
            return connection, None
        plain: ssl.SSLObject | None = transport.get_extra_info("ssl_object")
        # A callback for SNI may have put another context, and so another certificate, in.
        return plain, None if plain is None else self._certificates.get(plain.context)
