"""G19 and G20: setting passwords, checking them, moving them, and whether a user is there."""

from __future__ import annotations

import logging
from typing import Any

import pytest

from sasl_auxprop.memory import MemoryStore
from sasl_core import (
    AuditEvent,
    AuthenticationError,
    BackendError,
    ConfigError,
    Decision,
    PluginError,
    Result,
    SaslError,
    SetpassFlag,
    UsageError,
    UserName,
)
from sasl_core.plugin import CanonUserPlug, NeedPassword, PasswordAnswer, PwcheckPlug
from toys import OPEN, SpyStore, naming_server, server_plug

CREATE, DISABLE = SetpassFlag.CREATE, SetpassFlag.DISABLE
NOPLAIN, CURMECH = SetpassFlag.NOPLAIN, SetpassFlag.CURMECH_ONLY


def logs_in(server, user, password, mechanism="PLAIN"):
    """Whether the password is good."""
    try:
        return bool(server.session().start(mechanism, f"\0{user}\0{password}".encode()).done)
    except AuthenticationError:
        return False


def values(store, user, name):
    return store.read(UserName.parse(user), (name,)).values.get(name, ())


def verifiers(store, user):
    return dict(store.read(UserName.parse(user), ("authPassword",)).verifiers)


# --- G19: setpass -----------------------------------------------------------------------------


def test_g19_create_makes_the_user_and_the_password(driver):
    """With CREATE the user is there afterwards, and can log in."""
    server = driver.server(OPEN, stores=[MemoryStore()])
    report = server.setpass(" alice ", "new", CREATE)
    assert report.ok
    assert report.user == UserName("alice")
    assert logs_in(server, "alice", "new")
    assert server.users() == [UserName("alice")]


def test_g19_without_create_nobody_is_made(driver):
    """The report says NOUSER, and there is still nobody."""
    server = driver.server(OPEN, stores=[MemoryStore()])
    report = server.setpass("alice", "new")
    assert (report.ok, report.result) == (False, Result.NOUSER)
    assert server.users() == []


def test_g19_create_of_somebody_who_is_there_changes_the_password(driver):
    """As with Cyrus, CREATE does not mind an existing user."""
    server = driver.server(OPEN, stores=[MemoryStore({"alice": "old"})])
    assert server.setpass("alice", "new", CREATE).ok
    assert logs_in(server, "alice", "new")
    assert not logs_in(server, "alice", "old")


def test_g19_a_new_password_replaces_every_verifier_of_the_old_one(driver):
    """A verifier of another hash must not outlive its password."""
    store = MemoryStore()
    store.add_user("alice", password="old", hashes=("SHA-1", "SHA-256", "SHA-512"))
    server = driver.server(OPEN, stores=[store])
    assert server.setpass("alice", "new").ok
    assert set(verifiers(store, "alice")) == {"SHA-256"}
    assert logs_in(server, "alice", "new")
    assert not logs_in(server, "alice", "old")


def test_g19_disable_locks_until_create(driver):
    """A locked user has no way in; a new password is no pardon, making the user anew is."""
    server = driver.server(OPEN, stores=[MemoryStore({"alice": "old"})])
    assert server.setpass("alice", None, DISABLE).ok
    assert not logs_in(server, "alice", "old")
    assert server.user_exists("alice")
    assert server.setpass("alice", "new").ok
    assert not logs_in(server, "alice", "new")
    assert server.setpass("alice", "newer", CREATE).ok
    assert logs_in(server, "alice", "newer")


@pytest.mark.parametrize(
    ("password", "flags"),
    [
        ("", SetpassFlag.NONE),
        (None, SetpassFlag.NONE),
        ("", CREATE),
        ("new", CREATE | DISABLE),
        (None, CREATE | DISABLE),
        ("new", DISABLE),
        ("\u00ad", CREATE),
        ("a\x07b", CREATE),
        (b"bytes", CREATE),
        (7, CREATE),
    ],
    ids=str,
)
def test_g19_what_makes_no_sense_is_an_error_and_changes_nothing(driver, password, flags):
    """No password without DISABLE, CREATE with DISABLE, a password that cannot be one."""
    store = SpyStore(users={"alice": "old"})
    server = driver.server(OPEN, stores=[store])
    with pytest.raises(UsageError):
        server.setpass("alice", password, flags)
    assert store.writes == []
    assert logs_in(server, "alice", "old")


