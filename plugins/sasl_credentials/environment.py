"""Tokens of the machine that we run on: what a cloud gives its machines, by its name.

`oidc_test`: a file that OIDC_TOKEN_FILE names. `oidc_k8s`: the file of a Kubernetes pod's
service account. `oidc_azure`: Azure's metadata service, for a managed identity. `oidc_gcp`:
Google's, for a service account.

The metadata services are asked in clear text: their addresses are of the machine's own cloud,
and nothing but that answers there.

Source: MONGODB-OIDC in MongoDB's driver authentication specification, "Built-in Provider
Integrations"; Azure's and Google's documentation of their metadata services.
"""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING, Final

import attrs

from sasl_core.plugin import (
    AccessToken,
    BackendError,
    ConfigError,
    CredentialsPlug,
    HttpRequest,
    NeedHttp,
    hookimpl,
)
from sasl_credentials.answers import bearer, parse_token_response, provider_error
from sasl_credentials.file import BELIEVED, token_from_file
from sasl_credentials.grants import ANSWER_LIMIT
from sasl_credentials.unconfigured import Unconfigured
from sasl_tokens.discovery import header
from sasl_tokens.forms import query

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from sasl_core.plugin import HttpResponse, Needs, SaslUtils, TokenRequest

__all__ = [
    "SASL_PLUGIN_API",
    "AzureOptions",
    "AzureTokens",
    "GcpOptions",
    "GcpTokens",
    "K8sTokens",
    "NoOptions",
    "TestTokens",
    "parse_gcp_response",
    "sasl_credentials_init",
]

SASL_PLUGIN_API = 1

SERVICE_ACCOUNT: Final = "/var/run/secrets/kubernetes.io/serviceaccount/token"
AZURE: Final = "http://169.254.169.254/metadata/identity/oauth2/token"
# The whole name, for a bare `metadata` is looked up in each of the search domains first.
GCP: Final = (
    "http://metadata.google.internal/computeMetadata/v1/instance/service-accounts/default/identity"
)
MONGODB: Final = "mongodb"


@attrs.frozen
class NoOptions:
    """`oidc_test` and `oidc_k8s` have no options."""


@attrs.frozen
class AzureOptions:
    """The options of `[credentials.oidc_azure]`.

    `resource`: what the token is for, its audience; mandatory. `client_id`: which of several
    managed identities; without it, for the service "mongodb", the user's name.
    """

    resource: str = ""
    client_id: str = ""


@attrs.frozen
class GcpOptions:
    """The options of `[credentials.oidc_gcp]`. `resource`: the token's audience; mandatory."""

    resource: str = ""


class TestTokens(CredentialsPlug):
    """The token in the file that OIDC_TOKEN_FILE names."""

    __test__ = False  # pytest takes the name for a collection of tests
    name = "oidc_test"
    variables: tuple[str, ...] = ("OIDC_TOKEN_FILE",)
    otherwise: str | None = None

    def __init__(
        self,
        *,
        environ: Mapping[str, str] | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._environ = os.environ if environ is None else environ
        self._clock = clock

    def token(self, request: TokenRequest) -> Needs[AccessToken]:
        del request
        named = (self._environ.get(name) for name in self.variables)
        path = next(filter(None, named), self.otherwise)
        if path is None:
            raise ConfigError(f"{self.name} needs the environment variable {self.variables[0]}")
        return (yield from token_from_file(path, self._clock))


class K8sTokens(TestTokens):
    """The token of the pod's service account; Azure's and AWS's own files go before it."""

    name = "oidc_k8s"
    variables = ("AZURE_FEDERATED_TOKEN_FILE", "AWS_WEB_IDENTITY_TOKEN_FILE")
    otherwise = SERVICE_ACCOUNT


class AzureTokens(CredentialsPlug):
    """A token of the machine's managed identity for `resource`.

    Raises:
        ConfigError: `resource` is empty.
    """

    name = "oidc_azure"

    def __init__(
        self,
        resource: str,
        *,
        client_id: str = "",
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._resource = _check(resource, self.name)
        self._client_id = client_id
        self._clock = clock

    def token(self, request: TokenRequest) -> Needs[AccessToken]:
        fields = [("api-version", "2018-02-01"), ("resource", self._resource)]
        client_id = self._client_id
        if not client_id and request.service == MONGODB:
            client_id = request.username or ""
        if client_id:
            fields.append(("client_id", client_id))
        response = yield from _ask(AZURE, fields, ("metadata", "true"), request)
        return parse_token_response(response, self._clock())


class GcpTokens(CredentialsPlug):
    """A token of the machine's service account for `resource`.

    Google's metadata service calls it an identity token. It is made for that audience, and it
    is what MongoDB's drivers send; no other kind names an audience.

    Raises:
        ConfigError: `resource` is empty.
    """

    name = "oidc_gcp"

    def __init__(self, resource: str, *, clock: Callable[[], float] = time.time) -> None:
        self._resource = _check(resource, self.name)
        self._clock = clock

    def token(self, request: TokenRequest) -> Needs[AccessToken]:
        fields = [("audience", self._resource)]
        response = yield from _ask(GCP, fields, ("metadata-flavor", "Google"), request)
        return AccessToken(parse_gcp_response(response), self._clock() + BELIEVED)


def parse_gcp_response(response: HttpResponse) -> str:
    """The token, which is the whole body of the answer of Google's metadata service.

    Raises:
        AuthenticationError, BackendError: it answered with an error.
        BackendError: it is somebody else's answer, or brings no token.
    """
    if response.status != 200:
        raise provider_error(response)
    flavor = header(response, "metadata-flavor")
    if flavor != "Google":
        raise BackendError(
            code="token-response", detail="it was not Google's metadata service that answered"
        )
    body = response.body.strip()
    return bearer(body.decode("ascii") if body.isascii() else None, "the metadata service's answer")


def _check(resource: str, name: str) -> str:
    if not resource:
        raise ConfigError("it is empty", key=f"credentials.{name}.resource")
    return resource


def _ask(
    url: str, fields: Sequence[tuple[str, str]], header: tuple[str, str], request: TokenRequest
) -> Needs[HttpResponse]:
    asked = HttpRequest(
        "GET",
        f"{url}?{query(fields)}",
        headers=(("accept", "application/json"), header),
        deadline=min(request.deadline, 10.0),
        limit=ANSWER_LIMIT,
        cleartext=True,
    )
    return (yield from NeedHttp(asked))


@hookimpl
def sasl_credentials_init(utils: SaslUtils) -> Sequence[CredentialsPlug]:
    """All four, each whether or not the others are configured."""
    for name in ("oidc_test", "oidc_k8s"):
        _ = utils.options(NoOptions, name)
    azure = utils.options(AzureOptions, "oidc_azure")
    gcp = utils.options(GcpOptions, "oidc_gcp")
    clock = utils.clock
    return [
        TestTokens(clock=clock),
        K8sTokens(clock=clock),
        AzureTokens(azure.resource, client_id=azure.client_id, clock=clock)
        if azure.resource
        else Unconfigured("oidc_azure", "resource"),
        GcpTokens(gcp.resource, clock=clock)
        if gcp.resource
        else Unconfigured("oidc_gcp", "resource"),
    ]
