"""An attacker between honest clients and servers finds no success that they do not share."""

from __future__ import annotations

import logging
import os
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from typing import Any, ClassVar

import hypothesis.strategies as st
import pytest
from hypothesis import HealthCheck, settings
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from attack import LOGINS, Kind, Link, Packet, Programs, World, headed, misspelt, rebound
from sasl_core import BindingPolicy
from sasl_core.context import ServerContext
from sasl_core.utils import SaslUtils

EXAMPLES = int(os.environ.get("SASL_ATTACKS", "500"))
"""How many attackers to try; `make fuzz` tries more."""

EXPORTER = {"tls-exporter": b"e" * 32}
UNIQUE = {"tls-unique": b"u" * 12}
CHANNELS = {
    # Name -> what the client and the server know of their channel.
    "none": ({}, {}),
    "same": (EXPORTER, EXPORTER),
    "both": ({**EXPORTER, **UNIQUE}, {**EXPORTER, **UNIQUE}),
    "client": (EXPORTER, {}),
    "server": ({}, EXPORTER),
    "disjoint": (UNIQUE, EXPORTER),
    # Somebody in the middle has a channel of his own with each.
    "middle": (EXPORTER, {"tls-exporter": b"E" * 32}),
    "middle-unique": ({**EXPORTER, **UNIQUE}, {"tls-exporter": b"E" * 32, **UNIQUE}),
}
HEADERS = [b"n,", b"y,", b"p=tls-exporter,", b"p=tls-unique,", b"p=tls-server-end-point,"]
FIRSTS = [b"n,,", b"y,,", b"n,a=fred,", b"n,a=tim,", b"y,a=fred,", b"p=tls-exporter,a=fred,"]
NAMES = ["SCRAM-SHA-256-PLUS", "SCRAM-SHA-256", "PLAIN", "ANONYMOUS"]
OFFERS = [["PLAIN"], ["PLAIN"], ["ANONYMOUS"], NAMES[:1], NAMES[1:2], NAMES[1:], NAMES, []]
BOUND = [*[BindingPolicy.WANT] * 3, BindingPolicy.OFF, BindingPolicy.REQUIRE]

number = st.integers(0, 1 << 16)
"""Picks something of what there is then."""
flag = st.booleans()


CONNECTION: dict[str, Any] = {
    "login": st.sampled_from([LOGINS[0], LOGINS[0], *LOGINS]),
    "cautious": flag,
    "initial_response": flag,
    "success_data": flag,
    "channel": st.sampled_from(sorted(CHANNELS)),
    "client_policy": st.sampled_from(BOUND),
    "server_policy": st.sampled_from(BOUND),
}


def trick(
    name: str, steps: st.SearchStrategy[int], /, **how: st.SearchStrategy[Any]
) -> st.SearchStrategy[Any]:
    """A rule of the machine by its name, after how many steps, and what else it is given."""
    return st.tuples(st.just(name), steps, st.fixed_dictionaries(how))


AT_ONCE, AFTER_THE_OFFER, ANY_TIME = st.just(0), st.just(1), st.integers(0, 4)
IMPERSONATED = st.sampled_from([Kind.CHALLENGE, Kind.SUCCESS])
FORGED = st.sampled_from([None, b"", b"v=", b"v=AAAA"])
TRICK = st.one_of(
    trick("drop", ANY_TIME, which=number),
    trick("duplicate", ANY_TIME, which=number),
    trick("change_kind", ANY_TIME, which=number),
    trick("misspell", ANY_TIME, steps=AT_ONCE, at=number, letter=number),
    trick("rewrite_binding", ANY_TIME, old=st.sampled_from(HEADERS), new=st.sampled_from(HEADERS)),
    trick("rewrite_header", AFTER_THE_OFFER, header=st.sampled_from(FIRSTS)),
    trick("rewrite_offer", AT_ONCE, names=st.sampled_from(OFFERS)),
    trick("rename", AFTER_THE_OFFER, name=st.sampled_from(NAMES)),
    trick("forge_success", ANY_TIME, which=number, data=FORGED),
    trick("impersonate_server", AT_ONCE, kind=IMPERSONATED),
    trick("impersonate_client", ANY_TIME, name=st.sampled_from(NAMES[:2])),
)


