"""What a conformance class says of its subject: how Server and Client are made, who logs in."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NoReturn, TypeAlias

import attrs

from sasl_core._record import record
from sasl_core.facts import ConnectionFacts
from sasl_core.needs import PromptId

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from sasl_core.audit import AuditEvent
    from sasl_core.credentials import CredentialsPlug
    from sasl_core.flags import Decision
    from sasl_core.names import UserName
    from sasl_core.needs import HttpRequest, HttpResponse, Prompt
    from sasl_core.plugs import AuxpropPlug
    from sasl_core.properties import PropertyContext
    from sasl_core.registry import Registry
    from sasl_core.results import Result

    Transport: TypeAlias = Callable[[HttpRequest], HttpResponse]

__all__ = ["ClientSetup", "Credentials", "ServerSetup", "declare", "fail", "require"]


def fail(message: str) -> NoReturn:
    """Report that the subject does not conform."""
    raise AssertionError(message)


def require(ok: object, message: str) -> None:
    """Report `message` unless `ok`. Unlike an `assert` it works under `python -O` too."""
    if not ok:
        fail(message)


def declare(plugins: Mapping[str, Mapping[str, str]]) -> Registry:
    """A registry that knows plugins which no distribution declares, besides the installed ones.

    `plugins`: kind -> plugin name -> module, where the kind is the last part of an
    entry-point group: "mechanisms", "canon_user", "auxprop", ...
    """
    from importlib_metadata import EntryPoint

    from sasl_core.entrypoints import KINDS, installed
    from sasl_core.registry import Registry

    added = [
        EntryPoint(name, module, KINDS[kind])
        for kind, modules in plugins.items()
        for name, module in modules.items()
    ]

    known, _ = installed()

    def read(group: str) -> list[EntryPoint]:
        return [point for point in (*known, *added) if point.group == group]

    return Registry(entry_points=read)


@record
class Credentials:
    """What a client session is given. The repr shows who, and no secret."""

    authid: str | None = None
    password: str | None = attrs.field(default=None, repr=False)
    authzid: str | None = None
    realm: str | None = None
    trace: str | None = None
    token: str | None = attrs.field(default=None, repr=False)
    answers: Mapping[PromptId, str] = attrs.field(factory=dict[PromptId, str], repr=False)

    def prompts(self) -> dict[PromptId, str]:
        """The same, by prompt."""
        given = {
            PromptId.AUTHNAME: self.authid,
            PromptId.PASS: self.password,
            PromptId.USER: self.authzid,
            PromptId.GETREALM: self.realm,
            PromptId.ECHOPROMPT: self.trace,
            PromptId.TOKEN: self.token,
        }
        known = {prompt: text for prompt, text in given.items() if text is not None}
        return {**known, **self.answers}

    def answer(self, prompts: tuple[Prompt, ...]) -> tuple[str, ...]:
        """What an application answers that is asked for the same (`interact=`)."""
        known = self.prompts()
        return tuple(known.get(prompt.id, prompt.default or "") for prompt in prompts)

    def secrets(self) -> set[str]:
        """What must be found nowhere once a session is over."""
        known = self.prompts()
        return {known.get(prompt, "") for prompt in _SECRET} - {""}

    def lengths(self) -> dict[PromptId, int]:
        """How long each answer is: what a peer may count."""
        return {prompt: len(text) for prompt, text in self.prompts().items()}


_SECRET: Final = (PromptId.PASS, PromptId.NOECHOPROMPT, PromptId.TOKEN)


@record
class ServerSetup:
    """The arguments of a `Server`, and the facts of its connections.

    The kit adds spies: it wraps the `stores`, calls `authorize` through one of its own,
    and listens to the audit.
    """

    service: str = "conformance"
    host: str = "server.example.com"
    config: Mapping[str, object] = attrs.field(factory=dict[str, object])
    realm: str | None = None
    stores: tuple[AuxpropPlug, ...] = ()
    checkpass: Callable[[UserName, bytes, str], Result] | None = None
    authorize: Callable[[str, str, PropertyContext], Decision] | None = None
    audit: tuple[Callable[[AuditEvent], None], ...] = ()
    http: Transport | None = None
    registry: Registry | None = None
    facts: ConnectionFacts = attrs.field(factory=ConnectionFacts)


@record
class ClientSetup:
    """The arguments of a `Client`, and the facts of its connections."""

    service: str = "conformance"
    host: str = "server.example.com"
    config: Mapping[str, object] = attrs.field(factory=dict[str, object])
    realm: str | None = None
    http: Transport | None = None
    credentials: CredentialsPlug | str | None = None
    registry: Registry | None = None
    facts: ConnectionFacts = attrs.field(factory=ConnectionFacts)
