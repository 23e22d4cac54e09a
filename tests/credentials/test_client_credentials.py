"""Tokens by the client credentials grant: what a provider is told, and what it may answer."""

from __future__ import annotations

from base64 import b64decode
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl

import pytest

from sasl_core import AuthenticationError, BackendError, Client, ConfigError, PluginError
from sasl_core.plugin import AccessToken, HttpRequest, HttpResponse, TokenRequest
from sasl_credentials import AuthMethod, ClientCredentials, ClientCredentialsOptions
from sasl_credentials.answers import LONGEST
from sasl_credentials.grants import ANSWER_LIMIT
from token_kit import NOW, FakeIssuer, Ticking, json_response, run

ISSUER = "https://issuer.example.com/tenant"
ANY = TokenRequest("imap", "mail.example.com", "tim", "https://evil.example.com", "evil", ("all",))
GOOD: dict[str, object] = {
    "access_token": "abc.def.ghi",
    "token_type": "Bearer",
    "expires_in": 3600,
    "id_token": "id.token.never",
    "scope": "mail",
}


def source(**more: Any) -> ClientCredentials:
    """A source of which only the given options are out of the ordinary."""
    options: dict[str, Any] = {"client_id": "app", "issuer": ISSUER, "client_secret": "s3cr3t"}
    made = {name: value for name, value in {**options, **more}.items() if value is not None}
    return ClientCredentials(ClientCredentialsOptions(**made), clock=Ticking())


def provider(answer: object = GOOD, status: int = 200) -> FakeIssuer:
    """A provider whose token endpoint answers so."""
    issuer = FakeIssuer(ISSUER)
    response = answer if isinstance(answer, HttpResponse) else json_response(answer, status)
    issuer.answers["/tenant/token"] = response
    return issuer


def form(request: HttpRequest) -> list[tuple[str, str]]:
    """The fields of a form that was posted."""
    headers = dict(request.headers)
    assert request.method == "POST"
    assert headers["content-type"] == "application/x-www-form-urlencoded"
    assert headers["accept"] == "application/json"
    return parse_qsl(request.body.decode("ascii"), strict_parsing=True)


def test_the_token_endpoint_is_discovered() -> None:
    """And nothing but the access token is taken of what it answers: never the ID token."""
    issuer = provider()
    assert run(source().token(ANY), issuer.http) == AccessToken("abc.def.ghi", NOW + 3600)
    assert [request.url for request in issuer.requests] == [
        f"{ISSUER}/.well-known/openid-configuration",
        f"{ISSUER}/token",
    ]
    assert form(issuer.requests[1]) == [("grant_type", "client_credentials")]
    assert not any(request.cleartext for request in issuer.requests)
    assert issuer.requests[1].limit == ANSWER_LIMIT


def test_rfc_8414s_place_is_asked_when_openids_is_empty() -> None:
    """Its well-known part stands before the issuer's path."""
    issuer = provider()
    issuer.answers["/tenant/.well-known/openid-configuration"] = json_response({}, 404)
    issuer.answers["/.well-known/oauth-authorization-server/tenant"] = json_response(
        issuer.discovery()
    )
    assert run(source().token(ANY), issuer.http).value == "abc.def.ghi"
    assert issuer.asked("/.well-known/oauth-authorization-server/tenant") == 1


def test_an_endpoint_of_ones_own_needs_no_discovery() -> None:
    """One request; the private authorities go with it."""
    issuer = provider()
    made = source(issuer=None, token_endpoint=f"{ISSUER}/token", ca_file=Path("/ca.pem"))
    assert run(made.token(ANY), issuer.http).value == "abc.def.ghi"
    (request,) = issuer.requests
    assert request.ca_file == "/ca.pem"


def test_the_secret_is_shown_in_a_header() -> None:
    """Both halves as in a form, so that neither's colon is the colon (RFC 6749 section 2.3.1)."""
    issuer = provider()
    made = source(client_id="a:b ü*", client_secret="c:d %é~")
    _ = run(made.token(ANY), issuer.http)
    scheme, _, credentials = dict(issuer.requests[1].headers)["authorization"].partition(" ")
    assert scheme == "Basic"
    assert b64decode(credentials, validate=True) == b"a%3Ab+%C3%BC*:c%3Ad+%25%C3%A9%7E"
    assert form(issuer.requests[1]) == [("grant_type", "client_credentials")]


