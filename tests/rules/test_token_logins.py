"""Logins that rest on an access token: who they are, what they may do, and until when."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

import pytest

from drivers import Driver, Handle, exchange
from sasl_core import (
    AuditEvent,
    AuthenticationError,
    BackendError,
    Decision,
    MechanismError,
    PeerError,
    PluginError,
    Result,
    SaslError,
    SetpassFlag,
    UsageError,
    UserName,
)
from sasl_core.plugin import Blocking, NeedCall, NeedPeer, Needs, Success, ValidatedToken
from toys import OPEN, PROXY, SpyStore, server_plug

PERMIT = {"authorize": lambda *_: Decision.PERMIT}


class Token(ValidatedToken):
    """A token as a test wants it; what `again` holds is what a revalidation comes to."""

    def __init__(
        self,
        principal: str = "idp/Tim@Example.com",
        grants: Mapping[str, tuple[bytes, ...]] | None = None,
        needs_account: bool = False,
    ) -> None:
        self.name = principal
        self.given = grants or {}
        self.wants_account = needs_account
        self.stands = True
        self.again: ValidatedToken | SaslError | None = None

    @property
    def principal(self) -> str:
        return self.name

    @property
    def issuer(self) -> str:
        return "https://idp.example.com"

    @property
    def expires_at(self) -> float:
        return 4e9

    @property
    def grants(self) -> Mapping[str, tuple[bytes, ...]]:
        return self.given

    @property
    def needs_account(self) -> bool:
        return self.wants_account

    def valid(self, now: float) -> bool:
        return self.stands and super().valid(now)

    def revalidate(self) -> Needs[ValidatedToken]:
        if self.again is None:
            return (yield from super().revalidate())
        yield from ()
        if isinstance(self.again, SaslError):
            raise self.again
        return self.again


@pytest.fixture
def bearing(driver: Driver, toys: Any) -> Any:
    """A session of a server that lets in whom `token` names, and everything about it."""

    def make(
        token: ValidatedToken, authzid: str | None = None, session: Any = (), **more: Any
    ) -> Any:
        def converse(ctx: Any) -> Needs[Success]:
            _ = yield from NeedPeer()
            return Success(ctx.accept_token(token, authzid))

        toys.mechanism(server_plug("TOY", converse, features=PROXY))
        more.setdefault("stores", [SpyStore()])
        server: Handle = driver.server(OPEN, registry=toys.registry(), **more)
        return server.session(properties=session)

    return make


def test_the_principal_is_the_identity_as_it_stands(bearing: Any) -> None:
    """No canonicaliser, no default realm, no realm split off: two principals stay two."""
    names = ["idp/Tim@Example.com", "idp/tim@example.com", " idp/tim", "idp/tim@", "idp/a/b.c$d"]
    seen = []
    for name in names:
        session = bearing(Token(name), realm="example.net")
        session.start("TOY", b"x")
        seen.append((session.authid, session.authzid))
    assert seen == [(name, name) for name in names]


@pytest.mark.parametrize("name", ["", "a\0b", "a\nb", "x" * 1025])
def test_a_principal_that_is_no_name_is_refused(bearing: Any, name: str) -> None:
    """Empty, too long, or with control characters."""
    session = bearing(Token(name))
    with pytest.raises(AuthenticationError):
        session.start("TOY", b"x")
    assert "names no principal" in session.error_detail


def test_grants_become_properties(bearing: Any) -> None:
    """Of the authid, and of the authzid as long as it is the same."""
    session = bearing(Token(grants={"roles": (b"a", b"b"), "database": (b"$external",)}))
    session.start("TOY", b"x")
    get = session.properties.get
    assert get("roles") == get("*roles") == (b"a", b"b")
    assert get("database") == (b"$external",)


def test_grants_of_a_token_stay_with_its_bearer(bearing: Any) -> None:
    """Who acts as another has the other's properties, and the token's as those of the authid."""
    store = SpyStore()
    store.add_user("other", password="x", properties={"roles": [b"theirs"]})
    session = bearing(
        Token(grants={"roles": (b"mine",)}), "other", ("roles",), stores=[store], **PERMIT
    )
    session.start("TOY", b"x")
    assert session.authzid == "other"
    assert session.properties.get("*roles") == (b"mine",)
    assert session.properties.get("roles") == (b"theirs",)


def test_grants_go_before_the_stores(bearing: Any) -> None:
    """What a store says of a property that the token grants is not asked; the rest is."""
    store = SpyStore()
    store.add_user(
        UserName("idp/Tim", "Example.com"), properties={"roles": [b"store"], "mailHost": [b"mx"]}
    )
    session = bearing(Token(grants={"roles": (b"t",)}), None, ("roles", "mailHost"), stores=[store])
    session.start("TOY", b"x")
    assert session.properties.get("roles") == (b"t",)
    assert session.properties.get("mailHost") == (b"mx",)


def test_an_authzid_is_not_for_the_asking(bearing: Any) -> None:
    """Without a policy a bearer acts as itself only."""
    session = bearing(Token(), "other")
    with pytest.raises(AuthenticationError):
        session.start("TOY", b"x")


def test_a_locked_account_keeps_its_bearer_out(bearing: Any) -> None:
    """An account that a store has locked stays locked, whatever the provider says."""
    store = SpyStore()
    store.add_user(UserName("idp/Tim", "Example.com"), password="x", disabled=True)
    session = bearing(Token(), stores=[store])
    with pytest.raises(AuthenticationError):
        session.start("TOY", b"x")
    assert "DISABLED" in session.error_detail


def test_a_store_that_is_not_there_lets_nobody_in(driver: Driver, toys: Any, tmp_path: Any) -> None:
    """It may have locked the account: whoever has no use for stores says so."""
    path = str(tmp_path / "users.sqlite")
    token = Token()
    token.again = token
    configs: list[dict[str, Any]] = [
        {"auxprop": {"sasldb": {"path": path}}},
        {"auxprop_plugin": []},
    ]

    def converse(ctx: Any) -> Needs[Success]:
        _ = yield from NeedPeer()
        return Success(ctx.accept_token(token))

    toys.mechanism(server_plug("TOY", converse, features=PROXY))
    for config in configs:
        inner = driver.server_class(
            "smtp", "mail.example.com", config=OPEN | config, registry=toys.registry()
        )
        session = driver._keep(inner, {}).session()
        if "auxprop" in config:
            with pytest.raises(BackendError) as caught:
                session.start("TOY", b"x")
            assert caught.value.code == "store-missing"
            assert "auxprop_plugin = []" in (caught.value.detail or "")
        else:
            session.start("TOY", b"x")
            again(driver, session)
            assert session.valid()


@pytest.mark.parametrize("realm", ["", "example.net"])
def test_an_account_by_its_exact_name(driver: Driver, toys: Any, realm: str) -> None:
    """What an administrator makes or locks by `exact` is the bearer's, whatever the realm."""
    store = SpyStore()
    token = Token("idp/\ufb01n lovelace", needs_account=True)

    def converse(ctx: Any) -> Needs[Success]:
        _ = yield from NeedPeer()
        return Success(ctx.accept_token(token))

    toys.mechanism(server_plug("TOY", converse, features=PROXY))
    server = driver.server(OPEN, stores=[store], registry=toys.registry(), realm=realm)
    inner = server.inner
    name = token.principal
    setpass = partial(driver.call, partial(inner.setpass, exact=True))
    assert setpass(name, "unused-password", SetpassFlag.CREATE).ok
    assert driver.call(partial(inner.user_exists, exact=True), name)
    session = server.session()
    session.start("TOY", b"x")
    assert session.valid()
    assert setpass(name, None, SetpassFlag.DISABLE).ok
    with pytest.raises(AuthenticationError):
        server.session().start("TOY", b"x")
    for bad in ("", "a\nb", "x" * 1025):
        with pytest.raises(UsageError):
            setpass(bad, "x")
    # Somebody who has no account yet is locked out by one that is made locked.
    token.name = "idp/eve"
    token.wants_account = False
    server.session().start("TOY", b"x")
    assert setpass("idp/eve", None, SetpassFlag.DISABLE).result is Result.NOUSER
    assert setpass("idp/eve", None, SetpassFlag.DISABLE | SetpassFlag.CREATE).ok
    with pytest.raises(AuthenticationError):
        server.session().start("TOY", b"x")


