"""Why a token is refused.

To the peer every refusal is the same. The administrator is told by `code` and `detail`; no
detail holds a token, a claim that was not checked for what it is, or a key.
"""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING, Final

from sasl_core.plugin import AuthenticationError, Result

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["CODES", "TokenError"]

CODES: Final[Mapping[str, Result]] = MappingProxyType(
    {
        # The gate: what is no token at all.
        "token-malformed": Result.BADAUTH,
        "token-too-long": Result.BADAUTH,
        "token-header": Result.BADAUTH,
        "token-algorithm": Result.BADAUTH,
        "token-type": Result.BADAUTH,
        # The signature.
        "token-key-unknown": Result.BADAUTH,
        "token-key-unfit": Result.BADAUTH,
        "token-signature": Result.BADAUTH,
        # The claims.
        "token-expired": Result.EXPIRED,
        "token-not-yet-valid": Result.BADAUTH,
        "token-lifetime": Result.BADAUTH,
        "token-claim-missing": Result.BADAUTH,
        "token-claim-type": Result.BADAUTH,
        "token-issuer": Result.BADAUTH,
        "token-audience": Result.BADAUTH,
        "token-identity": Result.BADAUTH,
        "token-id-token": Result.BADAUTH,
        "token-inactive": Result.BADAUTH,
        "token-scope": Result.NOAUTHZ,
        "token-principal-changed": Result.BADAUTH,
        # Which provider.
        "oidc-no-provider": Result.BADAUTH,
        "oidc-hint-needed": Result.BADAUTH,
        "oidc-no-human-provider": Result.BADAUTH,
        "oidc-hint-mismatch": Result.BADAUTH,
        "oidc-second-step-one": Result.BADPROT,
    }
)
"""Every code, and Cyrus's result that goes with it."""


class TokenError(AuthenticationError):
    """A token, or who wanted to log in with one, is refused."""

    def __init__(self, code: str, detail: str, *, wire: bytes | None = None) -> None:
        super().__init__(code=code, result=CODES[code], detail=detail, wire=wire)
