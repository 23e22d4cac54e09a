"""After a failure nothing that is left knows the password, nor what was made of it."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import copy
import gc
import hashlib
import logging
import pickle
from collections.abc import Callable, Iterable
from functools import partial
from typing import Any, cast

import pytest

from logins import OPEN, client, login, plant, server, store
from sasl_core import Decision, PropertyContext, Reply, Result, SaslError, SetpassFlag, aio
from sasl_core.edge import sever
from sasl_core.exchange import Exchange
from sasl_core.facts import facts_from
from sasl_core.needs import (
    Change,
    Found,
    HttpRequest,
    HttpResponse,
    NeedAuthorize,
    NeedCall,
    NeedDerivation,
    NeedHttp,
    NeedPassword,
    NeedPeer,
    NeedStore,
    User,
)
from sasl_core.plugin import (
    CanonUserPlug,
    SimpleStore,
    Success,
    UserName,
    parse_verifier,
    stored_keys,
)
from sasl_mechanisms.plain import PlainClient, PlainServer
from secret_walk import find, spellings
from store_kit import make_verifier

PASSWORD = "open sesame! no: s3same-Wort"
WRONG = "wr0ng-password-of-tim"
PLAIN = f"\0tim\0{PASSWORD}".encode()


def secrets_of(*passwords: str) -> list[bytes]:
    """Each password and its PLAIN message, in every spelling that might be left behind."""
    whole = [f"\0tim\0{word}" for word in passwords]
    return spellings(*passwords, *whole)


# --- the walker finds what there is to be found ---------------------------------------------


class _Slotted:
    __slots__ = ("value",)

    def __init__(self, value: object) -> None:
        self.value = value


def _generator(value: object) -> Iterable[object]:
    kept = [value]
    yield 1
    yield kept


def _started(value: object) -> object:
    generator = iter(_generator(value))
    next(cast("Any", generator))
    return generator


def _raised(value: object) -> BaseException:
    namespace: dict[str, Any] = {}
    source = "def f(word):\n    local = [word]\n    raise ValueError('no text')\n"
    exec(compile(source, "elsewhere.py", "exec"), namespace)  # noqa: S102 - a frame not of a test
    try:
        namespace["f"](value)
    except ValueError as error:
        return error
    raise AssertionError


def _chained(value: str) -> BaseException:
    try:
        try:
            raise KeyError(value)
        except KeyError as error:
            raise ValueError from error
    except ValueError as error:
        return error


@pytest.mark.parametrize(
    "hide",
    [
        lambda word: word,
        lambda word: f"before {word} after",
        lambda word: word.encode(),
        lambda word: bytearray(word.encode()),
        lambda word: base64.b64encode(word.encode()).decode(),
        lambda word: word.encode().hex(),
        lambda word: [{"a": ({word},)}],
        lambda word: {word: 1},
        _Slotted,
        lambda word: _Slotted(_Slotted([word])),
        lambda word: Exchange(cast("Any", _started(word)), (), object, label="x"),
        lambda word: NeedDerivation("SHA-256", word.encode(), b"salt", 1),
        lambda word: NeedCall(partial(str, word), cast("Any", 0)),
        ValueError,
        _chained,
        _raised,
        lambda word: Found(Result.OK, {"userPassword": (word.encode(),)}),
    ],
)
def test_the_walker_finds_what_was_planted(hide: Callable[[str], object]) -> None:
    """The walk of these tests sees secrets in every kind of hiding place."""
    assert find([hide(PASSWORD)], secrets_of(PASSWORD)) != []
    assert find([hide("something harmless")], secrets_of(PASSWORD)) == []


# --- every kind of failure, three drivers ------------------------------------------------------


def boom(*_: object) -> Any:
    """An application's callable that raises the password itself."""
    raise ValueError(PASSWORD)


def from_secret(*given: Any) -> Any:
    """One that raises what it was given."""
    raise LookupError(*given)


class Outage(SimpleStore):
    """A store that fails with a foreign exception."""

    name = "outage"

    def read(self, user: Any, names: Any) -> Any:
        raise OSError(5, "disk on fire")

    def write(self, user: Any, change: Any) -> Any:
        return self.read(user, change)

    def list_users(self) -> Any:
        return self.read(None, None)

    def read_decoy_secret(self) -> bytes | None:
        return b"x" * 16


class BadNames(CanonUserPlug):
    """A canonicaliser that breaks."""

    name = "INTERNAL"

    def canon_user_server(self, ctx: Any, user: str, flags: Any) -> str:
        raise RuntimeError(user)

    canon_user_client = canon_user_server


