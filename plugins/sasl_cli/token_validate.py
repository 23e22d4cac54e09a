"""`sasl token validate`: whether a server would take a token, and whom it would let in by it.

Invariant: what is printed as valid went through the identity providers' own validation, signature
and all; there is no second way here.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Annotated, Final

import typer

from sasl_cli.output import columns, fail
from sasl_cli.settings import APPNAME, Appname, ConfigFile, configuration
from sasl_cli.token_input import STDIN, TokenArgument, TokenFile, read_limited, read_token
from sasl_cli.token_inspect import distance, moment
from sasl_core import Server
from sasl_core.plugin import AuthenticationError, BackendError, HttpResponse, UsageError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from sasl_core.plugin import HttpRequest
    from sasl_tokens.login import TokenLogin

__all__ = ["NOBODY_KNOWS", "validate_token"]

NOBODY_KNOWS: Final = 3
"""The exit status when the keys cannot be had: the token may be good."""

PREFIX: Final = "cli"
"""Stands before names where no configuration says what does; it is not printed."""

ROLES: Final = "admin."
"""The database of roles, where nothing else is said."""

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
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON, for programs.")] = False,
) -> None:
    """Have a token validated as a server would: signature, issuer, audience, times, claims.

    By the configured identity providers, or by --issuer and --audience alone. Exits with 0 if it
    is valid, with 1 if it is not, and with 3 if the issuer's keys cannot be fetched.
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
        settings = settings.overlaid({"identity_providers": [table]})
    keys = None if jwks_file is None else _KeysOfFile(read_limited(jwks_file, KEYS_LIMIT))
    token = read_token(argument, file)
    from sasl_http import HttpTransport
    from sasl_tokens.manager import idp_manager

    with (
        HttpTransport() as http,
        Server(APPNAME, "localhost", appname=appname, config=settings, http=keys or http) as server,
    ):
        manager = idp_manager(server.utils)
        if not manager.configured:
            raise UsageError(
                f"no identity provider is configured for {appname!r}: give --issuer and "
                "--audience, or the --config and --appname that have some"
            )
        try:
            login = server.run(manager.authenticate(token))
        except AuthenticationError as error:
            why, status = f"not valid: {error.code}: {error.detail}", 1
        except BackendError as error:
            why = f"nobody can say now: {error.code}: {error.detail or error}"
            status = NOBODY_KNOWS
        else:
            _print(_facts(login, bare=issuer is not None), as_json=as_json)
            return
    if as_json:
        _print({"valid": None if status == NOBODY_KNOWS else False, "reason": why}, as_json=True)
    fail(why, status=status)


class _KeysOfFile:
    """Answers every request with the key set in a file."""

    def __init__(self, data: bytes) -> None:
        self._data = data

    def __call__(self, request: HttpRequest) -> HttpResponse:
        del request
        return HttpResponse(200, (("content-type", "application/jwk-set+json"),), self._data)


def _facts(login: TokenLogin, *, bare: bool) -> dict[str, object]:
    """What is known of a valid token. `bare`: names without the prefix, which we made up."""
    shown: Callable[[str], str] = _without_prefix if bare else str
    grants = {name: [value.decode() for value in values] for name, values in login.grants.items()}
    facts: dict[str, object] = {
        "valid": True,
        "issuer": login.issuer,
        "audience": login.provider.config.audience,
        "authid": shown(login.principal),
        "principal": grants["principal"][0],
        "database": next(iter(grants.get("database", ())), None),
        "roles": [shown(role) for role in grants["roles"]] if "roles" in grants else None,
        "expires": int(login.expires_at),
    }
    if bare:
        del facts["database"]
    return facts


def _without_prefix(name: str) -> str:
    """The name of a user, or of a role, which has its database before it."""
    return name.removeprefix(ROLES).removeprefix(f"{PREFIX}/")


def _print(facts: Mapping[str, object], *, as_json: bool) -> None:
    import json

    if as_json:
        print(json.dumps(facts, indent=2))
        return
    print("valid: the signature was checked, and issuer, audience and times")
    expires = int(str(facts["expires"]))
    roles = facts["roles"]
    texts = {
        **{name: str(value) for name, value in facts.items() if name not in ("valid", "roles")},
        "roles": "those of the stores, which have to know the user"
        if roles is None
        else json.dumps(roles, ensure_ascii=False),
        "expires": f"{moment(expires)}, {distance(expires - time.time())}",
    }
    print(columns(texts.items(), indent="  "))
