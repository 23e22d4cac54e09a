"""Bearer tokens at a server, by either mechanism: who validates, whom it lets in, what is said."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast

import pytest

from drivers import Driver, exchange
from oauth_kit import (
    ACKNOWLEDGEMENT,
    BEARER,
    BOTH,
    FAR,
    HOST,
    XOAUTH2,
    configured,
    knowing,
    known,
    message_for,
)
from sasl_auxprop.memory import MemoryStore
from sasl_core import (
    AuthenticationError,
    BackendError,
    Client,
    Decision,
    HttpRequest,
    HttpResponse,
    MechanismError,
    PluginError,
    Result,
    SaslError,
    Server,
    UsageError,
    aio,
)
from sasl_core.plugin import Blocking, NeedCall, NeedHttp, Needs, PeerError, ValidatedToken
from sasl_profiles.smtp import AsyncSmtpClient, SmtpServer
from sasl_tokens.bearer import BearerLogin, BearerRequest, set_validator
from sasl_tokens.errors import TokenError
from sasl_tokens.manager import IDPManager, idp_manager
from token_kit import FakeIssuer, json_response, make_key
from token_sources import Counting

CLEAR = {"allow_cleartext": True}
each = pytest.mark.parametrize("mechanism", BOTH)


def refused(session: Any, mechanism: str, token: str, name: str = "alice") -> dict[str, str]:
    """What a client is told of a token that is refused; afterwards the exchange has failed."""
    reply = session.start(mechanism, message_for(mechanism, token, name))
    assert not reply.done
    with pytest.raises(AuthenticationError):
        session.step(ACKNOWLEDGEMENT[mechanism])
    assert not session.done
    said: dict[str, str] = json.loads(reply.data)
    return said


# --- the identity providers -----------------------------------------------------------------

ISSUER = FakeIssuer(algs=["ES256"])
OTHER = FakeIssuer("https://other.example.com/tenant", algs=["ES256"])


def provider(issuer: FakeIssuer = ISSUER, **more: Any) -> dict[str, Any]:
    """A table of `[[identity_providers]]`."""
    return {
        "issuer": issuer.url,
        "audience": "sasl",
        "authNamePrefix": "test",
        "clientId": "c",
        "supportsHumanFlows": False,
        "useAuthorizationClaim": True,
        "authorizationClaim": "roles",
        **more,
    }


@contextmanager
def by_providers(
    *providers: dict[str, Any],
    options: dict[str, Any] | None = None,
    http: Any = ISSUER.http,
    stores: Any = None,
    **more: Any,
) -> Iterator[Server]:
    """A server that reads tokens itself."""
    config = {
        **configured("tokens", **(options or {})),
        "identity_providers": list(providers or [provider()]),
    }
    stores = [MemoryStore()] if stores is None else stores
    with Server("imap", HOST, config=config, http=http, stores=stores, **more) as server:
        yield server


@each
def test_a_signed_token(driver: Driver, mechanism: str) -> None:
    """Its bearer is in, with the provider's prefix and roles, by a client that has only a token."""
    config = {**configured("tokens"), "identity_providers": [provider()]}
    server = driver.server(config, http=ISSUER.http)
    client = driver.client({"allow_cleartext": True})
    token = ISSUER.sign(sub="alice@example.com", roles=["read", "write"])
    near = server.session(properties=["roles"])
    ours = client.session(authid="alice@example.com", token=token)
    _ = exchange(near, ours, [mechanism])
    assert near.authid == near.authzid == "test/alice@example.com"
    assert near.properties.get("roles") == (b"test/read", b"test/write")
    assert near.properties.get("principal") == (b"alice@example.com",)
    assert near.valid()
    assert ours.done


@each
@pytest.mark.parametrize(
    "token",
    [
        ISSUER.sign(sub="alice", roles=[], exp=1),
        ISSUER.sign(sub="alice", roles=[], aud="elsewhere"),
        ISSUER.sign(sub="alice", roles=[], iss="https://elsewhere.example.com"),
        ISSUER.sign(sub="alice", roles=[], at_hash="an ID token has one"),
        ISSUER.sign(sub="alice", roles=[], typ="ID"),
        ISSUER.sign(sub="alice"),
        make_key("ES256", ISSUER.signer().kid, 9).sign(ISSUER.claims(sub="alice", roles=[])),
        make_key("ES256", "nobody-knows", 9).sign(ISSUER.claims(sub="alice", roles=[])),
        "opaque",
        "a.b.c",
    ],
    ids=["ended", "audience", "issuer", "hash", "id", "claim", "forged", "key", "opaque", "dots"],
)
def test_tokens_that_are_refused(mechanism: str, token: str) -> None:
    """Whatever is wrong with a token, its bearer is told one and the same."""
    with by_providers(options={"scope": "mail"}) as server, server.session() as session:
        said = refused(session, mechanism, token)
        assert session.error_detail
    if mechanism == XOAUTH2:
        assert said == {"status": "400", "schemes": "Bearer", "scope": "mail"}
    else:
        assert said == {
            "status": "invalid_token",
            "scope": "mail",
            "openid-configuration": "https://issuer.example.com/.well-known/openid-configuration",
        }


