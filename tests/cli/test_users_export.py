"""`sasl users export`: every form is read again, and verifiers stay where they are wanted."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from contextlib import closing

import pytest

from cli_runs import Sasl
from sasl_auxprop.sasldb import SqliteStore
from sasl_core import Result, UserName
from sasl_core.plugin import PASSWORD as PLAINTEXT
from sasl_core.plugin import VERIFIERS, Change
from store_kit import make_verifier

SHA256 = make_verifier("pencil")
SHA512 = make_verifier("pencil", "SHA-512")
SHA1 = make_verifier("pencil", "SHA-1")
SECRET = b"plaintext-7677"


@pytest.fixture
def filled(sasl: Sasl) -> Sasl:
    """tim, with everything; Ann with a name that has to be quoted; one who is locked."""
    users: dict[UserName, Change] = {
        UserName("tim", "example.com"): Change(
            {
                VERIFIERS: (SHA256, SHA512),
                "mailHost": (b'mx,"1"',),
                "blob": (b"\xff", b"a"),
                PLAINTEXT: (SECRET,),
            },
            create=True,
        ),
        UserName("a\"n\\n'\u00e9"): Change({VERIFIERS: (SHA256, SHA1)}, create=True),
        UserName("locked"): Change({VERIFIERS: (SHA256,)}, create=True, disabled=True),
    }
    with closing(SqliteStore(sasl.db, plaintext=True)) as store:
        for user, change in users.items():
            assert store.write(user, change) is Result.OK
    return sasl


def export(sasl: Sasl, *options: str):
    return sasl.run("users", "export", "--db", str(sasl.db), *options)


@pytest.mark.parametrize(
    ("target", "options", "back", "written"),
    [
        ("jsonl", ("--property", "mailHost", "--property", "blob"), (), 3),
        ("csv", ("--property", "mailHost"), (), 3),
        ("dovecot", (), (), 2),
        ("postgresql", (), (), 2),
        ("mongodb", (), ("--strip-realm", "admin"), 2),
        ("cyrus", ("--realm", "localhost"), ("--strip-realm", "localhost"), 2),
    ],
)
def test_what_is_exported_can_be_imported(
    filled: Sasl, target: str, options: tuple[str, ...], back: tuple[str, ...], written: int
) -> None:
    """Into an empty store the same users; into the old one they are unchanged, or say why not."""
    file = filled.folder / f"out.{target}"
    done = export(filled, "--format", target, "-o", str(file), *options)
    assert f"{written} users written" in done.stderr
    assert done.returncode == (0 if written == 3 else 1)
    assert done.stdout == ""
    assert file.stat().st_mode & 0o777 == 0o600
    assert SECRET not in file.read_bytes()
    new = filled.folder / "new.db"
    command = ("users", "import", "--from", target, *back, str(file))
    done = filled.run(*command, "--db", str(new))
    assert done.returncode == 0, done.stderr
    with closing(SqliteStore(new)) as store:
        assert len(list(store.list_users())) == written
        tim = store.read(UserName("tim", "example.com"), [VERIFIERS, "mailHost", "blob"])
        assert SHA256 in {f.encode() for f in _texts(tim)}
        ann = store.read(UserName("a\"n\\n'\u00e9"), [VERIFIERS])
        assert SHA256.decode() in _texts(ann)
        locked = store.read(UserName("locked"), [])
        assert locked.result is (Result.DISABLED if written == 3 else Result.NOUSER)
        if target == "jsonl":
            assert tim.values == {"mailHost": (b'mx,"1"',), "blob": (b"\xff", b"a")}
            assert len(tim.verifiers) == 2


def _texts(found) -> set[str]:
    from sasl_core.plugin import format_verifier

    return {format_verifier(each).decode() for each in found.verifiers.values()}


def test_who_cannot_be_written_is_named(filled: Sasl) -> None:
    """And the others are written."""
    with closing(SqliteStore(filled.db)) as store:
        awkward: dict[str, dict[str, tuple[bytes, ...]]] = {
            "x" * 64: {VERIFIERS: (SHA256,)},
            "co:lon": {VERIFIERS: (SHA256,)},
            "sha512": {VERIFIERS: (SHA512,)},
            "nothing": {"mailHost": (b"a\nb",)},
            "lines": {VERIFIERS: (SHA256,), "mailHost": (b"a\nb",)},
            "two": {VERIFIERS: (SHA256,), "mailHost": (b"a", b"b")},
        }
        for name, values in awkward.items():
            assert store.write(UserName(name), Change(values, create=True)) is Result.OK
    wrong = {
        "postgresql": {"x" * 64: "longer than the 63 bytes", "sha512": "no verifier of SHA-256"},
        "dovecot": {"co:lon": "no form for", "sha512": "no verifier of SHA-256 or SHA-1"},
        "mongodb": {"sha512": "no verifier of SHA-256"},
        "cyrus": {"two": "has no realm"},
        "csv": {"lines": "CSV has no form for", "two": "several values"},
        "jsonl": {"nothing": "has no verifier"},
    }
    for target, reasons in wrong.items():
        more = ("--property", "mailHost") if target in ("csv", "jsonl") else ()
        done = export(filled, "--format", target, *more)
        assert done.returncode == 1
        assert "nothing has no verifier" in done.stderr
        for user, reason in reasons.items():
            assert any(user in line and reason in line for line in done.stderr.splitlines())
        if target != "cyrus":
            assert "two" in done.stdout if target != "csv" else "sha512" in done.stdout


def test_hashes_go_along(sasl: Sasl) -> None:
    """To our own forms beside the verifier, to Dovecot where there is none; back by request."""
    with closing(SqliteStore(sasl.db)) as store:
        change = Change({"passwordHash": (b"{SSHA}abc",)}, create=True)
        assert store.write(UserName("tim"), change) is Result.OK
    for target in ("jsonl", "csv", "dovecot"):
        file = sasl.folder / f"out.{target}"
        assert export(sasl, "--format", target, "-o", str(file)).returncode == 0
        assert "{SSHA}abc" in file.read_text()
        command = ("users", "import", "--from", target, "--db", str(sasl.db), str(file))
        done = sasl.run(*command, "--keep-hashes")
        assert done.returncode == 0
        assert "unchanged  1" in done.stdout
    assert export(sasl, "--format", "postgresql").returncode == 1


def test_nothing_is_written_over(filled: Sasl) -> None:
    """A file that is there, or a link, stays; a property that is a secret is not exported."""
    file = filled.folder / "there"
    file.write_text("mine")
    link = filled.folder / "link"
    link.symlink_to(filled.folder / "nowhere")
    for path in (file, link):
        done = export(filled, "-o", str(path))
        assert done.returncode == 1
        assert "is there already" in done.stderr
    assert file.read_text() == "mine"
    for name in ("userPassword", "USERPASSWORD", "authPassword", "*x"):
        done = export(filled, "--property", name)
        assert (done.returncode, done.stdout) == (1, "")
    done = export(filled, "--format", "dovecot", "--property", "mailHost")
    assert "has no room for properties" in done.stderr


def test_a_failed_export_leaves_no_file(filled: Sasl) -> None:
    """Half a list of users would pass for a whole one."""
    file = filled.folder / "out"
    filled.db.write_bytes(b"no database at all" * 100)
    done = export(filled, "-o", str(file))
    assert done.returncode == 1
    assert not file.exists()


def test_json_lines_are_text(filled: Sasl) -> None:
    """Names as they are; the locked user's name and state alone."""
    done = export(filled)
    rows = {row["user"]: row for row in map(json.loads, done.stdout.splitlines())}
    assert rows["locked"] == {"user": "locked", "disabled": True}
    assert rows["tim@example.com"]["verifiers"] == [SHA256.decode(), SHA512.decode()]
    assert "\u00e9" in done.stdout


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no pseudo-terminals of this kind")
@pytest.mark.parametrize("asked", [False, True])
def test_a_terminal_sees_no_verifier_unless_it_is_asked_for(filled: Sasl, asked: bool) -> None:
    """What is on a screen is in a log, on a photograph and in a buffer."""
    ours, theirs = os.openpty()
    more = ["--to-terminal"] if asked else []
    try:
        done = subprocess.run(
            [sys.executable, "-P", "-m", "sasl_cli", "users", "export", "--db", filled.db, *more],
            stdin=subprocess.DEVNULL,
            stdout=theirs,
            stderr=subprocess.PIPE,
            cwd=filled.folder,
            env=filled.environment(),
            timeout=30,
            check=False,
        )
        os.close(theirs)
        shown = b""
        while True:
            try:
                more_shown = os.read(ours, 4096)
            except OSError:
                break
            if not more_shown:
                break
            shown += more_shown
    finally:
        os.close(ours)
    assert done.returncode == (0 if asked else 1)
    assert (SHA256 in shown) is asked
    assert (b"--output FILE" in done.stderr) is not asked