class Attacker(RuleBasedStateMachine):
    """Everything that can be done to messages by who cannot read the passwords."""

    programs: ClassVar[Programs]
    world: World
    reached: ClassVar[Counter[str]] = Counter()
    """How many sides succeeded by each mechanism, in all attempts."""

    @initialize()
    def begin(self) -> None:
        self.world = World(self.programs)

    def teardown(self) -> None:
        if hasattr(self, "world"):
            for link in self.world.links:
                for side in (link.client, link.server):
                    if side.accepted:
                        self.reached[side.mechanism] += 1
                    elif side.misled:
                        self.reached["misled"] += 1
            self.world.close()

    @rule(**CONNECTION)
    @precondition(lambda self: len(self.world.links) < 4)
    def connect(self, channel: str, **facts: object) -> None:
        client, server = CHANNELS[channel]
        self.world.connect(client_bindings=client, server_bindings=server, **facts)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]

    @rule(trick=TRICK, **CONNECTION)
    @precondition(lambda self: len(self.world.links) < 4)
    def connect_and_do_one_thing(
        self, trick: tuple[str, int, dict[str, Any]], **facts: Any
    ) -> None:
        """A new link that is left alone, but for one thing: most faults need no more."""
        self.connect(**facts)
        pick = len(self.world.links) - 1
        name, steps, how = trick
        self.pass_on(pick=pick, times=steps)
        getattr(self, name)(pick=pick, **how)
        self.settle(pick=pick)

    # --- rules that pick a link, and a packet on its wire ---------------------------------

    def _link(self, pick: int) -> Link:
        return self.world.links[pick % len(self.world.links)]

    def _place(self, link: Link, pick: int) -> int | None:
        return pick % len(link.wire) if link.wire else None

    @precondition(lambda self: self.world.links)
    @rule(pick=number, times=st.integers(1, 6))
    def pass_on(self, pick: int, times: int) -> None:
        """Let the link go on as it would."""
        link = self._link(pick)
        for _ in range(times):
            if link.wire:
                self.world.deliver(link, link.wire.pop(0))

    @precondition(lambda self: self.world.links)
    @rule(pick=number)
    def settle(self, pick: int) -> None:
        self.world.settle(self._link(pick))

    @precondition(lambda self: self.world.links)
    @rule(pick=number, which=number)
    def drop(self, pick: int, which: int) -> None:
        link = self._link(pick)
        place = self._place(link, which)
        if place is not None:
            del link.wire[place]

    @precondition(lambda self: self.world.links)
    @rule(pick=number, which=number)
    def duplicate(self, pick: int, which: int) -> None:
        link = self._link(pick)
        place = self._place(link, which)
        if place is not None:
            link.wire.append(link.wire[place])

    @precondition(lambda self: self.world.links)
    @rule(pick=number, which=number)
    def reorder(self, pick: int, which: int) -> None:
        link = self._link(pick)
        place = self._place(link, which)
        if place is not None:
            self.world.deliver(link, link.wire.pop(place))

    @precondition(lambda self: self.world.links)
    @rule(pick=number, steps=st.integers(0, 6), at=number, mask=st.integers(1, 255))
    def alter(self, pick: int, steps: int, at: int, mask: int) -> None:
        """Let the link go on for some steps, and change a byte of what comes then."""
        link = self._link(pick)
        self.pass_on(pick=pick, times=steps)
        if link.wire and link.wire[0].data:
            data = bytearray(link.wire[0].data)
            data[at % len(data)] ^= mask
            link.wire[0] = replace(link.wire[0], data=bytes(data), altered=True)

    @precondition(lambda self: self.world.links)
    @rule(pick=number, old=st.sampled_from(HEADERS), new=st.sampled_from(HEADERS))
    def rewrite_binding(self, pick: int, old: bytes, new: bytes) -> None:
        """Another flag or another type of channel binding, also where the proof repeats it."""
        link = self._link(pick)
        for place, packet in enumerate(link.wire):
            data = None if packet.data is None else rebound(packet.data, old, new)
            if data != packet.data:
                link.wire[place] = replace(packet, data=data, altered=True)

    @precondition(lambda self: self.world.links)
    @rule(pick=number, steps=st.integers(0, 6), at=number, letter=number)
    def misspell(self, pick: int, steps: int, at: int, letter: int) -> None:
        """Change a letter for another after some steps: what comes is still well-formed."""
        link = self._link(pick)
        self.pass_on(pick=pick, times=steps)
        if link.wire and link.wire[0].data:
            data = misspelt(link.wire[0].data, at, letter)
            if data != link.wire[0].data:
                link.wire[0] = replace(link.wire[0], data=data, altered=True)

    @precondition(lambda self: self.world.links)
    @rule(pick=number, header=st.sampled_from(FIRSTS))
    def rewrite_header(self, pick: int, header: bytes) -> None:
        """Another flag or authzid in the client's first message, and nowhere else."""
        link = self._link(pick)
        for place, packet in enumerate(link.wire):
            data = None if packet.data is None else headed(packet.data, header)
            if data != packet.data:
                link.wire[place] = replace(packet, data=data, altered=True)

    @precondition(lambda self: self.world.links)
    @rule(pick=number, kind=IMPERSONATED)
    def impersonate_server(self, pick: int, kind: Kind) -> None:
        self.world.impersonate_server(self._link(pick), kind)

    @precondition(lambda self: self.world.links)
    @rule(pick=number, name=st.sampled_from(NAMES[:2]))
    def impersonate_client(self, pick: int, name: str) -> None:
        self.world.impersonate_client(self._link(pick), name)

    @precondition(lambda self: self.world.links)
    @rule(pick=number, names=st.sampled_from(OFFERS))
    def rewrite_offer(self, pick: int, names: list[str]) -> None:
        """Strip mechanisms, or add some."""
        link = self._link(pick)
        for place, packet in enumerate(link.wire):
            if packet.kind is Kind.OFFER:
                link.wire[place] = replace(packet, name=" ".join(names), altered=True)

    @precondition(lambda self: self.world.links)
    @rule(pick=number, name=st.sampled_from(NAMES))
    def rename(self, pick: int, name: str) -> None:
        """Another mechanism's name on the client's request: -PLUS taken off or put on."""
        link = self._link(pick)
        for place, packet in enumerate(link.wire):
            if packet.kind is Kind.AUTH and packet.name != name:
                link.wire[place] = replace(packet, name=name, altered=True)

    @precondition(lambda self: len(self.world.links) > 1)
    @rule(one=number, other=number)
    def swap_sessions(self, one: int, other: int) -> None:
        """Each of two clients gets the other's server, from here on."""
        first, second = self._link(one), self._link(other)
        first.wire, second.wire = second.wire, first.wire

    @precondition(lambda self: self.world.links)
    @rule(pick=number, which=number)
    def replay(self, pick: int, which: int) -> None:
        """Anything that was ever said, here and now."""
        packet = self.world.seen[which % len(self.world.seen)]
        self.world.deliver(self._link(pick), packet)

    @precondition(lambda self: self.world.links)
    @rule(pick=number, which=number)
    def replay_client(self, pick: int, which: int) -> None:
        """All that a client has said, to another link's server."""
        said = self._link(which).client
        link = self._link(pick)
        link.wire.clear()
        for place, data in enumerate(said.said):
            kind = Kind.RESPONSE if place else Kind.AUTH
            self.world.deliver(link, Packet(kind, data, said.mechanism))

    @precondition(lambda self: self.world.links)
    @rule(pick=number, which=number, data=FORGED)
    def forge_success(self, pick: int, which: int, data: bytes | None) -> None:
        """The protocol's own success message, empty or with anything that was ever said."""
        seen = self.world.seen[which % len(self.world.seen)].data if which % 2 else data
        self.world.deliver(self._link(pick), Packet(Kind.SUCCESS, seen))

    @precondition(lambda self: self.world.links)
    @rule(pick=number, kind=st.sampled_from([Kind.CHALLENGE, Kind.RESPONSE, Kind.FAILURE]))
    def inject_empty(self, pick: int, kind: Kind) -> None:
        self.world.deliver(self._link(pick), Packet(kind, b""))

    @precondition(lambda self: self.world.links)
    @rule(pick=number, which=number)
    def change_kind(self, pick: int, which: int) -> None:
        """A challenge as a success, a success or a failure as a challenge."""
        link = self._link(pick)
        place = self._place(link, which)
        if place is not None:
            packet = link.wire[place]
            if packet.kind is Kind.CHALLENGE:
                link.wire[place] = replace(packet, kind=Kind.SUCCESS)
            elif packet.kind in (Kind.SUCCESS, Kind.FAILURE):
                link.wire[place] = replace(packet, kind=Kind.CHALLENGE)

    @invariant()
    def nothing_is_gained(self) -> None:
        if hasattr(self, "world"):
            self.world.check()


