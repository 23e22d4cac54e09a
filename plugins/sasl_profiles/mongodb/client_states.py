"""How far a client's conversation with a MongoDB server is, and what moves it.

state       what happens                                          next
NEW         hello is answered                                     READY
READY       saslStart or authenticate is sent                     UNDERWAY
UNDERWAY    the server wants more, and gets saslContinue          UNDERWAY
            the server refuses                                    READY
            it says that all is done, and the session agrees      LOGGED_IN
LOGGED_IN   hello is answered                                     LOGGED_IN
            saslStart or authenticate: the login is renewed       UNDERWAY

Source: MongoDB's driver specifications, "Authentication".
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum, auto
from typing import Final

__all__ = ["NEXT", "Event", "State"]


class State(Enum):
    """How far the conversation is."""

    NEW = auto()
    READY = auto()
    UNDERWAY = auto()
    LOGGED_IN = auto()


class Event(Enum):
    """What moves it."""

    HELLO = auto()
    START = auto()
    MORE = auto()
    REFUSED = auto()
    DONE = auto()


NEXT: Final[Mapping[tuple[State, Event], State]] = {
    (State.NEW, Event.HELLO): State.READY,
    (State.READY, Event.HELLO): State.READY,
    (State.READY, Event.START): State.UNDERWAY,
    (State.UNDERWAY, Event.MORE): State.UNDERWAY,
    (State.UNDERWAY, Event.REFUSED): State.READY,
    (State.UNDERWAY, Event.DONE): State.LOGGED_IN,
    (State.LOGGED_IN, Event.HELLO): State.LOGGED_IN,
    (State.LOGGED_IN, Event.START): State.UNDERWAY,
}
