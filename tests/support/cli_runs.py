"""The `sasl` command in a process of its own, and distributions that it finds installed."""

from __future__ import annotations

import io
import logging
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, chdir, contextmanager
from pathlib import Path
from textwrap import dedent
from unittest import mock

PASSWORD = "correct-horse-7677"
"""What no output may ever hold."""


class Sasl:
    """Runs `sasl` with nothing of this machine's configuration, in `folder`."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.site = folder / "site"
        self.temporary = folder / "tmp"
        self.temporary.mkdir()
        self.db = folder / "users.sqlite"

    def environment(self) -> dict[str, str]:
        """What the process sees; a warning ends it."""
        inherited = {k: v for k, v in os.environ.items() if k in ("PATH", "SYSTEMROOT", "HOME")}
        return inherited | {
            "COLUMNS": "80",
            "LC_ALL": "C.UTF-8",
            "PYTHONPATH": str(self.site),
            "PYTHONWARNINGS": "error",
            "SASL_CONF_PATH": str(self.folder / "etc"),
            "TMPDIR": str(self.temporary),
        }

    def run(
        self,
        *arguments: str | bytes,
        stdin: bytes = b"",
        code: str | None = None,
        environment: Mapping[str, str] | None = None,
    ) -> subprocess.CompletedProcess[str]:
        """Run it to its end. `code`: run this Python instead, with the same arguments.

        In this process, unless something is installed or set that only a fresh one sees.
        Whatever it was asked, it must not end in a traceback, nor show `PASSWORD`.
        """
        if code is None and environment is None and not self.site.exists():
            done = self._call([os.fsdecode(argument) for argument in arguments], stdin)
        else:
            start = ["-c", dedent(code)] if code is not None else ["-m", "sasl_cli"]
            done = subprocess.run(
                [sys.executable, "-P", *start, *arguments],
                input=stdin,
                capture_output=True,
                check=False,
                cwd=self.folder,
                env=self.environment() | dict(environment or {}),
                timeout=60,
            )
        assert PASSWORD.encode() not in done.stdout + done.stderr
        assert b"Traceback" not in done.stderr, done.stderr.decode()
        return subprocess.CompletedProcess(
            done.args, done.returncode, done.stdout.decode(), done.stderr.decode()
        )

    def _call(self, arguments: list[str], stdin: bytes) -> subprocess.CompletedProcess[bytes]:
        """The same in this process, which is six times as fast."""
        from sasl_cli import main

        out, err = io.BytesIO(), io.BytesIO()
        streams = {
            "argv": ["sasl", *arguments],
            "stdin": io.TextIOWrapper(io.BytesIO(stdin), "utf-8"),
            "stdout": io.TextIOWrapper(out, "utf-8"),
            "stderr": io.TextIOWrapper(err, "utf-8"),
        }
        loggers = [logging.getLogger(name) for name in ("sasl_core", "sasl_profiles", "sasl_tls")]
        with ExitStack() as stack:
            stack.enter_context(mock.patch.dict(os.environ, self.environment(), clear=True))
            stack.enter_context(chdir(self.folder))
            for name, stream in streams.items():
                stack.enter_context(mock.patch.object(sys, name, stream))
            for logger in loggers:
                stack.enter_context(mock.patch.object(logger, "handlers", []))
                stack.enter_context(mock.patch.object(logger, "level", logger.level))
            status = main()
            sys.stdout.flush()
            sys.stderr.flush()
        return subprocess.CompletedProcess(arguments, status, out.getvalue(), err.getvalue())

    def user(self, name: str, password: str = PASSWORD) -> None:
        """Make a user in `db`."""
        made = self.run("passwd", "--db", str(self.db), "-c", "-p", name, stdin=password.encode())
        assert made.returncode == 0, made.stderr

    def log_in(
        self, url: str, *options: str, password: str = PASSWORD
    ) -> subprocess.CompletedProcess[str]:
        """`sasl auth` as tim."""
        return self.run("auth", url, "--user", "tim", "-p", *options, stdin=password.encode())

    def module(self, name: str, source: str) -> None:
        """Put a module where the command can import it."""
        self.site.mkdir(exist_ok=True)
        (self.site / f"{name}.py").write_text(dedent(source), "utf-8")

    def install(self, distribution: str, *declared: tuple[str, str, str]) -> None:
        """Declare (kind, name, value) for each entry point of a distribution."""
        info = self.site / f"{distribution.replace('-', '_')}-1.0.dist-info"
        info.mkdir(parents=True)
        metadata = f"Metadata-Version: 2.1\nName: {distribution}\nVersion: 1.0\n"
        (info / "METADATA").write_text(metadata, "utf-8")
        lines = "".join(f"[sasl_core.{kind}]\n{name} = {value}\n" for kind, name, value in declared)
        (info / "entry_points.txt").write_text(lines, "utf-8")

    @contextmanager
    def serving(
        self, *options: str, listen: str = "127.0.0.1:0", profile: str = "smtp"
    ) -> Iterator[Served]:
        """`sasl serve` for as long as the block runs; ended by SIGTERM if it has not been."""
        process = subprocess.Popen(
            [
                sys.executable,
                "-P",
                "-m",
                "sasl_cli",
                "serve",
                profile,
                "--listen",
                listen,
                *options,
            ],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            cwd=self.folder,
            env=self.environment(),
            text=True,
        )
        served = Served(process)
        try:
            served.wait_until_it_listens()
            yield served
        finally:
            _ = served.end(signal.SIGTERM)


class Served:
    """A server that runs in a process of its own. `address` is HOST:PORT."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.process = process
        self.address = ""
        self.port = 0
        self.log = ""

    def wait_until_it_listens(self) -> None:
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        match = re.fullmatch(r"listening on (.+:([0-9]+))\n", line)
        assert match is not None, (line, self.end(signal.SIGKILL), self.log)
        self.address, self.port = match[1], int(match[2])

    def end(self, number: signal.Signals) -> int:
        """Send it a signal, wait for its end; its exit status. Idempotent."""
        if self.process.poll() is None:
            self.process.send_signal(number)
            began = time.monotonic()
            _, self.log = self.process.communicate(timeout=20)
            assert time.monotonic() - began < 15
            assert PASSWORD not in self.log
            assert "Traceback" not in self.log
        return self.process.wait()


def lines(text: str) -> Sequence[str]:
    """The lines of an output, without the blanks that fill them up."""
    return [line.rstrip() for line in text.splitlines()]
