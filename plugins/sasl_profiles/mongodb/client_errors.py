"""What a MongoDB server answers a client, judged: yes, or an error of ours.

Invariant: a server's words are made printable and bounded; where they may repeat what the client
sent while it logged in, they are not shown.

Source: MongoDB's manual, "Error Codes"; the driver specifications, "Retryable Reads" (the
errors that pass) and "Authentication".
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from sasl_core.plugin import (
    AuthenticationError,
    BackendError,
    MechanismError,
    PeerError,
    b64encode,
    printable,
    record,
)
from sasl_profiles.clients.trace import HIDDEN
from sasl_profiles.mongodb import codes

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from sasl_core.plugin import SaslError

__all__ = ["Refused", "check_ok", "refusal", "without_secrets"]

PASSING: Final = frozenset(
    # HostUnreachable, HostNotFound, MaxTimeMSExpired, NetworkTimeout, ShutdownInProgress,
    # PrimarySteppedDown, ExceededTimeLimit, SocketException, NotWritablePrimary,
    # InterruptedAtShutdown, InterruptedDueToReplStateChange, NotPrimaryNoSecondaryOk,
    # NotPrimaryOrSecondary
    {6, 7, 50, 89, 91, 189, 262, 9001, 10107, 11600, 11602, 13435, 13436}
)
"""Errors of a server that cannot now, and may later."""

WORDS: Final = 400
"""Most characters of a server's words that are repeated."""

_NAME: Final = re.compile(r"[A-Za-z0-9_]{1,64}")

# What may be base64, or a token, whoever's it is.
_LIKE_A_SECRET: Final = re.compile(r"[A-Za-z0-9+/_=.~-]{24,}")

_PIECE: Final = 6
"""Characters in a row that a server's words and ours do not have in common by chance."""


@record
class Refused:
    """A server's no: number and name of the error, and its words; None where there are none."""

    code: int | None
    name: str | None
    words: str | None


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
    code, name, words = (document.get(key) for key in ("code", "codeName", "errmsg"))
    return Refused(
        code if isinstance(code, int) and not isinstance(code, bool) else None,
        name if isinstance(name, str) and _NAME.fullmatch(name) else None,
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

    That is a run of 6 characters of a message or of its base64, in any case; a password, or a
    name, that is shorter; or a run that may be a token, whoever's it is. All of the words go
    then: those that were left out would tell which. The time is linear in both.
    """
    if words == codes.AUTHENTICATION_FAILED.message:
        return words
    folded = words.casefold()
    ours = [text.casefold() for message in sent for text in _forms(message)]
    pieces = {text[at : at + _PIECE] for text in ours for at in range(len(text) - _PIECE + 1)}
    # PLAIN has NULs between its parts, and none at its end, where BSON has one.
    plain = [message.decode("utf-8", "replace") for message in sent if message[-1:] != b"\0"]
    parts = {part for text in plain for part in text.casefold().split("\0")} - {""}
    repeats = (
        any(folded[at : at + _PIECE] in pieces for at in range(len(folded) - _PIECE + 1))
        or any(part in folded for part in parts)
        or _LIKE_A_SECRET.search(words) is not None
    )
    return HIDDEN if repeats else words


def _forms(message: bytes) -> tuple[str, str]:
    return message.decode("utf-8", "replace"), b64encode(message).decode("ascii").rstrip("=")
