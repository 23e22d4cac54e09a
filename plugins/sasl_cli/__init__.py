"""The `sasl` command. Its subcommands are found through entry points.

Importing this package imports nothing else: what the command line needs comes with the extra
`cli`, and without it `main` says so in one line.
"""

from __future__ import annotations

import sys

__all__ = ["main"]


def main() -> int:
    """Run the command line, and return its exit status.

    0: done. 1: it failed, and a line on standard error says why. 2: used in a wrong way.
    130: interrupted.
    """
    try:
        import rich
        import typer
    except ImportError:
        print(
            "sasl: the command line needs packages that are not installed: "
            "pip install 'sasl-core[cli]'",
            file=sys.stderr,
        )
        return 1
    del rich, typer
    from sasl_cli.app import run

    return run(sys.argv[1:])
