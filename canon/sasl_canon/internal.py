"""INTERNAL: the default canonicaliser, the same on both sides.

Surrounding white space goes, name and realm are prepared with SASLprep (RFC 4013), each by
itself, and a name without a realm gets the default realm, if there is one. White space
inside, control characters, an empty name and an empty realm after an `@` are refused. It
never folds case, and what it returns it returns again unchanged.

Source: Cyrus SASL's plugin guide, "User Canonicalization (canon_user) Plugins".
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from sasl_core.plugin import CanonContext, CanonFlag, CanonUserPlug, PeerError, hookimpl, saslprep

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sasl_core.plugin import SaslUtils

__all__ = ["SASL_PLUGIN_API", "sasl_canonuser_init"]

SASL_PLUGIN_API = 1

NAME_LIMIT: Final = 256
"""Longest name, in characters, before and after preparation; the realm is not counted."""
REALM_LIMIT: Final = 255
"""Longest realm, in characters, before and after preparation."""

# What preparation makes a blank or an `@` of that str.strip() and rpartition() would not see.
_PLAIN: Final = {0x200B: " ", 0xFE6B: "@", 0xFF20: "@"}

# Printable ASCII without blanks, and with one `@` at most: preparation changes none of it.
_PLAIN_NAME: Final = re.compile(
    rf"[!-?A-~]{{1,{NAME_LIMIT}}}+(?:@[!-?A-~]{{1,{REALM_LIMIT}}}+)?"
).fullmatch


class InternalCanonicalizer(CanonUserPlug):
    """See the module."""

    name = "INTERNAL"

    def canon_user_server(self, ctx: CanonContext, user: str, flags: CanonFlag) -> str:
        del flags
        # Letters and digits of ASCII are told faster than all that preparation leaves alone.
        if not ctx.realm and (
            (len(user) <= NAME_LIMIT and user.isascii() and user.isalnum())
            or _PLAIN_NAME(user) is not None
        ):
            return user
        return _canonical(user, ctx.realm)

    canon_user_client = canon_user_server


def _canonical(user: str, default_realm: str) -> str:
    # The caps come first: preparation may make a name eighteen times longer.
    if len(user) > NAME_LIMIT + 1 + REALM_LIMIT:
        raise _too_long()
    if not user.isascii():
        user = user.translate(_PLAIN)
    name, at, realm = user.strip().rpartition("@")
    if not at:
        name, realm = realm, default_realm
    name = _prepared(name, NAME_LIMIT)
    # A right-to-left name and a left-to-right realm are no mixed text: each stands by itself.
    realm = _prepared(realm, REALM_LIMIT)
    if not name or name.startswith("@"):
        raise PeerError("the user name is empty, or begins with an @", code="bad-name")
    if at and not realm:
        # Nobody has an empty realm on purpose: "tim@" would be another spelling of "tim".
        raise PeerError("the realm after the @ is empty", code="bad-name")
    return f"{name}@{realm}" if realm else name


def _prepared(part: str, limit: int) -> str:
    if len(part) > limit:
        raise _too_long()
    prepared = saslprep(part)
    if len(prepared) > limit:
        raise _too_long()
    if " " in prepared:
        raise PeerError("the user name holds white space", code="bad-name")
    return prepared


def _too_long() -> PeerError:
    return PeerError(
        f"a user name has at most {NAME_LIMIT} characters, a realm {REALM_LIMIT}", code="bad-name"
    )


@hookimpl
def sasl_canonuser_init(utils: SaslUtils) -> Sequence[CanonUserPlug]:
    """The plug."""
    del utils
    return [InternalCanonicalizer()]
