"""PyMongo, unchanged, logs in to our MongoDB server."""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pymongo
import pytest
from pymongo.auth_oidc import OIDCCallback, OIDCCallbackContext, OIDCCallbackResult
from pymongo.errors import ConfigurationError, OperationFailure
from pymongo.monitoring import CommandListener

from mongodb_kit import CLEAR, PASSWORD, USERS, MongoService, provider
from oidc_provider import CLIENT, OidcProvider, make_private_jwk
from sasl_core import (
    AccessToken,
    AuthenticationError,
    BackendError,
    CredentialsPlug,
    TokenRequest,
)
from sasl_core.plugin import Needs
from sasl_credentials import CallbackTokens
from sasl_http import HttpTransport
from sasl_profiles.mongodb import Command, PyMongoTokens
from sasl_tls import ServerTls
from sasl_tokens import idp_manager
from tls_kit import Tls, make_tls
from token_kit import FakeIssuer

Connect = Callable[..., Any]

REFUSED = 18
REAUTHENTICATE = 391


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


class Seen(CommandListener):
    """The commands of a driver, and how each ended."""

    def __init__(self) -> None:
        self.ended: list[tuple[str, int]] = []

    def started(self, event: Any) -> None:
        """Nothing is made of it."""

    def succeeded(self, event: Any) -> None:
        self.ended.append((event.command_name, 0))

    def failed(self, event: Any) -> None:
        self.ended.append((event.command_name, event.failure["code"]))


@pytest.fixture
def connect(service: MongoService, tls: ServerTls | None, certificate: Tls) -> Iterator[Connect]:
    """Makes PyMongo's clients for the server; each is closed, and the server forgets it."""
    made: list[pymongo.MongoClient[Any]] = []

    def connect(**options: Any) -> pymongo.MongoClient[Any]:
        if tls is not None:
            options.update(tls=True, tlsCAFile=str(certificate.certificate))
        made.append(
            pymongo.MongoClient(
                "localhost",
                service.address[1],
                serverSelectionTimeoutMS=5000,
                **options,
            )
        )
        return made[-1]

    yield connect
    for client in made:
        client.close()
    service.settle()


def who(client: Any) -> tuple[Any, Any]:
    """The users and roles that the server sees."""
    told = client.admin.command("connectionStatus")["authInfo"]
    return told["authenticatedUsers"], told["authenticatedUserRoles"]


@pytest.mark.parametrize("mechanism", [None, "SCRAM-SHA-256", "SCRAM-SHA-1", "PLAIN"])
@pytest.mark.parametrize("user", ["tim", "a,b=c"])
def test_a_password_logs_in(connect: Connect, mechanism: str | None, user: str) -> None:
    """Negotiated or named, also with a comma and an equals sign in the name."""
    options = {} if mechanism is None else {"authMechanism": mechanism}
    client = connect(username=user, password=PASSWORD, **options)
    database = "$external" if mechanism == "PLAIN" else "admin"
    assert who(client) == ([{"user": user, "db": database}], [])


@pytest.mark.parametrize("mechanism", [None, "SCRAM-SHA-256", "PLAIN"])
def test_a_prepared_password_logs_in(connect: Connect, mechanism: str | None) -> None:
    """SASLprep makes the same of the password on both sides (RFC 4013)."""
    password = "p\u00e4sswordIX"
    assert password != USERS["b\u00f6b"]
    options = {} if mechanism is None else {"authMechanism": mechanism}
    client = connect(username="b\u00f6b", password=password, **options)
    assert who(client)[0][0]["user"] == "b\u00f6b"


@pytest.mark.parametrize("mechanism", [None, "SCRAM-SHA-256", "SCRAM-SHA-1", "PLAIN"])
@pytest.mark.parametrize("user", ["tim", "nobody"])
def test_a_wrong_password_is_code_18(connect: Connect, mechanism: str | None, user: str) -> None:
    """The same for a user who is not there."""
    options = {} if mechanism is None else {"authMechanism": mechanism}
    client = connect(username=user, password="hunter2", **options)
    with pytest.raises(OperationFailure) as caught:
        client.admin.command("ping")
    assert caught.value.code == REFUSED
    assert caught.value.details is not None
    assert caught.value.details["errmsg"] == "Authentication failed."


