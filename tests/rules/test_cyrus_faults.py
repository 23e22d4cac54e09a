"""What Cyrus SASL got wrong, by the numbers of our list, and the CVEs that concern us already."""

from __future__ import annotations

import hashlib
import hmac
import logging
import os
from typing import Any

import pytest

import sasl_core.verifier
from drivers import exchange
from sasl_auxprop.memory import MemoryStore
from sasl_core import (
    AuthenticationError,
    BackendError,
    BindingPolicy,
    Decision,
    MechanismError,
    PeerError,
    Result,
    SaslError,
    SetpassFlag,
    UsageError,
    UserName,
    derive,
)
from sasl_core.plugin import (
    NeedCall,
    PasswordAnswer,
    PwcheckPlug,
    b64decode,
    b64encode,
    format_verifier,
    parse_verifier,
)
from toys import OPEN, SpyStore, naming_client, naming_server, server_plug

EXPORTER = {"tls-exporter": b"E" * 32}
SCRAM = "SCRAM-SHA-256"


@pytest.fixture
def store():
    """tim, whose password is pencil."""
    return SpyStore(users={"tim": "pencil"})


@pytest.fixture
def server(driver, store):
    """A server that offers everything."""
    return driver.server(OPEN, stores=[store])


@pytest.fixture
def login(driver, server):
    """Log tim in; the server's session."""

    def log_in(mechanism=SCRAM, password="pencil", facts=None, **client):
        session = server.session(**(facts or {}))
        given = {"authid": "tim", "password": password} | (facts or {}) | client
        exchange(session, driver.client(OPEN).session(**given), mechanism)
        return session

    return log_in


# --- 1: sent_last --------------------------------------------------------------------------------


@pytest.mark.parametrize("success_data", [False, True])
def test_fault_1_a_session_that_is_done_takes_no_second_attempt(login, success_data):
    """After one SCRAM success neither start nor step returns anything, least of all OK."""
    session = login(facts={"success_data": success_data})
    for attempt in (
        lambda: session.start("PLAIN", b"\0tim\0wrong"),
        lambda: session.start(SCRAM, b"n,,n=tim,r=aaaaaaaaaaaaaaaa"),
        lambda: session.step(b""),
        lambda: session.step(b"anything"),
    ):
        with pytest.raises(UsageError) as caught:
            attempt()
        assert caught.value.code == "out-of-order"


def test_fault_1_a_failure_is_terminal(server):
    """A session that was refused stays refused, the right password included."""
    session = server.session()
    with pytest.raises(AuthenticationError):
        session.start("PLAIN", b"\0tim\0wrong")
    for attempt in (
        lambda: session.start("PLAIN", b"\0tim\0pencil"),
        lambda: session.step(b"\0tim\0pencil"),
        lambda: session.step(b""),
    ):
        with pytest.raises(UsageError):
            attempt()
    assert not session.done


def test_fault_1_a_rejected_downgrade_stays_rejected(driver, store):
    """The binding check comes before "done", and the step after it succeeds no more."""
    server = driver.server(OPEN, stores=[store])
    session = server.session(channel_bindings=EXPORTER)
    # The client believes that -PLUS was not offered: somebody has removed it.
    with pytest.raises(AuthenticationError) as caught:
        session.start(SCRAM, b"y,,n=tim,r=aaaaaaaaaaaaaaaaaaaaaaaa")
    assert caught.value.wire == b"e=server-does-support-channel-binding"
    with pytest.raises(UsageError):
        session.step(b"")
    assert not session.done


