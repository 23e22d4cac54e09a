"""Checks at run time of what the types promise only to those who use a type checker."""

from __future__ import annotations

__all__ = ["is_a"]


def is_a(value: object, kind: type | tuple[type, ...]) -> bool:
    """Whether `value` is a `kind`, whatever its declared type says."""
    return isinstance(value, kind)
