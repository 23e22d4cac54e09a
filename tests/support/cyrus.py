"""Cyrus SASL's sample programs: a client and a server that talk to each other over a pipe.

Each message is one line, `C: ` or `S: ` and base64; all other lines are for people. The
server begins with its list of mechanisms; the client answers with the mechanism's name, a
NUL and its initial response (without one: the name alone). When they are through, the
server says `Username: ` and then sends a greeting, to be answered by another; both are
fixed, and a program that reads anything else ends with 1.

Its server ends where a mechanism other than PLAIN has no initial response, and its client
takes an empty one for none (`-d`), so that framing is tried with PLAIN alone.

`-l` on both sides: the last message of the server comes with its success. Without it, it
is one more challenge, which the client answers with an empty line.
"""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Final, Literal

from peers import SECONDS, Dialogue, environment
from sasl_core import b64decode, b64encode

__all__ = [
    "CLIENT_GREETING",
    "PASSWORD",
    "REALM",
    "SERVER_GREETING",
    "SUCCESS",
    "USER",
    "Cyrus",
    "hear",
    "say",
]

USER: Final = "tim"
PASSWORD: Final = "pencil"
REALM: Final = "localhost"
SUCCESS: Final = "Negotiation complete"
SERVER_GREETING: Final = b"srv message 1\0"
CLIENT_GREETING: Final = b"client message 1\0"


class Cyrus:
    """Cyrus's programs with a user database of their own, in the folder `home`.

    `need` finds a program, or skips the test that lacks it.
    """

    def __init__(self, home: Path, need: Callable[[str], str]) -> None:
        self._home = home
        self._need = need
        database = home / "sasldb2"
        _ = (home / "sample.conf").write_text(
            "pwcheck_method: auxprop\n"
            "auxprop_plugin: sasldb\n"
            f"sasldb_path: {database}\n"
            "mech_list: PLAIN ANONYMOUS SCRAM-SHA-256\n"
        )
        command = [self._need("saslpasswd2"), "-p", "-c", "-f", str(database), "-u", REALM, USER]
        _ = subprocess.run(
            command,
            input=PASSWORD.encode(),
            cwd=home,
            env=environment(home),
            check=True,
            capture_output=True,
            timeout=SECONDS,
        )

    def server(self, mechanism: str, *options: str) -> Dialogue:
        """Its server, which offers `mechanism` alone."""
        return self._run("server", "-d", REALM, "-u", REALM, "-m", mechanism, *options)

    def client(self, *options: str) -> Dialogue:
        """Its client; it logs in as `USER`, and reads a password after the server's list."""
        return self._run("client", "-n", REALM, "-a", USER, "-u", USER, *options)

    def _run(self, side: Literal["client", "server"], *options: str) -> Dialogue:
        # Without stdbuf they keep what they say until their buffer is full.
        program = [self._need("stdbuf"), "-oL", self._need(f"sasl-sample-{side}"), "-s", "imap"]
        return Dialogue([*program, *options], self._home, mixed=True)


def say(dialogue: Dialogue, side: Literal["C", "S"], message: bytes) -> None:
    """Say a message, as a client (C) or a server (S)."""
    dialogue.say(f"{side}: {b64encode(message).decode()}")


def hear(dialogue: Dialogue, side: Literal["C", "S"], *, success: bool = True) -> bytes | None:
    """The next message of that side.

    None when it ended without one or, where `success` ends the waiting, when it says that
    it is through.
    """
    while (line := dialogue.hear()) is not None:
        if line.startswith(f"{side}: ") or line == f"{side}:":
            return b64decode(line[3:].encode())
        if success and line == SUCCESS:
            return None
    return None
