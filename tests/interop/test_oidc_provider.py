"""npm `oidc-provider`, a certified OpenID provider, on loopback TLS with an authority of its own.

Our source of tokens fetches from it by client credentials, and our servers believe what it
signs, by MONGODB-OIDC and by OAUTHBEARER.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from jwt.algorithms import RSAAlgorithm

from cli_runs import Sasl
from oidc_provider import AUDIENCE, CLIENT, OidcProvider, make_private_jwk
from sasl_core import (
    AuthenticationError,
    BackendError,
    Client,
    HttpRequest,
    HttpResponse,
    SaslError,
    Server,
    aio,
)
from sasl_http import HttpTransport
from sasl_tokens import idp_manager
from tls_kit import make_tls
from token_kit import SigningKey, make_key

pytestmark = pytest.mark.interop

ALGORITHMS = ("RS256", "PS256", "ES256", "EdDSA")
TLS = 256
Config = Mapping[str, object]


@pytest.fixture
def start(
    tmp_path: Path, node_modules: Callable[[str], Path]
) -> Iterator[Callable[..., OidcProvider]]:
    """Starts providers; each is ended."""
    modules = node_modules("oidc-provider")
    started: list[OidcProvider] = []

    def make(*keys: dict[str, Any], **more: Any) -> OidcProvider:
        given = keys or (make_private_jwk("RS256", "first"),)
        provider = OidcProvider(tmp_path / f"idp{len(started)}", modules, given, **more)
        started.append(provider)
        return provider

    yield make
    for provider in started:
        provider.__exit__()


@pytest.fixture
def http() -> Iterator[HttpTransport]:
    """The default transport."""
    transport = HttpTransport()
    yield transport
    transport.close()


def servers(provider: Config, **more: object) -> Config:
    return {"identity_providers": [provider], "auxprop_plugin": ["memory"], **more}


def log_in(server: Server, client: Client, mechanism: str = "MONGODB-OIDC", **given: Any) -> Any:
    """Log in through both sides; the server's session, open."""
    ours = client.session(external_ssf=TLS, success_data=True, **given)
    session = server.session(external_ssf=TLS, success_data=True)
    try:
        first = ours.start(mechanism)
        reply = session.start(mechanism, first.data)
        while not reply.done:
            assert reply.data is not None
            reply = session.step(ours.step(reply.data).data or b"")
        ours.finish(reply.data)
    finally:
        ours.close()
    return session


def fetching(provider: OidcProvider, http: Any, **more: object) -> Client:
    """A client whose tokens come from the provider."""
    config = {"credentials": {"client_credentials": provider.source(**more)}}
    return Client(
        "mongodb", "localhost", config=config, credentials="client_credentials", http=http
    )


def refused(server: Server, client: Client, **given: Any) -> SaslError:
    """The error that a login meets."""
    with pytest.raises(SaslError) as caught:
        log_in(server, client, **given)
    return caught.value


@pytest.mark.parametrize("mechanism", ["MONGODB-OIDC", "OAUTHBEARER", "XOAUTH2"])
@pytest.mark.parametrize("alg", ALGORITHMS)
def test_a_login_by_client_credentials(
    start: Callable[..., OidcProvider], http: HttpTransport, alg: str, mechanism: str
) -> None:
    """Tokens signed by each algorithm let their client in, with the groups as roles."""
    provider = start(make_private_jwk(alg, "k"))
    config = servers(provider.provider())
    # XOAUTH2 cannot do without a name; the others can.
    named = {"authid": CLIENT[0]} if mechanism == "XOAUTH2" else {}
    with (
        Server("mongodb", "localhost", config=config, http=http) as server,
        fetching(provider, http) as client,
        log_in(server, client, mechanism, **named) as session,
    ):
        assert session.authid == f"test/{CLIENT[0]}"
        roles = session.properties.get("roles")
        prefix = b"admin.test/" if mechanism == "MONGODB-OIDC" else b"test/"
        assert roles == (prefix + b"readers", prefix + b"writers")
        assert session.valid()
        session.revalidate()
        assert session.valid()


