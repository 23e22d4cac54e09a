"""The parser of stored hashes: what it takes apart, what it refuses, and that it shows none."""

from __future__ import annotations

import base64
import hashlib

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from hash_kit import EXAMPLES, PASSWORD
from sasl_core.plugin import BackendError, UserName
from sasl_pwcheck.hashes import work
from sasl_pwcheck.hashes.decoys import make_decoy, parse_label
from sasl_pwcheck.hashes.md5 import hmac_md5_states, md5_state
from sasl_pwcheck.hashes.schemes import (
    DEFAULT,
    RECOMMENDED,
    SUPPORTED,
    WEAK,
    StoredHash,
    canonical_scheme,
)
from sasl_pwcheck.hashes.text import LONGEST_HASH, parse_hash

TIM = UserName("tim", "example.com")
SALT22 = "ucjjp0/hdYpGiwrZeTCbRO"
DIGEST31 = "KzVW7qpJpzbooothyhSmgSXTiDgZlku"
DIGEST43 = "UXu/tXTq87wnjQ.fRV62BTkxRWjqDmc2dMsR.58DrC6"
B64_32 = base64.b64encode(b"d" * 32).decode().rstrip("=")


def test_the_three_sets() -> None:
    """Recommended ones are accepted by default, weak ones are not, and there are no others."""
    assert set(RECOMMENDED) < set(DEFAULT)
    assert not set(DEFAULT) & set(WEAK)
    assert {*DEFAULT, *WEAK} == set(SUPPORTED)


NAMED = [name for name, text in EXAMPLES.items() if text.startswith("{")]
BASE64 = {"SSHA", "SSHA256", "SSHA512", "SMD5", "SHA", "SHA256", "SHA512"}
HEXADECIMAL = {"PLAIN-MD5", "PLAIN-MD4", "CRAM-MD5", "DIGEST-MD5"}


@pytest.mark.parametrize("name", NAMED)
@pytest.mark.parametrize("encoding", ["hex", "HEX", "b64", "base64", "B64"])
def test_encodings(name: str, encoding: str) -> None:
    """A suffix says how the data are written, whatever the scheme's own way is."""
    scheme, _, data = EXAMPLES[name][1:].partition("}")
    octets = (
        base64.b64decode(data)
        if scheme in BASE64
        else bytes.fromhex(data)
        if scheme in HEXADECIMAL
        else data.encode()
    )
    written = octets.hex() if "hex" in encoding.lower() else base64.b64encode(octets).decode()
    read = parse_hash(f"{{{scheme}.{encoding}}}{written}".encode())
    assert read == parse_hash(EXAMPLES[name].encode())
    assert work.matches(read, PASSWORD.encode(), TIM)


@pytest.mark.parametrize("name", NAMED)
def test_names_are_read_in_any_case(name: str) -> None:
    """`{ssha}` is `{SSHA}`."""
    scheme, brace, data = EXAMPLES[name].partition("}")
    small = parse_hash((scheme.lower() + brace + data).encode())
    assert small == parse_hash(EXAMPLES[name].encode())


@pytest.mark.parametrize(
    ("text", "scheme"),
    [
        ("{PBKDF2}100$c2FsdHNhbHQ$" + base64.b64encode(b"d" * 20).decode().rstrip("="),
         "PBKDF2-SHA1"),
        ("{MD5}CY9rzUYh03PK3k6DJie09g==", "PLAIN-MD5"),
        ("{MD5}098f6bcd4621d373cade4e832627b4f6", "PLAIN-MD5"),
        ("{LDAP-MD5}CY9rzUYh03PK3k6DJie09g==", "PLAIN-MD5"),
        ("{SHA1}a94a8fe5ccb19ba61c4c0873d391e987982fbbd3", "SHA"),
        ("{CLEARTEXT}$1$not-a-hash", "PLAIN"),
        ("{CLEAR}x", "PLAIN"),
        ("{HMAC-MD5}e43a07c661af454e8f8c9485b123ebc8b59b54ffdc3bb0522a74ddcd5e583779", "CRAM-MD5"),
        (f"$2a$04${SALT22}{DIGEST31}", "BLF-CRYPT"),
        (f"$5${DIGEST43[:16]}${DIGEST43}", "SHA256-CRYPT"),
        (f"$argon2id$m=64,t=1,p=1$c2FsdHNhbHQ${B64_32}", "ARGON2ID"),
    ],
)  # fmt: skip
def test_aliases_and_forms(text: str, scheme: str) -> None:
    """Several names, and several ways to write it, mean one scheme."""
    assert parse_hash(text.encode()).scheme == scheme


