"""sasldb as a store: what it finds, what it changes, what it refuses."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
import threading
import time
from contextlib import closing
from pathlib import Path
from typing import cast

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import sasl_auxprop.sasldb as entry_point
from sasl_auxprop.sasldb import DEFAULT_PATH, SasldbOptions, SqliteStore, rows
from sasl_core.plugin import (
    BackendError,
    Blocking,
    Change,
    ConfigError,
    NeedCall,
    Result,
    SaslUtils,
    UsageError,
    UserName,
    parse_verifier,
)
from store_kit import all_texts, drive, make_verifier

ALICE = UserName("alice", "example.com")
PENCIL = make_verifier("pencil")
PENCIL_512 = make_verifier("pencil", "SHA-512")
CRAYON = make_verifier("crayon")
SECRET_TEXT = "zzSECRETzz"


@pytest.fixture
def store(tmp_path):
    with closing(SqliteStore(tmp_path / "db.sqlite")) as made:
        yield made


@pytest.fixture
def plain_store(tmp_path):
    with closing(SqliteStore(tmp_path / "plain.sqlite", plaintext=True)) as made:
        yield made


def add(store, user=ALICE, /, **values):
    """Add a user; `authPassword` defaults to one verifier."""
    values.setdefault("authPassword", (PENCIL,))
    assert store.write(user, Change(values, create=True)) is Result.OK


def hashes(store, user=ALICE):
    return sorted(store.read(user, ["authPassword"]).verifiers)


def sql(store, statement, *parameters):
    """What the database itself says, by another connection."""
    with closing(sqlite3.connect(store.path, isolation_level=None)) as connection:
        return connection.execute(statement, parameters).fetchall()


# --- looking up -----------------------------------------------------------------


def test_lookup_gives_values_parsed_verifiers_and_the_decoy_secret(store):
    """A look-up gives the properties, verifiers parsed and by hash, and the store's secret."""
    add(store, authPassword=(PENCIL, PENCIL_512), mailHost=(b"mx1", b"mx2"))
    found = drive(store.lookup(ALICE, ["authPassword", "mailHost"]))
    assert found.result is Result.OK
    assert found.values == {"mailHost": (b"mx1", b"mx2")}
    assert found.verifiers == {
        "SHA-256": parse_verifier(PENCIL),
        "SHA-512": parse_verifier(PENCIL_512),
    }
    assert len(found.decoy_secret) == 32
    assert found.decoy_secret == drive(store.decoy_secret())


def test_lookup_gives_only_what_was_asked_for(store):
    """Neither verifiers nor other properties come unless they are named."""
    add(store, mailHost=(b"mx1",), quota=(b"7",))
    found = store.read(ALICE, ["quota", "quota", "absent"])
    assert (found.values, found.verifiers) == ({"quota": (b"7",)}, {})
    nothing = store.read(ALICE, [])
    assert (nothing.result, nothing.values, nothing.verifiers) == (Result.OK, {}, {})


@pytest.mark.parametrize(
    "user",
    [
        UserName("alice"),
        UserName("alice", "example.co"),
        UserName("alice", "example.comm"),
        UserName("alic", "example.com"),
        UserName("alicf", "example.com"),
        UserName("ALICE", "example.com"),
        UserName("alice ", "example.com"),
        UserName("a", ""),
        UserName("zzz", "zzz"),
        UserName("\U0010fffd", "\U0010fffd"),
        UserName("", ""),
        UserName("", "example.com"),
        UserName("alice\0", "example.com"),
        UserName("alice", "example.com\0"),
        UserName("\ud800", "example.com"),
        UserName("x" * 100_000, "example.com"),
        UserName("alice@example.com"),
        UserName("%", "%"),
        UserName("alice' --", "example.com"),
    ],
    ids=ascii,
)
def test_an_unknown_user_is_nouser_and_gets_nothing_of_anyone(store, user):
    """Whoever is not there is NOUSER without a value, though a neighbour's row was read."""
    add(store, mailHost=(b"mx1",))
    add(store, UserName("mallory", "example.org"), mailHost=(b"mx2",))
    found = store.read(user, ["authPassword", "mailHost"])
    assert (found.result, found.values, found.verifiers) == (Result.NOUSER, {}, {})
    assert found.decoy_secret == store.read_decoy_secret()


def test_an_empty_store_knows_nobody(store):
    """With no user at all every look-up is NOUSER, and carries the secret."""
    assert store.create()
    found = store.read(ALICE, ["authPassword"])
    assert found.result is Result.NOUSER
    assert found.decoy_secret == store.read_decoy_secret()


