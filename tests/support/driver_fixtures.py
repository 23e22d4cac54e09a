"""The application in each of the three ways, as a fixture: a conftest imports it by name."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from drivers import DRIVERS, Driver, make_driver

__all__ = ["driver"]


@pytest.fixture(params=DRIVERS)
def driver(request: pytest.FixtureRequest) -> Iterator[Driver]:
    """The application, written in one of the three ways."""
    made = make_driver(request.param)
    yield made
    made.close()
