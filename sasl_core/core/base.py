"""What the cores of both sides have in common."""

from __future__ import annotations

import os
import time
from abc import ABC, abstractmethod
from collections.abc import Mapping
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final, TypeAlias

from sasl_core._checks import is_a
from sasl_core.choice import Refusal, in_order, refusal
from sasl_core.conf_values import Unfit
from sasl_core.config import Configuration
from sasl_core.context import CanonContext
from sasl_core.context.base import NAME_LIMIT
from sasl_core.errors import (
    PeerError,
    PluginError,
    SaslError,
    UsageError,
    printable,
)
from sasl_core.exchange import foreign
from sasl_core.facts import SecurityProperties
from sasl_core.flags import BindingPolicy, Feature, SecurityFlag, Side
from sasl_core.names import base_name, is_mechanism_name
from sasl_core.options import CORE_KEYS
from sasl_core.plugs import AuxpropPlug
from sasl_core.plugset import Plugs
from sasl_core.registry import Registry
from sasl_core.results import Result
from sasl_core.runners.jobs import Job
from sasl_core.runners.once import Once
from sasl_core.utils import SaslUtils
from sasl_core.verifier import SCRAM_HASHES

if TYPE_CHECKING:
    from collections.abc import Callable

    from sasl_core.facts import Facts
    from sasl_core.flags import CanonFlag
    from sasl_core.plugs import MechanismPlug, Needs

Config: TypeAlias = "Configuration | Mapping[str, object] | str | os.PathLike[str] | None"
"""What `Server` and `Client` take as `config`."""

__all__ = [
    "INFO",
    "WARNING",
    "CACHED_OFFERS",
    "LOG_FAILURE",
    "LOG_SUCCESS",
    "Config",
    "Core",
    "field",
    "Job",
    "Offer",
]

LOG_ERROR: Final = 1
LOG_FAILURE: Final = 2
LOG_SUCCESS: Final = 4
"""Cyrus's log levels ERR, FAIL and NOTE: from which `log_level` on each is logged."""
ARGUMENT_LIMIT: Final = 2 * NAME_LIMIT + 10
"""Longest argument of a log line, in characters: the longest name, all of it escaped."""
INFO, WARNING, ERROR = 20, 30, 40
"""The levels of `logging`, which is imported when something is logged."""
CACHED_OFFERS: Final = 256
"""Most distinct kinds of connection remembered; beyond that the cache starts anew."""


_OF_FIELDS: Final = frozenset(' ="')


class Offer:
    """The mechanisms for one kind of connection: those that may be used, and why not the others."""

    __slots__ = ("names", "refused")

    def __init__(self, names: tuple[str, ...], refused: Mapping[str, Refusal]) -> None:
        self.names = names
        self.refused = refused


class Permit:
    """A mechanism that may be used on one kind of connection.

    Holds what every exchange asks of it, so that nobody asks twice: operations on flags
    cost a microsecond each. `base` is the name without -PLUS.
    """

    __slots__ = (
        "base",
        "falls_short",
        "must_bind",
        "mutual_auth",
        "plug",
        "plus",
        "server_first",
        "utils",
    )

    def __init__(
        self, name: str, plug: Any, utils: SaslUtils, facts: Facts, security: SecurityProperties
    ) -> None:
        self.base: str = plug.name
        self.plus = name != plug.name
        self.plug = plug
        self.utils = utils
        self.server_first = bool(plug.features & Feature.SERVER_FIRST)
        self.mutual_auth = bool(plug.security_flags & SecurityFlag.MUTUAL_AUTH)
        # What an exchange must not end without: channel binding; a layer, for strength.
        self.must_bind = self.plus or facts.binding_policy is BindingPolicy.REQUIRE
        self.falls_short = facts.external_ssf < (facts.security or security).min_ssf


