"""SCRAM between real sessions: published exchanges byte for byte, and all that must be refused."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import sys
import threading
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from logins import OPEN, USERS, client, login, plant, server, store
from sasl_auxprop.memory import MemoryStore
from sasl_auxprop.sasldb.store import SqliteStore
from sasl_core import (
    AuthenticationError,
    BindingPolicy,
    Client,
    Decision,
    MechanismError,
    PeerError,
    Reply,
    Result,
    SaslError,
    Server,
    SetpassFlag,
)
from sasl_core import verifier as verifier_module
from sasl_core.plugin import (
    CanonContext,
    CanonFlag,
    CanonUserPlug,
    ScramVerifier,
    client_proof,
    saslprep,
    stored_keys,
)
from sasl_core.runners import blocking as blocking_runner
from sasl_core.utils import SaslUtils
from sasl_mechanisms.scram import client as scram_client
from sasl_mechanisms.scram import server as scram_server
from sasl_mechanisms.scram.client import ClientKeys, ScramClient
from sasl_mechanisms.scram.messages import (
    SERVER_ERRORS,
    auth_message,
    format_without_proof,
    parse_client_final,
    parse_client_first,
)
from sasl_mechanisms.scram.server import NONCE_BYTES
from stopwatch import within

VECTORS: dict[str, Any] = json.loads(
    (Path(__file__).parent.parent / "vectors" / "scram.json").read_text("utf-8")
)
EXCHANGES: dict[str, dict[str, Any]] = {each["id"]: each for each in VECTORS["exchanges"]}
SCRAM = "SCRAM-SHA-256"
PLUS = "SCRAM-SHA-256-PLUS"
SHA_1 = "SCRAM-SHA-1"
EXPORTER = {"tls-exporter": bytes(range(32))}

# The one exchange whose messages have attributes that RFC 5802 does not know.
XEP_0474 = "xep0474/scram-sha-1-plus-ssdp"
ADVERTISED = ("tls-server-end-point", "tls-exporter")


class AsTyped(CanonUserPlug):
    """Leaves names alone, as those vectors do whose names and passwords are not prepared."""

    name = "INTERNAL"

    def canon_user_client(self, ctx: CanonContext, user: str, flags: CanonFlag) -> str:
        return user

    canon_user_server = canon_user_client


def password_of(vector: dict[str, Any]) -> str:
    """The password that is derived: MongoDB's SHA-1 takes a digest for one."""
    if vector["mongo_hashed_password"]:
        text = f"{vector['username']}:mongo:{vector['password']}"
        return hashlib.md5(text.encode()).hexdigest()  # noqa: S324 - MongoDB's own way.
    return str(vector["password"])


def hash_of(vector: dict[str, Any]) -> str:
    return str(vector["mechanism"]).removeprefix("SCRAM-").removesuffix("-PLUS")


def binding_of(vector: dict[str, Any]) -> dict[str, bytes]:
    """The channel binding data of a vector, as connection facts have them."""
    given = vector["channel_binding"]
    return {given["type"]: base64.b64decode(given["data_b64"])} if given else {}


def verifier_of(vector: dict[str, Any]) -> ScramVerifier:
    """What a server keeps of a vector's password."""
    derived = vector["derived"]
    return ScramVerifier(
        hash_of(vector),
        vector["iterations"],
        base64.b64decode(vector["salt_b64"]),
        base64.b64decode(derived["stored_key"]),
        base64.b64decode(derived["server_key"]),
    )


def name_of(vector: dict[str, Any]) -> str:
    """The user's name as both sides know it in the end."""
    name = str(vector["username"])
    return saslprep(name) if vector["saslprep_password"] else name


def kept(vector: dict[str, Any]) -> MemoryStore:
    """A store with the user of a vector, and the one it wants to act as."""
    users = MemoryStore()
    users.add_user(name_of(vector), verifiers=[verifier_of(vector)])
    if vector["authzid"]:
        users.add_user(vector["authzid"])
    return users


def base_of(vector: dict[str, Any]) -> str:
    return str(vector["mechanism"]).removesuffix("-PLUS")


