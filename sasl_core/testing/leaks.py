"""Looking for secrets where none may be: in errors, their frames, log records and objects.

A secret is looked for as text, as UTF-8 and as base64, in everything that can be reached
without passing through a module, a class or the parts of a Server that outlive a session.
"""

from __future__ import annotations

import gc
import logging
from base64 import b64encode
from collections import deque
from contextlib import contextmanager
from types import (
    BuiltinFunctionType,
    CodeType,
    FrameType,
    FunctionType,
    ModuleType,
    TracebackType,
)
from typing import TYPE_CHECKING, Final

from sasl_core.core import Core
from sasl_core.registry import Registry
from sasl_core.runners.aio import AsyncRunner
from sasl_core.runners.blocking import BlockingRunner
from sasl_core.testing.setups import fail, require
from sasl_core.utils import SaslUtils

if TYPE_CHECKING:
    from collections.abc import Generator, Iterable

__all__ = ["assert_no_secret", "captured_logs", "find_secret"]

SHORTEST_SECRET: Final = 6
"""A shorter one would be found by chance."""

_PASSED_BY = (
    type,
    ModuleType,
    CodeType,
    FrameType,
    Core,
    Registry,
    SaslUtils,
    BlockingRunner,
    AsyncRunner,
    logging.Logger,
    logging.Handler,
)


class Needles:
    """Secrets in every form in which they are looked for."""

    def __init__(self, secrets: Iterable[str | bytes]) -> None:
        self.octets: set[bytes] = set()
        self.texts: set[str] = set()
        for secret in secrets:
            octets = secret.encode("utf-8", "surrogatepass") if isinstance(secret, str) else secret
            require(
                len(octets) >= SHORTEST_SECRET,
                f"secrets under {SHORTEST_SECRET} bytes cannot be looked for",
            )
            for form in (octets, b64encode(octets)):
                self.octets.add(form)
                self.texts.add(form.decode("utf-8", "replace"))

    def in_text(self, text: str) -> bool:
        """Whether `text` holds one."""
        return any(needle in text for needle in self.texts)

    def in_value(self, value: object) -> bool:
        """Whether `value` is text or bytes that hold one."""
        if isinstance(value, str):
            return self.in_text(value)
        if isinstance(value, (bytes, bytearray)):
            return any(needle in value for needle in self.octets)
        return False


def find_secret(
    root: object, secrets: Iterable[str | bytes], but: Iterable[object] = ()
) -> str | None:
    """The way from `root` to a secret, as the types on it; None if there is none.

    Follows references as the garbage collector does, but for classes, modules, the
    globals of functions, and what a Server or Client keeps for all of its sessions. The
    objects `but` are not entered: what may keep a secret.
    """
    needles = Needles(secrets)
    pending: deque[tuple[object, str]] = deque([(root, type(root).__name__)])
    kept = [root, *but]
    seen = set(map(id, kept))
    while pending:
        value, path = pending.popleft()
        if needles.in_value(value):
            return path
        for below in _referents(value):
            if id(below) not in seen and not isinstance(below, _PASSED_BY):
                seen.add(id(below))
                kept.append(below)
                pending.append((below, f"{path} -> {type(below).__name__}"))
    return None


def _referents(value: object) -> list[object]:
    if isinstance(value, FunctionType):
        # Not its globals, which are the module's.
        return [value.__closure__, value.__defaults__, value.__kwdefaults__]
    if isinstance(value, (str, bytes, bytearray, int, float, BuiltinFunctionType)):
        return []
    if isinstance(value, BaseException):
        # Frames and other errors have rules of their own: see `assert_no_secret`.
        passed = (value.__traceback__, value.__cause__, value.__context__)
        return [below for below in gc.get_referents(value) if not _is_one_of(below, passed)]
    return gc.get_referents(value)


def _is_one_of(value: object, others: Iterable[object]) -> bool:
    return any(value is other for other in others)


def assert_no_secret(
    error: BaseException,
    secrets: Iterable[str | bytes],
    packages: Iterable[str] = (),
    but: Iterable[object] = (),
) -> None:
    """Nothing that hangs on `error` holds a secret.

    Looked at: its text and repr, arguments, attributes and notes, its causes and
    contexts, and the locals of the frames of its traceback that belong to the library
    or to `packages` (a caller's own frames are the caller's business). The objects `but`
    are not entered, as in `find_secret`.

    Raises:
        AssertionError: it says where the secret is, and does not repeat it.
    """
    needles = Needles(secrets)
    ours = {"sasl_core", *packages}
    but = tuple(but)
    pending: list[BaseException] = [error]
    seen: set[int] = set()
    while pending:
        current = pending.pop()
        if id(current) in seen:
            continue
        seen.add(id(current))
        name = type(current).__name__
        for what, text in (("text", str(current)), ("repr", repr(current))):
            if needles.in_text(text):
                fail(f"the {what} of {name} holds a secret")
        path = find_secret(current, needles.octets, but)
        if path is not None:
            fail(f"{name} holds a secret: {path}")
        _check_frames(current.__traceback__, needles, ours, name, but)
        pending += [e for e in (current.__cause__, current.__context__) if e is not None]


def _check_frames(
    traceback: TracebackType | None,
    needles: Needles,
    ours: set[str],
    name: str,
    but: tuple[object, ...],
) -> None:
    while traceback is not None:
        frame = traceback.tb_frame
        module: str = frame.f_globals.get("__name__", "")
        if module.partition(".")[0] in ours and not module.startswith("sasl_core.testing"):
            for variable, value in frame.f_locals.items():
                if isinstance(value, _PASSED_BY):
                    continue
                path = find_secret(value, needles.octets, but)
                if path is not None:
                    code = frame.f_code
                    fail(f"{name}: {variable!r} in {module}.{code.co_name} holds a secret: {path}")
        traceback = traceback.tb_next


@contextmanager
def captured_logs() -> Generator[list[logging.LogRecord]]:
    """Everything that is logged meanwhile, from level DEBUG on."""
    records: list[logging.LogRecord] = []

    class Keep(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            records.append(record)

    handler = Keep(logging.DEBUG)
    loggers = logging.getLogger(), logging.getLogger("sasl_core")
    levels = [logger.level for logger in loggers]
    loggers[0].addHandler(handler)
    for logger in loggers:
        logger.setLevel(logging.DEBUG)
    try:
        yield records
    finally:
        loggers[0].removeHandler(handler)
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
