"""What a hostile reviewer got in with, or saw, once: each attack, and that it fails."""

from __future__ import annotations

import asyncio
import traceback
from base64 import b64encode
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import pytest

from sasl_auxprop.memory import MemoryStore
from sasl_core import (
    AuthenticationError,
    BackendError,
    Blocking,
    Client,
    Decision,
    MechanismError,
    NeedCall,
    NeedPeer,
    NeedUser,
    PeerError,
    Result,
    SecurityFlag,
    Server,
    SetpassFlag,
    UsageError,
    aio,
)
from sasl_core.plugin import ServerContext, Success, derive, format_verifier
from sasl_core.plugin import verifier_from_salted_password as made_from
from toys import OPEN, Toys, server_plug

SECRET = "correct horse battery"


@pytest.fixture
def toys() -> Iterator[Toys]:
    """The built-in plugins, and those that the test adds."""
    with Toys() as toys:
        yield toys


def permit(*_: object) -> Decision:
    """A proxy policy that permits everything."""
    return Decision.PERMIT


# --- overlapping calls ------------------------------------------------------------------


def test_a_message_is_no_answer_on_the_server(toys: Toys) -> None:
    """A second step while a call is under way is refused, and does not stand in for its answer."""

    def body(ctx: ServerContext) -> Any:
        yield from NeedPeer()
        done = asyncio.Event()

        async def slow() -> bytes:
            await asyncio.wait_for(done.wait(), 5)
            return b"REFUSED"

        released.append(done)
        answer = yield from NeedCall(lambda: b"REFUSED", Blocking.REMOTE, slow)
        if answer != b"OK":
            ctx.refuse("the backend said no")
        return Success(ctx.attest(ctx.canon_user("root"), how="backend"))

    released: list[asyncio.Event] = []
    toys.mechanism(server_plug("CALL", body))

    async def attack() -> None:
        stores = [MemoryStore()]
        async with aio.Server("door", "here", stores=stores, registry=toys.registry()) as server:
            session = server.session()
            first = asyncio.create_task(session.start("CALL", b"hi"))
            # Once round the loop: it waits for its backend.
            await asyncio.sleep(0)
            with pytest.raises(UsageError):
                await session.step(b"OK")
            released[0].set()
            with pytest.raises(AuthenticationError):
                await first
            assert not session.done

    asyncio.run(attack())


def test_a_message_is_no_key_on_the_client() -> None:
    """An impostor's 32 bytes do not become the SaltedPassword of a client that derives one."""

    async def attack() -> None:
        async with aio.Client("smtp", "mail.example.com") as client:
            session = client.session(authid="tim", password="pencil")
            reply = await session.start("SCRAM-SHA-256")
            assert reply.data is not None
            nonce = reply.data.split(b"r=")[1]
            salt = b64encode(b"s" * 16)
            challenge = b"r=" + nonce + b"SRV,s=" + salt + b",i=200000"
            first = asyncio.create_task(session.step(challenge))
            # Once round the loop: it has begun to derive, and cannot have heard that it is done.
            await asyncio.sleep(0)
            with pytest.raises(UsageError):
                await session.step(b"\0" * 32)
            with pytest.raises(UsageError):
                await session.finish()
            assert (await first).data is not None
            assert not session.done

    asyncio.run(attack())


def test_a_client_is_done_when_the_server_has_said_so() -> None:
    """The mechanism has nothing to wait for; the identity is not read before `finish`."""
    with Client("smtp", "mail.example.com", config=OPEN) as client:
        session = client.session(authid="tim", password="pencil")
        assert session.start("PLAIN").done
        with pytest.raises(UsageError):
            _ = session.authid
        before = session.done
        session.finish()
        assert (before, session.done, session.authid) == (False, True, "tim")


# --- whom a proof is of -----------------------------------------------------------------


