"""What a login to MongoDB takes besides the messages: facts, and a password in its form."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Final, Protocol

from sasl_core.plugin import UsageError

if TYPE_CHECKING:
    from collections.abc import Callable

    from sasl_core import ConnectionFacts
    from sasl_core.plugin import Prompt
    from sasl_tls.facts import TransportFacts

__all__ = ["LOGINS", "connection_facts", "password_for", "scram_sha1_password"]

LOGINS: Final = 3
"""Most logins that one call tries: by a kept token, by a refresh token, by a new one."""


class _Session(Protocol):
    @property
    def mechanism(self) -> str | None: ...


def connection_facts(beneath: TransportFacts, connected_to: str) -> ConnectionFacts:
    """The facts of a connection to that host, over one of which these are known.

    The first message goes with saslStart, and the last with the success. MongoDB binds no login
    to its TLS connection, so that nothing is said of channel bindings.
    """
    return {
        "success_data": True,
        "initial_response": True,
        "external_ssf": beneath.external_ssf,
        "remote": beneath.remote,
        "local": beneath.local,
        "connected_to": connected_to,
    }


def scram_sha1_password(user: str, text: str) -> str:
    """What MongoDB's SCRAM-SHA-1 takes for the password of `user`.

    Raises:
        UsageError: a name or a password that UTF-8 cannot hold.
    """
    try:
        data = f"{user}:mongo:{text}".encode()
    except UnicodeEncodeError:
        data = b""
    if not data:
        raise UsageError("a name and a password are text that UTF-8 can hold")
    return hashlib.md5(data, usedforsecurity=False).hexdigest()


def password_for(
    user: str, text: str, session: Callable[[], _Session | None]
) -> Callable[[Prompt], str]:
    """An answer to the prompt for a password, in the form that the mechanism wants.

    `session`: the one that asks, None when none does.
    """

    def answer(prompt: Prompt) -> str:
        del prompt
        asking = session()
        if asking is None:
            raise UsageError("this password is for a login over the connection that it is of")
        return scram_sha1_password(user, text) if asking.mechanism == "SCRAM-SHA-1" else text

    return answer