def test_fault_1_the_binding_policy_is_checked_after_the_mechanism(driver, toys):
    """A mechanism named -PLUS that binds nothing is refused at its end, on both sides."""
    from sasl_core import Feature
    from toys import CLIENT_FIRST, client_plug

    features = CLIENT_FIRST | Feature.CHANNEL_BINDING
    toys.mechanism(
        server_plug("TOY", naming_server(look_up=False), features),
        client_plug("TOY", naming_client(), features),
    )
    registry = toys.registry()
    facts = {"channel_bindings": EXPORTER, "binding_policy": BindingPolicy.REQUIRE}
    session = driver.server(registry=registry).session(**facts)
    with pytest.raises(AuthenticationError) as caught:
        session.start("TOY-PLUS", b"alice")
    assert "channel binding" in (caught.value.detail or "")
    client = driver.client(registry=registry).session(authid="alice", **facts)
    with pytest.raises(AuthenticationError) as caught:
        client.start("TOY-PLUS")
    assert caught.value.result is Result.BADBINDING
    assert not session.done
    assert not client.done


# --- 2: masking ----------------------------------------------------------------------------------


def test_fault_2_the_text_is_masked_as_the_number_is(server):
    """An unknown user and a wrong password look alike, in text, number, code and wire."""
    seen = set()
    for message in (b"\0tim\0wrong", b"\0nobody\0wrong"):
        with pytest.raises(AuthenticationError) as caught:
            server.session().start("PLAIN", message)
        error = caught.value
        seen.add((str(error), error.result, error.code, error.wire))
    assert len(seen) == 1


def test_fault_2_scram_goes_on_for_an_unknown_user(server):
    """The first answer has the same shape, and the same salt and rounds each time."""
    answers = []
    for name in (b"tim", b"nobody", b"nobody"):
        reply = server.session().start(SCRAM, b"n,,n=%s,r=aaaaaaaaaaaaaaaaaaaaaaaa" % name)
        assert not reply.done
        answers.append(dict(part.split(b"=", 1) for part in reply.data.split(b",")))
    tim, one, two = answers
    assert [(k, len(v)) for k, v in tim.items()] == [(k, len(v)) for k, v in one.items()]
    assert (one[b"s"], one[b"i"]) == (two[b"s"], two[b"i"])
    assert one[b"i"] == tim[b"i"]


# --- 3: one verifier for each hash ---------------------------------------------------------------


def test_fault_3_each_hash_keeps_its_own_verifier(driver, tmp_path):
    """Five writes to one property are five verifiers, in sasldb too."""
    from sasl_auxprop.sasldb import SqliteStore
    from sasl_core.plugin import Change
    from sasl_core.verifier import verifier_from_salted_password

    hashes = {"SHA-1": 20, "SHA-256": 32, "SHA-512": 64}
    for store in (MemoryStore(), SqliteStore(tmp_path / f"{driver.name}.db")):
        for name, size in hashes.items():
            made = verifier_from_salted_password(name, b"x" * size, b"salt" * 4, 4096)
            change = Change({"authPassword": (format_verifier(made),)}, create=True, exist_ok=True)
            assert store.write(UserName("tim"), change) is Result.OK
        found = store.read(UserName("tim"), ("authPassword",))
        assert set(found.verifiers) == set(hashes)
        store.close()


@pytest.mark.parametrize(
    ("hashes", "checked"),
    [(("SHA-1", "SHA-256", "SHA-512"), "SHA-256"), (("SHA-1", "SHA-512"), "SHA-512")],
)
def test_fault_3_plain_does_not_check_the_weakest_verifier(driver, hashes, checked):
    """The usual hash, whose cost everybody has, or else the strongest."""
    store = MemoryStore()
    store.add_user("tim", password="pencil", hashes=hashes)
    server = driver.server(OPEN, stores=[store])
    negotiation = server.session().raw()
    need: Any = negotiation.start("PLAIN", b"\0tim\0pencil")
    assert need.authid == "tim"
    need = negotiation.answer(store.read(UserName("tim"), ("authPassword",)))
    assert need.hash == checked
    negotiation.close()


# --- 4 and 5: PBKDF2 and randomness --------------------------------------------------------------


