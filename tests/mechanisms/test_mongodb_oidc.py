"""MONGODB-OIDC: its messages, and logins with them through the three drivers."""

from __future__ import annotations

import json
import logging
from contextlib import closing
from pathlib import Path
from typing import Any

import bson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from drivers import Driver, Handle, exchange, make_driver
from sasl_core import (
    AccessToken,
    AuthenticationError,
    BackendError,
    CredentialsPlug,
    MechanismError,
    PeerError,
    Reply,
    Result,
    SaslError,
    TokenRequest,
    UsageError,
)
from sasl_core.plugin import Needs
from sasl_mechanisms.mongodb_oidc.messages import (
    HINT_LIMIT,
    ClientStep1,
    ClientStep2,
    ServerStep1,
    format_client_step1,
    format_client_step2,
    format_server_step1,
    parse_client_opening,
    parse_client_step2,
    parse_server_step1,
)
from sasl_tokens.terms import UNNAMED
from secret_walk import find, spellings
from token_kit import FakeIssuer, make_key

VECTORS: list[dict[str, Any]] = json.loads(
    (Path(__file__).parent.parent / "vectors" / "mongodb_oidc.json").read_text("utf-8")
)["vectors"]
TWO_STEPS = [vector for vector in VECTORS if vector["server_step_1"] is not None]
ONE_STEP = [vector for vector in VECTORS if vector["server_step_1"] is None]

CLEAR: dict[str, object] = {"allow_cleartext": True}
NAME = "MONGODB-OIDC"


def name_of(vector: dict[str, Any]) -> str:
    """For the test's name."""
    return str(vector["name"])


# --- messages -------------------------------------------------------------------------------


def test_every_vector_is_tried() -> None:
    """What PyMongo sent is two logins with a token and four without."""
    assert (len(ONE_STEP), len(TWO_STEPS)) == (2, 4)


@pytest.mark.parametrize("vector", VECTORS, ids=name_of)
def test_pymongos_messages_are_read_and_written(vector: dict[str, Any]) -> None:
    """Each is read as what it is, and comes out of the formatter to the byte."""
    *opening, last = map(bytes.fromhex, vector["client_hex"])
    assert parse_client_step2(last) == ClientStep2(vector["token"])
    assert parse_client_opening(last) == ClientStep2(vector["token"])
    assert format_client_step2(vector["token"]) == last
    for first in opening:
        assert parse_client_opening(first) == ClientStep1(vector["username"])
        assert parse_client_step2(first) is None
        assert format_client_step1(vector["username"]) == first
    assert bool(opening) is (vector in TWO_STEPS)


@pytest.mark.parametrize("vector", TWO_STEPS, ids=name_of)
def test_the_servers_message_is_what_pymongo_understood(vector: dict[str, Any]) -> None:
    """We read a ServerStep1 as PyMongo did, and write the one that it read."""
    message = bytes.fromhex(vector["server_step_1_hex"])
    step = parse_server_step1(message)
    seen = vector["seen_by_callback"]
    assert (step.issuer, step.client_id) == (seen["issuer"], seen["clientId"])
    assert list(step.request_scopes) == (seen["requestScopes"] or [])
    assert format_server_step1(step) == message


TEXT = st.text(st.characters(codec="utf-8"), max_size=30)
PRINTABLE = st.text(
    st.characters(codec="utf-8", exclude_categories=["C", "Z"], include_characters=" "),
    min_size=1,
    max_size=30,
)


@given(TEXT, st.none() | TEXT)
def test_a_clients_messages_come_back(token: str, hint: str | None) -> None:
    """What is written is read as it was; an empty hint is none, an empty token is an error."""
    assert parse_client_opening(format_client_step1(hint)) == ClientStep1(hint or None)
    if token:
        step = ClientStep2(token)
        assert parse_client_opening(format_client_step2(token)) == step
        assert parse_client_step2(format_client_step2(token)) == step
    else:
        with pytest.raises(UsageError):
            format_client_step2(token)


