"""sasldb among processes: the first opening, writing at once, forks, sudden death."""

from __future__ import annotations

import os
import random
import sqlite3
import time
from contextlib import closing

import pytest

from sasl_auxprop.sasldb import SqliteStore
from sasl_core.plugin import Change, Result, UserName
from store_kit import Child, make_verifier

ALICE = UserName("alice", "example.com")
NEW = Change({"authPassword": (make_verifier(),)}, create=True)

fork = pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")


@pytest.fixture
def path(tmp_path):
    return tmp_path / "db.sqlite"


def integrity(path):
    """What SQLite says of the whole file, the references between its tables included."""
    with closing(sqlite3.connect(path)) as connection:
        verdict = connection.execute("PRAGMA integrity_check").fetchall()
        return verdict + connection.execute("PRAGMA foreign_key_check").fetchall()


# --- the first opening --------------------------------------------------------------

# Each line on stdin is a path: add a user of our own to it at once, tell secret and result.
FIRST_OPEN = """
    import sys
    from sasl_auxprop.sasldb import SqliteStore
    from sasl_core.plugin import Change, SaslError, UserName
    print("ready", flush=True)
    for line in sys.stdin:
        store = SqliteStore(line.strip(), timeout=30)
        try:
            result = store.write(UserName("u" + sys.argv[1]), Change(create=True)).name
            print(store.read_decoy_secret().hex(), result, flush=True)
        except SaslError as error:
            print("failed", error.detail, flush=True)
        store.close()
"""


def test_many_processes_open_a_new_store_at_the_same_moment(tmp_path):
    """Eight processes make the same new file: one secret, every user there, no lock error."""
    count, rounds = 8, 25
    processes = [Child(FIRST_OPEN, number) for number in range(count)]
    for process in processes:
        assert process.hear() == "ready"
    for number in range(rounds):
        directory = tmp_path / str(number)
        directory.mkdir()
        path = directory / "db.sqlite"
        for process in processes:
            process.say(str(path))
        answers = [process.hear().split(maxsplit=1) for process in processes]
        assert len({secret for secret, _ in answers}) == 1, answers
        assert all(result == "OK" for _, result in answers), answers
        with closing(SqliteStore(path)) as store:
            assert len(list(store.list_users())) == count
        assert list(directory.glob(".*")) == []
        assert integrity(path) == [("ok",)]
    for process in processes:
        process.finish()


# --- writing at once ------------------------------------------------------------------

COUNT_UP = """
    import sys
    from sasl_auxprop.sasldb import SqliteStore
    from sasl_core.plugin import Change, Result, UserName
    store, steps = SqliteStore(sys.argv[1], timeout=60), int(sys.argv[2])
    alice, conflicts = UserName("alice", "example.com"), 0
    print("ready", flush=True)
    sys.stdin.readline()
    for step in range(steps):
        store.write(UserName(f"u{sys.argv[3]}-{step}"), Change({"n": (b"%d" % step,)}, create=True))
        while True:
            (now,) = store.read(alice, ["count"]).values["count"]
            change = Change({"count": (b"%d" % (int(now) + 1),)}, expected={"count": (now,)})
            if store.write(alice, change) is Result.OK:
                break
            conflicts += 1
    store.close()
    print(conflicts)
"""


def test_processes_that_write_at_once_lose_nothing(path):
    """Four processes add users and count up one number by compare-and-set: all of it is there."""
    count, steps = 4, 20
    with closing(SqliteStore(path)) as store:
        store.write(ALICE, Change({"count": (b"0",)}, create=True))
        processes = [Child(COUNT_UP, path, steps, number) for number in range(count)]
        for process in processes:
            assert process.hear() == "ready"
        for process in processes:
            process.say("go")
        for process in processes:
            process.finish()
        assert store.read(ALICE, ["count"]).values == {"count": (b"%d" % (count * steps),)}
        assert len(list(store.list_users())) == count * steps + 1
    assert integrity(path) == [("ok",)]


