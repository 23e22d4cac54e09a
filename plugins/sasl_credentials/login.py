"""A person's login: with which provider, as which client, for what.

Invariants:
- A configured issuer is the only one: a server that names another is an error, and nobody is
  sent there. Without one, the server's word counts; ALLOWED_HOSTS has let it have that word.
- A provider that only the server names gets no code of another: its answers name it
  (RFC 9207), or nobody is sent there.
- A secret is shown to the configured issuer alone.
- The refresh token of a login goes the same way as the login.

Source: RFC 6749 sections 2.3.1, 3.3 and 6; RFC 8707; RFC 9700 sections 2.1 and 4.4 (mix-up).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import attrs

from sasl_core.plugin import AuthenticationError, BackendError, ConfigError, printable, record
from sasl_credentials.answers import parse_token_response
from sasl_credentials.grants import SECONDS, find_provider, post_form, refresh_grant, show_client
from sasl_credentials.people import SCOPE, address_problem, form_problem, odd
from sasl_credentials.secret_files import read_secret
from sasl_tokens.urls import check_url

if TYPE_CHECKING:
    from collections.abc import Callable

    from sasl_core.plugin import AccessToken, HttpResponse, Needs, TokenRequest
    from sasl_credentials.people import PersonOptions
    from sasl_tokens.discovery import Discovery

__all__ = ["Login", "names_itself", "plan"]

_SCOPES: Final = 64


@record
class Login:
    """One login: with which provider, as which client, for what; and its time.

    `end`: when it has to be over, by `monotonic`.
    """

    source: str
    options: PersonOptions
    issuer: str
    client_id: str
    scopes: tuple[str, ...]
    end: float
    clock: Callable[[], float] = attrs.field(repr=False)
    monotonic: Callable[[], float] = attrs.field(repr=False)

    @property
    def ca_file(self) -> str | None:
        """The authorities that alone are trusted."""
        return None if self.options.ca_file is None else str(self.options.ca_file)

    def left(self) -> float:
        """How many seconds are left.

        Raises:
            BackendError: none; code "timeout".
        """
        left = self.end - self.monotonic()
        if left <= 0:
            raise BackendError(code="timeout", detail="nobody has logged in in time")
        return left

    def asked(self) -> tuple[tuple[str, str], ...]:
        """What the token is to be good for, as fields of the first request."""
        fields = [("scope", " ".join(self.scopes))] if self.scopes else []
        fields.extend(self.resources())
        if self.options.audience is not None:
            fields.append(("audience", self.options.audience))
        return tuple(fields)

    def resources(self) -> tuple[tuple[str, str], ...]:
        """Whom the token is for, as fields (RFC 8707)."""
        return tuple(("resource", each) for each in self.options.resource)

    def find(self) -> Needs[Discovery]:
        """The provider's document.

        Raises:
            BackendError: there is none.
        """
        return (
            yield from find_provider(
                self.issuer,
                min(self.left(), SECONDS),
                ca_file=self.ca_file,
                allow_loopback_http=self.options.allow_loopback_http,
            )
        )

    def address(self, document: Discovery, name: str) -> str:
        """An address that the provider's document has to name.

        Raises:
            BackendError: it does not, or it is none that may be asked.
        """
        try:
            address = document.address(name, allow_loopback_http=self.options.allow_loopback_http)
        except BackendError as error:
            problem = error.detail or str(error)
        else:
            if address is not None:
                return address
            problem = f"{printable(self.issuer)} names no {name}"
        raise odd("discovery", problem)

    def trust_answers(self, document: Discovery) -> None:
        """Refuse a provider whose answers might be another's, before anybody is sent there.

        One that only the server names may lead the browser on to an honest provider, by its
        document or by a redirect of its page: what comes back looks the same, unless it says
        whose it is. So the provider has to promise that; `accept_code` holds it to that.

        Raises:
            AuthenticationError: it does not; code "mix-up".
        """
        if self.options.issuer is None and not names_itself(document):
            raise self._mixed_up("does not say that its answers name it (RFC 9207)")

    def trust_addresses(self, *addresses: str) -> None:
        """The same where nothing comes back through a browser: all is of the issuer's origin.

        Otherwise a document names another provider's page, and its own for what is got there.

        Raises:
            AuthenticationError: one is not; code "mix-up".
        """
        if self.options.issuer is None:
            here = _origin(self.issuer)
            if any(_origin(address) != here for address in addresses):
                raise self._mixed_up("has its endpoints at another host")

    def _mixed_up(self, problem: str) -> AuthenticationError:
        detail = (
            f"nobody but the server names the provider {printable(self.issuer)}, and it {problem}: "
            f"another's login could be meant; if it is right, configure it as "
            f"credentials.{self.source}.issuer"
        )
        return AuthenticationError(code="mix-up", detail=detail)

    def post(self, url: str, fields: tuple[tuple[str, str], ...]) -> Needs[HttpResponse]:
        """Send a form to the provider, as the client.

        Raises:
            BackendError: there is no answer, or the secret cannot be read.
        """
        own, client = show_client(
            self.client_id, (yield from self._secret()), self.options.auth_method
        )
        _, cleartext = check_url(
            url, what="the address", allow_loopback_http=self.options.allow_loopback_http
        )
        return (
            yield from post_form(
                url,
                (*fields, *own),
                client=client,
                ca_file=self.ca_file,
                cleartext=cleartext,
                deadline=min(self.left(), SECONDS),
            )
        )

    def parse(self, response: HttpResponse) -> AccessToken:
        """The token of a token endpoint's answer; raises as `parse_token_response`."""
        return parse_token_response(response, self.clock())

    def refresh(self, refresh_token: str) -> Needs[AccessToken]:
        """A token for a refresh token; raises as `refresh_grant`."""
        secret = yield from self._secret()
        return (
            yield from refresh_grant(
                self.issuer,
                self.client_id,
                refresh_token,
                client_secret=secret,
                auth_method=self.options.auth_method,
                resource=self.options.resource,
                ca_file=self.ca_file,
                allow_loopback_http=self.options.allow_loopback_http,
                deadline=self.left(),
                clock=self.clock,
            )
        )

    def _secret(self) -> Needs[str | None]:
        path = self.options.client_secret_file
        if path is not None:
            return (yield from read_secret(path, "the client's secret"))
        return self.options.client_secret or None


