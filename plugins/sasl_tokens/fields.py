"""Reading the fields of one object of a configuration, whose place every complaint begins with."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Final, NoReturn, cast

from sasl_core.plugin import ConfigError, printable, suggestion

__all__ = ["Fields"]

TEXT_LIMIT: Final = 2048
"""Longest text, in characters."""


class Fields:
    """The fields of one object as they are given; each reader raises a ConfigError that says
    which object and field it is about, and what was expected there.
    """

    def __init__(self, index: int, table: object, known: Collection[str]) -> None:
        """`index`: where the object stands in its array. `known`: the fields there may be.

        Raises:
            ConfigError: it is no object, or has another field.
        """
        self._index = index
        if not isinstance(table, Mapping):
            raise ConfigError("expected an object", key=f"[{index}]")
        self._given = cast("Mapping[str, object]", table)
        for name in cast("Mapping[object, object]", table):
            if name not in known:
                shown = printable(name)
                self.wrong(shown, f"unknown field{suggestion(shown, known)}")

    def wrong(self, name: str, problem: str) -> NoReturn:
        """Refuse the field `name`."""
        raise ConfigError(problem, key=f"[{self._index}].{name}")

    def __contains__(self, name: str) -> bool:
        return name in self._given

    def required(self, name: str, why: str = "") -> str:
        """A text that has to be there."""
        if name not in self._given:
            self.wrong(name, f"required{why}")
        return self._text(name, self._given[name])

    def text(self, name: str) -> str | None:
        """A text, or None where there is none."""
        return self._text(name, self._given[name]) if name in self._given else None

    def texts(self, name: str) -> tuple[str, ...] | None:
        """An array of texts."""
        if name not in self._given:
            return None
        value = self._given[name]
        if not isinstance(value, (list, tuple)):
            self.wrong(name, "expected an array of texts")
        return tuple(self._text(name, item) for item in cast("Sequence[object]", value))

    def flag(self, name: str, *, default: bool) -> bool:
        """A truth value."""
        value = self._given.get(name, default)
        if not isinstance(value, bool):
            self.wrong(name, "expected true or false")
        return value

    def number(self, name: str, low: int, high: int) -> int | None:
        """A whole number."""
        if name not in self._given:
            return None
        value = self._given[name]
        if not isinstance(value, int) or isinstance(value, bool) or not low <= value <= high:
            self.wrong(name, f"expected a whole number from {low} to {high}")
        return int(value)

    def _text(self, name: str, value: object) -> str:
        if not isinstance(value, str) or not value or not value.isprintable():
            self.wrong(name, "expected printable text that is not empty")
        if len(value) > TEXT_LIMIT:
            self.wrong(name, f"expected at most {TEXT_LIMIT} characters")
        return str(value)
