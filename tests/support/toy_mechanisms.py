"""A sound toy mechanism, and toys that are each wrong in one way: the kit has to tell.

client: <binding type, "y" or nothing> NUL <authzid> NUL <authid>
server: <nonce>
client: <MAC of the password over both, and the binding> : <the binding's data>
server: <MAC of the password over the client's response>
"""

from __future__ import annotations

import hmac
from typing import TYPE_CHECKING, Any

from sasl_core.plugin import (
    AuthenticationError,
    BindingPolicy,
    ClientPlug,
    Feature,
    NeedDerivation,
    NeedPeer,
    NeedUser,
    PeerError,
    PromptId,
    SecurityFlag,
    ServerPlug,
    Success,
    hookimpl,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from sasl_core.plugin import (
        ClientContext,
        Needs,
        SaslUtils,
        ServerContext,
        User,
        Verified,
        VerifiedPeer,
    )

SASL_PLUGIN_API = 1

FLAGS = (
    SecurityFlag.NOPLAINTEXT
    | SecurityFlag.NOACTIVE
    | SecurityFlag.NOANONYMOUS
    | SecurityFlag.MUTUAL_AUTH
)


def mac(password: bytes, *parts: bytes) -> bytes:
    text = b"".join(b"%d:%b" % (len(part), part) for part in parts)
    return hmac.digest(password, text, "sha256").hex().encode()


class Server(ServerPlug):
    """The sound server."""

    name = "X-SOUND"
    security_flags = FLAGS
    features = Feature.WANT_CLIENT_FIRST | Feature.ALLOWS_PROXY | Feature.CHANNEL_BINDING

    def nonce(self, ctx: ServerContext) -> bytes:
        return ctx.utils.random(12).hex().encode()

    def parse(self, message: bytes) -> list[str]:
        try:
            parts = message.decode().split("\0")
        except UnicodeDecodeError:
            parts = []
        if len(parts) != 3 or not parts[2]:
            raise PeerError("three parts are due, in UTF-8", code="toy")
        return parts

    def response(self, message: bytes) -> tuple[bytes, bytes]:
        head, _, tail = message.partition(b":")
        try:
            data = bytes.fromhex(tail.decode("ascii"))
        except ValueError:
            data = b""
        if data.hex().encode() != tail:
            raise PeerError("a response and a binding are due", code="toy")
        return head, data

    def look_up(self, flag: str, authzid: str, authid: str) -> Needs[User]:
        return (yield from NeedUser(authid, authzid or None, ("*userPassword",)))

    def password(self, ctx: ServerContext, user: User) -> bytes:
        known = user.properties.get("*userPassword")
        user.properties.erase("*userPassword")
        return known[0] if known else b"nobody has this password"

    def verify(
        self, ctx: ServerContext, user: User, expected: bytes, given: bytes
    ) -> Needs[Verified]:
        yield from ()
        return ctx.verify_equal(user, expected, given, how="toy")

    def check_flag(self, ctx: ServerContext, flag: str) -> None:
        if flag == "y" and ctx.binding_was_possible():
            ctx.refuse("the binding was hidden")
        if ctx.plus != (flag not in ("", "y")):
            ctx.refuse("the binding does not fit the name")

    def converse(self, ctx: ServerContext) -> Needs[Success]:
        first = yield from NeedPeer()
        flag, authzid, authid = self.parse(first)
        self.check_flag(ctx, flag)
        user = yield from self.look_up(flag, authzid, authid)
        nonce = self.nonce(ctx)
        answer = yield from NeedPeer(nonce)
        given, binding = self.response(answer)
        if ctx.plus:
            ctx.verify_binding(flag, b"", binding)
        elif binding:
            raise PeerError("a binding out of place", code="toy")
        password = self.password(ctx, user)
        expected = mac(password, first, nonce, binding)
        verified = yield from self.verify(ctx, user, expected, given)
        return Success(verified, data=self.proof(password, answer))

    def proof(self, password: bytes, answer: bytes) -> bytes:
        return mac(password, b"server", answer)


class Client(ClientPlug):
    """The sound client."""

    name = "X-SOUND"
    security_flags = FLAGS
    features = Server.features
    required_prompts = (PromptId.AUTHNAME, PromptId.PASS)

    def first(self, flag: str, authzid: str, authid: str, password: str) -> bytes:
        return f"{flag}\0{authzid}\0{authid}".encode()

    def who(self, ctx: ClientContext, authid: str, authzid: str | None) -> User:
        return ctx.canon_user(authid, authzid)

    def believe(self, ctx: ClientContext, expected: bytes, given: bytes) -> VerifiedPeer:
        return ctx.verified_peer(expected, given, how="toy")

    def flag(self, ctx: ClientContext, bound: tuple[str, bytes] | None) -> str:
        if bound is not None:
            return bound[0]
        able = ctx.facts.channel_bindings and ctx.facts.binding_policy is not BindingPolicy.OFF
        return "y" if able and f"{ctx.mechanism}-PLUS" not in ctx.offered else ""

    def converse(self, ctx: ClientContext) -> Needs[Success]:
        authid, text, authzid = yield from ctx.ask(PromptId.AUTHNAME, PromptId.PASS, PromptId.USER)
        self.who(ctx, authid, authzid or None)
        bound = ctx.bind()
        password = text.encode()
        first = self.first(self.flag(ctx, bound), authzid, authid, text)
        nonce = yield from NeedPeer(first)
        if len(nonce) != 24:
            raise PeerError("a nonce is due", code="toy")
        binding = b"" if bound is None else bound[1]
        answer = mac(password, first, nonce, binding) + b":" + binding.hex().encode()
        proof = yield from NeedPeer(answer)
        return Success(peer=self.believe(ctx, mac(password, b"server", answer), proof))


# --- each wrong in one way -------------------------------------------------------------------


class FlagsClient(Client):
    """Says of itself what the server does not say."""

    security_flags = FLAGS | SecurityFlag.FORWARD_SECRECY


class PlaintextServer(Server):
    def parse(self, message: bytes) -> list[str]:
        return super().parse(message.rpartition(b"\0")[0])


class PlaintextClient(Client):
    """Sends the password."""

    def first(self, flag: str, authzid: str, authid: str, password: str) -> bytes:
        return f"{flag}\0{authzid}\0{authid}\0{password}".encode()


class SomebodyClient(Client):
    """Believes to be somebody else."""

    def who(self, ctx: ClientContext, authid: str, authzid: str | None) -> User:
        return ctx.canon_user(f"not-{authid}", authzid)


class UnboundServer(Server):
    """Does not mind that somebody has hidden -PLUS."""

    def check_flag(self, ctx: ServerContext, flag: str) -> None:
        pass


class TwiceServer(Server):
    """Derives twice when the response is wrong."""

    def verify(
        self, ctx: ServerContext, user: User, expected: bytes, given: bytes
    ) -> Needs[Verified]:
        if expected != given:
            for salt in (b"one", b"two"):
                _ = yield from NeedDerivation("SHA-256", b"password", salt, 10)
        return ctx.verify_equal(user, expected, given, how="toy")


class TellingClient(Client):
    """Puts the password into the detail."""

    detail: Callable[[str], None]

    def first(self, flag: str, authzid: str, authid: str, password: str) -> bytes:
        self.detail(f"logging in with {password}")
        return super().first(flag, authzid, authid, password)

    def who(self, ctx: ClientContext, authid: str, authzid: str | None) -> User:
        self.detail = ctx.seterror
        return super().who(ctx, authid, authzid)


class OpenServer(Server):
    """Lets everybody in."""

    attests = True

    def verify(
        self, ctx: ServerContext, user: User, expected: bytes, given: bytes
    ) -> Needs[Verified]:
        yield from ()
        return ctx.attest(user, how="toy")


class LaxServer(Server):
    """Reads the response in any case, and as much of it as it needs."""

    def response(self, message: bytes) -> tuple[bytes, bytes]:
        return super().response(message.lower()[:65])

    def proof(self, password: bytes, answer: bytes) -> bytes:
        return super().proof(password, answer.lower()[:65])


class RaisingServer(Server):
    """Lets a UnicodeDecodeError out."""

    def parse(self, message: bytes) -> list[str]:
        message.decode()
        return super().parse(message)


class PatientServer(Server):
    """Passes over what it cannot read, and waits for something better."""

    def converse(self, ctx: ServerContext) -> Needs[Success]:
        first = yield from NeedPeer()
        flag, authzid, authid = self.parse(first)
        self.check_flag(ctx, flag)
        user = yield from self.look_up(flag, authzid, authid)
        nonce = self.nonce(ctx)
        password = self.password(ctx, user)
        expected = mac(password, first, nonce, b"") + b":"
        heard = b""
        answer = yield from NeedPeer(nonce)
        while not (heard := heard + answer).endswith(expected) and len(heard) < 1000:
            answer = yield from NeedPeer(b"")
        given = heard[-len(expected) :]
        verified = ctx.verify_equal(user, expected, given, how="toy")
        return Success(verified, data=self.proof(password, given))


class PatientClient(Client):
    """Passes over what is empty."""

    def converse(self, ctx: ClientContext) -> Needs[Success]:
        authid, text, authzid = yield from ctx.ask(PromptId.AUTHNAME, PromptId.PASS, PromptId.USER)
        self.who(ctx, authid, authzid or None)
        password = text.encode()
        first = self.first("", authzid, authid, text)
        nonce = yield from NeedPeer(first)
        answer = mac(password, first, nonce, b"") + b":"
        proof = yield from NeedPeer(answer)
        while not proof:
            proof = yield from NeedPeer(b"")
        return Success(peer=self.believe(ctx, mac(password, b"server", answer), proof))


class BlamingServer(Server):
    """Calls what the client did an outage."""

    def response(self, message: bytes) -> tuple[bytes, bytes]:
        from sasl_core.plugin import BackendError

        try:
            return super().response(message)
        except PeerError:
            pass
        raise BackendError(detail="cannot read it")


class MuteServer(Server):
    """Does not say why."""

    def verify(
        self, ctx: ServerContext, user: User, expected: bytes, given: bytes
    ) -> Needs[Verified]:
        yield from ()
        if expected != given:
            raise AuthenticationError
        return ctx.verify_equal(user, expected, given, how="toy")


class GullibleClient(Client):
    """Takes any proof of the server."""

    attests = True

    def believe(self, ctx: ClientContext, expected: bytes, given: bytes) -> VerifiedPeer:
        return ctx.attest_peer(how="toy")


class StaticServer(Server):
    """Has the same nonce always."""

    def nonce(self, ctx: ServerContext) -> bytes:
        return b"0" * 24


class StaticChallengeServer(StaticServer):
    """The same, and says nothing of attacks: its challenge says enough."""

    security_flags = FLAGS & ~SecurityFlag.NOACTIVE


class SecondServer(Server):
    """Gives a second chance, and then lets in."""

    attests = True

    def verify(
        self, ctx: ServerContext, user: User, expected: bytes, given: bytes
    ) -> Needs[Verified]:
        if expected != given:
            yield from NeedPeer(b"no")
        return ctx.attest(user, how="toy")


class ChattyServer(Server):
    """Tells the peer why."""

    def verify(
        self, ctx: ServerContext, user: User, expected: bytes, given: bytes
    ) -> Needs[Verified]:
        yield from ()
        if expected != given:
            ctx.refuse(f"wrong response of {user.authid}", wire=b"wrong response of alice")
        return ctx.verify_equal(user, expected, given, how="toy")


class KnowingServer(Server):
    """Says at once that there is no such user."""

    def look_up(self, flag: str, authzid: str, authid: str) -> Needs[User]:
        user = yield from super().look_up(flag, authzid, authid)
        if user.found.result != 0:
            raise AuthenticationError(detail="no such user")
        return user


class NoAuthzidServer(Server):
    """Forgets as whom the client wants to act."""

    def look_up(self, flag: str, authzid: str, authid: str) -> Needs[User]:
        return (yield from super().look_up(flag, "", authid))


class BorrowingServer(Server):
    """Asks for the secret of the one as whom the client wants to act."""

    def look_up(self, flag: str, authzid: str, authid: str) -> Needs[User]:
        return (yield from super().look_up(flag, "", authzid or authid))


TOYS = {
    "X-SOUND": (Server, Client),
    "X-FLAGS": (Server, FlagsClient),
    "X-PLAINTEXT": (PlaintextServer, PlaintextClient),
    "X-SOMEBODY": (Server, SomebodyClient),
    "X-UNBOUND": (UnboundServer, Client),
    "X-TWICE": (TwiceServer, Client),
    "X-TELLING": (Server, TellingClient),
    "X-OPEN": (OpenServer, Client),
    "X-LAX": (LaxServer, Client),
    "X-RAISING": (RaisingServer, Client),
    "X-BLAMING": (BlamingServer, Client),
    "X-PATIENT": (PatientServer, PatientClient),
    "X-MUTE": (MuteServer, Client),
    "X-GULLIBLE": (Server, GullibleClient),
    "X-STATIC": (StaticServer, Client),
    "X-STATIC-CHALLENGE": (StaticChallengeServer, Client),
    "X-SECOND": (SecondServer, Client),
    "X-CHATTY": (ChattyServer, Client),
    "X-KNOWING": (KnowingServer, Client),
    "X-NOAUTHZID": (NoAuthzidServer, Client),
    "X-BORROWING": (BorrowingServer, Client),
}


def _made(side: int) -> list[Any]:
    plugs: list[Any] = []
    for name, classes in TOYS.items():
        plug = classes[side]()
        plug.name = name
        plugs.append(plug)
    return plugs


@hookimpl
def sasl_server_plug_init(utils: SaslUtils) -> Sequence[ServerPlug]:
    return _made(0)


@hookimpl
def sasl_client_plug_init(utils: SaslUtils) -> Sequence[ClientPlug]:
    return _made(1)
