"""The application's door for blocking programs: `Server`, `Client` and their sessions."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sasl_core.blocking.client import Client, ClientSession
    from sasl_core.blocking.server import Server, ServerSession
else:
    from sasl_core._lazy import lazily

    __getattr__ = lazily(
        __name__,
        {
            "sasl_core.blocking.client": ("Client", "ClientSession"),
            "sasl_core.blocking.server": ("Server", "ServerSession"),
        },
    )

__all__ = ["Client", "ClientSession", "Server", "ServerSession"]