@each
def test_who_leaves_without_an_answer_to_the_error_was_refused(
    driver: Driver, mechanism: str
) -> None:
    """The audit tells of it once, with the cause: guessing is no quieter for hanging up."""
    events: list[Any] = []
    config = {**configured("tokens"), "identity_providers": [provider()]}
    server = driver.server(config, http=ISSUER.http, audit=[events.append])
    ended = message_for(mechanism, ISSUER.sign(sub="alice", roles=[], exp=1))
    session = server.session()
    assert not session.start(mechanism, ended).done
    assert events == []
    for _ in range(2):
        session.close()
    (event,) = events
    assert (event.kind, event.mechanism, event.result) == ("login", mechanism, Result.EXPIRED)
    assert event.detail.startswith("token-expired: ")
    assert session.error_detail in event.detail
    # Who answers the error has been told of by then.
    session = server.session()
    _ = session.start(mechanism, ended)
    with pytest.raises(AuthenticationError):
        _ = session.step(ACKNOWLEDGEMENT[mechanism])
    session.close()
    assert [each.detail for each in events[1:]] == [event.detail]
    # Nobody was refused who leaves before.
    session = server.session()
    assert not session.start(mechanism, None).done
    session.close()
    assert len(events) == 2


@each
@pytest.mark.parametrize(
    ("claims", "enough"),
    [
        ({"scope": "openid mail imap"}, True),
        ({"scp": ["mail", "imap"]}, True),
        ({"scp": "imap mail"}, True),
        ({"scope": "mail", "scp": ["imap"]}, True),
        ({"scope": "mail"}, False),
        ({"scope": "mailimap mail,imap"}, False),
        ({"scope": ["mail imap"]}, False),
        ({"scope": {"mail": 1, "imap": 1}}, False),
        ({}, False),
    ],
)
def test_scopes(mechanism: str, claims: dict[str, Any], enough: bool) -> None:
    """A token has to be good for each scope; one that is not is told apart, and told which."""
    token = ISSUER.sign(sub="alice", roles=[], **claims)
    with by_providers(options={"scope": ["mail", "imap"]}) as server:
        # The second time the token is known already.
        for _ in range(2):
            with server.session() as session:
                if enough:
                    assert session.start(mechanism, message_for(mechanism, token)).done
                else:
                    said = refused(session, mechanism, token)
                    status = "400" if mechanism == XOAUTH2 else "insufficient_scope"
                    assert (said["status"], said["scope"]) == (status, "mail imap")


@each
def test_an_outage_is_no_bad_token(mechanism: str) -> None:
    """Keys that cannot be had end the exchange at once, without an error of the token."""
    down = FakeIssuer(algs=["ES256"])
    down.down = True
    token = ISSUER.sign(sub="alice", roles=[])
    with by_providers(http=down.http) as server, server.session() as session:
        with pytest.raises(BackendError) as caught:
            session.start(mechanism, message_for(mechanism, token))
        assert caught.value.temporary
        assert not session.done


@pytest.mark.parametrize(
    ("providers", "options", "address"),
    [
        ([provider()], {}, "https://issuer.example.com/.well-known/openid-configuration"),
        (
            [
                provider(OTHER, authNamePrefix="a"),
                provider(OTHER, authNamePrefix="b", audience="x"),
            ],
            {},
            "https://other.example.com/tenant/.well-known/openid-configuration",
        ),
        ([provider(), provider(OTHER, authNamePrefix="b")], {}, None),
        (
            [provider(), provider(OTHER, authNamePrefix="b")],
            {"openid_configuration": "https://sso.example.com/x"},
            "https://sso.example.com/x",
        ),
    ],
)
def test_where_a_client_is_sent(
    providers: list[dict[str, Any]], options: dict[str, Any], address: str | None
) -> None:
    """To the only issuer that there is, or to what is configured; never to one of several."""
    with by_providers(*providers, options=options) as server, server.session() as session:
        assert refused(session, BEARER, "")["status"] == "invalid_token"
    with by_providers(*providers, options=options) as server, server.session() as session:
        assert refused(session, BEARER, "opaque").get("openid-configuration") == address


# --- who is who -------------------------------------------------------------------------------


