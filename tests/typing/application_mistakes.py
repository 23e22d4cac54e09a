"""Mistakes of an application's author, and of one who writes stores, that type checkers find."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import assert_never

from sasl_core import (
    Client,
    Decision,
    Found,
    Need,
    NeedAuthorize,
    NeedCall,
    NeedCallback,
    NeedDerivation,
    NeedHttp,
    NeedPassword,
    NeedPeer,
    NeedStore,
    NeedUser,
    PropertyContext,
    Reply,
    Result,
    Server,
    UserName,
    aio,
)
from sasl_core.plugin import (
    AuxpropPlug,
    CanonContext,
    CanonFlag,
    CanonUserPlug,
    Change,
    NeedInitial,
    Needs,
    SimpleStore,
)


def permits(authid: str, authzid: str, properties: PropertyContext) -> bool:
    """A policy that says True; a forgotten call is true as well."""
    return properties.found(authid + authzid)


def accepts(user: UserName, password: bytes, service: str) -> bool:
    """A password check that says True."""
    return bool(user.name and password and service)


SERVER = Server("imap", "mail.example.com", authorize=permits)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
CHECKED = Server("imap", "mail.example.com", checkpass=accepts)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
LAMBDA = Server("imap", "mail.example.com", authorize=lambda authid, authzid, found: True)  # type: ignore[arg-type, return-value]  # pyright: ignore[reportArgumentType]


def forgets(authid: str, authzid: str) -> Decision:
    """A policy without the properties."""
    return Decision.PERMIT if authid == authzid else Decision.DENY


FORGETS = Server("imap", "mail.example.com", authorize=forgets)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
STORES = Server("imap", "mail.example.com", stores=["sasldb"])  # type: ignore[list-item]  # pyright: ignore[reportArgumentType]

_ = SERVER.session(remot="192.0.2.1;1")  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue, reportUnknownVariableType]
_ = SERVER.session(external_ssf="256")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
_ = SERVER.session(channel_bindings={"tls-exporter": "text"})  # type: ignore[dict-item]  # pyright: ignore[reportArgumentType]


def server(reply: Reply) -> None:
    """The server's exchange."""
    with SERVER.session() as session:
        session.start("PLAIN", b"")  # pyright: ignore[reportUnusedCallResult]
        _ = session.start(b"PLAIN")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
        _ = session.step("text")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
        _ = session.step(None)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
        _ = session.step(reply.data)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
        reply.done = True  # type: ignore[misc]  # pyright: ignore[reportAttributeAccessIssue]
        if session.start:  # type: ignore[truthy-function]  # pyright: ignore[reportUnnecessaryComparison]
            raise SystemExit("a method is always true")


def client() -> None:
    """The client's exchange."""
    with Client("imap", "mail.example.com").session(authid=b"tim") as session:  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
        sent: bytes = session.start("SCRAM-SHA-256")  # type: ignore[assignment]  # pyright: ignore[reportAssignmentType]
        del sent


async def waiting() -> None:
    """Coroutines that nobody awaits."""
    session = aio.Server("imap", "mail.example.com").session()
    session.start("PLAIN")  # type: ignore[unused-coroutine]  # pyright: ignore[reportUnusedCallResult, reportUnusedCoroutine]
    reply: Reply = session.step(b"")  # type: ignore[assignment]  # pyright: ignore[reportAssignmentType]
    del reply


def supply(need: Need) -> object:
    """A supplier that has forgotten one kind of need."""
    match need:
        case NeedPeer() | NeedInitial() | NeedUser() | NeedAuthorize() | NeedPassword():
            return None
        case NeedCallback() | NeedDerivation() | NeedHttp() | NeedCall():
            return None
        case _:
            assert_never(need)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]


class WrongStore(SimpleStore):
    """Functions that return what the glue cannot use, and one that is missing."""

    def read(self, user: UserName, names: Sequence[str]) -> dict[str, bytes]:  # type: ignore[override]  # pyright: ignore[reportIncompatibleMethodOverride]
        return {}

    def write(self, user: UserName, change: Change) -> bool:  # type: ignore[override]  # pyright: ignore[reportIncompatibleMethodOverride]
        change.create = True  # type: ignore[misc]  # pyright: ignore[reportAttributeAccessIssue]
        return True

    def list_users(self) -> Iterable[str]:  # type: ignore[override]  # pyright: ignore[reportIncompatibleMethodOverride]
        return []


class WrongNeeds(AuxpropPlug):
    """Plain functions where generators are due."""

    def lookup(self, user: UserName, names: Sequence[str]) -> Found:  # type: ignore[override]  # pyright: ignore[reportIncompatibleMethodOverride]
        return Found(Result.OK, {"room": b"12"})  # type: ignore[dict-item]  # pyright: ignore[reportArgumentType]

    def update(self, user: UserName, change: Change) -> Needs[Result]:
        return Result.OK  # type: ignore[return-value]  # pyright: ignore[reportReturnType]


STORE = WrongStore()  # type: ignore[abstract]  # pyright: ignore[reportAbstractUsage]


class WrongCanon(CanonUserPlug):
    """Names are text, and there is always one."""

    def canon_user_server(self, ctx: CanonContext, user: str, flags: CanonFlag) -> str | None:  # type: ignore[override]  # pyright: ignore[reportIncompatibleMethodOverride]
        return None

    def canon_user_client(self, ctx: CanonContext, user: bytes, flags: CanonFlag) -> str:  # type: ignore[override]  # pyright: ignore[reportIncompatibleMethodOverride]
        return user.decode()


USED = (NeedStore, STORE)
