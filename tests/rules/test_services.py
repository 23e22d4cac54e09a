"""What the glue does for applications and plugins: listings, prompts, shared things, HTTP, jobs."""

from __future__ import annotations

import asyncio
import threading
import time
from typing import Any

import attrs
import pytest

from drivers import exchange
from sasl_auxprop.memory import MemoryStore
from sasl_core import (
    AuditEvent,
    BackendError,
    Feature,
    HttpRequest,
    HttpResponse,
    PluginError,
    SaslError,
    Server,
    UsageError,
    aio,
)
from sasl_core.plugin import (
    AuditPlug,
    Availability,
    Blocking,
    ClientStepMechanism,
    NeedCall,
    NeedCallback,
    NeedHttp,
    NeedPeer,
    Prompt,
    PromptId,
    ServerStepMechanism,
    Step,
    Success,
)
from toys import (
    CLIENT_FIRST,
    OPEN,
    SERVER_FIRST,
    STRONG,
    SpyStore,
    client_plug,
    naming_client,
    naming_server,
    server_plug,
)

EXPORTER = {"tls-exporter": b"E" * 32}
ORDER = "SCRAM-SHA-256 PLAIN ANONYMOUS"


# --- listing -------------------------------------------------------------------------------------


def test_listing_is_one_string(driver):
    """Prefix, separator and suffix around the names, strongest first."""
    session = driver.server(OPEN).session()
    assert session.listmech() == ORDER
    assert session.listmech(None, "AUTH=", " AUTH=", "\r\n") == (
        "AUTH=SCRAM-SHA-256 AUTH=PLAIN AUTH=ANONYMOUS\r\n"
    )
    assert session.listmech(prefix="(", separator=",", suffix=")") == (
        "(SCRAM-SHA-256,PLAIN,ANONYMOUS)"
    )


@pytest.mark.parametrize("part", ["prefix", "separator", "suffix"])
def test_listing_takes_parts_of_any_length(driver, part):
    """32 kB of prefix, separator or suffix are joined as they are."""
    session = driver.server(OPEN).session()
    long = "x" * 32_768
    times = 2 if part == "separator" else 1
    assert len(session.listmech(**{part: long})) == (
        len(ORDER) + times * len(long) - (2 if part == "separator" else 0)
    )


def test_listing_takes_a_user_of_any_length(driver):
    """What 32 kB of user may use is asked and listed as for anybody."""
    assert driver.server(OPEN).session().listmech("x" * 32_768) == ORDER


def test_listing_of_nothing_is_prefix_and_suffix(driver):
    """A connection on which nothing may be used has an empty list."""
    session = driver.server({"mech_list": []}).session()
    assert session.mechanisms() == ()
    assert session.listmech(None, "<", ",", ">") == "<>"


@pytest.fixture
def asking(driver, toys):
    """A server with a bindable mechanism that says of users what `says` says, and its questions."""
    asked: list[str] = []

    def make(says):
        def available(self, user):
            asked.append(user)
            return says(user)

        features = CLIENT_FIRST | Feature.CHANNEL_BINDING
        toys.mechanism(
            server_plug("TOY", naming_server(look_up=False), features, available=available)
        )
        server = driver.server({"mech_list": ["TOY"]}, registry=toys.registry())
        return server.session(channel_bindings=EXPORTER), asked

    return make


def test_listing_for_a_user_asks_each_mechanism_once(asking):
    """Both variants of one mechanism are one question, with the name as it was typed."""
    session, asked = asking(lambda user: Availability.YES)
    assert session.mechanisms(" Alice ") == ("TOY-PLUS", "TOY")
    assert asked == [" Alice "]


def test_listing_without_a_user_asks_nobody(asking):
    """`available` is about users."""
    session, asked = asking(lambda user: Availability.NEVER)
    assert session.mechanisms() == ("TOY-PLUS", "TOY")
    assert asked == []


def test_listing_for_another_user_asks_again(asking):
    """A "not for this user now" holds for that question alone, and bans nothing."""
    session, asked = asking(lambda user: Availability.LATER if user == "bob" else Availability.YES)
    assert session.mechanisms("bob") == ()
    assert session.mechanisms("alice") == ("TOY-PLUS", "TOY")
    assert asked == ["bob", "alice"]
    assert session.start("TOY", b"bob") is not None


