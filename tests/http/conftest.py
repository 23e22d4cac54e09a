"""What the tests of the HTTP transport share."""

from __future__ import annotations

from driver_fixtures import driver

__all__ = ["driver"]
