"""sasldb, the embedded property store: one SQLite file (entry point `sasldb`).

`store` is the plug; `pool` keeps the connections and decides which file may be opened;
`schema` makes the file; `faults` says what an error of the machine means. This module
and `store` load no SQLite: it is imported, and the file opened, at the first use.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs

from sasl_auxprop.sasldb.store import DEFAULT_PATH, DEFAULT_TIMEOUT, SqliteStore
from sasl_core.plugin import hookimpl

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sasl_core.plugin import AuxpropPlug, SaslUtils

__all__ = [
    "DEFAULT_PATH",
    "SASL_PLUGIN_API",
    "SasldbOptions",
    "SqliteStore",
    "sasl_auxprop_init",
]

SASL_PLUGIN_API = 1


@attrs.frozen
class SasldbOptions:
    """The options of `[auxprop.sasldb]`.

    `path`: the database (Cyrus's `sasldb_path`). `timeout`: how long to wait for another
    process that writes, in seconds. `plaintext`: keep plaintext passwords too, for
    mechanisms that cannot do without.
    """

    path: str = DEFAULT_PATH
    timeout: float = DEFAULT_TIMEOUT
    plaintext: bool = False


@hookimpl
def sasl_auxprop_init(utils: SaslUtils) -> Sequence[AuxpropPlug]:
    """The configured store. Touches no file."""
    options = utils.options(SasldbOptions)
    return [SqliteStore(options.path, timeout=options.timeout, plaintext=options.plaintext)]
