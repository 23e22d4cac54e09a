"""Our SMTP client logs in to Dovecot's submission server by a token, which Dovecot checks itself.

Blocking, in asyncio, and as `sasl auth`. Mail that Dovecot lets through goes on to a server of
ours, to which Dovecot logs in by a password.
"""

from __future__ import annotations

import asyncio
import re
import smtplib
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TypeAlias

import pytest

from cli_runs import Sasl
from dovecot import CONFIGURATION_URL, Dovecot, serving_dovecot
from mail_clients import LETTER
from mailhost import CLEAR, PASSWORD, USER, Authority, MailHost
from sasl_core import (
    AccessToken,
    AuthenticationError,
    Client,
    PeerError,
    Result,
    SaslError,
    TokenRequest,
    aio,
)
from sasl_credentials import CallbackTokens
from sasl_profiles.smtp import AsyncSmtpClient, SmtpClient, TraceEvent
from token_kit import FakeIssuer, make_key

pytestmark = pytest.mark.interop

Need: TypeAlias = Callable[[str], str]

MECHANISMS = ["OAUTHBEARER", "XOAUTH2"]


@pytest.fixture(scope="module")
def issuer() -> FakeIssuer:
    """Signs by RS256 and ES256."""
    return FakeIssuer(algs=("RS256", "ES256"), audience="mail")


@pytest.fixture(scope="module")
def relay(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MailHost]:
    """Where Dovecot hands mail on to."""
    host = MailHost(tmp_path_factory.mktemp("relay"), CLEAR, {USER: PASSWORD})
    yield host
    host.close()


@pytest.fixture(scope="module")
def dovecot(
    need: Need, authority: Authority, issuer: FakeIssuer, relay: MailHost
) -> Iterator[Dovecot]:
    """One server for all of these tests."""
    with serving_dovecot(need, authority, issuer, relay) as served:
        yield served


def good(issuer: FakeIssuer, alg: str = "RS256", **more: object) -> str:
    """A token that lets the user in, unless `more` claims otherwise."""
    return issuer.sign(issuer.claims(**{"scope": "openid mail", **more}), alg=alg)


# --- ways to log in -------------------------------------------------------------------------------


@dataclass
class Login:
    """How a login ended: the error, all that was said of it, and what was shown of the dialogue."""

    error: SaslError | None = None
    said: str = ""
    events: list[TraceEvent] = field(default_factory=list)

    @property
    def trace(self) -> list[str]:
        """To the end of the connection."""
        return [f"{event.direction} {event.line}" for event in self.events]

    @property
    def accepted(self) -> bool:
        return not self.said


Way: TypeAlias = Callable[[Dovecot, Authority, Path, str, str], Login]


def ended(error: SaslError, detail: str | None, trace: list[TraceEvent]) -> Login:
    """A login that failed; everything that anybody is shown of it."""
    said = f"{error!r} {error} {error.detail} {detail}"
    return Login(error, said, trace)


def blocking(dovecot: Dovecot, authority: Authority, _: Path, mechanism: str, token: str) -> Login:
    trace: list[TraceEvent] = []
    with (
        Client("smtp", "localhost", config={"client_mech_list": [mechanism]}) as client,
        SmtpClient("127.0.0.1", dovecot.port, trace=trace.append) as smtp,
    ):
        smtp.starttls(authority.client_context())
        with client.session(authid=USER, token=token, **smtp.facts()) as session:
            try:
                smtp.authenticate(session)
            except SaslError as error:
                return ended(error, session.error_detail, trace)
            # Another process than that of the login answers now.
            assert smtp.ehlo().mechanisms == ()
            return Login(events=trace)


def in_asyncio(
    dovecot: Dovecot, authority: Authority, _: Path, mechanism: str, token: str
) -> Login:
    trace: list[TraceEvent] = []

    async def main() -> Login:
        config = {"client_mech_list": [mechanism]}
        async with (
            aio.Client("smtp", "localhost", config=config) as client,
            AsyncSmtpClient("127.0.0.1", dovecot.port, trace=trace.append) as smtp,
        ):
            await smtp.starttls(authority.client_context())
            async with client.session(authid=USER, token=token, **smtp.facts()) as session:
                try:
                    await smtp.authenticate(session)
                except SaslError as error:
                    return ended(error, session.error_detail, trace)
                assert (await smtp.ehlo()).mechanisms == ()
                return Login(events=trace)

    return asyncio.run(main())


def command(
    dovecot: Dovecot, authority: Authority, folder: Path, mechanism: str, token: str
) -> Login:
    url = f"smtp://127.0.0.1:{dovecot.port}"
    done = Sasl(folder).run(
        *("auth", url, "--starttls", "--cafile", str(authority.authority), "--user", USER),
        *("--mechanism", mechanism, "--token-file", "-", "--trace"),
        stdin=token.encode(),
    )
    if done.returncode == 0:
        said = f"authenticated by its access token acting as {USER}, by {mechanism}\n"
        assert done.stdout.endswith(said), done
        return Login()
    assert done.returncode == 1, done
    # The diagram is on standard output; lines of the terminal are folded.
    return Login(said=" ".join((done.stdout + done.stderr).split()))


