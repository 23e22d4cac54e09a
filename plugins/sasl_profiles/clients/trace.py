"""What a client can show of an exchange without showing a secret.

Invariant: no event holds a password, a token, a proof or a server signature, whatever the
mechanism; a mechanism that is not known here shows none of its messages, and what a server says
is compared with the secrets that it was told. What listens can print every event as it is.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Final, Literal, TypeAlias, cast

from sasl_core.plugin import PeerError, b64encode, printable, record

__all__ = ["HIDDEN", "Direction", "TraceEvent", "masked", "repeats"]

HIDDEN: Final = "****"
"""Stands for what is not shown."""

Direction: TypeAlias = Literal["C", "S", "-"]

# A SCRAM message without what the user's password could be searched by: the client's proof and
# the server's signature. A binding's type also begins with `p=`, but stands first.
_SCRAM: Final = re.compile(
    r"(?P<open>(?:[ny]|p=[^,]*),.*|r=.*|e=.*)|(?P<before>c=[^,]*(?:,.*?)??,p=|v=).*", re.DOTALL
)

# No name and no address of a provider has so much in one piece; the signature of a token has.
_LIKE_A_TOKEN: Final = re.compile(r"[A-Za-z0-9_+/=-]{40}")

_PIECE: Final = 6
"""Characters in a row that a server's words and ours do not have in common by chance."""

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


def masked(mechanism: str, message: bytes, secrets: Iterable[bytes] = ()) -> tuple[str, bool]:
    """A message of this mechanism as it may be shown, and whether something was hidden.

    `secrets`: of a server's message, ours of which something was hidden. It may know what stands
    in them, and say it wherever it likes: an access token as an issuer.
    """
    shown, hidden = _masked(mechanism, message)
    return (HIDDEN, True) if repeats(shown, secrets) else (shown, hidden)


def repeats(words: str, sent: Iterable[bytes]) -> bool:
    """Whether any of what the messages `sent` have may stand in a server's words.

    That is a run of 6 characters of a message or of its base64, in any case, or a password, or a
    name, that is shorter. The time is linear in both.
    """
    messages = tuple(sent)
    if not messages or not words:
        return False
    folded = words.casefold()
    ours = [text.casefold() for message in messages for text in _forms(message)]
    pieces = {text[at : at + _PIECE] for text in ours for at in range(len(text) - _PIECE + 1)}
    # PLAIN has NULs between its parts, and none at its end, where BSON has one.
    plain = [message.decode("utf-8", "replace") for message in messages if message[-1:] != b"\0"]
    parts = {part for text in plain for part in text.casefold().split("\0")} - {""}
    return any(folded[at : at + _PIECE] in pieces for at in range(len(folded) - _PIECE + 1)) or any(
        part in folded for part in parts
    )


def _forms(message: bytes) -> tuple[str, str]:
    return message.decode("utf-8", "replace"), b64encode(message).decode("ascii").rstrip("=")


def _masked(mechanism: str, message: bytes) -> tuple[str, bool]:
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
