"""Laws 1 to 4 hold, and a violation of each is seen.

A contract that is configured wrongly is kept by every tree, so each is shown a tree that breaks it.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

CONTAINERS = ("plugins", "canon", "auxprop")

MECHANISM = "plugins/sasl_mechanisms"
PROFILE = "plugins/sasl_profiles"
COMMANDS = "plugins/sasl_cli"
PWCHECK = "plugins/sasl_pwcheck"
TLS = "plugins/sasl_tls"
TOKENS = "plugins/sasl_tokens"
HTTP = "plugins/sasl_http"
CREDENTIALS = "plugins/sasl_credentials"
CANON = "canon/sasl_canon"
AUXPROP = "auxprop/sasl_auxprop"
CORE = "sasl_core"


def lint(tree: Path, tool: Callable[[str], str], *options: str) -> subprocess.CompletedProcess[str]:
    """Run import-linter on a tree, whatever is installed."""
    path = os.pathsep.join(str(tree / part) for part in ("", *CONTAINERS))
    return subprocess.run(
        [tool("lint-imports"), "--no-cache", "--no-logo", *options],
        cwd=tree,
        env={**os.environ, "PYTHONPATH": path, "COLUMNS": "200"},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_the_tree_keeps_every_law(root: Path, tool: Callable[[str], str]) -> None:
    """import-linter finds nothing in the tree as it is."""
    done = lint(root, tool)
    assert done.returncode == 0, done.stdout + done.stderr
    assert " 0 broken" in done.stdout


# Contract, where the import is written, the import, and the edge that the report must name.
# Each file is new: a module that nobody has thought of yet is covered as well as the present ones.
VIOLATIONS = [
    # Law 1
    ("core-imports-no-wing", CORE, "import sasl_mechanisms", "sasl_mechanisms"),
    ("core-imports-no-wing", CORE, "from sasl_mechanisms import plain", "sasl_mechanisms.plain"),
    ("core-imports-no-wing", CORE, "import sasl_profiles.smtp", "sasl_profiles.smtp"),
    ("core-imports-no-wing", CORE, "import sasl_cli", "sasl_cli"),
    ("core-imports-no-wing", CORE, "import sasl_pwcheck.hashes", "sasl_pwcheck.hashes"),
    ("core-imports-no-wing", CORE, "import sasl_canon.internal", "sasl_canon.internal"),
    ("core-imports-no-wing", CORE, "import sasl_auxprop.sasldb", "sasl_auxprop.sasldb"),
    (
        "core-imports-no-wing",
        f"{CORE}/runners",
        "import sasl_auxprop.memory",
        "sasl_auxprop.memory",
    ),
    ("core-imports-no-wing", CORE, "import sasl_tls", "sasl_tls"),
    ("core-imports-no-wing", CORE, "import sasl_tokens.jwk", "sasl_tokens.jwk"),
    ("core-imports-no-wing", CORE, "import sasl_http", "sasl_http"),
    ("core-imports-no-wing", CORE, "import sasl_credentials", "sasl_credentials"),
    # Law 2
    ("plugins-use-their-door", TLS, "import sasl_core", "sasl_core"),
    ("plugins-use-their-door", TLS, "import sasl_core.facts", "sasl_core.facts"),
    ("plugins-use-their-door", TOKENS, "import sasl_core.token", "sasl_core.token"),
    ("plugins-use-their-door", HTTP, "import sasl_core.needs", "sasl_core.needs"),
    ("plugins-use-their-door", CREDENTIALS, "import sasl_core", "sasl_core"),
    ("plugins-use-their-door", MECHANISM, "import sasl_core", "sasl_core"),
    ("plugins-use-their-door", MECHANISM, "from sasl_core import Server", "sasl_core"),
    ("plugins-use-their-door", MECHANISM, "import sasl_core.negotiation", "sasl_core.negotiation"),
    (
        "plugins-use-their-door",
        MECHANISM,
        "from sasl_core.needs import NeedPeer",
        "sasl_core.needs",
    ),
    ("plugins-use-their-door", MECHANISM, "import sasl_core.aio", "sasl_core.aio"),
    ("plugins-use-their-door", PWCHECK, "import sasl_core.accounts", "sasl_core.accounts"),
    ("plugins-use-their-door", f"{PWCHECK}/hashes", "from sasl_core import Server", "sasl_core"),
    ("plugins-use-their-door", CANON, "import sasl_core.errors", "sasl_core.errors"),
    ("plugins-use-their-door", AUXPROP, "from sasl_core import errors", "sasl_core.errors"),
    ("plugins-use-their-door", PROFILE, "import sasl_core.negotiation", "sasl_core.negotiation"),
    ("plugins-use-their-door", COMMANDS, "import sasl_core.registry", "sasl_core.registry"),
    ("plugins-use-their-door", MECHANISM, "import sasl_core.testing", "sasl_core.testing"),
    ("testing-is-for-tests", CORE, "import sasl_core.testing", "sasl_core.testing"),
    ("testing-is-for-tests", COMMANDS, "import sasl_core.testing", "sasl_core.testing"),
    # Law 3
    ("wings-are-independent", CANON, "import sasl_auxprop.sasldb", "sasl_auxprop.sasldb"),
    ("wings-are-independent", AUXPROP, "import sasl_canon.internal", "sasl_canon.internal"),
    ("wings-are-independent", MECHANISM, "import sasl_auxprop.memory", "sasl_auxprop.memory"),
    ("wings-are-independent", PWCHECK, "import sasl_auxprop.sasldb", "sasl_auxprop.sasldb"),
    ("wings-are-independent", COMMANDS, "import sasl_pwcheck.hashes", "sasl_pwcheck.hashes"),
    ("wings-are-independent", PROFILE, "import sasl_mechanisms.plain", "sasl_mechanisms.plain"),
    ("wings-are-independent", PROFILE, "import sasl_cli", "sasl_cli"),
    ("wings-are-independent", MECHANISM, "import sasl_tls", "sasl_tls"),
    ("wings-are-independent", MECHANISM, "import sasl_http", "sasl_http"),
    ("wings-are-independent", MECHANISM, "import sasl_credentials", "sasl_credentials"),
    ("wings-are-independent", AUXPROP, "import sasl_tokens", "sasl_tokens"),
    ("wings-are-independent", CANON, "import sasl_tokens.names", "sasl_tokens.names"),
    ("wings-are-independent", TOKENS, "import sasl_http", "sasl_http"),
    ("wings-are-independent", TOKENS, "import sasl_credentials", "sasl_credentials"),
    ("wings-are-independent", HTTP, "import sasl_tokens", "sasl_tokens"),
    ("wings-are-independent", CREDENTIALS, "import sasl_http", "sasl_http"),
    ("wings-are-independent", CREDENTIALS, "import sasl_mechanisms", "sasl_mechanisms"),
    ("wings-are-independent", AUXPROP, "from sasl_tls import ServerTls", "sasl_tls"),
    ("wings-are-independent", TLS, "import sasl_profiles.smtp", "sasl_profiles.smtp"),
    ("wings-are-independent", COMMANDS, "import sasl_auxprop.sasldb", "sasl_auxprop.sasldb"),
    ("wings-are-independent", COMMANDS, "import sasl_mechanisms.scram", "sasl_mechanisms.scram"),
    (
        "mechanisms-are-independent",
        MECHANISM,
        "from sasl_mechanisms import plain",
        "sasl_mechanisms.plain",
    ),
    (
        "mechanisms-are-independent",
        MECHANISM,
        "import sasl_mechanisms.scram",
        "sasl_mechanisms.scram",
    ),
    (
        "mechanisms-are-independent",
        MECHANISM,
        "from . import anonymous",
        "sasl_mechanisms.anonymous",
    ),
    (
        "password-methods-are-independent",
        PWCHECK,
        "from sasl_pwcheck import hashes",
        "sasl_pwcheck.hashes",
    ),
    ("profiles-are-independent", PROFILE, "import sasl_profiles.smtp", "sasl_profiles.smtp"),
    (
        "profiles-are-independent",
        f"{PROFILE}/clients",
        "import sasl_profiles.smtp",
        "sasl_profiles.smtp",
    ),
    ("canonicalisers-are-independent", CANON, "from . import internal", "sasl_canon.internal"),
    ("stores-are-independent", AUXPROP, "import sasl_auxprop.memory", "sasl_auxprop.memory"),
    # Law 4
    ("mechanisms-do-no-io", MECHANISM, "import socket", "socket"),
    ("mechanisms-do-no-io", MECHANISM, "import ssl", "ssl"),
    ("mechanisms-do-no-io", MECHANISM, "import asyncio", "asyncio"),
    ("mechanisms-do-no-io", MECHANISM, "from concurrent.futures import Executor", "concurrent"),
    ("mechanisms-do-no-io", MECHANISM, "import http.client", "http"),
    ("mechanisms-do-no-io", MECHANISM, "import urllib.request", "urllib"),
    ("mechanisms-do-no-io", MECHANISM, "import subprocess", "subprocess"),
    ("mechanisms-do-no-io", MECHANISM, "import sqlite3", "sqlite3"),
    ("mechanisms-do-no-io", MECHANISM, "def f():\n    import threading", "threading"),
    ("mechanisms-do-no-io", CANON, "import socket", "socket"),
    ("mechanisms-do-no-io", TOKENS, "import ssl", "ssl"),
    ("mechanisms-do-no-io", TOKENS, "def f():\n    import asyncio", "asyncio"),
    ("mechanisms-do-no-io", TOKENS, "import urllib.parse", "urllib"),
    ("mechanisms-do-no-io", CANON, "import sqlite3", "sqlite3"),
    ("core-does-no-io", CORE, "import socket", "socket"),
    ("core-does-no-io", CORE, "import ssl", "ssl"),
    ("core-does-no-io", CORE, "import asyncio", "asyncio"),
    ("core-does-no-io", CORE, "import http.client", "http"),
    ("core-does-no-io", CORE, "import urllib.parse", "urllib"),
    ("core-does-no-io", CORE, "import subprocess", "subprocess"),
    ("core-does-no-io", CORE, "import sqlite3", "sqlite3"),
    ("core-does-no-io", CORE, "def f():\n    import threading", "threading"),
    ("core-does-no-io", CORE, "from concurrent import futures", "concurrent"),
    ("core-does-no-io", f"{CORE}/runners", "import socket", "socket"),
    ("core-does-no-io", f"{CORE}/testing", "import ssl", "ssl"),
    # Law 6, the part that imports show
    ("extras-stay-in-their-wing", CORE, "import rich", "rich"),
    ("extras-stay-in-their-wing", PROFILE, "import typer", "typer"),
    ("extras-stay-in-their-wing", PWCHECK, "import rich", "rich"),
    ("hash-libraries-stay-in-their-wing", CORE, "import passlib.hash", "passlib"),
    ("hash-libraries-stay-in-their-wing", AUXPROP, "def f():\n    import bcrypt", "bcrypt"),
    ("hash-libraries-stay-in-their-wing", COMMANDS, "from argon2 import low_level", "argon2"),
    ("extras-stay-in-their-wing", TLS, "import rich", "rich"),
    ("tls-stays-in-its-wing", PROFILE, "from OpenSSL import SSL", "OpenSSL"),
    ("tls-stays-in-its-wing", COMMANDS, "def f():\n    import OpenSSL", "OpenSSL"),
    ("tls-stays-in-its-wing", CORE, "import OpenSSL", "OpenSSL"),
    ("tls-stays-in-its-wing", HTTP, "import OpenSSL", "OpenSSL"),
    ("tokens-are-read-in-their-wing", MECHANISM, "import jwt", "jwt"),
    ("tokens-are-read-in-their-wing", COMMANDS, "def f():\n    import jwt", "jwt"),
    ("tokens-are-read-in-their-wing", CREDENTIALS, "from jwt import decode", "jwt"),
    ("pymongo-is-for-tests", MECHANISM, "import bson", "bson"),
    ("pymongo-is-for-tests", TOKENS, "def f():\n    import bson", "bson"),
    ("pymongo-is-for-tests", COMMANDS, "import pymongo", "pymongo"),
    ("pymongo-is-for-tests", PROFILE, "import bson", "bson"),
]


@pytest.mark.parametrize(
    ("contract", "folder", "statement", "imported"),
    VIOLATIONS,
    ids=[f"{row[0]}: {row[1]}: {' '.join(row[2].split())}" for row in VIOLATIONS],
)
def test_a_violation_breaks_its_contract(
    copied_tree: Path,
    tool: Callable[[str], str],
    contract: str,
    folder: str,
    statement: str,
    imported: str,
) -> None:
    """One wrong import in a new module breaks the contract that forbids it, and is named."""
    probe = copied_tree / folder / "law_probe.py"
    assert probe.parent.is_dir(), f"{folder} is not written yet"
    probe.write_text(statement + "\n", "utf-8")

    done = lint(copied_tree, tool, "--contract", contract)

    package = Path(folder)
    importer = ".".join(part for part in package.parts if part not in CONTAINERS) + ".law_probe"
    assert done.returncode == 1, done.stdout + done.stderr
    assert " 1 broken" in done.stdout, done.stdout + done.stderr
    assert f"{importer} -> {imported} (l." in done.stdout, done.stdout


# A word on each wing: what must *not* break, so that no contract is kept by forbidding everything.
PERMITTED = [
    (MECHANISM, "from sasl_core.plugin import NeedPeer"),
    (MECHANISM, "import hashlib, hmac, attrs"),
    (MECHANISM, "def f():\n    import cryptography"),
    (MECHANISM, "import sasl_tokens, sasl_tokens.names"),
    (TOKENS, "import sasl_core.plugin\ndef f():\n    import jwt, cryptography"),
    (HTTP, "import socket, ssl, http.client, threading\nimport sasl_core.plugin"),
    (CREDENTIALS, "import os, asyncio\nimport sasl_core.plugin, sasl_tokens.client"),
    (CANON, "import sasl_core.plugin"),
    (PWCHECK, "import sasl_core.plugin\ndef f():\n    import argon2, bcrypt, passlib"),
    (AUXPROP, "import sqlite3, threading\nimport sasl_core.plugin"),
    (
        PROFILE,
        (
            "import asyncio\n"
            "import sasl_core, sasl_core.aio, sasl_core.plugin, sasl_tls, sasl_tokens, sasl_http"
        ),
    ),
    (TLS, "import asyncio, ssl, OpenSSL\nimport sasl_core.plugin"),
    (
        COMMANDS,
        (
            "import asyncio, socket, rich, typer\n"
            "import sasl_core, sasl_core.aio, sasl_profiles.smtp, sasl_tls\n"
            "import sasl_tokens, sasl_http, sasl_credentials"
        ),
    ),
    (f"{CORE}/runners", "import asyncio, threading, concurrent.futures"),
    (CORE, "import sasl_core.negotiation"),
]


@pytest.mark.parametrize(("folder", "statement"), PERMITTED)
def test_what_the_laws_permit_is_permitted(
    copied_tree: Path, tool: Callable[[str], str], folder: str, statement: str
) -> None:
    """A new module with the imports that its wing may have breaks no contract."""
    probe = copied_tree / folder / "law_probe.py"
    assert probe.parent.is_dir(), f"{folder} is not written yet"
    probe.write_text(statement + "\n", "utf-8")
    done = lint(copied_tree, tool)
    assert "law_probe" not in done.stdout, done.stdout
    assert done.returncode == 0, done.stdout + done.stderr


def test_every_contract_has_a_violation(pyproject: dict[str, Any]) -> None:
    """No contract is added to pyproject.toml without a tree that breaks it."""
    contracts = {contract["id"] for contract in pyproject["tool"]["importlinter"]["contracts"]}
    assert contracts == {row[0] for row in VIOLATIONS}


def test_every_package_is_under_the_laws(
    pyproject: dict[str, Any], package_folders: dict[str, Path]
) -> None:
    """A new wing is in the wheel and under import-linter, mypy and pyright alike."""
    tools = pyproject["tool"]
    assert set(tools["importlinter"]["root_packages"]) == set(package_folders)
    assert set(tools["hatch"]["build"]["targets"]["wheel"]["packages"]) < set(
        tools["mypy"]["files"]
    )
    wings = set(package_folders) - {"sasl_core"}
    by_id = {contract["id"]: contract for contract in tools["importlinter"]["contracts"]}
    assert set(by_id["core-imports-no-wing"]["forbidden_modules"]) == wings
    assert set(by_id["wings-are-independent"]["modules"]) == wings
    assert set(by_id["extras-stay-in-their-wing"]["source_modules"]) == (
        set(package_folders) - {"sasl_cli"}
    )
    assert set(by_id["hash-libraries-stay-in-their-wing"]["source_modules"]) == (
        set(package_folders) - {"sasl_pwcheck"}
    )
    assert set(by_id["tls-stays-in-its-wing"]["source_modules"]) == (
        set(package_folders) - {"sasl_tls"}
    )
    assert set(by_id["tokens-are-read-in-their-wing"]["source_modules"]) == (
        set(package_folders) - {"sasl_tokens"}
    )
    assert set(by_id["pymongo-is-for-tests"]["source_modules"]) == set(package_folders)
    # A callback of PyMongo's is made where there is one.
    assert by_id["pymongo-is-for-tests"]["ignore_imports"] == [
        "sasl_profiles.mongodb.driver -> pymongo"
    ]


def test_every_folder_of_a_container_is_packaged(
    root: Path, package_folders: dict[str, Path]
) -> None:
    """Whatever lies in a container with an __init__ is in the wheel; containers are no packages."""
    found = {"sasl_core"}
    for container in CONTAINERS:
        assert not (root / container / "__init__.py").exists()
        found |= {init.parent.name for init in (root / container).glob("*/__init__.py")}
    assert found == set(package_folders)


def test_exempt_modules_exist(pyproject: dict[str, Any], package_folders: dict[str, Path]) -> None:
    """An exemption names a module that exists: a renamed module must not leave a hole behind."""
    contracts = pyproject["tool"]["importlinter"]["contracts"]
    edges = [edge for contract in contracts for edge in contract.get("ignore_imports", [])]
    assert edges
    gone = []
    for module in {name for edge in edges for name in edge.split(" -> ")}:
        package, *rest = module.removesuffix(".**").split(".")
        if package not in package_folders:
            continue  # the standard library's
        place = package_folders[package].joinpath(*rest)
        if not place.is_dir() and not place.with_suffix(".py").is_file():
            gone.append(module)
    assert not gone


@pytest.mark.parametrize("container", CONTAINERS)
@pytest.mark.parametrize(
    "statement",
    ["import {0}", "import {0}.sasl_x", "from {0} import sasl_x", "from {0}.sasl_x import y"],
)
def test_ruff_bans_the_containers(
    root: Path, tool: Callable[[str], str], container: str, statement: str
) -> None:
    """`import plugins` works in an editable install, as a second module; ruff refuses it."""
    for place in ("sasl_core/law_probe.py", "tests/laws/law_probe.py"):
        done = subprocess.run(
            [
                tool("ruff"),
                "check",
                "--no-cache",
                "--output-format=concise",
                "--stdin-filename",
                place,
                "-",
            ],
            input=statement.format(container) + "\n",
            cwd=root,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert done.returncode == 1, done.stdout + done.stderr
        assert "TID251" in done.stdout, done.stdout
