"""SCRAM-SHA-256, the server's side: the whole glue against the ideal function and scramp.

Only the server's work is on the clock; the client's messages are made between its two
readings. The success message carries data (`success_data`), so that all send server-final
with the second step.
"""

from __future__ import annotations

from time import perf_counter
from typing import TYPE_CHECKING, Final

from bench import ideal
from bench.measure import Spread, interleave, middle, ratio
from bench.people import HOST, SERVICE, crowd, peer
from bench.rows import Goal, Row
from sasl_core import Server

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import Any

    from bench.measure import Effort, Operation
    from bench.people import People
    from sasl_core import AuditEvent

__all__ = ["MECHANISM", "ideal_server", "our_server", "rows", "server_of"]

MECHANISM: Final = "SCRAM-SHA-256"


def server_of(people: People, audit: tuple[Callable[[AuditEvent], None], ...] = ()) -> Server:
    """A server with these users in memory, configured by nothing."""
    return Server(SERVICE, HOST, stores=[people.store()], config={}, audit=audit)


def our_server(server: Server, people: People) -> Operation:
    """Session, start, step, the identity read, close."""
    names, keys = people.names, people.client

    def run(times: int) -> float:
        took = 0.0
        for number in range(times):
            name = names[number % len(names)]
            sent = ideal.client_first(name.encode())
            begin = perf_counter()
            session = server.session(success_data=True)
            reply = session.start(MECHANISM, sent)
            took += perf_counter() - begin
            response, expected = ideal.client_final(keys, sent, reply.data or b"")
            begin = perf_counter()
            reply = session.step(response)
            authid = session.authid
            session.close()
            took += perf_counter() - begin
            if reply.data != expected or authid != name:
                raise AssertionError("the login went wrong")
        return took / times

    return run


def ideal_server(people: People) -> Operation:
    """The two steps of the ideal function."""
    names, keys, users = people.names, people.client, people.table()

    def run(times: int) -> float:
        took = 0.0
        for number in range(times):
            sent = ideal.client_first(names[number % len(names)].encode())
            begin = perf_counter()
            state = ideal.server_first(users, sent)
            took += perf_counter() - begin
            response, expected = ideal.client_final(keys, sent, state[2])
            begin = perf_counter()
            final = ideal.server_final(state, response)
            took += perf_counter() - begin
            if final != expected:
                raise AssertionError("the login went wrong")
        return took / times

    return run


def scramp_server(people: People, scramp: Any) -> Operation:
    """A server of scramp with stored keys; making its messages text is not on the clock."""
    names, keys, users = people.names, people.client, people.scramp()
    mechanism = scramp.ScramMechanism(MECHANISM)

    def run(times: int) -> float:
        took = 0.0
        for number in range(times):
            sent = ideal.client_first(names[number % len(names)].encode())
            text = sent.decode()
            begin = perf_counter()
            server = mechanism.make_server(users.__getitem__)
            server.set_client_first(text)
            challenge = server.get_server_first()
            took += perf_counter() - begin
            response, expected = ideal.client_final(keys, sent, challenge.encode())
            text = response.decode()
            begin = perf_counter()
            server.set_client_final(text)
            final = server.get_server_final()
            took += perf_counter() - begin
            if final.encode() != expected:
                raise AssertionError("the login went wrong")
        return took / times

    return run


def rows(effort: Effort) -> Iterator[Row]:
    """The server alone, with an audit listener, and beside scramp's."""
    people = crowd(f"user{number:03}" for number in range(100))
    heard: list[AuditEvent | None] = [None]

    def listen(event: AuditEvent) -> None:
        heard[0] = event

    scramp = peer("scramp")
    contenders = {
        "floor": ideal_server(people),
        "ours": our_server(server_of(people), people),
        "audited": our_server(server_of(people, (listen,)), people),
    }
    if scramp is not None:
        contenders["peer"] = scramp_server(people, scramp)
    times = interleave(contenders, effort.times(250), effort.times(80, least=5))
    if heard[0] is None:
        raise AssertionError("the audit listener was not called")
    typical = {name: middle(each).middle for name, each in times.items()}
    whole, audited = (ratio(times[name], times["floor"]) for name in ("ours", "audited"))
    yield Row(
        topic="scram",
        what="SCRAM-SHA-256 server, stored keys",
        unit="us",
        ours=typical["ours"],
        floor=typical["floor"],
        floor_name="ideal",
        peer=typical.get("peer"),
        peer_name="scramp",
        figure=whole.middle,
        figure_unit="x",
        spread=whole,
        goal=Goal(2.2, "x", of="floor"),
        note="whole glue, success_data; aim 2.0",
    )
    more = [
        (with_it - without) / floor
        for with_it, without, floor in zip(
            times["audited"], times["ours"], times["floor"], strict=True
        )
    ]
    spread = middle(more)
    yield Row(
        topic="scram",
        what="SCRAM server with an audit listener",
        unit="us",
        ours=typical["audited"],
        floor=typical["floor"],
        floor_name="ideal",
        figure=spread.middle,
        figure_unit="x",
        spread=spread,
        goal=Goal(0.15, "x", of="floor more"),
        note=f"{audited.middle:.2f}x in all",
    )
    faster = ratio(times["peer"], times["ours"]) if scramp is not None else None
    yield against_scramp(typical, faster)


def against_scramp(typical: dict[str, float], faster: Spread | None) -> Row:
    """How much faster than scramp's server ours is."""
    return Row(
        topic="scram",
        what="SCRAM server beside scramp's",
        unit="us",
        ours=typical["ours"],
        peer=typical.get("peer"),
        peer_name="scramp",
        figure=None if faster is None else faster.middle,
        figure_unit="x",
        spread=faster,
        goal=Goal(4, "x", at_least=True, of="faster"),
        note="" if faster else "scramp is not installed: make bench, or extra `bench`",
    )
