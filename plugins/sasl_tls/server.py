"""A server's TLS: which library, which certificate, and what its connections can be bound by.

Invariants: tls-server-end-point is told only of a certificate that was sent on the connection,
also across `reload`: a context and its certificate change together; a client that takes -PLUS can
be bound.
"""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING, Final, Literal, TypeAlias, cast
from weakref import WeakKeyDictionary

from sasl_core.plugin import (
    BindingPolicy,
    ChannelBindings,
    ConfigError,
    PluginError,
    UsageError,
    printable,
)
from sasl_tls.bindings import END_POINT, EXPORTER, UNIQUE, default_type, server_bindings
from sasl_tls.certificate import read_certificate

if TYPE_CHECKING:
    import ssl

    from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
    from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
    from OpenSSL import SSL

    from sasl_tls.bindings import Connection

__all__ = ["Library", "ServerTls"]

Library: TypeAlias = Literal["ssl", "pyopenssl"]
"""`ssl` is the standard library's; `pyopenssl`, extra `tls`, exports tls-exporter on TLS 1.3."""

TLS_SHUTDOWN_SECONDS: Final = 5.0

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
    for that.

    Raises:
        UsageError: `context` is neither.
    """

    def __init__(
        self, context: ssl.SSLContext | SSL.Context, certificate: bytes | None = None
    ) -> None:
        # By context, for a connection keeps the one with which it began.
        self._certificates: WeakKeyDictionary[ssl.SSLContext, bytes] = WeakKeyDictionary()
        self._files: tuple[str | Path, str | Path | None] | None = None
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
        cls, certificate: str | Path, key: str | Path | None = None, library: Library = "ssl"
    ) -> ServerTls:
        """TLS 1.2 and later with this certificate chain and key, files in PEM.

        Without `key` it is in the first file. An encrypted key is refused: a server has
        nobody to ask.

        Raises:
            ConfigError: the files cannot be read, or do not belong together.
            PluginError: code `missing-package`: pyOpenSSL is not installed.
        """
        made = cls(*_loaded(certificate, key, library))
        made._files = (certificate, key)
        return made

    def reload(self) -> None:
        """Read the files again that `load` was given: a renewed certificate is there.

        New connections get it, and are bound by it; those that stand keep theirs. If the files
        cannot be used, nothing changes. Call it from the thread that accepts.

        Raises:
            ConfigError, PluginError: as `load`.
            UsageError: `load` did not make this.
        """
        if self._files is None:
            raise UsageError("there are no files to read again: ServerTls.load did not make this")
        self._take(*_loaded(*self._files, "ssl" if self._pyopenssl is None else "pyopenssl"))

    async def accept(
        self,
        transport: asyncio.Transport,
        protocol: asyncio.Protocol,
        *,
        timeout: float,  # noqa: ASYNC109 - the handshake's own limit.
    ) -> asyncio.Transport:
        """Handshake on a connection that stands; `protocol` then lives on what is returned.

        Raises:
            OSError: the handshake failed or took longer than `timeout` seconds. The transport
                is not closed by that.
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
        return fresh

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

    def _connection(
        self, transport: asyncio.BaseTransport
    ) -> tuple[Connection | None, bytes | None]:
        connection = transport.get_extra_info("pyopenssl_connection")
        if connection is not None:
            return connection, None
        plain: ssl.SSLObject | None = transport.get_extra_info("ssl_object")
        # A callback for SNI may have put another context, and so another certificate, in.
        return plain, None if plain is None else self._certificates.get(plain.context)


def _loaded(
    certificate: str | Path, key: str | Path | None, library: Library
) -> tuple[ssl.SSLContext | SSL.Context, bytes | None]:
    if library == "pyopenssl":
        return _pyopenssl_context(certificate, key), None
    _check_readable(certificate, key)
    # OpenSSL opens the file by itself. Renewed in between, it would be bound by another
    # certificate than it sends.
    before = read_certificate(certificate)
    context = _ssl_context(certificate, key)
    if read_certificate(certificate) != before:
        raise ConfigError("it was replaced while it was read", file=printable(certificate))
    return context, before


def _check_readable(certificate: str | Path, key: str | Path | None) -> None:
    """Look for the files first: OpenSSL tells neither which of them is missing, nor why.

    Raises:
        ConfigError: one cannot be read; it names that one.
    """
    for name in (certificate, key or certificate):
        try:
            Path(name).open("rb").close()
            continue
        except (OSError, ValueError) as error:
            reason = printable(getattr(error, "strerror", None) or error)
        raise ConfigError(f"TLS cannot be set up with it: {reason}", file=printable(name))


def _ssl_context(certificate: str | Path, key: str | Path | None) -> ssl.SSLContext:
    import ssl

    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.options |= ssl.OP_NO_RENEGOTIATION
    try:
        # An encrypted key would ask on the terminal.
        context.load_cert_chain(certificate, key, password="")
    except (OSError, ValueError) as error:
        reason = printable(getattr(error, "strerror", None) or error)
    else:
        return context
    raise ConfigError(f"TLS cannot be set up with it: {reason}", file=printable(certificate))


def _pyopenssl_context(certificate: str | Path, key: str | Path | None) -> SSL.Context:
    try:
        from OpenSSL import SSL
    except ImportError:
        missing = PluginError(
            "pyopenssl",
            "",
            "pyOpenSSL is not installed: pip install 'sasl-core[tls]'",
            code="missing-package",
        )
    else:
        _check_readable(certificate, key)
        context = SSL.Context(SSL.TLS_SERVER_METHOD)
        context.set_min_proto_version(SSL.TLS1_2_VERSION)
        # A session that cannot be resumed has a tls-unique beyond doubt (`bindings`).
        _ = context.set_options(SSL.OP_NO_TICKET | SSL.OP_NO_RENEGOTIATION | SSL.OP_NO_COMPRESSION)
        _ = context.set_session_cache_mode(SSL.SESS_CACHE_OFF)
        try:
            chain, secret = Path(certificate), Path(key or certificate)
            private = _private_key(secret.read_bytes())
            context.use_certificate_chain_file(chain)
            context.use_privatekey(private)
            context.check_privatekey()
        except SSL.Error as error:
            reason = describe(error)
        except (OSError, ValueError) as error:
            reason = printable(getattr(error, "strerror", None) or error)
        else:
            return context
        raise ConfigError(f"TLS cannot be set up with it: {reason}", file=printable(certificate))
    raise missing


def _private_key(text: bytes) -> RSAPrivateKey | EllipticCurvePrivateKey | Ed25519PrivateKey:
    """A key that is not encrypted.

    Raises:
        ValueError: there is none, with a reason that holds nothing of the file.
    """
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    try:
        found = load_pem_private_key(text, None)
    except TypeError:
        problem = "the key is encrypted"
    except (ValueError, UnsupportedAlgorithm):
        problem = "it holds no private key that can be read"
    else:
        if isinstance(
            found, (rsa.RSAPrivateKey, ec.EllipticCurvePrivateKey, ed25519.Ed25519PrivateKey)
        ):
            return found
        problem = "a private key is of RSA, ECDSA or Ed25519"
    raise ValueError(problem)


def describe(error: Exception) -> str:
    """What pyOpenSSL's queue of errors says, in one line."""
    queue = cast("object", error.args[0] if error.args else None)
    texts: list[str] = []
    if isinstance(queue, list):
        texts = [str(entry[-1]) for entry in cast("list[tuple[str, ...]]", queue) if entry]
    return printable("; ".join(filter(None, texts)) or type(error).__name__)
