"""`oidc-provider-mock`: a provider that does as the standards allow, and whose tokens are no use.

Its access tokens are opaque, and its ID tokens name no key. Its discovery and its keys are fine.
Nobody gets in by what it issues; only an application that asks the provider itself can tell whose
an access token is.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from http.client import HTTPConnection
from typing import Any
from urllib.parse import parse_qs, urlencode, urlsplit

import attrs
import pytest

from daemons import Home, free_port, running
from oauth_kit import ACKNOWLEDGEMENT
from sasl_core import (
    AuthenticationError,
    BackendError,
    Client,
    ConfigError,
    HttpRequest,
    HttpResponse,
    Server,
)
from sasl_core.plugin import NeedHttp, Needs, TokenRequest
from sasl_credentials.callback import CallbackTokens
from sasl_http import HttpTransport
from sasl_tokens import JWKManager, discover, idp_manager
from sasl_tokens.bearer import BearerLogin, BearerRequest, set_validator
from token_kit import run, unb64

pytestmark = pytest.mark.interop

TLS = 256
CLIENT = "sasl-test-client"
PERSON = "tim"
SCOPE = "openid email"
BACK = "http://127.0.0.1/callback"
FORM = {"Content-Type": "application/x-www-form-urlencoded"}
BOTH = ("OAUTHBEARER", "XOAUTH2")


@dataclass(frozen=True)
class Mock:
    """The provider, at its port."""

    port: int

    @property
    def issuer(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def post(self, path: str, **fields: str) -> tuple[int, str | None, bytes]:
        """Status, where one is sent on to, and body."""
        connection = HTTPConnection("127.0.0.1", self.port, timeout=30)
        try:
            connection.request("POST", path, urlencode(fields), FORM)
            response = connection.getresponse()
            return response.status, response.getheader("Location"), response.read()
        finally:
            connection.close()

    def tokens(self) -> dict[str, Any]:
        """What a person who agrees at once brings home (RFC 6749 section 4.1)."""
        asked = {"client_id": CLIENT, "redirect_uri": BACK}
        query = urlencode({**asked, "response_type": "code", "scope": SCOPE})
        status, back, _ = self.post(f"/oauth2/authorize?{query}", sub=PERSON)
        assert status == 302
        (code,) = parse_qs(urlsplit(str(back)).query)["code"]
        status, _, body = self.post(
            "/oauth2/token",
            **asked,
            grant_type="authorization_code",
            code=code,
            client_secret="any",
        )
        assert status == 200
        tokens: dict[str, Any] = json.loads(body)
        return tokens

    def table(self, **more: object) -> dict[str, object]:
        """Its table for a server's configuration; None leaves a field out."""
        made = {
            "issuer": self.issuer,
            "audience": CLIENT,
            "authNamePrefix": "mock",
            "clientId": CLIENT,
            "useAuthorizationClaim": False,
            "allowLoopbackHttp": True,
            **more,
        }
        return {name: value for name, value in made.items() if value is not None}


class Http:
    """The default transport, and where it was sent."""

    def __init__(self, transport: HttpTransport) -> None:
        self._transport = transport
        self.paths: list[str] = []

    def __call__(self, request: HttpRequest) -> HttpResponse:
        self.paths.append(urlsplit(request.url).path)
        return self._transport(request)


@pytest.fixture(scope="module")
def mock(
    peers_python: Callable[[str], str], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Mock]:
    """The provider, for all tests: they change nothing about it."""
    program, port = peers_python("oidc-provider-mock"), free_port()
    home = Home(tmp_path_factory.mktemp("mock"), None)
    with running(home, [program, "-p", str(port)], port):
        yield Mock(port)


@pytest.fixture(scope="module")
def tokens(mock: Mock) -> Mapping[str, Any]:
    """What it gives to a person."""
    return mock.tokens()


@pytest.fixture
def http() -> Iterator[Http]:
    with HttpTransport() as transport:
        yield Http(transport)