def test_listing_remembers_never(asking):
    """A "never on this connection" is not asked twice, and both variants are gone."""
    session, asked = asking(lambda user: Availability.NEVER)
    for user in ("alice", "bob", None):
        assert session.mechanisms(user) == ()
    assert asked == ["alice"]
    for name in ("TOY", "TOY-PLUS"):
        with pytest.raises(Exception, match="not available on this connection"):
            session.raw()._permitted(name)


@pytest.mark.parametrize("answer", [True, None, "yes", 1], ids=repr)
def test_listing_takes_no_other_yes(asking, answer):
    """Only Availability.YES is one."""
    session, _ = asking(lambda user: answer)
    assert session.mechanisms("alice") == ()


def test_listing_survives_a_mechanism_that_breaks(asking):
    """It is left out, and nothing foreign comes out."""

    def says(user):
        raise KeyError("secret")

    session, _ = asking(says)
    assert session.mechanisms("alice") == ()
    assert session.mechanisms() == ("TOY-PLUS", "TOY")


# --- prompts -------------------------------------------------------------------------------------


def prompting(*prompts):
    """A client's body that sends what it was told."""

    def body(ctx):
        answers = yield from NeedCallback(prompts)
        ctx.canon_user("alice")
        return Success(data="|".join(answers).encode())

    return body


@pytest.fixture
def prompted(driver, toys):
    """What a client sends that was asked `prompts`."""

    def make(*prompts, **session):
        toys.mechanism(client=client_plug("TOY", prompting(*prompts)))
        client = driver.client(registry=toys.registry())
        return client.session(**session).start("TOY").data

    return make


NAME = Prompt(PromptId.AUTHNAME, "User name")
REALM = Prompt(PromptId.GETREALM, "Realm", default="example.com")
OTP = Prompt(PromptId.ECHOPROMPT, "One-time password", challenge="otp-md5 99 ke1234")


def test_prompts_are_answered_from_the_session(prompted):
    """Strings as they are, callables when they are asked, with the prompt."""
    seen: list[Prompt] = []

    def answer(prompt):
        seen.append(prompt)
        return "123456"

    data = prompted(NAME, OTP, authid="alice", answers={PromptId.ECHOPROMPT: answer})
    assert data == b"alice|123456"
    assert seen == [OTP]


def test_prompts_that_are_left_become_one_interaction(prompted):
    """In their order, those with an answer left out."""
    asked: list[tuple[Prompt, ...]] = []

    def interact(prompts):
        asked.append(prompts)
        return tuple(f"<{prompt.text}>" for prompt in prompts)

    data = prompted(REALM, NAME, OTP, authid="alice", interact=interact)
    assert data == b"<Realm>|alice|<One-time password>"
    assert asked == [(REALM, OTP)]


def test_prompts_have_defaults(prompted):
    """Without anybody to ask, and for an empty answer, the default counts."""
    assert prompted(REALM) == b"example.com"
    assert prompted(REALM, interact=lambda prompts: ("",)) == b"example.com"
    assert prompted(REALM, interact=lambda prompts: ("other",)) == b"other"


def test_prompts_that_nobody_answers_are_an_error(prompted):
    """It names what is missing and what to do."""
    with pytest.raises(UsageError, match="AUTHNAME"):
        prompted(NAME)


@pytest.mark.parametrize("answer", [(), ("a", "b"), (7,), (None,), [b"a"]], ids=repr)
def test_prompts_take_as_many_strings_as_were_due(prompted, answer):
    """Neither fewer nor more, and nothing else."""
    with pytest.raises(UsageError):
        prompted(NAME, interact=lambda prompts: answer)


@pytest.mark.parametrize("how", ["interact", "answers"])
def test_prompts_whose_answer_fails_are_an_outage(prompted, how):
    """The application's exception is ours when it comes out, without its text."""

    def fails(*_):
        raise EOFError("secret terminal")

    more: dict[str, Any] = (
        {"interact": fails} if how == "interact" else {"answers": {PromptId.AUTHNAME: fails}}
    )
    with pytest.raises(BackendError) as caught:
        prompted(NAME, **more)
    assert "secret" not in f"{caught.value}{caught.value.detail}"


def test_prompts_say_whether_to_echo():
    """Passwords and secrets are not shown."""
    hidden = {p for p in PromptId if not Prompt(p, "x").echo}
    assert hidden == {PromptId.PASS, PromptId.NOECHOPROMPT, PromptId.TOKEN}


