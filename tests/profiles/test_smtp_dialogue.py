"""The SMTP client's conversation, against scripted servers and sessions."""

from __future__ import annotations

import json
from base64 import b64decode, b64encode
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sasl_core import Reply
from sasl_core.plugin import (
    AuthenticationError,
    BackendError,
    MechanismError,
    PeerError,
    Result,
    SaslError,
    UsageError,
)
from sasl_profiles.smtp.dialogue import Begin, Dialogue, Finish, Hear, Say, Secure, Step
from sasl_profiles.smtp.replies import ReplyReader, SmtpReply
from sasl_profiles.smtp.trace import TraceEvent, masked
from sasl_tokens import encode_document

VECTORS = json.loads(
    (Path(__file__).parents[1] / "vectors" / "profile_transcripts.json").read_text("utf-8")
)


class Script:
    """Answers a dialogue: the server's replies and the session's, each in their order.

    `said` is what the client sent; `finished` counts calls of the session's finish.
    """

    def __init__(
        self,
        replies: Sequence[str] = (),
        session: Sequence[Reply | SaslError] = (),
        *,
        mechanism: str = "PLAIN",
        finish: SaslError | None = None,
    ) -> None:
        self.replies = list(replies)
        self.session = list(session)
        self.mechanism = mechanism
        self.finish = finish
        self.said: list[str] = []
        self.challenges: list[bytes] = []
        self.offered: tuple[str, ...] = ()
        self.finished = 0
        self.secured = 0

    def run(self, talk: Any) -> Any:
        """Drive it to its end."""
        answer: object = None
        error: SaslError | None = None
        while True:
            try:
                ask = talk.send(answer) if error is None else talk.throw(error)
            except StopIteration as stop:
                return stop.value
            answer, error = None, None
            try:
                answer = self._answer(ask)
            except SaslError as raised:
                error = raised

    def _answer(self, ask: object) -> object:
        match ask:
            case Say(line):
                self.said.append(line.decode("ascii"))
                return self._reply()
            case Hear():
                return self._reply()
            case Secure():
                self.secured += 1
                return None
            case Begin(offered):
                self.offered = offered
                return self.mechanism, self._next()
            case Step(challenge):
                self.challenges.append(challenge)
                return self._next()
            case Finish():
                self.finished += 1
                if self.finish is not None:
                    raise self.finish
                return None
            case _:
                raise AssertionError(ask)

    def _next(self) -> Reply:
        one = self.session.pop(0)
        if isinstance(one, SaslError):
            raise one
        return one

    def _reply(self) -> SmtpReply:
        reader = ReplyReader()
        reader.feed(self.replies.pop(0).encode() + b"\r\n")
        found = reader.next_reply()
        assert found is not None
        return found


def b64(data: bytes) -> str:
    """Base64 as text."""
    return b64encode(data).decode()


EHLO = "250-mail\r\n250-STARTTLS\r\n250 AUTH PLAIN SCRAM-SHA-256"


def test_ehlo_is_read() -> None:
    """The mechanisms and keywords of the answer."""
    dialogue = Dialogue()
    script = Script([EHLO])
    found = script.run(dialogue.ehlo("me"))
    assert script.said == ["EHLO me"]
    assert found == dialogue.capabilities
    assert found.mechanisms == ("PLAIN", "SCRAM-SHA-256")


@pytest.mark.parametrize("name", ["", "a b", "a\r\nQUIT", "caf\u00e9", "x" * 600])
def test_ehlo_takes_one_name(name: str) -> None:
    """No line is built out of a name that is none."""
    with pytest.raises(UsageError):
        Script([EHLO]).run(Dialogue().ehlo(name))


@pytest.mark.parametrize(("code", "error"), [("421", BackendError), ("554", PeerError)])
def test_a_server_that_does_not_want_us(code: str, error: type[SaslError]) -> None:
    """4xx is temporary, 5xx is not; at the greeting as well as at EHLO."""
    for talk in (Dialogue().greet(), Dialogue().ehlo("me")):
        with pytest.raises(error) as caught:
            Script([f"{code} go away"]).run(talk)
        assert "go away" in str(caught.value.detail)


# --- login -------------------------------------------------------------------------------------


