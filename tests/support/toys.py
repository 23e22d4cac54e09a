r"""Plugins that exist for one test: entry points that nobody installed, modules made at run time.

A toy mechanism is a function of its context, with its metadata as keyword arguments. Its
messages are names: `alice`, or `bob\0alice` for alice who wants to act as bob.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from itertools import count
from types import ModuleType, TracebackType
from typing import Any, Self

from importlib_metadata import EntryPoint

from sasl_auxprop.memory import MemoryStore
from sasl_core.plugin import (
    ClientContext,
    ClientPlug,
    Feature,
    Found,
    Layer,
    NeedPeer,
    Needs,
    NeedUser,
    Plug,
    PromptId,
    SaslUtils,
    SecurityFlag,
    ServerContext,
    ServerPlug,
    Success,
    UserName,
    hookimpl,
)
from sasl_core.registry import Registry
from sasl_mechanisms.scram import FAMILY

__all__ = [
    "BUILT_IN",
    "CLIENT_FIRST",
    "OPEN",
    "PROXY",
    "SERVER_FIRST",
    "STRONG",
    "SpyLayer",
    "SpyStore",
    "Toys",
    "client_plug",
    "naming_client",
    "naming_server",
    "server_plug",
]

OPEN = {
    "allow_anonymous": True,
    "allow_cleartext": True,
    "scram_iteration_counter": 4096,
}
"""A configuration in which nothing is refused for want of TLS, and rounds are few."""

CLIENT_FIRST, SERVER_FIRST = Feature.WANT_CLIENT_FIRST, Feature.SERVER_FIRST
PROXY = CLIENT_FIRST | Feature.ALLOWS_PROXY
STRONG = SecurityFlag.NOPLAINTEXT | SecurityFlag.NOANONYMOUS | SecurityFlag.NODICTIONARY
"""What a mechanism needs so that the safe defaults let it pass."""

BUILT_IN = {
    "mechanisms": {
        "ANONYMOUS": "sasl_mechanisms.anonymous",
        "PLAIN": "sasl_mechanisms.plain",
        **dict.fromkeys(FAMILY, "sasl_mechanisms.scram"),
    },
    "canon_user": {"INTERNAL": "sasl_canon.internal"},
    "auxprop": {"memory": "sasl_auxprop.memory", "sasldb": "sasl_auxprop.sasldb"},
}

Made = Plug | Callable[[SaslUtils], Any]
"""A plug, or what makes one (or breaks) from the plugin's utils."""

_HOOKS = {
    "mechanisms": "sasl_server_plug_init",
    "client": "sasl_client_plug_init",
    "canon_user": "sasl_canonuser_init",
    "auxprop": "sasl_auxprop_init",
    "pwcheck": "sasl_pwcheck_init",
    "audit": "sasl_audit_init",
    "credentials": "sasl_credentials_init",
}
_numbers = count()


class Toys:
    """What is installed in a test; forgets its modules when it is left."""

    def __init__(self, built_in: Sequence[str] = tuple(BUILT_IN)) -> None:
        self._points = [
            EntryPoint(name, module, f"sasl_core.{kind}")
            for kind in built_in
            for name, module in BUILT_IN[kind].items()
        ]
        self._modules: list[str] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        for name in self._modules:
            del sys.modules[name]

    def add(self, kind: str, name: str, **makers: Made) -> None:
        """Install the plugin `name`; `makers`: hook, as in `_HOOKS` -> what it returns."""
        module = ModuleType(f"toy_plugin_{next(_numbers)}")
        module.__dict__["SASL_PLUGIN_API"] = 1
        for key, made in makers.items():
            module.__dict__[_HOOKS[key]] = hookimpl(_hook(made))
        sys.modules[module.__name__] = module
        self._modules.append(module.__name__)
        self._points = [p for p in self._points if (p.group, p.name) != (f"sasl_core.{kind}", name)]
        self._points.append(EntryPoint(name, module.__name__, f"sasl_core.{kind}"))

    def mechanism(self, server: ServerPlug | None = None, client: ClientPlug | None = None) -> None:
        """Install a mechanism of one or both sides."""
        sides: dict[str, Made] = {}
        if server is not None:
            sides["mechanisms"] = server
        if client is not None:
            sides["client"] = client
        plug = server or client
        assert plug is not None
        self.add("mechanisms", plug.name, **sides)

    def plug(self, kind: str, plug: Plug) -> None:
        """Install one plug of any other kind."""
        self.add(kind, plug.name, **{kind: plug})

    def without(self, kind: str, *names: str) -> None:
        """Uninstall."""
        group = f"sasl_core.{kind}"
        self._points = [p for p in self._points if p.group != group or p.name not in names]

    def registry(self, plugin_list: Sequence[str] = ()) -> Registry:
        """A registry in which they, and the built-ins, are installed."""
        points = tuple(self._points)
        return Registry(
            plugin_list=plugin_list,
            entry_points=lambda group: [point for point in points if point.group == group],
        )


