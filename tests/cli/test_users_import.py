"""`sasl users import`: who is in the stores afterwards, whatever was there and came between."""

from __future__ import annotations

import json
import os
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

import pytest

from cli_runs import PASSWORD, Sasl
from sasl_auxprop.sasldb import SqliteStore
from sasl_core import Result, UserName
from sasl_core.plugin import (
    PASSWORD as PLAINTEXT,
)
from sasl_core.plugin import (
    VERIFIERS,
    Change,
    derive,
    format_verifier,
    verifier_from_salted_password,
)

TIM = UserName("tim")


def verifier(password: str, hash_name: str = "SHA-256", salt: bytes = b"salt") -> str:
    salted = derive(hash_name, password.encode(), salt, 4096)
    made = verifier_from_salted_password(hash_name, salted, salt, 4096)
    return format_verifier(made).decode()


PENCIL = verifier("pencil")
CRAYON = verifier("crayon")


def imported(sasl: Sasl, *options: str, rows: Sequence[dict[str, object]] = ()):
    """Import these JSON lines; the counts of the summary, too."""
    file = sasl.folder / "users.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")
    done = sasl.run("users", "import", "--db", str(sasl.db), *options, str(file))
    return done, counts(done.stdout)


def counts(summary: str) -> dict[str, int]:
    rows = [line.split(None, 2) for line in summary.splitlines()[1:]]
    return {row[0]: int(row[1]) for row in rows if int(row[1])}


def look_up(sasl: Sasl, user: UserName, *names: str):
    with closing(SqliteStore(sasl.db)) as store:
        return store.read(user, names)


def user_count(sasl: Sasl) -> int:
    with closing(sqlite3.connect(sasl.db, timeout=30)) as connection:
        return int(connection.execute("SELECT count(*) FROM users").fetchone()[0])


def test_users_come_with_all_they_have(sasl: Sasl) -> None:
    """Verifiers of several hashes, properties, state; under the canonical name."""
    rows: list[dict[str, object]] = [
        {"user": " tim ", "verifiers": [PENCIL, verifier("pencil", "SHA-512")]},
        {
            "user": "ann@example.com",
            "verifiers": [CRAYON],
            "properties": {"mailHost": ["mx1", "mx2"], "blob": {"base64": "/w=="}},
        },
        {"user": "\u2168", "verifiers": [PENCIL], "disabled": True},
    ]
    done, came = imported(sasl, rows=rows)
    assert (done.returncode, done.stderr, came) == (0, "", {"created": 3})
    found = look_up(sasl, TIM, VERIFIERS)
    assert sorted(found.verifiers) == ["SHA-256", "SHA-512"]
    assert format_verifier(found.verifiers["SHA-256"]).decode() == PENCIL
    found = look_up(sasl, UserName("ann", "example.com"), "mailHost", "blob")
    assert found.values == {"mailHost": (b"mx1", b"mx2"), "blob": (b"\xff",)}
    assert look_up(sasl, UserName("IX")).result is Result.DISABLED


def test_whoever_is_imported_logs_in(sasl: Sasl) -> None:
    """By SCRAM and by PLAIN, with the password that the verifier is of; who is locked does not."""
    rows: list[dict[str, object]] = [
        {"user": "tim", "verifiers": [verifier(PASSWORD)]},
        {"user": "ann", "verifiers": [verifier(PASSWORD)], "disabled": True},
    ]
    assert imported(sasl, rows=rows)[0].returncode == 0
    with sasl.serving("--db", str(sasl.db)) as served:
        url = f"smtp://{served.address}"
        for mechanism in ("SCRAM-SHA-256", "PLAIN"):
            done = sasl.log_in(url, "--mechanism", mechanism)
            assert done.returncode == 0, done.stderr
        locked = sasl.run("auth", url, "--user", "ann", "-p", stdin=PASSWORD.encode())
        assert locked.returncode == 1


