"""Conformance of a message's parser, and of the preparation of a text.

What the checks of a whole mechanism see only from outside: that a message has one spelling
(5), and that what is prepared stays as it is (10).
"""

from __future__ import annotations

import random
from typing import TYPE_CHECKING, ClassVar, Final

from sasl_core.errors import PeerError, SaslError
from sasl_core.flags import Side
from sasl_core.testing.corruptions import Kind, Scene, corrupt
from sasl_core.testing.pairs import Message, Slot
from sasl_core.testing.setups import fail, require
from sasl_core.testing.tampers import noise
from sasl_core.testing.texts import texts

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

__all__ = ["MessageConformance", "PreparationConformance"]

_NOTHING_AROUND: Final = Scene(1, None, None, (), ())


class MessageConformance:
    """Derive from it, and override `respell`: a message parsed, and formatted again."""

    accepted: ClassVar[tuple[bytes, ...]]
    """Messages that are acceptable, of every shape that there is."""

    refused: ClassVar[tuple[bytes, ...]] = ()
    """Messages that are not."""

    refusal: ClassVar[type[SaslError]] = PeerError
    """What is raised for a message that is not acceptable."""

    seed: ClassVar[int] = 1
    samples: ClassVar[int] = 1000
    """Random messages that are tried."""

    def respell(self, message: bytes) -> bytes:
        """Parse `message`, and format what came of it.

        Raises:
            SaslError: `refusal`, it is not acceptable.
        """
        raise NotImplementedError

    def _respelt(self, message: bytes) -> bytes | None:
        who = f"{type(self).__name__}: {message[:60]!a}"
        try:
            return self.respell(message)
        except self.refusal:
            return None
        except Exception as error:  # noqa: BLE001 - whatever it is, it should not have come out.
            fail(f"{who} raises {type(error).__name__}, which is no {self.refusal.__name__}")

    def _kept(self, message: bytes) -> None:
        again = self._respelt(message)
        require(
            again is None or again == message,
            f"{type(self).__name__}: {message[:60]!a} comes out as {(again or b'')[:60]!a}",
        )

    def test_declared_messages(self) -> None:
        """What is acceptable comes out byte for byte (5), and the rest is refused."""
        for message in self.accepted:
            require(
                self._respelt(message) is not None,
                f"{type(self).__name__}: {message[:60]!a} is refused",
            )
            self._kept(message)
        for message in self.refused:
            require(
                self._respelt(message) is None,
                f"{type(self).__name__}: {message[:60]!a} is accepted",
            )

    def test_changed_messages(self) -> None:
        """Cut anywhere, with any bit flipped, corrupted in any way: refused, or kept as it is."""
        for message in self.accepted:
            for changed in self._changed(message):
                self._kept(changed)

    @staticmethod
    def _changed(message: bytes) -> Iterator[bytes]:
        for place in range(len(message)):
            yield message[:place]
            for bit in range(8):
                flipped = bytes([message[place] ^ (1 << bit)])
                yield message[:place] + flipped + message[place + 1 :]
        sent = Message(Side.CLIENT, 0, Slot.RESPONSE, message)
        for kind in Kind:
            for delivered in corrupt(kind, sent, _NOTHING_AROUND):
                for piece in delivered:
                    if piece.data is not None:
                        yield piece.data

    def test_any_bytes(self) -> None:
        """Any bytes are refused, or come out as they were (1, 5)."""
        rng = random.Random(self.seed)
        for _ in range(self.samples):
            self._kept(noise(rng, rng.choice(self.accepted)))


class PreparationConformance:
    """Derive from it, and override `prepare`: SASLprep, case folding, a profile of PRECIS."""

    prepared: ClassVar[Mapping[str, str]]
    """Texts, and what becomes of them."""

    refused: ClassVar[tuple[str, ...]] = ()
    """Texts that are not acceptable."""

    refusal: ClassVar[type[SaslError]] = PeerError
    """What is raised for them."""

    seed: ClassVar[int] = 1
    samples: ClassVar[int] = 3000
    """Random texts that are tried."""

    def prepare(self, text: str) -> str:
        """The text, prepared.

        Raises:
            SaslError: `refusal`, it is not acceptable.
        """
        raise NotImplementedError

    def _prepared(self, text: str) -> str | None:
        try:
            return self.prepare(text)
        except self.refusal:
            return None
        except Exception as error:  # noqa: BLE001 - whatever it is, it should not have come out.
            fail(
                f"{type(self).__name__}: {text[:40]!a} raises {type(error).__name__}, which is no "
                f"{self.refusal.__name__}"
            )

    def test_declared_texts(self) -> None:
        """Texts become what is declared, and the others are refused."""
        for text, expected in self.prepared.items():
            made = self._prepared(text)
            require(
                made == expected,
                f"{type(self).__name__} makes {made!a} of {text!a}, not {expected!a}",
            )
        for text in self.refused:
            made = self._prepared(text)
            require(made is None, f"{type(self).__name__} makes {made!a} of {text!a}")

    def test_prepared_stays_prepared(self) -> None:
        """Any text is refused, or gives one that preparing again does not change (10)."""
        for text in (*self.prepared, *texts(self.seed, self.samples)):
            once = self._prepared(text)
            if once is not None:
                twice = self._prepared(once)
                require(
                    twice == once,
                    f"{type(self).__name__} makes {once[:40]!a} of {text[:40]!a}, and then "
                    f"{(twice or '')[:40]!a}",
                )
