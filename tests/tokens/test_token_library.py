"""The library as a whole: what it offers, and what it costs to have."""

from __future__ import annotations

import subprocess
import sys
from importlib import import_module
from types import ModuleType

import pytest

import sasl_tokens

HEAVY = {"asyncio", "cryptography", "json", "jwt", "logging", "ssl", "urllib.request"}


def loaded_by(code: str) -> set[str]:
    """The modules of an interpreter that has run this."""
    done = subprocess.run(
        [sys.executable, "-P", "-c", f"import sys\n{code}\nprint(*sys.modules)"],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    return set(done.stdout.split())


def test_every_name_is_where_it_is_said_to_be() -> None:
    """The names of the door are those of its modules, all of them and no others."""
    homes = {name: home for home, names in vars(sasl_tokens)["_HOMES"].items() for name in names}
    assert sorted(homes) == sorted(sasl_tokens.__all__)
    for name, home in homes.items():
        value = getattr(sasl_tokens, name)
        module = import_module(f"sasl_tokens.{home}")
        assert isinstance(module, ModuleType)
        assert value is getattr(module, name)
        assert name in module.__all__
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = sasl_tokens.nothing  # type: ignore[attr-defined]  # pyright: ignore[reportAttributeAccessIssue]


def test_the_door_loads_nothing() -> None:
    """Importing the package loads none of its modules."""
    loaded = loaded_by("import sasl_tokens")
    assert not {name for name in loaded if name.startswith("sasl_tokens.")}
    assert not loaded & HEAVY


def test_cryptography_waits_for_a_key() -> None:
    """Neither PyJWT nor cryptography is loaded before a key is prepared."""
    light = loaded_by("from sasl_tokens import JWKManager, JWKSet, JWSValidatedToken, TokenRules")
    assert not light & {"cryptography", "jwt", "ssl", "urllib.request"}
    made = loaded_by(
        "from sasl_tokens import JWK, JWSValidator\n"
        "key = {'kid': 'k', 'kty': 'OKP', 'crv': 'Ed25519', 'x': 'A' * 43}\n"
        "JWSValidator(JWK.from_mapping(key))"
    )
    assert {"cryptography", "jwt"} <= made
