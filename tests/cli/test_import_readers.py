"""What `sasl users import` reads of each program's file, and what it makes of hostile ones."""

from __future__ import annotations

import io
import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, BinaryIO

import pytest

from sasl_cli.importing import csv, cyrus, dovecot, jsonl, mongodb, postgres
from sasl_cli.importing.lines import LINE_LIMIT
from sasl_cli.importing.policy import Policy
from sasl_cli.importing.records import Entry, Refused
from sasl_core import SaslError, UsageError
from sasl_core.plugin import derive, format_verifier, stored_keys

VECTORS = Path(__file__).parents[1] / "vectors"
DUMPS: list[dict[str, Any]] = json.loads((VECTORS / "user_dumps.json").read_text("utf-8"))["dumps"]
PASSWD = json.loads((VECTORS / "dovecot_passwd.json").read_text("utf-8"))["vectors"]

Read = Callable[[BinaryIO], Iterator[Entry | Refused]]
READERS: dict[str, Read] = {
    "csv": csv.read,
    "jsonl": jsonl.read,
    "postgresql": postgres.read,
    "dovecot": dovecot.read,
    "mongodb": mongodb.read,
    "cyrus": cyrus.read,
}
VERIFIER = (
    "SCRAM-SHA-256$4096:W22ZaJ0SNY7soEsUEjb6gQ==$WG5d8oPm3OtcPnkdi4Uo7BkeZkBFzpcXkuLmtbsT4qY="
    ":wfPLwcE6nTWhTAmQ7tl2KeoiWGPlZqQxSrmfPwDl2dU="
)
SHA1 = "{SCRAM-SHA-1}4096,c2FsdA==,0qUypmwka5AUb9oe/OrTaR5uwR8=,BZ90E2UltiQTre5pA3UZCJJGU3w="


def read(source: str, text: str | bytes) -> list[Entry | Refused]:
    data = text.encode() if isinstance(text, str) else text
    return list(READERS[source](io.BytesIO(data)))


def one(source: str, text: str | bytes) -> Entry:
    (found,) = read(source, text)
    assert isinstance(found, Entry), found
    return found


def reason(source: str, text: str | bytes) -> str:
    (found,) = read(source, text)
    assert isinstance(found, Refused), found
    assert "WG5d" not in found.reason + found.user
    return found.reason


# --- dumps of the programs themselves ----------------------------------------------------------


@pytest.mark.parametrize("dump", DUMPS, ids=lambda dump: f"{dump['from']} {dump['name']}")
def test_dumps_are_read(dump: dict[str, Any]) -> None:
    """Each user is taken, refused for the right reason, or is none; the keys are right."""
    found = read(dump["from"], dump["text"])
    taken = {each.user: each for each in found if isinstance(each, Entry)}
    refused = {each.user: each.reason for each in found if isinstance(each, Refused)}
    assert taken.keys() == dump["taken"].keys()
    assert refused.keys() == {*dump["refused"], *dump["skipped"]}
    for user, part in dump["refused"].items():
        assert part in refused[user]
    skipped = [each.user for each in found if isinstance(each, Refused) and each.skipped]
    assert skipped == dump["skipped"]
    for user, wanted in dump["taken"].items():
        entry = taken[user]
        # Only PostgreSQL says of everybody whether he may log in.
        silent = False if dump["from"] == "postgresql" else None
        assert entry.disabled is wanted.get("disabled", silent)
        assert wanted.get("note", "") in " ".join(entry.notes)
        if wanted.get("plaintext"):
            assert entry.password == dump["password"]
            continue
        (verifier,) = entry.verifiers
        password = dump["password"].encode()
        salted = derive(verifier.hash, password, verifier.salt, verifier.iterations)
        assert stored_keys(verifier.hash, salted)[1:] == (verifier.stored_key, verifier.server_key)


