"""The programs of the tutorials are under the type checkers' eyes as they stand in the pages."""

from __future__ import annotations

import runpy
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
TOOL = runpy.run_path(str(ROOT / "tests" / "tools" / "write_tutorials.py"))


def test_the_checked_programs_are_those_of_the_pages() -> None:
    """tests/typing/tutorials holds each page's program, no other one and no older one."""
    programs = TOOL["programs"]()
    assert len(programs) >= 3
    held = {path: path.read_text("utf-8") for path in TOOL["WRITTEN"].glob("*.py")}
    assert held == programs, "run python tests/tools/write_tutorials.py"


def test_the_type_checkers_look_at_them() -> None:
    """What is written out lies below tests, which mypy and pyright check, in the strict part."""
    text = (ROOT / "pyproject.toml").read_text("utf-8")
    assert TOOL["WRITTEN"].relative_to(ROOT / "tests" / "typing")
    assert '"tests/typing"' in text
    assert 'module = ["tests.typing.*"]' in text


@pytest.mark.parametrize(
    ("page", "checks", "least"),
    [
        # All of a mechanism's checks are run on docs/examples, which is the same mechanism.
        ("mechanism", "metadata or logins or bounds or refused or no_secret", 5),
        ("store", "not hostile", 18),
        ("canonicaliser", "", 6),
    ],
)
def test_pytest_collects_the_conformance_class(
    page: str, checks: str, least: int, tmp_path: Path
) -> None:
    """The page's program, saved as a file, is a test module that passes."""
    (tmp_path / f"tutorial_{page}.py").write_text(TOOL["programs"]()[program_of(page)], "utf-8")
    pytest_alone = (sys.executable, "-P", "-m", "pytest", "-q", "-p", "no:cacheprovider")
    done = subprocess.run(
        [*pytest_alone, "-W", "error", f"tutorial_{page}.py", "-k", checks],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert done.returncode == 0, done.stdout
    passed = int(done.stdout.splitlines()[-1].split()[0])
    assert passed >= least


def program_of(page: str) -> Path:
    """Where the program of `page` is written out."""
    path: Path = TOOL["WRITTEN"] / f"tutorial_{page}.py"
    return path
