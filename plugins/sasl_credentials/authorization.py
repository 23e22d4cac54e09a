"""The authorization request that a browser is sent with, and the response that it brings back.

Source: RFC 6749 sections 4.1.1 and 4.1.2; RFC 7636 section 4 (S256 alone); RFC 9207 section 2
(`iss`); OpenID Connect Core 1.0 section 3.1.2.1 (`nonce`, `prompt`).
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
from base64 import urlsafe_b64encode
from typing import TYPE_CHECKING, Final

import attrs

from sasl_core.plugin import AuthenticationError, BackendError, printable, record
from sasl_credentials.answers import ERROR_CODE
from sasl_credentials.login import names_itself
from sasl_credentials.people import odd
from sasl_tokens.forms import query

if TYPE_CHECKING:
    from sasl_core.plugin import SaslError
    from sasl_credentials.login import Login
    from sasl_tokens.discovery import Discovery

__all__ = ["Answer", "Secrets", "accept_code", "authorization_url", "parse_answer"]

CODE_LIMIT: Final = 8 * 1024
"""Longest authorization code, in characters."""

QUERY_FIELDS: Final = 32
"""Most fields of a response."""

_REFUSALS: Final = frozenset(
    {
        "access_denied",
        "account_selection_required",
        "consent_required",
        "interaction_required",
        "login_required",
        "unauthorized_client",
    }
)
_TEMPORARY: Final = frozenset({"server_error", "temporarily_unavailable"})


def _random() -> str:
    # 256 bits, and 43 characters as RFC 7636 section 4.1 wants them.
    return secrets.token_urlsafe(32)


@record
class Secrets:
    """What ties a login together, made anew for each: `verifier` never leaves for the browser."""

    state: str = attrs.field(factory=_random, repr=False)
    verifier: str = attrs.field(factory=_random, repr=False)
    nonce: str = attrs.field(factory=_random, repr=False)

    def challenge(self) -> str:
        """The verifier's hash, S256 (RFC 7636 section 4.2)."""
        digest = hashlib.sha256(self.verifier.encode("ascii")).digest()
        return urlsafe_b64encode(digest).rstrip(b"=").decode("ascii")


def authorization_url(
    endpoint: str,
    login: Login,
    secret: Secrets,
    redirect_uri: str,
    username: str | None,
    prompt: tuple[str, ...] = (),
) -> str:
    """Where the browser is sent. What the endpoint has of a query stays (RFC 6749 section 3.1)."""
    fields = [
        ("response_type", "code"),
        ("client_id", login.client_id),
        ("redirect_uri", redirect_uri),
        ("state", secret.state),
        ("code_challenge", secret.challenge()),
        ("code_challenge_method", "S256"),
        *login.asked(),
    ]
    if "openid" in login.scopes:
        fields.append(("nonce", secret.nonce))
        if username:
            fields.append(("login_hint", username))
    if prompt:
        fields.append(("prompt", " ".join(prompt)))
    return f"{endpoint}{'&' if '?' in endpoint else '?'}{query(fields)}"


@record
class Answer:
    """What came back with the right state. `odd`: it makes no sense, whatever it says."""

    code: str | None = attrs.field(default=None, repr=False)
    error: str | None = None
    iss: str | None = None
    odd: bool = False


def parse_answer(text: str, state: str) -> Answer | None:
    """What the query of a redirect brings; None: it is not of this login, as its state says.

    Anything in the browser, and any program of this machine, can come here. Whoever does not
    know the state has said nothing.
    """
    from urllib.parse import parse_qsl

    try:
        pairs = parse_qsl(
            text, keep_blank_values=True, errors="strict", max_num_fields=QUERY_FIELDS
        )
    except ValueError:
        return None
    found: dict[str, list[str]] = {}
    for name, value in pairs:
        found.setdefault(name, []).append(value)
    states = [each.encode("utf-8", "replace") for each in found.get("state", ())]
    if len(states) != 1 or not hmac.compare_digest(states[0], state.encode("ascii")):
        return None
    # RFC 6749 section 3.1: no parameter comes twice.
    said = {name: found.get(name, []) for name in ("code", "error", "iss")}
    code, error, iss = (values[0] if len(values) == 1 else None for values in said.values())
    strange = (
        any(len(values) > 1 for values in said.values())
        or (code is None) == (error is None)
        or (code is not None and not _is_code(code))
    )
    return Answer(None if strange else code, error, iss, odd=strange)


def _is_code(text: str) -> bool:
    """RFC 6749 appendix A.11: printable ASCII, here of a length with an end."""
    return 0 < len(text) <= CODE_LIMIT and text.isascii() and text.isprintable()


def accept_code(answer: Answer, document: Discovery) -> str:
    """The code of an answer, if it is the asked provider's.

    Raises:
        AuthenticationError: it is another provider's (code "mix-up"), or the person, or the
            provider, did not want to (code "authorization-refused").
        BackendError: it is no answer, or the provider could not give one; code
            "authorization-response".
    """
    problem = _issuer_problem(answer.iss, document)
    if problem is not None:
        raise AuthenticationError(code="mix-up", detail=problem)
    if answer.odd:
        raise odd("authorization-response", "the browser came back with what is no answer")
    if answer.code is None:
        raise _refused(answer.error)
    return answer.code


def _issuer_problem(iss: str | None, document: Discovery) -> str | None:
    """Why the answer is not of the provider that was asked (RFC 9207 section 2.4)."""
    if iss is None:
        if names_itself(document):
            return f"{printable(document.issuer)} names itself in its answers, but not in this one"
        return None
    if iss != document.issuer:
        return (
            f"the login was begun with {printable(document.issuer)}, and the answer is of "
            f"{printable(iss)}"
        )
    return None


def _refused(code: str | None) -> SaslError:
    """The error that an `error=` is. Only a code is told, never a text."""
    if code is None or ERROR_CODE.fullmatch(code) is None:
        return odd("authorization-response", "the provider sent an error without a proper code")
    detail = f"the provider said {code}"
    if code in _REFUSALS:
        return AuthenticationError(code="authorization-refused", detail=detail)
    return BackendError(code="authorization-response", detail=detail, temporary=code in _TEMPORARY)