@pytest.mark.parametrize("vector", PASSWD, ids=lambda vector: vector["stored"][:30])
def test_every_scheme_of_dovecot(vector: dict[str, Any]) -> None:
    """SCRAM becomes a verifier, plain a password, each other scheme is a hash, kept as it is."""
    stored = vector["stored"]
    found = read("dovecot", f"tim:{stored}:1000:1000::/srv/tim::\n")
    if stored == "{CRYPT}":
        assert isinstance(found[0], Refused)
        return
    entry = found[0]
    assert isinstance(entry, Entry)
    if stored.startswith("{SCRAM-"):
        assert format_verifier(entry.verifiers[0]).startswith(stored[1:].split("}")[0].encode())
    elif stored.startswith("{PLAIN}"):
        assert entry.password == stored.removeprefix("{PLAIN}")
    else:
        assert entry.hashes == (stored.encode(),)
        judged = Policy().judge(entry)
        assert isinstance(judged, Refused)
        assert stored.partition("}")[0] + "}" in judged.reason
        assert stored.partition("}")[2] not in judged.reason
        assert Policy(keep_hashes=True).judge(entry) == entry


# --- CSV and JSON lines ------------------------------------------------------------------------


def test_csv_has_all_that_a_user_can_have() -> None:
    """Realm, several verifiers, state, properties, one of them twice; a byte order mark."""
    text = (
        "\ufeffuser,realm,verifiers,verifiers,disabled,property:mailHost,property:mailHost,hash\r\n"
        f'"t""im",example.com,{VERIFIER},"{SHA1}",true,"mx,1",mx2,{{SSHA}}abc\r\n\r\n'
    )
    entry = one("csv", text)
    assert (entry.line, entry.user, entry.disabled) == (2, 't"im@example.com', True)
    assert [each.hash for each in entry.verifiers] == ["SHA-256", "SHA-1"]
    assert entry.properties == {"mailHost": (b"mx,1", b"mx2")}
    assert entry.hashes == (b"{SSHA}abc",)


def test_json_lines_have_all_that_a_user_can_have() -> None:
    """As CSV, and values that are bytes."""
    line = {
        "user": "tim",
        "realm": "example.com",
        "verifiers": [VERIFIER, SHA1],
        "disabled": True,
        "hashes": ["{SSHA}abc"],
        "password": "pencil",
        "properties": {"mailHost": "mx1", "blob": ["a", {"base64": "/w=="}]},
    }
    entry = one("jsonl", json.dumps(line))
    assert (entry.user, entry.disabled, entry.password) == ("tim@example.com", True, "pencil")
    assert [each.hash for each in entry.verifiers] == ["SHA-256", "SHA-1"]
    assert entry.properties == {"mailHost": (b"mx1",), "blob": (b"a", b"\xff")}


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", "the file is empty"),
        ("\n\n", "the file is empty"),
        (f"tim,{VERIFIER}\n", "column 'tim' is not known"),
        ("user,verifier\n", "did you mean 'verifiers'"),
        ("verifiers\n", "no column is named 'user'"),
        ("user,user\n", "two columns are named 'user'"),
        ("user,property:userPassword\n", "a password stands in a field of its own"),
        ("user,property:AUTHPASSWORD\n", "verifiers stand in a field of their own"),
        ("user,property:passwordHash\n", "hashes of passwords"),
        ("user,property:*x\n", "no name of a property"),
        (b"user\xff\n", "no UTF-8"),
        (b"u" * (LINE_LIMIT + 1), "longer than"),
    ],
)
def test_a_header_that_is_none_ends_the_import(text: str | bytes, problem: str) -> None:
    """Before anything is written."""
    with pytest.raises(UsageError, match=problem):
        read("csv", text)


@pytest.mark.parametrize(
    ("row", "problem"),
    [
        ("tim", "1 fields"),
        (f"tim,{VERIFIER},x,y", "4 fields"),
        (f",{VERIFIER},", "no user name"),
        (f"tim,{VERIFIER},maybe", "neither true nor false"),
        (f"tim,{VERIFIER[:-1]},", "cannot be taken"),
        ("tim,pencil,", "cannot be taken"),
        (f'tim,"{VERIFIER}"x,', "not quoted"),
        (f'tim,"{" ".join([SHA1] * 17)}",', "more than 16 verifiers"),
    ],
)
def test_a_row_that_cannot_be_read(row: str, problem: str) -> None:
    """It is refused with its reason, and the rows around it are read."""
    text = f"user,verifiers,disabled\nann,{VERIFIER},\n{row}\nbob,{VERIFIER},\n"
    first, bad, last = read("csv", text)
    assert isinstance(first, Entry)
    assert isinstance(last, Entry)
    assert isinstance(bad, Refused)
    assert bad.line == 3
    assert problem in bad.reason