def test_an_unknown_user_costs_the_statement_that_a_known_one_costs(store):
    """Known, unknown, disabled and impossible users: one statement, the same each time."""
    add(store)
    add(store, UserName("locked"))
    store.write(UserName("locked"), Change(disabled=True))
    seen: dict[str, list[str]] = {}
    store.read(ALICE, ["authPassword"])
    pool = store._opened()
    for name in ("alice@example.com", "nobody", "locked", "a\0b"):
        texts = seen.setdefault(name, [])
        pool.run(lambda connection, _, log=texts.append: connection.set_trace_callback(log))
        store.read(UserName.parse(name), ["authPassword"])
        pool.run(lambda connection, _: connection.set_trace_callback(None))
    shapes = {name: [text.split("IN (")[0] for text in texts] for name, texts in seen.items()}
    assert len(shapes["nobody"]) == 1
    assert all(shape == shapes["nobody"] for shape in shapes.values())


def test_lookup_uses_the_indexes_alone(store):
    """The plan of a look-up scans no table but the index's first entry."""
    add(store)
    statement, names = store._query(("authPassword", "userPassword"))
    plan = store._opened().run(
        lambda connection, _: connection.execute(
            f"EXPLAIN QUERY PLAN {statement}", (*names, "r", "n")
        ).fetchall()
    )
    details = [row[3] for row in plan]
    assert any("SEARCH users USING COVERING INDEX" in detail for detail in details), details
    assert any("SEARCH properties USING PRIMARY KEY" in detail for detail in details), details
    assert not any("SCAN" in detail and "COVERING INDEX" not in detail for detail in details)


def test_a_disabled_user_is_found_without_secrets(store):
    """A locked account is DISABLED, whatever it holds; unlocked it is as it was."""
    add(store, mailHost=(b"mx1",))
    assert store.write(ALICE, Change(disabled=True)) is Result.OK
    found = store.read(ALICE, ["authPassword", "mailHost"])
    assert (found.result, found.values, found.verifiers) == (Result.DISABLED, {}, {})
    assert store.write(ALICE, Change({"quota": (b"1",)})) is Result.OK
    assert store.read(ALICE, []).result is Result.DISABLED
    assert store.write(ALICE, Change(disabled=False)) is Result.OK
    assert store.read(ALICE, ["mailHost"]).values == {"mailHost": (b"mx1",)}
    assert hashes(store) == ["SHA-256"]


def test_a_verifier_that_cannot_be_read_stays_a_value(store):
    """Junk that another program wrote spoils neither the look-up nor the other verifiers."""
    add(store, authPassword=(PENCIL, PENCIL_512))
    sql(store, "UPDATE properties SET value = ? WHERE key = 'SHA-512'", b"SCRAM-SHA-512$junk")
    found = store.read(ALICE, ["authPassword"])
    assert list(found.verifiers) == ["SHA-256"]
    assert found.values == {"authPassword": (b"SCRAM-SHA-512$junk",)}
    assert store.read(UserName("a", "a"), ["authPassword"]).values == {}


def test_too_many_properties_in_one_lookup_are_refused(store):
    """A look-up names at most two hundred properties."""
    add(store)
    with pytest.raises(UsageError, match="at most 200"):
        store.read(ALICE, [f"p{number}" for number in range(201)])
    many = {f"p{number}": (b"v",) for number in range(200)}
    assert store.write(ALICE, Change(many)) is Result.OK
    assert store.read(ALICE, list(many)).values == many


def test_users_come_in_the_order_of_realm_and_name(store):
    """The listing is sorted by realm, then name, and holds locked and empty accounts too."""
    names = ["b@x", "a@x", "ä@x", "z", "B@x", "a@", "a@a", "\U0001f600@x", "\uffee@x"]
    users = [UserName.parse(name) for name in names]
    for user in users:
        add(store, user, authPassword=())
    store.write(users[0], Change(disabled=True))
    listed = list(drive(store.users()))
    assert listed == sorted(users, key=lambda user: (user.realm, user.name))


def test_the_listing_reads_no_properties(store):
    """Listing touches nothing but an index of the users, however much they hold."""
    add(store)
    plan = sql(store, "EXPLAIN QUERY PLAN SELECT realm, name FROM users ORDER BY realm, name")
    assert [row[3].split(" INDEX")[0] for row in plan] == ["SCAN users USING COVERING"]


# --- the rounds of decoys ---------------------------------------------------------


