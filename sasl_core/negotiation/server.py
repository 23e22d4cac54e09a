"""The server's side of a negotiation.

Order after a mechanism's `Success`: the proof is checked to be of this exchange; a
differing authzid is looked up; the proxy policy, once; the binding policy is checked
again; then, and only then, "done". What the server sends last leaves before "done" only
where the protocol has no room for it in its success message (G6).
"""

from __future__ import annotations

from types import NoneType
from typing import TYPE_CHECKING, Any, NoReturn

from sasl_core._checks import is_a
from sasl_core.accounts import transition
from sasl_core.context import ServerContext
from sasl_core.core.base import INFO
from sasl_core.edge import sever
from sasl_core.errors import (
    AuthenticationError,
    BackendError,
    PeerError,
    PluginError,
    SaslError,
    UsageError,
)
from sasl_core.exchange import STARTED, Exchange
from sasl_core.flags import BindingPolicy, Decision
from sasl_core.needs import (
    NeedAuthorize,
    NeedCallback,
    NeedDerivation,
    NeedInitial,
    NeedPeer,
    NeedUser,
    User,
)
from sasl_core.negotiation.base import (
    ASKING,
    DONE,
    GLUE_NEEDS,
    IDLE,
    LAST,
    MECHANISM_NEEDS,
    MESSAGE_LIMIT,
    NONE,
    PEER,
    RUNNING,
    Reply,
    check_data,
    check_text,
)
from sasl_core.negotiation.identities import AUTHORIZE, LOOK_UP, MECHANISM, TRANSITION, Identities
from sasl_core.outcome import Success, Verified
from sasl_core.results import Result
from sasl_core.token import ROLES

if TYPE_CHECKING:
    from sasl_core.core import ServerCore
    from sasl_core.core.base import Permit
    from sasl_core.facts import Facts
    from sasl_core.needs import Need
    from sasl_core.plugs import Needs

__all__ = ["ServerNegotiation"]