def test_only_one_of_many_creates_a_user(path):
    """The same user created by several processes: one OK, NOCHANGE for the others."""
    code = """
        import sys
        from sasl_auxprop.sasldb import SqliteStore
        from sasl_core.plugin import Change, UserName
        store = SqliteStore(sys.argv[1], timeout=30)
        values = {"by": (sys.argv[2].encode(),)}
        print(store.write(UserName("one"), Change(values, create=True)).name)
        store.close()
    """
    processes = [Child(code, path, number) for number in range(4)]
    answers = [process.finish().strip() for process in processes]
    assert sorted(answers) == ["NOCHANGE", "NOCHANGE", "NOCHANGE", "OK"]
    with closing(SqliteStore(path)) as store:
        winner = store.read(UserName("one"), ["by"]).values["by"]
    assert winner == (b"%d" % answers.index("OK"),)


# --- forks ------------------------------------------------------------------------------


@fork
def test_both_sides_of_a_fork_go_on_with_connections_of_their_own(path):
    """After a fork parent and child read and write; what either wrote, both see."""
    code = """
        import os, sys
        from sasl_auxprop.sasldb import SqliteStore
        from sasl_core.plugin import Change, UserName
        store = SqliteStore(sys.argv[1])
        store.write(UserName("before"), Change(create=True))
        for generation in range(3):
            child = os.fork()
            if child == 0:
                store.write(UserName(f"child{generation}"), Change(create=True))
                assert store.read(UserName("before"), []).result.name == "OK"
                store.close()
                os._exit(0)
            store.write(UserName(f"parent{generation}"), Change(create=True))
            assert os.waitpid(child, 0)[1] == 0
        print(*sorted(str(user) for user in store.list_users()))
        store.close()
    """
    names = ["before", *(f"child{n}" for n in range(3)), *(f"parent{n}" for n in range(3))]
    assert Child(code, path).finish().split() == names
    assert integrity(path) == [("ok",)]


@fork
def test_a_child_holds_locks_of_its_own(path):
    """When a stranger closes the file, the log that a forked child writes to stays.

    A child that went on with its parent's connection would have none of the locks that it
    believes in; once the parent is gone, the stranger would take itself for the last user
    and remove the log, and the child's later writes with it.
    """
    code = """
        import os, sqlite3, sys, time
        from sasl_auxprop.sasldb import SqliteStore
        from sasl_core.plugin import Change, UserName
        store = SqliteStore(sys.argv[1])
        store.write(UserName("before"), Change(create=True))
        if os.fork():
            os._exit(0)
        store.write(UserName("child1"), Change(create=True))
        print("ready", flush=True)
        sys.stdin.readline()
        store.write(UserName("child2"), Change(create=True))
        print("done", flush=True)
        sys.stdin.readline()
        store.close()
        os._exit(0)
    """
    process = Child(code, path)
    try:
        assert process.hear() == "ready"
        log = os.lstat(f"{path}-wal").st_ino
        with closing(sqlite3.connect(path)) as stranger:
            assert stranger.execute("SELECT count(*) FROM users").fetchone() == (2,)
        assert os.lstat(f"{path}-wal").st_ino == log
        process.say("go")
        assert process.hear() == "done"
        with closing(sqlite3.connect(path)) as stranger:
            assert stranger.execute("SELECT count(*) FROM users").fetchone() == (3,)
    finally:
        process.finish()


@fork
def test_a_fork_waits_for_the_calls_of_other_threads(path):
    """While threads read and write, forks happen between their calls and never deadlock."""
    code = """
        import os, sys, threading, time, warnings
        warnings.simplefilter("ignore", DeprecationWarning)
        from sasl_auxprop.sasldb import SqliteStore
        from sasl_core.plugin import Change, UserName
        store = SqliteStore(sys.argv[1], timeout=30)
        store.write(UserName("before"), Change(create=True))
        stop, written = threading.Event(), []

        def work(number):
            step = 0
            while not stop.is_set():
                name = f"t{number}-{step}"
                store.write(UserName(name), Change(create=True))
                written.append(name)
                store.read(UserName(name), ["authPassword"])
                step += 1
                time.sleep(0.005)

        threads = [threading.Thread(target=work, args=(number,)) for number in range(3)]
        for thread in threads:
            thread.start()
        for fork in range(8):
            child = os.fork()
            if child == 0:
                store.write(UserName(f"c{fork}"), Change(create=True))
                store.close()
                os._exit(0)
            written.append(f"c{fork}")
            assert os.waitpid(child, 0)[1] == 0
        stop.set()
        for thread in threads:
            thread.join()
        missing = {*written, "before"} ^ {user.name for user in store.list_users()}
        assert not missing, missing
        assert len(written) > 8
        store.close()
    """
    Child(code, path).finish()
    assert integrity(path) == [("ok",)]


