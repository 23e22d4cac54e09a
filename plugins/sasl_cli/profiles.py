"""What the command line asks of a profile: serve it, connect with it, show what was said.

A profile is what an entry point of the group `sasl_core.profiles` names: a module, or any object
with the members of `Profile`. Which protocols there are is nowhere written here.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Literal, Protocol, cast

from sasl_core import Registry
from sasl_core.plugin import PluginError

if TYPE_CHECKING:
    import ssl
    from collections.abc import Callable, Iterable
    from contextlib import AbstractContextManager

    from sasl_core import ClientSession, ConnectionFacts
    from sasl_core.aio import Server
    from sasl_core.plugin import BindingPolicy
    from sasl_tls import ServerTls

__all__ = ["Connection", "Profile", "Service", "Traced", "load", "names"]


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

    `starttls` raises a PeerError of code `no-starttls` when the server has none, and the
    connection can go on.
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
        self, host: str, port: int, *, timeout: float, trace: Callable[[Traced], None] | None
    ) -> AbstractContextManager[Connection]: ...


def names() -> tuple[str, ...]:
    """The profiles that are installed."""
    return Registry().names("profiles")


PARTS: Final = ("PORT", "make_server", "make_client")


def load(name: str, parts: tuple[str, ...] = PARTS) -> Profile:
    """The profile `name`, its module imported. `parts`: what will be asked of it.

    Raises:
        PluginError: it is not installed, cannot be loaded, or lacks what is asked of it.
    """
    found = Registry().load_object("profiles", name)
    missing = [part for part in parts if not hasattr(found, part)]
    if missing:
        raise PluginError(name, "", f"it has no {missing[0]}, which the command line asks for")
    return cast("Profile", found)