def test_roles_of_the_stores(bearing: Any) -> None:
    """A token that needs an account has the roles that the stores say."""
    store = SpyStore()
    store.add_user(UserName("idp/Tim", "Example.com"), properties={"roles": [b"admin.r"]})
    session = bearing(Token(needs_account=True), stores=[store])
    session.start("TOY", b"x")
    assert session.properties.get("roles") == session.properties.get("*roles") == (b"admin.r",)


def test_an_account_that_has_to_be_there(bearing: Any) -> None:
    """No account, no login; also where the application has passwords of its own."""
    for more in ({}, {"checkpass": lambda *_: Result.NOVERIFY}):
        session = bearing(Token(needs_account=True), **more)
        with pytest.raises(AuthenticationError):
            session.start("TOY", b"x")
        assert "NOUSER" in session.error_detail


def test_a_token_that_does_not_stand_lets_nobody_in(bearing: Any) -> None:
    """Expired, or its key gone, between its validation and the login."""
    token = Token()
    token.stands = False
    session = bearing(token)
    with pytest.raises(AuthenticationError):
        session.start("TOY", b"x")


def test_a_session_stands_as_long_as_its_token(bearing: Any) -> None:
    """`valid` says whether; before the end it is a UsageError."""
    token = Token()
    session = bearing(token)
    with pytest.raises(UsageError):
        session.valid()
    session.start("TOY", b"x")
    assert session.valid()
    token.stands = False
    assert not session.valid()


