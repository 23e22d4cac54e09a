"""The stores that come with sasl-core pass the conformance kit."""

from __future__ import annotations

import itertools

import pytest

from sasl_auxprop.memory import MemoryStore
from sasl_auxprop.sasldb import SqliteStore
from sasl_core.testing import StoreConformance


class TestMemory(StoreConformance):
    """memory."""

    def make_store(self, *, plaintext=False):
        return MemoryStore(plaintext=plaintext)


class TestSasldb(StoreConformance):
    """sasldb."""

    @pytest.fixture(autouse=True)
    def folder(self, tmp_path):
        self.paths = (tmp_path / f"{number}.sqlite" for number in itertools.count())

    def make_store(self, *, plaintext=False):
        return SqliteStore(next(self.paths), plaintext=plaintext)