@each
@pytest.mark.parametrize("name", ["alice", "test/alice"])
def test_a_client_that_names_itself(mechanism: str, name: str) -> None:
    """By the name at its provider, or by the one that it has here: that is no proxy."""
    token = ISSUER.sign(sub="alice", roles=["read"])
    asked: list[tuple[str, str]] = []

    def authorize(authid: str, authzid: str, properties: Any) -> Decision:
        asked.append((authid, authzid))
        return Decision.PERMIT if authid == authzid else Decision.DENY

    with by_providers(authorize=authorize) as server, server.session() as session:
        assert session.start(mechanism, message_for(mechanism, token, name)).done
        assert (session.authid, session.authzid) == ("test/alice", "test/alice")
    assert asked == [("test/alice", "test/alice")]


@each
@pytest.mark.parametrize("name", ["bob", "test/bob", "Alice", "alice2", "other/alice", "root"])
def test_a_client_that_names_another(mechanism: str, name: str) -> None:
    """Acting as somebody else is for the proxy policy to permit, and denied without one."""
    token = ISSUER.sign(sub="alice", roles=["read"])
    with by_providers() as server, server.session() as session:
        with pytest.raises(AuthenticationError) as caught:
            session.start(mechanism, message_for(mechanism, token, name))
        assert caught.value.result is Result.BADAUTH
        assert "may not act as" in (session.error_detail or "")
    permit = lambda authid, authzid, _: Decision.PERMIT  # noqa: E731
    with by_providers(authorize=permit) as server, server.session() as session:
        assert session.start(mechanism, message_for(mechanism, token, name)).done
        assert session.authid == "test/alice"
        assert session.authzid != "test/alice"


@each
def test_the_same_name_at_two_providers(mechanism: str) -> None:
    """Two providers know an alice: each is whom its own token names, whatever is asked for."""
    both = [provider(), provider(OTHER, authNamePrefix="other")]

    def http(request: HttpRequest) -> HttpResponse:
        return (OTHER if request.url.startswith(OTHER.base) else ISSUER).http(request)

    with by_providers(*both, http=http) as server:
        for issuer, name in ((ISSUER, "test/alice"), (OTHER, "other/alice")):
            with server.session() as session:
                token = issuer.sign(sub="alice", roles=[])
                assert session.start(mechanism, message_for(mechanism, token)).done
                assert session.authid == session.authzid == name


@each
def test_plain_names(mechanism: str) -> None:
    """With the option users are called what the provider calls them."""
    token = ISSUER.sign(sub="alice", roles=["read"])
    options = {"plain_names": True, "role_namespace": "mail"}
    with by_providers(options=options) as server, server.session(properties=["roles"]) as session:
        assert session.start(mechanism, message_for(mechanism, token)).done
        assert session.authid == session.authzid == "alice"
        assert session.properties.get("roles") == (b"mail.test/read",)
    # Of two providers nobody could tell whose alice it is.
    both = [provider(), provider(OTHER, authNamePrefix="other")]
    with by_providers(*both, options=options) as server, server.session() as session:
        assert mechanism not in session.mechanisms()
        assert session.rejected[mechanism]


@each
def test_a_locked_account_is_locked(mechanism: str) -> None:
    """A store that knows the user has its say, although it did not verify the token."""
    store = MemoryStore()
    store.add_user("test/alice", disabled=True)
    token = ISSUER.sign(sub="alice", roles=[])
    with by_providers(stores=[store]) as server, server.session() as session:
        with pytest.raises(AuthenticationError):
            session.start(mechanism, message_for(mechanism, token))
        assert "DISABLED" in (session.error_detail or "")


def test_without_providers_it_is_not_offered() -> None:
    """A server that is told of none says why it has neither mechanism."""
    config = {"allow_cleartext": True}
    with (
        Server("imap", HOST, config=config, stores=[MemoryStore()]) as server,
        server.session() as session,
    ):
        for mechanism in BOTH:
            assert mechanism not in session.mechanisms()
            assert "identity_providers" in session.rejected[mechanism]


@each
def test_a_login_lapses_and_is_revalidated(mechanism: str) -> None:
    """The session stands until the providers change, and is then judged by the new ones."""
    token = ISSUER.sign(sub="alice", roles=["read"])
    with by_providers() as server, server.session() as session:
        assert session.start(mechanism, message_for(mechanism, token)).done
        assert session.valid()
        idp_manager(server.utils).reload([provider(audience="changed")])
        assert not session.valid()
        with pytest.raises(AuthenticationError):
            session.revalidate()


# --- introspection ------------------------------------------------------------------------