def test_csv_and_standard_input(sasl: Sasl) -> None:
    """The format by the file's name, or by --from where there is none."""
    text = f"user,verifiers,property:mailHost\ntim,{PENCIL},mx1\n".encode()
    file = sasl.folder / "users.CSV"
    file.write_bytes(text)
    done = sasl.run("users", "import", "--db", str(sasl.db), str(file))
    assert (done.returncode, counts(done.stdout)) == (0, {"created": 1})
    done = sasl.run("users", "import", "--db", str(sasl.db), "--from", "csv", "-", stdin=text)
    assert (done.returncode, counts(done.stdout)) == (0, {"unchanged": 1})
    done = sasl.run("users", "import", "--db", str(sasl.db), "-", stdin=text)
    assert done.returncode == 1
    assert "--from: csv, jsonl, postgresql, dovecot, mongodb, cyrus" in done.stderr


def test_who_is_there_stays_as_he_is(sasl: Sasl) -> None:
    """An equal user is unchanged; one with another secret, state or property is a conflict."""
    old: list[dict[str, object]] = [
        {"user": "same", "verifiers": [PENCIL], "properties": {"mailHost": "mx1"}},
        {"user": "secret", "verifiers": [PENCIL]},
        {"user": "more", "verifiers": [PENCIL, verifier("pencil", "SHA-512")]},
        {"user": "state", "verifiers": [PENCIL]},
        {"user": "locked", "verifiers": [PENCIL], "disabled": True},
        {"user": "lockedsame", "verifiers": [PENCIL], "disabled": True},
        {"user": "lockedsilent", "verifiers": [PENCIL], "disabled": True},
        {"user": "lockedother", "verifiers": [CRAYON], "disabled": True},
        {"user": "property", "verifiers": [PENCIL], "properties": {"mailHost": "mx1"}},
    ]
    assert imported(sasl, rows=old)[1] == {"created": 9}
    new: list[dict[str, object]] = [
        {"user": "same", "verifiers": [PENCIL]},
        {"user": "secret", "verifiers": [CRAYON]},
        {"user": "more", "verifiers": [PENCIL]},
        {"user": "state", "verifiers": [PENCIL], "disabled": True},
        {"user": "locked", "verifiers": [PENCIL], "disabled": False},
        {"user": "lockedsame", "verifiers": [PENCIL], "disabled": True},
        {"user": "lockedsilent", "verifiers": [PENCIL]},
        {"user": "lockedother", "verifiers": [PENCIL], "disabled": True},
        {"user": "property", "verifiers": [PENCIL], "properties": {"mailHost": "mx2"}},
        {"user": "new", "verifiers": [PENCIL]},
    ]
    done, came = imported(sasl, rows=new)
    assert done.returncode == 1
    assert came == {"created": 1, "unchanged": 3, "conflict": 6}
    said = dict(line.split(": ", 3)[2:] for line in done.stderr.splitlines())
    assert said == {
        "secret": "is there already, with other secrets",
        "more": "is there already, with other secrets",
        "state": "is there already, with other state (it is enabled)",
        "locked": "is there already, with other state (it is disabled)",
        "lockedother": "is there already, with other secrets or properties",
        "property": "is there already, with other properties",
    }
    assert imported(sasl, rows=old)[1] == {"unchanged": 9}


def test_replace_makes_them_the_files(sasl: Sasl) -> None:
    """Every other secret is gone, plaintext and hashes too; what the file does not name stays."""
    config = sasl.folder / "sasl.toml"
    config.write_text(f"[auxprop.sasldb]\npath = '{sasl.db}'\nplaintext = true\n")
    with closing(SqliteStore(sasl.db, plaintext=True)) as store:
        values = {
            VERIFIERS: (CRAYON.encode(), verifier("crayon", "SHA-512").encode()),
            PLAINTEXT: (b"crayon",),
            "passwordHash": (b"{SSHA}x",),
            "mailHost": (b"mx1",),
            "alias": (b"t",),
        }
        assert store.write(TIM, Change(values, create=True, disabled=True)) is Result.OK
    file = sasl.folder / "users.jsonl"
    row: dict[str, object] = {"user": "tim", "verifiers": [PENCIL], "disabled": False}
    row["properties"] = {"mailHost": "mx2"}
    file.write_text(json.dumps(row) + "\n")
    command = ("users", "import", "--config", str(config), str(file))
    assert counts(sasl.run(*command).stdout) == {"conflict": 1}
    assert counts(sasl.run(*command, "--replace", "--dry-run").stdout) == {"replaced": 1}
    assert counts(sasl.run(*command).stdout) == {"conflict": 1}
    assert counts(sasl.run(*command, "--replace").stdout) == {"replaced": 1}
    assert counts(sasl.run(*command, "--replace").stdout) == {"unchanged": 1}
    found = look_up(sasl, TIM, VERIFIERS, PLAINTEXT, "passwordHash", "mailHost", "alias")
    assert found.result is Result.OK
    assert [format_verifier(v).decode() for v in found.verifiers.values()] == [PENCIL]
    assert found.values == {"mailHost": (b"mx2",), "alias": (b"t",)}


