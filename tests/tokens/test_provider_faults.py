"""A provider that fails, in every way that has a name, behind a server that people log in to.

The provider is a server on the loopback, asked over TLS by the transport that applications have.
Logins that need nothing of it go on; the others fail in time, with a detail that says why, and
leave nothing behind; when it is back, so are they.
"""

from __future__ import annotations

import asyncio
import gc
import threading
import time
import tracemalloc
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import attrs
import pytest

import sasl_core.utils
from drivers import Driver, Handle, exchange, make_driver
from http_faults import HUGE, Answer, FaultyServer, Received
from oauth_kit import BEARER, message_for
from sasl_auxprop.memory import MemoryStore
from sasl_core import AuthenticationError, BackendError, Server, aio
from sasl_core.plugin import HttpRequest, HttpResponse
from sasl_http import HttpTransport
from sasl_tokens import JWKManager, idp_manager
from token_kit import FakeIssuer, json_response, make_key

TLS = 256
USER, PASSWORD = "tim", "tanstaaftanstaaf"
OIDC, SCRAM = "MONGODB-OIDC", "SCRAM-SHA-256"
PATIENCE = 0.5
"""The deadline of a fetch that is to run into it."""
SLACK = 5.0
"""What a busy machine may take longer; far from any deadline of the product."""
QUIET = 61.0
"""More than the quiesce period."""


class Clock:
    """Today's time, and what the test adds to it."""

    def __init__(self) -> None:
        self.ahead = 0.0

    def __call__(self) -> float:
        return time.time() + self.ahead


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """The clock of every Server that is made from now on."""
    made = Clock()
    monkeypatch.setattr(sasl_core.utils.SaslUtils, "clock", staticmethod(made))
    return made


class Provider:
    """An identity provider on the loopback. What it says can be changed by `issuer.answers`."""

    def __init__(self, server: FaultyServer, clock: Clock) -> None:
        self.server = server
        server.handler = self._answer
        self.issuer = FakeIssuer(self.server.url, algs=("ES256",), clock=clock)
        self.foreign = make_key("ES256", "nobody-knows-it", 1, "foreign")

    def _answer(self, request: Received) -> Answer:
        said = self.issuer.http(HttpRequest("GET", self.server.url + request.target))
        return Answer(said.status, said.body, tuple(said.headers))

    def config(self, *, discovery: bool = True) -> Mapping[str, object]:
        provider = {
            "issuer": self.issuer.url,
            "audience": "sasl",
            "authNamePrefix": "corp",
            "supportsHumanFlows": False,
            "authorizationClaim": "groups",
            "serverCAFile": self.server.ca_file,
        }
        if not discovery:
            provider["JWKSUri"] = self.issuer.jwks_uri
        return {"identity_providers": [provider], "scram_iteration_counter": 4096}

    def token(self, name: str = "ann", **more: Any) -> bytes:
        """The first message of a login by a good token."""
        return message(self.issuer.sign(sub=name, groups=["a"], **more))

    def unknown(self, kid: str = "nobody-knows-it") -> bytes:
        """The same by a key that is not the provider's, under a name that it does not have."""
        claims = self.issuer.claims(groups=["a"])
        return message(self.foreign.sign(claims, {"kid": kid}))


def message(token: str) -> bytes:
    """MONGODB-OIDC's, with a token: a BSON document."""
    text = token.encode()
    body = b"\x02jwt\0" + (len(text) + 1).to_bytes(4, "little") + text + b"\0"
    return (len(body) + 5).to_bytes(4, "little") + body + b"\0"


@pytest.fixture
def provider(clock: Clock) -> Iterator[Provider]:
    with FaultyServer() as serving:
        yield Provider(serving, clock)


@pytest.fixture
def http() -> Iterator[HttpTransport]:
    with HttpTransport() as transport:
        yield transport


@pytest.fixture(params=["blocking", "asyncio"])
def driver(request: pytest.FixtureRequest) -> Iterator[Driver]:
    made = make_driver(request.param)
    yield made
    made.close()


