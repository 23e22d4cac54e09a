"""`sasl token fetch`: an access token from where a client of ours would get it.

Invariants: a terminal gets the token only when that was asked for; a file that it goes into is
new, and its owner's alone; the ID token that a provider may send along is never seen here. What a
person is asked stands on standard error, for standard output is the token's.
"""

from __future__ import annotations

import os
import sys
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated, Final

import typer

from sasl_cli.output import fail, one_line
from sasl_cli.settings import APPNAME, Appname, ConfigFile, configuration
from sasl_cli.token_inspect import distance, moment
from sasl_cli.token_validate import NOBODY_KNOWS
from sasl_core import Client, TokenRequest
from sasl_core.plugin import AuthenticationError, BackendError, UsageError, printable

if TYPE_CHECKING:
    from collections.abc import Generator

    from sasl_core import AccessToken

__all__ = ["fetch_token"]

BY_DEFAULT: Final = "client_credentials"
"""The source where an issuer is named, and no source."""

SEVERAL: Final = (BY_DEFAULT, "authorization_code", "device_code")
"""Sources whose option `resource` takes several; a machine's metadata service takes one."""

PROVIDER: Final = ("issuer", "token_endpoint")
"""The options that say whose a source's client and secret are."""


def fetch_token(
    source: Annotated[
        str | None,
        typer.Option(
            "--source",
            metavar="NAME",
            help="Where from, as 'sasl plugins' lists credentials.  [default: "
            "credentials_plugin; client_credentials with --issuer]",
            show_default=False,
        ),
    ] = None,
    config: ConfigFile = None,
    appname: Appname = APPNAME,
    issuer: Annotated[
        str | None, typer.Option("--issuer", metavar="URL", help="The provider to ask.")
    ] = None,
    client_id: Annotated[
        str | None, typer.Option("--client-id", metavar="ID", help="As whom.")
    ] = None,
    client_secret_file: Annotated[
        str | None,
        typer.Option("--client-secret-file", metavar="FILE", help="The client's secret is in it."),
    ] = None,
    scope: Annotated[
        list[str] | None,
        typer.Option("--scope", metavar="SCOPE", help="What the token shall do; may be repeated."),
    ] = None,
    resource: Annotated[
        str | None,
        typer.Option("--resource", metavar="URI", help="Whom it is for, in RFC 8707's word."),
    ] = None,
    audience: Annotated[
        str | None,
        typer.Option("--audience", metavar="TEXT", help="Whom it is for, in others' word."),
    ] = None,
    redirect_uri: Annotated[
        str | None,
        typer.Option(
            "--redirect-uri",
            metavar="URL",
            help="Where the browser comes back to.  [default: http://127.0.0.1/callback]",
            show_default=False,
        ),
    ] = None,
    ca_file: Annotated[
        str | None,
        typer.Option("--ca-file", metavar="FILE", help="Trust these certificates for the issuer."),
    ] = None,
    allow_loopback_http: Annotated[
        bool, typer.Option("--allow-loopback-http", help="http:// is allowed, of this machine.")
    ] = False,
    output: Annotated[
        str | None,
        typer.Option("--output", metavar="FILE", help="Write it to a new file, mode 0600."),
    ] = None,
    show: Annotated[
        bool, typer.Option("--show", help="Print it, even on a terminal. It is a secret.")
    ] = False,
) -> None:
    """Fetch an access token, as a client does that has no other.

    authorization_code opens the browser, device_code shows a code to be entered elsewhere.

    The options are those of the source; what they leave out, the configuration says, but nothing
    for an --issuer other than its own. The token goes to a pipe or a file; a terminal gets a
    summary of it. Exits with 3 if nobody can give one now.
    """
    if output is not None and show:
        raise UsageError("--output and --show exclude each other")
    given: dict[str, object] = {
        "issuer": issuer,
        "client_id": client_id,
        "client_secret_file": client_secret_file,
        "scope": scope,
        "resource": resource,
        "audience": audience,
        "redirect_uri": redirect_uri,
        "ca_file": ca_file,
        "allow_loopback_http": allow_loopback_http,
    }
    given = {name: value for name, value in given.items() if value not in (None, False, [])}
    settings = configuration(config, appname)
    name = source or (BY_DEFAULT if issuer else settings.core.credentials_plugin)
    if not name:
        raise UsageError(
            "where from? --source NAME, or --issuer with --client-id and --client-secret-file; "
            f"or credentials_plugin in the configuration of {appname!r}"
        )
    theirs = [settings.option_given("credentials", name, key) for key in PROVIDER]
    if issuer is not None and any(each not in (None, issuer) for each in theirs):
        # Client and secret are of the provider that stands there, and of no other.
        settings = settings.without_options("credentials", name)
    if given:
        # One of its own kind takes several.
        if name in SEVERAL and resource is not None:
            given["resource"] = [resource]
        settings = settings.overlaid({"credentials": {name: given}})
    from sasl_http import HttpTransport
    from sasl_tokens.client import seconds_for
    from sasl_tokens.sent import check_access_token

    with (
        HttpTransport() as http,
        Client(
            APPNAME, "localhost", appname=appname, config=settings, http=http, credentials=name
        ) as client,
    ):
        plug = client.core.plugs.get("credentials", name)
        # No server is shown the token here, so none has to be an allowed host.
        request = TokenRequest(appname, "localhost", deadline=seconds_for(plug))
        try:
            with _output_kept():
                # A stranger's source may give anything, whatever its type says.
                token = check_access_token(client.run(plug.token(request)))
        except (AuthenticationError, BackendError) as error:
            refused = isinstance(error, AuthenticationError)
            fail(f"no token: {one_line(error)}", status=1 if refused else NOBODY_KNOWS)
    _hand_over(token, output, show=show)


