"""The context of one exchange: all that a mechanism sees of the glue.

Invariants:
- A context never refers to its session: no cycle, so secrets die with the exchange.
- `Verified` and `VerifiedPeer` come from the methods here and from nowhere else; each
  refusal here dooms the exchange, whether the mechanism lets it pass or not.
- The administrator's detail is kept here, and never sent to the peer.
"""

from __future__ import annotations

from hmac import compare_digest
from typing import TYPE_CHECKING, Generic, NoReturn, TypeVar

from sasl_core._checks import is_a
from sasl_core._record import record
from sasl_core.errors import (
    AuthenticationError,
    BackendError,
    MechanismError,
    PeerError,
    PluginError,
    UsageError,
    printable,
)
from sasl_core.exchange import Doom
from sasl_core.flags import BindingPolicy, CanonFlag, Side
from sasl_core.names import UserName, base_name
from sasl_core.needs import (
    Found,
    NeedCallback,
    NeedDerivation,
    NeedPassword,
    NeedUser,
    Prompt,
    PromptId,
    User,
)
from sasl_core.outcome import MINT, Verified, VerifiedPeer
from sasl_core.properties import PASSWORD, VERIFIERS, PropertyContext
from sasl_core.results import Result
from sasl_core.saslprep import saslprep
from sasl_core.verifier import decoy_verifier, parse_verifier, proof_matches, stored_keys

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sasl_core.core import ClientCore, Core, ServerCore
    from sasl_core.facts import Facts
    from sasl_core.plugs import Needs
    from sasl_core.token import ValidatedToken
    from sasl_core.utils import SaslUtils
    from sasl_core.verifier import ScramVerifier

__all__ = ["CanonContext", "ClientContext", "Context", "ServerContext"]

C = TypeVar("C", bound="Core")

APPLICATION = "application"
AUXPROP = "auxprop"
PASSWORD_LIMIT = 8192
"""Longest password accepted, in characters."""

AUTHID, AUTHZID = CanonFlag.AUTHID, CanonFlag.AUTHZID
BOTH = AUTHID | AUTHZID
# The store says who that is; anything else that a look-up can say is a refusal.
KNOWN = frozenset({Result.OK, Result.NOVERIFY})
# After these a pwcheck method is not followed by another one.
FINAL = frozenset({Result.DISABLED, Result.EXPIRED, Result.PWLOCK, Result.NEED_OLD_PASSWD})


@record
class CanonContext:
    """What a canonicaliser knows of the connection. `realm` is the default realm, or ""."""

    service: str
    host: str
    realm: str
    side: Side


class Context(Generic[C]):
    """Common to both sides.

    `mechanism`: the negotiated name, -PLUS included. `facts`: what the application said
    of the connection. `utils`: the plug's utils. `user`: the identities, once they are
    canonicalised. `bound`: the type of channel binding that this exchange used.
    """

    __slots__ = ("_core", "bound", "detail", "doom", "facts", "mechanism", "user", "utils")

    def __init__(self, core: C, facts: Facts, mechanism: str, utils: SaslUtils) -> None:
        self._core: C = core
        self.facts = facts
        self.mechanism = mechanism
        self.utils = utils
        self.user: User | None = None
        self.bound: str | None = None
        self.detail: str | None = None
        self.doom = Doom()

    @property
    def service(self) -> str:
        """The service name, as in "imap"."""
        return self._core.service

    @property
    def host(self) -> str:
        """The server's fully qualified name."""
        return self._core.host

    @property
    def realm(self) -> str:
        """The default realm, "" for none."""
        return self._core.realm

    @property
    def plus(self) -> bool:
        """Whether the -PLUS variant was negotiated."""
        return self.mechanism is not base_name(self.mechanism)

    def seterror(self, detail: str) -> None:
        """Note why the exchange fails, for the administrator's log; never raises.

        The deepest function that knows speaks first and its text stands; what is said
        later is appended with ` <- `. Never give it a secret.
        """
        text = printable(detail, 1000)
        if self.detail is None:
            self.detail = text
        elif text not in self.detail and len(self.detail) < 2000:
            self.detail = f"{self.detail} <- {text}"

    def adopt(self, authid: str, authzid: str | None, found: Found) -> User:
        """Canonicalise both identities and make them this exchange's user, known as `found`."""
        if authzid is None or authzid == "":
            canonical = acting = self._core.identity(authid, BOTH)
        else:
            canonical = self._core.identity(authid, AUTHID)
            acting = self._core.identity(authzid, AUTHZID)
        user = User(canonical, acting, found, PropertyContext())
        self.user = user
        return user


