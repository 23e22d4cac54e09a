"""Token introspection (RFC 7662): what is asked, and which answers let whom in."""

from __future__ import annotations

import base64
from collections.abc import Callable
from typing import Any
from urllib.parse import parse_qsl, unquote_plus

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sasl_core import BackendError, HttpRequest, HttpResponse, Result, SaslError
from sasl_tokens.errors import TokenError
from sasl_tokens.introspection import UNSAID, Endpoint, Introspector, parse_introspection
from token_kit import NOW, Ticking, json_response, run

URL = "https://issuer.example.com/introspect"
ENDPOINT = Endpoint(URL, "mail server", "p&ss:w+rd \u00e9", scope=("mail",))
GOOD: dict[str, object] = {
    "active": True,
    "sub": "alice",
    "scope": "openid mail",
    "exp": int(NOW) + 600,
    "iss": "https://issuer.example.com",
    "aud": ["imap", "smtp"],
    "token_type": "Bearer",
}
TOKEN = "opaque-token+/=="


def ask(
    answer: HttpResponse | Exception | Callable[[HttpRequest], HttpResponse],
    clock: Ticking | None = None,
    **more: Any,
) -> Any:
    """Who the token is of, by an endpoint that answers so."""

    def http(request: HttpRequest) -> HttpResponse:
        if isinstance(answer, Exception):
            raise answer
        return answer if isinstance(answer, HttpResponse) else answer(request)

    introspector = Introspector(attrs.evolve(ENDPOINT, **more), clock or Ticking())
    return run(introspector.validate(TOKEN), http)


def claims(**more: object) -> HttpResponse:
    """A good answer with some members replaced; None removes."""
    members = {**GOOD, **more}
    return json_response({name: value for name, value in members.items() if value is not None})


def test_what_is_asked() -> None:
    """One POST with the token in its body, and our name and secret, form-encoded, in Basic."""
    seen: list[HttpRequest] = []

    def http(request: HttpRequest) -> HttpResponse:
        seen.append(request)
        return claims()

    login = ask(http, ca_file="/etc/ca.pem", deadline=3.0)
    (request,) = seen
    assert (request.method, request.url) == ("POST", URL)
    assert (request.ca_file, request.deadline, request.cleartext) == ("/etc/ca.pem", 3.0, False)
    assert request.limit <= 64 * 1024
    body = parse_qsl(request.body.decode(), strict_parsing=True)
    assert body == [("token", TOKEN), ("token_type_hint", "access_token")]
    headers = dict(request.headers)
    assert headers["content-type"] == "application/x-www-form-urlencoded"
    assert headers["accept"] == "application/json"
    scheme, _, credentials = headers["authorization"].partition(" ")
    assert scheme == "Basic"
    # RFC 6749 section 2.3.1: encoded first, so that a colon in the name ends nothing.
    name, _, secret = base64.b64decode(credentials).decode().partition(":")
    assert (unquote_plus(name), unquote_plus(secret)) == (
        ENDPOINT.client_id,
        ENDPOINT.client_secret,
    )
    assert (login.principal, login.issuer) == ("alice", URL)
    assert login.expires_at == GOOD["exp"]
    assert login.grants == {"principal": (b"alice",)}
    assert login.valid(NOW)
    assert not login.valid(NOW + 600)


