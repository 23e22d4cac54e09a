"""Distributions and plugin modules that exist for one test."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from textwrap import dedent
from typing import Literal, cast

import pytest
from importlib_metadata import Distribution, EntryPoint

from plugin_sources import MECHANISM
from sasl_core.errors import PluginError
from sasl_core.flags import Side
from sasl_core.plugs import ClientPlug, ServerPlug
from sasl_core.plugset import Plugs
from sasl_core.registry import Registry
from sasl_core.utils import SaslUtils


class FakeDistribution(Distribution):
    """A distribution whose files are these texts."""

    def __init__(self, files: dict[str, str]) -> None:
        self.files_by_name = files

    def read_text(self, filename: object) -> str | None:
        return self.files_by_name.get(str(filename))

    def locate_file(self, path: object) -> Path:
        return Path(str(path))


class World:
    """What is installed: distributions with entry points, and modules on `sys.path`."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.distributions: list[FakeDistribution] = []
        self.reads: list[str] = []
        self.utils_made: list[tuple[str, str]] = []

    def module(self, name: str, source: str) -> str:
        """Write a module; returns its name."""
        path = self.folder / Path(*name.split(".")).with_suffix(".py")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(dedent(source), "utf-8")
        return name

    def install(
        self,
        distribution: str,
        *declared: tuple[str, str, str],
        requires: Iterable[str] = (),
        version: str = "1.0",
    ) -> None:
        """Declare (kind, name, value) for each entry point of a distribution."""
        metadata = f"Metadata-Version: 2.1\nName: {distribution}\nVersion: {version}\n"
        metadata += "".join(f"Requires-Dist: {line}\n" for line in requires)
        lines = "".join(f"[sasl_core.{kind}]\n{name} = {value}\n" for kind, name, value in declared)
        files = {"METADATA": metadata, "entry_points.txt": lines}
        self.distributions.append(FakeDistribution(files))

    def mechanism(self, name: str, module: str, distribution: str = "") -> None:
        """Install a mechanism that keeps the contract."""
        self.module(module, MECHANISM.format(name=name))
        self.install(distribution or f"dist-{module}", ("mechanisms", name, module))

    def entry_points(self, group: str) -> Sequence[EntryPoint]:
        self.reads.append(group)
        return [
            point
            for dist in self.distributions
            for point in dist.entry_points
            if point.group == group
        ]

    def registry(self, plugin_list: Sequence[str] = ()) -> Registry:
        return Registry(plugin_list=plugin_list, entry_points=self.entry_points)

    def make_utils(self, kind: str, name: str) -> SaslUtils:
        self.utils_made.append((kind, name))
        return UTILS

    def server_plugs(self, registry: Registry | None = None) -> Plugs[ServerPlug]:
        side: Literal[Side.SERVER] = Side.SERVER
        return Plugs(registry or self.registry(), side, self.make_utils)

    def client_plugs(self, registry: Registry | None = None) -> Plugs[ClientPlug]:
        side: Literal[Side.CLIENT] = Side.CLIENT
        return Plugs(registry or self.registry(), side, self.make_utils)


# The registry hands it on unseen; what it can do is tested with Server and Client.
UTILS = cast("SaslUtils", object())


@pytest.fixture
def utils() -> SaslUtils:
    """What stands for a plugin's SaslUtils."""
    return UTILS


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    """A world of its own, forgotten afterwards."""
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    before = set(sys.modules)
    yield World(tmp_path)
    for name in set(sys.modules) - before:
        file = getattr(sys.modules[name], "__file__", None)
        if file is None or file.startswith(str(tmp_path)):
            del sys.modules[name]


@pytest.fixture
def refused(world, utils):
    """Install module `source` as plugin BAD, beside a good one; return the PluginError.

    The good one is loaded and initialised both before and after, and must not suffer.
    """

    def check(
        source, kind="mechanisms", side=Side.SERVER, *, value="bad_plugin", requires=(), name=None
    ):
        world.module("bad_plugin", source)
        name = name or ("BAD" if kind == "mechanisms" else "bad")
        world.install("sasl-bad", (kind, name, value), requires=requires)
        world.mechanism("GOOD", "good_before")
        world.mechanism("FINE", "good_after")
        registry = world.registry()
        assert len(registry.init("mechanisms", "GOOD", utils, Side.SERVER)) == 1
        with pytest.raises(PluginError) as caught:
            registry.init(kind, name, utils, side if kind == "mechanisms" else None)
        for good in ("GOOD", "FINE"):
            (plug,) = registry.init("mechanisms", good, utils, Side.SERVER)
            assert plug.name == good
        error = caught.value
        assert (error.plugin, error.distribution) == (name, "sasl-bad")
        assert str(error) == f"plugin {name!r} of distribution 'sasl-bad': {error.reason}"
        assert error.__cause__ is None
        assert error.__context__ is None
        return error

    return check
