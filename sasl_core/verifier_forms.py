"""SCRAM verifiers as other programs write them, read and written.

| form | written by |
|---|---|
| `SCRAM-SHA-256$4096:salt$StoredKey:ServerKey` | Cyrus SASL and LDAP (RFC 5803), PostgreSQL |
| `{SCRAM-SHA-256}4096,salt,StoredKey,ServerKey` | Dovecot, GNU SASL (`gsasl --mkpasswd`) |
| `{"iterationCount": ..., "salt": ..., "storedKey": ..., "serverKey": ...}` | MongoDB |

Base64 is strict in all of them, and what was read is written again as it was, the optional
blanks of RFC 5803 apart. No error shows anything of a verifier.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final, cast

from sasl_core.encoding import b64encode
from sasl_core.errors import UsageError
from sasl_core.verifier import SCRAM_HASHES, ScramVerifier, format_verifier, read_verifier

__all__ = [
    "format_braced_verifier",
    "format_mongodb_credentials",
    "parse_any_verifier",
    "parse_mongodb_credentials",
]

TEXT_LIMIT: Final = 4096
"""Longest text of a verifier, in bytes: a salt of 1024 octets fits."""

_BRACED = re.compile(
    rb"\{SCRAM-([A-Z0-9-]{1,16})\}"
    rb"([0-9]{1,10}),([A-Za-z0-9+/=]{1,1400}),([A-Za-z0-9+/=]{1,90}),([A-Za-z0-9+/=]{1,90})"
)
_BLANKS = re.compile(rb"[ \t]*\$[ \t]*")

_MONGODB: Final = {
    "iterationCount": "the number of rounds",
    "salt": "the salt",
    "storedKey": "StoredKey",
    "serverKey": "ServerKey",
}


def parse_any_verifier(text: bytes) -> ScramVerifier:
    """Read a verifier in either of the two forms that are one text.

    RFC 5803 allows blanks around each `$`; a scheme's name is in capitals.

    Raises:
        UsageError: `text` is neither, with what is wrong.
    """
    if len(text) > TEXT_LIMIT:
        raise _bad(f"it is longer than {TEXT_LIMIT} bytes")
    if text.startswith(b"{"):
        match = _BRACED.fullmatch(text)
        if match is None:
            raise _bad("it is not {SCRAM-<hash>}<iterations>,<salt>,<StoredKey>,<ServerKey>")
        return _plain(b"SCRAM-%b$%b:%b$%b:%b" % match.groups())
    if b" " in text or b"\t" in text:
        text = _BLANKS.sub(b"$", text)
    return _plain(text)


def format_braced_verifier(verifier: ScramVerifier) -> bytes:
    """Write a verifier as Dovecot and GNU SASL do.

    Both read SHA-1 and SHA-256 alone.

    Raises:
        UsageError: a field is out of range.
    """
    # Every field but the hash is base64 or a number, so that the signs between them are plain.
    scheme, cost, keys = format_verifier(verifier).split(b"$")
    iterations, _, salt = cost.partition(b":")
    return b"{%b}%b,%b,%b" % (scheme, iterations, salt, keys.replace(b":", b","))


def parse_mongodb_credentials(document: object) -> dict[str, ScramVerifier]:
    """Read the `credentials` of a document of MongoDB's `system.users`: verifiers by hash.

    Numbers may be in MongoDB's extended JSON (`{"$numberInt": "15000"}`). Mind that the
    verifier of SHA-1 is one of the hexadecimal MD5 digest of `user:mongo:password`, not of the
    password: it is of use to MongoDB alone.

    Raises:
        UsageError: it is no such document, or one of its verifiers is none.
    """
    if not isinstance(document, Mapping):
        raise _bad("the credentials are no document")
    verifiers: dict[str, ScramVerifier] = {}
    for mechanism, fields in cast("Mapping[object, object]", document).items():
        name = mechanism.removeprefix("SCRAM-") if isinstance(mechanism, str) else ""
        if name not in SCRAM_HASHES or name == mechanism:
            continue
        verifiers[name] = _from_fields(name, fields)
    return verifiers


def format_mongodb_credentials(verifiers: Mapping[str, ScramVerifier]) -> dict[str, object]:
    """Write the `credentials` of a MongoDB user: that of SHA-256, which MongoDB shares with us.

    Empty where there is none of SHA-256; for SHA-1 see `parse_mongodb_credentials`.

    Raises:
        UsageError: a field is out of range.
    """
    verifier = verifiers.get("SHA-256")
    if verifier is None:
        return {}
    _ = format_verifier(verifier)
    return {
        "SCRAM-SHA-256": {
            "iterationCount": verifier.iterations,
            "salt": b64encode(verifier.salt).decode("ascii"),
            "storedKey": b64encode(verifier.stored_key).decode("ascii"),
            "serverKey": b64encode(verifier.server_key).decode("ascii"),
        }
    }


def _from_fields(name: str, document: object) -> ScramVerifier:
    if not isinstance(document, Mapping):
        raise _bad(f"that of {name} is no document")
    fields = cast("Mapping[object, object]", document)
    count = fields.get("iterationCount")
    if isinstance(count, Mapping):
        extended = cast("Mapping[object, object]", count)
        count = next((extended[key] for key in ("$numberInt", "$numberLong") if key in extended), 0)
        count = int(count) if isinstance(count, str) and re.fullmatch("[0-9]{1,10}", count) else 0
    texts = [fields.get(key) for key in ("salt", "storedKey", "serverKey")]
    if not isinstance(count, int) or isinstance(count, bool) or not 0 < count < 10**10:
        raise _bad(f"{_MONGODB['iterationCount']} of {name} is no whole number above 0")
    for key, text in zip(("salt", "storedKey", "serverKey"), texts, strict=True):
        if not isinstance(text, str) or not text.isascii() or len(text) > TEXT_LIMIT:
            raise _bad(f"{_MONGODB[key]} of {name} is no base64")
    salt, stored, server = (str(text) for text in texts)
    return _plain(f"SCRAM-{name}${count}:{salt}${stored}:{server}".encode("ascii"))


def _plain(text: bytes) -> ScramVerifier:
    """`parse_verifier`, for what comes from others."""
    verifier = read_verifier(text)
    if isinstance(verifier, str):
        raise _bad(verifier)
    return verifier


def _bad(problem: str) -> UsageError:
    return UsageError(f"the SCRAM verifier cannot be taken: {problem}", code="bad-verifier")
