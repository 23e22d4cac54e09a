"""MONGODB-OIDC, the server's side. Who may log in with which token says the `IDPManager`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from sasl_core.plugin import (
    ConfigError,
    NeedPeer,
    Needs,
    ServerContext,
    ServerPlug,
    Success,
    UsageError,
)
from sasl_mechanisms.mongodb_oidc.flags import FEATURES, FLAGS, NAME
from sasl_mechanisms.mongodb_oidc.messages import (
    ClientStep2,
    ServerStep1,
    format_server_step1,
    parse_client_opening,
    parse_client_step2,
)
from sasl_mechanisms.mongodb_oidc.options import MongodbOidcOptions
from sasl_tokens.errors import TokenError
from sasl_tokens.manager import idp_manager
from sasl_tokens.names import Namespaces

if TYPE_CHECKING:
    from sasl_core.plugin import SaslUtils

__all__ = ["MongodbOidcServer"]


class MongodbOidcServer(ServerPlug):
    """The server's side."""

    name = NAME
    security_flags = FLAGS
    features = FEATURES

    def __init__(self, utils: SaslUtils) -> None:
        self._namespaces = _namespaces(utils.options(MongodbOidcOptions, NAME))
        self._manager = idp_manager(utils)

    def availability(self) -> str | None:
        if self._manager.configured:
            return None
        return "no identity provider is configured: add [[identity_providers]]"

    def converse(self, ctx: ServerContext) -> Needs[Success]:
        manager = self._manager
        opening = parse_client_opening((yield from _FIRST))
        hint = None
        if isinstance(opening, ClientStep2):
            token = opening.jwt
        else:
            hint = opening.principal_name
            config = manager.select(hint).config
            step = ServerStep1(config.issuer, config.client_id, config.request_scopes or ())
            answer = parse_client_step2((yield from NeedPeer(format_server_step1(step))))
            if answer is None:
                raise TokenError("oidc-second-step-one", "a token was due, and there is no jwt")
            token = answer.jwt
        login = yield from manager.authenticate(token, hint=hint, namespaces=self._namespaces)
        return Success(ctx.accept_token(login))


_FIRST: Final = NeedPeer()


def _namespaces(options: MongodbOidcOptions) -> Namespaces:
    try:
        return Namespaces(options.user_namespace, options.role_namespace)
    except UsageError as error:
        problem = str(error)
    raise ConfigError(f"user_namespace, role_namespace: {problem}", key=f"mechanisms.{NAME}")
