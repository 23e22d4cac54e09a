"""Everything that may happen to a message between two sides that mean well.

Each kind turns a message into a few corrupted ones, the same for the same seed. A kind
that finds nothing to change in a message (no number, no base64) is not applied to it.

The first nine are those of Cyrus SASL's test suite. The last two are a transport's: here they
are what a profile that does not do its part would make of them.
"""

from __future__ import annotations

import random
from enum import Enum
from typing import TYPE_CHECKING, Final

from sasl_core._record import record
from sasl_core.flags import Side
from sasl_core.testing import changes
from sasl_core.testing.pairs import Message, Slot

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

__all__ = ["VARIANTS", "Kind", "Scene", "corrupt"]

VARIANTS: Final = 8
"""Most corruptions of one kind that are made of one message."""


class Kind(Enum):
    """What is done to a message."""

    RANDOM_BYTE = "one byte replaced"
    NUL_BYTE = "one byte replaced by NUL"
    QUOTE_BYTE = "one byte replaced by a quotation mark"
    ONE_BYTE = "only one byte left"
    ADDED = "up to 99 bytes added"
    SHORTENED = "shortened"
    SAME_LENGTH_RANDOM = "random bytes of the same length"
    VERY_LARGE = "nearly 50,000 bytes; and one byte over the limit of 64 KiB"
    BAD_LENGTH = "a length that is huge, negative or zero"

    EMPTY = "an empty message"
    ABSENT = "no message where there was one"
    DUPLICATE_ATTR = "an attribute twice"
    REORDER_ATTR = "two attributes exchanged"
    CASE_FLIP = "upper case for lower and the reverse"
    INVALID_UTF8 = "bytes that are not UTF-8"
    SURROGATE = "half a surrogate pair, as UTF-8 would encode it"
    NONCANONICAL_B64 = "base64 in another spelling"
    UNICODE_DIGITS = "digits of other scripts"
    INT_OVERFLOW = "numbers out of all bounds"
    DEEP_NEST = "brackets in brackets"
    REPLAY_PREVIOUS = "the sender's previous message"
    OTHER_SESSION = "the same message of a parallel exchange"
    EARLY_SUCCESS = "success in place of a challenge"
    LATE_SUCCESS = "a challenge before the success"
    ERROR_THEN_SUCCESS = "an error, and success after it"
    MECH_SWITCH_MIDWAY = "another start in the middle"
    SLOW_DRIP = "the message in pieces, each taken for a message"
    STARTTLS_BUFFERED = "a message of another exchange ahead of it, out of a buffer"


@record
class Scene:
    """What a corruption may draw on besides the message.

    `previous`: the sender's last message. `other`: the same one of another session.
    `errors`: what the mechanism's server sends as an error challenge. `names`: mechanisms
    to switch to.
    """

    seed: int
    previous: Message | None
    other: Message | None
    errors: tuple[bytes, ...]
    names: tuple[str, ...]


def corrupt(kind: Kind, message: Message, scene: Scene) -> list[list[Message]]:
    """The corruptions of one kind: each what is delivered in place of `message`."""
    made: list[list[Message]] = []
    change = _CHANGES.get(kind)
    if change is not None and message.slot is not Slot.FAILURE:
        if message.data is not None:
            rng = random.Random(f"{scene.seed} {kind.name} {message}")
            made = [[message.carrying(data)] for data in change(message.data, rng)]
    else:
        made = list(_in_context(kind, message, scene))
    return [delivered for delivered in made if not _the_same(delivered, message)][:VARIANTS]


def _the_same(delivered: list[Message], message: Message) -> bool:
    """Whether nothing was changed. A success without data and one with empty data say the same."""
    if len(delivered) != 1 or delivered[0].slot is not message.slot:
        return False
    if message.slot is Slot.SUCCESS:
        return (delivered[0].data or b"") == (message.data or b"")
    return delivered == [message]


