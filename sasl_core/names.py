"""Names of users and of mechanisms.

An identity (authid or authzid) is one string, `name` or `name@realm`. Stores keep the
two parts apart; nothing else does.
"""

from __future__ import annotations

import re

from sasl_core._record import record

__all__ = ["PLUS", "UserName", "base_name", "is_mechanism_name"]

PLUS = "-PLUS"

_MECHANISM_NAME = re.compile(r"[A-Z0-9_-]{1,20}", re.ASCII)


@record
class UserName:
    """A canonical user name as a store keys it: the part before the last `@`, and the realm.

    A name without `@` has the empty realm.
    """

    name: str
    realm: str = ""

    @classmethod
    def parse(cls, identity: str) -> UserName:
        """Split a canonical identity at its last `@`.

        A leading `@` is part of the name, and so is a trailing one: "tim@" is not "tim".
        """
        if "@" in identity:
            name, _, realm = identity.rpartition("@")
            if name and realm:
                return cls(name, realm)
        return cls(identity)

    def __str__(self) -> str:
        return f"{self.name}@{self.realm}" if self.realm else self.name


def is_mechanism_name(name: object) -> bool:
    """Whether `name` is a SASL mechanism name: 1 to 20 of A-Z 0-9 - _ (RFC 4422 section 3.1)."""
    return isinstance(name, str) and _MECHANISM_NAME.fullmatch(name) is not None


def base_name(name: str) -> str:
    """The mechanism name without a `-PLUS` suffix (RFC 5801 section 8)."""
    return name.removesuffix(PLUS)
