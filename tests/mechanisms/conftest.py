"""Stores are closed here, whoever made them."""

from __future__ import annotations

from closed_stores import stores_are_closed

__all__ = ["stores_are_closed"]
