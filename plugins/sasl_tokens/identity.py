"""What an ID token has to say of the login that it came of; it is good for nothing else here.

It comes straight from the provider's token endpoint, over the connection that the provider's
certificate was checked for, which stands in place of the signature (section 3.1.3.7, item 6).
Nobody is logged in by it, and it is shown to no server.

Source: OpenID Connect Core 1.0 sections 3.1.3.3 and 3.1.3.7.
"""

from __future__ import annotations

import hmac

from sasl_core.plugin import AuthenticationError
from sasl_tokens.errors import TokenError
from sasl_tokens.gate import read_identity

__all__ = ["check_id_token"]


def check_id_token(token: object, *, issuer: str, client_id: str, nonce: str) -> None:
    """Check that the ID token is of this login: of the provider, for the client, with the nonce.

    Raises:
        AuthenticationError: it is not, or cannot be read; code "id-token".
    """
    problem = _problem(token, issuer, client_id, nonce)
    if problem is not None:
        raise AuthenticationError(code="id-token", detail=f"the ID token of the login: {problem}")


def _problem(token: object, issuer: str, client_id: str, nonce: str) -> str | None:
    if not isinstance(token, str):
        return "it is no string"
    try:
        claims = read_identity(token)
    except TokenError as error:
        return error.detail or error.code
    if claims.get("iss") != issuer:
        return "it is of another issuer"
    audience = claims.get("aud")
    if client_id not in (audience if isinstance(audience, list) else [audience]):
        return "it is for another client"
    if claims.get("azp", client_id) != client_id:
        return "it was given to another client"
    said = claims.get("nonce")
    if not isinstance(said, str) or not hmac.compare_digest(
        said.encode("utf-8", "replace"), nonce.encode("ascii")
    ):
        return "it has another nonce, or none"
    return None
