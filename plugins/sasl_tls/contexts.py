"""A server's TLS contexts, of either library, from files.

Invariants: an error names the file that cannot be used, and repeats nothing of what it holds; a
context without `client_ca` asks no client for a certificate, one with it believes that file
alone, and refuses in the handshake whoever shows a certificate that it does not vouch for. In a
resumed session no certificate is shown: such a context hands out no ticket, of TLS 1.2 or of 1.3.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Literal, TypeAlias, cast

from sasl_core.plugin import ConfigError, PluginError, printable, record
from sasl_tls.certificate import read_certificate

if TYPE_CHECKING:
    import ssl

    from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
    from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
    from OpenSSL import SSL

__all__ = ["Files", "Library", "describe", "load"]

Library: TypeAlias = Literal["ssl", "pyopenssl"]
"""`ssl` is the standard library's; `pyopenssl`, extra `tls`, exports tls-exporter on TLS 1.3."""


@record
class Files:
    """What a server's TLS is made of.

    `client_ca`: whose certificates of clients are believed, None to ask for none. `required`:
    a client without one is refused in the handshake.
    """

    certificate: str | Path
    key: str | Path | None
    client_ca: str | Path | None = None
    required: bool = False


def load(files: Files, library: Library) -> tuple[ssl.SSLContext | SSL.Context, bytes | None]:
    """A context, and the certificate that it sends where the library does not tell it.

    Raises:
        ConfigError: the files cannot be read, or do not belong together.
        PluginError: code `missing-package`: pyOpenSSL is not installed.
    """
    certificate, key = files.certificate, files.key
    if library == "pyopenssl":
        made = _pyopenssl_context(certificate, key)
        if files.client_ca is not None:
            _ask_by_pyopenssl(made, files.client_ca, required=files.required)
        return made, None
    _check_readable(certificate, key)
    # OpenSSL opens the file by itself. Renewed in between, it would be bound by another
    # certificate than it sends.
    before = read_certificate(certificate)
    context = _ssl_context(certificate, key)
    if read_certificate(certificate) != before:
        raise ConfigError("it was replaced while it was read", file=printable(certificate))
    if files.client_ca is not None:
        _ask_by_ssl(context, files.client_ca, required=files.required)
    return context, before


def _check_readable(certificate: str | Path, key: str | Path | None = None) -> None:
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
        # A session that cannot be resumed has a tls-unique beyond doubt (`bindings`), and whoever
        # is in it has shown a certificate.
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


def _ask_by_ssl(context: ssl.SSLContext, client_ca: str | Path, *, required: bool) -> None:
    import ssl

    _check_readable(client_ca)
    try:
        context.load_verify_locations(client_ca)
    except (OSError, ValueError) as error:
        reason = printable(getattr(error, "strerror", None) or error)
    else:
        if context.cert_store_stats()["x509"]:
            # Each resumption has the next ticket, and so has no end: a certificate would be good
            # for ever. TLS 1.2 resumes by a session's number too, for two hours, and `ssl` cannot
            # be kept from that: `ServerTls.accept` looks at the certificate again.
            context.options |= ssl.OP_NO_TICKET
            context.num_tickets = 0
            context.verify_mode = ssl.CERT_REQUIRED if required else ssl.CERT_OPTIONAL
            return
        reason = "it holds no certificate"
    raise _no_authority(client_ca, reason)


def _ask_by_pyopenssl(context: SSL.Context, client_ca: str | Path, *, required: bool) -> None:
    from OpenSSL import SSL

    _check_readable(client_ca)
    try:
        # Read by ourselves too: a file of revocation lists alone loads without an error.
        _ = read_certificate(client_ca)
        context.load_verify_locations(str(client_ca))
    except SSL.Error as error:
        reason = describe(error)
    except (OSError, ValueError) as error:
        reason = printable(getattr(error, "strerror", None) or error)
    else:
        # Without a callback, which could overrule the library.
        context.set_verify(SSL.VERIFY_PEER | (SSL.VERIFY_FAIL_IF_NO_PEER_CERT if required else 0))
        return
    raise _no_authority(client_ca, reason)


def _no_authority(client_ca: str | Path, reason: str) -> ConfigError:
    return ConfigError(
        f"certificates of clients cannot be checked with it: {reason}", file=printable(client_ca)
    )


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
