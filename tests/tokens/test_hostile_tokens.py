"""99 hostile and honest tokens, as they were made (by HS256) and signed anew with our keys."""

from __future__ import annotations

import hashlib
import hmac
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from sasl_tokens import IDPManager, JWKManager, JWSValidatedToken, TokenError, TokenRules
from sasl_tokens.claims import DEFAULT
from sasl_tokens.token import inspect_unverified, peek_issuer_and_audience
from token_kit import (
    FakeIssuer,
    SigningKey,
    b64,
    compact,
    json_response,
    make_key,
    refusal,
    run,
    unb64,
)

DATA: dict[str, Any] = json.loads(
    (Path(__file__).parents[1] / "vectors" / "jwt_hostile.json").read_text("utf-8")
)
CASES = {case["id"]: case for case in DATA["vectors"]}
NOW: float = DATA["now"]
ALGS = ("RS256", "ES256")
OPTIONS = {"typ-at": TokenRules(accept_at_jwt=True)}
"""Case -> the option that lets it in."""


def hmac_token(signed: str, secret: bytes) -> str:
    return f"{signed}.{b64(hmac.digest(secret, signed.encode(), hashlib.sha256))}"


def secret_of(key: SigningKey, form: str) -> bytes:
    """The public key in a form that somebody may take for the secret of an HMAC."""
    public = key.private.public_key()
    pem = public.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    der = public.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    jwk = key.public()
    forms: dict[str, bytes] = {
        "rsa-pem": pem,
        "rsa-pem-crlf": pem.replace(b"\n", b"\r\n"),
        "rsa-pem-lead": b"\n" + pem,
        "rsa-jwk-json": compact(jwk),
        "rsa-jwk-json-ws": b"  " + compact(jwk),
        "jwks-json": compact({"keys": [jwk]}),
        "rsa-der": der,
        "rsa-b64der": b64(der).encode(),
        "rsa-object": der,
        "PyJWK": der,
    }
    return forms[form]


ALPHABET = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"

# What was done to a good token to make the case of that name.
STRUCTURE: dict[str, Callable[[str], str]] = {
    "pad-sig": lambda good: good + "=",
    "pad-header": lambda good: good.replace(".", "=.", 1),
    "noncanonical-sig": lambda good: good[:-1] + ALPHABET[ALPHABET.index(good[-1]) + 1],
    "ws-lead": lambda good: " " + good,
    "ws-trail": lambda good: good + "\n",
    "ws-inner": lambda good: ". ".join(good.rsplit(".", 1)),
    "std-b64": lambda good: good + "+",
    "two-parts": lambda good: good.rsplit(".", 1)[0],
    "four-parts": lambda good: good + "." + good.rsplit(".", 1)[1],
    "jws-json": lambda good: json.dumps(
        dict(zip(("protected", "payload", "signature"), good.split("."), strict=True))
    ),
    "jwe-5": lambda good: good + ".a.b",
    "empty": lambda good: "",
    "dots": lambda good: "..",
    "nonascii": lambda good: "\xe9.\xe9.\xe9",
    "surrogate-str": lambda good: "\ud800.a.a",
    "nul": lambda good: good[:5] + "\0" + good[5:],
}


def generated(case: str, key: SigningKey, payload: bytes) -> str:
    """The cases that are too long to be written down."""
    if case == "kid-huge":
        return key.sign(payload, {"kid": "k" * 8000})
    if case == "many-dots":
        return "." * 100_000
    if case == "huge":
        return key.sign(compact({"x": "y" * 1_500_000}))
    if case == "deep-header":
        return key.sign(payload, b'{"x":' + b"[" * 50_000 + b"]" * 50_000 + b"}")
    assert case == "bigint-header"
    return key.sign(payload, b'{"alg":"RS256","kid":"h1","x":%b}' % (b"9" * 5000))


def resigned(case: dict[str, Any], key: SigningKey) -> str:
    """The case, made with `key`, which bears the case's own identifier."""
    good = CASES["ok"]["token"].split(".")
    if case["made"] == "generated":
        return generated(case["id"], key, unb64(good[1]))
    if case["made"] == "structure":
        return STRUCTURE[case["id"]](resigned(CASES["ok"], key))
    header, payload, _ = case["token"].split(".")
    if case["made"] == "hmac":
        return hmac_token(f"{header}.{payload}", secret_of(key, case["key"]))
    if case["made"] == "unsigned":
        return str(case["token"])
    renamed = unb64(header)
    for old, new in (("HS256", key.alg), ("hs256", key.alg.lower())):
        for encoding in ("utf-8", "utf-16-le"):
            renamed = renamed.replace(old.encode(encoding), new.encode(encoding))
    return key.sign(unb64(payload), renamed)