WAYS: Mapping[str, Way] = {"blocking": blocking, "asyncio": in_asyncio, "command": command}
every = pytest.mark.parametrize("way", WAYS.values(), ids=list(WAYS))
each = pytest.mark.parametrize("mechanism", MECHANISMS)


# --- who is let in --------------------------------------------------------------------------------


@pytest.mark.parametrize("alg", ["RS256", "ES256"])
@each
@every
def test_a_good_token_lets_us_in(
    dovecot: Dovecot,
    authority: Authority,
    issuer: FakeIssuer,
    tmp_path: Path,
    way: Way,
    mechanism: str,
    alg: str,
) -> None:
    """Dovecot knows us by the name in the token, and by the mechanism that we took."""
    login = way(dovecot, authority, tmp_path, mechanism, good(issuer, alg))
    assert login.accepted, login
    _ = dovecot.hear(f"Login: user=<{USER}>, method={mechanism}, ")


def strange(issuer: FakeIssuer, kid: str) -> str:
    """Signed with a key that is not the issuer's, whatever it is called."""
    return make_key(kid=kid, number=9).sign(issuer.claims(scope="mail"))


BAD: Mapping[str, tuple[Callable[[FakeIssuer], str], str]] = {
    # A token, and what Dovecot logs of it.
    "expired": (lambda issuer: good(issuer, exp=1_700_000_000), "Token has expired"),
    "audience": (lambda issuer: good(issuer, aud="another"), "audience does not include 'mail'"),
    "issuer": (lambda issuer: good(issuer, iss="https://another.example"), "is not allowed"),
    "scope": (lambda issuer: good(issuer, scope="openid"), "scope 'mail' missing"),
    "name": (lambda issuer: good(issuer, sub="another"), "did not match 'another'"),
    "forged": (lambda issuer: strange(issuer, issuer.signer().kid), "Bad signature"),
    "key": (lambda issuer: strange(issuer, "unknown"), "key 'unknown' not found"),
    "opaque": (lambda issuer: "0123456789" * 8, "oauth2 failed"),
}


@pytest.mark.parametrize("bad", BAD)
@each
@every
def test_a_refused_token_is_explained_and_never_shown(
    dovecot: Dovecot,
    authority: Authority,
    issuer: FakeIssuer,
    tmp_path: Path,
    way: Way,
    mechanism: str,
    bad: str,
) -> None:
    """What the server's error says reaches whoever looks; what was sent reaches nobody."""
    make, reason = BAD[bad]
    token = make(issuer)
    login = way(dovecot, authority, tmp_path, mechanism, token)
    assert not login.accepted
    assert login.error is None or isinstance(login.error, AuthenticationError)
    expected = {
        "OAUTHBEARER": f"status invalid_token, openid-configuration {CONFIGURATION_URL}",
        "XOAUTH2": f"status 401, scope mail, openid-configuration {CONFIGURATION_URL}",
    }
    assert f"the server refused: {expected[mechanism]}" in login.said
    shown = "\n".join([login.said, *login.trace])
    assert not any(part in shown for part in token.split("."))
    _ = dovecot.hear(reason)


@each
def test_the_error_is_answered_as_dovecot_awaits_it(
    dovecot: Dovecot, authority: Authority, issuer: FakeIssuer, tmp_path: Path, mechanism: str
) -> None:
    """AUTH, the token, the error, our answer to that, 535: and the connection still stands."""
    token = good(issuer, exp=1_700_000_000)
    login = blocking(dovecot, authority, tmp_path, mechanism, token)
    at = login.trace.index(f"C AUTH {mechanism}")
    # An empty line is no secret; ^A is hidden as whatever else we say.
    answer = r"\*\*\*\*" if mechanism == "OAUTHBEARER" else ""
    patterns = [
        r"S 334 ?",
        r"C \*\*\*\*",
        r"S 334 \*\*\*\*",
        f"C {answer}",
        r"S 535 5\.7\.8 .*",
        r"C QUIT",
        r"S 221 .*",
    ]
    found = login.trace[at + 1 :]
    assert len(found) == len(patterns), found
    for pattern, line in zip(patterns, found, strict=True):
        assert re.fullmatch(pattern, line), (pattern, line)


# --- what is Dovecot's own ------------------------------------------------------------------------


def test_dovecot_lets_nobody_in_who_sends_no_name(
    dovecot: Dovecot, authority: Authority, issuer: FakeIssuer
) -> None:
    """RFC 7628 has the name optional; without one Dovecot ends the login, and sends no error."""
    with (
        Client("smtp", "localhost", config={"client_mech_list": ["OAUTHBEARER"]}) as client,
        SmtpClient("127.0.0.1", dovecot.port) as smtp,
    ):
        smtp.starttls(authority.client_context())
        with (
            client.session(token=good(issuer), **smtp.facts()) as session,
            pytest.raises(AuthenticationError) as caught,
        ):
            smtp.authenticate(session)
    assert "535 5.7.8" in (caught.value.detail or "")
    _ = dovecot.hear("Missing username or token")


