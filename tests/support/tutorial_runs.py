"""A tutorial as its reader follows it: the files of the page in a folder, its commands in a shell.

    with Tutorial(page, folder, {"27018": "40123"}) as tutorial:
        tutorial.run("sasl config check")      # up to that command, and then
        tutorial.run()                         # the rest; what they printed

A block of TOML or Python is the file whose name its paragraph begins with. What is replaced has
to be in the page. A command that ends with `&` is awaited until it logs that it listens.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Self

from login_provider import CLIENT_SECRET, LoginProvider
from mailhost import MailHost
from sasl_cli.demo_provider import new_key

__all__ = [
    "SMARTHOST_PASSWORD",
    "GroupsProvider",
    "Tutorial",
    "loopback",
    "submission_page",
    "withdrawn",
]

SMARTHOST_PASSWORD = "password-of-the-smarthost-4410"

# Each command is a fresh interpreter that loads most of what there is.
LIMIT = 120.0

PAGES = Path(__file__).parents[2] / "docs" / "tutorials"
FENCE = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
ISSUER = "https://id.example.com"


class GroupsProvider(LoginProvider):
    """Gives `backup` tokens with `claims`, for `audience`."""

    def __init__(self, audience: str, **claims: object) -> None:
        super().__init__()
        self.claims = {"sub": "backup", "aud": audience, **claims}

    def grant(self, form: str, authorization: str) -> tuple[int, dict[str, object]]:
        status, answer = super().grant(form, authorization)
        if status == 200:
            answer["access_token"] = self.token(self.claims)
        return status, answer


def loopback(issuer: str) -> dict[str, str]:
    """What is replaced in a page for its provider to be this one, without TLS, and asked often."""
    return {
        f'issuer = "{ISSUER}"': f'allowLoopbackHttp = true\nissuer = "{issuer}"',
        "JWKSPollSecs = 300": "JWKSPollSecs = 1",
        f"--issuer {ISSUER}": f"--allow-loopback-http --issuer {issuer}",
    }


@contextmanager
def withdrawn(provider: GroupsProvider, lets_in: Callable[[], bool]) -> Iterator[None]:
    """Another key in the place of the provider's until `with` ends, and whoever polls knows it."""
    limit = time.monotonic() + 30
    known = provider.key
    for key, wanted in ((new_key(), False), (known, True)):
        provider.key = key
        while lets_in() is not wanted:
            assert time.monotonic() < limit, "whoever trusts it does not ask for the keys"
            time.sleep(0.1)
        if not wanted:
            yield


class Tutorial:
    """Its files lie in `folder` from the start; `with` ends what its commands have begun."""

    def __init__(self, page: str, folder: Path, replaced: Mapping[str, str]) -> None:
        self.folder = folder
        text = (PAGES / f"{page}.md").read_text("utf-8")
        for old, new in replaced.items():
            assert old in text, f"{old!r} is not in the page"
            text = text.replace(old, new)
        self.commands: list[str] = []
        self.printed: list[str] = []
        for fence in FENCE.finditer(text):
            kind, body = fence.groups()
            if kind == "sh":
                self.commands += body.splitlines()
            elif kind == "text":
                self.printed.append(body)
            else:
                paragraph = text[: fence.start()].rstrip().rpartition("\n\n")[2]
                named = re.match(r"`(\w+\.\w+)`", paragraph)
                assert named is not None, f"which file is this? {paragraph}"
                (folder / named[1]).write_text(body, "utf-8")
        (folder / "secret").write_text(CLIENT_SECRET)
        (folder / "secret").chmod(0o600)
        self._started: list[tuple[subprocess.Popen[bytes], Path]] = []
        self._bin = folder / "bin"
        self._bin.mkdir()
        for name, arguments in (("python", ""), ("sasl", "-m sasl_cli")):
            program = self._bin / name
            program.write_text(f'#!/bin/sh\nexec "{sys.executable}" -P {arguments} "$@"\n')
            program.chmod(0o755)

    def run(self, first: str | None = None, *, without: str | None = None) -> str:
        """Run the commands that are left, up to the one that begins with `first`.

        `without`: leave out those that begin so. Each has to succeed; what they printed.
        """
        printed = ""
        while self.commands:
            command = self.commands.pop(0)
            if without is None or not command.startswith(without):
                printed += self._call(command)
            if first is not None and command.startswith(first):
                return printed
        assert first is None, f"no command begins with {first!r}"
        return printed

    def said(self) -> str:
        """What the servers logged."""
        return "".join(log.read_text("utf-8") for _, log in self._started)

    def _call(self, command: str) -> str:
        if command.endswith("&"):
            self._start(command.removesuffix("&"))
            return ""
        done = subprocess.run(
            ["sh", "-c", command],
            cwd=self.folder,
            env=self._environment(),
            capture_output=True,
            text=True,
            timeout=LIMIT,
            check=False,
        )
        assert done.returncode == 0, f"{command}: {done.stdout}{done.stderr}"
        return done.stdout

    def _start(self, command: str) -> None:
        log = self.folder / f"log{len(self._started)}"
        with log.open("wb") as output:
            process = subprocess.Popen(
                # The shell gives its place to the program, which a signal then reaches.
                ["sh", "-c", f"exec {command}"],
                cwd=self.folder,
                env=self._environment(),
                stdout=output,
                stderr=subprocess.STDOUT,
            )
        self._started.append((process, log))
        limit = time.monotonic() + LIMIT
        while "listens" not in log.read_text("utf-8"):
            assert process.poll() is None, log.read_text("utf-8")
            assert time.monotonic() < limit, log.read_text("utf-8")
            time.sleep(0.02)

    def _environment(self) -> dict[str, str]:
        path = os.environ.get("PATH", os.defpath)
        return {
            "PATH": f"{self._bin}{os.pathsep}{path}",
            "HOME": str(self.folder),
            "LC_ALL": "C.UTF-8",
            "PYTHONWARNINGS": "error",
            "SASL_CONF_PATH": str(self.folder),
            # The authority of whoever stands behind.
            "SSL_CERT_FILE": str(self.folder / "behind.pem"),
        }

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for process, _log in self._started:
            process.terminate()
            assert process.wait(LIMIT) == 0


def submission_page(
    folder: Path, provider: GroupsProvider, smarthost: MailHost, port: int
) -> Tutorial:
    """The page about mail, in a new folder in `folder`; it listens at `port`."""
    replaced = loopback(provider.issuer) | {
        '("localhost", 587)': f'("localhost", {smarthost.port})',
        "2525": str(port),
    }
    page = folder / "page"
    page.mkdir()
    assert smarthost.authority is not None
    (page / "behind.pem").write_bytes(smarthost.authority.authority.read_bytes())
    (page / "smarthost-password").write_text(f"{SMARTHOST_PASSWORD}\n")
    return Tutorial("submission", page, replaced)
