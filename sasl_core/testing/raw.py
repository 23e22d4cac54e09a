"""The driver of an application that supplies the needs on its own (`session.raw()`)."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeAlias, cast

from sasl_core import blocking
from sasl_core.negotiation import Reply
from sasl_core.runners.blocking import BlockingRunner
from sasl_core.session import ClientView, ServerView
from sasl_core.testing.driver import AnyClient, AnyServer, BlockingDriver

if TYPE_CHECKING:
    from collections.abc import Callable

    from sasl_core.facts import ConnectionFacts
    from sasl_core.needs import Need, Prompt
    from sasl_core.negotiation import Negotiation
    from sasl_core.testing.setups import ClientSetup, Credentials, ServerSetup, Transport

__all__ = ["RawClientSession", "RawDriver", "RawServerSession"]

Interact: TypeAlias = "Callable[[tuple[Prompt, ...]], tuple[str, ...]]"


class _Supplied:
    """Needs supplied here, one by one, as an application does that uses `session.raw()`."""

    def __init__(self, runner: BlockingRunner, interact: Interact | None = None) -> None:
        self._runner = runner
        self._interact = interact
        self.needs: list[Need] = []

    def settle(self, raw: Negotiation, event: Need | Reply) -> Reply:
        while not isinstance(event, Reply):
            self.needs.append(event)
            failure: Exception | None = None
            value: object = None
            try:
                value = self._runner.supply(event, self._interact)
            except Exception as error:  # noqa: BLE001 - thrown where the need was yielded.
                failure = error
            event = raw.answer(value) if failure is None else raw.fail(failure)
        return event


class RawServerSession(ServerView[BlockingRunner]):
    """A server's session whose needs are noted in `supplied.needs`."""

    __slots__ = ("supplied",)

    def __init__(self, session: blocking.ServerSession, runner: BlockingRunner) -> None:
        super().__init__(session.raw(), runner)
        self.supplied = _Supplied(runner)

    def start(self, mechanism: str, initial: bytes | None = None) -> Reply:
        raw = self.raw()
        return self.supplied.settle(raw, raw.start(mechanism, initial))

    def step(self, response: bytes) -> Reply:
        raw = self.raw()
        return self.supplied.settle(raw, raw.hear(response))

    def close(self) -> None:
        self.raw().close()


class RawClientSession(ClientView[BlockingRunner]):
    """A client's session whose needs are noted in `supplied.needs`."""

    __slots__ = ("supplied",)

    def __init__(
        self,
        session: blocking.ClientSession,
        runner: BlockingRunner,
        interact: Interact | None = None,
    ) -> None:
        super().__init__(session.raw(), runner, interact)
        self.supplied = _Supplied(runner, interact)

    def start(self, offered: list[str]) -> Reply:
        raw = self.raw()
        return self.supplied.settle(raw, raw.start(offered))

    def step(self, challenge: bytes) -> Reply:
        raw = self.raw()
        return self.supplied.settle(raw, raw.hear(challenge))

    def finish(self, data: bytes | None = None) -> None:
        raw = self.raw()
        _ = self.supplied.settle(raw, raw.finish(data))

    def close(self) -> None:
        self.raw().close()


class RawDriver(BlockingDriver):
    """The negotiations themselves, each need supplied by hand."""

    name = "raw"

    def __init__(self) -> None:
        super().__init__()
        self._transports: dict[AnyClient, Transport | None] = {}

    def client(self, setup: ClientSetup) -> blocking.Client:
        client = super().client(setup)
        self._transports[client] = setup.http
        return client

    def close(self) -> None:
        self._transports.clear()
        super().close()

    def server_session(
        self, server: AnyServer, setup: ServerSetup, facts: ConnectionFacts
    ) -> RawServerSession:
        session = cast("blocking.Server", server).session(**facts)
        runner = BlockingRunner(
            server.core,
            checkpass=setup.checkpass,
            authorize=setup.authorize,
            http=setup.http,
        )
        return RawServerSession(session, runner)

    def client_session(
        self,
        client: AnyClient,
        credentials: Credentials,
        facts: ConnectionFacts,
        *,
        asks: bool = False,
    ) -> RawClientSession:
        theirs = cast("blocking.Client", client)
        runner = BlockingRunner(client.core, http=self._transports[client])
        if asks:
            session = theirs.session(interact=credentials.answer, **facts)
            return RawClientSession(session, runner, credentials.answer)
        return RawClientSession(theirs.session(answers=credentials.prompts(), **facts), runner)
