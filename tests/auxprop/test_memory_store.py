"""The store in memory: what it finds, what it changes, what its conveniences derive."""

from __future__ import annotations

import subprocess
import sys
import threading
from contextlib import closing
from typing import cast

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import sasl_auxprop.memory as entry_point
from sasl_auxprop.memory import MemoryStore
from sasl_auxprop.sasldb import SqliteStore
from sasl_core.plugin import (
    Blocking,
    Change,
    Result,
    SaslUtils,
    UsageError,
    UserName,
    parse_verifier,
    stored_keys,
)
from store_kit import all_texts, drive, make_verifier

ALICE = UserName("alice", "example.com")
PENCIL = make_verifier("pencil")
PENCIL_512 = make_verifier("pencil", "SHA-512")
CRAYON = make_verifier("crayon")
SECRET_TEXT = "zzSECRETzz"


def filled(**values):
    store = MemoryStore(plaintext=True)
    values.setdefault("authPassword", (PENCIL,))
    assert store.write(ALICE, Change(values, create=True)) is Result.OK
    return store


def matches(verifier, password):
    """Whether `verifier` was made of `password`."""
    import hashlib

    name = verifier.hash.replace("-", "").lower()
    salted = hashlib.pbkdf2_hmac(name, password.encode(), verifier.salt, verifier.iterations)
    return stored_keys(verifier.hash, salted)[1:] == (verifier.stored_key, verifier.server_key)


# --- the conveniences ---------------------------------------------------------------


def test_users_given_to_the_constructor_can_log_in():
    """A mapping of identity to password gives each a verifier, and no plaintext."""
    store = MemoryStore({"alice": "wonderland", "bob@example.com": b"builder"})
    for identity, password in [("alice", "wonderland"), ("bob@example.com", "builder")]:
        found = store.read(UserName.parse(identity), ["authPassword", "userPassword"])
        assert found.result is Result.OK
        assert found.values == {}
        assert list(found.verifiers) == ["SHA-256"]
        assert found.verifiers["SHA-256"].iterations == 15_000
        assert matches(found.verifiers["SHA-256"], password)


def test_add_user_derives_for_each_hash_under_a_salt_of_its_own():
    """`hashes` and `iterations` say what is derived; no two salts are equal."""
    store = MemoryStore()
    for name in ("a", "b"):
        store.add_user(name, password="pencil", hashes=["SHA-1", "SHA-512"], iterations=1000)
    found = [store.read(UserName(name), ["authPassword"]).verifiers for name in ("a", "b")]
    assert all(sorted(each) == ["SHA-1", "SHA-512"] for each in found)
    verifiers = [verifier for each in found for verifier in each.values()]
    assert len({verifier.salt for verifier in verifiers}) == 4
    assert {verifier.iterations for verifier in verifiers} == {1000}
    assert all(matches(verifier, "pencil") for verifier in verifiers)


def test_add_user_takes_verifiers_properties_and_a_lock():
    """Verifiers made elsewhere are kept as they are; `disabled` locks the account."""
    store = MemoryStore()
    store.add_user(
        ALICE,
        verifiers=[parse_verifier(PENCIL_512)],
        password="pencil",
        properties={"mailHost": [b"mx1", b"mx2"]},
        disabled=True,
    )
    assert store.read(ALICE, []).result is Result.DISABLED
    store.write(ALICE, Change(disabled=False))
    found = store.read(ALICE, ["authPassword", "mailHost"])
    assert found.values == {"mailHost": (b"mx1", b"mx2")}
    assert sorted(found.verifiers) == ["SHA-256", "SHA-512"]
    assert found.verifiers["SHA-512"] == parse_verifier(PENCIL_512)


def test_add_user_replaces_the_user_of_that_name():
    """Adding somebody again leaves nothing of before."""
    store = MemoryStore({"alice": "old"})
    store.add_user("alice", properties={"quota": [b"1"]})
    found = store.read(UserName("alice"), ["authPassword", "quota"])
    assert (found.values, found.verifiers) == ({"quota": (b"1",)}, {})


def test_a_password_is_prepared_before_it_is_derived():
    """SASLprep makes one of two spellings of a password (RFC 4013)."""
    store = MemoryStore(plaintext=True)
    store.add_user("alice", password="I\u00adX\u00a0\u2168")
    found = store.read(UserName("alice"), ["authPassword", "userPassword"])
    assert found.values == {"userPassword": (b"IX IX",)}
    assert matches(found.verifiers["SHA-256"], "IX IX")


@pytest.mark.parametrize(
    "password", ["", "\u00ad", f"\x07{SECRET_TEXT}", "\ud800", b"\xff" + SECRET_TEXT.encode(), b""]
)
def test_a_password_that_cannot_be_prepared_is_refused(password):
    """Empty, forbidden or no UTF-8: a UsageError without the password, and no user."""
    store = MemoryStore()
    with pytest.raises(UsageError) as caught:
        store.add_user("alice", password=password)
    assert SECRET_TEXT not in all_texts(caught.value)
    assert list(store.list_users()) == []