@pytest.fixture
def server(mock: Mock, http: Http) -> Iterator[Server]:
    """A server that trusts the provider as far as it can."""
    config = {"identity_providers": [mock.table()], "auxprop_plugin": ["memory"]}
    with Server("mongodb", "localhost", config=config, http=http) as made:
        yield made


def refusal(server: Server, mechanism: str, token: str) -> tuple[str, bytes | None]:
    """The code of the refusal, and the last message to the client, if there was one."""
    with (
        Client("mongodb", "localhost", config={}) as client,
        client.session(authid=PERSON, token=token, external_ssf=TLS) as ours,
        server.session(external_ssf=TLS, success_data=True) as session,
    ):
        first, said = ours.start(mechanism), list[bytes | None]()

        def exchange() -> None:
            said.append(session.start(mechanism, first.data).data)
            session.step(ACKNOWLEDGEMENT[mechanism])

        with pytest.raises(AuthenticationError) as caught:
            exchange()
        assert not session.done
        error = caught.value
        assert token not in f"{error} {error.detail} {session.error_detail}"
        return error.code, said[0] if said else None


def test_its_discovery_and_its_keys_are_taken(mock: Mock, server: Server, http: Http) -> None:
    """One RSA key of which it does not say for what algorithm; it has an identifier."""
    found = run(discover(mock.issuer, allow_loopback_http=True), http)
    assert (found.issuer, found.jwks_uri) == (mock.issuer, f"{mock.issuer}/jwks")
    assert found.token_endpoint == f"{mock.issuer}/oauth2/token"
    manager = idp_manager(server.utils)
    assert server.run(manager.refresh_keys()) == ()
    ((key,),) = manager.list_keys().values()
    assert (key.kty, key.alg, bool(key.kid)) == ("RSA", None, True)


@pytest.mark.parametrize("mechanism", ["MONGODB-OIDC", *BOTH])
def test_an_opaque_access_token_is_refused(
    server: Server, http: Http, tokens: Mapping[str, Any], mechanism: str
) -> None:
    """It is no signed token, and nobody is asked about it."""
    code, said = refusal(server, mechanism, tokens["access_token"])
    assert code == "token-malformed"
    assert http.paths == []
    assert (said is None) == (mechanism == "MONGODB-OIDC")


@pytest.mark.parametrize("mechanism", ["MONGODB-OIDC", *BOTH])
def test_an_id_token_without_a_key_is_refused(
    server: Server, http: Http, tokens: Mapping[str, Any], mechanism: str
) -> None:
    """Its header has no `kid`: no key is tried, the only one neither, and none is fetched."""
    token = tokens["id_token"]
    assert json.loads(unb64(token.split(".")[0])) == {"alg": "RS256", "typ": "JWT"}
    code, _ = refusal(server, mechanism, token)
    assert code == "token-header"
    assert server.run(idp_manager(server.utils).refresh_keys()) == ()
    fetched = len(http.paths)
    code, _ = refusal(server, mechanism, token)
    assert (code, len(http.paths)) == ("token-header", fetched)


@pytest.mark.parametrize("mechanism", BOTH)
def test_the_client_is_told_where_to_get_another(
    mock: Mock, server: Server, tokens: Mapping[str, Any], mechanism: str
) -> None:
    """By OAUTHBEARER; XOAUTH2's error has no place for it. Neither says what was wrong."""
    _, said = refusal(server, mechanism, tokens["access_token"])
    place = f"{mock.issuer}/.well-known/openid-configuration"
    assert (
        json.loads(said or b"")
        == {
            "OAUTHBEARER": {"status": "invalid_token", "openid-configuration": place},
            "XOAUTH2": {"status": "400", "schemes": "Bearer"},
        }[mechanism]
    )