class Machine(OIDCCallback):
    """Signs a token for whoever asks."""

    def __init__(self, issuer: FakeIssuer, **claims: Any) -> None:
        self.issuer = issuer
        self.claims = {"sub": "tim", "groups": ["readers", "a.b/$c"], **claims}
        self.contexts: list[OIDCCallbackContext] = []

    def fetch(self, context: OIDCCallbackContext) -> OIDCCallbackResult:
        self.contexts.append(context)
        return OIDCCallbackResult(access_token=self.issuer.sign(**self.claims))


def with_callback(connect: Connect, kind: str, callback: OIDCCallback, **options: Any) -> Any:
    """A client that logs in by MONGODB-OIDC with this callback."""
    return connect(
        authMechanism="MONGODB-OIDC",
        authMechanismProperties={kind: callback},
        **options,
    )


BOTH = pytest.mark.parametrize("kind", ["OIDC_CALLBACK", "OIDC_HUMAN_CALLBACK"])


@BOTH
def test_a_token_logs_in(connect: Connect, issuer: FakeIssuer, kind: str) -> None:
    """Who it names, and the roles it grants, arrive."""
    machine = Machine(issuer)
    client = with_callback(connect, kind, machine)
    users, roles = who(client)
    assert users == [{"user": "okta/tim", "db": "$external"}]
    assert roles == [
        {"role": "okta/readers", "db": "admin"},
        {"role": "okta/a.b/$c", "db": "admin"},
    ]
    assert len(machine.contexts) == 1
    told = machine.contexts[0].idp_info
    if kind == "OIDC_HUMAN_CALLBACK":
        assert told is not None
        assert (told.issuer, told.clientId) == (issuer.url, "sasl-client")
    else:
        assert told is None


@BOTH
def test_a_bad_token_is_code_18(connect: Connect, issuer: FakeIssuer, kind: str) -> None:
    """Nothing says what is wrong with it."""
    client = with_callback(connect, kind, Machine(issuer, aud="another"))
    with pytest.raises(OperationFailure) as caught:
        client.admin.command("ping")
    assert caught.value.code == REFUSED
    assert "audience" not in str(caught.value)


@BOTH
def test_it_logs_in_again_by_itself(
    connect: Connect, service: MongoService, issuer: FakeIssuer, kind: str
) -> None:
    """After 391 a new token is fetched, and the operation succeeds on the same connection."""
    seen, machine = Seen(), Machine(issuer)
    client = with_callback(connect, kind, machine, event_listeners=[seen], maxPoolSize=1)
    assert client.admin.command("ping")["ok"] == 1
    number = client.admin.command("hello")["connectionId"]
    assert len(machine.contexts) == 1
    for times in range(2, 4):
        service.expire_tokens()
        seen.ended.clear()
        assert client.admin.command("ping")["ok"] == 1
        assert seen.ended[0] == ("ping", REAUTHENTICATE)
        assert seen.ended[-1] == ("ping", 0)
        assert len(machine.contexts) == times
        assert client.admin.command("hello")["connectionId"] == number
    assert who(client)[0] == [{"user": "okta/tim", "db": "$external"}]


def test_the_example_of_the_page_logs_in(
    service: MongoService,
    issuer: FakeIssuer,
    tls: ServerTls | None,
    certificate: Tls,
    tmp_path: Path,
) -> None:
    """The callback in docs/mongodb.md, unchanged; a renewed token is read when it is due."""
    page = Path(__file__).parents[2] / "docs" / "mongodb.md"
    blocks = re.findall(r"^```python\n(.*?)^```$", page.read_text(), re.MULTILINE | re.DOTALL)
    (block,) = (each for each in blocks if "PyMongoTokens" in each)
    names: dict[str, Any] = {}
    exec(block, names)  # noqa: S102 - it is our own page.
    file = tmp_path / "token"
    file.write_text(f"{issuer.sign(sub='nightly', groups=[])}\n")
    options: dict[str, Any] = {}
    if tls is not None:
        options = {"tls": True, "tlsCAFile": str(certificate.certificate)}
    with names["connect"]("localhost", service.address[1], str(file), **options) as client:
        assert who(client)[0] == [{"user": "okta/nightly", "db": "$external"}]
        service.expire_tokens()
        file.write_text(issuer.sign(sub="daily", groups=[]))
        assert who(client)[0] == [{"user": "okta/daily", "db": "$external"}]
    service.settle()


