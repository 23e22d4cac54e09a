"""A person's login with the browser: what is asked, what may come back, and what is refused."""

from __future__ import annotations

import socket
import threading
import time
import traceback
import webbrowser
from collections.abc import Iterable
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlencode, urlsplit

import attrs
import pytest

from person_kit import REQUEST, Browser, Page, PersonIssuer, get
from sasl_core import AuthenticationError, BackendError, Client, ConfigError, SaslError
from sasl_core.plugin import AccessToken, TokenRequest, UsageError
from sasl_core.testing.leaks import find_secret
from sasl_credentials import AuthMethod, AuthorizationCode, AuthorizationCodeOptions
from token_kit import NOW, Ticking, b64, compact, json_response, run

ISSUER = "https://issuer.example.com"


@pytest.fixture
def provider() -> PersonIssuer:
    """An honest one."""
    return PersonIssuer(clock=Ticking())


def source(browser: Any, show: Any = None, **more: Any) -> AuthorizationCode:
    """A source of which only the given options are out of the ordinary."""
    options: dict[str, Any] = {"issuer": ISSUER, "client_id": "app", **more}
    made = {name: value for name, value in options.items() if value is not None}
    return AuthorizationCode(
        AuthorizationCodeOptions(**made), open_browser=browser, show=show, clock=Ticking()
    )


def refused(
    provider: PersonIssuer, browser: Browser, request: TokenRequest = REQUEST, **more: Any
) -> SaslError:
    """The error that a login ends with; the person is told that it did not work."""
    with pytest.raises(SaslError) as caught:
        _ = run(source(browser, **more).token(request), provider.http)
    for _, _, body in browser.close():
        assert "did not work" in body
    return caught.value


# --- a good login -----------------------------------------------------------------------


def test_a_person_logs_in(provider: PersonIssuer) -> None:
    """The token, its end and a refresh token; and the page at the end says that it worked."""
    browser = Browser(provider)
    token = run(source(browser, scope=("openid", "mail")).token(REQUEST), provider.http)
    assert token == AccessToken("access-token-4471", NOW + 3600, "refresh-token-9920")
    ((status, headers, body),) = browser.close()
    assert status == 200
    assert "You are logged in" in body
    assert headers["cache-control"] == "no-store"


def test_what_the_provider_is_asked(provider: PersonIssuer) -> None:
    """All that RFC 6749 and 7636 want, each once; the verifier goes to the token endpoint only."""
    browser = Browser(provider)
    made = source(
        browser, scope=("openid", "mail"), resource=("urn:a", "urn:b"), audience="the api"
    )
    _ = run(made.token(attrs.evolve(REQUEST, username="ada")), provider.http)
    (url,) = browser.urls
    pairs = parse_qsl(urlsplit(url).query, strict_parsing=True)
    asked = dict(pairs)
    assert [name for name, _ in pairs] == [
        "response_type",
        "client_id",
        "redirect_uri",
        "state",
        "code_challenge",
        "code_challenge_method",
        "scope",
        "resource",
        "resource",
        "audience",
        "nonce",
        "login_hint",
    ]
    assert asked["scope"] == "openid mail"
    assert asked["login_hint"] == "ada"
    for name in ("state", "code_challenge", "nonce"):
        assert len(asked[name]) == 43, name
    (form,) = provider.forms
    assert form["redirect_uri"] == asked["redirect_uri"]
    assert form["client_id"] == "app"
    assert len(form["code_verifier"]) == 43
    assert form["code_verifier"] not in url
    _ = browser.close()


def test_what_the_person_is_to_be_asked(provider: PersonIssuer) -> None:
    """`prompt` is what the options say, and nothing where they say nothing."""
    browser = Browser(provider)
    _ = run(source(browser).token(REQUEST), provider.http)
    assert "prompt" not in browser.query
    made = source(browser, prompt=("login", "consent"))
    _ = run(made.token(REQUEST), provider.http)
    assert browser.query["prompt"] == "login consent"
    _ = browser.close()


def test_every_login_has_secrets_of_its_own(provider: PersonIssuer) -> None:
    """State, challenge and nonce of one login are good for no other."""
    browser = Browser(provider)
    made = source(browser, scope=("openid",))
    seen: set[str] = set()
    for _ in range(3):
        _ = run(made.token(REQUEST), provider.http)
        asked = browser.query
        seen |= {asked["state"], asked["code_challenge"], asked["nonce"]}
    assert len(seen) == 9
    _ = browser.close()


def test_without_openid_there_is_no_nonce(provider: PersonIssuer) -> None:
    """Nor a hint who it is: both are OpenID's."""
    browser = Browser(provider)
    _ = run(source(browser).token(attrs.evolve(REQUEST, username="ada")), provider.http)
    assert {"nonce", "login_hint", "scope"}.isdisjoint(browser.query)
    _ = browser.close()


