"""tls-server-end-point: each signature's hash, and certificates that have none."""

from __future__ import annotations

import base64
import datetime as dt
import hashlib
import json
import ssl
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import dsa, ec, padding, rsa
from cryptography.x509.oid import NameOID
from hypothesis import given
from hypothesis import strategies as st

from sasl_core import ConfigError, MechanismError, PeerError, Result, SaslError
from sasl_mechanisms.scram.messages import format_without_proof
from sasl_tls import ServerTls, read_certificate, server_end_point
from sasl_tls.bindings import EXPORTER_LABEL, EXPORTER_LENGTH
from sasl_tls.certificate import signature_hash
from sasl_tls.der import Algorithm, signature_algorithm
from tls_kit import Kind, SslEnd, Tls, server_end, shake_hands

VECTORS: dict[str, Any] = json.loads(
    (Path(__file__).parents[1] / "vectors" / "channel_binding.json").read_text("utf-8")
)
CERTIFICATES = {row["name"]: row for row in VECTORS["tls_server_end_point"]}
DEFINED = {name: row for name, row in CERTIFICATES.items() if row["result"] == "ok"}
UNDEFINED = {name: row for name, row in CERTIFICATES.items() if row["result"] != "ok"}


def der(row: Mapping[str, Any]) -> bytes:
    """A vector's certificate."""
    return ssl.PEM_cert_to_DER_cert(row["pem"])


# --- the vectors ---------------------------------------------------------------------------------


def test_the_vectors_are_all_there() -> None:
    """Eleven certificates, nine of which have a digest."""
    assert (len(CERTIFICATES), len(DEFINED), len(UNDEFINED)) == (11, 9, 2)


@pytest.mark.parametrize("name", DEFINED)
def test_the_digest_is_that_of_the_vector(name: str) -> None:
    """The signature's own hash, SHA-256 for MD5 and SHA-1 (RFC 5929 section 4.1)."""
    row = DEFINED[name]
    certificate = der(row)
    assert server_end_point(certificate).hex() == row["tls_server_end_point_hex"]
    assert signature_algorithm(certificate).oid == row["signature_oid"]
    own = signature_hash(signature_algorithm(certificate))
    assert {"md5": "sha256", "sha1": "sha256"}.get(own, own) == row["hash"]
    known = row["cryptography_signature_hash_algorithm"]
    assert known.startswith("UnsupportedAlgorithm") or known.replace("-", "_") == own


@pytest.mark.parametrize("name", UNDEFINED)
def test_a_signature_without_a_single_hash_is_refused(name: str) -> None:
    """Ed25519 and Ed448 have no binding, and the reason names them."""
    with pytest.raises(MechanismError, match=f"signed with {name}") as caught:
        server_end_point(der(UNDEFINED[name]))
    assert (caught.value.code, caught.value.result) == ("no-end-point", Result.BADBINDING)


def test_the_exporters_parameters_are_those_of_the_vectors() -> None:
    """RFC 9266 section 2: label and length."""
    row = VECTORS["tls_exporter"]
    assert (EXPORTER_LABEL.decode(), EXPORTER_LENGTH) == (row["label"], row["length"])


@pytest.mark.parametrize("row", VECTORS["cbind_input"], ids=lambda row: row["gs2_header"])
def test_the_input_is_the_header_and_the_data(row: dict[str, str]) -> None:
    """`c=` is the GS2 header as it was sent, followed by the data, in base64."""
    sent = row["gs2_header"].encode() + bytes.fromhex(row["data_hex"])
    assert format_without_proof(sent, b"nonce") == f"c={row['c_b64']},r=nonce".encode()


# --- cryptography as the oracle ------------------------------------------------------------------

HASHES = {
    "sha224": hashes.SHA224(),
    "sha256": hashes.SHA256(),
    "sha384": hashes.SHA384(),
    "sha512": hashes.SHA512(),
    "sha3_224": hashes.SHA3_224(),
    "sha3_256": hashes.SHA3_256(),
    "sha3_384": hashes.SHA3_384(),
    "sha3_512": hashes.SHA3_512(),
}


@pytest.fixture(scope="module")
def keys() -> dict[str, Any]:
    """A key of each kind that signs a hash."""
    return {
        "rsa": rsa.generate_private_key(65537, 2048),
        "pss": rsa.generate_private_key(65537, 2048),
        "ecdsa": ec.generate_private_key(ec.SECP256R1()),
        "dsa": dsa.generate_private_key(2048),
    }


def signed(key: Any, algorithm: Any, rsa_padding: Any = None) -> bytes:
    """A certificate in DER."""
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    builder = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(dt.datetime(2026, 1, 1))  # noqa: DTZ001 - as X.509 has it.
        .not_valid_after(dt.datetime(2027, 1, 1))  # noqa: DTZ001
    )
    certificate = builder.sign(key, algorithm, rsa_padding=rsa_padding)
    return certificate.public_bytes(serialization.Encoding.DER)


# Of DSA with SHA-3, which nobody signs, only the numbers in NIST's register are known.
SIGNED = [
    (kind, name)
    for kind in ("rsa", "pss", "ecdsa", "dsa")
    for name in HASHES
    if not (kind == "dsa" and name.startswith("sha3"))
]


