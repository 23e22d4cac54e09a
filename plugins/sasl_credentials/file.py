"""A token in a file that somebody else keeps fresh (entry point `token_file`).

Kubernetes, SPIFFE helpers, `gcloud` in a cron job: they replace the file before the token in
it expires. Nobody says when that is, so a token is believed for a minute, and then the file is
read again.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Final

import attrs

from sasl_core.plugin import AccessToken, CredentialsPlug, hookimpl
from sasl_credentials.answers import bearer
from sasl_credentials.secret_files import read_secret
from sasl_credentials.unconfigured import Unconfigured

if TYPE_CHECKING:
    import os
    from collections.abc import Callable, Sequence

    from sasl_core.plugin import Needs, SaslUtils, TokenRequest

__all__ = [
    "SASL_PLUGIN_API",
    "FileOptions",
    "FileTokens",
    "sasl_credentials_init",
    "token_from_file",
]

SASL_PLUGIN_API = 1

BELIEVED: Final = 60.0
"""Seconds until the file is read again."""


@attrs.frozen
class FileOptions:
    """The options of `[credentials.token_file]`. `path`: the file; mandatory."""

    path: Path | None = None


class FileTokens(CredentialsPlug):
    """The token in the file `path`."""

    name = "token_file"

    def __init__(
        self, path: str | os.PathLike[str], *, clock: Callable[[], float] = time.time
    ) -> None:
        self._path = path
        self._clock = clock

    def token(self, request: TokenRequest) -> Needs[AccessToken]:
        del request
        return (yield from token_from_file(self._path, self._clock))


def token_from_file(path: str | os.PathLike[str], clock: Callable[[], float]) -> Needs[AccessToken]:
    """The token in the file, believed for a minute.

    Raises:
        BackendError: the file cannot be read, or holds no access token.
    """
    text = yield from read_secret(path, "the token file")
    return AccessToken(bearer(text, f"the token file {path}"), clock() + BELIEVED)


@hookimpl
def sasl_credentials_init(utils: SaslUtils) -> Sequence[CredentialsPlug]:
    """The configured file."""
    path = utils.options(FileOptions).path
    if path is None:
        return [Unconfigured(FileTokens.name, "path")]
    return [FileTokens(path, clock=utils.clock)]
