"""What the kit is made of: finding secrets, corrupting messages, wiring sessions, three drivers."""

from __future__ import annotations

import logging
import subprocess
import sys
from base64 import b64encode

import pytest

from sasl_auxprop.memory import MemoryStore
from sasl_core import ConnectionFacts, Decision, SaslError, Side, UsageError
from sasl_core.testing import (
    DRIVERS,
    FRAMINGS,
    AsyncioDriver,
    ClientSetup,
    Credentials,
    ExchangePair,
    Kind,
    Message,
    RawDriver,
    Scene,
    ServerSetup,
    Slot,
    assert_no_secret,
    captured_logs,
    corrupt,
    find_secret,
)

SECRET = "wonderland-first"
TIM = Credentials("tim", SECRET)
CONFIG = {"allow_cleartext": True, "log_level": 0}


# --- secrets --------------------------------------------------------------------------------


class AttributedError(SaslError):
    """An error with an attribute."""

    kept: object = None


def raised(error, name, secret=None):
    """`error`, raised in a module called `name`, where a local variable is `secret`."""
    namespace = {"__name__": name}
    exec("def f(error, secret):\n    local = [secret]\n    raise error", namespace)  # noqa: S102
    with pytest.raises(type(error)) as info:
        namespace["f"](error, secret)
    return info.value


def in_attribute():
    error = AttributedError("refused")
    error.kept = {"key": [SECRET.encode()]}
    return error


def in_note():
    error = SaslError("refused")
    error.add_note(f"it was {SECRET}")
    return error


def in_cause():
    error = SaslError("refused")
    error.__cause__ = ValueError(SECRET)
    return error


def in_context():
    error = SaslError("refused")
    error.__context__ = SaslError("refused", detail=f"not {SECRET}")
    return error


def in_closure():
    error = AttributedError("refused")
    secret = SECRET
    error.kept = lambda: secret
    return error


def in_generator():
    error = AttributedError("refused")

    def body(secret):
        yield len(secret)

    error.kept = body(SECRET)
    next(error.kept)  # type: ignore[call-overload]
    return error


@pytest.mark.parametrize(
    "make",
    [
        lambda: SaslError(f"not {SECRET}"),
        lambda: SaslError("refused", detail=f"not {SECRET}"),
        lambda: SaslError("refused", wire=SECRET.encode()),
        lambda: SaslError("refused", wire=b64encode(SECRET.encode())),
        lambda: UnicodeDecodeError("utf-8", SECRET.encode(), 0, 1, "no"),
        in_attribute,
        in_note,
        in_cause,
        in_context,
        in_closure,
        in_generator,
        lambda: raised(SaslError("refused"), "sasl_core.somewhere", SECRET),
        lambda: raised(SaslError("refused"), "a_plugin", SECRET),
    ],
)
def test_a_secret_is_found_wherever_an_error_has_it(make):
    """Text, attributes, notes, causes, closures, generators and library frames are searched."""
    with pytest.raises(AssertionError, match=r"secret") as info:
        assert_no_secret(make(), [SECRET], ["a_plugin"])
    assert SECRET not in str(info.value)


def test_a_callers_own_frames_are_its_own_business():
    """An error without a secret passes, though the caller's locals hold one."""
    assert_no_secret(raised(SaslError("refused"), "an_application", SECRET), [SECRET], ["a_plugin"])


def test_what_may_keep_a_secret_is_left_out():
    """Neither an object nor an error is looked for by way of what is excepted, and by no other."""
    keeper = [SECRET]
    error = AttributedError("refused")
    error.kept = {"kept": keeper}
    assert find_secret(error, [SECRET], [keeper]) is None
    assert_no_secret(error, [SECRET], but=[keeper])
    for other in ([], [error.kept.copy()]):
        assert find_secret(error, [SECRET], other) is not None
        with pytest.raises(AssertionError, match="holds a secret"):
            assert_no_secret(error, [SECRET], but=other)