def test_g19_noplain_keeps_no_plaintext(driver):
    """Where the store keeps plaintext it does so unless told not to, and the old one goes too."""
    store = MemoryStore({"alice": "old"}, plaintext=True)
    server = driver.server(OPEN, stores=[store])
    server.setpass("alice", "new")
    assert values(store, "alice", "userPassword") == (b"new",)
    server.setpass("alice", "newer", NOPLAIN)
    assert values(store, "alice", "userPassword") == ()
    assert logs_in(server, "alice", "newer")
    assert not logs_in(server, "alice", "new")


def test_g19_a_store_that_keeps_no_plaintext_is_given_none(driver):
    """Of two stores only the one that asks for plaintext sees it."""
    stores = [SpyStore("one"), SpyStore("two", plaintext=True)]
    driver.server(OPEN, stores=stores).setpass("alice", "new", CREATE)
    assert "userPassword" not in stores[0].writes[0][1].values
    assert stores[1].writes[0][1].values["userPassword"] == (b"new",)


class Keeping:
    """A mechanism's own database of secrets."""

    def __init__(self, fails: BaseException | None = None) -> None:
        self.kept: dict[str, object] = {}
        self.fails = fails

    def plug(self, name, **more):
        keeping = self

        def setpass(self, user, password, flags):
            if keeping.fails is not None:
                raise keeping.fails
            keeping.kept[str(user)] = (password, flags)
            yield from ()
            return {}

        return server_plug(name, naming_server(), setpass=setpass, **more)


def test_g19_every_mechanism_with_secrets_of_its_own_is_asked(driver, toys):
    """Each gets the canonical user, the prepared password and the flags, and is a target."""
    own = Keeping()
    toys.mechanism(own.plug("TOY"))
    toys.mechanism(server_plug("PLAINER", naming_server()))
    server = driver.server(OPEN, registry=toys.registry(), stores=[MemoryStore()])
    report = server.setpass("alice", "ne\u00adw", CREATE)
    assert own.kept == {"alice": (b"new", CREATE)}
    assert {target.target: target.result for target in report.targets} == {
        "auxprop:memory": Result.OK,
        "SCRAM-SHA-256": Result.OK,
        "TOY": Result.OK,
    }


def test_g19_disable_is_told_to_mechanisms_as_no_password(driver, toys):
    """Their secret is to go."""
    own = Keeping()
    toys.mechanism(own.plug("TOY"))
    store = MemoryStore({"alice": "old"})
    server = driver.server(OPEN, registry=toys.registry(), stores=[store])
    server.setpass("alice", None, DISABLE)
    assert own.kept == {"alice": (None, DISABLE)}


@pytest.mark.parametrize(
    "error",
    [BackendError(detail="its file is gone"), KeyError("secret of the plugin")],
    ids=["of ours", "foreign"],
)
def test_g19_a_mechanism_that_fails_is_reported_and_nothing_is_written(driver, toys, error):
    """The report names it, with its result and detail; stores stay as they are."""
    toys.mechanism(Keeping(error).plug("TOY"))
    store = SpyStore(users={"alice": "old"})
    server = driver.server(OPEN, registry=toys.registry(), stores=[store])
    report = server.setpass("alice", "new")
    assert not report.ok
    (failed,) = [target for target in report.targets if target.result is not Result.OK]
    assert failed.target == "TOY"
    assert failed.detail
    assert "secret" not in failed.detail
    assert store.writes == []
    assert logs_in(server, "alice", "old")


