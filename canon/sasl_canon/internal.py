"""INTERNAL: the default canonicaliser, the same on both sides.

Surrounding white space goes, the name is prepared with SASLprep (RFC 4013), and a name
without a realm gets the default realm, if there is one. White space inside a name, control
characters and an empty name are refused. It never folds case.

Source: Cyrus SASL's plugin guide, "User Canonicalization (canon_user) Plugins".
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from sasl_core.plugin import CanonContext, CanonFlag, CanonUserPlug, PeerError, hookimpl, saslprep

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sasl_core.plugin import SaslUtils

__all__ = ["SASL_PLUGIN_API", "sasl_canonuser_init"]

SASL_PLUGIN_API = 1

NAME_LIMIT: Final = 256
"""Longest name, in characters, before and after preparation; the realm is not counted."""


class InternalCanonicalizer(CanonUserPlug):
    """See the module."""

    name = "INTERNAL"

    def canon_user_server(self, ctx: CanonContext, user: str, flags: CanonFlag) -> str:
        del flags
        return self._canonical(ctx, user)

    def canon_user_client(self, ctx: CanonContext, user: str, flags: CanonFlag) -> str:
        del flags
        return self._canonical(ctx, user)

    def _canonical(self, ctx: CanonContext, user: str) -> str:
        # The cap comes first: preparation may make a name eighteen times longer.
        if len(user) > NAME_LIMIT:
            raise PeerError(
                f"the user name is longer than {NAME_LIMIT} characters", code="bad-name"
            )
        name = saslprep(user.strip()).strip()
        if not name:
            raise PeerError("the user name is empty", code="bad-name")
        if len(name) > NAME_LIMIT or " " in name:
            raise PeerError(
                "the user name holds white space, or is too long once prepared", code="bad-name"
            )
        if ctx.realm and "@" not in name:
            return f"{name}@{ctx.realm}"
        return name


@hookimpl
def sasl_canonuser_init(utils: SaslUtils) -> Sequence[CanonUserPlug]:
    """The plug."""
    del utils
    return [InternalCanonicalizer()]
