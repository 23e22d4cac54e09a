"""The subject of a certificate as a name: RFC 4514, and attributes that pretend to be others."""

from __future__ import annotations

import datetime as dt
import ssl
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.x509 import NameAttribute, ObjectIdentifier
from cryptography.x509.name import _ASN1Type
from cryptography.x509.oid import NameOID
from hypothesis import given, settings
from hypothesis import strategies as st

from certificate_kit import TIM, Authority, name_of
from sasl_core import PeerError
from sasl_tls import parse_subject, read_certificate
from sasl_tls.subject import _NAMES

CN, ORG, OU, COUNTRY = (
    NameOID.COMMON_NAME,
    NameOID.ORGANIZATION_NAME,
    NameOID.ORGANIZATIONAL_UNIT_NAME,
    NameOID.COUNTRY_NAME,
)
MAIL = NameOID.EMAIL_ADDRESS
DOTS = "1.3.6.1.4.1.99999.1"
OTHER = ObjectIdentifier(DOTS)


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    """Signs what it is given."""
    return Authority(tmp_path_factory.mktemp("authority"))


def named(authority: Authority, subject: x509.Name) -> str:
    """The name of who has a certificate of this subject."""
    return parse_subject(authority.sign(subject).der).name


NAMES = {
    "as usual": (name_of(*TIM), r"CN=Tim Smith,OU=Ops,O=Example\, Inc.,C=DE"),
    "a comma": (name_of((OU, "x, CN=admin"), (CN, "tim")), r"CN=tim,OU=x\, CN=admin"),
    "a comma, last": (name_of((CN, "tim"), (OU, "x,CN=admin")), r"OU=x\,CN=admin,CN=tim"),
    "a plus": (name_of((CN, "tim+OU=root")), r"CN=tim\+OU=root"),
    "quotes": (name_of((CN, '"tim"')), r"CN=\"tim\""),
    "a backslash": (name_of((CN, "tim\\"), (ORG, "x")), r"O=x,CN=tim\\"),
    "a backslash before a comma": (name_of((CN, "tim\\,CN=admin")), r"CN=tim\\\,CN=admin"),
    "angles": (name_of((CN, "<a;b>")), r"CN=\<a\;b\>"),
    "blanks": (name_of((CN, "  a  ")), r"CN=\  a \ "),
    "one blank": (name_of((CN, " ")), r"CN=\ "),
    "a hash": (name_of((CN, "#0401")), r"CN=\#0401"),
    "a hash inside": (name_of((CN, "a#")), "CN=a#"),
    "equals": (name_of((CN, "a=b")), "CN=a=b"),
    "mail": (name_of((MAIL, "tim@x.org"), (CN, "tim")), "CN=tim,emailAddress=tim@x.org"),
    "letters": (name_of((CN, "Zo\u00eb \u0141")), "CN=Zo\u00eb \u0141"),
    "two of a kind": (name_of((CN, "admin"), (CN, "tim")), "CN=tim,CN=admin"),
    "the other way round": (name_of((CN, "tim"), (CN, "admin")), "CN=admin,CN=tim"),
    "domains": (
        name_of((NameOID.DOMAIN_COMPONENT, "com"), (NameOID.USER_ID, "tim")),
        "UID=tim,DC=com",
    ),
    "no short name": (name_of((OTHER, "ab"), (CN, "tim")), f"CN=tim,{DOTS}=#0C026162"),
}  # fmt: skip


@pytest.mark.parametrize("case", NAMES)
def test_a_name(authority: Authority, case: str) -> None:
    """Most specific first, special characters escaped (RFC 4514 sections 2.1 to 2.4)."""
    subject, expected = NAMES[case]
    assert named(authority, subject) == expected


@pytest.mark.parametrize("case", [case for case in NAMES if case != "no short name"])
def test_another_library_writes_the_same(authority: Authority, case: str) -> None:
    """That of cryptography; it has no short name for an address, and knows no `#`."""
    subject, _ = NAMES[case]
    theirs = subject.rfc4514_string({MAIL: "emailAddress"})
    assert named(authority, subject) == theirs


def test_openssl_calls_them_the_same() -> None:
    """Each attribute that goes by a name; one that it names and we do not goes by its number."""
    for number, name in _NAMES.items():
        assert ssl._ASN1Object(number).shortname == name
    assert len(set(map(str.lower, _NAMES.values()))) == len(_NAMES)


