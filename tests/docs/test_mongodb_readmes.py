"""docs/mongodb-readmes.md: what it names is there, and it leaves out no section."""

from __future__ import annotations

import re
from importlib import import_module
from pathlib import Path

import pytest

from sasl_tokens.config import FIELDS

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "docs" / "mongodb-readmes.md").read_text("utf-8")
SECTIONS = dict(re.findall(r"^## ([^\n]+)\n(.*?)(?=^## |\Z)", TEXT, re.MULTILINE | re.DOTALL))
NAMES = sorted(set(re.findall(r"`(sasl_[a-z_]+(?:\.\w+)*)`", TEXT)))
TESTS = sorted(set(re.findall(r"`(tests/[\w/]+\.py)`", TEXT)))

HEADINGS = {
    "JSON Web Token Library": [
        "Glossary",
        "JWKManager",
        "JSON Web Keys",
        "Example JWK file",
        "JWSValidator",
        "JWSValidatedToken",
        "Compact Serialization Format",
        "JWSHeader",
        "JWT",
        "JWS Signature",
    ],
    "MONGODB-OIDC": [
        "Glossary",
        "Configuration",
        "IDPManager",
        "IdentityProvider",
        "AuthName",
        "principalClaim",
        "authorizationClaim",
        "SASL exchange",
        "OIDCMechanismClientStep1",
        "IDP Selection",
        "OIDCMechanismServerStep1",
        "OIDCMechanismClientStep2",
        "AuthzManagerExternalStateOIDC",
    ],
}
"""The headings of the two READMEs."""


def found(name: str) -> object:
    """What a dotted name means: a module, or something in one."""
    thing: object = import_module(name.partition(".")[0])
    path = name.partition(".")[0]
    for part in name.split(".")[1:]:
        path = f"{path}.{part}"
        try:
            thing = getattr(thing, part)
        except AttributeError:
            thing = import_module(path)
    return thing


@pytest.mark.parametrize("name", NAMES)
def test_every_module_and_class_exists(name: str) -> None:
    """As it is written, from its package on."""
    assert found(name) is not None


@pytest.mark.parametrize("path", TESTS)
def test_every_test_exists(path: str) -> None:
    """The files that are said to hold it to that."""
    assert (ROOT / path).is_file()


@pytest.mark.parametrize(
    ("readme", "heading"), [(each, one) for each, all_ in HEADINGS.items() for one in all_]
)
def test_every_section_has_its_row(readme: str, heading: str) -> None:
    """A row that begins with the section's heading, and names something of ours and a test."""
    rows = [line for line in SECTIONS[readme].splitlines() if line.startswith(f"| {heading}")]
    assert rows
    assert all("`tests/" in row for row in rows)


def test_the_page_names_what_matters() -> None:
    """The collection has not run dry, and the fields of ours are fields."""
    assert {"sasl_tokens.JWKManager", "sasl_tokens.IDPManager.select"} <= set(NAMES)
    assert len(TESTS) > 10
    ours = set(re.findall(r"`([a-zA-Z]+)`", SECTIONS["What differs"])) - {"kid"}
    assert ours <= set(FIELDS)
    assert len(ours) == 7
