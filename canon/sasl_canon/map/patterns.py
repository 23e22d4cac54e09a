"""A regular expression and what becomes of the names that it matches as a whole.

The engine is RE2, whose time grows with the length of the name times the size of the
pattern and in no other way: there is no pattern over which a name takes exponential time.
Both factors are capped, so that the bound is one of steps and not of a clock, and the
same name gets the same answer on a busy machine. RE2 has no look-around and no references
back; a pattern with one is refused when it is read. The extra `map` brings it.

Source: https://github.com/google/re2/wiki/Syntax
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final, Protocol, cast

from sasl_core.plugin import BackendError, PeerError, printable

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["PROGRAM_LIMIT", "BadPattern", "Pattern"]

PROGRAM_LIMIT: Final = 2000
"""The greatest size of all patterns of a file together, in instructions of RE2."""

TEXT_LIMIT: Final = 1000
"""The longest pattern and the longest template, in characters."""

MEMORY: Final = 1 << 20
"""What one pattern may take, in bytes."""

# Any single octet, which could cut a letter in two.
_OCTET: Final = re.compile(r"(?<!\\)(?:\\\\)*\\C")

_PIECE: Final = re.compile(r"\\(?P<escaped>.?)|[^\\]+", re.DOTALL)


class BadPattern(Exception):  # noqa: N818 - a verdict that becomes a ConfigError with its line.
    """Why a pattern or a template cannot be used."""


class _Match(Protocol):
    def groups(self) -> tuple[str | None, ...]: ...


class _Regexp(Protocol):
    @property
    def groups(self) -> int: ...
    @property
    def programsize(self) -> int: ...
    def fullmatch(self, text: str) -> _Match | None: ...


class Pattern:
    r"""One pattern and its template.

    In a template `\1` to `\9` stand for what the group of that number matched, and `\\`
    for a backslash.
    """

    def __init__(self, text: str, template: str) -> None:
        """Compile both.

        Raises:
            BadPattern: one of them is malformed or too large, or RE2 is not installed.
        """
        if len(text) > TEXT_LIMIT or len(template) > TEXT_LIMIT:
            raise BadPattern(f"patterns and templates have at most {TEXT_LIMIT} characters")
        self._regexp = _compiled(text)
        self._template = tuple(_pieces(template, self._regexp.groups))

    @property
    def size(self) -> int:
        """How many instructions of RE2 it takes."""
        return self._regexp.programsize

    def expand(self, name: str, line: int) -> str | None:
        """The template filled with the groups, if the pattern matches the whole of `name`.

        `line` is where the rule stands, for the details of errors.

        Raises:
            PeerError: a group in the template matched an `@`, and would bring a realm of
                the peer's choice into the outcome; or it took no part in the match.
            BackendError: RE2 failed; the name is not mapped, and nobody is let in under it.
        """
        try:
            match = self._regexp.fullmatch(name)
            groups = () if match is None else match.groups()
        except Exception as error:  # noqa: BLE001 - whatever the engine raises.
            kind = type(error).__name__
        else:
            return None if match is None else self._filled(groups, line)
        raise BackendError(
            temporary=False, detail=f"the pattern in line {line} of the rules raised {kind}"
        )

    def _filled(self, groups: tuple[str | None, ...], line: int) -> str:
        made: list[str] = []
        for piece in self._template:
            value = piece if isinstance(piece, str) else groups[piece - 1]
            if value is None:
                raise _refused(f"group {piece} in line {line} of the rules took no part")
            if isinstance(piece, int) and "@" in value:
                raise _refused(f"group {piece} in line {line} of the rules matched an @")
            made.append(value)
        return "".join(made)


def _refused(detail: str) -> PeerError:
    return PeerError("the user name is not acceptable", code="bad-name", detail=detail)


def _compiled(text: str) -> _Regexp:
    import importlib

    if _OCTET.search(text):
        raise BadPattern(r"\C matches parts of letters, and is not allowed")
    try:
        # It has no types of its own; those that are used are written down above.
        re2 = importlib.import_module("re2")
    except ImportError:
        re2 = None
    if re2 is None:
        raise BadPattern("a regex rule needs google-re2: pip install 'sasl-core[map]'")
    options = re2.Options()
    options.max_mem = MEMORY
    options.log_errors = False
    try:
        return cast("_Regexp", re2.compile(text, options))
    except re2.error as error:
        said = cast("object", error.args[0] if error.args else "")
        problem = said.decode("utf-8", "replace") if isinstance(said, bytes) else str(said)
    except UnicodeError:
        problem = "it holds half a surrogate pair"
    raise BadPattern(f"malformed pattern: {printable(problem)}")


def _pieces(template: str, groups: int) -> Iterator[str | int]:
    """The literal parts of a template, and the numbers of groups between them."""
    for piece in _PIECE.finditer(template):
        escaped = piece["escaped"]
        if escaped is None:
            yield piece[0]
        elif escaped == "\\":
            yield escaped
        elif escaped in set("123456789"):
            if int(escaped) > groups:
                raise BadPattern(f"the pattern has no group {escaped}")
            yield int(escaped)
        else:
            raise BadPattern(r"in a template \1 to \9 and \\ can follow a backslash")
