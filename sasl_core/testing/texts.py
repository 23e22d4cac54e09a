"""Texts of every script, and of none: what a user name or a password may be, or may not."""

from __future__ import annotations

import random
from typing import Final

__all__ = ["texts"]

_ALPHABETS: Final = (
    "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.-_+@",
    " \t\r\n\0\x01\x7f\x85\xa0\xad\u200b\u200d\u202e\u2028\u3000\ufeff",
    "äößİıſΣςﬁﬀ①Ⅷ½ªK\u0301\u0327\u0345\u1100\u1161\u11a8가힣",
    "אבגדהابتثج\u0661\u06f1٠٩",
    "\U0001f600\U0001f3fb\U0001d400\U000e0001\U0010ffff\ufdd0\ufffe\ud800\udfff",
    "%u%r{0.__class__}'\";--*()\\/<>&|$`,=:",
)


def texts(seed: int, samples: int) -> list[str]:
    """Odd texts, texts of odd lengths, and `samples` random ones; the same for the same seed."""
    rng = random.Random(seed)
    made = ["", " ", "\0", "@", "a@", "@a", "a@b@c", "a@@b", "x" * 5000, "é" * 5000, "\ud800"]
    made += ["x" * length for length in (*range(50, 70), *range(240, 260), 512, 1023, 1024)]
    for _ in range(samples):
        alphabet = rng.choice((*_ALPHABETS, "".join(_ALPHABETS)))
        made.append("".join(rng.choice(alphabet) for _ in range(rng.randrange(1, 20))))
    return made
