"""The SMTP server's machine: what a client may say when, and what it hears."""

from __future__ import annotations

import json
from base64 import b64decode, b64encode
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sasl_core.plugin import (
    AuthenticationError,
    BackendError,
    MechanismError,
    UsageError,
)
from sasl_profiles.smtp.events import (
    AuthEnded,
    AuthResponse,
    AuthStarted,
    Closed,
    Limits,
    MessageReceived,
    TlsRequested,
)

VECTORS = json.loads(
    (Path(__file__).parents[1] / "vectors" / "profile_transcripts.json").read_text("utf-8")
)
FAILED = b"535 5.7.8 Authentication failed\r\n"


def test_the_greeting(wire: Any) -> None:
    """The server speaks first, and does not say what it is made of."""
    assert wire().greeting == b"220 mail.example ESMTP\r\n"


def test_ehlo_lists_the_mechanisms_of_the_session(wire: Any) -> None:
    """AUTH offers exactly what the session offers, in its order."""
    assert wire().line("EHLO me").split("\r\n") == [
        "250-mail.example",
        "250-ENHANCEDSTATUSCODES",
        "250-8BITMIME",
        "250-SIZE 10485760",
        "250-STARTTLS",
        "250 AUTH SCRAM-SHA-256 PLAIN",
        "",
    ]


def test_ehlo_without_mechanisms_and_tls(wire: Any) -> None:
    """What cannot be had is not offered."""
    answer = wire(mechanisms=tuple, starttls=False).line("EHLO me")
    assert "AUTH" not in answer
    assert "STARTTLS" not in answer


def test_ehlo_when_the_mechanisms_cannot_be_told(wire: Any) -> None:
    """An outage is temporary, and the greeting does not count."""

    def broken() -> tuple[str, ...]:
        raise BackendError(detail="the store is gone")

    one = wire(mechanisms=broken)
    assert one.line("EHLO me") == "451 4.3.0 Try again later\r\n"
    assert one.line("AUTH PLAIN").startswith("503 ")


@pytest.mark.parametrize(
    ("before", "command", "reply"),
    [
        ([], "EHLO", "501 5.5.4 "),
        ([], "EHLO  ", "501 5.5.4 "),
        ([], "HELO", "501 5.5.4 "),
        ([], "HELO me", "250 mail.example"),
        ([], "AUTH PLAIN", "503 5.5.1 "),
        (["HELO me"], "AUTH PLAIN", "503 5.5.1 "),
        (["EHLO me"], "AUTH", "501 5.5.4 "),
        (["EHLO me"], "AUTH PLAIN AAA", "501 5.5.2 "),
        (["EHLO me"], "AUTH PLAIN " + "A" * 12292, "500 5.5.6 "),
        (["EHLO me"], "AUTH PLAIN " + "A" * 13000, "500 5.5.2 "),
        (["EHLO me"], "AUTH PLAIN/", "504 5.5.4 "),
        (["EHLO me"], "STARTTLS now", "501 5.5.4 "),
        ([], "MAIL FROM:<a@b>", "503 5.5.1 "),
        (["HELO me"], "MAIL FROM:<a@b>", "530 5.7.0 "),
        (["EHLO me"], "MAIL FROM:<a@b>", "530 5.7.0 "),
        (["EHLO me"], "RCPT TO:<a@b>", "503 5.5.1 "),
        (["EHLO me"], "DATA", "503 5.5.1 "),
        ([], "NOOP anything", "250 2.0.0 "),
        ([], "RSET", "250 2.0.0 "),
        ([], "RSET now", "501 5.5.4 "),
        ([], "VRFY tim", "252 2.0.0 "),
        ([], "EXPN list", "502 5.5.1 "),
        ([], "HELP", "214 2.0.0 "),
        ([], "quit", "221 2.0.0 "),
        ([], "QUIT now", "501 5.5.4 "),
        ([], "", "500 5.5.2 "),
        ([], "HACK", "500 5.5.2 "),
        ([], "EHLO caf\u00e9", "500 5.5.2 "),
        ([], "NOOP \0", "500 5.5.2 "),
        ([], "NOOP " + "x" * 600, "500 5.5.2 "),
    ],
)
def test_a_command_has_its_reply(wire: Any, before: list[str], command: str, reply: str) -> None:
    """Each command before and after the greeting, well-formed and not."""
    one = wire()
    for line in before:
        assert one.line(line)[0] == "2"
    assert one.line(command).startswith(reply)
    assert one.closed == (reply[:3] == "221")


