"""`sasl auth`: log in to a server, and say whether that worked."""

from __future__ import annotations

from contextlib import ExitStack
from typing import TYPE_CHECKING, Annotated, cast

import typer

from sasl_cli.auth_facts import TOKENS, on_loopback, shows_password, who, why_not_bound
from sasl_cli.auth_target import Target, find_target
from sasl_cli.auth_token import CAN_ASK, check_source, token_of_person
from sasl_cli.output import console, fail, note, one_line
from sasl_cli.password import ask, read_line
from sasl_cli.picture import show
from sasl_cli.settings import Binding, BindingChoice, ConfigFile, binding_policy, configuration
from sasl_cli.token_input import STDIN, read_token
from sasl_core import Client
from sasl_core.plugin import (
    MechanismError,
    PeerError,
    SaslError,
    UsageError,
    is_mechanism_name,
    printable,
)
from sasl_http import HttpTransport

if TYPE_CHECKING:
    from collections.abc import Callable

    from sasl_cli.profiles import Connection, Traced
    from sasl_core.plugin import Prompt

__all__ = ["command"]

ANONYMOUS = "ANONYMOUS"
XOAUTH2 = "XOAUTH2"
WITHOUT_PASSWORD = {ANONYMOUS, "EXTERNAL", *TOKENS}


def command(
    url: Annotated[
        str, typer.Argument(metavar="URL", help="The server, as smtps://mail.example.com.")
    ],
    mechanism: Annotated[
        str | None,
        typer.Option(
            "--mechanism", metavar="NAME", help="This one (its -PLUS too); else the best."
        ),
    ] = None,
    user: Annotated[str | None, typer.Option("--user", metavar="NAME", help="Who logs in.")] = None,
    pipe: Annotated[
        bool, typer.Option("-p", "--pipe", help="Read the password from standard input, one line.")
    ] = False,
    token_file: Annotated[
        str | None,
        typer.Option(
            "--token-file", metavar="FILE", help="Log in by this access token; - is standard input."
        ),
    ] = None,
    credentials: Annotated[
        str | None,
        typer.Option(
            "--credentials",
            metavar="NAME",
            help="Where an access token comes from, as 'sasl plugins' lists it.",
        ),
    ] = None,
    authzid: Annotated[
        str | None, typer.Option("--authzid", metavar="NAME", help="As whom to act, if another.")
    ] = None,
    trace: Annotated[
        bool, typer.Option("--trace", help="Draw the conversation, secrets masked.")
    ] = False,
    starttls: Annotated[
        bool | None,
        typer.Option(
            "--starttls/--no-starttls",
            help="Insist on TLS, or do without. Else: TLS if it is offered.",
            show_default=False,
        ),
    ] = None,
    cafile: Annotated[
        str | None,
        typer.Option(
            "--cafile", metavar="FILE", help="Trust these certificates, not the system's."
        ),
    ] = None,
    cert: Annotated[
        str | None,
        typer.Option("--cert", metavar="FILE", help="Show the server this certificate of ours."),
    ] = None,
    key: Annotated[
        str | None,
        typer.Option(
            "--key", metavar="FILE", help="Its private key, if it is not in the same file."
        ),
    ] = None,
    timeout: Annotated[
        float,
        typer.Option(
            "--timeout",
            metavar="SECONDS",
            min=0.1,
            max=3600.0,
            help="How long the server may take over each step.",
        ),
    ] = 30.0,
    binding: Binding = BindingChoice.WANT,
    config: ConfigFile = None,
    appname: Annotated[
        str | None,
        typer.Option(
            "--appname",
            metavar="NAME",
            help="Whose settings count.  [default: the protocol]",
            show_default=False,
        ),
    ] = None,
) -> None:
    """Log in to a server; exit 0 if it lets us in, 1 if not.

    Certificates are always checked. To a server on this machine a password may go without
    TLS, which is said. ANONYMOUS is done only when it is named.
    """
    where = find_target(
        url, mechanism=mechanism, starttls=starttls, cafile=cafile, cert=cert, key=key
    )
    wanted = where.sasl_mechanism
    events: list[Traced] = []
    more: dict[str, object] = {"allow_anonymous": True} if wanted == ANONYMOUS else {}
    if wanted is not None and is_mechanism_name(wanted):
        # Chosen so, and not by telling the session of a smaller offer than the server's, which
        # may be signed (scram_downgrade_protection).
        more["client_mech_list"] = [wanted]
    settings = configuration(config, appname or where.manner.service, more=more)
    given = token_file is not None or credentials is not None
    if given and (pipe or (token_file is not None and credentials is not None)):
        raise UsageError("-p, --token-file and --credentials exclude each other")
    # Whoever pipes a password in, or names a mechanism for passwords, wants no token.
    source = credentials or ("" if pipe else settings.core.credentials_plugin)
    by_token = given or bool(source and (wanted is None or wanted in TOKENS))
    if by_token and wanted is None and where.manner.bearer is not None:
        wanted = where.manner.bearer
        settings = settings.overlaid({"client_mech_list": [wanted]})
    if wanted in TOKENS and not by_token:
        raise UsageError(
            f"{wanted} takes an access token: --token-file FILE, or --credentials NAME"
        )
    if user is None and wanted is None and not by_token:
        raise UsageError("give --user, or a --mechanism that needs none, or an access token")
    if user is None and wanted == XOAUTH2:
        raise UsageError("XOAUTH2 sends a name along with the token: give --user NAME")
    # Before we connect: a server does not wait while somebody types.
    token = None if token_file is None else read_token(STDIN, token_file)
    password = None
    if user is not None and wanted not in WITHOUT_PASSWORD and not by_token:
        password = read_line() if pipe else ask(f"Password of {printable(user)}")
    if token is not None or password is not None:
        source = ""
    elif by_token and source:
        check_source(settings, source)
    said = None
    called = where.mechanism if where.mechanism is not None else wanted
    try:
        with ExitStack() as stack:
            http = stack.enter_context(HttpTransport())
            if source and by_token and wanted != CAN_ASK:
                token = token_of_person(settings, source, where, user, http)
                source = "" if token is not None else source
            link = stack.enter_context(
                where.profile.make_client(
                    where.host,
                    where.port,
                    timeout=timeout,
                    trace=events.append if trace else None,
                    tls=where.first_tls,
                    user=user,
                    mechanism=called,
                    options=where.options,
                )
            )
            _secure(link, where)
            _check_offer(link.mechanisms, called)
            facts = link.facts()
            facts["binding_policy"] = binding_policy(binding)
            bare = on_loopback(facts)
            if bare:
                settings = settings.overlaid({"allow_cleartext": True})
            client = stack.enter_context(
                Client(
                    where.manner.service,
                    where.host,
                    config=settings,
                    http=http,
                    credentials=source,
                )
            )
            session = stack.enter_context(
                client.session(
                    authid=user,
                    password=_as_wanted(link, user, password),
                    authzid=authzid,
                    token=token,
                    **facts,
                )
            )
            try:
                link.authenticate(session, None)
            finally:
                said = session.error_detail
                if bare and shows_password(client, session.mechanism):
                    note("no TLS to this machine's loopback: allow_cleartext is implied")
            alias = where.mechanism if where.mechanism != wanted else None
            success = f"authenticated {who(session, mechanism=alias)}"
            if user is not None and session.mechanism == CAN_ASK:
                note(f"{CAN_ASK} takes --user for a hint, so that whose token it is stays unknown")
            if session.channel_binding is not None:
                success += f", bound to TLS by {session.channel_binding}"
            elif (why := why_not_bound(client, facts, link.mechanisms, session)) is not None:
                note(f"not bound to TLS: {why}")
    except SaslError as error:
        _draw(events)
        line = one_line(error)
        if isinstance(error, MechanismError) and "use TLS" in line and where.way_to_tls:
            line += f"; {where.way_to_tls}"
        fail(line if said is None or said in line else f"{line}; {said}")
    _draw(events)
    print(success)