@pytest.mark.parametrize(("kind", "name"), SIGNED)
def test_what_cryptography_signs_has_its_hash(keys: dict[str, Any], kind: str, name: str) -> None:
    """RSA, RSASSA-PSS, ECDSA and DSA with each hash that cryptography signs with."""
    algorithm = HASHES[name]
    scheme = padding.PSS(padding.MGF1(algorithm), 20) if kind == "pss" else None
    certificate = signed(keys[kind], algorithm, scheme)
    assert server_end_point(certificate) == hashlib.new(name, certificate).digest()


def test_two_hash_functions_are_refused(keys: dict[str, Any]) -> None:
    """RSASSA-PSS whose mask generation uses another hash has no binding."""
    scheme = padding.PSS(padding.MGF1(hashes.SHA256()), 20)
    certificate = signed(keys["pss"], hashes.SHA512(), scheme)
    with pytest.raises(MechanismError, match="two hash functions"):
        server_end_point(certificate)


def algorithm(oid: str, parameters: str = "") -> Algorithm:
    return Algorithm(oid, bytes.fromhex(parameters))


PSS = "1.2.840.113549.1.1.10"
SHA256 = "300d06096086480165030402010500"
MGF1_SHA256 = "301a06092a864886f70d010108" + SHA256
MGF1_SHA1 = "301606092a864886f70d010108300906052b0e03021a0500"


@pytest.mark.parametrize(
    ("given", "name"),
    [
        (algorithm(PSS, "3000"), "sha1"),
        (algorithm(PSS, "300ba009300706052b0e03021a"), "sha1"),
        (algorithm(PSS, f"302fa00f{SHA256}a11c{MGF1_SHA256}"), "sha256"),
        (algorithm(PSS, f"3034a00f{SHA256}a11c{MGF1_SHA256}a203020120"), "sha256"),
        (algorithm("1.3.14.3.2.29"), "sha1"),
        (algorithm("2.16.840.1.101.3.4.3.16"), "sha3_512"),
    ],
)
def test_the_parameters_and_their_defaults_are_read(given: Algorithm, name: str) -> None:
    """RFC 4055 section 3.1: SHA-1 is the default of the hash, and of the mask's."""
    assert signature_hash(given) == name


@pytest.mark.parametrize(
    ("given", "why"),
    [
        (algorithm(PSS, f"3011a00f{SHA256}"), "two hash functions"),
        (algorithm(PSS, f"301ea11c{MGF1_SHA256}"), "two hash functions"),
        (algorithm(PSS, "300ca10a3008060101" + "06032a0304"), "cannot be read|mask generation"),
        (algorithm(PSS, "3009a10730050603" + "2a0304"), "mask generation"),
        (algorithm("1.2.3.4"), "1.2.3.4 is not known"),
        (algorithm("1.2.840.113549.1.1.2"), "not known"),
        (algorithm("2.16.840.1.101.3.4.3.18"), "ML-DSA-65"),
    ],
)
def test_what_is_not_defined_is_refused(given: Algorithm, why: str) -> None:
    """No guess, whatever the reason; the reason says which signature it is."""
    with pytest.raises(SaslError, match=why) as caught:
        signature_hash(given)
    assert isinstance(caught.value, MechanismError | PeerError)


@pytest.mark.parametrize(
    "parameters",
    ["", "0500", "3000" + "00", "3002a400", "3001a0", "300fa00d300b0609608648016503040201" + "05"],
)
def test_malformed_parameters_are_refused(parameters: str) -> None:
    """Absent, of another type, too long, too short: an error of ours."""
    with pytest.raises(PeerError):
        signature_hash(algorithm(PSS, parameters))


# --- whatever bytes ------------------------------------------------------------------------------

WHOLE = der(CERTIFICATES["SHA256withECDSA"])


def refused_or_digest(data: bytes) -> bytes | None:
    try:
        return server_end_point(data)
    except SaslError:
        return None


def test_every_truncation_is_refused() -> None:
    """A certificate without its end is none."""
    for length in range(len(WHOLE)):
        with pytest.raises(PeerError) as caught:
            server_end_point(WHOLE[:length])
        assert caught.value.code == "certificate"


def test_anything_behind_it_is_refused() -> None:
    """One octet more, and it is not the certificate that was signed."""
    with pytest.raises(PeerError):
        server_end_point(WHOLE + b"\0")


def test_no_flip_of_a_bit_gets_out_or_keeps_the_digest() -> None:
    """An error of ours, or another digest."""
    right = server_end_point(WHOLE)
    for position in range(len(WHOLE)):
        for bit in (1, 0x80):
            flipped = bytearray(WHOLE)
            flipped[position] ^= bit
            assert refused_or_digest(bytes(flipped)) != right


@given(st.binary(max_size=400))
def test_any_bytes_are_refused_or_hashed(data: bytes) -> None:
    """Nothing but a SaslError comes out."""
    refused_or_digest(data)
    refused_or_digest(b"\x30\x82" + len(data).to_bytes(2) + data)