@pytest.mark.parametrize(
    ("more", "code"),
    [
        ({"active": False}, "token-inactive"),
        ({"exp": int(NOW)}, "token-expired"),
        ({"exp": int(NOW) - 1}, "token-expired"),
        ({"exp": -1}, "token-expired"),
        ({"exp": float(NOW) + 600}, "token-claim-type"),
        ({"exp": str(int(NOW) + 600)}, "token-claim-type"),
        ({"exp": True}, "token-claim-type"),
        ({"exp": 10**15}, "token-claim-type"),
        ({"nbf": int(NOW) + 61}, "token-not-yet-valid"),
        ({"nbf": "1"}, "token-claim-type"),
        ({"scope": None}, "token-scope"),
        ({"scope": "openid"}, "token-scope"),
        ({"scope": "email mail2"}, "token-scope"),
        ({"scope": 5}, "token-scope"),
        ({"scope": {"mail": True}}, "token-scope"),
        ({"sub": None}, "token-claim-missing"),
        ({"sub": ""}, "token-claim-type"),
        ({"sub": 5}, "token-claim-type"),
        ({"sub": "a\nb"}, "token-claim-type"),
        ({"sub": "a" * 1025}, "token-claim-type"),
        ({"token_type": "id_token"}, "token-id-token"),
        ({"token_type": "ID_TOKEN"}, "token-id-token"),
        ({"token_type": "urn:ietf:params:oauth:token-type:id_token"}, "token-id-token"),
        ({"typ": "ID"}, "token-id-token"),
        ({"typ": "Refresh"}, "token-id-token"),
        ({"token_type": "refresh_token"}, "token-type"),
        ({"token_type": "DPoP"}, "token-type"),
        ({"token_type": "mac"}, "token-type"),
        ({"token_type": 1}, "token-type"),
        ({"token_type": ["Bearer"]}, "token-type"),
        ({"token_type": None}, "token-type"),
        ({"token_use": "refresh_token"}, "token-id-token"),
        ({"token_use": "id"}, "token-id-token"),
        ({"token_use": ""}, "token-id-token"),
        ({"token_use": None, "typ": "Offline"}, "token-id-token"),
        ({"at_hash": "x"}, "token-id-token"),
        ({"events": {}}, "token-type"),
        ({"cnf": {"jkt": "abc"}}, "token-type"),
    ],
)
def test_tokens_that_are_refused(more: dict[str, object], code: str) -> None:
    """Not active, ended, for something else, nobody's, of another kind: the code says which."""
    with pytest.raises(TokenError) as caught:
        ask(claims(**more))
    assert caught.value.code == code


@pytest.mark.parametrize(
    "more",
    [
        {"token_type": "bearer"},
        {"token_use": "access_token"},
        {"token_use": "access"},
        {"token_type": "access_token"},
        {"typ": "Bearer"},
        {"typ": "at+jwt"},
        {"nbf": int(NOW) + 60},
        {"scope": "mail"},
        {"scope": None, "scp": ["mail"]},
        {"scope": "openid", "scp": "mail"},
        {"whatever": {"deep": [1, 2, None]}},
    ],
)
def test_tokens_that_are_accepted(more: dict[str, object]) -> None:
    """What is known of a token's kind is no objection, and what is not known is ignored."""
    assert ask(claims(**more)).principal == "alice"


def test_a_token_of_no_kind_is_for_whoever_it_names() -> None:
    """Some issuers introspect refresh tokens and say nothing of their type: those name no
    service as their audience, so that a scope is not enough for them.
    """
    silent = {"token_type": None}
    with pytest.raises(TokenError) as caught:
        ask(json_response({"active": True, "sub": "alice", "scope": "mail"}))
    assert caught.value.code == "token-type"
    assert ask(claims(**silent), audience="imap").principal == "alice"
    with pytest.raises(TokenError) as caught:
        ask(claims(**silent, aud=None), audience="imap")
    assert caught.value.code == "token-audience"
    with pytest.raises(TokenError) as caught:
        ask(claims(**silent, token_use="refresh_token"), audience="imap")
    assert caught.value.code == "token-id-token"


def test_scopes_that_are_no_text_grant_nothing() -> None:
    """A number in an array is stepped over, and no scope of its spelling is granted."""
    assert ask(claims(scope=None, scp=[5, "mail"])).principal == "alice"
    with pytest.raises(TokenError):
        ask(claims(scope=None, scp=[5, None]), scope=("5",))


def test_without_an_end_a_login_stands_for_minutes() -> None:
    """An answer without `exp` vouches for no longer than `UNSAID`."""
    assert ask(claims(exp=None)).expires_at == NOW + UNSAID


@pytest.mark.parametrize(
    ("demanded", "more", "code"),
    [
        ({"issuer": "https://issuer.example.com"}, {}, None),
        ({"issuer": "https://issuer.example.com"}, {"iss": None}, "token-issuer"),
        ({"issuer": "https://issuer.example.com"}, {"iss": "https://other"}, "token-issuer"),
        ({"issuer": "https://issuer.example.com"}, {"iss": ["x"]}, "token-issuer"),
        ({"audience": "imap"}, {}, None),
        ({"audience": "imap"}, {"aud": "imap"}, None),
        ({"audience": "imap"}, {"aud": None}, "token-audience"),
        ({"audience": "imap"}, {"aud": "imap2"}, "token-audience"),
        ({"audience": "imap"}, {"aud": []}, "token-audience"),
        ({"audience": "imap"}, {"aud": {"imap": 1}}, "token-audience"),
        ({"scope": ()}, {"scope": None}, None),
        ({"scope": ("mail", "openid")}, {}, None),
        ({"scope": ("mail", "admin")}, {}, "token-scope"),
        ({"principal_claim": "username"}, {"username": "al"}, None),
        ({"principal_claim": "username"}, {}, "token-claim-missing"),
    ],
)
def test_what_is_demanded(
    demanded: dict[str, Any], more: dict[str, object], code: str | None
) -> None:
    """Issuer, audience and scopes are compared when they are configured, the name is looked up."""
    if code is None:
        login = ask(claims(**more), **demanded)
        assert login.principal == more.get("username", "alice")
        assert login.issuer == demanded.get("issuer", URL)
    else:
        with pytest.raises(TokenError) as caught:
            ask(claims(**more), **demanded)
        assert caught.value.code == code