def with_rounds(store, counts):
    """Add users in this order: as many of each number of rounds as `counts` says."""
    users = [rounds for rounds, count in counts for _ in range(count)]
    verifiers = {rounds: make_verifier(rounds=rounds) for rounds, _ in counts}
    store.create()
    with closing(sqlite3.connect(store.path, isolation_level=None)) as connection:
        execute = connection.execute
        execute("BEGIN")
        for number, rounds in enumerate(users):
            user = execute(
                "INSERT INTO users (realm, name) VALUES ('many', ?)", (f"u{number}",)
            ).lastrowid
            execute(
                "INSERT INTO properties VALUES (?, 'authPassword', 'SHA-256', ?)",
                (user, verifiers[rounds]),
            )
        execute("COMMIT")


def decoy_rounds(store):
    """What an unknown user gets, which must be what a known one gets."""
    given = {
        store.read(user, []).decoy_rounds("SHA-256")
        for user in (UserName("x"), UserName("u0", "many"))
    }
    (rounds,) = given
    return rounds


@pytest.mark.parametrize(
    ("counts", "rounds"),
    [
        ([], None),
        ([(4096, 1)], 4096),
        ([(4096, 1), (5000, 1)], 5000),
        ([(5000, 1), (4096, 1)], 5000),
        ([(4096, 2), (5000, 1)], 4096),
        ([(4096, 30), (5000, 31)], 5000),
        ([(4096, 31), (5000, 30)], 4096),
        ([(4096, 300), (5000, 700)], 5000),
        ([(4096, 700), (5000, 300)], 4096),
        ([(4096, 300), (5000, 400), (6000, 300)], 5000),
    ],
    ids=str,
)
def test_decoys_get_the_rounds_that_most_verifiers_have(store, counts, rounds):
    """In a small store all verifiers count, in a large one users from first to last."""
    with_rounds(store, counts)
    assert decoy_rounds(store) == rounds


def test_a_sample_is_of_evenly_spread_users_and_reads_no_more(store):
    """However many users there are, 64 are looked at, by the indexes alone."""
    with_rounds(store, [(4096, 1000)])
    parameters = {"name": "authPassword", "last": rows.SAMPLE_SIZE - 1}
    with closing(sqlite3.connect(store.path)) as connection:
        assert len(connection.execute(rows._SAMPLE, parameters).fetchall()) == 64
        explained = connection.execute(f"EXPLAIN QUERY PLAN {rows._SAMPLE}", parameters)
        plan = [row[3] for row in explained.fetchall()]
    assert any("SEARCH properties USING PRIMARY KEY" in detail for detail in plan), plan
    assert not any("SCAN users" in detail or "SCAN properties" in detail for detail in plan), plan


def test_decoys_follow_the_writes_of_this_store_at_once(store):
    """After each write decoys have the rounds that most verifiers have then."""
    store.create()
    assert store.read(ALICE, []).decoy_rounds("SHA-256") is None
    add(store)
    assert store.read(ALICE, []).decoy_rounds("SHA-256") == 4096
    store.write(ALICE, Change({"authPassword": (make_verifier(rounds=5000),)}))
    assert store.read(ALICE, []).decoy_rounds("SHA-256") == 5000
    store.write(ALICE, Change(delete=True))
    assert store.read(ALICE, []).decoy_rounds("SHA-256") is None


def test_decoys_follow_the_writes_of_others_within_a_minute(store, monkeypatch):
    """What another process writes is noticed, but a look-up does not ask for it each time."""
    store.create()
    assert decoy_rounds(store) is None
    with_rounds(store, [(5000, 1)])
    assert decoy_rounds(store) is None
    later = time.monotonic() + 60
    monkeypatch.setattr(time, "monotonic", lambda: later)
    assert decoy_rounds(store) == 5000


def test_what_is_no_verifier_does_not_count_for_decoys(store):
    """Junk that another program wrote neither counts nor fails the look-up of others."""
    with_rounds(store, [(4096, 4), (5000, 2)])
    sql(store, "UPDATE properties SET value = X'4A554E4B' WHERE user <= 2")
    with closing(sqlite3.connect(store.path, isolation_level=None)) as connection:
        connection.execute("PRAGMA ignore_check_constraints = ON")
        connection.execute("UPDATE properties SET value = 'text' WHERE user = 3")
    found = store.read(UserName("u5", "many"), ["authPassword"])
    assert found.verifiers["SHA-256"].iterations == 5000
    assert found.decoy_rounds("SHA-256") == 5000


# --- changing -------------------------------------------------------------------


def test_there_is_one_verifier_to_a_hash(store):
    """A new verifier replaces that of its hash and leaves the others."""
    add(store, authPassword=(PENCIL, PENCIL_512))
    assert store.write(ALICE, Change({"authPassword": (CRAYON,)})) is Result.OK
    assert store.read(ALICE, ["authPassword"]).verifiers == {
        "SHA-256": parse_verifier(CRAYON),
        "SHA-512": parse_verifier(PENCIL_512),
    }


