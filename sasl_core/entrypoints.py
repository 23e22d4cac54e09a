"""What the installed distributions declare: entry points, read without importing anything.

Invariants:

- Nothing that is declared is imported here.
- A distribution whose metadata cannot be read costs only its own plugins.
- One distribution that is found twice on `sys.path` is one claim: that of the copy found
  first, which is also the one that Python imports from.
- What is read is what Python's own `sys.path` reaches, and no place beside it.

Source: the entry points specification of the Python packaging user guide; RFC 4422
section 3.1 for the names of mechanisms.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING

from sasl_core._record import record
from sasl_core.errors import printable
from sasl_core.names import PLUS, base_name, is_mechanism_name
from sasl_core.origins import Origin, stated_name
from sasl_core.plugcodes import DECLARATION
from sasl_core.pluginlist import is_plugin_name, normalized

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from importlib_metadata import EntryPoint
    from importlib_metadata._meta import IDistribution

    from sasl_core.pluginlist import PluginList

__all__ = [
    "KINDS",
    "PLAIN_KINDS",
    "Claim",
    "Listing",
    "installed",
    "read_claims",
]

KINDS: Mapping[str, str] = MappingProxyType(
    {
        kind: f"sasl_core.{kind}"
        for kind in (
            "mechanisms",
            "canon_user",
            "auxprop",
            "credentials",
            "profiles",
            "pwcheck",
            "audit",
            "commands",
        )
    }
)
"""Kind of plugin -> entry-point group. Public and fixed."""

PLAIN_KINDS = frozenset({"profiles", "commands"})
"""The kinds whose entry point names an object to be taken as it is, without hooks."""

_GROUPS = frozenset(KINDS.values())
_PREFIX = "sasl_core."
_VALUE = re.compile(r"\s*([\w.]+)\s*(?::\s*([\w.]+)\s*)?(?:\[([^\[\]]*)\]\s*)?")


@record
class Listing:
    """One declaration of one plugin, as far as it is known without importing it.

    `value` is the entry point's value. `problem` is None, or says why the plugin cannot
    be used and what to do. A distribution whose entry points cannot be read at all is
    listed with an empty `kind` and `name`.
    """

    kind: str
    name: str
    distribution: str
    version: str
    value: str
    problem: str | None = None


class Claim:
    """A declaration taken apart: what a `Listing` shows, and what loading it needs."""

    __slots__ = (
        "attribute",
        "code",
        "distribution",
        "extras",
        "key",
        "kind",
        "module",
        "name",
        "origin",
        "problem",
        "value",
        "version",
    )

    def __init__(self, kind: str, point: EntryPoint, origin: Origin) -> None:
        self.kind = kind
        self.name = point.name
        self.value = point.value
        self.distribution = origin.name
        self.version = origin.version
        self.key = normalized(origin.name)
        self.origin = origin
        self.code = DECLARATION
        found = _VALUE.fullmatch(self.value)
        self.module: str = found[1] if found else ""
        self.attribute: str = (found[2] or "") if found else ""
        extras = (found[3] or "") if found else ""
        self.extras = tuple(extra.strip() for extra in extras.split(",") if extra.strip())
        self.problem: str | None = self._malformed()

    def _malformed(self) -> str | None:
        """What is wrong with the declaration taken by itself."""
        if self.kind == "mechanisms":
            if not is_mechanism_name(self.name):
                return (
                    "its name is no mechanism name: 1 to 20 of A-Z 0-9 - _ (RFC 4422 section 3.1)"
                )
            if self.name.endswith(PLUS):
                return (
                    f"a {PLUS} name has no entry point of its own: give the plug "
                    f"{base_name(self.name)!r} Feature.CHANNEL_BINDING, and it is offered as both"
                )
        elif not is_plugin_name(self.name):
            return "its name is no plugin name: 1 to 64 of A-Z a-z 0-9 _ - and, later, . +"
        path = [*self.module.split("."), *(self.attribute.split(".") if self.attribute else ())]
        if not all(part.isidentifier() for part in path):
            return f"its entry point {printable(self.value)!r} is malformed: give a module's name"
        if self.attribute and self.kind not in PLAIN_KINDS:
            return (
                f"its entry point {printable(self.value)!r} must name a module; "
                f"hooks are looked for in {self.module!r} itself"
            )
        return None

    def refuse(self, code: str, problem: str) -> None:
        """Make the claim unusable."""
        self.code = code
        self.problem = problem

    def listing(self) -> Listing:
        """What the world sees of the claim."""
        return Listing(
            self.kind,
            printable(self.name, 64),
            self.distribution,
            self.version,
            printable(self.value),
            self.problem,
        )


def installed() -> tuple[list[EntryPoint], list[Listing]]:
    """Every entry point of our groups, and the distributions that could not be read.

    One pass over the distributions for all groups. importlib_metadata's own
    `entry_points()` fails as a whole when the file of any one distribution is malformed.
    """
    from importlib_metadata import (
        distribution,
        distributions,  # pyright: ignore[reportUnknownVariableType] - its **kwargs are untyped
    )

    # Python always names a zip file of its own library, which is hardly ever there; only to look
    # into it, importlib_metadata would load zipfile.
    places = [place for place in sys.path if not place.endswith(".zip") or Path(place).exists()]
    found: list[EntryPoint] = []
    unreadable: list[Listing] = []
    seen: set[str] = set()

    try:
        for dist in distributions(path=places):
            try:
                text = dist.read_text("entry_points.txt")
                if text is None or _PREFIX not in text:
                    continue
                name = stated_name(dist)
                if normalized(name) not in seen:
                    seen.add(normalized(name))
                    # An older copy further down sys.path must not declare what the first
                    # copy, whose modules are the ones imported, no longer declares.
                    first = next(iter(distributions(name=name, path=places)), None)
                    if not name or first is None or not first.read_text("METADATA"):
                        # No name, or a folder that somebody left behind.
                        first = distribution(name)
                    found.extend(point for point in first.entry_points if point.group in _GROUPS)
            except Exception as error:  # noqa: BLE001 - the others go on.
                problem = f"its entry points cannot be read ({type(error).__name__}): reinstall it"
                unreadable.append(Listing("", "", _whereabouts(dist), "", "", problem))
    except Exception as error:  # noqa: BLE001 - a stranger's path finder failed; keep the rest.
        problem = f"a path finder on sys.meta_path failed ({type(error).__name__})"
        unreadable.append(Listing("", "", "", "", "", problem))
    return found, unreadable


def _whereabouts(dist: IDistribution) -> str:
    """The name of a distribution that cannot be read, or else the folder it lies in."""
    for read in (lambda: dist.name, lambda: dist.locate_file("")):
        try:
            text = str(read() or "")
        except Exception:  # noqa: BLE001, S112 - the next may tell.
            continue
        if text:
            return printable(text)
    return ""


def read_claims(points: Iterable[tuple[str, EntryPoint]], plugin_list: PluginList) -> list[Claim]:
    """Judge the entry points, given with their kinds, in the order of `sys.path`.

    Sorted by kind, name and distribution; each unusable claim has its `problem`.
    """
    # The distributions are kept alive, so that no two of them have the same id.
    origins: dict[int, tuple[object, Origin]] = {}
    claims: dict[tuple[str, str], dict[str, tuple[object, Claim]]] = {}
    for kind, point in points:
        dist: object = getattr(point, "dist", None)
        if id(dist) not in origins:
            origins[id(dist)] = (dist, Origin(dist))
        claim = Claim(kind, point, origins[id(dist)][1])
        rivals = claims.setdefault((kind, claim.name), {})
        first_dist, first = rivals.setdefault(claim.key, (dist, claim))
        if first.value != claim.value and first_dist is dist:
            first.refuse(
                DECLARATION,
                f"its distribution declares it twice, as {printable(first.value)!r} and as "
                f"{printable(claim.value)!r}: report it to its author",
            )
    kinds = list(KINDS)
    judged: list[Claim] = []
    for _, rivals in sorted(claims.items(), key=lambda item: (kinds.index(item[0][0]), item[0])):
        same_name = [rivals[key][1] for key in sorted(rivals)]
        sound = [claim for claim in same_name if claim.problem is None]
        if sound:
            plugin_list.apply(sound)
        judged.extend(same_name)
    return judged
