"""The messages of MONGODB-OIDC, parsed and formatted: BSON documents of text.

    ClientStep1   {n?}                                     tell me whom you trust
    ServerStep1   {issuer, clientId?, requestScopes?}      this provider, and ask it so
    ClientStep2   {jwt}                                    here is its token

A client that has a token begins with ClientStep2, and is through. Fields that are not listed
are ignored, whatever they hold; one that is listed and holds something else is refused. A
server sends no other field than these, for PyMongo takes each for an argument of a function.

Nothing here knows whether the token is any good, or whether the issuer may be believed.

Source: MongoDB's README of MONGODB-OIDC, "SASL exchange"; the driver authentication
specification, "MONGODB-OIDC".
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import attrs

from sasl_core.plugin import PeerError, UsageError, record
from sasl_tokens.bson import decode_document, encode_document
from sasl_tokens.told import is_printable, parse_provider

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = [
    "HINT_LIMIT",
    "ClientStep1",
    "ClientStep2",
    "ServerStep1",
    "format_client_step1",
    "format_client_step2",
    "format_server_step1",
    "parse_client_opening",
    "parse_client_step2",
    "parse_server_step1",
]

HINT_LIMIT: Final = 1024
"""Longest `n`, in characters: as long as a name may be. It meets regular expressions."""


@record
class ClientStep1:
    """Asks which provider to go to. `principal_name` (`n`): a hint, None without one."""

    principal_name: str | None = None


@record
class ServerStep1:
    """The provider to go to. `client_id`: as whom an application asks it, None for a provider
    that machines use.
    """

    issuer: str
    client_id: str | None = None
    request_scopes: tuple[str, ...] = ()


@record
class ClientStep2:
    """An access token, in compact serialisation."""

    jwt: str = attrs.field(repr=False)


def parse_client_opening(message: bytes) -> ClientStep1 | ClientStep2:
    """Parse a client's first message, which is either of its two.

    Where there is a `jwt` it is ClientStep2, and a hint beside it one of the fields that are
    ignored. An empty hint is none.

    Raises:
        PeerError: it is malformed; code "bson" or "oidc-message".
    """
    document = decode_document(message)
    if "jwt" in document:
        return ClientStep2(_token(document))
    hint = _text(document, "n") if "n" in document else ""
    if len(hint) > HINT_LIMIT:
        raise PeerError(f"n has more than {HINT_LIMIT} characters", code="oidc-message")
    return ClientStep1(hint or None)


def format_client_step1(principal_name: str | None = None) -> bytes:
    """Return a ClientStep1; no hint at all for an empty one.

    Raises:
        UsageError: the hint is too long, or cannot be sent.
    """
    if not principal_name:
        return encode_document({})
    if len(principal_name) > HINT_LIMIT:
        raise UsageError(f"a user name of more than {HINT_LIMIT} characters")
    return encode_document({"n": principal_name})


def parse_client_step2(message: bytes) -> ClientStep2 | None:
    """Parse what follows a ServerStep1; None if there is no `jwt`, and it is one more step 1.

    Raises:
        PeerError: it is malformed; code "bson" or "oidc-message".
    """
    document = decode_document(message)
    return ClientStep2(_token(document)) if "jwt" in document else None


def format_client_step2(jwt: str) -> bytes:
    """Return a ClientStep2.

    Raises:
        UsageError: the token is empty, or cannot be sent.
    """
    if not jwt:
        raise UsageError("the access token is empty", code="empty-token")
    return encode_document({"jwt": jwt})


def parse_server_step1(message: bytes) -> ServerStep1:
    """Parse a ServerStep1. Whether the issuer's address is one to go to is the caller's to say.

    Raises:
        PeerError: it is malformed; code "bson" or "oidc-message".
    """
    return ServerStep1(*parse_provider(decode_document(message)))


def format_server_step1(step: ServerStep1) -> bytes:
    """Return a ServerStep1; what there is none of is left out.

    Raises:
        UsageError: a part of it is empty or cannot be printed, as no client may accept it.
    """
    document: dict[str, object] = {"issuer": step.issuer}
    if step.client_id is not None:
        document["clientId"] = step.client_id
    if step.request_scopes:
        document["requestScopes"] = step.request_scopes
    given = (step.issuer, step.issuer if step.client_id is None else step.client_id)
    if not all(map(is_printable, (*given, *step.request_scopes))):
        raise UsageError("issuer, client and scopes are printable text, and not empty")
    return encode_document(document)


def _token(document: Mapping[str, object]) -> str:
    token = _text(document, "jwt")
    if not token:
        raise PeerError("jwt is empty", code="oidc-message")
    return token


def _text(document: Mapping[str, object], field: str) -> str:
    value = document.get(field)
    if not isinstance(value, str):
        raise PeerError(f"{field} is no text, or is missing", code="oidc-message")
    return value
