"""People log in at npm `oidc-provider` in Chromium, by our sources for people.

The provider is on loopback TLS with an authority of its own, its pages are its own, and so is
the browser. What comes back lets its owner in: at our servers, and with PyMongo.
"""

from __future__ import annotations

import asyncio
import json
import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import Any, TypeAlias
from urllib.parse import parse_qs, urlsplit

import pymongo
import pytest

from browser import DESKTOP, PHONE, Browser, Page, Person, Script, Window
from cli_runs import Sasl
from mailhost import Authority, MailHost
from mongodb_kit import MongoService
from oidc_provider import (
    ACCOUNTS,
    AUDIENCE,
    CLIENT,
    DEVICE,
    PERSON,
    OidcProvider,
    make_private_jwk,
)
from peers import Dialogue
from sasl_core import AuthenticationError, BackendError, Client, Result, Server, aio
from sasl_core.plugin import CredentialsPlug
from sasl_credentials import (
    AuthorizationCode,
    AuthorizationCodeOptions,
    DeviceCode,
    DeviceCodeOptions,
    DevicePrompt,
)
from sasl_http import HttpTransport
from sasl_profiles.mongodb.driver import PyMongoTokens
from sasl_tls import ServerTls

pytestmark = pytest.mark.interop

TLS = 256
LIFE = 300
SCOPE = ("openid", "offline_access", "mail")
MECHANISMS = ("MONGODB-OIDC", "OAUTHBEARER", "XOAUTH2")
LogIn: TypeAlias = Callable[..., list[str]]


@pytest.fixture(scope="module")
def providers(
    tmp_path_factory: pytest.TempPathFactory,
    node_modules: Callable[[str], Path],
    authority: Authority,
) -> Iterator[tuple[OidcProvider, OidcProvider]]:
    """Two providers with accounts of the same names."""
    modules, folder = node_modules("oidc-provider"), tmp_path_factory.mktemp("idp")
    keys = [make_private_jwk("RS256", "k")]
    with (
        OidcProvider(folder / "a", modules, keys, authority=authority) as first,
        OidcProvider(folder / "b", modules, keys, authority=authority) as second,
    ):
        yield first, second


@pytest.fixture
def provider(providers: tuple[OidcProvider, OidcProvider]) -> OidcProvider:
    """A provider."""
    providers[0].change(ttl=LIFE, interval=1, pace=0.5)
    return providers[0]


@pytest.fixture(scope="module")
def browser(
    tmp_path_factory: pytest.TempPathFactory,
    need: Callable[[str], str],
    node_modules: Callable[[str], Path],
    authority: Authority,
) -> Iterator[Browser]:
    """One browser for all tests; each visit has a new window."""
    folder, modules = tmp_path_factory.mktemp("browser"), node_modules("playwright-core")
    with Browser(folder, modules, need("chromium"), authority.certificate) as made:
        yield made


@pytest.fixture
def person(browser: Browser) -> Iterator[Callable[..., Person]]:
    """Makes people; each must have come to the end of the script."""
    made: list[Person] = []

    def make(script: Script, window: Window = DESKTOP) -> Person:
        made.append(Person(browser, script, window))
        return made[-1]

    yield make
    for each in made:
        with each:
            each.done()


@pytest.fixture
def expire(provider: OidcProvider, monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """Lets the tokens that there are expire: our clocks go on, and the next ones live longer."""
    now, ahead = time.time, [0]
    monkeypatch.setattr("sasl_core.utils.time.time", lambda: now() + ahead[0])

    def pass_time() -> None:
        ahead[0] += LIFE + 1
        provider.change(ttl=ahead[0] + LIFE)

    return pass_time


def wait_until(condition: Callable[[], bool]) -> None:
    """Wait for something that comes within half a minute."""
    end = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.05)


@pytest.fixture(params=["blocking", "asyncio"])
def log_in(request: pytest.FixtureRequest, provider: OidcProvider) -> LogIn:
    """Logs in through a new Client by each mechanism named; who the server says that it was."""
    return {"blocking": _log_in, "asyncio": _log_in_async}[str(request.param)]


