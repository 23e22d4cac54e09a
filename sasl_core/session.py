"""What blocking and asyncio sessions have in common: everything that waits for nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Generic, TypeVar

from sasl_core._checks import is_a
from sasl_core._sealed import Sealed
from sasl_core.context.base import NAME_LIMIT
from sasl_core.errors import SaslError, UsageError
from sasl_core.exchange import foreign
from sasl_core.flags import CanonFlag
from sasl_core.needs import PromptId
from sasl_core.negotiation import Negotiation

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from sasl_core.core import ServerCore
    from sasl_core.layer import Layer
    from sasl_core.needs import Prompt
    from sasl_core.negotiation import ClientNegotiation, ServerNegotiation  # noqa: F401 - below
    from sasl_core.properties import PropertyContext

__all__ = ["ClientView", "ServerView", "SessionView", "client_answers"]

N = TypeVar("N", bound=Negotiation)
R = TypeVar("R")


class SessionView(Sealed, Generic[N, R]):
    """What can be read of a session. One session belongs to one thread or task."""

    __slots__ = ("_interact", "_negotiation", "_runner")

    def __init__(
        self,
        negotiation: N,
        runner: R,
        interact: Callable[[tuple[Prompt, ...]], Any] | None = None,
    ) -> None:
        self._negotiation = negotiation
        self._runner = runner
        self._interact = interact

    def raw(self) -> N:
        """The negotiation itself, for an application that supplies the needs on its own."""
        return self._negotiation

    def peek(self) -> N:
        """The negotiation, to look at while this session drives it. See `raw`."""
        return self._negotiation

    @property
    def mechanism(self) -> str | None:
        """The negotiated mechanism, -PLUS included; None before it is chosen."""
        return self._negotiation.mechanism

    @property
    def done(self) -> bool:
        """Whether it ended well."""
        return self._negotiation.done

    @property
    def authid(self) -> str:
        """Who was authenticated. UsageError (NOTDONE) before it is done."""
        return self._negotiation.authid

    @property
    def authzid(self) -> str:
        """As whom it acts. UsageError (NOTDONE) before it is done."""
        return self._negotiation.authzid

    @property
    def properties(self) -> PropertyContext:
        """The user's properties that were asked for. UsageError (NOTDONE) before it is done."""
        return self._negotiation.properties

    @property
    def channel_binding(self) -> str | None:
        """The type of channel binding that was used. UsageError (NOTDONE) before it is done."""
        return self._negotiation.channel_binding

    @property
    def ssf(self) -> int:
        """Strength of the security layer in bits. UsageError (NOTDONE) before it is done."""
        return self._negotiation.ssf

    @property
    def layer(self) -> Layer | None:
        """The negotiated security layer; None without one, and before it is done."""
        return self._negotiation.layer if self._negotiation.done else None

    @property
    def error_detail(self) -> str | None:
        """Why it failed, for the administrator's log. Never show it to the peer."""
        return self._negotiation.error_detail

    def encode(self, *buffers: bytes) -> bytes:
        """Protect data with the security layer; without one they are only joined.

        Raises:
            UsageError: the exchange is not done, or the layer takes less at once.
            PluginError: the layer broke.
        """
        layer = self._after("encode")
        return b"".join(buffers) if layer is None else self._guarded(layer.encode, *buffers)

    def decode(self, data: bytes) -> bytes:
        """Take received data out of the security layer; without one they are as they are.

        Raises:
            PeerError: the data were altered, replayed, or are too long.
            UsageError: the exchange is not done.
            PluginError: the layer broke.
        """
        layer = self._after("decode")
        return data if layer is None else self._guarded(layer.decode, data)

    def _guarded(self, method: Callable[..., bytes], *data: bytes) -> bytes:
        try:
            return method(*data)
        except SaslError:
            raise
        except Exception as error:  # noqa: BLE001 - whatever a plugin raises becomes ours.
            failure = foreign(error, self.mechanism or "?")
        raise failure

    def _after(self, what: str) -> Layer | None:
        if not self._negotiation.done:
            raise UsageError(f"{what} is possible only when the exchange is done", code="not-done")
        return self._negotiation.layer


