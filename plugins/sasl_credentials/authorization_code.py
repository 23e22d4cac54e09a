"""A person logs in with the browser (entry point `authorization_code`).

The browser is sent to the provider, and comes back to a listener on the loopback with a code,
which is exchanged for the token. What keeps others out of it:

- `state`: who does not know it has said nothing, and the wait goes on.
- PKCE: the code is worth nothing without the verifier, which never leaves this program but for
  the provider's token endpoint.
- `nonce`: an ID token that comes along is of this login, or the login fails.
- `iss`: an answer of another provider than the one that was asked is a mix-up, and refused. A
  provider that nobody has configured has to announce it.
- The listener is there before the browser is opened, on the loopback alone.
- The machine's browser is started with an address of the listener, which leads on once: so no
  other user learns `state` from its command line, or the login fails.

Source: RFC 6749 section 4.1; RFC 7636; RFC 8252; RFC 9207; RFC 9700 section 2.1; OpenID Connect
Core 1.0 sections 3.1.2.1 and 3.1.3.7.
"""

from __future__ import annotations

import re
import time
from functools import partial
from typing import TYPE_CHECKING, Final

import attrs

from sasl_core.plugin import (
    BackendError,
    Blocking,
    ConfigError,
    CredentialsPlug,
    NeedCall,
    hookimpl,
)
from sasl_credentials.answers import id_token
from sasl_credentials.asking import ask
from sasl_credentials.authorization import (
    Answer,
    Secrets,
    accept_code,
    authorization_url,
    parse_answer,
)
from sasl_credentials.login import plan
from sasl_credentials.people import PersonOptions, check_options, odd
from sasl_credentials.redirect.uri import parse_redirect_uri
from sasl_credentials.screen import call_browser, show_opening, show_url
from sasl_tokens.hosts import check_patterns
from sasl_tokens.identity import check_id_token

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from sasl_core.plugin import AccessToken, Needs, SaslUtils, TokenRequest
    from sasl_credentials.login import Login
    from sasl_credentials.redirect.listener import RedirectListener

__all__ = [
    "SASL_PLUGIN_API",
    "AuthorizationCode",
    "AuthorizationCodeOptions",
    "sasl_credentials_init",
]

SASL_PLUGIN_API = 1

REDIRECT_URI: Final = "http://127.0.0.1/callback"
"""Where the browser comes back to; the port is whichever is free."""

_WORD: Final = re.compile(r"[a-z_]{1,40}")


@attrs.frozen
class AuthorizationCodeOptions(PersonOptions):
    """The options of `[credentials.authorization_code]`: those of `PersonOptions`, and two more.

    `redirect_uri`: where the browser comes back to, `http://127.0.0.1`, `http://[::1]` or
    `http://localhost` with a path. Without a port any free one is taken (RFC 8252 section 7.3);
    with one, that one. `prompt`: what the provider shall ask the person each time, in words
    of OpenID Connect Core 1.0 section 3.1.2.1, as in `consent`: without that one some give no
    refresh token (section 11).
    """

    redirect_uri: str = REDIRECT_URI
    prompt: tuple[str, ...] = ()


