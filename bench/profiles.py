"""Where the time of one operation goes: by function, or by module of an import.

A profiler slows down what calls many functions far more than what computes; the columns
are for comparing lines with one another, and the number of calls is exact.
"""

from __future__ import annotations

import cProfile
import io
import pstats
import re
from collections import Counter
from subprocess import PIPE
from typing import TYPE_CHECKING, Final

from bench import login, scram, simple, startup
from bench.people import HOST, SERVICE, crowd
from sasl_core import Client, Server

if TYPE_CHECKING:
    from collections.abc import Callable

    from bench.measure import Operation

__all__ = ["SUBJECTS", "profile"]

TIMES: Final = 2000
LINES: Final = 45
RUNS: Final = 9


def _scram() -> Operation:
    people = crowd(f"user{number:03}" for number in range(100))
    return scram.our_server(scram.server_of(people), people)


def _login() -> Operation:
    people = crowd(["tim"])
    server = Server(SERVICE, HOST, stores=[people.store()], config={})
    return login.our_login(Client(SERVICE, HOST, config={}), server, people.names)


def _plain() -> Operation:
    server = Server(SERVICE, HOST, config={}, checkpass=simple.application)
    return simple.plain_login(Client(SERVICE, HOST, config={}), server)


def _anonymous() -> Operation:
    config = {"allow_anonymous": True}
    server = Server(SERVICE, HOST, config=config, checkpass=simple.application)
    return simple.anonymous_login(Client(SERVICE, HOST, config=config), server)


_CALLS: Final[dict[str, Callable[[], Operation]]] = {
    "scram": _scram,
    "login": _login,
    "plain": _plain,
    "anonymous": _anonymous,
}
SUBJECTS: Final = (*_CALLS, "import", "client", "floor")
"""Operations; then the imports of `import sasl_core`, of the process that logs in once, and
of the one that it is compared with."""

_LINE: Final = re.compile(r"import time: +([0-9]+) \| +[0-9]+ \| (.+)")


def profile(subject: str) -> str:
    """A summary of `subject`, the costliest lines first."""
    if subject in _CALLS:
        return _calls(_CALLS[subject]())
    return _imports(subject)


def _calls(operation: Operation) -> str:
    _ = operation(TIMES)
    plain = operation(TIMES)
    profiler = cProfile.Profile()
    profiler.enable()
    _ = operation(TIMES)
    profiler.disable()
    text = io.StringIO()
    stats = pstats.Stats(profiler, stream=text)
    calls = sum(entry.callcount for entry in profiler.getstats())
    _ = stats.strip_dirs().sort_stats("tottime").print_stats(LINES)
    return (
        f"{plain * 1e6:.1f} us and {calls / TIMES:.0f} calls for one, the harness and the "
        f"other side's part included; below are {TIMES}\n{text.getvalue()}"
    )


def _imports(subject: str) -> str:
    """What -X importtime says of a process, by distribution and by module."""
    with startup.surroundings() as environment:
        environment["PYTHONPROFILEIMPORTTIME"] = "1"
        people = crowd([startup.NAME], rounds=startup.ROUNDS)
        run = {
            "import": startup.process("import sasl_core", environment, PIPE),
            "client": startup.logging_in(people, environment, PIPE),
            "floor": startup.process(startup.THE_SAME, environment, PIPE),
        }[subject]
        _ = run()  # byte code is written
        seen = [_imported(run().told) for _ in range(RUNS)]
    # The least that each took, for what was slower was disturbed.
    modules = Counter({name: min(run[name] for run in seen) for name in seen[0]})
    packages: Counter[str] = Counter()
    for name, each in modules.items():
        packages[name.partition(".")[0]] += each
    spent = modules.total() / 1000
    text = [
        f"{len(modules)} modules, {spent:.1f} ms, each at its quickest of {RUNS} runs",
        "",
        "by package, ms:",
    ]
    text += [f"{each / 1000:9.2f}  {name}" for name, each in packages.most_common(LINES)]
    text += ["", "by module, ms without what it imports itself:"]
    text += [f"{each / 1000:9.2f}  {name}" for name, each in modules.most_common(LINES)]
    return "\n".join(text)


def _imported(told: bytes) -> dict[str, int]:
    """Microseconds by module, as -X importtime writes them, after the interpreter's start."""
    lines = [_LINE.fullmatch(line) for line in told.decode().splitlines()]
    found = [(line[2].strip(), int(line[1])) for line in lines if line is not None]
    begun = next(place for place, (name, _) in enumerate(found) if name == "site") + 1
    return dict(found[begun:])
