"""Which mechanisms a server offers to a client, and which it lets it start (G1 to G4, G9)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sasl_core.errors import MechanismError, printable
from sasl_core.flags import Availability
from sasl_core.names import base_name
from sasl_core.negotiation.base import Negotiation
from sasl_core.results import Result

if TYPE_CHECKING:
    from collections.abc import Mapping

    from sasl_core.core import ServerCore
    from sasl_core.core.base import Permit

__all__ = ["Offers"]


class Offers(Negotiation):
    """The part of a server's negotiation that comes before its exchange."""

    __slots__ = ("_banned",)

    core: ServerCore  # pyright: ignore[reportIncompatibleVariableOverride] - a side's own core
    # Mechanisms that said "never" on this connection, and what to say of them.
    _banned: dict[str, str] | None

    def mechanisms(self, user: str | None = None) -> tuple[str, ...]:
        """The names to offer, strongest first; with `user`, those that `user` can use.

        A mechanism that says "never" for a user is not asked again, and cannot be
        started on this session.
        """
        names = self.core.offer(self.facts).names
        if user is not None:
            # Both variants of a mechanism are one question.
            bases = dict.fromkeys(map(base_name, names))
            open_to = {base for base in bases if self._available(base, user)}
            names = tuple(name for name in names if base_name(name) in open_to)
        if self._banned:
            names = tuple(name for name in names if base_name(name) not in self._banned)
        return names

    def _available(self, base: str, user: str) -> bool:
        if self._banned and base in self._banned:
            return False
        plug = self.core.mechanism(base)
        try:
            says = plug.available(user)
        except Exception as error:  # noqa: BLE001 - whatever a plugin raises; the others go on.
            self.core.log_failure(f"mechanism {base!r}", error)
            says = Availability.LATER
        if says is Availability.NEVER:
            self._banned = {**(self._banned or {}), base: "it is not available on this connection"}
        return says is Availability.YES

    @property
    def rejected(self) -> Mapping[str, str]:
        """Why the mechanisms that are not offered are not, by name."""
        refused = self.core.offer(self.facts).refused
        return {name: why.reason for name, why in refused.items()} | (self._banned or {})

    def _permitted(self, mechanism: str) -> Permit:
        """The mechanism, where something speaks against it.

        Raises:
            MechanismError: it cannot be used, with the reason.
        """
        self.core.check_open()
        why = self.core.refusal(mechanism, self.facts)
        banned = (self._banned or {}).get(base_name(mechanism))
        permit = self.core.permit(mechanism, self.facts)
        if banned is None and permit is not None:
            return permit
        name = printable(mechanism, 40)
        reason = banned or (why.reason if why is not None else "")
        raise MechanismError(
            f"mechanism {name} cannot be used: {reason}",
            reasons={name: reason},
            result=Result.NOMECH if banned is not None or why is None else why.result,
        )