@given(PRINTABLE, st.none() | PRINTABLE, st.lists(PRINTABLE, max_size=3))
def test_a_servers_message_comes_back(issuer: str, client: str | None, scopes: list[str]) -> None:
    """And it holds no field that PyMongo does not know."""
    step = ServerStep1(issuer, client, tuple(scopes))
    message = format_server_step1(step)
    assert parse_server_step1(message) == step
    assert set(bson.decode(message)) <= {"issuer", "clientId", "requestScopes"}


@pytest.mark.parametrize(
    ("document", "expected"),
    [
        ({"jwt": "a.b.c", "n": "tim"}, ClientStep2("a.b.c")),
        ({"n": 1, "jwt": "a.b.c"}, ClientStep2("a.b.c")),
        (
            {"x": bson.ObjectId("6b0b48c86adefe103753de18"), "n": "tim", "y": [{}]},
            ClientStep1("tim"),
        ),
        ({"JWT": "a.b.c", "N": "tim"}, ClientStep1(None)),
        ({"n": ""}, ClientStep1(None)),
        ({"n": "a" * HINT_LIMIT}, ClientStep1("a" * HINT_LIMIT)),
    ],
    ids=repr,
)
def test_jwt_goes_first_and_what_is_unknown_is_ignored(document: Any, expected: object) -> None:
    """A jwt makes it step 2, whatever lies beside it."""
    assert parse_client_opening(bson.encode(document)) == expected


@pytest.mark.parametrize(
    "document",
    [
        {"jwt": None},
        {"jwt": 1},
        {"jwt": b"a.b.c"},
        {"jwt": ["a.b.c"]},
        {"jwt": bson.Code("a.b.c")},
        {"jwt": ""},
        {"jwt": 1, "n": "tim"},
    ],
    ids=repr,
)
def test_a_jwt_that_is_none_is_refused(document: Any) -> None:
    """It is no step 1 either: what is listed has to be what is listed."""
    for parse in (parse_client_opening, parse_client_step2):
        with pytest.raises(PeerError) as caught:
            parse(bson.encode(document))
        assert caught.value.code == "oidc-message"


@pytest.mark.parametrize(
    "document", [{"n": None}, {"n": 1}, {"n": b"tim"}, {"n": ["tim"]}, {"n": "a" * 1025}], ids=repr
)
def test_a_hint_that_is_none_is_refused(document: Any) -> None:
    """It is not taken for a missing one."""
    with pytest.raises(PeerError) as caught:
        parse_client_opening(bson.encode(document))
    assert caught.value.code == "oidc-message"


ISSUER = "https://idp.example.com"


@pytest.mark.parametrize(
    "document",
    [
        {},
        {"clientId": "c"},
        {"issuer": None},
        {"issuer": ""},
        {"issuer": ["https://idp.example.com"]},
        {"issuer": ISSUER + "\n"},
        {"issuer": ISSUER, "clientId": None},
        {"issuer": ISSUER, "clientId": ""},
        {"issuer": ISSUER, "clientId": "a\0b"},
        {"issuer": ISSUER, "requestScopes": None},
        {"issuer": ISSUER, "requestScopes": "openid"},
        {"issuer": ISSUER, "requestScopes": {"0": "openid"}},
        {"issuer": ISSUER, "requestScopes": ["openid", 1]},
        {"issuer": ISSUER, "requestScopes": ["openid", ""]},
        {"issuer": ISSUER, "requestScopes": ["openid\r\nx: y"]},
    ],
    ids=repr,
)
def test_malformed_server_messages_are_refused(document: Any) -> None:
    """A part of the wrong type, an empty one, one that cannot be printed."""
    with pytest.raises(PeerError) as caught:
        parse_server_step1(bson.encode(document))
    assert caught.value.code == "oidc-message"


