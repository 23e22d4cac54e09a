"""The sources of access tokens that come with sasl-core pass the conformance kit."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any, ClassVar

import attrs
import pytest

from sasl_core.plugin import (
    AccessToken,
    BackendError,
    CredentialsPlug,
    HttpRequest,
    HttpResponse,
    TokenRequest,
)
from sasl_core.testing import ClientSetup, CredentialsConformance
from sasl_credentials import CallbackTokens, K8sTokens
from token_kit import FakeIssuer, json_response

TOKEN = "ya29.vF9dft4qmTc2Nvb3RlckBhdHRhdmlzdGEuY29tCg=="
SECRET = "wonder+land:first"
REFRESH = "1//refresh-7315"
ISSUER = FakeIssuer("https://idp.example.com")
ANSWER = json_response(
    {
        "access_token": TOKEN,
        "id_token": "eyJhbGciOiJub25lIn0.e30.",
        "token_type": "Bearer",
        "expires_in": 3600,
        "scope": "mail",
    }
)
ISSUER.answers["/token"] = ANSWER


class Sources(CredentialsConformance):
    """One token, wherever it comes from."""

    token = TOKEN
    packages = ("sasl_credentials", "sasl_tokens")


# --- files ----------------------------------------------------------------------------


class FromFile(Sources):
    """A file that holds the token."""

    @pytest.fixture(autouse=True)
    def written(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.path = tmp_path / "token"
        self.path.write_text(f"{TOKEN}\n")
        self.path.chmod(0o600)
        monkeypatch.setenv("OIDC_TOKEN_FILE", str(self.path))


class TestTokenFile(FromFile):
    """`token_file`."""

    name = "token_file"

    def client_setup(self) -> ClientSetup:
        config = {"credentials": {"token_file": {"path": str(self.path)}}}
        return attrs.evolve(super().client_setup(), config=config)


class TestOidcTest(FromFile):
    """`oidc_test`."""

    name = "oidc_test"


class TestOidcK8s(FromFile):
    """`oidc_k8s`."""

    name = "oidc_k8s"

    def client_setup(self) -> ClientSetup:
        environ = {"AZURE_FEDERATED_TOKEN_FILE": str(self.path)}
        return attrs.evolve(super().client_setup(), credentials=K8sTokens(environ=environ))


# --- over HTTP --------------------------------------------------------------------------


class TestOidcAzure(Sources):
    """`oidc_azure`."""

    name = "oidc_azure"
    config = {"credentials": {"oidc_azure": {"resource": "api://mail"}}}

    def http(self, request: HttpRequest) -> HttpResponse:
        return ANSWER


class TestOidcGcp(Sources):
    """`oidc_gcp`."""

    name = "oidc_gcp"
    config = {"credentials": {"oidc_gcp": {"resource": "mail"}}}

    def http(self, request: HttpRequest) -> HttpResponse:
        return HttpResponse(200, (("metadata-flavor", "Google"),), TOKEN.encode())


class TestClientCredentials(Sources):
    """`client_credentials`, whose provider is discovered, and is shown the secret in a header."""

    name = "client_credentials"
    own_secrets = (SECRET,)
    options: Mapping[str, Any] = MappingProxyType({"issuer": ISSUER.url, "client_secret": SECRET})

    def http(self, request: HttpRequest) -> HttpResponse:
        return ISSUER.http(request)

    def client_setup(self) -> ClientSetup:
        config = {"credentials": {self.name: {"client_id": "mail", **self.options}}}
        return attrs.evolve(super().client_setup(), config=config)


class TestClientCredentialsPost(TestClientCredentials):
    """The secret comes from a file, and is shown in the form."""

    @pytest.fixture(autouse=True)
    def written(self, tmp_path: Path) -> None:
        path = tmp_path / "secret"
        path.write_text(f"{SECRET}\n")
        path.chmod(0o600)
        self.options = {
            "token_endpoint": f"{ISSUER.url}/token",
            "client_secret_file": str(path),
            "auth_method": "client_secret_post",
        }


# --- the application's own ----------------------------------------------------------------


def give(request: TokenRequest) -> str:
    """The token alone."""
    return TOKEN


async def give_later(request: TokenRequest) -> AccessToken:
    """The token, and until when it is good."""
    return AccessToken(TOKEN, 9e9, REFRESH)


def give_nothing(request: TokenRequest) -> str:
    """Asked for what a refresh token should have given."""
    raise BackendError(detail="nobody is there")


class Callbacks(Sources):
    """A function of the application."""

    name = "callback"
    source: ClassVar[CredentialsPlug]

    def client_setup(self) -> ClientSetup:
        return attrs.evolve(super().client_setup(), credentials=self.source)


class TestCallback(Callbacks):
    """A plain function."""

    source = CallbackTokens(give)


class TestCoroutineCallback(Callbacks):
    """A coroutine function, which needs an event loop."""

    source = CallbackTokens(give_later)
    drivers = ("asyncio",)


class TestRefreshingCallback(Callbacks):
    """Of a person, whose refresh token is exchanged at the provider."""

    source = CallbackTokens(give_nothing, human=True, refresh=True)
    request = TokenRequest(
        "imap",
        "mail.example.com",
        username="ada",
        issuer=ISSUER.url,
        client_id="mail",
        refresh_token=REFRESH,
    )

    def http(self, request: HttpRequest) -> HttpResponse:
        return ISSUER.http(request)
