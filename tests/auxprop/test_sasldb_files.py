"""sasldb and its file: how it comes into being, which files are refused, what may go wrong."""

from __future__ import annotations

import os
import shutil
import sqlite3
import stat
import threading
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from sasl_auxprop.sasldb import SqliteStore, faults, schema
from sasl_core.plugin import BackendError, Change, Result, UserName
from store_kit import Child, all_texts, make_verifier

ALICE = UserName("alice", "example.com")
PENCIL = make_verifier("pencil")
NEW = Change({"authPassword": (PENCIL,)}, create=True)

posix = pytest.mark.skipif(os.name != "posix", reason="modes and links as POSIX has them")


@pytest.fixture
def path(tmp_path):
    return tmp_path / "db.sqlite"


@pytest.fixture
def store(path):
    with closing(SqliteStore(path, timeout=0.2)) as made:
        yield made


@pytest.fixture
def filled(store):
    """A store with one user, open."""
    assert store.write(ALICE, NEW) is Result.OK
    return store


def mode(path):
    return stat.S_IMODE(os.lstat(path).st_mode)


def failure(call, *, temporary=False):
    """The detail of the BackendError that `call` raises; no secret is in it."""
    with pytest.raises(BackendError) as caught:
        call()
    error = caught.value
    assert error.temporary is temporary
    assert error.detail
    assert error.__cause__ is None
    assert error.__context__ is None
    assert "SCRAM" not in all_texts(error)
    assert str(error) == str(BackendError(temporary=temporary))
    return error.detail


def every_call(store):
    """Each way to use a store, as functions without arguments."""
    return [
        lambda: store.read(ALICE, ["authPassword"]),
        lambda: store.write(ALICE, Change({"quota": (b"1",)})),
        lambda: store.write(ALICE, Change({"quota": (b"1",)}, create=True, exist_ok=True)),
        store.list_users,
        store.read_decoy_secret,
    ]


def edit(path, *statements):
    """Change a database behind the store's back."""
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        for statement in statements:
            connection.execute(statement)


@contextmanager
def unprivileged(*paths):
    """Run as a user whom modes bind; `paths` belong to it meanwhile."""
    if os.geteuid() != 0:
        yield
        return
    for path in paths:
        os.chown(path, 65534, 65534)
    os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(0)


@pytest.fixture
def open_dir():
    """A directory that another user may reach, unlike pytest's own."""
    import tempfile

    directory = Path(tempfile.mkdtemp(prefix="sasldb-"))
    directory.chmod(0o755)
    yield directory
    directory.chmod(0o755)
    shutil.rmtree(directory)


# --- a file that is not there ---------------------------------------------------


def test_what_only_reads_makes_no_file(store, tmp_path):
    """Reading, listing, and changing what should exist: an error that says what to do."""
    for call in (
        lambda: store.read(ALICE, ["authPassword"]),
        lambda: store.write(ALICE, Change({"quota": (b"1",)})),
        lambda: store.write(ALICE, Change(delete=True)),
        store.list_users,
        store.read_decoy_secret,
    ):
        detail = failure(call)
        assert "does not exist" in detail
        assert "sasl passwd -c" in detail
    assert list(tmp_path.iterdir()) == []


@posix
@pytest.mark.parametrize("umask", [0o000, 0o077, 0o022])
def test_a_write_that_creates_makes_the_file_for_its_owner_alone(path, umask):
    """The file, and the log beside it, are 0600 whatever the umask; nothing else is left."""
    before = os.umask(umask)
    try:
        with closing(SqliteStore(path)) as store:
            assert store.write(ALICE, NEW) is Result.OK
            found = {entry.name: mode(entry) for entry in path.parent.iterdir()}
    finally:
        os.umask(before)
    assert found == dict.fromkeys(["db.sqlite", "db.sqlite-shm", "db.sqlite-wal"], 0o600)
    assert [entry.name for entry in path.parent.iterdir()] == ["db.sqlite"]


