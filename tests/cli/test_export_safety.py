"""What an export must never do: make two users one, or let a value be more than a value."""

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
from sasl_core.plugin import HASHES, VERIFIERS, Change
from store_kit import make_verifier

TIM = UserName("tim")
PENCIL = make_verifier("pencil")


def add(sasl: Sasl, user: UserName = TIM, **properties: tuple[bytes, ...]) -> None:
    values = {VERIFIERS: (PENCIL,)} | properties
    with closing(SqliteStore(sasl.db)) as store:
        assert store.write(user, Change(values, create=True)) is Result.OK


def export(sasl: Sasl, *options: str):
    return sasl.run("users", "export", "--db", str(sasl.db), *options)


@pytest.mark.parametrize(
    ("options", "realm", "member", "name"),
    [
        (("--realm", "example.com"), "example.com", "user", "tim@example.com"),
        (("--format", "mongodb"), "admin", "_id", "admin.tim"),
    ],
)
def test_an_export_makes_no_two_users_one(
    sasl: Sasl, options: tuple[str, ...], realm: str, member: str, name: str
) -> None:
    """The second of two that would have one name in the file is refused; who reads it is safe."""
    add(sasl)
    add(sasl, UserName("tim", realm))
    add(sasl, UserName("tim", "other"))
    done = export(sasl, *options)
    assert done.returncode == 1
    assert "is written already: two users have this name in the file" in done.stderr
    assert "2 users written; 1 could not be" in done.stderr
    names = [json.loads(line)[member] for line in done.stdout.splitlines()]
    assert len(names) == len(set(names)) == 2
    assert name in names


@pytest.mark.parametrize("target", ["dovecot", "jsonl", "csv"])
@pytest.mark.parametrize(
    "value",
    [
        b"{SHA512-CRYPT}$6$x::::::user=admin",
        b"{SHA512-CRYPT}$6$x\nroot:{PLAIN}x",
        b"{SHA512-CRYPT}$6$x\ry",
        b"{SHA512-CRYPT}$6$x y",
        b"{SHA512-CRYPT}$6$x\xff",
        b"{SHA512-CRYPT}$6$x\x7f",
        b"pencil",
        b"{SSHA}" + b"x" * 4096,
    ],
    ids=["colon", "line", "return", "blank", "latin", "delete", "no hash", "long"],
)
def test_a_hash_that_is_more_than_a_hash_is_refused(sasl: Sasl, target: str, value: bytes) -> None:
    """It would write another field or line, or what no import takes: the user is named."""
    add(sasl, UserName("ann"))
    with closing(SqliteStore(sasl.db)) as store:
        assert store.write(TIM, Change({HASHES: (value,)}, create=True)) is Result.OK
    done = export(sasl, "--format", target)
    assert done.returncode == 1
    assert "sasl: tim has a hash of a password that is neither" in done.stderr
    assert "$6$" not in done.stdout + done.stderr
    assert "root" not in done.stdout
    assert "ann" in done.stdout


def test_a_bare_hash_comes_back(sasl: Sasl) -> None:
    """`$2b$...`, without {SCHEME}, is a passwordHash too."""
    bare = b"$2b$05$" + b"a" * 22 + b"b" * 31
    with closing(SqliteStore(sasl.db)) as store:
        assert store.write(TIM, Change({HASHES: (bare,)}, create=True)) is Result.OK
    for target in ("jsonl", "csv"):
        out = sasl.folder / f"out.{target}"
        assert export(sasl, "--format", target, "-o", str(out)).returncode == 0
        db = sasl.folder / f"{target}.sqlite"
        done = sasl.run("users", "import", "--keep-hashes", "--db", str(db), str(out))
        assert done.returncode == 0, done.stderr
        with closing(SqliteStore(db)) as store:
            assert store.read(TIM, [HASHES]).values == {HASHES: (bare,)}
    assert export(sasl, "--format", "dovecot").stdout == f"tim:{bare.decode()}\n"


def test_a_line_that_no_import_would_read_is_refused(sasl: Sasl) -> None:
    """A store keeps more than a line has room for; that user is named, and the others written."""
    add(sasl, photo=tuple(bytes([65 + n]) * 60_000 for n in range(3)))
    add(sasl, UserName("ann"), photo=tuple(bytes([65 + n]) * 60_000 for n in range(2)))
    out, other = sasl.folder / "out.jsonl", sasl.folder / "other.sqlite"
    done = export(sasl, "--property", "photo", "-o", str(out))
    assert done.returncode == 1
    assert "sasl: tim would be a line of more than the 131072 bytes" in done.stderr
    done = sasl.run("users", "import", "--db", str(other), str(out))
    assert done.returncode == 0, done.stderr
    with closing(SqliteStore(other)) as store:
        assert [len(value) for value in store.read(UserName("ann"), ["photo"]).values["photo"]] == [
            60_000,
            60_000,
        ]


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no pseudo-terminals of this kind")
@pytest.mark.parametrize("target", ["csv", "jsonl"])
def test_values_on_a_terminal_are_no_commands(sasl: Sasl, target: str) -> None:
    """Users choose values; --to-terminal does not hand them the administrator's terminal."""
    add(sasl, title=("\x1b[2J\x9b31m\x7f\u202eb\u00e9".encode(),))
    leader, follower = os.openpty()
    command = [sys.executable, "-P", "-m", "sasl_cli", "users", "export", "--db", str(sasl.db)]
    try:
        try:
            subprocess.run(
                [*command, "--format", target, "--property", "title", "--to-terminal"],
                stdout=follower,
                stderr=subprocess.DEVNULL,
                cwd=sasl.folder,
                env=sasl.environment(),
                timeout=30,
                check=False,
            )
        finally:
            os.close(follower)
        shown = os.read(leader, 65536).decode()
    finally:
        os.close(leader)
    assert "\\x9b31m\\x7f\\u202eb\u00e9" in shown
    assert "SCRAM-SHA-256$" in shown
    assert all(each.isprintable() or each in "\r\n" for each in shown)
