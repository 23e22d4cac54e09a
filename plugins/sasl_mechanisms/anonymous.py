"""ANONYMOUS: no authentication at all, and a trace for the log (RFC 4505)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

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
    prepare_trace,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sasl_core.plugin import SaslUtils

__all__ = ["SASL_PLUGIN_API", "sasl_client_plug_init", "sasl_server_plug_init"]

SASL_PLUGIN_API = 1

TRACE_LIMIT: Final = 255
"""Longest trace, in characters (RFC 4505 section 2)."""


def check_trace(trace: str) -> str:
    """Return `trace` if it is an e-mail address or a token (RFC 4505 sections 2 and 3).

    Raises:
        PeerError: it is longer than 255 characters, holds what the "trace" profile
            prohibits, or an `@` that makes it neither.
    """
    if len(trace) <= TRACE_LIMIT and trace.isascii() and trace.isprintable() and "@" not in trace:
        return trace
    if len(trace) > TRACE_LIMIT:
        raise PeerError(
            f"the trace is longer than {TRACE_LIMIT} characters", code="anonymous-trace"
        )
    local, at, domain = trace.partition("@")
    if at and (not local or not domain or "@" in domain):
        raise PeerError("the trace is neither an address nor a token", code="anonymous-trace")
    return prepare_trace(trace)


class AnonymousServer(ServerPlug):
    """The server's side."""

    name = "ANONYMOUS"
    security_flags = SecurityFlag.NOPLAINTEXT
    features = Feature.WANT_CLIENT_FIRST

    def converse(self, ctx: ServerContext) -> Needs[Success]:
        message = yield from NeedPeer()
        try:
            trace = message.decode()
        except UnicodeDecodeError:
            trace = None
        if trace is None:
            raise PeerError("the trace is not UTF-8", code="anonymous-trace")
        return Success(ctx.accept_anonymous(check_trace(trace)))


class AnonymousClient(ClientPlug):
    """The client's side. The trace is the answer to ECHOPROMPT, empty by default."""

    name = "ANONYMOUS"
    security_flags = SecurityFlag.NOPLAINTEXT
    features = Feature.WANT_CLIENT_FIRST

    def converse(self, ctx: ClientContext) -> Needs[Success]:
        (trace,) = yield from ctx.ask(PromptId.ECHOPROMPT)
        try:
            message = check_trace(trace).encode()
        except PeerError as error:
            problem = str(error)
        else:
            _ = ctx.canon_user("anonymous")
            return Success(data=message)
        raise UsageError(f"the trace cannot be sent: {problem}")


@hookimpl
def sasl_server_plug_init(utils: SaslUtils) -> Sequence[ServerPlug]:
    """The server's plug."""
    del utils
    return [AnonymousServer()]


@hookimpl
def sasl_client_plug_init(utils: SaslUtils) -> Sequence[ClientPlug]:
    """The client's plug."""
    del utils
    return [AnonymousClient()]
