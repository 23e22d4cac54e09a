"""Conformance of a mechanism: all the checks of both sides in one class."""

from __future__ import annotations

from sasl_core.testing.authorisation import AuthorisationChecks
from sasl_core.testing.honest import HonestChecks
from sasl_core.testing.hostile import HostileChecks
from sasl_core.testing.refusals import RefusalChecks
from sasl_core.testing.secrecy import SecrecyChecks
from sasl_core.testing.standing import StandingChecks

__all__ = ["MechanismConformance"]


class MechanismConformance(
    HonestChecks,
    HostileChecks,
    RefusalChecks,
    SecrecyChecks,
    AuthorisationChecks,
    StandingChecks,
):
    """Derive from it, set what `MechanismSubject` lists, and let pytest collect the class.

    The numbers in parentheses behind the checks are those of the invariants in
    `docs/conformance.md`.
    """
