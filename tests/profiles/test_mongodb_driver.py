"""What PyMongo's callback of ours asks its source, and what it gives to PyMongo.

Contexts are PyMongo's own classes; logins by them are in tests/interop/test_pymongo.py.
"""

from __future__ import annotations

import subprocess
import sys
import threading
import time
import traceback
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
from pymongo.auth_oidc import (
    OIDCCallback,
    OIDCCallbackContext,
    OIDCCallbackResult,
    OIDCIdPInfo,
)

from sasl_core import (
    AccessToken,
    AuthenticationError,
    BackendError,
    ConfigError,
    CredentialsPlug,
    PeerError,
    PluginError,
    SaslError,
    TokenRequest,
    UsageError,
)
from sasl_core.plugin import HttpResponse, NeedCallback, Needs
from sasl_credentials import CallbackTokens
from sasl_profiles.mongodb import PyMongoTokens
from sasl_tokens.hosts import ALLOWED_HOSTS
from token_kit import json_response
from token_sources import Counting

IDP = OIDCIdPInfo("https://idp.example.com", "client", ["openid", "groups"])


def machine(**more: Any) -> OIDCCallbackContext:
    """What PyMongo tells of a machine's login."""
    return OIDCCallbackContext(**{"timeout_seconds": 60, "username": "", "version": 1, **more})


def human(**more: Any) -> OIDCCallbackContext:
    """What it tells of a person's."""
    return machine(**{"timeout_seconds": 300, "idp_info": IDP, **more})


class Person(Counting):
    """A person, who has a token for whoever asks."""

    def __init__(self, **more: Any) -> None:
        super().__init__(human=True, **more)


def test_a_machines_token() -> None:
    """The source is told the host and the deadline, and nothing that PyMongo did not tell."""
    source = Counting(life=600.0, clock=time.time)
    with PyMongoTokens(source, "db.example.com") as tokens:
        told = tokens.fetch(machine(timeout_seconds=7))
    assert isinstance(told, OIDCCallbackResult)
    assert told.access_token == "token-1"
    assert told.expires_in_seconds == pytest.approx(600.0, abs=5)
    assert told.refresh_token is None
    (request,) = source.requests
    assert 6 < request.deadline <= 7
    assert request == TokenRequest("mongodb", "db.example.com", deadline=request.deadline)


def test_a_persons_token() -> None:
    """The provider of the server, the name, and the refresh token that comes back."""
    source = Person()
    with PyMongoTokens(source, "localhost") as tokens:
        told = tokens.fetch(human(username="ada"))
    assert (told.access_token, told.refresh_token) == ("token-1", "refresh-1")
    assert told.expires_in_seconds is None
    (request,) = source.requests
    assert (request.username, request.issuer, request.client_id, request.scopes) == (
        "ada",
        IDP.issuer,
        "client",
        ("openid", "groups"),
    )
    assert request.refresh_token is None


def test_nothing_is_kept() -> None:
    """PyMongo asks when its token was refused: each time the source is asked anew."""
    source = Counting()
    with PyMongoTokens(source, "localhost") as tokens:
        assert [tokens.fetch(machine()).access_token for _ in range(3)] == [
            "token-1",
            "token-2",
            "token-3",
        ]


def test_an_expired_token_has_no_time_left_and_not_less() -> None:
    """A life below zero is none that PyMongo could make sense of."""
    with PyMongoTokens(Counting(life=1.0), "localhost") as tokens:
        assert tokens.fetch(machine()).expires_in_seconds == 0.0


# --- its place in PyMongo -------------------------------------------------------------------


def test_the_properties_of_a_machine() -> None:
    """No hosts: PyMongo takes them with a person's alone."""
    with PyMongoTokens(Counting(), "db.example.com") as tokens:
        assert tokens.properties() == {"OIDC_CALLBACK": tokens}
        assert isinstance(tokens, OIDCCallback)


@pytest.mark.parametrize(
    ("given", "told"),
    [
        (None, list(ALLOWED_HOSTS)),
        (("DB.Example.COM.", "*.Example.org", "[::1]"), ["db.example.com", "*.example.org", "::1"]),
        # Of addresses we know no parts; PyMongo would take 10.0.0.1 for this.
        (("db.example.com", "*.0.0.1"), ["db.example.com"]),
    ],
)
def test_the_properties_of_a_person(given: tuple[str, ...] | None, told: list[str]) -> None:
    """The hosts go along, as PyMongo compares them: letter by letter."""
    with PyMongoTokens(Person(allowed_hosts=given), "db.example.com" if given else "::1") as tokens:
        assert tokens.properties() == {"OIDC_HUMAN_CALLBACK": tokens, "ALLOWED_HOSTS": told}