def test_login_in_one_round_trip() -> None:
    """The initial response goes with AUTH; the session hears of the success."""
    script = Script(["235 2.7.0 ok"], [Reply(b"\0u\0p", done=True)])
    script.run(Dialogue().login(["PLAIN"]))
    assert script.said == ["AUTH PLAIN " + b64(b"\0u\0p")]
    assert script.offered == ("PLAIN",)
    assert script.finished == 1


def test_login_uses_what_ehlo_offered() -> None:
    """Without a list the server's own is taken."""
    dialogue = Dialogue()
    script = Script([EHLO, "235 ok"], [Reply(b"", done=True)])
    script.run(dialogue.ehlo("me"))
    script.run(dialogue.login())
    assert script.offered == ("PLAIN", "SCRAM-SHA-256")


@pytest.mark.parametrize(("initial", "line"), [(None, "AUTH PLAIN"), (b"", "AUTH PLAIN =")])
def test_absent_and_empty_initial_responses(initial: bytes | None, line: str) -> None:
    """None sends no argument, an empty message sends `=`."""
    script = Script(["334 ", "235 ok"], [Reply(initial, done=False), Reply(b"x", done=True)])
    script.run(Dialogue().login(["PLAIN"]))
    assert script.said == [line, "eA=="]
    assert script.challenges == [b""]


def test_a_long_initial_response_waits_for_an_empty_challenge() -> None:
    """What would pass 512 octets does not go with AUTH (RFC 4954 section 4)."""
    token = b"t" * 400
    script = Script(["334 ", "235 ok"], [Reply(token, done=True)])
    script.run(Dialogue().login(["PLAIN"]))
    assert script.said == ["AUTH PLAIN", b64(token)]
    assert script.challenges == []
    assert script.finished == 1


def test_a_long_initial_response_is_not_given_to_a_server_that_speaks_first() -> None:
    """A challenge with data is not what was agreed on; the secret stays here."""
    script = Script(["334 eA==", "501 ok"], [Reply(b"t" * 400, done=True)])
    dialogue = Dialogue()
    with pytest.raises(PeerError):
        script.run(dialogue.login(["PLAIN"]))
    assert script.said == ["AUTH PLAIN", "*"]
    assert not dialogue.broken


def test_a_message_beyond_the_protocol_is_not_sent() -> None:
    """More than 12288 octets of base64 is cancelled and told as what it is."""
    script = Script(["334 ", "501 ok"], [Reply(b"t" * 10_000, done=True)])
    with pytest.raises(UsageError) as caught:
        script.run(Dialogue().login(["PLAIN"]))
    assert caught.value.result is Result.BUFOVER
    assert script.said == ["AUTH PLAIN", "*"]


def test_the_last_challenge_is_answered_with_nothing() -> None:
    """Success data come as a challenge; the empty answer comes before 235."""
    script = Script(
        ["334 " + b64(b"r="), "334 " + b64(b"v="), "235 ok"],
        [Reply(b"n,,", done=False), Reply(b"c=", done=False), Reply(b"", done=True)],
        mechanism="SCRAM-SHA-256",
    )
    script.run(Dialogue().login(["SCRAM-SHA-256"]))
    assert script.said == ["AUTH SCRAM-SHA-256 " + b64(b"n,,"), b64(b"c="), ""]
    assert script.challenges == [b"r=", b"v="]


@pytest.mark.parametrize(
    "reply",
    ["334 PLAIN supported", "334 AAA", "334 =", "334-eA==\r\n334 eA==", "334 AB==", "334 *"],
)
def test_a_challenge_that_cannot_be_decoded_is_cancelled(reply: str) -> None:
    """`*`, its 501, and then the error (RFC 4954 section 4)."""
    script = Script([reply, "501 cancelled"], [Reply(None, done=False), Reply(b"x", done=True)])
    with pytest.raises(PeerError):
        script.run(Dialogue().login(["PLAIN"]))
    assert script.said[-1] == "*"
    assert script.finished == 0


def test_a_challenge_after_the_end_is_refused() -> None:
    """A server that goes on where the mechanism is through gets nothing more."""
    script = Script(["334 ", "501 ok"], [Reply(b"\0u\0p", done=True)])
    with pytest.raises(PeerError):
        script.run(Dialogue().login(["PLAIN"]))
    assert script.said[-1] == "*"


