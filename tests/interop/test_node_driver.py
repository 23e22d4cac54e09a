"""MongoDB's driver for Node, npm `mongodb`, unchanged, logs in to our MongoDB server."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from mongodb_kit import CLEAR, PASSWORD, USERS, MongoService, digest
from node_driver import NodeDriver, NodeError
from sasl_auxprop.memory import MemoryStore
from sasl_core import SetpassFlag
from sasl_tls import ServerTls
from tls_kit import Tls, make_tls
from token_kit import FakeIssuer

pytestmark = pytest.mark.interop

Open = Callable[..., NodeDriver]

REFUSED = 18
REAUTHENTICATE = 391

BOTH = pytest.mark.parametrize("kind", ["OIDC_CALLBACK", "OIDC_HUMAN_CALLBACK"])


@pytest.fixture(scope="module")
def node(
    tmp_path_factory: pytest.TempPathFactory, node_modules: Callable[[str], Path]
) -> Iterator[NodeDriver]:
    """One process with the driver for all tests."""
    with NodeDriver(tmp_path_factory.mktemp("node"), node_modules("mongodb")) as driver:
        yield driver


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Tls:
    """A certificate for localhost."""
    return make_tls(tmp_path_factory.mktemp("tls"))


@pytest.fixture(params=["tcp", "tls-ssl", "tls-pyopenssl"])
def tls(request: pytest.FixtureRequest, certificate: Tls) -> ServerTls | None:
    """In clear, and TLS by each library."""
    kind = str(request.param)
    return None if kind == "tcp" else certificate.server(kind.removeprefix("tls-"))


@pytest.fixture
def issuer() -> FakeIssuer:
    """An identity provider."""
    return FakeIssuer()


@pytest.fixture
def service(tls: ServerTls | None, issuer: FakeIssuer) -> Iterator[MongoService]:
    """Our server; over TLS nothing is allowed that needs none."""
    config = dict(CLEAR)
    if tls is not None:
        del config["allow_cleartext"]
    made = MongoService(tls=tls, issuer=issuer, config=config)
    made.give_digest()
    made.give_digest("a,b=c")
    yield made
    made.close()


@pytest.fixture
def connect(
    service: MongoService, tls: ServerTls | None, certificate: Tls, node: NodeDriver
) -> Iterator[Open]:
    """Makes the driver's client for the server; it is closed, and the server forgets it."""

    def connect(host: str = "localhost", **more: Any) -> NodeDriver:
        options = {"serverSelectionTimeoutMS": 5000, **more.pop("options", {})}
        if tls is not None:
            options.update(tls=True, tlsCAFile=str(certificate.certificate))
        node.open(f"mongodb://{host}:{service.address[1]}/", options, **more)
        return node

    yield connect
    node.close_client()
    service.settle()


def with_password(
    connect: Open, user: str, password: str, mechanism: str | None, **more: Any
) -> NodeDriver:
    """A client that logs in by a password."""
    options = {"auth": {"username": user, "password": password}, **more}
    if mechanism is not None:
        options["authMechanism"] = mechanism
    if mechanism == "PLAIN":
        options["authSource"] = "$external"
    return connect(options=options)


def who(node: NodeDriver) -> tuple[Any, Any]:
    """The users and roles that the server sees."""
    told = node.run({"connectionStatus": 1})["authInfo"]
    return told["authenticatedUsers"], told["authenticatedUserRoles"]


@pytest.mark.parametrize("mechanism", [None, "SCRAM-SHA-256", "SCRAM-SHA-1", "PLAIN"])
@pytest.mark.parametrize("user", ["tim", "a,b=c"])
def test_a_password_logs_in(
    connect: Open, service: MongoService, mechanism: str | None, user: str
) -> None:
    """Negotiated or named, also with a comma and an equals sign in the name."""
    if mechanism == "SCRAM-SHA-1":
        give_node_digest(service, user)
    node = with_password(connect, user, PASSWORD, mechanism)
    database = "$external" if mechanism == "PLAIN" else "admin"
    assert who(node) == ([{"user": user, "db": database}], [])


def give_node_digest(service: MongoService, user: str) -> None:
    """Set the verifier that this driver logs in by with SCRAM-SHA-1.

    Its digest is made of the name as SCRAM sends it (RFC 5802's `saslname`), with `=2C` for a
    comma: of any other name it is everybody's.
    """
    text = digest(user.replace("=", "=3D").replace(",", "=2C"), PASSWORD)
    given = service.sasl.setpass(user, text, SetpassFlag.CURMECH_ONLY, mechanism="SCRAM-SHA-1")
    assert service.run(given).ok


@pytest.mark.parametrize("tls", [None], ids=["tcp"])
def test_the_digest_of_a_name_with_a_comma_is_the_drivers_own(connect: Open) -> None:
    """With the verifier by which PyMongo logs in, this driver's proof is wrong."""
    node = with_password(connect, "a,b=c", PASSWORD, "SCRAM-SHA-1")
    with pytest.raises(NodeError) as caught:
        node.run({"ping": 1})
    assert caught.value.code == REFUSED


