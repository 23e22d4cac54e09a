"""What all sessions of one Server share: stores, password methods, listeners."""

from __future__ import annotations

import secrets
import time
from typing import TYPE_CHECKING, Final

from sasl_core._checks import is_a
from sasl_core.audit import AuditEvent
from sasl_core.config import AutoTransition
from sasl_core.context.passwords import APPLICATION, AUXPROP
from sasl_core.errors import (
    ConfigError,
    PluginError,
    UsageError,
    printable,
)
from sasl_core.flags import Feature, Side
from sasl_core.names import base_name
from sasl_core.plugcodes import NO_SIDE
from sasl_core.plugs import AuxpropPlug, ServerPlug
from sasl_core.plugset import Plugs
from sasl_core.properties import VERIFIERS
from sasl_core.registry import Registry
from sasl_core.results import Result
from sasl_core.verifier import MAX_ITERATIONS, SCRAM_HASHES

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from sasl_core.audit import AuditListener
    from sasl_core.names import UserName
    from sasl_core.needs import Found, User
    from sasl_core.plugs import PwcheckPlug


from sasl_core.core.base import INFO, LOG_FAILURE, LOG_SUCCESS, WARNING, Config, Core, field
from sasl_core.utils import SaslUtils

__all__ = ["ServerCore"]


_OK: Final = Result.OK
_NONE_YET: Final = object()

USUAL_HASH: Final = "SHA-256"
"""The hash of SCRAM that users have a verifier of unless something else is configured."""
SCRAM: Final = "SCRAM-"


