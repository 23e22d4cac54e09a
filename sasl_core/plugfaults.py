"""What went wrong in a plugin, told without what it knows.

Invariants:

- Whatever a plugin raises, SystemExit included, becomes a `PluginError`; only
  KeyboardInterrupt, which is the administrator's, passes.
- A `PluginError` names the type of what was raised and the line, never its text, which
  may hold a secret; texts of our own errors hold none. Nothing foreign is chained to it.
- What is remembered of a failure is a `Fault`, plain text: an exception that is kept and
  raised again would collect a traceback, and with it frames, each time.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, TypeVar

from sasl_core.errors import ConfigError, PluginError, SaslError, printable
from sasl_core.plugcodes import FAILED, IMPORT
from sasl_core.pluginlist import normalized

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from sasl_core.entrypoints import Claim
    from sasl_core.plugs import Plug

__all__ = [
    "ContractError",
    "Fault",
    "close_plug",
    "guarded",
    "nearest",
]

T = TypeVar("T")

# Compiled when something has gone wrong.
_REQUIREMENT = r"\s*([A-Za-z0-9][A-Za-z0-9._-]*)"
_EXTRA = r"extra\s*==\s*['\"]([A-Za-z0-9._-]+)['\"]"


class Fault:
    """Why a plugin is unusable: the `code` and `reason` of the errors that say so."""

    __slots__ = ("code", "reason")

    def __init__(self, code: str, reason: str) -> None:
        self.code = code
        self.reason = reason

    def error(self, name: str, distribution: str) -> PluginError:
        """A new error that blames plugin `name`."""
        return PluginError(name, distribution, self.reason, code=self.code)


class ContractError(Exception):
    """Raised by our own checks inside `guarded`, whose caller turns it into a PluginError."""

    def __init__(self, code: str, reason: str) -> None:
        super().__init__(reason)
        self.fault = Fault(code, reason)


def guarded(claim: Claim, doing: str, call: Callable[[], T], code: str = FAILED) -> T:
    """Return `call()`, which runs code of the plugin; `doing` says what for.

    Raises:
        PluginError: it raised anything but KeyboardInterrupt.
    """
    try:
        return call()
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # noqa: BLE001 - SystemExit must not escape either.
        fault = _explain(claim, doing, error, code)
    # Outside of the except clause: the error must not carry the foreign one as its context.
    raise fault.error(claim.name, claim.distribution)


def close_plug(claim: Claim, plug: Plug) -> Fault | None:
    """Call the plug's `close()`; a failure is returned, so that the other plugs get closed."""
    try:
        guarded(claim, "calling its close()", plug.close)
    except PluginError as error:
        return Fault(error.code, error.reason)
    return None


def nearest(name: str, known: Iterable[str]) -> str:
    """A hint at the nearest of the `known` names, or "" when none is near."""
    from difflib import get_close_matches

    by_case = {other.lower(): other for other in known}
    near = get_close_matches(name[:100].lower(), by_case, n=1)
    return f"; did you mean {by_case[near[0]]!r}?" if near else ""


def _explain(claim: Claim, doing: str, error: BaseException, code: str) -> Fault:
    if isinstance(error, ContractError):
        return error.fault
    if isinstance(error, SaslError):
        text = error.args[0] if error.args and type(error.args[0]) is str else error.code
        if isinstance(error, ConfigError):
            # It says where: in which hook it was found means nothing to who wrote the option.
            return Fault(error.code, text)
        return Fault(code, f"{doing}: {text}")
    if isinstance(error, ImportError) and type(error.name) is str:
        return Fault(IMPORT, f"{doing}: {_missing(claim, error, error.name)}")
    if isinstance(error, SystemExit):
        return Fault(code, f"{doing}: it tried to end the program (SystemExit)")
    return Fault(code, f"{doing}: it raised {printable(type(error).__name__)}{_where(error)}")


def _where(error: BaseException) -> str:
    """The innermost line that was reached in a file, as " (NAME.py line N)"."""
    if isinstance(error, SyntaxError):
        file, line = error.filename, error.lineno
    else:
        file, line = None, None
        step = error.__traceback__
        while step is not None:
            name = step.tb_frame.f_code.co_filename
            if not name.startswith("<"):
                file, line = name, step.tb_lineno
            step = step.tb_next
    if type(file) is not str or type(line) is not int:
        return ""
    base = re.split(r"[/\\]", file)[-1]
    return f" ({printable(base, 64)} line {line})"


def _missing(claim: Claim, error: ImportError, name: str) -> str:
    """What is missing for an import, and what to install."""
    own = claim.module.partition(".")[0]
    top = name.partition(".")[0]
    shown = printable(name, 100)
    if not isinstance(error, ModuleNotFoundError):
        return f"it cannot import what it needs from {shown!r}: upgrade or reinstall that package"
    if top == own:
        return f"the module {shown!r} does not exist: reinstall {claim.distribution!r}"
    return f"it needs the module {shown!r}, which is not installed: {_advice(claim, top)}"


def _advice(claim: Claim, module: str) -> str:
    """How to get `module`: the extra that the entry point or the metadata names, or itself."""
    extras = ",".join(claim.extras)
    if not extras:
        for requirement in claim.origin.requires():
            named = re.match(_REQUIREMENT, requirement)
            extra = re.search(_EXTRA, requirement)
            if named and extra and normalized(named[1]) == normalized(module):
                extras = extra[1]
                break
    if extras and claim.distribution:
        return f"pip install '{claim.distribution}[{printable(extras, 100)}]'"
    return f"install {printable(module, 100)!r}"