def again(driver: Driver, session: Any) -> None:
    """Revalidate, whatever drives the session."""
    if driver.name != "raw":
        session._call(session.inner.revalidate)
        return
    failure = session.supplier.run(session.negotiation.revalidation())
    if failure is not None:
        raise failure


def test_a_revalidation_takes_over_new_grants(bearing: Any, driver: Driver) -> None:
    """The grants of now, in the place of those at login."""
    token = Token(grants={"roles": (b"old",)})
    session = bearing(token)
    session.start("TOY", b"x")
    token.again = Token(grants={"roles": (b"new",)})
    again(driver, session)
    assert session.properties.get("roles") == session.properties.get("*roles") == (b"new",)
    assert session.valid()


def test_a_refused_revalidation_is_for_good(bearing: Any, driver: Driver) -> None:
    """The session stands no more, not even if the token would again."""
    token = Token()
    session = bearing(token)
    session.start("TOY", b"x")
    token.again = AuthenticationError(code="token-expired", detail="expired")
    with pytest.raises(AuthenticationError) as caught:
        again(driver, session)
    assert caught.value.code == "token-expired"
    assert not session.valid()
    token.again = Token()
    with pytest.raises(AuthenticationError):
        again(driver, session)
    assert not session.valid()


def test_an_outage_changes_nothing(bearing: Any, driver: Driver) -> None:
    """Nobody can say now: the session stands as before, and may be asked again."""
    token = Token(grants={"roles": (b"old",)})
    session = bearing(token)
    session.start("TOY", b"x")
    token.again = BackendError(detail="the provider is away")
    with pytest.raises(BackendError):
        again(driver, session)
    assert session.valid()
    assert session.properties.get("roles") == (b"old",)


def test_a_revalidation_never_changes_who_it_is(bearing: Any, driver: Driver) -> None:
    """Another principal in the token is a refusal."""
    token = Token()
    session = bearing(token)
    session.start("TOY", b"x")
    token.again = Token("idp/other")
    with pytest.raises(AuthenticationError):
        again(driver, session)
    assert session.authid == "idp/Tim@Example.com"
    assert not session.valid()


def test_a_revalidation_asks_the_stores_anew(bearing: Any, driver: Driver) -> None:
    """New roles are taken over; an account that is gone or locked ends it."""
    store = SpyStore()
    user = UserName("idp/Tim", "Example.com")
    store.add_user(user, properties={"roles": [b"old"]})
    token = Token(needs_account=True)
    session = bearing(token, stores=[store])
    session.start("TOY", b"x")
    token.again = token
    store.add_user(user, properties={"roles": [b"new"]})
    again(driver, session)
    assert session.properties.get("roles") == (b"new",)
    store.add_user(user, properties={"roles": [b"new"]}, disabled=True)
    with pytest.raises(AuthenticationError):
        again(driver, session)


