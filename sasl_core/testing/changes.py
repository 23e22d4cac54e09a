"""Changes of one message's bytes: the tools that `corruptions` gives their names.

Each takes the bytes and a source of chance, and gives the changed ones; nothing where there
is nothing of the sort to change.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    import random
    from collections.abc import Callable, Iterator

__all__ = [
    "added",
    "bad_length",
    "case_flip",
    "duplicate",
    "empty",
    "inserted",
    "nested",
    "one_byte",
    "other_digits",
    "overflow",
    "random_byte",
    "reorder",
    "respelt",
    "same_length",
    "shortened",
    "this_byte",
    "very_large",
]

LARGE: Final = 49_999
LIMIT: Final = 64 * 1024


def _at(data: bytes, place: int, new: bytes) -> bytes:
    return data[:place] + new + data[place + 1 :]


def random_byte(data: bytes, rng: random.Random) -> Iterator[bytes]:
    """One byte is another."""
    for _ in range(4 if data else 0):
        place = rng.randrange(len(data))
        yield _at(data, place, bytes([data[place] ^ rng.randrange(1, 256)]))


def this_byte(new: bytes) -> Callable[[bytes, random.Random], Iterator[bytes]]:
    """One byte is `new`."""

    def change(data: bytes, rng: random.Random) -> Iterator[bytes]:
        for _ in range(3 if data else 0):
            yield _at(data, rng.randrange(len(data)), new)

    return change


def one_byte(data: bytes, rng: random.Random) -> Iterator[bytes]:
    """Nothing but one byte."""
    if data:
        yield data[:1]
        yield bytes([rng.choice(data)])


def added(data: bytes, rng: random.Random) -> Iterator[bytes]:
    """Up to 99 bytes more: behind, before, in the middle."""
    for _ in range(2):
        yield data + rng.randbytes(rng.randrange(1, 100))
    yield rng.randbytes(rng.randrange(1, 100)) + data
    place = rng.randrange(len(data) + 1)
    yield data[:place] + rng.randbytes(rng.randrange(1, 100)) + data[place:]


def shortened(data: bytes, rng: random.Random) -> Iterator[bytes]:
    """A byte less, at either end; any number less."""
    if data:
        yield data[:-1]
        yield data[1:]
        for _ in range(2):
            yield data[: rng.randrange(len(data))]


def same_length(data: bytes, rng: random.Random) -> Iterator[bytes]:
    """Random bytes, as many."""
    yield rng.randbytes(len(data))


def very_large(data: bytes, rng: random.Random) -> Iterator[bytes]:
    """Grown to what is nearly too long, and by one byte too many."""
    yield data + rng.randbytes(max(0, LARGE - len(data)))
    yield data + b"A" * max(0, LARGE - len(data))
    yield data + b"A" * max(0, LIMIT + 1 - len(data))


def bad_length(data: bytes, _: random.Random) -> Iterator[bytes]:
    """Fields of one, two or four bytes that hold the length of all that follows them."""
    for width in (4, 2, 1):
        for place in range(len(data) - width):
            rest = len(data) - place - width
            for order in ("big", "little"):
                field = data[place : place + width]
                if int.from_bytes(field, "big" if order == "big" else "little") == rest:
                    for new in (b"\xff" * width, b"\x7f" + b"\xff" * (width - 1), bytes(width)):
                        yield data[:place] + new + data[place + width :]


def empty(data: bytes, _: random.Random) -> Iterator[bytes]:
    """Nothing."""
    if data:
        yield b""


def _parts(data: bytes) -> tuple[bytes, list[bytes]]:
    """The separator of the message's attributes, and the attributes."""
    for separator in (b",", b"\x01", b"\0", b" "):
        if separator in data:
            return separator, data.split(separator)
    return b"", [data]


def duplicate(data: bytes, _: random.Random) -> Iterator[bytes]:
    """An attribute twice."""
    separator, parts = _parts(data)
    if separator:
        for place, part in enumerate(parts[:4]):
            yield separator.join([*parts[:place], part, *parts[place:]])
        yield separator.join([*parts, parts[-1]])
        yield separator.join([*parts, parts[0]])


def reorder(data: bytes, _: random.Random) -> Iterator[bytes]:
    """Two neighbouring attributes exchanged."""
    separator, parts = _parts(data)
    for place in range(min(len(parts) - 1, 6)):
        exchanged = [*parts]
        exchanged[place], exchanged[place + 1] = exchanged[place + 1], exchanged[place]
        yield separator.join(exchanged)


def case_flip(data: bytes, rng: random.Random) -> Iterator[bytes]:
    """All letters in the other case; one of them."""
    yield data.swapcase()
    letters = [place for place, byte in enumerate(data) if bytes([byte]).isalpha()]
    for place in letters[:1] + rng.sample(letters, min(3, len(letters))):
        yield _at(data, place, data[place : place + 1].swapcase())


def inserted(*pieces: bytes) -> Callable[[bytes, random.Random], Iterator[bytes]]:
    """Each of `pieces` at some place; the first at the end."""

    def change(data: bytes, rng: random.Random) -> Iterator[bytes]:
        for piece in pieces:
            place = rng.randrange(len(data) + 1)
            yield data[:place] + piece + data[place:]
        yield data + pieces[0]

    return change


_BASE64 = re.compile(rb"[A-Za-z0-9+/]{6,}={0,2}")
_DIGITS = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"


def respelt(data: bytes, _: random.Random) -> Iterator[bytes]:
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


def other_digits(data: bytes, _: random.Random) -> Iterator[bytes]:
    """Full-width and Arabic-Indic digits."""
    for zero in ("\N{FULLWIDTH DIGIT ZERO}", "\N{ARABIC-INDIC DIGIT ZERO}"):
        digits = bytes(range(0x30, 0x3A))
        yield b"".join(
            chr(ord(zero) + byte - 0x30).encode() if byte in digits else bytes([byte])
            for byte in data
        )


_NUMBER = re.compile(rb"(?<![0-9A-Za-z+/])[0-9]+(?![0-9A-Za-z+/])")
_NUMBERS = (b"-1", b"0", b"2147483648", b"4294967297", b"9" * 20, b"9" * 5000, b"1e9", b"+1")


def overflow(data: bytes, _: random.Random) -> Iterator[bytes]:
    """The last number out of all bounds."""
    numbers = list(_NUMBER.finditer(data))
    if numbers:
        last = numbers[-1]
        for number in _NUMBERS:
            yield data[: last.start()] + number + data[last.end() :]


def nested(data: bytes, _: random.Random) -> Iterator[bytes]:
    """Brackets in brackets, thousands deep, with the message and without."""
    for bracket in (b"[", b"{", b'{"a":', b"("):
        yield bracket * (20_000 // len(bracket))
    yield data + b"[" * 20_000
    yield b"[" * 5000 + data + b"]" * 5000
