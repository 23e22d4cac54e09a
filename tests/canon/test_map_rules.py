"""The rules of map: how their file is read, which of them decides, and how long it takes."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sasl_canon.map.patterns import PROGRAM_LIMIT, TEXT_LIMIT, Pattern
from sasl_canon.map.rules import Mapped, Rules, parse_rules
from sasl_core import ConfigError, PeerError, SaslError
from sasl_core.plugin import BackendError
from stopwatch import within


def rules(*lines: str) -> Rules:
    return parse_rules("\n".join(lines), "names.rules")


def test_each_kind_of_rule() -> None:
    """exact, strip and regex do what they are called."""
    made = rules(
        "# who is who",
        "",
        "  # indented",
        "exact ali@corp.example alice",
        "\tstrip   corp.example\r",
        r"regex ([a-z]+)\.([a-z]+)@lab\.example \2-\1\\#x",
    )
    assert len(made) == 3
    assert made.apply("ali@corp.example") == Mapped(4, "alice")
    assert made.apply("bob@corp.example") == Mapped(5, "bob")
    assert made.apply("carl.dee@lab.example") == Mapped(6, "dee-carl\\#x")
    for name in ("bob", "bob@CORP.example", "bob@sub.corp.example", "@corp.example", "ali", "Ali"):
        assert made.apply(name) is None


def test_a_pattern_matches_the_whole_name() -> None:
    """What matches a part of a name alone is no match, with or without alternatives."""
    made = rules("regex adm|root nobody")
    assert made.apply("root") == Mapped(1, "nobody")
    for name in ("roo", "root2", "xroot", "admroot"):
        assert made.apply(name) is None


def test_the_first_rule_decides() -> None:
    """The order is the file's, whatever the kinds of the rules."""
    lines = ["exact a@x 1", "strip x", "regex (.)@x \\1-3"]
    for first, wanted in enumerate(("1", "a", "a-3")):
        order = [lines[first], *lines[:first], *lines[first + 1 :]]
        assert rules(*order).apply("a@x") == Mapped(1, wanted)
    assert rules(lines[2], lines[1]).apply("bb@x") == Mapped(2, "bb")
    assert rules("regex (.)@y q", "regex a(.*) r", "exact a@x s").apply("a@x") == Mapped(2, "r")


@pytest.mark.parametrize(
    ("line", "name"),
    [
        ("strip corp", "root@internal@corp"),
        (r"regex (.*)@corp \1", "root@internal@corp"),
        (r"regex (.*)@(.*) \1+\2", "a@b@c"),
        (r"regex (a)|b \1", "b"),
    ],
)
def test_no_realm_of_the_peers_choice(line: str, name: str) -> None:
    """Where a rule would carry an `@` over, or an empty group, the name is refused."""
    with pytest.raises(PeerError) as caught:
        rules(line).apply(name)
    assert caught.value.code == "bad-name"
    assert "line 1 of the rules" in str(caught.value.detail)
    assert str(caught.value) == "the user name is not acceptable"


@pytest.mark.parametrize(
    ("lines", "line", "problem"),
    [
        (["exakt a b"], 1, "unknown rule 'exakt'; did you mean 'exact'?"),
        (["strip a", "zzz"], 2, "unknown rule 'zzz'; there are exact, strip, regex"),
        (["EXACT a b"], 1, "unknown rule 'EXACT'"),
        (["exact a"], 1, "expected: exact NAME NEW"),
        (["", "exact a b c"], 2, "expected: exact NAME NEW"),
        (["exact a b # why"], 1, "expected: exact NAME NEW"),
        (["strip"], 1, "expected: strip DOMAIN"),
        (["strip a.example, b.example"], 1, "expected: strip DOMAIN"),
        (["regex a"], 1, "expected: regex PATTERN TEMPLATE"),
        (["exact a b", "exact a c"], 2, "line 1 is about the same name"),
        (["exact a b", "exact a b"], 2, "line 1 is about the same name"),
        (["strip a", "strip a"], 2, "line 1 is about the same domain"),
        (["regex ( a"], 1, "malformed pattern: missing )"),
        (["regex (?=a) a"], 1, "malformed pattern: invalid perl operator"),
        ([r"regex (a)\1 a"], 1, "malformed pattern: invalid escape sequence"),
        ([r"regex a\C a"], 1, "matches parts of letters"),
        (["regex a{1001} a"], 1, "malformed pattern: invalid repetition size"),
        (["regex \ud800 a"], 1, "half a surrogate pair"),
        ([r"regex (a) \2"], 1, "the pattern has no group 2"),
        ([r"regex (a) \0"], 1, "in a template"),
        ([r"regex (a) \g<1>"], 1, "in a template"),
        (["regex (a) x\\"], 1, "in a template"),
        ([f"regex {'a' * (TEXT_LIMIT + 1)} a"], 1, "at most 1000 characters"),
        ([f"regex a {'a' * (TEXT_LIMIT + 1)}"], 1, "at most 1000 characters"),
        (["regex a{800}(b) a", "regex a{800}(b)c a", "regex a{800}(b)d a"], 3, "too long"),
    ],
)
def test_what_is_no_rule(lines: list[str], line: int, problem: str) -> None:
    """File, line, what is wrong, and the nearest there is."""
    with pytest.raises(ConfigError) as caught:
        rules(*lines)
    assert (caught.value.file, caught.value.line) == ("names.rules", line)
    assert problem in caught.value.problem


