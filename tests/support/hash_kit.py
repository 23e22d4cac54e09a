"""What the tests of the password method `hashes` share: hashes of each scheme, users, servers."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from sasl_core import AuthenticationError, UserName
from sasl_core.needs import Change
from sasl_pwcheck.hashes.schemes import WEAK

__all__ = ["CHEAP", "EXAMPLES", "PASSWORD", "config", "give", "logs_in", "values", "verifiers"]

_FILE = Path(__file__).parents[1] / "vectors" / "password_hashes.json"
_MADE: Final[dict[str, Any]] = json.loads(_FILE.read_text("utf-8"))

PASSWORD: Final[str] = _MADE["password"]
"""Of eight octets, all that DES-CRYPT looks at."""
CHEAP: Final = "BLF-CRYPT:4"
"""The decoy of the tests: what a computation costs is nothing to them."""

EXAMPLES: Final[dict[str, str]] = _MADE["hashes"]
"""Who made it -> a hash of PASSWORD."""


def config(**options: Any) -> dict[str, Any]:
    """A server's configuration: the store first, then hashes of every scheme, then SCRAM."""
    settings: dict[str, Any] = {"decoys": [CHEAP], "weak_schemes": list(WEAK), **options}
    return {
        "allow_cleartext": True,
        "scram_iteration_counter": 4096,
        "pwcheck_method": ["auxprop", "hashes"],
        "auto_transition": "noplain",
        "pwcheck": {"hashes": settings},
    }


def give(store: Any, user: str, *hashes: str | bytes, **more: Any) -> None:
    """Make a user who has these hashes."""
    stored = tuple(text.encode() if isinstance(text, str) else text for text in hashes)
    values = {"passwordHash": stored} if stored else {}
    store.write(UserName.parse(user), Change(values, create=True, exist_ok=True, **more))


def logs_in(server: Any, user: str, password: str = PASSWORD) -> bool:
    """Whether the password is good."""
    try:
        return bool(server.session().start("PLAIN", f"\0{user}\0{password}".encode()).done)
    except AuthenticationError:
        return False


def values(store: Any, user: str, name: str = "passwordHash") -> Sequence[bytes]:
    """The user's values of a property."""
    found = store.read(UserName.parse(user), (name,)).values
    return tuple(found.get(name, ()))


def verifiers(store: Any, user: str) -> set[str]:
    """The hashes of the user's SCRAM verifiers."""
    return set(store.read(UserName.parse(user), ("authPassword",)).verifiers)
