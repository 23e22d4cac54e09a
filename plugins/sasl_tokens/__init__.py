"""Tokens: keys of issuers, signatures, validated tokens, identity providers.

A library that token mechanisms, credential sources and the command line link; it does no I/O.
What it needs from outside it asks for, in generators of needs.

    manager = JWKManager("https://issuer.example.com")
    token = yield from JWSValidatedToken.obtain(text, manager)
    # iss and aud are yours to compare
"""

from __future__ import annotations

import sys
from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sasl_tokens.bson import decode_document, encode_document
    from sasl_tokens.claims import TokenRules
    from sasl_tokens.client import held_token, obtain_token, token_refused
    from sasl_tokens.config import IdentityProviderConfig, parse_providers
    from sasl_tokens.discovery import Discovery, discover
    from sasl_tokens.errors import CODES, TokenError
    from sasl_tokens.jwk import JWK, JWKEC, JWKOKP, JWKRSA, JWKSet
    from sasl_tokens.jwks import JWKManager
    from sasl_tokens.login import TokenLogin
    from sasl_tokens.manager import IDPManager, idp_manager
    from sasl_tokens.names import AuthName, Namespaces
    from sasl_tokens.provider import IdentityProvider
    from sasl_tokens.refresher import IDPJWKSRefresher
    from sasl_tokens.strict import strict_json
    from sasl_tokens.token import JWSValidatedToken
    from sasl_tokens.urls import UrlProblem, check_url
    from sasl_tokens.validator import JWSValidator
else:
    # Module -> what it gives. Each is loaded when one of its names is first used.
    _HOMES = {
        "bson": (
            "decode_document",
            "encode_document",
        ),
        "claims": ("TokenRules",),
        "client": (
            "held_token",
            "obtain_token",
            "token_refused",
        ),
        "config": (
            "IdentityProviderConfig",
            "parse_providers",
        ),
        "discovery": (
            "Discovery",
            "discover",
        ),
        "errors": (
            "CODES",
            "TokenError",
        ),
        "strict": ("strict_json",),
        "jwk": (
            "JWK",
            "JWKEC",
            "JWKOKP",
            "JWKRSA",
            "JWKSet",
        ),
        "jwks": ("JWKManager",),
        "login": ("TokenLogin",),
        "manager": (
            "IDPManager",
            "idp_manager",
        ),
        "names": (
            "AuthName",
            "Namespaces",
        ),
        "provider": ("IdentityProvider",),
        "refresher": ("IDPJWKSRefresher",),
        "token": ("JWSValidatedToken",),
        "urls": (
            "UrlProblem",
            "check_url",
        ),
        "validator": ("JWSValidator",),
    }
    _HOME_OF = {name: home for home, names in _HOMES.items() for name in names}

    def __getattr__(name: str) -> object:
        home = _HOME_OF.get(name)
        if home is None:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        value = getattr(import_module(f"{__name__}.{home}"), name)
        setattr(sys.modules[__name__], name, value)
        return value


__all__ = [
    "AuthName",
    "CODES",
    "Discovery",
    "IDPJWKSRefresher",
    "IDPManager",
    "IdentityProvider",
    "IdentityProviderConfig",
    "JWK",
    "JWKEC",
    "JWKManager",
    "JWKOKP",
    "JWKRSA",
    "JWKSet",
    "JWSValidatedToken",
    "JWSValidator",
    "Namespaces",
    "TokenError",
    "TokenLogin",
    "TokenRules",
    "UrlProblem",
    "check_url",
    "decode_document",
    "discover",
    "encode_document",
    "held_token",
    "idp_manager",
    "obtain_token",
    "parse_providers",
    "strict_json",
    "token_refused",
]
