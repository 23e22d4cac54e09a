"""Look-ups of host names that cannot hold anybody beyond a deadline.

`getaddrinfo` takes no timeout, and a resolver that hears nothing lets it wait for half a minute.
It runs in a thread of its own; whoever asks for the same name meanwhile waits for the same
thread, so that there are never more of them than names.
"""

from __future__ import annotations

import os
import socket
import threading
from itertools import zip_longest
from typing import TYPE_CHECKING, Final, TypeAlias

if TYPE_CHECKING:
    from sasl_http.deadline import Deadline

__all__ = ["Lookups", "Place"]

Place: TypeAlias = tuple[socket.AddressFamily, tuple[str | int | bytes, ...]]
"""An address family, and what a socket of that family connects to."""

MOST: Final = 8
"""As many addresses of one host are tried."""


class _Lookup:
    """One name that is being looked up."""

    __slots__ = ("done", "places", "problem")

    def __init__(self) -> None:
        self.done = threading.Event()
        self.places: list[Place] = []
        self.problem = ""


class Lookups:
    """The look-ups that are under way. Every step is one operation of a dict: no lock is needed."""

    def __init__(self) -> None:
        self._running: dict[tuple[int, str, int], _Lookup] = {}

    def places(self, host: str, port: int, deadline: Deadline) -> list[Place]:
        """Where `host` can be reached, in the order in which to try.

        Raises:
            OSError: it cannot be looked up. TimeoutError: not in time.
        """
        try:
            return _ask(host, port, socket.AI_NUMERICHOST)
        except socket.gaierror:
            pass  # It is a name, then.
        # The child of a fork has the parent's look-ups, but not its threads.
        key = (os.getpid(), host, port)
        mine = _Lookup()
        lookup = self._running.setdefault(key, mine)
        if lookup is mine:
            self._start(key, lookup)
        if not lookup.done.wait(deadline.left()):
            raise TimeoutError
        if lookup.problem:
            raise OSError(lookup.problem)
        return lookup.places

    def _start(self, key: tuple[int, str, int], lookup: _Lookup) -> None:
        thread = threading.Thread(
            target=self._run, args=(key, lookup), name=f"sasl-http-name-{key[1]}", daemon=True
        )
        try:
            thread.start()
        except RuntimeError:  # No thread is to be had.
            lookup.problem = "no thread for the look-up"
            self._end(key, lookup)

    def _run(self, key: tuple[int, str, int], lookup: _Lookup) -> None:
        _, host, port = key
        try:
            lookup.places = _ask(host, port)
        except OSError as error:
            lookup.problem = error.strerror or type(error).__name__
        finally:
            if not lookup.places and not lookup.problem:
                lookup.problem = "no address"
            self._end(key, lookup)

    def _end(self, key: tuple[int, str, int], lookup: _Lookup) -> None:
        _ = self._running.pop(key, None)
        lookup.done.set()


def _ask(host: str, port: int, flags: int = 0) -> list[Place]:
    # As bytes: of a str it would make IDNA first, which raises a foreign error of its own.
    found = socket.getaddrinfo(host.encode("ascii"), port, type=socket.SOCK_STREAM, flags=flags)
    six: list[Place] = [(family, where) for family, *_, where in found if family == socket.AF_INET6]
    four: list[Place] = [(family, where) for family, *_, where in found if family == socket.AF_INET]
    # In turn, so that a network without one of the two costs one attempt (RFC 8305 section 4).
    pairs = zip_longest(six, four)
    return [place for pair in pairs for place in pair if place is not None][:MOST]