REFUSED = {
    "nothing": "",
    "no scheme": "test",
    "no brace": "{PLAIN",
    "unknown": "{INVALID}invalid",
    "OTP": "{OTP}sha1 1024 ae2b 1bf2",
    "LANMAN": "{LANMAN}01FC5A6BE7BC6929AAD3B435B51404EE",
    "empty scheme": "{}x",
    "empty data": "{CRYPT}",
    "empty PLAIN": "{PLAIN}",
    "crypt's failure": "{CRYPT}*0",
    "another of crypt's failures": "{CRYPT}*1",
    "a locked shadow entry": "{CRYPT}!$6$salt$x",
    "x of passwd": "{CRYPT}x",
    "unknown encoding": "{PLAIN.rot13}grfg",
    "bad hexadecimal": "{PLAIN.hex}zz",
    "bad base64": "{SSHA}!!!!",
    "loose base64": "{SHA}qUqP5cyxm6Yc\nTAhz05Hph5gvu9M=",
    "short digest": "{SHA}" + base64.b64encode(b"x" * 19).decode(),
    "long digest": "{SHA}" + base64.b64encode(b"x" * 21).decode(),
    "no salt": "{SSHA}" + base64.b64encode(b"x" * 20).decode(),
    "long salt": "{SSHA}" + base64.b64encode(b"x" * 85).decode(),
    "yescrypt": "{CRYPT}$y$j9T$salt$hash",
    "bcrypt's faulty variant": f"$2x$04${SALT22}{DIGEST31}",
    "bcrypt, short": f"$2b$04${SALT22}{DIGEST31[1:]}",
    "bcrypt, long": f"$2b$04${SALT22}{DIGEST31}x",
    "bcrypt, cost of 3": f"$2b$03${SALT22}{DIGEST31}",
    "bcrypt, cost of 32": f"$2b$32${SALT22}{DIGEST31}",
    "bcrypt, cost without its zero": f"$2b$4${SALT22}{DIGEST31}",
    "bcrypt, line feed": f"$2b$04${SALT22}{DIGEST31}\n",
    "sha-crypt, few rounds": f"$5$rounds=999$salt${DIGEST43}",
    "sha-crypt, zero before": f"$5$rounds=05000$salt${DIGEST43}",
    "sha-crypt, too many rounds": f"$5$rounds=1000000000$salt${DIGEST43}",
    "sha-crypt, other length": f"$6$salt${DIGEST43}",
    "sha-crypt, negative": f"$5$rounds=-1000$salt${DIGEST43}",
    "sha-crypt, other digits": f"$5$rounds=١٠٠٠٠$salt${DIGEST43}",
    "says another": f"{{BLF-CRYPT}}$5$salt${DIGEST43}",
    "says ARGON2I": f"{{ARGON2I}}$argon2id$v=19$m=64,t=1,p=1$c2FsdHNhbHQ${B64_32}",
    "says ARGON2": f"{{ARGON2}}$2b$04${SALT22}{DIGEST31}",
    "says SSHA": f"{{SSHA}}$2b$04${SALT22}{DIGEST31}",
    "argon2d": f"$argon2d$v=19$m=64,t=1,p=1$c2FsdHNhbHQ${B64_32}",
    "argon2, other order": f"$argon2id$v=19$t=1,m=64,p=1$c2FsdHNhbHQ${B64_32}",
    "argon2, other version": f"$argon2id$v=20$m=64,t=1,p=1$c2FsdHNhbHQ${B64_32}",
    "argon2, no time": f"$argon2id$v=19$m=64,t=0,p=1$c2FsdHNhbHQ${B64_32}",
    "argon2, little memory": f"$argon2id$v=19$m=8,t=1,p=2$c2FsdHNhbHQ${B64_32}",
    "argon2, short salt": f"$argon2id$v=19$m=64,t=1,p=1$c2FsdA${B64_32}",
    "argon2, short digest": "$argon2id$v=19$m=64,t=1,p=1$c2FsdHNhbHQ$c2FsdA",
    "scrypt, no N": f"$scrypt$ln=0,r=8,p=1$c2FsdA${B64_32}",
    "scrypt, N beyond r": f"$scrypt$ln=16,r=1,p=1$c2FsdA${B64_32}",
    "scrypt, p beyond r": f"$scrypt$ln=4,r=1073741824,p=1$c2FsdA${B64_32}",
    "scrypt, short digest": "$scrypt$ln=4,r=8,p=1$c2FsdA$c2FsdA",
    "scrypt, its own form": "{SCRYPT}16384$8$1$x",
    "pbkdf2, no rounds": f"{{PBKDF2-SHA256}}0$c2FsdA${B64_32}",
    "pbkdf2, other hash": f"{{PBKDF2-SHA512}}100$c2FsdA${B64_32}",
    "pbkdf2, no salt": f"{{PBKDF2-SHA256}}100$${B64_32}",
    "pbkdf2, Dovecot's of another hash": "{PBKDF2-SHA256}$1$salt$100$" + "0" * 40,
    "scram, no rounds": "{SCRAM-SHA-1}0,c2FsdA==,x,y",
    "scram, short keys": "{SCRAM-SHA-1}4096,c2FsdA==,c2FsdA==,c2FsdA==",
    "scram, no ServerKey": "{SCRAM-SHA-1}4096,c2FsdA==,NA/OqmF4hhrsrB9KR7po+dliTGM=",
    "too long": "{PLAIN}" + "x" * LONGEST_HASH,
    "NUL": "{CRYPT}\0",
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_refused(name: str) -> None:
    """Fails closed, as an error of ours that shows nothing of the hash."""
    with pytest.raises(BackendError) as caught:
        parse_hash(REFUSED[name].encode())
    error = caught.value
    assert (error.code, error.temporary) == ("bad-hash", False)
    told = f"{error} {error.detail} {error!r}"
    for secret in (SALT22, DIGEST31, DIGEST43, B64_32, "c2FsdA", "rot13}grfg"):
        assert secret not in told
    assert error.__cause__ is None


def test_the_longest_is_read() -> None:
    """The bound itself is within."""
    text = b"{PLAIN}" + b"x" * (LONGEST_HASH - 7)
    assert len(parse_hash(text).digest) == LONGEST_HASH - 7


@given(
    st.one_of(
        st.binary(max_size=80),
        st.tuples(
            st.sampled_from(sorted(EXAMPLES.values())), st.integers(0, 120), st.binary(max_size=3)
        ).map(lambda made: made[0].encode()[: made[1]] + made[2] + made[0].encode()[made[1] :]),
        st.tuples(
            st.sampled_from([*SUPPORTED, "CRYPT", "MD5", "ARGON2"]),
            st.sampled_from(["", ".hex", ".b64"]),
            st.binary(max_size=80),
        ).map(lambda made: b"{%b%b}%b" % (made[0].encode(), made[1].encode(), made[2])),
    )
)
@example(b"{SSHA.hex}")
@example(b"\xff")
def test_anything_is_refused_or_read(text: bytes) -> None:
    """No exception but ours; what is read has a cost that its scheme can have."""
    try:
        read = parse_hash(text)
    except BackendError:
        return
    assert parse_label(read.label) == (read.scheme, read.cost)
    assert read.digest


def test_nothing_secret_is_shown() -> None:
    """The repr of a hash has its scheme and cost only."""
    shown = repr(parse_hash(f"$2b$04${SALT22}{DIGEST31}".encode()))
    assert SALT22 not in shown
    assert DIGEST31 not in shown
    assert "BLF-CRYPT" in shown


# --- computing ----------------------------------------------------------------------------


@pytest.mark.parametrize("name", EXAMPLES)
def test_each_bit_counts(name: str) -> None:
    """A password, a salt or a digest that differs a little does not match."""
    stored = parse_hash(EXAMPLES[name].encode())
    right = PASSWORD.encode()
    assert work.matches(stored, right, TIM)
    for wrong in (right[:-1], b"x" + right[1:], right.swapcase()):
        assert not work.matches(stored, wrong, TIM)
    digest = stored.digest[:-2] + bytes([stored.digest[-2] ^ 1]) + stored.digest[-1:]
    other = StoredHash(stored.scheme, stored.cost, stored.salt, digest, stored.version)
    assert not work.matches(other, right, TIM)


@pytest.mark.parametrize("scheme", SUPPORTED)
def test_a_decoy_costs_what_its_label_says_and_matches_nothing(scheme: str) -> None:
    """What is made up can be computed as a real hash can, by a password of any length."""
    cheap = {"BLF-CRYPT": ":4", "SCRYPT": ":16:8:1", "ARGON2ID": ":8:1:1", "ARGON2I": ":8:1:1"}
    label = scheme + cheap.get(scheme, "")
    decoy = make_decoy(label, lambda size: bytes(range(size)))
    assert decoy.label.startswith(label)
    for password in (b"x", b"x" * 512):
        assert not work.matches(decoy, password, TIM)


def test_a_salts_loose_bits_do_not_count() -> None:
    """Bcrypt's last salt character has four bits too many; other libraries leave them set."""
    text = EXAMPLES["bcrypt"].encode()
    loose = bytearray(text)
    alphabet = b"./ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789"
    loose[28] = alphabet[alphabet.index(loose[28]) | 1]
    assert bytes(loose) != text
    assert work.matches(parse_hash(bytes(loose)), PASSWORD.encode(), TIM)


@pytest.mark.parametrize("message", [b"", b"abc", b"x" * 55])
def test_the_state_of_md5(message: bytes) -> None:
    """RFC 1321: of a message that fills one block with its padding, the state is the digest."""
    block = (message + b"\x80").ljust(56, b"\0") + (8 * len(message)).to_bytes(8, "little")
    assert md5_state(block) == hashlib.md5(message, usedforsecurity=False).digest()


def test_hmac_md5_of_a_long_password() -> None:
    """RFC 2104: a key of more than a block is hashed first."""
    long = b"k" * 65
    assert hmac_md5_states(long) == hmac_md5_states(
        hashlib.md5(long, usedforsecurity=False).digest()
    )


@pytest.mark.parametrize("name", ["ssha", "SHA1", "cleartext", "Pbkdf2"])
def test_names_of_schemes(name: str) -> None:
    """Any case, and aliases."""
    assert canonical_scheme(name) in SUPPORTED
    assert canonical_scheme(name + "x") is None
