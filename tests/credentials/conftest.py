"""What every test of a client's tokens is given."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from drivers import DRIVERS, Driver, make_driver
from token_sources import asking_client, provider_server
from toys import Toys


@pytest.fixture(params=DRIVERS)
def driver(request: pytest.FixtureRequest) -> Iterator[Driver]:
    """The application, written in one of the three ways."""
    driver = make_driver(request.param)
    yield driver
    driver.close()


@pytest.fixture
def toys() -> Iterator[Toys]:
    """The mechanism TOY-TOKEN, and what the test adds."""
    with Toys() as toys:
        toys.mechanism(server=provider_server(), client=asking_client())
        yield toys
