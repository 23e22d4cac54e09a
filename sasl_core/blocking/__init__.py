"""The application's door for blocking programs: `Server`, `Client` and their sessions."""

from __future__ import annotations

from sasl_core.blocking.client import Client, ClientSession
from sasl_core.blocking.server import Server, ServerSession

__all__ = ["Client", "ClientSession", "Server", "ServerSession"]
