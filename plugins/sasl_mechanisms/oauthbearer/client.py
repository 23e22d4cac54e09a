"""OAUTHBEARER, the client's side (RFC 7628 section 3.1)."""

from __future__ import annotations

from functools import partial
from typing import Final

from sasl_core.plugin import (
    ClientContext,
    ClientPlug,
    NeedCallback,
    Needs,
    Prompt,
    PromptId,
    Success,
)
from sasl_mechanisms.oauthbearer.messages import ACKNOWLEDGEMENT, make_client_message
from sasl_tokens.bearer_plugs import FEATURES, FLAGS
from sasl_tokens.terms import UNNAMED

__all__ = ["OauthbearerClient"]

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
    security_flags = FLAGS
    features = FEATURES
    required_prompts = (PromptId.TOKEN,)

    def converse(self, ctx: ClientContext) -> Needs[Success]:
        authid, authzid = yield from _NAMES
        wanted = authzid or authid or None
        # The server says yes or no to the name that it is told; whose the token is, it keeps.
        _ = ctx.canon_user(UNNAMED, wanted)
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