def servers(provider: OidcProvider) -> dict[str, object]:
    """The configuration of a server that believes the provider, and sends people there."""
    return {"identity_providers": [provider.human_provider()], "auxprop_plugin": ["memory"]}


def _log_in(
    provider: OidcProvider,
    source: CredentialsPlug,
    *mechanisms: str,
    between: Callable[[], None] | None = None,
) -> list[str]:
    who: list[str] = []
    with (
        HttpTransport() as http,
        Server("mongodb", "localhost", config=servers(provider), http=http) as server,
        Client("mongodb", "localhost", config={}, credentials=source, http=http) as client,
    ):
        for mechanism in mechanisms:
            if who and between is not None:
                between()
            with (
                client.session(external_ssf=TLS, success_data=True, authid="ada") as ours,
                server.session(external_ssf=TLS, success_data=True) as session,
            ):
                reply = session.start(mechanism, ours.start(mechanism).data)
                while not reply.done:
                    reply = session.step(ours.step(reply.data or b"").data or b"")
                ours.finish(reply.data)
                who.append(session.authid)
    return who


def _log_in_async(
    provider: OidcProvider,
    source: CredentialsPlug,
    *mechanisms: str,
    between: Callable[[], None] | None = None,
) -> list[str]:
    async def main() -> list[str]:
        who: list[str] = []
        with HttpTransport() as http:
            async with (
                aio.Server("mongodb", "localhost", config=servers(provider), http=http) as server,
                aio.Client(
                    "mongodb", "localhost", config={}, credentials=source, http=http
                ) as client,
            ):
                for mechanism in mechanisms:
                    if who and between is not None:
                        await asyncio.to_thread(between)
                    async with (
                        client.session(external_ssf=TLS, success_data=True, authid="ada") as ours,
                        server.session(external_ssf=TLS, success_data=True) as session,
                    ):
                        first = (await ours.start(mechanism)).data
                        reply = await session.start(mechanism, first)
                        while not reply.done:
                            said = (await ours.step(reply.data or b"")).data
                            reply = await session.step(said or b"")
                        await ours.finish(reply.data)
                        who.append(session.authid)
        return who

    return asyncio.run(main())


def person_options(provider: OidcProvider) -> dict[str, Any]:
    """What both sources are told to go there, and whom the token is for (RFC 8707)."""
    return {
        "client_id": PERSON,
        "scope": SCOPE,
        "resource": (AUDIENCE,),
        "ca_file": Path(provider.ca_file),
    }


def code_options(provider: OidcProvider, **more: Any) -> AuthorizationCodeOptions:
    """The options of a person's client at the provider.

    It gives refresh tokens only where consent is asked for (OpenID Connect Core section 11).
    """
    given = {"prompt": ("consent",), **person_options(provider), **more}
    return AuthorizationCodeOptions(issuer=provider.issuer, **given)


def device_options(provider: OidcProvider, **more: Any) -> DeviceCodeOptions:
    """The same, for the device flow."""
    given = {**person_options(provider), **more}
    return DeviceCodeOptions(issuer=provider.issuer, **given)


def log_in_at_page(browser: Browser, name: str = "ada") -> None:
    """Type name and password into the provider's page, and consent."""
    browser.fill(name=name, password=ACCOUNTS[name])
    browser.click("button[value=login]")
    browser.click("button[value=allow]")


def consent(browser: Browser, url: str) -> None:
    """Log in and consent, and look at nothing."""
    browser.goto(url)
    log_in_at_page(browser)


# --- in the browser -------------------------------------------------------------------------


WINDOWS = pytest.mark.parametrize(
    ("log_in", "window", "back"),
    [
        pytest.param("blocking", DESKTOP, "127.0.0.1", id="blocking-desktop"),
        pytest.param("asyncio", PHONE, "localhost", id="asyncio-phone"),
    ],
    indirect=["log_in"],
)


