"""A provider that a person logs in at, and the browser that they do it with.

Both are without a network, but for the loopback that the browser comes back to.

    provider = PersonIssuer()
    browser = Browser(provider)             # logs in and comes back at once
    source = AuthorizationCode(options, open_browser=browser)
    run(source.token(REQUEST), provider.http)
    browser.pages                           # what the person saw in the end

`provider.codes` are those that it gave and has not taken back; it checks verifier, redirect and
client as the RFCs want it. `provider.polls` are its answers to a device, one after the other: an
error code, an exception, a response, or "yes".
"""

from __future__ import annotations

import hashlib
import http.client
import threading
from base64 import urlsafe_b64encode
from collections.abc import Callable, Iterable, Mapping
from secrets import token_urlsafe
from typing import Any
from urllib.parse import parse_qsl, urlencode, urlsplit

from sasl_core.plugin import HttpRequest, HttpResponse, TokenRequest
from token_kit import FakeIssuer, json_response

__all__ = ["REQUEST", "Browser", "Page", "PersonIssuer", "get"]

REQUEST = TokenRequest("imap", "localhost", deadline=15.0)

DEVICE = "urn:ietf:params:oauth:grant-type:device_code"

Page = tuple[int, Mapping[str, str], str]
"""Status, headers (names in lower case) and body."""


class PersonIssuer(FakeIssuer):
    """Gives codes to browsers, device codes to machines, and tokens for both."""

    def __init__(self, url: str = "https://issuer.example.com", **more: Any) -> None:
        super().__init__(url, **more)
        self.metadata["authorization_response_iss_parameter_supported"] = True
        self.metadata["code_challenge_methods_supported"] = ["S256"]
        self.codes: dict[str, dict[str, str]] = {}
        self.forms: list[dict[str, str]] = []
        self.polls: list[object] = []
        self.token_answer: dict[str, object] = {}
        """Members of the token endpoint's answer, added or replaced; None removes."""
        self.device_answer: dict[str, object] = {}
        self.id_token: Callable[[dict[str, str]], object] = self.honest_id_token

    def authorize(self, url: str) -> dict[str, str]:
        """What the browser is sent back with once the person has said yes."""
        parts = urlsplit(url)
        assert f"{parts.scheme}://{parts.netloc}{parts.path}" == f"{self.base}/authorize"
        pairs = parse_qsl(parts.query, keep_blank_values=True, strict_parsing=True)
        asked = dict(pairs)
        assert asked["response_type"] == "code"
        assert asked["code_challenge_method"] == "S256"
        code = token_urlsafe(12)
        self.codes[code] = asked
        return {"code": code, "state": asked["state"], "iss": self.url}

    def honest_id_token(self, asked: dict[str, str]) -> object:
        if "openid" not in asked.get("scope", "").split():
            return None
        return self.sign(aud=asked["client_id"], nonce=asked["nonce"])

    def http(self, request: HttpRequest) -> HttpResponse:
        path = urlsplit(request.url).path
        if self.down or path in self.answers or request.method != "POST":
            return super().http(request)
        self.requests.append(request)
        form = dict(parse_qsl(request.body.decode(), strict_parsing=True))
        self.forms.append(form)
        if request.url == f"{self.base}/device":
            answer = {
                "device_code": "device-code-7731",
                "user_code": "WDJB-MJHT",
                "verification_uri": f"{self.base}/activate",
                "expires_in": 1800,
                **self.device_answer,
            }
            return json_response({k: v for k, v in answer.items() if v is not None})
        assert request.url == f"{self.base}/token"
        match form["grant_type"]:
            case "authorization_code":
                return self._exchange(form)
            case "refresh_token":
                return self._token({})
            case grant:
                assert grant == DEVICE
                return self._poll(form)

    def _exchange(self, form: dict[str, str]) -> HttpResponse:
        asked = self.codes.pop(form["code"], None)
        if asked is None:
            return json_response({"error": "invalid_grant"}, 400)
        digest = hashlib.sha256(form["code_verifier"].encode()).digest()
        challenge = urlsafe_b64encode(digest).rstrip(b"=").decode()
        good = (
            asked["code_challenge"] == challenge
            and asked["redirect_uri"] == form["redirect_uri"]
            and asked["client_id"] == form.get("client_id", asked["client_id"])
        )
        return self._token(asked) if good else json_response({"error": "invalid_grant"}, 400)

    def _poll(self, form: dict[str, str]) -> HttpResponse:
        assert form["device_code"] == "device-code-7731"
        answer = self.polls.pop(0) if self.polls else "yes"
        if isinstance(answer, Exception):
            raise answer
        if isinstance(answer, HttpResponse):
            return answer
        if answer == "yes":
            return self._token({})
        return json_response({"error": answer}, 400)

    def _token(self, asked: dict[str, str]) -> HttpResponse:
        answer = {
            "access_token": "access-token-4471",
            "token_type": "Bearer",
            "expires_in": 3600,
            "refresh_token": "refresh-token-9920",
            "id_token": self.id_token(asked),
            **self.token_answer,
        }
        return json_response({k: v for k, v in answer.items() if v is not None})


