"""Forms as providers read them: `application/x-www-form-urlencoded`, and what is built of it.

Whoever asks a provider for something writes it here, so that each of them writes the same.

Source: WHATWG URL standard, "application/x-www-form-urlencoded serializing"; RFC 6749
section 2.3.1 and appendix B.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from sasl_core.plugin import UsageError, b64encode

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["FORM", "basic", "form", "form_fields", "query"]

FORM: Final = ("content-type", "application/x-www-form-urlencoded")
"""The header of a request whose body is a form."""

_PLAIN: Final = frozenset(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789*-._")


def form(text: str) -> str:
    """`text` as it stands in a form.

    Raises:
        UsageError: it holds half a surrogate pair, which UTF-8 has no octets for.
    """
    try:
        octets = text.encode()
    except UnicodeEncodeError:
        octets = None
    # Raised out here: the foreign error has the text, which can be a secret, for its `object`.
    if octets is None:
        raise UsageError("a text for a provider holds a lone surrogate, which no form can say")
    return "".join(
        chr(octet) if octet in _PLAIN else "+" if octet == 0x20 else f"%{octet:02X}"
        for octet in octets
    )


def form_fields(fields: Iterable[tuple[str, str]]) -> bytes:
    """Names and values as the body of a form.

    Raises:
        UsageError: as `form`.
    """
    return "&".join(f"{form(name)}={form(value)}" for name, value in fields).encode("ascii")


def query(fields: Iterable[tuple[str, str]]) -> str:
    """Names and values as an address's query, where a blank is `%20` to all who read it.

    Raises:
        UsageError: as `form`.
    """
    return form_fields(fields).decode("ascii").replace("+", "%20")


def basic(client_id: str, secret: str) -> tuple[str, str]:
    """The header in which a client shows its secret.

    Both are written as in a form first, so that a colon is none of theirs.

    Raises:
        UsageError: as `form`.
    """
    pair = f"{form(client_id)}:{form(secret)}".encode("ascii")
    return "authorization", f"Basic {b64encode(pair).decode('ascii')}"
