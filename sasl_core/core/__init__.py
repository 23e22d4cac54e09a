"""What all sessions of one Server or Client share: configuration, plugs, caches.

Immutable as far as anyone outside can see, and safe to share between threads and tasks:
what is cached here is made once, or made twice with the same outcome.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from sasl_core.core.base import Config, Core, Job, Offer

if TYPE_CHECKING:
    from sasl_core.core.client import ClientCore
    from sasl_core.core.server import ServerCore
else:
    from sasl_core._lazy import lazily

    __getattr__ = lazily(
        __name__,
        {"sasl_core.core.client": ("ClientCore",), "sasl_core.core.server": ("ServerCore",)},
    )

__all__ = ["ClientCore", "Config", "Core", "Job", "Offer", "ServerCore"]