def look(browser: Browser, window: Window, picture: Path) -> Page:
    """Read the last page, and take a picture of it.

    It fits the window, loads nothing from anywhere, and has nothing of the answer in its address.
    """
    browser.shot(picture)
    page, asked = browser.read(), browser.asked()
    assert page.width == window.width
    # The provider's pages by https, then where we listen: with the answer, and without.
    assert {urlsplit(url).hostname for url in asked} <= {"localhost", "127.0.0.1"}
    assert [urlsplit(url).scheme for url in asked[-3:]] == ["https", "http", "http"]
    assert asked[-1] == page.url
    assert not urlsplit(page.url).query
    return page


@WINDOWS
def test_a_person_logs_in_in_the_browser(
    provider: OidcProvider,
    person: Callable[..., Person],
    log_in: LogIn,
    window: Window,
    back: str,
    tmp_path: Path,
) -> None:
    """Once; what comes back logs in by each mechanism.

    First with an answer that somebody has thought up, and with a wrong password.
    """
    pages: list[Page] = []

    def script(browser: Browser, url: str) -> None:
        (there,) = parse_qs(urlsplit(url).query)["redirect_uri"]
        browser.goto(f"{there}?code=made-up&state=made-up")
        pages.append(browser.read())
        browser.goto(url)
        browser.fill(name="ada", password="hunter2")
        browser.click("button[value=login]")
        pages.append(browser.read())
        log_in_at_page(browser)
        pages.append(look(browser, window, tmp_path / "end.png"))

    ada = person(script, window)
    options = code_options(provider, redirect_uri=f"http://{back}/callback")
    source = AuthorizationCode(options, open_browser=ada.open)
    assert log_in(provider, source, *MECHANISMS) == ["test/ada"] * 3
    ada.done()
    assert len(ada.urls) == 1
    stray, wrong, end = pages
    assert stray.title == "This does not belong to the login"
    assert stray.width == window.width
    assert "Name or password is wrong." in wrong.text
    assert urlsplit(end.url).hostname == back
    assert end.title == "You are logged in"
    assert end.text.startswith(end.title)
    assert "close this window" in end.text


@WINDOWS
def test_a_refused_consent_is_a_refusal(
    provider: OidcProvider,
    person: Callable[..., Person],
    log_in: LogIn,
    window: Window,
    back: str,
    tmp_path: Path,
) -> None:
    """The person says no: no token is asked for, and the page at the end says so, too."""
    pages: list[Page] = []

    def script(browser: Browser, url: str) -> None:
        browser.goto(url)
        browser.fill(name="ada", password=ACCOUNTS["ada"])
        browser.click("button[value=login]")
        browser.click("button[value=refuse]")
        pages.append(look(browser, window, tmp_path / "end.png"))

    ada = person(script, window)
    options = code_options(provider, redirect_uri=f"http://{back}/callback")
    source = AuthorizationCode(options, open_browser=ada.open)
    tokens = provider.count("/token")
    with pytest.raises(AuthenticationError) as caught:
        log_in(provider, source, "MONGODB-OIDC")
    ada.done()
    assert caught.value.detail == "the provider said access_denied"
    assert "The person refused." not in str(caught.value)
    assert provider.count("/token") == tokens
    assert pages[0].title == "The login did not work"
    assert pages[0].text.startswith(pages[0].title)


def test_the_providers_no_is_told(provider: OidcProvider, person: Callable[..., Person]) -> None:
    """Whom it makes no tokens for it sends back at once, and of its words the code is told."""
    pages: list[Page] = []

    def script(browser: Browser, url: str) -> None:
        browser.goto(url)
        pages.append(browser.read())

    ada = person(script)
    options = code_options(provider, resource=("urn:somebody:else",))
    source = AuthorizationCode(options, open_browser=ada.open)
    with pytest.raises(BackendError) as caught:
        _log_in(provider, source, "MONGODB-OIDC")
    ada.done()
    assert caught.value.detail == "the provider said invalid_target"
    assert not caught.value.temporary
    assert pages[0].title == "The login did not work"


