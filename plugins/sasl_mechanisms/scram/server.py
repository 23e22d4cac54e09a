"""SCRAM, the server's side, in the order of RFC 5802 section 3.

An unknown user goes the same way as a known one, against a decoy, to the same refusal.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from sasl_core.plugin import (
    VERIFIERS,
    DowngradePolicy,
    Feature,
    NeedDerivation,
    NeedPeer,
    Needs,
    NeedUser,
    PeerError,
    ServerContext,
    ServerPlug,
    SetpassFlag,
    Success,
    UserName,
    b64encode,
    format_verifier,
    server_signature,
    verifier_from_salted_password,
)
from sasl_mechanisms.scram.flags import FLAGS, NONCE_BYTES
from sasl_mechanisms.scram.messages import (
    MandatoryExtensionError,
    auth_message,
    format_server_final,
    format_server_first,
    parse_client_final,
    parse_client_first,
)
from sasl_mechanisms.scram.offer import HASH_ATTRIBUTE, offer_hash

if TYPE_CHECKING:
    from collections.abc import Mapping

    from sasl_core.plugin import Gs2Header, SaslUtils

__all__ = ["FLAGS", "NONCE_BYTES", "ScramServer"]

SALT_BYTES: Final = 16
"""As long as a decoy's, from which a real one must not differ."""


class ScramServer(ServerPlug):
    """The server's side of one mechanism of the family."""

    security_flags = FLAGS
    features = Feature.WANT_CLIENT_FIRST | Feature.ALLOWS_PROXY | Feature.CHANNEL_BINDING

    def __init__(self, utils: SaslUtils, name: str, hash_name: str, bits: int) -> None:
        self.name = name
        self.hash_bits = bits
        self._hash = hash_name
        self._utils = utils
        self._signs_offer = utils.scram_downgrade_protection is not DowngradePolicy.OFF
        self._has_verifiers = hash_name in utils.scram_hashes

    def availability(self) -> str | None:
        if self._has_verifiers:
            return None
        return f"users have no {self._hash} verifiers: {self._hash} is not in scram_hashes"

    def converse(self, ctx: ServerContext) -> Needs[Success]:
        message = yield from _FIRST
        try:
            first = parse_client_first(message)
        except PeerError as error:
            raise _told(error) from None
        gs2 = first.gs2
        if ctx.plus or gs2.flag != "n":
            self._check_flag(ctx, gs2)
        user = yield from NeedUser(first.username, gs2.authzid, _PROPERTIES)
        verifier = ctx.verifier(user, self._hash)
        nonce = first.nonce + b64encode(ctx.utils.random(NONCE_BYTES))
        extensions = self._signed_offer(ctx) if self._signs_offer else b""
        server_first = format_server_first(nonce, verifier.salt, verifier.iterations, extensions)

        message = yield from NeedPeer(server_first)
        try:
            final = parse_client_final(message, nonce)
        except PeerError as error:
            raise _told(error) from None
        # Full equality: a prefix or a suffix would let old messages in (CVE-2024-56128).
        if final.nonce != nonce:
            raise PeerError(
                "client-final: the nonce is not the one of this exchange", code="scram-nonce"
            )
        if gs2.cb_name is not None:
            ctx.verify_binding(gs2.cb_name, first.header, final.binding)
        elif final.binding != first.header:
            raise PeerError(
                "client-final: c= is not the GS2 header that began the exchange",
                code="scram-binding",
                wire=b"e=channel-bindings-dont-match",
            )
        signed = auth_message(first.bare, server_first, final.without_proof)
        verified = ctx.verify_scram(user, verifier, signed, final.proof)
        return Success(verified, data=format_server_final(server_signature(verifier, signed)))

    def _signed_offer(self, ctx: ServerContext) -> bytes:
        """Attribute `h`, which is signed with the rest of server-first (XEP-0474)."""
        value = offer_hash(self._hash, ctx.offered, ctx.facts.advertised_bindings)
        return b"%b=%b" % (HASH_ATTRIBUTE, value)

    def _check_flag(self, ctx: ServerContext, gs2: Gs2Header) -> None:
        """RFC 5802 section 6: the flag agrees with the name, and nobody removed -PLUS."""
        if ctx.plus:
            if gs2.flag != "p":
                raise PeerError(
                    f"{ctx.mechanism} was chosen without channel binding",
                    code="scram-flag",
                    wire=b"e=server-does-support-channel-binding",
                )
            if gs2.cb_name not in ctx.facts.channel_bindings:
                raise PeerError(
                    "a channel binding type that this connection does not have",
                    code="scram-flag",
                    wire=b"e=unsupported-channel-binding-type",
                )
        elif gs2.flag == "p":
            raise PeerError(
                f"channel binding with {ctx.mechanism}, which is not -PLUS",
                code="scram-flag",
                wire=b"e=channel-binding-not-supported",
            )
        elif gs2.flag == "y" and ctx.binding_was_possible():
            ctx.refuse(
                "the client believes that -PLUS was not offered: somebody has removed it",
                wire=b"e=server-does-support-channel-binding",
            )

    def setpass(
        self, user: UserName, password: bytes | None, flags: SetpassFlag
    ) -> Needs[Mapping[str, tuple[bytes, ...]] | None]:
        """A new verifier with a new salt; the glue stores it.

        Only of a hash in `scram_hashes`, unless this mechanism alone is asked.
        """
        if not self._has_verifiers and not flags & SetpassFlag.CURMECH_ONLY:
            return None
        if password is None:
            return {}
        salt = self._utils.random(SALT_BYTES)
        rounds = self._utils.scram_rounds(self._hash)
        salted = yield from NeedDerivation(self._hash, password, salt, rounds)
        verifier = verifier_from_salted_password(self._hash, salted, salt, rounds)
        return {VERIFIERS: (format_verifier(verifier),)}


_FIRST: Final = NeedPeer()
_PROPERTIES: Final = ("*" + VERIFIERS,)


def _told(error: PeerError) -> PeerError:
    """`error`, with what RFC 5802 section 7 has a word for to tell the client."""
    if isinstance(error, MandatoryExtensionError):
        error.wire = b"e=extensions-not-supported"
    elif error.code == "saslname":
        error.wire = b"e=invalid-username-encoding"
    return error
