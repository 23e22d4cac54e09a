"""Peers that must be there, and our own server for them to log in to."""

from __future__ import annotations

import functools
import os
import shutil
import subprocess
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TypeAlias

import pytest

from mailhost import CLEAR, PASSWORD, USER, Authority, MailHost, make_authority
from peers import SEARCHED
from sasl_core import BindingPolicy
from sasl_tls import ServerTls

Need: TypeAlias = Callable[[str], str]
"""Name of a program -> its path."""


def _absent(what: str, how: str = "make interop, as root on Debian, installs it") -> None:
    """Skip the test, or fail it where every peer is required.

    Raises:
        pytest.skip.Exception, pytest.fail.Exception: always one of them.
    """
    reason = f"{what} is not installed: {how}"
    if os.environ.get("SASL_REQUIRE_PEERS") == "1":
        pytest.fail(reason, pytrace=False)
    pytest.skip(reason)


@pytest.fixture(scope="session")
def need() -> Need:
    """Finds a peer; without it the test is skipped, or fails with SASL_REQUIRE_PEERS=1.

    A name with `::` is a module of Perl, of which there is no path to return.
    """

    @functools.cache
    def has_module(name: str) -> bool:
        perl = shutil.which("perl")
        command = [perl or "", f"-M{name}", "-e1"]
        return (
            perl is not None
            and not subprocess.run(command, capture_output=True, check=False, timeout=30).returncode
        )

    def find(name: str) -> str:
        path = name if "::" in name and has_module(name) else shutil.which(name, path=SEARCHED)
        if path is None:
            _absent(name)
        return str(path)

    return find


@pytest.fixture(scope="session")
def node_modules() -> Callable[[str], Path]:
    """Finds the folder that has a package of npm; without it as with any other peer."""
    peers = Path(__file__).parents[2] / ".peers"

    def find(package: str) -> Path:
        folders = [peers / "node", peers / "mongosh"]
        found = [each for each in folders if (each / "node_modules" / package).is_dir()]
        if shutil.which("node") is None or not found:
            _absent(f"npm's {package}", "make interop installs it where there is node 20 or later")
        return found[0]

    return find


@pytest.fixture(scope="session")
def peers_python() -> Callable[[str], str]:
    """Finds a program in the Python that `.ci/peers` has filled; without it as any other peer."""
    folder = Path(__file__).parents[2] / ".peers" / "python" / "bin"

    def find(program: str) -> str:
        if not (folder / program).exists():
            _absent(program, "make interop installs it")
        return str(folder / program)

    return find


@pytest.fixture(scope="session")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    """One authority and one certificate for all tests."""
    return make_authority(tmp_path_factory.mktemp("tls"))


@pytest.fixture
def serve(tmp_path: Path) -> Iterator[Callable[..., MailHost]]:
    """Starts servers with users of their own; each is stopped."""
    started: list[MailHost] = []

    def start(
        authority: Authority | None = None,
        config: Mapping[str, object] | None = None,
        users: Mapping[str, str] | None = None,
        tls: ServerTls | None = None,
        binding: BindingPolicy = BindingPolicy.WANT,
    ) -> MailHost:
        if config is None:
            config = CLEAR if authority is None else {}
        folder = tmp_path / f"host{len(started)}"
        folder.mkdir()
        started.append(MailHost(folder, config, users or {USER: PASSWORD}, authority, tls, binding))
        return started[-1]

    yield start
    for host in started:
        host.close()
