"""G10 to G12: canonicalise, look up at once, and whose properties are whose."""

from __future__ import annotations

from typing import Any

import pytest

from drivers import exchange
from sasl_core import (
    AuthenticationError,
    BackendError,
    CanonFlag,
    Decision,
    PluginError,
    Result,
    SaslError,
    UsageError,
)
from sasl_core.plugin import (
    CanonUserPlug,
    NeedPeer,
    NeedUser,
    PasswordAnswer,
    PwcheckPlug,
    Success,
)
from toys import OPEN, SpyStore, client_plug, naming_client, naming_server, server_plug

PERMIT = {"authorize": lambda *_: Decision.PERMIT}


@pytest.fixture
def store():
    """alice, bob and a locked carol, each with a department and a mail host."""
    store = SpyStore()
    for name in ("alice", "bob"):
        store.add_user(
            name,
            password=f"{name}'s",
            properties={"department": [b"of " + name.encode()], "mailHost": [name.encode()]},
        )
    store.add_user("carol", password="carol's", disabled=True)
    return store


@pytest.fixture
def told(driver, toys, store):
    """A session of a server that believes names, and whose mechanism asks for `properties`."""

    def make(*properties, look_up=True, session=(), **more):
        toys.mechanism(server_plug("TOY", naming_server(*properties, look_up=look_up)))
        server = driver.server(OPEN, registry=toys.registry(), stores=[store], **(PERMIT | more))
        return server.session(properties=session)

    return make


def test_g10_the_authid_is_looked_up_as_soon_as_it_is_canonical(told, store):
    """One call of the store, with the canonical name."""
    told("*department").start("TOY", b" alice ")
    assert store.lookups == [("alice", ("department",))]


def test_g10_the_authid_fetches_starred_properties_only(told, store):
    """With another authzid, the first look-up leaves the bare names out."""
    session = told("*department", "mailHost")
    session.start("TOY", b"bob\0alice")
    assert store.lookups[0] == ("alice", ("department",))


def test_g10_the_authzid_fetches_bare_properties_only(told, store):
    """The second look-up, of the authzid, asks for the bare names and for nothing else."""
    session = told("*department", "mailHost")
    session.start("TOY", b"bob\0alice")
    assert store.lookups[1:] == [("bob", ("mailHost",))]
    assert session.properties.get("*department") == (b"of alice",)
    assert session.properties.get("mailHost") == (b"bob",)


def test_g10_one_name_that_is_both_is_looked_up_once(told, store):
    """Without another authzid, one call serves starred and bare names."""
    session = told("*department", "mailHost")
    session.start("TOY", b"alice")
    assert store.lookups == [("alice", ("department", "mailHost"))]
    assert session.properties.get("*department") == (b"of alice",)
    assert session.properties.get("mailHost") == (b"alice",)


def test_g10_the_sessions_properties_come_with_the_mechanisms_call(told, store):
    """What the application wants costs no call of its own."""
    session = told("*department", session=["mailHost", "*mailHost"])
    session.start("TOY", b"alice")
    assert [user for user, _ in store.lookups] == ["alice"]
    assert set(store.lookups[0][1]) == {"department", "mailHost"}
    assert session.properties.get("mailHost") == (b"alice",)
    assert session.properties.get("*mailHost") == (b"alice",)


@pytest.mark.parametrize("mechanism", ["PLAIN", "SCRAM-SHA-256"])
def test_g10_a_real_login_calls_the_store_once(driver, store, mechanism):
    """PLAIN and SCRAM fetch verifier and session properties together."""
    server = driver.server(OPEN, stores=[store]).session(properties=["mailHost"])
    client = driver.client(OPEN).session(authid="alice", password="alice's")
    exchange(server, client, mechanism)
    assert len(store.lookups) == 1
    assert server.properties.get("mailHost") == (b"alice",)