def test_a_mixed_up_response_is_refused(
    providers: tuple[OidcProvider, OidcProvider],
    provider: OidcProvider,
    person: Callable[..., Person],
    log_in: LogIn,
) -> None:
    """A login begun at one provider is answered by another: its code goes to neither."""
    _, other = providers
    pages: list[Page] = []

    def script(browser: Browser, url: str) -> None:
        consent(browser, url.replace(provider.issuer, other.issuer, 1))
        pages.append(browser.read())

    ada = person(script)
    source = AuthorizationCode(code_options(provider), open_browser=ada.open)
    tokens = [each.count("/token") for each in providers]
    with pytest.raises(AuthenticationError) as caught:
        log_in(provider, source, "MONGODB-OIDC")
    ada.done()
    assert caught.value.detail == (
        f"the login was begun with {provider.issuer}, and the answer is of {other.issuer}"
    )
    assert [each.count("/token") for each in providers] == tokens
    assert pages[0].title == "The login did not work"


def test_a_server_sends_nobody_to_another_provider(
    providers: tuple[OidcProvider, OidcProvider],
    provider: OidcProvider,
    person: Callable[..., Person],
    log_in: LogIn,
) -> None:
    """It trusts one, and the person is of another: that is an error, and no browser opens."""
    _, other = providers
    ada = person(consent)
    source = AuthorizationCode(code_options(provider), open_browser=ada.open)
    with pytest.raises(AuthenticationError) as caught:
        log_in(other, source, "MONGODB-OIDC")
    assert caught.value.code == "other-issuer"
    assert not ada.urls


# --- on a device ----------------------------------------------------------------------------


def with_code(code: str) -> Script:
    """Type the code that the device shows, and log in."""

    def script(browser: Browser, url: str) -> None:
        browser.goto(url)
        browser.fill(user_code=code)
        browser.click("button")
        assert code in browser.read().text
        browser.click("#yes")
        log_in_at_page(browser)
        assert "Connected" in browser.read().text

    return script


def showing(ada: Person) -> Callable[[DevicePrompt], object]:
    """What shows a prompt to the person, who then acts by it."""
    return lambda prompt: ada.open(prompt.uri, with_code(prompt.code))


def test_a_device_is_connected(provider: OidcProvider, person: Callable[..., Person]) -> None:
    """The person types the code; our polls get the token, and it logs in by each mechanism."""
    ada = person(consent)
    source = DeviceCode(device_options(provider), show=showing(ada))
    assert _log_in_async(provider, source, *MECHANISMS) == ["test/ada"] * 3
    assert len(ada.urls) == 1


def test_a_device_slows_down(provider: OidcProvider, person: Callable[..., Person]) -> None:
    """A provider that wants longer pauses than it said is given them (RFC 8628 section 3.5)."""
    provider.change(interval=1, pace=4)
    slowed, polled = provider.count("slow_down"), provider.count(DEVICE)
    ada = person(consent)

    def show(prompt: DevicePrompt) -> None:
        def script(browser: Browser, url: str) -> None:
            wait_until(lambda: provider.count("slow_down") > slowed)
            with_code(prompt.code)(browser, url)

        _ = ada.open(prompt.uri, script)

    source = DeviceCode(device_options(provider), show=show)
    assert _log_in(provider, source, *MECHANISMS) == ["test/ada"] * 3
    assert provider.count("slow_down") == slowed + 1
    assert provider.count(DEVICE) == polled + 3


def test_a_device_that_is_not_mine_is_refused(
    provider: OidcProvider, person: Callable[..., Person], log_in: LogIn
) -> None:
    """The person, whom the longer address has spared the typing, says no."""

    def script(browser: Browser, url: str) -> None:
        browser.goto(url)
        browser.click("#no")

    ada = person(script)
    source = DeviceCode(
        device_options(provider), show=lambda prompt: ada.open(prompt.complete_uri or "")
    )
    with pytest.raises(AuthenticationError) as caught:
        log_in(provider, source, "MONGODB-OIDC")
    assert "access_denied" in (caught.value.detail or "")