@pytest.mark.parametrize(
    "step",
    [
        ServerStep1(""),
        ServerStep1(ISSUER + "\n"),
        ServerStep1(ISSUER, ""),
        ServerStep1(ISSUER, "c", ("",)),
        ServerStep1(ISSUER, "c", ("a\nb",)),
    ],
    ids=repr,
)
def test_what_no_client_accepts_is_not_sent(step: ServerStep1) -> None:
    """A server that is configured so says so."""
    with pytest.raises(UsageError):
        format_server_step1(step)


def test_a_hint_that_is_too_long_is_not_sent() -> None:
    """The server would refuse it."""
    with pytest.raises(UsageError):
        format_client_step1("a" * (HINT_LIMIT + 1))


def test_a_token_is_not_shown() -> None:
    """Not by the message that holds it."""
    assert "secret" not in repr(ClientStep2("secret.token"))


# --- logins ---------------------------------------------------------------------------------


@pytest.fixture
def issuer() -> FakeIssuer:
    """An identity provider."""
    return FakeIssuer(ISSUER)


class Person(CredentialsPlug):
    """Somebody who logs in at the provider that is named. `asked`: what for."""

    name = "person"
    human = True

    def __init__(self, *tokens: str) -> None:
        self.tokens = list(tokens)
        self.asked: list[TokenRequest] = []

    def token(self, request: TokenRequest) -> Needs[AccessToken]:
        self.asked.append(request)
        yield from ()
        return AccessToken(self.tokens.pop(0))


def provider(**more: object) -> dict[str, object]:
    """A provider for humans, as it is configured; None removes a field."""
    made: dict[str, object] = {
        "issuer": ISSUER,
        "audience": "sasl",
        "authNamePrefix": "test",
        "clientId": "sasl-core-tests",
        "requestScopes": ["openid", "groups"],
        "authorizationClaim": "roles",
        **more,
    }
    return {name: value for name, value in made.items() if value is not None}


def serve(
    driver: Driver, issuer: FakeIssuer, *providers: dict[str, object], **config: object
) -> Handle:
    """A server that trusts the providers, or the one above."""
    settings = {**CLEAR, "identity_providers": list(providers) or [provider()], **config}
    return driver.server(settings, http=issuer.http)


def visit(driver: Driver, **more: Any) -> Handle:
    """A client on the very machine."""
    return driver.client(CLEAR, "localhost", **more)


def good(issuer: FakeIssuer, **claims: object) -> str:
    """A token that is accepted."""
    named = {"sub": "tim@example.com", "roles": ["read", "a/b.c$"], **claims}
    return issuer.sign(issuer.claims(**named))


def refused(server: Handle, *messages: bytes) -> SaslError:
    """What the last of the messages is refused with; those before it are answered."""
    *answered, last = messages
    with closing(server.session()) as session:
        calls = [lambda message: session.start(NAME, message), *[session.step] * len(answered)]
        for call, message in zip(calls, answered, strict=False):
            assert not call(message).done
        with pytest.raises(SaslError) as caught:
            calls[len(answered)](last)
        assert not session.done
        assert session.error_detail
    return caught.value


def test_one_step(driver: Driver, issuer: FakeIssuer) -> None:
    """A client that has a token sends it, and is in under its name there, with its roles."""
    token = good(issuer)
    near = serve(driver, issuer).session()
    far = visit(driver).session(token=token)
    said, heard = exchange(near, far, [NAME])
    assert said == [bson.encode({"jwt": token})]
    assert heard == [None]
    assert near.authid == near.authzid == "test/tim@example.com"
    assert near.mechanism == far.mechanism == NAME
    for star in ("*", ""):
        assert near.properties.get(star + "principal") == (b"tim@example.com",)
        assert near.properties.get(star + "database") == (b"$external",)
        assert near.properties.get(star + "roles") == (b"admin.test/read", b"admin.test/a/b.c$")
    assert near.valid()
    assert far.authid == UNNAMED


def test_a_name_is_no_proof(driver: Driver, issuer: FakeIssuer) -> None:
    """In one step the server is told no name, and the client claims none."""
    near = serve(driver, issuer).session()
    far = visit(driver).session(authid="root", token=good(issuer))
    _ = exchange(near, far, [NAME])
    assert near.authid == "test/tim@example.com"
    assert far.authid == far.authzid == UNNAMED


