"""A whole SCRAM-SHA-256 login, both sides: with keys that the client has kept, and without.

Client and server hand each other their messages directly. The server lists its mechanisms,
the client chooses, and `finish` believes the server, as in README's first example.
"""

from __future__ import annotations

import hashlib
import itertools
from contextlib import contextmanager
from time import perf_counter
from typing import TYPE_CHECKING, Final

from bench import ideal
from bench.measure import interleave, middle, ratio
from bench.people import HOST, PASSWORD, ROUNDS, SERVICE, crowd, peer
from bench.rows import Goal, Row
from bench.scram import MECHANISM
from sasl_auxprop.memory import MemoryStore
from sasl_core import Client, Server

if TYPE_CHECKING:
    from collections.abc import Generator, Iterable, Iterator
    from typing import Any

    from bench.measure import Effort, Operation
    from bench.people import People

__all__ = ["our_login", "rows"]

SALT_SIZE: Final = 16


def our_login(client: Client, server: Server, names: Iterable[str]) -> Operation:
    """Both sessions, all four messages, `finish`, close; one name after the other."""
    turn = itertools.cycle(names)

    def run(times: int) -> float:
        took = 0.0
        for _ in range(times):
            name = next(turn)
            begin = perf_counter()
            near = server.session(success_data=True)
            far = client.session(authid=name, password=PASSWORD, success_data=True)
            sent = far.start(near.mechanisms())
            reply = near.start(far.mechanism or "", sent.data)
            while not reply.done:
                reply = near.step(far.step(reply.data or b"").data or b"")
            far.finish(reply.data)
            authid = near.authid
            far.close()
            near.close()
            took += perf_counter() - begin
            if authid != name or far.mechanism != MECHANISM:
                raise AssertionError("the login went wrong")
        return took / times

    return run


def ideal_login(people: People) -> Operation:
    """The ideal server and the ideal client, which has its keys."""
    users, names, keys = people.table(), people.names, people.client

    def run(times: int) -> float:
        begin = perf_counter()
        for number in range(times):
            sent = ideal.client_first(names[number % len(names)].encode())
            state = ideal.server_first(users, sent)
            response, expected = ideal.client_final(keys, sent, state[2])
            ideal.verify_server(expected, ideal.server_final(state, response))
        return (perf_counter() - begin) / times

    return run


def scramp_login(people: People, scramp: Any) -> Operation:
    """The client of scramp, which keeps nothing, and its server with stored keys."""
    users, names = people.scramp(), people.names
    mechanism = scramp.ScramMechanism(MECHANISM)

    def run(times: int) -> float:
        begin = perf_counter()
        for number in range(times):
            client = scramp.ScramClient([MECHANISM], names[number % len(names)], PASSWORD)
            server = mechanism.make_server(users.__getitem__)
            server.set_client_first(client.get_client_first())
            client.set_server_first(server.get_server_first())
            server.set_client_final(client.get_client_final())
            client.set_server_final(server.get_server_final())
        return (perf_counter() - begin) / times

    return run


def rows(effort: Effort) -> Iterator[Row]:
    """Warm beside scramp, then cold beside the derivation alone."""
    yield warm(effort)
    yield cold(effort)


def warm(effort: Effort) -> Row:
    """The client has logged in before and kept its keys."""
    people = crowd(f"user{number:03}" for number in range(100))
    scramp = peer("scramp")
    with (
        Server(SERVICE, HOST, stores=[people.store()], config={}) as server,
        Client(SERVICE, HOST, config={}) as client,
    ):
        contenders = {
            "floor": ideal_login(people),
            "ours": our_login(client, server, people.names),
        }
        if scramp is not None:
            contenders["peer"] = scramp_login(people, scramp)
        times = interleave(contenders, effort.times(150), 8)
    faster = ratio(times["peer"], times["ours"]) if scramp is not None else None
    return Row(
        topic="login",
        what="whole login, keys kept by the client",
        unit="us",
        ours=middle(times["ours"]).middle,
        floor=middle(times["floor"]).middle,
        floor_name="ideal, both sides",
        peer=middle(times["peer"]).middle if scramp is not None else None,
        peer_name=f"scramp, {ROUNDS} rounds",
        figure=None if faster is None else faster.middle,
        figure_unit="x",
        spread=faster,
        goal=Goal(20, "x", at_least=True, of="faster"),
        note="scramp keeps no keys" if faster else "scramp is not installed",
    )


class _Meter:
    """How long PBKDF2 has run."""

    def __init__(self) -> None:
        self.seconds = 0.0
        self.calls = 0


@contextmanager
def metered(meter: _Meter) -> Generator[None]:
    """Put a clock around `hashlib.pbkdf2_hmac` for the length of the body."""
    real = hashlib.pbkdf2_hmac

    def timed(name: str, password: bytes, salt: bytes, rounds: int) -> bytes:
        begin = perf_counter()
        try:
            return real(name, password, salt, rounds)
        finally:
            meter.seconds += perf_counter() - begin
            meter.calls += 1

    hashlib.pbkdf2_hmac = timed  # type: ignore[assignment]
    try:
        yield
    finally:
        hashlib.pbkdf2_hmac = real


def cold(effort: Effort) -> Row:
    """Nobody has logged in before: each login is of another user, with a salt of its own."""
    store, names = MemoryStore(), (f"user{number:06}" for number in itertools.count())
    meter, share = _Meter(), list[float]()

    def derivation(times: int) -> float:
        begin = perf_counter()
        for number in range(times):
            _ = ideal.derive(PASSWORD.encode(), number.to_bytes(SALT_SIZE, "big"), ROUNDS)
        return (perf_counter() - begin) / times

    with (
        Server(SERVICE, HOST, stores=[store], config={}) as server,
        Client(SERVICE, HOST, config={}) as client,
    ):

        def watched(times: int) -> float:
            strangers = list(itertools.islice(names, times))
            for name in strangers:
                store.add_user(name, password=PASSWORD, iterations=ROUNDS)
            login = our_login(client, server, strangers)
            meter.seconds, meter.calls = 0.0, 0
            with metered(meter):
                took = login(times)
            if meter.calls != times:
                raise AssertionError(f"{meter.calls} derivations in {times} logins")
            share.append(meter.seconds / times / took)
            return took

        times = interleave({"floor": derivation, "ours": watched}, effort.times(500), 1)
    apart = ratio(times["floor"], times["ours"])
    inside = middle(share)
    return Row(
        topic="login",
        what="whole login, cold: time inside PBKDF2",
        unit="us",
        ours=middle(times["ours"]).middle,
        floor=middle(times["floor"]).middle,
        floor_name=f"PBKDF2 alone, {ROUNDS} rounds",
        figure=inside.middle,
        figure_unit="%",
        spread=inside,
        goal=Goal(0.95, "%", at_least=True),
        note=f"by the two medians {100 * apart.middle:.1f} %",
    )