# --- afterwards -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("log_in", "kind"), [("blocking", "browser"), ("asyncio", "device")], indirect=["log_in"]
)
def test_a_token_is_renewed_without_the_person(
    provider: OidcProvider,
    person: Callable[..., Person],
    log_in: LogIn,
    expire: Callable[[], None],
    kind: str,
) -> None:
    """Twice: the person is asked for the first alone.

    The client of the browser has no secret, and so each refresh token is good for once; that of
    the device has one, and keeps its refresh token.
    """
    source: CredentialsPlug
    ada = person(consent)
    if kind == "browser":
        source = AuthorizationCode(code_options(provider), open_browser=ada.open)
    else:
        secret = {"client_id": CLIENT[0], "client_secret": CLIENT[1]}
        source = DeviceCode(device_options(provider, **secret), show=showing(ada))
    before = provider.count("refresh_token")
    who = log_in(provider, source, *MECHANISMS, between=expire)
    assert who == ["test/ada"] * 3
    assert len(ada.urls) == 1
    assert provider.count("refresh_token") == before + 2


@pytest.mark.parametrize("kind", ["browser", "device"])
def test_pymongo_logs_in_by_a_person(
    provider: OidcProvider,
    person: Callable[..., Person],
    authority: Authority,
    expire: Callable[[], None],
    kind: str,
) -> None:
    """Over TLS: our server says which provider, and after 391 nobody is bothered again.

    Nothing is configured but whom to trust.
    """
    source: CredentialsPlug
    ada = person(consent)
    if kind == "browser":
        source = AuthorizationCode(
            AuthorizationCodeOptions(ca_file=Path(provider.ca_file), prompt=("consent",)),
            open_browser=ada.open,
        )
    else:
        source = DeviceCode(DeviceCodeOptions(ca_file=Path(provider.ca_file)), show=showing(ada))
    with HttpTransport() as http:
        before = provider.count("refresh_token")
        config = {"mech_list": ["MONGODB-OIDC"], **servers(provider)}
        tls = ServerTls.load(authority.certificate, authority.key, "ssl")
        with (
            closing(MongoService(config=config, tls=tls, core={"http": http})) as service,
            PyMongoTokens(source, "localhost", http=http) as tokens,
            pymongo.MongoClient[Any](
                "localhost",
                service.address[1],
                tls=True,
                tlsCAFile=str(authority.authority),
                authMechanism="MONGODB-OIDC",
                authMechanismProperties=tokens.properties(),
                maxPoolSize=1,
            ) as client,
        ):
            number = client.admin.command("hello")["connectionId"]
            for _ in range(3):
                told = client.admin.command("connectionStatus")["authInfo"]
                assert told["authenticatedUsers"] == [{"user": "test/ada", "db": "$external"}]
                assert told["authenticatedUserRoles"] == [
                    {"role": "test/readers", "db": "admin"},
                    {"role": "test/writers", "db": "admin"},
                ]
                expire()
            assert client.admin.command("hello")["connectionId"] == number
    assert len(ada.urls) == 1
    assert provider.count("refresh_token") == before + 2


# --- from the command line -------------------------------------------------------------------


@pytest.fixture
def mail(
    provider: OidcProvider, authority: Authority, tmp_path: Path
) -> Iterator[tuple[MailHost, Path]]:
    """An SMTP server that believes the provider, and the configuration of its people."""
    config = tmp_path / "sasl.toml"
    tables = [
        f"[credentials.{name}]\n"
        f"issuer = {json.dumps(provider.issuer)}\n"
        f"client_id = {json.dumps(PERSON)}\n"
        f"ca_file = {json.dumps(provider.ca_file)}\n"
        'scope = ["openid", "mail"]\n'
        for name in ("authorization_code", "device_code")
    ]
    config.write_text("\n".join(tables))
    config.chmod(0o600)
    accepted = {
        "identity_providers": [provider.human_provider()],
        "auxprop_plugin": [],
        "mech_list": ["OAUTHBEARER", "XOAUTH2"],
    }
    with (
        HttpTransport() as http,
        closing(MailHost(tmp_path, accepted, {}, authority, http=http)) as host,
    ):
        yield host, config


