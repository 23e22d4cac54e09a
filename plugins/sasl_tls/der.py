"""As much of DER as leads to a certificate's signature algorithm, and to its subject.

Why not cryptography's parser: it knows no name for SHA-512/224 and SHA-512/256 under RSA, it
keeps the hash of MGF1 to itself, and it warns about certificates of old Java versions, which
is an exception where warnings are errors. What is read here was put together by a peer, so
lengths are definite, minimal and inside of what holds them, and nothing is left over.

Sources: ITU-T X.690 section 10; RFC 5280 section 4.1; RFC 4055 section 3.1.
"""

from __future__ import annotations

from typing import Final

from sasl_core.plugin import PeerError, record

__all__ = [
    "Algorithm",
    "Reader",
    "dotted",
    "first_element",
    "malformed",
    "parse_algorithm",
    "signature_algorithm",
]

SEQUENCE: Final = 0x30
BIT_STRING: Final = 0x03
OBJECT_IDENTIFIER: Final = 0x06

SIZE_LIMIT: Final = 1 << 20
"""Longest certificate that is looked at, in octets."""


@record
class Algorithm:
    """An AlgorithmIdentifier: its object identifier in dots, and its parameters in DER."""

    oid: str
    parameters: bytes


class Reader:
    """The elements of a DER encoding, one after the other."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._at = 0

    @property
    def done(self) -> bool:
        """Whether everything was read."""
        return self._at == len(self._data)

    @property
    def left(self) -> int:
        """Octets that were not read."""
        return len(self._data) - self._at

    def peek(self) -> int | None:
        """The next element's tag, None at the end."""
        return None if self.done else self._data[self._at]

    def take(self, tag: int) -> bytes:
        """The contents of the next element, which has this tag.

        Raises:
            PeerError: it has another, or is not DER.
        """
        data, at = self._data, self._at
        if at + 2 > len(data) or data[at] != tag:
            raise malformed(f"no element of tag {tag:#04x}")
        length, at = data[at + 1], at + 2
        if length >= 0x80:
            octets = length & 0x7F
            digits = data[at : at + octets]
            length, at = int.from_bytes(digits), at + octets
            if not 1 <= octets <= 3 or len(digits) != octets or not digits[0] or length < 0x80:
                raise malformed("a length that is not definite and minimal")
        if at + length > len(data):
            raise malformed("an element that ends beyond what holds it")
        self._at = at + length
        return data[at : self._at]

    def end(self) -> None:
        """Nothing may be left.

        Raises:
            PeerError: there is more.
        """
        if not self.done:
            raise malformed("more than belongs there")


def malformed(what: str) -> PeerError:
    """The error for what is no DER, or no certificate."""
    return PeerError(
        "the certificate cannot be read",
        code="certificate",
        detail=f"the certificate cannot be read: {what}",
    )


def signature_algorithm(certificate: bytes) -> Algorithm:
    """The signatureAlgorithm of an X.509 certificate in DER (RFC 5280 section 4.1.1.2).

    Raises:
        PeerError: code `certificate`: that is none.
    """
    if len(certificate) > SIZE_LIMIT:
        raise malformed(f"{len(certificate)} octets; at most {SIZE_LIMIT} are looked at")
    whole = Reader(certificate)
    parts = Reader(whole.take(SEQUENCE))
    whole.end()
    _ = parts.take(SEQUENCE)
    algorithm = parse_algorithm(parts.take(SEQUENCE))
    _ = parts.take(BIT_STRING)
    parts.end()
    return algorithm


def first_element(data: bytes) -> bytes:
    """The SEQUENCE that `data` begins with, without what follows it.

    Raises:
        PeerError: code `certificate`: it begins with none.
    """
    reader = Reader(data)
    _ = reader.take(SEQUENCE)
    return data[: len(data) - reader.left]


def parse_algorithm(contents: bytes) -> Algorithm:
    """The contents of an AlgorithmIdentifier.

    Raises:
        PeerError: they are none.
    """
    reader = Reader(contents)
    oid = dotted(reader.take(OBJECT_IDENTIFIER))
    return Algorithm(oid, contents[len(contents) - reader.left :])


def dotted(contents: bytes) -> str:
    """An object identifier in dots (X.690 section 8.19).

    Raises:
        PeerError: it is none.
    """
    if not contents or contents[-1] & 0x80 or len(contents) > 64:
        raise malformed("an object identifier that is none")
    arcs: list[int] = []
    arc, fresh = 0, True
    for octet in contents:
        if fresh and octet == 0x80:
            raise malformed("an object identifier with a leading zero")
        arc, fresh = arc << 7 | octet & 0x7F, not octet & 0x80
        if fresh:
            arcs.append(arc)
            arc = 0
    first = min(arcs[0] // 40, 2)
    return ".".join(map(str, (first, arcs[0] - 40 * first, *arcs[1:])))
