"""Which mechanisms may be used on a connection, in which order, and why the others not.

The rules are G1 to G4 and G9, plus the safe defaults: anonymous access, passwords or
bearer tokens in clear, and dictionary-attackable exchanges over an open network each
need an option, which the reason names.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import TYPE_CHECKING, Final

from sasl_core._checks import is_a
from sasl_core._record import record
from sasl_core.errors import SaslError, UsageError, printable
from sasl_core.exchange import foreign
from sasl_core.flags import BindingPolicy, Feature, SecurityFlag, Side
from sasl_core.names import PLUS, base_name
from sasl_core.results import Result

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sasl_core.core import Core
    from sasl_core.facts import Facts
    from sasl_core.plugs import MechanismPlug

__all__ = ["Refusal", "in_order", "refusal", "split_names", "strength"]

NOPLAINTEXT: Final = SecurityFlag.NOPLAINTEXT
NOANONYMOUS: Final = SecurityFlag.NOANONYMOUS
NODICTIONARY: Final = SecurityFlag.NODICTIONARY
CHANNEL_BINDING: Final = Feature.CHANNEL_BINDING

_NAME = re.compile(r"[A-Za-z0-9_-]+", re.ASCII)


@record
class Refusal:
    """Why a mechanism is not for this connection: Cyrus's result, and what to do about it."""

    result: Result
    reason: str


# G1: compared from left to right; the stronger one first.
_STRENGTHS: Final = (
    NOANONYMOUS,
    NOPLAINTEXT,
    SecurityFlag.MUTUAL_AUTH,
    SecurityFlag.NOACTIVE,
    NODICTIONARY,
    SecurityFlag.FORWARD_SECRECY,
)


def strength(plug: MechanismPlug) -> tuple[int, ...]:
    """The sort key of rule G1; greater is stronger."""
    return (
        *(bool(plug.security_flags & flag) for flag in _STRENGTHS),
        bool(plug.features & CHANNEL_BINDING),
        plug.max_ssf,
        plug.hash_bits,
    )


def in_order(plugs: Iterable[MechanismPlug], wanted: Sequence[str] | None) -> list[str]:
    """The names to consider, strongest first, or as `wanted` filters and orders them (G2).

    Of mechanisms that can bind, the bound variants go first, whatever their hashes (G4). A
    name without -PLUS in `wanted` stands for both variants, the bound one first.
    """
    ranked = sorted(plugs, key=lambda plug: plug.name)
    ranked.sort(key=strength, reverse=True)
    both = {
        plug.name: [plug.name + PLUS, plug.name] if plug.features & CHANNEL_BINDING else [plug.name]
        for plug in ranked
    }
    if wanted is None:
        # Compared like strengths: whether it binds goes before layer and hash.
        keys = {name: strength(plug) for plug in ranked for name in both[plug.name]}
        return sorted(
            keys, key=lambda name: (keys[name][:-2], name not in both, keys[name]), reverse=True
        )
    names: list[str] = []
    for entry in wanted:
        known = both.get(base_name(entry), [])
        names += [name for name in known if entry in (name, base_name(name))]
    return list(dict.fromkeys(names))


def split_names(offered: str | Iterable[str]) -> tuple[str, ...]:
    """The mechanism names in a server's list: split on all but [A-Za-z0-9_-] (G3).

    Raises:
        UsageError: `offered` is neither a text nor several.
    """
    # A server says the same each time, and most servers the same.
    try:
        found = _SPLIT.get(offered) if type(offered) in _KEYS else None
    except TypeError:  # a tuple of what cannot be hashed, and is no name
        found = None
    if found is None:
        found = _split(offered)
        if len(_SPLIT) < CACHED_SPLITS and isinstance(offered, (str, tuple)):
            size = len(offered) if isinstance(offered, str) else sum(map(len, offered))
            if size + len(offered) <= CACHED_LENGTH and type(offered) in _KEYS:
                _SPLIT[offered] = found
    return found


# Peers decide what is in it, so both its size and that of each entry are bounded.
CACHED_SPLITS: Final = 256
CACHED_LENGTH: Final = 500
_SPLIT: Final[dict[object, tuple[str, ...]]] = {}
_KEYS: Final = frozenset({str, tuple})


def _split(offered: str | Iterable[str]) -> tuple[str, ...]:
    if isinstance(offered, str):
        return tuple(_NAME.findall(offered))
    if is_a(offered, (bytes, bytearray, memoryview)) or not is_a(offered, Iterable):
        raise UsageError(f"a server's offer is text or names, not {type(offered).__name__}")
    names: list[str] = []
    for text in offered:
        if not is_a(text, str):
            raise UsageError(f"a mechanism's name is a string, not {type(text).__name__}")
        names += _NAME.findall(text)
    return tuple(names)


