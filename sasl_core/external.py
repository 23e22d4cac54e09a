"""What a login rests on for which the protection below vouches: a certificate, and its time."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sasl_core.token import ValidatedToken

if TYPE_CHECKING:
    from sasl_core.plugs import Needs

__all__ = ["ExternalIdentity"]


class ExternalIdentity(ValidatedToken):
    """An identity that stands until a time, in seconds since the epoch, and grants nothing.

    To the core it is a token, for it can lapse as one does, and may need an account.
    """

    __slots__ = ("_expires_at", "_needs_account", "_principal")

    def __init__(self, principal: str, expires_at: float, *, needs_account: bool) -> None:
        self._principal = principal
        self._expires_at = expires_at
        self._needs_account = needs_account

    @property
    def principal(self) -> str:
        """The identity, as it stands."""
        return self._principal

    @property
    def issuer(self) -> str:
        """Nobody's word but that of the protection below."""
        return ""

    @property
    def expires_at(self) -> float:
        """When its time is up."""
        return self._expires_at

    @property
    def needs_account(self) -> bool:
        """Whether the stores have to know it."""
        return self._needs_account

    def revalidate(self) -> Needs[ValidatedToken]:
        """Itself: the connection below is what it was, and whoever asks looks at the time."""
        yield from ()
        return self
