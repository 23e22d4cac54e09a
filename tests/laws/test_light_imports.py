"""Law 6: nothing heavy is loaded before it is needed.

import-linter counts an import inside a function as an import, so this law is held by interpreters
that have loaded nothing yet and are asked afterwards what they loaded.
"""

from __future__ import annotations

import tomllib
from collections.abc import Callable
from importlib.metadata import distribution
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

# What `import sasl_core` must not load. attrs is the one third-party package that it may.
NOT_BY_THE_CORE = (
    "asyncio",
    "cryptography",
    "importlib.metadata",
    "importlib_metadata",
    "json",
    "jwt",
    "logging",
    "pluggy",
    "rich",
    "sqlite3",
    "ssl",
    "tomllib",
    "typer",
)

# What no module behind an entry point loads before it is asked to do something.
NOT_BY_A_PLUGIN = (
    "argon2",
    "asyncio",
    "bcrypt",
    "cryptography",
    "jwt",
    "passlib",
    "precis_i18n",
    "pymongo",
    "re2",
    "ssl",
)

# The groups whose built-ins are looked into; a subcommand may load what it likes.
GROUPS = ("mechanisms", "canon_user", "auxprop", "pwcheck", "credentials", "profiles")

PYPROJECT = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text("utf-8"))

# Group, name and module of each built-in.
ENTRY_POINTS: list[tuple[str, str, str]] = [
    (group, name, value)
    for group, rows in PYPROJECT["project"]["entry-points"].items()
    for name, value in rows.items()
]

COUNT = """
import sys
import attrs, importlib
importlib.import_module(sys.argv[1])
ours = {
    cls
    for name, module in list(sys.modules.items())
    if name.partition(".")[0] == "sasl_core"
    for cls in vars(module).values()
    if isinstance(cls, type) and "__attrs_attrs__" in vars(cls)
    and cls.__module__.partition(".")[0] == "sasl_core"
}
print(*sorted(f"{cls.__module__}.{cls.__qualname__}" for cls in ours), sep="\\n")
"""

LOADED = """
import importlib, sys
importlib.import_module(sys.argv[1])
print(*sys.modules, sep="\\n")
"""


def loaded_by(fresh_python: Callable[..., Any], module: str) -> set[str]:
    """All that an interpreter holds after this one import."""
    return set(fresh_python(LOADED, module).stdout.split())


def test_the_probe_sees_what_is_loaded(fresh_python: Callable[..., Any]) -> None:
    """An interpreter that imported ssl says so: the probe can fail."""
    assert "ssl" in loaded_by(fresh_python, "ssl")
    assert not set(NOT_BY_THE_CORE) & loaded_by(fresh_python, "attrs")


def test_the_core_loads_nothing_heavy(fresh_python: Callable[..., Any]) -> None:
    """`import sasl_core` loads none of the heavy modules, nor a wing."""
    loaded = loaded_by(fresh_python, "sasl_core")
    assert "sasl_core" in loaded
    assert not loaded & set(NOT_BY_THE_CORE)
    assert not {name for name in loaded if name.startswith("sasl_")} - {
        name for name in loaded if name.partition(".")[0] == "sasl_core"
    }


def test_the_core_defines_few_attrs_classes(fresh_python: Callable[..., Any]) -> None:
    """At most 25 attrs classes stand behind `import sasl_core`; each costs 0.4 ms."""
    assert fresh_python(COUNT, "sasl_core.needs").stdout.split(), "the scan sees none at all"
    classes = fresh_python(COUNT, "sasl_core").stdout.split()
    assert len(classes) <= 25, classes


def test_the_groups_are_the_fixed_ones() -> None:
    """An entry-point group is public: none appears by a slip of the keyboard."""
    assert {row[0] for row in ENTRY_POINTS} <= {
        f"sasl_core.{group}"
        for group in (
            "mechanisms",
            "canon_user",
            "auxprop",
            "credentials",
            "profiles",
            "pwcheck",
            "audit",
            "commands",
        )
    }


def test_the_installed_entry_points_are_those_written() -> None:
    """What is installed was made from this pyproject.toml."""
    installed = {
        (point.group, point.name, point.value)
        for point in distribution("sasl-core").entry_points
        if point.group.startswith("sasl_core.")
    }
    assert installed == set(ENTRY_POINTS)


@pytest.mark.parametrize("group", GROUPS)
def test_every_group_has_a_built_in(group: str) -> None:
    """The test below looks into each group that has built-ins."""
    assert any(row[0] == f"sasl_core.{group}" for row in ENTRY_POINTS)


@pytest.mark.parametrize(
    ("name", "module"),
    [
        (name, module)
        for group, name, module in ENTRY_POINTS
        if group.removeprefix("sasl_core.") in GROUPS
    ],
)
def test_an_entry_point_module_loads_nothing_heavy(
    fresh_python: Callable[..., Any], name: str, module: str
) -> None:
    """No module that the registry imports by name loads anything heavy by that alone."""
    loaded = loaded_by(fresh_python, module)
    assert module in loaded
    assert not loaded & set(NOT_BY_A_PLUGIN), name


def test_the_doors_load_nothing_heavy(fresh_python: Callable[..., Any]) -> None:
    """A plugin author's door is as light as the plugins behind it."""
    assert not loaded_by(fresh_python, "sasl_core.plugin") & set(NOT_BY_A_PLUGIN)


def test_the_library_for_tls_loads_no_tls(fresh_python: Callable[..., Any]) -> None:
    """`sasl_tls` and its helpers wait for a connection before they load `ssl` or pyOpenSSL."""
    loaded = loaded_by(fresh_python, "sasl_tls")
    assert "sasl_tls.bindings" in loaded
    assert not loaded & {*NOT_BY_A_PLUGIN, "OpenSSL"}


# What a client that logs in by SCRAM has no use for.
NOT_BY_A_CLIENT = (
    "email.parser",
    "logging",
    "sasl_core._saslprep_tables",
    "sasl_core.audit",
    "sasl_core.blocking.server",
    "sasl_core.context.server",
    "sasl_core.core.server",
    "sasl_core.negotiation.server",
    "sasl_core.step",
    "sasl_mechanisms.scram.server",
)

CLIENT = """
import sys
from sasl_core import Client
with Client("imap", "h.example", config={}) as client:
    with client.session(authid="tim", password="secret") as session:
        assert session.start(["SCRAM-SHA-256"]).data.startswith(b"n,,n=tim,r=")
print(*sys.modules, sep="\\n")
"""


def test_a_client_loads_nothing_of_a_server(fresh_python: Callable[..., Any]) -> None:
    """A process that logs in once pays for neither the server's half nor for parsing metadata."""
    loaded = set(fresh_python(CLIENT).stdout.split())
    assert {"sasl_core.negotiation.client", "sasl_mechanisms.scram.client"} <= loaded
    assert not loaded & set(NOT_BY_A_CLIENT)


def test_what_a_client_leaves_alone_is_there() -> None:
    """Each name of that list is a module, so that none is absent for being misspelt."""
    for name in NOT_BY_A_CLIENT:
        assert find_spec(name) is not None, name