@pytest.fixture
def secret_file(tmp_path: Path) -> Path:
    """A file with our secret at the endpoint."""
    path = tmp_path / "secret"
    _ = path.write_text("hush-hush\n", "utf-8")
    return path


def introspecting(secret_file: Path, **more: Any) -> dict[str, Any]:
    """A configuration that asks the issuer."""
    return configured(
        "introspection",
        **{
            "introspection_url": "https://issuer.example.com/introspect",
            "client_id": "mail",
            "client_secret_file": str(secret_file),
            "audience": "imap",
            **more,
        },
    )


@each
def test_introspection(driver: Driver, mechanism: str, secret_file: Path) -> None:
    """The issuer is asked at each login, by our name and secret, and again on revalidation."""
    asked: list[HttpRequest] = []
    answer = {"active": True, "sub": "alice", "aud": "imap", "scope": "mail", "exp": int(FAR)}

    def http(request: HttpRequest) -> HttpResponse:
        asked.append(request)
        response = json_response(answer)
        # A transport of somebody else's that gives the names of headers as they came.
        return HttpResponse(200, (("Content-Type", "application/json"),), response.body)

    config = introspecting(secret_file, scope="mail", introspection_deadline=2.5)
    server = driver.server(config, http=http)
    client = driver.client(config)
    near, ours = server.session(), client.session(authid="alice", token="opaque")
    _ = exchange(near, ours, [mechanism])
    assert near.authid == "alice"
    (request,) = asked
    assert request.deadline == 2.5
    assert dict(request.headers)["authorization"] == "Basic bWFpbDpodXNoLWh1c2g="
    if driver.name == "blocking":
        near.revalidate()
        assert near.valid()
        answer["active"] = False
        with pytest.raises(AuthenticationError):
            near.revalidate()
        assert not near.valid()
        assert len(asked) == 3
    near = server.session()
    answer["active"] = False
    assert "scope" in refused(near, mechanism, "opaque")
    answer.update(active=True, scope="other")
    near = server.session()
    expected = "400" if mechanism == XOAUTH2 else "insufficient_scope"
    assert refused(near, mechanism, "opaque")["status"] == expected


def names_of_others(secret_file: Path, how: str, name: str) -> tuple[dict[str, Any], Any]:
    """A server's configuration, beside providers of two prefixes, whose tokens are of `name`; and
    how it is asked.
    """
    made = introspecting(secret_file) if how == "introspection" else configured()
    made["identity_providers"] = [provider(authNamePrefix="corp"), provider(OTHER)]
    answer = {"active": True, "sub": name, "aud": "imap", "token_type": "bearer"}
    return made, lambda _: json_response(answer)


@each
@pytest.mark.parametrize("how", ["introspection", "application"])
@pytest.mark.parametrize(
    ("name", "lets_in"),
    [
        ("corp/ada", False),
        ("test/", False),
        ("test/a/b", False),
        ("ada", True),
        ("Corp/ada", True),
        ("corporate/ada", True),
        ("corp", True),
        ("corp\u2215ada", True),
    ],
)
def test_a_name_without_prefix_is_nobodys_with_one(
    mechanism: str, how: str, name: str, lets_in: bool, secret_file: Path
) -> None:
    """Who is asked for a name must not make somebody else of it, whom a provider has."""
    config, http = names_of_others(secret_file, how, name)
    with Server("imap", HOST, config=config, stores=[MemoryStore()], http=http) as server:
        set_validator(server.utils, known({"opaque": name}))
        with server.session() as session:
            if lets_in:
                assert session.start(mechanism, message_for(mechanism, "opaque", name)).done
                assert session.authid == name
            else:
                _ = refused(session, mechanism, "opaque", name)
                assert "somebody else" in (session.error_detail or "")
        # The prefixes are those of the moment.
        idp_manager(server.utils).reload([provider(authNamePrefix="ada")])
        with server.session() as session:
            assert session.start(mechanism, message_for(mechanism, "opaque", name)).done