@pytest.mark.parametrize(
    ("change", "left"),
    [
        (Change({"authPassword": (CRAYON,)}, replace_verifiers=True), ["SHA-256"]),
        (Change({"authPassword": ()}), []),
        (Change({"authPassword": ()}, replace_verifiers=True), []),
        (Change({}, replace_verifiers=True), []),
        (Change({"mailHost": (b"x",)}), ["SHA-256", "SHA-512"]),
        (Change(), ["SHA-256", "SHA-512"]),
    ],
)
def test_verifiers_of_other_hashes_go_when_told(store, change, left):
    """`replace_verifiers` removes the hashes not given, an empty tuple removes all."""
    add(store, authPassword=(PENCIL, PENCIL_512))
    assert store.write(ALICE, change) is Result.OK
    assert hashes(store) == left


def test_values_are_replaced_and_keep_their_order(store):
    """A property's new values replace all the old ones, in the order given."""
    many = tuple(b"%d" % number for number in range(1000))
    add(store, mailHost=many)
    assert store.read(ALICE, ["mailHost"]).values == {"mailHost": many}
    assert store.write(ALICE, Change({"mailHost": (b"b", b"a", b"b", b"")})) is Result.OK
    assert store.read(ALICE, ["mailHost"]).values == {"mailHost": (b"b", b"a", b"b", b"")}
    assert store.write(ALICE, Change({"mailHost": ()})) is Result.OK
    assert store.read(ALICE, ["mailHost"]).values == {}


def test_create_and_exist_ok(store):
    """`create` makes a user; an existing one is a conflict unless `exist_ok`."""
    values = {"quota": (b"1",)}
    assert store.write(ALICE, Change(values, create=True)) is Result.OK
    assert store.write(ALICE, Change({"quota": (b"2",)}, create=True)) is Result.NOCHANGE
    assert store.read(ALICE, ["quota"]).values == values
    assert store.write(ALICE, Change({"quota": (b"3",)}, create=True, exist_ok=True)) is Result.OK
    assert store.read(ALICE, ["quota"]).values == {"quota": (b"3",)}


@pytest.mark.parametrize("change", [Change(), Change({"a": (b"1",)}), Change(delete=True)])
def test_a_change_of_nobody_is_nouser(store, change):
    """Without `create`, a user who is not there is NOUSER and stays away."""
    store.create()
    assert store.write(ALICE, change) is Result.NOUSER
    assert list(store.list_users()) == []


def test_delete_removes_everything_of_a_user(store):
    """Of a deleted user no row is left, and a namesake begins with nothing."""
    add(store, mailHost=(b"mx1",))
    add(store, UserName("bob"))
    assert store.write(ALICE, Change(delete=True)) is Result.OK
    assert store.read(ALICE, ["mailHost"]).result is Result.NOUSER
    assert sql(store, "SELECT count(*) FROM properties") == [(1,)]
    add(store, authPassword=())
    assert store.read(ALICE, ["mailHost", "authPassword"]).values == {}


@pytest.mark.parametrize(
    ("expected", "result"),
    [
        ({"quota": (b"1", b"2")}, Result.OK),
        ({"quota": (b"2", b"1")}, Result.NOCHANGE),
        ({"quota": (b"1",)}, Result.NOCHANGE),
        ({"quota": ()}, Result.NOCHANGE),
        ({"absent": ()}, Result.OK),
        ({"absent": (b"",)}, Result.NOCHANGE),
        ({"authPassword": (PENCIL, PENCIL_512)}, Result.OK),
        ({"authPassword": (PENCIL_512, PENCIL)}, Result.OK),
        ({"authPassword": (PENCIL,)}, Result.NOCHANGE),
        ({"authPassword": (CRAYON, PENCIL_512)}, Result.NOCHANGE),
        ({"authPassword": (b"junk",)}, Result.NOCHANGE),
        ({"authPassword": ()}, Result.NOCHANGE),
        ({"userPassword": ()}, Result.OK),
        ({"quota": (b"1", b"2"), "absent": (b"x",)}, Result.NOCHANGE),
    ],
)
def test_compare_and_set(store, expected, result):
    """A write happens only if every expected property is what is there now."""
    add(store, authPassword=(PENCIL, PENCIL_512), quota=(b"1", b"2"))
    change = Change({"quota": (b"9",), "authPassword": ()}, disabled=True, expected=expected)
    assert store.write(ALICE, change) is result
    changed = result is Result.OK
    assert sql(store, "SELECT disabled FROM users") == [(int(changed),)]
    assert sql(store, "SELECT count(*) FROM properties") == [(1 if changed else 4,)]


