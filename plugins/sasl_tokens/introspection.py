"""Asking a token's issuer whether it is good: OAuth 2.0 Token Introspection (RFC 7662).

    POST /introspect   token=...&token_type_hint=access_token
    200                {"active":true,"sub":"alice","scope":"mail","exp":1760000000, ...}

For tokens that only their issuer can read, and where a token that was withdrawn has to be
refused at once: every login asks, nothing is kept. What the answer does not say is not
assumed; an answer that is out of order is an outage, and nobody's wrong token.

Source: RFC 7662 sections 2 and 4; RFC 6749 section 2.3.1; RFC 8705 section 3.2 and RFC 9449
section 6 (tokens that are bound to a key).
"""

from __future__ import annotations

from functools import partial
from types import MappingProxyType
from typing import TYPE_CHECKING, Final, cast

import attrs

from sasl_core.plugin import (
    BackendError,
    HttpRequest,
    NeedHttp,
    PeerError,
    printable,
    record,
)
from sasl_tokens.bearer_login import BearerLogin
from sasl_tokens.claims import check_kind
from sasl_tokens.discovery import header
from sasl_tokens.errors import TokenError
from sasl_tokens.forms import FORM, basic, form_fields
from sasl_tokens.scopes import require_scopes, scopes_of
from sasl_tokens.strict import has_controls, json_object
from sasl_tokens.terms import LATEST, NAME_LIMIT

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from sasl_core.plugin import HttpResponse, Needs

__all__ = ["UNSAID", "Endpoint", "Introspector", "accept", "parse_introspection"]

LIMIT: Final = 64 * 1024
"""Longest answer, in octets."""

UNSAID: Final = 300.0
"""How long a login stands, in seconds, when the answer does not say when the token ends."""

SKEW: Final = 60.0
"""How far, in seconds, the issuer's clock may be ahead of ours."""

_ID_TOKENS: Final = frozenset({"id_token", "urn:ietf:params:oauth:token-type:id_token"})
_BEARER: Final = frozenset(
    {"bearer", "access_token", "urn:ietf:params:oauth:token-type:access_token"}
)


@record
class Endpoint:
    """Where and how to ask, and what the answer has to say.

    `cleartext`: `url` is of this very machine, and http. `client_id`, `client_secret`: who we
    are to it. `issuer`, `audience`: what has to be named; None: it is not compared. `scope`:
    what the token has to be good for. `principal_claim`: the member with the user's name.
    """

    url: str
    client_id: str
    client_secret: str = attrs.field(repr=False)
    cleartext: bool = False
    ca_file: str | None = None
    deadline: float = 10.0
    issuer: str | None = None
    audience: str | None = None
    scope: tuple[str, ...] = ()
    principal_claim: str = "sub"


class Introspector:
    """Asks one endpoint. Safe to share; it keeps nothing of what it asks."""

    def __init__(self, endpoint: Endpoint, clock: Callable[[], float]) -> None:
        self._endpoint = endpoint
        self._clock = clock

    def validate(self, token: str) -> Needs[BearerLogin]:
        """Whose `token` is.

        Raises:
            TokenError: it is not active, or not for us.
            BackendError: the endpoint cannot be asked, or does not answer as it should.
        """
        response = yield from NeedHttp(self._request(token))
        claims = parse_introspection(_checked(response).body)
        endpoint = self._endpoint
        principal, issuer, until = accept(claims, endpoint, self._clock())
        return BearerLogin(
            principal,
            issuer,
            until,
            {"principal": (principal.encode(),)},
            partial(self._again, token, principal),
        )

    def _again(self, token: str, principal: str) -> Needs[BearerLogin]:
        login = yield from self.validate(token)
        if login.principal != principal:
            raise TokenError("token-principal-changed", "the token names another principal now")
        return login

    def _request(self, token: str) -> HttpRequest:
        endpoint = self._endpoint
        return HttpRequest(
            "POST",
            endpoint.url,
            headers=(
                basic(endpoint.client_id, endpoint.client_secret),
                FORM,
                ("accept", "application/json"),
            ),
            body=form_fields((("token", token), ("token_type_hint", "access_token"))),
            deadline=endpoint.deadline,
            limit=LIMIT,
            ca_file=endpoint.ca_file,
            cleartext=endpoint.cleartext,
        )


# --- the answer --------------------------------------------------------------------------


