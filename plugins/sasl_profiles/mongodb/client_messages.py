"""What a client's dialogue with a MongoDB server consists of: where a login is, and the answers.

Source: MongoDB's driver specifications, "Authentication".
"""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING, Final

import attrs

from sasl_core.plugin import PeerError, UsageError, printable, record
from sasl_profiles.clients.talk import Utterance
from sasl_profiles.mongodb.client_wire import MongodbReply
from sasl_profiles.mongodb.exchange import EXTERNAL
from sasl_profiles.mongodb.names import ADMIN

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["SASL_NAMES", "SCRAM", "X509", "Answer", "Say", "database_of", "parse_answer"]

SCRAM: Final = ("SCRAM-SHA-256", "SCRAM-SHA-1")
"""The mechanisms that a server names for a user, the better one first. Of others that it names
none is taken: whoever poses as the server could ask for a password in clear."""

X509: Final = "MONGODB-X509"
"""MongoDB's name for SASL's EXTERNAL by the certificate of the TLS connection."""

SASL_NAMES: Final[Mapping[str, str]] = MappingProxyType({X509: "EXTERNAL"})
"""Mechanisms that MongoDB has another name for."""

_ALWAYS_EXTERNAL: Final = frozenset({"MONGODB-OIDC", *SASL_NAMES, *SASL_NAMES.values()})


@record
class Say(Utterance[MongodbReply]):
    """Send this message, and hear the reply."""

    message: bytes = attrs.field(repr=False)

    @property
    def octets(self) -> bytes:
        return self.message


@record
class Answer:
    """What saslStart or saslContinue was answered."""

    conversation: int
    done: bool
    payload: bytes = attrs.field(repr=False)


def parse_answer(name: str, document: Mapping[str, object]) -> Answer:
    """What the command `name` was answered, whose success has been checked.

    Raises:
        PeerError: a field is missing or of the wrong type.
    """
    conversation, done, payload = (
        document.get(key) for key in ("conversationId", "done", "payload")
    )
    if not isinstance(conversation, int) or isinstance(conversation, bool):
        raise PeerError(f"{name}: the reply has no conversationId", code="mongodb-reply")
    if not isinstance(done, bool):
        raise PeerError(f"{name}: done is neither true nor false", code="mongodb-reply")
    if not isinstance(payload, bytes):
        raise PeerError(f"{name}: the payload is not binary", code="mongodb-reply")
    return Answer(conversation, done, payload)


def database_of(mechanism: str, given: str | None) -> str:
    """The database at which a login by this mechanism is; `given`: where the user is said to be.

    Raises:
        UsageError: there is no such login at the given one.
    """
    scram = mechanism in SCRAM
    database = given or (ADMIN if scram else EXTERNAL)
    if scram and database == EXTERNAL:
        raise UsageError(
            f"at {EXTERNAL} nobody logs in by SCRAM: name a mechanism, or another database"
        )
    if mechanism in _ALWAYS_EXTERNAL and database != EXTERNAL:
        raise UsageError(
            f"{printable(mechanism, 40)} logs in at {EXTERNAL}, not at {printable(database, 80)}"
        )
    return database
