"""An access token as a client sends it: its form, where it is kept, what its refusal means."""

from __future__ import annotations

from hashlib import sha256
from hmac import compare_digest
from typing import TYPE_CHECKING, Final

from sasl_core.plugin import AccessToken, UsageError
from sasl_tokens.terms import TOKEN_LIMIT, is_b64token

if TYPE_CHECKING:
    from typing import TypeAlias

    # Issuer, client and scopes: what a server said of its provider.
    Asked: TypeAlias = tuple[str | None, str | None, tuple[str, ...]]

__all__ = ["NOTHING_ASKED", "Held", "Sent", "check_access_token", "check_token"]


def check_token(value: object) -> str:
    """An access token as it may be sent.

    Raises:
        UsageError: no string, empty, longer than 16 KiB, or not of the characters that an
            access token may have (b64token, RFC 6750 section 2.1); code "bad-token".
    """
    if not isinstance(value, str):
        raise UsageError(
            f"an access token is a string, not a {type(value).__name__}", code="bad-token"
        )
    if not is_b64token(value):
        raise UsageError(
            f"this is no access token: it is empty, has more than {TOKEN_LIMIT} characters, or one "
            "that is none of A-Z a-z 0-9 - . _ ~ + / (and = at the end)",
            code="bad-token",
        )
    return value


def check_access_token(given: object) -> AccessToken:
    """What a source of credentials gave, which may be a stranger's.

    Raises:
        UsageError: it is no `AccessToken`, or a part of it is none; code "bad-token".
    """
    if not isinstance(given, AccessToken):
        raise UsageError(
            f"the credentials gave a {type(given).__name__}, not an AccessToken", code="bad-token"
        )
    _ = check_token(given.value)
    if given.expires_at is not None and not _is_time(given.expires_at):
        raise UsageError("expires_at of an AccessToken is no time", code="bad-token")
    if not _is_text(given.refresh_token):
        raise UsageError("refresh_token of an AccessToken is no string", code="bad-token")
    return given


def _is_text(value: object) -> bool:
    """Whether it is a string, or nothing."""
    return value is None or isinstance(value, str)


def _is_time(value: object) -> bool:
    """Whether it is seconds since the epoch: a negative life is no life, and NaN never ends."""
    return isinstance(value, (int, float)) and not isinstance(value, bool) and 0 <= value < 1e12


NOTHING_ASKED: Final[Asked] = (None, None, ())
"""The server was not asked: any provider will do."""


class Held:
    """One token that was fetched. `value` is None once it was refused.

    `asked`: which provider gave it; the refresh token is shown to that one and no other.
    `refreshed`: it was had for a refresh token. `outage`: since when none can be had for the
    refresh token that came with it, by the cache's clock, for a reason that passes.
    """

    __slots__ = ("asked", "outage", "refresh", "refreshed", "until", "value")

    def __init__(
        self, value: str, until: float | None, asked: Asked, refresh: str | None, refreshed: bool
    ) -> None:
        self.value: str | None = value
        self.until: Final = until
        self.asked: Final = asked
        self.refresh = refresh
        self.outage: float | None = None
        self.refreshed: Final = refreshed

    def fits(self, asked: Asked) -> bool:
        """Whether it is of the provider that is asked for, or any will do."""
        return asked in (NOTHING_ASKED, self.asked)


class Sent:
    """A token that one login sends, and what its refusal means.

    `held`: where it is kept; None: the application gave it, and nothing is kept of it.
    `fresh`: it was fetched for this login, or for one at the same time.
    """

    __slots__ = ("_again", "fresh", "held", "token")

    def __init__(self, token: str, held: Held | None = None, *, fresh: bool = False) -> None:
        self.token: Final = token
        self.held: Final = held
        self.fresh: Final = fresh
        self._again: bool | None = None

    def is_of(self, token: str) -> bool:
        return self.token == token

    def __call__(self) -> bool:
        """The login failed: drop the token; whether another one may do better.

        After one that was kept, or had for a refresh token, another may; after one that is
        new, or the application's own, it may not. The same answer each time.
        """
        if self._again is None:
            held = self.held
            if held is not None:
                held.value = None
                if self.fresh:
                    # What a refresh token gives is refused: the next login asks the person.
                    held.refresh = None
            self._again = held is not None and (held.refreshed or not self.fresh)
        return self._again


class Given:
    """A token that the application gave for one login: nothing is kept of it but a digest."""

    __slots__ = ("_digest",)

    def __init__(self, token: str) -> None:
        self._digest: Final = sha256(token.encode()).digest()

    def is_of(self, token: str) -> bool:
        return compare_digest(self._digest, sha256(token.encode()).digest())

    def __call__(self) -> bool:
        return False
