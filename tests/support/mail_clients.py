"""Mail clients of others, each as one call that logs in to our server.

A `Login` says whether its client was let in; a client that is refused says so in a way of its
own (an exit status, an exception), and whatever else happens to it is an AssertionError.
"""

from __future__ import annotations

import smtplib
from collections.abc import Callable
from pathlib import Path
from typing import TypeAlias

from mailhost import MailHost
from peers import run
from sasl_core import AuthenticationError, Client, ConnectionFacts

__all__ = ["LETTER", "Login", "curl", "gsasl", "smtplib_login", "smtplib_scram", "swaks"]

Need: TypeAlias = Callable[[str], str]

Login: TypeAlias = Callable[[Need, MailHost, Path, str, str], bool]
"""Called with what finds a program, the server, a folder, a user and a password."""

LETTER = b"From: a@x.example\r\nTo: b@x.example\r\nSubject: hello\r\n\r\n.hidden dot\r\nbye\r\n"


def gsasl(mechanism: str | None, *more: str) -> Login:
    """GNU SASL's client; without a mechanism it takes the best. It never sends mail."""

    def login(need: Need, host: MailHost, home: Path, user: str, password: str) -> bool:
        # Without --no-cb it wants channel binding over TLS even for the plain SCRAM; -d turns off
        # that it passes on data after the login.
        command = [need("gsasl"), "--smtp", "--no-cb", "-d", *more]
        command += [f"--connect=127.0.0.1:{host.port}"]
        command += [] if mechanism is None else ["-m", mechanism]
        if host.authority is None:
            command += ["--no-starttls"]
        else:
            command += ["--starttls", f"--x509-ca-file={host.authority.authority}"]
        outcome = run([*command, "-a", user, "-p", password], home)
        accepted = outcome.expect(0, 1) == 0
        assert ("\n235 2.7.0 " in outcome.output) == accepted, str(outcome)
        return accepted

    return login


def curl(*more: str) -> Login:
    """Curl with PLAIN, which hands in LETTER."""

    def login(need: Need, host: MailHost, home: Path, user: str, password: str) -> bool:
        letter = home / "letter"
        letter.write_bytes(LETTER)
        command = [need("curl"), "--disable", "--silent", "--show-error", "--verbose", *more]
        command += ["--url", f"smtp://127.0.0.1:{host.port}/me.example"]
        command += ["--login-options", "AUTH=PLAIN", "--upload-file", str(letter)]
        command += ["--mail-from", "a@x.example", "--mail-rcpt", "b@x.example"]
        if host.authority is not None:
            command += ["--ssl-reqd", "--cacert", str(host.authority.authority)]
        outcome = run([*command, "--user", f"{user}:{password}"], home)
        # 67: "the user name, password, or similar was not accepted".
        return outcome.expect(0, 67) == 0

    return login


def swaks(*more: str) -> Login:
    """Swaks with PLAIN, which hands in a letter of its own."""

    def login(need: Need, host: MailHost, home: Path, user: str, password: str) -> bool:
        command = [need("swaks"), "--server", "127.0.0.1", "--port", str(host.port), *more]
        command += ["--from", "a@x.example", "--to", "b@x.example", "--helo", "me.example"]
        if host.authority is not None:
            # A package of its own, without which swaks has no TLS.
            need("Net::SSLeay")
            command += ["--tls", "--tls-verify", "--tls-ca-path", str(host.authority.authority)]
        command += ["--auth", "PLAIN", "--auth-user", user, "--auth-password", password]
        # 28: "authentication failed".
        return run(command, home).expect(0, 28) == 0

    return login


def smtplib_login(need: Need, host: MailHost, home: Path, user: str, password: str) -> bool:
    """The standard library's own login, which takes PLAIN, and then hands in LETTER."""
    with _connect(host) as smtp:
        try:
            smtp.login(user, password)
        except smtplib.SMTPAuthenticationError as error:
            if error.smtp_code != 535:
                raise
            return False
        smtp.sendmail("a@x.example", ["b@x.example"], LETTER)
        return True


def smtplib_scram(need: Need, host: MailHost, home: Path, user: str, password: str) -> bool:
    """The standard library's SMTP with our client's SCRAM-SHA-256 in it; hands in LETTER."""
    facts: ConnectionFacts = {
        "remote": f"127.0.0.1;{host.port}",
        "external_ssf": 0 if host.authority is None else 256,
    }
    with (
        _connect(host) as smtp,
        Client("smtp", "localhost", config={}) as client,
        client.session(authid=user, password=password, **facts) as session,
    ):

        def answer(challenge: bytes | None = None) -> str:
            if challenge is None:
                return (session.start("SCRAM-SHA-256").data or b"").decode("ascii")
            try:
                return (session.step(challenge).data or b"").decode("ascii")
            except AuthenticationError:
                # The challenge said that we are refused; the reply that says so is still to come.
                return ""

        # login() would say EHLO itself. Without it auth() hears 503, and takes that for success.
        smtp.ehlo()
        try:
            smtp.auth("SCRAM-SHA-256", answer)
        except smtplib.SMTPAuthenticationError as error:
            if error.smtp_code != 535:
                raise
            return False
        session.finish()
        assert session.authid == user
        smtp.sendmail("a@x.example", ["b@x.example"], LETTER)
        return True


def _connect(host: MailHost) -> smtplib.SMTP:
    smtp = smtplib.SMTP("127.0.0.1", host.port, "me.example", timeout=10)
    if host.authority is not None:
        smtp.starttls(context=host.authority.client_context())
    return smtp