@pytest.mark.parametrize(
    "error", [AuthenticationError(detail="the bind failed"), PeerError("p"), MechanismError("m")]
)
@pytest.mark.parametrize("whose", ["authid", "authzid"])
def test_what_a_stores_own_login_comes_to_ends_no_login(
    bearing: Any, driver: Driver, error: SaslError, whose: str
) -> None:
    """A store that is refused by its own backend is an outage: the session stands as before."""

    class Directory(SpyStore):
        broken = False

        def read(self, user: Any, names: Any) -> Any:
            if self.broken and (whose == "authid" or user.name == "other"):
                raise error
            return super().read(user, names)

    store = Directory()
    store.add_user(UserName("idp/Tim", "Example.com"), properties={"roles": [b"old"]})
    token = Token(needs_account=True)
    token.again = token
    authzid = "other" if whose == "authzid" else None
    session = bearing(token, authzid, stores=[store], **PERMIT)
    session.start("TOY", b"x")
    store.broken = True
    with pytest.raises(BackendError):
        again(driver, session)
    assert session.valid()
    store.broken = False
    again(driver, session)
    assert session.valid()
    assert session.properties.get("*roles") == (b"old",)


@pytest.mark.parametrize("needs_account", [False, True])
@pytest.mark.parametrize("other", ["principal", "issuer"])
def test_a_library_may_bring_its_token_up_to_date(
    bearing: Any, driver: Driver, needs_account: bool, other: str
) -> None:
    """It returns the same object with other grants: what was granted before is taken back all
    the same, and another principal or issuer is another.
    """
    store = SpyStore()
    user = UserName("idp/Tim", "Example.com")
    store.add_user(user, properties={"roles": [b"admin"]})

    class Live(Token):
        def revalidate(self) -> Needs[ValidatedToken]:
            self.given, self.wants_account = {"quota": (b"1",)}, False
            if changes:
                self.name, self.by = who[other]
            yield from ()
            return self

        @property
        def issuer(self) -> str:
            return self.by

        by = "https://idp.example.com"

    changes = False
    who = {
        "principal": ("idp/other", Live.by),
        "issuer": ("idp/Tim@Example.com", "https://other.example.com"),
    }
    grants = {"quota": (b"9",)} if needs_account else {"quota": (b"9",), "roles": (b"admin",)}
    session = bearing(Live(grants=grants, needs_account=needs_account), stores=[store])
    session.start("TOY", b"x")
    assert session.properties.get("roles") == (b"admin",)
    again(driver, session)
    for name in ("roles", "*roles"):
        assert session.properties.get(name) == ()
    assert session.properties.get("quota") == session.properties.get("*quota") == (b"1",)
    changes = True
    with pytest.raises(AuthenticationError):
        again(driver, session)
    assert not session.valid()


def test_a_revalidation_grants_all_or_nothing(bearing: Any, driver: Driver) -> None:
    """One that says what only a store may say changes nothing."""
    store = SpyStore()
    store.add_user(UserName("idp/Tim", "Example.com"), properties={"roles": [b"new"]})
    token = Token(grants={"roles": (b"old",), "database": (b"d",)})
    session = bearing(token, stores=[store])
    session.start("TOY", b"x")
    token.again = Token(grants={"roles": (b"x",), "extra": (b"y",)}, needs_account=True)
    with pytest.raises(PluginError):
        again(driver, session)
    get = session.properties.get
    assert (get("roles"), get("database"), get("extra")) == ((b"old",), (b"d",), ())
    assert session.valid()


def test_a_refusal_without_a_detail_is_told_by_its_code(driver: Driver, toys: Any) -> None:
    """And by nothing else."""
    events: list[AuditEvent] = []

    def converse(ctx: Any) -> Needs[Success]:
        _ = yield from NeedPeer()
        raise AuthenticationError(code="my-code")

    toys.mechanism(server_plug("TOY", converse, features=PROXY))
    server = driver.server(
        OPEN, stores=[SpyStore()], registry=toys.registry(), audit=[events.append]
    )
    with pytest.raises(AuthenticationError):
        server.session().start("TOY", b"x")
    assert [event.detail for event in events] == ["my-code"]


def test_withdrawn_grants_are_gone(bearing: Any, driver: Driver) -> None:
    """What the token granted before, and does not now, is no property any more."""
    token = Token(grants={"roles": (b"admin",), "database": (b"d",)})
    session = bearing(token)
    session.start("TOY", b"x")
    token.again = Token(grants={"database": (b"d",)})
    again(driver, session)
    assert session.properties.get("roles") == session.properties.get("*roles") == ()
    assert session.properties.get("database") == (b"d",)


