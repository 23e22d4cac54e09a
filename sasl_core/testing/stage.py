"""The stage on which the checks of a mechanism play: a Server, a Client, and their exchanges."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, TypeVar

from sasl_core.testing.pairs import FRAMINGS, ExchangePair

if TYPE_CHECKING:
    from collections.abc import Generator

    from sasl_core.facts import ConnectionFacts
    from sasl_core.plugs import Needs
    from sasl_core.testing.driver import Driver
    from sasl_core.testing.pairs import (
        AnyClientSession,
        AnyServerSession,
        Framing,
        Outcome,
        Tamper,
    )
    from sasl_core.testing.setups import ClientSetup, Credentials, ServerSetup
    from sasl_core.testing.spies import Spies

__all__ = ["Stage"]

R = TypeVar("R")


class Stage:
    """A Server and a Client of one driver, with spies, and the exchanges between them."""

    def __init__(
        self,
        driver: Driver,
        name: str,
        server_setup: ServerSetup,
        client_setup: ClientSetup,
        spies: Spies,
    ) -> None:
        self.driver = driver
        self.name = name
        self.spies = spies
        self.server_setup = server_setup
        self.client_setup = client_setup
        self.server = driver.server(server_setup)
        self.client = driver.client(client_setup)

    def run(self, body: Needs[R]) -> R:
        """What a body of needs returns when the Server runs it, on nobody's behalf."""
        return self.driver.body(self.server, body, self.server_setup.http)

    def server_session(self, framing: Framing = FRAMINGS[0]) -> AnyServerSession:
        """A session of the server."""
        return self.driver.server_session(
            self.server, self.server_setup, _framed(self.server_setup.facts, framing)
        )

    def client_session(
        self, credentials: Credentials, framing: Framing = FRAMINGS[0], *, asks: bool = False
    ) -> AnyClientSession:
        """A session of the client, which knows the credentials or `asks` for them."""
        facts = _framed(self.client_setup.facts, framing)
        return self.driver.client_session(self.client, credentials, facts, asks=asks)

    @contextmanager
    def pair(
        self,
        credentials: Credentials,
        framing: Framing = FRAMINGS[0],
        tamper: Tamper | None = None,
        offered: str = "",
        *,
        asks: bool = False,
    ) -> Generator[ExchangePair]:
        """Two sessions, wired together; closed at the end.

        `offered`: other names to offer. `asks`: the client is told nothing beforehand.
        """
        pair = ExchangePair(
            self.server_session(framing),
            self.client_session(credentials, framing, asks=asks),
            offered or self.name,
            framing,
            tamper,
        )
        try:
            yield pair
        finally:
            pair.close()

    def exchange(
        self,
        credentials: Credentials,
        framing: Framing = FRAMINGS[0],
        tamper: Tamper | None = None,
        offered: str = "",
        *,
        asks: bool = False,
    ) -> Outcome:
        """One exchange."""
        with self.pair(credentials, framing, tamper, offered, asks=asks) as pair:
            return self.driver.run(pair.play())


def _framed(facts: ConnectionFacts, framing: Framing) -> ConnectionFacts:
    return {
        **facts,
        "initial_response": framing.initial_response,
        "success_data": framing.success_data,
    }