def test_the_secret_is_shown_in_the_form() -> None:
    """Where the provider wants it so; and everything else that is configured is told."""
    issuer = provider()
    made = source(
        auth_method=AuthMethod.POST,
        scope=("mail", "https://x/.default"),
        resource=("urn:a", "urn:b"),
        audience="the api",
    )
    _ = run(made.token(ANY), issuer.http)
    assert "authorization" not in dict(issuer.requests[1].headers)
    assert form(issuer.requests[1]) == [
        ("grant_type", "client_credentials"),
        ("scope", "mail https://x/.default"),
        ("resource", "urn:a"),
        ("resource", "urn:b"),
        ("audience", "the api"),
        ("client_id", "app"),
        ("client_secret", "s3cr3t"),
    ]


def test_the_secret_is_in_a_file_that_is_read_anew(tmp_path: Path) -> None:
    """It can be replaced without a restart."""
    issuer, path = provider(), tmp_path / "secret"
    made = source(client_secret=None, client_secret_file=path, auth_method=AuthMethod.POST)
    for secret in ("one", "two"):
        path.write_text(f"{secret}\n")
        path.chmod(0o600)
        _ = run(made.token(ANY), issuer.http)
        assert form(issuer.requests[-1])[-1] == ("client_secret", secret)


def test_what_a_server_says_of_its_provider_is_not_heeded() -> None:
    """The secret goes where the configuration says, and asks for what that says."""
    issuer = provider()
    _ = run(source().token(ANY), issuer.http)
    everything = repr([(each.url, each.headers, each.body) for each in issuer.requests])
    assert "evil" not in everything
    assert "all" not in everything


def test_http_is_for_this_machine_and_only_when_allowed() -> None:
    """And then the transport is told that it is meant."""
    issuer = FakeIssuer("http://127.0.0.1:8080")
    issuer.answers["/token"] = json_response(GOOD)
    made = source(issuer="http://127.0.0.1:8080", allow_loopback_http=True)
    assert run(made.token(ANY), issuer.http).value == "abc.def.ghi"
    assert [request.cleartext for request in issuer.requests] == [True, True]
    for url in ("http://127.0.0.1:8080", "http://issuer.example.com", "ftp://x", "https://a@b"):
        with pytest.raises(ConfigError) as caught:
            _ = source(issuer=url)
        assert caught.value.key == "credentials.client_credentials.issuer"
    with pytest.raises(ConfigError, match="allow_loopback_http"):
        _ = source(issuer="http://localhost")


def test_an_endpoint_that_may_not_be_asked_gets_no_secret() -> None:
    """A discovery document may not lead from https to http."""
    issuer = provider()
    issuer.metadata["token_endpoint"] = "http://issuer.example.com/token"
    with pytest.raises(BackendError):
        _ = run(source().token(ANY), issuer.http)
    assert len(issuer.requests) == 1
    issuer.metadata["token_endpoint"] = None
    with pytest.raises(BackendError, match="out of order") as caught:
        _ = run(source().token(ANY), issuer.http)
    assert "token_endpoint" in str(caught.value.detail)


# --- what it answers --------------------------------------------------------------------


@pytest.mark.parametrize(
    ("expires_in", "until"),
    [
        (3600, NOW + 3600),
        ("3600", NOW + 3600),
        (0, NOW),
        (10**15, NOW + LONGEST),
        (None, None),
        (3600.5, None),
        (True, None),
        ("soon", None),
        ("３６００", None),
        ("9" * 5000, None),
        ([], None),
    ],
    ids=lambda value: ascii(value)[:12],
)
def test_how_long_a_token_lives(expires_in: object, until: float | None) -> None:
    """A number, or its digits as some write it; anything else is as if nothing were said."""
    issuer = provider({**GOOD, "expires_in": expires_in})
    assert run(source().token(ANY), issuer.http).expires_at == until


