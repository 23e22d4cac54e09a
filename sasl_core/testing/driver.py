"""What a driver is, and the blocking one.

A driver makes Servers and Clients of its kind from one description, and makes the calls
that an `ExchangePair` asks for. What different drivers come to can be compared as it is.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Generator
from typing import TYPE_CHECKING, ClassVar, TypeAlias, TypeVar, cast

from sasl_core import aio, blocking
from sasl_core.runners.blocking import BlockingRunner

if TYPE_CHECKING:
    from types import TracebackType
    from typing import Self

    from sasl_core.facts import ConnectionFacts
    from sasl_core.plugs import Needs
    from sasl_core.testing.pairs import AnyClientSession, AnyServerSession, Call
    from sasl_core.testing.setups import ClientSetup, Credentials, ServerSetup, Transport

__all__ = ["AnyClient", "AnyServer", "BlockingDriver", "Driver"]

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
        self,
        client: AnyClient,
        credentials: Credentials,
        facts: ConnectionFacts,
        *,
        asks: bool = False,
    ) -> AnyClientSession:
        """A session of `client` that knows the `credentials`, or `asks` for them."""
        if asks:
            return client.session(interact=credentials.answer, **facts)
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
    def body(self, side: AnyServer | AnyClient, body: Needs[R], http: Transport | None = None) -> R:
        """What a body of needs (a store's look-up, say) returns when `side` runs it."""

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
            http=setup.http,
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
            http=setup.http,
            registry=setup.registry,
            credentials=setup.credentials,
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

    def body(self, side: AnyServer | AnyClient, body: Needs[R], http: Transport | None = None) -> R:
        return BlockingRunner(side.core, http=http).run(body)

    def close(self) -> None:
        while self._made:
            self._made.pop().close()