def test_fault_4_derivations_are_openssls(driver, login, monkeypatch):
    """The key derivation is hashlib's, once for each client login, and none for the server."""
    calls = []
    plain = hashlib.pbkdf2_hmac

    def spy(*arguments):
        calls.append(arguments[0])
        return plain(*arguments)

    monkeypatch.setattr(hashlib, "pbkdf2_hmac", spy)
    login()
    assert calls == ["sha256"]
    assert derive("SHA-256", b"x", b"salt", 1) == plain("sha256", b"x", b"salt", 1)


def test_fault_5_nonces_and_salts_are_unpredictable(server, login, monkeypatch):
    """Every nonce and every salt comes from the system's source, and no two are alike."""
    sizes = []
    plain = os.urandom

    def spy(size):
        sizes.append(size)
        return plain(size)

    monkeypatch.setattr(os, "urandom", spy)
    login()
    assert sizes.count(18) == 2
    server.setpass("tim", "pencil")
    assert sizes.count(16) == 1
    nonces = {
        server.session().start(SCRAM, b"n,,n=tim,r=aaaaaaaaaaaaaaaaaaaaaaaa").data.split(b",")[0]
        for _ in range(50)
    }
    assert len(nonces) == 50


# --- 6: names ------------------------------------------------------------------------------------


def test_fault_6_a_bound_client_says_plus(login, driver):
    """The name to send is that of the variant that was used."""
    facts = {"channel_bindings": EXPORTER}
    client = driver.client(OPEN).session(authid="tim", password="pencil", **facts)
    client.start([SCRAM + "-PLUS", SCRAM])
    assert client.mechanism == "SCRAM-SHA-256-PLUS"
    assert login([SCRAM + "-PLUS"], facts=facts).mechanism == "SCRAM-SHA-256-PLUS"


def test_fault_6_plain_plus_is_nothing(server):
    """A suffix makes no mechanism of one that binds nothing."""
    session = server.session(channel_bindings=EXPORTER)
    with pytest.raises(MechanismError):
        session.start("PLAIN-PLUS", b"\0tim\0pencil")
    assert not session.done


# --- 7: user_exists with saslauthd ---------------------------------------------------------------


class FakeSaslauthd(PwcheckPlug):
    """Like saslauthd: it can check a password and cannot tell whether a user exists."""

    name = "saslauthd"

    def check_password(self, user, password, service):
        def ask():
            return PasswordAnswer(Result.OK if password == b"pencil" else Result.BADAUTH)

        from sasl_core import Blocking

        return (yield from NeedCall(ask, Blocking.REMOTE))


def test_fault_7_user_exists_with_saslauthd_does_not_crash(driver, toys):
    """It says that nobody can tell; passwords are checked as ever."""
    toys.plug("pwcheck", FakeSaslauthd())
    config = OPEN | {"pwcheck_method": ["saslauthd"]}
    server = driver.server(config, registry=toys.registry(), stores=[MemoryStore()])
    with pytest.raises(BackendError) as caught:
        server.user_exists("tim")
    assert caught.value.code == "cannot-tell"
    assert server.checkpass("tim", "pencil") == "tim"
    with pytest.raises(AuthenticationError):
        server.checkpass("tim", "wrong")
    assert server.session().start("PLAIN", b"\0tim\0pencil").done


# --- 8 and 9: secrets ----------------------------------------------------------------------------


def test_fault_8_no_password_stays_after_a_match(driver):
    """Neither a plaintext password nor a verifier is left in the properties."""
    store = MemoryStore({"tim": "pencil"}, plaintext=True)
    server = driver.server(OPEN, stores=[store])
    session = server.session()
    session.start("PLAIN", b"\0tim\0pencil")
    assert session.done
    assert all(not session.properties.found(name) for name in session.properties.names)


def test_fault_9_stored_keys_are_compared_in_constant_time(driver, login, monkeypatch):
    """SCRAM's and PLAIN's comparisons go through compare_digest, with equal lengths."""
    from sasl_core.context import passwords

    compared = []
    plain = hmac.compare_digest

    def spy(a, b):
        compared.append((len(a), len(b)))
        return plain(a, b)

    for module in (sasl_core.verifier, passwords):
        monkeypatch.setattr(module, "compare_digest", spy)
    login()
    assert (32, 32) in compared
    compared.clear()
    login("PLAIN")
    assert (32, 32) in compared
    with pytest.raises(AuthenticationError):
        login("PLAIN", password="wrong")


