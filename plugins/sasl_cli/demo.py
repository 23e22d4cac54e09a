"""`sasl demo`: a server and a client on this machine, and each login drawn.

Invariants: everything is made in a temporary folder and gone afterwards; nothing listens but on
the loopback; no password, proof, token or key is printed; whatever is not as it should be ends
the command with 1.
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Final, Literal

from sasl_cli import profiles
from sasl_cli.demo_provider import LOOPBACK_HTTP, PERSON, PREFIX, DemoProvider
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
    ("allow_cleartext", "lets a password, or a token, go without TLS"),
)
"""The safe defaults that this demo sets aside, and what each is for."""


@record
class Login:
    """One login: by what, with which password or token, and what it shall come to.

    `bearer` of a token: "person", whom the server sends to the provider, or "forger", who comes
    with one that is signed with a key of his own.
    """

    title: str
    mechanism: str
    password: str
    result: Result
    authid: str | None
    lesson: str
    bearer: Literal["", "person", "forger"] = ""


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
    Login(
        "MONGODB-OIDC, an access token instead of a password",
        "MONGODB-OIDC",
        "",
        Result.OK,
        f"{PREFIX}/{PERSON}",
        "The client says for whom (n), and hears which provider the server trusts; it gets a "
        "token there and shows it (jwt). The server fetches the provider's public key, checks "
        "the signature, for whom the token is, and its times, and keeps no secret at all.",
        "person",
    ),
    Login(
        "MONGODB-OIDC with a token signed by somebody else",
        "MONGODB-OIDC",
        "",
        Result.BADAUTH,
        None,
        "The same issuer, name, audience and key identifier, but another key. So nothing in it "
        "may be believed, and nobody knows who this was.",
        "forger",
    ),
)


def command() -> None:
    """Watch four mechanisms log in, and two logins fail.

    Starts an SMTP server on the loopback with a fresh user store, and a small identity provider,
    logs in over TCP, and draws what went to and fro. What is secret shows as ****. Nothing stays
    behind.
    """
    import asyncio

    out = console()
    with tempfile.TemporaryDirectory(prefix="sasl-demo-") as folder, DemoProvider() as provider:
        problems = asyncio.run(_demonstrate(out, Path(folder), provider))
    for problem in problems:
        note(problem)
    if problems:
        fail("the demo did not come out as it should")
    out.print(f"\nAll {len(LOGINS)} came out as they should.")


async def _demonstrate(out: Console, folder: Path, provider: DemoProvider) -> list[str]:
    """Serve, log in, draw; what was not as it should be."""
    import asyncio

    from sasl_core.aio import Server
    from sasl_http import HttpTransport

    database = folder / "sasldb.sqlite"
    tables: dict[str, object] = {
        **{switch: True for switch, _ in SWITCHES},
        "auxprop_plugin": ["sasldb"],
        "auxprop": {"sasldb": {"path": str(database)}},
        "identity_providers": [provider.table()],
        "log_level": "none",
    }
    smtp = profiles.load("smtp")
    kept: list[AuditEvent] = []
    problems: list[str] = []
    with HttpTransport() as http:
        async with Server("smtp", HOST, config=tables, audit=[kept.append], http=http) as server:
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
                _introduce(out, address, database, provider, offered)
                for number, login in enumerate(LOGINS, 1):
                    events: list[Traced] = []
                    failure = await asyncio.to_thread(
                        _log_in, address, tables, login, provider, events.append
                    )
                    last = kept[-1] if len(kept) == number else None
                    out.print(f"\n[{number}] {login.title}", style="bold")
                    _paragraph(out, login.lesson)
                    show(out, _exchange(events))
                    if login.bearer:
                        asked = " ".join(provider.served) or "nothing: the server has its key"
                        _paragraph(out, f"The provider was asked for: {asked}")
                        provider.served.clear()
                    _paragraph(out, f"The server's record: {_verdict(last)}")
                    problems += _unexpected(login, last, failure, events, provider)
            finally:
                await service.close()
    return problems


def _log_in(
    address: tuple[str, int],
    tables: dict[str, object],
    login: Login,
    provider: DemoProvider,
    trace: Callable[[Traced], None],
) -> SaslError | None:
    """Log in over TCP; None, or how it failed."""
    # Whoever is nobody in particular has no name to give.
    who = USER if login.password else PERSON if login.bearer else None
    options = {**tables, "mechanisms": {"MONGODB-OIDC": {"allow_loopback_http": True}}}
    # The name is not looked up: the connection is made to the address.
    source = provider.person(HOST, address[0]) if login.bearer == "person" else None
    forged = provider.forged(PERSON) if login.bearer == "forger" else None
    try:
        with (
            Client("smtp", HOST, config=options, credentials=source) as client,
            profiles.load("smtp").make_client(*address, timeout=10, trace=trace) as smtp,
            client.session(
                authid=who,
                password=login.password or None,
                trace=None if who else TRACE,
                token=forged,
                **smtp.facts(),
            ) as session,
        ):
            smtp.authenticate(session, [login.mechanism])
    except SaslError as error:
        return error
    return None


def _introduce(
    out: Console,
    address: tuple[str, int],
    database: Path,
    provider: DemoProvider,
    offered: Sequence[str],
) -> None:
    out.print(f"SMTP server   {address[0]} port {address[1]}")
    out.print(f"it offers     {' '.join(offered)}")
    out.print(f"user store    {database}", soft_wrap=True)
    out.print(f"the one user  {USER}")
    out.print(f"provider      {provider.issuer}, with a key that is new")
    out.print("\nOff unless configured, and switched on for this demo:")
    for switch, purpose in (*SWITCHES, LOOPBACK_HTTP):
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
    return f"{event.result.name} {event.authid or 'nobody'}{how}{detail}"


def _unexpected(
    login: Login,
    event: AuditEvent | None,
    failure: SaslError | None,
    events: Sequence[Traced],
    provider: DemoProvider,
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
    if any(secret in shown for secret in (RIGHT, WRONG, *provider.issued)):
        return [f"{login.title}: the trace shows a secret"]
    return []
