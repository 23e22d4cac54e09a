"""Servers of others: in a folder of their own, on 127.0.0.1, ended by their process id.

Some of them refuse to run as root. Root runs them as the account that their package has made,
anybody else as oneself; the folder belongs to whom they run as.
"""

from __future__ import annotations

import os
import pwd
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from peers import SEARCHED, SECONDS

__all__ = ["Home", "free_port", "home_of", "running"]


def free_port() -> int:
    """A port of 127.0.0.1 that nobody listens on."""
    with socket.create_server(("127.0.0.1", 0)) as bound:
        port: int = bound.getsockname()[1]
    return port


class Home:
    """A folder, and who may read it."""

    def __init__(self, folder: Path, account: str | None) -> None:
        self.folder = folder
        self.account = account

    def write(self, name: str, text: str | bytes) -> Path:
        """Write a file that nobody else can read."""
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(text.encode() if isinstance(text, str) else text)
        path.chmod(0o600)
        if self.account is not None:
            for made in (path, *path.parents):
                if made == self.folder:
                    break
                os.chown(made, pwd.getpwnam(self.account).pw_uid, -1)
        return path

    def call(self, *command: str) -> str:
        """Run a program to its end; what it printed.

        Raises:
            AssertionError: it failed.
        """
        done: subprocess.CompletedProcess[str] = subprocess.run(
            command,
            **self.identity,
            cwd=self.folder,
            env=self.environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=SECONDS,
            check=False,
        )
        assert done.returncode == 0, f"{command} ended with {done.returncode}: {done.stdout}"
        return done.stdout

    @property
    def identity(self) -> dict[str, Any]:
        """As whom subprocess runs it: the account and its groups, none of root's."""
        if self.account is None:
            return {}
        group = pwd.getpwnam(self.account).pw_gid
        return {"user": self.account, "group": group, "extra_groups": []}

    @property
    def environment(self) -> dict[str, str]:
        """An environment without anybody's language or configuration."""
        return {"PATH": SEARCHED, "LC_ALL": "C.UTF-8", "HOME": str(self.folder)}


@contextmanager
def home_of(account: str) -> Iterator[Home]:
    """A folder for what `account` runs, or we where we are not root; removed at the end.

    It is not pytest's, whose folders are for their owner alone.
    """
    who = account if os.getuid() == 0 else None
    folder = Path(tempfile.mkdtemp(prefix=f"sasl-{account}-"))
    try:
        if who is not None:
            os.chown(folder, pwd.getpwnam(who).pw_uid, -1)
        yield Home(folder, who)
    finally:
        shutil.rmtree(folder)


@contextmanager
def running(home: Home, command: list[str], *ports: int) -> Iterator[None]:
    """Run a server that stays in the foreground, once it listens on `ports`.

    Raises:
        AssertionError: it ended, or did not listen in time; what it said is shown.
    """
    log = home.folder / "output"
    with log.open("wb") as output:
        process = subprocess.Popen(
            command,
            **home.identity,
            cwd=home.folder,
            env=home.environment,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    try:
        limit = time.monotonic() + SECONDS
        for port in ports:
            while not _listens(port):
                said = f"{command[0]} does not listen: {log.read_text('utf-8', 'replace')}"
                assert process.poll() is None, said
                assert time.monotonic() < limit, said
                time.sleep(0.02)
        yield
    finally:
        process.terminate()
        try:
            process.wait(5)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait(SECONDS)


def _listens(port: int) -> bool:
    with suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
        return True
    return False
