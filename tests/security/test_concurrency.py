"""One Server for many threads and tasks: nothing lost, nothing crossed, no loop held up."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import random
import threading
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from logins import OPEN, client, login, server
from sasl_auxprop.memory import MemoryStore
from sasl_auxprop.sasldb import store as sasldb
from sasl_auxprop.sasldb.store import SqliteStore
from sasl_core import (
    AuthenticationError,
    Blocking,
    Decision,
    Result,
    SaslError,
    Server,
    SetpassFlag,
    UsageError,
    aio,
)
from sasl_core import verifier as verifier_module
from sasl_core.aio import Client as AsyncClient
from sasl_core.aio import Server as AsyncServer
from sasl_core.exchange import State
from sasl_core.needs import Found
from sasl_core.plugin import SimpleStore
from sasl_core.runners import aio as aio_runner

PEOPLE = {f"user{number}": f"password-of-{number}" for number in range(24)}
MECHANISMS = ("SCRAM-SHA-256", "PLAIN", "ANONYMOUS")


@pytest.fixture(scope="module")
def people() -> MemoryStore:
    """A store with everybody, derived once."""
    return MemoryStore(PEOPLE)


def jobs(count: int, seed: int) -> list[tuple[str, str, str, bool]]:
    """Logins to be made: user, password, mechanism, and whether it is to go well."""
    chance = random.Random(seed)
    made = []
    for _ in range(count):
        user = chance.choice(list(PEOPLE))
        right = chance.random() < 0.7
        # A wrong password is somebody else's, the right one of another account.
        word = PEOPLE[user] if right else next(w for u, w in PEOPLE.items() if u != user)
        mechanism = chance.choice(MECHANISMS)
        made.append((user, word, mechanism, right or mechanism == "ANONYMOUS"))
    return made


def expected(user: str, mechanism: str) -> str:
    return "anonymous" if mechanism == "ANONYMOUS" else user


# --- threads -----------------------------------------------------------------


def test_eight_threads_share_a_server(people: MemoryStore) -> None:
    """More than a thousand logins, right and wrong, each end with their own user or a refusal."""
    events: list[Any] = []
    turn = threading.Barrier(8)

    def work(number: int) -> list[str]:
        wrong = []
        _ = turn.wait()
        for user, word, mechanism, good in jobs(150, number):
            with (
                theirs.session(authid=user, password=word) as far,
                ours.session(remote=f"127.0.0.1;{number}") as near,
            ):
                try:
                    _ = login(far, near, [mechanism])
                except AuthenticationError:
                    let_in = False
                else:
                    let_in = near.authid == near.authzid == expected(user, mechanism)
                if let_in is not good or near.done is not good:
                    wrong.append(f"{user} {mechanism}: {let_in}, not {good}")
        return wrong

    with (
        server([people], audit=[events.append]) as ours,
        client() as theirs,
        ThreadPoolExecutor(8) as pool,
    ):
        assert list(itertools.chain(*pool.map(work, range(8)))) == []
    assert len(events) == 8 * 150
    good = sum(job[3] for number in range(8) for job in jobs(150, number))
    assert sum(event.result is Result.OK for event in events) == good
    for event in events:
        assert event.remote.startswith("127.0.0.1;")


@pytest.mark.parametrize("attempt", range(3))
def test_sixteen_threads_make_the_first_login_at_once(attempt: int, tmp_path: Path) -> None:
    """Whoever comes first loads plugins and opens files; the others wait, and none fails."""
    path = tmp_path / "sasldb.sqlite"
    with server([SqliteStore(path)]) as setup:
        assert setup.setpass("tim", "pencil-of-tim", SetpassFlag.CREATE).ok
    turn = threading.Barrier(16)

    def first(number: int) -> str:
        _ = turn.wait()
        with theirs.session(authid="tim", password="pencil-of-tim") as far, ours.session() as near:
            _ = login(far, near, [MECHANISMS[(number + attempt) % 2]])
            return near.authid

    config = {**OPEN, "auxprop": {"sasldb": {"path": str(path)}}}
    with (
        Server("smtp", "mail.example.com", config=config) as ours,
        client() as theirs,
        ThreadPoolExecutor(16) as pool,
    ):
        assert list(pool.map(first, range(16))) == ["tim"] * 16


def test_sessions_interleaved_step_by_step(people: MemoryStore) -> None:
    """Hundreds of exchanges open at once, advanced in a random order, do not touch each other."""
    chance = random.Random(7)
    with server([people]) as ours, client() as theirs:
        running: list[dict[str, Any]] = []
        for user, word, mechanism, good in jobs(300, 99):
            far = theirs.session(authid=user, password=word, initial_response=False)
            near = ours.session()
            running.append(
                {"far": far, "near": near, "user": user, "good": good, "mechanism": mechanism}
            )
        unfinished = list(running)
        while unfinished:
            each = chance.choice(unfinished)
            try:
                over = advance(each)
            except AuthenticationError:
                over = True
                assert not each["good"]
            if over:
                unfinished.remove(each)
        for each in running:
            assert each["near"].done is each["good"]
            if each["good"]:
                assert each["near"].authid == expected(each["user"], each["mechanism"])


def advance(each: dict[str, Any]) -> bool:
    """One message of one exchange; True when it is through."""
    far, near = each["far"], each["near"]
    if "said" not in each:
        each["said"] = far.start([each["mechanism"]]).data
        each["heard"] = near.start(far.mechanism, each["said"])
    elif each["heard"].done:
        far.finish(each["heard"].data)
        return True
    elif each.pop("answered", None) is None:
        each["answered"] = far.step(each["heard"].data)
    else:
        raise AssertionError
    if "answered" in each:
        each["heard"] = near.step(each.pop("answered").data)
    return False


# --- tasks --------------------------------------------------------------------


async def login_async(far: Any, near: Any, mechanism: str) -> None:
    """As `login`, for asyncio."""
    reply = await far.start([mechanism])
    answer = await near.start(far.mechanism, reply.data)
    while not answer.done:
        reply = await far.step(answer.data)
        answer = await near.step(reply.data)
    await far.finish(answer.data)


def async_server(stores: Iterable[Any], **more: Any) -> AsyncServer:
    return aio.Server("smtp", "mail.example.com", config=OPEN, stores=list(stores), **more)


def async_client() -> AsyncClient:
    return aio.Client("smtp", "mail.example.com", config=OPEN)


def test_a_thousand_tasks_share_a_server(people: MemoryStore) -> None:
    """A thousand logins at once in one loop each end with their own user or a refusal."""
    events: list[Any] = []

    async def one(ours: Any, theirs: Any, job: tuple[str, str, str, bool]) -> str | None:
        user, word, mechanism, good = job
        async with (
            theirs.session(authid=user, password=word) as far,
            ours.session() as near,
        ):
            try:
                await login_async(far, near, mechanism)
            except AuthenticationError:
                let_in = False
            else:
                let_in = near.authid == expected(user, mechanism)
            fine = let_in is good and near.done is good
            return None if fine else f"{user} {mechanism}: {let_in}, not {good}"

    async def run() -> list[str | None]:
        async with async_server([people], audit=[events.append]) as ours, async_client() as theirs:
            return await asyncio.gather(*(one(ours, theirs, job) for job in jobs(1000, 3)))

    assert [each for each in asyncio.run(run()) if each is not None] == []
    assert len(events) == 1000


class Watched(SimpleStore):
    """A store that notes the thread of each of its calls."""

    name = "watched"
    read_blocking = Blocking.LOCAL
    write_blocking = Blocking.WRITE

    def __init__(self, inner: MemoryStore) -> None:
        self.inner = inner
        self.reads: set[str] = set()
        self.writes: set[str] = set()

    def read(self, user: Any, names: Any) -> Found:
        self.reads.add(threading.current_thread().name)
        return self.inner.read(user, names)

    def write(self, user: Any, change: Any) -> Result:
        self.writes.add(threading.current_thread().name)
        return self.inner.write(user, change)

    def list_users(self) -> Any:
        return self.inner.list_users()

    def read_decoy_secret(self) -> bytes | None:
        return self.inner.read_decoy_secret()


def test_what_runs_where(monkeypatch: pytest.MonkeyPatch) -> None:
    """Derivations and writes never run in the loop's thread, local reads run in place."""
    derived: set[str] = set()

    def derive(*arguments: Any) -> bytes:
        derived.add(threading.current_thread().name)
        return verifier_module.derive(*arguments)

    monkeypatch.setattr(aio_runner, "derive", derive)
    watched = Watched(MemoryStore(PEOPLE))

    async def checkpass(*_: object) -> Result:
        return Result.OK

    async def run() -> None:
        async with async_server([watched]) as ours, async_client() as theirs:
            for mechanism in ("PLAIN", "SCRAM-SHA-256"):
                far = theirs.session(authid="user1", password=PEOPLE["user1"])
                await login_async(far, ours.session(), mechanism)
            report = await ours.setpass("new", "a-new-password", SetpassFlag.CREATE)
            assert report.ok
            assert await ours.checkpass("new", "a-new-password") == "new"
        config = {**OPEN, "auto_transition": True}
        other = aio.Server(
            "smtp", "h.example", config=config, stores=[watched], checkpass=checkpass
        )
        async with other:
            assert (await other.session().start("PLAIN", b"\0moved\0the-password")).done
        assert watched.inner.read(watched_name("moved"), ["authPassword"]).verifiers

    loop_thread = threading.current_thread().name
    asyncio.run(run())
    assert derived
    assert loop_thread not in derived
    assert watched.writes
    assert loop_thread not in watched.writes
    assert watched.reads == {loop_thread}


