"""Who a bearer token stands for, when it was not us who read it: somebody who is asked said so.

An introspection endpoint gives such an answer, and so may an application's validator. The name
is theirs, and may come to look like that of somebody whom a provider of ours has: it is looked
at again whenever the login is.

Source: RFC 7662 section 2.2.
"""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING, Final, cast

from sasl_core.plugin import UsageError, ValidatedToken, printable
from sasl_tokens.errors import TokenError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from sasl_core.plugin import Needs

__all__ = ["BearerLogin", "NameOfElsewhere"]

_NOTHING: Final[Mapping[str, tuple[bytes, ...]]] = MappingProxyType({})


class BearerLogin(ValidatedToken):
    """A token that its issuer, or the application, vouches for.

    `principal`: whom to log in as, exactly. `expires_at`: seconds since the epoch, after which
    the session is not valid any more. `grants`: properties of the session, as in
    `{"roles": (b"reader",)}`; in `principal` the name by which the client may ask to be itself,
    if that differs. `again`: asks once more who it is; None: nobody can be asked.
    """

    __slots__ = ("_again", "_expires_at", "_grants", "_issuer", "_principal")

    def __init__(
        self,
        principal: str,
        issuer: str,
        expires_at: float,
        grants: Mapping[str, tuple[bytes, ...]] = _NOTHING,
        again: Callable[[], Needs[ValidatedToken]] | None = None,
    ) -> None:
        self._principal: Final = principal
        self._issuer: Final = issuer
        self._expires_at: Final = expires_at
        self._grants: Final = MappingProxyType(dict(grants))
        self._again: Final = again

    @property
    def principal(self) -> str:
        return self._principal

    @property
    def issuer(self) -> str:
        return self._issuer

    @property
    def expires_at(self) -> float:
        return self._expires_at

    @property
    def grants(self) -> Mapping[str, tuple[bytes, ...]]:
        return self._grants

    def revalidate(self) -> Needs[ValidatedToken]:
        if self._again is None:
            return (yield from super().revalidate())
        return (yield from self._again())

    def __repr__(self) -> str:
        return f"<BearerLogin {printable(self._principal)!r} by {printable(self._issuer)!r}>"


class NameOfElsewhere(ValidatedToken):
    """A token that stands only as long as `check` has nothing against its name.

    In all else it is `validated`. `check`: raises a TokenError, by the providers of the moment.
    """

    __slots__ = ("_check", "_validated")

    def __init__(self, validated: ValidatedToken, check: Callable[[ValidatedToken], None]) -> None:
        self._validated: Final = validated
        self._check: Final = check

    @property
    def principal(self) -> str:
        return self._validated.principal

    @property
    def issuer(self) -> str:
        return self._validated.issuer

    @property
    def expires_at(self) -> float:
        return self._validated.expires_at

    @property
    def grants(self) -> Mapping[str, tuple[bytes, ...]]:
        return self._validated.grants

    @property
    def needs_account(self) -> bool:
        return self._validated.needs_account

    def valid(self, now: float) -> bool:
        try:
            self._check(self._validated)
        except TokenError:
            return False
        return self._validated.valid(now)

    def revalidate(self) -> Needs[ValidatedToken]:
        fresh = yield from self._validated.revalidate()
        # It is the application's: what it returns may be of any type.
        if not isinstance(cast("object", fresh), ValidatedToken):
            raise UsageError(f"a token was revalidated as a {type(fresh).__name__}")
        self._check(fresh)
        return NameOfElsewhere(fresh, self._check)

    def __repr__(self) -> str:
        return repr(self._validated)