def test_what_is_inside_of_quotes_is_no_row() -> None:
    """A value with line breaks in it, which its user may have chosen, makes nobody a user."""
    evil = f"x\nboss,{VERIFIER},"
    text = f'user,verifiers,property:note\ntim,{VERIFIER},"{evil}"\nann,{VERIFIER},y\n'
    tim, ann = read("csv", text)
    assert isinstance(tim, Entry)
    assert isinstance(ann, Entry)
    assert (tim.user, ann.user, ann.line) == ("tim", "ann", 4)
    assert tim.properties == {"note": (evil.encode(),)}


def test_an_open_quote_takes_the_rest_with_it() -> None:
    """Nobody can tell what stands inside and what outside: nothing of it is taken."""
    text = f'user,verifiers\ntim,"{VERIFIER}\nboss,{VERIFIER}\n'
    assert reason("csv", text) == "a quote is not closed"
    text += f"ann,{VERIFIER}\n" * 2000
    assert "the rest is not read" in reason("csv", text)


def test_a_string_of_sql_is_no_statement() -> None:
    """Roles set texts of their own, which a dump has in it, line breaks and all."""
    evil = f"ALTER ROLE boss WITH LOGIN PASSWORD '{VERIFIER}';".replace("'", "''")
    text = (
        f"ALTER ROLE tim SET application_name TO 'x\n{evil}\n';\n"
        f"COMMENT ON ROLE tim IS '\n{evil}\n';\n"
        f"ALTER ROLE ann WITH LOGIN PASSWORD '{VERIFIER}';\n"
    )
    entry = one("postgresql", text)
    assert (entry.user, entry.line) == ("ann", 7)


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        ("[]", "no JSON object"),
        ('"tim"', "no JSON object"),
        ("{}", "no user name"),
        ('{"user": "tim"', "no JSON"),
        ('{"user": "tim"} {"user": "ann"}', "something follows"),
        ('{"user": "tim", "user": "ann"}', "stands twice"),
        ('{"user": "tim", "properties": {"a": "1", "a": "2"}}', "stands twice"),
        ('{"user": "tim", "disabled": NaN}', "no JSON"),
        ('{"user": "tim", "disabled": 1}', "neither true nor false"),
        ('{"user": "tim", "disabled": null}', "neither true nor false"),
        ('{"user": "tim", "verifers": []}', "did you mean 'verifiers'"),
        ('{"user": "tim", "verifiers": "x"}', "no list of texts"),
        ('{"user": "tim", "verifiers": [1]}', "no list of texts"),
        ('{"user": "tim", "verifiers": ["\\ud800"]}', "cannot be taken"),
        ('{"user": "\\ud800"}', "'user' is no text"),
        ('{"user": 7}', "'user' is no text"),
        ('{"user": "tim", "realm": "a@b"}', "the realm holds an @"),
        ('{"user": "tim", "hashes": ["pencil"]}', "its hash is not {SCHEME}"),
        ('{"user": "tim", "hashes": ["{SSHA}a:b"]}', "a blank or a colon"),
        ('{"user": "tim", "hashes": ["{SSHA}a\\nb"]}', "a blank or a colon"),
        ('{"user": "tim", "hashes": ["$2b$05$a b"]}', "a blank or a colon"),
        ('{"user": "tim", "hashes": ["$2b$"]}', "its hash is not"),
        ('{"user": "tim", "hashes": ["{SCRAM-SHA-1}x"]}', "where another hash is expected"),
        ('{"user": "tim", "properties": []}', "'properties' is no object"),
        ('{"user": "tim", "properties": {"": "x"}}', "no name of a property"),
        ('{"user": "tim", "properties": {"userpassword": "x"}}', "a field of its own"),
        ('{"user": "tim", "properties": {"x": 1}}', "neither text nor canonical base64"),
        ('{"user": "tim", "properties": {"x": {"base64": "/x=="}}}', "neither text nor"),
        ('{"user": "tim", "properties": {"x": "\\udfff"}}', "neither text nor"),
        (json.dumps({"user": "tim", "properties": {"x": "v" * 65537}}), "longer than 65536"),
        (json.dumps({"user": "tim", "properties": {"x": ["v"] * 1001}}), "more than 1000 values"),
        ("[" * 100_000, "nested too deeply"),
        ('{"user": ' * 10_000, "nested too deeply"),
        ('{"user": ' + "9" * 5000 + "}", "no"),
    ],
)
def test_a_line_of_json_that_cannot_be_read(line: str, problem: str) -> None:
    """It is refused with its reason."""
    assert problem in reason("jsonl", line)


