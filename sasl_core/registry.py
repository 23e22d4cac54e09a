"""The registry: plugins found, loaded by name on first use, and initialised.

An object, not a global: what one application's registry refuses, another's may use.

Invariants:

- Listing imports no plugin. Only names that an installed distribution declares are ever
  imported; a name that a peer sent is looked up in that list and nowhere else.
- A module is imported, checked and registered with pluggy once, under `lock`, success or
  not; of pluggy's registered modules exactly one is called at a time.
- Whatever is wrong with a plugin is a `PluginError` that names it, its distribution, the
  reason and what to do; the other plugins go on.
"""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

from sasl_core.entrypoints import KINDS, PLAIN_KINDS, Claim, Listing, installed, read_claims
from sasl_core.errors import PluginError, UsageError, printable
from sasl_core.plugchecks import HOOKS, PLUGIN_API, check_plugs, is_plug, returned_plugs
from sasl_core.plugcodes import CLAIMED_TWICE, DECLARATION, HOOK, NO_SIDE, UNKNOWN
from sasl_core.plugfaults import close_plug, guarded, nearest
from sasl_core.pluginlist import PluginList
from sasl_core.plugloader import Loader
from sasl_core.plugset import Plugs

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from importlib_metadata import EntryPoint

    from sasl_core.flags import Side
    from sasl_core.plugs import Plug
    from sasl_core.utils import SaslUtils

__all__ = [
    "HOOKS",
    "KINDS",
    "PLUGIN_API",
    "Listing",
    "Plugin",
    "Plugs",
    "Registry",
]


class Plugin:
    """A plugin whose module is loaded: where it comes from and what the module offers.

    `api` is its SASL_PLUGIN_API, `hooks` are the hooks that its module marks, `names` all
    names that its distribution declares for the module and kind, sorted.
    """

    __slots__ = ("api", "claim", "hooks", "names")

    def __init__(self, claim: Claim, api: int, hooks: frozenset[str], names: Sequence[str]) -> None:
        self.claim = claim
        self.api = api
        self.hooks = hooks
        self.names = tuple(names)

    @property
    def listing(self) -> Listing:
        """Its declaration, as `Registry.listings` shows it."""
        return self.claim.listing()


