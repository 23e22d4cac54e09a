"""What a client's dialogue asks for; whoever runs it supplies that.

A protocol's dialogue is made of generators, which do no I/O:

    Utterance   send these octets, and hear the reply (a protocol derives its own)
    Secure      put TLS beneath
    Begin       start the SASL session, by the best of these mechanisms
    Step        have the session answer a challenge
    Finish      tell the session that the server declared success
"""

from __future__ import annotations

from collections.abc import Generator
from typing import Final, Generic, Protocol, TypeAlias, TypeVar, cast

import attrs

from sasl_core import Reply
from sasl_core.plugin import record

__all__ = [
    "NOTHING",
    "Ask",
    "Begin",
    "Conversation",
    "Finish",
    "Reader",
    "Secure",
    "Step",
    "Talk",
    "Utterance",
]

A_co = TypeVar("A_co", covariant=True)
R_co = TypeVar("R_co", covariant=True)
T = TypeVar("T")


class Ask(Generic[A_co]):
    """Something that whoever runs a dialogue supplies; `yield from` gives the answer."""

    __slots__ = ()

    def __iter__(self) -> Generator[Ask[object], object, A_co]:
        return cast("A_co", (yield self))


NOTHING: Final = Ask[object]()
"""Asks for nothing: what stands where a secret has stood."""

Talk: TypeAlias = Generator[Ask[object], object, T]


class Utterance(Ask[A_co]):
    """Send `octets`, which may be none, and hear the reply."""

    __slots__ = ()

    @property
    def octets(self) -> bytes:
        return b""


class Secure(Ask[None]):
    """Negotiate TLS, with nothing of the server's left unread."""


@record
class Begin(Ask[tuple[str, Reply]]):
    """Start the session with these mechanisms: the chosen name, and its first reply."""

    offered: tuple[str, ...]


@record
class Step(Ask[Reply]):
    """Have the session answer this challenge."""

    challenge: bytes = attrs.field(repr=False)


@record
class Finish(Ask[None]):
    """Tell the session that the server declared success; `data` came with that."""

    data: bytes | None = attrs.field(default=None, repr=False)


class Conversation:
    """One connection's conversation; a protocol derives its own.

    `broken`: nobody knows what the server thinks; the connection has to be closed.
    """

    broken = False

    def forget(self) -> None:
        """Forget what the server said of itself: the connection is gone."""


class Reader(Protocol[R_co]):
    """Makes replies of octets. `len` is how many of them are in none yet."""

    def __len__(self) -> int: ...
    def feed(self, data: bytes) -> None: ...
    def clear(self) -> None: ...
    def next_reply(self) -> R_co | None: ...
