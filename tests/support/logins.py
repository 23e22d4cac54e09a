"""A service, its client, and a login between them: what the tests of attacks start from."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sasl_auxprop.memory import MemoryStore
from sasl_core import Client, Server

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from sasl_core.blocking import ClientSession, ServerSession

__all__ = ["OPEN", "USERS", "client", "login", "plant", "server", "store"]

OPEN: Mapping[str, object] = {
    "allow_anonymous": True,
    # Tests name a user to every mechanism, to ANONYMOUS as well.
    "client_mech_list": ["SCRAM-SHA-256", "PLAIN", "ANONYMOUS"],
    "allow_cleartext": True,
    "scram_iteration_counter": 4096,
}
"""Configuration under which every mechanism may be used on any connection."""

USERS = {"tim": "tanstaaftanstaaf", "kurt": "xipj3plmq"}


def store(users: Mapping[str, str] = USERS, *, plaintext: bool = False) -> MemoryStore:
    """A store with `users`, 4096 rounds each."""
    return MemoryStore(users, plaintext=plaintext)


def server(
    stores: Iterable[Any] = (), *, config: Mapping[str, object] = OPEN, **more: Any
) -> Server:
    """A Server for "smtp" with the given stores, or with one that holds USERS."""
    return Server(
        "smtp", "mail.example.com", config=config, stores=list(stores) or [store()], **more
    )


def client(*, config: Mapping[str, object] = OPEN, **more: Any) -> Client:
    """A Client for the same service."""
    return Client("smtp", "mail.example.com", config=config, **more)


def login(
    ours: ClientSession,
    theirs: ServerSession,
    offered: str | Iterable[str],
    *,
    to_server: Callable[[int, bytes | None], bytes | None] = lambda _, data: data,
    to_client: Callable[[int, bytes | None], bytes | None] = lambda _, data: data,
) -> list[bytes | None]:
    """Carry messages between two sessions until both are done; returns all of them in order.

    `to_server` and `to_client` stand on the wire: each gets a message and its number, and
    says what arrives. What either side raises is raised here.
    """
    said: list[bytes | None] = []
    reply = ours.start(offered)
    name = ours.mechanism
    assert name is not None
    said.append(reply.data)
    answer = theirs.start(name, to_server(0, reply.data))
    said.append(answer.data)
    rounds = 0
    while not answer.done:
        assert answer.data is not None
        reply = ours.step(to_client(rounds, answer.data) or b"")
        said.append(reply.data)
        rounds += 1
        answer = theirs.step(to_server(rounds, reply.data) or b"")
        said.append(answer.data)
    ours.finish(to_client(rounds, answer.data))
    assert ours.done
    assert theirs.done
    return said


def plant(owner: Server | Client, kind: str, plug: Any) -> None:
    """Have `owner` use `plug` in place of the installed plug of its name."""
    core = owner.core
    core.plugs.get(kind, plug.name)
    core.plugs._plugs[kind, plug.name] = plug
    core._canonicalize = None
