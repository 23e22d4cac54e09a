"""The client's message of OAUTHBEARER, parsed and formatted (RFC 7628 section 3.1).

    client-resp = gs2-header ^A *(key "=" value ^A) ^A
    n,a=user@example.com,^Ahost=server.example.com^Aport=143^Aauth=Bearer vF9dft4...^A^A

No channel binding: the flag `p` is refused. Keys other than `auth` are ignored, `host` and
`port` too, for nothing vouches for them. What is accepted has one spelling.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import attrs

from sasl_core.plugin import Gs2Header, PeerError, UsageError, format_gs2, parse_gs2, record
from sasl_tokens.bearer_messages import (
    SEPARATOR,
    format_credentials,
    format_pairs,
    parse_pairs,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = [
    "ACKNOWLEDGEMENT",
    "ClientMessage",
    "format_client_message",
    "make_client_message",
    "parse_client_message",
]

ACKNOWLEDGEMENT: Final = SEPARATOR
"""What a client says to an error (RFC 7628 section 3.2.3)."""

_AUTH: Final = "auth"


@record
class ClientMessage:
    """What a client says. `auth` is the value of that pair, "" for a request for discovery."""

    gs2: Gs2Header
    auth: str = attrs.field(repr=False)
    pairs: Sequence[tuple[str, str]] = attrs.field(repr=False)


def parse_client_message(message: bytes) -> ClientMessage:
    """Take a client's message apart; what `auth` holds is not looked at yet.

    Raises:
        PeerError: no GS2 header, or one with channel binding; something that is no pair, a
            key twice, no `auth`, or no proper end.
    """
    gs2, rest = parse_gs2(message)
    if gs2.flag == "p":
        raise PeerError("OAUTHBEARER has no channel binding", code="oauthbearer-message")
    if gs2.authzid is not None and not gs2.authzid.isprintable():
        # A ^A in there would be taken for the end of the header by others.
        raise PeerError("the name holds a control character", code="oauthbearer-message")
    if rest[:1] != SEPARATOR or rest[-1:] != SEPARATOR or len(rest) < 2:
        raise PeerError("the message does not begin or end with ^A", code="oauthbearer-message")
    pairs = parse_pairs(rest[1:-1])
    auth = dict(pairs).get(_AUTH)
    if auth is None:
        raise PeerError("the message has no auth", code="oauthbearer-message")
    return ClientMessage(gs2, auth, pairs)


def format_client_message(message: ClientMessage) -> bytes:
    """The octets that `parse_client_message` parsed.

    Raises:
        UsageError: something in it cannot be sent.
    """
    return b"%b\x01%b\x01" % (format_gs2(message.gs2), format_pairs(message.pairs))


def make_client_message(
    token: str, authzid: str | None = None, host: str = "", port: int | None = None
) -> bytes:
    """A client's message; `host` "" and `port` None are left out, an empty token asks for
    discovery.

    Raises:
        UsageError: the token or a name cannot be sent.
    """
    if authzid is not None and not authzid.isprintable():
        raise UsageError("a name to be sent holds no control character", code="saslname")
    pairs = [(_AUTH, format_credentials(token))]
    if port is not None:
        pairs.insert(0, ("port", str(port)))
    if host:
        pairs.insert(0, ("host", host))
    return format_client_message(ClientMessage(Gs2Header("n", None, authzid), pairs[-1][1], pairs))
