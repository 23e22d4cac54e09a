"""EXTERNAL between real sessions: RFC 4422's appendix A, and whose name is whose."""

from __future__ import annotations

import json
import unicodedata
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from logins import client, login, server
from sasl_auxprop.memory import MemoryStore
from sasl_core import (
    AuthenticationError,
    ConnectionFacts,
    Decision,
    MechanismError,
    PeerError,
    Reply,
    Result,
    SaslError,
    SetpassFlag,
    UsageError,
)
from sasl_core.plugin import CanonUserPlug, NeedPeer, NeedUser, ServerContext, Success
from sasl_mechanisms.external import format_message, parse_message
from toys import Toys, server_plug

VECTORS: list[dict[str, Any]] = json.loads(
    (Path(__file__).parent.parent / "vectors" / "simple_mechs.json").read_text("utf-8")
)["external"]

DN = "CN=Tim Smith,OU=Ops\\, Night,emailAddress=tim@example.com,O=Example"
NAMED: dict[str, object] = {"client_mech_list": ["EXTERNAL"]}


def permit(_authid: str, _authzid: str, _properties: object) -> Decision:
    return Decision.PERMIT


@pytest.mark.parametrize("vector", VECTORS, ids=lambda v: str(v.get("message", "bytes")) or "empty")
def test_vectors(vector: dict[str, Any]) -> None:
    """What the vectors accept, refuse, and leave to the proxy policy."""
    given = vector.get("message")
    message = bytes.fromhex(vector["message_hex"]) if given is None else given.encode()
    asked: list[tuple[str, str]] = []

    def authorize(authid: str, authzid: str, _properties: object) -> Decision:
        asked.append((authid, authzid))
        return Decision.PERMIT

    with server(authorize=authorize) as ours:
        session = ours.session(external_id=vector.get("external_id", "fred"))
        if vector["result"] == "reject":
            with pytest.raises(SaslError):
                session.start("EXTERNAL", message)
            assert not session.done
            assert asked == []
            return
        assert session.start("EXTERNAL", message) == Reply(None, done=True)
        assert (session.authid, session.authzid) == asked[0]
        if "authzid" in vector:
            assert session.authzid == vector["authzid"]
        else:
            assert vector["result"] == f"authorize({asked[0][0]} -> {asked[0][1]})"


def test_an_absent_first_message_is_asked_for() -> None:
    """Without an initial response the server sends an empty challenge (RFC 4422 appendix A.1)."""
    with server() as ours:
        session = ours.session(external_id="fred")
        assert session.start("EXTERNAL") == Reply(b"", done=False)
        assert session.step(b"") == Reply(None, done=True)
        assert session.authid == "fred"


@pytest.mark.parametrize("initial", [True, False])
@pytest.mark.parametrize("authzid", [None, "", "fred"])
def test_a_login(initial: bool, authzid: str | None) -> None:
    """Both sides, whether or not the protocol takes the first message with the request."""
    with server() as ours, client(config={}) as theirs:
        near = ours.session(external_id="fred", initial_response=initial)
        far = theirs.session(authzid=authzid, external_id="fred", initial_response=initial)
        if initial:
            assert login(far, near, ["EXTERNAL"])[0] == (authzid or "").encode()
        else:
            far.start(["EXTERNAL"])
            assert near.start("EXTERNAL") == Reply(b"", done=False)
            assert near.step(far.step(b"").data or b"").done
            far.finish()
        assert (near.authid, near.authzid) == ("fred", "fred")
        assert (far.authid, far.authzid) == ("fred", "fred")


# --- who is offered it, and who takes it -----------------------------------------------------


def test_a_server_offers_it_where_somebody_is_vouched_for() -> None:
    """Nobody else hears of it, and whoever names it all the same is refused with the reason."""
    with server() as ours:
        with ours.session(external_id="fred") as session:
            assert "EXTERNAL" in session.mechanisms()
        nobody: list[ConnectionFacts] = [{}, {"external_id": None}, {"external_id": ""}]
        for facts in nobody:
            with ours.session(**facts) as session:
                assert "EXTERNAL" not in session.mechanisms()
                assert "client certificate" in session.rejected["EXTERNAL"]
                with pytest.raises(MechanismError, match="client certificate"):
                    session.start("EXTERNAL", b"fred")


def test_a_client_takes_it_where_it_can_work() -> None:
    """It was told who the protection below says it is, or was asked for the mechanism by name."""
    offer = ["EXTERNAL", "ANONYMOUS"]
    with client(config={}) as theirs:
        with theirs.session(external_id="fred") as session:
            session.start(offer)
            session.finish()
            assert (session.mechanism, session.authid) == ("EXTERNAL", "fred")
        with theirs.session() as session, pytest.raises(MechanismError, match="client_mech_list"):
            session.start(offer)
    with client(config=NAMED) as theirs, theirs.session() as session:
        assert session.start(offer) == Reply(b"", done=True)
        session.finish()
        assert (session.mechanism, session.authid) == ("EXTERNAL", "external")


