"""The server's context: look-ups, passwords, and the ways to a `Verified`.

`_grant` is the one place where a `Verified` is made.
"""

from __future__ import annotations

from hmac import compare_digest
from typing import TYPE_CHECKING, NoReturn

from sasl_core._checks import is_a
from sasl_core.errors import (
    AuthenticationError,
    BackendError,
    PluginError,
    UsageError,
    printable,
)
from sasl_core.flags import BindingPolicy
from sasl_core.names import base_name
from sasl_core.needs import (
    Found,
    User,
)
from sasl_core.outcome import MINT, Verified
from sasl_core.properties import HASHES, PASSWORD, VERIFIERS
from sasl_core.results import Result
from sasl_core.token import ROLES
from sasl_core.verifier import decoy_verifier, parse_verifier, proof_matches

if TYPE_CHECKING:
    from sasl_core.core import ServerCore
    from sasl_core.facts import Facts
    from sasl_core.plugs import Needs
    from sasl_core.token import ValidatedToken
    from sasl_core.utils import SaslUtils
    from sasl_core.verifier import ScramVerifier

from sasl_core.context.base import AUTHZID, NAME_LIMIT, Context
from sasl_core.context.passwords import AUXPROP, check

__all__ = ["ServerContext"]

# The store says who that is; anything else that a look-up can say is a refusal.
KNOWN = frozenset({Result.OK, Result.NOVERIFY})
_NEVER = float("inf")
INVALID_PROOF = b"e=invalid-proof"
NEVER_GRANTED = frozenset(name.casefold() for name in (PASSWORD, VERIFIERS, HASHES))
SECRETS = tuple(star + name for star in ("*", "") for name in (PASSWORD, VERIFIERS, HASHES))

# Why a decoy was given, and what the administrator is told.
_WHY = {result: (f"the store says {result.name} of user", result) for result in Result} | {
    Result.NOUSER: ("no such user:", Result.NOUSER),
    Result.DISABLED: ("the user is disabled:", Result.DISABLED),
    Result.OK: (
        "the user has no verifier of this hash; set the password again:",
        Result.NOUSERPASS,
    ),
}


def stands(token: ValidatedToken, now: float) -> bool:
    """What `token` says of itself, which has to be a plain yes or no.

    Raises:
        PluginError: it is neither: a coroutine, say, which would pass for a yes.
    """
    answer: object = token.valid(now)
    if answer is True or answer is False:
        return answer
    close = getattr(answer, "close", None)
    if callable(close):
        _ = close()
    kind = type(answer).__name__
    raise PluginError(type(token).__name__, "", f"valid() returned {kind}, not a bool")


class Granted:
    """What a session remembers of its token's grants, for the token itself may change.

    `issuer`: who vouched at the login. `names`: of the properties that it was granted. `begun`:
    how many revalidations have begun; `taken`: which of them the grants are of, 0 for the login.
    """

    __slots__ = ("begun", "issuer", "names", "taken")

    def __init__(self, issuer: str, names: tuple[str, ...]) -> None:
        self.issuer = issuer
        self.names = names
        self.begun = self.taken = 0


def take_grants(
    user: User,
    token: ValidatedToken,
    before: tuple[str, ...] = (),
    roles: tuple[bytes, ...] | None = None,
) -> tuple[str, ...]:
    """Make what `token` grants the properties of `user`, and return their names.

    `before`: the names of those that it was granted until now; the others of them are taken
    back. `roles`: those that the stores have, where the token does not say them. All of it is
    done or nothing.

    Raises:
        PluginError: it grants what is no property, or what only a store may say.
    """
    grants = dict(token.grants)
    stored = roles is not None or token.needs_account
    if ROLES in grants and stored:
        raise _no_grant(token)
    for name, values in grants.items():
        if (
            type(name) is not str
            or not name.isprintable()
            or not name
            or name[0] == "*"
            or name.casefold() in NEVER_GRANTED
            or type(values) is not tuple
        ):
            raise _no_grant(token)
        for value in values:
            if type(value) is not bytes:
                raise _no_grant(token)
    if roles is not None:
        grants[ROLES] = roles
    properties = user.properties
    bare = user.authid == user.authzid
    for name in before:
        if name not in grants:
            properties.erase("*" + name)
            if bare:
                properties.erase(name)
    properties.grant(grants, bare=bare)
    # At a login the stores are asked for the roles later on.
    return tuple({*grants, ROLES} if stored else grants)


def _no_grant(token: ValidatedToken) -> PluginError:
    return PluginError(
        type(token).__name__,
        "",
        "a token grants what is no property to be granted: a name without '*' that is none of a "
        "password's, and a tuple of bytes; and no roles where it needs an account",
    )


