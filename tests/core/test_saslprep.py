"""SASLprep against published vectors and against RFC 3454 written out with the standard library."""

from __future__ import annotations

import base64
import importlib.util
import json
import stringprep
import unicodedata
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sasl_core import _saslprep_tables
from sasl_core.errors import PeerError
from sasl_core.saslprep import PREPARED_LIMIT, SASLPREP_LIMIT, saslprep, saslprep_nonempty
from sasl_core.verifier import derive
from stopwatch import within

TESTS = Path(__file__).parent.parent
VECTORS: dict[str, Any] = json.loads((TESTS / "vectors" / "saslprep.json").read_text("utf-8"))
SALTED: list[dict[str, Any]] = json.loads((TESTS / "vectors" / "scram.json").read_text("utf-8"))[
    "salted_password_saslprep"
]

PROHIBITED = (
    stringprep.in_table_c12,
    stringprep.in_table_c21_c22,
    stringprep.in_table_c3,
    stringprep.in_table_c4,
    stringprep.in_table_c5,
    stringprep.in_table_c6,
    stringprep.in_table_c7,
    stringprep.in_table_c8,
    stringprep.in_table_c9,
)


def by_the_book(text: str, *, stored: bool) -> str | None:
    """RFC 4013 with the standard library's tables, step by step; None where it refuses."""
    mapped = "".join(
        " " if stringprep.in_table_c12(character) else character
        for character in text
        if stringprep.in_table_c12(character) or not stringprep.in_table_b1(character)
    )
    prepared = unicodedata.ucd_3_2_0.normalize("NFKC", mapped)
    if any(table(character) for character in prepared for table in PROHIBITED):
        return None
    if stored and any(map(stringprep.in_table_a1, prepared)):
        return None
    if any(map(stringprep.in_table_d1, prepared)) and (
        any(map(stringprep.in_table_d2, prepared))
        or not stringprep.in_table_d1(prepared[0])
        or not stringprep.in_table_d1(prepared[-1])
    ):
        return None
    return prepared


def ours(text: str, *, stored: bool) -> str | None:
    """The same from the library; None where it refuses."""
    try:
        return saslprep(text, stored=stored)
    except PeerError:
        return None


@pytest.mark.parametrize("vector", VECTORS["vectors"], ids=lambda v: ascii(v["input"])[:40])
def test_vectors(vector: dict[str, Any]) -> None:
    """Each published vector gives its output, or is refused for the reason given."""
    stored = vector["mode"] == "stored"
    if vector["error"] is None:
        assert saslprep(vector["input"], stored=stored) == vector["output"]
        return
    with pytest.raises(PeerError, match=vector["error"]) as caught:
        _ = saslprep(vector["input"], stored=stored)
    assert caught.value.code == "saslprep"


@pytest.mark.parametrize("vector", VECTORS["ambiguous"], ids=lambda v: ascii(v["input"]))
def test_ambiguous(vector: dict[str, Any]) -> None:
    """U+200B becomes a space, as in libidn and PostgreSQL."""
    assert saslprep(vector["input"], stored=True) == vector["recommended"]


def test_postgresql_fallback_cases_are_refused() -> None:
    """What PostgreSQL would use unprepared is refused here."""
    for case in VECTORS["postgresql_raw_fallback"]["cases"]:
        assert ours(case["password"], stored=True) is None


@pytest.mark.parametrize("vector", SALTED, ids=lambda v: ascii(v["password"]))
def test_prepared_passwords_derive(vector: dict[str, Any]) -> None:
    """Passwords that are equal once prepared give the SaltedPassword that was published."""
    if "error" in vector:
        with pytest.raises(PeerError, match="prohibited"):
            _ = saslprep(vector["password"])
        return
    prepared = saslprep(vector["password"])
    assert prepared == vector["prepared"]
    salt = base64.b64decode(vector["salt_b64"])
    assert derive("SHA-1", prepared.encode(), salt, vector["iterations"]) == base64.b64decode(
        vector["salted_password_b64"]
    )


