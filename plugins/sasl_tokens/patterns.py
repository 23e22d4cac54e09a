"""Regular expressions of the administrator that are searched in what a peer says.

Whoever connects chooses the text, before anything is known of him, and Python's engine goes
back and tries again. So a pattern is priced when the configuration is read: by how many ways
there are to go through a text of the greatest length, and by how long each of them is. One
that could keep the server busy is refused then, with what to do about it; nothing is left to a
clock.

                              ways                        length
    a letter, a class         1                           1
    a sequence                the product of its parts    their sum
    alternatives              their sum                   that of the longest
    X{m,n}, X of 1 way        n - m + 1                   m times that of X
    X{m,n}, X of w ways       w**m + ... + w**n           m times that of X
    without ^ at its start    times the text's length

The price is their product, times what a step costs. What is repeated without need is in the
ways, each of which goes one step further than another. Python looks at the members of a class
that are beyond the BMP one by one, and at all others at once: a step costs as much as the
pattern's largest class has of the former.
"""

from __future__ import annotations

import re
from typing import Final

__all__ = ["PATTERN_LIMIT", "PRICE_LIMIT", "TEXT_LIMIT", "BadPattern", "compile_pattern"]

PATTERN_LIMIT: Final = 1000
"""Longest pattern, in characters."""

TEXT_LIMIT: Final = 256
"""Longest text that is searched, in characters; a longer one matches nothing."""

PRICE_LIMIT: Final = 10_000_000
"""The greatest price: one unbounded repetition, with `^` at the start two, and some 150 letters;
the slowest such pattern that is known took 0.15 seconds.
"""

_DEPTH: Final = 20

_QUANTIFIER: Final = re.compile(r"(?:[*+?]|\{(?P<low>[0-9]*)(?P<comma>,(?P<high>[0-9]*))?\})[+?]?")
_SIMPLE: Final = {"*": (0, TEXT_LIMIT), "+": (1, TEXT_LIMIT), "?": (0, 1)}
_CLASS: Final = re.compile(r"\[\^?\]?(?:[^\\\]]|\\.)*\]", re.DOTALL)
_ESCAPE_OR_CLASS: Final = re.compile(r"\\.|\[\^?(?P<body>\]?(?:[^\\\]]|\\.)*)", re.DOTALL)
# What may come to mean operations on sets; Python warns of it. Two hyphens also end a range.
_SET_OPERATION: Final = re.compile(r"^\[|--|&&|~~|\|\|")
_OPENING: Final = re.compile(
    r"\((?!\?)|\(\?(?:[:=!>]|<[=!]|P<[A-Za-z_]\w*>|[aimsu]*(?:-[ims]+)?:)|(?P<flags>\(\?[aimsu]+\))",
    re.ASCII,
)
_START: Final = re.compile(r"(?:\(\?[aisu]+\))?(?:\^|\\A)")


class BadPattern(Exception):  # noqa: N818 - a verdict that becomes a ConfigError with its place.
    """Why a pattern cannot be used."""


def compile_pattern(text: str) -> re.Pattern[str]:
    """The pattern, ready to be searched in texts of at most `TEXT_LIMIT` characters.

    Raises:
        BadPattern: it is malformed or too long, uses what cannot be priced (references back,
            conditions, comments, the flag x), or costs more than `PRICE_LIMIT`.
    """
    if len(text) > PATTERN_LIMIT:
        raise BadPattern(f"expected a pattern of at most {PATTERN_LIMIT} characters")
    for found in _ESCAPE_OR_CLASS.finditer(text):
        if found["body"] and _SET_OPERATION.search(found["body"]):
            raise BadPattern(r"expected \[ \- \& \~ and \| with a backslash inside [...]")
    # Before Python reads it: of what is not priced, it warns of some and takes long for some.
    price = _Pricing(text).total()
    problem = "expected a regular expression"
    try:
        compiled = re.compile(text)
    except re.error as error:
        problem = f"{problem}: {error.msg}"
        if error.pos is not None:
            problem += f" at position {error.pos}"
    except (OverflowError, RecursionError):
        problem += " with smaller numbers and fewer groups"
    else:
        if price <= PRICE_LIMIT:
            return compiled
        problem = (
            "this pattern could keep the server busy for long: begin it with ^, repeat less "
            "often without a bound, put no repetition and no | into what is repeated, and few "
            "characters beyond U+FFFF into [...]"
        )
    raise BadPattern(problem)


