"""What the tests of the command line share."""

from __future__ import annotations

from pathlib import Path

import pytest

from cli_runs import Sasl
from tls_kit import make_tls


@pytest.fixture
def sasl(tmp_path: Path) -> Sasl:
    """The command, in a folder of its own."""
    return Sasl(tmp_path)


@pytest.fixture
def certificate(tmp_path: Path) -> tuple[Path, Path]:
    """A self-signed certificate of localhost and 127.0.0.1, and its key."""
    made = make_tls(tmp_path)
    return made.certificate, made.key