@contextmanager
def _output_kept() -> Generator[None]:
    """Let what is started meanwhile write to standard error in place of standard output.

    A browser says things there, and runs on after the login: it would spoil what reads the token
    from a pipe, and keep that from its end.
    """
    try:
        _ = sys.stdout.flush()
        saved = os.dup(1)  # A copy that no child inherits.
    except OSError:
        yield  # There is no standard output.
        return
    try:
        _stand_in()
        yield
    finally:
        _ = sys.stdout.flush()
        _ = os.dup2(saved, 1)
        os.close(saved)


def _stand_in() -> None:
    try:
        _ = os.dup2(2, 1)
    except OSError:
        # Nor is there a standard error.
        nothing = os.open(os.devnull, os.O_WRONLY)
        _ = os.dup2(nothing, 1)
        os.close(nothing)


def _hand_over(token: AccessToken, output: str | None, *, show: bool) -> None:
    if output is not None:
        _write(output, token.value)
        print(f"{printable(output)}: {_summary(token)}")
    elif show or not sys.stdout.isatty():
        print(token.value)
    else:
        print(_summary(token))
        print("not shown on a terminal: --show prints it, --output FILE keeps it")


def _summary(token: AccessToken) -> str:
    """What may be said of a token aloud."""
    kind = "a JWT" if token.value.count(".") == 2 else "opaque"
    expires = "nobody says when it expires"
    if token.expires_at is not None:
        left = distance(token.expires_at - time.time())
        expires = f"to be used until {moment(token.expires_at)}, {left}"
    return f"an access token, {kind}, {len(token.value)} characters, {expires}"


def _write(path: str, token: str) -> None:
    """Make a new file with the token.

    Raises:
        UsageError: it is there, or cannot be made.
    """
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_NOFOLLOW", 0)
    try:
        descriptor = os.open(path, flags, 0o600)
        with os.fdopen(descriptor, "w", encoding="ascii") as stream:
            _ = stream.write(f"{token}\n")
    except (OSError, ValueError) as error:
        reason = printable(getattr(error, "strerror", None) or "that is no name of a file")
    else:
        return
    raise UsageError(f"{printable(path)}: {reason}; --output makes a new file")
