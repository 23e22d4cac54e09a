"""SCRAM's messages: what is accepted is written again byte for byte, all else is a PeerError."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sasl_core.errors import PeerError, UsageError
from sasl_core.gs2 import Gs2Header
from sasl_core.saslprep import saslprep
from sasl_mechanisms.scram.messages import (
    MESSAGE_LIMIT,
    SERVER_ERRORS,
    ClientFinal,
    ClientFirst,
    ServerFinal,
    ServerFirst,
    auth_message,
    format_client_final,
    format_client_first,
    format_server_error,
    format_server_final,
    format_server_first,
    format_without_proof,
    parse_client_final,
    parse_client_first,
    parse_server_final,
    parse_server_first,
)
from stopwatch import within

VECTORS: dict[str, Any] = json.loads(
    (Path(__file__).parent.parent / "vectors" / "scram.json").read_text("utf-8")
)
EXCHANGES: list[dict[str, Any]] = VECTORS["exchanges"]

PARSERS: dict[str, Callable[[bytes], object]] = {
    "client_first": parse_client_first,
    "server_first": parse_server_first,
    "client_final": parse_client_final,
    "server_final": parse_server_final,
}

BOTH = "fyko+d2lbbFgONRv9qkxdawL3rfcNHYJY1ZVvWVs7j"
PROOF = "v0X8v3Bz2T0CJGbJQyF0X+HI4Ts="

# Well-formed messages of the vectors' malformed ones: wrong only in their exchange, where the
# mechanism's own tests refuse them. Nonces, iterations, bindings, lengths and signatures.
WRONG_IN_THE_EXCHANGE = {
    "client_first": set[str](),
    "server_first": {
        "r=clientreceiveswrongnonce3rfcNHYJY1ZVvWVs7j,s=QSXCR+Q6sek8bf92,i=4096",
        "r=BADo+d2lbbFgONRv9qkxdawL3rfcNHYJY1ZVvWVs7j,s=QSXCR+Q6sek8bf92,i=4096",
        "r=fyko+d2lbbFgONRv9qkxdawL,s=QSXCR+Q6sek8bf92,i=4096",
        f"r={BOTH},s=QSXCR+Q6sek8bf92,i=2147483647",
        f"r={BOTH},s=QSXCR+Q6sek8bf92,i=1000",
        f"r={BOTH},s=QSXCR+Q6sek8bf92,i=4095",
        "e=other-error",
    },
    "client_final": {
        f"c=biws,r={BOTH}bla,p={PROOF}",
        f"c=biws,r={BOTH},p=ZnJvcA==",
        f"c=biws,r=bad_nonce_FgONRv9qkxdawL3rfcNHYJY1ZVvWVs7j,p={PROOF}",
        f"c=biws,r=fyko+d2lbbFgONRv9qkxdawL,p={PROOF}",
        f"c=biws,r=fyko+d2lbbFgONRv9qkxdawL{BOTH},p={PROOF}",
        f"c=eSws,r={BOTH},p={PROOF}",
        f"c=bixhPWFkbWluLA==,r={BOTH},p={PROOF}",
        f"c=biwsQUFB,r={BOTH},p={PROOF}",
        f"c=biws,r={BOTH},p=AAAAAAAAAAAAAAAAAAAAAAAAAAA=",
        f"c=biws,r={BOTH},p=AAAAAAAAAAAAAAAAAAAAAAAAAAAA",
    },
    "server_final": {
        "v=badP6P+SBB3T4rZgjRz28Z1FqCg=",
        "v=AAAAAAAAAAAAAAAAAAAAAAAAAAA=",
        "e=invalid-proof",
        "e=some-future-error",
    },
}
MALFORMED = [(step, vector["input"]) for step in PARSERS for vector in VECTORS["malformed"][step]]


def formatted(message: object) -> bytes:
    """Write a parsed message again from its fields alone, never from its kept text."""
    match message:
        case ClientFirst():
            header, bare = format_client_first(
                message.gs2, message.username, message.nonce, message.extensions
            )
            assert (header, bare) == (message.header, message.bare)
            return header + bare
        case ServerFirst():
            text = format_server_first(
                message.nonce, message.salt, message.iterations, message.extensions
            )
            assert text == message.text
            return text
        case ClientFinal():
            without_proof = format_without_proof(message.binding, message.nonce, message.extensions)
            assert without_proof == message.without_proof
            return format_client_final(without_proof, message.proof)
        case ServerFinal(verifier=bytes() as signature, error=None):
            assert format_server_final(signature, message.extensions) == message.text
            return message.text
        case ServerFinal(verifier=None, error=str() as error):
            assert error in SERVER_ERRORS
            if error != "other-error" and not message.extensions:
                assert format_server_error(error) == message.text
            return message.text
        case _:
            raise AssertionError(message)


@pytest.mark.parametrize("vector", EXCHANGES, ids=lambda v: v["id"])
def test_exchanges(vector: dict[str, Any]) -> None:
    """Each message of each published exchange parses into what was put into it, and back."""
    first = parse_client_first(vector["client_first"].encode())
    assert saslprep(first.username) == saslprep(vector["username"])
    assert first.gs2.authzid == vector["authzid"]
    assert first.nonce.decode() == vector["client_nonce"]
    binding = vector["channel_binding"]
    assert first.gs2.cb_name == (binding["type"] if binding else None)
    challenge = parse_server_first(vector["server_first"].encode())
    assert isinstance(challenge, ServerFirst)
    assert challenge.nonce.decode() == vector["nonce"]
    assert challenge.iterations == vector["iterations"]
    final = parse_client_final(vector["client_final"].encode())
    assert final.nonce == challenge.nonce
    assert final.binding.startswith(first.header)
    message = auth_message(first.bare, challenge.text, final.without_proof)
    assert message.decode() == vector["derived"]["auth_message"]
    for step, parse in PARSERS.items():
        assert formatted(parse(vector[step].encode())) == vector[step].encode()


@pytest.mark.parametrize(("step", "text"), MALFORMED)
def test_malformed(step: str, text: str) -> None:
    """Each malformed message is refused by its parser, or is the exchange's to refuse."""
    message = text.encode()
    if text in WRONG_IN_THE_EXCHANGE[step]:
        assert formatted(PARSERS[step](message)) == message
        return
    with pytest.raises(PeerError) as caught:
        _ = PARSERS[step](message)
    error = caught.value
    slug = "scram-" + step.replace("_", "-")
    assert error.code in ({slug, "gs2", "saslname"} if step == "client_first" else {slug})
    for secret in ("fyko", "v0X8", "QSXC", "rmF9", "user"):
        assert secret not in f"{error} {error.detail}".replace("user name", "")


