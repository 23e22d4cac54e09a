"""The typed form: the tables of `sasl.toml`, or a mapping of the same shape.

At the top are the core's keys, a table for each kind of plugin with a table for each
plugin in it, and `[applications.NAME]` with the same again for one application. There,
a key goes before the same key at the top, one by one. Tables of other applications are
not looked into. No key is ignored.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, cast

from sasl_core.conf_values import Setting, Settings, suggestion
from sasl_core.options import CORE_KEYS, ONE_OF

__all__ = ["KINDS", "read_tables"]

KINDS: Final = (
    "mechanisms",
    "canon_user",
    "auxprop",
    "pwcheck",
    "audit",
    "credentials",
    "profiles",
)
"""The kinds of plugins that have options, each a table and an entry-point group of that name."""


def read_tables(tables: object, appname: str, file: str | None) -> Settings:
    """The settings that `tables`, read from `file` if not None, give the application.

    Raises:
        ConfigError: an unknown key, or something else where a table belongs.
    """
    whole = _table(Setting(tables, "", file))
    applications = _table(Setting(whole.get("applications", {}), "applications", file))
    settings = Settings({}, {}, tuple(applications))
    _read_level(whole, "", file, settings)
    for name, table in applications.items():
        level = _table(Setting(table, f"applications.{name}", file))
        if name == appname:
            # Read after the rest, so that the application's own values stay.
            _read_level(level, f"applications.{name}.", file, settings)
    return settings


def _table(setting: Setting) -> Mapping[str, object]:
    """The setting's value as a table."""
    value = setting.value
    if not isinstance(value, Mapping):
        problem = "expected a table"
    elif not all(isinstance(key, str) for key in cast("Mapping[object, object]", value)):
        problem = "the keys of a table are text"
    else:
        return cast("Mapping[str, object]", value)
    raise setting.error(problem)


def _read_level(level: Mapping[str, object], prefix: str, file: str | None, to: Settings) -> None:
    """Take over one level of keys: the global one, or an application's."""
    for key, value in level.items():
        setting = Setting(value, f"{prefix}{key}", file)
        if key in CORE_KEYS:
            if prefix and key in ONE_OF:
                # What the application says takes the place of what all are told, in either way.
                for other in ONE_OF - level.keys():
                    _ = to.core.pop(other, None)
            to.core[key] = setting
        elif key in KINDS:
            for name, table in _table(setting).items():
                inner = Setting(table, f"{setting.key}.{name}", file)
                options = to.plugins.setdefault((key, name), {})
                for option, given in _table(inner).items():
                    options[option] = Setting(given, f"{inner.key}.{option}", file)
        elif prefix or key != "applications":
            raise setting.error(_unknown(key, nested=bool(prefix)))


def _unknown(key: str, *, nested: bool) -> str:
    """What to say of a key that no level has."""
    from sasl_core.conf_flat import ALIASES, CORE_ALIASES, cyrus_problem

    if key.lower() in CORE_ALIASES:
        return f"here this is the key {CORE_ALIASES[key.lower()]!r}"
    if key in ALIASES:
        kind, name, option = ALIASES[key]
        return f"here this is the key {option!r} of the table [{kind}.{name}]"
    known = {*CORE_KEYS, *KINDS} if nested else {*CORE_KEYS, *KINDS, "applications"}
    return cyrus_problem(key) or f"unknown key{suggestion(key, known)}"
