"""What every test of a rule is given."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from driver_fixtures import driver
from toys import Toys

__all__ = ["driver", "toys"]


@pytest.fixture
def toys() -> Iterator[Toys]:
    """The built-in plugins, and those that the test adds."""
    with Toys() as toys:
        yield toys
