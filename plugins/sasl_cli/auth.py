"""`sasl auth`: log in to a server, and say whether that worked."""

from __future__ import annotations

from contextlib import ExitStack
from typing import TYPE_CHECKING, Annotated

import typer

from sasl_cli import profiles
from sasl_cli.addresses import is_loopback, parse_address, parse_url
from sasl_cli.output import console, fail, note, one_line
from sasl_cli.password import ask, read_line
from sasl_cli.picture import show
from sasl_cli.settings import Binding, BindingChoice, ConfigFile, binding_policy, configuration
from sasl_cli.token_input import STDIN, read_token
from sasl_core import Client, Registry
from sasl_core.plugin import (
    BindingPolicy,
    ChannelBindings,
    ConfigError,
    Feature,
    MechanismError,
    PeerError,
    SaslError,
    SecurityFlag,
    UsageError,
    base_name,
    is_mechanism_name,
    printable,
)
from sasl_http import HttpTransport

if TYPE_CHECKING:
    import ssl

    from sasl_cli.profiles import Connection, Traced
    from sasl_core import ClientSession, Configuration, ConnectionFacts

__all__ = ["command"]

ANONYMOUS = "ANONYMOUS"
XOAUTH2 = "XOAUTH2"
TOKENS = {"MONGODB-OIDC", "OAUTHBEARER", XOAUTH2}
WITHOUT_PASSWORD = {ANONYMOUS, "EXTERNAL", *TOKENS}


