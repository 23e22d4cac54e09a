"""The plugin author's door: all that a plugin may import from the core.

A plugin is a module named by an entry point. It says which plugin interface it was
written for (`SASL_PLUGIN_API = 1`), and marks its hooks with `@hookimpl`:
`sasl_server_plug_init`, `sasl_client_plug_init`, `sasl_canonuser_init`,
`sasl_auxprop_init`, `sasl_pwcheck_init`, `sasl_credentials_init`, `sasl_audit_init`. Each
takes the `SaslUtils` of the plugin and returns a sequence of plugs.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from sasl_core._record import record
from sasl_core.conf_values import suggestion
from sasl_core.context import CanonContext
from sasl_core.edge import raised, sever
from sasl_core.encoding import b64decode, b64encode
from sasl_core.errors import (
    AuthenticationError,
    BackendError,
    ConfigError,
    MechanismError,
    PeerError,
    PluginError,
    SaslError,
    UsageError,
    printable,
)
from sasl_core.facts import ChannelBindings
from sasl_core.flags import (
    Availability,
    BindingPolicy,
    Blocking,
    CanonFlag,
    Decision,
    DowngradePolicy,
    Feature,
    SecurityFlag,
    SetpassFlag,
    Side,
)
from sasl_core.gs2 import (
    Gs2Header,
    escape_saslname,
    format_gs2,
    parse_gs2,
    parse_saslname,
    unescape_saslname,
)
from sasl_core.hookspecs import hookimpl
from sasl_core.layer import Layer
from sasl_core.names import UserName, base_name, is_mechanism_name
from sasl_core.needs import (
    Change,
    Found,
    HttpRequest,
    HttpResponse,
    Need,
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
    User,
)
from sasl_core.outcome import Success, Verified, VerifiedPeer
from sasl_core.plugs import (
    AuditPlug,
    AuxpropPlug,
    CanonUserPlug,
    ClientPlug,
    Needs,
    Plug,
    PwcheckPlug,
    ServerPlug,
    SimpleStore,
)
from sasl_core.properties import HASHES, PASSWORD, VERIFIERS, PropertyContext
from sasl_core.results import Result
from sasl_core.saslprep import prepare_trace, saslprep, saslprep_nonempty
from sasl_core.utils import SaslUtils
from sasl_core.verifier import (
    SCRAM_HASHES,
    ScramVerifier,
    client_proof,
    derive,
    format_verifier,
    parse_verifier,
    server_signature,
    stored_keys,
    verifier_from_salted_password,
)

if TYPE_CHECKING:
    from sasl_core.audit import AuditEvent
    from sasl_core.context import ClientContext, ServerContext
    from sasl_core.credentials import AccessToken, CredentialsPlug, TokenRequest
    from sasl_core.runners.flight import Flight, pause
    from sasl_core.step import ClientStepMechanism, ServerStepMechanism, Step
    from sasl_core.token import ValidatedToken
    from sasl_core.verifier_forms import (
        format_braced_verifier,
        format_mongodb_credentials,
        parse_any_verifier,
        parse_mongodb_credentials,
    )
else:
    from sasl_core._lazy import lazily

    # What not every plugin needs, and a client's hardly ever.
    __getattr__ = lazily(
        __name__,
        {
            "sasl_core.audit": ("AuditEvent",),
            "sasl_core.context.client": ("ClientContext",),
            "sasl_core.context.server": ("ServerContext",),
            "sasl_core.credentials": ("AccessToken", "CredentialsPlug", "TokenRequest"),
            "sasl_core.runners.flight": ("Flight", "pause"),
            "sasl_core.step": ("ClientStepMechanism", "ServerStepMechanism", "Step"),
            "sasl_core.token": ("ValidatedToken",),
            "sasl_core.verifier_forms": (
                "format_braced_verifier",
                "format_mongodb_credentials",
                "parse_any_verifier",
                "parse_mongodb_credentials",
            ),
        },
    )

__all__ = [
    "HASHES",
    "PASSWORD",
    "SCRAM_HASHES",
    "VERIFIERS",
    "AccessToken",
    "AuditEvent",
    "AuditPlug",
    "AuthenticationError",
    "AuxpropPlug",
    "Availability",
    "BackendError",
    "BindingPolicy",
    "Blocking",
    "CanonContext",
    "CanonFlag",
    "CanonUserPlug",
    "Change",
    "ChannelBindings",
    "ClientContext",
    "ClientPlug",
    "ClientStepMechanism",
    "ConfigError",
    "CredentialsPlug",
    "Decision",
    "DowngradePolicy",
    "Feature",
    "Flight",
    "Found",
    "Gs2Header",
    "HttpRequest",
    "HttpResponse",
    "Layer",
    "MechanismError",
    "Need",
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
    "Needs",
    "PasswordAnswer",
    "PeerError",
    "Plug",
    "PluginError",
    "Prompt",
    "PromptId",
    "PropertyContext",
    "PwcheckPlug",
    "Result",
    "SaslError",
    "SaslUtils",
    "ScramVerifier",
    "SecurityFlag",
    "ServerContext",
    "ServerPlug",
    "ServerStepMechanism",
    "SetpassFlag",
    "Side",
    "SimpleStore",
    "Step",
    "Success",
    "TokenRequest",
    "UsageError",
    "User",
    "UserName",
    "ValidatedToken",
    "Verified",
    "VerifiedPeer",
    "b64decode",
    "b64encode",
    "base_name",
    "client_proof",
    "derive",
    "escape_saslname",
    "format_braced_verifier",
    "format_gs2",
    "format_mongodb_credentials",
    "format_verifier",
    "hookimpl",
    "is_mechanism_name",
    "parse_any_verifier",
    "parse_gs2",
    "parse_mongodb_credentials",
    "parse_saslname",
    "parse_verifier",
    "pause",
    "prepare_trace",
    "printable",
    "raised",
    "record",
    "saslprep",
    "saslprep_nonempty",
    "server_signature",
    "sever",
    "stored_keys",
    "suggestion",
    "unescape_saslname",
    "verifier_from_salted_password",
]
