"""The flat form: `<appname>.conf` with `key: value` lines and Cyrus SASL's option names.

A line is empty, a comment (its first character that is not blank is `#`), or a key, a
colon and a value up to the end of the line. There are no quotes and no continuation, a
`#` within a value belongs to it, a key comes once, and no value is empty. Keys are read
without regard to case.

A key is, in this order: a key of the core; an option of a plugin, written as the name of
its entry point, `_`, and the option (the longest name that fits counts); a Cyrus option
that has another name here. A Cyrus option that this release does not have is refused in
so many words: to ignore it would leave the administrator with less than was asked for.

Source: Cyrus SASL 2.1.28, "Options" and its reader of configuration files.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from sasl_core.conf_values import Setting, Settings, Untyped, suggestion, wrong
from sasl_core.options import CORE_KEYS

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping

__all__ = ["ALIASES", "CORE_ALIASES", "cyrus_problem", "parse_flat"]

ALIASES: Final = {"sasldb_path": ("auxprop", "sasldb", "path")}
"""Options of Cyrus -> table, plugin and key here; known even where the plugin is not."""

CORE_ALIASES: Final = {"oidcidentityproviders": "identity_providers"}
"""Names that others use for a key of the core, in lower case."""

# By whole name, or by all before the first "_".
_NOT_YET: Final = {
    "authdaemond_path": "the pwcheck method authdaemond",
    "keytab": "GSSAPI",
    "srvtab": "Kerberos",
    "opiekeys": "OTP",
    "reauth_timeout": "DIGEST-MD5",
    "saslauthd_path": "the pwcheck method saslauthd",
}
_NOT_YET_PREFIXES: Final = {
    "ldapdb": "the property store ldapdb",
    "ntlm": "NTLM",
    "otp": "OTP",
    "sql": "the property store sql",
    "srp": "SRP",
}
_OWN_WORDS: Final = {
    "scram_secret_generate": "a verifier for each of scram_hashes is always stored; leave it out",
}

_LINE: Final = re.compile(r"([A-Za-z0-9_.+-]+):[ \t]*(.*)", re.ASCII | re.DOTALL)
_CONTROL: Final = re.compile(r"[\x00-\x08\x0a-\x1f\x7f]")


def parse_flat(
    text: str, file: str, declared: Callable[[], Mapping[str, Collection[str]]]
) -> Settings:
    """The settings of a flat file. `declared` is asked only for a key that needs it: the names
    of the installed plugins, by kind.

    Raises:
        ConfigError: a line that is none of the form's, an unknown key, one that comes
            twice, or one that could mean the options of two plugins.
    """
    settings = Settings({}, {})
    seen: dict[str, int] = {}
    names: list[tuple[str, str]] | None = None
    for line, content in enumerate(text.split("\n"), 1):
        split = _split(content, file, line)
        if split is None:
            continue
        key, value = split[0].lower(), split[1]
        key = CORE_ALIASES.get(key, key)
        if key in seen:
            problem = f"the key was given before, on line {seen[key]}"
            raise wrong(problem, file=file, line=line, key=key)
        seen[key] = line
        setting = Setting(Untyped(value), key, file, line)
        if key in CORE_KEYS:
            settings.core[key] = setting
            continue
        if key in ALIASES:
            kind, name, option = ALIASES[key]
        else:
            if names is None:
                names = [(kind, name) for kind, all_ in declared().items() for name in all_]
            kind, name, option = _plugin_option(setting, names)
        settings.plugins.setdefault((kind, name), {})[option] = setting
    return settings


def _split(content: str, file: str, line: int) -> tuple[str, str] | None:
    """Key and value of one line; None of an empty one or a comment."""
    # Only blanks and tabs are white space here, for a value may hold any other character.
    content = content.removesuffix("\r").strip(" \t")
    if not content or content.startswith("#"):
        return None
    # The line is not shown: it may be a password that lost its key.
    if _CONTROL.search(content):
        raise wrong("the line has a control character", file=file, line=line)
    match = _LINE.fullmatch(content)
    if match is None:
        raise wrong("expected a line 'key: value'", file=file, line=line)
    if not match[2]:
        raise wrong("the key has no value", file=file, line=line, key=match[1])
    return match[1], match[2]


def _plugin_option(setting: Setting, names: list[tuple[str, str]]) -> tuple[str, str, str]:
    """The kind, the plugin and the option that a key means."""
    key = setting.key
    fitting = [(kind, name) for kind, name in names if key.startswith(f"{name.lower()}_")]
    longest = max((len(name) for _, name in fitting), default=0)
    meant = [(kind, name) for kind, name in fitting if len(name) == longest]
    option = key[longest + 1 :]
    if len(meant) == 1 and option:
        return (*meant[0], option)
    if meant and option:
        tables = " or ".join(f"[{kind}.{name}]" for kind, name in sorted(meant))
        raise setting.error(f"the key is ambiguous; write a sasl.toml with {tables}")
    problem = cyrus_problem(key)
    if problem is None:
        known = {*CORE_KEYS, *ALIASES}
        problem = f"unknown key{suggestion(key, known)}"
        problem += "; a plugin's option is its name, '_' and the option"
    raise setting.error(problem)


def cyrus_problem(key: str) -> str | None:
    """Why an option that Cyrus has cannot be used here; None when Cyrus has no such option."""
    if key in _OWN_WORDS:
        return f"this option of Cyrus SASL is not needed: {_OWN_WORDS[key]}"
    what = _NOT_YET.get(key) or _NOT_YET_PREFIXES.get(key.partition("_")[0])
    return f"this option of Cyrus SASL belongs to {what}, not supported here yet" if what else None
