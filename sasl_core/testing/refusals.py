"""What is left of a no: it stays one, whatever becomes of it and of the answer to it."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from sasl_core.errors import UsageError
from sasl_core.flags import Side
from sasl_core.testing.corruptions import VARIANTS, Kind
from sasl_core.testing.pairs import FRAMINGS, Slot
from sasl_core.testing.setups import fail, require
from sasl_core.testing.subject import MechanismSubject
from sasl_core.testing.tampers import Attack, answering, beyond, replaced

if TYPE_CHECKING:
    from sasl_core.testing.pairs import Framing, Message
    from sasl_core.testing.stage import Stage

__all__ = ["RefusalChecks"]


class RefusalChecks(MechanismSubject):
    """A server that has said no, and a client that has heard it."""

    def test_refused_is_refused(self) -> None:
        """A server that has said no never says yes, whatever the client sends next (8)."""
        if self.wrong_credentials is None:
            return
        with self.stage() as stage:
            for framing in FRAMINGS:
                good = self.honest(stage, framing)
                answers = [m.data for m in good.sent(Side.CLIENT) if m.data is not None]
                for answer in (b"", b"\x01", *answers):
                    with stage.pair(self.wrong_credentials, framing, answering(answer)) as pair:
                        outcome = stage.driver.run(pair.play())
                        for _ in range(2):
                            try:
                                _ = stage.driver.call(partial(pair.server.step, answer))
                            except UsageError:
                                continue
                            fail(f"{self.mechanism}: a server that has refused still answers")
                        require(
                            not outcome.server.ok and not pair.server.peek().done,
                            f"{self.mechanism}: the server refuses, and then succeeds",
                        )

    def test_corrupted_refusals(self) -> None:
        """What only a refused exchange has, a no and the answer to it, is corrupted too (8).

        The server never lets in, and a client that has heard one of `error_challenges` does
        not believe a success that comes after it.
        """
        wrong = self.wrong_credentials
        with self.stage() as stage:
            for framing in FRAMINGS:
                honest = self.honest(stage, framing).transcript
                refused = () if wrong is None else stage.exchange(wrong, framing).transcript
                for message in beyond(refused, honest):
                    for kind in Kind:
                        self._still_refused(stage, framing, kind, message)
                for message in honest:
                    if message.sender is Side.SERVER:
                        self._no_is_no(stage, framing, message)

    def _still_refused(self, stage: Stage, framing: Framing, kind: Kind, at: Message) -> None:
        for variant in range(VARIANTS):
            attack = Attack(self, kind, at, variant, None)
            outcome = stage.exchange(self.wrong(), framing, attack)
            if not attack.applied:
                return
            what = f"{kind.name} (variant {variant}) of the {at} after a wrong secret"
            self.sound(outcome, what)
            require(
                not outcome.server.ok, f"{self.mechanism}: the server lets in: {what} {framing}"
            )

    def _no_is_no(self, stage: Stage, framing: Framing, at: Message) -> None:
        """A no in place of the message `at` of an honest server, and a success after it."""
        for error in self.error_challenges:
            no = at.carrying(error, Slot.CHALLENGE)
            for success in (None, b"", at.data):
                delivered = [no, at.carrying(success, Slot.SUCCESS)]
                outcome = stage.exchange(self.credentials, framing, replaced(at, delivered))
                what = f"{error!r} in place of the {at}, and success with {success!r}"
                self.sound(outcome, what)
                require(
                    not outcome.client.ok,
                    f"{self.mechanism}: the client believes {what} {framing}",
                )
