"""`sasl users`: who is in the stores, and by what they can log in; never a key."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar, cast

from sasl_cli.output import columns
from sasl_cli.settings import APPNAME, Appname, ConfigFile, Database, configuration
from sasl_core import NeedCall, Result, Server
from sasl_core.plugin import (
    PASSWORD,
    VERIFIERS,
    BackendError,
    parse_verifier,
)

if TYPE_CHECKING:
    from collections.abc import Generator

    from sasl_core import Found, Need

__all__ = ["command"]

T = TypeVar("T")


def command(
    db: Database = None,
    config: ConfigFile = None,
    appname: Appname = APPNAME,
) -> None:
    """List the users of every store.

    Each with its realm, its state and the verifiers that are kept of its password: the hash
    and the rounds of PBKDF2. Of a disabled user a store tells nothing more.
    """
    settings = configuration(config, appname, db)
    rows = [("USER", "REALM", "STORE", "STATE", "VERIFIERS")]
    with Server(APPNAME, "localhost", appname=appname, config=settings) as server:
        for store in server.core.stores():
            for user in _supply(store.users()):
                found = _supply(store.lookup(user, (VERIFIERS, PASSWORD)))
                state = "disabled" if found.result is Result.DISABLED else "enabled"
                rows.append((user.name, user.realm or "-", store.name, state, _kept(found)))
    if len(rows) == 1:
        print("no users")
    else:
        print(columns(rows))


def _kept(found: Found) -> str:
    """What a store keeps of a password, in words."""
    unparsed = (parse_verifier(value) for value in found.values.get(VERIFIERS, ()))
    verifiers = (*found.verifiers.values(), *unparsed)
    words = sorted({f"{verifier.hash} ({verifier.iterations} rounds)" for verifier in verifiers})
    if found.values.get(PASSWORD):
        words.append("plaintext")
    return ", ".join(words) or "-"


def _supply(body: Generator[Need, object, T]) -> T:
    """Run a store's generator: whatever it needs is a call of its own, made here and now.

    Raises:
        BackendError: it needs something else, which only a login has.
    """
    answer: object = None
    failure: BaseException | None = None
    while True:
        try:
            need = body.send(answer) if failure is None else body.throw(failure)
        except StopIteration as end:
            return cast("T", end.value)
        if not isinstance(need, NeedCall):
            body.close()
            raise BackendError(
                f"a store that needs {type(need).__name__} cannot be listed", temporary=False
            )
        answer, failure = None, None
        try:
            answer = need.function()
        except Exception as error:  # noqa: BLE001 - it is the generator's to deal with.
            failure = error
