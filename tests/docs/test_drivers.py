"""docs/drivers.md: what the tables claim is what the tests of the drivers try, and all of it."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Iterator
from importlib.metadata import version
from itertools import pairwise
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
INTEROP = ROOT / "tests" / "interop"
TEXT = (ROOT / "docs" / "drivers.md").read_text("utf-8")

MODULES = ("pymongo", "node_driver", "mongosh", "driver_load")
"""Those whose every test has its place on the page."""

OVER = ("tcp", "tls-ssl", "tls-pyopenssl")
"""The columns between mechanism and test, as the tests call them."""

# A mechanism as the page has it, and as a test's parameter.
MECHANISMS = {
    "negotiated": "None",
    "SCRAM-SHA-256": "SCRAM-SHA-256",
    "SCRAM-SHA-1": "SCRAM-SHA-1",
    "PLAIN": "PLAIN",
    "MONGODB-OIDC, machine": "OIDC_CALLBACK",
    "MONGODB-OIDC, human": "OIDC_HUMAN_CALLBACK",
    "MONGODB-OIDC, in a browser": "",
    "MONGODB-OIDC, on a device": "",
    "MONGODB-X509": "",
}

NAMED = re.compile(r"`([a-z]\w*)::(\w+)`")


def table(heading: str) -> list[list[str]]:
    """The rows of the table under this heading; a first cell that is empty is the one above."""
    part = TEXT.split(f"\n## {heading}\n")[1].split("\n## ")[0]
    lines = [line for line in part.splitlines() if line.startswith("|")][2:]
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    for above, row in pairwise(rows):
        row[0] = row[0] or above[0]
    return rows


@pytest.fixture(scope="module")
def collected(tmp_path_factory: pytest.TempPathFactory) -> set[str]:
    """What pytest finds, as `pymongo::a_password_logs_in[tcp-tim-PLAIN]`."""
    modules = sorted({module for module, _ in NAMED.findall(TEXT)})
    done = subprocess.run(
        [
            sys.executable,
            "-P",
            *("-m", "pytest", "--collect-only", "-q", "-p", "no:cacheprovider"),
            *(str(INTEROP / f"test_{module}.py") for module in modules),
        ],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    found = re.findall(r"test_(\w+)\.py::test_(\S+)$", done.stdout, re.MULTILINE)
    assert len(found) > 200
    return {f"{module}::{rest}" for module, rest in found}


def tried(collected: set[str], test: str, over: str, mechanism: str) -> bool:
    """Whether the test tries this mechanism so: it is the last parameter, where there is one."""
    value = MECHANISMS.get(mechanism, mechanism)
    whole = re.compile(rf"{test}\[{over}{rf'(?:-.+)?-{value}' if value else ''}\]")
    return any(whole.fullmatch(each) for each in collected)


def test_each_cell_of_the_matrix_is_a_test(collected: set[str]) -> None:
    """Each yes is tried, each no is not, and whatever is tried has its row."""
    rows = table("The matrix")
    assert len(rows) >= 24
    named: set[tuple[str, str]] = set()
    for _, mechanism, *cells, tests in rows:
        found = NAMED.findall(tests)
        assert len(found) == 1, tests
        test = "::".join(found[0])
        named.add((test, mechanism))
        for over, cell in zip(OVER, cells, strict=True):
            assert cell in ("yes", "no")
            assert (cell == "yes") is tried(collected, test, over, mechanism), (test, over)
    for test in {test for test, _ in named}:
        for mechanism in (name for name, value in MECHANISMS.items() if value):
            if any(tried(collected, test, over, mechanism) for over in OVER):
                assert (test, mechanism) in named


def names(text: str) -> Iterator[str]:
    for found in NAMED.findall(text):
        yield "::".join(found)


def test_every_test_that_is_named_is_there(collected: set[str]) -> None:
    """A name that nobody runs would be a claim."""
    there = {each.partition("[")[0] for each in collected}
    assert set(names(TEXT)) <= there


def test_every_test_of_a_driver_is_named(collected: set[str]) -> None:
    """What was tried and is not on the page, nobody knows of."""
    there = {each.partition("[")[0] for each in collected if each.split("::")[0] in MODULES}
    assert there <= set(names(TEXT))


def test_the_second_table_names_tests_of_the_driver_in_its_column() -> None:
    """Each has a column of its own."""
    for _, *cells in table("What else is tried"):
        for cell, module in zip(cells, ("pymongo", "node_driver", "mongosh"), strict=True):
            assert {name.split("::")[0] for name in names(cell)} <= {module}


def test_the_versions_are_those_that_run() -> None:
    """Those of npm are the ones that are installed; PyMongo's is at least the one that is named."""
    for folder, package in (("node", "mongodb"), ("mongosh", "mongosh")):
        listed = json.loads((INTEROP / folder / "package.json").read_text("utf-8"))
        assert re.search(rf"npm's `{package}` {re.escape(listed['dependencies'][package])}\b", TEXT)
    named = re.search(r"PyMongo ([0-9.]+), or the newest", TEXT)
    assert named is not None

    def numbers(text: str) -> tuple[int, ...]:
        return tuple(int(each) for each in re.findall(r"[0-9]+", text)[:3])

    assert numbers(version("pymongo")) >= numbers(named[1])
