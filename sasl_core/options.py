"""The core's own options: every key, its type, its bounds and its default.

`CoreOptions` is what the rest of the core reads; `CORE_KEYS` says how each key is
converted, and is the list of keys that the configuration forms accept at their top.
Whatever is left out has the safe value.

Source: Cyrus SASL 2.1.28, "Options"; RFC 5802 section 5.1 and RFC 7677 section 4 (the
floor of 4096 rounds); RFC 4752 section 3.3 (buffers of at most 2**24 - 1 octets);
XEP-0474 (downgrade protection).
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum, IntEnum
from os import PathLike
from typing import TYPE_CHECKING, Final, cast

from sasl_core._checks import is_a
from sasl_core._record import record
from sasl_core.conf_values import (
    Setting,
    Unfit,
    Untyped,
    boolean,
    choice,
    text,
    whole_number,
    words,
)
from sasl_core.errors import ConfigError, printable
from sasl_core.flags import DowngradePolicy, SecurityFlag
from sasl_core.names import is_mechanism_name
from sasl_core.pluginlist import PluginList, is_plugin_name
from sasl_core.verifier import SCRAM_HASHES

if TYPE_CHECKING:
    from collections.abc import Callable

    from sasl_core.conf_values import Converter

__all__ = [
    "CORE_KEYS",
    "MAX_SSF",
    "ONE_OF",
    "AutoTransition",
    "CoreOptions",
    "LogLevel",
    "Rounds",
    "read_core",
]

MAX_SSF: Final = 1 << 16
"""The greatest strength that can be demanded, in bits: no layer is that strong."""

_MOST_ROUNDS: Final = 10_000_000
"""The furthest that `scram_iteration_cap` can be raised: some seconds of PBKDF2."""


class LogLevel(IntEnum):
    """How much is logged, with Cyrus's numbers (`SASL_LOG_*`); each level holds those below.

    Cyrus's seventh, "pass", traces passwords. No level of ours does: it reads as TRACE.
    """

    NONE = 0
    ERROR = 1
    FAIL = 2
    WARN = 3
    NOTE = 4
    DEBUG = 5
    TRACE = 6


class AutoTransition(Enum):
    """Whether a password that was verified elsewhere is stored for shared-secret mechanisms.

    YES keeps verifiers and, where the store does, the plaintext; NOPLAIN verifiers only.
    """

    NO = "no"
    YES = "yes"
    NOPLAIN = "noplain"


@record
class Rounds:
    """PBKDF2 rounds: `usual` for every hash of SCRAM, but for those that `by_hash` names."""

    usual: int
    by_hash: tuple[tuple[str, int], ...] = ()

    def of(self, hash_name: str) -> int:
        """The rounds of `hash_name`, as in the mechanism's name ("SHA-256")."""
        for name, rounds in self.by_hash:
            if name == hash_name:
                return rounds
        return self.usual

    def __str__(self) -> str:
        return " ".join([str(self.usual), *(f"{name}:{rounds}" for name, rounds in self.by_hash)])


@record
class CoreOptions:
    """The core's options, checked. docs/configuration.md explains each.

    `mech_list`, `client_mech_list`: None means every installed mechanism, () none.
    `scram_hashes`: None means those that `mech_list` names, SHA-256 where it names none. The
    rounds are PBKDF2 iterations, the SSFs bits, `maxbufsize` is in bytes. `credentials_plugin`:
    "" for none. `identity_providers`: a JSON text or tables, for a token library to check.
    """

    mech_list: tuple[str, ...] | None = None
    client_mech_list: tuple[str, ...] | None = None
    plugin_list: tuple[str, ...] = ()
    log_level: int = LogLevel.NOTE
    pwcheck_method: tuple[str, ...] = ("auxprop",)
    auxprop_plugin: tuple[str, ...] = ("sasldb",)
    auto_transition: AutoTransition = AutoTransition.NO
    canon_user_plugin: str = "INTERNAL"
    scram_hashes: tuple[str, ...] | None = None
    scram_iteration_counter: Rounds = Rounds(15_000)
    scram_iteration_floor: Rounds = Rounds(4096)
    scram_iteration_cap: Rounds = Rounds(1_000_000)
    scram_downgrade_protection: DowngradePolicy = DowngradePolicy.OFF
    min_ssf: int = 0
    max_ssf: int = MAX_SSF
    security_flags: SecurityFlag = SecurityFlag.NONE
    maxbufsize: int = 65_536
    allow_anonymous: bool = False
    allow_cleartext: bool = False
    allow_unencrypted_scram: bool = False
    user_realm: str = ""
    credentials_plugin: str = ""
    identity_providers: str | tuple[Mapping[str, object], ...] | None = None
    identity_providers_file: str | None = None