@each
@pytest.mark.parametrize("how", ["introspection", "application", "providers of its own"])
def test_a_prefix_that_comes_later_ends_the_login(
    mechanism: str, how: str, secret_file: Path
) -> None:
    """Whoever is in by a name that a new provider's prefix claims is in no longer; under another
    prefix the login stands, and is revalidated.
    """
    config, http = names_of_others(secret_file, how, "corp/ada")
    config["identity_providers"] = [provider(OTHER)]
    theirs = IDPManager([provider(OTHER, authNamePrefix="corp")])

    def validator(token: str, _: BearerRequest) -> Any:
        return Again("corp/ada") if how == "application" else theirs.authenticate(token)

    def transport(request: HttpRequest) -> HttpResponse:
        answer: HttpResponse = (OTHER.http if request.method == "GET" else http)(request)
        return answer

    message = message_for(mechanism, OTHER.sign(sub="ada", roles=[]), "corp/ada")
    with Server("imap", HOST, config=config, stores=[MemoryStore()], http=transport) as server:
        set_validator(server.utils, validator)
        manager = idp_manager(server.utils)
        with server.session() as session:
            assert session.start(mechanism, message).done
            assert session.authid == "corp/ada"
            for prefix in ("lab", "corp", "Corp"):
                manager.reload([provider(OTHER, authNamePrefix=prefix)])
                assert session.valid() is (prefix != "corp")
                if prefix != "corp":
                    session.revalidate()
            manager.reload([provider(OTHER, authNamePrefix="corp")])
            with pytest.raises(AuthenticationError) as caught:
                session.revalidate()
            assert caught.value.code == "token-identity"
            manager.reload([provider(OTHER, authNamePrefix="lab")])
            assert not session.valid()


class Again(ValidatedToken):
    """A token of an application, in a class of its own, that is as good as it was."""

    def __init__(self, principal: str) -> None:
        self._principal = principal

    @property
    def principal(self) -> str:
        return self._principal

    @property
    def issuer(self) -> str:
        return "application"

    @property
    def expires_at(self) -> float:
        return FAR

    def revalidate(self) -> Needs[ValidatedToken]:
        yield from ()
        return Again(self._principal)


@each
@pytest.mark.parametrize("answer", [None, "no token"])
def test_what_a_token_is_revalidated_as_is_looked_at(mechanism: str, answer: Any) -> None:
    """An application's token that is revalidated as something else is a mistake of its class."""

    class Odd(Again):
        def revalidate(self) -> Needs[ValidatedToken]:
            yield from ()
            return answer  # type: ignore[no-any-return]

    with knowing(lambda *_: Odd("ada")) as server, server.session() as session:
        assert session.start(mechanism, message_for(mechanism, "opaque", "ada")).done
        with pytest.raises(UsageError, match=type(answer).__name__):
            session.revalidate()


@each
def test_an_application_may_leave_it_to_the_providers(mechanism: str) -> None:
    """A name that a provider of this server vouches for has its prefix by right; one that comes
    of providers that the application has by itself has not.
    """
    config = {**configured(), "identity_providers": [provider()]}
    token = ISSUER.sign(sub="alice", roles=["read"])
    with Server("imap", HOST, config=config, stores=[MemoryStore()], http=ISSUER.http) as server:
        ours, theirs = idp_manager(server.utils), IDPManager([provider()])
        set_validator(server.utils, lambda token, _: ours.authenticate(token))
        with server.session() as session:
            assert session.start(mechanism, message_for(mechanism, token)).done
            assert session.authid == "test/alice"
        set_validator(server.utils, lambda token, _: theirs.authenticate(token))
        with server.session() as session:
            _ = refused(session, mechanism, token)


@each
def test_an_endpoint_out_of_order(mechanism: str, secret_file: Path) -> None:
    """What is no answer is an outage, and the client hears of no token."""
    with (
        Server(
            "imap",
            HOST,
            config=introspecting(secret_file),
            stores=[MemoryStore()],
            http=lambda _: HttpResponse(502),
        ) as server,
        server.session() as session,
        pytest.raises(BackendError),
    ):
        session.start(mechanism, message_for(mechanism, "opaque"))


@pytest.mark.parametrize(
    ("issuer", "address"),
    [
        ("https://issuer.example.com/", "https://issuer.example.com/.well-known/openid-configuration"),
        ("urn:of-ours", None),
        (None, None),
    ],
)  # fmt: skip
def test_where_an_issuer_sends_a_client(
    secret_file: Path, issuer: str | None, address: str | None
) -> None:
    """To the configured issuer's own document, if its name is an address."""
    config = introspecting(secret_file, issuer=issuer)
    with (
        Server("imap", HOST, config=config, stores=[MemoryStore()]) as server,
        server.session() as session,
    ):
        reply = session.start(BEARER, message_for(BEARER, ""))
        assert json.loads(reply.data or b"").get("openid-configuration") == address


def test_introspection_over_loopback(secret_file: Path) -> None:
    """Plain http is for this very machine, and only where it was allowed."""
    asked: list[HttpRequest] = []

    def http(request: HttpRequest) -> HttpResponse:
        asked.append(request)
        return json_response({"active": False})

    here = "http://127.0.0.1:8080/introspect"
    config = introspecting(secret_file, introspection_url=here, allow_loopback_http=True)
    with Server("imap", HOST, config=config, stores=[MemoryStore()], http=http) as server:
        with server.session() as session:
            _ = refused(session, BEARER, "opaque")
        assert [(each.url, each.cleartext) for each in asked] == [(here, True)]


