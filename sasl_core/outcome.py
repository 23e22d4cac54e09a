"""How a mechanism ends: `Success`, and the `Verified` that a server's one needs.

A `Verified` comes only from the methods of a `ServerContext`. It is bound by identity to
that context and to the user that the context canonicalised, so that one of another
session, or of an earlier attempt, is worth nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from sasl_core._sealed import Sealed
from sasl_core.errors import UsageError

if TYPE_CHECKING:
    from sasl_core.layer import Layer
    from sasl_core.needs import User

__all__ = ["Success", "Verified", "VerifiedPeer"]

MINT: Final = object()
"""Held by the contexts alone: the key to the constructors below."""


class Verified(Sealed):
    """Proof, inside one exchange, that a user has been authenticated.

    `anonymous`: it is nobody in particular.
    """

    __slots__ = ("anonymous", "how", "origin", "user")

    def __init__(
        self, mint: object, origin: object, user: User, how: str, *, anonymous: bool = False
    ) -> None:
        if mint is not MINT:
            raise UsageError("a Verified comes from the methods of the server's context only")
        self.origin = origin
        self.user = user
        self.how = how
        self.anonymous = anonymous

    def __repr__(self) -> str:
        return f"<Verified {self.user.authid!r} by {self.how}>"


class VerifiedPeer:
    """Proof, inside one exchange of a client, that the server has authenticated itself."""

    __slots__ = ("how", "origin")

    def __init__(self, mint: object, origin: object, how: str) -> None:
        if mint is not MINT:
            raise UsageError("a VerifiedPeer comes from ctx.verified_peer() only")
        self.origin = origin
        self.how = how

    def __repr__(self) -> str:
        return f"<VerifiedPeer by {self.how}>"


class Success(Sealed):
    """A mechanism is through.

    Server: `verified` says who; `data` is what the server sends last (None: nothing).
    Client: `peer` is required of mechanisms with MUTUAL_AUTH; `data` is the last message
    to send (None: nothing). `layer`: the security layer from here on.
    """

    __slots__ = ("data", "layer", "peer", "verified")

    def __init__(
        self,
        verified: Verified | None = None,
        data: bytes | None = None,
        layer: Layer | None = None,
        *,
        peer: VerifiedPeer | None = None,
    ) -> None:
        self.verified = verified
        self.data = data
        self.layer = layer
        self.peer = peer