def test_one_name_twice(sasl: Sasl) -> None:
    """Equal ones are one user; the second of two that differ never takes the first one's place."""
    same: dict[str, object] = {"user": "tim", "verifiers": [PENCIL]}
    other: dict[str, object] = {"user": "tim", "verifiers": [CRAYON]}
    done, came = imported(sasl, rows=[same, same, other])
    assert (done.returncode, came) == (1, {"created": 1, "unchanged": 1, "conflict": 1})
    done, came = imported(sasl, "--replace", rows=[same, other])
    assert (done.returncode, came) == (1, {"unchanged": 1, "refused": 1})
    assert "twice, first in line 1" in done.stderr
    assert format_verifier(look_up(sasl, TIM, VERIFIERS).verifiers["SHA-256"]).decode() == PENCIL


def test_plaintext_is_derived_when_asked_for(sasl: Sasl) -> None:
    """By the mechanisms, as `sasl passwd` has it; again it is unchanged, another is a conflict."""
    row: dict[str, object] = {"user": "tim", "password": PASSWORD, "properties": {"a": "b"}}
    done, came = imported(sasl, rows=[row])
    assert (done.returncode, came) == (1, {"refused": 1})
    assert "--derive" in done.stderr
    assert not sasl.db.exists()
    done, came = imported(sasl, "--derive", "--dry-run", rows=[row])
    assert (done.returncode, came, sasl.db.exists()) == (0, {"created": 1}, False)
    assert imported(sasl, "--derive", rows=[row])[1] == {"created": 1}
    kept = look_up(sasl, TIM, VERIFIERS, "a")
    assert kept.verifiers["SHA-256"].iterations == 15000
    assert kept.values == {"a": (b"b",)}
    assert imported(sasl, "--derive", rows=[row])[1] == {"unchanged": 1}
    assert look_up(sasl, TIM, VERIFIERS).verifiers == kept.verifiers
    other = row | {"password": "another"}
    assert imported(sasl, "--derive", rows=[other])[1] == {"conflict": 1}
    assert imported(sasl, "--derive", "--replace", rows=[other])[1] == {"replaced": 1}
    assert imported(sasl, "--derive", rows=[other])[1] == {"unchanged": 1}
    done, came = imported(sasl, "--derive", rows=[{"user": "x", "password": "\u0007" + PASSWORD}])
    assert came == {"refused": 1}
    assert "password cannot be used" in done.stderr


def test_no_more_rounds_are_derived_than_the_cap(sasl: Sasl) -> None:
    """A verifier in the store that would take a quarter of an hour is a conflict at once."""
    dear = PENCIL.replace("$4096:", "$2147483647:").encode()
    with closing(SqliteStore(sasl.db)) as store:
        assert store.write(TIM, Change({VERIFIERS: (dear,)}, create=True)) is Result.OK
    assert imported(sasl, "--derive", rows=[{"user": "tim", "password": "p"}])[1] == {"conflict": 1}


def test_a_locked_user_with_a_password(sasl: Sasl) -> None:
    """It is made locked, and unchanged the next time."""
    row: dict[str, object] = {"user": "tim", "password": PASSWORD, "disabled": True}
    assert imported(sasl, "--derive", rows=[row])[1] == {"created": 1}
    assert look_up(sasl, TIM).result is Result.DISABLED
    assert imported(sasl, "--derive", rows=[row])[1] == {"unchanged": 1}
    row["disabled"] = False
    assert imported(sasl, "--derive", rows=[row])[1] == {"conflict": 1}


