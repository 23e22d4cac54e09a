"""Hundreds of PyMongo's connections, by MONGODB-OIDC, outlive their tokens and lose nothing."""

from __future__ import annotations

import asyncio
import resource
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from driver_load import LoadServer, ShortLived, hold, hold_by_threads

pytestmark = [pytest.mark.interop, pytest.mark.slow]

CONNECTIONS = 500
FILES = 4 * CONNECTIONS


@pytest.fixture
def many_files() -> Iterator[None]:
    """As many open files as the load takes, for this process and those that it starts."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = FILES if hard == resource.RLIM_INFINITY else min(FILES, hard)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@pytest.mark.usefixtures("many_files")
def test_500_connections_outlive_their_tokens_and_reloads_of_the_providers(tmp_path: Path) -> None:
    """Each logs in again twice within a minute, and no operation fails.

    The providers are replaced by SIGHUP between two expiries and in the middle of one, when all
    connections log in again, and by setParameter in the middle of the next.
    """
    with ShortLived(20) as provider, LoadServer(tmp_path, provider) as server:

        async def until_it_takes(audience: str) -> None:
            async with asyncio.timeout(10):
                while not await asyncio.to_thread(server.lets_in, audience):
                    pass

        async def by_signal(audience: str) -> None:
            assert not await asyncio.to_thread(server.lets_in, audience)
            server.reload(audience)
            await until_it_takes(audience)

        async def by_command(client: Any) -> None:
            names = [("mail", "corp"), ("third", "third")]
            tables = [provider.table_for(*each) for each in names]
            await client.admin.command({"setParameter": 1, "oidcIdentityProviders": tables})
            await until_it_takes("third")
            assert not await asyncio.to_thread(server.lets_in, "second")

        report = asyncio.run(
            hold(
                server,
                provider,
                connections=CONNECTIONS,
                times=2,
                seconds=70,
                calm=lambda _: by_signal("first"),
                storms=[lambda _: by_signal("second"), by_command],
            )
        )
        logins = server.logins()
    print(report)  # noqa: T201 - the figures, which pytest shows with -rP.
    assert report.failures == []
    # None of them rested: as good as every round had each of them.
    assert len(report.used) == CONNECTIONS
    assert min(report.used.values()) >= 0.9 * report.rounds
    # The pool made each connection once, and none went.
    assert (report.created, report.closed) == (CONNECTIONS, 0)
    assert len(report.again) == CONNECTIONS
    assert min(report.again.values()) >= 2
    # The server has it so as well: a login, and one for each time that somebody logged in again.
    held = [count for count in logins.values() if count > 1]
    assert len(held) == CONNECTIONS
    assert sum(held) == CONNECTIONS + sum(report.again.values())
    # Generous: what a connection costs must not grow unnoticed.
    before, after = report.peaks
    if before is not None and after is not None:
        assert (after - before) / CONNECTIONS < 150


def test_threads_outlive_their_tokens_too(tmp_path: Path) -> None:
    """Those of PyMongo's blocking client, which wait for one of them to fetch a token."""
    with ShortLived(4) as provider, LoadServer(tmp_path, provider) as server:
        report = hold_by_threads(server, provider, connections=64, seconds=14)
        logins = server.logins()
        fetched = len(provider.forms)
    print(report)  # noqa: T201 - the figures, which pytest shows with -rP.
    assert report.failures == []
    assert report.closed == 0
    assert len(report.operations) > 1000
    # Connections that rested while a token lived and died do not log in for it.
    assert sum(report.again.values()) >= 2 * 64 * 0.5
    assert sum(logins.values()) == report.created + sum(report.again.values())
    assert 3 <= fetched <= 6
