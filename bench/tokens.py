"""Validating a token with a prepared key: everything of ours, beside PyJWT's `decode`.

Both verify the signature, and both see to issuer, audience and times. Ours has the strict gate
in front, and keeps the claims from being changed.
"""

from __future__ import annotations

import json
import time
from time import perf_counter
from typing import TYPE_CHECKING, Final

from bench.measure import interleave, middle, ratio
from bench.rows import Goal, Row
from sasl_core.plugin import HttpResponse
from sasl_tokens import IDPManager, JWKManager, JWSValidatedToken

if TYPE_CHECKING:
    from collections.abc import Iterator

    from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa

    from bench.measure import Effort, Operation

    Private = rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey
    Public = rsa.RSAPublicKey | ec.EllipticCurvePublicKey | ed25519.Ed25519PublicKey

__all__ = ["rows"]

ISSUER: Final = "https://issuer.example.com"
AUDIENCE: Final = "sasl"
ALGORITHMS: Final = ("RS256", "ES256", "EdDSA")
PYJWT: Final = 1.25
SEEN: Final = 3e-6


def private_key(alg: str) -> Private:
    """A new key."""
    from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa

    if alg == "RS256":
        return rsa.generate_private_key(65537, 2048)
    return (
        ec.generate_private_key(ec.SECP256R1())
        if alg == "ES256"
        else ed25519.Ed25519PrivateKey.generate()
    )


def key_set(alg: str, public: Public) -> HttpResponse:
    """What the issuer answers."""
    from jwt.algorithms import get_default_algorithms

    key = json.loads(get_default_algorithms()[alg].to_jwk(public))
    body = json.dumps({"keys": [{**key, "kid": alg, "key_ops": ["verify"]}]}).encode()
    return HttpResponse(200, (("content-type", "application/json"),), body)


def signed(alg: str, private: Private) -> str:
    """A token of a usual size: a person, two groups, valid for an hour."""
    import jwt

    now = int(time.time())
    claims = {
        "iss": ISSUER,
        "aud": [AUDIENCE],
        "sub": "3c1a6a10-7d4e-4f3a-9a39-9d7a2c1f0e55",
        "iat": now,
        "nbf": now,
        "exp": now + 3600,
        "jti": "b6e8a0b4-8a51-4d0f-8b1f-1f6a3a3f7c10",
        "preferred_username": "tim@example.com",
        "groups": ["readers", "writers"],
    }
    return jwt.encode(claims, private, alg, {"kid": alg})


def ours(token: str, keys: JWKManager) -> Operation:
    """Validate, then compare issuer and audience, as each caller does."""

    def run(times: int) -> float:
        begin = perf_counter()
        for _ in range(times):
            validated = JWSValidatedToken(token, keys)
            if validated.issuer != ISSUER or AUDIENCE not in validated.audiences:
                raise AssertionError("the token went wrong")
        return (perf_counter() - begin) / times

    return run


def pyjwt(token: str, alg: str, public: Public) -> Operation:
    """`jwt.decode` with the key that cryptography has prepared."""
    from jwt import decode

    def run(times: int) -> float:
        begin = perf_counter()
        for _ in range(times):
            claims = decode(token, public, algorithms=[alg], audience=AUDIENCE, issuer=ISSUER)
            if claims["preferred_username"] != "tim@example.com":
                raise AssertionError("the token went wrong")
        return (perf_counter() - begin) / times

    return run


def seen_before(token: str, answer: HttpResponse) -> Operation:
    """A whole login by a token that the identity providers have validated already."""
    provider: dict[str, object] = {
        "issuer": ISSUER,
        "audience": AUDIENCE,
        "authNamePrefix": "bench",
        "authorizationClaim": "groups",
        "supportsHumanFlows": False,
    }
    manager = IDPManager([provider])
    manager.providers[0].refresher.keys.load(answer)

    def run(times: int) -> float:
        begin = perf_counter()
        for _ in range(times):
            body = manager.authenticate(token)
            try:
                _ = next(body)
            except StopIteration as end:
                login = end.value
            else:
                raise AssertionError("the keys are there, and were asked for")
            if login.principal != "bench/3c1a6a10-7d4e-4f3a-9a39-9d7a2c1f0e55":
                raise AssertionError("the token went wrong")
        return (perf_counter() - begin) / times

    return run


def rows(effort: Effort) -> Iterator[Row]:
    """By each algorithm; then a token that was seen before."""
    seen: Operation | None = None
    for alg in ALGORITHMS:
        private = private_key(alg)
        public = private.public_key()
        token, answer = signed(alg, private), key_set(alg, public)
        keys = JWKManager(ISSUER)
        keys.load(answer)
        seen = seen or seen_before(token, answer)
        contenders = {"ours": ours(token, keys), "PyJWT": pyjwt(token, alg, public)}
        times = interleave(contenders, effort.times(300), effort.times(20, least=3))
        spread = ratio(times["ours"], times["PyJWT"])
        yield Row(
            topic="tokens",
            what=f"{alg} token, key prepared",
            unit="us",
            ours=middle(times["ours"]).middle,
            peer=middle(times["PyJWT"]).middle,
            peer_name="PyJWT",
            figure=spread.middle,
            figure_unit="x",
            spread=spread,
            goal=Goal(PYJWT, "x", of="PyJWT"),
            note="the gate, issuer and audience included",
        )
    if seen is not None:
        took = middle(interleave({"seen": seen}, effort.times(300), effort.times(200))["seen"])
        yield Row(
            topic="tokens",
            what="token seen before",
            unit="us",
            ours=took.middle,
            figure=took.middle,
            figure_unit="us",
            spread=took,
            goal=Goal(SEEN, "us"),
            note="to the login that it makes",
        )