class ServerCore(Core):
    """What all sessions of one Server share."""

    side = Side.SERVER

    def __init__(
        self,
        service: str,
        host: str,
        *,
        appname: str | None = None,
        config: Config = None,
        realm: str | None = None,
        registry: Registry | None = None,
        stores: Sequence[AuxpropPlug] = (),
        has_checkpass: bool = False,
        audit: Iterable[AuditListener] = (),
    ) -> None:
        super().__init__(
            service, host, appname=appname, config=config, realm=realm, registry=registry
        )
        self.plugs: Plugs[ServerPlug] = Plugs(
            self.registry, Side.SERVER, self.utils, SaslUtils.refuse_unread_options
        )
        options = self.options
        for store in stores:
            if not is_a(store, AuxpropPlug):
                raise UsageError(f"a store is an AuxpropPlug, not a {type(store).__name__}")
        self.given_stores = tuple(stores)
        self._stores: tuple[AuxpropPlug, ...] | None = self.given_stores or None
        # The one store's read, where it never blocks; known after the first look-up.
        self.read_at_once: Callable[[UserName, Sequence[str]], Found] | None = None
        self._has_checkpass = has_checkpass
        configured = options.pwcheck_method
        # The callback goes first, wherever the list names it.
        self.password_methods = (
            (APPLICATION, *(name for name in configured if name != APPLICATION))
            if has_checkpass
            else configured
        )
        # An application that checks passwords itself and names no store keeps the accounts
        # itself too; otherwise the stores are asked about whoever was verified elsewhere.
        self.keeps_accounts = (
            bool(stores)
            or not has_checkpass
            or "auxprop_plugin" in self.configuration.given
            or not self.configuration.plugins_given("auxprop").isdisjoint(options.auxprop_plugin)
        )
        self.scram_hashes = _hashes(options.scram_hashes, self.wanted)
        self.usual_hash = (
            USUAL_HASH
            if USUAL_HASH in self.scram_hashes or not self.scram_hashes
            else self.scram_hashes[0]
        )
        self.auto_transition = options.auto_transition is not AutoTransition.NO
        self.transition_plaintext = options.auto_transition is AutoTransition.YES
        self.random_secret = secrets.token_bytes(32)
        self.first_secret: bytes | None = None
        # What the last look-up said of a store's rounds, and the rounds of decoys by hash.
        self.decoy_rounds: tuple[object, dict[str, int]] = (_NONE_YET, {})
        self.listeners: tuple[Callable[[AuditEvent], None], ...] = (
            *audit,
            *self._audit_plugins(),
        )
        self.may_log_success = options.log_level >= LOG_SUCCESS
        self.relied_on = frozenset(map(base_name, self.wanted or ())) | (
            self.configuration.plugins_given("mechanisms")
        )
        """The mechanisms that `mech_list` names, or that have a table of their own."""
        self._untold = set(self.relied_on)

    def _audit_plugins(self) -> list[Callable[[AuditEvent], None]]:
        listeners: list[Callable[[AuditEvent], None]] = []
        for name in self.registry.names("audit"):
            try:
                plug = self.plugs.get("audit", name)
            except PluginError as error:
                self.log_failure(f"audit plugin {name!r}", error)
                continue
            listeners.append(plug.record)
        return listeners

    def mechanism(self, name: str) -> ServerPlug:
        try:
            return self.plugs.get("mechanisms", name)
        except PluginError as error:
            # Whoever wrote it into the configuration counts on it; nobody sees that it is not
            # offered. Each is told once, and a name that came from a peer not at all.
            if name in self._untold and error.code != NO_SIDE:
                self._untold.discard(name)
                self.log_failure(f"mechanism {name!r} is not offered", error)
            raise

    def server_plugs(self, only: str | None) -> list[ServerPlug]:
        """The usable server plugs of `mech_list` (or of all installed); `only` that one.

        Raises:
            PluginError: `only` is not usable.
        """
        if only is not None:
            return [self.mechanism(base_name(only))]
        wanted = self.wanted
        return self._usable(self.registry.names("mechanisms") if wanted is None else wanted)

    def _usable(self, names: Iterable[str]) -> list[ServerPlug]:
        plugs: list[ServerPlug] = []
        for name in dict.fromkeys(map(base_name, names)):
            try:
                plugs.append(self.mechanism(name))
            except PluginError as error:
                # A client-only mechanism is no fault.
                if error.code != NO_SIDE:
                    self.log_failure(f"mechanism {name!r}", error)
        return plugs

    def secret_plugs(self, only: str | None) -> list[ServerPlug]:
        """Those that `setpass` asks: of `mech_list` and `scram_hashes`, or `only` that one.

        Where none of `mech_list` keeps a secret (PLAIN alone, say) those of all that are
        installed: without their secrets nobody could log in.

        Raises:
            PluginError: `only` is not usable.
        """
        wanted = self.wanted
        if only is not None or wanted is None:
            return self.server_plugs(only)
        # Verifiers may be written for a hash that is not offered yet.
        declared = self.registry.names("mechanisms")
        scram = [SCRAM + name for name in self.options.scram_hashes or ()]
        plugs = self._usable([*wanted, *(name for name in scram if name in declared)])
        return plugs if any(map(_keeps_secrets, plugs)) else self._usable(declared)

    def stores(self) -> tuple[AuxpropPlug, ...]:
        """The property stores, in the order of `auxprop_plugin`.

        Raises:
            PluginError: one of them is not installed or cannot be loaded.
        """
        found = self._stores
        if found is None:
            found = self._stores = tuple(map(self.store, self.options.auxprop_plugin))
        return found

    def store(self, name: str) -> AuxpropPlug:
        for plug in self.given_stores:
            if plug.name == name:
                return plug
        return super().store(name)

    # --- passwords ---------------------------------------------------------------------

    def has_password_method(self, method: str) -> bool:
        """Whether `pwcheck_method` may name it."""
        if method == APPLICATION:
            return self._has_checkpass
        return method == AUXPROP or method in self.registry.names("pwcheck")

    def known_password_methods(self) -> tuple[str, ...]:
        """What `pwcheck_method` may name."""
        return (AUXPROP, *self.registry.names("pwcheck"))

    def password_plug(self, method: str) -> PwcheckPlug:
        """The pwcheck plugin `method`.

        Raises:
            ConfigError: no such method (NOMECH).
            PluginError: it cannot be loaded.
        """
        if not self.has_password_method(method):
            raise self.unknown_password_method(method)
        return self.plugs.get("pwcheck", method)

    def unknown_password_method(self, method: str) -> ConfigError:
        """The error for a method in `pwcheck_method` that nobody offers."""
        return ConfigError(
            f"unknown method {method!r}; known: {', '.join(self.known_password_methods())}",
            key="pwcheck_method",
            code="unknown-pwcheck-method",
            result=Result.NOMECH,
        )

    def decoy_secret(self) -> bytes:
        """The secret that decoys are made from: the first store's, or one of this process."""
        return self.first_secret or self.random_secret

    def look_at_rounds(self, found: Found) -> dict[str, int]:
        """The rounds of decoys by hash: the store's, as `found` has them, or the configured ones.

        Kept in `decoy_rounds` until a look-up brings others, so a store that counts anew hands
        out a new mapping. No cap: SCRAM has none for real verifiers either.

        Raises:
            PluginError: the store names rounds that no verifier can have.
        """
        counter = self.options.scram_iteration_counter
        rounds: dict[str, int] = {}
        for name in SCRAM_HASHES:
            count: object = found.decoy_rounds(name)
            if count is None:
                count = counter.of(name)
            if type(count) is not int or not 0 < count <= MAX_ITERATIONS:
                why = f"a look-up says that verifiers of {name} have {printable(count, 20)} rounds"
                raise PluginError("store", "", why)
            rounds[name] = count
        self.decoy_rounds = found.decoy_iterations, rounds
        return rounds

    def password_hash(self, user: User) -> str:
        """The hash whose verifier checks a password of `user`.

        The usual one wherever the user has it, so that a derivation costs what it costs for
        a user who is not there; otherwise the strongest that the user has.
        """
        usual = self.usual_hash
        names = set(user.found.verifiers)
        if usual in names:
            return usual
        for value in user.properties.get("*" + VERIFIERS):
            names.add(value.partition(b"$")[0].removeprefix(b"SCRAM-").decode("ascii", "replace"))
        best = [name for name in SCRAM_HASHES if name in names]
        return usual if usual in names or not best else best[-1]

    # --- for the record --------------------------------------------------------------------

    def audit(
        self,
        kind: str,
        result: Result,
        mechanism: str = "",
        authid: str | None = None,
        authzid: str | None = None,
        how: str = "",
        remote: str = "",
        detail: str | None = None,
    ) -> None:
        """Tell every listener, each on its own, and log what `log_level` lets through."""
        if self.listeners:
            event = AuditEvent(
                kind,
                time.time(),
                result,
                self.service,
                mechanism,
                authid,
                authzid,
                how,
                remote,
                detail,
            )
            for listener in self.listeners:
                try:
                    listener(event)
                except (Exception, SystemExit) as error:  # noqa: BLE001 - no part of the decision.
                    self.log_failure("an audit listener failed", error)
        ok = result is _OK
        wanted = self.may_log_success if ok else self.options.log_level >= LOG_FAILURE
        if wanted and self.logs(INFO if ok else WARNING):
            self.log(
                INFO if ok else WARNING,
                "%s %s: mechanism=%s authid=%s authzid=%s remote=%s detail=%s",
                kind,
                result.name,
                mechanism or "-",
                field(authid),
                field(authzid),
                field(remote or None),
                detail or "-",
            )

    # --- what contexts ask ----------------------------------------------------------------

    def may_attest(self, mechanism: str) -> bool:
        """Whether the plug declares that it decides on its own."""
        return self.mechanism(base_name(mechanism)).attests

    def can_bind(self, mechanism: str) -> bool:
        """Whether the mechanism has a -PLUS variant that `mech_list` allows."""
        base = base_name(mechanism)
        wanted = self.wanted
        allowed = wanted is None or base in wanted or f"{base}-PLUS" in wanted
        return allowed and bool(self.mechanism(base).features & Feature.CHANNEL_BINDING)


def _hashes(given: tuple[str, ...] | None, wanted: tuple[str, ...] | None) -> tuple[str, ...]:
    """The hashes whose verifiers `setpass` writes, and by which users may log in.

    Those of `scram_hashes`, else those that `mech_list` names, else the usual one alone: a
    hash for which users have no verifier must not be offered, since a client prefers the
    strongest, and would fail.
    """
    if given is not None:
        return given
    names = (base_name(name).removeprefix(SCRAM) for name in wanted or () if name.startswith(SCRAM))
    return tuple(dict.fromkeys(name for name in names if name in SCRAM_HASHES)) or (USUAL_HASH,)


def _keeps_secrets(plug: ServerPlug) -> bool:
    return type(plug).setpass is not ServerPlug.setpass