# --- what may be taken over --------------------------------------------------------------------


def test_plaintext_is_refused_unless_it_is_asked_for() -> None:
    """With a verifier beside it the user is taken without it, and that is noted."""
    alone = one("jsonl", '{"user": "tim", "password": "pencil-7677"}')
    refused = Policy().judge(alone)
    assert isinstance(refused, Refused)
    assert "--derive" in refused.reason
    assert "7677" not in refused.reason + repr(alone) + repr(refused)
    assert Policy(derive=True).judge(alone) == alone
    both = one("jsonl", json.dumps({"user": "t", "password": "p", "verifiers": [VERIFIER]}))
    kept = Policy().judge(both)
    assert isinstance(kept, Entry)
    assert (kept.password, len(kept.verifiers), len(kept.notes)) == (None, 1, 1)
    made = Policy(derive=True).judge(both)
    assert isinstance(made, Entry)
    assert (made.password, len(made.verifiers), len(made.notes)) == ("p", 0, 1)


def test_dear_verifiers_and_pairs_are_refused() -> None:
    """More rounds than the cap, two verifiers of one hash, nothing at all."""
    dear = one("jsonl", json.dumps({"user": "t", "verifiers": [VERIFIER.replace("4096", "4097")]}))
    refused = Policy(cap=lambda _: 4096).judge(dear)
    assert isinstance(refused, Refused)
    assert "4097 rounds" in refused.reason
    assert Policy(cap={dear.verifiers[0].hash: 4097}.__getitem__).judge(dear) == dear
    pair = one("jsonl", json.dumps({"user": "t", "verifiers": [VERIFIER, VERIFIER]}))
    assert "two verifiers of one hash" in getattr(Policy().judge(pair), "reason", "")
    nothing = one("jsonl", '{"user": "t"}')
    assert "nothing to log in with" in getattr(Policy().judge(nothing), "reason", "")
    locked = one("jsonl", '{"user": "t", "disabled": true}')
    assert Policy().judge(locked) == locked


# --- other programs' files ---------------------------------------------------------------------


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        ("pencil-7677", "it is not user:password"),
        (":{PLAIN}x", "no user name"),
        ("tim:", "no password"),
        ("tim:{PLAIN}", "its password is empty"),
        ("tim:{PLAIN", "{SCHEME} cannot be read"),
        ("tim:{PLAIN.B64}x", "no b64"),
        ("tim:{PLAIN.HEX}xx", "no hex"),
        ("tim:{PLAIN.HEX}ff", "no UTF-8"),
        ("tim:{PLAIN.ROT13}x", "encoding 'ROT13' is not known"),
        ("tim:{SCRAM-SHA-256}1,2,3,4", "cannot be taken"),
        ("tim:{SCRAM-SHA-9}1,2,3,4", "cannot be taken"),
        ("tim:{PLAIN}x:1:1::/h::allow_nets=10.0.0.0/8", "'allow_nets'"),
        ("tim::1:1::/h::nopassword", "'nopassword'"),
        ("tim:\x01", "its hash is not"),
    ],
)
def test_a_line_of_dovecot_that_cannot_be_taken(line: str, problem: str) -> None:
    """It is refused with its reason, in which no password is."""
    said = reason("dovecot", line)
    assert problem in said
    assert "7677" not in said


def test_dovecot_locks_and_spells_passwords() -> None:
    """`nologin`, encodings, comments, and what has no scheme is crypt's."""
    text = (
        "# a comment\n\n"
        "tim:{plain.b64}cGVuY2ls:1:1::/h::nologin\n"
        "ann@example.com:{CLEAR.hex}70656e63696c\n"
        "bob:$6$salt$hash\n"
        "eve::1:1::/h::nologin=y\n"
    )
    tim, ann, bob, eve = read("dovecot", text)
    assert isinstance(tim, Entry)
    assert isinstance(ann, Entry)
    assert isinstance(bob, Entry)
    assert isinstance(eve, Entry)
    assert (tim.password, tim.disabled, tim.line) == ("pencil", True, 3)
    assert (ann.user, ann.password, ann.disabled) == ("ann@example.com", "pencil", None)
    assert bob.hashes == (b"{CRYPT}$6$salt$hash",)
    assert (eve.disabled, eve.password, eve.hashes) == (True, None, ())


