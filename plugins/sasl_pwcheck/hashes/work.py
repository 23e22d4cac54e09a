"""Computing a hash and comparing it, scheme by scheme, for costs that were capped before.

Every comparison takes constant time. Libraries are imported at the first use, in the
thread that computes. Nothing here knows a real hash from a decoy.
"""

from __future__ import annotations

import hashlib
import hmac
from hmac import compare_digest
from importlib import import_module
from typing import TYPE_CHECKING, Final

from sasl_core.plugin import derive, stored_keys
from sasl_pwcheck.hashes.schemes import SUPPORTED

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import Any, TypeAlias

    from sasl_core.plugin import UserName
    from sasl_pwcheck.hashes.schemes import StoredHash

    Check: TypeAlias = Callable[[StoredHash, bytes, UserName], bool]

__all__ = ["matches"]

_BCRYPT64: Final = b"./ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789"


def matches(stored: StoredHash, password: bytes, user: UserName) -> bool:
    """Whether `password` of `user` has the hash `stored`. Costs what the hash says.

    Raises:
        Exception: what the library behind the scheme raises.
    """
    return _CHECKS[stored.scheme](stored, password, user)


# --- by the standard library --------------------------------------------------------------


def _digest(name: str) -> Check:
    """H(password + salt)."""

    def check(stored: StoredHash, password: bytes, _user: UserName) -> bool:
        computed = hashlib.new(name, password + stored.salt, usedforsecurity=False).digest()
        return compare_digest(computed, stored.digest)

    return check


def _pbkdf2(name: str) -> Check:
    def check(stored: StoredHash, password: bytes, _user: UserName) -> bool:
        computed = hashlib.pbkdf2_hmac(name, password, stored.salt, stored.cost[0])
        return compare_digest(computed, stored.digest)

    return check


def _scram(name: str) -> Check:
    """RFC 5802 section 3: the StoredKey."""

    def check(stored: StoredHash, password: bytes, _user: UserName) -> bool:
        salted = derive(name, password, stored.salt, stored.cost[0])
        return compare_digest(stored_keys(name, salted)[1], stored.digest)

    return check


def _scrypt(stored: StoredHash, password: bytes, _user: UserName) -> bool:
    n, r, parallelism = stored.cost
    computed = hashlib.scrypt(
        password,
        salt=stored.salt,
        n=n,
        r=r,
        p=parallelism,
        # OpenSSL's own bound is 32 MiB; what it needs at most is N + p + 2 blocks.
        maxmem=128 * r * (n + parallelism + 2),
        dklen=len(stored.digest),
    )
    return compare_digest(computed, stored.digest)


def _cram_md5(stored: StoredHash, password: bytes, _user: UserName) -> bool:
    from sasl_pwcheck.hashes.md5 import hmac_md5_states

    return compare_digest(hmac_md5_states(password), stored.digest)


def _digest_md5(stored: StoredHash, password: bytes, user: UserName) -> bool:
    """RFC 2831 section 2.1.2.1: H(user ":" realm ":" password)."""
    name = f"{user.name}:{user.realm}:".encode("utf-8", "surrogatepass")
    computed = hashlib.md5(name + password, usedforsecurity=False).digest()
    return compare_digest(computed, stored.digest)


def _plain(stored: StoredHash, password: bytes, _user: UserName) -> bool:
    # Digests have one length whatever the passwords have.
    key = b"compare"
    return compare_digest(
        hmac.digest(key, password, "sha256"), hmac.digest(key, stored.digest, "sha256")
    )


# --- by libraries ---------------------------------------------------------------------------


def _passlib(name: str, form: Callable[[StoredHash], str]) -> Check:
    """By libpass, whose module is called passlib; it has no types, and nothing of it gets out."""

    def check(stored: StoredHash, password: bytes, _user: UserName) -> bool:
        handler: Any = getattr(import_module("passlib.hash"), name)
        return handler.verify(password, form(stored)) is True

    return check


def _sha_crypt_form(prefix: str) -> Callable[[StoredHash], str]:
    def form(stored: StoredHash) -> str:
        salt, digest = stored.salt.decode("ascii"), stored.digest.decode("ascii")
        return f"${prefix}$rounds={stored.cost[0]}${salt}${digest}"

    return form


def _md5_crypt_form(stored: StoredHash) -> str:
    return f"$1${stored.salt.decode('ascii')}${stored.digest.decode('ascii')}"


def _des_crypt_form(stored: StoredHash) -> str:
    return (stored.salt + stored.digest).decode("ascii")


def _md4(stored: StoredHash, password: bytes, _user: UserName) -> bool:
    # OpenSSL 3 has no MD4 any more; passlib has its own.
    digest: Any = import_module("passlib.crypto.digest")
    return compare_digest(digest.lookup_hash("md4").const(password).digest(), stored.digest)


def _bcrypt(stored: StoredHash, password: bytes, _user: UserName) -> bool:
    import bcrypt

    # bcrypt 5 raises beyond 72 octets, older ones cut; crypt(3) cuts. Whether so long a
    # password is let through to here is the option truncate_passwords.
    seen = password[: SUPPORTED["BLF-CRYPT"].reads]
    # Of the salt's last character two bits count. crypt(3) ignores the others, and the
    # library refuses a salt in which they are set.
    last = _BCRYPT64[_BCRYPT64.index(stored.salt[-1]) & 0b110000]
    salt = b"$2b$%02d$%b%c" % (stored.cost[0], stored.salt[:-1], last)
    computed = bcrypt.hashpw(seen, salt)
    return compare_digest(computed[-len(stored.digest) :], stored.digest)


def _argon2(kind: str) -> Check:
    def check(stored: StoredHash, password: bytes, _user: UserName) -> bool:
        from argon2.low_level import Type, hash_secret_raw

        memory, time, parallelism = stored.cost
        # From numbers that were capped: the library reads no text of ours again.
        computed = hash_secret_raw(
            password,
            stored.salt,
            time_cost=time,
            memory_cost=memory,
            parallelism=parallelism,
            hash_len=len(stored.digest),
            type=Type[kind],
            version=stored.version,
        )
        return compare_digest(computed, stored.digest)

    return check


_CHECKS: Final[Mapping[str, Check]] = {
    "SHA512-CRYPT": _passlib("sha512_crypt", _sha_crypt_form("6")),
    "SHA256-CRYPT": _passlib("sha256_crypt", _sha_crypt_form("5")),
    "MD5-CRYPT": _passlib("md5_crypt", _md5_crypt_form),
    "DES-CRYPT": _passlib("des_crypt", _des_crypt_form),
    "BLF-CRYPT": _bcrypt,
    "ARGON2ID": _argon2("ID"),
    "ARGON2I": _argon2("I"),
    "SCRYPT": _scrypt,
    "PBKDF2-SHA1": _pbkdf2("sha1"),
    "PBKDF2-SHA256": _pbkdf2("sha256"),
    "PBKDF2-SHA512": _pbkdf2("sha512"),
    "SCRAM-SHA-1": _scram("SHA-1"),
    "SCRAM-SHA-256": _scram("SHA-256"),
    "SSHA": _digest("sha1"),
    "SSHA256": _digest("sha256"),
    "SSHA512": _digest("sha512"),
    "SMD5": _digest("md5"),
    "SHA": _digest("sha1"),
    "SHA256": _digest("sha256"),
    "SHA512": _digest("sha512"),
    "PLAIN-MD5": _digest("md5"),
    "PLAIN-MD4": _md4,
    "CRAM-MD5": _cram_md5,
    "DIGEST-MD5": _digest_md5,
    "PLAIN": _plain,
}
