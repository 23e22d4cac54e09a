"""A sound toy in Cyrus's style, with a state and a step function: the server begins.

server: <nonce>
client: <authid> <MAC of the password over the nonce>
"""

from __future__ import annotations

import hmac
from typing import TYPE_CHECKING

from sasl_core.plugin import (
    ClientStepMechanism,
    Feature,
    NeedUser,
    PeerError,
    PromptId,
    SecurityFlag,
    ServerStepMechanism,
    Step,
    Success,
    hookimpl,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sasl_core.plugin import (
        ClientContext,
        ClientPlug,
        Needs,
        SaslUtils,
        ServerContext,
        ServerPlug,
    )

SASL_PLUGIN_API = 1

FLAGS = SecurityFlag.NOPLAINTEXT | SecurityFlag.NOANONYMOUS


def mac(password: bytes, nonce: bytes) -> bytes:
    return hmac.digest(password, nonce, "sha256").hex().encode()


class Server(ServerStepMechanism[list[bytes]]):
    """The state is the nonce, once it is sent."""

    name = "X-STEPWISE"
    security_flags = FLAGS
    features = Feature.SERVER_FIRST

    def new_state(self, ctx: ServerContext) -> list[bytes]:
        return []

    def step(
        self, ctx: ServerContext, state: list[bytes], data: bytes | None
    ) -> Needs[Step | Success]:
        if data is None:
            state.append(ctx.utils.random(12).hex().encode())
            return Step(state[0])
        name, _, given = data.rpartition(b" ")
        try:
            authid = name.decode()
        except UnicodeDecodeError:
            authid = ""
        if not authid:
            raise PeerError("a name and a response are due", code="toy")
        user = yield from NeedUser(authid, None, ("*userPassword",))
        known = user.properties.get("*userPassword") or (b"nobody has this password",)
        user.properties.erase("*userPassword")
        return Success(ctx.verify_equal(user, mac(known[0], state[0]), given, how="toy"))

    def dispose(self, state: list[bytes]) -> None:
        state.clear()


class Client(ClientStepMechanism[None]):
    """Needs no state."""

    name = "X-STEPWISE"
    security_flags = FLAGS
    features = Feature.SERVER_FIRST
    required_prompts = (PromptId.AUTHNAME, PromptId.PASS)

    def new_state(self, ctx: ClientContext) -> None:
        return None

    def step(self, ctx: ClientContext, state: None, data: bytes | None) -> Needs[Step | Success]:
        if data is None:
            return Step()
        if len(data) != 24:
            raise PeerError("a nonce is due", code="toy")
        authid, password = yield from ctx.ask(PromptId.AUTHNAME, PromptId.PASS)
        user = ctx.canon_user(authid)
        return Success(data=user.authid.encode() + b" " + mac(password.encode(), data))


@hookimpl
def sasl_server_plug_init(utils: SaslUtils) -> Sequence[ServerPlug]:
    """The server's plug."""
    return [Server()]


@hookimpl
def sasl_client_plug_init(utils: SaslUtils) -> Sequence[ClientPlug]:
    """The client's plug."""
    return [Client()]
