"""The members of the SCRAM family: what is offered, to whom, with how many rounds, and signed."""

from __future__ import annotations

import base64
import hashlib
import json
from importlib.metadata import distribution
from pathlib import Path
from typing import Any

import pytest

from logins import OPEN, USERS, client, login, plant, server
from sasl_auxprop.memory import MemoryStore
from sasl_core import (
    AuthenticationError,
    Client,
    MechanismError,
    PluginError,
    Result,
    SaslError,
    Server,
    SetpassFlag,
    UsageError,
    UserName,
)
from sasl_core.plugin import SCRAM_HASHES, CanonUserPlug, Found, is_mechanism_name
from sasl_core.runners import blocking as blocking_runner
from sasl_core.verifier import derive
from sasl_mechanisms.scram import FAMILY
from sasl_mechanisms.scram.offer import offer_hash
from store_kit import make_verifier

VECTORS: dict[str, Any] = json.loads(
    (Path(__file__).parent.parent / "vectors" / "scram.json").read_text("utf-8")
)
HASHES = tuple(SCRAM_HASHES)
EXPORTER = {"tls-exporter": bytes(range(32))}
TIM = UserName("tim")
ANY = {key: value for key, value in OPEN.items() if key != "client_mech_list"}


def name_of(hash_name: str) -> str:
    return f"SCRAM-{hash_name}"


def users(*hashes: str, rounds: int = 4096) -> MemoryStore:
    """A store whose users have verifiers of `hashes`."""
    store = MemoryStore()
    for user, password in USERS.items():
        store.add_user(user, password=password, hashes=hashes, iterations=rounds)
    return store


def verifiers(store: MemoryStore, user: UserName = TIM) -> dict[str, int]:
    """Hash -> rounds of what a user has."""
    found = store.read(user, ("authPassword",)).verifiers
    return {name: each.iterations for name, each in found.items()}


# --- the family ---------------


def test_each_member_is_declared() -> None:
    """Every hash has its mechanism and its entry point; -PLUS has none, and fits in a name."""
    points = {
        point.name
        for point in distribution("sasl-core").entry_points
        if point.group == "sasl_core.mechanisms" and point.value == "sasl_mechanisms.scram"
    }
    assert points == set(FAMILY) == set(map(name_of, HASHES))
    assert all(is_mechanism_name(f"{name}-PLUS") for name in FAMILY)
    for hash_name, bits in FAMILY.values():
        size = SCRAM_HASHES[hash_name][1]
        assert bits == 8 * size


@pytest.mark.parametrize("success_data", [True, False])
@pytest.mark.parametrize("plus", [True, False])
@pytest.mark.parametrize("hash_name", HASHES)
def test_each_member_logs_in(hash_name: str, plus: bool, success_data: bool) -> None:
    """Both sides agree on who it is, on the mechanism and on the binding."""
    name = name_of(hash_name)
    facts: dict[str, Any] = {"success_data": success_data}
    if plus:
        facts["channel_bindings"] = EXPORTER
    config = {**ANY, "mech_list": [name]}
    with (
        server([users(hash_name)], config=config) as ours,
        client(config=ANY) as theirs,
        ours.session(**facts) as near,
        theirs.session(authid="tim", password=USERS["tim"], **facts) as far,
    ):
        _ = login(far, near, near.mechanisms())
        assert near.mechanism == far.mechanism == (f"{name}-PLUS" if plus else name)
        assert near.authid == far.authid == "tim"
        assert near.channel_binding == far.channel_binding == ("tls-exporter" if plus else None)


@pytest.mark.parametrize("hash_name", HASHES)
def test_an_unknown_user_looks_like_any_other(hash_name: str) -> None:
    """The same lengths, the same rounds, the same salt each time, and the same last word."""
    config = {**ANY, "mech_list": [name_of(hash_name)]}
    seen: dict[str, set[object]] = {}
    with server([users(hash_name, rounds=5000)], config=config) as ours, client(config=ANY) as far:
        for user in ("tim", "nobody", "tim", "nobody"):
            near, session = ours.session(), far.session(authid=user, password="wrong")
            with pytest.raises(AuthenticationError) as caught:
                login(session, near, near.mechanisms(), to_client=keep)
            _, salt, rounds = said.pop().split(b",")
            seen.setdefault(user, set()).add(salt)
            seen.setdefault("shape", set()).add((rounds, len(salt), caught.value.wire))
    assert seen["shape"] == {(b"i=5000", len(b"s=" + base64.b64encode(bytes(16))), WRONG)}
    assert len(seen["tim"]) == len(seen["nobody"]) == 1
    assert seen["tim"] != seen["nobody"]


