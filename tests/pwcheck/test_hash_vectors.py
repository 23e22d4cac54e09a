"""Hashes that others have made, and whether a password is theirs: each through a whole login."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from hash_kit import EXAMPLES, PASSWORD, config, give, logs_in
from sasl_auxprop.memory import MemoryStore
from sasl_core import AuthenticationError, Server
from sasl_pwcheck.hashes.schemes import SUPPORTED
from sasl_pwcheck.hashes.text import parse_hash

FILE = Path(__file__).parents[1] / "vectors" / "dovecot_passwd.json"
VECTORS: list[dict[str, Any]] = json.loads(FILE.read_text("utf-8"))["vectors"]


def test_the_file_is_whole() -> None:
    """Thirty vectors: matching ones, others, and one that is an error."""
    verdicts = [vector["match"] for vector in VECTORS]
    assert (verdicts.count(True), verdicts.count(False), verdicts.count("error")) == (26, 3, 1)


@pytest.mark.parametrize("vector", VECTORS, ids=lambda vector: vector["stored"][:24])
def test_dovecots_vectors(vector: dict[str, Any]) -> None:
    """A user with this hash is let in by the password exactly where the two match."""
    store = MemoryStore()
    user = vector["user"].replace("-", "anybody")
    give(store, user, vector["stored"])
    with Server("imap", "mail.example.com", config=config(), stores=[store]) as server:
        if vector["match"] is True:
            assert server.checkpass(user, vector["password"]) == user
            with pytest.raises(AuthenticationError):
                server.checkpass(user, vector["password"] + "x")
        else:
            with pytest.raises(AuthenticationError) as caught:
                server.checkpass(user, vector["password"])
            assert vector["match"] != "error" or "unknown scheme" in str(caught.value.detail)


@pytest.mark.parametrize("name", EXAMPLES)
def test_hashes_made_by_others(name: str) -> None:
    """One hash of each maker and scheme, of a password beyond ASCII."""
    store = MemoryStore()
    give(store, "tim@example.com", EXAMPLES[name])
    with Server("imap", "mail.example.com", config=config(), stores=[store]) as server:
        assert not logs_in(server, "tim@example.com", "pä$swos")
        assert logs_in(server, "tim@example.com", PASSWORD)


def test_every_scheme_has_an_example() -> None:
    """No scheme is supported that nobody else's hash was checked with."""
    assert {parse_hash(text.encode()).scheme for text in EXAMPLES.values()} == set(SUPPORTED)