def test_the_query_of_the_endpoint_stays(provider: PersonIssuer) -> None:
    """RFC 6749 section 3.1."""
    provider.metadata["authorization_endpoint"] = f"{ISSUER}/authorize?tenant=7"
    browser = Browser(provider)
    _ = run(source(browser).token(REQUEST), provider.http)
    assert browser.urls[0].startswith(f"{ISSUER}/authorize?tenant=7&response_type=code&")
    _ = browser.close()


@pytest.mark.parametrize(
    "redirect",
    ["http://localhost/", "http://[::1]/a/b", "http://127.0.0.1", "http://127.0.0.1/a..b/.c/...//"],
)
def test_the_browser_comes_back_where_it_was_told(provider: PersonIssuer, redirect: str) -> None:
    """On a free port, to each of the three names of this machine."""
    if "::1" in redirect:
        try:
            socket.create_server(("::1", 0), family=socket.AF_INET6).close()
        except OSError:
            pytest.skip("this machine has no IPv6 loopback")
    browser = Browser(provider)
    _ = run(source(browser, redirect_uri=redirect).token(REQUEST), provider.http)
    parts, wanted = urlsplit(browser.query["redirect_uri"]), urlsplit(redirect)
    assert (parts.hostname, parts.path) == (wanted.hostname, wanted.path)
    assert parts.port
    _ = browser.close()


def test_a_port_that_is_given_is_taken_again_and_again(provider: PersonIssuer) -> None:
    """Providers that know no loopback want the exact address."""
    browser = Browser(provider)
    _ = run(source(browser).token(REQUEST), provider.http)
    port = urlsplit(browser.query["redirect_uri"]).port
    fixed = f"http://127.0.0.1:{port}/callback"
    for _ in range(3):
        _ = run(source(browser, redirect_uri=fixed).token(REQUEST), provider.http)
        assert browser.query["redirect_uri"] == fixed
    _ = browser.close()


def test_a_port_that_is_taken_is_an_error(provider: PersonIssuer) -> None:
    """Said before anybody is sent anywhere."""
    inner: list[SaslError] = []

    def again(back: str, state: str) -> None:
        with pytest.raises(BackendError) as caught:
            _ = run(source(Browser(provider), redirect_uri=back).token(REQUEST), provider.http)
        inner.append(caught.value)

    browser = Browser(provider, before=again)
    _ = run(source(browser).token(REQUEST), provider.http)
    _ = browser.close()
    assert inner[0].code == "redirect-port"


def test_a_client_with_a_secret_shows_it(provider: PersonIssuer, tmp_path: Path) -> None:
    """As it is told to, at the token endpoint alone; a file's is read anew."""
    browser = Browser(provider)
    made = source(browser, client_secret="s3cr3t", auth_method=AuthMethod.POST)
    _ = run(made.token(REQUEST), provider.http)
    assert provider.forms[-1]["client_secret"] == "s3cr3t"
    path = tmp_path / "secret"
    path.write_text("an0ther\n")
    path.chmod(0o600)
    _ = run(source(browser, client_secret_file=path).token(REQUEST), provider.http)
    assert "client_secret" not in provider.forms[-1]
    assert "client_id" not in provider.forms[-1]
    assert dict(provider.requests[-1].headers)["authorization"].startswith("Basic ")
    _ = browser.close()


def test_a_refresh_token_is_used_before_anybody_is_bothered(provider: PersonIssuer) -> None:
    """With the same client and the same secret."""
    browser = Browser(provider)
    made = source(browser, client_secret="s3cr3t", resource=("urn:a",))
    token = run(made.token(attrs.evolve(REQUEST, refresh_token="refresh-1")), provider.http)
    assert token.value == "access-token-4471"
    assert browser.urls == []
    assert provider.forms == [
        {"grant_type": "refresh_token", "refresh_token": "refresh-1", "resource": "urn:a"}
    ]
    assert "authorization" in dict(provider.requests[-1].headers)


# --- who says which provider it is ---------------------------------------------------------


def test_the_server_says_which_provider_it_trusts(provider: PersonIssuer) -> None:
    """Where no other is configured; as whom, and with what scopes."""
    browser = Browser(provider)
    asked = attrs.evolve(REQUEST, issuer=ISSUER, client_id="theirs", scopes=("db", "openid"))
    made = source(browser, issuer=None, client_id=None)
    _ = run(made.token(asked), provider.http)
    assert browser.query["client_id"] == "theirs"
    assert browser.query["scope"] == "db openid"
    _ = browser.close()


@pytest.mark.parametrize("client", [None, "app"])
def test_a_server_does_not_widen_a_configured_scope(
    provider: PersonIssuer, client: str | None
) -> None:
    """It stands alone, whoever the client is: what it asks for besides nobody has allowed."""
    browser = Browser(provider)
    wide = ("https://mail.google.com/", "openid", "admin")
    asked = attrs.evolve(REQUEST, issuer=ISSUER, client_id="theirs", scopes=wide)
    made = source(browser, client_id=client, scope=("openid", "offline_access"))
    _ = run(made.token(asked), provider.http)
    assert browser.query["scope"] == "openid offline_access"
    _ = browser.close()