# --- SaslUtils -----------------------------------------------------------------------------------


class Thing:
    def __init__(self) -> None:
        self.closed = 0

    def close(self) -> None:
        self.closed += 1


def test_utils_share_a_thing_within_one_owner(driver, toys):
    """Made by the first who asks, the same for all plugins, closed once with the owner."""
    made: list[Thing] = []
    seen: list[Thing] = []

    def make():
        made.append(Thing())
        return made[-1]

    def sharing(name):
        def init(utils):
            seen.append(utils.shared("thing", make))
            return server_plug(name, naming_server())

        return init

    toys.add("mechanisms", "ONE", mechanisms=sharing("ONE"))
    toys.add("mechanisms", "TWO", mechanisms=sharing("TWO"))
    first, second = (driver.server(registry=toys.registry()) for _ in range(2))
    assert {"ONE", "TWO"} <= set(first.session().mechanisms())
    assert len(made) == 1
    assert seen == [made[0]] * 2
    second.session().mechanisms()
    assert len(made) == 2
    first.close()
    first.close()
    assert [thing.closed for thing in made] == [1, 0]


def test_utils_refuse_a_thing_that_needs_itself(driver, toys):
    """The circle is named."""
    cycle: list[str] = []

    def init(utils):
        def make():
            return utils.shared("a", lambda: utils.shared("b", make))

        try:
            make()
        except UsageError as error:
            cycle.append(f"{error.code}: {error}")
        return server_plug("TOY", naming_server())

    toys.add("mechanisms", "TOY", mechanisms=init)
    assert "TOY" in driver.server(registry=toys.registry()).session().mechanisms()
    assert cycle == ["cycle: a cycle: ('shared', 'a') -> ('shared', 'b') -> ('shared', 'a')"]


def test_utils_reach_a_store_by_name(driver, toys):
    """A plugin works with another without importing it."""
    inner = SpyStore("inner", users={"alice": "alice's"})
    toys.plug("auxprop", inner)
    reached: list[object] = []

    def init(utils):
        store = utils.store("inner")
        reached.append(store)
        outer = SpyStore("outer")
        outer._accounts = store._accounts
        return outer

    toys.add("auxprop", "outer", auxprop=init)
    config = OPEN | {"auxprop_plugin": ["outer"]}
    server = driver.server(config, registry=toys.registry())
    assert server.session().start("PLAIN", b"\0alice\0alice's").done
    assert reached == [inner]


def test_utils_refuse_stores_that_refer_to_each_other(driver, toys):
    """The circle is an error of ours; nobody waits for ever."""
    for name, other in (("one", "two"), ("two", "one")):
        toys.add("auxprop", name, auxprop=lambda utils, other=other: utils.store(other))
    config = OPEN | {"auxprop_plugin": ["one"]}
    server = driver.server(config, registry=toys.registry())
    with pytest.raises((UsageError, PluginError)) as caught:
        server.session().start("PLAIN", b"\0alice\0x")
    assert "cycle" in f"{caught.value} {caught.value.detail}"


@attrs.frozen
class Options:
    greeting: str = "hello"
    times: int = 1


def test_utils_give_a_plugin_its_options(driver, toys):
    """Read by its own schema; an unknown one spoils the plugin, with the nearest name."""
    seen: list[Options] = []

    def init(utils):
        seen.append(utils.options(Options))
        return server_plug("TOY", naming_server())

    toys.add("mechanisms", "TOY", mechanisms=init)
    config = {"mechanisms": {"TOY": {"greeting": "servus"}}}
    driver.server(config, registry=toys.registry()).session().mechanisms()
    assert seen == [Options("servus", 1)]
    config = {"mechanisms": {"TOY": {"greting": "servus"}}}
    session = driver.server(OPEN | config, registry=toys.registry()).session()
    assert "greeting" in session.rejected["TOY"]
    assert session.mechanisms() == tuple(ORDER.split())


# --- every() -------------------------------------------------------------------------------------


def ticking(toys, ticks, seconds=0.01, *, waits=False):
    """A mechanism whose plugin does something every so often, and fails at the first time."""

    def work():
        ticks.append(time.monotonic())
        if len(ticks) == 1:
            raise OSError("once is allowed")
        yield from NeedCall(lambda: None, Blocking.REMOTE)

    def init(utils):
        utils.every(seconds, work, waits=waits)
        return server_plug("TOY", naming_server())

    toys.add("mechanisms", "TOY", mechanisms=init)
    return toys.registry()