def test_what_is_left_to_the_exchange_is_in_the_vectors() -> None:
    """No name in the table of exceptions is out of date, and all 133 messages are looked at."""
    for step, texts in WRONG_IN_THE_EXCHANGE.items():
        assert texts <= {vector["input"] for vector in VECTORS["malformed"][step]}
    assert len(MALFORMED) == 133


@pytest.mark.parametrize("text", VECTORS["optional_extensions"]["accept_client_first"])
def test_unknown_optional_attributes_are_kept(text: str) -> None:
    """Unknown optional attributes are accepted, and stay in what both sides sign."""
    first = parse_client_first(text.encode())
    assert first.bare == text.removeprefix("n,,").encode()
    assert first.extensions
    assert formatted(first) == text.encode()


GOOD = {
    "client_first": b"n,,n=user,r=fyko+d2lbbFgONRv9qkxdawL",
    "server_first": f"r={BOTH},s=QSXCR+Q6sek8bf92,i=4096".encode(),
    "client_final": f"c=biws,r={BOTH}".encode(),
    "server_final": b"v=rmF9pqV8S7suAoZWja4dJRkFsKQ=",
}


def extend(step: str, extensions: bytes) -> bytes:
    """Return the good message of `step` with `extensions` where they belong."""
    proof = f",p={PROOF}".encode() if step == "client_final" else b""
    return GOOD[step] + b"," + extensions + proof


