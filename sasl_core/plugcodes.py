"""The `code` slugs of a `PluginError` that discovery raises: stable, for programs to compare."""

from __future__ import annotations

from typing import Final

__all__ = [
    "API",
    "CLAIMED_TWICE",
    "DECLARATION",
    "EXCLUDED",
    "FAILED",
    "HOOK",
    "IMPORT",
    "NO_SIDE",
    "OPTIONS",
    "RETURN",
    "UNKNOWN",
]

UNKNOWN: Final = "plugin-unknown"
"""No installed distribution declares the name."""

DECLARATION: Final = "plugin-declaration"
"""The entry point itself is wrong: its name, or its value."""

CLAIMED_TWICE: Final = "plugin-claimed-twice"
"""Several distributions claim the name, and `plugin_list` does not choose."""

EXCLUDED: Final = "plugin-excluded"
"""`plugin_list` leaves it out, or chooses another distribution's."""

IMPORT: Final = "plugin-import"
"""Its module cannot be imported, or something that it imports is not installed."""

API: Final = "plugin-api"
"""SASL_PLUGIN_API is missing, wrong or newer than this core."""

HOOK: Final = "plugin-hook"
"""A hook is missing, unmarked, unknown or of the wrong form."""

OPTIONS: Final = "plugin-options"
"""The configuration has options for it that it does not take."""
NO_SIDE: Final = "plugin-no-side"
"""The mechanism has no such side, client's or server's. Blames nobody."""

FAILED: Final = "plugin-failed"
"""Code of the plugin raised. A wrong option keeps the code "config" of its ConfigError."""

RETURN: Final = "plugin-return"
"""What its hook returned breaks the contract."""
