"""A person logs in on another machine (entry point `device_code`), for one without a browser.

The provider gives a short code and an address; the person opens the address wherever there is a
browser, and enters the code. Meanwhile the provider is polled, no faster than it says.

Source: RFC 8628.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Final

import attrs

from sasl_core.plugin import BackendError, CredentialsPlug, hookimpl
from sasl_credentials.answers import error_code, passes
from sasl_credentials.asking import ask
from sasl_credentials.device_messages import parse_device_response
from sasl_credentials.login import plan
from sasl_credentials.people import PersonOptions, check_options
from sasl_credentials.screen import show_code
from sasl_tokens.hosts import check_patterns

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from sasl_core.plugin import AccessToken, HttpResponse, Needs, SaslUtils, TokenRequest
    from sasl_credentials.device_messages import DeviceGrant, DevicePrompt
    from sasl_credentials.login import Login

__all__ = ["SASL_PLUGIN_API", "DeviceCode", "DeviceCodeOptions", "sasl_credentials_init"]

SASL_PLUGIN_API = 1

GRANT: Final = "urn:ietf:params:oauth:grant-type:device_code"

SLOWER: Final = 5.0
"""Seconds that `slow_down` adds to the interval, for good (RFC 8628 section 3.5)."""

LAST: Final = 2.0
"""Seconds before the end at which the provider is polled for the last time."""

BACK_OFF: Final = 60.0
"""Longest pause that outages make of a shorter interval, in seconds."""


@attrs.frozen
class DeviceCodeOptions(PersonOptions):
    """The options of `[credentials.device_code]`: those of `PersonOptions`."""


class DeviceCode(CredentialsPlug):
    """Tokens of a person who logs in on another machine.

    `show`: shows a `DevicePrompt`; None: in three lines on standard error. It may be a coroutine
    function, which needs the asyncio door; a plain one runs in a thread there. `wait`: lets
    seconds pass, by `monotonic`.

    Raises:
        ConfigError: one of `options` cannot be used; `key` says which.
    """

    name = "device_code"
    human = True

    def __init__(
        self,
        options: DeviceCodeOptions,
        *,
        show: Callable[[DevicePrompt], object]
        | Callable[[DevicePrompt], Awaitable[object]]
        | None = None,
        clock: Callable[[], float] = time.time,
        monotonic: Callable[[], float] = time.monotonic,
        wait: Callable[[float], Needs[None]] | None = None,
    ) -> None:
        check_options(options, self.name)
        self.allowed_hosts = check_patterns(
            options.allowed_hosts, f"credentials.{self.name}.allowed_hosts"
        )
        self._options = options
        self._show = show_code if show is None else show
        self._clock = clock
        self._monotonic = monotonic
        self._wait = wait

    def token(self, request: TokenRequest) -> Needs[AccessToken]:
        login = plan(self.name, self._options, request, self._clock, self._monotonic)
        if request.refresh_token is not None:
            return (yield from login.refresh(request.refresh_token))
        document = yield from login.find()
        endpoint = login.address(document, "device_authorization_endpoint")
        token_endpoint = login.address(document, "token_endpoint")
        login.trust_addresses(endpoint, token_endpoint)
        response = yield from login.post(endpoint, login.asked())
        begin = self._monotonic()
        grant = parse_device_response(
            response, allow_loopback_http=self._options.allow_loopback_http
        )
        login = attrs.evolve(login, end=min(login.end, begin + grant.prompt.seconds))
        prompt = attrs.evolve(grant.prompt, seconds=login.left())
        _ = yield from ask(self._show, prompt, "show function", prompt.seconds)
        response = yield from self._poll(login, token_endpoint, grant)
        return login.parse(response)

    def _poll(self, login: Login, endpoint: str, grant: DeviceGrant) -> Needs[HttpResponse]:
        """The provider's last word, which is the token or a refusal.

        Raises:
            BackendError: it cannot be asked, or nobody has entered the code in time (code
                "timeout").
        """
        fields = (("grant_type", GRANT), ("device_code", grant.device_code), *login.resources())
        interval, outages = grant.interval, 0
        # Imported here, for it brings asyncio along.
        from sasl_core.plugin import pause

        while True:
            wait = min(interval * 2.0 ** min(outages, 6), max(interval, BACK_OFF))
            left = login.end - self._monotonic() - LAST
            if left <= 0:
                raise _too_late(outages)
            # The last poll comes sooner where the time is over otherwise: the person may have
            # entered the code, and there is no other poll that it could be too close to.
            yield from (self._wait or pause)(min(wait, left))
            try:
                response = yield from login.post(endpoint, fields)
            except BackendError as error:
                # The net comes back, and the person has not lost what they entered.
                if not error.temporary:
                    raise
                outages += 1
                continue
            code = error_code(response)
            if code == "slow_down":
                interval += SLOWER
            elif code == "expired_token":
                raise _too_late(0)
            elif code != "authorization_pending":
                if not passes(response.status):
                    return response
                outages += 1
                continue
            outages = 0


def _too_late(outages: int) -> BackendError:
    detail = "nobody has entered the code in time"
    if outages:
        detail += ", and the provider could not be asked at last"
    return BackendError(code="timeout", detail=detail)


@hookimpl
def sasl_credentials_init(utils: SaslUtils) -> Sequence[CredentialsPlug]:
    """The configured login; without options one for servers that name their provider."""
    return [DeviceCode(utils.options(DeviceCodeOptions), clock=utils.clock)]