@pytest.mark.parametrize("text", ["", "\n \n", "# exact a b"])
def test_a_file_without_rules(text: str) -> None:
    """A file that was cut short to nothing does not leave every name as it is."""
    with pytest.raises(ConfigError, match=r"names\.rules: there is no rule in the file"):
        parse_rules(text, "names.rules")


def test_a_refusal_cites_no_more_than_it_has_to() -> None:
    """A long line is cut in the error about it, and control characters are escaped."""
    with pytest.raises(ConfigError) as caught:
        rules("\x1b[31m" + "x" * 10_000 + " a")
    assert len(str(caught.value)) < 200
    assert "\x1b" not in str(caught.value)


SLOW = [
    r"(a+)+$",
    r"(a|aa)+$",
    r"(a|a?)+$",
    r"(.*a){20}$",
    r"((a*)*)*b",
    r"(?:a?){300}a{300}",
    r"(.*)(.*)(.*)(.*)(.*)x",
]
"""Patterns over which an engine that goes back takes a time without end."""

PEERS = ["a" * 1024, "a" * 1023 + "!", "ab" * 512, "\U00010400" * 1023 + "!"]


@pytest.mark.parametrize("pattern", SLOW)
def test_no_pattern_takes_long(pattern: str) -> None:
    """A name of 1024 characters is through in milliseconds, matched or not."""
    made = rules(f"regex {pattern} mapped")
    with within(0.5):
        for name in PEERS:
            assert made.apply(name) in (None, Mapped(1, "mapped"))
    assert made.apply("a" * 1023 + "!") is None


def test_the_slow_patterns_are_slow() -> None:
    """With the standard library, 24 characters of the first one take longer than all above."""
    with pytest.raises(AssertionError, match="CPU time"), within(0.05):
        assert re.fullmatch(SLOW[0], "a" * 24 + "!") is None


def test_all_patterns_together_are_bounded() -> None:
    """The slowest patterns that a file may hold are through before anybody notices."""
    slowest = "(?:a?){600}a{300}()"
    made = rules(f"regex {slowest} mapped", "regex (?:a?){100}a{100}() mapped")
    assert 1800 < sum(pattern.size for _, pattern in made._regex) <= PROGRAM_LIMIT
    with within(1.0):
        for name in PEERS:
            assert made.apply(name) is None
    with pytest.raises(ConfigError, match="too long"):
        rules(f"regex {slowest} a", f"regex {slowest} b")


def test_a_size_is_one_of_all_patterns() -> None:
    """A single pattern may take what is left, and no more."""
    assert Pattern("a{900}", "x").size < PROGRAM_LIMIT < Pattern("(?:a?){900}", "x").size * 2


def test_what_the_engine_raises(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is an outage and no refusal of the peer, and the name does not pass unmapped."""
    pattern = Pattern("a", "b")

    class Broken:
        groups = 0
        programsize = 1

        def fullmatch(self, text: str) -> None:
            raise MemoryError(text)

    monkeypatch.setattr(pattern, "_regexp", Broken())
    with pytest.raises(BackendError) as caught:
        pattern.expand("secret", 7)
    assert not caught.value.temporary
    assert caught.value.detail == "the pattern in line 7 of the rules raised MemoryError"
    assert caught.value.__context__ is None


def test_half_a_surrogate_pair_is_no_name() -> None:
    """What no canonicaliser of ours lets through does not end in a foreign exception either."""
    with pytest.raises(BackendError):
        rules("regex .* a").apply("\ud800")


def test_without_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    """Rules without patterns work; one with a pattern is refused, with what to install."""
    monkeypatch.setitem(sys.modules, "re2", None)
    assert rules("exact a b", "strip c").apply("a") == Mapped(1, "b")
    with pytest.raises(ConfigError) as caught:
        rules("exact a b", "regex c d")
    assert caught.value.line == 2
    assert caught.value.problem.endswith("pip install 'sasl-core[map]'")


words = st.text(st.sampled_from("ab@.x1\\(|)*+?[^]{,}$#"), max_size=8)


@given(
    st.lists(
        st.builds(" ".join, st.lists(st.sampled_from(["exact", "strip", "regex"]) | words)),
        max_size=4,
    ),
    words,
)
def test_any_file_and_any_name(lines: list[str], name: str) -> None:
    """Only errors of ours come out, and the same name gets the same from the same rules."""
    try:
        made = rules(*lines)
        once = made.apply(name)
    except SaslError:
        return
    assert made.apply(name) == once
    assert rules(*lines).apply(name) == once


def test_the_rules_of_the_conformance_run_are_sound() -> None:
    """The file that the conformance kit maps with has a rule of each kind."""
    file = Path(__file__).parents[1] / "conformance" / "names.rules"
    kinds = {line.split()[0] for line in file.read_text("utf-8").splitlines() if line.strip()}
    assert kinds == {"#", "exact", "strip", "regex"}
