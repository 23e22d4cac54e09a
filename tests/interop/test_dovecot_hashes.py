"""The password hashes that Dovecot makes are checked by us as by Dovecot itself."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import TypeAlias

import pytest

from hash_kit import config, give, logs_in
from peers import run
from sasl_auxprop.memory import MemoryStore
from sasl_core import Server
from sasl_pwcheck.hashes.schemes import SUPPORTED
from sasl_pwcheck.hashes.text import parse_hash

pytestmark = pytest.mark.interop

Need: TypeAlias = Callable[[str], str]

USER = "tim@example.com"
SCHEMES = (
    "ARGON2I", "ARGON2ID", "BLF-CRYPT", "CLEAR", "CLEARTEXT", "CRAM-MD5", "CRYPT", "DES-CRYPT",
    "DIGEST-MD5", "HMAC-MD5", "LDAP-MD5", "MD5", "MD5-CRYPT", "PBKDF2", "PLAIN", "PLAIN-MD4",
    "PLAIN-MD5", "SCRAM-SHA-1", "SCRAM-SHA-256", "SHA", "SHA1", "SHA256", "SHA256-CRYPT", "SHA512",
    "SHA512-CRYPT", "SMD5", "SSHA", "SSHA256", "SSHA512",
)  # fmt: skip
NOT_OURS = {"OTP", "PLAIN-TRUNC", "SKEY", "LANMAN", "NTLM", "RPA"}
PASSWORDS = ("test", "pä$s :1{", " blank ")


def made(need: Need, home: Path, scheme: str, password: str) -> str:
    """What `doveadm pw` makes of a password."""
    command = [need("doveadm"), "pw", "-s", scheme, "-p", password, "-u", USER]
    outcome = run(command, home)
    outcome.expect(0)
    return outcome.output.rstrip("\n")


def test_every_scheme_is_tried(need: Need, tmp_path: Path) -> None:
    """Whatever this Dovecot knows is tried below, or is known not to be supported."""
    outcome = run([need("doveadm"), "pw", "-l"], tmp_path)
    known = set(outcome.output.split())
    assert known
    assert known - NOT_OURS <= set(SCHEMES)


@pytest.mark.parametrize("encoding", ["", ".hex", ".b64"])
@pytest.mark.parametrize("scheme", SCHEMES)
def test_dovecots_hash_lets_in(need: Need, tmp_path: Path, scheme: str, encoding: str) -> None:
    """Its password does, another does not, and Dovecot says the same of both."""
    # DES-CRYPT looks at eight octets, which all of these have or are below.
    for number, password in enumerate(PASSWORDS[:1] if scheme == "DES-CRYPT" else PASSWORDS):
        text = made(need, tmp_path, scheme + encoding, password)
        store = MemoryStore()
        give(store, USER, text)
        with Server("imap", "h.example", config=config(), stores=[store]) as server:
            assert not logs_in(server, USER, PASSWORDS[number - 1])
            assert logs_in(server, USER, password)
        for other in (password, PASSWORDS[number - 1]):
            command = [need("doveadm"), "pw", "-t", text, "-p", other, "-u", USER]
            theirs = run(command, tmp_path)
            assert (theirs.status == 0) is (other == password), str(theirs)


USUAL = ("SHA512-CRYPT", "SHA256-CRYPT", "BLF-CRYPT", "ARGON2ID", "ARGON2I", "PBKDF2")


@pytest.mark.parametrize("scheme", [*USUAL, "SCRAM-SHA-1", "SCRAM-SHA-256"])
def test_the_usual_cost_is_dovecots(need: Need, tmp_path: Path, scheme: str) -> None:
    """What a label without numbers means is what `doveadm pw` does without any."""
    stored = parse_hash(made(need, tmp_path, scheme, "test").encode())
    assert stored.cost == SUPPORTED[stored.scheme].usual


def test_truncation_is_dovecots(need: Need, tmp_path: Path) -> None:
    """With truncate_passwords a password beyond 72 octets is checked as Dovecot checks it."""
    text = made(need, tmp_path, "BLF-CRYPT", "x" * 72)
    store = MemoryStore()
    give(store, USER, text)
    command = [need("doveadm"), "pw", "-t", text, "-p", "x" * 80, "-u", USER]
    theirs = run(command, tmp_path).status == 0
    for allowed in (False, True):
        settings = config(truncate_passwords=allowed)
        with Server("imap", "h.example", config=settings, stores=[store]) as server:
            assert logs_in(server, USER, "x" * 80) is (allowed and theirs)
    assert theirs
    assert re.match(r"\{BLF-CRYPT\}\$2y\$05\$", text)