def test_compare_and_set_tells_no_order_of_verifiers(store):
    """Verifiers are expected as a set, whatever order the database keeps them in."""
    add(store, authPassword=(PENCIL, PENCIL_512))
    sql(store, "UPDATE properties SET value = X'7A' WHERE key = 'SHA-256'")
    sql(store, "UPDATE properties SET value = X'61' WHERE key = 'SHA-512'")
    for expected in ((b"a", b"z"), (b"z", b"a")):
        assert store.write(ALICE, Change(expected={"authPassword": expected})) is Result.OK
    assert store.write(ALICE, Change(expected={"authPassword": (b"z",)})) is Result.NOCHANGE


def test_compare_and_set_of_a_user_who_is_not_there(store):
    """A new user is expected to have nothing; a refused one is not made."""
    conflict = Change(create=True, exist_ok=True, expected={"authPassword": (PENCIL,)})
    assert store.write(ALICE, conflict) is Result.NOCHANGE
    assert list(store.list_users()) == []
    fresh = Change(create=True, exist_ok=True, expected={"authPassword": ()})
    assert store.write(ALICE, fresh) is Result.OK


def test_a_write_that_fails_half_way_leaves_nothing(store):
    """When the last row of a change cannot be written, the first ones are not there either."""
    add(store, UserName("bob"))
    sql(
        store,
        "CREATE TRIGGER fault AFTER INSERT ON properties WHEN NEW.name = 'last' "
        "BEGIN SELECT RAISE(ABORT, 'zzSECRETzz'); END",
    )
    with pytest.raises(BackendError) as caught:
        add(store, mailHost=(b"mx1",), last=(SECRET_TEXT.encode(),))
    assert SECRET_TEXT not in all_texts(caught.value)
    assert "SQLITE_CONSTRAINT_TRIGGER" in str(caught.value.detail)
    assert list(store.list_users()) == [UserName("bob")]
    sql(store, "DROP TRIGGER fault")
    add(store)


def test_a_call_that_breaks_off_leaves_no_lock(store):
    """Whatever is raised in a transaction, and however long the error is kept, others can write."""
    add(store)
    add(store, UserName("bob"))

    def broken(connection, _):
        connection.execute("BEGIN IMMEDIATE")
        rows = connection.execute("SELECT name FROM users")
        rows.fetchone()
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        store._opened().run(broken)
    with pytest.raises(KeyboardInterrupt) as kept:
        store._opened().run(broken)
    with closing(SqliteStore(store.path, timeout=0)) as other:
        assert other.write(ALICE, Change(disabled=True)) is Result.OK
    assert kept.traceback


# --- refusing -------------------------------------------------------------------


@pytest.mark.parametrize(
    "change",
    [
        Change(delete=True, create=True),
        Change(delete=True, disabled=True),
        Change({"a": (b"1",)}, delete=True),
        Change({"a": ()}, delete=True),
    ],
)
def test_a_change_that_contradicts_itself_is_refused(store, change):
    """Deleting a user goes together with nothing else."""
    with pytest.raises(UsageError, match="deletes"):
        store.write(ALICE, change)


def test_a_deletion_may_expect_something(store):
    """Compare and delete: only if the user is as expected."""
    add(store, quota=(b"1",))
    assert store.write(ALICE, Change(delete=True, expected={"quota": ()})) is Result.NOCHANGE
    assert store.write(ALICE, Change(delete=True, expected={"quota": (b"1",)})) is Result.OK


@pytest.mark.parametrize(
    "values",
    [
        (SECRET_TEXT.encode(),),
        (b"",),
        (PENCIL + b" ",),
        (PENCIL.replace(b"4096", b"0"),),
        (b"SCRAM-MD5$4096:%b$AAAA:AAAA" % SECRET_TEXT.encode(),),
        (PENCIL, SECRET_TEXT.encode()),
        (PENCIL, CRAYON),
    ],
)
def test_only_verifiers_are_written_as_verifiers(store, values):
    """What is no SCRAM verifier, and a second one of a hash, is refused unseen, unwritten."""
    with pytest.raises(UsageError) as caught:
        add(store, authPassword=values)
    assert SECRET_TEXT not in all_texts(caught.value)
    assert not Path(store.path).exists()


@pytest.mark.parametrize("name", ["userPassword", "userpassword", "USERPASSWORD"])
def test_no_plaintext_unless_asked_for(store, name):
    """A plaintext password is refused, in any spelling, and not shown."""
    with pytest.raises(UsageError) as caught:
        add(store, **{name: (SECRET_TEXT.encode(),)})
    assert SECRET_TEXT not in all_texts(caught.value)
    assert not Path(store.path).exists()


