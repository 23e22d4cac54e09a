"""Who may act as whom: asked once, last, and never on the strength of another's secret."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sasl_core.flags import Decision, Feature, Side
from sasl_core.names import UserName
from sasl_core.testing.drivers import DRIVERS
from sasl_core.testing.pairs import FRAMINGS
from sasl_core.testing.setups import require
from sasl_core.testing.subject import MechanismSubject

if TYPE_CHECKING:
    from sasl_core.properties import PropertyContext

__all__ = ["AuthorisationChecks"]


def _permit(authid: str, authzid: str, properties: PropertyContext) -> Decision:
    del authid, authzid, properties
    return Decision.PERMIT


def _deny(authid: str, authzid: str, properties: PropertyContext) -> Decision:
    del authid, authzid, properties
    return Decision.DENY


class AuthorisationChecks(MechanismSubject):
    """The proxy policy's part of a login."""

    def test_proxy_is_declared(self) -> None:
        """A mechanism that can carry an authzid is tried with one."""
        with self.stage() as stage:
            carries = bool(self.server_plug(stage).features & Feature.ALLOWS_PROXY)
        require(
            carries == (self.proxy is not None),
            f"{self.mechanism}: ALLOWS_PROXY and `proxy` do not go together",
        )
        require(
            self.proxy_with_their_secret is None or self.proxy is not None,
            f"{self.mechanism}: proxy_with_their_secret without proxy",
        )

    def test_own_secret_and_permission(self) -> None:
        """With one's own secret and the policy's permission one acts as the other user."""
        if self.proxy is None:
            return
        for driver in DRIVERS:
            with self.stage(driver, policy=_permit) as stage:
                for framing in FRAMINGS:
                    outcome = stage.exchange(self.proxy, framing)
                    self.sound(outcome, "a login with an authzid")
                    require(
                        outcome.worked, f"{self.mechanism}: a permitted authzid fails {framing}"
                    )
                    for side, name in self.names().items():
                        ending = outcome.server if side is Side.SERVER else outcome.client
                        require(
                            (ending.authid, ending.authzid) == (name, self.proxy.authzid),
                            f"{self.mechanism}: {ending.authid!r} acts as {ending.authzid!r} "
                            f"at the {side.name.lower()}",
                        )
                    both = (self.expected_authid, self.proxy.authzid)
                    require(
                        stage.spies.decisions == [both],
                        f"{self.mechanism}: authorisation was asked for {stage.spies.decisions!r}",
                    )
                    stage.spies.clear()

    def test_own_secret_without_permission(self) -> None:
        """By default, and where the policy says no, nobody acts as another user."""
        if self.proxy is None:
            return
        for policy in (None, _deny):
            with self.stage(policy=policy) as stage:
                for framing in FRAMINGS:
                    stage.spies.clear()
                    outcome = stage.exchange(self.proxy, framing)
                    self.sound(outcome, "a forbidden authzid")
                    require(
                        not outcome.server.ok and not outcome.client.ok,
                        f"{self.mechanism}: a forbidden authzid is accepted {framing}",
                    )
                    require(
                        len(stage.spies.decisions) == 1,
                        f"{self.mechanism}: authorisation was asked for {stage.spies.decisions!r}",
                    )

    def test_denied_altogether(self) -> None:
        """A policy that permits nobody anything lets nobody in."""
        with self.stage(policy=_deny) as stage:
            for framing in FRAMINGS:
                outcome = stage.exchange(self.credentials, framing)
                self.sound(outcome, "a login that the policy forbids")
                require(
                    not outcome.server.ok and not outcome.client.ok,
                    f"{self.mechanism}: the policy's no is ignored {framing}",
                )

    def test_their_secret_is_no_proof(self) -> None:
        """One's own name with the other user's secret is refused, whatever the policy.

        And the other user, whose turn comes after the proof, is not looked up.
        """
        if self.proxy_with_their_secret is None:
            return
        them = UserName.parse(self.proxy_with_their_secret.authzid or "")
        with self.stage(policy=_permit) as stage:
            for framing in FRAMINGS:
                outcome = stage.exchange(self.proxy_with_their_secret, framing)
                self.sound(outcome, "another user's secret")
                require(
                    not outcome.server.ok and not outcome.client.ok,
                    f"{self.mechanism}: another user's secret is taken for one's own {framing}",
                )
                require(
                    not stage.spies.decisions,
                    f"{self.mechanism}: authorisation is asked for before there is a proof",
                )
                require(
                    them not in stage.spies.lookups,
                    f"{self.mechanism}: the authzid is looked up before there is a proof",
                )
