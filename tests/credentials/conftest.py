"""What every test of a client's tokens is given."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from driver_fixtures import driver
from token_sources import asking_client, provider_server
from toys import Toys

__all__ = ["driver", "toys"]


@pytest.fixture
def toys() -> Iterator[Toys]:
    """The mechanism TOY-TOKEN, and what the test adds."""
    with Toys() as toys:
        toys.mechanism(server=provider_server(), client=asking_client())
        yield toys
