"""Tokens that the application gets itself: it gives a function, and is asked when one is due.

Source: MongoDB's driver authentication specification, "MONGODB-OIDC", OIDC_CALLBACK and
OIDC_HUMAN_CALLBACK.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, TypeAlias

from sasl_core.plugin import AccessToken, CredentialsPlug, UsageError
from sasl_credentials.asking import ask
from sasl_credentials.grants import refresh_grant
from sasl_tokens.hosts import ALLOWED_HOSTS, check_patterns

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable

    from sasl_core.plugin import Needs, TokenRequest

    Answer: TypeAlias = AccessToken | str
    Function: TypeAlias = (
        Callable[[TokenRequest], Answer] | Callable[[TokenRequest], Awaitable[Answer]]
    )

__all__ = ["CallbackTokens"]


class CallbackTokens(CredentialsPlug):
    """Tokens that `function` gives, an `AccessToken` or the token alone.

    It gets the `TokenRequest`, and is asked by one login at a time. It may block, and then runs
    in a thread of its own under asyncio; or it is a coroutine function, which needs the asyncio
    door, and is called off after `request.deadline` seconds. A blocking one cannot be called
    off, and has to keep to that time by itself.

    `human`: a person takes part. The request then says which provider the server trusts, and
    `allowed_hosts` are the servers that such a token may be shown to. `refresh`: refresh
    tokens are exchanged here, at the issuer's token endpoint, and `function` is asked only
    when that fails; without it, it is given them as `request.refresh_token`. `ca_file` and
    `allow_loopback_http` are for that endpoint.

    Raises:
        ConfigError: one of `allowed_hosts` is no host.
    """

    name = "callback"

    def __init__(
        self,
        function: Function,
        *,
        human: bool = False,
        allowed_hosts: Iterable[str] = ALLOWED_HOSTS,
        refresh: bool = False,
        ca_file: str | None = None,
        allow_loopback_http: bool = False,
        clock: Callable[[], float] = time.time,
    ) -> None:
        if not callable(function):
            raise UsageError(f"a token callback is a function, not a {type(function).__name__}")
        self.human = human
        self.allowed_hosts = check_patterns(allowed_hosts)
        self._function = function
        self._refresh = refresh
        self._ca_file = ca_file
        self._allow_loopback_http = allow_loopback_http
        self._clock = clock

    def token(self, request: TokenRequest) -> Needs[AccessToken]:
        if self._refresh and request.refresh_token is not None and request.issuer is not None:
            return (
                yield from refresh_grant(
                    request.issuer,
                    request.client_id,
                    request.refresh_token,
                    ca_file=self._ca_file,
                    allow_loopback_http=self._allow_loopback_http,
                    deadline=request.deadline,
                    clock=self._clock,
                )
            )
        answer = yield from ask(self._function, request, "token callback", request.deadline)
        if isinstance(answer, AccessToken):
            return answer
        if isinstance(answer, str):
            return AccessToken(answer)
        raise UsageError(
            f"the token callback returned a {type(answer).__name__}; expected an AccessToken or "
            "the token as a string",
            code="bad-token",
        )