def test_plaintext_when_asked_for(plain_store, tmp_path):
    """With `plaintext` it is kept; a store without may still read and remove it."""
    assert plain_store.plaintext
    add(plain_store, userPassword=(b"pencil",))
    found = plain_store.read(ALICE, ["userPassword", "authPassword"])
    assert found.values == {"userPassword": (b"pencil",)}
    with closing(SqliteStore(plain_store.path)) as strict:
        assert not strict.plaintext
        assert strict.read(ALICE, ["userPassword"]).values == {"userPassword": (b"pencil",)}
        assert strict.write(ALICE, Change({"userPassword": ()})) is Result.OK
    assert plain_store.read(ALICE, ["userPassword"]).values == {}


BAD_USERS = [
    UserName(""),
    UserName("", "example.com"),
    UserName("a\0b"),
    UserName("a\nb"),
    UserName("a\x7f"),
    UserName("a\x85"),
    UserName("\ud800"),
    UserName("a", "\udfff"),
    UserName("a", "r\0"),
    UserName("a", "r@s"),
    UserName("x" * 1025),
    UserName("a", "x" * 1025),
]


@pytest.mark.parametrize("user", BAD_USERS, ids=ascii)
def test_names_that_no_listing_could_show_are_refused(store, user):
    """Empty, overlong and ambiguous names, control characters and half surrogates."""
    with pytest.raises(UsageError) as caught:
        add(store, user)
    assert caught.value.code == "bad-user-name"
    assert str(caught.value).isprintable()
    assert len(str(caught.value)) < 1000


LITERAL = [
    "o'brien",
    '"; DROP TABLE users; --',
    "') OR 1=1 --",
    "%u %r %p %s{0.__class__} %n",
    "a\\b",
    "*)(uid=*",
    "?1 :name @name $name",
    "@leading",
    "a@b",
    "__proto__",
    "\u202eevil",
    "e\u0301",
    "é",
    " ",
    "\u00a0",
    "\U0010ffff",
    "x" * 1024,
    "1",
    "01",
    "NULL",
]


@pytest.mark.parametrize("name", LITERAL, ids=ascii)
def test_every_other_name_is_stored_literally(store, name):
    """Quotes, placeholders, SQL and odd characters are data in names, realms and values."""
    realm = name.replace("@", "")
    user = UserName(name, realm)
    add(store, user, quota=(name.encode(),))
    add(store, UserName("other"))
    assert store.read(user, ["quota"]).values == {"quota": (name.encode(),)}
    assert set(store.list_users()) == {user, UserName("other")}
    assert store.write(user, Change(delete=True)) is Result.OK
    assert list(store.list_users()) == [UserName("other")]


@pytest.mark.parametrize(
    "name",
    ["", "a\0b", "a\nb", "\ud800", "*quota", "x" * 256, "AUTHPASSWORD", b"a", None],
    ids=ascii,
)
def test_property_names_are_refused_cleanly(store, name):
    """Names that could not be asked for are refused, in new and in expected values."""
    for change in (Change({name: (b"v",)}), Change(expected={name: (b"v",)})):
        with pytest.raises(UsageError) as caught:
            store.write(ALICE, change)
        assert caught.value.code == "bad-property-name"
        assert str(caught.value).isprintable()


def test_property_names_are_looked_up_cleanly(store):
    """Asking for an impossible property finds nothing, and nothing else's value."""
    add(store, quota=(b"1",))
    names = ["\ud800", "a\0b", "", "x" * 5000, "quota' --", "?", "QUOTA"]
    assert store.read(ALICE, names).values == {}
    assert store.read(ALICE, [*names, "quota"]).values == {"quota": (b"1",)}


@pytest.mark.parametrize(
    "name", [name for name in LITERAL if name.isprintable() and name[0] != "*"], ids=ascii
)
def test_every_other_property_name_is_stored_literally(store, name):
    """A property's name is data too."""
    name = name[:255]
    add(store, **{name: (b"v",), "other": (b"w",)})
    assert store.read(ALICE, [name]).values == {name: (b"v",)}


@pytest.mark.parametrize(
    "values",
    [
        *(b"bytes", "text", ["list"], None, 7),
        *(("text",), (1,), (None,), (bytearray(b"a"),), (b"a", "text")),
        *((b"",) * 1001, (b"x" * 65537,)),
    ],
    ids=lambda values: ascii(values)[:20],
)
def test_values_that_are_no_tuple_of_bytes_are_refused(store, values):
    """A value of the wrong type or size is our UsageError, not something stored in pieces."""
    for change in (Change({"quota": values}, create=True), Change(expected={"quota": values})):
        with pytest.raises(UsageError, match="quota"):
            store.write(ALICE, change)


names = st.text(min_size=1, max_size=30)