class AuthorizationCode(CredentialsPlug):
    """Tokens of a person who logs in with the browser.

    `open_browser`: opens an address, says whether it could, and should not wait until the
    browser is left. Other users of the machine must not see the address, as on the command line
    of a process: whoever opens it can log in in the person's place. None: the machine's browser,
    which is started with another address, of the listener, that is good for one visit.
    `show`: shows the address to a person, always where the machine's browser is opened, and
    else where `open_browser` could not; None: on standard error. Each may be a coroutine
    function, which needs the asyncio door; a plain one runs in a thread there.

    Raises:
        ConfigError: one of `options` cannot be used; `key` says which.
    """

    name = "authorization_code"
    human = True

    def __init__(
        self,
        options: AuthorizationCodeOptions,
        *,
        open_browser: Callable[[str], object] | Callable[[str], Awaitable[object]] | None = None,
        show: Callable[[str], object] | Callable[[str], Awaitable[object]] | None = None,
        clock: Callable[[], float] = time.time,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        check_options(options, self.name)
        self._redirect = parse_redirect_uri(
            options.redirect_uri, f"credentials.{self.name}.redirect_uri"
        )
        self.allowed_hosts = check_patterns(
            options.allowed_hosts, f"credentials.{self.name}.allowed_hosts"
        )
        for word in options.prompt:
            if _WORD.fullmatch(word) is None or word == "none":
                raise ConfigError(
                    "expected what a person is asked for: consent, login, select_account",
                    key=f"credentials.{self.name}.prompt",
                )
        self._options = options
        self._open = open_browser
        said = show_opening if open_browser is None else show_url
        self._show = said if show is None else show
        self._clock = clock
        self._monotonic = monotonic

    def token(self, request: TokenRequest) -> Needs[AccessToken]:
        login = plan(self.name, self._options, request, self._clock, self._monotonic)
        if request.refresh_token is not None:
            return (yield from login.refresh(request.refresh_token))
        document = yield from login.find()
        login.trust_answers(document)
        endpoint = login.address(document, "authorization_endpoint")
        token_endpoint = login.address(document, "token_endpoint")
        _check_pkce(document.members.get("code_challenge_methods_supported"))
        secret = Secrets()
        # Imported here, for it brings what waits for sockets and threads along.
        from sasl_credentials.redirect.listener import RedirectListener

        listener = RedirectListener(self._redirect, partial(parse_answer, state=secret.state))
        try:
            yield from NeedCall(listener.open, Blocking.LOCAL)
            url = authorization_url(
                endpoint, login, secret, listener.uri, request.username, self._options.prompt
            )
            answer = yield from self._send_person(url, listener, login)
            code = accept_code(answer, document)
            response = yield from login.post(
                token_endpoint,
                (
                    ("grant_type", "authorization_code"),
                    ("code", code),
                    ("redirect_uri", listener.uri),
                    ("code_verifier", secret.verifier),
                    *login.resources(),
                ),
            )
            token = login.parse(response)
            identity = id_token(response) if "openid" in login.scopes else None
            if identity is not None:
                check_id_token(
                    identity,
                    issuer=document.issuer,
                    client_id=login.client_id,
                    nonce=secret.nonce,
                )
            listener.finish(worked=True)
        finally:
            # Whoever still waits for a page hears that it did not work.
            listener.close()
        return token

    def _send_person(
        self, url: str, listener: RedirectListener[Answer], login: Login
    ) -> Needs[Answer]:
        """What the browser brings back.

        Raises:
            AuthenticationError: another may have logged in here; code "opened-twice".
            BackendError: nobody has come back; code "timeout".
        """
        left = login.left()
        yield from NeedCall(partial(listener.begin, left), Blocking.LOCAL)
        opened: object = False
        if self._open is None:
            # Every user of the machine can read what a browser is started with.
            yield from NeedCall(partial(call_browser, listener.lead(url)), Blocking.LOCAL)
        else:
            try:
                opened = yield from ask(self._open, url, "open_browser function", login.left())
            except BackendError:
                # A browser that does not open is no reason to give up: a person can.
                opened = False
        if not opened:
            _ = yield from ask(self._show, url, "show function", login.left())
        answer = yield from NeedCall(
            partial(listener.wait, left), Blocking.REMOTE, partial(listener.wait_async, left)
        )
        if answer is None:
            detail = f"nobody came back from the browser in {left:.0f} s"
            raise BackendError(code="timeout", detail=detail)
        return answer


def _check_pkce(methods: object) -> None:
    """Many providers do not say what they can; one that says so without S256 is not asked.

    Raises:
        BackendError: that; code "discovery".
    """
    if methods is not None and (not isinstance(methods, list) or "S256" not in methods):
        raise odd("discovery", "the provider does not know the code challenge method S256")


@hookimpl
def sasl_credentials_init(utils: SaslUtils) -> Sequence[CredentialsPlug]:
    """The configured login; without options one for servers that name their provider."""
    return [AuthorizationCode(utils.options(AuthorizationCodeOptions), clock=utils.clock)]