class Faulty(PlainServer):
    """PLAIN that breaks after it has read the message."""

    fault = ""

    def converse(self, ctx: Any) -> Any:
        message = yield from NeedPeer()
        local = message.decode()
        match self.fault:
            case "raises":
                raise ValueError(local)
            case "chains":
                try:
                    raise ValueError(local)
                except ValueError as error:
                    raise SaslError("ours") from error
            case "bare need":
                yield 5
            case "returns nothing":
                return None
            case "no proof":
                return Success(None, data=message)
            case "http":
                _ = yield from NeedHttp(HttpRequest("POST", "https://h.example", body=message))
            case "store":
                _ = yield from NeedCall(lambda: from_secret(local), cast("Any", 0))
            case _:
                raise AssertionError
        return None


Make = Callable[[], dict[str, Any]]


def plain(message: bytes = PLAIN, **more: Any) -> dict[str, Any]:
    """One case on the server's side: what is sent, and how the server is made."""
    return {"message": message, **more}


def faulty(fault: str) -> dict[str, Any]:
    """A case in which the mechanism itself breaks."""
    plug = Faulty()
    plug.fault = fault
    return plain(plug=("mechanisms", plug))


SERVER_CASES: dict[str, Make] = {
    "wrong password": lambda: plain(f"\0tim\0{PASSWORD}".encode(), stores=[store({"tim": "x"})]),
    "unknown user": lambda: plain(stores=[store({"kurt": "x"})]),
    "three NULs": lambda: plain(PLAIN + b"\0more"),
    "not UTF-8": lambda: plain(PLAIN + b"\xff"),
    "bad name": lambda: plain(f"\0t im\0{PASSWORD}".encode()),
    "bad password": lambda: plain(f"\0tim\0{PASSWORD}\x01".encode()),
    "message too long": lambda: plain(PLAIN * 9000),
    "other identity": lambda: plain(
        f"kurt\0tim\0{PASSWORD}".encode(), stores=[store({"tim": PASSWORD, "kurt": "x"})]
    ),
    "store outage": lambda: plain(stores=[Outage()]),
    "callback raises": lambda: plain(server={"checkpass": from_secret}),
    "callback returns nonsense": lambda: plain(server={"checkpass": lambda *given: given}),
    "callback says no": lambda: plain(server={"checkpass": lambda *_: Result.BADAUTH}),
    "policy raises": lambda: plain(
        stores=[store({"tim": PASSWORD})], server={"authorize": from_secret}
    ),
    "policy says no": lambda: plain(
        stores=[store({"tim": PASSWORD})], server={"authorize": lambda *_: Decision.DENY}
    ),
    "canonicaliser raises": lambda: plain(plug=("canon_user", BadNames())),
    "unknown method": lambda: plain(config={"pwcheck_method": ["nosuch"]}),
    "not offered": lambda: plain(config={"mech_list": ["SCRAM-SHA-256"]}),
    **{
        f"mechanism: {fault}": partial(faulty, fault)
        for fault in (
            "raises", "chains", "bare need", "returns nothing", "no proof", "http", "store",
        )
    },
}  # fmt: skip


class Trail:
    """What a failure leaves behind: everything that a program may still look at."""

    def __init__(self, owner: Any, session: Any, error: BaseException, seen: Iterable[Any]) -> None:
        self.owner = owner
        self.session = session
        self.error = error
        self.seen = list(seen)


def attempt_blocking(owner: Any, message: bytes) -> Trail:
    session = owner.session(remote="127.0.0.1;9")
    try:
        session.start("PLAIN", message)
    except SaslError as error:
        return Trail(owner, session, error, ())
    raise AssertionError("let in")


def attempt_raw(owner: Any, message: bytes) -> Trail:
    negotiation = owner.session(remote="127.0.0.1;9").raw()
    runner = owner._runner
    seen: list[Any] = []
    try:
        event = negotiation.start("PLAIN", message)
        while not isinstance(event, Reply):
            seen.append(type(event))
            failure: Exception | None = None
            answer: object = None
            try:
                answer = runner.supply(event, None)
            except Exception as error:  # noqa: BLE001 - whatever a backend raises.
                failure = error
            event = negotiation.fail(failure) if failure else negotiation.answer(answer)
            failure = answer = None
    except SaslError as error:
        return Trail(owner, negotiation, error, seen)
    raise AssertionError("let in")