def test_a_configured_client_goes_before_the_servers(provider: PersonIssuer) -> None:
    """At the same provider."""
    browser = Browser(provider)
    asked = attrs.evolve(REQUEST, issuer=ISSUER, client_id="theirs")
    _ = run(source(browser).token(asked), provider.http)
    assert browser.query["client_id"] == "app"
    _ = browser.close()


@pytest.mark.parametrize(
    "other", ["https://evil.example.com", f"{ISSUER}/", "https://ISSUER.example.com"]
)
def test_a_server_that_contradicts_the_options_is_not_followed(
    provider: PersonIssuer, other: str
) -> None:
    """Whatever it says, nobody is asked anything."""
    browser = Browser(provider)
    error = refused(provider, browser, attrs.evolve(REQUEST, issuer=other, client_id="app"))
    assert isinstance(error, AuthenticationError)
    assert error.code == "other-issuer"
    assert (browser.urls, provider.requests) == ([], [])


@pytest.mark.parametrize(
    "said",
    [
        {"issuer": "http://issuer.example.com"},
        {"issuer": "https://issuer.example.com/?a=b"},
        {"issuer": "file:///etc/passwd"},
        {"issuer": ISSUER, "client_id": "a\udc80"},
        {"issuer": ISSUER, "client_id": "x" * 5000},
        {"issuer": ISSUER, "scopes": ("a b",)},
        {"issuer": ISSUER, "scopes": ("a\n",)},
        {"issuer": ISSUER, "scopes": tuple(map(str, range(100)))},
    ],
    ids=lambda said: ascii(said)[:60],
)
def test_a_server_that_says_nonsense_is_not_followed(provider: PersonIssuer, said: Any) -> None:
    """It is the server's fault, and told so."""
    browser = Browser(provider)
    asked = attrs.evolve(REQUEST, **{"client_id": "theirs", **said})
    error = refused(provider, browser, asked, issuer=None, client_id=None)
    assert isinstance(error, BackendError)
    assert (error.code, error.temporary) == ("server-provider", False)
    assert (browser.urls, provider.requests) == ([], [])


@pytest.mark.parametrize("missing", ["issuer", "client_id"])
def test_what_nobody_says_is_missing(provider: PersonIssuer, missing: str) -> None:
    """Mail servers say nothing of their provider."""
    with pytest.raises(ConfigError) as caught:
        _ = run(source(Browser(provider), **{missing: None}).token(REQUEST), provider.http)
    assert caught.value.key == f"credentials.authorization_code.{missing}"


# --- the options ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("more", "key"),
    [
        ({"issuer": "http://issuer.example.com"}, "issuer"),
        ({"issuer": "http://localhost:80"}, "issuer"),
        ({"issuer": "https://a/?b=c"}, "issuer"),
        ({"client_secret": "s3cr3t", "issuer": None}, "issuer"),
        ({"client_secret": "s3cr3t", "client_id": None}, "client_id"),
        ({"client_secret_file": Path("/x"), "issuer": None}, "issuer"),
        ({"client_secret": "s3cr3t", "client_secret_file": Path("/x")}, "client_secret_file"),
        ({"scope": ("a b",)}, "scope"),
        ({"scope": ("",)}, "scope"),
        ({"client_id": "\udc80"}, "client_id"),
        ({"client_secret": "s3cr3t\udc80"}, "client_secret"),
        ({"resource": ("\udc80",)}, "resource"),
        ({"audience": "\udc80"}, "audience"),
        ({"allowed_hosts": ("*",)}, "allowed_hosts"),
        ({"prompt": ("none",)}, "prompt"),
        ({"prompt": ("login consent",)}, "prompt"),
        *(
            ({"redirect_uri": uri}, "redirect_uri")
            for uri in (
                "",
                "https://127.0.0.1/",
                "http://127.0.0.2/",
                "http://0.0.0.0/",
                "http://example.com/",
                "http://localhost.example.com/",
                "http://LOCALHOST/",
                "http://127.0.0.1@example.com/",
                "http://user@localhost/",
                "http://localhost/?a=b",
                "http://localhost/#a",
                "http://localhost/%2f",
                "http://localhost/./cb",
                "http://localhost/a/../cb",
                "http://localhost/a/..",
                "http://localhost/.",
                "http://localhost/%2e%2E/cb",
                "http://localhost/.%2e/cb",
                "http://localhost:/",
                "http://localhost:0/",
                "http://localhost:08400/",
                "http://localhost:65536/",
                "http://localhost/ä",
                "http://localhost/\r\nX: y",
                "myapp://callback",
                "urn:ietf:wg:oauth:2.0:oob",
            )
        ),
    ],
    ids=lambda value: ascii(value)[:50],
)
def test_what_cannot_be_used_is_named(more: Any, key: str) -> None:
    """When the source is made, not at the first login."""
    with pytest.raises(ConfigError) as caught:
        _ = source(None, **more)
    assert caught.value.key == f"credentials.authorization_code.{key}"
    assert "s3cr3t" not in str(caught.value)


