"""Off, want and require on both sides, what an attacker gains by the offer, and the reasons."""

from __future__ import annotations

import json
import ssl
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from drivers import Driver, exchange
from sasl_auxprop.memory import MemoryStore
from sasl_core import (
    AuthenticationError,
    BindingPolicy,
    ChannelBindings,
    MechanismError,
    SaslError,
    UsageError,
)
from sasl_tls import server_end_point

OFF, WANT, REQUIRE = BindingPolicy.OFF, BindingPolicy.WANT, BindingPolicy.REQUIRE
SCRAM, PLUS = "SCRAM-SHA-256", "SCRAM-SHA-256-PLUS"
BOUND = ChannelBindings({"tls-exporter": b"E" * 32})
WHY = "the weather is bad"
UNBOUND = ChannelBindings({}, {"tls-exporter": WHY})

VECTORS: dict[str, Any] = json.loads(
    (Path(__file__).parents[1] / "vectors" / "channel_binding.json").read_text("utf-8")
)
ED25519 = next(
    ssl.PEM_cert_to_DER_cert(row["pem"])
    for row in VECTORS["tls_server_end_point"]
    if row["name"] == "Ed25519"
)


def sessions(driver: Driver, near: Mapping[str, Any], far: Mapping[str, Any]) -> tuple[Any, Any]:
    """A server's session and a client's, with these facts."""
    server = driver.server({}, stores=[MemoryStore({"tim": "pencil"})])
    client = driver.client({})
    return server.session(**near), client.session(authid="tim", password="pencil", **far)


# Server's policy, client's policy: what they come to when both ends have the data.
OUTCOMES = [
    (OFF, OFF, SCRAM),
    (OFF, WANT, SCRAM),
    (OFF, REQUIRE, None),
    (WANT, OFF, SCRAM),
    (WANT, WANT, PLUS),
    (WANT, REQUIRE, PLUS),
    (REQUIRE, OFF, None),
    (REQUIRE, WANT, PLUS),
    (REQUIRE, REQUIRE, PLUS),
]


@pytest.mark.parametrize(("ours", "theirs", "mechanism"), OUTCOMES)
def test_policies_of_both_sides(
    driver: Driver, ours: BindingPolicy, theirs: BindingPolicy, mechanism: str | None
) -> None:
    """Bound on both sides or on none; where one insists and the other will not, nobody gets in."""
    server, client = sessions(
        driver,
        {"channel_bindings": BOUND, "binding_policy": ours},
        {"channel_bindings": BOUND, "binding_policy": theirs},
    )
    if mechanism is None:
        with pytest.raises(MechanismError):
            exchange(server, client)
        assert not server.done
        return
    exchange(server, client)
    assert server.mechanism == client.mechanism == mechanism
    bound = "tls-exporter" if mechanism == PLUS else None
    assert server.channel_binding == client.channel_binding == bound


# Client's policy, and what comes of an offer from which somebody removed -PLUS.
STRIPPED = [(OFF, "in"), (WANT, "refused by the server"), (REQUIRE, "refused by the client")]


@pytest.mark.parametrize(("policy", "outcome"), STRIPPED)
def test_an_offer_without_plus_gives_the_attacker_away(
    driver: Driver, policy: BindingPolicy, outcome: str
) -> None:
    """`y` where -PLUS was offered is refused; a client that insists does not even begin."""
    server, client = sessions(
        driver,
        {"channel_bindings": BOUND},
        {"channel_bindings": BOUND, "binding_policy": policy},
    )
    offered = [name for name in server.mechanisms() if name != PLUS]
    if outcome == "in":
        exchange(server, client, offered)
        return
    with pytest.raises(SaslError) as caught:
        exchange(server, client, offered)
    if policy is WANT:
        assert isinstance(caught.value, AuthenticationError)
        assert caught.value.wire == b"e=server-does-support-channel-binding"
    else:
        assert isinstance(caught.value, MechanismError)
        assert "none was offered" in str(caught.value)


def test_a_client_that_cannot_bind_says_n_and_is_let_in_where_that_is_enough(
    driver: Driver,
) -> None:
    """Without data a client does not claim that it could: no `y`, and no false alarm."""
    server, client = sessions(driver, {"channel_bindings": BOUND}, {"channel_bindings": UNBOUND})
    said, _ = exchange(server, client)
    assert (said[0] or b"").startswith(b"n,,")
    assert server.mechanism == SCRAM


# --- reasons -------------------------------------------------------------------------------------


