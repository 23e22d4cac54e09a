"""What both ends know of the connection beneath, in the words of a SASL session."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sasl_profiles.clients.beneath import NO_TLS, no_layer
from sasl_tls.facts import host_and_port

if TYPE_CHECKING:
    from sasl_core import ConnectionFacts
    from sasl_core.plugin import ChannelBindings
    from sasl_tls.facts import TransportFacts

__all__ = ["NO_TLS", "connection_facts", "literal", "no_layer"]


def connection_facts(
    beneath: TransportFacts,
    bindings: ChannelBindings = NO_TLS,
    connected_to: str | None = None,
) -> ConnectionFacts:
    """The facts of an SMTP connection over one of which these are known.

    `connected_to`: the host, where this is the client's end.

    SMTP carries the client's first message with AUTH and nothing with its success reply
    (RFC 4954 section 4).
    """
    return {
        "success_data": False,
        "initial_response": True,
        "channel_bindings": bindings,
        "external_ssf": beneath.external_ssf,
        "external_id": beneath.external_id,
        "external_until": beneath.external_until,
        "remote": beneath.remote,
        "local": beneath.local,
        "connected_to": connected_to,
    }


def literal(local: object) -> str:
    """The address literal for EHLO (RFC 5321 section 4.1.3); a name of no host without one."""
    address = host_and_port(local)
    if address is None:
        return "localhost.invalid"
    return f"[IPv6:{address[0]}]" if ":" in address[0] else f"[{address[0]}]"
