"""A bearer token at a server: who says whether it is good, and how the client hears a no.

`BearerCheck` is what the servers of OAUTHBEARER and XOAUTH2 share. `bearer_validators` says
whose a token is; an application that knows that by itself has

    # [mechanisms.OAUTHBEARER]  validation = "application"

    def validator(token, request):
        row = tokens_of_mine.get(token)
        return row and BearerLogin(row.user, "my-issuer", row.expires_at)

    set_validator(server.utils, validator)       # before the first session

Invariant: once an error was said, the exchange fails, whatever the client answers; and an
outage is said as an outage, never as an error of the token.

Source: RFC 7628 sections 3.2.1 to 3.2.3; RFC 6750 section 3.1 (the words for an error).
"""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Final

from sasl_core.plugin import (
    AuthenticationError,
    NeedPeer,
    PeerError,
    Success,
    record,
    sever,
)
from sasl_tokens.bearer_login import BearerLogin, NameOfElsewhere
from sasl_tokens.bearer_messages import parse_credentials
from sasl_tokens.bearer_options import bearer_options
from sasl_tokens.bearer_validators import (
    BearerRequest,
    TokenValidator,
    set_validator,
    validator_of,
)
from sasl_tokens.login import TokenLogin
from sasl_tokens.manager import idp_manager

if TYPE_CHECKING:
    from collections.abc import Callable

    from sasl_core.plugin import Needs, SaslUtils, ServerContext, ValidatedToken

__all__ = [
    "BearerCheck",
    "BearerLogin",
    "BearerRequest",
    "Refusal",
    "TokenValidator",
    "set_validator",
]


@record
class Refusal:
    """What a client is told: `status` in RFC 6750's words, the scope, where tokens come from."""

    status: str
    scope: str | None
    openid_configuration: str | None


_INVALID: Final = "invalid_token"
_STATUSES: Final = {"token-scope": "insufficient_scope", "bearer-credentials": "invalid_request"}


class BearerCheck:
    """Lets the bearer of a good token in, and says no to everybody else."""

    def __init__(self, utils: SaslUtils) -> None:
        """Read the options of the plugin that `utils` are of.

        Raises:
            ConfigError: they are wrong, or a file that they name is.
        """
        options = bearer_options(utils)
        self._scope = options.scope
        self._address = options.openid_configuration
        self._validator = validator_of(utils, options)
        self._manager = idp_manager(utils)

    def availability(self) -> str | None:
        """Why no token can be checked; None: they can."""
        return self._validator.availability()

    def admit(
        self,
        ctx: ServerContext,
        auth: str,
        wanted: str | None,
        challenge: Callable[[Refusal], bytes],
    ) -> Needs[Success]:
        """Let the bearer of the credentials `auth` in, as `wanted` if the policy permits it.

        Otherwise the client is sent what `challenge` makes of the refusal, and its answer,
        whatever it is, is the end.

        Raises:
            AuthenticationError: refused; the detail says why.
            BackendError: nobody can say now.
        """
        refusal = AuthenticationError(
            code="bearer-discovery", detail="no token: the client asks where to get one"
        )
        try:
            token = parse_credentials(auth)
        except PeerError as error:
            token = ""
            refusal = AuthenticationError(code=error.code, detail=str(error))
        if token:
            request = BearerRequest(
                ctx.mechanism, ctx.service, ctx.host, ctx.facts.remote, wanted, self._scope
            )
            try:
                validated = yield from self._validator.validate(token, request)
                if not self._is_ours(validated):
                    self._check_name(validated)
                    validated = NameOfElsewhere(validated, self._check_name)
                return Success(ctx.accept_token(validated, _other(validated, wanted)))
            except AuthenticationError as error:
                refusal = sever(error)
        token = auth = ""
        # What is sent to the client is the error below, and nothing after it.
        refusal.wire = None
        with suppress(AuthenticationError):
            ctx.refuse(refusal.detail or str(refusal), result=refusal.result, code=refusal.code)
        answer = Refusal(
            _STATUSES.get(refusal.code, _INVALID),
            " ".join(self._scope) or None,
            self._address or self._validator.configuration(),
        )
        _ = yield from NeedPeer(challenge(answer))
        raise refusal

    def _is_ours(self, validated: ValidatedToken) -> bool:
        """Whether one of our providers vouches for it, and has put its prefix before the name."""
        return isinstance(validated, TokenLogin) and self._manager.in_force(validated.provider)

    def _check_name(self, validated: ValidatedToken) -> None:
        """Refuse a name of elsewhere that could be one of our providers, with its prefix.

        Raises:
            TokenError: token-identity.
        """
        if not self._is_ours(validated):
            self._manager.check_unprefixed(validated.principal)


def _other(validated: ValidatedToken, wanted: str | None) -> str | None:
    """The name of somebody else that the client wants; None: it wants to be itself.

    Itself is who the token names, by the name that it has here or that its issuer gives it:
    a mail client knows nothing of prefixes. Whoever that is, it is the token that says it.
    """
    if wanted is None or wanted == validated.principal:
        return None
    if wanted.encode() in validated.grants.get("principal", ()):
        return None
    return wanted
