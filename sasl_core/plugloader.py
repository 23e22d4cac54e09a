"""Plugin modules: imported, checked and registered with pluggy, each once.

Invariants:

- Whoever calls holds the registry's lock.
- What is imported was declared by an installed distribution.
- A module is registered under the name by which it is imported, success or not; a hook is
  called in exactly one module, never in all that implement it.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

from sasl_core.errors import PluginError
from sasl_core.plugchecks import check_api, marked_hooks
from sasl_core.plugcodes import HOOK, IMPORT
from sasl_core.plugfaults import ContractError, Fault, guarded

if TYPE_CHECKING:
    from types import ModuleType

    from pluggy import PluginManager

    from sasl_core.entrypoints import Claim
    from sasl_core.utils import SaslUtils

__all__ = ["Loader", "PluginModule"]


class PluginModule:
    """A module that is registered with pluggy: its SASL_PLUGIN_API, and the hooks it marks."""

    __slots__ = ("api", "hooks", "module")

    def __init__(self, module: ModuleType, api: int, hooks: frozenset[str]) -> None:
        self.module = module
        self.api = api
        self.hooks = hooks


class Loader:
    """Loads what claims point to. A failure is remembered: no module is tried twice."""

    def __init__(self) -> None:
        self._manager: PluginManager | None = None
        self._modules: dict[str, PluginModule | Fault] = {}
        self._objects: dict[tuple[str, str], tuple[object] | Fault] = {}

    def module(self, claim: Claim) -> PluginModule:
        """The module of `claim`, fit to have its hooks called.

        Raises:
            PluginError: it cannot be imported, or breaks the contract.
        """
        found = self._modules.get(claim.module)
        if found is None:
            try:
                found = self._load(claim)
            except PluginError as error:
                found = Fault(error.code, error.reason)
            self._modules[claim.module] = found
        if isinstance(found, Fault):
            raise found.error(claim.name, claim.distribution)
        return found

    def value(self, claim: Claim) -> object:
        """The object that `claim` names.

        Raises:
            PluginError: it cannot be imported, or is not there.
        """
        key = (claim.module, claim.attribute)
        found = self._objects.get(key)
        if found is None:
            try:
                found = (self._find(claim),)
            except PluginError as error:
                found = Fault(error.code, error.reason)
            self._objects[key] = found
        if isinstance(found, Fault):
            raise found.error(claim.name, claim.distribution)
        return found[0]

    def call(self, claim: Claim, hook: str, utils: SaslUtils) -> object:
        """Call `hook` in the module of `claim`, and return what it returned, unchecked.

        Raises:
            PluginError: it cannot be loaded, or the hook raised.
        """
        module = self.module(claim).module
        manager = self._pluggy()
        caller = manager.subset_hook_caller(hook, manager.get_plugins() - {module})
        # Bound to a type here: pluggy returns Any.
        result: object = guarded(claim, f"calling its hook {hook!r}", lambda: caller(utils=utils))
        return result

    def _pluggy(self) -> PluginManager:
        if self._manager is None:
            from pluggy import PluginManager

            from sasl_core import hookspecs

            self._manager = PluginManager(hookspecs.PROJECT)
            self._manager.add_hookspecs(hookspecs)
        return self._manager

    def _load(self, claim: Claim) -> PluginModule:
        manager = self._pluggy()
        module = _import(claim)

        def check() -> PluginModule:
            from pluggy import PluginValidationError

            api = check_api(module)
            hooks = marked_hooks(module, manager.parse_hookimpl_opts)
            try:
                # Two names in sys.modules may be one module, which pluggy takes once.
                if not manager.is_registered(module):
                    _ = manager.register(module, claim.module)
            except PluginValidationError:
                raise ContractError(
                    HOOK, "one of its hooks has a wrong signature: each takes 'utils' alone"
                ) from None
            return PluginModule(module, api, hooks)

        return guarded(claim, f"checking its module {claim.module!r}", check)

    def _find(self, claim: Claim) -> object:
        found: object = _import(claim)

        def attribute() -> object:
            nonlocal found
            for part in filter(None, claim.attribute.split(".")):
                found = getattr(found, part)
            return found

        return guarded(claim, f"reading {claim.value!r}", attribute)


def _import(claim: Claim) -> ModuleType:
    return guarded(
        claim,
        f"importing its module {claim.module!r}",
        lambda: import_module(claim.module),
        IMPORT,
    )