@pytest.mark.parametrize(
    "text",
    [
        "ALTER ROLE tim WITH LOGIN PASSWORD E'x';",
        "ALTER ROLE tim WITH LOGIN PASSWORD 'x",
        "ALTER ROLE tim WITH LOGIN PASSWORD x;",
        f"ALTER ROLE tim WITH LOGIN PASSWORD '{VERIFIER}' VALID UNTIL;",
        "INSERT INTO pg_authid VALUES (1);",
        f"ALTER ROLE tim WITH LOGIN PASSWORD '{VERIFIER}'; DROP ROLE ann;",
    ],
)
def test_sql_that_is_no_dump_of_roles(text: str) -> None:
    """Nothing is guessed: it is refused."""
    (found,) = read("postgresql", text)
    assert isinstance(found, Refused)


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", "no dump of a sasldb"),
        ("VERSION=3\nformat=odd\nHEADER=END\nDATA=END\n", "no dump of a sasldb"),
        ("VERSION=3\n" * 200 + "HEADER=END\n", "no dump of a sasldb"),
    ],
)
def test_what_is_no_dump_of_a_sasldb(text: str, problem: str) -> None:
    """The whole file is refused."""
    with pytest.raises(UsageError, match=problem):
        read("cyrus", text)


@pytest.mark.parametrize(
    ("lines", "problem"),
    [
        (" tim\\00r\\00userPassword\n x\n", "cut off"),
        (" tim\\00r\\00userPassword\nDATA=END\n", "begins with no blank"),
        (" tim\n x\nDATA=END\n", "not user, realm and property"),
        (" tim\\0x\n x\nDATA=END\n", "does not escape"),
        (" tim\\00r\\00userPassword\n \\ff\nDATA=END\n", "no UTF-8"),
        (" tim\\00r\\00authPassword\n x\nDATA=END\n", "cannot be taken"),
        (" tim\\00a@b\\00userPassword\n x\nDATA=END\n", "the realm holds an @"),
        (" \\00r\\00userPassword\n x\nDATA=END\n", "no user name"),
    ],
)
def test_a_sasldb_that_cannot_be_taken(lines: str, problem: str) -> None:
    """Each user by itself; a dump that was cut off says so."""
    found = read("cyrus", "format=print\nHEADER=END\n" + lines)
    assert problem in " ".join(each.reason for each in found if isinstance(each, Refused))


def test_what_a_sasldb_scatters_is_one_user() -> None:
    """Password, verifier, a mechanism's secret and a property of one user, with others between."""
    dump = (
        "format=print\nHEADER=END\n"
        f" tim\\00r\\00authPassword\n {VERIFIER}\n"
        " ann\\00r\\00userPassword\n p\\5c\\\\q\n"
        " tim\\00r\\00userPassword\n pencil\n"
        " tim\\00r\\00cmusaslsecretOTP\n x\n"
        " tim\\00r\\00mailHost\n mx1\n"
        "DATA=END\n"
    )
    tim, ann = read("cyrus", dump)
    assert isinstance(tim, Entry)
    assert isinstance(ann, Entry)
    assert (tim.user, tim.password, len(tim.verifiers)) == ("tim@r", "pencil", 1)
    assert tim.properties == {"mailHost": (b"mx1",)}
    assert "OTP" in tim.notes[0]
    assert ann.password == "p\\\\q"


def test_a_document_that_cannot_be_read_spoils_no_other() -> None:
    """The next one that begins a line is read."""
    good = json.dumps({"user": "tim", "db": "a", "credentials": {}})
    text = f"{good}\n{{broken: 1}}\n{good}\n[[[\n{{\n{good}\n"
    found = read("mongodb", text)
    assert [each.line for each in found] == [1, 2, 3, 5, 6]


# --- hostile files -----------------------------------------------------------------------------

