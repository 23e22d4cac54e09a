"""sasldb and what lies around its file: the directory, and the logs that SQLite replays.

SQLite takes whatever has the name of its log for the end of the database, whoever put it
there: who may make files in the directory may log in as anybody.
"""

from __future__ import annotations

import os
import shutil
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from sasl_auxprop.sasldb import SqliteStore
from sasl_core.plugin import BackendError, Change, Result, UserName, format_verifier
from store_kit import all_texts, make_verifier

pytestmark = pytest.mark.skipif(os.name != "posix", reason="modes and owners as POSIX has them")

ALICE = UserName("alice", "example.com")
PENCIL = make_verifier("pencil")
FORGED = make_verifier("forged")
NEW = Change({"authPassword": (PENCIL,)}, create=True)
MALLORY = 65534

UNSAFE = "sasldb-unsafe-directory"
REFUSED = "sasldb-refused"

DIRECTORIES = [
    pytest.param(0o1777, None, id="sticky"),
    pytest.param(0o0777, None, id="world"),
    pytest.param(0o2770, None, id="group"),
    pytest.param(0o0702, None, id="others"),
    pytest.param(0o0755, MALLORY, id="of-somebody-else"),
    pytest.param(0o0700, MALLORY, id="of-somebody-else-alone"),
]
SIDES = ["-wal", "-shm", "-journal"]


@pytest.fixture
def home(tmp_path):
    made = tmp_path / "home"
    made.mkdir(mode=0o700)
    return made


@pytest.fixture
def path(home):
    """A database with one user, closed."""
    made = home / "db"
    with closing(SqliteStore(made)) as store:
        assert store.write(ALICE, NEW) is Result.OK
    return made


def give(path, owner):
    """Give `path` to `owner`, which takes root; None leaves it as it is."""
    if owner is None:
        return
    if os.geteuid() != 0:
        pytest.skip("only root can give a file to somebody else")
    os.chown(path, owner, owner, follow_symlinks=False)


def forged_log(folder):
    """The log of a database of the attacker's, in which alice has another password."""
    own = folder / "own"
    with closing(SqliteStore(own)) as store:
        store.write(ALICE, Change({"authPassword": (FORGED,)}, create=True))
    with closing(sqlite3.connect(own, isolation_level=None)) as connection:
        connection.execute("PRAGMA wal_autocheckpoint = 0")
        connection.execute("VACUUM")
        return Path(f"{own}-wal").read_bytes()


def plant(side, content=b"", *, owner=None, bits=0o600):
    side.write_bytes(content)
    side.chmod(bits)
    give(side, owner)


def refusal(call, code):
    """The detail of the lasting BackendError `code` that `call` raises."""
    with pytest.raises(BackendError) as caught:
        call()
    error = caught.value
    assert (error.code, error.temporary) == (code, False)
    assert error.__cause__ is None
    assert error.__context__ is None
    assert "SCRAM" not in all_texts(error)
    assert error.detail
    return error.detail


def every_refusal(path, code):
    """The one detail with which each way to use the store at `path` is refused."""
    with closing(SqliteStore(path)) as store:
        details = {
            refusal(call, code)
            for call in (
                lambda: store.read(ALICE, ["authPassword"]),
                lambda: store.write(ALICE, Change({"quota": (b"1",)})),
                lambda: store.write(ALICE, Change({"quota": (b"1",)}, create=True, exist_ok=True)),
                store.list_users,
                store.read_decoy_secret,
            )
        }
    assert len(details) == 1
    return details.pop()


def verifiers(path):
    with closing(SqliteStore(path)) as store:
        found = store.read(ALICE, ["authPassword"]).verifiers
        return [format_verifier(each) for each in found.values()]


def test_a_log_of_the_same_owner_is_replayed(home, path, tmp_path):
    """What the tests below guard against: SQLite believes the log that it finds."""
    plant(home / "db-wal", forged_log(tmp_path))
    assert verifiers(path) == [FORGED]


@pytest.mark.parametrize(("bits", "owner"), DIRECTORIES)
def test_a_log_planted_in_a_directory_that_others_can_write_lets_nobody_in(
    home, path, tmp_path, bits, owner
):
    """The directory is refused, then the log by itself; without both the old user is there."""
    plant(home / "db-wal", forged_log(tmp_path), bits=0o644)
    give(home, owner)
    home.chmod(bits)
    before = (home / "db-wal").read_bytes(), path.read_bytes()
    assert repr(str(home)) in every_refusal(path, UNSAFE)
    assert ((home / "db-wal").read_bytes(), path.read_bytes()) == before
    home.chmod(0o700)
    if owner is not None:
        os.chown(home, 0, 0)
    assert repr(str(home / "db-wal")) in every_refusal(path, REFUSED)
    (home / "db-wal").unlink()
    assert verifiers(path) == [PENCIL]


@pytest.mark.parametrize(("bits", "owner"), DIRECTORIES)
def test_no_database_is_made_in_a_directory_that_others_can_write(home, bits, owner):
    """Making one is refused as opening one is, and nothing stays behind."""
    give(home, owner)
    home.chmod(bits)
    with closing(SqliteStore(home / "db")) as store:
        for call in (lambda: store.write(ALICE, NEW), store.create):
            assert repr(str(home)) in refusal(call, UNSAFE)
    assert list(home.iterdir()) == []


