"""`plugin_list`: which of the declared plugins may be used.

Invariants:

- A name that two distributions claim is nobody's, until the list chooses.
- An entry that binds a name to a distribution never lets another one have it.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from sasl_core.errors import ConfigError, printable
from sasl_core.plugcodes import CLAIMED_TWICE, EXCLUDED

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from sasl_core.entrypoints import Claim

__all__ = ["PluginList", "is_plugin_name", "normalized"]

UNRESTRICTED = frozenset({"profiles", "commands"})
"""The kinds that the program itself asks for, whatever the list says."""

# A colon would collide with `distribution:NAME`, a blank with lists in a flat file.
_NAME = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9_.+-]{0,63}", re.ASCII)
_DISTRIBUTION = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}", re.ASCII)


class PluginList:
    """The entries of `plugin_list`, understood.

    A bare `NAME` restricts: when there is any, only plugins that the list names can be
    used. `distribution:NAME` names one too, and besides binds that name to that
    distribution, which settles it when several claim the name. A list of such entries
    alone restricts nothing else. Profiles and commands are asked for by the
    program itself and are never restricted.

    Raises:
        ConfigError: an entry is neither `NAME` nor `distribution:NAME`, or the list is
            one string.
    """

    __slots__ = ("bare", "bound")

    def __init__(self, plugin_list: Sequence[str] = ()) -> None:
        if isinstance(plugin_list, str):
            raise ConfigError("give a list of names, not one string", key="plugin_list")
        bare: set[str] = set()
        bound: dict[str, dict[str, str]] = {}
        for entry in plugin_list:
            distribution, colon, name = entry.rpartition(":")
            if _NAME.fullmatch(name) is None or (
                colon and _DISTRIBUTION.fullmatch(distribution) is None
            ):
                raise ConfigError(
                    f"{printable(entry)!r} is neither NAME nor distribution:NAME",
                    key="plugin_list",
                )
            if colon:
                bound.setdefault(name, {})[normalized(distribution)] = distribution
            else:
                bare.add(name)
        self.bare = frozenset(bare)
        self.bound = bound
        """name -> normalised distribution -> the distribution as it was written"""

    def apply(self, claims: Sequence[Claim]) -> None:
        """Refuse those of `claims`, all well-formed and of one kind and name, that lose."""
        kind, name = claims[0].kind, claims[0].name
        bound = self.bound.get(name)
        if self.bare and not bound and name not in self.bare and kind not in UNRESTRICTED:
            for claim in claims:
                claim.refuse(EXCLUDED, f"plugin_list does not name it: add {name!r}")
            return
        left = list(claims)
        if bound:
            left = [claim for claim in claims if claim.key in bound]
            chosen = " and ".join(repr(written) for written in bound.values())
            for claim in claims:
                if claim.key not in bound:
                    claim.refuse(EXCLUDED, f"plugin_list chooses {name!r} of {chosen}")
        if len(left) > 1:
            names = [claim.distribution for claim in left]
            for claim in left:
                claim.refuse(
                    CLAIMED_TWICE,
                    f"claimed by distributions {' and '.join(map(repr, names))}: choose one "
                    f'with plugin_list = ["{names[0]}:{name}"], or uninstall the other',
                )

    def unmatched(self, claims: Iterable[Claim]) -> tuple[str, ...]:
        """The entries that name nothing that is declared, as written, sorted."""
        known = {(claim.key, claim.name) for claim in claims}
        names = {name for _, name in known}
        pairs = [
            f"{written}:{name}"
            for name, distributions in self.bound.items()
            for key, written in distributions.items()
            if (key, name) not in known
        ]
        return tuple(sorted([*(self.bare - names), *pairs]))


def is_plugin_name(name: str) -> bool:
    """Whether `name` can name a plugin: 1 to 64 of A-Z a-z 0-9 _ - and, later, . +."""
    return _NAME.fullmatch(name) is not None


def normalized(distribution: str) -> str:
    """A distribution's name as it is compared: lower case, runs of `-_.` as one `-`."""
    return re.sub(r"[-_.]+", "-", distribution).lower()
