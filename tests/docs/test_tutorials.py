"""The programs of the tutorials are under the type checkers' eyes as they stand in the pages."""

from __future__ import annotations

import runpy
from pathlib import Path

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
