"""A bearer token at a client: where it comes from, and what is done when it is refused.

    token  -> the client's one message
    error  <- the server's no, as a challenge; a yes is the protocol's own
    answer -> one that the RFC prescribes, for the server then fails the exchange

Invariant: after an error the exchange fails, whatever the server says next.

Source: RFC 7628 sections 3.2.2 and 3.2.3.
"""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING

from sasl_core.plugin import AuthenticationError, NeedPeer, NeedVerdict, PeerError, Success
from sasl_tokens.bearer_messages import parse_error
from sasl_tokens.client import held_token, obtain_token, token_refused

if TYPE_CHECKING:
    from collections.abc import Callable

    from sasl_core.plugin import ClientContext, Needs

__all__ = ["present_token"]


def present_token(
    ctx: ClientContext,
    username: str | None,
    message: Callable[[str], bytes],
    acknowledgement: bytes,
) -> Needs[Success]:
    """Send what `message` makes of a token of `username`; to an error, `acknowledgement`.

    What the server says of itself in an error is shown to the administrator, and nothing is
    fetched from there: who is not let in yet may be anybody.

    Raises:
        AuthenticationError: the server refused the token.
        UsageError: there is no token, or it cannot be sent.
        SaslError: whatever the client's source of tokens raised.
    """
    token = yield from held_token(ctx, username)
    if token is None:
        token = yield from obtain_token(ctx, username=username)
    answer = yield from NeedVerdict(message(token))
    if answer is None:
        return Success()
    try:
        said = str(parse_error(answer))
    except PeerError as error:
        said = f"an error that cannot be read ({error})"
    _ = token_refused(ctx, token)
    token = ""
    refusal = AuthenticationError(code="bearer-refused", detail=f"the server refused: {said}")
    with suppress(AuthenticationError):
        ctx.refuse_server(said)
    ctx.seterror(refusal.detail or "")
    _ = yield from NeedPeer(acknowledgement)
    raise refusal
