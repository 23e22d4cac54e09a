"""MONGODB-OIDC, a login with an access token of an OpenID provider, as MongoDB speaks it.

Two steps, where the server is asked first which provider it trusts (a person will log in
there), or one, where the client has a token already. The token passes as it is: whoever
hears it can use it, so that the mechanism needs TLS as PLAIN does.
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
    from sasl_mechanisms.mongodb_oidc.server import MongodbOidcServer

    return [MongodbOidcServer(utils)]


@hookimpl
def sasl_client_plug_init(utils: SaslUtils) -> Sequence[ClientPlug]:
    """The client's plug."""
    from sasl_mechanisms.mongodb_oidc.client import MongodbOidcClient

    return [MongodbOidcClient(utils)]