@pytest.fixture(autouse=True)
def silent() -> Iterator[None]:
    """Thousands of refusals are not logged: formatting them takes longer than making them."""
    logging.disable(logging.CRITICAL)
    yield
    logging.disable(logging.NOTSET)


@pytest.fixture(scope="module")
def programs() -> Iterator[Programs]:
    made = Programs()
    yield made
    made.close()


def test_an_attacker_between_the_two_gains_nothing(programs: Programs) -> None:
    """No success that both sides do not share, whatever is done to their messages."""
    profile = settings(
        max_examples=EXAMPLES,
        stateful_step_count=40,
        deadline=None,
        suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
    )
    Attacker.reached.clear()
    Attacker.programs = programs
    run_state_machine_as_test(Attacker, settings=profile)
    # An attacker who spoils everything at once would find nothing either.
    for what in (*NAMES[:2], "misled"):
        assert Attacker.reached[what] > 0, Attacker.reached


# --- that the machine can win, and the checks can fail ----------------------------------------


@pytest.fixture
def world(programs: Programs) -> Iterator[World]:
    made = World(programs)
    yield made
    made.close()


@pytest.mark.parametrize("success_data", [False, True])
@pytest.mark.parametrize("initial_response", [False, True])
@pytest.mark.parametrize("mechanism", NAMES)
def test_a_link_that_is_left_alone_succeeds(
    world: World, mechanism: str, *, initial_response: bool, success_data: bool
) -> None:
    """In each framing both sides accept, and the checks agree."""
    bindings = EXPORTER if mechanism.endswith("-PLUS") else {}
    link = world.connect(
        LOGINS[0],
        cautious=False,
        initial_response=initial_response,
        success_data=success_data,
        client_bindings=bindings,
        server_bindings=bindings,
    )
    link.wire[0] = replace(link.wire[0], name=mechanism)
    world.settle(link)
    assert link.client.accepted
    assert link.server.accepted
    assert link.client_session.mechanism == link.server_session.mechanism == mechanism
    world.check()


