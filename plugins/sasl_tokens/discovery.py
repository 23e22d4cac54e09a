"""What an issuer says of itself: where its keys are, and where tokens are got.

Source: OpenID Connect Discovery 1.0 sections 3 and 4, RFC 8414 sections 2 and 3.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Final

from sasl_core.plugin import BackendError, HttpRequest, NeedHttp, PeerError, printable, record
from sasl_tokens.strict import json_object
from sasl_tokens.urls import UrlProblem, check_url, origin_and_path

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from sasl_core.plugin import HttpResponse, Needs

__all__ = [
    "AnswerError",
    "Discovery",
    "discover",
    "discovery_urls",
    "header",
    "json_body",
    "parse_discovery",
]

BODY_LIMIT: Final = 256 * 1024
"""Longest document fetched, in octets."""

_OPENID: Final = "/.well-known/openid-configuration"
_OAUTH: Final = "/.well-known/oauth-authorization-server"
_JSON: Final = ("application/json", "application/jwk-set+json")


@record
class Discovery:
    """The document of one issuer. Every address in it that is named here was checked.

    `jwks_uri` and `token_endpoint` are None where the document has none.
    """

    issuer: str
    jwks_uri: str | None
    token_endpoint: str | None
    members: Mapping[str, object]

    def address(self, name: str, *, allow_loopback_http: bool = False) -> str | None:
        """Another address of the document, None if it has none of that name.

        Raises:
            BackendError: it is none that may be asked; code "discovery".
        """
        return _address(self.members, name, allow_loopback_http)


class AnswerError(BackendError):
    """What a provider answered is none of what it was asked for. `status`: that of HTTP."""

    default_code = "http-answer"

    def __init__(self, status: int, problem: str) -> None:
        super().__init__(detail=problem)
        self.status = status


def discovery_urls(issuer: str) -> tuple[str, str]:
    """Where the document of an issuer is: OpenID's place, and RFC 8414's.

    Raises:
        UrlProblem: the issuer's address has a query.
    """
    origin, path = origin_and_path(issuer)
    path = path.removesuffix("/")
    return f"{origin}{path}{_OPENID}", f"{origin}{_OAUTH}{path}"


def discover(
    issuer: str,
    *,
    ca_file: str | None = None,
    allow_loopback_http: bool = False,
    deadline: float = 10.0,
    clock: Callable[[], float] = time.monotonic,
) -> Needs[Discovery]:
    """Fetch the document of `issuer`: from OpenID's place, or, if that is not found, RFC 8414's.

    `deadline`: seconds for all of it, by `clock`.

    Raises:
        UrlProblem: the issuer's address is none that may be asked.
        BackendError: there is no answer, or it is no document of this issuer.
    """
    _, cleartext = check_url(issuer, what="the issuer", allow_loopback_http=allow_loopback_http)
    first, second = discovery_urls(issuer)
    begin = clock()
    response = yield from fetch(first, deadline, ca_file, cleartext=cleartext)
    if response.status == 404:
        left = time_left(begin, deadline, clock, issuer)
        response = yield from fetch(second, left, ca_file, cleartext=cleartext)
    body = json_body(response, "the discovery document")
    return parse_discovery(body, issuer, allow_loopback_http=allow_loopback_http)


def time_left(begin: float, deadline: float, clock: Callable[[], float], whom: str) -> float:
    """What is left of `deadline` seconds since `begin`, by a clock that nobody sets.

    Raises:
        BackendError: nothing is left; code "timeout".
    """
    left = deadline - (clock() - begin)
    if left <= 0:
        raise BackendError(code="timeout", detail=f"{printable(whom)} was too slow")
    return left


def fetch(
    url: str, deadline: float, ca_file: str | None, *, cleartext: bool
) -> Needs[HttpResponse]:
    """GET a checked address.

    Raises:
        BackendError: there is no answer.
    """
    return (
        yield from NeedHttp(
            HttpRequest(
                "GET",
                url,
                headers=(("accept", "application/json"),),
                deadline=deadline,
                limit=BODY_LIMIT,
                ca_file=ca_file,
                cleartext=cleartext,
            )
        )
    )


def header(response: HttpResponse, name: str) -> str:
    """The first value of a header, by its name in lower case; "" if there is none.

    A transport has to give names in lower case. One that forgets it takes nobody's login away.
    """
    return next((value for said, value in response.headers if said.lower() == name), "")


def json_body(response: HttpResponse, what: str) -> bytes:
    """The body of a response that brings JSON.

    Raises:
        AnswerError: the status is not 200 (a redirect is not followed), it says of itself
            that it is something else, or is too long; code "http-answer".
    """
    status = response.status
    if status != 200:
        raise AnswerError(status, f"{what}: the provider answered {status}")
    kind = header(response, "content-type")
    media = kind.partition(";")[0].strip().lower()
    if media not in _JSON and not (media.startswith("application/") and media.endswith("+json")):
        said = printable(media) or "no content type"
        raise AnswerError(status, f"{what}: the provider sent {said}")
    if len(response.body) > BODY_LIMIT:
        raise AnswerError(status, f"{what}: more than {BODY_LIMIT} octets")
    return response.body


def parse_discovery(data: bytes, issuer: str, *, allow_loopback_http: bool = False) -> Discovery:
    """Read a discovery document that was fetched for `issuer`.

    Raises:
        BackendError: it is no strict JSON object, it is another issuer's (one trailing slash
            apart), or an address in it is none that may be asked; code "discovery".
    """
    try:
        members = json_object(data, "the discovery document")
    except PeerError as error:
        problem = str(error)
    else:
        return _read(members, issuer, allow_loopback_http)
    raise BackendError(code="discovery", detail=problem)


def _read(members: Mapping[str, object], issuer: str, allow_loopback_http: bool) -> Discovery:
    said = members.get("issuer")
    if not isinstance(said, str) or said.removesuffix("/") != issuer.removesuffix("/"):
        raise BackendError(
            code="discovery",
            detail=f"asked {printable(issuer)}, and got the document of {printable(said)}",
        )
    jwks_uri, token_endpoint = (
        _address(members, name, allow_loopback_http) for name in ("jwks_uri", "token_endpoint")
    )
    return Discovery(said, jwks_uri, token_endpoint, members)


def _address(members: Mapping[str, object], name: str, allow_loopback_http: bool) -> str | None:
    value = members.get(name)
    if value is None:
        return None
    if not isinstance(value, str):
        problem = f"{name} is not a string"
    else:
        try:
            return check_url(value, what=name, allow_loopback_http=allow_loopback_http)[0]
        except UrlProblem as error:
            problem = error.problem
    raise BackendError(code="discovery", detail=f"the discovery document: {problem}")
