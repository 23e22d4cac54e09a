"""The configuration of identity providers: MongoDB's `oidcIdentityProviders`, and a little more.

An array of objects, as a JSON text or as tables. Nothing is guessed and nothing is passed
over: the first mistake is a `ConfigError` whose message begins with the index of its provider,
as in `[1].issuer: expected text`. Invariants, which hold for the array as a whole:

- No two providers have the same issuer and audience, so that a token chooses one.
- Providers of one issuer agree on how its keys are fetched, for its keys are fetched once.
- A prefix belongs to one issuer and one principal claim: two principals never become one name.
- At most one provider answers a person without asking for a name.

Nothing is opened here; whether `serverCAFile` can be read is told by whoever fetches keys.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, TypeVar, cast

from sasl_core.plugin import ConfigError, PeerError, record
from sasl_tokens.fields import Fields
from sasl_tokens.names import PREFIX
from sasl_tokens.patterns import BadPattern, compile_pattern
from sasl_tokens.scopes import is_scope
from sasl_tokens.strict import strict_json
from sasl_tokens.urls import UrlProblem, check_url, origin_and_path

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

__all__ = ["FIELDS", "IdentityProviderConfig", "parse_providers"]

T = TypeVar("T")

LONGEST: Final = 2**31 - 1
"""Most seconds: what MongoDB's integers hold."""

EXP_SKEW_LIMIT: Final = 300


@record
class IdentityProviderConfig:
    """One identity provider, as it is configured; the fields in the spelling of Python.

    `principal_claim` is what the field `principalName` or `principalClaim` says. Those from
    `lenient_claims` on are ours, the others MongoDB's.
    """

    issuer: str
    audience: str
    auth_name_prefix: str
    match_pattern: str | None = None
    client_id: str | None = None
    request_scopes: tuple[str, ...] | None = None
    principal_claim: str = "sub"
    use_authorization_claim: bool = True
    authorization_claim: str | None = None
    log_claims: tuple[str, ...] = ("iss", "sub")
    jwks_poll_secs: int = 0
    supports_human_flows: bool = True
    server_ca_file: str | None = None
    lenient_claims: bool = False
    accept_access_token_type: bool = False
    max_lifetime_secs: int | None = None
    exp_skew_secs: int = 0
    allow_loopback_http: bool = False
    jwks_uri: str | None = None
    step_one_without_client_id: bool = False

    @property
    def answers_step_one(self) -> bool:
        """Whether a client that has no token yet is told about it."""
        return self.supports_human_flows or self.step_one_without_client_id


FIELDS: Final = {
    "issuer": "issuer",
    "audience": "audience",
    "authNamePrefix": "auth_name_prefix",
    "matchPattern": "match_pattern",
    "clientId": "client_id",
    "requestScopes": "request_scopes",
    "principalName": "principal_claim",
    "principalClaim": "principal_claim",
    "useAuthorizationClaim": "use_authorization_claim",
    "authorizationClaim": "authorization_claim",
    "logClaims": "log_claims",
    "JWKSPollSecs": "jwks_poll_secs",
    "supportsHumanFlows": "supports_human_flows",
    "serverCAFile": "server_ca_file",
    "lenientClaims": "lenient_claims",
    "acceptAccessTokenType": "accept_access_token_type",
    "maxLifetimeSecs": "max_lifetime_secs",
    "expSkewSecs": "exp_skew_secs",
    "allowLoopbackHttp": "allow_loopback_http",
    "JWKSUri": "jwks_uri",
    "stepOneWithoutClientId": "step_one_without_client_id",
}
"""Every field, and what it is called in `IdentityProviderConfig`."""


def parse_providers(
    given: str | Sequence[Mapping[str, object]],
) -> tuple[IdentityProviderConfig, ...]:
    """The providers that a JSON text or an array of tables configures.

    Those with a `matchPattern` come first, otherwise the order is that of the array.

    Raises:
        ConfigError: the first mistake; the message begins with the provider's index.
    """
    array = _from_json(given) if isinstance(given, str) else cast("object", given)
    if not isinstance(array, (list, tuple)):
        raise ConfigError("expected an array of identity providers")
    providers = tuple(
        _provider(Fields(index, table, FIELDS))
        for index, table in enumerate(cast("Sequence[object]", array))
    )
    for check in (_check_identities, _check_issuers, _check_prefixes, _check_patterns):
        check(providers)
    return tuple(sorted(providers, key=lambda provider: provider.match_pattern is None))


def _from_json(text: str) -> object:
    problem = "the identity providers are not UTF-8"
    try:
        return strict_json(text.encode(), "the text of the identity providers")
    except PeerError as error:
        problem = str(error)
    except UnicodeEncodeError:
        pass
    raise ConfigError(problem)


# --- one provider ----------------------------------------------------------------------------


