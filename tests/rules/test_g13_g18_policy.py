"""G13 to G18: the proxy policy, several stores, properties, and who learns what of a failure."""

from __future__ import annotations

import logging
from typing import Any

import pytest

from drivers import exchange
from sasl_auxprop.memory import MemoryStore
from sasl_core import (
    AuditEvent,
    AuthenticationError,
    BackendError,
    Decision,
    PeerError,
    Result,
    SaslError,
    SetpassFlag,
    UsageError,
    UserName,
)
from sasl_core.plugin import Change, NeedPeer, Success
from toys import OPEN, SpyStore, server_plug

PEOPLE = {"alice": "alice's", "bob": "bob's"}


def attempt(driver, server, mechanism="PLAIN", facts=None, **identities):
    """A login; the server's session when it is done."""
    session = server.session(**(facts or {}))
    exchange(session, driver.client(OPEN).session(**identities), mechanism)
    return session


ALICE = {"authid": "alice", "password": "alice's"}
MECHANISMS = pytest.mark.parametrize("mechanism", ["PLAIN", "SCRAM-SHA-256"])


# --- G13: the proxy policy ------------------------------------------------------------------


@MECHANISMS
def test_g13_without_a_policy_everybody_is_only_themselves(driver, mechanism):
    """The default: authzid must equal authid."""
    server = driver.server(OPEN, stores=[MemoryStore(PEOPLE)])
    assert attempt(driver, server, mechanism, **ALICE).authzid == "alice"
    assert attempt(driver, server, mechanism, **ALICE, authzid="alice").authzid == "alice"
    with pytest.raises(AuthenticationError) as caught:
        attempt(driver, server, mechanism, **ALICE, authzid="bob")
    assert "bob" in (caught.value.detail or "")


@MECHANISMS
def test_g13_a_permissive_policy_lets_one_act_for_another(driver, mechanism):
    """PERMIT is enough, and both identities are told apart afterwards."""
    server = driver.server(OPEN, stores=[MemoryStore(PEOPLE)], authorize=lambda *_: Decision.PERMIT)
    session = attempt(driver, server, mechanism, **ALICE, authzid="bob")
    assert (session.authid, session.authzid) == ("alice", "bob")


@MECHANISMS
def test_g13_a_policy_may_refuse_even_oneself(driver, mechanism):
    """DENY stands although both identities are the same."""
    events: list[AuditEvent] = []
    server = driver.server(
        OPEN,
        stores=[MemoryStore(PEOPLE)],
        authorize=lambda *_: Decision.DENY,
        audit=[events.append],
    )
    with pytest.raises(AuthenticationError):
        attempt(driver, server, mechanism, **ALICE)
    assert [event.result for event in events] == [Result.NOAUTHZ]


@MECHANISMS
@pytest.mark.parametrize("authzid", [None, "bob"])
def test_g13_the_policy_is_asked_exactly_once_and_last(driver, mechanism, authzid):
    """One call for each good login, with both names and all the properties."""
    calls: list[object] = []

    def authorize(authid, authzid, properties):
        calls.append((authid, authzid, {n: properties.get(n) for n in ("*role", "mailHost")}))
        return Decision.PERMIT

    store = MemoryStore()
    for name, password in PEOPLE.items():
        store.add_user(
            name,
            password=password,
            properties={"role": [name.encode()], "mailHost": [name.encode()]},
        )
    server = driver.server(OPEN, stores=[store], authorize=authorize)
    facts = {"properties": ["*role", "mailHost"]}
    attempt(driver, server, mechanism, facts, **ALICE, authzid=authzid)
    acting = authzid or "alice"
    assert calls == [("alice", acting, {"*role": (b"alice",), "mailHost": (acting.encode(),)})]


@MECHANISMS
def test_g13_the_policy_is_not_asked_without_a_proof(driver, mechanism):
    """A wrong password reaches no policy."""
    calls: list[object] = []
    server = driver.server(OPEN, stores=[MemoryStore(PEOPLE)], authorize=calls.append)
    with pytest.raises(AuthenticationError):
        attempt(driver, server, mechanism, authid="alice", password="wrong")
    assert calls == []


