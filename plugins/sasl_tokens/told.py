"""What a server says of its identity provider: read here, for every client that is told.

A server is a stranger until the login is over, and what it says goes into requests, onto screens,
into logs, and to a person's browser. Invariants: it is printable and bounded; an issuer is an
address that somebody may be sent to.

Source: MongoDB's driver authentication specification, "MONGODB-OIDC" (IdPInfo).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, cast

from sasl_core.plugin import PeerError
from sasl_tokens.bson import SIZE_LIMIT

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["check_issuer", "is_printable", "parse_provider"]

LIMIT: Final = SIZE_LIMIT
"""Most characters of it all: no more fit into a message of MONGODB-OIDC."""


def parse_provider(document: Mapping[str, object]) -> tuple[str, str | None, tuple[str, ...]]:
    """`issuer`, `clientId` (None where there is none) and `requestScopes` of a server's document.

    Whether the issuer is one to go to is `check_issuer`'s to say.

    Raises:
        PeerError: one has the wrong type, is empty, cannot be printed, or all are too long; code
            "oidc-message".
    """
    issuer = _printable(document.get("issuer"), "issuer")
    client_id = _printable(document["clientId"], "clientId") if "clientId" in document else None
    given = document.get("requestScopes", [])
    if not isinstance(given, list):
        raise PeerError("requestScopes is no array of printable text", code="oidc-message")
    if len(scopes := cast("list[object]", given)) > LIMIT:
        raise _too_long()
    checked = tuple(_printable(scope, "requestScopes") for scope in scopes)
    if len(issuer) + len(client_id or "") + sum(len(scope) + 1 for scope in checked) > LIMIT:
        raise _too_long()
    return issuer, client_id, checked


def check_issuer(
    issuer: str, *, allow_loopback_http: bool, option: str = "allow_loopback_http"
) -> None:
    """Make sure that what a server names is an address that our user may be sent to.

    `option`: what the client would have to say for http of this very machine.

    Raises:
        PeerError: it is none, or longer than one may be; code "oidc-issuer".
    """
    from sasl_tokens.urls import UrlProblem, check_url

    try:
        _ = check_url(issuer, what="issuer", allow_loopback_http=allow_loopback_http)
    except UrlProblem as error:
        # The address's own words are those of a server's configuration.
        problem = error.problem.replace("allowLoopbackHttp", option)
    else:
        return
    raise PeerError(
        "the server names an identity provider that nobody may be sent to",
        code="oidc-issuer",
        detail=problem,
    )


def is_printable(text: str) -> bool:
    """Whether it has characters, and each can be shown."""
    return bool(text) and text.isprintable()


def _printable(value: object, field: str) -> str:
    if not isinstance(value, str):
        raise PeerError(f"{field} is no text, or is missing", code="oidc-message")
    if not is_printable(value):
        raise PeerError(f"{field} is empty or cannot be printed", code="oidc-message")
    return value


def _too_long() -> PeerError:
    return PeerError(
        f"what is said of the provider has more than {LIMIT} characters", code="oidc-message"
    )