def test_hashes_are_kept_when_asked_for(sasl: Sasl) -> None:
    """As the property passwordHash, one value to a hash; otherwise the scheme is named."""
    file = sasl.folder / "passwd"
    file.write_text("tim:{SSHA512}QUJD:1:1::/h::\n")
    command = ("users", "import", "--db", str(sasl.db), "--from", "dovecot", str(file))
    done = sasl.run(*command)
    assert (done.returncode, counts(done.stdout)) == (1, {"refused": 1})
    assert "{SSHA512}" in done.stderr
    assert "QUJD" not in done.stderr
    assert counts(sasl.run(*command, "--keep-hashes").stdout) == {"created": 1}
    assert look_up(sasl, TIM, "passwordHash").values == {"passwordHash": (b"{SSHA512}QUJD",)}
    assert counts(sasl.run(*command, "--keep-hashes").stdout) == {"unchanged": 1}


def test_realms_are_added_and_left_off(sasl: Sasl) -> None:
    """--realm is that of bare names; --strip-realm leaves one off, before."""
    rows: list[dict[str, object]] = [
        {"user": "tim", "verifiers": [PENCIL]},
        {"user": "ann@localhost", "verifiers": [PENCIL]},
        {"user": "bob@other", "verifiers": [PENCIL]},
    ]
    assert imported(sasl, "--strip-realm", "localhost", rows=rows)[1] == {"created": 3}
    assert look_up(sasl, UserName("ann")).result is Result.OK
    options = ("--strip-realm", "localhost", "--realm", "example.com")
    assert imported(sasl, *options, rows=rows)[1] == {"created": 2, "unchanged": 1}
    assert look_up(sasl, UserName("ann", "example.com")).result is Result.OK
    assert look_up(sasl, UserName("tim", "example.com")).result is Result.OK


def test_a_dry_run_writes_nothing(sasl: Sasl) -> None:
    """Not even the database; and tells what would come of each."""
    rows: list[dict[str, object]] = [{"user": "tim", "verifiers": [PENCIL]}, {"user": "bad"}]
    done, came = imported(sasl, "--dry-run", rows=rows)
    assert (done.returncode, came) == (1, {"created": 1, "refused": 1})
    assert done.stdout.startswith("nothing is written")
    assert not sasl.db.exists()
    imported(sasl, rows=rows)
    rows[0]["verifiers"] = [CRAYON]
    assert imported(sasl, "--dry-run", rows=rows)[1] == {"conflict": 1, "refused": 1}
    assert imported(sasl, "--dry-run", "--replace", rows=rows)[1] == {"replaced": 1, "refused": 1}
    assert format_verifier(look_up(sasl, TIM, VERIFIERS).verifiers["SHA-256"]).decode() == PENCIL


def test_the_report_has_every_refusal(sasl: Sasl) -> None:
    """Line, user, reason, as JSON; mode 0600; ten of them are named on standard error."""
    rows: list[dict[str, object]] = [
        {"user": f"u{n}", "verifiers": [PENCIL[:-1] + "!"]} for n in range(12)
    ]
    rows.append({"user": "a b", "verifiers": [PENCIL]})
    rows.append({"user": "noted", "verifiers": [PENCIL], "password": PASSWORD})
    report = sasl.folder / "report.jsonl"
    done, came = imported(sasl, "--report", str(report), rows=rows)
    assert came == {"created": 1, "refused": 13, "noted": 1}
    assert len(done.stderr.splitlines()) == 11
    assert "--report FILE keeps all" in done.stderr.splitlines()[-1]
    told = [json.loads(line) for line in report.read_text().splitlines()]
    assert [each["line"] for each in told] == list(range(1, 15))
    assert {each["outcome"] for each in told} == {"refused", "note"}
    assert "white space" in told[12]["reason"]
    assert set(told[0]) == {"line", "user", "outcome", "reason"}
    assert report.stat().st_mode & 0o777 == 0o600
    text = report.read_text() + done.stdout + done.stderr
    assert not any(part in text for part in (PASSWORD, *PENCIL.split("$")[2].split(":")))
    done, _ = imported(sasl, "--report", str(report), "--quiet", rows=rows)
    assert (done.returncode, done.stderr) == (1, "")
    assert len(report.read_text().splitlines()) == 14