def _provider(fields: Fields) -> IdentityProviderConfig:
    issuer = fields.required("issuer")
    audience = fields.required("audience")
    prefix = fields.required("authNamePrefix")
    if PREFIX.fullmatch(prefix) is None:
        fields.wrong("authNamePrefix", "expected 1 to 128 of the characters A-Z a-z 0-9 _ and -")
    cleartext = fields.flag("allowLoopbackHttp", default=False)
    _check_address(fields, "issuer", issuer, allow_loopback_http=cleartext, plain=True)
    jwks_uri = fields.text("JWKSUri")
    if jwks_uri is not None:
        _check_address(fields, "JWKSUri", jwks_uri, allow_loopback_http=cleartext)
    human = fields.flag("supportsHumanFlows", default=True)
    step_one = fields.flag("stepOneWithoutClientId", default=False)
    if human and step_one:
        fields.wrong("stepOneWithoutClientId", "needs supportsHumanFlows to be false")
    client_id = (
        fields.required("clientId", ", unless supportsHumanFlows is false")
        if human
        else fields.text("clientId")
    )
    authorizes = fields.flag("useAuthorizationClaim", default=True)
    authorization_claim = (
        fields.required("authorizationClaim", ", unless useAuthorizationClaim is false")
        if authorizes
        else fields.text("authorizationClaim")
    )
    log_claims = fields.texts("logClaims")
    return IdentityProviderConfig(
        issuer=issuer,
        audience=audience,
        auth_name_prefix=prefix,
        match_pattern=_pattern(fields),
        client_id=client_id,
        request_scopes=_scopes(fields),
        principal_claim=_principal_claim(fields),
        use_authorization_claim=authorizes,
        authorization_claim=authorization_claim,
        log_claims=("iss", "sub") if log_claims is None else log_claims,
        jwks_poll_secs=fields.number("JWKSPollSecs", 0, LONGEST) or 0,
        supports_human_flows=human,
        server_ca_file=fields.text("serverCAFile"),
        lenient_claims=fields.flag("lenientClaims", default=False),
        accept_access_token_type=fields.flag("acceptAccessTokenType", default=False),
        max_lifetime_secs=fields.number("maxLifetimeSecs", 1, LONGEST),
        exp_skew_secs=fields.number("expSkewSecs", 0, EXP_SKEW_LIMIT) or 0,
        allow_loopback_http=cleartext,
        jwks_uri=jwks_uri,
        step_one_without_client_id=step_one,
    )


def _check_address(
    fields: Fields, name: str, url: str, *, allow_loopback_http: bool, plain: bool = False
) -> None:
    """`plain`: it is an issuer, which has no query either (RFC 8414 section 2)."""
    try:
        _ = check_url(url, what=name, allow_loopback_http=allow_loopback_http)
        if plain:
            _ = origin_and_path(url)
    except UrlProblem as error:
        problem = error.problem.removeprefix(f"{name}: ")
    else:
        return
    fields.wrong(name, problem)


def _principal_claim(fields: Fields) -> str:
    if "principalName" in fields and "principalClaim" in fields:
        fields.wrong("principalClaim", "principalName says the same; leave one of them out")
    return fields.text("principalName") or fields.text("principalClaim") or "sub"


def _pattern(fields: Fields) -> str | None:
    text = fields.text("matchPattern")
    if text is None:
        return None
    problem = None
    try:
        _ = compile_pattern(text)
    except BadPattern as error:
        problem = str(error)
    if problem is not None:
        fields.wrong("matchPattern", problem)
    return text


def _scopes(fields: Fields) -> tuple[str, ...] | None:
    scopes = fields.texts("requestScopes")
    for scope in scopes or ():
        if not is_scope(scope):
            fields.wrong("requestScopes", "expected scopes: ASCII without blank, quote, backslash")
    return scopes


# --- all of them -----------------------------------------------------------------------------


def _first(
    providers: Sequence[IdentityProviderConfig], key: Callable[[IdentityProviderConfig], T]
) -> list[int]:
    """For each provider the index of the first with the same key."""
    seen: dict[T, int] = {}
    return [seen.setdefault(key(provider), index) for index, provider in enumerate(providers)]


def _check_identities(providers: Sequence[IdentityProviderConfig]) -> None:
    firsts = _first(providers, lambda provider: (provider.issuer, provider.audience))
    for index, first in enumerate(firsts):
        if first != index:
            raise ConfigError(f"[{first}] has the same issuer and audience", key=_at(index))


def _check_issuers(providers: Sequence[IdentityProviderConfig]) -> None:
    names = ("JWKSPollSecs", "serverCAFile", "JWKSUri", "allowLoopbackHttp")
    for index, first in enumerate(_first(providers, lambda provider: provider.issuer)):
        for name in names:
            attribute = FIELDS[name]
            if _of(providers[index], attribute) != _of(providers[first], attribute):
                raise ConfigError(
                    f"expected the same as in [{first}], which has the same issuer",
                    key=_at(index, name),
                )


def _check_prefixes(providers: Sequence[IdentityProviderConfig]) -> None:
    for index, first in enumerate(_first(providers, lambda provider: provider.auth_name_prefix)):
        one, other = providers[first], providers[index]
        if one.issuer != other.issuer or one.principal_claim != other.principal_claim:
            which = "issuer" if one.issuer != other.issuer else "principal claim"
            raise ConfigError(
                f"[{first}] has it too, with another {which}: two people could have one name",
                key=_at(index, "authNamePrefix"),
            )


def _check_patterns(providers: Sequence[IdentityProviderConfig]) -> None:
    answering = [i for i, provider in enumerate(providers) if provider.answers_step_one]
    for index in answering if len(answering) > 1 else ():
        if providers[index].match_pattern is None:
            raise ConfigError(
                "required, since several providers answer clients that have no token yet",
                key=_at(index, "matchPattern"),
            )


def _of(provider: IdentityProviderConfig, attribute: str) -> object:
    return cast("object", getattr(provider, attribute))


def _at(index: int, name: str = "") -> str:
    return f"[{index}].{name}" if name else f"[{index}]"
