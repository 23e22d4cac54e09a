"""Attacks on logins by token that no other module shows: forged, misused, stale and endless.

Tokens are signed here; where a test needs a server it is one with OAUTHBEARER and
MONGODB-OIDC side by side. The catalogue and the list of demands name these tests.
"""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import json
import logging
import time
import tracemalloc
from collections.abc import Callable, Mapping
from contextlib import suppress
from importlib.metadata import requires
from typing import Any

import pytest
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from logins import OPEN
from sasl_auxprop.memory import MemoryStore
from sasl_core import AuthenticationError, BackendError, ConfigError, SaslError, Server, aio
from sasl_core.plugin import HttpRequest, HttpResponse, NeedCall, NeedHttp, PeerError
from sasl_credentials.client_credentials import ClientCredentials, ClientCredentialsOptions
from sasl_tokens import (
    IDPManager,
    JWKManager,
    JWKSet,
    JWSValidatedToken,
    JWSValidator,
    TokenError,
    TokenRules,
    idp_manager,
)
from sasl_tokens.bson import DEPTH_LIMIT, decode_document, encode_document
from sasl_tokens.gate import open_token
from sasl_tokens.loads import ABANDONED_LONGEST
from secret_walk import find, spellings
from token_kit import (
    FakeIssuer,
    SigningKey,
    Ticking,
    b64,
    compact,
    json_response,
    make_key,
    refusal,
    run,
)

NOW = 1_800_000_000.0
URL = "https://issuer.example.com"


@pytest.fixture
def clock() -> Ticking:
    return Ticking(NOW)


@pytest.fixture
def of(clock: Ticking) -> FakeIssuer:
    """An issuer with a key of each kind."""
    return FakeIssuer(URL, algs=("RS256", "ES256", "EdDSA"), clock=clock)


def code(manager: JWKManager, token: str, rules: TokenRules | None = None) -> str:
    """What becomes of a token: the code of its refusal, or "accept"."""
    error = refusal(lambda: JWSValidatedToken(token, manager, options=rules or TokenRules()))
    return "accept" if error is None else error.code


def holding(*keys: object) -> JWKManager:
    """The keys of an issuer that publishes these."""
    manager = JWKManager(jwks_uri=f"{URL}/keys", clock=lambda: NOW)
    manager.load(json_response({"keys": list(keys)}))
    return manager


def provider(of: FakeIssuer, **more: object) -> dict[str, object]:
    """How it is configured; None leaves a field out."""
    made: dict[str, object] = {
        "issuer": of.url,
        "audience": "sasl",
        "authNamePrefix": "corp",
        "authorizationClaim": "groups",
        "supportsHumanFlows": False,
        **more,
    }
    return {name: value for name, value in made.items() if value is not None}


def serve(*providers: Mapping[str, object], http: Any, **config: object) -> Server:
    settings = {**OPEN, "identity_providers": list(providers), **config}
    return Server("smtp", "mail.example.com", config=settings, http=http, stores=[MemoryStore()])


def openings(token: str, name: str = "") -> dict[str, bytes]:
    """The first message of each mechanism that takes tokens."""
    wanted = f"a={name}" if name else ""
    return {
        "MONGODB-OIDC": encode_document({"jwt": token}),
        "OAUTHBEARER": f"n,{wanted},\1auth=Bearer {token}\1\1".encode(),
        "XOAUTH2": f"user={name or 'user'}\1auth=Bearer {token}\1\1".encode(),
    }


ANSWERS = {"MONGODB-OIDC": b"", "OAUTHBEARER": b"\1", "XOAUTH2": b""}


def enter(server: Server, mechanism: str, message: bytes) -> Any:
    """A session that got in; otherwise the error with which it did not."""
    session = server.session()
    if not session.start(mechanism, message).done:
        session.step(ANSWERS[mechanism])
        raise AssertionError("an error that was acknowledged")
    return session


def outcome(server: Server, mechanism: str, message: bytes) -> str:
    """As whom it got in, or the code with which it did not."""
    try:
        return str(enter(server, mechanism, message).authid)
    except SaslError as error:
        return error.code


# --- sets of keys -------------------------------------------------------------------------

GOOD = make_key("RS256", "good")

BAD_KEYS: dict[str, object] = {
    "null": None,
    "a number": 5,
    "a text": "key",
    "an array": [],
    "nothing": {},
    "an unknown type": {"kty": "AKP", "kid": "a", "alg": "ML-DSA-44"},
    "an unknown type, no kid": {"kty": "AKP", "pub": "AAAA"},
    "a type that is none": {"kty": ["RSA"], "kid": "a"},
    "an RSA key without a modulus": {"kty": "RSA", "kid": "a", "e": "AQAB"},
    "an RSA key that is no base64url": GOOD.public(kid="a", n="!!"),
    "an RSA key of 1024 bits": GOOD.public(kid="a", n=b64(b"\xff" * 128)),
    "an RSA key with e = 1": GOOD.public(kid="a", e="AQ"),
    "a point beside the curve": make_key("ES256").public(kid="a", x="A" * 43),
    "half a point": make_key("ES256").public(kid="a", y=None),
    "for encryption": GOOD.public(kid="a", use="enc"),
    "for encryption, no kid": GOOD.public(kid=None, use="enc"),
    "members of the wrong type": GOOD.public(kid="a", use=[], key_ops=5),
    "its private half": GOOD.public(kid="a", d="AQAB"),
}


@pytest.mark.parametrize("name", BAD_KEYS)
def test_one_bad_key_spoils_no_set(name: str, caplog: pytest.LogCaptureFixture) -> None:
    """It is left out with a warning; the key beside it lets its tokens in."""
    issuer = FakeIssuer(URL, clock=lambda: NOW)
    issuer.answers["/keys"] = json_response({"keys": [BAD_KEYS[name], GOOD.public()]})
    with caplog.at_level(logging.WARNING, "test.keys"):
        manager = issuer.loaded(log=logging.getLogger("test.keys"))
    assert manager.key_ids == ("good",)
    assert len(caplog.messages) == 1
    assert code(manager, GOOD.sign(issuer.claims())) == "accept"
    assert code(manager, GOOD.sign(issuer.claims(), {"kid": "a"})) != "accept"


