"""The hook is called `sasl_server_plugin_init`, by mistake."""

from __future__ import annotations

from collections.abc import Sequence

from sasl_core.plugin import (
    NeedPeer,
    Needs,
    SaslUtils,
    ServerContext,
    ServerPlug,
    Success,
    hookimpl,
)

SASL_PLUGIN_API = 1


class Server(ServerPlug):
    """Would check a password, if anybody called the hook."""

    name = "X-MISTYPED"

    def converse(self, ctx: ServerContext) -> Needs[Success]:
        user, _, password = (yield from NeedPeer()).decode().partition(" ")
        return Success((yield from ctx.check_password(user, password)))


@hookimpl
def sasl_server_plugin_init(utils: SaslUtils) -> Sequence[ServerPlug]:
    """Not the name of a hook."""
    return [Server()]