def test_a_person_is_for_allowed_hosts_only() -> None:
    """Told at once, and the source was not asked."""
    source = Person(allowed_hosts=("*.example.com",))
    with pytest.raises(UsageError) as caught:
        PyMongoTokens(source, "example.com")
    assert caught.value.code == "host-not-allowed"
    assert source.requests == []


def test_hosts_that_are_none() -> None:
    """A stranger's class may have anything there."""
    with pytest.raises(ConfigError, match="no host"):
        PyMongoTokens(Person(allowed_hosts=("http://db",)), "localhost")


def test_hosts_that_are_no_tuple() -> None:
    """The same to everything that has tokens of it."""

    class Listing(Person):
        allowed_hosts: Any = ["localhost"]

    with pytest.raises(UsageError, match="no tuple"):
        PyMongoTokens(Listing(), "localhost")


def test_a_person_in_a_machines_place_is_not_asked() -> None:
    """As OIDC_CALLBACK PyMongo looks at no host: nobody is asked then."""
    source = Person()
    with (
        PyMongoTokens(source, "localhost") as tokens,
        pytest.raises(UsageError, match="OIDC_HUMAN_CALLBACK") as caught,
    ):
        tokens.fetch(machine())
    assert caught.value.code == "host-not-allowed"
    assert source.requests == []


def test_a_machine_may_stand_in_a_persons_place() -> None:
    """It is told of the provider, and has no refresh token to keep."""
    source = Counting()
    with PyMongoTokens(source, "localhost") as tokens:
        told = tokens.fetch(human(refresh_token="of-somebody"))
    assert told.refresh_token is None
    assert source.shown == [(IDP.issuer, None)]


def test_a_source_by_name(tmp_path: Any) -> None:
    """An installed one, with its table."""
    file = tmp_path / "token"
    file.write_text("eyJ.eyJ.c2ln\n")
    config = {"credentials": {"token_file": {"path": str(file)}}}
    with PyMongoTokens("token_file", "localhost", config=config) as tokens:
        assert tokens.fetch(machine()).access_token == "eyJ.eyJ.c2ln"
        assert repr(tokens) == "PyMongoTokens('token_file', 'localhost')"
    with pytest.raises(PluginError, match="nosuch"):
        PyMongoTokens("nosuch", "localhost")
    with pytest.raises(UsageError, match="has a name"):
        PyMongoTokens("", "localhost")


def test_without_pymongo(monkeypatch: pytest.MonkeyPatch) -> None:
    """It says what to install."""
    monkeypatch.setitem(sys.modules, "pymongo.auth_oidc", None)
    with pytest.raises(PluginError, match=r"sasl-core\[mongodb\]") as caught:
        PyMongoTokens(Counting(), "localhost")
    assert caught.value.code == "missing-package"


def test_naming_it_loads_no_pymongo() -> None:
    """The profile is for servers as well, which have no PyMongo."""
    code = (
        "import sys; from sasl_profiles.mongodb import PyMongoTokens; "
        "assert not {'pymongo', 'bson', 'asyncio'} & set(sys.modules)"
    )
    ended = subprocess.run([sys.executable, "-P", "-c", code], check=False, timeout=60)
    assert ended.returncode == 0


# --- refresh tokens -------------------------------------------------------------------------


def test_a_refresh_token_is_used() -> None:
    """The person is not asked; a provider that gives no other one means that it stays."""
    source = CallbackTokens(lambda request: AccessToken("new"), human=True)
    with PyMongoTokens(source, "localhost") as tokens:
        told = tokens.fetch(human(refresh_token="kept"))
    assert (told.access_token, told.refresh_token) == ("new", "kept")


@pytest.mark.parametrize(
    "error",
    [
        AuthenticationError(detail="invalid_grant"),
        BackendError(detail="it is broken", temporary=False),
        UsageError("it cannot stand in a form"),
    ],
)
def test_a_refresh_token_that_fails_keeps_nobody_out(error: SaslError) -> None:
    """PyMongo would hand it in for ever: the person is asked in the same call."""
    source = Person()
    source.fails = lambda request: error if request.refresh_token else None
    with PyMongoTokens(source, "localhost") as tokens:
        told = tokens.fetch(human(refresh_token="spent"))
    assert (told.access_token, told.refresh_token) == ("token-2", "refresh-2")
    assert source.shown == [(IDP.issuer, "spent"), (IDP.issuer, None)]


