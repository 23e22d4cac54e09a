"""The three ways to run an exchange, behind one face: raw, blocking and asyncio.

A driver makes Servers and Clients of its kind from one description, and makes the calls
that an `ExchangePair` asks for. What the three come to can be compared as it is.
"""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from collections.abc import Callable, Generator
from typing import TYPE_CHECKING, Any, ClassVar, Final, TypeAlias, TypeVar, cast

from sasl_core import aio, blocking
from sasl_core.negotiation import Reply
from sasl_core.runners.aio import AsyncRunner
from sasl_core.runners.blocking import BlockingRunner
from sasl_core.session import ClientView, ServerView

if TYPE_CHECKING:
    from collections.abc import Awaitable, Coroutine
    from types import TracebackType
    from typing import Self

    from sasl_core.facts import ConnectionFacts
    from sasl_core.flags import Decision
    from sasl_core.needs import Need, Prompt
    from sasl_core.negotiation import Negotiation
    from sasl_core.plugs import Needs
    from sasl_core.properties import PropertyContext
    from sasl_core.testing.pairs import AnyClientSession, AnyServerSession, Call
    from sasl_core.testing.setups import ClientSetup, Credentials, ServerSetup

__all__ = [
    "DRIVERS",
    "AnyClient",
    "AnyServer",
    "AsyncioDriver",
    "BlockingDriver",
    "Driver",
    "RawClientSession",
    "RawDriver",
    "RawServerSession",
]

R = TypeVar("R")

AnyServer: TypeAlias = blocking.Server | aio.Server
AnyClient: TypeAlias = blocking.Client | aio.Client


class Driver(ABC):
    """Makes Servers, Clients and calls; `with` closes all that it made."""

    name: ClassVar[str]

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    @abstractmethod
    def server(self, setup: ServerSetup) -> AnyServer:
        """A Server, closed with the driver."""

    @abstractmethod
    def client(self, setup: ClientSetup) -> AnyClient:
        """A Client, closed with the driver."""

    def server_session(
        self, server: AnyServer, setup: ServerSetup, facts: ConnectionFacts
    ) -> AnyServerSession:
        """A session of `server`, which was made from `setup`."""
        del setup
        return server.session(**facts)

    def client_session(
        self, client: AnyClient, credentials: Credentials, facts: ConnectionFacts
    ) -> AnyClientSession:
        """A session of `client` that knows the `credentials`."""
        return client.session(answers=credentials.prompts(), **facts)

    @abstractmethod
    def run(self, steps: Generator[Call, object, R]) -> R:
        """Make every call that `steps` asks for; returns what `steps` returns."""

    def call(self, call: Call) -> object:
        """What one call returns; raises what it raises."""

        def steps() -> Generator[Call, object, object]:
            return (yield call)

        return self.run(steps())

    @abstractmethod
    def body(self, server: AnyServer, body: Needs[R]) -> R:
        """What a body of needs (a store's look-up, say) returns when it is run."""

    @abstractmethod
    def close(self) -> None:
        """Close what was made."""


class BlockingDriver(Driver):
    """`sasl_core.Server` and `sasl_core.Client`."""

    name = "blocking"

    def __init__(self) -> None:
        self._made: list[blocking.Server | blocking.Client] = []

    def server(self, setup: ServerSetup) -> blocking.Server:
        server = blocking.Server(
            setup.service,
            setup.host,
            config=setup.config,
            realm=setup.realm,
            stores=setup.stores,
            checkpass=setup.checkpass,
            authorize=setup.authorize,
            audit=setup.audit,
            registry=setup.registry,
        )
        self._made.append(server)
        return server

    def client(self, setup: ClientSetup) -> blocking.Client:
        client = blocking.Client(
            setup.service,
            setup.host,
            config=setup.config,
            realm=setup.realm,
            registry=setup.registry,
        )
        self._made.append(client)
        return client

    def run(self, steps: Generator[Call, object, R]) -> R:
        try:
            call = next(steps)
            while True:
                try:
                    value = call()
                except Exception as error:  # noqa: BLE001 - raised where the call was asked for.
                    call = steps.throw(error)
                else:
                    call = steps.send(value)
        except StopIteration as stop:
            return cast("R", stop.value)

    def body(self, server: AnyServer, body: Needs[R]) -> R:
        return BlockingRunner(server.core).run(body)

    def close(self) -> None:
        while self._made:
            self._made.pop().close()


