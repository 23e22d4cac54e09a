"""Reading a stored hash: `{SCHEME}data` as Dovecot writes it, or bare modular crypt.

Invariants:

- What is read is canonical enough to be computed: numbers without leading zeros,
  salts and digests of the length that the scheme has. Everything else is refused, and an
  unknown scheme is no plain password (CVE-2013-4122 was a check that went on without a
  hash).
- Nothing is computed here, and no number of the text has been acted on: caps come next.
- No error shows any of the text but the name of its scheme.

Sources: Dovecot's "Password Schemes", crypt(5), the PHC string format for Argon2,
Passlib's modular crypt formats for PBKDF2 and scrypt, OpenLDAP's pw-pbkdf2.
"""

from __future__ import annotations

import binascii
import re
from typing import TYPE_CHECKING, Final

from sasl_core.plugin import BackendError, printable
from sasl_pwcheck.hashes.schemes import SUPPORTED, StoredHash, canonical_scheme

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

__all__ = ["LONGEST_HASH", "bad_hash", "parse_hash"]

LONGEST_HASH: Final = 1024
"""Octets of a stored hash; the longest that any scheme makes is under 300."""
LONGEST_SALT: Final = 64
"""Octets of a salt."""
DIGESTS: Final = range(16, 65)
"""Octets of a digest whose length the hash itself decides: a short one is easily guessed."""


def bad_hash(why: str) -> BackendError:
    """The error for a stored hash that cannot be used."""
    return BackendError(code="bad-hash", temporary=False, detail=f"a stored hash {why}")


def parse_hash(text: bytes) -> StoredHash:
    """Take a stored hash apart.

    Raises:
        BackendError: it is too long, of no known scheme, or not as its scheme has it
            (code `bad-hash`).
    """
    if len(text) > LONGEST_HASH:
        raise bad_hash(f"is longer than {LONGEST_HASH} octets")
    if text.startswith(b"$"):
        return _modular(text)
    match = _PREFIX.match(text)
    if match is None:
        raise bad_hash("has no {SCHEME} before it, and is not in modular crypt form")
    name = match[1].decode("ascii").upper()
    encoding = (match[2] or b"").decode("ascii").upper()
    data = text[match.end() :]
    if not data:
        raise bad_hash(f"of scheme {name} is empty")
    if name in _CRYPTS:
        return _check_prefix(name, _modular(_plain_text(data, encoding, name)))
    if name == "MD5":
        # Dovecot's MD5 is MD5-CRYPT where it looks like it, and else what LDAP calls MD5.
        inner = _plain_text(data, encoding, name)
        if inner.startswith(b"$"):
            return _check_prefix("MD5-CRYPT", _modular(inner))
        name = "PLAIN-MD5"
    scheme = canonical_scheme(name)
    if scheme is None:
        raise bad_hash(f"has the unknown scheme {printable(name, 40)}")
    if scheme in _DIGESTS:
        return _digest(scheme, _octets(data, encoding, SUPPORTED[scheme].size, scheme))
    inner = _plain_text(data, encoding, scheme)
    if inner.startswith(b"$") and scheme != "PLAIN" and not _DOVECOT_PBKDF2.match(inner):
        return _check_prefix(scheme, _modular(inner))
    return _READERS[scheme](scheme, inner)


_PREFIX: Final = re.compile(rb"\{([A-Za-z0-9-]{1,32})(?:\.([A-Za-z0-9]{1,8}))?\}")
# These say by a prefix of the hash what they are.
_CRYPTS: Final = frozenset({
    "CRYPT", "ARGON2", "ARGON2I", "ARGON2ID", "BLF-CRYPT", "SHA256-CRYPT", "SHA512-CRYPT",
    "MD5-CRYPT", "DES-CRYPT",
})  # fmt: skip
# What a name may stand for, where that is not itself.
_MEANS: Final[Mapping[str, frozenset[str]]] = {
    "CRYPT": frozenset(
        {"BLF-CRYPT", "SHA256-CRYPT", "SHA512-CRYPT", "MD5-CRYPT", "DES-CRYPT", "SCRYPT"}
    ),
    "ARGON2": frozenset({"ARGON2I", "ARGON2ID"}),
}


def _check_prefix(name: str, stored: StoredHash) -> StoredHash:
    if stored.scheme not in _MEANS.get(name, {name}):
        raise bad_hash(f"says {name} and holds {stored.scheme}")
    return stored


# --- encodings --------------------------------------------------------------------------

_HEX, _BASE64 = frozenset({"HEX"}), frozenset({"B64", "BASE64"})


def _octets(data: bytes, encoding: str, size: int, scheme: str) -> bytes:
    """Decode what is binary: base64, hexadecimal of the digest's exact length, or as it says."""
    if encoding in _HEX or (not encoding and len(data) == 2 * size and _HEXADECIMAL(data)):
        decoded = _unhex(data)
    elif encoding in _BASE64 or not encoding:
        decoded = _unbase64(data)
    else:
        raise bad_hash(f"of scheme {scheme} has the unknown encoding {printable(encoding, 16)}")
    if decoded is None:
        raise bad_hash(f"of scheme {scheme} is neither base64 nor hexadecimal as it should be")
    return decoded


