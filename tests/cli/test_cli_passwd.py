"""`sasl passwd` and `sasl users`: what the stores then hold, and what was said."""

from __future__ import annotations

import os
import select
import subprocess
import sys
from pathlib import Path

import pytest

from cli_runs import PASSWORD, Sasl, lines
from sasl_core import AuthenticationError, Server


def passwd(sasl: Sasl, *arguments: str, stdin: bytes = PASSWORD.encode() + b"\n"):
    return sasl.run("passwd", "--db", str(sasl.db), *arguments, stdin=stdin)


def logs_in(sasl: Sasl, user: str, password: str = PASSWORD) -> bool:
    """Whether a server of the same store lets the user in."""
    tables = {"auxprop": {"sasldb": {"path": str(sasl.db)}}, "log_level": "none"}
    with Server("imap", "localhost", config=tables) as server:
        try:
            server.checkpass(user, password)
        except AuthenticationError:
            return False
        return True


def test_a_user_is_made_and_can_log_in(sasl: Sasl) -> None:
    """-c makes the user, each target says what it did, and the password is the right one."""
    done = passwd(sasl, "-c", "-p", "tim")
    assert (done.returncode, done.stderr) == (0, "")
    assert lines(done.stdout) == [
        "tim: password set",
        "  auxprop:sasldb  ok",
        "  SCRAM-SHA-256   ok",
    ]
    assert logs_in(sasl, "tim")
    assert not logs_in(sasl, "tim", "another")


def test_hashes_of_verifiers(sasl: Sasl) -> None:
    """--hash replaces those that are configured, and is repeated; a wrong one is named."""
    done = passwd(sasl, "-c", "-p", "tim", "--hash", "SHA-512", "--hash", "sha-1")
    assert done.returncode == 0
    assert lines(done.stdout)[1:] == [
        "  auxprop:sasldb  ok",
        "  SCRAM-SHA-1     ok",
        "  SCRAM-SHA-512   ok",
    ]
    shown = sasl.run("users", "--db", str(sasl.db)).stdout
    assert "SHA-512 (15000 rounds)" in shown
    assert "SHA-1 (15000 rounds)" in shown
    assert "SHA-256" not in shown
    done = passwd(sasl, "-p", "tim")
    assert "SHA-256 (15000 rounds)" in sasl.run("users", "--db", str(sasl.db)).stdout
    done = passwd(sasl, "-p", "tim", "--hash", "MD5")
    assert done.returncode == 1
    assert "scram_hashes: expected hashes of SCRAM" in done.stderr
    done = sasl.run("passwd", "--db", str(sasl.db), "-d", "tim", "--hash", "SHA-1")
    assert done.returncode == 1
    assert "--hash has nothing to do" in done.stderr


def test_without_c_nobody_is_made(sasl: Sasl) -> None:
    """Neither the user nor the file; the advice is to use -c."""
    done = passwd(sasl, "-p", "tim")
    assert (done.returncode, done.stdout) == (1, "")
    assert "`sasl passwd -c`" in done.stderr
    assert not sasl.db.exists()
    sasl.user("tim")
    done = passwd(sasl, "-p", "ann")
    assert done.returncode == 1
    assert lines(done.stdout)[0] == "  auxprop:sasldb  no such user"
    assert done.stderr == "sasl: there is no user 'ann'; -c creates it\n"


def test_a_new_password_replaces_the_old(sasl: Sasl) -> None:
    """With -c and without, the last password counts alone."""
    for options, password in ((("-c",), "one"), (("-c",), "two"), ((), "three")):
        assert passwd(sasl, *options, "-p", "tim", stdin=password.encode()).returncode == 0
    assert [logs_in(sasl, "tim", word) for word in ("one", "two", "three")] == [False, False, True]


def test_d_locks_the_user_out_until_c_lets_it_in(sasl: Sasl) -> None:
    """-d leaves the user there and lets it in no more; a new password is no pardon, -c is."""
    sasl.user("tim")
    done = passwd(sasl, "-d", "tim", stdin=b"")
    assert (done.returncode, lines(done.stdout)[0]) == (0, "tim: disabled")
    assert not logs_in(sasl, "tim")
    assert lines(sasl.run("users", "--db", str(sasl.db)).stdout)[1].split() == [
        "tim", "-", "sasldb", "disabled", "-",
    ]  # fmt: skip
    done = passwd(sasl, "-p", "tim")
    assert lines(done.stdout)[0] == "tim: password set, but still disabled; -c lets the user in"
    assert not logs_in(sasl, "tim")
    assert passwd(sasl, "-c", "-p", "tim").returncode == 0
    assert logs_in(sasl, "tim")