@pytest.mark.parametrize("mechanism", ["PLAIN", "SCRAM-SHA-256"])
def test_g10_a_real_login_for_another_calls_it_twice(driver, store, mechanism):
    """First alice with the secret, after the proof bob with the bare names."""
    server = driver.server(OPEN, stores=[store], **PERMIT).session(
        properties=["mailHost", "*department"]
    )
    client = driver.client(OPEN).session(authid="alice", password="alice's", authzid="bob")
    exchange(server, client, mechanism)
    assert [user for user, _ in store.lookups] == ["alice", "bob"]
    assert store.lookups[1] == ("bob", ("mailHost",))
    assert server.properties.get("*department") == (b"of alice",)
    assert server.properties.get("mailHost") == (b"bob",)
    assert (server.authid, server.authzid) == ("alice", "bob")


@pytest.mark.parametrize("authzid", ["", "bob"])
def test_g10_starred_properties_are_the_authids_even_without_an_earlier_look_up(
    told, store, authzid
):
    """A mechanism that looked nobody up: each identity's properties are still its own."""
    session = told(look_up=False, session=["*department", "mailHost"])
    session.start("TOY", f"{authzid}\0alice".encode() if authzid else b"alice")
    assert session.properties.get("*department") == (b"of alice",)
    assert session.properties.get("mailHost") == ((authzid or "alice").encode(),)
    assert [user for user, _ in store.lookups] == (["alice", "bob"] if authzid else ["alice"])


def test_g10_no_authzid_is_looked_up_before_success(driver, store, toys):
    """A mechanism that is not through yet has had the authid looked up, and nobody else."""
    seen = []

    def body(ctx):
        yield from NeedPeer()
        user = yield from NeedUser("alice", "bob", ("mailHost", "*department"))
        seen.append(list(store.lookups))
        yield from NeedPeer(b"more")
        return Success(ctx.attest(user, how="toy"))

    toys.mechanism(server_plug("TOY", body))
    server = driver.server(registry=toys.registry(), stores=[store], **PERMIT)
    session = server.session()
    session.start("TOY", b"")
    assert seen == [[("alice", ("department",))]]
    assert len(store.lookups) == 1
    session.step(b"")
    assert store.lookups[1:] == [("bob", ("mailHost",))]


@pytest.mark.parametrize("mechanism", ["PLAIN", "SCRAM-SHA-256"])
def test_g10_a_failed_login_looks_no_authzid_up(driver, store, mechanism):
    """Zero look-ups of the authzid, and of nobody twice, when the proof is wrong."""
    server = driver.server(OPEN, stores=[store], **PERMIT).session(properties=["mailHost"])
    client = driver.client(OPEN).session(authid="alice", password="wrong", authzid="bob")
    with pytest.raises(AuthenticationError):
        exchange(server, client, mechanism)
    assert [user for user, _ in store.lookups] == ["alice"]


@pytest.mark.parametrize("authzid", ["nobody", "carol"])
def test_g10_an_authzid_that_is_unknown_or_locked_is_refused(told, store, authzid):
    """Nobody may act as a user who is not there, whatever the policy says."""
    session = told("*department")
    with pytest.raises(AuthenticationError) as caught:
        session.start("TOY", f"{authzid}\0alice".encode())
    assert authzid in (caught.value.detail or "")
    assert authzid not in str(caught.value)


def test_g10_the_mechanism_sees_what_was_found(driver, toys, store):
    """The answer to NeedUser holds the properties, under the names as they were asked for."""
    seen = {}

    def body(ctx):
        yield from NeedPeer()
        user = yield from NeedUser("alice", None, ("*department", "mailHost", "*nothing"))
        seen.update({name: user.properties.get(name) for name in user.properties.names})
        return Success(ctx.attest(user, how="toy"))

    toys.mechanism(server_plug("TOY", body))
    driver.server(registry=toys.registry(), stores=[store]).session().start("TOY", b"")
    assert seen == {"*department": (b"of alice",), "mailHost": (b"alice",), "*nothing": ()}