# --- the application ----------------------------------------------------------------------


@each
def test_what_a_validator_is_told(mechanism: str) -> None:
    """The token, who asks where, the name that is wanted, and what is demanded."""
    told: list[tuple[str, BearerRequest]] = []

    def validator(token: str, request: BearerRequest) -> ValidatedToken:
        told.append((token, request))
        return BearerLogin("7", "application", FAR, {"principal": (b"alice",), "roles": (b"r",)})

    config = configured(scope="mail imap")
    with (
        knowing(validator, config=config) as server,
        server.session(remote="192.0.2.1;4000", properties=["roles"]) as session,
    ):
        assert session.start(mechanism, message_for(mechanism, "tok")).done
        assert session.authid == session.authzid == "7"
        assert session.properties.get("roles") == (b"r",)
        with pytest.raises(UsageError):
            session.revalidate()
    request = BearerRequest(mechanism, "imap", HOST, "192.0.2.1;4000", "alice", ("mail", "imap"))
    assert told == [("tok", request)]


@each
def test_a_validator_that_waits(driver: Driver, mechanism: str) -> None:
    """It may be a generator of needs: a call that blocks, a request, an outage."""

    def validator(token: str, request: BearerRequest) -> Needs[ValidatedToken | None]:
        name = yield from NeedCall(lambda: token.removeprefix("of-"), Blocking.REMOTE)
        response = yield from NeedHttp(HttpRequest("GET", f"https://users.example.com/{name}"))
        if response.status == 404:
            return None
        return BearerLogin(name, "application", FAR)

    def http(request: HttpRequest) -> HttpResponse:
        if request.url.endswith("/down"):
            raise BackendError(detail="down")
        return HttpResponse(200 if request.url.endswith("/alice") else 404)

    server = driver.server(configured(), http=http)
    set_validator(server.inner.utils, validator)
    near = server.session()
    assert near.start(mechanism, message_for(mechanism, "of-alice")).done
    assert near.authid == "alice"
    _ = refused(server.session(), mechanism, "of-bob")
    near = server.session()
    with pytest.raises(BackendError):
        near.start(mechanism, message_for(mechanism, "of-down", "down"))
    near.close()


def raising(error: Exception) -> Any:
    """A validator that raises."""

    def validator(token: str, request: BearerRequest) -> BearerLogin:
        secret = token
        raise error if secret else KeyError

    return validator


@each
@pytest.mark.parametrize(
    ("error", "status"),
    [
        (TokenError("token-scope", "of mine"), "insufficient_scope"),
        (TokenError("token-expired", "of mine"), "invalid_token"),
        (AuthenticationError(detail="of mine", wire=b"of mine"), "invalid_token"),
        (AuthenticationError(), "invalid_token"),
    ],
)
def test_a_validator_that_refuses(mechanism: str, error: AuthenticationError, status: str) -> None:
    """Its refusal is sent as an error in the words of the mechanism; the detail stays here."""
    with knowing(raising(error)) as server, server.session() as session:
        reply = session.start(mechanism, message_for(mechanism, "tok"))
        assert json.loads(reply.data or b"")["status"] == (
            "400" if mechanism == XOAUTH2 else status
        )
        assert b"mine" not in (reply.data or b"")
        with pytest.raises(AuthenticationError) as caught:
            session.step(ACKNOWLEDGEMENT[mechanism])
        assert caught.value.code == error.code
        assert caught.value.wire is None


@each
@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (BackendError(detail="down"), BackendError),
        (PeerError("of mine"), PeerError),
        (KeyError("secret-token"), PluginError),
        (ValueError("secret-token"), PluginError),
    ],
)
def test_a_validator_that_fails(mechanism: str, error: Exception, kind: type[SaslError]) -> None:
    """Nothing is said of the token, nobody is let in, and no foreign text gets out."""
    with knowing(raising(error)) as server, server.session() as session:
        with pytest.raises(kind) as caught:
            session.start(mechanism, message_for(mechanism, "secret-token"))
        assert not session.done
        assert "secret-token" not in f"{caught.value}{caught.value.detail}"


@each
@pytest.mark.parametrize("answer", [True, "alice", 1, object(), ["alice"], b""])
def test_a_validator_returns_a_validated_token(mechanism: str, answer: Any) -> None:
    """Nothing else lets anybody in, be it ever so true."""
    with knowing(lambda *_: answer) as server, server.session() as session:
        with pytest.raises(SaslError):
            session.start(mechanism, message_for(mechanism, "tok"))
        assert not session.done


