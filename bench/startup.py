"""What starting costs: imports, listing plugins, and a client that logs in once and ends.

Each figure is of whole processes, from their start to their end: interpreters in turns,
and the median of the differences or ratios of those of one round. What counts is the
processor's time, the kernel's work for the process included: on an idle machine that is
how long it takes, and on a busy one it does not grow with the queue. The notes give the
wall clock's median as well.
"""

from __future__ import annotations

import os
import resource
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from time import perf_counter
from typing import TYPE_CHECKING, Final

import attrs

from bench import ideal
from bench.measure import ORDER, middle, ratio
from bench.people import HOST, PASSWORD, SERVICE, crowd
from bench.rows import Goal, Row

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterator, Mapping

    from bench.measure import Effort
    from bench.people import People

    Process = Callable[[], "Took"]

__all__ = ["NAME", "ROUNDS", "THE_SAME", "logging_in", "process", "rows", "surroundings"]

ROUNDS: Final = 15_000
"""What a server asks for by default (`scram_iteration_counter`)."""
NAME: Final = "tim"

LISTING: Final = """
import sys
from sasl_core import Registry

listings = Registry().listings()
modules = {listing.value.partition(":")[0] for listing in listings}
assert len(modules) > 5, "hardly a plugin was found"
print(*sorted(modules & set(sys.modules)), len(modules), sep="\\n")
"""

CLIENT: Final = f"""
import sys
from sasl_core import Client

def carry(data):
    sys.stdout.buffer.write(data + b"\\n")
    sys.stdout.buffer.flush()
    return sys.stdin.buffer.readline()[:-1]

client = Client({SERVICE!r}, {HOST!r})
with client.session(authid={NAME!r}, password={PASSWORD!r}, success_data=True) as session:
    reply = session.start(["SCRAM-SHA-256"])
    reply = session.step(carry(reply.data))
    session.finish(carry(reply.data))
    assert session.done
"""

THE_SAME: Final = f"""
import attrs, pluggy, importlib_metadata
from hashlib import pbkdf2_hmac
pbkdf2_hmac("sha256", {PASSWORD.encode()!r}, bytes(16), {ROUNDS})
"""


@attrs.frozen
class Took:
    """One process: seconds of processor, seconds by the wall clock, its standard error."""

    processor: float
    wall: float
    told: bytes


def spawn(code: str, environment: Mapping[str, str], errors: int | None) -> subprocess.Popen[bytes]:
    """An interpreter that runs `code` against what is installed."""
    return subprocess.Popen(
        [sys.executable, "-P", "-c", code],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=errors,
        env=dict(environment),
    )


def ended(process: subprocess.Popen[bytes]) -> tuple[bytes, bytes]:
    """What else it writes until it ends: its output and, of a pipe, its errors.

    Raises:
        AssertionError: it failed.
    """
    rest, errors = process.communicate()
    if process.returncode != 0:
        raise AssertionError(f"a measured process ended with {process.returncode}")
    return rest, errors or b""


def process(code: str, environment: Mapping[str, str], errors: int | None = None) -> Process:
    """A process that runs `code`; `errors` as for Popen's `stderr`."""

    def run() -> Took:
        begin, before = perf_counter(), _processor()
        _, told = ended(spawn(code, environment, errors))
        return Took(_processor() - before, perf_counter() - begin, told)

    return run


def logging_in(
    people: People, environment: Mapping[str, str], errors: int | None = None
) -> Process:
    """The client that logs in; the ideal server is on this end of its pipes."""
    users = people.table()

    def run() -> Took:
        begin, before = perf_counter(), _processor()
        child = spawn(CLIENT, environment, errors)
        if child.stdin is None or child.stdout is None:
            raise AssertionError("no pipes")
        state = ideal.server_first(users, child.stdout.readline()[:-1])
        _ = child.stdin.write(state[2] + b"\n")
        child.stdin.flush()
        _ = child.stdin.write(ideal.server_final(state, child.stdout.readline()[:-1]) + b"\n")
        _, told = ended(child)
        return Took(_processor() - before, perf_counter() - begin, told)

    return run


