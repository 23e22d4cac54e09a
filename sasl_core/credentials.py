"""Where a client's secrets come from: what a source of them is, and what it is asked.

A source (`CredentialsPlug`, entry-point group `sasl_core.credentials`) fetches; it keeps
nothing. Whoever asks it keeps what can be used again, and asks it once at a time.

Source: MongoDB's driver authentication specification, "MONGODB-OIDC" (what a callback is
told and returns); RFC 6749 section 5.1 (access and refresh tokens).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs

from sasl_core._record import record
from sasl_core._sealed import Sealed
from sasl_core.errors import UsageError
from sasl_core.plugs import Plug

if TYPE_CHECKING:
    from sasl_core.plugs import Needs

__all__ = ["AccessToken", "CredentialsPlug", "TokenRequest"]


@record
class TokenRequest(Sealed):
    """What a token is wanted for.

    `service`, `host`: the server that it is shown to. `username`: a hint whose it should be.
    `issuer`, `client_id`, `scopes`: what the server said of its identity provider, None and
    () when it was not asked. `refresh_token`: of an earlier token, to be used instead of
    bothering a person. `deadline`: seconds that the source may take in all; what runs in a thread
    and does not heed it cannot be stopped, and only those who wait for it go on.
    """

    service: str
    host: str
    username: str | None = None
    issuer: str | None = None
    client_id: str | None = None
    scopes: tuple[str, ...] = ()
    refresh_token: str | None = attrs.field(default=None, repr=False)
    deadline: float = 60.0


@record
class AccessToken(Sealed):
    """An access token, never an ID token. `expires_at`: seconds since the epoch, if known."""

    value: str = attrs.field(repr=False)
    expires_at: float | None = None
    refresh_token: str | None = attrs.field(default=None, repr=False)


class CredentialsPlug(Plug):
    """A source of secrets.

    `human`: a person takes part. Then a server that can say which identity provider it trusts
    is asked first, and only `allowed_hosts` are logged in to: patterns of names as the token
    library reads them, None for its usual list.
    """

    human: bool = False
    allowed_hosts: tuple[str, ...] | None = None

    def token(self, request: TokenRequest) -> Needs[AccessToken]:
        """A new access token for `request`.

        Raises:
            BackendError: the provider, or the machine, cannot give one now.
            AuthenticationError: the provider refused us.
            ConfigError: something that the source needs is not configured.
            UsageError: the source has no tokens (the default).
        """
        del request
        yield from ()
        raise UsageError(f"credentials {self.name!r} give no tokens", code="no-tokens")