Make = Callable[..., Handle]


@pytest.fixture
def server(driver: Driver, provider: Provider, http: HttpTransport) -> Make:
    """Makes the server that people log in to; `patience`: the deadline of its fetches."""

    def make(patience: float = PATIENCE, *, discovery: bool = True) -> Handle:
        stores = [MemoryStore({USER: PASSWORD})]
        made = driver.server(provider.config(discovery=discovery), stores=stores, http=http)
        keys_of(made.inner).deadline = patience
        return made

    return make


def keys_of(server: Any) -> JWKManager:
    """The keys of the one issuer."""
    (found,) = idp_manager(server.utils).providers
    return found.refresher.keys


def log_in(server: Handle, first: bytes) -> str:
    """Log in by token; whose it is."""
    session = server.session(external_ssf=TLS)
    assert session.start(OIDC, first).done
    name: str = session.authid
    session.close()
    return name


def scram(driver: Driver, server: Handle) -> str:
    """Log in by password."""
    client = driver.client()
    ours = client.session(authid=USER, password=PASSWORD, external_ssf=TLS)
    session = server.session(external_ssf=TLS)
    exchange(session, ours, SCRAM)
    name: str = session.authid
    session.close()
    ours.close()
    return name


@contextmanager
def outage(
    server: Handle,
    first: bytes,
    seconds: float,
    mechanism: str = OIDC,
    *,
    temporary: bool = True,
) -> Iterator[BackendError]:
    """A login that must fail because nobody can say, and within how long."""
    session = server.session(external_ssf=TLS)
    begin = time.monotonic()
    with pytest.raises(BackendError) as caught:
        session.start(mechanism, first)
    assert time.monotonic() - begin < seconds
    assert caught.value.temporary is temporary
    assert not session.done
    yield caught.value
    session.close()


# --- one login --------------------------------------------------------------------------------

# The fault -> the code, and words of the detail.
SLOW = {
    "hang-at-once": ("http-timeout", "shaking hands"),
    "slow-tls": ("http-timeout", "shaking hands"),
    "hang": ("http-timeout", "waiting for the whole answer"),
    "hang-half-way": ("http-timeout", "waiting for the whole answer"),
    "drip-head": ("http-timeout", "waiting for the whole answer"),
    "drip-body": ("http-timeout", "waiting for the whole answer"),
}
QUICK = {
    "close-at-once": ("http-tls", "handshake"),
    "reset-at-once": ("http-tls http-connect", "reset"),  # By how quick it is.
    "close": ("http-protocol", ""),
    "reset": ("http-protocol", "the connection broke"),
    "close-half-way": ("http-protocol", ""),
    "garbage": ("http-protocol", ""),
    "redirect": ("http-answer", "answered 302"),
    "huge": ("http-too-large", ""),
    "huge-chunked": ("http-too-large", ""),
    "huge-until-close": ("http-too-large", ""),
    "untrusted": ("http-tls", "certificate is refused"),
    "expired": ("http-tls", "certificate is refused"),
    "wrong-name": ("http-tls", "certificate is refused"),
}


@pytest.mark.parametrize("discovery", [True, False], ids=["discovery", "keys"])
@pytest.mark.parametrize("fault", [*SLOW, *QUICK])
def test_a_login_that_needs_keys_fails_in_time(
    server: Make, provider: Provider, fault: str, discovery: bool
) -> None:
    """With each fault of the transport: an outage, whose detail says what is the matter."""
    code, said = {**SLOW, **QUICK}[fault]
    patience = PATIENCE if fault in SLOW else 30.0
    serving = server(patience, discovery=discovery)
    provider.server.fault = fault
    with outage(serving, provider.token(), PATIENCE + SLACK) as error:
        assert error.code in code.split()
        assert said in (error.detail or "")
        # The answer was whole, where the provider itself is not named.
        assert provider.server.url in (error.detail or "") or code == "http-answer"
    assert provider.server.connections == 1
    assert provider.server.sent < HUGE // 2  # What the kernel has buffers for is sent.


