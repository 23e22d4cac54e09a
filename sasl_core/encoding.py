"""Base64 with one spelling for every value (RFC 4648 sections 3.3, 3.5 and 4).

What decodes here encodes back to the same characters: no whitespace, no foreign
characters, full padding, zero bits behind the last one. Two spellings of one value would
let an altered message pass for the one that was sent.
"""

from __future__ import annotations

from binascii import a2b_base64, b2a_base64
from functools import partial
from typing import TYPE_CHECKING, Final

from sasl_core.errors import PeerError

__all__ = ["BASE64_LIMIT", "b64decode", "b64encode"]

BASE64_LIMIT: Final = 88_064
"""Longest text decoded unless the caller says otherwise: a message of 64 KiB and some more."""


if TYPE_CHECKING:

    def b64encode(data: bytes) -> bytes:
        """Encode `data`, padded, without a line break."""
        ...
else:
    # No frame of its own: a login encodes three times.
    b64encode = partial(b2a_base64, newline=False)


def b64decode(text: bytes | str, limit: int = BASE64_LIMIT) -> bytes:
    """Decode canonical base64 of at most `limit` characters.

    Raises:
        PeerError: `text` is too long, or is not the one canonical spelling of any value.
            Neither its message nor its traceback's cause holds the text.
    """
    if len(text) > limit:
        raise PeerError(f"base64 of more than {limit} characters", code="base64")
    if type(text) is not bytes and isinstance(text, str):
        # A character beyond ASCII becomes "?", which the comparison below refuses.
        text = text.encode("ascii", "replace")
    try:
        data = a2b_base64(text)
        if b2a_base64(data, newline=False) == text:
            return data
    except ValueError:
        pass
    # Raised out here, so that the foreign exception is not carried along as its context.
    raise PeerError("not canonical base64", code="base64")
