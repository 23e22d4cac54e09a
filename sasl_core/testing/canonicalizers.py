"""Conformance of a user canonicaliser."""

from __future__ import annotations

import random
from contextlib import contextmanager
from typing import TYPE_CHECKING, ClassVar, Final

from sasl_core._checks import is_a
from sasl_core.context import CanonContext
from sasl_core.errors import PluginError, SaslError, UsageError
from sasl_core.flags import CanonFlag, Side
from sasl_core.plugs import CanonUserPlug
from sasl_core.testing.drivers import BlockingDriver
from sasl_core.testing.setups import ClientSetup, ServerSetup, fail, require
from sasl_core.testing.texts import texts

if TYPE_CHECKING:
    from collections.abc import Generator, Mapping

    from sasl_core.registry import Registry

__all__ = ["CanonicalizerConformance"]

AUTHID, AUTHZID = CanonFlag.AUTHID, CanonFlag.AUTHZID
FLAGS: Final = (AUTHID, AUTHZID, AUTHID | AUTHZID)


class CanonicalizerConformance:
    """Derive from it, set `name`, and what is true of the canonicaliser.

    It is tried on every side that it has, with an empty default realm and with each of
    `realms`, as authid, as authzid and as both.
    """

    name: ClassVar[str]
    """The canonicaliser's name."""

    canonical: ClassVar[Mapping[str, str]]
    """Names and their canonical forms, without a default realm."""

    refused: ClassVar[tuple[str, ...]] = ()
    """Names that are not acceptable."""

    distinct: ClassVar[tuple[tuple[str, str], ...]] = ()
    """Pairs of names that are two users, and have to stay two."""

    realms: ClassVar[tuple[str, ...]] = ("", "example.com")
    config: ClassVar[Mapping[str, object]] = {}
    seed: ClassVar[int] = 1
    samples: ClassVar[int] = 1500
    """Random names that are tried."""

    def registry(self) -> Registry | None:
        """Where the plugin is found; None: what is installed. See `declare`."""
        return None

    @contextmanager
    def sides(self) -> Generator[list[tuple[Side, CanonUserPlug]]]:
        """The sides that it has, each with its plug."""
        with BlockingDriver() as driver:
            config = {**self.config, "canon_user_plugin": self.name}
            server = driver.server(ServerSetup(config=config, registry=self.registry()))
            client = driver.client(ClientSetup(config=config, registry=self.registry()))
            try:
                on_server = server.core.plugs.get("canon_user", self.name)
                on_client = client.core.plugs.get("canon_user", self.name)
            except PluginError as error:
                fail(f"{self.name} cannot be used: {error}")
            has: list[tuple[Side, CanonUserPlug]] = []
            base = CanonUserPlug
            if type(on_server).canon_user_server is not base.canon_user_server:
                has.append((Side.SERVER, on_server))
            if type(on_client).canon_user_client is not base.canon_user_client:
                has.append((Side.CLIENT, on_client))
            yield has

    def apply(
        self, side: Side, plug: CanonUserPlug, name: str, flags: CanonFlag, realm: str = ""
    ) -> str | None:
        """The canonical form, checked; None if the name is refused."""
        context = CanonContext("conformance", "server.example.com", realm, side)
        method = plug.canon_user_server if side is Side.SERVER else plug.canon_user_client
        who = f"{self.name} ({side.name.lower()}, {flags!s}, {name[:40]!a})"
        try:
            canonical = method(context, name, flags)
        except (PluginError, UsageError) as error:
            fail(f"{who} raised {type(error).__name__}; a name is refused with PeerError: {error}")
        except SaslError:
            return None
        except Exception as error:  # noqa: BLE001 - whatever it is, it should not have come out.
            fail(f"{who} raised {type(error).__name__}, which is no SaslError")
        require(is_a(canonical, str), f"{who} gives {type(canonical).__name__}")
        require(canonical, f"{who} gives an empty name")
        return canonical

    def names(self) -> list[str]:
        """The declared names, and random ones of every script, the same each time."""
        declared = [*self.canonical, *self.refused]
        declared += [name for pair in self.distinct for name in pair]
        return [*declared, *texts(self.seed, self.samples)]

    def test_has_a_side(self) -> None:
        """It canonicalises on one side at least, and is called what its entry point says."""
        with self.sides() as sides:
            for _, plug in sides:
                require(plug.name == self.name, f"{self.name} is called {plug.name!r}")

    def test_declared_names(self) -> None:
        """Names get their canonical form, and the others are refused."""
        with self.sides() as sides:
            for side, plug in sides:
                for flags in FLAGS:
                    for name, expected in self.canonical.items():
                        canonical = self.apply(side, plug, name, flags)
                        require(
                            canonical == expected,
                            f"{self.name} makes {canonical!r} of {name!r}, not {expected!r}",
                        )
                    for name in self.refused:
                        canonical = self.apply(side, plug, name, flags)
                        require(canonical is None, f"{self.name} makes {canonical!r} of {name!r}")

    def test_two_users_stay_two(self) -> None:
        """Names of different users do not become one."""
        with self.sides() as sides:
            for side, plug in sides:
                for flags in FLAGS:
                    for realm in self.realms:
                        for one, other in self.distinct:
                            first = self.apply(side, plug, one, flags, realm)
                            second = self.apply(side, plug, other, flags, realm)
                            require(
                                first != second or first is None,
                                f"{self.name} makes {first!r} of {one!r} and of {other!r}",
                            )

    def test_any_name(self) -> None:
        """Any text gives a name that is not empty, or a SaslError."""
        with self.sides() as sides:
            for side, plug in sides:
                for realm in self.realms:
                    for name in self.names():
                        for flags in FLAGS:
                            _ = self.apply(side, plug, name, flags, realm)

    def test_idempotent(self) -> None:
        """A canonical name is its own canonical form, whatever it is used for."""
        with self.sides() as sides:
            for side, plug in sides:
                for realm in self.realms:
                    for name in self.names():
                        for flags in FLAGS:
                            once = self.apply(side, plug, name, flags, realm)
                            if once is None:
                                continue
                            twice = self.apply(side, plug, once, flags, realm)
                            require(
                                twice == once,
                                f"{self.name} makes {once!a} of {name!a}, and then {twice!a}",
                            )

    def test_pure(self) -> None:
        """The same name gives the same, whatever was asked before, and in any order."""
        rng = random.Random(self.seed)
        with self.sides() as sides:
            for side, plug in sides:
                names = self.names()
                asked = [(name, flags) for name in names for flags in FLAGS]
                first = {ask: self.apply(side, plug, *ask) for ask in asked}
                rng.shuffle(asked)
                for ask in asked:
                    require(
                        self.apply(side, plug, *ask) == first[ask],
                        f"{self.name} does not always give the same for {ask[0]!a}",
                    )
