"""MONGODB-OIDC passes the conformance kit, with a token at hand and with a person."""

from __future__ import annotations

from collections.abc import Iterator

import attrs
import pytest

from hasty_cache import hasten
from sasl_auxprop.memory import MemoryStore
from sasl_core.plugin import AuxpropPlug, HttpRequest, HttpResponse
from sasl_core.registry import Registry
from sasl_core.testing import ClientSetup, Credentials, MechanismConformance, Stage, declare
from sasl_tokens.manager import idp_manager
from sasl_tokens.terms import UNNAMED
from token_kit import FakeIssuer, make_key
from toy_person import PROVIDER as KNOWN
from toy_person import TOKENS

URL, CLIENT, SCOPES = KNOWN
ISSUER = FakeIssuer(URL, algs=["ES256"], lifetime=86_400)
STRANGER = make_key("ES256", ISSUER.signer().kid, 9)
GOOD = ISSUER.sign(sub="alice", roles=["read"])
# As long, and signed by somebody else.
FORGED = STRANGER.sign(ISSUER.claims(sub="mallo", roles=["read"]))
FORGED_TOO = STRANGER.sign(ISSUER.claims(sub="alice", roles=["root"]))

PROVIDER = {
    "issuer": URL,
    "audience": "sasl",
    "authNamePrefix": "test",
    "clientId": CLIENT,
    "requestScopes": list(SCOPES),
    "authorizationClaim": "roles",
}


class Tokens(MechanismConformance):
    """An identity provider whose keys the server has already."""

    mechanism = "MONGODB-OIDC"
    expected_authid = "test/alice"
    config = {"allow_cleartext": True, "identity_providers": [PROVIDER]}
    packages = ("sasl_mechanisms", "sasl_tokens")

    def http(self, request: HttpRequest) -> HttpResponse:
        return ISSUER.http(request)

    def prepare(self, stage: Stage) -> None:
        # No exchange fetches: a key that nobody knows is not asked for again so soon.
        stage.run(idp_manager(stage.server.utils).refresh_keys())

    def stores(self) -> tuple[AuxpropPlug, ...]:
        return (MemoryStore(),)

    def client_setup(self) -> ClientSetup:
        # A person's token goes to this machine, if nothing is said of other hosts.
        return attrs.evolve(
            super().client_setup(), host="localhost", config={"allow_cleartext": True}
        )


class TestMongodbOidcOneStep(Tokens):
    """The client has a token."""

    credentials = Credentials(token=GOOD)
    wrong_credentials = Credentials(token=FORGED)
    indistinguishable = {"somebody else": Credentials(token=FORGED_TOO)}
    expected_client_authid = UNNAMED


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
    other_secrets = (GOOD, FORGED)
    expected_client_authid = UNNAMED
    still_valid = dict.fromkeys(
        ("BIT_FLIP", "CASE_FLIP", "QUOTE_BYTE", "RANDOM_BYTE"),
        "a field that nobody knows is ignored, and a server can do without the hint",
    )
    bit_flips = 1024

    def registry(self) -> Registry:
        return REGISTRY

    def client_setup(self) -> ClientSetup:
        return attrs.evolve(super().client_setup(), credentials="person")

    def prepare(self, stage: Stage) -> None:
        super().prepare(stage)
        hasten(stage.client)