@pytest.mark.parametrize("kind", ["bearer", "BEARER", "Bearer"])
def test_a_bearer_token_in_any_case(kind: str) -> None:
    """RFC 6749 section 5.1: the type is compared without regard to case."""
    issuer = provider({**GOOD, "token_type": kind, "refresh_token": "r"})
    assert run(source().token(ANY), issuer.http).refresh_token == "r"


@pytest.mark.parametrize(
    "answer",
    [
        {**GOOD, "token_type": "mac"},
        {**GOOD, "token_type": None},
        {**GOOD, "access_token": ""},
        {**GOOD, "access_token": None},
        {**GOOD, "access_token": "a b"},
        {**GOOD, "access_token": "x" * 20_000},
        {**GOOD, "access_token": ["abc"]},
        {**GOOD, "refresh_token": ""},
        {**GOOD, "refresh_token": "a\n"},
        {**GOOD, "refresh_token": 7},
        {**GOOD, "expires_in": -1},
        {"id_token": "id.token.never", "token_type": "Bearer"},
        {},
        [],
        b"",
        b"<html>",
        b'{"access_token":"a","access_token":"b","token_type":"Bearer"}',
        b'{"access_token":"a","token_type":"Bearer","expires_in":NaN}',
        b'\xef\xbb\xbf{"access_token":"a","token_type":"Bearer"}',
        b'{"access_token":"\\ud800","token_type":"Bearer"}',
        b"[" * 100_000,
        b'{"a":' * 10_000,
        b"\xff\xfe",
    ],
    ids=lambda answer: ascii(answer)[:40],
)
def test_an_answer_without_a_token_is_refused(answer: object) -> None:
    """Strictly, and without a word of it in the error."""
    with pytest.raises(BackendError) as caught:
        _ = run(source().token(ANY), provider(answer).http)
    assert caught.value.code in ("token-response", "bad-token")
    assert not caught.value.temporary
    assert "never" not in str(caught.value.detail)
    assert len(str(caught.value.detail)) < 300


@pytest.mark.parametrize(
    ("status", "answer", "error", "temporary"),
    [
        (401, {"error": "invalid_client"}, AuthenticationError, None),
        (400, {"error": "invalid_client"}, AuthenticationError, None),
        (400, {"error": "unauthorized_client"}, AuthenticationError, None),
        (403, {"error": "access_denied"}, AuthenticationError, None),
        (400, {"error": "invalid_scope"}, BackendError, False),
        (400, {"error": "unsupported_grant_type"}, BackendError, False),
        (400, {"error": "temporarily_unavailable"}, BackendError, True),
        (400, {"error": ["invalid_client"]}, BackendError, False),
        (400, {"error": {"a": 1}}, BackendError, False),
        (400, b"<html>", BackendError, False),
        (404, b"", BackendError, False),
        (429, {"error": "slow_down"}, BackendError, True),
        (500, {"error": "invalid_client"}, BackendError, True),
        (503, b"", BackendError, True),
        (302, b"", BackendError, False),
        (204, b"", BackendError, False),
        (201, GOOD, BackendError, False),
    ],
)
def test_a_providers_refusal(
    status: int, answer: object, error: type[Exception], temporary: bool | None
) -> None:
    """That it does not take us is a refusal, everything else an outage, temporary or not."""
    with pytest.raises(error) as caught:
        _ = run(source().token(ANY), provider(answer, status).http)
    assert getattr(caught.value, "temporary", None) == temporary
    assert str(status) in str(getattr(caught.value, "detail", ""))


def test_of_a_refusal_the_code_is_told_and_no_text() -> None:
    """The description may hold anything, the secret too."""
    answer = {"error": "invalid_client\n\x1b[31m" + "x" * 500, "error_description": "s3cr3t"}
    with pytest.raises(BackendError) as caught:
        _ = run(source().token(ANY), provider(answer, 400).http)
    detail = caught.value.detail
    assert detail is not None
    assert "s3cr3t" not in detail
    assert detail.isprintable()
    assert len(detail) < 200