@pytest.mark.parametrize(
    "arguments",
    [
        {"password": "x", "hashes": ["MD5"]},
        {"password": "x", "iterations": 0},
        {"password": "x", "iterations": 10_000_001},
        {"password": "x", "verifiers": [parse_verifier(PENCIL)]},
        {"properties": {"": [b"1"]}},
        {"properties": {"quota": ["text"]}},
        {"properties": {"userPassword": [b"plain"]}},
        {"properties": {"authPassword": [b"plain"]}},
    ],
    ids=",".join,
)
def test_add_user_refuses_what_the_store_refuses(arguments):
    """Unknown hashes, rounds out of range, two verifiers of a hash, and what `write` refuses."""
    store = MemoryStore()
    with pytest.raises(UsageError):
        store.add_user("alice", **arguments)
    assert list(store.list_users()) == []


def test_plaintext_is_held_only_when_asked_for():
    """`plaintext=True` keeps the password beside the verifier; otherwise writing one fails."""
    assert not MemoryStore.plaintext
    store = MemoryStore({"alice": "pencil"}, plaintext=True)
    assert store.plaintext
    assert store.read(UserName("alice"), ["userPassword"]).values == {"userPassword": (b"pencil",)}
    strict = MemoryStore({"alice": "pencil"})
    with pytest.raises(UsageError, match="plaintext"):
        strict.write(UserName("alice"), Change({"userPassword": (SECRET_TEXT.encode(),)}))
    assert strict.write(UserName("alice"), Change({"userPassword": ()})) is Result.OK


# --- looking up and changing -----------------------------------------------------------


def test_lookup_gives_only_what_was_asked_for():
    """Values and parsed verifiers by name; the decoy secret always."""
    store = filled(mailHost=(b"mx1",), quota=(b"1",))
    found = drive(store.lookup(ALICE, ["mailHost", "absent"]))
    assert (found.values, found.verifiers) == ({"mailHost": (b"mx1",)}, {})
    found = store.read(ALICE, ["authPassword"])
    assert (found.values, found.verifiers) == ({}, {"SHA-256": parse_verifier(PENCIL)})
    assert found.decoy_secret == drive(store.decoy_secret())


def test_a_lookup_hands_out_the_same_parsed_verifier_each_time():
    """Nothing is parsed at login."""
    store = filled()
    first, second = (store.read(ALICE, ["authPassword"]).verifiers["SHA-256"] for _ in range(2))
    assert first is second


def test_unknown_and_disabled_users_get_nothing():
    """NOUSER and DISABLED carry the secret and no values."""
    store = filled(quota=(b"1",))
    store.write(ALICE, Change(disabled=True))
    for user, result in [(ALICE, Result.DISABLED), (UserName("alice"), Result.NOUSER)]:
        found = store.read(user, ["authPassword", "quota"])
        assert (found.result, found.values, found.verifiers) == (result, {}, {})
        assert found.decoy_secret == store.read_decoy_secret()


def test_every_store_has_a_secret_of_its_own():
    """The decoy secret is 32 bytes, constant in a store and different in the next one."""
    stores = [MemoryStore() for _ in range(5)]
    secrets = {store.read_decoy_secret() for store in stores}
    assert len(secrets) == 5
    assert {len(secret) for secret in secrets if secret} == {32}
    assert stores[0].read_decoy_secret() == stores[0].read_decoy_secret()


def test_decoys_get_the_rounds_that_most_verifiers_have():
    """`decoy_iterations` follows every kind of write, and is the same for everybody."""
    store = MemoryStore()

    def told(name="nobody"):
        return store.read(UserName(name), []).decoy_rounds("SHA-256")

    assert told() is None
    store.add_user("a", password="x", iterations=100)
    assert told() == 100
    store.add_user("b", password="x", iterations=200)
    assert told() == 200, "of as many, the greater"
    store.add_user("c", password="x", iterations=100)
    assert (told(), told("a"), told("b")) == (100, 100, 100)
    store.add_user("c", password="x", iterations=200)
    assert told() == 200, "what was replaced does not count"
    one = Change({"authPassword": (make_verifier("x", "SHA-256", 100),)}, disabled=True)
    store.write(UserName("a"), one)
    store.write(UserName("b"), one)
    assert (told(), told("a")) == (100, 100)
    store.write(UserName("a"), Change({"authPassword": ()}))
    store.write(UserName("c"), Change({"quota": (b"1",)}))
    assert told() == 200
    for name in "abc":
        store.write(UserName(name), Change(delete=True))
    assert told() is None


class Uncounted(dict):
    """A table that can be asked for one entry at a time only."""

    def __iter__(self):
        raise AssertionError("a look-up went through all accounts")

    items = keys = values = __iter__


def test_a_lookup_does_not_count_the_verifiers():
    """Those of a large store are counted when they are written, not when somebody logs in."""
    store = filled()
    store._accounts = Uncounted(store._accounts)
    for user in (ALICE, UserName("nobody")):
        assert store.read(user, ["authPassword"]).decoy_rounds("SHA-256") == 4096