def test_a_password_goes_before_it_only_where_it_is_stronger() -> None:
    """SCRAM proves the server too; PLAIN sends the password, and is never chosen before it."""
    with client(config={}) as theirs:
        for offer, chosen in (
            (["EXTERNAL", "SCRAM-SHA-256", "PLAIN"], "SCRAM-SHA-256"),
            (["PLAIN", "EXTERNAL"], "EXTERNAL"),
        ):
            with theirs.session(
                authid="tim", password="pencil", external_id="tim", external_ssf=256
            ) as session:
                session.start(offer)
                assert session.mechanism == chosen


def test_no_dictionary_finds_a_certificate() -> None:
    """It needs no TLS of its own: what vouches may be a Unix socket."""
    with server(config={}) as ours, ours.session(external_id="fred", remote="10.0.0.1;1") as one:
        assert "EXTERNAL" in one.mechanisms()


# --- the identity is as it stands ----------------------------------------------------------


class Folding(CanonUserPlug):
    """Makes one name of many."""

    name = "FOLDING"

    def canon_user_server(self, ctx: Any, user: str, flags: Any) -> str:
        return user.casefold().replace(" ", "").partition("@")[0]


@pytest.mark.parametrize(
    "external",
    [DN, DN.lower(), f"{DN} ", "CN=a@b,O=c", "CN=a,O=c@b", "@", "a@", "CN=\u00e9", "CN=e\u0301"],
)
def test_no_canonicaliser_sees_it(external: str) -> None:
    """Blanks, commas, an @ and letters stay what they are, whatever the realm is."""
    with server(realm="example.com") as ours:
        ours.core._canonicalize = Folding().canon_user_server
        for message in (b"", external.encode()):
            with ours.session(external_id=external) as session:
                assert session.start("EXTERNAL", message).done
                assert (session.authid, session.authzid) == (external, external)


def test_names_that_differ_a_little_are_others() -> None:
    """An account is of one name; its lock holds for that, to the letter, and its roles too."""
    users = MemoryStore()
    users.add_user("CN=Tim,O=c@d", password="p", disabled=True)
    with server([users], realm="d") as ours:
        with pytest.raises(AuthenticationError) as caught:
            ours.session(external_id="CN=Tim,O=c@d").start("EXTERNAL", b"")
        assert caught.value.detail is not None
        assert "DISABLED" in caught.value.detail
        for other in ("CN=tim,O=c@d", "CN=Tim,O=c", "CN=Tim,O=c@D", "CN=Tim, O=c@d"):
            assert ours.session(external_id=other).start("EXTERNAL", b"").done


def test_a_name_that_is_locked_by_command_is_kept_out() -> None:
    """`sasl passwd --exact -d` makes a locked account of that very name."""
    with server() as ours:
        assert ours.session(external_id=DN).start("EXTERNAL", b"").done
        flags = SetpassFlag.DISABLE | SetpassFlag.CREATE
        assert ours.setpass(DN, None, flags, exact=True).ok
        with pytest.raises(AuthenticationError):
            ours.session(external_id=DN).start("EXTERNAL", b"")


@pytest.mark.parametrize("external", ["a\0b", "a\nb", "a\x1b[2J", "\u202ea", "x" * 1025])
def test_what_is_no_name_is_nobody(external: str) -> None:
    """A name that would forge a line, or is too long, lets nobody in."""
    with server() as ours, pytest.raises(AuthenticationError) as caught:
        ours.session(external_id=external).start("EXTERNAL", b"")
    assert "control characters" in str(caught.value.detail)


def test_another_name_is_for_the_policy() -> None:
    """By default nobody acts as somebody else; where the policy permits it, a name is a name."""
    with server() as ours, pytest.raises(AuthenticationError) as caught:
        ours.session(external_id=DN).start("EXTERNAL", b"tim")
    assert caught.value.detail is not None
    with server(authorize=permit) as ours:
        session = ours.session(external_id=DN)
        assert session.start("EXTERNAL", b"tim").done
        assert (session.authid, session.authzid) == (DN, "tim")
        with pytest.raises(PeerError):
            ours.session(external_id=DN).start("EXTERNAL", b"a b")


# --- who needs an account -----------------------------------------------------------------


@pytest.mark.parametrize("fact", [True, False])
def test_who_needs_an_account_has_one(fact: bool) -> None:
    """By the connection's fact or by the mechanism's table, a stranger is kept out."""
    config = {} if fact else {"mechanisms": {"EXTERNAL": {"need_account": True}}}
    facts: Any = {"need_account": True} if fact else {}
    users = MemoryStore()
    users.add_user(DN, properties={"roles": [b"admin.readWrite"]})
    with server([users], config=config) as ours:
        session = ours.session(external_id=DN, properties=["roles"], **facts)
        assert session.start("EXTERNAL", b"").done
        assert session.properties.get("roles") == (b"admin.readWrite",)
        assert session.valid()
        assert ours.session(external_id=DN, **facts).start("EXTERNAL", b"").done
        for other in (DN.lower(), "CN=nobody"):
            with pytest.raises(AuthenticationError) as caught:
                ours.session(external_id=other, **facts).start("EXTERNAL", b"")
            assert "NOUSER" in str(caught.value.detail)