@pytest.mark.parametrize("step", PARSERS)
@pytest.mark.parametrize(
    "extensions", [b"x=1", b"X=1,x=2", b"h=G6k/rBLDqg=", b"a=b", b"t=caf\xc3\xa9,z==", b"k= "]
)
def test_optional_attributes_of_every_step(step: str, extensions: bytes) -> None:
    """Every message may end in unknown attributes, in any order, and is written again as it was."""
    message = extend(step, extensions)
    parsed: Any = PARSERS[step](message)
    assert parsed.extensions == extensions
    assert formatted(parsed) == message


@pytest.mark.parametrize("step", PARSERS)
@pytest.mark.parametrize(
    "extensions",
    [
        b"", b",", b"x", b"x=", b"=x", b"xx=1", b"1=x", b"x=1,", b"x=1,,y=2", b"x=1,x=2", b"m=1",
        b"x=1,m=1", b"n=user", b"r=fyko+d2lbbFgONRv9qkxdawL", b"s=QSXC", b"i=1", b"c=biws",
        b"p=AAAA", b"v=AAAA", b"e=other-error", b"x=\0", b"x=\xff", b"x=\xed\xa0\x80",
        b"\xc3\xa9=x", b"x=1\0", b" x=1",
    ],
)  # fmt: skip
def test_what_is_no_optional_attribute(step: str, extensions: bytes) -> None:
    """Repeated, misplaced, mandatory, empty and misspelt attributes are refused everywhere."""
    with pytest.raises(PeerError) as caught:
        _ = PARSERS[step](extend(step, extensions))
    assert caught.value.code == "scram-" + step.replace("_", "-")
    assert caught.value.__context__ is None or isinstance(caught.value.__context__, PeerError)


def test_a_mandatory_extension_is_named_as_the_reason() -> None:
    """The error for `m=` says so wherever it stands, for the peer is told another value then."""
    for message, parse in (
        (b"n,,m=x,n=user,r=fyko+d2lbbFgONRv9qkxdawL", parse_client_first),
        (b"n,,n=user,r=fyko+d2lbbFgONRv9qkxdawL,m=x", parse_client_first),
        (b"m=x," + GOOD["server_first"], parse_server_first),
        (b"m=x," + GOOD["client_final"], parse_client_final),
        (extend("client_final", b"m=x"), parse_client_final),
        (b"m=x", parse_server_final),
    ):
        with pytest.raises(PeerError, match="mandatory extension"):
            _ = parse(message)


@pytest.mark.parametrize("value", VECTORS["server_error_values"])
def test_server_errors(value: str) -> None:
    """Each error of RFC 5802 comes back as itself, from either message of the server."""
    message = format_server_error(value)
    assert message == b"e=" + value.encode()
    for parse in (parse_server_first, parse_server_final):
        parsed = parse(message)
        assert isinstance(parsed, ServerFinal)
        assert (parsed.verifier, parsed.error, parsed.text) == (None, value, message)


def test_the_values_of_server_errors_are_those_of_the_rfc() -> None:
    """The table has what RFC 5802 section 7 names, and nothing of ours."""
    assert set(VECTORS["server_error_values"]) == SERVER_ERRORS
    with pytest.raises(UsageError):
        _ = format_server_error("wrong-password")


@pytest.mark.parametrize(
    "value", [b"some-future-error", b"Invalid-Proof", b"caf\xc3\xa9", b"x" * 999, b"=", b"\x1b[2J"]
)
def test_unknown_server_errors_are_other_errors(value: bytes) -> None:
    """A value that nobody knows becomes other-error, so that no log shows it."""
    parsed = parse_server_final(b"e=" + value)
    assert (parsed.verifier, parsed.error) == (None, "other-error")


@pytest.mark.parametrize(
    "message", [b"e=", b"e=\0", b"e=\xff", b"e=x,v", b"e=x,v=AAAA", b"e=x,e=y", b"e=x,", b"E=x"]
)
def test_malformed_server_errors(message: bytes) -> None:
    """An error message that is malformed itself is refused in either place."""
    for parse in (parse_server_first, parse_server_final):
        with pytest.raises(PeerError):
            _ = parse(message)


