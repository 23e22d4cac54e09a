"""Things that are made once, whoever asks first."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, TypeVar, cast

from sasl_core.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable

__all__ = ["Once"]

T = TypeVar("T")


class Once:
    """A table of values, each made at its first use under one lock (`lock`, if given).

    A maker may ask for another value of the same table, but not for its own. Values
    with a `close()` are closed with the table, the last made first.
    """

    def __init__(self, lock: threading.RLock | None = None) -> None:
        self._values: dict[Hashable, object] = {}
        self._making: list[Hashable] = []
        self._lock = threading.RLock() if lock is None else lock
        self._closed = False

    def get(self, key: Hashable, make: Callable[[], T]) -> T:
        """The value of `key`, made by `make` if it is the first to ask.

        Raises:
            UsageError: `make` needs its own value (a cycle, named), or the table is closed.
        """
        try:
            return cast("T", self._values[key])
        except KeyError:
            pass
        with self._lock:
            if key in self._values:
                return cast("T", self._values[key])
            if self._closed:
                raise UsageError("it is closed", code="closed")
            if key in self._making:
                chain = " -> ".join(str(item) for item in [*self._making, key])
                raise UsageError(f"a cycle: {chain}", code="cycle", detail=f"a cycle: {chain}")
            self._making.append(key)
            try:
                value = make()
            finally:
                _ = self._making.pop()
            self._values[key] = value
            return value

    def close(self) -> list[Exception]:
        """Close every value; returns what went wrong. Idempotent."""
        with self._lock:
            self._closed = True
            values, self._values = list(self._values.values()), {}
        failures: list[Exception] = []
        for value in reversed(values):
            close = getattr(value, "close", None)
            if callable(close):
                try:
                    _ = close()
                except Exception as error:  # noqa: BLE001 - one failure must not keep others open.
                    failures.append(error)
        return failures