def test_the_report_spoils_no_other_file(sasl: Sasl) -> None:
    """A slip on the command line costs neither the database nor the file of users."""
    rows: list[dict[str, object]] = [{"user": "tim", "verifiers": [PENCIL]}]
    imported(sasl, rows=rows)
    for path in (sasl.db, sasl.folder / "users.jsonl"):
        before = path.read_bytes()
        done, _ = imported(sasl, "--report", str(path), rows=rows)
        assert done.returncode == 1
        assert "is there already, and is no report" in done.stderr
        assert path.read_bytes() == before


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (("nowhere.csv",), "cannot be read: No such file"),
        ((".", "--from", "csv"), "cannot be read: Is a directory"),
        (("empty.csv",), "the file is empty"),
        (("empty.csv", "--from", "cyrus"), "it is no dump of a sasldb"),
        (("empty.csv", "--report", "no/such/folder"), "cannot be written"),
    ],
)
def test_what_cannot_be_imported_at_all(
    sasl: Sasl, arguments: tuple[str, ...], problem: str
) -> None:
    """One line, 1, and no database."""
    (sasl.folder / "empty.csv").touch()
    done = sasl.run("users", "import", "--db", str(sasl.db), *arguments)
    assert done.returncode == 1
    assert problem in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert not sasl.db.exists()


def test_options_before_the_command_are_not_lost(sasl: Sasl) -> None:
    """`sasl users --db X import` would import into another store: it is refused."""
    done = sasl.run("users", "--db", str(sasl.db), "list")
    assert done.returncode == 1
    assert "options go behind the command: sasl users list" in done.stderr
    sasl.user("tim")
    for command in (("users",), ("users", "list")):
        assert "tim" in sasl.run(*command, "--db", str(sasl.db)).stdout


def test_several_stores_hold_the_same(sasl: Sasl) -> None:
    """Each store that can be written gets the users; one of them may have been interrupted."""
    config = sasl.folder / "sasl.toml"
    config.write_text(
        f"auxprop_plugin = ['memory', 'sasldb']\n[auxprop.sasldb]\npath = '{sasl.db}'\n"
    )
    file = sasl.folder / "users.jsonl"
    file.write_text(json.dumps({"user": "tim", "verifiers": [PENCIL]}) + "\n")
    command = ("users", "import", "--config", str(config), str(file))
    assert counts(sasl.run(*command).stdout) == {"created": 1}
    # The store in memory is empty again, sasldb is not.
    assert counts(sasl.run(*command).stdout) == {"created": 1}
    assert user_count(sasl) == 1


# --- interruptions -----------------------------------------------------------------------------

