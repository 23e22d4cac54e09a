"""Discovery in an interpreter of its own, through real metadata on `sys.path`."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from zipfile import ZipFile

import pytest

from plugin_sources import MECHANISM

# Prints what Registry() finds as JSON; in front of it comes code of the test.
LIST = """
import json, sys
sys.path[:0] = json.loads(sys.argv[1])
{before}
from sasl_core.registry import Registry
registry = Registry(plugin_list=json.loads(sys.argv[2]))
listings = [
    [item.kind, item.name, item.distribution, item.version, item.problem]
    for item in registry.listings() if item.distribution != "sasl-core"
]
{after}
print(json.dumps({{"listings": listings, "modules": sorted(sys.modules), "said": said}}))
"""

LOAD = """
from sasl_core.errors import PluginError
from sasl_core.flags import Side
said = {}
for name in registry.names("mechanisms"):
    if name != "STRANGE":
        continue
    try:
        said[name] = len(registry.init("mechanisms", name, None, Side.SERVER))
    except PluginError as error:
        said[name] = str(error)
"""


def distribution(folder: Path, name: str, entry_points: str | bytes, version: str = "1.0") -> Path:
    """Write `name`-`version`.dist-info into `folder`."""
    info = folder / f"{name.replace('-', '_')}-{version}.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
    data = entry_points.encode() if isinstance(entry_points, str) else entry_points
    (info / "entry_points.txt").write_bytes(data)
    return folder


def mechanism(folder: Path, name: str, module: str, version: str = "1.0") -> Path:
    """A distribution with one good mechanism."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{module}.py").write_text(MECHANISM.format(name=name))
    entry = f"[sasl_core.mechanisms]\n{name} = {module}\n"
    return distribution(folder, f"sasl-{module}", entry, version)


