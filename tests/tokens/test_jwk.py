"""Keys and sets of keys: what is taken, what is left out, and what spoils a set."""

from __future__ import annotations

import json
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from hypothesis import given
from hypothesis import strategies as st

from sasl_core.plugin import BackendError
from sasl_tokens import JWK, JWKEC, JWKOKP, JWKRSA, JWKSet, JWSValidator, TokenError
from token_kit import ALGORITHMS, b64, compact, make_key, refusal, unb64

RSA = make_key("RS256").public()
EC = make_key("ES256").public()
EC384 = make_key("ES384").public()
OKP = make_key("EdDSA").public()


def changed(key: dict[str, Any], **members: object) -> dict[str, object]:
    """A key with other members; None removes one."""
    return {name: each for name, each in {**key, **members}.items() if each is not None}


def number(value: int) -> str:
    return b64(value.to_bytes((value.bit_length() + 7) // 8, "big"))


@pytest.mark.parametrize("alg", ALGORITHMS)
def test_every_algorithm_has_its_key(alg: str) -> None:
    """A key of each kind is read, and checks what its other half signed."""
    key = make_key(alg)
    read = JWK.from_mapping(key.public())
    assert read.algorithms == (("EdDSA", "Ed25519") if alg == "EdDSA" else (alg,))
    assert read.kid == key.kid
    kinds = {"R": JWKRSA, "P": JWKRSA, "E": JWKOKP if alg == "EdDSA" else JWKEC}
    assert type(read) is kinds[alg[0]]
    validator = JWSValidator(read)
    validator.validate(alg, b"message", key.sign_bytes(b"message"))
    with pytest.raises(TokenError) as caught:
        validator.validate(alg, b"massage", key.sign_bytes(b"message"))
    assert caught.value.code == "token-signature"


@pytest.mark.parametrize(
    ("key", "algorithms"),
    [
        (RSA, ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512")),
        (EC, ("ES256",)),
        (EC384, ("ES384",)),
        (OKP, ("EdDSA", "Ed25519")),
    ],
    ids=["RSA", "P-256", "P-384", "Ed25519"],
)
def test_without_an_algorithm_a_key_is_for_those_of_its_type(
    key: dict[str, Any], algorithms: tuple[str, ...]
) -> None:
    """Type and curve say what a key is for; without `use` too, and with key_ops that allow it."""
    assert JWK.from_mapping(changed(key, alg=None)).algorithms == algorithms
    assert JWK.from_mapping(changed(key, alg=None, use=None, key_ops=["verify"])).use is None


ODD = rsa.generate_private_key(65537, 2048).public_key().public_numbers().n

UNFIT: dict[str, dict[str, object]] = {
    "unknown type": changed(RSA, kty="AKP"),
    "type in lower case": changed(RSA, kty="rsa"),
    "secret": {"kid": "x", "kty": "oct", "k": b64(bytes(32))},
    "for encryption": changed(RSA, use="enc"),
    "another use": changed(RSA, use="SIG"),
    "for signing": changed(RSA, key_ops=["sign"]),
    "for nothing": changed(RSA, key_ops=[]),
    "private": changed(RSA, d="AQAB"),
    "private factor": changed(RSA, p="AQAB"),
    "private point": changed(EC, d="AQAB"),
    "algorithm of encryption": changed(RSA, alg="RSA-OAEP"),
    "HMAC of an RSA key": changed(RSA, alg="HS256"),
    "no algorithm": changed(RSA, alg="none"),
    "ES256 of an RSA key": changed(RSA, alg="ES256"),
    "RS256 of a point": changed(EC, alg="RS256"),
    "ES384 on P-256": changed(EC, alg="ES384"),
    "ES256 of an Ed25519 key": changed(OKP, alg="ES256"),
    "1024 bits": changed(RSA, n=number(ODD >> 1024 | 1)),
    "2047 bits": changed(RSA, n=number(ODD >> 1 | 1)),
    "zeros in front of 1024 bits": changed(RSA, n=b64(bytes(128) + (ODD >> 1024).to_bytes(128))),
    "8193 bits": changed(RSA, n=number(1 << 8192 | 1)),
    "even modulus": changed(RSA, n=number(ODD + 1)),
    "exponent 0": changed(RSA, e=b64(b"\0")),
    "exponent 1": changed(RSA, e=b64(b"\1")),
    "exponent 2": changed(RSA, e=b64(b"\2")),
    "even exponent": changed(RSA, e=b64(b"\1\0\0")),
    "long exponent": changed(RSA, e=b64(b"\1" * 9)),
    "P-521": changed(EC, crv="P-521"),
    "secp256k1": changed(EC, crv="secp256k1"),
    "curve in lower case": changed(EC, crv="p-256"),
    "Ed448": changed(OKP, crv="Ed448"),
    "X25519": changed(OKP, crv="X25519"),
}

BROKEN: dict[str, dict[str, object]] = {
    "no kid": changed(RSA, kid=None),
    "empty kid": changed(RSA, kid=""),
    "kid a number": changed(RSA, kid=1),
    "long kid": changed(RSA, kid="k" * 257),
    "kid with a control": changed(RSA, kid="a\0b"),
    "no kid of an unknown type": {"kty": "AKP"},
    "no type": changed(RSA, kty=None),
    "type a list": changed(RSA, kty=["RSA"]),
    "use a list": changed(RSA, use=["sig"]),
    "alg a number": changed(RSA, alg=256),
    "alg empty": changed(RSA, alg=""),
    "key_ops a string": changed(RSA, key_ops="verify"),
    "key_ops twice": changed(RSA, key_ops=["verify", "verify"]),
    "key_ops of numbers": changed(RSA, key_ops=["verify", 1]),
    "no modulus": changed(RSA, n=None),
    "no exponent": changed(RSA, e=None),
    "modulus a number": changed(RSA, n=5),
    "padded": changed(RSA, e="AQ=="),
    "loose bits": changed(RSA, e="AR"),
    "standard alphabet": changed(RSA, n="+" + str(RSA["n"])[1:]),
    "not ASCII": changed(RSA, n="\u00e9" * 400),
    "no curve": changed(EC, crv=None),
    "no y": changed(EC, y=None),
    "x of 31 octets": changed(EC, x=b64(bytes(31))),
    "y of 33 octets": changed(EC, y=b64(bytes(33))),
    "no curve of an octet key": changed(OKP, crv=None),
    "31 octets": changed(OKP, x=b64(bytes(31))),
}


@pytest.mark.parametrize("name", UNFIT)
def test_a_key_that_cannot_be_used_is_left_out(name: str) -> None:
    """It is refused by itself; a set goes on without it, and tells why."""
    key = {**UNFIT[name], "kid": "x"}
    with pytest.raises(TokenError, match="authentication failed") as caught:
        _ = JWK.from_mapping(key)
    assert caught.value.code == "token-key-unfit"
    assert "'x'" in (caught.value.detail or "")
    if key["kty"] == "oct":
        return
    found = JWKSet.parse(compact({"keys": [EC, key]}))
    assert [each.kid for each in found.keys] == [EC["kid"]]
    assert found.skipped == {"x": caught.value.detail}


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_key_is_left_out(name: str) -> None:
    """The others serve on, unless it is its identifier alone that is missing."""
    with pytest.raises(BackendError) as caught:
        _ = JWK.from_mapping(BROKEN[name])
    assert caught.value.code == "key-set"
    assert caught.value.__context__ is None
    data = compact({"keys": [EC384, BROKEN[name]]})
    if "kid" in name and "type" not in name:
        with pytest.raises(BackendError) as caught:
            _ = JWKSet.parse(data)
        assert caught.value.code == "key-set"
        assert caught.value.__context__ is None
        return
    found = JWKSet.parse(data)
    assert [key.kid for key in found.keys] == [EC384["kid"]]
    assert list(found.skipped) == [BROKEN[name].get("kid", "[1]")]


SETS: dict[str, object] = {
    "no object": [RSA],
    "no keys": {},
    "keys an object": {"keys": {}},
    "keys null": {"keys": None},
    "too many": {"keys": [5] * 101},
    "two of one kid": {"keys": [RSA, changed(EC, kid=RSA["kid"])]},
    "the same key twice": {"keys": [RSA, RSA]},
    "a kid of one left out": {"keys": [RSA, changed(EC, kid=RSA["kid"], use="enc")]},
    "a kid of two left out": {"keys": [{"kid": "x", "kty": "AKP"}, {"kid": "x", "kty": "AKP"}]},
    "secret and public": {"keys": [RSA, UNFIT["secret"]]},
    "public and secret": {"keys": [UNFIT["secret"], EC]},
    "secret beside one left out": {"keys": [UNFIT["secret"], changed(EC, use="enc")]},
}


@pytest.mark.parametrize("name", SETS)
def test_sets_that_are_refused(name: str) -> None:
    """An identifier stands for one key, and secret keys never stand beside public ones."""
    with pytest.raises(BackendError) as caught:
        _ = JWKSet.parse(compact(SETS[name]))
    assert caught.value.code == "key-set"
    assert caught.value.__context__ is None


def test_a_set_of_secrets_has_no_key() -> None:
    """Nothing can be done with it."""
    found = JWKSet.parse(compact({"keys": [UNFIT["secret"]], "other": 1}))
    assert found.keys == ()
    assert list(found.skipped) == ["x"]
    assert JWKSet.parse(b'{"keys":[]}') == JWKSet((), {})


@pytest.mark.parametrize(
    "data", [b"", b"\xff", b"{", b"[" * 100_000, b'{"keys":[],"keys":[]}', b'{"keys":[NaN]}']
)
def test_what_is_no_strict_json_is_no_set(data: bytes) -> None:
    """A set is read as strictly as a token."""
    with pytest.raises(BackendError) as caught:
        _ = JWKSet.parse(data)
    assert caught.value.code == "key-set"
    assert caught.value.__context__ is None


@pytest.mark.parametrize("name", ["P-256", "P-384"])
def test_a_point_beside_the_curve_is_no_key(name: str) -> None:
    """An invalid curve would give a private key away, or verify anything."""
    key = EC if name == "P-256" else EC384
    for x in (bytes(len(unb64(str(key["x"])))), b"\xff" * len(unb64(str(key["x"])))):
        with pytest.raises(TokenError) as caught:
            _ = JWSValidator(JWK.from_mapping({**key, "x": b64(x)}))
        assert caught.value.code == "token-key-unfit"
        assert caught.value.__context__ is None


def test_a_coordinate_keeps_its_zeros() -> None:
    """An x that begins with zeros has its whole length: the number alone would be shorter."""
    for _ in range(5000):
        private = ec.generate_private_key(ec.SECP256R1())
        numbers = private.public_key().public_numbers()
        if numbers.x.bit_length() <= 248:
            break
    else:
        raise AssertionError("no such key in 5000")
    mapping = changed(EC, x=b64(numbers.x.to_bytes(32)), y=b64(numbers.y.to_bytes(32)))
    _ = JWSValidator(JWK.from_mapping(mapping))
    with pytest.raises(BackendError):
        _ = JWK.from_mapping({**mapping, "x": number(numbers.x)})


def test_thumbprints_tell_keys_apart() -> None:
    """The same key has one whatever it is for; every other number makes another."""
    prints = [
        JWK.from_mapping(each).thumbprint()
        for each in (RSA, changed(RSA, e=b64(b"\3")), EC, changed(EC, x=EC["y"]), EC384, OKP)
    ]
    assert len(set(prints)) == len(prints)
    zeros = changed(RSA, kid="other", alg="PS512", n=b64(b"\0\0" + unb64(str(RSA["n"]))))
    assert JWK.from_mapping(zeros).thumbprint() == prints[0]
    assert JWK.from_mapping(zeros).kid == "other"


def test_a_validator_may_be_used_again_and_by_many() -> None:
    """It keeps nothing of a token: threads may share it."""
    from concurrent.futures import ThreadPoolExecutor

    key = make_key("ES256")
    validator = JWSValidator(JWK.from_mapping(key.public()))
    messages = [b"m%d" % number for number in range(40)]
    signatures = [key.sign_bytes(message) for message in messages]

    def check(place: int) -> str:
        message, signature = messages[place % 40], signatures[place * 3 % 40]
        error = refusal(lambda: validator.validate("ES256", message, signature))
        return "good" if error is None else error.code

    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(check, range(200)))
    assert found == [
        "good" if place % 40 == place * 3 % 40 else "token-signature" for place in range(200)
    ]
    assert {"good", "token-signature"} == set(found)


def test_a_library_that_fails_has_not_verified(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever it raises, or returns that is not True, the signature is bad."""
    validator = JWSValidator(JWK.from_mapping(EC))

    class Odd:
        def __init__(self, answer: object) -> None:
            self.answer = answer

        def verify(self, *arguments: object) -> object:
            if isinstance(self.answer, Exception):
                raise self.answer
            return self.answer

    for answer in (RuntimeError("secret"), None, 1, "True", False):
        monkeypatch.setattr(validator, "_algorithms", {"ES256": Odd(answer)})
        with pytest.raises(TokenError) as caught:
            validator.validate("ES256", b"m", b"s")
        assert caught.value.code == "token-signature"
        assert caught.value.__context__ is None


VALUES = st.none() | st.booleans() | st.integers() | st.text(max_size=6) | st.lists(st.text())


@given(
    st.sampled_from([RSA, EC, OKP]),
    st.dictionaries(
        st.sampled_from(["kid", "kty", "use", "alg", "key_ops", "n", "e", "crv", "x", "y", "d"]),
        VALUES,
    ),
)
def test_any_members_make_a_key_or_are_refused(
    key: dict[str, object], members: dict[str, object]
) -> None:
    """Only errors of ours come out, whatever a member is."""
    whole = {**key, **members}
    _ = refusal(lambda: JWK.from_mapping(whole))
    _ = refusal(lambda: JWKSet.parse(json.dumps({"keys": [whole]}).encode()))
