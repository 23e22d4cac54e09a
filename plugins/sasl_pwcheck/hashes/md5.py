"""The state of MD5 after one block, which hashlib does not tell (RFC 1321 section 3.4).

The scheme CRAM-MD5 stores the two states of HMAC-MD5 after its padded keys: enough to
answer a CRAM-MD5 challenge, and so as good as the password. To check a password against
it, the states are made anew.
"""

from __future__ import annotations

import math
import struct
from typing import Final

__all__ = ["hmac_md5_states", "md5_state"]

_MASK: Final = 0xFFFFFFFF
_START: Final = (0x67452301, 0xEFCDAB89, 0x98BADCFE, 0x10325476)
_SHIFTS: Final = ((7, 12, 17, 22), (5, 9, 14, 20), (4, 11, 16, 23), (6, 10, 15, 21))
_SINES: Final = tuple(int(abs(math.sin(step + 1)) * 2**32) for step in range(64))


def md5_state(block: bytes) -> bytes:
    """The 16 octets of state after `block`, 64 octets, the first of a message."""
    words = struct.unpack("<16I", block)
    a, b, c, d = _START
    for step in range(64):
        turn = step // 16
        if turn == 0:
            mixed, word = (b & c) | (~b & d), step
        elif turn == 1:
            mixed, word = (d & b) | (~d & c), (5 * step + 1) % 16
        elif turn == 2:
            mixed, word = b ^ c ^ d, (3 * step + 5) % 16
        else:
            mixed, word = c ^ (b | (~d & _MASK)), 7 * step % 16
        total = (a + mixed + _SINES[step] + words[word]) & _MASK
        shift = _SHIFTS[turn][step % 4]
        a, d, c = d, c, b
        b = (b + (total << shift | total >> (32 - shift))) & _MASK
    ended = zip(_START, (a, b, c, d), strict=True)
    return struct.pack("<4I", *((start + end) & _MASK for start, end in ended))


def hmac_md5_states(password: bytes) -> bytes:
    """The states after the outer and the inner key of HMAC-MD5 (RFC 2104), in this order."""
    import hashlib

    key = password
    if len(key) > 64:
        key = hashlib.md5(key, usedforsecurity=False).digest()
    key = key.ljust(64, b"\0")
    return md5_state(bytes(octet ^ 0x5C for octet in key)) + md5_state(
        bytes(octet ^ 0x36 for octet in key)
    )
