"""Many connections of PyMongo's, held at one server of ours while their tokens expire.

    with ShortLived(20) as provider, LoadServer(folder, provider) as server:
        report = asyncio.run(hold(server, provider, connections=500, ...))

`hold` has one AsyncMongoClient. A round is one command on each connection at once: all are checked
out before the first answer is read, so that none of them rests. `hold_by_threads` has one
MongoClient, and a thread for each connection. Whatever a command of the application's raises is a
failure; what PyMongo deals with itself, as 391, is counted by its events, by the number that the
server has for the connection.
"""

from __future__ import annotations

import asyncio
import json
import os
import re
import signal
import statistics
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable
from contextvars import ContextVar
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self, TypeAlias

import pymongo
from pymongo.errors import OperationFailure
from pymongo.monitoring import CommandListener, ConnectionPoolListener

from login_provider import CLIENT_SECRET, LoginProvider
from sasl_profiles.mongodb import PyMongoTokens

__all__ = ["LoadServer", "Report", "ShortLived", "hold", "hold_by_threads"]

Reload: TypeAlias = Callable[[Any], Awaitable[object]]
"""Has the server take other providers; gets the client that holds the connections."""

REFUSED = 18
REAUTHENTICATE = 391
USER = [{"user": "corp/backup", "db": "$external"}]
SECONDS = 20.0


class ShortLived(LoginProvider):
    """A provider whose tokens live for `life` seconds, for whichever audience is asked for."""

    def __init__(self, life: int) -> None:
        super().__init__()
        self.life = life

    def grant(self, form: str, authorization: str) -> tuple[int, dict[str, object]]:
        status, answer = super().grant(form, authorization)
        if status == 200:
            audience = self.forms[-1].get("audience", ["mail"])[0]
            claims = {"sub": "backup", "aud": audience, "groups": [], "jti": str(time.time())}
            answer["access_token"] = self.token({**claims, "exp": int(time.time()) + self.life})
            answer["expires_in"] = self.life
        return status, answer

    def table_for(self, audience: str, prefix: str) -> dict[str, object]:
        """What a server is told of it by setParameter."""
        table: dict[str, object] = json.loads(self.json(audience, prefix))[0]
        return table

    def source(self, **more: object) -> dict[str, object]:
        """The configuration of a client whose tokens come from here."""
        table = {
            "issuer": self.issuer,
            "client_id": "backup",
            "client_secret": CLIENT_SECRET,
            "allow_loopback_http": True,
            **more,
        }
        return {"credentials": {"client_credentials": table}}


class LoadServer:
    """`sasl serve mongodb` in a process of its own; `with` ends it, and it must end with 0.

    Its log goes to a file: a pipe that nobody reads would hold it up.
    """

    def __init__(self, folder: Path, provider: ShortLived) -> None:
        self._config = folder / "sasl.toml"
        self._provider = provider
        self._log = folder / "log"
        self.configure()
        command = [sys.executable, "-P", "-m", "sasl_cli", "serve", "mongodb"]
        with self._log.open("wb") as log:
            self.process = subprocess.Popen(
                [*command, "--listen", "127.0.0.1:0", "--config", str(self._config)],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=log,
                cwd=folder,
                env={"PATH": os.environ["PATH"], "SASL_CONF_PATH": str(folder)},
                text=True,
            )
        assert self.process.stdout is not None
        match = re.fullmatch(r"listening on .+:([0-9]+)\n", self.process.stdout.readline())
        assert match is not None, self.log()
        self.port = int(match[1])

    def configure(self, *audiences: str) -> None:
        """Write the configuration: the provider, and for each of these one more of its kind."""
        tables = [
            self._provider.toml(name, prefix)
            for name, prefix in [("mail", "corp"), *((each, each) for each in audiences)]
        ]
        own = 'auxprop_plugin = ["memory"]\n'
        profile = f'[profiles.mongodb]\nadministrators = ["$external.{USER[0]["user"]}"]\n'
        new = self._config.with_suffix(".new")
        new.write_text(own + "".join(tables) + profile, "utf-8")
        new.replace(self._config)

    def reload(self, *audiences: str) -> None:
        """Have it read its configuration again, after it was written so."""
        self.configure(*audiences)
        self.process.send_signal(signal.SIGHUP)

    def lets_in(self, audience: str) -> bool:
        """Whether a token for this audience lets its bearer in."""
        source = self._provider.source(audience=audience)
        with PyMongoTokens("client_credentials", "localhost", config=source) as tokens:
            client: pymongo.MongoClient[Any] = _client(pymongo.MongoClient, self, tokens)
            with client:
                try:
                    _ = client.admin.command("ping")
                except OperationFailure as error:
                    if error.code != REFUSED:
                        raise
                    return False
                return True

    def log(self) -> str:
        """All that it has said."""
        return self._log.read_text("utf-8", "replace")

    def logins(self) -> Counter[int]:
        """How often somebody logged in over each connection, by the client's port."""
        lines = re.findall(r"login OK: .*\bremote=127\.0\.0\.1;([0-9]+)", self.log())
        return Counter(map(int, lines))

    def peak(self) -> int | None:
        """The most memory that it has had, in KiB; None where nobody knows."""
        try:
            status = Path(f"/proc/{self.process.pid}/status").read_text("utf-8")
        except OSError:
            return None
        found = re.search(r"^VmHWM:\s+([0-9]+) kB$", status, re.MULTILINE)
        return None if found is None else int(found[1])

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        try:
            status = self.process.wait(SECONDS)
        except subprocess.TimeoutExpired:
            self.process.kill()
            status = self.process.wait()
        assert self.process.stdout is not None
        self.process.stdout.close()
        assert status == 0, self.log()[-2000:]