def test_a_secret_too_short_to_look_for_is_refused():
    """A secret that would be found by chance is not looked for."""
    with pytest.raises(AssertionError, match="under 6 bytes"):
        find_secret("text", ["abc"])


def test_logs_are_captured_whatever_the_levels_are():
    """Every record of any logger is captured, and the levels are as before afterwards."""
    logger = logging.getLogger("sasl_core.conformance")
    before = logging.getLogger().level
    with captured_logs() as records:
        logger.debug("a %s", "b")
    logger.debug("not any more")
    assert [record.getMessage() for record in records] == ["a b"]
    assert logging.getLogger().level == before


# --- corruptions ----------------------------------------------------------------------------


def scene(previous=None, other=None):
    return Scene(1, previous, other, (b"e=no",), ("OTHER",))


CHALLENGE = Message(Side.SERVER, 1, Slot.CHALLENGE, b"r=abcd,s=QUJDRA==,i=4096")
RESPONSE = Message(Side.CLIENT, 1, Slot.RESPONSE, b"\0\0\0\x05hello")
SUCCESS = Message(Side.SERVER, 2, Slot.SUCCESS, b"v=abcd")


@pytest.mark.parametrize("kind", Kind)
def test_each_kind_changes_something_and_always_the_same(kind):
    """Each kind has an effect on some message, and the same one each time."""
    made = []
    for message in (CHALLENGE, RESPONSE, SUCCESS):
        around = scene(message.carrying(b"before"), message.carrying(b"elsewhere"))
        deliveries = corrupt(kind, message, around)
        assert deliveries == corrupt(kind, message, around)
        assert all(delivered != [message] for delivered in deliveries)
        made += deliveries
    assert made


def test_what_has_no_data_is_not_corrupted():
    """A message without data offers nothing to change to the kinds that change bytes."""
    nothing = Message(Side.CLIENT, 0, Slot.INITIAL, None, "X")
    for kind in Kind:
        assert corrupt(kind, nothing, scene()) == []


# --- pairs ----------------------------------------------------------------------------------


class World:
    """A user, and logins by any driver."""

    def __init__(self):
        self.store = MemoryStore({"tim": SECRET})
        self.decided: list[str] = []

    def authorize(self, authid, authzid, properties):
        self.decided.append(authid)
        return Decision.PERMIT

    def play(self, name, tamper=None, framing=FRAMINGS[0], wrap=lambda session: session):
        facts: ConnectionFacts = {
            "initial_response": framing.initial_response,
            "success_data": framing.success_data,
        }
        setup = ServerSetup(config=CONFIG, stores=(self.store,), authorize=self.authorize)
        with DRIVERS[name]() as driver:
            server = driver.server(setup)
            client = driver.client(ClientSetup(config=CONFIG))
            pair = ExchangePair(
                wrap(driver.server_session(server, setup, facts)),
                driver.client_session(client, TIM, facts),
                "PLAIN",
                framing,
                tamper,
            )
            outcome = driver.run(pair.play())
            pair.close()
        return outcome


@pytest.fixture
def world():
    """Where logins take place."""
    return World()


@pytest.mark.parametrize("driver", DRIVERS)
@pytest.mark.parametrize("framing", FRAMINGS, ids=str)
def test_a_pair_records_an_exchange(world, driver, framing):
    """Every message is in the transcript, and both ends say who it was."""
    outcome = world.play(driver, framing=framing)
    assert outcome.worked
    assert (outcome.server.authid, outcome.client.authid) == ("tim", "tim")
    kinds = [(m.sender, m.slot) for m in outcome.transcript]
    asked = (
        []
        if framing.initial_response
        else [
            (Side.SERVER, Slot.CHALLENGE),
            (Side.CLIENT, Slot.RESPONSE),
        ]
    )
    assert kinds == [(Side.CLIENT, Slot.INITIAL), *asked, (Side.SERVER, Slot.SUCCESS)]
    assert world.decided == ["tim"]


