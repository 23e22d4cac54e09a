"""The command itself: subcommands by entry point, and how every failure is told.

A command is what an entry point of the group `sasl_core.commands` names: a function in typer's
style, a `typer.Typer`, or a module that holds one of the two as `command`. It is loaded when it
is called, or listed by `sasl --help`.

Invariants: a command that cannot be loaded costs only itself, and `sasl --help` names it with
the reason; a failure is one line on standard error, never a traceback, and nothing of a
foreign exception but its type and place, for its text may hold a secret.
"""

from __future__ import annotations

import os
import sys
from difflib import get_close_matches
from io import TextIOWrapper
from types import ModuleType
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.core import TyperGroup

from sasl_cli.output import fail, one_line
from sasl_core import Configuration, Registry, SaslError, __version__
from sasl_core.plugin import PluginError, printable

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["PROGRAM", "run"]

PROGRAM = "sasl"
CONTEXT = {"help_option_names": ["-h", "--help"], "max_content_width": 96}

# ClickException, the base of all errors of use. typer shows them with the command's usage; where
# the class lives depends on its release, that it is the third here does not.
_TOLD_BY_TYPER = typer.BadParameter.__mro__[2]

INTERRUPTED = 130
"""What a shell reports of a program that SIGINT ended."""


def run(arguments: Sequence[str]) -> int:
    """Run `sasl` with these arguments, and return the exit status."""
    for stream in (sys.stdout, sys.stderr):
        # A name that the terminal's encoding lacks must not end the command.
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    _log_errors()
    status = 1
    try:
        command = typer.main.get_command(_app())
        _ = command.main(args=list(arguments), prog_name=PROGRAM)
    except SystemExit as end:
        status = end.code if isinstance(end.code, int) else int(end.code is not None)
    except KeyboardInterrupt:
        status = INTERRUPTED
    except BrokenPipeError:
        status = _broken_pipe()
    try:
        print(end="", flush=True)
    except BrokenPipeError:
        status = _broken_pipe()
    return status


def _app() -> typer.Typer:
    app = typer.Typer(
        name=PROGRAM,
        cls=_Commands,
        add_completion=False,
        no_args_is_help=True,
        rich_markup_mode=None,
        pretty_exceptions_enable=False,
        context_settings=CONTEXT,
    )
    _ = app.callback()(_root)
    return app


def _version(wanted: bool) -> None:
    if wanted:
        print(f"sasl-core {__version__}")
        raise typer.Exit


def _root(
    version: Annotated[
        bool,
        typer.Option("--version", help="Show the version.", callback=_version, is_eager=True),
    ] = False,
) -> None:
    """Users, plugins and logins of SASL, the authentication of mail and other protocols.

    sasl COMMAND --help tells more of each. Settings come from sasl.toml, or from Cyrus's flat
    files, in the directories of SASL_CONF_PATH.
    """


class _Commands(TyperGroup):
    """The group of all commands.

    typer's own classes of contexts and commands moved between its releases, so they go
    without their names here.
    """

    def __init__(self, *args: Any, **attributes: Any) -> None:
        super().__init__(*args, **attributes)
        self._registry = _registry()
        self._loaded: dict[str, Any] = {}
        self._called = ""

    def list_commands(self, ctx: Any) -> list[str]:
        del ctx
        names = {listing.name: None for listing in self._registry.listings("commands")}
        return sorted(names)

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        if cmd_name not in self.list_commands(ctx):
            return None
        if cmd_name not in self._loaded:
            try:
                found = _as_command(self._registry.load_object("commands", cmd_name), cmd_name)
            except PluginError as error:
                found = _unusable(cmd_name, error)
            self._loaded[cmd_name] = found
        return self._loaded[cmd_name]

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        self._called = args[0]
        known = self.list_commands(ctx)
        if self._called not in known:
            near = get_close_matches(self._called, known, 1)
            meant = f"; did you mean {near[0]!r}?" if near else f": {', '.join(known)}"
            fail(f"no command {printable(self._called, 40)!r}{meant}", status=2)
        return super().resolve_command(ctx, args)

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except SaslError as error:
            fail(one_line(error))
        except KeyboardInterrupt:
            raise typer.Exit(INTERRUPTED) from None
        except (typer.Exit, typer.Abort, BrokenPipeError):
            raise
        except Exception as error:
            if isinstance(error, _TOLD_BY_TYPER):
                raise
            fail(f"{self._called}: unexpected {_place(error)}")


def _place(error: Exception) -> str:
    """The type of a foreign exception, and where it was raised."""
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    where = ""
    if trace is not None:
        code = trace.tb_frame.f_code
        where = f" in {os.path.basename(code.co_filename)}:{trace.tb_lineno}"  # noqa: PTH119
    return f"{type(error).__name__}{where}"


def _registry() -> Registry:
    """What is installed; the configuration is asked only where two claim one name."""
    registry = Registry()
    if all(listing.problem is None for listing in registry.listings("commands")):
        return registry
    try:
        return Registry(plugin_list=Configuration.load(PROGRAM).core.plugin_list)
    except SaslError:
        return registry


def _as_command(thing: object, name: str) -> Any:
    """The command behind an entry point.

    Raises:
        PluginError: it is none.
    """
    found: object = getattr(thing, "command", None) if isinstance(thing, ModuleType) else thing
    if isinstance(found, typer.Typer):
        app = found
        app.rich_markup_mode = None
        app.info.context_settings = CONTEXT
    elif callable(found):
        app = typer.Typer(
            add_completion=False, rich_markup_mode=None, pretty_exceptions_enable=False
        )
        _ = app.command(name, context_settings=CONTEXT)(found)
    else:
        raise PluginError(
            name,
            "",
            "its entry point names neither a function nor a typer.Typer, nor a module with "
            "one of them as 'command'",
        )
    try:
        made = typer.main.get_command(app)
    except Exception as error:  # noqa: BLE001 - whatever typer says of a stranger's function.
        reason = f"typer cannot make a command of it ({type(error).__name__})"
    else:
        made.name = name
        return made
    raise PluginError(name, "", reason)


def _unusable(name: str, error: PluginError) -> Any:
    """A command in the place of one that cannot be loaded, which says why."""
    reason = one_line(error)

    def refuse() -> None:
        fail(reason)

    refuse.__doc__ = f"Not usable: {printable(error.reason)}"
    return _as_command(refuse, name)


def _log_errors() -> None:
    """Show what the library logs as an error; the rest is told by the commands themselves."""
    import logging

    handler = logging.StreamHandler()
    handler.setLevel(logging.ERROR)
    handler.setFormatter(logging.Formatter(f"{PROGRAM}: %(message)s"))
    for name in ("sasl_core", "sasl_profiles", "sasl_tls"):
        logging.getLogger(name).addHandler(handler)


def _broken_pipe() -> int:
    """Whoever read our output has gone: end without a word (`sasl users | head`)."""
    # Python flushes once more at its end, and would complain then.
    with open(os.devnull, "w", encoding="utf-8") as nowhere:  # noqa: PTH123
        _ = os.dup2(nowhere.fileno(), sys.stdout.fileno())
    return 1
