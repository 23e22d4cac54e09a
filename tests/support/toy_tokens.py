"""A sound toy mechanism of bearer tokens, and toys that are each wrong in one way.

client: <authzid> NUL <token>
server: (success), or "no", which the client answers with "so be it"

X-ASKING, which is sound as well, is asked first, as LOGIN is: its server sends a question. Of
X-FETCHING both sides fetch something by HTTP before they speak.
"""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Any

from sasl_core.plugin import (
    AuthenticationError,
    BackendError,
    ClientPlug,
    Feature,
    HttpRequest,
    NeedHttp,
    NeedPeer,
    NeedVerdict,
    PeerError,
    PromptId,
    SecurityFlag,
    ServerPlug,
    Success,
    ValidatedToken,
    hookimpl,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sasl_core.plugin import ClientContext, Needs, SaslUtils, ServerContext

__all__ = ["GOOD", "TOYS", "URL", "WRONG"]

SASL_PLUGIN_API = 1

GOOD, WRONG = "token-of-alice-7315", "token-of-alice-9999"
NO, ANSWER = b"no", b"so be it"
URL = "https://idp.example.com/keys"


class Login(ValidatedToken):
    """The token, kept so that it can be looked at again."""

    def __init__(self, token: str) -> None:
        self.token = token

    @property
    def principal(self) -> str:
        return "alice"

    @property
    def issuer(self) -> str:
        return "toy"

    @property
    def expires_at(self) -> float:
        return 9e9

    def revalidate(self) -> Needs[ValidatedToken]:
        yield from ()
        return Login(self.token)


class LapsingLogin(Login):
    """Is valid until it has been looked at."""

    looked = False

    def valid(self, now: float) -> bool:
        before, self.looked = self.looked, True
        return not before


class FickleLogin(Login):
    """Is not what it was, when it is validated again."""

    def revalidate(self) -> Needs[ValidatedToken]:
        yield from ()
        raise AuthenticationError(detail="a token of another mood")


class Server(ServerPlug):
    """The sound server."""

    name = "X-TOKEN"
    security_flags = SecurityFlag.NOANONYMOUS | SecurityFlag.PASS_CREDENTIALS
    features = Feature.WANT_CLIENT_FIRST | Feature.ALLOWS_PROXY
    login: type[Login] = Login

    def first(self, ctx: ServerContext) -> Needs[bytes]:
        return (yield from NeedPeer())

    def converse(self, ctx: ServerContext) -> Needs[Success]:
        heard = yield from self.first(ctx)
        authzid, _, token = heard.decode("ascii", "replace").partition("\0")
        if not token.isprintable() or not token:
            raise PeerError("a name and a token are due", code="toy")
        if token != GOOD:
            answer = yield from NeedPeer(NO)
            self.answered(answer)
            if not self.relents(answer):
                ctx.refuse("no such token")
        return Success(ctx.accept_token(self.login(GOOD), authzid or None))

    def answered(self, answer: bytes) -> None:
        if answer != ANSWER:
            raise PeerError("an answer to the error is due", code="toy")

    def relents(self, answer: bytes) -> bool:
        return False


class Client(ClientPlug):
    """The sound client."""

    name = "X-TOKEN"
    security_flags = Server.security_flags
    features = Server.features
    required_prompts = (PromptId.TOKEN,)

    def own_name(self, ctx: ClientContext) -> str:
        return "bearer"

    def first(self, ctx: ClientContext, message: bytes) -> Needs[bytes | None]:
        return (yield from NeedVerdict(message))

    def converse(self, ctx: ClientContext) -> Needs[Success]:
        token, authzid = yield from ctx.ask(PromptId.TOKEN, PromptId.USER)
        ctx.canon_user(self.own_name(ctx), authzid or None)
        answer = yield from self.first(ctx, f"{authzid}\0{token}".encode())
        if answer is None:
            return Success()
        return (yield from self.told(ctx))

    def told(self, ctx: ClientContext) -> Needs[Success]:
        with suppress(AuthenticationError):
            ctx.refuse_server("no")
        _ = yield from NeedPeer(ANSWER)
        raise AuthenticationError(detail="the server refused, and then spoke on")


class AskingServer(Server):
    """Asks before it is told; a question like this does not make a replay fail."""

    features = Feature.ALLOWS_PROXY | Feature.SERVER_FIRST

    def first(self, ctx: ServerContext) -> Needs[bytes]:
        return (yield from NeedPeer(b"your token?"))


class AskingClient(Client):
    features = AskingServer.features

    def first(self, ctx: ClientContext, message: bytes) -> Needs[bytes | None]:
        if (yield from NeedPeer()) != b"your token?":
            raise PeerError("a question is due", code="toy")
        return (yield from super().first(ctx, message))


class FetchingServer(Server):
    """Fetches before it hears."""

    def first(self, ctx: ServerContext) -> Needs[bytes]:
        heard = yield from super().first(ctx)
        if (yield from NeedHttp(HttpRequest("GET", URL))).status != 200:
            raise BackendError(detail="no keys")
        return heard


class FetchingClient(Client):
    """Fetches before it speaks."""

    def first(self, ctx: ClientContext, message: bytes) -> Needs[bytes | None]:
        if (yield from NeedHttp(HttpRequest("GET", URL))).status != 200:
            raise BackendError(detail="no keys")
        return (yield from super().first(ctx, message))


class HookedClient(Client):
    """Has something to drop when it is refused, as long as it is not let in."""

    def first(self, ctx: ClientContext, message: bytes) -> Needs[bytes | None]:
        ctx.refused_hook = lambda: len(message) > 1000
        return (yield from super().first(ctx, message))


# --- each wrong in one way -------------------------------------------------------------------


class RelentingServer(Server):
    """Says no, and lets in who answers with nothing."""

    def answered(self, answer: bytes) -> None:
        if answer:
            super().answered(answer)

    def relents(self, answer: bytes) -> bool:
        return not answer


class BelievingClient(Client):
    """Believes a success that comes after a no."""

    def told(self, ctx: ClientContext) -> Needs[Success]:
        _ = yield from NeedPeer(ANSWER)
        return Success()


class TellingClient(Client):
    """Tells its token when it hears no."""

    def first(self, ctx: ClientContext, message: bytes) -> Needs[bytes | None]:
        answer = yield from super().first(ctx, message)
        if answer not in (None, NO):
            ctx.seterror(f"{message!r} was answered with {answer!r}")
        return answer


class NamelessClient(Client):
    """Has a new name each time."""

    def own_name(self, ctx: ClientContext) -> str:
        return ctx.utils.random(4).hex()


class HoardingServer(Server):
    """Keeps the last token where it does not belong."""

    def __init__(self) -> None:
        self.last = ""

    def first(self, ctx: ServerContext) -> Needs[bytes]:
        heard = yield from super().first(ctx)
        self.last = heard.decode("latin-1")
        return heard


class LapsingServer(Server):
    login = LapsingLogin


class FickleServer(Server):
    login = FickleLogin


TOYS: dict[str, tuple[type[Server], type[Client]]] = {
    "X-TOKEN": (Server, Client),
    "X-ASKING": (AskingServer, AskingClient),
    "X-FETCHING": (FetchingServer, FetchingClient),
    "X-HOOKED": (Server, HookedClient),
    "X-RELENTING": (RelentingServer, Client),
    "X-BELIEVING": (Server, BelievingClient),
    "X-TOKEN-TELLING": (Server, TellingClient),
    "X-NAMELESS": (Server, NamelessClient),
    "X-HOARDING": (HoardingServer, Client),
    "X-LAPSING": (LapsingServer, Client),
    "X-FICKLE": (FickleServer, Client),
}


def _made(side: int) -> list[Any]:
    plugs: list[Any] = []
    for name, classes in TOYS.items():
        plug: Any = classes[side]()
        plug.name = name
        plugs.append(plug)
    return plugs


@hookimpl
def sasl_server_plug_init(utils: SaslUtils) -> Sequence[ServerPlug]:
    return _made(0)


@hookimpl
def sasl_client_plug_init(utils: SaslUtils) -> Sequence[ClientPlug]:
    return _made(1)
