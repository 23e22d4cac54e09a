"""Whether a login still stands: what it rested on may lapse while the session lives.

Invariants:
- A login that rests on no token stands as long as its session.
- Once refused, it never stands again; an outage says nothing and changes nothing.
- A revalidation changes the user's grants, all of them or none, and never who the user is.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from sasl_core import accounts
from sasl_core.context.server import take_grants
from sasl_core.errors import AuthenticationError, SaslError
from sasl_core.names import UserName
from sasl_core.results import Result
from sasl_core.token import ROLES

if TYPE_CHECKING:
    from sasl_core.context import ServerContext
    from sasl_core.core import ServerCore
    from sasl_core.needs import User
    from sasl_core.plugs import Needs
    from sasl_core.token import ValidatedToken

__all__ = ["revalidate", "stands"]

KNOWN = frozenset({Result.OK, Result.NOVERIFY})


def stands(context: ServerContext) -> bool:
    """Whether what the finished login of `context` rested on still holds."""
    token: ValidatedToken | None = getattr(context, "token", None)
    if token is None:
        return True
    return not getattr(context, "lapsed", False) and token.valid(context.utils.clock())


def revalidate(core: ServerCore, context: ServerContext, user: User) -> Needs[SaslError | None]:
    """Check again what the login rested on, and take over the grants that there are now.

    Returns why not, None when it stands: what a runner sees raised it takes for an outage.
    """
    token: ValidatedToken | None = getattr(context, "token", None)
    if token is None:
        return None
    if getattr(context, "lapsed", False):
        return AuthenticationError(detail="the login was refused by an earlier revalidation")
    try:
        fresh = yield from token.revalidate()
        if fresh.principal != token.principal or fresh.issuer != token.issuer:
            context.lapsed = True
            return AuthenticationError(detail="the token names another principal than it did")
        roles = yield from _account(core, user, fresh)
    except AuthenticationError as error:
        context.lapsed = True
        return error
    except SaslError as error:
        return error
    context.token = fresh
    take_grants(user, fresh)
    if roles is not None:
        user.properties.grant("*" + ROLES, roles)
        if user.authid == user.authzid:
            user.properties.grant(ROLES, roles)
    return None


def _account(
    core: ServerCore, user: User, token: ValidatedToken
) -> Needs[tuple[bytes, ...] | None]:
    """What the stores say the user may do, None where the token says it.

    Raises:
        AuthenticationError: the account is locked, or there has to be one and is none.
    """
    if not token.needs_account and not core.keeps_accounts:
        return None
    names = (ROLES,) if token.needs_account else ()
    found = yield from accounts.look_up(core, UserName.parse(user.authid), names)
    result = found.result
    if result not in KNOWN and (result is not Result.NOUSER or token.needs_account):
        raise AuthenticationError(detail=f"user {user.authid!r}: {result.name}", result=result)
    return found.values.get(ROLES, ()) if token.needs_account else None