def soon(condition, seconds=10.0):
    """Wait until `condition()`, for so long at most."""
    end = time.monotonic() + seconds
    while not condition() and time.monotonic() < end:
        time.sleep(0.01)
    return condition()


def test_every_runs_before_the_next_session_when_it_is_due(toys):
    """The blocking Server without a thread; a failure stops neither it nor the login."""
    ticks: list[float] = []
    with Server("smtp", "h.example", config={}, registry=ticking(toys, ticks)) as server:
        server.session().mechanisms()
        assert ticks == []
        for count in (1, 2, 3):
            time.sleep(0.02)
            assert "TOY" in server.session().mechanisms()
            assert len(ticks) == count


def test_every_runs_in_a_thread_that_was_asked_for(toys):
    """`background=True`: without further sessions, until the Server is closed."""
    ticks: list[float] = []
    registry = ticking(toys, ticks)
    with Server("smtp", "h.example", config={}, registry=registry, background=True) as server:
        server.session().mechanisms()
        server.session()
        assert soon(lambda: len(ticks) >= 2)
    after = len(ticks)
    time.sleep(0.05)
    assert len(ticks) == after


def test_work_that_may_wait_stands_before_nobodys_session(toys):
    """It runs in the thread that was asked for; where there is none, it does not run at all."""
    ticks: list[float] = []
    with Server("smtp", "h", config={}, registry=ticking(toys, ticks, waits=True)) as server:
        for _ in range(3):
            server.session().mechanisms()
            time.sleep(0.02)
        assert ticks == []
    registry = ticking(toys, ticks, waits=True)
    with Server("smtp", "h", config={}, registry=registry, background=True) as server:
        server.session().mechanisms()
        server.session()
        assert soon(lambda: len(ticks) >= 2)


def test_every_runs_as_a_task(toys):
    """In asyncio beside everything else, until the Server is closed."""
    ticks: list[float] = []

    async def main():
        async with aio.Server(
            "smtp", "h.example", config={}, registry=ticking(toys, ticks)
        ) as server:
            server.session().mechanisms()
            server.session()
            for _ in range(500):
                await asyncio.sleep(0.01)
                if len(ticks) >= 3:
                    break
        return len(ticks)

    after = asyncio.run(main())
    assert after >= 3
    assert len(ticks) == after


@pytest.mark.parametrize("seconds", [0, -1, float("nan")])
def test_every_takes_a_positive_time(driver, toys, seconds):
    """Anything else is the plugin's fault, and only its own."""
    registry = ticking(toys, [], seconds)
    session = driver.server(OPEN, registry=registry).session()
    assert "TOY" not in session.mechanisms()
    assert "PLAIN" in session.mechanisms()


# --- audit plugins -------------------------------------------------------------------------------


def test_audit_plugin_is_loaded_when_the_server_is_made(driver, toys):
    """Not at the first event, which it would be late for."""
    events: list[AuditEvent] = []

    class Listener(AuditPlug):
        name = "listener"

        def record(self, event):
            events.append(event)

    made: list[bool] = []

    def init(utils):
        made.append(True)
        return Listener()

    toys.add("audit", "listener", audit=init)
    server = driver.server(OPEN, registry=toys.registry(), stores=[MemoryStore({"a": "b"})])
    assert made == [True]
    server.session(remote="192.0.2.1;1").start("PLAIN", b"\0a\0b")
    (event,) = events
    assert (event.kind, event.authid, event.remote) == ("login", "a", "192.0.2.1;1")
    assert abs(event.time - time.time()) < 60


# --- state and step ------------------------------------------------------------------------------


class Counter:
    def __init__(self) -> None:
        self.heard: list[bytes | None] = []
        self.disposed = 0


class CountingServer(ServerStepMechanism[Counter]):
    """Says `more` until it hears `alice`."""

    name = "TOY"
    security_flags = STRONG
    attests = True

    def __init__(self, features) -> None:
        self.features = features
        self.states: list[Counter] = []

    def new_state(self, ctx):
        self.states.append(Counter())
        return self.states[-1]

    def step(self, ctx, state, data):
        yield from ()
        state.heard.append(data)
        if data == b"alice":
            return Success(ctx.attest(ctx.canon_user("alice"), how="steps"))
        return Step(b"more")

    def dispose(self, state):
        state.disposed += 1


