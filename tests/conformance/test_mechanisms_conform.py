"""The mechanisms that come with sasl-core pass the conformance kit."""

from __future__ import annotations

from contextlib import closing

import pytest

from sasl_auxprop.memory import MemoryStore
from sasl_auxprop.sasldb import SqliteStore
from sasl_core import BindingPolicy, ConnectionFacts, Result, UserName
from sasl_core.plugin import AuxpropPlug, Change
from sasl_core.testing import Credentials, MechanismConformance
from store_kit import make_verifier

CLEAR: dict[str, object] = {
    "allow_cleartext": True,
    "scram_iteration_counter": 4096,
    "scram_iteration_cap": 20_000,
}

USERS = {
    "alice": ("wonderland-first", False),
    "barry": ("wonderland-other", False),
    "arnie": ("wonderland-third", True),
    "avril": ("", False),
}


class People(MechanismConformance):
    """Users, with an account each."""

    expected_authid = "alice"
    config = CLEAR
    packages = ("sasl_mechanisms", "sasl_auxprop")
    hashes = ("SHA-256",)

    def stores(self) -> tuple[AuxpropPlug, ...]:
        store = MemoryStore()
        for name, (password, disabled) in USERS.items():
            store.add_user(
                name,
                password=password or None,
                hashes=self.hashes,
                disabled=disabled,
                properties={"mailHost": [b"mx1"]},
            )
        return (store,)


class Passwords(People):
    """Users with passwords."""

    credentials = Credentials("alice", "wonderland-first")
    wrong_credentials = Credentials("alice", "wonderland-wrong")
    indistinguishable = {
        "an unknown user": Credentials("aline", "wonderland-wrong"),
        "a disabled user": Credentials("arnie", "wonderland-third"),
        "a user without a verifier": Credentials("avril", "wonderland-wrong"),
    }
    proxy = Credentials("alice", "wonderland-first", authzid="barry")
    proxy_with_their_secret = Credentials("alice", "wonderland-other", authzid="barry")


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


BOUND = ConnectionFacts(
    channel_bindings={"tls-exporter": b"exported by the connection"},
    binding_policy=BindingPolicy.REQUIRE,
    external_ssf=128,
)


class TestScramPlus(TestScram):
    """SCRAM-SHA-256-PLUS."""

    offered = "SCRAM-SHA-256-PLUS"
    facts = BOUND


class OtherHash(TestScram):
    """A member of the family that differs in its hash alone: bits are flipped thinly."""

    bit_flips = 64


class TestScramSha512(OtherHash):
    """SCRAM-SHA-512."""

    mechanism = "SCRAM-SHA-512"
    hashes = ("SHA-512",)
    config = {**CLEAR, "mech_list": ["SCRAM-SHA-512"]}


class TestScramSha1Plus(OtherHash):
    """SCRAM-SHA-1-PLUS, the shortest hash, whose base64 ends in another way."""

    mechanism = "SCRAM-SHA-1"
    hashes = ("SHA-1",)
    config = {**CLEAR, "scram_hashes": ["SHA-1"]}
    offered = "SCRAM-SHA-1-PLUS"
    facts = BOUND


@pytest.fixture(scope="module")
def database(tmp_path_factory):
    """A sasldb with the users, made once."""
    path = tmp_path_factory.mktemp("conformance") / "users.sqlite"
    with closing(SqliteStore(path)) as store:
        for name, (password, disabled) in USERS.items():
            values = {"authPassword": (make_verifier(password),)} if password else {}
            change = Change({"mailHost": (b"mx1",), **values}, create=True, disabled=disabled)
            assert store.write(UserName(name), change) is Result.OK
    return path


class FromSasldb(Passwords):
    """The same users, in an SQLite file. What the store does not change is sampled thinly."""

    bit_flips = 256

    @pytest.fixture(autouse=True)
    def opened(self, database):
        self.path = database

    def stores(self) -> tuple[AuxpropPlug, ...]:
        return (SqliteStore(self.path),)


class TestPlainFromSasldb(FromSasldb, TestPlain):
    """PLAIN, checked against the verifiers of a sasldb."""


class TestScramFromSasldb(FromSasldb, TestScram):
    """SCRAM-SHA-256, with the verifiers of a sasldb."""


class TestExternal(People):
    """EXTERNAL: the protection below vouches for alice."""

    mechanism = "EXTERNAL"
    facts = ConnectionFacts(external_id="alice", external_ssf=128)
    credentials = Credentials()
    proxy = Credentials(authzid="barry")


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
            "SLOW_DRIP",
        ),
        "a trace is free text, that nobody vouches for; an empty one is allowed (RFC 4505)",
    )
