"""Everything that may happen to a message between two sides that mean well.

Each kind turns a message into a few corrupted ones, the same for the same seed. A kind
that finds nothing to change in a message (no number, no base64) is not applied to it.

The first nine are those of Cyrus SASL's test suite.
"""

from __future__ import annotations

import random
import re
from enum import Enum
from typing import TYPE_CHECKING, Final

from sasl_core._record import record
from sasl_core.flags import Side
from sasl_core.testing.pairs import Message, Slot

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

__all__ = ["VARIANTS", "Kind", "Scene", "corrupt"]

VARIANTS: Final = 8
"""Most corruptions of one kind that are made of one message."""
LARGE: Final = 49_999
LIMIT: Final = 64 * 1024


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
    elif message.sender is Side.SERVER:
        yield from _out_of_turn(kind, message, scene)
    elif kind is Kind.MECH_SWITCH_MIDWAY and slot is Slot.RESPONSE:
        for name in scene.names:
            yield [Message(message.sender, message.number, Slot.INITIAL, data, name)]
            yield [Message(message.sender, message.number, Slot.INITIAL, None, name), message]


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


# --- bytes ----------------------------------------------------------------------------


def _at(data: bytes, place: int, new: bytes) -> bytes:
    return data[:place] + new + data[place + 1 :]


def _random_byte(data: bytes, rng: random.Random) -> Iterator[bytes]:
    for _ in range(4 if data else 0):
        place = rng.randrange(len(data))
        yield _at(data, place, bytes([data[place] ^ rng.randrange(1, 256)]))


def _this_byte(new: bytes) -> Callable[[bytes, random.Random], Iterator[bytes]]:
    def change(data: bytes, rng: random.Random) -> Iterator[bytes]:
        for _ in range(3 if data else 0):
            yield _at(data, rng.randrange(len(data)), new)

    return change


def _one_byte(data: bytes, rng: random.Random) -> Iterator[bytes]:
    if data:
        yield data[:1]
        yield bytes([rng.choice(data)])


def _added(data: bytes, rng: random.Random) -> Iterator[bytes]:
    for _ in range(2):
        yield data + rng.randbytes(rng.randrange(1, 100))
    yield rng.randbytes(rng.randrange(1, 100)) + data
    place = rng.randrange(len(data) + 1)
    yield data[:place] + rng.randbytes(rng.randrange(1, 100)) + data[place:]


def _shortened(data: bytes, rng: random.Random) -> Iterator[bytes]:
    if data:
        yield data[:-1]
        yield data[1:]
        for _ in range(2):
            yield data[: rng.randrange(len(data))]


def _same_length(data: bytes, rng: random.Random) -> Iterator[bytes]:
    yield rng.randbytes(len(data))


def _very_large(data: bytes, rng: random.Random) -> Iterator[bytes]:
    yield data + rng.randbytes(max(0, LARGE - len(data)))
    yield data + b"A" * max(0, LARGE - len(data))
    yield data + b"A" * max(0, LIMIT + 1 - len(data))


def _bad_length(data: bytes, _: random.Random) -> Iterator[bytes]:
    """Fields of one, two or four bytes that hold the length of all that follows them."""
    for width in (4, 2, 1):
        for place in range(len(data) - width):
            rest = len(data) - place - width
            for order in ("big", "little"):
                field = data[place : place + width]
                if int.from_bytes(field, "big" if order == "big" else "little") == rest:
                    for new in (b"\xff" * width, b"\x7f" + b"\xff" * (width - 1), bytes(width)):
                        yield data[:place] + new + data[place + width :]


def _empty(data: bytes, _: random.Random) -> Iterator[bytes]:
    if data:
        yield b""


def _parts(data: bytes) -> tuple[bytes, list[bytes]]:
    """The separator of the message's attributes, and the attributes."""
    for separator in (b",", b"\x01", b"\0", b" "):
        if separator in data:
            return separator, data.split(separator)
    return b"", [data]


def _duplicate(data: bytes, _: random.Random) -> Iterator[bytes]:
    separator, parts = _parts(data)
    if separator:
        for place, part in enumerate(parts[:4]):
            yield separator.join([*parts[:place], part, *parts[place:]])
        yield separator.join([*parts, parts[-1]])
        yield separator.join([*parts, parts[0]])


def _reorder(data: bytes, _: random.Random) -> Iterator[bytes]:
    separator, parts = _parts(data)
    for place in range(min(len(parts) - 1, 6)):
        exchanged = [*parts]
        exchanged[place], exchanged[place + 1] = exchanged[place + 1], exchanged[place]
        yield separator.join(exchanged)


