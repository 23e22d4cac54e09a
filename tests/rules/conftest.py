"""What every test of a rule is given."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from drivers import DRIVERS, Driver, make_driver
from toys import Toys


@pytest.fixture(params=DRIVERS)
def driver(request: pytest.FixtureRequest) -> Iterator[Driver]:
    """The application, written in one of the three ways."""
    driver = make_driver(request.param)
    yield driver
    driver.close()


@pytest.fixture
def toys() -> Iterator[Toys]:
    """The built-in plugins, and those that the test adds."""
    with Toys() as toys:
        yield toys