def test_the_spent_refresh_token_does_not_come_back() -> None:
    """Where the provider gives no other one, PyMongo gets none."""

    def answer(request: TokenRequest) -> AccessToken:
        if request.refresh_token:
            raise AuthenticationError(detail="invalid_grant")
        return AccessToken("new")

    with PyMongoTokens(CallbackTokens(answer, human=True), "localhost") as tokens:
        assert tokens.fetch(human(refresh_token="spent")).refresh_token is None


def test_an_outage_is_waited_out_for_a_minute(monkeypatch: pytest.MonkeyPatch) -> None:
    """Then the person is asked all the same; and once it has worked, the minute is another."""
    now = [1000.0]
    monkeypatch.setattr("sasl_profiles.mongodb.driver.time.monotonic", lambda: now[0])
    source = Person()
    down = BackendError(detail="no route")
    source.fails = lambda request: down if request.refresh_token else None
    with PyMongoTokens(source, "localhost") as tokens:
        for _ in range(2):
            with pytest.raises(BackendError, match="temporary"):
                tokens.fetch(human(refresh_token="kept"))
            now[0] += 59.0
        assert tokens.fetch(human(refresh_token="kept")).access_token == "token-4"
        with pytest.raises(BackendError):
            tokens.fetch(human(refresh_token="kept"))


def test_what_a_refresh_took_is_not_left_for_the_person(monkeypatch: pytest.MonkeyPatch) -> None:
    """Both have the time of one call."""
    now = [0.0]
    monkeypatch.setattr("sasl_profiles.mongodb.driver.time.monotonic", lambda: now[0])
    source = Person()

    def slow(request: TokenRequest) -> SaslError | None:
        now[0] += 100.0
        return AuthenticationError() if request.refresh_token else None

    source.fails = slow
    with PyMongoTokens(source, "localhost") as tokens:
        tokens.fetch(human(refresh_token="spent"))
    assert [request.deadline for request in source.requests] == [300.0, 200.0]


# --- what goes wrong ------------------------------------------------------------------------


@pytest.mark.parametrize(
    "idp",
    [
        OIDCIdPInfo(7),  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
        OIDCIdPInfo(""),
        OIDCIdPInfo("https://idp\n.example.com"),
        OIDCIdPInfo("https://idp.example.com", b"c"),  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
        OIDCIdPInfo("https://idp.example.com", "c", "openid"),  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
        OIDCIdPInfo("https://idp.example.com", "c", ["openid", 7]),  # type: ignore[list-item]  # pyright: ignore[reportArgumentType]
    ],
)
def test_a_servers_nonsense_goes_no_further(idp: OIDCIdPInfo) -> None:
    """PyMongo passes on whatever the server said; no source has to look at it again."""
    source = Person()
    with PyMongoTokens(source, "localhost") as tokens, pytest.raises(PeerError) as caught:
        tokens.fetch(human(idp_info=idp))
    assert caught.value.code == "oidc-message"
    assert source.requests == []


@pytest.mark.parametrize(
    "issuer",
    [
        "file:///etc/passwd",
        "javascript:alert(1)",
        "http://idp.example.com",
        "http://localhost:8080",
        "https://ada@idp.example.com",
        "https://idp.example.com/#fragment",
        "https://idp.example.com\\@evil.example.com",
        "https://" + "x" * 5000,
    ],
    ids=lambda issuer: issuer[:40],
)
def test_nobody_is_sent_where_nobody_may_go(issuer: str) -> None:
    """As with MONGODB-OIDC's own client: https, and nothing that two readers read differently."""
    source = Person()
    with PyMongoTokens(source, "localhost") as tokens, pytest.raises(PeerError) as caught:
        tokens.fetch(human(idp_info=OIDCIdPInfo(issuer, "client")))
    assert caught.value.code == "oidc-issuer"
    assert len("".join(traceback.format_exception(caught.value))) < 5000
    assert source.requests == []


def test_a_provider_on_this_machine() -> None:
    """Where it is allowed, and no other without TLS."""
    source = Person()
    with PyMongoTokens(source, "localhost", allow_loopback_http=True) as tokens:
        tokens.fetch(human(idp_info=OIDCIdPInfo("http://localhost:8080", "client")))
        with pytest.raises(PeerError):
            tokens.fetch(human(idp_info=OIDCIdPInfo("http://idp.example.com", "client")))
    assert source.shown == [("http://localhost:8080", None)]