def test_every_code_point_as_the_book_has_it() -> None:
    """Alone or between letters, each code point of a sample through all planes agrees."""
    for code_point in [*range(0x3100), *range(0x3100, 0x110000, 131)]:
        character = chr(code_point)
        for text in (character, f"a{character}b", f"\u0627{character}\u0628"):
            for stored in (False, True):
                assert ours(text, stored=stored) == by_the_book(text, stored=stored), hex(
                    code_point
                )


def test_no_code_point_needs_preparing_twice() -> None:
    """Of all code points that Unicode 3.2 assigns, none changes when prepared again."""
    for code_point in [*range(0x30000), *range(0xE0000, 0xE0200)]:
        prepared = ours(chr(code_point), stored=False)
        if prepared:
            assert saslprep(prepared) == prepared, hex(code_point)


def test_the_tables_are_what_the_generator_makes() -> None:
    """The tables that are shipped are those of the standard library, over all code points."""
    generator = load_generator()
    text = Path(_saslprep_tables.__file__).read_text("ascii")
    assert text == generator.module()


def load_generator() -> ModuleType:
    """Import the script that writes the tables."""
    path = TESTS / "tools" / "make_saslprep_tables.py"
    spec = importlib.util.spec_from_file_location("make_saslprep_tables", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_error_names_the_kind_and_not_the_text() -> None:
    """A refusal says which table the code point is in, and shows nothing of the text."""
    with pytest.raises(PeerError, match=r"control character \(C\.2\.1\)") as caught:
        _ = saslprep("hunter2\x07")
    assert "hunter2" not in f"{caught.value!r} {caught.value.detail}"
    with pytest.raises(PeerError, match="surrogate"):
        _ = saslprep("a\ud800")
    with pytest.raises(PeerError, match="unassigned"):
        _ = saslprep("\u0221", stored=True)
    with pytest.raises(PeerError, match="bidirectional"):
        _ = saslprep("\u0627a")


def test_empty_text() -> None:
    """Empty text stays empty; where a name or a password is wanted it is refused."""
    assert saslprep("") == ""
    assert saslprep("\u00ad") == ""
    assert saslprep("\u00ad\u200d", stored=True) == ""
    assert saslprep_nonempty("\u00ada") == "a"
    for text in ("", "\u00ad", "\ufeff\u2060"):
        with pytest.raises(PeerError, match="empty") as caught:
            _ = saslprep_nonempty(text)
        assert caught.value.code == "saslprep"


def test_length_is_capped() -> None:
    """Long text is refused before it is prepared; the longest allowed takes no time to speak of."""
    assert saslprep("a" * SASLPREP_LIMIT) == "a" * SASLPREP_LIMIT
    assert saslprep("\u00e9" * PREPARED_LIMIT) == "\u00e9" * PREPARED_LIMIT
    for text in ("a" * (SASLPREP_LIMIT + 1), "\u00e9" * (PREPARED_LIMIT + 1)):
        with pytest.raises(PeerError, match="more than"):
            _ = saslprep(text)
    with within(0.5):
        assert len(saslprep("\u0301\u0323" * (PREPARED_LIMIT // 2))) == PREPARED_LIMIT
        assert len(saslprep("\ufdfa" * PREPARED_LIMIT)) == 18 * PREPARED_LIMIT


INTERESTING = st.text(
    "aB1 -\x07\u00a0\u00ad\u00aa\u200b\u0627\u0628\u0661\u05d0\u2168\ufb01\u037a\ufe74"
    "\u0301\u0323\u0340\u0344\u1e9b\uac00\u1100\u1161\u11a8\u0221\U0001f600\ue000\ud800",
    max_size=8,
)


@given(st.text(max_size=12) | INTERESTING, st.booleans())
def test_any_text(text: str, stored: bool) -> None:
    """Any text is prepared as the book has it, once and for all, or refused by a PeerError."""
    prepared = ours(text, stored=stored)
    assert prepared == by_the_book(text, stored=stored)
    if prepared is not None:
        assert saslprep(prepared, stored=stored) == prepared