def names_itself(document: Discovery) -> bool:
    """Whether the provider says that its answers name it (RFC 9207 section 3)."""
    return document.members.get("authorization_response_iss_parameter_supported") is True


def _origin(address: str) -> tuple[str, str | None, int]:
    """Scheme, host and port of a checked address."""
    from urllib.parse import urlsplit

    parts = urlsplit(address)
    return parts.scheme, parts.hostname, parts.port or (443 if parts.scheme == "https" else 80)


def plan(
    source: str,
    options: PersonOptions,
    request: TokenRequest,
    clock: Callable[[], float],
    monotonic: Callable[[], float],
) -> Login:
    """Which login `request` asks for, under the source's options.

    The configured client goes before the one that the server names, and so do the scopes: a
    server does not widen what somebody has laid down.

    Raises:
        AuthenticationError: the server trusts another provider than the configured one; code
            "other-issuer".
        BackendError: what the server said is none of what it may say; code "server-provider".
        ConfigError: neither the server nor the configuration says it.
    """
    issuer, said = options.issuer, request.issuer
    if issuer is None:
        if said is None:
            raise _missing(source, "issuer")
        problem = address_problem(said, options)
        if problem is not None:
            raise odd("server-provider", f"the server's provider: {problem}")
        issuer = said
    elif said is not None and said != issuer:
        # Never followed: whoever answers for the server would choose who asks the person.
        raise AuthenticationError(
            code="other-issuer",
            detail=f"the server trusts {printable(said)}, and credentials.{source}.issuer is "
            f"{printable(issuer)}",
        )
    client_id = options.client_id or request.client_id
    if not client_id:
        raise _missing(source, "client_id")
    if form_problem((client_id,)) is not None or len(client_id) > 2048:
        raise odd("server-provider", "the server's client_id is none")
    scopes = tuple(dict.fromkeys(options.scope or request.scopes))
    if len(scopes) > _SCOPES or not all(map(SCOPE.fullmatch, scopes)):
        raise odd("server-provider", "the server asks for what is no scope, or for too many")
    return Login(
        source,
        options,
        issuer,
        client_id,
        scopes,
        monotonic() + request.deadline,
        clock,
        monotonic,
    )


def _missing(source: str, name: str) -> ConfigError:
    return ConfigError(
        "the option is missing, and the server does not say it",
        key=f"credentials.{source}.{name}",
    )
