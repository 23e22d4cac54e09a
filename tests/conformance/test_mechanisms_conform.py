"""The mechanisms that come with sasl-core pass the conformance kit."""

from __future__ import annotations

from sasl_auxprop.memory import MemoryStore
from sasl_core.testing import Credentials, MechanismConformance

CLEAR = {"allow_cleartext": True, "scram_iteration_counter": 4096, "scram_iteration_cap": 20_000}


class Passwords(MechanismConformance):
    """Users with passwords."""

    credentials = Credentials("alice", "wonderland-first")
    wrong_credentials = Credentials("alice", "wonderland-wrong")
    expected_authid = "alice"
    indistinguishable = {
        "an unknown user": Credentials("aline", "wonderland-wrong"),
        "a disabled user": Credentials("arnie", "wonderland-third"),
        "a user without a verifier": Credentials("avril", "wonderland-wrong"),
    }
    proxy = Credentials("alice", "wonderland-first", authzid="barry")
    proxy_with_their_secret = Credentials("alice", "wonderland-other", authzid="barry")
    config = CLEAR
    packages = ("sasl_mechanisms", "sasl_auxprop")

    def stores(self):
        store = MemoryStore()
        store.add_user("alice", password="wonderland-first")
        store.add_user("barry", password="wonderland-other")
        store.add_user("arnie", password="wonderland-third", disabled=True)
        store.add_user("avril", properties={"mailHost": [b"mx1"]})
        return (store,)


class TestPlain(Passwords):
    """PLAIN."""

    mechanism = "PLAIN"


class TestScram(Passwords):
    """SCRAM-SHA-256."""

    mechanism = "SCRAM-SHA-256"
    error_challenges = (b"e=invalid-proof", b"e=other-error")

    def repeatable(self, challenge):
        attributes = dict(part.split(b"=", 1) for part in challenge.split(b","))
        return attributes.get(b"s"), attributes.get(b"i")


class TestAnonymous(MechanismConformance):
    """ANONYMOUS."""

    mechanism = "ANONYMOUS"
    credentials = Credentials(trace="somebody@example.com")
    expected_authid = "anonymous"
    config = {"allow_anonymous": True}
    still_valid = dict.fromkeys(
        (
            "BIT_FLIP",
            "CASE_FLIP",
            "EMPTY",
            "NONCANONICAL_B64",
            "ONE_BYTE",
            "QUOTE_BYTE",
            "RANDOM_BYTE",
            "SHORTENED",
        ),
        "a trace is free text, that nobody vouches for; an empty one is allowed (RFC 4505)",
    )
