"""`sasl serve`: a protocol's server, with our users.

Invariants: the address is printed when a client can connect, and not before; SIGTERM and SIGINT
send the clients away, close the stores, and end the command with 0; SIGHUP ends nothing; a
password goes in clear only over TLS, on the loopback, or where that was asked for.
"""

from __future__ import annotations

import os
import socket
from contextlib import asynccontextmanager, contextmanager, suppress
from typing import TYPE_CHECKING, Annotated, Final

import typer

from sasl_cli import profiles
from sasl_cli.addresses import is_loopback, parse_address, show_address
from sasl_cli.inventory import why_not
from sasl_cli.output import WRONG_OPTIONS, note, one_line
from sasl_cli.serve_providers import Providers, check, look_after, provider_tables
from sasl_cli.serve_tls import ClientCertificates, TlsLibrary, tls_context
from sasl_cli.settings import (
    Binding,
    BindingChoice,
    ConfigFile,
    Database,
    binding_policy,
    configuration,
)
from sasl_core.plugin import BackendError, BindingPolicy, PluginError, UsageError, printable

if TYPE_CHECKING:
    import asyncio
    from collections.abc import AsyncGenerator, Callable, Coroutine, Generator

    from sasl_cli.profiles import Profile
    from sasl_core import Configuration
    from sasl_core.aio import Server
    from sasl_tls import ServerTls

__all__ = ["command"]

EXTERNAL: Final = "EXTERNAL"
"""The mechanism for those who have shown a certificate."""


def command(
    profile: Annotated[
        str,
        typer.Argument(
            metavar="PROFILE", help="The protocol: one that has a server in 'sasl plugins'."
        ),
    ],
    listen: Annotated[
        str,
        typer.Option("--listen", metavar="HOST:PORT", help="Where; port 0 takes any free one."),
    ],
    db: Database = None,
    config: ConfigFile = None,
    appname: Annotated[
        str | None,
        typer.Option(
            "--appname",
            metavar="NAME",
            help="Whose settings count.  [default: PROFILE]",
            show_default=False,
        ),
    ] = None,
    tls_cert: Annotated[
        str | None,
        typer.Option("--tls-cert", metavar="FILE", help="Offer TLS with this certificate chain."),
    ] = None,
    tls_key: Annotated[
        str | None, typer.Option("--tls-key", metavar="FILE", help="The certificate's key.")
    ] = None,
    tls_library: Annotated[
        TlsLibrary,
        typer.Option(
            "--tls-library", help="pyopenssl, of the extra 'tls', binds on TLS 1.3 (tls-exporter)."
        ),
    ] = TlsLibrary.SSL,
    client_ca: Annotated[
        str | None,
        typer.Option(
            "--client-ca",
            metavar="FILE",
            help="Ask clients for a certificate, and believe those of these authorities: EXTERNAL "
            "(lets every owner of one in, unless its need_account is set), MONGODB-X509.",
        ),
    ] = None,
    client_certificates: Annotated[
        ClientCertificates | None,
        typer.Option(
            "--client-certificates",
            help="Whether a client may do without one.  [default: optional]",
            show_default=False,
        ),
    ] = None,
    host_name: Annotated[
        str | None,
        typer.Option("--host-name", metavar="NAME", help="What the server calls itself."),
    ] = None,
    allow_cleartext: Annotated[
        bool,
        typer.Option(
            "--allow-cleartext", help="Take passwords without TLS; on the loopback always so."
        ),
    ] = False,
    anonymous: Annotated[bool, typer.Option("--anonymous", help="Let ANONYMOUS in.")] = False,
    binding: Binding = BindingChoice.WANT,
    providers: Providers = None,
) -> None:
    """Serve a protocol to users of our stores, for trying things out.

    Prints 'listening on HOST:PORT' when it does. Mail that 'smtp' takes on is dropped. Ends on
    SIGTERM or SIGINT with 0. SIGHUP has it read the identity providers again.
    """
    import asyncio

    found = profiles.load(profile, profiles.SERVING)
    host, port = _resolved(*parse_address(listen))
    more = provider_tables(providers)
    if is_loopback(host):
        more["allow_cleartext"] = True
        # Where TLS is there before the first word, nothing goes in clear.
        bare = tls_cert is None or profiles.manner(profile, found).tls == "starttls"
        if bare and not allow_cleartext:
            note(f"{host} is this machine's loopback: --allow-cleartext is implied")
    elif allow_cleartext:
        more["allow_cleartext"] = True
    if anonymous:
        more["allow_anonymous"] = True

    def read() -> Configuration:
        return configuration(config, appname or profile, db, more)

    settings = read()
    tls = tls_context(tls_cert, tls_key, tls_library, client_ca, client_certificates)
    policy = binding_policy(binding)
    if tls is None and policy is BindingPolicy.REQUIRE:
        raise UsageError("--binding require goes with --tls-cert: without TLS nothing can be bound")
    _log_logins(profile)
    asyncio.run(_serve(found, profile, (host, port), settings, read, host_name, tls, policy))


