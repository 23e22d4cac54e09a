"""Security layers: what a mechanism negotiates, the session keeps, uses, and ends."""

from __future__ import annotations

import pytest

from drivers import exchange
from sasl_core import (
    AuthenticationError,
    Decision,
    PeerError,
    PluginError,
    Result,
    SecurityProperties,
    UsageError,
)
from toys import SpyLayer, client_plug, naming_client, naming_server, server_plug


@pytest.fixture
def pair(driver, toys):
    """Both sides of a mechanism that ends with a layer; they, and their layers."""

    def make(there=None, here=None, *, data=None, authorize=None, max_ssf=256, **facts):
        toys.mechanism(
            server_plug(
                "TOY", naming_server(look_up=False, layer=there, data=data), max_ssf=max_ssf
            ),
            client_plug("TOY", naming_client(layer=here, last=data), max_ssf=max_ssf),
        )
        registry = toys.registry()
        server = driver.server(registry=registry, authorize=authorize)
        client = driver.client(registry=registry)
        return server.session(**facts), client.session(authid="alice", **facts)

    return make


def test_layer_carries_the_data_through_the_session(pair):
    """Encode and decode of the sessions go through the layers of the mechanism."""
    there, here = SpyLayer(), SpyLayer()
    server, client = pair(there, here)
    exchange(server, client)
    assert client.encode(b"ab", b"c") == b"cba"
    assert server.decode(b"cba") == b"abc"
    assert server.decode(client.encode(b"hello")) == b"hello"
    assert server.layer is there
    assert (server.ssf, client.ssf) == (56, 56)


def test_layer_absent_leaves_data_as_they_are(pair):
    """Without a layer encode only joins, and the SSF is 0."""
    server, client = pair()
    exchange(server, client)
    assert client.encode(b"ab", b"c") == b"abc"
    assert server.decode(b"abc") == b"abc"
    assert (server.ssf, server.layer) == (0, None)


def test_layer_ends_with_the_session(pair):
    """close() ends it once, and after that nothing is encoded any more."""
    there, here = SpyLayer(), SpyLayer()
    server, client = pair(there, here)
    exchange(server, client)
    assert (there.closed, here.closed) == (0, 0)
    for session in (server, client):
        session.close()
        session.close()
        with pytest.raises(UsageError):
            session.encode(b"x")
        with pytest.raises(UsageError):
            session.decode(b"x")
        assert session.layer is None
    assert (there.closed, here.closed) == (1, 1)


def test_layer_is_not_used_before_the_exchange_is_done(pair):
    """While the server's last words are out, there is nothing to encode with yet."""
    layer = SpyLayer()
    server, client = pair(layer, SpyLayer(), data=b"last")
    reply = server.start("TOY", client.start("TOY").data)
    assert not reply.done
    assert server.layer is None
    with pytest.raises(UsageError):
        server.encode(b"x")
    server.step(b"")
    assert server.layer is layer


@pytest.mark.parametrize("end", ["policy", "last response", "closed"])
def test_layer_of_an_exchange_that_fails_is_closed(pair, end):
    """A mechanism's keys do not outlive a refusal that comes after its Success."""
    layer = SpyLayer()
    deny = end == "policy"
    server, client = pair(
        layer, None, data=b"last", authorize=lambda *_: Decision.DENY if deny else Decision.PERMIT
    )
    initial = client.start("TOY").data
    if deny:
        with pytest.raises(AuthenticationError):
            server.start("TOY", initial)
    else:
        server.start("TOY", initial)
        if end == "closed":
            server.close()
        else:
            with pytest.raises(PeerError):
                server.step(b"nonsense")
    assert layer.closed == 1
    assert server.layer is None
    server.close()
    assert layer.closed == 1


@pytest.mark.parametrize("external", [0, 40])
def test_layer_satisfies_min_ssf_together_with_what_is_below(pair, external):
    """External 40 and a layer of 56 are 96; without it 56 must be enough."""
    facts = {"security": SecurityProperties(min_ssf=56 + external), "external_ssf": external}
    server, client = pair(SpyLayer(), SpyLayer(), **facts)
    exchange(server, client)
    assert server.ssf == 56


