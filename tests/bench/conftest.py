"""The benchmarks are a package of the source tree, which the wheel's run does not have."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]

if "bench" not in sys.modules:
    # By its place: the root on the path would offer the source tree to the wheel's run too.
    _spec = importlib.util.spec_from_file_location(
        "bench", ROOT / "bench" / "__init__.py", submodule_search_locations=[str(ROOT / "bench")]
    )
    assert _spec is not None
    assert _spec.loader is not None
    _package = importlib.util.module_from_spec(_spec)
    sys.modules["bench"] = _package
    _spec.loader.exec_module(_package)

RUN = """
import runpy, sys
sys.path.append(sys.argv.pop(1))
runpy.run_module("bench", run_name="__main__", alter_sys=True)
"""

Bench = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture(scope="session")
def bench() -> Bench:
    """Run `python -m bench` with the given options, against what is under test."""

    def run(*options: str, status: int = 0) -> subprocess.CompletedProcess[str]:
        done = subprocess.run(
            [sys.executable, "-P", "-c", RUN, str(ROOT), *options],
            capture_output=True,
            text=True,
            timeout=240,
            check=False,
            env={key: each for key, each in os.environ.items() if key != "PYTHONPATH"},
        )
        assert done.returncode == status, f"status {done.returncode}\n{done.stdout}{done.stderr}"
        return done

    return run
