"""An identity provider that lets a person in without a question: the code flow, and devices.

    with ShellProvider() as provider:
        provider.table()            # what a server is told of it
        provider.grants             # the grants that its token endpoint was asked for

Whoever comes to its authorization endpoint is sent back with a code, as a browser is whose person
has logged in already; a device has its token when it has asked twice. Tokens live for `life`
seconds.
"""

from __future__ import annotations

import base64
import hashlib
import time
from http.server import BaseHTTPRequestHandler
from typing import Any
from urllib.parse import parse_qs, urlencode, urlsplit

from sasl_cli.demo_provider import AUDIENCE, CLIENT, DemoProvider

__all__ = ["ShellProvider"]

DEVICE = "urn:ietf:params:oauth:grant-type:device_code"
PERSON = "ada"


class ShellProvider(DemoProvider):
    """The demo's provider, with the endpoints that people need."""

    def __init__(self, life: int = 300) -> None:
        super().__init__()
        self.life = life
        self.grants: list[str] = []
        self.asked: list[dict[str, str]] = []
        """What the authorization endpoint was asked."""

    def document(self, path: str) -> dict[str, object] | None:
        found = super().document(path)
        if found is not None and "jwks_uri" in found:
            return {
                **found,
                "authorization_endpoint": f"{self.issuer}/authorize",
                "token_endpoint": f"{self.issuer}/token",
                "device_authorization_endpoint": f"{self.issuer}/device",
                "response_types_supported": ["code"],
                "code_challenge_methods_supported": ["S256"],
                "id_token_signing_alg_values_supported": ["EdDSA"],
            }
        return found

    def redirect(self, query: str) -> str:
        """Where a browser is sent back to."""
        asked = {name: values[0] for name, values in parse_qs(query).items()}
        self.asked.append(asked)
        sent = urlencode({"code": f"code-{len(self.asked)}", "state": asked["state"]})
        return f"{asked['redirect_uri']}?{sent}"

    def answer(self, path: str, form: dict[str, str]) -> tuple[int, dict[str, object]]:
        """What a POST is answered with."""
        if form.get("client_id") != CLIENT:
            return 401, {"error": "invalid_client"}
        if path == "/device":
            return 200, {
                "device_code": "device-1",
                "user_code": "WDJB-MJHT",
                "verification_uri": f"{self.issuer}/activate",
                "expires_in": 60,
                "interval": 1,
            }
        self.grants.append(form["grant_type"])
        if form["grant_type"] == DEVICE and self.grants.count(DEVICE) < 2:
            return 400, {"error": "authorization_pending"}
        if form["grant_type"] == "authorization_code" and not self._verifies(form):
            return 400, {"error": "invalid_grant"}
        claims = {"sub": PERSON, "aud": AUDIENCE, "groups": ["authors"]}
        until = {"exp": int(time.time()) + self.life, "jti": str(len(self.issued))}
        answer: dict[str, object] = {
            "access_token": self.token({**claims, **until}),
            "token_type": "Bearer",
            "expires_in": self.life,
            "refresh_token": f"refresh-{len(self.issued)}",
        }
        if form["grant_type"] == "authorization_code":
            # For the application's own eyes, and of no use to a server.
            nonce = self.asked[-1]["nonce"]
            answer["id_token"] = self.token({"sub": PERSON, "aud": CLIENT, "nonce": nonce})
        return 200, answer

    def _verifies(self, form: dict[str, str]) -> bool:
        """Whether the code is the last one's, and the verifier that of its challenge (RFC 7636)."""
        asked = self.asked[-1]
        digest = hashlib.sha256(form["code_verifier"].encode()).digest()
        challenge = base64.urlsafe_b64encode(digest).rstrip(b"=").decode()
        return (
            form["code"] == f"code-{len(self.asked)}"
            and form["redirect_uri"] == asked["redirect_uri"]
            and asked["code_challenge_method"] == "S256"
            and asked["code_challenge"] == challenge
        )

    def _listen(self) -> Any:
        server: Any = super()._listen()
        provider, plain = self, server.RequestHandlerClass.do_GET

        def do_get(handler: BaseHTTPRequestHandler) -> None:
            address = urlsplit(handler.path)
            if address.path != "/authorize":
                plain(handler)
                return
            handler.send_response(302)
            handler.send_header("Location", provider.redirect(address.query))
            handler.send_header("Content-Length", "0")
            handler.end_headers()

        def do_post(handler: Any) -> None:
            body = handler.rfile.read(int(handler.headers["Content-Length"])).decode()
            form = {name: values[0] for name, values in parse_qs(body).items()}
            handler.reply(*provider.answer(handler.path, form))

        server.RequestHandlerClass.do_GET = do_get
        server.RequestHandlerClass.do_POST = do_post
        return server