def _as_wanted(
    link: Connection, user: str | None, password: str | None
) -> str | Callable[[Prompt], str] | None:
    """The password as the protocol wants it: MongoDB's has another form for SCRAM-SHA-1."""
    shape = getattr(link, "password", None)
    if shape is None or password is None:
        return password
    return cast("Callable[[str, str], Callable[[Prompt], str]]", shape)(user or "", password)


def _secure(link: Connection, where: Target) -> None:
    """Go over to TLS by a command; unless it is insisted on, a server that has none is left so.

    That opens no door to whoever strips the offer away: without TLS no password goes in
    clear, nor SCRAM beyond this machine, unless the configuration says so.
    """
    if where.tls is None or where.first_tls is not None:
        return
    try:
        _ = link.starttls(where.tls)
    except PeerError as error:
        if where.insist or error.code != "no-starttls":
            raise


def _check_offer(offered: tuple[str, ...], wanted: str | None) -> None:
    """Make sure that nobody is sent a password who did not ask for it.

    Raises:
        MechanismError: the server does not offer the mechanism.
    """
    if wanted is not None and wanted not in offered and f"{wanted}-PLUS" not in offered:
        offer = " ".join(offered) or "none at all"
        raise MechanismError(f"the server does not offer {printable(wanted, 40)}, but {offer}")


def _draw(events: list[Traced]) -> None:
    if events:
        show(console(), events)
