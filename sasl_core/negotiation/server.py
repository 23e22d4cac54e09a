"""The server's side of a negotiation.

Order after a mechanism's `Success`: the proof is checked to be of this exchange; a
differing authzid is looked up; `NeedAuthorize`, once; the binding policy is checked
again; then, and only then, "done". What the server sends last leaves before "done" only
where the protocol has no room for it in its success message (G6).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

from sasl_core._checks import is_a
from sasl_core.accounts import transition
from sasl_core.context import ServerContext
from sasl_core.errors import (
    AuthenticationError,
    BackendError,
    MechanismError,
    PeerError,
    PluginError,
    SaslError,
    UsageError,
    printable,
)
from sasl_core.flags import Availability, BindingPolicy, CanonFlag, Decision, Feature
from sasl_core.names import base_name
from sasl_core.needs import (
    Found,
    NeedAuthorize,
    NeedCallback,
    NeedDerivation,
    NeedInitial,
    NeedPeer,
    NeedUser,
    User,
)
from sasl_core.negotiation.base import (
    DONE,
    GLUE_NEEDS,
    LAST,
    MECHANISM_NEEDS,
    PEER,
    Negotiation,
    Reply,
    check_data,
    need_type,
)
from sasl_core.outcome import Success, Verified
from sasl_core.results import Result

if TYPE_CHECKING:
    from collections.abc import Mapping

    from sasl_core.core import ServerCore
    from sasl_core.facts import Facts
    from sasl_core.needs import Need
    from sasl_core.plugs import Needs

__all__ = ["ServerNegotiation"]

AUTHORIZABLE = frozenset({Result.OK, Result.NOVERIFY})


class ServerNegotiation(Negotiation):
    """One attempt of a client to authenticate."""

    __slots__ = (
        "_banned",
        "_context",
        "_final",
        "_finishing",
        "_how",
        "_initial",
        "_kind",
        "_later",
        "_opening",
    )

    core: ServerCore

    def __init__(self, core: ServerCore, facts: Facts) -> None:
        super().__init__(core, facts)
        self._context: ServerContext | None = None
        self._initial: bytes | None = None
        # Until the mechanism has asked for the client's first message, or for its absence.
        self._opening = True
        self._finishing = False
        self._final: bytes | None = None
        self._banned: dict[str, str] | None = None
        # Properties of the authzid that a mechanism asked for before its proof.
        self._later: tuple[str, ...] = ()
        self._how = ""
        self._kind = "login"

    # --- which mechanisms -----------------------------------------------------------

    def mechanisms(self, user: str | None = None) -> tuple[str, ...]:
        """The names to offer, strongest first; with `user`, those that `user` can use.

        A mechanism that says "never" for a user is not asked again, and cannot be
        started on this session.
        """
        names = self.core.offer(self.facts).names
        if user is not None:
            names = tuple(name for name in names if self._available(name, user))
        if self._banned:
            names = tuple(name for name in names if base_name(name) not in self._banned)
        return names

    def _available(self, name: str, user: str) -> bool:
        base = base_name(name)
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

    # --- the exchange ------------------------------------------------------------------

    def start(self, mechanism: str, initial: bytes | None = None) -> Need | Reply:
        """Begin. `initial`: the initial response, None if the client sent none (G5).

        Raises:
            UsageError: an attempt was made already.
            MechanismError: the mechanism is not for this connection, with the reason.
            SaslError: the exchange failed.
        """
        check_data("an initial response", initial)
        if not is_a(mechanism, str):
            raise UsageError(f"a mechanism's name is a string, not {type(mechanism).__name__}")
        self._begin()
        try:
            return self._start(mechanism, initial)
        except BaseException as error:  # noqa: BLE001 - whatever it is, the exchange ends here.
            failure = self._failed(error)
        initial = None
        raise failure

    def fail(self, error: Exception) -> Need | Reply:
        if (
            self._finishing
            and isinstance(error, AuthenticationError)
            and need_type(self.need) is not NeedAuthorize
        ):
            # The proof has been given; what a store says now of itself refuses nobody.
            error = BackendError(detail=error.detail or str(error))
        return super().fail(error)

    def check(self, user: str, password: str) -> Need | Reply:
        """Begin the check of a password that came by another way (`Server.checkpass`).

        Raises:
            UsageError: either is no string, or an attempt was made already.
        """
        for what, value in (("user", user), ("password", password)):
            if not is_a(value, str):
                raise UsageError(f"a {what} is a string, not {type(value).__name__}")
        self._begin()
        self._kind = "checkpass"
        try:
            return self._start_check(user, password)
        except BaseException as error:  # noqa: BLE001 - whatever it is, the exchange ends here.
            failure = self._failed(error)
        password = ""
        raise failure

    def _start_check(self, user: str, password: str) -> Need | Reply:
        core = self.core
        utils = core.utils("pwcheck", "checkpass")
        self._context = context = ServerContext(core, self.facts, "", utils)

        def body() -> Needs[Success]:
            return Success((yield from context.check_password(user, password)))

        return self._pump(self._run(body(), MECHANISM_NEEDS, "checkpass"))

    def _start(self, mechanism: str, initial: bytes | None) -> Need | Reply:
        core = self.core
        why = core.refusal(mechanism, self.facts)
        if why is not None or self._banned:
            self._check_permitted(mechanism)
        self.mechanism = mechanism
        base = base_name(mechanism)
        plug = core.mechanism(base)
        if initial is not None:
            self._check_message(initial)
        self._context = context = ServerContext(
            core, self.facts, mechanism, core.utils("mechanisms", base)
        )
        if initial is not None and plug.features & Feature.SERVER_FIRST:
            raise PeerError(
                "remote sent first in server-first mechanism",
                code="initial-response-refused",
                detail=f"the client sent an initial response, and {base} has the server first",
            )
        self._initial = initial
        return self._pump(self._run(plug.converse(context), MECHANISM_NEEDS, base))

    def _check_permitted(self, mechanism: str) -> None:
        why = self.core.refusal(mechanism, self.facts)
        banned = (self._banned or {}).get(base_name(mechanism))
        if banned is None and why is None:
            return
        name = printable(mechanism, 40)
        reason = banned or (why.reason if why is not None else "")
        raise MechanismError(
            f"mechanism {name} cannot be used: {reason}",
            reasons={name: reason},
            result=Result.NOMECH if banned is not None or why is None else why.result,
        )

    def _current(self) -> ServerContext | None:
        return self._context

    def _answered(self, value: object) -> Need | Reply:
        if self.phase is PEER:
            message = cast("bytes", value)
            self._check_message(message)
            return self._pump(self._running().answer(message))
        if self.phase is LAST:
            if value != b"":
                raise PeerError(
                    "an empty response was due",
                    code="last-response",
                    detail="the client answered the server's last message with data",
                )
            return self._finished()
        if type(self.need) is NeedUser:
            return self._pump(self._running().answer(self._looked_up(self.need, value)))
        return self._pump(self._running().answer(value))

    def _pump(self, need: Any) -> Need | Reply:
        while True:
            if need is None:
                reply = self._completed()
                if reply is not None:
                    return reply
                need = self._running().need
                continue
            kind = need_type(need)
            if kind is NeedPeer:
                self._opening = False
                if self._initial is not None:
                    if need.output is not None:
                        self._abandon("speaks before it has heard the initial response")
                    need = self._running().answer(self._take_initial())
                    continue
                self._check_output(need.output)
                self.phase = PEER
                return Reply(b"" if need.output is None else need.output, done=False)
            if kind is NeedUser and not self._finishing:
                try:
                    return self._surface(self._canonical(need))
                except SaslError as error:
                    need = self._running().fail(error)
                    continue
            if kind is NeedInitial:
                if not self._opening:
                    self._abandon("asks for the initial response in the middle of an exchange")
                self._opening = False
                need = self._running().answer(self._take_initial())
                continue
            if kind is NeedDerivation and not self._finishing:
                self._count_derivation()
            elif kind is NeedCallback:
                self._abandon("asks for callbacks, which a server has none of")
            return self._surface(need)

    def _take_initial(self) -> bytes | None:
        initial, self._initial = self._initial, None
        return initial

    # --- users ---------------------------------------------------------------------------

    def _canonical(self, need: NeedUser) -> NeedUser:
        """The look-up that surfaces for a mechanism's: canonical names, the authid only."""
        context = self._ctx()
        user = context.adopt(need.authid, need.authzid, _PENDING)
        wanted = self.facts.properties
        names = need.properties + wanted if wanted else need.properties
        if user.authzid != user.authid:
            # Bare names belong to the other identity, which is looked up after the proof.
            self._later = tuple(name for name in need.properties if not name.startswith("*"))
            names = tuple(name for name in names if name.startswith("*"))
        return NeedUser(user.authid, user.authzid, names)

    def _looked_up(self, need: NeedUser, value: object) -> User | Found:
        found = cast("Found", value)
        if self._finishing:
            return found
        user = self._ctx().user
        if user is None:  # pragma: no cover - _canonical has set it.
            self._abandon("no user was canonicalised")
        user.found = found
        if found.values:
            _fill(user, need.properties, found)
            user.found = Found(found.result, {}, found.verifiers, found.decoy_secret)
        else:
            user.properties.request(*need.properties)
        return user

    def _ctx(self) -> ServerContext:
        context = self._context
        if context is None:  # pragma: no cover - set before an exchange runs.
            raise UsageError("nothing was started", code="out-of-order")
        return context

    # --- the end ----------------------------------------------------------------------------

    def _completed(self) -> Reply | None:
        success = self._running().result
        if success is None:  # pragma: no cover - the exchange has checked it.
            self._abandon("ended without a Success")
        if not self._finishing:
            self._take_over(success)
            self._finishing = True
            need = self._run(self._finish(success), GLUE_NEEDS, self.mechanism or "checkpass")
            return None if need is not None else self._completed()
        if success.data is not None and not self.facts.success_data:
            self._final = None
            self.phase = LAST
            self._exchange = None
            return Reply(success.data, done=False)
        self._final = success.data
        return self._finished()

    def _finish(self, success: Success) -> Needs[Success]:
        context = self._ctx()
        verified = success.verified
        if type(verified) is not Verified:
            raise PluginError(self.mechanism or "?", "", "returned a Success without a Verified")
        user = verified.user
        if verified.origin is not context or user is not context.user:
            context.refuse("the Verified is of another exchange", result=Result.FAIL)
        self._how = verified.how
        if verified.how != "anonymous":
            yield from self._look_up_rest(context, user)
        decision = yield from NeedAuthorize(user.authid, user.authzid, user.properties)
        if decision is not Decision.PERMIT:
            context.refuse(
                f"{user.authid!r} may not act as {user.authzid!r}", result=Result.NOAUTHZ
            )
        self._check_bound(context)
        problem = self._strength_problem()
        if problem is not None:
            context.refuse(problem, result=Result.TOOWEAK)
        password = context.take_password()
        if password is not None:
            yield from self._transition(user.authid, password)
        return success

    def _look_up_rest(self, context: ServerContext, user: User) -> Needs[None]:
        """What no look-up has asked for yet: of the authid, then of a differing authzid (G10)."""
        pending = self._pending(user)
        differ = user.authzid != user.authid
        mine = tuple(name for name in pending if name.startswith("*")) if differ else pending
        # A user that the store does not know got this far only if verified elsewhere (G11).
        outside = user.found.result is not Result.OK
        for identity, name, names in (
            (CanonFlag.AUTHID, user.authid, mine),
            (CanonFlag.AUTHZID, user.authzid, tuple(n for n in pending if n not in mine)),
        ):
            if not (names or (differ and identity is CanonFlag.AUTHZID)):
                continue
            found = cast("Found", (yield NeedUser(name, None, names, identity=identity)))
            result = found.result
            if result not in AUTHORIZABLE and not (result is Result.NOUSER and outside):
                what = "user" if identity is CanonFlag.AUTHID else "authorization identity"
                context.refuse(f"{what} {name!r}: {result.name}", result=Result.NOAUTHZ)
            _fill(user, names, found)

    def _pending(self, user: User) -> tuple[str, ...]:
        """The properties that the application or the mechanism wants, and no look-up has had."""
        wanted = self.facts.properties + self._later
        if not wanted:
            return wanted
        asked = user.properties.names
        return tuple(name for name in dict.fromkeys(wanted) if name not in asked)

    def _check_bound(self, context: ServerContext) -> None:
        if context.bound is None and (
            context.plus or self.facts.binding_policy is BindingPolicy.REQUIRE
        ):
            context.refuse(
                "the exchange ended without channel binding, which is required",
                result=Result.BADBINDING,
            )

    def _transition(self, authid: str, password: bytes) -> Needs[None]:
        """auto_transition: its failure is logged, and spoils no login."""
        try:
            result = yield from transition(self.core, authid, password)
            detail = None
        except SaslError as error:
            result, detail = error.result, error.detail or str(error)
        if result is Result.NOCHANGE:
            # It had been done before, or somebody set a password meanwhile.
            return
        self._audit("transition", result, authid, authid, detail)

    def _finished(self) -> Reply:
        context = self._ctx()
        self.phase = DONE
        self._drop()
        user = context.user
        if user is None:  # pragma: no cover - _finish has checked it.
            self._abandon("no user")
        self._audit(self._kind, Result.OK, user.authid, user.authzid, context.detail)
        context.forget()
        final, self._final = self._final, None
        return Reply(final, done=True)

    def _drop(self) -> None:
        super()._drop()
        self._initial = None
        if self._context is not None and self.phase is not DONE:
            self._context.forget()

    def _report(self, error: SaslError) -> None:
        context = self._context
        user = None if context is None else context.user
        result = error.result
        if context is not None and context.true_result is not None:
            result = context.true_result
        self._audit(
            self._kind,
            result,
            None if user is None else user.authid,
            None if user is None else user.authzid,
            error.detail,
        )

    def _audit(
        self, kind: str, result: Result, authid: str | None, authzid: str | None, detail: str | None
    ) -> None:
        self.core.audit(
            kind,
            result,
            mechanism=self.mechanism or "",
            authid=authid,
            authzid=authzid,
            how=self._how,
            remote=self.facts.remote or "",
            detail=detail,
        )


# Stands for the look-up until its answer is there.
_PENDING = Found(Result.NOVERIFY)


def _fill(user: User, names: tuple[str, ...], found: Found) -> None:
    properties = user.properties
    properties.request(*names)
    for name in names:
        values = found.values.get(name.lstrip("*"))
        if values:
            properties.set(name, values)
