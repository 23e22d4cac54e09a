"""What a conformance class of a source of credentials sets, and how the checks ask the source."""

from __future__ import annotations

import math
import re
import threading
from collections.abc import Generator
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar, Final

from sasl_core._checks import is_a
from sasl_core.credentials import AccessToken, TokenRequest
from sasl_core.edge import sever
from sasl_core.errors import AuthenticationError, BackendError, PluginError, SaslError
from sasl_core.needs import NeedCall, NeedCallback, NeedDerivation, NeedHttp
from sasl_core.runners.common import no_transport
from sasl_core.testing.drivers import DRIVERS, Driver
from sasl_core.testing.leaks import assert_no_secret
from sasl_core.testing.setups import ClientSetup, Credentials, fail, require

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import TypeAlias

    from sasl_core.credentials import CredentialsPlug
    from sasl_core.needs import HttpRequest, HttpResponse, Need
    from sasl_core.plugs import Needs
    from sasl_core.registry import Registry
    from sasl_core.testing.drivers import AnyClient
    from sasl_core.testing.setups import Transport

    Meddler: TypeAlias = Callable[[int, Need, object], object]

__all__ = ["Counter", "Fetched", "SourceSubject"]

SOURCE_NEEDS: Final = (NeedCall, NeedHttp, NeedDerivation)
"""What a source may ask for; with a person also the application's prompts."""

PATIENCE: Final = 20.0
"""Seconds until a source that does not answer is one that never will."""

LONGEST: Final = 16 * 1024
_BEARER: Final = re.compile(r"[A-Za-z0-9._~+/-]+=*")


class Fetched:
    """What came of asking once. `needs`: all that was asked for, in order.

    `foreign`: what was raised that is no error of ours; `stray`: a need that is not a source's.
    """

    def __init__(self) -> None:
        self.needs: list[Need] = []
        self.token: object = None
        self.error: SaslError | None = None
        self.foreign: BaseException | None = None
        self.stray: Need | None = None

    @property
    def requests(self) -> list[HttpRequest]:
        """The HTTP requests among the needs."""
        return [need.request for need in self.needs if isinstance(need, NeedHttp)]

    def kinds(self) -> list[str]:
        """What kinds of needs there were."""
        return [type(need).__name__ for need in self.needs]


class Counter:
    """Where a source is asked: one Client of one driver."""

    def __init__(
        self,
        subject: SourceSubject,
        driver: Driver,
        client: AnyClient,
        source: CredentialsPlug,
        http: Transport | None,
    ) -> None:
        self.source = source
        self._subject = subject
        self._driver = driver
        self._client = client
        self._http = http

    def fetch(
        self,
        meddle: Meddler | None = None,
        *,
        close_at: int = -1,
        request: TokenRequest | None = None,
    ) -> Fetched:
        """Ask once. `meddle`: makes of each answer what is delivered, or raises what is thrown.

        `close_at`: close the generator where it has asked for that need.
        """
        fetched = Fetched()
        asked = self._subject.request if request is None else request
        body = self._watched(self.source.token(asked), fetched, meddle, close_at)
        try:
            self._driver.body(self._client, body, self._http)
        except SaslError as error:
            fail(f"{self._subject.name} cannot be run by the {self._driver.name} driver: {error}")
        return fetched

    def fetch_in_time(self) -> Fetched:
        """Ask once in a thread; a source that waits for what never comes is found out."""
        got: list[Fetched] = []
        thread = threading.Thread(target=lambda: got.append(self.fetch()), daemon=True)
        thread.start()
        thread.join(self._subject.patience)
        if not got:
            fail(f"{self._subject.name} does not answer any more")
        return got[0]

    def _watched(
        self, body: Any, fetched: Fetched, meddle: Meddler | None, close_at: int
    ) -> Needs[None]:
        """Run the body, and note in `fetched` what it asks for and comes to; raises nothing."""
        step: Callable[[], Need] = partial(next, body)
        allowed = (*SOURCE_NEEDS, NeedCallback) if self.source.human else SOURCE_NEEDS
        while True:
            try:
                need = step()
            except StopIteration as stop:
                fetched.token = stop.value
                return
            except SaslError as error:
                fetched.error = sever(error)
                return
            except Exception as error:  # noqa: BLE001 - whatever it is, it is told.
                fetched.foreign = error
                return
            number = len(fetched.needs)
            fetched.needs.append(need)
            if number == close_at or not isinstance(need, allowed):
                fetched.stray = None if isinstance(need, allowed) else need
                try:
                    body.close()
                except Exception as error:  # noqa: BLE001 - whatever it is, it is told.
                    fetched.foreign = error
                return
            try:
                if isinstance(need, NeedCallback):
                    answer: object = self._subject.person.answer(need.prompts)
                else:
                    answer = yield fetched.needs[-1]
                if meddle is not None:
                    answer = meddle(number, fetched.needs[-1], answer)
            except Exception as error:  # noqa: BLE001 - thrown where the need was yielded.
                step = partial(body.throw, error)
            else:
                step = partial(body.send, answer)