def test_a_provider_that_is_gone(server: Make, provider: Provider) -> None:
    """Nobody listens on its port."""
    serving = server(30.0)
    provider.server.stop()
    with outage(serving, provider.token(), SLACK) as error:
        assert error.code == "http-connect"
        assert provider.server.url in (error.detail or "")


def two_alike(issuer: FakeIssuer) -> dict[str, object]:
    """A key set in which two keys have one name."""
    other = make_key("ES256", issuer.signer().kid, 7, "other")
    return {"keys": [issuer.signer().public(), other.public()]}


WRONG: Mapping[str, tuple[Callable[[FakeIssuer], Any], str, str]] = {
    "duplicate kids": (lambda i: json_response(two_alike(i)), "key-set", "two keys"),
    "no kid": (
        lambda i: json_response({"keys": [i.signer().public(kid=None)]}),
        "key-set",
        "no identifier",
    ),
    "no JSON": (lambda i: json_response(b"{"), "key-set", "JSON"),
    "a page": (lambda i: json_response(b"<html>", content_type="text/html"), "http-answer", "html"),
    "an error": (lambda i: json_response({}, 503), "http-answer", "503"),
    "a redirect": (lambda i: json_response({}, 307), "http-answer", "307"),
}


@pytest.mark.parametrize("what", WRONG)
def test_keys_that_are_none(server: Make, provider: Provider, clock: Clock, what: str) -> None:
    """A whole answer that is no key set is refused as a whole; the old keys go on to serve."""
    answer, code, said = WRONG[what]
    serving, path = server(30.0), "/keys"
    provider.issuer.answers[path] = answer(provider.issuer)
    with outage(serving, provider.token(), SLACK) as error:
        assert (error.code, said in (error.detail or "")) == (code, True), error.detail
    del provider.issuer.answers[path]
    clock.ahead += QUIET
    assert log_in(serving, provider.token()) == "corp/ann"
    provider.issuer.answers[path] = answer(provider.issuer)
    clock.ahead += QUIET
    with outage(serving, provider.unknown(), SLACK) as error:
        assert error.code == code
    assert log_in(serving, provider.token("bob")) == "corp/bob"


# --- what goes on, and what comes back ------------------------------------------------------------


@pytest.mark.parametrize("fault", ["hang", "drip-body", "redirect", "huge", "reset", "vanished"])
def test_what_needs_no_fetch_goes_on(
    driver: Driver, server: Make, provider: Provider, clock: Clock, fault: str
) -> None:
    """Passwords, keys that are known, and tokens that were seen before; nobody is asked."""
    serving = server()
    seen = provider.token("seen")
    assert log_in(serving, seen) == "corp/seen"
    if fault == "vanished":
        provider.server.stop()
    else:
        provider.server.fault = fault
    clock.ahead += QUIET
    with outage(serving, provider.unknown(), PATIENCE + SLACK):
        pass
    asked = provider.server.connections
    assert scram(driver, serving) == USER
    assert log_in(serving, seen) == "corp/seen"
    assert log_in(serving, provider.token("new")) == "corp/new"
    # So soon after the attempt there is no other: an answer at once.
    with outage(serving, provider.unknown(), SLACK) as error:
        assert error.code == "no-keys"
    assert provider.server.connections == asked


@pytest.mark.parametrize("known", [True, False], ids=["known before", "never known"])
def test_it_comes_back(server: Make, provider: Provider, clock: Clock, known: bool) -> None:
    """After the quiet that follows an attempt one fetch is enough for all."""
    serving = server(30.0)
    if known:
        log_in(serving, provider.token())
    clock.ahead += QUIET
    provider.server.stop()
    with outage(serving, provider.unknown(), SLACK):
        pass
    before = provider.server.connections
    provider.issuer.rotate()
    provider.server.start()
    token = provider.token("back")
    with outage(serving, token, SLACK) as error:
        assert error.code == "no-keys"
    assert provider.server.connections == before
    clock.ahead += QUIET
    for _ in range(3):
        assert log_in(serving, token) == "corp/back"
    assert provider.server.connections == before + 2  # The document, and the keys.


