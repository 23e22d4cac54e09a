"""A source of access tokens that stands for a person: a plugin `person` that nobody installed.

`TOKENS` are the tokens by user name; a name that is not there is nobody's, and none is given to
who asks another provider than `PROVIDER`, or in another way. They are of no use a second time, so
that each login asks the server first.
"""

from __future__ import annotations

from collections.abc import Sequence

from sasl_core.plugin import (
    AccessToken,
    AuthenticationError,
    CredentialsPlug,
    Needs,
    SaslUtils,
    TokenRequest,
    hookimpl,
)

__all__ = ["PROVIDER", "SASL_PLUGIN_API", "TOKENS", "Person", "sasl_credentials_init"]

SASL_PLUGIN_API = 1

TOKENS: dict[str | None, str] = {}
PROVIDER = ("https://idp.example.com", "conformance", ("openid", "groups"))
"""Issuer, client and scopes."""


class Person(CredentialsPlug):
    """Somebody who has logged in already, at whatever provider."""

    name = "person"
    human = True

    def token(self, request: TokenRequest) -> Needs[AccessToken]:
        yield from ()
        asked = (request.issuer, request.client_id, request.scopes)
        if request.username not in TOKENS or asked != PROVIDER:
            raise AuthenticationError(detail="the provider knows no such person, or no such client")
        return AccessToken(TOKENS[request.username], expires_at=0.0)


@hookimpl
def sasl_credentials_init(utils: SaslUtils) -> Sequence[CredentialsPlug]:
    """The plug."""
    del utils
    return [Person()]
