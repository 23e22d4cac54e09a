"""The stranger's distribution and the broken ones beside it, installed where nothing else is."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import sysconfig
import venv
from pathlib import Path
from typing import Any

import pytest

EXAMPLES = Path(__file__).resolve().parents[2] / "docs" / "examples"

# The conformance kit looks at the module where it lies; what installs it is another test.
sys.path.append(str(EXAMPLES / "stranger"))

CONFIG = """
auxprop_plugin = "roster"
canon_user_plugin = "mailbox"
{more}

[mechanisms.X-KNOCK]
path = "secrets.json"

[auxprop.roster]
path = "users.json"

[canon_user.mailbox]
domain = "example.com"
"""


class Scratch:
    """An environment of its own: sasl-core is borrowed, the strangers are installed."""

    def __init__(self, folder: Path) -> None:
        venv.EnvBuilder(symlinks=os.name != "nt").create(folder)
        places = {"base": str(folder), "platbase": str(folder)}
        self.site = Path(sysconfig.get_path("purelib", "venv", places))
        self.python = Path(sysconfig.get_path("scripts", "venv", places)) / "python"
        # What is under test, an editable install or a wheel, with all that it requires.
        ours = sysconfig.get_path("purelib")
        (self.site / "borrowed.pth").write_text(f"import site; site.addsitedir({ours!r})\n")

    def install(self, *sources: Path) -> None:
        """Build and install distributions with pip, offline, by the backend that we have."""
        options = ("--quiet", "--no-index", "--no-deps", "--no-build-isolation")
        pip = (sys.executable, "-P", "-m", "pip", "--disable-pip-version-check")
        done = subprocess.run(
            [*pip, "--python", self.python, "install", *options, *sources],
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )
        assert done.returncode == 0, done.stderr

    def run(self, folder: Path, *arguments: str, more: str = "") -> str:
        """Run Python in `folder`, where a configuration that names the strangers lies.

        `more`: further lines of the configuration.
        """
        folder.mkdir(exist_ok=True)
        (folder / "sasl.toml").write_text(CONFIG.format(more=more))
        kept = {k: v for k, v in os.environ.items() if not k.startswith(("PYTHON", "SASL_"))}
        done = subprocess.run(
            [self.python, "-P", "-W", "error", *arguments],
            cwd=folder,
            env={**kept, "SASL_CONF_PATH": str(folder)},
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    def tell(self, folder: Path, code: str, *, more: str = "") -> Any:
        """Run `code`, which fills a dict `told`; return what it told."""
        whole = f"import json\ntold = {{}}\n{code}\nprint(json.dumps(told))\n"
        return json.loads(self.run(folder, "-c", whole, more=more))


@pytest.fixture(scope="session")
def scratch(tmp_path_factory: pytest.TempPathFactory) -> Scratch:
    """The stranger alone, beside what comes with sasl-core."""
    made = Scratch(tmp_path_factory.mktemp("stranger") / "environment")
    made.install(EXAMPLES / "stranger")
    return made


@pytest.fixture(scope="session")
def crowded(tmp_path_factory: pytest.TempPathFactory) -> Scratch:
    """The stranger, and every broken distribution beside it."""
    made = Scratch(tmp_path_factory.mktemp("crowd") / "environment")
    broken = [file.parent for file in sorted((EXAMPLES / "broken").glob("*/pyproject.toml"))]
    assert len(broken) == 5
    made.install(EXAMPLES / "stranger", *broken)
    return made
