"""Users that move between Cyrus SASL, PostgreSQL, GNU SASL and our stores, with their programs."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import TypeAlias

import pytest

from cyrus import CLIENT_GREETING, SERVER_GREETING, hear, say
from peers import Dialogue, run
from postgres import Postgres, serving_postgres
from sasl_auxprop.sasldb import SqliteStore
from sasl_cli.app import run as sasl
from sasl_core import Client, Server, SetpassFlag, UserName
from sasl_core.plugin import VERIFIERS, format_braced_verifier, format_verifier

pytestmark = pytest.mark.interop

Need: TypeAlias = Callable[[str], str]


def logs_in(database: Path, user: str, password: str) -> bool:
    """Whether the user's password opens the account, by SCRAM."""
    with (
        closing(SqliteStore(database)) as store,
        Server("smtp", "localhost", config={}, stores=[store]) as server,
        Client("smtp", "localhost", config={}) as client,
        server.session() as here,
        client.session(authid=user, password=password) as there,
    ):
        said = there.start("SCRAM-SHA-256")
        heard = here.start("SCRAM-SHA-256", said.data)
        while not heard.done:
            said = there.step(heard.data or b"")
            heard = here.step(said.data or b"")
        there.finish(heard.data)
        return here.authid == user


def filled(database: Path, *users: str) -> None:
    """A store with these users; the password of each is its name, backwards."""
    with (
        closing(SqliteStore(database)) as store,
        Server("smtp", "localhost", config={}, stores=[store]) as server,
    ):
        for user in users:
            assert server.setpass(user, user[::-1], SetpassFlag.CREATE).ok


# --- Cyrus SASL --------------------------------------------------------------------------------


def test_users_of_saslpasswd2_come_over(need: Need, tmp_path: Path) -> None:
    """Dumped with and without -p: plaintext is derived, and each logs in with its password."""
    theirs = tmp_path / "sasldb2"
    users = {"tim": "pencil", "ann": "back\\slash", "bob": "p\u00e4ss w\u00f6rd"}
    for user, password in users.items():
        command = [need("saslpasswd2"), "-p", "-c", "-f", str(theirs)]
        run([*command, "-u", "localhost", user], tmp_path, password).expect(0)
    for place, options in enumerate((["-p"], [])):
        dump = tmp_path / f"dump{place}"
        dumped = run([need("db5.3_dump"), *options, str(theirs)], tmp_path)
        dumped.expect(0)
        dump.write_text(dumped.output, "utf-8")
        ours = tmp_path / f"ours{place}"
        arguments = ["users", "import", "-q", "--from", "cyrus", "--db", str(ours), str(dump)]
        assert sasl(arguments) == 1
        assert sasl([*arguments, "--derive", "--strip-realm", "localhost"]) == 0
        for user, password in users.items():
            assert logs_in(ours, user, password)


def test_cyrus_takes_our_verifiers(need: Need, tmp_path: Path) -> None:
    """Exported, loaded into a sasldb, and the user logs in to Cyrus's own server by SCRAM."""
    ours, dump, theirs = tmp_path / "ours", tmp_path / "dump", tmp_path / "sasldb2"
    filled(ours, "tim", "p\u00e4r")
    arguments = ["users", "export", "--format", "cyrus", "--realm", "localhost"]
    assert sasl([*arguments, "--db", str(ours), "-o", str(dump)]) == 0
    run([need("db5.3_load"), "-f", str(dump), str(theirs)], tmp_path).expect(0)
    listed = run([need("sasldblistusers2"), "-f", str(theirs)], tmp_path)
    assert listed.expect(0) == 0
    assert "tim@localhost: authPassword" in listed.output
    assert scram_with_cyrus(need, tmp_path, theirs, "tim", "mit")
    assert not scram_with_cyrus(need, tmp_path, theirs, "tim", "wrong")


def scram_with_cyrus(need: Need, home: Path, database: Path, user: str, password: str) -> bool:
    """Whether our client logs in to Cyrus's sample server by SCRAM-SHA-256."""
    (home / "sample.conf").write_text(
        f"auxprop_plugin: sasldb\nsasldb_path: {database}\nmech_list: SCRAM-SHA-256\n"
    )
    command = [need("stdbuf"), "-oL", need("sasl-sample-server")]
    command += ["-s", "imap", "-d", "localhost", "-u", "localhost", "-m", "SCRAM-SHA-256"]
    with (
        Dialogue(command, home, mixed=True) as server,
        Client("imap", "localhost", config={}) as client,
        client.session(authid=user, password=password) as session,
    ):
        offered = hear(server, "S")
        assert offered is not None
        said = session.start(offered.decode())
        say(server, "C", offered + b"\0" + (said.data or b""))
        while (heard := hear(server, "S")) is not None:
            said = session.step(heard)
            if said.data is not None:
                say(server, "C", said.data)
        if (greeting := hear(server, "S")) is None:
            return False
        assert greeting == SERVER_GREETING
        session.finish()
        say(server, "C", CLIENT_GREETING)
        return server.end().status == 0


