"""Any calls in any order, on several sessions of one Server and one Client at once.

Whoever is let in is checked here from the recorded messages alone, with hashlib and not
with the code under test: nobody is ever let in without a valid proof.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
from functools import lru_cache
from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from logins import USERS, client, server
from sasl_core import Decision, Reply, Result, SaslError
from sasl_core.needs import (
    Found,
    NeedAuthorize,
    NeedCallback,
    NeedDerivation,
    NeedPassword,
    NeedUser,
    PasswordAnswer,
)

SERVER = server()
CLIENT = client()
BINDING = {"tls-exporter": bytes(range(32))}
NAMES = ("PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-256-PLUS", "ANONYMOUS", "CRAM-MD5", "")


@lru_cache(maxsize=64)
def salted(word: str, salt: bytes, rounds: int) -> bytes:
    return hashlib.pbkdf2_hmac("sha256", word.encode(), salt, rounds)


def fields(message: bytes) -> dict[bytes, bytes]:
    return dict(part.split(b"=", 1) for part in message.split(b",") if part[1:2] == b"=")


class Side:
    """A session, what it heard and what it said."""

    def __init__(self, session: Any, word: str = "") -> None:
        self.session = session
        self.word = word
        self.heard: list[bytes] = []
        self.said: list[bytes] = []

    def note(self, heard: bytes | None, reply: Any) -> None:
        if heard:
            self.heard.append(heard)
        if isinstance(reply, Reply) and reply.data:
            self.said.append(reply.data)


def plain_is_valid(side: Side) -> bool:
    authzid, authid, word = side.heard[-1].decode().split("\0")
    mine = side.session.authid == authid and side.session.authzid == (authzid or authid)
    return mine and USERS.get(authid) == word and authzid in ("", authid)


def scram_is_valid(side: Side) -> bool:
    first, final = side.heard[0], side.heard[1]
    challenge = fields(side.said[0])
    header, bare = first[: first.index(b"n=", 3)], first[first.index(b"n=", 3) :]
    user = fields(bare)[b"n"].decode()
    word = USERS[user]
    without, _, proof = final.rpartition(b",p=")
    message = b",".join((bare, side.said[0], without))
    key = salted(word, base64.b64decode(challenge[b"s"]), int(challenge[b"i"]))
    client_key = hmac.digest(key, b"Client Key", "sha256")
    signature = hmac.digest(hashlib.sha256(client_key).digest(), message, "sha256")
    wanted = bytes(a ^ b for a, b in zip(client_key, signature, strict=True))
    bound = BINDING["tls-exporter"] if header.startswith(b"p=") else b""
    return (
        side.session.authid == user
        and base64.b64decode(proof) == wanted
        and base64.b64decode(fields(final)[b"c"]) == header + bound
        and fields(final)[b"r"] == challenge[b"r"]
    )


def server_was_valid(side: Side) -> bool:
    """Whether a client that believes its server had a reason to."""
    challenge = fields(side.heard[0])
    bare = side.said[0][side.said[0].index(b"n=", 3) :]
    without = side.said[1].rpartition(b",p=")[0]
    key = salted(side.word, base64.b64decode(challenge[b"s"]), int(challenge[b"i"]))
    server_key = hmac.digest(key, b"Server Key", "sha256")
    message = b",".join((bare, side.heard[0], without))
    wanted = hmac.digest(server_key, message, "sha256")
    return base64.b64decode(fields(side.heard[1])[b"v"]) == wanted


class AnyOrder(RuleBasedStateMachine):
    """Sessions come and go; everything anybody has said may be sent to anybody."""

    def __init__(self) -> None:
        super().__init__()
        self.servers: list[Side] = []
        self.clients: list[Side] = []

    def call(self, side: Side, heard: bytes | None, method: Any, *arguments: Any) -> None:
        """Make a call: it returns a Reply, or raises what is ours."""
        try:
            reply = method(*arguments)
        except SaslError:
            return
        assert reply is None or isinstance(reply, Reply)
        side.note(heard, reply)

    # --- sessions begin -----------------------------------------------------------

    @rule(binds=st.booleans(), success_data=st.booleans())
    def new_server(self, binds: bool, success_data: bool) -> None:
        facts: dict[str, Any] = {"channel_bindings": BINDING if binds else {}}
        self.servers.append(Side(SERVER.session(success_data=success_data, **facts)))

    @rule(
        binds=st.booleans(),
        initial=st.booleans(),
        user=st.sampled_from(sorted(USERS)),
        right=st.booleans(),
        offered=st.lists(st.sampled_from(NAMES), min_size=1, max_size=3),
    )
    def new_client(
        self, binds: bool, initial: bool, user: str, right: bool, offered: list[str]
    ) -> None:
        word = USERS[user] if right else "wrong"
        side = Side(
            CLIENT.session(
                authid=user,
                password=word,
                initial_response=initial,
                channel_bindings=BINDING if binds else {},
            ),
            word,
        )
        self.clients.append(side)
        self.call(side, None, side.session.start, offered)

    # --- messages go anywhere -----------------------------------------------------

    @precondition(lambda self: self.servers and self.clients)
    @rule(data=st.data())
    def server_starts(self, data: Any) -> None:
        side = data.draw(st.sampled_from(self.servers), "server")
        peer = data.draw(st.sampled_from(self.clients), "client")
        name = data.draw(st.sampled_from(NAMES) | st.just(peer.session.mechanism or "PLAIN"))
        message = data.draw(st.none() | st.binary(max_size=9) | st.sampled_from([*peer.said, b""]))
        self.call(side, message, side.session.start, name, message)

    @precondition(lambda self: self.servers and self.clients)
    @rule(data=st.data())
    def server_steps(self, data: Any) -> None:
        side = data.draw(st.sampled_from(self.servers), "server")
        peer = data.draw(st.sampled_from(self.clients), "client")
        message = data.draw(st.binary(max_size=9) | st.sampled_from([b"", *peer.said[-1:]] * 3))
        self.call(side, message, side.session.step, message)

    @precondition(lambda self: self.servers and self.clients)
    @rule(data=st.data(), finish=st.booleans())
    def client_steps(self, data: Any, finish: bool) -> None:
        side = data.draw(st.sampled_from(self.clients), "client")
        peer = data.draw(st.sampled_from(self.servers), "server")
        message = data.draw(st.binary(max_size=9) | st.sampled_from([b"", *peer.said[-1:]] * 3))
        method = side.session.finish if finish else side.session.step
        self.call(side, message, method, message)

    @rule(right=st.booleans(), name=st.sampled_from(NAMES[:4]), turns=st.integers(0, 5))
    def a_new_pair(self, right: bool, name: str, turns: int) -> None:
        """Two that mean each other, for some messages, as far as they get."""
        self.new_server(binds=name.endswith("PLUS"), success_data=False)
        self.new_client(
            binds=name.endswith("PLUS"), initial=True, user="tim", right=right, offered=[name]
        )
        near, far = self.servers[-1], self.clients[-1]
        first = far.said[0] if far.said else None
        self.call(near, first, near.session.start, name, first)
        for turn in range(turns):
            to, by = (near, far) if turn % 2 else (far, near)
            message = by.said[-1] if by.said and turn < 3 else b""
            self.call(to, message, to.session.step, message)

    # --- the raw negotiation, answered wrongly ------------------------------------

    @precondition(lambda self: self.servers)
    @rule(
        data=st.data(),
        answer=st.sampled_from(
            [
                b"", b"\0tim\0tanstaaftanstaaf", Result.OK, True, None, (), Found(Result.OK),
                Decision.PERMIT,
                PasswordAnswer(Result.OK), Reply(b"x", done=True), ("a", "b", "c"), 5,
            ]
        ),
        hears=st.booleans(),
    )  # fmt: skip
    def raw_calls(self, data: Any, answer: object, hears: bool) -> None:
        side = data.draw(st.sampled_from(self.servers + self.clients), "session")
        raw = side.session.raw()
        # Nothing surfaces between the calls of a blocking session: no need waits here.
        for method, argument in ((raw.answer, answer), (raw.fail, ValueError("x"))):
            try:
                _ = method(argument)
            except SaslError:
                continue
            raise AssertionError(method)
        if not isinstance(answer, bytes) or not hears:
            return
        try:
            event = raw.hear(answer)
        except SaslError:
            return
        side.note(answer, event)
        while not isinstance(event, Reply):
            assert isinstance(
                event, (NeedUser, NeedAuthorize, NeedCallback, NeedDerivation, NeedPassword)
            )
            try:
                event = raw.fail(LookupError("nobody answers"))
            except SaslError:
                return

    @precondition(lambda self: self.servers)
    @rule(data=st.data())
    def close(self, data: Any) -> None:
        side = data.draw(st.sampled_from(self.servers + self.clients), "session")
        side.session.close()
        assert not side.session.done

    # --- what holds at any moment ---------------------------------------------------

    @invariant()
    def nobody_is_in_without_a_proof(self) -> None:
        for side in self.servers:
            if side.session.done:
                match side.session.mechanism:
                    case "PLAIN":
                        assert plain_is_valid(side)
                    case "ANONYMOUS":
                        assert side.session.authid == side.session.authzid == "anonymous"
                    case "SCRAM-SHA-256" | "SCRAM-SHA-256-PLUS":
                        assert scram_is_valid(side)
                    case other:
                        raise AssertionError(other)
            else:
                for name in ("authid", "authzid", "properties", "ssf"):
                    try:
                        getattr(side.session, name)
                    except SaslError:
                        continue
                    raise AssertionError(name)

    @invariant()
    def no_client_believes_without_a_proof(self) -> None:
        for side in self.clients:
            if side.session.done and str(side.session.mechanism).startswith("SCRAM"):
                assert server_was_valid(side)

    def teardown(self) -> None:
        for side in self.servers + self.clients:
            side.session.close()


TestAnyOrder = AnyOrder.TestCase
TestAnyOrder.settings = settings(max_examples=80, stateful_step_count=25, deadline=None)


def test_the_check_would_notice() -> None:
    """The independent check of this module finds an honest login valid, and a forged one not."""
    far = Side(CLIENT.session(authid="tim", password=USERS["tim"]), USERS["tim"])
    near = Side(SERVER.session(success_data=True))
    far.note(None, far.session.start(["SCRAM-SHA-256"]))
    near.note(far.said[0], near.session.start("SCRAM-SHA-256", far.said[0]))
    far.note(near.said[0], far.session.step(near.said[0]))
    near.note(far.said[1], near.session.step(far.said[1]))
    far.session.finish(near.said[1])
    far.heard.append(near.said[1])
    assert near.session.done
    assert scram_is_valid(near)
    assert server_was_valid(far)
    near.heard[1] = near.heard[1][:-4] + b"AAA="
    far.heard[1] = b"v=" + base64.b64encode(bytes(32))
    assert not scram_is_valid(near)
    assert not server_was_valid(far)
