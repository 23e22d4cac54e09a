"""Nobody gets in, or becomes another, without a proof of this very exchange."""

from __future__ import annotations

from typing import Any

import pytest

from drivers import exchange
from sasl_auxprop.memory import MemoryStore
from sasl_core import (
    AuthenticationError,
    BackendError,
    Decision,
    NeedAuthorize,
    PluginError,
    Result,
    SaslError,
    UsageError,
)
from sasl_core.plugin import (
    NeedCall,
    NeedCallback,
    NeedPeer,
    NeedUser,
    Prompt,
    PromptId,
    Success,
    Verified,
)
from toys import OPEN, SpyStore, naming_server, server_plug

PEOPLE = {"alice": "alice's", "bob": "bob's"}
PERMIT = {"authorize": lambda *_: Decision.PERMIT}


@pytest.mark.parametrize("mechanism", ["PLAIN", "SCRAM-SHA-256"])
def test_bobs_password_does_not_make_alice_bob(driver, mechanism):
    """Alice's account, authzid bob, bob's password: refused under the most permissive policy."""
    store = SpyStore(users=PEOPLE)
    server = driver.server(OPEN, stores=[store], **PERMIT)
    session = server.session()
    client = driver.client(OPEN).session(authid="alice", password="bob's", authzid="bob")
    with pytest.raises(AuthenticationError):
        exchange(session, client, mechanism)
    assert not session.done
    assert [user for user, _ in store.lookups] == ["alice"]


@pytest.fixture
def believing(driver, toys):
    """A session of a server whose mechanism is `body`, under a permissive policy."""

    def make(body, **more):
        toys.mechanism(server_plug("TOY", body, **more))
        server = driver.server(
            OPEN, registry=toys.registry(), stores=[MemoryStore(PEOPLE)], **PERMIT
        )
        return server.session()

    return make


def carry_through(session, message):
    reply = session.start("TOY", message)
    while not reply.done:
        reply = session.step(b"")


def refused(session, kind=SaslError, message=b"alice"):
    """The attempt fails with `kind`, and nobody is authenticated then or later."""
    with pytest.raises(kind) as caught:
        carry_through(session, message)
    assert not session.done
    for name in ("authid", "authzid", "properties"):
        with pytest.raises(UsageError):
            getattr(session, name)
    with pytest.raises(UsageError):
        session.step(b"")
    return caught.value


# --- a Verified comes from its own context, and is for its own user -----------------------------


def test_a_verified_of_another_session_is_worth_nothing(believing):
    """A mechanism that keeps one and hands it out again lets nobody in with it."""
    kept: list[Verified] = []

    def body(ctx):
        name = (yield from NeedPeer()).decode()
        user = yield from NeedUser(name, None, ())
        if not kept:
            kept.append(ctx.attest(user, how="toy"))
        return Success(kept[0])

    assert believing(body).start("TOY", b"alice").done
    error = refused(believing(body), AuthenticationError, b"bob")
    assert "another exchange" in (error.detail or "")


def test_a_verified_of_another_user_of_the_same_session_is_worth_nothing(believing):
    """Proved as alice, then looked bob up: the proof is not bob's."""

    def body(ctx):
        yield from NeedPeer()
        alice = yield from NeedUser("alice", None, ())
        verified = ctx.attest(alice, how="toy")
        yield from NeedUser("bob", None, ())
        return Success(verified)

    refused(believing(body), AuthenticationError)


def test_a_user_of_another_session_cannot_be_verified(believing):
    """Nor does a kept User open the way to a Verified."""
    kept: list[Any] = []

    def body(ctx):
        yield from NeedPeer()
        user = yield from NeedUser("alice", None, ())
        kept.append(user)
        return Success(ctx.attest(kept[0], how="toy"))

    assert believing(body).start("TOY", b"x").done
    refused(believing(body), AuthenticationError)


