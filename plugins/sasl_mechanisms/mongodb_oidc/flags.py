"""What both sides of MONGODB-OIDC have in common, so that neither loads the other."""

from __future__ import annotations

from typing import Final

from sasl_core.plugin import Feature, SecurityFlag

__all__ = ["FEATURES", "FLAGS", "NAME"]

NAME: Final = "MONGODB-OIDC"

FLAGS: Final = SecurityFlag.NOANONYMOUS | SecurityFlag.PASS_CREDENTIALS
"""The token passes in clear, as a password of PLAIN does."""

FEATURES: Final = Feature.WANT_CLIENT_FIRST
"""No message has a place for an authorization identity."""