def test_two_steps(driver: Driver, issuer: FakeIssuer) -> None:
    """A person is sent to the provider that the server names, and comes back with a token."""
    token = good(issuer)
    person = Person(token)
    near = serve(driver, issuer).session()
    far = visit(driver, credentials=person).session()
    said, heard = exchange(near, far, [NAME])
    assert said == [bson.encode({}), bson.encode({"jwt": token})]
    step = {
        "issuer": ISSUER,
        "clientId": "sasl-core-tests",
        "requestScopes": ["openid", "groups"],
    }
    assert heard == [bson.encode(step), None]
    assert near.authid == "test/tim@example.com"
    (request,) = person.asked
    assert (request.issuer, request.client_id) == (ISSUER, "sasl-core-tests")
    assert (request.scopes, request.username) == (("openid", "groups"), None)
    assert (request.service, request.host) == ("smtp", "localhost")


def test_two_steps_with_a_hint(driver: Driver, issuer: FakeIssuer) -> None:
    """The name is sent as it was typed, and has to be the token's."""
    person = Person(good(issuer))
    near = serve(driver, issuer).session()
    far = visit(driver, credentials=person).session(authid="tim@example.com")
    said, _ = exchange(near, far, [NAME])
    assert said[0] == bson.encode({"n": "tim@example.com"})
    assert near.authid == "test/tim@example.com"
    # A server need not heed it.
    assert far.authid == far.authzid == UNNAMED
    assert person.asked[0].username == "tim@example.com"


@pytest.mark.parametrize("vector", VECTORS, ids=name_of)
def test_a_client_says_what_pymongo_says(vector: dict[str, Any], driver: Driver) -> None:
    """To the byte, with what both were told."""
    facts: dict[str, Any] = {} if vector["username"] is None else {"authid": vector["username"]}
    if vector in ONE_STEP:
        far = visit(driver).session(token=vector["token"], **facts)
        assert far.start([NAME]).data == bytes.fromhex(vector["client_hex"][0])
    else:
        far = visit(driver, credentials=Person(vector["token"])).session(**facts)
        opening, last = map(bytes.fromhex, vector["client_hex"])
        assert far.start([NAME]).data == opening
        assert far.step(bytes.fromhex(vector["server_step_1_hex"])).data == last
    far.finish()
    assert far.done


def test_a_server_takes_what_pymongo_says(driver: Driver, issuer: FakeIssuer) -> None:
    """The messages of both ways, made by pymongo's bson."""
    server = serve(driver, issuer)
    token = bson.encode({"jwt": good(issuer)})
    with closing(server.session()) as session:
        assert session.start(NAME, token) == Reply(None, done=True)
    for vector in TWO_STEPS[:2]:
        named = {} if vector["username"] is None else {"sub": vector["username"]}
        with closing(server.session()) as session:
            reply = session.start(NAME, bytes.fromhex(vector["client_hex"][0]))
            assert reply == Reply(bytes.fromhex(vector["server_step_1_hex"]), done=False)
            assert session.step(bson.encode({"jwt": good(issuer, **named)})).done


def test_a_client_is_not_asked_for_a_name(driver: Driver, issuer: FakeIssuer) -> None:
    """A person who is asked may say nothing: the name is a hint."""
    asked: list[str] = []

    def interact(prompts: tuple[Any, ...]) -> tuple[str, ...]:
        asked.extend(prompt.id.name for prompt in prompts)
        return tuple("" for _ in prompts)

    near = serve(driver, issuer).session()
    far = visit(driver).session(token=good(issuer), interact=interact)
    exchange(near, far, [NAME])
    assert asked == ["AUTHNAME"]
    assert far.authid == UNNAMED