@pytest.mark.parametrize("answer", [True, 1, "permit", None, Result.OK, ...], ids=repr)
def test_g13_a_policy_that_answers_anything_else_denies(driver, answer):
    """A bool is no Decision: it is the caller's mistake, and nobody gets in."""
    server = driver.server(OPEN, stores=[MemoryStore(PEOPLE)], authorize=lambda *_: answer)
    session = server.session()
    with pytest.raises(UsageError):
        session.start("PLAIN", b"\0alice\0alice's")
    assert not session.done
    with pytest.raises(UsageError):
        assert session.authid


def test_g13_a_policy_that_breaks_denies(driver):
    """Its exception is an outage, and its text goes nowhere."""

    def authorize(*_):
        raise LookupError("secret of the policy")

    server = driver.server(OPEN, stores=[MemoryStore(PEOPLE)], authorize=authorize)
    session = server.session()
    with pytest.raises(BackendError) as caught:
        session.start("PLAIN", b"\0alice\0alice's")
    assert "secret" not in f"{caught.value} {caught.value.detail} {session.error_detail}"
    assert not session.done


def test_g13_anonymous_is_subject_to_the_policy_too(driver):
    """Even nobody is somebody whom a policy may turn away."""
    calls: list[object] = []

    def authorize(authid, authzid, properties):
        calls.append((authid, authzid))
        return Decision.DENY

    server = driver.server(OPEN, stores=[MemoryStore()], authorize=authorize)
    with pytest.raises(AuthenticationError):
        server.session().start("ANONYMOUS", b"me@example.com")
    assert calls == [("anonymous", "anonymous")]


# --- G14 to G16: several stores ------------------------------------------------------------------


def two_stores(first, second, *, override=False, writable=True):
    """Two stores of alice, who has the properties given in each; None: she is not there."""
    stores = [SpyStore("first"), SpyStore("second", override=override)]
    stores[0].writable = writable
    for store, properties in zip(stores, (first, second), strict=True):
        if properties is not None:
            store.add_user("alice", password=f"{store.name}'s", properties=properties)
    return stores


def found(driver, stores, *names, password="first's"):
    session = driver.server(OPEN, stores=stores).session(properties=names)
    session.start("PLAIN", b"\0alice\0" + password.encode())
    return {name: session.properties.get(name) for name in names}


def test_g14_every_store_is_asked_in_order(driver, toys):
    """All that auxprop_plugin lists run, and what one lacks the next may have."""
    first, second = two_stores({"a": [b"1"]}, {"b": [b"2"]})
    order = []
    for store in (first, second):
        plain = store.read

        def read(user, names, plain=plain, name=store.name):
            order.append(name)
            return plain(user, names)

        spied: Any = store
        spied.read = read
        toys.plug("auxprop", store)
    config = OPEN | {"auxprop_plugin": ["second", "first"]}
    session = driver.server(config, registry=toys.registry()).session(properties=["a", "b"])
    session.start("PLAIN", b"\0alice\0second's")
    assert order == ["second", "first"]
    assert (session.properties.get("a"), session.properties.get("b")) == ((b"1",), (b"2",))


def test_g14_a_value_that_is_set_stays(driver):
    """What an earlier store found is not replaced by a later one, verifiers included."""
    stores = two_stores({"a": [b"1"]}, {"a": [b"2"]})
    assert found(driver, stores, "a") == {"a": (b"1",)}
    with pytest.raises(AuthenticationError):
        found(driver, stores, "a", password="second's")


def test_g14_a_store_with_override_replaces_it(driver):
    """OVERRIDE lets the later store's values win, verifiers included."""
    stores = two_stores({"a": [b"1"]}, {"a": [b"2"]}, override=True)
    assert found(driver, stores, "a", password="second's") == {"a": (b"2",)}
    with pytest.raises(AuthenticationError):
        found(driver, stores, "a")


class Saying(SpyStore):
    """A store that says one thing of everybody."""

    def __init__(self, name, result):
        super().__init__(name)
        self.result = result
        self.add_user("alice", password="alice's")

    def read(self, user, names):
        answer = super().read(user, names)
        return type(answer)(self.result, answer.values, answer.verifiers, answer.decoy_secret)