@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    name=st.one_of(names, st.text(st.characters(categories=["Cs", "Cc", "Ll"]), max_size=3)),
    realm=st.text(max_size=10),
    key=names,
    values=st.lists(st.binary(max_size=50), max_size=4),
)
def test_any_text_is_stored_literally_or_refused(store, name, realm, key, values):
    """Whatever the name, realm, property and values: back as they were, or a UsageError."""
    user = UserName(name, realm)
    try:
        result = store.write(user, Change({key: tuple(values)}, create=True))
    except UsageError:
        store.create()
        assert store.read(user, [key]).values == {}
        return
    assert result is Result.OK
    assert UserName.parse(str(user)) == user
    found = store.read(user, [key])
    assert found.values == ({key: tuple(values)} if values else {})
    assert list(store.list_users()) == [user]
    assert store.write(user, Change(delete=True)) is Result.OK


@pytest.mark.parametrize("path", ["", "a\0b", b"bytes", None, 7, "\ud800"], ids=ascii)
def test_a_path_that_is_none_is_refused(path):
    """The constructor refuses what cannot be a path."""
    with pytest.raises(UsageError, match="path"):
        SqliteStore(path)


@pytest.mark.parametrize("timeout", [-1, 3601, float("nan"), float("inf")])
def test_a_timeout_out_of_range_is_refused(timeout):
    """The timeout is seconds from nought to an hour."""
    with pytest.raises(UsageError, match="3600"):
        SqliteStore("x", timeout=timeout)


@pytest.mark.parametrize("name", [":memory:", "file:x?mode=memory", "a b%20c#d.sqlite", "ü?.db"])
def test_the_path_is_a_path_and_nothing_else(tmp_path, monkeypatch, name):
    """SQLite's special names and characters of URIs are ordinary in a path."""
    monkeypatch.chdir(tmp_path)
    with closing(SqliteStore(name)) as store:
        add(store)
        monkeypatch.chdir("/")
        assert hashes(store) == ["SHA-256"]
    assert [entry.name for entry in tmp_path.iterdir()] == [name]


# --- as a plugin ------------------------------------------------------------------


class Utils:
    """The part of SaslUtils that a store uses."""

    def __init__(self, **given):
        self.given = given

    def options(self, schema):
        return schema(**self.given)


def from_hook(**options):
    """The store that the hook makes of these options."""
    (store,) = entry_point.sasl_auxprop_init(cast("SaslUtils", Utils(**options)))
    assert isinstance(store, SqliteStore)
    return store


def test_the_hook_makes_the_configured_store_and_touches_no_file(tmp_path):
    """Path, timeout and plaintext come from the options; nothing is opened or made."""
    path = tmp_path / "absent" / "db.sqlite"
    store = from_hook(path=str(path), timeout=0.5, plaintext=True)
    assert (store.name, store.path, store.timeout, store.plaintext, store.writable) == (
        "sasldb",
        str(path),
        0.5,
        True,
        True,
    )
    assert store.availability() is None
    store.close()
    assert list(tmp_path.iterdir()) == []
    assert entry_point.SASL_PLUGIN_API == 1


def test_the_defaults(tmp_path):
    """Without options: the documented path, five seconds, no plaintext."""
    store = from_hook()
    assert (store.path, store.timeout, store.plaintext) == (DEFAULT_PATH, 5.0, False)
    assert SasldbOptions().path == DEFAULT_PATH


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"timeout": -1.0}, "0 to 3600 seconds"),
        ({"path": ""}, "not empty"),
        ({"path": "\0"}, "NUL"),
    ],
    ids=str,
)
def test_the_options_are_held_to_the_limits_of_the_store(options, told):
    """What the store would refuse is a ConfigError already, which the core gives its key."""
    with pytest.raises(ConfigError, match=told):
        SasldbOptions(**options)