class _Supplied:
    """Needs supplied here, one by one, as an application does that uses `session.raw()`."""

    def __init__(self, runner: BlockingRunner) -> None:
        self._runner = runner
        self.needs: list[Need] = []

    def settle(self, raw: Negotiation, event: Need | Reply) -> Reply:
        while not isinstance(event, Reply):
            self.needs.append(event)
            try:
                value = self._runner.supply(event, None)
            except Exception as error:  # noqa: BLE001 - thrown where the need was yielded.
                event = raw.fail(error)
            else:
                event = raw.answer(value)
        return event


class RawServerSession(ServerView):
    """A server's session whose needs are noted in `supplied.needs`."""

    __slots__ = ("supplied",)

    def __init__(self, session: blocking.ServerSession, runner: BlockingRunner) -> None:
        super().__init__(session.raw())
        self.supplied = _Supplied(runner)

    def start(self, mechanism: str, initial: bytes | None = None) -> Reply:
        raw = self.raw()
        return self.supplied.settle(raw, raw.start(mechanism, initial))

    def step(self, response: bytes) -> Reply:
        raw = self.raw()
        return self.supplied.settle(raw, raw.answer(response))

    def close(self) -> None:
        self.raw().close()


class RawClientSession(ClientView):
    """A client's session whose needs are noted in `supplied.needs`."""

    __slots__ = ("supplied",)

    def __init__(self, session: blocking.ClientSession, runner: BlockingRunner) -> None:
        super().__init__(session.raw())
        self.supplied = _Supplied(runner)

    def start(self, offered: list[str]) -> Reply:
        raw = self.raw()
        return self.supplied.settle(raw, raw.start(offered))

    def step(self, challenge: bytes) -> Reply:
        raw = self.raw()
        return self.supplied.settle(raw, raw.answer(challenge))

    def finish(self, data: bytes | None = None) -> None:
        raw = self.raw()
        _ = self.supplied.settle(raw, raw.finish(data))

    def close(self) -> None:
        self.raw().close()


class RawDriver(BlockingDriver):
    """The negotiations themselves, each need supplied by hand."""

    name = "raw"

    def server_session(
        self, server: AnyServer, setup: ServerSetup, facts: ConnectionFacts
    ) -> RawServerSession:
        session = cast("blocking.Server", server).session(**facts)
        runner = BlockingRunner(server.core, checkpass=setup.checkpass, authorize=setup.authorize)
        return RawServerSession(session, runner)

    def client_session(
        self, client: AnyClient, credentials: Credentials, facts: ConnectionFacts
    ) -> RawClientSession:
        session = cast("blocking.Client", client).session(answers=credentials.prompts(), **facts)
        return RawClientSession(session, BlockingRunner(client.core))


