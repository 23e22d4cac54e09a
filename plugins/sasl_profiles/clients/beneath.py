"""What a client says of the connection beneath it when that fails."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from sasl_core.plugin import (
    BackendError,
    ChannelBindings,
    MechanismError,
    PeerError,
    printable,
)

if TYPE_CHECKING:
    from sasl_core.plugin import Layer

__all__ = ["NO_TLS", "no_layer", "tls_failure", "unreachable"]

NO_TLS: Final = ChannelBindings({}, {"every type": "TLS is not in use on this connection"})
"""What a connection in clear can be bound by."""


def no_layer(layer: Layer | None) -> None:
    """Refuse a security layer: here TLS protects what follows, and nothing else can.

    Raises:
        MechanismError: the mechanism negotiated one.
    """
    if layer is not None:
        raise MechanismError("this profile carries no security layer; use TLS")


def tls_failure(error: Exception) -> PeerError:
    """The error for a handshake or a certificate that failed."""
    return PeerError(
        "the TLS handshake failed", code="tls", detail=f"TLS: {printable(error) or 'no reason'}"
    )


def unreachable(error: Exception) -> BackendError:
    """The error for a connection that cannot be made or used, now or in time."""
    if isinstance(error, TimeoutError):
        return BackendError("the server did not answer in time", code="timeout")
    return BackendError(
        "the server cannot be reached", code="connection", detail=printable(error) or None
    )
