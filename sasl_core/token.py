"""What the core knows of a validated token: enough to let its bearer in, no more.

A token library derives from `ValidatedToken`; constructing its class is what validates.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from types import MappingProxyType
from typing import TYPE_CHECKING, Final

from sasl_core.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from sasl_core.plugs import Needs

__all__ = ["ROLES", "ValidatedToken"]

ROLES: Final = "roles"
"""The property that holds what the bearer may do: vouched for by the token, or by the stores."""

_NO_GRANTS: Final[Mapping[str, tuple[bytes, ...]]] = MappingProxyType({})


class ValidatedToken(ABC):
    """A token whose signature, issuer, audience and times were checked when it was made."""

    __slots__ = ()

    @property
    @abstractmethod
    def principal(self) -> str:
        """Whom the token names: the identity to log in as, taken as it is."""

    @property
    @abstractmethod
    def issuer(self) -> str:
        """Who vouches for it."""

    @property
    @abstractmethod
    def expires_at(self) -> float:
        """When it stops being valid, in seconds since the epoch."""

    @property
    def grants(self) -> Mapping[str, tuple[bytes, ...]]:
        """Properties of the user that the token vouches for; they go before the stores'.

        Names without `*`, none of a password's, and values as a tuple of bytes. Not `roles` of a
        token that `needs_account`.
        """
        return _NO_GRANTS

    @property
    def needs_account(self) -> bool:
        """Whether the stores have to know the user, and say its `roles`."""
        return False

    def valid(self, now: float) -> bool:
        """Whether it still is what it was when it was made."""
        return now < self.expires_at

    def revalidate(self) -> Needs[ValidatedToken]:
        """The same token, validated again from scratch, with the grants that it has now.

        Raises:
            AuthenticationError: it is not valid any more.
            BackendError: nobody can say now.
            UsageError: it cannot be validated again (the default).
        """
        yield from ()
        raise UsageError("this token cannot be validated again; log in anew")
