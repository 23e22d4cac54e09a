"""Who logs in: the same users for every contender, with keys derived once."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any, Final

import attrs

from bench import ideal
from sasl_auxprop.memory import MemoryStore
from sasl_core.plugin import UserName, verifier_from_salted_password

if TYPE_CHECKING:
    from collections.abc import Iterable

    from sasl_core.plugin import ScramVerifier

__all__ = ["HOST", "PASSWORD", "ROUNDS", "SERVICE", "People", "crowd", "peer"]

SERVICE: Final = "smtp"
HOST: Final = "mail.example.com"
PASSWORD: Final = "correct horse battery"  # noqa: S105 - a made-up one
ROUNDS: Final = 4096
"""Of every derivation, unless a benchmark says otherwise; the fewest that clients accept."""
SALT: Final = bytes(range(16))


@attrs.frozen
class People:
    """The same users, as each contender keeps them. All have one password and one salt."""

    names: tuple[str, ...]
    client: ideal.ClientKeys
    server: ideal.Keys

    def verifier(self) -> ScramVerifier:
        """The verifier that all of them have."""
        salt, iterations = self.server.salt, self.server.iterations
        salted = ideal.derive(PASSWORD.encode(), salt, iterations)
        return verifier_from_salted_password("SHA-256", salted, salt, iterations)

    def store(self) -> MemoryStore:
        """Our store in memory, with their verifiers."""
        store = MemoryStore()
        verifier = self.verifier()
        for name in self.names:
            store.add_user(UserName(name), verifiers=[verifier])
        return store

    def table(self) -> dict[str, ideal.Keys]:
        """What the ideal server looks its users up in."""
        return dict.fromkeys(self.names, self.server)

    def scramp(self) -> dict[str, tuple[bytes, bytes, bytes, int]]:
        """What scramp's `auth_fn` answers, by name."""
        keys = self.server
        kept = (keys.salt, keys.stored_key, keys.server_key, keys.iterations)
        return dict.fromkeys(self.names, kept)


def crowd(names: Iterable[str], salt: bytes = SALT, rounds: int = ROUNDS) -> People:
    """Users with these names, all with `PASSWORD`."""
    keys = ideal.client_keys(PASSWORD.encode(), salt, rounds)
    return People(tuple(names), keys, ideal.Keys(salt, rounds, keys.stored_key, keys.server_key))


def peer(module: str) -> Any:
    """Another library's module, or None if it is not installed (extra `bench`)."""
    try:
        return import_module(module)
    except ImportError:
        return None