HOSTILE = {
    "nothing": b"",
    "NUL": b"\0" * 1000,
    "no UTF-8": b"\xff\xfe" * 1000,
    "half a pair": b'{"user": "\xed\xa0\x80"}\n',
    "deep": b'{"a":' * 50_000,
    "brackets": b"[" * 500_000,
    "quotes": b'"' * 99_999,
    "apostrophes": b"'" * 99_999,
    "commas": b"," * 100_000,
    "colons": b":" * 100_000,
    "line ends": b"\r\n\n\r" * 1000,
    "backslashes": b" \\" * 1000 + b"\n",
    "escapes": b"format=print\nHEADER=END\n \\zz\n \\\n x\\00\\00\\00\n \n",
    "hex": b"format=bytevalue\nHEADER=END\n zz\n 0\n 00\n 00\n",
    "quoted": b"user\n" + b'"' + b"a\n" * 70_000,
    "unclosed": b"ALTER ROLE x WITH PASSWORD '" + b"a\n" * 70_000,
    "braces": b"tim:{" + b"}" * 1000 + b"\n",
    "dollars": b"tim:{SCRAM-SHA-256}" + b"$ " * 3000 + b"\n",
}


@pytest.mark.parametrize("source", READERS)
@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_files_raise_nothing_of_others(source: str, name: str) -> None:
    """Whatever is in the file, users are refused, or the file with a SaslError."""
    head = b"user,verifiers\n" if source == "csv" else b""
    for data in (HOSTILE[name], head + HOSTILE[name]):
        try:
            found = read(source, data)
        except SaslError:
            continue
        assert all(isinstance(each, Refused | Entry) for each in found)


