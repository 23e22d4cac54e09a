"""What `sasl auth` makes of a connection and of a login over it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from sasl_cli.addresses import is_loopback
from sasl_core.plugin import (
    BindingPolicy,
    ChannelBindings,
    Feature,
    SecurityFlag,
    base_name,
)

if TYPE_CHECKING:
    from sasl_core import Client, ClientSession, ConnectionFacts

__all__ = ["TOKENS", "on_loopback", "shows_password", "who", "why_not_bound"]

TOKENS: Final = frozenset({"MONGODB-OIDC", "OAUTHBEARER", "XOAUTH2"})
"""The mechanisms that take an access token."""


def who(session: ClientSession, *, mechanism: str | None = None) -> str:
    """As whom we are logged in, and by what; `mechanism`: as the protocol calls it.

    With a token or a certificate only the server knows whom it let in. A name that it was told,
    and did not refuse, is as whom it lets us act.
    """
    by = session.mechanism if mechanism is None else mechanism
    if session.mechanism == "EXTERNAL":
        return f"by what the connection vouches for, by {by}"
    as_other = "" if session.authid == session.authzid else f" acting as {session.authzid}"
    if session.mechanism in TOKENS:
        return f"by its access token{as_other}, by {by}"
    return f"as {session.authid}{as_other} by {by}"


def on_loopback(facts: ConnectionFacts) -> bool:
    """Whether the connection has no TLS and ends on this machine."""
    remote = facts.get("remote") or ""
    return not facts.get("external_ssf") and is_loopback(remote.rpartition(";")[0])


def shows_password(client: Client, mechanism: str | None) -> bool:
    """Whether the mechanism sends the password as it is."""
    if mechanism is None:
        return False
    plug = client.core.mechanism(base_name(mechanism))
    return not plug.security_flags & SecurityFlag.NOPLAINTEXT


def why_not_bound(
    client: Client, facts: ConnectionFacts, offered: tuple[str, ...], session: ClientSession
) -> str | None:
    """Why a login by plain SCRAM over TLS was not by its -PLUS.

    None: there was nothing to bind, or the mechanism or the protocol knows of no binding.
    """
    bindings = facts.get("channel_bindings")
    if bindings is None or not facts.get("external_ssf") or session.mechanism is None:
        return None
    plug = client.core.mechanism(base_name(session.mechanism))
    if not plug.features & Feature.CHANNEL_BINDING:
        return None
    if facts.get("binding_policy") is BindingPolicy.OFF:
        return "--binding is off"
    name = f"{session.mechanism}-PLUS"
    if name not in offered:
        return f"the server does not offer {name}"
    if isinstance(bindings, ChannelBindings) and not bindings:
        return bindings.why_none()
    return session.rejected.get(name, f"{name} was passed over")
