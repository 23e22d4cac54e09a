"""What the pages say of the password method `hashes` is so."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import attrs
import pytest

from sasl_core.plugin import ConfigError
from sasl_pwcheck.hashes.decoys import parse_label
from sasl_pwcheck.hashes.options import HashesOptions
from sasl_pwcheck.hashes.schemes import (
    ALIASES,
    DEFAULT,
    RECOMMENDED,
    SUPPORTED,
    WEAK,
    canonical_scheme,
    library_of,
)

DOCS = Path(__file__).parents[2] / "docs"
HOWTO = (DOCS / "howto" / "keep-password-hashes.md").read_text("utf-8")
CONFIGURATION = (DOCS / "configuration.md").read_text("utf-8")

SCHEMES = re.findall(
    r"^\| `([A-Z0-9-]+)` \| (.*?) ?\| (recommended|accepted|weak) \| (.*?) \|$", HOWTO, re.MULTILINE
)
TABLE = re.search(
    r"^\| `\[pwcheck\.hashes\]` .*?(?=^\| `\[|^$)", CONFIGURATION, re.MULTILINE | re.DOTALL
)
OPTIONS = re.findall(
    r"\| `(\w+)` \| `(.*?)` \| (.*?) \| (.*) \|$", TABLE[0] if TABLE else "", re.MULTILINE
)
BOUNDED = {
    name: tuple(int(number.replace(",", "")) for number in bounds[0])
    for name, _, _, meaning in OPTIONS
    if (bounds := re.findall(r"from ([\d,]+) to ([\d,]+)", meaning))
}
FIELDS = {field.name: field for field in attrs.fields(attrs.resolve_types(HashesOptions))}


def test_every_scheme_is_told_with_its_status() -> None:
    """One row for each, with the set that it is in and the library that computes it."""
    assert {row[0] for row in SCHEMES} == set(SUPPORTED)
    for scheme, _, status, by in SCHEMES:
        known = "recommended" if scheme in RECOMMENDED else "weak" if scheme in WEAK else "accepted"
        assert status == known
        library = library_of(scheme)
        assert (library[1] if library else None) == (
            by if by in ("libpass", "bcrypt", "argon2-cffi") else None
        )


def test_every_alias_is_told() -> None:
    """Beside the scheme that it means."""
    told = {
        alias: scheme
        for scheme, others, _, _ in SCHEMES
        for alias in re.findall(r"\{([A-Z0-9-]+)\}", others)
        if alias not in ("CRYPT", "ARGON2", "MD5")
    }
    assert told == ALIASES


def test_the_labels_of_the_page_are_labels() -> None:
    """Every `SCHEME:COST` that is shown can be written into decoys."""
    labels = re.findall(r"`([A-Z0-9-]+(?::\d+)+)`", HOWTO)
    assert len(labels) > 4
    for label in labels:
        assert parse_label(label)[0] == canonical_scheme(label.partition(":")[0])
        assert HashesOptions(decoys=(label,)).decoy_labels == (label,)


def test_every_option_is_told() -> None:
    """With its type and its default, in the order of the class but for decoys."""
    assert [row[0] for row in OPTIONS] == list(FIELDS)
    words: dict[Any, str] = {DEFAULT: "all that are not weak", False: "no"}
    for name, kind, default, _ in OPTIONS:
        field = FIELDS[name]
        assert kind == (field.type.__name__ if field.type in (int, bool) else str(field.type))
        if field.type is int:
            assert int(default.replace(",", "")) == field.default
        elif field.default == ():
            assert default == {"weak_schemes": "none", "decoys": "the first scheme"}[name]
        else:
            assert default == words[field.default]


@pytest.mark.parametrize("name", [name for name, field in FIELDS.items() if field.type is int])
def test_bounds_are_the_told_ones(name: str) -> None:
    """Both bounds are accepted, the numbers beyond are not."""
    low, high = BOUNDED[name]
    # A decoy that costs nothing passes the lowest caps too.
    cheap = {"weak_schemes": ("SSHA",), "decoys": ("SSHA",)}
    for value in (low, high):
        given: dict[str, Any] = {name: value, **cheap}
        assert getattr(HashesOptions(**given), name) == value
    for value in (low - 1, high + 1):
        given = {name: value, **cheap}
        with pytest.raises(ConfigError, match=f"from {low} to {high}"):
            HashesOptions(**given)
