"""The commands of an exchange, read; and who may log in by which mechanism where.

    {saslStart: 1, mechanism, payload, options?, $db}    -> {conversationId, done, payload}
    {saslContinue: 1, conversationId, payload}           -> the same
    {hello: 1, speculativeAuthenticate: {saslStart: 1, ..., db}}
    {authenticate: 1, mechanism, user?, $db}             -> {dbname, user}
    {hello: 1, speculativeAuthenticate: {authenticate: 1, ..., db?}}

A payload is binary or a text of base64, and is answered in the form in which it came: each
message by itself. By `authenticate` a certificate's owner logs in (MONGODB-X509), in one message
that is EXTERNAL's: a name, or nothing.

Source: MongoDB's driver authentication specification.
"""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING, Final, NoReturn, cast

import attrs

from sasl_core.plugin import PeerError, b64decode, b64encode, record

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = [
    "CONVERSATION",
    "EXTERNAL",
    "MECHANISMS",
    "PAYLOAD_LIMIT",
    "SASL_NAMES",
    "X509",
    "Continuation",
    "Payload",
    "Start",
    "authenticated",
    "parse_authenticate",
    "parse_continuation",
    "parse_start",
    "result",
]

EXTERNAL: Final = "$external"
"""The database of users whom MongoDB does not keep."""

X509: Final = "MONGODB-X509"

MECHANISMS: Final[Mapping[str, bool]] = MappingProxyType(
    {"SCRAM-SHA-256": False, "SCRAM-SHA-1": False, "PLAIN": True, "MONGODB-OIDC": True, X509: True}
)
"""The mechanisms that MongoDB's clients speak, and whether their users are in `EXTERNAL`."""

SASL_NAMES: Final[Mapping[str, str]] = MappingProxyType({X509: "EXTERNAL"})
"""What those are called in SASL that MongoDB has another name for."""

CONVERSATION: Final = 1
"""The id of every exchange: a connection has one at a time."""

PAYLOAD_LIMIT: Final = 48 * 1024
"""Longest payload, in octets: a SASL message."""

_TEXT_LIMIT: Final = 255
_USER_LIMIT: Final = 8192


@record
class Payload:
    """A SASL message, and whether it came as text."""

    data: bytes = attrs.field(repr=False)
    as_text: bool = False


@record
class Start:
    """A saslStart. `skip_empty`: the last data may come with the success.

    `whole`: an authenticate, whose one answer is the last.
    """

    mechanism: str
    payload: Payload
    database: str
    skip_empty: bool
    whole: bool = False

    @property
    def known(self) -> bool:
        """Whether there is such a mechanism, and it begins with that command."""
        return self.mechanism in MECHANISMS and (self.mechanism == X509) is self.whole


@record
class Continuation:
    """A saslContinue. `conversation`: None where it is no whole number."""

    conversation: int | None
    payload: Payload


def parse_start(document: Mapping[str, object], database: str) -> Start:
    """Read a saslStart that was sent to `database`.

    Raises:
        PeerError: a field is missing or of the wrong type; code "bad-value".
    """
    mechanism = _mechanism(document)
    options = document.get("options")
    if options is None:
        options = {}
    if not isinstance(options, dict):
        _refuse("the options of saslStart are no document")
    skip = cast("dict[str, object]", options).get("skipEmptyExchange", False)
    if not isinstance(skip, bool):
        _refuse("skipEmptyExchange is neither true nor false")
    return Start(mechanism, _payload(document), database, skip)


def parse_continuation(document: Mapping[str, object]) -> Continuation:
    """Read a saslContinue.

    Raises:
        PeerError: there is no payload, or of the wrong type; code "bad-value".
    """
    given = document.get("conversationId")
    number = given if isinstance(given, int) and not isinstance(given, bool) else None
    return Continuation(number, _payload(document))


def parse_authenticate(document: Mapping[str, object], database: str) -> Start:
    """Read an authenticate that was sent to `database`.

    Raises:
        PeerError: a field is missing or of the wrong type; code "bad-value".
    """
    user = document.get("user", "")
    if not isinstance(user, str) or len(user) > _USER_LIMIT:
        _refuse("the user of authenticate is no text, or too long")
    # BSON's strings are UTF-8, and were decoded from it.
    payload = Payload(user.encode())
    return Start(_mechanism(document), payload, database, skip_empty=True, whole=True)


def authenticated(user: str, database: str) -> dict[str, object]:
    """The answer to an authenticate, without its `ok`."""
    return {"dbname": database, "user": user}


def result(data: bytes, *, done: bool, as_text: bool) -> dict[str, object]:
    """The answer to either, without its `ok`."""
    payload = b64encode(data).decode("ascii") if as_text else data
    return {"conversationId": CONVERSATION, "done": done, "payload": payload}


def _mechanism(document: Mapping[str, object]) -> str:
    mechanism = document.get("mechanism")
    if not isinstance(mechanism, str) or len(mechanism) > _TEXT_LIMIT:
        _refuse("the command names no mechanism")
    return mechanism


def _payload(document: Mapping[str, object]) -> Payload:
    given = document.get("payload")
    if isinstance(given, bytes):
        payload = Payload(given)
    elif isinstance(given, str):
        try:
            payload = Payload(b64decode(given, PAYLOAD_LIMIT * 4 // 3 + 4), as_text=True)
        except PeerError:
            payload = None
    else:
        payload = None
    if payload is None or len(payload.data) > PAYLOAD_LIMIT:
        _refuse("a payload is binary or base64, and not longer than a SASL message")
    return payload


def _refuse(problem: str) -> NoReturn:
    raise PeerError(problem, code="bad-value")
