"""docs/howto/identity-provider.md: its tables are such, and its commands exist."""

from __future__ import annotations

import re
import shlex
import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
import typer

from sasl_core import Configuration, Server
from sasl_tokens import CODES, parse_providers
from sasl_tokens.config import FIELDS

PAGE = Path(__file__).parents[2] / "docs" / "howto" / "identity-provider.md"
TEXT = PAGE.read_text("utf-8")
SECTIONS = dict(re.findall(r"^## ([^\n]+)\n(.*?)(?=^## |\Z)", TEXT, re.MULTILINE | re.DOTALL))
BLOCK = re.compile(r"^```toml\n(.*?)^```$", re.MULTILINE | re.DOTALL)
PROVIDERS = ["Keycloak", "Entra ID", "Google", "Okta", "Any other"]


def choices(section: str) -> Sequence[Sequence[Mapping[str, object]]]:
    """What each TOML block of a section configures that has providers; one to choose."""
    blocks = map(tomllib.loads, BLOCK.findall(SECTIONS[section]))
    return [block["identity_providers"] for block in blocks if "identity_providers" in block]


def tables(section: str) -> Sequence[Mapping[str, object]]:
    """What the first of them configures."""
    return choices(section)[0]


@pytest.mark.parametrize("section", ["What every table needs", *PROVIDERS])
def test_each_table_is_one_that_a_server_takes(section: str) -> None:
    """One provider to a block, right in every field, as TOML and through the configuration."""
    for choice in choices(section):
        (provider,) = parse_providers(choice)
        assert provider.issuer.startswith("https://")
        loaded = Configuration.from_mapping({"identity_providers": choice}, "smtp")
        assert loaded.core.identity_providers == tuple(choice)


def test_keycloak_has_a_table_for_people_and_one_for_programs() -> None:
    """The second asks nobody to a browser; what its programs have is a source's table."""
    people, programs = (parse_providers(choice)[0] for choice in choices("Keycloak"))
    assert people.supports_human_flows
    assert people.client_id is not None
    assert not programs.supports_human_flows
    (block,) = (b for b in BLOCK.findall(SECTIONS["Keycloak"]) if "credentials_plugin" in b)
    table = tomllib.loads(block)
    assert table["credentials"]["client_credentials"]["issuer"] == programs.issuer
    with Server("smtp", "localhost", config=table) as server:
        source = server.core.plugs.get("credentials", table["credentials_plugin"])
        assert source.availability() is None


def test_they_can_be_configured_together() -> None:
    """With a pattern for each that people use, all of them in one file are right."""
    together = [
        dict(table)
        | ({} if table.get("supportsHumanFlows") is False else {"matchPattern": f"@{index}$"})
        for index, section in enumerate(PROVIDERS)
        for table in tables(section)
    ]
    assert len(parse_providers(together)) == len(PROVIDERS)


def test_the_options_for_mail_are_options_of_the_mechanisms() -> None:
    """With the table of one provider they are taken, and both mechanisms are offered."""
    (block,) = BLOCK.findall(SECTIONS["Log in with it"])
    config = {**tomllib.loads(block), "identity_providers": tables("Keycloak")}
    with (
        Server("smtp", "localhost", config=config) as server,
        server.session(external_ssf=128) as session,
    ):
        assert {"OAUTHBEARER", "XOAUTH2", "MONGODB-OIDC"} <= set(session.mechanisms())


def test_every_field_that_is_named_exists() -> None:
    """Whatever looks like a field of the table is one, and every code is one of the library."""
    named = set(re.findall(r"`([A-Za-z]+) = ", TEXT)) | {"matchPattern", "serverCAFile"}
    assert named <= set(FIELDS)
    codes = set(re.findall(r"`((?:token|oidc)-[a-z-]+)`", SECTIONS["See that it works"]))
    assert len(codes) >= 8
    assert codes <= set(CODES)


def test_every_command_and_option_exists() -> None:
    """Each `sasl` command of the page has the options that it is given."""
    from sasl_cli import auth, serve, token

    auth_app, serve_app = typer.Typer(), typer.Typer()
    _ = auth_app.command()(auth.command)
    _ = serve_app.command()(serve.command)
    apps: dict[str, Any] = {
        name: typer.main.get_command(app)
        for name, app in (("auth", auth_app), ("serve", serve_app), ("token", token.command))
    }
    text = "\n".join(re.findall(r"^```sh\n(.*?)^```$", TEXT, re.MULTILINE | re.DOTALL))
    commands = [shlex.split(line) for line in text.replace("\\\n", " ").splitlines() if line]
    assert len(commands) == 9
    for program, name, *arguments in commands:
        assert program == "sasl"
        found = apps[name].commands[arguments[0]] if name == "token" else apps[name]
        known = {option for parameter in found.params for option in parameter.opts}
        assert {word for word in arguments if word.startswith("--")} <= known
