"""Work that is done again and again (`SaslUtils.every`)."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from sasl_core.plugs import Needs

__all__ = ["Job"]


class Job:
    """What to run, and how often in seconds. `due` is on the monotonic clock.

    `waits`: it may wait for the net, so nobody's session waits for it.
    """

    __slots__ = ("_lock", "body", "due", "seconds", "waits")

    def __init__(
        self,
        seconds: float,
        body: Callable[[], Needs[object]],
        due: float,
        *,
        waits: bool = False,
    ) -> None:
        self.seconds = seconds
        self.body = body
        self.due = due
        self.waits = waits
        self._lock = threading.Lock()

    def take(self, now: float) -> bool:
        """Whether it is due; whoever is told so runs it, and nobody else does."""
        with self._lock:
            if self.due > now:
                return False
            self.due = now + self.seconds
            return True