def test_a_session_that_fails_is_taken_back() -> None:
    """A forged server signature: cancelled, the session's error stands."""
    failure = AuthenticationError(result=Result.BADSERV)
    dialogue = Dialogue()
    script = Script(["334 eA==", "501 ok"], [Reply(b"n", done=False), failure])
    with pytest.raises(AuthenticationError) as caught:
        script.run(dialogue.login(["SCRAM-SHA-256"]))
    assert caught.value is failure
    assert script.said[-1] == "*"
    assert not dialogue.broken


def test_a_last_word_is_said_before_the_end() -> None:
    """What the mechanism owes to the server is sent in the place of `*`."""
    failure = AuthenticationError(wire=b"\x01")
    script = Script(["334 eA==", "535 no"], [Reply(b"n", done=False), failure])
    with pytest.raises(AuthenticationError):
        script.run(Dialogue().login(["OAUTHBEARER"]))
    assert script.said[-1] == "AQ=="


@pytest.mark.parametrize("replies", [["235 ok"], ["334 "], ["220 what"]])
def test_a_server_that_ignores_our_no_is_left(replies: list[str]) -> None:
    """Success or more challenges after `*`: the connection is not to be used."""
    dialogue = Dialogue()
    script = Script(["334 eA==", *replies], [Reply(b"n", done=False), PeerError("no")])
    with pytest.raises(PeerError):
        script.run(dialogue.login(["PLAIN"]))
    assert script.said[-1] == "*"
    assert dialogue.broken


def test_an_early_success_is_no_success() -> None:
    """235 before the server proved itself raises, and the connection is done with."""
    dialogue = Dialogue()
    script = Script(
        ["235 welcome"],
        [Reply(b"n,,", done=False)],
        mechanism="SCRAM-SHA-256",
        finish=AuthenticationError(result=Result.BADSERV),
    )
    with pytest.raises(AuthenticationError):
        script.run(dialogue.login(["SCRAM-SHA-256"]))
    assert dialogue.broken


@pytest.mark.parametrize(
    ("reply", "error", "result"),
    [
        ("535 5.7.8 no", AuthenticationError, Result.BADAUTH),
        ("550 5.7.1 no", AuthenticationError, Result.BADAUTH),
        ("454 4.7.0 later", BackendError, Result.TRYAGAIN),
        ("421 4.3.2 bye", BackendError, Result.TRYAGAIN),
        ("432 4.7.12 change", BackendError, Result.TRANS),
        ("504 5.5.4 what", MechanismError, Result.NOMECH),
        ("530 5.7.0 STARTTLS", MechanismError, Result.ENCRYPT),
        ("534 5.7.9 weak", MechanismError, Result.TOOWEAK),
        ("538 5.7.11 clear", MechanismError, Result.ENCRYPT),
        ("501 5.5.2 eh", PeerError, Result.BADPROT),
        ("503 5.5.1 no", PeerError, Result.BADPROT),
        ("250 ok", PeerError, Result.BADPROT),
        ("354 go on", PeerError, Result.BADPROT),
    ],
)
def test_each_refusal_has_its_error(reply: str, error: type[SaslError], result: Result) -> None:
    """The server's code chooses the error; its words are only in the detail."""
    script = Script([reply], [Reply(b"\0u\0p", done=True)])
    with pytest.raises(error) as caught:
        script.run(Dialogue().login(["PLAIN"]))
    assert type(caught.value) is error
    assert caught.value.result is result
    assert reply[:3] in str(caught.value.detail)
    if error is AuthenticationError:
        assert str(caught.value) == "authentication failed"


def test_nothing_is_said_when_no_mechanism_fits() -> None:
    """The session's refusal comes before any line."""
    script = Script([], [MechanismError("none")])
    with pytest.raises(MechanismError):
        script.run(Dialogue().login([]))
    assert script.said == []


# --- STARTTLS ----------------------------------------------------------------------------------


