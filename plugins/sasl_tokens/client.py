"""Which access token a client mechanism sends, and what becomes of it when it is refused.

The application's own (`session(token=...)`) goes before everything else, is used as it is and
is not kept. Otherwise the client's source of credentials gives one, through the cache that all
sessions of the Client share. Tokens of a person go to allowed hosts only, kept ones too: the
host that the Client was made for has to be one, and so has the one that the connection leads to,
where the protocol's client says which (the fact `connected_to`). Those of a machine go where its
configuration says, whatever name or address the connection was made by.

    token = yield from held_token(ctx, username)
    if token is None:                      # a person's, and none is kept:
        ...                                # ask the server which provider it trusts
        token = yield from obtain_token(ctx, username=username, issuer=issuer, ...)

Source: MongoDB's driver authentication specification, "MONGODB-OIDC".
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from attrs import evolve

from sasl_core.plugin import PromptId, TokenRequest, UsageError
from sasl_tokens.hosts import ALLOWED_HOSTS, check_host, check_patterns
from sasl_tokens.sent import Given, Sent, check_token

if TYPE_CHECKING:
    from sasl_core.plugin import ClientContext, CredentialsPlug, Needs

__all__ = ["allowed_hosts", "held_token", "obtain_token", "seconds_for", "token_refused"]

MACHINE_SECONDS: Final = 60.0
"""How long a source may take by itself."""

HUMAN_SECONDS: Final = 300.0
"""How long it may take with a person."""


def held_token(ctx: ClientContext, username: str | None = None) -> Needs[str | None]:
    """The token to send without asking the server; None: ask it which provider it trusts.

    It is the application's own, or a machine's, or a person's that is kept or can be had for a
    refresh token. `username`: a hint whose it should be.

    Raises:
        UsageError: nobody gives a token; what was given is none (code "bad-token"); it is a
            person's, and the host is not allowed (code "host-not-allowed").
        SaslError: whatever the source raised.
    """
    return (yield from _token(ctx, TokenRequest(ctx.service, ctx.host, username), ask=False))


def obtain_token(
    ctx: ClientContext,
    *,
    username: str | None = None,
    issuer: str | None = None,
    client_id: str | None = None,
    scopes: tuple[str, ...] = (),
) -> Needs[str]:
    """The token to send, a person's too: what `held_token` gives, or a new one.

    `issuer`, `client_id`, `scopes`: what the server said of its provider, if it was asked.

    Raises:
        UsageError, SaslError: as `held_token`.
    """
    request = TokenRequest(ctx.service, ctx.host, username, issuer, client_id, scopes)
    token = yield from _token(ctx, request, ask=True)
    if token is None:  # pragma: no cover - who may ask gets a token or an error.
        raise UsageError("the credentials gave no token", code="bad-token")
    return token


def token_refused(ctx: ClientContext, token: str) -> bool:
    """The server refused `token`: drop it from the cache; whether another may do better.

    The same as `ClientSession.refused()`, for mechanisms whose server says it inside of the
    exchange. Whichever comes first counts.

    Raises:
        UsageError: this exchange was given another token, or none.
    """
    sent = getattr(ctx, "refused_hook", None)
    if not isinstance(sent, (Given, Sent)) or not sent.is_of(token):
        raise UsageError("this exchange was given no such token")
    return sent()


def _token(ctx: ClientContext, request: TokenRequest, *, ask: bool) -> Needs[str | None]:
    source = ctx.credentials
    if source is None:
        (given,) = yield from ctx.ask(PromptId.TOKEN)
        token = check_token(given)
        ctx.refused_hook = Given(token)
        return token
    if source.human:
        # Before all else: what is kept is the person's as well.
        hosts = allowed_hosts(source)
        check_host(ctx.host, hosts)
        connected_to = ctx.facts.connected_to
        if connected_to is not None:
            check_host(connected_to, hosts)
    request = evolve(request, deadline=seconds_for(source))
    # Imported here, for it brings asyncio along.
    from sasl_tokens.cache import TokenCache

    clock = ctx.utils.clock
    cache = ctx.utils.shared("oidc-token-cache", lambda: TokenCache(clock))
    sent = yield from cache.obtain(source, request, ask=ask)
    if sent is None:
        return None
    ctx.refused_hook = sent
    return sent.token


def seconds_for(source: CredentialsPlug) -> float:
    """How long `source` may take over a token, in seconds: a person takes longer."""
    return HUMAN_SECONDS if source.human else MACHINE_SECONDS


def allowed_hosts(source: CredentialsPlug) -> tuple[str, ...]:
    """The hosts that tokens of this person's source may be shown to.

    Raises:
        UsageError: what the source declares is no tuple of strings.
        ConfigError: one of them is no host.
    """
    allowed = source.allowed_hosts
    if allowed is None or allowed is ALLOWED_HOSTS:
        return ALLOWED_HOSTS
    # A stranger's class may declare anything; one string would be a host for each letter.
    if type(allowed) is not tuple or not all(type(each) is str for each in allowed):
        raise UsageError(f"allowed_hosts of credentials {source.name!r} is no tuple of strings")
    return check_patterns(allowed)