def test_it_is_configured() -> None:
    """As `[credentials.authorization_code]`; without a table it waits for the server's word."""
    table = {
        "issuer": ISSUER,
        "client_id": "app",
        "scope": ["openid"],
        "allowed_hosts": ["mail.example.com"],
        "redirect_uri": "http://localhost:8400/back",
    }
    config = {"credentials": {"authorization_code": table}}
    with Client("imap", "x", config=config, credentials="authorization_code") as client:
        made = client.core.credentials()
        assert isinstance(made, AuthorizationCode)
        assert made.human
        assert made.allowed_hosts == ("mail.example.com",)
    with Client("imap", "x", config={}, credentials="authorization_code") as client:
        made = client.core.credentials()
        assert made is not None
        assert made.availability() is None
        assert "*.mongodb.net" in (made.allowed_hosts or ())


# --- what the browser brings back ----------------------------------------------------------


def test_an_answer_of_another_issuer_is_refused(provider: PersonIssuer) -> None:
    """RFC 9207 section 2.4: code point by code point."""
    for other in ("https://evil.example.com", f"{ISSUER}/", ISSUER.upper(), ""):

        def answer(fields: dict[str, str], other: str = other) -> Iterable[tuple[str, str]]:
            return {**fields, "iss": other}.items()

        error = refused(provider, Browser(provider, answer=answer))
        assert isinstance(error, AuthenticationError)
        assert error.code == "mix-up"
    assert provider.forms == []


def without(*names: str) -> Any:
    """An answer that lacks some of its fields."""
    return lambda fields: [pair for pair in fields.items() if pair[0] not in names]


def test_an_issuer_that_was_announced_has_to_be_there(provider: PersonIssuer) -> None:
    """In an answer with a code, and in one with an error."""
    error = refused(provider, Browser(provider, answer=without("iss")))
    assert error.code == "mix-up"

    def denied(fields: dict[str, str]) -> Iterable[tuple[str, str]]:
        return {"error": "access_denied", "state": fields["state"]}.items()

    assert refused(provider, Browser(provider, answer=denied)).code == "mix-up"
    assert provider.forms == []


def test_an_issuer_that_was_not_announced_may_be_missing(provider: PersonIssuer) -> None:
    """Many providers do not know RFC 9207; one that is there counts all the same."""
    for announced in (None, False, "true", 1):
        provider.metadata["authorization_response_iss_parameter_supported"] = announced
        browser = Browser(provider, answer=without("iss"))
        assert run(source(browser).token(REQUEST), provider.http).value == "access-token-4471"
        _ = browser.close()
    evil = Browser(provider, answer=lambda fields: {**fields, "iss": "https://evil"}.items())
    assert refused(provider, evil).code == "mix-up"


def test_two_issuers_are_not_mixed_up(provider: PersonIssuer) -> None:
    """An attacker's provider sends the person on to the honest one, to get that one's code.

    Once with an answer that it cannot change, once with a document that names the honest one's
    page: in neither case does it see a code.
    """
    evil = PersonIssuer("https://evil.example.com", clock=Ticking())
    evil.metadata["authorization_endpoint"] = f"{ISSUER}/authorize"
    for announced in (True, None):
        evil.metadata["authorization_response_iss_parameter_supported"] = announced
        error = refused(evil, Browser(provider), issuer=evil.url)
        assert error.code == "mix-up"
        assert evil.forms == []
    # Its document is not the honest one's, whatever it says of itself.
    evil.metadata["issuer"] = ISSUER
    assert refused(evil, Browser(provider), issuer=evil.url).code == "discovery"
    # And the other way round: the honest login never takes the attacker's answer.
    theirs = Browser(
        provider, answer=lambda fields: {**fields, "code": "theirs", "iss": evil.url}.items()
    )
    assert refused(provider, theirs).code == "mix-up"
    assert (evil.forms, provider.forms) == ([], [])


NAMED = attrs.evolve(REQUEST, issuer="https://evil.example.com", client_id="app")
"""What a server asks for that trusts, or is, an attacker's provider."""


@pytest.mark.parametrize("way", ["by its document", "by a redirect of its page"])
@pytest.mark.parametrize("announced", [True, None, False, "true", 1])
def test_a_code_of_a_provider_that_does_not_name_itself_goes_nowhere(
    provider: PersonIssuer, way: str, announced: object
) -> None:
    """The server names the attacker's, which sends the person on to one that knows no RFC 9207.

    Its own token endpoint would get the code, and the verifier with it.
    """
    evil = PersonIssuer("https://evil.example.com", clock=Ticking())
    evil.metadata["authorization_response_iss_parameter_supported"] = announced
    if way == "by its document":
        evil.metadata["authorization_endpoint"] = f"{ISSUER}/authorize"
    browser = Browser(provider, answer=without("iss"), at_home=False)
    error = refused(evil, browser, NAMED, issuer=None, client_id=None)
    assert isinstance(error, AuthenticationError)
    assert error.code == "mix-up"
    assert evil.forms == []
    if announced is not True:
        assert browser.urls == []
        assert "configure it as credentials.authorization_code.issuer" in str(error.detail)


