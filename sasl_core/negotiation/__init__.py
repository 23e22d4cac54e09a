"""All semantics of the glue, without any I/O: one class for each side.

`Server`, `Client` and their asyncio twins are loops that supply the needs of these; an
application that supplies them itself gets one from `session.raw()`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from sasl_core.negotiation.base import Negotiation, Phase, Reply

if TYPE_CHECKING:
    from sasl_core.negotiation.client import ClientNegotiation
    from sasl_core.negotiation.server import ServerNegotiation
else:
    from sasl_core._lazy import lazily

    __getattr__ = lazily(
        __name__,
        {
            "sasl_core.negotiation.client": ("ClientNegotiation",),
            "sasl_core.negotiation.server": ("ServerNegotiation",),
        },
    )

__all__ = ["ClientNegotiation", "Negotiation", "Phase", "Reply", "ServerNegotiation"]
