"""What both runners do alike with a need and with an application's answer to it."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

from sasl_core.errors import BackendError, PluginError, SaslError, UsageError
from sasl_core.flags import Decision
from sasl_core.needs import (
    HttpResponse,
    NeedCall,
    NeedDerivation,
    NeedHttp,
    NeedPassword,
    NeedStore,
    NeedUser,
    PasswordAnswer,
)
from sasl_core.results import Result

__all__ = [
    "application_answer",
    "check_body_need",
    "http_answer",
    "no_transport",
    "outcome",
    "policy_decision",
]

if TYPE_CHECKING:
    from sasl_core.plugs import Needs

R = TypeVar("R")

BODY_NEEDS = (NeedCall, NeedDerivation, NeedHttp, NeedPassword, NeedStore, NeedUser)


def check_body_need(need: object) -> None:
    """Hold a store, a method or a write to what it may ask: no peer, no policy, no prompts.

    Raises:
        PluginError: it asks for something else.
    """
    if not isinstance(need, BODY_NEEDS):
        raise PluginError(
            "store or method", "", f"asks for {type(need).__name__}, which is not for it to ask"
        )


def policy_decision(answer: object) -> Decision:
    """An application's decision, which must be one: a bool would make `True` out of a slip."""
    if not isinstance(answer, Decision):
        raise UsageError(
            f"the authorize callback returned {type(answer).__name__}; "
            "return Decision.PERMIT or Decision.DENY"
        )
    return answer


def application_answer(answer: object) -> PasswordAnswer:
    """An application's word on a password: a `Result`, or a `PasswordAnswer` with a detail."""
    if isinstance(answer, Result):
        return PasswordAnswer(answer)
    if isinstance(answer, PasswordAnswer):
        return answer
    raise UsageError(
        f"the checkpass callback returned {type(answer).__name__}; return a Result "
        "(OK, BADAUTH, NOUSER, DISABLED, or NOVERIFY to ask the configured methods)"
    )


def no_transport() -> BackendError:
    """The error for a plugin that needs HTTP where the application gave no transport."""
    return BackendError(
        code="no-http",
        temporary=False,
        detail="a plugin needs HTTP; give http= to the Server or Client",
    )


def http_answer(answer: object) -> HttpResponse:
    """A transport's answer."""
    if not isinstance(answer, HttpResponse):
        raise UsageError(f"the http transport returned {type(answer).__name__}")
    return answer


def outcome(body: Needs[R]) -> Needs[tuple[R, None] | tuple[None, SaslError]]:
    """What `body` returns, or the error of ours that it raises.

    To a runner whatever is raised is an outage, since it runs the bodies of stores; whoever runs
    a body of their own wants to know of a refusal too.
    """
    try:
        return (yield from body), None
    except SaslError as error:
        return None, error
