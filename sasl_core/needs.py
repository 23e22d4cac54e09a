"""What a mechanism, a look-up or a write can ask of the world outside.

A generator yields a need and is resumed with its answer; it does no I/O of its own.
`answer = yield from NeedX(...)` is the one way to ask: it gives the answer its type, and
type checkers refuse a bare `yield NeedX(...)`. Answers are plain data, never a bool and
never a `Verified`, so that a need that nobody answered authenticates nobody.

The union is closed: `Need` below lists every kind, and a runner covers them all.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection, Generator, Iterable, Mapping
from enum import IntEnum
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, ClassVar, Final, Generic, TypeAlias, TypeVar

import attrs

from sasl_core._record import record
from sasl_core._sealed import Sealed
from sasl_core.flags import Blocking, CanonFlag, Decision
from sasl_core.names import UserName
from sasl_core.properties import PropertyContext
from sasl_core.results import Result

if TYPE_CHECKING:
    from sasl_core.token import ValidatedToken
    from sasl_core.verifier import ScramVerifier

__all__ = [
    "Change",
    "Found",
    "HttpRequest",
    "HttpResponse",
    "Need",
    "NeedAuthorize",
    "NeedBase",
    "NeedCall",
    "NeedCallback",
    "NeedDerivation",
    "NeedHttp",
    "NeedInitial",
    "NeedPassword",
    "NeedPeer",
    "NeedStore",
    "NeedUser",
    "NeedVerdict",
    "PasswordAnswer",
    "Prompt",
    "PromptId",
    "User",
]

A = TypeVar("A")

_NOTHING: Mapping[str, tuple[bytes, ...]] = MappingProxyType({})
_NONE: Mapping[str, ScramVerifier] = MappingProxyType({})


class NeedBase(Sealed, Generic[A]):
    """A question whose answer is an `A`."""

    __slots__ = ()
    answer_type: ClassVar[Any] = object
    """The type (or tuple of types) that `Exchange` accepts as an answer."""
    supplied_type: ClassVar[Any] = object
    """The type that a runner supplies: the same, but where the negotiation makes it of another."""

    def __init_subclass__(cls) -> None:
        if "supplied_type" not in cls.__dict__:
            cls.supplied_type = cls.answer_type

    def __iter__(self) -> Generator[Any, object, A]:
        answer: Any = yield self
        return answer  # type: ignore[no-any-return]  # whoever answers has checked the type


# --- the peer -----------------------------------------------------------------


@record
class NeedPeer(NeedBase[bytes]):
    """The peer's next message, after `output` has been sent (None: nothing to send).

    An empty message is `b""`; a message that does not exist never arrives here.
    """

    output: bytes | None = attrs.field(default=None, repr=False)
    answer_type: ClassVar[Any] = bytes


@record
class NeedInitial(NeedBase["bytes | None"]):
    """The client's initial response, or None when it sent none.

    Only for a server mechanism with neither `WANT_CLIENT_FIRST` nor `SERVER_FIRST`, and
    only as its first need: the others are spared the question by the glue.
    """

    answer_type: ClassVar[Any] = (bytes, type(None))


@record
class NeedVerdict(NeedBase["bytes | None"]):
    """What the server makes of a client's last message `output`: None when it lets us in.

    Only for a client whose server says no by a challenge, and yes by its protocol's success
    alone (RFC 7628 section 3.2.3): then that challenge is the answer.
    """

    output: bytes = attrs.field(repr=False)
    answer_type: ClassVar[Any] = (bytes, type(None))


# --- users and properties -----------------------------------------------------


@record
class Found(Sealed):
    """What one look-up found: plain data, the answer that a runner gives to `NeedUser`.

    `result`: OK, NOUSER, DISABLED, NOVERIFY (found, but without a secret to check) or
    UNAVAIL. `values`: property name (without `*`) -> values. `verifiers`: parsed SCRAM
    verifiers by hash name ("SHA-256"), from stores that keep them parsed; a store that
    does not leaves them in `values["authPassword"]`. `decoy_secret`: the store's secret
    for decoys, at least 16 bytes, or None to use one that lives as long as the server.
    `decoy_iterations`: rounds of the store's verifiers, for decoys: by hash, or one number for
    all of them; None, or a hash that is not there: the configured ones.
    """

    result: Result = Result.OK
    values: Mapping[str, tuple[bytes, ...]] = attrs.field(default=_NOTHING, repr=False)
    verifiers: Mapping[str, ScramVerifier] = attrs.field(default=_NONE, repr=False)
    decoy_secret: bytes | None = attrs.field(default=None, repr=False)
    decoy_iterations: Mapping[str, int] | int | None = None

    def decoy_rounds(self, hash_name: str) -> int | None:
        """The rounds of a decoy of that hash, None for the configured ones."""
        rounds = self.decoy_iterations
        return rounds if rounds is None or isinstance(rounds, int) else rounds.get(hash_name)


class User(Sealed):
    """A user as this exchange canonicalised it: the answer that a mechanism gets.

    Bound by identity to the context that made it. `authid` proves, `authzid` acts (equal
    to `authid` when the client named none). `token`: who it is rests on that, if on any.
    """

    __slots__ = ("_properties", "authid", "authzid", "found", "requested", "token")

    def __init__(
        self, authid: str, authzid: str, found: Found, requested: tuple[str, ...] = ()
    ) -> None:
        # Final as a record's fields are: for the type checkers, and free at run time.
        self.authid: Final = authid
        self.authzid: Final = authzid
        self.found = found
        self.requested = requested
        self._properties: PropertyContext | None = None
        self.token: ValidatedToken | None = None

    @property
    def properties(self) -> PropertyContext:
        """What was requested and found of the user; made when somebody asks, as few do."""
        properties = self._properties
        if properties is None:
            properties = self._properties = PropertyContext(self.requested)
            values = self.found.values
            for name in self.requested if values else ():
                each = values.get(name.lstrip("*"))
                if each:
                    properties.set(name, each)
        return properties

    def erase(self, names: Iterable[str], but: Collection[str]) -> None:
        """Erase the values of those of `names` that are not in `but`."""
        if self._properties is not None:
            self._properties.erase_all(names, but)

    def __repr__(self) -> str:
        return f"<User {self.authid!r} acting as {self.authzid!r}>"


@record
class NeedUser(NeedBase[User]):
    """A user's properties, looked up right after canonicalisation.

    A mechanism gives the names as the peer sent them; the negotiation canonicalises both
    before the need surfaces, and looks up the *authid* only. What surfaces is answered
    with a `Found`; the mechanism gets a `User`. `properties` are names as in
    `PropertyContext`. `identity` is set by the negotiation: AUTHZID for the look-up that
    follows a successful proof when another authzid was asked for.
    """

    authid: str
    authzid: str | None = None
    properties: tuple[str, ...] = ()
    identity: CanonFlag = CanonFlag.AUTHID
    # A mechanism's is answered with a User, one of the glue's own with the Found itself.
    answer_type: ClassVar[Any] = (User, Found)
    supplied_type: ClassVar[Any] = Found


@record
class NeedAuthorize(NeedBase[Decision]):
    """May `authid`, who has proved itself, act as `authzid`? Asked exactly once, last.

    Issued by the negotiation, never by a mechanism. Without a proxy policy the answer is
    PERMIT exactly when both are equal.
    """

    authid: str
    authzid: str
    properties: PropertyContext
    answer_type: ClassVar[Any] = Decision


@record
class PasswordAnswer:
    """What a pwcheck method says: OK, BADAUTH, NOUSER, DISABLED, EXPIRED, NOVERIFY, UNAVAIL."""

    result: Result
    detail: str | None = None


@record
class NeedPassword(NeedBase[PasswordAnswer]):
    """Check `password` of a canonical user by the pwcheck method `method`.

    `method` is a configured method's name, or "application" for the application's own
    callback. Yielded by `ctx.check_password`. `password` is prepared UTF-8.
    """

    method: str
    user: UserName
    password: bytes = attrs.field(repr=False)
    service: str = ""
    answer_type: ClassVar[Any] = PasswordAnswer


@record
class Change(Sealed):
    """What one write does to a user, all of it or nothing.

    `values`: property -> new values; an empty tuple removes the property. Values of
    `authPassword` are SCRAM verifiers; those given replace those of the same hash, and
    `replace_verifiers` removes the hashes not given. `disabled`: None leaves it as is.
    `create`: make the user; an existing one is then a conflict unless `exist_ok`.
    `delete`: remove the user and everything of it. `expected`: property -> the values
    that must be there now (compare and set); a difference is a conflict.
    """

    values: Mapping[str, tuple[bytes, ...]] = attrs.field(default=_NOTHING, repr=False)
    replace_verifiers: bool = False
    disabled: bool | None = None
    create: bool = False
    exist_ok: bool = False
    delete: bool = False
    expected: Mapping[str, tuple[bytes, ...]] = attrs.field(default=_NOTHING, repr=False)


@record
class NeedStore(NeedBase[Result]):
    """Write `change` of `user` to the configured stores, the first failure ends it (G16).

    Answer: OK; NOUSER (no such user, and not `create`); NOCHANGE (a conflict: it exists,
    or it is not what `expected` says). An outage is raised as `BackendError`.
    """

    user: UserName
    change: Change
    answer_type: ClassVar[Any] = Result


# --- the application, the machine, the net --------------------------------------


class PromptId(IntEnum):
    """What is asked for (`SASL_CB_*`, with Cyrus's numbers).

    TOKEN, an access token (RFC 6750), is ours: Cyrus has no number for one.
    """

    USER = 0x4001
    AUTHNAME = 0x4002
    LANGUAGE = 0x4003
    PASS = 0x4004
    ECHOPROMPT = 0x4005
    NOECHOPROMPT = 0x4006
    GETREALM = 0x4008
    TOKEN = 0x4F01


@record
class Prompt:
    """One question to the application. `challenge` is the server's text, if any.

    `default` is what an empty answer means; None: an answer is required.
    """

    id: PromptId
    text: str
    challenge: str = ""
    default: str | None = None

    @property
    def echo(self) -> bool:
        """Whether what a person types may be shown."""
        return self.id not in (PromptId.PASS, PromptId.NOECHOPROMPT, PromptId.TOKEN)


@record
class NeedCallback(NeedBase["tuple[str, ...]"]):
    """Ask the application (`SASL_INTERACT`); the answers come in the order of the prompts."""

    prompts: tuple[Prompt, ...]
    answer_type: ClassVar[Any] = tuple


@record
class NeedDerivation(NeedBase[bytes]):
    """PBKDF2-HMAC of `password` with `hash` ("SHA-256"); as many bytes as the hash has.

    `iterations` was capped by the caller. Runs off the event loop.
    """

    hash: str
    password: bytes = attrs.field(repr=False)
    salt: bytes
    iterations: int
    answer_type: ClassVar[Any] = bytes


@record
class HttpRequest(Sealed):
    """One HTTP request. `deadline` is the total time allowed, in seconds; `limit` the
    largest response body accepted, in bytes. Redirects are never followed.

    `ca_file`: a PEM file of the authorities that alone are trusted; None: the machine's.
    `cleartext`: an `http://` address is meant, and whoever asks has made sure that it is of
    this machine, or of the cloud that it runs in; otherwise nothing but `https://` will do.
    """

    method: str
    url: str
    headers: tuple[tuple[str, str], ...] = attrs.field(default=(), repr=False)
    body: bytes = attrs.field(default=b"", repr=False)
    deadline: float = 10.0
    limit: int = 256 * 1024
    ca_file: str | None = None
    cleartext: bool = False


@record
class HttpResponse(Sealed):
    """The answer to an `HttpRequest`. Header names are lower case."""

    status: int
    headers: tuple[tuple[str, str], ...] = attrs.field(default=(), repr=False)
    body: bytes = attrs.field(default=b"", repr=False)


@record
class NeedHttp(NeedBase[HttpResponse]):
    """An HTTP exchange, carried out by the transport given to the `Server` or `Client`."""

    request: HttpRequest
    answer_type: ClassVar[Any] = HttpResponse


@record
class NeedCall(NeedBase[A]):
    """Any other bounded work: `function()`, which may block as `blocking` says.

    `async_function`, if there is one, does the same for asyncio without a thread.
    """

    function: Callable[[], A] = attrs.field(repr=False)
    blocking: Blocking
    async_function: Callable[[], Awaitable[A]] | None = attrs.field(default=None, repr=False)


Need: TypeAlias = (
    NeedPeer
    | NeedInitial
    | NeedVerdict
    | NeedUser
    | NeedAuthorize
    | NeedPassword
    | NeedCallback
    | NeedDerivation
    | NeedHttp
    | NeedStore
    | NeedCall[Any]
)
"""Every need there is."""
