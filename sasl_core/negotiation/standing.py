"""Whether a login still stands: what it rested on may lapse while the session lives.

Invariants:
- A login that rests on no token stands as long as its session.
- Once refused, it never stands again; also where the revalidation that refuses began before the
  last that was taken over, for nobody can tell in which order the stores saw them. An outage says
  nothing and changes nothing.
- A revalidation that does not refuse changes the user's grants, all of them or none, and never
  who the user is; it changes nothing when it began before the last that was taken over.
- What a store's own login or peer came to is an outage.
- What a token library raises by mistake lets nobody stand.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from sasl_core import accounts
from sasl_core._checks import is_a
from sasl_core.context.server import stands as token_stands
from sasl_core.context.server import take_grants
from sasl_core.edge import OUTAGES
from sasl_core.errors import (
    AuthenticationError,
    BackendError,
    PluginError,
    SaslError,
    UsageError,
)
from sasl_core.exchange import foreign
from sasl_core.names import UserName
from sasl_core.results import Result
from sasl_core.token import ROLES, ValidatedToken

if TYPE_CHECKING:
    from sasl_core.context import ServerContext
    from sasl_core.core import ServerCore
    from sasl_core.needs import Found, User
    from sasl_core.plugs import Needs

__all__ = ["revalidate", "stands"]

KNOWN = frozenset({Result.OK, Result.NOVERIFY})


def stands(core: ServerCore, context: ServerContext) -> bool:
    """Whether what the finished login of `context` rested on still holds."""
    token = context.token
    if token is None:
        return True
    if context.lapsed:
        return False
    try:
        return token_stands(token, context.utils.clock())
    except Exception as error:  # noqa: BLE001 - a stranger's class; it lets nobody stand.
        failure = error if isinstance(error, SaslError) else foreign(error, context.mechanism)
        core.log_failure("whether a token is valid", failure)
        return False


def revalidate(core: ServerCore, context: ServerContext, user: User) -> Needs[SaslError | None]:
    """Check again what the login rested on, and take over the grants that there are now.

    Returns why not, None when it stands: what a runner sees raised it takes for an outage.
    """
    token = context.token
    if token is None:
        return None
    try:
        _refuse_lapsed(context)
        granted = context.granted
        granted.begun += 1
        number = granted.begun
        fresh = yield from token.revalidate()
        if not is_a(fresh, ValidatedToken):
            kind = type(fresh).__name__
            raise PluginError(context.mechanism, "", f"a token was revalidated as a {kind}")
        # Not by what the old one says now: it may be the same object, brought up to date.
        if fresh.principal != user.authid or fresh.issuer != granted.issuer:
            raise AuthenticationError(detail="the token names another principal than it did")
        if not token_stands(fresh, context.utils.clock()):
            raise AuthenticationError(detail="the token has expired", result=Result.EXPIRED)
        needed = fresh.needs_account or context.facts.need_account
        roles = yield from _accounts(core, user, fresh, must_be=needed)
        if context.token is None:
            raise UsageError("the session was closed while it was revalidated", code="closed")
        # Another revalidation may have ended since this one began.
        _refuse_lapsed(context)
        if number > granted.taken:
            granted.names = take_grants(user, fresh, granted.names, roles)
            granted.taken = number
            context.token = fresh
    except AuthenticationError as error:
        context.lapsed = True
        return error
    except SaslError as error:
        return error
    except Exception as error:  # noqa: BLE001 - whatever a token library raises becomes ours.
        return foreign(error, context.mechanism)
    return None


def _refuse_lapsed(context: ServerContext) -> None:
    if context.lapsed:
        raise AuthenticationError(detail="the login was refused by an earlier revalidation")


def _accounts(
    core: ServerCore, user: User, token: ValidatedToken, *, must_be: bool
) -> Needs[tuple[bytes, ...] | None]:
    """What the stores say the user may do, None where the token says it.

    `must_be`: there has to be an account.

    Raises:
        AuthenticationError: an account is locked, or there has to be one and is none.
        BackendError: a store cannot be asked.
    """
    roles: tuple[bytes, ...] | None = None
    if must_be or core.keeps_accounts:
        names = (ROLES,) if token.needs_account else ()
        found = yield from _look_up(core, user.authid, names)
        _check(user.authid, found.result, must_be=must_be)
        roles = found.values.get(ROLES, ()) if token.needs_account else None
    if user.authzid != user.authid:
        found = yield from _look_up(core, user.authzid, ())
        _check(user.authzid, found.result, must_be=False)
    return roles


def _look_up(core: ServerCore, name: str, properties: tuple[str, ...]) -> Needs[Found]:
    """What the stores have of the user of that name.

    Raises:
        BackendError, ConfigError, PluginError, UsageError: they cannot be asked.
    """
    try:
        return (yield from accounts.look_up(core, UserName.parse(name), properties))
    except OUTAGES:
        raise
    except SaslError as error:
        # As the runners have it at a login: a backend's own login refuses nobody here.
        detail = f"a store could not be asked: {error.detail or error}"
    raise BackendError(detail=detail)


def _check(name: str, result: Result, *, must_be: bool) -> None:
    if result not in KNOWN and (result is not Result.NOUSER or must_be):
        raise AuthenticationError(detail=f"user {name!r}: {result.name}", result=result)
