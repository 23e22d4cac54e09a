"""What `sasl auth` makes of a connection and of a login over it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from sasl_cli.addresses import is_loopback
from sasl_core.plugin import (
    BindingPolicy,
    ChannelBindings,
    Feature,
    SaslError,
    SecurityFlag,
    base_name,
)

if TYPE_CHECKING:
    from sasl_core import Client, ClientSession, ConnectionFacts

__all__ = ["TOKENS", "on_loopback", "shows_password", "who", "why_not_bound"]

TOKENS: Final = dict.fromkeys(("OAUTHBEARER", "XOAUTH2", "MONGODB-OIDC"))
"""The mechanisms that take an access token, the standard's own first."""


def who(
    session: ClientSession, *, mechanism: str | None = None, certificate: str | None = None
) -> str:
    """As whom we are logged in, and by what.

    `mechanism`: as the protocol calls it. `certificate`: the file of the one that was shown.
    With a token or a certificate only the server knows whom it let in. A name that it was told,
    and did not refuse, is as whom it lets us act.
    """
    by = session.mechanism if mechanism is None else mechanism
    as_other = "" if session.authid == session.authzid else f" acting as {session.authzid}"
    if session.mechanism == "EXTERNAL":
        subject = None if certificate is None else _subject(certificate)
        as_other = "" if session.authzid == subject else as_other
        shown = "what the connection vouches for" if subject is None else f"certificate {subject}"
        return f"by {shown}{as_other}, by {by}"
    if session.mechanism in TOKENS:
        return f"by its access token{as_other}, by {by}"
    return f"as {session.authid}{as_other} by {by}"


def _subject(file: str) -> str | None:
    """Whom the certificate in a file names; None: nobody that could be printed."""
    from sasl_tls import parse_subject, read_certificate

    try:
        return parse_subject(read_certificate(file)).name
    except SaslError:
        # TLS stood with it all the same: the server has judged it, and knows better.
        return None


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
