"""The options of `[pwcheck.hashes]`: each changes something, and what is wrong is said."""

from __future__ import annotations

import importlib.util
from typing import Any

import pytest

from hash_kit import CHEAP, EXAMPLES, PASSWORD, config, give
from sasl_auxprop.memory import MemoryStore
from sasl_core import AuthenticationError, BackendError, PluginError, Server
from sasl_pwcheck.hashes import work
from sasl_pwcheck.hashes.decoys import parse_label
from sasl_pwcheck.hashes.options import HashesOptions
from sasl_pwcheck.hashes.schemes import DEFAULT, SUPPORTED, WEAK, StoredHash

B64_32 = "ZGRkZGRkZGRkZGRkZGRkZGRkZGRkZGRkZGRkZGRkZGQ"
D43, D86 = "d" * 43, "d" * 86


@pytest.fixture
def computed(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The label of each hash that would be computed; none is."""
    labels: list[str] = []

    def spy(stored: Any, password: bytes, user: Any) -> bool:
        labels.append(stored.label)
        return False

    monkeypatch.setattr(work, "matches", spy)
    return labels


def refused(options: dict[str, Any], text: str, password: str = PASSWORD) -> str:
    """Try to log in as a user with this hash; the administrator's detail."""
    store = MemoryStore()
    give(store, "alice", text)
    settings = config(**options) | {"pwcheck_method": ["hashes"]}
    with (
        Server("imap", "mail.example.com", config=settings, stores=[store]) as server,
        server.session() as session,
    ):
        with pytest.raises(AuthenticationError):
            session.start("PLAIN", f"\0alice\0{password}".encode())
        return str(session.error_detail)


def problem(**options: Any) -> str:
    """What is wrong with these options."""
    with Server("imap", "mail.example.com", config=config(**options)) as server:
        with pytest.raises(PluginError) as caught:
            server.core.password_plug("hashes")
        return str(caught.value)


# A hash at the cap by default, the same one step dearer, and the option.
DEAREST = [
    ("$2b$14$" + "a" * 53, "$2b$15$" + "a" * 53, "bcrypt_cost_cap", 15),
    (f"$6$rounds=1000000$s${D86}", f"$6$rounds=1000001$s${D86}", "sha_crypt_rounds_cap", 1_000_001),
    (f"$5$rounds=1000000$s${D43}", f"$5$rounds=1000001$s${D43}", "sha_crypt_rounds_cap", 1_000_001),
    (
        f"$argon2id$v=19$m=262144,t=16,p=8$c2FsdHNhbHQ${B64_32}",
        f"$argon2id$v=19$m=262145,t=16,p=8$c2FsdHNhbHQ${B64_32}",
        "memory_cap",
        262_145,
    ),
    (
        f"$argon2i$v=19$m=262144,t=16,p=8$c2FsdHNhbHQ${B64_32}",
        f"$argon2i$v=19$m=262144,t=17,p=8$c2FsdHNhbHQ${B64_32}",
        "argon2_time_cap",
        17,
    ),
    (
        f"$argon2id$v=19$m=262144,t=16,p=8$c2FsdHNhbHQ${B64_32}",
        f"$argon2id$v=19$m=262144,t=16,p=9$c2FsdHNhbHQ${B64_32}",
        "parallelism_cap",
        9,
    ),
    (
        f"$scrypt$ln=18,r=8,p=8$c2FsdA${B64_32}",
        f"$scrypt$ln=19,r=8,p=8$c2FsdA${B64_32}",
        "memory_cap",
        524_288,
    ),
    (
        f"$scrypt$ln=18,r=8,p=8$c2FsdA${B64_32}",
        f"$scrypt$ln=18,r=8,p=9$c2FsdA${B64_32}",
        "parallelism_cap",
        9,
    ),
    (
        f"$pbkdf2-sha256$2000000$c2FsdA${B64_32}",
        f"$pbkdf2-sha256$2000001$c2FsdA${B64_32}",
        "pbkdf2_rounds_cap",
        2_000_001,
    ),
]


@pytest.mark.parametrize(
    ("within", "beyond", "option", "raised"), DEAREST, ids=[f"{r[2]} {r[0][:8]}" for r in DEAREST]
)
def test_caps(computed: list[str], within: str, beyond: str, option: str, raised: int) -> None:
    """At the cap it is computed, above it a decoy is, and the option is named that lifts it."""
    assert option not in refused({}, within)
    assert computed.pop() != CHEAP
    assert f"{option} = " in refused({}, beyond)
    assert computed == [CHEAP]
    assert option not in refused({option: raised}, beyond)
    assert computed.pop() != CHEAP


def test_scram_has_the_cores_cap(computed: list[str]) -> None:
    """`scram_iteration_cap` counts for SCRAM's stored keys here as elsewhere."""
    text = EXAMPLES["SCRAM-SHA-256"].replace("4096,", "1000001,")
    assert "scram_iteration_cap = 1000000" in refused({}, text)
    assert computed == [CHEAP]


@pytest.mark.parametrize("scheme", SUPPORTED)
def test_what_is_accepted(scheme: str) -> None:
    """Weak schemes only where they are named, the others unless they are left out."""
    stored = StoredHash(scheme, SUPPORTED[scheme].usual)
    assert (HashesOptions().refusal(stored) is None) is (scheme in DEFAULT)
    assert HashesOptions(weak_schemes=WEAK).refusal(stored) is None
    others = tuple(name for name in DEFAULT if name != scheme)
    without = str(HashesOptions(schemes=others).refusal(stored))
    assert (
        scheme not in DEFAULT or without == f"scheme {scheme} is not accepted; name it in schemes"
    )


@pytest.mark.parametrize(("name", "length"), [("BLF-CRYPT", 72), ("bcrypt", 72), ("DES-CRYPT", 8)])
def test_what_looks_at_a_beginning_only(computed: list[str], name: str, length: int) -> None:
    """A longer password is refused, by a decoy's work, unless truncate_passwords is set."""
    text = EXAMPLES[name]
    assert "truncate_passwords" not in refused({}, text, "x" * length)
    detail = refused({}, text, "x" * (length + 1))
    assert f"first {length} octets" in detail
    assert "truncate_passwords" in detail
    assert computed[1] == CHEAP
    assert "first" not in refused({"truncate_passwords": True}, text, "x" * (length + 1))


def test_truncated_passwords_match_as_with_crypt() -> None:
    """With truncate_passwords what stands after the last octet looked at does not count."""
    store = MemoryStore()
    give(store, "alice", EXAMPLES["DES-CRYPT"])
    settings = config(truncate_passwords=True) | {"auto_transition": "no"}
    with Server("imap", "mail.example.com", config=settings, stores=[store]) as server:
        assert server.checkpass("alice", PASSWORD + "and more") == "alice"


def test_the_longest_password_is_configured(computed: list[str]) -> None:
    """In octets."""
    assert "more than 72 octets" in refused({"longest_password": 72}, "{PLAIN}x", "x" * 73)
    assert computed == []
    assert "more than" not in refused({"longest_password": 73}, "{PLAIN}x", "x" * 73)


def test_the_usual_decoy(computed: list[str]) -> None:
    """Without decoys it is the first accepted scheme, at the cost that doveadm gives it."""
    _ = refused({"decoys": []}, "{INVALID}x")
    _ = refused({"decoys": [], "schemes": ["ARGON2ID", "BLF-CRYPT"]}, "{INVALID}x")
    _ = refused({"decoys": [], "schemes": [], "weak_schemes": ["ssha"]}, "{INVALID}x")
    assert computed == ["SHA512-CRYPT:5000", "ARGON2ID:65536:3:1", "SSHA"]


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"schemes": ["BLF"]}, "unknown scheme 'BLF'"),
        ({"schemes": ["SSHA"]}, "SSHA belongs into weak_schemes"),
        ({"weak_schemes": ["ARGON2ID"]}, "ARGON2ID belongs into schemes"),
        ({"weak_schemes": ["OTP"]}, "unknown scheme 'OTP'"),
        ({"schemes": [], "weak_schemes": [], "decoys": []}, "names any scheme"),
        ({"decoys": ["NONE:1"]}, "unknown scheme 'NONE'"),
        ({"decoys": ["BLF-CRYPT:"]}, "BLF-CRYPT:COST"),
        ({"decoys": ["BLF-CRYPT:3"]}, "numbers that BLF-CRYPT can have"),
        ({"decoys": ["BLF-CRYPT:04"]}, "BLF-CRYPT:COST"),
        ({"decoys": ["BLF-CRYPT:4:4"]}, "BLF-CRYPT:COST"),
        ({"decoys": ["SHA512-CRYPT:999"]}, "SHA512-CRYPT:ROUNDS"),
        ({"decoys": ["SCRYPT:1000:8:1"]}, "SCRYPT:N:R:PARALLELISM"),
        ({"decoys": ["ARGON2ID:8:1:2"]}, "ARGON2ID:MEMORY:TIME:PARALLELISM"),
        ({"decoys": ["PBKDF2:2147483648"]}, "PBKDF2-SHA1:ROUNDS"),
        ({"decoys": ["SSHA:5"]}, "of the form SSHA"),
        ({"decoys": ["BLF-CRYPT:15"]}, "bcrypt_cost_cap"),
        ({"decoys": ["BLF-CRYPT:4"], "schemes": ["SCRYPT"]}, "would be refused"),
        ({"bcrypt_cost_cap": 21}, "from 4 to 20"),
        ({"argon2_time_cap": 0}, "from 1 to 1000"),
        ({"memory_cap": 1023}, "from 1024 to 4194304"),
        ({"parallelism_cap": 65}, "from 1 to 64"),
        ({"sha_crypt_rounds_cap": 4999}, "from 5000 to 100000000"),
        ({"pbkdf2_rounds_cap": 100_000_001}, "from 5000 to 100000000"),
        ({"longest_password": 4097}, "from 72 to 4096"),
        ({"truncate": True}, "unknown option 'truncate'; did you mean 'truncate_passwords'?"),
    ],
    ids=str,
)
def test_what_is_wrong_is_said(options: dict[str, Any], said: str) -> None:
    """Before any login, with the key where it is one key's fault."""
    assert said in problem(**options)


