"""Creating users in bulk: `sasl users import`, run as an administrator would.

The file holds verifiers, so that nothing is derived; writing the file is not on the clock,
starting the command is.
"""

from __future__ import annotations

import json
import subprocess
import sys
from contextlib import closing
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING, Final

from bench.people import crowd
from bench.rows import Row
from sasl_auxprop.sasldb import SqliteStore
from sasl_core import Result
from sasl_core.plugin import VERIFIERS, UserName, format_verifier

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["row"]

COMMAND: Final = (sys.executable, "-P", "-m", "sasl_cli", "users", "import")


def row(path: Path, names: Sequence[str]) -> Row:
    """Import all `names` into a new database at `path`; without the command, say so."""
    seconds, note = _imported(path, names)
    return Row(
        topic="stores",
        what=f"creating {len(names):,} users in bulk",
        unit="s",
        ours=seconds,
        figure=None if seconds is None else seconds / len(names),
        figure_unit="us",
        note=note,
    )


def _imported(path: Path, names: Sequence[str]) -> tuple[float | None, str]:
    asked = subprocess.run([*COMMAND[:-1], "--help"], capture_output=True, text=True, check=False)
    if COMMAND[-1] not in asked.stdout:
        return None, "this version has no `sasl users import`, or extra `cli` is not installed"
    verifier = format_verifier(crowd(()).verifier()).decode()
    source = path.with_suffix(".jsonl")
    with source.open("w", encoding="utf-8") as lines:
        for name in names:
            print(json.dumps({"user": name, "verifiers": [verifier]}), file=lines)
    begin = perf_counter()
    done = subprocess.run(
        [*COMMAND, str(source), "--db", str(path)], capture_output=True, text=True, check=False
    )
    took = perf_counter() - begin
    if done.returncode != 0:
        return None, f"`sasl users import` failed: {done.stderr.strip()[-120:]}"
    with closing(SqliteStore(path)) as store:
        found = store.read(UserName(names[-1]), (VERIFIERS,))
        if found.result is not Result.OK:
            return None, "`sasl users import` left users out"
    return took, "`sasl users import`, JSON lines of verifiers"
