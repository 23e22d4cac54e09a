"""Whatever a peer, a plugin or a caller gives, out comes a Reply or an error of our family."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from logins import OPEN, USERS, client, login, plant, server
from sasl_core import (
    BackendError,
    Client,
    MechanismError,
    PeerError,
    PluginError,
    Reply,
    SaslError,
    Server,
    SetpassFlag,
    UsageError,
)
from sasl_core.plugin import Availability, ClientPlug, Feature, NeedPeer, SecurityFlag, ServerPlug
from stopwatch import within

SERVER = server()
CLIENT = client()
FRAMINGS = [(initial, success) for initial in (True, False) for success in (True, False)]
MECHANISMS = ("ANONYMOUS", "PLAIN", "SCRAM-SHA-256")
WORD = "tanstaaftanstaaf"


def framed(framing: tuple[bool, bool], **more: Any) -> dict[str, Any]:
    """The facts of a connection whose protocol has or lacks room for the two extra messages."""
    return {"initial_response": framing[0], "success_data": framing[1], **more}


def next_one_is_served() -> None:
    """The same server and client objects still let the right user in."""
    with CLIENT.session(authid="tim", password=WORD) as ours, SERVER.session() as theirs:
        _ = login(ours, theirs, ["SCRAM-SHA-256"])
        assert theirs.authid == "tim"


def honest(mechanism: str, framing: tuple[bool, bool]) -> tuple[list[bytes], list[bytes]]:
    """What the two sides of a good login said to each other, each in its order."""
    to_server: list[bytes] = []
    to_client: list[bytes] = []

    def note(where: list[bytes]) -> Callable[[int, bytes | None], bytes | None]:
        def noted(_: int, data: bytes | None) -> bytes | None:
            if data is not None:
                where.append(data)
            return data

        return noted

    with (
        CLIENT.session(authid="tim", password=WORD, trace="me@x.org", **framed(framing)) as ours,
        SERVER.session(**framed(framing)) as theirs,
    ):
        _ = login(ours, theirs, [mechanism], to_server=note(to_server), to_client=note(to_client))
    return to_server, to_client


HONEST = {(m, f): honest(m, f) for m in MECHANISMS for f in FRAMINGS}


@st.composite
def altered(draw: st.DrawFn, messages: list[bytes]) -> bytes:
    """One of the messages, cut, lengthened, doubled or with some of its bytes changed."""
    message = bytearray(draw(st.sampled_from(messages or [b""])))
    for _ in range(draw(st.integers(1, 3))):
        at = draw(st.integers(0, len(message)))
        match draw(st.sampled_from(["cut", "insert", "flip", "double"])):
            case "cut":
                del message[at : at + draw(st.integers(1, 8))]
            case "insert":
                message[at:at] = draw(
                    st.binary(min_size=1, max_size=8)
                    | st.sampled_from([b"\0", b",", b"=", b"\xff", b"m=x,", "\u0660".encode()])
                )
            case "flip" if at < len(message):
                message[at] ^= 1 << draw(st.integers(0, 7))
            case _:
                message += message[at:]
    return bytes(message)


# --- any bytes, any step, both sides, four framings -------------------------------------


@pytest.mark.parametrize("framing", FRAMINGS)
@pytest.mark.parametrize("mechanism", MECHANISMS)
@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_any_bytes_to_a_server(mechanism: str, framing: tuple[bool, bool], data: Any) -> None:
    """Any messages of a client end in a Reply or a SaslError; nobody but tim gets in."""
    said = HONEST[mechanism, framing][0]
    anything = st.binary(max_size=200) | altered(said) | st.sampled_from(said)
    initial = data.draw(st.none() | anything)
    with SERVER.session(**framed(framing)) as session:
        with contextlib.suppress(SaslError):
            reply = session.start(mechanism, initial)
            for _ in range(4):
                assert isinstance(reply, Reply)
                if reply.done:
                    break
                reply = session.step(data.draw(anything))
        if session.done:
            assert session.authid == ("anonymous" if mechanism == "ANONYMOUS" else "tim")
            assert mechanism != "SCRAM-SHA-256", "no recorded proof fits a fresh nonce"
        before = session.done
        with pytest.raises(SaslError):
            session.start(mechanism, initial)
        assert session.done is before


@pytest.mark.parametrize("framing", FRAMINGS)
@pytest.mark.parametrize("mechanism", MECHANISMS)
@settings(max_examples=30, deadline=None)
@given(data=st.data())
def test_any_bytes_to_a_client(mechanism: str, framing: tuple[bool, bool], data: Any) -> None:
    """Any messages of a server end in a Reply or a SaslError; none proves itself by replay."""
    said = HONEST[mechanism, framing][1]
    anything = st.binary(max_size=200) | altered(said) | st.sampled_from(said or [b""])
    facts = framed(framing)
    with CLIENT.session(authid="tim", password=WORD, **facts) as session:
        with contextlib.suppress(SaslError):
            reply = session.start([mechanism])
            for _ in range(4):
                if reply.done or data.draw(st.booleans()):
                    break
                reply = session.step(data.draw(anything))
            session.finish(data.draw(st.none() | anything))
        assert mechanism != "SCRAM-SHA-256" or not session.done


@pytest.mark.parametrize("mechanism", MECHANISMS)
def test_the_next_client_is_served(mechanism: str) -> None:
    """After a thousand kinds of garbage the same Server and Client still work."""
    for size in range(64):
        with SERVER.session() as session, contextlib.suppress(SaslError):
            session.start(mechanism, bytes(range(size)))
    next_one_is_served()


@pytest.mark.parametrize("mechanism", MECHANISMS)
@pytest.mark.parametrize("size", [65536, 65537, 10_000_000])
def test_giant_messages(mechanism: str, size: int) -> None:
    """A message over 64 KiB is refused unread, on either side and at any step."""
    message = b"a" * size
    with within(1):
        with SERVER.session() as session, pytest.raises(PeerError) as caught:
            session.start(mechanism, message)
        assert len(str(caught.value)) < 300
        assert size == 65536 or caught.value.code == "message-too-long"
        with SERVER.session() as session:
            _ = session.start(mechanism)
            with pytest.raises(PeerError):
                session.step(message)
        with CLIENT.session(authid="tim", password=WORD) as ours:
            _ = ours.start(["SCRAM-SHA-256"])
            with pytest.raises(PeerError):
                ours.step(message)
        with CLIENT.session(authid="tim", password=WORD, success_data=True) as ours:
            _ = ours.start([mechanism])
            with pytest.raises(PeerError):
                ours.finish(message)


def test_sixteen_messages_are_the_most() -> None:
    """A mechanism that never ends is ended by the glue."""

    class Endless(ServerPlug):
        name = "ANONYMOUS"
        features = Feature.WANT_CLIENT_FIRST

        def converse(self, ctx) -> Any:
            _ = yield from NeedPeer()
            while True:
                _ = yield from NeedPeer(b"more")

    with server() as ours:
        plant(ours, "mechanisms", Endless())
        with ours.session() as session:
            _ = session.start("ANONYMOUS", b"")
            for _ in range(15):
                assert session.step(b"x") == Reply(b"more", done=False)
            with pytest.raises(PeerError, match="too many messages"):
                session.step(b"x")


# --- one attempt ---------------------------------------------------------------------------


def ended(how: str) -> Iterator[Any]:
    """A server's session that is over."""
    session = SERVER.session()
    if how == "done":
        _ = session.start("PLAIN", f"\0tim\0{WORD}".encode())
    elif how == "failed":
        with contextlib.suppress(SaslError):
            session.start("PLAIN", b"\0tim\0wrong")
    elif how == "refused":
        with contextlib.suppress(SaslError):
            session.start("NO-SUCH", b"")
    elif how == "running, closed":
        _ = session.start("SCRAM-SHA-256", b"n,,n=tim,r=abcdefghijkl")
        session.close()
    else:
        session.close()
    yield session