def test_a_verifier_of_another_session_proves_nothing(driver, believing):
    """SCRAM's check refuses a verifier that this context did not hand out."""
    import hashlib
    import hmac

    from sasl_core.verifier import client_proof, stored_keys, verifier_from_salted_password

    salted = hashlib.pbkdf2_hmac("sha256", b"mine", b"salt", 4096)
    own = verifier_from_salted_password("SHA-256", salted, b"salt", 4096)
    client_key, stored_key, _ = stored_keys("SHA-256", salted)
    assert hmac.compare_digest(own.stored_key, stored_key)
    proof = client_proof(client_key, stored_key, b"message", "SHA-256")

    def body(ctx):
        yield from NeedPeer()
        user = yield from NeedUser("alice", None, ("*authPassword",))
        ctx.verifier(user, "SHA-256")
        return Success(ctx.verify_scram(user, own, b"message", proof))

    refused(believing(body), AuthenticationError)


def test_a_verified_cannot_be_made(believing):
    """Its constructor takes a key that only the contexts hold."""

    def body(ctx):
        yield from NeedPeer()
        user = yield from NeedUser("alice", None, ())
        return Success(Verified(object(), ctx, user, "mine"))

    refused(believing(body))

    class Mine(Verified):
        def __init__(self, ctx, user) -> None:
            self.origin, self.user, self.how = ctx, user, "mine"

    def another(ctx):
        yield from NeedPeer()
        user = yield from NeedUser("alice", None, ())
        return Success(Mine(ctx, user))

    refused(believing(another))


@pytest.mark.parametrize("given", [None, True, "alice", ..., 7.5], ids=repr)
def test_a_success_without_a_verified_is_none(believing, given):
    """A server's Success says who was verified, or is a fault."""

    def body(ctx):
        yield from NeedPeer()
        yield from NeedUser("alice", None, ())
        return Success(given)

    refused(believing(body), PluginError)


def test_attesting_must_be_declared(believing):
    """A plug that never said so cannot vouch for anybody."""

    def body(ctx):
        yield from NeedPeer()
        return Success(ctx.attest(ctx.canon_user("alice"), how="toy"))

    assert "attests" in str(refused(believing(body, attests=False), PluginError))
    assert believing(body).start("TOY", b"").done


# --- forgetting `yield from` ----------------------------------------------------------------------


def forgets_at_check(ctx):
    yield from NeedPeer()
    return Success(ctx.check_password("alice", "wrong"))


def forgets_at_user(ctx):
    yield from NeedPeer()
    return Success(ctx.attest(NeedUser("alice", None, ()), how="toy"))


def yields_the_generator(ctx):
    yield from NeedPeer()
    verified = yield ctx.check_password("alice", "wrong")
    return Success(verified)


def yields_without_from(ctx):
    message = yield NeedPeer()
    verified = yield ctx.check_password("alice", message.decode())
    return Success(verified)


def throws_the_answer_away(ctx):
    yield from NeedPeer()
    yield from NeedUser("alice", None, ())
    return Success()


def returns_the_generator(ctx):
    yield from NeedPeer()
    return ctx.check_password("alice", "wrong")


def uses_the_need_as_answer(ctx):
    message = NeedPeer()
    user = yield from NeedUser("alice", None, ())
    return Success(ctx.verify_equal(user, b"secret", message, how="toy"))


def has_no_yield(ctx):
    return Success(ctx.attest(ctx.canon_user("alice"), how="toy"))


def is_a_list(ctx):
    return [NeedPeer()]


def returns_nothing(ctx):
    yield from NeedPeer()


def returns_true(ctx):
    yield from NeedPeer()
    return True


FORGETFUL = [
    forgets_at_check,
    forgets_at_user,
    yields_the_generator,
    yields_without_from,
    throws_the_answer_away,
    returns_the_generator,
    uses_the_need_as_answer,
    has_no_yield,
    is_a_list,
    returns_nothing,
    returns_true,
]


@pytest.mark.parametrize("body", FORGETFUL, ids=lambda body: body.__name__)
def test_a_mechanism_that_forgets_cannot_succeed(believing, body):
    """However a `yield from` is forgotten, the end is an error of ours and nobody is in."""
    refused(believing(body))