def test_g19_curmech_only_sets_the_secret_of_one_mechanism(driver, toys):
    """The others keep theirs, plaintext included."""
    own, other = Keeping(), Keeping()
    toys.mechanism(own.plug("TOY"))
    toys.mechanism(other.plug("OTHER"))
    store = MemoryStore({"alice": "old"}, plaintext=True)
    server = driver.server(OPEN, registry=toys.registry(), stores=[store])
    assert server.setpass("alice", "new", CURMECH, mechanism="TOY").ok
    assert own.kept == {"alice": (b"new", CURMECH)}
    assert other.kept == {}
    assert values(store, "alice", "userPassword") == (b"old",)
    assert logs_in(server, "alice", "old")


def test_g19_curmech_only_needs_to_know_which(driver):
    """Without a mechanism there is no current one: nothing is changed."""
    store = SpyStore(users={"alice": "old"})
    server = driver.server(OPEN, stores=[store])
    with pytest.raises(UsageError, match="mechanism"):
        server.setpass("alice", "new", CURMECH)
    with pytest.raises(UsageError, match="mechanism"):
        server.setpass("alice", "new", mechanism="SCRAM-SHA-256")
    assert store.writes == []


def test_g19_curmech_only_of_a_mechanism_without_secrets_is_an_error(driver):
    """PLAIN keeps none: nothing could be set, and that is not a success."""
    store = SpyStore(users={"alice": "old"})
    server = driver.server(OPEN, stores=[store])
    with pytest.raises(UsageError, match="PLAIN"):
        server.setpass("alice", "new", CURMECH, mechanism="PLAIN")
    with pytest.raises(SaslError):
        server.setpass("alice", "new", CURMECH, mechanism="NOPE")
    assert store.writes == []


def test_g19_a_password_can_be_used_by_the_mechanisms_that_are_offered(driver):
    """Where mech_list names none that keeps a secret, PLAIN's password is kept all the same."""
    store = MemoryStore()
    server = driver.server(OPEN | {"mech_list": ["PLAIN"]}, stores=[store])
    assert server.setpass("alice", "new", CREATE).ok
    assert logs_in(server, "alice", "new")


def test_g19_a_password_that_nobody_keeps_is_an_error(driver, toys):
    """Neither a mechanism nor a store has a use for it: no user is made without a way in."""
    toys.without("mechanisms", "SCRAM-SHA-256")
    store = SpyStore()
    server = driver.server(OPEN, registry=toys.registry(), stores=[store])
    with pytest.raises(BackendError) as caught:
        server.setpass("alice", "new", CREATE)
    assert not caught.value.temporary
    assert store.writes == []


@pytest.mark.parametrize("user", ["", "a b", "\0", "x" * 2000, None, 7], ids=lambda u: repr(u)[:9])
def test_g19_a_name_that_is_none_is_the_callers_mistake(driver, user):
    """An administrator's mistake is a UsageError."""
    with pytest.raises(UsageError):
        driver.server(OPEN, stores=[MemoryStore()]).setpass(user, "new", CREATE)


# --- G20: checkpass ---------------------------------------------------------------------------


class Method(PwcheckPlug):
    """A pwcheck method that answers as it is told, and counts."""

    def __init__(self, name, result, exists=None):
        self.name = name
        self.result = result
        self.exists = exists
        self.asked: list[tuple[str, bytes, str]] = []

    def check_password(self, user, password, service):
        self.asked.append((str(user), password, service))
        yield from ()
        if isinstance(self.result, BaseException):
            raise self.result
        return self.result if not isinstance(self.result, Result) else PasswordAnswer(self.result)

    def user_exists(self, user):
        if self.exists is None:
            return (yield from super().user_exists(user))
        return PasswordAnswer(self.exists)


OK, BADAUTH, NOUSER, NOVERIFY = Result.OK, Result.BADAUTH, Result.NOUSER, Result.NOVERIFY


@pytest.fixture
def checking(driver, toys):
    """A server with those pwcheck methods, and the memory store of alice."""

    def make(*methods, listed=None, store=None, **more):
        for method in methods:
            toys.plug("pwcheck", method)
        names = listed or [method.name for method in methods] or ["auxprop"]
        config = OPEN | {"pwcheck_method": names} | more.pop("config", {})
        stores = [store or MemoryStore({"alice": "alice's"})]
        return driver.server(config, registry=toys.registry(), stores=stores, **more)

    return make


