"""INTERNAL: one canonical spelling for a name, on both sides, and no other name for it."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from logins import OPEN, client, login, server, store
from sasl_canon.internal import NAME_LIMIT, REALM_LIMIT, InternalCanonicalizer
from sasl_core import AuthenticationError, PeerError, SaslError, SetpassFlag, Side, UserName
from sasl_core.plugin import CanonContext, CanonFlag, saslprep
from stopwatch import within

PLUG = InternalCanonicalizer()
BOTH = CanonFlag.AUTHID | CanonFlag.AUTHZID


def canon(name: str, realm: str = "", side: Side = Side.SERVER) -> str:
    context = CanonContext("smtp", "mail.example.com", realm, side)
    return (PLUG.canon_user_server if side is Side.SERVER else PLUG.canon_user_client)(
        context, name, BOTH
    )


@pytest.mark.parametrize("side", Side)
@pytest.mark.parametrize(
    ("name", "wanted"),
    [
        ("tim", "tim"),
        ("  tim\t\r\n", "tim"),
        ("\u00a0\u3000\u200btim\u2003\u200b \u200b", "tim"),
        ("Tim", "Tim"),
        ("I\u00adX", "IX"),
        ("\u2168", "IX"),
        ("\u00aa", "a"),
        ("user@example.com", "user@example.com"),
        ("user\uff20example.com", "user@example.com"),
        ("user\ufe6bexample.com", "user@example.com"),
        ("a@b@c", "a@b@c"),
        ("\u0627\u0628", "\u0627\u0628"),
        ("\u0627\u0628@example.com", "\u0627\u0628@example.com"),
        ("tim\u0300", "tim\u0300"),
        ("e\u0301", "\u00e9"),
        ("%s%n{0.__class__}", "%s%n{0.__class__}"),
        ("../../etc/passwd", "../../etc/passwd"),
        ("*)(uid=*", "*)(uid=*"),
        ("\U0001f0a1", "\U0001f0a1"),
    ],
)
def test_names_that_are_accepted(name: str, wanted: str, side: Side) -> None:
    """White space around it goes, SASLprep does the rest, and case stays as it is."""
    assert canon(name, side=side) == wanted
    assert canon(wanted, side=side) == wanted


@pytest.mark.parametrize("side", Side)
@pytest.mark.parametrize(
    "name",
    [
        "", " ", "\u00ad", "\u200b", "t im", "t\u00a0im", "tim\u200bx", "tim @x", "tim@ x",
        "t\0im", "\0", "t\x07im", "tim\x7f", "t\u0085im", "\ud800", "tim\ue000", "\ufeff",
        "\u0627x", "x\u0627", "\u06271", "tim@", "@", "@@0", "tim@\u00ad", "\u00ad@x", "@x",
        "tim@x@",
        "\u00b4tim", "a" * (NAME_LIMIT + 1), "a@" + "b" * (REALM_LIMIT + 1),
        "\ufdfa" * 100, "a" * 1_000_000, "\ufdfa" * 1_000_000,
    ],
    ids=ascii,
)  # fmt: skip
def test_names_that_are_refused(name: str, side: Side) -> None:
    """Empty, blank, controlled, mixed and long names are a PeerError, and at once."""
    with within(0.1), pytest.raises(PeerError) as caught:
        canon(name, side=side)
    assert len(str(caught.value)) < 100


def test_the_default_realm() -> None:
    """A name without a realm gets it, one with a realm keeps its own, and both once only."""
    assert canon("tim", "example.com") == "tim@example.com"
    assert canon("tim@example.com", "example.com") == "tim@example.com"
    assert canon("tim@other.org", "example.com") == "tim@other.org"
    for name in ("tim@", "@"):
        with pytest.raises(PeerError):
            canon(name, "example.com")


@pytest.mark.parametrize("realm", ["", "example.com"])
def test_the_longest_names(realm: str) -> None:
    """The limits count name and realm apart, so that a canonical name can come back."""
    longest = "a" * NAME_LIMIT
    once = canon(longest, realm)
    assert canon(once, realm) == once
    assert canon(f"{longest}@{'b' * REALM_LIMIT}", realm) == f"{longest}@{'b' * REALM_LIMIT}"


names = st.text(max_size=40) | st.text(
    st.sampled_from("aA@ \u00a0\u200b\u00ad\u0627\uff20\u2168e\u0301\ufdfa\0"), max_size=12
)


@given(names, st.sampled_from(["", "example.com"]), st.sampled_from(list(Side)))
def test_it_is_idempotent(name: str, realm: str, side: Side) -> None:
    """Whatever comes out comes out again, on the other side too, and is a good name."""
    try:
        once = canon(name, realm, side)
    except PeerError:
        return
    for again in Side:
        assert canon(once, realm, again) == once
    assert once
    assert " " not in once
    assert not once.endswith("@")
    assert not once.startswith("@")
    if realm:
        assert UserName.parse(once).realm
    parts = UserName.parse(once)
    assert saslprep(parts.name) == parts.name


@given(st.text(max_size=30) | st.text(st.sampled_from("ab@"), max_size=6))
def test_a_stored_name_is_one_identity(identity: str) -> None:
    """Taking an identity apart and putting it together again loses nothing."""
    assert str(UserName.parse(identity)) == identity


@given(st.text(st.sampled_from("tim@ \u00a0\u00ad\u200b\uff20"), max_size=8))
def test_no_other_identity_reaches_the_account(spelling: str) -> None:
    """Whoever gets in with tim's password is known as tim: no second name for the account."""
    with SERVER.session() as session:
        try:
            session.start("PLAIN", f"\0{spelling}\0pencil".encode())
        except SaslError:
            return
        assert session.authid == "tim"


