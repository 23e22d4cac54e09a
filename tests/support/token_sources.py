"""Sources of tokens for tests, and a mechanism that sends what they give.

TOY-TOKEN: the client sends its token, or `?` to be told which provider the server trusts, and
then its token. The server knows nobody; whatever it is sent is the user.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

from sasl_core.plugin import (
    AccessToken,
    ClientContext,
    ClientPlug,
    CredentialsPlug,
    NeedPeer,
    Needs,
    PromptId,
    SaslError,
    ServerContext,
    ServerPlug,
    Success,
    TokenRequest,
)
from sasl_tokens.client import held_token, obtain_token
from toys import client_plug, server_plug

__all__ = ["ISSUER", "TOY", "Counting", "asking_client", "provider_server"]

TOY = "TOY-TOKEN"
ISSUER = "https://issuer.example.com"


class Counting(CredentialsPlug):
    """Gives `token-1`, `token-2` and so on; `requests` are those that it was asked with.

    `life`: seconds that each lives, None: it does not say. A person's come with the refresh
    token `refresh-1` and so on. `fails`: what is raised instead, or what decides by the request.
    """

    name = "counting"

    def __init__(
        self,
        *,
        human: bool = False,
        life: float | None = None,
        clock: Callable[[], float] = lambda: 0.0,
        allowed_hosts: tuple[str, ...] | None = None,
    ) -> None:
        self.human = human
        self.life = life
        self.clock = clock
        self.requests: list[TokenRequest] = []
        self.fails: Callable[[TokenRequest], SaslError | None] = lambda request: None
        self._lock = threading.Lock()
        if allowed_hosts is not None:
            self.allowed_hosts = allowed_hosts

    def token(self, request: TokenRequest) -> Needs[AccessToken]:
        with self._lock:
            self.requests.append(request)
            number = len(self.requests)
        error = self.fails(request)
        if error is not None:
            raise error
        yield from ()
        until = None if self.life is None else self.clock() + self.life
        return AccessToken(f"token-{number}", until, f"refresh-{number}" if self.human else None)

    @property
    def shown(self) -> list[tuple[str | None, str | None]]:
        """Of each request, the issuer and the refresh token."""
        return [(request.issuer, request.refresh_token) for request in self.requests]


def asking_client(**more: Any) -> ClientPlug:
    """The client's side of TOY-TOKEN."""

    def body(ctx: ClientContext) -> Needs[Success]:
        ctx.canon_user("somebody")
        token = yield from held_token(ctx)
        if token is None:
            issuer = (yield from NeedPeer(b"?")).decode()
            token = yield from obtain_token(ctx, issuer=issuer, client_id="client")
        return Success(data=token.encode())

    return client_plug(TOY, body, required_prompts=(PromptId.TOKEN,), **more)


def provider_server() -> ServerPlug:
    """The server's side."""

    def body(ctx: ServerContext) -> Needs[Success]:
        heard = yield from NeedPeer()
        if heard == b"?":
            heard = yield from NeedPeer(ISSUER.encode())
        return Success(ctx.attest(ctx.canon_user(heard.decode()), how="toy"))

    return server_plug(TOY, body)
