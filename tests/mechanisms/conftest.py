"""Stores are closed here, whoever made them; an application in each of the three ways."""

from __future__ import annotations

from closed_stores import stores_are_closed
from driver_fixtures import driver

__all__ = ["driver", "stores_are_closed"]