def attempt_aio(owner: Any, message: bytes) -> Trail:
    async def run() -> Trail:
        session = owner.session(remote="127.0.0.1;9")
        try:
            await session.start("PLAIN", message)
        except SaslError as error:
            return Trail(owner, session, error, ())
        finally:
            await owner.close()
        raise AssertionError("let in")

    return asyncio.run(run())


ATTEMPTS = {"blocking": attempt_blocking, "raw": attempt_raw, "asyncio": attempt_aio}


def made(case: dict[str, Any], driver: str, events: list[Any]) -> Any:
    """The server of a case."""
    make: Any = aio.Server if driver == "asyncio" else server
    config = {**OPEN, **case.get("config", {})}
    more = {"config": config, "audit": [events.append], **case.get("server", {})}
    if driver == "asyncio":
        owner = make("smtp", "mail.example.com", stores=case.get("stores") or [store()], **more)
    else:
        owner = make(case.get("stores", ()), **more)
    if "plug" in case:
        plant(owner, *case["plug"])
    return owner


@pytest.mark.parametrize("driver", ATTEMPTS)
@pytest.mark.parametrize("name", SERVER_CASES)
def test_a_failed_server(name: str, driver: str, caplog: pytest.LogCaptureFixture) -> None:
    """Neither error, session, server, log nor audit event holds the password that was sent."""
    caplog.set_level(logging.DEBUG)
    case = SERVER_CASES[name]()
    events: list[Any] = []
    trail = ATTEMPTS[driver](made(case, driver, events), case["message"])
    _ = gc.collect()
    assert events or name == "nothing"
    roots = [trail.error, trail.session, trail.owner, trail.seen, events, *caplog.records]
    assert find(roots, secrets_of(PASSWORD)) == []
    assert PASSWORD not in caplog.text
    assert trail.error.__cause__ is None
    assert trail.error.__context__ is None
    assert trail.session.error_detail


CLIENT_CASES: dict[str, dict[str, Any]] = {
    "wrong password": {"theirs": b"e=invalid-proof", "at": 1},
    "impostor": {"theirs": b"v=" + base64.b64encode(b"x" * 32), "at": 1},
    "garbage first": {"theirs": b"\xff\0garbage", "at": 0},
    "garbage last": {"theirs": b"\xff\0garbage", "at": 1},
    "few rounds": {"theirs": b"r=NONCE,s=c2FsdHNhbHQ=,i=1", "at": 0},
    "many rounds": {"theirs": b"r=NONCE,s=c2FsdHNhbHQ=,i=2147483647", "at": 0},
    "refused at once": {"theirs": b"e=other-error", "at": 0},
    "success too early": {"theirs": None, "at": 0},
    "success without proof": {"theirs": None, "at": 1},
    "callback raises": {"session": {"password": boom}, "at": 0},
    "interaction raises": {"session": {"password": None, "interact": boom}, "at": 0},
    "wrong answers": {
        "session": {"password": None, "interact": lambda _: (PASSWORD, 5)},
        "at": 0,
    },
    "password unfit": {"session": {"password": PASSWORD + "\x01"}, "at": 1},
    "canonicaliser raises": {"plug": ("canon_user", BadNames()), "at": 0},
    "binding raises": {"session": {"channel_bindings": {"tls-exporter": boom}}, "at": 0},
    "closed in the middle": {"close": True, "at": 1},
}