WRONG = b"e=invalid-proof"
said: list[bytes] = []


def keep(number: int, data: bytes | None) -> bytes | None:
    """Note the server's first message as it goes by."""
    if number == 0:
        said.append(data or b"")
    return data


def test_the_longest_hash_goes_first() -> None:
    """Of all that a server offers a client takes the longest hash, and SHA-1 only at the end."""
    names = [*map(name_of, HASHES)]
    with client(config=ANY) as owner:
        order = []
        while names:
            session = owner.session(authid="tim", password="x")
            _ = session.start(names)
            assert session.mechanism is not None
            order.append(session.mechanism.removeprefix("SCRAM-"))
            names.remove(session.mechanism)
    assert order == ["SHA-512", "SHA3-512", "SHA-384", "SHA-256", "SHA-224", "SHA-1"]


def test_binding_goes_before_the_longer_hash() -> None:
    """A client that can be bound takes the mechanism that binds, whatever the others' hashes."""
    offered = ["SCRAM-SHA-512", "SCRAM-SHA-1-PLUS", "SCRAM-SHA-1", "PLAIN"]
    with client(config=ANY) as owner:
        bound = owner.session(authid="tim", password="x", channel_bindings=EXPORTER)
        _ = bound.start(offered)
        assert bound.mechanism == "SCRAM-SHA-1-PLUS"
        bare = owner.session(authid="tim", password="x")
        _ = bare.start(offered)
        assert bare.mechanism == "SCRAM-SHA-512"


# --- which hashes a server has ---------------


def test_what_is_offered_by_default_is_what_users_get_by_default() -> None:
    """Whoever is made with nothing configured can log in by whatever a client chooses then."""
    store = MemoryStore()
    with Server("imap", "h.example", config={}, stores=[store]) as ours:
        assert ours.setpass("tim", "pencil", SetpassFlag.CREATE).ok
        assert verifiers(store) == {"SHA-256": 15_000}
        with Client("imap", "h.example", config={}) as theirs:
            near = ours.session(external_ssf=256)
            far = theirs.session(authid="tim", password="pencil", external_ssf=256)
            _ = login(far, near, near.mechanisms())
        offered = ours.session(external_ssf=256, channel_bindings=EXPORTER).mechanisms()
        rejected = ours.session().rejected
    assert [name for name in offered if name.startswith("SCRAM")] == [
        "SCRAM-SHA-256-PLUS", "SCRAM-SHA-256",
    ]  # fmt: skip
    for name in FAMILY.keys() - {"SCRAM-SHA-256"}:
        assert "scram_hashes" in rejected[name]


@pytest.mark.parametrize(
    ("config", "written", "offered"),
    [
        ({}, ["SHA-256"], ["SHA-256"]),
        ({"mech_list": ["PLAIN"]}, ["SHA-256"], []),
        ({"mech_list": ["SCRAM-SHA-512"]}, ["SHA-512"], ["SHA-512"]),
        (
            {"mech_list": ["SCRAM-SHA-1", "PLAIN", "SCRAM-SHA3-512-PLUS"]},
            ["SHA-1", "SHA3-512"],
            ["SHA-1"],
        ),
        ({"scram_hashes": list(HASHES)}, list(HASHES), list(HASHES)),
        (
            {"scram_hashes": ["SHA-256", "SHA-512"], "mech_list": ["SCRAM-SHA-256", "PLAIN"]},
            ["SHA-256", "SHA-512"],
            ["SHA-256"],
        ),
        (
            {"scram_hashes": ["SHA-256"], "mech_list": ["SCRAM-SHA-512", "SCRAM-SHA-256"]},
            ["SHA-256"],
            ["SHA-256"],
        ),
        ({"scram_hashes": ["SHA-512"], "mech_list": ["PLAIN"]}, ["SHA-512"], []),
    ],
)
def test_hashes_that_are_written_and_offered(
    config: dict[str, object], written: list[str], offered: list[str]
) -> None:
    """`scram_hashes` says both, else `mech_list`, else it is SHA-256; the report names them."""
    store = MemoryStore()
    with server([store], config={**ANY, **config}) as ours:
        report = ours.setpass("tim", "pencil", SetpassFlag.CREATE)
        assert {t.target for t in report.targets} == {"auxprop:memory", *map(name_of, written)}
        names = ours.session().mechanisms()
        assert {n for n in names if n.startswith("SCRAM")} == set(map(name_of, offered))
        assert set(verifiers(store)) == set(written)
        for name in offered:
            with client(config={**ANY, "client_mech_list": [name_of(name)]}) as theirs:
                far = theirs.session(authid="tim", password="pencil")
                _ = login(far, ours.session(), names)
        # The one to be locked out is locked out by whatever mechanism.
        assert ours.setpass("tim", None, SetpassFlag.DISABLE).ok


