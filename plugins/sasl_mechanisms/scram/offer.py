"""The server's offer, repeated where both sides sign it (XEP-0474, version 0.5).

What a server offers travels before anything is authenticated, so that whoever sits in
between can remove the better mechanisms from it. Attribute `h` of server-first is a hash of
the offer. An attacker can compute that too, but not the proofs of a changed message.
"""

from __future__ import annotations

import hashlib
from functools import lru_cache
from typing import Final

from sasl_core.plugin import SCRAM_HASHES, b64encode

__all__ = ["HASH_ATTRIBUTE", "offer_hash"]

HASH_ATTRIBUTE: Final = b"h"

BETWEEN_NAMES: Final = b"\x1e"
BETWEEN_LISTS: Final = b"\x1f"


@lru_cache(maxsize=64)
def offer_hash(hash_name: str, mechanisms: tuple[str, ...], bindings: tuple[str, ...]) -> bytes:
    """The value of `h`: the hash of SCRAM over both lists, in base64.

    `bindings`: the types of channel binding that the protocol advertises (XEP-0440); empty
    where it advertises none, and then nothing stands for them. The order in which either was
    sent does not count (i;octet, RFC 4790 section 9.3), nor how often a name came.
    """
    lists = [mechanisms, bindings] if bindings else [mechanisms]
    text = BETWEEN_LISTS.join(
        BETWEEN_NAMES.join(sorted({name.encode("utf-8", "surrogatepass") for name in names}))
        for names in lists
    )
    return b64encode(hashlib.new(SCRAM_HASHES[hash_name][0], text).digest())
