"""What the glue gives a plugin: one `SaslUtils` per Server or Client and plugin.

The only interface to the outside that a plugin should assume, besides the libraries it
links itself (Cyrus's plugin guide, "Use of sasl_utils_t").
"""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from logging import Logger
    from pathlib import Path

    from sasl_core.core import Core
    from sasl_core.errors import ConfigError
    from sasl_core.flags import DowngradePolicy, Side
    from sasl_core.plugs import AuxpropPlug, CanonUserPlug, Needs

__all__ = ["SaslUtils"]

T = TypeVar("T")


class SaslUtils:
    """Options, log, clock, randomness, things shared with others, and stores by name."""

    __slots__ = ("_asked", "_core", "kind", "name")

    def __init__(self, core: Core, kind: str, name: str) -> None:
        self._core = core
        self.kind = kind
        self.name = name
        self._asked: set[str] = set()

    @property
    def service(self) -> str:
        """The service name, as in "imap"."""
        return self._core.service

    @property
    def host(self) -> str:
        """The server's fully qualified name."""
        return self._core.host

    @property
    def realm(self) -> str:
        """The default realm of user names, "" for none."""
        return self._core.realm

    @property
    def side(self) -> Side:
        """Whether the owner is a Server or a Client."""
        return self._core.side

    @property
    def scram_hashes(self) -> tuple[str, ...]:
        """A server: the hashes whose verifiers users have (`scram_hashes`). A client: all."""
        return self._core.scram_hashes

    def scram_rounds(self, hash_name: str) -> int:
        """PBKDF2 rounds for new SCRAM verifiers and for decoys (`scram_iteration_counter`)."""
        return self._core.options.scram_iteration_counter.of(hash_name)

    def scram_rounds_floor(self, hash_name: str) -> int:
        """The fewest rounds that a client accepts (`scram_iteration_floor`)."""
        return self._core.options.scram_iteration_floor.of(hash_name)

    def scram_rounds_cap(self, hash_name: str) -> int:
        """The most rounds that are ever derived (`scram_iteration_cap`)."""
        return self._core.options.scram_iteration_cap.of(hash_name)

    @property
    def scram_downgrade_protection(self) -> DowngradePolicy:
        """What is done against a changed offer of mechanisms."""
        return self._core.options.scram_downgrade_protection

    def options(self, schema: type[T], name: str | None = None) -> T:
        """The configured options of this plugin (or of its plug `name`) as a `schema`.

        `schema` is an attrs class; its fields are the keys, their defaults the defaults.

        Raises:
            ConfigError: an unknown key, a wrong type or value, a missing mandatory key.
        """
        wanted = name or self.name
        self._asked.add(wanted)
        return self._core.configuration.plugin_options(self.kind, wanted, schema)

    def refuse_unread_options(self, name: str) -> None:
        """For the glue, after the plugin's init: options that it did not ask for are errors.

        Raises:
            ConfigError: the configuration has some for the plug `name`.
        """
        if name not in self._asked:
            self._core.configuration.refuse_options(self.kind, name)

    def read_text(self, path: str | Path) -> str:
        """The text of a file that an option names, held to what configuration files are held to.

        For the plugin's init: it blocks, and an exchange must not wait for it.

        Raises:
            ConfigError: it is not there, is no regular file, may be written by anybody, is
                larger than 1 MiB, is not UTF-8, or cannot be read.
        """
        from sasl_core.conf_files import absolute, read_text
        from sasl_core.conf_values import wrong

        file = absolute(path)
        text = read_text(file)
        if text is None:
            raise wrong("there is no such file", file=file)
        return text

    @property
    def log(self) -> Logger:
        """The plugin's logger: `sasl_core.<kind>.<name>`. Never log a secret."""
        import logging

        return logging.getLogger(f"sasl_core.{self.kind}.{self.name}")

    def clock(self) -> float:
        """Seconds since the epoch."""
        return time.time()

    def random(self, size: int) -> bytes:
        """`size` unpredictable bytes."""
        return os.urandom(size)

    def shared(self, kind: str, make: Callable[[], T]) -> T:
        """The thing called `kind` that all plugins of this Server or Client share.

        Made by the first who asks, closed (if it has a `close()`) with the owner.
        """
        return self._core.once.get(("shared", kind), make)

    def reconsider(self) -> None:
        """Say that what `availability()` of a plug tells has changed: offers are made anew.

        Sessions that have begun are not changed.
        """
        self._core.forget_offers()

    def store(self, name: str) -> AuxpropPlug:
        """The property store `name`, for a plugin that works with another.

        Raises:
            PluginError: there is none, or it cannot be used.
            UsageError: the stores refer to each other in a circle.
        """
        return self._core.store(name)

    def canonicalizer(self, name: str) -> CanonUserPlug:
        """The canonicaliser `name`, for a plugin that works with another.

        Raises:
            PluginError: there is none, or it cannot be used.
            UsageError: canonicalisers refer to each other in a circle.
        """
        return self._core.plugs.get("canon_user", name)

    @property
    def identity_providers(self) -> str | tuple[Mapping[str, object], ...] | None:
        """The identity providers as they are configured: a JSON text, or tables; None: none.

        Reads the file that `identity_providers_file` names, each time: it may block.

        Raises:
            ConfigError: the file cannot be read, as for `read_text`.
        """
        options = self._core.options
        if options.identity_providers_file:
            return self.read_text(options.identity_providers_file)
        return options.identity_providers

    def providers_error(self, problem: ConfigError) -> ConfigError:
        """A mistake in `identity_providers` with where they were given in front.

        `problem`: its key is the place within them, as in "[0].audience".
        """
        file = self._core.options.identity_providers_file
        if file is None:
            return self._core.configuration.error("identity_providers", problem)
        from sasl_core.conf_files import absolute
        from sasl_core.conf_values import wrong

        place = f"identity_providers{problem.key or ''}"
        return wrong(problem.problem, file=absolute(file), key=place)

    def every(
        self, seconds: float, body: Callable[[], Needs[object]], *, waits: bool = False
    ) -> None:
        """Run the generator of needs that `body()` gives, every `seconds`.

        In asyncio by a task, in a blocking Server by one daemon thread if it was made
        with `background=True`, otherwise before the next session when it is due. `waits`: it
        may wait for the net, and never stands before somebody's session; a plugin whose work
        nobody has done then does it when it is asked next.
        """
        self._core.schedule(seconds, body, waits=waits)