def test_no_hash_at_all_is_no_scram() -> None:
    """An empty list offers none and writes none, and says that the password has no home then."""
    with server([MemoryStore()], config={**ANY, "scram_hashes": []}) as ours:
        assert ours.session().mechanisms() == ("PLAIN", "ANONYMOUS")
        with pytest.raises(SaslError, match="nobody keeps the password"):
            ours.setpass("tim", "pencil", SetpassFlag.CREATE)


def test_a_new_password_leaves_no_verifier_of_the_old_one() -> None:
    """Hashes that are not written any more go with the password that they were of."""
    store = users("SHA-1", "SHA-256", "SHA-512")
    with server([store], config=ANY) as ours:
        assert ours.setpass("tim", "another").ok
    assert set(verifiers(store)) == {"SHA-256"}


def test_one_mechanism_alone_writes_its_own() -> None:
    """CURMECH_ONLY of a hash that is not configured does as it is told, and leaves the others."""
    store = users("SHA-256")
    with server([store], config=ANY) as ours:
        report = ours.setpass("tim", "another", SetpassFlag.CURMECH_ONLY, mechanism="SCRAM-SHA-384")
        assert report.ok
    assert set(verifiers(store)) == {"SHA-256", "SHA-384"}


def test_transition_writes_the_configured_hashes() -> None:
    """A password that was verified elsewhere becomes verifiers of `scram_hashes`."""
    store = MemoryStore()
    config = {**ANY, "auto_transition": "noplain", "scram_hashes": ["SHA-1", "SHA-384"]}
    with server([store], config=config, checkpass=lambda *_: Result.OK) as ours:
        assert ours.session().start("PLAIN", b"\0tim\0pencil").done
    assert verifiers(store) == {"SHA-1": 4096, "SHA-384": 4096}