def test_g10_a_store_that_is_out_is_an_outage_not_a_refusal(driver, toys, store):
    """Nobody's password is wrong when the store breaks; its text stays where it was."""

    def read(user, names):
        raise OSError("secret path of the disk")

    store.read = read
    toys.mechanism(server_plug("TOY", naming_server()))
    session = driver.server(registry=toys.registry(), stores=[store]).session()
    with pytest.raises((BackendError, PluginError)) as caught:
        session.start("TOY", b"alice")
    assert "secret" not in f"{caught.value}{caught.value.detail}"


# --- G11: who was verified elsewhere need not be in the store ----------------------------------


class Vouching(PwcheckPlug):
    """A pwcheck method that knows one password for everybody."""

    name = "vouching"

    def check_password(self, user, password, service):
        yield from ()
        return PasswordAnswer(Result.OK if password == b"vouched" else Result.BADAUTH)


@pytest.fixture
def vouched(driver, toys, store):
    """A session whose PLAIN asks the methods given."""

    def make(*methods, **facts):
        toys.plug("pwcheck", Vouching())
        config = OPEN | {"pwcheck_method": list(methods)}
        server = driver.server(config, registry=toys.registry(), stores=[store], **PERMIT)
        return server.session(**facts)

    return make


@pytest.mark.parametrize("methods", [("vouching",), ("auxprop", "vouching")])
@pytest.mark.parametrize("properties", [(), ("mailHost",)])
def test_g11_a_user_verified_elsewhere_may_be_unknown_here(vouched, methods, properties):
    """EXTERNALLY_VERIFIED turns NOUSER into OK."""
    session = vouched(*methods, properties=properties)
    assert session.start("PLAIN", b"\0stranger\0vouched").done
    assert session.authid == "stranger"
    assert session.properties.get("mailHost") == ()


@pytest.mark.parametrize("methods", [("vouching",), ("auxprop", "vouching")])
def test_g11_so_may_the_one_for_whom_he_acts(vouched, methods):
    """With an authzid that the store does not know, the policy alone decides."""
    session = vouched(*methods)
    assert session.start("PLAIN", b"elsewhere\0stranger\0vouched").done
    assert session.authzid == "elsewhere"


def test_g11_a_user_verified_here_must_be_known_here(vouched):
    """Without an external verification NOUSER stays NOUSER."""
    session = vouched("auxprop")
    with pytest.raises(AuthenticationError):
        session.start("PLAIN", b"\0stranger\0vouched")
    assert not session.done


def test_g11_a_locked_user_stays_locked(vouched):
    """EXTERNALLY_VERIFIED excuses NOUSER and nothing else."""
    for methods, properties in ((("auxprop", "vouching"), ()), (("vouching",), ("mailHost",))):
        session = vouched(*methods, properties=properties)
        with pytest.raises(AuthenticationError) as caught:
            session.start("PLAIN", b"\0carol\0vouched")
        assert "DISABLED" in (caught.value.detail or "")


# --- G12: the order ------------------------------------------------------------------------------


class Recording(CanonUserPlug):
    """A canonicaliser that writes down what it is asked, in lower case."""

    name = "recording"

    def __init__(self, log):
        self.log = log

    def canon_user_server(self, ctx, user, flags):
        self.log.append(("canon", user, flags))
        return user.lower()

    canon_user_client = canon_user_server


@pytest.fixture
def recorded(driver, toys):
    """A server and the order in which it did what."""
    log: list[tuple] = []
    toys.plug("canon_user", Recording(log))
    store: Any = SpyStore()
    for name in ("alice", "bob"):
        store.add_user(name, password=f"{name}'s")
    plain_read = store.read

    def read(user, names):
        log.append(("look up", str(user), tuple(names)))
        return plain_read(user, names)

    store.read = read

    def authorize(authid, authzid, properties):
        log.append(("policy", authid, authzid))
        return Decision.PERMIT

    def checkpass(user, password, service):
        log.append(("check", str(user)))
        return Result.OK if password == b"alice's" else Result.BADAUTH

    def make(**more):
        config = OPEN | {"canon_user_plugin": "recording"}
        server = driver.server(
            config,
            registry=toys.registry(),
            stores=[store],
            authorize=authorize,
            checkpass=checkpass if more.pop("callback", False) else None,
        )
        return server.session(**more)

    return make, log


