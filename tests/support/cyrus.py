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
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Final, Literal

from peers import SECONDS, Dialogue, Outcome, environment
from sasl_core import ClientSession, ServerSession, b64decode, b64encode

__all__ = [
    "CLIENT_GREETING",
    "PASSWORD",
    "REALM",
    "SCRAM",
    "SERVER_GREETING",
    "SUCCESS",
    "USER",
    "Cyrus",
    "hear",
    "log_in",
    "meant",
    "say",
    "serve",
]

USER: Final = "tim"
PASSWORD: Final = "pencil"
SCRAM: Final = [f"SCRAM-{name}" for name in ("SHA-1", "SHA-224", "SHA-256", "SHA-384", "SHA-512")]
"""Of the family, what Cyrus has."""
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
            f"mech_list: PLAIN ANONYMOUS {' '.join(SCRAM)}\n"
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

    def bound_server(
        self, offer: str, binding: tuple[str, bytes], *, critical: bool = False
    ) -> Dialogue:
        """Its library's server, on a connection with this channel binding: type and data."""
        return self._bound("server", offer, binding, critical)

    def bound_client(self, binding: tuple[str, bytes], *, critical: bool = False) -> Dialogue:
        """Its library's client, on such a connection."""
        return self._bound("client", USER, binding, critical)

    def _bound(self, side: str, what: str, binding: tuple[str, bytes], critical: bool) -> Dialogue:
        name, data = binding
        program = Path(__file__).with_name("cyrus_library.py")
        command = [sys.executable, "-P", str(program), side, what, name, data.hex()]
        flag = "critical" if critical else "optional"
        return Dialogue([*command, flag], self._home, mixed=True)

    def _run(self, side: Literal["client", "server"], *options: str) -> Dialogue:
        # Without stdbuf they keep what they say until their buffer is full.
        program = [self._need("stdbuf"), "-oL", self._need(f"sasl-sample-{side}"), "-s", "imap"]
        return Dialogue([*program, *options], self._home, mixed=True)


def meant(mechanism: bytes, initial: bytes) -> str:
    """The mechanism that Cyrus's client has chosen.

    sasl_client_start returns the name without -PLUS when it has taken -PLUS; its applications,
    libldap among them, send that. RFC 5802 section 6 has us refuse it, so whoever serves them
    puts it back, where the message says that it is bound.
    """
    return mechanism.decode() + ("-PLUS" if initial.startswith(b"p=") else "")


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


def log_in(session: ClientSession, peer: Dialogue) -> Outcome:
    """Our client talks to Cyrus's server until that is through, or has ended.

    What the session raises is raised here.
    """
    offered = hear(peer, "S")
    assert offered is not None
    reply = session.start(offered.decode())
    name = (session.mechanism or "").encode()
    assert name in offered.split()
    say(peer, "C", name if reply.data is None else name + b"\0" + reply.data)
    while (heard := hear(peer, "S")) is not None:
        reply = session.step(heard)
        if reply.data is not None:
            say(peer, "C", reply.data)
    # Behind its success: its last message, where that comes with the success, and the greeting.
    behind = [message for message in [hear(peer, "S")] if message is not None]
    if behind and behind != [SERVER_GREETING]:
        behind.append(hear(peer, "S") or b"")
    if behind:
        assert behind.pop() == SERVER_GREETING
        session.finish(*behind)
        say(peer, "C", CLIENT_GREETING)
    return peer.end()


def serve(session: ServerSession, peer: Dialogue, offer: str, password: str = PASSWORD) -> Outcome:
    """Our server talks to Cyrus's client until both are through.

    What the session raises is raised here.
    """
    say(peer, "S", offer.encode())
    if offer != "ANONYMOUS":
        # It asks for it now, and reads the next line whatever that holds.
        peer.say(password)
    first = hear(peer, "C")
    assert first is not None
    name, separator, initial = first.partition(b"\0")
    reply = session.start(meant(name, initial), initial if separator else None)
    while not reply.done:
        say(peer, "S", reply.data or b"")
        response = hear(peer, "C")
        assert response is not None
        reply = session.step(response)
    if reply.data is not None:
        say(peer, "S", reply.data)
    say(peer, "S", SERVER_GREETING)
    assert hear(peer, "C", success=False) == CLIENT_GREETING
    return peer.end()