class AsyncioDriver(Driver):
    """`sasl_core.aio`, on an event loop of its own.

    `waiting`: the application's callbacks and prompts wait for the loop once, so that
    there are places to cancel at even where no plugin waits for anything.
    """

    name = "asyncio"

    def __init__(self, *, waiting: bool = False) -> None:
        self._waiting = waiting
        self._runner = asyncio.Runner()
        self._made: list[aio.Server | aio.Client] = []

    def server(self, setup: ServerSetup) -> aio.Server:
        authorize = setup.authorize
        policy: Callable[[str, str, PropertyContext], Decision | Awaitable[Decision]] | None
        policy = authorize
        if self._waiting and authorize is not None:
            decide = authorize

            async def wait(authid: str, authzid: str, properties: PropertyContext) -> Decision:
                await asyncio.sleep(0)
                return decide(authid, authzid, properties)

            policy = wait
        server = aio.Server(
            setup.service,
            setup.host,
            config=setup.config,
            realm=setup.realm,
            stores=setup.stores,
            checkpass=setup.checkpass,
            authorize=policy,
            audit=setup.audit,
            registry=setup.registry,
        )
        self._made.append(server)
        return server

    def client(self, setup: ClientSetup) -> aio.Client:
        client = aio.Client(
            setup.service,
            setup.host,
            config=setup.config,
            realm=setup.realm,
            registry=setup.registry,
        )
        self._made.append(client)
        return client

    def client_session(
        self, client: AnyClient, credentials: Credentials, facts: ConnectionFacts
    ) -> AnyClientSession:
        if not self._waiting:
            return super().client_session(client, credentials, facts)
        known = credentials.prompts()

        async def interact(prompts: tuple[Prompt, ...]) -> tuple[str, ...]:
            await asyncio.sleep(0)
            return tuple(known.get(prompt.id, prompt.default or "") for prompt in prompts)

        return cast("aio.Client", client).session(interact=interact, **facts)

    def run(self, steps: Generator[Call, object, R]) -> R:
        return self._runner.run(_awaited(steps))

    def run_cancelled(self, steps: Generator[Call, object, R], at: int) -> bool:
        """Run, and cancel the task where it waits for the `at`-th time (from 1).

        Returns whether it was cancelled; if not, it had ended before.
        """
        cancelling = _Cancelling(_awaited(steps), at)

        async def task() -> None:
            _ = await cancelling

        try:
            self._runner.run(task())
        except asyncio.CancelledError:
            return True
        return False

    def body(self, server: AnyServer, body: Needs[R]) -> R:
        return self._runner.run(AsyncRunner(server.core).run(body))

    def gather(self, server: AnyServer, bodies: list[Needs[R]]) -> list[R]:
        """What many bodies return that are run at the same time."""
        runner = AsyncRunner(server.core)

        async def together() -> list[R]:
            return list(await asyncio.gather(*(runner.run(body) for body in bodies)))

        return self._runner.run(together())

    def close(self) -> None:
        async def close() -> None:
            while self._made:
                await self._made.pop().close()

        self._runner.run(close())
        self._runner.close()


async def _awaited(steps: Generator[Call, object, R]) -> R:
    try:
        call = next(steps)
        while True:
            try:
                value: Any = call()
                if hasattr(value, "__await__"):
                    value = await value
            except Exception as error:  # noqa: BLE001 - raised where the call was asked for.
                call = steps.throw(error)
            else:
                call = steps.send(value)
    except StopIteration as stop:
        return cast("R", stop.value)
    finally:
        steps.close()


class _Cancelling:
    """Awaits a coroutine, and cancels the current task where that waits for the `at`-th time."""

    def __init__(self, coroutine: Coroutine[Any, Any, object], at: int) -> None:
        self._coroutine = coroutine
        self._left = at

    def __await__(self) -> Generator[Any, Any, object]:
        resume: Callable[..., Any] = self._coroutine.send
        value: object = None
        while True:
            try:
                waited = resume(value)
            except StopIteration as stop:
                return stop.value
            self._left -= 1
            if self._left == 0:
                task = asyncio.current_task()
                if task is not None:
                    _ = task.cancel()
            try:
                value = yield waited
                resume = self._coroutine.send
            except BaseException as error:  # noqa: BLE001 - passed on, as `await` does.
                value = error
                resume = self._coroutine.throw


DRIVERS: Final[dict[str, Callable[[], Driver]]] = {
    "raw": RawDriver,
    "blocking": BlockingDriver,
    "asyncio": AsyncioDriver,
}
"""Name -> how to make the driver."""
