"""The examples of the RFCs, and the key file and token of the README that the library follows."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from sasl_core.plugin import HttpResponse, SaslError
from sasl_tokens import (
    JWK,
    JWKManager,
    JWKSet,
    JWSValidatedToken,
    JWSValidator,
    TokenError,
    decode_document,
)
from sasl_tokens.gate import open_token
from token_kit import refusal, unb64

VECTORS = Path(__file__).parents[1] / "vectors"
RFC: dict[str, Any] = json.loads((VECTORS / "jws_rfc.json").read_text("utf-8"))
README: dict[str, Any] = json.loads((VECTORS / "mongodb_jwt.json").read_text("utf-8"))


def key_of(vector: dict[str, Any]) -> JWK:
    return JWK.from_mapping({"kid": "of the RFC", **vector["jwk"]})


@pytest.mark.parametrize("vector", RFC["vectors"], ids=lambda vector: vector["id"])
def test_gate(vector: dict[str, Any]) -> None:
    """HMACs, no signature, unencoded payloads, P-521 and no kid do not get through."""
    error = refusal(lambda: open_token(vector["token"]))
    assert ("opens" if error is None else error.code) == vector["gate"]


@pytest.mark.parametrize(
    "vector",
    [each for each in RFC["vectors"] if "signature" in each],
    ids=lambda vector: vector["id"],
)
def test_signature(vector: dict[str, Any]) -> None:
    """The validator says of each signature what the RFC says of it."""
    validator = JWSValidator(key_of(vector))
    signed, _, signature = vector["token"].rpartition(".")
    data = signed.encode()
    error = refusal(lambda: validator.validate(vector["alg"], data, unb64(signature)))
    assert ("valid" if error is None else error.code) == vector["signature"]
    assert (error is None) == (vector["expect"] == "valid")


@pytest.mark.parametrize(
    "vector",
    [each for each in RFC["vectors"] if "signature" not in each and each["jwk"]],
    ids=lambda vector: vector["id"],
)
def test_keys_that_are_not_taken(vector: dict[str, Any]) -> None:
    """No validator is made of a secret key, nor of one on P-521."""
    with pytest.raises(TokenError) as caught:
        _ = key_of(vector)
    assert caught.value.code == "token-key-unfit"


@pytest.mark.parametrize("alg", ["RS384", "PS256", "RS512", "ES256", "HS256", "none", "", "rs256"])
def test_another_algorithm_is_not_tried(alg: str) -> None:
    """A key takes the algorithms of its type, and nothing that a header makes up."""
    vector = next(each for each in RFC["vectors"] if each["id"] == "rfc7515/A.2")
    signed, _, signature = vector["token"].rpartition(".")
    bound = JWSValidator(JWK.from_mapping({"kid": "k", "alg": "RS256", **vector["jwk"]}))
    with pytest.raises(TokenError) as caught:
        bound.validate(alg, signed.encode(), unb64(signature))
    assert caught.value.code == "token-algorithm"


def test_thumbprint() -> None:
    """RFC 7638 section 3.1, whatever else the key says of itself."""
    of = RFC["rfc7638"]
    assert JWK.from_mapping({"kid": "x", **of["jwk"]}).thumbprint() == of["thumbprint"]
    more = {"kid": "y", "alg": "RS256", "use": "sig", "x5c": ["MII"], **of["jwk"]}
    assert JWK.from_mapping(more).thumbprint() == of["thumbprint"]


def test_the_key_file_of_the_readme() -> None:
    """Both keys are taken; the zero octet before each modulus is no part of it."""
    keys = JWKSet.parse(json.dumps(README["key_set"]).encode())
    assert [key.kid for key in keys.keys] == ["custom-key-1", "custom-key-2"]
    assert [key.members()["e"] for key in keys.keys] == ["AQAB", "AQAB"]
    for key, member in zip(keys.keys, README["key_set"]["keys"], strict=True):
        assert unb64(member["n"])[0] == 0
        assert unb64(key.members()["n"]) == unb64(member["n"])[1:]
        assert len(unb64(key.members()["n"])) == 256


@pytest.fixture
def manager() -> JWKManager:
    """The README's keys."""
    made = JWKManager(jwks_uri="https://localhost/keys", clock=lambda: 1_700_000_000.0)
    body = json.dumps(README["key_set"]).encode()
    made.load(HttpResponse(200, (("content-type", "application/json"),), body))
    return made


def test_the_token_of_the_readme(manager: JWKManager) -> None:
    """It is valid, and says what the README says that it says; unknown claims stay in it."""
    token = JWSValidatedToken(README["token"], manager)
    assert dict(token.header) == README["header"]
    body = {name: list(v) if isinstance(v, tuple) else v for name, v in token.body.items()}
    assert body == README["body"]
    assert decode_document(token.body_bson()) == README["body"]
    assert token.issuer == README["body"]["iss"]
    assert token.subject == README["body"]["sub"]
    assert token.audiences == tuple(README["body"]["aud"])
    assert token.expires_at == README["body"]["exp"]
    assert token.signed == README["token"]


def test_its_times(manager: JWKManager) -> None:
    """Valid from 60 seconds before `nbf` until just before `exp`."""
    body = README["body"]
    for now, code in (
        (body["nbf"] - 61, "token-not-yet-valid"),
        (body["nbf"] - 60, None),
        (body["exp"] - 1, None),
        (body["exp"], "token-expired"),
    ):
        error = refusal(lambda now=now: JWSValidatedToken(README["token"], manager, now=now))  # type: ignore[misc]
        assert (error and error.code) == code


@pytest.mark.parametrize("place", range(0, 1000, 7))
def test_no_altered_character_gets_through(manager: JWKManager, place: int) -> None:
    """Whatever character of the token is another, the token is refused, and by us."""
    token: str = README["token"]
    place %= len(token)
    other = "B" if token[place] == "A" else "A"
    with pytest.raises(TokenError):
        _ = JWSValidatedToken(token[:place] + other + token[place + 1 :], manager)


def test_the_other_key_did_not_sign_it(manager: JWKManager) -> None:
    """A signature by one key of the set is none by the other."""
    validator = manager.validator("custom-key-2")
    assert validator is not None
    opened = open_token(README["token"])
    with pytest.raises(SaslError) as caught:
        validator.validate(opened.alg, opened.signing_input, opened.signature)
    assert caught.value.code == "token-signature"