def test_the_last_word_has_its_own_message(driver: Driver, issuer: FakeIssuer) -> None:
    """Where there is no initial response, the token goes out with the first answer."""
    near = serve(driver, issuer).session()
    far = visit(driver).session(token=good(issuer), initial_response=False)
    said, heard = exchange(near, far, [NAME])
    assert said == [None, format_client_step2(bson.decode(said[1] or b"")["jwt"])]
    assert heard == [b"", None]


def test_the_namespaces_are_options(driver: Driver, issuer: FakeIssuer) -> None:
    """Who is not MongoDB has no `$external` and no `admin`."""
    tables = {"mechanisms": {NAME: {"user_namespace": "people", "role_namespace": "groups"}}}
    near = serve(driver, issuer, **tables).session()
    exchange(near, visit(driver).session(token=good(issuer)), [NAME])
    assert near.properties.get("database") == (b"people",)
    assert near.properties.get("roles") == (b"groups.test/read", b"groups.test/a/b.c$")


@pytest.mark.parametrize("option", ["user_namespace", "role_namespace"])
def test_a_namespace_is_one_word(driver: Driver, issuer: FakeIssuer, option: str) -> None:
    """What would make names ambiguous is an error in the configuration."""
    for value in ("a.b", "a/b", "a b", "a\n"):
        tables = {"mechanisms": {NAME: {option: value}}}
        session = serve(driver, issuer, **tables).session()
        assert NAME not in session.mechanisms()
        assert "namespace" in session.rejected[NAME]


# --- which provider -------------------------------------------------------------------------


ACME = provider(audience="acme", authNamePrefix="acme", clientId="acme", matchPattern="@acme$")
ANY = provider(audience="any", authNamePrefix="any", clientId="any", matchPattern="@")
MACHINES = provider(
    audience="machines", authNamePrefix="machines", clientId=None, supportsHumanFlows=False
)


def test_the_first_that_matches_is_named(driver: Driver, issuer: FakeIssuer) -> None:
    """Of several providers, and any of them is logged in with."""
    server = serve(driver, issuer, ACME, ANY, MACHINES)
    for hint, client in [("tim@acme", "acme"), ("tim@elsewhere", "any")]:
        with closing(server.session()) as session:
            reply = session.start(NAME, format_client_step1(hint))
            assert parse_server_step1(reply.data).client_id == client
            token = good(issuer, sub=hint, aud="any")
            assert session.step(format_client_step2(token)).done
            # A pattern is no check: what the token says, counts.
            assert session.authid == f"any/{hint}"


def test_a_machine_needs_no_step_one(driver: Driver, issuer: FakeIssuer) -> None:
    """With a token for its audience it is in, whoever persons would be sent to."""
    near = serve(driver, issuer, ACME, ANY, MACHINES).session()
    exchange(near, visit(driver).session(token=good(issuer, aud="machines")), [NAME])
    assert near.authid == "machines/tim@example.com"


def test_a_machine_provider_may_answer_step_one(driver: Driver, issuer: FakeIssuer) -> None:
    """Where it is configured so; PyMongo takes such an answer."""
    machine = {**MACHINES, "requestScopes": None, "stepOneWithoutClientId": True}
    machine = {name: value for name, value in machine.items() if value is not None}
    with closing(serve(driver, issuer, machine).session()) as session:
        reply = session.start(NAME, format_client_step1())
        assert bson.decode(reply.data) == {"issuer": ISSUER}


STEP_ONE: list[tuple[str, list[dict[str, object]], str | None, str]] = [
    ("no human provider", [MACHINES], None, "oidc-no-human-provider"),
    ("no human provider, with a hint", [MACHINES], "tim@acme", "oidc-no-human-provider"),
    ("a pattern and no hint", [ACME], None, "oidc-hint-needed"),
    ("several and no hint", [ACME, ANY], None, "oidc-hint-needed"),
    ("a hint that does not match", [ACME], "tim@elsewhere", "oidc-no-provider"),
    ("a hint that matches none of several", [ACME, ANY], "tim", "oidc-no-provider"),
]