def test_nonces_have_bounds() -> None:
    """A client nonce has 8 to 1024 characters, both nonces together at most 2048."""
    for length, good in ((7, False), (8, True), (1024, True), (1025, False)):
        message = b"n,,n=user,r=" + b"x" * length
        if good:
            assert len(parse_client_first(message).nonce) == length
        else:
            with pytest.raises(PeerError):
                _ = parse_client_first(message)
    _ = parse_server_first(b"r=%b,s=AAAA,i=1" % (b"x" * 2048))
    with pytest.raises(PeerError):
        _ = parse_server_first(b"r=%b,s=AAAA,i=1" % (b"x" * 2049))
    with pytest.raises(PeerError):
        _ = parse_client_final(b"c=biws,r=%b,p=AAAA" % (b"x" * 2049))


@pytest.mark.parametrize("step", PARSERS)
def test_messages_are_capped(step: str) -> None:
    """A message over 64 KiB is refused unread, one of that size is read."""
    room = MESSAGE_LIMIT - len(extend(step, b"x="))
    _ = PARSERS[step](extend(step, b"x=" + b"y" * room))
    with pytest.raises(PeerError, match="more than"):
        _ = PARSERS[step](extend(step, b"x=" + b"y" * (room + 1)))


@pytest.mark.parametrize(
    "message",
    [
        b"n,,n=" + b"a" * 60_000,
        b"n,,n=user,r=fyko+d2lb" + b",x=1" * 15_000,
        b"n,,n=" + b"=2C" * 20_000 + b",r=x",
        b"r=" + b"x" * 60_000,
        b"r=fyko+d2lb,s=" + b"A" * 60_000 + b"!",
        b"r=fyko+d2lb,s=AAAA,i=" + b"9" * 60_000,
        b"c=" + b"A" * 30_000 + b",r=fyko+d2lb,p=" + b"A" * 30_000 + b"!",
        b"c=biws,r=fyko+d2lb" + b",p=A" * 15_000 + b"!",
        b"c=biws,r=fyko+d2lb" + b",p=" * 20_000,
        b"v=" + b"A" * 60_000 + b"=",
        b"," * 65_000,
    ],
    ids=lambda m: m[:24].decode(),
)
def test_long_malformed_messages_are_refused_at_once(message: bytes) -> None:
    """No pattern goes over a hostile message again and again."""
    with within(0.1):
        for parse in PARSERS.values():
            with pytest.raises(PeerError):
                _ = parse(message)


def test_no_repr_shows_a_proof_or_a_signature() -> None:
    """A password can be guessed at with a proof, so that none is shown."""
    final = parse_client_final(f"c=biws,r={BOTH},p={PROOF}".encode())
    last = parse_server_final(GOOD["server_final"])
    assert final.proof
    assert last.verifier
    assert repr(final.proof)[2:-1] not in repr(final)
    assert repr(last.verifier)[2:-1] not in repr(last)
    assert "rmF9" not in repr(last)


def test_what_cannot_be_sent_is_a_usage_error() -> None:
    """Names, nonces and numbers that no peer would read are refused before they are sent."""
    header = Gs2Header("n")
    calls: list[Callable[[], object]] = [
        lambda: format_client_first(header, "", b"fyko+d2lb"),
        lambda: format_client_first(header, "a\0b", b"fyko+d2lb"),
        lambda: format_client_first(header, "user", b""),
        lambda: format_client_first(header, "user", b"a,b"),
        lambda: format_client_first(header, "user", b"a b"),
        lambda: format_client_first(header, "user", b"abc\n"),
        lambda: format_server_first(b"x,y", b"salt", 1),
        lambda: format_server_first(b"xy", b"", 1),
        lambda: format_server_first(b"xy", b"salt", 0),
        lambda: format_without_proof(b"", b"xy"),
        lambda: format_without_proof(b"n,,", b"\xff"),
    ]
    for call in calls:
        with pytest.raises(UsageError):
            _ = call()