@BOTH
def test_a_token_is_used_again(connect: Connect, issuer: FakeIssuer, kind: str) -> None:
    """A new connection logs in with it inside of its hello; nobody is asked for another."""
    machine = Machine(issuer)
    client = with_callback(connect, kind, machine, maxIdleTimeMS=1)
    numbers: set[int] = set()
    for _ in range(3):
        told = client.admin.command("connectionStatus")["authInfo"]["authenticatedUsers"]
        assert told == [{"user": "okta/tim", "db": "$external"}]
        time.sleep(0.05)
        numbers.add(client.admin.command("hello")["connectionId"])
        time.sleep(0.05)
    assert len(numbers) == 3
    assert len(machine.contexts) == 1


@pytest.fixture
def ask(
    service: MongoService, tls: ServerTls | None, certificate: Tls
) -> Iterator[Callable[..., dict[str, Any]]]:
    """Has PyMongo's asyncio client run commands, one after the other; the last one's answer.

    A callable among them is called in a thread, between the others.
    """

    def ask(*commands: str | Callable[[], None], **options: Any) -> dict[str, Any]:
        if tls is not None:
            options.update(tls=True, tlsCAFile=str(certificate.certificate))

        async def log_in() -> dict[str, Any]:
            answer: dict[str, Any] = {}
            async with pymongo.AsyncMongoClient(
                "localhost", service.address[1], serverSelectionTimeoutMS=5000, **options
            ) as client:
                for command in commands:
                    if callable(command):
                        await asyncio.to_thread(command)
                    else:
                        answer = await client.admin.command(command)
            return answer

        return asyncio.run(log_in())

    yield ask
    service.settle()


@pytest.mark.parametrize("mechanism", [None, "SCRAM-SHA-256", "SCRAM-SHA-1", "PLAIN"])
@pytest.mark.parametrize("user", ["tim", "a,b=c"])
def test_a_password_logs_its_asyncio_client_in(
    ask: Callable[..., dict[str, Any]], mechanism: str | None, user: str
) -> None:
    """The same over asyncio; and a wrong one does not."""
    options = {} if mechanism is None else {"authMechanism": mechanism}
    told = ask("connectionStatus", username=user, password=PASSWORD, **options)["authInfo"]
    database = "$external" if mechanism == "PLAIN" else "admin"
    assert told["authenticatedUsers"] == [{"user": user, "db": database}]
    with pytest.raises(OperationFailure) as caught:
        ask("ping", username=user, password="hunter2", **options)
    assert caught.value.code == REFUSED


@BOTH
def test_its_asyncio_client_logs_in_again_too(
    ask: Callable[..., dict[str, Any]], service: MongoService, issuer: FakeIssuer, kind: str
) -> None:
    """After 391 a new token is fetched over asyncio as well, in a thread."""
    machine = Machine(issuer)
    told = ask(
        "ping",
        service.expire_tokens,
        "connectionStatus",
        authMechanism="MONGODB-OIDC",
        authMechanismProperties={kind: machine},
    )["authInfo"]
    assert told["authenticatedUsers"] == [{"user": "okta/tim", "db": "$external"}]
    assert len(machine.contexts) == 2


@BOTH
def test_a_name_goes_along(connect: Connect, issuer: FakeIssuer, kind: str) -> None:
    """A hint for the callback; a person's goes to the server too, which holds the token to it."""
    machine = Machine(issuer)
    assert who(with_callback(connect, kind, machine, username="tim"))[0][0]["user"] == "okta/tim"
    assert machine.contexts[0].username == "tim"
    client = with_callback(connect, kind, machine, username="tom")
    if kind == "OIDC_CALLBACK":
        assert who(client)[0][0]["user"] == "okta/tim"
        return
    with pytest.raises(OperationFailure) as caught:
        client.admin.command("ping")
    assert caught.value.code == REFUSED


# --- its tokens from our sources ------------------------------------------------------------


class Refreshing(CredentialsPlug):
    """A person at a provider that gives refresh tokens; `spent` are those that it takes no more."""

    name = "refreshing"
    human = True

    def __init__(self, issuer: FakeIssuer, **claims: Any) -> None:
        self.issuer = issuer
        self.claims = {"sub": "tim", "groups": [], **claims}
        self.requests: list[TokenRequest] = []
        self.spent: set[str] = set()

    def token(self, request: TokenRequest) -> Needs[AccessToken]:
        yield from ()
        self.requests.append(request)
        if request.refresh_token in self.spent:
            raise AuthenticationError(detail="the provider answered 400, invalid_grant")
        refresh = f"refresh-{len(self.requests)}"
        return AccessToken(self.issuer.sign(**self.claims), time.time() + 300, refresh)

    @property
    def used(self) -> list[str | None]:
        """The refresh token of each request."""
        return [request.refresh_token for request in self.requests]