@pytest.mark.parametrize("how", ["done", "failed", "refused", "running, closed", "closed"])
def test_a_session_is_for_one_attempt(how: str) -> None:
    """Whatever ended it, nothing can be started or answered, and nobody is let in by it."""
    (session,) = ended(how)
    for call in (
        lambda: session.start("PLAIN", f"\0kurt\0{USERS['kurt']}".encode()),
        lambda: session.start("SCRAM-SHA-256"),
        lambda: session.step(b""),
        lambda: session.step(f"\0kurt\0{USERS['kurt']}".encode()),
        lambda: session.raw().answer(b""),
        lambda: session.raw().fail(ValueError("x")),
        lambda: session.raw().check("kurt", USERS["kurt"]),
    ):
        with pytest.raises(UsageError):
            call()
        assert session.done is (how == "done")
    if how == "done":
        assert session.authid == "tim"
    else:
        for name in ("authid", "authzid", "properties", "ssf", "channel_binding"):
            with pytest.raises(UsageError) as caught:
                getattr(session, name)
            assert caught.value.code == "not-done"
    session.close()
    session.close()
    if how == "done":
        with pytest.raises(UsageError):
            _ = session.authid


def test_a_client_session_is_for_one_attempt() -> None:
    """After failure, success and close a client's session says and hears nothing more."""
    done = CLIENT.session(authid="tim", password="x")
    _ = done.start("PLAIN")
    failed = CLIENT.session(authid="tim", password="x")
    _ = failed.start("SCRAM-SHA-256")
    with pytest.raises(PeerError):
        failed.step(b"garbage")
    closed = CLIENT.session(authid="tim", password="x")
    closed.close()
    for session in (done, failed, closed):
        for call in (
            lambda each=session: each.start("PLAIN"),
            lambda each=session: each.step(b""),
            lambda each=session: each.raw().answer(()),
            lambda each=session: each.raw().fail(ValueError("x")),
        ):
            with pytest.raises(UsageError):
                call()
    for session in (failed, closed):
        with pytest.raises(UsageError):
            session.finish()
        assert not session.done


