"""How much of the processor something takes, the garbage collector apart."""

from __future__ import annotations

import gc
import time
from collections.abc import Iterator
from contextlib import contextmanager

__all__ = ["within"]


@contextmanager
def within(seconds: float) -> Iterator[None]:
    """Fail when the body takes more CPU time than that.

    A collection of all that a long test run has left behind takes a third of a second, and
    begins whenever it likes: it waits until the body is through.
    """
    gc.disable()
    try:
        start = time.process_time()
        yield
        took = time.process_time() - start
    finally:
        gc.enable()
    assert took < seconds, f"{took:.3f} s of CPU time"