@pytest.mark.parametrize(
    ("config", "has", "derived"),
    [
        ({"scram_hashes": ["SHA-512"]}, ["SHA-512"], "SHA-512"),
        ({"scram_hashes": ["SHA-512", "SHA-1"]}, ["SHA-1", "SHA-512"], "SHA-512"),
        ({"scram_hashes": ["SHA-512", "SHA-256"]}, ["SHA-256", "SHA-512"], "SHA-256"),
        ({"scram_hashes": ["SHA-1"]}, ["SHA-1", "SHA-512"], "SHA-1"),
        ({"scram_hashes": []}, ["SHA-256"], "SHA-256"),
        ({}, ["SHA-256"], "SHA-256"),
    ],
)
def test_a_plaintext_password_costs_the_same_for_everybody(
    config: dict[str, object], has: list[str], derived: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """PLAIN derives by a hash that users are expected to have, for unknown users as well."""
    calls: list[tuple[str, int]] = []

    def counted(hash_name: str, password: bytes, salt: bytes, iterations: int) -> bytes:
        calls.append((hash_name, iterations))
        return derive(hash_name, password, salt, iterations)

    store = users(*has)
    monkeypatch.setattr(blocking_runner, "derive", counted)
    with server([store], config={**ANY, **config}) as ours:
        for user in ("tim", "nobody"):
            with pytest.raises(AuthenticationError):
                ours.session().start("PLAIN", f"\0{user}\0wrong".encode())
    assert calls == [(derived, 4096)] * 2


def test_a_user_without_that_hash_is_told_apart_by_nobody_but_the_log() -> None:
    """Offered SHA-512, a user who has SHA-256 alone fails like a wrong password."""
    config = {**ANY, "scram_hashes": ["SHA-256", "SHA-512"]}
    with server([users("SHA-256")], config=config) as ours, client(config=ANY) as theirs:
        near = ours.session()
        far = theirs.session(authid="tim", password=USERS["tim"])
        with pytest.raises(AuthenticationError) as caught:
            login(far, near, near.mechanisms())
    assert caught.value.wire == WRONG
    assert "has no verifier of this hash" in str(near.error_detail)


# --- rounds of decoys ---------------


def decoy(owner: Server, hash_name: str) -> int:
    """The rounds that an unknown user is told."""
    first = owner.session().start(name_of(hash_name), b"n,,n=nobody,r=aaaaaaaaaaaaaaaa").data
    return int((first or b"").rpartition(b"i=")[2])


def test_a_decoy_has_the_rounds_of_its_hash() -> None:
    """Where the store's verifiers differ from hash to hash, so do decoys."""
    store = MemoryStore()
    for name, rounds in (("SHA-256", 6000), ("SHA-512", 7000)):
        made = (make_verifier("x", "SHA-1", 5000), make_verifier("x", name, rounds))
        store.add_user(f"tim-{name}", properties={"authPassword": made})
    config = {**ANY, "scram_hashes": list(HASHES), "scram_iteration_counter": "SHA-384:9000"}
    with server([store], config=config) as ours:
        assert {name: decoy(ours, name) for name in HASHES} == {
            "SHA-1": 5000, "SHA-224": 15_000, "SHA-256": 6000, "SHA-384": 9000,
            "SHA-512": 7000, "SHA3-512": 15_000,
        }  # fmt: skip


def test_a_cap_does_not_tell_decoys_from_verifiers() -> None:
    """SCRAM hands out verifiers of more rounds than the cap, and so it does decoys."""
    with server(
        [users("SHA-256", "SHA-512", rounds=9000)],
        config={
            **ANY,
            "scram_hashes": ["SHA-256", "SHA-512"],
            "scram_iteration_cap": "SHA-512:8000",
        },
    ) as ours:
        assert (decoy(ours, "SHA-256"), decoy(ours, "SHA-512")) == (9000, 9000)


@pytest.mark.parametrize("rounds", [-5, 0, True, 2**31, {"SHA-256": -3}])
def test_a_store_that_counts_wrong_is_named_for_everybody(rounds: Any) -> None:
    """Rounds that no verifier has break the look-up of a known user as of an unknown one."""

    class Wrong(MemoryStore):
        def read(self, user: Any, names: Any) -> Found:
            found = super().read(user, names)
            return Found(found.result, found.values, found.verifiers, None, rounds)

    store = Wrong({"tim": USERS["tim"]})
    with server([store], config={**ANY}) as ours:
        for name in ("tim", "nobody"):
            with ours.session() as session, pytest.raises(PluginError, match="rounds"):
                session.start("SCRAM-SHA-256", f"n,,n={name},r=abcdefghijklmnop".encode())


def test_a_client_that_requires_a_signed_offer_sends_no_password_for_it() -> None:
    """An offer stripped to PLAIN is no way around it, unless the application names PLAIN."""
    config = {"scram_downgrade_protection": "require"}
    facts: Any = {"authid": "tim", "password": "x", "external_ssf": 256}
    with (
        client(config=config) as owner,
        owner.session(**facts) as session,
        pytest.raises(MechanismError, match="scram_downgrade_protection"),
    ):
        session.start(["PLAIN"])
    named = {**config, "client_mech_list": ["SCRAM-SHA-256", "PLAIN"]}
    with client(config=named) as owner, owner.session(**facts) as session:
        session.start(["PLAIN"])
        assert session.mechanism == "PLAIN"


def test_decoys_of_several_stores_are_known_by_hash() -> None:
    """Each hash follows the first store that has verifiers of it."""
    first, second = users("SHA-256", rounds=6000), users("SHA-256", "SHA-512", rounds=7000)
    second.name = "second"
    with server([first, second], config={**ANY, "scram_hashes": list(HASHES)}) as ours:
        assert [decoy(ours, name) for name in ("SHA-256", "SHA-512", "SHA-1")] == [6000, 7000, 4096]


def test_a_store_may_say_one_number_for_all() -> None:
    """A store that knows no hashes says a number, and every hash's decoy has it."""
    assert Found(decoy_iterations=5000).decoy_rounds("SHA-1") == 5000
    assert Found(decoy_iterations={"SHA-1": 5000}).decoy_rounds("SHA-1") == 5000
    assert Found(decoy_iterations={"SHA-1": 5000}).decoy_rounds("SHA-256") is None
    assert Found().decoy_rounds("SHA-256") is None


# --- the signed offer (XEP-0474) ---------------


def test_the_published_hash_of_an_offer() -> None:
    """The order in which names were sent does not count, nor that one was sent twice."""
    names, types = ("SCRAM-SHA-1", "SCRAM-SHA-1-PLUS"), ("tls-exporter", "tls-server-end-point")
    published = b"G6k/rBLDqgOhRRaCuuatSDFkJ08="
    assert offer_hash("SHA-1", names, types) == published
    assert offer_hash("SHA-1", names[::-1] + names, types[::-1]) == published
    assert offer_hash("SHA-1", names[:1], types) != published
    assert offer_hash("SHA-1", names, types[:1]) != published
    # Without types nothing stands for them, not even what would stand between.
    bare = hashlib.sha256(b"SCRAM-SHA-1\x1eSCRAM-SHA-1-PLUS").digest()
    assert offer_hash("SHA-256", names, ()) == base64.b64encode(bare)
    # i;octet: by code, not by alphabet.
    octets = hashlib.sha1(b"A-B\x1eA1\x1eA_\x1eAa", usedforsecurity=False).digest()
    assert offer_hash("SHA-1", ("Aa", "A_", "A1", "A-B"), ()) == base64.b64encode(octets)


SIGNED = {**ANY, "scram_hashes": ["SHA-256", "SHA-512"], "scram_downgrade_protection": "want"}


@pytest.mark.parametrize("policy", ["off", "want", "require"])
@pytest.mark.parametrize("plus", [True, False])
@pytest.mark.parametrize("types", [(), ("tls-unique", "tls-exporter")])
def test_an_offer_that_came_whole(policy: str, plus: bool, types: tuple[str, ...]) -> None:
    """Who heard what was offered logs in, whether it looks at the signature or not."""
    facts: dict[str, Any] = {"advertised_bindings": types}
    if plus:
        facts["channel_bindings"] = EXPORTER
    with (
        server([users("SHA-256", "SHA-512")], config=SIGNED) as ours,
        client(config={**ANY, "scram_downgrade_protection": policy}) as theirs,
        ours.session(**facts) as near,
        theirs.session(authid="tim", password=USERS["tim"], **facts) as far,
    ):
        messages = login(far, near, near.mechanisms())
        assert near.mechanism == ("SCRAM-SHA-512-PLUS" if plus else "SCRAM-SHA-512")
        value = offer_hash("SHA-512", near.mechanisms(), types)
        assert (messages[1] or b"").endswith(b",h=" + value)


@pytest.mark.parametrize("policy", ["want", "require"])
@pytest.mark.parametrize(
    ("without", "types"),
    [
        (["SCRAM-SHA-512"], ("tls-unique",)),
        (["PLAIN"], ("tls-unique",)),
        ([], ()),
        ([], ("tls-unique", "tls-exporter")),
    ],
)
def test_a_changed_offer_is_refused(
    policy: str, without: list[str], types: tuple[str, ...]
) -> None:
    """A mechanism or a type that somebody removed ends the login before a proof is given away."""
    with (
        server([users("SHA-256", "SHA-512")], config=SIGNED) as ours,
        client(config={**ANY, "scram_downgrade_protection": policy}) as theirs,
        ours.session(advertised_bindings=("tls-unique",)) as near,
        theirs.session(authid="tim", password=USERS["tim"], advertised_bindings=types) as far,
    ):
        heard = [name for name in near.mechanisms() if name not in without]
        first = far.start(heard)
        challenge = near.start(far.mechanism or "", first.data).data or b""
        with pytest.raises(AuthenticationError) as caught:
            far.step(challenge)
        assert caught.value.result is Result.BADSERV
        assert "removed" in str(caught.value.detail)
        assert caught.value.wire is None


def test_a_forged_signature_is_worth_nothing() -> None:
    """Who changes the offer and the hash too has changed what both sides sign."""
    for forged in (b"", b",h=%b"):
        with (
            server([users("SHA-256", "SHA-512")], config=SIGNED) as ours,
            client(config={**ANY, "scram_downgrade_protection": "want"}) as theirs,
            ours.session() as near,
            theirs.session(authid="tim", password=USERS["tim"]) as far,
        ):
            heard = tuple(n for n in near.mechanisms() if n != "SCRAM-SHA-512")
            value = offer_hash("SHA-256", heard, ())
            more = forged % value if forged else b""
            first = far.start(heard)
            assert far.mechanism == "SCRAM-SHA-256"
            challenge = near.start(far.mechanism, first.data).data or b""
            answer = far.step(challenge.partition(b",h=")[0] + more)
            with pytest.raises(AuthenticationError):
                near.step(answer.data or b"")
            assert not near.done


def test_a_server_that_signs_nothing() -> None:
    """`want` puts up with it, `require` does not, and says which option it was."""
    with (
        server(config=ANY) as ours,
        client(config={**ANY, "scram_downgrade_protection": "want"}) as owner,
    ):
        far = owner.session(authid="tim", password=USERS["tim"])
        near = ours.session()
        _ = login(far, near, near.mechanisms())
    required = {**ANY, "scram_downgrade_protection": "require"}
    with server(config=ANY) as ours, client(config=required) as owner:
        far = owner.session(authid="tim", password=USERS["tim"])
        near = ours.session()
        with pytest.raises(AuthenticationError) as caught:
            login(far, near, near.mechanisms())
    assert "scram_downgrade_protection" in str(caught.value.detail)


@pytest.mark.parametrize(
    "value",
    [
        "tls-unique",
        b"tls-unique",
        [b"tls-unique"],
        [1],
        [""],
        ["tls-exporter\x1etls-unique"],
        ["\x1f"],
        ["\ud800"],
    ],
)
def test_advertised_types_are_names(value: Any) -> None:
    """One name in place of several, or what is no text, is a mistake of the application."""
    with client() as owner, pytest.raises(UsageError, match="advertised_bindings"):
        owner.session(authid="tim", password="x", advertised_bindings=value)


# --- the rest of the vectors ---------------


class AsTyped(CanonUserPlug):
    """Leaves names alone, as MongoDB does."""

    name = "INTERNAL"

    def canon_user_server(self, ctx: Any, user: str, flags: Any) -> str:
        return user

    canon_user_client = canon_user_server


@pytest.mark.parametrize("vector", VECTORS["mongo_saslprep_users"], ids=lambda v: v["username"])
def test_passwords_are_prepared_where_names_are_not(vector: dict[str, Any]) -> None:
    """Two users whose names SASLprep would make one stay two, each with its own password."""
    store = MemoryStore()
    for user in VECTORS["mongo_saslprep_users"]:
        store.add_user(user["username"], password=user["stored_password"])
    with server([store], config=ANY) as ours, client(config=ANY) as theirs:
        for owner in (ours, theirs):
            plant(owner, "canon_user", AsTyped())
        for other in VECTORS["mongo_saslprep_users"]:
            for password in other["accept"]:
                near = ours.session()
                far = theirs.session(authid=vector["username"], password=password)
                if other is vector:
                    _ = login(far, near, near.mechanisms())
                    assert near.authid == vector["username"]
                else:
                    with pytest.raises(AuthenticationError):
                        login(far, near, near.mechanisms())


def test_a_mechanism_outside_the_family_is_unknown() -> None:
    """A hash that nobody installed is refused by name, -PLUS of PLAIN as well."""
    with server(config=ANY) as ours:
        for name in ("SCRAM-MD5", "SCRAM-SHA-999", "SCRAM-SHA-256-PLUS-PLUS", "PLAIN-PLUS"):
            with pytest.raises(MechanismError):
                ours.session().start(name, b"n,,n=tim,r=aaaaaaaaaaaaaaaa")