@pytest.mark.parametrize("login", LOGINS, ids=lambda login: f"{login.authid}-{login.authzid}")
def test_who_is_not_right_is_not_let_in(world: World, login: object) -> None:
    """The table of logins is true: what the checks say of right and wrong rests on it."""
    for chosen in LOGINS:
        if chosen is login:
            link = world.connect(chosen)
            world.settle(link)
            assert link.client.accepted is link.server.accepted is chosen.right
    world.check()


def _replay(world: World) -> None:
    """Replays a whole login, to a server that has never seen it."""
    link = world.connect(LOGINS[0])
    world.settle(link)
    assert link.server.accepted
    fresh = world.connect(LOGINS[2])
    for place, data in enumerate(link.client.said):
        kind = Kind.RESPONSE if place else Kind.AUTH
        world.deliver(fresh, Packet(kind, data, link.client.mechanism))


def test_a_replayed_login_is_noticed(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """It fails; with a server that repeats its nonces it would succeed, and be found."""
    _replay(world)
    world.check()
    monkeypatch.setattr(SaslUtils, "random", lambda self, size: b"n" * size)
    _replay(world)
    with pytest.raises(AssertionError, match="2 servers"):
        world.check()


def _downgrade(world: World) -> None:
    """Takes -PLUS off the offer of a server whose client could have bound its channel."""
    link = world.connect(LOGINS[0], client_bindings=EXPORTER, server_bindings=EXPORTER)
    link.wire[0] = replace(link.wire[0], name="SCRAM-SHA-256", altered=True)
    world.settle(link)
    assert link.client_session.mechanism == "SCRAM-SHA-256"


def test_a_downgrade_is_noticed(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """It fails; with a server that believes `y` it would succeed, and be found."""
    _downgrade(world)
    assert not any(link.server.accepted or link.client.accepted for link in world.links)
    world.check()
    monkeypatch.setattr(ServerContext, "binding_was_possible", lambda self: False)
    _downgrade(world)
    with pytest.raises(AssertionError, match="downgrade"):
        world.check()