@pytest.mark.parametrize(
    ("answer", "temporary"),
    [
        (BackendError(detail="connection refused"), True),
        (HttpResponse(500), True),
        (HttpResponse(503), True),
        (HttpResponse(429), True),
        (HttpResponse(401), False),
        (HttpResponse(403), False),
        (HttpResponse(400), False),
        (HttpResponse(404), False),
        (HttpResponse(302, (("location", "https://elsewhere.example.com"),)), False),
        (HttpResponse(204), False),
        (json_response({"active": True}, content_type="text/html"), False),
        (HttpResponse(200, (), b'{"active":true,"sub":"a"}'), False),
        (json_response(b"{"), False),
        (json_response([]), False),
        (json_response({}), False),
        (json_response({"active": "true"}), False),
        (json_response({"active": 1}), False),
        (json_response({"active": None}), False),
        (json_response(b'{"active":false,"active":true,"sub":"alice"}'), False),
        (json_response(b'{"active":true,"sub":"\xff"}'), False),
        (json_response(b"[" * 60_000), False),
    ],
)
def test_an_endpoint_out_of_order_is_an_outage(
    answer: HttpResponse | Exception, temporary: bool
) -> None:
    """What is no answer refuses nobody's token and lets nobody in."""
    with pytest.raises(BackendError) as caught:
        ask(answer)
    assert caught.value.result is Result.UNAVAIL
    assert caught.value.temporary is temporary


def test_an_inactive_token_says_nothing_else() -> None:
    """What stands beside `active: false` is not looked at, were it malformed."""
    with pytest.raises(TokenError) as caught:
        ask(json_response({"active": False, "exp": "x", "sub": 5, "token_type": 5}))
    assert caught.value.code == "token-inactive"


def test_a_login_is_asked_for_again() -> None:
    """Revalidation asks anew: the same, a later end, or refused once the token is withdrawn."""
    clock = Ticking()
    answers = [claims(), claims(exp=int(NOW) + 1200), json_response({"active": False})]
    given = iter(answers)

    def http(request: HttpRequest) -> HttpResponse:
        assert TOKEN in dict(parse_qsl(request.body.decode())).values()
        return next(given)

    login = ask(http, clock)
    clock.tick(590)
    again = run(login.revalidate(), http)
    assert (again.principal, again.issuer) == (login.principal, login.issuer)
    assert again.expires_at == NOW + 1200
    with pytest.raises(TokenError) as caught:
        run(again.revalidate(), http)
    assert caught.value.code == "token-inactive"


def test_a_login_does_not_become_somebody_elses() -> None:
    """A token that names another principal than before is refused."""
    given = iter([claims(), claims(sub="mallory")])
    login = ask(lambda _: next(given))
    with pytest.raises(TokenError) as caught:
        run(login.revalidate(), lambda _: next(given))
    assert caught.value.code == "token-principal-changed"


def test_nothing_shows_a_secret() -> None:
    """Neither the endpoint, nor the request, nor a login, nor an error holds token or secret."""
    login = ask(claims())
    errors: list[SaslError] = []
    for answer in (HttpResponse(401, (), TOKEN.encode()), claims(sub=None), json_response(b"{")):
        with pytest.raises(SaslError) as caught:
            ask(answer)
        errors.append(caught.value)
    shown = [repr(ENDPOINT), repr(login), *map(str, errors), *(str(e.detail) for e in errors)]
    for secret in (TOKEN, ENDPOINT.client_secret):
        assert not any(secret in text for text in shown)


@given(st.binary(max_size=200) | st.text().map(str.encode))
def test_any_bytes(body: bytes) -> None:
    """Any answer is a mapping with a truth value, or an outage."""
    try:
        read = parse_introspection(body)
    except BackendError:
        return
    assert type(read["active"]) is bool
