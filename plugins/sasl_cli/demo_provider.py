"""A small identity provider for `sasl demo`: it signs tokens with a key that it makes at its start.

It publishes that key as real ones do, by a discovery document and a key set, over HTTP on the
loopback. Nothing else is real: whoever has the object gets a token for any name.
"""

from __future__ import annotations

import json
import threading
import time
from typing import TYPE_CHECKING, Final, Self

from sasl_core.plugin import AuthenticationError
from sasl_tokens.strict import base64url_encode

if TYPE_CHECKING:
    from collections.abc import Mapping
    from http.server import ThreadingHTTPServer
    from types import TracebackType

    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    from sasl_core import CredentialsPlug, TokenRequest

__all__ = ["LOOPBACK_HTTP", "PERSON", "PREFIX", "DemoProvider", "new_key"]

PERSON: Final = "ada@example.com"
PREFIX: Final = "demo"
AUDIENCE: Final = "sasl-demo"
CLIENT: Final = "sasl-demo-client"

LOOPBACK_HTTP: Final = ("allowLoopbackHttp", "lets the provider be asked without TLS")
"""A safe default that its table sets aside, and what for."""

KEY_ID: Final = "demo-key-1"
ALGORITHM: Final = "EdDSA"
LIFETIME: Final = 300
"""How long a token is good, in seconds."""


def new_key() -> Ed25519PrivateKey:
    """A key for EdDSA (RFC 8037), whose signatures are the octets that a token takes."""
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    return Ed25519PrivateKey.generate()


def _claims(name: str | None) -> dict[str, object]:
    return {"sub": name, "aud": AUDIENCE, "groups": ["authors"]}


class DemoProvider:
    """Listens inside of `with`. `issuer` is its address.

    `served`: the paths that it was asked for. `issued`: the tokens that it signed.
    """

    def __init__(self) -> None:
        self.key = new_key()
        self.issuer = ""
        self.served: list[str] = []
        self.issued: list[str] = []
        self._server: ThreadingHTTPServer | None = None

    def __enter__(self) -> Self:
        self._server = server = self._listen()
        self.issuer = f"http://127.0.0.1:{server.server_address[1]}"
        # A short interval, for that long its end is waited for.
        work = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
        work.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        server, self._server = self._server, None
        if server is not None:
            server.shutdown()
            server.server_close()

    def token(
        self,
        claims: Mapping[str, object],
        *,
        key: Ed25519PrivateKey | None = None,
        typ: str = "JWT",
    ) -> str:
        """A token with these claims, issued now. `key`: sign with this one instead of ours."""
        now = int(time.time())
        header = {"typ": typ, "alg": ALGORITHM, "kid": KEY_ID}
        whole = {"iss": self.issuer, "iat": now, "exp": now + LIFETIME, **claims}
        signed = ".".join(base64url_encode(json.dumps(part).encode()) for part in (header, whole))
        made = f"{signed}.{base64url_encode((key or self.key).sign(signed.encode()))}"
        self.issued.append(made)
        return made

    def table(self) -> dict[str, object]:
        """What a server is told of it: an entry of `identity_providers`."""
        return {
            "issuer": self.issuer,
            "audience": AUDIENCE,
            "authNamePrefix": PREFIX,
            "clientId": CLIENT,
            "requestScopes": ["openid"],
            "authorizationClaim": "groups",
            LOOPBACK_HTTP[0]: True,
        }

    def person(self, *hosts: str) -> CredentialsPlug:
        """A person who gets a token here, for `hosts`; in earnest that opens a browser.

        The source raises AuthenticationError when the server sends her anywhere else.
        """
        from sasl_credentials import CallbackTokens

        def ask(request: TokenRequest) -> str:
            if (request.issuer, request.client_id) != (self.issuer, CLIENT):
                raise AuthenticationError(detail="the server trusts another provider")
            return self.token(_claims(request.username))

        return CallbackTokens(ask, human=True, allowed_hosts=hosts)

    def forged(self, name: str) -> str:
        """The same token as a person's, but signed with another key."""
        return self.token(_claims(name), key=new_key())

    def document(self, path: str) -> dict[str, object] | None:
        """What it answers to a GET, None for what it has not."""
        keys = f"{self.issuer}/keys"
        if path == "/.well-known/openid-configuration":
            return {"issuer": self.issuer, "jwks_uri": keys}
        if path == "/keys":
            return {"keys": [self._published()]}
        return None

    def _published(self) -> dict[str, object]:
        """Our key's public half, as a JWK."""
        public = base64url_encode(self.key.public_key().public_bytes_raw())
        return {
            "kty": "OKP",
            "crv": "Ed25519",
            "x": public,
            "kid": KEY_ID,
            "alg": ALGORITHM,
            "use": "sig",
        }

    def _listen(self) -> ThreadingHTTPServer:
        from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

        provider = self

        class Handler(BaseHTTPRequestHandler):
            timeout = 5

            def do_GET(self) -> None:
                found = provider.document(self.path)
                provider.served.append(self.path)
                self.reply(200 if found else 404, found or {"error": "not_found"})

            def reply(self, status: int, answer: dict[str, object]) -> None:
                body = json.dumps(answer).encode()
                self.send_response(status)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                _ = self.wfile.write(body)

            def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - its name there.
                """Say nothing: the command's output is the demo's."""

        return ThreadingHTTPServer(("127.0.0.1", 0), Handler)