SERVER = server([store({"tim": "pencil"})])


@pytest.mark.parametrize("realm", [None, "example.com"])
@pytest.mark.parametrize("mechanism", ["PLAIN", "SCRAM-SHA-256"])
def test_both_sides_agree_on_the_name(mechanism: str, realm: str | None) -> None:
    """However it was typed, both sessions and the account have the same name."""
    more: dict[str, Any] = {"realm": realm}
    full = f"tim@{realm}" if realm else "tim"
    with server([store({full: "pencil"})], **more) as ours:
        for typed in ("tim", " tim ", "t\u00adim", full):
            for theirs in (client(), client(**more)):
                far = theirs.session(authid=typed, password="pencil")
                near = ours.session()
                _ = login(far, near, [mechanism])
                assert near.authid == near.authzid == full
                assert far.authid in (full, "tim")
        for other in ("tim@elsewhere.org", "Tim"):
            far = client().session(authid=other, password="pencil")
            with pytest.raises(AuthenticationError):
                login(far, ours.session(), [mechanism])


def test_right_to_left_names_have_realms_too() -> None:
    """A name that was canonicalised by the client is not refused by the server for it."""
    name = "\u0627\u0628"
    with server([store({f"{name}@example.com": "pencil"})], realm="example.com") as ours:
        far = client(realm="example.com").session(authid=name, password="pencil")
        near = ours.session()
        _ = login(far, near, ["SCRAM-SHA-256"])
        assert near.authid == far.authid == f"{name}@example.com"


def test_an_administrator_uses_the_same_names() -> None:
    """setpass, checkpass and user_exists canonicalise as a login does."""
    with server(config={**OPEN, "user_realm": "example.com"}) as ours:
        assert ours.setpass(" t\u00adim ", "new-pencil", SetpassFlag.CREATE).user == UserName(
            "tim", "example.com"
        )
        assert ours.checkpass("tim", "new-pencil") == "tim@example.com"
        assert ours.user_exists("tim@example.com")
        assert not ours.user_exists("tim@other.org")
        with pytest.raises(SaslError):
            ours.user_exists("tim@")
