"""Public keys as JSON (RFC 7517, RFC 7518 section 6, RFC 8037), and sets of them.

A key that cannot be used here is left out of its set and told, whatever is the matter with it:
an unknown type, a broken form, too few bits. One bad key is no reason to refuse the others.
What leaves open which key a token means spoils the whole set: an identifier that comes twice,
or a key that could be used and has none.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Final, cast

from sasl_core.plugin import BackendError, PeerError, SaslError, printable, record
from sasl_tokens.errors import TokenError
from sasl_tokens.gate import KID_LIMIT
from sasl_tokens.strict import base64url_decode, base64url_encode, has_controls, json_object

if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import TypeAlias, TypeGuard

    _Common: TypeAlias = tuple[str, str, str | None, str | None, tuple[str, ...] | None]

__all__ = ["JWK", "JWKEC", "JWKOKP", "JWKRSA", "JWKSet"]

_RSA: Final = ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512")
_CURVES: Final[Mapping[str, tuple[int, tuple[str, ...]]]] = {
    "P-256": (32, ("ES256",)),
    "P-384": (48, ("ES384",)),
}
"""Curve -> octets of a coordinate, and the one algorithm that goes with it."""

_ED25519: Final = ("EdDSA", "Ed25519")
"""One algorithm: RFC 8037 calls it by the first name, RFC 9864 by the second."""

_RSA_BITS: Final = (2048, 8192)
_EXPONENT_BITS: Final = 64

KEYS_LIMIT: Final = 100
"""Most keys in a set, those that are left out included."""

_PRIVATE: Final = frozenset({"d", "p", "q", "dp", "dq", "qi", "oth", "k"})


def _broken(problem: str) -> BackendError:
    return BackendError(code="key-set", detail=problem)


def _unfit(problem: str) -> TokenError:
    return TokenError("token-key-unfit", problem)


@record
class JWK:
    """What all keys have: identifier, type, and what it may be used for (RFC 7517 section 4).

    `algorithms` are those that it can check a signature of; `alg`, if the key names one, is
    the only one (the two names of Ed25519 mean one algorithm).
    """

    kid: str
    kty: str
    alg: str | None
    use: str | None
    key_ops: tuple[str, ...] | None

    @property
    def algorithms(self) -> tuple[str, ...]:
        """The algorithms that this key is for."""
        suited = self._suited()
        return suited if self.alg is None or suited is _ED25519 else (self.alg,)

    def _suited(self) -> tuple[str, ...]:
        return ()

    def members(self) -> Mapping[str, str]:
        """The members that make the key, in the order of RFC 7638 section 3.2."""
        return {"kty": self.kty}

    def thumbprint(self) -> str:
        """The SHA-256 thumbprint (RFC 7638): the same for the same key, however it was written."""
        from hashlib import sha256

        text = ",".join(f'"{name}":"{value}"' for name, value in self.members().items())
        return base64url_encode(sha256(f"{{{text}}}".encode()).digest())

    @staticmethod
    def from_mapping(mapping: Mapping[str, object]) -> JWK:
        """The key of a JSON object.

        Raises:
            BackendError: its form is broken: no `kid`, a member of the wrong type, not
                canonical base64url; code "key-set".
            TokenError: token-key-unfit: it is not for signatures of ours: an unknown type,
                curve or algorithm, another use, a private key, an RSA key of fewer than 2048
                or more than 8192 bits.
        """
        kid = mapping.get("kid")
        if not _is_kid(kid):
            raise _broken("a key has no identifier (kid) in a proper form")
        about = f"key {printable(kid)!r}"
        kty, use, alg = (_text(mapping, name, about) for name in ("kty", "use", "alg"))
        ops = _texts(mapping, "key_ops", about)
        if kty is None:
            raise _broken(f"{about} has no type (kty)")
        make = _MAKERS.get(kty)
        if make is None:
            raise _unfit(f"{about} is of type {printable(kty)}, which is not supported")
        if use not in (None, "sig"):
            raise _unfit(f"{about} is not for signatures (use)")
        if ops is not None and "verify" not in ops:
            raise _unfit(f"{about} is not for checking signatures (key_ops)")
        if not _PRIVATE.isdisjoint(mapping):
            raise _unfit(f"{about} gives its private half away")
        key = make(mapping, about, (kid, kty, alg, use, ops))
        if alg is not None and alg not in key._suited():  # noqa: SLF001 - of this class
            raise _unfit(f"{about} is for algorithm {printable(alg)}, which does not go with it")
        return key


@record
class JWKRSA(JWK):
    """An RSA key: modulus and exponent (RFC 7518 section 6.3.1)."""

    n: int
    e: int

    def _suited(self) -> tuple[str, ...]:
        return _RSA

    def members(self) -> Mapping[str, str]:
        return {"e": _unsigned(self.e), "kty": self.kty, "n": _unsigned(self.n)}


@record
class JWKEC(JWK):
    """A key on an elliptic curve: its name and a point (RFC 7518 section 6.2.1)."""

    crv: str
    x: bytes
    y: bytes

    def _suited(self) -> tuple[str, ...]:
        return _CURVES[self.crv][1]

    def members(self) -> Mapping[str, str]:
        x, y = base64url_encode(self.x), base64url_encode(self.y)
        return {"crv": self.crv, "kty": self.kty, "x": x, "y": y}


@record
class JWKOKP(JWK):
    """An Ed25519 key (RFC 8037 section 2)."""

    crv: str
    x: bytes

    def _suited(self) -> tuple[str, ...]:
        return _ED25519

    def members(self) -> Mapping[str, str]:
        return {"crv": self.crv, "kty": self.kty, "x": base64url_encode(self.x)}


def _text(mapping: Mapping[str, object], name: str, about: str) -> str | None:
    value = mapping.get(name)
    if value is None and name not in mapping:
        return None
    if not isinstance(value, str) or not value:
        raise _broken(f"{about}: {name} is not a string")
    return value


def _texts(mapping: Mapping[str, object], name: str, about: str) -> tuple[str, ...] | None:
    if name not in mapping:
        return None
    values = mapping[name]
    if isinstance(values, (list, tuple)):
        items = cast("list[object]", values)
        texts = tuple(item for item in items if isinstance(item, str))
        if len(texts) == len(items) == len(set(texts)):
            return texts
    raise _broken(f"{about}: {name} is not an array of different strings")


def _octets(mapping: Mapping[str, object], name: str, about: str) -> bytes:
    text = _text(mapping, name, about)
    if text is None:
        raise _broken(f"{about} has no {name}")
    try:
        return base64url_decode(text, f"{about}: {name}")
    except PeerError as error:
        problem = str(error)
    raise _broken(problem)


def _unsigned(value: int) -> str:
    return base64url_encode(value.to_bytes(max(1, (value.bit_length() + 7) // 8), "big"))


def _rsa(mapping: Mapping[str, object], about: str, common: _Common) -> JWK:
    # Some issuers write a zero octet in front, as ASN.1 does; it is no part of the number.
    n = int.from_bytes(_octets(mapping, "n", about), "big")
    e = int.from_bytes(_octets(mapping, "e", about), "big")
    least, most = _RSA_BITS
    if not least <= n.bit_length() <= most:
        raise _unfit(f"{about}: an RSA key of {n.bit_length()} bits; {least} to {most} will do")
    if n % 2 == 0 or e % 2 == 0 or e < 3 or e.bit_length() > _EXPONENT_BITS:
        raise _unfit(f"{about}: no RSA key has such a modulus and exponent")
    return JWKRSA(*common, n, e)


def _ec(mapping: Mapping[str, object], about: str, common: _Common) -> JWK:
    crv = _text(mapping, "crv", about)
    if crv is None:
        raise _broken(f"{about} has no curve (crv)")
    if crv not in _CURVES:
        raise _unfit(f"{about} is on curve {printable(crv)}, which is not supported")
    size = _CURVES[crv][0]
    x, y = _octets(mapping, "x", about), _octets(mapping, "y", about)
    if len(x) != size or len(y) != size:
        raise _broken(f"{about}: a coordinate on {crv} has {size} octets")
    return JWKEC(*common, crv, x, y)


def _okp(mapping: Mapping[str, object], about: str, common: _Common) -> JWK:
    crv = _text(mapping, "crv", about)
    if crv is None:
        raise _broken(f"{about} has no curve (crv)")
    if crv != "Ed25519":
        raise _unfit(f"{about} is on curve {printable(crv)}, which is not supported")
    x = _octets(mapping, "x", about)
    if len(x) != 32:
        raise _broken(f"{about}: a key on {crv} has 32 octets")
    return JWKOKP(*common, crv, x)


_MAKERS: Final = {"RSA": _rsa, "EC": _ec, "OKP": _okp}


@record
class JWKSet:
    """The keys of an issuer, and those left out: identifier, or place in the set, -> why."""

    keys: tuple[JWK, ...]
    skipped: Mapping[str, str]

    what: ClassVar[str] = "the key set"

    @classmethod
    def parse(cls, data: bytes) -> JWKSet:
        """Read a key set (RFC 7517 section 5).

        Raises:
            BackendError: it is no strict JSON; there are more than 100 keys; two have the same
                `kid`, or one that could be used has none; or secret keys (`oct`) stand beside
                public ones: whoever publishes such a set has mixed up what it signs with;
                code "key-set".
        """
        try:
            members = json_object(data, cls.what)
        except PeerError as error:
            problem = str(error)
        else:
            return cls._of(members)
        raise _broken(problem)

    @classmethod
    def _of(cls, members: Mapping[str, object]) -> JWKSet:
        listed = members.get("keys")
        if not isinstance(listed, list):
            raise _broken(f"{cls.what} has no array of keys")
        entries = cast("list[object]", listed)
        if len(entries) > KEYS_LIMIT:
            raise _broken(f"{cls.what} has more than {KEYS_LIMIT} keys")
        keys: list[JWK] = []
        skipped: dict[str, str] = {}
        seen: set[str] = set()
        types: set[object] = set()
        for index, entry in enumerate(entries):
            place = f"[{index}]"
            if not isinstance(entry, dict):
                skipped[place] = f"{place} of {cls.what} is no key"
                continue
            mapping = cast("dict[str, object]", entry)
            types.add(mapping.get("kty") == "oct")
            kid = mapping.get("kid")
            if not _is_kid(kid):
                skipped[place] = _without_kid(mapping, place)
                continue
            if kid in seen:
                raise _broken(f"{cls.what} has two keys {printable(kid)!r}")
            seen.add(kid)
            try:
                keys.append(JWK.from_mapping(mapping))
            except SaslError as error:
                skipped[kid] = error.detail or error.code
        if len(types) > 1:
            raise _broken(f"{cls.what} mixes secret keys (oct) and public ones")
        return cls(tuple(keys), skipped)


def _is_kid(value: object) -> TypeGuard[str]:
    return isinstance(value, str) and 0 < len(value) <= KID_LIMIT and not has_controls(value)


def _without_kid(mapping: Mapping[str, object], place: str) -> str:
    """Why a key without a proper identifier is left out.

    Raises:
        BackendError: nothing else is the matter with it.
    """
    try:
        _ = JWK.from_mapping({**mapping, "kid": place})
    except SaslError as error:
        return error.detail or error.code
    raise _broken(f"key {place} could be used, and has no identifier (kid) in a proper form")
