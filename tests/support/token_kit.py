"""Tokens for tests: keys of each kind, an issuer that answers without a network, and a runner.

    issuer = FakeIssuer()                        # https://issuer.example.com, one RS256 key
    token = issuer.sign(sub="tim", aud="sasl")   # iss, iat and exp are filled in
    manager = issuer.manager()                   # a JWKManager of this issuer
    run(manager.refresh(), issuer.http)          # drives a generator of needs
    Server("imap", "localhost", http=issuer.http)

`issuer.requests` are all requests so far; `issuer.answers[path]` replaces the answer at a path
by another, or by an error to be raised; `issuer.down` makes all of them fail.
"""

from __future__ import annotations

import json
import time
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Awaitable, Callable, Iterable, Mapping
from functools import cache
from itertools import count
from typing import Any, TypeVar
from urllib.parse import urlsplit

from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from jwt.algorithms import get_default_algorithms

from sasl_core.plugin import (
    BackendError,
    HttpRequest,
    HttpResponse,
    NeedCall,
    NeedHttp,
    Needs,
    SaslError,
)
from sasl_tokens import JWKManager

__all__ = [
    "ALGORITHMS",
    "NOW",
    "FakeIssuer",
    "SigningKey",
    "Ticking",
    "TokenKit",
    "arun",
    "b64",
    "compact",
    "json_response",
    "make_key",
    "refusal",
    "run",
    "unb64",
]

T = TypeVar("T")

NOW = 1_700_000_100.0
"""A moment for tests whose clock stands still."""

ALGORITHMS = ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "EdDSA")

Http = Callable[[HttpRequest], HttpResponse]


class Ticking:
    """A clock that only the test moves."""

    def __init__(self, now: float = NOW) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now

    def tick(self, seconds: float) -> None:
        self.now += seconds


# --- base64url and the compact serialization, as sloppily as a hostile test needs it -------


def b64(data: bytes) -> str:
    """Unpadded base64url."""
    return urlsafe_b64encode(data).rstrip(b"=").decode("ascii")


def unb64(text: str) -> bytes:
    """What unpadded base64url stands for."""
    return urlsafe_b64decode(text + "=" * (-len(text) % 4))


def compact(value: object) -> bytes:
    """JSON without blanks; bytes stay as they are."""
    if isinstance(value, bytes):
        return value
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False).encode()


# --- keys ------------------------------------------------------------------------------------


class SigningKey:
    """A private key, the algorithm that it signs by, and its identifier."""

    def __init__(self, kid: str, alg: str, private: Any) -> None:
        self.kid, self.alg, self.private = kid, alg, private

    def sign_bytes(self, data: bytes, alg: str | None = None) -> bytes:
        """The signature of `data`, also by an algorithm that the key is not for."""
        return get_default_algorithms()[alg or self.alg].sign(data, self.private)

    def sign(
        self, claims: Mapping[str, object] | bytes, header: Mapping[str, object] | bytes = b""
    ) -> str:
        """A token. Mappings are written as JSON, bytes are taken as they are.

        Without a header it is `alg`, `kid` and `typ`; members given are added, None removes.
        """
        if not isinstance(header, bytes) or not header:
            members: dict[str, object] = {"typ": "JWT", "alg": self.alg, "kid": self.kid}
            members.update(header if isinstance(header, Mapping) else {})
            header = compact({name: each for name, each in members.items() if each is not None})
        signed = f"{b64(header)}.{b64(compact(claims))}"
        return f"{signed}.{b64(self.sign_bytes(signed.encode()))}"

    def public(self, **more: object) -> dict[str, object]:
        """The public half as a member of a key set; members given are added, None removes."""
        made: dict[str, object] = {
            **json.loads(self._algorithm().to_jwk(self.private.public_key())),
            "kid": self.kid,
            "alg": self.alg,
            "use": "sig",
            **more,
        }
        # PyJWT adds key_ops, which most issuers leave out.
        if "key_ops" not in more:
            made.pop("key_ops", None)
        return {name: each for name, each in made.items() if each is not None}

    def _algorithm(self) -> Any:
        return get_default_algorithms()[self.alg]