OK, NOVERIFY, NOUSER = Result.OK, Result.NOVERIFY, Result.NOUSER
DISABLED, UNAVAIL = Result.DISABLED, Result.UNAVAIL
MERGED = {
    (OK, OK): OK,
    (OK, NOUSER): OK,
    (NOUSER, OK): OK,
    (NOUSER, NOUSER): NOUSER,
    (NOVERIFY, NOUSER): NOVERIFY,
    (NOUSER, NOVERIFY): NOVERIFY,
    (OK, NOVERIFY): OK,
    (NOVERIFY, OK): OK,
    (OK, DISABLED): DISABLED,
    (DISABLED, OK): DISABLED,
    (DISABLED, NOUSER): DISABLED,
    (NOUSER, DISABLED): DISABLED,
    (DISABLED, NOVERIFY): DISABLED,
    (UNAVAIL, OK): UNAVAIL,
    (OK, UNAVAIL): UNAVAIL,
    (DISABLED, UNAVAIL): UNAVAIL,
    (UNAVAIL, DISABLED): UNAVAIL,
    (NOUSER, UNAVAIL): UNAVAIL,
    (NOVERIFY, UNAVAIL): UNAVAIL,
}


@pytest.mark.parametrize("results", MERGED, ids=lambda pair: "-".join(r.name for r in pair))
def test_g15_what_two_stores_say_is_merged(driver, toys, results):
    """OK and NOVERIFY beat NOUSER, DISABLED beats OK, UNAVAIL overrides all."""
    stores = [Saying(f"store{i}", result) for i, result in enumerate(results)]
    seen = []

    def body(ctx):
        from sasl_core.plugin import NeedUser

        yield from NeedPeer()
        user = yield from NeedUser("alice", None, ("*authPassword",))
        seen.append(user.found.result)
        return Success(ctx.attest(user, how="toy"))

    toys.mechanism(server_plug("TOY", body))
    session = driver.server(OPEN, registry=toys.registry(), stores=stores).session()
    merged = MERGED[results]
    if merged is UNAVAIL:
        with pytest.raises(BackendError):
            session.start("TOY", b"")
        assert seen == []
    elif merged is DISABLED:
        with pytest.raises(AuthenticationError):
            session.start("TOY", b"")
        assert seen == [DISABLED]
    else:
        assert session.start("TOY", b"").done
        assert seen == [merged]


@pytest.mark.parametrize("mechanism", ["PLAIN", "SCRAM-SHA-256"])
@pytest.mark.parametrize("results", MERGED, ids=lambda pair: "-".join(r.name for r in pair))
def test_g15_only_what_is_ok_altogether_logs_in(driver, mechanism, results):
    """With a right password: in for OK, an outage for UNAVAIL, refused for all else."""
    stores = [Saying(f"store{i}", result) for i, result in enumerate(results)]
    for store in stores[1:]:
        store._accounts = stores[0]._accounts
    server = driver.server(OPEN, stores=stores)
    merged = MERGED[results]
    if merged is OK:
        assert attempt(driver, server, mechanism, **ALICE).done
    else:
        kind = BackendError if merged is UNAVAIL else AuthenticationError
        with pytest.raises(kind):
            attempt(driver, server, mechanism, **ALICE)


def test_g16_a_write_goes_to_every_store_that_can_be_written(driver):
    """In their order; one that is read-only is left out."""
    stores = two_stores({}, {})
    report = driver.server(OPEN, stores=stores).setpass("alice", "new")
    targets = [target.target for target in report.targets]
    assert targets[:2] == ["auxprop:first", "auxprop:second"]
    assert report.ok
    stores = two_stores({}, {}, writable=False)
    driver.server(OPEN, stores=stores).setpass("alice", "new")
    assert (len(stores[0].writes), len(stores[1].writes)) == (0, 1)


def test_g16_the_first_failure_ends_a_write(driver):
    """The store after one that refused is not touched."""
    stores = two_stores(None, {})
    report = driver.server(OPEN, stores=stores).setpass("alice", "new")
    assert report.result is Result.NOUSER
    assert not report.ok
    assert (len(stores[0].writes), len(stores[1].writes)) == (1, 0)