def test_a_verifier_proves_its_own_user_only(toys: Toys) -> None:
    """Alice's verifier and proof do not let bob in, whom the mechanism has looked up since."""
    store = MemoryStore()
    store.add_user("alice", password="alices", iterations=4096)
    store.add_user("bob", password="bobs", iterations=4096)

    def body(ctx: ServerContext) -> Any:
        yield from NeedPeer()
        alice = yield from NeedUser("alice", None, ("*authPassword",))
        verifier = ctx.verifier(alice, "SHA-256")
        bob = yield from NeedUser("bob")
        message = b"n=alice,r=1,r=12,s=x,i=4096,c=biws,r=12"
        from sasl_core.plugin import client_proof, stored_keys

        salted = derive("SHA-256", b"alices", verifier.salt, verifier.iterations)
        key, stored, _ = stored_keys("SHA-256", salted)
        proof = client_proof(key, stored, message, "SHA-256")
        return Success(ctx.verify_scram(bob, verifier, message, proof))

    toys.mechanism(server_plug("TWO", body, attests=False))
    server = Server("door", "here", stores=[store], registry=toys.registry())
    with server, pytest.raises(AuthenticationError):
        _ = server.session().start("TWO", b"x")


def test_a_password_proves_whom_it_was_checked_for(toys: Toys) -> None:
    """Another name canonicalised in the middle of the check is not let in by its outcome."""
    store = MemoryStore()
    store.add_user("alice", password="alices", iterations=4096)

    def body(ctx: ServerContext) -> Any:
        yield from NeedPeer()
        check = ctx.check_password("alice", "alices")
        answer: object = None
        while True:
            try:
                need = check.send(answer)
            except StopIteration as stop:
                return Success(stop.value)
            answer = yield from need
            if type(need).__name__ == "NeedDerivation":
                _ = ctx.canon_user("bob")

    toys.mechanism(server_plug("SWAP", body, attests=False))
    with Server("door", "here", stores=[store], registry=toys.registry()) as server:
        session = server.session()
        with suppress(AuthenticationError):
            _ = session.start("SWAP", b"x")
        assert not session.done


def test_a_way_of_ones_own_name_is_marked_as_such(toys: Toys) -> None:
    """`how="anonymous"` skips no look-up, and the record shows whose word it is."""
    store = MemoryStore()
    store.add_user("alice", password="alices", iterations=4096)
    store.add_user("bob", password="bobs", iterations=4096, disabled=True)
    seen: list[Any] = []

    def body(ctx: ServerContext) -> Any:
        yield from NeedPeer()
        user = yield from NeedUser("alice", "bob")
        return Success(ctx.verify_equal(user, b"x", b"x", how="anonymous"))

    toys.mechanism(server_plug("SAYS", body, attests=False))
    with Server(
        "door",
        "here",
        stores=[store],
        registry=toys.registry(),
        authorize=permit,
        audit=[seen.append],
    ) as server:
        with pytest.raises(AuthenticationError):
            _ = server.session().start("SAYS", b"x")
        assert seen[-1].how == "equal:anonymous"


# --- locked accounts --------------------------------------------------------------------


def external(ctx: ServerContext) -> Any:
    """EXTERNAL, as short as it gets."""
    authzid = (yield from NeedPeer()).decode() or None
    return Success(ctx.accept_external(authzid))


@pytest.mark.parametrize("properties", [(), ("mail",)])
def test_a_locked_account_is_closed_to_every_way(toys: Toys, properties: tuple[str, ...]) -> None:
    """EXTERNAL, an application's own check and PLAIN all find the account locked."""
    store = MemoryStore()
    store.add_user("alice", password=SECRET, iterations=4096, disabled=True)
    toys.mechanism(server_plug("EXTERNAL", external, attests=False))
    with Server(
        "door",
        "here",
        config=OPEN,
        stores=[store],
        registry=toys.registry(),
        checkpass=lambda *_: Result.OK,
    ) as server:
        session = server.session(external_id="alice", properties=properties)
        with pytest.raises(AuthenticationError):
            _ = session.start("EXTERNAL", b"")
        with pytest.raises(AuthenticationError):
            _ = server.checkpass("alice", SECRET)
        with pytest.raises(AuthenticationError):
            _ = server.session(properties=properties).start("PLAIN", b"\0alice\0x")
        assert server.session(external_id="carol").start("EXTERNAL", b"").done


def test_an_application_that_keeps_the_accounts_is_not_second_guessed() -> None:
    """With a callback and no store named, no store is asked: there need not be one."""
    with Server("door", "here", config=OPEN, checkpass=lambda *_: Result.OK) as server:
        assert server.checkpass("alice", "x") == "alice"


