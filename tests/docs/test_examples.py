"""Every Python example of README and docs runs, page by page, from top to bottom."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
BLOCK = re.compile(r"^```python\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def examples(page: Path) -> str:
    """The page's examples as one program whose line numbers are the page's."""
    text = page.read_text()
    lines: list[str] = []
    for match in BLOCK.finditer(text):
        start = text.count("\n", 0, match.start(1))
        lines += [""] * (start - len(lines))
        lines += match[1].splitlines()
    return "\n".join(lines) + "\n"


WITH_EXAMPLES = [page for page in PAGES if BLOCK.search(page.read_text())]


@pytest.mark.parametrize("page", WITH_EXAMPLES, ids=lambda page: page.name)
def test_examples_of_the_page_run(page: Path, tmp_path: Path) -> None:
    """All blocks of the page, one after the other, in a fresh interpreter and folder."""
    program = tmp_path / f"{page.stem}.py"
    program.write_text(examples(page))
    done = subprocess.run(
        [sys.executable, "-P", "-W", "error", program.name],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr


def test_readme_promises_what_it_prints() -> None:
    """The example prints the line that its comment announces."""
    done = subprocess.run(
        [sys.executable, "-P", "-c", examples(ROOT / "README.md")],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    assert done.stdout == "tim by SCRAM-SHA-256\n"


LINK = re.compile(r"\]\(([^)#:]+)(?:#[^)]*)?\)")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page: Path) -> None:
    """Every relative link of the page names a file that is there."""
    missing = [
        target for target in LINK.findall(page.read_text()) if not (page.parent / target).exists()
    ]
    assert missing == []


def test_the_state_diagram_is_the_table() -> None:
    """The diagram in docs/design.md is what the transition table draws."""
    drawn = subprocess.run(
        [sys.executable, "-P", str(ROOT / "tests" / "tools" / "draw_states.py")],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    ).stdout
    assert f"```mermaid\n{drawn}```" in (ROOT / "docs" / "design.md").read_text()


def test_no_diagram_is_drawn_by_hand() -> None:
    """Each diagram of states follows the note that names the tool that drew it."""
    note = "<!-- drawn by tests/tools/draw_states.py -->\n"
    by_hand = [
        page.name
        for page in PAGES
        if page.read_text().count("```mermaid") != page.read_text().count(f"{note}```mermaid")
    ]
    assert by_hand == []