@pytest.fixture(scope="module")
def managers() -> dict[str, JWKManager]:
    """For each algorithm the keys of an issuer that has one for it, "h1"."""
    made = {}
    for alg in ALGS:
        manager = JWKManager(jwks_uri="https://issuer.example/keys", clock=lambda: NOW)
        manager.load(json_response({"keys": [make_key(alg, "h1").public()]}))
        made[alg] = manager
    return made


def judged(token: str, manager: JWKManager, rules: TokenRules = DEFAULT) -> str:
    """The code of the refusal, or "accept"; issuer and audience are compared as callers do."""
    made: list[JWSValidatedToken] = []
    error = refusal(lambda: made.append(JWSValidatedToken(token, manager, options=rules)))
    if error is not None:
        assert isinstance(error, TokenError)
        assert not token or token not in f"{error.detail} {error}"
        assert error.__cause__ is None
        assert error.__context__ is None
        return error.code
    if made[0].issuer != DATA["expected_iss"]:
        return "token-issuer"
    if DATA["expected_aud"] not in made[0].audiences:
        return "token-audience"
    return "accept"


@pytest.mark.parametrize("alg", ALGS)
@pytest.mark.parametrize("name", CASES)
def test_signed_anew(name: str, alg: str, managers: dict[str, JWKManager]) -> None:
    """Each is refused with its code, or accepted, by the algorithms that we take."""
    case = CASES[name]
    token = resigned(case, make_key(alg, "h1"))
    assert judged(token, managers[alg]) == case["code"]
    if name in OPTIONS:
        assert judged(token, managers[alg], OPTIONS[name]) == "accept"


@pytest.mark.parametrize("alg", ALGS)
@pytest.mark.parametrize("name", CASES)
def test_identity_providers_judge_alike(name: str, alg: str) -> None:
    """Through the manager, which compares issuer and audience, the verdict is the same.

    It looks at both before it has keys, so that a token of nobody's is not fetched for.
    """
    case = CASES[name]
    issuer = FakeIssuer(DATA["expected_iss"], clock=lambda: NOW, audience=DATA["expected_aud"])
    issuer.keys = {"h1": make_key(alg, "h1")}
    fields: dict[str, object] = {
        "issuer": issuer.url,
        "audience": DATA["expected_aud"],
        "authNamePrefix": "p",
        "supportsHumanFlows": False,
        "useAuthorizationClaim": False,
        "acceptAccessTokenType": name in OPTIONS,
    }
    manager = IDPManager([fields], clock=lambda: NOW)
    token = resigned(case, issuer.keys["h1"])
    error = refusal(lambda: run(manager.authenticate(token), issuer.http))
    if case["code"] == "accept" or name in OPTIONS:
        assert error is None
        return
    assert isinstance(error, TokenError)
    if case["code"] not in {"token-issuer", "token-audience"}:
        assert error.code == case["code"]
    else:
        assert error.code in {case["code"], "oidc-no-provider"}
        assert issuer.requests == []


@pytest.mark.parametrize("name", CASES)
def test_as_they_were(name: str, managers: dict[str, JWKManager]) -> None:
    """None of them gets in by HS256: most because it is an HMAC, the others before that."""
    case = CASES[name]
    token = case["token"]
    if token is None:
        oct_key = make_key("RS256", "h1")
        token = generated(name, oct_key, b"{}")
        if name == "kid-huge":
            token = hmac_token(
                f"{b64(compact({'alg': 'HS256', 'kid': 'k' * 8000}))}.{b64(b'{}')}",
                unb64(DATA["hs256_key"]["k"]),
            )
    assert judged(token, managers["RS256"]) == case["hs256_code"]
    assert case["hs256_code"] != "accept"


def test_the_secrets_of_the_originals_are_right() -> None:
    """The first is signed with the key that the file names: it is refused for nothing else."""
    signed, _, signature = CASES["ok"]["token"].rpartition(".")
    assert hmac_token(signed, unb64(DATA["hs256_key"]["k"])).rpartition(".")[2] == signature


def test_the_verdicts_are_those_asked_for() -> None:
    """Where we judge otherwise than the case was made for, the file says why."""
    assert len(CASES) == 99
    for case in CASES.values():
        wanted = case["strict_expect"] == "accept"
        assert (case["code"] == "accept") == wanted or case["note"], case["id"]
    assert [name for name, case in CASES.items() if case["code"] == "accept"] == [
        "ok",
        "aud-list-ok",
    ]


@pytest.mark.parametrize("alg", ALGS)
@pytest.mark.parametrize("name", CASES)
def test_an_unverified_look_meets_them_too(
    name: str, alg: str, managers: dict[str, JWKManager]
) -> None:
    """Peeking and inspecting let no form through that the gate refuses."""
    token = resigned(CASES[name], make_key(alg, "h1"))
    code = CASES[name]["code"]
    for look in (peek_issuer_and_audience, inspect_unverified):
        error = refusal(lambda look=look: look(token))  # type: ignore[misc]
        if error is None:
            assert code not in {"token-malformed", "token-header", "token-algorithm"}
        else:
            assert error.code == code