def test_a_session_that_was_begun_well_stands(
    server: Make, provider: Provider, clock: Clock
) -> None:
    """An outage lets nobody out who is in, and a revalidation needs no fetch either."""
    serving = server()
    session = serving.session(external_ssf=TLS)
    assert session.start(OIDC, provider.token()).done
    provider.server.stop()
    clock.ahead += QUIET
    with outage(serving, provider.unknown(), SLACK):
        pass
    assert session.valid()
    session._call(session.inner.revalidate)
    assert session.valid()
    assert session.properties.get("roles") == (b"admin.corp/a",)
    session.close()


# --- many logins at once --------------------------------------------------------------------------


def begun(provider: Provider, before: int) -> None:
    """Return when somebody waits for the provider."""
    while provider.server.connections == before:
        time.sleep(0.01)


def test_threads_do_not_wait_for_those_who_wait(
    provider: Provider, http: HttpTransport, clock: Clock
) -> None:
    """While twenty logins wait for a provider that hangs, the others come and go."""
    driver = make_driver("blocking")
    stores = [MemoryStore({USER: PASSWORD})]
    with Server("smtp", "localhost", config=provider.config(), stores=stores, http=http) as inner:
        keys_of(inner).deadline = 60.0
        serving = Handle(inner, driver)
        seen = provider.token("seen")
        log_in(serving, seen)
        provider.server.fault = "hang"
        clock.ahead += QUIET
        before = provider.server.connections

        def waiting(_: int) -> str:
            with inner.session(external_ssf=TLS) as session:
                try:
                    session.start(OIDC, provider.unknown())
                except BackendError as error:
                    return error.code
            return "let in"

        with ThreadPoolExecutor(20) as pool:
            pending = [pool.submit(waiting, number) for number in range(20)]
            begun(provider, before)
            for number in range(10):
                assert scram(driver, serving) == USER
                assert log_in(serving, seen) == "corp/seen"
                assert log_in(serving, provider.token(f"u{number}")) == f"corp/u{number}"
            assert not any(future.done() for future in pending)
            provider.server.stop()
            codes = {future.result() for future in pending}
    driver.close()
    assert provider.server.connections == before + 1
    assert codes <= {"http-protocol", "http-tls", "no-keys"}, codes


async def scram_aio(server: aio.Server, client: aio.Client) -> str:
    """Log in by password."""
    async with (
        server.session(external_ssf=TLS, success_data=True) as session,
        client.session(authid=USER, password=PASSWORD, external_ssf=TLS, success_data=True) as ours,
    ):
        reply = await session.start(SCRAM, (await ours.start(SCRAM)).data)
        while not reply.done:
            reply = await session.step((await ours.step(reply.data or b"")).data or b"")
        await ours.finish(reply.data)
        return session.authid


