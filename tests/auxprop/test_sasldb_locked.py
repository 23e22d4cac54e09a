"""sasldb while another process has the whole file for itself: who waits, and where."""

from __future__ import annotations

import asyncio
import sqlite3
import threading
import time
from contextlib import closing, contextmanager
from typing import Any

import pytest

from sasl_auxprop.sasldb import SqliteStore
from sasl_core import Client, SetpassFlag, aio
from sasl_core.plugin import (
    BackendError,
    Blocking,
    Change,
    NeedCall,
    Result,
    UserName,
    parse_verifier,
)
from store_kit import drive, make_verifier

ALICE = UserName("alice")
PENCIL = make_verifier("pencil")
BEATS = 10
"""Of the event loop while a lock is waited for: on a quiet machine there are fifty, or a hundred.

A login or a write that waited on the loop itself would leave two or three.
"""
AT_ONCE = 10.0
"""Far less, in seconds, than the thirty for which these stores would wait."""


@pytest.fixture
def path(tmp_path):
    """A database with one user, which nobody has open."""
    path = tmp_path / "db.sqlite"
    with closing(SqliteStore(path)) as store:
        store.write(ALICE, Change({"authPassword": (PENCIL,)}, create=True))
    return path


@contextmanager
def locked(path):
    """Hold the database so that nobody else can even read; gives what lets it go."""
    with closing(sqlite3.connect(path, isolation_level=None, check_same_thread=False)) as holder:
        holder.execute("PRAGMA locking_mode = EXCLUSIVE")
        holder.execute("BEGIN EXCLUSIVE")
        holder.execute("INSERT INTO users (realm, name) VALUES ('', 'meanwhile')")
        yield holder.close


def call(need):
    """`need`, which must be a call."""
    assert isinstance(need, NeedCall)
    return need


def held_for_open_connections(path):
    """Give up WAL mode, in which connections that are open already are never kept waiting."""
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        assert other.execute("PRAGMA journal_mode = DELETE").fetchone() == ("delete",)


async def login(server):
    """Log alice in; what the server's last word was."""
    with Client("imap", "mail.example.com", config={}) as client:
        async with server.session(external_ssf=256, success_data=True) as theirs:
            with client.session(
                authid="alice", password="pencil", external_ssf=256, success_data=True
            ) as ours:
                first = ours.start(["SCRAM-SHA-256"])
                challenge = await theirs.start("SCRAM-SHA-256", first.data)
                last = await theirs.step(ours.step(challenge.data).data)
                ours.finish(last.data)
                return theirs.authid


async def beating(stop):
    """How often the event loop came back, of a hundred times a second at the most."""
    beats = 0
    while not stop.is_set():
        await asyncio.sleep(0.01)
        beats += 1
    return beats


def watched(path, timeout, work):
    """What `work(server)` returns or raises, and how often the loop came back meanwhile."""

    async def body() -> tuple[Any, int]:
        stop = asyncio.Event()
        with closing(SqliteStore(path, timeout=timeout)) as store:
            server = aio.Server("imap", "mail.example.com", config={}, stores=[store])
            try:
                heart = asyncio.ensure_future(beating(stop))
                outcomes = await asyncio.gather(work(server), return_exceptions=True)
                stop.set()
                return outcomes[0], await heart
            finally:
                await server.close()

    return asyncio.run(body())


def test_a_login_waits_for_the_lock_beside_the_event_loop(path):
    """The loop goes on while a login waits, and the login succeeds once the lock is gone."""
    with locked(path) as let_go:
        began = time.monotonic()
        timer = threading.Timer(1.0, let_go)
        timer.start()
        outcome, beats = watched(path, 10, login)
        timer.join()
    assert outcome == "alice"
    assert time.monotonic() - began >= 1.0
    assert beats > BEATS


def test_a_lock_that_stays_fails_the_login_in_time_and_beside_the_event_loop(path):
    """After `timeout` seconds, and not much later: a temporary BackendError."""
    with locked(path):
        began = time.monotonic()
        outcome, beats = watched(path, 1, login)
        took = time.monotonic() - began
    assert isinstance(outcome, BackendError)
    assert outcome.temporary
    assert "locked by another process" in str(outcome.detail)
    assert beats > BEATS
    assert 1.0 <= took < AT_ONCE


@pytest.mark.parametrize("used", [False, True], ids=["not open yet", "open"])
def test_the_first_attempt_waits_for_nothing(path, used):
    """A look-up tries in place without waiting, and goes off the loop only if it has to."""
    held_for_open_connections(path)
    with closing(SqliteStore(path, timeout=30)) as store:
        if used:
            assert store.read(ALICE, []).result is Result.OK
            # A write waits for others, and must not leave the connection waiting.
            assert store.write(ALICE, Change({"quota": (b"1",)})) is Result.OK
        with closing(sqlite3.connect(path, isolation_level=None)) as other:
            other.execute("BEGIN EXCLUSIVE")
            for body in (store.lookup(ALICE, ["authPassword"]), store.decoy_secret()):
                need = call(next(body))
                assert need.blocking is Blocking.LOCAL
                began = time.monotonic()
                later = call(body.send(need.function()))
                assert time.monotonic() - began < AT_ONCE
                assert later.blocking is Blocking.REMOTE
                body.close()
        assert drive(store.lookup(ALICE, ["authPassword"])).verifiers == {
            "SHA-256": parse_verifier(PENCIL)
        }


def test_the_second_attempt_waits_for_the_lock(path):
    """Off the loop a look-up waits until the other lets go, and then finds the user."""
    with closing(SqliteStore(path, timeout=30)) as store, locked(path) as let_go:
        body = store.lookup(ALICE, ["authPassword"])
        need = call(body.send(call(next(body)).function()))
        timer = threading.Timer(0.3, let_go)
        timer.start()
        with pytest.raises(StopIteration) as end:
            body.send(need.function())
        timer.join()
        assert list(end.value.value.verifiers) == ["SHA-256"]


def test_the_time_for_a_thread_counts(path, monkeypatch):
    """Waiting for a free thread is waiting too: `timeout` is over when it is over."""
    with closing(SqliteStore(path, timeout=60)) as store, locked(path):
        body = store.lookup(ALICE, [])
        need = call(body.send(call(next(body)).function()))
        # As if a thread had been free an hour later: what is left to wait is nothing.
        later = time.monotonic() + 3600
        monkeypatch.setattr(time, "monotonic", lambda: later)
        began = time.perf_counter()
        with pytest.raises(BackendError, match="temporary") as caught:
            need.function()
        assert time.perf_counter() - began < 30
        assert caught.value.temporary


def test_a_file_that_is_refused_is_refused_at_once(path):
    """Only a lock is waited for; what is wrong for good is told in place."""
    path.chmod(0o644)
    with closing(SqliteStore(path, timeout=30)) as store:
        need = call(next(store.lookup(ALICE, [])))
        with pytest.raises(BackendError) as caught:
            need.function()
        assert not caught.value.temporary


def test_setpass_waits_beside_the_event_loop_too(path):
    """A write waits for the lock in a thread, and is done once the lock is gone."""

    async def write(server):
        return (await server.setpass("alice", "crayon", SetpassFlag.NONE)).result

    with locked(path) as let_go:
        timer = threading.Timer(0.5, let_go)
        timer.start()
        outcome, beats = watched(path, 10, write)
        timer.join()
    assert outcome is Result.OK
    assert beats > BEATS