def test_g16_no_store_that_can_be_written_is_an_error(driver):
    """Nothing was kept, and nobody is told that it was."""
    stores = two_stores({}, {}, writable=False)[:1]
    with pytest.raises(BackendError, match="no property store can be written"):
        driver.server(OPEN, stores=stores).setpass("alice", "new", SetpassFlag.NONE)


# --- G17: what a session shows of the properties -----------------------------------------


def test_g17_what_was_not_found_was_still_requested(driver):
    """A requested property without values is there, and empty."""
    session = attempt(
        driver,
        driver.server(OPEN, stores=[MemoryStore(PEOPLE)]),
        facts={"properties": ["mailHost", "mailHost"]},
        **ALICE,
    )
    assert session.properties.names.count("mailHost") == 1
    assert not session.properties.found("mailHost")


@pytest.mark.parametrize("mechanism", ["PLAIN", "SCRAM-SHA-256"])
def test_g17_secrets_are_erased_when_it_is_done(driver, mechanism):
    """Neither verifier nor password is left in a session's properties, or in its context."""
    store = MemoryStore(PEOPLE, plaintext=True)
    session = attempt(driver, driver.server(OPEN, stores=[store]), mechanism, **ALICE)
    for name in ("*userPassword", "*authPassword", "userPassword", "authPassword"):
        assert session.properties.get(name) == ()
    user = session.raw()._context.user
    assert dict(user.found.values) == {}
    assert dict(user.found.verifiers) == {}


def test_g17_a_secret_that_the_application_wants_it_gets(driver):
    """Whoever asks for the password by name, say to proxy it, finds it."""
    store = MemoryStore(PEOPLE, plaintext=True)
    session = attempt(
        driver,
        driver.server(OPEN, stores=[store]),
        "SCRAM-SHA-256",
        facts={"properties": ["*userPassword"]},
        **ALICE,
    )
    assert session.properties.get("*userPassword") == (b"alice's",)


# --- G18: details --------------------------------------------------------------------------


def failing(driver, toys, body, **more):
    """The error with which `body` fails, and the session."""
    toys.mechanism(server_plug("TOY", body))
    server = driver.server(registry=toys.registry(), stores=[MemoryStore(PEOPLE)], **more)
    session = server.session(remote="127.0.0.1;1")
    with pytest.raises(SaslError) as caught:
        session.start("TOY", b"")
    return caught.value, session


def test_g18_the_deepest_detail_stands_and_others_follow(driver, toys):
    """Who spoke first knew most; what is said later is appended with ` <- `."""

    def body(ctx):
        yield from NeedPeer()
        ctx.seterror("the disk is full")
        ctx.seterror("cannot look alice up")
        raise PeerError("refused", detail="login failed")

    error, session = failing(driver, toys, body)
    assert error.detail == "the disk is full <- cannot look alice up <- login failed"
    assert session.error_detail == error.detail


def test_g18_raising_with_a_detail_is_setting_it(driver, toys):
    """No call of seterror is needed."""

    def body(ctx):
        yield from NeedPeer()
        raise PeerError("refused", detail="because")

    _, session = failing(driver, toys, body)
    assert session.error_detail == "because"


def test_g18_a_message_is_as_good_as_a_detail(driver, toys):
    """An error without a detail leaves its own message to the administrator."""

    def body(ctx):
        yield from NeedPeer()
        raise PeerError("the trace is not UTF-8")

    _, session = failing(driver, toys, body)
    assert session.error_detail == "the trace is not UTF-8"


def test_g18_a_message_stands_beside_its_foreign_cause(driver, toys):
    """An error raised from another still says what was wrong, and names only the other's type."""

    def body(ctx):
        yield from NeedPeer()
        try:
            b"\xffsecret".decode()
        except UnicodeDecodeError as error:
            raise PeerError("the message is not UTF-8") from error

    error, session = failing(driver, toys, body)
    assert "the message is not UTF-8" in (session.error_detail or "")
    assert "UnicodeDecodeError" in (session.error_detail or "")
    assert "secret" not in (session.error_detail or "")
    assert error.__cause__ is None


