"""Whether logins by password notice an identity provider that hangs, in asyncio.

Clients log in by SCRAM at the same time; between their two messages they leave the loop to
others. In turns they do so with nobody else about, and beside logins by token whose keys
a provider is asked for that accepts the connection and says nothing. What counts is the 99th
percentile of how long a login by password takes, in the same round the least of three: what
other programs do to one of them is not the provider's doing.
"""

from __future__ import annotations

import asyncio
import socket
from contextlib import suppress
from statistics import quantiles
from time import perf_counter
from typing import TYPE_CHECKING, Final

from bench.ideal import client_final, client_first
from bench.measure import middle, ratio, settled
from bench.oidc import ALGORITHM, PROVIDER, signer
from bench.oidc import MECHANISM as OIDC
from bench.people import HOST, SERVICE, People, crowd
from bench.rows import Goal, Row
from bench.scram import MECHANISM
from bench.tokens import private_key
from sasl_core import BackendError, aio
from sasl_http import HttpTransport
from sasl_mechanisms.mongodb_oidc.messages import format_client_step2
from sasl_tokens import idp_manager

if TYPE_CHECKING:
    from collections.abc import Iterator

    from bench.measure import Effort

__all__ = ["rows"]

CLIENTS: Final = 20
LOGINS: Final = 1000
LEAST_OF: Final = 3
WAITING: Final = 100
LIMIT: Final = 1.5
FOREVER: Final = 3600.0


async def _late(server: aio.Server, people: People, logins: int) -> float:
    """The 99th percentile of the seconds that a login takes, the least of some."""
    return min([await _passwords(server, people, logins) for _ in range(LEAST_OF)])


async def _passwords(server: aio.Server, people: People, logins: int) -> float:
    """The 99th percentile of the seconds that a login takes."""
    took: list[float] = []
    first = client_first(people.names[0].encode())

    async def client(times: int) -> None:
        for _ in range(times):
            begin = perf_counter()
            async with server.session(success_data=True) as session:
                challenge = (await session.start(MECHANISM, b"n" + first[1:])).data or b""
                await asyncio.sleep(0)
                response, expected = client_final(people.client, first, challenge)
                if (await session.step(response)).data != expected:
                    raise AssertionError("the login went wrong")
            took.append(perf_counter() - begin)
            await asyncio.sleep(0)

    _ = await asyncio.gather(*(client(max(1, logins // CLIENTS)) for _ in range(CLIENTS)))
    return quantiles(took, n=100, method="inclusive")[98]


async def _by_token(server: aio.Server, message: bytes) -> None:
    with suppress(BackendError):
        async with server.session(external_ssf=256) as session:
            _ = await session.start(OIDC, message)
            raise AssertionError("nobody has the key")


async def _rounds(rounds: int, logins: int) -> tuple[list[float], list[float]]:
    """Alone, and beside those who wait: the percentile of each round."""
    people = crowd(["tim"])
    message = format_client_step2(signer(private_key(ALGORITHM))())
    alone: list[float] = []
    beside: list[float] = []
    with socket.create_server(("127.0.0.1", 0), backlog=16) as silent:
        place = f"https://127.0.0.1:{silent.getsockname()[1]}/keys"
        config = {"identity_providers": [{**PROVIDER, "JWKSUri": place}]}
        for number in range(rounds):
            with HttpTransport() as http:
                async with aio.Server(
                    SERVICE, HOST, config=config, stores=[people.store()], http=http
                ) as server:
                    (provider,) = idp_manager(server.utils).providers
                    provider.refresher.keys.deadline = FOREVER
                    _ = await _passwords(server, people, CLIENTS * 5)
                    # Neither always comes first.
                    if number % 2:
                        alone.append(await _late(server, people, logins))
                    waiting = [
                        asyncio.create_task(_by_token(server, message)) for _ in range(WAITING)
                    ]
                    await asyncio.sleep(0.05)
                    beside.append(await _late(server, people, logins))
                    if any(task.done() for task in waiting):
                        raise AssertionError("the provider did not hang")
                    http.close()
                    _ = await asyncio.gather(*waiting)
                    if not number % 2:
                        alone.append(await _late(server, people, logins))
    return alone, beside


def rows(effort: Effort) -> Iterator[Row]:
    """One row: the ratio of the percentiles."""
    rounds, logins = effort.times(15), effort.times(LOGINS, least=100)
    with settled():
        alone, beside = asyncio.run(_rounds(rounds, logins))
    spread = ratio(beside, alone)
    yield Row(
        topic="provider",
        what="SCRAM logins beside a provider that hangs: p99",
        unit="ms",
        ours=middle(beside).middle,
        floor=middle(alone).middle,
        floor_name="nobody waits for a provider",
        figure=spread.middle,
        figure_unit="x",
        spread=spread,
        goal=Goal(LIMIT, "x", of="undisturbed"),
        note=(
            f"asyncio, {CLIENTS} clients at once, {LEAST_OF} times {logins:,} logins a round, "
            f"median of {rounds}; "
            f"{WAITING} logins by token wait"
        ),
    )