nonces = st.text(
    st.characters(min_codepoint=0x21, max_codepoint=0x7E, blacklist_characters=","),
    min_size=8,
    max_size=40,
).map(str.encode)
names = st.text(
    st.characters(blacklist_categories=["Cs"], blacklist_characters="\0"), min_size=1, max_size=20
)
headers = st.builds(Gs2Header, st.sampled_from(["n", "y"]), authzid=st.none() | names) | st.builds(
    Gs2Header, st.just("p"), st.sampled_from(["tls-exporter", "x.y"]), st.none() | names
)
octets = st.binary(min_size=1, max_size=70)
extras = st.dictionaries(
    st.sampled_from("ABCabdhxyz"),
    st.text(st.characters(blacklist_categories=["Cs"], blacklist_characters="\0,"), min_size=1),
    max_size=3,
).map(lambda pairs: ",".join(f"{letter}={value}" for letter, value in pairs.items()).encode())


@given(headers, names, nonces, extras)
def test_client_first_round_trip(
    gs2: Gs2Header, username: str, nonce: bytes, extensions: bytes
) -> None:
    """What is formatted as client-first parses to the same fields."""
    header, bare = format_client_first(gs2, username, nonce, extensions)
    assert parse_client_first(header + bare) == ClientFirst(
        gs2, username, nonce, header, bare, extensions
    )


@given(nonces, octets, st.integers(1, 2**31 - 1), extras)
def test_server_first_round_trip(
    nonce: bytes, salt: bytes, iterations: int, extensions: bytes
) -> None:
    """What is formatted as server-first parses to the same fields."""
    text = format_server_first(nonce, salt, iterations, extensions)
    assert parse_server_first(text) == ServerFirst(nonce, salt, iterations, text, extensions)


@given(octets, nonces, octets, extras)
def test_client_final_round_trip(
    binding: bytes, nonce: bytes, proof: bytes, extensions: bytes
) -> None:
    """What is formatted as client-final parses to the same fields."""
    without_proof = format_without_proof(binding, nonce, extensions)
    assert parse_client_final(format_client_final(without_proof, proof)) == ClientFinal(
        binding, nonce, proof, without_proof, extensions
    )


@given(octets, extras)
def test_server_final_round_trip(signature: bytes, extensions: bytes) -> None:
    """What is formatted as server-final parses to the same fields."""
    text = format_server_final(signature, extensions)
    assert parse_server_final(text) == ServerFinal(signature, None, text, extensions)


PIECES = [
    b"n", b"y", b"p=", b",", b",,", b"a=", b"n=", b"r=", b"s=", b"i=", b"c=", b"p=", b"v=", b"e=",
    b"m=", b"x=", b"=2C", b"=", b"user", b"fyko+d2lb", b"biws", b"AAAA", b"AA==", b"4096", b"0",
    b"\0", b"\xc3\xa9", b"\xff", b"\n", b" ",
]  # fmt: skip


@given(
    st.sampled_from(sorted(PARSERS)),
    st.binary(max_size=60) | st.lists(st.sampled_from(PIECES), max_size=16).map(b"".join),
)
def test_any_bytes(step: str, message: bytes) -> None:
    """Any bytes give a message that is written again as it was, or a PeerError."""
    try:
        parsed = PARSERS[step](message)
    except PeerError:
        return
    assert formatted(parsed) == message


@given(st.sampled_from(sorted(PARSERS)), st.data())
def test_altered_messages(step: str, data: st.DataObject) -> None:
    """A good message with octets changed, cut or doubled is refused or written again as it is."""
    vector = data.draw(st.sampled_from(EXCHANGES))
    message = bytearray(vector[step].encode())
    place = data.draw(st.integers(0, len(message) - 1))
    kind = data.draw(st.sampled_from(["flip", "cut", "delete", "insert", "double"]))
    if kind == "flip":
        message[place] ^= 1 << data.draw(st.integers(0, 7))
    elif kind == "cut":
        del message[place:]
    elif kind == "delete":
        del message[place]
    elif kind == "insert":
        message.insert(place, data.draw(st.integers(0, 255)))
    else:
        message[place:place] = message[: data.draw(st.integers(0, len(message)))]
    try:
        parsed = PARSERS[step](bytes(message))
    except PeerError:
        return
    assert formatted(parsed) == bytes(message)