def test_g20_checkpass_says_who_it_is(checking):
    """The canonical name for a right password, an error for a wrong one."""
    server = checking()
    assert server.checkpass(" alice ", "alice's") == "alice"
    for user, password in (("alice", "wrong"), ("nobody", "alice's"), ("alice", "")):
        with pytest.raises(AuthenticationError):
            server.checkpass(user, password)


@pytest.mark.parametrize(
    ("user", "password"), [(None, None), ("alice", None), (None, "x"), (b"alice", "x"), (1, 2)]
)
def test_g20_absent_arguments_are_the_callers_mistake(checking, user, password):
    """Neither a crash nor a refusal."""
    with pytest.raises(UsageError):
        checking().checkpass(user, password)


def test_g20_the_order_is_canon_callback_methods_policy(driver, toys):
    """Each is asked in its turn, once."""
    order: list[str] = []

    class Noting(CanonUserPlug):
        name = "noting"

        def canon_user_server(self, ctx, user, flags):
            order.append("canon")
            return user.lower()

    class Counting(Method):
        def check_password(self, user, password, service):
            order.append(self.name)
            return (yield from super().check_password(user, password, service))

    def checkpass(user, password, service):
        order.append("callback")
        assert (str(user), password, service) == ("alice", b"pw", "smtp")
        return NOVERIFY

    def authorize(*_):
        order.append("policy")
        return Decision.PERMIT

    toys.plug("canon_user", Noting())
    toys.plug("pwcheck", Counting("one", BADAUTH))
    toys.plug("pwcheck", Counting("two", OK))
    toys.plug("pwcheck", Counting("three", OK))
    config = {"pwcheck_method": ["one", "two", "three"], "canon_user_plugin": "noting"}
    server = driver.server(
        OPEN | config,
        registry=toys.registry(),
        stores=[MemoryStore()],
        checkpass=checkpass,
        authorize=authorize,
    )
    assert server.checkpass("ALICE", "pw") == "alice"
    assert order == ["canon", "callback", "one", "two", "policy"]


def test_g20_a_callback_that_passes_on_leaves_it_to_the_methods(checking):
    """NOVERIFY is "ask the others"."""
    server = checking(checkpass=lambda *_: NOVERIFY)
    assert server.checkpass("alice", "alice's") == "alice"
    with pytest.raises(AuthenticationError):
        server.checkpass("alice", "wrong")


@pytest.mark.parametrize(
    "answer", [BADAUTH, NOUSER, Result.DISABLED, Result.EXPIRED, Result.FAIL], ids=lambda r: r.name
)
def test_g20_any_other_answer_of_the_callback_is_final(checking, answer):
    """The application has spoken; no method is asked, right as the password may be."""
    method = Method("one", OK)
    events: list[AuditEvent] = []
    server = checking(method, checkpass=lambda *_: answer, audit=[events.append])
    with pytest.raises(AuthenticationError):
        server.checkpass("alice", "alice's")
    assert method.asked == []
    assert [(event.kind, event.result) for event in events] == [("checkpass", answer)]


def test_g20_the_callbacks_yes_is_final_too(checking):
    """OK needs no second opinion; the store is only asked whether the user is locked."""
    store = SpyStore()
    method = Method("one", BADAUTH)
    server = checking(method, checkpass=lambda *_: OK, store=store)
    assert server.checkpass("stranger", "x") == "stranger"
    assert method.asked == []
    assert store.lookups == [("stranger", ())]


@pytest.mark.parametrize("answer", [True, None, "OK", 0], ids=repr)
def test_g20_a_callback_that_answers_anything_else_lets_nobody_in(checking, answer):
    """A bool is no Result."""
    with pytest.raises(UsageError):
        checking(checkpass=lambda *_: answer).checkpass("alice", "alice's")


