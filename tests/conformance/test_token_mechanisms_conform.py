"""MONGODB-OIDC passes the conformance kit, with a token at hand and with a person."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count
from types import SimpleNamespace
from typing import Any, cast

import attrs
import pytest

from sasl_auxprop.memory import MemoryStore
from sasl_core import PromptId, Side
from sasl_core.negotiation import Phase
from sasl_core.plugin import AuxpropPlug
from sasl_core.registry import Registry
from sasl_core.testing import ClientSetup, Credentials, MechanismConformance, declare
from sasl_core.testing.pairs import ExchangePair, Outcome
from sasl_core.testing.subject import Stage
from sasl_mechanisms.mongodb_oidc.client import UNNAMED
from sasl_tokens.cache import TokenCache
from sasl_tokens.manager import idp_manager
from token_kit import FakeIssuer, make_key, run
from toy_person import PROVIDER as KNOWN
from toy_person import TOKENS

URL, CLIENT, SCOPES = KNOWN
ISSUER = FakeIssuer(URL, algs=["ES256"], lifetime=86_400)
GOOD = ISSUER.sign(sub="alice", roles=["read"])
# As long, and by the same name, and signed by somebody else.
FORGED = make_key("ES256", ISSUER.signer().kid, 9).sign(ISSUER.claims(sub="mallo", roles=["read"]))

PROVIDER = {
    "issuer": URL,
    "audience": "sasl",
    "authNamePrefix": "test",
    "clientId": CLIENT,
    "requestScopes": list(SCOPES),
    "authorizationClaim": "roles",
}


SPARED = SimpleNamespace(peek=lambda: SimpleNamespace(phase=Phase.RUNNING))
"""In the place of a session that may keep a secret."""


class Tokens(MechanismConformance):
    """An identity provider whose keys the server has already."""

    mechanism = "MONGODB-OIDC"
    expected_authid = "test/alice"
    config = {"allow_cleartext": True, "identity_providers": [PROVIDER]}
    packages = ("sasl_mechanisms", "sasl_tokens")
    client_authid = UNNAMED

    @contextmanager
    def stage(self, *arguments: Any, **more: Any) -> Iterator[Stage]:
        with super().stage(*arguments, **more) as stage:
            # No exchange fetches: a key that nobody knows is not asked for again so soon.
            run(idp_manager(stage.server.utils).refresh_keys(), ISSUER.http)
            yield stage

    def stores(self) -> tuple[AuxpropPlug, ...]:
        return (MemoryStore(),)

    def client_setup(self) -> ClientSetup:
        return ClientSetup(host="localhost", config={"allow_cleartext": True})

    def secrets(self) -> set[str]:
        return {GOOD, FORGED}

    def _agree(self, stage: Stage, outcome: Outcome) -> None:
        # What the server calls the user is in the token, which the client does not read.
        client = outcome.client
        assert client.authid == client.authzid == self.client_authid
        known = attrs.evolve(client, authid=self.expected_authid, authzid=self.expected_authid)
        super()._agree(stage, attrs.evolve(outcome, client=known))

    keeps_tokens = False
    """Whether the Client keeps what it sends, until it is told that it was refused."""

    def _forgotten(self, pair: Any, outcome: Outcome, secrets: set[str]) -> None:
        # A login that stands keeps its token, so that it can be validated again.
        server = SPARED if outcome.server.ok else pair.server
        kept = self.keeps_tokens and pair.client.peek().phase is Phase.THROUGH
        both = SimpleNamespace(server=server, client=SPARED if kept else pair.client)
        super()._forgotten(cast("ExchangePair", both), outcome, secrets)

    def test_replay(self) -> None:
        """A token is as good the second time: who has it can use it, until it expires."""
        with self.stage() as stage:
            outcome = self.honest(stage)
            _, *rest = said = [message.data for message in outcome.sent(Side.CLIENT)]
            session = stage.server_session()
            reply = session.start(self.mechanism, said[0])
            for data in rest:
                reply = session.step(data or b"")
            assert reply.done
            session.close()


class TestMongodbOidcOneStep(Tokens):
    """The client has a token."""

    credentials = Credentials(answers={PromptId.TOKEN: GOOD})
    wrong_credentials = Credentials(answers={PromptId.TOKEN: FORGED})


@pytest.fixture(autouse=True)
def persons() -> Iterator[None]:
    """Who may log in at the provider."""
    TOKENS.update({None: GOOD, "alice": GOOD, "mallo": FORGED})
    yield
    TOKENS.clear()


REGISTRY = declare({"credentials": {"person": "toy_person"}})


class TestMongodbOidcTwoSteps(Tokens):
    """The client's user logs in at the provider that the server names."""

    credentials = Credentials("alice")
    wrong_credentials = Credentials("mallo")
    client_authid = "alice"
    still_valid = dict.fromkeys(
        ("BIT_FLIP", "CASE_FLIP", "QUOTE_BYTE", "RANDOM_BYTE"),
        "a field that nobody knows is ignored, and a server can do without the hint",
    )
    keeps_tokens = True
    bit_flips = 1024

    def registry(self) -> Registry:
        return REGISTRY

    def client_setup(self) -> ClientSetup:
        config = {"allow_cleartext": True, "credentials_plugin": "person"}
        return ClientSetup(host="localhost", config=config, registry=self.registry())

    @contextmanager
    def stage(self, *arguments: Any, **more: Any) -> Iterator[Stage]:
        with super().stage(*arguments, **more) as stage:
            # A source is left alone for a tenth of a second; here each look at the clock is one.
            later = map(float, count())
            stage.client.utils.shared(
                "oidc-token-cache", lambda: TokenCache(time.time, lambda: next(later))
            )
            yield stage
