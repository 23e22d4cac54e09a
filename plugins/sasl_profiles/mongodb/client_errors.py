"""What a MongoDB server answers a client, judged: yes, or an error of ours.

Invariant: a server's words are made printable and bounded; where they may repeat what the client
sent while it logged in, they are not shown. An error is named by its number, and by us.

Source: MongoDB's manual, "Error Codes"; the driver specifications, "Retryable Reads" (the
errors that pass) and "Authentication".
"""

from __future__ import annotations

import re
from types import MappingProxyType
from typing import TYPE_CHECKING, Final

from sasl_core.plugin import (
    AuthenticationError,
    BackendError,
    MechanismError,
    PeerError,
    printable,
    record,
)
from sasl_profiles.clients.trace import HIDDEN, repeats
from sasl_profiles.mongodb import codes

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from sasl_core.plugin import SaslError

__all__ = ["Refused", "check_ok", "refusal", "without_secrets"]

PASSING: Final[Mapping[int, str]] = MappingProxyType(
    {
        6: "HostUnreachable",
        7: "HostNotFound",
        50: "MaxTimeMSExpired",
        89: "NetworkTimeout",
        91: "ShutdownInProgress",
        189: "PrimarySteppedDown",
        262: "ExceededTimeLimit",
        9001: "SocketException",
        10107: "NotWritablePrimary",
        11600: "InterruptedAtShutdown",
        11602: "InterruptedDueToReplStateChange",
        13435: "NotPrimaryNoSecondaryOk",
        13436: "NotPrimaryOrSecondary",
    }
)
"""Errors of a server that cannot now, and may later."""

NAMES: Final[Mapping[int, str]] = MappingProxyType(
    {
        **PASSING,
        **{
            failure.code: failure.name
            for failure in vars(codes).values()
            if isinstance(failure, codes.Failure)
        },
    }
)
"""What errors are called that a login meets."""

WORDS: Final = 400
"""Most characters of a server's words that are repeated."""

# What may be base64, or a token, whoever's it is.
_LIKE_A_SECRET: Final = re.compile(r"[A-Za-z0-9+/_=.~-]{24,}")


@record
class Refused:
    """A server's no: the error's number, and its words; None where there are none."""

    code: int | None
    words: str | None

    @property
    def name(self) -> str:
        """What the error is called, "" where we know no name.

        A server sends one along. It may be any text, a password that it was told.
        """
        return NAMES.get(self.code or 0, "")

    def without_secrets(self, sent: Iterable[bytes]) -> Refused:
        """The same without anything that `sent` may have; a number can be a password too."""
        code, words = self.code, self.words
        if code is not None and code not in NAMES and repeats(str(code), sent):
            code = None
        return Refused(code, None if words is None else without_secrets(words, sent))


def check_ok(document: Mapping[str, object]) -> Refused | None:
    """None if the command succeeded, otherwise why it did not.

    Raises:
        PeerError: the reply says neither.
    """
    ok = document.get("ok")
    # Servers write it as a double; a truth value and whole numbers mean the same.
    if not isinstance(ok, (int, float)) or ok not in (0, 1):
        raise PeerError("a reply without a proper ok", code="mongodb-reply")
    if ok:
        return None
    code, words = document.get("code"), document.get("errmsg")
    return Refused(
        code if isinstance(code, int) and not isinstance(code, bool) else None,
        words if isinstance(words, str) else None,
    )


def refusal(command: str, refused: Refused, mechanism: str = "") -> SaslError:
    """The error for a command that failed; `mechanism`: it was part of a login by that."""
    number = "an error without a number" if refused.code is None else f"error {refused.code}"
    message = f"the server answered {command} with {number}"
    detail = message
    if refused.name:
        detail += f" {refused.name}"
    if refused.words:
        detail += f": {printable(refused.words, WORDS)}"
    if refused.code in PASSING:
        return BackendError(message, detail=detail)
    if mechanism and refused.code == codes.AUTHENTICATION_FAILED.code:
        return AuthenticationError(detail=detail)
    if mechanism and refused.code == codes.MECHANISM_UNAVAILABLE.code:
        why = detail.partition(" with ")[2]
        # The number stands in the reason, and need not be said twice.
        missing = "the server has not this mechanism"
        return MechanismError(missing, reasons={mechanism: why}, detail=detail)
    return PeerError(message, code="refused", detail=detail)


def without_secrets(words: str, sent: Iterable[bytes]) -> str:
    """A server's words, or `HIDDEN` if any of what `sent` has may stand in them.

    That is what `repeats` says, or a run of characters that may be a token, whoever's it is. All of
    the words go then: those that were left out would tell which. The time is linear in both.
    """
    if words == codes.AUTHENTICATION_FAILED.message:
        return words
    hides = repeats(words, sent) or _LIKE_A_SECRET.search(words) is not None
    return HIDDEN if hides else words