@pytest.mark.parametrize("name", CLIENT_CASES)
@pytest.mark.parametrize("driver", ["blocking", "asyncio"])
def test_a_failed_client(name: str, driver: str, caplog: pytest.LogCaptureFixture) -> None:
    """The client's session, its Client and its error forget password, keys and proof."""
    caplog.set_level(logging.DEBUG)
    case = CLIENT_CASES[name]
    kept: list[bytes] = []
    make: Any = aio.Client if driver == "asyncio" else None
    owner: Any = client() if make is None else make("smtp", "mail.example.com", config=OPEN)
    if "plug" in case:
        plant(owner, *case["plug"])
    # The first challenge of a server; its nonce goes on from the client's.
    good = b"r=%b+more,s=c2FsdHNhbHQ=,i=4096"

    async def settle(value: Any) -> Any:
        return await value if hasattr(value, "__await__") else value

    async def run() -> BaseException | None:
        arguments = {"authid": "tim", "password": PASSWORD, **case.get("session", {})}
        session = owner.session(**arguments)
        trail.append(session)
        try:
            names = ["SCRAM-SHA-256-PLUS", "SCRAM-SHA-256"]
            reply = await settle(session.start(names))
            nonce = reply.data.partition(b"r=")[2]
            for step in range(case["at"] + 1):
                last = step == case["at"]
                if last and case.get("close"):
                    session.close()
                    return None
                if last and case.get("theirs", 1) is None:
                    await settle(session.finish())
                    raise AssertionError("the server has proved nothing")
                theirs = case.get("theirs", b"") if last else good % nonce
                reply = await settle(session.step(theirs.replace(b"NONCE", nonce + b"+more")))
                kept.append(reply.data or b"")
        except SaslError as error:
            return error
        raise AssertionError("not refused")

    trail: list[Any] = []
    error = asyncio.run(run())
    salted = hashlib.pbkdf2_hmac("sha256", PASSWORD.encode(), b"saltsalt", 4096)
    keys = [salted, *stored_keys("SHA-256", salted)]
    proofs = [base64.b64decode(each.rpartition(b"p=")[2]) for each in kept if b"p=" in each]
    _ = gc.collect()
    wanted = [*secrets_of(PASSWORD), *spellings(*keys, *proofs)]
    assert find([error, *trail, owner, *caplog.records], wanted) == []


@pytest.mark.parametrize("kind", [KeyboardInterrupt, SystemExit, MemoryError])
def test_what_is_not_an_error_of_ours_takes_nothing_along(kind: type[BaseException]) -> None:
    """An interrupt in the middle of a login passes, and its traceback holds no password."""

    def interrupt(*_: object) -> Any:
        raise kind

    with server(checkpass=interrupt) as ours:
        session = ours.session()
        with pytest.raises((kind, SaslError)) as caught:
            session.start("PLAIN", PLAIN)
        _ = gc.collect()
        assert find([caught.value, session, ours], secrets_of(PASSWORD)) == []
        with pytest.raises(SaslError):
            session.step(b"")


def test_a_cancelled_login_takes_nothing_along() -> None:
    """Cancelled while the application thinks, session and CancelledError hold no password."""

    async def run() -> None:
        waits = asyncio.Event()

        async def checkpass(*_: object) -> Any:
            waits.set()
            await asyncio.sleep(60)

        ours = aio.Server("smtp", "h.example", config=OPEN, stores=[store()], checkpass=checkpass)
        async with ours:
            session = ours.session()
            task = asyncio.create_task(session.start("PLAIN", PLAIN))
            await waits.wait()
            task.cancel()
            try:
                await task
            except asyncio.CancelledError as error:
                caught = error
            else:
                raise AssertionError("not cancelled")
            _ = gc.collect()
            assert find([caught, session, ours], secrets_of(PASSWORD)) == []
            with pytest.raises(SaslError):
                await session.step(b"")

    asyncio.run(run())


@pytest.mark.parametrize("outage", [False, True])
def test_setpass_and_checkpass_that_fail(outage: bool, caplog: pytest.LogCaptureFixture) -> None:
    """Administrative calls that fail leave no password either."""
    caplog.set_level(logging.DEBUG)
    events: list[Any] = []
    with server([Outage()] if outage else (), audit=[events.append]) as ours:
        calls: list[Callable[[], object]] = [
            lambda: ours.checkpass("tim", PASSWORD),
            lambda: ours.setpass("tim", PASSWORD + "\x01"),
            lambda: ours.setpass("t im", PASSWORD),
            lambda: ours.setpass("tim", PASSWORD, SetpassFlag.DISABLE),
            lambda: ours.checkpass("t im", PASSWORD),
        ]
        if outage:
            calls.append(lambda: ours.setpass("tim", PASSWORD))
        for call in calls:
            with pytest.raises(SaslError) as caught:
                call()
            assert find([caught.value, ours, events], secrets_of(PASSWORD)) == []
    assert PASSWORD not in caplog.text


def test_a_login_that_ended_well_keeps_no_password() -> None:
    """Neither does success: not the sessions, nor Server and Client behind them."""
    with server([store({"tim": PASSWORD})]) as ours, client() as theirs:
        for mechanism in ("PLAIN", "SCRAM-SHA-256"):
            far = theirs.session(authid="tim", password=PASSWORD)
            near = ours.session(success_data=True)
            answer = near.start(mechanism, far.start([mechanism]).data)
            if mechanism == "SCRAM-SHA-256":
                answer = near.step(far.step(answer.data or b"").data or b"")
            far.finish(answer.data)
            assert near.done
            assert far.done
            assert find([near, far, ours, theirs], secrets_of(PASSWORD)) == []


