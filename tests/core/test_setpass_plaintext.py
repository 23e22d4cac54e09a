"""What `setpass` does with plaintext, in a store that would keep it."""

from __future__ import annotations

import pytest

from sasl_auxprop.memory import MemoryStore
from sasl_core import AuthenticationError, Server, SetpassFlag, UserName


def plaintext(store: MemoryStore, user: str) -> tuple[bytes, ...]:
    """What the store keeps in clear."""
    found = store.read(UserName.parse(user), ("userPassword",))
    return found.values.get("userPassword", ())


def test_noplain_takes_the_old_plaintext_away() -> None:
    """After NOPLAIN neither the new nor the old password is in the store, and the old is dead."""
    store = MemoryStore(plaintext=True)
    with Server("smtp", "mail.example.com", stores=[store]) as server:
        assert server.setpass("tim", "first word", SetpassFlag.CREATE).ok
        assert plaintext(store, "tim") == (b"first word",)
        assert server.setpass("tim", "second word", SetpassFlag.NOPLAIN).ok
        assert plaintext(store, "tim") == ()
        assert server.checkpass("tim", "second word") == "tim"
        with pytest.raises(AuthenticationError):
            _ = server.checkpass("tim", "first word")


def test_curmech_only_leaves_the_plaintext_alone() -> None:
    """The secret of one mechanism changes, and nothing else."""
    store = MemoryStore(plaintext=True)
    with Server("smtp", "mail.example.com", stores=[store]) as server:
        assert server.setpass("tim", "first word", SetpassFlag.CREATE).ok
        flags = SetpassFlag.CURMECH_ONLY
        assert server.setpass("tim", "other word", flags, mechanism="SCRAM-SHA-256").ok
        assert plaintext(store, "tim") == (b"first word",)