@pytest.mark.parametrize(
    ("providers", "hint", "code"), [row[1:] for row in STEP_ONE], ids=[row[0] for row in STEP_ONE]
)
def test_step_one_that_nobody_answers(
    driver: Driver, issuer: FakeIssuer, providers: Any, hint: str | None, code: str
) -> None:
    """Refused as a login is, and the detail says why."""
    error = refused(serve(driver, issuer, *providers), format_client_step1(hint))
    assert isinstance(error, AuthenticationError)
    assert error.code == code
    assert str(error) == AuthenticationError.default_message


def test_without_providers_it_is_not_offered(driver: Driver) -> None:
    """And who wonders is told what to configure."""
    session = driver.server(CLEAR).session()
    assert NAME not in session.mechanisms()
    assert "identity_providers" in session.rejected[NAME]


def test_a_token_is_not_sent_in_clear(driver: Driver, issuer: FakeIssuer) -> None:
    """Neither side uses it without TLS unless it was told to."""
    settings = {"identity_providers": [provider()]}
    session = driver.server(settings, http=issuer.http).session()
    assert NAME not in session.mechanisms()
    assert "allow_cleartext" in session.rejected[NAME]
    with pytest.raises(MechanismError, match="in clear"):
        driver.client({}).session(token=good(issuer)).start([NAME])
    assert driver.client({}).session(token=good(issuer), external_ssf=128).start([NAME]).done
    assert NAME in driver.server(settings, http=issuer.http).session(external_ssf=128).mechanisms()


def test_it_carries_no_authorization_identity(driver: Driver, issuer: FakeIssuer) -> None:
    """A client that wants to act as another passes it over."""
    with pytest.raises(MechanismError, match="authorization identity"):
        visit(driver).session(token=good(issuer), authzid="other").start([NAME])


# --- refusals -------------------------------------------------------------------------------


def test_a_second_step_one_is_refused(driver: Driver, issuer: FakeIssuer) -> None:
    """After the first only a token will do."""
    server = serve(driver, issuer)
    for again in ({}, {"n": "tim@example.com"}, {"token": good(issuer)}):
        error = refused(server, format_client_step1(), bson.encode(again))
        assert isinstance(error, AuthenticationError)
        assert (error.code, error.result) == ("oidc-second-step-one", Result.BADPROT)


def test_a_hint_that_is_not_the_tokens(driver: Driver, issuer: FakeIssuer) -> None:
    """Who said to be somebody is that somebody, to the letter, or not let in."""
    server = serve(driver, issuer)
    for hint in ("tom@example.com", "Tim@example.com", "tim@example.com ", "test/tim@example.com"):
        token = format_client_step2(good(issuer))
        error = refused(server, format_client_step1(hint), token)
        assert isinstance(error, AuthenticationError)
        assert error.code == "oidc-hint-mismatch"


BAD_TOKENS: dict[str, tuple[dict[str, Any], str]] = {
    "expired": ({"exp": 1_500_000_000, "iat": None}, "token-expired"),
    "not yet valid": ({"nbf": 32_503_680_000}, "token-not-yet-valid"),
    "another issuer": ({"iss": "https://evil.example.com"}, "token-issuer"),
    "another audience": ({"aud": "other"}, "token-audience"),
    "no audience": ({"aud": None}, "token-claim-missing"),
    "no subject": ({"sub": None}, "token-claim-missing"),
    "no roles": ({"roles": None}, "token-claim-missing"),
    "roles of another type": ({"roles": "read"}, "token-claim-type"),
    "roles that are not text": ({"roles": ["read", 1]}, "token-claim-type"),
    "a float for exp": ({"exp": 4e9}, "token-claim-type"),
}


