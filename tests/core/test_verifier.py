"""SCRAM's stored credentials and arithmetic, against published exchanges."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
from pathlib import Path
from typing import Any

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sasl_core.errors import BackendError, PeerError, UsageError
from sasl_core.verifier import (
    MAX_ITERATIONS,
    MAX_SALT,
    SCRAM_HASHES,
    ScramVerifier,
    client_proof,
    decoy_verifier,
    derive,
    format_verifier,
    parse_verifier,
    proof_matches,
    server_signature,
    stored_keys,
    verifier_from_salted_password,
)

VECTORS: dict[str, Any] = json.loads(
    (Path(__file__).parent.parent / "vectors" / "scram.json").read_text("utf-8")
)
EXCHANGES: list[dict[str, Any]] = VECTORS["exchanges"]
SECRET = bytes(range(32))
unb64 = base64.b64decode


def parts(vector: dict[str, Any]) -> tuple[str, bytes, bytes, bytes]:
    """Return hash, AuthMessage, proof and what stands behind `v=`, by plain splitting."""
    hash_name = vector["mechanism"].removeprefix("SCRAM-").removesuffix("-PLUS")
    bare = vector["client_first"].split(",", 2)[2]
    without_proof, _, proof = vector["client_final"].rpartition(",p=")
    message = f"{bare},{vector['server_first']},{without_proof}".encode()
    final = vector["server_final"]
    signature = unb64(final[2:]) if final.startswith("v=") else b""
    return hash_name, message, unb64(proof), signature


def verifier_of(vector: dict[str, Any]) -> ScramVerifier:
    """Return the verifier that the exchange's server would hold."""
    derived = vector["derived"]
    return ScramVerifier(
        parts(vector)[0],
        vector["iterations"],
        unb64(vector["salt_b64"]),
        unb64(derived["stored_key"]),
        unb64(derived["server_key"]),
    )


@pytest.mark.parametrize("vector", EXCHANGES, ids=lambda v: v["id"])
def test_exchanges(vector: dict[str, Any]) -> None:
    """Both sides of each published exchange compute what was published, and only then accept."""
    hash_name, message, proof, signature = parts(vector)
    texts = dict(vector["derived"])
    assert texts.pop("auth_message").encode() == message
    derived = {name: unb64(value) for name, value in texts.items()}
    salted = derived["salted_password"]
    keys = stored_keys(hash_name, salted)
    assert keys == (derived["client_key"], derived["stored_key"], derived["server_key"])
    verifier = verifier_from_salted_password(
        hash_name, salted, unb64(vector["salt_b64"]), vector["iterations"]
    )
    assert verifier == verifier_of(vector)
    right = client_proof(keys[0], keys[1], message, hash_name)
    assert proof_matches(verifier, message, right)
    assert proof_matches(verifier, message, proof) is vector["verified"]["proof"]
    assert (proof == right) is vector["verified"]["proof"]
    agrees = server_signature(verifier, message) == signature
    assert agrees is vector["verified"]["server_signature"]


@pytest.mark.parametrize(
    "vector",
    [v for v in EXCHANGES if v["iterations"] <= 20_000 and v["password"].isascii()],
    ids=lambda v: v["id"],
)
def test_exchanges_derive(vector: dict[str, Any]) -> None:
    """SaltedPassword of each exchange comes out of its password, salt and iterations."""
    password = vector["password"].encode()
    if vector["mongo_hashed_password"]:
        text = b"%b:mongo:%b" % (vector["username"].encode(), password)
        password = hashlib.md5(text, usedforsecurity=False).hexdigest().encode()
    salt = unb64(vector["salt_b64"])
    salted = derive(parts(vector)[0], password, salt, vector["iterations"])
    assert salted == unb64(vector["derived"]["salted_password"])


def test_the_vectors_cover_every_hash() -> None:
    """There is a published or generated exchange for each hash of the table."""
    assert {parts(vector)[0] for vector in EXCHANGES} == set(SCRAM_HASHES)


