"""The demo's identity provider with a token endpoint, for tests that need one on a socket.

    with LoginProvider() as provider:
        provider.token({"sub": "ada", "aud": "mail"})       # signed with its key
        (folder / "sasl.toml").write_text(provider.toml())  # a server that trusts it

`forms` and `basic` are what its token endpoint was sent. `hidden` makes the key set go away.
"""

from __future__ import annotations

import json
import time
from base64 import b64encode
from typing import Any
from urllib.parse import parse_qs

from sasl_cli.demo_provider import LIFETIME, DemoProvider

__all__ = ["CLIENT_SECRET", "LoginProvider"]

CLIENT_SECRET = "secret-of-backup-8259"


class LoginProvider(DemoProvider):
    """Also answers POST /token, for the client `backup`."""

    def __init__(self) -> None:
        super().__init__()
        self.forms: list[dict[str, list[str]]] = []
        self.basic: list[str] = []
        self.hidden = False

    def document(self, path: str) -> dict[str, object] | None:
        if self.hidden:
            return None
        found = super().document(path)
        if found is not None and "jwks_uri" in found:
            return {**found, "token_endpoint": f"{self.issuer}/token"}
        return found

    def toml(self, audience: str = "mail", prefix: str = "corp") -> str:
        """The configuration of a server that trusts it."""
        return (
            f'[[identity_providers]]\nissuer = "{self.issuer}"\naudience = "{audience}"\n'
            f'authNamePrefix = "{prefix}"\nauthorizationClaim = "groups"\n'
            "supportsHumanFlows = false\nallowLoopbackHttp = true\n"
        )

    def json(self, audience: str = "mail", prefix: str = "corp") -> str:
        """The same as MongoDB writes it."""
        table = {
            "issuer": self.issuer,
            "audience": audience,
            "authNamePrefix": prefix,
            "authorizationClaim": "groups",
            "supportsHumanFlows": False,
            "allowLoopbackHttp": True,
        }
        return json.dumps([table])

    def grant(self, form: str, authorization: str) -> tuple[int, dict[str, object]]:
        """What the token endpoint answers."""
        self.forms.append(parse_qs(form, strict_parsing=True))
        self.basic.append(authorization.removeprefix("Basic "))
        known = b64encode(f"backup:{CLIENT_SECRET}".encode()).decode()
        if self.basic[-1] != known:
            return 401, {"error": "invalid_client"}
        identity = self.token({"sub": "backup", "aud": "backup", "at_hash": "x"})
        access = self.token({"sub": "backup", "aud": "mail", "groups": [], "jti": str(time.time())})
        return 200, {
            "access_token": access,
            "id_token": identity,
            "token_type": "Bearer",
            "expires_in": LIFETIME,
        }

    def _listen(self) -> Any:
        server: Any = super()._listen()
        provider = self

        def do_post(handler: Any) -> None:
            form = handler.rfile.read(int(handler.headers["Content-Length"])).decode()
            provider.served.append(handler.path)
            status, answer = provider.grant(form, handler.headers["Authorization"] or "")
            handler.reply(status, answer)

        server.RequestHandlerClass.do_POST = do_post
        return server