@each
def test_a_validator_that_is_an_async_def(mechanism: str) -> None:
    """It is told what it should be, and nothing is left that nobody awaits."""

    async def validator(token: str, request: BearerRequest) -> BearerLogin:
        return BearerLogin("alice", "application", FAR)

    with knowing(cast("Any", validator)) as server, server.session() as session:
        with pytest.raises(UsageError, match="async def"):
            session.start(mechanism, message_for(mechanism, "tok"))
        assert not session.done


@each
@pytest.mark.parametrize(
    "login",
    [
        BearerLogin("", "application", FAR),
        BearerLogin("alice", "application", 1.0),
        BearerLogin("a\nb", "application", FAR),
        BearerLogin("a" * 2000, "application", FAR),
    ],
)
def test_a_login_that_cannot_be(mechanism: str, login: BearerLogin) -> None:
    """Nobody, somebody whose token has ended, a name that is none: refused as a bad token."""
    with knowing(lambda *_: login) as server, server.session() as session:
        status = refused(session, mechanism, "tok", "alice")["status"]
        assert status == ("400" if mechanism == XOAUTH2 else "invalid_token")


def test_without_a_validator_it_is_not_offered() -> None:
    """The reason names the function that the application has to call."""
    with (
        Server("imap", HOST, config=configured(), stores=[MemoryStore()]) as server,
        server.session() as session,
    ):
        for mechanism in BOTH:
            assert mechanism not in session.mechanisms()
            assert "set_validator" in session.rejected[mechanism]


def test_a_validator_that_is_taken_away() -> None:
    """From then on it is not offered; one that is under way ends, and no token is called bad."""
    with knowing({"tok": "alice"}) as server:
        with server.session() as session:
            assert session.start(BEARER, message_for(BEARER, "tok")).done
        under_way = server.session()
        assert not under_way.start(BEARER).done
        set_validator(server.utils, None)
        with under_way, pytest.raises(BackendError) as caught:
            under_way.step(message_for(BEARER, "tok"))
        assert not caught.value.temporary
        with server.session() as session:
            assert BEARER not in session.mechanisms()
            with pytest.raises(MechanismError, match="no validator"):
                session.start(BEARER, message_for(BEARER, "tok"))


# --- a client's tokens --------------------------------------------------------------------


@each
def test_a_refused_token_is_not_used_again(driver: Driver, mechanism: str) -> None:
    """One that was kept is dropped when the server says no, and the next login gets another."""
    source = Counting()
    server, client = driver.server(configured()), driver.client(credentials=source, config=CLEAR)
    set_validator(server.inner.utils, known({"token-1": "alice"}))
    for _ in range(2):
        near, ours = server.session(), client.session(authid="alice")
        _ = exchange(near, ours, [mechanism])
        assert near.done
    assert len(source.requests) == 1
    set_validator(server.inner.utils, known({"token-2": "alice"}))
    near, ours = server.session(), client.session(authid="alice")
    reply = near.start(mechanism, ours.start([mechanism]).data)
    answer = ours.step(reply.data)
    with pytest.raises(AuthenticationError):
        near.step(answer.data)
    # What the protocol then says of it asks for the same, and gets the same answer.
    assert ours.refused()
    assert ours.refused()
    near, ours = server.session(), client.session(authid="alice")
    _ = exchange(near, ours, [mechanism])
    assert near.done
    assert [each.username for each in source.requests] == ["alice", "alice"]


@each
def test_over_smtp(mechanism: str) -> None:
    """A profile carries both ends: a success, and an error with the client's answer to it."""

    async def login(smtp: SmtpServer, token: str) -> str | None:
        async with (
            aio.Client("smtp", HOST, config=CLEAR) as client,
            AsyncSmtpClient(*smtp.address, timeout=10) as connection,
            client.session(authid="alice", token=token, **connection.facts()) as session,
        ):
            try:
                await connection.authenticate(session, [mechanism])
            except AuthenticationError:
                # The connection is as good as before: nothing is owed to anybody.
                assert (await connection.ehlo()).mechanisms
            return session.error_detail

    async def both() -> list[str | None]:
        async with aio.Server(
            "smtp", HOST, config=configured(scope="mail"), stores=[MemoryStore()]
        ) as server:
            set_validator(server.utils, known({"good": "alice"}))
            smtp = SmtpServer(server, host_name="localhost")
            await smtp.start()
            try:
                return [await login(smtp, "good"), await login(smtp, "bad")]
            finally:
                await smtp.close()

    well, ill = asyncio.run(both())
    assert well is None
    assert "scope mail" in (ill or "")


