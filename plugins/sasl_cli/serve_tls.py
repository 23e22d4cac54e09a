"""The TLS of `sasl serve`: its own certificate, and whether its clients show theirs."""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING, Final

from sasl_core.plugin import UsageError

if TYPE_CHECKING:
    from sasl_tls import ServerTls
    from sasl_tls.server import ClientCertificates as Whether

__all__ = ["ClientCertificates", "TlsLibrary", "tls_context"]


class TlsLibrary(StrEnum):
    """What `--tls-library` takes."""

    SSL = "ssl"
    PYOPENSSL = "pyopenssl"


class ClientCertificates(StrEnum):
    """What `--client-certificates` takes."""

    OPTIONAL = "optional"
    REQUIRED = "required"


_WHETHER: Final[dict[ClientCertificates | None, Whether]] = {
    ClientCertificates.OPTIONAL: "optional",
    ClientCertificates.REQUIRED: "required",
}


def tls_context(
    cert: str | None,
    key: str | None,
    library: TlsLibrary,
    client_ca: str | None,
    certificates: ClientCertificates | None,
) -> ServerTls | None:
    """What TLS is offered with, None without a certificate.

    Raises:
        UsageError: what goes with a certificate, without one.
        ConfigError: the files cannot be read, or do not belong together.
        PluginError: pyOpenSSL is not installed.
    """
    from sasl_tls import ServerTls

    if certificates is not None and client_ca is None:
        raise UsageError("--client-certificates goes with --client-ca")
    if cert is not None:
        return ServerTls.load(
            cert,
            key,
            "ssl" if library is TlsLibrary.SSL else "pyopenssl",
            client_ca=client_ca,
            client_certificates=_WHETHER.get(certificates),
        )
    if key is not None:
        raise UsageError("--tls-key goes with --tls-cert")
    if client_ca is not None:
        raise UsageError("--client-ca goes with --tls-cert")
    if library is not TlsLibrary.SSL:
        raise UsageError("--tls-library goes with --tls-cert")
    return None
