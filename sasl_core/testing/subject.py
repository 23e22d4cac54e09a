"""What a mechanism's conformance class sets, and how its checks judge."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, ClassVar, TypeAlias

import attrs

from sasl_core.errors import BackendError, PluginError, SaslError, UsageError
from sasl_core.flags import Side
from sasl_core.runners.common import no_transport
from sasl_core.testing.drivers import DRIVERS, Driver
from sasl_core.testing.pairs import FRAMINGS, Framing, Outcome
from sasl_core.testing.setups import ClientSetup, Credentials, ServerSetup, fail
from sasl_core.testing.spies import Spies
from sasl_core.testing.stage import Stage

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Mapping

    from sasl_core.facts import ConnectionFacts
    from sasl_core.flags import Decision
    from sasl_core.needs import HttpRequest, HttpResponse
    from sasl_core.plugs import AuxpropPlug, ClientPlug, ServerPlug
    from sasl_core.properties import PropertyContext
    from sasl_core.registry import Registry

__all__ = ["MechanismSubject"]

Policy: TypeAlias = "Callable[[str, str, PropertyContext], Decision]"


class MechanismSubject:
    """What the checks know of a mechanism.

    To be set: `mechanism`, `credentials`, `expected_authid`, and where there are secrets
    `wrong_credentials`; to be overridden: `server_setup`, `client_setup`. Every secret
    in them has at least 6 characters, none of which stands in a name, so that it can be
    looked for.
    """

    mechanism: ClassVar[str]
    """The mechanism's name, without -PLUS."""

    offered: ClassVar[str] = ""
    """The name to offer in all checks, when it is not `mechanism`: the one with -PLUS, say,
    together with `facts` that have channel bindings."""

    credentials: ClassVar[Credentials]
    """With these a login succeeds."""

    wrong_credentials: ClassVar[Credentials | None] = None
    """The same user with a wrong secret of the same length (of a token, another one as long);
    None: there is no secret."""

    expected_authid: ClassVar[str]
    """Who the server says was authenticated; the client says the same."""

    expected_client_authid: ClassVar[str] = ""
    """What the client calls itself, if that is something else: who has a token does not know
    whose it is."""

    expected_client_authzid: ClassVar[str] = ""
    """As whom the client says that it acts, if that is another name than what it calls itself: one
    that it told the server along with a token."""

    other_secrets: ClassVar[tuple[str, ...]] = ()
    """Secrets besides those of the credentials: the tokens that a source gives, say."""

    still_valid: ClassVar[Mapping[str, str]] = {}
    """Corruptions that may succeed on both sides, and why: `Kind` name ("CASE_FLIP"), or
    "BIT_FLIP", -> reason. An entry that is not needed is a failure too."""

    indistinguishable: ClassVar[Mapping[str, Credentials]] = {}
    """Cases ("unknown user") whose logins a client cannot tell from `wrong_credentials`.
    Names, passwords and tokens are as long as there. Empty: the mechanism looks nobody up."""

    proxy: ClassVar[Credentials | None] = None
    """`credentials` with the authzid of another user, if the mechanism can carry one."""

    proxy_with_their_secret: ClassVar[Credentials | None] = None
    """The same with that other user's secret in place of one's own."""

    error_challenges: ClassVar[tuple[bytes, ...]] = ()
    """What a server of this mechanism sends to say no: `e=invalid-proof`, say."""

    other_mechanisms: ClassVar[tuple[str, ...]] = ()
    """More names for the attack that starts another mechanism in the middle."""

    packages: ClassVar[tuple[str, ...]] = ()
    """Top-level packages of the plugin, whose frames are searched for secrets."""

    seed: ClassVar[int] = 1
    """Of everything that is random in the checks."""

    bit_flips: ClassVar[int] = 4096
    """Most bits flipped in one framing; when an exchange has more, a sample is."""

    config: ClassVar[Mapping[str, object]] = {}
    """Configuration of both sides, as the tables of a `sasl.toml`."""

    facts: ClassVar[ConnectionFacts] = {}
    """Facts of the connection on both sides; the framing is the kit's matter."""

    def stores(self) -> tuple[AuxpropPlug, ...]:
        """New stores that hold the users of the credentials; the kit closes them."""
        return ()

    def registry(self) -> Registry | None:
        """Where plugins are found; None: what is installed. See `declare`."""
        return None

    def http(self, request: HttpRequest) -> HttpResponse:
        """What is at the other end of either side's HTTP: an identity provider, say."""
        del request
        raise no_transport()

    def server_setup(self) -> ServerSetup:
        """How a server is made."""
        return ServerSetup(
            config=self.config,
            stores=self.stores(),
            http=self.http,
            registry=self.registry(),
            facts=self.facts,
        )

    def client_setup(self) -> ClientSetup:
        """How a client is made."""
        return ClientSetup(
            config=self.config, http=self.http, registry=self.registry(), facts=self.facts
        )

    def prepare(self, stage: Stage) -> None:
        """What an application does once with a new Server and Client: fetch keys, say."""

    def repeatable(self, challenge: bytes) -> object:
        """What of a challenge must be the same for each attempt of one user: salt and rounds."""
        del challenge
        return None

    # --- the stage -------------------------------------------------------------------

    @contextmanager
    def stage(
        self,
        driver: str | Driver = "blocking",
        *,
        waits: bool = False,
        log_level: int = 0,
        policy: Policy | None = None,
        server_facts: ConnectionFacts | None = None,
        client_facts: ConnectionFacts | None = None,
    ) -> Generator[Stage]:
        """Server and client, ready. `policy`: another proxy policy; the facts are added."""
        server = self.server_setup()
        client = self.client_setup()
        spies = Spies(server.stores, policy or server.authorize, waits=waits)
        try:
            seen = attrs.evolve(
                server,
                stores=spies.stores,
                authorize=spies.authorize,
                audit=(*server.audit, spies.events.append),
                config={**server.config, "log_level": log_level},
                facts={**server.facts, **(server_facts or {})},
            )
            told = attrs.evolve(
                client,
                config={**client.config, "log_level": log_level},
                facts={**client.facts, **(client_facts or {})},
            )
            with DRIVERS[driver]() if isinstance(driver, str) else driver as made:
                stage = Stage(made, self.offered or self.mechanism, seen, told, spies)
                self.prepare(stage)
                spies.clear()
                yield stage
        finally:
            for store in server.stores:
                store.close()

    def wrong(self) -> Credentials:
        """The wrong credentials, where there are such."""
        if self.wrong_credentials is None:
            fail(f"{self.mechanism}: set wrong_credentials")
        return self.wrong_credentials

    def secrets(self) -> set[str]:
        """Every secret that the checks use."""
        found = set(self.other_secrets)
        for credentials in (
            self.credentials,
            self.wrong_credentials,
            self.proxy_with_their_secret,
            *self.indistinguishable.values(),
        ):
            if credentials is not None:
                found |= credentials.secrets()
        return found

    def server_plug(self, stage: Stage) -> ServerPlug:
        """The server's plug."""
        return stage.server.core.mechanism(self.mechanism)

    def client_plug(self, stage: Stage) -> ClientPlug:
        """The client's plug."""
        return stage.client.core.mechanism(self.mechanism)

    def names(self) -> dict[Side, str]:
        """As whom each side knows who has logged in."""
        ours = self.expected_authid
        return {Side.SERVER: ours, Side.CLIENT: self.expected_client_authid or ours}

    # --- judging -----------------------------------------------------------------------

    def honest(self, stage: Stage, framing: Framing = FRAMINGS[0], why: str = "") -> Outcome:
        """A clean exchange, which has to succeed."""
        outcome = stage.exchange(self.credentials, framing)
        self.sound(outcome, why or "an honest exchange")
        if not outcome.worked:
            fail(
                f"{self.mechanism}: {why or 'an honest exchange'} {framing} fails: "
                f"{_reason(outcome)}"
            )
        return outcome

    def sound(self, outcome: Outcome, what: str) -> None:
        """Both sides ended as a mechanism may end, whatever the peer did."""
        for side in Side:
            ending = outcome.server if side is Side.SERVER else outcome.client
            error = ending.error
            if error is None:
                continue
            who = f"{self.mechanism}: {what} {outcome.framing}: the {side.name.lower()}"
            if not isinstance(error, SaslError):
                fail(f"{who} raised {type(error).__name__}, which is no SaslError")
            if isinstance(error, PluginError):
                fail(f"{who} broke the plugin's contract: {error}")
            if not ending.live:
                continue
            if isinstance(error, (UsageError, BackendError)):
                fail(
                    f"{who} raised {type(error).__name__} for what the peer sent; that is "
                    f"PeerError or AuthenticationError: {error} ({error.detail})"
                )
            if not ending.detail:
                fail(f"{who} failed without a detail ({type(error).__name__}: {error})")


def _reason(outcome: Outcome) -> str:
    parts: list[str] = []
    for name, ending in (("server", outcome.server), ("client", outcome.client)):
        if ending.error is not None:
            detail = ending.detail or getattr(ending.error, "detail", None)
            parts.append(f"{name}: {type(ending.error).__name__}: {ending.error} ({detail})")
        elif not ending.ok:
            parts.append(f"{name}: not done")
    return "; ".join(parts)
