"""sasldb, the embedded property store: one SQLite file (entry point `sasldb`).

`store` is the plug; `pool` keeps the connections; `rights` decides which file may be
opened; `schema` makes the file; `faults` says what an error of the machine means. This
module and `store` load no SQLite: it is imported, and the file opened, at the first use.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

import attrs

from sasl_auxprop.sasldb.store import (
    DEFAULT_PATH,
    DEFAULT_TIMEOUT,
    SqliteStore,
    checked_path,
    checked_timeout,
)
from sasl_core.plugin import ConfigError, UsageError, hookimpl

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from sasl_core.plugin import AuxpropPlug, SaslUtils

__all__ = [
    "DEFAULT_PATH",
    "SASL_PLUGIN_API",
    "SasldbOptions",
    "SqliteStore",
    "sasl_auxprop_init",
]

SASL_PLUGIN_API = 1

T = TypeVar("T")


def _as_the_store(check: Callable[[T], T]) -> Callable[[object, object, T], None]:
    """A validator that refuses what the store would, and says why under the option's key."""

    def validate(_options: object, _attribute: object, value: T) -> None:
        try:
            _ = check(value)
        except UsageError as error:
            problem = str(error)
        else:
            return
        raise ConfigError(problem)

    return validate


@attrs.frozen
class SasldbOptions:
    """The options of `[auxprop.sasldb]`.

    `path`: the database (Cyrus's `sasldb_path`). `timeout`: how long to wait for another
    process that writes, in seconds, 0 to 3600. `plaintext`: keep plaintext passwords too,
    for mechanisms that cannot do without.
    """

    path: str = attrs.field(default=DEFAULT_PATH, validator=_as_the_store(checked_path))
    timeout: float = attrs.field(default=DEFAULT_TIMEOUT, validator=_as_the_store(checked_timeout))
    plaintext: bool = False


@hookimpl
def sasl_auxprop_init(utils: SaslUtils) -> Sequence[AuxpropPlug]:
    """The configured store. Touches no file."""
    options = utils.options(SasldbOptions)
    return [SqliteStore(options.path, timeout=options.timeout, plaintext=options.plaintext)]
