"""A sound toy canonicaliser, and toys that are each wrong in one way: the kit has to tell."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sasl_core.plugin import CanonFlag, CanonUserPlug, PeerError, hookimpl

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sasl_core.plugin import CanonContext, SaslUtils

SASL_PLUGIN_API = 1


class Sound(CanonUserPlug):
    """Letters, digits and @ pass; surrounding blanks go."""

    name = "SOUND"

    def canon_user_server(self, ctx: CanonContext, user: str, flags: CanonFlag) -> str:
        name = user.strip(" ")
        if not name or not name.replace("@", "").isalnum() or not name.isascii():
            raise PeerError("letters and digits only", code="toy")
        return name


class Casual(Sound):
    """Makes one user of two."""

    def canon_user_server(self, ctx: CanonContext, user: str, flags: CanonFlag) -> str:
        return super().canon_user_server(ctx, user, flags).lower()


class Raising(Sound):
    """Lets a UnicodeEncodeError out."""

    def canon_user_server(self, ctx: CanonContext, user: str, flags: CanonFlag) -> str:
        _ = user.encode()
        return super().canon_user_server(ctx, user, flags)


class Empty(Sound):
    """Makes an empty name of blanks."""

    def canon_user_server(self, ctx: CanonContext, user: str, flags: CanonFlag) -> str:
        return user and super().canon_user_server(ctx, user, flags)


class Growing(Sound):
    """Adds a realm each time."""

    def canon_user_server(self, ctx: CanonContext, user: str, flags: CanonFlag) -> str:
        name = super().canon_user_server(ctx, user, flags)
        return f"{name}@r" if flags == CanonFlag.AUTHZID else name


class Counting(Sound):
    """Refuses every seventh name."""

    asked = 0

    def canon_user_server(self, ctx: CanonContext, user: str, flags: CanonFlag) -> str:
        self.asked += 1
        if self.asked % 7 == 0:
            raise PeerError("not now", code="toy")
        return super().canon_user_server(ctx, user, flags)


CANONICALIZERS = {
    "SOUND": Sound,
    "CASUAL": Casual,
    "RAISING": Raising,
    "EMPTY": Empty,
    "GROWING": Growing,
    "COUNTING": Counting,
}


@hookimpl
def sasl_canonuser_init(utils: SaslUtils) -> Sequence[CanonUserPlug]:
    """All of them."""
    plugs: list[CanonUserPlug] = []
    for name, kind in CANONICALIZERS.items():
        plug = kind()
        plug.name = name
        plugs.append(plug)
    return plugs
