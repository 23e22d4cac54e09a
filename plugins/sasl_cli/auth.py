"""`sasl auth`: log in to a server, and say whether that worked."""

from __future__ import annotations

from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Annotated, Final, cast

import typer

from sasl_cli.auth_choice import ANONYMOUS, Choice, check_offer, choose
from sasl_cli.auth_facts import on_loopback, shows_password, who, why_not_bound
from sasl_cli.auth_failures import explain
from sasl_cli.auth_target import Target, find_target
from sasl_cli.auth_token import CAN_ASK, check_source, token_of_person
from sasl_cli.output import console, fail, note
from sasl_cli.password import ask, read_line
from sasl_cli.picture import show
from sasl_cli.settings import Binding, BindingChoice, ConfigFile, binding_policy, configuration
from sasl_cli.token_input import STDIN, read_token
from sasl_core import Client
from sasl_core.plugin import (
    PeerError,
    SaslError,
    printable,
)
from sasl_http import HttpTransport

if TYPE_CHECKING:
    from collections.abc import Callable, Generator

    from sasl_cli.profiles import Connection, Traced
    from sasl_core.plugin import Prompt

__all__ = ["command"]


SERVERS: Final = (
    "The server: smtp://HOST (port 587, TLS by STARTTLS), smtps://HOST (port 465, TLS at once), "
    "mongodb://HOST/?tls=true&authSource=DATABASE (port 27017). No user, no password."
)


def command(
    url: Annotated[str, typer.Argument(metavar="URL", help=SERVERS)],
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
    more: dict[str, object] = {"allow_anonymous": True} if where.sasl_mechanism == ANONYMOUS else {}
    choice = choose(
        where,
        configuration(config, appname or where.manner.service, more=more),
        user=user,
        authzid=authzid,
        pipe=pipe,
        token_file=token_file,
        credentials=credentials,
    )
    settings, source = choice.settings, choice.source
    # Before we connect: a server does not wait while somebody types.
    token = None if token_file is None else read_token(STDIN, token_file)
    password = None
    if choice.by_password:
        password = read_line() if pipe else ask(f"Password of {printable(user)}")
    if token is not None or password is not None:
        source = ""
    elif choice.by_token and source:
        check_source(settings, source)
    said = None
    events: list[Traced] = []
    way = _Way(where, choice, user, timeout)
    try:
        with ExitStack() as stack:
            http = stack.enter_context(HttpTransport())
            if source and choice.by_token and choice.mechanism != CAN_ASK:
                token = token_of_person(settings, source, where, user, http, way.look)
                source = "" if token is not None else source
            link = stack.enter_context(way.connected(events.append if trace else None))
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
                    authzid=choice.authzid,
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
            alias = choice.called if choice.called != choice.mechanism else None
            success = f"authenticated {who(session, mechanism=alias, certificate=where.cert)}"
            if user is not None and session.mechanism == CAN_ASK:
                note(f"{CAN_ASK} takes --user for a hint, so that whose token it is stays unknown")
            if session.channel_binding is not None:
                success += f", bound to TLS by {session.channel_binding}"
            elif (why := why_not_bound(client, facts, link.mechanisms, session)) is not None:
                note(f"not bound to TLS: {why}")
    except SaslError as error:
        _draw(events)
        line = explain(error, where, opening=way.opening)
        fail(line if said is None or said in line else f"{line}; {said}")
    except KeyboardInterrupt:
        # Whoever waits for a server that hangs wants to see what was said.
        _draw(events)
        raise
    _draw(events)
    print(success)


class _Way:
    """How to come to the server; `opening`: the connection, with its TLS, does not stand yet."""

    def __init__(self, where: Target, choice: Choice, user: str | None, timeout: float) -> None:
        self._where = where
        self._choice = choice
        self._user = user
        self._timeout = timeout
        self.opening = False

    @contextmanager
    def connected(
        self, trace: Callable[[Traced], None] | None
    ) -> Generator[Connection, None, None]:
        """A connection to a server that offers what is to be used, with its TLS."""
        where, self.opening = self._where, True
        with where.profile.make_client(
            where.host,
            where.port,
            timeout=self._timeout,
            trace=trace,
            tls=where.first_tls,
            user=self._user,
            mechanism=self._choice.called,
            options=where.options,
        ) as link:
            _secure(link, where)
            self.opening = False
            check_offer(link.mechanisms, self._choice)
            yield link

    def look(self) -> None:
        """See whether there is such a server, before a person is troubled for it."""
        with self.connected(None):
            pass


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


def _draw(events: list[Traced]) -> None:
    if events:
        show(console(), events)