def _in_context(kind: Kind, message: Message, scene: Scene) -> Iterator[list[Message]]:
    """The kinds that are about more than the bytes of one message."""
    data, slot = message.data, message.slot
    if kind is Kind.ABSENT and data is not None and slot is not Slot.FAILURE:
        yield [message.carrying(None)]
    elif kind is Kind.REPLAY_PREVIOUS and scene.previous is not None:
        if scene.previous.data is not None:
            yield [message.carrying(scene.previous.data)]
    elif kind is Kind.OTHER_SESSION and scene.other is not None:
        if scene.other.data is not None:
            yield [message.carrying(scene.other.data)]
    elif kind is Kind.SLOW_DRIP and data and slot is not Slot.FAILURE:
        yield from _in_pieces(message, data)
    elif kind is Kind.STARTTLS_BUFFERED and scene.other is not None and slot is not Slot.FAILURE:
        # Where both say the same, nothing of another exchange is in it.
        if scene.other.data not in (None, data):
            yield [message.carrying(scene.other.data), message]
    elif message.sender is Side.SERVER:
        yield from _out_of_turn(kind, message, scene)
    elif kind is Kind.MECH_SWITCH_MIDWAY and slot is Slot.RESPONSE:
        for name in scene.names:
            yield [Message(message.sender, message.number, Slot.INITIAL, data, name)]
            yield [Message(message.sender, message.number, Slot.INITIAL, None, name), message]


def _in_pieces(message: Message, data: bytes) -> Iterator[list[Message]]:
    """The message torn up: a stream that nobody has put together again."""
    later = Slot.RESPONSE if message.slot is Slot.INITIAL else message.slot
    for place in sorted({1, len(data) // 2, len(data) - 1} - {0, len(data)}):
        yield [message.carrying(data[:place]), message.carrying(data[place:], later)]
    yield [message.carrying(data[:0]), message.carrying(data, later)]


def _out_of_turn(kind: Kind, message: Message, scene: Scene) -> Iterator[list[Message]]:
    """A server (or somebody who speaks for it) that does not keep to the order."""
    data, slot = message.data, message.slot
    if kind is Kind.EARLY_SUCCESS and slot is Slot.CHALLENGE:
        for early in (None, b"", data):
            yield [message.carrying(early, Slot.SUCCESS)]
    elif kind is Kind.LATE_SUCCESS and slot is Slot.SUCCESS:
        yield [message.carrying(b"", Slot.CHALLENGE), message]
        if data:
            yield [message.carrying(data, Slot.CHALLENGE), message]
    elif kind is Kind.ERROR_THEN_SUCCESS and slot in (Slot.CHALLENGE, Slot.SUCCESS):
        success = message.carrying(data, Slot.SUCCESS)
        yield [message.carrying(None, Slot.FAILURE), success]
        for error in scene.errors:
            yield [message.carrying(error, Slot.CHALLENGE), success]
            yield [
                message.carrying(error, Slot.CHALLENGE),
                message.carrying(None, Slot.SUCCESS),
            ]
            yield [message.carrying(error, Slot.SUCCESS)]


_CHANGES: Final[dict[Kind, Callable[[bytes, random.Random], Iterable[bytes]]]] = {
    Kind.RANDOM_BYTE: changes.random_byte,
    Kind.NUL_BYTE: changes.this_byte(b"\0"),
    Kind.QUOTE_BYTE: changes.this_byte(b'"'),
    Kind.ONE_BYTE: changes.one_byte,
    Kind.ADDED: changes.added,
    Kind.SHORTENED: changes.shortened,
    Kind.SAME_LENGTH_RANDOM: changes.same_length,
    Kind.VERY_LARGE: changes.very_large,
    Kind.BAD_LENGTH: changes.bad_length,
    Kind.EMPTY: changes.empty,
    Kind.DUPLICATE_ATTR: changes.duplicate,
    Kind.REORDER_ATTR: changes.reorder,
    Kind.CASE_FLIP: changes.case_flip,
    Kind.INVALID_UTF8: changes.inserted(b"\xff", b"\xc3\x28", b"\xc0\xaf", b"\xf4\x90\x80\x80"),
    Kind.SURROGATE: changes.inserted(b"\xed\xa0\x80", b"\xed\xbf\xbf"),
    Kind.NONCANONICAL_B64: changes.respelt,
    Kind.UNICODE_DIGITS: changes.other_digits,
    Kind.INT_OVERFLOW: changes.overflow,
    Kind.DEEP_NEST: changes.nested,
}
