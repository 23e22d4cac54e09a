"""`sasl users import`: users from a file into the stores.

Invariants: a batch is on the disk before it is told; whatever interrupts the command, starting it
again goes on; standard output has the summary alone, and nothing that is printed or reported
holds a verifier, a hash or a password.
"""

from __future__ import annotations

import io
import json
import os
import stat
import sys
from collections import Counter
from contextlib import ExitStack
from enum import Enum
from itertools import islice
from pathlib import Path
from typing import IO, TYPE_CHECKING, Annotated, BinaryIO, Final, get_args

import typer

from sasl_cli.output import columns, note
from sasl_cli.progress import progress
from sasl_cli.reports import open_report
from sasl_cli.settings import APPNAME, Appname, ConfigFile, Database, configuration
from sasl_core import Server
from sasl_core.plugin import UsageError, printable

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sasl_cli.importing.records import Entry, Reader, Refused
    from sasl_cli.importing.stores import Import, Told

__all__ = ["Source", "import_users"]

SHOWN: Final = 10
"""Refused users that are named on standard error; the report has all."""


class Source(Enum):
    """What wrote the file."""

    CSV = "csv"
    JSONL = "jsonl"
    POSTGRESQL = "postgresql"
    DOVECOT = "dovecot"
    MONGODB = "mongodb"
    CYRUS = "cyrus"


_EXACT: Final = (Source.CSV, Source.JSONL)
_BY_SUFFIX: Final = {".csv": Source.CSV, ".jsonl": Source.JSONL, ".ndjson": Source.JSONL}


def import_users(
    file: Annotated[str, typer.Argument(metavar="FILE", help="The users; - reads standard input.")],
    source: Annotated[
        Source | None,
        typer.Option(
            "--from",
            help="What wrote FILE.  [default: csv or jsonl, by its name]",
            show_default=False,
        ),
    ] = None,
    replace: Annotated[
        bool, typer.Option("--replace", help="Users that are there and differ become FILE's.")
    ] = False,
    derive: Annotated[
        bool,
        typer.Option(
            "--derive", help="Make verifiers of plaintext passwords; takes milliseconds for each."
        ),
    ] = False,
    keep_hashes: Annotated[
        bool,
        typer.Option(
            "--keep-hashes", help="Keep {SCHEME} and $id$ hashes as the property passwordHash."
        ),
    ] = False,
    realm: Annotated[
        str | None, typer.Option("--realm", metavar="REALM", help="The realm of bare names.")
    ] = None,
    strip_realm: Annotated[
        str | None,
        typer.Option("--strip-realm", metavar="REALM", help="Leave this realm off the names."),
    ] = None,
    exact: Annotated[
        bool,
        typer.Option(
            "--exact",
            help="Users who log in with access tokens: take names as they stand, and who has no "
            "password; csv and jsonl.",
        ),
    ] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Write nothing; say what would be done.")
    ] = False,
    report: Annotated[
        str | None,
        typer.Option(
            "--report", metavar="FILE", help="Write what was not taken over, as JSON lines."
        ),
    ] = None,
    quiet: Annotated[
        bool, typer.Option("--quiet", "-q", help="No progress, and no refused users by name.")
    ] = False,
    db: Database = None,
    config: ConfigFile = None,
    appname: Appname = APPNAME,
) -> None:
    """Import users and their verifiers.

    Users that are there already and equal are left as they are, so that an import that was
    interrupted goes on when it is started again. Plaintext is refused unless --derive makes
    verifiers of it. Exits with 1 if anything was refused.

    With --exact the users are those who log in with access tokens: their names go to no
    canonicaliser, and nobody needs anything to log in with.
    """
    if exact and (realm, strip_realm) != (None, None):
        raise UsageError("--exact takes names as they stand: leave --realm and --strip-realm out")
    reader = _reader(source, file, exact=exact)
    settings = configuration(config, appname, db)
    with ExitStack() as stack:
        opened = _opened(file, stack)
        reported = None if report is None else stack.enter_context(open_report(report, file))
        server = stack.enter_context(
            Server(APPNAME, "localhost", appname=appname, config=settings, realm=realm)
        )
        from sasl_cli.importing.policy import Policy, judged
        from sasl_cli.importing.stores import BATCH, DERIVED_BATCH, Import

        options = server.core.options
        policy = Policy(
            derive,
            keep_hashes,
            exact,
            options.scram_iteration_cap.of,
            options.scram_iteration_floor.of,
        )
        job = Import(server, replace=replace, dry_run=dry_run, strip_realm=strip_realm, exact=exact)
        run = _Run(job, reported, DERIVED_BATCH if derive else BATCH, quiet=quiet)
        try:
            total = _size(opened)
            with progress("importing", total, quiet=quiet) as advance:
                records = judged(_read(reader(opened), file), policy)
                while run.batch(records):
                    advance(0 if total is None else opened.tell(), run.users)
        except KeyboardInterrupt:
            note("interrupted: what is counted below is kept; start it again to go on")
            raise
        finally:
            run.summary(dry_run=dry_run)
    if run.failed:
        raise typer.Exit(1)