def test_a_token_that_was_not_used_vouches_for_nobody(driver: Driver, toys: Any) -> None:
    """A mechanism accepts one and then lets somebody in by a password: no grants, no lapse."""
    token = Token(grants={"roles": (b"root",)})
    token.again = token
    store = SpyStore()
    store.add_user("tim", password="pencil")

    def converse(ctx: Any) -> Needs[Success]:
        _ = yield from NeedPeer()
        _ = ctx.accept_token(token)
        return Success((yield from ctx.check_password("tim", "pencil")))

    toys.mechanism(server_plug("TOY", converse, features=PROXY))
    server = driver.server(OPEN, stores=[store], registry=toys.registry())
    session = server.session()
    session.start("TOY", b"x")
    again(driver, session)
    token.stands = False
    assert session.valid()
    assert (session.authid, session.properties.get("roles")) == ("tim", ())


@pytest.mark.parametrize(
    "grants",
    [
        {"roles": b"text"},
        {"roles": ("text",)},
        {"roles": [b"list"]},
        {"roles": (5,)},
        {"*roles": (b"x",)},
        {"": (b"x",)},
        {5: (b"x",)},
        {"userPassword": (b"x",)},
        {"authPassword": (b"x",)},
        {"passwordHash": (b"x",)},
        {"USERPASSWORD": (b"x",)},
        {"a\0b": (b"x",)},
    ],
    ids=repr,
)
def test_what_is_no_property_is_not_granted(bearing: Any, grants: Any) -> None:
    """A token library that gets it wrong has a fault, and nobody is let in."""
    session = bearing(Token(grants=grants))
    with pytest.raises(PluginError, match="no property to be granted"):
        session.start("TOY", b"x")


def test_roles_are_the_stores_or_the_tokens(bearing: Any) -> None:
    """A token that needs an account may not say its roles itself."""
    session = bearing(Token(needs_account=True, grants={"roles": (b"x",)}))
    with pytest.raises(PluginError, match="no property to be granted"):
        session.start("TOY", b"x")


def test_a_library_that_breaks_lets_nobody_stand(bearing: Any, driver: Driver, caplog: Any) -> None:
    """Neither `valid` nor `revalidate` leaks what a stranger's class raises."""

    class Broken(Token):
        def valid(self, now: float) -> bool:
            if self.stands:
                return True
            raise KeyError("s3cret")

        def revalidate(self) -> Needs[ValidatedToken]:
            raise KeyError("s3cret")

    token = Broken()
    session = bearing(token)
    session.start("TOY", b"x")
    with pytest.raises(PluginError, match="KeyError"):
        again(driver, session)
    assert session.valid()
    token.stands = False
    assert not session.valid()
    assert "s3cret" not in caplog.text


def test_a_revalidation_comes_to_a_token_that_is_valid(bearing: Any, driver: Driver) -> None:
    """One that has expired meanwhile is a refusal; something else than a token a fault."""
    token, expired = Token(), Token()
    expired.stands = False
    session = bearing(token)
    session.start("TOY", b"x")
    token.again = "tim"  # type: ignore[assignment]  # pyright: ignore[reportAttributeAccessIssue]
    with pytest.raises(PluginError):
        again(driver, session)
    assert session.valid()
    token.again = expired
    with pytest.raises(AuthenticationError):
        again(driver, session)
    assert not session.valid()


def test_a_revalidation_looks_at_whom_the_bearer_acts_as(bearing: Any, driver: Driver) -> None:
    """An authorization identity that was locked meanwhile ends it, and it is audited."""
    events: list[AuditEvent] = []
    store = SpyStore()
    store.add_user("other", password="x")
    token = Token()
    token.again = token
    session = bearing(token, "other", stores=[store], audit=[events.append], **PERMIT)
    session.start("TOY", b"x")
    again(driver, session)
    store.add_user("other", password="x", disabled=True)
    with pytest.raises(AuthenticationError):
        again(driver, session)
    assert [(e.kind, e.result) for e in events] == [
        ("login", Result.OK),
        ("revalidate", Result.DISABLED),
    ]
    assert "DISABLED" in session.error_detail


def test_a_second_check_is_still_the_tokens(driver: Driver, toys: Any) -> None:
    """A mechanism that asks for a second factor of the token's user lets in by both."""
    token = Token(needs_account=True)

    def converse(ctx: Any) -> Needs[Success]:
        _ = yield from NeedPeer()
        verified = ctx.accept_token(token)
        return Success(ctx.verify_equal(verified.user, b"123456", b"123456", how="otp"))

    toys.mechanism(server_plug("TOY", converse, features=PROXY))
    server = driver.server(OPEN, stores=[SpyStore()], registry=toys.registry())
    session = server.session()
    with pytest.raises(AuthenticationError):
        session.start("TOY", b"x")
    token.wants_account = False
    session = server.session()
    session.start("TOY", b"x")
    assert session.valid()
    token.stands = False
    assert not session.valid()


