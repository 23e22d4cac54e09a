"""PLAIN: authorization identity, authentication identity and password in one message (RFC 4616).

    message = [authzid] NUL authcid NUL passwd

Exactly two NULs. Neither authcid nor passwd may be empty, before or after preparation.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from sasl_core.plugin import (
    ClientContext,
    ClientPlug,
    Feature,
    NeedPeer,
    Needs,
    PeerError,
    PromptId,
    SecurityFlag,
    ServerContext,
    ServerPlug,
    Success,
    UsageError,
    hookimpl,
    saslprep,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sasl_core.plugin import SaslUtils

__all__ = [
    "SASL_PLUGIN_API",
    "format_message",
    "parse_message",
    "sasl_client_plug_init",
    "sasl_server_plug_init",
]

SASL_PLUGIN_API = 1


def parse_message(message: bytes) -> tuple[str | None, str, str]:
    """Split a message into authzid (None when absent), authcid and password.

    Raises:
        PeerError: not UTF-8, not two NULs, or an empty name or password
            (RFC 4616 section 2).
    """
    try:
        text = message.decode()
    except UnicodeDecodeError:
        text = None
    if text is None:
        raise PeerError("the message is not UTF-8", code="plain-message")
    parts = text.split("\0")
    if len(parts) != 3:
        raise PeerError("the message does not hold exactly two NULs", code="plain-message")
    authzid, authcid, password = parts
    if not authcid or not password:
        raise PeerError("the user name or the password is empty", code="plain-message")
    return authzid or None, authcid, password


def format_message(authzid: str | None, authcid: str, password: str) -> bytes:
    """The message that `parse_message` splits.

    Raises:
        UsageError: a part holds a NUL or cannot be encoded, or a mandatory one is empty.
    """
    parts = (authzid or "", authcid, password)
    if not authcid or not password or any("\0" in part for part in parts):
        raise UsageError("PLAIN needs a user name and a password, and no NUL in either")
    try:
        return "\0".join(parts).encode()
    except UnicodeEncodeError:
        pass
    raise UsageError("the user name or the password cannot be encoded as UTF-8")


class PlainServer(ServerPlug):
    """The server's side. Who checks the password is the glue's matter (`check_password`)."""

    name = "PLAIN"
    security_flags = SecurityFlag.NOANONYMOUS | SecurityFlag.PASS_CREDENTIALS
    features = Feature.WANT_CLIENT_FIRST | Feature.ALLOWS_PROXY

    def converse(self, ctx: ServerContext) -> Needs[Success]:
        authzid, authcid, password = parse_message((yield from NeedPeer()))
        return Success((yield from ctx.check_password(authcid, password, authzid)))


class PlainClient(ClientPlug):
    """The client's side."""

    name = "PLAIN"
    security_flags = SecurityFlag.NOANONYMOUS | SecurityFlag.PASS_CREDENTIALS
    features = Feature.WANT_CLIENT_FIRST | Feature.ALLOWS_PROXY
    required_prompts = (PromptId.AUTHNAME, PromptId.PASS)

    def converse(self, ctx: ClientContext) -> Needs[Success]:
        authcid, password, authzid = yield from ctx.ask(
            PromptId.AUTHNAME, PromptId.PASS, PromptId.USER
        )
        if not authcid:
            raise UsageError("the user name is empty", code="empty-name")
        user = ctx.canon_user(authcid, authzid or None)
        try:
            prepared = saslprep(password)
        except PeerError as error:
            problem = str(error)
        else:
            return Success(
                data=format_message(user.authzid if authzid else None, user.authid, prepared)
            )
        raise UsageError(f"the password cannot be used: {problem}", code="bad-password")


@hookimpl
def sasl_server_plug_init(utils: SaslUtils) -> Sequence[ServerPlug]:
    """The server's plug."""
    del utils
    return [PlainServer()]


@hookimpl
def sasl_client_plug_init(utils: SaslUtils) -> Sequence[ClientPlug]:
    """The client's plug."""
    del utils
    return [PlainClient()]
