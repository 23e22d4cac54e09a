"""What the documentation shows as a stranger's plugins passes the conformance kit."""

from __future__ import annotations

import itertools
from typing import ClassVar

import attrs
import pytest
from sasl_stranger import Roster

from sasl_auxprop.memory import MemoryStore
from sasl_core import Server, SetpassFlag
from sasl_core.testing import (
    CanonicalizerConformance,
    Credentials,
    MechanismConformance,
    StoreConformance,
    declare,
)

PLUGINS = {
    "mechanisms": {"X-KNOCK": "sasl_stranger", "X-TICKET": "sasl_stranger"},
    "auxprop": {"roster": "sasl_stranger"},
    "canon_user": {"mailbox": "sasl_stranger"},
}


class TestKnock(MechanismConformance):
    """X-KNOCK, its secrets in a book of its own."""

    mechanism = "X-KNOCK"
    credentials = Credentials("alice", "wonderland-first")
    wrong_credentials = Credentials("alice", "wonderland-wrong")
    expected_authid = "alice"
    indistinguishable = {
        "an unknown user": Credentials("aline", "wonderland-wrong"),
        "a disabled user": Credentials("arnie", "wonderland-third"),
        "a user without a secret": Credentials("avril", "wonderland-wrong"),
    }
    packages = ("sasl_stranger",)
    bit_flips = 100

    @pytest.fixture(autouse=True)
    def book(self, tmp_path):
        options = {"path": str(tmp_path / "secrets.json")}
        self.told = {"mechanisms": {"X-KNOCK": options}}
        with Server(
            "x", "h.example", config=self.told, registry=self.registry(), stores=[MemoryStore()]
        ) as server:
            for user, password in (("alice", "first"), ("arnie", "third")):
                report = server.setpass(user, f"wonderland-{password}", SetpassFlag.CREATE)
                assert report.ok

    def registry(self):
        return declare(PLUGINS)

    def server_setup(self):
        return attrs.evolve(super().server_setup(), config=self.told)

    def client_setup(self):
        return attrs.evolve(super().client_setup(), config=self.told)

    def stores(self):
        store = MemoryStore()
        store.add_user("alice")
        store.add_user("arnie", disabled=True)
        store.add_user("avril")
        return (store,)

    def repeatable(self, challenge):
        return challenge[:32] if len(challenge) == 64 else None


class TestMailbox(CanonicalizerConformance):
    """mailbox, with a domain of ours."""

    name = "mailbox"
    config = {"canon_user": {"mailbox": {"domain": "example.com"}}}
    canonical = {
        "tim": "tim",
        " Tim ": "tim",
        "TIM@Example.COM": "tim",
        "tim@example.org": "tim@example.org",
    }
    refused: ClassVar[tuple[str, ...]] = (
        "",
        " ",
        "a b",
        "ti\u00e4m",
        "@example.com",
        "tim@example.com@example.com",
    )
    distinct = (("tim", "tom"), ("tim", "tim@example.org"))

    def registry(self):
        return declare(PLUGINS)


class TestMailboxOfNoDomain(TestMailbox):
    """mailbox as it is without options: nothing is cut off."""

    config = {}
    canonical = {"Tim": "tim", "tim@example.com": "tim@example.com"}
    refused = ("", " ", "a b", "ti\u00e4m")
    distinct = (("tim", "tim@example.com"), ("tim", "tim@"))


class TestRoster(StoreConformance):
    """roster."""

    @pytest.fixture(autouse=True)
    def folder(self, tmp_path):
        self.paths = (tmp_path / f"{number}.json" for number in itertools.count())

    def make_store(self, *, plaintext=False):
        return Roster(next(self.paths))