def test_the_table_of_hashes_is_right() -> None:
    """Each hash of the table is in hashlib, with the size given."""
    for name, size in SCRAM_HASHES.values():
        assert hashlib.new(name).digest_size == size


@pytest.mark.parametrize(
    "vector", VECTORS["pbkdf2"], ids=lambda v: f"{v['hash']}-{v['iterations']}-{v['dklen']}"
)
def test_pbkdf2(vector: dict[str, Any]) -> None:
    """The vectors of RFC 6070, RFC 7914 and others hold, as far as the hash is long."""
    name = next(name for name, row in SCRAM_HASHES.items() if row[0] == vector["hash"])
    key = derive(
        name,
        bytes.fromhex(vector["password_hex"]),
        bytes.fromhex(vector["salt_hex"]),
        vector["iterations"],
    )
    wanted = bytes.fromhex(vector["dk_hex"])
    length = min(len(key), len(wanted))
    assert key[:length] == wanted[:length]
    assert length >= 16


@pytest.mark.parametrize("vector", VECTORS["stored_credentials"], ids=lambda v: v["text"][:40])
def test_stored_credentials(vector: dict[str, Any]) -> None:
    """Credentials stored by PostgreSQL, Dovecot and GNU SASL are those that we would store."""
    name = vector["mechanism"].removeprefix("SCRAM-")
    salt, iterations = unb64(vector["salt_b64"]), vector["iterations"]
    salted = derive(name, vector["password"].encode(), salt, iterations)
    verifier = verifier_from_salted_password(name, salted, salt, iterations)
    assert verifier.stored_key == unb64(vector["stored_key_b64"])
    assert verifier.server_key == unb64(vector["server_key_b64"])
    text = "SCRAM-{}${}:{}${}:{}".format(
        name, iterations, vector["salt_b64"], vector["stored_key_b64"], vector["server_key_b64"]
    ).encode()
    assert format_verifier(verifier) == text
    assert parse_verifier(text) == verifier
    if vector["format"] == "postgresql":
        assert vector["text"].encode() == text


GOOD = VECTORS["stored_credentials"][0]["text"].encode()


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"SCRAM-SHA-256",
        GOOD + b"\n",
        GOOD + b" ",
        b" " + GOOD,
        GOOD + b":AAAA",
        GOOD.replace(b"SHA-256", b"SHA-1"),
        GOOD.replace(b"SHA-256", b"SHA-256-PLUS"),
        GOOD.replace(b"SHA-256", b"MD5"),
        GOOD.replace(b"SCRAM", b"scram"),
        GOOD.replace(b"$4096", b"$0"),
        GOOD.replace(b"$4096", b"$04096"),
        GOOD.replace(b"$4096", b"$+4096"),
        GOOD.replace(b"$4096", b"$-4096"),
        GOOD.replace(b"$4096", b"$4_096"),
        GOOD.replace(b"$4096", b"$ 4096"),
        GOOD.replace(b"$4096", "$\u0664\u0660\u0669\u0666".encode()),
        GOOD.replace(b"$4096", b"$2147483648"),
        GOOD.replace(b"$4096", b"$" + b"9" * 5000),
        GOOD.replace(b"4096:Fgh8JU2AlRjBHUsIU/GgtQ==", b"4096:"),
        GOOD.replace(b"Fgh8JU2AlRjBHUsIU/GgtQ==", b"===="),
        GOOD.replace(b"Fgh8JU2AlRjBHUsIU/GgtQ==", b"Fgh8JU2AlRjBHUsIU/GgtQ"),
        GOOD.replace(b"Fgh8JU2AlRjBHUsIU/GgtQ==", b"Fgh8JU2AlRjBHUsIU/GgtR=="),
        GOOD.replace(b"Fgh8JU2AlRjBHUsIU/GgtQ==", base64.b64encode(bytes(MAX_SALT + 1))),
        GOOD.replace(b"XiT346dvVvPm", b"XiT346dv"),
        GOOD.replace(b"XiT346dvVvPm", b"XiT346dvVvPmAAAA"),
        GOOD.replace(b"CY9vUvDF", b"CY9v"),
        GOOD.replace(b"suwg=", b"suwh="),
        GOOD.replace(b":", b";"),
        b"\xff" * 90,
        b"$" * 100_000,
    ],
)  # fmt: skip
def test_bad_stored_text_is_the_stores_fault(text: bytes) -> None:
    """A stored verifier that cannot be read is a lasting BackendError that shows no key."""
    with pytest.raises(BackendError) as caught:
        _ = parse_verifier(text)
    error = caught.value
    assert error.code == "bad-verifier"
    assert not error.temporary
    for piece in (b"XiT346dv", b"CY9v", b"Fgh8"):
        assert piece.decode() not in f"{error} {error.detail} {error.__context__}"


