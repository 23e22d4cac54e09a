"""The rules of `map`: how their file is read, and which rule decides about a name.

A line is empty, a comment (its first character that is not blank is `#`), or a rule, in
words separated by blanks:

    exact NAME NEW           the name NAME is NEW
    strip DOMAIN             NAME@DOMAIN is NAME
    regex PATTERN TEMPLATE   a name that PATTERN matches as a whole is TEMPLATE

The first rule that matches decides. Names are compared as they are written: the case is
part of a name unless the canonicaliser before the rules has folded it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

from sasl_canon.map.patterns import PROGRAM_LIMIT, BadPattern, Pattern
from sasl_core.plugin import ConfigError, PeerError, printable, suggestion

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["Mapped", "Rules", "parse_rules"]

USAGE: Final = {
    "exact": ("NAME", "NEW"),
    "strip": ("DOMAIN",),
    "regex": ("PATTERN", "TEMPLATE"),
}
"""The rules that there are, and the words that follow."""

NO_LINE: Final = 1 << 30


class Mapped(NamedTuple):
    """What became of a name, and by the rule of which line."""

    line: int
    name: str


class Rules:
    """The rules of one file. Empty when made; `parse_rules` fills it."""

    def __init__(self, file: str) -> None:
        self._file = file
        self._exact: dict[str, Mapped] = {}
        self._strip: dict[str, int] = {}
        self._regex: list[tuple[int, Pattern]] = []
        self._size = 0

    def __len__(self) -> int:
        return len(self._exact) + len(self._strip) + len(self._regex)

    def apply(self, name: str) -> Mapped | None:
        """What the first rule that matches makes of `name`; None when none matches.

        Raises:
            PeerError: a rule matches a name that holds an `@` where the rule would bring it
                into the outcome, and with it a realm of the peer's choice.
            BackendError: a pattern could not be tried.
        """
        exact = self._exact.get(name)
        local, at, domain = name.rpartition("@")
        strip = self._strip.get(domain, NO_LINE) if at and local else NO_LINE
        first = strip if exact is None else min(exact.line, strip)
        for line, pattern in self._regex:
            if line > first:
                break
            made = pattern.expand(name, line)
            if made is not None:
                return Mapped(line, made)
        if exact is not None and exact.line == first:
            return exact
        if strip == NO_LINE:
            return None
        if "@" in local:
            # "root@internal@corp.example" must not become root of the realm "internal".
            raise PeerError(
                "the user name is not acceptable",
                code="bad-name",
                detail=f"line {strip} of the rules would leave a name with another realm",
            )
        return Mapped(strip, local)

    def add(self, line: int, kind: str, words: list[str]) -> None:
        """Take the rule of one line.

        Raises:
            ConfigError: it is malformed, or has come before.
        """
        if kind == "exact":
            earlier = self._exact.get(words[0])
            if earlier is not None:
                raise self.wrong(line, f"line {earlier.line} is about the same name")
            self._exact[words[0]] = Mapped(line, words[1])
        elif kind == "strip":
            if "@" in words[0]:
                raise self.wrong(line, "a domain is what follows the last @ of a name")
            before = self._strip.setdefault(words[0], line)
            if before != line:
                raise self.wrong(line, f"line {before} is about the same domain")
        else:
            self._add_regex(line, *words)

    def _add_regex(self, line: int, text: str, template: str) -> None:
        try:
            pattern = Pattern(text, template)
        except BadPattern as error:
            problem = str(error)
        else:
            self._size += pattern.size
            if self._size <= PROGRAM_LIMIT:
                self._regex.append((line, pattern))
                return
            problem = "the patterns up to here would take too long: shorten what they repeat"
        raise self.wrong(line, problem)

    def check(self, canonical: Callable[[str], str]) -> None:
        """Hold what can be known beforehand against the names that there are.

        `canonical` gives the canonical form of a name, before any rule.

        Raises:
            ConfigError: a name or a domain is written in a form that no name has; a rule is
                never reached; what a rule makes of a name another would change again.
        """
        for old, (line, new) in self._exact.items():
            self._check_form(line, old, old, canonical)
            self._check_form(line, new, new, canonical)
            decided = self._tried(line, old, canonical)
            if decided is not None and decided.line != line:
                raise self.wrong(line, f"it is never reached: line {decided.line} matches the name")
            again = self._tried(line, new, canonical)
            if again is not None and again.name != new:
                problem = f"line {again.line} would change {_shown(new)} again: write the last name"
                raise self.wrong(line, problem)
        for domain, line in self._strip.items():
            self._check_form(line, f"x@{domain}", domain, canonical)

    def _tried(self, line: int, name: str, canonical: Callable[[str], str]) -> Mapped | None:
        """What becomes of `name`, which the rule in `line` holds, in canonical form."""
        try:
            mapped = self.apply(name)
            return None if mapped is None else Mapped(mapped.line, canonical(mapped.name))
        except PeerError as error:
            problem = f"{_shown(name)} is refused: {error.detail or error}"
        raise self.wrong(line, problem)

    def _check_form(
        self, line: int, name: str, shown: str, canonical: Callable[[str], str]
    ) -> None:
        try:
            form = canonical(name)
        except PeerError as error:
            problem = f"{_shown(shown)} occurs in no user name: {error}"
        else:
            if form == name:
                return
            problem = f"no name is written {_shown(name)} here: it is always {_shown(form)}"
        raise self.wrong(line, problem)

    def wrong(self, line: int, problem: str) -> ConfigError:
        """A ConfigError about one line."""
        return ConfigError(problem, file=printable(self._file, 500), line=line)


def _shown(name: str) -> str:
    """A name for a message. User names are no secrets."""
    return f"'{printable(name, 64)}'"


def parse_rules(text: str, file: str) -> Rules:
    """The rules in the text of `file`.

    Raises:
        ConfigError: a line is no rule, a rule comes twice, a pattern is malformed or needs
            the extra `map`, or there is no rule at all, as in a file that was cut short.
    """
    rules = Rules(file)
    for number, line in enumerate(text.split("\n"), 1):
        words = line.split()
        if not words or words[0].startswith("#"):
            continue
        kind, *rest = words
        usage = USAGE.get(kind)
        if usage is None:
            known = suggestion(kind, USAGE) or f"; there are {', '.join(USAGE)}"
            raise rules.wrong(number, f"unknown rule {_shown(kind)}{known}")
        if len(rest) != len(usage):
            raise rules.wrong(number, f"expected: {' '.join((kind, *usage))}")
        rules.add(number, kind, rest)
    if not len(rules):
        raise ConfigError("there is no rule in the file", file=printable(file, 500))
    return rules
