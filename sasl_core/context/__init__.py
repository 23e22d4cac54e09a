"""The context of one exchange: all that a mechanism sees of the glue.

Invariants:
- A context never refers to its session: no cycle, so secrets die with the exchange.
- `Verified` and `VerifiedPeer` come from the methods here and from nowhere else; each
  refusal here dooms the exchange, whether the mechanism lets it pass or not.
- The administrator's detail is kept here, and never sent to the peer.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from sasl_core.context.base import CanonContext, Context

if TYPE_CHECKING:
    from sasl_core.context.client import ClientContext
    from sasl_core.context.server import ServerContext
else:
    from sasl_core._lazy import lazily

    __getattr__ = lazily(
        __name__,
        {
            "sasl_core.context.client": ("ClientContext",),
            "sasl_core.context.server": ("ServerContext",),
        },
    )

__all__ = ["CanonContext", "ClientContext", "Context", "ServerContext"]
