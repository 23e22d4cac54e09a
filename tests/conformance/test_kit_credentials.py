"""Each check of a source of credentials passes a sound toy, and fails on one that is wrong."""

from __future__ import annotations

import json
import logging
import threading
from contextlib import suppress
from typing import Any
from urllib.parse import quote_plus

import attrs
import pytest

from sasl_core.plugin import (
    AccessToken,
    BackendError,
    ConfigError,
    CredentialsPlug,
    HttpRequest,
    HttpResponse,
    NeedCallback,
    NeedHttp,
    NeedUser,
    Prompt,
    PromptId,
)
from sasl_core.testing import Credentials, CredentialsConformance

TOKEN, SECRET = "token-of-alice-7315", "wonder+land:first"
URL = "https://idp.example.com/token"


class Sound(CredentialsPlug):
    """Asks a provider with a secret of its own, and believes nothing that comes back."""

    name = "toy"

    def __init__(self):
        self.secret = SECRET

    def asked(self, request):
        return HttpRequest("POST", URL, body=self.secret.encode())

    def token(self, request):
        response = yield from NeedHttp(self.asked(request))
        return AccessToken(self.read(response))

    def read(self, response):
        token = None
        if response.status == 200:
            with suppress(ValueError, LookupError, TypeError, RecursionError):
                token = json.loads(response.body)["access_token"]
        if not isinstance(token, str) or not token.isascii() or len(token) > 5000:
            token = ""
        if not token.replace("-", "").isalnum():
            raise BackendError(detail="the provider gave no token")
        return token


class Subject(CredentialsConformance):
    """The sound toy; a test sets another source."""

    name = "toy"
    token = TOKEN
    own_secrets = (SECRET,)
    packages = ("test_kit_credentials",)
    source = Sound

    def http(self, request):
        return HttpResponse(200, (), json.dumps({"access_token": TOKEN}).encode())

    def client_setup(self):
        return attrs.evolve(super().client_setup(), credentials=self.source())


class TestSound(Subject):
    """The sound toy passes."""


class Asking(Sound):
    """Asks its person before it asks the provider."""

    human = True
    allowed_hosts = ("localhost",)

    def token(self, request):
        (code,) = yield from NeedCallback((Prompt(PromptId.ECHOPROMPT, "Code"),))
        if code != "1234":
            raise BackendError(detail="another code")
        return (yield from super().token(request))


class TestAsking(Subject):
    """So does one that asks a person, who has an answer."""

    source = Asking
    person = Credentials(trace="1234")


# --- each wrong in one way -------------------------------------------------------------------


class Misnamed(Sound):
    name = "toy-of-another"


class Unavailable(Sound):
    def availability(self):
        return "the option is missing"


class Eager(Sound):
    def token(self, request) -> Any:
        return AccessToken(TOKEN)


class Bare(Sound):
    def token(self, request) -> Any:
        return (yield from super().token(request)).value


class Odd(Sound):
    def token(self, request):
        token = yield from super().token(request)
        return AccessToken(f"a token: {token.value}")


class Undated(Sound):
    def token(self, request):
        token = yield from super().token(request)
        return AccessToken(token.value, float("nan"))


class Keeping(Sound):
    kept = None

    def token(self, request):
        if self.kept is None:
            self.kept = yield from super().token(request)
        return self.kept


class Stray(Sound):
    def token(self, request):
        yield from NeedUser("alice")
        return (yield from super().token(request))


class Prompting(Asking):
    human = False


class Requesting(Sound):
    """Its request differs in one thing."""

    change: dict[str, object] = {}

    def asked(self, request):
        return attrs.evolve(super().asked(request), **self.change)


class Addressed(Requesting):
    change = {"url": f"{URL}?secret={quote_plus(SECRET)}"}


class Clear(Requesting):
    change = {"url": "http://idp.example.com/token"}


class Endless(Requesting):
    change = {"deadline": float("inf")}