@pytest.mark.parametrize(
    ("before", "command", "reply"),
    [
        ([], "AUTH PLAIN =", "503 5.5.1 "),
        (["EHLO me"], "AUTH PLAIN =", "503 5.5.1 "),
        ([], "STARTTLS", "503 5.5.1 "),
        ([], "MAIL FROM:<a@b>", "250 "),
        ([], "MAIL FROM:<a@b> AUTH=<> SIZE=1000 " + "BODY=8BITMIME", "250 "),
        ([], "MAIL FROM:<a@b> SIZE=99999999", "552 5.3.4 "),
        ([], "MAIL FROM:<a@b> SMTPUTF8", "555 5.5.4 "),
        ([], "MAIL FROM:a@b", "501 5.5.4 "),
        (["MAIL FROM:<a@b>"], "MAIL FROM:<a@b>", "503 5.5.1 "),
        (["MAIL FROM:<a@b>"], "DATA", "503 5.5.1 "),
        (["MAIL FROM:<a@b>"], "RCPT TO:<c@d>", "250 "),
        (["MAIL FROM:<a@b>"], "RCPT TO:", "501 5.5.4 "),
        (["MAIL FROM:<a@b>", "RCPT TO:<c@d>"], "DATA now", "501 5.5.4 "),
        (["MAIL FROM:<a@b>", "RCPT TO:<c@d>"], "DATA", "354 "),
        (["MAIL FROM:<a@b>", "RCPT TO:<c@d>", "RSET"], "DATA", "503 "),
        (["MAIL FROM:<a@b>", "RCPT TO:<c@d>", "EHLO me"], "DATA", "503 "),
    ],
)
def test_a_command_after_login(wire: Any, before: list[str], command: str, reply: str) -> None:
    """A second AUTH is refused for good; mail is taken now."""
    one = wire().login()
    for line in before:
        assert one.line(line)[0] == "2"
    assert one.line(command).startswith(reply)


def test_auth_is_refused_within_a_transaction(wire: Any) -> None:
    """503, before and after the login (RFC 4954 section 4)."""
    one = wire().login()
    one.line("MAIL FROM:<a@b>")
    assert one.line("AUTH PLAIN =").startswith("503 5.5.1 ")
    assert one.line("RCPT TO:<c@d>").startswith("250 ")


def test_recipients_are_limited(wire: Any) -> None:
    """One more than the limit is refused alone; the message goes to the others."""
    one = wire(limits=Limits(recipients=1)).login()
    one.line("MAIL FROM:<a@b>")
    assert one.line("RCPT TO:<c@d>").startswith("250 ")
    assert one.line("RCPT TO:<e@f>").startswith("452 4.5.3 ")


@pytest.mark.parametrize(("accept", "reply"), [(True, b"250 2.0.0 "), (False, b"451 4.3.0 ")])
def test_a_message_is_handed_on(wire: Any, accept: bool, reply: bytes) -> None:
    """Envelope and text arrive; the client hears whether they were taken."""
    one = wire(accept=accept).login()
    for line in ("MAIL FROM:<a@b>", "RCPT TO:<c@d>", "RCPT TO:<e@f>", "DATA"):
        one.line(line)
    assert one.say(b"Subject: x\r\n\r\n..\r\n.\r\nNOOP\r\n").startswith(reply)
    event = one.events[-1]
    assert isinstance(event, MessageReceived)
    assert (event.envelope.sender, event.envelope.recipients) == ("a@b", ("c@d", "e@f"))
    assert event.data == b"Subject: x\r\n\r\n.\r\n"
    assert one.line("DATA").startswith("503 ")


