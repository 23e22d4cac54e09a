"""Who a client certificate is of: its subject in the words of RFC 4514, and how long it is good.

The name is put together from the certificate's attributes, most specific first, as directories,
OpenSSL (`-nameopt RFC2253,-esc_msb,utf8`) and MongoDB write it. An attribute that `_NAMES` has no
name for goes by its number; OpenSSL has a name for more of them, and for others in each of its
versions, so that its command tells the name of an account only where all are in the table.
Invariants: two subjects that
differ in more than the kind of a string never have one name, so that no value can pretend to be
another attribute; a name can be printed, and holds no NUL. It is never taken apart again.

Whether the certificate is to be believed is not asked here: TLS has verified its chain, or
nobody must look.

Sources: RFC 4514 sections 2 and 3; RFC 5280 sections 4.1.2.4 to 4.1.2.6; X.690 section 11.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Final, NoReturn

from sasl_core.plugin import PeerError, record
from sasl_tls.der import OBJECT_IDENTIFIER, SEQUENCE, SIZE_LIMIT, Reader, dotted, malformed

__all__ = ["Subject", "parse_subject", "valid_until"]

INTEGER: Final = 0x02
SET: Final = 0x31
VERSION: Final = 0xA0
UTC_TIME: Final = 0x17
GENERALIZED_TIME: Final = 0x18

# The kinds of strings, and how each is encoded; what OpenSSL takes T.61 for is Latin-1.
_STRINGS: Final = {
    0x0C: "utf-8",
    0x12: "ascii",
    0x13: "ascii",
    0x14: "latin-1",
    0x16: "ascii",
    0x1A: "ascii",
    0x1C: "utf-32-be",
    0x1E: "utf-16-be",
}

# RFC 4514 section 3, and below the line more of those that OpenSSL has a short name for: what
# authorities put into the certificates of people and of companies. Not `uid` (uniqueIdentifier),
# which is another than UID. An account has the name: what stands here is not to be changed.
_NAMES: Final = {
    "2.5.4.3": "CN",
    "2.5.4.6": "C",
    "2.5.4.7": "L",
    "2.5.4.8": "ST",
    "2.5.4.9": "street",  # STREET in the RFC; OpenSSL writes it so, and case tells nothing.
    "2.5.4.10": "O",
    "2.5.4.11": "OU",
    "0.9.2342.19200300.100.1.1": "UID",
    "0.9.2342.19200300.100.1.25": "DC",
    # ---
    "1.2.840.113549.1.9.1": "emailAddress",
    "2.5.4.4": "SN",
    "2.5.4.5": "serialNumber",
    "2.5.4.12": "title",
    "2.5.4.42": "GN",
    "2.5.4.43": "initials",
    "2.5.4.46": "dnQualifier",
    "2.5.4.13": "description",
    "2.5.4.15": "businessCategory",
    "2.5.4.16": "postalAddress",
    "2.5.4.17": "postalCode",
    "2.5.4.18": "postOfficeBox",
    "2.5.4.20": "telephoneNumber",
    "2.5.4.41": "name",
    "2.5.4.44": "generationQualifier",
    "2.5.4.45": "x500UniqueIdentifier",
    "2.5.4.65": "pseudonym",
    "2.5.4.72": "role",
    "2.5.4.97": "organizationIdentifier",
    "1.2.840.113549.1.9.2": "unstructuredName",
    "1.2.840.113549.1.9.8": "unstructuredAddress",
    "1.3.6.1.4.1.311.60.2.1.1": "jurisdictionL",
    "1.3.6.1.4.1.311.60.2.1.2": "jurisdictionST",
    "1.3.6.1.4.1.311.60.2.1.3": "jurisdictionC",
    "0.9.2342.19200300.100.1.3": "mail",
}

_ESCAPED: Final = str.maketrans({special: f"\\{special}" for special in '\\"+,;<>'})

_TIMES: Final = {UTC_TIME: (13, "%y%m%d%H%M%SZ"), GENERALIZED_TIME: (15, "%Y%m%d%H%M%SZ")}


@record
class Subject:
    """Who a certificate is of, and until when, in seconds since the epoch."""

    name: str
    until: float


def parse_subject(certificate: bytes) -> Subject:
    """The subject of an X.509 certificate in DER, and the end of its validity.

    Raises:
        PeerError: code `certificate`: that is none; its subject is empty, has an attribute
            without a value, or one that cannot be printed.
    """
    until, body = _validity(certificate)
    return Subject(_name(Reader(body.take(SEQUENCE))), until)


def valid_until(certificate: bytes) -> float:
    """The end of the validity of a certificate in DER, whomever it names.

    Raises:
        PeerError: code `certificate`: that is none.
    """
    return _validity(certificate)[0]


def _validity(certificate: bytes) -> tuple[float, Reader]:
    """The end of the validity, and a reader that stands before the subject."""
    if len(certificate) > SIZE_LIMIT:
        raise malformed(f"{len(certificate)} octets; at most {SIZE_LIMIT} are looked at")
    whole = Reader(certificate)
    parts = Reader(whole.take(SEQUENCE))
    whole.end()
    body = Reader(parts.take(SEQUENCE))
    if body.peek() == VERSION:
        _ = body.take(VERSION)
    _ = body.take(INTEGER)
    for _ in ("the signature's algorithm", "issuer"):
        _ = body.take(SEQUENCE)
    validity = Reader(body.take(SEQUENCE))
    _ = _time(validity)
    until = _time(validity)
    validity.end()
    return until, body


def _name(subject: Reader) -> str:
    """A Name, from the last of its parts to the first."""
    parts: list[str] = []
    while not subject.done:
        attributes = Reader(subject.take(SET))
        several: list[str] = []
        while not attributes.done:
            several.append(_attribute(attributes.take(SEQUENCE)))
        if not several:
            raise malformed("a part of its subject without an attribute")
        parts.append("+".join(reversed(several)))
    if not parts:
        _refuse("its subject is empty")
    return ",".join(reversed(parts))


def _attribute(contents: bytes) -> str:
    reader = Reader(contents)
    oid = dotted(reader.take(OBJECT_IDENTIFIER))
    encoded = contents[len(contents) - reader.left :]
    tag = reader.peek()
    if tag is None:
        raise malformed("an attribute without a value")
    value = reader.take(tag)
    reader.end()
    name, encoding = _NAMES.get(oid), _STRINGS.get(tag)
    if name is None or encoding is None:
        # RFC 4514 section 2.4: what has no text goes by its encoding, which is unambiguous.
        return f"{name or oid}=#{encoded.hex().upper()}"
    try:
        text = value.decode(encoding)
    except UnicodeDecodeError:
        text = None
    if text is None:
        raise malformed(f"the {name} of its subject is not what it says it is")
    if not text or not text.isprintable():
        _refuse(f"the {name} of its subject is empty, or holds what cannot be printed")
    return f"{name}={_escaped(text)}"


def _escaped(text: str) -> str:
    """A value as it stands in a name (RFC 4514 section 2.4)."""
    escaped = text.translate(_ESCAPED)
    if text[0] in " #":
        escaped = "\\" + escaped
    if text[-1] == " " and len(text) > 1:
        escaped = escaped[:-1] + "\\ "
    return escaped


def _time(reader: Reader) -> float:
    """A Time (RFC 5280 section 4.1.2.5): in seconds, and of Greenwich."""
    tag = reader.peek()
    length, form = _TIMES.get(tag or 0, (0, ""))
    text = reader.take(tag or 0)
    if form and len(text) == length and text[:-1].isdigit():
        try:
            found = datetime.strptime(text.decode("ascii"), form).replace(tzinfo=UTC)
        except ValueError:
            pass
        else:
            # RFC 5280 section 4.1.2.5.1: two digits of 50 and above are of the last century;
            # strptime takes them for it from 69 on.
            if tag == UTC_TIME and found.year >= 2050:
                found = found.replace(year=found.year - 100)
            return found.timestamp()
    raise malformed("a time that is none")


def _refuse(problem: str) -> NoReturn:
    raise PeerError("the certificate names nobody", code="certificate", detail=problem)
