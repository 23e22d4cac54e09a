"""All semantics of the glue, without any I/O: one class for each side.

`Server`, `Client` and their asyncio twins are loops that supply the needs of these; an
application that supplies them itself gets one from `session.raw()`.
"""

from __future__ import annotations

from sasl_core.negotiation.base import Negotiation, Phase, Reply
from sasl_core.negotiation.client import ClientNegotiation
from sasl_core.negotiation.server import ServerNegotiation

__all__ = ["ClientNegotiation", "Negotiation", "Phase", "Reply", "ServerNegotiation"]
