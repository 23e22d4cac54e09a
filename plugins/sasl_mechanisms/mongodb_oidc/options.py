"""The options of `[mechanisms.MONGODB-OIDC]`, one table for both sides."""

from __future__ import annotations

from sasl_core.plugin import record

__all__ = ["MongodbOidcOptions"]


@record
class MongodbOidcOptions:
    """What is configured of MONGODB-OIDC.

    A server's: `user_namespace`, MongoDB's database of the users, a property of the session, and
    `role_namespace`, that of their roles. A client's: `allow_loopback_http`: a server may name a
    provider on this very machine without TLS.
    """

    user_namespace: str = "$external"
    role_namespace: str = "admin"
    allow_loopback_http: bool = False
