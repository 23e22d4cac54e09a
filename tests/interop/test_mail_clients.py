"""gsasl, curl, swaks and the standard library's smtplib log in to our SMTP server."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Callable
from pathlib import Path
from typing import TypeAlias

import pytest

from mail_clients import LETTER, Login, curl, gsasl, smtplib_login, smtplib_scram, swaks
from mailhost import PASSWORD, USER, Authority, MailHost
from peers import Dialogue, run
from sasl_core import Result

pytestmark = pytest.mark.interop

Need: TypeAlias = Callable[[str], str]
Serve: TypeAlias = Callable[..., MailHost]

CLIENTS = {
    "gsasl-PLAIN": ("PLAIN", gsasl("PLAIN")),
    "gsasl-SCRAM": ("SCRAM-SHA-256", gsasl("SCRAM-SHA-256")),
    "curl": ("PLAIN", curl()),
    "curl-initial": ("PLAIN", curl("--sasl-ir")),
    "swaks": ("PLAIN", swaks("--quit-after", "AUTH")),
    "smtplib": ("PLAIN", smtplib_login),
    "smtplib-SCRAM": ("SCRAM-SHA-256", smtplib_scram),
}


@pytest.mark.parametrize("tls", [False, True], ids=["clear", "tls"])
@pytest.mark.parametrize(("mechanism", "login"), CLIENTS.values(), ids=list(CLIENTS))
def test_the_right_password_is_let_in_and_the_wrong_one_is_not(
    need: Need,
    serve: Serve,
    authority: Authority,
    tmp_path: Path,
    mechanism: str,
    login: Login,
    tls: bool,
) -> None:
    """After each refusal, of whatever kind, the next client is served."""
    host = serve(authority if tls else None)
    assert login(need, host, tmp_path, USER, PASSWORD)
    assert not login(need, host, tmp_path, USER, "Pencil")
    assert not login(need, host, tmp_path, "nobody", PASSWORD)
    assert login(need, host, tmp_path, USER, PASSWORD)
    assert host.results() == [
        (mechanism, Result.OK),
        (mechanism, Result.BADAUTH),
        (mechanism, Result.NOUSER),
        (mechanism, Result.OK),
    ]
    assert {event.authzid for event in host.logins if event.result is Result.OK} == {USER}


@pytest.mark.parametrize("tls", [False, True], ids=["clear", "tls"])
@pytest.mark.parametrize(
    ("login", "letter"),
    [
        (curl(), LETTER),
        (curl("--sasl-ir"), LETTER),
        (swaks(), b"This is a test mailing\r\n"),
        (smtplib_login, LETTER),
        (smtplib_scram, LETTER),
    ],
    ids=["curl", "curl-initial", "swaks", "smtplib", "smtplib-SCRAM"],
)
def test_mail_comes_with_the_name_of_who_logged_in(
    need: Need,
    serve: Serve,
    authority: Authority,
    tmp_path: Path,
    login: Login,
    letter: bytes,
    tls: bool,
) -> None:
    """One letter, as it was handed in; none from a client that was refused."""
    host = serve(authority if tls else None)
    assert not login(need, host, tmp_path, USER, "Pencil")
    assert login(need, host, tmp_path, USER, PASSWORD)
    (message,) = host.messages
    assert letter in message.data
    assert (message.envelope.sender, message.envelope.recipients) == (
        "a@x.example",
        ("b@x.example",),
    )
    assert (message.authid, message.authzid) == (USER, USER)


@pytest.mark.parametrize(
    ("user", "kept", "sent"),
    [
        ("a=b,c", "x,y=z", "x,y=z"),
        ("j\u00f6rg", "p\u00e4ss w\u00f6rd", "p\u00e4ss w\u00f6rd"),
        ("jo\u0308rg", "I\u00adX", "\u2168"),
    ],
    ids=["escaped", "unicode", "prepared"],
)
@pytest.mark.parametrize("mechanism", ["PLAIN", "SCRAM-SHA-256"])
def test_names_and_passwords_mean_the_same_to_gsasl(
    need: Need, serve: Serve, tmp_path: Path, mechanism: str, user: str, kept: str, sent: str
) -> None:
    """Separators are escaped, and SASLprep gives what was set and what is sent one form."""
    host = serve(users={user: kept})
    assert gsasl(mechanism)(need, host, tmp_path, user, sent)
    assert not gsasl(mechanism)(need, host, tmp_path, user, sent + "x")
    assert host.results() == [(mechanism, Result.OK), (mechanism, Result.BADAUTH)]


@pytest.mark.parametrize("mechanism", ["PLAIN", "SCRAM-SHA-256"])
def test_gsasl_acts_as_itself_and_as_nobody_else(
    need: Need, serve: Serve, tmp_path: Path, mechanism: str
) -> None:
    """An authzid equal to the authid is let in; another user's is not, right password or not."""
    host = serve(users={USER: PASSWORD, "other": PASSWORD})
    assert gsasl(mechanism, "-z", USER)(need, host, tmp_path, USER, PASSWORD)
    assert not gsasl(mechanism, "-z", "other")(need, host, tmp_path, USER, PASSWORD)
    assert host.results() == [(mechanism, Result.OK), (mechanism, Result.NOAUTHZ)]