BY_SIGNAL = """
import signal, sys
# Whoever runs us in the background has had SIGINT ignored, which is inherited.
signal.signal(signal.SIGINT, signal.default_int_handler)
from sasl_cli import main
sys.exit(main())
"""


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT], ids=["kill -9", "Ctrl-C"])
def test_an_import_that_was_interrupted_goes_on(sasl: Sasl, number: signal.Signals) -> None:
    """Whole batches are there, no user twice; started again it ends with exactly the file's."""
    total = 30_000
    rows = [f"u{n},{PENCIL},mx{n % 7}" for n in range(total)]
    file = sasl.folder / "users.csv"
    file.write_text("user,verifiers,property:mailHost\n" + "\n".join(rows) + "\n")
    arguments = ["users", "import", "--db", str(sasl.db), str(file)]
    process = subprocess.Popen(
        [sys.executable, "-P", "-c", BY_SIGNAL, *arguments],
        cwd=sasl.folder,
        env=sasl.environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        deadline = time.monotonic() + 60
        while not (sasl.db.exists() and user_count(sasl)):
            assert time.monotonic() < deadline
            assert process.poll() is None, process.communicate()
        process.send_signal(number)
        out, err = process.communicate(timeout=30)
    finally:
        process.kill()
        process.wait()
    there = user_count(sasl)
    assert 0 < there < total
    assert there % 1000 == 0
    if number is signal.SIGINT:
        assert process.returncode == 130
        assert "start it again to go on" in err
        assert counts(out).get("created", 0) <= there
    again = sasl.run(*arguments)
    assert again.returncode == 0, again.stderr
    assert counts(again.stdout) == {"created": total - there, "unchanged": there}
    assert user_count(sasl) == total
    found = look_up(sasl, UserName(f"u{total - 1}"), VERIFIERS, "mailHost")
    assert format_verifier(found.verifiers["SHA-256"]).decode() == PENCIL


def test_memory_does_not_grow_with_the_file(sasl: Sasl) -> None:
    """Twenty thousand users more need no more memory than the first."""
    code = """
    import resource, sys
    from sasl_cli import main
    status = main()
    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, file=sys.stderr)
    sys.exit(status)
    """
    used: list[int] = []
    for total in (2_000, 22_000):
        file = sasl.folder / f"{total}.csv"
        rows = "".join(f"u{n},{PENCIL}\n" for n in range(total))
        file.write_text(f"user,verifiers\n{rows}")
        done = sasl.run(
            "users", "import", "-q", "--db", str(sasl.folder / f"{total}.db"), str(file), code=code
        )
        assert counts(done.stdout) == {"created": total}
        used.append(int(done.stderr.split()[-1]))
    assert used[1] - used[0] < 6_000  # KiB; the file itself has 3 MB


# --- progress ----------------------------------------------------------------------------------


def test_without_a_terminal_progress_is_lines(sasl: Sasl, monkeypatch: pytest.MonkeyPatch) -> None:
    """On standard error, now and then; none with --quiet."""
    monkeypatch.setattr("sasl_cli.progress.LINE_EVERY", 0.0)
    rows: list[dict[str, object]] = [{"user": f"u{n}", "verifiers": [PENCIL]} for n in range(1500)]
    done, _ = imported(sasl, rows=rows)
    assert "sasl: importing: 1,500 users, 100 %" in done.stderr.splitlines()
    done, _ = imported(sasl, "-q", rows=rows)
    assert done.stderr == ""


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no pseudo-terminals of this kind")
def test_on_a_terminal_progress_is_a_bar(sasl: Sasl) -> None:
    """Drawn on standard error alone, with a share and a number of users; whole at the end."""
    file = sasl.folder / "users.csv"
    rows = "".join(f"u{n},{PENCIL}\n" for n in range(1500))
    file.write_text(f"user,verifiers\n{rows}bad,x\n")
    ours, theirs = os.openpty()
    shown = b""
    try:
        process = subprocess.Popen(
            [sys.executable, "-P", "-m", "sasl_cli", "users", "import", "--db", sasl.db, file],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=theirs,
            cwd=sasl.folder,
            env=sasl.environment() | {"TERM": "xterm-256color"},
        )
        os.close(theirs)
        while True:
            try:
                more = os.read(ours, 4096)
            except OSError:
                break
            if not more:
                break
            shown += more
        out, _ = process.communicate(timeout=30)
    finally:
        os.close(ours)
    assert process.returncode == 1
    assert counts(out.decode()) == {"created": 1500, "refused": 1}
    assert b"\x1b" not in out
    text = shown.decode()
    assert "\u2501" in text
    assert "100%" in text
    assert "1,501 users" in text
    assert "line 1502: bad: " in text
    assert "Traceback" not in text


def test_the_file_is_named_by_bytes_of_any_kind(sasl: Sasl) -> None:
    """A name that is no UTF-8 is opened, or refused in one line."""
    path = Path(os.fsdecode(os.fsencode(sasl.folder) + b"/caf\xe9.csv"))
    path.write_text(f"user,verifiers\ntim,{PENCIL}\n")
    done = sasl.run("users", "import", "--db", str(sasl.db), os.fsencode(path))
    assert done.returncode == 0, done.stderr
