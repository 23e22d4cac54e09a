"""SCRAM, the client's side, in the order of RFC 5802 section 3.

The server is believed only when its signature has been checked. Keys of a password that
has worked are kept for the life of the `Client`, so that the next login derives nothing.
"""

from __future__ import annotations

from collections import OrderedDict
from contextlib import suppress
from hmac import digest
from typing import TYPE_CHECKING, Final

from sasl_core.plugin import (
    SCRAM_HASHES,
    BindingPolicy,
    ClientContext,
    ClientPlug,
    DowngradePolicy,
    Feature,
    Gs2Header,
    NeedDerivation,
    NeedPeer,
    Needs,
    PeerError,
    PromptId,
    Success,
    UsageError,
    b64encode,
    client_proof,
    saslprep_nonempty,
    stored_keys,
)
from sasl_mechanisms.scram.flags import FLAGS, NONCE_BYTES
from sasl_mechanisms.scram.messages import (
    ServerFinal,
    auth_message,
    extension,
    format_client_final,
    format_client_first,
    format_without_proof,
    parse_server_final,
    parse_server_first,
)
from sasl_mechanisms.scram.offer import HASH_ATTRIBUTE, offer_hash

if TYPE_CHECKING:
    from sasl_core.plugin import SaslUtils

__all__ = ["ClientKeys", "ScramClient"]

CACHED_KEYS: Final = 1024
"""Most keys kept; the oldest goes first."""


class ClientKeys:
    """Derived keys, by password, hash, salt and rounds.

    They are filed under an HMAC of the password with a key of this process, so that the
    table does not hold the password itself. Safe to share between threads.
    """

    def __init__(self, secret: bytes) -> None:
        self._secret = secret
        self._keys: OrderedDict[bytes, tuple[bytes, bytes, bytes]] = OrderedDict()

    def label(self, hash_name: str, password: str, salt: bytes, iterations: int) -> bytes:
        """Under which name the keys are kept. No two inputs share one."""
        text = b"%b:%d:%d:%b" % (hash_name.encode(), iterations, len(salt), salt)
        return digest(self._secret, text + password.encode("utf-8", "surrogatepass"), "sha256")

    def get(self, label: bytes) -> tuple[bytes, bytes, bytes] | None:
        """ClientKey, StoredKey and ServerKey, if they are kept."""
        return self._keys.get(label)

    def keep(self, label: bytes, keys: tuple[bytes, bytes, bytes]) -> None:
        """Keep the keys of a password that has worked."""
        while len(self._keys) >= CACHED_KEYS:
            # One call, for other threads keep and drop keys meanwhile.
            with suppress(KeyError):
                _ = self._keys.popitem(last=False)
        self._keys[label] = keys

    def close(self) -> None:
        """Forget them all."""
        self._keys.clear()


class ScramClient(ClientPlug):
    """The client's side of one mechanism of the family."""

    security_flags = FLAGS
    features = Feature.WANT_CLIENT_FIRST | Feature.ALLOWS_PROXY | Feature.CHANNEL_BINDING
    required_prompts = (PromptId.AUTHNAME, PromptId.PASS)

    def __init__(self, utils: SaslUtils, name: str, hash_name: str, bits: int) -> None:
        self.name = name
        self.hash_bits = bits
        self._hash = hash_name
        self._digest = SCRAM_HASHES[hash_name][0]
        self._keys = utils.shared("scram-client-keys", lambda: ClientKeys(utils.random(32)))
        self._downgrade = utils.scram_downgrade_protection

    def converse(self, ctx: ClientContext) -> Needs[Success]:
        authid, password, authzid = yield from ctx.ask(
            PromptId.AUTHNAME, PromptId.PASS, PromptId.USER
        )
        if not authid:
            raise UsageError("the user name is empty", code="empty-name")
        user = ctx.canon_user(authid, authzid or None)
        binding = ctx.bind()
        gs2 = self._header(ctx, binding, user.authzid if authzid else None)
        client_nonce = b64encode(ctx.utils.random(NONCE_BYTES))
        header, bare = format_client_first(gs2, user.authid, client_nonce)

        first = parse_server_first((yield from NeedPeer(header + bare)))
        if isinstance(first, ServerFinal):
            ctx.refuse_server(first.error)
        if not first.nonce.startswith(client_nonce) or len(first.nonce) == len(client_nonce):
            raise PeerError("server-first: the nonce does not continue ours", code="scram-nonce")
        if self._downgrade is not DowngradePolicy.OFF:
            self._check_offer(ctx, extension(first.extensions, HASH_ATTRIBUTE))
        utils = ctx.utils
        floor, cap = utils.scram_rounds_floor(self._hash), utils.scram_rounds_cap(self._hash)
        if not floor <= first.iterations <= cap:
            raise PeerError(
                f"server-first: {first.iterations} iterations; {floor} to {cap} are accepted "
                "(scram_iteration_floor, scram_iteration_cap)",
                code="scram-iterations",
            )
        label = self._keys.label(self._hash, password, first.salt, first.iterations)
        keys = self._keys.get(label)
        kept = keys is not None
        if keys is None:
            salted = yield from NeedDerivation(
                self._hash, self._prepared(password), first.salt, first.iterations
            )
            keys = stored_keys(self._hash, salted)
        client_key, stored_key, server_key = keys
        without_proof = format_without_proof(
            header if binding is None else header + binding[1], first.nonce
        )
        signed = auth_message(bare, first.text, without_proof)
        proof = client_proof(client_key, stored_key, signed, self._hash)

        final = parse_server_final((yield from NeedPeer(format_client_final(without_proof, proof))))
        if final.verifier is None:
            ctx.refuse_server(final.error)
        expected = digest(server_key, signed, self._digest)
        peer = ctx.verified_peer(expected, final.verifier, how="scram")
        if not kept:
            self._keys.keep(label, keys)
        return Success(peer=peer)

    def _check_offer(self, ctx: ClientContext, given: bytes | None) -> None:
        """Refuse a server that offered something else than what we have heard (XEP-0474).

        Whether the server has said so is known with its signature; that it may be an attacker
        who says so is a reason to give away no proof.
        """
        if given is None:
            if self._downgrade is DowngradePolicy.REQUIRE:
                ctx.refuse(
                    "the server does not sign its offer of mechanisms (h=, XEP-0474), as "
                    "scram_downgrade_protection demands"
                )
        elif given != offer_hash(self._hash, ctx.offered, ctx.facts.advertised_bindings):
            ctx.refuse(
                "the mechanisms that we were offered are not those that the server offered: "
                "somebody may have removed some (scram_downgrade_protection)"
            )

    @staticmethod
    def _header(
        ctx: ClientContext, binding: tuple[str, bytes] | None, authzid: str | None
    ) -> Gs2Header:
        if binding is not None:
            return Gs2Header("p", binding[0], authzid)
        able = bool(ctx.facts.channel_bindings)
        able = able and ctx.facts.binding_policy is not BindingPolicy.OFF
        # `y` tells the server that we would have, had it offered; it knows whether it did.
        unoffered = f"{ctx.mechanism}-PLUS" not in ctx.offered
        return Gs2Header("y" if able and unoffered else "n", None, authzid)

    @staticmethod
    def _prepared(password: str) -> bytes:
        try:
            return saslprep_nonempty(password).encode()
        except PeerError as error:
            problem = str(error)
        raise UsageError(f"the password cannot be used: {problem}", code="bad-password")
