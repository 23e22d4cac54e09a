"""What an import must never do: take somebody over, unlock him, or cost him his secrets."""

from __future__ import annotations

import json
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from cli_runs import Sasl
from sasl_auxprop.sasldb import SqliteStore
from sasl_core import Result, UserName
from sasl_core.plugin import HASHES, VERIFIERS, Change, format_verifier
from store_kit import make_verifier

TIM = UserName("tim")
PENCIL = make_verifier("pencil")
CRAYON = make_verifier("crayon")


def imported(sasl: Sasl, *options: str, rows: list[dict[str, object]]):
    file = sasl.folder / "users.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")
    return sasl.run("users", "import", "--db", str(sasl.db), *options, str(file))


def put(db: Path, user: UserName, change: Change) -> None:
    with closing(SqliteStore(db)) as store:
        assert store.write(user, change) is Result.OK


def add(sasl: Sasl, user: UserName = TIM, *, disabled: bool | None = None) -> None:
    put(sasl.db, user, Change({VERIFIERS: (PENCIL,)}, create=True, disabled=disabled))


def look_up(sasl: Sasl, user: UserName = TIM, *names: str):
    with closing(SqliteStore(sasl.db)) as store:
        return store.read(user, names)


def kept(sasl: Sasl, user: UserName = TIM) -> bytes:
    """The verifier of a user, whom this unlocks."""
    put(sasl.db, user, Change(disabled=False))
    return format_verifier(look_up(sasl, user, VERIFIERS).verifiers["SHA-256"])


def test_stripping_a_realm_makes_nobody_of_another_realm(sasl: Sasl) -> None:
    """`admin@corp` of realm `app` does not become `admin` of the realm `corp`: it is refused."""
    add(sasl, UserName("admin", "corp"))
    rows: list[dict[str, object]] = [
        {"user": "admin@corp", "realm": "app", "verifiers": [CRAYON.decode()]},
        {"user": "ann@app", "verifiers": [CRAYON.decode()]},
    ]
    done = imported(sasl, "--strip-realm", "app", "--replace", rows=rows)
    assert done.returncode == 1
    assert "line 1: admin@corp@app: without @app it would be a user of another realm" in done.stderr
    assert kept(sasl, UserName("admin", "corp")) == PENCIL
    assert kept(sasl, UserName("ann")) == CRAYON


def test_an_export_put_back_costs_no_locked_user_the_verifiers(sasl: Sasl) -> None:
    """Of a locked user an export has the name alone, which is not all of the truth."""
    add(sasl, disabled=True)
    for target in ("jsonl", "csv"):
        out = sasl.folder / f"out.{target}"
        done = sasl.run("users", "export", "--format", target, "--db", str(sasl.db), "-o", str(out))
        assert done.returncode == 0
        done = sasl.run("users", "import", "--replace", "--db", str(sasl.db), str(out))
        assert done.returncode == 0
        assert "unchanged  1" in done.stdout
    assert kept(sasl) == PENCIL


def test_who_has_nothing_to_log_in_with_is_locked_and_keeps_the_rest(sasl: Sasl) -> None:
    """With --replace the lock is the file's, and a plaintext that is not taken takes nothing."""
    add(sasl)
    row: dict[str, object] = {"user": "tim", "password": "x", "disabled": True}
    assert "conflict   1" in imported(sasl, rows=[row]).stdout
    assert "replaced   1" in imported(sasl, "--replace", rows=[row]).stdout
    assert look_up(sasl).result is Result.DISABLED
    assert kept(sasl) == PENCIL


@pytest.mark.parametrize("source", ["csv", "csv with the column", "jsonl", "mongodb", "dovecot"])
def test_a_file_that_says_nothing_of_it_unlocks_nobody(sasl: Sasl, source: str) -> None:
    """--replace with a file that has no word of the lock leaves it, and takes the verifier."""
    add(sasl, disabled=True)
    crayon = CRAYON.decode()
    rounds, salt = crayon.split("$")[1].split(":")
    stored, server = crayon.split("$")[2].split(":")
    credential = {
        "iterationCount": int(rounds),
        "salt": salt,
        "storedKey": stored,
        "serverKey": server,
    }
    document = {"user": "tim", "db": "", "credentials": {"SCRAM-SHA-256": credential}}
    text = {
        "csv": f"user,verifiers\ntim,{crayon}\n",
        "csv with the column": f"user,verifiers,disabled\ntim,{crayon},\n",
        "jsonl": json.dumps({"user": "tim", "verifiers": [crayon]}),
        "mongodb": json.dumps(document),
        "dovecot": f"tim:{{SCRAM-SHA-256}}{rounds},{salt},{stored},{server}\n",
    }[source]
    file = sasl.folder / "f"
    file.write_text(text)
    command = (
        "users",
        "import",
        "--replace",
        "--from",
        source.split(maxsplit=1)[0],
        "--db",
        str(sasl.db),
    )
    assert "replaced   1" in sasl.run(*command, str(file)).stdout
    assert "unchanged  1" in sasl.run(*command, str(file)).stdout
    assert look_up(sasl, TIM, VERIFIERS).result is Result.DISABLED
    assert kept(sasl) == CRAYON


