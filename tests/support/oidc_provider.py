"""npm `oidc-provider` on loopback TLS, as a test starts, commands and ends it.

    with OidcProvider(folder, modules, [make_private_jwk("RS256", "k1")]) as provider:
        provider.issuer, provider.ca_file, provider.source(...)

What it signs with can be changed while it runs (`rotate`), and how long tokens live (`change`);
`count(what)` says how often it was asked for something. People log in on its pages by
`ACCOUNTS`, through the client `PERSON`, which has no secret.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from jwt.algorithms import get_default_algorithms

from mailhost import Authority
from node_program import NodeProgram
from tls_kit import make_tls
from token_kit import make_key

__all__ = [
    "ACCOUNTS",
    "AUDIENCE",
    "CLIENT",
    "DEVICE",
    "PERSON",
    "OidcProvider",
    "make_private_jwk",
]

AUDIENCE = "urn:sasl-core:test"
CLIENT = ("sasl-test-client", "s3cret-of-the-test-client-0123456789")
PERSON = "sasl-test-person"
DEVICE = "urn:ietf:params:oauth:grant-type:device_code"
ACCOUNTS = {"ada": "open sesame", "tim": "tanstaaf"}
REDIRECTS = ("http://127.0.0.1/callback", "http://localhost/callback", "http://[::1]/callback")


def make_private_jwk(alg: str, kid: str) -> dict[str, Any]:
    """A private key for `alg`, as the provider takes it."""
    algorithm: Any = get_default_algorithms()[alg]
    made = json.loads(algorithm.to_jwk(make_key(alg, kid).private))
    made.pop("key_ops", None)
    return {**made, "kid": kid, "alg": alg, "use": "sig"}


class OidcProvider(NodeProgram):
    """One provider; `with` ends it.

    Its certificate is by `authority`, or else one of its own. `interval`: the seconds between two
    polls that devices are told; `pace`: those that it insists on.
    """

    def __init__(
        self,
        folder: Path,
        modules: Path,
        keys: Sequence[dict[str, Any]],
        *,
        typ: str = "JWT",
        ttl: int = 300,
        groups: Sequence[str] = ("readers", "writers"),
        audience: str = AUDIENCE,
        authority: Authority | None = None,
        redirects: Sequence[str] = REDIRECTS,
        interval: int = 1,
        pace: float = 0.5,
    ) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        if authority is None:
            own = make_tls(folder)
            certificate, key, trusted = own.certificate, own.key, own.certificate
        else:
            certificate, key, trusted = authority.certificate, authority.key, authority.authority
        self.ca_file = str(trusted)
        self.audience = audience
        super().__init__(
            "provider.mjs",
            folder,
            {
                "cert": str(certificate),
                "key": str(key),
                "modules": str(modules),
                "keys": list(keys),
                "alg": keys[0]["alg"],
                "audience": audience,
                "typ": typ,
                "ttl": ttl,
                "groups": list(groups),
                "client": {"id": CLIENT[0], "secret": CLIENT[1]},
                "person": PERSON,
                "accounts": ACCOUNTS,
                "redirects": list(redirects),
                "interval": interval,
                "pace": pace,
            },
        )
        self.issuer = f"https://localhost:{self.first['port']}"

    def rotate(self, keys: Sequence[dict[str, Any]]) -> None:
        """Have these keys and no others from now on; the first one signs."""
        _ = self.command(keys=list(keys), alg=keys[0]["alg"])

    def change(self, **settings: float) -> None:
        """Have another `ttl`, `interval` or `pace` from now on."""
        _ = self.command(set=settings)

    def count(self, what: str) -> int:
        """How often a path was asked for, or a type of grant, or told to `slow_down`."""
        return int(self.command(counts=True).get(what, 0))

    def provider(self, **more: object) -> dict[str, object]:
        """The table of this provider, for a configuration."""
        return {
            "issuer": self.issuer,
            "audience": self.audience,
            "authNamePrefix": "test",
            "supportsHumanFlows": False,
            "authorizationClaim": "groups",
            "serverCAFile": self.ca_file,
            **more,
        }

    def human_provider(self, **more: object) -> dict[str, object]:
        """The same where people are sent to it by the server (MONGODB-OIDC)."""
        human = {
            "supportsHumanFlows": True,
            "clientId": PERSON,
            "requestScopes": ["openid", "offline_access", "mail"],
        }
        return self.provider(**human, **more)

    def source(self, **more: object) -> dict[str, object]:
        """The options of `[credentials.client_credentials]` for its client."""
        return {
            "issuer": self.issuer,
            "client_id": CLIENT[0],
            "client_secret": CLIENT[1],
            "ca_file": self.ca_file,
            **more,
        }