def test_a_message_over_the_limit_is_refused(wire: Any) -> None:
    """552 once its end is found; the connection goes on."""
    one = wire(limits=Limits(message_size=100)).login()
    for line in ("MAIL FROM:<a@b>", "RCPT TO:<c@d>", "DATA"):
        one.line(line)
    assert one.say(b"x" * 200 + b"\r\n.\r\n").startswith(b"552 5.3.4 ")
    assert one.line("NOOP").startswith("250 ")
    assert not any(isinstance(event, MessageReceived) for event in one.events)


# --- AUTH --------------------------------------------------------------------------------------


def test_a_login_with_an_initial_response(wire: Any) -> None:
    """One command, one reply."""
    one = wire([None])
    one.line("EHLO me")
    assert one.line("AUTH PLAIN AHUAcA==") == "235 2.7.0 Authentication successful\r\n"
    assert one.events == [AuthStarted("PLAIN", b"\0u\0p")]
    assert one.connection.authenticated


def test_absent_and_empty_initial_responses_differ(wire: Any) -> None:
    """No argument is None, `=` is empty, and an empty line is an empty response."""
    one = wire([b"", None])
    one.line("EHLO me")
    assert one.line("AUTH EXTERNAL") == "334 \r\n"
    assert one.line("").startswith("235 ")
    two = wire([None])
    two.line("EHLO me")
    assert two.line("AUTH EXTERNAL =").startswith("235 ")
    assert one.events == [AuthStarted("EXTERNAL", None), AuthResponse(b"")]
    assert two.events == [AuthStarted("EXTERNAL", b"")]


def test_an_equals_sign_is_no_response(wire: Any) -> None:
    """`=` stands for an empty initial response only; later it is broken base64."""
    one = wire([b""])
    one.line("EHLO me")
    one.line("AUTH EXTERNAL")
    assert one.line("=").startswith("501 5.5.2 ")
    assert isinstance(one.events[-1], AuthEnded)


def test_a_star_cancels(wire: Any) -> None:
    """501, the exchange is over, another may follow; a cancelled one is no failed login."""
    one = wire([b"x"] * 5 + [None])
    one.line("EHLO me")
    for _ in range(5):
        assert one.line("AUTH PLAIN") == "334 eA==\r\n"
        assert one.line("*").startswith("501 5.7.0 ")
        assert isinstance(one.events[-1], AuthEnded)
    assert one.line("AUTH PLAIN =").startswith("235 ")


@pytest.mark.parametrize(
    ("line", "reply"),
    [
        (b"AAA", b"501 5.5.2 "),
        (b"=AAA", b"501 5.5.2 "),
        (b"AB==", b"501 5.5.2 "),
        (b"A A=", b"501 5.5.2 "),
        (b"* ", b"501 5.5.2 "),
        (b"QUIT now", b"501 5.5.2 "),
        (b"\xff\xfe\xfd\xfc", b"501 5.5.2 "),
        (b"A" * 12292, b"500 5.5.6 "),
        (b"A" * 100_000, b"500 5.5.6 "),
    ],
)
def test_a_spoiled_response_ends_the_exchange(wire: Any, line: bytes, reply: bytes) -> None:
    """Broken base64 is 501, an over-long line 500; the session can be closed."""
    one = wire([b""])
    one.line("EHLO me")
    one.line("AUTH PLAIN")
    assert one.say(line + b"\r\n").startswith(reply)
    assert isinstance(one.events[-1], AuthEnded)
    assert one.line("NOOP").startswith("250 ")