@fork
def test_a_fork_inside_a_signal_handler_loses_the_call_and_nothing_else(path):
    """A handler that forks in the middle of a write: that write fails, the store goes on."""
    code = """
        import os, signal, sys
        from sasl_auxprop.sasldb import SqliteStore
        from sasl_core.plugin import BackendError, Change, UserName
        store = SqliteStore(sys.argv[1])
        store.write(UserName("before"), Change(create=True))

        def handler(*_):
            child = os.fork()
            if child == 0:
                store.write(UserName("child"), Change(create=True))
                os._exit(0)
            assert os.waitpid(child, 0)[1] == 0

        signal.signal(signal.SIGUSR1, handler)

        def interrupted(connection, _):
            connection.execute("BEGIN IMMEDIATE")
            connection.execute("INSERT INTO users (realm, name) VALUES ('', 'lost')")
            signal.raise_signal(signal.SIGUSR1)
            connection.execute("COMMIT")

        try:
            store._opened().run(interrupted)
        except BackendError as error:
            print(error.temporary, error.detail)
        print(*sorted(str(user) for user in store.list_users()))
        store.close()
    """
    first, second = Child(code, path).finish().splitlines()
    assert first.startswith("True ")
    assert second.split() == ["before", "child"]


# --- sudden death -------------------------------------------------------------------------

WRITE_FOR_EVER = """
    import sys
    from sasl_auxprop.sasldb import SqliteStore
    from sasl_core.plugin import Change, Result, UserName
    store = SqliteStore(sys.argv[1], timeout=30)
    number = 0
    while True:
        values = {"a": (b"%d" % number,) * 3, "b": (b"x" * 3000,)}
        name = f"u{sys.argv[2]}-{number}"
        assert store.write(UserName(name), Change(values, create=True)) is Result.OK
        print(name, flush=True)
        number += 1
"""


def test_killed_while_writing_it_loses_nothing_that_was_acknowledged(path):
    """SIGKILL at random moments: each acknowledged user is there, whole, and the file sound."""
    acknowledged: set[str] = set()
    moments = random.Random(7)
    for life in range(6):
        process = Child(WRITE_FOR_EVER, path, life)
        acknowledged.add(process.hear())
        time.sleep(moments.uniform(0.0, 0.25))
        acknowledged.update(process.kill())
        with closing(SqliteStore(path)) as store:
            there = {user.name for user in store.list_users()}
            assert acknowledged <= there
            # What was on its way when the kill came is there whole or not at all.
            assert len(there) <= len(acknowledged) + life + 1
            for name in there:
                values = store.read(UserName(name), ["a", "b"]).values
                number = name.partition("-")[2].encode()
                assert values == {"a": (number,) * 3, "b": (b"x" * 3000,)}
        assert integrity(path) == [("ok",)]
    assert len(acknowledged) > 6


def test_killed_while_making_the_file_it_leaves_none_or_a_whole_one(tmp_path):
    """SIGKILL during the first opening: afterwards the store opens, old or new."""
    code = """
        import sys
        from sasl_auxprop.sasldb import SqliteStore
        import sasl_auxprop.sasldb.schema
        print("ready", flush=True)
        sys.stdin.readline()
        SqliteStore(sys.argv[1]).create()
        print("made", flush=True)
        sys.stdin.readline()
    """
    moments = random.Random(3)
    for round_ in range(8):
        path = tmp_path / f"{round_}.sqlite"
        process = Child(code, path)
        assert process.hear() == "ready"
        process.say("go")
        time.sleep(moments.uniform(0.0, 0.02))
        process.kill()
        with closing(SqliteStore(path)) as store:
            assert store.write(ALICE, NEW) is Result.OK
            assert store.read(ALICE, ["authPassword"]).verifiers
        assert integrity(path) == [("ok",)]
