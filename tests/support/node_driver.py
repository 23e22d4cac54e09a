"""npm `mongodb`, MongoDB's driver for Node, as a test starts, commands and ends it.

    with NodeDriver(folder, modules) as node:
        node.open("mongodb://localhost:27017", {"auth": {...}})
        node.run({"ping": 1})           # the server's answer; NodeError where it fails
        node.events                     # the commands of that call: name, and 0 or the code
        node.close_client()

`open(..., kind="OIDC_CALLBACK")` gives the driver a callback; `tokens` answers what it asks.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from queue import Empty, Queue
from typing import Any, Self

__all__ = ["NodeDriver", "NodeError"]

SCRIPT = Path(__file__).parents[1] / "interop" / "node" / "driver.mjs"
SECONDS = 30.0

Tokens = Callable[[dict[str, Any]], dict[str, Any]]


class NodeError(Exception):
    """What a command of the driver's failed with: its class, its code and the server's text."""

    def __init__(self, failed: Mapping[str, Any]) -> None:
        super().__init__(failed["message"])
        self.name: str = failed["name"]
        self.code: int | None = failed["code"]
        self.errmsg: str | None = failed["errmsg"]


class NodeDriver:
    """One process with the driver, and one client at a time; `with` ends it."""

    def __init__(self, folder: Path, modules: Path) -> None:
        node = shutil.which("node")
        assert node is not None
        self._errors = folder / "node-errors"
        self._log = self._errors.open("wb")
        self._process = subprocess.Popen(
            [node, str(SCRIPT), str(modules)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._log,
            encoding="utf-8",
        )
        self._lines: Queue[str] = Queue()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()
        self.tokens: Tokens | None = None
        self.events: list[tuple[str, int]] = []
        self.version: str = self._hear()["version"]

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            self._lines.put(line)
        self._lines.put("")

    def _hear(self) -> dict[str, Any]:
        try:
            line = self._lines.get(timeout=SECONDS)
        except Empty:
            line = ""
        if not line:
            said = self._errors.read_text("utf-8", "replace")
            raise AssertionError(f"node says nothing:\n{said}")
        answer: dict[str, Any] = json.loads(line)
        return answer

    def _say(self, message: Mapping[str, Any]) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(message) + "\n")
        self._process.stdin.flush()

    def _command(self, command: Mapping[str, Any]) -> dict[str, Any]:
        self._say(command)
        while True:
            heard = self._hear()
            if "asks" not in heard:
                break
            assert self.tokens is not None, "nobody gives tokens here"
            self._say(self.tokens(heard["asks"]))
        self.events = [(name, code) for name, code in heard.get("events", [])]
        if "failed" in heard:
            raise NodeError(heard["failed"])
        done: dict[str, Any] = heard["done"]
        return done

    def open(
        self,
        uri: str,
        options: Mapping[str, Any],
        *,
        kind: str | None = None,
        tokens: Tokens | None = None,
        properties: Mapping[str, Any] | None = None,
    ) -> None:
        """Make a client; it connects when it is first used.

        Raises:
            NodeError: the driver does not take the options.
        """
        self.tokens = tokens
        _ = self._command(
            {
                "open": {
                    "uri": uri,
                    "options": dict(options),
                    "kind": kind,
                    "properties": dict(properties or {}),
                }
            }
        )

    def run(self, document: Mapping[str, Any], database: str = "admin") -> dict[str, Any]:
        """Run a command.

        Raises:
            NodeError: it failed.
        """
        return self._command({"run": dict(document), "database": database})

    def close_client(self) -> None:
        """Close the client, if there is one."""
        _ = self._command({"close": True})

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        try:
            self._process.wait(SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._reader.join(SECONDS)
        if self._process.stdout is not None:
            self._process.stdout.close()
        self._log.close()