class SourceSubject:
    """What the checks know of a source.

    To be set: `name`, `token`; to be overridden: `http`, or `client_setup` for a source that
    the application makes. Every secret has at least 6 characters.
    """

    name: ClassVar[str]
    """The source's name."""

    token: ClassVar[str]
    """The access token that it gives when everybody means well."""

    request: ClassVar[TokenRequest] = TokenRequest("conformance", "server.example.com")
    """What it is asked."""

    own_secrets: ClassVar[tuple[str, ...]] = ()
    """What the source is configured with and shows to its provider alone: a client's secret."""

    person: ClassVar[Credentials] = Credentials()
    """What a person answers whom a source with `human` asks."""

    drivers: ClassVar[tuple[str, ...]] = tuple(DRIVERS)
    """Those that it works with; what calls a coroutine function needs "asyncio"."""

    packages: ClassVar[tuple[str, ...]] = ()
    """Top-level packages of the plugin, whose frames are searched for secrets."""

    config: ClassVar[Mapping[str, object]] = {}
    """Configuration of the Client, as the tables of a `sasl.toml`."""

    seed: ClassVar[int] = 1
    patience: ClassVar[float] = PATIENCE

    def http(self, request: HttpRequest) -> HttpResponse:
        """What is at the other end of its HTTP, and means well."""
        del request
        raise no_transport()

    def registry(self) -> Registry | None:
        """Where plugins are found; None: what is installed. See `declare`."""
        return None

    def client_setup(self) -> ClientSetup:
        """How a client is made that has the source."""
        return ClientSetup(
            config=self.config, http=self.http, credentials=self.name, registry=self.registry()
        )

    @contextmanager
    def counter(self, driver: str = "") -> Generator[Counter]:
        """A new Client with the source; by the first of `drivers` unless another is named."""
        setup = self.client_setup()
        with DRIVERS[driver or self._first()]() as made:
            client = made.client(setup)
            try:
                source = client.core.credentials()
            except PluginError as error:
                fail(f"{self.name} cannot be used: {error}")
            if source is None:
                fail(f"{self.name}: client_setup() names no source")
            yield Counter(self, made, client, source, setup.http)

    def _first(self) -> str:
        return "blocking" if "blocking" in self.drivers else self.drivers[0]

    def secrets(self) -> set[str]:
        """Every secret that the checks use."""
        return {self.token, self.request.refresh_token or "", *self.own_secrets} - {""}

    # --- judging -----------------------------------------------------------------------

    def honest(self, counter: Counter, fetched: Fetched | None = None, why: str = "") -> Fetched:
        """Ask once, with everybody meaning well; the token has to come."""
        fetched = counter.fetch() if fetched is None else fetched
        self.sound(fetched, why or "asked in peace")
        error = fetched.error
        if error is not None:
            fail(f"{self.name} {why} fails: {type(error).__name__}: {error} ({error.detail})")
        value = getattr(fetched.token, "value", None)
        require(value == self.token, f"{self.name} {why} gives another token than `token`")
        return fetched

    def sound(self, fetched: Fetched, what: str) -> None:
        """It ended as a source may end, whatever the provider did."""
        who = f"{self.name}: {what}:"
        if fetched.foreign is not None:
            fail(f"{who} {type(fetched.foreign).__name__} was raised, which is no SaslError")
        if fetched.stray is not None:
            kind = type(fetched.stray).__name__
            fail(f"{who} it asks for {kind}, which is not for it to ask")
        error = fetched.error
        if error is None:
            self._well_formed(fetched.token, who)
            return
        if not isinstance(error, (BackendError, AuthenticationError)):
            fail(
                f"{who} {type(error).__name__} was raised; what comes from outside is a "
                f"BackendError or an AuthenticationError: {error} ({error.detail})"
            )
        text = str(error)
        require(error.detail, f"{who} it failed without a detail ({type(error).__name__}: {error})")
        require(text.isprintable(), f"{who} the error's text has characters of control: {text!a}")
        try:
            assert_no_secret(error, self.secrets(), self.packages)
        except AssertionError as found:
            fail(f"{who} {found}")

    @staticmethod
    def _well_formed(token: object, who: str) -> None:
        if not isinstance(token, AccessToken):
            fail(f"{who} it gives a {type(token).__name__}, no AccessToken")
        # A plugin's word for their types is not taken.
        value = token.value
        if not is_a(value, str) or len(value) > LONGEST or not _BEARER.fullmatch(value):
            fail(f"{who} it gives what is no access token (RFC 6750 section 2.1)")
        until = token.expires_at
        require(
            until is None or (is_a(until, (int, float)) and math.isfinite(until)),
            f"{who} expires_at is {until!r}, no time",
        )
        refresh = token.refresh_token
        require(
            refresh is None or (is_a(refresh, str) and refresh),
            f"{who} refresh_token is a {type(refresh).__name__}, or empty",
        )