def test_labels_without_numbers_have_the_usual_cost() -> None:
    """So that a scheme's name alone is a label."""
    assert parse_label("argon2id") == ("ARGON2ID", (65536, 3, 1))
    assert parse_label("SHA1") == ("SHA", ())


# --- the extra ----------------------------------------------------------------------------------


@pytest.fixture
def bare(monkeypatch: pytest.MonkeyPatch) -> None:
    """An installation without the extra `hashes`."""
    real = importlib.util.find_spec

    def find_spec(name: str, package: str | None = None) -> Any:
        return None if name in ("passlib", "bcrypt", "argon2") else real(name, package)

    monkeypatch.setattr("sasl_pwcheck.hashes.find_spec", find_spec)


@pytest.mark.usefixtures("bare")
def test_a_missing_library_is_told_before_any_login() -> None:
    """The method cannot be used, and what to install is said; for everybody alike."""
    told = problem()
    assert "pip install 'sasl-core[hashes]'" in told
    for scheme, package in (
        ("SHA512-CRYPT", "libpass"),
        ("BLF-CRYPT", "bcrypt"),
        ("ARGON2ID", "argon2-cffi"),
    ):
        assert scheme in told
        assert package in told
    with Server("imap", "mail.example.com", config=config(), stores=[MemoryStore()]) as server:
        for name in ("alice", "ghost"):
            with pytest.raises((BackendError, PluginError)):
                server.checkpass(name, "x")


@pytest.mark.usefixtures("bare")
def test_without_the_extra_the_standard_librarys_schemes_work() -> None:
    """PBKDF2, scrypt, SCRAM and salted digests need nothing."""
    store = MemoryStore()
    give(store, "alice", EXAMPLES["SSHA512"])
    options = {
        "schemes": ["SCRYPT", "PBKDF2-SHA256", "SCRAM-SHA-256"],
        "weak_schemes": ["SSHA512"],
        "decoys": ["SSHA512"],
    }
    with Server("imap", "h.example", config=config(**options), stores=[store]) as server:
        assert server.checkpass("alice", PASSWORD) == "alice"
