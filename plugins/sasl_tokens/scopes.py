"""What a token is good for: its scopes.

Source: RFC 6749 section 3.3; RFC 9068 section 2.2.3 and RFC 7662 section 2.2 (`scope`, a text
with spaces); `scp`, as some providers call it, and write it as an array.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

from sasl_tokens.errors import TokenError

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

__all__ = ["is_scope", "require_scopes", "scopes_of"]


def is_scope(text: str) -> bool:
    """Whether it is one scope, by its characters."""
    return bool(text) and all("!" <= each <= "~" and each not in '"\\' for each in text)


def scopes_of(claims: Mapping[str, object]) -> frozenset[str]:
    """The scopes that the claims name; what is neither text nor an array of it names none."""
    found: set[str] = set()
    for name in ("scope", "scp"):
        value = claims.get(name)
        if isinstance(value, str):
            found.update(value.split(" "))
        elif isinstance(value, (list, tuple)):
            items = cast("Sequence[object]", value)
            found.update(item for item in items if isinstance(item, str))
    return frozenset(found - {""})


def require_scopes(granted: Collection[str], required: Sequence[str]) -> None:
    """Check that each of `required` is granted.

    Raises:
        TokenError: one is missing; code "token-scope".
    """
    missing = [scope for scope in required if scope not in granted]
    if missing:
        raise TokenError("token-scope", f"the token is not good for scope {' '.join(missing)}")
