"""Somebody in the middle of an exchange: what an `ExchangePair` calls with each message."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sasl_core.flags import Side
from sasl_core.testing.corruptions import Kind, Scene, corrupt

if TYPE_CHECKING:
    import random
    from collections.abc import Iterable

    from sasl_core.testing.pairs import Message, Tamper
    from sasl_core.testing.subject import MechanismSubject

__all__ = ["Attack", "answering", "beyond", "flip", "noise", "replaced", "same_place"]


class Attack:
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
        if not same_place(message, self._at):
            if message.sender is self._at.sender:
                self._previous = message
            return None
        subject = self._subject
        names = (subject.offered or subject.mechanism, *subject.other_mechanisms)
        scene = Scene(subject.seed, self._previous, self._other, subject.error_challenges, names)
        variants = corrupt(self._kind, message, scene)
        if self._variant >= len(variants):
            return None
        self.applied = True
        return variants[self._variant]


def same_place(message: Message, at: Message) -> bool:
    """Whether both are the same message of the same side, of two exchanges perhaps."""
    return message.sender is at.sender and message.number == at.number


def beyond(refused: Iterable[Message], honest: Iterable[Message]) -> list[Message]:
    """What is said in a refused exchange and not in an honest one: a no, and the answer to it."""
    usual = {(m.sender, m.number, m.slot) for m in honest}
    return [m for m in refused if (m.sender, m.number, m.slot) not in usual]


def replaced(at: Message, delivered: list[Message], *, and_then_silent: bool = False) -> Tamper:
    """Deliver `delivered` in place of the message `at`; afterwards perhaps nothing of that side."""

    def tamper(message: Message) -> list[Message] | None:
        if same_place(message, at):
            return delivered
        if and_then_silent and message.sender is at.sender and message.number > at.number:
            return []
        return None

    return tamper


def flip(at: Message, bit: int) -> Tamper:
    """Flip one bit of the message `at`."""

    def tamper(message: Message) -> list[Message] | None:
        data = message.data
        if not same_place(message, at) or data is None or bit >= 8 * len(data):
            return None
        place = bit // 8
        changed = bytes([data[place] ^ (1 << bit % 8)])
        return [message.carrying(data[:place] + changed + data[place + 1 :])]

    return tamper


def answering(answer: bytes) -> Tamper:
    """The client's side answers `answer` from its second message on."""

    def tamper(message: Message) -> list[Message] | None:
        if message.sender is Side.CLIENT and message.number > 1:
            return [message.carrying(answer)]
        return None

    return tamper


def noise(rng: random.Random, honest: bytes) -> bytes:
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