def test_a_yes_is_plain(bearing: Any, driver: Driver, caplog: Any) -> None:
    """What is neither True nor False, a coroutine say, is a fault and no yes."""

    class Later(Token):
        def valid(self, now: float) -> Any:
            async def answer() -> bool:
                return False

            return answer() if self.later else True

        later = True

    token = Later()
    with pytest.raises(PluginError, match="coroutine"):
        bearing(token).start("TOY", b"x")
    token.later = False
    session = bearing(token)
    session.start("TOY", b"x")
    token.again = token
    token.later = True
    assert not session.valid()
    with pytest.raises(PluginError, match="coroutine"):
        again(driver, session)
    token.later = False
    assert session.valid()


@pytest.mark.parametrize("driver", ["raw"], indirect=True)
def test_two_revalidations_at_once(bearing: Any) -> None:
    """A refusal of the one ends the other; the one that began first gives nothing back."""
    token = Token(grants={"roles": (b"old",)})
    for refused in (False, True):
        session = bearing(token)
        session.start("TOY", b"x")
        first = session.negotiation.revalidation()
        second = session.negotiation.revalidation()
        results: list[object] = []

        class Waits(Token):
            def revalidate(self) -> Needs[ValidatedToken]:
                yield from NeedCall(lambda: None, Blocking.REMOTE)
                if isinstance(self.again, SaslError):
                    raise self.again
                assert self.again is not None
                return self.again

        slow = Waits(grants={"roles": (b"old",)})
        session.negotiation._context.token = slow
        slow.again = Token(grants={"extra": (b"admin",)})
        _ = list(zip(range(1), second, strict=False))
        slow.again = AuthenticationError(detail="no") if refused else Token(grants={})
        results.append(session.supplier.run(first))
        slow.again = Token(grants={"database": (b"d",)})
        results.append(session.supplier.run(_resumed(second)))
        get = session.properties.get
        if refused:
            assert all(isinstance(result, AuthenticationError) for result in results)
            assert get("roles") == (b"old",)
            assert not session.valid()
        else:
            assert results == [None, None]
            assert (get("roles"), get("database")) == ((), ())
            slow.again = None
            session.negotiation._context.token = Token()
            session.negotiation._context.token.again = Token(grants={"database": (b"d",)})
            assert session.supplier.run(session.negotiation.revalidation()) is None
            assert get("database") == (b"d",)


@pytest.mark.parametrize("driver", ["raw"], indirect=True)
@pytest.mark.parametrize("itself", [False, True])
def test_an_older_revalidation_gives_withdrawn_grants_back_to_nobody(
    bearing: Any, itself: bool
) -> None:
    """What it has seen is older than what another has taken over since, also where the library
    brings one and the same object up to date. Begun later, it is taken over whoever ends first.
    """

    class Slow(Token):
        def revalidate(self) -> Needs[ValidatedToken]:
            seen = Slow(grants=dict(rights))
            yield from NeedCall(lambda: None, Blocking.REMOTE)
            if not itself:
                return seen
            self.given = seen.given
            return self

    rights = {"roles": (b"admin",)}
    session = bearing(Slow(grants=dict(rights)))
    session.start("TOY", b"x")
    older, newer = session.negotiation.revalidation(), session.negotiation.revalidation()
    _ = next(older)
    rights.clear()
    _ = next(newer)
    for body in (newer, older):
        with pytest.raises(StopIteration) as end:
            body.send(None)
        assert end.value.value is None
        assert session.properties.get("roles") == session.properties.get("*roles") == ()
    older, newer = session.negotiation.revalidation(), session.negotiation.revalidation()
    _ = next(older)
    rights["roles"] = (b"reader",)
    _ = next(newer)
    for body, roles in ((older, ()), (newer, (b"reader",))):
        with pytest.raises(StopIteration):
            body.send(None)
        assert session.properties.get("roles") == roles