def test_gsasl_takes_the_best_of_what_is_offered(need: Need, serve: Serve, tmp_path: Path) -> None:
    """SCRAM-SHA-256 before PLAIN, where nobody names a mechanism."""
    host = serve()
    assert gsasl(None)(need, host, tmp_path, USER, PASSWORD)
    assert host.results() == [("SCRAM-SHA-256", Result.OK)]


@pytest.mark.parametrize("allowed", [True, False])
def test_gsasl_is_anonymous_where_that_is_allowed(
    need: Need, serve: Serve, tmp_path: Path, allowed: bool
) -> None:
    """Off by default: then not even an exchange begins."""
    host = serve(config={"allow_anonymous": allowed})
    anonymous = gsasl("ANONYMOUS", "-n", "tim@x.example")
    assert anonymous(need, host, tmp_path, USER, PASSWORD) == allowed
    assert [result for result in host.results() if result[1] is Result.OK] == (
        [("ANONYMOUS", Result.OK)] if allowed else []
    )


def test_no_password_goes_in_clear_by_default(
    need: Need, serve: Serve, authority: Authority, tmp_path: Path
) -> None:
    """PLAIN is not offered before TLS; a client that insists is refused before it says more."""
    host = serve(authority)
    command = [need("gsasl"), "--smtp", "--no-starttls", "-d", "-m", "PLAIN", "-a", USER]
    outcome = run([*command, "-p", PASSWORD, f"--connect=127.0.0.1:{host.port}"], tmp_path)
    outcome.expect(1)
    assert "\n250 AUTH SCRAM-SHA-256\nAUTH PLAIN\n538 5.7.11 " in outcome.output, str(outcome)
    assert b64encode(f"\0{USER}\0{PASSWORD}".encode()).decode() not in outcome.output
    assert gsasl("PLAIN")(need, host, tmp_path, USER, PASSWORD)


@pytest.mark.parametrize(
    "command",
    [
        "gsasl --smtp --starttls --connect=127.0.0.1:PORT -d -m PLAIN -a user -p pencil",
        "curl --disable --verbose --ssl-reqd --url smtp://127.0.0.1:PORT --user user:pencil",
    ],
    ids=["gsasl", "curl"],
)
def test_a_client_that_distrusts_our_certificate_harms_nobody(
    need: Need, serve: Serve, authority: Authority, tmp_path: Path, command: str
) -> None:
    """It goes in the middle of the handshake; the next is served."""
    host = serve(authority)
    program, *arguments = command.replace("PORT", str(host.port)).split()
    # 60: "peer certificate cannot be authenticated", says curl.
    run([need(program), *arguments], tmp_path).expect(1 if program == "gsasl" else 60)
    assert host.results() == []
    assert smtplib_login(need, host, tmp_path, USER, PASSWORD)


@pytest.mark.parametrize("mechanism", ["PLAIN", "SCRAM-SHA-256"])
def test_a_client_killed_in_the_middle_of_auth_harms_nobody(
    need: Need, serve: Serve, tmp_path: Path, mechanism: str
) -> None:
    """Its connection ends, and the next client is served: meanwhile, and afterwards."""
    host = serve()
    command = [need("gsasl"), "--smtp", "--no-cb", "--no-starttls", "-m", mechanism, "-a", USER]
    with Dialogue([*command, f"--connect=127.0.0.1:{host.port}"], tmp_path, mixed=True) as killed:
        # It asks for the password when the server's challenge is there, not before.
        killed.hear_until("Enter password: ")
        assert smtplib_login(need, host, tmp_path, USER, PASSWORD)
        killed.process.kill()
    assert ("PLAIN", Result.OK) in host.results()
    assert gsasl(mechanism)(need, host, tmp_path, USER, PASSWORD)