def test_g20_a_callback_that_breaks_is_an_outage(checking):
    """Its exception is not "wrong password"."""

    def checkpass(*_):
        raise OSError("secret")

    with pytest.raises(BackendError) as caught:
        checking(checkpass=checkpass).checkpass("alice", "alice's")
    assert "secret" not in str(caught.value.detail)


def test_g20_one_method_that_says_ok_is_enough(checking):
    """The list is tried in order until one does."""
    first, second, third = Method("a1", BADAUTH), Method("a2", OK), Method("a3", OK)
    server = checking(first, second, third)
    assert server.checkpass("stranger", "pw") == "stranger"
    assert (len(first.asked), len(second.asked), len(third.asked)) == (1, 1, 0)


@pytest.mark.parametrize("first", [Result.UNAVAIL, BackendError(detail="down"), OSError("down")])
def test_g20_an_outage_is_no_wrong_password(checking, first):
    """A method that cannot be asked: the next may say OK, but nobody's "no" counts."""
    assert checking(Method("a1", first), Method("a2", OK)).checkpass("x", "pw") == "x"
    with pytest.raises((BackendError, PluginError)):
        checking(Method("a1", first), Method("a2", BADAUTH)).checkpass("x", "pw")


def test_g20_a_locked_user_stays_out_whatever_another_method_says(checking):
    """A word that is more than "wrong" stands; the others are asked for the sake of timing."""
    for other in (OK, BADAUTH, Result.UNAVAIL):
        locked, second = Method("a1", Result.DISABLED), Method("a2", other)
        for methods in ((locked, second), (second, locked)):
            with pytest.raises((AuthenticationError, BackendError)) as caught:
                checking(*methods, listed=["a1", "a2"]).checkpass("x", "pw")
            assert (type(caught.value) is BackendError) is (other is Result.UNAVAIL)


def test_g20_an_unknown_method_is_no_mechanism(checking):
    """NOMECH, with the name and the known ones."""
    server = checking(Method("fake", BADAUTH), listed=["nope"])
    with pytest.raises(ConfigError, match="nope") as caught:
        server.checkpass("alice", "alice's")
    assert caught.value.result is Result.NOMECH
    assert "fake" in str(caught.value)
    with pytest.raises(ConfigError):
        server.session().start("PLAIN", b"\0alice\0alice's")


def test_g20_no_method_at_all_lets_nobody_in(checking):
    """An empty list is no way in."""
    with pytest.raises(AuthenticationError):
        checking(listed=None, config={"pwcheck_method": []}).checkpass("alice", "alice's")


def test_g20_a_method_that_breaks_its_contract_lets_nobody_in(checking):
    """Neither True nor None is an answer, and the plugin is named."""
    for answer in (True, None, "OK"):
        with pytest.raises(PluginError, match="fake"):
            checking(Method("fake", answer)).checkpass("alice", "x")


# --- G20: user_exists ---------------------------------------------------------------------------


def test_g20_user_exists_asks_the_store(checking):
    """Known, locked and unknown users."""
    store = MemoryStore({"alice": "alice's"})
    store.add_user("carol", disabled=True)
    server = checking(store=store)
    assert server.user_exists(" alice ") is True
    assert server.user_exists("carol") is True
    assert server.user_exists("nobody") is False


@pytest.mark.parametrize(
    ("exists", "expected"), [(OK, True), (Result.DISABLED, True), (NOUSER, False)]
)
def test_g20_user_exists_asks_a_method_that_can_tell(checking, exists, expected):
    """Without any password."""
    method = Method("fake", BADAUTH, exists)
    assert checking(method).user_exists("alice") is expected
    assert method.asked == []


def test_g20_user_exists_says_so_when_nobody_can_tell(checking):
    """A method that only checks passwords cannot tell: an error, neither yes nor no."""
    with pytest.raises(BackendError) as caught:
        checking(Method("fake", OK)).user_exists("alice")
    assert not caught.value.temporary


def test_g20_user_exists_of_several_methods_is_the_first_yes(checking):
    """One that cannot tell leaves it to the next; an outage is an error."""
    server = checking(Method("fake", OK), listed=["fake", "auxprop"])
    assert server.user_exists("alice") is True
    assert server.user_exists("nobody") is False
    with pytest.raises(BackendError):
        checking(Method("fake", OK, Result.UNAVAIL)).user_exists("alice")


