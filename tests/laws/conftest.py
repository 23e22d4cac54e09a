"""What the tests of the house's laws share: the tree, and interpreters that know nothing yet."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]
CONTAINERS = ("plugins", "canon", "auxprop")

Run = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture(scope="session")
def root() -> Path:
    """The source tree, the repository's root."""
    return ROOT


@pytest.fixture(scope="session")
def pyproject() -> dict[str, Any]:
    """pyproject.toml, read."""
    return tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))


@pytest.fixture(scope="session")
def package_folders(pyproject: dict[str, Any]) -> dict[str, Path]:
    """Our import packages and where their source lies, as the wheel's table says."""
    paths = pyproject["tool"]["hatch"]["build"]["targets"]["wheel"]["packages"]
    return {Path(path).name: ROOT / path for path in paths}


@pytest.fixture(scope="session")
def tool() -> Callable[[str], str]:
    """Where a tool of this environment lies; one that is missing is a failure, not a skip."""

    def find(name: str) -> str:
        found = shutil.which(name, path=str(Path(sys.executable).parent))
        if found is None:
            pytest.fail(f"{name} is not installed beside {sys.executable}: it is in extra `test`")
        return found

    return find


@pytest.fixture(scope="session")
def fresh_python() -> Run:
    """Run code in an interpreter of its own, against what is installed.

    `-P` keeps the working folder off the path: the wheel's run must not find the source tree.
    """

    def run(code: str, *arguments: str) -> subprocess.CompletedProcess[str]:
        environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
        done = subprocess.run(
            [sys.executable, "-P", "-c", code, *arguments],
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
            env=environment,
        )
        assert done.returncode == 0, f"exit status {done.returncode}\n{done.stderr}"
        return done

    return run


@pytest.fixture
def copied_tree(tmp_path: Path, package_folders: dict[str, Path]) -> Path:
    """A copy of our packages and of pyproject.toml, to be spoilt."""
    for folder in package_folders.values():
        shutil.copytree(
            folder,
            tmp_path / folder.relative_to(ROOT),
            ignore=shutil.ignore_patterns("__pycache__"),
        )
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    return tmp_path
