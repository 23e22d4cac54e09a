"""What a provider's endpoints answer, read strictly; of a refusal only its code is told.

Of an answer the access token is taken, how long it lives, and a refresh token; an ID token that
comes along is for the client to read, and is never sent to a server.

Source: RFC 6749 section 5; RFC 6750 section 4.
"""

from __future__ import annotations

import re
from types import MappingProxyType
from typing import TYPE_CHECKING, Final

from sasl_core.plugin import (
    AccessToken,
    AuthenticationError,
    BackendError,
    PeerError,
    UsageError,
    printable,
)
from sasl_tokens.sent import check_token
from sasl_tokens.strict import json_object

if TYPE_CHECKING:
    from collections.abc import Mapping

    from sasl_core.plugin import HttpResponse, SaslError

__all__ = [
    "ERROR_CODE",
    "bearer",
    "error_code",
    "id_token",
    "parse_token_response",
    "passes",
    "provider_error",
]

LONGEST: Final = 10 * 366 * 86_400
"""Longest life of a token that is believed, in seconds."""

ERROR_CODE: Final = re.compile(r"[A-Za-z0-9_.-]{1,60}")
"""What an error code of a provider looks like that may be told."""

# RFC 6749 section 5.2, and 4.1.2.1 for what some send here as well: whether it helps to wait.
_REFUSALS: Final = frozenset(
    {
        "invalid_client",
        "invalid_grant",
        "unauthorized_client",
        "access_denied",
        "authorization_declined",  # Entra's word for a person's no in the device flow.
    }
)
_TEMPORARY: Final = frozenset({"temporarily_unavailable", "server_error", "slow_down"})


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


def id_token(response: HttpResponse) -> object:
    """The ID token that came along, to be checked and then forgotten; None: there is none."""
    return (_members(response.body) or {}).get("id_token")


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