@pytest.mark.parametrize("two_steps", [False, True])
@pytest.mark.parametrize(("claims", "code"), BAD_TOKENS.values(), ids=BAD_TOKENS)
def test_bad_tokens(
    driver: Driver, issuer: FakeIssuer, claims: dict[str, Any], code: str, two_steps: bool
) -> None:
    """Each is refused with its own code, and to the client all are the same."""
    message = format_client_step2(good(issuer, **claims))
    before = [format_client_step1()] if two_steps else []
    error = refused(serve(driver, issuer), *before, message)
    assert isinstance(error, AuthenticationError)
    assert error.code == code
    assert (str(error), error.wire) == (AuthenticationError.default_message, None)


def test_keys_that_are_not_the_issuers(driver: Driver, issuer: FakeIssuer) -> None:
    """A key that the issuer does not have, and a signature of another under the name of one."""
    server = serve(driver, issuer)
    other = make_key(number=7, kid="other")
    claims = issuer.claims(sub="tim@example.com", roles=[])
    error = refused(server, format_client_step2(other.sign(claims)))
    assert error.code == "token-key-unknown"
    forged = other.sign(claims, {"kid": issuer.signer().kid})
    error = refused(server, format_client_step2(forged))
    assert error.code == "token-signature"
    error = refused(server, format_client_step2("no token"))
    assert error.code == "token-malformed"


def test_an_issuer_that_is_down_is_no_refusal(driver: Driver, issuer: FakeIssuer) -> None:
    """Keys that cannot be fetched are an outage, and the client may come again."""
    issuer.down = True
    error = refused(serve(driver, issuer), format_client_step2(good(issuer)))
    assert isinstance(error, BackendError)
    assert error.temporary


def test_malformed_messages_are_refused(driver: Driver, issuer: FakeIssuer) -> None:
    """At either step, and nobody is in."""
    server = serve(driver, issuer)
    for data in (b"", b"\0", b"{}", format_client_step2("a.b.c") + b"\0"):
        for before in ([], [format_client_step1()]):
            error = refused(server, *before, data)
            assert isinstance(error, PeerError)
            assert error.code == "bson"


# --- what a client is told ------------------------------------------------------------------


@pytest.mark.parametrize(
    "address",
    [
        "http://idp.example.com",
        "http://localhost:8080",
        "http://127.0.0.1",
        "https://tim@idp.example.com",
        "https://idp.example.com#x",
        "file:///etc/passwd",
        "javascript:alert(1)",
        "idp.example.com",
    ],
)
def test_a_client_goes_to_no_such_address(driver: Driver, address: str) -> None:
    """A server that names one gets nothing, and no person is asked."""
    person = Person("a.b.c")
    far = visit(driver, credentials=person).session()
    far.start([NAME])
    with pytest.raises(PeerError) as caught:
        far.step(format_server_step1(ServerStep1(address, "client")))
    assert caught.value.code == "oidc-issuer"
    assert not person.asked
    assert "tim" not in str(caught.value)
    detail = caught.value.detail or ""
    local = address in ("http://localhost:8080", "http://127.0.0.1")
    # The option of the client's side, as it is written: no key of a server's providers.
    assert ("needs [mechanisms.MONGODB-OIDC] allow_loopback_http = true" in detail) is local
    assert "allowLoopbackHttp" not in detail


def test_a_client_may_be_told_to_trust_its_machine(driver: Driver) -> None:
    """Then http is for the loopback, and for nobody else."""
    config = {**CLEAR, "mechanisms": {NAME: {"allow_loopback_http": True}}}
    for address, allowed in [
        ("http://localhost:8080", True),
        ("http://127.0.0.1/realm", True),
        ("http://localhost.example.com", False),
    ]:
        person = Person("a.b.c")
        far = driver.client(config, "localhost", credentials=person).session()
        far.start([NAME])
        message = format_server_step1(ServerStep1(address, "client"))
        if allowed:
            assert far.step(message).data == format_client_step2("a.b.c")
        else:
            with pytest.raises(PeerError):
                far.step(message)


def test_a_client_that_sent_its_token_has_said_all(driver: Driver) -> None:
    """A server that wants more gets nothing more, and least of all another token."""
    for message in (b"", format_server_step1(ServerStep1(ISSUER, "client"))):
        far = visit(driver).session(token="a.b.c")
        assert far.start([NAME]).done
        with pytest.raises(SaslError):
            far.step(message)