# --- 10 and 11: plugins and reasons --------------------------------------------------------------


def test_fault_10_a_broken_plugin_spoils_nothing(driver, toys, store):
    """Plugins that cannot be loaded, configured or called leave the others alone."""

    def explodes(utils):
        raise RuntimeError("either oauth2_discovery_urls or ... must be configured")

    def exits(utils):
        raise SystemExit(1)

    toys.add("mechanisms", "BROKEN", mechanisms=explodes, client=explodes)
    toys.add("mechanisms", "EXITS", mechanisms=exits, client=exits)
    toys.add("mechanisms", "NONE", mechanisms=lambda utils: None)
    toys.add("audit", "noise", audit=explodes)
    registry = toys.registry()
    server = driver.server(OPEN, registry=registry, stores=[store])
    session = server.session()
    assert session.mechanisms() == (SCRAM, "PLAIN", "ANONYMOUS")
    assert "RuntimeError" in session.rejected["BROKEN"]
    assert "SystemExit" in session.rejected["EXITS"]
    client = driver.client(OPEN, registry=registry).session(authid="tim", password="pencil")
    exchange(session, client, ["BROKEN", "EXITS", "NONE", SCRAM])
    assert session.done
    with pytest.raises(MechanismError, match="BROKEN"):
        server.session().start("BROKEN", b"")


def test_fault_11_no_mechanism_comes_with_its_reasons(driver):
    """Each name that was passed over says why, in the error and in the mapping."""
    client = driver.client({}).session(authid="tim", password="pencil", remote="192.0.2.1;143")
    with pytest.raises(MechanismError) as caught:
        client.start("PLAIN ANONYMOUS SCRAM-SHA-256 SCRAM-SHA-256-PLUS GSSAPI")
    reasons = caught.value.reasons
    assert "allow_cleartext" in reasons["PLAIN"]
    assert "allow_anonymous" in reasons["ANONYMOUS"]
    assert "allow_unencrypted_scram" in reasons[SCRAM]
    assert "channel binding" in reasons[SCRAM + "-PLUS"]
    assert "installed" in reasons["GSSAPI"]
    for name, reason in reasons.items():
        assert f"{name}: {reason}" in str(caught.value)
    assert dict(client.rejected) == reasons


# --- CVEs ----------------------------------------------------------------------------------------


FORMATS = ["%s%n%x", "%s{0.__class__}", "{0.__class__}", "%(password)s", "${jndi:ldap://x}"]


@pytest.mark.parametrize("name", FORMATS)
def test_fault_cve_2001_0869_a_name_in_the_log_is_no_format(server, caplog, name):
    """A user name stays literal in every log line and detail."""
    with caplog.at_level(logging.DEBUG):
        with pytest.raises(SaslError):
            server.session().start("PLAIN", f"\0{name}\0wrong".encode())
        assert name in caplog.text
    for record in caplog.records:
        record.getMessage()


FIRST = [b"n,", b",", b"n=tim", b",r=aaaaaaaaaaaaaaaaaaaaaaaa"]


@pytest.mark.parametrize("missing", range(4))
def test_fault_a_missing_field_is_a_protocol_error(server, missing):
    """Never a KeyError, whichever field of SCRAM's first message is missing."""
    message = b"".join(part for index, part in enumerate(FIRST) if index != missing)
    with pytest.raises(PeerError) as caught:
        server.session().start(SCRAM, message)
    assert caught.value.result is Result.BADPROT