@dataclass
class Report:
    """What came of it; times in seconds."""

    connections: int
    rounds: int = 0
    operations: list[float] = field(default_factory=list)
    """How long each took that met no 391."""
    interrupted: list[float] = field(default_factory=list)
    """How long each took that met one, the login and the second attempt included."""
    logins_again: list[float] = field(default_factory=list)
    """From each 391 to the end of the login that followed, a new token included."""
    failures: list[str] = field(default_factory=list)
    used: Counter[int] = field(default_factory=Counter)
    """Commands that succeeded, by the server's number of the connection."""
    again: Counter[int] = field(default_factory=Counter)
    """Logins after a 391, by the same."""
    created: int = 0
    closed: int = 0
    """Connections that went before the client was closed."""
    ready: set[int] = field(default_factory=set)
    peaks: tuple[int | None, int | None] = (None, None)
    """The server's peak memory, in KiB, before the connections and in the end."""

    def __str__(self) -> str:
        peaks, memory = self.peaks, "unknown"
        if peaks[0] is not None and peaks[1] is not None:
            memory = f"{(peaks[1] - peaks[0]) / self.connections:.1f} KiB of {peaks[1]} KiB"
        operations = len(self.operations) + len(self.interrupted)
        again = self.again.values()
        return (
            f"{self.connections} connections, {self.rounds} rounds, {operations} operations\n"
            f"failed operations: {len(self.failures)}\n"
            f"logins again: {sum(again)}, {min(again, default=0)} to {max(again, default=0)} "
            "for each connection\n"
            f"an operation: {_spread(self.operations)}\n"
            f"one that met 391: {_spread(self.interrupted)}\n"
            f"a login again: {_spread(self.logins_again)}\n"
            f"the server's peak memory for each connection: {memory}"
        )


def _spread(times: Iterable[float]) -> str:
    given = sorted(times)
    if len(given) < 2:
        return "none"
    cuts = statistics.quantiles(given, n=100, method="inclusive")
    return (
        f"p50 {cuts[49] * 1e3:.1f} ms, p99 {cuts[98] * 1e3:.1f} ms, most {given[-1] * 1e3:.0f} ms"
    )


# Of the operation that is under way in this task or thread: when 391 came.
_refused: ContextVar[list[float]] = ContextVar("_refused")


class _Commands(CommandListener):
    """Counts what each connection did. Called in the task whose command it is."""

    def __init__(self, report: Report, stormy: Callable[[], None] = lambda: None) -> None:
        self._report = report
        self._stormy = stormy
        self._lock = threading.Lock()

    def started(self, event: Any) -> None:
        """Nothing is made of it."""

    def succeeded(self, event: Any) -> None:
        refused = _refused.get(())
        with self._lock:
            if event.command_name != "saslStart":
                self._report.used[event.server_connection_id] += 1
            elif refused:
                self._report.again[event.server_connection_id] += 1
                self._report.logins_again.append(time.perf_counter() - refused[-1])

    def failed(self, event: Any) -> None:
        if event.failure.get("code") == REAUTHENTICATE:
            refused = _refused.get(())
            if isinstance(refused, list):
                refused.append(time.perf_counter())
            self._stormy()


class _Pool(ConnectionPoolListener):
    """Counts the connections of the pool; its other events are of no interest."""

    def __init__(self, report: Report) -> None:
        self._report = report

    def connection_created(self, event: Any) -> None:
        self._report.created += 1

    def connection_ready(self, event: Any) -> None:
        # PyMongo says so again after each later login.
        self._report.ready.add(event.connection_id)

    def connection_closed(self, event: Any) -> None:
        self._report.closed += 1

    def _nothing(self, event: Any) -> None:
        """Nothing is made of it."""

    pool_created = pool_ready = pool_cleared = pool_closed = _nothing
    connection_check_out_started = connection_check_out_failed = _nothing
    connection_checked_out = connection_checked_in = _nothing