def command(
    url: Annotated[
        str, typer.Argument(metavar="URL", help="The server, as smtp://mail.example.com:587.")
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
    scheme, address = parse_url(url)
    profile = profiles.load(scheme)
    host, port = parse_address(address, profile.PORT)
    wanted = None if mechanism is None else mechanism.upper()
    tls = None if starttls is False else _context(cafile)
    if cafile is not None and starttls is False:
        raise UsageError("--cafile has nothing to do with --no-starttls")
    events: list[Traced] = []
    more: dict[str, object] = {"allow_anonymous": True} if wanted == ANONYMOUS else {}
    if wanted is not None and is_mechanism_name(wanted):
        # Chosen so, and not by telling the session of a smaller offer than the server's, which
        # may be signed (scram_downgrade_protection).
        more["client_mech_list"] = [wanted]
    settings = configuration(config, appname or scheme, more=more)
    given = token_file is not None or credentials is not None
    if given and (pipe or (token_file is not None and credentials is not None)):
        raise UsageError("-p, --token-file and --credentials exclude each other")
    # Whoever pipes a password in, or names a mechanism for passwords, wants no token.
    source = credentials or ("" if pipe else settings.core.credentials_plugin)
    by_token = given or bool(source and (wanted is None or wanted in TOKENS))
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
        _check_source(settings, source)
    said = None
    try:
        with ExitStack() as stack:
            link = stack.enter_context(
                profile.make_client(
                    host, port, timeout=timeout, trace=events.append if trace else None
                )
            )
            if tls is not None:
                _secure(link, tls, insist=starttls is True)
            _check_offer(link.mechanisms, wanted)
            facts = link.facts()
            facts["binding_policy"] = binding_policy(binding)
            bare = _on_loopback(facts)
            if bare:
                settings = settings.overlaid({"allow_cleartext": True})
            http = stack.enter_context(HttpTransport())
            client = stack.enter_context(
                Client(scheme, host, config=settings, http=http, credentials=source)
            )
            session = stack.enter_context(
                client.session(
                    authid=user, password=password, authzid=authzid, token=token, **facts
                )
            )
            try:
                link.authenticate(session, None)
            finally:
                said = session.error_detail
                if bare and _shows_password(client, session.mechanism):
                    note("no TLS to this machine's loopback: allow_cleartext is implied")
            success = f"authenticated {_who(session, named=user is not None)}"
            if session.channel_binding is not None:
                success += f", bound to TLS by {session.channel_binding}"
            elif facts.get("external_ssf") and _can_bind(client, session.mechanism):
                note(f"not bound to TLS: {_why_not_bound(facts, link.mechanisms, session)}")
    except SaslError as error:
        _draw(events)
        line = one_line(error)
        fail(line if said is None or said in line else f"{line}; {said}")
    _draw(events)
    print(success)


def _who(session: ClientSession, *, named: bool) -> str:
    """As whom we are logged in, and by what. Without a name only the server knows it."""
    as_other = "" if session.authid == session.authzid else f" acting as {session.authzid}"
    if not named and session.mechanism in TOKENS:
        return f"by its access token{as_other}, by {session.mechanism}"
    return f"as {session.authid}{as_other} by {session.mechanism}"


def _check_source(settings: Configuration, name: str) -> None:
    """Make sure that there is such a source of tokens; otherwise each mechanism would say so.

    Raises:
        UsageError: there is none.
    """
    known = Registry(plugin_list=settings.core.plugin_list).names("credentials")
    if name not in known:
        raise UsageError(
            f"no source of credentials {printable(name, 40)!r} is installed; those that are: "
            f"{', '.join(sorted(known))}"
        )


def _context(cafile: str | None) -> ssl.SSLContext:
    """What checks the server's certificate and name.

    Raises:
        ConfigError: `cafile` cannot be read, or holds no certificate.
    """
    import ssl

    try:
        return ssl.create_default_context(cafile=cafile)
    except (OSError, ValueError) as error:
        reason = printable(getattr(error, "strerror", None) or error)
    raise ConfigError(f"no certificates can be read from it: {reason}", file=printable(cafile))


def _secure(link: Connection, context: ssl.SSLContext, *, insist: bool) -> None:
    """Go over to TLS; without `insist` a server that has none is left as it is.

    That opens no door to whoever strips the offer away: without TLS no password goes in
    clear, nor SCRAM beyond this machine, unless the configuration says so.
    """
    try:
        _ = link.starttls(context)
    except PeerError as error:
        if insist or error.code != "no-starttls":
            raise


def _check_offer(offered: tuple[str, ...], wanted: str | None) -> None:
    """Make sure that nobody is sent a password who did not ask for it.

    Raises:
        MechanismError: the server does not offer the mechanism.
    """
    if wanted is not None and wanted not in offered and f"{wanted}-PLUS" not in offered:
        offer = " ".join(offered) or "none at all"
        raise MechanismError(f"the server does not offer {printable(wanted, 40)}, but {offer}")


def _on_loopback(facts: ConnectionFacts) -> bool:
    """Whether the connection has no TLS and ends on this machine."""
    remote = facts.get("remote") or ""
    return not facts.get("external_ssf") and is_loopback(remote.rpartition(";")[0])


def _shows_password(client: Client, mechanism: str | None) -> bool:
    """Whether the mechanism sends the password as it is."""
    if mechanism is None:
        return False
    plug = client.core.mechanism(base_name(mechanism))
    return not plug.security_flags & SecurityFlag.NOPLAINTEXT


def _can_bind(client: Client, mechanism: str | None) -> bool:
    """Whether the mechanism has a variant with channel binding."""
    if mechanism is None:
        return False
    plug = client.core.mechanism(base_name(mechanism))
    return bool(plug.features & Feature.CHANNEL_BINDING)


def _why_not_bound(facts: ConnectionFacts, offered: tuple[str, ...], session: ClientSession) -> str:
    """Why a login by plain SCRAM over TLS was not by its -PLUS."""
    if facts.get("binding_policy") is BindingPolicy.OFF:
        return "--binding is off"
    name = f"{session.mechanism}-PLUS"
    if name not in offered:
        return f"the server does not offer {name}"
    bindings = facts.get("channel_bindings")
    if isinstance(bindings, ChannelBindings) and not bindings:
        return bindings.why_none()
    return session.rejected.get(name, f"{name} was passed over")


def _draw(events: list[Traced]) -> None:
    if events:
        show(console(), events)
