"""What an application knows about one connection, and what it demands of it."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import lru_cache
from typing import Final, TypeAlias, TypedDict, cast

from sasl_core._checks import is_a
from sasl_core._record import record
from sasl_core._sealed import Sealed
from sasl_core.edge import call
from sasl_core.errors import UsageError, printable
from sasl_core.flags import BindingPolicy, SecurityFlag

__all__ = [
    "ChannelBinding",
    "ChannelBindings",
    "ConnectionFacts",
    "Facts",
    "SecurityProperties",
    "facts_from",
]

_BINDING_NAME = re.compile(r"[A-Za-z0-9.-]+", re.ASCII)

ChannelBinding: TypeAlias = "bytes | Callable[[], bytes]"
"""Channel binding data, or a callable that fetches it when a mechanism asks."""


class ChannelBindings(Sealed, Mapping[str, ChannelBinding]):
    """The channel bindings of a connection, and why it has no others.

    A mapping like any other that `channel_bindings=` takes. `missing`: type -> why there are
    no data of that type. Where there are none of any type, `rejected` gives these reasons for
    the -PLUS mechanisms. The data never show in a `repr`.
    """

    __slots__ = ("_data", "missing")

    def __init__(
        self, data: Mapping[str, ChannelBinding], missing: Mapping[str, str] | None = None
    ) -> None:
        self._data = dict(data)
        self.missing: Mapping[str, str] = dict(missing or {})

    def __getitem__(self, name: str) -> ChannelBinding:
        return self._data[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._data)

    def __len__(self) -> int:
        return len(self._data)

    def __repr__(self) -> str:
        return f"ChannelBindings({', '.join(self._data) or 'none'}; missing: {self.why_none()})"

    def why_none(self) -> str:
        """Every reason in one line, "" for none."""
        return "; ".join(
            f"{printable(name, 40)}: {printable(why, 300)}" for name, why in self.missing.items()
        )


@record
class SecurityProperties:
    """The security properties that a session demands (`sasl_security_properties_t`).

    `min_ssf`, `max_ssf`: bounds of the strength in bits, external layer included.
    `maxbufsize`: largest buffer that the application receives at once, in bytes; 0
    forbids security layers. `flags`: what mechanisms must protect from.
    """

    min_ssf: int = 0
    max_ssf: int = 1 << 16
    maxbufsize: int = 65536
    flags: SecurityFlag = SecurityFlag.NONE


class ConnectionFacts(TypedDict, total=False):
    """The keyword arguments of `session(...)`; every one is optional.

    `channel_bindings`: type ("tls-exporter") -> data, or a callable that returns them; as
    `ChannelBindings` with the reasons why there are no others.
    `binding_policy`: what is demanded of channel binding. `external_ssf`: strength in
    bits of the protection below us (TLS), 0 for none. `external_id`: the identity that
    the protection below vouches for, as it stands; `external_until`: how long it does, in
    seconds since the epoch, None for as long as the connection lasts. `remote`, `local`:
    "address;port". `connected_to`: the name or the address that a client connected to, where the
    protocol's client knows it; a person's token goes there only where `allowed_hosts` has it, as
    well as the Client's host. `success_data`: the protocol can carry data with its success message.
    `initial_response`: it can
    carry the client's first message with the request. `security`: demanded security
    properties, instead of the configured ones. `properties`: properties that the
    application wants of the user, named as in `PropertyContext`. `need_proxy`,
    `need_http`: only mechanisms that can act for others, or run over HTTP. `need_account`: a
    server lets in only whom a store knows, also of those who are verified elsewhere.
    `advertised_bindings`: the types of channel binding that the server advertises in the
    protocol (XEP-0440), the same on both sides; empty where the protocol has no such list.
    """

    channel_bindings: Mapping[str, ChannelBinding]
    binding_policy: BindingPolicy
    external_ssf: int
    external_id: str | None
    external_until: float | None
    remote: str | None
    local: str | None
    connected_to: str | None
    success_data: bool
    initial_response: bool
    security: SecurityProperties | None
    properties: Iterable[str]
    need_proxy: bool
    need_http: bool
    need_account: bool
    advertised_bindings: Iterable[str]


class Facts(Sealed):
    """`ConnectionFacts`, checked, with defaults.

    `key` is all that mechanism choice depends on. `kind` is one object for all facts of one
    `key`: what is remembered of a choice is filed under it, for it costs no hashing.
    """

    __slots__ = (
        "advertised_bindings",
        "binding_policy",
        "channel_bindings",
        "connected_to",
        "external_id",
        "external_ssf",
        "external_until",
        "initial_response",
        "key",
        "kind",
        "local",
        "need_account",
        "need_http",
        "need_proxy",
        "properties",
        "remote",
        "security",
        "success_data",
        "unbound",
    )

    def __init__(self, given: ConnectionFacts) -> None:
        unknown = given.keys() - _TYPES.keys()
        if unknown:
            raise UsageError(f"unknown connection facts: {', '.join(sorted(map(str, unknown)))}")
        for name, value in given.items():
            if not isinstance(value, _TYPES[name]):
                raise UsageError(f"connection fact {name!r} cannot be a {type(value).__name__}")
        bindings = given.get("channel_bindings", {})
        self.channel_bindings = dict(bindings)
        for name in self.channel_bindings:
            if not is_a(name, str) or _BINDING_NAME.fullmatch(name) is None:
                raise UsageError(
                    f"a channel binding type is a name like 'tls-exporter', not {printable(name)!r}"
                )
        # Why there are none, "" where nobody said or where there are some.
        self.unbound = (
            bindings.why_none()
            if isinstance(bindings, ChannelBindings) and not self.channel_bindings
            else ""
        )
        self.binding_policy = given.get("binding_policy", BindingPolicy.WANT)
        self.external_ssf = given.get("external_ssf", 0)
        if self.external_ssf < 0:
            raise UsageError("external_ssf cannot be negative")
        self.external_id = given.get("external_id")
        self.external_until = given.get("external_until")
        self.remote = _one_line(given.get("remote"))
        self.local = _one_line(given.get("local"))
        self.connected_to = given.get("connected_to")
        self.success_data = given.get("success_data", False)
        self.initial_response = given.get("initial_response", True)
        self.security = given.get("security")
        names = given.get("properties", ())
        if isinstance(names, (str, bytes)):
            raise UsageError("properties is a list of names, not one name")
        self.properties = tuple(dict.fromkeys(names))
        if not all(_is_property(name) for name in self.properties):
            raise UsageError("properties are non-empty names")
        self.need_proxy = given.get("need_proxy", False)
        self.need_http = given.get("need_http", False)
        self.need_account = given.get("need_account", False)
        advertised = given.get("advertised_bindings")
        self.advertised_bindings = _binding_names(advertised) if advertised else ()
        self.key = (
            self.external_ssf,
            bool(self.channel_bindings) or self.unbound,
            self.binding_policy,
            self.remote is None or is_loopback(self.remote),
            bool(self.external_id),
            self.security,
            self.need_proxy,
            self.need_http,
        )
        self.kind = _kind(self.key)

    def binding(self, name: str) -> bytes | None:
        """The data of the channel binding type `name`, None when the connection has none.

        Raises:
            UsageError: the application's callable returned no bytes, or nothing.
            BackendError: it raised.
        """
        data = self.channel_bindings.get(name)
        if data is None:
            return None
        if isinstance(data, bytes) and data:
            return data
        value = call(f"the data of channel binding {name!r}", data) if callable(data) else data
        if not isinstance(cast("object", value), bytes) or not value:
            raise UsageError(f"channel binding {name!r} has no data")
        return value


@lru_cache(maxsize=1024)
def _kind(key: tuple[object, ...]) -> object:
    del key
    return object()


def _one_line(address: str | None) -> str | None:
    """An address as it may be logged: it may come from a proxy's header, and so from a peer."""
    return address if address is None or address.isprintable() else printable(address)


