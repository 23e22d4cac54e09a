"""curl, msmtp and the standard library's smtplib log in to our SMTP server by a token.

OAUTHBEARER and XOAUTH2 over STARTTLS, with a private authority: tokens that an issuer has signed
by RS256 and ES256, those that a server refuses, and those that are too long for one line.
"""

from __future__ import annotations

import re
import smtplib
from base64 import b64encode
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TypeAlias

import pytest

from daemons import free_port
from mail_clients import LETTER
from mailhost import PASSWORD, USER, Authority, MailHost
from peers import Outcome, run
from sasl_core import Result
from token_kit import FakeIssuer
from tutorial_runs import SMARTHOST_PASSWORD, GroupsProvider, submission_page

pytestmark = pytest.mark.interop

Need: TypeAlias = Callable[[str], str]
Serve: TypeAlias = Callable[..., MailHost]
Submit: TypeAlias = Callable[..., tuple[bool, Outcome]]

MECHANISMS = ["OAUTHBEARER", "XOAUTH2"]
CONFIGURATION_URL = "https://issuer.example.com/.well-known/openid-configuration"


def error_of(mechanism: str, *, scope: bool) -> bytes:
    """What a client is told; `scope`: it is a scope that is missing."""
    if mechanism == "XOAUTH2":
        return b'{"status":"400","schemes":"Bearer","scope":"mail"}'
    status = "insufficient_scope" if scope else "invalid_token"
    known = f'"scope":"mail","openid-configuration":"{CONFIGURATION_URL}"'
    return f'{{"status":"{status}",{known}}}'.encode()


@pytest.fixture
def issuer() -> FakeIssuer:
    """Signs by RS256 and ES256, and answers our server without a network."""
    return FakeIssuer(algs=("RS256", "ES256"), audience="mail")


@pytest.fixture
def serve(issuer: FakeIssuer, authority: Authority, tmp_path: Path) -> Iterator[Serve]:
    """Starts servers that believe the issuer, and offer what they are told to; each is stopped."""
    started: list[MailHost] = []

    def start(mechanisms: Sequence[str] = MECHANISMS) -> MailHost:
        table = {
            "issuer": issuer.url,
            "audience": "mail",
            "authNamePrefix": "corp",
            "authorizationClaim": "groups",
            "supportsHumanFlows": False,
        }
        config = {
            "mech_list": ["PLAIN", *mechanisms],
            "identity_providers": [table],
            "mechanisms": {name: {"plain_names": True, "scope": ["mail"]} for name in MECHANISMS},
        }
        folder = tmp_path / f"host{len(started)}"
        folder.mkdir()
        users = {USER: PASSWORD}
        started.append(MailHost(folder, config, users, authority, http=issuer.http))
        return started[-1]

    yield start
    for host in started:
        host.close()


def good(issuer: FakeIssuer, alg: str = "RS256", **more: object) -> str:
    """A token that lets the user in, unless `more` claims otherwise."""
    claims = issuer.claims(**{"groups": [], "scope": "openid mail", **more})
    return issuer.sign(claims, alg=alg)


