"""The asyncio `Client` and its sessions."""

from __future__ import annotations

import asyncio
import sys
from typing import TYPE_CHECKING, cast

from sasl_core.core import ClientCore
from sasl_core.edge import sever
from sasl_core.facts import facts_from
from sasl_core.negotiation import ClientNegotiation, Reply
from sasl_core.runners.aio import AsyncRunner
from sasl_core.runners.common import outcome
from sasl_core.session import (
    ClientView,
    client_answers,
)

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable, Mapping
    from types import TracebackType
    from typing import Self, TypeVar, Unpack

    from sasl_core.core import Config
    from sasl_core.credentials import CredentialsPlug
    from sasl_core.facts import ConnectionFacts
    from sasl_core.needs import HttpRequest, HttpResponse, Prompt, PromptId
    from sasl_core.plugs import Needs
    from sasl_core.registry import Registry
    from sasl_core.utils import SaslUtils

    R = TypeVar("R")

__all__ = ["Client", "ClientSession"]


class ClientSession(ClientView[AsyncRunner]):
    """One attempt to authenticate to a server; `with` closes it."""

    __slots__ = ()

    async def start(self, offered: str | Iterable[str]) -> Reply:
        """Choose among the server's mechanisms and begin.

        Afterwards `mechanism` is the name to send; the reply's data are the initial
        response (None: there is none, or the protocol cannot carry it).

        Raises:
            MechanismError: no mechanism fits; `reasons` says why.
            UsageError: an attempt was made already, or a prompt has no answer.
        """
        negotiation = self._negotiation
        try:
            event = negotiation.start(offered)
            if type(event) is Reply:
                return event
            return await self._runner.drive(negotiation, event, self._interact)
        except BaseException as error:
            _ = sever(error)
            raise

    async def step(self, challenge: bytes) -> Reply:
        """Answer a challenge (`b""`: an empty one).

        Raises:
            PeerError: the server broke the protocol.
            AuthenticationError: the server failed to prove itself.
        """
        negotiation = self._negotiation
        try:
            event = negotiation.hear(challenge)
            if type(event) is Reply:
                return event
            return await self._runner.drive(negotiation, event, self._interact)
        except BaseException as error:
            _ = sever(error)
            challenge = b""
            raise

    async def finish(self, data: bytes | None = None) -> None:
        """Call it on the protocol's own success message; `data` came with that.

        Raises:
            AuthenticationError: the server has not proved itself (BADSERV).
            PeerError: data that the mechanism does not expect.
        """
        negotiation = self._negotiation
        try:
            event = negotiation.finish(data)
            if type(event) is not Reply:
                _ = await self._runner.drive(negotiation, event, self._interact)
            return
        except BaseException as error:
            _ = sever(error)
            data = None
            raise

    def close(self) -> None:
        """End it, and the security layer with it. Idempotent."""
        self._negotiation.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()


class Client:
    """A program that authenticates itself to servers. Immutable once made, and safe to share.

    `service`: "smtp", "imap", ...; `host`: the server's fully qualified name. `appname`:
    whose configuration to read, the service's by default. `config`: as for `Server`.
    `http`: the transport for plugins that need HTTP. `credentials`: where access tokens come
    from, a plug or the name of an installed one (default: `credentials_plugin`); a plug stays
    yours to close.

    Raises:
        ConfigError: the configuration is wrong.
        UsageError: a wrong argument.
    """

    def __init__(
        self,
        service: str,
        host: str,
        *,
        appname: str | None = None,
        config: Config = None,
        realm: str | None = None,
        http: Callable[[HttpRequest], HttpResponse | Awaitable[HttpResponse]] | None = None,
        registry: Registry | None = None,
        credentials: CredentialsPlug | str | None = None,
    ) -> None:
        self._core = ClientCore(
            service,
            host,
            appname=appname,
            config=config,
            realm=realm,
            registry=registry,
            credentials=credentials,
        )
        self._runner = AsyncRunner(self._core, http=http)

    @property
    def core(self) -> ClientCore:
        """What its sessions share: configuration, registry, plugs."""
        return self._core

    @property
    def utils(self) -> SaslUtils:
        """What the Client gives its plugins, for what the application shares with them."""
        return self._core.utils("applications", self._core.appname)

    def session(
        self,
        *,
        authid: str | None = None,
        password: str | Callable[[Prompt], str] | None = None,
        authzid: str | None = None,
        realm: str | None = None,
        trace: str | None = None,
        token: str | Callable[[Prompt], str] | None = None,
        answers: Mapping[PromptId, str | Callable[[Prompt], str]] | None = None,
        interact: Callable[[tuple[Prompt, ...]], tuple[str, ...] | Awaitable[tuple[str, ...]]]
        | None = None,
        **facts: Unpack[ConnectionFacts],
    ) -> ClientSession:
        """A session for one attempt.

        `authid` and `password`: who we are; `authzid`: as whom to act, if another;
        `trace`: what ANONYMOUS says of us; `token`: an access token; `answers`: any prompt's
        answer by its id; `interact`: asked for what nothing else answers, gets the prompts and
        returns the answers in their order. A `password` or a `token` that is a callable is
        asked when needed.

        Raises:
            UsageError: an unknown or mistyped fact, or the Client is closed.
        """
        try:
            core = self._core
            if core.closed:
                core.check_open()
            negotiation = ClientNegotiation(
                core,
                facts_from(facts),
                client_answers(authid, password, authzid, realm, trace, token, answers),
                interactive=interact is not None,
            )
        except BaseException as error:
            _ = sever(error)
            password = token = answers = None
            raise
        return ClientSession(negotiation, self._runner, interact)

    async def run(self, body: Needs[R]) -> R:
        """Run a generator of needs outside of any session: a source of credentials, say.

        It may ask for calls and for HTTP; prompts and the peer are a session's.

        Raises:
            SaslError: whatever it raised.
            UsageError: the Client is closed.
        """
        # Drivers ask for a token while they handle the refusal of the last one.
        outer = sys.exception()
        try:
            self._core.check_open()
            value, failure = await self._runner.run(outcome(body))
        except BaseException as error:
            body.close()
            _ = sever(error, outer)
            raise
        if failure is not None:
            raise sever(failure, outer)
        return cast("R", value)

    async def close(self) -> None:
        """Close every plug and shared thing, once. Idempotent."""
        await asyncio.to_thread(self._core.close)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.close()