class CountingClient(ClientStepMechanism[Counter]):
    """Says `hm` twice, and then its name."""

    name = "TOY"
    security_flags = STRONG

    def __init__(self, features) -> None:
        self.features = features
        self.states: list[Counter] = []

    def new_state(self, ctx):
        self.states.append(Counter())
        return self.states[-1]

    def step(self, ctx, state, data):
        state.heard.append(data)
        if data is None and self.features & SERVER_FIRST:
            return Step()
        if len(state.heard) < 3:
            return Step(b"hm")
        (name,) = yield from ctx.ask(PromptId.AUTHNAME)
        ctx.canon_user(name)
        return Success(data=name.encode())

    def dispose(self, state):
        state.disposed += 1


@pytest.mark.parametrize(
    ("features", "heard"),
    [
        (CLIENT_FIRST, [b"hm", b"hm", b"alice"]),
        (SERVER_FIRST, [None, b"hm", b"alice"]),
        (Feature.NONE, [b"hm", b"hm", b"alice"]),
    ],
    ids=["client first", "server first", "neither"],
)
def test_steps_are_called_with_each_message(driver, toys, features, heard):
    """mech_new once, mech_step for every message, mech_dispose once, on both sides."""
    there, here = CountingServer(features), CountingClient(features)
    toys.mechanism(there, here)
    server = driver.server(registry=toys.registry())
    client = driver.client(registry=toys.registry())
    session = server.session()
    exchange(session, client.session(authid="alice"), "TOY")
    assert session.authid == "alice"
    assert there.states[0].heard == heard
    assert here.states[0].heard[0] is None
    assert [state.disposed for state in (*there.states, *here.states)] == [1, 1]


def test_steps_are_disposed_of_however_it_ends(driver, toys):
    """Closed in the middle, or failed: the state goes once."""
    there = CountingServer(Feature.NONE)
    toys.mechanism(there)
    server = driver.server(registry=toys.registry())
    session = server.session()
    session.start("TOY", None)
    assert there.states[0].heard == [None]
    session.close()
    session = server.session()
    session.start("TOY", b"x")
    with pytest.raises(Exception, match="too long"):
        session.step(b"x" * 70_000)
    assert [state.disposed for state in there.states] == [1, 1]


# --- HTTP ----------------------------------------------------------------------------------------


REQUEST = HttpRequest("GET", "https://idp.example.com/keys", deadline=1.0)


def fetching(ctx):
    """Both sides: a message is what HTTP answered."""
    answer = yield from NeedHttp(REQUEST)
    ctx.canon_user("alice")
    if hasattr(ctx, "attest"):
        message = yield from NeedPeer()
        assert message == answer.body
        return Success(ctx.attest(ctx.user, how="http"))
    return Success(data=answer.body)


@pytest.fixture
def fetched(driver, toys):
    """Both sessions of a mechanism that asks HTTP, with that transport."""
    toys.mechanism(server_plug("TOY", fetching), client_plug("TOY", fetching))
    registry = toys.registry()

    def make(http):
        server = driver.server(registry=registry, http=http)
        client = driver.client(registry=registry, http=http)
        return server.session(), client.session(authid="alice")

    return make


def test_http_goes_through_the_transport(fetched):
    """The request as it is, the answer to the mechanism, on both sides."""
    seen: list[HttpRequest] = []

    def http(request):
        seen.append(request)
        return HttpResponse(200, (), b"keys")

    server, client = fetched(http)
    exchange(server, client, "TOY")
    assert seen == [REQUEST] * 2
    assert server.authid == "alice"


@pytest.mark.parametrize("driver", ["asyncio"], indirect=True)
def test_http_may_be_a_coroutine_in_asyncio(fetched):
    """An async transport is awaited; a plain one runs in a thread."""

    async def http(request):
        await asyncio.sleep(0)
        return HttpResponse(200, (), b"keys")

    server, client = fetched(http)
    exchange(server, client, "TOY")
    assert server.done


