"""What the tests of the command line share."""

from __future__ import annotations

from pathlib import Path

import pytest

from cli_runs import Sasl


@pytest.fixture
def sasl(tmp_path: Path) -> Sasl:
    """The command, in a folder of its own."""
    return Sasl(tmp_path)