class Registry:
    """What is installed, what of it may be used, and what of that is loaded.

    `plugin_list` is the option of that name. `entry_points(group)` replaces what the
    installed distributions declare. Thread-safe; the distributions are read at the first
    question, once. `lock` is held while plugins are loaded and initialised; whoever makes
    things that plugins ask for while they are initialised uses the same lock.

    Raises:
        ConfigError: `plugin_list` is malformed.
    """

    def __init__(
        self,
        *,
        plugin_list: Sequence[str] = (),
        entry_points: Callable[[str], Iterable[EntryPoint]] | None = None,
    ) -> None:
        self.lock = threading.RLock()
        self._plugin_list = PluginList(plugin_list)
        self._entry_points = entry_points
        self._loader = Loader()
        # Filled by the first question, `_names` last.
        self._claims: Sequence[Claim] = ()
        self._unreadable: Sequence[Listing] = ()
        self._by_name: Mapping[tuple[str, str], Claim] = {}
        self._names: Mapping[str, tuple[str, ...]] = {}
        self._plugins: dict[tuple[str, str], Plugin] = {}

    def names(self, kind: str) -> tuple[str, ...]:
        """The names of one kind that may be used as far as is known without importing, sorted.

        Raises:
            UsageError: there is no such kind.
        """
        return self._names[kind] if kind in self._names else self._read()[_known(kind)]

    def listings(self, kind: str | None = None) -> tuple[Listing, ...]:
        """Every declaration of one kind, or of all, unusable ones with their problem.

        Raises:
            UsageError: there is no such kind.
        """
        _ = self._read()
        if kind is None:
            return (*(claim.listing() for claim in self._claims), *self._unreadable)
        _ = _known(kind)
        return tuple(claim.listing() for claim in self._claims if claim.kind == kind)

    def unmatched(self) -> tuple[str, ...]:
        """The entries of `plugin_list` that name nothing that is installed."""
        _ = self._read()
        return self._plugin_list.unmatched(self._claims)

    def load(self, kind: str, name: str) -> Plugin:
        """The plugin `name`, its module imported, checked and registered.

        Raises:
            PluginError: it is not declared, may not be used, or its module is unfit.
            UsageError: plugins of this kind have no hooks.
        """
        plugin = self._plugins.get((kind, name))
        if plugin is not None:
            return plugin
        if _known(kind) in PLAIN_KINDS:
            raise UsageError(f"{kind} have no hooks: use load_object()")
        claim = self._claim(kind, name)
        with self.lock:
            found = self._loader.module(claim)
        hooks = [hook for (of, _), hook in HOOKS.items() if of == kind]
        if found.hooks.isdisjoint(hooks):
            raise PluginError(
                name,
                claim.distribution,
                f"its module {claim.module!r} has no hook {' or '.join(map(repr, hooks))} "
                "marked with @hookimpl",
                code=HOOK,
            )
        names = sorted(
            other.name
            for other in self._claims
            if (other.kind, other.key, other.module) == (kind, claim.key, claim.module)
            and (other.problem is None or other.code != DECLARATION)
        )
        plugin = Plugin(claim, found.api, found.hooks, names)
        return self._plugins.setdefault((kind, name), plugin)

    def init(
        self, kind: str, name: str, utils: SaslUtils, side: Side | None = None
    ) -> tuple[Plug, ...]:
        """New plugs of the module behind `name`, checked: one for each name it serves.

        `side` is given for mechanisms and for nothing else. Each call makes new plugs,
        which the caller closes; `Plugs` calls it once per owner. When a plug breaks the
        contract, all that were returned are closed.

        Raises:
            PluginError: see `load`; or the hook is missing, fails, or returns what breaks
                the contract. Code NO_SIDE: the mechanism has no such side.
            UsageError: a side is missing, or given where there are none.
        """
        plugin = self.load(kind, name)
        claim = plugin.claim
        hook = HOOKS.get((kind, side))
        if hook is None:
            raise UsageError(f"{kind} {'need a side' if side is None else 'have no sides'}")
        if side is not None and hook not in plugin.hooks:
            raise PluginError(
                name, claim.distribution, f"has no {side.name.lower()} side", code=NO_SIDE
            )
        # Under the lock: a module that another thread registers between the choice of the
        # callers and the call would be called in place of this one.
        with self.lock:
            returned = self._loader.call(claim, hook, utils)
            things = guarded(
                claim, f"reading what {hook!r} returned", lambda: returned_plugs(hook, returned)
            )
        try:
            return guarded(
                claim,
                f"checking what {hook!r} returned",
                lambda: check_plugs(hook, things, plugin.names),
            )
        except PluginError:
            plugs = {id(thing): thing for thing in things if is_plug(thing)}
            for plug in reversed(plugs.values()):
                _ = close_plug(claim, plug)
            raise

    def load_object(self, kind: str, name: str) -> object:
        """The object behind the entry point of a profile or command.

        Raises:
            PluginError: it is not declared, may not be used, or cannot be imported.
            UsageError: plugins of this kind have hooks.
        """
        if _known(kind) not in PLAIN_KINDS:
            raise UsageError(f"{kind} are made by hooks: use load()")
        claim = self._claim(kind, name)
        with self.lock:
            return self._loader.value(claim)

    # --- behind the scenes ---------------------------------------------------------------

    def _read(self) -> Mapping[str, tuple[str, ...]]:
        """Read what is declared, once; return the usable names by kind."""
        with self.lock:
            if self._names:
                return self._names
            points: Iterable[tuple[str, EntryPoint]]
            if self._entry_points is None:
                found, self._unreadable = installed()
                kinds = {group: kind for kind, group in KINDS.items()}
                points = ((kinds[point.group], point) for point in found)
            else:
                read = self._entry_points
                points = ((kind, point) for kind, group in KINDS.items() for point in read(group))
            self._claims = read_claims(points, self._plugin_list)
            # A usable claim, of which there is one at most, goes before its losing rivals.
            self._by_name = {
                (claim.kind, claim.name): claim
                for claim in sorted(self._claims, key=lambda claim: claim.problem is None)
            }
            self._names = {
                kind: tuple(
                    claim.name
                    for claim in self._claims
                    if claim.kind == kind and claim.problem is None
                )
                for kind in KINDS
            }
            return self._names

    def _claim(self, kind: str, name: str) -> Claim:
        """The usable declaration of `name`, which may come from anywhere."""
        usable = self._read()[kind]
        claim = self._by_name.get((kind, name))
        if claim is None:
            raise PluginError(
                printable(name, 64),
                "",
                f"no installed distribution declares it in {KINDS[kind]!r}"
                f"{nearest(name, usable)}; install the one that does",
                code=UNKNOWN,
            )
        if claim.problem is not None:
            # Of several rivals none is to blame; the problem names them all.
            blamed = "" if claim.code == CLAIMED_TWICE else claim.distribution
            raise PluginError(printable(name, 64), blamed, claim.problem, code=claim.code)
        return claim


def _known(kind: str) -> str:
    if kind not in KINDS:
        raise UsageError(f"{printable(kind)!r} is no kind of plugin: {', '.join(KINDS)}")
    return kind