def test_the_longest_response_is_taken(wire: Any) -> None:
    """12288 octets of base64, as a response and as an initial one (RFC 4954 section 4)."""
    one = wire([b"", b"", None])
    one.line("EHLO me")
    one.line("AUTH PLAIN")
    assert one.line("A" * 12288) == "334 \r\n"
    assert one.line("*").startswith("501 ")
    assert one.line("AUTH " + "X" * 20 + " " + "A" * 12288).startswith("235 ")
    assert one.events[1] == AuthResponse(bytes(9216))


def test_a_failure_without_a_last_word(wire: Any) -> None:
    """The refusal follows at once, and never says why."""
    one = wire([AuthenticationError(detail="no such user tim")])
    one.line("EHLO me")
    assert one.say(b"AUTH PLAIN =\r\n") == FAILED


@pytest.mark.parametrize("answer", ["", "*", "AAA", "A" * 20000, "QUIT"])
def test_a_failure_with_a_last_word(wire: Any, answer: str) -> None:
    """The mechanism's error goes out as a challenge; whatever is answered is refused."""
    one = wire([b"r=", AuthenticationError(wire=b"e=invalid-proof")])
    one.line("EHLO me")
    one.line("AUTH SCRAM-SHA-256 bg==")
    assert one.line("Yw==") == f"334 {b64encode(b'e=invalid-proof').decode()}\r\n"
    last = one.line(answer).encode()
    assert last == FAILED or (len(answer) > 12288 and last.startswith(b"500 5.5.6 "))
    assert not any(isinstance(event, AuthEnded) for event in one.events)
    assert not one.connection.authenticated
    assert one.line("NOOP").startswith("250 ")


@pytest.mark.parametrize(
    "spoil", ["AUTH PLAIN =", "AUTH PLAIN\r\nAAA", "AUTH PLAIN\r\n" + "A" * 20000]
)
def test_three_failed_logins_end_the_connection(wire: Any, spoil: str) -> None:
    """The third is refused like the others; then comes 421."""
    refused = AuthenticationError() if spoil.endswith("=") else b""
    one = wire([refused] * 3)
    one.line("EHLO me")
    for _ in range(2):
        assert "421" not in one.line(spoil)
    lines = one.line(spoil).split("\r\n")
    assert lines[-2] == "421 4.3.2 mail.example Too many failed logins"
    assert lines[-3][:3] in {"535", "501", "500"}
    assert one.closed
    assert one.say(b"NOOP\r\n") == b""


def test_errors_and_commands_are_limited(wire: Any) -> None:
    """A client that only errs, or never ends, is sent away with 421."""
    one = wire(limits=Limits(errors=3, commands=8))
    assert [one.line("HACK")[:3] for _ in range(2)] == ["500", "500"]
    assert "421 4.3.2 " in one.line("HACK")
    two = wire(limits=Limits(errors=3, commands=8))
    assert [two.line("NOOP")[:3] for _ in range(9)] == ["250"] * 8 + ["421"]


def test_unknown_mechanisms_count_as_errors(wire: Any) -> None:
    """Asking for what is not there is no failed login, but does not go on for ever."""
    one = wire([MechanismError("no")] * 9, limits=Limits(errors=9, auth_failures=3))
    one.line("EHLO me")
    assert "504 5.5.4 " in one.line("AUTH NOPE")
    assert "504 5.5.4 " in one.line("AUTH NOPE")
    assert not one.closed


def test_cancelled_exchanges_count_as_errors(wire: Any) -> None:
    """Whoever does nothing but begin and cancel is sent away; each session can be closed."""
    one = wire([b""] * 3, limits=Limits(errors=3, auth_failures=2))
    one.line("EHLO me")
    for _ in range(2):
        one.line("AUTH PLAIN")
        assert one.line("*") == "501 5.7.0 Authentication cancelled\r\n"
    one.line("AUTH PLAIN")
    lines = one.line("*").split("\r\n")
    assert lines[-3:-1] == [
        "501 5.7.0 Authentication cancelled",
        "421 4.3.2 mail.example Too many errors",
    ]
    assert sum(isinstance(event, AuthEnded) for event in one.events) == 3
    assert one.closed