# --- GNU SASL ----------------------------------------------------------------------------------


@pytest.mark.parametrize("hash_name", ["SHA-1", "SHA-256"])
def test_gsasl_and_we_write_the_same(need: Need, tmp_path: Path, hash_name: str) -> None:
    """What `gsasl --mkpasswd` prints is read as it is, and written again as it was."""
    command = [need("gsasl"), "--mkpasswd", "-m", f"SCRAM-{hash_name}", "-p", "pencil"]
    printed = run([*command, "--iteration-count=5000"], tmp_path)
    printed.expect(0)
    text = printed.output.strip()
    file, ours, back = tmp_path / "passwd", tmp_path / "ours", tmp_path / "back"
    file.write_text(f"tim:{text}\n")
    assert sasl(["users", "import", "-q", "--from", "dovecot", "--db", str(ours), str(file)]) == 0
    with closing(SqliteStore(ours)) as store:
        kept = store.read(UserName("tim"), [VERIFIERS]).verifiers[hash_name]
    assert format_braced_verifier(kept).decode() == text
    assert sasl(["users", "export", "--format", "dovecot", "--db", str(ours), "-o", str(back)]) == 0
    assert back.read_text() == file.read_text()
    if hash_name == "SHA-256":
        assert logs_in(ours, "tim", "pencil")


# --- PostgreSQL --------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def postgres(need: Need) -> Iterator[Postgres]:
    """A server of our own, without TCP."""
    with serving_postgres(need) as server:
        yield server


def test_roles_of_postgresql_come_over(need: Need, postgres: Postgres, tmp_path: Path) -> None:
    """Of pg_dumpall and of COPY: each logs in with its password; the rest is refused by name."""
    statements = """
        CREATE ROLE tim LOGIN PASSWORD 'pencil';
        CREATE ROLE "An""n" LOGIN PASSWORD 'crayon';
        CREATE ROLE staff;
        SET password_encryption = 'md5';
        CREATE ROLE old LOGIN PASSWORD 'pencil';
        ALTER ROLE tim SET application_name TO E'a\\nALTER ROLE boss LOGIN PASSWORD ''x'';\\n';
    """
    postgres.sql(statements, tmp_path)
    dumped = run([need("pg_dumpall"), *postgres.options, "--roles-only"], tmp_path)
    dumped.expect(0)
    copy = (
        "COPY (SELECT rolname, rolcanlogin, rolpassword, rolvaliduntil FROM pg_authid) "
        "TO STDOUT (FORMAT csv, HEADER)"
    )
    copied = run([need("psql"), *postgres.options, "-qc", copy, "postgres"], tmp_path)
    copied.expect(0)
    for name, text in (("dump", dumped.output), ("copy", copied.output)):
        file, ours, report = tmp_path / name, tmp_path / f"{name}.db", tmp_path / f"{name}.jsonl"
        file.write_text(text)
        arguments = ["users", "import", "-q", "--from", "postgresql", "--db", str(ours)]
        assert sasl([*arguments, "--report", str(report), str(file)]) == 1
        assert logs_in(ours, "tim", "pencil")
        assert logs_in(ours, 'An"n', "crayon")
        with closing(SqliteStore(ours)) as store:
            assert len(list(store.list_users())) == 2
        assert "md5" in report.read_text()
        assert "boss" not in report.read_text()


def test_postgresql_takes_our_verifiers(need: Need, postgres: Postgres, tmp_path: Path) -> None:
    """The exported roles are made, with our verifiers, and log in with the user's password."""
    ours, file = tmp_path / "ours", tmp_path / "roles.sql"
    filled(ours, "eve", "o'b\"r@example.com")
    arguments = ["users", "export", "--format", "postgresql", "--db", str(ours)]
    assert sasl([*arguments, "-o", str(file)]) == 0
    postgres.sql(file.read_text(), tmp_path)
    dumped = run([need("pg_dumpall"), *postgres.options, "--roles-only"], tmp_path)
    with closing(SqliteStore(ours)) as store:
        kept = store.read(UserName("eve"), [VERIFIERS]).verifiers["SHA-256"]
    assert format_verifier(kept).decode() in dumped.output
    for password, status in (("eve"[::-1], 0), ("wrong", 2)):
        info = f"host={postgres.folder} port={postgres.port} user=eve dbname=postgres"
        run([need("psql"), f"{info} password={password}", "-qc", "SELECT 1"], tmp_path).expect(
            status
        )