def log_in_by(connect: Connect, tokens: PyMongoTokens, **options: Any) -> Any:
    """A client whose tokens are these."""
    properties = tokens.properties()
    return connect(authMechanism="MONGODB-OIDC", authMechanismProperties=properties, **options)


def test_a_source_of_ours_logs_it_in_again_and_again(
    connect: Connect, service: MongoService, issuer: FakeIssuer
) -> None:
    """A machine's, asked once for each login that needs a new token."""
    asked: list[TokenRequest] = []

    def sign(request: TokenRequest) -> str:
        asked.append(request)
        return issuer.sign(sub="tim", groups=[])

    with PyMongoTokens(CallbackTokens(sign), "localhost") as tokens:
        client = log_in_by(connect, tokens, username="hint")
        for times in range(1, 4):
            assert who(client)[0] == [{"user": "okta/tim", "db": "$external"}]
            assert len(asked) == times
            service.expire_tokens()
        assert {request.username for request in asked} == {"hint"}
        client.close()


def test_a_persons_source_of_ours_is_spared(
    connect: Connect, service: MongoService, issuer: FakeIssuer
) -> None:
    """The provider that the server named, the refresh token afterwards, the person in the end."""
    source = Refreshing(issuer)
    with PyMongoTokens(source, "localhost") as tokens:
        client = log_in_by(connect, tokens)
        assert who(client)[0] == [{"user": "okta/tim", "db": "$external"}]
        service.expire_tokens()
        assert who(client)[0] == [{"user": "okta/tim", "db": "$external"}]
        assert source.used == [None, "refresh-1"]
        source.spent.add("refresh-2")
        service.expire_tokens()
        assert who(client)[0] == [{"user": "okta/tim", "db": "$external"}]
        assert source.used == [None, "refresh-1", "refresh-2", None]
        asked = {(each.issuer, each.client_id) for each in source.requests}
        assert asked == {(issuer.url, "sasl-client")}
        client.close()


def test_a_persons_source_meets_no_host_that_it_does_not_allow(
    connect: Connect, service: MongoService, issuer: FakeIssuer
) -> None:
    """PyMongo is given the source's own list, and looks at the server that it connects to."""
    source = Refreshing(issuer)
    source.allowed_hosts = ("db.example.com",)
    with (
        PyMongoTokens(source, "db.example.com") as tokens,
        pytest.raises(ConfigurationError, match="localhost"),
    ):
        log_in_by(connect, tokens).admin.command("ping")
    assert source.requests == []
    assert service.open_sessions == 0


def test_what_a_source_fails_with_reaches_the_application(
    connect: Connect, issuer: FakeIssuer
) -> None:
    """As our own error; and once the source works, so does the same client."""
    failing = [BackendError(detail="the provider is down")]

    def sign(request: TokenRequest) -> str:
        if failing:
            raise failing.pop()
        return issuer.sign(sub="tim", groups=[])

    with PyMongoTokens(CallbackTokens(sign), "localhost") as tokens:
        client = log_in_by(connect, tokens)
        with pytest.raises(BackendError) as caught:
            client.admin.command("ping")
        assert "the provider is down" in "".join(caught.value.__notes__)
        assert who(client)[0] == [{"user": "okta/tim", "db": "$external"}]
        client.close()


def test_its_asyncio_client_goes_on_while_a_source_of_ours_works(
    service: MongoService, issuer: FakeIssuer, tls: ServerTls | None, certificate: Tls
) -> None:
    """The source has a thread of the executor's: the loop ticks meanwhile."""

    def sign(request: TokenRequest) -> str:
        time.sleep(0.5)
        return issuer.sign(sub="tim", groups=[])

    options: dict[str, Any] = {}
    if tls is not None:
        options = {"tls": True, "tlsCAFile": str(certificate.certificate)}

    async def log_in(tokens: PyMongoTokens) -> int:
        async with pymongo.AsyncMongoClient(
            "localhost",
            service.address[1],
            authMechanism="MONGODB-OIDC",
            authMechanismProperties=tokens.properties(),
            **options,
        ) as client:
            ping = asyncio.create_task(client.admin.command("ping"))
            ticks = 0
            while not ping.done():
                await asyncio.sleep(0.02)
                ticks += 1
            assert (await ping)["ok"] == 1
            return ticks

    with PyMongoTokens(CallbackTokens(sign), "localhost") as tokens:
        assert asyncio.run(log_in(tokens)) > 10
    service.settle()