@pytest.mark.parametrize(
    "idp",
    [
        OIDCIdPInfo("https://" + "x" * 1_000_000, "c"),
        OIDCIdPInfo("https://idp.example.com", "c" * 70_000),
        OIDCIdPInfo("https://idp.example.com", "c", ["s" * 70_000]),
        OIDCIdPInfo("https://idp.example.com", "c", ["s"] * 70_000),
    ],
    ids=["issuer", "client", "scope", "scopes"],
)
def test_what_is_said_of_a_provider_has_an_end(idp: OIDCIdPInfo) -> None:
    """PyMongo reads more than a message of MONGODB-OIDC may have."""
    source = Person()
    with PyMongoTokens(source, "localhost") as tokens, pytest.raises(PeerError) as caught:
        tokens.fetch(human(idp_info=idp))
    assert caught.value.code == "oidc-message"
    assert source.requests == []


@pytest.mark.parametrize(
    ("token", "problem"),
    [
        (AccessToken("with blanks in it"), "no access token"),
        (AccessToken(""), "no access token"),
        (AccessToken("t", float("nan")), "no time"),
        (AccessToken("t", None, 7), "no string"),  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
        ("eyJ", "gave a str"),
    ],
)
def test_what_is_no_token_is_not_sent(token: Any, problem: str) -> None:
    """A stranger's source may give anything."""

    class Odd(CredentialsPlug):
        name = "odd"

        def token(self, request: TokenRequest) -> Needs[Any]:
            yield from ()
            return token

    with (
        PyMongoTokens(Odd(), "localhost") as tokens,
        pytest.raises(UsageError, match=problem) as caught,
    ):
        tokens.fetch(machine())
    assert caught.value.code == "bad-token"


def test_the_cause_stands_in_the_traceback(caplog: pytest.LogCaptureFixture) -> None:
    """The message is the same for every cause: whoever runs the driver sees the detail as well."""
    source = Counting()
    source.fails = lambda request: AuthenticationError(detail="the provider answered 401")
    with (
        PyMongoTokens(source, "localhost") as tokens,
        pytest.raises(AuthenticationError) as caught,
    ):
        tokens.fetch(machine())
    assert str(caught.value) == "authentication failed"
    shown = "".join(traceback.format_exception(caught.value))
    assert "no token from credentials 'counting': the provider answered 401" in shown
    assert "the provider answered 401" in caplog.text


@pytest.mark.parametrize("context", [machine(), human(refresh_token="refresh-4711")])
def test_no_secret_is_told(context: OIDCCallbackContext, caplog: pytest.LogCaptureFixture) -> None:
    """What a source's own error holds stays where it was; nor does any frame keep a token."""

    def broken(request: TokenRequest) -> AccessToken:
        secret = "secret-4711"
        raise RuntimeError(f"{secret} {request.refresh_token}")

    source = CallbackTokens(broken, human=context.idp_info is not None)
    with PyMongoTokens(source, "localhost") as tokens:
        with pytest.raises(BackendError) as caught:
            tokens.fetch(context)
        told = "".join(traceback.format_exception(caught.value)) + caplog.text + repr(tokens)
    assert "RuntimeError" in told
    assert "4711" not in told
    assert caught.value.__cause__ is None
    assert caught.value.__context__ is None


def test_a_source_that_asks_a_session() -> None:
    """Prompts have nobody to answer them here; that is said, and nothing hangs."""

    class Asking(CredentialsPlug):
        name = "asking"

        def token(self, request: TokenRequest) -> Needs[AccessToken]:
            yield from NeedCallback(())
            return AccessToken("t")

    with (
        PyMongoTokens(Asking(), "localhost") as tokens,
        pytest.raises(PluginError, match="NeedCallback"),
    ):
        tokens.fetch(machine())


def test_a_coroutine_function_is_refused() -> None:
    """PyMongo calls in a thread, blocking; there is no loop."""

    async def token(request: TokenRequest) -> str:
        return "t"

    with (
        PyMongoTokens(CallbackTokens(token), "localhost") as tokens,
        pytest.raises(UsageError, match=r"sasl_core\.aio"),
    ):
        tokens.fetch(machine())


def test_closed() -> None:
    """Afterwards it gives no token; closing it again is nothing."""
    tokens = PyMongoTokens(Counting(), "localhost")
    tokens.close()
    tokens.close()
    with pytest.raises(UsageError) as caught:
        tokens.fetch(machine())
    assert caught.value.code == "closed"


def test_a_transport_that_is_given_is_not_closed_here(tmp_path: Any) -> None:
    """It is asked for what the source needs."""
    asked: list[str] = []

    def http(request: Any) -> HttpResponse:
        asked.append(request.url)
        return json_response({"access_token": "abc", "token_type": "Bearer", "expires_in": 60})

    options = {"token_endpoint": "https://idp/token", "client_id": "c", "client_secret": "s"}
    config = {"credentials": {"client_credentials": options}}
    with PyMongoTokens("client_credentials", "localhost", config=config, http=http) as tokens:
        told = tokens.fetch(machine())
    assert told.access_token == "abc"
    assert told.expires_in_seconds == pytest.approx(60, abs=5)
    assert asked == ["https://idp/token"]


