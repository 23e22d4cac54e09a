"""EXTERNAL: the protection below has said already who comes (RFC 4422 appendix A).

    message = [authzid]

Empty, the client acts as whoever the protection below vouches for: the subject of a client
certificate, the user at the other end of a Unix socket. What it vouches for is the host's
matter (`external_id`), and nothing of it is taken from the message. Without it the server does
not offer the mechanism. A client that was told of it, or whose `client_mech_list` names the
mechanism, takes it.
"""

from __future__ import annotations

import unicodedata
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
    record,
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

_FLAGS = SecurityFlag.NOPLAINTEXT | SecurityFlag.NOANONYMOUS | SecurityFlag.NODICTIONARY
_FEATURES = Feature.WANT_CLIENT_FIRST | Feature.ALLOWS_PROXY | Feature.NEEDS_EXTERNAL_ID


def parse_message(message: bytes) -> str | None:
    """The authzid; None when the message is empty.

    Raises:
        PeerError: it is not UTF-8, or holds a NUL (RFC 4422 appendix A.1).
    """
    try:
        text = message.decode()
    except UnicodeDecodeError:
        text = None
    if text is None or "\0" in text:
        raise PeerError("the authorization name is not UTF-8 without NUL", code="external-message")
    return text or None


def format_message(authzid: str | None) -> bytes:
    """The message that `parse_message` reads. What was typed goes out in NFC.

    Raises:
        UsageError: the name holds a NUL, or cannot be encoded.
    """
    text = unicodedata.normalize("NFC", authzid or "")
    if "\0" not in text:
        try:
            return text.encode()
        except UnicodeEncodeError:
            pass
    raise UsageError("the authorization name holds a NUL, or cannot be encoded as UTF-8")


@record
class ExternalOptions:
    """The table `[mechanisms.EXTERNAL]`.

    `need_account`: a server lets in only whom a store knows by that very name, and not everybody
    for whom the protection below vouches.
    """

    need_account: bool = False


class ExternalServer(ServerPlug):
    """The server's side. Whose name is whose is the glue's matter (`accept_external`).

    `need_account`: as configured.
    """

    name = "EXTERNAL"
    security_flags = _FLAGS
    features = _FEATURES

    def __init__(self, options: ExternalOptions) -> None:
        self.need_account = options.need_account

    def converse(self, ctx: ServerContext) -> Needs[Success]:
        authzid = parse_message((yield from NeedPeer()))
        return Success(ctx.accept_external(authzid, need_account=self.need_account))


class ExternalClient(ClientPlug):
    """The client's side. The authzid is the answer to USER, empty by default."""

    name = "EXTERNAL"
    security_flags = _FLAGS
    features = _FEATURES

    def converse(self, ctx: ClientContext) -> Needs[Success]:
        (authzid,) = yield from ctx.ask(PromptId.USER)
        message = format_message(authzid)
        _ = ctx.external_user(message.decode() or None)
        return Success(data=message)


@hookimpl
def sasl_server_plug_init(utils: SaslUtils) -> Sequence[ServerPlug]:
    """The server's plug.

    Raises:
        ConfigError: its table has an unknown key, or a wrong value.
    """
    return [ExternalServer(utils.options(ExternalOptions))]


@hookimpl
def sasl_client_plug_init(utils: SaslUtils) -> Sequence[ClientPlug]:
    """The client's plug. The options are read here too, for one file may serve both sides.

    Raises:
        ConfigError: its table has an unknown key, or a wrong value.
    """
    _ = utils.options(ExternalOptions)
    return [ExternalClient()]
