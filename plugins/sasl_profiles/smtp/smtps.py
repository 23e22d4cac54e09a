"""SMTP submission over TLS from the first octet on: `sasl auth smtps://HOST`.

To SASL it is the service `smtp`, as ever, and its settings are those of `smtp`. There is a
client's side alone.

Source: RFC 8314 section 3.3.
"""

from __future__ import annotations

from typing import Final

from sasl_profiles.smtp import SERVICE, make_client

__all__ = ["PORT", "SERVICE", "TLS", "make_client"]

PORT: Final = 465
"""Where submission over TLS listens (RFC 8314 section 7.3)."""

TLS: Final = "implicit"
"""How TLS comes in: it is there before the first word."""