class Greedy(Requesting):
    change = {"limit": 30_000_000}


class Slow(Requesting):
    change = {"deadline": 61.0}


class Busy(Sound):
    def token(self, request):
        for _ in range(40):
            yield from NeedHttp(HttpRequest("GET", URL, deadline=1.0))
        return (yield from super().token(request))


class Led(Sound):
    def asked(self, request):
        return attrs.evolve(super().asked(request), url=f"{request.issuer or URL}/token")


class Foreign(Sound):
    def token(self, request):
        try:
            return (yield from super().token(request))
        except BackendError as error:
            raise ConnectionError("no provider") from error


class Blaming(Sound):
    """Calls an outage a mistake in the configuration."""

    def token(self, request):
        try:
            return (yield from super().token(request))
        except BackendError:
            raise ConfigError("no provider") from None


class Mute(Sound):
    def token(self, request):
        try:
            return (yield from super().token(request))
        except BackendError:
            raise BackendError from None


class Statusless(Sound):
    def read(self, response):
        return super().read(attrs.evolve(response, status=200))


class Following(Sound):
    def token(self, request):
        response = yield from NeedHttp(self.asked(request))
        for name, value in response.headers:
            if name == "location":
                response = yield from NeedHttp(HttpRequest("GET", value))
        return AccessToken(self.read(response))


class Trusting(Sound):
    def read(self, response):
        _ = super().read(response) if response.status != 200 else ""
        return json.loads(response.body)["access_token"]


class Quoting(Sound):
    """Says what the provider says."""

    def read(self, response):
        try:
            return super().read(response)
        except BackendError:
            said = None
            with suppress(ValueError, LookupError, TypeError, RecursionError):
                said = json.loads(response.body)["error"]
        raise BackendError(f"the provider said: {said}", detail="it gave no token")


class Telling(Quoting):
    """Tells it to the administrator, escaped."""

    def read(self, response):
        try:
            return super().read(response)
        except BackendError as error:
            said = ascii(str(error))
        raise BackendError(detail=said)


class Locking(Sound):
    def __init__(self):
        super().__init__()
        self.lock = threading.Lock()

    def token(self, request):
        # Long enough to be found out, and not for ever.
        if not self.lock.acquire(timeout=1.0):
            raise BackendError(detail="another one is at it")
        token = yield from super().token(request)
        self.lock.release()
        return token


class Stubborn(Sound):
    def token(self, request):
        try:
            return (yield from super().token(request))
        except GeneratorExit:
            yield NeedHttp(HttpRequest("GET", URL))
            raise


class Remembering(Sound):
    def read(self, response):
        self.last = super().read(response)
        return self.last


class Shown(Sound):
    def __repr__(self):
        return f"Shown({self.secret!r})"


class Logging(Sound):
    def read(self, response):
        logging.getLogger("toy").debug("the provider said %r", response.body)
        return super().read(response)