@pytest.mark.parametrize(
    "keys",
    [
        [GOOD.public(), GOOD.public()],
        [GOOD.public(), make_key("ES256", "good").public()],
        [GOOD.public(), {"kty": "AKP", "kid": "good"}],
        [GOOD.public(kid=None)],
        [GOOD.public(), make_key("ES256").public(kid=None)],
        [GOOD.public(kid="")],
        [GOOD.public(kid=5)],
        [GOOD.public(), {"kty": "oct", "kid": "s", "k": "AAAA"}],
        [{"kty": "oct", "k": "AAAA"}, GOOD.public()],
    ],
)
def test_what_leaves_open_which_key_is_meant_spoils_the_set(keys: list[object]) -> None:
    """An identifier twice, a usable key without one, secrets beside public keys."""
    error = refusal(lambda: JWKSet.parse(compact({"keys": keys})))
    assert isinstance(error, BackendError)
    assert error.code == "key-set"


def test_a_place_is_no_identifier() -> None:
    """What a key without one is called in a warning names no other key."""
    manager = holding(5, GOOD.public(kid="[0]"))
    assert manager.key_ids == ("[0]",)


def test_a_set_has_a_hundred_keys_at_most() -> None:
    """One more is refused, usable or not, and nothing is made of the others."""
    keys: list[object] = [make_key("EdDSA").public(kid=f"k{number}") for number in range(100)]
    assert len(holding(*keys).key_ids) == 100
    for more in (GOOD.public(), None):
        with pytest.raises(BackendError) as caught:
            _ = holding(*keys, more)
        assert caught.value.code == "key-set"


@pytest.mark.parametrize("alg", ["RS256", "ES256", "EdDSA"])
def test_private_and_secret_keys_open_nothing(alg: str) -> None:
    """Whoever reads the set has them too: no token by such a key is accepted."""
    key = make_key(alg, "leaked")
    claims = FakeIssuer(URL, clock=lambda: NOW).claims()
    manager = holding(key.public(d="AQAB"), GOOD.public())
    assert code(manager, key.sign(claims)) == "token-key-unfit"
    secrets = holding({"kty": "oct", "kid": "leaked", "k": b64(b"s" * 64), "alg": "HS256"})
    assert secrets.key_ids == ()
    signed = key.sign(claims, {"alg": "HS256"}).rpartition(".")[0]
    forged = f"{signed}.{b64(hmac.digest(b's' * 64, signed.encode(), hashlib.sha256))}"
    assert code(secrets, forged) == "token-algorithm"


# --- algorithms ---------------------------------------------------------------------------

RSA_ALGORITHMS = ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512")


@pytest.mark.parametrize("of_key", RSA_ALGORITHMS)
def test_the_algorithm_of_a_key_is_the_only_one(of_key: str) -> None:
    """RS and PS are signed with the same keys, and do not stand for each other."""
    manager = holding(GOOD.public(alg=of_key))
    claims = FakeIssuer(URL, clock=lambda: NOW).claims()
    for alg in RSA_ALGORITHMS:
        token = SigningKey("good", alg, GOOD.private).sign(claims)
        assert code(manager, token) == ("accept" if alg == of_key else "token-algorithm")


@pytest.mark.parametrize("of_key", ["EdDSA", "Ed25519", None])
def test_both_names_of_ed25519(of_key: str | None) -> None:
    """RFC 8037's and RFC 9864's mean one algorithm, in a key and in a token; Ed448 is another."""
    key = make_key("EdDSA", "ed")
    manager = holding(key.public(alg=of_key))
    claims = FakeIssuer(URL, clock=lambda: NOW).claims()
    for alg in ("EdDSA", "Ed25519"):
        token = key.sign(claims, {"alg": alg})
        assert code(manager, token) == "accept"
        assert code(manager, token[:-8] + "AAAAAAAA") == "token-signature"
    for alg in ("Ed448", "ed25519", "ES256"):
        assert code(manager, key.sign(claims, {"alg": alg})) == "token-algorithm"
    # A name of another curve's does not make the key one on it.
    assert holding(key.public(alg="Ed448")).key_ids == ()


def test_an_issuer_has_its_algorithms(of: FakeIssuer) -> None:
    """What its tokens may be signed by can be said; and each key is for its own only."""
    manager = of.loaded()
    rules = TokenRules(algorithms=frozenset({"ES256"}))
    for alg in ("RS256", "ES256", "EdDSA"):
        token = of.sign(alg=alg)
        assert code(manager, token) == "accept"
        assert code(manager, token, rules) == ("accept" if alg == "ES256" else "token-algorithm")
    # Each by each other's key.
    for signer in of.keys.values():
        for named in of.keys.values():
            if named is not signer:
                token = signer.sign(of.claims(), {"kid": named.kid})
                assert code(manager, token) == "token-algorithm"
    for alg in ("none", "None", "HS256", "HS512"):
        assert code(manager, of.sign(header={"alg": alg})) == "token-algorithm"


def secrets_of(key: SigningKey) -> dict[str, bytes]:
    """A public key in the forms that were taken for the secret of an HMAC."""
    public = key.private.public_key()
    pem = public.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    der = public.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    jwk = compact(key.public())
    return {
        "PEM": pem,
        "PEM with CRLF": pem.replace(b"\n", b"\r\n"),
        "PEM after a newline": b"\n" + pem,
        "PEM after blanks": b"   " + pem,
        "PEM after a BOM": b"\xef\xbb\xbf" + pem,
        "PEM without its end": pem.rstrip(b"\n"),
        "PEM in one line": b"".join(pem.splitlines()),
        "DER": der,
        "DER in base64": b64(der).encode(),
        "OpenSSH": public.public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH),
        "JWK": jwk,
        "JWK with blanks": b" " + json.dumps(key.public()).encode() + b"\n",
        "set": b'{"keys":[%b]}' % jwk,
        "nothing": b"",
    }


@pytest.mark.parametrize("alg", ["RS256", "ES256", "EdDSA"])
def test_a_public_key_is_nobodys_secret(of: FakeIssuer, alg: str) -> None:
    """HMACs keyed with it in any form are refused, whatever algorithm the header says."""
    manager, key = of.loaded(), of.signer(alg=alg)
    for secret in secrets_of(key).values():
        for name, digest in (("HS256", "sha256"), ("HS384", "sha384"), ("HS512", "sha512")):
            for said in (name, alg):
                signed = key.sign(of.claims(), {"alg": said}).rpartition(".")[0]
                token = f"{signed}.{b64(hmac.digest(secret, signed.encode(), digest))}"
                assert code(manager, token) == (
                    "token-signature" if said == alg else "token-algorithm"
                )


