"""What a client can show of an exchange without showing a secret.

Invariant: no event holds a password, a token, a proof or a server signature, whatever the
mechanism; a mechanism that is not known here shows none of its messages, and a line of ours
that the server repeats while we log in is hidden as well. What listens can print every event
as it is.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import Final, Literal, TypeAlias, cast

from sasl_core.plugin import PeerError, b64encode, printable, record

__all__ = ["HIDDEN", "Direction", "TraceEvent", "auth_event", "masked", "without_echo"]

HIDDEN: Final = "****"
"""Stands for what is not shown."""

Direction: TypeAlias = Literal["C", "S", "-"]

# A SCRAM message without what the user's password could be searched by: the client's proof and
# the server's signature. A binding's type also begins with `p=`, but stands first.
_SCRAM: Final = re.compile(
    r"(?P<open>(?:[ny]|p=[^,]*),.*|r=.*|e=.*)|(?P<before>c=[^,]*(?:,.*?)??,p=|v=).*", re.DOTALL
)

# What may be base64, of one octet or more.
_BASE64: Final = re.compile(r"[A-Za-z0-9+/]{2,}={0,2}")

# Parts of a message that are shorter than this are words as often as not.
_PIECE: Final = 4

_SURELY_BASE64: Final = 16

# No name and no address of a provider has so much in one piece; the signature of a token has.
_LIKE_A_TOKEN: Final = re.compile(r"[A-Za-z0-9_+/=-]{40}")

# The fields of MONGODB-OIDC that hold no secret.
_OIDC: Final = frozenset({"n", "issuer", "clientId", "requestScopes"})


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
    if mechanism == "MONGODB-OIDC":
        return _oidc(message)
    match = _SCRAM.fullmatch(text) if mechanism.startswith("SCRAM-") else None
    if match is None:
        return HIDDEN, True
    return (text, False) if match["before"] is None else (match["before"] + HIDDEN, True)


def _oidc(message: bytes) -> tuple[str, bool]:
    """A document of MONGODB-OIDC without its token; nothing of one that may hide a token."""
    from sasl_tokens.bson import decode_document

    shown: list[str] = []
    try:
        document = decode_document(message)
    except PeerError:
        return HIDDEN, True
    for name, value in document.items():
        parts = cast("list[object]", value) if isinstance(value, list) else [value]
        texts = [part for part in parts if isinstance(part, str)]
        text = " ".join(texts)
        if name == "jwt":
            shown.append(f"jwt: {HIDDEN}")
        elif name in _OIDC and len(texts) == len(parts) and not _LIKE_A_TOKEN.search(text):
            shown.append(f"{name}: {printable(text, 400)}")
        else:
            return HIDDEN, True
    return f"{{{', '.join(shown)}}}", "jwt" in document


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


def without_echo(lines: Iterable[str], sent: Iterable[str]) -> tuple[str, ...]:
    """A server's words without the base64 that we sent, and without what may be any.

    `sent` are the messages as they were sent. Hidden are these, pieces of them of 4
    characters or more, in any case, whatever contains one, and each run of 16 or more
    base64 characters. The time is linear in the server's words and in `sent`.
    """
    ours = {encoded.rstrip("=").upper() for encoded in sent} - {""}
    short = [one for one in ours if len(one) < _SURELY_BASE64]
    pieces = {piece for one in ours for piece in _pieces(one)}

    def shown(match: re.Match[str]) -> str:
        if len(match[0]) >= _SURELY_BASE64:
            return HIDDEN
        found = match[0].rstrip("=").upper()
        # All of its pieces being ours comes close enough to its being a piece itself.
        echo = len(found) >= _PIECE and pieces.issuperset(_pieces(found))
        echo = echo or any(one == found or (len(one) >= _PIECE and one in found) for one in short)
        return HIDDEN if echo else match[0]

    return tuple(_BASE64.sub(shown, line) for line in lines)


def _pieces(text: str) -> Iterator[str]:
    return (text[start : start + _PIECE] for start in range(len(text) - _PIECE + 1))