@pytest.mark.parametrize("data", [b"", b"\0", bson.encode({}), b"\5\0\0\0\0\0"])
def test_a_client_refuses_what_is_no_answer(driver: Driver, data: bytes) -> None:
    """Malformed, and no person is asked."""
    person = Person("a.b.c")
    far = visit(driver, credentials=person).session()
    far.start([NAME])
    with pytest.raises(PeerError):
        far.step(data)
    assert not person.asked


def test_a_success_without_a_token_is_not_believed(driver: Driver) -> None:
    """A server that is satisfied by a hint is none of ours."""
    far = visit(driver, credentials=Person("a.b.c")).session()
    far.start([NAME])
    with pytest.raises(AuthenticationError):
        far.finish()


def test_without_token_or_source_it_is_passed_over(driver: Driver) -> None:
    """A client that can get no token does not begin."""
    with pytest.raises(MechanismError, match="TOKEN"):
        visit(driver).session(authid="tim").start([NAME])


class Machine(Person):
    """A service that has an identity of its own."""

    name = "machine"
    human = False


def test_a_kept_token_that_is_refused_is_replaced(driver: Driver) -> None:
    """A machine sends what it has kept; told that it is no good, it fetches another."""
    machine = Machine("a.b.first", "a.b.second")
    client = visit(driver, credentials=machine)
    near, far = client.session(), client.session()
    for session in (near, far):
        assert session.start([NAME]).data == format_client_step2("a.b.first")
    assert len(machine.asked) == 1
    assert machine.asked[0].issuer is None
    assert far.refused()
    again = client.session()
    assert again.start([NAME]).data == format_client_step2("a.b.second")
    # It was fetched for this login: there is no sense in a third.
    assert not again.refused()


def test_a_persons_token_is_kept_too(driver: Driver) -> None:
    """The next login is one step; after a refusal the server is asked again."""
    person = Person("a.b.first", "a.b.second")
    client = visit(driver, credentials=person)
    step = format_server_step1(ServerStep1(ISSUER, "client"))
    far = client.session()
    assert far.start([NAME]).data == format_client_step1()
    assert far.step(step).data == format_client_step2("a.b.first")
    far = client.session()
    assert far.start([NAME]).data == format_client_step2("a.b.first")
    assert far.refused()
    far = client.session()
    assert far.start([NAME]).data == format_client_step1()
    assert far.step(step).data == format_client_step2("a.b.second")


def test_a_person_goes_to_allowed_hosts_only(driver: Driver) -> None:
    """No other server hears a word, nor names a provider."""
    person = Person("a.b.c")
    far = driver.client(CLEAR, "mail.example.com", credentials=person).session()
    with pytest.raises(UsageError) as caught:
        far.start([NAME])
    assert caught.value.code == "host-not-allowed"
    assert not person.asked


# --- secrets --------------------------------------------------------------------------------


def test_nothing_keeps_a_token(issuer: FakeIssuer, caplog: pytest.LogCaptureFixture) -> None:
    """Not the sessions, the errors or the log, whether it was accepted or refused."""
    caplog.set_level(logging.DEBUG)
    driver = make_driver("blocking")
    try:
        server = serve(driver, issuer, log_level=7)
        for claims in ({}, {"aud": "other"}, {"exp": 1_500_000_000, "iat": None}):
            token = good(issuer, **claims)
            secrets = spellings(token, token.rpartition(".")[2])
            near = server.session()
            far = visit(driver).session(token=token)
            error = None
            try:
                exchange(near, far, [NAME])
            except SaslError as caught:
                error = caught
            assert (error is None) is not bool(claims)
            if error is not None:
                # A login that stands keeps its token, so that it can be validated again.
                assert find([near.inner, error], secrets) == []
            assert find([far.inner], secrets) == []
            assert not any(secret.decode() in caplog.text for secret in secrets)
    finally:
        driver.close()
