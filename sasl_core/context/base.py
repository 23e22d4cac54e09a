"""What the contexts of both sides have in common."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Generic, TypeVar

from sasl_core._record import record
from sasl_core._sealed import Sealed
from sasl_core.errors import printable
from sasl_core.exchange import Doom
from sasl_core.flags import CanonFlag, Side
from sasl_core.needs import User

if TYPE_CHECKING:
    from sasl_core.core import Core
    from sasl_core.errors import SaslError
    from sasl_core.facts import Facts
    from sasl_core.needs import Found
    from sasl_core.utils import SaslUtils

__all__ = ["NAME_LIMIT", "AUTHID", "AUTHZID", "BOTH", "CanonContext", "Context"]

C = TypeVar("C", bound="Core")

NAME_LIMIT: Final = 1024
"""Longest identity accepted, in characters, before and after canonicalisation."""

AUTHID, AUTHZID = CanonFlag.AUTHID, CanonFlag.AUTHZID
BOTH = AUTHID | AUTHZID


@record
class CanonContext:
    """What a canonicaliser knows of the connection. `realm` is the default realm, or ""."""

    service: str
    host: str
    realm: str
    side: Side


class Context(Sealed, Doom, Generic[C]):
    """Common to both sides, and what dooms the exchange.

    `mechanism`: the negotiated name, -PLUS included. `facts`: what the application said
    of the connection. `plus`: whether the -PLUS variant was negotiated. `utils`: the plug's
    utils. `user`: the identities, once they are canonicalised. `bound`: the type of channel
    binding that this exchange used.
    """

    __slots__ = ("_core", "bound", "detail", "facts", "mechanism", "plus", "user", "utils")

    # Each side's `__init__` sets them all: every exchange pays for a call of another one.
    error: SaslError | None
    _core: C
    facts: Facts
    mechanism: str
    plus: bool
    utils: SaslUtils
    user: User | None
    bound: str | None
    detail: str | None

    @property
    def service(self) -> str:
        """The service name, as in "imap"."""
        return self._core.service

    @property
    def host(self) -> str:
        """The server's fully qualified name."""
        return self._core.host

    @property
    def realm(self) -> str:
        """The default realm, "" for none."""
        return self._core.realm

    def seterror(self, detail: str) -> None:
        """Note why the exchange fails, for the administrator's log; never raises.

        The deepest function that knows speaks first and its text stands; what is said
        later is appended with ` <- `. Never give it a secret.
        """
        text = printable(detail, 1000)
        if self.detail is None:
            self.detail = text
        elif text not in self.detail and len(self.detail) < 2000:
            self.detail = f"{self.detail} <- {text}"

    def adopt(
        self, authid: str, authzid: str | None, found: Found, names: tuple[str, ...] = ()
    ) -> User:
        """Canonicalise both identities and make them this exchange's user, known as `found`.

        `names`: the properties that are requested of it.
        """
        if authzid is None or authzid == "":
            canonical = acting = self._core.identity(authid, BOTH)
        else:
            canonical = self._core.identity(authid, AUTHID)
            acting = self._core.identity(authzid, AUTHZID)
        self.user = user = User(canonical, acting, found, names)
        return user
