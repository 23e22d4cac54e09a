"""The plugs of one Server or Client.

Invariants:

- A plugin module is initialised at most once per owner, however many names, threads and
  tasks ask; what failed once stays failed for this owner, with the reason kept.
- Each plug is closed exactly once, the last made first, whatever the others do.
- A name that nobody declares leaves nothing behind: it may come from a peer.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Generic, Literal, TypeVar, overload

from sasl_core.errors import ConfigError, PluginError, UsageError
from sasl_core.flags import Side
from sasl_core.plugcodes import NO_SIDE, OPTIONS, RETURN, UNKNOWN
from sasl_core.plugfaults import close_plug
from sasl_core.plugs import (
    AuditPlug,
    AuxpropPlug,
    CanonUserPlug,
    ClientPlug,
    Plug,
    PwcheckPlug,
    ServerPlug,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from sasl_core.credentials import CredentialsPlug
    from sasl_core.entrypoints import Claim
    from sasl_core.registry import Plugin, Registry
    from sasl_core.utils import SaslUtils

__all__ = ["Plugs"]

M_co = TypeVar("M_co", bound=ServerPlug | ClientPlug, covariant=True)


class Plugs(Generic[M_co]):
    """The plugs of one owner, made at their first use.

    `side` is the owner's. `make_utils(kind, name)` gives the `SaslUtils` for a module; it
    is called once per module and kind, with the first of the names that the module is
    declared under. `check_options(utils, name)` is called for each name of a module that
    was initialised; a ConfigError that it raises makes that name unusable.
    """

    @overload
    def __init__(
        self: Plugs[ServerPlug],
        registry: Registry,
        side: Literal[Side.SERVER],
        make_utils: Callable[[str, str], SaslUtils],
        check_options: Callable[[SaslUtils, str], None] | None = None,
    ) -> None: ...

    @overload
    def __init__(
        self: Plugs[ClientPlug],
        registry: Registry,
        side: Literal[Side.CLIENT],
        make_utils: Callable[[str, str], SaslUtils],
        check_options: Callable[[SaslUtils, str], None] | None = None,
    ) -> None: ...

    @overload
    def __init__(
        self: Plugs[ServerPlug | ClientPlug],
        registry: Registry,
        side: Side,
        make_utils: Callable[[str, str], SaslUtils],
        check_options: Callable[[SaslUtils, str], None] | None = None,
    ) -> None: ...

    def __init__(
        self,
        registry: Registry,
        side: Side,
        make_utils: Callable[[str, str], SaslUtils],
        check_options: Callable[[SaslUtils, str], None] | None = None,
    ) -> None:
        self._registry = registry
        self._side = side
        self._make_utils = make_utils
        self._check_options = check_options
        self._plugs: dict[tuple[str, str], Plug] = {}
        self._problems: dict[tuple[str, str], PluginError] = {}
        self._opened: list[tuple[Claim, str, Plug]] = []
        self._busy: list[str] = []
        self._closed = False

    @property
    def problems(self) -> Mapping[tuple[str, str], PluginError]:
        """(kind, name) -> why it cannot be used, for all that were asked for so far.

        The errors are for reading, not for raising. Code NO_SIDE is no fault.
        """
        with self._registry.lock:
            return dict(self._problems)

    @overload
    def get(self, kind: Literal["mechanisms"], name: str) -> M_co: ...
    @overload
    def get(self, kind: Literal["canon_user"], name: str) -> CanonUserPlug: ...
    @overload
    def get(self, kind: Literal["auxprop"], name: str) -> AuxpropPlug: ...
    @overload
    def get(self, kind: Literal["pwcheck"], name: str) -> PwcheckPlug: ...
    @overload
    def get(self, kind: Literal["audit"], name: str) -> AuditPlug: ...
    @overload
    def get(self, kind: Literal["credentials"], name: str) -> CredentialsPlug: ...
    @overload
    def get(self, kind: str, name: str) -> Plug: ...

    def get(self, kind: str, name: str) -> Plug:
        """The plug `name`; its module is loaded and initialised if it is the first to ask.

        Raises:
            PluginError: it cannot be used. Code NO_SIDE: it has no such side.
            UsageError: the owner is closed, or the plug is asked for while it is made.
        """
        plug = self._plugs.get((kind, name))
        return self._first(kind, name) if plug is None else plug

    def usable(self, kind: str) -> dict[str, Plug]:
        """Every plug of one kind that can be used, by name; the others are in `problems`."""
        found: dict[str, Plug] = {}
        for name in self._registry.names(kind):
            try:
                found[name] = self.get(kind, name)
            except PluginError:
                continue
        return found

    def close(self) -> list[PluginError]:
        """Close every plug, and return what went wrong. Idempotent."""
        with self._registry.lock:
            self._closed = True
            opened, self._opened = self._opened, []
            self._plugs = {}
        failures: list[PluginError] = []
        interrupt: KeyboardInterrupt | None = None
        for claim, name, plug in reversed(opened):
            try:
                fault = close_plug(claim, plug)
            except KeyboardInterrupt as error:
                interrupt = error
            else:
                if fault is not None:
                    failures.append(fault.error(name, claim.distribution))
        if interrupt is not None:
            raise interrupt
        return failures

    def _first(self, kind: str, name: str) -> Plug:
        with self._registry.lock:
            if self._closed:
                raise UsageError("its Server or Client is closed", code="closed")
            if (kind, name) not in self._plugs and (kind, name) not in self._problems:
                self._make(kind, name)
            plug = self._plugs.get((kind, name))
            if plug is not None:
                return plug
            # A new error each time: one that is kept and raised again gathers tracebacks.
            problem = self._problems[kind, name]
            raise PluginError(name, problem.distribution, problem.reason, code=problem.code)

    def _make(self, kind: str, name: str) -> None:
        """Initialise the module behind `name`; tell of all its names what became of them."""
        try:
            plugin = self._registry.load(kind, name)
        except PluginError as error:
            if error.code == UNKNOWN:
                raise
            self._refuse(kind, (name,), error)
            return
        making = f"{kind} {plugin.claim.module}"
        if making in self._busy:
            raise UsageError(f"a cycle: {' -> '.join([*self._busy, making])}", code="cycle")
        self._busy.append(making)
        try:
            utils = self._make_utils(kind, plugin.names[0])
            side = self._side if kind == "mechanisms" else None
            plugs = self._registry.init(kind, name, utils, side)
        except PluginError as error:
            self._refuse(kind, plugin.names, error)
        else:
            self._keep(kind, plugin, plugs)
            self._hold_to_options(kind, plugin, utils)
        finally:
            _ = self._busy.pop()

    def _refuse(self, kind: str, names: Iterable[str], error: PluginError) -> None:
        for name in names:
            problem = PluginError(name, error.distribution, error.reason, code=error.code)
            self._problems[kind, name] = problem

    def _keep(self, kind: str, plugin: Plugin, plugs: Iterable[Plug]) -> None:
        claim = plugin.claim
        made = {plug.name: plug for plug in plugs}
        self._opened.extend((claim, name, plug) for name, plug in made.items())
        served = self._registry.names(kind)
        for name in plugin.names:
            if name in made:
                if name in served:
                    self._plugs[kind, name] = made[name]
            else:
                missing = self._missing(kind, name, claim.distribution)
                self._refuse(kind, (name,), missing)

    def _hold_to_options(self, kind: str, plugin: Plugin, utils: SaslUtils) -> None:
        """Refuse the names for which options were given that nobody has read."""
        if self._check_options is None:
            return
        for name in plugin.names:
            try:
                self._check_options(utils, name)
            except ConfigError as error:
                _ = self._plugs.pop((kind, name), None)
                problem = PluginError(name, plugin.claim.distribution, str(error), code=OPTIONS)
                self._refuse(kind, (name,), problem)

    def _missing(self, kind: str, name: str, distribution: str) -> PluginError:
        if kind == "mechanisms":
            reason = f"has no {self._side.name.lower()} side"
            return PluginError(name, distribution, reason, code=NO_SIDE)
        reason = "its module's hook returned no plug of this name"
        return PluginError(name, distribution, reason, code=RETURN)