# --- G20: auto_transition -------------------------------------------------------------------------


@pytest.fixture
def moving(checking):
    """A server whose fake method knows everybody by `pw`, and which moves passwords."""

    def make(store, how: object = True, **more):
        fake = Method("fake", OK)
        return checking(fake, store=store, config={"auto_transition": how}, **more)

    return make


def test_g20_transition_keeps_a_verifier_of_a_password_verified_elsewhere(moving):
    """After one login by PLAIN the shared-secret mechanisms know the user."""
    store = MemoryStore()
    events: list[AuditEvent] = []
    server = moving(store, audit=[events.append])
    assert logs_in(server, "stranger", "pw")
    assert set(verifiers(store, "stranger")) == {"SHA-256"}
    assert [(event.kind, event.result) for event in events] == [
        ("transition", OK),
        ("login", OK),
    ]


def test_g20_transition_is_off_by_default(checking):
    """Nothing is stored that nobody asked for."""
    store = SpyStore()
    assert logs_in(checking(Method("fake", OK), store=store), "stranger", "pw")
    assert store.writes == []


@pytest.mark.parametrize(("how", "plain"), [("yes", (b"pw",)), ("noplain", ())])
def test_g20_transition_keeps_plaintext_only_where_it_may(moving, how, plain):
    """YES where the store keeps plaintext, NOPLAIN nowhere."""
    store = MemoryStore(plaintext=True)
    assert logs_in(moving(store, how), "stranger", "pw")
    assert values(store, "stranger", "userPassword") == plain
    assert verifiers(store, "stranger")


def test_g20_transition_stores_nothing_of_a_refused_login(moving):
    """Neither after a wrong password nor after a policy's no."""
    store = SpyStore()
    server = moving(store, authorize=lambda *_: Decision.DENY)
    assert not logs_in(server, "stranger", "pw")
    assert store.writes == []


def test_g20_transition_leaves_a_verifier_alone(moving):
    """A user who has one keeps it, and the log is not told at every login."""
    store = SpyStore(users={"alice": "alice's"})
    before = verifiers(store, "alice")
    events: list[AuditEvent] = []
    server = moving(store, audit=[events.append])
    assert logs_in(server, "alice", "pw")
    assert store.writes == []
    assert verifiers(store, "alice") == before
    assert [event.kind for event in events] == ["login"]


def test_g20_transition_leaves_a_password_that_changed_meanwhile_alone(driver, moving):
    """Compare and set: whoever set a password between look-up and write wins."""
    store: Any = SpyStore()
    server = moving(store)
    plain_write = store.write

    def write(user, change):
        store.add_user("stranger", password="set by hand")
        return plain_write(user, change)

    store.write = write
    assert logs_in(server, "stranger", "pw")
    own = driver.server(OPEN, stores=[store])
    assert logs_in(own, "stranger", "set by hand")
    assert not logs_in(own, "stranger", "pw")


def test_g20_transition_creates_nobody_without_a_secret(driver, toys):
    """Where no mechanism keeps a secret, no empty account is made."""
    toys.without("mechanisms", "SCRAM-SHA-256")
    toys.plug("pwcheck", Method("fake", OK))
    store = SpyStore()
    config = OPEN | {"auto_transition": True, "pwcheck_method": ["fake"]}
    server = driver.server(config, registry=toys.registry(), stores=[store])
    assert logs_in(server, "stranger", "pw")
    assert store.writes == []


