"""sasl-core: a framework for SASL, the authentication layer of mail, directories and databases.

This is the application's door; `sasl_core.aio` is the same one for asyncio, and
`sasl_core.plugin` is the plugin author's. Names are loaded when they are first used, so
that importing the package stays cheap.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from sasl_core.errors import (
    AuthenticationError,
    BackendError,
    ConfigError,
    MechanismError,
    PeerError,
    PluginError,
    SaslError,
    UsageError,
)
from sasl_core.flags import (
    BindingPolicy,
    Blocking,
    CanonFlag,
    Decision,
    Feature,
    SecurityFlag,
    SetpassFlag,
    Side,
)
from sasl_core.results import Result

if TYPE_CHECKING:
    from sasl_core.accounts import SetpassReport, TargetResult
    from sasl_core.audit import AuditEvent
    from sasl_core.blocking import Client, ClientSession, Server, ServerSession
    from sasl_core.config import Configuration
    from sasl_core.credentials import AccessToken, CredentialsPlug, TokenRequest
    from sasl_core.encoding import b64decode, b64encode
    from sasl_core.exchange import TRANSITIONS, Exchange
    from sasl_core.facts import ChannelBindings, ConnectionFacts, SecurityProperties
    from sasl_core.layer import Layer
    from sasl_core.names import UserName
    from sasl_core.needs import (
        Found,
        HttpRequest,
        HttpResponse,
        Need,
        NeedAuthorize,
        NeedCall,
        NeedCallback,
        NeedDerivation,
        NeedHttp,
        NeedInitial,
        NeedPassword,
        NeedPeer,
        NeedStore,
        NeedUser,
        NeedVerdict,
        PasswordAnswer,
        Prompt,
        PromptId,
    )
    from sasl_core.negotiation import ClientNegotiation, Phase, Reply, ServerNegotiation
    from sasl_core.properties import PropertyContext
    from sasl_core.registry import Registry
    from sasl_core.verifier import ScramVerifier, derive

__version__ = "0.1.0"

_LAZY = {
    "accounts": ("SetpassReport", "TargetResult"),
    "audit": ("AuditEvent",),
    "blocking": ("Client", "ClientSession", "Server", "ServerSession"),
    "config": ("Configuration",),
    "credentials": ("AccessToken", "CredentialsPlug", "TokenRequest"),
    "encoding": ("b64decode", "b64encode"),
    "exchange": ("TRANSITIONS", "Exchange"),
    "facts": ("ChannelBindings", "ConnectionFacts", "SecurityProperties"),
    "layer": ("Layer",),
    "names": ("UserName",),
    "needs": (
        "Found",
        "HttpRequest",
        "HttpResponse",
        "Need",
        "NeedAuthorize",
        "NeedCall",
        "NeedCallback",
        "NeedDerivation",
        "NeedHttp",
        "NeedInitial",
        "NeedPassword",
        "NeedPeer",
        "NeedStore",
        "NeedUser",
        "NeedVerdict",
        "PasswordAnswer",
        "Prompt",
        "PromptId",
    ),
    "negotiation": ("ClientNegotiation", "Phase", "Reply", "ServerNegotiation"),
    "properties": ("PropertyContext",),
    "registry": ("Registry",),
    "verifier": ("ScramVerifier", "derive"),
}
_HOME = {name: module for module, names in _LAZY.items() for name in names}


def __getattr__(name: str) -> object:
    module = _HOME.get(name)
    if module is None:
        raise AttributeError(f"module 'sasl_core' has no attribute {name!r}")
    from importlib import import_module

    value: object = getattr(import_module(f"sasl_core.{module}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOME})


__all__ = [
    "TRANSITIONS",
    "AccessToken",
    "AuditEvent",
    "AuthenticationError",
    "BackendError",
    "BindingPolicy",
    "Blocking",
    "CanonFlag",
    "ChannelBindings",
    "Client",
    "ClientNegotiation",
    "ClientSession",
    "ConfigError",
    "Configuration",
    "ConnectionFacts",
    "CredentialsPlug",
    "Decision",
    "Exchange",
    "Feature",
    "Found",
    "HttpRequest",
    "HttpResponse",
    "Layer",
    "MechanismError",
    "Need",
    "NeedAuthorize",
    "NeedCall",
    "NeedCallback",
    "NeedDerivation",
    "NeedHttp",
    "NeedInitial",
    "NeedPassword",
    "NeedPeer",
    "NeedStore",
    "NeedUser",
    "NeedVerdict",
    "PasswordAnswer",
    "PeerError",
    "Phase",
    "PluginError",
    "Prompt",
    "PromptId",
    "PropertyContext",
    "Registry",
    "Reply",
    "Result",
    "SaslError",
    "ScramVerifier",
    "SecurityFlag",
    "SecurityProperties",
    "Server",
    "ServerNegotiation",
    "ServerSession",
    "SetpassFlag",
    "SetpassReport",
    "Side",
    "TargetResult",
    "TokenRequest",
    "UsageError",
    "UserName",
    "b64decode",
    "b64encode",
    "derive",
]