def test_another_identifier_is_not_a_user_id(authority: Authority) -> None:
    """OpenSSL calls it `uid`, and a directory that does not look at case takes it for UID."""
    other = ObjectIdentifier("0.9.2342.19200300.100.1.44")
    assert ssl._ASN1Object(other.dotted_string).shortname == "uid"
    assert named(authority, name_of((other, "tim"))) == f"{other.dotted_string}=#0C0374696D"


def test_what_stands_in_certificates_of_companies_and_people(authority: Authority) -> None:
    """In words, not in octets."""
    subject = name_of(
        (NameOID.JURISDICTION_COUNTRY_NAME, "DE"),
        (NameOID.ORGANIZATION_IDENTIFIER, "VATDE-1"),
        (NameOID.POSTAL_CODE, "10115"),
        (NameOID.PSEUDONYM, "tim, the"),
    )
    expected = (
        r"pseudonym=tim\, the,postalCode=10115,organizationIdentifier=VATDE-1,jurisdictionC=DE"
    )
    assert named(authority, subject) == expected


def test_a_part_of_several_attributes(authority: Authority) -> None:
    """They are joined by a plus sign, as OpenSSL prints them; a plus in a value is escaped."""
    several = name_of((COUNTRY, "DE"), [(CN, "tim"), (OU, "a+CN=admin")])
    assert named(authority, several) in {
        r"CN=tim+OU=a\+CN=admin,C=DE",
        r"OU=a\+CN=admin+CN=tim,C=DE",
    }
    alone = name_of((COUNTRY, "DE"), (CN, "tim"), (OU, "a+CN=admin"))
    assert named(authority, several) != named(authority, alone)


@pytest.mark.parametrize(
    "text",
    [
        "admin\0.example.com", "\0", "a\nb", "a\x1b[2J", "a\x7f", "a\u0085b", "\u202eadmin",
        "a\u200bb", "a\u00a0b", "\ufeffa", "\ue000", "",
    ],
)  # fmt: skip
def test_what_cannot_be_printed_is_nobody(authority: Authority, text: str) -> None:
    """A NUL, a line, a direction: nothing of it is cut, mended or shown."""
    der = authority.sign(name_of((ORG, "Example"), (CN, text or "EMPTY"))).der
    if not text:
        # Nobody writes such a certificate willingly.
        der = der.replace(b"\x0c\x05EMPTY", b"\x0c\x00")
        der = shortened(der, 5)
    with pytest.raises(PeerError) as caught:
        parse_subject(der)
    assert "cannot be printed" in str(caught.value.detail)
    assert str(caught.value.detail).isprintable()
    assert caught.value.code == "certificate"


def shortened(der: bytes, by: int) -> bytes:
    """A certificate whose subject lost so many octets, with the lengths around it mended."""
    name = bytes.fromhex("06035504030c00")
    at = der.index(name)
    data = bytearray(der)
    # The attribute, the set, the name; then the body and the whole, of two octets each.
    for back in (1, 3):
        data[at - back] -= by
    start = der.rindex(b"\x30", 0, der.index(bytes.fromhex("060355040a")) - 4)
    data[start + 1] -= by
    for where in (2, 6):
        length = int.from_bytes(data[where : where + 2]) - by
        data[where : where + 2] = length.to_bytes(2)
    return bytes(data)


def test_an_empty_subject_is_nobody(authority: Authority) -> None:
    """A certificate may have its name elsewhere; who that is, nobody can tell."""
    with pytest.raises(PeerError) as caught:
        parse_subject(authority.sign(x509.Name([])).der)
    assert "empty" in str(caught.value.detail)


@pytest.mark.parametrize(
    ("kind", "text"),
    [
        (_ASN1Type.UTF8String, "tim\u00eb"),
        (_ASN1Type.PrintableString, "tim"),
        (_ASN1Type.IA5String, "tim"),
        (_ASN1Type.BMPString, "tim\u00eb"),
        (_ASN1Type.UniversalString, "tim\u00eb"),
        (_ASN1Type.VisibleString, "tim"),
    ],
)
def test_kinds_of_strings(authority: Authority, kind: _ASN1Type, text: str) -> None:
    """However the text is encoded, it is the same text."""
    attribute = NameAttribute(CN, text, kind, _validate=False)
    assert named(authority, x509.Name([attribute])) == f"CN={text}"


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (b"\x0c\x04\x61\xc3\xab\x62", b"\x0c\x04\x61\xff\xab\x62"),  # no UTF-8
        (b"\x0c\x04\x61\xc3\xab\x62", b"\x13\x04\x61\xc3\xab\x62"),  # no ASCII
        (b"\x0c\x04\x61\xc3\xab\x62", b"\x1c\x04\x61\xc3\xab\x62"),  # no character
        (b"\x0c\x04\x61\xc3\xab\x62", b"\x1e\x04\xd8\x00\xab\x62"),  # half of a pair
    ],
)
def test_a_string_is_what_it_says(authority: Authority, before: bytes, after: bytes) -> None:
    """Octets that are none of its kind are refused, and never replaced."""
    der = authority.sign(name_of((CN, "a\u00ebb"))).der
    assert der.count(before) == 1
    with pytest.raises(PeerError):
        parse_subject(der.replace(before, after))