def test_starttls_forgets_and_asks_again() -> None:
    """What was offered in clear is gone; EHLO is said again."""
    dialogue = Dialogue()
    script = Script([EHLO, "220 go", "250-mail\r\n250 AUTH PLAIN"])
    script.run(dialogue.ehlo("me"))
    script.run(dialogue.starttls("me"))
    assert script.said == ["EHLO me", "STARTTLS", "EHLO me"]
    assert script.secured == 1
    assert dialogue.capabilities.mechanisms == ("PLAIN",)
    with pytest.raises(UsageError):
        script.run(dialogue.starttls("me"))


def test_starttls_that_is_not_offered_is_an_error() -> None:
    """A stripped STARTTLS never means going on in clear."""
    dialogue = Dialogue()
    script = Script(["250-mail\r\n250 AUTH PLAIN"])
    script.run(dialogue.ehlo("me"))
    with pytest.raises(PeerError) as caught:
        script.run(dialogue.starttls("me"))
    assert caught.value.code == "no-starttls"
    assert script.said == ["EHLO me"]


def test_starttls_that_is_refused_is_an_error() -> None:
    """454 is temporary; TLS is not begun."""
    dialogue = Dialogue()
    script = Script([EHLO, "454 no"])
    script.run(dialogue.ehlo("me"))
    with pytest.raises(BackendError):
        script.run(dialogue.starttls("me"))
    assert script.secured == 0
    assert not dialogue.secured


# --- trace -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("mechanism", "message", "shown"),
    [
        ("PLAIN", b"\0u\0hunter2", "\\0u\\0****"),
        ("PLAIN", b"z\0u\0hunter2\0hunter2", "****"),
        ("LOGIN", b"hunter2", "****"),
        ("XOAUTH2", b"user=u\x01auth=Bearer hunter2\x01\x01", "****"),
        ("X-NEW", b"hunter2", "****"),
        ("PLAIN", b"", ""),
        ("ANONYMOUS", b"sirhc", "sirhc"),
        ("EXTERNAL", b"tim", "tim"),
        ("SCRAM-SHA-256", b"n,,n=tim,r=abc", "n,,n=tim,r=abc"),
        ("SCRAM-SHA-256", b"y,a=x,n=tim,r=abc", "y,a=x,n=tim,r=abc"),
        ("SCRAM-SHA-256-PLUS", b"p=tls-exporter,,n=u,r=x", "p=tls-exporter,,n=u,r=x"),
        ("SCRAM-SHA-256", b"r=abc,s=c2FsdA==,i=4096", "r=abc,s=c2FsdA==,i=4096"),
        ("SCRAM-SHA-256", b"c=biws,r=abc,p=aHVudGVyMg==", "c=biws,r=abc,p=****"),
        ("SCRAM-SHA-256", b"c=biws,p=hunter2,r=abc,p=hunter2", "c=biws,p=****"),
        ("SCRAM-SHA-256", b"v=aHVudGVyMg==", "v=****"),
        ("SCRAM-SHA-256", b"e=invalid-proof", "e=invalid-proof"),
        ("SCRAM-SHA-256", b"hunter2", "****"),
        ("ANONYMOUS", b"a\x1b[31m\xff", "a\\x1b[31m\\\\xff"),
    ],
)
def test_what_a_trace_shows(mechanism: str, message: bytes, shown: str) -> None:
    """Passwords, tokens, proofs and signatures are hidden; control characters are escaped."""
    assert masked(mechanism, message) == (shown, "****" in shown)


@pytest.mark.parametrize(
    ("document", "shown"),
    [
        ({"jwt": "hunter2"}, "{jwt: ****}"),
        ({"n": "tim"}, "{n: tim}"),
        ({"n": "tim", "jwt": "hunter2"}, "{n: tim, jwt: ****}"),
        (
            {"issuer": "https://id.example.com", "clientId": "c1", "requestScopes": ["a", "b"]},
            "{issuer: https://id.example.com, clientId: c1, requestScopes: a b}",
        ),
        ({"n": "a\x1b[31m"}, "{n: a\\x1b[31m}"),
        ({}, "{}"),
        ({"token": "hunter2"}, "****"),
        ({"n": 7}, "****"),
        ({"requestScopes": ["a", 7]}, "****"),
        ({"issuer": {"jwt": "hunter2"}}, "****"),
        # A server that repeats the token in a place of its own.
        ({"issuer": "https://x/" + "hunter2" * 6}, "****"),
        ({"requestScopes": ["a", "hunter2" * 6]}, "****"),
    ],
)
def test_what_a_trace_shows_of_mongodb_oidc(document: dict[str, object], shown: str) -> None:
    """Whom the server trusts and who is meant; never a token, nor what may be one."""
    message = encode_document(document)
    assert masked("MONGODB-OIDC", message) == (shown, "****" in shown)
    assert masked("MONGODB-OIDC", message + b"x") == ("****", True)