@pytest.mark.parametrize("awaited", [False, True])
def test_the_deadline_of_http_counts_the_wait_for_a_thread(toys, awaited):
    """A hundred requests that hang end with their deadline, and hold up no store meanwhile."""
    toys.mechanism(server_plug("TOY", fetching))
    release = threading.Event()

    def hang(request):
        release.wait(20)
        return HttpResponse(200, (), b"")

    async def hang_async(request):
        await asyncio.sleep(20)

    async def main():
        http: Any = hang_async if awaited else hang
        config = OPEN | {"log_level": "none"}
        async with aio.Server(
            "smtp", "h.example", config=config, registry=toys.registry(), http=http
        ) as server:
            begin = time.monotonic()

            async def one():
                with pytest.raises(BackendError) as caught:
                    await server.session().start("TOY", b"x")
                return caught.value.code, time.monotonic() - begin

            logins = asyncio.gather(*(one() for _ in range(100)))
            await asyncio.sleep(0.2)
            # What waits otherwise has threads of its own.
            await server.run(waiting())
            free = time.monotonic() - begin
            ends = await logins
            release.set()
            return free, ends

    def waiting():
        yield from NeedCall(lambda: None, Blocking.REMOTE)

    free, ends = asyncio.run(main())
    assert {code for code, _ in ends} == {"http-timeout"}
    assert free < 5.0
    assert max(after for _, after in ends) < 10.0


def test_http_without_a_transport_is_a_backend_error(fetched):
    """Not the user's fault, and not temporary: the detail says what to give."""
    for session, argument in zip(fetched(None), ("TOY", "TOY"), strict=True):
        with pytest.raises(BackendError) as caught:
            session.start(argument)
        assert caught.value.code == "no-http"
        assert not caught.value.temporary


@pytest.mark.parametrize("answer", [None, 200, {"status": 200}, b"keys"], ids=repr)
def test_http_takes_a_response_for_an_answer(fetched, answer):
    """A transport that returns anything else is the application's mistake."""
    for session in fetched(lambda request: answer):
        with pytest.raises(UsageError):
            session.start("TOY")
        assert not session.done


def test_http_that_fails_is_an_outage(fetched):
    """Its exception is named by type alone."""

    def http(request):
        raise TimeoutError("secret host")

    for session in fetched(http):
        with pytest.raises(BackendError) as caught:
            session.start("TOY")
        assert caught.value.temporary
        assert "TimeoutError" in (caught.value.detail or "")
        assert "secret" not in (caught.value.detail or "")


# --- how much a peer may say ---------------------------------------------------------------------


def test_a_message_of_more_than_64_kib_is_refused(driver, toys):
    """On both sides, at every step."""
    toys.mechanism(
        server_plug("TOY", naming_server(look_up=False)),
        client_plug("TOY", naming_client(last=b"x")),
    )
    server = driver.server(registry=toys.registry())
    assert server.session().start("TOY", b"a" * 200).done
    with pytest.raises(Exception, match="too long"):
        server.session().start("TOY", b"a" * (64 * 1024 + 1))
    session = driver.client(registry=toys.registry()).session(authid="alice")
    session.start("TOY")
    with pytest.raises(Exception, match="too long"):
        session.step(b"a" * (64 * 1024 + 1))


def test_more_than_sixteen_messages_are_refused(driver, toys):
    """A peer cannot keep an exchange going for ever."""

    def endless(ctx):
        while True:
            yield from NeedPeer(b"more")

    toys.mechanism(server_plug("TOY", endless, SERVER_FIRST))
    session = driver.server(registry=toys.registry()).session()
    session.start("TOY", None)
    for _ in range(16):
        assert not session.step(b"x").done
    with pytest.raises(Exception, match="too many"):
        session.step(b"x")


def test_a_plug_that_can_be_used_again_is_offered_again(driver, toys):
    """`reconsider` has availability() asked anew, on either side."""
    reasons: list[str | None] = ["it is not there yet"]
    toys.mechanism(
        server_plug("TOY", naming_server(), availability=lambda self: reasons[0]),
    )
    server = driver.server(OPEN, registry=toys.registry())
    assert "TOY" not in server.session().mechanisms()
    with pytest.raises(SaslError, match="not there yet"):
        server.session().start("TOY", b"tim")
    reasons[0] = None
    assert "TOY" not in server.session().mechanisms()
    server.inner.utils.reconsider()
    assert "TOY" in server.session().mechanisms()
    server.session().start("TOY", b"tim")
