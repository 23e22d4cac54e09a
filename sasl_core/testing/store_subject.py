"""What a store's conformance class sets, and how the checks talk to the store."""

from __future__ import annotations

import hashlib
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING, ClassVar, TypeVar

from sasl_core._checks import is_a
from sasl_core.edge import sever
from sasl_core.errors import PluginError, SaslError
from sasl_core.names import UserName
from sasl_core.needs import Change, Found, NeedCall, NeedDerivation, NeedHttp
from sasl_core.properties import VERIFIERS
from sasl_core.results import Result
from sasl_core.testing.drivers import DRIVERS, AsyncioDriver, Driver
from sasl_core.testing.setups import ServerSetup, fail, require
from sasl_core.verifier import (
    ScramVerifier,
    derive,
    format_verifier,
    parse_verifier,
    verifier_from_salted_password,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Mapping

    from sasl_core.needs import Need
    from sasl_core.plugs import AuxpropPlug, Needs
    from sasl_core.testing.drivers import AnyServer

__all__ = ["ALICE", "BOB", "Desk", "StoreSubject", "verifier"]

R = TypeVar("R")

ALICE = UserName("alice", "example.com")
BOB = UserName("bob", "example.com")

_STORE_NEEDS = (NeedCall, NeedHttp, NeedDerivation)


def verifier(password: str, hash_name: str = "SHA-256") -> bytes:
    """A stored SCRAM verifier of few rounds; the same for the same password."""
    salt = hashlib.sha256(password.encode()).digest()[:16]
    salted = derive(hash_name, password.encode(), salt, 64)
    return format_verifier(verifier_from_salted_password(hash_name, salted, salt, 64))


class Desk:
    """One open store, and its calls made by one driver."""

    def __init__(self, store: AuxpropPlug, driver: Driver) -> None:
        self.store = store
        self.driver = driver
        self.server: AnyServer = driver.server(ServerSetup(stores=(store,)))
        self.who = f"store {store.name!r}"

    def run(self, body: Needs[R]) -> R:
        """What one body returns. What it raises is a SaslError, and none about a plugin."""
        return self._checked(lambda: self.driver.body(self.server, self._watched(body)))

    def together(self, bodies: list[Needs[R]]) -> list[R]:
        """What several bodies return: run at the same time where the driver can."""
        driver = self.driver
        if isinstance(driver, AsyncioDriver):
            watched = list(map(self._watched, bodies))
            return self._checked(lambda: driver.gather(self.server, watched))
        return [self.run(body) for body in bodies]

    def _checked(self, call: Callable[[], R]) -> R:
        try:
            return call()
        except PluginError as error:
            fail(f"{self.who} breaks the plugin's contract: {error}")
        except SaslError as error:
            # As it is done at the edge of a Server.
            failure = sever(error)
        except Exception as error:  # noqa: BLE001 - whatever it is, it should not have come out.
            fail(f"{self.who} raised {type(error).__name__}, which is no SaslError")
        raise failure

    def _watched(self, body: Needs[R]) -> Needs[R]:
        """Only needs that a store may have pass."""
        step: Callable[[], Need] = partial(body.send, None)
        while True:
            try:
                need = step()
            except StopIteration as stop:
                result: R = stop.value
                return result
            if not isinstance(need, _STORE_NEEDS):
                body.close()
                asks = f"asks for {type(need).__name__}, which no store may"
                raise PluginError(self.store.name, "", asks)
            try:
                answer = yield need
            except Exception as error:  # noqa: BLE001 - thrown where the need was yielded.
                step = partial(body.throw, error)
            else:
                step = partial(body.send, answer)

    def found(self, user: UserName, *names: str) -> Found:
        """What a look-up finds, its form checked."""
        found = self.run(self.store.lookup(user, names))
        if not is_a(found, Found):
            fail(f"{self.who}: lookup gives {type(found).__name__}, not Found")
        for name, values in found.values.items():
            require(
                is_a(values, tuple) and values and all(is_a(value, bytes) for value in values),
                f"{self.who}: the values of {name!r} are no tuple of bytes, or an empty one",
            )
            require(name in names, f"{self.who}: {name!r} was found and not asked for")
        if found.result in (Result.NOUSER, Result.DISABLED):
            require(
                not found.values and not found.verifiers,
                f"{self.who}: {found.result.name}, and it gives values",
            )
        return found

    def verifiers(self, user: UserName) -> dict[str, bytes]:
        """The user's verifiers by hash, however the store hands them out."""
        found = self.found(user, VERIFIERS)
        made: dict[str, bytes] = {}
        for name, parsed in found.verifiers.items():
            if not is_a(parsed, ScramVerifier):
                fail(f"{self.who}: a verifier is a {type(parsed).__name__}")
            made[name] = format_verifier(parsed)
        for value in found.values.get(VERIFIERS, ()):
            made[parse_verifier(value).hash] = value
        return made

    def change(self, user: UserName, change: Change) -> Result:
        """What an update says."""
        result = self.run(self.store.update(user, change))
        if not is_a(result, Result):
            fail(f"{self.who}: update gives {type(result).__name__}, not Result")
        return result

    def add(self, user: UserName, **values: tuple[bytes, ...]) -> None:
        """Make a user; it has to work."""
        result = self.change(user, Change(values, create=True))
        require(result is Result.OK, f"{self.who}: creating {user} gives {result.name}")

    def users(self) -> list[UserName]:
        """Every user, in the store's order."""
        return list(self.run(self.store.users()))

    def expect(self, user: UserName, change: Change, expected: Result, what: str) -> None:
        """An update that has to say `expected`."""
        result = self.change(user, change)
        require(result is expected, f"{self.who}: {what} gives {result.name}, not {expected.name}")


class StoreSubject:
    """What the checks know of a store."""

    existing: ClassVar[Mapping[UserName, Mapping[str, tuple[bytes, ...]]]] = {}
    """Users that are in a new store already, and some of their properties."""

    secret: ClassVar[bytes] = b"zz-a-stored-secret-zz"
    """A value that no repr may show."""

    def make_store(self, *, plaintext: bool = False) -> AuxpropPlug:
        """A new store, empty but for `existing`; the kit closes it.

        `plaintext`: one that keeps plaintext passwords; a store that never does returns
        one whose `plaintext` is False.
        """
        raise NotImplementedError

    @contextmanager
    def desk(self, driver: str = "blocking", *, plaintext: bool = False) -> Generator[Desk]:
        """A new store, to be talked to through a runner."""
        store = self.make_store(plaintext=plaintext)
        try:
            with DRIVERS[driver]() as made:
                yield Desk(store, made)
        finally:
            store.close()
