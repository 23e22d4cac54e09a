"""A person's login on another machine: what is shown, how it is polled, and until when."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import attrs
import pytest

from person_kit import REQUEST, PersonIssuer
from sasl_core import AuthenticationError, BackendError, Client, ConfigError, SaslError
from sasl_core.plugin import AccessToken, Blocking, NeedCall, Needs, TokenRequest
from sasl_credentials import DeviceCode, DeviceCodeOptions, DevicePrompt
from token_kit import NOW, Ticking, arun, json_response, run

ISSUER = "https://issuer.example.com"
LONG = attrs.evolve(REQUEST, deadline=300.0)
OUTAGE = BackendError(detail="no route to host")


class Person:
    """A provider, the time, and what the person is shown; nothing waits for real."""

    def __init__(self, *polls: object, **answer: object) -> None:
        self.provider = PersonIssuer(clock=Ticking())
        self.provider.polls = list(polls)
        self.provider.device_answer = answer
        self.time = Ticking(1000.0)
        self.shown: list[DevicePrompt] = []
        self.waits: list[float] = []

    def wait(self, seconds: float) -> Needs[None]:
        def pass_by() -> None:
            self.waits.append(seconds)
            self.time.tick(seconds)

        yield from NeedCall(pass_by, Blocking.LOCAL)

    def source(self, **more: Any) -> DeviceCode:
        options: dict[str, Any] = {"issuer": ISSUER, "client_id": "app", **more}
        made = {name: value for name, value in options.items() if value is not None}
        return DeviceCode(
            DeviceCodeOptions(**made),
            show=self.shown.append,
            clock=Ticking(),
            monotonic=self.time,
            wait=self.wait,
        )

    def log_in(self, request: TokenRequest = LONG, **more: Any) -> AccessToken:
        return run(self.source(**more).token(request), self.provider.http)

    def refused(self, request: TokenRequest = LONG, **more: Any) -> SaslError:
        with pytest.raises(SaslError) as caught:
            _ = self.log_in(request, **more)
        detail = f"{caught.value} {caught.value.detail}"
        assert detail.isprintable()
        assert "device-code-7731" not in detail
        return caught.value


# --- a good login -----------------------------------------------------------------------


def test_a_person_logs_in_elsewhere() -> None:
    """They are shown page and code, and the provider is polled until they have entered it."""
    person = Person("authorization_pending", "authorization_pending")
    token = person.log_in(scope=("mail", "openid"), resource=("urn:a",), audience="the api")
    assert token == AccessToken("access-token-4471", NOW + 3600, "refresh-token-9920")
    (prompt,) = person.shown
    assert prompt == DevicePrompt(f"{ISSUER}/activate", "WDJB-MJHT", None, 300.0)
    assert person.waits == [5.0, 5.0, 5.0]
    first, *polls = person.provider.forms
    assert first == {
        "scope": "mail openid",
        "resource": "urn:a",
        "audience": "the api",
        "client_id": "app",
    }
    assert polls == 3 * [
        {
            "grant_type": "urn:ietf:params:oauth:grant-type:device_code",
            "device_code": "device-code-7731",
            "resource": "urn:a",
            "client_id": "app",
        }
    ]


def test_the_prompt_has_the_whole_address_for_a_picture() -> None:
    """Where the provider has one; and the time that there really is."""
    person = Person(
        verification_uri_complete=f"{ISSUER}/activate?code=WDJB-MJHT", expires_in=120, interval=2
    )
    _ = person.log_in()
    (prompt,) = person.shown
    assert prompt.complete_uri == f"{ISSUER}/activate?code=WDJB-MJHT"
    assert prompt.seconds == 120.0
    assert person.waits == [2.0]


def test_googles_name_of_the_address() -> None:
    """It is from before the RFC."""
    person = Person(verification_uri=None, verification_url="https://www.google.com/device")
    _ = person.log_in()
    assert person.shown[0].uri == "https://www.google.com/device"


def test_a_person_at_a_terminal_sees_three_lines(capsys: pytest.CaptureFixture[str]) -> None:
    """On standard error; nothing else is written."""
    person = Person(verification_uri_complete=f"{ISSUER}/activate?code=WDJB-MJHT")
    made = DeviceCode(
        DeviceCodeOptions(issuer=ISSUER, client_id="app"), monotonic=person.time, wait=person.wait
    )
    _ = run(made.token(LONG), person.provider.http)
    out, err = capsys.readouterr()
    assert out == ""
    assert err == (
        "To log in, open https://issuer.example.com/activate in any browser,\n"
        "and enter the code WDJB-MJHT, or open "
        "https://issuer.example.com/activate?code=WDJB-MJHT\n"
        "It is good for 5 minutes.\n"
    )


def test_a_refresh_token_is_used_before_anybody_is_bothered() -> None:
    """And the client's secret is shown with it."""
    person = Person()
    asked = attrs.evolve(LONG, refresh_token="refresh-1")
    assert person.log_in(asked, client_secret="s3cr3t").value == "access-token-4471"
    assert person.shown == []
    assert person.provider.forms == [{"grant_type": "refresh_token", "refresh_token": "refresh-1"}]
    assert "authorization" in dict(person.provider.requests[-1].headers)


