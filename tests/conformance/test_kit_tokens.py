"""The kit and mechanisms of bearer tokens: a sound toy passes, and each wrong one fails."""

from __future__ import annotations

from functools import cache
from typing import Any

import attrs
import pytest

from sasl_auxprop.memory import MemoryStore
from sasl_core import PromptId, Side
from sasl_core.negotiation import ClientNegotiation, Negotiation, ServerNegotiation
from sasl_core.plugin import HttpRequest, HttpResponse, NeedHttp
from sasl_core.testing import (
    DRIVERS,
    Credentials,
    MechanismConformance,
    declare,
)
from toy_tokens import GOOD, NO, TOYS, URL, WRONG


@cache
def toys():
    return declare({"mechanisms": dict.fromkeys(TOYS, "toy_tokens")})


class Bearer(MechanismConformance):
    """The sound toy of tokens; a test sets another mechanism."""

    mechanism = "X-TOKEN"
    credentials = Credentials(token=GOOD)
    wrong_credentials = Credentials(token=WRONG)
    expected_authid = "alice"
    expected_client_authid = "bearer"
    proxy = Credentials(token=GOOD, authzid="barry")
    error_challenges = (NO,)
    packages = ("toy_tokens",)
    config = {"allow_cleartext": True}

    def registry(self):
        return toys()

    def stores(self):
        store = MemoryStore()
        store.add_user("alice")
        store.add_user("barry")
        return (store,)

    def http(self, request):
        assert request.url == URL
        return HttpResponse(200)


class TestToken(Bearer):
    """The sound toy passes: its server says no in a challenge, and keeps the token of a login."""


class TestAsking(Bearer):
    """So does one whose server asks for the token, though it can be replayed."""

    mechanism = "X-ASKING"


class TestFetching(Bearer):
    """So does one of which both sides fetch something by HTTP."""

    mechanism = "X-FETCHING"


class TestHooked(Bearer):
    """So does one whose client keeps its token until it knows that it is let in."""

    mechanism = "X-HOOKED"


def wrong(**attributes):
    """An instance of the kit's class with other attributes."""
    return type("Wrong", (Bearer,), attributes)()


CASES = [
    ("test_corrupted_refusals", "X-RELENTING", "the server lets in: (SHORTENED|EMPTY)"),
    ("test_corrupted_refusals", "X-BELIEVING", "the client believes b'no' in place of the server"),
    ("test_no_secret_is_left", "X-HOARDING", "the server, done, keeps a secret"),
    ("test_no_secret_is_left", "X-TOKEN-TELLING", "secret"),
    ("test_logins", "X-NAMELESS", "authid is '[0-9a-f]{8}' at the client, not 'bearer'"),
    ("test_login_stands", "X-LAPSING", "does not stand when it is done"),
    ("test_login_stands", "X-FICKLE", "is refused when it is looked at again"),
]


@pytest.mark.parametrize(("check", "mechanism", "complaint"), CASES, ids=lambda text: text[:24])
def test_a_wrong_mechanism_fails(check, mechanism, complaint):
    """The check fails on a mechanism that is wrong in just this, and says so."""
    with pytest.raises(AssertionError, match=complaint):
        getattr(wrong(mechanism=mechanism), check)()


@pytest.mark.parametrize(
    ("check", "complaint"),
    [
        ("test_logins", "authid is 'bearer' at the client, not 'alice'"),
        ("test_own_secret_and_permission", "'bearer' acts as 'barry' at the client"),
    ],
)
def test_a_client_of_another_name_fails_where_none_is_declared(check, complaint):
    """Without `expected_client_authid` the client has to know who it is."""
    with pytest.raises(AssertionError, match=complaint):
        getattr(wrong(expected_client_authid=""), check)()


def test_a_session_that_keeps_its_token_when_it_is_closed_fails(monkeypatch):
    """What a standing login and a client in suspense may keep they may not keep for longer."""
    for side, mechanism in ((ServerNegotiation, "X-TOKEN"), (ClientNegotiation, "X-HOOKED")):
        with monkeypatch.context() as patched:
            patched.setattr(side, "close", Negotiation.close)
            with pytest.raises(AssertionError, match=r", closed, keeps a secret|holds a secret"):
                wrong(mechanism=mechanism).test_no_secret_is_left()


def test_a_source_tells_of_its_tokens():
    """A token that stands in no credentials is looked for when it is in `other_secrets`."""
    assert wrong(other_secrets=("token-of-a-source",)).secrets() == {
        GOOD,
        WRONG,
        "token-of-a-source",
    }


def test_credentials_hide_their_token():
    """It is an answer and a secret, and stands in no repr."""
    credentials = Credentials("alice", token=GOOD)
    assert credentials.prompts() == {PromptId.AUTHNAME: "alice", PromptId.TOKEN: GOOD}
    assert credentials.secrets() == {GOOD}
    assert GOOD not in repr(credentials)


def test_tokens_of_other_lengths_are_not_compared():
    """What a client could count by itself makes no comparison."""
    subject = wrong(indistinguishable={"a short one": Credentials(token="token-7")})
    with pytest.raises(AssertionError, match=r"a short one are given TOKEN of 7, .* TOKEN of 19"):
        subject.test_users_cannot_be_told_apart()


@pytest.mark.parametrize("driver", DRIVERS)
@pytest.mark.parametrize("side", ["server", "client"])
def test_either_side_gets_its_http(driver, side):
    """The setups' `http` serves that side through each driver; without it there is none."""
    setup = getattr(Bearer, f"{side}_setup")
    without = {f"{side}_setup": lambda self: attrs.evolve(setup(self), http=None)}
    for subject in (wrong(mechanism="X-FETCHING"), wrong(mechanism="X-FETCHING", **without)):
        with subject.stage(driver) as stage:
            outcome = stage.exchange(subject.credentials)
        assert outcome.worked == (f"{side}_setup" not in vars(type(subject)))
        error = getattr(outcome, side).error
        assert error is None or error.code == "no-http"


@pytest.mark.parametrize("driver", DRIVERS)
def test_a_stage_is_prepared(driver):
    """`prepare` is given each new stage, can run a body there, and what it does is not counted."""

    class Prepared(Bearer):
        def prepare(self, stage):
            self.answer = stage.run(self.fetch())
            stage.spies.decisions.append(("nobody", "nobody"))

        def fetch(self):
            return (yield from NeedHttp(HttpRequest("GET", URL)))

    subject = Prepared()
    with subject.stage(driver) as stage:
        assert subject.answer == HttpResponse(200)
        assert stage.spies.decisions == []


def test_a_client_is_told_that_it_is_refused():
    """When the protocol says no, the pair says so: what the client has kept is to be dropped."""
    told = []

    class Told:
        def __init__(self, session):
            self.session = session

        def __getattr__(self, name):
            return getattr(self.session, name)

        def refused(self):
            told.append(self.session.mechanism)
            return self.session.refused()

    def garble(message):
        # What makes the server fail the exchange without a message of its own.
        return [message.carrying(b"garbled")] if message.sender is Side.CLIENT else None

    for tamper in (garble, None):
        with wrong().stage() as stage, stage.pair(Bearer.credentials, tamper=tamper) as pair:
            client: Any = Told(pair.client)
            pair.client = client
            outcome = stage.driver.run(pair.play())
        assert outcome.worked == (tamper is None)
        assert told == ["X-TOKEN"]
