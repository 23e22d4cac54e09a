"""Where `sasl auth` has an access token from, and when."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from sasl_core import Client, Registry, TokenRequest
from sasl_core.plugin import UsageError, printable

if TYPE_CHECKING:
    from collections.abc import Callable

    from sasl_cli.auth_target import Target
    from sasl_core import Configuration
    from sasl_http import HttpTransport

__all__ = ["CAN_ASK", "check_source", "token_of_person"]

CAN_ASK: Final = "MONGODB-OIDC"
"""The mechanism whose client can ask the server which provider it trusts."""


def check_source(settings: Configuration, name: str) -> None:
    """Make sure that there is such a source of tokens; otherwise each mechanism would say so.

    Raises:
        UsageError: there is none.
    """
    known = Registry(plugin_list=settings.core.plugin_list).names("credentials")
    if name not in known:
        raise UsageError(
            f"no source of credentials {printable(name, 40)!r} is installed; those that are: "
            f"{', '.join(sorted(known))}"
        )


def token_of_person(
    settings: Configuration,
    source: str,
    where: Target,
    user: str | None,
    http: HttpTransport,
    look: Callable[[], None],
) -> str | None:
    """The access token that a person has to be asked for; None: `source` asks nobody.

    Whoever asks a person asks while no connection is open, for a server would not wait so long,
    and only for a server that such a token may be shown to, once `look` has seen that it is there.

    Raises:
        UsageError: the server is none of those; what the source gave is no access token.
        SaslError: whatever the source raised, or `look`.
    """
    from sasl_tokens.client import allowed_hosts, seconds_for
    from sasl_tokens.hosts import check_host
    from sasl_tokens.sent import check_access_token

    service = where.manner.service
    with Client(service, where.host, config=settings, http=http, credentials=source) as client:
        plug = client.core.credentials()
        if plug is None or not plug.human:
            return None
        check_host(where.host, allowed_hosts(plug))
        look()
        request = TokenRequest(service, where.host, user, deadline=seconds_for(plug))
        # A stranger's source may give anything, whatever its type says.
        return check_access_token(client.run(plug.token(request))).value