def test_the_server_says_which_provider_it_trusts() -> None:
    """Where none is configured; one that contradicts the options is not followed."""
    asked = attrs.evolve(LONG, issuer=ISSUER, client_id="theirs", scopes=("db",))
    person = Person()
    _ = person.log_in(asked, issuer=None, client_id=None)
    assert person.provider.forms[0] == {"scope": "db", "client_id": "theirs"}
    person = Person()
    evil = attrs.evolve(asked, issuer="https://evil.example.com")
    assert person.refused(evil).code == "other-issuer"
    assert (person.shown, person.provider.requests) == ([], [])


OTHER = "https://evil.example.com"


@pytest.mark.parametrize(
    "moved",
    [
        {"token_endpoint": f"{OTHER}/token"},
        {"device_authorization_endpoint": f"{OTHER}/device"},
        {"token_endpoint": f"{OTHER}/token", "device_authorization_endpoint": f"{OTHER}/device"},
        {"token_endpoint": f"{ISSUER}:8443/token"},
        {"token_endpoint": "https://issuer.example.com.evil.example.com/token"},
    ],
    ids=str,
)
def test_a_device_code_goes_to_no_other_provider(moved: dict[str, object]) -> None:
    """The server names the provider, and its document another's page: nobody is shown a code."""
    asked = attrs.evolve(LONG, issuer=ISSUER, client_id="theirs")
    person = Person()
    person.provider.metadata.update(moved)
    error = person.refused(asked, issuer=None, client_id=None)
    assert isinstance(error, AuthenticationError)
    assert error.code == "mix-up"
    assert "configure it as credentials.device_code.issuer" in str(error.detail)
    assert (person.shown, person.provider.forms) == ([], [])


@pytest.mark.parametrize(
    ("address", "named"),
    [(f"{OTHER}/token", False), ("https://ISSUER.example.com:443/token", True)],
)
def test_a_configured_provider_may_have_several_hosts(address: str, named: bool) -> None:
    """Google's has; and for one that only the server names, https's own port is none."""
    person = Person()
    person.provider.metadata["token_endpoint"] = address
    answer = {"access_token": "access-token-2", "token_type": "Bearer"}
    person.provider.answers["/token"] = json_response(answer)
    asked = attrs.evolve(LONG, issuer=ISSUER, client_id="theirs")
    assert person.log_in(asked, issuer=None if named else ISSUER).value == "access-token-2"
    assert person.provider.requests[-1].url == address


# --- polling ------------------------------------------------------------------------------


def test_slow_down_adds_five_seconds_for_good() -> None:
    """RFC 8628 section 3.5: to this and all that follow."""
    person = Person("slow_down", "authorization_pending", "slow_down", "authorization_pending")
    _ = person.log_in()
    assert person.waits == [5.0, 10.0, 10.0, 15.0, 15.0]


def test_slow_down_without_end_ends() -> None:
    """With the time that there is, and never faster than it was told."""
    person = Person(*["slow_down"] * 100)
    assert person.refused().code == "timeout"
    assert person.waits == [*(5.0 * n for n in range(1, 11)), 23.0]
    assert person.time.now < 1300.0


