"""Each check of a mechanism passes a sound toy, and fails on one that is wrong where it looks."""

from __future__ import annotations

from functools import cache
from typing import ClassVar

import attrs
import pytest

from sasl_auxprop.memory import MemoryStore
from sasl_core.negotiation import base, client, server
from sasl_core.testing import (
    BlockingDriver,
    Credentials,
    Driver,
    MechanismConformance,
    declare,
)
from toy_mechanisms import TOYS


@cache
def toys():
    modules = dict.fromkeys(TOYS, "toy_mechanisms")
    return declare({"mechanisms": {**modules, "X-STEPWISE": "toy_stepwise"}})


class Toy(MechanismConformance):
    """The sound toy; a test sets another mechanism."""

    mechanism = "X-SOUND"
    credentials = Credentials("alice", "wonderland-first")
    wrong_credentials = Credentials("alice", "wonderland-wrong")
    expected_authid = "alice"
    indistinguishable = {"an unknown user": Credentials("aline", "wonderland-wrong")}
    proxy: ClassVar[Credentials | None] = Credentials("alice", "wonderland-first", authzid="barry")
    proxy_with_their_secret: ClassVar[Credentials | None] = Credentials(
        "alice", "wonderland-other", authzid="barry"
    )
    packages = ("toy_mechanisms",)

    def registry(self):
        return toys()

    def stores(self):
        store = MemoryStore(plaintext=True)
        store.add_user("alice", password="wonderland-first", hashes=())
        store.add_user("barry", password="wonderland-other", hashes=())
        return (store,)


class TestSound(Toy):
    """The sound toy passes."""


class TestStepwise(Toy):
    """A toy with a step function, where the server begins, passes."""

    mechanism = "X-STEPWISE"
    packages = ("toy_stepwise",)
    proxy = None
    proxy_with_their_secret = None


CASES = [
    ("test_metadata", "X-FLAGS", "the two sides differ in security_flags"),
    ("test_flags_are_kept", "X-PLAINTEXT", "NOPLAINTEXT, and the secret is sent"),
    ("test_logins", "X-SOMEBODY", "authid is 'not-alice' at the client, not 'alice'"),
    ("test_channel_binding", "X-UNBOUND", "was hidden by somebody, and the login succeeds"),
    ("test_bounds", "X-TWICE", "second key derivation"),
    ("test_cancelled_at_each_await", "X-TELLING", "the client keeps a secret"),
    ("test_wrong_secret", "X-OPEN", "a wrong secret is accepted"),
    ("test_wrong_secret", "X-MUTE", "failed without a detail"),
    ("test_corruptions", "X-LAX", "CASE_FLIP .* of the client's message 1 .response."),
    ("test_corruptions", "X-RAISING", "broke the plugin's contract: .*UnicodeDecodeError"),
    ("test_bit_flips", "X-LAX", "survives the flip of bit"),
    ("test_any_bytes", "X-RAISING", "UnicodeDecodeError"),
    ("test_any_bytes", "X-BLAMING", "BackendError for what the peer sent"),
    ("test_server_proves_itself", "X-GULLIBLE", "the client believes a success"),
    ("test_replay", "X-STATIC", "a recorded exchange is accepted again"),
    ("test_replay", "X-STATIC-CHALLENGE", "a recorded exchange is accepted again"),
    ("test_refused_is_refused", "X-SECOND", "the server refuses, and then succeeds|still answers"),
    ("test_no_secret_is_left", "X-TELLING", "secret"),
    ("test_detail_stays_here", "X-CHATTY", "the detail of .* is sent|names the user"),
    ("test_users_cannot_be_told_apart", "X-KNOWING", "an unknown user can be told"),
    ("test_own_secret_and_permission", "X-NOAUTHZID", "'alice' acts as 'alice'|authzid"),
    ("test_own_secret_without_permission", "X-NOAUTHZID", "a forbidden authzid is accepted"),
    ("test_their_secret_is_no_proof", "X-BORROWING", "is taken for one's own"),
]


@pytest.mark.parametrize(("check", "mechanism", "complaint"), CASES, ids=lambda text: text[:24])
def test_a_wrong_mechanism_fails(check, mechanism, complaint):
    """The check fails on a mechanism that is wrong in just this, and says so."""
    subject = type("Wrong", (Toy,), {"mechanism": mechanism})()
    with pytest.raises(AssertionError, match=complaint):
        getattr(subject, check)()