ORDER = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551  # of P-256


@pytest.mark.parametrize("alg", ["ES256", "ES384", "EdDSA", "RS256", "PS256"])
def test_a_signature_of_nothing_verifies_nothing(alg: str) -> None:
    """Zeros, ones, the order of the curve, either encoding, another length, and none at all."""
    key = make_key(alg)
    validator = JWSValidator(JWKSet.parse(compact({"keys": [key.public()]})).keys[0])
    size = {"ES256": 64, "ES384": 96, "EdDSA": 64}.get(alg, 256)
    order = ORDER.to_bytes(32)
    signatures = [
        bytes(size), b"\xff" * size, bytes(size - 1) + b"\1", order * (size // 32),
        bytes(size // 2) + b"\xff" * (size // 2), bytes(size // 2 - 1) + b"\1" + bytes(size // 2),
        b"\x30\x06\x02\x01\x00\x02\x01\x00", b"\x30\x06\x02\x01\x01\x02\x01\x01",
        b"", b"\0", bytes(size + 1), bytes(size - 1),
    ]  # fmt: skip
    for signature in signatures:
        with pytest.raises(TokenError) as caught:
            validator.validate(alg, b"a.b", signature)
        assert caught.value.code == "token-signature"
    honest = key.sign_bytes(b"a.b")
    validator.validate(alg, b"a.b", honest)
    for longer in (honest + b"\0", b"\0" + honest, honest * 2):
        with pytest.raises(TokenError):
            validator.validate(alg, b"a.b", longer)


def test_no_library_of_known_holes_is_used() -> None:
    """Neither python-jose nor another such library than PyJWT, and of that no old version."""
    needed = [each.partition(";")[0].strip().lower() for each in requires("sasl-core") or ()]
    names = {each.replace("_", "-") for each in needed}
    for other in ("python-jose", "jose", "jwcrypto", "authlib", "python-jwt", "josepy", "bson"):
        assert not {name for name in names if name.split(">")[0].split("[")[0] == other}
    (pyjwt,) = {name for name in names if name.startswith("pyjwt")}
    least = tuple(int(part) for part in pyjwt.partition(">=")[2].split(",")[0].split("."))
    assert least >= (2, 14)


# --- size, depth and numbers --------------------------------------------------------------


def peak(call: Callable[[], object]) -> int:
    """How many octets a call that is refused took at most."""
    _ = refusal(call)
    tracemalloc.start()
    try:
        _ = refusal(call)
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("dots", [3, 16_384, 100_000, 2_000_000])
def test_dots_are_not_split(dots: int) -> None:
    """A token of nothing but dots makes no list of what is between them."""
    token = "." * dots
    assert refusal(lambda: open_token(token))
    # At most the text itself twice; a list of the parts takes eight octets for each dot.
    assert peak(lambda: open_token(token)) < 80_000
    manager = IDPManager([provider(FakeIssuer(URL))], clock=lambda: NOW)
    with pytest.raises(TokenError):
        run(manager.authenticate(token))


def test_what_is_long_is_not_decoded(of: FakeIssuer) -> None:
    """Beyond 16 KiB nothing is copied, be it header, payload or signature that is long."""
    manager = of.loaded()
    header, payload, signature = of.sign().split(".")
    long = "A" * 4_000_000
    for token in (
        f"{long}.{payload}.{signature}",
        f"{header}.{long}.{signature}",
        f"{header}.{payload}.{long}",
        long,
    ):
        assert code(manager, token) == "token-too-long"
        assert peak(lambda token=token: open_token(token)) < 20_000  # type: ignore[misc]


@pytest.mark.parametrize("opening", ["[", '{"a":', '[{"a":['])
@pytest.mark.parametrize("depth", [33, 2_000, 50_000])
def test_nests_are_refused(of: FakeIssuer, opening: str, depth: int) -> None:
    """In a header, in claims that were signed, and in a key set; by an error of ours."""
    nest = b'{"x":%b' % (opening.encode() * depth)
    manager = of.loaded()
    whole = nest + b"]" * depth + b"}"
    for token in (of.sign(header=nest), of.sign(header=whole), of.sign(nest), of.sign(whole)):
        assert code(manager, token) in {"token-malformed", "token-too-long"}
    for data in (nest, whole):
        error = refusal(lambda data=data: JWKSet.parse(data))  # type: ignore[misc]
        assert isinstance(error, BackendError)


NUMBERS = [
    b'{"$date":1800000000000}', b'{"$date":"2027-01-15T08:00:00Z"}', b'{"$numberLong":"9"}',
    b"NaN", b"Infinity", b"-Infinity", b"1e400", b"-1e400", b"1e3", b"1.5", b"-1", b"-0",
    b"true", b"false", b"null", b'"1900000000"', b"[]", b"9223372036854775808",
    b"18446744073709551616", b"99999999999999999999", b"1" + b"0" * 5000,
]  # fmt: skip


@pytest.mark.parametrize("value", NUMBERS, ids=lambda value: value[:24].decode())
@pytest.mark.parametrize("claim", ["exp", "nbf", "iat"])
def test_odd_numbers_and_dates_are_no_times(of: FakeIssuer, claim: str, value: bytes) -> None:
    """What another reader takes for a date, a number without end, a bool: refused, no crash."""
    claims = compact(of.claims(**{claim: None, "groups": []}))
    token = of.sign(claims[:-1] + b',"%b":%b}' % (claim.encode(), value))
    # A begin long ago is one; an end long ago is over.
    past = claim != "exp" and value in (b"-1", b"-0")
    manager = IDPManager([provider(of)], clock=of.clock)
    error = refusal(lambda: run(manager.authenticate(token), of.http))
    assert (error is None) == past
    if error is not None:
        assert isinstance(error, TokenError)
        assert error.code in {"token-claim-type", "token-malformed", "token-expired"}


@pytest.mark.parametrize("value", [b"9223372036854775808", b"-9223372036854775809"])
def test_claims_fit_into_64_bits(of: FakeIssuer, value: bytes) -> None:
    """So that what was accepted can be written as BSON too; one less can."""
    manager = of.loaded()
    claims = compact(of.claims())[:-1]
    assert code(manager, of.sign(claims + b',"x":%b}' % value)) == "token-malformed"
    edge = int(value) - 1 if int(value) > 0 else int(value) + 1
    token = JWSValidatedToken(of.sign(claims + b',"x":%d}' % edge), manager)
    assert decode_document(token.body_bson())["x"] == edge


BSON_VALUES = {
    "a date": b"\x09jwt\0" + bytes(8),
    "a double NaN": b"\x01jwt\0" + b"\0\0\0\0\0\0\xf8\x7f",
    "a bool": b"\x08jwt\0\1",
    "a number": b"\x10jwt\0\1\0\0\0",
    "null": b"\x0ajwt\0",
    "an array": b"\x04jwt\0" + b"\5\0\0\0\0",
    "binary": b"\x05jwt\0" + b"\1\0\0\0\0a",
    "a decimal": b"\x13jwt\0" + bytes(16),
    "a document": b"\x03jwt\0" + b"\5\0\0\0\0",
    "a negative length": b"\x02jwt\0" + b"\xff\xff\xff\xff\0",
    "a date as the hint": b"\x09n\0" + bytes(8),
    "a bool as the hint": b"\x08n\0\1",
}


@pytest.mark.parametrize("name", BSON_VALUES)
def test_odd_values_in_bson_are_no_tokens(of: FakeIssuer, name: str) -> None:
    """Before anybody is logged in, each is the peer's mistake, and the server goes on."""
    element = BSON_VALUES[name]
    message = (len(element) + 5).to_bytes(4, "little") + element + b"\0"
    with serve(provider(of), http=of.http) as server:
        with server.session() as session, pytest.raises(PeerError):
            session.start("MONGODB-OIDC", message)
        token = FakeIssuer(URL, algs=("RS256", "ES256", "EdDSA")).sign(groups=[])
        assert outcome(server, "MONGODB-OIDC", openings(token)["MONGODB-OIDC"]) == "corp/user"


def nested(levels: int, kind: int) -> bytes:
    """Documents in documents: plain (3), arrays (4), or the scopes of code (15)."""
    made = b"\5\0\0\0\0"
    for _ in range(levels):
        inner = made
        if kind == 15:
            text = b"\2\0\0\0a\0"
            inner = (4 + len(text) + len(made)).to_bytes(4, "little") + text + made
        element = bytes([kind]) + b"0\0" + inner
        made = (len(element) + 5).to_bytes(4, "little") + element + b"\0"
    return made


@pytest.mark.parametrize("kind", [3, 4, 15])
@pytest.mark.parametrize("levels", [DEPTH_LIMIT, 500, 3_000, 20_000])
def test_nested_bson_is_refused(kind: int, levels: int) -> None:
    """However it is nested, depth counts through every kind and is never begun anew."""
    size = levels if levels <= 3_000 else 20_000
    message = nested(size, kind) if size <= 3_000 else _cut(size, kind)
    with pytest.raises(PeerError) as caught:
        _ = decode_document(message)
    assert caught.value.code == "bson"
    assert caught.value.__context__ is None
    _ = decode_document(nested(DEPTH_LIMIT - 1, kind))


def _cut(levels: int, kind: int) -> bytes:
    """As many openings as fit, each saying that it reaches to the end."""
    opening = (60_000).to_bytes(4, "little", signed=True) + bytes([kind]) + b"0\0"
    return (opening * levels)[:60_000]


# --- for whom, by whom, for what ----------------------------------------------------------


@pytest.mark.parametrize(
    "said",
    [
        "https://issuer.example.co", "https://issuer.example.com.evil.example", "https://issuer",
        "https://issuer.example.com/", "https://issuer.example.com/x", "HTTPS://issuer.example.com",
        "https://Issuer.example.com", "https://issuer.example.com:443", "http://issuer.example.com",
        "issuer.example.com", "https://evil.example/https://issuer.example.com", " " + URL,
        URL + " ", URL + "?", URL + "#", "https://evil.example", "h", "*", URL + "\u200b",
    ],
)  # fmt: skip
def test_an_issuer_is_equal_or_another(of: FakeIssuer, said: str) -> None:
    """No part, no longer name, no other case; and nothing is fetched for it."""
    manager = IDPManager([provider(of)], clock=of.clock)
    error = refusal(lambda: run(manager.authenticate(of.sign(iss=said, groups=[])), of.http))
    assert isinstance(error, TokenError)
    assert error.code in {"token-issuer", "token-claim-type"}
    assert of.requests == []


def test_a_key_is_its_issuers_only(clock: Ticking) -> None:
    """Of two issuers with keys of one name, each signs for itself and never for the other."""
    one = FakeIssuer("https://one.example", algs=(), clock=clock)
    two = FakeIssuer("https://two.example", algs=(), clock=clock)
    for issuer in (one, two):
        _ = issuer.add("ES256", "same")
    tables = [provider(one), provider(two, authNamePrefix="other")]

    def http(request: HttpRequest) -> HttpResponse:
        return (one if request.url.startswith(one.url) else two).http(request)

    manager = IDPManager(tables, clock=clock)
    for issuer, other in ((one, two), (two, one)):
        token = issuer.sign(issuer.claims(iss=other.url, groups=[]))
        for _ in range(2):
            error = refusal(lambda token=token: run(manager.authenticate(token), http))  # type: ignore[misc]
            assert isinstance(error, TokenError)
            assert error.code == "token-signature"
        login = run(manager.authenticate(issuer.sign(groups=[])), http)
        assert login.issuer == issuer.url


KIDS = [
    "../../../../etc/passwd", "a/b", "/dev/null", "..\\..\\x", "file:///etc/passwd",
    "https://evil.example/key", "' OR 1=1 --", "%2e%2e%2f", "${jndi:ldap://evil.example}", "*",
    "__class__", "keys", "{0}", "%s", "a b", "\u202ea", "k" * 256,
]  # fmt: skip


@pytest.mark.parametrize("kid", KIDS)
def test_a_kid_is_looked_up_and_nothing_else(of: FakeIssuer, kid: str) -> None:
    """Whatever it says, the same two addresses are asked; published, it is a name like others."""
    manager = IDPManager([provider(of)], clock=of.clock)
    token = of.sign(groups=[], header={"kid": kid})
    error = refusal(lambda: run(manager.authenticate(token), of.http))
    assert isinstance(error, TokenError)
    assert error.code == "token-key-unknown"
    assert error.detail is None or (error.detail.isprintable() and len(error.detail) < 500)
    assert {request.url for request in of.requests} == {
        f"{URL}/.well-known/openid-configuration",
        f"{URL}/keys",
    }
    published = FakeIssuer(URL, algs=(), clock=of.clock)
    _ = published.add("ES256", kid)
    manager = IDPManager([provider(published)], clock=of.clock)
    assert run(manager.authenticate(published.sign(groups=[])), published.http).principal


@pytest.mark.parametrize("kid", ["a\0b", "\n", "k" * 257, "k" * 4096, "", 5, None, ["a"], {}])
def test_a_kid_that_is_no_name(of: FakeIssuer, kid: object) -> None:
    """A control character, 4 KiB, no text: refused before anything is asked."""
    manager = IDPManager([provider(of)], clock=of.clock)
    token = of.sign(groups=[], header=compact({"alg": "RS256", "kid": kid}))
    error = refusal(lambda: run(manager.authenticate(token), of.http))
    assert isinstance(error, TokenError)
    assert error.code == "token-header"
    assert of.requests == []


OTHER_TOKENS: dict[str, dict[str, Any]] = {
    "an ID token with at_hash": {"at_hash": "x", "nonce": "n"},
    "an ID token with c_hash": {"c_hash": "x"},
    "an ID token with s_hash": {"s_hash": 5},
    "an ID token of Cognito": {"token_use": "id"},
    "an ID token of Keycloak": {"typ": "ID"},
    "in another case": {"typ": "id"},
    "a refresh token": {"typ": "Refresh"},
    "an offline token": {"typ": "Offline"},
    "a logout token of Keycloak": {"typ": "Logout"},
    "a logout token": {"events": {"http://schemas.openid.net/event/backchannel-logout": {}}},
    "a security event": {"events": {}},
    "bound to a key of DPoP": {"cnf": {"jkt": "x"}},
    "bound to a certificate": {"cnf": {"x5t#S256": "x"}},
}


@pytest.mark.parametrize("name", OTHER_TOKENS)
def test_tokens_for_something_else(of: FakeIssuer, clock: Ticking, name: str) -> None:
    """Signed by the right key for the right audience, and no access token of its bearer's."""
    live = FakeIssuer(URL, algs=("EdDSA",))
    with serve(provider(live), http=live.http) as server:
        token = live.sign(groups=[], **OTHER_TOKENS[name])
        for mechanism, message in openings(token).items():
            assert outcome(server, mechanism, message) in {"token-id-token", "token-type"}
        for mechanism, message in openings(live.sign(groups=[], typ="Bearer")).items():
            assert outcome(server, mechanism, message) == "corp/user"


@pytest.mark.parametrize(
    "typ", ["logout+jwt", "dpop+jwt", "secevent+jwt", "token-introspection+jwt", "JOSE", "id+jwt"]
)
def test_types_for_something_else(of: FakeIssuer, typ: str) -> None:
    """A header that says what a token is for is believed, with the option of RFC 9068 too."""
    manager = of.loaded()
    for rules in (TokenRules(), TokenRules(accept_at_jwt=True)):
        for said in (typ, f"application/{typ}"):
            assert code(manager, of.sign(header={"typ": said}), rules) == "token-type"


@pytest.mark.parametrize("claim", ["iss", "aud", "sub", "exp"])
def test_an_access_token_of_rfc_9068(of: FakeIssuer, claim: str) -> None:
    """With its type it is held to the same claims; client_id, iat and jti decide nothing here."""
    manager, rules = of.loaded(), TokenRules(accept_at_jwt=True)
    header = {"typ": "at+jwt"}
    assert code(manager, of.sign(header=header, client_id="c", jti="j"), rules) == "accept"
    assert code(manager, of.sign(header=header, iat=None), rules) == "accept"
    assert code(manager, of.sign(header=header, iat="now"), rules) == "token-claim-type"
    without = {name: each for name, each in of.claims().items() if name != claim}
    assert code(manager, of.sign(without, header=header), rules) == "token-claim-missing"


# --- where keys and tokens are got --------------------------------------------------------

ADDRESSES = [
    "file:///etc/passwd", "ftp://issuer.example.com/", "gopher://issuer.example.com/", "data:,{}",
    "http://169.254.169.254/latest/meta-data/", "http://issuer.example.com", "ldap://x", "jar:x!/y",
    "http://localhost.example.com", "https://a:b@issuer.example.com", "//issuer.example.com",
    "http://metadata.google.internal/", "unix:///run/x", "javascript:1",
]  # fmt: skip


@pytest.mark.parametrize("url", ADDRESSES)
def test_addresses_that_nothing_is_fetched_from(of: FakeIssuer, url: str, tmp_path: Any) -> None:
    """In a configuration it is a mistake that is told; said by an issuer, an outage."""
    for fields in ({"issuer": url}, {"JWKSUri": url}):
        with pytest.raises(ConfigError, match=r"^\[0\]\."):
            _ = IDPManager([provider(of, **{**fields, "allowLoopbackHttp": True})])
    secret = tmp_path / "secret"
    secret.write_text("secret")
    secret.chmod(0o600)
    places: tuple[dict[str, Any], ...] = ({"issuer": url}, {"token_endpoint": url})
    for where in places:
        with pytest.raises(ConfigError):
            _ = ClientCredentials(
                ClientCredentialsOptions(
                    client_id="c", client_secret="s", allow_loopback_http=True, **where
                )
            )
    options = {
        "validation": "introspection", "introspection_url": url, "audience": "sasl",
        "client_id": "c", "client_secret_file": str(secret), "allow_loopback_http": True,
    }  # fmt: skip
    with Server("smtp", "h.example", config={**OPEN, "mechanisms": {"OAUTHBEARER": options}}) as s:
        assert "OAUTHBEARER" not in s.session().mechanisms()
    of.metadata["jwks_uri"] = url
    manager = IDPManager([provider(of)], clock=of.clock)
    with pytest.raises(BackendError):
        run(manager.authenticate(of.sign(groups=[])), of.http)
    assert [request.url for request in of.requests] == [f"{URL}/.well-known/openid-configuration"]


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
@pytest.mark.parametrize("place", ["/.well-known/openid-configuration", "/keys"])
@pytest.mark.parametrize(
    "to", ["https://evil.example/keys", "http://127.0.0.1/keys", f"{URL}/other", "file:///x"]
)
def test_a_redirect_leads_nowhere(of: FakeIssuer, place: str, to: str, status: int) -> None:
    """Not to another host, not to another scheme, not even to the same issuer."""
    of.answers[place] = HttpResponse(
        status, (("location", to), ("content-type", "application/json")), compact(of.key_set())
    )
    manager = IDPManager([provider(of)], clock=of.clock)
    with pytest.raises(BackendError):
        run(manager.authenticate(of.sign(groups=[])), of.http)
    assert all(request.url != to for request in of.requests)


# --- who goes away, and who comes back ----------------------------------------------------


def go_away(manager: JWKManager) -> bool:
    """Name a key that nobody has, and leave when keys are asked for; whether it got so far."""
    body = manager.just_in_time("nobody's")
    try:
        while not isinstance(next(body), NeedHttp):
            pass
    except TokenError:
        return False
    body.close()
    return True


@pytest.mark.parametrize("loaded", [False, True])
def test_who_goes_away_has_nobody_refused(of: FakeIssuer, clock: Ticking, loaded: bool) -> None:
    """Loads that were begun and left, over and over: whoever stays gets the new key."""
    manager = of.loaded() if loaded else of.manager()
    for _ in range(3):
        clock.tick(61)
        new = of.rotate("EdDSA", keep=True)
        assert go_away(manager)
        assert run(manager.just_in_time(new.kid), of.http).key.kid == new.kid


def test_who_goes_away_does_not_have_the_issuer_asked_without_end(
    of: FakeIssuer, clock: Ticking
) -> None:
    """After one that was left, the next load waits a moment, whoever leads it."""
    manager = of.loaded()
    clock.tick(61)
    assert go_away(manager)
    for _ in range(20):
        body = manager.just_in_time("nobody's")
        assert isinstance(next(body), NeedCall)  # a pause
        body.close()
    before = time.monotonic()
    body = manager.just_in_time("nobody's")
    need: object = next(body)
    while isinstance(need, NeedCall):
        need = body.send(need.function())
    assert isinstance(need, NeedHttp)
    assert time.monotonic() - before > 0.05
    body.close()


@pytest.mark.parametrize("loaded", [True, False])
def test_who_goes_away_again_and_again_has_the_issuer_asked_ever_less(
    of: FakeIssuer, clock: Ticking, loaded: bool
) -> None:
    """Each load that is left makes the pause twice as long, up to a second; who stays gets in
    after one such pause, and a load that ends makes the next pause short again.
    """
    manager = of.loaded() if loaded else of.manager()
    clock.tick(61)
    pauses: list[float] = []

    def until_a_request(kid: str) -> tuple[Any, NeedHttp]:
        body: Any = manager.just_in_time(kid)
        need = next(body)
        while isinstance(need, NeedCall):
            function: Any = need.function
            (seconds,) = function.args
            pauses.append(seconds)
            clock.tick(seconds)
            need = body.send(None)
        assert isinstance(need, NeedHttp)
        return body, need

    begin, left = clock(), []
    while clock() < begin + 600:
        body, _ = until_a_request("nobody's")
        body.close()
        left.append(clock() - begin)
    assert len([when for when in left if when < 3]) <= 6
    assert len(left) <= 610
    assert pauses[:3] == pytest.approx([0.1, 0.2, 0.4])
    assert max(pauses) == pytest.approx(ABANDONED_LONGEST)

    new = of.rotate("EdDSA", keep=True)
    pauses.clear()
    body, need = until_a_request(new.kid)
    assert pauses == pytest.approx([ABANDONED_LONGEST])
    with suppress(StopIteration):
        while True:
            need = body.send(of.http(need.request))
    assert manager.validator(new.kid) is not None
    clock.tick(61)
    pauses.clear()
    for _ in range(2):
        body, _ = until_a_request("nobody's")
        body.close()
    assert pauses == pytest.approx([0.1])


@pytest.mark.parametrize("loaded", [False, True])
def test_a_crowd_that_comes_and_goes_starves_nobody(loaded: bool) -> None:
    """In asyncio, with somebody there at each moment to begin a load and leave it: who stays
    gets in, and the issuer is asked a few times.
    """
    of = FakeIssuer(URL, algs=("EdDSA",))
    asked = 0

    async def http(request: HttpRequest) -> HttpResponse:
        nonlocal asked
        asked += 1
        await asyncio.sleep(0.03)
        return of.http(request)

    async def scene() -> None:
        config = {**OPEN, "identity_providers": [provider(of)]}
        made = aio.Server(
            "smtp", "mail.example.com", config=config, http=http, stores=[MemoryStore()]
        )
        async with made as server:
            if loaded:
                utils = server.utils
                _ = await server.run(idp_manager(utils).refresh_keys())
                (refresher,) = idp_manager(utils)._refreshers()
                refresher.keys._quiet_until = float("-inf")  # a minute later
                _ = of.rotate("EdDSA", keep=True)
            good = openings(of.sign(groups=[]))["MONGODB-OIDC"]
            bad = openings(of.sign(groups=[], header={"kid": "nobody's"}))["MONGODB-OIDC"]

            going = True

            async def come_and_go() -> None:
                while going:
                    task = asyncio.ensure_future(server.session().start("MONGODB-OIDC", bad))
                    await asyncio.sleep(0.01)
                    task.cancel()
                    with suppress(asyncio.CancelledError, SaslError):
                        await task

            crowd = [asyncio.create_task(come_and_go()) for _ in range(20)]
            await asyncio.sleep(0.05)
            session = server.session()
            try:
                async with asyncio.timeout(8):
                    assert (await session.start("MONGODB-OIDC", good)).done
            finally:
                going = False
                _ = await asyncio.gather(*crowd)

    asyncio.run(scene())
    assert asked < 40


@pytest.mark.parametrize("poll", [0, 300])
def test_who_goes_away_does_not_keep_a_withdrawn_key(poll: int) -> None:
    """Somebody who names unknown keys and leaves, once in each interval of polls, postpones none:
    a key that the issuer withdrew is not believed for longer. Without polls it is even shorter.
    """
    clock = Ticking(NOW)
    of = FakeIssuer(URL, algs=("EdDSA",), clock=clock, lifetime=10**6)
    driven: list[Callable[[], Any]] = []
    idp = IDPManager(
        [provider(of, JWKSPollSecs=poll)],
        clock=clock,
        every=lambda _, body: driven.append(body),
    )
    stolen, forged = of.sign(groups=[]), of.sign(groups=[], header={"kid": "nobody's"})
    login = run(idp.authenticate(stolen), of.http)
    _ = of.rotate("EdDSA")
    for minute in range(10):
        clock.tick(60)
        if minute % 4 == 1:
            body: Any = idp.authenticate(forged)
            with suppress(SaslError):
                while not isinstance(next(body), NeedHttp):
                    pass
                body.close()
        if minute % 4 == 3:
            for look in driven:
                _ = run(look(), of.http)
    assert not login.valid(clock())
    assert isinstance(refusal(lambda: run(idp.authenticate(stolen), of.http)), TokenError)


def test_a_poll_waits_for_nobody_who_only_pauses(of: FakeIssuer, clock: Ticking) -> None:
    """Those who name unknown keys let time pass after a load that was left; what was ordered
    is begun at once, and once it has ended they need no load of their own.
    """
    manager = of.loaded()
    clock.tick(61)
    assert go_away(manager)
    waiting: list[Any] = [manager.just_in_time("nobody's") for _ in range(3)]
    needs = [next(body) for body in waiting]
    assert all(isinstance(need, NeedCall) for need in needs)
    begun = time.monotonic()
    run(manager.refresh(), of.http)
    assert of.fetches == 2
    for body in waiting:
        with pytest.raises(TokenError):
            _ = body.send(None)
    assert time.monotonic() - begun < 5
    assert of.fetches == 2


def test_who_waits_behind_one_that_leaves_pauses_before_leading(
    of: FakeIssuer, clock: Ticking
) -> None:
    """Of a crowd that waits for one load each leads at most once in a pause, and nobody while
    pausing: the lead is free for a poll at any moment.
    """
    manager = of.loaded()
    clock.tick(61)
    leader: Any = manager.just_in_time("nobody's")
    need: Any = next(leader)
    assert isinstance(need, NeedHttp)
    crowd: list[Any] = [manager.just_in_time("nobody's") for _ in range(5)]
    waits = [next(body) for body in crowd]
    for _ in range(4):
        leader.close()
        pauses = [body.send(wait.function()) for body, wait in zip(crowd, waits, strict=True)]
        assert all(isinstance(each, NeedCall) for each in pauses)
        poll: Any = manager.refresh()
        assert isinstance(next(poll), NeedHttp), "the lead was free"
        poll.close()
        # That was given up too: those who paused for the first pause again.
        pauses = [body.send(None) for body in crowd]
        assert all(isinstance(each, NeedCall) for each in pauses)
        leader = crowd.pop(0)
        need = leader.send(None)
        assert isinstance(need, NeedHttp)
        waits = [body.send(None) for body in crowd]
    leader.close()


def test_a_load_that_was_left_is_made_by_who_looks_after_polls() -> None:
    """In asyncio forged logins that stay in the queue, each of which leaves as soon as it leads,
    keep nobody out for long, though no polls are configured: the server's own task loads the
    keys, and nobody can leave that.
    """
    of = FakeIssuer(URL, algs=("EdDSA",))
    asked = 0

    async def scene() -> None:
        crowd: set[asyncio.Task[Any]] = set()

        async def http(request: HttpRequest) -> HttpResponse:
            nonlocal asked
            asked += 1
            task = asyncio.current_task()
            if task in crowd:
                task.cancel()
            await asyncio.sleep(0.02)
            return of.http(request)

        config = {**OPEN, "identity_providers": [provider(of)]}
        made = aio.Server(
            "smtp", "mail.example.com", config=config, http=http, stores=[MemoryStore()]
        )
        async with made as server:
            _ = await server.run(idp_manager(server.utils).refresh_keys())
            (refresher,) = idp_manager(server.utils)._refreshers()
            refresher.keys._quiet_until = float("-inf")  # a minute later
            _ = of.rotate("EdDSA", keep=True)
            good = openings(of.sign(groups=[]))["MONGODB-OIDC"]
            bad = openings(of.sign(groups=[], header={"kid": "nobody's"}))["MONGODB-OIDC"]
            for _ in range(40):
                crowd.add(asyncio.create_task(server.session().start("MONGODB-OIDC", bad)))
                await asyncio.sleep(0.005)
            async with asyncio.timeout(9):
                assert (await server.session().start("MONGODB-OIDC", good)).done
            _ = await asyncio.gather(*crowd, return_exceptions=True)

    asyncio.run(scene())
    assert asked < 20


def test_what_is_remembered_is_bounded_in_octets() -> None:
    """A token with roles beyond measure is good, and is validated each time; what the log says
    of a token is remembered cut short.
    """
    of = FakeIssuer(URL, algs=("EdDSA",))
    idp = IDPManager([provider(of, authNamePrefix="p" * 128, logClaims=["groups", "long"])])
    _ = run(idp.authenticate(of.sign(groups=[])), of.http)
    many = [str(number) for number in range(1000)]
    for _ in range(2):
        assert len(run(idp.authenticate(of.sign(groups=many))).grants["roles"]) == 1000
    before = len(idp._roster.seen)
    tokens = [of.sign(groups=["a"] * 900, long="x" * 5000, jti=str(number)) for number in range(20)]
    tracemalloc.start()
    try:
        for token in tokens:
            _ = run(idp.authenticate(token))
        taken = tracemalloc.get_traced_memory()[0]
    finally:
        tracemalloc.stop()
    assert (before, len(idp._roster.seen)) == (1, 21)
    assert taken < 20 * 4096


# --- stale tokens -------------------------------------------------------------------------


def test_what_a_token_was_good_for_ends_everywhere() -> None:
    """Expiry, another key, another configuration: no mechanism lets a warm token in, and no
    session stands; with the key back as it was, what was validated before it stays refused.
    """
    clock = Ticking(time.time())
    for end in ("expiry", "key", "gone", "reload"):
        of = FakeIssuer(URL, algs=("EdDSA",), clock=clock, lifetime=50)
        idp = IDPManager([provider(of)], clock=clock)
        token = of.sign(groups=["a"])
        login = run(idp.authenticate(token), of.http)
        for _ in range(3):
            assert run(idp.authenticate(token), of.http).valid(clock())
        old = dict(of.keys)
        if end == "expiry":
            clock.tick(50)
        elif end == "reload":
            idp.reload([provider(of, audience="other")])
        else:
            clock.tick(1)
            of.rotate()
            if end == "key":
                of.keys = {kid: make_key("EdDSA", kid, 7, "thief") for kid in old}
            _ = run(idp.refresh_keys(), of.http)
        assert not login.valid(clock())
        error = refusal(lambda idp=idp, token=token, of=of: run(idp.authenticate(token), of.http))  # type: ignore[misc]
        assert isinstance(error, TokenError)
        error = refusal(lambda login=login, of=of: run(login.revalidate(), of.http))  # type: ignore[misc]
        assert isinstance(error, TokenError)
        if end in ("key", "gone"):
            of.keys = old
            _ = run(idp.refresh_keys(), of.http)
            assert not login.valid(clock())
            assert run(idp.authenticate(token), of.http).valid(clock())


def test_what_a_mechanism_grants_is_not_anothers() -> None:
    """One token, warm, by three mechanisms: each gives its own names, whichever came first."""
    of = FakeIssuer(URL, algs=("EdDSA",))
    options = {
        "OAUTHBEARER": {"plain_names": True, "role_namespace": "mail"},
        "XOAUTH2": {},
        "MONGODB-OIDC": {},
    }
    expected = {
        "OAUTHBEARER": ("user", (b"mail.corp/a",), ()),
        "XOAUTH2": ("corp/user", (b"corp/a",), ()),
        "MONGODB-OIDC": ("corp/user", (b"admin.corp/a",), (b"$external",)),
    }
    token = of.sign(groups=["a"])
    for first in expected:
        with serve(provider(of), http=of.http, mechanisms=options) as server:
            for mechanism in (first, *expected, *expected):
                session = enter(server, mechanism, openings(token)[mechanism])
                get = session.properties.get
                assert (session.authid, get("roles"), get("database")) == expected[mechanism]


def test_a_plain_name_is_nobodys_prefixed_name() -> None:
    """A principal that is called "corp/user" does not become user of corp by leaving its prefix
    out: that name is somebody else's where another mechanism keeps prefixes.
    """
    of = FakeIssuer(URL, algs=("EdDSA",))
    jobs = provider(of, audience="jobs", authNamePrefix="jobs")
    options = {"OAUTHBEARER": {"plain_names": True}}
    with serve(provider(of), jobs, http=of.http, mechanisms=options) as server:
        for sub in ("corp/user", "jobs/user", "corp/", "jobs//"):
            token = of.sign(groups=[], sub=sub)
            for _ in range(2):
                assert outcome(server, "OAUTHBEARER", openings(token)["OAUTHBEARER"]) == (
                    "token-identity"
                )
            assert outcome(server, "MONGODB-OIDC", openings(token)["MONGODB-OIDC"]) == f"corp/{sub}"
        for sub in ("user", "corpse/user", "/corp/user", "corp"):
            message = openings(of.sign(groups=[], sub=sub))["OAUTHBEARER"]
            assert outcome(server, "OAUTHBEARER", message) == sub


@pytest.mark.parametrize(
    "key", ["host", "port", "mthd", "path", "qs", "post", "user", "X", "authz"]
)
def test_reserved_and_unknown_keys_are_ignored(key: str) -> None:
    """Whatever they say of whom, where and how: the token says who it is, and twice is an error."""
    of = FakeIssuer(URL, algs=("EdDSA",))
    token = of.sign(groups=[])
    with serve(provider(of), http=of.http) as server:
        for value in ("", "root", "Bearer x", "65537", "=", "auth=Bearer x"):
            pair = f"{key}={value}\1"
            for pairs in (f"{pair}auth=Bearer {token}\1", f"auth=Bearer {token}\1{pair}"):
                assert outcome(server, "OAUTHBEARER", f"n,,\1{pairs}\1".encode()) == "corp/user"
            twice = f"n,,\1{pair}{pair}auth=Bearer {token}\1\1".encode()
            assert outcome(server, "OAUTHBEARER", twice) == "bearer-pairs"


# --- what others learn --------------------------------------------------------------------

FAILURES: dict[str, Callable[[FakeIssuer], str]] = {
    "signature": lambda of: of.sign(groups=[])[:-8] + "AAAAAAAA",
    "expired": lambda of: of.sign(groups=[], exp=5),
    "kid": lambda of: of.sign(groups=[], header={"kid": "nobody's"}),
    "issuer": lambda of: of.sign(groups=[], iss="https://evil.example"),
    "audience": lambda of: of.sign(groups=[], aud="evil"),
    "roles": lambda of: of.sign(groups=5),
    "form": lambda of: of.sign(groups=[]) + "A",
    "no claims": lambda of: of.sign(b'{"unfinished":"claim of somebody'),
    "ID token": lambda of: of.sign(groups=[], at_hash="x"),
}


@pytest.mark.parametrize("mechanism", ["OAUTHBEARER", "XOAUTH2", "MONGODB-OIDC"])
def test_a_refusal_keeps_no_token_and_tells_no_reason(mechanism: str) -> None:
    """Nothing that is reachable from the session, the error or the server holds the token; the
    peer hears one and the same, whatever was wrong.
    """
    heard: set[tuple[object, ...]] = set()
    of = FakeIssuer(URL, algs=("EdDSA",))
    for name, make in FAILURES.items():
        with serve(provider(of), http=of.http) as server:
            token = make(of)
            parts = [part for part in (token, *token.split(".")[1:]) if len(part) > 20]
            session = server.session()
            said: bytes | None = None
            failure: SaslError | None = None
            try:
                said = session.start(mechanism, openings(token)[mechanism]).data
                session.step(ANSWERS[mechanism])
            except SaslError as error:
                failure = error
                heard.add((said, str(error), error.wire))
            assert isinstance(failure, AuthenticationError), name
            assert find([server, session, failure], spellings(*parts)) == []
            assert failure.detail
    assert len(heard) == 1