class ServerNegotiation(Identities):
    """One attempt of a client to authenticate."""

    __slots__ = ("_final", "_how", "_kind", "_opening", "_permit", "asks_policy")

    # Left unset until they are needed, as most exchanges never need them.
    _final: bytes | None
    _how: str
    _kind: str
    _permit: Permit | None

    def __init__(
        self,
        core: ServerCore,
        facts: Facts,
        asks_store: bool = True,
        asks_policy: bool = True,
    ) -> None:
        self.core = core
        self.facts = facts
        self.phase = IDLE
        self.need = self.mechanism = self.layer = None
        self._exchange = NONE
        self._received = 0
        # What the client said first, or that it said nothing, until the mechanism has heard it.
        self._opening: tuple[bytes | None] | None = None
        self._stage = MECHANISM
        self._later = ()
        self._banned = None
        self.asks_store = asks_store
        self.asks_policy = asks_policy
        """Whether `NeedAuthorize` surfaces; otherwise everybody may act as themselves (G13)."""

    # --- the exchange ------------------------------------------------------------------

    def start(self, mechanism: str, initial: bytes | None = None) -> Need | Reply:
        """Begin. `initial`: the initial response, None if the client sent none (G5).

        Raises:
            UsageError: an attempt was made already.
            MechanismError: the mechanism is not for this connection, with the reason.
            SaslError: the exchange failed.
        """
        if (
            self.phase is not IDLE
            or (type(mechanism) is not str and not is_a(mechanism, str))
            or (type(initial) is not bytes and not is_a(initial, (bytes, NoneType)))
        ):
            failure: BaseException = sever(self._unstartable(mechanism, initial))
        else:
            self.phase = RUNNING
            try:
                core, facts = self.core, self.facts
                permit = core.permits.get((mechanism, facts.kind))
                if permit is None or self._banned is not None:
                    permit = self._permitted(mechanism)
                self._permit = permit
                self.mechanism = mechanism
                self._context = context = ServerContext(
                    core, facts, mechanism, permit.utils, permit.plus
                )
                self._exchange = exchange = Exchange(
                    permit.plug.converse(context), MECHANISM_NEEDS, Success, permit.base, context
                )
                need: Need | None
                if initial is None:
                    self._opening = (None,)
                    need = exchange.resume(None, STARTED)
                else:
                    self._received = 1
                    if permit.server_first or len(initial) > MESSAGE_LIMIT:
                        self._refuse_initial(permit, initial)
                    need = exchange.resume(None, STARTED)
                    if type(need) is NeedPeer and need.output is None:
                        # As every mechanism does that has the client first.
                        need = exchange.resume(initial)
                    else:
                        self._opening = (initial,)
                return self._pump(need)
            except BaseException as error:  # noqa: BLE001 - whatever it is, the exchange ends here.
                failure = self._failed(error)
        # This frame is in the traceback, and these hold what was said.
        initial = need = None
        exchange = NONE
        raise failure

    def valid(self) -> bool:
        """Whether what the login rests on still stands. UsageError (NOTDONE) before it is done."""
        _ = self._context_when_done()
        from sasl_core.negotiation.standing import stands

        return stands(self.core, self._context)

    def revalidation(self) -> Needs[SaslError | None]:
        """Checks again what the login rests on; returns why it was refused, or could not be.

        Whatever else than a success it comes to is audited. UsageError (NOTDONE) before it is
        done; one of the code "closed" is returned when the session was closed meanwhile.
        """
        _ = self._context_when_done()
        return self._revalidated()

    def _revalidated(self) -> Needs[SaslError | None]:
        from sasl_core.negotiation.standing import revalidate

        if self.phase is not DONE:
            # Begun after the session was closed, though made before that.
            return UsageError("the session is closed", code="closed")
        context = self._context
        user = self._user(context)
        failure = yield from revalidate(self.core, context, user)
        if failure is not None:
            # The frames that it went through hold the token.
            failure = sever(failure)
            context.seterror(failure.detail or str(failure))
            self._audit("revalidate", failure.result, user.authid, user.authzid, failure.detail)
        return failure

    def _unstartable(self, mechanism: object, initial: object) -> UsageError:
        """Why nothing is started."""
        try:
            check_data("an initial response", initial)
            check_text("mechanism's name", mechanism)
            self._begin()
        except UsageError as error:
            return error
        raise AssertionError  # pragma: no cover - one of the three has spoken.

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
        self._permit = None
        self._context = context = ServerContext(core, self.facts, "", utils)

        def body() -> Needs[Success]:
            return Success((yield from context.check_password(user, password)))

        self._exchange = exchange = Exchange(body(), MECHANISM_NEEDS, Success, "checkpass", context)
        return self._pump(exchange.start())

    def _refuse_initial(self, permit: Permit, initial: bytes) -> NoReturn:
        if len(initial) > MESSAGE_LIMIT:
            self._refuse_message(initial)
        raise PeerError(
            "remote sent first in server-first mechanism",
            code="initial-response-refused",
            detail=f"the client sent an initial response, and {permit.base} has the server first",
        )

    def _current(self) -> ServerContext | None:
        return getattr(self, "_context", None)

    def _heard_last(self, message: bytes) -> Need | Reply:
        if message:
            raise PeerError(
                "an empty response was due",
                code="last-response",
                detail="the client answered the server's last message with data",
            )
        context = self._context
        return self._finished(context, self._user(context))

    def _answered(self, need: Any, value: Any) -> Need | Reply:
        stage = self._stage
        if stage is AUTHORIZE:
            return self._authorized(value)
        if stage is LOOK_UP:
            return self._looked_up_more(need, value)
        if type(need) is NeedUser and stage is MECHANISM:
            user = self._user(self._context)
            user.found = value
            value = user
        return self._pump(self._exchange.resume(value))

    def _failed_to_answer(self, need: Need, error: SaslError) -> Need | Reply:
        stage = self._stage
        if stage is MECHANISM and type(need) is NeedUser:
            # Nothing was found out; should somebody else vouch for the user, it is asked again.
            self._user(self._context).requested = ()
        if stage is TRANSITION and isinstance(error, AuthenticationError):
            # The proof has been given; what a backend says now of itself refuses nobody.
            error = BackendError(detail=error.detail or str(error))
        if stage is MECHANISM or stage is TRANSITION:
            return super()._failed_to_answer(need, error)
        raise error

    def _pump(self, need: Need | None) -> Need | Reply:
        while need is not None:
            if type(need) is NeedPeer:
                output = need.output
                opening = self._opening
                if opening is not None:
                    self._opening = None
                    initial = opening[0]
                    if initial is not None:
                        if output is not None:
                            self._abandon("speaks before it has heard the initial response")
                        need = self._exchange.resume(initial)
                        continue
                if output is None:
                    output = b""
                elif type(output) is not bytes:
                    self._check_output(output)
                if self.phase is not RUNNING:
                    self._closed_meanwhile()
                self.phase = PEER
                return Reply(output, False)
            if self._stage is MECHANISM:
                if type(need) is NeedUser:
                    need = self._look_up(need)
                    if self.phase is ASKING and need is not None:
                        return need
                    continue
                if type(need) is NeedInitial:
                    opening = self._opening
                    if opening is None:
                        why = "asks for the initial response in the middle of an exchange"
                        raise PluginError(self.mechanism or "?", "", why, code="plugin-fault")
                    self._opening = None
                    need = self._exchange.resume(opening[0])
                    continue
                if type(need) is NeedDerivation:
                    self._count_derivation()
                elif type(need) is NeedCallback:
                    self._abandon("asks for callbacks, which a server has none of")
            return self._surface(need)
        return self._completed()

    # --- the end ----------------------------------------------------------------------------

    def _completed(self) -> Need | Reply:
        """The body that ran is through: the mechanism's, or that of auto_transition."""
        context = self._context
        if self._stage is TRANSITION:
            if self._final is None or self.facts.success_data:
                return self._finished(context, self._user(context))
            return self._last()
        success = self._exchange.result
        if success is None:  # pragma: no cover - the exchange has checked it.
            self._abandon("ended without a Success")
        verified = success.verified
        if type(verified) is not Verified:
            self._abandon("returned a Success without a Verified")
        user = verified.user
        if verified.origin is not context or user is not context.user:
            context.refuse("the Verified is of another exchange", result=Result.FAIL)
        token = user.token
        if token is not None:
            # Here and nowhere else: what was accepted and then not used vouches for nobody.
            context.token, user.token = token, None
            if token.needs_account:
                same = user.authid == user.authzid
                self._later += ("*" + ROLES, ROLES) if same else ("*" + ROLES,)
        self._how = verified.how
        self._final = data = success.data
        if success.layer is not None or (data is not None and type(data) is not bytes):
            self._take_over(success)
        self._exchange = NONE
        if (
            # Verified elsewhere: the store may have locked the account.
            (user.found.result is _NOVERIFY and self.core.keeps_accounts)
            or user.authzid != user.authid
            or self._later
            or self.facts.properties
            or self.facts.need_account
        ) and not verified.anonymous:
            self._due = self._look_ups(user)
            return self._next_look_up(user)
        if self.asks_policy or verified.anonymous:
            return self._ask_policy(user)
        # Both identities are the same, and everybody may act as themselves (G13).
        return self._permitted_to_act(context, user)

    def _ask_policy(self, user: User) -> Need | Reply:
        self._stage = AUTHORIZE
        if self.asks_policy:
            return self._surface(NeedAuthorize(user.authid, user.authzid, user.properties))
        if default_decision(user.authid, user.authzid) is _PERMIT:
            return self._permitted_to_act(self._context, user)
        return self._authorized(Decision.DENY)

    def _authorized(self, decision: Decision) -> Need | Reply:
        context = self._context
        user = self._user(context)
        if decision is not _PERMIT:
            context.refuse(
                f"{user.authid!r} may not act as {user.authzid!r}", result=Result.NOAUTHZ
            )
        return self._permitted_to_act(context, user)

    def _permitted_to_act(self, context: ServerContext, user: User) -> Need | Reply:
        """The policy is asked, and agrees; what the connection demands is checked once more."""
        permit = self._permit
        # A password that came by another way has no connection to be weak.
        if permit is not None:
            if permit.must_bind and context.bound is None:
                context.refuse(
                    "the exchange ended without channel binding, which is required",
                    result=Result.BADBINDING,
                )
            if permit.falls_short or self.layer is not None:
                self._check_strength(context)
        password = context.verified_password
        if password is not None:
            context.verified_password = None
            self._stage = TRANSITION
            body = self._transition(user.authid, password)
            self._exchange = Exchange(body, GLUE_NEEDS, Success, "auto_transition", context)
            return self._pump(self._exchange.start())
        if self._final is None or self.facts.success_data:
            return self._finished(context, user)
        return self._last()

    def _check_strength(self, context: ServerContext) -> None:
        problem = self._strength_problem()
        if problem is not None:
            context.refuse(problem, result=Result.TOOWEAK)

    def _last(self) -> Reply:
        """Everything is proved and permitted; the server's last data have to go first (G6)."""
        self._exchange = NONE
        final, self._final = self._final, None
        self._enter(LAST)
        return Reply(final, False)

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

    def _finished(self, context: ServerContext, user: User) -> Reply:
        if self.phase is not RUNNING:
            self._closed_meanwhile()
        self.phase = DONE
        final = self._final
        # A mechanism may have ended without hearing the initial response.
        self._final = self._opening = None
        self._exchange = NONE
        core = self.core
        if core.listeners or (core.may_log_success and core.logs(INFO)):
            self._audit(None, _OK, user.authid, user.authzid, context.detail)
        context.forget(keep=True)
        return Reply(final, True)

    def close(self) -> None:
        waiting = self.phase is PEER
        super().close()
        context = self._current()
        if context is not None:
            # What a login rested on ends with its session.
            context.token = None
            error = context.error
            if waiting and error is not None:
                # The client left when it heard why it is refused: it was refused all the same.
                context.seterror(error.detail or str(error))
                self._report(error)

    def _drop(self) -> None:
        super()._drop()
        self._opening = self._final = None
        context = self._current()
        if context is not None:
            context.forget(keep=False)

    def _report(self, error: SaslError) -> None:
        context = self._current()
        user = None if context is None else context.user
        result, detail = error.result, error.detail
        if context is not None and context.true_result is not None:
            result = context.true_result
        if error.code != error.default_code:
            # What the pages of documentation are keyed by.
            detail = f"{error.code}: {detail}" if detail else error.code
        self._audit(
            None,
            result,
            None if user is None else user.authid,
            None if user is None else user.authzid,
            detail,
        )

    def _audit(
        self,
        kind: str | None,
        result: Result,
        authid: str | None,
        authzid: str | None,
        detail: str | None,
    ) -> None:
        """Record an event; `kind` None: this exchange's own."""
        self.core.audit(
            getattr(self, "_kind", "login") if kind is None else kind,
            result,
            self.mechanism or "",
            authid,
            authzid,
            getattr(self, "_how", ""),
            self.facts.remote or "",
            detail,
        )


_OK, _NOVERIFY = Result.OK, Result.NOVERIFY
_PERMIT, _REQUIRE = Decision.PERMIT, BindingPolicy.REQUIRE


def default_decision(authid: str, authzid: str) -> Decision:
    """Without a proxy policy: everybody may act as themselves (G13)."""
    return Decision.PERMIT if authid == authzid else Decision.DENY
