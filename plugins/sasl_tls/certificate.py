"""tls-server-end-point: the hash of the server's certificate (RFC 5929 section 4.1).

The hash is that of the certificate's signature, SHA-256 in the place of MD5 and SHA-1. A
signature with no hash function, or with several, has no such binding: it is refused here, and
never guessed, for two ends that guess differently cannot log in, and a guess that agrees is
no standard. The hash is taken over the certificate as the server sent it.

Sources: RFC 5929 section 4.1; RFC 4055 and 8017 (RSA), 5758 (DSA, ECDSA), 8410 (Ed25519),
NIST's register of algorithms (SHA-3, ML-DSA).
"""

from __future__ import annotations

import binascii
import hashlib
import re
from functools import lru_cache
from pathlib import Path
from typing import Final

from sasl_core.plugin import ConfigError, MechanismError, PeerError, Result, SaslError, printable
from sasl_tls.der import (
    SEQUENCE,
    Algorithm,
    Reader,
    first_element,
    parse_algorithm,
    signature_algorithm,
)

__all__ = ["read_certificate", "server_end_point", "signature_hash"]

RSASSA_PSS: Final = "1.2.840.113549.1.1.10"
MGF1: Final = "1.2.840.113549.1.1.8"

# Signature algorithm -> hashlib's name of its hash.
_SIGNATURES: Final = {
    "1.2.840.113549.1.1.4": "md5",
    "1.2.840.113549.1.1.5": "sha1",
    "1.3.14.3.2.29": "sha1",
    "1.2.840.113549.1.1.14": "sha224",
    "1.2.840.113549.1.1.11": "sha256",
    "1.2.840.113549.1.1.12": "sha384",
    "1.2.840.113549.1.1.13": "sha512",
    "1.2.840.113549.1.1.15": "sha512_224",
    "1.2.840.113549.1.1.16": "sha512_256",
    "1.2.840.10040.4.3": "sha1",
    "2.16.840.1.101.3.4.3.1": "sha224",
    "2.16.840.1.101.3.4.3.2": "sha256",
    "2.16.840.1.101.3.4.3.3": "sha384",
    "2.16.840.1.101.3.4.3.4": "sha512",
    "2.16.840.1.101.3.4.3.5": "sha3_224",
    "2.16.840.1.101.3.4.3.6": "sha3_256",
    "2.16.840.1.101.3.4.3.7": "sha3_384",
    "2.16.840.1.101.3.4.3.8": "sha3_512",
    "1.2.840.10045.4.1": "sha1",
    "1.2.840.10045.4.3.1": "sha224",
    "1.2.840.10045.4.3.2": "sha256",
    "1.2.840.10045.4.3.3": "sha384",
    "1.2.840.10045.4.3.4": "sha512",
    "2.16.840.1.101.3.4.3.9": "sha3_224",
    "2.16.840.1.101.3.4.3.10": "sha3_256",
    "2.16.840.1.101.3.4.3.11": "sha3_384",
    "2.16.840.1.101.3.4.3.12": "sha3_512",
    "2.16.840.1.101.3.4.3.13": "sha3_224",
    "2.16.840.1.101.3.4.3.14": "sha3_256",
    "2.16.840.1.101.3.4.3.15": "sha3_384",
    "2.16.840.1.101.3.4.3.16": "sha3_512",
}

# Hash algorithm -> hashlib's name, for the parameters of RSASSA-PSS.
_HASHES: Final = {
    "1.2.840.113549.2.5": "md5",
    "1.3.14.3.2.26": "sha1",
    "2.16.840.1.101.3.4.2.4": "sha224",
    "2.16.840.1.101.3.4.2.1": "sha256",
    "2.16.840.1.101.3.4.2.2": "sha384",
    "2.16.840.1.101.3.4.2.3": "sha512",
    "2.16.840.1.101.3.4.2.5": "sha512_224",
    "2.16.840.1.101.3.4.2.6": "sha512_256",
    "2.16.840.1.101.3.4.2.7": "sha3_224",
    "2.16.840.1.101.3.4.2.8": "sha3_256",
    "2.16.840.1.101.3.4.2.9": "sha3_384",
    "2.16.840.1.101.3.4.2.10": "sha3_512",
}

# Signatures that are known to have no hash function of their own, or more than one.
_HASHLESS: Final = {
    "1.3.101.112": "Ed25519",
    "1.3.101.113": "Ed448",
    "2.16.840.1.101.3.4.3.17": "ML-DSA-44",
    "2.16.840.1.101.3.4.3.18": "ML-DSA-65",
    "2.16.840.1.101.3.4.3.19": "ML-DSA-87",
}

_REPLACED: Final = {"md5": "sha256", "sha1": "sha256"}

