"""precis: the profiles of RFC 8265 as the vectors have them, and names that stay themselves."""

from __future__ import annotations

import json
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from logins import OPEN, client, login, server, store
from sasl_canon.precis import NAME_LIMIT, REALM_LIMIT, PrecisCanonicalizer, Profile, enforcer
from sasl_core import Client, PeerError, Server, Side, UserName
from sasl_core.errors import PluginError
from sasl_core.plugin import CanonContext, CanonFlag
from stopwatch import within

VECTORS: list[dict[str, Any]] = json.loads(
    (Path(__file__).parents[1] / "vectors" / "precis.json").read_text("utf-8")
)["vectors"]
BOTH = CanonFlag.AUTHID | CanonFlag.AUTHZID

# What a canonicaliser's profile has to say about the vectors of each profile. OpaqueString is
# FreeformClass with NFC and one blank for all (RFC 8265 section 4.2.2), and no vector of
# FreeFormClass that is accepted holds another blank.
ASKED = {
    "UsernameCaseMapped": Profile.USERNAME_CASE_MAPPED,
    "UsernameCasePreserved": Profile.USERNAME_CASE_PRESERVED,
    "OpaqueString": Profile.OPAQUE_STRING,
    "FreeFormClass": Profile.OPAQUE_STRING,
}
ENFORCED = {profile: enforcer(profile) for profile in Profile}
PLUGS = {profile: PrecisCanonicalizer(profile) for profile in Profile}
OURS = [vector for vector in VECTORS if vector["profile"] in ASKED]


def canon(profile: Profile, name: str, realm: str = "", side: Side = Side.SERVER) -> str:
    context = CanonContext("smtp", "mail.example.com", realm, side)
    plug = PLUGS[profile]
    method = plug.canon_user_server if side is Side.SERVER else plug.canon_user_client
    return method(context, name, BOTH)


def test_all_vectors_are_used() -> None:
    """Those of Nickname (RFC 8266) are the only ones that no profile of ours answers for."""
    assert len(VECTORS) == 1155
    left = Counter(vector["profile"] for vector in VECTORS if vector["profile"] not in ASKED)
    assert left == {"NicknameCasePreserved": 18}


def test_the_vectors_cover_each_profile_both_ways() -> None:
    """More than thirty accepted and thirty refused strings for each."""
    counted = Counter((vector["profile"], vector["error"] is None) for vector in OURS)
    assert len(counted) == 2 * len(ASKED)
    assert min(counted.values()) > 30


@pytest.mark.parametrize("vector", OURS, ids=lambda v: f"{v['profile']}-{ascii(v['input'])[:40]}")
def test_vectors(vector: dict[str, Any]) -> None:
    """Each published string gives its output, or is refused without being shown."""
    enforced = ENFORCED[ASKED[vector["profile"]]]
    if vector["error"] is None:
        assert enforced(vector["input"]) == vector["output"]
        assert enforced(vector["output"]) == vector["output"]
        return
    with pytest.raises(PeerError, match=f"not allowed by {ASKED[vector['profile']].value}: ") as e:
        _ = enforced(vector["input"])
    assert e.value.__cause__ is None
    assert e.value.__context__ is None
    kind = str(e.value).partition(": ")[2]
    assert kind.isascii()
    if vector["error"].startswith("DISALLOWED/"):
        assert kind == vector["error"].removeprefix("DISALLOWED/").replace("_", " ")


@pytest.mark.parametrize("vector", OURS, ids=lambda v: f"{v['profile']}-{ascii(v['input'])[:40]}")
def test_vectors_as_user_names(vector: dict[str, Any]) -> None:
    """Taken as a whole name, and so taken apart at an `@`, a string fares the same."""
    profile = ASKED[vector["profile"]]
    name, wanted = vector["input"], vector["output"]
    for side in Side:
        if wanted is None:
            with pytest.raises(PeerError):
                canon(profile, name, side=side)
        else:
            assert canon(profile, name, side=side) == wanted


