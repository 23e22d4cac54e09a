"""The gate: base64url, JSON and the header, by form; and the claims by theirs."""

from __future__ import annotations

import json
import string
import time
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sasl_core.plugin import PeerError
from sasl_tokens import JWKManager, JWSValidatedToken, TokenError, TokenRules, strict_json
from sasl_tokens.claims import DEFAULT
from sasl_tokens.gate import ALGORITHMS, KID_LIMIT, open_token
from sasl_tokens.strict import DEPTH_LIMIT, base64url_decode, base64url_encode, has_controls
from sasl_tokens.terms import TOKEN_LIMIT
from sasl_tokens.token import inspect_unverified, peek_issuer_and_audience
from token_kit import NOW, FakeIssuer, b64, compact, make_key, refusal, run

ISSUER = FakeIssuer(clock=lambda: NOW)


@pytest.fixture(scope="module")
def manager() -> JWKManager:
    """The issuer's keys."""
    return ISSUER.loaded()


def code_of(token: str, manager: JWKManager, rules: TokenRules = DEFAULT) -> str:
    """The code with which a token is refused, or "accept"."""
    error = refusal(lambda: JWSValidatedToken(token, manager, options=rules))
    if error is None:
        return "accept"
    assert isinstance(error, TokenError)
    assert error.__context__ is None
    return error.code


# --- base64url ----------------------------------------------------------------------------


@given(st.binary(max_size=80))
def test_base64url_goes_both_ways(data: bytes) -> None:
    """What was encoded decodes, and is written as everybody writes it."""
    assert base64url_encode(data) == b64(data)
    assert base64url_decode(b64(data), "x") == data


@given(st.text(string.ascii_letters + string.digits + "-_+/= \n", max_size=12))
def test_base64url_has_one_spelling(text: str) -> None:
    """What decodes encodes to the same characters."""
    try:
        data = base64url_decode(text, "x")
    except PeerError:
        return
    assert base64url_encode(data) == text


@pytest.mark.parametrize(
    "text", ["A", "AB", "AAB", "AAAAA", "A=", "AA==", "+w", "/w", "é", "\ud800"]
)
def test_other_spellings_are_refused(text: str) -> None:
    """Padding, the other alphabet, loose bits, a length that no value has."""
    with pytest.raises(PeerError, match="the thing is not canonical base64url"):
        _ = base64url_decode(text, "the thing")


# --- JSON ---------------------------------------------------------------------------------

REFUSED: dict[str, bytes] = {
    "nothing": b"",
    "blanks": b"  ",
    "rest": b"{} x",
    "two": b"{}{}",
    "twice": b'{"a":1,"a":1}',
    "twice inside": b'{"a":[{"b":1,"b":2}]}',
    "twice by escape": b'{"a":1,"\\u0061":1}',
    "NaN": b"[NaN]",
    "Infinity": b"[-Infinity]",
    "1e400": b"[1e400]",
    "long fraction": b"[0." + b"1" * 50 + b"]",
    "huge": b"[" + b"9" * 5000 + b"]",
    "21 digits": b"[" + b"9" * 21 + b"]",
    "BOM": b"\xef\xbb\xbf{}",
    "UTF-16": "{}".encode("utf-16"),
    "UTF-32": "{}".encode("utf-32"),
    "not UTF-8": b'"\xff"',
    "surrogate bytes": b'"\xed\xa0\x80"',
    "half a pair": b'"\\ud800"',
    "other half": b'{"\\udc00":1}',
    "half inside": b'{"a":["\\ud83d x"]}',
    "control": b'"\n"',
    "NUL": b'"\0"',
    "comment": b"{} // x",
    "single quotes": b"{'a':1}",
    "comma": b"[1,]",
    "octal": b"[01]",
    "plus": b"[+1]",
    "hex": b"[0x1]",
    "vertical tab": b"\x0b{}",
    "no-break space": "\u00a0{}".encode(),
    "deep": b"[" * (DEPTH_LIMIT + 1) + b"]" * (DEPTH_LIMIT + 1),
    "deep objects": b'{"a":' * 3000 + b"1" + b"}" * 3000,
    "very deep": b"[" * 100_000,
    "closing": b"]" * 5000,
}