def test_a_plaintext_that_a_store_keeps_stays_there() -> None:
    """What was read of a stored plaintext is overwritten, whether the login went well or not."""
    kept = store({"tim": PASSWORD}, plaintext=True)
    with server([kept]) as ours:
        for word in (PASSWORD, WRONG):
            session = ours.session()
            with contextlib.suppress(SaslError):
                session.start("PLAIN", f"\0tim\0{word}".encode())
            negotiation: Any = session.raw()
            assert find([negotiation._context.user], secrets_of(PASSWORD)) == []


# --- what would be written down --------------------------------------------------------------

WORD = PASSWORD.encode()
HOLDERS: dict[str, Callable[[], object]] = {
    "NeedDerivation": lambda: NeedDerivation("SHA-256", WORD, b"salt", 1),
    "NeedPassword": lambda: NeedPassword("auxprop", UserName("tim"), WORD),
    "NeedPeer": lambda: NeedPeer(WORD),
    "NeedStore": lambda: NeedStore(UserName("tim"), Change({"userPassword": (WORD,)})),
    "NeedCall": lambda: NeedCall(lambda: WORD, cast("Any", 0)),
    "NeedHttp": lambda: NeedHttp(HttpRequest("GET", "https://h", (("authorization", PASSWORD),))),
    "NeedAuthorize": lambda: NeedAuthorize("a", "b", filled()),
    "Change": lambda: Change({"userPassword": (WORD,)}, expected={"userPassword": (WORD,)}),
    "Found": lambda: Found(Result.OK, {"userPassword": (WORD,)}, {}, WORD),
    "User": lambda: known(User("a", "b", Found(Result.OK, {"userPassword": (WORD,)}))),
    "PropertyContext": lambda: filled().dup(),
    "Reply": lambda: Reply(WORD, done=False),
    "HttpRequest": lambda: HttpRequest("POST", "https://h", (("x", PASSWORD),), WORD),
    "HttpResponse": lambda: HttpResponse(200, (("set-cookie", PASSWORD),), WORD),
    "ScramVerifier": lambda: parse_verifier(make_verifier()),
    "Success": lambda: Success(None, data=WORD),
    "ServerSession": lambda: running()[0],
    "ServerNegotiation": lambda: running()[0]._negotiation,
    "ClientSession": lambda: running()[1],
    "ClientNegotiation": lambda: running()[1]._negotiation,
    "ServerContext": lambda: cast("Any", running()[0].raw())._context,
    "Exchange": lambda: cast("Any", running()[1].raw())._exchange,
    "Facts": lambda: facts_from({"channel_bindings": {"tls-exporter": WORD}}),
}


def filled() -> PropertyContext:
    """A property context that found a plaintext."""
    context = PropertyContext(["userPassword"])
    context.set("userPassword", [WORD])
    return context


def known(user: User) -> User:
    """A user whose properties hold a plaintext."""
    user.properties.request("userPassword")
    user.properties.set("userPassword", [WORD])
    return user


def running() -> tuple[Any, Any]:
    """A server's and a client's session in the middle of an exchange."""
    ours, theirs = server(), client()
    far = theirs.session(authid="tim", password=PASSWORD)
    near = ours.session()
    _ = near.start("SCRAM-SHA-256", far.start(["SCRAM-SHA-256"]).data)
    return near, far


@pytest.mark.parametrize("name", HOLDERS)
def test_what_holds_a_secret_shows_none(name: str) -> None:
    """repr, str and format of all that may hold a secret show none of it."""
    holder = HOLDERS[name]()
    shown = f"{holder!r} {holder!s} {holder}"
    for secret in (*secrets_of(PASSWORD), *make_verifier().split(b"$")[2].split(b":")):
        assert secret.decode("utf-8", "replace") not in shown


@pytest.mark.parametrize("name", HOLDERS)
def test_what_holds_a_secret_is_not_copied(name: str) -> None:
    """Neither pickle nor copy spreads it to where nobody would wipe it."""
    holder = HOLDERS[name]()
    for spread in (pickle.dumps, copy.copy, copy.deepcopy):
        with pytest.raises((SaslError, TypeError)) as caught:
            spread(holder)
        assert PASSWORD not in str(caught.value)


def test_errors_can_be_pickled_and_say_the_same() -> None:
    """An error that crosses to another process holds what it showed, and nothing else."""
    with server() as ours, ours.session() as session:
        with pytest.raises(SaslError) as caught:
            session.start("PLAIN", PLAIN)
        assert find([pickle.dumps(caught.value)], secrets_of(PASSWORD)) == []


