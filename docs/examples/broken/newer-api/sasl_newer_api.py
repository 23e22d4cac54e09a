"""Written for a plugin interface that no release speaks yet."""

from __future__ import annotations

from collections.abc import Sequence

from sasl_core.plugin import SaslUtils, ServerPlug, hookimpl

SASL_PLUGIN_API = 99


@hookimpl
def sasl_server_plug_init(utils: SaslUtils) -> Sequence[ServerPlug]:
    """Never called."""
    raise NotImplementedError