CACHED: Final = 64


@lru_cache(CACHED)
def server_end_point(certificate: bytes) -> bytes:
    """The data of tls-server-end-point for the server's certificate, in DER.

    On a client that is `getpeercert(binary_form=True)`, on a server its own certificate.

    Raises:
        MechanismError: code `no-end-point`: its signature has no single hash, or one that
            is unknown here; the reason is in the message.
        PeerError: code `certificate`: that is no certificate.
    """
    name = signature_hash(signature_algorithm(certificate))
    name = _REPLACED.get(name, name)
    try:
        return hashlib.new(name, certificate, usedforsecurity=True).digest()
    except ValueError:
        # A build of OpenSSL without it.
        problem = _undefined(f"its signature's hash, {name}, is not to be had here")
    raise problem


def signature_hash(algorithm: Algorithm) -> str:
    """Hashlib's name of the one hash function that a signature algorithm uses.

    Raises:
        MechanismError: it has none, several, or one that is unknown here.
        PeerError: the parameters of RSASSA-PSS are malformed.
    """
    oid = algorithm.oid
    if oid == RSASSA_PSS:
        return _pss_hash(algorithm.parameters)
    if oid in _HASHLESS:
        raise _undefined(f"it is signed with {_HASHLESS[oid]}, which has no single hash function")
    name = _SIGNATURES.get(oid)
    if name is None:
        raise _undefined(f"the hash of its signature algorithm {printable(oid, 80)} is not known")
    return name


def _pss_hash(parameters: bytes) -> str:
    """The hash of RSASSA-PSS-params (RFC 4055 section 3.1); SHA-1 is the default of both."""
    whole = Reader(parameters)
    fields = Reader(whole.take(SEQUENCE))
    whole.end()
    main = mask = "1.3.14.3.2.26"
    if fields.peek() == 0xA0:
        main = _explicit(fields.take(0xA0)).oid
    if fields.peek() == 0xA1:
        generator = _explicit(fields.take(0xA1))
        if generator.oid != MGF1:
            raise _undefined("its signature has a mask generation function that is not known")
        mask = _explicit(generator.parameters).oid
    # The length of the salt and the trailer, which have no say here.
    for tag in (0xA2, 0xA3):
        if fields.peek() == tag:
            _ = fields.take(tag)
    fields.end()
    if main != mask:
        raise _undefined("its signature uses two hash functions")
    name = _HASHES.get(main)
    if name is None:
        raise _undefined(f"the hash of its signature, {printable(main, 80)}, is not known")
    return name


def _explicit(contents: bytes) -> Algorithm:
    reader = Reader(contents)
    algorithm = parse_algorithm(reader.take(SEQUENCE))
    reader.end()
    return algorithm


def _undefined(why: str) -> MechanismError:
    return MechanismError(
        f"the certificate has no tls-server-end-point: {why} (RFC 5929 section 4.1)",
        code="no-end-point",
        result=Result.BADBINDING,
    )


def reason(error: SaslError) -> str:
    """Why a certificate has no tls-server-end-point, for `ChannelBindings.missing`."""
    return error.detail if isinstance(error, PeerError) and error.detail else str(error)


# As OpenSSL has it: a line by itself, with either of two older labels as well.
_BEGIN: Final = re.compile(
    rb"^-----BEGIN ((?:X509 |TRUSTED )?CERTIFICATE)-----[ \t\r]*$", re.MULTILINE
)
_TRUSTED: Final = b"TRUSTED CERTIFICATE"


def read_certificate(path: str | Path) -> bytes:
    """The first certificate of a PEM file, in DER: in a chain, the server's own.

    The first is the one that OpenSSL takes for it. What a TRUSTED CERTIFICATE has behind it, for
    what it is trusted, is sent to nobody and is left out.

    Raises:
        ConfigError: the file cannot be read, or holds none.
    """
    shown = printable(path)
    try:
        text = Path(path).read_bytes()
    except (OSError, ValueError) as error:
        why = printable(getattr(error, "strerror", None) or error)
    else:
        begin = _BEGIN.search(text)
        label = b"" if begin is None else begin[1]
        body, end, _ = text[0 if begin is None else begin.end() :].partition(
            b"-----END %b-----" % label
        )
        if not label or not end:
            why = "it holds no certificate in PEM"
        else:
            try:
                certificate = binascii.a2b_base64(b"".join(body.split()), strict_mode=True)
                if label == _TRUSTED:
                    certificate = first_element(certificate)
                _ = signature_algorithm(certificate)
            except (ValueError, SaslError):
                why = "its first certificate cannot be read"
            else:
                return certificate
    raise ConfigError(f"no certificate: {why}", file=shown)