def test_d_of_nobody_fails(sasl: Sasl) -> None:
    """Who is not there cannot be locked out; -c would not help, and is not advised."""
    sasl.user("tim")
    done = passwd(sasl, "-d", "ann", stdin=b"")
    assert (done.returncode, done.stderr) == (1, "sasl: there is no user 'ann'\n")


@pytest.mark.parametrize(
    ("stdin", "kept"),
    [
        (b"secret", "secret"),
        (b"secret\n", "secret"),
        (b"secret\r\n", "secret"),
        (b"secret\nmore\n", "secret"),
        (b" sec ret \n", " sec ret "),
        ("pässwörd\n".encode(), "pässwörd"),
    ],
)
def test_p_reads_one_line(sasl: Sasl, stdin: bytes, kept: str) -> None:
    """The first line of standard input without its end, and nothing else cut off."""
    assert passwd(sasl, "-c", "-p", "tim", stdin=stdin).returncode == 0
    assert logs_in(sasl, "tim", kept)


@pytest.mark.parametrize(
    ("stdin", "problem"),
    [
        (b"", "standard input is empty"),
        (b"\n", "the password is empty"),
        (b"caf\xe9\n", "the password is no UTF-8"),
        (b"a" * 70_000, "longer than"),
        (b"\xed\xa0\x80\n", "the password is no UTF-8"),
        (b"bell\x07\n", "the password cannot be used"),
    ],
)
def test_a_password_that_cannot_be_one(sasl: Sasl, stdin: bytes, problem: str) -> None:
    """A line that says what is wrong, none of the password, and nothing is made."""
    done = passwd(sasl, "-c", "-p", "tim", stdin=stdin)
    assert done.returncode == 1
    assert problem in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert not any(word in done.stderr for word in ("caf", "bell\\", "aaaa"))
    assert not sasl.db.exists()


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (("-c", "-d", "tim"), "-c and -d exclude each other"),
        (("-d", "-p", "tim"), "-d takes no password"),
        (("-p", "--realm", "example.com", "tim@example.org"), "has a realm already"),
        (("-c", "-p", ""), "user name"),
        (("-c", "-p", "a\nb"), "user name"),
    ],
)
def test_what_cannot_be_asked_for(sasl: Sasl, arguments: tuple[str, ...], problem: str) -> None:
    """Options that exclude each other and names that nobody can have: one line, and 1."""
    done = passwd(sasl, *arguments)
    assert done.returncode == 1
    assert problem in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert not sasl.db.exists()


def test_a_realm_is_added_to_a_bare_name(sasl: Sasl) -> None:
    """--realm and NAME@REALM are the same user."""
    assert passwd(sasl, "-c", "-p", "--realm", "example.com", "tim").returncode == 0
    assert logs_in(sasl, "tim@example.com")
    assert not logs_in(sasl, "tim")
    assert passwd(sasl, "-p", "tim@example.com", stdin=b"another").returncode == 0
    assert logs_in(sasl, "tim@example.com", "another")


def test_the_configuration_says_which_store_and_how(sasl: Sasl) -> None:
    """--config and --appname are followed; --db goes before the file's path."""
    file = sasl.folder / "mine.toml"
    file.write_text(
        f"scram_iteration_counter = 5000\n"
        f"[auxprop.sasldb]\npath = '{sasl.folder / 'global.db'}'\n"
        f"[applications.imap]\nscram_iteration_counter = 6000\n"
        f"[applications.imap.auxprop.sasldb]\npath = '{sasl.db}'\nplaintext = true\n"
    )
    made = sasl.run(
        "passwd", "--config", str(file), "--appname", "imap", "-c", "-p", "tim", stdin=b"hunter2"
    )
    assert made.returncode == 0
    assert logs_in(sasl, "tim", "hunter2")
    assert not (sasl.folder / "global.db").exists()
    listed = sasl.run("users", "--config", str(file), "--appname", "imap")
    assert "SHA-256 (6000 rounds), plaintext" in listed.stdout
    assert "hunter2" not in listed.stdout
    other = sasl.folder / "other.db"
    made = sasl.run(
        "passwd", "--config", str(file), "--db", str(other), "-c", "-p", "ann", stdin=b"x"
    )
    assert made.returncode == 0
    listed = sasl.run("users", "--db", str(other))
    assert lines(listed.stdout)[1].split()[0] == "ann"
    assert "SHA-256 (5000 rounds)" in listed.stdout


