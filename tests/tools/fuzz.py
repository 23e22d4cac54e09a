"""Run atheris over each parser for a bounded time: `make fuzz`.

    python tests/tools/fuzz.py [--seconds 20] [PARSER ...]

Each parser gets a process of its own, for libFuzzer ends its process at the first finding.
That is kept as a file in tests/fuzz/corpus/PARSER, where the suite tries it from then on.
Inputs that merely reach new code are kept in .fuzz/PARSER, and the next run begins with them.

Exit status: 0, nothing was found, or there is no atheris for this Python (said in one line);
1, something was found; 2, wrong arguments or a fuzzer that did not run.
"""

from __future__ import annotations

import argparse
import hashlib
import logging
import re
import subprocess
import sys
import time
from importlib import import_module
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
CORPUS = ROOT / "tests" / "fuzz" / "corpus"
REACHED = ROOT / ".fuzz"
LONGEST = 4096
"""Octets of an input. No parser has a limit that is reached only far beyond it and not tested."""
PARSERS = sorted(path.name for path in CORPUS.iterdir() if path.is_dir())

_EXECUTIONS = re.compile(r"Done (\d+) runs|stat::number_of_executed_units:\s+(\d+)")


def fuzz_one(name: str, seconds: int) -> None:
    """Fuzz in this process; never returns."""
    # By its name, for neither type checker knows it, and the fuzzer is an extra of its own.
    atheris: Any = import_module("atheris")
    sys.path.insert(0, str(ROOT / "tests" / "support"))
    packages = [
        "sasl_core",
        "sasl_mechanisms",
        "sasl_pwcheck",
        "sasl_profiles",
        "sasl_canon",
        "sasl_tls",
        "sasl_tokens",
        "sasl_credentials",
        "sasl_cli",
        "fuzz_targets",
    ]
    with atheris.instrument_imports(include=packages):
        from fuzz_targets import TARGETS, survives
    target = TARGETS[name]
    logging.disable(logging.CRITICAL)
    (REACHED / name).mkdir(parents=True, exist_ok=True)
    arguments = [
        sys.argv[0],
        f"-max_total_time={seconds}",
        f"-max_len={LONGEST}",
        "-timeout=10",
        "-print_final_stats=1",
        "-verbosity=0",
        f"-artifact_prefix={REACHED / name}.found-",
        str(REACHED / name),
        str(CORPUS / name),
    ]
    atheris.Setup(arguments, lambda data: survives(target, data))
    atheris.Fuzz()


def keep(name: str) -> list[Path]:
    """Move what was found into the corpus; each finding has its digest for a name."""
    kept: list[Path] = []
    for found in sorted(REACHED.glob(f"{name}.found-*")):
        data = found.read_bytes()
        path = CORPUS / name / f"found-{hashlib.sha256(data).hexdigest()[:16]}"
        path.write_bytes(data)
        found.unlink()
        kept.append(path)
    return kept


def run(name: str, seconds: int) -> int:
    """Fuzz one parser in a process of its own; returns the exit status for it."""
    begin = time.monotonic()
    command = [sys.executable, str(Path(__file__)), "--one", "--seconds", str(seconds), name]
    ended = subprocess.run(
        command, capture_output=True, check=False, text=True, errors="replace", cwd=ROOT
    )
    output = ended.stdout + ended.stderr
    counts = [int(one or other) for one, other in _EXECUTIONS.findall(output)]
    kept = keep(name)
    taken = time.monotonic() - begin
    print(f"{name:22} {max(counts, default=0):>10,} executions {taken:6.1f} s", end="")
    print(f"  FOUND {len(kept)}" if kept else "", flush=True)
    if kept:
        print(output[-3000:])
        for path in kept:
            print(f"kept as {path.relative_to(ROOT)}")
        return 1
    if ended.returncode != 0 or not counts:
        print(output[-3000:])
        return 2
    return 0


def main() -> int:
    parser = argparse.ArgumentParser(description="Fuzz the parsers with atheris.")
    parser.add_argument("--seconds", type=int, default=20, help="for each parser (20)")
    parser.add_argument("--one", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("parsers", nargs="*", metavar="PARSER", help="all of them by default")
    given = parser.parse_args()
    unknown = set(given.parsers) - set(PARSERS)
    if unknown or given.seconds < 1:
        parser.error(f"the parsers are {', '.join(PARSERS)}; seconds are at least 1")
    try:
        import_module("atheris")
    except ImportError as error:
        print(f"fuzzing is skipped: there is no atheris for this Python ({error})")
        return 0
    if given.one:
        fuzz_one(given.parsers[0], given.seconds)
    REACHED.mkdir(exist_ok=True)
    return max(run(name, given.seconds) for name in given.parsers or PARSERS)


if __name__ == "__main__":
    sys.exit(main())
