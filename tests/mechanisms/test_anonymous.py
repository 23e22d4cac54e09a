"""ANONYMOUS between real sessions: RFC 4505's traces, accepted and refused."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from logins import client, login, server
from sasl_core import Decision, MechanismError, PeerError, Reply, SaslError, UsageError
from sasl_mechanisms.anonymous import check_trace

VECTORS: list[dict[str, Any]] = json.loads(
    (Path(__file__).parent.parent / "vectors" / "simple_mechs.json").read_text("utf-8")
)["anonymous"]


def message_of(vector: dict[str, Any]) -> bytes:
    given = vector.get("message")
    return given.encode() if given is not None else bytes.fromhex(vector["message_hex"])


@pytest.mark.parametrize("vector", VECTORS, ids=lambda v: v["source"][:40])
def test_vectors(vector: dict[str, Any]) -> None:
    """Both sides accept and refuse what the vectors say; nothing is cut or mended."""
    message = message_of(vector)
    accepted = vector["result"] == "accept"
    with server() as ours, client() as theirs:
        near = ours.session()
        far = theirs.session(trace=message.decode())
        if accepted:
            assert near.start("ANONYMOUS", message) == Reply(None, done=True)
            assert near.authid == "anonymous"
            assert far.start(["ANONYMOUS"]) == Reply(message, done=True)
        else:
            with pytest.raises(PeerError):
                near.start("ANONYMOUS", message)
            with pytest.raises(UsageError):
                far.start(["ANONYMOUS"])


@pytest.mark.parametrize(
    ("trace", "good"),
    [
        ("a" * 255, True), ("a" * 256, False), ("\u00e9" * 255, True), ("\u00e9" * 256, False),
        ("a" * 250 + "@b.cd", True), ("a" * 251 + "@b.cd", False), ("@", False), ("@x", False),
        ("x@", False), ("x@y", True), ("\u0627\u0628", True), ("\u0627x", False),
        ("\u200b", True), ("\ud7ff\U000e0001", False), ("\U0001f600", True), ("\ufffe", False),
        ("\u2028", False), ("\x1b[2J", False), ("a\u0000b", False), ("\u202e", False),
    ],
)  # fmt: skip
def test_traces(trace: str, good: bool) -> None:
    """255 characters are the most, an @ makes an address, and what forges a log is refused."""
    with server() as ours, client() as theirs:
        near, far = ours.session(), theirs.session(trace=trace)
        if good:
            said = login(far, near, ["ANONYMOUS"])
            assert said == [trace.encode(), None]
        else:
            with pytest.raises(UsageError):
                far.start(["ANONYMOUS"])
            with pytest.raises(PeerError) as caught:
                near.start("ANONYMOUS", trace.encode())
            assert trace not in f"{caught.value}{caught.value.detail}" or len(trace) < 3


@given(st.binary(max_size=300) | st.text(max_size=300).map(lambda t: t.encode("utf-8", "replace")))
def test_any_trace(message: bytes) -> None:
    """Any bytes are anonymous or refused, and never anybody else."""
    with SERVER.session() as session:
        try:
            session.start("ANONYMOUS", message)
        except SaslError:
            assert not session.done
        else:
            assert session.authid == session.authzid == "anonymous"
            assert len(message.decode()) <= 255


SERVER = server()


def test_it_is_off_by_default() -> None:
    """Nobody gets in without a name unless the configuration says so, on either side."""
    closed: dict[str, object] = {"allow_cleartext": True}
    for config in (closed, {**closed, "mech_list": ["ANONYMOUS"], "allow_anonymous": False}):
        with server(config=config) as ours, client(config=config) as theirs:
            near = ours.session(external_ssf=256)
            assert "ANONYMOUS" not in near.mechanisms()
            assert "allow_anonymous" in near.rejected["ANONYMOUS"]
            with pytest.raises(MechanismError):
                near.start("ANONYMOUS", b"")
            with pytest.raises(MechanismError):
                theirs.session(external_ssf=256).start(["ANONYMOUS"])


def test_the_trace_is_for_the_log_only(caplog: pytest.LogCaptureFixture) -> None:
    """It decides nothing, is escaped where it is logged, and is no part of a format."""
    caplog.set_level(logging.INFO)
    events: list[Any] = []
    asked: list[tuple[str, str]] = []

    def authorize(authid: str, authzid: str, _: object) -> Any:
        asked.append((authid, authzid))
        return Decision.PERMIT

    with server(audit=[events.append], authorize=authorize) as ours:
        for trace in ("tim@example.com", "%s%n{0.__class__}", "line\u00a0two"):
            with ours.session() as session:
                assert session.start("ANONYMOUS", trace.encode()).done
                assert session.authid == session.authzid == "anonymous"
    assert asked == [("anonymous", "anonymous")] * 3
    assert [event.authid for event in events] == ["anonymous"] * 3
    assert "%s%n{0.__class__}" in caplog.text
    assert "xa0two" in caplog.text
    assert "\u00a0" not in caplog.text


def test_it_looks_nobody_up() -> None:
    """A user called anonymous has nothing to do with it: no account is read or needed."""
    with server() as ours, ours.session(properties=["mailHost", "*mailHost"]) as session:
        assert session.start("ANONYMOUS", b"").done
        assert session.properties.get("mailHost") == ()


@pytest.mark.parametrize(
    ("table", "character"),
    [
        ("C.2.1", "\u0007"), ("C.2.2", "\u06dd"), ("C.3", "\ue000"), ("C.3", "\U000f0000"),
        ("C.4", "\ufdd0"), ("C.5", "\ud800"), ("C.6", "\ufff9"), ("C.8", "\u200e"),
        ("C.9", "\U000e0001"),
    ],
)  # fmt: skip
def test_a_trace_is_refused_by_table(table: str, character: str) -> None:
    """Each table of RFC 3454 that the "trace" profile prohibits does (RFC 4505 section 3)."""
    for trace in (character, f"tim{character}", f"tim@{character}example.com"):
        with pytest.raises(PeerError):
            _ = check_trace(trace)


@pytest.mark.parametrize(
    ("table", "character"),
    [
        ("C.1.1", " "), ("C.1.2", "\u00a0"), ("C.7", "\u2ff0"), ("A.1", "\u0221"),
        ("B.1", "\u00ad"), ("B.2", "\u1e9e"), ("NFKC", "\u2168"),
    ],
)  # fmt: skip
def test_a_trace_is_not_changed(table: str, character: str) -> None:
    """Blanks and the unassigned are allowed, and nothing is mapped or normalised."""
    assert check_trace(f"tim{character}") == f"tim{character}"
