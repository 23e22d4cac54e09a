"""`sasl config check`: read the configuration as a server would, plugins' tables included."""

from __future__ import annotations

from typing import TYPE_CHECKING

import typer

from sasl_cli.inventory import Offered, take
from sasl_cli.output import fail, note, one_line
from sasl_cli.serve_providers import check as check_providers
from sasl_cli.settings import APPNAME, Appname, ConfigFile
from sasl_core import Configuration, Registry, Server
from sasl_core.plugin import SaslError, base_name

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["command"]

command = typer.Typer(no_args_is_help=True, add_completion=False)


@command.callback()
def config() -> None:
    """Look into the configuration."""


@command.command()
def check(file: ConfigFile = None, appname: Appname = APPNAME) -> None:
    """Check the configuration: every key, the identity providers, each plugin's table.

    Reads it as a server of that name would, and initialises every plugin, so that a plugin's
    options are checked by the plugin itself. Problems of plugins that nothing refers to are
    warnings; a canonicaliser, a password method or a source of credentials that only lacks
    options or an extra is no problem until it is named. Exits with 1 if anything is wrong.
    """
    try:
        loaded = Configuration.load(appname, path=file)
        registry = Registry(plugin_list=loaded.core.plugin_list)
    except SaslError as error:
        fail(one_line(error))
    print(f"{appname}: {_origin(loaded)}")
    for other in loaded.shadowed:
        note(f"warning: {other} is not read, for {loaded.origin} comes first")
    if loaded.applications and appname not in loaded.applications:
        applications = ", ".join(loaded.applications)
        print(f"  no table of its own; those that have one: {applications}")
    declared = {kind: registry.names(kind) for kind in KINDS}
    problems = [one_line(error) for error in loaded.missing_plugins(declared)]
    problems += [
        f"plugin_list: {entry!r} names nothing that is installed" for entry in registry.unmatched()
    ]
    providers, mistake = _providers(loaded)
    if mistake is not None:
        key = "identity_providers"
        problems.append(mistake if f" {key}" in f" {mistake}" else f"{key}: {mistake}")
    offered = [
        plugin
        for plugin in take(loaded, registry)
        if plugin.kind in KINDS
        and plugin.reason is not None
        # What is wrong with the providers, every mechanism for tokens repeats.
        and not (mistake is not None and plugin.reason.endswith(mistake))
    ]
    wrong, odd = _sorted(offered, loaded)
    for text in odd:
        note(f"warning: {text}")
    for text in problems + wrong:
        note(text)
    if problems or wrong:
        raise typer.Exit(1)
    if providers is not None:
        print(f"  {providers} identity provider{'' if providers == 1 else 's'} read")
    print("  every key is known and has a value that it can have")


KINDS = ("mechanisms", "canon_user", "auxprop", "pwcheck", "audit", "credentials")


def _providers(loaded: Configuration) -> tuple[int | None, str | None]:
    """How many identity providers are configured, and what is wrong with them; None: nothing.

    They are looked into where there are any, and what a server warns of is a warning here.
    """
    import logging

    if not loaded.given & {"identity_providers", "identity_providers_file"}:
        return None, None

    class Notes(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            note(f"warning: {record.getMessage()}")

    with Server(APPNAME, "localhost", appname=loaded.appname, config=loaded) as server:
        log, notes = logging.getLogger("sasl_core"), Notes(logging.WARNING)
        log.addHandler(notes)
        try:
            return check_providers(server.utils), None
        except SaslError as error:
            return None, one_line(error)
        finally:
            log.removeHandler(notes)


def _origin(loaded: Configuration) -> str:
    if loaded.origin == "defaults":
        return "no configuration file was found: every option has its default"
    return f"read from {loaded.origin}"


def _sorted(plugins: Iterable[Offered], loaded: Configuration) -> tuple[list[str], list[str]]:
    """The problems of plugins that the configuration relies on, and those of the others."""
    core = loaded.core
    named = {
        *(core.mech_list or ()),
        *(core.client_mech_list or ()),
        *core.auxprop_plugin,
        *core.pwcheck_method,
        core.canon_user_plugin,
        core.credentials_plugin,
        *(entry.rpartition(":")[2] for entry in core.plugin_list),
    }
    servers = set(map(base_name, core.mech_list or ()))
    wrong: list[str] = []
    odd: list[str] = []
    for plugin in plugins:
        text = f"{plugin.kind} {plugin.name}: {plugin.reason}"
        given = plugin.name in loaded.plugins_given(plugin.kind)
        if plugin.half:
            # A mechanism that servers are told to offer, and cannot.
            if plugin.name in servers and "server" not in plugin.sides:
                wrong.append(text)
        elif plugin.name in named or given:
            wrong.append(text)
        elif not plugin.idle:
            odd.append(text)
    return wrong, odd