def test_a_redirect_is_not_followed() -> None:
    """Whoever it leads to would get the secret."""
    issuer = provider(HttpResponse(307, (("location", "https://evil.example.com/"),), b""))
    with pytest.raises(BackendError) as caught:
        _ = run(source().token(ANY), issuer.http)
    assert "redirects are not followed" in str(caught.value.detail)
    assert not [request for request in issuer.requests if "evil" in request.url]


def test_a_provider_that_is_down_is_an_outage() -> None:
    """Temporary, as the transport says."""
    issuer = provider()
    issuer.down = True
    with pytest.raises(BackendError) as caught:
        _ = run(source().token(ANY), issuer.http)
    assert caught.value.temporary


# --- the options ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("more", "key", "says"),
    [
        ({"issuer": None}, "issuer", "missing"),
        ({"token_endpoint": f"{ISSUER}/token"}, "token_endpoint", "keep one"),
        ({"client_secret": None}, "client_secret", "missing"),
        ({"client_secret": ""}, "client_secret", "missing"),
        ({"client_secret_file": Path("/x")}, "client_secret_file", "keep one"),
        ({"client_id": ""}, "client_id", "missing"),
        ({"issuer": "https://a/b?c=d#e"}, "issuer", "fragment"),
        ({"issuer": None, "token_endpoint": "https://a b/"}, "token_endpoint", "character"),
    ],
)
def test_what_is_missing_or_given_twice_is_named(more: Any, key: str, says: str) -> None:
    """When the source is made, not at the first login."""
    with pytest.raises(ConfigError, match=says) as caught:
        _ = source(**more)
    assert caught.value.key == f"credentials.client_credentials.{key}"
    assert "s3cr3t" not in str(caught.value)


@pytest.mark.parametrize("name", ["client_id", "client_secret", "scope", "resource", "audience"])
@pytest.mark.parametrize("method", list(AuthMethod))
def test_what_no_form_can_say_is_refused(name: str, method: AuthMethod) -> None:
    """When the source is made, by the option's name, and with nothing of what it holds."""
    odd = "T0PS3CR3T\udc80"
    value = (odd,) if name in ("scope", "resource") else odd
    with pytest.raises(ConfigError) as caught:
        _ = source(auth_method=method, **{name: value})
    assert caught.value.key == f"credentials.client_credentials.{name}"
    assert "T0PS3CR3T" not in f"{caught.value} {caught.value.detail}"
    assert caught.value.__context__ is None


TABLE: dict[str, Any] = {
    "client_id": "app",
    "issuer": ISSUER,
    "client_secret": "s3cr3t",
    "auth_method": "client_secret_post",
    "scope": ["mail", "offline"],
}


def test_it_is_configured() -> None:
    """As `[credentials.client_credentials]`, through a Client's own door."""
    issuer = provider()
    config = {
        "credentials_plugin": "client_credentials",
        "credentials": {"client_credentials": TABLE},
    }
    with Client("imap", "mail.example.com", config=config) as client:
        made = client.core.credentials()
        assert made is not None
        assert run(made.token(ANY), issuer.http).value == "abc.def.ghi"
    assert ("scope", "mail offline") in form(issuer.requests[1])
    assert "s3cr3t" not in repr(made)
    assert "s3cr3t" not in repr(ClientCredentialsOptions("app", client_secret="s3cr3t"))


@pytest.mark.parametrize(
    "change",
    [
        {"client_id": None},
        {"issuer": None},
        {"client_secret_file": "/x"},
        {"auth_method": "tls"},
        {"colour": "red"},
    ],
    ids=str,
)
def test_a_wrong_table_is_refused(change: dict[str, Any]) -> None:
    """With the option named, and without the secret."""
    table = {name: value for name, value in {**TABLE, **change}.items() if value is not None}
    config = {
        "credentials_plugin": "client_credentials",
        "credentials": {"client_credentials": table},
    }
    with (
        Client("imap", "mail.example.com", config=config) as client,
        pytest.raises((ConfigError, PluginError)) as caught,
    ):
        _ = client.core.credentials()
    assert next(iter(change)) in str(caught.value)
    assert "s3cr3t" not in str(caught.value)
