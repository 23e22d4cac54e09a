# Written by tests/tools/write_tutorials.py from docs/plugins.md: change the page.
# pyright: reportUnusedCallResult=false
from collections.abc import Sequence

from sasl_core.plugin import (
    Feature, Needs, SaslUtils, SecurityFlag, ServerContext, ServerPlug, ServerStepMechanism, Step,
    Success, hookimpl,
)

SASL_PLUGIN_API = 1


class AskTwice(ServerStepMechanism[list[str]]):
    """The server asks for the name, then for the password."""

    name = "X-ASK"
    security_flags = SecurityFlag.NOANONYMOUS
    features = Feature.SERVER_FIRST

    def new_state(self, ctx: ServerContext) -> list[str]:
        return []

    def step(
        self, ctx: ServerContext, state: list[str], data: bytes | None
    ) -> Needs[Step | Success]:
        if data is None:
            return Step(b"User name:")
        state.append(data.decode("ascii", "replace"))
        if len(state) == 1:
            return Step(b"Password:")
        return Success((yield from ctx.check_password(*state)))

    def dispose(self, state: list[str]) -> None:
        state.clear()


@hookimpl
def sasl_server_plug_init(utils: SaslUtils) -> Sequence[ServerPlug]:
    return [AskTwice()]


from hmac import compare_digest

from sasl_core.plugin import Needs, PasswordAnswer, PwcheckPlug, Result, UserName


class Fixed(PwcheckPlug):
    """One user, one password."""

    name = "fixed"

    def check_password(
        self, user: UserName, password: bytes, service: str
    ) -> Needs[PasswordAnswer]:
        yield from ()  # it needs nothing
        right = compare_digest(password, b"open sesame")
        if str(user) != "ali":
            return PasswordAnswer(Result.NOVERIFY, "not one of ours")
        return PasswordAnswer(Result.OK if right else Result.BADAUTH)


@hookimpl
def sasl_pwcheck_init(utils: SaslUtils) -> Sequence[PwcheckPlug]:
    return [Fixed()]


from sasl_core.plugin import AuditEvent, AuditPlug


class Printer(AuditPlug):
    name = "printer"

    def record(self, event: AuditEvent) -> None:
        print(event.kind, event.mechanism, event.authid, event.result.name, event.how)


@hookimpl
def sasl_audit_init(utils: SaslUtils) -> Sequence[AuditPlug]:
    return [Printer()]


from sasl_auxprop.memory import MemoryStore
from sasl_core import Server
from sasl_core.testing import declare

registry = declare({
    "mechanisms": {"X-ASK": __name__},
    "pwcheck": {"fixed": __name__},
    "audit": {"printer": __name__},
})
config = {"pwcheck_method": ["fixed", "auxprop"], "allow_cleartext": True}
with Server(
    "cave", "cave.example.com", stores=[MemoryStore()], config=config, registry=registry
) as server, server.session() as session:
    assert session.start("X-ASK").data == b"User name:"
    assert session.step(b"ali").data == b"Password:"
    assert session.step(b"open sesame").done
    assert session.authid == "ali"
