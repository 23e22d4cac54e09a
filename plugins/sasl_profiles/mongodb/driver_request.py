"""What PyMongo asks of a callback, in our words; and our hosts in its own.

Source: MongoDB's driver authentication specification, "MONGODB-OIDC", OIDC_CALLBACK,
OIDC_HUMAN_CALLBACK and ALLOWED_HOSTS.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final, Protocol

from sasl_core import TokenRequest
from sasl_core.plugin import UsageError
from sasl_tokens.told import check_issuer, parse_provider

if TYPE_CHECKING:
    from collections.abc import Iterable

    from sasl_core.plugin import CredentialsPlug

__all__ = ["Context", "hosts_for_pymongo", "token_request"]

LONGEST: Final = 3600.0
"""Most seconds that any call has: PyMongo gives a person 300, or what an application says."""

_NUMERIC: Final = re.compile(r"\*\.[0-9.]+")


class Provider(Protocol):
    """What a server said of its provider, unread: `pymongo.auth_oidc.OIDCIdPInfo`."""

    @property
    def issuer(self) -> object: ...
    @property
    def clientId(self) -> object: ...  # noqa: N802 - PyMongo's name.
    @property
    def requestScopes(self) -> object: ...  # noqa: N802


class Context(Protocol):
    """What PyMongo tells: `pymongo.auth_oidc.OIDCCallbackContext`."""

    @property
    def timeout_seconds(self) -> float: ...
    @property
    def username(self) -> str: ...
    @property
    def refresh_token(self) -> str | None: ...
    @property
    def idp_info(self) -> Provider | None: ...


def hosts_for_pymongo(hosts: Iterable[str]) -> tuple[str, ...]:
    """The hosts that a person's token may be shown to, as PyMongo compares them: letter by letter.

    They have been checked.
    """
    plain = (host.lower().removesuffix(".").strip("[]") for host in hosts)
    # To us an address has no labels; PyMongo would take any that ends so.
    return tuple(host for host in plain if not _NUMERIC.fullmatch(host))


def token_request(
    host: str, source: CredentialsPlug, context: Context, *, allow_loopback_http: bool
) -> TokenRequest:
    """What PyMongo asks, in our words.

    What a server says of its provider PyMongo passes on unread, so that it is read here as
    MONGODB-OIDC's own client reads it.

    Raises:
        PeerError: what the server said of its provider makes no sense (code "oidc-message"), or
            is no address that anybody may be sent to (code "oidc-issuer").
        UsageError: nobody has looked at the host, and the source is a person's.
    """
    asked: tuple[str | None, str | None, tuple[str, ...]] = (None, None, ())
    told = context.idp_info
    if told is not None:
        given = {
            "issuer": told.issuer,
            "clientId": told.clientId,
            "requestScopes": told.requestScopes,
        }
        # PyMongo has None for what the server left out.
        read = parse_provider({name: part for name, part in given.items() if part is not None})
        check_issuer(read[0], allow_loopback_http=allow_loopback_http)
        asked = read
    elif source.human:
        raise UsageError(
            f"credentials {source.name!r} ask a person: give them as OIDC_HUMAN_CALLBACK, with "
            "which PyMongo looks at ALLOWED_HOSTS first; properties() has both",
            code="host-not-allowed",
        )
    return TokenRequest(
        "mongodb",
        host,
        context.username or None,
        *asked,
        refresh_token=context.refresh_token if source.human else None,
        deadline=max(0.0, min(float(context.timeout_seconds), LONGEST)),
    )
