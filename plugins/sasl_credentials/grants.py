"""Requests to a provider's token endpoint, and what it answers.

Of an answer only the access token is taken, and how long it lives; an ID token that comes
along is for the client to read, and is never sent to a server.

Source: RFC 6749 sections 2.3.1, 4.4, 5 and 6; RFC 6750 section 4; RFC 8707 (`resource`).
"""

from __future__ import annotations

import re
import time
from enum import Enum
from types import MappingProxyType
from typing import TYPE_CHECKING, Final

from sasl_core.plugin import (
    AccessToken,
    AuthenticationError,
    BackendError,
    HttpRequest,
    NeedHttp,
    PeerError,
    UsageError,
    printable,
)
from sasl_tokens.discovery import AnswerError, discover, time_left
from sasl_tokens.forms import FORM, basic, form_fields
from sasl_tokens.sent import check_token
from sasl_tokens.strict import json_object
from sasl_tokens.urls import check_url

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from sasl_core.plugin import HttpResponse, Needs, SaslError
    from sasl_tokens.discovery import Discovery

__all__ = [
    "ANSWER_LIMIT",
    "ERROR_CODE",
    "SECONDS",
    "AuthMethod",
    "bearer",
    "error_code",
    "find_provider",
    "find_token_endpoint",
    "parse_token_response",
    "passes",
    "post_form",
    "provider_error",
    "refresh_grant",
    "show_client",
]

ANSWER_LIMIT: Final = 64 * 1024
"""Longest answer of a token endpoint, in octets."""

SECONDS: Final = 20.0
"""Longest time that a provider is given for a token, discovery included."""

LONGEST: Final = 10 * 366 * 86_400
"""Longest life of a token that is believed, in seconds."""

ERROR_CODE: Final = re.compile(r"[A-Za-z0-9_.-]{1,60}")
"""What an error code of a provider looks like that may be told."""

# RFC 6749 section 5.2, and 4.1.2.1 for what some send here as well: whether it helps to wait.
_REFUSALS: Final = frozenset(
    {"invalid_client", "invalid_grant", "unauthorized_client", "access_denied"}
)
_TEMPORARY: Final = frozenset({"temporarily_unavailable", "server_error", "slow_down"})


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


# --- what comes back ---------------------------------------------------------------------


def bearer(value: object, what: str) -> str:
    """An access token that somebody gave us, in a form in which it may be sent.

    Raises:
        BackendError: it is not in such a form; code "bad-token".
    """
    try:
        return check_token(value)
    except UsageError as error:
        problem = str(error)
    raise BackendError(code="bad-token", detail=f"{printable(what)}: {problem}", temporary=False)


def _lifetime(value: object) -> float | None:
    """How many seconds `expires_in` gives a token; None when nothing, or nothing of use, is said.

    Some providers write the number as a string. More than ten years are no more than that.

    Raises:
        BackendError: it is negative.
    """
    if isinstance(value, str) and value.isascii() and value.isdigit() and len(value) <= 12:
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, int):
        return None
    if value < 0:
        raise _odd("its expires_in is negative")
    return float(min(value, LONGEST))


def parse_token_response(response: HttpResponse, now: float) -> AccessToken:
    """The access token of a token endpoint's answer (RFC 6749 section 5.1).

    Raises:
        AuthenticationError, BackendError: as `provider_error`.
        BackendError: the answer is no strict JSON object, or has no access token of the type
            Bearer; code "token-response".
    """
    if response.status != 200:
        raise provider_error(response)
    members = _members(response.body)
    if members is None:
        raise _odd("it is no strict JSON object")
    kind = members.get("token_type")
    if not isinstance(kind, str) or kind.lower() != "bearer":
        raise _odd("its token_type is not Bearer")
    value = bearer(members.get("access_token"), "the provider's access_token")
    lifetime = _lifetime(members.get("expires_in"))
    refresh = members.get("refresh_token")
    if refresh is not None and not _is_refresh_token(refresh):
        raise _odd("its refresh_token is none")
    return AccessToken(
        value,
        None if lifetime is None else now + lifetime,
        refresh if isinstance(refresh, str) else None,
    )


def _is_refresh_token(value: object) -> bool:
    """RFC 6749 appendix A.17: printable ASCII, here of a length with an end."""
    return (
        isinstance(value, str)
        and 0 < len(value) <= 16 * 1024
        and value.isascii()
        and value.isprintable()
    )


def provider_error(response: HttpResponse) -> SaslError:
    """The error that a provider's refusal is (RFC 6749 section 5.2).

    AuthenticationError where it does not take the client or the grant, otherwise BackendError,
    temporary where it may help to wait. Only the error's code is told, never a text.
    """
    status, code = response.status, error_code(response)
    detail = f"the provider answered {status}" + (f", {code}" if code else "")
    if code in _REFUSALS and status < 500:
        return AuthenticationError(code="token-refused", detail=detail)
    temporary = passes(status) or code in _TEMPORARY
    if 300 <= status < 400:
        detail += "; redirects are not followed"
    return BackendError(code="token-response", detail=detail, temporary=temporary)


def error_code(response: HttpResponse) -> str | None:
    """The code of a provider's refusal, None where it gives none that may be told."""
    if not 400 <= response.status < 600:
        return None
    code = (_members(response.body) or {}).get("error")
    return code if isinstance(code, str) and ERROR_CODE.fullmatch(code) is not None else None


def passes(status: int) -> bool:
    """Whether a status says that it may help to wait."""
    return status >= 500 or status in (408, 425, 429)


def _members(body: bytes) -> Mapping[str, object] | None:
    try:
        return MappingProxyType(json_object(body, "the answer"))
    except PeerError:
        return None


def _odd(problem: str) -> BackendError:
    return BackendError(
        code="token-response", detail=f"the provider's answer: {problem}", temporary=False
    )