AUTHID, AUTHZID = CanonFlag.AUTHID, CanonFlag.AUTHZID


def test_g12_plain_canonicalises_checks_and_then_looks_at_the_authzid(recorded):
    """canon(authid), canon(authzid), the password; after the proof the look-ups, the policy."""
    make, log = recorded
    session = make(callback=True)
    assert session.start("PLAIN", b"Bob\0Alice\0alice's").done
    assert [entry[:2] for entry in log] == [
        ("canon", "Alice"),
        ("canon", "Bob"),
        ("check", "alice"),
        ("look up", "alice"),
        ("look up", "bob"),
        ("policy", "alice"),
    ]
    assert [entry[2] for entry in log[:2]] == [AUTHID, AUTHZID]
    assert log[-1] == ("policy", "alice", "bob")


def test_g12_plain_without_an_authzid_canonicalises_once_for_both(recorded):
    """One name that is both is asked about once, with both flags."""
    make, log = recorded
    assert make().start("PLAIN", b"\0Alice\0alice's").done
    assert log[0] == ("canon", "Alice", AUTHID | AUTHZID)
    assert [entry[0] for entry in log] == ["canon", "look up", "policy"]


def test_g12_plain_with_a_wrong_password_stops_at_the_check(recorded):
    """Neither bob's look-up nor the policy happens."""
    make, log = recorded
    with pytest.raises(AuthenticationError):
        make(callback=True).start("PLAIN", b"Bob\0Alice\0wrong")
    assert [entry[0] for entry in log] == ["canon", "canon", "check"]


def test_g12_scram_asks_for_its_property_with_the_authid_then_the_authzid(recorded, driver):
    """Request, AUTHID with look-up, proof, AUTHZID's look-up, policy."""
    make, log = recorded
    server = make(properties=["mailHost"])
    client = driver.client(OPEN).session(authid="Alice", password="alice's", authzid="Bob")
    exchange(server, client, "SCRAM-SHA-256")
    assert [entry[0] for entry in log] == ["canon", "canon", "look up", "look up", "policy"]
    assert log[2] == ("look up", "alice", ("authPassword",))
    assert log[3] == ("look up", "bob", ("mailHost",))
    assert (server.authid, server.authzid) == ("alice", "bob")


# --- a canonicaliser for authid, authzid and both, on both sides -----------------------------


class Folding(CanonUserPlug):
    """Case is folded; `name@EXAMPLE` becomes `name@example.com`."""

    name = "folding"

    def canon_user_server(self, ctx, user, flags):
        folded = user.casefold()
        return folded.replace("@example", "@example.com") if folded.endswith("@example") else folded

    canon_user_client = canon_user_server


class ServerOnly(CanonUserPlug):
    """Works on the server's side alone."""

    name = "folding"

    def canon_user_server(self, ctx, user, flags):
        return user.casefold()


@pytest.fixture
def folded(driver, toys):
    """A pair of sessions whose names are folded by `plug`, and the store."""
    toys.mechanism(server_plug("TOY", naming_server("*x")), client_plug("TOY", naming_client()))
    store = SpyStore()
    for name in ("alice@example.com", "bob@example.com", "alice", "bob"):
        store.add_user(name, password="pencil")

    def make(plug, **identities):
        toys.plug("canon_user", plug)
        config = OPEN | {"canon_user_plugin": "folding"}
        registry = toys.registry()
        server = driver.server(config, registry=registry, stores=[store], **PERMIT)
        client = driver.client(config, registry=registry)
        return server.session(), client.session(**identities)

    return make, store


def test_canon_of_the_authid_alone(folded):
    """Both ends agree on the one identity, and the store was asked for the canonical one."""
    make, store = folded
    server, client = make(Folding(), authid="Alice@EXAMPLE")
    exchange(server, client, "TOY")
    for session in (server, client):
        assert (session.authid, session.authzid) == ("alice@example.com",) * 2
    assert store.lookups[0][0] == "alice@example.com"