def server_for(vector: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> Server:
    """A server that offers a vector's mechanism, with its user and share of the nonce."""
    nonce = vector["nonce"].removeprefix(vector["client_nonce"])
    monkeypatch.setattr(SaslUtils, "random", lambda _, size: bytes(size))
    monkeypatch.setattr(scram_server, "b64encode", lambda _: nonce.encode())
    config: dict[str, object] = {**OPEN, "mech_list": [base_of(vector)]}
    if vector["id"] == XEP_0474:
        config["scram_downgrade_protection"] = "want"
    owner = server([kept(vector)], config=config, authorize=lambda *_: Decision.PERMIT)
    if not vector["saslprep_password"]:
        plant(owner, "canon_user", AsTyped())
    return owner


def client_for(vector: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> Client:
    """A client with a vector's nonce, which prepares what the vector's client prepared."""
    monkeypatch.setattr(SaslUtils, "random", lambda _, size: bytes(size))
    monkeypatch.setattr(scram_client, "b64encode", lambda _: vector["client_nonce"].encode())
    extensions = parse_client_final(vector["client_final"].encode()).extensions
    without_proof = partial(format_without_proof, extensions=extensions)
    monkeypatch.setattr(scram_client, "format_without_proof", without_proof)
    config: dict[str, object] = {
        **OPEN, "client_mech_list": [base_of(vector)], "scram_iteration_floor": 1,
    }  # fmt: skip
    if vector["id"] == XEP_0474:
        config["scram_downgrade_protection"] = "require"
    owner = client(config=config)
    if not vector["saslprep_password"]:
        monkeypatch.setattr(ScramClient, "_prepared", lambda _, password: password.encode())
        plant(owner, "canon_user", AsTyped())
    return owner


def client_session(owner: Client, vector: dict[str, Any], **more: Any) -> Any:
    """The session that a vector's client would have."""
    flag = vector["client_first"][0]
    bindings = binding_of(vector) if flag == "p" else EXPORTER if flag == "y" else {}
    return owner.session(
        authid=vector["username"],
        password=password_of(vector),
        authzid=vector["authzid"],
        channel_bindings=bindings,
        advertised_bindings=ADVERTISED,
        success_data=True,
        **more,
    )


def offer_of(vector: dict[str, Any]) -> list[str]:
    base = base_of(vector)
    return [base, base + "-PLUS"] if vector["client_first"].startswith("p=") else [base]


# --- published exchanges ---------------


@pytest.mark.parametrize("name", sorted(EXCHANGES))
def test_the_clients_half(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """With a vector's nonce the client says byte for byte what the vector has."""
    vector = EXCHANGES[name]
    with client_for(vector, monkeypatch) as owner, client_session(owner, vector) as session:
        first = session.start(offer_of(vector))
        assert first == Reply(vector["client_first"].encode(), done=False)
        challenge = vector["server_first"].encode()
        if vector["expect"] == "crypto-valid-but-client-must-reject":
            with pytest.raises(PeerError) as caught:
                session.step(challenge)
            assert caught.value.code == "scram-nonce"
            return
        final = session.step(challenge)
        if vector["expect"] != "reject-proof":
            assert final == Reply(vector["client_final"].encode(), done=False)
        if vector["expect"] == "success":
            session.finish(vector["server_final"].encode())
            assert session.authid == name_of(vector)
            assert session.mechanism == vector["mechanism"]
            assert session.channel_binding == next(iter(binding_of(vector)), None)
        else:
            with pytest.raises(AuthenticationError):
                session.finish(b"v=" + base64.b64encode(bytes(32)))
            assert not session.done


@pytest.mark.parametrize("name", sorted(EXCHANGES))
def test_the_servers_half(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """With a vector's nonce and stored keys the server says what the vector has."""
    vector = EXCHANGES[name]
    facts: dict[str, Any] = {
        "channel_bindings": binding_of(vector),
        "advertised_bindings": ADVERTISED,
        "success_data": True,
    }
    with server_for(vector, monkeypatch) as owner, owner.session(**facts) as session:
        first = session.start(vector["mechanism"], vector["client_first"].encode())
        assert first == Reply(vector["server_first"].encode(), done=False)
        if vector["expect"] == "reject-proof":
            with pytest.raises(AuthenticationError) as caught:
                session.step(vector["client_final"].encode())
            assert caught.value.wire == b"e=invalid-proof"
            return
        last = session.step(vector["client_final"].encode())
        assert last.done
        if vector["verified"]["server_signature"]:
            assert last.data == vector["server_final"].encode()
        assert session.mechanism == vector["mechanism"]
        assert session.authid == name_of(vector)
        assert session.authzid == (vector["authzid"] or session.authid)


@pytest.mark.parametrize("initial_response", [True, False])
@pytest.mark.parametrize("success_data", [True, False])
@pytest.mark.parametrize("plus", [True, False])
def test_both_halves_together(initial_response: bool, success_data: bool, plus: bool) -> None:
    """Both sides agree on identity, mechanism and binding, whatever room the protocol has."""
    facts: dict[str, Any] = {"initial_response": initial_response, "success_data": success_data}
    if plus:
        facts["channel_bindings"] = EXPORTER
    with (
        server() as ours,
        client() as theirs,
        ours.session(**facts) as near,
        theirs.session(authid="tim", password=USERS["tim"], **facts) as far,
    ):
        _ = login(far, near, near.mechanisms())
        assert near.mechanism == far.mechanism == (PLUS if plus else SCRAM)
        assert near.authid == far.authid == near.authzid == far.authzid == "tim"
        assert near.channel_binding == far.channel_binding == ("tls-exporter" if plus else None)
        assert near.ssf == far.ssf == 0


# --- malformed within the exchange ---------------

RFC5802 = EXCHANGES["xdg/rfc5802"]
WRONG_HERE = {
    "server_first": [
        "r=clientreceiveswrongnonce3rfcNHYJY1ZVvWVs7j,s=QSXCR+Q6sek8bf92,i=4096",
        "r=BADo+d2lbbFgONRv9qkxdawL3rfcNHYJY1ZVvWVs7j,s=QSXCR+Q6sek8bf92,i=4096",
        "r=fyko+d2lbbFgONRv9qkxdawL,s=QSXCR+Q6sek8bf92,i=4096",
        "r={nonce},s=QSXCR+Q6sek8bf92,i=2147483647",
        "r={nonce},s=QSXCR+Q6sek8bf92,i=1000",
        "r={nonce},s=QSXCR+Q6sek8bf92,i=4095",
        "e=other-error",
    ],
    "client_final": [
        "c=biws,r={nonce}bla,p={proof}",
        "c=biws,r={nonce},p=ZnJvcA==",
        "c=biws,r=bad_nonce_FgONRv9qkxdawL3rfcNHYJY1ZVvWVs7j,p={proof}",
        "c=biws,r=fyko+d2lbbFgONRv9qkxdawL,p={proof}",
        "c=biws,r=fyko+d2lbbFgONRv9qkxdawL{nonce},p={proof}",
        "c=eSws,r={nonce},p={proof}",
        "c=bixhPWFkbWluLA==,r={nonce},p={proof}",
        "c=biwsQUFB,r={nonce},p={proof}",
        "c=biws,r={nonce},p=AAAAAAAAAAAAAAAAAAAAAAAAAAA=",
        "c=biws,r={nonce},p=AAAAAAAAAAAAAAAAAAAAAAAAAAAA",
    ],
    "server_final": [
        "v=badP6P+SBB3T4rZgjRz28Z1FqCg=",
        "v=AAAAAAAAAAAAAAAAAAAAAAAAAAA=",
        "e=invalid-proof",
        "e=some-future-error",
    ],
}


def spelt(text: str) -> str:
    proof = "v0X8v3Bz2T0CJGbJQyF0X+HI4Ts="
    return text.format(nonce=RFC5802["nonce"], proof=proof)


def test_the_messages_below_are_the_vectors() -> None:
    """All 21 are in the vectors of malformed messages."""
    for step, texts in WRONG_HERE.items():
        known = {each["input"] for each in VECTORS["malformed"][step]}
        assert {spelt(text) for text in texts} <= known
    assert sum(map(len, WRONG_HERE.values())) == 21


@pytest.mark.parametrize("text", WRONG_HERE["server_first"])
def test_a_challenge_that_is_wrong_here(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Foreign nonces, too few and too many rounds, and refusals end the client's exchange."""
    monkeypatch.setattr(scram_client, "b64encode", lambda _: RFC5802["client_nonce"].encode())
    # With the usual bounds: i=1000 and i=4095 are too few.
    config = {**OPEN, "client_mech_list": [SHA_1]}
    with client(config=config) as owner, client_session(owner, RFC5802) as session:
        _ = session.start([SHA_1])
        with within(0.1), pytest.raises((PeerError, AuthenticationError)):
            session.step(spelt(text).encode())
        assert not session.done


@pytest.mark.parametrize("text", WRONG_HERE["client_final"])
def test_a_response_that_is_wrong_here(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Other nonces, bindings and proofs end the server's exchange, and let nobody in."""
    with server_for(RFC5802, monkeypatch) as owner, owner.session() as session:
        _ = session.start(SHA_1, RFC5802["client_first"].encode())
        with pytest.raises((PeerError, AuthenticationError)):
            session.step(spelt(text).encode())
        assert not session.done
        assert session.error_detail


@pytest.mark.parametrize("text", WRONG_HERE["server_final"])
@pytest.mark.parametrize("with_success", [True, False])
def test_an_outcome_that_is_wrong_here(
    text: str, with_success: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A wrong signature or an error never satisfies the client, as challenge or with success."""
    with client_for(RFC5802, monkeypatch) as owner, client_session(owner, RFC5802) as session:
        _ = session.start([SHA_1])
        _ = session.step(RFC5802["server_first"].encode())
        with pytest.raises(AuthenticationError):
            (session.finish if with_success else session.step)(text.encode())
        assert not session.done
        with pytest.raises(SaslError):
            session.finish()


def signed(vector: dict[str, Any], without_proof: str) -> bytes:
    """A client-final with a proof that is right for what it says, made with the password."""
    first, challenge = vector["client_first"], vector["server_first"]
    bare = parse_client_first(first.encode()).bare
    message = auth_message(bare, challenge.encode(), without_proof.encode())
    salted = base64.b64decode(vector["derived"]["salted_password"])
    client_key, stored_key, _ = stored_keys(hash_of(vector), salted)
    proof = client_proof(client_key, stored_key, message, hash_of(vector))
    return f"{without_proof},p={base64.b64encode(proof).decode()}".encode()


@pytest.mark.parametrize(
    "text",
    [
        "c=biws,r={client}",
        "c=biws,r={client}{nonce}",
        "c=biws,r={nonce}{nonce}",
        "c=biws,r={nonce}x",
        "c=biws,r=x{nonce}",
        "c=biws,r={server_half}",
        "c=eSws,r={nonce}",
        "c=bixhPWFkbWluLA==,r={nonce}",
        "c=biwsQUFB,r={nonce}",
        "c=cD10bHMtdW5pcXVlLCx4eHg=,r={nonce}",
    ],
)
def test_a_valid_proof_for_the_wrong_words(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever knows the password still has to repeat exactly the nonce and the GS2 header."""
    vector = EXCHANGES["xdg/rfc7677"]
    spelled = text.format(
        client=vector["client_nonce"],
        nonce=vector["nonce"],
        server_half=vector["nonce"].removeprefix(vector["client_nonce"]),
    )
    with server_for(vector, monkeypatch) as owner:
        for good, said in ((True, f"c=biws,r={vector['nonce']}"), (False, spelled)):
            with owner.session(success_data=True) as session:
                _ = session.start(SCRAM, vector["client_first"].encode())
                if good:
                    assert session.step(signed(vector, said)).done
                else:
                    with pytest.raises((PeerError, AuthenticationError)):
                        session.step(signed(vector, said))
                    assert not session.done


def test_an_optional_attribute_is_signed_with_the_rest(monkeypatch: pytest.MonkeyPatch) -> None:
    """Unknown attributes of either client message are ignored, and are part of AuthMessage."""
    vector = {**EXCHANGES["xdg/rfc7677"]}
    vector["client_first"] += ",x=1,y=2"
    with server_for(vector, monkeypatch) as owner, owner.session(success_data=True) as session:
        _ = session.start(SCRAM, vector["client_first"].encode())
        assert session.step(signed(vector, f"c=biws,r={vector['nonce']},z=3")).done


@pytest.mark.parametrize(
    ("message", "wire"),
    [
        (b"n,,n=us=er,r=abcdefghijkl", b"e=invalid-username-encoding"),
        (b"n,,n=us=2c,r=abcdefghijkl", b"e=invalid-username-encoding"),
        (b"n,,n=\xff,r=abcdefghijkl", b"e=invalid-username-encoding"),
        (b"n,,m=x,n=user,r=abcdefghijkl", b"e=extensions-not-supported"),
        (b"n,,n=user,r=abcdefghijkl,m=x", b"e=extensions-not-supported"),
        (b"p=tls-exporter,,n=user,r=abcdefghijkl", b"e=channel-binding-not-supported"),
        (b"n,,n=user", None),
    ],
)
def test_the_server_says_what_rfc_5802_has_a_word_for(message: bytes, wire: bytes | None) -> None:
    """Where section 7 has a value for the fault, the client is told it; otherwise nothing."""
    with server() as owner, owner.session() as session:
        with pytest.raises(PeerError) as caught:
            session.start(SCRAM, message)
        assert caught.value.wire == wire
        assert wire is None or wire.removeprefix(b"e=").decode() in SERVER_ERRORS


def test_a_mandatory_extension_in_the_second_message() -> None:
    """`m=` in client-final is told as such too."""
    with server() as owner, owner.session() as session:
        challenge = session.start(SCRAM, b"n,,n=tim,r=abcdefghijkl").data or b""
        nonce = challenge.split(b",")[0]
        with pytest.raises(PeerError) as caught:
            session.step(b"c=biws," + nonce + b",m=x,p=" + base64.b64encode(bytes(32)))
        assert caught.value.wire == b"e=extensions-not-supported"


@pytest.mark.parametrize("value", [*sorted(SERVER_ERRORS), "some-future-error"])
def test_a_servers_error_refuses_the_client(value: str) -> None:
    """e= in the place of either message ends the client's exchange as a refusal."""
    with client() as owner:
        for place in (0, 1):
            with owner.session(authid="tim", password="pencil") as session:
                first = session.start([SCRAM]).data or b""
                if place:
                    nonce = first.partition(b"r=")[2]
                    _ = session.step(b"r=%b+x1,s=c2FsdHNhbHQ=,i=4096" % nonce)
                with pytest.raises(AuthenticationError) as caught:
                    session.step(b"e=" + value.encode())
                assert caught.value.result is Result.BADAUTH
                shown = value if value in SERVER_ERRORS else "other-error"
                assert caught.value.detail == f"the server refused: {shown}"


# --- authorization identities ---------------


@pytest.mark.parametrize(
    ("authzid", "policy", "let_in"),
    [
        (None, None, True),
        ("tim", None, True),
        ("kurt", None, False),
        ("kurt", Decision.PERMIT, True),
        ("kurt", Decision.DENY, False),
        ("nobody", Decision.PERMIT, False),
        ("a,b=c", Decision.PERMIT, True),
        (None, Decision.DENY, False),
    ],
)
def test_authorization(authzid: str | None, policy: Decision | None, let_in: bool) -> None:
    """Another identity needs the policy's permit and has to exist; the policy is asked once."""
    asked: list[tuple[str, str]] = []

    def authorize(authid: str, acting: str, _: object) -> Decision:
        asked.append((authid, acting))
        return policy or Decision.DENY

    users = store({**USERS, "a,b=c": "another"})
    with (
        server([users], authorize=authorize if policy else None) as ours,
        client() as theirs,
        theirs.session(authid="tim", password=USERS["tim"], authzid=authzid) as far,
        ours.session() as near,
    ):
        if let_in:
            _ = login(far, near, [SCRAM])
            assert (near.authid, near.authzid) == ("tim", authzid or "tim")
            assert (far.authid, far.authzid) == ("tim", authzid or "tim")
        else:
            with pytest.raises(AuthenticationError) as caught:
                login(far, near, [SCRAM])
            assert str(caught.value) == "authentication failed"
            assert not near.done
        known = authzid != "nobody"
        assert asked == ([("tim", authzid or "tim")] if policy and known else [])


def test_a_refused_authorization_looks_like_a_wrong_password() -> None:
    """The peer cannot tell "may not" from "wrong password": the same error, to the byte."""
    seen = []
    with server() as ours, client() as theirs:
        for word, authzid in ((USERS["tim"], "kurt"), ("wrong", "kurt"), ("wrong", None)):
            far = theirs.session(authid="tim", password=word, authzid=authzid)
            near = ours.session()
            with pytest.raises(AuthenticationError) as caught:
                login(far, near, [SCRAM])
            seen.append((str(caught.value), caught.value.code, caught.value.wire))
    assert seen[1] == seen[2]
    assert seen[0][:2] == seen[1][:2]


# --- rounds ---------------


ROUNDS = VECTORS["iteration_policy"]


@pytest.fixture
def derivations(monkeypatch: pytest.MonkeyPatch) -> list[tuple[Any, ...]]:
    """The arguments of every derivation that a blocking session makes."""
    calls: list[tuple[Any, ...]] = []
    derive = verifier_module.derive

    def counted(*arguments: Any) -> bytes:
        calls.append(arguments)
        return derive(*arguments)

    monkeypatch.setattr(blocking_runner, "derive", counted)
    return calls


@pytest.mark.parametrize(
    ("rounds", "config", "good"),
    [
        *(
            (each["i"], {}, each["client_min_4096"] == "accept")
            for each in VECTORS["iteration_policy"]
        ),
        (1, {}, False),
        (1_000_001, {}, False),
        (2**31 - 1, {}, False),
        (9_999_999_999, {}, False),
        (1, {"scram_iteration_floor": 1}, True),
        (15_000, {"scram_iteration_floor": 15_000, "scram_iteration_counter": 15_000}, True),
        (14_999, {"scram_iteration_floor": 15_000, "scram_iteration_counter": 15_000}, False),
        (4097, {"scram_iteration_cap": 4096}, False),
    ],
)
def test_rounds_have_a_floor_and_a_cap(
    rounds: int, config: dict[str, int], good: bool, derivations: list[Any]
) -> None:
    """A server's rounds out of bounds are refused at once: nothing is derived for them."""
    with (
        client(config={**OPEN, **config}) as owner,
        owner.session(authid="tim", password="pencil") as session,
    ):
        nonce = (session.start([SCRAM]).data or b"").partition(b"r=")[2]
        challenge = b"r=%b+x1,s=c2FsdHNhbHQ=,i=%d" % (nonce, rounds)
        if good:
            assert (session.step(challenge).data or b"").startswith(b"c=biws,r=")
        else:
            with within(0.05), pytest.raises(PeerError) as caught:
                session.step(challenge)
            assert caught.value.code == "scram-iterations"
            assert "scram_iteration" in str(caught.value.detail)
        assert len(derivations) == good


@pytest.mark.parametrize(
    "text", ["+4096", "4_096", " 4096", "04096", "-1", "0", "4096.0", "\u0664"]
)
def test_rounds_have_one_spelling(text: str, derivations: list[Any]) -> None:
    """No sign, blank, underscore, leading zero or foreign digit passes for a number."""
    with client() as owner, owner.session(authid="tim", password="pencil") as session:
        nonce = (session.start([SCRAM]).data or b"").partition(b"r=")[2]
        with pytest.raises(PeerError):
            session.step(b"r=%b+x1,s=c2FsdHNhbHQ=,i=%b" % (nonce, text.encode()))
    assert derivations == []


@pytest.mark.parametrize("tail", [b",", b" ", b"\x7f", b"\x80", b"\0", b"", b"\n"])
def test_a_servers_nonce_has_its_alphabet(tail: bytes) -> None:
    """A continuation with a comma, a blank, DEL or no continuation at all is refused."""
    with client() as owner, owner.session(authid="tim", password="pencil") as session:
        nonce = (session.start([SCRAM]).data or b"").partition(b"r=")[2]
        with pytest.raises(PeerError):
            session.step(b"r=%b%b,s=c2FsdHNhbHQ=,i=4096" % (nonce, tail))


# --- channel binding ---------------

POLICIES = {
    "allow": BindingPolicy.WANT,
    "require": BindingPolicy.REQUIRE,
    "disable": BindingPolicy.OFF,
}


@pytest.mark.parametrize(
    "rule", VECTORS["negotiation"], ids=lambda r: f"{r['policy']}-{r['server']}"
)
def test_negotiation_rules(rule: dict[str, Any]) -> None:
    """The client chooses mechanism and flag as the published rules say, or fails unheard."""
    bindings = EXPORTER if rule["client_cb"] else {}
    with (
        client() as owner,
        owner.session(
            authid="tim",
            password="pencil",
            channel_bindings=bindings,
            binding_policy=POLICIES[rule["policy"]],
        ) as session,
    ):
        if "error" in rule:
            with pytest.raises(MechanismError) as caught:
                session.start(rule["server"])
            assert caught.value.reasons
            assert session.mechanism is None
            return
        first = session.start(rule["server"]).data or b""
        assert session.mechanism == rule["mech"]
        assert first.startswith(rule["flag"].encode())


FLAG_RULES: list[tuple[str, bool, str, str, bytes | None]] = [
    ("n", False, "allow", SCRAM, None),
    ("y", False, "allow", SCRAM, None),
    ("p=tls-exporter", False, "allow", SCRAM, b"e=channel-binding-not-supported"),
    ("n", True, "allow", SCRAM, None),
    ("y", True, "allow", SCRAM, b"e=server-does-support-channel-binding"),
    ("y", True, "disable", SCRAM, None),
    ("p=other", True, "allow", PLUS, b"e=unsupported-channel-binding-type"),
    ("n", True, "require", SCRAM, b"refused before it begins"),
    ("y", True, "require", SCRAM, b"refused before it begins"),
    ("n", True, "require", PLUS, b"e=server-does-support-channel-binding"),
    ("n", True, "allow", PLUS, b"e=server-does-support-channel-binding"),
    ("y", True, "allow", PLUS, b"e=server-does-support-channel-binding"),
    ("p=tls-exporter", True, "allow", SCRAM, b"e=channel-binding-not-supported"),
    ("p=tls-exporter", False, "allow", PLUS, b"refused before it begins"),
    ("p=tls-exporter", True, "disable", PLUS, b"refused before it begins"),
    ("p=tls-exporter", True, "require", PLUS, None),
]


@pytest.mark.parametrize(("flag", "server_has", "policy", "name", "wire"), FLAG_RULES)
def test_flag_rules(
    flag: str, server_has: bool, policy: str, name: str, wire: bytes | None
) -> None:
    """The server holds each flag against the name and against what it offered."""
    message = f"{flag},,n=tim,r=abcdefghijkl".encode()
    facts: dict[str, Any] = {
        "channel_bindings": EXPORTER if server_has else {},
        "binding_policy": POLICIES[policy],
    }
    with server() as owner, owner.session(**facts) as session:
        if wire is None:
            assert (session.start(name, message).data or b"").startswith(b"r=abcdefghijkl")
            return
        with pytest.raises(SaslError) as caught:
            session.start(name, message)
        assert not session.done
        if wire.startswith(b"e="):
            assert caught.value.wire == wire
        else:
            assert isinstance(caught.value, MechanismError)


def test_every_published_flag_rule_is_tried() -> None:
    """The table above has every combination of the published rules, with what comes of it."""
    policies = {
        "none": (False, "allow"),
        "available": (True, "allow"),
        "required": (True, "require"),
    }
    rules = VECTORS["server_flag_rules"]
    assert len(rules) == 10
    for rule in rules:
        flag = rule["flag"]
        if rule.get("mech") is not None:
            # RFC 5802 section 6: whatever the server has, name and flag have to agree.
            name = PLUS if rule["mech"] == "-PLUS" else SCRAM
            found = [w for f, _, p, n, w in FLAG_RULES if (f[0], p, n) == (flag, "allow", name)]
            assert found
            assert None not in found
            continue
        has, policy = policies[rule["server_cb"]]
        name = PLUS if "type" in rule else SCRAM
        ((wire,),) = [
            [w] for f, h, p, n, w in FLAG_RULES if (f[0], h, p, n) == (flag, has, policy, name)
        ]
        if "error" in rule and wire != b"refused before it begins":
            assert wire == b"e=" + rule["error"].encode()
        else:
            assert (wire is None) is ("error" not in rule)


def test_a_stripped_offer_is_noticed() -> None:
    """A man in the middle who removes -PLUS from the offer is given away by the client's `y`."""
    with (
        server() as ours,
        client() as theirs,
        ours.session(channel_bindings=EXPORTER) as near,
        theirs.session(authid="tim", password=USERS["tim"], channel_bindings=EXPORTER) as far,
    ):
        stripped = [name for name in near.mechanisms() if name != PLUS]
        with pytest.raises(AuthenticationError) as caught:
            login(far, near, stripped)
        assert caught.value.wire == b"e=server-does-support-channel-binding"
        assert "removed" in str(near.error_detail)


def test_a_flag_changed_on_the_way() -> None:
    """Changing `y` to `n` on the wire breaks c=, which repeats what was sent."""
    with (
        server() as ours,
        client() as theirs,
        ours.session(channel_bindings=EXPORTER) as near,
        theirs.session(authid="tim", password=USERS["tim"], channel_bindings=EXPORTER) as far,
    ):
        with pytest.raises(SaslError) as caught:
            login(
                far, near, [SCRAM],
                to_server=lambda _, data: (data or b"").replace(b"y,,", b"n,,"),
            )  # fmt: skip
        assert caught.value.wire == b"e=channel-bindings-dont-match"


@pytest.mark.parametrize("theirs_data", [bytes(32), bytes(range(31)), b"\0" + bytes(range(32))])
@pytest.mark.parametrize("kind", ["tls-exporter", "tls-unique", "tls-server-end-point", "x.y-1"])
def test_different_channels(kind: str, theirs_data: bytes) -> None:
    """Two ends with different binding data of one type are two connections: refused."""
    with (
        server() as ours,
        client() as theirs,
        ours.session(channel_bindings={kind: bytes(range(32))}) as near,
        theirs.session(
            authid="tim", password=USERS["tim"], channel_bindings={kind: theirs_data}
        ) as far,
    ):
        with pytest.raises(AuthenticationError) as caught:
            login(far, near, near.mechanisms())
        assert caught.value.wire == b"e=channel-bindings-dont-match"
        assert near.mechanism == PLUS
        assert "between" in str(near.error_detail)


def test_the_best_binding_is_taken_and_may_be_fetched_late() -> None:
    """tls-exporter goes before tls-unique, and data may come from a callable."""
    fetched: list[str] = []

    def fetch() -> bytes:
        fetched.append("exporter")
        return b"e" * 32

    bindings: dict[str, Any] = {"tls-unique": b"u" * 12, "tls-exporter": fetch}
    with (
        server() as ours,
        client() as theirs,
        ours.session(channel_bindings=bindings, binding_policy=BindingPolicy.REQUIRE) as near,
        theirs.session(
            authid="tim",
            password=USERS["tim"],
            channel_bindings=bindings,
            binding_policy=BindingPolicy.REQUIRE,
        ) as far,
    ):
        assert fetched == []
        _ = login(far, near, near.mechanisms())
        assert near.channel_binding == far.channel_binding == "tls-exporter"
        assert fetched == ["exporter"] * 2


def test_required_binding_rules_out_everything_else() -> None:
    """Under REQUIRE neither side offers or takes what does not bind, PLAIN included."""
    facts: dict[str, Any] = {
        "channel_bindings": EXPORTER,
        "binding_policy": BindingPolicy.REQUIRE,
        "external_ssf": 256,
    }
    with server() as ours, client() as theirs:
        assert ours.session(**facts).mechanisms() == (PLUS,)
        for names in (["PLAIN"], [SCRAM], ["ANONYMOUS"], [], ["PLAIN", SCRAM, "ANONYMOUS"]):
            far = theirs.session(authid="tim", password="x", **facts)
            with far, pytest.raises(MechanismError):
                far.start(names)
            for name in names:
                with ours.session(**facts) as near, pytest.raises(MechanismError):
                    near.start(name, b"\0tim\0" + USERS["tim"].encode())


# --- the client's keys ---------------


def log_in(ours: Server, theirs: Client, user: str, word: str) -> None:
    with theirs.session(authid=user, password=word) as far, ours.session() as near:
        _ = login(far, near, [SCRAM])
        assert near.authid == user


def test_the_second_login_derives_nothing(derivations: list[Any]) -> None:
    """Keys that have worked are kept; another user, password or salt derives anew."""
    users = store()
    with server([users]) as ours, client() as theirs:
        for user, before in (("tim", 1), ("tim", 1), ("kurt", 2), ("tim", 2), ("kurt", 2)):
            log_in(ours, theirs, user, USERS[user])
            assert len(derivations) == before
        users.add_user("tim", password=USERS["tim"])
        log_in(ours, theirs, "tim", USERS["tim"])
        assert len(derivations) == 3
        users.add_user("tim", password="another")
        log_in(ours, theirs, "tim", "another")
        assert len(derivations) == 4
        users.add_user("tim", password="another", iterations=4100)
        log_in(ours, theirs, "tim", "another")
        assert len(derivations) == 5


def test_a_wrong_password_is_not_kept(derivations: list[Any]) -> None:
    """Neither a refusal nor an impostor's signature leaves keys behind."""
    with server() as ours, client() as theirs:
        for number in (1, 2):
            with pytest.raises(AuthenticationError):
                log_in(ours, theirs, "tim", "wrong")
            assert len(derivations) == number
        impostor = b"v=" + base64.b64encode(bytes(32))
        far = theirs.session(authid="tim", password=USERS["tim"])
        with far, ours.session() as near, pytest.raises(AuthenticationError):
            login(far, near, [SCRAM], to_client=lambda turn, data: impostor if turn else data)
        assert keys_of(theirs) == {}
        log_in(ours, theirs, "tim", USERS["tim"])
        assert len(derivations) == 4
        assert len(keys_of(theirs)) == 1


def keys_of(owner: Client) -> Any:
    table = owner.core.once.get(("shared", "scram-client-keys"), lambda: ClientKeys(b"x" * 32))
    return table._keys


def test_keys_are_forgotten_with_the_client() -> None:
    """close() empties the table, and another Client knows nothing of it."""
    with server() as ours, client() as one, client() as other:
        log_in(ours, one, "tim", USERS["tim"])
        table = keys_of(one)
        assert len(table) == 1
        assert keys_of(other) == {}
        one.close()
        assert len(table) == 0


def test_labels_are_of_everything_that_keys_depend_on() -> None:
    """Hash, rounds, salt and password each make another label, however they are spliced."""
    keys = ClientKeys(b"x" * 32)
    inputs = [
        ("SHA-256", "pw", b"salt", 4096), ("SHA-1", "pw", b"salt", 4096),
        ("SHA-256", "pw", b"salt", 409), ("SHA-256", "6pw", b"salt", 409),
        ("SHA-256", "tpw", b"sal", 4096), ("SHA-256", "w", b"saltp", 4096),
        ("SHA-256", "", b"saltpw", 4096), ("SHA-256", "saltpw", b"", 4096),
    ]  # fmt: skip
    labels = {keys.label(*each) for each in inputs}
    assert len(labels) == len(inputs)
    assert ClientKeys(b"y" * 32).label(*inputs[0]) not in labels


def test_the_table_of_keys_is_bounded_and_shared(monkeypatch: pytest.MonkeyPatch) -> None:
    """Threads that keep more keys than there is room for push the oldest out, and none fails."""
    monkeypatch.setattr(scram_client, "CACHED_KEYS", 8)
    table = ClientKeys(b"x" * 32)
    failures: list[BaseException] = []
    before = sys.getswitchinterval()

    def keep(number: int) -> None:
        try:
            for turn in range(20_000):
                label = b"%d:%d" % (number, turn)
                table.keep(label, (label, label, label))
                _ = table.get(label)
        except BaseException as error:  # noqa: BLE001 - told to the test's own thread.
            failures.append(error)

    sys.setswitchinterval(1e-6)
    try:
        threads = [threading.Thread(target=keep, args=(number,)) for number in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    finally:
        sys.setswitchinterval(before)
    assert failures == []
    assert len(table._keys) <= 8 + len(threads)


# --- nonces, and what is stored ---------------


def test_nonces_never_repeat() -> None:
    """A hundred exchanges have a hundred nonces on each side, of 18 unpredictable bytes."""
    near_nonces, far_nonces = set(), set()
    with server() as ours, client() as theirs:
        for number in range(100):
            facts: dict[str, Any] = {"channel_bindings": EXPORTER} if number % 2 else {}
            far = theirs.session(authid="tim", password="x", **facts)
            near = ours.session(**facts)
            first = far.start(near.mechanisms()).data or b""
            nonce = first.partition(b"r=")[2]
            challenge = near.start(far.mechanism or "", first).data or b""
            both = challenge[2:].split(b",")[0]
            assert both.startswith(nonce)
            far_nonces.add(nonce)
            near_nonces.add(both.removeprefix(nonce))
    assert len(near_nonces) == len(far_nonces) == 100
    assert {len(base64.b64decode(each)) for each in near_nonces | far_nonces} == {NONCE_BYTES}
    assert NONCE_BYTES >= 18


@pytest.mark.parametrize("nonce", ["", "a", "abcdefg", "abc defgh", "abcdefgh\x7f", "x" * 1025])
def test_a_clients_nonce_is_long_enough_and_printable(nonce: str) -> None:
    """A server does not begin with a client whose nonce is short, or no nonce at all."""
    with server() as owner, owner.session() as session, pytest.raises(PeerError):
        session.start(SCRAM, f"n,,n=tim,r={nonce}".encode())


def files(path: Path) -> Iterator[bytes]:
    for each in path.parent.iterdir():
        yield each.read_bytes()


@pytest.mark.parametrize("by", ["setpass", "transition"])
def test_only_stored_keys_are_stored(by: str, tmp_path: Path) -> None:
    """No file of the store holds the password or what a client proves itself with."""
    path = tmp_path / "sasldb.sqlite"
    database = SqliteStore(path)
    word = "s3cret-pencil-of-tim"
    config = {**OPEN, "auto_transition": "noplain" if by == "transition" else "no"}
    callback: Callable[..., Result] = lambda *_: Result.OK  # noqa: E731
    more: dict[str, Any] = {"checkpass": callback} if by == "transition" else {}
    with server([database], config=config, **more) as owner:
        database.create()
        if by == "setpass":
            assert owner.setpass("tim", word, SetpassFlag.CREATE).ok
        else:
            with owner.session() as session:
                assert session.start("PLAIN", f"\0tim\0{word}".encode()).done
        content = b"".join(files(path))
    found = content + b"".join(files(path))
    marker = found.index(b"SCRAM-SHA-256$")
    rounds, salt = found[marker:].split(b"$")[1].split(b":")[:2]
    raw_salt = base64.b64decode(salt)
    salted = hashlib.pbkdf2_hmac("sha256", word.encode(), raw_salt, int(rounds))
    client_key = hmac.digest(salted, b"Client Key", "sha256")
    server_key = hmac.digest(salted, b"Server Key", "sha256")
    stored = hashlib.sha256(client_key).digest()
    for secret in (word.encode(), salted, client_key):
        for spelling in (secret, base64.b64encode(secret), secret.hex().encode()):
            assert spelling not in found
    assert base64.b64encode(stored) in found
    assert base64.b64encode(server_key) in found
    assert len(raw_salt) >= 16
    assert int(rounds) == 4096


def test_two_users_with_one_password_share_nothing(tmp_path: Path) -> None:
    """Salts are fresh for each user and each time a password is set."""
    database = SqliteStore(tmp_path / "sasldb.sqlite")
    with server([database]) as owner:
        salts = set()
        for name in ("tim", "kurt", "tim"):
            assert owner.setpass(name, "pencil-pencil", SetpassFlag.CREATE).ok
            session = owner.session()
            challenge = session.start(SCRAM, f"n,,n={name},r=abcdefghijkl".encode()).data or b""
            salts.add(challenge.split(b",")[1])
    assert len(salts) == 3