def test_a_server_says_why_plus_is_missing(driver: Driver) -> None:
    """In `rejected` and to whoever asks for it: beside plain SCRAM, which goes on."""
    server, _ = sessions(driver, {"channel_bindings": UNBOUND}, {})
    assert server.mechanisms()[0] == SCRAM
    assert f"tls-exporter: {WHY}" in server.rejected[PLUS]
    with pytest.raises(MechanismError, match=WHY):
        server.start(PLUS, b"p=tls-exporter,,n=tim,r=abcdefghijklmnop")


def test_a_client_says_why_it_passed_plus_over(driver: Driver) -> None:
    """The reason is in the error, and no byte was made."""
    _, client = sessions(driver, {}, {"channel_bindings": UNBOUND, "binding_policy": REQUIRE})
    with pytest.raises(MechanismError) as caught:
        client.start([PLUS, SCRAM])
    assert WHY in caught.value.reasons[PLUS]
    assert "required" in caught.value.reasons[SCRAM]


def test_reasons_of_one_connection_are_not_those_of_the_next(driver: Driver) -> None:
    """What is remembered of an offer is remembered with its reasons."""
    server = driver.server({}, stores=[MemoryStore({"tim": "pencil"})])
    for why in ("rain", "snow", "rain"):
        session = server.session(channel_bindings=ChannelBindings({}, {"tls-exporter": why}))
        assert why in session.rejected[PLUS]
    assert "(" not in server.session().rejected[PLUS]
    assert server.session(channel_bindings=BOUND).mechanisms()[0] == PLUS


def test_a_reason_is_printable_and_short(driver: Driver) -> None:
    """It may have come from a certificate, and so from a peer."""
    server, _ = sessions(
        driver, {"channel_bindings": ChannelBindings({}, {"x": "a\r\nb" + "c" * 10_000})}, {}
    )
    reason = server.rejected[PLUS]
    assert reason.isprintable()
    assert len(reason) < 1000


def test_bindings_are_a_mapping_like_any_other() -> None:
    """Equal to a dict of the same data; a dict is taken in its place."""
    assert BOUND == {"tls-exporter": b"E" * 32}
    assert len(UNBOUND) == 0
    assert UNBOUND.missing == {"tls-exporter": WHY}
    assert "EEEE" not in repr(BOUND)
    assert WHY in repr(UNBOUND)


# --- Ed25519 under tls-server-end-point and require ----------------------------------------------


def end_point() -> bytes:
    """What an application may give in the place of data."""
    return server_end_point(ED25519)


GIVEN = {
    "nothing": {},
    "reasons": ChannelBindings({}, {"tls-server-end-point": "signed with Ed25519"}),
    "callable": {"tls-server-end-point": end_point},
}


@pytest.mark.parametrize("given", GIVEN)
def test_an_ed25519_certificate_fails_before_any_byte_of_the_client(
    driver: Driver, given: str
) -> None:
    """However the application comes by its data, nothing is sent, and plain SCRAM is not taken."""
    _, client = sessions(driver, {}, {"channel_bindings": GIVEN[given], "binding_policy": REQUIRE})
    with pytest.raises(SaslError) as caught:
        client.start([PLUS, SCRAM])
    if given != "nothing":
        assert "signed with Ed25519" in f"{caught.value} {caught.value.detail}"
    assert getattr(caught.value, "wire", None) is None
    with pytest.raises(UsageError):
        client.step(b"r=whatever")


@pytest.mark.parametrize("given", ["nothing", "reasons"])
def test_an_ed25519_certificate_leaves_a_server_nothing_to_offer(
    driver: Driver, given: str
) -> None:
    """No mechanism is offered, and none begins."""
    server, _ = sessions(driver, {"channel_bindings": GIVEN[given], "binding_policy": REQUIRE}, {})
    assert server.mechanisms() == ()
    assert set(server.rejected) >= {PLUS, SCRAM, "PLAIN", "ANONYMOUS"}
    with pytest.raises(MechanismError):
        server.start(SCRAM, b"n,,n=tim,r=abcdefghijklmnop")


def test_a_servers_callable_that_finds_no_hash_lets_nobody_in(driver: Driver) -> None:
    """The client has data of its own making; the server has none, and grants nothing."""
    server, client = sessions(
        driver,
        {"channel_bindings": GIVEN["callable"], "binding_policy": REQUIRE},
        {"channel_bindings": {"tls-server-end-point": b"E" * 32}},
    )
    with pytest.raises(SaslError):
        exchange(server, client)
    assert not server.done
    with pytest.raises(UsageError):
        _ = server.authid