# --- the converters -----------------------------------------------------------------


def _listed(convert: Callable[[object], str]) -> Converter[tuple[str, ...]]:
    """A converter of each item of a list; an item that comes twice counts once."""

    def converter(value: object) -> tuple[str, ...]:
        return tuple(dict.fromkeys(convert(item) for item in words(value)))

    return converter


def _mechanism(value: object) -> str:
    name = value.upper() if isinstance(value, str) else value
    if not is_mechanism_name(name):
        raise Unfit(f"expected names of mechanisms, not {_shown(value)}")
    return str(name)


def _hash(value: object) -> str:
    name = value.upper() if isinstance(value, str) else ""
    if name not in SCRAM_HASHES:
        raise Unfit(f"expected hashes of SCRAM ({', '.join(SCRAM_HASHES)}), not {_shown(value)}")
    return str(name)


def _rounds(minimum: int, maximum: int, usual: int) -> Converter[Rounds]:
    """A converter of `15000`, and of a list like `15000 SHA-1:10000`.

    `usual` is the number of the hashes for which none is given.
    """
    number = whole_number(minimum, maximum)

    def convert(value: object) -> Rounds:
        several = ":" in value if isinstance(value, str) else is_a(value, (list, tuple))
        if not several:
            return Rounds(number(value))
        bare: list[int] = []
        by_hash: dict[str, int] = {}
        for item in words(value):
            if not isinstance(item, str) or ":" not in item:
                bare.append(number(item))
                continue
            name, _, rounds = item.partition(":")
            name = _hash(name)
            if name in by_hash:
                raise Unfit(f"{name} has two numbers of rounds")
            by_hash[name] = number(Untyped(rounds))
        if len(bare) > 1:
            raise Unfit("expected one number of rounds, and others as in SHA-1:10000")
        return Rounds(bare[0] if bare else usual, tuple(by_hash.items()))

    return convert


def _plugin(value: object) -> str:
    if not isinstance(value, str) or not is_plugin_name(value):
        raise Unfit(f"expected the name of a plugin, not {_shown(value)}")
    return str(value)


def _plugin_list(value: object) -> tuple[str, ...]:
    entries = tuple(dict.fromkeys(text(item) for item in words(value)))
    try:
        _ = PluginList(entries)
    except ConfigError as error:
        problem = error.problem
    else:
        return entries
    raise Unfit(problem)


_named_level: Final = choice(
    {level.name.lower(): level for level in LogLevel} | {"pass": LogLevel.TRACE}
)
_numbered_level: Final = whole_number(0, 7)


def _log_level(value: object) -> LogLevel:
    try:
        level = _numbered_level(value)
    except Unfit:
        if not isinstance(value, str):
            raise
        return _named_level(value)
    return LogLevel(min(level, LogLevel.TRACE))


_transition: Final = choice({member.value: member for member in AutoTransition})


def _auto_transition(value: object) -> AutoTransition:
    if isinstance(value, AutoTransition):
        return value
    try:
        return AutoTransition.YES if boolean(value) else AutoTransition.NO
    except Unfit:
        return _transition(value)


_downgrade: Final = choice({member.value: member for member in DowngradePolicy})


def _downgrade_protection(value: object) -> DowngradePolicy:
    return value if isinstance(value, DowngradePolicy) else _downgrade(value)


_flag: Final = choice({str(flag.name).lower(): flag for flag in SecurityFlag})


def _security_flags(value: object) -> SecurityFlag:
    if isinstance(value, SecurityFlag):
        return value
    flags = SecurityFlag.NONE
    for word in words(value):
        flags |= _flag(word.replace("-", "_") if isinstance(word, str) else word)
    return flags


def _realm(value: object) -> str:
    realm = text(value)
    if len(realm) > 255 or "@" in realm or " " in realm or not realm.isprintable():
        raise Unfit("expected a realm: at most 255 printable characters, no blank and no '@'")
    return realm


