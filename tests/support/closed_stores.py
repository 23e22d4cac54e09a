"""A fixture that closes the stores that a test made by itself: Python 3.13 minds open files."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from sasl_auxprop.sasldb.store import SqliteStore

__all__ = ["stores_are_closed"]


@pytest.fixture(autouse=True)
def stores_are_closed(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Close the stores that a test made by itself; a Server closes only those it has made."""
    made: list[SqliteStore] = []
    make: Any = SqliteStore.__init__

    def noted(store: SqliteStore, *arguments: Any, **options: Any) -> None:
        make(store, *arguments, **options)
        made.append(store)

    with monkeypatch.context() as patched:
        patched.setattr(SqliteStore, "__init__", noted)
        yield
    for store in made:
        store.close()