class _Run:
    """The batches of one import, counted."""

    def __init__(self, job: Import, report: IO[str] | None, size: int, *, quiet: bool) -> None:
        self._job = job
        self._report = report
        self._size = size
        self._quiet = quiet
        self._counts: Counter[str] = Counter()
        self._notes = 0
        self.users = 0

    @property
    def failed(self) -> int:
        """How many users are not in the stores as the file has them."""
        return self._counts["refused"] + self._counts["conflict"]

    def batch(self, records: Iterator[Entry | Refused]) -> bool:
        """Take the next ones; False when there are no more."""
        batch = list(islice(records, self._size))
        for told in self._job.take(batch):
            self._tell(told)
        self.users += len(batch)
        return bool(batch)

    def _tell(self, told: Told) -> None:
        self._counts[told.outcome] += 1
        bad = told.outcome in ("refused", "conflict")
        if bad and not self._quiet:
            if self.failed <= SHOWN:
                who = f"{told.user}: " if told.user else ""
                note(f"line {told.line}: {who}{told.reason}")
            elif self.failed == SHOWN + 1:
                note("more users are refused; --report FILE keeps all of them")
        if told.reason:
            self._write(told, told.outcome, told.reason)
        elif told.notes:
            self._notes += 1
            for text in told.notes:
                self._write(told, "note", text)

    def _write(self, told: Told, outcome: str, reason: str) -> None:
        if self._report is not None:
            line = {"line": told.line, "user": told.user, "outcome": outcome, "reason": reason}
            print(json.dumps(line), file=self._report)

    def summary(self, *, dry_run: bool) -> None:
        """What became of the users, on standard output."""
        from sasl_cli.importing.stores import Outcome

        if self._report is not None:
            self._report.flush()
        print("nothing is written; it would be:" if dry_run else f"{self.users} users read")
        rows = [
            (outcome, str(self._counts[outcome]), MEANINGS[outcome])
            for outcome in get_args(Outcome)
            if self._counts[outcome] or outcome in ("created", "unchanged", "refused")
        ]
        if self._notes:
            rows.append(("noted", str(self._notes), "taken over, but not all of what they had"))
        print(columns(rows, indent="  "))


MEANINGS: Final = {
    "created": "new users",
    "replaced": "were there, and differed",
    "unchanged": "were there already, and are equal",
    "conflict": "are there already, and differ: left as they are",
    "refused": "could not be taken over",
    "skipped": "are no users",
}


def _reader(source: Source | None, file: str, *, exact: bool) -> Reader:
    """How FILE is read.

    Raises:
        UsageError: nobody says so, or users who have `exact` names are in no such file.
    """
    source = source or _BY_SUFFIX.get(Path(file).suffix.lower())
    if source is None:
        names = ", ".join(each.value for each in Source)
        raise UsageError(f"what wrote the file? say it with --from: {names}")
    if exact and source not in _EXACT:
        # Elsewhere somebody without a password is no user, or one that nobody can be.
        raise UsageError("--exact reads csv and jsonl: no other file has users of access tokens")
    from sasl_cli.importing import csv, cyrus, dovecot, jsonl, mongodb, postgres

    readers: dict[Source, Reader] = {
        Source.CSV: csv.read,
        Source.JSONL: jsonl.read,
        Source.POSTGRESQL: postgres.read,
        Source.DOVECOT: dovecot.read,
        Source.MONGODB: mongodb.read,
        Source.CYRUS: cyrus.read,
    }
    return readers[source]


def _opened(file: str, stack: ExitStack) -> BinaryIO:
    """The file of users, open for reading.

    Raises:
        UsageError: it cannot be read.
    """
    if file == "-":
        return sys.stdin.buffer
    try:
        return stack.enter_context(Path(file).open("rb"))
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or type(error).__name__
    raise UsageError(f"{printable(file, 200)!r} cannot be read: {reason}")


def _read(records: Iterator[Entry | Refused], file: str) -> Iterator[Entry | Refused]:
    """The records of the file.

    Raises:
        UsageError: reading on failed.
    """
    try:
        yield from records
    except OSError as error:
        reason = error.strerror or type(error).__name__
    else:
        return
    raise UsageError(f"{printable(file, 200)!r} cannot be read any more: {reason}")


def _size(opened: BinaryIO) -> int | None:
    """How large a regular file is."""
    try:
        status = os.fstat(opened.fileno())
    except (OSError, io.UnsupportedOperation):
        return None
    return status.st_size if stat.S_ISREG(status.st_mode) else None
