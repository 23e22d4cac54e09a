"""One setting, and how its value is read: the converters that all configuration forms share.

A converter takes what a form gave and returns the typed value, or raises `Unfit` with
what it expected. Values of a form without types (the flat one) arrive as `Untyped`, and
only those are read as numbers and booleans: a typed form that writes `"15000"` for a
number is told so. No converter puts a value into its complaint unless the value is one
of a small public set (a mechanism's name, a flag), for any other may be a secret.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final, NamedTuple, TypeAlias, TypeVar, cast

from sasl_core.errors import ConfigError, printable

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

__all__ = [
    "Converter",
    "Setting",
    "Settings",
    "Unfit",
    "Untyped",
    "boolean",
    "choice",
    "number",
    "suggestion",
    "text",
    "whole_number",
    "words",
    "wrong",
]

T = TypeVar("T")

Converter: TypeAlias = "Callable[[object], T]"

# Compiled when a number is read; most programs have none in their configuration.
_INTEGER: Final = r"[+-]?[0-9]{1,18}"
_NUMBER: Final = r"[+-]?[0-9]{1,18}(\.[0-9]{1,18})?([eE][+-]?[0-9]{1,3})?"
_BOOLEANS: Final = {
    **dict.fromkeys(("yes", "y", "true", "t", "on", "1"), True),
    **dict.fromkeys(("no", "n", "false", "f", "off", "0"), False),
}


class Untyped(str):
    """The value of a form that has no types: it may be meant as a number, a list, a word."""

    __slots__ = ()


class Unfit(Exception):  # noqa: N818 - a verdict on a value that never leaves the configuration.
    """A converter cannot read the value; the text says what was wrong or expected."""


class Setting:
    """One value as it was given, and where. `repr` hides the value, which may be a secret.

    `key` is the name as the administrator wrote it: a path of tables in the typed forms
    ("auxprop.sasldb.path"), one word in the flat form. `line` counts from 1; None where
    the form does not tell.
    """

    __slots__ = ("file", "key", "line", "value")

    def __init__(
        self, value: object, key: str, file: str | None = None, line: int | None = None
    ) -> None:
        # Copied, so that a list which the caller changes later changes nothing here.
        self.value: Final = tuple(cast("list[object]", value)) if isinstance(value, list) else value
        self.key: Final = key
        self.file: Final = file
        self.line: Final = line

    def __repr__(self) -> str:
        return f"<Setting {printable(self.key)}>"

    def error(self, problem: str) -> ConfigError:
        """A ConfigError about this setting."""
        return wrong(problem, file=self.file, line=self.line, key=self.key)

    def read(self, converter: Converter[T]) -> T:
        """The value, converted.

        Raises:
            ConfigError: the converter cannot read it.
        """
        try:
            return converter(self.value)
        except Unfit as unfit:
            problem = str(unfit)
        raise self.error(problem)


class Settings(NamedTuple):
    """What a configuration gives one application: for the core, and for each plugin by kind
    and name. `applications` are those that have a table of their own.
    """

    core: dict[str, Setting]
    plugins: dict[tuple[str, str], dict[str, Setting]]
    applications: tuple[str, ...] = ()


def wrong(
    problem: str, *, file: str | None = None, line: int | None = None, key: str | None = None
) -> ConfigError:
    """A ConfigError that says where, with unprintable names escaped and long ones cut."""
    return ConfigError(
        problem,
        file=None if file is None else printable(file, 500),
        line=line,
        key=printable(key) if key else None,
    )


def text(value: object) -> str:
    """A string that UTF-8 can carry.

    Raises:
        Unfit: it is none.
    """
    if not isinstance(value, str):
        raise Unfit("expected text")
    if not value.isascii() and any("\ud800" <= character <= "\udfff" for character in value):
        raise Unfit("expected text, without half surrogates")
    return str(value)


def boolean(value: object) -> bool:
    """A truth value; in the flat form yes/no, true/false, on/off, y/n, t/f, 1/0.

    Raises:
        Unfit: it is none.
    """
    if isinstance(value, bool):
        return value
    if isinstance(value, Untyped):
        meant = _BOOLEANS.get(value.lower())
        if meant is not None:
            return meant
        raise Unfit("expected yes or no")
    raise Unfit("expected true or false")


def whole_number(minimum: int | None = None, maximum: int | None = None) -> Converter[int]:
    """A converter to an int from `minimum` to `maximum`, both included."""
    expected = "expected a whole number"
    if minimum is not None and maximum is not None:
        expected += f" from {minimum} to {maximum}"

    def convert(value: object) -> int:
        if isinstance(value, Untyped) and re.fullmatch(_INTEGER, value, re.ASCII):
            value = int(value)
        if not isinstance(value, int) or isinstance(value, bool):
            raise Unfit(expected)
        if (minimum is not None and value < minimum) or (maximum is not None and value > maximum):
            raise Unfit(expected)
        return int(value)

    return convert


def number(value: object) -> float:
    """A finite number.

    Raises:
        Unfit: it is none, or too large for a float.
    """
    if isinstance(value, Untyped) and re.fullmatch(_NUMBER, value, re.ASCII):
        value = float(value)
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        try:
            converted = float(value)
        except OverflowError:
            raise Unfit("expected a finite number") from None
        if converted - converted == 0.0:  # neither infinite nor "not a number"
            return converted
        raise Unfit("expected a finite number")
    raise Unfit("expected a number")


def words(value: object) -> tuple[object, ...]:
    """The items of a list, or of a string that separates them by white space.

    Items of an untyped string are untyped again; each still needs its own converter.

    Raises:
        Unfit: it is neither.
    """
    if isinstance(value, str):
        made = Untyped if isinstance(value, Untyped) else str
        return tuple(made(word) for word in value.split())
    if isinstance(value, (list, tuple)):
        return tuple(cast("Iterable[object]", value))
    raise Unfit("expected a list")


def choice(choices: Mapping[str, T]) -> Converter[T]:
    """A converter from one of the names of `choices`, in any case, to what it stands for."""
    expected = "expected " + ", ".join(choices)

    def convert(value: object) -> T:
        if not isinstance(value, str):
            raise Unfit(expected)
        meant = choices.get(value.lower())
        if meant is None:
            raise Unfit(expected)
        return meant

    return convert


def suggestion(word: str, known: Iterable[str]) -> str:
    """`; did you mean ...?` with the nearest of `known`, or nothing when none is near."""
    import difflib

    # Cut, since the comparison takes time by the product of both lengths.
    near = difflib.get_close_matches(word[:64], sorted(known), n=1, cutoff=0.6)
    return f"; did you mean {printable(near[0])!r}?" if near else ""
