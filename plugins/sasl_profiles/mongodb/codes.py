"""The errors that a command is answered with. Nothing of the client's stands in any of them.

Source: MongoDB's manual, "Error Codes"; the driver authentication specification.
"""

from __future__ import annotations

from typing import Final

from sasl_core.plugin import record

__all__ = [
    "ANSWER_TOO_LARGE",
    "AUTHENTICATION_FAILED",
    "BAD_VALUE",
    "COMMAND_NOT_FOUND",
    "FAILED",
    "INTERNAL_ERROR",
    "INVALID_BSON",
    "MECHANISM_UNAVAILABLE",
    "NO_CONVERSATION",
    "ONLY_HELLO",
    "OUT_OF_ORDER",
    "REAUTHENTICATE",
    "SEQUENCES",
    "TOO_LARGE",
    "UNAUTHORIZED",
    "UNAUTHORIZED_COMMAND",
    "Failure",
]


@record
class Failure:
    """An error: its number, its name, and what is said of it."""

    code: int
    name: str
    message: str

    def document(self) -> dict[str, object]:
        """The answer to the command."""
        return {"ok": 0.0, "errmsg": self.message, "code": self.code, "codeName": self.name}

    def saying(self, message: str) -> Failure:
        """The same error in other words."""
        return Failure(self.code, self.name, message)


INTERNAL_ERROR: Final = Failure(1, "InternalError", "Internal error")
BAD_VALUE: Final = Failure(2, "BadValue", "A field is missing, or has a value that it cannot have")
FAILED: Final = Failure(8, "UnknownError", "The command failed")
SEQUENCES: Final = Failure(9, "FailedToParse", "The command takes no sequence of documents")
UNAUTHORIZED_COMMAND: Final = Failure(13, "Unauthorized", "Command requires authentication")
UNAUTHORIZED: Final = Failure(13, "Unauthorized", "Not authorized to execute the command")
OUT_OF_ORDER: Final = Failure(17, "ProtocolError", "An authentication exchange is under way")
NO_CONVERSATION: Final = Failure(17, "ProtocolError", "No such authentication exchange")
AUTHENTICATION_FAILED: Final = Failure(18, "AuthenticationFailed", "Authentication failed.")
INVALID_BSON: Final = Failure(22, "InvalidBSON", "The command is no BSON that is read here")
COMMAND_NOT_FOUND: Final = Failure(59, "CommandNotFound", "No such command")
MECHANISM_UNAVAILABLE: Final = Failure(
    334, "MechanismUnavailable", "The authentication mechanism is not available"
)
ONLY_HELLO: Final = Failure(
    352, "UnsupportedOpQueryCommand", "Only hello can be asked by OP_QUERY; use OP_MSG"
)
REAUTHENTICATE: Final = Failure(
    391, "ReauthenticationRequired", "The login has expired; authenticate again"
)
ANSWER_TOO_LARGE: Final = Failure(10334, "BSONObjectTooLarge", "The answer is too large")
TOO_LARGE: Final = Failure(10334, "BSONObjectTooLarge", "The command is too large")