def test_an_outage_is_told_apart(wire: Any) -> None:
    """454, so that no client throws its password away."""
    one = wire([BackendError(detail="the store is gone")])
    one.line("EHLO me")
    assert one.line("AUTH PLAIN =") == "454 4.7.0 Temporary authentication failure\r\n"


# --- STARTTLS ----------------------------------------------------------------------------------


def test_starttls_forgets_everything(wire: Any) -> None:
    """EHLO and what it offered are gone; the mechanisms are asked for anew; no second STARTTLS."""
    offers = iter([("SCRAM-SHA-256",), ("SCRAM-SHA-256", "PLAIN")])
    one = wire(mechanisms=lambda: next(offers))
    assert one.line("EHLO me").endswith("AUTH SCRAM-SHA-256\r\n")
    assert one.line("STARTTLS") == ""
    assert one.line("AUTH PLAIN =").startswith("503 ")
    answer = one.line("EHLO me")
    assert answer.endswith("AUTH SCRAM-SHA-256 PLAIN\r\n")
    assert "STARTTLS" not in answer
    assert one.line("STARTTLS").startswith("502 ")


@pytest.mark.parametrize(
    "pipelined", [b"EHLO you\r\n", b"AUTH PLAIN AHUAcA==\r\n", b"\r\n", b"x", b"\x16\x03\x01"]
)
def test_what_follows_starttls_in_clear_ends_the_connection(wire: Any, pipelined: bytes) -> None:
    """Bytes that arrived before the handshake are never read as if TLS had brought them."""
    one = wire()
    one.line("EHLO me")
    assert one.say(b"STARTTLS\r\n" + pipelined).startswith(b"554 5.5.1 ")
    assert one.closed
    assert one.events[:-1] == [one.events[0]]
    assert isinstance(one.events[0], TlsRequested)


@pytest.mark.parametrize("before", [[], ["HELO me"]])
def test_starttls_is_taken_without_ehlo(wire: Any, before: list[str]) -> None:
    """As GNU SASL asks, right after the greeting; AUTH still wants an EHLO, inside of TLS."""
    one = wire()
    for line in before:
        one.line(line)
    assert one.line("STARTTLS") == ""
    assert isinstance(one.events[-1], TlsRequested)
    assert one.line("AUTH PLAIN =").startswith("503 ")
    assert "STARTTLS" not in one.line("EHLO me")


def test_starttls_is_refused_without_a_certificate(wire: Any) -> None:
    """502 where TLS cannot be had."""
    one = wire(starttls=False)
    one.line("EHLO me")
    assert one.line("STARTTLS").startswith("502 5.5.1 ")


# --- bytes -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "data",
    [
        b"NOOP\n",
        b"NOOP\r",
        b"\n",
        b"EHLO me\nAUTH PLAIN AHUAcA==\r\n",
        b"EHLO me\r\nAUTH PLAIN AHUAcA==\n",
        b"EHLO me\r\nAUTH PLAIN\r\nAHUAcA==\nNOOP\r\n",
        b"EHLO me\r\nAUTH PLAIN\r\nAHUA\rcA==\r\n",
    ],
)
def test_a_bare_newline_ends_the_connection(wire: Any, data: bytes) -> None:
    """Whatever a bare CR or LF should have meant, nothing behind it is obeyed."""
    one = wire([b""])
    answer = one.say(data + b"x")
    assert answer.endswith(b"500 5.5.2 Lines end with CRLF; closing the connection\r\n")
    assert one.closed
    assert not one.connection.authenticated
    assert [type(e) for e in one.events].count(AuthEnded) == (data.count(b"PLAIN\r\n"))


