"""A password hash of another system does not outlive its password (G19, G20)."""

from __future__ import annotations

from typing import Any

import pytest

from hash_kit import EXAMPLES, config, give, logs_in, values, verifiers
from sasl_core import SetpassFlag
from toys import SpyStore

BCRYPT = EXAMPLES["BLF-CRYPT"]


@pytest.fixture
def store() -> SpyStore:
    store = SpyStore()
    give(store, "alice", BCRYPT)
    return store


def test_g19_a_new_password_removes_the_hash_of_the_old_one(driver, store):
    """In the same write: it lets nobody in any more, and nobody can guess at it."""
    server = driver.server(config(), stores=[store])
    store.writes.clear()
    assert server.setpass("alice", "new").ok
    assert values(store, "alice") == ()
    assert len(store.writes) == 1


def test_g19_a_user_who_is_let_in_again_has_no_old_hash(driver, store):
    """Locked, and then made anew with another password."""
    server = driver.server(config(), stores=[store])
    assert server.setpass("alice", None, SetpassFlag.DISABLE).ok
    assert server.setpass("alice", "new", SetpassFlag.CREATE).ok
    assert values(store, "alice") == ()


def test_g20_a_transition_removes_the_hash(driver, store):
    """Once there is a verifier, in the same write."""
    server = driver.server(config(), stores=[store])
    store.writes.clear()
    assert logs_in(server, "alice")
    assert verifiers(store, "alice") == {"SHA-256"}
    assert values(store, "alice") == ()
    assert len(store.writes) == 1


def test_g20_a_hash_that_changed_meanwhile_is_left_alone(driver, store):
    """Compare and set: what an import brought between the check and the write stays."""
    real = store.write
    other = b"{PLAIN}another"

    def write(user: Any, change: Any) -> Any:
        store.write = real
        give(store, "alice", other)
        return real(user, change)

    store.write = write
    server = driver.server(config(), stores=[store])
    assert logs_in(server, "alice")
    assert values(store, "alice") == (other,)
    assert verifiers(store, "alice") == set()
