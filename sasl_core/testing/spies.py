"""Spies that the kit puts into a Server: at its stores, its proxy policy and its audit."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from sasl_core.flags import Blocking, Decision
from sasl_core.needs import NeedCall
from sasl_core.plugs import AuxpropPlug, SimpleStore

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from sasl_core.audit import AuditEvent
    from sasl_core.names import UserName
    from sasl_core.needs import Change, Found
    from sasl_core.plugs import Needs
    from sasl_core.properties import PropertyContext
    from sasl_core.results import Result

__all__ = ["Spies", "SpyStore"]


class SpyStore(AuxpropPlug):
    """A store that notes who is looked up, and passes everything on to `inner`.

    `waits`: each call waits for the event loop once, as a store across a network does.
    """

    def __init__(self, inner: AuxpropPlug, *, waits: bool = False) -> None:
        self.inner = inner
        self.name = inner.name
        self.override = inner.override
        self.writable = inner.writable
        self.plaintext = inner.plaintext
        self.lookups: list[UserName] = []
        self.updates: list[UserName] = []
        self._waits = waits

    def _wait(self) -> Needs[None]:
        if self._waits:
            yield from NeedCall[None](_nothing, Blocking.REMOTE, _soon)

    def lookup(self, user: UserName, names: Sequence[str]) -> Needs[Found]:
        self.lookups.append(user)
        yield from self._wait()
        return (yield from self.inner.lookup(user, names))

    def update(self, user: UserName, change: Change) -> Needs[Result]:
        self.updates.append(user)
        yield from self._wait()
        return (yield from self.inner.update(user, change))

    def users(self) -> Needs[Iterable[UserName]]:
        return (yield from self.inner.users())

    def decoy_secret(self) -> Needs[bytes | None]:
        return (yield from self.inner.decoy_secret())


class SpySimpleStore(SimpleStore):
    """The same for a store that never blocks: a Server reads it at once, and so it does this."""

    def __init__(self, inner: SimpleStore) -> None:
        self.inner = inner
        self.name = inner.name
        self.override = inner.override
        self.writable = inner.writable
        self.plaintext = inner.plaintext
        self.write_blocking = inner.write_blocking
        self.lookups: list[UserName] = []
        self.updates: list[UserName] = []

    def read(self, user: UserName, names: Sequence[str]) -> Found:
        self.lookups.append(user)
        return self.inner.read(user, names)

    def write(self, user: UserName, change: Change) -> Result:
        self.updates.append(user)
        return self.inner.write(user, change)

    def list_users(self) -> Iterable[UserName]:
        return self.inner.list_users()

    def read_decoy_secret(self) -> bytes | None:
        return self.inner.read_decoy_secret()


def _spy(store: AuxpropPlug, *, waits: bool) -> SpyStore | SpySimpleStore:
    if isinstance(store, SimpleStore) and store.read_blocking is Blocking.NEVER and not waits:
        return SpySimpleStore(store)
    return SpyStore(store, waits=waits)


def _nothing() -> None:
    return None


async def _soon() -> None:
    await asyncio.sleep(0)


class Spies:
    """What a Server was seen to do, since it was made or `clear` was called.

    `policy` is the proxy policy behind the spy; None is the default one.
    """

    def __init__(
        self,
        stores: Iterable[AuxpropPlug],
        policy: Callable[[str, str, PropertyContext], Decision] | None,
        *,
        waits: bool = False,
    ) -> None:
        self.stores = tuple(_spy(store, waits=waits) for store in stores)
        self.decisions: list[tuple[str, str]] = []
        self.events: list[AuditEvent] = []
        self._policy = policy

    @property
    def lookups(self) -> list[UserName]:
        """Everybody who was looked up."""
        return [user for store in self.stores for user in store.lookups]

    def authorize(self, authid: str, authzid: str, properties: PropertyContext) -> Decision:
        """The proxy policy."""
        self.decisions.append((authid, authzid))
        if self._policy is not None:
            return self._policy(authid, authzid, properties)
        return Decision.PERMIT if authid == authzid else Decision.DENY

    def clear(self) -> None:
        """Forget what was seen."""
        self.decisions.clear()
        self.events.clear()
        for store in self.stores:
            store.lookups.clear()
            store.updates.clear()
