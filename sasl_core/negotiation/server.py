"""The server's side of a negotiation.

Order after a mechanism's `Success`: the proof is checked to be of this exchange; a
differing authzid is looked up; `NeedAuthorize`, once; the binding policy is checked
again; then, and only then, "done". What the server sends last leaves before "done" only
where the protocol has no room for it in its success message (G6).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

from sasl_core.accounts import transition
from sasl_core.context import ServerContext
from sasl_core.edge import sever
from sasl_core.errors import (
    AuthenticationError,
    BackendError,
    MechanismError,
    PeerError,
    SaslError,
    UsageError,
    printable,
)
from sasl_core.flags import Availability, BindingPolicy, CanonFlag, Decision
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
    check_text,
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

# What is under way: the mechanism, look-ups after its proof, the policy, auto_transition.
MECHANISM, LOOK_UP, AUTHORIZE, TRANSITION = range(4)
AUTHORIZABLE = frozenset({Result.OK, Result.NOVERIFY})


class ServerNegotiation(Negotiation):
    """One attempt of a client to authenticate."""

    __slots__ = (
        "_banned",
        "_context",
        "_due",
        "_final",
        "_how",
        "_initial",
        "_kind",
        "_later",
        "_opening",
        "_outside",
        "_stage",
    )

    core: ServerCore

    def __init__(self, core: ServerCore, facts: Facts) -> None:
        super().__init__(core, facts)
        self._context: ServerContext | None = None
        self._initial: bytes | None = None
        # Until the mechanism has asked for the client's first message, or for its absence.
        self._opening = True
        self._stage = MECHANISM
        self._final: bytes | None = None
        self._due: tuple[NeedUser, ...] = ()
        self._outside = False
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

    # --- the exchange ------------------------------------------------------------------

    def start(self, mechanism: str, initial: bytes | None = None) -> Need | Reply:
        """Begin. `initial`: the initial response, None if the client sent none (G5).

        Raises:
            UsageError: an attempt was made already.
            MechanismError: the mechanism is not for this connection, with the reason.
            SaslError: the exchange failed.
        """
        failure: BaseException
        try:
            check_data("an initial response", initial)
            check_text("mechanism's name", mechanism)
            self._begin()
        except UsageError as error:
            failure = sever(error)
        else:
            try:
                return self._start(mechanism, initial)
            except BaseException as error:  # noqa: BLE001 - whatever it is, the exchange ends here.
                failure = self._failed(error)
        initial = None
        raise failure

    def check(self, user: str, password: str) -> Need | Reply:
        """Begin the check of a password that came by another way (`Server.checkpass`).

        Raises:
            UsageError: either is no string, or an attempt was made already.
        """
        failure: BaseException
        try:
            check_text("user", user)
            check_text("password", password)
            self._begin()
        except UsageError as error:
            failure = sever(error)
        else:
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
        if initial is not None and core.traits(base).server_first:
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

    def _heard(self, message: bytes, *, last: bool) -> Need | Reply:
        if not last:
            return self._pump(self._running().answer(message))
        if message:
            raise PeerError(
                "an empty response was due",
                code="last-response",
                detail="the client answered the server's last message with data",
            )
        return self._finished()

    def _answered(self, need: Any, value: object) -> Need | Reply:
        stage = self._stage
        if stage is LOOK_UP:
            return self._looked_up_more(need, cast("Found", value))
        if stage is AUTHORIZE:
            return self._authorized(cast("Decision", value))
        if type(need) is NeedUser and stage is MECHANISM:
            return self._pump(self._running().answer(self._looked_up(need, cast("Found", value))))
        return self._pump(self._running().answer(value))

    def _failed_to_answer(self, need: Need, error: SaslError) -> Need | Reply:
        stage = self._stage
        if stage is TRANSITION and isinstance(error, AuthenticationError):
            # The proof has been given; what a backend says now of itself refuses nobody.
            error = BackendError(detail=error.detail or str(error))
        if stage is MECHANISM or stage is TRANSITION:
            return super()._failed_to_answer(need, error)
        raise error

    def _pump(self, need: Any) -> Need | Reply:
        while True:
            if need is None:
                return self._completed()
            kind = need_type(need)
            if kind is NeedPeer:
                self._opening = False
                if self._initial is not None:
                    if need.output is not None:
                        self._abandon("speaks before it has heard the initial response")
                    need = self._running().answer(self._take_initial())
                    continue
                self._check_output(need.output)
                self._enter(PEER)
                return Reply(b"" if need.output is None else need.output, done=False)
            if kind is NeedUser and self._stage is MECHANISM:
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
            if kind is NeedDerivation and self._stage is MECHANISM:
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

    def _looked_up(self, need: NeedUser, found: Found) -> User:
        user = self._ctx().user
        if user is None:  # pragma: no cover - _canonical has set it.
            self._abandon("no user was canonicalised")
        user.found = found
        if found.values:
            _fill(user, need.properties, found)
            user.found = Found(
                found.result, {}, found.verifiers, found.decoy_secret, found.decoy_iterations
            )
        else:
            user.properties.request(*need.properties)
        return user

    def _ctx(self) -> ServerContext:
        context = self._context
        if context is None:  # pragma: no cover - set before an exchange runs.
            raise UsageError("nothing was started", code="out-of-order")
        return context

    # --- the end ----------------------------------------------------------------------------

    def _completed(self) -> Need | Reply:
        """The body that ran is through: the mechanism's, or that of auto_transition."""
        if self._stage is TRANSITION:
            return self._concluded()
        success = self._running().result
        if success is None:  # pragma: no cover - the exchange has checked it.
            self._abandon("ended without a Success")
        self._take_over(success)
        self._exchange = None
        self._final = success.data
        context = self._ctx()
        verified = success.verified
        if type(verified) is not Verified:
            self._abandon("returned a Success without a Verified")
        user = verified.user
        if verified.origin is not context or user is not context.user:
            context.refuse("the Verified is of another exchange", result=Result.FAIL)
        self._how = verified.how
        # A user that the store does not know got this far only if verified elsewhere (G11).
        self._outside = user.found.result is not Result.OK
        self._due = () if verified.anonymous else self._look_ups(user)
        return self._next_look_up(user)

    def _look_ups(self, user: User) -> tuple[NeedUser, ...]:
        """What has not been looked up yet: of the authid, then of a differing authzid (G10).

        The account of a user who was verified elsewhere is looked up in any case: the
        store may have locked it.
        """
        pending = self._pending(user)
        differ = user.authzid != user.authid
        mine = tuple(name for name in pending if name.startswith("*")) if differ else pending
        unseen = user.found.result is Result.NOVERIFY and self.core.keeps_accounts
        due: list[NeedUser] = []
        if mine or unseen:
            due.append(NeedUser(user.authid, None, mine))
        if differ:
            theirs = tuple(name for name in pending if name not in mine)
            due.append(NeedUser(user.authzid, None, theirs, CanonFlag.AUTHZID))
        return tuple(due)

    def _next_look_up(self, user: User) -> Need | Reply:
        if self._due:
            self._stage = LOOK_UP
            first, *rest = self._due
            self._due = tuple(rest)
            return self._surface(first)
        self._stage = AUTHORIZE
        return self._surface(NeedAuthorize(user.authid, user.authzid, user.properties))

    def _looked_up_more(self, need: NeedUser, found: Found) -> Need | Reply:
        context = self._ctx()
        user = context.user
        if user is None:  # pragma: no cover - _completed has checked it.
            self._abandon("no user")
        result = found.result
        if result not in AUTHORIZABLE and not (result is Result.NOUSER and self._outside):
            mine = need.identity is CanonFlag.AUTHID
            what = "user" if mine else "authorization identity"
            context.refuse(
                f"{what} {need.authid!r}: {result.name}",
                result=result if mine else Result.NOAUTHZ,
            )
        _fill(user, need.properties, found)
        return self._next_look_up(user)

    def _authorized(self, decision: Decision) -> Need | Reply:
        context = self._ctx()
        user = context.user
        if user is None:  # pragma: no cover - _completed has checked it.
            self._abandon("no user")
        if decision is not Decision.PERMIT:
            context.refuse(
                f"{user.authid!r} may not act as {user.authzid!r}", result=Result.NOAUTHZ
            )
        self._check_bound(context)
        problem = self._strength_problem()
        if problem is not None:
            context.refuse(problem, result=Result.TOOWEAK)
        password = context.take_password()
        if password is None:
            return self._concluded()
        self._stage = TRANSITION
        return self._pump(
            self._run(self._transition(user.authid, password), GLUE_NEEDS, "auto_transition")
        )

    def _concluded(self) -> Reply:
        """Everything is proved and permitted; the server's last data may still have to go."""
        self._exchange = None
        if self._final is not None and not self.facts.success_data:
            final, self._final = self._final, None
            self._enter(LAST)
            return Reply(final, done=False)
        return self._finished()

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

    def _transition(self, authid: str, password: bytes) -> Needs[Success]:
        """auto_transition: its failure is logged, and spoils no login."""
        try:
            result = yield from transition(self.core, authid, password)
            detail = None
        except SaslError as error:
            result, detail = error.result, error.detail or str(error)
        # NOCHANGE: it had been done before, or somebody set a password meanwhile.
        if result is not Result.NOCHANGE:
            self._audit("transition", result, authid, authid, detail)
        return Success()

    def _finished(self) -> Reply:
        context = self._ctx()
        self._enter(DONE)
        self._drop()
        user = context.user
        if user is None:  # pragma: no cover - _completed has checked it.
            self._abandon("no user")
        self._audit(self._kind, Result.OK, user.authid, user.authzid, context.detail)
        context.forget()
        final, self._final = self._final, None
        return Reply(final, done=True)

    def _drop(self) -> None:
        super()._drop()
        self._initial = None
        if self.phase is not DONE:
            self._final = None
            if self._context is not None:
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