def test_a_person_who_went_there_is_refused_too(mock: Mock, server: Server) -> None:
    """Both steps of MONGODB-OIDC: the server names the provider, the person gets a token there."""
    asked: list[TokenRequest] = []

    def person(request: TokenRequest) -> str:
        asked.append(request)
        token: str = mock.tokens()["access_token"]
        return token

    config = {"mechanisms": {"MONGODB-OIDC": {"allow_loopback_http": True}}}
    source = CallbackTokens(person, human=True)
    with (
        Client("mongodb", "localhost", config=config, credentials=source) as client,
        client.session(authid=PERSON, external_ssf=TLS) as ours,
        server.session(external_ssf=TLS) as session,
    ):
        step = session.start("MONGODB-OIDC", ours.start("MONGODB-OIDC").data)
        token = ours.step(step.data or b"").data or b""
        with pytest.raises(AuthenticationError) as caught:
            session.step(token)
        assert caught.value.code == "token-malformed"
    (request,) = asked
    assert (request.issuer, request.client_id) == (mock.issuer, CLIENT)


def test_without_the_option_it_is_not_asked(mock: Mock) -> None:
    """Plain http is for whoever says `allowLoopbackHttp`, on the loopback too."""
    config = {
        "identity_providers": [mock.table(allowLoopbackHttp=None)],
        "auxprop_plugin": ["memory"],
    }
    with (
        Server("mongodb", "localhost", config=config) as server,
        pytest.raises(ConfigError, match=r"^.*\[0\]\.issuer"),
    ):
        idp_manager(server.utils)


def test_it_has_no_grant_for_machines(mock: Mock, http: Http) -> None:
    """Our source says what the provider says, without its secret."""
    source = {
        "issuer": mock.issuer,
        "client_id": CLIENT,
        "client_secret": "s3cret-that-is-not-shown",
        "allow_loopback_http": True,
    }
    config = {"credentials": {"client_credentials": source}}
    with (
        Client(
            "mongodb", "localhost", config=config, credentials="client_credentials", http=http
        ) as client,
        client.session(external_ssf=TLS) as ours,
        pytest.raises((AuthenticationError, BackendError)) as caught,
    ):
        ours.start("MONGODB-OIDC")
    assert "unsupported_grant_type" in (caught.value.detail or "")
    assert "s3cret" not in f"{caught.value} {caught.value.detail}"


def test_an_application_may_ask_the_provider(
    mock: Mock, http: Http, tokens: Mapping[str, Any]
) -> None:
    """Whose an opaque token is, its issuer says, at the place that its document names."""

    def ask(token: str, request: BearerRequest) -> Needs[BearerLogin | None]:
        found = yield from discover(mock.issuer, allow_loopback_http=True)
        place = found.address("userinfo_endpoint", allow_loopback_http=True)
        answer = yield from NeedHttp(
            HttpRequest(
                "GET",
                str(place),
                headers=(("authorization", f"Bearer {token}"),),
                cleartext=True,
            )
        )
        if answer.status != 200:
            return None
        return BearerLogin(json.loads(answer.body)["sub"], mock.issuer, 9e9)

    config = {"mechanisms": {name: {"validation": "application"} for name in BOTH}}
    with Server(
        "imap", "localhost", config={**config, "auxprop_plugin": ["memory"]}, http=http
    ) as server:
        set_validator(server.utils, ask)
        for mechanism in BOTH:
            with (
                Client("imap", "localhost", config={}) as client,
                client.session(
                    authid=PERSON, token=tokens["access_token"], external_ssf=TLS
                ) as ours,
                server.session(external_ssf=TLS, success_data=True) as session,
            ):
                ours.finish(session.start(mechanism, ours.start(mechanism).data).data)
                assert session.authid == PERSON
            assert refusal(server, mechanism, "no-token-of-its")[0] == "token-inactive"


def test_keys_are_not_taken_from_elsewhere(mock: Mock, http: Http) -> None:
    """The provider calls itself as it is called: its document is another issuer's then."""
    other = f"http://localhost:{mock.port}"
    keys = JWKManager(mock.issuer, allow_loopback_http=True)

    def misled(request: HttpRequest) -> HttpResponse:
        return http(attrs.evolve(request, url=request.url.replace(mock.issuer, other)))

    with pytest.raises(BackendError) as caught:
        run(keys.refresh(), misled)
    assert caught.value.code == "discovery"
    assert other in (caught.value.detail or "")
    assert keys.key_ids == ()