def test_what_was_read_does_not_change_under_the_reader():
    """A later write replaces the account; what an exchange already holds stays as it was."""
    store = filled(quota=(b"1",))
    found = store.read(ALICE, ["authPassword", "quota"])
    store.write(ALICE, Change({"authPassword": (CRAYON,), "quota": (b"2",)}))
    assert found.verifiers == {"SHA-256": parse_verifier(PENCIL)}
    assert found.values == {"quota": (b"1",)}


def test_users_come_in_the_order_of_realm_and_name():
    """The listing is sorted by realm, then name."""
    store = MemoryStore()
    for name in ("b@x", "a@x", "z", "a@a"):
        store.add_user(name)
    assert [str(user) for user in drive(store.users())] == ["z", "a@a", "a@x", "b@x"]


def test_no_call_blocks():
    """Every call runs in place, without a need."""
    store = MemoryStore()
    assert store.read_blocking is store.write_blocking is Blocking.NEVER
    with pytest.raises(StopIteration):
        next(store.update(ALICE, Change(create=True)))


def test_no_secret_in_a_repr():
    """Neither the store nor what it finds shows a password, a key or the secret."""
    store = MemoryStore({"alice": SECRET_TEXT}, plaintext=True)
    found = store.read(UserName("alice"), ["authPassword", "userPassword"])
    shown = repr(store) + repr(found) + repr(found.verifiers)
    assert SECRET_TEXT not in shown
    assert repr(found.decoy_secret) not in shown
    assert repr(found.verifiers["SHA-256"].stored_key) not in shown


def test_threads_lose_no_update():
    """Compare-and-set from eight threads counts to eight hundred."""
    store = filled(count=(b"0",))

    def work():
        for _ in range(100):
            done = False
            while not done:
                (now,) = store.read(ALICE, ["count"]).values["count"]
                change = Change({"count": (b"%d" % (int(now) + 1),)}, expected={"count": (now,)})
                done = store.write(ALICE, change) is Result.OK

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert store.read(ALICE, ["count"]).values == {"count": (b"800",)}


# --- the same as sasldb -------------------------------------------------------------------

users = st.sampled_from([ALICE, UserName("bob"), UserName(""), UserName("a\0"), UserName("a", "@")])
properties = st.dictionaries(
    st.sampled_from(["quota", "mailHost", "authPassword", "userPassword", "*quota"]),
    st.lists(st.sampled_from([PENCIL, PENCIL_512, CRAYON, b"", b"1", b"2"]), max_size=2).map(tuple),
    max_size=3,
)
changes = st.builds(
    Change,
    properties,
    replace_verifiers=st.booleans(),
    disabled=st.sampled_from([None, None, True, False]),
    create=st.booleans(),
    exist_ok=st.booleans(),
    delete=st.sampled_from([False, False, False, True]),
    expected=st.one_of(st.just({}), properties),
)


def outcome(store, user, change):
    try:
        return store.write(user, change)
    except UsageError as error:
        return str(error)


@settings(max_examples=40, deadline=None)
@given(steps=st.lists(st.tuples(users, changes), max_size=12), plaintext=st.booleans())
def test_both_stores_do_the_same(tmp_path_factory, steps, plaintext):
    """Any sequence of changes has the same results, refusals and contents in both stores."""
    asked = ["quota", "mailHost", "authPassword", "userPassword", "*quota"]
    path = tmp_path_factory.mktemp("same") / "db.sqlite"
    memory = MemoryStore(plaintext=plaintext)
    with closing(SqliteStore(path, plaintext=plaintext)) as sqlite:
        sqlite.create()
        for user, change in steps:
            assert outcome(memory, user, change) == outcome(sqlite, user, change)
            ours, theirs = memory.read(user, asked), sqlite.read(user, asked)
            assert ours.result is theirs.result
            assert (ours.values, ours.verifiers) == (theirs.values, theirs.verifiers)
        assert list(memory.list_users()) == list(sqlite.list_users())


# --- as a plugin ---------------------------------------------------------------------------


class Utils:
    """The part of SaslUtils that a store uses."""

    def __init__(self, **given):
        self.given = given

    def options(self, schema):
        return schema(**self.given)


@pytest.mark.parametrize(("given_", "plaintext"), [({}, False), ({"plaintext": True}, True)])
def test_the_hook_makes_an_empty_store_for_each_server(given_, plaintext):
    """Each initialisation gives a store of its own, without users."""
    utils = cast("SaslUtils", Utils(**given_))
    (first,), (second,) = (entry_point.sasl_auxprop_init(utils) for _ in range(2))
    assert first is not second
    assert isinstance(first, MemoryStore)
    assert (first.name, first.plaintext, first.writable) == ("memory", plaintext, True)
    assert first.availability() is None
    assert list(drive(first.users())) == []
    assert entry_point.SASL_PLUGIN_API == 1


def test_importing_it_loads_no_sqlite():
    """The store in memory does not bring its neighbour's database along."""
    code = "import sys, sasl_auxprop.memory; sys.exit('sqlite3' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
