"""What a conformance class says of its subject: how Server and Client are made, who logs in."""

from __future__ import annotations

from typing import TYPE_CHECKING, NoReturn

import attrs

from sasl_core._record import record
from sasl_core.facts import ConnectionFacts
from sasl_core.needs import PromptId

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from sasl_core.audit import AuditEvent
    from sasl_core.flags import Decision
    from sasl_core.names import UserName
    from sasl_core.needs import Prompt
    from sasl_core.plugs import AuxpropPlug
    from sasl_core.properties import PropertyContext
    from sasl_core.registry import Registry
    from sasl_core.results import Result

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
    answers: Mapping[PromptId, str] = attrs.field(factory=dict[PromptId, str], repr=False)

    def prompts(self) -> dict[PromptId, str]:
        """The same, by prompt."""
        given = {
            PromptId.AUTHNAME: self.authid,
            PromptId.PASS: self.password,
            PromptId.USER: self.authzid,
            PromptId.GETREALM: self.realm,
            PromptId.ECHOPROMPT: self.trace,
        }
        known = {prompt: text for prompt, text in given.items() if text is not None}
        return {**known, **self.answers}

    def answer(self, prompts: tuple[Prompt, ...]) -> tuple[str, ...]:
        """What an application answers that is asked for the same (`interact=`)."""
        known = self.prompts()
        return tuple(known.get(prompt.id, prompt.default or "") for prompt in prompts)

    def secrets(self) -> set[str]:
        """What must be found nowhere once a session is over."""
        secrets = {self.password or "", self.answers.get(PromptId.PASS, "")}
        secrets.add(self.answers.get(PromptId.NOECHOPROMPT, ""))
        return secrets - {""}


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
    registry: Registry | None = None
    facts: ConnectionFacts = attrs.field(factory=ConnectionFacts)


@record
class ClientSetup:
    """The arguments of a `Client`, and the facts of its connections."""

    service: str = "conformance"
    host: str = "server.example.com"
    config: Mapping[str, object] = attrs.field(factory=dict[str, object])
    realm: str | None = None
    registry: Registry | None = None
    facts: ConnectionFacts = attrs.field(factory=ConnectionFacts)