def test_g18_a_refused_start_has_a_detail_too(driver, toys):
    """What never got as far as a mechanism says why as well."""
    server = driver.server({}, stores=[MemoryStore()])
    for mechanism, initial in (("NOPE", None), ("PLAIN", b"x"), ("SCRAM-SHA-256", b"x" * 70_000)):
        session = server.session()
        with pytest.raises(SaslError) as caught:
            session.start(mechanism, initial)
        assert caught.value.detail
        assert session.error_detail == caught.value.detail


@pytest.mark.parametrize(
    "detail", ["%s%n%(x)s {0.__class__}", "\ud800\x00\n", "x" * 100_000], ids=ascii
)
def test_g18_setting_a_detail_never_fails(driver, toys, detail):
    """Whatever it holds it is text, cut to a bearable size, and never a format."""

    def body(ctx):
        yield from NeedPeer()
        for _ in range(50):
            ctx.seterror(detail)
        raise PeerError

    _, session = failing(driver, toys, body)
    text = session.error_detail
    assert text is not None
    assert len(text) < 5000
    assert text.isprintable()


class Unprintable:
    def __str__(self):
        raise RuntimeError("no text")


def test_g18_a_detail_without_a_text_does_no_harm(driver, toys):
    """Seterror never raises, even of what cannot be printed."""

    def body(ctx):
        yield from NeedPeer()
        ctx.seterror(Unprintable())
        raise PeerError("refused")

    _, session = failing(driver, toys, body)
    assert "Unprintable" in (session.error_detail or "")


WRONGS = {
    "wrong password": ("alice", "wrong"),
    "unknown": ("nobody", "wrong"),
    "locked": ("carol", "carol's"),
    "without a secret": ("dave", "x"),
}


@MECHANISMS
def test_g18_the_peer_learns_one_thing_whatever_the_cause(driver, mechanism):
    """One message, code, result and wire for all; the administrator's details differ."""
    store = MemoryStore(PEOPLE)
    store.add_user("carol", password="carol's", disabled=True)
    store.add_user("dave")
    events: list[AuditEvent] = []
    server = driver.server(OPEN, stores=[store], audit=[events.append])
    public, details = set(), set()
    for name, password in WRONGS.values():
        with pytest.raises(AuthenticationError) as caught:
            attempt(driver, server, mechanism, authid=name, password=password)
        error = caught.value
        public.add((str(error), error.code, error.result, error.wire, repr(error)))
        details.add(error.detail)
        assert name not in str(error)
    assert len(public) == 1
    assert len(details) == len(WRONGS)
    assert {event.result for event in events} == {
        Result.BADAUTH,
        Result.NOUSER,
        Result.DISABLED,
        Result.NOUSERPASS,
    }


@MECHANISMS
def test_g18_the_detail_never_reaches_the_peer(driver, mechanism):
    """Nothing that goes out, wire included, holds the detail or what it is made of."""
    server = driver.server(OPEN, stores=[MemoryStore(PEOPLE)])
    session = server.session()
    client = driver.client(OPEN).session(authid="nobody", password="x")
    with pytest.raises(AuthenticationError) as caught:
        exchange(session, client, mechanism)
    error = caught.value
    outgoing = f"{error} {error!r} {error.args} {error.wire!r}"
    assert session.error_detail
    for word in ("nobody", "NOUSER", "no such user", "auxprop", session.error_detail):
        assert word not in outgoing


def test_g18_the_detail_is_logged(driver, caplog):
    """The administrator's log has the detail, the true result, and no secret."""
    caplog.set_level(logging.DEBUG)
    server = driver.server(OPEN, stores=[MemoryStore(PEOPLE)])
    with pytest.raises(AuthenticationError):
        server.session(remote="192.0.2.1;40000").start("PLAIN", b"\0nobody\0hunter2")
    assert "NOUSER" in caplog.text
    assert "192.0.2.1;40000" in caplog.text
    assert "hunter2" not in caplog.text


def test_g16_a_stores_own_word_on_a_change_is_kept():
    """The store itself: a create that finds somebody is a conflict (what G16 stops at)."""
    store = MemoryStore(PEOPLE)
    assert store.write(UserName("alice"), Change(create=True)) is Result.NOCHANGE