@pytest.mark.interop
def test_a_real_providers_token_logs_it_in(
    tmp_path: Path, node_modules: Callable[[str], Path]
) -> None:
    """By client credentials of npm's oidc-provider; again after the provider's key has changed."""
    first, second = make_private_jwk("RS256", "first"), make_private_jwk("ES256", "second")
    with (
        OidcProvider(tmp_path / "idp", node_modules("oidc-provider"), [first]) as idp,
        HttpTransport() as http,
    ):
        config = {**CLEAR, "identity_providers": [idp.provider()]}
        service = MongoService(config=config, core={"http": http})
        try:
            credentials = {"credentials": {"client_credentials": idp.source()}}
            with PyMongoTokens("client_credentials", "localhost", config=credentials) as tokens:
                client: pymongo.MongoClient[Any] = pymongo.MongoClient(
                    "localhost",
                    service.address[1],
                    authMechanism="MONGODB-OIDC",
                    authMechanismProperties=tokens.properties(),
                )
                with client:
                    expected = [{"user": f"test/{CLIENT[0]}", "db": "$external"}]
                    assert who(client)[0] == expected
                    idp.rotate([second])
                    manager = idp_manager(service.sasl.utils)
                    assert service.run(service.sasl.run(manager.refresh_keys())) == ()
                    assert who(client)[0] == expected
            service.settle()
        finally:
            service.close()


def test_an_administrator_replaces_the_providers(issuer: FakeIssuer) -> None:
    """By the command that MongoDB has for it; drivers log in again under their new names."""
    service = MongoService(issuer=issuer, administrators=["admin.tim"])
    machine = Machine(issuer)
    try:
        people: pymongo.MongoClient[Any] = pymongo.MongoClient(
            "localhost",
            service.address[1],
            authMechanism="MONGODB-OIDC",
            authMechanismProperties={"OIDC_CALLBACK": machine},
        )
        admin: pymongo.MongoClient[Any] = pymongo.MongoClient(
            "localhost", service.address[1], username="tim", password=PASSWORD
        )
        with people, admin:
            assert who(people)[0] == [{"user": "okta/tim", "db": "$external"}]
            changed = [provider(issuer, authNamePrefix="entra")]
            admin.admin.command({"setParameter": 1, "oidcIdentityProviders": changed})
            assert who(people)[0] == [{"user": "entra/tim", "db": "$external"}]
            with pytest.raises(OperationFailure) as caught:
                people.admin.command({"setParameter": 1, "oidcIdentityProviders": []})
            assert caught.value.code == 13
        service.settle()
    finally:
        service.close()


@BOTH
def test_a_new_connection_gets_over_an_old_token(
    connect: Connect, service: MongoService, issuer: FakeIssuer, kind: str
) -> None:
    """It sends the token that it has, in its hello too, is refused, and fetches another."""
    seen, machine = Seen(), Machine(issuer)
    client = with_callback(connect, kind, machine, maxIdleTimeMS=1, event_listeners=[seen])
    number = client.admin.command("hello")["connectionId"]
    service.expire_tokens()
    time.sleep(0.05)
    assert client.admin.command("hello")["connectionId"] != number
    assert len(machine.contexts) == 2
    assert client.admin.command("ping")["ok"] == 1
    assert REAUTHENTICATE not in {code for _, code in seen.ended}


def test_commands_reach_whoever_embeds() -> None:
    """A `find` of PyMongo's is answered by the application."""
    asked: list[Command] = []

    async def answer(command: Command) -> dict[str, object]:
        asked.append(command)
        batch = [{"_id": 1, "who": command.login.user}]
        return {"cursor": {"id": 0, "ns": "test.people", "firstBatch": batch}, "ok": 1.0}

    service = MongoService(on_command=answer)
    try:
        client: pymongo.MongoClient[Any] = pymongo.MongoClient(
            "localhost", service.address[1], username="tim", password=PASSWORD
        )
        with client:
            found = list(client.test.people.find({}))
        assert found == [{"_id": 1, "who": "tim"}]
        assert [command.name for command in asked] == ["find"]
        service.settle()
    finally:
        service.close()