def test_an_account_is_needed_whoever_vouches() -> None:
    """An application's own check of the password, and ANONYMOUS, let no stranger in then."""
    users = MemoryStore({"tim": "pencil"})
    more: dict[str, Any] = {"checkpass": lambda *_: Result.OK}
    with server([users], **more) as ours:
        assert ours.session().start("PLAIN", b"\0kim\0x").done
        assert ours.session(need_account=True).start("PLAIN", b"\0tim\0x").done
        with pytest.raises(AuthenticationError):
            ours.session(need_account=True).start("PLAIN", b"\0kim\0x")
        assert ours.session().start("ANONYMOUS", b"x").done
        with pytest.raises(AuthenticationError):
            ours.session(need_account=True).start("ANONYMOUS", b"x")


def test_an_account_is_needed_where_the_application_keeps_them() -> None:
    """It says nothing of whom EXTERNAL lets in; so the stores are asked after all."""
    users = MemoryStore()
    users.add_user("fred")
    with server([users]) as ours:
        ours.core.keeps_accounts = False
        for who in ("fred", "carol"):
            assert ours.session(external_id=who).start("EXTERNAL", b"").done
        assert ours.session(external_id="fred", need_account=True).start("EXTERNAL", b"").done
        with pytest.raises(AuthenticationError):
            ours.session(external_id="carol", need_account=True).start("EXTERNAL", b"")


def test_who_was_looked_up_and_is_not_there() -> None:
    """A mechanism that asks the stores first, and then vouches by itself, lets in no stranger."""

    def vouches(ctx: ServerContext) -> Any:
        name = (yield from NeedPeer()).decode()
        user = yield from NeedUser(name)
        return Success(ctx.attest(user, how="toy"))

    with Toys() as toys:
        toys.mechanism(server_plug("VOUCHES", vouches))
        with server(registry=toys.registry()) as ours:
            assert ours.session().start("VOUCHES", b"carol").done
            assert ours.session(need_account=True).start("VOUCHES", b"tim").done
            with pytest.raises(AuthenticationError):
                ours.session(need_account=True).start("VOUCHES", b"carol")


def test_an_unknown_key_in_its_table_is_told() -> None:
    """As in any other plugin's."""
    config = {"mechanisms": {"EXTERNAL": {"need_acount": True}}}
    with server(config=config) as ours, ours.session(external_id="fred") as session:
        assert "need_account" in session.rejected["EXTERNAL"]


# --- how long it stands ---------------------------------------------------------------------


def test_a_login_stands_as_long_as_the_certificate(monkeypatch: pytest.MonkeyPatch) -> None:
    """After `external_until` it does not, also if it is validated again."""
    now = [1000.0]
    with server() as ours:
        monkeypatch.setattr(type(ours.utils), "clock", lambda _: now[0])
        session = ours.session(external_id="fred", external_until=2000.0)
        assert session.start("EXTERNAL", b"").done
        session.revalidate()
        now[0] = 1999.9
        assert session.valid()
        now[0] = 2000.0
        assert not session.valid()
        with pytest.raises(AuthenticationError):
            session.revalidate()
        forever = ours.session(external_id="fred")
        assert forever.start("EXTERNAL", b"").done
        assert forever.valid()


@pytest.mark.parametrize("until", [0, -1.0, float("nan"), float("-inf")])
def test_whose_time_is_up_is_refused(until: float) -> None:
    """A connection may stand longer than the certificate with which it began."""
    with server() as ours, pytest.raises(AuthenticationError) as caught:
        ours.session(external_id="fred", external_until=until).start("EXTERNAL", b"")
    assert "expired" in str(caught.value.detail)


@pytest.mark.parametrize("until", ["soon", b"1"])
def test_a_time_is_a_number(until: Any) -> None:
    """Anything else is a mistake of the application's."""
    with server() as ours, pytest.raises(UsageError, match="external_until"):
        ours.session(external_id="fred", external_until=until)


# --- messages ----------------------------------------------------------------------------------


@given(st.binary(max_size=100) | st.text(max_size=100).map(lambda t: t.encode("utf-8", "replace")))
def test_any_message(message: bytes) -> None:
    """What is read is written as it was, if it was in NFC; the rest is refused."""
    try:
        authzid = parse_message(message)
    except PeerError:
        return
    assert authzid is None or "\0" not in authzid
    again = format_message(authzid)
    assert again == unicodedata.normalize("NFC", message.decode()).encode()
    assert parse_message(again) is not None or not message


@pytest.mark.parametrize("authzid", ["a\0b", "\ud800"])
def test_what_cannot_be_sent(authzid: str) -> None:
    """A client finds out before anything is sent."""
    with (
        client(config=NAMED) as theirs,
        theirs.session(authzid=authzid) as session,
        pytest.raises(UsageError),
    ):
        session.start(["EXTERNAL"])


def test_what_is_typed_is_composed() -> None:
    """Of the ways to write a letter, the client sends one."""
    with client(config=NAMED) as theirs, theirs.session(authzid="e\u0301") as session:
        assert session.start(["EXTERNAL"]).data == "\u00e9".encode()
