"""Requests to a provider's token endpoint.

Source: RFC 6749 sections 2.3.1, 3.2, 4.4 and 6; RFC 8707 (`resource`).
"""

from __future__ import annotations

import time
from enum import Enum
from typing import TYPE_CHECKING, Final

from sasl_core.plugin import BackendError, HttpRequest, NeedHttp, printable
from sasl_credentials.answers import parse_token_response, passes
from sasl_tokens.discovery import AnswerError, discover, time_left
from sasl_tokens.forms import FORM, basic, form_fields
from sasl_tokens.urls import check_url

if TYPE_CHECKING:
    from collections.abc import Callable

    from sasl_core.plugin import AccessToken, HttpResponse, Needs
    from sasl_tokens.discovery import Discovery

__all__ = [
    "ANSWER_LIMIT",
    "SECONDS",
    "AuthMethod",
    "find_provider",
    "find_token_endpoint",
    "post_form",
    "refresh_grant",
    "show_client",
]

ANSWER_LIMIT: Final = 64 * 1024
"""Longest answer of a token endpoint, in octets."""

SECONDS: Final = 20.0
"""Longest time that a provider is given for a token, discovery included."""


class AuthMethod(Enum):
    """How the client shows its secret: in a header, or in the form."""

    BASIC = "client_secret_basic"
    POST = "client_secret_post"


def show_client(
    client_id: str, secret: str | None, method: AuthMethod
) -> tuple[tuple[tuple[str, str], ...], tuple[str, str] | None]:
    """The fields in which a client names itself, and what `post_form` wants as `client`.

    Source: RFC 6749 sections 2.3.1 and 3.2.1 (a client without a secret gives its name alone).
    """
    if secret is None:
        return (("client_id", client_id),), None
    if method is AuthMethod.BASIC:
        return (), (client_id, secret)
    return (("client_id", client_id), ("client_secret", secret)), None


def post_form(
    url: str,
    fields: tuple[tuple[str, str], ...],
    *,
    client: tuple[str, str] | None = None,
    ca_file: str | None = None,
    cleartext: bool = False,
    deadline: float = SECONDS,
) -> Needs[HttpResponse]:
    """POST `fields` as a form to a checked address. `client`: its name and secret, in a header.

    Raises:
        BackendError: there is no answer.
        UsageError: something of it cannot stand in a form.
    """
    headers = [("accept", "application/json"), FORM]
    if client is not None:
        headers.append(basic(*client))
    request = HttpRequest(
        "POST",
        url,
        headers=tuple(headers),
        body=form_fields(fields),
        deadline=deadline,
        limit=ANSWER_LIMIT,
        ca_file=ca_file,
        cleartext=cleartext,
    )
    return (yield from NeedHttp(request))


def find_provider(
    issuer: str, deadline: float, *, ca_file: str | None, allow_loopback_http: bool
) -> Needs[Discovery]:
    """The issuer's discovery document.

    Raises:
        ConfigError: the issuer's address is none that may be asked.
        BackendError: there is no document of this issuer; temporary where it may help to wait.
    """
    try:
        return (
            yield from discover(
                issuer, ca_file=ca_file, allow_loopback_http=allow_loopback_http, deadline=deadline
            )
        )
    except BackendError as error:
        wrong = error.code == "discovery" or (
            isinstance(error, AnswerError) and not passes(error.status)
        )
        if not wrong:
            raise
        code, detail = error.code, error.detail
    # A document that is not there, or says something else, is so the next time too.
    raise BackendError(code=code, detail=detail, temporary=False)


def find_token_endpoint(
    issuer: str, deadline: float, *, ca_file: str | None, allow_loopback_http: bool
) -> Needs[str]:
    """Where the issuer gives tokens, by its discovery document.

    Raises:
        ConfigError, BackendError: as `find_provider`.
        BackendError: the document names no such place.
    """
    document = yield from find_provider(
        issuer, deadline, ca_file=ca_file, allow_loopback_http=allow_loopback_http
    )
    if document.token_endpoint is not None:
        return document.token_endpoint
    detail = f"{printable(issuer)} names no token_endpoint"
    raise BackendError(code="discovery", detail=detail, temporary=False)


def refresh_grant(
    issuer: str,
    client_id: str | None,
    refresh_token: str,
    *,
    client_secret: str | None = None,
    auth_method: AuthMethod = AuthMethod.BASIC,
    resource: tuple[str, ...] = (),
    ca_file: str | None = None,
    allow_loopback_http: bool = False,
    deadline: float = SECONDS,
    clock: Callable[[], float] = time.time,
) -> Needs[AccessToken]:
    """A new access token for a refresh token.

    `client_secret`: of a client that has one, shown as `auth_method` says. `resource`: what the
    token is to be good for (RFC 8707). `deadline`: seconds for all of it; never more than 20.

    The refresh token is shown to the token endpoint of `issuer` only: give the issuer that it
    came from.

    Raises:
        AuthenticationError: the provider takes it no more.
        BackendError: the provider cannot be asked, or what it says makes no sense.
        ConfigError: the issuer's address is none that may be asked.
        UsageError: the refresh token cannot stand in a form.
    """
    begin, deadline = time.monotonic(), min(deadline, SECONDS)
    endpoint = yield from find_token_endpoint(
        issuer, deadline, ca_file=ca_file, allow_loopback_http=allow_loopback_http
    )
    fields = [("grant_type", "refresh_token"), ("refresh_token", refresh_token)]
    fields.extend(("resource", each) for each in resource)
    client = None
    if client_id is not None:
        own, client = show_client(client_id, client_secret, auth_method)
        fields.extend(own)
    _, cleartext = check_url(
        endpoint, what="token_endpoint", allow_loopback_http=allow_loopback_http
    )
    response = yield from post_form(
        endpoint,
        tuple(fields),
        client=client,
        ca_file=ca_file,
        cleartext=cleartext,
        deadline=time_left(begin, deadline, time.monotonic, issuer),
    )
    return parse_token_response(response, clock())
