"""Mistakes of a mechanism's author that the type checkers find before anybody logs in."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import sasl_core.plugin
from sasl_core.plugin import (
    ClientContext,
    ClientPlug,
    Decision,
    Feature,
    NeedCall,
    NeedDerivation,
    NeedInitial,
    NeedPeer,
    Needs,
    NeedUser,
    PromptId,
    SaslUtils,
    SecurityFlag,
    ServerContext,
    ServerPlug,
    SetpassFlag,
    Success,
    User,
    UserName,
    Verified,
    hookimpl,
)


class Bare(ServerPlug):
    """`yield` in place of `yield from`."""

    def converse(self, ctx: ServerContext) -> Needs[Success]:
        message: bytes = yield NeedPeer()  # type: ignore[assignment]  # pyright: ignore[reportAssignmentType]
        user: User = yield NeedUser(message.decode())  # type: ignore[assignment]  # pyright: ignore[reportAssignmentType]
        return Success(ctx.verify_equal(user, b"expected", message, how="bare"))


class Forgotten(ServerPlug):
    """No `yield` at all."""

    def converse(self, ctx: ServerContext) -> Needs[Success]:
        NeedPeer(b"sent to nobody")  # pyright: ignore[reportUnusedCallResult]
        message: bytes = NeedPeer()  # type: ignore[assignment]  # pyright: ignore[reportAssignmentType]
        ctx.check_password("tim", message.decode())  # pyright: ignore[reportUnusedCallResult]
        return Success(ctx.check_password("tim", "secret"))  # type: ignore[arg-type, return-value]  # pyright: ignore[reportArgumentType, reportReturnType]


class WrongAnswer(ServerPlug):
    """Answers taken for what they are not."""

    def converse(self, ctx: ServerContext) -> Needs[Success]:
        text: str = yield from NeedPeer()  # type: ignore[assignment]  # pyright: ignore[reportAssignmentType]
        first: bytes = yield from NeedInitial()  # type: ignore[assignment]  # pyright: ignore[reportAssignmentType]
        found: bool = yield from NeedUser("tim")  # type: ignore[assignment]  # pyright: ignore[reportAssignmentType]
        key: str = yield from NeedDerivation("SHA-256", b"", b"", 4096)  # type: ignore[assignment]  # pyright: ignore[reportAssignmentType]
        made: str = yield from NeedCall(lambda: 1, 0)  # type: ignore[arg-type, assignment]  # pyright: ignore[reportArgumentType, reportAssignmentType]
        verified: bool = yield from ctx.check_password("tim", "secret")  # type: ignore[assignment]  # pyright: ignore[reportAssignmentType]
        del text, first, found, key, made
        return Success(verified)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]


class Dropped(ServerPlug):
    """A result that nobody looks at, where it decides."""

    def converse(self, ctx: ServerContext) -> Needs[Success]:
        user = yield from NeedUser("tim")
        ctx.verify_equal(user, b"expected", (yield from NeedPeer()), how="equal")  # pyright: ignore[reportUnusedCallResult]
        return Success()


class WrongArguments(ServerPlug):
    """What is sent, compared and returned is bytes; a proof is a `Verified`."""

    def converse(self, ctx: ServerContext) -> Needs[Success]:
        message = yield from NeedPeer("challenge")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
        user = yield from NeedUser(message)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
        _ = ctx.verify_equal(user, "expected", message, how="equal")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
        _ = ctx.verify_equal("tim", b"expected", message, how="equal")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
        _ = ctx.verify_equal(user, b"expected", message)  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue, reportUnknownVariableType]
        _ = Success(True, data="done")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
        return Success(user)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]


class WrongReturn(ServerPlug):
    """`converse` ends with a `Success`, and is a generator."""

    def converse(self, ctx: ServerContext) -> Needs[Success]:
        message = yield from NeedPeer()
        return (yield from ctx.check_password("tim", message.decode()))  # type: ignore[return-value]  # pyright: ignore[reportReturnType]


class WrongShape(ServerPlug):
    """Methods of another form than the glue calls."""

    def converse(self, ctx: ClientContext) -> Needs[Success]:  # type: ignore[override]  # pyright: ignore[reportIncompatibleMethodOverride]
        raise NotImplementedError

    def available(self, user: str) -> bool:  # type: ignore[override]  # pyright: ignore[reportIncompatibleMethodOverride]
        return bool(user)

    def setpass(self, user: UserName, password: str, flags: SetpassFlag) -> Mapping[str, bytes]:  # type: ignore[override]  # pyright: ignore[reportIncompatibleMethodOverride]
        return {}


class WrongMetadata(ClientPlug):
    """Flags of one kind given for another."""

    security_flags = Feature.WANT_CLIENT_FIRST  # type: ignore[assignment]  # pyright: ignore[reportAssignmentType]
    features = SecurityFlag.NOPLAINTEXT  # type: ignore[assignment]  # pyright: ignore[reportAssignmentType]
    required_prompts = ("username",)  # type: ignore[assignment]  # pyright: ignore[reportAssignmentType]
    hash_bits = "256"  # type: ignore[assignment]  # pyright: ignore[reportAssignmentType]

    def converse(self, ctx: ClientContext) -> Needs[Success]:
        authid: str = yield from ctx.ask(PromptId.AUTHNAME)  # type: ignore[assignment]  # pyright: ignore[reportAssignmentType]
        yield from ctx.ask("Password" + authid)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
        return Success(peer=ctx.verified_peer(b"", b"", how="x"), verified=Verified())  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]


class Unfinished(ServerPlug):
    """Without `converse` there is no mechanism."""


@hookimpl
def sasl_server_plug_init(utils: SaslUtils) -> Sequence[ServerPlug]:
    """Returns the other side's plugs, and what cannot be made."""
    utils.options("X-KNOCK")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    return [WrongMetadata(), Unfinished()]  # type: ignore[abstract, list-item]  # pyright: ignore[reportAbstractUsage, reportReturnType]


@hookimpl
def sasl_client_plug_init(utils: SaslUtils) -> Sequence[ClientPlug]:
    """Returns a plug, not a list of them."""
    return WrongMetadata()  # type: ignore[return-value]  # pyright: ignore[reportReturnType]


PERMITTED: bool = Decision.PERMIT  # type: ignore[assignment]  # pyright: ignore[reportAssignmentType]
ASKED: object = sasl_core.plugin.NeedAuthorize  # type: ignore[attr-defined]  # pyright: ignore[reportAttributeAccessIssue, reportUnknownMemberType, reportUnknownVariableType]
