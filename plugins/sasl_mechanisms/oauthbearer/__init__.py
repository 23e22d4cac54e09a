"""OAUTHBEARER: an access token of OAuth 2.0 in place of a password (RFC 7628).

    C: n,a=user@example.com,^Ahost=server.example.com^Aauth=Bearer vF9dft4...^A^A
    S: (success)                            or   {"status":"invalid_token","scope":"mail"}
                                            C:   ^A
                                            S:   (failure)

What it shares with XOAUTH2 is in the library `sasl_tokens`: `bearer`, who checks a token and
by which options; `bearer_client`, where a client's token comes from.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from sasl_core.plugin import hookimpl

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sasl_core.plugin import ClientPlug, SaslUtils, ServerPlug

__all__ = ["SASL_PLUGIN_API", "sasl_client_plug_init", "sasl_server_plug_init"]

SASL_PLUGIN_API = 1


@hookimpl
def sasl_server_plug_init(utils: SaslUtils) -> Sequence[ServerPlug]:
    """The server's plug."""
    from sasl_mechanisms.oauthbearer.server import OauthbearerServer

    return [OauthbearerServer(utils)]


@hookimpl
def sasl_client_plug_init(utils: SaslUtils) -> Sequence[ClientPlug]:
    """The client's plug. The options are read here too, for one file may serve both sides."""
    from sasl_mechanisms.oauthbearer.client import OauthbearerClient
    from sasl_tokens.bearer_options import bearer_options

    _ = bearer_options(utils)
    return [OauthbearerClient()]