@pytest.mark.parametrize(
    "answer",
    [
        lambda fields: [*fields.items(), ("code", "another")],
        lambda fields: [*fields.items(), ("error", "access_denied")],
        lambda fields: [("state", fields["state"]), ("iss", fields["iss"])],
        lambda fields: {**fields, "code": ""}.items(),
        lambda fields: {**fields, "code": "a\nb"}.items(),
        lambda fields: {**fields, "code": "ä"}.items(),
        lambda fields: {**fields, "code": "x" * 9000}.items(),
    ],
    ids=["twice", "both", "neither", "empty", "control", "letter", "long"],
)
def test_what_is_no_answer_is_refused(provider: PersonIssuer, answer: Any) -> None:
    """With the right state it ends the login, and nothing is exchanged."""
    error = refused(provider, Browser(provider, answer=answer))
    assert error.code == "authorization-response"
    assert provider.forms == []


@pytest.mark.parametrize(
    "answer",
    [
        lambda fields: [*fields.items(), ("iss", ISSUER)],
        lambda fields: [*fields.items(), ("iss", "https://evil.example.com")],
    ],
)
def test_two_issuers_in_one_answer_are_none(provider: PersonIssuer, answer: Any) -> None:
    """Whichever comes first; where none was promised, too."""
    assert refused(provider, Browser(provider, answer=answer)).code == "mix-up"
    provider.metadata["authorization_response_iss_parameter_supported"] = None
    assert refused(provider, Browser(provider, answer=answer)).code == "authorization-response"
    assert provider.forms == []


@pytest.mark.parametrize(
    ("code", "error", "temporary"),
    [
        ("access_denied", AuthenticationError, None),
        ("login_required", AuthenticationError, None),
        ("unauthorized_client", AuthenticationError, None),
        ("server_error", BackendError, True),
        ("temporarily_unavailable", BackendError, True),
        ("invalid_scope", BackendError, False),
        ("invalid_request", BackendError, False),
        ("s3cr3t text\x1b[31m", BackendError, False),
        ("", BackendError, False),
    ],
)
def test_the_providers_no(
    provider: PersonIssuer, code: str, error: type[SaslError], temporary: bool | None
) -> None:
    """Its code is told, and never its text."""

    def answer(fields: dict[str, str]) -> Iterable[tuple[str, str]]:
        said = {"error": code, "error_description": "s3cr3t <b>", "error_uri": "https://evil"}
        return {**said, "state": fields["state"], "iss": fields["iss"]}.items()

    browser = Browser(provider, answer=answer)
    raised = refused(provider, browser)
    assert isinstance(raised, error)
    assert getattr(raised, "temporary", None) == temporary
    detail = f"{raised} {raised.detail}"
    assert detail.isprintable()
    assert "s3cr3t" not in detail
    assert "s3cr3t" not in browser.pages[0][2]
    if code.isidentifier():
        assert code in detail


@pytest.mark.parametrize(
    ("status", "error", "kind"),
    [
        (400, "invalid_grant", AuthenticationError),
        (401, "invalid_client", AuthenticationError),
        (500, "server_error", BackendError),
    ],
)
def test_a_code_that_is_not_taken(
    provider: PersonIssuer, status: int, error: str, kind: type[SaslError]
) -> None:
    """And the person's page says that it did not work."""
    provider.answers["/token"] = json_response({"error": error}, status)
    raised = refused(provider, Browser(provider))
    assert isinstance(raised, kind)
    assert error in str(raised.detail)


def test_somebody_elses_code_is_worth_nothing(provider: PersonIssuer) -> None:
    """Injected with the right state it is of another challenge (PKCE), and the login fails."""
    other = Browser(provider)
    provider.answers["/token"] = json_response({"error": "server_error"}, 500)
    _ = refused(provider, other)
    del provider.answers["/token"]
    ((code, _),) = provider.codes.items()
    injecting = Browser(provider, answer=lambda fields: {**fields, "code": code}.items())
    error = refused(provider, injecting)
    assert isinstance(error, AuthenticationError)
    assert "invalid_grant" in str(error.detail)


# --- what may come to the redirect besides -------------------------------------------------


def test_answers_without_the_state_do_not_end_the_wait(provider: PersonIssuer) -> None:
    """Any page in the browser can have them sent; each gets an error page."""
    statuses: list[int] = []

    def before(back: str, state: str) -> None:
        for query in (
            "",
            "?",
            "?code=evil",
            "?code=evil&state=",
            "?code=evil&state=wrong",
            f"?code=evil&state={state[:-1]}",
            f"?code=evil&state={state}x",
            f"?code=evil&state={state}&state={state}",
            f"?code=evil&state={state}&state=wrong",
            f"?code=evil&State={state}",
            f"?code=evil&state={state}%00",
            "?state=%ff",
            "?state=%ed%b2%80",
            "?error=access_denied&state=wrong",
            "?" + "&".join(["a=b"] * 100),
        ):
            status, _, body = get(f"{back}{query}")
            assert "does not belong" in body
            statuses.append(status)

    browser = Browser(provider, before=before)
    assert run(source(browser).token(REQUEST), provider.http).value == "access-token-4471"
    assert statuses == [400] * 15
    _ = browser.close()


