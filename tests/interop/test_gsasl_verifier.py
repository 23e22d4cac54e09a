"""What GNU SASL keeps of a password is what we keep of it."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import TypeAlias

import pytest

from peers import run
from sasl_auxprop.sasldb import SqliteStore
from sasl_core import Client, Result, Server, SetpassFlag, b64decode, b64encode
from sasl_core.plugin import VERIFIERS, Change, ScramVerifier, UserName
from sasl_core.verifier import derive, verifier_from_salted_password

pytestmark = pytest.mark.interop

Need: TypeAlias = Callable[[str], str]

USER = UserName("user", "")
PRINTED = re.compile(r"\{SCRAM-SHA-256\}([0-9]+),([^,]+),([^,]+),([^,]+)\n")


def gsasl_verifier(
    need: Need, home: Path, password: str, salt: bytes, iterations: int
) -> ScramVerifier:
    """What `gsasl --mkpasswd` prints, field by field."""
    command = [need("gsasl"), "--mkpasswd", "-m", "SCRAM-SHA-256", "-p", password]
    command += [f"--salt={b64encode(salt).decode()}", f"--iteration-count={iterations}"]
    outcome = run(command, home)
    outcome.expect(0)
    printed = PRINTED.fullmatch(outcome.output)
    assert printed is not None, str(outcome)
    count, *keys = printed.groups()
    return ScramVerifier("SHA-256", int(count), *(b64decode(key.encode()) for key in keys))


@pytest.mark.parametrize(
    ("password", "salt", "iterations"),
    [
        # The example of RFC 7677 section 3.
        ("pencil", "W22ZaJ0SNY7soEsUEjb6gQ==", 4096),
        ("p\u00e4ss w\u00f6rd", "AA==", 5000),
        ("x,y=z", "/////////////////////w==", 15000),
    ],
)
def test_the_same_password_gives_the_same_keys(
    need: Need, tmp_path: Path, password: str, salt: str, iterations: int
) -> None:
    """Rounds, salt, StoredKey and ServerKey, one by one."""
    octets = b64decode(salt.encode())
    theirs = gsasl_verifier(need, tmp_path, password, octets, iterations)
    salted = derive("SHA-256", password.encode(), octets, iterations)
    ours = verifier_from_salted_password("SHA-256", salted, octets, iterations)
    assert (theirs.iterations, theirs.salt) == (ours.iterations, ours.salt)
    assert theirs.stored_key == ours.stored_key
    assert theirs.server_key == ours.server_key


@pytest.mark.parametrize("password", ["pencil", "I\u00adX"])
def test_what_sasldb_holds_is_what_gsasl_would_make(
    need: Need, tmp_path: Path, password: str
) -> None:
    """A password set through the server, prepared and salted by it."""
    store = SqliteStore(tmp_path / "users.sqlite")
    with Server("smtp", "localhost", config={}, stores=[store]) as server:
        assert server.setpass("user", password, SetpassFlag.CREATE).ok
        kept = store.read(USER, [VERIFIERS]).verifiers["SHA-256"]
    assert gsasl_verifier(need, tmp_path, password, kept.salt, kept.iterations) == kept


@pytest.mark.parametrize("mechanism", ["PLAIN", "SCRAM-SHA-256"])
def test_a_verifier_of_gsasl_logs_its_user_in(need: Need, tmp_path: Path, mechanism: str) -> None:
    """An account that moves here with what GNU SASL kept of its password needs no new one."""
    theirs = gsasl_verifier(need, tmp_path, "pencil", b"0123456789abcdef", 4096)
    keys = [b64encode(key) for key in (theirs.salt, theirs.stored_key, theirs.server_key)]
    text = b"SCRAM-SHA-256$4096:%b$%b:%b" % tuple(keys)
    store = SqliteStore(tmp_path / "users.sqlite")
    config = {"allow_cleartext": True}
    with (
        Server("smtp", "localhost", config=config, stores=[store]) as server,
        Client("smtp", "localhost", config=config) as client,
    ):
        assert store.write(USER, Change({VERIFIERS: (text,)}, create=True)) is Result.OK
        with server.session() as here, client.session(authid="user", password="pencil") as there:
            said = there.start(mechanism)
            heard = here.start(mechanism, said.data)
            while not heard.done:
                said = there.step(heard.data or b"")
                heard = here.step(said.data or b"")
            there.finish()
            assert here.authid == "user"
