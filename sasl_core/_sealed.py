"""What may hold a secret is neither pickled nor copied: nobody would wipe the copy."""

from __future__ import annotations

from typing import TYPE_CHECKING, NoReturn

if TYPE_CHECKING:
    from typing import SupportsIndex

__all__ = ["Sealed"]


class Sealed:
    """Base of all that may hold a secret."""

    __slots__ = ()

    def __reduce_ex__(self, protocol: SupportsIndex) -> NoReturn:
        """Raise a UsageError, for pickle and copy alike."""
        from sasl_core.errors import UsageError

        raise UsageError(
            f"a {type(self).__name__} may hold a secret: it is neither pickled nor copied"
        )
