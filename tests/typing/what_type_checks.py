"""What authors of plugins and applications write, and the types that it has."""

# pyright: reportUnusedCallResult=false
# assert_type returns what it was given.

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import assert_never, assert_type

from sasl_core import (
    Client,
    ConnectionFacts,
    Decision,
    Need,
    NeedAuthorize,
    PropertyContext,
    Server,
    SetpassFlag,
    SetpassReport,
    aio,
)
from sasl_core.plugin import (
    AuditEvent,
    AuditPlug,
    Blocking,
    Change,
    ClientContext,
    ClientStepMechanism,
    Feature,
    Found,
    HttpRequest,
    HttpResponse,
    NeedCall,
    NeedCallback,
    NeedDerivation,
    NeedHttp,
    NeedInitial,
    NeedPassword,
    NeedPeer,
    Needs,
    NeedStore,
    NeedUser,
    NeedVerdict,
    PasswordAnswer,
    Prompt,
    PromptId,
    PwcheckPlug,
    Result,
    SaslUtils,
    ServerContext,
    ServerPlug,
    ServerStepMechanism,
    Step,
    Success,
    User,
    UserName,
    Verified,
    VerifiedPeer,
    hookimpl,
    record,
)


class Answers(ServerPlug):
    """`yield from` gives each answer its own type."""

    def converse(self, ctx: ServerContext) -> Needs[Success]:
        assert_type((yield from NeedPeer()), bytes)
        assert_type((yield from NeedPeer(b"challenge")), bytes)
        assert_type((yield from NeedInitial()), bytes | None)
        user = yield from NeedUser("tim", "tom", ("*authPassword", "mailHost"))
        assert_type(user, User)
        assert_type(user.properties.get("mailHost"), tuple[bytes, ...])
        assert_type(
            (yield from NeedPassword("saslauthd", UserName("tim"), b"secret")), PasswordAnswer
        )
        assert_type((yield from NeedDerivation("SHA-256", b"", b"", 4096)), bytes)
        assert_type((yield from NeedCallback((Prompt(PromptId.PASS, "?"),))), tuple[str, ...])
        assert_type((yield from NeedHttp(HttpRequest("GET", "https://example.com"))), HttpResponse)
        assert_type((yield from NeedStore(UserName("tim"), Change(create=True))), Result)
        assert_type((yield from NeedCall(lambda: 1.5, Blocking.REMOTE)), float)
        assert_type((yield from ctx.check_password("tim", "secret")), Verified)
        return Success(ctx.attest(user, how="test"), data=b"", layer=None)

    def setpass(
        self, user: UserName, password: bytes | None, flags: SetpassFlag
    ) -> Needs[Mapping[str, tuple[bytes, ...]] | None]:
        yield from ()
        return {"secret": (password,)} if password else None


class StepServer(ServerStepMechanism[list[bytes]]):
    """A mechanism of a state and a step, for the server."""

    name = "X-STEP"
    features = Feature.SERVER_FIRST

    def new_state(self, ctx: ServerContext) -> list[bytes]:
        return []

    def step(
        self, ctx: ServerContext, state: list[bytes], data: bytes | None
    ) -> Needs[Step | Success]:
        if data is None:
            return Step(b"who is there?")
        state.append(data)
        return Success((yield from ctx.check_password("tim", data.decode())))


class StepClient(ClientStepMechanism[int]):
    """The same for the client."""

    name = "X-STEP"

    def new_state(self, ctx: ClientContext) -> int:
        return 0

    def step(self, ctx: ClientContext, state: int, data: bytes | None) -> Needs[Step | Success]:
        (password,) = yield from ctx.ask(PromptId.PASS)
        peer = ctx.verified_peer(b"expected", data or b"", how="step")
        assert_type(peer, VerifiedPeer)
        return Success(data=password.encode(), peer=peer)


@record
class Options:
    """Options, declared by the decorator that the door hands out."""

    address: str = "localhost"
    tries: int = 3


class Ask(PwcheckPlug):
    """A pwcheck method."""

    name = "ask"

    def __init__(self, options: Options) -> None:
        self.options = options

    def check_password(
        self, user: UserName, password: bytes, service: str
    ) -> Needs[PasswordAnswer]:
        body = b" ".join((user.name.encode(), password))
        request = HttpRequest("POST", self.options.address, body=body, deadline=1.5)
        response = yield from NeedHttp(request)
        return PasswordAnswer(Result.OK if response.status == 200 else Result.BADAUTH)


class Listener(AuditPlug):
    """A listener."""

    name = "listener"

    def record(self, event: AuditEvent) -> None:
        assert_type(event.result, Result)


@hookimpl
def sasl_pwcheck_init(utils: SaslUtils) -> Sequence[PwcheckPlug]:
    """Options have the schema's type."""
    options = utils.options(Options)
    assert_type(options, Options)
    assert_type(utils.shared("count", lambda: [1]), list[int])
    utils.every(60, lambda: NeedStore(UserName("tim"), Change()).__iter__())
    return [Ask(options)]


@hookimpl
def sasl_audit_init(utils: SaslUtils) -> Sequence[AuditPlug]:
    """A list of the derived class will do."""
    plugs: list[Listener] = [Listener()]
    return plugs


def permits(authid: str, authzid: str, properties: PropertyContext) -> Decision:
    """A proxy policy."""
    return Decision.PERMIT if properties.found("*admin") or authid == authzid else Decision.DENY


async def permits_later(authid: str, authzid: str, properties: PropertyContext) -> Decision:
    """The same as a coroutine, for asyncio."""
    return permits(authid, authzid, properties)


SERVER = Server("imap", "mail.example.com", authorize=permits, config={"allow_cleartext": True})
AIO_SERVER = aio.Server("imap", "mail.example.com", authorize=permits_later)
FACTS: ConnectionFacts = {
    "channel_bindings": {"tls-exporter": b"data", "tls-unique": lambda: b"data"},
    "external_ssf": 256,
    "properties": ["mailHost"],
}


def sessions() -> None:
    """Facts are keywords, or a dictionary of them."""
    with SERVER.session(**FACTS) as ours, Client("imap", "h.example").session(authid="t") as theirs:
        assert_type(ours.start("PLAIN", None).data, bytes | None)
        assert_type(ours.step(b"").done, bool)
        assert_type(ours.properties.get("mailHost"), tuple[bytes, ...])
        assert_type(theirs.mechanism, str | None)
        assert_type(SERVER.setpass("tim", "secret", SetpassFlag.CREATE), SetpassReport)


async def asyncio_sessions() -> None:
    """The same under asyncio."""
    async with AIO_SERVER.session(**FACTS) as session:
        assert_type((await session.start("PLAIN", b"")).data, bytes | None)
        assert_type(await AIO_SERVER.setpass("tim", "secret"), SetpassReport)


def supply(need: Need) -> object:
    """A supplier that covers the closed union is seen to cover it."""
    match need:
        case NeedPeer() | NeedInitial() | NeedVerdict():
            return b""
        case NeedUser():
            return Found(Result.NOUSER)
        case NeedAuthorize():
            return Decision.DENY
        case NeedPassword() | NeedStore() | NeedCallback() | NeedDerivation():
            return None
        case NeedHttp() | NeedCall():
            return None
        case _:
            assert_never(need)