CASES = [
    ("test_metadata", Misnamed, "toy is called 'toy-of-another'"),
    ("test_metadata", Unavailable, "cannot be used: the option is missing"),
    ("test_metadata", Eager, "gives a AccessToken, no generator of needs"),
    ("test_gives_its_token", Bare, "it gives a str, no AccessToken"),
    ("test_gives_its_token", Odd, "it gives what is no access token"),
    ("test_gives_its_token", Undated, "expires_at is nan, no time"),
    ("test_fetches_anew", Keeping, r"asked for \['NeedHttp'\], and the next time for \[\]"),
    ("test_asks_for_what_it_may", Stray, "asks for NeedUser, which is not for it to ask"),
    ("test_asks_for_what_it_may", Prompting, "asks for NeedCallback, which is not for it"),
    ("test_asks_for_what_it_may", Addressed, "has a secret in its address|shows a secret"),
    ("test_asks_for_what_it_may", Clear, "is for http://, with cleartext=False"),
    ("test_asks_for_what_it_may", Endless, "has no deadline"),
    ("test_asks_for_what_it_may", Greedy, "takes answers of 30000000 bytes"),
    ("test_asks_for_what_it_may", Slow, "may take 61 s, and it has 60 s"),
    ("test_asks_for_what_it_may", Busy, "asks 41 times for one token"),
    ("test_servers_lead_nowhere", Led, "a server that names its own provider leads it to"),
    ("test_needs_that_fail", Foreign, "ConnectionError was raised, which is no SaslError"),
    ("test_needs_that_fail", Blaming, "ConfigError was raised; what comes from outside is"),
    ("test_needs_that_fail", Mute, "it failed without a detail"),
    ("test_answers_that_refuse", Statusless, "takes a token out of status 300"),
    ("test_answers_that_refuse", Following, "in answer to need 0 leads it to"),
    ("test_answers_of_any_kind", Trusting, "which is no SaslError|no access token"),
    ("test_answers_of_any_kind", Quoting, "characters of control"),
    ("test_answers_of_any_kind", Telling, "holds a secret"),
    ("test_closed_anywhere", Locking, "does not answer any more"),
    ("test_closed_anywhere", Stubborn, "raises RuntimeError when it is closed at need 0"),
    ("test_closed_anywhere", Keeping, "after one closed at 0|keeps what it gave"),
    ("test_keeps_nothing", Remembering, "keeps what it gave: Remembering"),
    ("test_no_secret_is_shown", Shown, "the repr of Shown shows a secret"),
    ("test_no_secret_is_shown", Logging, "toy logs a secret"),
]


@pytest.mark.parametrize(
    ("check", "source", "complaint"), CASES, ids=[f"{c[0]}-{c[1].__name__}" for c in CASES]
)
def test_a_wrong_source_fails(check, source, complaint):
    """The check fails on a source that is wrong in just this, and says so."""
    made = {"source": source, "patience": 0.2, "person": Credentials(trace="1234")}
    subject = type("Wrong", (Subject,), made)()
    with pytest.raises(AssertionError, match=complaint):
        getattr(subject, check)()


def test_a_token_that_is_configured_may_be_held():
    """What the source is configured with it has to hold, a token too."""

    class Given(Sound):
        def __init__(self):
            super().__init__()
            self.given = TOKEN

    Given.name = "toy"
    made = {"source": Given, "own_secrets": (SECRET, TOKEN)}
    type("Right", (Subject,), made)().test_keeps_nothing()
    with pytest.raises(AssertionError, match="keeps what it gave"):
        type("Wrong", (Subject,), {"source": Given})().test_keeps_nothing()


def test_a_source_that_is_not_installed_fails():
    """A name that no plugin has does not pass."""

    class Wrong(CredentialsConformance):
        name = "no-such-source"
        token = TOKEN

    with pytest.raises(AssertionError, match=r"no-such-source cannot be used: .*installed"):
        Wrong().test_metadata()


def test_a_source_that_needs_an_event_loop_says_so():
    """Whoever cannot be run by a driver fails, unless `drivers` leaves that out."""
    seen: list[str] = []

    class Looped(Sound):
        def token(self, request):
            import asyncio

            try:
                seen.append(type(asyncio.get_running_loop()).__name__)
            except RuntimeError:
                failure = "no loop"
            else:
                return (yield from super().token(request))
            raise BackendError(detail=failure)

    with pytest.raises(AssertionError, match=r"\(raw\) fails: .*no loop"):
        type("Wrong", (Subject,), {"source": Looped})().test_gives_its_token()
    made = {"source": Looped, "drivers": ("asyncio",)}
    type("Right", (Subject,), made)().test_gives_its_token()
    assert seen


def test_every_check_has_a_failure():
    """No check of a source is without a case here in which it fails."""
    checks = {name for name in dir(CredentialsConformance) if name.startswith("test_")}
    assert checks == {check for check, _, _ in CASES}
