"""SCRAM verifiers as PostgreSQL, Cyrus SASL, Dovecot, GNU SASL and MongoDB write them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from sasl_core import UsageError, b64decode
from sasl_core.plugin import (
    ScramVerifier,
    derive,
    format_braced_verifier,
    format_mongodb_credentials,
    format_verifier,
    parse_any_verifier,
    parse_mongodb_credentials,
    verifier_from_salted_password,
)

VECTORS = Path(__file__).parents[1] / "vectors" / "scram.json"
STORED: list[dict[str, Any]] = json.loads(VECTORS.read_text("utf-8"))["stored_credentials"]

RFC7677 = (
    b"SCRAM-SHA-256$4096:W22ZaJ0SNY7soEsUEjb6gQ==$WG5d8oPm3OtcPnkdi4Uo7BkeZkBFzpcXkuLmtbsT4qY="
    b":wfPLwcE6nTWhTAmQ7tl2KeoiWGPlZqQxSrmfPwDl2dU="
)
BRACED = (
    b"{SCRAM-SHA-256}4096,W22ZaJ0SNY7soEsUEjb6gQ==,WG5d8oPm3OtcPnkdi4Uo7BkeZkBFzpcXkuLmtbsT4qY="
    b",wfPLwcE6nTWhTAmQ7tl2KeoiWGPlZqQxSrmfPwDl2dU="
)
MONGODB = {
    "iterationCount": 4096,
    "salt": "W22ZaJ0SNY7soEsUEjb6gQ==",
    "storedKey": "WG5d8oPm3OtcPnkdi4Uo7BkeZkBFzpcXkuLmtbsT4qY=",
    "serverKey": "wfPLwcE6nTWhTAmQ7tl2KeoiWGPlZqQxSrmfPwDl2dU=",
}


@pytest.mark.parametrize("vector", STORED, ids=lambda v: f"{v['format']} {v['text'][:24]}")
def test_what_others_store_is_what_we_derive(vector: dict[str, Any]) -> None:
    """Every field of every stored credential of the vectors; written again as it was."""
    text = vector["text"].encode()
    read = parse_any_verifier(text)
    assert f"SCRAM-{read.hash}" == vector["mechanism"]
    assert (read.iterations, read.salt) == (vector["iterations"], b64decode(vector["salt_b64"]))
    assert read.stored_key == b64decode(vector["stored_key_b64"])
    assert read.server_key == b64decode(vector["server_key_b64"])
    salted = derive(read.hash, vector["password"].encode(), read.salt, read.iterations)
    made = verifier_from_salted_password(read.hash, salted, read.salt, read.iterations)
    assert made == read
    write = format_braced_verifier if text.startswith(b"{") else format_verifier
    assert write(read) == text


def test_the_forms_are_of_one_verifier() -> None:
    """The example of RFC 7677, in each form."""
    plain = parse_any_verifier(RFC7677)
    assert parse_any_verifier(BRACED) == plain
    assert parse_mongodb_credentials({"SCRAM-SHA-256": MONGODB}) == {"SHA-256": plain}
    assert format_braced_verifier(plain) == BRACED
    assert format_mongodb_credentials({"SHA-256": plain}) == {"SCRAM-SHA-256": MONGODB}
    assert format_mongodb_credentials({"SHA-512": plain}) == {}


def test_blanks_of_rfc_5803_are_taken() -> None:
    """Around each `$`, and nowhere else."""
    spaced = RFC7677.replace(b"$", b" $ ")
    assert parse_any_verifier(spaced) == parse_any_verifier(RFC7677)
    with pytest.raises(UsageError):
        parse_any_verifier(RFC7677 + b" ")


@pytest.mark.parametrize(
    "number", [{"$numberInt": "4096"}, {"$numberLong": "4096"}, 4096], ids=["int", "long", "plain"]
)
def test_extended_json_is_a_number_too(number: object) -> None:
    """As mongoexport writes it with --jsonFormat=canonical."""
    read = parse_mongodb_credentials({"SCRAM-SHA-256": MONGODB | {"iterationCount": number}})
    assert read["SHA-256"].iterations == 4096


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"{SCRAM-SHA-256}",
        BRACED + b",",
        BRACED.replace(b"{", b"{{"),
        BRACED.replace(b"SHA-256", b"sha-256"),
        BRACED.replace(b"SHA-256", b"MD5"),
        BRACED.replace(b"SHA-256", b"SHA-512"),
        BRACED.replace(b"4096", b"04096"),
        BRACED.replace(b"4096", b"0"),
        BRACED.replace(b"4096", b"9999999999"),
        BRACED.replace(b"==", b"="),
        BRACED.replace(b"gQ==", b"gR=="),
        RFC7677.replace(b"$W", b"$$W"),
        b"x" * 100_000,
        b" $" * 2000,
    ],
)
def test_what_is_no_verifier_is_refused(text: bytes) -> None:
    """Strict base64, known hashes, plain numbers; the error shows none of it."""
    with pytest.raises(UsageError) as caught:
        parse_any_verifier(text)
    assert caught.value.code == "bad-verifier"
    assert "WG5d" not in f"{caught.value} {caught.value.detail}"


@pytest.mark.parametrize(
    "document",
    [
        None,
        [],
        {"SCRAM-SHA-256": []},
        {"SCRAM-SHA-256": {}},
        {"SCRAM-SHA-256": MONGODB | {"iterationCount": True}},
        {"SCRAM-SHA-256": MONGODB | {"iterationCount": -1}},
        {"SCRAM-SHA-256": MONGODB | {"iterationCount": 10**5000}},
        {"SCRAM-SHA-256": MONGODB | {"iterationCount": 4096.5}},
        {"SCRAM-SHA-256": MONGODB | {"iterationCount": {"$numberInt": "x"}}},
        {"SCRAM-SHA-256": MONGODB | {"iterationCount": {"$date": 1}}},
        {"SCRAM-SHA-256": MONGODB | {"salt": "\ud800"}},
        {"SCRAM-SHA-256": MONGODB | {"salt": 7}},
        {"SCRAM-SHA-256": MONGODB | {"storedKey": "W22ZaJ0SNY7soEsUEjb6gQ=="}},
    ],
)
def test_what_are_no_credentials_is_refused(document: object) -> None:
    """Whatever JSON may hold in their place."""
    with pytest.raises(UsageError):
        parse_mongodb_credentials(document)


def test_other_mechanisms_of_mongodb_are_passed_over() -> None:
    """`external` and what is yet to come."""
    assert parse_mongodb_credentials({"external": True, "SHA-256": MONGODB, "SCRAM-X": 1}) == {}


def test_keys_are_masked() -> None:
    """Whatever it was read from, a verifier shows no key."""
    verifier = parse_any_verifier(BRACED)
    assert isinstance(verifier, ScramVerifier)
    assert "***" in repr(verifier)
