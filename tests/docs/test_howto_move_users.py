"""docs/howto/move-users.md: its commands move the users that it says they move."""

from __future__ import annotations

import json
import re
import shlex
from contextlib import closing
from pathlib import Path

import pytest

from cli_runs import Sasl
from sasl_auxprop.sasldb import SqliteStore
from sasl_core import UserName
from sasl_core.plugin import VERIFIERS

TESTS = Path(__file__).parents[1]
PAGE = TESTS.parent / "docs" / "howto" / "move-users.md"
BLOCK = re.compile(r"^```sh\n(.*?)^```$", re.MULTILINE | re.DOTALL)
VERIFIER = (
    "SCRAM-SHA-256$4096:W22ZaJ0SNY7soEsUEjb6gQ==$WG5d8oPm3OtcPnkdi4Uo7BkeZkBFzpcXkuLmtbsT4qY="
    ":wfPLwcE6nTWhTAmQ7tl2KeoiWGPlZqQxSrmfPwDl2dU="
)


@pytest.fixture
def sasl(tmp_path: Path) -> Sasl:
    """The command, in a folder of its own."""
    return Sasl(tmp_path)


def dumped() -> dict[str, str]:
    """What the dumps of the page hold here, by file."""
    dumps = json.loads((TESTS / "vectors" / "user_dumps.json").read_text("utf-8"))["dumps"]
    text = {each["name"]: each["text"] for each in dumps}
    return {
        "sasldb.dump": text["db_dump -p"].replace("localhost", "mail.example.com"),
        "roles.sql": text["pg_dumpall"],
        "roles.csv": text["COPY"],
        "system.users.json": text["lines"],
        "passwd": "dov@example.com:{SCRAM-SHA-1}4096,c2FsdA==,0qUypmwka5AUb9oe/OrTaR5uwR8=,"
        "BZ90E2UltiQTre5pA3UZCJJGU3w=:1:1::/h::\nhash:{SHA512-CRYPT}$6$x$y:1:1::/h::\n",
        "users.csv": f"user,verifiers\ncsv,{VERIFIER}\n",
    }


def test_the_commands_of_the_page(sasl: Sasl) -> None:
    """Each `sasl` of the page runs in its order; refused are those that the page says."""
    for name, text in dumped().items():
        (sasl.folder / name).write_text(text)
    commands = [
        line
        for block in BLOCK.findall(PAGE.read_text("utf-8"))
        for line in block.splitlines()
        if line.startswith("sasl ")
    ]
    assert len(commands) == 11
    ended = {}
    for command in commands:
        done = sasl.run(*shlex.split(command)[1:])
        ended[command.split()[-1]] = done.returncode
        assert "Usage:" not in done.stderr
    # What refuses: md5 and VALID UNTIL, SHA-1 alone; who has a hash or is locked, on the way out.
    assert ended == {
        "sasldb.dump": 0,
        "passwd": 0,
        "roles.sql": 1,
        "roles.csv": 1,
        "system.users.json": 1,
        "users.csv": 0,
        "users.jsonl": 0,
        "passwd.new": 1,
        "roles.new.sql": 1,
        "system.users.new.json": 1,
        "sasldb.new.dump": 1,
    }
    with closing(SqliteStore(sasl.folder / "users.db")) as store:
        there = {str(user): store.read(user, [VERIFIERS]) for user in store.list_users()}
        kept = store.read(UserName("hash"), ["passwordHash"]).values
    roles = {"tim", 'O"Brien', "locked", "long"}
    assert there.keys() == {"ann", "ann@shop", "dov@example.com", "hash", "csv", *roles}
    assert sorted(there["dov@example.com"].verifiers) == ["SHA-1"]
    assert kept == {"passwordHash": (b"{SHA512-CRYPT}$6$x$y",)}


def test_what_the_page_names_is_there(sasl: Sasl) -> None:
    """Every option of the page is one that the commands have."""
    page = PAGE.read_text("utf-8")
    helped = sasl.run("users", "import", "--help").stdout
    helped += sasl.run("users", "export", "--help").stdout
    ours = [line for line in page.splitlines() if "sasl users" in line or "`--" in line]
    options = set(re.findall(r"--[a-z-]+", " ".join(ours)))
    assert {option for option in options if option not in helped} <= {"--roles-only"}