def test_importing_and_initialising_load_no_sqlite():
    """A listing of plugins, and a Server that never looks anyone up, load no SQLite."""
    code = (
        "import sys; from sasl_auxprop.sasldb import SqliteStore; s = SqliteStore('x');"
        "assert s.availability() is None; repr(s); s.close();"
        "sys.exit('sqlite3' in sys.modules or '_sqlite3' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_each_call_says_how_long_it_blocks(store):
    """Reads run in place, writes and listings leave the event loop."""
    for body, blocking in [
        (store.lookup(ALICE, []), Blocking.LOCAL),
        (store.decoy_secret(), Blocking.LOCAL),
        (store.update(ALICE, Change()), Blocking.WRITE),
        (store.users(), Blocking.REMOTE),
    ]:
        need = next(body)
        assert isinstance(need, NeedCall)
        assert need.blocking is blocking
        body.close()


def test_no_secret_in_a_repr(store):
    """Neither the store nor what it finds shows a verifier or the decoy secret."""
    add(store, quota=(SECRET_TEXT.encode(),))
    found = store.read(ALICE, ["authPassword", "quota"])
    shown = repr(store) + repr(found) + repr(store._opened())
    assert SECRET_TEXT not in shown
    assert "SCRAM" not in shown
    assert repr(found.decoy_secret) not in shown


# --- threads ----------------------------------------------------------------------


def in_threads(count, work):
    """Run `work(number)` in as many threads at once; the first failure is raised."""
    failures: list[BaseException] = []
    gate = threading.Barrier(count)

    def body(number):
        try:
            gate.wait()
            work(number)
        except BaseException as error:  # noqa: BLE001 - raised again below
            failures.append(error)

    threads = [threading.Thread(target=body, args=(number,)) for number in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if failures:
        raise failures[0]


def test_threads_share_a_store(store):
    """Eight threads add, read and compare-and-set at once; nothing is lost or mixed up."""
    add(store, count=(b"0",))

    def work(number):
        for step in range(10):
            user = UserName(f"u{number}-{step}")
            add(store, user, authPassword=(), quota=(b"%d-%d" % (number, step),))
            assert store.read(user, ["quota"]).values == {"quota": (b"%d-%d" % (number, step),)}
        done = False
        while not done:
            (now,) = store.read(ALICE, ["count"]).values["count"]
            change = Change({"count": (b"%d" % (int(now) + 1),)}, expected={"count": (now,)})
            done = store.write(ALICE, change) is Result.OK

    in_threads(8, work)
    assert len(list(store.list_users())) == 81
    assert store.read(ALICE, ["count"]).values == {"count": (b"8",)}


def test_threads_that_end_leave_no_connection_behind(store):
    """A connection goes to the next caller; a hundred short threads need one."""
    add(store)
    for _ in range(100):
        in_threads(1, lambda _: store.read(ALICE, []))
    assert len(store._opened()._all) == 1


def test_no_more_connections_are_kept_than_the_limit(store):
    """After thirty calls at the same moment sixteen connections stay, the others close."""
    add(store)
    gate = threading.Barrier(30)
    in_threads(30, lambda _: store._opened().run(lambda *_: gate.wait()))
    open_now = [slot for slot in list(store._opened()._all) if slot.sqlite is not None]
    assert len(open_now) == 16
    in_threads(30, lambda _: store.read(ALICE, []))


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="needs /proc to count descriptors")
def test_close_gives_every_descriptor_back(tmp_path):
    """Closing closes all connections, and with the last one the log goes."""

    def count():
        return len(list(Path("/proc/self/fd").iterdir()))

    before = count()
    store = SqliteStore(tmp_path / "db.sqlite")
    add(store)
    in_threads(8, lambda _: store.read(ALICE, []))
    assert count() > before
    store.close()
    assert count() == before
    assert [entry.name for entry in tmp_path.iterdir()] == ["db.sqlite"]


def test_a_closed_store_is_refused_and_stays_closed(store):
    """After close() every call is a UsageError; closing again is nothing."""
    add(store)
    store.close()
    store.close()
    for call in (
        lambda: store.read(ALICE, []),
        lambda: store.write(ALICE, Change()),
        lambda: store.write(ALICE, Change(create=True)),
        store.list_users,
        store.read_decoy_secret,
    ):
        with pytest.raises(UsageError) as caught:
            call()
        assert caught.value.code == "closed"


def test_close_waits_for_the_calls_under_way(store):
    """A write that has begun is finished before close() returns."""
    add(store)
    inside, done = threading.Event(), threading.Event()

    def slow(connection, _):
        inside.set()
        connection.execute("BEGIN IMMEDIATE")
        done.wait(5)
        connection.execute("UPDATE users SET disabled = 1")
        connection.execute("COMMIT")

    thread = threading.Thread(target=lambda: store._opened().run(slow))
    thread.start()
    assert inside.wait(5)
    threading.Timer(0.1, done.set).start()
    store.close()
    thread.join()
    assert sql(store, "SELECT disabled FROM users") == [(1,)]


def test_a_look_up_of_no_property_reads_one_user(tmp_path):
    """Whether a user is there costs the same, however many others there are."""
    with closing(SqliteStore(tmp_path / "db")) as store:
        store.create()
        sql, wanted = store._query(())
        connection = sqlite3.connect(store.path)
        with closing(connection):
            plan = connection.execute(f"EXPLAIN QUERY PLAN {sql}", (*wanted, "", "tim")).fetchall()
    assert not [row for row in plan if "SCAN" in row[3] and "properties" in row[3]]