def test_a_code_is_heard_once(provider: PersonIssuer) -> None:
    """While it is exchanged the address is not served; afterwards nobody listens there."""
    browser = Browser(provider)
    assert run(source(browser).token(REQUEST), provider.http).value == "access-token-4471"
    _ = browser.close()
    asked = browser.query
    with pytest.raises(OSError, match="refused"):
        _ = get(f"{asked['redirect_uri']}?code=x&state={asked['state']}")
    assert len(provider.forms) == 1


# --- the provider ---------------------------------------------------------------------------


@pytest.mark.parametrize("methods", [["plain"], [], "S256", {"S256": 1}, 7])
def test_a_provider_without_s256_is_not_asked(provider: PersonIssuer, methods: object) -> None:
    """PKCE is not talked down."""
    provider.metadata["code_challenge_methods_supported"] = methods
    browser = Browser(provider)
    assert refused(provider, browser).code == "discovery"
    assert browser.urls == []


@pytest.mark.parametrize("name", ["authorization_endpoint", "token_endpoint"])
@pytest.mark.parametrize(
    "value",
    [
        None,
        7,
        "",
        "http://issuer.example.com/x",
        "javascript:alert(1)",
        "file:///x",
        "https://a b/",
    ],
)
def test_no_browser_is_sent_to_a_bad_address(
    provider: PersonIssuer, name: str, value: object
) -> None:
    """Https alone; and nothing that a shell or a browser would read otherwise."""
    provider.metadata[name] = value
    browser = Browser(provider)
    error = refused(provider, browser)
    assert (error.code, getattr(error, "temporary", None)) == ("discovery", False)
    assert browser.urls == []


def claims(provider: PersonIssuer, asked: dict[str, str], **more: object) -> dict[str, object]:
    return provider.claims(**{"aud": asked["client_id"], "nonce": asked["nonce"], **more})


@pytest.mark.parametrize(
    "more",
    [
        {"nonce": "another"},
        {"nonce": None},
        {"nonce": 7},
        {"iss": "https://evil.example.com"},
        {"iss": f"{ISSUER}/"},
        {"aud": "another"},
        {"aud": []},
        {"aud": ["another"]},
        {"aud": {"app": 1}},
        {"azp": "another"},
    ],
    ids=str,
)
def test_an_id_token_of_another_login_is_refused(provider: PersonIssuer, more: Any) -> None:
    """Nonce, issuer and audience are compared (OpenID Connect Core 3.1.3.7)."""
    provider.id_token = lambda asked: provider.sign(claims(provider, asked, **more))
    error = refused(provider, Browser(provider), scope=("openid",))
    assert isinstance(error, AuthenticationError)
    assert error.code == "id-token"


@pytest.mark.parametrize(
    "token", ["", "a.b", "e30.e30.e30.", "é", 7, ["x"], "e30.W10.", "x" * 20_000]
)
def test_an_id_token_that_is_none_is_refused(provider: PersonIssuer, token: object) -> None:
    """Where one comes along, it is one."""
    provider.id_token = lambda asked: token
    assert refused(provider, Browser(provider), scope=("openid",)).code == "id-token"


def test_who_signed_an_id_token_is_not_asked(provider: PersonIssuer) -> None:
    """It comes straight from the provider; any header will do, and no keys are fetched."""

    def made(asked: dict[str, str]) -> str:
        head = b64(compact({"alg": "none"}))
        return f"{head}.{b64(compact(claims(provider, asked, aud=['x', 'app'], azp='app')))}."

    provider.id_token = made
    browser = Browser(provider)
    assert (
        run(source(browser, scope=("openid",)).token(REQUEST), provider.http).value
        == "access-token-4471"
    )
    assert provider.fetches == 0
    _ = browser.close()


def test_without_openid_an_id_token_is_not_looked_at(provider: PersonIssuer) -> None:
    """Nobody asked for one."""
    provider.id_token = lambda asked: "nonsense"
    browser = Browser(provider)
    assert run(source(browser).token(REQUEST), provider.http).value == "access-token-4471"
    _ = browser.close()


# --- the browser and the person ------------------------------------------------------------


def raises(url: str) -> bool:
    raise OSError(f"cannot open {url}")


def test_where_no_browser_opens_the_person_is_shown_the_address(provider: PersonIssuer) -> None:
    """It returns False, or raises: a person can open it all the same."""
    closed = Browser(provider, opens=False)
    for opener in (closed, raises, lambda url: None):
        shown: list[str] = []
        person = Browser(provider)

        def show(url: str, shown: list[str] = shown, person: Browser = person) -> None:
            shown.append(url)
            person.go(url)

        assert run(source(opener, show).token(REQUEST), provider.http).value == "access-token-4471"
        assert len(shown) == 1
        _ = person.close()


