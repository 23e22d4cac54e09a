"""OAUTHBEARER, the server's side (RFC 7628 section 3.2)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sasl_core.plugin import (
    Feature,
    NeedPeer,
    Needs,
    SecurityFlag,
    ServerContext,
    ServerPlug,
    Success,
)
from sasl_mechanisms.oauthbearer.messages import parse_client_message
from sasl_tokens.bearer import BearerCheck
from sasl_tokens.bearer_messages import BearerError, format_error

if TYPE_CHECKING:
    from sasl_core.plugin import SaslUtils
    from sasl_tokens.bearer import Refusal

__all__ = ["OauthbearerServer"]


class OauthbearerServer(ServerPlug):
    """The server's side. Whose a token is, is the matter of `BearerCheck`."""

    name = "OAUTHBEARER"
    security_flags = SecurityFlag.NOANONYMOUS | SecurityFlag.PASS_CREDENTIALS
    features = Feature.WANT_CLIENT_FIRST | Feature.ALLOWS_PROXY

    def __init__(self, utils: SaslUtils) -> None:
        self._check = BearerCheck(utils)

    def availability(self) -> str | None:
        return self._check.availability()

    def converse(self, ctx: ServerContext) -> Needs[Success]:
        message = parse_client_message((yield from NeedPeer()))
        return (yield from self._check.admit(ctx, message.auth, message.gs2.authzid, _error))


def _error(refusal: Refusal) -> bytes:
    """The error of RFC 7628 section 3.2.2."""
    return format_error(
        BearerError(
            refusal.status,
            scope=refusal.scope,
            openid_configuration=refusal.openid_configuration,
        )
    )
