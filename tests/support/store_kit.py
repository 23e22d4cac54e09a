"""What the tests of property stores share."""

from __future__ import annotations

import hashlib
import subprocess
import sys
import textwrap
import threading
from contextlib import suppress
from typing import TYPE_CHECKING, TypeVar, cast

from sasl_core.plugin import (
    SCRAM_HASHES,
    NeedCall,
    SaslError,
    format_verifier,
    verifier_from_salted_password,
)

if TYPE_CHECKING:
    from sasl_core.plugin import Needs

T = TypeVar("T")


def make_verifier(
    password: str = "pencil", hash_name: str = "SHA-256", rounds: int = 4096
) -> bytes:
    """A stored verifier; the same arguments give the same one."""
    salt = hashlib.sha256(password.encode()).digest()[:16]
    salted = hashlib.pbkdf2_hmac(SCRAM_HASHES[hash_name][0], password.encode(), salt, rounds)
    return format_verifier(verifier_from_salted_password(hash_name, salted, salt, rounds))


def drive(body: Needs[T]) -> T:
    """What a body of store needs returns, each call made at once."""
    try:
        need = next(body)
        while True:
            assert isinstance(need, NeedCall)
            need = body.send(cast("NeedCall[object]", need).function())
    except StopIteration as end:
        return cast("T", end.value)


def all_texts(error: BaseException) -> str:
    """Everything that an error, and those behind it, would tell a reader."""
    texts: list[str] = []
    current: BaseException | None = error
    while current is not None:
        texts += [str(current), repr(current), repr(current.args)]
        if isinstance(current, SaslError):
            texts.append(str(current.detail))
        current = current.__cause__ or current.__context__
    return "\n".join(texts)


class Child:
    """A Python process that runs `code`, spoken to in lines of text; killed after a minute."""

    def __init__(self, code: str, *arguments: object) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-X", "utf8", "-c", textwrap.dedent(code), *map(str, arguments)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        # So that a deadlock is a failure, and not a test run that never ends.
        self.watchdog = threading.Timer(60, self.process.kill)
        self.watchdog.daemon = True
        self.watchdog.start()

    def say(self, line: str) -> None:
        """Give it a line."""
        assert self.process.stdin is not None
        self.process.stdin.write(f"{line}\n")
        self.process.stdin.flush()

    def hear(self) -> str:
        """Its next line, without the end of line; empty when it has ended."""
        assert self.process.stdout is not None
        return self.process.stdout.readline().rstrip("\n")

    def kill(self) -> list[str]:
        """Kill it at once; the whole lines that it had still written."""
        self.process.kill()
        out, _ = self._end()
        return [line.rstrip("\n") for line in out.splitlines(keepends=True) if line[-1] == "\n"]

    def finish(self) -> str:
        """The rest of its output; it has to end well."""
        out, err = self._end()
        assert self.process.returncode == 0, f"{self.process.returncode}:\n{out}\n{err}"
        return out

    def _end(self) -> tuple[str, str]:
        process = self.process
        assert process.stdin is not None
        assert process.stdout is not None
        assert process.stderr is not None
        try:
            # Not by communicate(): that reads the pipe itself, past what `hear` has read ahead.
            with suppress(BrokenPipeError), process.stdin:
                process.stdin.flush()
            with process.stdout, process.stderr:
                out, err = process.stdout.read(), process.stderr.read()
            process.wait()
            return out, err
        finally:
            self.watchdog.cancel()
            self.watchdog.join()