def get(url: str, *, method: str = "GET", headers: Mapping[str, str] | None = None) -> Page:
    """One request, without following what it leads to."""
    parts = urlsplit(url)
    connection = http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=20)
    try:
        target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        connection.request(method, target, headers=dict(headers or {}))
        response = connection.getresponse()
        fields = {name.lower(): value for name, value in response.getheaders()}
        return response.status, fields, response.read().decode()
    finally:
        connection.close()


class Browser:
    """Opens an address, lets the person say yes, and comes back, in a thread of its own.

    `at_home`: it checks that it was sent to the provider's page; otherwise it goes there anyway.
    `before`: what else happens at the redirect first; it is given its address and the state.
    `answer`: makes of the honest answer's fields those that are brought back, in order.
    """

    def __init__(
        self,
        provider: PersonIssuer,
        *,
        answer: Callable[[dict[str, str]], Iterable[tuple[str, str]]] = dict.items,
        before: Callable[[str, str], None] | None = None,
        opens: bool = True,
        at_home: bool = True,
    ) -> None:
        self.provider = provider
        self.answer = answer
        self.before = before
        self.opens = opens
        self.at_home = at_home
        self.urls: list[str] = []
        self.pages: list[Page] = []
        self.failures: list[BaseException] = []
        self._threads: list[threading.Thread] = []

    def __call__(self, url: str) -> bool:
        self.urls.append(url)
        if self.opens:
            self.go(url)
        return self.opens

    def go(self, url: str) -> None:
        """Log in there and come back."""
        thread = threading.Thread(target=self._go, args=(url,))
        self._threads.append(thread)
        thread.start()

    def _go(self, url: str) -> None:
        try:
            asked = dict(parse_qsl(urlsplit(url).query))
            back = asked["redirect_uri"]
            if not self.at_home:
                # Wherever a spoilt document has sent it, the person logs in at the provider.
                url = f"{self.provider.base}/authorize?{urlsplit(url).query}"
            fields = list(self.answer(self.provider.authorize(url)))
            if self.before is not None:
                self.before(back, asked["state"])
            page = get(f"{back}?{urlencode(fields)}")
            if page[0] == 303:
                parts = urlsplit(back)
                assert "code" not in page[1]["location"]
                page = get(f"{parts.scheme}://{parts.netloc}{page[1]['location']}")
            self.pages.append(page)
        except BaseException as error:  # noqa: BLE001 - raised where the browser is closed.
            self.failures.append(error)

    def join(self) -> None:
        """Wait until it is done, however that was."""
        for thread in self._threads:
            thread.join(20)
            assert not thread.is_alive()

    def close(self) -> list[Page]:
        """Wait until it is done; the pages that it ended on."""
        self.join()
        if self.failures:
            raise self.failures[0]
        return self.pages

    @property
    def query(self) -> dict[str, str]:
        """What the last address that it was opened with asked for."""
        return dict(parse_qsl(urlsplit(self.urls[-1]).query, strict_parsing=True))
