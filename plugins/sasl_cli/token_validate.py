"""`sasl token validate`: whether a mechanism of a server would take a token, and whose it is.

Invariants: what is printed as valid went through the mechanism's own validation, signature and
all, and there is no second way here; what the stores have to say is not asked, and that is said.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Annotated, Final

import typer

from sasl_cli.output import columns, fail, note, one_line
from sasl_cli.settings import APPNAME, Appname, ConfigFile, configuration
from sasl_cli.token_input import STDIN, TokenArgument, TokenFile, read_limited, read_token
from sasl_cli.token_inspect import distance, moment
from sasl_core import Server
from sasl_core.plugin import (
    AuthenticationError,
    BackendError,
    ConfigError,
    HttpResponse,
    UsageError,
    base_name,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from sasl_cli.token_views import View
    from sasl_core import Configuration
    from sasl_core.plugin import HttpRequest, ValidatedToken

__all__ = ["NOBODY_KNOWS", "validate_token"]

NOBODY_KNOWS: Final = 3
"""The exit status when the keys cannot be had: the token may be good."""

PREFIX: Final = "cli"
"""Stands before names where no configuration says what does; it is not printed."""

ROLES: Final = "admin."
"""The database of roles, where nothing else is said."""

MECHANISM: Final = "MONGODB-OIDC"
"""Whose view it is by default."""

OPTIONS: Final = {
    "issuer": "--issuer",
    "audience": "--audience",
    "JWKSUri": "--jwks-uri",
    "serverCAFile": "--ca-file",
    "principalClaim": "--principal-claim",
    "authorizationClaim": "--roles-claim",
    "allowLoopbackHttp": "--allow-loopback-http",
}
"""What a field of a provider is called on the command line."""

KEYS_LIMIT: Final = 256 * 1024
KEYS_URL: Final = "https://jwks.invalid/"
"""What the file of --jwks-file is called where an address is due; nobody is asked for it."""


def validate_token(
    argument: TokenArgument = STDIN,
    file: TokenFile = None,
    config: ConfigFile = None,
    appname: Appname = APPNAME,
    issuer: Annotated[
        str | None,
        typer.Option("--issuer", metavar="URL", help="Trust this issuer, not the configured ones."),
    ] = None,
    audience: Annotated[
        str | None,
        typer.Option("--audience", metavar="TEXT", help="Whom the token has to be for."),
    ] = None,
    jwks_uri: Annotated[
        str | None,
        typer.Option("--jwks-uri", metavar="URL", help="Where the keys are, if not discovered."),
    ] = None,
    jwks_file: Annotated[
        str | None,
        typer.Option("--jwks-file", metavar="FILE", help="The keys (a JWK set); nobody is asked."),
    ] = None,
    ca_file: Annotated[
        str | None,
        typer.Option("--ca-file", metavar="FILE", help="Trust these certificates for the issuer."),
    ] = None,
    principal_claim: Annotated[
        str | None,
        typer.Option("--principal-claim", metavar="NAME", help="Which claim names the bearer."),
    ] = None,
    roles_claim: Annotated[
        str | None,
        typer.Option("--roles-claim", metavar="NAME", help="Which claim lists the roles."),
    ] = None,
    accept_at_jwt: Annotated[
        bool, typer.Option("--accept-at-jwt", help="Take the type at+jwt too (RFC 9068).")
    ] = False,
    allow_loopback_http: Annotated[
        bool, typer.Option("--allow-loopback-http", help="http:// is allowed, of this machine.")
    ] = False,
    mechanism: Annotated[
        str,
        typer.Option("--mechanism", metavar="NAME", help="Whose view: that one's options count."),
    ] = MECHANISM,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON, for programs.")] = False,
) -> None:
    """Have a token validated as a mechanism would: signature, issuer, audience, times, claims.

    By the configured identity providers, or by --issuer and --audience alone. The stores are not
    asked. Exits with 0 if it is valid, with 1 if it is not, and with 3 if the issuer's keys cannot
    be fetched.
    """
    given: dict[str, object] = {
        "JWKSUri": jwks_uri if jwks_file is None else KEYS_URL,
        "serverCAFile": ca_file,
        "principalClaim": principal_claim,
        "authorizationClaim": roles_claim,
        "acceptAccessTokenType": accept_at_jwt,
        "allowLoopbackHttp": allow_loopback_http,
    }
    given = {name: value for name, value in given.items() if value not in (None, False)}
    if jwks_uri is not None and jwks_file is not None:
        raise UsageError("--jwks-uri and --jwks-file exclude each other")
    if (issuer is None) is not (audience is None) or (given and issuer is None):
        raise UsageError("--issuer and --audience go together; what is said of them needs both")
    settings = configuration(config, appname)
    if issuer is not None:
        table = {
            "issuer": issuer,
            "audience": audience,
            "authNamePrefix": PREFIX,
            "supportsHumanFlows": False,
            "useAuthorizationClaim": roles_claim is not None,
            **given,
        }
        _check(table)
        settings = settings.overlaid({"identity_providers": [table]})
    keys = None if jwks_file is None else _KeysOfFile(read_limited(jwks_file, KEYS_LIMIT))
    token = read_token(argument, file)
    from sasl_cli.token_views import view_of
    from sasl_http import HttpTransport

    with (
        HttpTransport() as http,
        Server(APPNAME, "localhost", appname=appname, config=settings, http=keys or http) as server,
    ):
        view = view_of(server, settings, mechanism.upper(), bare=issuer is not None)
        if not _is_listed(settings, view.mechanism):
            note(f"warning: mech_list has no {view.mechanism}: a server does not offer it")
        try:
            login = server.run(view.validate(token))
        except (AuthenticationError, BackendError) as error:
            failed = error
        else:
            _print(_facts(login, view, bare=issuer is not None), view, as_json=as_json)
            return
    refused = isinstance(failed, AuthenticationError)
    verdict = "not valid" if refused else "nobody can say now"
    why = f"{verdict}: {failed.code}: {failed.detail or failed}"
    if as_json:
        _print_json(
            {
                "valid": False if refused else None,
                "mechanism": view.mechanism,
                "reason": why,
                "code": failed.code,
                "detail": failed.detail,
            }
        )
    fail(why, status=1 if refused else NOBODY_KNOWS)


def _check(table: Mapping[str, object]) -> None:
    """Look at what the options say of a provider.

    Raises:
        UsageError: something in it is wrong; it is called what the command line calls it.
    """
    from sasl_tokens.config import parse_providers

    try:
        _ = parse_providers([table])
    except ConfigError as error:
        field, _, problem = one_line(error).removeprefix("[0].").partition(": ")
    else:
        return
    flag = "allowLoopbackHttp"
    raise UsageError(f"{OPTIONS.get(field, field)}: {problem.replace(flag, OPTIONS[flag])}")


def _is_listed(settings: Configuration, mechanism: str) -> bool:
    listed = settings.core.mech_list
    return listed is None or mechanism in {base_name(name) for name in listed}


class _KeysOfFile:
    """Answers every request with the key set in a file."""

    def __init__(self, data: bytes) -> None:
        self._data = data

    def __call__(self, request: HttpRequest) -> HttpResponse:
        del request
        return HttpResponse(200, (("content-type", "application/jwk-set+json"),), self._data)


def _facts(login: ValidatedToken, view: View, *, bare: bool) -> dict[str, object]:
    """What is known of a valid token. `bare`: names without the prefix, which we made up."""
    from sasl_tokens.login import TokenLogin

    shown: Callable[[str], str] = _without_prefix if bare else str
    grants = {name: [value.decode() for value in values] for name, values in login.grants.items()}
    audience = login.provider.config.audience if isinstance(login, TokenLogin) else view.audience
    facts: dict[str, object] = {
        "valid": True,
        "mechanism": view.mechanism,
        "issuer": login.issuer,
        "audience": audience,
        "authid": shown(login.principal),
        "principal": grants["principal"][0],
        "database": next(iter(grants.get("database", ())), None),
        "roles": [shown(role) for role in grants["roles"]] if "roles" in grants else None,
        "needs_account": login.needs_account,
        "expires": int(login.expires_at),
    }
    if bare:
        del facts["database"]
    return facts


def _without_prefix(name: str) -> str:
    """The name of a user, or of a role, which may have its database before it."""
    return name.removeprefix(ROLES).removeprefix(f"{PREFIX}/")


def _print_json(facts: Mapping[str, object]) -> None:
    import json

    print(json.dumps(facts, indent=2))


def _print(facts: Mapping[str, object], view: View, *, as_json: bool) -> None:
    import json

    if as_json:
        _print_json(facts)
        return
    if view.signed:
        print("valid: the signature was checked, and issuer, audience and times")
    else:
        print("valid: its issuer says so")
    expires, roles = int(str(facts["expires"])), facts["roles"]
    unknown = "none" if not facts["needs_account"] else "those that the stores have for the user"
    texts = {name: str(value) for name, value in facts.items() if value is not None}
    texts |= {
        "roles": unknown if roles is None else json.dumps(roles, ensure_ascii=False),
        "account": "the stores have to know the user; they were not asked"
        if facts["needs_account"]
        else "not needed; whether a store has locked one was not asked",
        "expires": f"{moment(expires)}, {distance(expires - time.time())}",
    }
    rows = [(name, text) for name, text in texts.items() if name not in ("valid", "needs_account")]
    print(columns(rows, indent="  "))