class Core(ABC):
    """Common to both sides."""

    side: Side
    plugs: Plugs[Any]

    def __init__(
        self,
        service: str,
        host: str,
        *,
        appname: str | None = None,
        config: Config = None,
        realm: str | None = None,
        registry: Registry | None = None,
    ) -> None:
        _check_word("service", service)
        _check_word("host", host)
        self.service = service
        self.host = host
        self.appname = service if appname is None else appname
        _check_word("appname", self.appname)
        self.configuration = _configuration(config, self.appname)
        self.options = options = self.configuration.core
        # Of a server, fewer: those that its users have verifiers of.
        self.scram_hashes: tuple[str, ...] = tuple(SCRAM_HASHES)
        # None: every mechanism that is installed.
        self.wanted = options.mech_list if self.side is Side.SERVER else options.client_mech_list
        if realm is not None:
            _check_realm(realm)
        self.realm = options.user_realm if realm is None else realm
        self.security = SecurityProperties(
            options.min_ssf, options.max_ssf, options.maxbufsize, options.security_flags
        )
        self.registry = Registry(plugin_list=options.plugin_list) if registry is None else registry
        # One lock for both: plugs ask for shared things while they are made.
        self.once = Once(self.registry.lock)
        self.jobs: list[Job] = []
        self.canon_context = CanonContext(service, host, self.realm, self.side)
        self.canonicalizer_name = options.canon_user_plugin
        self._canonicalize: Callable[[CanonContext, str, CanonFlag], str] | None = None
        self._offers: dict[object, Offer] = {}
        self._single: dict[tuple[object, ...], Refusal | None] = {}
        self.permits: dict[tuple[str, object], Permit] = {}
        self._utils: dict[tuple[str, str], SaslUtils] = {}
        self._log: Callable[..., None] | None = None
        self.logs: Callable[[int], bool] = self._first_logs
        """Whether the standard `logging` lets a level through."""
        self.closed = False

    # --- plugs -----------------------------------------------------------------

    def utils(self, kind: str, name: str) -> SaslUtils:
        """The utils object of a plugin; one and the same each time."""
        key = (kind, name)
        try:
            return self._utils[key]
        except KeyError:
            return self._utils.setdefault(key, SaslUtils(self, kind, name))

    @abstractmethod
    def mechanism(self, name: str) -> MechanismPlug:
        """The plug of the mechanism `name` (without -PLUS).

        Raises:
            PluginError: it is not installed, cannot be loaded, or lacks this side.
        """

    def identity(self, name: str, flags: CanonFlag) -> str:
        """`name` canonicalised as configured, and held to the rules that every identity obeys.

        Raises:
            PeerError: it is not acceptable, before or after.
            PluginError: the canonicaliser cannot be loaded, or broke.
        """
        if len(name) > NAME_LIMIT:
            raise PeerError(
                "the user name is too long",
                code="name-too-long",
                detail=f"user name of {len(name)} characters, at most {NAME_LIMIT} are accepted",
            )
        method = self._canonicalize
        if method is None:
            method = self._load_canonicalizer()
        try:
            canonical = method(self.canon_context, name, flags)
        except SaslError:
            raise
        except Exception as error:  # noqa: BLE001 - whatever a plugin raises becomes ours.
            failure = foreign(error, self.canonicalizer_name)
        else:
            if type(canonical) is not str and not is_a(canonical, str):
                raise PluginError(
                    self.canonicalizer_name,
                    "",
                    f"returned {type(canonical).__name__} instead of str",
                )
            if canonical and len(canonical) <= NAME_LIMIT and canonical.isprintable():
                return canonical
            raise PeerError(
                "the user name is not acceptable",
                code="bad-name",
                detail=f"user name {printable(name)!r} is empty, too long or holds control "
                "characters once canonicalised",
            )
        raise failure

    def _load_canonicalizer(self) -> Callable[[CanonContext, str, CanonFlag], str]:
        plug = self.plugs.get("canon_user", self.canonicalizer_name)
        method = plug.canon_user_server if self.side is Side.SERVER else plug.canon_user_client
        self._canonicalize = method
        return method

    def store(self, name: str) -> AuxpropPlug:
        """The property store `name`.

        Raises:
            PluginError: it is not installed or cannot be loaded.
            UsageError: stores refer to each other in a circle.
        """
        return self.plugs.get("auxprop", name)

    # --- choice ------------------------------------------------------------------

    def offer(self, facts: Facts) -> Offer:
        """What may be used on a connection of these facts."""
        found = self._offers.get(facts.kind)
        if found is None:
            if len(self._offers) >= CACHED_OFFERS:
                self._offers.clear()
            found = self._offers[facts.kind] = self._make_offer(facts)
        return found

    def _make_offer(self, facts: Facts) -> Offer:
        wanted = self.wanted
        declared = self.registry.names("mechanisms")
        bases = declared if wanted is None else tuple(dict.fromkeys(map(base_name, wanted)))
        plugs: list[MechanismPlug] = []
        refused: dict[str, Refusal] = {}
        for base in bases:
            try:
                plugs.append(self.mechanism(base))
            except PluginError as error:
                refused[base] = Refusal(Result.NOMECH, str(error))
        by_name = {plug.name: plug for plug in plugs}
        names: list[str] = []
        for name in in_order(plugs, wanted):
            why = refusal(self, by_name[base_name(name)], name, facts)
            if why is None:
                names.append(name)
            else:
                refused[name] = why
        for base in declared:
            if base not in bases:
                refused[base] = Refusal(Result.NOMECH, f"it is not in {self._list_name}")
        # Claimed by two distributions, left out by plugin_list, or declared under no name at all.
        for listing in self.registry.listings("mechanisms"):
            if listing.problem is not None and listing.name not in by_name:
                try:
                    _ = self.mechanism(listing.name)
                except PluginError as error:
                    refused[printable(listing.name)] = Refusal(Result.NOMECH, str(error))
        return Offer(tuple(names), refused)

    _list_name = "mech_list"

    def refusal(self, name: str, facts: Facts) -> Refusal | None:
        """Why `name` cannot be used on a connection of these facts; None if it can."""
        key = (name, facts.kind)
        try:
            return self._single[key]
        except KeyError:
            pass
        if len(self._single) >= CACHED_OFFERS:
            self._single.clear()
        why = self._make_refusal(name, facts)
        # Names come from peers: what is not installed must not fill the cache.
        if why is None or base_name(name) in self.registry.names("mechanisms"):
            self._single[key] = why
        return why

    def permit(self, name: str, facts: Facts) -> Permit | None:
        """The mechanism `name` on a connection of these facts; None: see `refusal`.

        Kept in `permits` under both; an exchange looks there first.
        """
        key = (name, facts.kind)
        found = self.permits.get(key)
        if found is None and self.refusal(name, facts) is None:
            if len(self.permits) >= CACHED_OFFERS:
                self.permits.clear()
            base = base_name(name)
            utils = self.utils("mechanisms", base)
            found = Permit(name, self.mechanism(base), utils, facts, self.security)
            self.permits[key] = found
        return found

    def forget_offers(self) -> None:
        """Make offers anew from now on: a plug can be used that could not, or the reverse."""
        self._offers.clear()
        self._single.clear()
        self.permits.clear()

    def _make_refusal(self, name: str, facts: Facts) -> Refusal | None:
        if not is_mechanism_name(name):
            return Refusal(Result.NOMECH, "that is no mechanism name")
        wanted = self.wanted
        base = base_name(name)
        if base not in self.registry.names("mechanisms"):
            return Refusal(Result.NOMECH, "no such mechanism is installed")
        if wanted is not None and name not in wanted and base not in wanted:
            return Refusal(Result.NOMECH, f"it is not in {self._list_name}")
        try:
            plug = self.mechanism(base)
        except SaslError as error:
            return Refusal(Result.NOMECH, str(error))
        if name != plug.name and not plug.features & Feature.CHANNEL_BINDING:
            return Refusal(Result.NOMECH, f"{plug.name} has no -PLUS variant")
        return refusal(self, plug, name, facts)

    # --- periodic work, the end ------------------------------------------------------

    def schedule(
        self, seconds: float, body: Callable[[], Needs[object]], *, waits: bool = False
    ) -> None:
        """See `SaslUtils.every`."""
        if not seconds > 0:
            raise UsageError("every() takes a positive number of seconds")
        self.jobs.append(Job(seconds, body, time.monotonic() + seconds, waits=waits))

    def check_open(self) -> None:
        """Raise UsageError if it was closed."""
        if self.closed:
            raise UsageError(f"this {self.side.name.title()} is closed", code="closed")

    def close(self) -> None:
        """Close every plug and every shared thing, each once. Idempotent."""
        if self.closed:
            return
        self.closed = True
        self.jobs.clear()
        self.permits.clear()
        for failure in (*self.plugs.close(), *self.once.close()):
            self.log_failure("closing", failure)

    def log_failure(self, what: str, error: BaseException) -> None:
        """Log the failure of something that must not stop anything else."""
        text = error.detail if isinstance(error, SaslError) else type(error).__name__
        if self.options.log_level >= LOG_ERROR:
            self.log(ERROR, "%s: %s", what, text)

    def log(self, level: int, text: str, *arguments: object) -> None:
        """Say something through the standard `logging`. What a handler raises stops nothing.

        What comes from outside is an argument and never part of `text`, and made printable.
        """
        if self.logs(level) and self._log is not None:
            with suppress(Exception):
                self._log(level, text, *(printable(item, ARGUMENT_LIMIT) for item in arguments))

    def _first_logs(self, level: int) -> bool:
        """Import `logging`, and let the logger itself be asked from now on."""
        import logging

        logger = logging.getLogger(f"sasl_core.{self.service}")
        self._log, self.logs = logger.log, logger.isEnabledFor
        return logger.isEnabledFor(level)


