"""What both ends know of the connection beneath, in the words of a SASL session."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, TypeAlias, cast

from sasl_core.plugin import (
    BackendError,
    ChannelBindings,
    Layer,
    MechanismError,
    PeerError,
    printable,
)

if TYPE_CHECKING:
    from sasl_core import ConnectionFacts

__all__ = [
    "NO_TLS",
    "Cipher",
    "connection_facts",
    "literal",
    "no_layer",
    "tls_failure",
    "unreachable",
]

Cipher: TypeAlias = "tuple[str, str, int] | None"
"""Name, protocol and strength in bits, as the ssl module reports them; None without TLS."""

NO_TLS: Final = ChannelBindings({}, {"every type": "TLS is not in use on this connection"})
"""What a connection in clear can be bound by."""


def connection_facts(
    remote: object, local: object, cipher: Cipher, bindings: ChannelBindings = NO_TLS
) -> ConnectionFacts:
    """The facts of a connection between these socket addresses.

    SMTP carries the client's first message with AUTH and nothing with its success reply
    (RFC 4954 section 4).
    """
    facts: ConnectionFacts = {
        "success_data": False,
        "initial_response": True,
        "external_ssf": 0 if cipher is None else cipher[2],
        "channel_bindings": bindings,
    }
    if (address := _parts(remote)) is not None:
        facts["remote"] = f"{address[0]};{address[1]}"
    if (address := _parts(local)) is not None:
        facts["local"] = f"{address[0]};{address[1]}"
    return facts


def literal(local: object) -> str:
    """The address literal for EHLO (RFC 5321 section 4.1.3); a name of no host without one."""
    address = _parts(local)
    if address is None:
        return "localhost.invalid"
    return f"[IPv6:{address[0]}]" if ":" in address[0] else f"[{address[0]}]"


def _parts(address: object) -> tuple[str, int] | None:
    """Host without its scope, and port; None for what is no internet address."""
    if not isinstance(address, tuple) or len(cast("tuple[object, ...]", address)) < 2:
        return None
    host, port = cast("tuple[object, object]", address[:2])
    return str(host).partition("%")[0], int(cast("int", port))


def no_layer(layer: Layer | None) -> None:
    """Refuse a security layer: here TLS protects what follows, and nothing else can.

    Raises:
        MechanismError: the mechanism negotiated one.
    """
    if layer is not None:
        raise MechanismError("this SMTP profile carries no security layer; use STARTTLS")


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