def test_a_message_with_a_bare_newline_ends_the_connection(wire: Any) -> None:
    """No command is smuggled behind a false end of a message (CVE-2023-51764)."""
    one = wire().login()
    for line in ("MAIL FROM:<a@b>", "RCPT TO:<c@d>", "DATA"):
        one.line(line)
    answer = one.say(b"x\r\n.\nMAIL FROM:<e@f>\r\nRCPT TO:<g@h>\r\nDATA\r\n.\r\n")
    assert answer.startswith(b"500 5.5.2 ")
    assert answer.count(b"\r\n") == 1
    assert one.closed
    assert not any(isinstance(event, MessageReceived) for event in one.events)


def test_the_client_hangs_up(wire: Any) -> None:
    """The connection ends in any state; an exchange in progress is ended first."""
    one = wire()
    one.line("EHLO me")
    assert one.say(b"") == b""
    assert one.closed
    two = wire([b""])
    two.line("EHLO me")
    two.line("AUTH PLAIN")
    two.say(b"")
    assert [type(event) for event in two.events[1:]] == [AuthEnded, type(two.events[-1])]
    assert two.closed


def test_the_driver_answers_in_order(wire: Any) -> None:
    """An unanswered event, and an answer to nothing, are the driver's fault."""
    connection = wire().connection
    with pytest.raises(UsageError):
        connection.auth_succeeded()
    with pytest.raises(UsageError):
        connection.tls_started()
    connection.receive(b"EHLO me\r\nAUTH PLAIN\r\n")
    assert isinstance(connection.next_event(), AuthStarted)
    with pytest.raises(UsageError):
        connection.next_event()


SESSION = (
    b"EHLO me\r\nSTARTTLX\r\nAUTH SCRAM-SHA-256\r\nbiw=\r\n*\r\nAUTH PLAIN\r\nAHUAcA==\r\n"
    b"MAIL FROM:<a@b>\r\nRCPT TO:<c@d>\r\nDATA\r\nSubject: x\r\n\r\n..\r\n.\r\nQUIT\r\nNOOP\r\n"
)


def in_chunks(wire: Any, cuts: list[int]) -> tuple[bytes, list[Any]]:
    """What a session cut like this brings: all replies, all events."""
    one = wire([b"r", b"", None])
    edges = sorted({0, len(SESSION), *cuts})
    out = b"".join(one.say(SESSION[a:b]) for a, b in pairwise(edges))
    return out, [
        event if hasattr(event, "__attrs_attrs__") else type(event) for event in one.events
    ]


@given(st.lists(st.integers(1, len(SESSION)), max_size=12))
def test_a_session_is_the_same_in_any_chunks(wire: Any, cuts: list[int]) -> None:
    """Cut anywhere, a session has the same replies and the same events (invariant 9)."""
    whole = in_chunks(wire, [])
    assert b"221 2.0.0 Bye\r\n" in whole[0]
    assert in_chunks(wire, cuts)[0] == whole[0]
    assert [e for e in in_chunks(wire, cuts)[1] if e is not Closed] == [
        e for e in whole[1] if e is not Closed
    ]


def test_a_session_is_the_same_octet_by_octet(wire: Any) -> None:
    """The smallest chunks there are."""
    assert in_chunks(wire, list(range(len(SESSION))))[0] == in_chunks(wire, [])[0]


COMMANDS = st.sampled_from(
    [
        *(b"EHLO me", b"HELO me", b"AUTH PLAIN", b"AUTH PLAIN =", b"STARTTLS", b"MAIL FROM:<a@b>"),
        *(
            b"RCPT TO:<c@d>",
            b"DATA",
            b".",
            b"RSET",
            b"NOOP",
            b"*",
            b"",
            b"AA==",
            b"SECRET",
            b"\xff",
        ),
    ]
)