@pytest.mark.parametrize(
    ("source", "text"),
    [
        ("csv", "user,verifiers,disabled\ntim,{},false\n"),
        ("postgresql", "ALTER ROLE tim WITH LOGIN PASSWORD '{}';\n"),
    ],
)
def test_a_file_that_says_so_unlocks(sasl: Sasl, source: str, text: str) -> None:
    """--replace makes the user the file's, whose word on the lock is its own."""
    add(sasl, disabled=True)
    file = sasl.folder / "f"
    file.write_text(text.format(PENCIL.decode()))
    command = ("users", "import", "--from", source, "--db", str(sasl.db), str(file))
    assert "other state (it is disabled)" in sasl.run(*command).stderr
    assert "replaced   1" in sasl.run(*command, "--replace").stdout
    assert look_up(sasl).result is Result.OK


def test_a_role_that_is_locked_further_down_is_refused(sasl: Sasl) -> None:
    """What stands last in SQL counts; it comes too late here, and that is said."""
    file = sasl.folder / "roles.sql"
    file.write_text(
        f"ALTER ROLE tim LOGIN PASSWORD '{PENCIL.decode()}';\n"
        f"ALTER ROLE tim CONNECTION LIMIT 5;\nALTER ROLE tim SET x TO 'y';\n"
        f"ALTER ROLE tim NOLOGIN;\nALTER ROLE tim VALID UNTIL '2020-01-01';\n"
    )
    command = ("users", "import", "--from", "postgresql", "--db", str(sasl.db), str(file))
    for outcome in ("created", "unchanged"):
        done = sasl.run(*command)
        assert (done.returncode, done.stdout.count(f"{outcome:9}  1")) == (1, 1)
        assert "line 4: tim: its NOLOGIN stands behind its password, in line 1" in done.stderr
        assert "line 5: tim: its VALID stands behind" in done.stderr


def test_a_verifier_of_few_rounds_is_noted(sasl: Sasl) -> None:
    """It is taken, for a plain login works; but SCRAM clients refuse it (RFC 7677 section 4)."""
    report = sasl.folder / "report.jsonl"
    weak = make_verifier("pencil", rounds=4095).decode()
    rows: list[dict[str, object]] = [
        {"user": "tim", "verifiers": [weak]},
        {"user": "ann", "verifiers": [PENCIL.decode()]},
    ]
    done = imported(sasl, "--report", str(report), rows=rows)
    assert (done.returncode, "created    2" in done.stdout) == (0, True)
    (said,) = map(json.loads, report.read_text().splitlines())
    assert (said["user"], said["outcome"]) == ("tim", "note")
    assert "4095 rounds" in said["reason"]
    assert "scram_iteration_floor = 4096" in said["reason"]


def test_a_bare_hash_is_kept_and_shown_to_nobody(sasl: Sasl) -> None:
    """`$2b$...` is a passwordHash as `{SCHEME}...` is; a refusal names its kind alone."""
    bare = "$2b$05$" + "a" * 22 + "b" * 31
    rows: list[dict[str, object]] = [{"user": "tim", "hashes": [bare]}]
    done = imported(sasl, rows=rows)
    assert "kept as $2b$, of which no verifier can be made" in done.stderr
    assert bare[7:] not in done.stderr
    assert imported(sasl, "--keep-hashes", rows=rows).returncode == 0
    assert look_up(sasl, TIM, HASHES).values == {HASHES: (bare.encode(),)}


def test_a_file_that_fails_while_it_is_read_is_named(sasl: Sasl) -> None:
    """An I/O error in the middle is the file's, and no fault of the program."""
    memory = Path("/proc/self/mem")
    if not memory.exists():
        pytest.skip("the system has no file that opens and cannot be read")
    done = sasl.run("users", "import", "--db", str(sasl.db), "--from", "jsonl", str(memory))
    assert done.returncode == 1
    assert "'/proc/self/mem' cannot be read any more: " in done.stderr
    assert "unexpected" not in done.stderr


def test_one_bad_verifier_hides_nobody_else_of_a_list(sasl: Sasl) -> None:
    """`sasl users list` names whose verifier it is, lists everybody, and ends with 1."""
    for name in ("ann", "tim"):
        add(sasl, UserName(name))
    with closing(sqlite3.connect(sasl.db)) as connection:
        connection.execute("UPDATE properties SET value = ? WHERE user = 1", (b"SCRAM-SHA-256$x",))
        connection.commit()
    done = sasl.run("users", "list", "--db", str(sasl.db))
    assert done.returncode == 1
    assert "sasl: ann: a stored SCRAM verifier cannot be used" in done.stderr
    rows = {line.split()[0]: line.split(None, 4)[4] for line in done.stdout.splitlines()[1:]}
    assert rows == {"ann": "unreadable", "tim": "SHA-256 (4096 rounds)"}
