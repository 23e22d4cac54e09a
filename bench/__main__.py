"""`python -m bench`: run the benchmarks, print the table."""

from __future__ import annotations

import argparse
import logging
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Final

from bench import (
    heartbeat,
    login,
    memory,
    oidc,
    profiles,
    provider,
    scram,
    simple,
    startup,
    stores,
    timing,
    tokens,
)
from bench.measure import Effort, pinned
from bench.plot import as_svg
from bench.report import as_json, machine, table

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from bench.rows import Row

TOPICS: Final[dict[str, Callable[[Effort], Iterator[Row]]]] = {
    "scram": scram.rows,
    "login": login.rows,
    "simple": simple.rows,
    "tokens": tokens.rows,
    "oidc": oidc.rows,
    "stores": stores.rows,
    "startup": startup.rows,
    "memory": memory.rows,
    "heartbeat": heartbeat.rows,
    "provider": provider.rows,
    "timing": timing.rows,
}


def arguments(given: Sequence[str] | None = None) -> argparse.Namespace:
    """The command line, read."""
    parser = argparse.ArgumentParser(
        prog="python -m bench",
        description="Measure sasl-core against the floor and other libraries.",
        epilog=f"Topics: {', '.join(TOPICS)}. docs/speed.md says what each measures.",
    )
    _ = parser.add_argument(
        "--only", action="append", choices=TOPICS, metavar="TOPIC", help="only this one; repeatable"
    )
    _ = parser.add_argument(
        "--json",
        nargs="?",
        const="-",
        metavar="FILE",
        help="write JSON; without a FILE to standard output, in place of the table",
    )
    _ = parser.add_argument("--plot", type=_svg, metavar="FILE.svg", help="draw the goals")
    _ = parser.add_argument(
        "--scale",
        type=_scale,
        default=1.0,
        metavar="X",
        help="do so many times as much; below 1 the figures mean less (default 1)",
    )
    _ = parser.add_argument(
        "--profile",
        choices=profiles.SUBJECTS,
        metavar="NAME",
        help=f"say where the time goes instead: {', '.join(profiles.SUBJECTS)}",
    )
    return parser.parse_args(given)


def _svg(text: str) -> Path:
    if not text.endswith(".svg"):
        raise argparse.ArgumentTypeError("the plot is an SVG: name a file that ends in .svg")
    return Path(text)


def _scale(text: str) -> float:
    value = float(text)
    if not 0 < value <= 100:
        raise argparse.ArgumentTypeError("a number above 0, at most 100")
    return value


def main(given: Sequence[str] | None = None) -> None:
    """Run what was asked for. Goals that are missed are no failure of the command."""
    options = arguments(given)
    if options.profile:
        print(profiles.profile(options.profile))
        return
    # An application has a handler; without one each refusal would be written to stderr.
    logger = logging.getLogger("sasl_core")
    logger.addHandler(logging.NullHandler())
    logger.propagate = False
    rows: list[Row] = []
    with pinned() as core:
        about = machine()
        print(
            f"{about['python']}, {about['openssl']}, {about['system']}, "
            f"{'core ' + str(core) if core is not None else 'no core to itself'}",
            file=sys.stderr,
        )
        for topic in options.only or TOPICS:
            print(f"measuring: {topic}", file=sys.stderr, flush=True)
            rows += TOPICS[topic](Effort(options.scale))
    if options.plot:
        _ = options.plot.write_text(as_svg(rows), "utf-8")
    if options.json and options.json != "-":
        _ = Path(options.json).write_text(as_json(rows, core, options.scale) + "\n", "utf-8")
    print(as_json(rows, core, options.scale) if options.json == "-" else table(rows))


if __name__ == "__main__":
    main()