@pytest.mark.parametrize(
    "garbage",
    [None, 7, "x", b"x", NeedPeer, ..., [NeedPeer()], Success()],
    ids=lambda garbage: type(garbage).__name__,
)
def test_a_mechanism_that_yields_garbage_is_at_fault(believing, garbage):
    """What is no need is answered by nobody."""

    def body(ctx):
        yield garbage
        return Success(ctx.attest(ctx.canon_user("alice"), how="toy"))

    assert "yield from" in str(refused(believing(body), PluginError))


def test_a_mechanism_cannot_ask_for_its_own_authorisation(believing):
    """NeedAuthorize is the glue's; so is the callback's prompt on a server."""

    def body(ctx):
        yield from NeedPeer()
        user = ctx.canon_user("alice")
        yield NeedAuthorize("alice", "alice", user.properties)
        return Success(ctx.attest(user, how="toy"))

    def prompting(ctx):
        yield from NeedPeer()
        yield from NeedCallback((Prompt(PromptId.PASS, "Password"),))
        return Success(ctx.attest(ctx.canon_user("alice"), how="toy"))

    refused(believing(body), PluginError)
    refused(believing(prompting), PluginError)


# --- swallowing a refusal -----------------------------------------------------------------------


def swallows(refuse):
    """A body that is refused by `refuse`, lets it pass, and vouches for alice anyway."""

    def body(ctx):
        yield from NeedPeer()
        user = yield from NeedUser("alice", None, ("*authPassword",))
        try:
            made = refuse(ctx, user)
            if made is not None:
                yield from made
        except SaslError:
            pass
        return Success(ctx.attest(user, how="toy"))

    return body


REFUSALS = {
    "refuse": lambda ctx, user: ctx.refuse("no"),
    "verify_equal": lambda ctx, user: ctx.verify_equal(user, b"a", b"b", how="toy"),
    "empty secrets": lambda ctx, user: ctx.verify_equal(user, b"", b"", how="toy"),
    "verify_scram": lambda ctx, user: ctx.verify_scram(
        user, ctx.verifier(user, "SHA-256"), b"m", b"\0" * 32
    ),
    "check_password": lambda ctx, user: ctx.check_password("alice", "wrong"),
    "accept_external": lambda ctx, user: ctx.accept_external(),
    "verify_binding": lambda ctx, user: ctx.verify_binding("tls-exporter", b"", b""),
}


@pytest.mark.parametrize("refusal", REFUSALS)
def test_a_mechanism_that_swallows_a_refusal_cannot_succeed(believing, refusal):
    """Each refusal of the context dooms the exchange, whatever is returned afterwards."""
    refused(believing(swallows(REFUSALS[refusal])), AuthenticationError)


def test_a_swallowed_refusal_may_still_be_told_to_the_peer(believing):
    """An error challenge goes out and is answered; the answer changes nothing."""
    heard: list[bytes] = []

    def body(ctx):
        yield from NeedPeer()
        user = ctx.canon_user("alice")
        try:
            ctx.refuse("no", wire=b"e=invalid")
        except AuthenticationError:
            heard.append((yield from NeedPeer(b"error challenge")))
        return Success(ctx.attest(user, how="toy"))

    session = believing(body)
    reply = session.start("TOY", b"x")
    assert (reply.data, reply.done) == (b"error challenge", False)
    with pytest.raises(AuthenticationError) as caught:
        session.step(b"\x01")
    assert heard == [b"\x01"]
    assert caught.value.wire == b"e=invalid"
    assert not session.done


def test_a_user_whom_the_store_refuses_cannot_be_vouched_for(believing, driver, toys):
    """A locked user is refused however the mechanism verifies."""
    store = MemoryStore()
    store.add_user("carol", password="c", disabled=True)
    toys.mechanism(server_plug("TOY", naming_server("*authPassword")))
    server = driver.server(OPEN, registry=toys.registry(), stores=[store], **PERMIT)
    refused(server.session(), AuthenticationError, b"carol")


# --- from within ----------------------------------------------------------------------------------


