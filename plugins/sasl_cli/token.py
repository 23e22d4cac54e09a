"""`sasl token`: look at an access token, have it validated, or fetch one."""

from __future__ import annotations

import typer

from sasl_cli.token_fetch import fetch_token
from sasl_cli.token_inspect import inspect_token
from sasl_cli.token_validate import validate_token

__all__ = ["command"]

command = typer.Typer(no_args_is_help=True, add_completion=False)


@command.callback()
def token() -> None:
    """Inspect, validate and fetch access tokens."""


_inspect = command.command("inspect")(inspect_token)
_validate = command.command("validate")(validate_token)
_fetch = command.command("fetch")(fetch_token)
