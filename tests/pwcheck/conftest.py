"""What the tests of password methods share."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from drivers import DRIVERS, Driver, make_driver


@pytest.fixture(params=DRIVERS)
def driver(request: pytest.FixtureRequest) -> Iterator[Driver]:
    """The application, written in one of the three ways."""
    driver = make_driver(request.param)
    yield driver
    driver.close()