async def _serve(
    profile: Profile,
    name: str,
    address: tuple[str, int],
    settings: Configuration,
    read: Callable[[], Configuration],
    host_name: str | None,
    tls: ServerTls | None,
    binding: BindingPolicy,
) -> None:
    import asyncio

    from sasl_core.aio import Server
    from sasl_http import HttpTransport

    # getfqdn() would ask the DNS, and wait for it.
    own_name = host_name or socket.gethostname()
    stop, again = asyncio.Event(), asyncio.Event()
    appname = settings.appname
    http = HttpTransport()
    with _signals(asyncio.get_running_loop(), stop, again):
        async with Server(name, own_name, config=settings, appname=appname, http=http) as server:
            _ = check(server.utils)
            _look_at_the_mechanisms(server)
            if tls is not None and tls.vouches and not getattr(profile, "NEEDS_ACCOUNT", False):
                _say_whom_certificates_let_in(server)
            service = profile.make_server(server, host_name=own_name, tls=tls, binding=binding)
            await _look_at_the_stores(server)
            try:
                await service.start(*address)
            except OSError as error:
                # asyncio's own text repeats the address.
                reason = os.strerror(error.errno) if error.errno else type(error).__name__
                raise BackendError(
                    f"cannot listen on {show_address(*address)}: {reason}", temporary=False
                ) from None
            try:
                print(f"listening on {show_address(*service.address)}", flush=True)
                async with _beside(look_after(server, again, read)):
                    _ = await stop.wait()
            finally:
                # First of all, for the server waits for the requests that are under way.
                http.close()
                await service.close()


def _look_at_the_mechanisms(server: Server) -> None:
    """Say now which of those that the configuration counts on nobody will be offered.

    Raises:
        PluginError: what its table says is wrong. It may be what keeps somebody out, so that
            there must be no service without it.
    """
    core = server.core
    for name in sorted(core.relied_on):
        try:
            plug = core.plugs.get("mechanisms", name)
        except PluginError as error:
            if error.code in WRONG_OPTIONS:
                raise
            with suppress(PluginError):
                _ = core.mechanism(name)  # which logs it, as for every Server
        else:
            if (reason := why_not(plug)) is not None:
                note(f"warning: mechanism {name!r} is not offered: {reason}")


def _say_whom_certificates_let_in(server: Server) -> None:
    """An authority often signs for more people than are meant."""
    core = server.core
    if core.wanted is not None and EXTERNAL not in core.wanted:
        return
    with suppress(PluginError):
        if not getattr(core.mechanism(EXTERNAL), "need_account", False):
            note(
                "warning: EXTERNAL lets in every owner of a certificate of --client-ca, with or "
                "without an account; [mechanisms.EXTERNAL] need_account = true demands one"
            )


async def _look_at_the_stores(server: Server) -> None:
    """Say now what every login would run into; users may still be on their way.

    Raises:
        PluginError: a store cannot be used at all.
    """
    _ = server.core.stores()
    try:
        _ = await server.user_exists("nobody")
    except BackendError as error:
        if error.code != "cannot-tell":
            note(f"warning: {one_line(error)}")


@asynccontextmanager
async def _beside(work: Coroutine[object, object, None]) -> AsyncGenerator[None]:
    """Have `work` done meanwhile; what it fails with ends all, its end does not come."""
    import asyncio

    async with asyncio.TaskGroup() as group:
        task = group.create_task(work)
        try:
            yield
        finally:
            _ = task.cancel()


@contextmanager
def _signals(
    loop: asyncio.AbstractEventLoop, stop: asyncio.Event, again: asyncio.Event
) -> Generator[None]:
    """Inside of it SIGTERM and SIGINT set `stop`, SIGHUP sets `again`, and no more."""
    import signal

    meaning = {signal.SIGTERM: stop, signal.SIGINT: stop}
    if hasattr(signal, "SIGHUP"):
        meaning[signal.SIGHUP] = again

    def caught(number: int, _frame: object) -> None:
        _ = loop.call_soon_threadsafe(meaning[signal.Signals(number)].set)

    before = {number: signal.signal(number, caught) for number in meaning}
    try:
        yield
    finally:
        for number, handler in before.items():
            _ = signal.signal(number, handler)


def _resolved(host: str, port: int) -> tuple[str, int]:
    """A numeric address of `host`: what is listened on must be what was judged.

    Raises:
        UsageError: it has none.
    """
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError):
        found = []
    if not found:
        raise UsageError(f"{printable(host, 80)!r} has no address")
    return str(found[0][4][0]), port


def _log_logins(service: str) -> None:
    """Show on standard error what `log_level` lets through; a warning, but of a login, as one."""
    import logging

    class Lines(logging.Formatter):
        def format(self, record: logging.LogRecord) -> str:
            # Whoever is refused is no reason to warn of this server.
            warns = record.levelno == logging.WARNING and record.name != f"sasl_core.{service}"
            return f"sasl: {'warning: ' if warns else ''}{super().format(record)}"

    for name in ("sasl_core", "sasl_profiles", "sasl_tls"):
        logger = logging.getLogger(name)
        logger.setLevel(logging.INFO)
        for handler in logger.handlers:
            handler.setLevel(logging.INFO)
            handler.setFormatter(Lines("%(message)s"))
