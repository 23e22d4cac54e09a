"""Programs of others, run and ended by the tests that log in with them."""

from __future__ import annotations

import os
import subprocess
import threading
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Self

__all__ = ["SEARCHED", "SECONDS", "Dialogue", "Outcome", "run"]

SEARCHED = os.pathsep.join([os.environ.get("PATH", os.defpath), "/usr/sbin"])
"""Where peers are looked for: what is in sbin is not on everybody's path."""

SECONDS = 30.0
"""What a peer may take; one that hangs is killed then, and its test fails."""


@dataclass(frozen=True)
class Outcome:
    """How a peer ended, and all that it printed."""

    command: tuple[str, ...]
    status: int
    output: str

    def __str__(self) -> str:
        return f"{' '.join(self.command)}\nended with {self.status} and said:\n{self.output}"

    def expect(self, *statuses: int) -> int:
        """The exit status, which must be one of these.

        Raises:
            AssertionError: it is not; all that the peer said is shown.
        """
        if self.status not in statuses:
            raise AssertionError(str(self))
        return self.status


def environment(home: Path) -> dict[str, str]:
    """An environment without anybody's ~/.curlrc, language or SASL configuration."""
    return {
        "PATH": os.environ.get("PATH", os.defpath),
        "HOME": str(home),
        "LC_ALL": "C.UTF-8",
        "SASL_CONF_PATH": str(home),
    }


def run(command: list[str], home: Path, typed: str = "") -> Outcome:
    """Run a peer to its end in the folder `home`; it reads `typed`.

    Raises:
        AssertionError: it took too long, and was killed.
    """
    # A session of its own has no terminal that it could ask for a password.
    process = subprocess.Popen(
        command,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        cwd=home,
        env=environment(home),
        start_new_session=True,
        encoding="utf-8",
    )
    try:
        output, _ = process.communicate(typed, timeout=SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        output, _ = process.communicate()
        outcome = Outcome(tuple(command), process.returncode, output)
        raise AssertionError(f"too slow: {outcome}") from None
    return Outcome(tuple(command), process.returncode, output)


class Dialogue:
    """A peer that is talked to while it runs; `with` ends it, by force where it does not.

    What it says on standard error is kept apart, or comes with the rest if `mixed`.
    """

    def __init__(self, command: list[str], home: Path, *, mixed: bool = False) -> None:
        self._command = tuple(command)
        self._transcript: list[str] = []
        self._errors = home / "stderr"
        with self._errors.open("wb") as errors:
            self.process = subprocess.Popen(
                command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT if mixed else errors,
                cwd=home,
                env=environment(home),
                start_new_session=True,
            )
        self._killer = threading.Timer(SECONDS, self.process.kill)
        self._killer.start()

    def say(self, line: str) -> None:
        """Type a line. Nothing happens where the peer has gone: `hear` tells of it."""
        self._transcript.append(f"> {line}\n")
        stdin = self._pipe(self.process.stdin)
        with suppress(BrokenPipeError):
            stdin.write(line.encode() + b"\n")
            stdin.flush()

    def hear(self) -> str | None:
        """The next line that it prints, None when it prints no more."""
        line = self._pipe(self.process.stdout).readline().decode()
        self._transcript.append(f"< {line}")
        return line.rstrip("\r\n") if line else None

    def hear_until(self, text: str) -> None:
        """Wait until it has printed `text`, which may end in the middle of a line.

        Raises:
            AssertionError: it ended first.
        """
        stdout, heard = self._pipe(self.process.stdout), b""
        while not heard.endswith(text.encode()):
            octet = stdout.read(1)
            heard += octet
            assert octet, f"it never said {text!r}: {heard.decode()}"
        self._transcript.append(heard.decode())

    def end(self) -> Outcome:
        """Close its input and wait until it has ended."""
        with suppress(BrokenPipeError):
            self._pipe(self.process.stdin).close()
        rest = self._pipe(self.process.stdout).read().decode()
        status = self.process.wait(SECONDS)
        said = "".join([*self._transcript, rest, self._errors.read_text("utf-8", "replace")])
        return Outcome(self._command, status, said)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._killer.cancel()
        self._killer.join()
        self.process.kill()
        self.process.wait(SECONDS)
        for pipe in (self.process.stdin, self.process.stdout):
            with suppress(BrokenPipeError):
                self._pipe(pipe).close()

    @staticmethod
    def _pipe(pipe: IO[bytes] | None) -> IO[bytes]:
        assert pipe is not None
        return pipe
