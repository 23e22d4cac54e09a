"""What a review of the login path found: each test fails until its finding is mended."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

import pytest

from logins import OPEN, USERS, client, login, server, store
from sasl_core import AuthenticationError, PluginError, Result, SaslError, UsageError
from sasl_core.context.client import _question
from sasl_core.needs import Found
from sasl_core.plugin import NeedPeer, NeedUser, Success
from sasl_core.testing.drivers import DRIVERS
from sasl_core.testing.pairs import FRAMINGS, ExchangePair
from sasl_core.testing.setups import ClientSetup, Credentials, ServerSetup
from toys import SpyStore, Toys, client_plug, naming_client, server_plug

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from types import FrameType

    from sasl_core.audit import AuditEvent
    from sasl_core.facts import ConnectionFacts
    from sasl_core.plugin import ClientContext, Needs, ServerContext

SCRAM = "SCRAM-SHA-256"
RIGHT = b"\0tim\0tanstaaftanstaaf"


# --- an unknown user is a wrong password, and costs the same ---------------------------------


def calls(attempt: Callable[[], None]) -> int:
    """How many functions `attempt` calls, those of C included."""
    count = 0

    def note(frame: FrameType, event: str, argument: object) -> None:
        del frame, argument
        nonlocal count
        count += event in ("call", "c_call")

    sys.setprofile(note)
    try:
        attempt()
    finally:
        sys.setprofile(None)
    return count


@pytest.mark.parametrize("wanted", [(), ("mailHost",)])
def test_an_unknown_user_costs_the_calls_of_a_known_one(wanted: tuple[str, ...]) -> None:
    """SCRAM calls as many functions to refuse a name that nobody has as to refuse a proof."""
    users = store()
    users.add_user("carl", password="p" * 8, iterations=4096, properties={"mailHost": [b"mx1"]})
    with server([users]) as owner:

        def attempt(name: str) -> Callable[[], None]:
            def refused() -> None:
                session = owner.session(properties=wanted)
                said = session.start(SCRAM, f"n,,n={name},r=abcdefghijklmnop".encode()).data
                nonce = (said or b"").split(b",")[0]
                try:
                    _ = session.step(b"c=biws,%b,p=%b=" % (nonce, b"A" * 43))
                except AuthenticationError:
                    return
                raise AssertionError

            return refused

        for name in ("carl", "nick") * 2:
            attempt(name)()
        assert calls(attempt("carl")) == calls(attempt("nick"))


# --- closed from within ------------------------------------------------------------------------


class ClosingStore(SpyStore):
    """Closes a session while it is read for it."""

    session: Any = None

    def read(self, user: Any, names: Any) -> Found:
        if self.session is not None:
            self.session.close()
        return super().read(user, names)


@pytest.mark.parametrize("name", ["PLAIN", SCRAM])
def test_a_store_that_closes_the_session_breaks_no_plugin(name: str) -> None:
    """A session that ends while its user is looked up says so, and blames nobody."""
    users = ClosingStore(users={"tim": "tanstaaftanstaaf"})
    first = RIGHT if name == "PLAIN" else b"n,,n=tim,r=abcdefghijklmnop"
    with server([users]) as owner:
        with owner.session(external_ssf=256) as session:
            # From the second look-up on it is read at once.
            session.start(name, first)
        with owner.session(external_ssf=256) as session:
            users.session = session
            with pytest.raises(UsageError) as caught:
                session.start(name, first)
    assert caught.value.code in ("closed", "out-of-order")


@pytest.mark.parametrize("name", ["PLAIN", SCRAM])
def test_a_callback_that_closes_the_session_breaks_no_plugin(name: str) -> None:
    """Whoever closes the session instead of answering a prompt is told that it is closed."""
    with client() as owner:

        def cancel(prompt: object) -> str:
            del prompt
            session.close()
            return ""

        session = owner.session(authid="tim", password=cancel, external_ssf=256)
        with pytest.raises(UsageError) as caught:
            session.start([name])
    assert caught.value.code in ("closed", "out-of-order")


def test_a_session_closed_by_its_binding_is_no_wrong_password() -> None:
    """Nobody has failed to log in when the server's own callable ends the session."""
    seen: list[AuditEvent] = []

    def data() -> bytes:
        theirs.close()
        return b"x" * 32

    with server(audit=[seen.append]) as owner, client() as user:
        theirs = owner.session(channel_bindings={"tls-exporter": data})
        ours = user.session(
            authid="tim",
            password="tanstaaftanstaaf",
            channel_bindings={"tls-exporter": b"x" * 32},
        )
        with pytest.raises(UsageError):
            login(ours, theirs, [f"{SCRAM}-PLUS"])
    assert Result.BADAUTH not in [event.result for event in seen]


# --- what a plugin asks --------------------------------------------------------------------------


@pytest.mark.parametrize("wanted", [(), ("mailHost",)])
def test_properties_may_be_a_list(wanted: tuple[str, ...]) -> None:
    """A mechanism that names its properties in a list is no outage of the store."""

    def body(ctx: ServerContext) -> Needs[Success]:
        name = (yield from NeedPeer()).decode()
        names: Any = ["*authPassword"]
        user = yield from NeedUser(name, None, names)
        return Success(ctx.attest(user, how="toy"))

    with Toys() as toys:
        toys.mechanism(server_plug("X-LIST", body))
        with server(registry=toys.registry()) as owner:
            for _ in range(2):
                with owner.session(properties=wanted) as session:
                    session.start("X-LIST", b"tim")
                    assert session.authid == "tim"


class NumberedStore(SpyStore):
    """Says plain numbers where results are due."""

    def read(self, user: Any, names: Any) -> Found:
        found = super().read(user, names)
        number: Any = int(found.result)
        return Found(number, found.values, found.verifiers)


