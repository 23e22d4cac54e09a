"""What the command line asks of a profile: serve it, connect with it, show what was said.

A profile is what an entry point of the group `sasl_core.profiles` names: a module, or any object
with the members of `Profile`. Which protocols there are is nowhere written here.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from types import MappingProxyType
from typing import TYPE_CHECKING, Final, Literal, Protocol, TypeAlias, cast, get_args

import attrs

from sasl_core import Registry
from sasl_core.plugin import PluginError, UsageError, printable, record, suggestion

if TYPE_CHECKING:
    import ssl
    from collections.abc import Callable, Iterable
    from contextlib import AbstractContextManager

    from sasl_core import ClientSession, ConnectionFacts
    from sasl_core.aio import Server
    from sasl_core.plugin import BindingPolicy
    from sasl_tls import ServerTls

__all__ = [
    "PARTS",
    "SERVING",
    "Connection",
    "Manner",
    "Profile",
    "Service",
    "TlsManner",
    "Traced",
    "load",
    "manner",
    "names",
]

TlsManner: TypeAlias = Literal["starttls", "implicit", "option"]
"""How TLS comes in: a command asks for it; it is there before the first word; or either, and
who connects has to say which."""


class Traced(Protocol):
    """One line of a conversation, as a profile traces it: nothing in it is secret.

    `direction`: "C" the client sends it, "S" the server, "-" a note. `message`: the SASL
    message that it carries, decoded; None for none.
    """

    @property
    def direction(self) -> Literal["C", "S", "-"]: ...
    @property
    def line(self) -> str: ...
    @property
    def message(self) -> str | None: ...


class Service(Protocol):
    """A protocol's server: `start` listens, `close` sends every client away."""

    @property
    def address(self) -> tuple[str, int]: ...
    async def start(self, host: str, port: int) -> None: ...
    async def close(self) -> None: ...


class Connection(Protocol):
    """A protocol's client, connected: what it is offered, TLS, and a login.

    `starttls` is asked of those alone that come by it; it raises a PeerError of code
    `no-starttls` when the server has none, and the connection can go on. A `password(user,
    text)`, if there is one, gives what the session is to get for a password.
    """

    @property
    def mechanisms(self) -> tuple[str, ...]: ...
    def facts(self) -> ConnectionFacts: ...
    def starttls(self, context: ssl.SSLContext) -> object: ...
    def authenticate(
        self, session: ClientSession, mechanisms: Iterable[str] | None = None
    ) -> None: ...


class Profile(Protocol):
    """How one protocol carries SASL. `PORT` is where its servers listen."""

    @property
    def PORT(self) -> int: ...  # noqa: N802 - a module's constant
    def make_server(
        self, server: Server, *, host_name: str, tls: ServerTls | None, binding: BindingPolicy
    ) -> Service: ...
    def make_client(
        self,
        host: str,
        port: int,
        *,
        timeout: float,
        trace: Callable[[Traced], None] | None,
        tls: ssl.SSLContext | None = None,
        user: str | None = None,
        mechanism: str | None = None,
        options: Mapping[str, str] | None = None,
    ) -> AbstractContextManager[Connection]: ...


@record
class Manner:
    """How a profile's clients log in, as far as it differs from one protocol to another.

    `service`: the protocol's name to SASL. `tls`: how TLS comes in. `url_options`: the options
    that a URL may have, and for which option of `sasl auth` each stands, "" for those that
    `make_client` is given. `aliases`: the protocol's names of mechanisms that SASL calls
    otherwise. `bearer`: the mechanism that takes an access token where none is named.
    """

    service: str
    tls: TlsManner = "starttls"
    url_options: Mapping[str, str] = attrs.field(factory=lambda: MappingProxyType({}))
    aliases: Mapping[str, str] = attrs.field(factory=lambda: MappingProxyType({}))
    bearer: str | None = None


def names() -> tuple[str, ...]:
    """The profiles that are installed."""
    return Registry().names("profiles")


PARTS: Final = ("PORT", "make_client")
SERVING: Final = ("PORT", "make_server")


