"""`sasl users export`: users and their verifiers, in a form that another program reads.

Invariants: verifiers go to no terminal unless that is asked for, and into no file that anybody
else can read or that was there already; what cannot be written is named, and the others are;
no two users become one, and no line is longer than an import reads.
"""

from __future__ import annotations

import os
import sys
from contextlib import contextmanager, suppress
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final, TypeAlias

import typer

from sasl_cli.output import note, visible
from sasl_cli.settings import APPNAME, Appname, ConfigFile, Database, configuration
from sasl_cli.supply import supply
from sasl_core import Result, Server, UserName
from sasl_core.plugin import (
    VERIFIERS,
    ConfigError,
    SaslError,
    UsageError,
    parse_verifier,
    printable,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterator, Sequence

    from sasl_cli.exporting import Account, Format
    from sasl_core import Found, ScramVerifier

__all__ = ["Target", "export_users"]

SHOWN: Final = 10
"""Users that are named when they cannot be written."""

Put: TypeAlias = "Callable[[str], None]"


class Target(Enum):
    """What reads the export."""

    CSV = "csv"
    JSONL = "jsonl"
    POSTGRESQL = "postgresql"
    DOVECOT = "dovecot"
    MONGODB = "mongodb"
    CYRUS = "cyrus"


def export_users(
    target: Annotated[
        Target, typer.Option("--format", help="What reads it; jsonl has room for all of a user.")
    ] = Target.JSONL,
    output: Annotated[
        str | None,
        typer.Option(
            "--output",
            "-o",
            metavar="FILE",
            help="Write a new file, for its owner alone.  [default: standard output]",
            show_default=False,
        ),
    ] = None,
    to_terminal: Annotated[
        bool, typer.Option("--to-terminal", help="Show verifiers on a terminal.")
    ] = False,
    names: Annotated[
        list[str] | None,
        typer.Option(
            "--property", metavar="NAME", help="Export this property too; may be repeated."
        ),
    ] = None,
    realm: Annotated[
        str | None, typer.Option("--realm", metavar="REALM", help="The realm of bare names.")
    ] = None,
    exact: Annotated[
        bool,
        typer.Option(
            "--exact",
            help="Export who has no verifier too, as users who log in with access tokens; csv "
            "and jsonl.",
        ),
    ] = False,
    db: Database = None,
    config: ConfigFile = None,
    appname: Appname = APPNAME,
) -> None:
    """Export users and their verifiers.

    Whoever has a verifier can try passwords at leisure, and pose as the server: keep the
    output as secret as the store. Plaintext passwords are never exported. Of disabled users
    a store tells the names alone. Exits with 1 if a user could not be written.
    """
    from sasl_cli.exporting import FORMATS

    chosen = FORMATS[target.value]
    properties = _properties(names or [], chosen, target)
    if realm is not None and (not realm or "@" in realm):
        raise UsageError("a realm is not empty, and holds no @")
    if exact and realm is not None:
        raise UsageError("--exact writes names as they stand, so --realm has nothing to do")
    if exact and not chosen.properties:
        raise UsageError(
            f"{target.value} has no room for users without a verifier: leave --exact out"
        )
    if output is None and sys.stdout.isatty() and not to_terminal:
        raise UsageError(
            "verifiers are secret, and this is a terminal: give --output FILE, or --to-terminal"
        )
    settings = configuration(config, appname, db)
    with (
        Server(APPNAME, "localhost", appname=appname, config=settings) as server,
        _standard_output() if output is None else _new_file(output) as put,
    ):
        accounts = _accounts(server, properties, realm)
        failed = _write(put, chosen, properties, accounts, exact=exact)
    if failed:
        raise typer.Exit(1)


def _properties(names: list[str], chosen: Format, target: Target) -> list[str]:
    """The properties to export.

    Raises:
        UsageError: the format has no room for any, or one is a secret.
    """
    from sasl_cli.importing.records import checked_property

    if names and not chosen.properties:
        raise UsageError(f"{target.value} has no room for properties")
    return [checked_property(name, ())[0] for name in dict.fromkeys(names)]


def _write(
    put: Put,
    chosen: Format,
    properties: Sequence[str],
    accounts: Iterator[Account],
    *,
    exact: bool,
) -> int:
    """Write everybody; how many could not be."""
    from sasl_cli.importing.lines import LINE_LIMIT

    failed = locked = 0
    # Their hashes, for which memory does.
    written: set[int] = set()
    put(chosen.head(properties))
    for account in accounts:
        try:
            if account.disabled and not chosen.disabled:
                raise UsageError("is disabled, and its verifiers are not told")
            if not (account.disabled or account.verifiers or account.hashes or exact):
                advice = "; --exact writes such users" if chosen.properties else ""
                raise UsageError(f"has no verifier{advice}")
            key = hash(chosen.key(account))
            if key in written:
                raise UsageError("is written already: two users have this name in the file")
            line = chosen.line(account)
            if len(line.encode()) > LINE_LIMIT:
                raise UsageError(
                    f"would be a line of more than the {LINE_LIMIT} bytes that are read"
                )
            put(line)
        except UsageError as error:
            failed += 1
            if failed <= SHOWN:
                note(f"{account.name} {error}")
        else:
            written.add(key)
            locked += account.disabled
    put(chosen.foot)
    more = f"; {failed} could not be" if failed else ""
    names = f" ({locked} of them disabled: the names alone)" if locked else ""
    note(f"{len(written)} users written{names}{more}")
    return failed


def _accounts(server: Server, properties: Sequence[str], realm: str | None) -> Iterator[Account]:
    """Everybody of every store, each once."""
    from sasl_cli.exporting import Account
    from sasl_core.plugin import HASHES

    seen: set[UserName] = set()
    stores = server.core.stores()
    for store in stores:
        for user in supply(store.users()):
            if user in seen:
                continue
            if len(stores) > 1:
                seen.add(user)
            found = supply(store.lookup(user, (VERIFIERS, HASHES, *properties)))
            name = user if user.realm or realm is None else UserName(user.name, realm)
            yield Account(
                name,
                _verifiers(found, user),
                found.values.get(HASHES, ()),
                {name: found.values.get(name, ()) for name in properties},
                found.result is Result.DISABLED,
            )


def _verifiers(found: Found, user: UserName) -> dict[str, ScramVerifier]:
    verifiers = dict(found.verifiers)
    for value in found.values.get(VERIFIERS, ()):
        try:
            parsed = parse_verifier(value)
        except SaslError as error:
            note(f"{user}: {error.detail}")
        else:
            verifiers[parsed.hash] = parsed
    return dict(sorted(verifiers.items()))


@contextmanager
def _standard_output() -> Generator[Put]:
    """Standard output; on a terminal without control characters, for users choose values."""
    shown = visible if sys.stdout.isatty() else str

    def put(text: str) -> None:
        _ = sys.stdout.buffer.write(shown(text).encode())

    yield put
    _ = sys.stdout.buffer.flush()


@contextmanager
def _new_file(name: str) -> Generator[Put]:
    """A new file, mode 0600, removed again if the export fails.

    Raises:
        ConfigError: it is there already, or cannot be made.
    """
    path = Path(name)
    try:
        opened = os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb")
    except FileExistsError:
        reason = "is there already: nothing is written over"
    except (OSError, ValueError) as error:
        reason = f"cannot be made: {getattr(error, 'strerror', None) or type(error).__name__}"
    else:

        def put(text: str) -> None:
            _ = opened.write(text.encode())

        try:
            with opened:
                yield put
                opened.flush()
                os.fsync(opened.fileno())
        except BaseException:
            with suppress(OSError):
                path.unlink()
            raise
        return
    raise ConfigError(reason, file=printable(name, 200))