def test_a_dropped_message_ends_neither_side(world):
    """When a message is dropped nobody succeeds, and nobody fails."""
    outcome = world.play("blocking", lambda m: [] if m.sender is Side.SERVER else None)
    assert outcome.server.ok
    assert not outcome.client.ok
    assert outcome.client.error is None


def test_a_message_delivered_twice_is_taken_once(world):
    """A server that is done does not take its last message again."""
    outcome = world.play("blocking", lambda m: [m, m.carrying(m.data, Slot.RESPONSE)])
    assert outcome.worked


def test_a_server_that_is_done_and_answers_is_caught(world):
    """A session that answers after its end does not get through a pair."""

    class Endless:
        def __init__(self, session):
            self.session = session
            self.peek, self.start, self.close = session.peek, session.start, session.close

        def step(self, response):
            return "still here"

    with pytest.raises(AssertionError, match="is done, and answers 'still here'"):
        world.play("blocking", lambda m: [m, m.carrying(m.data, Slot.RESPONSE)], wrap=Endless)


def test_a_replaced_message_is_recorded_as_it_was_sent(world):
    """The transcript holds what was sent, not what was delivered."""
    outcome = world.play("raw", lambda m: [m.carrying(b"x")] if m.sender is Side.CLIENT else None)
    assert outcome.transcript[0].data == b"\0tim\0" + SECRET.encode()
    assert outcome.server.error is not None
    assert outcome.server.live
    assert outcome.server.detail


# --- drivers --------------------------------------------------------------------------------


@pytest.mark.parametrize("name", DRIVERS)
def test_a_driver_closes_what_it_made(name):
    """After the driver is closed its Server and Client give no sessions."""
    with DRIVERS[name]() as driver:
        server = driver.server(ServerSetup(config=CONFIG, stores=(MemoryStore(),)))
        client = driver.client(ClientSetup(config=CONFIG))
    for made in (server, client):
        with pytest.raises(UsageError):
            made.session()


def test_a_raw_session_notes_what_was_needed():
    """The raw driver's sessions keep each need that they supplied."""
    setup = ServerSetup(config=CONFIG, stores=(MemoryStore({"tim": SECRET}),))
    with RawDriver() as driver:
        session = driver.server_session(driver.server(setup), setup, {})
        session.start("PLAIN", b"\0tim\0" + SECRET.encode())
        needs = [type(need).__name__ for need in session.supplied.needs]
        session.close()
    assert needs == ["NeedUser", "NeedDerivation", "NeedAuthorize"]


def test_cancelling_ends_where_there_is_nothing_left_to_wait_for():
    """The task is cancelled where it waits for the n-th time, or not at all."""

    async def wait():
        import asyncio

        for _ in range(3):
            await asyncio.sleep(0)
        return "done"

    def steps():
        return (yield wait)

    with AsyncioDriver() as driver:
        assert [driver.run_cancelled(steps(), at) for at in (1, 2, 3, 4)] == [True] * 3 + [False]
        assert driver.run(steps()) == "done"


# --- the package ----------------------------------------------------------------------------


def test_the_kit_needs_no_pytest_and_no_asserts():
    """It imports without pytest, and its checks fail under `python -O` too."""
    code = (
        "import sys, sasl_core.testing as t\n"
        "assert 'pytest' not in sys.modules\n"
        "class Empty(t.CanonicalizerConformance):\n"
        "    name = 'INTERNAL'\n"
        "    canonical = {'alice': 'bob'}\n"
        "try:\n    Empty().test_declared_names()\n"
        "except AssertionError: print('failed as it should', 'pytest' in sys.modules)\n"
    )
    done = subprocess.run(
        [sys.executable, "-P", "-O", "-c", code], capture_output=True, text=True, check=True
    )
    assert done.stdout == "failed as it should False\n"
