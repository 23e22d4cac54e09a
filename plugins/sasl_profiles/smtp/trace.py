"""What a client can show of an exchange without showing a secret.

Invariant: no event holds a password, a token, a proof or a server signature, whatever the
mechanism; a mechanism that is not known here shows none of its messages. What listens can
print every event as it is.
"""

from __future__ import annotations

import re
from typing import Final, Literal, TypeAlias

from sasl_core.plugin import b64encode, printable, record

__all__ = ["HIDDEN", "Direction", "TraceEvent", "masked"]

HIDDEN: Final = "****"
"""Stands for what is not shown."""

Direction: TypeAlias = Literal["C", "S", "-"]

# A SCRAM message without what the user's password could be searched by: the client's proof and
# the server's signature. A binding's type also begins with `p=`, but stands first.
_SCRAM: Final = re.compile(
    r"(?P<open>(?:[ny]|p=[^,]*),.*|r=.*|e=.*)|(?P<before>c=[^,]*(?:,.*?)??,p=|v=).*", re.DOTALL
)


@record
class TraceEvent:
    """One line of the conversation.

    `direction`: "C" the client sends it, "S" the server, "-" neither: a note. `line`: the
    line without CRLF, what is secret replaced by `HIDDEN`; `secret`: something was.
    `message`: the SASL message in the line, decoded and masked in the same way; None when
    the line carries none.
    """

    direction: Direction
    line: str
    secret: bool = False
    message: str | None = None


def masked(mechanism: str, message: bytes) -> tuple[str, bool]:
    """A message of this mechanism as it may be shown, and whether something was hidden."""
    text = printable(message.decode("utf-8", "backslashreplace"), 4000)
    if not message or mechanism in {"ANONYMOUS", "EXTERNAL"}:
        return text, False
    if mechanism == "PLAIN" and len(names := message.split(b"\0")) == 3:
        # Who logs in is no secret; the password is all that follows (RFC 4616 section 2).
        shown = (printable(name.decode("utf-8", "backslashreplace")) for name in names[:2])
        return "\\0".join((*shown, HIDDEN)), True
    match = _SCRAM.fullmatch(text) if mechanism.startswith("SCRAM-") else None
    if match is None:
        return HIDDEN, True
    return (text, False) if match["before"] is None else (match["before"] + HIDDEN, True)


def auth_event(
    direction: Direction, prefix: str, mechanism: str, message: bytes | None
) -> TraceEvent:
    """The event of a line that consists of `prefix` and a SASL message (None: of none)."""
    if message is None:
        return TraceEvent(direction, prefix)
    text, secret = masked(mechanism, message)
    encoded = HIDDEN if secret else b64encode(message).decode("ascii")
    if not encoded and prefix.startswith("AUTH "):
        encoded = "="
    return TraceEvent(direction, f"{prefix} {encoded}".strip(), secret, text)