@pytest.mark.parametrize("value", ["text", None, 5, bytearray(b"x"), memoryview(b"x"), ()])
def test_a_message_of_another_type_changes_nothing(value: Any) -> None:
    """The caller's mistake is told, and the exchange goes on as if nothing had been said."""
    with CLIENT.session(authid="tim", password=WORD) as ours, SERVER.session() as theirs:
        reply = ours.start(["SCRAM-SHA-256"])
        answer = theirs.start("SCRAM-SHA-256", reply.data)
        for call in (theirs.step, ours.step, theirs.raw().answer, ours.raw().answer):
            with pytest.raises(UsageError):
                call(value)
        assert answer.data is not None
        answer = theirs.step(ours.step(answer.data).data or b"")
        assert answer.data is not None
        assert ours.step(answer.data).done
        assert theirs.step(b"").done


# --- wrong arguments -------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name",
    [
        "", "plain", "x" * 1024, "A" * 20, "A" * 21, "PL\0AIN", "PLAIN ", "PLAIN\n", "\udc80",
        "PLAIN-PLUS", "-PLUS",
        "SCRAM-SHA-256-PLUS-PLUS", "os", "../PLAIN", "PLAIN\u0130", None, 5, b"PLAIN", ["PLAIN"],
        {}, object(),
    ],
)  # fmt: skip
def test_no_such_mechanism(name: Any) -> None:
    """What is no name of an offered mechanism is refused with a reason, whatever it is."""
    error = MechanismError if isinstance(name, str) else UsageError
    with SERVER.session() as session, pytest.raises(error) as caught:
        session.start(name, b"\0tim\0" + WORD.encode())
    assert len(str(caught.value)) < 300
    next_one_is_served()


@pytest.mark.parametrize("offered", [None, 5, b"PLAIN", [b"PLAIN"], [None], object(), {"PLAIN": 1}])
def test_no_such_offer(offered: Any) -> None:
    """A list of mechanisms that is none is the caller's mistake, told in our own words."""
    with CLIENT.session(authid="tim", password="x") as session:
        if isinstance(offered, dict):
            assert session.start(offered).done
            return
        with pytest.raises(UsageError):
            session.start(offered)


@pytest.mark.parametrize(
    "offered", ["", " ,;", [], "x" * 100_000, ["A" * 21] * 10_000, " ".join(map(str, range(9999)))]
)
def test_useless_offers(offered: Any) -> None:
    """A server that offers nothing usable is refused at once, with bounded reasons."""
    with within(0.5), CLIENT.session(authid="tim", password="x") as session:
        with pytest.raises(MechanismError) as caught:
            session.start(offered)
        assert len(str(caught.value)) < 2500


@pytest.mark.parametrize(
    ("user", "password"),
    [
        (None, WORD), (5, WORD), (b"tim", WORD), ("", WORD), ("\0", WORD), ("\ud800", WORD),
        ("a" * 2000, WORD), ("tim", None), ("tim", 5), ("tim", b"x"), ("tim", ""), ("tim", "\0"),
        ("tim", "\ud800"), ("tim", "a" * 9000), ("tim", "\u00ad"), ("t im", WORD),
    ],
)  # fmt: skip
def test_wrong_arguments_of_accounts(user: Any, password: Any) -> None:
    """checkpass, setpass and user_exists refuse what is no name or password, as SaslErrors."""
    wrong_type = not isinstance(user, str) or not isinstance(password, str)
    with server() as ours:
        with pytest.raises(SaslError) as caught:
            ours.checkpass(user, password)
        assert not wrong_type or isinstance(caught.value, UsageError)
        with pytest.raises(UsageError):
            ours.setpass(user, password)
        if password == WORD:
            with pytest.raises(UsageError):
                ours.user_exists(user)
        assert ours.checkpass("tim", WORD) == "tim"