@pytest.mark.parametrize("vector", [v for v in VECTORS if v not in OURS], ids=ascii)
def test_nickname_vectors(vector: dict[str, Any]) -> None:
    """The library that the profiles come from is right about the one that we do not offer."""
    from precis_i18n import get_profile

    enforce = get_profile(vector["profile"]).enforce
    if vector["error"] is None:
        assert enforce(vector["input"]) == vector["output"]
    else:
        with pytest.raises(UnicodeEncodeError):
            enforce(vector["input"])


@pytest.mark.parametrize("profile", Profile)
def test_the_short_way_is_the_long_one(profile: Profile) -> None:
    """Printable ASCII, which the library is not asked about, is what the library says."""
    from precis_i18n import get_profile

    enforce = get_profile(profile.value).enforce
    for code_point in range(0x80):
        for text in (chr(code_point), f"A{chr(code_point)}b", f"1{chr(code_point)}"):
            try:
                wanted = enforce(text)
            except UnicodeEncodeError:
                wanted = None
            try:
                given = ENFORCED[profile](text)
            except PeerError:
                given = None
            assert given == wanted


MAPPED, PRESERVED, OPAQUE = Profile


@pytest.mark.parametrize("side", Side)
@pytest.mark.parametrize(
    ("profile", "name", "wanted"),
    [
        (MAPPED, "Tim", "tim"),
        (PRESERVED, "Tim", "Tim"),
        (OPAQUE, "Tim", "Tim"),
        (MAPPED, "Tim@Example.COM", "tim@example.com"),
        (PRESERVED, "Tim@Example.COM", "Tim@Example.COM"),
        (PRESERVED, "\uff34\uff49\uff4d", "Tim"),
        (MAPPED, "tim\uff20example.com", "tim@example.com"),
        (OPAQUE, "tim\uff20example.com", "tim\uff20example.com"),
        (MAPPED, "\u00dc", "\u00fc"),
        (PRESERVED, "u\u0308", "\u00fc"),
        (OPAQUE, "tim\u00a0smith", "tim smith"),
        (OPAQUE, " tim ", " tim "),
        (PRESERVED, "a@b@c", "a@b@c"),
        (PRESERVED, "\u0627\u0628@example.com", "\u0627\u0628@example.com"),
        (MAPPED, "fu\u00dfball", "fu\u00dfball"),
        (PRESERVED, "%s%n{0.__class__}", "%s%n{0.__class__}"),
    ],
)
def test_names_that_are_accepted(profile: Profile, name: str, wanted: str, side: Side) -> None:
    """Each profile maps case, width and blanks as RFC 8265 says, realm and all."""
    assert canon(profile, name, side=side) == wanted
    assert canon(profile, wanted, side=side) == wanted


@pytest.mark.parametrize("profile", Profile)
@pytest.mark.parametrize(
    "name",
    [
        "", "@", "@x", "@@x", "tim@", "tim@x@", "\0", "t\0im", "tim\n", "\ud800", "tim@\ud800",
        "\ue000", "\u0378", "tim@\u0378", "\ufdd0", "\u00adtim", "\ufefftim", "\u200ctim",
        "a" * (NAME_LIMIT + 1), "a@" + "b" * (REALM_LIMIT + 1), "a" * 1_000_000,
        "\u0344" * NAME_LIMIT,
    ],
    ids=lambda name: ascii(name)[:20],
)  # fmt: skip
def test_names_that_are_refused(profile: Profile, name: str) -> None:
    """Empty, unassigned, private, ignorable and long names are a PeerError, and at once."""
    with within(0.1), pytest.raises(PeerError) as caught:
        canon(profile, name)
    assert caught.value.code == "bad-name"
    assert len(str(caught.value)) < 100


@pytest.mark.parametrize("profile", [MAPPED, PRESERVED])
@pytest.mark.parametrize(
    "name",
    ["t im", " tim", "tim ", "tim\u00a0", "tim\u3000", "henry\u2163", "\u265a", "\ufb00",
     "\u0627x", "1\u0627", "\u06271@x\u0627"],
    ids=ascii,
)  # fmt: skip
def test_names_that_only_usernames_refuse(profile: Profile, name: str) -> None:
    """Blanks, what is compatible with something else, symbols, and mixed directions."""
    with pytest.raises(PeerError):
        canon(profile, name)


