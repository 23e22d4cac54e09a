"""The options of `[pwcheck.hashes]`, and what they refuse before anything is computed."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, Final

import attrs

from sasl_core.plugin import ConfigError, printable
from sasl_pwcheck.hashes.decoys import parse_label
from sasl_pwcheck.hashes.schemes import (
    DEFAULT,
    SUPPORTED,
    WEAK,
    StoredHash,
    canonical_scheme,
    format_label,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

__all__ = ["HashesOptions"]


def _schemes(names: Sequence[str], right: Sequence[str], other: Sequence[str], there: str) -> None:
    """Every name must be one of `right`; one of `other` is sent to where it belongs."""
    for name in names:
        scheme = canonical_scheme(name)
        if scheme in other:
            raise ConfigError(f"{scheme} belongs into {there}")
        if scheme not in right:
            raise ConfigError(
                f"unknown scheme {printable(name, 40)!r}; there are {', '.join(right)}"
            )


def _strong(_options: object, _field: object, names: tuple[str, ...]) -> None:
    _schemes(names, DEFAULT, WEAK, "weak_schemes: it is weak")


def _weak(_options: object, _field: object, names: tuple[str, ...]) -> None:
    _schemes(names, WEAK, DEFAULT, "schemes: it is not weak")


def _decoys(options: HashesOptions, _field: object, labels: tuple[str, ...]) -> None:
    if not options.accepted:
        raise ConfigError("neither schemes nor weak_schemes names any scheme")
    for label in labels or options.decoy_labels:
        scheme, cost = parse_label(label)
        refusal = options.refusal(StoredHash(scheme, cost))
        if refusal is not None:
            raise ConfigError(f"the decoy {format_label(scheme, cost)} would be refused: {refusal}")


def _between(low: int, high: int) -> Callable[[object, object, int], None]:
    def check(_options: object, _field: object, value: int) -> None:
        if not low <= value <= high:
            raise ConfigError(f"expected a whole number from {low} to {high}")

    return check


MAX_ROUNDS: Final = 100_000_000


@attrs.frozen
class HashesOptions:
    """The options of `[pwcheck.hashes]`. Sets of schemes: see `schemes.py`.

    `schemes`, `weak_schemes`: what is accepted; a weak one only where the second names it.
    `decoys`: scheme and cost of what is computed for users without a hash; none given: the
    first accepted scheme at its usual cost. `truncate_passwords`: let a scheme that looks
    at a password's beginning only (BLF-CRYPT: 72 octets, DES-CRYPT: 8) check a longer one.
    `longest_password` in octets. Caps, each of the hash's own cost: `bcrypt_cost_cap` as
    the logarithm that the hash has; `argon2_time_cap` in passes; `memory_cap` in KiB, for
    Argon2 and scrypt; `parallelism_cap` for both; `sha_crypt_rounds_cap`;
    `pbkdf2_rounds_cap`. SCRAM's rounds have the core's `scram_iteration_cap`.
    """

    schemes: tuple[str, ...] = attrs.field(default=DEFAULT, validator=_strong)
    weak_schemes: tuple[str, ...] = attrs.field(default=(), validator=_weak)
    truncate_passwords: bool = False
    longest_password: int = attrs.field(default=512, validator=_between(72, 4096))
    bcrypt_cost_cap: int = attrs.field(default=14, validator=_between(4, 20))
    argon2_time_cap: int = attrs.field(default=16, validator=_between(1, 1000))
    memory_cap: int = attrs.field(default=262_144, validator=_between(1024, 4_194_304))
    parallelism_cap: int = attrs.field(default=8, validator=_between(1, 64))
    sha_crypt_rounds_cap: int = attrs.field(default=1_000_000, validator=_between(5000, MAX_ROUNDS))
    pbkdf2_rounds_cap: int = attrs.field(default=2_000_000, validator=_between(5000, MAX_ROUNDS))
    # Last, for its check reads the others.
    decoys: tuple[str, ...] = attrs.field(default=(), validator=_decoys)

    @property
    def accepted(self) -> tuple[str, ...]:
        """The accepted schemes by their canonical names, in the order given, each once."""
        return _canonical((*self.schemes, *self.weak_schemes))

    @property
    def decoy_labels(self) -> tuple[str, ...]:
        """The labels of the decoys, written the one way."""
        labels = self.decoys or self.accepted[:1]
        return tuple(format_label(*parse_label(label)) for label in labels)

    def refusal(
        self, stored: StoredHash, scram_cap: Callable[[str], int] | None = None
    ) -> str | None:
        """Why `stored` is not computed, and the option that would lift it; None: it is.

        `scram_cap`: the most rounds of SCRAM with a hash; None: any number.
        """
        scheme, cost = stored.scheme, stored.cost
        if scheme not in self.accepted:
            option = "weak_schemes" if scheme in WEAK else "schemes"
            return f"scheme {scheme} is not accepted; name it in {option}"
        if scheme == "BLF-CRYPT":
            return _above("cost", cost[0], self.bcrypt_cost_cap, "bcrypt_cost_cap")
        if scheme in ("SHA256-CRYPT", "SHA512-CRYPT"):
            return _above("rounds", cost[0], self.sha_crypt_rounds_cap, "sha_crypt_rounds_cap")
        if scheme.startswith("PBKDF2-"):
            return _above("rounds", cost[0], self.pbkdf2_rounds_cap, "pbkdf2_rounds_cap")
        if scheme.startswith("SCRAM-"):
            name = scheme.removeprefix("SCRAM-")
            cap = cost[0] if scram_cap is None else scram_cap(name)
            return _above("rounds", cost[0], cap, "scram_iteration_cap")
        if scheme in ("ARGON2I", "ARGON2ID"):
            memory, passes, lanes = cost
            return (
                _above("KiB of memory", memory, self.memory_cap, "memory_cap")
                or _above("passes", passes, self.argon2_time_cap, "argon2_time_cap")
                or _above("lanes", lanes, self.parallelism_cap, "parallelism_cap")
            )
        if scheme == "SCRYPT":
            n, r, lanes = cost
            # One lane after the other, each with all of the memory: N r p is the time.
            return _above("KiB of memory", n * r // 8, self.memory_cap, "memory_cap") or _above(
                "lanes", lanes, self.parallelism_cap, "parallelism_cap"
            )
        return None

    def overlong(self, stored: StoredHash, password: bytes) -> str | None:
        """Why `stored` cannot speak for all of `password`; None: it can, or is told to."""
        reads = SUPPORTED[stored.scheme].reads
        if self.truncate_passwords or not reads or len(password) <= reads:
            return None
        return (
            f"{stored.scheme} looks at the first {reads} octets of a password only, and this one "
            "is longer; truncate_passwords lets it pass"
        )


@lru_cache(maxsize=16)  # read at each login of a user who has a hash, and only of those
def _canonical(written: tuple[str, ...]) -> tuple[str, ...]:
    names = map(canonical_scheme, written)
    return tuple(dict.fromkeys(name for name in names if name is not None))


def _above(what: str, value: int, cap: int, option: str) -> str | None:
    return f"{value} {what} are more than {option} = {cap}" if value > cap else None
