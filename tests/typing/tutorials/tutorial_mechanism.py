# Written by tests/tools/write_tutorials.py from docs/tutorials/mechanism.md: change the page.
# pyright: reportUnusedCallResult=false
from __future__ import annotations

import hmac
import secrets
from collections.abc import Mapping, Sequence

from sasl_core.plugin import (
    Availability, Blocking, ClientContext, ClientPlug, Feature, NeedCall, NeedDerivation, NeedPeer,
    Needs, NeedUser, PeerError, PromptId, SaslUtils, SecurityFlag, ServerContext, ServerPlug,
    SetpassFlag, Success, UserName, hookimpl, saslprep,
)

SASL_PLUGIN_API = 1

DIGITS = 32
ROUNDS = 4096
PROTECTS = (
    SecurityFlag.NOPLAINTEXT    # the password is not sent
    | SecurityFlag.NOACTIVE     # nobody in between can take over
    | SecurityFlag.NOANONYMOUS  # there is somebody in the end
    | SecurityFlag.MUTUAL_AUTH  # the server proves itself
)


def prove(key: bytes, side: bytes, said: bytes) -> bytes:
    """The proof of `side` that it knows the key."""
    return hmac.digest(key, side + said, "sha256").hex().encode()


def digits() -> bytes:
    """Unpredictable digits, for a salt or a nonce."""
    return secrets.token_hex(DIGITS // 2).encode()


class Book:
    """Salt and key of each user."""

    def __init__(self) -> None:
        self.pages: dict[str, tuple[bytes, bytes]] = {}
        self._decoys = secrets.token_bytes(32)

    def look_up(self, user: str) -> tuple[bytes, bytes]:
        """Salt and key of `user`; made up for one who has none."""
        salt = prove(self._decoys, b"salt", user.encode())[:DIGITS]
        key = prove(self._decoys, b"key", user.encode())
        return self.pages.get(user, (salt, key))

    def change(self, user: str, page: tuple[bytes, bytes] | None) -> None:
        """Set the secret of `user`; with None, remove it."""
        if page is None:
            self.pages.pop(user, None)
        else:
            self.pages[user] = page


class KnockServer(ServerPlug):
    name = "X-KNOCK"
    security_flags = PROTECTS
    features = Feature.WANT_CLIENT_FIRST

    def __init__(self, book: Book) -> None:
        self.book = book

    def converse(self, ctx: ServerContext) -> Needs[Success]:
        hello = yield from NeedPeer()
        try:
            name = hello.decode()
        except UnicodeDecodeError:
            raise PeerError("the user name is not UTF-8") from None
        user = yield from NeedUser(name)
        salt, key = self.book.look_up(user.authid)

        challenge = salt + digits()
        response = yield from NeedPeer(challenge)

        said = hello + challenge
        expected = prove(key, b"client", said)
        verified = ctx.verify_equal(user, expected, response, how="knock")
        return Success(verified, data=prove(key, b"server", said))

    def setpass(
        self, user: UserName, password: bytes | None, flags: SetpassFlag
    ) -> Needs[Mapping[str, tuple[bytes, ...]] | None]:
        page = None
        if password is not None:
            salt = digits()
            page = (salt, (yield from NeedDerivation("SHA-256", password, salt, ROUNDS)))
        yield from NeedCall(lambda: self.book.change(str(user), page), Blocking.NEVER)
        return {}

    def available(self, user: str) -> Availability:
        return Availability.YES if user in self.book.pages else Availability.LATER


class KnockClient(ClientPlug):
    name = "X-KNOCK"
    security_flags = PROTECTS
    features = Feature.WANT_CLIENT_FIRST
    required_prompts = (PromptId.AUTHNAME, PromptId.PASS)

    def converse(self, ctx: ClientContext) -> Needs[Success]:
        authid, password = yield from ctx.ask(PromptId.AUTHNAME, PromptId.PASS)
        hello = ctx.canon_user(authid).authid.encode()

        challenge = yield from NeedPeer(hello)
        if len(challenge) != 2 * DIGITS:
            raise PeerError(f"the challenge has {len(challenge)} bytes, not {2 * DIGITS}")
        prepared = saslprep(password).encode()
        key = yield from NeedDerivation("SHA-256", prepared, challenge[:DIGITS], ROUNDS)
        said = hello + challenge

        answer = yield from NeedPeer(prove(key, b"client", said))
        peer = ctx.verified_peer(prove(key, b"server", said), answer, how="knock")
        return Success(peer=peer)


BOOK = Book()


@hookimpl
def sasl_server_plug_init(utils: SaslUtils) -> Sequence[ServerPlug]:
    return [KnockServer(BOOK)]


@hookimpl
def sasl_client_plug_init(utils: SaslUtils) -> Sequence[ClientPlug]:
    return [KnockClient()]


from sasl_auxprop.memory import MemoryStore
from sasl_core import AuthenticationError, Client, Registry, Server
from sasl_core.testing import declare

registry = declare({"mechanisms": {"X-KNOCK": __name__}})
server = Server("door", "house.example.com", stores=[MemoryStore()], registry=registry)
client = Client("door", "house.example.com", registry=registry)

report = server.setpass("tim", "knock knock", SetpassFlag.CREATE)
for target in report.targets:
    print(target.target, target.result.name)


def login(user: str, password: str) -> str:
    """Both ends in one program; between them your protocol would carry the bytes."""
    with server.session() as ours, client.session(authid=user, password=password) as theirs:
        hello = theirs.start(["X-KNOCK"])
        reply = ours.start("X-KNOCK", hello.data)
        while not reply.done:
            assert reply.data is not None
            response = theirs.step(reply.data).data
            assert response is not None
            reply = ours.step(response)
        theirs.finish(reply.data)
        return ours.authid


assert login("tim", "knock knock") == "tim"


for name, password in (("tim", "who is there"), ("tom", "knock knock")):
    try:
        print(login(name, password))
    except AuthenticationError as error:
        print(error, "--", error.detail)


from sasl_core.testing import Credentials, MechanismConformance


class TestKnock(MechanismConformance):
    mechanism = "X-KNOCK"
    credentials = Credentials("tim", "knock knock")
    wrong_credentials = Credentials("tim", "knock knack")
    expected_authid = "tim"
    indistinguishable = {"an unknown user": Credentials("tom", "knock knack")}

    def registry(self) -> Registry:
        return registry

    def stores(self) -> tuple[MemoryStore, ...]:
        store = MemoryStore()
        store.add_user("tim")
        return (store,)


TestKnock().test_logins()
TestKnock().test_wrong_secret()
TestKnock().test_users_cannot_be_told_apart()
