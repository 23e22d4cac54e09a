"""The edge: what is done to every error on its way out.

An exception carries more than its message: frames, whose locals hold the peer's message
with the password in it, and other exceptions, some of whose texts hold it too. All of
that is cut here, once, for every driver.
"""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, TypeVar

from sasl_core.errors import (
    BackendError,
    ConfigError,
    PluginError,
    SaslError,
    UsageError,
    printable,
)
from sasl_core.needs import NeedPassword, NeedStore, NeedUser

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType

__all__ = ["backend_failure", "call", "clear_frames", "raised", "sever"]

E = TypeVar("E", bound=BaseException)

# Needs that somebody else's look-up or write meets, and what that may say of itself.
STORES = (NeedUser, NeedStore, NeedPassword)
OUTAGES = (BackendError, ConfigError, PluginError, UsageError)
R = TypeVar("R")


def clear_frames(traceback: TracebackType | None) -> None:
    """Drop the locals of every frame that has ended."""
    while traceback is not None:
        # A frame that still runs belongs to whoever handles the error, and refuses.
        with suppress(RuntimeError):
            traceback.tb_frame.clear()
        traceback = traceback.tb_next


def sever(error: E, outer: BaseException | None = None) -> E:
    """Return `error` without frames, cause or context; foreign causes are named in its detail.

    `outer`: what the caller was handling already when it called us. It is no cause, and stays as
    it is: whoever handles it may raise it again. If it is `error` itself that was raised once
    more, it is cut: the frames that it has gathered are ours.
    """
    if outer is error:
        outer = None
    pending: list[BaseException] = [error]
    seen: set[int] = set() if outer is None else {id(outer)}
    types: list[str] = []
    while pending:
        item = pending.pop()
        if id(item) in seen:
            continue
        seen.add(id(item))
        clear_frames(item.__traceback__)
        pending += [e for e in (item.__cause__, item.__context__) if e is not None]
        if not isinstance(item, SaslError):
            types.append(type(item).__name__)
        item.__traceback__ = None
        if item is not error:
            item.__cause__ = item.__context__ = None
    error.__cause__ = error.__context__ = None
    if types and isinstance(error, SaslError):
        note = "caused by " + ", ".join(types)
        detail = error.detail
        if detail is None and str(error) != error.default_message:
            # A message that says what was wrong is as good as a detail.
            detail = str(error)
        error.detail = note if detail is None else f"{detail} <- {note}"
    return error


def backend_failure(need: object, error: Exception) -> SaslError:
    """The error of ours that stands for what a backend raised when `need` was supplied.

    What a store or a method says of its own logins or peers is an outage to whoever asked
    it, and never "wrong password".
    """
    if isinstance(error, SaslError):
        if isinstance(need, STORES) and not isinstance(error, OUTAGES):
            detail = f"{type(need).__name__} could not be met: {error.detail or error}"
            return BackendError(detail=detail)
        return error
    _ = sever(error)
    return BackendError(detail=f"{type(need).__name__} could not be met: {type(error).__name__}")


def call(what: str, function: Callable[..., R], *arguments: object) -> R:
    """Call the application's `function`, which `what` names in errors.

    Raises:
        BackendError: it raised what is not of our family; only the type is told.
    """
    try:
        return function(*arguments)
    except SaslError:
        raise
    except Exception as error:  # noqa: BLE001 - the text of a foreign error may hold a secret.
        kind = type(sever(error)).__name__
    raise BackendError(code="application-failed", detail=f"{what} could not be had: {kind}")


def raised(error: BaseException, caller: str) -> str:
    """The type of a foreign error and the place that it came from; nothing of its text.

    "ValueError at app.py:12 in answer". `caller`: the `__file__` of whoever called what raised,
    whose own lines are no place; where there is no other, the type stands alone. What is
    printed is not the error's text, which may hold a secret.
    """
    place = ""
    traceback = error.__traceback__
    while traceback is not None:
        code = traceback.tb_frame.f_code
        if code.co_filename != caller:
            file = code.co_filename.replace("\\", "/").rpartition("/")[2]
            place = f" at {printable(file, 64)}:{traceback.tb_lineno} in {printable(code.co_name)}"
        traceback = traceback.tb_next
    return f"{printable(type(error).__name__)}{place}"