class ServerView(SessionView["ServerNegotiation", R]):
    """What can be read of a server's session."""

    __slots__ = ()

    def raw(self) -> ServerNegotiation:
        negotiation = self._negotiation
        # Whoever supplies the needs is asked for all, whatever the Server was given.
        negotiation.asks_store = negotiation.asks_policy = True
        return negotiation

    def mechanisms(self, user: str | None = None) -> tuple[str, ...]:
        """The mechanisms to offer, strongest first; with `user`, those open to that user."""
        return self._negotiation.mechanisms(user)

    @property
    def rejected(self) -> Mapping[str, str]:
        """Why the mechanisms that are not offered are not, by name."""
        return self._negotiation.rejected

    def valid(self) -> bool:
        """Whether what the login rests on still stands. UsageError (NOTDONE) before it is done.

        False once the access token has expired, a key of its issuer has changed, `revalidate`
        was refused, or `external_until` has passed: the client has to log in again. A login by
        any other means stays valid.
        """
        return self._negotiation.valid()

    def listmech(
        self, user: str | None = None, prefix: str = "", separator: str = " ", suffix: str = ""
    ) -> str:
        """The offer as one string, as `sasl_listmech` gives it."""
        return prefix + separator.join(self.mechanisms(user)) + suffix


class ClientView(SessionView["ClientNegotiation", R]):
    """What can be read of a client's session."""

    __slots__ = ()

    @property
    def rejected(self) -> Mapping[str, str]:
        """Why the mechanisms that were passed over were, by name."""
        return self._negotiation.rejected

    def refused(self) -> bool:
        """Call it when the protocol says that the login failed.

        What a mechanism keeps for the next login and has used for this one, an access token
        say, is dropped. Returns whether a new session with a new one may succeed.
        """
        return self._negotiation.refused()


_AUTHNAME, _PASS, _USER = PromptId.AUTHNAME, PromptId.PASS, PromptId.USER
_GETREALM, _ECHOPROMPT, _TOKEN = PromptId.GETREALM, PromptId.ECHOPROMPT, PromptId.TOKEN


def client_answers(
    authid: str | None,
    password: str | Callable[[Prompt], str] | None,
    authzid: str | None,
    realm: str | None,
    trace: str | None,
    token: str | Callable[[Prompt], str] | None,
    answers: Mapping[PromptId, str | Callable[[Prompt], str]] | None,
) -> dict[PromptId, str | Callable[[Prompt], str]]:
    """The prompts that a session can answer from its arguments."""
    given: dict[PromptId, Any] = dict(answers) if answers else {}
    if authid is not None:
        given[_AUTHNAME] = authid
    if password is not None:
        given[_PASS] = password
    if authzid is not None:
        given[_USER] = authzid
    if realm is not None:
        given[_GETREALM] = realm
    if trace is not None:
        given[_ECHOPROMPT] = trace
    if token is not None:
        given[_TOKEN] = token
    for prompt, value in given.items():
        if not isinstance(value, str) and not callable(value):
            name = getattr(prompt, "name", "a prompt")
            raise UsageError(f"the answer to {name} is a string or a callable")
    return given


def canonical(core: ServerCore, user: str, *, exact: bool = False) -> str:
    """The canonical form of a name that an administrator gave; `exact`: it is that already.

    Raises:
        UsageError: the name is not acceptable.
    """
    if not is_a(user, str):
        raise UsageError(f"a user is a string, not a {type(user).__name__}")
    if exact:
        if not 0 < len(user) <= NAME_LIMIT or not user.isprintable():
            raise UsageError("user name: it is empty, too long or holds control characters")
        return user
    try:
        return core.identity(user, CanonFlag.AUTHID | CanonFlag.AUTHZID)
    except SaslError as error:
        raise UsageError(f"user name: {error}", detail=error.detail) from None
