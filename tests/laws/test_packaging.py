"""The wheel holds our packages and nothing else, and asks for five distributions and no more."""

from __future__ import annotations

import email.parser
import os
import re
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import sasl_core

DEPENDENCIES = {"attrs", "cryptography", "importlib-metadata", "pluggy", "pyjwt"}


@pytest.fixture(scope="module")
def tree(
    root: Path, package_folders: dict[str, Path], tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """A copy of the tree, beside which lie the things that must not be swept up."""
    tree = tmp_path_factory.mktemp("source") / "tree"
    for folder in package_folders.values():
        shutil.copytree(folder, tree / folder.relative_to(root))
    shutil.copytree(root / "tests" / "laws", tree / "tests" / "laws")
    for name in ("docs", "bench", "plugins/not_a_package"):
        (tree / name).mkdir(parents=True)
        (tree / name / "notes.py").write_text("stray = True\n", "utf-8")
    for name in ("pyproject.toml", "LICENSE", "README.md", "CHANGELOG.md"):
        if (root / name).exists():
            shutil.copy(root / name, tree)
    return tree


@pytest.fixture(scope="module")
def wheel(tree: Path) -> zipfile.ZipFile:
    """The wheel, built from the copy with the backend of this environment."""
    dist = tree.parent / "dist"
    done = subprocess.run(
        [sys.executable, "-P", "-m", "hatchling", "build", "-t", "wheel", "-d", str(dist)],
        cwd=tree,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    (path,) = dist.glob("*.whl")
    return zipfile.ZipFile(path)


def test_the_wheel_holds_our_packages_and_nothing_else(
    wheel: zipfile.ZipFile, tree: Path, root: Path, package_folders: dict[str, Path]
) -> None:
    """Each file of each package is in the wheel; what is not theirs is the dist-info's."""
    expected = {
        f"{name}/{file.relative_to(folder).as_posix()}"
        for name, source in package_folders.items()
        for folder in [tree / source.relative_to(root)]
        for file in folder.rglob("*")
        if file.is_file() and "__pycache__" not in file.parts and file.suffix not in {".pyc", ".db"}
    }
    held = set(wheel.namelist())
    info = {name for name in held if name.partition("/")[0] == "sasl_core-0.1.0.dist-info"}
    assert held - info == expected
    assert {name.partition("/")[2] for name in info} == {
        "METADATA",
        "RECORD",
        "WHEEL",
        "entry_points.txt",
        "licenses/LICENSE",
    }


def test_every_package_is_typed(wheel: zipfile.ZipFile, package_folders: dict[str, Path]) -> None:
    """Each package says that its annotations are to be used, and is a package."""
    held = set(wheel.namelist())
    for name in package_folders:
        assert f"{name}/py.typed" in held
        assert f"{name}/__init__.py" in held


def test_the_licence_is_the_whole_one(wheel: zipfile.ZipFile) -> None:
    """The wheel carries the full text of Apache-2.0 and names it."""
    text = wheel.read("sasl_core-0.1.0.dist-info/licenses/LICENSE").decode("utf-8")
    assert "Apache License" in text
    assert "END OF TERMS AND CONDITIONS" in text
    metadata = email.parser.BytesParser().parsebytes(
        wheel.read("sasl_core-0.1.0.dist-info/METADATA")
    )
    assert metadata["License-Expression"] == "Apache-2.0"


def test_five_dependencies_and_no_more(wheel: zipfile.ZipFile) -> None:
    """Whoever installs the library without an extra trusts these and nobody else."""
    metadata = email.parser.BytesParser().parsebytes(
        wheel.read("sasl_core-0.1.0.dist-info/METADATA")
    )
    needed = [row for row in metadata.get_all("Requires-Dist", []) if "extra ==" not in row]
    assert {re.split(r"[^A-Za-z0-9._-]", row)[0].lower() for row in needed} == DEPENDENCIES
    assert set(metadata.get_all("Provides-Extra", [])) == {
        "bench",
        "check",
        "cli",
        "fuzz",
        "hashes",
        "map",
        "mongodb",
        "precis",
        "test",
        "tls",
    }


def test_the_console_script_and_the_plugins_are_declared(
    wheel: zipfile.ZipFile, pyproject: dict[str, Any]
) -> None:
    """The wheel's entry points are pyproject's, name for name; each module is in the wheel."""
    text = wheel.read("sasl_core-0.1.0.dist-info/entry_points.txt").decode("utf-8")
    assert "[console_scripts]\nsasl = sasl_cli:main" in text
    held = set(wheel.namelist())
    for group, rows in pyproject["project"]["entry-points"].items():
        assert f"[{group}]" in text
        for name, value in rows.items():
            assert f"\n{name} = {value}\n" in text + "\n"
            path = value.replace(".", "/")
            assert {f"{path}.py", f"{path}/__init__.py"} & held, f"{group} {name}: {value}"


def test_versions_agree(wheel: zipfile.ZipFile, pyproject: dict[str, Any]) -> None:
    """The wheel's name carries the version that pyproject says."""
    assert Path(str(wheel.filename)).name.startswith(
        f"sasl_core-{pyproject['project']['version']}-"
    )


WHERE = """
import importlib, sys
for name in sys.argv[1:]:
    print(importlib.import_module(name).__file__)
"""


def test_every_package_is_imported_from_one_place(
    root: Path, package_folders: dict[str, Path], fresh_python: Callable[..., Any]
) -> None:
    """All packages come from this tree, or all from the wheel when that is what is under test."""
    files = [Path(line) for line in fresh_python(WHERE, *package_folders).stdout.splitlines()]
    assert len(files) == len(package_folders)
    if os.environ.get("SASL_EXPECT_WHEEL"):
        for file in files:
            assert "site-packages" in file.parts, file
            assert root not in file.parents, file
        assert not {str(root), str(root / "plugins")} & set(sys.path)
    else:
        assert files == [folder / "__init__.py" for folder in package_folders.values()]


def test_interpreters_that_tests_start_import_the_same(root: Path) -> None:
    """`python -c` from the repository's root, as a test may start it, takes what is under test."""
    done = subprocess.run(
        [sys.executable, "-c", "import sasl_core; print(sasl_core.__file__)"],
        cwd=root,
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    assert Path(done.stdout.strip()) == Path(str(sasl_core.__file__))