def _checked(response: HttpResponse) -> HttpResponse:
    """The response, if it can be an answer.

    Raises:
        BackendError: it cannot.
    """
    status = response.status
    kind = header(response, "content-type")
    if status in (401, 403):
        raise _outage(f"it refuses us (HTTP {status}): look at client_id, client_secret_file")
    if status != 200:
        # A redirect too: the token is shown to the address that was configured, and no other.
        again = status == 429 or status >= 500
        raise _outage(f"it answered HTTP {status}", temporary=again)
    if kind.partition(";")[0].strip().lower() != "application/json":
        raise _outage(f"it answered {printable(kind, 60)!r}, which is not application/json")
    return response


def _outage(why: str, *, temporary: bool = False) -> BackendError:
    return BackendError(
        code="introspection", detail=f"the introspection endpoint: {why}", temporary=temporary
    )


def parse_introspection(body: bytes) -> Mapping[str, object]:
    """The members of an answer of which `active` is a truth value.

    Raises:
        BackendError: it is no strict JSON object, or does not say whether the token is active.
    """
    try:
        claims = json_object(body, "its answer")
    except PeerError as error:
        problem = str(error)
    else:
        if isinstance(claims.get("active"), bool):
            return MappingProxyType(claims)
        problem = "its answer does not say whether the token is active"
    raise _outage(problem)


def accept(claims: Mapping[str, object], endpoint: Endpoint, now: float) -> tuple[str, str, float]:
    """Hold an answer to what is demanded; the principal, who vouches, and until when.

    Raises:
        TokenError: the token is not active, has ended, is of another kind, or is not for us.
    """
    # Nothing else is read before: an answer that is not active says nothing (section 2.2).
    if claims.get("active") is not True:
        raise TokenError("token-inactive", "its issuer says that the token is not active")
    _check_type(claims, endpoint.audience)
    end = _check_times(claims, now)
    issuer = _check_issuer(claims, endpoint)
    _check_audience(claims, endpoint.audience)
    require_scopes(scopes_of(claims), endpoint.scope)
    return _text(claims, endpoint.principal_claim), issuer, end


def _check_type(claims: Mapping[str, object], audience: str | None) -> None:
    """Only a bearer's access token will do."""
    check_kind(claims)
    if "token_type" not in claims:
        # An endpoint may say no type of a refresh token, which is active too and has scopes.
        # But that is for its issuer alone, and names no service as its audience.
        if audience is None:
            raise TokenError(
                "token-type", "its issuer says no token_type, and no audience is configured"
            )
        return
    kind = claims["token_type"]
    kind = kind.lower() if isinstance(kind, str) else ""
    if kind in _ID_TOKENS:
        raise TokenError("token-id-token", "its issuer says that it is no access token")
    if kind not in _BEARER:
        raise TokenError("token-type", "its issuer says that it is no bearer token")


def _check_times(claims: Mapping[str, object], now: float) -> float:
    """When the login ends."""
    begin, end = _time(claims, "nbf"), _time(claims, "exp")
    if begin is not None and begin > now + SKEW:
        raise TokenError("token-not-yet-valid", "the token is not valid yet")
    if end is None:
        return now + UNSAID
    if now >= end:
        raise TokenError("token-expired", f"the token expired {now - end:.0f} seconds ago")
    return float(end)


def _time(claims: Mapping[str, object], name: str) -> int | None:
    if name not in claims:
        return None
    value = claims[name]
    if type(value) is not int or value > LATEST:
        raise TokenError("token-claim-type", f"member {name} of the answer is no proper time")
    return value


def _check_issuer(claims: Mapping[str, object], endpoint: Endpoint) -> str:
    """Who vouches: the named issuer, if one is demanded, else whoever was asked."""
    if endpoint.issuer is None:
        return endpoint.url
    if claims.get("iss") != endpoint.issuer:
        raise TokenError("token-issuer", "the answer names another issuer, or none")
    return endpoint.issuer


def _check_audience(claims: Mapping[str, object], audience: str | None) -> None:
    if audience is None:
        return
    named = claims.get("aud")
    audiences = cast("list[object]", named) if isinstance(named, list) else [named]
    if audience not in audiences:
        raise TokenError("token-audience", "the token is for another audience, or for none")


def _text(claims: Mapping[str, object], name: str) -> str:
    value = claims.get(name)
    if value is None:
        raise TokenError("token-claim-missing", f"the answer has no member {printable(name, 40)!r}")
    if not isinstance(value, str) or not 0 < len(value) <= NAME_LIMIT or has_controls(value):
        raise TokenError(
            "token-claim-type", f"member {printable(name, 40)!r} of the answer is no proper name"
        )
    return value