def test_an_open_browser_needs_no_words(provider: PersonIssuer) -> None:
    """The address is shown only where it did not open."""
    browser = Browser(provider)
    assert run(source(browser, raises).token(REQUEST), provider.http).value == "access-token-4471"
    _ = browser.close()


def test_what_show_raises_is_told_without_its_text(provider: PersonIssuer) -> None:
    """The address has the state in it."""
    browser = Browser(provider, opens=False)
    with pytest.raises(BackendError) as caught:
        _ = run(source(browser, raises).token(REQUEST), provider.http)
    assert caught.value.code == "callback-failed"
    assert "state" not in f"{caught.value} {caught.value.detail}"


def test_the_address_is_shown_on_standard_error(
    provider: PersonIssuer, capsys: pytest.CaptureFixture[str]
) -> None:
    """By default; standard output is a program's."""
    browser = Browser(provider, opens=False)
    made = source(browser)
    body = made.token(attrs.evolve(REQUEST, deadline=0.2))
    with pytest.raises(BackendError):
        _ = run(body, provider.http)
    out, err = capsys.readouterr()
    assert out == ""
    assert err.splitlines()[1] == browser.urls[0]


class Machine:
    """The machine's browser: `urls` are what it was started with, `shown` what a person was shown.

    `does` is what it does with an address.
    """

    def __init__(self, monkeypatch: pytest.MonkeyPatch, does: Any) -> None:
        self.urls: list[str] = []
        self.shown: list[str] = []
        self.does = does
        self.left = threading.Event()
        monkeypatch.setattr("webbrowser.open", self.open)

    def open(self, url: str) -> object:
        self.urls.append(url)
        try:
            return self.does(url)
        finally:
            self.left.set()

    def source(self, **more: Any) -> AuthorizationCode:
        return source(None, self.shown.append, **more)