def _processor() -> float:
    """Seconds of processor that all processes have had that were started here and ended."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def in_turns(contenders: Mapping[str, Process], rounds: int) -> dict[str, list[Took]]:
    """Run each once a round; the first round, which may write byte code, does not count."""
    names = list(contenders)
    times: dict[str, list[Took]] = {name: [] for name in names}
    for number in range(rounds + 1):
        ORDER.shuffle(names)
        for name in names:
            took = contenders[name]()
            if number:
                times[name].append(took)
    return times


def rows(effort: Effort) -> Iterator[Row]:
    """The import, the listing, the login."""
    with surroundings() as environment:
        yield importing(effort, environment)
        yield listing(environment)
        yield cold_client(effort, environment)


@contextmanager
def surroundings() -> Generator[dict[str, str]]:
    """An environment in which nothing of the machine's administrator or user counts.

    Byte code is written at the first run and read from then on, as it is where a package
    is installed; a variable such as PYTHONDONTWRITEBYTECODE would have every process
    compile the source tree anew.
    """
    with TemporaryDirectory(prefix="sasl-bench-") as folder:
        empty = Path(folder, "empty")
        empty.mkdir()
        given = {key: each for key, each in os.environ.items() if not key.startswith("PYTHON")}
        yield {
            **given,
            "SASL_CONF_PATH": str(empty),
            "PYTHONPYCACHEPREFIX": str(Path(folder, "cache")),
        }


def importing(effort: Effort, environment: Mapping[str, str]) -> Row:
    """`import sasl_core` beside `import attrs`."""
    times = in_turns(
        {
            "bare": process("pass", environment),
            "attrs": process("import attrs", environment),
            "ours": process("import attrs, sasl_core", environment),
        },
        effort.times(40),
    )
    used = {name: [took.processor for took in each] for name, each in times.items()}
    more = middle([one - other for one, other in zip(used["ours"], used["attrs"], strict=True)])
    wall = median(
        one.wall - other.wall for one, other in zip(times["ours"], times["attrs"], strict=True)
    )
    return Row(
        topic="startup",
        what="import sasl_core",
        unit="ms",
        ours=median(used["ours"]),
        floor=median(used["attrs"]),
        floor_name="import attrs",
        figure=more.middle,
        figure_unit="ms",
        spread=more,
        goal=Goal(0.020, "ms", of="more"),
        note=(
            f"processor time; a bare interpreter takes {median(used['bare']) * 1000:.1f} ms; "
            f"by the wall clock {wall * 1000:.1f} ms more"
        ),
    )


def listing(environment: Mapping[str, str]) -> Row:
    """Whether listing the installed plugins imports one of them."""
    *loaded, count = ended(spawn(LISTING, environment, None))[0].decode().split()
    return Row(
        topic="startup",
        what="listing plugins imports none",
        unit="yes/no",
        ours=float(not loaded),
        figure=float(not loaded),
        figure_unit="yes/no",
        goal=Goal(1, "yes/no", at_least=True),
        note=f"imports {', '.join(loaded)}" if loaded else f"{count} modules declared",
    )


def cold_client(effort: Effort, environment: Mapping[str, str]) -> Row:
    """From the start of a process to the end of its login."""
    people = crowd([NAME], rounds=ROUNDS)
    times = in_turns(
        {
            "floor": process(THE_SAME, environment),
            "ours": logging_in(people, environment),
        },
        effort.times(40),
    )
    used = {name: [took.processor for took in each] for name, each in times.items()}
    wall = {name: [took.wall for took in each] for name, each in times.items()}
    spread = ratio(used["ours"], used["floor"])
    return Row(
        topic="startup",
        what="process that logs in once by SCRAM",
        unit="ms",
        ours=median(used["ours"]),
        floor=median(used["floor"]),
        floor_name="import of attrs, pluggy, importlib-metadata, and PBKDF2",
        figure=spread.middle,
        figure_unit="x",
        spread=spread,
        goal=Goal(1.5, "x", of="floor"),
        note=(
            f"{ROUNDS:,} rounds, processor time; by the wall clock "
            f"{ratio(wall['ours'], wall['floor']).middle:.2f}x"
        ),
    )