def _client(
    kind: Callable[..., Any], server: LoadServer, tokens: PyMongoTokens, **options: Any
) -> Any:
    return kind(
        "127.0.0.1",
        server.port,
        authMechanism="MONGODB-OIDC",
        authMechanismProperties=tokens.properties(),
        **options,
    )


async def hold(
    server: LoadServer,
    provider: ShortLived,
    *,
    connections: int,
    times: int,
    seconds: float,
    calm: Reload | None = None,
    storms: Iterable[Reload] = (),
    every: float = 1.0,
) -> Report:
    """Hold so many connections until each has logged in again `times` times.

    Ends after `seconds` all the same; the report says how far it came. A round begins `every`
    second. `calm` is called within the fifth round, and each of `storms` when the tokens have just
    begun to be refused, one at a time.
    """
    report, stormy = Report(connections), asyncio.Event()
    before, waiting = server.peak(), list(storms)
    with PyMongoTokens("client_credentials", "localhost", config=provider.source()) as tokens:
        async with _client(
            pymongo.AsyncMongoClient,
            server,
            tokens,
            minPoolSize=connections,
            maxPoolSize=connections,
            maxConnecting=8,
            event_listeners=[_Commands(report, stormy.set), _Pool(report)],
        ) as client:
            await _fill(client, report)
            end = time.monotonic() + seconds
            while time.monotonic() < end and not _enough(report, times):
                begin = time.monotonic()
                stormy.clear()
                done = asyncio.gather(*(_operate(client, report) for _ in range(connections)))
                if report.rounds == 4 and calm is not None:
                    await asyncio.sleep(0.05)
                    _ = await calm(client)
                storm = asyncio.ensure_future(stormy.wait())
                _ = await asyncio.wait({done, storm}, return_when=asyncio.FIRST_COMPLETED)
                if storm.done() and waiting:
                    _ = await waiting.pop(0)(client)
                _ = storm.cancel()
                _ = await done
                report.rounds += 1
                await asyncio.sleep(max(0.0, every - (time.monotonic() - begin)))
            if not report.failures:
                told = await client.admin.command("connectionStatus")
                assert told["authInfo"]["authenticatedUsers"] == USER
            closed = report.closed
            report.peaks = before, server.peak()
    report.closed = closed
    assert report.failures or not waiting, "the tokens were not refused often enough"
    return report


def _enough(report: Report, times: int) -> bool:
    return len(report.again) == report.connections and min(report.again.values()) >= times


async def _fill(client: Any, report: Report) -> None:
    """Have the pool make all of its connections, and log in on each."""
    end = time.monotonic() + SECONDS
    _ = await client.admin.command("ping")
    while len(report.ready) < report.connections:
        assert time.monotonic() < end, f"only {len(report.ready)} connections were made in time"
        await asyncio.sleep(0.05)
    report.used.clear()


async def _operate(client: Any, report: Report) -> None:
    refused: list[float] = []
    _ = _refused.set(refused)
    begin = time.perf_counter()
    try:
        answer = await client.admin.command("ping")
        assert answer["ok"] == 1
    except Exception as error:  # noqa: BLE001 - whatever it is, it is one too many.
        report.failures.append(f"{type(error).__name__}: {error}")
    else:
        took = time.perf_counter() - begin
        (report.interrupted if refused else report.operations).append(took)


def hold_by_threads(
    server: LoadServer, provider: ShortLived, *, connections: int, seconds: float
) -> Report:
    """The same from threads, one command after the other in each, for so many seconds.

    Which connection a command gets is the pool's to say; some may rest.
    """
    report = Report(connections)
    end = time.monotonic() + seconds
    with PyMongoTokens("client_credentials", "localhost", config=provider.source()) as tokens:
        client: pymongo.MongoClient[Any] = _client(
            pymongo.MongoClient,
            server,
            tokens,
            minPoolSize=connections,
            maxPoolSize=connections,
            event_listeners=[_Commands(report), _Pool(report)],
        )

        def work() -> None:
            while time.monotonic() < end:
                refused: list[float] = []
                _ = _refused.set(refused)
                begin = time.perf_counter()
                try:
                    assert client.admin.command("ping")["ok"] == 1
                except Exception as error:  # noqa: BLE001 - as above.
                    report.failures.append(f"{type(error).__name__}: {error}")
                else:
                    took = time.perf_counter() - begin
                    (report.interrupted if refused else report.operations).append(took)
                time.sleep(0.05)

        with client:
            threads = [threading.Thread(target=work) for _ in range(connections)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
            closed = report.closed
    report.closed = closed
    return report
