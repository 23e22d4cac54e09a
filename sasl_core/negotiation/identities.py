"""Who a server's client is: canonical names, and what the stores know of them (G10 to G12).

Invariants:
- Both names are canonical before anything is looked up, and belong to one `User`, bound to
  this exchange.
- Only the authid is looked up before the proof; what is asked of a differing authzid waits.
- The account of a user who was verified elsewhere is looked up too: it may be locked.
"""

from __future__ import annotations

from abc import abstractmethod
from typing import TYPE_CHECKING, Any

from sasl_core.accounts import look_up_at_once
from sasl_core.errors import SaslError
from sasl_core.flags import CanonFlag
from sasl_core.needs import Found, NeedUser, User
from sasl_core.negotiation.base import Reply
from sasl_core.negotiation.offers import Offers
from sasl_core.results import Result

if TYPE_CHECKING:
    from sasl_core.context import ServerContext
    from sasl_core.needs import Need

__all__ = ["AUTHORIZE", "LOOK_UP", "MECHANISM", "TRANSITION", "Identities"]

# What is under way: the mechanism, look-ups after its proof, the policy, auto_transition.
MECHANISM, LOOK_UP, AUTHORIZE, TRANSITION = range(4)
AUTHORIZABLE = frozenset({Result.OK, Result.NOVERIFY})
_OK, _NOVERIFY = Result.OK, Result.NOVERIFY
# Stands for the look-up until its answer is there.
_PENDING = Found(Result.NOVERIFY)


class Identities(Offers):
    """The part of a server's negotiation that knows users.

    `asks_store`: whether a look-up surfaces that a store which never blocks would answer.
    """

    __slots__ = ("_context", "_due", "_later", "_stage", "asks_store")

    # Left unset until they are needed: the exchange's context, and what is to be looked up.
    _context: ServerContext
    _due: tuple[NeedUser, ...]
    # What a mechanism asked of the authzid before its proof.
    _later: tuple[str, ...]
    _stage: int
    asks_store: bool

    @abstractmethod
    def _ask_policy(self, user: User) -> Need | Reply:
        """Everything is known of `user`; may it act as it wants to?"""

    def _look_up(self, need: NeedUser) -> Any:
        """A mechanism's look-up: canonical names, and the authid only.

        Returns what the mechanism asks next, or what surfaces: then the phase is ASKING.
        """
        names = need.properties if type(need.properties) is tuple else tuple(need.properties)
        core, wanted = self.core, self.facts.properties
        try:
            if need.authzid is None and not wanted:
                user = self._context.adopt(need.authid, None, _PENDING, names)
            else:
                user, names = self._adopt_both(need, names, wanted)
            found = (
                look_up_at_once(core, user.authid, names)
                if core.read_at_once is not None and not self.asks_store
                else None
            )
        except SaslError as error:
            failure = error
        else:
            if found is None:
                return self._surface(NeedUser(user.authid, user.authzid, names))
            user.found = found
            return self._exchange.resume(user)
        return self._not_looked_up(failure)

    def _not_looked_up(self, error: SaslError) -> Any:
        user = self._context.user
        if user is not None and user.found is _PENDING:
            # Nothing was found out; should somebody else vouch for the user, it is asked again.
            user.requested = ()
        return self._exchange.fail(error)

    def _adopt_both(
        self, need: NeedUser, names: tuple[str, ...], wanted: tuple[str, ...]
    ) -> tuple[User, tuple[str, ...]]:
        """Both identities, and the properties of the authid that are looked up now."""
        user = self._context.adopt(need.authid, need.authzid, _PENDING)
        if user.authzid != user.authid:
            # Bare names belong to the other identity, which is looked up after the proof.
            self._later = tuple(name for name in names if not name.startswith("*"))
            names = tuple(name for name in names + wanted if name.startswith("*"))
        else:
            names += wanted
        user.requested = names
        return user, names

    def _user(self, context: ServerContext) -> User:
        user = context.user
        if user is None:  # pragma: no cover - a user is adopted before anything asks for it.
            self._abandon("no user was canonicalised")
        return user

    def _look_ups(self, user: User) -> tuple[NeedUser, ...]:
        """What has not been looked up yet: of the authid, then of a differing authzid (G10).

        The account of a user who was verified elsewhere is looked up in any case: the
        store may have locked it.
        """
        pending = self._pending(user)
        differ = user.authzid != user.authid
        mine = tuple(name for name in pending if name.startswith("*")) if differ else pending
        unseen = user.found.result is _NOVERIFY and (
            self.core.keeps_accounts or self._needs_account(self._context)
        )
        due: list[NeedUser] = []
        if mine or unseen:
            due.append(NeedUser(user.authid, None, mine))
        if differ:
            theirs = tuple(name for name in pending if name not in mine)
            due.append(NeedUser(user.authzid, None, theirs, CanonFlag.AUTHZID))
        return tuple(due)

    def _next_look_up(self, user: User) -> Need | Reply:
        if not self._due:
            return self._ask_policy(user)
        self._stage = LOOK_UP
        first, *rest = self._due
        self._due = tuple(rest)
        core = self.core
        if core.read_at_once is not None and not self.asks_store:
            return self._looked_up_more(
                first, look_up_at_once(core, first.authid, first.properties)
            )
        return self._surface(first)

    def _looked_up_more(self, need: NeedUser, found: Found) -> Need | Reply:
        context = self._context
        user = self._user(context)
        result = found.result
        # A user that the store does not know got this far only if verified elsewhere (G11).
        elsewhere = result is Result.NOUSER and user.found.result is not _OK
        if elsewhere and need.identity is CanonFlag.AUTHID and self._needs_account(context):
            elsewhere = False
        if result not in AUTHORIZABLE and not elsewhere:
            mine = need.identity is CanonFlag.AUTHID
            what = "user" if mine else "authorization identity"
            context.refuse(
                f"{what} {need.authid!r}: {result.name}",
                result=result if mine else Result.NOAUTHZ,
            )
        _fill(user, need.properties, found)
        return self._next_look_up(user)

    def _needs_account(self, context: ServerContext) -> bool:
        """Whether somebody else let the user in who has to have an account all the same."""
        token = context.token
        return self.facts.need_account or (token is not None and token.needs_account)

    def _pending(self, user: User) -> tuple[str, ...]:
        """The properties that the application or the mechanism wants, and no look-up has had."""
        wanted = self.facts.properties + self._later
        if not wanted:
            return wanted
        asked = user.properties.names
        return tuple(name for name in dict.fromkeys(wanted) if name not in asked)


def _fill(user: User, names: tuple[str, ...], found: Found) -> None:
    properties = user.properties
    properties.request(*names)
    for name in names:
        values = found.values.get(name.lstrip("*"))
        if values:
            properties.set(name, values)
