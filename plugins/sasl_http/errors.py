"""How a request fails: a code for programs, and a detail that names the place and what to do.

No detail holds a query, a header's value or a body: any of them can be a secret.
"""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING, Final

from sasl_core.plugin import BackendError

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["CODES", "trouble"]

CODES: Final[Mapping[str, bool]] = MappingProxyType(
    {
        "http-url": True,
        "http-request": False,
        "http-ca-file": False,
        "http-connect": True,
        "http-tls": True,
        "http-timeout": True,
        "http-too-large": True,
        "http-protocol": True,
        "http-closed": True,
    }
)
"""Every code, and whether trying again later may help (an address can come from a provider)."""


def trouble(code: str, place: str, problem: str) -> BackendError:
    """The error for `problem` with what is at `place`."""
    return BackendError(code=code, detail=f"{place}: {problem}", temporary=CODES[code])
