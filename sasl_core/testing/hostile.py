"""What a mechanism does when somebody does not mean well."""

from __future__ import annotations

import random
from contextlib import ExitStack
from functools import partial
from typing import TYPE_CHECKING, Final

from sasl_core.errors import SaslError
from sasl_core.flags import SecurityFlag, Side
from sasl_core.testing.corruptions import VARIANTS, Kind
from sasl_core.testing.drivers import DRIVERS
from sasl_core.testing.leaks import find_secret
from sasl_core.testing.pairs import FRAMINGS, Slot
from sasl_core.testing.setups import fail, require
from sasl_core.testing.subject import MechanismSubject
from sasl_core.testing.tampers import (
    Attack,
    flip,
    noise,
    replaced,
    same_place,
)

if TYPE_CHECKING:
    from collections.abc import Generator

    from sasl_core.testing.pairs import Framing, Message, Outcome
    from sasl_core.testing.stage import Stage

__all__ = ["HostileChecks"]

BIT_FLIP: Final = "BIT_FLIP"
FUZZ: Final = 40
"""Messages of random bytes at each step of each side, in each framing."""


class HostileChecks(MechanismSubject):
    """Wrong secrets, corrupted messages, replays, lies about success."""

    def test_wrong_secret(self) -> None:
        """A wrong secret is refused with a detail, alike with each driver and framing."""
        if self.wrong_credentials is None:
            return
        for framing in FRAMINGS:
            ends: dict[str, object] = {}
            for driver in DRIVERS:
                with self.stage(driver) as stage:
                    outcome = stage.exchange(self.wrong_credentials, framing)
                    self.sound(outcome, "a wrong secret")
                    require(
                        not outcome.server.ok and not outcome.client.ok,
                        f"{self.mechanism}: a wrong secret is accepted {framing}",
                    )
                    require(
                        outcome.server.error is not None or outcome.client.error is not None,
                        f"{self.mechanism}: a wrong secret {framing} ends without an error",
                    )
                    require(
                        not stage.spies.decisions,
                        f"{self.mechanism}: authorisation is asked for after a wrong secret",
                    )
                    ends[driver] = _verdict(outcome)
            require(
                len({repr(end) for end in ends.values()}) == 1,
                f"{self.mechanism}: the drivers do not come to the same: {ends!r}",
            )

    def test_corruptions(self) -> None:
        """No corruption of any message succeeds on both sides, and the next login works (1)."""
        survived: dict[str, str] = {}
        with self.stage() as stage:
            for framing in FRAMINGS:
                for message in self.honest(stage, framing).transcript:
                    for kind in Kind:
                        for what in self._survived(stage, framing, kind, message):
                            _ = survived.setdefault(kind.name, what)
        unknown = {*self.still_valid} - {*Kind.__members__, BIT_FLIP}
        require(not unknown, f"{self.mechanism}: still_valid lists {unknown}: no such kinds")
        unlisted = [what for name, what in survived.items() if name not in self.still_valid]
        require(
            not unlisted,
            f"{self.mechanism}: these still work on both sides (where that is right, still_valid "
            f"says why): {'; '.join(unlisted)}",
        )
        unneeded = {*self.still_valid} - {*survived, BIT_FLIP}
        require(
            not unneeded, f"{self.mechanism}: still_valid lists {unneeded}, which never succeed"
        )

    def _survived(
        self, stage: Stage, framing: Framing, kind: Kind, at: Message
    ) -> Generator[str, None, None]:
        """Try one kind on one message; what is yielded has succeeded on both sides."""
        for variant in range(VARIANTS):
            with ExitStack() as parallel:
                other = None
                if kind in (Kind.OTHER_SESSION, Kind.STARTTLS_BUFFERED):
                    # It stays open, and has lost the message.
                    pair = parallel.enter_context(
                        stage.pair(self.credentials, framing, replaced(at, []))
                    )
                    _ = stage.driver.run(pair.play())
                    other = next((m for m in pair.transcript if same_place(m, at)), None)
                attack = Attack(self, kind, at, variant, other)
                outcome = stage.exchange(self.credentials, framing, attack)
            if not attack.applied:
                return
            what = f"{kind.name} (variant {variant}) of the {at}"
            self.sound(outcome, what)
            if outcome.worked:
                yield f"{what} {framing}"
            _ = self.honest(stage, framing, f"the exchange after {what}")

    def test_bit_flips(self) -> None:
        """No exchange survives the flip of one bit of any message (6).

        Every bit, or a sample of `bit_flips` of them, in the first and the last framing.
        """
        flipped_and_worked = False
        with self.stage() as stage:
            for framing in (FRAMINGS[0], FRAMINGS[-1]):
                places = [
                    (message, bit)
                    for message in self.honest(stage, framing).transcript
                    for bit in range(8 * len(message.data or b""))
                ]
                if len(places) > self.bit_flips:
                    places = random.Random(self.seed).sample(places, self.bit_flips)
                for message, bit in places:
                    outcome = stage.exchange(self.credentials, framing, flip(message, bit))
                    self.sound(outcome, f"bit {bit} of the {message} flipped")
                    if outcome.worked:
                        flipped_and_worked = True
                        if BIT_FLIP not in self.still_valid:
                            fail(
                                f"{self.mechanism}: the exchange {framing} survives the flip of "
                                f"bit {bit} of the {message}"
                            )
        require(
            flipped_and_worked or BIT_FLIP not in self.still_valid,
            f"{self.mechanism}: still_valid lists {BIT_FLIP}, which never succeeded",
        )

    def test_any_bytes(self) -> None:
        """Any bytes at any step of either side give an answer, or a fitting SaslError (1)."""
        rng = random.Random(self.seed)
        with self.stage() as stage:
            for framing in FRAMINGS:
                for message in self.honest(stage, framing).transcript:
                    for _ in range(FUZZ):
                        data = noise(rng, message.data or b"")
                        outcome = stage.exchange(
                            self.credentials, framing, replaced(message, [message.carrying(data)])
                        )
                        self.sound(outcome, f"random bytes as the {message}")

    def test_server_proves_itself(self) -> None:
        """With MUTUAL_AUTH no client believes a success without the server's last message (4)."""
        with self.stage() as stage:
            if not self.server_plug(stage).security_flags & SecurityFlag.MUTUAL_AUTH:
                return
            for framing in FRAMINGS:
                transcript = self.honest(stage, framing).transcript
                proofs = [m for m in transcript if m.sender is Side.SERVER and m.data]
                require(
                    proofs, f"{self.mechanism}: MUTUAL_AUTH, and the server sends nothing {framing}"
                )
                last = proofs[-1]
                for message in transcript:
                    if message.sender is Side.SERVER:
                        self._believed(stage, framing, message, None)
                        self._believed(stage, framing, message, b"")
                for bit in range(8 * len(last.data or b"")):
                    outcome = stage.exchange(self.credentials, framing, flip(last, bit))
                    require(
                        not outcome.client.ok,
                        f"{self.mechanism}: bit {bit} of the server's last message is altered "
                        f"{framing}, and the client succeeds",
                    )

    def _believed(
        self, stage: Stage, framing: Framing, message: Message, data: bytes | None
    ) -> None:
        """Everything from `message` on is replaced by a success with `data`."""
        if message.slot is Slot.SUCCESS and not message.data:
            return
        success = message.carrying(data, Slot.SUCCESS)
        outcome = stage.exchange(
            self.credentials, framing, replaced(message, [success], and_then_silent=True)
        )
        self.sound(outcome, f"success with {data!r} in place of the {message}")
        require(
            not outcome.client.ok,
            f"{self.mechanism}: the client believes a success with {data!r} in place of the "
            f"{message} {framing}",
        )

    def test_replay(self) -> None:
        """What a client said in one exchange authenticates nobody in another (7).

        Asked of mechanisms with NOACTIVE, and of those whose server sends a challenge; but not
        where the secret itself is sent, for who has heard that can log in with it.
        """
        secrets = self.secrets()
        with self.stage() as stage:
            active = self.server_plug(stage).security_flags & SecurityFlag.NOACTIVE
            for framing in FRAMINGS:
                outcome = self.honest(stage, framing)
                said = [m.data for m in outcome.sent(Side.CLIENT)]
                challenged = any(m.slot is Slot.CHALLENGE and m.data for m in outcome.transcript)
                if not active and (not challenged or find_secret(said, secrets) is not None):
                    continue
                session = stage.server_session(framing)
                try:
                    for message in outcome.sent(Side.CLIENT):
                        data = message.data
                        if message.slot is Slot.INITIAL:
                            call = partial(session.start, message.mechanism, data)
                        else:
                            call = partial(session.step, data or b"")
                        _ = stage.driver.call(call)
                except SaslError:
                    pass
                require(
                    not session.peek().done,
                    f"{self.mechanism}: a recorded exchange is accepted again {framing}",
                )
                session.close()


def _verdict(outcome: Outcome) -> list[tuple[object, ...]]:
    """All of a refusal that must not depend on the driver."""
    verdict: list[tuple[object, ...]] = list(outcome.shape())
    for ending in (outcome.server, outcome.client):
        error = ending.error
        if isinstance(error, SaslError):
            verdict.append(
                (type(error).__name__, error.code, error.result, str(error), ending.detail)
            )
            verdict.append((error.wire,))
    return verdict
