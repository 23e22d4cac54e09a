"""The sources of access tokens that come with sasl-core pass the conformance kit."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import Any, ClassVar

import attrs
import pytest

from person_kit import Browser, PersonIssuer
from sasl_core.plugin import (
    AccessToken,
    BackendError,
    Blocking,
    CredentialsPlug,
    HttpRequest,
    HttpResponse,
    NeedCall,
    Needs,
    TokenRequest,
)
from sasl_core.testing import ClientSetup, CredentialsConformance
from sasl_credentials import (
    AuthorizationCode,
    AuthorizationCodeOptions,
    CallbackTokens,
    DeviceCode,
    DeviceCodeOptions,
    K8sTokens,
)
from token_kit import FakeIssuer, Ticking, json_response

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


# --- a person's ----------------------------------------------------------------------------


# What the person's browser and screen are; not in the source's own hands, where the kit looks for
# tokens that are kept.
PERSON: dict[str, Callable[[Any], Any]] = {}


def open_browser(url: str) -> object:
    return PERSON["browser"](url)


def show(prompt: object) -> object:
    return PERSON["screen"](prompt)


class People(Sources):
    """A person at a provider, whose answers all pass through the kit's hands."""

    request = TokenRequest("imap", "mail.example.com", deadline=300.0)
    own_secrets = (SECRET,)
    source: CredentialsPlug

    def http(self, request: HttpRequest) -> HttpResponse:
        return self.provider.http(request)

    def client_setup(self) -> ClientSetup:
        return attrs.evolve(super().client_setup(), credentials=self.source)

    def make_provider(self) -> PersonIssuer:
        self.provider = PersonIssuer(ISSUER.url)
        self.provider.token_answer = {"access_token": TOKEN, "refresh_token": REFRESH}
        return self.provider


class TestAuthorizationCode(People):
    """`authorization_code`, with a browser that comes back at once."""

    name = "authorization_code"

    @pytest.fixture(autouse=True)
    def at_the_provider(self, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
        PERSON["browser"] = browser = Browser(self.make_provider(), at_home=False)
        options = AuthorizationCodeOptions(
            issuer=ISSUER.url, client_id="mail", client_secret=SECRET, scope=("openid",)
        )
        self.source = AuthorizationCode(options, open_browser=open_browser)
        # A browser whose login is closed under it does not come for its page.
        monkeypatch.setattr("sasl_credentials.redirect.desk.GRACE", 0.5)
        yield
        browser.join()


class TestDeviceCode(People):
    """`device_code`; the provider is asked three times, and time is the kit's."""

    name = "device_code"

    @pytest.fixture(autouse=True)
    def at_the_provider(self) -> None:
        provider = self.make_provider()
        clock = Ticking(0.0)

        def pending(prompt: object) -> None:
            provider.polls = ["authorization_pending", "slow_down"]

        def wait(seconds: float) -> Needs[None]:
            yield from NeedCall(partial(clock.tick, seconds), Blocking.LOCAL)

        PERSON["screen"] = pending
        options = DeviceCodeOptions(issuer=ISSUER.url, client_id="mail", client_secret=SECRET)
        self.source = DeviceCode(options, show=show, monotonic=clock, wait=wait)


class TestRefreshedPerson(TestDeviceCode):
    """Whose refresh token is all that is needed."""

    request = attrs.evolve(People.request, refresh_token=REFRESH)
