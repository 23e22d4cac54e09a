"""docs/peers.md: each row names tests that are there, and no test of a peer is left out."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

TESTS = Path(__file__).parents[1]
PAGE = TESTS.parent / "docs" / "peers.md"
MECHANISMS = r"SHA\d?-\d+|PLAIN|ANONYMOUS|EXTERNAL|MONGODB-OIDC|MONGODB-X509|OAUTHBEARER|XOAUTH2"
MODULES = sorted(TESTS.glob("interop/test_*.py"))


def rows() -> list[list[str]]:
    """The cells of each row of a table, headings apart."""
    lines = [line for line in PAGE.read_text("utf-8").splitlines() if line.startswith("| ")]
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    return [row for row in cells if row[0] != "peer"]


def named(cell: str) -> list[str]:
    return re.findall(r"`(\w+)`", cell)


def test_each_row_names_a_test_that_knows_its_mechanisms() -> None:
    """The last cell names modules, and the mechanisms of the row stand in one of them.

    Those that try whatever Cyrus has say so by an import.
    """
    assert len(rows()) > 30
    for row in rows():
        modules = named(row[-1])
        assert modules, row
        text = "".join(
            (TESTS / "interop" / f"test_{module}.py").read_text("utf-8") for module in modules
        )
        if re.search(r"^from cyrus import .*\bSCRAM\b", text, re.MULTILINE):
            text += (TESTS / "support" / "cyrus.py").read_text("utf-8")
        for mechanism in re.findall(MECHANISMS, row[1]):
            assert re.search(rf"\b{mechanism}\b", text), (row, mechanism)


@pytest.mark.parametrize("module", MODULES, ids=[path.stem for path in MODULES])
def test_every_module_of_a_peer_has_its_place(module: Path) -> None:
    """What was run and is not in the page would be a claim that nobody knows of."""
    assert f"`{module.stem.removeprefix('test_')}`" in PAGE.read_text("utf-8")


def test_a_package_of_npm_runs_nothing_while_it_is_installed() -> None:
    """CI installs them: a program that somebody put into one would run there as whoever does."""
    script = (TESTS.parent / ".ci" / "peers").read_text("utf-8")
    installs = re.findall(r"\bnpm (?:install|ci)\b.*", script)
    assert installs
    assert all("--ignore-scripts" in install for install in installs)
