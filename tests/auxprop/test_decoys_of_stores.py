"""Decoys against the stores as they come: no user is known from what a challenge costs."""

from __future__ import annotations

import base64
from contextlib import closing

import pytest

from sasl_auxprop.memory import MemoryStore
from sasl_auxprop.sasldb import SqliteStore
from sasl_core import Server, SetpassFlag
from sasl_core.plugin import Change, UserName
from store_kit import make_verifier

KNOWN = ["alice", "bob"]
UNKNOWN = ["mallory", "trudy"]


def challenge(server, user):
    """Rounds and length of the salt in the server's first message to `user`."""
    with server.session(external_ssf=256) as session:
        reply = session.start(
            "SCRAM-SHA-256", b"n,,n=%b,r=fyko+d2lbbFgONRv9qkxdawL" % user.encode()
        )
    parts = dict(part.split("=", 1) for part in reply.data.decode().split(","))
    return int(parts["i"]), len(base64.b64decode(parts["s"]))


def challenges(server, *more):
    return {challenge(server, user) for user in (*KNOWN, *UNKNOWN, *more)}


@pytest.fixture
def sasldb(tmp_path):
    with closing(SqliteStore(tmp_path / "db.sqlite")) as store:
        yield store


def test_users_added_to_the_store_in_memory_cost_what_decoys_cost():
    """With nothing configured, `add_user` and decoys agree in rounds and length of salt."""
    store = MemoryStore()
    for user in KNOWN:
        store.add_user(user, password="pencil")
    store.add_user("locked", password="pencil", disabled=True)
    store.add_user("bare")
    with Server("imap", "mail.example.com", config={}, stores=[store]) as server:
        assert challenges(server, "locked", "bare") == {(15_000, 16)}


@pytest.mark.parametrize("kind", ["memory", "sasldb"])
def test_users_added_by_setpass_cost_what_decoys_cost(kind, sasldb):
    """With nothing configured, `setpass` and decoys agree in rounds and length of salt."""
    store = {"memory": MemoryStore(), "sasldb": sasldb}[kind]
    with Server("imap", "mail.example.com", config={}, stores=[store]) as server:
        for user in KNOWN:
            assert server.setpass(user, "pencil", SetpassFlag.CREATE).ok
        assert challenges(server) == {(15_000, 16)}


@pytest.mark.parametrize("kind", ["memory", "sasldb"])
def test_decoys_follow_the_store_and_not_the_configuration(kind, sasldb):
    """Rounds that were configured later show nobody among verifiers made before."""
    store = {"memory": MemoryStore(), "sasldb": sasldb}[kind]
    made = make_verifier("pencil", rounds=5000)
    for user in KNOWN:
        store.write(UserName(user), Change({"authPassword": (made,)}, create=True))
    config = {"scram_iteration_counter": 20_000}
    with Server("imap", "mail.example.com", config=config, stores=[store]) as server:
        assert challenges(server) == {(5000, 16)}
