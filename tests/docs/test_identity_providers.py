"""docs/identity-providers.md: its tables are those of the code, and what it promises is so."""

from __future__ import annotations

import json
import re
import tomllib
from pathlib import Path
from typing import Any

import attrs
import pytest

from sasl_core import ConfigError
from sasl_tokens import CODES, IdentityProviderConfig, parse_providers
from sasl_tokens.config import FIELDS
from sasl_tokens.fields import TEXT_LIMIT as LONGEST_TEXT
from sasl_tokens.patterns import PRICE_LIMIT, TEXT_LIMIT, BadPattern, compile_pattern
from sasl_tokens.provider import NAME_LIMIT, ROLES_LIMIT
from sasl_tokens.roster import SEEN_LIMIT, WEIGHT_LIMIT

TEXT = (Path(__file__).parents[2] / "docs" / "identity-providers.md").read_text("utf-8")
WORDS = " ".join(TEXT.split())
SECTIONS = dict(re.findall(r"^##+ ([^\n]+)\n(.*?)(?=^##|\Z)", TEXT, re.MULTILINE | re.DOTALL))


def rows(section: str) -> list[list[str]]:
    """The rows of a section's one table, without its head."""
    lines = [line for line in SECTIONS[section].splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in line.strip("|").split(" | ")] for line in lines[2:]]


def test_the_fields_are_those_that_are_read() -> None:
    """All of them, in the order in which they are declared."""
    assert [row[0].strip("` ") for row in rows("Fields")] == list(FIELDS)
    assert {field.name for field in attrs.fields(IdentityProviderConfig)} == set(FIELDS.values())


def test_the_defaults_are_those_of_the_code() -> None:
    """As they are written in the table; "none" is None, and what is required has none."""
    defaults: dict[str, Any] = {
        field.name: field.default for field in attrs.fields(IdentityProviderConfig)
    }
    for name, _, written, _ in rows("Fields"):
        attribute = FIELDS[name.strip("`")]
        if written.startswith("required"):
            assert defaults[attribute] in (attrs.NOTHING, None)
            continue
        value = defaults[attribute]
        shown = "none" if value is None else f"`{value}`" if isinstance(value, str) else None
        if isinstance(value, tuple):
            shown = f"`{json.dumps(value)}`"
        assert written == (json.dumps(value) if shown is None else shown)


def test_the_example_is_a_configuration() -> None:
    """What the page begins with can be copied."""
    found = re.search(r"^```toml\n(.*?)^```$", TEXT, re.MULTILINE | re.DOTALL)
    assert found is not None
    first, second = parse_providers(tomllib.loads(found[1])["identity_providers"])
    assert first.match_pattern == r"@corp\.example$"
    assert not second.use_authorization_claim


def test_the_messages_are_real() -> None:
    """Those that are shown are what is said."""
    one = {
        "issuer": "https://a.example",
        "audience": "a",
        "authNamePrefix": "a",
        "supportsHumanFlows": False,
        "useAuthorizationClaim": False,
    }
    for wrong in ({**one, "isuer": "x"}, {**one, "audience": "b", "JWKSPollSecs": 1}):
        with pytest.raises(ConfigError) as caught:
            _ = parse_providers([one, wrong])
        assert f"\n{caught.value}\n" in TEXT


def test_the_codes_are_all_there() -> None:
    """Each with its result and a few words, in the order of the code."""
    written = {row[0].strip("` "): row[1] for row in rows("Why a token is refused")}
    assert written == {code: result.name for code, result in CODES.items()}
    assert list(written) == list(CODES)


def test_numbers_are_those_of_the_code() -> None:
    """A limit that is changed is changed here too."""
    for number, said in (
        (LONGEST_TEXT, f"at most {LONGEST_TEXT} characters"),
        (TEXT_LIMIT, f"more than {TEXT_LIMIT} characters matches no pattern"),
        (PRICE_LIMIT, f"Over {PRICE_LIMIT:,} steps"),
        (NAME_LIMIT, f"1 to {NAME_LIMIT} printable characters"),
        (ROLES_LIMIT, f"at most {ROLES_LIMIT} roles"),
        (SEEN_LIMIT, f"Up to {SEEN_LIMIT} are remembered"),
        (WEIGHT_LIMIT, f"grants more than {WEIGHT_LIMIT} octets"),
    ):
        assert number
        assert said in WORDS


def test_the_patterns_are_judged_as_it_says() -> None:
    """Those that it refuses, and those that it recommends."""
    for good in (r"(?i)[a-z.]+@corp\.example$", "[a-z.]+@corp", r"^[a-z]+\.[a-z]+@corp", "[a-z.]*"):
        assert f"`{good}`" in SECTIONS["Patterns"]
        _ = compile_pattern(good)
    for bad in ("(a+)+", "(a|b)*", r"([a-z]+\.)*"):
        assert f"`{bad}`" in SECTIONS["Patterns"]
        with pytest.raises(BadPattern):
            _ = compile_pattern(bad)
