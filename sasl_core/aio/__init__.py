"""The application's door for asyncio programs: `Server`, `Client` and their sessions."""

from __future__ import annotations

from sasl_core.aio.client import Client, ClientSession
from sasl_core.aio.server import Server, ServerSession

__all__ = ["Client", "ClientSession", "Server", "ServerSession"]
