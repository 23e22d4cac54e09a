"""The client's side of a negotiation.

The mechanism is chosen by our own order of preference; the order of the server's list
does not matter (G3). A server is believed when the mechanism says so: `finish`, called
on the protocol's own success message, fails unless the mechanism is satisfied.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NoReturn

from sasl_core._checks import is_a
from sasl_core.choice import CACHED_LENGTH, in_order, split_names
from sasl_core.context import ClientContext
from sasl_core.edge import call, sever
from sasl_core.errors import (
    AuthenticationError,
    MechanismError,
    PeerError,
    PluginError,
    UsageError,
    printable,
)
from sasl_core.exchange import STARTED, Exchange
from sasl_core.flags import BindingPolicy, DowngradePolicy, Feature, SecurityFlag
from sasl_core.names import PLUS, base_name
from sasl_core.needs import (
    NeedCallback,
    NeedDerivation,
    NeedInitial,
    NeedPassword,
    NeedPeer,
    NeedStore,
    NeedUser,
    NeedVerdict,
    PromptId,
)
from sasl_core.negotiation.base import (
    DONE,
    IDLE,
    LAST,
    MECHANISM_NEEDS,
    MESSAGE_LIMIT,
    MESSAGES_LIMIT,
    NONE,
    PEER,
    RUNNING,
    THROUGH,
    Negotiation,
    Phase,
    Reply,
    check_data,
)
from sasl_core.outcome import Success, VerifiedPeer
from sasl_core.results import Result

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from sasl_core.core import ClientCore
    from sasl_core.core.base import Permit
    from sasl_core.errors import SaslError
    from sasl_core.facts import Facts
    from sasl_core.needs import Need, Prompt
    from sasl_core.plugs import ClientPlug

__all__ = ["ClientNegotiation"]

# A client has no users to look up and no passwords to check.
CLIENT_NEEDS = MECHANISM_NEEDS - {NeedInitial, NeedUser, NeedPassword, NeedStore} | {NeedVerdict}
USER, TOKEN, _REQUIRE = PromptId.USER, PromptId.TOKEN, BindingPolicy.REQUIRE
_ONLY_TEXT = frozenset({str})
FINISHABLE = frozenset({PEER, LAST, THROUGH, DONE})


class ClientNegotiation(Negotiation):
    """One attempt to authenticate to a server.

    `answers`: what is known beforehand of the prompts, each a string or a callable that
    is asked when a mechanism asks. `interactive`: whether the rest can be asked, that
    is, whether a `NeedCallback` that surfaces will find an answer.
    """

    __slots__ = (
        "_answers",
        "_asked",
        "_context",
        "_held",
        "_interactive",
        "_over",
        "_permit",
        "_spoken",
        "_verdict",
        "rejected",
    )

    core: ClientCore

    def __init__(
        self,
        core: ClientCore,
        facts: Facts,
        answers: Mapping[PromptId, str | Callable[[Prompt], str]],
        *,
        interactive: bool = False,
    ) -> None:
        self.core = core  # pyright: ignore[reportIncompatibleVariableOverride] - a side's own core
        self.facts = facts
        self.phase = IDLE
        self.need = self.mechanism = self.layer = None
        self._exchange = NONE
        self._received = 0
        self._context: ClientContext | None = None
        self._permit: Permit | None = None
        self._answers = dict(answers)
        self._asked: tuple[str | None, ...] = ()
        self._interactive = interactive
        # Our first message, until the server has sent the empty one that asks for it.
        self._held: bytes | None = None
        self._spoken = False
        # Whether the protocol's success is an answer to what was asked last.
        self._verdict = False
        # The protocol has declared success; the mechanism still hears what came with it.
        self._over = False
        self.rejected: dict[str, str] = {}
        """Why the mechanisms that were passed over were; complete when none fits."""

    # --- choice ---------------------------------------------------------------------

    def _choose(self, offered: tuple[str, ...]) -> str:
        """The first of ours that fits; the same each time for the same question."""
        core, answers = self.core, self._answers
        key = (offered, self.facts.kind, self._interactive, bool(answers.get(USER)), *answers)
        name, rejected = core.chosen.get(key) or ("", None)
        if rejected is None:
            name = self._choose_anew(offered)
            # An offer comes from a peer: only short ones are worth a place.
            if len(offered) + sum(map(len, offered)) <= CACHED_LENGTH:
                core.remember(key, name, self.rejected)
        elif rejected:
            self.rejected.update(rejected)
        return name

    def _choose_anew(self, offered: tuple[str, ...]) -> str:
        core = self.core
        facts = self.facts
        rejected = self.rejected
        bases = set(map(base_name, offered))
        installed = core.registry.names("mechanisms")
        plugs: list[ClientPlug] = []
        for base in sorted(bases & set(installed)):
            try:
                plugs.append(core.mechanism(base))
            except PluginError as error:
                rejected[base] = str(error)
        by_name = {plug.name: plug for plug in plugs}
        for name in in_order(plugs, core.wanted):
            if name not in offered:
                continue
            plug = by_name[base_name(name)]
            why = core.refusal(name, facts)
            reason = self._own_reason(plug) if why is None else why.reason
            if reason is None:
                return name
            rejected[name] = reason
        for name in offered:
            if name not in rejected and base_name(name) not in rejected:
                why = core.refusal(name, facts)
                rejected[printable(name, 40)] = "it was passed over" if why is None else why.reason
        if facts.binding_policy is BindingPolicy.REQUIRE and not any(
            name.endswith(PLUS) for name in offered
        ):
            _ = rejected.setdefault("*" + PLUS, "channel binding is required, and none was offered")
        listed = "; ".join(f"{name}: {reason}" for name, reason in list(rejected.items())[:20])
        raise MechanismError(
            f"no mechanism fits ({listed or 'the server offered none'})", reasons=rejected
        )

    def _own_reason(self, plug: ClientPlug) -> str | None:
        named = self._answers.keys() & {PromptId.AUTHNAME, PromptId.PASS}
        if (
            named
            and not plug.security_flags & SecurityFlag.NOANONYMOUS
            and plug.name not in (self.core.wanted or ())
        ):
            # Whoever says who they are does not want to be nobody.
            return "a user was named; leave the name out, or put it into client_mech_list"
        if (
            self.core.options.scram_downgrade_protection is DowngradePolicy.REQUIRE
            and not plug.security_flags & SecurityFlag.NOPLAINTEXT
            and plug.name not in (self.core.wanted or ())
        ):
            # Whoever changes the offer leaves nothing but this, and has the password.
            return (
                "it sends the password, and scram_downgrade_protection is require; "
                "put it into client_mech_list to use it all the same"
            )
        if plug.features & Feature.NEEDSERVERFQDN and "." not in self.core.host:
            return f"it needs the server's full name, and {self.core.host!r} is none"
        if self._answers.get(PromptId.USER) and not plug.features & Feature.ALLOWS_PROXY:
            return "it cannot carry an authorization identity"
        if not self._interactive:
            missing = [
                p.name
                for p in plug.required_prompts
                if p not in self._answers and not (p is TOKEN and self._has_tokens())
            ]
            if missing:
                return f"nobody can answer its prompts: {', '.join(missing)}"
        return None

    def _has_tokens(self) -> bool:
        try:
            return self.core.credentials() is not None
        except PluginError as error:
            # Whoever names a source wants its tokens; that it is out of order is said aloud.
            self.core.log_failure("credentials", error)
            return False

    # --- the exchange -----------------------------------------------------------------

    def start(self, offered: str | Iterable[str]) -> Need | Reply:
        """Choose among the mechanisms that the server offers, and begin.

        `offered` is the server's list, as names or as its own text. Afterwards
        `mechanism` is the name to send, -PLUS included.

        Raises:
            MechanismError: none fits; `reasons` says why, for each.
            UsageError: an attempt was made already.
            SaslError: the exchange failed.
        """
        self._begin()
        try:
            core, facts = self.core, self.facts
            names = split_names(offered)
            self.mechanism = name = self._choose(names)
            permit = core.permits.get((name, facts.kind)) or core.permit(name, facts)
            if permit is None:
                # It was permitted when the choice was made that is remembered.
                core.chosen.clear()
                self.mechanism = name = self._choose(names)
                permit = core.permit(name, facts)
            if permit is None:  # pragma: no cover - it was chosen because it is permitted.
                self._abandon("is neither permitted nor refused")
            self._permit = permit
            self._context = context = ClientContext(
                core, facts, name, permit.utils, names, permit.plus, TOKEN in self._answers
            )
            self._exchange = exchange = Exchange(
                permit.plug.converse(context), CLIENT_NEEDS, Success, permit.base, context
            )
            return self._pump(exchange.resume(None, STARTED))
        except BaseException as error:  # noqa: BLE001 - whatever it is, the exchange ends here.
            failure = self._failed(error)
        # This frame is in the traceback, and the exchange holds what would have been said.
        exchange = NONE
        raise failure

    def finish(self, data: bytes | None = None) -> Need | Reply:
        """The protocol says that authentication succeeded; `data` came with its message.

        Raises:
            AuthenticationError: the mechanism is not satisfied: the server has not
                proved itself (BADSERV), or stopped in the middle.
            PeerError: data that the mechanism does not expect.
        """
        failure: BaseException
        phase = self.phase
        if phase is THROUGH and data is None:
            self.phase = DONE
            self._unhook()
            return Reply(None, True)
        try:
            check_data("success data", data)
            if phase not in FINISHABLE:
                raise self._out_of_order("there is nothing to finish")
        except UsageError as error:
            failure = sever(error)
        else:
            self.phase = RUNNING
            try:
                return self._finish(data, phase)
            except BaseException as error:  # noqa: BLE001 - whatever it is, the exchange ends here.
                failure = self._failed(error)
        data = None
        raise failure

    def _finish(self, data: bytes | None, phase: Phase) -> Need | Reply:
        if phase is THROUGH or phase is DONE:
            if data:
                self._refuse_success_data()
            self._enter(DONE)
            self._unhook()
            return Reply(None, True)
        if self._verdict and phase is PEER:
            if data:
                self._refuse_success_data()
            self._over = True
            return self._pump(self._exchange.resume(None))
        if data is None or phase is LAST:
            raise AuthenticationError(
                code="server-not-verified",
                result=Result.BADSERV,
                detail="the server declared success before the mechanism was through",
            )
        self._received += 1
        if len(data) > MESSAGE_LIMIT or self._received > MESSAGES_LIMIT:
            self._refuse_message(data)
        self._over = True
        return self._pump(self._exchange.resume(data))

    @staticmethod
    def _refuse_success_data() -> NoReturn:
        raise PeerError(
            "unexpected data with success",
            code="success-data",
            detail="the server sent data with its success, and the mechanism expects none",
        )

    def refused(self) -> bool:
        """The protocol says that the login failed; whether it makes sense to try once more.

        Only a mechanism that sent something out of a cache says so, and only once for it.
        """
        hook = getattr(self._context, "refused_hook", None)
        return hook is not None and bool(call("what follows a refusal", hook))

    def _current(self) -> ClientContext | None:
        return self._context

    def _heard_last(self, message: bytes) -> Need | Reply:
        held, self._held = self._held, None
        if message:
            raise PeerError(
                "the server was to send an empty challenge",
                code="first-challenge",
                detail="a challenge with data where the client speaks first",
            )
        if self._exchange is NONE:
            return self._through(held)
        self._enter(PEER)
        return Reply(held, False)

    def _answered(self, need: Any, value: Any) -> Need | Reply:
        if type(need) is NeedCallback:
            value = self._merge(value, need.prompts)
        return self._pump(self._exchange.resume(value))

    def _pump(self, need: Need | None) -> Need | Reply:
        while need is not None:
            if type(need) is NeedPeer or type(need) is NeedVerdict:
                if self._over:
                    self._over_already()
                self._verdict = type(need) is NeedVerdict
                output: bytes | None = need.output
                if output is not None and type(output) is not bytes:
                    self._check_output(output)
                self._enter(PEER)
                if output is not None and self._received == 0 and not self._spoken:
                    self._speak_first()
                    if not self.facts.initial_response:
                        self._held = output
                        self.phase = LAST
                        return Reply(None, False)
                elif output is None and self._received:
                    output = b""
                return Reply(output, False)
            if type(need) is NeedCallback:
                known = self._known(need.prompts)
                if None not in known:
                    need = self._exchange.resume(known)
                    continue
                rest = tuple(p for p, a in zip(need.prompts, known, strict=True) if a is None)
                if not self._interactive:
                    names = ", ".join(prompt.id.name for prompt in rest)
                    raise UsageError(
                        f"the mechanism asks for {names}, and nobody answers: give it to "
                        "session(), or give interact=",
                        code="no-answer",
                    )
                self._asked = known
                return self._surface(NeedCallback(rest))
            if type(need) is NeedDerivation:
                self._count_derivation()
            return self._surface(need)
        return self._completed()

    def _over_already(self) -> NoReturn:
        """The mechanism has more to say; after the protocol's success it has not."""
        raise PeerError(
            "success in the middle of the exchange",
            code="success-data",
            detail="the server declared success, and the mechanism has more to say",
        )

    def _speak_first(self) -> None:
        """Note the first message of ours that goes before any of the server's (G5)."""
        self._spoken = True
        if self._permit is not None and self._permit.server_first:
            self._abandon("speaks before the server, although it has the server first")

    # --- prompts ------------------------------------------------------------------------

    def _known(self, prompts: tuple[Prompt, ...]) -> tuple[str | None, ...]:
        """The answers that need nobody to be asked, in the order of the prompts."""
        given: Mapping[PromptId, Any] = self._answers
        if not self._interactive:
            # Nearly always texts that were given beforehand, or that have a default.
            texts: list[Any] = [given.get(prompt.id, prompt.default) for prompt in prompts]
            if _ONLY_TEXT.issuperset(map(type, texts)):
                return tuple(texts)
        known: list[str | None] = []
        for prompt in prompts:
            answer: Any = given.get(prompt.id)
            if answer is None:
                if not self._interactive:
                    answer = prompt.default
            elif type(answer) is not str:
                if callable(answer):
                    answer = call(f"the answer to {prompt.id.name}", answer, prompt)
                if not is_a(answer, str):
                    raise UsageError(f"the answer to {prompt.id.name} is not a string")
            known.append(answer)
        return tuple(known)

    def _merge(self, rest: tuple[Any, ...], prompts: tuple[Prompt, ...]) -> tuple[str, ...]:
        """All answers in the order of the mechanism's prompts; `rest` are those to `prompts`."""
        asked, self._asked = self._asked, ()
        if len(rest) != asked.count(None) or not all(isinstance(item, str) for item in rest):
            raise UsageError(f"{asked.count(None)} answers were due, all of them strings")
        answers = (
            prompt.default if answer == "" and prompt.default is not None else answer
            for prompt, answer in zip(prompts, rest, strict=True)
        )
        return tuple(next(answers) if answer is None else answer for answer in asked)

    # --- the end ---------------------------------------------------------------------------

    def _completed(self) -> Reply:
        context, permit = self._context, self._permit
        success = self._exchange.result
        if success is None or context is None or permit is None:  # pragma: no cover - they are set.
            self._abandon("ended without a Success")
        data = success.data
        if success.layer is not None or (data is not None and type(data) is not bytes):
            self._take_over(success)
        if context.user is None:
            self._abandon("ended without canon_user")
        peer = success.peer
        if peer is None:
            if permit.mutual_auth:
                self._abandon("promises mutual authentication, and returned no verified peer")
        elif type(peer) is not VerifiedPeer or peer.origin is not context:
            self._abandon("returned a verified peer of another exchange")
        if permit.must_bind and context.bound is None:
            context.refuse("the exchange ended without channel binding", result=Result.BADBINDING)
        if permit.falls_short or self.layer is not None:
            self._check_strength(context)
        if data is not None and self._over:
            self._over_already()
        self._exchange = NONE
        if self._received == 0 and data is not None and not self._spoken:
            self._speak_first()
            if not self.facts.initial_response:
                self._held = data
                self._enter(LAST)
                return Reply(None, False)
        elif data is None and self._received and not self.facts.success_data and not self._over:
            # G8: the server's last message was a challenge, and is owed an answer.
            data = b""
        return self._through(data)

    def _check_strength(self, context: ClientContext) -> None:
        problem = self._strength_problem()
        if problem is not None:
            context.refuse(problem, result=Result.TOOWEAK)

    def _through(self, data: bytes | None) -> Reply:
        """The mechanism is satisfied; whether the server is, its protocol will say."""
        if self.phase is not RUNNING:
            self._closed_meanwhile()
        self.phase = DONE if self._over else THROUGH
        if self._over:
            self._unhook()
        self._exchange = NONE
        self._forget()
        return Reply(data, True)

    def _forget(self) -> None:
        """Let go of the answers, the password among them."""
        self._answers.clear()
        self._asked = ()
        self._held = None

    def _unhook(self) -> None:
        """Nobody will say any more that the login failed."""
        context = self._context
        if context is not None and hasattr(context, "refused_hook"):
            del context.refused_hook

    def close(self) -> None:
        super().close()
        self._unhook()

    def _drop(self) -> None:
        super()._drop()
        self._forget()

    def _report(self, error: SaslError) -> None:
        self.core.log_refusal(self.mechanism, error)
