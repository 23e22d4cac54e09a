"""Logins against password hashes: the way to SCRAM, and what an unknown user costs."""

from __future__ import annotations

import logging
import threading
from typing import Any

import pytest

from drivers import exchange
from hash_kit import CHEAP, EXAMPLES, PASSWORD, config, give, logs_in, verifiers
from sasl_core import AuditEvent, AuthenticationError, BackendError, Result, Server, UserName
from sasl_core.needs import Change
from sasl_pwcheck.hashes import work
from sasl_pwcheck.hashes.plug import MOST_HASHES
from secret_walk import find, spellings
from toys import SpyStore

BCRYPT = EXAMPLES["BLF-CRYPT"]
SSHA = EXAMPLES["SSHA"]


@pytest.fixture
def computed(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The label of each hash that is computed, in order."""
    labels: list[str] = []
    real = work.matches

    def spy(stored: Any, password: bytes, user: Any) -> bool:
        labels.append(stored.label)
        return real(stored, password, user)

    monkeypatch.setattr(work, "matches", spy)
    return labels


@pytest.fixture
def store() -> SpyStore:
    return SpyStore()


# --- the way to SCRAM ------------------------------------------------------------------------


def test_a_login_makes_a_verifier_and_scram_works(driver, store):
    """The hash lets the user in by PLAIN once; from then on SCRAM does."""
    give(store, "alice", BCRYPT)
    events: list[AuditEvent] = []
    server = driver.server(config(), stores=[store], audit=[events.append])
    assert verifiers(store, "alice") == set()
    assert logs_in(server, "alice")
    assert verifiers(store, "alice") == {"SHA-256"}
    assert [(event.kind, event.result) for event in events] == [
        ("transition", Result.OK),
        ("login", Result.OK),
    ]
    assert events[1].how == "password:hashes"
    client = driver.client(config()).session(authid="alice", password=PASSWORD)
    session = server.session()
    exchange(session, client)
    assert (session.mechanism, session.authid) == ("SCRAM-SHA-256", "alice")


def test_after_that_the_stores_verifier_is_asked(driver, store, computed):
    """The second login by PLAIN computes no hash: auxprop goes first, and knows the password."""
    give(store, "alice", BCRYPT)
    server = driver.server(config(), stores=[store])
    assert logs_in(server, "alice")
    computed.clear()
    assert logs_in(server, "alice")
    assert computed == []


def test_without_auto_transition_nothing_is_written(driver, store):
    """A check alone changes no account."""
    give(store, "alice", BCRYPT)
    store.writes.clear()
    server = driver.server(config() | {"auto_transition": "no"}, stores=[store])
    for _ in range(2):
        assert logs_in(server, "alice")
    assert store.writes == []


def test_a_wrong_password_changes_nothing(driver, store):
    """Neither lets in nor makes a verifier."""
    give(store, "alice", BCRYPT)
    store.writes.clear()
    server = driver.server(config(), stores=[store])
    assert not logs_in(server, "alice", "wrong")
    assert store.writes == []


def test_a_changed_password_ends_the_hash(driver, store):
    """A hash of the old password lets nobody in once there is a new one."""
    give(store, "alice", BCRYPT)
    server = driver.server(config(), stores=[store])
    assert server.setpass("alice", "the new one").ok
    assert not logs_in(server, "alice")
    assert logs_in(server, "alice", "the new one")


def test_a_plaintext_that_is_newer_ends_the_hash(driver):
    """The same where the store keeps a plaintext and no verifier."""
    store = SpyStore(plaintext=True)
    give(store, "alice", BCRYPT)
    store.write(UserName("alice"), Change({"userPassword": (b"the new one",)}))
    server = driver.server(config(), stores=[store])
    assert not logs_in(server, "alice")
    assert logs_in(server, "alice", "the new one")


def test_without_auxprop_whoever_was_moved_is_told_of(store):
    """Without auxprop the user cannot log in any more, and the log says what to do."""
    give(store, "alice", BCRYPT)
    settings = config() | {"pwcheck_method": ["hashes"]}
    with Server("imap", "mail.example.com", config=settings, stores=[store]) as server:
        assert logs_in(server, "alice")
        with server.session() as session:
            with pytest.raises(AuthenticationError):
                session.start("PLAIN", f"\0alice\0{PASSWORD}".encode())
            assert "auxprop in pwcheck_method" in str(session.error_detail)


def test_a_locked_user_stays_out(driver, store):
    """Right as the password is, and as unlocked as the hash is."""
    give(store, "alice", BCRYPT, disabled=True)
    server = driver.server(config() | {"pwcheck_method": ["hashes"]}, stores=[store])
    assert not logs_in(server, "alice")


def test_users_are_known_by_the_store(driver, store):
    """Without any password; a locked one is there too."""
    give(store, "alice", BCRYPT)
    give(store, "carol", disabled=True)
    server = driver.server(config() | {"pwcheck_method": ["hashes"]}, stores=[store])
    assert [server.user_exists(name) for name in ("alice", "carol", "nobody")] == [
        True,
        True,
        False,
    ]


# --- an unknown user is a wrong password --------------------------------------------------------

USERS: dict[str, tuple[str, ...]] = {
    "known": (BCRYPT,),
    "empty": (),
    "broken": ("{BLF-CRYPT}$2b$04$broken",),
    "unknown-scheme": ("{INVALID}invalid",),
    "weak": (SSHA,),
    "too-dear": ("$2b$15$" + BCRYPT[18:],),
    "too-many": (BCRYPT,) * (MOST_HASHES + 1),
    "broken-and-weak": ("{BLF-CRYPT}$2b$04$broken", SSHA),
}
KINDS = (*USERS, "locked", "newer", "ghost")


def filled(store: Any) -> Any:
    """A store with a user of every sort but a ghost."""
    for name, hashes in USERS.items():
        give(store, name, *hashes)
    give(store, "locked", BCRYPT, disabled=True)
    store.add_user("newer", password="another")
    give(store, "newer", BCRYPT)
    return store


@pytest.mark.parametrize("methods", [["hashes"], ["auxprop", "hashes"]], ids="+".join)
def test_everybody_costs_the_same(driver, store, computed, methods):
    """One look-up for each method, one hash of one cost, one answer: whoever the user is."""
    settings = config(weak_schemes=[]) | {"pwcheck_method": methods}
    server = driver.server(settings, stores=[filled(store)])
    assert not logs_in(server, "warm-up")
    works, told = set(), set()
    for name in KINDS * 2:
        computed.clear()
        store.lookups.clear()
        store.writes.clear()
        session = server.session()
        with pytest.raises(AuthenticationError) as caught:
            session.start("PLAIN", f"\0{name}\0wrong".encode())
        error = caught.value
        told.add((type(error), str(error), error.code, error.wire, error.result))
        looked = tuple(names for _, names in store.lookups)
        works.add((tuple(computed), looked, len(store.writes)))
    assert len(works) == 1, works
    ((labels, looked, _),) = works
    assert labels == (CHEAP,)
    assert len(looked) == len(methods)
    assert len(told) == 1


@pytest.mark.parametrize("name", [name for name in KINDS if name != "known"])
def test_only_a_usable_hash_lets_in(store, name):
    """The right password of all the others is refused too, and the log says why."""
    settings = config(weak_schemes=[]) | {"pwcheck_method": ["hashes"]}
    with Server("imap", "mail.example.com", config=settings, stores=[filled(store)]) as server:
        assert logs_in(server, "known")
        with server.session() as session:
            with pytest.raises(AuthenticationError):
                session.start("PLAIN", f"\0{name}\0{PASSWORD}".encode())
            reason = {
                "empty": "no passwordHash",
                "broken": "broken",
                "unknown-scheme": "unknown scheme INVALID",
                "weak": "scheme SSHA is not accepted; name it in weak_schemes",
                "too-dear": "15 cost are more than bcrypt_cost_cap = 14",
                "too-many": "5 values of passwordHash, not 4",
                "broken-and-weak": "broken; scheme SSHA",
                "locked": "DISABLED",
                "newer": "counts no more",
                "ghost": "NOUSER",
            }[name]
            assert reason in str(session.error_detail)


def test_a_decoy_that_matches_lets_nobody_in(driver, store, monkeypatch):
    """Not even if every password matched every hash."""
    monkeypatch.setattr(work, "matches", lambda *_: True)
    settings = config(weak_schemes=[]) | {"pwcheck_method": ["hashes"]}
    server = driver.server(settings, stores=[filled(store)])
    assert [name for name in KINDS if logs_in(server, name)] == ["known"]


def test_an_overlong_password_costs_nobody_anything(driver, store, computed):
    """Refused before the user is looked up, by octets and not by characters."""
    give(store, "alice", "{PLAIN}" + "ä" * 256)
    server = driver.server(config() | {"pwcheck_method": ["hashes"]}, stores=[store])
    for name in ("alice", "ghost"):
        store.lookups.clear()
        assert not logs_in(server, name, "ä" * 256 + "a")
        assert (computed, store.lookups) == ([], [])
    assert logs_in(server, "alice", "ä" * 256)


def test_several_hashes_are_all_computed(driver, store, computed):
    """Whichever of them matches, the first or the last or none."""
    hashes = (EXAMPLES["PBKDF2"], BCRYPT, EXAMPLES["passlib scrypt"])
    labels = ["PBKDF2-SHA1:100", CHEAP, "SCRYPT:16:8:1"]
    give(store, "alice", *hashes)
    for position in range(3):
        wrong = [text[:-3] + "abc" for text in hashes]
        wrong[position] = hashes[position]
        give(store, f"alice{position}", *wrong)
    settings = config() | {"auto_transition": "no"}
    server = driver.server(settings, stores=[store])
    for name in ("alice", "alice0", "alice1", "alice2"):
        computed.clear()
        assert logs_in(server, name)
        assert sorted(computed) == sorted(labels)
        computed.clear()
        assert not logs_in(server, name, "wrong")
        assert sorted(computed) == sorted(labels)


def test_a_name_has_the_same_decoy_each_time(store, computed):
    """Several decoys share the unknown names out, by the store's secret and in any process."""
    decoys = ["BLF-CRYPT:4", "SSHA", "PBKDF2-SHA256:100", "PBKDF2-SHA256:100"]
    settings = config(decoys=decoys) | {"pwcheck_method": ["hashes"]}
    seen: list[list[str]] = []
    for _ in range(2):
        computed.clear()
        with Server("imap", "mail.example.com", config=settings, stores=[store]) as server:
            for number in range(200):
                assert not logs_in(server, f"ghost{number}")
        seen.append(list(computed))
    assert seen[0] == seen[1]
    counts = {label: seen[0].count(label) for label in set(decoys)}
    assert counts["PBKDF2-SHA256:100"] > counts["BLF-CRYPT:4"] > 20 < counts["SSHA"]


def test_the_log_is_told_of_hashes_unlike_any_decoy(store, caplog):
    """Once for each kind, with what to put into decoys and with no name or hash."""
    for number in range(3):
        give(store, f"alice{number}", EXAMPLES["PBKDF2"])
    give(store, "bob", BCRYPT)
    with caplog.at_level(logging.WARNING, "sasl_core.pwcheck.hashes"), Server(
        "imap", "mail.example.com", config=config(), stores=[store]
    ) as server:  # fmt: skip
        for name in ("alice0", "alice1", "alice2", "bob"):
            assert not logs_in(server, name, "wrong")
    told = [line for line in caplog.messages if "decoys" in line]
    assert len(told) == 1
    assert "PBKDF2-SHA1:100" in told[0]
    assert "alice" not in told[0]


# --- where it runs, and what breaks --------------------------------------------------------------


@pytest.mark.parametrize("driver", ["asyncio"], indirect=True)
@pytest.mark.parametrize("name", ["alice", "ghost"])
def test_nothing_is_computed_on_the_event_loop(driver, store, monkeypatch, name):
    """Neither a real hash nor a decoy."""
    threads: list[threading.Thread] = []
    real = work.matches

    def spy(*arguments: Any) -> bool:
        threads.append(threading.current_thread())
        return real(*arguments)

    monkeypatch.setattr(work, "matches", spy)
    give(store, "alice", BCRYPT)
    logs_in(driver.server(config(), stores=[store]), name)
    assert len(threads) == 1
    assert threads[0] is not threading.main_thread()


@pytest.fixture
def broken(monkeypatch: pytest.MonkeyPatch) -> None:
    """A library that raises, and tells what it was given."""

    def raises(stored: Any, password: bytes, user: Any) -> bool:
        raise ValueError(f"cannot hash {password!r}")

    monkeypatch.setattr(work, "matches", raises)


@pytest.mark.usefixtures("broken")
@pytest.mark.parametrize("name", ["alice", "ghost"])
def test_a_library_that_raises_is_an_outage(driver, store, name):
    """Nobody's password is wrong; the type of what was raised is told, its text is not."""
    give(store, "alice", BCRYPT)
    session = driver.server(config(), stores=[store]).session()
    with pytest.raises(BackendError) as caught:
        session.start("PLAIN", f"\0{name}\0the secret one".encode())
    assert f"{CHEAP}: ValueError" in str(session.error_detail)
    assert find([caught.value, session], spellings("the secret one")) == []


# An application that drives by itself has the whole server in its frames, store and all.
@pytest.mark.parametrize("driver", ["blocking", "asyncio"], indirect=True)
@pytest.mark.parametrize("name", ["alice", "ghost", "newer"])
def test_no_secret_stays_behind(driver, store, name):
    """Neither the password nor a hash is reachable from what a refused login leaves."""
    give(store, "alice", BCRYPT)
    store.add_user("newer", password="another")
    give(store, "newer", BCRYPT)
    session = driver.server(config(), stores=[store]).session()
    with pytest.raises(AuthenticationError) as caught:
        session.start("PLAIN", f"\0{name}\0the secret one".encode())
    assert find([caught.value], spellings("the secret one", BCRYPT, BCRYPT[-31:])) == []
    assert "the secret one" not in str(session.error_detail)
    assert BCRYPT[-31:] not in str(session.error_detail)


def test_a_verifier_made_meanwhile_wins(driver, store):
    """Compare and set: whoever sets a password between check and write keeps it."""
    give(store, "alice", BCRYPT)
    real = store.write

    def write(user: Any, change: Any) -> Any:
        store.add_user("alice", password="set by hand")
        return real(user, change)

    store.write = write
    server = driver.server(config(), stores=[store])
    assert logs_in(server, "alice")
    store.write = real
    assert logs_in(server, "alice", "set by hand")
    assert not logs_in(server, "alice")