def _binding_names(names: Iterable[str]) -> tuple[str, ...]:
    """The types of channel binding, checked: a client has them from its peer.

    They are signed between delimiters (XEP-0474), so that what is no name could stand for two.
    """
    given = tuple(names)
    if isinstance(names, (str, bytes)) or not all(
        is_a(name, str) and _BINDING_NAME.fullmatch(name) is not None for name in given
    ):
        raise UsageError("advertised_bindings is a list of names, like 'tls-exporter'")
    return given


def _is_property(name: object) -> bool:
    return isinstance(name, str) and bool(name.strip("*"))


_TYPES: Final[dict[str, type | tuple[type, ...]]] = {
    "channel_bindings": Mapping,
    "binding_policy": BindingPolicy,
    "external_ssf": int,
    "external_id": (str, type(None)),
    "external_until": (int, float, type(None)),
    "remote": (str, type(None)),
    "local": (str, type(None)),
    "connected_to": (str, type(None)),
    "success_data": bool,
    "initial_response": bool,
    "security": (SecurityProperties, type(None)),
    "properties": Iterable,
    "need_proxy": bool,
    "need_http": bool,
    "need_account": bool,
    "advertised_bindings": Iterable,
}

# One object for the many sessions that state no facts, or the same few.
_DEFAULT: Final = Facts({})
CACHED_KINDS: Final = 64
_KINDS: Final[dict[str, type]] = {
    "success_data": bool,
    "initial_response": bool,
    "external_ssf": int,
    "need_proxy": bool,
    "need_http": bool,
    "need_account": bool,
}
_CHECKED: Final[dict[tuple[tuple[str, object], ...], Facts]] = {}


def facts_from(given: ConnectionFacts) -> Facts:
    """The facts given as keyword arguments.

    Raises:
        UsageError: an unknown fact, or one of the wrong type.
    """
    if not given:
        return _DEFAULT
    # What describes a kind of connection, and not one of them, is checked once.
    for name, value in given.items():
        if type(value) is not _KINDS.get(name):
            return Facts(given)
    key = tuple(given.items())
    found = _CHECKED.get(key)
    if found is None:
        found = Facts(given)
        if len(_CHECKED) < CACHED_KINDS:
            _CHECKED[key] = found
    return found


def is_loopback(address: str) -> bool:
    """Whether "address;port" is this machine: 127.0.0.0/8, ::1, or a Unix socket path."""
    host = address.partition(";")[0].strip("[]")
    if host.startswith("/"):
        return True
    if host.lower().startswith("::ffff:"):
        host = host[7:]
    octets = host.split(".")
    if len(octets) == 4 and all(o.isascii() and o.isdigit() and len(o) < 4 for o in octets):
        return octets[0] == "127"
    return host == "::1"
