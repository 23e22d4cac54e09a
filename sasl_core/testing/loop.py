"""The asyncio driver, which can also cancel an exchange wherever it waits."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Generator
from typing import TYPE_CHECKING, Any, TypeVar, cast

from sasl_core import aio
from sasl_core.runners.aio import AsyncRunner
from sasl_core.testing.driver import AnyClient, AnyServer, Driver

if TYPE_CHECKING:
    from collections.abc import Awaitable, Coroutine

    from sasl_core.facts import ConnectionFacts
    from sasl_core.flags import Decision
    from sasl_core.needs import Prompt
    from sasl_core.plugs import Needs
    from sasl_core.properties import PropertyContext
    from sasl_core.testing.pairs import AnyClientSession, Call
    from sasl_core.testing.setups import ClientSetup, Credentials, ServerSetup, Transport

__all__ = ["AsyncioDriver"]

R = TypeVar("R")


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
            http=setup.http,
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
            http=setup.http,
            registry=setup.registry,
            credentials=setup.credentials,
        )
        self._made.append(client)
        return client

    def client_session(
        self,
        client: AnyClient,
        credentials: Credentials,
        facts: ConnectionFacts,
        *,
        asks: bool = False,
    ) -> AnyClientSession:
        if not self._waiting:
            return super().client_session(client, credentials, facts, asks=asks)

        async def interact(prompts: tuple[Prompt, ...]) -> tuple[str, ...]:
            await asyncio.sleep(0)
            return credentials.answer(prompts)

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

    def body(self, side: AnyServer | AnyClient, body: Needs[R], http: Transport | None = None) -> R:
        return self._runner.run(AsyncRunner(side.core, http=http).run(body))

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