def watched_name(name: str) -> Any:
    from sasl_core import UserName

    return UserName(name)


def test_sasldb_writes_leave_the_loop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The embedded store says of itself where it is to run."""
    threads: dict[str, set[str]] = {"read": set(), "write": set()}

    def spy(owner: Any, name: str, seen: set[str]) -> None:
        real: Callable[..., Any] = getattr(owner, name)

        def noted(*arguments: Any) -> Any:
            seen.add(threading.current_thread().name)
            return real(*arguments)

        monkeypatch.setattr(owner, name, noted)

    # Every row that is read goes through the one, every change through the other.
    spy(sasldb, "collect", threads["read"])
    spy(sasldb, "apply", threads["write"])

    async def run() -> None:
        async with async_server([SqliteStore(tmp_path / "sasldb.sqlite")]) as ours:
            assert (await ours.setpass("tim", "pencil-of-tim", SetpassFlag.CREATE)).ok
            assert await ours.checkpass("tim", "pencil-of-tim") == "tim"

    asyncio.run(run())
    loop_thread = threading.current_thread().name
    assert threads["read"] == {loop_thread}
    assert threads["write"]
    assert loop_thread not in threads["write"]


def test_the_loop_stays_alive_while_passwords_are_derived() -> None:
    """A heartbeat goes on beating among logins that derive more rounds than any loop could bear.

    On the loop itself each of the eight would be one beat, however long.
    """
    users = MemoryStore()
    users.add_user("slow", password="password-of-slow", iterations=200_000)

    async def run() -> int:
        beats = 0
        async with async_server([users]) as ours:
            message = b"\0slow\0password-of-slow"
            tasks = [asyncio.create_task(ours.session().start("PLAIN", message)) for _ in range(8)]
            while not all(task.done() for task in tasks):
                await asyncio.sleep(0.001)
                beats += 1
            for task in tasks:
                assert (await task).done
        return beats

    assert asyncio.run(run()) > 20


# --- cancellation ------------------------------------------------------------------


class Gate:
    """A place where a login waits until it is let through, or is cancelled."""

    def __init__(self) -> None:
        self.reached = asyncio.Event()
        self.open = asyncio.Event()

    async def wait(self) -> None:
        self.reached.set()
        await self.open.wait()


def test_cancelled_at_each_await(monkeypatch: pytest.MonkeyPatch) -> None:
    """Wherever a login is cancelled, its session is over, and the server serves the next."""
    gates: dict[str, Gate] = {}
    where = ""

    async def checkpass(*_: object) -> Result:
        if where == "checkpass":
            await gates["checkpass"].wait()
        return Result.NOVERIFY

    async def authorize(authid: str, authzid: str, _: object) -> Decision:
        if where == "authorize":
            await gates["authorize"].wait()
        return Decision.PERMIT

    in_thread: Any = aio_runner.AsyncRunner._in_thread

    async def slow(self: Any, blocking: Any, function: Any) -> Any:
        if where == "derive":
            await gates["derive"].wait()
        return await in_thread(self, blocking, function)

    monkeypatch.setattr(aio_runner.AsyncRunner, "_in_thread", slow)

    async def interact(prompts: Any) -> Any:
        if where == "interact":
            await gates["interact"].wait()
        return tuple(PEOPLE["user1"] for _ in prompts)

    async def run() -> None:
        nonlocal where
        async with (
            async_server([MemoryStore(PEOPLE)], checkpass=checkpass, authorize=authorize) as ours,
            async_client() as theirs,
        ):
            message = f"\0user1\0{PEOPLE['user1']}".encode()
            for where in ("checkpass", "derive", "authorize"):
                gates[where] = Gate()
                near = ours.session()
                task = asyncio.create_task(near.start("PLAIN", message))
                await cancel_at(gates[where], task)
                await over(near)
            where = "interact"
            gates[where] = Gate()
            far = theirs.session(authid="user1", interact=interact)
            await cancel_at(gates[where], asyncio.create_task(far.start(["PLAIN"])))
            await over(far)
            where = ""
            assert (await ours.session().start("PLAIN", message)).done
            assert len(asyncio.all_tasks()) == 1

    asyncio.run(run())


async def cancel_at(gate: Gate, task: asyncio.Task[Any]) -> None:
    await gate.reached.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def over(session: Any) -> None:
    """A session that nothing can be done with any more, and that let nobody in."""
    assert not session.done
    assert session.raw()._exchange.state is State.ERROR
    assert session.raw().need is None
    with pytest.raises(SaslError):
        await session.step(b"")
    with pytest.raises(SaslError):
        _ = session.authid
    session.close()


def test_what_comes_too_early_is_refused() -> None:
    """A message, a start or an answer while a call is under way changes nothing of it."""
    gates: list[Gate] = []

    async def checkpass(*_: object) -> Result:
        await gates[0].wait()
        return Result.NOVERIFY

    async def run() -> None:
        gates.append(Gate())
        async with async_server([MemoryStore(PEOPLE)], checkpass=checkpass) as ours:
            near = ours.session()
            first = asyncio.create_task(near.start("PLAIN", b"\0user1\0not-the-password"))
            await gates[0].reached.wait()
            right = f"\0user1\0{PEOPLE['user1']}".encode()
            for call in (
                lambda: near.start("PLAIN", right),
                lambda: near.step(right),
                lambda: near.step(b""),
            ):
                with pytest.raises(UsageError):
                    await call()
            with pytest.raises(UsageError):
                near.raw().hear(right)
            with pytest.raises(UsageError):
                near.raw().answer(right)
            assert not near.done
            gates[0].open.set()
            with pytest.raises(AuthenticationError):
                await first
            assert not near.done

    asyncio.run(run())


def test_cancelled_at_random(people: MemoryStore) -> None:
    """Logins cancelled at any moment leave the others unharmed, and no thread or task behind."""
    chance = random.Random(11)

    async def one(ours: Any, theirs: Any, user: str) -> str:
        async with (
            theirs.session(authid=user, password=PEOPLE[user]) as far,
            ours.session() as near,
        ):
            await login_async(far, near, chance.choice(["PLAIN", "SCRAM-SHA-256"]))
            return str(near.authid)

    async def run() -> None:
        async with async_server([people]) as ours, async_client() as theirs:
            tasks = {
                asyncio.create_task(one(ours, theirs, user)): user
                for user in chance.choices(list(PEOPLE), k=200)
            }
            doomed = chance.sample(list(tasks), 60)
            for task in doomed:
                await asyncio.sleep(chance.random() * 0.001)
                task.cancel()
            for task, user in tasks.items():
                with contextlib.suppress(asyncio.CancelledError):
                    assert await task == user
            finished = [task for task in tasks if not task.cancelled()]
            assert len(finished) >= 140
        assert len(asyncio.all_tasks()) == 1

    before = threading.active_count()
    asyncio.run(run())
    assert threading.active_count() <= before


def test_one_server_in_several_loops(people: MemoryStore) -> None:
    """A Server outlives a loop: the next asyncio.run() finds it working."""
    ours = async_server([people])

    async def one() -> str:
        session = ours.session()
        _ = await session.start("PLAIN", f"\0user2\0{PEOPLE['user2']}".encode())
        return session.authid

    assert [asyncio.run(one()) for _ in range(3)] == ["user2"] * 3
    asyncio.run(ours.close())


def test_setting_passwords_while_others_log_in(tmp_path: Path) -> None:
    """While a password changes, the old and the new one work and no other, without an outage."""
    words = ["first-password", "second-password"]
    with server([SqliteStore(tmp_path / "sasldb.sqlite")]) as ours:
        assert ours.setpass("tim", words[0], SetpassFlag.CREATE).ok
        stop = threading.Event()
        entered: set[str] = set()
        changed: list[bool] = []
        gone: list[str] = []

        def change() -> None:
            try:
                changed.extend(ours.setpass("tim", words[number % 2]).ok for number in range(20))
            finally:
                stop.set()

        def enter() -> None:
            while not stop.is_set():
                for word in (*words, "third-password"):
                    with ours.session() as session, contextlib.suppress(AuthenticationError):
                        session.start("PLAIN", f"\0tim\0{word}".encode())
                        entered.add(word)
                if not ours.user_exists("tim"):
                    gone.append("tim")

        threads = [threading.Thread(target=enter) for _ in range(3)]
        for thread in [*threads, changer := threading.Thread(target=change)]:
            thread.start()
        for thread in [*threads, changer]:
            thread.join()
        assert changed == [True] * 20
        assert gone == []
        assert entered == set(words)
        assert ours.checkpass("tim", words[1]) == "tim"
