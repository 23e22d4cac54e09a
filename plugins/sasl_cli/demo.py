"""`sasl demo`: a server and a client on this machine, and each login drawn.

Invariants: everything is made in a temporary folder and gone afterwards; nothing listens but on
the loopback; no password, proof or key is printed; whatever is not as it should be ends the
command with 1.
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Final

from sasl_cli import profiles
from sasl_cli.output import console, fail, note
from sasl_cli.picture import show
from sasl_core import (
    AuditEvent,
    AuthenticationError,
    BindingPolicy,
    Client,
    Result,
    SetpassFlag,
)
from sasl_core.plugin import PluginError, SaslError, record

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from rich.console import Console

    from sasl_cli.profiles import Traced

__all__ = ["command"]

HOST: Final = "mail.example.com"
USER: Final = "tim"
RIGHT: Final = "open-sesame-4954"
WRONG: Final = "open-barley-4954"
TRACE: Final = "guest@example.com"

SWITCHES: Final = (
    ("allow_anonymous", "lets ANONYMOUS in, which is nobody in particular"),
    ("allow_cleartext", "lets PLAIN send its password without TLS"),
)
"""The safe defaults that this demo sets aside, and what each is for."""


@record
class Login:
    """One login: by what, with which password, and what it shall come to."""

    title: str
    mechanism: str
    password: str
    result: Result
    authid: str
    lesson: str


LOGINS: Final = (
    Login(
        "ANONYMOUS, RFC 4505",
        "ANONYMOUS",
        "",
        Result.OK,
        "anonymous",
        "Nobody is proved; the trace is for the log.",
    ),
    Login(
        "PLAIN, RFC 4616",
        "PLAIN",
        RIGHT,
        Result.OK,
        USER,
        "Authorization identity (empty: the same), user, password, with NULs between. The "
        "server checks the password against a SCRAM verifier: it keeps no other secret.",
    ),
    Login(
        "SCRAM-SHA-256, RFC 5802 and 7677",
        "SCRAM-SHA-256",
        RIGHT,
        Result.OK,
        USER,
        "Nonces r, salt s and rounds i go in clear; the proof p shows that the client knows "
        "the password, and v that the server knows its verifier. No password was sent.",
    ),
    Login(
        "SCRAM-SHA-256 with a wrong password",
        "SCRAM-SHA-256",
        WRONG,
        Result.BADAUTH,
        USER,
        "Whether the user or the password was wrong is told to the administrator alone.",
    ),
)


def command() -> None:
    """Watch three mechanisms log in, and one login fail.

    Starts an SMTP server on the loopback with a fresh user store, logs in over TCP, and draws
    what went to and fro. What is secret shows as ****. Nothing stays behind.
    """
    import asyncio

    out = console()
    with tempfile.TemporaryDirectory(prefix="sasl-demo-") as folder:
        problems = asyncio.run(_demonstrate(out, Path(folder)))
    for problem in problems:
        note(problem)
    if problems:
        fail("the demo did not come out as it should")
    out.print(f"\nAll {len(LOGINS)} came out as they should.")


async def _demonstrate(out: Console, folder: Path) -> list[str]:
    """Serve, log in, draw; what was not as it should be."""
    import asyncio

    from sasl_core.aio import Server

    database = folder / "sasldb.sqlite"
    tables: dict[str, object] = {
        **{switch: True for switch, _ in SWITCHES},
        "auxprop_plugin": ["sasldb"],
        "auxprop": {"sasldb": {"path": str(database)}},
        "log_level": "none",
    }
    smtp = profiles.load("smtp")
    kept: list[AuditEvent] = []
    problems: list[str] = []
    async with Server("smtp", HOST, config=tables, audit=[kept.append]) as server:
        report = await server.setpass(USER, RIGHT, SetpassFlag.CREATE)
        if not report.ok:
            return [f"the user could not be made: {report.result.name}"]
        kept.clear()
        service = smtp.make_server(server, host_name=HOST, tls=None, binding=BindingPolicy.WANT)
        await service.start("127.0.0.1", 0)
        try:
            address = service.address
            async with server.session(remote=f"{address[0]};0") as session:
                offered = session.mechanisms()
            _introduce(out, address, database, offered)
            for number, login in enumerate(LOGINS, 1):
                events: list[Traced] = []
                failure = await asyncio.to_thread(_log_in, address, tables, login, events.append)
                last = kept[-1] if len(kept) == number else None
                out.print(f"\n[{number}] {login.title}", style="bold")
                _paragraph(out, login.lesson)
                show(out, _exchange(events))
                _paragraph(out, f"The server's record: {_verdict(last)}")
                problems += _unexpected(login, last, failure, events)
        finally:
            await service.close()
    return problems


def _log_in(
    address: tuple[str, int],
    tables: dict[str, object],
    login: Login,
    trace: Callable[[Traced], None],
) -> SaslError | None:
    """Log in over TCP; None, or how it failed."""
    try:
        with (
            Client("smtp", HOST, config=tables) as client,
            profiles.load("smtp").make_client(*address, timeout=10, trace=trace) as smtp,
            # Whoever is nobody in particular has no name to give.
            client.session(
                authid=USER if login.password else None,
                password=login.password or None,
                trace=None if login.password else TRACE,
                **smtp.facts(),
            ) as session,
        ):
            smtp.authenticate(session, [login.mechanism])
    except SaslError as error:
        return error
    return None


def _introduce(
    out: Console, address: tuple[str, int], database: Path, offered: Sequence[str]
) -> None:
    out.print(f"SMTP server   {address[0]} port {address[1]}, offers {' '.join(offered)}")
    out.print(f"user store    {database}", soft_wrap=True)
    out.print(f"the one user  {USER}")
    out.print("\nOff unless configured, and switched on for this demo:")
    for switch, purpose in SWITCHES:
        out.print(f"  {switch} = true   {purpose}")


def _paragraph(out: Console, text: str) -> None:
    from textwrap import fill as wrapped

    width = min(out.width, 80)
    out.print(wrapped(text, width, initial_indent="  ", subsequent_indent="  "), soft_wrap=True)


def _exchange(events: Sequence[Traced]) -> list[Traced]:
    """The part that is SASL's: from AUTH to the reply that ends it."""
    starts = [i for i, event in enumerate(events) if event.line.startswith("AUTH ")]
    ends = [i for i, event in enumerate(events) if event.line == "QUIT"]
    return list(events[starts[0] if starts else 0 : ends[-1] if ends else len(events)])


def _verdict(event: AuditEvent | None) -> str:
    """What the server's audit record says of the login."""
    if event is None:
        return "none"
    how = f", by {event.how}" if event.how and event.how != event.authid else ""
    detail = f" ({event.detail})" if event.detail else ""
    return f"{event.result.name} {event.authid}{how}{detail}"


def _unexpected(
    login: Login, event: AuditEvent | None, failure: SaslError | None, events: Sequence[Traced]
) -> list[str]:
    """What is not as it should be."""
    accepted = login.result is Result.OK
    if isinstance(failure, PluginError) or (failure is None) is not accepted:
        return [f"{login.title}: {'accepted' if failure is None else failure}"]
    if failure is not None and not isinstance(failure, AuthenticationError):
        return [f"{login.title}: {type(failure).__name__}: {failure}"]
    if event is None or (event.result, event.authid) != (login.result, login.authid):
        return [f"{login.title}: the server's record is not as it should be"]
    shown = " ".join(f"{entry.line} {entry.message}" for entry in events)
    if RIGHT in shown or WRONG in shown:
        return [f"{login.title}: the trace shows a password"]
    return []