def refusal(core: Core, plug: MechanismPlug, name: str, facts: Facts) -> Refusal | None:
    """Why `name` (a variant of `plug`) cannot be used on this connection; None if it can."""
    return (
        _binding_refusal(plug, name, facts)
        or _strength_refusal(core, plug, facts)
        or _own_refusal(plug)
        or _feature_refusal(core, plug, facts)
        or _flags_refusal(core, plug, facts)
        or _default_refusal(core, plug, facts)
    )


def _binding_refusal(plug: MechanismPlug, name: str, facts: Facts) -> Refusal | None:
    policy = facts.binding_policy
    if name != plug.name:
        if not facts.channel_bindings:
            why = f" ({facts.unbound})" if facts.unbound else ""
            return Refusal(Result.NOMECH, f"it needs channel binding data, and there are none{why}")
        if policy is BindingPolicy.OFF:
            return Refusal(Result.NOMECH, "channel binding is off on this connection")
    elif policy is BindingPolicy.REQUIRE:
        return Refusal(Result.BADBINDING, "channel binding is required on this connection")
    return None


def _strength_refusal(core: Core, plug: MechanismPlug, facts: Facts) -> Refusal | None:
    security = facts.security or core.security
    needed = max(0, security.min_ssf - facts.external_ssf)
    strongest = min(plug.max_ssf, security.max_ssf) if security.maxbufsize else 0
    if strongest < needed:
        return Refusal(
            Result.TOOWEAK,
            f"its layer reaches SSF {strongest}, and {needed} more is required (min_ssf)",
        )
    return None


def _feature_refusal(core: Core, plug: MechanismPlug, facts: Facts) -> Refusal | None:
    if facts.need_proxy and not plug.features & Feature.ALLOWS_PROXY:
        return Refusal(Result.NOMECH, "it cannot carry an authorization identity")
    if facts.need_http and not plug.features & Feature.SUPPORTS_HTTP:
        return Refusal(Result.NOMECH, "it does not work over HTTP")
    if not facts.external_id and plug.features & Feature.NEEDS_EXTERNAL_ID:
        if core.side is Side.SERVER:
            return Refusal(
                Result.NOMECH,
                "the protection below vouches for nobody: it needs a client certificate, or "
                "another external_id",
            )
        # Whoever names it knows that the server will learn who comes, from the certificate say.
        if plug.name not in (core.wanted or ()):
            return Refusal(
                Result.NOMECH,
                "it needs external_id, who the protection below says we are; or put it into "
                "client_mech_list",
            )
    return None


def _flags_refusal(core: Core, plug: MechanismPlug, facts: Facts) -> Refusal | None:
    security = facts.security or core.security
    missing = security.flags & ~plug.security_flags
    if facts.external_ssf > 1 and facts.external_ssf >= security.min_ssf:
        missing &= ~NOPLAINTEXT
    if missing:
        names = ", ".join(str(flag.name).lower() for flag in missing)
        result = Result.ENCRYPT if missing == NOPLAINTEXT else Result.NOMECH
        return Refusal(result, f"it lacks {names}, which security_flags demands")
    return None


def _default_refusal(core: Core, plug: MechanismPlug, facts: Facts) -> Refusal | None:
    options = core.options
    flags = plug.security_flags
    if not flags & NOANONYMOUS and not options.allow_anonymous:
        return Refusal(Result.NOMECH, "anonymous access is off: set allow_anonymous")
    if facts.external_ssf > 1:
        return None
    if not flags & NOPLAINTEXT:
        if not options.allow_cleartext:
            return Refusal(
                Result.ENCRYPT,
                "it would send a secret in clear: use TLS (external_ssf), or set allow_cleartext",
            )
    elif (
        flags & NOANONYMOUS
        and not flags & NODICTIONARY
        and not options.allow_unencrypted_scram
        and not facts.key[3]  # the remote address is known, and is not loopback.
    ):
        return Refusal(
            Result.ENCRYPT,
            "a listener could try a dictionary on it: use TLS (external_ssf), "
            "or set allow_unencrypted_scram",
        )
    return None


def _own_refusal(plug: MechanismPlug) -> Refusal | None:
    try:
        reason = plug.availability()
    except Exception as error:  # noqa: BLE001 - whatever a plugin raises; the others go on.
        reason = str(error if isinstance(error, SaslError) else foreign(error, plug.name))
    return None if reason is None else Refusal(Result.NOMECH, printable(reason, 1000))