def test_a_mechanism_that_drives_its_own_session_is_refused(driver, toys):
    """Re-entry is out of order, and the exchange goes on as if it had not happened."""
    seen: list[object] = []
    sessions: list[Any] = []

    def body(ctx):
        yield from NeedPeer()
        user = ctx.canon_user("alice")
        negotiation = sessions[0].raw()
        for call in (lambda: negotiation.answer(b"x"), lambda: negotiation.start("TOY", b"x")):
            try:
                call()
            except UsageError as error:
                seen.append(error.code)
        return Success(ctx.attest(user, how="toy"))

    toys.mechanism(server_plug("TOY", body))
    session = driver.server(registry=toys.registry()).session()
    sessions.append(session)
    assert session.start("TOY", b"x").done
    assert seen == ["out-of-order", "out-of-order"]
    assert session.authid == "alice"


def test_a_mechanism_that_answers_in_its_own_place_is_refused(driver, toys):
    """In the middle of a step the peer's message is not the mechanism's to give."""
    sessions: list[Any] = []
    refused_codes: list[str] = []

    def body(ctx):
        yield from NeedPeer()
        user = ctx.canon_user("alice")
        yield from NeedPeer(b"more")
        for call in (sessions[0].raw().answer, sessions[0].raw().hear):
            try:
                call(b"forged")
            except UsageError as error:
                refused_codes.append(error.code)
        return Success(ctx.attest(user, how="toy"))

    toys.mechanism(server_plug("TOY", body))
    session = driver.server(registry=toys.registry()).session()
    sessions.append(session)
    session.start("TOY", b"x")
    assert session.step(b"y").done
    assert refused_codes == ["out-of-order"] * 2


def test_a_call_that_fails_is_an_outage_of_nobodys_password(believing):
    """What NeedCall's function raises becomes a BackendError where it was asked."""

    def work():
        raise ConnectionError("secret address")

    def body(ctx):
        from sasl_core import Blocking

        yield from NeedPeer()
        yield from NeedCall(work, Blocking.REMOTE)
        return Success(ctx.attest(ctx.canon_user("alice"), how="toy"))

    error = refused(believing(body), BackendError)
    assert error.result is Result.UNAVAIL
    assert "ConnectionError" in (error.detail or "")
    assert "secret" not in f"{error}{error.detail}"


@pytest.mark.parametrize("side", ["server", "client"])
def test_a_mechanism_gets_one_derivation(driver, toys, side):
    """A second one in the same exchange is refused: it would be an amplifier."""
    from sasl_core.plugin import NeedDerivation
    from toys import client_plug

    def deriving(ctx):
        for _ in range(2):
            yield from NeedDerivation("SHA-256", b"x", b"salt", 1)
        return Success()

    toys.mechanism(server_plug("TOY", deriving), client_plug("TOY", deriving))
    if side == "server":
        session = driver.server(registry=toys.registry()).session()
    else:
        session = driver.client(registry=toys.registry()).session(authid="alice")
    with pytest.raises(PluginError, match="second key derivation"):
        session.start("TOY")


def test_a_client_that_trusts_a_server_needs_its_proof(driver, toys):
    """MUTUAL_AUTH without a VerifiedPeer, or with that of another exchange, is no success."""
    from sasl_core import SecurityFlag
    from toys import STRONG, client_plug

    kept: list[Any] = []

    def body(ctx):
        yield from ()
        ctx.canon_user("alice")
        if not kept:
            kept.append(ctx.attest_peer(how="toy"))
            return Success(data=b"x", peer=kept[0])
        return Success(data=b"x", peer=kept[0] if len(kept) == 1 else None)

    mutual = STRONG | SecurityFlag.MUTUAL_AUTH
    toys.mechanism(client=client_plug("TOY", body, security_flags=mutual))
    client = driver.client(registry=toys.registry())
    assert client.session(authid="alice").start("TOY").done
    with pytest.raises(PluginError, match="another exchange"):
        client.session(authid="alice").start("TOY")
    kept.append(None)
    with pytest.raises(PluginError, match="mutual"):
        client.session(authid="alice").start("TOY")