def test_canon_of_authid_and_authzid(folded):
    """Each by itself, before success, on both sides."""
    make, _ = folded
    server, client = make(Folding(), authid="ALICE", authzid="Bob@Example")
    exchange(server, client, "TOY")
    for session in (server, client):
        assert (session.authid, session.authzid) == ("alice", "bob@example.com")


@pytest.mark.parametrize(
    "wanted", [AUTHID, AUTHZID, AUTHID | AUTHZID], ids=["authid", "authzid", "both"]
)
def test_canon_gets_the_flag_of_the_identity(driver, toys, wanted):
    """A canonicaliser may treat the two identities differently; each comes under its flag."""
    seen = []

    class Noting(CanonUserPlug):
        name = "noting"

        def canon_user_server(self, ctx, user, flags):
            if flags == wanted:
                seen.append((ctx.side.name, user))
            return user.lower()

        canon_user_client = canon_user_server

    toys.plug("canon_user", Noting())
    toys.mechanism(
        server_plug("TOY", naming_server(look_up=False)), client_plug("TOY", naming_client())
    )
    config = OPEN | {"canon_user_plugin": "noting"}
    store = SpyStore(users={"a": "pencil", "b": "pencil"})
    server = driver.server(config, registry=toys.registry(), stores=[store], **PERMIT)
    client = driver.client(config, registry=toys.registry())
    for authzid in (None, "b"):
        exchange(server.session(), client.session(authid="A", authzid=authzid), "TOY")
    name = "b" if wanted == AUTHZID else "A"
    assert seen == [("CLIENT", name), ("SERVER", name.lower())]


def test_canon_on_the_client_looks_nobody_up(folded):
    """The client's side canonicalises without any store."""
    make, store = folded
    _, client = make(Folding(), authid="ALICE")
    client.start("TOY")
    client.finish()
    assert client.authid == "alice"
    assert store.lookups == []


def test_canon_that_lacks_a_side_says_so(folded):
    """A canonicaliser without a client side cannot be used by a Client."""
    make, _ = folded
    server, client = make(ServerOnly(), authid="ALICE")
    with pytest.raises(UsageError, match="no client side"):
        client.start("TOY")
    assert server.start("TOY", b"ALICE").done


@pytest.mark.parametrize(
    "bad", ["", "a\nb", "x" * 2000, None, b"alice"], ids=lambda bad: repr(bad)[:9]
)
def test_canon_that_returns_no_name_is_refused(folded, bad):
    """What comes out of a canonicaliser obeys the rules of identities, or nobody gets in."""
    make, _ = folded

    class Bad(Folding):
        def canon_user_server(self, ctx, user, flags):
            return bad

    server, _ = make(Bad())
    with pytest.raises(SaslError):
        server.start("TOY", b"alice")
    assert not server.done


def test_canon_forgotten_by_a_client_mechanism_is_no_success(driver, toys):
    """A client whose mechanism never canonicalised its identities cannot be done."""

    def body(ctx):
        yield from ()
        return Success(data=b"alice")

    toys.mechanism(client=client_plug("TOY", body))
    session = driver.client(registry=toys.registry()).session(authid="alice")
    with pytest.raises(PluginError, match="canon_user"):
        session.start("TOY")
    assert not session.done


def test_g10_a_decoy_secret_is_asked_for_once(driver, toys, store):
    """The store's secret is read at the first look-up of a Server, and kept."""
    calls = []
    plain = store.read_decoy_secret

    def read_decoy_secret():
        calls.append(True)
        return plain()

    store.read_decoy_secret = read_decoy_secret
    toys.mechanism(server_plug("TOY", naming_server("*x")))
    server = driver.server(registry=toys.registry(), stores=[store])
    for _ in range(3):
        server.session().start("TOY", b"alice")
    assert len(calls) == 1