@cache
def _private(kind: str, number: int, owner: str) -> Any:
    """Keys are made once a run: an RSA key takes a tenth of a second."""
    if kind == "RSA":
        return rsa.generate_private_key(65537, 2048)
    if kind == "EdDSA":
        return ed25519.Ed25519PrivateKey.generate()
    return ec.generate_private_key(ec.SECP256R1() if kind == "ES256" else ec.SECP384R1())


def make_key(
    alg: str = "RS256", kid: str | None = None, number: int = 0, owner: str = ""
) -> SigningKey:
    """A key for `alg`; another `number` is another key, and so is another owner's."""
    kind = "RSA" if alg[:2] in ("RS", "PS") else alg
    name = f"{alg.lower()}-{number}" if kid is None else kid
    return SigningKey(name, alg, _private(kind, number, owner))


class TokenKit:
    """Some keys, and tokens signed with them. Kits of different owners have different keys."""

    def __init__(self, algs: Iterable[str] = ("RS256",), owner: str = "") -> None:
        self.owner = owner
        self.keys: dict[str, SigningKey] = {}
        self._numbers = count()
        for alg in algs:
            _ = self.add(alg)

    def add(self, alg: str = "RS256", kid: str | None = None) -> SigningKey:
        """One more key."""
        key = make_key(alg, kid, next(self._numbers), self.owner)
        self.keys[key.kid] = key
        return key

    def rotate(self, alg: str | None = None, *, keep: bool = False) -> SigningKey:
        """A new key that signs from now on. `keep`: the others stay in the key set."""
        alg = alg or self.signer().alg
        if not keep:
            self.keys.clear()
        key = self.add(alg)
        # The first signs unless somebody says otherwise.
        self.keys = {key.kid: key, **self.keys}
        return key

    def signer(self, kid: str | None = None, alg: str | None = None) -> SigningKey:
        """The key of that identifier, or the first for that algorithm."""
        if kid is not None:
            return self.keys[kid]
        return next(key for key in self.keys.values() if alg in (None, key.alg))

    def key_set(self) -> dict[str, object]:
        """The public halves."""
        return {"keys": [key.public() for key in self.keys.values()]}


# --- an issuer -------------------------------------------------------------------------------


def json_response(
    value: object, status: int = 200, content_type: str = "application/json"
) -> HttpResponse:
    """An answer that brings JSON (bytes: as they are)."""
    return HttpResponse(status, (("content-type", content_type),), compact(value))


