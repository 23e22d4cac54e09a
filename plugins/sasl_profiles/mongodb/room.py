"""Who makes room for a newcomer, when a MongoDB server is full.

Invariant: protection is had once for each connection, and once more for each login that came of
it and has lapsed; it ends by itself, whatever the client sends, so that nobody can hold on to a
place by it while newcomers push each other out.
"""

from __future__ import annotations

from enum import IntEnum, auto
from typing import Final, Protocol

__all__ = ["BEGUN_SECONDS", "FRESH_SECONDS", "LAST", "Candidate", "Rank", "rank"]

FRESH_SECONDS: Final = 5.0
"""For how long who has come is protected. TLS and the first words take less than that."""

BEGUN_SECONDS: Final = 10.0
"""For how long a connection's first exchange is protected, and who has to log in again, until it
begins to and then once more. Programs take less; people do not."""


class Rank(IntEnum):
    """Those who lose least by it make room first."""

    SILENT = auto()  # has said nothing
    IDLE = auto()  # has, as a driver's monitor, which is not about to log in
    EXCHANGING = auto()  # is in the middle of a login, for long
    PROTECTED = auto()  # has just come, has just begun, or was just told to log in again


class Candidate(Protocol):
    """A client that is not logged in, or whose login has lapsed; all times are of one clock."""

    @property
    def born(self) -> float:
        """When it came."""
        ...

    @property
    def first_exchange(self) -> float | None:
        """When it began its first exchange since its last login, or since it came; another one
        does not change it.
        """
        ...

    @property
    def lapsed_since(self) -> float | None:
        """When it was told that its login has lapsed; told again does not change it."""
        ...

    @property
    def spoken(self) -> bool:
        """Whether it has completed a message."""
        ...

    @property
    def exchanging(self) -> bool:
        """Whether it is in the middle of a login."""
        ...

    @property
    def waiting_since(self) -> float:
        """When it completed its last message, or came."""
        ...


def rank(client: Candidate, now: float) -> tuple[Rank, float]:
    """Who has the least makes room; among equals that is who has waited longest.

    A driver's monitor never logs in, so that those who only wait cannot all be sent away after
    a while. Exchanges do not come before newcomers: else those who begin one and leave it
    would have each newcomer sent away by the next. Nor do monitors, for the same reason. When
    all are protected, a login goes on as long as its messages follow each other faster than as
    many others as there are places send theirs.
    """
    # A full server asks this of all its clients whenever one comes.
    if now - client.born < FRESH_SECONDS:
        kind = _PROTECTED
    elif client.exchanging:
        begun = client.first_exchange
        fresh = begun is not None and now - begun < BEGUN_SECONDS
        kind = _PROTECTED if fresh else _EXCHANGING
    elif client.lapsed_since is not None and now - client.lapsed_since < BEGUN_SECONDS:
        kind = _PROTECTED
    else:
        kind = _IDLE if client.spoken else _SILENT
    return kind, client.waiting_since


_SILENT, _IDLE, _EXCHANGING, _PROTECTED = Rank

LAST: Final = (Rank.PROTECTED, float("inf"))
"""Nobody has a higher rank."""
