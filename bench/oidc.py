"""One-step logins by MONGODB-OIDC through the glue, beside the validation of their tokens alone.

A blocking server that knows the key. Each run takes tokens that were never seen before; they are
signed before anything is measured, and their message is what a client sends. What is above the
validation is the price of the session, the message, the choice of the provider, roles, and the log.
"""

from __future__ import annotations

import time
from itertools import count
from time import perf_counter
from typing import TYPE_CHECKING, Any, Final

from bench.measure import interleave, middle
from bench.people import HOST
from bench.rows import Goal, Row
from bench.tokens import AUDIENCE, ISSUER, key_set, private_key
from sasl_auxprop.memory import MemoryStore
from sasl_core import Server
from sasl_mechanisms.mongodb_oidc.messages import format_client_step2
from sasl_tokens import JWKManager, JWSValidatedToken, idp_manager

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from bench.measure import Effort, Operation
    from sasl_core.plugin import HttpResponse
    from sasl_tokens import IDPManager

__all__ = ["rows"]

MECHANISM: Final = "MONGODB-OIDC"
ALGORITHM: Final = "ES256"
NAME: Final = "bench/3c1a6a10-7d4e-4f3a-9a39-9d7a2c1f0e55"
ABOVE: Final = 25e-6

PROVIDER: Final[dict[str, object]] = {
    "issuer": ISSUER,
    "audience": AUDIENCE,
    "authNamePrefix": "bench",
    "authorizationClaim": "groups",
    "supportsHumanFlows": False,
}


class Tokens:
    """Tokens that nobody has seen, signed in advance: signing empties the processor's caches."""

    def __init__(self, sign: Callable[[], str], signed: int) -> None:
        self._sign = sign
        self._signed = [sign() for _ in range(signed)]

    def take(self, times: int) -> list[str]:
        """So many; what rounds that were disturbed have used up is signed now."""
        taken = self._signed[-times:]
        del self._signed[-times:]
        return taken + [self._sign() for _ in range(times - len(taken))]


def signer(private: Any) -> Callable[[], str]:
    """Makes tokens of a usual size, no two of them alike."""
    import jwt

    numbers = count()

    def sign() -> str:
        now = int(time.time())
        claims = {
            "iss": ISSUER,
            "aud": [AUDIENCE],
            "sub": NAME.partition("/")[2],
            "iat": now,
            "nbf": now,
            "exp": now + 3600,
            "jti": f"b6e8a0b4-8a51-4d0f-8b1f-{next(numbers):012}",
            "preferred_username": "tim@example.com",
            "groups": ["readers", "writers"],
        }
        return jwt.encode(claims, private, ALGORITHM, {"kid": ALGORITHM})

    return sign


def validation(fresh: Tokens, answer: HttpResponse) -> Operation:
    """The token alone: validated, issuer and audience compared."""
    keys = JWKManager(ISSUER)
    keys.load(answer)

    def run(times: int) -> float:
        tokens = fresh.take(times)
        begin = perf_counter()
        for token in tokens:
            validated = JWSValidatedToken(token, keys)
            if validated.issuer != ISSUER or AUDIENCE not in validated.audiences:
                raise AssertionError("the token went wrong")
        return (perf_counter() - begin) / times

    return run


def providers(fresh: Tokens, manager: IDPManager) -> Operation:
    """What the mechanism asks: the provider chosen, the token validated, its roles named."""

    def run(times: int) -> float:
        tokens = fresh.take(times)
        begin = perf_counter()
        for token in tokens:
            try:
                _ = next(manager.authenticate(token))
            except StopIteration as end:
                found = end.value
            else:
                raise AssertionError("the keys are there, and were asked for")
            if found.principal != NAME:
                raise AssertionError("the token went wrong")
        return (perf_counter() - begin) / times

    return run


def login(server: Server, messages: Callable[[int], list[bytes]]) -> Operation:
    """A session, one message, the identity read, close."""

    def run(times: int) -> float:
        sent = messages(times)
        begin = perf_counter()
        for message in sent:
            session = server.session(external_ssf=256)
            if not session.start(MECHANISM, message).done or session.authid != NAME:
                raise AssertionError("the login went wrong")
            session.close()
        return (perf_counter() - begin) / times

    return run


def rows(effort: Effort) -> Iterator[Row]:
    """A token never seen before, then one that was."""
    private = private_key(ALGORITHM)
    answer = key_set(ALGORITHM, private.public_key())
    rounds, each = effort.times(300), effort.times(20, least=3)
    sign = signer(private)
    fresh, known = Tokens(sign, rounds * each * 4), format_client_step2(sign())
    config = {"identity_providers": [PROVIDER]}
    with Server("mongodb", HOST, config=config, stores=[MemoryStore()]) as server:
        manager = idp_manager(server.utils)
        (provider,) = manager.providers
        provider.refresher.keys.load(answer)
        contenders = {
            "validation": validation(fresh, answer),
            "providers": providers(fresh, manager),
            "new": login(server, lambda n: list(map(format_client_step2, fresh.take(n)))),
            "seen": login(server, lambda n: [known] * n),
        }
        times = interleave(contenders, rounds, each)
    typical = {name: middle(took).middle for name, took in times.items()}
    above = middle(
        [one - other for one, other in zip(times["new"], times["validation"], strict=True)]
    )
    yield Row(
        topic="oidc",
        what=f"MONGODB-OIDC login, new {ALGORITHM} token",
        unit="us",
        ours=typical["new"],
        floor=typical["validation"],
        floor_name="validation of the token alone",
        figure=above.middle,
        figure_unit="us",
        spread=above,
        goal=Goal(ABOVE, "us", of="more"),
        note=(
            "server, one step, key known; the identity providers without the glue "
            f"{typical['providers'] * 1e6:.1f} us"
        ),
    )
    seen = middle(times["seen"])
    yield Row(
        topic="oidc",
        what="MONGODB-OIDC login, token seen before",
        unit="us",
        ours=seen.middle,
        floor=typical["validation"],
        floor_name="validation of the token alone",
        figure=seen.middle,
        figure_unit="us",
        spread=seen,
        note="server, one step",
    )