def test_the_largest_stored_values_are_read() -> None:
    """The highest iterations and the longest salt can be written and read back."""
    verifier = ScramVerifier("SHA3-512", MAX_ITERATIONS, bytes(MAX_SALT), bytes(64), bytes(64))
    assert parse_verifier(format_verifier(verifier)) == verifier


def test_repr_masks_both_keys() -> None:
    """The repr of a verifier shows its cost and its salt, and neither key."""
    shown = repr(parse_verifier(GOOD))
    assert "4096" in shown
    assert shown.count("***") == 2
    assert "stored_key=***" in shown
    assert "server_key=***" in shown


def test_a_wrong_proof_does_not_match() -> None:
    """No single altered bit of a proof, of the message or of a key is let through."""
    vector = EXCHANGES[1]
    _, message, proof, _ = parts(vector)
    verifier = verifier_of(vector)
    assert proof_matches(verifier, message, proof)
    for bit in range(len(proof) * 8):
        altered = bytearray(proof)
        altered[bit // 8] ^= 1 << bit % 8
        assert not proof_matches(verifier, message, bytes(altered))
    assert not proof_matches(verifier, message + b",", proof)
    assert not proof_matches(attrs.evolve(verifier, stored_key=bytes(32)), message, proof)
    assert not proof_matches(attrs.evolve(verifier, stored_key=b""), message, proof)


@pytest.mark.parametrize("length", [0, 1, 20, 31, 33, 64])
def test_a_proof_of_the_wrong_length_is_a_protocol_error(length: int) -> None:
    """A proof that is not as long as the hash never reaches the arithmetic."""
    with pytest.raises(PeerError) as caught:
        _ = proof_matches(parse_verifier(GOOD), b"message", bytes(length))
    assert caught.value.code == "proof-length"


def test_misuse_is_a_usage_error() -> None:
    """Unknown hashes, impossible costs and keys of the wrong length are refused by name."""
    good = parse_verifier(GOOD)
    calls = [
        lambda: derive("SHA-256-PLUS", b"", b"salt", 1),
        lambda: derive("sha256", b"", b"salt", 1),
        lambda: derive("SHA-256", b"", b"", 1),
        lambda: derive("SHA-256", b"", bytes(MAX_SALT + 1), 1),
        lambda: derive("SHA-256", b"", b"salt", 0),
        lambda: derive("SHA-256", b"", b"salt", -1),
        lambda: derive("SHA-256", b"", b"salt", 2**31),
        lambda: stored_keys("SHA-256", bytes(20)),
        lambda: stored_keys("MD5", bytes(16)),
        lambda: verifier_from_salted_password("SHA-256", bytes(32), b"", 1),
        lambda: client_proof(bytes(20), bytes(32), b"", "SHA-256"),
        lambda: client_proof(bytes(16), bytes(16), b"", "MD5"),
        lambda: format_verifier(attrs.evolve(good, hash="MD5")),
        lambda: format_verifier(attrs.evolve(good, iterations=0)),
        lambda: format_verifier(attrs.evolve(good, salt=b"")),
        lambda: format_verifier(attrs.evolve(good, stored_key=bytes(31))),
        lambda: decoy_verifier(SECRET, "MD5", "user", 4096),
        lambda: decoy_verifier(b"short", "SHA-256", "user", 4096),
        lambda: decoy_verifier(SECRET, "SHA-256", "user", 4096, 0),
        lambda: decoy_verifier(SECRET, "SHA-256", "user", 4096, 33),
    ]
    for call in calls:
        with pytest.raises(UsageError):
            _ = call()


@pytest.mark.parametrize("name", SCRAM_HASHES)
def test_a_decoy_looks_like_a_verifier(name: str) -> None:
    """A decoy has the lengths of a real one, and can be stored and read like it."""
    decoy = decoy_verifier(SECRET, name, "user", 4096, 12)
    size = SCRAM_HASHES[name][1]
    assert (len(decoy.salt), len(decoy.stored_key), len(decoy.server_key)) == (12, size, size)
    assert len({decoy.salt, decoy.stored_key[:12], decoy.server_key[:12]}) == 3
    assert parse_verifier(format_verifier(decoy)) == decoy


def test_a_decoy_is_the_same_each_time_and_different_for_everything_else() -> None:
    """User, hash and secret decide on a decoy, and none of them can stand in for another."""
    first = decoy_verifier(SECRET, "SHA-256", "user", 4096)
    assert first == decoy_verifier(SECRET, "SHA-256", "user", 4096)
    others = [
        decoy_verifier(SECRET, "SHA-256", "user2", 4096),
        decoy_verifier(SECRET, "SHA-256", "", 4096),
        decoy_verifier(SECRET, "SHA-512", "user", 4096),
        decoy_verifier(SECRET[:-1], "SHA-256", "user", 4096),
        decoy_verifier(SECRET + b"S", "SHA-256", "user", 4096),
        decoy_verifier(SECRET, "SHA-256", "\ud800", 4096),
    ]
    assert len({first.salt, *(other.salt for other in others)}) == 7
    assert len({first.server_key, *(other.server_key for other in others)}) == 7
    assert decoy_verifier(SECRET, "SHA-256", "user", 15_000).salt == first.salt


def test_the_decoys_construction_is_fixed() -> None:
    """An update must not give unknown users, and only them, new salts."""
    octets = hashlib.blake2b(SECRET + b"\0SHA-256\0" + "us\u00e9r".encode()).digest()
    assert decoy_verifier(SECRET, "SHA-256", "us\u00e9r", 4096) == ScramVerifier(
        "SHA-256", 4096, octets[:16], octets[32:], octets[:31:-1]
    )


@given(st.binary(max_size=120) | st.text("SCRAM-H256$:=Aa0\n", max_size=60).map(str.encode))
def test_any_stored_text(text: bytes) -> None:
    """Any bytes give a verifier that is written back as it was, or a BackendError."""
    try:
        verifier = parse_verifier(text)
    except BackendError:
        return
    assert format_verifier(verifier) == text


@given(
    st.sampled_from(sorted(SCRAM_HASHES)),
    st.integers(1, MAX_ITERATIONS),
    st.binary(min_size=1, max_size=64),
    st.data(),
)
def test_verifier_round_trip(name: str, iterations: int, salt: bytes, data: st.DataObject) -> None:
    """Every verifier comes back from its stored form."""
    size = SCRAM_HASHES[name][1]
    keys = st.binary(min_size=size, max_size=size)
    verifier = ScramVerifier(name, iterations, salt, data.draw(keys), data.draw(keys))
    assert parse_verifier(format_verifier(verifier)) == verifier


@given(st.sampled_from(sorted(SCRAM_HASHES)), st.binary(min_size=64, max_size=64), st.binary())
def test_a_clients_proof_matches(name: str, seed: bytes, message: bytes) -> None:
    """What a client proves, the server finds proven, and by the book's HMAC."""
    in_hashlib, size = SCRAM_HASHES[name]
    salted = seed[:size]
    client_key, stored_key, server_key = stored_keys(name, salted)
    verifier = verifier_from_salted_password(name, salted, b"salt", 4096)
    proof = client_proof(client_key, stored_key, message, name)
    assert proof_matches(verifier, message, proof)
    assert server_signature(verifier, message) == hmac.new(server_key, message, in_hashlib).digest()
