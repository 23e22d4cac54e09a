"""What a login rests on may be looked at again, for as long as its session is open."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sasl_core.errors import UsageError
from sasl_core.testing.drivers import DRIVERS
from sasl_core.testing.setups import fail, require
from sasl_core.testing.subject import MechanismSubject

if TYPE_CHECKING:
    from sasl_core.errors import SaslError
    from sasl_core.negotiation import ServerNegotiation
    from sasl_core.testing.stage import Stage

__all__ = ["StandingChecks"]


class StandingChecks(MechanismSubject):
    """`session.valid()` and `session.revalidate()` of a login that nothing has happened to."""

    def test_login_stands(self) -> None:
        """A login stands when it is done, still does when it is checked again, and is over then."""
        for driver in DRIVERS:
            with self.stage(driver) as stage, stage.pair(self.credentials) as pair:
                outcome = stage.driver.run(pair.play())
                require(outcome.worked, f"{self.mechanism}: a login fails ({driver})")
                session = pair.server.peek()
                before = (session.authid, session.authzid)
                self._stands(session, "when it is done")
                failure = _checked_again(stage, session)
                # A token that cannot be validated again says so, and nothing of the login.
                require(
                    failure is None or isinstance(failure, UsageError),
                    f"{self.mechanism}: a login is refused when it is looked at again ({driver}): "
                    f"{getattr(failure, 'detail', None)}",
                )
                self._stands(session, "when it was looked at again")
                require(
                    (session.authid, session.authzid) == before,
                    f"{self.mechanism}: looked at again, it is {session.authid!r}'s login",
                )
                pair.close()
                try:
                    _ = session.valid()
                except UsageError:
                    continue
                fail(f"{self.mechanism}: a login stands when its session is closed")

    def _stands(self, session: ServerNegotiation, when: str) -> None:
        # Asked twice, for to be asked changes nothing.
        require(
            session.valid() and session.valid(),
            f"{self.mechanism}: a login does not stand {when}",
        )


def _checked_again(stage: Stage, session: ServerNegotiation) -> SaslError | None:
    return stage.run(session.revalidation())