@pytest.mark.parametrize("name", REFUSED)
def test_json_with_another_reading_is_refused(name: str) -> None:
    """Only strict JSON in UTF-8 is read; the error holds nothing of it, and nothing foreign."""
    with pytest.raises(PeerError, match=r"^the text (is|holds) ") as caught:
        _ = strict_json(REFUSED[name], "the text")
    assert caught.value.code == "json"
    assert caught.value.__context__ is None


@pytest.mark.parametrize(
    "data",
    [
        b"[" * DEPTH_LIMIT + b"]" * DEPTH_LIMIT,
        b'{"a":"' + b"[{" * 500 + b'"}',
        b'{"a":"\\"[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[["}',
        b"[" + b",".join([b"[]"] * 500) + b"]",
        b' {"a" : [ 1.5 , -2, true, null, "\\ud83d\\ude00" ] }\r\n',
        b"[9223372036854775807, -9223372036854775808]",
        '"\u00e9\U0001f600"'.encode(),
    ],
)
def test_strict_json_is_read_as_python_reads_it(data: bytes) -> None:
    """Depth is counted outside of strings; wide is not deep; escapes of a whole pair are fine."""
    assert strict_json(data, "x") == json.loads(data)


@pytest.mark.parametrize(
    "text",
    [
        b'["' + b'\\"' * 130_000,
        b"[" * 40 + b'"' * 260_000,
        b'{"' * 130_000,
        b'["\\' * 80_000,
        b"[[" * 40 + b'"' + b"\\" * 260_000,
        b"[" + b"0," * 130_000,
        b"[" + b'"\\ud83d\\ude00",' * 20_000 + b"1]",
    ],
    ids=range(7),
)
def test_reading_takes_no_square_of_the_length(text: bytes) -> None:
    """A quarter of a megabyte that is made to be slow is read or refused in a moment."""
    begin = time.process_time()
    _ = refusal(lambda: strict_json(b"[" * 20 + b"[]," * 40 + text, "x"))
    _ = refusal(lambda: strict_json(text, "x"))
    assert time.process_time() - begin < 2


JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**63 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(codec="utf-8"), max_size=8),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(st.text(st.characters(codec="utf-8"), max_size=4), inner, max_size=4)
    ),
    max_leaves=12,
)


@given(JSON, st.booleans())
def test_what_json_writes_is_read(value: object, ascii_only: bool) -> None:
    """Whatever Python writes as JSON comes out as it was, escaped or not."""
    text = json.dumps(value, ensure_ascii=ascii_only).encode()
    assert strict_json(text, "x") == value


# --- the token's form ---------------------------------------------------------------------