def _shown(value: object) -> str:
    """A value of a public set, for a message."""
    return repr(printable(value, 40)) if isinstance(value, str) else f"a {type(value).__name__}"


def _identity_providers(value: object) -> str | tuple[Mapping[str, object], ...]:
    """A JSON text as it is, or an array of tables; what is in them is for others to check."""
    if isinstance(value, str):
        return text(value)
    tables = words(value)
    if not all(is_a(table, Mapping) for table in tables):
        raise Unfit("expected an array of tables, [[identity_providers]], or its JSON text")
    return cast("tuple[Mapping[str, object], ...]", tables)


def _file(value: object) -> str:
    if is_a(value, PathLike):
        value = cast("PathLike[str]", value).__fspath__()
    name = text(value)
    if not name or "\0" in name:
        raise Unfit("expected a path")
    return name


_mechanisms: Final = _listed(_mechanism)
_plugins: Final = _listed(_plugin)
_ssf: Final = whole_number(0, MAX_SSF)

CORE_KEYS: Final[Mapping[str, Converter[object]]] = {
    "mech_list": _mechanisms,
    "client_mech_list": _mechanisms,
    "plugin_list": _plugin_list,
    "log_level": _log_level,
    "pwcheck_method": _plugins,
    "auxprop_plugin": _plugins,
    "auto_transition": _auto_transition,
    "canon_user_plugin": _plugin,
    "scram_hashes": _listed(_hash),
    "scram_iteration_counter": _rounds(4096, 1_000_000, 15_000),
    "scram_iteration_floor": _rounds(1, 1_000_000, 4096),
    "scram_iteration_cap": _rounds(4096, _MOST_ROUNDS, 1_000_000),
    "scram_downgrade_protection": _downgrade_protection,
    "min_ssf": _ssf,
    "max_ssf": _ssf,
    "security_flags": _security_flags,
    "maxbufsize": whole_number(0, (1 << 24) - 1),
    "allow_anonymous": boolean,
    "allow_cleartext": boolean,
    "allow_unencrypted_scram": boolean,
    "user_realm": _realm,
    "credentials_plugin": _plugin,
    "identity_providers": _identity_providers,
    "identity_providers_file": _file,
}
"""Every key of the core, and its converter."""

# The first must not exceed the second.
_ORDERED: Final = (
    ("scram_iteration_floor", "scram_iteration_counter"),
    ("scram_iteration_counter", "scram_iteration_cap"),
    ("min_ssf", "max_ssf"),
)

_DEFAULTS: Final = CoreOptions()


ONE_OF: Final = frozenset({"identity_providers", "identity_providers_file"})
"""Keys that say the same in two ways."""

# Paths that count from the directory of the file that names them.
_PATHS: Final = ("identity_providers_file",)


def read_core(given: Mapping[str, Setting]) -> CoreOptions:
    """The core's options from what was given for the keys of `CORE_KEYS`; the rest by default.

    Raises:
        ConfigError: a value that its key cannot have, or two that exclude each other.
    """
    if not given:
        return _DEFAULTS
    values = {key: setting.read(CORE_KEYS[key]) for key, setting in given.items()}
    for key in _PATHS:
        file = given[key].file if key in given else None
        if file is not None:
            from pathlib import Path

            values[key] = str(Path(file).parent / cast("str", values[key]))
    if given.keys() >= ONE_OF:
        raise given["identity_providers_file"].error("identity_providers is given too; keep one")
    # The table gives each key the type of its field; the tests hold the two together.
    make = cast("Callable[..., CoreOptions]", CoreOptions)
    options = make(**values)
    for low, high in _ORDERED:
        problem = _disorder(low, getattr(options, low), high, getattr(options, high))
        if problem is not None:
            setting = given.get(low) or given.get(high)
            raise setting.error(problem) if setting else ConfigError(problem)
    return options


def _disorder(low: str, least: object, high: str, most: object) -> str | None:
    """What is wrong with two numbers of which the first must not exceed the second."""
    if isinstance(least, Rounds) and isinstance(most, Rounds):
        cases = [("", least.usual, most.usual)]
        cases += [(f" for {name}", least.of(name), most.of(name)) for name in SCRAM_HASHES]
    else:
        cases = [("", cast("int", least), cast("int", most))]
    for which, small, great in cases:
        if small > great:
            return f"{low} ({small}{which}) is above {high} ({great})"
    return None
