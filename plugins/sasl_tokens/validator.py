"""Checking a signature with one key, which was prepared once.

The only module that uses PyJWT, and of it the algorithms alone: a token never reaches its
parser. Both it and cryptography are loaded when the first key is prepared.

Source: RFC 7515 section 5.2, RFC 7518 section 3, RFC 8037 section 3.1.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from sasl_core.plugin import printable
from sasl_tokens.errors import TokenError
from sasl_tokens.jwk import JWK, JWKEC, JWKOKP, JWKRSA

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["JWSValidator"]


class _Algorithm(Protocol):
    """As much of PyJWT's algorithms as is used."""

    def verify(self, msg: bytes, key: object, sig: bytes, /) -> bool: ...


class JWSValidator:
    """Checks signatures with one key. Nothing changes after it was made: threads may share it."""

    __slots__ = ("_algorithms", "_prepared", "key")

    def __init__(self, key: JWK) -> None:
        """Prepare `key`.

        Raises:
            TokenError: token-key-unfit: there is no such key, its point is not on its curve say.
        """
        self.key = key
        self._prepared = _prepare(key)
        self._algorithms = _algorithms(key)

    def validate(self, header_alg: str, signing_input: bytes, signature: bytes) -> None:
        """Check that the key made `signature` of `signing_input` by the algorithm.

        Raises:
            TokenError: token-algorithm: the key is not for this algorithm; token-signature.
        """
        algorithm = self._algorithms.get(header_alg)
        if algorithm is None:
            raise TokenError(
                "token-algorithm",
                f"key {printable(self.key.kid)!r} is not for algorithm {printable(header_alg)}",
            )
        try:
            good = algorithm.verify(signing_input, self._prepared, signature)
        except Exception:  # noqa: BLE001 - whatever the library says of it, it did not verify.
            good = False
        if good is not True:
            raise TokenError("token-signature", f"not signed with key {printable(self.key.kid)!r}")

    def __repr__(self) -> str:
        return f"<JWSValidator with key {printable(self.key.kid)!r}>"


def _algorithms(key: JWK) -> Mapping[str, _Algorithm]:
    from jwt.algorithms import get_default_algorithms

    every = get_default_algorithms()
    # PyJWT knows Ed25519 by its older name alone.
    return {name: every["EdDSA" if name == "Ed25519" else name] for name in key.algorithms}


def _prepare(key: JWK) -> object:
    """The key as cryptography has it."""
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa

    try:
        if isinstance(key, JWKRSA):
            return rsa.RSAPublicNumbers(key.e, key.n).public_key()
        if isinstance(key, JWKEC):
            curve = ec.SECP256R1() if key.crv == "P-256" else ec.SECP384R1()
            return ec.EllipticCurvePublicKey.from_encoded_point(curve, b"\4" + key.x + key.y)
        if isinstance(key, JWKOKP):
            return ed25519.Ed25519PublicKey.from_public_bytes(key.x)
    except (ValueError, UnsupportedAlgorithm):
        pass
    raise TokenError("token-key-unfit", f"key {printable(key.kid)!r}: there is no such key")
