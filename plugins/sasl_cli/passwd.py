"""`sasl passwd`: set a user's password, create the user, or lock it."""

from __future__ import annotations

from typing import Annotated

import typer

from sasl_cli.output import columns, fail
from sasl_cli.password import ask, read_line
from sasl_cli.settings import APPNAME, Appname, ConfigFile, Database, configuration
from sasl_cli.supply import supply
from sasl_core import Result, Server, SetpassFlag, UserName
from sasl_core.plugin import UsageError

__all__ = ["command"]

MEANINGS = {
    Result.OK: "ok",
    Result.NOUSER: "no such user",
    Result.NOCHANGE: "not changed",
    Result.DISABLED: "the user is disabled",
}
"""Results in words; any other goes by its name."""


def command(
    user: Annotated[str, typer.Argument(metavar="USER", help="NAME or NAME@REALM.")],
    create: Annotated[
        bool, typer.Option("-c", "--create", help="Create the user if there is none.")
    ] = False,
    disable: Annotated[
        bool,
        typer.Option(
            "-d",
            "--disable",
            help="Lock the user out, until -c lets it in again; with --exact also one who has no "
            "account yet.",
        ),
    ] = False,
    pipe: Annotated[
        bool, typer.Option("-p", "--pipe", help="Read the password from standard input, one line.")
    ] = False,
    realm: Annotated[
        str | None, typer.Option("--realm", metavar="REALM", help="The realm of a bare NAME.")
    ] = None,
    exact: Annotated[
        bool,
        typer.Option(
            "--exact",
            help="Take USER as it stands, without realm or preparation: what users who log in "
            "with an access token or a certificate are called.",
        ),
    ] = False,
    hashes: Annotated[
        list[str] | None,
        typer.Option(
            "--hash",
            metavar="HASH",
            help="Write a SCRAM verifier of this hash, as SHA-256; may be repeated. "
            "[default: scram_hashes]",
        ),
    ] = None,
    db: Database = None,
    config: ConfigFile = None,
    appname: Appname = APPNAME,
) -> None:
    """Set a user's password.

    Asks for it twice, or reads it with -p. The stores keep verifiers, from which nobody reads
    the password: one for each hash of scram_hashes, or of --hash. The old password's verifiers
    are gone afterwards. Each store and mechanism that keeps a secret is listed with what it did.

    Whoever comes with an access token or a certificate needs no account, so that --exact -d makes
    one for who has none: locked, and without a password.
    """
    if create and disable:
        raise UsageError("-c and -d exclude each other")
    if disable and pipe:
        raise UsageError("-d takes no password, so -p has nothing to do")
    if exact and realm is not None:
        raise UsageError("--exact takes the name as it stands, so --realm has nothing to do")
    if realm is not None and "@" in user:
        raise UsageError("the user has a realm already: leave --realm out")
    if disable and hashes:
        raise UsageError("-d takes no password, so --hash has nothing to do")
    more = {"scram_hashes": hashes} if hashes else None
    settings = configuration(config, appname, db, more)
    made = False
    with Server(APPNAME, "localhost", appname=appname, config=settings, realm=realm) as server:
        if disable:
            password, flags = None, SetpassFlag.DISABLE
            if exact:
                flags |= SetpassFlag.CREATE
                made = _is_unknown(server, user)
        else:
            password = read_line() if pipe else ask("New password", twice=True)
            flags = SetpassFlag.CREATE if create else SetpassFlag.NONE
        report = server.setpass(user, password, flags, exact=exact)
        locked = report.ok and not disable and _is_locked(server, report.user)
    del password
    if report.ok:
        done = "disabled" if disable else "password set"
        if made:
            done += "; there was no such user, and now there is a locked one"
        if locked:
            done += ", but still disabled; -c lets the user in"
        print(f"{report.user}: {done}")
    rows = [
        (
            target.target,
            MEANINGS.get(target.result, target.result.name.lower()),
            target.detail or "",
        )
        for target in report.targets
    ]
    if rows:
        print(columns(rows, indent="  "))
    if report.result is Result.NOUSER:
        advice = "" if disable else "; -c creates it"
        fail(f"there is no user {str(report.user)!r}{advice}")
    if not report.ok:
        fail(f"the password of {str(report.user)!r} is not set")


def _is_unknown(server: Server, user: str) -> bool:
    """Whether no store has the user: a typing error would lock nobody out, and be told by nobody.

    A name that nobody can have is left to `setpass`, which refuses it.
    """
    if not user.isprintable():
        return False
    from sasl_cli.importing.stores import is_new

    name = UserName.parse(user)
    return all(is_new(store, name) for store in server.core.stores())


def _is_locked(server: Server, user: UserName) -> bool:
    """Whether a store keeps the user out, whatever the password is."""
    found = (supply(store.lookup(user, ())).result for store in server.core.stores())
    return Result.DISABLED in found