@pytest.mark.parametrize("missing", ["c", "r", "p"])
def test_fault_a_missing_field_of_the_second_message_is_a_protocol_error(server, missing):
    """The same for the client's final message."""
    session = server.session()
    reply = session.start(SCRAM, b"n,,n=tim,r=aaaaaaaaaaaaaaaaaaaaaaaa")
    nonce = reply.data.split(b",")[0][2:]
    fields = {"c": b"biws", "r": nonce, "p": b64encode(b"x" * 32)}
    message = b",".join(k.encode() + b"=" + v for k, v in fields.items() if k != missing)
    with pytest.raises(PeerError):
        session.step(message)


@pytest.mark.parametrize(
    "text", [b"=", b"====", b"a", b"YQ", b"YR==", b"Y Q==", b"YQ==\n", b"Y", b"-_==", b"YQ==YQ=="]
)
def test_fault_cve_2009_0688_base64_is_strict(server, text):
    """One spelling of each value, and nothing read beyond the end; in a proof too."""
    with pytest.raises(PeerError):
        b64decode(text)
    session = server.session()
    reply = session.start(SCRAM, b"n,,n=tim,r=aaaaaaaaaaaaaaaaaaaaaaaa")
    nonce = reply.data.split(b",")[0]
    with pytest.raises(PeerError):
        session.step(b"c=biws," + nonce + b",p=" + text)


@pytest.mark.parametrize(
    "stored",
    [
        b"{CRYPT}$9$unknown$hash",
        b"SCRAM-SHA-9$4096:c2FsdA==$c2FsdA==:c2FsdA==",
        b"SCRAM-SHA-256$1:c2FsdA==$:",
        b"",
        b"pencil",
    ],
)
@pytest.mark.parametrize("mechanism", ["PLAIN", SCRAM])
def test_fault_cve_2013_4122_an_unknown_scheme_fails_closed(driver, mechanism, stored):
    """A stored value that nobody understands lets nobody in, and crashes nothing."""

    class Odd(MemoryStore):
        def read(self, user, names):
            from sasl_core import Found

            return Found(Result.OK, {"authPassword": (stored,)}, {}, b"d" * 32)

    server = driver.server(OPEN, stores=[Odd()])
    for password in ("pencil", stored.decode() or "x"):
        session = server.session()
        client = driver.client(OPEN).session(authid="tim", password=password)
        with pytest.raises(SaslError):
            exchange(session, client, mechanism)
        assert not session.done
    with pytest.raises(BackendError):
        parse_verifier(stored)


@pytest.mark.parametrize("name", ["\U0001f600" * 50, "%" * 200, "a" * 255])
def test_fault_cve_2019_19906_formatting_an_error_stops_nothing(driver, store, caplog, name):
    """However odd a name, the refusal is a refusal and the next login works."""
    server = driver.server(OPEN, stores=[store])
    with caplog.at_level(logging.DEBUG), pytest.raises(SaslError) as caught:
        server.session().start("PLAIN", f"\0{name}\0wrong".encode())
    assert caught.value.detail
    assert server.session().start("PLAIN", b"\0tim\0pencil").done


@pytest.mark.parametrize("size", [0, 1, 16, 31, 33, 64])
def test_fault_a_proof_of_another_length_is_refused(server, size):
    """A truncated digest is not compared by the shorter length."""
    session = server.session()
    reply = session.start(SCRAM, b"n,,n=tim,r=aaaaaaaaaaaaaaaaaaaaaaaa")
    nonce = reply.data.split(b",")[0]
    proof = b64encode(b"\0" * size)
    with pytest.raises(PeerError):
        session.step(b"c=biws," + nonce + b",p=" + proof)
    assert not session.done


@pytest.mark.parametrize("rounds", [0, 1, 4095, 1_000_001, 10**9, 2**31, 2**64])
def test_fault_rounds_beyond_the_bounds_are_refused_before_any_work(driver, monkeypatch, rounds):
    """Neither one round nor a thousand million; nothing is derived for either."""
    calls = []
    monkeypatch.setattr(hashlib, "pbkdf2_hmac", lambda *a: calls.append(a))
    client = driver.client(OPEN).session(authid="tim", password="pencil")
    first = client.start(SCRAM).data
    nonce = first.split(b"r=")[1]
    with pytest.raises(PeerError):
        client.step(b"r=" + nonce + b"more,s=c2FsdHNhbHRzYWx0c2FsdA==,i=%d" % rounds)
    assert calls == []