def test_setpass_flags_that_exclude_each_other() -> None:
    """No combination of flags and passwords is anything but a report or a UsageError."""
    with server() as ours:
        for number in range(16):
            for password in (None, "", "new"):
                flags = SetpassFlag(number)
                with contextlib.suppress(UsageError, MechanismError):
                    _ = ours.setpass("tim", password, flags)


@pytest.mark.parametrize(
    "facts",
    [
        {"external_ssf": "x"}, {"external_ssf": -1}, {"properties": 5}, {"properties": [5]},
        {"properties": "mail"}, {"properties": ["*"]}, {"security": SecurityFlag.NONE},
        {"unknown": 1}, {"remote": 5}, {"channel_bindings": [1]}, {"channel_bindings": {5: b"x"}},
        {"channel_bindings": {"tls exporter": b"x"}}, {"channel_bindings": {"": b"x"}},
        {"binding_policy": "require"}, {"success_data": 1}, {"initial_response": None},
    ],
    ids=str,
)  # fmt: skip
def test_wrong_facts(facts: dict[str, Any]) -> None:
    """A fact that is misspelt or mistyped is refused when the session is made."""
    for owner in (SERVER, CLIENT):
        with pytest.raises(UsageError):
            owner.session(**facts)


# --- what others raise -----------------------------------------------------------------------


def boom(*_: object) -> Any:
    """Raise what is not ours, with a secret in it."""
    raise ValueError(WORD)


def told(error: SaslError) -> str:
    """All that an error says."""
    return f"{error} {error.detail} {error!r} {error.args} {error.__cause__} {error.__context__}"


@pytest.mark.parametrize(
    "more",
    [
        {"password": boom},
        {"interact": boom},
        {"password": lambda _: 5},
        {"interact": lambda _: 5},
        {"interact": lambda _: ("a", "b", "c", "d")},
        {"interact": lambda _: (None,)},
    ],
    ids=lambda m: next(iter(m)),
)
@pytest.mark.parametrize("mechanism", ["PLAIN", "SCRAM-SHA-256"])
def test_a_clients_callbacks_fail(mechanism: str, more: dict[str, Any]) -> None:
    """What an application's callback raises or returns wrongly is an error of ours."""
    with CLIENT.session(authid="tim", **more) as session:
        with pytest.raises((BackendError, UsageError)) as caught:
            session.start([mechanism])
        assert WORD not in told(caught.value)


@pytest.mark.parametrize("data", [boom, lambda: b"", lambda: None, lambda: "text", b"", "text"])
def test_channel_binding_that_cannot_be_had(data: Any) -> None:
    """Binding data that fail are an error before a byte is sent, on either side, never `n`."""
    facts: dict[str, Any] = {"channel_bindings": {"tls-exporter": data}}
    with CLIENT.session(authid="tim", password=WORD, **facts) as session:
        with pytest.raises((UsageError, BackendError)) as caught:
            session.start(["SCRAM-SHA-256-PLUS", "SCRAM-SHA-256", "PLAIN"])
        assert "tls-exporter" in told(caught.value)
        assert WORD not in told(caught.value)
    good: dict[str, Any] = {"channel_bindings": {"tls-exporter": b"x" * 32}}
    with (
        CLIENT.session(authid="tim", password=WORD, **good) as ours,
        SERVER.session(**facts) as theirs,
    ):
        with pytest.raises((UsageError, BackendError)) as caught:
            login(ours, theirs, ["SCRAM-SHA-256-PLUS"])
        assert not theirs.done
        assert WORD not in told(caught.value)