def test_a_new_password_is_no_pardon() -> None:
    """A locked account stays locked when its password is set; making the user anew opens it."""
    store = MemoryStore()
    store.add_user("alice", password="old", iterations=4096, disabled=True)
    with Server("door", "here", stores=[store]) as server:
        assert server.setpass("alice", "new").ok
        with pytest.raises(AuthenticationError):
            _ = server.checkpass("alice", "new")
        assert server.setpass("alice", "newer", SetpassFlag.CREATE).ok
        assert server.checkpass("alice", "newer") == "alice"


# --- known and unknown users --------------------------------------------------------------


def outcome(server: Server, user: str) -> tuple[str, str]:
    """What a wrong password comes to."""
    with pytest.raises((AuthenticationError, BackendError)) as caught:
        _ = server.checkpass(user, "wrong")
    return type(caught.value).__name__, str(caught.value)


def first_challenge(server: Server, user: str) -> int:
    """The length of the server's first SCRAM message."""
    with server.session() as session:
        reply = session.start("SCRAM-SHA-256", b"n,,n=%s,r=abcdefgh" % user.encode())
        assert reply.data is not None
        return len(reply.data)


def test_a_verifier_beyond_the_cap_shows_nobody() -> None:
    """An account whose verifier costs too much fails as an unknown one does."""
    store = MemoryStore()
    salted = derive("SHA-256", b"pencil", b"s" * 16, 4096)
    verifier = made_from("SHA-256", salted, b"s" * 16, 2_000_000)
    store.add_user("alice", properties={}, verifiers=[verifier])
    with Server("door", "here", stores=[store]) as server:
        assert outcome(server, "alice") == outcome(server, "ghost")


def test_a_damaged_verifier_shows_nobody() -> None:
    """An account whose verifier cannot be read is challenged, and refused, as an unknown one."""

    class Damaged(MemoryStore):
        def read(self, user: Any, names: Any) -> Any:
            found = super().read(user, names)
            if found.result is not Result.OK:
                return found
            from sasl_core import Found

            return Found(values={"authPassword": (b"SCRAM-SHA-256$4096:!!$x:y",)})

    store = Damaged()
    store.add_user("alice", password="pencil", iterations=4096)
    with Server("door", "here", stores=[store], config=OPEN) as server:
        assert first_challenge(server, "alice") == first_challenge(server, "ghostt"[:5])
        assert outcome(server, "alice") == outcome(server, "ghost")


def test_a_store_that_is_refused_elsewhere_refuses_nobody() -> None:
    """What a store's own login comes to is an outage, and not a wrong password."""

    class Refused(MemoryStore):
        def read(self, user: Any, names: Any) -> Any:
            raise AuthenticationError(detail="our own bind failed")

    with Server("door", "here", stores=[Refused()], config=OPEN) as server:
        with pytest.raises(BackendError) as caught:
            _ = server.session().start("PLAIN", b"\0alice\0x")
        assert "our own bind failed" in (caught.value.detail or "")
        with pytest.raises(BackendError):
            _ = server.user_exists("alice")


# --- secrets --------------------------------------------------------------------------------


def test_a_swallowed_refusal_keeps_no_frames(toys: Toys) -> None:
    """After an error challenge the refusal that doomed the exchange holds no password."""
    store = MemoryStore()
    store.add_user("alice", password="other", iterations=4096)
    contexts: list[ServerContext] = []

    def body(ctx: ServerContext) -> Any:
        contexts.append(ctx)
        password = (yield from NeedPeer()).decode()
        with suppress(AuthenticationError):
            _ = yield from ctx.check_password("alice", password)
        del password
        _ = yield from NeedPeer(b"error challenge")
        raise PeerError("closing")

    toys.mechanism(server_plug("SWALLOW", body, attests=False))
    with Server("door", "here", stores=[store], registry=toys.registry()) as server:
        session = server.session()
        assert session.start("SWALLOW", SECRET.encode()).data == b"error challenge"
        refusal = contexts[0].error
        assert refusal is not None
        assert refusal.__traceback__ is None
        assert session.raw().need is None
        with pytest.raises(PeerError) as caught:
            _ = session.step(b"")
        assert SECRET not in "".join(traceback.format_exception(caught.value))


# --- policy ---------------------------------------------------------------------------------