def _case_flip(data: bytes, rng: random.Random) -> Iterator[bytes]:
    yield data.swapcase()
    letters = [place for place, byte in enumerate(data) if bytes([byte]).isalpha()]
    for place in letters[:1] + rng.sample(letters, min(3, len(letters))):
        yield _at(data, place, data[place : place + 1].swapcase())


def _inserted(*pieces: bytes) -> Callable[[bytes, random.Random], Iterator[bytes]]:
    def change(data: bytes, rng: random.Random) -> Iterator[bytes]:
        for piece in pieces:
            place = rng.randrange(len(data) + 1)
            yield data[:place] + piece + data[place:]
        yield data + pieces[0]

    return change


_BASE64 = re.compile(rb"[A-Za-z0-9+/]{6,}={0,2}")
_DIGITS = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"


def _respelt(data: bytes, _: random.Random) -> Iterator[bytes]:
    """The last run of base64, and the longest, as a lax decoder would read them too."""
    runs = list(_BASE64.finditer(data))
    if not runs:
        return
    chosen = {run.span(): run for run in (runs[-1], max(runs, key=_width))}
    for run in chosen.values():
        text = run[0]
        bare = text.rstrip(b"=")
        spellings = [bare[:4] + b"\n" + text[4:], text + b"="]
        if len(bare) % 4 in (2, 3):
            # The last digit has bits that mean nothing.
            last = _DIGITS.index(bare[-1])
            spellings.append(bare[:-1] + _DIGITS[last ^ 1 : (last ^ 1) + 1] + text[len(bare) :])
        if bare != text:
            spellings.append(bare)
        spellings.append(text.replace(b"+", b"-").replace(b"/", b"_"))
        for spelling in spellings:
            yield data[: run.start()] + spelling + data[run.end() :]


def _width(match: re.Match[bytes]) -> int:
    return match.end() - match.start()


def _other_digits(data: bytes, _: random.Random) -> Iterator[bytes]:
    for zero in ("\N{FULLWIDTH DIGIT ZERO}", "\N{ARABIC-INDIC DIGIT ZERO}"):
        digits = bytes(range(0x30, 0x3A))
        yield b"".join(
            chr(ord(zero) + byte - 0x30).encode() if byte in digits else bytes([byte])
            for byte in data
        )


_NUMBER = re.compile(rb"(?<![0-9A-Za-z+/])[0-9]+(?![0-9A-Za-z+/])")
_NUMBERS = (b"-1", b"0", b"2147483648", b"4294967297", b"9" * 20, b"9" * 5000, b"1e9", b"+1")


def _overflow(data: bytes, _: random.Random) -> Iterator[bytes]:
    numbers = list(_NUMBER.finditer(data))
    if numbers:
        last = numbers[-1]
        for number in _NUMBERS:
            yield data[: last.start()] + number + data[last.end() :]


def _nested(data: bytes, _: random.Random) -> Iterator[bytes]:
    for bracket in (b"[", b"{", b'{"a":', b"("):
        yield bracket * (20_000 // len(bracket))
    yield data + b"[" * 20_000
    yield b"[" * 5000 + data + b"]" * 5000


_CHANGES: Final[dict[Kind, Callable[[bytes, random.Random], Iterable[bytes]]]] = {
    Kind.RANDOM_BYTE: _random_byte,
    Kind.NUL_BYTE: _this_byte(b"\0"),
    Kind.QUOTE_BYTE: _this_byte(b'"'),
    Kind.ONE_BYTE: _one_byte,
    Kind.ADDED: _added,
    Kind.SHORTENED: _shortened,
    Kind.SAME_LENGTH_RANDOM: _same_length,
    Kind.VERY_LARGE: _very_large,
    Kind.BAD_LENGTH: _bad_length,
    Kind.EMPTY: _empty,
    Kind.DUPLICATE_ATTR: _duplicate,
    Kind.REORDER_ATTR: _reorder,
    Kind.CASE_FLIP: _case_flip,
    Kind.INVALID_UTF8: _inserted(b"\xff", b"\xc3\x28", b"\xc0\xaf", b"\xf4\x90\x80\x80"),
    Kind.SURROGATE: _inserted(b"\xed\xa0\x80", b"\xed\xbf\xbf"),
    Kind.NONCANONICAL_B64: _respelt,
    Kind.UNICODE_DIGITS: _other_digits,
    Kind.INT_OVERFLOW: _overflow,
    Kind.DEEP_NEST: _nested,
}
