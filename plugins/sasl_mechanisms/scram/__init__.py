"""SCRAM, the salted challenge response mechanisms (RFC 5802, RFC 7677).

One implementation; a mechanism of the family is a line in `FAMILY`, and one among the entry
points. SHA-1 is the first of them (RFC 5802), SHA-256 the one to have (RFC 7677); the others
follow RFC 5802 with another hash, as Cyrus SASL, OpenLDAP and XMPP servers name them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from sasl_core.plugin import hookimpl

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sasl_core.plugin import ClientPlug, SaslUtils, ServerPlug

__all__ = ["FAMILY", "SASL_PLUGIN_API", "sasl_client_plug_init", "sasl_server_plug_init"]

SASL_PLUGIN_API = 1

FAMILY = {
    "SCRAM-SHA-1": ("SHA-1", 160),
    "SCRAM-SHA-224": ("SHA-224", 224),
    "SCRAM-SHA-256": ("SHA-256", 256),
    "SCRAM-SHA-384": ("SHA-384", 384),
    "SCRAM-SHA-512": ("SHA-512", 512),
    "SCRAM-SHA3-512": ("SHA3-512", 512),
}
"""Mechanism -> the hash, as in its name, and the hash's strength in bits."""


@hookimpl
def sasl_server_plug_init(utils: SaslUtils) -> Sequence[ServerPlug]:
    """The server's plugs of the family."""
    from sasl_mechanisms.scram.server import ScramServer

    return [ScramServer(utils, name, hash_name, bits) for name, (hash_name, bits) in FAMILY.items()]


@hookimpl
def sasl_client_plug_init(utils: SaslUtils) -> Sequence[ClientPlug]:
    """The client's plugs of the family."""
    from sasl_mechanisms.scram.client import ScramClient

    return [ScramClient(utils, name, hash_name, bits) for name, (hash_name, bits) in FAMILY.items()]