def test_an_outage_is_waited_out() -> None:
    """Each doubles the pause; when the provider is back it is the old one."""
    answer = json_response({}, 503)
    person = Person("authorization_pending", OUTAGE, answer, OUTAGE, "authorization_pending")
    assert person.log_in().value == "access-token-4471"
    assert person.waits == [5.0, 5.0, 10.0, 20.0, 40.0, 5.0]


def test_an_outage_that_lasts_ends_with_the_time() -> None:
    """And that it was one is told."""
    person = Person(*[OUTAGE] * 100)
    error = person.refused()
    assert error.code == "timeout"
    assert "could not be asked" in str(error.detail)
    assert max(person.waits) == 60.0
    assert person.time.now < 1300.0


def test_an_outage_that_does_not_pass_ends_the_login() -> None:
    """A private authority that is missing, say."""
    lasting = BackendError(code="http-tls", detail="no trust", temporary=False)
    assert Person(lasting).refused().code == "http-tls"


@pytest.mark.parametrize(
    ("said", "kind", "code"),
    [
        ("access_denied", AuthenticationError, "token-refused"),
        ("authorization_declined", AuthenticationError, "token-refused"),
        ("expired_token", BackendError, "timeout"),
        ("invalid_grant", AuthenticationError, "token-refused"),
        ("invalid_client", AuthenticationError, "token-refused"),
        ("unsupported_grant_type", BackendError, "token-response"),
        (json_response(b"<html>", 400), BackendError, "token-response"),
        (json_response(b"<html>", 200), BackendError, "token-response"),
        (json_response({"access_token": "a"}, 200), BackendError, "token-response"),
        (json_response({}, 302), BackendError, "token-response"),
    ],
    ids=lambda value: ascii(value)[:40],
)
def test_the_providers_no(said: object, kind: type[SaslError], code: str) -> None:
    """It ends the wait, at once."""
    person = Person("authorization_pending", said)
    error = person.refused()
    assert isinstance(error, kind)
    assert error.code == code
    assert len(person.waits) == 2


def test_the_code_is_good_for_so_long() -> None:
    """The provider says how long, and nobody is polled for after that."""
    person = Person(*["authorization_pending"] * 100, expires_in=33)
    assert person.refused().code == "timeout"
    assert person.waits == [5.0] * 6 + [1.0]
    person = Person(*["authorization_pending"] * 100, expires_in=10**9)
    assert person.refused().code == "timeout"
    assert person.time.now <= 1300.0


@pytest.mark.parametrize(
    ("polls", "interval", "expires", "last"),
    [
        ("authorization_pending", 5, 300, 3.0),
        ("authorization_pending", 60, 120, 58.0),
        ("authorization_pending", 300, 120, 118.0),
        (OUTAGE, 5, 1800, 43.0),
        ("slow_down", 5, 60, 8.0),
    ],
    ids=str,
)
def test_nobody_gives_up_early(polls: object, interval: int, expires: int, last: float) -> None:
    """There is a last poll just before the end; who has entered the code by then is in."""
    person = Person(*[polls] * 100, interval=interval, expires_in=expires)
    assert person.refused().code == "timeout"
    assert person.waits[-1] == last
    assert person.time.now == 1000.0 + min(expires, 300.0) - 2.0
    again = Person(*[polls] * (len(person.waits) - 1), interval=interval, expires_in=expires)
    assert again.log_in().value == "access-token-4471"


# --- what the provider may say ---------------------------------------------------------------


@pytest.mark.parametrize(
    ("interval", "first"),
    [
        (None, 5.0),
        (5, 5.0),
        ("7", 7.0),
        (2.5, 2.5),
        (0, 1.0),
        (0.001, 1.0),
        (90, 90.0),
        (10**15, 298.0),
    ],
    ids=lambda value: str(value)[:20],
)
def test_how_often_it_is_polled(interval: object, first: float) -> None:
    """As it says, but never as fast as we can, and once before the code is over."""
    person = Person(interval=interval)
    _ = person.log_in()
    assert person.waits == [first]


NUMBERS: list[object] = [-1, -0.5, True, "soon", "", "-1", "1e3", [], {}, "9" * 50]
NO_CODES: list[object] = [None, "", 7, "a\n", "ä", "x" * 20_000, []]
NO_USER_CODES: list[object] = [
    *(None, "", 7, "A\n", "A\x1b[31m", "\u202eA", "Ä", " A", "A" * 65, []),
]