def test_sever_cuts_rings_of_causes() -> None:
    """Errors that are each other's context do not make the cutting run for ever."""
    first, second = SaslError("a"), ValueError(PASSWORD)
    first.__context__, second.__context__ = second, first
    assert find([sever(first)], secrets_of(PASSWORD)) == []
    assert str(first.detail).endswith("caused by ValueError")


def test_the_clients_mechanisms_name_no_password(caplog: pytest.LogCaptureFixture) -> None:
    """A client mechanism of somebody else that raises the password is silenced too."""

    class Loud(PlainClient):
        def converse(self, ctx: Any) -> Any:
            (word,) = yield from ctx.ask(cast("Any", 0x4004))
            raise ValueError(word)

    with client() as ours:
        plant(ours, "mechanisms", Loud())
        session = ours.session(authid="tim", password=PASSWORD)
        with pytest.raises(SaslError) as caught:
            session.start("PLAIN")
        assert find([caught.value, session, ours, *caplog.records], secrets_of(PASSWORD)) == []


def test_a_raw_negotiation_that_is_misused() -> None:
    """Calls out of order, or with the wrong types, leave nothing in the frames of their errors."""
    with server() as ours, client() as theirs:
        over = ours.session().raw()
        with pytest.raises(SaslError):
            over.start("NO-SUCH", b"")
        far = theirs.session(authid="tim", password="another-word").raw()
        wrong: Any = bytearray(PLAIN)
        unknown: Any = {"unknown": 1}
        calls: list[Callable[[], object]] = [
            lambda: over.start("PLAIN", PLAIN),
            lambda: over.check("tim", PASSWORD),
            lambda: over.answer(PLAIN),
            lambda: ours.session().raw().start("PLAIN", wrong),
            lambda: ours.session().raw().start(cast("Any", 5), PLAIN),
            lambda: ours.session().raw().check(cast("Any", 5), PASSWORD),
            lambda: far.finish(PLAIN),
            lambda: far.answer((PASSWORD,)),
            lambda: theirs.session(authid="tim", password=cast("Any", WORD)),
            lambda: theirs.session(authid="tim", password=PASSWORD, **unknown),
        ]
        for call in calls:
            with pytest.raises(SaslError) as caught:
                call()
            assert find([caught.value], secrets_of(PASSWORD)) == []
    for call in (lambda: ours.setpass("tim", PASSWORD), lambda: ours.checkpass("tim", PASSWORD)):
        with pytest.raises(SaslError) as caught:
            call()
        assert find([caught.value], secrets_of(PASSWORD)) == []


@pytest.mark.parametrize("failure", ["a text", None, 5, KeyboardInterrupt()])
def test_a_failure_is_an_exception(failure: Any) -> None:
    """fail() takes exceptions; anything else is told and changes nothing."""
    with server() as ours, ours.session() as session:
        negotiation = session.raw()
        event = negotiation.start("PLAIN", PLAIN)
        assert not isinstance(event, Reply)
        with pytest.raises(SaslError):
            negotiation.fail(failure)
        assert negotiation.need is event


@pytest.mark.parametrize("word", [PASSWORD, WRONG])
@pytest.mark.parametrize("mechanism", ["PLAIN", "SCRAM-SHA-256", "ANONYMOUS"])
def test_secrets_die_with_their_session(mechanism: str, word: str) -> None:
    """No ring of references keeps anything of an exchange until the collector comes."""

    def left() -> int:
        return sum(type(item).__name__ in OF_AN_EXCHANGE for item in gc.get_objects())

    with server([store({"tim": PASSWORD})]) as ours, client() as theirs:

        def exchange() -> None:
            far, near = theirs.session(authid="tim", password=word), ours.session()
            with contextlib.suppress(SaslError):
                _ = login(far, near, [mechanism])

        exchange()
        _ = gc.collect()
        gc.disable()
        try:
            before = left()
            for _ in range(5):
                exchange()
            assert left() == before
        finally:
            gc.enable()


OF_AN_EXCHANGE = {
    "ServerSession", "ClientSession", "ServerNegotiation", "ClientNegotiation", "Exchange",
    "ServerContext", "ClientContext", "User", "PropertyContext", "Doom", "Success", "Verified",
    "NeedDerivation", "NeedPassword", "NeedPeer", "NeedUser",
}  # fmt: skip