@settings(max_examples=200)
@given(
    st.lists(
        st.tuples(COMMANDS | st.binary(max_size=20), st.sampled_from([b"\r\n"] * 6 + [b"\n"]))
    ),
    st.lists(
        st.sampled_from([None, b"", AuthenticationError(), AuthenticationError(wire=b"e=x")]),
        min_size=60,
        max_size=60,
    ),
)
def test_any_bytes_at_any_time(wire: Any, lines: list[tuple[bytes, bytes]], answers: Any) -> None:
    """No input raises; every reply is whole; nothing of the client's comes back (invariant 1)."""
    one = wire(answers)
    logged_in = False
    for line, end in lines:
        out = one.say(line + end)
        assert out == b"" or out.endswith(b"\r\n")
        assert b"SECRET" not in out
        logged_in |= b"235 2.7.0" in out
        if any(isinstance(event, MessageReceived) for event in one.events):
            assert logged_in


# --- transcripts of another implementation ------------------------------------------------------


@pytest.mark.parametrize("case", VECTORS["cases"], ids=lambda case: case["id"])
def test_curls_transcripts_are_understood(wire: Any, case: dict[str, Any]) -> None:
    """Each line that curl sends is read as the message that it stands for."""
    exchanges = " ".join(case["server_script"])
    one = wire([b""] * 9, limits=Limits(auth_failures=9))
    for line in case["client_lines"]:
        reply = one.line(line)
        if line == "*":
            assert reply.startswith("501 "), exchanges
            assert isinstance(one.events[-1], AuthEnded)
        elif line.startswith("EHLO"):
            assert reply.startswith("250-")
        else:
            assert reply == "334 \r\n", exchanges
            event = one.events[-1]
            message = event.initial if isinstance(event, AuthStarted) else event.data
            text = line.split(" ")[2] if line.count(" ") == 2 else line
            if line.startswith("AUTH ") and line.count(" ") == 1:
                assert message is None
            else:
                assert message == (b"" if text == "=" else b64decode(text))
                wanted = {item["line"]: item["token_hex"] for item in case["decoded"]}
                assert message is not None
                assert line not in wanted or wanted[line] == message.hex()


# --- a login that has lapsed ---------------------------------------------------------------------


def lapsing(wire: Any) -> tuple[Any, list[bool]]:
    """Somebody who is logged in, and whether the login stands."""
    stands = [True]
    made = wire()
    made.connection.receive(b"EHLO me\r\nAUTH PLAIN =\r\n")
    assert isinstance(made.connection.next_event(), AuthStarted)
    made.connection.auth_succeeded(lambda: stands[0])
    assert made.connection.data_to_send()
    return made, stands


LAPSED = "421 4.7.0 mail.example Your login has lapsed; log in on another connection\r\n"
MAIL = ["MAIL FROM:<a@b>", "RCPT TO:<c@d>", "DATA"]


@pytest.mark.parametrize("done", range(4))
@pytest.mark.parametrize("line", [*MAIL, "NOOP", "RSET", "EHLO me", "AUTH PLAIN =", "nonsense"])
def test_a_login_that_has_lapsed_ends_the_connection(wire: Any, done: int, line: str) -> None:
    """With the next command, wherever a transaction is; temporarily, for another login helps."""
    made, stands = lapsing(wire)
    for each in MAIL[: min(done, 2)]:
        assert made.line(each).startswith("250 ")
    if done == 3:
        assert made.line("DATA").startswith("354 ")
        assert made.say(b"Hi\r\n.\r\n").startswith(b"250 ")
    stands[0] = False
    assert made.line(line) == LAPSED
    assert made.closed


def test_a_message_that_ends_after_the_login_is_not_taken(wire: Any) -> None:
    """It may have been long on its way; the client keeps it."""
    made, stands = lapsing(wire)
    for each in MAIL:
        assert made.line(each)[:3] in {"250", "354"}
    stands[0] = False
    assert made.say(b"Hi\r\n") == b""
    assert made.line(".") == LAPSED
    assert made.closed
    assert not any(isinstance(each, MessageReceived) for each in made.events)


def test_who_leaves_is_not_asked(wire: Any) -> None:
    """A farewell is answered."""
    made, stands = lapsing(wire)
    stands[0] = False
    assert made.line("QUIT").startswith("221 ")
