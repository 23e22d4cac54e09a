"""What the repository must not hold: this or that machine's paths and addresses, lock files.

The patterns are written with a one-letter class where they would otherwise find themselves.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path
from urllib.parse import urlsplit

import pytest

LOCK_FILES = {
    "Pipfile.lock",
    "npm-shrinkwrap.json",
    "package-lock.json",
    "pdm.lock",
    "pnpm-lock.yaml",
    "poetry.lock",
    "pylock.toml",
    "uv.lock",
    "yarn.lock",
}

# Folders that no checkout tracks; looked at only where git cannot tell.
MADE = {".git", ".venv", "__pycache__", "build", "dist", "node_modules"}

FORBIDDEN = {
    "a path of one machine": re.compile(rb"/wor[k]/|/roo[t]/|/hom[e]/[a-z]"),
    "a folder outside the repository": re.compile(rb"\.\./share[d]"),
    "an index of packages": re.compile(
        rb"index-ur[l]|https?://[^/\s]*(?:pyp[i]|pythonhoste[d]|registr[y])|//registr[y]\."
    ),
    "a find-links option": re.compile(rb"find-link[s]\s*="),
}


@pytest.fixture(scope="module")
def tracked(root: Path) -> list[Path]:
    """The files that git tracks; in an unpacked archive, all that nobody made there."""
    try:
        done = subprocess.run(
            ["git", "-c", f"safe.directory={root}", "ls-files", "-z"],
            cwd=root,
            capture_output=True,
            check=True,
            timeout=60,
        )
        names = [name for name in done.stdout.decode("utf-8").split("\0") if name]
    except (OSError, subprocess.CalledProcessError):
        names = []
    if not names:
        names = [
            str(path.relative_to(root))
            for path in root.rglob("*")
            if not MADE & set(path.relative_to(root).parts)
            and not any(part.endswith("_cache") for part in path.relative_to(root).parts)
        ]
    files = [root / name for name in names if (root / name).is_file()]
    assert root / "pyproject.toml" in files
    return files


def index_hosts() -> set[str]:
    """The hosts from which this machine takes its packages, wherever pip was told so."""
    texts = [
        value for name, value in os.environ.items() if re.match(r"(PIP|UV)_.*(INDEX|LINKS)", name)
    ]
    done = subprocess.run(
        [sys.executable, "-m", "pip", "config", "list"],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    texts.append(done.stdout)
    found = re.findall(r"https?://[^\s'\"]+", "\n".join(texts))
    return {host for host in (urlsplit(url).hostname for url in found) if host}


def test_no_lock_file(tracked: list[Path]) -> None:
    """A lock file carries the addresses of the index that it was made with."""
    assert not [file for file in tracked if file.name in LOCK_FILES]


@pytest.mark.parametrize("what", FORBIDDEN)
def test_no_trace_of_a_machine(tracked: list[Path], root: Path, what: str) -> None:
    """No tracked file names a path or an address that only one machine has."""
    pattern = FORBIDDEN[what]
    found = [
        f"{file.relative_to(root)}:{number}: {line.decode('utf-8', 'replace').strip()[:120]}"
        for file in tracked
        for number, line in enumerate(file.read_bytes().splitlines(), 1)
        if pattern.search(line)
    ]
    assert not found, "\n".join(found)


def test_no_index_of_this_machine(tracked: list[Path], root: Path) -> None:
    """No tracked file names the host from which this machine installs."""
    hosts = {
        host.encode() for host in index_hosts() if host not in {"localhost", "127.0.0.1", "::1"}
    }
    found = [
        str(file.relative_to(root))
        for file in tracked
        if any(host in file.read_bytes() for host in hosts)
    ]
    assert not found


@pytest.mark.parametrize(
    ("what", "line"),
    [
        ("a path of one machine", "see /wor" + "k/main"),
        ("a path of one machine", "/roo" + "t/.config"),
        ("a folder outside the repository", "read ../share" + "d/design.md"),
        ("an index of packages", "--index-ur" + "l file:///srv"),
        ("an index of packages", "https://py" + "pi.example/simple"),
        ("an index of packages", '"resolved": "https://registr' + 'y.example/x.tgz"'),
        ("a find-links option", "find-link" + "s = here"),
    ],
)
def test_the_patterns_find_what_they_look_for(what: str, line: str) -> None:
    """Each pattern can fail."""
    assert FORBIDDEN[what].search(line.encode())


def test_scripts_may_be_run(tracked: list[Path], root: Path) -> None:
    """What starts with #! and lies in .ci carries the executable bit."""
    scripts = [file for file in tracked if file.parent == root / ".ci"]
    assert scripts
    for file in scripts:
        assert file.read_bytes().startswith(b"#!")
        assert os.access(file, os.X_OK), file


def test_no_carriage_returns(tracked: list[Path]) -> None:
    """No text of ours ends its lines with a carriage return."""
    texts = [file for file in tracked if file.suffix in {".py", ".md", ".toml"}]
    assert texts
    assert not [file for file in texts if b"\r\n" in file.read_bytes()]
