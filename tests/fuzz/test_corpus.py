"""What the fuzzer has found, and inputs worth starting from: each parser lives through them."""

from __future__ import annotations

import ast
import logging
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from fuzz_targets import TARGETS, survives
from sasl_core import PeerError

ROOT = Path(__file__).resolve().parents[2]
CORPUS = Path(__file__).with_name("corpus")
FILES = sorted(path for path in CORPUS.rglob("*") if path.is_file())


@pytest.fixture(autouse=True)
def silent() -> Iterator[None]:
    """Refusals are what is expected here."""
    logging.disable(logging.CRITICAL)
    yield
    logging.disable(logging.NOTSET)


@pytest.mark.parametrize("path", FILES, ids=lambda path: f"{path.parent.name}/{path.name}")
def test_a_parser_lives_through_it(path: Path) -> None:
    """Only a SaslError refuses it; where it is accepted, it comes out as it was."""
    survives(TARGETS[path.parent.name], path.read_bytes())


def test_every_parser_has_a_corpus() -> None:
    """No target without inputs to start from, and no inputs without a target."""
    assert {path.parent.name for path in FILES} == set(TARGETS)


PARSER = re.compile(r"parse|parse_\w+|unescape_\w+|b64decode|[A-Z]\w*Reader")


def parsers() -> Iterator[str]:
    """The name of every public parser of what we ship, methods too; the kit has none."""
    folders = ("sasl_core", "plugins", "canon", "auxprop")
    files = [path for folder in folders for path in sorted((ROOT / folder).rglob("*.py"))]
    for file in files:
        if "testing" in file.parts:
            continue
        for node in ast.walk(ast.parse(file.read_text("utf-8"))):
            if isinstance(node, ast.FunctionDef | ast.ClassDef) and PARSER.fullmatch(node.name):
                yield node.name


def test_every_parser_has_a_target() -> None:
    """Whoever writes a parser gives it to the fuzzer: each is named in a target."""
    source = (ROOT / "tests" / "support" / "fuzz_targets.py").read_text("utf-8")
    named = {node.id for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Name)}
    named |= {node.attr for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Attribute)}
    found = set(parsers())
    assert found - named == set()
    assert {"parse", "parse_toml", "parse_server_final", "LineReader", "b64decode"} <= found


@pytest.mark.parametrize("data", [b"", b"\0", b"\xff" * 64, b"\xed\xa0\x80", b"," * 300, b"\r\n"])
@pytest.mark.parametrize("name", sorted(TARGETS))
def test_a_parser_lives_through_the_usual(name: str, data: bytes) -> None:
    """Nothing, NUL, what is no UTF-8, half a surrogate pair, separators, a line's end."""
    survives(TARGETS[name], data)


def test_what_is_not_ours_gets_out() -> None:
    """A foreign exception is a finding; a SaslError is none."""

    def foreign(data: bytes) -> None:
        raise KeyError(data)

    def ours(data: bytes) -> None:
        raise PeerError(str(len(data)))

    survives(ours, b"x")
    with pytest.raises(KeyError):
        survives(foreign, b"x")