@pytest.fixture
def discover(tmp_path):
    """Run `LIST` with folders in front of `sys.path`."""

    def run(*folders, plugin_list=(), before="", after="said = {}", env=None, cwd=None):
        code = LIST.format(before=before, after=after)
        done = subprocess.run(
            [
                sys.executable,
                "-P",
                "-B",
                "-W",
                "error",
                "-c",
                code,
                json.dumps([str(folder) for folder in folders]),
                json.dumps(list(plugin_list)),
            ],
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
            cwd=cwd or tmp_path,
            env={name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
            | (env or {}),
        )
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    return run


def test_listing_imports_no_plugin(discover, tmp_path):
    """Everything that is installed is listed; no plugin module and nothing heavy is loaded."""
    mechanism(tmp_path / "site", "STRANGE", "strange_plugin")
    found = discover(tmp_path / "site")
    assert found["listings"] == [["mechanisms", "STRANGE", "sasl-strange_plugin", "1.0", None]]
    loaded = {name.partition(".")[0] for name in found["modules"]}
    assert not loaded & {
        "strange_plugin",
        "sasl_mechanisms",
        "sasl_canon",
        "sasl_auxprop",
        "sasl_profiles",
        "sasl_cli",
        "pluggy",
        "cryptography",
        "jwt",
        "ssl",
        "asyncio",
    }
    # What importlib_metadata needs to parse METADATA takes longer than all the rest.
    assert not {"email.parser", "email.message", "zipp"} & set(found["modules"])


def test_importing_the_registry_reads_nothing(discover):
    """Neither importing nor making a registry loads importlib_metadata or pluggy."""
    after = "said = {}"
    before = (
        "from sasl_core.registry import Registry as R\nR()\n"
        "assert not {'importlib_metadata', 'pluggy'} & set(sys.modules)"
    )
    assert discover(before=before, after=after)["said"] == {}


def test_built_ins_come_through_the_same_door(discover):
    """The core's own mechanisms are declared by distribution sasl-core, like a stranger's."""
    after = (
        "said = {item.name: item.value for item in registry.listings('mechanisms') "
        "if item.distribution == 'sasl-core'}"
    )
    said = discover(after=after)["said"]
    assert said["PLAIN"] == "sasl_mechanisms.plain"


def test_every_built_in_keeps_the_contract(discover):
    """Each built-in with hooks loads and is initialised, by a server and by a client."""
    after = """
from sasl_core.core.client import ClientCore
from sasl_core.core.server import ServerCore
said = {}
for make in (ServerCore, ClientCore):
    owner = make("imap", "h.example", config={}, registry=registry)
    for kind in ("mechanisms", "canon_user", "auxprop"):
        declared = [item.name for item in registry.listings(kind)]
        said[f"{owner.side.name} {kind}"] = [declared, list(owner.plugs.usable(kind))]
    said[f"{owner.side.name} problems"] = [[], list(map(str, owner.plugs.problems.values()))]
    owner.close()
"""
    for declared, usable in discover(after=after)["said"].values():
        assert usable == declared


def test_an_installed_plugin_is_loaded(discover, tmp_path):
    """Real metadata and a real module: the plugin is found, loaded and initialised."""
    mechanism(tmp_path / "site", "STRANGE", "strange_plugin")
    assert discover(tmp_path / "site", after=LOAD)["said"] == {"STRANGE": 1}


@pytest.mark.parametrize(
    "broken",
    [
        "[sasl_core.mechanisms]\nno equals sign\n",
        b"[sasl_core.mechanisms]\nX = m\n\xff\xfe\n",
        b"\xff\xfe\x00[console_scripts]",
    ],
)
def test_a_broken_distribution_spoils_no_other(discover, tmp_path, broken):
    """Metadata that cannot be read are told, with the distribution; the others go on."""
    site = mechanism(tmp_path / "site", "STRANGE", "strange_plugin")
    distribution(site, "broken-one", broken)
    found = discover(site, after=LOAD)
    assert found["said"] == {"STRANGE": 1}
    (told,) = [row for row in found["listings"] if row[1] == ""]
    assert told[2] == "broken-one"
    assert told[4].startswith("its entry points cannot be read (")
    assert told[4].endswith("): reinstall it")


def test_a_broken_stranger_is_none_of_our_business(discover, tmp_path):
    """A malformed entry_points.txt without a plugin of ours is passed by."""
    site = mechanism(tmp_path / "site", "STRANGE", "strange_plugin")
    distribution(site, "broken-one", "[console_scripts]\nno equals sign\n")
    assert [row[1] for row in discover(site)["listings"]] == ["STRANGE"]


def test_a_distribution_without_a_name_is_told_by_its_place(discover, tmp_path):
    """Without a readable name, the folder says which distribution it is."""
    site = mechanism(tmp_path / "site", "STRANGE", "strange_plugin")
    distribution(site, "nameless", "[sasl_core.auxprop]\nx = m\n")
    (site / "nameless-1.0.dist-info" / "METADATA").write_text("Metadata-Version: 2.1\n")
    rows = discover(site)["listings"]
    assert [row[1] for row in rows] == ["STRANGE", ""]
    assert str(site) in rows[1][2]


def test_a_distribution_whose_name_is_empty_takes_nobody_elses_place(discover, tmp_path):
    """An empty name is refused; it is not looked up as any distribution at all."""
    site = mechanism(tmp_path / "site", "STRANGE", "strange_plugin")
    distribution(site, "nameless", "[sasl_core.auxprop]\nx = m\n")
    (site / "nameless-1.0.dist-info" / "METADATA").write_text("Metadata-Version: 2.1\nName: \n")
    rows = discover(site)["listings"]
    assert [row[1] for row in rows] == ["STRANGE", ""]
    assert "cannot be read" in rows[1][4]


def test_a_folder_without_metadata_in_front_hides_nothing(discover, tmp_path):
    """What an uninstallation left behind is no copy of the distribution."""
    (tmp_path / "left" / "sasl_strange_plugin-0.9.dist-info").mkdir(parents=True)
    site = mechanism(tmp_path / "site", "STRANGE", "strange_plugin")
    rows = discover(tmp_path / "left", site)["listings"]
    assert rows == [["mechanisms", "STRANGE", "sasl-strange_plugin", "1.0", None]]


def test_a_zip_file_on_the_path_is_looked_into(discover, tmp_path):
    """Only an archive that is not there is passed over."""
    site = mechanism(tmp_path / "site", "STRANGE", "strange_plugin")
    archive = tmp_path / "site.zip"
    with ZipFile(archive, "w") as held:
        for path in sorted(site.rglob("*")):
            if path.is_file():
                held.write(path, path.relative_to(site))
    rows = discover(archive, tmp_path / "missing.zip")["listings"]
    assert rows == [["mechanisms", "STRANGE", "sasl-strange_plugin", "1.0", None]]


def test_a_path_finder_that_fails_is_contained(discover, tmp_path):
    """A finder on sys.meta_path that raises costs what comes after it, and is told."""
    site = mechanism(tmp_path / "site", "STRANGE", "strange_plugin")
    before = (
        "class Finder:\n"
        "    def find_spec(self, *args): return None\n"
        "    def find_distributions(self, context): raise RuntimeError('boom')\n"
        "sys.meta_path.append(Finder())\n"
    )
    told = ["", "", "", "", "a path finder on sys.meta_path failed (RuntimeError)"]
    assert discover(site, before=before)["listings"] == [told]
    before = "import importlib_metadata\n" + before  # Its own finder comes first now.
    rows = discover(site, before=before)["listings"]
    assert rows == [["mechanisms", "STRANGE", "sasl-strange_plugin", "1.0", None], told]


def test_an_older_copy_behind_is_no_second_claim(discover, tmp_path):
    """Editable and installed at once, or two versions: the first on sys.path counts."""
    new = mechanism(tmp_path / "new", "STRANGE", "strange_plugin", "2.0")
    old = mechanism(tmp_path / "old", "STRANGE", "strange_plugin", "1.0")
    rows = discover(new, old)["listings"]
    assert rows == [["mechanisms", "STRANGE", "sasl-strange_plugin", "2.0", None]]


def test_an_older_copy_declares_nothing_that_the_newer_dropped(discover, tmp_path):
    """What only a shadowed copy declares would import from the newer one: it is not listed."""
    new = mechanism(tmp_path / "new", "STRANGE", "strange_plugin", "2.0")
    (new / "sasl_strange_plugin-2.0.dist-info" / "entry_points.txt").write_text("")
    old = mechanism(tmp_path / "old", "STRANGE", "strange_plugin", "1.0")
    assert discover(new, old)["listings"] == []


def test_two_real_distributions_that_claim_a_built_in(discover, tmp_path):
    """A stranger that claims PLAIN makes PLAIN unusable, both named, until it is chosen."""
    site = mechanism(tmp_path / "site", "PLAIN", "squatter")
    mechanism(site, "STRANGE", "strange_plugin")
    after = "said = list(registry.names('mechanisms'))"
    found = discover(site, after=after)
    assert "PLAIN" not in found["said"]
    assert {"ANONYMOUS", "STRANGE"} <= set(found["said"])
    assert found["listings"][0][4] == (
        "claimed by distributions 'sasl-core' and 'sasl-squatter': choose one with "
        'plugin_list = ["sasl-core:PLAIN"], or uninstall the other'
    )
    chosen = discover(site, plugin_list=["sasl-core:PLAIN"], after=after)["said"]
    assert chosen == sorted([*found["said"], "PLAIN"])


def test_only_pythons_own_path_counts(discover, tmp_path):
    """No variable of ours or Cyrus's, no home folder and no working folder adds plugins."""
    home = mechanism(tmp_path / "home", "STRANGE", "strange_plugin")
    env = dict.fromkeys(
        ("HOME", "SASL_PATH", "SASL_CONF_PATH", "SASL_PLUGIN_PATH", "XDG_DATA_HOME"), str(home)
    )
    assert discover(env=env, cwd=home)["listings"] == []
