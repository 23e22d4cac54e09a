"""What a plugin hands to the glue: metadata and behaviour, as classes to derive from.

Metadata are class (or instance) attributes, checked when the plugin is initialised.
A plug is made once per `Server` or `Client`, shared by all its exchanges, threads and
tasks, and closed exactly once with it. Everything a plug does that touches the outside
is a generator of needs.

Source: Cyrus SASL's plugin guide (`sasl_server_plug_t`, `sasl_client_plug_t`,
`sasl_canonuser_plug_t`, `sasl_auxprop_plug_t`).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Generator, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeAlias, TypeVar

from sasl_core.edge import sever
from sasl_core.errors import UsageError
from sasl_core.flags import (
    Availability,
    Blocking,
    CanonFlag,
    Feature,
    SecurityFlag,
    SetpassFlag,
)
from sasl_core.needs import Change, Found, Need, NeedCall, PasswordAnswer, PromptId
from sasl_core.results import Result

if TYPE_CHECKING:
    from sasl_core.audit import AuditEvent
    from sasl_core.context import CanonContext, ClientContext, ServerContext
    from sasl_core.names import UserName
    from sasl_core.outcome import Success
    from sasl_core.utils import SaslUtils

__all__ = [
    "AuditPlug",
    "AuxpropPlug",
    "CanonUserPlug",
    "ClientPlug",
    "Needs",
    "Plug",
    "PwcheckPlug",
    "ServerPlug",
    "SimpleStore",
]

R = TypeVar("R")
T = TypeVar("T")

Needs: TypeAlias = Generator["Need", object, R]
"""A generator of needs that returns an `R`: what `converse` and every other body is."""


class Plug:
    """What every plug has: a name, a reason when it cannot work here, an end."""

    name: str = ""

    def availability(self) -> str | None:
        """None when it can be used here, else the reason why not and what to do."""
        return None

    def close(self) -> None:
        """Release what the plug holds. Called exactly once, when its owner is closed."""


class MechanismPlug(Plug):
    """Metadata of a mechanism, common to both sides.

    `max_ssf`: strongest security layer in bits. `hash_bits`: strength of the hash that it
    is built on, 0 for none; decides between otherwise equal mechanisms (G1).
    """

    security_flags: SecurityFlag = SecurityFlag.NONE
    features: Feature = Feature.NONE
    max_ssf: int = 0
    hash_bits: int = 0


class ServerPlug(MechanismPlug, ABC):
    """The server's side of a mechanism."""

    attests: bool = False
    """Whether it uses `ctx.attest`, that is, decides on its own who is let in."""

    @abstractmethod
    def converse(self, ctx: ServerContext) -> Needs[Success]:
        """One exchange, from the client's first message to `Success` or a SaslError."""

    def available(self, user: str) -> Availability:
        """Whether `user` (as typed) could use the mechanism; no I/O."""
        del user
        return Availability.YES

    def setpass(
        self, user: UserName, password: bytes | None, flags: SetpassFlag
    ) -> Needs[Mapping[str, tuple[bytes, ...]] | None]:
        """Set (None: remove) the user's secret of this mechanism (G19).

        Return properties that the glue stores for it, in the one write that also makes
        or changes the user; or keep the secret in a database of your own and return {}.
        Return None when the mechanism has no secret of its own (the default).
        """
        del user, password, flags
        yield from ()
        return None


class ClientPlug(MechanismPlug, ABC):
    """The client's side of a mechanism."""

    required_prompts: tuple[PromptId, ...] = ()
    """What it cannot do without; a session that cannot answer them skips the mechanism."""

    @abstractmethod
    def converse(self, ctx: ClientContext) -> Needs[Success]:
        """One exchange, from our first message to `Success` or a SaslError."""


class CanonUserPlug(Plug):
    """A user canonicaliser. Overrides at least one of the two methods; pure, no I/O."""

    def canon_user_client(self, ctx: CanonContext, user: str, flags: CanonFlag) -> str:
        """The canonical form of `user` on the client's side; see `canon_user_server`."""
        raise UsageError(f"canonicaliser {self.name!r} has no client side")

    def canon_user_server(self, ctx: CanonContext, user: str, flags: CanonFlag) -> str:
        """The canonical form of `user`.

        `flags` says which identity this is: AUTHID, AUTHZID, or both when one name is
        both. Must be idempotent, and never empty.

        Raises:
            PeerError: `user` is no acceptable name.
        """
        raise UsageError(f"canonicaliser {self.name!r} has no server side")


