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
    PeerError,
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
        _ = ctx.canon_user(hint or UNNAMED)
        token = yield from held_token(ctx, hint)
        if token is None:
            # As it was typed: it has to equal a claim to the letter.
            step = parse_server_step1((yield from NeedPeer(format_client_step1(hint))))
            self._check_issuer(step.issuer)
            token = yield from obtain_token(
                ctx,
                username=hint,
                issuer=step.issuer,
                client_id=step.client_id,
                scopes=step.request_scopes,
            )
        return Success(data=format_client_step2(token))

    def _check_issuer(self, issuer: str) -> None:
        """What a server names is an address that our user is sent to."""
        from sasl_tokens.urls import UrlProblem, check_url

        try:
            _ = check_url(issuer, what="issuer", allow_loopback_http=self._loopback)
        except UrlProblem as error:
            # The address's own words are those of a server's configuration.
            problem = error.problem.replace("allowLoopbackHttp", LOOPBACK_OPTION)
        else:
            return
        raise PeerError(
            "the server names an identity provider that nobody may be sent to",
            code="oidc-issuer",
            detail=problem,
        )


LOOPBACK_OPTION: Final = f"[mechanisms.{NAME}] allow_loopback_http = true"
"""What lets a server name a provider of this very machine, in clear text."""

_WHO: Final = NeedCallback(
    (Prompt(PromptId.AUTHNAME, "User name at the identity provider (may be empty)", "", ""),)
)
