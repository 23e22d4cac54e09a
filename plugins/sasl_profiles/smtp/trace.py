"""What an SMTP client can show of an exchange without showing a secret.

Invariant: that of `sasl_profiles.clients.trace`; a line of ours that the server repeats while
we log in is hidden as well, and so is a challenge that repeats a secret of this connection.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import Final

from sasl_core.plugin import b64encode
from sasl_profiles.clients.trace import HIDDEN, Direction, TraceEvent, masked

__all__ = ["HIDDEN", "Direction", "TraceEvent", "auth_event", "masked", "without_echo"]

# What may be base64, of one octet or more.
_BASE64: Final = re.compile(r"[A-Za-z0-9+/]{2,}={0,2}")

# Parts of a message that are shorter than this are words as often as not.
_PIECE: Final = 4

_SURELY_BASE64: Final = 16


def auth_event(
    direction: Direction,
    prefix: str,
    mechanism: str,
    message: bytes | None,
    secrets: Iterable[bytes] = (),
) -> TraceEvent:
    """The event of a line that consists of `prefix` and a SASL message (None: of none).

    `secrets`: as for `masked`.
    """
    if message is None:
        return TraceEvent(direction, prefix)
    text, secret = masked(mechanism, message, secrets)
    encoded = HIDDEN if secret else b64encode(message).decode("ascii")
    if not encoded and prefix.startswith("AUTH "):
        encoded = "="
    return TraceEvent(direction, f"{prefix} {encoded}".strip(), secret, text)


def without_echo(lines: Iterable[str], sent: Iterable[str]) -> tuple[str, ...]:
    """A server's words without the base64 that we sent, and without what may be any.

    `sent` are the messages as they were sent. Hidden are these, pieces of them of 4
    characters or more, in any case, whatever contains one, and each run of 16 or more
    base64 characters. The time is linear in the server's words and in `sent`.
    """
    ours = {encoded.rstrip("=").upper() for encoded in sent} - {""}
    short = [one for one in ours if len(one) < _SURELY_BASE64]
    pieces = {piece for one in ours for piece in _pieces(one)}

    def shown(match: re.Match[str]) -> str:
        if len(match[0]) >= _SURELY_BASE64:
            return HIDDEN
        found = match[0].rstrip("=").upper()
        # All of its pieces being ours comes close enough to its being a piece itself.
        echo = len(found) >= _PIECE and pieces.issuperset(_pieces(found))
        echo = echo or any(one == found or (len(one) >= _PIECE and one in found) for one in short)
        return HIDDEN if echo else match[0]

    return tuple(_BASE64.sub(shown, line) for line in lines)


def _pieces(text: str) -> Iterator[str]:
    return (text[start : start + _PIECE] for start in range(len(text) - _PIECE + 1))