SETS = {
    # min_ssf, max_ssf, maxbufsize and external_ssf -> the layers that may come of it.
    "none": ((0, 0, 65_536, 0), {0}),
    "any": ((0, 256, 65_536, 0), {0, 1, 56, 256}),
    "integrity": ((1, 1, 65_536, 0), {1}),
    "weak": ((56, 128, 65_536, 0), {56}),
    "strong": ((129, 256, 65_536, 0), {256}),
    "no buffer": ((0, 256, 0, 0), {0}),
    "external": ((56, 112, 65_536, 56), {0, 1, 56}),
}


@pytest.mark.parametrize("ssf", [0, 1, 56, 256])
@pytest.mark.parametrize("given", SETS)
def test_layer_under_each_set_of_properties(pair, given, ssf):
    """Cyrus's six sets, and one more: what may not be is refused on both sides, the rest works."""
    (low, high, buffer, external), allowed = SETS[given]
    security = SecurityProperties(min_ssf=low, max_ssf=high, maxbufsize=buffer)
    layers = [SpyLayer(ssf) if ssf else None for _ in range(2)]
    server, client = pair(*layers, security=security, external_ssf=external)
    if ssf in allowed:
        exchange(server, client)
        assert (server.ssf, client.ssf) == (ssf, ssf)
        assert server.decode(client.encode(b"hello")) == b"hello"
    else:
        with pytest.raises(AuthenticationError):
            exchange(server, client)
        assert not server.done or not client.done


@pytest.mark.parametrize("side", ["server", "client"])
@pytest.mark.parametrize(
    "wrong", [None, SpyLayer(40), SpyLayer(57)], ids=["none", "too weak", "too strong"]
)
def test_layer_other_than_demanded_is_refused(pair, side, wrong):
    """A mechanism that could have and did not is caught when it ends, on either side."""
    facts = {"security": SecurityProperties(min_ssf=56, max_ssf=56)}
    layers = (wrong, SpyLayer()) if side == "server" else (SpyLayer(), wrong)
    server, client = pair(*layers, **facts)
    with pytest.raises(AuthenticationError) as caught:
        exchange(server, client)
    assert "SSF" in (caught.value.detail or "")
    refused = server if side == "server" else client
    assert not refused.done
    if side == "client":
        assert caught.value.result is Result.TOOWEAK


@pytest.mark.parametrize("side", ["server", "client"])
def test_layer_is_refused_where_none_may_be(pair, side):
    """Maxbufsize 0 forbids layers, even one that nobody asked for."""
    facts = {"security": SecurityProperties(maxbufsize=0)}
    layers = (SpyLayer(), None) if side == "server" else (None, SpyLayer())
    server, client = pair(*layers, **facts)
    with pytest.raises(AuthenticationError) as caught:
        exchange(server, client)
    assert "maxbufsize" in (caught.value.detail or "")


@pytest.mark.parametrize("side", ["server", "client"])
def test_layer_that_is_none_is_the_mechanisms_fault(pair, side):
    """What is no Layer never becomes a session's."""
    layers = ("rot13", None) if side == "server" else (None, "rot13")
    server, client = pair(*layers)
    with pytest.raises(PluginError, match="layer"):
        exchange(server, client)


class Broken(SpyLayer):
    """A layer whose every method fails as a plugin's does."""

    def encode(self, *buffers):
        raise KeyError(b"secret of encode")

    def decode(self, data):
        raise KeyError(b"secret of decode")

    def close(self):
        super().close()
        raise KeyError(b"secret of close")


class Honest(SpyLayer):
    """A layer that refuses what it must."""

    def decode(self, data):
        raise PeerError("a forged message", code="layer-mac")


def test_layer_that_breaks_raises_errors_of_ours(pair):
    """A plugin's exception leaves as a PluginError without its text, and close() goes through."""
    layer = Broken()
    server, client = pair(layer, None)
    exchange(server, client)
    for use in (server.encode, server.decode):
        with pytest.raises(PluginError) as caught:
            use(b"x")
        assert "secret" not in str(caught.value)
        assert "secret" not in str(caught.value.detail)
        assert caught.value.__context__ is None
    server.close()
    assert layer.closed == 1


def test_layer_that_refuses_is_heard(pair):
    """Its own PeerError arrives as it is."""
    server, client = pair(Honest(), None)
    exchange(server, client)
    with pytest.raises(PeerError, match="forged"):
        server.decode(b"x")