def test_the_longest_token(manager: JWKManager) -> None:
    """16 KiB are read, one character more is not looked at."""
    room = TOKEN_LIMIT - len(ISSUER.sign(x=""))
    token = ISSUER.sign(x="y" * (room * 3 // 4))
    while len(token) < TOKEN_LIMIT - 3:
        room += 1
        token = ISSUER.sign(x="y" * (room * 3 // 4))
    assert TOKEN_LIMIT - 3 <= len(token) <= TOKEN_LIMIT
    assert code_of(token, manager) == "accept"
    assert code_of(token + "A" * 4, manager) == "token-too-long"


@pytest.mark.parametrize(
    ("header", "code"),
    [
        ({"kid": None}, "token-header"),
        ({"kid": ""}, "token-header"),
        ({"kid": "k" * KID_LIMIT}, "token-key-unknown"),
        ({"kid": "k" * (KID_LIMIT + 1)}, "token-header"),
        ({"kid": "a\nb"}, "token-header"),
        ({"kid": "\u2028"}, "token-header"),
        ({"kid": "\u00e9 \u200b"}, "token-key-unknown"),
        ({"kid": ["rs256-0"]}, "token-header"),
        ({"kid": True}, "token-header"),
        ({"typ": None}, "accept"),
        ({"typ": "jwt"}, "accept"),
        ({"typ": ""}, "token-type"),
        ({"typ": "JWT "}, "token-type"),
        ({"typ": "application/jwt"}, "token-type"),
        ({"typ": ["JWT"]}, "token-type"),
        ({"typ": "at+jwt"}, "token-type"),
        ({"cty": "json"}, "token-type"),
        ({"crit": None, "x5t": "abc", "nonce": "n"}, "accept"),
        ({"b64": True}, "token-header"),
        ({"zip": "DEF"}, "token-header"),
        ({"jwk": {}}, "token-header"),
        ({"jku": "https://evil.example"}, "token-header"),
        ({"x5u": "https://evil.example"}, "token-header"),
        ({"x5c": []}, "token-header"),
        ({"crit": []}, "token-header"),
        ({"alg": "ES512"}, "token-algorithm"),
        ({"alg": "ES256K"}, "token-algorithm"),
        ({"alg": "Ed25519"}, "token-algorithm"),
        ({"alg": "HS256"}, "token-algorithm"),
        ({"alg": "none"}, "token-algorithm"),
        ({"alg": "RS256 "}, "token-algorithm"),
        ({"alg": "PS256"}, "token-algorithm"),
        ({"alg": "ES256"}, "token-algorithm"),
        ({"alg": {}}, "token-algorithm"),
    ],
    ids=lambda value: json.dumps(value)[:40],
)
def test_headers(manager: JWKManager, header: dict[str, object], code: str) -> None:
    """What a header may say; the signature of each is good, the header included."""
    assert code_of(ISSUER.sign(header=header), manager) == code


@pytest.mark.parametrize("typ", ["at+jwt", "AT+JWT", "application/at+jwt", "JWT"])
def test_access_tokens_say_so_where_that_is_allowed(manager: JWKManager, typ: str) -> None:
    """The type of RFC 9068 section 2.1, with the option."""
    token = ISSUER.sign(header={"typ": typ})
    assert code_of(token, manager, TokenRules(accept_at_jwt=True)) == "accept"


@pytest.mark.parametrize("header", [b"", b"[]", b"null", b'"x"', b"{}x", b"[" * 3000, b"{" * 3000])
def test_a_header_that_is_no_object(manager: JWKManager, header: bytes) -> None:
    """It is refused for what it is, however deep."""
    signed = f"{b64(header)}.{b64(b'{}')}"
    assert code_of(f"{signed}.AAAA", manager) == "token-malformed"


@pytest.mark.parametrize("signature", ["", "AA", "AAAA", "A" * 8000])
def test_signatures_of_another_length(manager: JWKManager, signature: str) -> None:
    """They are bad signatures, and nothing else happens."""
    signed = ISSUER.sign().rpartition(".")[0]
    assert code_of(f"{signed}.{signature}", manager) == "token-signature"


def test_the_payload_is_not_read_before_the_signature(manager: JWKManager) -> None:
    """A payload that is no JSON is told only to whoever signed it."""
    assert code_of(ISSUER.sign(b"{" * 20), manager) == "token-malformed"
    signed = ISSUER.sign(b"{" * 20).rpartition(".")[0]
    assert code_of(f"{signed}.AAAA", manager) == "token-signature"


def test_the_allowed_algorithms() -> None:
    """Asymmetric ones alone."""
    assert set(ALGORITHMS) == {
        *("RS256", "RS384", "RS512", "PS256", "PS384", "PS512"),
        *("ES256", "ES384", "EdDSA", "Ed25519"),
    }


@given(st.text(max_size=60))
def test_any_text_is_opened_or_refused(text: str) -> None:
    """Nothing but a TokenError comes out of the gate."""
    with pytest.raises(TokenError):
        _ = open_token(text)


# --- claims -------------------------------------------------------------------------------

END = 253_402_300_799


@pytest.mark.parametrize(
    ("claims", "code"),
    [
        ({"exp": NOW + 0.5}, "token-claim-type"),
        ({"exp": 1.0}, "token-claim-type"),
        ({"exp": True}, "token-claim-type"),
        ({"exp": str(int(NOW) + 9)}, "token-claim-type"),
        ({"exp": END}, "accept"),
        ({"exp": END + 1}, "token-claim-type"),
        ({"exp": int(NOW)}, "token-expired"),
        ({"exp": int(NOW) + 1}, "accept"),
        ({"exp": 0}, "token-expired"),
        ({"nbf": int(NOW) + 60}, "accept"),
        ({"nbf": int(NOW) + 61}, "token-not-yet-valid"),
        ({"nbf": 1.5}, "token-claim-type"),
        ({"nbf": False}, "token-claim-type"),
        ({"nbf": END + 1}, "token-claim-type"),
        ({"nbf": -5}, "accept"),
        ({"iat": int(NOW) + 60}, "accept"),
        ({"iat": int(NOW) + 61}, "token-not-yet-valid"),
        ({"iat": []}, "token-claim-type"),
        ({"iat": None}, "accept"),
        ({"iss": ""}, "token-claim-type"),
        ({"iss": "a\tb"}, "token-claim-type"),
        ({"iss": "x" * 1025}, "token-claim-type"),
        ({"sub": "x" * 1024}, "accept"),
        ({"sub": "x" * 1025}, "token-claim-type"),
        ({"sub": "\u0085"}, "token-claim-type"),
        ({"sub": "J\u00fcrgen \u200d/$."}, "accept"),
        ({"sub": ["user"]}, "token-claim-type"),
        ({"aud": ""}, "token-claim-type"),
        ({"aud": [""]}, "token-claim-type"),
        ({"aud": ["sasl", None]}, "token-claim-type"),
        ({"aud": {"sasl": 1}}, "token-claim-type"),
        ({"aud": ["x", "y"]}, "accept"),
        ({"at_hash": "x"}, "token-id-token"),
        ({"c_hash": "x"}, "token-id-token"),
        ({"s_hash": None, "nonce": "n"}, "accept"),
        ({"token_use": "id"}, "token-id-token"),
        ({"token_use": "access"}, "accept"),
        ({"token_use": "access_token"}, "accept"),
        ({"token_use": "refresh"}, "token-id-token"),
        ({"token_use": "refresh_token"}, "token-id-token"),
        ({"token_use": ""}, "token-id-token"),
        ({"token_use": ["access"]}, "token-id-token"),
        ({"typ": "ID"}, "token-id-token"),
        ({"typ": "refresh"}, "token-id-token"),
        ({"typ": ["ID"]}, "accept"),
        ({"events": {}}, "token-type"),
        ({"cnf": {"jkt": "x"}}, "token-type"),
        ({"typ": "Bearer"}, "accept"),
    ],
    ids=lambda value: json.dumps(value)[:40],
)
def test_claims(manager: JWKManager, claims: dict[str, Any], code: str) -> None:
    """What a claim may be; None stands for a claim that is left out."""
    assert code_of(ISSUER.sign(**claims), manager) == code


@pytest.mark.parametrize("claim", ["exp", "nbf", "iat", "iss", "sub", "aud"])
def test_null_is_no_claim_left_out(manager: JWKManager, claim: str) -> None:
    """A claim that is null is of the wrong type, not missing."""
    token = ISSUER.sign({**ISSUER.claims(), claim: None})
    assert code_of(token, manager) == "token-claim-type"


def test_skews_and_the_longest_life(manager: JWKManager) -> None:
    """The rules move the limits, and what was granted counts for the session too."""
    late = ISSUER.sign(exp=int(NOW) - 30)
    assert code_of(late, manager) == "token-expired"
    assert code_of(late, manager, TokenRules(exp_skew=30)) == "token-expired"
    granted = JWSValidatedToken(late, manager, options=TokenRules(exp_skew=31))
    assert granted.expires_at == NOW + 1
    assert code_of(ISSUER.sign(nbf=int(NOW) + 1), manager, TokenRules(nbf_skew=0)) == (
        "token-not-yet-valid"
    )
    hour = TokenRules(max_lifetime=3600)
    assert code_of(ISSUER.sign(), manager, hour) == "accept"
    assert code_of(ISSUER.sign(iat=int(NOW) - 1), manager, hour) == "token-lifetime"
    assert code_of(ISSUER.sign(iat=None, exp=int(NOW) + 3601), manager, hour) == "token-lifetime"
    assert code_of(ISSUER.sign(iat=None, exp=int(NOW) + 3600), manager, hour) == "accept"


# --- what comes out -----------------------------------------------------------------------


def test_what_was_validated_cannot_be_changed(manager: JWKManager) -> None:
    """The body is read-only to its depths, and so are the header and the object."""
    token: Any = JWSValidatedToken(ISSUER.sign(roles=["a", ["b"]], at={"x": [1]}), manager)
    assert token.body["roles"] == ("a", ("b",))
    assert token.body["at"]["x"] == (1,)
    for change in (
        lambda: token.body.update(sub="admin"),
        lambda: token.body["at"].update(x=2),
        lambda: token.header.update(alg="none"),
    ):
        with pytest.raises(AttributeError):
            change()
    for name in ("issuer", "body", "subject", "expires_at", "generation", "other"):
        with pytest.raises(AttributeError):
            setattr(token, name, "x")


def test_nothing_shows_the_token(manager: JWKManager) -> None:
    """Neither the object nor what the gate opened prints it."""
    text = ISSUER.sign()
    signature = text.rpartition(".")[2]
    token = JWSValidatedToken(text, manager)
    assert signature not in repr(token)
    assert signature not in repr(open_token(text))
    assert signature not in repr(inspect_unverified(text))
    assert token.signed == text


def test_peeking_gives_two_claims() -> None:
    """Issuer and audiences, of a token that nobody vouches for; a token without them is refused."""
    stranger = make_key("ES256", owner="a stranger")
    peeked = peek_issuer_and_audience(stranger.sign({"iss": "i", "aud": ["a", "b"]}))
    assert (peeked.issuer, peeked.audiences) == ("i", ("a", "b"))
    for claims in ({"iss": "i"}, {"aud": "a"}, {"iss": 1, "aud": "a"}):
        with pytest.raises(TokenError):
            _ = peek_issuer_and_audience(stranger.sign(claims))


def test_inspecting_says_what_is_wrong() -> None:
    """All is shown, with what would make everybody refuse it; nothing says that it is valid."""
    key = make_key("ES256", owner="a stranger")
    seen = inspect_unverified(key.sign({"iss": "i", "aud": "a", "at_hash": "x", "sub": "s"}))
    assert seen.header["kid"] == key.kid
    assert seen.body["at_hash"] == "x"
    assert seen.problems == ("an ID token was sent: it has a claim at_hash",)
    assert inspect_unverified(key.sign({"x": compact({}).decode()})).problems[0].endswith("iss")


@pytest.mark.parametrize(
    ("text", "has"), [("a b", False), ("\u00e9\u200b", False), ("a\x00", True), ("\x9f", True)]
)
def test_control_characters(text: str, has: bool) -> None:
    """C0, DEL, C1 and what ends a line; what is merely invisible is none."""
    assert has_controls(text) is has


def test_obtaining_loads_the_keys() -> None:
    """Without any key yet, the first token causes a load, and the next one does not."""
    issuer = FakeIssuer(clock=lambda: NOW)
    manager = issuer.manager()
    for _ in range(3):
        token = run(JWSValidatedToken.obtain(issuer.sign(), manager), issuer.http)
        assert token.subject == "user"
    assert issuer.fetches == 1