@pytest.mark.parametrize("driver", ["raw"], indirect=True)
def test_an_older_revalidation_may_still_refuse(bearing: Any) -> None:
    """It has seen a reason, and nobody can tell that it was gone before the newer one looked."""

    class Slow(Token):
        def revalidate(self) -> Needs[ValidatedToken]:
            refused = withdrawn[0]
            yield from NeedCall(lambda: None, Blocking.REMOTE)
            if refused:
                raise AuthenticationError(detail="withdrawn")
            return self

    withdrawn = [False]
    session = bearing(Slow())
    session.start("TOY", b"x")
    older, newer = session.negotiation.revalidation(), session.negotiation.revalidation()
    withdrawn[0] = True
    _ = next(older)
    withdrawn[0] = False
    _ = next(newer)
    for body, stands in ((newer, True), (older, False)):
        with pytest.raises(StopIteration) as end:
            body.send(None)
        assert (end.value.value is None) is stands
        assert session.valid() is stands


@pytest.mark.parametrize("closed", ["before", "meanwhile"])
@pytest.mark.parametrize("driver", ["raw"], indirect=True)
def test_a_closed_session_is_not_revalidated(bearing: Any, closed: str) -> None:
    """Whatever was begun or made before it was closed does not say that the login stands."""

    class Slow(Token):
        def revalidate(self) -> Needs[ValidatedToken]:
            yield from NeedCall(lambda: None, Blocking.REMOTE)
            return self

    session = bearing(Slow())
    session.start("TOY", b"x")
    body = session.negotiation.revalidation()
    if closed == "meanwhile":
        _ = next(body)
    session.negotiation.close()
    with pytest.raises(StopIteration) as end:
        body.send(None)
    assert isinstance(end.value.value, UsageError)
    assert end.value.value.code == "closed"


@pytest.mark.parametrize("driver", ["raw"], indirect=True)
def test_a_failed_revalidation_keeps_no_token(bearing: Any) -> None:
    """The frames of the library, whose locals hold the signed token, are not handed out, nor is
    a foreign error that it met.
    """

    class Signed(Token):
        def revalidate(self) -> Needs[ValidatedToken]:
            signed = "s3cret"
            yield from NeedCall(lambda: None, Blocking.REMOTE)
            try:
                raise KeyError(signed)
            except KeyError as error:
                raise AuthenticationError(detail="revoked") from error

    session = bearing(Signed())
    session.start("TOY", b"x")
    failure = session.supplier.run(session.negotiation.revalidation())
    assert isinstance(failure, AuthenticationError)
    assert failure.__traceback__ is None
    assert failure.__cause__ is None
    assert failure.__context__ is None
    assert session.error_detail == "revoked <- caused by KeyError"


def _resumed(body: Any) -> Needs[object]:
    """A body whose first need has been asked."""
    yield from ()
    try:
        need = body.send(None)
        while True:
            need = body.send((yield need))
    except StopIteration as end:
        return end.value


def test_other_logins_stand(driver: Driver, toys: Any) -> None:
    """A login without a token stays valid, and has nothing to revalidate."""
    store = SpyStore()
    store.add_user("tim", password="pencil")
    server = driver.server(OPEN, stores=[store], registry=toys.registry())
    client = driver.client(OPEN, registry=toys.registry())
    session = server.session()
    exchange(session, client.session(authid="tim", password="pencil"), "PLAIN")
    again(driver, session)
    assert session.valid()


def test_a_token_that_cannot_be_validated_again_says_so() -> None:
    """The default of a stranger's token library."""
    with pytest.raises(UsageError, match="log in anew"):
        next(Token().revalidate())


def test_what_is_no_token_lets_nobody_in(bearing: Any) -> None:
    """A mechanism that hands over something else has a fault."""
    session = bearing("tim")
    with pytest.raises((UsageError, PluginError)):
        session.start("TOY", b"x")


def test_what_is_run_for_the_application_raises_what_it_raises(driver: Driver, toys: Any) -> None:
    """A refusal stays one, an outage too; what the body returns is returned."""

    def body(end: object) -> Needs[object]:
        yield from ()
        if isinstance(end, SaslError):
            raise end
        return end

    server = driver.server(OPEN, registry=toys.registry())
    for error in (AuthenticationError(detail="no"), BackendError(detail="away")):
        with pytest.raises(type(error)) as caught:
            driver.call(server.inner.run, body(error))
        assert caught.value.detail == error.detail
    assert driver.call(server.inner.run, body("value")) == "value"