@pytest.mark.parametrize(("mechanism", "code"), [("SCRAM-SHA-256", REFUSED), ("PLAIN", 0)])
def test_a_second_comma_is_not_escaped_by_the_driver(
    issuer: FakeIssuer, node: NodeDriver, mechanism: str, code: int
) -> None:
    """Such a name logs in by PLAIN, and by SCRAM not at all: what arrives is another name."""
    service = MongoService(issuer=issuer, stores=[MemoryStore({"a,b,c": PASSWORD})])
    try:
        options: dict[str, Any] = {
            "auth": {"username": "a,b,c", "password": PASSWORD},
            "authMechanism": mechanism,
        }
        if mechanism == "PLAIN":
            options["authSource"] = "$external"
        node.open(f"mongodb://localhost:{service.address[1]}/", options)
        try:
            _ = node.run({"ping": 1})
            seen = 0
        except NodeError as error:
            seen = error.code or -1
        assert seen == code
        node.close_client()
    finally:
        service.close()


@pytest.mark.parametrize("mechanism", [None, "SCRAM-SHA-256", "PLAIN"])
def test_a_prepared_password_logs_in(connect: Open, mechanism: str | None) -> None:
    """SASLprep makes the same of the password on both sides (RFC 4013)."""
    password = "p\u00e4sswordIX"
    assert password != USERS["b\u00f6b"]
    node = with_password(connect, "b\u00f6b", password, mechanism)
    assert who(node)[0][0]["user"] == "b\u00f6b"


def test_what_the_user_typed_is_prepared_by_the_driver(connect: Open) -> None:
    """The store's own spelling, with its soft hyphen, is the same password."""
    node = with_password(connect, "b\u00f6b", USERS["b\u00f6b"], "SCRAM-SHA-256")
    assert who(node)[0][0]["user"] == "b\u00f6b"


@pytest.mark.parametrize("mechanism", [None, "SCRAM-SHA-256", "SCRAM-SHA-1", "PLAIN"])
@pytest.mark.parametrize("user", ["tim", "nobody"])
def test_a_wrong_password_is_code_18(connect: Open, mechanism: str | None, user: str) -> None:
    """The same for a user who is not there."""
    node = with_password(connect, user, "hunter2", mechanism)
    with pytest.raises(NodeError) as caught:
        node.run({"ping": 1})
    assert (caught.value.name, caught.value.code) == ("MongoServerError", REFUSED)
    assert caught.value.errmsg == "Authentication failed."


class Person:
    """Signs a token for whoever asks, and keeps what was asked."""

    def __init__(self, issuer: FakeIssuer, **claims: Any) -> None:
        self.issuer = issuer
        self.claims = {"sub": "tim", "groups": ["readers", "a.b/$c"], **claims}
        self.refresh: str | None = None
        self.asked: list[dict[str, Any]] = []

    def __call__(self, asks: dict[str, Any]) -> dict[str, Any]:
        assert asks["timed"] is True
        self.asked.append(asks)
        answer = {"accessToken": self.issuer.sign(**self.claims), "expiresInSeconds": 300}
        return answer if self.refresh is None else {**answer, "refreshToken": self.refresh}


def with_tokens(connect: Open, kind: str, tokens: Any, **more: Any) -> NodeDriver:
    """A client that logs in by MONGODB-OIDC with this callback."""
    options = {"authMechanism": "MONGODB-OIDC", **more.pop("options", {})}
    return connect(options=options, kind=kind, tokens=tokens, **more)


@BOTH
def test_a_token_logs_in(connect: Open, issuer: FakeIssuer, kind: str) -> None:
    """Who it names, and the roles it grants, arrive; a person is told of the provider first."""
    person = Person(issuer)
    users, roles = who(with_tokens(connect, kind, person))
    assert users == [{"user": "okta/tim", "db": "$external"}]
    assert roles == [
        {"role": "okta/readers", "db": "admin"},
        {"role": "okta/a.b/$c", "db": "admin"},
    ]
    (asked,) = person.asked
    if kind == "OIDC_HUMAN_CALLBACK":
        assert asked["idpInfo"] == {"issuer": issuer.url, "clientId": "sasl-client"}
    else:
        assert "idpInfo" not in asked


@BOTH
def test_a_name_goes_along(connect: Open, issuer: FakeIssuer, kind: str) -> None:
    """A hint for the callback; a person's goes to the server too, which holds the token to it."""
    person = Person(issuer)
    node = with_tokens(connect, kind, person, host="tim@localhost")
    assert who(node)[0] == [{"user": "okta/tim", "db": "$external"}]
    assert person.asked[0]["username"] == "tim"


def test_a_token_of_another_than_was_named_is_code_18(connect: Open, issuer: FakeIssuer) -> None:
    """The name that a person gave is no security check of the driver's, but it is one of ours."""
    node = with_tokens(connect, "OIDC_HUMAN_CALLBACK", Person(issuer), host="tom@localhost")
    with pytest.raises(NodeError) as caught:
        node.run({"ping": 1})
    assert caught.value.code == REFUSED


