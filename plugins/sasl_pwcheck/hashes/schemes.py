"""The schemes of stored password hashes, and what is known of one hash.

Three sets, kept apart: SUPPORTED is all that can be checked, DEFAULT what is accepted
unless configured otherwise, RECOMMENDED what is worth keeping for long. The rest of
SUPPORTED is weak: fast to try a dictionary on, or as good as the password itself. A weak
scheme is accepted only where `weak_schemes` names it.

Names are Dovecot's. A *label* is a scheme with its cost, "BLF-CRYPT:12": the numbers in
the order of the scheme's `costs`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import attrs

from sasl_core.plugin import record

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = [
    "ALIASES",
    "DEFAULT",
    "RECOMMENDED",
    "SUPPORTED",
    "WEAK",
    "Scheme",
    "StoredHash",
    "canonical_scheme",
    "format_label",
    "library_of",
]


@record
class Scheme:
    """What is fixed for a scheme.

    `costs`: the names of its cost's numbers. `usual`: the cost that `doveadm pw` of
    Dovecot 2.3 gives it (SCRYPT: passlib). `size`: octets of the digest, 0 where it
    varies. `reads`: how many octets of a password it looks at, 0 for all. `library`: the
    module that computes it, "" for the standard library.
    """

    costs: tuple[str, ...] = ()
    usual: tuple[int, ...] = ()
    size: int = 0
    reads: int = 0
    library: str = ""


_ROUNDS = ("rounds",)
_ARGON2 = ("memory", "time", "parallelism")

_DEFAULT_SCHEMES: Final[Mapping[str, Scheme]] = {
    "SHA512-CRYPT": Scheme(_ROUNDS, (5000,), 86, library="passlib"),
    "SHA256-CRYPT": Scheme(_ROUNDS, (5000,), 43, library="passlib"),
    "BLF-CRYPT": Scheme(("cost",), (5,), 31, reads=72, library="bcrypt"),
    "ARGON2ID": Scheme(_ARGON2, (65536, 3, 1), library="argon2"),
    "ARGON2I": Scheme(_ARGON2, (32768, 4, 1), library="argon2"),
    "SCRYPT": Scheme(("n", "r", "parallelism"), (65536, 8, 1)),
    "PBKDF2-SHA1": Scheme(_ROUNDS, (5000,), 20),
    "PBKDF2-SHA256": Scheme(_ROUNDS, (5000,), 32),
    "PBKDF2-SHA512": Scheme(_ROUNDS, (5000,), 64),
    "SCRAM-SHA-1": Scheme(_ROUNDS, (4096,), 20),
    "SCRAM-SHA-256": Scheme(_ROUNDS, (4096,), 32),
}
_WEAK_SCHEMES: Final[Mapping[str, Scheme]] = {
    "SSHA": Scheme(size=20),
    "SSHA256": Scheme(size=32),
    "SSHA512": Scheme(size=64),
    "SMD5": Scheme(size=16),
    "MD5-CRYPT": Scheme(size=22, library="passlib"),
    "DES-CRYPT": Scheme(size=11, reads=8, library="passlib"),
    "SHA": Scheme(size=20),
    "SHA256": Scheme(size=32),
    "SHA512": Scheme(size=64),
    "PLAIN-MD5": Scheme(size=16),
    "PLAIN-MD4": Scheme(size=16, library="passlib"),
    "CRAM-MD5": Scheme(size=32),
    "DIGEST-MD5": Scheme(size=16),
    "PLAIN": Scheme(),
}

SUPPORTED: Final[Mapping[str, Scheme]] = {**_DEFAULT_SCHEMES, **_WEAK_SCHEMES}
"""Every scheme that can be checked."""
DEFAULT: Final = tuple(_DEFAULT_SCHEMES)
"""Those accepted by default: each try costs work that the hash's cost sets."""
RECOMMENDED: Final = ("ARGON2ID", "SCRYPT", "BLF-CRYPT")
"""Those made against guessing on special hardware."""
WEAK: Final = tuple(_WEAK_SCHEMES)
"""Those accepted only where `weak_schemes` names them."""

# Other names of the same thing. CRYPT and ARGON2 say what they are in the hash itself;
# Dovecot's MD5 is one of two things, which the parser tells apart.
ALIASES: Final[Mapping[str, str]] = {
    "PBKDF2": "PBKDF2-SHA1",
    "SHA1": "SHA",
    "LDAP-MD5": "PLAIN-MD5",
    "HMAC-MD5": "CRAM-MD5",
    "CLEAR": "PLAIN",
    "CLEARTEXT": "PLAIN",
}

_PACKAGES: Final = {"passlib": "libpass", "bcrypt": "bcrypt", "argon2": "argon2-cffi"}


def canonical_scheme(name: str) -> str | None:
    """The scheme's one name, whatever case or alias it is written in; None: unknown."""
    upper = name.upper()
    known = ALIASES.get(upper, upper)
    return known if known in SUPPORTED else None


def library_of(scheme: str) -> tuple[str, str] | None:
    """The module that computes `scheme` and the distribution that brings it, if any."""
    module = SUPPORTED[scheme].library
    return (module, _PACKAGES[module]) if module else None


def _masked(_: object) -> str:
    return "***"


@record
class StoredHash:
    """One hash, taken apart. `scheme` is canonical.

    `salt` and `digest` are octets, or the crypt alphabet's characters for the schemes of
    crypt(3). `version` is Argon2's, 16 or 19.
    """

    scheme: str
    cost: tuple[int, ...] = ()
    salt: bytes = attrs.field(default=b"", repr=_masked)
    digest: bytes = attrs.field(default=b"", repr=_masked)
    version: int = 19

    @property
    def label(self) -> str:
        """The scheme and its cost; holds no secret."""
        return format_label(self.scheme, self.cost)


def format_label(scheme: str, cost: tuple[int, ...]) -> str:
    """Write a label: "ARGON2ID:65536:3:1"."""
    return ":".join((scheme, *map(str, cost)))
