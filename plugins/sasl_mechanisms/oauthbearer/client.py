"""OAUTHBEARER, the client's side (RFC 7628 section 3.1)."""

from __future__ import annotations

from functools import partial
from typing import Final

from sasl_core.plugin import (
    ClientContext,
    ClientPlug,
    Feature,
    NeedCallback,
    Needs,
    Prompt,
    PromptId,
    SecurityFlag,
    Success,
)
from sasl_mechanisms.oauthbearer.messages import ACKNOWLEDGEMENT, make_client_message

__all__ = ["UNNAMED", "OauthbearerClient"]

UNNAMED: Final = "token"
"""What `session.authid` is at a client that was given no name: its token has one, and is read
by none but the server.
"""

# The token says who we are; a name is asked for as whom we want to act.
_NAMES: Final = NeedCallback(
    (
        Prompt(PromptId.AUTHNAME, "User name", default=""),
        Prompt(PromptId.USER, "Authorization name", default=""),
    )
)


class OauthbearerClient(ClientPlug):
    """The client's side."""

    name = "OAUTHBEARER"
    security_flags = SecurityFlag.NOANONYMOUS | SecurityFlag.PASS_CREDENTIALS
    features = Feature.WANT_CLIENT_FIRST | Feature.ALLOWS_PROXY
    required_prompts = (PromptId.TOKEN,)

    def converse(self, ctx: ClientContext) -> Needs[Success]:
        authid, authzid = yield from _NAMES
        wanted = authzid or authid or None
        _ = ctx.canon_user(authid or UNNAMED, authzid or None)
        # Imported here: a client that has PLAIN alone needs nothing of it.
        from sasl_tokens.bearer_client import present_token

        message = partial(
            make_client_message, authzid=wanted, host=ctx.host, port=_port(ctx.facts.remote)
        )
        return (yield from present_token(ctx, authid or None, message, ACKNOWLEDGEMENT))


def _port(remote: str | None) -> int | None:
    """The server's port, if the application said to whom it is connected ("address;port")."""
    port = (remote or "").rpartition(";")[2]
    return int(port) if port.isdecimal() and port.isascii() and 0 < int(port) < 65_536 else None
