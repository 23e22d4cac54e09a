"""`sasl users`: who is in the stores, and by what they can log in; never a key."""

from __future__ import annotations

from typing import TYPE_CHECKING

import typer

from sasl_cli.output import columns, note, one_line
from sasl_cli.settings import APPNAME, Appname, ConfigFile, Database, configuration
from sasl_cli.supply import supply
from sasl_cli.users_export import export_users
from sasl_cli.users_import import import_users
from sasl_core import Result, Server
from sasl_core.plugin import PASSWORD, VERIFIERS, BackendError, UsageError, parse_verifier

if TYPE_CHECKING:
    from sasl_core import Found

__all__ = ["command"]

command = typer.Typer(invoke_without_command=True, add_completion=False)


@command.callback()
def users(
    ctx: typer.Context,
    db: Database = None,
    config: ConfigFile = None,
    appname: Appname = APPNAME,
) -> None:
    """List, import and export users.

    Without a command, lists the users of every store.
    """
    if ctx.invoked_subcommand is None:
        list_users(db, config, appname)
    elif (db, config, appname) != (None, None, APPNAME):
        raise UsageError(f"options go behind the command: sasl users {ctx.invoked_subcommand} ...")


@command.command("list")
def list_users(
    db: Database = None,
    config: ConfigFile = None,
    appname: Appname = APPNAME,
) -> None:
    """List the users of every store.

    Each with its realm, its state and the verifiers that are kept of its password: the hash
    and the rounds of PBKDF2. Of a disabled user a store tells nothing more. Exits with 1 if a
    verifier cannot be read.
    """
    unreadable = False
    settings = configuration(config, appname, db)
    rows = [("USER", "REALM", "STORE", "STATE", "VERIFIERS")]
    with Server(APPNAME, "localhost", appname=appname, config=settings) as server:
        for store in server.core.stores():
            for user in supply(store.users()):
                found = supply(store.lookup(user, (VERIFIERS, PASSWORD)))
                state = "disabled" if found.result is Result.DISABLED else "enabled"
                kept, problems = _kept(found)
                rows.append((user.name, user.realm or "-", store.name, state, kept))
                for problem in problems:
                    unreadable = True
                    note(f"{user}: {problem}")
    if len(rows) == 1:
        print("no users")
    else:
        print(columns(rows))
    if unreadable:
        raise typer.Exit(1)


_import = command.command("import")(import_users)
_export = command.command("export")(export_users)


def _kept(found: Found) -> tuple[str, list[str]]:
    """What a store keeps of a password, in words, and why some of it is of no use."""
    verifiers = list(found.verifiers.values())
    problems: list[str] = []
    for value in found.values.get(VERIFIERS, ()):
        try:
            verifiers.append(parse_verifier(value))
        except BackendError as error:
            problems.append(one_line(error))
    words = sorted({f"{verifier.hash} ({verifier.iterations} rounds)" for verifier in verifiers})
    if problems:
        words.append("unreadable")
    if found.values.get(PASSWORD):
        words.append("plaintext")
    return ", ".join(words) or "-", problems
