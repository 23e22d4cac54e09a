"""Checking a plaintext password: the application, the configured methods, the stores (G20).

Nobody is let in here: what returns is which method said OK, and the context makes a
`Verified` of that, or not.
"""

from __future__ import annotations

from hmac import compare_digest
from typing import TYPE_CHECKING, Final

from sasl_core.accounts import PASSWORD_LIMIT
from sasl_core.errors import (
    BackendError,
    PeerError,
    PluginError,
    SaslError,
    printable,
)
from sasl_core.names import UserName
from sasl_core.needs import Found, NeedDerivation, NeedPassword, NeedUser
from sasl_core.properties import PASSWORD, VERIFIERS
from sasl_core.results import Result
from sasl_core.saslprep import saslprep
from sasl_core.verifier import stored_keys

if TYPE_CHECKING:
    from sasl_core.context.server import ServerContext
    from sasl_core.core import ServerCore
    from sasl_core.needs import User
    from sasl_core.plugs import Needs

__all__ = ["APPLICATION", "AUXPROP", "check"]

APPLICATION: Final = "application"
"""The method that is the application's own callback."""
AUXPROP: Final = "auxprop"
"""The method that compares with what the property stores keep."""

PROPERTIES: Final = ("*" + VERIFIERS, "*" + PASSWORD)

# These say more than that the password is wrong.
MISSING = frozenset({Result.NOUSER, Result.NOUSERPASS})
# These refuse whatever another method says.
FINAL = frozenset({Result.DISABLED, Result.EXPIRED, Result.PWLOCK, Result.NEED_OLD_PASSWD})


def check(
    ctx: ServerContext, core: ServerCore, authid: str, password: str, authzid: str | None
) -> Needs[tuple[User, str, bytes]]:
    """Ask one method after the other; return for whom which one said OK, and the password.

    A method that says more than "wrong" (disabled, expired) refuses whatever the others
    say, but not before they were asked: how many are must not depend on the account.

    Raises:
        AuthenticationError: none did.
        BackendError: none did, and one could not be asked; or the application's callback
            could not be asked at all.
        PluginError: none did, and one broke.
        ConfigError: `pwcheck_method` names an unknown method (NOMECH).
    """
    if len(password) > PASSWORD_LIMIT:
        ctx.refuse(f"a password of more than {PASSWORD_LIMIT} characters")
    try:
        prepared = saslprep(password).encode()
    except PeerError as error:
        ctx.seterror(str(error))
        prepared = b""
    if not prepared:
        ctx.refuse(f"empty or unacceptable password for user {printable(authid)!r}")
    methods = core.password_methods
    # A method that reads the store looks the user up; the others need the name alone.
    user: User | None = None
    if methods and methods[0] != AUXPROP:
        user = ctx.adopt(authid, authzid, Found(Result.NOVERIFY))
    outage: SaslError | None = None
    worst = Result.BADAUTH
    verdict: Result | None = None
    for method in methods:
        try:
            if method == AUXPROP:
                # Should the look-up fail, the context has another user than before it.
                user = None
                user = yield from NeedUser(authid, authzid, PROPERTIES)
                result = yield from _check_store(ctx, core, user, prepared)
            elif user is not None:
                result = yield from _ask(ctx, core, method, user, prepared)
            else:
                # The store before it was out, and has looked nobody up.
                user = ctx.adopt(authid, authzid, Found(Result.NOVERIFY))
                result = yield from _ask(ctx, core, method, user, prepared)
        except (BackendError, PluginError) as error:
            if method == APPLICATION:
                # Its word would have been final; nobody else can speak for the application.
                raise
            ctx.seterror(error.detail or str(error))
            outage = error
            continue
        if result is Result.OK:
            if verdict is None:
                # The one who was checked, whoever the context has come to know since.
                return user, method, prepared
            outage = None
            break
        if result in MISSING and worst is Result.BADAUTH:
            worst = result
        if result in FINAL:
            verdict = worst = result
        if method == APPLICATION and result is not Result.NOVERIFY:
            worst = result
            break
    if outage is not None:
        raise outage
    ctx.refuse(
        f"password refused for user {printable(authid)!r} by {', '.join(methods) or 'nobody'}",
        result=worst,
    )


def _ask(
    ctx: ServerContext, core: ServerCore, method: str, user: User, password: bytes
) -> Needs[Result]:
    if not core.has_password_method(method):
        raise core.unknown_password_method(method)
    answer = yield from NeedPassword(method, UserName.parse(user.authid), password, core.service)
    if answer.result is not Result.OK:
        ctx.seterror(f"{method}: {answer.detail or answer.result.name}")
        if answer.result is Result.UNAVAIL:
            raise BackendError(detail=f"pwcheck method {method!r} is unavailable")
    return answer.result


def _check_store(
    ctx: ServerContext, core: ServerCore, user: User, password: bytes
) -> Needs[Result]:
    """Check against what the property stores keep: one derivation, whoever the user is."""
    name = core.password_hash(user)
    verifier = ctx.verifier(user, name, cap=core.options.scram_iteration_cap.of(name))
    real = ctx.verifier_is_real
    salted = yield from NeedDerivation(verifier.hash, password, verifier.salt, verifier.iterations)
    _, stored_key, _ = stored_keys(verifier.hash, salted)
    matches = compare_digest(stored_key, verifier.stored_key) and real
    # A store that keeps plaintext has one more thing to compare, for a user without verifier.
    plain = user.properties.get("*" + PASSWORD)
    for value in plain or (b"\0" * 16,):
        matches |= compare_digest(value, password) and bool(plain) and not real
    user.properties.erase("*" + PASSWORD)
    result = user.found.result
    if result is not Result.OK:
        ctx.seterror(f"auxprop: {result.name} for user {user.authid!r}")
        return result
    if not real and not plain:
        ctx.seterror(f"user {user.authid!r} has no password in the store")
        return Result.NOUSERPASS
    return Result.OK if matches else Result.BADAUTH
