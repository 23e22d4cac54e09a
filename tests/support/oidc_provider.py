"""npm `oidc-provider` on loopback TLS, as a test starts, commands and ends it.

    with OidcProvider(folder, modules, [make_private_jwk("RS256", "k1")]) as provider:
        provider.issuer, provider.ca_file, provider.client(...)

What it signs with can be changed while it runs (`rotate`); `count(path)` says how often it was
asked for something.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import threading
from collections.abc import Sequence
from pathlib import Path
from queue import Empty, Queue
from typing import Any, Self

from jwt.algorithms import get_default_algorithms

from tls_kit import make_tls
from token_kit import make_key

__all__ = ["AUDIENCE", "CLIENT", "NODE", "OidcProvider", "make_private_jwk"]

AUDIENCE = "urn:sasl-core:test"
CLIENT = ("sasl-test-client", "s3cret-of-the-test-client-0123456789")
NODE = Path(__file__).parents[1] / "interop" / "node"
SECONDS = 30.0


def make_private_jwk(alg: str, kid: str) -> dict[str, Any]:
    """A private key for `alg`, as the provider takes it."""
    algorithm: Any = get_default_algorithms()[alg]
    made = json.loads(algorithm.to_jwk(make_key(alg, kid).private))
    made.pop("key_ops", None)
    return {**made, "kid": kid, "alg": alg, "use": "sig"}


class OidcProvider:
    """One provider; `with` ends it."""

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
    ) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._folder = folder
        tls = make_tls(folder)
        self.ca_file = str(tls.certificate)
        self.audience = audience
        settings = folder / "settings.json"
        settings.write_text(
            json.dumps(
                {
                    "cert": self.ca_file,
                    "key": str(tls.key),
                    "modules": str(modules),
                    "keys": list(keys),
                    "alg": keys[0]["alg"],
                    "audience": audience,
                    "typ": typ,
                    "ttl": ttl,
                    "groups": list(groups),
                    "client": {"id": CLIENT[0], "secret": CLIENT[1]},
                }
            ),
            "utf-8",
        )
        node = shutil.which("node")
        assert node is not None
        self._log = (folder / "log").open("wb")
        self._process = subprocess.Popen(
            [node, str(NODE / "provider.mjs"), str(settings)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._log,
            text=True,
        )
        self._lines: Queue[str] = Queue()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()
        self.issuer = f"https://localhost:{self._line()['port']}"

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            self._lines.put(line)
        self._lines.put("")

    def _line(self) -> dict[str, Any]:
        try:
            line = self._lines.get(timeout=SECONDS)
        except Empty:
            line = ""
        if not line:
            said = (self._folder / "log").read_text("utf-8", "replace")
            raise AssertionError(f"the provider says nothing:\n{said}")
        answer: dict[str, Any] = json.loads(line)
        return answer

    def _command(self, command: dict[str, Any]) -> dict[str, Any]:
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(command) + "\n")
        self._process.stdin.flush()
        return self._line()

    def rotate(self, keys: Sequence[dict[str, Any]]) -> None:
        """Have these keys and no others from now on; the first one signs."""
        _ = self._command({"keys": list(keys), "alg": keys[0]["alg"]})

    def count(self, path: str) -> int:
        """How often `path` was asked for."""
        return int(self._command({"counts": True}).get(path, 0))

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

    def source(self, **more: object) -> dict[str, object]:
        """The options of `[credentials.client_credentials]` for its client."""
        return {
            "issuer": self.issuer,
            "client_id": CLIENT[0],
            "client_secret": CLIENT[1],
            "ca_file": self.ca_file,
            **more,
        }

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        try:
            self._process.wait(SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._reader.join(SECONDS)
        if self._process.stdout is not None:
            self._process.stdout.close()
        self._log.close()
