"""A mechanism called X-KNOCK, as somebody else's is: nobody's, until the administrator chooses."""

from __future__ import annotations

from collections.abc import Sequence

from sasl_core.plugin import (
    Feature,
    NeedPeer,
    Needs,
    PeerError,
    SaslUtils,
    ServerContext,
    ServerPlug,
    Success,
    hookimpl,
)

SASL_PLUGIN_API = 1


class RivalServer(ServerPlug):
    """Another mechanism under the same name: user name, a blank, password."""

    name = "X-KNOCK"
    features = Feature.WANT_CLIENT_FIRST

    def converse(self, ctx: ServerContext) -> Needs[Success]:
        user, blank, password = (yield from NeedPeer()).decode("ascii", "replace").partition(" ")
        if not blank:
            raise PeerError("no blank in the message")
        return Success((yield from ctx.check_password(user, password)))


@hookimpl
def sasl_server_plug_init(utils: SaslUtils) -> Sequence[ServerPlug]:
    """The server's side; there is no other."""
    return [RivalServer()]
