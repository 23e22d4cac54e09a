"""What several modules here mean by one word: a token's alphabet, the limits, who has no name."""

from __future__ import annotations

import re
from typing import Final

__all__ = ["LATEST", "NAME_LIMIT", "TOKEN_LIMIT", "UNNAMED", "is_b64token"]

TOKEN_LIMIT: Final = 16 * 1024
"""Longest token, in characters, whether it is signed or opaque."""

NAME_LIMIT: Final = 1024
"""Longest name in what an issuer says (issuer, subject, audience), in characters."""

LATEST: Final = 253_402_300_799
"""The last second of the year 9999: what comes after it is no date to many who read it."""

UNNAMED: Final = "token"
"""What `session.authid` is at a client that logs in by an access token, whatever name it was
given: the token has one, and is read by none but the server. `session.authzid` is the name that
the server was told and let us act under, or this.
"""

_B64TOKEN: Final = re.compile(r"[A-Za-z0-9._~+/-]+=*")


def is_b64token(text: str) -> bool:
    """Whether it is of the characters of an access token, and no longer than `TOKEN_LIMIT`.

    Source: RFC 6750 section 2.1 (b64token).
    """
    return len(text) <= TOKEN_LIMIT and _B64TOKEN.fullmatch(text) is not None
