"""`sasl users import --report`: whose file it is, and what else it may be."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import IO

import pytest

from cli_runs import Sasl

pytestmark = pytest.mark.skipif(
    sys.platform == "win32", reason="Windows has neither modes, nor pipes with names, nor /dev"
)


def imported(
    sasl: Sasl,
    report: str | Path,
    *,
    pass_fds: Sequence[int] = (),
    stderr: int | IO[str] = subprocess.PIPE,
) -> subprocess.CompletedProcess[str]:
    """Import one user who is refused, in a process of its own."""
    file = sasl.folder / "users.jsonl"
    file.write_text('{"user": "tim"}\n')
    command = [sys.executable, "-P", "-m", "sasl_cli", "users", "import", "--db", str(sasl.db)]
    return subprocess.run(
        [*command, "--report", str(report), str(file)],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=stderr,
        text=True,
        cwd=sasl.folder,
        env=sasl.environment(),
        pass_fds=pass_fds,
        timeout=30,
        check=False,
    )


def reported(text: str) -> str:
    (line,) = text.splitlines()
    return str(json.loads(line)["user"])


def test_a_report_follows_no_link(sasl: Sasl) -> None:
    """In a folder of others it would make a file, or empty one, where it leads."""
    (sasl.folder / "old").write_text('{"line": 1}\n')
    for target in ("made", "old"):
        link = sasl.folder / f"to-{target}"
        link.symlink_to(sasl.folder / target)
        done = imported(sasl, link)
        assert done.returncode == 1
        assert "cannot be written: Too many levels of symbolic links" in done.stderr
    assert not (sasl.folder / "made").exists()
    assert (sasl.folder / "old").read_text() == '{"line": 1}\n'


def test_a_report_that_was_readable_is_closed(sasl: Sasl) -> None:
    """An earlier report of mode 0644 is written anew with 0600, as a new one is."""
    report = sasl.folder / "report.jsonl"
    report.write_text('{"line": 1}\n' * 100)
    report.chmod(0o644)
    imported(sasl, report)
    assert report.stat().st_mode & 0o777 == 0o600
    assert reported(report.read_text()) == "tim"


def test_the_file_of_users_is_no_report(sasl: Sasl) -> None:
    """Even if it begins as one, by whatever name it is called."""
    users = sasl.folder / "users.jsonl"
    users.write_text('{"line": 1}\n')
    (sasl.folder / "also").hardlink_to(users)
    done = sasl.run("users", "import", "--report", "also", "--db", str(sasl.db), str(users))
    assert "is the file of users itself" in done.stderr
    assert users.read_text() == '{"line": 1}\n'


def test_a_report_may_be_a_descriptor(sasl: Sasl) -> None:
    """`--report >(jq)` is /dev/fd/N: it is written to, and nothing is looked for in it."""
    reading, writing = os.pipe()
    try:
        imported(sasl, f"/dev/fd/{writing}", pass_fds=[writing])
        os.close(writing)
        writing = -1
        assert reported(os.read(reading, 65536).decode()) == "tim"
    finally:
        os.close(reading)
        if writing >= 0:
            os.close(writing)
    done = imported(sasl, "/dev/stderr")
    assert '"outcome": "refused"' in done.stderr
    assert "cannot be written" in imported(sasl, "/dev/fd/99").stderr


def test_what_standard_error_was_sent_to_is_not_emptied(sasl: Sasl) -> None:
    """/dev/stderr may be a log with other things in it."""
    log = sasl.folder / "log"
    log.write_text("before\n")
    with log.open("a") as appended:
        imported(sasl, "/dev/stderr", stderr=appended)
    assert log.read_text().startswith("before\n")
    assert '"outcome": "refused"' in log.read_text()


def test_a_report_may_be_a_pipe_with_a_name(sasl: Sasl) -> None:
    """With a reader it is written to; without one it is refused, and nobody waits."""
    pipe = sasl.folder / "pipe"
    os.mkfifo(pipe)
    done = imported(sasl, pipe)
    assert (done.returncode, "cannot be written: No such device" in done.stderr) == (1, True)
    reading = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    try:
        imported(sasl, pipe)
        assert reported(os.read(reading, 65536).decode()) == "tim"
    finally:
        os.close(reading)