def of_length(issuer: FakeIssuer, length: int) -> str:
    """A good token of about that many characters; base64 does not make every length."""
    bare = len(good(issuer, padding=""))
    # Three characters of JSON are four of the token.
    token = good(issuer, padding="x" * ((length - bare) * 3 // 4 - 2))
    assert length - 8 <= len(token) <= length
    return token


def of_unknown_key(issuer: FakeIssuer) -> str:
    """A token by a key that the issuer has not."""
    stranger = FakeIssuer(issuer.url, audience="mail")
    stranger.rotate()
    return good(stranger)


BAD: Mapping[str, Callable[[FakeIssuer], str]] = {
    # The code of the refusal -> a token that meets it.
    "token-expired": lambda issuer: good(issuer, exp=1_700_000_000),
    "token-audience": lambda issuer: good(issuer, aud="another"),
    "token-key-unknown": of_unknown_key,
    "token-signature": lambda issuer: good(issuer)[:-8] + "AAAAAAAA",
    "token-scope": lambda issuer: good(issuer, scope="openid"),
}


def curl(need: Need, host: MailHost, home: Path, mechanism: str, token: str, *more: str) -> Outcome:
    """Curl hands in LETTER."""
    assert host.authority is not None
    letter = home / "letter"
    letter.write_bytes(LETTER)
    command = [need("curl"), "--disable", "--silent", "--show-error", "--verbose", *more]
    command += ["--url", f"smtp://127.0.0.1:{host.port}/me.example", "--user", f"{USER}:"]
    command += ["--ssl-reqd", "--cacert", str(host.authority.authority)]
    command += ["--login-options", f"AUTH={mechanism}", "--oauth2-bearer", token]
    command += ["--mail-from", "a@x.example", "--mail-rcpt", "b@x.example"]
    return run([*command, "--upload-file", str(letter)], home)


def submit_curl(*more: str) -> Submit:
    """Whether curl was let in, and what it said."""

    def submit(
        need: Need, host: MailHost, home: Path, mechanism: str, token: str
    ) -> tuple[bool, Outcome]:
        outcome = curl(need, host, home, mechanism, token, *more)
        # 67: "the user name, password, or similar was not accepted".
        return outcome.expect(0, 67) == 0, outcome

    return submit


def submit_msmtp(
    need: Need, host: MailHost, home: Path, mechanism: str, token: str
) -> tuple[bool, Outcome]:
    """Whether msmtp was let in, and what it said."""
    assert host.authority is not None
    file = home / "token"
    file.write_text(token)
    settings = {
        "account": "default",
        "host": "localhost",
        "port": str(host.port),
        "tls": "on",
        "tls_starttls": "on",
        "tls_trust_file": str(host.authority.authority),
        "auth": mechanism.lower(),
        "user": USER,
        "passwordeval": f'"cat {file}"',
        "from": "a@x.example",
        "domain": "me.example",
    }
    rc = home / "msmtprc"
    rc.write_text("".join(f"{name} {value}\n" for name, value in settings.items()))
    # It refuses to read one that others can.
    rc.chmod(0o600)
    command = [need("msmtp"), f"--file={rc}", "--debug", "b@x.example"]
    outcome = run(command, home, LETTER.decode().replace("\r\n", "\n"))
    # 77: EX_NOPERM of sysexits.h.
    return outcome.expect(0, 77) == 0, outcome


CLIENTS = {"curl": submit_curl(), "curl-initial": submit_curl("--sasl-ir"), "msmtp": submit_msmtp}

ANSWERS = {
    # What each says to the error; None: it hangs up. msmtp has XOAUTH2's answer for both.
    ("curl", "OAUTHBEARER"): "AQ==",
    ("curl", "XOAUTH2"): None,
    ("curl-initial", "OAUTHBEARER"): "AQ==",
    ("curl-initial", "XOAUTH2"): None,
    ("msmtp", "OAUTHBEARER"): "",
    ("msmtp", "XOAUTH2"): "",
}


def after_error(outcome: Outcome, error: bytes) -> list[str]:
    """What the client says after this error, and what it hears then."""
    lines = re.findall(r"^(?:<--|-->|[<>]) ?(.*)$", outcome.output, re.MULTILINE)
    at = lines.index(f"334 {b64encode(error).decode()}")
    return lines[at + 1 : at + 3]


@pytest.mark.parametrize("alg", ["RS256", "ES256"])
@pytest.mark.parametrize("mechanism", MECHANISMS)
@pytest.mark.parametrize("client", CLIENTS)
def test_mail_comes_with_the_name_in_the_token(
    need: Need,
    serve: Serve,
    issuer: FakeIssuer,
    tmp_path: Path,
    client: str,
    mechanism: str,
    alg: str,
) -> None:
    """One letter, from whom the token names."""
    host = serve([mechanism])
    accepted, outcome = CLIENTS[client](need, host, tmp_path, mechanism, good(issuer, alg))
    assert accepted, str(outcome)
    assert host.results() == [(mechanism, Result.OK)]
    (message,) = host.messages
    assert LETTER in message.data
    assert (message.authid, message.authzid) == (USER, USER)


@pytest.mark.parametrize("code", BAD)
@pytest.mark.parametrize("mechanism", MECHANISMS)
@pytest.mark.parametrize("client", CLIENTS)
def test_a_refused_token_hears_why_in_the_mechanism_s_words(
    need: Need,
    serve: Serve,
    issuer: FakeIssuer,
    tmp_path: Path,
    client: str,
    mechanism: str,
    code: str,
) -> None:
    """An error, the client's answer to it, 535; no mail; and then the next one is served."""
    host = serve([mechanism])
    token = BAD[code](issuer)
    accepted, outcome = CLIENTS[client](need, host, tmp_path, mechanism, token)
    assert not accepted, str(outcome)
    error = error_of(mechanism, scope=code == "token-scope")
    answer = ANSWERS[client, mechanism]
    end = [] if answer is None else [answer, "535 5.7.8 Authentication failed"]
    assert after_error(outcome, error) == end
    _ = host.results()
    (event,) = host.logins
    detail = event.detail or ""
    assert detail.startswith(f"{code}: "), detail
    assert token not in detail
    assert host.messages == []
    accepted, outcome = CLIENTS[client](need, host, tmp_path, mechanism, good(issuer))
    assert accepted, str(outcome)
    assert len(host.messages) == 1


def test_curl_takes_oauthbearer_where_both_are_offered(
    need: Need, serve: Serve, issuer: FakeIssuer, tmp_path: Path
) -> None:
    """With a bearer token its AUTH=XOAUTH2 adds a choice and takes none away."""
    host = serve()
    accepted, _ = CLIENTS["curl"](need, host, tmp_path, "XOAUTH2", good(issuer))
    assert accepted
    assert host.results() == [("OAUTHBEARER", Result.OK)]


@pytest.mark.parametrize("mechanism", MECHANISMS)
def test_a_short_token_comes_with_the_command(
    need: Need, serve: Serve, issuer: FakeIssuer, tmp_path: Path, mechanism: str
) -> None:
    """Curl sends an initial response only if asked to, and if the line stays within 512 octets."""
    host = serve([mechanism])
    short = good(issuer, "ES256", iat=None, scope="mail")
    for token, more, alone in (
        (short, (), True),
        (short, ("--sasl-ir",), False),
        (good(issuer, "RS256"), ("--sasl-ir",), True),
    ):
        outcome = curl(need, host, tmp_path, mechanism, token, *more)
        outcome.expect(0)
        assert (f"\n> AUTH {mechanism}\n" in outcome.output) == alone, str(outcome)
    assert host.results() == [(mechanism, Result.OK)] * 3


@pytest.mark.parametrize("mechanism", MECHANISMS)
def test_curl_sends_a_token_of_eight_kibibytes(
    need: Need, serve: Serve, issuer: FakeIssuer, tmp_path: Path, mechanism: str
) -> None:
    """Such a response is within the 12288 octets of RFC 4954 section 4."""
    host = serve([mechanism])
    outcome = curl(need, host, tmp_path, mechanism, of_length(issuer, 8 * 1024))
    outcome.expect(0)
    assert host.results() == [(mechanism, Result.OK)]
    assert len(host.messages) == 1


def test_msmtp_sends_no_line_of_more_than_4094_octets(
    need: Need, serve: Serve, issuer: FakeIssuer, tmp_path: Path
) -> None:
    """It gives up by itself, and says so; the next one is served."""
    host = serve()
    with pytest.raises(AssertionError, match="longer than 4094 characters"):
        submit_msmtp(need, host, tmp_path, "OAUTHBEARER", of_length(issuer, 4096))
    assert submit_msmtp(need, host, tmp_path, "OAUTHBEARER", good(issuer))[0]
    assert len(host.messages) == 1


def response(mechanism: str, token: str, size: int) -> bytes:
    """The client's message, of exactly `size` octets: a pair that nobody knows makes up for it."""
    name = f"n,a={USER}," if mechanism == "OAUTHBEARER" else f"user={USER}"
    more = size - len(f"{name}\x01auth=Bearer {token}\x01pad=\x01\x01")
    return f"{name}\x01auth=Bearer {token}\x01pad={'x' * more}\x01\x01".encode()


@pytest.mark.parametrize("initial", [True, False], ids=["initial", "challenged"])
@pytest.mark.parametrize("mechanism", MECHANISMS)
def test_the_limit_is_that_of_the_rfc_in_the_command_s_line_too(
    serve: Serve, issuer: FakeIssuer, mechanism: str, initial: bool
) -> None:
    """12288 octets of base64 are taken, and four more are not; smtplib sends either.

    Who was refused for that goes on, and logs in with a shorter one.
    """
    host = serve([mechanism])
    assert host.authority is not None
    most = 12288 * 3 // 4
    token = of_length(issuer, most - 100)
    with smtplib.SMTP("127.0.0.1", host.port, "me.example", timeout=10) as smtp:
        smtp.starttls(context=host.authority.client_context())
        smtp.ehlo()

        def auth(size: int) -> tuple[int, bytes]:
            message = response(mechanism, token, size)

            def answer(challenge: bytes | None = None) -> str:
                # One that is not asked for an initial response is sent the empty challenge.
                return message.decode() if not challenge else ""

            return smtp.auth(mechanism, answer, initial_response_ok=initial)

        with pytest.raises(smtplib.SMTPAuthenticationError) as caught:
            auth(most + 1)
        assert caught.value.smtp_code == 500
        assert caught.value.smtp_error == b"5.5.6 Authentication exchange line is too long"
        assert auth(most)[0] == 235
    assert host.results()[-1] == (mechanism, Result.OK)


def test_a_token_in_the_place_of_a_password_is_none(serve: Serve, issuer: FakeIssuer) -> None:
    """PLAIN, which is offered as well, lets nobody in by a token."""
    host = serve()
    assert host.authority is not None
    with smtplib.SMTP("127.0.0.1", host.port, "me.example", timeout=10) as smtp:
        smtp.starttls(context=host.authority.client_context())
        with pytest.raises(smtplib.SMTPAuthenticationError):
            smtp.login(USER, good(issuer))
        smtp.login(USER, PASSWORD)
    assert host.results() == [("PLAIN", Result.BADAUTH), ("PLAIN", Result.OK)]


def test_no_token_goes_in_clear(
    need: Need, serve: Serve, issuer: FakeIssuer, tmp_path: Path
) -> None:
    """Before STARTTLS neither mechanism is offered; curl then sends no token, and no mail."""
    host = serve()
    token = good(issuer)
    command = [need("curl"), "--disable", "--silent", "--show-error", "--verbose"]
    command += ["--url", f"smtp://127.0.0.1:{host.port}/me.example", "--user", f"{USER}:"]
    outcome = run([*command, "--oauth2-bearer", token, "--request", "NOOP"], tmp_path)
    outcome.expect(0)
    assert re.findall(r"^> (.*)$", outcome.output, re.MULTILINE) == ["EHLO me.example", "NOOP"]
    letter = tmp_path / "letter"
    letter.write_bytes(LETTER)
    command += ["--mail-from", "a@x.example", "--mail-rcpt", "b@x.example"]
    outcome = run([*command, "--oauth2-bearer", token, "--upload-file", str(letter)], tmp_path)
    # 55: "failed sending data", for MAIL was refused.
    outcome.expect(55)
    assert "\n< 530 5.7.0 " in outcome.output
    assert (host.results(), host.messages) == ([], [])


def test_the_tutorial_s_letter_goes_to_the_smarthost(
    need: Need, authority: Authority, tmp_path: Path
) -> None:
    """docs/tutorials/submission.md with all of its commands, curl's too."""
    need("curl")
    users = {"submission": SMARTHOST_PASSWORD}
    smarthost = MailHost(tmp_path, {}, users, authority)
    try:
        with (
            GroupsProvider("mail", groups=["staff"]) as provider,
            submission_page(tmp_path, provider, smarthost, free_port()) as tutorial,
        ):
            tutorial.run()
            letter = (tutorial.folder / "letter").read_bytes()
        (message,) = smarthost.messages
    finally:
        smarthost.close()
    assert message.data == letter
    assert (message.envelope.sender, message.authid) == ("backup@example.com", "submission")