def test_a_wrong_result_is_the_stores_fault() -> None:
    """The error names the store whose answer is none, and not the mechanism that got it."""
    with (
        server([NumberedStore(users={"tim": "tanstaaftanstaaf"})]) as owner,
        owner.session(external_ssf=256) as session,
        pytest.raises(PluginError) as caught,
    ):
        session.start("PLAIN", RIGHT)
    assert caught.value.plugin == "spy"


@pytest.fixture
def no_questions() -> Iterator[None]:
    _question.cache_clear()
    yield
    _question.cache_clear()


@pytest.mark.usefixtures("no_questions")
def test_a_prompt_is_what_this_mechanism_asked() -> None:
    """A plugin that asks by number does not change what another one's prompts are."""

    def asking(prompt: Any) -> Callable[[ClientContext], Needs[Success]]:
        def body(ctx: ClientContext) -> Needs[Success]:
            _ = yield from ctx.ask(prompt)
            _ = ctx.canon_user("tim")
            return Success(data=b"x")

        return body

    from sasl_core import PromptId

    kinds: list[type] = []

    def interact(prompts: Any) -> tuple[str, ...]:
        kinds.extend(type(prompt.id) for prompt in prompts)
        return ("tim",) * len(prompts)

    with Toys() as toys:
        toys.mechanism(client=client_plug("X-NUMBER", asking(int(PromptId.LANGUAGE))))
        toys.mechanism(client=client_plug("X-NAME", asking(PromptId.LANGUAGE)))
        with client(registry=toys.registry(), config={"scram_iteration_counter": 4096}) as owner:
            for name in ("X-NUMBER", "X-NAME"):
                with owner.session(interact=interact) as session:
                    session.start([name])
    assert kinds[-1] is PromptId


# --- what is kept between sessions ---------------------------------------------------------------


def test_long_offers_fill_no_memory() -> None:
    """A client keeps nothing of an offer with names longer than any mechanism has."""
    with client() as owner:
        for number in range(20):
            with owner.session(authid="tim", password="x", external_ssf=256) as session:
                session.start(f"PLAIN A{number}-{'B' * 100_000}")
        kept = sum(len(repr(key)) for key in owner.core.chosen)
    assert kept < 20_000


def test_reasons_are_the_same_each_time() -> None:
    """A session knows why mechanisms were passed over, also when the choice was remembered."""
    with client() as owner:
        told: list[dict[str, str]] = []
        for _ in range(2):
            with owner.session(authid="tim", password="x", remote="192.0.2.1;25") as session:
                session.start([SCRAM, "PLAIN"])
                told.append(dict(session.rejected))
    assert told[0]
    assert told[0] == told[1]


def test_a_remembered_choice_that_is_gone_has_its_reason() -> None:
    """A mechanism that is not available any more is passed over, and is no broken plugin."""
    why: list[str | None] = [None]
    with Toys() as toys:
        toys.mechanism(
            client=client_plug("X-TICKET", naming_client(), availability=lambda self: why[0])
        )
        config = {**OPEN, "client_mech_list": ["X-TICKET"]}
        with client(registry=toys.registry(), config=config) as owner:

            def start(strength: int, offer: list[str]) -> None:
                with owner.session(authid="tim", external_ssf=strength) as session:
                    session.start(offer)

            start(999, ["X-TICKET"])
            # So many kinds of connection, and so long an offer, that only the choice is kept.
            for number in range(300):
                start(number, ["X-TICKET", *(f"X-{each}" for each in range(40))])
            why[0] = "the ticket has expired"
            with pytest.raises(SaslError) as caught:
                start(999, ["X-TICKET"])
    assert caught.value.result is Result.NOMECH
    assert "expired" in str(caught.value)


def test_a_store_is_read_as_it_is_now() -> None:
    """What replaces a store's `read` after the first login is what later logins read."""
    users = store()
    with server([users]) as owner:
        with owner.session(external_ssf=256) as session:
            session.start("PLAIN", RIGHT)

        def out(user: object, names: object) -> Found:
            raise ConnectionError

        users.read = out  # type: ignore[method-assign]
        with owner.session(external_ssf=256) as session, pytest.raises(SaslError) as caught:
            session.start("PLAIN", RIGHT)
    assert not isinstance(caught.value, AuthenticationError)


# --- the kit plays what a Server plays -----------------------------------------------------------


@pytest.mark.parametrize("driver", ["blocking", "asyncio"])
def test_the_kit_reads_a_store_as_a_server_does(driver: str) -> None:
    """A login of the kit by a Server's own driver takes the same way as one without the kit."""
    config = {**OPEN, "client_mech_list": ["PLAIN"]}
    facts: ConnectionFacts = {"initial_response": True, "success_data": True, "external_ssf": 256}
    setup = ServerSetup(config=config, stores=(store(),))
    with DRIVERS[driver]() as driven:
        owner = driven.server(setup)
        user = driven.client(ClientSetup(config=config))
        theirs: Any = driven.server_session(owner, setup, facts)
        asked = theirs._negotiation.asks_store
        pair = ExchangePair(
            theirs,
            driven.client_session(user, Credentials("tim", USERS["tim"]), facts),
            "PLAIN",
            FRAMINGS[0],
        )
        assert driven.run(pair.play()).worked
        assert theirs._negotiation.asks_store is asked
        pair.close()


# --- passwords that came by another way ----------------------------------------------------------


def test_checkpass_has_no_layer_to_be_weak() -> None:
    """`min_ssf` is about connections; a password that came by another way has none."""
    with server(config={**OPEN, "min_ssf": 56}) as owner:
        assert owner.checkpass("tim", "tanstaaftanstaaf") == "tim"
