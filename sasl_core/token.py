"""What the core knows of a validated token: enough to let its bearer in, no more.

A token library derives from `ValidatedToken`; constructing its class is what validates.
"""

from __future__ import annotations

from abc import ABC, abstractmethod

__all__ = ["ValidatedToken"]


class ValidatedToken(ABC):
    """A token whose signature, issuer, audience and times were checked when it was made."""

    @property
    @abstractmethod
    def principal(self) -> str:
        """Whom the token names."""

    @property
    @abstractmethod
    def issuer(self) -> str:
        """Who vouches for it."""

    @property
    @abstractmethod
    def expires_at(self) -> float:
        """When it stops being valid, in seconds since the epoch."""
