"""What the tests of password methods share."""

from __future__ import annotations

from driver_fixtures import driver

__all__ = ["driver"]