def _plain_text(data: bytes, encoding: str, scheme: str) -> bytes:
    """What is text in itself, and encoded only where the scheme's suffix says so."""
    return _octets(data, encoding, 0, scheme) if encoding else data


_HEXADECIMAL: Final = re.compile(rb"[0-9a-fA-F]+").fullmatch


def _unhex(data: bytes) -> bytes | None:
    try:
        return binascii.unhexlify(data)
    except ValueError:
        return None


def _unbase64(data: bytes) -> bytes | None:
    try:
        return binascii.a2b_base64(data, strict_mode=True)
    except ValueError:
        return None


def _unpadded(data: bytes) -> bytes | None:
    """Base64 without its padding, as the PHC format has it; Passlib's has `.` for `+`."""
    return _unbase64(data.replace(b".", b"+") + b"=" * (-len(data) % 4))


# --- digests of octets ----------------------------------------------------------------------

_DIGESTS: Final = frozenset({
    "SSHA", "SSHA256", "SSHA512", "SMD5", "SHA", "SHA256", "SHA512", "PLAIN-MD5", "PLAIN-MD4",
    "CRAM-MD5", "DIGEST-MD5",
})  # fmt: skip
_SALTED: Final = frozenset({"SSHA", "SSHA256", "SSHA512", "SMD5"})


def _digest(scheme: str, octets: bytes) -> StoredHash:
    size = SUPPORTED[scheme].size
    salt = octets[size:]
    longest = LONGEST_SALT if scheme in _SALTED else 0
    if len(octets) < size or bool(salt) is not bool(longest) or len(salt) > longest:
        raise bad_hash(f"of scheme {scheme} has the wrong length")
    return StoredHash(scheme, salt=salt, digest=octets[:size])


# --- modular crypt, and what looks like it ------------------------------------------------------

_NUMBER: Final = rb"([1-9][0-9]{0,9})"
_CRYPT64: Final = rb"[./0-9A-Za-z]"
_B64: Final = rb"[A-Za-z0-9+/.]"

_BCRYPT: Final = re.compile(rb"\$2[aby]\$([0-9]{2})\$(%b{22})(%b{31})" % (_CRYPT64, _CRYPT64))
_SHACRYPT: Final = re.compile(
    rb"\$([56])\$(?:rounds=%b\$)?(%b{0,16})\$(%b{43}|%b{86})"
    % (_NUMBER, _CRYPT64, _CRYPT64, _CRYPT64)
)
_MD5CRYPT: Final = re.compile(rb"\$1\$(%b{0,8})\$(%b{22})" % (_CRYPT64, _CRYPT64))
_DESCRYPT: Final = re.compile(rb"(%b{2})(%b{11})" % (_CRYPT64, _CRYPT64))
_ARGON2: Final = re.compile(
    rb"\$argon2(id?)\$(?:v=(16|19)\$)?m=%b,t=%b,p=%b\$([A-Za-z0-9+/]{1,86})\$([A-Za-z0-9+/]{1,86})"
    % (_NUMBER, _NUMBER, _NUMBER)
)
_SCRYPT: Final = re.compile(
    rb"\$scrypt\$ln=([1-9][0-9]?),r=%b,p=%b\$(%b{1,86})\$(%b{1,86})"
    % (_NUMBER, _NUMBER, _B64, _B64)
)
_PBKDF2: Final = re.compile(
    rb"\$pbkdf2(-sha256|-sha512)?\$%b\$(%b{1,86})\$(%b{1,86})" % (_NUMBER, _B64, _B64)
)
_LDAP_PBKDF2: Final = re.compile(rb"%b\$(%b{1,86})\$(%b{1,86})" % (_NUMBER, _B64, _B64))
_DOVECOT_PBKDF2: Final = re.compile(rb"\$1\$([^$]{1,64})\$%b\$([0-9a-f]{40})" % _NUMBER)
_SCRAM: Final = re.compile(rb"%b,([A-Za-z0-9+/=]+),([A-Za-z0-9+/=]+),([A-Za-z0-9+/=]+)" % _NUMBER)


def _modular(text: bytes) -> StoredHash:
    """A hash whose first characters say what it is; without any it is of the old DES crypt."""
    for pattern, read in _FORMS:
        match = pattern.fullmatch(text)
        if match is not None:
            return read(match)
    raise bad_hash("in modular crypt form is of no known kind, or broken")


def _bcrypt(match: re.Match[bytes]) -> StoredHash:
    cost = int(match[1])
    if not 4 <= cost <= 31:
        raise bad_hash("of scheme BLF-CRYPT has an impossible cost")
    return StoredHash("BLF-CRYPT", (cost,), match[2], match[3])


def _shacrypt(match: re.Match[bytes]) -> StoredHash:
    scheme = "SHA256-CRYPT" if match[1] == b"5" else "SHA512-CRYPT"
    rounds = int(match[2] or 5000)
    if len(match[4]) != SUPPORTED[scheme].size or not 1000 <= rounds <= 999_999_999:
        raise bad_hash(f"of scheme {scheme} has the wrong length or impossible rounds")
    return StoredHash(scheme, (rounds,), match[3], match[4])


