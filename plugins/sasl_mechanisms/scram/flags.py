"""What both sides of SCRAM have in common, so that neither loads the other."""

from __future__ import annotations

from typing import Final

from sasl_core.plugin import SecurityFlag

__all__ = ["FLAGS", "NONCE_BYTES"]

NONCE_BYTES: Final = 18
"""Unpredictable bytes in a nonce: 24 characters of base64."""

FLAGS: Final = (
    SecurityFlag.NOPLAINTEXT
    | SecurityFlag.NOACTIVE
    | SecurityFlag.NOANONYMOUS
    | SecurityFlag.MUTUAL_AUTH
)
