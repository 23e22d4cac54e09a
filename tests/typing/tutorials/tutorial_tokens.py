# Written by tests/tools/write_tutorials.py from docs/tutorials/tokens.md: change the page.
# pyright: reportUnusedCallResult=false
from collections.abc import Sequence

from sasl_core.plugin import (
    ClientContext, ClientPlug, Feature, NeedPeer, Needs, NeedVerdict, PromptId, SaslUtils,
    SecurityFlag, ServerContext, ServerPlug, Success, hookimpl,
)
from sasl_tokens import held_token, idp_manager, obtain_token, token_refused

SASL_PLUGIN_API = 1


class Badge:
    """What both sides have: C: the token; S: success or failure."""

    name = "X-BADGE"
    # The server gets what could be used elsewhere, in clear text: it is offered under TLS only.
    security_flags = SecurityFlag.NOANONYMOUS | SecurityFlag.PASS_CREDENTIALS
    features = Feature.WANT_CLIENT_FIRST


class BadgeServer(Badge, ServerPlug):
    def __init__(self, utils: SaslUtils) -> None:
        self.manager = idp_manager(utils)

    def availability(self) -> str | None:
        return None if self.manager.configured else "no identity provider is configured"

    def converse(self, ctx: ServerContext) -> Needs[Success]:
        token = (yield from NeedPeer()).decode("ascii", "replace")
        login = yield from self.manager.authenticate(token)
        return Success(ctx.accept_token(login))


class BadgeClient(Badge, ClientPlug):
    required_prompts = (PromptId.AUTHNAME, PromptId.TOKEN)  # a source answers the latter too

    def converse(self, ctx: ClientContext) -> Needs[Success]:
        (authid,) = yield from ctx.ask(PromptId.AUTHNAME)
        ctx.canon_user(authid)
        token = yield from held_token(ctx, authid)
        if token is None:
            token = yield from obtain_token(ctx, username=authid)
        said = yield from NeedVerdict(token.encode())
        if said is not None:
            token_refused(ctx, token)
            ctx.refuse_server("the server has something against the token")
        return Success()


@hookimpl
def sasl_server_plug_init(utils: SaslUtils) -> Sequence[ServerPlug]:
    return [BadgeServer(utils)]


@hookimpl
def sasl_client_plug_init(utils: SaslUtils) -> Sequence[ClientPlug]:
    return [BadgeClient()]


import json
import time

import jwt
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from jwt.algorithms import OKPAlgorithm

from sasl_auxprop.memory import MemoryStore
from sasl_core import Client, Server
from sasl_core.plugin import HttpRequest, HttpResponse, TokenRequest
from sasl_core.testing import declare
from sasl_credentials import CallbackTokens

ISSUER = "https://id.example.com"
KEY = Ed25519PrivateKey.generate()


def issuer(request: HttpRequest) -> HttpResponse:
    public = {**OKPAlgorithm.to_jwk(KEY.public_key(), as_dict=True), "kid": "1"}
    answer: dict[str, object] = {"keys": [public]}
    if request.url != f"{ISSUER}/keys":
        answer = {"issuer": ISSUER, "jwks_uri": f"{ISSUER}/keys"}
    headers = (("content-type", "application/json"),)
    return HttpResponse(200, headers, json.dumps(answer).encode())


def get_token(request: TokenRequest) -> str:
    claims = {
        "iss": ISSUER, "aud": "cave", "sub": "ali", "groups": ["bats"],
        "exp": int(time.time()) + 300,
    }
    return jwt.encode(claims, KEY, "EdDSA", {"kid": "1"})


providers = [{
    "issuer": ISSUER, "audience": "cave", "authNamePrefix": "id",
    "authorizationClaim": "groups", "supportsHumanFlows": False,
}]
badges = declare({"mechanisms": {"X-BADGE": __name__}})
with Server(
    "cave", "cave.example.com", stores=[MemoryStore()], http=issuer, registry=badges,
    config={"identity_providers": providers},
) as server, Client(
    "cave", "cave.example.com", credentials=CallbackTokens(get_token), registry=badges
) as client:
    near = server.session(external_ssf=256)
    far = client.session(external_ssf=256, authid="ali")
    assert near.start("X-BADGE", far.start(["X-BADGE"]).data).done
    far.finish()
    assert near.authid == "id/ali"
    assert near.valid()
