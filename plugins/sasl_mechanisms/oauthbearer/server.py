"""OAUTHBEARER, the server's side (RFC 7628 section 3.2)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sasl_core.plugin import NeedPeer, Needs, ServerContext, Success
from sasl_mechanisms.oauthbearer.messages import parse_client_message
from sasl_tokens.bearer_messages import BearerError, format_error
from sasl_tokens.bearer_plugs import BearerServer

if TYPE_CHECKING:
    from sasl_tokens.bearer import Refusal

__all__ = ["OauthbearerServer"]


class OauthbearerServer(BearerServer):
    """The server's side."""

    name = "OAUTHBEARER"

    def converse(self, ctx: ServerContext) -> Needs[Success]:
        message = parse_client_message((yield from NeedPeer()))
        return (yield from self.check.admit(ctx, message.auth, message.gs2.authzid, _error))


def _error(refusal: Refusal) -> bytes:
    """The error of RFC 7628 section 3.2.2."""
    return format_error(
        BearerError(
            refusal.status,
            scope=refusal.scope,
            openid_configuration=refusal.openid_configuration,
        )
    )