class Endless(io.RawIOBase):
    """A file of one line, 30 MB long, that nobody holds in memory."""

    def __init__(self, head: bytes, piece: bytes) -> None:
        self._left = 30_000_000
        self._head = head
        self._piece = piece

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        if self._head:
            data, self._head = self._head[: len(buffer)], self._head[len(buffer) :]
        else:
            data = (self._piece * (len(buffer) // len(self._piece) + 1))[
                : min(len(buffer), self._left)
            ]
            self._left -= len(data)
        buffer[: len(data)] = data
        return len(data)


@pytest.mark.parametrize("source", READERS)
@pytest.mark.parametrize("piece", [b"x", b'"a'], ids=["letters", "quotes"])
def test_a_line_of_30_megabytes_needs_no_memory(source: str, piece: bytes) -> None:
    """It is refused, and never held whole."""
    import tracemalloc

    heads = {"csv": b"user,verifiers\n", "cyrus": b"format=print\nHEADER=END\n"}
    file = io.BufferedReader(Endless(heads.get(source, b""), piece))
    tracemalloc.start()
    try:
        found = list(READERS[source](file))
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert found
    assert all(isinstance(each, Refused) for each in found)
    assert peak < 16_000_000


# --- files that would say more than they may ------------------------------------------------------


@pytest.mark.parametrize(
    "header",
    [
        "rolname,rolpassword",
        "rolname,rolcanlogin,rolpassword",
        "rolname,rolpassword,rolvaliduntil",
        "rolname,rolcanlogin,rolpassword,rolvaliduntil,rolcanlogin",
        "rolname",
    ],
)
def test_roles_in_csv_have_all_columns(header: str) -> None:
    """Without one nobody knows who may log in, nor whose password has expired: nothing is read."""
    with pytest.raises(UsageError, match="rolcanlogin, rolvaliduntil are needed, once"):
        read("postgresql", f"{header}\nlocked,{VERIFIER}\n")


def test_a_role_in_csv_is_locked_or_not() -> None:
    """`rolcanlogin` says so, and a field that says neither is refused."""
    text = "rolname,rolcanlogin,rolpassword,rolvaliduntil\n"
    assert one("postgresql", f"{text}tim,t,{VERIFIER},\n").disabled is False
    assert one("postgresql", f"{text}tim,f,{VERIFIER},infinity\n").disabled is True
    assert "'rolcanlogin' is neither" in reason("postgresql", f"{text}tim,,{VERIFIER},\n")


def test_who_may_log_in_from_one_place_only_does_not_come_over() -> None:
    """MongoDB's authenticationRestrictions have no counterpart; empty ones restrict nothing."""
    _, rounds_and_salt, keys = VERIFIER.split("$")
    rounds, salt = rounds_and_salt.split(":")
    stored, server = keys.split(":")
    credential = {
        "iterationCount": int(rounds),
        "salt": salt,
        "storedKey": stored,
        "serverKey": server,
    }
    document: dict[str, Any] = {
        "user": "tim",
        "db": "admin",
        "credentials": {"SCRAM-SHA-256": credential},
        "authenticationRestrictions": [],
    }
    assert one("mongodb", json.dumps(document)).user == "tim@admin"
    document["authenticationRestrictions"] = [{"clientSource": ["10.0.0.0/8"]}]
    assert "authenticationRestrictions" in reason("mongodb", json.dumps(document))


@pytest.mark.parametrize("ended", [True, False])
def test_a_long_key_does_not_shift_the_pairs_of_a_dump(ended: bool) -> None:
    """Behind a key that is refused, its value is no key: else who chose it names a user."""
    key, value = b" " + b"x" * LINE_LIMIT + b"\\00localhost\\00userPassword", b" boss\\00r\\00mail"
    pairs = [key, value, b" tim\\00r\\00userPassword", b" pencil"]
    if not ended:
        pairs.append(key)
    dump = b"format=print\nHEADER=END\n" + b"\n".join(pairs) + b"\nDATA=END\n"
    found = read("cyrus", dump)
    assert [each.user for each in found if isinstance(each, Entry)] == ["tim@r"]
    reasons = [each.reason for each in found if isinstance(each, Refused)]
    assert len(reasons) == (1 if ended else 2)
    assert all("longer than" in each for each in reasons)


def pairs_without_end(shape: str) -> Iterator[bytes]:
    """Lines of a dump, of a user or a property each."""
    yield from (b"format=print\n", b"HEADER=END\n")
    for number in range(1_000_000):
        user, name, value = b"%d" % number, b"userPassword", b"x"
        if shape == "properties":
            user, name = b"tim", b"%d" % number
        elif shape == "wide":
            # One character beyond the first plane, and each has four bytes.
            user += b"\\f0\\9f\\98\\80" + b"x" * 10_000
        elif shape == "long":
            value = b"x" * 10_000
        yield b" %b\\00r\\00%b\n" % (user, name)
        yield b" %b\n" % value


class Lines(io.RawIOBase):
    """A file of lines that are made as they are read."""

    def __init__(self, lines: Iterator[bytes]) -> None:
        self._lines = lines
        self._rest = b""

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        data = self._rest or next(self._lines, b"")
        taken, self._rest = data[: len(buffer)], data[len(buffer) :]
        buffer[: len(taken)] = taken
        return len(taken)


@pytest.mark.parametrize("shape", ["users", "properties", "wide", "long"])
def test_a_dump_is_held_within_the_limit(monkeypatch: pytest.MonkeyPatch, shape: str) -> None:
    """Whatever is in it, no more memory is used than the limit says, and not much less."""
    import tracemalloc

    limit = 8_000_000
    monkeypatch.setattr(cyrus, "SIZE_LIMIT", limit)
    file = io.BufferedReader(Lines(pairs_without_end(shape)))
    tracemalloc.start()
    try:
        with pytest.raises(UsageError, match="bytes would be held"):
            list(cyrus.read(file))
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert 0.4 * limit < peak < 1.1 * limit


def test_broken_documents_cost_time_in_proportion() -> None:
    """Of twenty times as many broken lines each takes as long, and not as long as all together."""

    def seconds_a_line(lines: int) -> float:
        begin = time.process_time()
        count = sum(1 for _ in mongodb.read(io.BytesIO(b"{\n" * lines)))
        assert count == lines
        return (time.process_time() - begin) / lines

    few = min(seconds_a_line(20_000) for _ in range(3))
    # Where each copied or counted all that was read it was four times as long.
    assert seconds_a_line(400_000) < 2.2 * few


def test_a_document_longer_than_what_is_looked_at_first_is_read() -> None:
    """Long strings, many members, cut at any place: what goes on is not taken for broken."""
    credential = VERIFIER.replace("SCRAM-SHA-256$", "")
    rounds, salt = credential.split("$")[0].split(":")
    stored, server = credential.split("$")[1].split(":")
    keys = {
        "iterationCount": int(rounds),
        "salt": salt,
        "storedKey": stored,
        "serverKey": server,
    }
    for padding in (*range(8000, 8200, 3), 70_000, 600_000):
        document = {
            "pad": "\u00e9" * 100 + "x" * (padding - 600),
            "user": "tim",
            "truth": [True, None, -1.5e10] * 20,
            "credentials": {"SCRAM-SHA-256": keys},
        }
        texts = [json.dumps(document), json.dumps(document, indent=1)]
        found = read("mongodb", "\n".join(texts))
        assert [getattr(each, "user", "") for each in found] == ["tim", "tim"]
        assert all(isinstance(each, Entry) for each in found)