@each
def test_dovecot_looks_for_keys_by_the_client_and_never_at_what_a_token_is(
    dovecot: Dovecot, authority: Authority, issuer: FakeIssuer, tmp_path: Path, mechanism: str
) -> None:
    """`azp` names a folder of keys, which is not there; that it is an ID token is no matter."""
    token = good(issuer, azp="mail-client")
    assert not blocking(dovecot, authority, tmp_path, mechanism, token).accepted
    _ = dovecot.hear("not found")
    token = good(issuer, typ="ID", at_hash="x", nonce="y")
    assert blocking(dovecot, authority, tmp_path, mechanism, token).accepted


@each
def test_dovecot_takes_lines_of_8192_octets(
    dovecot: Dovecot, authority: Authority, issuer: FakeIssuer, mechanism: str
) -> None:
    """RFC 4954 has it take 12288: a token of 6 KiB is refused by its length, and not shown."""
    with (
        Client("smtp", "localhost", config={"client_mech_list": [mechanism]}) as client,
        SmtpClient("127.0.0.1", dovecot.port) as smtp,
    ):
        smtp.starttls(authority.client_context())
        fits = good(issuer, pad="x" * 4000)
        assert 5500 < len(fits) < 6000
        token = good(issuer, pad="x" * 4400)
        assert len(token) > 6100
        with (
            client.session(authid=USER, token=token, **smtp.facts()) as session,
            pytest.raises(PeerError) as caught,
        ):
            smtp.authenticate(session)
        assert "500 5.5.2" in (caught.value.detail or "")
        assert token[:40] not in f"{caught.value!r} {caught.value.detail}"
    with SmtpClient("127.0.0.1", dovecot.port) as smtp:
        smtp.starttls(authority.client_context())
        with (
            Client("smtp", "localhost", config={"client_mech_list": [mechanism]}) as client,
            client.session(authid=USER, token=fits, **smtp.facts()) as session,
        ):
            smtp.authenticate(session)


# --- with a source of tokens, and with mail -------------------------------------------------------


@each
def test_a_kept_token_that_dovecot_refuses_is_fetched_anew(
    dovecot: Dovecot,
    authority: Authority,
    issuer: FakeIssuer,
    monkeypatch: pytest.MonkeyPatch,
    mechanism: str,
) -> None:
    """Our clock is behind, and the token has expired: one more attempt is enough."""
    now = time.time()
    monkeypatch.setattr("sasl_core.utils.time.time", lambda: now)
    given: list[int] = []

    def give(_: TokenRequest) -> AccessToken:
        # By the clock of others; ours stands still.
        given.append(int(issuer.clock()) + (3600 if given else 4))
        return AccessToken(good(issuer, exp=given[-1]), expires_at=None)

    logins: list[str] = []
    config = {"client_mech_list": [mechanism]}
    source = CallbackTokens(give)
    with Client("smtp", "localhost", config=config, credentials=source) as client:
        for _ in range(4):
            with SmtpClient("127.0.0.1", dovecot.port) as smtp:
                smtp.starttls(authority.client_context())
                with client.session(authid=USER, **smtp.facts()) as session:
                    try:
                        smtp.authenticate(session)
                        logins.append("in")
                    except AuthenticationError:
                        logins.append("once more" if session.refused() else "out")
            if len(logins) == 1:
                # Dovecot counts whole seconds, and takes a token during its last one.
                time.sleep(5.1)
    assert logins == ["in", "once more", "in", "in"]
    assert len(given) == 2


@each
def test_mail_goes_on_in_the_name_of_dovecot(
    dovecot: Dovecot,
    authority: Authority,
    issuer: FakeIssuer,
    relay: MailHost,
    mechanism: str,
) -> None:
    """One letter, by smtplib with our session in it; Dovecot logs in to our server by PLAIN."""
    before = len(relay.messages)
    with (
        Client("smtp", "localhost", config={}) as client,
        smtplib.SMTP("127.0.0.1", dovecot.port, "me.example", timeout=10) as smtp,
    ):
        smtp.starttls(context=authority.client_context())
        smtp.ehlo()
        with client.session(authid=USER, token=good(issuer), external_ssf=256) as session:
            start = partial(session.start, mechanism)

            def answer(challenge: bytes | None = None) -> str:
                reply = start() if challenge is None else session.step(challenge)
                return (reply.data or b"").decode("ascii")

            smtp.auth(mechanism, answer)
            session.finish()
        smtp.sendmail("a@x.example", ["b@x.example"], LETTER)
    (message,) = relay.messages[before:]
    # Dovecot puts lines of its own before it.
    assert LETTER in message.data
    assert (message.authid, message.envelope.recipients) == (USER, ("b@x.example",))
    assert relay.logins[-1].mechanism == "PLAIN"
    assert relay.logins[-1].result is Result.OK