def test_anonymous_access_opens_no_clear_text(toys: Toys) -> None:
    """A mechanism whose author forgot NOANONYMOUS still needs TLS for its password."""

    def body(ctx: ServerContext) -> Any:
        _ = yield from NeedPeer()
        return Success(ctx.accept_anonymous(""))

    toys.mechanism(
        server_plug("LEAKY", body, security_flags=SecurityFlag.PASS_CREDENTIALS, attests=False)
    )
    config = {"allow_anonymous": True}
    with Server("door", "here", config=config, registry=toys.registry()) as server:
        session = server.session()
        assert "LEAKY" not in session.mechanisms()
        assert "allow_cleartext" in session.rejected["LEAKY"]


def test_a_client_with_a_name_does_not_become_nobody() -> None:
    """A server, or whoever sits before it, that offers only ANONYMOUS gets no login by name."""
    with Client("smtp", "mail.example.com", config={"allow_anonymous": True}) as client:
        with pytest.raises(MechanismError, match="client_mech_list"):
            _ = client.session(authid="alice", password="pw").start("ANONYMOUS")
        assert client.session(trace="guest").start("ANONYMOUS").done


def test_transition_leaves_another_plaintext_alone() -> None:
    """A stored password that is not the one that was verified is not overwritten."""
    from sasl_core import UserName

    store = MemoryStore(plaintext=True)
    with Server(
        "door",
        "here",
        stores=[store],
        checkpass=lambda *_: Result.OK,
        config=OPEN | {"auto_transition": "yes"},
    ) as server:
        from sasl_core.plugin import Change

        change = Change({"userPassword": (b"stored secret",)}, create=True)
        assert store.write(UserName("alice"), change) is Result.OK
        assert server.checkpass("alice", "other") == "alice"
    found = store.read(UserName("alice"), ("userPassword", "authPassword"))
    assert found.values["userPassword"] == (b"stored secret",)
    assert not found.verifiers


def test_a_store_may_not_ask_the_policy() -> None:
    """A body that yields NeedAuthorize on its own is refused, and the policy is not called."""
    from sasl_core import NeedAuthorize, PluginError, PropertyContext

    asked: list[object] = []

    class Asking(MemoryStore):
        def lookup(self, user: Any, names: Any) -> Any:
            _ = yield from NeedAuthorize("root", "root", PropertyContext())
            return self.read(user, names)

    def policy(*arguments: object) -> Decision:
        asked.append(arguments)
        return Decision.PERMIT

    server = Server("door", "here", stores=[Asking()], config=OPEN, authorize=policy)
    with server, pytest.raises(PluginError):
        _ = server.session().start("PLAIN", b"\0alice\0x")
    assert asked == []


@pytest.mark.parametrize("realm", ["a@b", "a b", 5, "x\n"])
def test_a_realm_that_cannot_be_one_is_refused(realm: Any) -> None:
    """The Server's own argument obeys the rules of `user_realm`."""
    with pytest.raises(UsageError, match="realm"):
        _ = Server("door", "here", realm=realm)


# --- the loop ---------------------------------------------------------------------------------


def test_closing_a_server_cancels_nobody() -> None:
    """Logins that are under way end with an error of ours, and no task is cancelled."""
    store = MemoryStore()
    store.add_user("alice", password="pencil", iterations=50_000)

    async def attack() -> list[object]:
        server = aio.Server("door", "here", stores=[store], config=OPEN)
        logins = [server.session().start("PLAIN", b"\0alice\0pencil") for _ in range(40)]
        waiting = asyncio.gather(*logins, return_exceptions=True)
        # Once round the loop: all have begun, and forty times 50,000 rounds are not done yet.
        await asyncio.sleep(0)
        await server.close()
        return list(await waiting)

    results = asyncio.run(attack())
    assert not any(isinstance(result, asyncio.CancelledError) for result in results)
    assert any(isinstance(result, BackendError) for result in results)


def test_a_listener_that_exits_spoils_no_login() -> None:
    """SystemExit in an audit listener is logged."""

    def leave(_: object) -> None:
        raise SystemExit(3)

    store = MemoryStore()
    store.add_user("alice", password="pencil", iterations=4096)
    with Server("door", "here", stores=[store], config=OPEN, audit=[leave]) as server:
        assert server.session().start("PLAIN", b"\0alice\0pencil").done


