"""MONGODB-OIDC, the client's side.

Whoever has a token sends it, and that is all. Otherwise the server is asked which provider it
trusts, a token is fetched there, and sent.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from sasl_core.plugin import (
    ClientContext,
    ClientPlug,
    NeedCallback,
    NeedPeer,
    Needs,
    Prompt,
    PromptId,
    Success,
)
from sasl_mechanisms.mongodb_oidc.flags import FEATURES, FLAGS, NAME
from sasl_mechanisms.mongodb_oidc.messages import (
    format_client_step1,
    format_client_step2,
    parse_server_step1,
)
from sasl_mechanisms.mongodb_oidc.options import MongodbOidcOptions
from sasl_tokens.client import held_token, obtain_token
from sasl_tokens.terms import UNNAMED
from sasl_tokens.told import check_issuer

if TYPE_CHECKING:
    from sasl_core.plugin import SaslUtils

__all__ = ["MongodbOidcClient"]


class MongodbOidcClient(ClientPlug):
    """The client's side."""

    name = NAME
    security_flags = FLAGS
    features = FEATURES
    required_prompts = (PromptId.TOKEN,)

    def __init__(self, utils: SaslUtils) -> None:
        self._loopback = utils.options(MongodbOidcOptions, NAME).allow_loopback_http

    def converse(self, ctx: ClientContext) -> Needs[Success]:
        (name,) = yield from _WHO
        hint = name or None
        # A server need not heed the name, and in one step it does not hear it.
        _ = ctx.canon_user(UNNAMED)
        token = yield from held_token(ctx, hint)
        if token is None:
            # As it was typed: it has to equal a claim to the letter.
            step = parse_server_step1((yield from NeedPeer(format_client_step1(hint))))
            check_issuer(step.issuer, allow_loopback_http=self._loopback, option=LOOPBACK_OPTION)
            token = yield from obtain_token(
                ctx,
                username=hint,
                issuer=step.issuer,
                client_id=step.client_id,
                scopes=step.request_scopes,
            )
        return Success(data=format_client_step2(token))


LOOPBACK_OPTION: Final = f"[mechanisms.{NAME}] allow_loopback_http = true"
"""What lets a server name a provider of this very machine, in clear text."""

_WHO: Final = NeedCallback(
    (Prompt(PromptId.AUTHNAME, "User name at the identity provider (may be empty)", "", ""),)
)