class ServerContext(Context["ServerCore"]):
    """The server's side: look-ups, passwords, and the ways to a `Verified`."""

    __slots__ = ("_password", "_verifier", "_verifier_is_real", "true_result")

    def __init__(self, core: ServerCore, facts: Facts, mechanism: str, utils: SaslUtils) -> None:
        super().__init__(core, facts, mechanism, utils)
        self._verifier: ScramVerifier | None = None
        self._verifier_is_real = False
        # Kept for auto_transition only, between a good password and the end.
        self._password: bytes | None = None
        self.true_result: Result | None = None

    # --- refusing ---------------------------------------------------------------

    def refuse(
        self, detail: str, *, result: Result = Result.BADAUTH, wire: bytes | None = None
    ) -> NoReturn:
        """Refuse the peer and doom the exchange.

        `detail` and `result` are for the administrator; the peer learns one and the same
        whatever they are (`wire` apart, which must not depend on whether a user exists).

        Raises:
            AuthenticationError: always.
        """
        self.true_result = result
        error = AuthenticationError(detail=detail, wire=wire)
        self.doom.error = error
        raise error

    def _grant(self, user: User, how: str, *, externally: bool = False) -> Verified:
        """The one place where a server's `Verified` is made."""
        if user is not self.user:
            self.refuse("the proof is for a user of another exchange", result=Result.FAIL)
        result = user.found.result
        if result is Result.NOUSER and not externally:
            self.refuse(f"no such user: {user.authid!r}", result=Result.NOUSER)
        if result is Result.DISABLED:
            self.refuse(f"user {user.authid!r} is disabled", result=Result.DISABLED)
        if result not in KNOWN and result is not Result.NOUSER:
            self.refuse(f"the store says {result.name} of user {user.authid!r}", result=result)
        return Verified(MINT, self, user, how)

    # --- who it is ---------------------------------------------------------------

    def canon_user(self, authid: str, authzid: str | None = None) -> User:
        """Canonicalise the identities without a look-up, and bind them to this exchange.

        For mechanisms that need no property of the user. `NeedUser` does this, and the
        look-up.

        Raises:
            PeerError: a name is not acceptable.
        """
        return self.adopt(authid, authzid, Found(Result.NOVERIFY))

    # --- SCRAM ---------------------------------------------------------------------

    def verifier(self, user: User, hash_name: str) -> ScramVerifier:
        """The user's SCRAM verifier for `hash_name` ("SHA-256"), or a decoy of the same cost.

        The decoy is computed whoever the user is, and given for a user that is unknown,
        disabled, or has no verifier of that hash; `verify_scram` refuses it always. It is
        the same each time for the same name.
        """
        core = self._core
        found = user.found
        decoy = decoy_verifier(
            found.decoy_secret or core.decoy_secret(), hash_name, user.authid, core.scram_rounds
        )
        real: ScramVerifier | None = None
        if found.result is Result.OK:
            real = found.verifiers.get(hash_name)
            if real is None:
                prefix = b"SCRAM-%s$" % hash_name.encode("ascii")
                for value in user.properties.get("*" + VERIFIERS):
                    if value.startswith(prefix):
                        real = parse_verifier(value)
                        break
        self._verifier_is_real = real is not None
        self._verifier = decoy if real is None else real
        return self._verifier

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
        wire = b"e=invalid-proof"
        matches = proof_matches(verifier, auth_message, proof)
        if verifier is not self._verifier:
            self.refuse("the verifier is not of this exchange", result=Result.FAIL, wire=wire)
        if not self._verifier_is_real:
            result = user.found.result
            why = {
                Result.NOUSER: "no such user",
                Result.DISABLED: "the user is disabled",
                Result.OK: f"the user has no {verifier.hash} verifier; set the password again",
            }.get(result, f"the store says {result.name}")
            self.refuse(
                f"{why}: {user.authid!r}",
                result=Result.NOUSERPASS if result is Result.OK else result,
                wire=wire,
            )
        if not matches:
            self.refuse(f"wrong proof for user {user.authid!r}", wire=wire)
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
        return self._grant(user, how)

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
            MechanismError: `pwcheck_method` names an unknown method.
        """
        if len(password) > PASSWORD_LIMIT:
            self.refuse(f"a password of more than {PASSWORD_LIMIT} characters")
        try:
            prepared = saslprep(password).encode()
        except PeerError as error:
            self.seterror(str(error))
            prepared = b""
        if not prepared:
            self.refuse(f"empty or unacceptable password for user {printable(authid)!r}")
        core = self._core
        methods = core.password_methods
        # A method that reads the store looks the user up; the others need the name alone.
        if methods and methods[0] != AUXPROP:
            _ = self.adopt(authid, authzid, Found(Result.NOVERIFY))
        outage: BackendError | None = None
        worst = Result.BADAUTH
        for method in methods:
            try:
                if method == AUXPROP:
                    result = yield from self._check_store(authid, authzid, prepared)
                else:
                    result = yield from self._ask_method(method, prepared)
            except BackendError as error:
                self.seterror(error.detail or str(error))
                outage = error
                continue
            if result is Result.OK:
                user = self.user
                if user is None:  # pragma: no cover - every branch above has set it.
                    raise UsageError("no user was canonicalised")
                self._password = prepared if core.auto_transition else None
                return self._grant(user, f"password:{method}", externally=method != AUXPROP)
            if result is Result.NOUSER and worst is Result.BADAUTH:
                worst = result
            if result in FINAL or (method == APPLICATION and result is not Result.NOVERIFY):
                worst = result
                outage = None
                break
        if outage is not None:
            raise outage
        self.refuse(
            f"password refused for user {printable(authid)!r} by {', '.join(methods) or 'nobody'}",
            result=worst,
        )

    def _ask_method(self, method: str, password: bytes) -> Needs[Result]:
        user = self.user
        if user is None:
            raise UsageError("no user was canonicalised")
        if method != APPLICATION and not self._core.has_password_method(method):
            raise MechanismError(
                f"unknown pwcheck_method {method!r}; known: "
                f"{', '.join(self._core.known_password_methods())}",
                code="unknown-pwcheck-method",
            )
        answer = yield from NeedPassword(
            method, UserName.parse(user.authid), password, self._core.service
        )
        if answer.result is not Result.OK:
            self.seterror(f"{method}: {answer.detail or answer.result.name}")
            if answer.result is Result.UNAVAIL:
                raise BackendError(detail=f"pwcheck method {method!r} is unavailable")
        return answer.result

    def _check_store(self, authid: str, authzid: str | None, password: bytes) -> Needs[Result]:
        """Check against the property stores: one derivation, whoever the user is."""
        user = yield from NeedUser(authid, authzid, ("*" + VERIFIERS, "*" + PASSWORD))
        hash_name = self._core.strongest_hash(user)
        verifier = self.verifier(user, hash_name)
        real = self._verifier_is_real
        salted = yield from NeedDerivation(
            verifier.hash, password, verifier.salt, verifier.iterations
        )
        _, stored_key, _ = stored_keys(verifier.hash, salted)
        matches = compare_digest(stored_key, verifier.stored_key) and real
        # A store that keeps plaintext has one more thing to compare; always compared.
        plain = user.properties.get("*" + PASSWORD)
        for value in plain or (b"\0" * 16,):
            matches |= compare_digest(value, password) and bool(plain) and not real
        user.properties.erase("*" + PASSWORD)
        result = user.found.result
        if result is not Result.OK:
            self.seterror(f"auxprop: {result.name} for user {user.authid!r}")
            return Result.NOUSER if result is Result.NOUSER else result
        if not real and not plain:
            self.seterror(f"user {user.authid!r} has no password in the store")
            return Result.NOUSERPASS
        return Result.OK if matches else Result.BADAUTH

    # --- identities that others vouch for ------------------------------------------------

    def accept_external(self, authzid: str | None = None) -> Verified:
        """Accept the identity that the protection below vouches for (RFC 4422 appendix A).

        Raises:
            AuthenticationError: there is none.
        """
        external = self.facts.external_id
        if not external:
            self.refuse("no external identity: the application gave no external_id")
        return self._grant(self.canon_user(external, authzid), "external", externally=True)

    def accept_anonymous(self, trace: str) -> Verified:
        """Let somebody in without a name (RFC 4505); `trace` goes to the log, unverified.

        Raises:
            AuthenticationError: the configuration does not allow ANONYMOUS.
        """
        if not self._core.options.allow_anonymous:
            self.refuse("anonymous access is off; see allow_anonymous", result=Result.TOOWEAK)
        user = self.canon_user("anonymous")
        self.seterror(f"anonymous, trace {printable(trace)!r}")
        return self._grant(user, "anonymous", externally=True)

    def accept_token(self, validated: ValidatedToken, authzid: str | None = None) -> Verified:
        """Accept the principal of a token that a token library has validated.

        Raises:
            AuthenticationError: it has expired, or names nobody.
        """
        from sasl_core.token import ValidatedToken

        if not is_a(validated, ValidatedToken):
            raise UsageError("accept_token takes a ValidatedToken")
        if not validated.expires_at > self.utils.clock():
            self.refuse("the token has expired", result=Result.EXPIRED)
        if not validated.principal:
            self.refuse("the token names no principal")
        user = self.canon_user(validated.principal, authzid)
        return self._grant(user, f"token:{validated.issuer}", externally=True)

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

    def take_password(self) -> bytes | None:
        """Hand the verified password over for auto_transition, and forget it."""
        password, self._password = self._password, None
        return password

    def forget(self) -> None:
        """Drop everything secret at the end of the exchange."""
        self._password = None
        self._verifier = None
        if self.user is not None:
            wanted = self.facts.properties
            for name in ("*" + PASSWORD, "*" + VERIFIERS, PASSWORD, VERIFIERS):
                if name not in wanted:
                    self.user.properties.erase(name)
            self.user.found = Found(self.user.found.result)


class ClientContext(Context["ClientCore"]):
    """The client's side. `offered`: every mechanism name that the server offered."""

    __slots__ = ("offered",)

    def __init__(
        self,
        core: ClientCore,
        facts: Facts,
        mechanism: str,
        utils: SaslUtils,
        offered: Sequence[str],
    ) -> None:
        super().__init__(core, facts, mechanism, utils)
        self.offered = tuple(offered)

    def canon_user(self, authid: str, authzid: str | None = None) -> User:
        """Canonicalise our own identities. Every client mechanism calls this before it ends.

        Raises:
            PeerError: a name is not acceptable.
        """
        return self.adopt(authid, authzid, Found())

    def bind(self) -> tuple[str, bytes] | None:
        """Our channel binding type and its data, None when this exchange is not -PLUS.

        The best type that the connection has: tls-exporter, tls-unique,
        tls-server-end-point, then any other.
        """
        if not self.plus:
            return None
        names = self.facts.channel_bindings
        name = next((name for name in _BINDINGS if name in names), None) or next(iter(names))
        data = self.facts.binding(name)
        if data is None:  # pragma: no cover - `name` is one of the connection's.
            self.refuse(f"no data for channel binding {name!r}", result=Result.BADBINDING)
        self.bound = name
        return name, data

    def ask(self, *prompts: PromptId) -> Needs[tuple[str, ...]]:
        """Ask the application for what `prompts` name, in their order, with usual texts."""
        return (yield from NeedCallback(tuple(Prompt(p, *_TEXTS[p]) for p in prompts)))

    def refuse(self, detail: str, *, result: Result = Result.BADSERV) -> NoReturn:
        """Refuse the server and doom the exchange.

        Raises:
            AuthenticationError: always.
        """
        error = AuthenticationError(detail=detail, result=result)
        self.doom.error = error
        raise error

    def refuse_server(self, error: str | None) -> NoReturn:
        """The server has refused us, and said `error`; end the exchange.

        Raises:
            AuthenticationError: always, with BADAUTH.
        """
        self.refuse(f"the server refused: {printable(error or '-')}", result=Result.BADAUTH)

    def verified_peer(self, expected: bytes, given: bytes, *, how: str) -> VerifiedPeer:
        """Compare the server's proof with the expected one in constant time.

        Raises:
            AuthenticationError: they differ, or either is empty.
        """
        if not compare_digest(expected, given) or not expected:
            self.refuse(f"the server's {how} proof is wrong: it may be an impostor")
        return VerifiedPeer(MINT, self, how)

    def attest_peer(self, *, how: str) -> VerifiedPeer:
        """Vouch for the server on the mechanism's own authority (a Kerberos library, say)."""
        return VerifiedPeer(MINT, self, f"attest:{how}")


_BINDINGS = ("tls-exporter", "tls-unique", "tls-server-end-point")

_TEXTS: dict[PromptId, tuple[str, str, str | None]] = {
    PromptId.USER: ("Authorization name", "", ""),
    PromptId.AUTHNAME: ("User name", "", None),
    PromptId.LANGUAGE: ("Language", "", ""),
    PromptId.PASS: ("Password", "", None),
    PromptId.ECHOPROMPT: ("Answer", "", ""),
    PromptId.NOECHOPROMPT: ("Secret", "", None),
    PromptId.GETREALM: ("Realm", "", ""),
}