def _argon2(match: re.Match[bytes]) -> StoredHash:
    scheme = f"ARGON2{match[1].decode('ascii').upper()}"
    memory, time, lanes = (int(match[group]) for group in (3, 4, 5))
    salt, digest = _unpadded(match[6]), _unpadded(match[7])
    if salt is None or digest is None or len(salt) < 8 or len(digest) not in DIGESTS:
        raise bad_hash(f"of scheme {scheme} has a broken or too short salt or digest")
    if memory < 8 * lanes:
        raise bad_hash(f"of scheme {scheme} has less memory than its lanes need")
    # Hashes without a version are older than the field, and of version 16.
    return StoredHash(scheme, (memory, time, lanes), salt, digest, int(match[2] or 16))


def _scrypt(match: re.Match[bytes]) -> StoredHash:
    exponent, r, lanes = (int(match[group]) for group in (1, 2, 3))
    salt, digest = _unpadded(match[4]), _unpadded(match[5])
    if salt is None or digest is None or len(digest) not in DIGESTS:
        raise bad_hash("of scheme SCRYPT has a broken or too short salt or digest")
    # RFC 7914 section 2: N under 2^(128 r / 8), p at most (2^32 - 1) * 32 / (128 r).
    if exponent >= 16 * r or r * lanes >= 2**30:
        raise bad_hash("of scheme SCRYPT has impossible costs")
    return StoredHash("SCRYPT", (2**exponent, r, lanes), salt, digest)


def _pbkdf2(scheme: str, rounds: bytes, salt: bytes | None, digest: bytes | None) -> StoredHash:
    if not salt or digest is None or len(digest) != SUPPORTED[scheme].size:
        raise bad_hash(f"of scheme {scheme} has a broken salt, or a digest of the wrong length")
    return StoredHash(scheme, (int(rounds),), salt, digest)


def _modular_pbkdf2(match: re.Match[bytes]) -> StoredHash:
    scheme = "PBKDF2" + (match[1] or b"-sha1").decode("ascii").upper()
    return _pbkdf2(scheme, match[2], _unpadded(match[3]), _unpadded(match[4]))


_FORMS: Final[tuple[tuple[re.Pattern[bytes], Callable[[re.Match[bytes]], StoredHash]], ...]] = (
    (_BCRYPT, _bcrypt),
    (_SHACRYPT, _shacrypt),
    (_ARGON2, _argon2),
    (_SCRYPT, _scrypt),
    (_PBKDF2, _modular_pbkdf2),
    (_MD5CRYPT, lambda match: StoredHash("MD5-CRYPT", (), match[1], match[2])),
    (_DESCRYPT, lambda match: StoredHash("DES-CRYPT", (), match[1], match[2])),
)


# --- forms of their own ---------------------------------------------------------------------------


def _read_pbkdf2(scheme: str, data: bytes) -> StoredHash:
    """Dovecot's `$1$salt$rounds$hex`, whose salt is text, or OpenLDAP's `rounds$salt$digest`."""
    match = _DOVECOT_PBKDF2.fullmatch(data)
    if match is not None:
        return _pbkdf2(scheme, match[2], match[1], _unhex(match[3]))
    match = _LDAP_PBKDF2.fullmatch(data)
    if match is not None:
        return _pbkdf2(scheme, match[1], _unpadded(match[2]), _unpadded(match[3]))
    raise bad_hash(f"of scheme {scheme} is broken")


def _read_scram(scheme: str, data: bytes) -> StoredHash:
    """Dovecot's `rounds,salt,StoredKey,ServerKey`; the ServerKey proves nothing about the user."""
    match = _SCRAM.fullmatch(data)
    salt, stored, server = map(_unbase64, match.groups()[1:]) if match else (None, None, None)
    size = SUPPORTED[scheme].size
    if match is None or not salt or stored is None or server is None:
        raise bad_hash(f"of scheme {scheme} is broken")
    if len(salt) > LONGEST_SALT or len(stored) != size or len(server) != size:
        raise bad_hash(f"of scheme {scheme} has keys or a salt of the wrong length")
    return StoredHash(scheme, (int(match[1]),), salt, stored)


def _read_plain(scheme: str, data: bytes) -> StoredHash:
    return StoredHash(scheme, digest=data)


def _read_broken(scheme: str, _data: bytes) -> StoredHash:
    raise bad_hash(f"of scheme {scheme} is broken")


_READERS: Final[Mapping[str, Callable[[str, bytes], StoredHash]]] = {
    "PBKDF2-SHA1": _read_pbkdf2,
    "PBKDF2-SHA256": _read_pbkdf2,
    "PBKDF2-SHA512": _read_pbkdf2,
    "SCRAM-SHA-1": _read_scram,
    "SCRAM-SHA-256": _read_scram,
    "SCRYPT": _read_broken,  # only in its modular form
    "PLAIN": _read_plain,
}