def test_users_are_listed_whole(sasl: Sasl) -> None:
    """Every user, however long its name, sorted, with what is kept; no key, no salt."""
    long = "a-user-with-a-name-that-is-much-longer-than-a-terminal-is-wide" * 2
    for user in ("tim", "ann@example.com", long, "pelé"):
        sasl.user(user)
    done = sasl.run("users", "--db", str(sasl.db))
    assert (done.returncode, done.stderr) == (0, "")
    rows = [line.split(None, 4) for line in lines(done.stdout)]
    assert rows[0] == ["USER", "REALM", "STORE", "STATE", "VERIFIERS"]
    assert [row[:2] for row in rows[1:]] == [
        [long, "-"],
        ["pelé", "-"],
        ["tim", "-"],
        ["ann", "example.com"],
    ]
    assert all(row[2:] == ["sasldb", "enabled", "SHA-256 (15000 rounds)"] for row in rows[1:])


def test_users_of_an_empty_or_missing_store(sasl: Sasl) -> None:
    """No file is an error that says so; a file without users is none."""
    missing = sasl.run("users", "--db", str(sasl.db))
    assert missing.returncode == 1
    assert "does not exist" in missing.stderr
    assert not sasl.db.exists()
    (sasl.folder / "memory.toml").write_text('auxprop_plugin = ["memory"]\n')
    empty = sasl.run("users", "--config", str(sasl.folder / "memory.toml"))
    assert (empty.returncode, empty.stdout) == (0, "no users\n")


def test_a_file_that_is_no_store_is_left_alone(sasl: Sasl) -> None:
    """Neither command makes a database of something else, nor shows what is in it."""
    sasl.db.write_bytes(PASSWORD.encode() * 1000)
    before = sasl.db.read_bytes()
    for done in (passwd(sasl, "-c", "-p", "tim"), sasl.run("users", "--db", str(sasl.db))):
        assert done.returncode == 1
        assert len(done.stderr.splitlines()) == 1
    assert sasl.db.read_bytes() == before


def test_without_a_terminal_and_p_nothing_is_asked(sasl: Sasl) -> None:
    """A password would be echoed, or awaited for ever: -p is advised instead."""
    done = subprocess.run(
        [sys.executable, "-P", "-m", "sasl_cli", "passwd", "--db", str(sasl.db), "-c", "tim"],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        check=False,
        cwd=sasl.folder,
        env=sasl.environment(),
        start_new_session=True,
        timeout=30,
    )
    assert done.returncode == 1
    assert b"-p" in done.stderr
    assert len(done.stderr.splitlines()) == 1


ON_A_TERMINAL = """
import fcntl, os, signal, sys, termios
# Whoever runs us in the background has had SIGINT ignored, which is inherited.
signal.signal(signal.SIGINT, signal.default_int_handler)
os.setsid()
fcntl.ioctl(0, termios.TIOCSCTTY, 0)
from sasl_cli import main
sys.exit(main())
"""


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no pseudo-terminals of this kind")
@pytest.mark.parametrize(
    ("typed", "status", "said"),
    [
        ((PASSWORD, PASSWORD), 0, b"tim: password set"),
        ((PASSWORD, "another"), 1, b"the two differ: nothing was changed"),
        (("\x03",), 130, b""),
        (("\x04",), 1, b"there is no terminal"),
    ],
)
def test_on_a_terminal_it_asks_twice_without_echo(
    sasl: Sasl, typed: tuple[str, ...], status: int, said: bytes
) -> None:
    """What is typed is not shown; two that differ change nothing."""
    ours, theirs = os.openpty()
    try:
        process = subprocess.Popen(
            [sys.executable, "-P", "-c", ON_A_TERMINAL, "passwd", "--db", sasl.db, "-c", "tim"],
            stdin=theirs,
            stdout=theirs,
            stderr=theirs,
            cwd=sasl.folder,
            env=sasl.environment(),
        )
        os.close(theirs)
        shown = b""
        for word, prompt in zip(typed, (b"New password: ", b"Once more: "), strict=False):
            while prompt not in shown:
                shown += read(ours)
            os.write(ours, word.encode() + (b"\n" if word.isprintable() else b""))
        shown += drain(ours)
        assert process.wait(30) == status
    finally:
        os.close(ours)
    assert said in shown
    assert PASSWORD.encode() not in shown
    assert b"Traceback" not in shown
    assert Path(sasl.db).exists() is (status == 0)


def read(terminal: int) -> bytes:
    """What the other side says next; fails when it says nothing for half a minute."""
    ready, _, _ = select.select([terminal], [], [], 30)
    assert ready, "the command says nothing, and does not end"
    return os.read(terminal, 1024)


def drain(terminal: int) -> bytes:
    """All that comes until the other side closes."""
    shown = b""
    while True:
        try:
            more = read(terminal)
        except OSError:
            return shown
        if not more:
            return shown
        shown += more