def test_create_makes_an_empty_store_once(store, path):
    """`create()` makes the file and says so; where one is, it leaves it as it is."""
    assert store.create() is True
    secret = store.read_decoy_secret()
    assert list(store.list_users()) == []
    assert store.create() is False
    with closing(SqliteStore(path)) as again:
        assert again.create() is False
        assert again.read_decoy_secret() == secret
    assert len(secret) == 32


@posix
def test_a_new_file_is_on_the_disk_when_it_is_said_to_be(store, monkeypatch, tmp_path):
    """The directory's entry is synchronised after the file is linked into place."""
    honest, seen = os.fsync, []

    def spy(descriptor):
        if os.path.samestat(os.fstat(descriptor), tmp_path.stat()):
            seen.append((tmp_path / "db.sqlite").exists())
        honest(descriptor)

    monkeypatch.setattr(os, "fsync", spy)
    assert store.create()
    assert seen == [True]


def test_every_store_has_a_secret_of_its_own(tmp_path):
    """Two files never share their decoy secret."""
    secrets = set()
    for number in range(5):
        with closing(SqliteStore(tmp_path / str(number))) as store:
            store.create()
            secrets.add(store.read_decoy_secret())
    assert len(secrets) == 5


def test_the_schema_is_the_published_one(filled, path):
    """Version, WAL mode, tables, columns and keys: other programs rely on them."""
    with closing(sqlite3.connect(path)) as connection:
        ask = connection.execute
        assert ask("PRAGMA user_version").fetchone() == (1,)
        assert ask("PRAGMA journal_mode").fetchone() == ("wal",)
        tables = {
            table: [(name, key) for _, name, _, _, _, key in ask(f"PRAGMA table_info({table})")]
            for (table,) in ask("SELECT name FROM sqlite_master WHERE type = 'table'")
        }
        assert tables == {
            "meta": [("key", 1), ("value", 0)],
            "users": [("id", 1), ("realm", 0), ("name", 0), ("disabled", 0)],
            "properties": [("user", 1), ("name", 2), ("key", 3), ("value", 0)],
        }
        assert ask("SELECT realm, name, disabled FROM users").fetchall() == [
            ("example.com", "alice", 0)
        ]
        assert ask("SELECT name, key, value FROM properties").fetchall() == [
            ("authPassword", "SHA-256", PENCIL)
        ]
        with pytest.raises(sqlite3.IntegrityError):
            ask("INSERT INTO users (realm, name) VALUES ('example.com', 'alice')")


