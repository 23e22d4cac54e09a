"""What a mechanism lets nobody know: secrets, reasons, and who has an account."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from sasl_core.errors import AuthenticationError, SaslError
from sasl_core.flags import Side
from sasl_core.negotiation import Phase
from sasl_core.testing.corruptions import Kind, Scene, corrupt
from sasl_core.testing.drivers import DRIVERS, RawServerSession
from sasl_core.testing.leaks import assert_no_secret, captured_logs, find_secret
from sasl_core.testing.pairs import FRAMINGS
from sasl_core.testing.setups import fail, require
from sasl_core.testing.subject import MechanismSubject
from sasl_core.testing.tampers import beyond, replaced

if TYPE_CHECKING:
    import logging

    from sasl_core.needs import Need
    from sasl_core.negotiation import Negotiation
    from sasl_core.testing.pairs import Ending, ExchangePair, Framing, Message, Outcome, Tamper
    from sasl_core.testing.setups import Credentials
    from sasl_core.testing.stage import Stage

__all__ = ["SecrecyChecks"]

_BREAKING: Final = (
    Kind.SHORTENED,
    Kind.ADDED,
    Kind.INVALID_UTF8,
    Kind.SURROGATE,
    Kind.SAME_LENGTH_RANDOM,
    Kind.VERY_LARGE,
    Kind.EARLY_SUCCESS,
    Kind.DUPLICATE_ATTR,
)
_SHORTEST_FRAGMENT: Final = 5


class SecrecyChecks(MechanismSubject):
    """No secret is left anywhere, no reason is sent, no account can be told from none."""

    def test_no_secret_is_left(self) -> None:
        """No error, frame, log record, audit event or session holds a secret afterwards (12).

        After success, after a wrong secret and after messages broken at each step of each
        side; with each driver.
        """
        secrets = self.secrets()
        if not secrets:
            return
        for driver in DRIVERS:
            with captured_logs() as records, self.stage(driver, log_level=7) as stage:
                for framing in (FRAMINGS[0], FRAMINGS[-1]):
                    transcript = self._leaves_nothing(stage, framing, self.credentials, None)
                    broken = [(self.credentials, message) for message in transcript]
                    wrong = self.wrong_credentials
                    if wrong is not None:
                        refused = self._leaves_nothing(stage, framing, wrong, None)
                        broken += [(wrong, message) for message in beyond(refused, transcript)]
                    for credentials, message in broken:
                        for kind in _BREAKING:
                            scene = Scene(self.seed, None, None, (), ())
                            for delivered in corrupt(kind, message, scene)[:2]:
                                _ = self._leaves_nothing(
                                    stage, framing, credentials, replaced(message, delivered)
                                )
                self._check_records(records, secrets)
                for event in stage.spies.events:
                    path = find_secret(event, secrets)
                    require(
                        path is None, f"{self.mechanism}: an audit event holds a secret: {path}"
                    )

    def _leaves_nothing(
        self, stage: Stage, framing: Framing, credentials: Credentials, tamper: Tamper | None
    ) -> tuple[Message, ...]:
        secrets = self.secrets()
        with stage.pair(credentials, framing, tamper) as pair:
            outcome = stage.driver.run(pair.play())
            self._unspoken(pair, outcome, secrets)
            self._forgotten(pair, outcome, secrets)
        # Now that both are closed, with nothing excepted.
        self._unspoken(pair, outcome, secrets)
        self._forgotten(pair, outcome, secrets)
        return outcome.transcript

    def _unspoken(self, pair: ExchangePair, outcome: Outcome, secrets: set[str]) -> None:
        kept = [*_kept(pair.server.peek()), *_kept(pair.client.peek())]
        for ending in (outcome.server, outcome.client):
            if ending.error is not None:
                assert_no_secret(ending.error, secrets, self.packages, kept)

    def _forgotten(self, pair: ExchangePair, outcome: Outcome, secrets: set[str]) -> None:
        for who, session in (("server", pair.server), ("client", pair.client)):
            raw = session.peek()
            if raw.phase not in (Phase.THROUGH, Phase.DONE, Phase.FAILED, Phase.CLOSED):
                continue
            path = find_secret(raw, secrets, _kept(raw))
            require(
                path is None,
                f"{self.mechanism}: the {who}, {raw.phase.name.lower()}, keeps a secret "
                f"{outcome.framing}: {path}",
            )
            require(
                find_secret((repr(session), repr(raw)), secrets) is None,
                f"{self.mechanism}: the repr of the {who} shows a secret",
            )

    def _check_records(self, records: list[logging.LogRecord], secrets: set[str]) -> None:
        for record in records:
            texts = (record.getMessage(), record.args, record.exc_text)
            path = find_secret(texts, secrets)
            require(
                path is None,
                f"{self.mechanism}: {record.name} logs a secret (line {record.lineno})",
            )
            if record.exc_info and record.exc_info[1] is not None:
                assert_no_secret(record.exc_info[1], secrets, self.packages)

    def test_detail_stays_here(self) -> None:
        """Why a login failed is not in any byte that is sent, nor does any name who it was."""
        refused = self._refused()
        with self.stage() as stage:
            for case, credentials in refused.items():
                for framing in FRAMINGS:
                    outcome = stage.exchange(credentials, framing)
                    self.sound(outcome, case)
                    for side, ending in (
                        (Side.SERVER, outcome.server),
                        (Side.CLIENT, outcome.client),
                    ):
                        self._unsaid(outcome, side, ending, credentials, case)

    def _unsaid(
        self, outcome: Outcome, side: Side, ending: Ending, credentials: Credentials, case: str
    ) -> None:
        error = ending.error
        if not isinstance(error, SaslError) or not ending.live:
            return
        said = [message.data or b"" for message in outcome.sent(side)]
        for fragment in re.split(r" <- |: ", ending.detail or ""):
            if len(fragment) < _SHORTEST_FRAGMENT or fragment == credentials.authid:
                continue
            require(
                not any(fragment.encode() in data for data in said),
                f"{self.mechanism}: the detail of {case} is sent to the peer",
            )
        if not isinstance(error, AuthenticationError):
            return
        public = str(error)
        require(
            public == AuthenticationError.default_message,
            f"{self.mechanism}: a refusal says more than {AuthenticationError.default_message!r}",
        )
        wire = error.wire or b""
        for name in (credentials.authid, credentials.authzid):
            require(
                not name or name.encode() not in wire,
                f"{self.mechanism}: what is sent after {case} names the user",
            )

    # --- who has an account ------------------------------------------------------------------

    def test_users_cannot_be_told_apart(self) -> None:
        """A login of nobody looks to its client like a wrong password, in all that it can see.

        Message count, lengths and alphabet; salt and rounds again and again; the error's
        bytes; and, seen from inside, as many look-ups, calls and derivations.
        """
        if not self.indistinguishable:
            return
        wrong = self.wrong()
        cases = {"wrong secret": wrong, **self.indistinguishable}
        for case, credentials in cases.items():
            require(
                credentials.lengths() == wrong.lengths(),
                f"{self.mechanism}: of {case} are given {_lengths(credentials)}, of the wrong "
                f"secret {_lengths(wrong)}: what is compared has to be as long",
            )
        for framing in FRAMINGS:
            with self.stage("raw") as stage:
                views = {case: self._view(stage, framing, c) for case, c in cases.items()}
                for case, view in views.items():
                    for what, value in view.items():
                        other = views["wrong secret"][what]
                        if value != other:
                            fail(
                                f"{self.mechanism}: {case} can be told from a wrong secret "
                                f"{framing}: {what} is {value!r}, not {other!r}"
                            )
                constants = [self._constants(stage, framing, c) for c in cases.values()]
                for case, (first, second) in zip(cases, constants, strict=True):
                    require(
                        first == second,
                        f"{self.mechanism}: {case} gets other salt or rounds at each attempt",
                    )
                parts = [first for first, _ in constants if any(part is not None for part in first)]
                require(
                    len(set(map(repr, parts))) == len(parts),
                    f"{self.mechanism}: two users have the same salt",
                )

    def _view(self, stage: Stage, framing: Framing, credentials: Credentials) -> dict[str, object]:
        stage.spies.clear()
        with stage.pair(credentials, framing) as pair:
            outcome = stage.driver.run(pair.play())
            session = pair.server
            needs = session.supplied.needs if isinstance(session, RawServerSession) else []
        self.sound(outcome, "a refused login")
        require(not outcome.server.ok, f"{self.mechanism}: a login is accepted that must not be")
        error = outcome.server.error
        public = error if isinstance(error, SaslError) else SaslError()
        return {
            "the sequence of messages": outcome.shape(),
            "the alphabet": [_alphabet(m.data) for m in outcome.sent(Side.SERVER)],
            "the error": (type(public).__name__, public.code, public.result, str(public)),
            "the error's bytes": public.wire,
            "the number of needs": sorted(map(_kind, needs)),
            "the number of look-ups": len(stage.spies.lookups),
            "the number of decisions": len(stage.spies.decisions),
        }

    def _constants(
        self, stage: Stage, framing: Framing, credentials: Credentials
    ) -> tuple[list[object], list[object]]:
        """`repeatable` of the server's messages, in two attempts."""
        first, second = (
            [
                self.repeatable(m.data)
                for m in stage.exchange(credentials, framing).sent(Side.SERVER)
                if m.data
            ]
            for _ in range(2)
        )
        return first, second

    def _refused(self) -> dict[str, Credentials]:
        cases = dict(self.indistinguishable)
        if self.wrong_credentials is not None:
            cases["a wrong secret"] = self.wrong_credentials
        if self.proxy_with_their_secret is not None:
            cases["another user's secret"] = self.proxy_with_their_secret
        return cases


def _kept(raw: Negotiation) -> list[object]:
    """What a session may keep until it is closed, and must not after that.

    A server's login that rests on a token keeps it, to check it again; a client that has not
    been let in yet keeps what it drops from a cache when the protocol says no.
    """
    name = {Phase.DONE: "token", Phase.THROUGH: "refused_hook", Phase.FAILED: "refused_hook"}
    context = getattr(raw, "_context", None)
    return [getattr(context, name[raw.phase], None)] if raw.phase in name else []


def _lengths(credentials: Credentials) -> str:
    return ", ".join(f"{prompt.name} of {n}" for prompt, n in credentials.lengths().items())


def _kind(need: Need) -> str:
    return type(need).__name__


def _alphabet(data: bytes | None) -> bytes | None:
    """The message with every letter and digit of base64 alike."""
    return None if data is None else re.sub(rb"[A-Za-z0-9+/]", b"x", data)
