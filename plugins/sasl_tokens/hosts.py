"""The hosts that a person's token may be shown to.

A server of the human flow names the identity provider that the person is sent to, and gets
what comes of it. An impostor would name one of its own: so no host gets that far that is not
on the list.

Source: MongoDB's driver authentication specification, "MONGODB-OIDC", ALLOWED_HOSTS.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from sasl_core.plugin import ConfigError, UsageError, printable

if TYPE_CHECKING:
    from collections.abc import Iterable
    from ipaddress import IPv6Address

__all__ = ["ALLOWED_HOSTS", "check_host", "check_patterns", "is_allowed"]

ALLOWED_HOSTS: Final[tuple[str, ...]] = (
    "*.mongodb.net",
    "*.mongodb-qa.net",
    "*.mongodb-dev.net",
    "*.mongodbgov.net",
    "*.mongo.com",
    "localhost",
    "127.0.0.1",
    "::1",
)
"""What is allowed where nothing else is said."""

_LABELS: Final = r"[A-Za-z0-9_](?:[A-Za-z0-9_-]*[A-Za-z0-9_])?"
_NAME: Final = re.compile(rf"{_LABELS}(?:\.{_LABELS})*")
_NUMBERS: Final = re.compile(r"[0-9.]+")


def is_allowed(host: str, patterns: Iterable[str]) -> bool:
    """Whether `host` is one of `patterns`.

    A pattern is a name or an address, and then the host is that and no other, or `*.` and a
    name: then the host has one or more labels before exactly that name. Case does not
    matter, nor does one dot at a name's end. What is neither a name of ASCII letters, digits,
    `-` and `_` nor an address is never allowed.
    """
    address = _address(host)
    if address is not None:
        return any(_address(pattern) == address for pattern in patterns)
    name = host.removesuffix(".")
    if _NAME.fullmatch(name) is None:
        return False
    name = name.lower()
    numeric = _NUMBERS.fullmatch(name) is not None
    for pattern in patterns:
        wanted = pattern.lower().removesuffix(".")
        if wanted.startswith("*."):
            # An address of the old kind has dots, and no labels.
            if not numeric and name.endswith(wanted[1:]):
                return True
        elif name == wanted:
            return True
    return False


def check_patterns(patterns: Iterable[str], key: str = "allowed_hosts") -> tuple[str, ...]:
    """The patterns of an option, all of them such as `is_allowed` reads.

    Raises:
        ConfigError: one is something else, or they are no list.
    """
    if isinstance(patterns, str):
        raise ConfigError("expected several hosts, not one text", key=key)
    # A caller's, and may be anything whatever its type says.
    given: Iterable[object] = patterns if hasattr(patterns, "__iter__") else (patterns,)
    checked: list[str] = []
    for pattern in given:
        if not isinstance(pattern, str):
            raise ConfigError(f"a host is a text, not a {type(pattern).__name__}", key=key)
        name = pattern.removeprefix("*.").removesuffix(".")
        if _NAME.fullmatch(name) is None and _address(pattern) is None:
            raise ConfigError(
                f"{printable(pattern, 80)!r} is no host: expected a name, an address, or `*.` and "
                "a name",
                key=key,
            )
        checked.append(pattern)
    return tuple(checked)


def check_host(host: str, patterns: Iterable[str]) -> None:
    """Refuse to show a person's token to `host` unless it is one of `patterns`.

    Raises:
        UsageError: it is not; code "host-not-allowed".
    """
    if not is_allowed(host, patterns):
        raise UsageError(
            f"no person's token is shown to {printable(host, 80)!r}: it is not in allowed_hosts of "
            "the credentials; add it if you trust it",
            code="host-not-allowed",
        )


def _address(host: str) -> IPv6Address | None:
    """An IPv6 address, in brackets or not; None: it is none."""
    if ":" not in host:
        return None
    from ipaddress import IPv6Address

    if host.startswith("[") and host.endswith("]"):
        host = host[1:-1]
    try:
        return IPv6Address(host)
    except ValueError:
        return None
