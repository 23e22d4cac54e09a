"""The three ways to run an exchange: raw, blocking and asyncio."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from sasl_core.testing.driver import AnyClient, AnyServer, BlockingDriver, Driver
from sasl_core.testing.loop import AsyncioDriver
from sasl_core.testing.raw import RawClientSession, RawDriver, RawServerSession

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = [
    "DRIVERS",
    "AnyClient",
    "AnyServer",
    "AsyncioDriver",
    "BlockingDriver",
    "Driver",
    "RawClientSession",
    "RawDriver",
    "RawServerSession",
]

DRIVERS: Final[dict[str, Callable[[], Driver]]] = {
    "raw": RawDriver,
    "blocking": BlockingDriver,
    "asyncio": AsyncioDriver,
}
"""Name -> how to make the driver."""
