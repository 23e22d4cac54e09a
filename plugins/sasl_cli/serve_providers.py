"""The identity providers of `sasl serve`: from the command line, at its start, and at SIGHUP.

Invariants: a server with a configuration that is wrong does not start; one that runs goes on with
the old one; an issuer that cannot be reached is a warning, and keeps nobody waiting.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, TypeAlias

import typer

from sasl_cli.output import note, one_line
from sasl_core.plugin import SaslError, UsageError

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable, Mapping, Sequence

    from sasl_core import Configuration
    from sasl_core.aio import Server
    from sasl_core.plugin import SaslUtils

__all__ = ["Providers", "check", "look_after", "provider_tables"]

Providers: TypeAlias = Annotated[
    str | None,
    typer.Option(
        "--oidc-identity-providers",
        metavar="JSON|@FILE",
        help="The identity providers, in place of the configured ones: a JSON array, or a file "
        "with one.",
    ),
]


def provider_tables(given: str | None) -> dict[str, object]:
    """What `--oidc-identity-providers` says, as tables of the configuration.

    Raises:
        UsageError: "@" without a file.
    """
    if given is None:
        return {}
    if not given.startswith("@"):
        return {"identity_providers": given}
    if given == "@":
        raise UsageError("--oidc-identity-providers: the name of a file goes behind @")
    return {"identity_providers_file": given[1:]}


def check(utils: SaslUtils) -> int:
    """Have the configured providers of a Server read now; how many they are.

    Raises:
        ConfigError: the file cannot be read, or the first mistake in them.
    """
    if utils.identity_providers is None:
        return 0
    from sasl_tokens.manager import idp_manager

    return len(idp_manager(utils).providers)


async def look_after(
    server: Server, again: asyncio.Event, read: Callable[[], Configuration]
) -> None:
    """Fetch all keys, and take the configuration of the providers over whenever `again` is set.

    Never returns. `read` reads the configuration anew.
    """
    import asyncio

    if server.utils.identity_providers is not None:
        await _warm_up(server)
    while True:
        _ = await again.wait()
        again.clear()
        try:
            given = await asyncio.to_thread(_given, server, read)
            _take_over(server, given)
        except SaslError as error:
            note(f"identity providers: {one_line(error)}; the old ones go on")
        else:
            await _warm_up(server)


def _given(
    server: Server, read: Callable[[], Configuration]
) -> str | Sequence[Mapping[str, object]] | None:
    """The providers that are configured now; None: there are none."""
    core = read().core
    if core.identity_providers_file is not None:
        return server.utils.read_text(core.identity_providers_file)
    return core.identity_providers


def _take_over(server: Server, given: str | Sequence[Mapping[str, object]] | None) -> None:
    from sasl_tokens.manager import idp_manager

    manager = idp_manager(server.utils)
    if given is None and not manager.configured:
        # What takes tokens is not offered, and is not to be.
        note("identity providers: there are none, as before")
        return
    # Whoever took them all away means that no token is good any more.
    manager.reload(() if given is None else given)


async def _warm_up(server: Server) -> None:
    """Fetch the keys before the first login needs them; the library warns of what cannot be had."""
    from sasl_tokens.manager import idp_manager

    try:
        _ = await server.run(idp_manager(server.utils).warm_up())
    except SaslError as error:
        note(f"warning: the identity providers' keys: {one_line(error)}")