# What is kept of a look-up when its exchange is over.
_BARE = {result: Found(result) for result in Result}
_OK = Result.OK
_UNVERIFIED = _BARE[Result.NOVERIFY]


class ServerContext(Context["ServerCore"]):
    """The server's side: look-ups, passwords, and the ways to a `Verified`."""

    __slots__ = ("_issued", "granted", "lapsed", "token", "true_result", "verified_password")

    token: ValidatedToken | None
    # Left unset by logins without a token.
    granted: Granted

    def __init__(
        self,
        core: ServerCore,
        facts: Facts,
        mechanism: str,
        utils: SaslUtils,
        plus: bool = False,
    ) -> None:
        self._core = core
        self.facts = facts
        self.mechanism = mechanism
        self.plus = plus
        self.utils = utils
        self.error = self.user = self.bound = self.detail = None
        # What the login rests on that can lapse, and whether a revalidation was refused.
        self.token = None
        self.lapsed = False
        # The last verifier that was given out, for whom, and whether it is theirs.
        self._issued: tuple[ScramVerifier, User, bool] | None = None
        # Kept for auto_transition only, between a good password and the end.
        self.verified_password: bytes | None = None
        self.true_result: Result | None = None

    @property
    def offered(self) -> tuple[str, ...]:
        """Every mechanism name that this server offers on such a connection."""
        return self._core.offer(self.facts).names

    # --- refusing ---------------------------------------------------------------

    def refuse(
        self,
        detail: str,
        *,
        result: Result = Result.BADAUTH,
        wire: bytes | None = None,
        code: str | None = None,
    ) -> NoReturn:
        """Refuse the peer and doom the exchange.

        `detail`, `result` and `code`, the error's slug, are for the administrator; the peer
        learns one and the same whatever they are (`wire` apart, which must not depend on
        whether a user exists).

        Raises:
            AuthenticationError: always.
        """
        self.true_result = result
        # The one that is kept is never raised, for what is raised gathers frames.
        self.error = AuthenticationError(code=code, detail=detail, wire=wire)
        raise AuthenticationError(code=code, detail=detail, wire=wire)

    def _grant(
        self,
        user: User,
        how: str,
        *,
        externally: bool = False,
        anonymous: bool = False,
    ) -> Verified:
        """The one place where a server's `Verified` is made."""
        if user is not self.user:
            self.refuse("the proof is for a user of another exchange", result=Result.FAIL)
        result = user.found.result
        if result is not _OK:
            if result is Result.NOUSER and (not externally or self.facts.need_account):
                self.refuse(f"no such user: {user.authid!r}", result=Result.NOUSER)
            if result is Result.DISABLED:
                self.refuse(f"user {user.authid!r} is disabled", result=Result.DISABLED)
            if result not in KNOWN and result is not Result.NOUSER:
                self.refuse(f"the store says {result.name} of user {user.authid!r}", result=result)
        return Verified(MINT, self, user, how, anonymous=anonymous)

    # --- who it is ---------------------------------------------------------------

    def canon_user(self, authid: str, authzid: str | None = None) -> User:
        """Canonicalise the identities without a look-up, and bind them to this exchange.

        For mechanisms that need no property of the user. `NeedUser` does this, and the
        look-up.

        Raises:
            PeerError: a name is not acceptable.
        """
        return self.adopt(authid, authzid, _UNVERIFIED)

    # --- SCRAM ---------------------------------------------------------------------

    def verifier(self, user: User, hash_name: str, *, cap: int | None = None) -> ScramVerifier:
        """The user's SCRAM verifier for `hash_name` ("SHA-256"), or a decoy of the same cost.

        The decoy is computed whoever the user is, and given for a user that is unknown,
        disabled, or has no usable verifier of that hash (with `cap`: of at most so many
        iterations); `verify_scram` refuses it always. It is the same each time for the
        same name.
        """
        core, found = self._core, user.found
        seen, rounds = core.decoy_rounds
        if seen is not found.decoy_iterations:
            rounds = core.look_at_rounds(found)
        count = rounds.get(hash_name, 1)
        if cap is not None and count > cap:
            count = cap
        # Always made, so that nobody's look-up is cheaper than another's.
        decoy = decoy_verifier(
            found.decoy_secret or core.decoy_secret(), hash_name, user.authid, count
        )
        verifier = found.verifiers.get(hash_name)
        if found.result is not _OK:
            verifier = None
        else:
            verifier = verifier or self._stored(user, hash_name)
            if verifier is not None and cap is not None and verifier.iterations > cap:
                self.seterror(
                    f"the verifier of {user.authid!r} has {verifier.iterations} iterations, more "
                    "than scram_iteration_cap; set the password anew"
                )
                verifier = None
        if verifier is None:
            self._issued = decoy, user, False
            return decoy
        self._issued = verifier, user, True
        return verifier

    @property
    def verifier_is_real(self) -> bool:
        """Whether the last verifier that `verifier` gave is the user's own, and no decoy."""
        return self._issued is not None and self._issued[2]

    def _stored(self, user: User, hash_name: str) -> ScramVerifier | None:
        """The user's verifier, from a store that does not keep them parsed."""
        values = user.properties.get("*" + VERIFIERS)
        if not values:
            return None
        prefix = b"SCRAM-%s$" % hash_name.encode("ascii")
        for value in values:
            if value.startswith(prefix):
                try:
                    return parse_verifier(value)
                except BackendError as error:
                    # To the peer it is as if there were none: only existing users have one.
                    self.seterror(error.detail or str(error))
        return None

    def verify_scram(
        self, user: User, verifier: ScramVerifier, auth_message: bytes, proof: bytes
    ) -> Verified:
        """Check a SCRAM client's proof (RFC 5802 section 3) and say who was verified.

        `verifier` is the one that `ctx.verifier` gave for `user`.

        Raises:
            PeerError: the proof has the wrong length.
            AuthenticationError: it does not match; `wire` is `e=invalid-proof`, also for
                unknown users.
        """
        matches = proof_matches(verifier, auth_message, proof)
        issued = self._issued
        if issued is None or verifier is not issued[0] or user is not issued[1]:
            self.refuse(
                "the verifier is not of this exchange", result=Result.FAIL, wire=INVALID_PROOF
            )
        if not issued[2]:
            # As many steps as for a wrong proof: one text, and one refusal.
            detail, result = _WHY[user.found.result]
            self.refuse(f"{detail} {user.authid!r}", result=result, wire=INVALID_PROOF)
        if not matches:
            self.refuse(f"wrong proof for user {user.authid!r}", wire=INVALID_PROOF)
        return self._grant(user, "scram")

    # --- secrets compared -------------------------------------------------------------

    def verify_equal(self, user: User, expected: bytes, given: bytes, *, how: str) -> Verified:
        """Compare two secrets in constant time (a response against the one computed).

        For an unknown user compute `expected` from a decoy; this refuses it in any case.

        Raises:
            AuthenticationError: they differ, or either is empty.
        """
        if not compare_digest(expected, given) or not expected:
            self.refuse(f"wrong response for user {user.authid!r}")
        return self._grant(user, f"equal:{how}")

    def check_password(
        self, authid: str, password: str, authzid: str | None = None
    ) -> Needs[Verified]:
        """Check a plaintext password and say who was verified (G20).

        Prepares name and password, then asks the application's callback, then each method
        of `pwcheck_method` until one says OK. A callback's answer stands unless it is
        NOVERIFY. Derivations are the same in number whether the user exists or not.

        Raises:
            AuthenticationError: refused.
            BackendError: no method said OK, and one of them could not be asked.
            ConfigError: `pwcheck_method` names an unknown method (NOMECH).
        """
        user, method, prepared = yield from check(self, self._core, authid, password, authzid)
        if self._core.auto_transition:
            self.verified_password = prepared
        return self._grant(user, f"password:{method}", externally=method != AUXPROP)

    # --- identities that others vouch for ------------------------------------------------

    def accept_external(
        self, authzid: str | None = None, *, need_account: bool = False
    ) -> Verified:
        """Accept the identity that the protection below vouches for (RFC 4422 appendix A).

        It is the identity as it stands: no canonicaliser is asked, so that no two of them, the
        subjects of two certificates say, become one name. An account of that very name is
        looked up, for it may be locked; with `need_account` there has to be one. The login
        stands until `external_until`.

        Raises:
            AuthenticationError: there is none, it holds what no name does, or its time is up.
            PeerError: another authzid is asked for, which is not acceptable.
        """
        external, until = self.facts.external_id, self.facts.external_until
        if not external:
            self.refuse("no external identity: the application gave no external_id")
        if len(external) > NAME_LIMIT or not external.isprintable():
            self.refuse("the external identity is too long or holds control characters")
        acting = external
        if authzid and authzid != external:
            acting = self._core.identity(authzid, AUTHZID)
        self.user = user = User(external, acting, _UNVERIFIED)
        if until is not None or need_account:
            from sasl_core.external import ExternalIdentity

            until = _NEVER if until is None else until
            # NaN is no time, and compares with none.
            if not self.utils.clock() < until:
                self.refuse("the external identity has expired", result=Result.EXPIRED)
            user.token = token = ExternalIdentity(external, until, needs_account=need_account)
            self.granted = Granted(token.issuer, take_grants(user, token))
        return self._grant(user, "external", externally=True)

    def accept_anonymous(self, trace: str) -> Verified:
        """Let somebody in without a name (RFC 4505); `trace` goes to the log, unverified.

        Raises:
            AuthenticationError: the configuration does not allow ANONYMOUS.
        """
        if not self._core.options.allow_anonymous:
            self.refuse("anonymous access is off; see allow_anonymous", result=Result.TOOWEAK)
        if self.facts.need_account:
            self.refuse("nobody has an account under no name", result=Result.NOUSER)
        user = self.canon_user("anonymous")
        self.seterror(f"anonymous, trace {printable(trace)!r}")
        return self._grant(user, "anonymous", externally=True, anonymous=True)

    def accept_token(self, validated: ValidatedToken, authzid: str | None = None) -> Verified:
        """Accept the principal of a token that a token library has validated.

        The principal is the identity as it stands: no canonicaliser is asked, so that no two
        principals become one name. What the token grants become properties of the session,
        both as `*name` and, unless another authzid is asked for, as `name`.

        Raises:
            AuthenticationError: it is not valid any more, or names nobody.
            PluginError: it grants what is no property (see `ValidatedToken.grants`).
        """
        from sasl_core.token import ValidatedToken

        if not is_a(validated, ValidatedToken):
            raise UsageError("accept_token takes a ValidatedToken")
        if not stands(validated, self.utils.clock()):
            self.refuse("the token has expired, or its key has changed", result=Result.EXPIRED)
        principal = validated.principal
        if not principal or len(principal) > NAME_LIMIT or not principal.isprintable():
            self.refuse(
                "the token names no principal, or one that is too long or holds control characters"
            )
        acting = principal
        if authzid and authzid != principal:
            acting = self._core.identity(authzid, AUTHZID)
        self.user = user = User(principal, acting, _UNVERIFIED)
        # Whatever else the mechanism checks of that user, it is the token's.
        user.token = validated
        issuer = validated.issuer
        self.granted = Granted(issuer, take_grants(user, validated))
        return self._grant(user, f"token:{issuer}", externally=True)

    def attest(self, user: User, *, how: str) -> Verified:
        """Vouch for `user` on the mechanism's own authority, because it checked by itself.

        For mechanisms whose plug declares `attests`; `how` is audited.

        Raises:
            PluginError: the plug does not declare it.
        """
        if not self._core.may_attest(self.mechanism):
            raise PluginError(
                base_name(self.mechanism), "", "attests without declaring it: set attests = True"
            )
        return self._grant(user, f"attest:{how}", externally=True)

    # --- channel binding ---------------------------------------------------------------

    def verify_binding(self, name: str, header: bytes, given: bytes) -> None:
        """Check that `given` is `header` (GS2) followed by our data of binding type `name`.

        Raises:
            AuthenticationError: it is not (`wire` `e=channel-bindings-dont-match`), or
                this connection has no such binding (`e=unsupported-channel-binding-type`).
        """
        data = self.facts.binding(name)
        if data is None:
            self.refuse(
                f"no channel binding of type {printable(name)!r} on this connection",
                result=Result.BADBINDING,
                wire=b"e=unsupported-channel-binding-type",
            )
        if not compare_digest(header + data, given):
            self.refuse(
                "the channel bindings differ: somebody may sit between client and server",
                result=Result.BADBINDING,
                wire=b"e=channel-bindings-dont-match",
            )
        self.bound = name

    def binding_was_possible(self) -> bool:
        """Whether this server offered -PLUS for the mechanism: then a client's `y` flag
        means that somebody removed the offer (RFC 5802 section 6).
        """
        return (
            bool(self.facts.channel_bindings)
            and self.facts.binding_policy is not BindingPolicy.OFF
            and self._core.can_bind(self.mechanism)
        )

    def forget(self, *, keep: bool) -> None:
        """Drop everything secret at the end of the exchange.

        `keep`: it ended well, and the other properties that were found can be read yet.
        """
        self.verified_password = self._issued = None
        if not keep:
            self.token = None
        user = self.user
        if user is not None:
            user.token = None
            if keep and user.found.values:
                _ = user.properties
            user.found = _BARE[user.found.result]
            user.erase(SECRETS, self.facts.properties)