def field(value: str | None) -> str:
    """A value of a log line's `name=value`, told from the fields beside it whatever it is.

    "-" for None. In quotation marks, with those inside of it and backslashes escaped, if it is
    empty or "-", or holds a blank, "=", a quotation mark, or what cannot be printed: the
    subject of a certificate is called "CN=Tim Smith,O=Example", and may be called
    "tim authzid=root".
    """
    if value is None:
        return "-"
    if value.isprintable():
        if value not in ("", "-") and _OF_FIELDS.isdisjoint(value):
            return printable(value, NAME_LIMIT)
        shown = printable(value, NAME_LIMIT)
    else:
        shown = printable(value, NAME_LIMIT // 3)
    # Not cut once more on its way into the log, or the last mark would be lost.
    return '"' + shown.replace("\\", "\\\\").replace('"', '\\"') + '"'


def _configuration(config: Config, appname: str) -> Configuration:
    if isinstance(config, Configuration):
        return config
    if config is None:
        return Configuration.load(appname)
    if isinstance(config, (str, os.PathLike)):
        return Configuration.load(appname, path=os.fspath(config))
    if not is_a(config, Mapping):
        raise UsageError(f"config cannot be a {type(config).__name__}")
    return Configuration.from_mapping(config, appname)


def _check_realm(realm: object) -> None:
    try:
        _ = CORE_KEYS["user_realm"](realm)
    except Unfit as error:
        problem = str(error)
    else:
        return
    raise UsageError(f"realm: {problem}")


def _check_word(what: str, value: object) -> None:
    if not isinstance(value, str) or not value or len(value) > 255 or not value.isprintable():
        raise UsageError(f"{what} is a name of 1 to 255 printable characters")
    if "/" in value or "\\" in value or value in (".", ".."):
        raise UsageError(f"{what} cannot hold a path")
