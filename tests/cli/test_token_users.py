"""Users who log in with access tokens: their accounts by `sasl passwd` and `sasl users`."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from contextlib import closing
from pathlib import Path

import pytest

from cli_runs import PASSWORD, Sasl, lines
from login_provider import LoginProvider
from sasl_auxprop.sasldb import SqliteStore
from sasl_cli.importing.records import EXACT_LIMIT
from sasl_core import AuthenticationError, Client, Result, Server, UserName
from sasl_core.context.base import NAME_LIMIT
from sasl_core.plugin import HASHES, VERIFIERS
from sasl_http import HttpTransport
from store_kit import make_verifier

PAGE = Path(__file__).parents[2] / "docs" / "identity-providers.md"
BLANKS = "corp/ Ada  \u00c5\u2168@example.com"
"""Which the canonicaliser makes another name of."""
READERS = {"roles": ["admin.readers", "admin.backup"]}


@pytest.fixture
def provider() -> Iterator[LoginProvider]:
    """An identity provider on the loopback."""
    with LoginProvider() as started:
        yield started


def roles(
    sasl: Sasl, provider: LoginProvider, subject: str, *, stored: bool = False
) -> Sequence[bytes] | None:
    """The roles of who logs in by a token; None when the server refuses.

    `stored`: the provider has no claim for them, so that they come from the store.
    """
    table: dict[str, object] = json.loads(provider.json())[0]
    if stored:
        del table["authorizationClaim"]
        table["useAuthorizationClaim"] = False
    tables: dict[str, object] = {
        "auxprop": {"sasldb": {"path": str(sasl.db)}},
        "identity_providers": [table],
        "log_level": "none",
    }
    token = provider.token({"sub": subject, "aud": "mail", "groups": ["claimed"]})
    with (
        HttpTransport() as http,
        Server("imap", "localhost", config=tables, http=http) as server,
        Client("imap", "localhost") as client,
        server.session(external_ssf=256, properties=["roles"]) as near,
        client.session(token=token, external_ssf=256) as far,
    ):
        initial = far.start(["OAUTHBEARER"]).data
        try:
            reply = near.start("OAUTHBEARER", initial)
            if not reply.done:
                _ = near.step(b"\x01")
        except AuthenticationError:
            return None
        assert near.authid == f"corp/{subject}"
        return near.properties.get("roles") or ()


def passwd(sasl: Sasl, *arguments: str, stdin: bytes = b""):
    return sasl.run("passwd", "--db", str(sasl.db), "--exact", *arguments, stdin=stdin)


def imported(sasl: Sasl, *options: str, rows: Sequence[dict[str, object]]):
    """Import these JSON lines; how many users came to what."""
    file = sasl.folder / "users.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")
    done = sasl.run("users", "import", "--db", str(sasl.db), *options, str(file))
    return done, counts(done.stdout)


def counts(summary: str) -> dict[str, int]:
    found = [line.split(None, 2) for line in summary.splitlines()[1:]]
    return {row[0]: int(row[1]) for row in found if int(row[1])}


def look_up(sasl: Sasl, user: str, *names: str):
    with closing(SqliteStore(sasl.db)) as store:
        return store.read(UserName.parse(user), names)


# --- sasl passwd --exact -d ----------------------------------------------------------------------


def test_who_has_no_account_is_locked_out(sasl: Sasl, provider: LoginProvider) -> None:
    """-d makes a locked account without any secret; the same token lets in no more."""
    sasl.user("tim")
    assert roles(sasl, provider, "ada") == (b"corp/claimed",)
    done = passwd(sasl, "-d", "corp/ada")
    assert (done.returncode, done.stderr) == (0, "")
    assert lines(done.stdout) == [
        "corp/ada: disabled; there was no such user, and now there is a locked one",
        "  auxprop:sasldb  ok",
        "  SCRAM-SHA-256   ok",
    ]
    assert look_up(sasl, "corp/ada").result is Result.DISABLED
    assert roles(sasl, provider, "ada") is None
    assert roles(sasl, provider, "bob") == (b"corp/claimed",)
    done = passwd(sasl, "-d", "corp/ada")
    assert (done.returncode, lines(done.stdout)[0]) == (0, "corp/ada: disabled")


def test_the_name_is_taken_as_it_stands(sasl: Sasl, provider: LoginProvider) -> None:
    """With its blanks, unfolded: it locks out that one, and not whom it would be canonically."""
    sasl.user("tim")
    assert passwd(sasl, "-d", BLANKS).returncode == 0
    assert roles(sasl, provider, BLANKS.removeprefix("corp/")) is None
    with closing(SqliteStore(sasl.db)) as store:
        assert [user for user in store.list_users() if str(user) == BLANKS]


def test_the_first_account_makes_the_store(sasl: Sasl, provider: LoginProvider) -> None:
    """Where the file does not exist yet, as -c does; a name that nobody has makes nothing."""
    for name in ("", "a\nb", "a\udcff", "x" * (NAME_LIMIT + 1)):
        done = passwd(sasl, "-d", name)
        assert done.returncode == 1
        assert "user name" in done.stderr
    assert not sasl.db.exists()
    done = passwd(sasl, "-d", "corp/ada")
    assert (done.returncode, done.stderr) == (0, "")
    assert "there was no such user" in done.stdout
    assert roles(sasl, provider, "ada") is None
    assert roles(sasl, provider, "bob") == (b"corp/claimed",)


def test_a_locked_account_has_no_password(sasl: Sasl) -> None:
    """Unlocked by an import it opens to no password, nor to an empty one."""
    assert passwd(sasl, "-d", "corp/ada").returncode == 0
    done, came = imported(
        sasl, "--exact", "--replace", rows=[{"user": "corp/ada", "disabled": False}]
    )
    assert (done.returncode, came) == (0, {"replaced": 1})
    found = look_up(sasl, "corp/ada", VERIFIERS, HASHES)
    assert (found.result, found.verifiers, found.values) == (Result.OK, {}, {})
    tables = {"auxprop": {"sasldb": {"path": str(sasl.db)}}, "log_level": "none"}
    with Server("imap", "localhost", config=tables) as server:
        for password in ("", "x", PASSWORD):
            with pytest.raises(AuthenticationError):
                _ = server.checkpass("corp/ada", password)


def test_a_store_that_cannot_be_read_is_not_passed_over(sasl: Sasl) -> None:
    """It is an error, and nobody is told to be locked out."""
    sasl.db.write_bytes(b"no database" * 1000)
    done = passwd(sasl, "-d", "corp/ada")
    assert (done.returncode, done.stdout) == (1, "")


# --- sasl users import --exact -------------------------------------------------------------------


def test_roles_come_from_an_import(sasl: Sasl, provider: LoginProvider) -> None:
    """A record of a name and properties is a user, who logs in by a token with these roles."""
    rows: list[dict[str, object]] = [
        {"user": "corp/ada", "properties": READERS},
        {"user": BLANKS, "properties": {"roles": "r\u00f4le"}},
        {"user": "corp/bare"},
    ]
    done, came = imported(sasl, "--exact", rows=rows)
    assert (done.returncode, done.stderr, came) == (0, "", {"created": 3})
    assert roles(sasl, provider, "ada", stored=True) == (b"admin.readers", b"admin.backup")
    subject = BLANKS.removeprefix("corp/")
    assert roles(sasl, provider, subject, stored=True) == ("r\u00f4le".encode(),)
    assert roles(sasl, provider, "bare", stored=True) == ()
    assert roles(sasl, provider, "nobody", stored=True) is None
    assert imported(sasl, "--exact", rows=rows)[1] == {"unchanged": 3}


def test_an_import_changes_and_takes_roles_away(sasl: Sasl, provider: LoginProvider) -> None:
    """Only with --replace; an empty list leaves none, and what is not said stays, a lock too."""
    sasl.user("tim")
    ada: dict[str, object] = {"user": "corp/ada", "properties": READERS}
    mail: dict[str, object] = {"user": "corp/ada", "properties": {"mailHost": "mx1"}}
    none: dict[str, object] = {"user": "corp/ada", "properties": {"roles": []}}
    assert imported(sasl, "--exact", rows=[ada])[1] == {"created": 1}
    done, came = imported(sasl, "--exact", rows=[none])
    assert (done.returncode, came) == (1, {"conflict": 1})
    assert "other properties" in done.stderr
    assert imported(sasl, "--exact", "--replace", rows=[mail])[1] == {"replaced": 1}
    assert roles(sasl, provider, "ada", stored=True) == (b"admin.readers", b"admin.backup")
    planned, came = imported(sasl, "--exact", "--replace", "--dry-run", rows=[none])
    assert (planned.returncode, came) == (0, {"replaced": 1})
    assert roles(sasl, provider, "ada", stored=True) == (b"admin.readers", b"admin.backup")
    assert imported(sasl, "--exact", "--replace", rows=[none])[1] == {"replaced": 1}
    assert imported(sasl, "--exact", "--replace", rows=[none])[1] == {"unchanged": 1}
    assert roles(sasl, provider, "ada", stored=True) == ()
    assert look_up(sasl, "corp/ada", "mailHost").values == {"mailHost": (b"mx1",)}
    assert passwd(sasl, "-d", "corp/ada").returncode == 0
    assert imported(sasl, "--exact", "--replace", rows=[none])[1] == {"unchanged": 1}
    assert imported(sasl, "--exact", "--replace", rows=[ada])[1] == {"replaced": 1}
    assert look_up(sasl, "corp/ada").result is Result.DISABLED


def test_an_import_locks_and_unlocks(sasl: Sasl, provider: LoginProvider) -> None:
    """By what the record says of `disabled`, as for everybody."""
    rows: list[dict[str, object]] = [{"user": "corp/ada", "properties": READERS, "disabled": True}]
    assert imported(sasl, "--exact", rows=rows)[1] == {"created": 1}
    assert roles(sasl, provider, "ada", stored=True) is None
    rows[0]["disabled"] = False
    assert imported(sasl, "--exact", "--replace", rows=rows)[1] == {"replaced": 1}
    assert roles(sasl, provider, "ada", stored=True) == (b"admin.readers", b"admin.backup")


def test_replace_leaves_a_password_alone(sasl: Sasl) -> None:
    """Of a user who has one the verifier stays where the record has nothing to log in with."""
    sasl.user("corp/ada")
    rows: list[dict[str, object]] = [{"user": "corp/ada", "properties": READERS}]
    assert imported(sasl, "--exact", "--replace", rows=rows)[1] == {"replaced": 1}
    assert list(look_up(sasl, "corp/ada", VERIFIERS).verifiers) == ["SHA-256"]


def test_csv_has_a_column_for_each_value(sasl: Sasl, provider: LoginProvider) -> None:
    """The name is not trimmed, and empty fields are no values."""
    file = sasl.folder / "users.csv"
    _ = file.write_text(
        "user,property:roles,property:roles\ncorp/ada ,admin.readers,admin.backup\ncorp/bob,r,\n"
    )
    done = sasl.run("users", "import", "--exact", "--db", str(sasl.db), str(file))
    assert (done.returncode, done.stderr, counts(done.stdout)) == (0, "", {"created": 2})
    assert roles(sasl, provider, "ada ", stored=True) == (b"admin.readers", b"admin.backup")
    assert roles(sasl, provider, "ada", stored=True) is None
    assert roles(sasl, provider, "bob", stored=True) == (b"r",)


def test_without_exact_nothing_of_it_is_taken(sasl: Sasl) -> None:
    """Neither a record without a secret, nor a name with blanks, nor an empty list."""
    rows: list[dict[str, object]] = [
        {"user": "corp/ada", "properties": READERS},
        {"user": "corp/a da", "verifiers": [make_verifier("pencil").decode()]},
        {"user": "corp/bob", "properties": READERS, "disabled": True},
    ]
    done, came = imported(sasl, rows=rows)
    assert (done.returncode, came) == (1, {"refused": 2, "created": 1})
    assert "line 1: corp/ada: it has nothing to log in with" in done.stderr
    assert "line 2: corp/a da: " in done.stderr
    rows = [{"user": "corp/bob", "properties": {"roles": []}, "disabled": True}]
    assert imported(sasl, "--replace", rows=rows)[1] == {"unchanged": 1}


def test_exact_lets_nothing_be_left_out_in_silence(sasl: Sasl) -> None:
    """Plaintext and hashes need their options; a name that no token can have is refused."""
    rows: list[dict[str, object]] = [
        {"user": "corp/a", "password": PASSWORD},
        {"user": "corp/b", "hashes": ["{CRYPT}abc"]},
        {"user": "corp/c\x07"},
        {"user": "x" * (EXACT_LIMIT + 1)},
        {"user": ""},
        {"user": "x" * EXACT_LIMIT},
    ]
    done, came = imported(sasl, "--exact", rows=rows)
    assert (done.returncode, came) == (1, {"refused": 5, "created": 1})
    for said in ("only --derive", "--keep-hashes keeps it", "all of them printable"):
        assert said in done.stderr
    assert "\x07" not in done.stderr
    assert EXACT_LIMIT == NAME_LIMIT


def test_two_records_of_one_name(sasl: Sasl) -> None:
    """The second is told under --replace; a name that only looks alike is another user."""
    rows: list[dict[str, object]] = [
        {"user": "corp/ada"},
        {"user": "corp/ada "},
        {"user": "corp/Ada"},
        {"user": "corp/ada"},
    ]
    done, came = imported(sasl, "--exact", "--replace", rows=rows)
    assert (done.returncode, came) == (1, {"created": 3, "refused": 1})
    assert "line 4: corp/ada: the file has this user twice, first in line 1" in done.stderr


@pytest.mark.parametrize(
    ("command", "arguments", "problem"),
    [
        ("import", ("--realm", "r", "users.jsonl"), "leave --realm and --strip-realm out"),
        ("import", ("--strip-realm", "r", "users.jsonl"), "leave --realm and --strip-realm out"),
        ("import", ("--from", "dovecot", "users.jsonl"), "--exact reads csv and jsonl"),
        ("import", ("--from", "cyrus", "users.jsonl"), "--exact reads csv and jsonl"),
        ("export", ("--realm", "r"), "--realm has nothing to do"),
        ("export", ("--format", "dovecot"), "no room for users without a verifier"),
    ],
)
def test_what_cannot_be_asked_for(
    sasl: Sasl, command: str, arguments: tuple[str, ...], problem: str
) -> None:
    """Options that exclude each other: one line, and 1."""
    (sasl.folder / "users.jsonl").touch()
    done = sasl.run("users", command, "--db", str(sasl.db), "--exact", *arguments)
    assert (done.returncode, done.stdout) == (1, "")
    assert problem in done.stderr
    assert len(done.stderr.splitlines()) == 1


# --- sasl users export --exact -------------------------------------------------------------------


@pytest.mark.parametrize("target", ["jsonl", "csv"])
def test_an_export_comes_back(sasl: Sasl, target: str) -> None:
    """Users with and without a verifier, and locked ones, into another store, all the same."""
    sasl.user("tim")
    rows: list[dict[str, object]] = [
        {"user": BLANKS, "properties": {"roles": "admin.readers"}},
        {"user": "corp/bare"},
    ]
    assert imported(sasl, "--exact", rows=rows)[0].returncode == 0
    assert passwd(sasl, "-d", "corp/locked").returncode == 0
    options = ("--db", str(sasl.db), "--format", target, "--property", "roles")
    partly = sasl.run("users", "export", *options)
    assert partly.returncode == 1
    assert "corp/bare has no verifier; --exact writes such users" in partly.stderr
    done = sasl.run("users", "export", "--exact", *options)
    assert done.returncode == 0
    file = sasl.folder / f"out.{target}"
    _ = file.write_text(done.stdout, "utf-8")
    other = sasl.folder / "other.db"
    back = sasl.run("users", "import", "--exact", "--db", str(other), str(file))
    assert (back.returncode, counts(back.stdout)) == (0, {"created": 4})
    again = sasl.run("users", "import", "--exact", "--db", str(sasl.db), str(file))
    assert (again.returncode, counts(again.stdout)) == (0, {"unchanged": 4})


# --- the documentation ---------------------------------------------------------------------------


def test_the_page_is_right(sasl: Sasl, provider: LoginProvider) -> None:
    """Its records and commands do what they are told to, and the roles are had."""
    section = re.search(
        r"^## Roles from your stores\n(.*?)^## ", PAGE.read_text("utf-8"), re.MULTILINE | re.DOTALL
    )
    assert section is not None
    records, commands = (
        re.findall(rf"^```{kind}\n(.*?)^```$", section[1], re.MULTILINE | re.DOTALL)[0]
        for kind in ("json", "sh")
    )
    records = records.replace("jobs/", "corp/")
    _ = (sasl.folder / "jobs.jsonl").write_text(records, "utf-8")
    said: list[str] = []
    for line in commands.splitlines():
        arguments = line.partition("#")[0].split()
        assert arguments[:2] == ["sasl", "users"]
        done = sasl.run(*arguments[1:])
        assert done.returncode == 0, done.stderr
        said.append(done.stdout)
    assert [counts(text) for text in said[:2]] == [{"created": 2}, {"unchanged": 2}]
    assert "admin.backup" in said[2]
    sasl.db = sasl.folder / "users.db"
    assert roles(sasl, provider, "backup", stored=True) == (b"admin.readers", b"admin.backup")
    assert roles(sasl, provider, "night watch", stored=True) == (b"admin.readers",)