class AuxpropPlug(Plug, ABC):
    """A property store.

    `override`: whether what it finds replaces what stores before it found (G14).
    `writable`: whether `update` works. `plaintext`: whether it keeps plaintext passwords
    (`userPassword`); those that do not are never given any.
    """

    override: bool = False
    writable: bool = True
    plaintext: bool = False

    @abstractmethod
    def lookup(self, user: UserName, names: Sequence[str]) -> Needs[Found]:
        """Look the properties `names` (without `*`) of the canonical `user` up.

        A user that is not there is `Found(Result.NOUSER)`, one that is locked
        `Found(Result.DISABLED)`; both take as long as any other.

        Raises:
            BackendError: the store cannot be asked now.
        """

    @abstractmethod
    def update(self, user: UserName, change: Change) -> Needs[Result]:
        """Carry `change` out, all of it or nothing; durable when it returns OK.

        Returns OK, NOUSER or NOCHANGE, as `NeedStore` describes.

        Raises:
            BackendError: the store cannot be written.
        """

    def update_many(
        self, changes: Sequence[tuple[UserName, Change]]
    ) -> Needs[Sequence[Result | UsageError]]:
        """Carry out many changes, in this order; what came of each, in the same order.

        Each is all or nothing, and what came of it is what `update` returns for it, or the
        `UsageError` that it would raise: one that cannot be stored spoils no other. Here
        they are written one by one. A store that can makes them one transaction, so that an
        outage leaves all of them or none; they are durable when it returns. Give it a
        thousand or so at a time, for others wait while it writes.

        Raises:
            BackendError: the store cannot be written; with one transaction, nothing of
                these changes was.
        """
        results: list[Result | UsageError] = []
        for user, change in changes:
            try:
                results.append((yield from self.update(user, change)))
            except UsageError as error:
                results.append(sever(error))
        return results

    @abstractmethod
    def users(self) -> Needs[Iterable[UserName]]:
        """Every user there is, in the order of realm and name."""

    @abstractmethod
    def decoy_secret(self) -> Needs[bytes | None]:
        """At least 16 secret bytes that never change, or None when it keeps none."""


class SimpleStore(AuxpropPlug):
    """A store written as plain functions; says once how long they block.

    Derive from it when the store needs nothing but its own calls. The functions may be
    called from several threads at once.
    """

    read_blocking: Blocking = Blocking.NEVER
    write_blocking: Blocking = Blocking.NEVER

    @abstractmethod
    def read(self, user: UserName, names: Sequence[str]) -> Found:
        """What `lookup` returns."""

    @abstractmethod
    def write(self, user: UserName, change: Change) -> Result:
        """What `update` returns."""

    def write_many(
        self, changes: Sequence[tuple[UserName, Change]]
    ) -> Sequence[Result | UsageError]:
        """What `update_many` returns. Writes one by one, unless a store knows better."""
        results: list[Result | UsageError] = []
        for user, change in changes:
            try:
                results.append(self.write(user, change))
            except UsageError as error:
                results.append(sever(error))
        return results

    @abstractmethod
    def list_users(self) -> Iterable[UserName]:
        """What `users` returns."""

    @abstractmethod
    def read_decoy_secret(self) -> bytes | None:
        """What `decoy_secret` returns."""

    def _call(self, function: Callable[[], T], blocking: Blocking) -> Needs[T]:
        if blocking is Blocking.NEVER:
            return function()
        return (yield from NeedCall(function, blocking))

    def lookup(self, user: UserName, names: Sequence[str]) -> Needs[Found]:
        if self.read_blocking is Blocking.NEVER:
            return self.read(user, names)
        return (yield from NeedCall(lambda: self.read(user, names), self.read_blocking))

    def update(self, user: UserName, change: Change) -> Needs[Result]:
        return (yield from self._call(lambda: self.write(user, change), self.write_blocking))

    def update_many(
        self, changes: Sequence[tuple[UserName, Change]]
    ) -> Needs[Sequence[Result | UsageError]]:
        return (yield from self._call(lambda: self.write_many(changes), self.write_blocking))

    def users(self) -> Needs[Iterable[UserName]]:
        return (yield from self._call(self.list_users, self.read_blocking))

    def decoy_secret(self) -> Needs[bytes | None]:
        return (yield from self._call(self.read_decoy_secret, self.read_blocking))


class PwcheckPlug(Plug, ABC):
    """A way to check a plaintext password, named in `pwcheck_method`."""

    @abstractmethod
    def check_password(
        self, user: UserName, password: bytes, service: str
    ) -> Needs[PasswordAnswer]:
        """Check the prepared, never empty `password`; takes as long for an unknown user.

        Raises:
            BackendError: the method cannot be asked now.
        """

    def user_exists(self, user: UserName) -> Needs[PasswordAnswer]:
        """OK, NOUSER or DISABLED; NOVERIFY when the method cannot tell (the default)."""
        del user
        yield from ()
        return PasswordAnswer(Result.NOVERIFY, f"pwcheck method {self.name!r} cannot tell")


class AuditPlug(Plug, ABC):
    """A listener to audit events."""

    @abstractmethod
    def record(self, event: AuditEvent) -> None:
        """Take note of `event`; must not block. What it raises is logged and ignored."""


PlugInit: TypeAlias = "Callable[[SaslUtils], Sequence[Any]]"
