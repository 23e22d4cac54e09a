"""Where a client's access tokens come from, each an entry point of `sasl_core.credentials`.

`file` reads one from a file, `environment` asks the machine that we run on, and
`client_credentials` an identity provider in our own name. `authorization_code` and `device_code`
send a person to the provider, with the browser or on another machine. `callback` is for the
application that gets them itself, `grants` are the requests to a provider's token endpoint.

    client = Client("mongodb", host, credentials=CallbackTokens(get_token), http=HttpTransport())

None of them keeps a token: that is for `sasl_tokens.client`, which asks them.
"""

from __future__ import annotations

import sys
from importlib import import_module
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from sasl_credentials.authorization_code import AuthorizationCode, AuthorizationCodeOptions
    from sasl_credentials.callback import CallbackTokens
    from sasl_credentials.client_credentials import ClientCredentials, ClientCredentialsOptions
    from sasl_credentials.device_code import DeviceCode, DeviceCodeOptions
    from sasl_credentials.device_messages import DevicePrompt
    from sasl_credentials.environment import AzureTokens, GcpTokens, K8sTokens, TestTokens
    from sasl_credentials.file import FileTokens
    from sasl_credentials.grants import AuthMethod, refresh_grant

__all__ = [
    "AuthMethod",
    "AuthorizationCode",
    "AuthorizationCodeOptions",
    "AzureTokens",
    "CallbackTokens",
    "ClientCredentials",
    "ClientCredentialsOptions",
    "DeviceCode",
    "DeviceCodeOptions",
    "DevicePrompt",
    "FileTokens",
    "GcpTokens",
    "K8sTokens",
    "TestTokens",
    "refresh_grant",
]

# Module -> what it gives. Each is loaded when one of its names is first used.
_HOMES: Final[Mapping[str, Sequence[str]]] = {
    "authorization_code": ("AuthorizationCode", "AuthorizationCodeOptions"),
    "callback": ("CallbackTokens",),
    "client_credentials": ("ClientCredentials", "ClientCredentialsOptions"),
    "device_code": ("DeviceCode", "DeviceCodeOptions"),
    "device_messages": ("DevicePrompt",),
    "environment": ("AzureTokens", "GcpTokens", "K8sTokens", "TestTokens"),
    "file": ("FileTokens",),
    "grants": ("AuthMethod", "refresh_grant"),
}
_HOME_OF: Final = {name: home for home, names in _HOMES.items() for name in names}


def __getattr__(name: str) -> object:
    home = _HOME_OF.get(name)
    if home is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value: object = getattr(import_module(f"{__name__}.{home}"), name)
    setattr(sys.modules[__name__], name, value)
    return value
