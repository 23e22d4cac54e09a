"""What the plugs of OAUTHBEARER and XOAUTH2 have in common."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from sasl_core.plugin import Feature, SecurityFlag, ServerPlug

if TYPE_CHECKING:
    from sasl_core.plugin import SaslUtils

__all__ = ["FEATURES", "FLAGS", "BearerServer"]

FLAGS: Final = SecurityFlag.NOANONYMOUS | SecurityFlag.PASS_CREDENTIALS
"""The token passes in clear, as a password of PLAIN does."""

FEATURES: Final = Feature.WANT_CLIENT_FIRST | Feature.ALLOWS_PROXY


class BearerServer(ServerPlug):
    """A server's side. Whose a token is, is the matter of `check`, a `BearerCheck`."""

    security_flags = FLAGS
    features = FEATURES

    def __init__(self, utils: SaslUtils) -> None:
        """Read the options of the mechanism.

        Raises:
            ConfigError: they are wrong, or a file that they name is.
        """
        # Imported here: a module may have both sides, and a client's checks no token.
        from sasl_tokens.bearer import BearerCheck

        self.check: Final = BearerCheck(utils)

    def availability(self) -> str | None:
        return self.check.availability()
