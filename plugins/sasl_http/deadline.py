"""One moment for everything that a request takes."""

from __future__ import annotations

from time import monotonic

__all__ = ["Deadline"]


class Deadline:
    """The moment `seconds` from now, and what is being done meanwhile, for the error's detail."""

    __slots__ = ("_end", "doing", "seconds")

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self.doing = ""
        self._end = monotonic() + seconds

    def left(self) -> float:
        """The seconds that are left: more than none.

        Raises:
            TimeoutError: there are none.
        """
        left = self._end - monotonic()
        if left <= 0:
            raise TimeoutError
        return left
