"""What a mechanism does when somebody does not mean well."""

from __future__ import annotations

import random
from contextlib import ExitStack
from functools import partial
from typing import TYPE_CHECKING, Final

from sasl_core.errors import SaslError, UsageError
from sasl_core.flags import SecurityFlag, Side
from sasl_core.testing.corruptions import VARIANTS, Kind, Scene, corrupt
from sasl_core.testing.drivers import DRIVERS
from sasl_core.testing.pairs import FRAMINGS, Slot
from sasl_core.testing.setups import fail, require
from sasl_core.testing.subject import MechanismSubject

if TYPE_CHECKING:
    from collections.abc import Generator

    from sasl_core.testing.pairs import Framing, Message, Outcome, Tamper
    from sasl_core.testing.subject import Stage

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
                if kind is Kind.OTHER_SESSION:
                    # It stays open, and has lost the message.
                    pair = parallel.enter_context(
                        stage.pair(self.credentials, framing, _replaced(at, []))
                    )
                    _ = stage.driver.run(pair.play())
                    other = next((m for m in pair.transcript if _same_place(m, at)), None)
                attack = _Attack(self, kind, at, variant, other)
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

        Every bit, or a sample of `bit_flips` of them, in each framing.
        """
        flipped_and_worked = False
        with self.stage() as stage:
            for framing in FRAMINGS:
                places = [
                    (message, bit)
                    for message in self.honest(stage, framing).transcript
                    for bit in range(8 * len(message.data or b""))
                ]
                if len(places) > self.bit_flips:
                    places = random.Random(self.seed).sample(places, self.bit_flips)
                for message, bit in places:
                    outcome = stage.exchange(self.credentials, framing, _flip(message, bit))
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
                        data = _noise(rng, message.data or b"")
                        outcome = stage.exchange(
                            self.credentials, framing, _replaced(message, [message.carrying(data)])
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
                    outcome = stage.exchange(self.credentials, framing, _flip(last, bit))
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
            self.credentials, framing, _replaced(message, [success], and_then_silent=True)
        )
        self.sound(outcome, f"success with {data!r} in place of the {message}")
        require(
            not outcome.client.ok,
            f"{self.mechanism}: the client believes a success with {data!r} in place of the "
            f"{message} {framing}",
        )

    def test_replay(self) -> None:
        """What a client said in one exchange authenticates nobody in another (7).

        Asked of mechanisms with NOACTIVE, and of those whose server sends a challenge.
        """
        with self.stage() as stage:
            active = self.server_plug(stage).security_flags & SecurityFlag.NOACTIVE
            for framing in FRAMINGS:
                outcome = self.honest(stage, framing)
                challenged = any(m.slot is Slot.CHALLENGE and m.data for m in outcome.transcript)
                if not active and not challenged:
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
                    not session.raw().done,
                    f"{self.mechanism}: a recorded exchange is accepted again {framing}",
                )
                session.close()

    def test_refused_is_refused(self) -> None:
        """A server that has said no never says yes, whatever the client sends next (8)."""
        if self.wrong_credentials is None:
            return
        with self.stage() as stage:
            for framing in FRAMINGS:
                good = self.honest(stage, framing)
                answers = [m.data for m in good.sent(Side.CLIENT) if m.data is not None]
                for answer in (b"", b"\x01", *answers):
                    with stage.pair(self.wrong_credentials, framing, _answering(answer)) as pair:
                        outcome = stage.driver.run(pair.play())
                        for _ in range(2):
                            try:
                                _ = stage.driver.call(partial(pair.server.step, answer))
                            except UsageError:
                                continue
                            fail(f"{self.mechanism}: a server that has refused still answers")
                        require(
                            not outcome.server.ok and not pair.server.raw().done,
                            f"{self.mechanism}: the server refuses, and then succeeds",
                        )


class _Attack:
    """One variant of one kind, on one message. `applied`: whether there was such a variant."""

    def __init__(
        self,
        subject: MechanismSubject,
        kind: Kind,
        at: Message,
        variant: int,
        other: Message | None,
    ) -> None:
        self.applied = False
        self._subject = subject
        self._kind = kind
        self._at = at
        self._variant = variant
        self._other = other
        self._previous: Message | None = None

    def __call__(self, message: Message) -> list[Message] | None:
        if not _same_place(message, self._at):
            if message.sender is self._at.sender:
                self._previous = message
            return None
        subject = self._subject
        names = (subject.mechanism, *subject.other_mechanisms)
        scene = Scene(subject.seed, self._previous, self._other, subject.error_challenges, names)
        variants = corrupt(self._kind, message, scene)
        if self._variant >= len(variants):
            return None
        self.applied = True
        return variants[self._variant]


def _same_place(message: Message, at: Message) -> bool:
    return message.sender is at.sender and message.number == at.number


def _replaced(at: Message, delivered: list[Message], *, and_then_silent: bool = False) -> Tamper:
    def tamper(message: Message) -> list[Message] | None:
        if _same_place(message, at):
            return delivered
        if and_then_silent and message.sender is at.sender and message.number > at.number:
            return []
        return None

    return tamper


def _flip(at: Message, bit: int) -> Tamper:
    def tamper(message: Message) -> list[Message] | None:
        data = message.data
        if not _same_place(message, at) or data is None or bit >= 8 * len(data):
            return None
        place = bit // 8
        changed = bytes([data[place] ^ (1 << bit % 8)])
        return [message.carrying(data[:place] + changed + data[place + 1 :])]

    return tamper


def _answering(answer: bytes) -> Tamper:
    """The client's side answers `answer` from its second message on."""

    def tamper(message: Message) -> list[Message] | None:
        if message.sender is Side.CLIENT and message.number > 1:
            return [message.carrying(answer)]
        return None

    return tamper


def _noise(rng: random.Random, honest: bytes) -> bytes:
    """Random bytes, sometimes with a part of an honest message before or after them."""
    noise = rng.randbytes(rng.choice((0, 1, 2, 3, 7, 16, 64, 255, 1000)))
    match rng.randrange(4):
        case 0:
            return noise
        case 1:
            return honest[: rng.randrange(len(honest) + 1)] + noise
        case 2:
            return noise + honest[rng.randrange(len(honest) + 1) :]
        case _:
            alphabet = b',=\0\x01 nrscipvemabz0123456789+/-"{}[]'
            return bytes(rng.choice(alphabet) for _ in range(rng.randrange(1, 80)))


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