def test_a_stored_verifier_reads_back() -> None:
    """What the tests above store is what `setpass` would."""
    salted = derive("SHA-256", b"pencil", b"s" * 16, 4096)
    verifier = made_from("SHA-256", salted, b"s" * 16, 4096)
    assert format_verifier(verifier).startswith(b"SCRAM-SHA-256$4096:")


def test_an_outage_between_two_words_spoils_no_login() -> None:
    """The callback passes, the store is out, a method says OK: the user is in."""

    class Out(MemoryStore):
        def read(self, user: Any, names: Any) -> Any:
            if "authPassword" in names:
                raise BackendError(detail="down")
            return super().read(user, names)

    from sasl_core import PasswordAnswer
    from sasl_core.plugin import PwcheckPlug

    class Yes(PwcheckPlug):
        name = "yes"

        def check_password(self, user: Any, password: bytes, service: str) -> Any:
            yield from ()
            return PasswordAnswer(Result.OK)

    with Toys() as toys:
        toys.plug("pwcheck", Yes())
        config = OPEN | {"pwcheck_method": ["auxprop", "yes"]}
        with Server(
            "door",
            "here",
            stores=[Out()],
            config=config,
            registry=toys.registry(),
            checkpass=lambda *_: Result.NOVERIFY,
        ) as server:
            assert server.checkpass("alice", "x") == "alice"


def challenge(server: Server, user: str) -> bytes:
    """The server's first SCRAM message, from the salt on."""
    with server.session() as session:
        reply = session.start("SCRAM-SHA-256", b"n,,n=%s,r=abcdefgh" % user.encode())
        assert reply.data is not None
        return reply.data.partition(b",s=")[2]


def test_decoys_behind_two_stores_have_the_rounds_of_the_users() -> None:
    """The rounds of an unknown user are those of the known ones, whichever store has them."""
    first, second = MemoryStore(), MemoryStore()
    second.add_user("alice", password="pencil", iterations=5000)
    with Server("door", "here", stores=[first, second]) as server:
        assert challenge(server, "alice").endswith(b",i=5000")
        assert challenge(server, "ghost").endswith(b",i=5000")
        assert challenge(server, "ghost") == challenge(server, "ghost")


# --- the second review ----------------------------------------------------------------------


def test_a_store_that_has_a_table_keeps_accounts(tmp_path: Any) -> None:
    """A sasldb that is configured by its table alone locks users out of the callback's way too."""
    config = OPEN | {"auxprop": {"sasldb": {"path": str(tmp_path / "db")}}}
    with Server("door", "here", config=config, checkpass=lambda *_: Result.OK) as server:
        assert server.setpass("alice", "pencil", SetpassFlag.CREATE).ok
        assert server.checkpass("alice", "whatever") == "alice"
        assert server.setpass("alice", None, SetpassFlag.DISABLE).ok
        with pytest.raises(AuthenticationError):
            _ = server.checkpass("alice", "whatever")


def test_a_closed_session_does_not_come_back_to_life() -> None:
    """Closed by a listener in the middle of its last step, it stays closed."""
    sessions: list[Any] = []

    def listen(event: Any) -> None:
        if event.kind == "transition":
            sessions[0].close()

    config = OPEN | {"auto_transition": "yes"}
    with Server(
        "door",
        "here",
        stores=[MemoryStore()],
        config=config,
        checkpass=lambda *_: Result.OK,
        audit=[listen],
    ) as server:
        session = server.session()
        sessions.append(session)
        with pytest.raises(UsageError) as caught:
            _ = session.start("PLAIN", b"\0alice\0pw")
        assert caught.value.code == "closed"
        assert not session.done
        with pytest.raises(UsageError):
            _ = session.encode(b"plain")


def test_a_log_handler_that_raises_changes_nothing() -> None:
    """A wrong password stays a wrong password, and nothing foreign escapes."""
    import logging

    class Broken(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            raise ValueError("no room")

    store = MemoryStore()
    store.add_user("alice", password="pencil", iterations=4096)
    logger = logging.getLogger("sasl_core.door")
    handler = Broken()
    logger.addHandler(handler)
    try:
        with Server("door", "here", stores=[store], config=OPEN) as server:
            with pytest.raises(AuthenticationError):
                _ = server.checkpass("alice", "wrong")
            assert server.checkpass("alice", "pencil") == "alice"
    finally:
        logger.removeHandler(handler)