def test_a_token_is_of_who_logs_in() -> None:
    """Who acts as somebody else shows a token of their own."""
    source = Counting()
    with Client("imap", HOST, config=CLEAR, credentials=source) as client:
        for mechanism in BOTH:
            session = client.session(authid="alice", authzid="bob")
            assert b"bob" in (session.start([mechanism]).data or b"")
    assert [each.username for each in source.requests] == ["alice"]


def test_a_person_is_asked_at_once() -> None:
    """No server is asked for a provider first: neither mechanism can do so and then go on."""
    source = Counting(human=True, allowed_hosts=(HOST,))
    with Client("imap", HOST, config=CLEAR, credentials=source) as client:
        session = client.session(authid="alice")
        assert b"Bearer token-1" in (session.start([BEARER]).data or b"")
    with (
        Client("imap", "elsewhere.example.net", config=CLEAR, credentials=source) as client,
        client.session(authid="alice") as session,
        pytest.raises(UsageError) as caught,
    ):
        session.start([BEARER])
    assert caught.value.code == "host-not-allowed"


# --- the options --------------------------------------------------------------------------

INTROSPECTION: dict[str, Any] = {
    "validation": "introspection",
    "introspection_url": "https://issuer.example.com/introspect",
    "client_id": "mail",
    "client_secret_file": "/nowhere/secret",
    "audience": "imap",
}


def mistake(options: dict[str, Any], mechanism: str, side: Any = Client) -> str:
    """What is said of the options, and where: the reason why there is no such mechanism."""
    config = {"allow_cleartext": True, "mechanisms": {mechanism: options}}
    more: dict[str, Any] = {"stores": [MemoryStore()]} if side is Server else {}
    facts: dict[str, Any] = {"token": "tok", "authid": "a"} if side is Client else {}
    with side("imap", HOST, config=config, **more) as owner:
        session: Any = owner.session(**facts)
        with pytest.raises(MechanismError) as caught:
            session.start([mechanism] if side is Client else mechanism)
    return str(caught.value)


@each
@pytest.mark.parametrize("side", [Client, Server])
@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"validaton": "tokens"}, "did you mean"),
        ({"validation": "guess"}, "expected tokens, introspection, application"),
        ({"scope": ['a"b']}, "is no scope"),
        ({"openid_configuration": "http://sso.example.com"}, "https"),
        ({"openid_configuration": "https://a@b/"}, "names a user"),
        ({"user_namespace": "a.b"}, "user_namespace: a namespace"),
        ({"issuer": "https://issuer.example.com"}, "issuer is for validation = 'introspection'"),
        ({"audience": "imap"}, "audience is for"),
        ({"allow_loopback_http": False}, "allow_loopback_http is for"),
        ({**INTROSPECTION, "plain_names": False}, "plain_names is for validation = 'tokens'"),
        ({"validation": "application", "user_namespace": ""}, "user_namespace is for"),
        ({"validation": "application", "client_id": "x"}, "client_id is for"),
        ({"validation": "introspection"}, "needs introspection_url"),
        ({**INTROSPECTION, "client_secret_file": None}, "needs client_secret_file"),
        ({**INTROSPECTION, "client_id": None}, "needs client_id"),
        ({**INTROSPECTION, "client_id": ""}, "is empty"),
        ({**INTROSPECTION, "audience": None}, "needs audience or scope"),
        ({**INTROSPECTION, "introspection_deadline": 0}, "expected from 0.1 to 60"),
        ({**INTROSPECTION, "introspection_deadline": 1000}, "expected from 0.1 to 60"),
        ({**INTROSPECTION, "introspection_url": "http://127.0.0.1/"}, "needs allow_loopback_http"),
        ({**INTROSPECTION, "introspection_url": "http://192.0.2.1/"}, "https only"),
        ({**INTROSPECTION, "introspection_url": "issuer"}, "https"),
    ],
)
def test_options_that_make_no_sense(
    mechanism: str, side: Any, options: dict[str, Any], said: str
) -> None:
    """An option that is wrong, or that nobody reads with such a validation: it is told why."""
    given = {name: value for name, value in options.items() if value is not None}
    error = mistake(given, mechanism, side)
    assert said in error
    assert f"mechanisms.{mechanism}" in error


@each
@pytest.mark.parametrize("text", ["", "\n", "two\nlines", "tab\there"])
def test_a_secret_file_that_holds_none(tmp_path: Path, mechanism: str, text: str) -> None:
    """A secret is one line; a file without one is told at the start, and not shown."""
    path = tmp_path / "secret"
    _ = path.write_text(text, "utf-8")
    error = mistake({**INTROSPECTION, "client_secret_file": str(path)}, mechanism, Server)
    assert f"mechanisms.{mechanism}.client_secret_file" in error
    assert "lines" not in error
    assert "/nowhere/secret" in mistake(INTROSPECTION, mechanism, Server)
