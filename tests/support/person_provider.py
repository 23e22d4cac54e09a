"""An identity provider on the loopback that a person logs in at, for programs that have a socket.

    with PersonProvider() as provider:
        monkeypatch.setattr("webbrowser.open", provider.browse)
        ...                       # a program logs the person in
        provider.join()
        provider.pages            # what the person saw in the end

`says`: what the person's answer is, "yes" or an error code. Codes and verifiers are checked.
"""

from __future__ import annotations

import hashlib
import threading
from base64 import urlsafe_b64encode
from typing import Any
from urllib.parse import parse_qs, parse_qsl, urlencode, urlsplit

from login_provider import LoginProvider
from person_kit import get
from sasl_cli.demo_provider import LIFETIME

__all__ = ["PersonProvider"]

DEVICE = "urn:ietf:params:oauth:grant-type:device_code"


class PersonProvider(LoginProvider):
    """Also has an authorization endpoint, and one for devices."""

    def __init__(self) -> None:
        super().__init__()
        self.says = "yes"
        self.claims: dict[str, object] = {"sub": "ada", "aud": "mail", "groups": []}
        self.pages: list[str] = []
        self._asked: dict[str, dict[str, str]] = {}
        self._threads: list[threading.Thread] = []

    def document(self, path: str) -> dict[str, object] | None:
        found = super().document(path)
        if found is None or "jwks_uri" not in found:
            return found
        return {
            **found,
            "authorization_endpoint": f"{self.issuer}/authorize",
            "device_authorization_endpoint": f"{self.issuer}/device",
            "authorization_response_iss_parameter_supported": True,
            "code_challenge_methods_supported": ["S256"],
        }

    def browse(self, url: str) -> bool:
        """What the person's browser does with an address; it comes back in its own time."""
        thread = threading.Thread(target=self._browse, args=(url,))
        self._threads.append(thread)
        thread.start()
        return True

    def join(self) -> None:
        """Wait until the browser is done."""
        for thread in self._threads:
            thread.join(20)
            assert not thread.is_alive()

    def _browse(self, url: str) -> None:
        if not url.startswith(self.issuer):
            # The machine's browser is given an address of the program's, which leads on.
            status, headers, _ = get(url)
            assert status == 303
            url = headers["location"]
        parts = urlsplit(url)
        asked = dict(parse_qsl(parts.query, strict_parsing=True))
        assert f"{parts.scheme}://{parts.netloc}{parts.path}" == f"{self.issuer}/authorize"
        answer = {"state": asked["state"], "iss": self.issuer}
        if self.says == "yes":
            code = f"code-{len(self._asked)}-of-a-person"
            self._asked[code] = asked
            answer["code"] = code
        else:
            answer["error"] = self.says
        back = urlsplit(asked["redirect_uri"])
        status, headers, body = get(f"{asked['redirect_uri']}?{urlencode(answer)}")
        if status == 303:
            _, _, body = get(f"{back.scheme}://{back.netloc}{headers['location']}")
        self.pages.append(body)

    def post(self, path: str, form: str) -> tuple[int, dict[str, object]]:
        """What the endpoints of devices and tokens answer."""
        said = parse_qs(form, strict_parsing=True)
        self.forms.append(said)
        if path == "/device":
            return 200, {
                "device_code": "device-of-a-person",
                "user_code": "WDJB-MJHT",
                "verification_uri": f"{self.issuer}/activate",
                "expires_in": 120,
                "interval": 1,
            }
        (grant,) = said["grant_type"]
        if grant == DEVICE:
            good = said["device_code"] == ["device-of-a-person"]
        elif grant == "refresh_token":
            good = said["refresh_token"] == ["refresh-of-a-person"]
        else:
            asked = self._asked.pop(said["code"][0], {})
            digest = hashlib.sha256(said["code_verifier"][0].encode()).digest()
            good = asked.get("code_challenge") == urlsafe_b64encode(digest).rstrip(b"=").decode()
            good = good and [asked["redirect_uri"]] == said["redirect_uri"]
        if self.says != "yes" or not good:
            return 400, {"error": "invalid_grant" if self.says == "yes" else self.says}
        return 200, {
            "access_token": self.token(self.claims),
            "refresh_token": "refresh-of-a-person",
            "token_type": "Bearer",
            "expires_in": LIFETIME,
        }

    def _listen(self) -> Any:
        server: Any = super()._listen()
        provider = self

        def do_post(handler: Any) -> None:
            form = handler.rfile.read(int(handler.headers["Content-Length"])).decode()
            provider.served.append(handler.path)
            status, answer = provider.post(handler.path, form)
            handler.reply(status, answer)

        server.RequestHandlerClass.do_POST = do_post
        return server