def test_an_opaque_token_that_comes_back_is_not_traced() -> None:
    """A challenge may have it where a trace shows what stands there; its like is shown."""
    seen: list[TraceEvent] = []
    token = "ya29.Y2FsZW5kYXItb2Y"
    for issuer, shown in ((token, "****"), ("https://id.example.com", "{issuer: https://id.e")):
        dialogue = Dialogue(seen.append)
        challenge = b64encode(encode_document({"issuer": issuer})).decode()
        first = Reply(encode_document({"jwt": token}), done=True)
        replies = ["250-mail\r\n250 AUTH MONGODB-OIDC", f"334 {challenge}", "501 no"]
        script = Script(replies, [first, PeerError("no")], mechanism="MONGODB-OIDC")
        script.run(dialogue.ehlo("me"))
        with pytest.raises(PeerError):
            script.run(dialogue.login())
        messages = [event.message or "" for event in seen if event.line.startswith("334")]
        assert messages[-1].startswith(shown)
    assert token not in str(seen)


@given(st.binary(min_size=1))
def test_a_trace_of_mongodb_oidc_takes_any_octets(message: bytes) -> None:
    """Whatever the server sends, it is a document that is known, or hidden."""
    shown, secret = masked("MONGODB-OIDC", message)
    assert (shown, secret) == ("****", True) or shown.startswith("{")


@given(st.sampled_from(["LOGIN", "OAUTHBEARER", "X", "PLAINER", "SCRAM"]), st.binary(min_size=1))
def test_a_trace_shows_nothing_of_what_it_does_not_know(mechanism: str, message: bytes) -> None:
    """Not even the length."""
    assert masked(mechanism, message) == ("****", True)


def test_a_traced_login_holds_no_secret() -> None:
    """Neither plain nor in base64, in no event, with an initial response and without."""
    events: list[TraceEvent] = []
    for initial in (b"\0tim\0hunter2", None):
        script = Script(
            ["334 ", "235 ok"] if initial is None else ["235 ok"],
            [Reply(initial, done=initial is not None), Reply(b"\0tim\0hunter2", done=True)],
        )
        script.run(Dialogue(events.append).login(["PLAIN"]))
    assert [(event.direction, event.line, event.secret) for event in events] == [
        ("C", "AUTH PLAIN ****", True),
        ("S", "235 ok", False),
        ("C", "AUTH PLAIN", False),
        ("S", "334", False),
        ("C", "****", True),
        ("S", "235 ok", False),
    ]
    assert "hunter2" not in repr(events)
    assert b64(b"\0tim\0hunter2") not in repr(events)


LONG = b64(b"\0tim\0" + b"hunter2" * 9)
SHORT = b64(b"\0t\0pw")


