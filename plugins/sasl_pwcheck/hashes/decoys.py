"""What is computed for a user who has no hash: made up from a label, costing what it says."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from sasl_core.plugin import ConfigError, printable
from sasl_pwcheck.hashes.schemes import SUPPORTED, StoredHash, canonical_scheme

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["make_decoy", "parse_label"]

_NUMBERS: Final = re.compile(r"[1-9][0-9]{0,9}(:[1-9][0-9]{0,9})*", re.ASCII)
_CRYPT64: Final = "./0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
# Schemes of crypt(3) have characters for octets, and so many of them in a salt.
_CHARACTERS: Final = {
    "SHA512-CRYPT": 16,
    "SHA256-CRYPT": 16,
    "BLF-CRYPT": 22,
    "MD5-CRYPT": 8,
    "DES-CRYPT": 2,
}
_UNSALTED: Final = frozenset(
    {"SHA", "SHA256", "SHA512", "PLAIN-MD5", "PLAIN-MD4", "CRAM-MD5", "DIGEST-MD5", "PLAIN"}
)


def parse_label(label: str) -> tuple[str, tuple[int, ...]]:
    """Read "BLF-CRYPT:12"; without numbers the scheme has its usual cost.

    Raises:
        ConfigError: no such scheme, or not its numbers.
    """
    name, colon, numbers = label.partition(":")
    scheme = canonical_scheme(name)
    if scheme is None:
        raise ConfigError(f"unknown scheme {printable(name, 40)!r}")
    kind = SUPPORTED[scheme]
    if not colon:
        return scheme, kind.usual
    if _NUMBERS.fullmatch(numbers):
        cost = tuple(map(int, numbers.split(":")))
        if len(cost) == len(kind.costs) and _possible(scheme, cost):
            return scheme, cost
    form = ":".join((scheme, *(name.upper() for name in kind.costs)))
    raise ConfigError(f"expected a decoy of the form {form}, with numbers that {scheme} can have")


def _possible(scheme: str, cost: tuple[int, ...]) -> bool:
    """Whether the scheme can be computed at this cost."""
    first = cost[0]
    if scheme == "BLF-CRYPT":
        return 4 <= first <= 31
    if scheme in ("SHA256-CRYPT", "SHA512-CRYPT"):
        return 1000 <= first <= 999_999_999
    if scheme in ("ARGON2I", "ARGON2ID"):
        return first >= 8 * cost[2]
    if scheme == "SCRYPT":
        exponent = first.bit_length() - 1
        return first == 1 << exponent and 0 < exponent < 16 * cost[1] and cost[1] * cost[2] < 2**30
    return first < 2**31


def make_decoy(label: str, random: Callable[[int], bytes]) -> StoredHash:
    """A hash of no password anybody knows, of the scheme and cost that `label` says.

    Raises:
        ConfigError: as `parse_label`.
    """
    scheme, cost = parse_label(label)
    size = SUPPORTED[scheme].size or 32
    characters = _CHARACTERS.get(scheme)
    if characters is not None:
        return StoredHash(scheme, cost, _text(random(characters)), _text(random(size)))
    salt = b"" if scheme in _UNSALTED else random(16)
    return StoredHash(scheme, cost, salt, random(size))


def _text(octets: bytes) -> bytes:
    return "".join(_CRYPT64[octet % 64] for octet in octets).encode("ascii")
