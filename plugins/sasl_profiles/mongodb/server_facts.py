"""What a MongoDB server tells of itself: the answers to hello and buildInfo.

Sources: MongoDB's manual, "hello", "buildInfo"; the driver handshake specification.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from sasl_core.plugin import PeerError

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["build_info", "check_user", "hello"]

DOCUMENT_LIMIT: Final = 16 * 1024 * 1024
"""Longest document that drivers are told to send, in octets, where a message may be as long."""

BATCH_LIMIT: Final = 100_000
WIRE_VERSIONS: Final = (0, 25)
"""What drivers are told of our age: from the first MongoDB to 8.0."""

_BUILD: Final[Mapping[str, object]] = {
    "version": "8.0.0",  # as WIRE_VERSIONS
    "versionArray": [8, 0, 0, 0],
    "gitVersion": "sasl-core",
    "modules": [],
    "bits": 64,
    "debug": False,
}


def hello(document: Mapping[str, object], number: int, message_size: int) -> dict[str, object]:
    """The answer to a hello or isMaster, without what it asks of logins.

    `number`: of the connection. `message_size`: of the longest message, in octets.
    """
    least, most = WIRE_VERSIONS
    answer: dict[str, object] = {
        "isWritablePrimary" if "hello" in document else "ismaster": True,
        "maxBsonObjectSize": min(DOCUMENT_LIMIT, message_size),
        "maxMessageSizeBytes": message_size,
        "maxWriteBatchSize": BATCH_LIMIT,
        "connectionId": number,
        "minWireVersion": least,
        "maxWireVersion": most,
        "readOnly": False,
        "ok": 1.0,
    }
    if document.get("helloOk") is True:
        answer["helloOk"] = True
    return answer


def build_info(message_size: int) -> dict[str, object]:
    """The answer to buildInfo."""
    return {**_BUILD, "maxBsonObjectSize": min(DOCUMENT_LIMIT, message_size), "ok": 1.0}


def check_user(value: object) -> None:
    """`saslSupportedMechs` names a database and a user.

    Raises:
        PeerError: it does not; code "bad-value".
    """
    database, dot, user = value.partition(".") if isinstance(value, str) else ("", "", "")
    if not (database and dot and user):
        raise PeerError("no database and user", code="bad-value")