def load(name: str, parts: tuple[str, ...] = PARTS) -> Profile:
    """The profile `name`, its module imported. `parts`: what will be asked of it.

    Raises:
        UsageError: there is no such protocol, or it has a client alone, and is to be served.
        PluginError: it cannot be loaded, or lacks what is asked of it; or PORT is no port, or
            another part nothing to call.
    """
    registry = Registry()
    if all(listing.name != name for listing in registry.listings("profiles")):
        there = [each for each in registry.names("profiles") if _has(registry, each, parts)]
        raise UsageError(
            f"there is no protocol {printable(name, 40)!r}; there are {', '.join(there) or 'none'}"
            f"{suggestion(name, there)}"
        )
    found = registry.load_object("profiles", name)
    values = {part: _member(name, found, part, None) for part in parts}
    missing = [part for part, value in values.items() if value is None]
    if missing == ["make_server"] and _member(name, found, "make_client", None) is not None:
        raise UsageError(f"{name} has a client alone{_instead(registry, name, found)}")
    if missing:
        raise PluginError(name, "", f"it has no {missing[0]}, which the command line asks for")
    for part, value in values.items():
        if part == "PORT":
            if type(value) is not int or not 0 < value < 65_536:
                raise _nonsense(name, part, "no port from 1 to 65535")
        elif not callable(value):
            raise _nonsense(name, part, "nothing that can be called")
    return cast("Profile", found)


def _has(registry: Registry, name: str, parts: tuple[str, ...]) -> bool:
    try:
        found = registry.load_object("profiles", name)
        return all(_member(name, found, part, None) is not None for part in parts)
    except PluginError:
        return False


def _instead(registry: Registry, name: str, client: object) -> str:
    """How to serve what has a client alone: by the profile that its service is called after."""
    service = _member(name, client, "SERVICE", None)
    if type(service) is not str or service == name or not _has(registry, service, SERVING):
        return ""
    served = cast("Profile", registry.load_object("profiles", service))
    how = "offers STARTTLS" if manner(service, served).tls == "starttls" else "speaks TLS"
    return f"; `sasl serve {service} --tls-cert FILE` {how}"


def manner(name: str, profile: Profile) -> Manner:
    """What the profile `name` says of its clients; what it leaves out is as with SMTP.

    Raises:
        PluginError: what it says cannot be, a stranger's property that breaks included.
    """
    tls = _member(name, profile, "TLS", "starttls")
    if not isinstance(tls, str) or tls not in get_args(TlsManner):
        told = printable(tls, 40) if isinstance(tls, str) else f"a {type(tls).__name__}"
        raise PluginError(name, "", f"its TLS is {told!r}, which is no way it comes in")
    service = _member(name, profile, "SERVICE", name)
    if not isinstance(service, str) or not service:
        raise _nonsense(name, "SERVICE", "no name")
    bearer = _member(name, profile, "BEARER_MECHANISM", None)
    if bearer is not None and (not isinstance(bearer, str) or not bearer):
        raise _nonsense(name, "BEARER_MECHANISM", "no mechanism's name")
    return Manner(
        service,
        cast("TlsManner", tls),
        _texts(name, profile, "URL_OPTIONS"),
        _texts(name, profile, "ALIASES"),
        bearer,
    )


def _member(name: str, profile: object, member: str, default: object) -> object:
    """A member of a profile, which may be anybody's object.

    Raises:
        PluginError: it breaks when it is asked.
    """
    try:
        return cast("object", getattr(profile, member, default))
    except Exception as error:  # noqa: BLE001 - a stranger's property may raise anything.
        kind = type(error).__name__
    raise PluginError(name, "", f"its {member} cannot be had: {kind}")


def _texts(name: str, profile: object, member: str) -> Mapping[str, str]:
    """A member that is a mapping of texts to texts, as it is now.

    Raises:
        PluginError: it is something else.
    """
    given = _member(name, profile, member, {})
    pairs: dict[object, object] | None = None
    if isinstance(given, Mapping):
        # A mapping may be a stranger's as well; what is copied changes no more.
        with suppress(Exception):
            pairs = dict(cast("Mapping[object, object]", given))
    texts = {k: v for k, v in (pairs or {}).items() if isinstance(k, str) and isinstance(v, str)}
    if pairs is None or len(texts) != len(pairs):
        raise _nonsense(name, member, "no mapping of texts to texts")
    return MappingProxyType(texts)


def _nonsense(name: str, member: str, why: str) -> PluginError:
    return PluginError(name, "", f"its {member} is {why}")