def test_a_value_of_no_string_goes_by_its_encoding(authority: Authority) -> None:
    """So no octets of it can be taken for text."""
    der = authority.sign(name_of((CN, "abc"))).der.replace(b"\x0c\x03abc", b"\x04\x03abc")
    assert parse_subject(der).name == "CN=#0403616263"


@pytest.mark.parametrize("days", [1.0, 365.0 * 30, 365.0 * 100])
def test_until(authority: Authority, days: float) -> None:
    """Two digits of the year or four: the end of the validity, to the second."""
    der = authority.sign(days=(-1, days)).der
    theirs = x509.load_der_x509_certificate(der).not_valid_after_utc
    assert parse_subject(der).until == theirs.timestamp()
    assert theirs > dt.datetime.now(dt.UTC)


@pytest.mark.parametrize(
    ("text", "year"), [(b"491231235959Z", 2049), (b"500101000000Z", 1950), (b"680101000000Z", 1968)]
)
def test_two_digits_of_a_year(authority: Authority, text: bytes, year: int) -> None:
    """Those from 50 on are of the last century (RFC 5280 section 4.1.2.5.1)."""
    der = authority.sign().der
    at = der.index(b"\x17\x0d", der.index(b"\x17\x0d") + 1) + 2
    found = parse_subject(der[:at] + text + der[at + 13 :]).until
    assert dt.datetime.fromtimestamp(found, dt.UTC).year == year


@pytest.mark.parametrize(
    "text", [b"991231235960Z", b"251301000000Z", b"2512310000000", b"25-1-1 0:0:0Z", b"\xd9" * 13]
)
def test_what_is_no_time(authority: Authority, text: bytes) -> None:
    """It is refused, and not taken for a time."""
    der = authority.sign().der
    at = der.index(b"\x17\x0d") + 2
    with pytest.raises(PeerError):
        parse_subject(der[:at] + text + der[at + 13 :])


def test_any_octets(authority: Authority) -> None:
    """What is cut, changed or longer gives a name or a refusal, and nothing else."""
    der = authority.sign().der
    for at in range(0, len(der), 3):
        for data in (der[:at], der[:at] + b"\xff" + der[at + 1 :], der[:at] + b"\0" + der[at:]):
            try:
                name = parse_subject(data).name
            except PeerError:
                continue
            assert name.isprintable()
    with pytest.raises(PeerError):
        parse_subject(der + b"\0")
    with pytest.raises(PeerError):
        parse_subject(b"\x30" * (1 << 20) + b"\0")


TEXTS = st.text(st.characters(codec="utf-8"), min_size=1, max_size=8)
PARTS = st.lists(st.tuples(st.sampled_from([CN, ORG, OU, MAIL, OTHER]), TEXTS), max_size=3)


@settings(max_examples=60, deadline=None)
@given(PARTS)
def test_no_two_subjects_have_one_name(
    authority: Authority, parts: list[tuple[ObjectIdentifier, str]]
) -> None:
    """Whatever the values hold, a name is read back as the attributes that it was made of."""
    try:
        name = named(authority, name_of(*parts))
    except PeerError:
        return
    theirs = x509.Name.from_rfc4514_string(
        name.replace(f"{OTHER.dotted_string}=#", "2.5.4.17=\\#"), {"emailAddress": MAIL}
    )
    back = tuple((a.oid.dotted_string, a.value) for rdn in theirs.rdns for a in rdn)
    made = tuple(
        ("2.5.4.17", f"#0C{len(text.encode()):02x}{text.encode().hex()}".upper())
        if oid == OTHER
        else (oid.dotted_string, text)
        for oid, text in parts
    )
    assert back == made


def test_a_file_tells_the_name(authority: Authority, tmp_path: Path) -> None:
    """As an administrator asks for it."""
    made = authority.sign()
    pem = tmp_path / "client.pem"
    certificate = x509.load_der_x509_certificate(made.der)
    pem.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    assert parse_subject(read_certificate(pem)).name == NAMES["as usual"][1]