def test_no_task_waits_for_those_that_wait(
    provider: Provider, http: HttpTransport, clock: Clock
) -> None:
    """In asyncio: a thousand logins wait, by one connection, and others come and go."""

    async def main() -> None:
        stores = [MemoryStore({USER: PASSWORD})]
        async with (
            aio.Server(
                "smtp", "localhost", config=provider.config(), stores=stores, http=http
            ) as server,
            aio.Client("smtp", "localhost", config={}) as client,
        ):
            keys_of(server).deadline = 60.0

            async def by_token(first: bytes) -> str:
                async with server.session(external_ssf=TLS) as session:
                    try:
                        await session.start(OIDC, first)
                    except (BackendError, AuthenticationError) as error:
                        return error.code
                    return session.authid

            seen = provider.token("seen")
            assert await by_token(seen) == "corp/seen"
            provider.server.fault = "hang"
            clock.ahead += QUIET
            before = provider.server.connections
            pending = [
                asyncio.create_task(by_token(provider.unknown(f"kid-{number}")))
                for number in range(1000)
            ]
            await asyncio.to_thread(begun, provider, before)
            for number in range(10):
                assert await scram_aio(server, client) == USER
                assert await by_token(seen) == "corp/seen"
                assert await by_token(provider.token(f"u{number}")) == f"corp/u{number}"
            assert not any(task.done() for task in pending)
            provider.server.stop()
            codes = set(await asyncio.gather(*pending))
            assert codes <= {"http-protocol", "http-tls", "no-keys"}, codes
            assert provider.server.connections == before + 1
            # It is back: a thousand of them cause one fetch, of a document and of keys.
            provider.server.fault = None
            provider.server.start()
            clock.ahead += QUIET
            tasks = (by_token(provider.unknown(f"kid-{number}")) for number in range(1000))
            assert set(await asyncio.gather(*tasks)) == {"token-key-unknown"}
            assert provider.server.connections == before + 3

    asyncio.run(main())


def test_all_who_wait_are_let_go_in_time(provider: Provider, http: HttpTransport) -> None:
    """A hundred first logins at once, and a provider that drips: one deadline for all."""
    provider.server.fault = "drip-head"

    async def main() -> None:
        async with aio.Server(
            "smtp", "localhost", config=provider.config(), stores=[MemoryStore()], http=http
        ) as server:
            keys_of(server).deadline = PATIENCE

            async def one() -> tuple[str, bool]:
                async with server.session(external_ssf=TLS) as session:
                    with pytest.raises(BackendError) as caught:
                        await session.start(OIDC, provider.token())
                    return caught.value.code, caught.value.temporary

            begin = time.monotonic()
            found = set(await asyncio.gather(*(one() for _ in range(100))))
            assert time.monotonic() - begin < PATIENCE + SLACK
            assert found <= {("http-timeout", True), ("timeout", True), ("no-keys", True)}

    asyncio.run(main())
    assert provider.server.connections == 1


# --- who else asks a provider ---------------------------------------------------------------------


@pytest.mark.parametrize("fault", ["hang", "drip-body", "redirect", "huge", "reset", "vanished"])
def test_introspection_fails_in_time(
    driver: Driver, provider: Provider, http: HttpTransport, tmp_path: Path, fault: str
) -> None:
    """A token that only its issuer can judge: an outage, not a refusal; passwords go on."""
    secret = tmp_path / "secret"
    secret.write_text("s3cret-of-the-server")
    secret.chmod(0o600)
    options = {
        "validation": "introspection",
        "introspection_url": f"{provider.server.url}/introspect",
        "introspection_ca_file": provider.server.ca_file,
        "introspection_deadline": PATIENCE,
        "issuer": provider.issuer.url,
        "audience": "sasl",
        "client_id": "server",
        "client_secret_file": str(secret),
    }
    serving = driver.server(
        {"mechanisms": {BEARER: options}}, stores=[MemoryStore({USER: PASSWORD})], http=http
    )
    active = {
        "active": True,
        "iss": provider.issuer.url,
        "aud": "sasl",
        "sub": "ann",
        "exp": 1 << 33,
    }
    provider.issuer.answers["/introspect"] = json_response(active)
    first = message_for(BEARER, "opaque", "ann")
    session = serving.session(external_ssf=TLS)
    assert session.start(BEARER, first).done
    if fault == "vanished":
        provider.server.stop()
    else:
        provider.server.fault = fault
    # Whoever is sent elsewhere by its endpoint has configured a wrong one.
    temporary = fault != "redirect"
    with outage(serving, first, PATIENCE + SLACK, BEARER, temporary=temporary):
        pass
    assert scram(driver, serving) == USER
    assert session.valid()
    provider.server.fault = None
    if fault == "vanished":
        provider.server.start()
    again = serving.session(external_ssf=TLS)
    assert again.start(BEARER, first).done