def test_an_undeclared_proxy_fails():
    """A mechanism with ALLOWS_PROXY that is not tried with an authzid does not pass."""
    subject = type("Wrong", (Toy,), {"proxy": None})()
    with pytest.raises(AssertionError, match="ALLOWS_PROXY"):
        subject.test_proxy_is_declared()


@pytest.mark.parametrize("name", ["SHORTENED", "NO_SUCH_KIND"])
def test_an_idle_exemption_fails(name):
    """An entry of still_valid that is not needed, or names no kind, is a failure."""
    subject = type("Wrong", (Toy,), {"still_valid": {name: "for no reason"}})()
    with pytest.raises(AssertionError, match="still_valid lists"):
        subject.test_corruptions()


def test_an_idle_exemption_from_bit_flips_fails():
    """BIT_FLIP in still_valid is a failure when no flip succeeds."""
    subject = type("Wrong", (Toy,), {"still_valid": {"BIT_FLIP": "no reason"}, "bit_flips": 20})()
    with pytest.raises(AssertionError, match="BIT_FLIP, which never succeeded"):
        subject.test_bit_flips()


class Forgetful:
    """A server's session that begins anew at each start."""

    def __init__(self, make):
        self.make = make
        self.session = make()

    def peek(self):
        return self.session.peek()

    def start(self, mechanism, initial=None):
        if self.session.peek().phase:
            self.session.close()
            self.session = self.make()
        return self.session.start(mechanism, initial)

    def step(self, response):
        return self.session.step(response)

    def close(self):
        self.session.close()


class ForgetfulDriver(BlockingDriver):
    def server_session(self, server, setup, facts):
        return Forgetful(lambda: server.session(**facts))


def test_a_session_that_begins_anew_fails():
    """A session that takes another start after its end does not pass."""

    class Wrong(Toy):
        def stage(self, driver: str | Driver = "blocking", **more):
            return super().stage(ForgetfulDriver(), **more)

    with pytest.raises(AssertionError, match="the server's start after the end gives Reply"):
        Wrong().test_over_is_over()


def test_a_missing_bound_fails(monkeypatch):
    """Without the limit of 64 KiB the messages over it are not refused for their length."""
    for module in (base, client, server):
        # Wherever the negotiation looks at it.
        monkeypatch.setattr(module, "MESSAGE_LIMIT", 1 << 30, raising=False)
    with pytest.raises(AssertionError, match="over the limit is refused as toy"):
        Toy().test_too_long_messages()


def test_an_ignored_policy_fails():
    """A proxy policy that is not asked does not pass."""

    class Wrong(Toy):
        def stage(self, driver: str | Driver = "blocking", *, policy=None, **more):
            return super().stage(driver, **more)

    with pytest.raises(AssertionError, match="the policy's no is ignored"):
        Wrong().test_denied_altogether()


def test_a_client_that_is_answered_otherwise_fails():
    """Where what the application answers does not reach the mechanism, it does not pass."""

    class Mixed(BlockingDriver):
        def client_session(self, client, credentials, facts, *, asks=False):
            if asks:
                credentials = attrs.evolve(credentials, password="wonderland-wrong")
            return super().client_session(client, credentials, facts, asks=asks)

    class Wrong(Toy):
        def stage(self, driver: str | Driver = "blocking", **more):
            return super().stage(Mixed(), **more)

    with pytest.raises(AssertionError, match="a client that asks for everything fails"):
        Wrong().test_interactions()


@pytest.mark.parametrize(
    ("mechanism", "kind"), [("X-PATIENT", "SLOW_DRIP"), ("X-PATIENT", "STARTTLS_BUFFERED")]
)
def test_a_mechanism_that_waits_for_a_better_message_fails(mechanism, kind):
    """A server that passes over what it cannot read takes torn and buffered messages."""
    subject = type("Wrong", (Toy,), {"mechanism": mechanism, "credentials": Toy.credentials})()
    with pytest.raises(AssertionError, match=f"{kind} .* of the client's message 1"):
        subject.test_corruptions()


def test_every_check_has_a_failure():
    """No check of the kit is without a case here in which it fails."""
    checks = {name for name in dir(MechanismConformance) if name.startswith("test_")}
    elsewhere = {
        "test_interactions",
        "test_proxy_is_declared",
        "test_over_is_over",
        "test_too_long_messages",
        "test_denied_altogether",
    }
    of_tokens = {"test_corrupted_refusals", "test_login_stands"}  # in test_kit_tokens
    assert checks == {check for check, _, _ in CASES} | elsewhere | of_tokens
