"""XOAUTH2: a user's name and an access token in one message, as Gmail and Outlook have it.

    C: user=someuser@example.com^Aauth=Bearer ya29.vF9dft4...^A^A
    S: (success)                            or   {"status":"400","schemes":"Bearer","scope":"mail"}
                                            C:   (an empty message)
                                            S:   (failure)

Older than OAUTHBEARER (RFC 7628) and without its GS2 header: the name stands in a pair, and
has to be there. What both share is in the library `sasl_tokens`.

Source: Google, "OAuth 2.0 Mechanism" (Gmail, IMAP and SMTP).
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Final

import attrs

from sasl_core.plugin import (
    ClientContext,
    ClientPlug,
    NeedPeer,
    Needs,
    PeerError,
    PromptId,
    ServerContext,
    Success,
    UsageError,
    hookimpl,
    record,
)
from sasl_tokens.bearer_messages import (
    SEPARATOR,
    BearerError,
    format_credentials,
    format_error,
    format_pairs,
    parse_pairs,
)
from sasl_tokens.bearer_plugs import FEATURES, FLAGS, BearerServer
from sasl_tokens.terms import UNNAMED

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sasl_core.plugin import SaslUtils, ServerPlug
    from sasl_tokens.bearer import Refusal

__all__ = [
    "SASL_PLUGIN_API",
    "ClientMessage",
    "format_client_message",
    "make_client_message",
    "parse_client_message",
    "sasl_client_plug_init",
    "sasl_server_plug_init",
]

SASL_PLUGIN_API = 1

ACKNOWLEDGEMENT: Final = b""
"""What a client says to an error."""


# --- the message -------------------------------------------------------------------------


@record
class ClientMessage:
    """What a client says: `user`, and the value of `auth`."""

    user: str
    auth: str = attrs.field(repr=False)
    pairs: Sequence[tuple[str, str]] = attrs.field(repr=False)


def parse_client_message(message: bytes) -> ClientMessage:
    """Take a client's message apart; what `auth` holds is not looked at yet.

    Raises:
        PeerError: something that is no pair, a key twice, no `user`, an unprintable one, no
            `auth`, or no proper end.
    """
    if len(message) < 2 or message[-1:] != SEPARATOR:
        raise PeerError("the message does not end with ^A", code="xoauth2-message")
    pairs = parse_pairs(message[:-1], ascii_only=False)
    values = dict(pairs)
    user, auth = values.get("user", ""), values.get("auth")
    if not user.isprintable() or not user or auth is None:
        raise PeerError("the message has no proper user, or no auth", code="xoauth2-message")
    return ClientMessage(user, auth, pairs)


def format_client_message(message: ClientMessage) -> bytes:
    """The octets that `parse_client_message` parsed.

    Raises:
        UsageError: something in it cannot be sent.
    """
    return format_pairs(message.pairs, ascii_only=False) + SEPARATOR


def make_client_message(token: str, user: str) -> bytes:
    """A client's message.

    Raises:
        UsageError: the token or the name cannot be sent.
    """
    if not user or not user.isprintable():
        raise UsageError("XOAUTH2 needs a user name, without control characters", code="saslname")
    auth = format_credentials(token)
    return format_client_message(ClientMessage(user, auth, (("user", user), ("auth", auth))))


# --- the two sides -----------------------------------------------------------------------


class Xoauth2Server(BearerServer):
    """The server's side."""

    name = "XOAUTH2"

    def converse(self, ctx: ServerContext) -> Needs[Success]:
        message = parse_client_message((yield from NeedPeer()))
        return (yield from self.check.admit(ctx, message.auth, message.user, _error))


def _error(refusal: Refusal) -> bytes:
    """Google's error: one status for each token that will not do."""
    return format_error(BearerError("400", schemes="Bearer", scope=refusal.scope))


class Xoauth2Client(ClientPlug):
    """The client's side."""

    name = "XOAUTH2"
    security_flags = FLAGS
    features = FEATURES
    required_prompts = (PromptId.AUTHNAME, PromptId.TOKEN)

    def converse(self, ctx: ClientContext) -> Needs[Success]:
        authid, authzid = yield from ctx.ask(PromptId.AUTHNAME, PromptId.USER)
        if not authid:
            raise UsageError("the user name is empty", code="empty-name")
        # One name has room: as whom we want to act. Whose the token is, the server keeps.
        wanted = authzid or authid
        _ = ctx.canon_user(UNNAMED, wanted)
        # Imported here: a client that has PLAIN alone needs nothing of it.
        from sasl_tokens.bearer_client import present_token

        message = partial(make_client_message, user=wanted)
        return (yield from present_token(ctx, authid, message, ACKNOWLEDGEMENT))


@hookimpl
def sasl_server_plug_init(utils: SaslUtils) -> Sequence[ServerPlug]:
    """The server's plug."""
    return [Xoauth2Server(utils)]


@hookimpl
def sasl_client_plug_init(utils: SaslUtils) -> Sequence[ClientPlug]:
    """The client's plug. The options are read here too, for one file may serve both sides."""
    from sasl_tokens.bearer_options import bearer_options

    _ = bearer_options(utils)
    return [Xoauth2Client()]