def _hook(made: Made) -> Callable[[SaslUtils], list[Plug]]:
    def hook(utils: SaslUtils) -> list[Plug]:
        return [made if isinstance(made, Plug) else made(utils)]

    return hook


# --- mechanisms -----------------------------------------------------------------------


def server_plug(
    name: str, body: Callable[[ServerContext], Any], features: Feature = PROXY, **more: Any
) -> ServerPlug:
    """The server's side of a mechanism whose `converse` is `body`."""
    members: dict[str, Any] = {
        "name": name,
        "features": features,
        "security_flags": STRONG,
        "attests": True,
        "converse": lambda self, ctx: body(ctx),
    }
    cls = type("ToyServer", (ServerPlug,), members | more)
    plug: ServerPlug = cls()
    return plug


def client_plug(
    name: str, body: Callable[[ClientContext], Any], features: Feature = PROXY, **more: Any
) -> ClientPlug:
    """The client's side of a mechanism whose `converse` is `body`."""
    members: dict[str, Any] = {
        "name": name,
        "features": features,
        "security_flags": STRONG,
        "attests": True,
        "converse": lambda self, ctx: body(ctx),
    }
    cls = type("ToyClient", (ClientPlug,), members | more)
    plug: ClientPlug = cls()
    return plug


def naming_server(
    *properties: str,
    data: bytes | None = None,
    layer: Layer | None = None,
    look_up: bool = True,
) -> Callable[[ServerContext], Needs[Success]]:
    """A body that believes whatever name it is told."""

    def body(ctx: ServerContext) -> Needs[Success]:
        authzid, _, authid = (yield from NeedPeer()).decode().rpartition("\0")
        if look_up:
            user = yield from NeedUser(authid, authzid or None, properties)
        else:
            user = ctx.canon_user(authid, authzid or None)
        return Success(ctx.attest(user, how="toy"), data=data, layer=layer)

    return body


def naming_client(
    *, last: bytes | None = None, layer: Layer | None = None
) -> Callable[[ClientContext], Needs[Success]]:
    """A body that says its name, and hears `last` if that is what the server ends with."""

    def body(ctx: ClientContext) -> Needs[Success]:
        authid, authzid = yield from ctx.ask(PromptId.AUTHNAME, PromptId.USER)
        user = ctx.canon_user(authid, authzid or None)
        message = (f"{user.authzid}\0" if authzid else "") + user.authid
        if last is None:
            return Success(data=message.encode(), layer=layer)
        heard = yield from NeedPeer(message.encode())
        assert heard == last
        return Success(layer=layer)

    return body


# --- spies -----------------------------------------------------------------------------


class SpyStore(MemoryStore):
    """A store in memory that notes what it is asked."""

    def __init__(self, name: str = "spy", *, override: bool = False, **more: Any) -> None:
        super().__init__(**more)
        self.name = name
        self.override = override
        self.lookups: list[tuple[str, tuple[str, ...]]] = []
        self.writes: list[tuple[str, Any]] = []

    def read(self, user: UserName, names: Sequence[str]) -> Found:
        self.lookups.append((str(user), tuple(names)))
        return super().read(user, names)

    def write(self, user: UserName, change: Any) -> Any:
        self.writes.append((str(user), change))
        return super().write(user, change)


class SpyLayer(Layer):
    """A layer that reverses every message, and notes how often it was closed."""

    def __init__(self, ssf: int = 56) -> None:
        self.ssf = ssf
        self.closed = 0

    def encode(self, *buffers: bytes) -> bytes:
        return b"".join(buffers)[::-1]

    def decode(self, data: bytes) -> bytes:
        return data[::-1]

    def close(self) -> None:
        self.closed += 1
