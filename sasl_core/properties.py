"""The property context: which properties were asked for, and what was found.

Names are Cyrus's: `*name` is a property of the authentication identity, a bare `name`
one of the authorization identity. Values are bytes, several to a name. The values are
kept in buffers that `erase` can overwrite.

Source: Cyrus SASL's property contexts (`prop.h`), rule G17.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from sasl_core._sealed import Sealed
from sasl_core.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping

__all__ = ["HASHES", "PASSWORD", "VERIFIERS", "PropertyContext"]

PASSWORD = "userPassword"  # noqa: S105 - the name of a property, not a password.
"""The property that holds a plaintext password."""
HASHES = "passwordHash"
"""The property that holds password hashes of other systems; it ends with the password."""
VERIFIERS = "authPassword"
"""The property that holds SCRAM verifiers, one value per hash (RFC 5803)."""


class PropertyContext(Sealed):
    """Requested and found properties of one exchange."""

    __slots__ = ("_values",)

    def __init__(self, names: Iterable[str] = ()) -> None:
        # None: requested, not found. A tuple: granted, and no secret.
        self._values: dict[str, list[bytearray] | tuple[bytes, ...] | None] = dict.fromkeys(names)

    def request(self, *names: str) -> None:
        """Ask for `names`, each once; what was found for them before is forgotten."""
        for name in names:
            self._values[name] = None

    @property
    def names(self) -> tuple[str, ...]:
        """The requested names, in the order of their request."""
        return tuple(self._values)

    def set(self, name: str, values: Iterable[bytes]) -> None:
        """Record what was found.

        Raises:
            UsageError: `name` was not requested.
        """
        if name not in self._values:
            raise UsageError(f"property {name!r} was not requested")
        self._values[name] = [bytearray(value) for value in values]

    def grant(self, grants: Mapping[str, tuple[bytes, ...]], *, bare: bool) -> None:
        """Record what somebody vouches for, requested or not; no secret, so it is not copied.

        Each as `*name`, and with `bare` as `name` too.
        """
        mine = self._values
        for name, values in grants.items():
            mine["*" + name] = values
            if bare:
                mine[name] = values

    def get(self, name: str) -> tuple[bytes, ...]:
        """The values of `name`; empty when it was not found or not requested."""
        return tuple(map(bytes, self._values.get(name) or ()))

    def found(self, name: str) -> bool:
        """Whether `name` has a value."""
        return bool(self._values.get(name))

    def erase(self, name: str) -> None:
        """Overwrite the values of `name` with zeros and forget them; the request stays."""
        values = self._values.get(name)
        if values:
            if not isinstance(values, tuple):
                for value in values:
                    value[:] = bytes(len(value))
            self._values[name] = None

    def erase_all(self, names: Iterable[str], but: Collection[str] = ()) -> None:
        """`erase` each of `names` that is not in `but`."""
        values = self._values
        for name in names:
            # Few of them have a value, and every exchange ends here.
            if values.get(name) and name not in but:
                self.erase(name)

    def dup(self) -> PropertyContext:
        """An independent copy."""
        copy = PropertyContext()
        copy._values = {
            name: [bytearray(value) for value in values] if isinstance(values, list) else values
            for name, values in self._values.items()
        }
        return copy

    def clear(self, *, requests: bool = False) -> None:
        """Erase every value, and with `requests` forget what was asked for too."""
        for name in self._values:
            self.erase(name)
        if requests:
            self._values.clear()

    def __repr__(self) -> str:
        counts = ", ".join(f"{name}: {len(values or ())}" for name, values in self._values.items())
        return f"<PropertyContext {counts or 'empty'}>"