@BOTH
def test_a_bad_token_is_code_18(connect: Open, issuer: FakeIssuer, kind: str) -> None:
    """Nothing says what is wrong with it."""
    node = with_tokens(connect, kind, Person(issuer, aud="another"))
    with pytest.raises(NodeError) as caught:
        node.run({"ping": 1})
    assert caught.value.code == REFUSED
    assert "audience" not in str(caught.value)


@BOTH
def test_a_callback_that_fails_is_told_by_the_driver(
    connect: Open, issuer: FakeIssuer, kind: str
) -> None:
    """No token, no login; and the next attempt succeeds on the same client."""
    person = Person(issuer)

    client = with_tokens(connect, kind, lambda asks: {"error": "the provider is down"})
    with pytest.raises(NodeError, match="the provider is down"):
        client.run({"ping": 1})
    client.tokens = person
    assert who(client)[0] == [{"user": "okta/tim", "db": "$external"}]


@BOTH
def test_it_logs_in_again_by_itself(
    connect: Open, service: MongoService, issuer: FakeIssuer, kind: str
) -> None:
    """After 391 a new token is fetched, and the operation succeeds on the same connection."""
    person = Person(issuer)
    node = with_tokens(connect, kind, person, options={"maxPoolSize": 1})
    assert node.run({"ping": 1})["ok"] == 1
    number = node.run({"hello": 1})["connectionId"]
    assert len(person.asked) == 1
    for times in range(2, 4):
        service.expire_tokens()
        assert node.run({"ping": 1})["ok"] == 1
        assert node.events[0] == ("ping", REAUTHENTICATE)
        assert node.events[-1] == ("ping", 0)
        assert len(person.asked) == times
        assert node.run({"hello": 1})["connectionId"] == number
    assert who(node)[0] == [{"user": "okta/tim", "db": "$external"}]


def test_a_refresh_token_spares_the_person(
    connect: Open, service: MongoService, issuer: FakeIssuer
) -> None:
    """After 391 the callback gets it back; where what it gives is refused, the person is asked."""
    person = Person(issuer)
    person.refresh = "refresh-1"
    node = with_tokens(connect, "OIDC_HUMAN_CALLBACK", person)
    assert node.run({"ping": 1})["ok"] == 1
    service.expire_tokens()
    assert node.run({"ping": 1})["ok"] == 1
    assert [asked.get("refreshToken") for asked in person.asked] == [None, "refresh-1"]
    service.expire_tokens()
    good = person.claims
    person.claims = {**good, "aud": "another"}

    def once(asks: dict[str, Any]) -> dict[str, Any]:
        answer = person(asks)
        person.claims = good
        return answer

    node.tokens = once
    assert node.run({"ping": 1})["ok"] == 1
    assert [asked.get("refreshToken") for asked in person.asked[2:]] == ["refresh-1", None]
    assert person.asked[3]["idpInfo"]["issuer"] == issuer.url


@BOTH
def test_a_token_is_used_again(connect: Open, issuer: FakeIssuer, kind: str) -> None:
    """A new connection logs in with it inside of its hello; nobody is asked for another."""
    person = Person(issuer)
    node = with_tokens(connect, kind, person, options={"maxIdleTimeMS": 1})
    numbers: set[int] = set()
    for _ in range(3):
        numbers.add(node.run({"hello": 1})["connectionId"])
        time.sleep(0.05)
    assert len(numbers) == 3
    assert who(node)[0] == [{"user": "okta/tim", "db": "$external"}]
    assert len(person.asked) == 1


@BOTH
def test_a_new_connection_gets_over_an_old_token(
    connect: Open, service: MongoService, issuer: FakeIssuer, kind: str
) -> None:
    """It sends the token that it has, in its hello too, is refused, and fetches another."""
    person = Person(issuer)
    node = with_tokens(connect, kind, person, options={"maxIdleTimeMS": 1, "minPoolSize": 0})
    number = node.run({"hello": 1})["connectionId"]
    service.expire_tokens()
    time.sleep(0.05)
    assert node.run({"hello": 1})["connectionId"] != number
    assert len(person.asked) == 2
    assert REAUTHENTICATE not in {code for _, code in node.events}


@pytest.mark.parametrize("tls", [None], ids=["tcp"])
def test_a_host_that_is_not_allowed_is_never_asked(
    connect: Open, service: MongoService, issuer: FakeIssuer
) -> None:
    """The driver refuses before it says a word of a person; a pattern of ours lets it through."""
    person = Person(issuer)
    human = "OIDC_HUMAN_CALLBACK"
    strange = {"ALLOWED_HOSTS": ["*.example.com"]}
    node = with_tokens(connect, human, person, properties=strange)
    with pytest.raises(NodeError, match="ALLOWED_HOSTS"):
        node.run({"ping": 1})
    assert person.asked == []
    assert service.open_sessions == 0
    node.close_client()
    ours = {"ALLOWED_HOSTS": ["localhost"]}
    node = with_tokens(connect, human, person, properties=ours)
    assert who(node)[0] == [{"user": "okta/tim", "db": "$external"}]