@pytest.mark.parametrize(
    "answer",
    [
        *({"interval": value} for value in NUMBERS),
        *({"expires_in": value} for value in (*NUMBERS, None)),
        *({"device_code": value} for value in NO_CODES),
        *({"user_code": value} for value in NO_USER_CODES),
        *(
            {"verification_uri": value}
            for value in (
                None,
                "",
                7,
                "http://issuer.example.com/",
                "javascript:alert(1)",
                "https://a/\x1b[31m",
                "https://issuer.example.com@evil/",
                "https://\u202eexample.com/",
                "https://a/#b",
            )
        ),
        *({"verification_uri_complete": value} for value in (7, "", "http://a/", "https://a b/")),
    ],
    ids=lambda answer: ascii(answer)[:60],
)
def test_what_makes_no_sense_is_shown_to_nobody(answer: dict[str, object]) -> None:
    """Nothing unprintable reaches a terminal, and no clock counts to nowhere."""
    person = Person(**answer)
    error = person.refused()
    assert isinstance(error, BackendError)
    assert (error.code, error.temporary) == ("device-response", False)
    assert (person.shown, person.waits) == ([], [])


@pytest.mark.parametrize(
    "body", [b"", b"<html>", b"[]", b'{"expires_in":NaN}', b'{"interval":1e999}', b"\xff"]
)
def test_what_is_no_json_is_refused(body: bytes) -> None:
    """Strictly: NaN and infinity are none."""
    person = Person()
    person.provider.answers["/device"] = json_response(body)
    assert person.refused().code == "device-response"


@pytest.mark.parametrize(
    ("status", "error", "kind"),
    [
        (400, "unauthorized_client", AuthenticationError),
        (400, "invalid_scope", BackendError),
        (503, "", BackendError),
        (302, "", BackendError),
    ],
)
def test_a_login_that_does_not_begin(status: int, error: str, kind: type[SaslError]) -> None:
    """The provider does not know the client, or has no devices."""
    person = Person()
    person.provider.answers["/device"] = json_response({"error": error}, status)
    assert isinstance(person.refused(), kind)
    assert person.shown == []


@pytest.mark.parametrize("value", [None, 7, "http://issuer.example.com/device"])
def test_a_provider_without_devices(value: object) -> None:
    """It says so in its document."""
    person = Person()
    person.provider.metadata["device_authorization_endpoint"] = value
    assert person.refused().code == "discovery"


@pytest.mark.parametrize(
    ("more", "key"),
    [
        ({"issuer": "http://issuer.example.com"}, "issuer"),
        ({"client_secret": "s3cr3t", "client_id": None}, "client_id"),
        ({"scope": ("a b",)}, "scope"),
        ({"allowed_hosts": ("*",)}, "allowed_hosts"),
    ],
)
def test_what_cannot_be_used_is_named(more: Any, key: str) -> None:
    """When the source is made, not at the first login."""
    with pytest.raises(ConfigError) as caught:
        _ = Person().source(**more)
    assert caught.value.key == f"credentials.device_code.{key}"


def test_it_is_configured() -> None:
    """As `[credentials.device_code]`."""
    table = {"issuer": ISSUER, "client_id": "app", "allowed_hosts": ["mail.example.com"]}
    config = {"credentials": {"device_code": table}}
    with Client("imap", "x", config=config, credentials="device_code") as client:
        made = client.core.credentials()
        assert isinstance(made, DeviceCode)
        assert made.human
        assert made.allowed_hosts == ("mail.example.com",)


def test_a_cancelled_task_stops_polling() -> None:
    """In the middle of a pause."""
    provider = PersonIssuer()
    shown = asyncio.Event()

    async def show(prompt: DevicePrompt) -> None:
        shown.set()

    async def http(request: Any) -> Any:
        return provider.http(request)

    async def cancelled() -> float:
        made = DeviceCode(DeviceCodeOptions(issuer=ISSUER, client_id="app"), show=show)
        task = asyncio.create_task(arun(made.token(LONG), http))
        _ = await shown.wait()
        await asyncio.sleep(0.05)
        begin = time.monotonic()
        _ = task.cancel()
        with pytest.raises(asyncio.CancelledError):
            _ = await task
        return time.monotonic() - begin

    assert asyncio.run(cancelled()) < 3
    assert len(provider.forms) == 1
