"""What a client can show of an exchange without showing a secret.

Invariant: no event holds a password, a token, a proof or a server signature, whatever the
mechanism; a mechanism that is not known here shows none of its messages. What listens can print
every event as it is.
"""

from __future__ import annotations

import re
from typing import Final, Literal, TypeAlias, cast

from sasl_core.plugin import PeerError, printable, record

__all__ = ["HIDDEN", "Direction", "TraceEvent", "masked"]

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
