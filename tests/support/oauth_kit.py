"""OAUTHBEARER and XOAUTH2 in tests: configuration, messages, and servers that know some tokens.

with knowing(BEARER, {"good": "alice"}) as server:
    with server.session() as session:
        assert session.start(BEARER, message_for(BEARER, "good", "alice")).done
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sasl_auxprop.memory import MemoryStore
from sasl_core import Server
from sasl_mechanisms import xoauth2
from sasl_mechanisms.oauthbearer import messages as oauthbearer
from sasl_tokens.bearer import BearerLogin, BearerRequest, TokenValidator, set_validator

__all__ = [
    "ACKNOWLEDGEMENT",
    "BEARER",
    "BOTH",
    "FAR",
    "HOST",
    "XOAUTH2",
    "configured",
    "knowing",
    "known",
    "message_for",
]

BEARER, XOAUTH2 = "OAUTHBEARER", "XOAUTH2"
BOTH = (BEARER, XOAUTH2)
HOST = "mail.example.com"
FAR = 9e9
"""A time in the far future."""

ACKNOWLEDGEMENT = {BEARER: b"\x01", XOAUTH2: b""}
"""What a client answers to an error."""


def configured(validation: str = "application", **options: Any) -> dict[str, Any]:
    """A configuration of both mechanisms, for both sides; options of None are left out."""
    given = {"validation": validation, **options}
    given = {name: value for name, value in given.items() if value is not None}
    return {"allow_cleartext": True, "mechanisms": {name: dict(given) for name in BOTH}}


def message_for(mechanism: str, token: str, name: str = "alice") -> bytes:
    """What a client sends."""
    if mechanism == XOAUTH2:
        return xoauth2.make_client_message(token, name)
    return oauthbearer.make_client_message(token, name or None)


def known(tokens: Mapping[str, str]) -> TokenValidator:
    """A validator of an application that knows some tokens, and whose they are."""

    def validator(token: str, request: BearerRequest) -> BearerLogin | None:
        user = tokens.get(token)
        return None if user is None else BearerLogin(user, "application", FAR)

    return validator


def knowing(
    tokens: Mapping[str, str] | TokenValidator,
    *,
    config: Mapping[str, Any] | None = None,
    **more: Any,
) -> Server:
    """A server that validates by its application. `tokens`: for `known`, or a validator."""
    more.setdefault("stores", [MemoryStore()])
    server = Server("imap", HOST, config=configured() if config is None else config, **more)
    set_validator(server.utils, known(tokens) if isinstance(tokens, Mapping) else tokens)
    return server
