"""precis: user names by a profile of PRECIS, the same on both sides. Needs the extra `precis`.

The name is split at its last `@`, and the profile is enforced on name and realm, each by
itself. A name without a realm gets the default realm, if there is one. Nothing is cut off:
a blank at either end is one that the profile judges, and an empty realm after an `@` is
refused. What is returned is returned again unchanged.

What PRECIS allows is computed from the Unicode that Python brings (14.0 in 3.11, 15.0 in
3.12, 15.1 in 3.13), so a letter that is younger than that is refused as unassigned.

Source: RFC 8265 sections 3.3, 3.4 and 4.2; RFC 8264 sections 4, 5 and 7.
"""

from __future__ import annotations

from enum import Enum
from typing import TYPE_CHECKING, Final

import attrs

from sasl_core.plugin import (
    CanonContext,
    CanonFlag,
    CanonUserPlug,
    ConfigError,
    PeerError,
    PluginError,
    hookimpl,
    printable,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from sasl_core.plugin import SaslUtils

__all__ = ["SASL_PLUGIN_API", "PrecisOptions", "Profile", "enforcer", "sasl_canonuser_init"]

SASL_PLUGIN_API = 1

NAME_LIMIT: Final = 256
"""Longest name, in characters, before and after the profile; the realm is not counted."""
REALM_LIMIT: Final = 255
"""Longest realm, in characters, before and after the profile."""

MISSING: Final = "it needs precis-i18n, which is not installed: pip install 'sasl-core[precis]'"


class Profile(Enum):
    """The profiles of RFC 8265.

    USERNAME_CASE_MAPPED: `Tim` is `tim` (section 3.3). USERNAME_CASE_PRESERVED: they are two
    users (section 3.4). OPAQUE_STRING: section 4.2, made for passwords; as a name's profile
    it is for protocols that say so, as STUN does (RFC 8489 section 14.3), and allows blanks.
    """

    USERNAME_CASE_MAPPED = "UsernameCaseMapped"
    USERNAME_CASE_PRESERVED = "UsernameCasePreserved"
    OPAQUE_STRING = "OpaqueString"


@attrs.frozen
class PrecisOptions:
    """`profile`: the profile that names and realms obey."""

    profile: Profile = Profile.USERNAME_CASE_PRESERVED


def enforcer(profile: Profile) -> Callable[[str], str]:
    """The function that enforces `profile` on a string, which it returns as it is compared.

    It raises PeerError for a string that the profile does not allow; the message says for
    which reason and never shows the string.

    Raises:
        ImportError: the extra `precis` is not installed.
    """
    from precis_i18n import get_profile

    enforce = get_profile(profile.value).enforce
    blanks = profile is Profile.OPAQUE_STRING
    lower = profile is Profile.USERNAME_CASE_MAPPED

    def enforced(text: str) -> str:
        # All profiles allow all of printable ASCII but the blank, which is OpaqueString's.
        if text and text.isascii() and text.isprintable() and (blanks or " " not in text):
            return text.lower() if lower else text
        try:
            return enforce(text)
        except UnicodeError as error:
            # A UnicodeEncodeError carries the whole text, so the reason alone goes on.
            reason = error.reason if isinstance(error, UnicodeEncodeError) else "malformed"
        kind = printable(reason, 80).removeprefix("DISALLOWED/").replace("_", " ")
        raise PeerError(f"not allowed by {profile.value}: {kind}", code="bad-name")

    return enforced


class PrecisCanonicalizer(CanonUserPlug):
    """See the module. Without the extra it is there to say so, and lets no name through."""

    name = "precis"

    def __init__(self, profile: Profile = Profile.USERNAME_CASE_PRESERVED) -> None:
        try:
            self._enforced = enforcer(profile)
        except ImportError:
            self._enforced = _missing
            self._reason: str | None = MISSING
        else:
            self._reason = None
        # Names are split before their width is mapped, which makes an `@` of U+FF20.
        self._wide_at = "@" if profile is not Profile.OPAQUE_STRING else "\uff20"

    def availability(self) -> str | None:
        return self._reason

    def canon_user_server(self, ctx: CanonContext, user: str, flags: CanonFlag) -> str:
        del flags
        return self._canonical(user, ctx.realm)

    def canon_user_client(self, ctx: CanonContext, user: str, flags: CanonFlag) -> str:
        del flags
        return self._canonical(user, ctx.realm)

    def check_realm(self, realm: str) -> None:
        """Make sure that names can have the default realm `realm`.

        Raises:
            ConfigError: the profile does not allow it, and no name would be accepted.
        """
        if not realm or self._reason is not None:
            return
        try:
            _ = self._part(realm, REALM_LIMIT)
        except PeerError as error:
            problem = str(error)
        else:
            return
        raise ConfigError(f"the default realm cannot be a realm: {problem}", key="user_realm")

    def _canonical(self, user: str, default_realm: str) -> str:
        name, at, realm = user.replace("\uff20", self._wide_at).rpartition("@")
        if not at:
            name, realm = realm, default_realm
        elif not realm:
            # Nobody has an empty realm on purpose: "tim@" would be another spelling of "tim".
            raise PeerError("the realm after the @ is empty", code="bad-name")
        if name.startswith("@"):
            raise PeerError("the user name begins with an @", code="bad-name")
        # The Bidi Rule is one for labels: a right-to-left name may have a left-to-right realm.
        name = self._part(name, NAME_LIMIT)
        return f"{name}@{self._part(realm, REALM_LIMIT)}" if realm else name

    def _part(self, part: str, limit: int) -> str:
        # The cap comes first: the profiles take a microsecond and more for each character.
        if len(part) > limit:
            raise _too_long()
        enforced = self._enforced(part)
        if len(enforced) > limit:
            raise _too_long()
        return enforced


def _missing(text: str) -> str:
    del text
    raise PluginError("precis", "", MISSING)


def _too_long() -> PeerError:
    return PeerError(
        f"a user name has at most {NAME_LIMIT} characters, a realm {REALM_LIMIT}", code="bad-name"
    )


@hookimpl
def sasl_canonuser_init(utils: SaslUtils) -> Sequence[CanonUserPlug]:
    """The plug."""
    plug = PrecisCanonicalizer(utils.options(PrecisOptions).profile)
    plug.check_realm(utils.realm)
    return [plug]
