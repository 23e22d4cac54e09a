"""Many changes at once in a sasldb: one transaction, durable, all of it or nothing."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from sasl_auxprop.sasldb import SqliteStore, rows
from sasl_auxprop.sasldb import store as store_module
from sasl_core.plugin import (
    VERIFIERS,
    BackendError,
    Blocking,
    Change,
    NeedCall,
    Result,
    UsageError,
    UserName,
)
from store_kit import drive, make_verifier

PENCIL = make_verifier("pencil")


def new(number: int) -> tuple[UserName, Change]:
    return UserName(f"u{number}"), Change({VERIFIERS: (PENCIL,)}, create=True)


def count(path: Path) -> int:
    with closing(sqlite3.connect(path)) as connection:
        return int(connection.execute("SELECT count(*) FROM users").fetchone()[0])


def test_many_changes_are_one_transaction(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine's failure in the middle leaves nothing of the batch, and all of the one before."""
    path = tmp_path / "db.sqlite"
    with closing(SqliteStore(path)) as store:
        assert drive(store.update_many([new(1)])) == [Result.OK]
        calls = 0

        def failing(*arguments: object) -> Result:
            nonlocal calls
            calls += 1
            if calls == 3:
                raise sqlite3.OperationalError("disk I/O error")
            return rows.apply(*arguments)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]

        monkeypatch.setattr(store_module, "apply", failing)
        with pytest.raises(BackendError):
            store.write_many([new(n) for n in range(2, 6)])
        monkeypatch.undo()
        assert count(path) == 1
        assert store.write_many([new(n) for n in range(2, 6)]) == [Result.OK] * 4
        assert count(path) == 5


def test_what_cannot_be_stored_is_refused_by_itself(tmp_path: Path) -> None:
    """Its error stands in its place, without frames; the others are written."""
    path = tmp_path / "db.sqlite"
    with closing(SqliteStore(path)) as store:
        bad = (UserName("a\nb"), Change(create=True))
        worse = (UserName("x"), Change({VERIFIERS: (b"zz",)}, create=True))
        results = store.write_many([new(1), bad, new(2), worse, new(1)])
        assert [type(each) for each in results] == [Result, UsageError, Result, UsageError, Result]
        assert results[0] is results[2] is Result.OK
        assert results[4] is Result.NOCHANGE
        errors = [each for each in results if isinstance(each, UsageError)]
        assert all(error.__traceback__ is None for error in errors)
        assert count(path) == 2


def test_a_batch_of_bad_changes_makes_no_file(tmp_path: Path) -> None:
    """Nothing is opened, or made, for what is refused beforehand; nor for nothing at all."""
    with closing(SqliteStore(tmp_path / "db.sqlite")) as store:
        results = store.write_many([(UserName(""), Change(create=True))])
        assert isinstance(results[0], UsageError)
        assert store.write_many([]) == []
    assert not (tmp_path / "db.sqlite").exists()


def test_it_never_runs_on_the_event_loop(tmp_path: Path) -> None:
    """The need says that it writes, whatever the number of changes."""
    with closing(SqliteStore(tmp_path / "db.sqlite")) as store:
        need = next(store.update_many([new(1), new(2)]))
        assert isinstance(need, NeedCall)
        assert need.blocking is Blocking.WRITE


def test_decoys_follow_what_was_written(tmp_path: Path) -> None:
    """After a batch the rounds of decoys are sampled anew, as after a single write."""
    with closing(SqliteStore(tmp_path / "db.sqlite")) as store:
        assert store.write_many([new(1)]) == [Result.OK]
        assert store.read(UserName("nobody"), [VERIFIERS]).decoy_rounds("SHA-256") == 4096
        other = make_verifier("pencil", rounds=5000)
        changes = [
            (UserName(f"v{n}"), Change({VERIFIERS: (other,)}, create=True)) for n in range(5)
        ]
        assert store.write_many(changes) == [Result.OK] * 5
        assert store.read(UserName("nobody"), [VERIFIERS]).decoy_rounds("SHA-256") == 5000
