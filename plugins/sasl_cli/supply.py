"""The needs of a store, or of a mechanism that makes secrets, supplied here and now."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar, cast

from sasl_core.plugin import BackendError, NeedCall, NeedDerivation, derive

if TYPE_CHECKING:
    from collections.abc import Generator

    from sasl_core import Need

__all__ = ["supply"]

T = TypeVar("T")


def supply(body: Generator[Need, object, T]) -> T:
    """Run a generator whose needs are calls and derivations of its own.

    Raises:
        BackendError: it needs something else, which only a login has.
    """
    answer: object = None
    failure: BaseException | None = None
    while True:
        try:
            need = body.send(answer) if failure is None else body.throw(failure)
        except StopIteration as end:
            return cast("T", end.value)
        answer, failure = None, None
        try:
            if isinstance(need, NeedDerivation):
                answer = derive(need.hash, need.password, need.salt, need.iterations)
            elif isinstance(need, NeedCall):
                answer = need.function()
            else:
                body.close()
                break
        except Exception as error:  # noqa: BLE001 - it is the generator's to deal with.
            failure = error
    raise BackendError(
        f"what needs {type(need).__name__} cannot be asked from the command line", temporary=False
    )
