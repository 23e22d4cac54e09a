"""The client's context: prompts, our identities, and the proof of the server."""

from __future__ import annotations

from functools import lru_cache
from hmac import compare_digest
from typing import TYPE_CHECKING, NoReturn

from sasl_core.errors import (
    AuthenticationError,
    printable,
)
from sasl_core.needs import (
    Found,
    NeedCallback,
    Prompt,
    PromptId,
    User,
)
from sasl_core.outcome import MINT, VerifiedPeer
from sasl_core.results import Result

if TYPE_CHECKING:
    from collections.abc import Callable

    from sasl_core.core import ClientCore
    from sasl_core.credentials import CredentialsPlug
    from sasl_core.facts import Facts
    from sasl_core.utils import SaslUtils

from sasl_core.context.base import Context

__all__ = ["ClientContext"]


class ClientContext(Context["ClientCore"]):
    """The client's side. `offered`: every mechanism name that the server offered.

    `refused_hook`: set by a mechanism that wants to know when the protocol says that the login
    failed; returns whether it makes sense to try once more. See `ClientSession.refused`.
    """

    __slots__ = ("_has_token", "offered", "refused_hook")

    # Left unset where nobody sets it.
    refused_hook: Callable[[], bool]

    def __init__(
        self,
        core: ClientCore,
        facts: Facts,
        mechanism: str,
        utils: SaslUtils,
        offered: tuple[str, ...],
        plus: bool = False,
        has_token: bool = False,
    ) -> None:
        self._core = core
        self.facts = facts
        self.mechanism = mechanism
        self.plus = plus
        self.utils = utils
        self.error = self.user = self.bound = self.detail = None
        self.offered = offered
        self._has_token = has_token

    @property
    def credentials(self) -> CredentialsPlug | None:
        """The client's source of secrets; None without one, or where the session has a token.

        Raises:
            PluginError: it is not installed, or cannot be used.
        """
        return None if self._has_token else self._core.credentials()

    def canon_user(self, authid: str, authzid: str | None = None) -> User:
        """Canonicalise our own identities. Every client mechanism calls this before it ends.

        Raises:
            PeerError: a name is not acceptable.
        """
        return self.adopt(authid, authzid, _FOUND)

    def external_user(self, authzid: str | None = None) -> User:
        """Our identity is what the protection below says, and is not ours to write.

        As it stands, under the name of `external_id`; where nobody told us, it is "external".
        Takes the place of `canon_user`.
        """
        who = self.facts.external_id or "external"
        self.user = user = User(who, authzid or who, _FOUND)
        return user

    def bind(self) -> tuple[str, bytes] | None:
        """Our channel binding type and its data, None when this exchange is not -PLUS.

        The best type that the connection has: tls-exporter, tls-unique,
        tls-server-end-point, then any other.
        """
        if not self.plus:
            return None
        names = self.facts.channel_bindings
        name = next((name for name in _BINDINGS if name in names), None) or next(iter(names))
        data = self.facts.binding(name)
        if data is None:  # pragma: no cover - `name` is one of the connection's.
            self.refuse(f"no data for channel binding {name!r}", result=Result.BADBINDING)
        self.bound = name
        return name, data

    def ask(self, *prompts: PromptId) -> NeedCallback:
        """Ask the application for what `prompts` name, in their order, with usual texts."""
        return _question(prompts)

    def refuse(self, detail: str, *, result: Result = Result.BADSERV) -> NoReturn:
        """Refuse the server and doom the exchange.

        Raises:
            AuthenticationError: always.
        """
        # The one that is kept is never raised, for what is raised gathers frames.
        self.error = AuthenticationError(detail=detail, result=result)
        raise AuthenticationError(detail=detail, result=result)

    def refuse_server(self, error: str | None) -> NoReturn:
        """The server has refused us, and said `error`; end the exchange.

        Raises:
            AuthenticationError: always, with BADAUTH.
        """
        self.refuse(f"the server refused: {printable(error or '-')}", result=Result.BADAUTH)

    def verified_peer(self, expected: bytes, given: bytes, *, how: str) -> VerifiedPeer:
        """Compare the server's proof with the expected one in constant time.

        Raises:
            AuthenticationError: they differ, or either is empty.
        """
        if not compare_digest(expected, given) or not expected:
            self.refuse(f"the server's {how} proof is wrong: it may be an impostor")
        return VerifiedPeer(MINT, self, how)

    def attest_peer(self, *, how: str) -> VerifiedPeer:
        """Vouch for the server on the mechanism's own authority (a Kerberos library, say)."""
        return VerifiedPeer(MINT, self, f"attest:{how}")


_BINDINGS = ("tls-exporter", "tls-unique", "tls-server-end-point")

_TEXTS: dict[PromptId, tuple[str, str, str | None]] = {
    PromptId.USER: ("Authorization name", "", ""),
    PromptId.AUTHNAME: ("User name", "", None),
    PromptId.LANGUAGE: ("Language", "", ""),
    PromptId.PASS: ("Password", "", None),
    PromptId.ECHOPROMPT: ("Answer", "", ""),
    PromptId.NOECHOPROMPT: ("Secret", "", None),
    PromptId.GETREALM: ("Realm", "", ""),
    PromptId.TOKEN: ("Access token", "", None),
}

_FOUND = Found()


@lru_cache(maxsize=256)
def _question(prompts: tuple[PromptId, ...]) -> NeedCallback:
    """The need that asks for `prompts`; each mechanism has one that it asks each time."""
    return NeedCallback(tuple(Prompt(PromptId(p), *_TEXTS[p]) for p in prompts))
