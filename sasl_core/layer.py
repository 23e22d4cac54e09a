"""Security layers: what protects the connection after the exchange (RFC 4422 section 3.7).

A layer outlives the exchange that negotiated it and ends with `session.close()`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod

__all__ = ["Layer"]


class Layer(ABC):
    """Integrity or confidentiality protection of the data that follows.

    `ssf`: strength in bits (1: integrity only). `maxoutbuf`: the most bytes that one
    `encode` accepts, 0 for no limit.
    """

    ssf: int = 0
    maxoutbuf: int = 0

    @abstractmethod
    def encode(self, *buffers: bytes) -> bytes:
        """Protect the buffers, in their order, as one message.

        Raises:
            UsageError: more than `maxoutbuf` bytes.
        """

    @abstractmethod
    def decode(self, data: bytes) -> bytes:
        """Return the plain bytes of `data`; keeps an incomplete rest for the next call.

        Raises:
            PeerError: `data` was altered, replayed or is too long.
        """

    @abstractmethod
    def close(self) -> None:
        """Forget the keys."""