@pytest.mark.parametrize("fault", ["hang", "drip-body", "redirect", "huge", "reset", "vanished"])
def test_a_client_without_its_token_fails_in_time(
    driver: Driver, provider: Provider, http: HttpTransport, fault: str
) -> None:
    """By client credentials; with the provider back the next login gets a token."""

    def impatient(request: HttpRequest) -> HttpResponse:
        assert request.deadline <= 60
        return http(attrs.evolve(request, deadline=min(request.deadline, PATIENCE)))

    source = {
        "issuer": provider.issuer.url,
        "client_id": "client",
        "client_secret": "s3cret-of-the-client",
        "ca_file": provider.server.ca_file,
    }
    client = driver.client(
        {"credentials": {"client_credentials": source}},
        credentials="client_credentials",
        http=impatient,
    )
    granted = {"access_token": "a.b.c", "token_type": "Bearer", "expires_in": 300}
    provider.issuer.answers["/token"] = json_response(granted)
    if fault == "vanished":
        provider.server.stop()
    else:
        provider.server.fault = fault
    ours = client.session(external_ssf=TLS)
    begin = time.monotonic()
    with pytest.raises(BackendError) as caught:
        ours.start(OIDC)
    assert time.monotonic() - begin < PATIENCE + SLACK
    assert caught.value.temporary is (fault != "redirect")
    assert "s3cret" not in f"{caught.value} {caught.value.detail} {ours.error_detail}"
    provider.server.fault = None
    if fault == "vanished":
        provider.server.start()
    assert client.session(external_ssf=TLS).start(OIDC).data == message("a.b.c")


# --- what is left behind --------------------------------------------------------------------------


def descriptors() -> int:
    """How many files and sockets are open; 0 where nobody can tell."""
    folder = Path("/proc/self/fd")
    return sum(1 for _ in folder.iterdir()) if folder.is_dir() else 0


@pytest.mark.slow
@pytest.mark.parametrize("fault", ["drip-body", "huge", "redirect", "duplicate kids", "vanished"])
def test_failures_leave_nothing_behind(
    provider: Provider,
    http: HttpTransport,
    clock: Clock,
    fault: str,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Neither memory nor sockets nor threads, however often a fetch fails; a huge body neither."""
    caplog.set_level("CRITICAL", "sasl_core")  # Or pytest itself would keep what is logged.
    stores = [MemoryStore()]
    with Server("smtp", "localhost", config=provider.config(), stores=stores, http=http) as server:
        keys_of(server).deadline = 0.1 if fault == "drip-body" else 30.0

        def fail(times: int) -> None:
            for number in range(times):
                clock.ahead += QUIET
                with server.session(external_ssf=TLS) as session, pytest.raises(BackendError):
                    session.start(OIDC, provider.unknown(f"{number}-" + "k" * 100))

        def measured() -> tuple[int, int, int]:
            provider.server.stop()
            provider.server.requests.clear()
            provider.issuer.requests.clear()
            gc.collect()
            held = tracemalloc.get_traced_memory()[0], threading.active_count(), descriptors()
            if fault != "vanished":
                provider.server.start()
            return held

        if fault == "vanished":
            provider.server.stop()
        elif fault == "duplicate kids":
            provider.issuer.answers["/keys"] = json_response(two_alike(provider.issuer))
        else:
            provider.server.fault = fault
        tracemalloc.start()
        try:
            fail(10)
            held, threads, files = measured()
            tracemalloc.reset_peak()
            fail(30)
            peak = tracemalloc.get_traced_memory()[1]
            now, threads_now, files_now = measured()
        finally:
            tracemalloc.stop()
    # A token has more than that: of none of them anything stays.
    assert now - held < 30 * 400
    assert peak - held < HUGE // 20
    assert (threads_now, files_now) == (threads, files)
