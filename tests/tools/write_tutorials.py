"""Write the tutorials' programs out for the type checkers, into tests/typing/tutorials.

    python tests/tools/write_tutorials.py

`make check` then holds what docs/tutorials and docs/plugins.md teach to mypy's and pyright's
strictest. The files are never run from there; tests/docs runs the pages themselves.
"""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
DOCS = ROOT / "docs"
PAGES = [*sorted((DOCS / "tutorials").glob("*.md")), DOCS / "plugins.md"]
WRITTEN = ROOT / "tests" / "typing" / "tutorials"
BLOCK = re.compile(r"^```python\n(.*?)^```$", re.MULTILINE | re.DOTALL)

# What a call returns is often of no interest in a tutorial, and imports stand where they are used.
HEAD = """\
# Written by tests/tools/write_tutorials.py from docs/{page}: change the page.
# pyright: reportUnusedCallResult=false
"""


def programs() -> dict[Path, str]:
    """Where each page's program is written, and the program."""
    return {
        WRITTEN / f"tutorial_{page.stem}.py": HEAD.format(page=page.relative_to(DOCS).as_posix())
        + "\n\n".join(BLOCK.findall(page.read_text("utf-8")))
        for page in PAGES
    }


def main() -> None:
    """Write them all."""
    WRITTEN.mkdir(parents=True, exist_ok=True)
    for path, text in programs().items():
        _ = path.write_text(text, "utf-8")
        print(path.relative_to(ROOT))


if __name__ == "__main__":
    main()
