"""What is installed, loaded and looked at: the plugins of every kind, working or not.

Invariant: whatever is wrong with one plugin is its `reason`, and the others are told all the
same.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

from sasl_core import Client, Registry, Server
from sasl_core.plugin import ConfigError, PluginError, SaslError, ServerPlug, raised, record

if TYPE_CHECKING:
    from enum import IntFlag

    from sasl_core import Configuration
    from sasl_core.plugin import ClientPlug, Plug

__all__ = ["Offered", "take", "why_not"]

HOOKLESS = ("profiles", "commands")
"""Kinds whose entry point is taken as it is: no API version, no flags."""

PROFILE_SIDES = ("client", "server")
"""The sides of a protocol that a profile may have."""

IDLE = ("canon_user", "pwcheck", "credentials")
"""Kinds whose plugins nobody uses who does not name them."""

NO_PACKAGE = "missing-package"
"""The code of the error that a plugin lacks an extra."""
NO_OPTIONS = ConfigError.default_code
"""The code of the error that its options are wrong, or not there."""
NO_SIDE = "plugin-no-side"
"""The code of the error that a mechanism has no plug for one of the sides: no fault."""


@record
class Offered:
    """One plugin.

    `sides`: of a mechanism or a protocol, "client" and "server", those that can be used if any can;
    of other kinds none. `attests`:
    it may vouch for users on its own word. `reason`: why it, or one of its sides, cannot be used;
    None if all can. `half`: the other side can. `idle`: it is in order, but lacks options or an
    extra, and nobody uses it who does not name it.
    """

    kind: str
    name: str
    distribution: str
    version: str
    api: int | None = None
    sides: tuple[str, ...] = ()
    flags: tuple[str, ...] = ()
    features: tuple[str, ...] = ()
    attests: bool = False
    reason: str | None = None
    idle: bool = False
    half: bool = False

    @property
    def available(self) -> bool:
        """Whether it can be used, on one side at least."""
        return self.reason is None or self.half


def take(configuration: Configuration, registry: Registry) -> list[Offered]:
    """Every declaration of every kind, each plugin loaded and initialised.

    Raises:
        UsageError: no Server can be made of the configuration.
    """
    name = configuration.appname
    found: list[Offered] = []
    with (
        Server(name, "localhost", config=configuration, registry=registry) as server,
        Client(name, "localhost", config=configuration, registry=registry) as client,
    ):
        for listing in registry.listings():
            origin = (listing.kind, listing.name, listing.distribution, listing.version)
            if listing.problem is not None:
                found.append(Offered(*origin, reason=listing.problem))
                continue
            try:
                found.append(_look(registry, server, client, *origin))
            except SaslError as error:
                reason = error.reason if isinstance(error, PluginError) else str(error)
                # One that was given no options can have none wrong: it lacks them.
                idle = listing.kind in IDLE and error.code in (NO_PACKAGE, NO_OPTIONS)
                found.append(Offered(*origin, reason=reason, idle=idle))
    return found


def _look(
    registry: Registry,
    server: Server,
    client: Client,
    kind: str,
    name: str,
    distribution: str,
    version: str,
) -> Offered:
    """Load and initialise one plugin.

    Raises:
        SaslError: it cannot be used.
    """
    if kind in HOOKLESS:
        found = registry.load_object(kind, name)
        sides = tuple(side for side in PROFILE_SIDES if hasattr(found, f"make_{side}"))
        return Offered(kind, name, distribution, version, sides=sides if kind == "profiles" else ())
    api = registry.load(kind, name).api
    plugs: dict[str, Plug] = {}
    for side, owner in (("client", client), ("server", server)):
        if kind != "mechanisms" and side == "client":
            continue
        try:
            plugs[side] = owner.core.plugs.get(kind, name)
        except PluginError as error:
            if error.code != NO_SIDE:
                raise
    reasons = {side: why_not(plug) for side, plug in plugs.items()}
    usable = tuple(side for side, why in reasons.items() if why is None)
    plug = plugs.get("server") or plugs.get("client")
    reason = next((why for why in reasons.values() if why is not None), None)
    if kind != "mechanisms":
        idle = kind in IDLE and reason is not None
        return Offered(kind, name, distribution, version, api, reason=reason, idle=idle)
    mechanism = cast("ServerPlug | ClientPlug", plug)
    return Offered(
        kind,
        name,
        distribution,
        version,
        api,
        usable or tuple(plugs),
        _words(mechanism.security_flags),
        _words(mechanism.features),
        isinstance(plug, ServerPlug) and plug.attests,
        reason,
        half=reason is not None and bool(usable),
    )


def why_not(plug: Plug) -> str | None:
    """Why it cannot be used as it is configured; None if it can. Whatever a stranger's raises."""
    try:
        return plug.availability()
    except SaslError as error:
        return str(error)
    except Exception as error:  # noqa: BLE001 - it is told, and stops nothing.
        return f"its availability() raised {raised(error, __file__)}"


def _words(flags: IntFlag) -> tuple[str, ...]:
    """The names of the flags that are set."""
    return tuple(str(flag.name) for flag in flags)
