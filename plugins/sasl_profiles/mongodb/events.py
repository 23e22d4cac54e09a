"""What a MongoDB server's connection tells whoever drives it, and what one client may use up."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, TypeAlias

import attrs

from sasl_core.plugin import record

if TYPE_CHECKING:
    from collections.abc import Callable

    from sasl_profiles.mongodb.wire import Sequence

__all__ = [
    "AUTH_ENDED",
    "CLOSED",
    "LOGGED_OUT",
    "AuthContinued",
    "AuthEnded",
    "AuthStarted",
    "Closed",
    "Command",
    "CommandReceived",
    "Event",
    "Limits",
    "LoggedOut",
    "Login",
    "ProvidersGiven",
]


@record
class Limits:
    """What one client may use up; what passes a limit ends its connection.

    A login that has lapsed is none, from the command on that was refused for it.
    `auth_failures`: failed logins since the last success. `errors`: other commands that were
    refused to a client who is not logged in, since the last success too.
    `login_message_size`: octets of a message before a login, and always where nobody takes
    commands; otherwise `message_size` after it. `login_seconds`: from one message to the end of
    the next, and for an exchange as a whole, before a login: a driver's monitor asks every 10
    seconds, a person takes minutes to log in at a provider. `idle_seconds`: from one message to
    the end of the next after a login; drivers keep connections in stock.
    """

    auth_failures: int = 5
    errors: int = 100
    login_message_size: int = 64 * 1024
    message_size: int = 48_000_000
    login_seconds: float = 360.0
    idle_seconds: float = 1800.0


@record
class Login:
    """Who is logged in.

    `database`: where the user is at home, "$external" for one of an identity provider.
    `roles`: role and database of each. `administrator`: may replace the identity providers.
    `valid`: whether the login still stands. `renewable`: whether the client can log in again on
    the same connection once it does not.
    """

    user: str
    database: str
    roles: tuple[tuple[str, str], ...] = ()
    administrator: bool = False
    valid: Callable[[], bool] = attrs.field(default=lambda: True, repr=False)
    renewable: bool = True


@record
class Command:
    """A command that this profile does not know, of a client that is logged in.

    `body`: the BSON document as it came, whose first key is `name`; `sequences`: what came
    beside it. Neither has been looked into. `silent`: the client expects no answer.
    """

    name: str
    login: Login
    body: bytes = attrs.field(repr=False)
    sequences: tuple[Sequence, ...] = ()
    silent: bool = False


@record
class AuthStarted:
    """The client begins an exchange; one that was under way is over.

    `mechanism`: as MongoDB calls it. `success_data`: it takes the mechanism's last data together
    with the success.
    """

    mechanism: str
    payload: bytes = attrs.field(repr=False)
    database: str
    success_data: bool


@record
class AuthContinued:
    """The client answers a challenge."""

    payload: bytes = attrs.field(repr=False)


class AuthEnded:
    """The client spoiled the exchange; its session can be closed."""


class LoggedOut:
    """The client gave its login up; its session can be closed."""


@record
class CommandReceived:
    """A command for whoever embeds this."""

    command: Command


@record
class ProvidersGiven:
    """An administrator hands in identity providers: a list, or a JSON text."""

    providers: list[object] | str = attrs.field(repr=False)


class Closed:
    """The connection ends when what is left has been sent."""


Event: TypeAlias = (
    AuthStarted | AuthContinued | AuthEnded | LoggedOut | CommandReceived | ProvidersGiven | Closed
)

AUTH_ENDED: Final = AuthEnded()
LOGGED_OUT: Final = LoggedOut()
CLOSED: Final = Closed()