@pytest.mark.parametrize(
    ("bits", "owner", "advice"),
    [
        (0o775, None, "chmod go-w "),
        (0o1777, None, "a directory of its own"),
        (0o755, MALLORY, "chown "),
    ],
)
def test_the_refusal_of_a_directory_says_what_to_do(home, path, bits, owner, advice):
    """Whose it is or which mode it has, and the command that mends it."""
    give(home, owner)
    home.chmod(bits)
    detail = every_refusal(path, UNSAFE)
    assert advice in detail
    assert (f"uid {owner}" if owner else f"mode {bits:04o}") in detail
    # Nobody is told to take away the rights that /tmp has to have.
    assert ("chmod go-w" in detail) is (bits == 0o775)


@pytest.mark.parametrize("bits", [0o700, 0o750, 0o755, 0o711, 0o1755, 0o2755])
def test_a_directory_that_others_can_only_read_is_used(home, path, bits):
    """Reading the directory's names makes nobody a user."""
    home.chmod(bits)
    assert verifiers(path) == [PENCIL]


def test_a_directory_of_root_is_not_refused_for_others(path, home, tmp_path):
    """Root may own the directory of a server without rights: what root puts there counts."""
    give(path, MALLORY)
    home.chmod(0o755)
    # Every directory above must let that user through, who keeps the group of root.
    folders = [tmp_path, *tmp_path.parents]
    modes = [(each, each.stat().st_mode & 0o7777) for each in folders]
    closed = [(each, bits) for each, bits in modes if bits & 0o011 != 0o011]
    try:
        for each, bits in closed:
            each.chmod(bits | 0o011)
        os.seteuid(MALLORY)
        with closing(SqliteStore(path)) as store, pytest.raises(BackendError) as caught:
            store.read(ALICE, [])
    finally:
        os.seteuid(0)
        for each, bits in closed:
            each.chmod(bits)
    assert caught.value.code == "sasldb"
    # SQLite was asked, and has no right to make its log there.
    assert "SQLITE_" in str(caught.value.detail)


def test_a_link_to_a_directory_is_refused(home, path, tmp_path):
    """Whoever owns a link may have it lead elsewhere; the directory itself is to be named."""
    link = tmp_path / "link"
    link.symlink_to(home)
    assert "symbolic link" in every_refusal(link / path.name, UNSAFE)
    with closing(SqliteStore(link / "new")) as store:
        assert "symbolic link" in refusal(lambda: store.write(ALICE, NEW), UNSAFE)
    assert sorted(entry.name for entry in home.iterdir()) == ["db"]


@pytest.mark.parametrize("side", SIDES)
def test_a_log_of_somebody_else_is_refused(home, path, side):
    """An empty log made beforehand would let its owner read what is written into it."""
    log = home / f"db{side}"
    plant(log, owner=MALLORY)
    detail = every_refusal(path, REFUSED)
    assert repr(str(log)) in detail
    assert f"uid {MALLORY}" in detail
    assert "remove it" in detail
    assert log.read_bytes() == b""


@pytest.mark.parametrize("bits", [0o640, 0o604, 0o620, 0o602, 0o601])
@pytest.mark.parametrize("side", SIDES)
def test_a_log_that_others_can_use_is_refused(home, path, side, bits):
    """Any right of group or others on a log is a right on the database."""
    log = home / f"db{side}"
    plant(log, bits=bits)
    detail = every_refusal(path, REFUSED)
    assert repr(str(log)) in detail
    assert f"{bits:04o}" in detail
    assert "chmod 600" in detail


@pytest.mark.parametrize("side", SIDES)
@pytest.mark.parametrize("kind", ["link", "dangling", "directory", "fifo"])
def test_a_log_that_is_no_file_is_refused(home, path, tmp_path, side, kind):
    """A link would have SQLite write elsewhere, a pipe would have it wait."""
    log, target = home / f"db{side}", tmp_path / "target"
    if kind == "directory":
        log.mkdir(mode=0o700)
    elif kind == "fifo":
        os.mkfifo(log, 0o600)
    else:
        log.symlink_to(target)
    if kind == "link":
        plant(target)
    assert repr(str(log)) in every_refusal(path, REFUSED)
    assert target.exists() is (kind == "link")


@pytest.mark.parametrize("side", SIDES)
def test_what_a_new_database_would_find_beside_it_is_refused_before_it_is_made(home, side):
    """A log that waits for a database to be made keeps it from being made."""
    plant(home / f"db{side}", bits=0o644)
    with closing(SqliteStore(home / "db")) as store:
        assert side in refusal(lambda: store.write(ALICE, NEW), REFUSED)
    assert [entry.name for entry in home.iterdir()] == [f"db{side}"]


@pytest.mark.parametrize("bits", [0o600, 0o400])
def test_the_logs_of_a_server_that_was_killed_are_used(home, path, tmp_path, bits):
    """What SQLite itself leaves behind is nothing to refuse."""
    with closing(SqliteStore(path)) as store:
        store.write(ALICE, Change({"authPassword": (FORGED,)}))
        for side in ("", "-wal", "-shm"):
            shutil.copy(f"{path}{side}", tmp_path / f"copy{side}")
    for side in ("", "-wal", "-shm"):
        (tmp_path / f"copy{side}").rename(f"{path}{side}")
        Path(f"{path}{side}").chmod(0o600)
    Path(f"{path}-shm").chmod(bits if os.geteuid() == 0 else 0o600)
    assert verifiers(path) == [FORGED]