@pytest.mark.parametrize(
    "data",
    [
        b"\x30\x80" + WHOLE[4:] + b"\0\0",
        b"\x30\x83\x00" + WHOLE[2:],
        b"\x30\x84\x00\x00" + WHOLE[2:],
        b"\x30\x81\x05" + b"\x02\x03\x01\x00\x01",
        b"\x30" * 5000,
        b"\x30\x82\xff\xff" + b"\0" * 10,
        b"\x30" + b"\x84" + b"\xff" * 4,
        b"\0" * ((1 << 20) + 1),
    ],
    ids=["indefinite", "padded", "four", "not-minimal", "nested", "beyond", "huge", "too-long"],
)
def test_lengths_are_definite_minimal_and_within(data: bytes) -> None:
    """X.690 section 10.1, and no octet is read that is not there."""
    with pytest.raises(PeerError):
        server_end_point(data)


def test_a_hash_that_this_openssl_lacks_is_a_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    """No foreign exception where a build leaves a hash out."""

    def without(name: str, *_: object, **__: object) -> object:
        raise ValueError(f"unsupported hash type {name}")

    server_end_point.cache_clear()
    monkeypatch.setattr(hashlib, "new", without)
    with pytest.raises(MechanismError, match="sha256, is not to be had here"):
        server_end_point(WHOLE)
    server_end_point.cache_clear()


# --- files ---------------------------------------------------------------------------------------


def test_the_first_certificate_of_a_file_is_read(
    certificates: Mapping[Kind, Tls], tmp_path: Path
) -> None:
    """A chain begins with the server's own; a key may stand before it."""
    first, second = certificates["ecdsa"], certificates["rsa"]
    chain = tmp_path / "chain.pem"
    chain.write_bytes(
        first.key.read_bytes() + first.certificate.read_bytes() + second.certificate.read_bytes()
    )
    assert read_certificate(chain) == first.der
    assert read_certificate(str(second.certificate)) == second.der


@pytest.mark.parametrize("label", [b"X509 CERTIFICATE", b"TRUSTED CERTIFICATE"])
@pytest.mark.parametrize("line_end", [b"\n", b"\r\n", b" \n"])
def test_the_first_certificate_is_openssls_first(
    certificates: Mapping[Kind, Tls], tmp_path: Path, label: bytes, line_end: bytes
) -> None:
    """OpenSSL reads older labels too; what it sends is what tls-server-end-point is of."""
    leaf, other = certificates["ecdsa"], certificates["rsa"]
    data = leaf.der
    if label.startswith(b"TRUSTED"):
        # For what it is trusted (X509_CERT_AUX): for TLS servers.
        data += bytes.fromhex("300c300a06082b06010505070301")
    lines = [b"-----BEGIN %b-----" % label, base64.encodebytes(data).strip()]
    lines += [b"-----END %b-----" % label, b""]
    chain = tmp_path / "chain.pem"
    chain.write_bytes(line_end.join(lines) + other.certificate.read_bytes())
    assert read_certificate(chain) == leaf.der
    tls = ServerTls.load(chain, leaf.key)  # OpenSSL takes it: key and certificate agree.
    client = SslEnd(leaf.client(), server=False)
    shake_hands(server_end(tls), client)
    assert client.connection.getpeercert(binary_form=True) == leaf.der


def test_what_stands_before_the_certificate_may_be_anything(
    certificates: Mapping[Kind, Tls], tmp_path: Path
) -> None:
    """What OpenSSL skips (a subject, an old certificate behind #) is skipped here too."""
    tls, old = certificates["ecdsa"], certificates["rsa"]
    commented = b"".join(b"# " + line for line in old.certificate.read_bytes().splitlines(True))
    chain = tmp_path / "chain.pem"
    chain.write_bytes(b"subject=CN = localhost\n" + commented + tls.certificate.read_bytes())
    assert read_certificate(chain) == tls.der


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"-----BEGIN CERTIFICATE-----\n",
        b"-----BEGIN CERTIFICATE-----\n!!!!\n-----END CERTIFICATE-----\n",
        b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n",
        b"-----BEGIN TRUSTED CERTIFICATE-----\nAAAA\n-----END TRUSTED CERTIFICATE-----\n",
        b"-----BEGIN CERTIFICATE-----\nMAA=\n-----END X509 CERTIFICATE-----\n",
        b"-----BEGIN PRIVATE KEY-----\nc2VjcmV0\n-----END PRIVATE KEY-----\n",
    ],
)
def test_a_file_without_a_certificate_is_a_configuration_error(text: bytes, tmp_path: Path) -> None:
    """It names the file, and repeats nothing of what is in it."""
    path = tmp_path / "server.pem"
    path.write_bytes(text)
    with pytest.raises(ConfigError, match=r"server\.pem") as caught:
        read_certificate(path)
    assert "c2VjcmV0" not in str(caught.value)


def test_a_file_that_is_not_there_is_a_configuration_error(tmp_path: Path) -> None:
    """With the system's reason."""
    with pytest.raises(ConfigError, match="No such file"):
        read_certificate(tmp_path / "none.pem")
