"""A program of tests/interop/node, talked to in lines of JSON."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import threading
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from queue import Empty, Queue
from typing import Any, Self

__all__ = ["NODE", "SECONDS", "NodeProgram"]

NODE = Path(__file__).parents[1] / "interop" / "node"
SECONDS = 30.0


class NodeProgram:
    """One program; `with` ends it. `first`: what it said when it was ready.

    `folder` has its settings and its log, and is its home and the place of its temporary files.
    """

    def __init__(self, script: str, folder: Path, settings: Mapping[str, object]) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._script = script
        self._folder = folder
        given = folder / "settings.json"
        given.write_text(json.dumps(settings), "utf-8")
        node = shutil.which("node")
        assert node is not None
        self._log = (folder / "log").open("wb")
        self._process = subprocess.Popen(
            [node, str(NODE / script), str(given)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._log,
            env={
                "PATH": os.environ.get("PATH", os.defpath),
                "LC_ALL": "C.UTF-8",
                "HOME": str(folder),
                "TMPDIR": str(folder),
            },
            text=True,
        )
        self._lock = threading.Lock()
        self._lines: Queue[str] = Queue()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()
        try:
            self.first = self._line()
        except BaseException:
            self.close()
            raise

    def command(self, **command: object) -> dict[str, Any]:
        """Have something done; the answer. May be called by several threads.

        Raises:
            AssertionError: it does not answer; its log is shown.
        """
        assert self._process.stdin is not None
        with self._lock:
            self._process.stdin.write(json.dumps(command) + "\n")
            self._process.stdin.flush()
            return self._line()

    def close(self) -> None:
        """End it, by force where it does not by itself."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        with suppress(BrokenPipeError):
            self._process.stdin.close()
        try:
            self._process.wait(SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._reader.join(SECONDS)
        self._process.stdout.close()
        self._log.close()

    def log(self) -> str:
        """What it wrote to standard error."""
        return (self._folder / "log").read_text("utf-8", "replace")

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            self._lines.put(line)
        self._lines.put("")

    def _line(self) -> dict[str, Any]:
        try:
            line = self._lines.get(timeout=SECONDS)
        except Empty:
            line = ""
        if not line:
            # What it may still say would be taken for the answer to something else.
            self._process.kill()
            raise AssertionError(f"{self._script} says nothing:\n{self.log()}")
        answer: dict[str, Any] = json.loads(line)
        return answer

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
