"""Certificates of clients for tests: an authority, those that it signs, and those it does not."""

from __future__ import annotations

import datetime as dt
import ssl
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

__all__ = ["TIM", "Authority", "Shown", "name_of"]

TIM: Sequence[tuple[x509.ObjectIdentifier, str]] = (
    (NameOID.COUNTRY_NAME, "DE"),
    (NameOID.ORGANIZATION_NAME, "Example, Inc."),
    (NameOID.ORGANIZATIONAL_UNIT_NAME, "Ops"),
    (NameOID.COMMON_NAME, "Tim Smith"),
)
"""The subject `CN=Tim Smith,OU=Ops,O=Example\\, Inc.,C=DE`, as it stands in a certificate."""

_USAGES = (
    "digital_signature",
    "content_commitment",
    "key_encipherment",
    "data_encipherment",
    "key_agreement",
    "key_cert_sign",
    "crl_sign",
    "encipher_only",
    "decipher_only",
)

_PURPOSES = {
    "client": ExtendedKeyUsageOID.CLIENT_AUTH,
    "server": ExtendedKeyUsageOID.SERVER_AUTH,
}


def name_of(*attributes: tuple[Any, str] | Sequence[tuple[Any, str]]) -> x509.Name:
    """A Name; several attributes in one list are one multi-valued part."""
    parts: list[x509.RelativeDistinguishedName] = []
    for each in attributes:
        several: Any = each if isinstance(each[0], tuple) else [each]
        parts.append(
            x509.RelativeDistinguishedName(
                x509.NameAttribute(oid, text, _validate=False) for oid, text in several
            )
        )
    return x509.Name(parts)


@dataclass(frozen=True)
class Shown:
    """A client's certificate and its key, in files."""

    certificate: Path
    key: Path
    der: bytes

    @property
    def both(self) -> Path:
        """One file with both, as drivers of MongoDB take it."""
        path = self.certificate.with_suffix(".both")
        path.write_bytes(self.certificate.read_bytes() + self.key.read_bytes())
        return path

    def client(self, server: Path) -> ssl.SSLContext:
        """A client's TLS that trusts the certificate in this file, and shows this one."""
        context = ssl.create_default_context(cafile=str(server))
        context.load_cert_chain(self.certificate, self.key)
        return context


class Authority:
    """An authority of clients. Its certificate is in `file`."""

    def __init__(self, folder: Path, name: str = "clients") -> None:
        self._folder = folder
        self._name = name
        self._numbers = count(1)
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        self.file = folder / f"{name}.pem"
        signed = self._signed(self._subject, self._key.public_key(), (-100, 100), None, ca=True)
        self.file.write_bytes(signed.public_bytes(serialization.Encoding.PEM))

    def _signed(
        self,
        subject: x509.Name,
        key: Any,
        days: tuple[float, float],
        purpose: str | None,
        *,
        ca: bool = False,
        issuer: x509.Name | None = None,
        signing: Any = None,
    ) -> x509.Certificate:
        now = dt.datetime.now(dt.UTC)
        builder = (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(issuer or self._subject)
            .public_key(key)
            .serial_number(x509.random_serial_number())
            .not_valid_before(now + dt.timedelta(days=days[0]))
            .not_valid_after(now + dt.timedelta(days=days[1]))
            .add_extension(x509.BasicConstraints(ca, path_length=None), critical=True)
            .add_extension(
                x509.SubjectKeyIdentifier.from_public_key(key),
                critical=False,
            )
            .add_extension(
                x509.AuthorityKeyIdentifier.from_issuer_public_key(
                    (signing or self._key).public_key()
                ),
                critical=False,
            )
        )
        if ca:
            # Python 3.13 has OpenSSL ask for what RFC 5280 section 4.2.1.3 demands of an authority.
            usage = dict.fromkeys(_USAGES, False) | {"key_cert_sign": True, "crl_sign": True}
            builder = builder.add_extension(x509.KeyUsage(**usage), critical=True)
        if not list(subject):
            # And of who has no subject (section 4.2.1.6).
            names = x509.SubjectAlternativeName([x509.DNSName("nobody.example")])
            builder = builder.add_extension(names, critical=True)
        if purpose is not None:
            builder = builder.add_extension(
                x509.ExtendedKeyUsage([_PURPOSES[purpose]]), critical=False
            )
        return builder.sign(signing or self._key, hashes.SHA256())

    def sign(
        self,
        subject: x509.Name | None = None,
        *,
        days: tuple[float, float] = (-1, 1),
        purpose: str | None = "client",
        self_signed: bool = False,
    ) -> Shown:
        """A certificate of this subject, good from and until those days.

        `self_signed`: under the authority's name, but not by it.
        """
        name = name_of(*TIM) if subject is None else subject
        key = ec.generate_private_key(ec.SECP256R1())
        signed = self._signed(
            name,
            key.public_key(),
            days,
            purpose,
            issuer=name if self_signed else None,
            signing=key if self_signed else None,
        )
        number = next(self._numbers)
        made = Shown(
            self._folder / f"{self._name}-{number}.crt",
            self._folder / f"{self._name}-{number}.key",
            signed.public_bytes(serialization.Encoding.DER),
        )
        made.certificate.write_bytes(signed.public_bytes(serialization.Encoding.PEM))
        made.key.write_bytes(
            key.private_bytes(
                serialization.Encoding.PEM,
                serialization.PrivateFormat.PKCS8,
                serialization.NoEncryption(),
            )
        )
        return made