def test_every_connection_is_durable_and_keeps_references(filled):
    """Each one has synchronous = FULL, foreign keys and secure_delete, and the log."""
    seen = []
    gate = threading.Barrier(3)

    def ask(connection, _):
        gate.wait()
        pragmas = ("synchronous", "foreign_keys", "secure_delete", "journal_mode")
        seen.append([connection.execute(f"PRAGMA {each}").fetchone()[0] for each in pragmas])

    threads = [threading.Thread(target=filled._opened().run, args=(ask,)) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert seen == [[2, 1, 1, "wal"]] * 3


@pytest.mark.parametrize("below", ["absent/db.sqlite", "file/db.sqlite", "x" * 300])
def test_a_path_where_nothing_can_be_is_told(tmp_path, below):
    """A directory that is not there, a file in its place, a name that is too long."""
    (tmp_path / "file").touch()
    with closing(SqliteStore(tmp_path / below)) as store:
        for call in every_call(store):
            assert str(tmp_path) in failure(call)
    assert [entry.name for entry in tmp_path.iterdir()] == ["file"]


def test_a_log_without_its_database_is_not_replayed(path, tmp_path):
    """A new database is not put beside the log of one that was removed."""
    with closing(SqliteStore(path)) as old:
        old.write(UserName("ghost"), NEW)
        shutil.copy(f"{path}-wal", tmp_path / "log")
    path.unlink()
    shutil.copy(tmp_path / "log", f"{path}-wal")
    with closing(SqliteStore(path)) as store:
        assert "-wal" in failure(lambda: store.write(ALICE, NEW))
        assert not path.exists()
        Path(f"{path}-wal").unlink()
        assert store.write(ALICE, NEW) is Result.OK
        assert list(store.list_users()) == [ALICE]


# --- a file that is none of ours --------------------------------------------------


def other_database(path):
    edit(path, "CREATE TABLE users (id INTEGER PRIMARY KEY, realm TEXT, name TEXT)")


def namesake(path):
    other_database(path)
    edit(path, "PRAGMA user_version = 1")


def newer(path):
    schema.make(str(path), 1)
    edit(path, "CREATE TABLE later (x)", "PRAGMA user_version = 2")


def truncated(path):
    schema.make(str(path), 1)
    os.truncate(path, path.stat().st_size // 2)


def without_secret(path):
    schema.make(str(path), 1)
    edit(path, "DELETE FROM meta")


def with_short_secret(path):
    schema.make(str(path), 1)
    edit(path, "UPDATE meta SET value = X'00'")


def scrambled(path):
    schema.make(str(path), 1)
    content = path.read_bytes()
    path.write_bytes(content[:100] + b"\xff" * (len(content) - 100))


@pytest.mark.parametrize(
    ("make", "told"),
    [
        (lambda path: path.touch(), "is no sasldb"),
        (lambda path: path.write_bytes(b"\0" * 4096), "SQLITE_NOTADB"),
        (lambda path: path.write_text("alice:secret\n" * 100), "SQLITE_NOTADB"),
        (other_database, "is no sasldb"),
        (namesake, "is no sasldb"),
        (newer, "newer release"),
        (truncated, "is damaged"),
        (without_secret, "no decoy secret"),
        (with_short_secret, "no decoy secret"),
        (scrambled, "is damaged"),
    ],
    ids=lambda value: getattr(value, "__name__", value),
)
def test_a_file_that_is_no_sasldb_is_refused_and_left_alone(store, path, make, told):
    """Whatever lies at the path, it is told, and not a byte of it changes."""
    make(path)
    path.chmod(0o600)
    before = path.read_bytes()
    for call in every_call(store):
        assert told in failure(call)
    store.close()
    assert path.read_bytes() == before


def test_a_directory_is_refused(store, path):
    """A directory at the path is told as what it is."""
    path.mkdir()
    for call in every_call(store):
        assert "is no file" in failure(call)


@posix
def test_a_fifo_is_refused_without_waiting_for_it(store, path):
    """A pipe at the path is refused before anything is opened."""
    os.mkfifo(path, 0o600)
    for call in every_call(store):
        assert "is no file" in failure(call)


@posix
@pytest.mark.parametrize("bits", [0o640, 0o604, 0o620, 0o602, 0o610, 0o666])
def test_a_file_that_others_can_use_is_refused(filled, path, bits):
    """Any right of group or world: refused with the command to run, also while in use."""
    path.chmod(bits)
    for call in every_call(filled):
        detail = failure(call)
        assert "chmod 600" in detail
        assert f"{bits:04o}" in detail
    path.chmod(0o600)
    assert filled.read(ALICE, []).result is Result.OK


def chown(path, owner):
    """Give the file to `owner`, which takes root."""
    if os.geteuid() != 0:
        pytest.skip("only root can give a file to somebody else")
    os.chown(path, owner, owner)


@posix
def test_a_file_of_somebody_else_is_refused(filled, path):
    """Whoever owns the file knows its users, and may exchange them: refused, also in use."""
    chown(path, 65534)
    for call in every_call(filled):
        detail = failure(call)
        assert "belongs to another user (uid 65534)" in detail
        assert "uid 0" in detail
    with closing(SqliteStore(path)) as late:
        assert "belongs to another user" in failure(lambda: late.read(ALICE, []))
    chown(path, 0)
    assert filled.read(ALICE, []).result is Result.OK


@posix
def test_a_file_of_a_third_user_is_refused_without_rights_too(open_dir):
    """A server that has dropped its rights trusts its own file, and no third user's."""
    path = open_dir / "db.sqlite"
    with closing(SqliteStore(path)) as store:
        store.write(ALICE, NEW)
    chown(path, 65533)
    with unprivileged(open_dir), closing(SqliteStore(path)) as store:
        assert "belongs to another user" in failure(lambda: store.read(ALICE, []))
    chown(path, 65534)
    with unprivileged(open_dir), closing(SqliteStore(path)) as store:
        assert store.read(ALICE, []).result is Result.OK


@posix
def test_a_file_of_root_is_not_refused_for_its_owner(open_dir):
    """Root may own the file of a server without rights, which then fails to open it alone."""
    path = open_dir / "db.sqlite"
    with closing(SqliteStore(path)) as store:
        store.write(ALICE, NEW)
    chown(path, 0)
    with unprivileged(open_dir), closing(SqliteStore(path)) as store:
        detail = failure(lambda: store.read(ALICE, []))
    assert "belongs to another user" not in detail
    assert "SQLITE_CANTOPEN" in detail


@posix
def test_a_symbolic_link_is_refused(filled, path, tmp_path):
    """A link in place of the file is refused, even to a good database."""
    link = tmp_path / "link.sqlite"
    link.symlink_to(path)
    with closing(SqliteStore(link)) as store:
        for call in every_call(store):
            assert "symbolic link" in failure(call)


@posix
def test_a_dangling_link_makes_no_file_elsewhere(tmp_path):
    """Creating through a link that leads nowhere makes nothing where it leads."""
    link, target = tmp_path / "link.sqlite", tmp_path / "target"
    link.symlink_to(target)
    with closing(SqliteStore(link)) as store:
        assert "symbolic link" in failure(lambda: store.write(ALICE, NEW))
        assert store.create() is False
    assert [entry.name for entry in tmp_path.iterdir()] == ["link.sqlite"]


@posix
def test_a_link_put_there_while_in_use_is_refused(filled, path, tmp_path):
    """Exchanging the file for a link to another one does not change whom we believe."""
    other = tmp_path / "other.sqlite"
    with closing(SqliteStore(other)) as mallory:
        mallory.write(UserName("mallory"), NEW)
    path.rename(tmp_path / "away")
    path.symlink_to(other)
    assert "symbolic link" in failure(lambda: filled.read(UserName("mallory"), []))


def test_a_file_exchanged_while_it_is_opened_is_refused(filled, path, tmp_path, monkeypatch):
    """What was checked and what was opened must be one file."""
    other = tmp_path / "other.sqlite"
    schema.make(str(other), 1)
    honest = schema.connect

    def exchange(name, timeout):
        other.replace(path)
        return honest(name, timeout)

    monkeypatch.setattr(schema, "connect", exchange)
    with closing(SqliteStore(path)) as late:
        detail = failure(lambda: late.read(ALICE, []), temporary=True)
    assert "replaced" in detail


# --- a file that changes, or fails, while in use ------------------------------------


def remove(path):
    for name in (path, f"{path}-wal", f"{path}-shm"):
        Path(name).unlink(missing_ok=True)


def test_a_removed_file_is_not_used_any_longer(filled, path):
    """After the files are gone nobody logs in, and no write is acknowledged."""
    remove(path)
    for index in (0, 1, 3, 4):
        assert "does not exist" in failure(every_call(filled)[index])


def test_a_new_file_at_the_path_is_the_store(filled, path):
    """Removed and made anew by another process, the new one is read and written."""
    old_secret = filled.read_decoy_secret()
    assert filled.read(ALICE, []).decoy_rounds("SHA-256") == 4096
    remove(path)
    with closing(SqliteStore(path)) as other:
        bob = Change({"authPassword": (make_verifier(rounds=5000),)}, create=True)
        assert other.write(UserName("bob"), bob) is Result.OK
        found = filled.read(ALICE, [])
        assert found.result is Result.NOUSER
        assert found.decoy_secret == other.read_decoy_secret() != old_secret
        assert found.decoy_rounds("SHA-256") == 5000
        assert filled.write(UserName("carol"), NEW) is Result.OK
        assert list(other.list_users()) == [UserName("bob"), UserName("carol")]


def test_a_lock_that_lasts_is_a_passing_error(filled, path):
    """While another process writes: reads go on, a write fails in time and may be repeated."""
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        assert filled.read(ALICE, ["authPassword"]).verifiers
        detail = failure(lambda: filled.write(ALICE, Change(disabled=True)), temporary=True)
        assert "locked by another process" in detail
        other.execute("ROLLBACK")
    assert filled.write(ALICE, Change(disabled=True)) is Result.OK


def test_a_full_disk_is_a_passing_error(path, monkeypatch):
    """What does not fit is refused whole; what was there before stays, and still works."""
    honest = schema.connect
    limit = ["PRAGMA max_page_count = 12"]

    def small(name, timeout):
        connection = honest(name, timeout)
        for statement in limit:
            connection.execute(statement)
        return connection

    monkeypatch.setattr(schema, "connect", small)
    with closing(SqliteStore(path)) as store:
        assert store.write(ALICE, NEW) is Result.OK
        big = Change({"photo": (b"x" * 60_000,)}, create=True)
        detail = failure(lambda: store.write(UserName("bob"), big), temporary=True)
        assert "disk is full" in detail
        limit.clear()
        assert list(store.list_users()) == [ALICE]
        assert store.write(UserName("bob"), big) is Result.OK


def test_damage_found_while_reading_is_told(path):
    """Pages overwritten behind our back: an error without an end of the world or a secret."""
    with closing(SqliteStore(path)) as store:
        store.write(ALICE, NEW)
        values = {f"p{number}": (b"v" * 5000,) for number in range(20)}
        store.write(ALICE, Change(values))
    content = bytearray(path.read_bytes())
    content[4096 * 2 :] = b"\x07" * (len(content) - 4096 * 2)
    path.write_bytes(content)
    with closing(SqliteStore(path)) as store:
        assert "damaged" in failure(lambda: store.read(ALICE, list(values)))


def test_a_value_that_is_no_blob_is_told(filled, path):
    """The schema refuses text as a value; forced in, it is damage, and is not shown."""
    with pytest.raises(sqlite3.IntegrityError):
        edit(path, "UPDATE properties SET value = 'text'")
    edit(path, "PRAGMA ignore_check_constraints = ON", "UPDATE properties SET value = 'SCRAM'")
    edit(path, "VACUUM")
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute("PRAGMA ignore_check_constraints = ON")
        connection.execute("UPDATE properties SET value = 'SCRAM-text'")
    assert "is no blob" in failure(lambda: filled.read(ALICE, ["authPassword"]))


def test_text_that_is_no_utf8_is_told_and_not_shown(filled, path):
    """A name that another program wrote in Latin-1: an error that does not quote it."""
    edit(path, "INSERT INTO users (realm, name) VALUES ('', CAST(X'5343524dff' AS TEXT))")
    assert "does not hold what a sasldb holds" in failure(filled.list_users)


@posix
def test_a_read_only_file_can_be_read_and_says_why_it_is_not_written(open_dir):
    """Without the right to write, look-ups go on and a write says what is missing."""
    path = open_dir / "db.sqlite"
    with closing(SqliteStore(path)) as store:
        store.write(ALICE, NEW)
    path.chmod(0o400)
    with unprivileged(open_dir, path), closing(SqliteStore(path)) as store:
        assert store.read(ALICE, ["authPassword"]).verifiers
        assert "cannot be written" in failure(lambda: store.write(ALICE, Change(disabled=True)))


@posix
def test_a_file_or_directory_without_rights_is_told(open_dir):
    """Neither readable file nor writable directory: an error that says who must own what."""
    path = open_dir / "db.sqlite"
    with closing(SqliteStore(path)) as store:
        store.write(ALICE, NEW)
    path.chmod(0o000)
    with unprivileged(open_dir, path), closing(SqliteStore(path)) as store:
        assert "must own the file" in failure(lambda: store.read(ALICE, []))
    open_dir.chmod(0o000)
    with unprivileged(open_dir), closing(SqliteStore(path)) as store:
        assert "EACCES" in failure(lambda: store.read(ALICE, []))
    open_dir.chmod(0o555)
    with unprivileged(open_dir), closing(SqliteStore(open_dir / "new")) as store:
        assert "EACCES" in failure(lambda: store.write(ALICE, NEW))


def test_a_file_system_without_links_is_told(store, monkeypatch, tmp_path):
    """Where a file cannot be linked into place, that is said, and nothing stays behind."""

    def refuse(*_):
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(os, "link", refuse)
    assert "EPERM" in failure(store.create)
    assert list(tmp_path.iterdir()) == []


def test_a_file_system_without_shared_memory_is_told(store, monkeypatch, tmp_path):
    """Where SQLite cannot keep its log, that is said, and nothing stays behind."""
    monkeypatch.setattr(schema, "connect", lambda *_: sqlite3.connect(":memory:"))
    assert "cannot share memory" in failure(store.create)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("number", [*range(29), 99, 256 + 11, 5 + (2 << 8)])
def test_every_sqlite_error_becomes_ours(number):
    """Each result code of SQLite, known or not, gives a detail with path and name."""
    error = sqlite3.OperationalError("near 'SCRAM': syntax error")
    error.sqlite_errorcode = number
    error.sqlite_errorname = f"SQLITE_{number}"
    made = faults.of_database(error, "/x/db.sqlite")
    assert made.detail is not None
    assert "/x/db.sqlite" in made.detail
    assert f"SQLITE_{number}" in made.detail
    assert "SCRAM" not in made.detail


def test_what_is_deleted_is_overwritten(path):
    """A verifier that was replaced, and a user that was deleted, leave no trace in the file."""
    with closing(SqliteStore(path)) as store:
        for number in range(50):
            store.write(UserName(f"u{number}"), NEW)
        store.write(ALICE, Change({"quota": (b"deleted-value",)}, create=True))
    assert b"deleted-value" in path.read_bytes()
    with closing(SqliteStore(path)) as store:
        store.write(ALICE, Change(delete=True))
        for number in range(50):
            store.write(UserName(f"u{number}"), Change({"authPassword": ()}))
    content = path.read_bytes()
    assert b"deleted-value" not in content
    assert PENCIL not in content


OPEN_AND_CLOSE = """
    import sqlite3, sys
    connection = sqlite3.connect(sys.argv[1])
    print(connection.execute("SELECT count(*) FROM users").fetchone()[0])
    connection.close()
"""


def test_a_second_connection_does_not_cost_us_the_locks_of_the_first(filled, path):
    """Opening and closing one connection leaves the process's locks on the file in place.

    Whoever opens the file by itself and closes it loses them (POSIX), and another
    process that closes then takes itself for the last, and removes the log we write to.
    """
    pool = filled._opened()
    before = os.lstat(f"{path}-wal").st_ino

    def first(connection, _):
        thread = threading.Thread(target=pool.run, args=(lambda *_: None,))
        thread.start()
        thread.join()

    pool.run(first)
    assert len(pool._all) == 2
    assert Child(OPEN_AND_CLOSE, path).finish() == "1\n"
    assert os.lstat(f"{path}-wal").st_ino == before
    assert filled.write(UserName("bob"), NEW) is Result.OK
    assert Child(OPEN_AND_CLOSE, path).finish() == "2\n"
