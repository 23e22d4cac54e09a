"""The hooks of a plugin module: what the core calls, once per Server or Client.

A plugin module declares `SASL_PLUGIN_API = 1` and marks with `@hookimpl` one function for
each kind of plug that it brings. Every hook takes the plugin's `SaslUtils` as `utils` and
returns a sequence of plugs, one for each name that the module is registered for. The
prefix `sasl_` belongs to the hooks: a function of a plugin module that bears it and is
none is refused, for it is most likely a hook with a slip of the keyboard in its name.

This is the one module of the core that imports pluggy when it is imported itself; plugin
modules load it through `sasl_core.plugin`, an application that uses no plugin never does.

Source: Cyrus SASL's plugin guide (`sasl_server_plug_init` and its kin).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pluggy import HookimplMarker, HookspecMarker

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sasl_core.credentials import CredentialsPlug
    from sasl_core.plugs import (
        AuditPlug,
        AuxpropPlug,
        CanonUserPlug,
        ClientPlug,
        PwcheckPlug,
        ServerPlug,
    )
    from sasl_core.utils import SaslUtils

__all__ = ["PROJECT", "hookimpl"]

PROJECT = "sasl_core"
"""pluggy's name for what these hooks belong to."""

hookimpl = HookimplMarker(PROJECT)
"""Marks a function of a plugin module as a hook; an unmarked one is refused."""

hookspec = HookspecMarker(PROJECT)


@hookspec(firstresult=True)
def sasl_server_plug_init(utils: SaslUtils) -> Sequence[ServerPlug]:
    """The server's sides of the module's mechanisms (group `sasl_core.mechanisms`)."""
    raise NotImplementedError


@hookspec(firstresult=True)
def sasl_client_plug_init(utils: SaslUtils) -> Sequence[ClientPlug]:
    """The client's sides of the module's mechanisms (group `sasl_core.mechanisms`)."""
    raise NotImplementedError


@hookspec(firstresult=True)
def sasl_canonuser_init(utils: SaslUtils) -> Sequence[CanonUserPlug]:
    """The module's user canonicalisers (group `sasl_core.canon_user`)."""
    raise NotImplementedError


@hookspec(firstresult=True)
def sasl_auxprop_init(utils: SaslUtils) -> Sequence[AuxpropPlug]:
    """The module's property stores (group `sasl_core.auxprop`)."""
    raise NotImplementedError


@hookspec(firstresult=True)
def sasl_credentials_init(utils: SaslUtils) -> Sequence[CredentialsPlug]:
    """The module's sources of a client's secrets (group `sasl_core.credentials`)."""
    raise NotImplementedError


@hookspec(firstresult=True)
def sasl_pwcheck_init(utils: SaslUtils) -> Sequence[PwcheckPlug]:
    """The module's ways to check a plaintext password (group `sasl_core.pwcheck`)."""
    raise NotImplementedError


@hookspec(firstresult=True)
def sasl_audit_init(utils: SaslUtils) -> Sequence[AuditPlug]:
    """The module's listeners to audit events (group `sasl_core.audit`)."""
    raise NotImplementedError