def test_fault_a_binding_that_is_not_configured_is_refused(server):
    """`p=` where the connection has no binding, with and without -PLUS in the name."""
    message = b"p=tls-unique,,n=tim,r=aaaaaaaaaaaaaaaaaaaaaaaa"
    with pytest.raises(SaslError):
        server.session().start(SCRAM, message)
    with pytest.raises(SaslError):
        server.session().start(SCRAM + "-PLUS", message)
    with pytest.raises(SaslError) as caught:
        server.session(channel_bindings=EXPORTER).start(SCRAM + "-PLUS", message)
    assert caught.value.wire == b"e=unsupported-channel-binding-type"


def test_fault_cve_2011_1720_no_state_survives_an_attempt(driver, store):
    """Nothing of one attempt is seen by the next: each has a session, and each is fresh."""
    server = driver.server(OPEN, stores=[store], authorize=lambda *_: Decision.PERMIT)
    first = server.session(properties=["mailHost"])
    first.start(SCRAM, b"n,,n=tim,r=aaaaaaaaaaaaaaaaaaaaaaaa")
    with pytest.raises(UsageError):
        first.start("PLAIN", b"\0tim\0pencil")
    with pytest.raises(SaslError):
        first.step(b"\0tim\0pencil")
    second = server.session()
    assert second.start("PLAIN", b"\0tim\0pencil").done
    assert second.authid == "tim"
    with pytest.raises(UsageError):
        assert first.authid


def test_fault_interleaved_sessions_do_not_mix(driver):
    """Two logins, step by step in turns, end as two people."""
    people = {"alice": "alice's", "bob": "bob's"}
    server = driver.server(OPEN, stores=[MemoryStore(people)])
    made = []
    for name, password in people.items():
        session, client = (
            server.session(),
            driver.client(OPEN).session(authid=name, password=password),
        )
        made.append((session, client, session.start(SCRAM, client.start(SCRAM).data)))
    while not all(reply.done for *_, reply in made):
        made = [
            (session, client, session.step(client.step(reply.data).data))
            for session, client, reply in made
        ]
    assert [session.authid for session, *_ in made] == list(people)


def test_fault_no_limit_of_256_bytes_on_a_password(driver):
    """A long passphrase is a password; one beyond the cap is refused with a reason."""
    server = driver.server(OPEN, stores=[MemoryStore()])
    long = "correct horse battery staple " * 40
    assert server.setpass("tim", long, SetpassFlag.CREATE).ok
    assert server.checkpass("tim", long) == "tim"
    with pytest.raises(AuthenticationError):
        server.checkpass("tim", long[:256])
    with pytest.raises(UsageError):
        server.setpass("tim", "x" * 10_000)
    with pytest.raises(AuthenticationError):
        server.checkpass("tim", "x" * 10_000)


# --- Cyrus's own scenarios of initialisation -----------------------------------------------------


def test_fault_initialised_twice_closed_twice(driver, store):
    """Two servers live side by side; closing one, or one twice, leaves the other."""
    one = driver.server(OPEN, stores=[store])
    two = driver.server(OPEN, stores=[MemoryStore({"tim": "other"})])
    one.close()
    one.close()
    with pytest.raises(UsageError):
        one.session()
    assert two.session().start("PLAIN", b"\0tim\0other").done


@pytest.mark.parametrize("name", ["x" * 32_768, "", "a/b", "..", "a\0b", "a\nb", 7], ids=ascii)
def test_fault_a_bad_application_name_is_the_callers_mistake(driver, name):
    """32 kB, a path, nothing at all: a UsageError."""
    with pytest.raises(UsageError):
        driver.server(OPEN, appname=name)
