"""Certificates for the tests of this folder."""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from tls_kit import KINDS, Kind, Tls, make_tls


@pytest.fixture(scope="session")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Mapping[Kind, Tls]:
    """One certificate of each kind."""
    folder = tmp_path_factory.mktemp("certificates")
    return {kind: make_tls(folder, kind) for kind in KINDS}


@pytest.fixture(scope="session")
def tls(certificates: Mapping[Kind, Tls]) -> Tls:
    """A certificate whose signature is ECDSA with SHA-384."""
    return certificates["ecdsa"]