@pytest.mark.parametrize("where", ["look-up", "write", "mechanism", "mechanism's contract"])
@pytest.mark.parametrize(
    "error",
    [BackendError(detail="down"), KeyError("secret"), AuthenticationError(detail="no")],
    ids=lambda error: type(error).__name__,
)
def test_g20_a_failed_transition_spoils_no_login(moving, toys, where, error):
    """Whatever breaks, the user is in; the failure is on record."""
    store: Any = SpyStore()

    def breaks(*_):
        raise error

    plain_read = store.read

    def breaks_for_secrets(user, names):
        return breaks() if "authPassword" in names else plain_read(user, names)

    def garbage(self, user, password, flags):
        yield from ()
        return 7

    if where == "look-up":
        store.read = breaks_for_secrets
    elif where == "write":
        store.write = breaks
    elif where == "mechanism":
        toys.mechanism(Keeping(error).plug("TOY"))
    else:
        toys.mechanism(server_plug("TOY", naming_server(), setpass=garbage))
    events: list[AuditEvent] = []
    server = moving(store, audit=[events.append])
    assert logs_in(server, "stranger", "pw")
    assert [event.kind for event in events] == ["transition", "login"]
    assert events[0].result is not OK
    assert "secret" not in str(events[0].detail)
    assert events[1].result is OK


# --- the record ---------------------------------------------------------------------------------


def test_audit_tells_of_each_attempt_once(checking):
    """One event for a login, a failed one, a password set, a check, each with its true result."""
    events: list[AuditEvent] = []
    server = checking(audit=[events.append])
    assert logs_in(server, "alice", "alice's")
    assert not logs_in(server, "alice", "wrong")
    assert not logs_in(server, "nobody", "wrong")
    server.checkpass("alice", "alice's")
    with pytest.raises(AuthenticationError):
        server.checkpass("nobody", "x")
    seen = [(e.kind, e.result, e.authid, e.mechanism, e.how, e.service) for e in events]
    assert seen == [
        ("login", OK, "alice", "PLAIN", "password:auxprop", "smtp"),
        ("login", BADAUTH, "alice", "PLAIN", "", "smtp"),
        ("login", NOUSER, "nobody", "PLAIN", "", "smtp"),
        ("checkpass", OK, "alice", "", "password:auxprop", "smtp"),
        ("checkpass", NOUSER, "nobody", "", "", "smtp"),
    ]


@pytest.mark.parametrize("driver", ["blocking", "asyncio"], indirect=True)
def test_audit_tells_of_passwords_that_are_set(driver):
    """A report's result, and a failure too."""
    events: list[AuditEvent] = []
    store: Any = SpyStore()
    server = driver.server(OPEN, stores=[store], audit=[events.append])
    server.setpass("alice", "new", CREATE)
    server.setpass("nobody", "new")

    def write(user, change):
        raise BackendError(detail="the disk is full")

    store.write = write
    with pytest.raises(BackendError):
        server.setpass("alice", "newer")
    assert [(e.kind, e.result, e.authid) for e in events] == [
        ("setpass", OK, "alice"),
        ("setpass", NOUSER, "nobody"),
        ("setpass", Result.UNAVAIL, "alice"),
    ]
    assert "disk" in str(events[2].detail)
    assert "newer" not in repr(events)


def test_audit_listener_that_raises_changes_nothing(checking, caplog):
    """The others are told, the login goes on, and the log has the type of the error alone."""
    events: list[AuditEvent] = []

    def breaks(event):
        raise ValueError("secret of the listener")

    server = checking(audit=[breaks, events.append])
    with caplog.at_level(logging.DEBUG):
        assert logs_in(server, "alice", "alice's")
    assert len(events) == 1
    assert "ValueError" in caplog.text
    assert "secret" not in caplog.text


@pytest.mark.parametrize("driver", ["raw"], indirect=True)
def test_g20_a_raw_answer_of_the_wrong_type_changes_nothing(driver):
    """What answers NeedPassword is a PasswordAnswer; anything else leaves the question standing."""
    server = driver.server(OPEN, stores=[MemoryStore()], checkpass=lambda *_: OK)
    negotiation = server.session().raw()
    need = negotiation.start("PLAIN", b"\0alice\0x")
    assert isinstance(need, NeedPassword)
    for wrong in (True, OK, None):
        with pytest.raises(UsageError):
            negotiation.answer(wrong)
        assert negotiation.need is need
    with pytest.raises(AuthenticationError):
        negotiation.answer(PasswordAnswer(BADAUTH))