def test_the_default_realm() -> None:
    """A name without a realm gets it, in the profile's form; one with a realm keeps its own."""
    assert canon(MAPPED, "Tim", "Example.com") == "tim@example.com"
    assert canon(PRESERVED, "Tim", "Example.com") == "Tim@Example.com"
    assert canon(MAPPED, "tim@other.org", "example.com") == "tim@other.org"
    assert canon(MAPPED, "tim\uff20other.org", "example.com") == "tim@other.org"
    longest = "a" * NAME_LIMIT
    assert canon(PRESERVED, longest, "b" * REALM_LIMIT) == f"{longest}@{'b' * REALM_LIMIT}"


names = st.text(max_size=30) | st.text(
    st.sampled_from(
        "aAI\u0130@ \u00a0\u00ad\u0627\u0628\u0661\u06f1\uff20\uff21\u03a3\u03c2e\u0301"
        "\u1100\u1161\u11a8\u200c"
    ),
    max_size=10,
)


@given(names, st.sampled_from(["", "Example.com"]), st.sampled_from(list(Profile)))
def test_it_is_idempotent(name: str, realm: str, profile: Profile) -> None:
    """Whatever comes out comes out again, on both sides, and is one name to the stores."""
    try:
        once = canon(profile, name, realm)
    except PeerError:
        return
    for side in Side:
        assert canon(profile, once, realm, side) == once
    parts = UserName.parse(once)
    assert str(parts) == once
    assert parts.realm or not realm
    assert ENFORCED[profile](parts.name) == parts.name


def configured(**options: str) -> dict[str, Any]:
    return {**OPEN, "canon_user_plugin": "precis", "canon_user": {"precis": options}}


@pytest.mark.parametrize("mechanism", ["PLAIN", "SCRAM-SHA-256"])
def test_both_sides_agree_on_the_name(mechanism: str) -> None:
    """With the case mapped, `Tim` is let in as `tim`; with the case preserved he is not there."""
    config = configured(profile="UsernameCaseMapped")
    with server([store({"tim": "pencil"})], config=config) as ours:
        far, near = client(config=config).session(authid="TIM", password="pencil"), ours.session()
        _ = login(far, near, [mechanism])
        assert far.authid == near.authid == "tim"
    with server([store({"tim": "pencil"})], config=configured()) as ours:
        far = client(config=configured()).session(authid="TIM", password="pencil")
        with pytest.raises(Exception, match="authentication failed"):
            _ = login(far, ours.session(), [mechanism])


def test_the_profile_is_checked() -> None:
    """A profile that is not for names is refused, with the ones that there are."""
    with (
        server(config=configured(profile="Nickname")) as ours,
        pytest.raises(PluginError, match="usernamecasemapped, usernamecasepreserved, opaque"),
    ):
        ours.core.plugs.get("canon_user", "precis")


@pytest.mark.parametrize("side", [Server, Client])
def test_a_default_realm_that_no_name_could_have(side: type[Any]) -> None:
    """Told when the plug is made, and not by refusing every name for its realm."""
    config = {**configured(), "user_realm": "\u265a"}
    with (
        side("smtp", "mail.example.com", config=config) as owner,
        pytest.raises(PluginError, match="user_realm: the default realm cannot be"),
    ):
        owner.core.plugs.get("canon_user", "precis")


def test_without_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is missing is named, with what to install."""
    monkeypatch.setitem(sys.modules, "precis_i18n", None)
    with server(config={**configured(), "user_realm": "example.com"}) as ours:
        reason = str(ours.core.plugs.get("canon_user", "precis").availability())
        assert reason.endswith("pip install 'sasl-core[precis]'")
        for name in ("tim", "t\u00efm", "tim@x"):
            with pytest.raises(PluginError) as caught:
                ours.core.identity(name, BOTH)
            assert caught.value.reason == reason
    assert PLUGS[PRESERVED].availability() is None