class FakeIssuer(TokenKit):
    """An identity provider without a network: `http` answers its discovery and its key set."""

    def __init__(
        self,
        url: str = "https://issuer.example.com",
        *,
        algs: Iterable[str] = ("RS256",),
        audience: str | list[str] = "sasl",
        clock: Callable[[], float] = time.time,
        lifetime: int = 3600,
    ) -> None:
        super().__init__(algs, url)
        self.url, self.audience, self.clock, self.lifetime = url, audience, clock, lifetime
        self.base = url.rstrip("/")
        self.jwks_uri = f"{self.base}/keys"
        self.requests: list[HttpRequest] = []
        self.answers: dict[str, HttpResponse | Exception | Callable[[], HttpResponse]] = {}
        """What is answered at a path instead: a response, an error, or whatever makes one."""
        self.down = False
        self.metadata: dict[str, object] = {}
        """Members of the discovery document, added or replaced; None removes."""

    def claims(self, **more: object) -> dict[str, object]:
        """The claims of a good token; those given are added, None removes."""
        now = int(self.clock())
        made: dict[str, object] = {
            "iss": self.url,
            "aud": self.audience,
            "sub": "user",
            "iat": now,
            "exp": now + self.lifetime,
            **more,
        }
        return {name: each for name, each in made.items() if each is not None}

    def sign(
        self,
        claims: Mapping[str, object] | bytes | None = None,
        *,
        kid: str | None = None,
        alg: str | None = None,
        header: Mapping[str, object] | bytes = b"",
        **more: object,
    ) -> str:
        """A token by one of the keys. Without `claims`: good ones, and `more`."""
        return self.signer(kid, alg).sign(self.claims(**more) if claims is None else claims, header)

    def discovery(self) -> dict[str, object]:
        """The discovery document."""
        made: dict[str, object] = {
            "issuer": self.url,
            "jwks_uri": self.jwks_uri,
            "token_endpoint": f"{self.base}/token",
            "authorization_endpoint": f"{self.base}/authorize",
            "device_authorization_endpoint": f"{self.base}/device",
            "id_token_signing_alg_values_supported": ["RS256"],
            **self.metadata,
        }
        return {name: each for name, each in made.items() if each is not None}

    def http(self, request: HttpRequest) -> HttpResponse:
        """What a transport is: `Server(..., http=issuer.http)`."""
        self.requests.append(request)
        path = urlsplit(request.url).path
        if self.down:
            raise BackendError(detail="connection refused")
        if path in self.answers:
            answer = self.answers[path]
            if isinstance(answer, Exception):
                raise answer
            return answer if isinstance(answer, HttpResponse) else answer()
        if request.url == f"{self.base}/.well-known/openid-configuration":
            return json_response(self.discovery())
        if request.url == self.jwks_uri:
            return json_response(self.key_set())
        return json_response({"error": "not_found"}, 404)

    def asked(self, end: str) -> int:
        """How many requests there were whose address ends so: "/keys", say."""
        return sum(request.url.endswith(end) for request in self.requests)

    @property
    def fetches(self) -> int:
        """How often the key set was asked for."""
        return sum(request.url == self.jwks_uri for request in self.requests)

    def manager(self, **more: Any) -> JWKManager:
        """A JWKManager of this issuer, by the same clock."""
        return JWKManager(self.url, **{"clock": self.clock, **more})

    def loaded(self, **more: Any) -> JWKManager:
        """The same, with the keys loaded."""
        manager = self.manager(**more)
        run(manager.refresh(), self.http)
        return manager


def refusal(call: Callable[[], object]) -> SaslError | None:
    """The error of ours with which the call ends, None if it does not."""
    try:
        _ = call()
    except SaslError as error:
        return error
    return None


def run(body: Needs[T], http: Http | None = None) -> T:
    """Drive a generator of needs that asks for HTTP and for calls, and for nothing else."""
    answer: object = None
    failure: Exception | None = None
    while True:
        try:
            need = body.throw(failure) if failure is not None else body.send(answer)
        except StopIteration as end:
            value: T = end.value
            return value
        answer = failure = None
        try:
            if isinstance(need, NeedHttp):
                assert http is not None, "nobody answers HTTP here"
                answer = http(need.request)
            elif isinstance(need, NeedCall):
                answer = need.function()
            else:
                raise AssertionError(f"nobody answers {need!r} here")
        except BackendError as error:
            failure = error


async def arun(body: Needs[T], http: Callable[[HttpRequest], Awaitable[HttpResponse]]) -> T:
    """The same in asyncio; cancelled, it closes the generator."""
    answer: object = None
    failure: Exception | None = None
    try:
        while True:
            try:
                need = body.throw(failure) if failure is not None else body.send(answer)
            except StopIteration as end:
                value: T = end.value
                return value
            answer = failure = None
            try:
                if isinstance(need, NeedHttp):
                    answer = await http(need.request)
                elif isinstance(need, NeedCall) and need.async_function is not None:
                    answer = await need.async_function()
                else:
                    raise AssertionError(f"nobody answers {need!r} here")
            except BackendError as error:
                failure = error
    finally:
        body.close()
