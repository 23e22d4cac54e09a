"""A mechanism's table is read alike by a Server, a Client and `sasl config check`."""

from __future__ import annotations

import json
import re
from collections import defaultdict
from pathlib import Path
from typing import Any, Final

import pytest

from cli_runs import Sasl
from sasl_core import Client, Server
from sasl_core.plugin import PluginError

REFERENCE: Final = Path(__file__).parents[2] / "docs" / "reference.md"

BEARER: Final[list[dict[str, object]]] = [
    {
        "validation": "tokens",
        "scope": ["mail"],
        "openid_configuration": "https://id.example.com/.well-known/openid-configuration",
        "plain_names": True,
        "user_namespace": "people",
        "role_namespace": "roles",
    },
    {
        "validation": "introspection",
        "introspection_url": "http://127.0.0.1:9/introspect",
        "introspection_ca_file": "ca.pem",
        "introspection_deadline": 5,
        "allow_loopback_http": True,
        "client_id": "mail",
        "client_secret_file": "secret",
        "issuer": "https://id.example.com",
        "audience": "mail",
        "principal_claim": "email",
    },
]
TABLES: Final[dict[str, list[dict[str, object]]]] = {
    "EXTERNAL": [{"need_account": True}],
    "MONGODB-OIDC": [
        {"user_namespace": "people", "role_namespace": "roles", "allow_loopback_http": True}
    ],
    "OAUTHBEARER": BEARER,
    "XOAUTH2": BEARER,
}
"""Of each mechanism with options, tables that have every one of them between them."""

EACH: Final = [(name, table) for name, tables in TABLES.items() for table in tables]


def test_every_documented_option_is_in_these_tables() -> None:
    """The tables below hold what docs/reference.md has of mechanisms' options, and no more."""
    documented: defaultdict[str, set[str]] = defaultdict(set)
    headings = re.findall(
        r"^### mechanisms\.(\S+)\.(\w+)$", REFERENCE.read_text("utf-8"), re.MULTILINE
    )
    for name, option in headings:
        documented[name].add(option)
    assert documented == {
        name: {option for table in tables for option in table} for name, tables in TABLES.items()
    }


def toml(name: str, table: dict[str, object], folder: Path) -> Path:
    """A file with that table of `name`."""
    # TOML writes these values as JSON does.
    written = "".join(f"{key} = {json.dumps(value)}\n" for key, value in table.items())
    file = folder / "sasl.toml"
    file.write_text(f"[mechanisms.{name}]\n{written}", "utf-8")
    return file


@pytest.fixture
def folder(tmp_path: Path, certificate: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder, with the files that the tables name."""
    _ = (tmp_path / "ca.pem").write_bytes(certificate[0].read_bytes())
    secret = tmp_path / "secret"
    _ = secret.write_text("s3cret\n")
    secret.chmod(0o600)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.usefixtures("folder")
@pytest.mark.parametrize("owner", [Server, Client])
@pytest.mark.parametrize(("name", "table"), EACH)
def test_a_table_is_good_to_either_side(
    owner: type[Server | Client], name: str, table: dict[str, object]
) -> None:
    """One file may serve a server and its clients: neither stumbles over what is the other's."""
    given: Any = {"mechanisms": {name: table}}
    with owner("smtp", "mail.example.com", config=given) as made:
        assert made.core.plugs.get("mechanisms", name).name == name


@pytest.mark.parametrize("owner", [Server, Client])
@pytest.mark.parametrize(("name", "table"), EACH)
def test_a_slip_is_told_by_either_side(
    owner: type[Server | Client], name: str, table: dict[str, object]
) -> None:
    """A key with a letter too few makes the mechanism unusable, and the right one is named."""
    for key, value in table.items():
        given: Any = {"mechanisms": {name: {key[:-1]: value}}}
        with owner("smtp", "mail.example.com", config=given) as made:
            with pytest.raises(PluginError) as caught:
                _ = made.core.plugs.get("mechanisms", name)
            assert f"did you mean {key!r}?" in caught.value.reason


@pytest.mark.parametrize("command", [("config", "check"), ("plugins",)])
@pytest.mark.parametrize(("name", "table"), EACH)
def test_the_command_line_takes_what_is_documented(
    sasl: Sasl, folder: Path, command: tuple[str, ...], name: str, table: dict[str, object]
) -> None:
    """No key is said to be unknown, nor a plugin to take none; of a slip it is said."""
    done = sasl.run(*command, "--config", str(toml(name, table, folder)))
    assert done.returncode == 0, done.stderr
    assert "takes no options" not in done.stdout + done.stderr
    key = next(iter(table))
    wrong = toml(name, {key[:-1]: table[key]}, folder)
    done = sasl.run(*command, "--config", str(wrong))
    assert done.returncode == (1 if command[0] == "config" else 0)
    assert "did you mean" in " ".join((done.stdout + done.stderr).split())
