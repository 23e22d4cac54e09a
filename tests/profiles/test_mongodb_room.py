"""Who loses a place when a MongoDB server is full."""

from __future__ import annotations

import asyncio
import random
from types import SimpleNamespace
from typing import Any, cast
from unittest.mock import Mock

import pytest

from sasl_profiles.mongodb import MongodbServer
from sasl_profiles.mongodb.room import rank


@pytest.mark.parametrize("seed", range(40))
def test_who_has_the_lowest_rank_makes_room(seed: int) -> None:
    """Of those who are neither logged in nor sent away already; nobody does where there is room."""
    dice = random.Random(seed)

    def client(now: float) -> Any:
        seen: dict[str, Any] = dict(  # noqa: C408
            born=now - dice.choice([1.0, 30.0]),
            first_exchange=dice.choice([None, now - 1.0, now - 20.0]),
            spoken=dice.random() < 0.5,
            exchanging=dice.random() < 0.3,
            lapsed_since=dice.choice([None, None, now - 1.0, now - 20.0]),
            waiting_since=now - dice.randrange(5),
        )
        stands = dice.random() < 0.5
        state = {"stands": lambda _: stands, "dismissed": dice.random() < 0.3}
        return SimpleNamespace(**seen, **state)

    async def scene() -> None:
        now = asyncio.get_running_loop().time()
        clients = {Mock(): client(now) for _ in range(dice.randrange(1, 9))}
        waiting = [
            (rank(each, now), number, task)
            for number, (task, each) in enumerate(clients.items())
            if not each.stands(now) and not each.dismissed
        ]
        present = sum(not each.dismissed for each in clients.values())
        full = SimpleNamespace(_clients=clients, max_connections=dice.choice([1, present, 8]))
        there_is_room = present < full.max_connections
        goes = min(waiting)[2] if waiting and not there_is_room else None
        before = {task for task, each in clients.items() if each.dismissed}
        made_room = MongodbServer._makes_room(cast("MongodbServer", full))
        assert made_room is (there_is_room or goes is not None)
        after = {task for task, each in clients.items() if each.dismissed}
        cancelled = {task for task in clients if task.cancel.called}
        assert cancelled == after - before == ({goes} if goes else set())

    asyncio.run(scene())