def test_the_machines_browser_is_started_with_no_secret(
    provider: PersonIssuer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every user of the machine can read its command line: it has an address that leads on once."""
    browser = Browser(provider)
    pages: list[Page] = []

    def does(url: str) -> None:
        pages.append(get(url))
        browser.go(pages[0][1]["location"])

    machine = Machine(monkeypatch, does)
    token = run(machine.source(scope=("openid",)).token(REQUEST), provider.http)
    assert token.value == "access-token-4471"
    _ = browser.close()
    ((status, headers, body),) = pages
    assert (status, body) == (303, "")
    assert (headers["cache-control"], headers["referrer-policy"]) == ("no-store", "no-referrer")
    ((url, shown),) = zip(machine.urls, machine.shown, strict=True)
    # A person, who alone sees what is shown, opens the provider's.
    assert shown == headers["location"]
    assert shown.startswith(f"{ISSUER}/authorize?")
    parts = urlsplit(url)
    assert (parts.hostname, parts.query) == ("127.0.0.1", "")
    assert len(parts.path) == 44
    asked = dict(parse_qsl(urlsplit(shown).query, strict_parsing=True))
    assert not [name for name in ("state", "code_challenge", "nonce") if asked[name] in url]


@pytest.mark.parametrize("when", ["before the answer", "after the answer"])
def test_a_login_that_two_have_opened_fails(
    provider: PersonIssuer, monkeypatch: pytest.MonkeyPatch, when: str
) -> None:
    """Another user of the machine has read the command line: nobody knows whose login it is."""
    statuses: list[int] = []

    def does(url: str) -> None:
        statuses.append(get(f"{url}?x")[0])
        statuses.append(get(url, method="HEAD")[0])
        status, headers, _ = get(url)
        statuses.append(status)
        if when == "after the answer":
            fields = provider.authorize(headers["location"])
            asked = dict(parse_qsl(urlsplit(headers["location"]).query))
            statuses.append(get(f"{asked['redirect_uri']}?{urlencode(fields)}")[0])
        status, headers, body = get(url)
        assert "opened twice" in body
        assert "location" not in headers
        statuses.append(status)

    machine = Machine(monkeypatch, does)
    with pytest.raises(AuthenticationError) as caught:
        _ = run(machine.source().token(REQUEST), provider.http)
    assert caught.value.code == "opened-twice"
    assert "another user" in str(caught.value.detail)
    assert machine.left.wait(20)
    assert statuses in ([404, 405, 303, 409], [404, 405, 303, 303, 409])
    assert provider.forms == []


@pytest.mark.parametrize(
    "error", [webbrowser.Error("no"), OSError("no"), KeyError("no"), RuntimeError("no"), None]
)
def test_a_browser_that_does_not_appear_is_no_end(
    provider: PersonIssuer, monkeypatch: pytest.MonkeyPatch, error: Exception | None
) -> None:
    """Whatever it raises, and where it says that it did: the person has the address."""
    person = Browser(provider)

    def does(url: str) -> bool:
        if error is not None:
            raise error
        return True

    machine = Machine(monkeypatch, does)
    made = source(None, person.go)
    assert run(made.token(REQUEST), provider.http).value == "access-token-4471"
    assert len(machine.urls) == 1
    _ = person.close()


def test_what_a_person_at_a_terminal_reads(
    provider: PersonIssuer, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """That a browser is opened, and the address, on a line of its own, for where none appears."""
    machine = Machine(monkeypatch, lambda url: True)
    with pytest.raises(BackendError):
        _ = run(source(None).token(attrs.evolve(REQUEST, deadline=0.2)), provider.http)
    assert machine.left.wait(20)
    out, err = capsys.readouterr()
    assert out == ""
    first, second, shown = err.splitlines()
    assert first.endswith("If none appears, open this address")
    assert second == "in one of this machine:"
    assert shown.startswith(f"{ISSUER}/authorize?response_type=code&")


def test_a_browser_that_runs_in_the_terminal_holds_nothing_up(
    provider: PersonIssuer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It returns when the person leaves it, and the answer comes before that."""
    left = threading.Event()
    browser = Browser(provider)

    def does(url: str) -> bool:
        browser.go(get(url)[1]["location"])
        return left.wait(20)

    machine = Machine(monkeypatch, does)
    begin = time.monotonic()
    assert run(machine.source().token(REQUEST), provider.http).value == "access-token-4471"
    assert time.monotonic() - begin < 10
    left.set()
    _ = browser.close()


def test_an_application_without_standard_error_shows_nothing(
    provider: PersonIssuer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Windows starts some without; the browser is opened all the same."""
    browser = Browser(provider)
    _ = Machine(monkeypatch, lambda url: browser.go(get(url)[1]["location"]))
    monkeypatch.setattr("sys.stderr", None)
    assert run(source(None).token(REQUEST), provider.http).value == "access-token-4471"
    _ = browser.close()


def test_who_opens_a_browser_and_waits_for_it_is_served(provider: PersonIssuer) -> None:
    """The function returns when the browser is left; its requests are answered before that."""
    statuses: list[int] = []

    def waits(url: str) -> bool:
        asked = dict(parse_qsl(urlsplit(url).query))
        back = asked["redirect_uri"]
        queries = ("code=x&state=y", urlencode(provider.authorize(url)))
        statuses.extend(get(f"{back}?{query}")[0] for query in queries)
        return True

    assert run(source(waits).token(REQUEST), provider.http).value == "access-token-4471"
    assert statuses == [400, 303]


@pytest.mark.parametrize("which", ["open_browser", "show"])
def test_a_plain_function_that_is_to_be_awaited_is_told_so(
    provider: PersonIssuer, which: str
) -> None:
    """It would count as open, or shown, and nothing would ever happen."""

    async def later(url: str) -> bool:
        return True

    def plain(url: str) -> object:
        return later(url)

    opener, show = (plain, raises) if which == "open_browser" else (lambda url: False, plain)
    with pytest.raises(UsageError, match=f"{which}.* async def"):
        _ = run(source(opener, show).token(REQUEST), provider.http)


def test_a_coroutine_function_needs_an_event_loop(provider: PersonIssuer) -> None:
    """And that is said, rather than that nobody came back."""

    async def later(url: str) -> bool:
        return True

    with pytest.raises(UsageError, match=r"sasl_core\.aio"):
        _ = run(source(later).token(REQUEST), provider.http)


def test_nobody_comes_back(provider: PersonIssuer) -> None:
    """The wait ends with the time that the login has."""
    made = source(lambda url: True)
    with pytest.raises(BackendError) as caught:
        _ = run(made.token(attrs.evolve(REQUEST, deadline=0.3)), provider.http)
    assert caught.value.code == "timeout"


def test_no_secret_of_a_login_is_shown(provider: PersonIssuer) -> None:
    """Not by the source, not by an error, not by its frames once it is out."""
    provider.answers["/token"] = json_response({"error": "invalid_grant"}, 400)
    browser = Browser(provider)
    made = source(browser, client_secret="s3cr3t-client")
    with (
        Client("imap", "localhost", config={}, credentials=made, http=provider.http) as client,
        client.session(external_ssf=256) as session,
        pytest.raises(SaslError) as caught,
    ):
        _ = session.start(["OAUTHBEARER"])
    _ = browser.close()
    (code,) = provider.codes
    form = dict(parse_qsl(provider.requests[-1].body.decode()))
    secrets = {code, form["code_verifier"], browser.query["state"], "s3cr3t-client"}
    assert form["code"] == code
    told = "".join(traceback.format_exception(caught.value))
    assert not [secret for secret in secrets if secret in f"{told}{caught.value.detail}"]
    assert find_secret(made, secrets - {"s3cr3t-client"}, (browser,)) is None
    assert "s3cr3t" not in repr(made)
    assert "s3cr3t" not in repr(made.__dict__["_options"])