class Odd(ServerPlug):
    """A mechanism whose pieces fail as `fault` says."""

    name = "ANONYMOUS"
    security_flags = SecurityFlag.NOPLAINTEXT
    features = Feature.WANT_CLIENT_FIRST
    fault = ""

    def availability(self) -> Any:
        return boom() if self.fault == "availability" else None

    def available(self, user) -> Any:
        if self.fault == "available":
            boom()
        return True if self.fault == "available is no Availability" else Availability.YES

    def converse(self, ctx) -> Any:
        if self.fault == "converse":
            boom()
        return 5 if self.fault == "no generator" else self.body(ctx)

    def body(self, ctx) -> Any:
        if self.fault == "first":
            boom()
        try:
            _ = yield from NeedPeer()
            if self.fault == "bare":
                yield 5
            if self.fault == "exit":
                raise SystemExit(WORD)
            if self.fault == "generator exit":
                raise GeneratorExit
            if self.fault == "stop":
                raise StopIteration(WORD)  # noqa: PLR1708 - the slip of the pen that is tested.
            if self.fault == "recursion":
                self.body_again()
            if self.fault == "later":
                boom()
            if self.fault == "returns":
                return 5
            _ = yield from NeedPeer(b"challenge")
        finally:
            if self.fault == "clings":
                yield NeedPeer(b"again")
            if self.fault == "close":
                raise SystemExit(3)
            if self.fault == "close raises":
                boom()

    def body_again(self):
        self.body_again()


FAULTS = [
    "availability", "available", "available is no Availability", "converse", "no generator",
    "first", "bare", "exit", "stop", "generator exit", "recursion", "later", "returns", "clings",
    "close", "close raises",
]  # fmt: skip


@pytest.mark.parametrize("fault", FAULTS)
def test_a_mechanism_that_breaks(fault: str) -> None:
    """A plugin's fault, at whatever point, is a SaslError, and the others go on."""
    plug = Odd()
    plug.fault = fault
    with server() as ours:
        plant(ours, "mechanisms", plug)
        with ours.session() as session:
            with contextlib.suppress(SaslError):
                _ = session.mechanisms("tim")
                _ = session.rejected
            try:
                _ = session.start("ANONYMOUS", b"trace")
            except SaslError as error:
                assert WORD not in told(error)  # noqa: PT017 - some faults show only at close.
                if fault not in {"availability", "available", "available is no Availability"}:
                    assert isinstance(error, PluginError)  # noqa: PT017
                    assert error.plugin == "ANONYMOUS"  # noqa: PT017
            else:
                assert fault in {"clings", "close", "close raises", "available"} | {FAULTS[2]}
            assert not session.done
        good = CLIENT.session(authid="tim", password=WORD)
        with good, ours.session() as session:
            assert "SCRAM-SHA-256" in session.mechanisms()
            _ = login(good, session, "SCRAM-SHA-256")
            assert session.authid == "tim"


def test_a_client_mechanism_that_breaks() -> None:
    """The same on the client's side, `converse` without a `yield` included."""

    class Plain(ClientPlug):
        name = "PLAIN"
        features = Feature.WANT_CLIENT_FIRST

        def converse(self, ctx) -> Any:
            return boom()

    with client() as ours:
        plant(ours, "mechanisms", Plain())
        with ours.session(authid="tim", password=WORD) as session:
            with pytest.raises(PluginError) as caught:
                session.start("PLAIN")
            assert caught.value.plugin == "PLAIN"
            assert WORD not in told(caught.value)


def test_many_sessions_step_by_step() -> None:
    """Garbage in one session leaves a hundred others, open at the same time, unharmed."""
    pairs = [(CLIENT.session(authid="tim", password=WORD), SERVER.session()) for _ in range(100)]
    answers = []
    for ours, theirs in pairs:
        answers.append(theirs.start("SCRAM-SHA-256", ours.start("SCRAM-SHA-256").data))
        with SERVER.session() as bad, pytest.raises(PeerError):
            bad.start("SCRAM-SHA-256", b"n,,n=tim,r=\xff")
    for (ours, theirs), answer in zip(pairs, answers, strict=True):
        final = theirs.step(ours.step(answer.data or b"").data or b"")
        assert ours.step(final.data or b"").done
        assert theirs.step(b"").done
        assert theirs.authid == "tim"
        ours.close()
        theirs.close()


def test_a_server_and_a_client_that_are_closed() -> None:
    """Every call on a closed Server or Client is a UsageError, and closing again is harmless."""
    ours, theirs = (
        Server("smtp", "h.example", config=OPEN),
        Client("smtp", "h.example", config=OPEN),
    )
    open_one = ours.session()
    for owner in (ours, theirs):
        owner.close()
        owner.close()
        with pytest.raises(UsageError):
            owner.session()
    for call in (
        lambda: open_one.start("PLAIN", b"\0a\0b"),
        lambda: ours.checkpass("tim", "x"),
        lambda: ours.setpass("tim", "x"),
        lambda: ours.user_exists("tim"),
        ours.users,
    ):
        with pytest.raises(UsageError):
            call()
