"""Names of databases, and of users and roles in them: DATABASE.NAME.

Invariant: no database holds a dot, so that the first one ends it, and DATABASE.NAME is one
user whatever the name holds.

Source: MongoDB's manual, "MongoDB Limits and Thresholds" (naming restrictions).
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Final

from sasl_core.plugin import AuthenticationError, Result, UsageError, printable
from sasl_profiles.mongodb.exchange import EXTERNAL

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable

__all__ = ["ADMIN", "as_text", "another_database", "check_database", "parse_roles", "parse_user"]

ADMIN: Final = "admin"
"""The database of users and roles where none is named."""

DATABASE_LIMIT: Final = 63
"""Longest name of a database, in octets."""

_log = logging.getLogger(__name__)

# MongoDB's, and what ends a user's name where the database is its realm.
_NEVER: Final = frozenset('/\\. "$@')


def check_database(name: str) -> str:
    """The name of a database of users, as it is.

    Raises:
        UsageError: MongoDB has no such database, or it is none of users that are kept here.
    """
    if name == EXTERNAL:
        raise UsageError("its users are those of PLAIN, MONGODB-OIDC and MONGODB-X509")
    if not name or not name.isprintable() or not _NEVER.isdisjoint(name):
        raise UsageError('a database has a name that can be printed, without any of /\\. "$@')
    if len(name.encode("utf-8", "surrogatepass")) > DATABASE_LIMIT:
        raise UsageError(f"the name of a database has at most {DATABASE_LIMIT} octets")
    return name


def parse_user(text: str, databases: Collection[str]) -> tuple[str, str]:
    """Database and name of a user written as DATABASE.USER; `databases`: where users are.

    Raises:
        UsageError: it is not written so, or names a database at which nobody logs in.
    """
    database, dot, name = text.partition(".")
    if not dot or not name:
        raise UsageError("a user is written as DATABASE.USER")
    if database != EXTERNAL and database not in databases:
        raise UsageError("nobody logs in at its database; see profiles.mongodb.databases")
    return database, name


def parse_roles(values: Iterable[bytes], user: str) -> tuple[tuple[str, str], ...]:
    """Role and database of each role of `user`, written as DATABASE.ROLE or ROLE.

    What is no UTF-8 is left out, for two of such would become one.
    """
    roles: list[tuple[str, str]] = []
    lost = 0
    for value in values:
        text = as_text(value)
        if text is None:
            lost += 1
            continue
        database, dot, role = text.partition(".")
        roles.append((role, database) if dot else (database, ADMIN))
    if lost:
        _log.warning("%d roles of %r are no UTF-8, and are left out", lost, printable(user, 80))
    return tuple(roles)


def as_text(value: bytes) -> str | None:
    """A property's value; None for what is no UTF-8."""
    try:
        return value.decode()
    except UnicodeDecodeError:
        return None


def another_database(name: str, database: str) -> AuthenticationError:
    """The refusal of a user who logs in at a database that is not their own."""
    problem = f"{printable(name, 80)!r} is a user of another database than {database!r}"
    return AuthenticationError(result=Result.NOAUTHZ, detail=problem)