# --- threads --------------------------------------------------------------------------------


def in_thread(function: Callable[[], object]) -> threading.Thread:
    thread = threading.Thread(target=function)
    thread.start()
    return thread


def test_one_at_a_time_and_the_others_wait_as_long_as_they_have_time() -> None:
    """Several MongoClients may share it: no source is asked by two, and none waits for ever."""
    inside, go = threading.Event(), threading.Event()
    most, now = [0], [0]

    def ask(request: TokenRequest) -> str:
        now[0] += 1
        most[0] = max(most[0], now[0])
        inside.set()
        assert go.wait(10)
        now[0] -= 1
        return f"token-of-{request.username}"

    given: list[str] = []
    with PyMongoTokens(CallbackTokens(ask), "localhost") as tokens:

        def fetch(name: str) -> None:
            given.append(tokens.fetch(machine(username=name)).access_token)

        threads = [in_thread(partial(fetch, name)) for name in "ab"]
        assert inside.wait(10)
        with pytest.raises(BackendError, match="temporary") as caught:
            tokens.fetch(machine(timeout_seconds=0))
        assert caught.value.code == "timeout"
        go.set()
        for thread in threads:
            thread.join(10)
    assert sorted(given) == ["token-of-a", "token-of-b"]
    assert most == [1]


class Hanging:
    """A source's function whose first call hangs until it is let go."""

    def __init__(self) -> None:
        self.go = threading.Event()
        self.left: list[float] = []

    def __call__(self, request: TokenRequest) -> str:
        self.left.append(request.deadline)
        if len(self.left) == 1:
            assert self.go.wait(30)
        return f"token-{len(self.left)}"


def test_a_source_that_hangs_once_keeps_nobody_out_for_good(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Once its time is over its call counts for nothing, and it is asked beside it."""
    monkeypatch.setattr("sasl_profiles.mongodb.driver.GRACE", 0.1)
    source = Hanging()
    with PyMongoTokens(CallbackTokens(source), "localhost") as tokens:
        thread = in_thread(lambda: tokens.fetch(machine(timeout_seconds=0.5)))
        while not source.left:
            time.sleep(0.01)
        with pytest.raises(BackendError) as caught:
            tokens.fetch(machine(timeout_seconds=0.1))
        assert caught.value.code == "timeout"
        assert tokens.fetch(machine(timeout_seconds=10)).access_token == "token-2"
        # Nor does the end of what hung, as late as it comes, end what goes on since.
        source.go.set()
        thread.join(10)
        assert tokens.fetch(machine()).access_token == "token-3"
    assert len(source.left) == 3


def test_nobody_is_asked_for_a_moment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Who has waited until too little is left gets an error, and no browser that goes at once."""
    monkeypatch.setattr("sasl_profiles.mongodb.driver.GRACE", 60.0)
    source = Hanging()
    with PyMongoTokens(CallbackTokens(source, human=True), "localhost") as tokens:
        thread = in_thread(lambda: tokens.fetch(human(timeout_seconds=1.0)))
        while not source.left:
            time.sleep(0.01)
        began = time.monotonic()
        with pytest.raises(BackendError) as caught:
            tokens.fetch(human(timeout_seconds=1.0))
        assert caught.value.code == "timeout"
        # Half of so short a time: there was as much for a person.
        assert 0.45 < time.monotonic() - began < 5
        source.go.set()
        thread.join(10)
    assert source.left == [pytest.approx(1.0, abs=0.1)]


def test_a_failure_is_of_whoever_had_it() -> None:
    """The others ask for themselves: a name that is refused is not theirs."""
    inside, go = threading.Event(), threading.Event()

    def ask(request: TokenRequest) -> str:
        if request.username == "bad":
            inside.set()
            assert go.wait(10)
            raise AuthenticationError(detail="no such user")
        return "token"

    given: list[str] = []
    with PyMongoTokens(CallbackTokens(ask), "localhost") as tokens:

        def fetch(name: str) -> None:
            try:
                given.append(tokens.fetch(machine(username=name)).access_token)
            except AuthenticationError:
                given.append(name)

        first = in_thread(partial(fetch, "bad"))
        assert inside.wait(10)
        second = in_thread(partial(fetch, "good"))
        time.sleep(0.1)
        go.set()
        for thread in (first, second):
            thread.join(10)
    assert sorted(given) == ["bad", "token"]