def _beyond(body: str) -> int:
    r"""How many characters beyond the BMP a class has, as they are or by \U and \N."""
    written = sum(character > "\uffff" for character in body)
    return written + body.count("\\U") + body.count("\\N")


class _Pricing:
    """A walk through a pattern. Whether its form is good in all else is left to `re`."""

    def __init__(self, text: str) -> None:
        self._text: Final = text
        self._at: int = 0
        self._choices: int = 0
        self._step: int = 1

    def total(self) -> int:
        """The price of the whole."""
        ways, length = self._alternatives(0)
        price = _capped(ways * max(1, length)) * self._step
        if self._at < len(self._text):
            raise BadPattern("expected a pattern whose groups can be told apart")
        anchored = _START.match(self._text) is not None and not self._choices
        return price if anchored else price * TEXT_LIMIT

    def _alternatives(self, depth: int) -> tuple[int, int]:
        """Ways and length."""
        if depth > _DEPTH:
            raise BadPattern(f"expected a pattern with at most {_DEPTH} groups inside each other")
        ways, length = self._sequence(depth)
        while self._text.startswith("|", self._at):
            self._at += 1
            self._choices += depth == 0
            more, other = self._sequence(depth)
            ways, length = ways + more, max(length, other)
        return _capped(ways), length

    def _sequence(self, depth: int) -> tuple[int, int]:
        ways, length = 1, 0
        while self._at < len(self._text) and self._text[self._at] not in "|)":
            part, steps = self._part(depth)
            found = _QUANTIFIER.match(self._text, self._at)
            # "{" and "}" with nothing in between are two letters.
            if found is not None and not found[0].startswith("{}"):
                self._at = found.end()
                low, high = _bounds(found)
                part, steps = _repeated(part, low, high), steps * low
            ways, length = _capped(ways * part), _capped(length + steps)
        return ways, length

    def _part(self, depth: int) -> tuple[int, int]:
        """Go over one letter, class or group."""
        character = self._text[self._at]
        if character == "\\":
            if self._text[self._at + 1 : self._at + 2] in tuple("123456789"):
                raise BadPattern("expected a pattern without references back to its groups")
            self._at += 2
        elif character == "[":
            found = _CLASS.match(self._text, self._at)
            if found is None:
                raise BadPattern("expected a pattern whose classes can be told apart")
            self._at = found.end()
            self._step = max(self._step, _beyond(found[0]))
        elif character == "(":
            return self._group(depth)
        else:
            self._at += 1
            return 1, int(character not in "^$")
        return 1, 1

    def _group(self, depth: int) -> tuple[int, int]:
        found = _OPENING.match(self._text, self._at)
        if found is None:
            raise BadPattern(
                "expected a pattern without conditions, comments, references back and the flag x"
            )
        self._at = found.end()
        if found["flags"]:
            return 1, 0
        inside = self._alternatives(depth + 1)
        self._at += 1  # the closing parenthesis
        return inside


def _bounds(found: re.Match[str]) -> tuple[int, int]:
    """How often at least and at most, as far as a text can be long."""
    simple = _SIMPLE.get(found[0][0])
    if simple is not None:
        return simple
    low = min(int(found["low"] or 0), TEXT_LIMIT)
    if found["comma"] is None:
        return low, low
    return low, max(low, min(int(found["high"] or TEXT_LIMIT), TEXT_LIMIT))


def _repeated(price: int, low: int, high: int) -> int:
    if price == 1:
        return high - low + 1
    total = 0
    for times in range(high, low - 1, -1):
        total += price**times if times < 64 else PRICE_LIMIT
        if total > PRICE_LIMIT:
            break
    return _capped(total)


def _capped(price: int) -> int:
    return min(price, PRICE_LIMIT + 1)