def test_asyncio_servers_do_too(start: Callable[..., OidcProvider], http: HttpTransport) -> None:
    """Ten logins at once with the first token of a provider cause one fetch of its keys."""
    provider = start()
    with fetching(provider, http) as client, client.session(external_ssf=TLS) as ours:
        first = ours.start("MONGODB-OIDC").data

    async def main() -> None:
        config = servers(provider.provider())
        async with aio.Server("mongodb", "localhost", config=config, http=http) as server:

            async def one() -> str:
                async with server.session(external_ssf=TLS) as session:
                    assert (await session.start("MONGODB-OIDC", first)).done
                    return session.authid

            assert set(await asyncio.gather(*(one() for _ in range(10)))) == {f"test/{CLIENT[0]}"}

    asyncio.run(main())
    assert provider.count("/jwks") == 1


def test_a_new_key_is_picked_up_by_one_fetch_and_a_removed_one_ends_logins(
    start: Callable[..., OidcProvider], http: HttpTransport, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Rotation: both keys, then the new one alone."""
    old, new = make_private_jwk("RS256", "old"), make_private_jwk("ES256", "new")
    provider = start(old)
    config = servers(provider.provider())
    with Server("mongodb", "localhost", config=config, http=http) as server:
        with fetching(provider, http) as client:
            session = log_in(server, client)
        assert provider.count("/jwks") == 1
        provider.rotate([new, old])
        # The quiesce period has passed.
        shift = [0.0]
        now = time.time
        monkeypatch.setattr("sasl_core.utils.time.time", lambda: now() + shift[0])
        shift[0] = 61.0
        with fetching(provider, http) as client:
            for _ in range(3):
                log_in(server, client).close()
        assert provider.count("/jwks") == 2
        assert session.valid()
        provider.rotate([new])
        failures = server.run(idp_manager(server.utils).refresh_keys())
        assert failures == ()
        assert not session.valid()
        with pytest.raises(AuthenticationError):
            session.revalidate()
        session.close()
        with fetching(provider, http) as client:
            log_in(server, client).close()


def test_the_type_of_rfc_9068_needs_its_option(
    start: Callable[..., OidcProvider], http: HttpTransport
) -> None:
    """A provider that marks access tokens as `at+jwt` is refused until that is allowed."""
    provider = start(typ="at+jwt")
    with fetching(provider, http) as client:
        config = servers(provider.provider())
        with Server("mongodb", "localhost", config=config, http=http) as server:
            assert refused(server, client).code == "token-type"
    with fetching(provider, http) as client:
        config = servers(provider.provider(acceptAccessTokenType=True))
        with Server("mongodb", "localhost", config=config, http=http) as server:
            log_in(server, client).close()


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"audience": "urn:another"}, "token-audience"),
        ({"issuer": "https://localhost:1"}, "token-issuer"),
        ({"authorizationClaim": "teams"}, "token-claim-missing"),
        ({"authorizationClaim": "client_id"}, "token-claim-type"),
        ({"maxLifetimeSecs": 60}, "token-lifetime"),
        ({"principalName": "email"}, "token-claim-missing"),
    ],
)
def test_what_a_server_refuses(
    start: Callable[..., OidcProvider], http: HttpTransport, change: Config, code: str
) -> None:
    """A genuine token that is not for this server, or says too little."""
    provider = start()
    config = servers(provider.provider(**change))
    with (
        Server("mongodb", "localhost", config=config, http=http) as server,
        fetching(provider, http) as client,
    ):
        assert refused(server, client).code == code


def test_a_token_lapses_with_its_session(
    start: Callable[..., OidcProvider], http: HttpTransport, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After `exp` the session does not stand, and the token lets nobody in any more."""
    provider = start(ttl=60)
    config = servers(provider.provider())
    with (
        Server("mongodb", "localhost", config=config, http=http) as server,
        fetching(provider, http) as client,
    ):
        with client.session(external_ssf=TLS) as ours:
            first = ours.start("MONGODB-OIDC").data
        session = server.session(external_ssf=TLS)
        assert session.start("MONGODB-OIDC", first).done
        now = time.time
        monkeypatch.setattr("sasl_core.utils.time.time", lambda: now() + 61)
        assert not session.valid()
        with (
            server.session(external_ssf=TLS) as again,
            pytest.raises(AuthenticationError) as caught,
        ):
            again.start("MONGODB-OIDC", first)
        assert caught.value.code == "token-expired"


def test_the_private_authority_is_necessary(
    start: Callable[..., OidcProvider], http: HttpTransport
) -> None:
    """Without serverCAFile its certificate is not trusted: an outage, and nobody is let in."""
    provider = start()
    table = provider.provider()
    del table["serverCAFile"]
    with (
        Server("mongodb", "localhost", config=servers(table), http=http) as server,
        fetching(provider, http) as client,
    ):
        error = refused(server, client)
        assert isinstance(error, BackendError)
        assert error.temporary
        assert "certificate" in (error.detail or "")
    with fetching(provider, http, ca_file=str(_other_authority(provider))) as client:
        config = servers(provider.provider())
        with Server("mongodb", "localhost", config=config, http=http) as server:
            assert isinstance(refused(server, client), BackendError)


def _other_authority(provider: OidcProvider) -> Path:
    folder = Path(provider.ca_file).parent / "other"
    folder.mkdir()
    return make_tls(folder).certificate


def test_a_wrong_secret_is_refused_by_the_provider(
    start: Callable[..., OidcProvider], http: HttpTransport
) -> None:
    """No token, and no secret in what is said of it."""
    provider = start()
    with fetching(provider, http, client_secret="not-the-secret-of-this-client") as client:
        with client.session(external_ssf=TLS) as ours, pytest.raises(SaslError) as caught:
            ours.start("MONGODB-OIDC")
        assert "not-the-secret" not in str(caught.value) + (caught.value.detail or "")


def test_an_id_token_of_the_same_key_is_refused(
    start: Callable[..., OidcProvider], http: HttpTransport
) -> None:
    """What only a client should see lets nobody in, although the key and the times are right."""
    key: SigningKey = make_key("RS256", "idtoken")
    jwk = json.loads(RSAAlgorithm.to_jwk(key.private))
    jwk.pop("key_ops", None)
    provider = start({**jwk, "kid": "idtoken", "alg": "RS256", "use": "sig"})
    claims = {"iss": provider.issuer, "aud": AUDIENCE, "sub": "tim", "exp": 4102444800}
    config = servers(provider.provider(useAuthorizationClaim=True))
    with Server("mongodb", "localhost", config=config, http=http) as server:
        for more, accepted in (
            ({"groups": ["a"]}, True),
            ({"groups": ["a"], "at_hash": "x"}, False),
            ({"groups": ["a"], "token_use": "id"}, False),
        ):
            with Client("mongodb", "localhost", config={}) as client:
                token = key.sign({**claims, **more})
                if accepted:
                    log_in(server, client, token=token).close()
                else:
                    assert refused(server, client, token=token).code == "token-id-token"


def test_sasl_token_fetch_and_validate(start: Callable[..., OidcProvider], tmp_path: Path) -> None:
    """The command line fetches a token, and another command finds it valid."""
    provider = start()
    config = tmp_path / "sasl.toml"
    source = "\n".join(f"{k} = {json.dumps(v)}" for k, v in provider.source().items())
    idp = "\n".join(f"{k} = {json.dumps(v)}" for k, v in provider.provider().items())
    config.write_text(
        f"[credentials.client_credentials]\n{source}\n[[identity_providers]]\n{idp}\n"
    )
    config.chmod(0o600)
    sasl = Sasl(tmp_path)
    fetched = sasl.run("token", "fetch", "--source", "client_credentials", "--config", str(config))
    assert fetched.returncode == 0, fetched
    assert fetched.stdout.count(".") == 2
    token = fetched.stdout.encode()
    checked = sasl.run("token", "validate", "--config", str(config), stdin=token)
    assert checked.returncode == 0, checked
    assert f"test/{CLIENT[0]}" in checked.stdout


def test_what_the_transport_hands_over_is_what_the_provider_says(
    start: Callable[..., OidcProvider], http: HttpTransport
) -> None:
    """Discovery by the raw driver's way: a request, a response."""
    provider = start()
    url = provider.issuer + "/.well-known/openid-configuration"
    response: HttpResponse = http(HttpRequest("GET", url, ca_file=provider.ca_file))
    assert response.status == 200
    assert json.loads(response.body)["issuer"] == provider.issuer