@pytest.mark.parametrize(
    ("secret", "replies", "shown"),
    [
        (LONG, [f"501 5.5.4 bad command: AUTH PLAIN {LONG}"], "bad command: AUTH PLAIN ****"),
        (SHORT, [f"501 5.5.4 bad command: AUTH PLAIN {SHORT}"], "bad command: AUTH PLAIN ****"),
        (SHORT, [f"501 5.5.4 <{SHORT.upper()}>?"], "<****>?"),
        (SHORT, [f"501 5.5.4 x{SHORT.rstrip('=')}x"], "****"),
        (LONG, [f"501-5.5.4 bad:\r\n501-5.5.4 {LONG[:9]}\r\n501 5.5.4 {LONG[9:]}"], "****"),
        ("YQ==", ["501 5.5.4 bad command: YQ=="], "bad command: ****"),
        (LONG, ["501 5.5.4 what is dGhlIHNlY3JldCBpcyBz"], "what is ****"),
        (SHORT, [f"504 5.5.4 no AUTH PLAIN {SHORT}"], "no AUTH PLAIN ****"),
        (SHORT, [f"535 5.7.8 no {SHORT}"], "no ****"),
        (SHORT, [f"454 4.7.0 later {SHORT}"], "later ****"),
        (SHORT, ["334 !", f"501 5.5.4 after {SHORT}, a star"], "after ****, a star"),
        (SHORT, ["334 !", f"334 5.5.4 {SHORT}"], "****"),
    ],
)
@pytest.mark.parametrize("early", [True, False], ids=["with AUTH", "after AUTH"])
def test_what_a_server_echoes_is_hidden(
    secret: str, replies: list[str], shown: str, early: bool
) -> None:
    """What we sent in an exchange stands in no error and in no event, whoever repeats it."""
    events: list[TraceEvent] = []
    message = b64decode(secret)
    script = Script(
        replies if early else ["334 ", *replies],
        [Reply(message if early else None, done=early), Reply(message, done=True)],
    )
    with pytest.raises(SaslError) as caught:
        script.run(Dialogue(events.append).login(["PLAIN"]))
    assert script.said[0 if early else 1].endswith(secret)
    error = caught.value
    reasons = error.reasons if isinstance(error, MechanismError) else {}
    told = f"{error} {error.detail} {dict(reasons)} {events}".upper()
    for part in (secret[:9], secret[-9:].rstrip("=")):
        assert part.upper() not in told
    assert "****" in str(error.detail) or len(replies) == 2
    last = events[-1]
    assert (last.direction, last.secret) == ("S", True)
    assert last.line.endswith(shown)


def test_an_echo_of_the_last_word_is_hidden() -> None:
    """Also while an exchange is taken back."""
    events: list[TraceEvent] = []
    script = Script(
        ["334 eA==", "501 5.5.4 no sAmE"],
        [Reply(b"tim", done=False), AuthenticationError(wire=b64decode("sAmE"))],
        mechanism="X-NEW",
    )
    with pytest.raises(AuthenticationError):
        script.run(Dialogue(events.append).login(["X-NEW"]))
    assert events[-1] == TraceEvent("S", "501 5.5.4 no ****", secret=True)


def test_a_servers_words_are_shown() -> None:
    """What is no echo stays readable; and outside of an exchange nothing is hidden."""
    events: list[TraceEvent] = []
    script = Script(
        ["504 5.5.4 AUTH PLAIN is unavailable", "221 2.0.0 ENHANCEDSTATUSCODES bye"],
        [Reply(b"\0tim\0hunter2", done=True)],
    )
    dialogue = Dialogue(events.append)
    with pytest.raises(MechanismError) as caught:
        script.run(dialogue.login(["PLAIN"]))
    script.run(dialogue.quit())
    assert caught.value.detail == (
        "the server answered AUTH with 504 5.5.4 AUTH PLAIN is unavailable"
    )
    assert events[-3:] == [
        TraceEvent("S", "504 5.5.4 AUTH PLAIN is unavailable"),
        TraceEvent("C", "QUIT"),
        TraceEvent("S", "221 2.0.0 ENHANCEDSTATUSCODES bye"),
    ]


# --- transcripts of another implementation ------------------------------------------------------


def single_step(case: dict[str, Any]) -> bool:
    """Whether the case is a client's one message, sent with AUTH or after it."""
    return len(case["decoded"]) == 1 and len(case["client_lines"]) in {2, 3}


@pytest.mark.parametrize(
    "case", [case for case in VECTORS["cases"] if single_step(case)], ids=lambda case: case["id"]
)
def test_we_say_what_curl_says(case: dict[str, Any]) -> None:
    """Given curl's message, the same lines are sent."""
    command = case["client_lines"][1].split(" ")
    message = b64decode(case["decoded"][0]["line"].split(" ")[-1])
    early = len(command) == 3
    script = Script(
        ["235 ok"] if early else ["334 ", "235 ok"],
        [Reply(message if early else None, done=early), Reply(message, done=True)],
        mechanism=command[1],
    )
    script.run(Dialogue().login([command[1]]))
    assert script.said == case["client_lines"][1:]
