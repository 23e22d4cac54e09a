"""What a mechanism does when everybody means well."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from sasl_core._checks import is_a
from sasl_core.errors import SaslError, UsageError
from sasl_core.flags import Availability, BindingPolicy, Feature, SecurityFlag, Side
from sasl_core.needs import NeedDerivation, PromptId
from sasl_core.negotiation.base import MESSAGE_LIMIT, MESSAGES_LIMIT
from sasl_core.testing.drivers import (
    DRIVERS,
    AsyncioDriver,
    RawClientSession,
    RawServerSession,
)
from sasl_core.testing.leaks import find_secret
from sasl_core.testing.pairs import FRAMINGS
from sasl_core.testing.setups import fail, require
from sasl_core.testing.subject import MechanismSubject
from sasl_core.testing.tampers import replaced

if TYPE_CHECKING:
    from sasl_core.facts import ConnectionFacts
    from sasl_core.testing.pairs import Call, ExchangePair, Outcome
    from sasl_core.testing.setups import Credentials
    from sasl_core.testing.stage import Stage

__all__ = ["HonestChecks", "derivations"]

_BINDING = "tls-exporter"
_AWAITS_LIMIT = 200


class HonestChecks(MechanismSubject):
    """Metadata, logins in every framing with every driver, agreement, the end, cancellation."""

    def test_metadata(self) -> None:
        """Name, flags and features are what they say, and both sides say the same."""
        with self.stage() as stage:
            server, client = self.server_plug(stage), self.client_plug(stage)
            for plug in (server, client):
                who = f"{self.mechanism}: {type(plug).__name__}"
                require(plug.name == self.mechanism, f"{who} is called {plug.name!r}")
                require(
                    not (
                        plug.features & Feature.SERVER_FIRST
                        and plug.features & Feature.WANT_CLIENT_FIRST
                    ),
                    f"{who}: SERVER_FIRST and WANT_CLIENT_FIRST exclude each other",
                )
                require(plug.max_ssf >= 0 and plug.hash_bits >= 0, f"{who}: negative strength")
                require(
                    is_a(plug.availability(), (str, type(None))),
                    f"{who}: availability() is no reason",
                )
            for what in ("security_flags", "features", "max_ssf", "hash_bits"):
                require(
                    getattr(server, what) == getattr(client, what),
                    f"{self.mechanism}: the two sides differ in {what}",
                )
            require(
                is_a(server.available(self.expected_authid), Availability),
                f"{self.mechanism}: available() is no Availability",
            )
            require(
                all(is_a(prompt, PromptId) for prompt in client.required_prompts),
                f"{self.mechanism}: required_prompts holds what is no PromptId",
            )

    def test_flags_are_kept(self) -> None:
        """What the flags promise of the messages is true of an honest exchange."""
        with self.stage() as stage:
            flags = self.server_plug(stage).security_flags
            features = self.server_plug(stage).features
            for framing in FRAMINGS:
                outcome = self.honest(stage, framing)
                if flags & SecurityFlag.NOPLAINTEXT:
                    path = find_secret([m.data for m in outcome.transcript], self.secrets())
                    require(path is None, f"{self.mechanism}: NOPLAINTEXT, and the secret is sent")
                first = outcome.transcript[0]
                if features & Feature.SERVER_FIRST:
                    require(first.data is None, f"{self.mechanism}: SERVER_FIRST, client begins")
                elif features & Feature.WANT_CLIENT_FIRST and framing.initial_response:
                    require(
                        first.data is not None,
                        f"{self.mechanism}: WANT_CLIENT_FIRST, and no initial response",
                    )
                require(
                    bool(flags & SecurityFlag.NOANONYMOUS) or self.expected_authid == "anonymous",
                    f"{self.mechanism}: NOANONYMOUS is missing",
                )

    def test_logins(self) -> None:
        """A login succeeds in each framing with each driver, and comes to the same (9)."""
        for framing in FRAMINGS:
            shapes: dict[str, object] = {}
            for driver in DRIVERS:
                with self.stage(driver) as stage:
                    outcome = self.honest(stage, framing, f"a login ({driver})")
                    self._agree(stage, outcome)
                    shapes[driver] = (outcome.shape(), outcome.server, outcome.client)
            _same(shapes, f"{self.mechanism} {framing}")

    def test_interactions(self) -> None:
        """A client that asks its application comes to the same as one that was told."""
        for driver in DRIVERS:
            with self.stage(driver) as stage:
                for framing in FRAMINGS:
                    told = self.honest(stage, framing, f"a login ({driver})")
                    stage.spies.clear()
                    asked = stage.exchange(self.credentials, framing, asks=True)
                    self.sound(asked, "a login whose client asks for everything")
                    require(
                        asked.worked,
                        f"{self.mechanism}: a client that asks for everything fails {framing} "
                        f"({driver}): {asked.client.detail or asked.server.detail}",
                    )
                    self._agree(stage, asked)
                    require(
                        asked.shape() == told.shape(),
                        f"{self.mechanism}: asked, the client sends {asked.shape()!r} {framing}",
                    )

    def _agree(self, stage: Stage, outcome: Outcome) -> None:
        """Both sides agree on all that was negotiated, and one decision was made (2)."""
        server, client = outcome.server, outcome.client
        for what in ("mechanism", "binding", "ssf"):
            ours, theirs = getattr(server, what), getattr(client, what)
            require(
                ours == theirs,
                f"{self.mechanism}: {what} is {ours!r} at the server, {theirs!r} at the client",
            )
        for side, name in self.names().items():
            ending = server if side is Side.SERVER else client
            acting = self.expected_client_authzid if side is Side.CLIENT else ""
            for what, expected in (("authid", name), ("authzid", acting or name)):
                require(
                    getattr(ending, what) == expected,
                    f"{self.mechanism}: {what} is {getattr(ending, what)!r} at the "
                    f"{side.name.lower()}, not {expected!r}",
                )
        require(
            stage.spies.decisions == [(server.authid, server.authzid)],
            f"{self.mechanism}: authorisation was asked for {stage.spies.decisions!r}",
        )
        stage.spies.clear()

    def test_channel_binding(self) -> None:
        """-PLUS binds the channel on both sides, and fails on another or a hidden one."""
        bound: ConnectionFacts = {"channel_bindings": {_BINDING: b"the channel's data"}}
        other: ConnectionFacts = {"channel_bindings": {_BINDING: b"another channel's"}}
        plus = f"{self.mechanism}-PLUS"
        with self.stage(server_facts=bound, client_facts=bound) as stage:
            if not self.server_plug(stage).features & Feature.CHANNEL_BINDING:
                return
            for framing in FRAMINGS:
                outcome = stage.exchange(self.credentials, framing, offered=plus)
                require(outcome.worked, f"{plus} fails {framing}: {outcome.server.detail}")
                self._agree(stage, outcome)
                require(outcome.server.binding == _BINDING, f"{plus}: the channel was not bound")
                hidden = stage.exchange(self.credentials, framing, offered=self.mechanism)
                require(not hidden.worked, f"{plus} was hidden by somebody, and the login succeeds")
        with self.stage(server_facts=bound, client_facts=other) as stage:
            for framing in FRAMINGS:
                outcome = stage.exchange(self.credentials, framing, offered=plus)
                self.sound(outcome, "another channel")
                require(not outcome.worked, f"{plus} succeeds across two channels")
        required: ConnectionFacts = {**bound, "binding_policy": BindingPolicy.REQUIRE}
        with self.stage(server_facts=required, client_facts=bound) as stage:
            outcome = stage.exchange(self.credentials, offered=f"{plus} {self.mechanism}")
            require(outcome.worked, f"{plus} fails where binding is required")

    def test_over_is_over(self) -> None:
        """After success or failure no call of either side gives any output (3)."""
        tried: list[Credentials] = [self.credentials]
        if self.wrong_credentials is not None:
            tried.append(self.wrong_credentials)
        for driver in DRIVERS:
            with self.stage(driver) as stage:
                for credentials in tried:
                    for framing in FRAMINGS:
                        with stage.pair(credentials, framing) as pair:
                            self._silent(stage, pair, stage.driver.run(pair.play()))

    def _silent(self, stage: Stage, pair: ExchangePair, outcome: Outcome) -> None:
        server, client, name = pair.server, pair.client, stage.name
        calls: list[tuple[str, Call]] = [
            ("the server's start", partial(server.start, name, None)),
            ("the server's step", partial(server.step, b"")),
        ]
        calls += [
            (f"the server's step with the {m}", partial(server.step, m.data))
            for m in outcome.transcript
            if m.data is not None
        ]
        if outcome.client.ok or outcome.client.error is not None:
            calls.append(("the client's start", partial(client.start, [name])))
            calls += [
                (what.replace("server's step", "client's step"), partial(client.step, b""))
                for what, _ in calls[1:-1]
            ]
        for what, call in calls:
            try:
                answer = stage.driver.call(call)
            except UsageError:
                continue
            except SaslError as error:
                fail(f"{name}: {what} after the end is a {type(error).__name__}")
            fail(f"{name}: {what} after the end gives {answer!r}")

    def test_bounds(self) -> None:
        """Messages and derivations stay within bounds, however the exchange ends (11)."""
        tried = [self.credentials, self.wrong_credentials, *self.indistinguishable.values()]
        with self.stage("raw") as stage:
            for credentials in tried:
                if credentials is None:
                    continue
                for framing in FRAMINGS:
                    with stage.pair(credentials, framing) as pair:
                        outcome = stage.driver.run(pair.play())
                        self.sound(outcome, "an exchange within bounds")
                        for session in (pair.server, pair.client):
                            count = derivations(session)
                            require(
                                count <= 1, f"{self.mechanism}: {count} derivations in one exchange"
                            )
                    for side in Side:
                        sent = outcome.sent(side)
                        require(
                            len(sent) <= MESSAGES_LIMIT,
                            f"{self.mechanism}: {len(sent)} messages of one side",
                        )
                        require(
                            all(len(m.data or b"") <= MESSAGE_LIMIT for m in sent),
                            f"{self.mechanism}: a message of more than {MESSAGE_LIMIT} bytes",
                        )

    def test_too_long_messages(self) -> None:
        """A message over the limit is refused at each step of each side (11)."""
        with self.stage() as stage:
            for framing in FRAMINGS:
                for message in self.honest(stage, framing).transcript:
                    if message.data is None:
                        continue
                    outcome = stage.exchange(
                        self.credentials,
                        framing,
                        replaced(message, [message.carrying(b"x" * (MESSAGE_LIMIT + 1))]),
                    )
                    self.sound(outcome, f"more than the limit as {message}")
                    heard = outcome.client if message.sender is Side.SERVER else outcome.server
                    require(
                        heard.error is not None,
                        f"{self.mechanism}: the {message} is accepted over the limit",
                    )
                    code = getattr(heard.error, "code", None)
                    # Where none but an empty message was due, length is not what is wrong.
                    require(
                        code == "message-too-long" or not message.data or not heard.live,
                        f"{self.mechanism}: the {message} over the limit is refused as {code}",
                    )

    def test_cancelled_at_each_await(self) -> None:
        """A task cancelled wherever it waits leaves nothing behind, and the next one works (9)."""
        secrets = self.secrets()
        for framing in (FRAMINGS[0], FRAMINGS[-1]):
            driver = AsyncioDriver(waiting=True)
            with self.stage(driver, waits=True) as stage:
                for at in range(1, _AWAITS_LIMIT):
                    with stage.pair(self.credentials, framing) as pair:
                        cancelled = driver.run_cancelled(pair.play(), at)
                        if cancelled:
                            pair.close()
                            for who, session in (("server", pair.server), ("client", pair.client)):
                                path = find_secret(session.peek(), secrets) if secrets else None
                                require(
                                    path is None,
                                    f"{self.mechanism}: cancelled at wait {at}, the {who} keeps "
                                    f"a secret: {path}",
                                )
                    _ = self.honest(stage, framing, f"the exchange after a cancelled one ({at})")
                    if not cancelled:
                        require(at > 1, f"{self.mechanism}: nothing waits, nothing was cancelled")
                        break
                else:
                    fail(f"{self.mechanism}: an exchange waits more than {_AWAITS_LIMIT} times")


def _same(by_driver: dict[str, object], what: str) -> None:
    values = list(by_driver.values())
    for name, value in by_driver.items():
        require(value == values[0], f"{what}: {name} comes to {value!r}, others to {values[0]!r}")


def derivations(session: object) -> int:
    """How many derivations a session of the raw driver has asked for."""
    if not isinstance(session, (RawServerSession, RawClientSession)):
        fail("only a raw session tells what it needed")
    return sum(isinstance(need, NeedDerivation) for need in session.supplied.needs)
