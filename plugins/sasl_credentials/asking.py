"""Calling a function of the application: whatever it raises becomes an error of ours.

A plain function runs where it may block; a coroutine function needs the asyncio door.
"""

from __future__ import annotations

from functools import partial
from inspect import isawaitable, iscoroutine, iscoroutinefunction
from typing import TYPE_CHECKING, TypeAlias, TypeVar, cast

from sasl_core.plugin import BackendError, Blocking, NeedCall, SaslError, UsageError, raised, sever

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from sasl_core.plugin import Needs

    A = TypeVar("A")
    Function: TypeAlias = Callable[[A], object] | Callable[[A], Awaitable[object]]

__all__ = ["ask"]


def ask(function: Function[A], argument: A, what: str, deadline: float) -> Needs[object]:
    """What `function(argument)` returns. `what` the function is stands in errors.

    A coroutine function is called off after `deadline` seconds; a plain one cannot be.

    Raises:
        SaslError: the function raised it.
        BackendError: it raised something else (code "callback-failed"; of it the type and the
            place are told), or took too long (code "timeout").
        UsageError: it is a coroutine function, and there is no event loop; or it is a plain
            one that returns what has to be awaited.
    """
    if iscoroutinefunction(function) or iscoroutinefunction(
        getattr(function, "__call__", None)  # noqa: B004 - asked for what it is, not whether.
    ):
        later = partial(_ask_async, function, argument, what, deadline)
        return (yield from NeedCall(partial(_no_loop, what), Blocking.REMOTE, later))
    return (yield from NeedCall(partial(_ask, function, argument, what), Blocking.REMOTE))


def _no_loop(what: str) -> object:
    raise UsageError(f"the {what} is a coroutine function, which needs sasl_core.aio")


def _ask(function: Function[A], argument: A, what: str) -> object:
    try:
        answer = function(argument)
    except SaslError:
        raise
    except Exception as error:  # noqa: BLE001 - the text of a foreign error may hold a secret.
        told = _told(error, argument)
    else:
        if not isawaitable(answer):
            return answer
        if iscoroutine(answer):
            answer.close()
        # Taken for an answer it would count as yes, and nothing would ever run.
        raise UsageError(
            f"the {what} is a plain function that returned what has to be awaited; "
            "declare it with async def, and use sasl_core.aio"
        )
    raise _failed(what, told)


async def _ask_async(function: Function[A], argument: A, what: str, deadline: float) -> object:
    import asyncio

    limit = asyncio.timeout(deadline)
    try:
        async with limit:
            return await cast("Awaitable[object]", function(argument))
    except SaslError:
        raise
    except Exception as error:  # noqa: BLE001 - the text of a foreign error may hold a secret.
        told = _told(error, argument)
    if limit.expired():
        took = f"the {what} took longer than {deadline:g} s"
        raise BackendError(code="timeout", detail=took)
    raise _failed(what, told)


def _told(error: Exception, argument: object) -> str:
    """The type of a foreign error, and the place that it came from; of its text nothing."""
    told = raised(error, __file__)
    if " at " not in told:
        told += f", when it was called with a {type(argument).__name__}"
    _ = sever(error)
    return told


def _failed(what: str, told: str) -> BackendError:
    # Not temporary, for nobody knows that; a function that does raises a BackendError itself.
    detail = f"the {what} raised {told}"
    return BackendError(code="callback-failed", detail=detail, temporary=False)
