"""What a provider's names become here, so that they never meet a name of our own.

    user   $external.PREFIX/PRINCIPAL
    role   admin.PREFIX/VALUE

A namespace holds neither a dot nor a slash, a prefix neither of them either: so the first dot
ends the namespace and the first slash the prefix, whatever a claim holds. Claims are taken
literally, `/`, `.` and `$` included; two of them never become one name.
"""

from __future__ import annotations

import re
from typing import Final

from sasl_core.plugin import UsageError, record

__all__ = ["PREFIX", "AuthName", "Namespaces", "prefixed", "qualified"]

PREFIX: Final = re.compile(r"[A-Za-z0-9_-]{1,128}", re.ASCII)
"""What `authNamePrefix` may be."""


@record
class Namespaces:
    """The namespaces of users and of roles; "" for names without one.

    Raises:
        UsageError: one holds a dot, a slash, a blank, or what cannot be printed.
    """

    user: str = "$external"
    role: str = "admin"

    def __attrs_post_init__(self) -> None:
        for namespace in (self.user, self.role):
            if not namespace.isprintable() or not {".", "/", " "}.isdisjoint(namespace):
                raise UsageError("a namespace is a printable word without '.' and '/'")


def prefixed(prefix: str, value: str) -> str:
    """What is called `value` by the provider with that prefix."""
    return f"{prefix}/{value}"


def qualified(namespace: str, name: str) -> str:
    """A name with its namespace before it, if it has one."""
    return f"{namespace}.{name}" if namespace else name


@record
class AuthName:
    """The name of a user or a role in its namespace; `str()` writes them as one."""

    namespace: str
    name: str

    def __str__(self) -> str:
        return qualified(self.namespace, self.name)

    @classmethod
    def of(cls, namespace: str, prefix: str, value: str) -> AuthName:
        """The name of what a provider with that prefix calls `value`."""
        return cls(namespace, prefixed(prefix, value))

    @classmethod
    def parse(cls, text: str) -> AuthName:
        """What `str()` wrote of a provider's name.

        The namespace ends at the first dot; where a slash comes before it, there is none.

        Raises:
            UsageError: there is no name in it.
        """
        namespace, dot, name = text.partition(".")
        if not dot or "/" in namespace:
            namespace, name = "", text
        if not name or (dot and not namespace and name != text):
            raise UsageError("an AuthName is written as namespace.name")
        return cls(namespace, name)