def command(mail: tuple[MailHost, Path], source: str, mechanism: str) -> list[str]:
    """Log in to the mail server with a person's token."""
    host, config = mail
    assert host.authority is not None
    return [
        *("auth", f"smtp://localhost:{host.port}", "--cafile", str(host.authority.authority)),
        *("--mechanism", mechanism, "--user", "ada", "--credentials", source),
        *("--config", str(config)),
    ]


def browse(sasl: Sasl, ada: Person, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run `sasl`, which sends the person away by `BROWSER`, as other programs do."""
    address, program = sasl.folder / "address", sasl.folder / "open"
    text = f'#!/bin/sh\nprintf %s "$1" > {address}.new && mv {address}.new {address}\n'
    program.write_text(text)
    program.chmod(0o700)
    environment = {"BROWSER": f"{program} %s"}
    with ThreadPoolExecutor(1) as threads:
        ended = threads.submit(sasl.run, *arguments, environment=environment)
        wait_until(lambda: address.exists() or ended.done())
        assert address.exists(), ended.result()
        _ = ada.open(address.read_text())
        return ended.result()


def test_a_mail_client_opens_the_browser(
    mail: tuple[MailHost, Path], person: Callable[..., Person], tmp_path: Path
) -> None:
    """`sasl auth` by OAUTHBEARER."""
    arguments = command(mail, "authorization_code", "OAUTHBEARER")
    outcome = browse(Sasl(tmp_path), person(consent), *arguments)
    assert outcome.returncode == 0, outcome
    assert outcome.stdout == "authenticated by its access token acting as ada, by OAUTHBEARER\n"
    assert mail[0].results() == [("OAUTHBEARER", Result.OK)]


def test_a_mail_client_shows_a_code(
    mail: tuple[MailHost, Path],
    provider: OidcProvider,
    person: Callable[..., Person],
    tmp_path: Path,
) -> None:
    """`sasl auth` on a machine without a browser: what it prints is all that a person needs."""
    line = [sys.executable, "-P", "-m", "sasl_cli", *command(mail, "device_code", "XOAUTH2")]
    with Dialogue(line, tmp_path, mixed=True) as sasl:
        told = f"{sasl.hear()} {sasl.hear()}"
        found = re.search(r"open (\S+) in .* code ([A-Z]{4}-[A-Z]{4}),", told)
        assert found is not None, told
        _ = person(consent).open(found[1], with_code(found[2]))
        outcome = sasl.end()
    assert outcome.expect(0) == 0
    assert "authenticated by its access token acting as ada, by XOAUTH2\n" in outcome.output
    assert mail[0].results() == [("XOAUTH2", Result.OK)]


def test_a_database_client_opens_the_browser(
    provider: OidcProvider, authority: Authority, person: Callable[..., Person], tmp_path: Path
) -> None:
    """`sasl auth mongodb://` knows whom to trust; the server says where its people log in."""
    config = tmp_path / "sasl.toml"
    config.write_text(
        f"[credentials.authorization_code]\nca_file = {json.dumps(provider.ca_file)}\n"
    )
    config.chmod(0o600)
    tls = ServerTls.load(authority.certificate, authority.key, "ssl")
    accepted = {"mech_list": ["MONGODB-OIDC"], **servers(provider)}
    with (
        HttpTransport() as http,
        closing(MongoService(config=accepted, tls=tls, core={"http": http})) as service,
    ):
        outcome = browse(
            Sasl(tmp_path),
            person(consent),
            *("auth", f"mongodb://localhost:{service.address[1]}/?tls=true"),
            *("--cafile", str(authority.authority), "--mechanism", "MONGODB-OIDC"),
            *("--credentials", "authorization_code", "--config", str(config)),
        )
    assert outcome.returncode == 0, outcome
    assert outcome.stdout == "authenticated by its access token, by MONGODB-OIDC\n"
